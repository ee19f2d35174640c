"""Measured and calculated spots: their positions, R factor and shifts, and their effect on a verdict (R6)."""

import numpy as np
import pytest
from refining import BACKGROUND, counts, crystal, moved

import adjoint
from adjoint.refinement.agreement import Agreement, likeness
from adjoint.refinement.result import Course, verdict
from adjoint.refinement.spots import Spots, spots
from adjoint.refinement.uncertainties import Uncertainty
from nbnumba import simulate

SHAPE = (96, 96)
PLACES = [(12, 15), (14, 60), (40, 33), (47, 78), (70, 20), (81, 55)]


def image(places, sizes=1000.0, width=1.2):
    """Gaussian spots (slow, fast) of that many photons each."""
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    sizes = np.broadcast_to(sizes, len(places))
    each = [s * np.exp(-((y - v) ** 2 + (x - u) ** 2) / (2 * width**2)) for s, (v, u) in zip(sizes, places)]
    return sum(each) / (2 * np.pi * width**2)


def agreement(true, calculated, below=5.0, seed=0):
    """The comparison of the spots of counts with those of a calculated image, over a flat background."""
    data = np.random.default_rng(seed).poisson(true + below).astype(float)
    mean = calculated + below
    return spots(data, mean, calculated, np.sqrt(mean), 1.0)


def test_spots_that_are_right():
    """All spots are found where they are calculated, with the R factor and the shift of noise."""
    found = agreement(image(PLACES), image(PLACES))
    assert found[:5] == (6, 6, 6, 6, 6)
    assert found.r_factor < 0.06 and found.shift < 0.2


@pytest.mark.parametrize("off", [(0.0, 1.9), (1.9, 0.0), (2.0, -3.0)])
def test_a_shift_is_measured_in_pixels(off):
    """It is the shift between data and calculated image, over any background, with a fraction of the pixels left out."""
    shifted = [(v + off[0], u + off[1]) for v, u in PLACES]
    found = agreement(image(shifted), image(PLACES), below=40.0)
    assert found.calculated == found.found == 6 and found.placed <= 1
    assert abs(found.shift - np.hypot(*off)) < 0.3


def test_intensities_that_are_wrong_are_no_shift():
    """Some spots are three times as bright, and one is missing; the others are still where they should be."""
    true = image(PLACES, [1000.0, 3000.0, 400.0, 0.0, 1000.0, 2500.0])
    found = agreement(true, image(PLACES))
    assert (found.calculated, found.found, found.placed) == (6, 5, 5)
    assert found.shift < 0.2 and 0.5 < found.r_factor < 0.8


def test_a_neighbour_is_no_shift():
    """A dim spot beside a bright one is not mistaken for the bright one."""
    pair = [(40.0, 40.0), (40.0, 45.0), (70.0, 20.0), (72.0, 26.0)]
    sizes = [4000.0, 400.0, 600.0, 5000.0]
    found = agreement(image(pair, sizes, 0.8), image(pair, sizes, 0.8))
    assert found.placed == found.found >= 2


def test_noise_has_no_spots():
    """Noise has no spots, whatever is calculated there."""
    for seed in range(10):
        found = agreement(np.zeros(SHAPE), image(PLACES), below=10.0, seed=seed)
        assert (found.calculated, found.placed, found.visible) == (6, 0, 0)
        assert np.isnan(found.shift)
        assert not Agreement(float("nan"), found).shown


def test_an_image_of_no_weight_has_no_spots():
    """A user's loss may have no curvature anywhere, and so no finite standard deviation."""
    flat = np.ones(SHAPE)
    found = spots(flat, flat, flat, np.full(SHAPE, np.inf), 0.0)
    assert found[:5] == (0, 0, 0, 0, 0)
    assert np.isnan(found.shift)


def test_contrast_without_visible_spots_is_said_without_a_shift():
    known = Uncertainty(None, None, np.array([1.0]), [], True)
    lost = Agreement(0.9, Spots(4, 0, 0, 0, 0, float("nan"), float("nan")))
    success, _, sentences = verdict(
        [lost], 1.0, converged=True, uncertainty=known, of_experiment=True, course=Course([], lambda number: 0.0)
    )
    assert success
    assert "nan" not in " ".join(sentences)
    assert sentences[-1].startswith("spots of the image are not visible within 6 pixels of where they are calculated")


def test_what_is_accounted_for():
    """A fraction of the contrast between nothing and enough counts only together with the positions of spots."""
    right, wrong = Spots(20, 18, 17, 30, 18, 0.7, 0.1), Spots(20, 18, 8, 20, 20, 0.5, 0.6)
    assert [Agreement(share, right).accounted for share in (0.2, 0.5, 0.8, float("nan"))] == [False, True, True, True]
    assert [Agreement(share, wrong).accounted for share in (0.2, 0.5, 0.8, float("nan"))] == [False, False, True, False]


