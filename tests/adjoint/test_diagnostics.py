"""What a refinement is worth: uncertainties, what cannot be told apart, and whether an image shows the crystal (R5, R6)."""

import math

import numpy as np
import pytest
from refining import crystal

from adjoint.refinement import diagnostics
from nbnumba import simulate

LABELS = ["distance", "cell", "misset", "scale"]
NOTHING = np.zeros(4, dtype=bool)


def information(correlated=0.0, sizes=(1e3, 1e-2, 1.0, 5.0)):
    """Of four numbers of different sizes, the first two of which do the same but for 1 - correlated."""
    form = np.eye(4)
    form[0, 1] = form[1, 0] = correlated
    form[2, 3] = form[3, 2] = 0.3
    return form * np.outer(sizes, sizes)


def judged(matrix, at_bound=NOTHING, spare=NOTHING):
    return diagnostics.uncertainty(matrix, LABELS, at_bound, spare)


def test_covariance_is_the_inverse_of_the_information():
    """Of numbers that can be told apart nothing is said."""
    known = judged(information(0.9))
    np.testing.assert_allclose(known.covariance, np.linalg.inv(information(0.9)), rtol=1e-9, atol=1e-15)
    np.testing.assert_allclose(known.sigma, np.sqrt(np.diag(known.covariance)), rtol=1e-12)
    np.testing.assert_allclose(np.diag(known.correlation), 1.0, rtol=1e-12)
    assert known.correlation[0, 1] == pytest.approx(-0.9, rel=1e-9)
    assert known.determined and known.sentences == []


def test_what_can_hardly_be_told_apart_is_named():
    """The two numbers, no other, and how much worse they are known together; their uncertainties are finite and say so."""
    known = judged(information(1.0 - 1e-5))
    (sentence,) = known.sentences
    assert "hardly" in sentence and "distance" in sentence and "cell" in sentence
    assert "misset" not in sentence and "scale" not in sentence
    assert f"{1 / math.sqrt(1e-5):.0f} times" in sentence
    assert known.determined and known.sigma[0] * 1e3 == pytest.approx(1 / math.sqrt(2e-5), rel=1e-3)


def test_what_cannot_be_told_apart_is_named():
    """Numbers of which only a combination is known have no finite uncertainty; the others have theirs."""
    known = judged(information(1.0))
    (sentence,) = known.sentences
    assert "cannot tell" in sentence and "distance" in sentence and "cell" in sentence and "misset" not in sentence
    assert not known.determined and np.isinf(known.sigma[:2]).all()
    wanted = np.sqrt(np.diag(np.linalg.inv(information()[2:, 2:])))
    np.testing.assert_allclose(known.sigma[2:], wanted, rtol=1e-9)


def test_a_combination_is_of_two_numbers_at_least():
    """However little each of the others contributes: one number alone is told apart from nothing."""
    sentence = diagnostics._combination(1e-12, np.array([0.1, 0.98, 0.15, 0.12]), LABELS)
    assert sentence.startswith("the image cannot tell cell and misset apart")


def test_three_numbers_of_which_two_are_known():
    """A combination of three is named as one; a fourth is not in it."""
    columns = np.array([[1.0, 0.0, -1.0, 0.0], [0.0, 1.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]])
    known = judged(columns.T @ columns)
    (sentence,) = known.sentences
    assert all(label in sentence for label in LABELS[:3]) and "scale" not in sentence
    assert np.isinf(known.sigma[:3]).all() and known.sigma[3] == 1.0 and not known.determined


def test_what_the_image_does_not_depend_on_is_named():
    """It is undetermined and infinitely uncertain, unless it need not be seen."""
    matrix = information()
    matrix[1], matrix[:, 1] = 0.0, 0.0
    known = judged(matrix)
    assert not known.determined and list(np.isinf(known.sigma)) == [False, True, False, False]
    assert known.sentences == ["the image does not depend on cell"]
    spared = judged(matrix, spare=np.array([False, True, False, False]))
    assert spared.determined and np.isinf(spared.sigma[1])


