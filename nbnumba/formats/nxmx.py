"""What an HDF5 file says of its detector (NXmx, and Dectris' files): the mask of its pixels, and which numbers are valid."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

NUMBERS = ("saturation_value", "underload_value", "countrate_correction_count_cutoff")
"""Numbers of a detector that say which pixels are valid."""

SPECIFIC = "detectorSpecific"
"""The group of a detector in which Dectris puts what NXmx has no place for."""

MASK = "pixel_mask"
_OPENING = b"\x89HDF\r\n\x1a\n"


class Detector(NamedTuple):
    """What a file says: the numbers as text, and which pixels hold no measurement (slow, fast), None if it does not say."""

    header: dict[str, str]
    masked: np.ndarray | None


def is_hdf5(name: str) -> bool:
    """Whether a file is one of HDF5."""
    try:
        with open(name, "rb") as stream:
            return stream.read(len(_OPENING)) == _OPENING
    except OSError:
        return False


def detector(name: str, place: str, number: int, shape: tuple[int, int]) -> Detector:
    """What an HDF5 file says of the detector of image `number`, whose data are at `place` ("" if that is not stated).

    A mask of another shape than the image (slow, fast) is left, with a warning. Where nothing can be read, nothing is said.
    """
    import h5py

    try:
        with h5py.File(name, "r") as file:
            entry = place.strip("/").partition("/")[0]
            groups = [group for group in _groups(file, [entry] if entry in file else list(file))]
            header = {key: text for group in reversed(groups) for key, text in _numbers(group)}
            return Detector(header, _mask(groups, name, number, shape))
    except (OSError, KeyError, RuntimeError, ValueError, TypeError):
        return Detector({}, None)


def _groups(file, entries: list[str]) -> Iterator:
    """The detectors of some entries, each before its group of Dectris."""
    import h5py

    for entry in entries:
        instrument = _within(_within(file, entry), "instrument")
        for key in instrument or ():
            found = _within(instrument, key)
            if isinstance(found, h5py.Group) and {MASK, SPECIFIC, *NUMBERS} & set(found):
                yield found
                specific = _within(found, SPECIFIC)
                if isinstance(specific, h5py.Group):
                    yield specific


def _within(group, key):
    """What stands in a group under a key; None where there is nothing, or a link leads nowhere."""
    import h5py

    try:
        return group[key] if isinstance(group, h5py.Group) and key in group else None
    except (KeyError, OSError):
        return None


def _numbers(group) -> Iterator[tuple[str, str]]:
    for key in NUMBERS:
        found = _within(group, key)
        if found is not None and getattr(found, "size", 0) == 1:
            value = np.ravel(found[()])[0]
            if np.issubdtype(np.asarray(value).dtype, np.number):
                yield key, repr(value.item())


def _mask(groups, name, number, shape) -> np.ndarray | None:
    """The first mask that fits: (slow, fast), or one of each image. 0 stands for a pixel that is good."""
    for group in groups:
        found = _within(group, MASK)
        if found is None:
            continue
        if found.shape == shape:
            return np.asarray(found[()]) != 0
        if len(found.shape) == 3 and found.shape[1:] == shape and (found.shape[0] == 1 or number < found.shape[0]):
            return np.asarray(found[0 if found.shape[0] == 1 else number]) != 0
        said = f"{os.fspath(name)!r}: its {MASK} of {' x '.join(map(str, found.shape))} does not fit an image of"
        warnings.warn(f"{said} {shape[0]} x {shape[1]} (slow x fast), and is ignored", stacklevel=2)
    return None
