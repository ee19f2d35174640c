"""How an image agrees with what a crystal makes of it: chi squared, explained contrast, likeness (R6)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import ndimage
from scipy.special import gammaln, xlogy  # scipy.stats has the probabilities, too, and takes half a second to import

from adjoint.refinement.spots import Spots

NEIGHBOURHOOD = 31
"""Edge of the square (pixels) whose mean is subtracted before measured and calculated images are compared."""

LEAST_EXPLAINED = 0.35
"""The least explained fraction of an image of this crystal."""

FEWEST_SPOTS = 3
"""The least number of spots that are visible near their calculated positions, if an image has no contrast beyond noise."""

ENOUGH_EXPLAINED = 0.75
"""The explained fraction from which on positions of spots need no test."""

LEAST_PLACED = 0.7
"""The least ratio of the spots that are at their calculated positions to those that are found near them."""

LIKE = 6.0
"""The least likeness, in standard deviations above chance, of an image to the broadened spots of its start."""

VISIBLE, SPREADS = 1.02, 3.0
"""The contrast of an image exceeds that of noise if it is larger by this factor, and by so many standard deviations."""

BRIGHT = 3.0
"""Standard deviations from which on contrast is compared by its square root, if the data are no counts."""

RARE = 0.05
"""Photons: if fewer are expected in a pixel, a single one would contribute as much as many misfits elsewhere."""

GOOD, SMALL = 1.5, 0.7
"""Reduced chi squared up to which a model fits, and below which the data scatter less than sigma says."""


class Agreement(NamedTuple):
    """How a measured image agrees with the calculated one: the explained fraction of its contrast, and its spots (R6)."""

    explained: float
    spots: Spots

    @property
    def shown(self) -> bool:
        """Whether anything stands out from noise: contrast, or at least FEWEST_SPOTS spots near calculated positions."""
        return not np.isnan(self.explained) or self.spots.found >= FEWEST_SPOTS

    @property
    def placed(self) -> bool:
        """Whether enough of the spots that are found are at their calculated positions, and at least one is."""
        return self.spots.placed >= LEAST_PLACED * max(self.spots.found, min(self.spots.calculated, 1))

    @property
    def accounted(self) -> bool:
        """Whether the crystal accounts for the image: by its contrast, and unless that is clear by its spots."""
        return not self.explained < LEAST_EXPLAINED and (self.explained >= ENOUGH_EXPLAINED or self.placed)


Places = Sequence[tuple[slice, slice]]
"""The rows and columns of panels in a sheet."""

WHOLE: Places = ((slice(None), slice(None)),)
"""The place of a single panel."""


def likeness(data: np.ndarray, crystal: np.ndarray, variance: np.ndarray, places: Places = WHOLE) -> float:
    """The number of standard deviations by which data (slow, fast) resemble a crystal's spots more than chance does (R6).

    data are NaN where a pixel is left out; crystal: the photons of the crystal; variance: that of the data. The correlation of
    data and spots is compared with the correlations for all shifts of the spots, in all panels together; places: those of the
    panels.
    """
    shape = tuple(max(sizes) for sizes in zip(*(data[place].shape for place in places)))
    correlation = sum(_correlation(data[place], crystal[place], variance[place], shape) for place in places)
    spread = float(correlation.std())
    return float(correlation[0, 0] - correlation.mean()) / spread if spread > 0.0 else 0.0


def _correlation(data, crystal, variance, shape) -> np.ndarray:
    """The correlation of the data of a panel with the spots, for all shifts of the spots in an array of that shape."""
    counts = ~np.isnan(data)
    weight = np.where(counts, 1.0 / np.sqrt(np.where(counts, variance, 1.0)), 0.0)
    measured, calculated = (
        np.where(counts, values - _surface(values, counts), 0.0) for values in (np.where(counts, data, 0.0), crystal)
    )
    measured, calculated = measured * weight, calculated * weight
    product = np.fft.rfft2(measured, shape) * np.conj(np.fft.rfft2(calculated, shape))
    return np.fft.irfft2(product, s=shape)


def explained(
    data: np.ndarray, mean: np.ndarray, sigma: np.ndarray, photon: float | None, places: Places = WHOLE
) -> float:
    """The fraction of the contrast of the data (slow, fast), beyond noise, that the expected image `mean` accounts for (R6).

    data are NaN where a pixel is left out; sigma (slow, fast) are their standard deviations. photon: the value of one photon in
    the data, or None if they are no counts. The contrast of a pixel is its difference from the mean of its neighbourhood, after
    the closest surface of second order is subtracted, so that no smooth background contributes. Counts of photons are compared
    by their square roots, so that no single bright spot decides; other data in units of sigma, by square roots where they are
    bright. The fraction is NaN if the data have no contrast beyond noise. places: those of the panels, each of which has
    surfaces of its own.
    """
    with_data = [place for place in places if not np.isnan(data[place]).all()]
    parts = [_contrasts(data[place], mean[place], sigma[place], photon) for place in with_data]
    total, remainder, noise, spread_squared = (float(sum(column)) for column in zip(*parts))
    spread = np.sqrt(spread_squared)
    if total <= VISIBLE * noise + SPREADS * spread:
        return float("nan")
    return 1.0 - max(remainder - noise, 0.0) / (total - noise)


def _contrasts(data, mean, sigma, photon) -> tuple[float, float, float, float]:
    """The squared contrast of a panel, what is left of it without the calculated one, its noise, and the variance of that."""
    counts = ~np.isnan(data)
    rows, cols = (slice(a.min(), a.max() + 1) for a in np.nonzero(counts))
    counts, data, mean, sigma = counts[rows, cols], data[rows, cols], mean[rows, cols], sigma[rows, cols]
    data = np.where(counts, data, 0.0)
    average = _neighbourhood(data, counts)
    if photon is None:
        measured, calculated = (_contrast(_per_sigma(x, sigma, counts), counts) for x in (data, mean))
        variance = np.minimum(1.0, BRIGHT / np.maximum(np.abs(calculated), BRIGHT))
        measured, calculated = _by_roots(measured), _by_roots(calculated)
    else:
        root, variance = root_of_counts(mean / photon)[0], root_of_counts(np.minimum(mean, average) / photon)[1]
        measured, calculated = _contrast(np.sqrt(np.maximum(data, 0.0) / photon), counts), _contrast(root, counts)
    total, remainder = float(np.sum(measured**2)), float(np.sum((measured - calculated) ** 2))
    return total, remainder, float(np.sum(variance[counts])), float(np.sum(_spread_of_squares(variance[counts])))


def _spread_of_squares(variance):
    """The variance of the square of a deviation: twice the squared variance; more for rare counts, which are 0 or 1."""
    return 2.0 * variance**2 + np.maximum(variance - 4.0 * variance**2, 0.0)


def _per_sigma(values, sigma, counts):
    """Values in units of sigma (slow, fast); 0 where a pixel is left out or has no sigma."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(counts & (sigma > 0.0), values / sigma, 0.0)