def test_what_is_held_has_no_uncertainty():
    """The others have that of numbers whose neighbour is known."""
    at_bound = np.array([True, False, False, False])
    known = judged(information(1.0), at_bound)
    assert np.isnan(known.sigma[0]) and known.sigma[1] == pytest.approx(100.0, rel=1e-9)
    assert np.isnan(known.covariance[0]).all() and np.isnan(known.covariance[:, 0]).all()
    assert known.determined and known.sentences == ["distance ended at a bound, and has no uncertainty"]
    both = judged(information(), np.array([True, False, True, False]))
    assert "distance and misset ended at a bound, and have no uncertainty" in both.sentences


def test_nothing_is_left():
    """Of numbers that are all held or not seen nothing is known, without a failure."""
    known = judged(np.zeros((4, 4)), np.array([True, True, False, False]))
    assert np.isnan(known.sigma[:2]).all() and np.isinf(known.sigma[2:]).all() and not known.determined


def test_uncertainties_of_too_many_numbers():
    """Each with all others known, and it is said."""
    at_bound = np.array([False, False, True, False])
    known = diagnostics.uncertainty_each(np.array([4.0, 0.0, 9.0, 0.25]), LABELS, at_bound, NOTHING)
    np.testing.assert_array_equal(known.sigma, [0.5, np.inf, np.nan, 2.0])
    assert known.covariance is None and not known.determined
    blind = np.array([False, True, False, False])
    assert diagnostics.uncertainty_each(np.array([4.0, 0.0, 9.0, 0.25]), LABELS, at_bound, blind).determined
    assert any("4 numbers" in sentence for sentence in known.sentences)
    assert any("does not depend on cell" in sentence for sentence in known.sentences)


def test_a_long_list_is_cut():
    """Six names, and how many more there are."""
    labels = [f"n{i}" for i in range(10)]
    (sentence,) = diagnostics.unseen(labels, np.ones(10, dtype=bool))
    assert sentence.endswith("n5 and 4 more")


@pytest.mark.parametrize("mean", [1e-5, 3e-3, 0.1, 0.7, 3.0, 42.0, 99.0, 300.0, 1e4])
def test_root_of_counts(mean):
    """Mean and variance of the square root of a Poisson count, against sums of its probabilities."""
    k = np.arange(max(0, int(mean - 40 * math.sqrt(mean)) - 5), int(mean + 40 * math.sqrt(mean)) + 60)
    logarithm = np.array([n * math.log(mean) - mean - math.lgamma(n + 1.0) for n in k])
    probability = np.exp(logarithm)
    assert probability.sum() == pytest.approx(1.0, rel=1e-9)
    root = float(probability @ np.sqrt(k))
    found = diagnostics.root_of_counts(np.array([mean]))
    assert found[0][0] == pytest.approx(root, rel=3e-3)
    assert found[1][0] == pytest.approx(float(probability @ (np.sqrt(k) - root) ** 2), rel=1e-2)


def test_root_of_no_counts():
    """0 for 0 and, in images that have such, below."""
    for part in diagnostics.root_of_counts(np.array([[0.0, 0.0]])):
        assert (part == 0.0).all() and part.shape == (1, 2)


TRUTH, OTHER = crystal(), crystal("-misset 50 15 5")


@pytest.fixture(scope="module")
def images():
    """What is expected of a crystal, of another one, and of none, all with a background."""
    below = 2.0 + np.linspace(0.0, 3.0, 72)
    return simulate(TRUTH) + below, simulate(OTHER) + below, np.zeros((72, 72)) + below


def explained(data, mean, gain=1.0, counted=True):
    """The share of the contrast, of counts or of data with a sigma."""
    sigma = np.sqrt(gain * np.maximum(mean, gain))
    return diagnostics.explained(data, mean, sigma, gain if counted else None)


@pytest.mark.parametrize("gain", [1.0, 7.0])
@pytest.mark.parametrize("counted", [True, False])
@pytest.mark.parametrize("bright", [0.05, 1.0])
def test_the_truth_is_explained(images, gain, counted, bright):
    """1 but for noise, of bright and of dim spots, whatever a photon counts; another pattern about 0, and is refused."""
    right, wrong, flat = (2.0 + bright * (image - 2.0) for image in images)
    data = gain * np.random.default_rng(3).poisson(right).astype(float)
    data[:, 20:23] = np.nan
    assert explained(data, gain * right, gain, counted) == pytest.approx(1.0, abs=0.05)
    assert explained(data, gain * wrong, gain, counted) < 0.05
    assert explained(data, gain * flat, gain, counted) < 0.1 < diagnostics.LEAST_EXPLAINED


