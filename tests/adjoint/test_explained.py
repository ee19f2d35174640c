"""The agreement of an image with its calculated image: explained contrast and chi squared (specs/refine.md, R6)."""

import math

import numpy as np
import pytest
from refining import crystal

from adjoint.refinement import agreement
from nbnumba import simulate


@pytest.mark.parametrize("mean", [1e-5, 3e-3, 0.1, 0.7, 3.0, 42.0, 99.0, 300.0, 1e4])
def test_root_of_counts(mean):
    """The mean and the variance of the square root of a Poisson count are compared with sums over its probabilities."""
    k = np.arange(max(0, int(mean - 40 * math.sqrt(mean)) - 5), int(mean + 40 * math.sqrt(mean)) + 60)
    logarithm = np.array([n * math.log(mean) - mean - math.lgamma(n + 1.0) for n in k])
    probability = np.exp(logarithm)
    assert probability.sum() == pytest.approx(1.0, rel=1e-9)
    root = float(probability @ np.sqrt(k))
    found = agreement.root_of_counts(np.array([mean]))
    assert found[0][0] == pytest.approx(root, rel=3e-3)
    assert found[1][0] == pytest.approx(float(probability @ (np.sqrt(k) - root) ** 2), rel=1e-2)


def test_root_of_no_counts():
    """The root is 0 for an expectation of 0, and for one below 0 in images that have such pixels."""
    for part in agreement.root_of_counts(np.array([[0.0, 0.0]])):
        assert (part == 0.0).all() and part.shape == (1, 2)


TRUTH, OTHER = crystal(), crystal("-misset 50 15 5")


@pytest.fixture(scope="module")
def images():
    """The expected images of a crystal, of another crystal and of none, all with a background."""
    below = 2.0 + np.linspace(0.0, 3.0, 72)
    return simulate(TRUTH) + below, simulate(OTHER) + below, np.zeros((72, 72)) + below


def explained(data, mean, gain=1.0, counted=True):
    """The explained fraction of the contrast, for counts or for data with a sigma."""
    sigma = np.sqrt(gain * np.maximum(mean, gain))
    return agreement.explained(data, mean, sigma, gain if counted else None)


@pytest.mark.parametrize("gain", [1.0, 7.0])
@pytest.mark.parametrize("counted", [True, False])
@pytest.mark.parametrize("bright", [0.05, 1.0])
def test_the_truth_is_explained(images, gain, counted, bright):
    """The fraction is 1 within noise for bright and for dim spots, whatever the gain is.

    For another pattern it is about 0, and refused.
    """
    right, wrong, flat = (2.0 + bright * (image - 2.0) for image in images)
    data = gain * np.random.default_rng(3).poisson(right).astype(float)
    data[:, 20:23] = np.nan
    assert explained(data, gain * right, gain, counted) == pytest.approx(1.0, abs=0.05)
    assert explained(data, gain * wrong, gain, counted) < 0.05
    assert explained(data, gain * flat, gain, counted) < 0.1 < agreement.LEAST_EXPLAINED


def test_half_of_the_spots_are_half(images):
    """A calculated image with some of the spots explains their fraction of the contrast."""
    right = images[0]
    data = np.random.default_rng(4).poisson(right).astype(float)
    half = right.copy()
    half[24:] = images[2][24:]
    share = explained(data, half)
    contrast = [np.sum((np.sqrt(right) - np.sqrt(images[2]))[part] ** 2) for part in (slice(0, 24), slice(0, 72))]
    assert 0.1 < contrast[0] / contrast[1] < 0.9
    assert share == pytest.approx(contrast[0] / contrast[1], abs=0.05)


def test_one_bright_spot_does_not_decide(images):
    """A calculated image with only the brightest spot explains little, however bright it is, and so with any sigma."""
    right, flat = images[0].copy(), images[2]
    row, column = np.unravel_index(right.argmax(), right.shape)
    spot = slice(max(row - 5, 0), row + 6), slice(max(column - 5, 0), column + 6)
    right[spot] *= 5.0
    only = flat.copy()
    only[spot] = right[spot]
    data = np.random.default_rng(7).poisson(right).astype(float)
    bright = np.sum((right - flat)[spot] ** 2) / np.sum((right - flat) ** 2)
    assert bright > 0.8
    assert agreement.explained(data, only, np.full(right.shape, 2.0), None) < 0.7 * bright
    assert agreement.explained(data, right, np.full(right.shape, 2.0), None) > 0.9


@pytest.mark.parametrize("below", [0.01, 0.3, 4.0, 1000.0])
@pytest.mark.parametrize("calculated", ["flat", "crystal"])
def test_noise_has_nothing_to_explain(images, below, calculated):
    """The fraction is NaN for a flat background of few or many photons and for a sloped one, over twenty draws."""
    slope = np.linspace(0.7, 1.3, 72)[:, None] * np.ones(72)
    mean = below * slope + (simulate(TRUTH) if calculated == "crystal" else 0.0)
    for seed in range(20):
        data = np.random.default_rng(seed).poisson(below * slope).astype(float)
        for counted in (True, False):
            if counted or below > 1.0:
                share = explained(data, below * slope if calculated == "flat" else mean, counted=counted)
                assert math.isnan(share) or (calculated == "crystal" and share <= 0.0)


def test_pixels_that_are_left_out_do_not_count(images):
    """No bit of chi squared or of the fraction depends on the expectation there."""
    right, wrong, _ = images
    data = np.random.default_rng(5).poisson(right).astype(float)
    out = np.random.default_rng(6).random(data.shape) < 0.3
    out[:10] = True
    data[out] = np.nan
    sigma = np.sqrt(right)
    mixed = np.where(out, 1e3 * wrong, right)
    for counted in (1.0, None):
        first = agreement.explained(data, right, sigma, counted)
        assert agreement.explained(data, mixed, np.where(out, 1.0, sigma), counted) == first
        assert agreement.chi_squared(data, mixed, sigma, counted) == agreement.chi_squared(data, right, sigma, counted)


def test_chi_squared_counts_pixels():
    """Chi squared is the sum of squares in units of sigma, of pixels with a sigma, or of counts with a sufficient
    expectation."""
    data, mean = np.array([[3.0, 5.0, np.nan, 1.0]]), np.array([[1.0, 4.0, 9.0, 0.01]])
    assert agreement.chi_squared(data, mean, np.array([[2.0, 1.0, 1.0, 0.1]]), None) == (pytest.approx(100.01, rel=1e-12), 3)
    assert agreement.chi_squared(data, mean, np.array([[2.0, 1.0, 1.0, 0.1]]), 1.0) == (pytest.approx(2.0, rel=1e-12), 2)
    assert agreement.chi_squared(data, mean, np.array([[np.inf, 1.0, 1.0, 0.0]]), None) == (pytest.approx(1.0, rel=1e-12), 1)
