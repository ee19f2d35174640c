"""What is seen of an image: the part that counts, residuals, peaks and profiles, blocks of pixels. It draws nothing."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

PEAKS = 8
"""So many peaks of an image get profiles."""

EXTREME = 5.0
"""The scale of residuals ends there, in standard deviations."""

SEPARATION = 6
"""A peak is the brightest of so many pixels on every side."""

SURROUNDINGS = 25
"""The side of the square, in pixels, whose mean a peak has to exceed, ..."""

SIGNIFICANT = 5.0
"""... by so many standard deviations of the mean of 3 x 3 pixels."""

BRIGHTEST = 1e30
"""Brighter pixels count as so bright in the search for peaks, whose sums are of float32."""

NARROWEST, WIDEST = 8, 24
"""Profiles reach so many pixels from the peak, at least and at most."""


class View(NamedTuple):
    """The part of an image that counts, in its bounding box: arrays (slow, fast), and where the box begins.

    counts: whether a pixel counts; residual: in standard deviations, NaN where a pixel does not count or has none.
    """

    row: int
    column: int
    data: np.ndarray
    before: np.ndarray
    after: np.ndarray
    sigma: np.ndarray
    counts: np.ndarray
    residual: np.ndarray


class Peak(NamedTuple):
    """The place of a peak, in pixels of a View, and how wide it is at half its height."""

    row: int
    column: int
    width: int


class Profile(NamedTuple):
    """A peak along one direction: positions in pixels, and sums across, with the standard deviation of what was measured.

    Sums are of pixels that count, in all three; NaN where none does.
    """

    position: np.ndarray
    data: np.ndarray
    sigma: np.ndarray
    before: np.ndarray
    after: np.ndarray


def view(fit: Any) -> View | None:
    """The part of an image that counts; None if no pixel does."""
    counts = np.isfinite(fit.data)
    rows, columns = (np.flatnonzero(counts.any(axis)) for axis in (1, 0))
    if not rows.size:
        return None
    box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    data, before, after, sigma = (np.asarray(image)[box] for image in (fit.data, fit.before, fit.after, fit.sigma))
    return View(int(rows[0]), int(columns[0]), data, before, after, sigma, counts[box], residual_of(data, after, sigma))


def residual_of(data, after, sigma) -> np.ndarray:
    """(data - after) / sigma; NaN where one of them is not finite or sigma is not above 0."""
    known = np.isfinite(data) & np.isfinite(after) & np.isfinite(sigma) & (sigma > 0.0)
    found = np.full(data.shape, np.nan)
    np.subtract(data, after, out=found, where=known)
    return np.divide(found, sigma, out=found, where=known)


def peaks(seen: View) -> list[Peak]:
    """The brightest separate peaks above their surroundings, the brightest first: at most PEAKS."""
    from scipy import ndimage

    height = _height(seen)
    summit = (height == ndimage.maximum_filter(height, 2 * SEPARATION + 1)) & (height > 0.0)
    places = np.argwhere(summit)[np.argsort(-height[summit], kind="stable")][: 4 * PEAKS]
    found = [Peak(int(row), int(column), _width(height, row, column)) for row, column in places]
    return [peak for peak in found if height[peak.row, peak.column] > SIGNIFICANT * _noise(seen, peak)][:PEAKS]


def _height(seen: View) -> np.ndarray:
    """By how much the mean of 3 x 3 pixels exceeds that of the surroundings, of pixels that count; -inf where one does not."""
    from scipy import ndimage

    lit = np.where(seen.counts, seen.data, 0.0).clip(-BRIGHTEST, BRIGHTEST).astype(np.float32)
    weight = seen.counts.astype(np.float32)
    means = []
    for side in (3, SURROUNDINGS):
        share = ndimage.uniform_filter(weight, side, mode="constant")
        share[~seen.counts] = 1.0
        means.append(ndimage.uniform_filter(lit, side, mode="constant") / share)
    return np.where(seen.counts, means[0] - means[1], np.float32(-np.inf))


def _width(height: np.ndarray, row: int, column: int) -> int:
    """The larger extent, in pixels, of what is connected to a peak and above half its height."""
    from scipy import ndimage

    box = _window(row, column, WIDEST, WIDEST)
    labels, _ = ndimage.label(height[box] >= height[row, column] / 2.0)
    own = labels == labels[row - box[0].start, column - box[1].start]
    return max(int(np.ptp(np.flatnonzero(own.any(axis)))) + 1 for axis in (0, 1))


def _noise(seen: View, peak: Peak) -> float:
    """The standard deviation of the mean of the 3 x 3 pixels about a peak."""
    box = _window(peak.row, peak.column, 1, 1)
    sigma = np.nan_to_num(seen.sigma[box][seen.counts[box]], posinf=np.inf)
    return float(np.sqrt(np.sum(sigma**2))) / sigma.size


def _window(row: int, column: int, rows: int, columns: int) -> tuple[slice, slice]:
    """The pixels so many rows and columns from one at most."""
    return slice(max(row - rows, 0), row + rows + 1), slice(max(column - columns, 0), column + columns + 1)


def profile(seen: View, peak: Peak, reach: int, along: int) -> Profile:
    """The profile of a peak along slow (0) or fast (1), so many pixels to each side, summed over half as many across."""
    reaches = [reach // 2, reach // 2]
    reaches[along] = reach
    box = _window(peak.row, peak.column, *reaches)
    counts, across = seen.counts[box], 1 - along
    some = counts.any(axis=across)

    def summed(image):
        return np.where(some, np.where(counts, image, 0.0).sum(axis=across), np.nan)

    position = (seen.row, seen.column)[along] + box[along].start + np.arange(len(some))
    sigma = np.sqrt(summed(np.nan_to_num(seen.sigma[box], posinf=0.0) ** 2))
    return Profile(position, summed(seen.data[box]), sigma, summed(seen.before[box]), summed(seen.after[box]))


def blocks(image: np.ndarray, step: int) -> np.ndarray:
    """`image` as (rows, columns, step, step) blocks, NaN beyond its edges."""
    rows, columns = (-(-size // step) for size in image.shape)
    padding = [(0, rows * step - image.shape[0]), (0, columns * step - image.shape[1])]
    padded = np.pad(image, padding, constant_values=np.nan)
    return padded.reshape(rows, step, columns, step).swapaxes(1, 2)


def brightest(image: np.ndarray, step: int) -> np.ndarray:
    """A pixel for every block: the brightest one, so that a peak of one pixel stays visible; NaN is left out."""
    return image if step == 1 else np.fmax.reduce(blocks(image, step), axis=(2, 3))


def together(residual: np.ndarray, step: int) -> np.ndarray:
    """A residual for every block, which has a standard deviation of 1 if that of every pixel has; NaN is left out.

    That is the sum over the root of how many there are. A block with a residual beyond EXTREME has the one that is farthest
    from 0: a peak that is off by less than a block leaves residuals of both signs, whose sum is small.
    """
    if step == 1:
        return residual
    each = blocks(residual, step)
    count = np.isfinite(each).sum(axis=(2, 3))
    total = np.nansum(each, axis=(2, 3)) / np.sqrt(np.maximum(count, 1))
    low, high = np.fmin.reduce(each, axis=(2, 3)), np.fmax.reduce(each, axis=(2, 3))
    farthest = np.where(-low > high, low, high)
    return np.where(count == 0, np.nan, np.where(np.abs(farthest) > EXTREME, farthest, total))
