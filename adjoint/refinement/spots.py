"""The spots of an image, measured and calculated: which are found where, R factor, shifts in pixels (R6)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import ndimage

NEIGHBOURS, PART = 15, 0.1
"""Edge of the square (pixels) whose brightest pixel says, by this part of it, what belongs to a spot: side lobes do not."""

AROUND = 31
"""Edge of the square (pixels) over which what is left beside spots is taken for background."""

VISIBLE = 6.0
"""Standard deviations from which on a spot is visible."""

CLOSE = 0.5
"""Pixels, and radii of a spot, by which one that is where it should be is off at most: the larger of the two."""

FURTHEST = 6
"""Pixels within which a calculated spot is looked for, along either axis."""

MOST = 200
"""So many spots are looked for, the brightest ones."""


class Spots(NamedTuple):
    """How the spots of an image agree with those that are calculated.

    calculated: spots that should be visible, MOST at most; found: those of them that are visible near; placed: those that are
    visible where they should be. visible: spots that are visible; indexed: those of them where one is calculated. r_factor: sum
    |I_measured - I_calculated| / sum I_measured over calculated spots, of integrated intensities. shift: median distance
    (pixels) between a calculated spot and where it is found. NaN: there is none.
    """

    calculated: int
    found: int
    placed: int
    visible: int
    indexed: int
    r_factor: float
    shift: float


def spots(data: np.ndarray, mean: np.ndarray, crystal: np.ndarray, sigma: np.ndarray, photon: float) -> Spots:
    """The spots of data (slow, fast), NaN where left out, and of what is expected, of which `crystal` is the crystal's part.

    sigma (slow, fast): the standard deviation of a datum. photon: what one counts in the data, or 0.
    """
    counts = ~np.isnan(data) & np.isfinite(sigma)
    if not counts.any():
        return Spots(0, 0, 0, 0, 0, float("nan"), float("nan"))
    box = tuple(slice(places.min(), places.max() + 1) for places in np.nonzero(counts))
    counts, data, mean, crystal, sigma = (values[box] for values in (counts, data, mean, crystal, sigma))
    crystal, variance = (np.where(counts, values, 0.0) for values in (crystal, np.square(np.where(counts, sigma, 0.0))))
    inside = _bright(crystal)
    left = _beside(np.where(counts, data - mean, 0.0), counts & ~inside)
    measured = np.where(counts, data - (mean - crystal) - left, 0.0)
    labels, number = ndimage.label(inside, np.ones((3, 3)))
    each = np.arange(1, number + 1)
    sums = [np.atleast_1d(ndimage.sum_labels(values, labels, each)) for values in (crystal, measured, variance, inside)]
    calculated, found, noise, area = sums if number else np.zeros((4, 0))
    bright = np.flatnonzero(calculated >= VISIBLE * np.sqrt(noise + photon * photon))
    bright = bright[np.argsort(-calculated[bright], kind="stable")][:MOST]
    boxes = ndimage.find_objects(labels)
    shifts = np.array([_shift(measured, crystal, variance, labels, int(i) + 1, boxes[i], photon) for i in bright])
    near = shifts <= np.maximum(CLOSE, CLOSE * np.sqrt(area[bright] / np.pi))
    total = float(found[bright].sum())
    return Spots(
        len(bright),
        int(np.count_nonzero(~np.isnan(shifts))),
        int(np.count_nonzero(near)),
        *_visible(measured, variance, counts, ndimage.binary_dilation(inside, np.ones((3, 3)), 2), photon),
        float(np.abs(found - calculated)[bright].sum()) / total if total > 0.0 else float("nan"),
        float(np.nanmedian(shifts)) if not np.isnan(shifts).all() else float("nan"),
    )


def _bright(image):
    """Which pixels belong to spots: as bright as a part of the brightest that is near."""
    return (image > 0.0) & (image >= PART * ndimage.maximum_filter(image, NEIGHBOURS))


def _beside(values, counts):
    """The mean around every pixel of the values (slow, fast) that count."""
    weight = ndimage.uniform_filter(counts.astype(float), AROUND, mode="constant")
    mean = ndimage.uniform_filter(np.where(counts, values, 0.0), AROUND, mode="constant")
    return np.where(weight > 1e-9, mean / np.maximum(weight, 1e-9), 0.0)


def _visible(measured, variance, counts, near, photon):
    """How many spots are visible in data without background, and of how many one is calculated near."""
    square = np.ones((3, 3))
    total = ndimage.convolve(measured, square, mode="constant")
    noise = ndimage.convolve(variance, square, mode="constant") + photon * photon
    peaks = counts & (total >= ndimage.maximum_filter(total, NEIGHBOURS)) & (total >= VISIBLE * np.sqrt(noise)) & (total > 0.0)
    return int(peaks.sum()), int((peaks & near).sum())


def _shift(measured, crystal, variance, labels, label, box, photon):
    """How far (pixels) from where it is calculated a spot is visible, beside the others; NaN where it is not."""
    rows, columns = box
    own = labels[box] == label
    profile = np.where(own, crystal[box], 0.0)
    top = np.unravel_index(profile.argmax(), profile.shape)
    reach = range(-FURTHEST, FURTHEST + 1)
    strength = np.full((len(reach), len(reach)), -np.inf)
    for j in reach:
        for i in reach:
            there = _moved(box, j, i)
            if min(rows.start + j, columns.start + i) < 0 or measured[there].shape != profile.shape:
                continue
            if labels[there][top] not in (0, label):
                continue
            mine = labels[there] == label
            light = measured[there] - np.where(mine, 0.0, crystal[there])
            strength[j + FURTHEST, i + FURTHEST] = float(np.sum(profile * light))
    row, column = np.unravel_index(strength.argmax(), strength.shape)
    j, i = row - FURTHEST, column - FURTHEST
    there = _moved(box, j, i)
    noise = np.sqrt(float(np.sum(profile**2 * variance[there])) + (photon * profile.max()) ** 2)
    if not strength[row, column] >= VISIBLE * noise:
        return np.nan
    along = [_vertex(*line) for line in (_around(strength[:, column], row), _around(strength[row], column))]
    return float(np.hypot(j + along[0], i + along[1]))


def _moved(box, j, i):
    """A box of pixels, moved by so many rows and columns."""
    return tuple(slice(max(side.start + by, 0), side.stop + by) for side, by in zip(box, (j, i)))


def _around(line, at):
    """A number and its neighbours on both sides."""
    return tuple(line[i] if 0 <= i < len(line) else -np.inf for i in (at - 1, at, at + 1))


def _vertex(before, at, after):
    """By how much the top of the parabola through three numbers is beside the one in the middle, which is the largest."""
    if not (np.isfinite(before) and np.isfinite(after)) or before - 2.0 * at + after >= 0.0:
        return 0.0
    return 0.5 * (before - after) / (before - 2.0 * at + after)
