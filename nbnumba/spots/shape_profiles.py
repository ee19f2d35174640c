"""How bright a reflection is at a distance from the Ewald sphere, and how wide: its shape, summed over a plane (F14d, F14e)."""

import math
from typing import NamedTuple

import numpy as np

from nbnumba.stages import records
from nbnumba.stages.lattice import GAUSS_WIDTH_SQUARED, PI_SQUARED, SPHERE, TOPHAT_RADIUS_SQUARED
from nbnumba.stages.shapes import GAUSS, ROUND, SQUARE, TOPHAT

FWHM = 2.0 * math.sqrt(2.0 * math.log(2.0))
"""The full width at half maximum of a Gaussian over its standard deviation."""

SINC_FWHM = 0.8858929413789047
"""The full width at half maximum of (sin(pi x) / (pi x))^2 in x."""

SINC3_FWHM = 1.1553521905059787
"""The full width at half maximum of sinc3^2, of F8c, in r."""

SERIES_BELOW, SERIES = 1.0, 10
"""Below this phase the cosine of an integral is a power series, of so many terms, because the closed form cancels there."""


class Profiles(NamedTuple):
    """The shapes of n reflections across the planes with some normals (F14d).

    shape: a number of shapes.py. scale (n,): what multiplies the sum over a plane. width (n,): distances are measured by it, in
    1/A; for SQUARE its inverse is the length of the crystal along the normal, in A. terms (n, 4): for SQUARE the coefficients
    of a cubic polynomial. fudge: factor of r^2.
    """

    shape: int
    scale: np.ndarray
    width: np.ndarray
    terms: np.ndarray
    fudge: float

    def sums(self, rows: np.ndarray, distance: np.ndarray) -> np.ndarray:
        """Return F_latt^2, summed over the planes at distances (m,), in 1/A, from reflections `rows` (m,), in 1/A^2 (F14d)."""
        x = distance / self.width[rows]
        if self.shape == SQUARE:
            return self.scale[rows] * cosine_integral(self.terms[rows], 2.0 * math.pi * np.abs(x))
        return self.scale[rows] * radial_sum(self.shape, x, self.fudge)


def profiles(crystal: records.Crystal, stars: np.ndarray, normals: np.ndarray) -> Profiles:
    """Return the profiles of reflections (F14d).

    stars (n, 3, 3): a*, b*, c* as rows, in 1/A. normals (n, 3): unit vectors.
    """
    volume = 1.0 / np.abs(np.linalg.det(stars))
    components = np.einsum("nij,nj->ni", stars, normals)
    cells = np.array(crystal[:3])
    if crystal.shape == SQUARE:
        components = np.abs(components)
        length = (cells / np.maximum(components, 1e-300)).min(axis=1)
        return Profiles(SQUARE, 2.0 * length / volume, 1.0 / length, overlap(cells, components * length[:, np.newaxis]), 1.0)
    inverse = np.linalg.inv(metric(crystal))
    width = np.sqrt(np.einsum("ni,ij,nj->n", components, inverse, components))
    scale = np.prod(cells) ** 2 * math.sqrt(np.linalg.det(inverse)) / (volume * width)
    return Profiles(crystal.shape, scale, width, np.zeros((len(width), 4)), crystal.fudge)


def metric(crystal: records.Crystal) -> np.ndarray:
    """Return the symmetric matrix (3, 3) by which the distance to a reflection is measured (F8b)."""
    hh, kk, ll, hk, hl, kl = crystal.metric_hh, crystal.metric_kk, crystal.metric_ll, *crystal[8:11]
    return np.array([[hh, hk, hl], [hk, kk, kl], [hl, kl, ll]])


def overlap(cells: np.ndarray, falls: np.ndarray) -> np.ndarray:
    """Return the coefficients (n, 4) of the product of three factors N - f x, by powers of x (F14d).

    cells (3,): N. falls (n, 3): f.
    """
    (a, b, c), (f, g, h) = cells, falls.T
    return np.stack([
        np.full(len(falls), a * b * c),
        -(f * b * c + a * g * c + a * b * h),
        f * g * c + f * b * h + a * g * h,
        -f * g * h,
    ], axis=1)  # fmt: skip


