"""How an image agrees with what a crystal makes of it: chi squared, explained contrast, likeness (R6)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import ndimage, stats

from adjoint.refinement.spots import Spots

NEIGHBOURHOOD = 31
"""Edge of the square (pixels) whose mean is taken off before what is measured and calculated are compared."""

LEAST_EXPLAINED = 0.35
"""What a crystal has to account for, of the contrast of an image, for the image to be one of it."""

FEWEST_SPOTS = 3
"""So many spots have to be visible near where they are calculated, where an image has no contrast beyond noise."""

ENOUGH_EXPLAINED = 0.75
"""What a crystal accounts for, of the contrast of an image, whose spots are where they are calculated without a doubt."""

LEAST_PLACED = 0.7
"""The share of calculated spots that are where they should be, of all that are found near, that a crystal has at least."""

LIKE = 6.0
"""Standard deviations above chance from which on an image is like the broad spots of a start."""

VISIBLE, SPREADS = 1.02, 3.0
"""How much larger the contrast has to be than noise makes it, for anything to be seen, and by how many of its spreads."""

BRIGHT = 3.0
"""Standard deviations from which on contrast counts by its root only, where data are not compared as roots anyway."""

RARE = 0.05
"""Photons: where fewer are expected, a single one would count as much as many misfits elsewhere."""

GOOD, SMALL = 1.5, 0.7
"""Reduced chi squared up to which a model counts as one that fits; and below which the scatter is less than sigma says."""


class Agreement(NamedTuple):
    """How an image agrees with what a crystal makes: the share of its contrast that is explained, and its spots (R6)."""

    explained: float
    spots: Spots

    @property
    def shown(self) -> bool:
        """Whether anything stands out from noise: contrast, or some spots near where they are calculated."""
        return not np.isnan(self.explained) or self.spots.found >= FEWEST_SPOTS

    @property
    def placed(self) -> bool:
        """Whether the spots that are found are where they should be, and some are."""
        return self.spots.placed >= LEAST_PLACED * max(self.spots.found, min(self.spots.calculated, 1))

    @property
    def accounted(self) -> bool:
        """Whether the crystal is seen where it is calculated, by its contrast or by the places of its spots."""
        return not self.explained < LEAST_EXPLAINED and (self.explained >= ENOUGH_EXPLAINED or self.placed)


def likeness(data: np.ndarray, crystal: np.ndarray, variance: np.ndarray) -> float:
    """How many standard deviations above chance data (slow, fast), NaN where left out, are like the spots of an image.

    Chance is what the same spots correlate with the data at all other places, by which they can be shifted.
    """
    counts = ~np.isnan(data)
    weight = np.where(counts, 1.0 / np.sqrt(np.where(counts, variance, 1.0)), 0.0)
    measured, calculated = (
        np.where(counts, values - _surface(values, counts), 0.0) for values in (np.where(counts, data, 0.0), crystal)
    )
    measured, calculated = measured * weight, calculated * weight
    turned = np.fft.rfft2(measured) * np.conj(np.fft.rfft2(calculated))
    found = np.fft.irfft2(turned, s=measured.shape)
    spread = float(found.std())
    return float(found[0, 0] - found.mean()) / spread if spread > 0.0 else 0.0


def explained(data: np.ndarray, mean: np.ndarray, sigma: np.ndarray, counted: float | None) -> float:
    """The share of the contrast of the data (slow, fast) that the expected image accounts for, beyond noise (R6).

    Contrast is what differs from the mean of the neighbourhood, after the best surface of second order is taken off, so that no
    smooth background counts. Counts of photons, of which each is `counted` in the data, are compared as square roots, so that
    no single bright peak decides; other data (counted None) in units of sigma, by their roots where they are bright. NaN where
    the data have no contrast beyond noise.
    """
    counts = ~np.isnan(data)
    rows, cols = (slice(a.min(), a.max() + 1) for a in np.nonzero(counts))
    counts, data, mean, sigma = counts[rows, cols], data[rows, cols], mean[rows, cols], sigma[rows, cols]
    data = np.where(counts, data, 0.0)
    level = _neighbourhood(data, counts)
    if counted is None:
        measured, calculated = (_contrast(_per_sigma(x, sigma, counts), counts) for x in (data, mean))
        variance = np.minimum(1.0, BRIGHT / np.maximum(np.abs(calculated), BRIGHT))
        measured, calculated = _by_roots(measured), _by_roots(calculated)
    else:
        root, variance = root_of_counts(mean / counted)[0], root_of_counts(np.minimum(mean, level) / counted)[1]
        measured, calculated = _contrast(np.sqrt(np.maximum(data, 0.0) / counted), counts), _contrast(root, counts)
    noise = float(np.sum(variance[counts]))
    spread = np.sqrt(float(np.sum(_spread_of_squares(variance[counts]))))
    total, left = float(np.sum(measured**2)), float(np.sum((measured - calculated) ** 2))
    if total <= VISIBLE * noise + SPREADS * spread:
        return float("nan")
    return 1.0 - max(left - noise, 0.0) / (total - noise)


def _spread_of_squares(variance):
    """The variance of the square of a deviation: twice that of the deviation squared; of rare counts, 0 or 1, that itself."""
    return 2.0 * variance**2 + np.maximum(variance - 4.0 * variance**2, 0.0)


def _per_sigma(values, sigma, counts):
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(counts & (sigma > 0.0), values / sigma, 0.0)


def _by_roots(contrast):
    """Contrast in standard deviations, from BRIGHT on by its root, with the same slope there."""
    size = np.abs(contrast)
    return np.where(size <= BRIGHT, contrast, np.sign(contrast) * (2.0 * np.sqrt(BRIGHT * size) - BRIGHT))


def root_of_counts(mean: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of the square root of a count of photons, of which so many are expected."""
    few = np.log(np.clip(mean, ROOTS[0][0], ROOTS[0][-1]))
    root, variance = (np.interp(few, np.log(ROOTS[0]), column) for column in ROOTS[1:])
    rare, many = mean < ROOTS[0][0], mean > ROOTS[0][-1]
    root = np.where(rare, mean, np.where(many, np.sqrt(np.maximum(mean, 0.0)), root))
    return root, np.where(rare, mean, np.where(many, 0.25, variance))


