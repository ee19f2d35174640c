"""Detector images in any format: nanoBragg's float image, SMV, and every format that fabio reads."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

import numpy as np

from nbnumba.errors import InputError
from nbnumba.formats import by_fabio, cif, files, hdf5_members, imgcif, nexus, nxmx, raw, smv
from nbnumba.formats.text import number as number_of
from nbnumba.formats.text import printable

HDF5 = "HDF5"
_FLOATS = ".bin"
_SMV = re.compile(rb"\{\s*HEADER_BYTES\s*=")
_NUMBERED = re.compile(r"(.+)#([0-9]{1,9})")
_INSIDE = "::"
RAXIS_RATIO = "RAXIS_COMPRESSION_RATIO"
"""The key in a d*TREK header that holds the factor by which large numbers are compressed."""


class Image(NamedTuple):
    """Pixels (slow, fast) of the type in which they are stored, and the entries of the header as text.

    kind: HDF5, or "". masked (slow, fast): True where the file's own mask excludes a pixel; None if the file has no mask.
    """

    pixels: np.ndarray
    header: dict[str, str]
    kind: str = ""
    masked: np.ndarray | None = None

    def stated(self, key: str) -> float | None:
        """The finite number of a key of the header; None where there is none."""
        value = number_of(self.header.get(key, ""))
        return value if value is not None and math.isfinite(value) else None


def read(path: str, shape: tuple[int, int], what: str) -> Image:
    """Return the image `path` of `shape` (slow, fast); `what` is the option that named it, for messages.

    *.bin is a float image without a header, smv.py reads SMV, and fabio reads everything else. FILE#K is image K, from 0, of a
    file with several images; FILE::/path is the dataset at that path in an HDF5 file. Raises InputError for what
    files.read_bytes refuses, a file that is not an image, a file with several images if none is chosen, and an image of
    another shape.
    """
    path = files.name_of(path, what)
    name, number = _numbered(path)
    _check_file(file_of(path), what)
    if number is None and name.lower().endswith(_FLOATS):
        return Image(raw.read(name, shape, what), {})
    if number is None and _is_smv(name):
        image = _smv(name, what)
    else:
        image = _of_nxmx(name, number, what) or _by_fabio(name, number, shape, what)
    if image.pixels.shape != shape:
        raise InputError(
            f"{what}: {path!r} has {_size(image.pixels.shape)} pixels; allowed: {_size(shape)}, fast x slow, as the flags say"
        )
    return image if image.kind == HDF5 else _uncompressed(_with_detector(image, name, number or 0))


def read_panels(
    path: str, shapes: Sequence[tuple[int, int]], what: str, origins: Sequence[tuple[int, int]] | None = None
) -> Image:
    """Return the image of several panels of `shapes` (slow, fast) as a sheet, in which their rows follow one another.

    A full CBF has them as arrays or sections, an NXmx master as modules; FILE#K is image K of a master. Any other image is one
    array: such a sheet itself, of panels of one width, or, if `origins` are stated and it is no *.bin, one in which the first
    pixel of each panel is at this row and column. Columns beyond the width of a panel are masked. Raises InputError for what
    read() refuses, and for other panels than these.
    """
    path = files.name_of(path, what)
    name, number = _numbered(path)
    file = file_of(path)
    _check_file(file, what)
    if _INSIDE not in name and number is None and _is_full_cbf(file):
        panels, header = imgcif.read_panels(file, what)
        if origins is not None and len(panels) == 1 < len(shapes):
            return _cut(Image(panels[0], header), shapes, origins, f"{what}: {path!r}")
        return _sheet(panels, [None] * len(panels), header, "", shapes, f"{what}: {path!r}")
    if _INSIDE not in name and nxmx.is_hdf5(file):
        panels, bad, header = nexus.read_panels(file, number, what)
        return _sheet(panels, bad, header, HDF5, shapes, f"{what}: {path!r}")
    whole, widths = (sum(slow for slow, _ in shapes), max(fast for _, fast in shapes)), {fast for _, fast in shapes}
    if origins is not None and not name.lower().endswith(_FLOATS):
        ends = [(row + slow, column + fast) for (row, column), (slow, fast) in zip(origins, shapes)]
        try:
            image = read(path, (max(row for row, _ in ends), max(column for _, column in ends)), what)
        except InputError as error:
            if len(widths) == 1:
                with suppress(InputError):
                    return read(path, whole, what)
            raise error
        return _cut(image, shapes, origins, f"{what}: {path!r}")
    if len(widths) > 1:
        raise InputError(f"{what}: {path!r} is one array; allowed for panels of different widths: a full CBF or an NXmx master")
    return read(path, whole, what)


def _cut(image: Image, shapes: Sequence[tuple[int, int]], origins: Sequence[tuple[int, int]], name: str) -> Image:
    """The image of panels that are cut out of one array, as a sheet."""
    places = [
        (slice(row, row + slow), slice(column, column + fast)) for (row, column), (slow, fast) in zip(origins, shapes)
    ]
    panels = [image.pixels[place] for place in places]
    masks = [None if image.masked is None else image.masked[place] for place in places]
    return _sheet(panels, masks, image.header, image.kind, shapes, name)


def _is_full_cbf(name: str) -> bool:
    """Whether a file is a CBF that has axes and arrays of its own."""
    with open(name, "rb") as stream:
        beginning = stream.read(64)
    if not cif.is_cbf(beginning) and not beginning.startswith(b"\x1f\x8b"):
        return False
    try:
        return bool(cif.read(name, "--data").column("_axis.id"))
    except InputError:
        return False


def _sheet(panels, masks, header, kind, shapes, name) -> Image:
    """The image of panels as a sheet."""
    found = [panel.shape for panel in panels]
    if found != [tuple(shape) for shape in shapes]:
        stated = f"{len(found)} panels of {', '.join(sorted({_size(shape) for shape in found})[:5])} pixels"
        wanted = f"{len(shapes)} panels of {', '.join(sorted({_size(tuple(shape)) for shape in shapes})[:5])}"
        raise InputError(f"{name} has {stated}; allowed: {wanted}, fast x slow, as the detector has them")
    whole = sum(slow for slow, _ in found), max(fast for _, fast in found)
    pixels, masked, row = np.zeros(whole, np.result_type(*panels)), np.ones(whole, dtype=bool), 0
    for panel, mask in zip(panels, masks):
        place = slice(row, row + panel.shape[0]), slice(0, panel.shape[1])
        pixels[place] = panel
        masked[place] = False if mask is None else mask
        row += panel.shape[0]
    return Image(pixels, header, kind, masked if masked.any() else None)


def _check_file(name: str, what: str) -> None:
    """Raise InputError unless the name is that of a regular file, which can be read more than once."""
    if os.path.exists(name) and not os.path.isdir(name) and not os.path.isfile(name):
        raise InputError(f"{what}: {name!r} is a device or a pipe; allowed: a file, which is read more than once")
    if not os.path.isfile(name):
        files.read_bytes(name, what)


def _with_detector(image: Image, name: str, number: int) -> Image:
    """The image with the entries and the mask of its detector, if its file is HDF5."""
    file, _, dataset = name.partition(_INSIDE)
    if not nxmx.is_hdf5(file):
        return image
    detector = nxmx.detector(file, dataset, number, image.pixels.shape)
    return image._replace(header=image.header | detector.header, kind=HDF5, masked=detector.masked)


def _uncompressed(image: Image) -> Image:
    """The image in counts. R-AXIS stores a large count in 15 bits, divided by a ratio, and sets the highest of 16 bits."""
    ratio = number_of(image.header.get(RAXIS_RATIO, ""))
    if ratio is None or ratio <= 1.0 or image.pixels.dtype.kind not in "iu" or image.pixels.dtype.itemsize != 2:
        return image
    stored = image.pixels.astype(np.uint16).astype(np.int64)
    return image._replace(pixels=np.where(stored < 2**15, stored, ((stored - 2**15) * ratio).astype(np.int64)))


def file_of(path: str) -> str:
    """The name of the file in an image name of the form that `read` accepts."""
    return _numbered(path)[0].partition(_INSIDE)[0]


def _size(shape: tuple[int, ...]) -> str:
    return " x ".join(str(count) for count in reversed(shape)) or "no"


def _numbered(path: str) -> tuple[str, int | None]:
    """The name of the file, and the number of the image in it, or None if the name states no number."""
    match = _NUMBERED.fullmatch(path)
    return (path, None) if match is None or os.path.exists(path) else (match[1], int(match[2]))


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


def _of_nxmx(name: str, number: int | None, what: str) -> Image | None:
    """The image of an NXmx file of one module; None for any other file, and for one whose dataset is named."""
    found = nexus.read_one_panel(name, number, what) if _INSIDE not in name and nxmx.is_hdf5(name) else None
    if found is None:
        return None
    (pixels,), (bad,), header = found
    return Image(pixels, header, HDF5, bad)


def _by_fabio(name: str, number: int | None, shape: tuple[int, int], what: str) -> Image:
    """The image as fabio reads it. Raises InputError if fabio cannot read it."""
    image = by_fabio.read(name, number, shape)
    file = name.partition(_INSIDE)[0]
    missing = hdf5_members.read(file).get("missing") if image.problem and nxmx.is_hdf5(file) else None
    if missing:
        elsewhere = f"{name!r} has its images in {printable(missing[0])}"
        raise InputError(f"{what}: {elsewhere}, which cannot be opened; allowed: a master with its data files beside it")
    if image.problem:
        allowed = "an image that fabio reads, SMV, or *.bin"
        raise InputError(f"{what}: {name!r} cannot be read: {image.problem}; allowed: {allowed}")
    if image.images > 1 and image.pixels is None and not image.stored:
        chosen = f"and number {number} is not among them" if number is not None else "and none of them is chosen"
        raise InputError(
            f"{what}: {name!r} holds {image.images} images, {chosen}; allowed: FILE#K, K from 0 to {image.images - 1}"
        )
    if image.pixels is None:
        allowed = f"{_size(shape)}, fast x slow, as the flags say"
        raise InputError(f"{what}: {name!r} has {image.stored or 'no image of that number'}; allowed: {allowed}")
    return Image(image.pixels, image.header)