def test_likeness_is_above_chance():
    """The likeness of broad spots is high where they are calculated, and low at other positions."""
    broad, other = image(PLACES, width=5.0), image([(v + 9, u - 14) for v, u in PLACES], width=5.0)
    noise = np.random.default_rng(1).normal(0.0, 1.0, SHAPE)
    assert likeness(broad + noise, broad, np.ones(SHAPE)) > 6.0
    assert likeness(other + noise, broad, np.ones(SHAPE)) < 3.0


# ---------------------------------------------------------------------------------------------- what refine makes of it


TRUTH = crystal()
START = moved(TRUTH, misset_x_deg=0.15, misset_y_deg=-0.1, misset_z_deg=0.1)
NAMES = ["crystal.misset_deg", "image.scale", "image.background"]
GIVEN = {"image": {"background": 1.0}}


def test_the_figures_of_a_right_fit():
    """In the result of a right fit, every spot is where it should be."""
    done = adjoint.refine(START, counts(TRUTH), NAMES, **GIVEN)
    assert done.success
    (found,) = done.spots
    assert found.calculated >= 6 and found.placed == found.found
    assert (done.r_factor, done.shift_pixels) == (found.r_factor, found.shift)
    assert done.r_factor < 0.1 and done.shift_pixels < 0.2


@pytest.mark.parametrize("blank", ["zeros", "noise"])
def test_a_blank_image_among_others(blank):
    """The blank image is named and prevents success, and its own numbers have no finite uncertainty.

    The other image has its numbers.
    """
    shape = TRUTH.detector.pixels[::-1]
    nothing = np.zeros(shape) if blank == "zeros" else np.random.default_rng(5).poisson(1.0, shape).astype(float)
    done = adjoint.refine([START, START], [counts(TRUTH), nothing], NAMES, **GIVEN)
    assert not done.success and "image 2" in done.message and "stands out from noise" in done.message
    sure = done.uncertainties["crystal.misset_deg"]
    assert np.isfinite(sure[0]).all() and np.isinf(sure[1]).all()
    off = (done.values["crystal.misset_deg"][0] - np.array(TRUTH.crystal.misset_deg)) / sure[0]
    assert np.abs(off).max() < 5.0


def test_a_right_crystal_whose_search_ran_away():
    """A search that ends away from the truth is no success.

    The message says that the crystal may be right, and how far numbers moved.
    """
    start = moved(TRUTH, misset_x_deg=1.5, misset_y_deg=-1.2, a_A=0.4, b_A=-0.5)
    names = [*NAMES, "crystal.a_A", "crystal.b_A", "crystal.c_A"]
    done = adjoint.refine(start, counts(TRUTH), names, phases="exact", **GIVEN)
    off = np.abs(done.values["crystal.misset_deg"] - np.array(TRUTH.crystal.misset_deg)).max()
    assert off > 0.2 and not done.success, (off, done.message)
    print(done.message)


def test_amplitudes_that_are_wrong_are_no_failure():
    """Spots that are brighter or dimmer than calculated by a half are still those of the crystal."""
    axis = np.arange(-16, 17)
    hkl = np.array(np.meshgrid(axis, axis, axis, indexing="ij")).reshape(3, -1).T
    amplitudes = 100.0 * np.exp(0.25 * np.random.default_rng(7).normal(size=len(hkl)))
    new = {"structure_factors.hkl": hkl, "structure_factors.F": amplitudes, "structure_factors.interpolate": False}
    data = np.random.default_rng(2).poisson(simulate(TRUTH.replace(new)) + BACKGROUND)
    done = adjoint.refine(START, data, NAMES, **GIVEN)
    assert done.success, done.message
    assert done.chi_squared > 1.2 and done.r_factor > 0.15
    assert np.abs(done.values["crystal.misset_deg"] - np.array(TRUTH.crystal.misset_deg)).max() < 0.2


def test_a_right_crystal_beside_noise_that_is_not_said():
    """Spots are where they should be, but the noise is larger than stated.

    The verdict is neither a wrong crystal nor a search that ran away.
    """
    data = counts(TRUTH) + np.random.default_rng(4).normal(0.0, 3.0, TRUTH.detector.pixels[::-1])
    done = adjoint.refine(START, data, NAMES, loss="gaussian", **GIVEN)
    assert not done.success and done.spots[0].placed == done.spots[0].found
    assert "or noise" in done.message and "readout noise" in done.message
    assert "ran away" not in done.message and "not one of" not in done.message
