"""What the pictures of a report show of an image: its counted part, residuals, peaks, profiles and blocks. It draws nothing."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

PEAKS = 8
"""The largest number of peaks of an image that get profiles."""

EXTREME = 5.0
"""The end of the scale of residuals, in standard deviations."""

SEPARATION = 6
"""A peak is brighter than all pixels within this distance along slow and fast, in pixels."""

SURROUNDINGS = 25
"""The side, in pixels, of the square about a peak that gives the mean of its surroundings."""

SIGNIFICANT = 5.0
"""A peak exceeds its surroundings by this many standard deviations of the mean of 3 x 3 pixels."""

BRIGHTEST = 1e30
"""The search for peaks cuts brighter pixels to this value, because it sums in float32."""

NARROWEST, WIDEST = 8, 24
"""The smallest and the largest distance of the ends of a profile from its peak, in pixels."""


class CountedPart(NamedTuple):
    """The bounding box of the pixels of an image that count: its first row and column, and arrays (slow, fast) of the box.

    is_measured: whether a pixel counts; residual: in standard deviations, NaN where a pixel does not count or has no residual.
    """

    row: int
    column: int
    data: np.ndarray
    before: np.ndarray
    after: np.ndarray
    sigma: np.ndarray
    is_measured: np.ndarray
    residual: np.ndarray


class Peak(NamedTuple):
    """The position of a peak, in pixels of a CountedPart, and its full width at half maximum in pixels."""

    row: int
    column: int
    width: int


class Profile(NamedTuple):
    """The profile of a peak along one direction: positions in pixels of the detector, and sums across that direction.

    data, before and after are sums over the pixels that count, and NaN where no pixel counts; sigma is the standard deviation
    of data.
    """

    position: np.ndarray
    data: np.ndarray
    sigma: np.ndarray
    before: np.ndarray
    after: np.ndarray


def counted_part(fit: Any) -> CountedPart | None:
    """The part of an image that counts; None if no pixel counts."""
    is_measured = np.isfinite(fit.data)
    rows, columns = (np.flatnonzero(is_measured.any(axis)) for axis in (1, 0))
    if not rows.size:
        return None
    box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    data, before, after, sigma = (np.asarray(image)[box] for image in (fit.data, fit.before, fit.after, fit.sigma))
    residual = residual_of(data, after, sigma)
    return CountedPart(int(rows[0]), int(columns[0]), data, before, after, sigma, is_measured[box], residual)


def residual_of(data, after, sigma) -> np.ndarray:
    """(data - after) / sigma; NaN where one of them is not finite or sigma is not above 0."""
    known = np.isfinite(data) & np.isfinite(after) & np.isfinite(sigma) & (sigma > 0.0)
    residual = np.full(data.shape, np.nan)
    np.subtract(data, after, out=residual, where=known)
    return np.divide(residual, sigma, out=residual, where=known)


def brightest_peaks(part: CountedPart) -> list[Peak]:
    """The brightest separate peaks that stand out from their surroundings, at most PEAKS, the brightest first."""
    from scipy import ndimage

    height = _height(part)
    summit = (height == ndimage.maximum_filter(height, 2 * SEPARATION + 1)) & (height > 0.0)
    positions = np.argwhere(summit)[np.argsort(-height[summit], kind="stable")][: 4 * PEAKS]
    candidates = [Peak(int(row), int(column), _width(height, row, column)) for row, column in positions]
    return [peak for peak in candidates if height[peak.row, peak.column] > SIGNIFICANT * _noise(part, peak)][:PEAKS]


def _height(part: CountedPart) -> np.ndarray:
    """The mean of 3 x 3 pixels about each pixel less that of its surroundings; -inf where a pixel does not count.

    Both means leave out the pixels that do not count.
    """
    from scipy import ndimage

    clipped = np.where(part.is_measured, part.data, 0.0).clip(-BRIGHTEST, BRIGHTEST).astype(np.float32)
    weight = part.is_measured.astype(np.float32)
    means = []
    for side in (3, SURROUNDINGS):
        share = ndimage.uniform_filter(weight, side, mode="constant")
        share[~part.is_measured] = 1.0
        means.append(ndimage.uniform_filter(clipped, side, mode="constant") / share)
    return np.where(part.is_measured, means[0] - means[1], np.float32(-np.inf))


def _width(height: np.ndarray, row: int, column: int) -> int:
    """The larger extent, in pixels, of the region that is connected to a peak and above half its height."""
    from scipy import ndimage

    box = _window(row, column, WIDEST, WIDEST)
    labels, _ = ndimage.label(height[box] >= height[row, column] / 2.0)
    region = labels == labels[row - box[0].start, column - box[1].start]
    return max(int(np.ptp(np.flatnonzero(region.any(axis)))) + 1 for axis in (0, 1))


def _noise(part: CountedPart, peak: Peak) -> float:
    """The standard deviation of the mean of the 3 x 3 pixels about a peak."""
    box = _window(peak.row, peak.column, 1, 1)
    sigma = np.nan_to_num(part.sigma[box][part.is_measured[box]], posinf=np.inf)
    return float(np.sqrt(np.sum(sigma**2))) / sigma.size


def _window(row: int, column: int, rows: int, columns: int) -> tuple[slice, slice]:
    """The box of pixels that are at most `rows` rows and `columns` columns away from a pixel."""
    return slice(max(row - rows, 0), row + rows + 1), slice(max(column - columns, 0), column + columns + 1)


def peak_profile(part: CountedPart, peak: Peak, reach: int, along: int) -> Profile:
    """The profile of a peak along slow (0) or fast (1), `reach` pixels to each side, summed over half as many across."""
    reaches = [reach // 2, reach // 2]
    reaches[along] = reach
    box = _window(peak.row, peak.column, *reaches)
    is_measured, across = part.is_measured[box], 1 - along
    any_measured = is_measured.any(axis=across)

    def summed(image):
        return np.where(any_measured, np.where(is_measured, image, 0.0).sum(axis=across), np.nan)

    position = (part.row, part.column)[along] + box[along].start + np.arange(len(any_measured))
    sigma = np.sqrt(summed(np.nan_to_num(part.sigma[box], posinf=0.0) ** 2))
    return Profile(position, summed(part.data[box]), sigma, summed(part.before[box]), summed(part.after[box]))


def blocks(image: np.ndarray, step: int) -> np.ndarray:
    """The blocks of step x step pixels of an image, as an array (rows, columns, step, step), with NaN beyond its edges."""
    rows, columns = (-(-size // step) for size in image.shape)
    padding = [(0, rows * step - image.shape[0]), (0, columns * step - image.shape[1])]
    padded = np.pad(image, padding, constant_values=np.nan)
    return padded.reshape(rows, step, columns, step).swapaxes(1, 2)


def brightest_of_blocks(image: np.ndarray, step: int) -> np.ndarray:
    """The brightest pixel of every block, so that a peak of one pixel stays visible. NaN is left out."""
    return image if step == 1 else np.fmax.reduce(blocks(image, step), axis=(2, 3))


def residuals_of_blocks(residual: np.ndarray, step: int) -> np.ndarray:
    """A residual for every block, with a standard deviation of 1 if the residuals of its pixels have one of 1. NaN is left out.

    It is the sum of n residuals over the square root of n. But if a residual of the block is beyond EXTREME, the block gets
    the residual farthest from 0: a peak that is shifted by less than a block leaves residuals of both signs, which cancel.
    """
    if step == 1:
        return residual
    by_block = blocks(residual, step)
    count = np.isfinite(by_block).sum(axis=(2, 3))
    total = np.nansum(by_block, axis=(2, 3)) / np.sqrt(np.maximum(count, 1))
    low, high = np.fmin.reduce(by_block, axis=(2, 3)), np.fmax.reduce(by_block, axis=(2, 3))
    farthest = np.where(-low > high, low, high)
    return np.where(count == 0, np.nan, np.where(np.abs(farthest) > EXTREME, farthest, total))
