"""The measured and the calculated spots of an image: how many are found, their R factor and their shift in pixels (R6)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import ndimage

NEIGHBOURS, LEAST_FRACTION = 15, 0.1
"""Edge of a square (pixels), and the least fraction of its brightest pixel in a pixel of a spot; side lobes have less."""

AROUND = 31
"""Edge of the square (pixels) over which the residuals besides spots are averaged, and counted as background."""

VISIBLE = 6.0
"""The least intensity of a visible spot, in standard deviations."""

CLOSE = 0.5
"""The largest shift of a spot at its calculated position, in pixels or in radii of the spot, whichever is more."""

FURTHEST = 6
"""The distance (pixels), along either axis, within which a calculated spot is searched for."""

MOST = 200
"""The largest number of spots that are searched for, the brightest ones."""


class Spots(NamedTuple):
    """How the measured spots of an image agree with the calculated ones (R6).

    calculated: the number of spots that should be visible, MOST at most. found: the number of them that are visible near their
    calculated positions. placed: the number of them that are visible at these positions. visible: the number of all visible
    spots; indexed: the number of these that have a calculated spot nearby. r_factor: the sum of |I_measured - I_calculated|
    over the sum of I_measured, of integrated intensities of calculated spots. shift: the median distance (pixels) between
    measured and calculated positions. The last two are NaN if there is no spot.
    """

    calculated: int
    found: int
    placed: int
    visible: int
    indexed: int
    r_factor: float
    shift: float


def spots(
    data: np.ndarray,
    mean: np.ndarray,
    crystal: np.ndarray,
    sigma: np.ndarray,
    photon: float,
    places: Sequence[tuple[slice, slice]] = (),
) -> Spots:
    """The agreement of measured and calculated spots, from images (slow, fast) in units of the data (R6).

    places: rows and columns of the panels, if there are several in a sheet; those are looked at with empty rows between them,
    so that no panel sees another. data: NaN where a pixel is left out. mean: the expected image, of which `crystal` is the
    crystal's part. sigma: the standard deviations of the data. photon: the value of one photon in the data, or 0 if they are no
    counts.
    """
    if len(places) > 1:
        data, mean, crystal, sigma = (_apart(values, places) for values in (data, mean, crystal, sigma))
    counts = ~np.isnan(data) & np.isfinite(sigma)
    if not counts.any():
        return Spots(0, 0, 0, 0, 0, float("nan"), float("nan"))
    box = tuple(slice(indices.min(), indices.max() + 1) for indices in np.nonzero(counts))
    counts, data, mean, crystal, sigma = (values[box] for values in (counts, data, mean, crystal, sigma))
    crystal, variance = (np.where(counts, values, 0.0) for values in (crystal, np.square(np.where(counts, sigma, 0.0))))
    inside = _bright(crystal)
    residual = _local_mean(np.where(counts, data - mean, 0.0), counts & ~inside)
    measured = np.where(counts, data - (mean - crystal) - residual, 0.0)
    labels, number = ndimage.label(inside, np.ones((3, 3)))
    indices = np.arange(1, number + 1)
    sums = [np.atleast_1d(ndimage.sum_labels(values, labels, indices)) for values in (crystal, measured, variance, inside)]
    i_calculated, i_measured, noise, area = sums if number else np.zeros((4, 0))
    bright = np.flatnonzero(i_calculated >= VISIBLE * np.sqrt(noise + photon * photon))
    bright = bright[np.argsort(-i_calculated[bright], kind="stable")][:MOST]
    boxes = ndimage.find_objects(labels)
    images = measured, crystal, variance, labels
    shifts = np.array([_shift(*images, label=int(i) + 1, box=boxes[i], photon=photon) for i in bright])
    near = shifts <= np.maximum(CLOSE, CLOSE * np.sqrt(area[bright] / np.pi))
    total = float(i_measured[bright].sum())
    return Spots(
        len(bright),
        int(np.count_nonzero(~np.isnan(shifts))),
        int(np.count_nonzero(near)),
        *_visible(measured, variance, counts, ndimage.binary_dilation(inside, np.ones((3, 3)), 2), photon),
        float(np.abs(i_measured - i_calculated)[bright].sum()) / total if total > 0.0 else float("nan"),
        float(np.nanmedian(shifts)) if not np.isnan(shifts).all() else float("nan"),
    )


def _apart(values, places):
    """The panels of a sheet (slow, fast) with empty rows between them, which are NaN."""
    gap, rows = AROUND + 2 * FURTHEST, sum(place[0].stop - place[0].start for place in places)
    apart = np.full((rows + gap * (len(places) - 1), values.shape[1]), np.nan)
    for number, place in enumerate(places):
        first = place[0].start + gap * number
        apart[first : first + place[0].stop - place[0].start, place[1]] = values[place]
    return apart


def _bright(image):
    """Which pixels belong to spots: those that have at least LEAST_FRACTION of the brightest pixel nearby."""
    return (image > 0.0) & (image >= LEAST_FRACTION * ndimage.maximum_filter(image, NEIGHBOURS))


def _local_mean(values, counts):
    """The mean around every pixel of those values (slow, fast) that count; 0 where there are none."""
    weight = ndimage.uniform_filter(counts.astype(float), AROUND, mode="constant")
    mean = ndimage.uniform_filter(np.where(counts, values, 0.0), AROUND, mode="constant")
    return np.where(weight > 1e-9, mean / np.maximum(weight, 1e-9), 0.0)


def _visible(measured, variance, counts, near, photon):
    """The number of visible spots in data without background, and the number of those that have a calculated one nearby.

    near (slow, fast): the pixels at or next to calculated spots.
    """
    square = np.ones((3, 3))
    total = ndimage.convolve(measured, square, mode="constant")
    noise = ndimage.convolve(variance, square, mode="constant") + photon * photon
    peaks = counts & (total >= ndimage.maximum_filter(total, NEIGHBOURS)) & (total >= VISIBLE * np.sqrt(noise)) & (total > 0.0)
    return int(peaks.sum()), int((peaks & near).sum())


def _shift(measured, crystal, variance, labels, *, label, box, photon):
    """The distance (pixels) of a spot from its calculated position, without the light of the others; NaN if it is not visible.

    label: the number of the spot in `labels` (slow, fast); box: the smallest rows and columns that hold it.
    """
    rows, columns = box
    own = labels[box] == label
    profile = np.where(own, crystal[box], 0.0)
    top = np.unravel_index(profile.argmax(), profile.shape)
    reach = range(-FURTHEST, FURTHEST + 1)
    strength = np.full((len(reach), len(reach)), -np.inf)
    for j in reach:
        for i in reach:
            shifted = _moved(box, j, i)
            if min(rows.start + j, columns.start + i) < 0 or measured[shifted].shape != profile.shape:
                continue
            if labels[shifted][top] not in (0, label):
                continue
            light = measured[shifted] - np.where(labels[shifted] == label, 0.0, crystal[shifted])
            strength[j + FURTHEST, i + FURTHEST] = float(np.sum(profile * light))
    row, column = np.unravel_index(strength.argmax(), strength.shape)
    j, i = row - FURTHEST, column - FURTHEST
    shifted = _moved(box, j, i)
    noise = np.sqrt(float(np.sum(profile**2 * variance[shifted])) + (photon * profile.max()) ** 2)
    if not strength[row, column] >= VISIBLE * noise:
        return np.nan
    fractions = [_vertex(*line) for line in (_neighbours(strength[:, column], row), _neighbours(strength[row], column))]
    return float(np.hypot(j + fractions[0], i + fractions[1]))


def _moved(box, j, i):
    """A box of pixels, moved by j rows and i columns."""
    return tuple(slice(max(side.start + shift, 0), side.stop + shift) for side, shift in zip(box, (j, i)))


def _neighbours(line, index):
    """The numbers of a line before, at and after an index; -inf beyond the ends of the line."""
    return tuple(line[i] if 0 <= i < len(line) else -np.inf for i in (index - 1, index, index + 1))


def _vertex(before, middle, after):
    """The position of the maximum of the parabola through three numbers at -1, 0 and 1, of which the middle one is largest."""
    if not (np.isfinite(before) and np.isfinite(after)) or before - 2.0 * middle + after >= 0.0:
        return 0.0
    return 0.5 * (before - after) / (before - 2.0 * middle + after)