def cosine_integral(terms: np.ndarray, phase: np.ndarray) -> np.ndarray:
    """Return the integral over x from 0 to 1 of a cubic polynomial times cos(phase x), without a unit (F14d).

    terms (n, 4): coefficients by powers of x. phase (n,): in radian.
    """
    w = np.where(phase < SERIES_BELOW, SERIES_BELOW, phase)
    c0, c1, c2, c3 = terms.T
    sine, cosine = np.sin(w), np.cos(w)
    value, slope, bend = c0 + c1 + c2 + c3, c1 + 2.0 * c2 + 3.0 * c3, 2.0 * c2 + 6.0 * c3
    closed = value * sine / w + (slope * cosine - c1) / w**2 - bend * sine / w**3 - 6.0 * c3 * (cosine - 1.0) / w**4
    near = phase < SERIES_BELOW
    if near.any():
        square, power, series = phase[near] ** 2, 1.0, 0.0
        for j in range(SERIES):
            series = series + power * (terms[near] / (np.arange(1.0, 5.0) + 2 * j)).sum(axis=1)
            power = -power * square / ((2 * j + 1) * (2 * j + 2))
        closed[near] = series
    return closed


def radial_sum(shape: int, x: np.ndarray, fudge: float) -> np.ndarray:
    """Return the squared lattice factor over that at the reflection, summed over a plane in the unit of r (F8c to F8e).

    x: distance of the plane in the unit of r of F8b, before the fudge.
    """
    if shape == GAUSS:
        return math.pi * GAUSS_WIDTH_SQUARED / (2.0 * fudge) * np.exp(-2.0 * fudge * x * x / GAUSS_WIDTH_SQUARED)
    if shape == TOPHAT:
        return math.pi * np.maximum(TOPHAT_RADIUS_SQUARED / fudge - x * x, 0.0)
    assert shape == ROUND, "setup/crystal.py refuses every other shape"
    return SPHERE**2 * 2.0 * math.pi / (PI_SQUARED * fudge) * 2.25 * sphere_integral(math.pi * math.sqrt(fudge) * np.abs(x))


def sphere_integral(y: np.ndarray) -> np.ndarray:
    """Return j0^2 + j1^2, of the spherical Bessel functions, which is 4/9 of the integral from y on of 9 j1^2 / y (F14d)."""
    far = np.maximum(y, 1e-2)
    sine, cosine = np.sin(far) / far, np.cos(far)
    formula = sine * sine + ((sine - cosine) / far) ** 2
    return np.where(y < 1e-2, 1.0 - 2.0 * y**2 / 9.0 + y**4 / 45.0, formula)


def reach(crystal: records.Crystal, star: np.ndarray, least: float) -> float:
    """Return a distance from the Ewald sphere, in 1/A, beyond which no reflection has `least` of its largest sum (F14b).

    star: a*, b*, c* as rows, in 1/A.
    """
    cells = np.array(crystal[:3])
    if crystal.shape == SQUARE:
        shortest = float((cells / np.linalg.norm(star, axis=1)).min())
        return math.sqrt(24.0 / least) / (2.0 * math.pi * shortest)
    per_r = float(np.linalg.norm(np.linalg.cholesky(np.linalg.inv(metric(crystal))).T @ star, 2))
    if crystal.shape == GAUSS:
        return per_r * math.sqrt(-math.log(least) * GAUSS_WIDTH_SQUARED / (2.0 * crystal.fudge))
    if crystal.shape == TOPHAT:
        return per_r * math.sqrt(TOPHAT_RADIUS_SQUARED / crystal.fudge)
    return per_r * math.sqrt(1.0 / least) / (math.pi * math.sqrt(crystal.fudge))


def covariance(crystal: records.Crystal) -> np.ndarray:
    """Return the covariance (3, 3) of the Miller indices of a spot in reciprocal space, of a Gaussian as wide (F14e)."""
    if crystal.shape == SQUARE:
        return np.diag((SINC_FWHM / FWHM / np.array(crystal[:3])) ** 2)
    variance = {
        GAUSS: GAUSS_WIDTH_SQUARED / 4.0,
        TOPHAT: TOPHAT_RADIUS_SQUARED / 5.0,
        ROUND: (SINC3_FWHM / FWHM) ** 2,
    }[crystal.shape]
    return variance / crystal.fudge * np.linalg.inv(metric(crystal))


def faint_distance(shape: int, fudge: float) -> float:
    """Return the distance from the sphere, in the unit of the width, beyond which hardly anything of a spot is left (F14d).

    For shapes whose sum over a plane falls as the inverse square of the distance, what is beyond is 0.3 % of a spot at most.
    """
    if shape == GAUSS:
        return math.sqrt(40.0 * GAUSS_WIDTH_SQUARED / (2.0 * fudge))
    if shape == TOPHAT:
        return math.sqrt(TOPHAT_RADIUS_SQUARED / fudge)
    return 100.0 if shape == SQUARE else 100.0 / math.sqrt(fudge)