def _table() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Expected counts, and mean and variance of the square roots of counts, from Poisson's probabilities."""
    mean, k = np.geomspace(1e-3, 100.0, 101), np.arange(300)
    probability = stats.poisson.pmf(k, mean[:, None])
    root = probability @ np.sqrt(k)
    return mean, root, mean - root**2


ROOTS = _table()


def chi_squared(data: np.ndarray, mean: np.ndarray, sigma: np.ndarray, counted: float | None) -> tuple[float, int]:
    """Chi squared, and of how many pixels: those where so few photons are expected that one weighs too much are left out."""
    counts = ~np.isnan(data) & (sigma > 0.0) & np.isfinite(sigma)
    if counted is not None:
        counts &= mean >= RARE * counted
    return float(np.sum(((data[counts] - mean[counts]) / sigma[counts]) ** 2)), int(counts.sum())


def _contrast(values, counts):
    """What differs from the mean of the neighbours that count, beside a surface of second order; 0 where a pixel does not."""
    values = np.where(counts, values - _surface(values, counts), 0.0)
    return np.where(counts, values - _neighbourhood(values, counts), 0.0)


def _neighbourhood(values, counts):
    """The mean of the neighbours that count; values (slow, fast) are 0 where a pixel does not."""
    weight = ndimage.uniform_filter(counts.astype(float), NEIGHBOURHOOD, mode="constant")
    return ndimage.uniform_filter(values, NEIGHBOURHOOD, mode="constant") / np.maximum(weight, 1e-12)


def _surface(values, counts):
    """The surface of second order (slow, fast) that is closest to the values that count: all backgrounds of R1 are such."""
    y, x = (np.linspace(-1.0, 1.0, n) for n in values.shape)
    rows, columns = np.polynomial.polynomial.polyvander(y, 2), np.polynomial.polynomial.polyvander(x, 2)
    powers = [(0, 0), (0, 1), (1, 0), (0, 2), (1, 1), (2, 0)]
    terms = [np.where(counts, np.outer(rows[:, j], columns[:, i]), 0.0).ravel() for j, i in powers]
    normal = np.array([[one @ other for other in terms] for one in terms])
    best = np.linalg.lstsq(normal, np.array([term @ np.where(counts, values, 0.0).ravel() for term in terms]), rcond=1e-12)[0]
    return sum(factor * np.outer(rows[:, j], columns[:, i]) for factor, (j, i) in zip(best, powers))
