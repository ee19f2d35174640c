"""Stills in shoeboxes: which reflections they show, what strengths tell, and refinements with known truth (S11, S12)."""

import dataclasses

import numpy as np
import pytest
import series_problems as problems
import still_problems as stills

from adjoint import refine_series
from adjoint.series import errors, reflections
from adjoint.series.strengths import Strengths, mean_factor
from nbnumba import Experiment, InputError, predict, simulate
from nbnumba.to_geometry import Readout, geometry_of

pytestmark = pytest.mark.filterwarnings("ignore:sampling.oversample")


@pytest.fixture(scope="module")
def one():
    """A still: its truth, its image, and a spoiled start."""
    truth, data, random = stills.still(3, pixels=500)
    return truth, data, stills.spoiled(truth, random)


# ------------------------------------------------------------------------------------------------ reflections


@pytest.mark.parametrize("flags", ["", "-dispersion 0.5 -dispsteps 5"])
def test_reflections_are_those_that_show_photons(flags):
    """Their boxes hold the photons of the image, and each is where predict has it; none is listed that shows nothing."""
    truth, _, _ = stills.still(4, flags=flags, pixels=500)
    found, tally = reflections.reflections_of_stills([truth, truth])
    assert tally.predicted - tally.far == len(found.hkl) and tally.far > 0
    first = found.image == 0
    assert (found.image == 1).sum() == first.sum() > 50
    table = predict(truth, found.hkl[first])
    by_hkl = {tuple(hkl): row for row, hkl in enumerate(table.hkl.tolist())}
    rows = [by_hkl[tuple(hkl)] for hkl in found.hkl[first].tolist()]
    np.testing.assert_allclose(found.fast[first], table.fast[rows], atol=1e-9)
    every = predict(truth, least_excitation=1e-6)
    assert table.photons[rows].sum() > 0.97 * every.photons.sum()
    wide, _ = reflections.reflections_of_stills([truth], 0.3)
    assert len(wide.hkl) > 1.5 * first.sum()


def test_absent_reflections_and_the_missetting_of_stills(one):
    truth, _, _ = one
    whole, _ = reflections.reflections_of_stills([truth])
    even, tally = reflections.reflections_of_stills([truth], absent=lambda hkl: hkl.sum(axis=1) % 2 == 1)
    assert tally.absent > 0 and "absent by symmetry" in str(tally)
    assert 0 < len(even.hkl) < len(whole.hkl) and (even.hkl.sum(axis=1) % 2 == 0).all()


# ------------------------------------------------------------------------------------------------ strengths


def test_the_score_is_the_slope_of_the_quasi_likelihood():
    random = np.random.default_rng(0)
    observed, calculated, noise = random.uniform(0.0, 50.0, 20), random.uniform(1.0, 50.0, 20), random.uniform(0.5, 30.0, 20)
    of = Strengths(observed, calculated, noise, random.uniform(0.2, 1.0, 20), 0.7)
    along = random.normal(size=20)
    slope = (of.loss(calculated + 1e-4 * along) - of.loss(calculated - 1e-4 * along)) / 2e-4
    assert slope == pytest.approx(-(of.score @ along), rel=1e-7)
    nearly_known = of._replace(spread=1e-4)
    squares = 0.5 * of.weight @ ((observed - calculated) ** 2 / noise - (observed - 2.0 * calculated) ** 2 / noise)
    assert nearly_known.loss(calculated) - nearly_known.loss(2.0 * calculated) == pytest.approx(squares, rel=1e-4)


def test_the_mean_factor_of_wilsons_intensities_is_found_without_bias():
    random = np.random.default_rng(1)
    means = []
    for _ in range(40):
        calculated = random.uniform(1.0, 200.0, 400)
        expected = 3.0 * calculated * random.exponential(size=400)
        observed = random.poisson(expected + 20.0) - 20.0
        of = Strengths(observed, calculated, 20.0 + calculated, np.ones(400), 1.0)
        means.append(mean_factor(of, np.ones(400, dtype=bool)))
    assert np.mean(means) == pytest.approx(3.0, abs=4.0 * 3.0 / np.sqrt(40 * 400))


def test_strengths_are_a_part_of_gradient_and_scores(one):
    """The gradient is the slope of what a step lowers, and the parts of reflections sum to it."""
    truth, data, start = one
    result = stills.refined([start], [data])
    problem, point = result.stages[-1].problem, result.stages[-1].begin
    assert problem.spread == 1.0 and point.strengths is not None
    random = np.random.default_rng(2)
    along = random.normal(size=len(point.x)) / np.sqrt(np.diag(point.normal))
    slopes = []
    for size in (0.02, 0.01):
        ahead, behind = (problem.point(point.x + sign * size * along, point.factors, point)[0] for sign in (1.0, -1.0))
        slopes.append((ahead - behind) / (2.0 * size))
    assert (4.0 * slopes[1] - slopes[0]) / 3.0 == pytest.approx(-(point.gradient @ along), rel=2e-3)
    gradient, _, inverse = problem.reduced(point)
    by_reflection, by_image, _ = errors.scores(problem, point, inverse)
    scale = np.abs(by_reflection).sum(axis=0).max()
    np.testing.assert_allclose(by_reflection.sum(axis=0), gradient, atol=1e-10 * scale)
    np.testing.assert_allclose(by_image.sum(axis=0), gradient, atol=1e-10 * scale)