def test_half_of_the_spots_are_half(images):
    """A calculated image with some of the spots accounts for their share."""
    right = images[0]
    data = np.random.default_rng(4).poisson(right).astype(float)
    half = right.copy()
    half[24:] = images[2][24:]
    share = explained(data, half)
    contrast = [np.sum((np.sqrt(right) - np.sqrt(images[2]))[part] ** 2) for part in (slice(0, 24), slice(0, 72))]
    assert 0.1 < contrast[0] / contrast[1] < 0.9
    assert share == pytest.approx(contrast[0] / contrast[1], abs=0.05)


def test_one_bright_spot_does_not_decide(images):
    """A calculated image of the brightest spot alone accounts for little, however bright it is, and so by no one sigma."""
    right, flat = images[0].copy(), images[2]
    row, column = np.unravel_index(right.argmax(), right.shape)
    spot = slice(max(row - 5, 0), row + 6), slice(max(column - 5, 0), column + 6)
    right[spot] *= 5.0
    only = flat.copy()
    only[spot] = right[spot]
    data = np.random.default_rng(7).poisson(right).astype(float)
    bright = np.sum((right - flat)[spot] ** 2) / np.sum((right - flat) ** 2)
    assert bright > 0.8
    assert diagnostics.explained(data, only, np.full(right.shape, 2.0), None) < 0.7 * bright
    assert diagnostics.explained(data, right, np.full(right.shape, 2.0), None) > 0.9


@pytest.mark.parametrize("below", [0.01, 0.3, 4.0, 1000.0])
@pytest.mark.parametrize("calculated", ["flat", "crystal"])
def test_noise_has_nothing_to_explain(images, below, calculated):
    """NaN for a background of few and of many photons, and for one that slopes; over twenty draws."""
    slope = np.linspace(0.7, 1.3, 72)[:, None] * np.ones(72)
    mean = below * slope + (simulate(TRUTH) if calculated == "crystal" else 0.0)
    for seed in range(20):
        data = np.random.default_rng(seed).poisson(below * slope).astype(float)
        for counted in (True, False):
            if counted or below > 1.0:
                share = explained(data, below * slope if calculated == "flat" else mean, counted=counted)
                assert math.isnan(share) or (calculated == "crystal" and share <= 0.0)


def test_pixels_that_are_left_out_do_not_count(images):
    """Not one bit of chi squared and of the share depends on what is expected there."""
    right, wrong, _ = images
    data = np.random.default_rng(5).poisson(right).astype(float)
    out = np.random.default_rng(6).random(data.shape) < 0.3
    out[:10] = True
    data[out] = np.nan
    sigma = np.sqrt(right)
    mixed = np.where(out, 1e3 * wrong, right)
    for counted in (1.0, None):
        first = diagnostics.explained(data, right, sigma, counted)
        assert diagnostics.explained(data, mixed, np.where(out, 1.0, sigma), counted) == first
        assert diagnostics.chi_squared(data, mixed, sigma, counted) == diagnostics.chi_squared(data, right, sigma, counted)


def test_chi_squared_counts_pixels():
    """The sum of squares in units of sigma, of pixels with a sigma and, of counts, in which enough are expected."""
    data, mean = np.array([[3.0, 5.0, np.nan, 1.0]]), np.array([[1.0, 4.0, 9.0, 0.01]])
    assert diagnostics.chi_squared(data, mean, np.array([[2.0, 1.0, 1.0, 0.1]]), None) == (pytest.approx(100.01, rel=1e-12), 3)
    assert diagnostics.chi_squared(data, mean, np.array([[2.0, 1.0, 1.0, 0.1]]), 1.0) == (pytest.approx(2.0, rel=1e-12), 2)
    assert diagnostics.chi_squared(data, mean, np.array([[np.inf, 1.0, 1.0, 0.0]]), None) == (pytest.approx(1.0, rel=1e-12), 1)
