"""Pixels of a detector image that hold no measurement, found from the file's header, mask and number type, or by a guess."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from nbnumba.formats.images import HDF5, Image
from nbnumba.formats.smv import SATURATION_KEY
from nbnumba.formats.text import number

SATURATION_KEYS = ("SATURATED_VALUE", SATURATION_KEY, "saturated_value", "_array_intensities.overload")
"""Keys of headers (ADSC, d*TREK, MarCCD, imgCIF) that hold the value from which on a pixel is saturated."""

CUTOFF_KEYS = ("Count_cutoff", "countrate_correction_count_cutoff")
"""Keys of Dectris for the same value, in a Dectris header or within the text of another header."""

LARGEST_VALID, LEAST_VALID = "saturation_value", "underload_value"
"""Keys of NXmx: pixels above the first value or below the second are invalid."""

UNDEFINED = ("_array_intensities.undefined_value", "Dummy")
"""Keys of headers (imgCIF, EDF) that hold the value of a pixel without a measurement; DDummy is the tolerance of that value."""

_CUTOFF = re.compile(r"Count_cutoff\s+([0-9.]+(?:[eE][0-9]+)?)")
_DECTRIS = re.compile(r"PILATUS|EIGER|Count_cutoff")
_MARKS = (-1, -2)
_LONG = 32
"""The length of a row or column from which on noise does not make all its pixels negative."""


class Limit(NamedTuple):
    """A value from which on, or (inclusive False) beyond which, pixels hold no measurement."""

    value: float
    inclusive: bool = True

    def __str__(self) -> str:
        return f"from {self.value:.10g} on" if self.inclusive else f"above {self.value:.10g}"

    def reached(self, pixels: np.ndarray) -> np.ndarray:
        """Which pixels (slow, fast) are at or beyond the limit."""
        return pixels >= self.value if self.inclusive else pixels > self.value


def in_gaps(image: Image) -> np.ndarray:
    """Which pixels hold no measurement (slow, fast), according to the format, the header and the type of the numbers.

    They are values that are not finite; the least number of a signed type; the two largest numbers of an unsigned type, which
    Dectris detectors write, if it has at least 4 bytes or the file is HDF5; values that the header declares undefined; and
    integers below 0 if the header is that of a Dectris detector, which counts photons. Other negative values are data, from
    which a dark image was subtracted.
    """
    pixels = image.pixels
    if pixels.dtype.kind not in "iu":
        gaps = ~np.isfinite(pixels)
    elif pixels.dtype.kind == "u":
        has_marks = pixels.dtype.itemsize >= 4 or image.kind == HDF5
        gaps = pixels >= np.iinfo(pixels.dtype).max - 1 if has_marks else np.zeros(pixels.shape, dtype=bool)
    else:
        gaps = pixels < 0 if is_dectris(image) else pixels == np.iinfo(pixels.dtype).min
    for key in UNDEFINED:
        value = number(image.header.get(key, ""))
        if value is not None:
            gaps |= np.abs(pixels.astype(np.float64) - value) <= (number(image.header.get("DDummy", "")) or 0.0)
    return gaps


def is_dectris(image: Image) -> bool:
    """Whether the header is that of a Dectris detector, which counts photons."""
    return any(_DECTRIS.search(text) for entry in image.header.items() for text in entry)


def guessed_gaps(image: Image) -> np.ndarray:
    """Negative pixels that look like gaps although the file does not declare them (slow, fast).

    An integer image has such gaps if -1 and -2 are its only negative values and they fill whole rows or columns.
    """
    pixels, nowhere = image.pixels, np.zeros(image.pixels.shape, dtype=bool)
    if pixels.dtype.kind != "i" or is_dectris(image):
        return nowhere
    below = pixels < 0
    lines = [below.all(axis=axis).any() and pixels.shape[axis] >= _LONG for axis in (0, 1)]
    return below if any(lines) and np.isin(pixels[below], _MARKS).all() else nowhere


def saturation(image: Image) -> Limit | None:
    """The value from which on a pixel is saturated: the header's, or else the largest number of an integer of 1 or 2 bytes."""
    kind = image.pixels.dtype
    narrow = kind.kind in "iu" and kind.itemsize <= 2
    largest = Limit(float(np.iinfo(kind).max)) if narrow else None
    stated = _stated_saturation(image)
    if stated is None or (largest is not None and stated.value >= largest.value):
        return largest
    return stated


def _stated_saturation(image: Image) -> Limit | None:
    """The lowest saturation limit in the header; None if it states none."""
    entries = [image.header.get(key, "") for key in (*SATURATION_KEYS, *CUTOFF_KEYS)]
    entries += [match[1] for text in image.header.values() if (match := _CUTOFF.search(text))]
    entries += image.header.get("CCDPARM", "").split()[4:5]  # Bruker's: noise, electrons per ADU and photon, bias, full scale
    numbers = [number(text.split()[0]) for text in entries if text.split()]
    limits = [Limit(value) for value in numbers if value is not None and value > 0.0]
    largest_valid = number(image.header.get(LARGEST_VALID, ""))
    limits += [] if largest_valid is None else [Limit(largest_valid, inclusive=False)]
    return min(limits, default=None)


def below_limit(image: Image) -> np.ndarray:
    """Which pixels are below the least valid value of NXmx (slow, fast)."""
    least = number(image.header.get(LEAST_VALID, ""))
    return np.zeros(image.pixels.shape, dtype=bool) if least is None else image.pixels < least


def within(pixels: np.ndarray, ranges: Sequence[tuple[float, float]]) -> np.ndarray:
    """Which pixels lie in at least one of the ranges, ends included (slow, fast)."""
    inside = np.zeros(pixels.shape, dtype=bool)
    for low, high in ranges:
        inside |= (pixels >= low) & (pixels <= high)
    return inside