def test_strengths_determine_the_turns_about_axes_across_the_beam(one):
    """Without what is expected of intensities the information of places alone on these turns is less."""
    truth, data, start = one
    known, free = (stills.refined([start], [data], intensity_sigma=sigma) for sigma in (1.0, 100.0))
    worst = [result.errors.counting.sigma[:3].max() for result in (known, free)]
    assert worst[1] > 1.15 * worst[0]


# ------------------------------------------------------------------------------------------------ refinements


@pytest.mark.parametrize("amplitudes", ["each", "given"])
@pytest.mark.parametrize("flags", ["", "-dispersion 0.5 -dispsteps 5"])
def test_a_still_is_refined_to_its_truth(amplitudes, flags):
    truth, data, random = stills.still(5, pixels=500, flags=flags)
    result = stills.refined([stills.spoiled(truth, random, known=amplitudes == "given")], [data], amplitudes)
    assert result.success and result.message == "converged"
    assert np.abs(stills.pulls(result, [truth])).max() < 4.5
    assert max(result.figures.shifts.rms[:2]) < 0.15 < max(result.before.rms[:2])
    assert result.figures.chi_squared == pytest.approx(1.0, abs=0.1)
    assert np.isnan(result.figures.strengths) == (amplitudes == "given")


def test_stills_in_common_have_crystals_of_their_own_and_one_detector():
    """Two stills whose beam centre is 0.1 mm off: one number for both, and orientations, cells and scales of each."""
    made = [stills.still(seed, pixels=500) for seed in (6, 7)]
    starts = [stills.spoiled(truth, random) for truth, _, random in made]
    starts = [start.replace({"detector.xbeam_mm": start.value("detector.xbeam_mm") + 0.1}) for start in starts]
    names = [*stills.NAMES, "detector.xbeam_mm"]
    result = stills.refined(starts, [data for _, data, _ in made], names=names)
    assert result.success
    values = result.values()
    assert values["detector.xbeam_mm"].shape == (1, 1) and values["crystal.misset_deg"].shape == (2, 3)
    assert np.abs(stills.pulls(result, [truth for truth, _, _ in made])).max() < 4.5
    shared = stills.refined(starts, [data for _, data, _ in made], names=names, shared=["crystal.a_A", "crystal.scale"])
    assert shared.values()["crystal.a_A"].shape == (1, 1)


def test_panels_give_the_same_numbers(one):
    """The detector as one panel, and as two halves of it."""
    truth, data, start = one
    halves = two_halves(start)
    assert len(halves.detector.panels) == 2
    parts = np.stack([data[:250], data[250:]])
    np.testing.assert_allclose(np.concatenate(simulate(halves.replace(stills.TRUTH))), simulate(start.replace(stills.TRUTH)))
    results = [stills.refined([start], [data]), stills.refined([halves], [parts])]
    assert np.abs((results[0].x - results[1].x) / results[0].errors.sigma).max() < 0.1  # boxes end at the edge of a half


def two_halves(experiment):
    """The experiment with a detector of an upper and a lower half."""

    geometry = geometry_of(experiment, Readout(), "test")
    (panel,) = geometry.panels
    slow, fast = panel.shape
    lower = panel.origin_mm + panel.pixel_slow_mm * (slow // 2) * panel.slow_axis
    panels = (
        dataclasses.replace(panel, path="a", shape=(slow // 2, fast)),
        dataclasses.replace(panel, path="b", shape=(slow - slow // 2, fast), origin_mm=lower),
    )

    made = Experiment.from_geometry(
        dataclasses.replace(geometry, panels=panels), structure_factors=experiment.structure_factors
    )
    return dataclasses.replace(experiment, detector=made.detector)


@pytest.mark.long
def test_far_starts_and_noise_are_no_success():
    """From 0.3 degrees and 0.9 % of the cell on, spots are taken for others; the strengths of reflections tell."""
    for seed, size in ((403, 3.0), (405, 10.0)):
        truth, data, random = stills.still(seed)
        result = stills.refined([stills.spoiled(truth, random, size)], [data], size=size)
        assert not result.success or np.abs(stills.pulls(result, [truth])).max() < 5.0
    truth, data, random = stills.still(8, pixels=500)
    noise = random.poisson(np.ones(data.shape)).astype(np.float64)
    assert not stills.refined([stills.spoiled(truth, random)], [noise]).success
    other = stills.still(9, pixels=500)[1]
    assert not stills.refined([stills.spoiled(truth, random)], [other]).success


# ------------------------------------------------------------------------------------------------ what is refused


def test_what_cannot_be_is_refused(one):
    truth, data, start = one
    image = problems.images_of([start], [data])
    rotation = problems.images_of([start.replace({"goniometer.osc_deg": 0.1})], [data])
    with pytest.raises(InputError, match="images: .* is of a rotation, and .* is not"):
        refine_series([*image, *rotation], stills.NAMES)
    with pytest.raises(InputError, match="intensity_sigma: 0 is not allowed"):
        refine_series(image, stills.NAMES, intensity_sigma=0)
    with pytest.raises(InputError, match="intensity_sigma: 1 is not allowed beside amplitudes='given'"):
        refine_series(image, stills.NAMES, intensity_sigma=1, amplitudes="given")
