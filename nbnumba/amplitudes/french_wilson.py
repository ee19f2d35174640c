"""From intensities to amplitudes by French and Wilson's method (F9e)."""

from __future__ import annotations

import numpy as np

WEAKEST = -4.0
"""The least intensity that is believed, in units of its uncertainty: French & Wilson (1978) reject what is below."""

IN_SHELL = 200
"""Reflections of a shell of resolution, at least, of which the mean intensity is taken."""

MOST_SHELLS = 60

POINTS = 96
"""The points of an integral, by the rule of Gauss and Legendre."""

NEGLIGIBLE = 80.0
"""The exponent, doubled, from which on exp(-x / 2) counts as 0 in the integrals."""


def mean_intensity(intensities: np.ndarray, multiplicity: np.ndarray, squared: np.ndarray) -> np.ndarray:
    """Return the expected intensity (n,) of each reflection: the mean I / multiplicity at its resolution, times multiplicity.

    intensities, multiplicity (n,). squared (n,): 1 / d^2 in 1/A^2. The means are those of shells of as many reflections each,
    between the middles of which they are interpolated by 1 / d^2; a mean that is not above 0 is that of the next shell inwards
    that is. Raises ValueError if no mean is above 0.
    """
    shells = np.array_split(np.argsort(squared, kind="stable"), min(max(len(squared) // IN_SHELL, 1), MOST_SHELLS))
    relative = intensities / multiplicity
    means = np.array([relative[shell].mean() for shell in shells])
    middles = np.array([squared[shell].mean() for shell in shells])
    positive = means > 0.0
    if not positive.any():
        raise ValueError("the mean intensity is not above 0")
    before = np.maximum.accumulate(np.where(positive, np.arange(len(means)), -1))
    means = means[np.where(before < 0, np.argmax(positive), before)]
    return np.interp(squared, middles, means) * multiplicity


def amplitudes(intensities: np.ndarray, sigmas: np.ndarray, expected: np.ndarray, centric: np.ndarray) -> np.ndarray:
    """Return the expected amplitudes (n,), given measured intensities and their uncertainties; NaN below WEAKEST (F9e)."""
    return estimates(intensities, sigmas, expected, centric)[0]


def estimates(
    intensities: np.ndarray, sigmas: np.ndarray, expected: np.ndarray, centric: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the expected amplitudes (n,) and their standard uncertainties (n,), (<J> - <F>^2)^(1/2); NaN below WEAKEST (F9e).

        acentric: p(J) ~ exp(-J / S),              J > 0, m = I - sigma^2 / S
        centric:  p(J) ~ J^(-1/2) exp(-J / 2 S),   J > 0, m = I - sigma^2 / 2 S
        <F> = int J^(1/2) p(J) exp(-(J - I)^2 / 2 sigma^2) dJ / int p(J) exp(-(J - I)^2 / 2 sigma^2) dJ

    S = expected (n,). With J = sigma u^2 and t = m / sigma the integrands are u^n exp(-(u^2 - t)^2 / 2), n = 2 and 1 for
    acentric, 1 and 0 for centric reflections: French & Wilson (1978), Acta Cryst. A, volume 34, page 517.
    """
    t = (intensities - sigmas**2 / np.where(centric, 2.0 * expected, expected)) / sigmas
    half = np.sqrt(t * t + NEGLIGIBLE)
    high = np.where(t > 0.0, np.sqrt(np.maximum(t, 0.0) + np.sqrt(NEGLIGIBLE)), np.sqrt(NEGLIGIBLE / (half - t)))
    low = np.sqrt(np.maximum(t - np.sqrt(NEGLIGIBLE), 0.0))
    found, spread = np.empty(len(t)), np.empty(len(t))
    nodes, weights = np.polynomial.legendre.leggauss(POINTS)  # NumPy loads these modules when they are first asked for
    for part in np.array_split(np.arange(len(t)), max(len(t) // 10000, 1)):
        u = (low[part] + high[part])[:, np.newaxis] / 2.0 + (high[part] - low[part])[:, np.newaxis] / 2.0 * nodes
        exponent = (u * u - t[part, np.newaxis]) ** 2 / 2.0
        density = weights * np.exp(exponent.min(axis=1, keepdims=True) - exponent)
        density = np.where(centric[part, np.newaxis], density, density * u)
        found[part] = (density * u).sum(axis=1) / density.sum(axis=1)
        off = u - found[part, np.newaxis]
        spread[part] = np.sqrt((density * off**2).sum(axis=1) / density.sum(axis=1))
    believed = intensities >= WEAKEST * sigmas
    return tuple(np.where(believed, values * np.sqrt(sigmas), np.nan) for values in (found, spread))
