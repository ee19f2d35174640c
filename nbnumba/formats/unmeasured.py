"""Pixels of a detector image that hold no measurement: as the file's header, mask and number type say, and as a guess."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from nbnumba.formats.images import HDF5, Image
from nbnumba.formats.text import number

SATURATION_KEYS = ("SATURATED_VALUE", "CCD_IMAGE_SATURATION", "saturated_value", "_array_intensities.overload")
"""Keys of headers (ADSC, d*TREK, MarCCD, imgCIF) that say from which value on a pixel is saturated."""

CUTOFF_KEYS = ("Count_cutoff", "countrate_correction_count_cutoff")
"""The same of Dectris, in a header of its own or in the text of another."""

LARGEST_VALID, LEAST_VALID = "saturation_value", "underload_value"
"""Keys of NXmx: pixels above the one or below the other are known to be invalid."""

UNDEFINED = ("_array_intensities.undefined_value", "Dummy")
"""Keys of headers (imgCIF, EDF) that say which value stands for no measurement; DDummy: how far from it still does."""

_CUTOFF = re.compile(r"Count_cutoff\s+([0-9.]+(?:[eE][0-9]+)?)")
_DECTRIS = re.compile(r"PILATUS|EIGER|Count_cutoff")
_MARKS = (-1, -2)
_LONG = 32
"""Pixels of a row or column that noise does not make negative all at once."""


class Limit(NamedTuple):
    """A value from which on, or (inclusive False) beyond which, pixels hold no measurement."""

    value: float
    inclusive: bool = True

    def __str__(self) -> str:
        return f"from {self.value:.10g} on" if self.inclusive else f"above {self.value:.10g}"

    def reached(self, pixels: np.ndarray) -> np.ndarray:
        """Which pixels (slow, fast) are at it."""
        return pixels >= self.value if self.inclusive else pixels > self.value


def in_gaps(image: Image) -> np.ndarray:
    """Which pixels hold no measurement (slow, fast), as the format, the header and the type of the numbers say.

    Those are what is no finite number; the least number of a signed type; the two largest of an unsigned type of 4 bytes and
    more, or of any in HDF5, as detectors of Dectris write them; what the header calls undefined; where it is one of Dectris,
    and so counts photons, integers below 0. Others below 0 are data: a dark image was subtracted.
    """
    pixels = image.pixels
    if pixels.dtype.kind not in "iu":
        found = ~np.isfinite(pixels)
    elif pixels.dtype.kind == "u":
        marked = pixels.dtype.itemsize >= 4 or image.kind == HDF5
        found = pixels >= np.iinfo(pixels.dtype).max - 1 if marked else np.zeros(pixels.shape, dtype=bool)
    else:
        found = pixels < 0 if is_dectris(image) else pixels == np.iinfo(pixels.dtype).min
    for key in UNDEFINED:
        value = number(image.header.get(key, ""))
        if value is not None:
            found |= np.abs(pixels.astype(np.float64) - value) <= (number(image.header.get("DDummy", "")) or 0.0)
    return found


def is_dectris(image: Image) -> bool:
    """Whether a header is that of a detector of Dectris, which counts photons."""
    return any(_DECTRIS.search(text) for entry in image.header.items() for text in entry)


def guessed_gaps(image: Image) -> np.ndarray:
    """Pixels below 0 that look like gaps, of which the file says nothing (slow, fast).

    Those of an integer image that has no others below 0 than -1 and -2, and whole rows or columns of them.
    """
    pixels, nowhere = image.pixels, np.zeros(image.pixels.shape, dtype=bool)
    if pixels.dtype.kind != "i" or is_dectris(image):
        return nowhere
    below = pixels < 0
    lines = [below.all(axis=axis).any() and pixels.shape[axis] >= _LONG for axis in (0, 1)]
    return below if any(lines) and np.isin(pixels[below], _MARKS).all() else nowhere


def saturation(image: Image) -> Limit | None:
    """From where on a pixel is saturated: as the header says, else the largest number of an integer of 1 or 2 bytes."""
    kind = image.pixels.dtype
    narrow = kind.kind in "iu" and kind.itemsize <= 2
    largest = Limit(float(np.iinfo(kind).max)) if narrow else None
    found = _stated(image)
    if found is None or (largest is not None and found.value >= largest.value):
        return largest
    return found


def _stated(image: Image) -> Limit | None:
    """What the header says of saturation."""
    said = [image.header.get(key, "") for key in (*SATURATION_KEYS, *CUTOFF_KEYS)]
    said += [found[1] for text in image.header.values() if (found := _CUTOFF.search(text))]
    said += image.header.get("CCDPARM", "").split()[4:5]  # Bruker's: noise, electrons per ADU and photon, bias, full scale
    numbers = [number(text.split()[0]) for text in said if text.split()]
    found = [Limit(value) for value in numbers if value is not None and value > 0.0]
    most = number(image.header.get(LARGEST_VALID, ""))
    found += [] if most is None else [Limit(most, inclusive=False)]
    return min(found, default=None)


def below_limit(image: Image) -> np.ndarray:
    """Which pixels are below the least number that is valid, as NXmx says (slow, fast)."""
    least = number(image.header.get(LEAST_VALID, ""))
    return np.zeros(image.pixels.shape, dtype=bool) if least is None else image.pixels < least


def within(pixels: np.ndarray, ranges: Sequence[tuple[float, float]]) -> np.ndarray:
    """Which pixels are in any of some ranges, ends included (slow, fast)."""
    found = np.zeros(pixels.shape, dtype=bool)
    for low, high in ranges:
        found |= (pixels >= low) & (pixels <= high)
    return found
