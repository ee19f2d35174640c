"""French and Wilson's amplitudes (F9e) against their integrals, and against the amplitudes that made noisy intensities."""

import numpy as np
import pytest
from scipy.special import gamma, pbdv

from nbnumba.amplitudes import french_wilson


@pytest.mark.parametrize("centric", [False, True])
def test_the_expectation_by_parabolic_cylinder_functions(centric):
    """int_0^inf J^(n - 1) exp(-(J - m)^2 / 2 sigma^2) dJ = sigma^n Gamma(n) exp(-m^2 / 4 sigma^2) D_-n(-m / sigma)."""
    intensity, sigma, mean = np.array([-3.5, -1.0, 0.0, 0.4, 3.0, 8.0]), 1.7, 2.3
    m = intensity * sigma - sigma**2 / (2 * mean if centric else mean)
    n = 0.5 if centric else 1.0
    above, below = pbdv(-n - 0.5, -m / sigma)[0], pbdv(-n, -m / sigma)[0]
    expected = np.sqrt(sigma) * gamma(n + 0.5) * above / (gamma(n) * below)
    many = np.full(6, sigma), np.full(6, mean), np.full(6, centric)
    np.testing.assert_allclose(french_wilson.amplitudes(intensity * sigma, *many), expected, rtol=1e-9)


def test_strong_and_impossible_intensities():
    found = french_wilson.amplitudes(np.array([1e8, -5.0, 1e4]), np.ones(3), np.full(3, 1e4), np.zeros(3, bool))
    assert np.isnan(found[1]) and found[[0, 2]] == pytest.approx([1e4, 1e2], rel=1e-6)


@pytest.mark.parametrize("centric", [False, True])
def test_the_mean_is_right(centric):
    """Of intensities by Wilson's statistics with noise: estimates are unbiased, to 4 standard errors of the mean."""
    random = np.random.default_rng(8)
    true = random.exponential(3.0, 40000) if not centric else 3.0 * random.normal(size=40000) ** 2
    noisy = true + random.normal(size=true.size)
    expected = french_wilson.mean_intensity(noisy, np.ones(true.size), random.random(true.size))
    found = french_wilson.amplitudes(noisy, np.ones(true.size), expected, np.full(true.size, centric))
    kept = np.isfinite(found)
    difference = found[kept] - np.sqrt(true[kept])
    assert abs(difference.mean()) < 4.0 * difference.std() / np.sqrt(kept.sum()) + 0.005
    assert np.abs(expected - 3.0).max() < 1.0


def test_shells_without_intensity():
    squared = np.repeat([0.1, 0.2, 0.3], 200)
    found = french_wilson.mean_intensity(np.repeat([5.0, 2.0, -1.0], 200), np.ones(600), squared)
    assert found[[0, 250, -1]].tolist() == [5.0, 2.0, 2.0]
    with pytest.raises(ValueError, match="not above 0"):
        french_wilson.mean_intensity(-np.ones(10), np.ones(10), np.ones(10))
