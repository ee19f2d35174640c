"""Detector images in any format: nanoBragg's float image, SMV, and all that fabio knows, as stored."""

from __future__ import annotations

import os
import re
from typing import NamedTuple

import numpy as np

from nbnumba.errors import InputError
from nbnumba.formats import by_fabio, files, nxmx, raw, smv
from nbnumba.formats.text import number as number_of

HDF5 = "HDF5"
_FLOATS = ".bin"
_SMV = re.compile(rb"\{\s*HEADER_BYTES\s*=")
_NUMBERED = re.compile(r"(.+)#([0-9]{1,9})")
_INSIDE = "::"
RAXIS_RATIO = "RAXIS_COMPRESSION_RATIO"
"""The key of a header of d*TREK that says how large numbers are compressed."""


class Image(NamedTuple):
    """Pixels (slow, fast) of the type in which they are stored, and what the header says, as text.

    kind: HDF5, or "". masked (slow, fast): where the mask that the file brings leaves a pixel out; None if it brings none.
    """

    pixels: np.ndarray
    header: dict[str, str]
    kind: str = ""
    masked: np.ndarray | None = None


def read(path: str, shape: tuple[int, int], what: str) -> Image:
    """Return the image `path` of `shape` (slow, fast); `what` is the option that named it, for messages.

    *.bin is a float image without a header, SMV is read here, and everything else by fabio. FILE#K is image K, from 0, of a
    file that holds several; FILE::/place the data at that place of an HDF5 file. InputError: what files.read_bytes refuses, a
    file that is no image, one that holds several of which none is chosen, and an image of another shape.
    """
    path = files.name_of(path, what)
    name, number = _numbered(path)
    _check_file(file_of(path), what)
    if number is None and name.lower().endswith(_FLOATS):
        return Image(raw.read(name, shape, what), {})
    image = _smv(name, what) if number is None and _is_smv(name) else _by_fabio(name, number, shape, what)
    if image.pixels.shape != shape:
        raise InputError(
            f"{what}: {path!r} has {_size(image.pixels.shape)} pixels; allowed: {_size(shape)}, fast x slow, as the flags say"
        )
    return _uncompressed(_with_detector(image, name, number or 0))


def _check_file(name: str, what: str) -> None:
    """Raise InputError for what is no regular file, which can be read more than once."""
    if os.path.exists(name) and not os.path.isdir(name) and not os.path.isfile(name):
        raise InputError(f"{what}: {name!r} is a device or a pipe; allowed: a file, which is read more than once")
    if not os.path.isfile(name):
        files.read_bytes(name, what)


def _with_detector(image: Image, name: str, number: int) -> Image:
    """The image with what its file says of the detector, if that is one of HDF5."""
    file, _, place = name.partition(_INSIDE)
    if not nxmx.is_hdf5(file):
        return image
    found = nxmx.detector(file, place, number, image.pixels.shape)
    return image._replace(header=image.header | found.header, kind=HDF5, masked=found.masked)


def _uncompressed(image: Image) -> Image:
    """The image of an R-AXIS in counts: of numbers of 2 bytes with the highest bit set, the others count so many times more."""
    ratio = number_of(image.header.get(RAXIS_RATIO, ""))
    if ratio is None or ratio <= 1.0 or image.pixels.dtype.kind not in "iu" or image.pixels.dtype.itemsize != 2:
        return image
    stored = image.pixels.astype(np.uint16).astype(np.int64)
    return image._replace(pixels=np.where(stored < 2**15, stored, ((stored - 2**15) * ratio).astype(np.int64)))


def file_of(path: str) -> str:
    """The name of the file of an image that is named as `read` takes it."""
    return _numbered(path)[0].partition(_INSIDE)[0]


def _size(shape: tuple[int, ...]) -> str:
    return " x ".join(str(count) for count in reversed(shape)) or "no"


def _numbered(path: str) -> tuple[str, int | None]:
    """The name of the file, and the number of the image in it, if one is stated."""
    found = _NUMBERED.fullmatch(path)
    return (path, None) if found is None or os.path.exists(path) else (found[1], int(found[2]))


def _is_smv(name: str) -> bool:
    if _INSIDE in name:
        return False
    try:
        with open(name, "rb") as stream:
            return _SMV.match(stream.read(64)) is not None
    except OSError:
        return False


def _smv(name: str, what: str) -> Image:
    header, pixels = smv.read(name, what)
    return Image(pixels, header)


def _by_fabio(name: str, number: int | None, shape: tuple[int, int], what: str) -> Image:
    """The image as fabio reads it; what it cannot read is an InputError."""
    found = by_fabio.read(name, number, shape)
    if found.problem:
        allowed = "an image that fabio reads, SMV, or *.bin"
        raise InputError(f"{what}: {name!r} cannot be read: {found.problem}; allowed: {allowed}")
    if found.images > 1 and found.pixels is None and not found.stored:
        chosen = f"and there is no {number}" if number is not None else "and none is chosen"
        raise InputError(
            f"{what}: {name!r} holds {found.images} images, {chosen}; allowed: FILE#K, K from 0 to {found.images - 1}"
        )
    if found.pixels is None:
        allowed = f"{_size(shape)}, fast x slow, as the flags say"
        raise InputError(f"{what}: {name!r} has {found.stored or 'no image of that number'}; allowed: {allowed}")
    return Image(found.pixels, found.header)