def _by_roots(contrast):
    """Contrast in standard deviations; from BRIGHT on its square root instead, with the same value and slope at BRIGHT."""
    size = np.abs(contrast)
    return np.where(size <= BRIGHT, contrast, np.sign(contrast) * (2.0 * np.sqrt(BRIGHT * size) - BRIGHT))


def root_of_counts(mean: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of the square root of a Poisson count, for every expected count `mean` (any shape)."""
    logarithm = np.log(np.clip(mean, ROOTS[0][0], ROOTS[0][-1]))
    root, variance = (np.interp(logarithm, np.log(ROOTS[0]), column) for column in ROOTS[1:])
    rare, many = mean < ROOTS[0][0], mean > ROOTS[0][-1]
    root = np.where(rare, mean, np.where(many, np.sqrt(np.maximum(mean, 0.0)), root))
    return root, np.where(rare, mean, np.where(many, 0.25, variance))


def _table() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Expected counts, and the mean and the variance of the square root of a count, from the Poisson distribution."""
    mean, k = np.geomspace(1e-3, 100.0, 101), np.arange(300)
    probability = np.exp(xlogy(k, mean[:, None]) - gammaln(k + 1.0) - mean[:, None])
    root = probability @ np.sqrt(k)
    return mean, root, mean - root**2


ROOTS = _table()


def chi_squared(data: np.ndarray, mean: np.ndarray, sigma: np.ndarray, photon: float | None) -> tuple[float, int]:
    """Chi squared of data (slow, fast) whose expected values are `mean`, and the number of pixels that it is summed over (R6).

    sigma (slow, fast) are standard deviations. photon: the value of one photon in the data, or None if they are no counts: of
    counts those pixels are left out in which fewer than RARE photons are expected.
    """
    counts = ~np.isnan(data) & (sigma > 0.0) & np.isfinite(sigma)
    if photon is not None:
        counts &= mean >= RARE * photon
    return float(np.sum(((data[counts] - mean[counts]) / sigma[counts]) ** 2)), int(counts.sum())


def _contrast(values, counts):
    """The difference of values (slow, fast) from the mean of their neighbours, without a surface of second order.

    Only pixels that count enter; it is 0 where a pixel does not count.
    """
    values = np.where(counts, values - _surface(values, counts), 0.0)
    return np.where(counts, values - _neighbourhood(values, counts), 0.0)


def _neighbourhood(values, counts):
    """The mean of the neighbours that count; the values (slow, fast) have to be 0 where a pixel does not count."""
    weight = ndimage.uniform_filter(counts.astype(float), NEIGHBOURHOOD, mode="constant")
    return ndimage.uniform_filter(values, NEIGHBOURHOOD, mode="constant") / np.maximum(weight, 1e-12)


def _surface(values, counts):
    """The surface of second order (slow, fast) that is closest to the values that count; every background of R1 is one."""
    y, x = (np.linspace(-1.0, 1.0, n) for n in values.shape)
    rows, columns = np.polynomial.polynomial.polyvander(y, 2), np.polynomial.polynomial.polyvander(x, 2)
    powers = [(0, 0), (0, 1), (1, 0), (0, 2), (1, 1), (2, 0)]
    terms = [np.where(counts, np.outer(rows[:, j], columns[:, i]), 0.0).ravel() for j, i in powers]
    normal = np.array([[one @ other for other in terms] for one in terms])
    right = np.array([term @ np.where(counts, values, 0.0).ravel() for term in terms])
    factors = np.linalg.lstsq(normal, right, rcond=1e-12)[0]
    return sum(factor * np.outer(rows[:, j], columns[:, i]) for factor, (j, i) in zip(factors, powers))
