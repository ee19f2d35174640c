"""The detector's entries in an HDF5 file (NXmx, and Dectris' files): the mask of its pixels, and the limits of valid values."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

NUMBERS = ("saturation_value", "underload_value", "countrate_correction_count_cutoff")
"""The entries of a detector that limit the valid values of pixels."""

SPECIFIC = "detectorSpecific"
"""The group of a detector in which Dectris stores entries that NXmx does not define."""

MASK = "pixel_mask"
_OPENING = b"\x89HDF\r\n\x1a\n"


class Detector(NamedTuple):
    """The detector's numbers as text, and the pixels that hold no measurement (slow, fast), None if the file has no mask."""

    header: dict[str, str]
    masked: np.ndarray | None


def is_hdf5(name: str) -> bool:
    """Whether a file is an HDF5 file."""
    try:
        with open(name, "rb") as stream:
            return stream.read(len(_OPENING)) == _OPENING
    except OSError:
        return False


def detector(name: str, dataset: str, number: int, shape: tuple[int, int]) -> Detector:
    """The detector of image `number` in an HDF5 file; `dataset` is the path of its data, "" if it is not stated.

    A mask whose shape differs from the image's (slow, fast) is ignored, with a warning. A file that cannot be read gives an
    empty Detector.
    """
    import h5py

    try:
        with h5py.File(name, "r") as file:
            entry = dataset.strip("/").partition("/")[0]
            groups = [group for group in _groups(file, [entry] if entry in file else list(file))]
            header = {key: text for group in reversed(groups) for key, text in _numbers(group)}
            return Detector(header, _mask(groups, name, number, shape))
    except (OSError, KeyError, RuntimeError, ValueError, TypeError):
        return Detector({}, None)


def _groups(file, entries: list[str]) -> Iterator:
    """The detector groups of some entries, each before its detectorSpecific group."""
    import h5py

    for entry in entries:
        instrument = _member(_member(file, entry), "instrument")
        for key in instrument or ():
            group = _member(instrument, key)
            if isinstance(group, h5py.Group) and {MASK, SPECIFIC, *NUMBERS} & set(group):
                yield group
                specific = _member(group, SPECIFIC)
                if isinstance(specific, h5py.Group):
                    yield specific


def _member(group, key):
    """The member of a group with this key; None if there is none, or if it is a broken link."""
    import h5py

    try:
        return group[key] if isinstance(group, h5py.Group) and key in group else None
    except (KeyError, OSError):
        return None


def _numbers(group) -> Iterator[tuple[str, str]]:
    for key in NUMBERS:
        dataset = _member(group, key)
        if dataset is not None and getattr(dataset, "size", 0) == 1:
            value = np.ravel(dataset[()])[0]
            if np.issubdtype(np.asarray(value).dtype, np.number):
                yield key, repr(value.item())


def _mask(groups, name, number, shape) -> np.ndarray | None:
    """The first mask that fits the image: (slow, fast), or (image, slow, fast). A good pixel has the value 0."""
    for group in groups:
        mask = _member(group, MASK)
        if mask is None:
            continue
        if mask.shape == shape:
            return np.asarray(mask[()]) != 0
        if len(mask.shape) == 3 and mask.shape[1:] == shape and (mask.shape[0] == 1 or number < mask.shape[0]):
            return np.asarray(mask[0 if mask.shape[0] == 1 else number]) != 0
        problem = f"{os.fspath(name)!r}: its {MASK} of {' x '.join(map(str, mask.shape))} does not fit an image of"
        warnings.warn(f"{problem} {shape[0]} x {shape[1]} (slow x fast), and is ignored", stacklevel=2)
    return None
