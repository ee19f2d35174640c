"""Uncertainties, and the sentences about numbers that the data do not determine (specs/refine.md, R5)."""

import math

import numpy as np
import pytest

from adjoint.refinement import uncertainties

LABELS = ["distance", "cell", "misset", "scale"]
NOTHING = np.zeros(4, dtype=bool)


def information(correlated=0.0, sizes=(1e3, 1e-2, 1.0, 5.0)):
    """The information of four numbers of different sizes, of which the first two have the same effect but for 1 -
    correlated."""
    form = np.eye(4)
    form[0, 1] = form[1, 0] = correlated
    form[2, 3] = form[3, 2] = 0.3
    return form * np.outer(sizes, sizes)


def judged(matrix, at_bound=NOTHING, spare=NOTHING):
    return uncertainties.uncertainty(matrix, LABELS, at_bound, spare)


def test_covariance_is_the_inverse_of_the_information():
    """If all numbers are determined, there is no sentence."""
    known = judged(information(0.9))
    np.testing.assert_allclose(known.covariance, np.linalg.inv(information(0.9)), rtol=1e-9, atol=1e-15)
    np.testing.assert_allclose(known.sigma, np.sqrt(np.diag(known.covariance)), rtol=1e-12)
    np.testing.assert_allclose(np.diag(known.correlation), 1.0, rtol=1e-12)
    assert known.correlation[0, 1] == pytest.approx(-0.9, rel=1e-9)
    assert known.determined and known.sentences == []


def test_what_can_hardly_be_told_apart_is_named():
    """A sentence names the two numbers, no other, and how much worse they are known together.

    Their uncertainties are finite and large.
    """
    known = judged(information(1.0 - 1e-5))
    (sentence,) = known.sentences
    assert "hardly" in sentence and "distance" in sentence and "cell" in sentence
    assert "misset" not in sentence and "scale" not in sentence
    assert f"{1 / math.sqrt(1e-5):.0f} times" in sentence
    assert known.determined and known.sigma[0] * 1e3 == pytest.approx(1 / math.sqrt(2e-5), rel=1e-3)


def test_what_cannot_be_told_apart_is_named():
    """Numbers of which only a combination is known have no finite uncertainty, and the others keep theirs."""
    known = judged(information(1.0))
    (sentence,) = known.sentences
    assert "cannot tell" in sentence and "distance" in sentence and "cell" in sentence and "misset" not in sentence
    assert not known.determined and np.isinf(known.sigma[:2]).all()
    wanted = np.sqrt(np.diag(np.linalg.inv(information()[2:, 2:])))
    np.testing.assert_allclose(known.sigma[2:], wanted, rtol=1e-9)


def test_a_combination_is_of_two_numbers_at_least():
    """This holds however little each other number contributes, since a single number is no combination."""
    sentence = uncertainties._combination(1e-12, np.array([0.1, 0.98, 0.15, 0.12]), LABELS)
    assert sentence.startswith("the image cannot tell cell and misset apart")


def test_three_numbers_of_which_two_are_known():
    """A combination of three numbers is named as one, without a fourth number."""
    columns = np.array([[1.0, 0.0, -1.0, 0.0], [0.0, 1.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]])
    known = judged(columns.T @ columns)
    (sentence,) = known.sentences
    assert all(label in sentence for label in LABELS[:3]) and "scale" not in sentence
    assert np.isinf(known.sigma[:3]).all() and known.sigma[3] == 1.0 and not known.determined


def test_what_the_image_does_not_depend_on_is_named():
    """Such a number is undetermined and infinitely uncertain, unless it need not be visible."""
    matrix = information()
    matrix[1], matrix[:, 1] = 0.0, 0.0
    known = judged(matrix)
    assert not known.determined and list(np.isinf(known.sigma)) == [False, True, False, False]
    assert known.sentences == ["the image does not depend on cell"]
    spared = judged(matrix, spare=np.array([False, True, False, False]))
    assert spared.determined and np.isinf(spared.sigma[1])


def test_what_is_held_has_no_uncertainty():
    """The other numbers have the uncertainties that they have if their neighbour is known."""
    at_bound = np.array([True, False, False, False])
    known = judged(information(1.0), at_bound)
    assert np.isnan(known.sigma[0]) and known.sigma[1] == pytest.approx(100.0, rel=1e-9)
    assert np.isnan(known.covariance[0]).all() and np.isnan(known.covariance[:, 0]).all()
    assert known.determined and known.sentences == ["distance ended at a bound, and has no uncertainty"]
    both = judged(information(), np.array([True, False, True, False]))
    assert "distance and misset ended at a bound, and have no uncertainty" in both.sentences


def test_nothing_is_left():
    """If all numbers are at bounds or invisible, nothing is known of them, and nothing fails."""
    known = judged(np.zeros((4, 4)), np.array([True, True, False, False]))
    assert np.isnan(known.sigma[:2]).all() and np.isinf(known.sigma[2:]).all() and not known.determined


def test_uncertainties_of_too_many_numbers():
    """Each number has the uncertainty that it has if all others are known, and a sentence says so."""
    at_bound = np.array([False, False, True, False])
    known = uncertainties.uncertainty_each(np.array([4.0, 0.0, 9.0, 0.25]), LABELS, at_bound, NOTHING)
    np.testing.assert_array_equal(known.sigma, [0.5, np.inf, np.nan, 2.0])
    assert known.covariance is None and not known.determined
    blind = np.array([False, True, False, False])
    assert uncertainties.uncertainty_each(np.array([4.0, 0.0, 9.0, 0.25]), LABELS, at_bound, blind).determined
    assert any("4 numbers" in sentence for sentence in known.sentences)
    assert any("does not depend on cell" in sentence for sentence in known.sentences)


def test_a_long_list_is_cut():
    """It shows six names, and how many more there are."""
    labels = [f"n{i}" for i in range(10)]
    (sentence,) = uncertainties.without_effect(labels, np.ones(10, dtype=bool))
    assert sentence.endswith("n5 and 4 more")
