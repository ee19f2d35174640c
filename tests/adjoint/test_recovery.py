"""refine recovers numbers of the experiment and of the image from noisy counts, with each of its options."""

from itertools import chain, repeat

import numba
import numpy as np
import pytest
from refining import BACKGROUND, Cauchy, counts, crystal, moved, plane

import adjoint
from adjoint.parameters import IMAGE
from adjoint.refinement import frame_loss, frames, search
from nbnumba import Experiment, simulate

WITHIN = 4.0
"""Standard uncertainties that an estimate is off at most."""
MISSET = "crystal.misset_deg"
TRUTH = crystal()
START = moved(TRUTH, misset_x_deg=0.15, misset_y_deg=-0.1, misset_z_deg=0.1)
NAMES = [MISSET, "image.scale", "image.background"]
GIVEN = {"image": {"background": 1.0}}


def pull(done, name, true):
    """(estimate - truth) / uncertainty."""
    return (done.values[name] - np.asarray(true)) / done.uncertainties[name]


def check(done, truth, within=WITHIN):
    """Check that the refinement succeeds, and that all numbers are within that many of their finite uncertainties of the
    truth."""
    assert done.success and done.status == 1 and done.message == "converged", (done.message, done.phases)
    assert set(done.values) == set(truth)
    for name, true in truth.items():
        assert np.isfinite(done.uncertainties[name]).all() and (done.uncertainties[name] > 0.0).all(), name
        assert (np.abs(pull(done, name, true)) < within).all(), (name, done.values[name], done.uncertainties[name], true)


# ---------------------------------------------------------------------------------------------- the numbers of an image


FLAT = {"image.background": 6.0, "image.background_x": 2.0, "image.background_y": -1.0, "image.background_radial": 3.0}


@pytest.mark.parametrize("loss", ["poisson", "gaussian", "sigma"])
def test_scale_and_every_term_of_the_background(loss):
    """They are refined with the orientation from counts, by the Poisson loss, and by the Gaussian one with and without
    sigma."""
    below = plane((72, 72), *FLAT.values())
    data = np.random.default_rng(1).poisson(0.6 * simulate(TRUTH) + below).astype(float)
    sigma = np.sqrt(np.maximum(0.6 * simulate(TRUTH) + below, 1.0)) if loss == "sigma" else None
    names = [MISSET, "image.scale", *FLAT]
    kind = "poisson" if loss == "poisson" else "gaussian"
    done = adjoint.refine(START, data, names, loss=kind, sigma=sigma, image={"background": 3.0})
    truth = {MISSET: TRUTH.crystal.misset_deg, "image.scale": 0.6} | FLAT
    check(done, truth)
    assert done.chi_squared == pytest.approx(1.0, abs=0.1)
    assert done.explained > 0.9 and done.diagnosis == []


def test_gain():
    """Each count is 3.5 in the data, and the fluence is known, so that a gain fits and a scale does not."""
    data = counts(TRUTH, gain=3.5)
    names = [MISSET, "image.gain", "image.background"]
    done = adjoint.refine(START, data, names, image={"background": 1.0, "gain": 2.5})
    check(done, {MISSET: TRUTH.crystal.misset_deg, "image.gain": 3.5, "image.background": BACKGROUND})
    assert done.units == ["degree"] * 3 + ["per photon", "photons/pixel"]
    assert done.chi_squared == pytest.approx(1.0, abs=0.1)
    np.testing.assert_allclose(done.frames[0].sigma ** 2, 3.5 * done.image, rtol=1e-2)


def test_a_known_gain_makes_uncertainties_honest():
    """With their gain, data in units of 3.5 have the uncertainties of their photons; without it these are too small."""
    data = counts(TRUTH, gain=3.5)
    known = adjoint.refine(START, data, [MISSET, "image.scale"], image={"background": BACKGROUND, "gain": 3.5})
    photons = adjoint.refine(START, data / 3.5, [MISSET, "image.scale"], image={"background": BACKGROUND})
    check(known, {MISSET: TRUTH.crystal.misset_deg, "image.scale": 1.0})
    np.testing.assert_allclose(known.x, photons.x, rtol=1e-6)
    np.testing.assert_allclose(known.uncertainties[MISSET], photons.uncertainties[MISSET], rtol=1e-6)
    assert known.fun == pytest.approx(photons.fun, rel=1e-9)


def test_weights_are_of_what_is_found():
    """Without sigma, a Gaussian loss weights pixels by the refined image, not by the start, which is five times too dim."""
    names = ["image.scale", "image.background"]
    given = {"loss": "gaussian", "image": {"scale": 0.2, "background": 0.4}}
    done = adjoint.refine(TRUTH, counts(TRUTH), names, **given)
    check(done, {"image.scale": 1.0, "image.background": BACKGROUND})
    np.testing.assert_allclose(done.frames[0].sigma ** 2, done.image, rtol=0.1)
    assert done.chi_squared == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize("factor", [0.01, 30.0])
def test_a_fluence_that_is_far_off(factor):
    """The fluence follows the scale of the coarse phases, together with an orientation that is wrong at the start."""
    start = START.replace({"beam.fluence": factor * TRUTH.beam.fluence})
    done = adjoint.refine(start, counts(TRUTH), [MISSET, "beam.fluence", "image.background"], **GIVEN)
    check(done, {MISSET: TRUTH.crystal.misset_deg, "beam.fluence": TRUTH.beam.fluence, "image.background": BACKGROUND})
    before = next(step.x[3] for step in done.history if step.phase == "all parameters")
    assert before == pytest.approx(TRUTH.beam.fluence, rel=0.1)


def test_numbers_of_the_image_alone():
    """Without a parameter of the experiment there is one phase, and the crystal is not judged."""
    done = adjoint.refine(TRUTH, counts(TRUTH), list(FLAT)[:1] + ["image.scale"], image={"background": 7.0})
    check(done, {"image.background": BACKGROUND, "image.scale": 1.0})
    assert len(done.phases) == 1 and done.phases[0].startswith("all parameters")
    assert done.experiment.value(MISSET) == TRUTH.crystal.misset_deg


def test_what_is_stated_of_the_image_is_held():
    """Numbers that are stated and not refined stay fixed, and are used."""
    done = adjoint.refine(TRUTH, counts(TRUTH), ["beam.fluence"], image={"image.background": BACKGROUND, "scale": 0.5})
    check(done, {"beam.fluence": 2.0 * TRUTH.beam.fluence})


def test_a_loss_of_ones_own():
    """It has value, derivative and curvature with respect to the mean, which is gain (scale I + B)."""
    data = counts(TRUTH, gain=2.0)
    loss = Cauchy(data, np.sqrt(2.0 * (simulate(TRUTH) * 2.0 + 2 * BACKGROUND)))
    given = {"image": {"background": 1.0, "gain": 2.0}, "loss": loss}
    done = adjoint.refine(START, data, [MISSET, "image.scale", "image.background"], **given)
    check(done, {MISSET: TRUTH.crystal.misset_deg, "image.scale": 1.0, "image.background": BACKGROUND}, within=2 * WITHIN)
    assert done.fun == pytest.approx(loss.value(done.image), rel=1e-9)


class Doubled(adjoint.losses.Poisson):
    """A loss of the package whose methods are overridden: it is twice as large."""

    def value(self, image):
        return 2.0 * super().value(image)

    def derivative(self, image):
        return 2.0 * super().derivative(image)

    def curvature(self, image):
        return 2.0 * super().curvature(image)


def test_losses_of_the_package():
    """An object of adjoint.losses leaves out the pixels that refine leaves out, and has the same result as its name.

    Overridden methods are used.
    """
    data, mask = counts(TRUTH).astype(float), np.ones((72, 72))
    mask[40:] = 0
    given = {"mask": mask, "roi": (4, 71, 0, 60), "saturation": 2500.0} | GIVEN
    word = adjoint.refine(START, data, NAMES, **given)
    done = adjoint.refine(START, data, NAMES, loss=adjoint.losses.Poisson(data), **given)
    sure = np.sqrt(np.diag(word.covariance))
    assert (np.abs(done.x - word.x) < 0.01 * sure).all() and done.pixels == word.pixels < 40 * 68
    np.testing.assert_allclose(np.sqrt(np.diag(done.covariance)), sure, rtol=1e-3)
    assert (done.chi_squared, done.explained) == (
        pytest.approx(word.chi_squared, rel=0.05),
        pytest.approx(word.explained, abs=0.05),
    )
    plain = adjoint.refine(START, data, NAMES, loss=adjoint.losses.Poisson(data), **GIVEN)
    twice = adjoint.refine(START, data, NAMES, loss=Doubled(data), **GIVEN)
    assert twice.fun == pytest.approx(2.0 * plain.fun, rel=1e-6)
    np.testing.assert_allclose(twice.covariance, plain.covariance / 2.0, rtol=1e-3, atol=1e-15)


# ---------------------------------------------------------------------------------------------- restraints and bounds


def test_a_restraint_pulls_and_counts():
    """An estimate with a restraint is the weighted mean of both, and its uncertainty is that of the mean."""
    data, names = counts(TRUTH), [MISSET, "detector.distance_mm", "image.scale"]
    given = {"image": {"background": BACKGROUND}, "phases": "exact"}
    free = adjoint.refine(TRUTH, data, names, **given)
    distance, sigma = float(free.values[names[1]]), float(free.uncertainties[names[1]])
    done = adjoint.refine(TRUTH, data, names, restraints={names[1]: (distance + sigma, 0.5 * sigma)}, **given)
    assert done.values[names[1]] - distance == pytest.approx(0.8 * sigma, rel=0.05)
    assert done.uncertainties[names[1]] == pytest.approx(sigma / np.sqrt(5.0), rel=0.02)
    place = done.names.index(names[1])
    matrix = np.linalg.inv(free.covariance)
    matrix[place, place] += 1.0 / (0.5 * sigma) ** 2
    found, size = np.linalg.inv(done.covariance), np.sqrt(np.diag(matrix))
    np.testing.assert_allclose(found / np.outer(size, size), matrix / np.outer(size, size), rtol=0, atol=0.02)
    assert done.fun > free.fun


def test_a_restraint_of_a_vector():
    """A restraint has one value for all numbers of a vector, or one value for each."""
    target = np.array(TRUTH.crystal.misset_deg) + 1e-6
    names = [MISSET, "image.scale"]
    given = {"image": {"background": BACKGROUND}, "phases": "exact"}
    done = adjoint.refine(TRUTH, counts(TRUTH), names, restraints={MISSET: (target, 1e-7)}, **given)
    np.testing.assert_allclose(done.values[MISSET], target, rtol=0, atol=1e-7)
    np.testing.assert_allclose(done.uncertainties[MISSET], 1e-7, rtol=1e-3)


@pytest.mark.parametrize("method", ["least_squares", "L-BFGS-B", "trust-constr"])
def test_a_bound_holds(method):
    """A number that ends at a bound is there exactly, or to a hundredth. It has no uncertainty, and a sentence names it."""
    bound = 12.05
    names = [*(f"crystal.misset_{axis}_deg" for axis in "xyz"), "image.scale"]
    given = {"image": {"background": BACKGROUND}, "bounds": {names[0]: (bound, None)}, "method": method}
    done = adjoint.refine(moved(TRUTH, misset_x_deg=0.1), counts(TRUTH), names, **given)
    assert bound <= done.values[names[0]] < bound + 0.001
    assert min(step.x[0] for step in done.history) >= bound - 1e-12
    assert np.isnan(done.uncertainties[names[0]]) and np.isnan(done.covariance[0]).all()
    assert any(names[0] in sentence and "bound" in sentence for sentence in done.diagnosis)
    assert np.isfinite(done.covariance[1:, 1:]).all()


def test_bounds_of_a_parameter_hold():
    """A background that would be below 0 ends at 0, and the other numbers are found."""
    data = np.random.default_rng(2).poisson(simulate(TRUTH)).astype(float)
    done = adjoint.refine(START, data, [MISSET, "image.scale", "image.background"], image={"background": 0.3})
    assert 0.0 <= done.values["image.background"] < 0.01
    assert done.success
    assert np.abs(pull(done, MISSET, TRUTH.crystal.misset_deg)).max() < WITHIN


# ---------------------------------------------------------------------------------------------- what is left out



def test_pixels_that_are_left_out_change_no_bit():
    """No bit depends on the data of masked, saturated or missing pixels, nor on how they are left out."""
    data = counts(TRUTH).astype(float)
    out = np.random.default_rng(3).random(data.shape) < 0.1
    first = adjoint.refine(START, np.where(out, np.nan, data), NAMES, **GIVEN)
    check(first, {MISSET: TRUTH.crystal.misset_deg, "image.scale": 1.0, "image.background": BACKGROUND})
    assert first.pixels == np.count_nonzero(~out)
    for measured, more in (
        (np.where(out, 1e7, data), {"mask": ~out}),
        (np.where(out, -5.0, data), {"mask": np.where(out, 0.0, 1.0)}),
        (np.where(out, 65535.0, data), {"saturation": 65535}),
        (np.ma.array(np.where(out, 3.0, data), mask=out), {}),
        (np.where(out, np.inf, data) + 40.0, {"offset": 40.0}),
    ):
        done = adjoint.refine(START, measured, NAMES, **more, **GIVEN)
        np.testing.assert_array_equal(done.x, first.x)
        np.testing.assert_array_equal(done.covariance, first.covariance)
        np.testing.assert_array_equal(done.frames[0].data, first.frames[0].data)
        assert np.isnan(done.residuals[out]).all() and np.isfinite(done.residuals[~out]).all()
        assert (done.fun, done.chi_squared, done.explained) == (first.fun, first.chi_squared, first.explained)
    assert not np.array_equal(adjoint.refine(START, data, NAMES, **GIVEN).x, first.x)


def test_a_region_and_a_mask_of_the_experiment():
    """No bit depends on data where the experiment renders nothing. The keywords roi and mask have the same effect."""
    data, mask = counts(TRUTH).astype(float), np.ones((72, 72), dtype=np.uint8)
    mask[30:33] = 0
    inside = START.replace({"sampling.roi": (0, 65, 3, 71), "sampling.mask": mask})
    first = adjoint.refine(inside, data, NAMES, **GIVEN)
    again = adjoint.refine(inside, np.where(frames.rendered(inside), data, 1e6), NAMES, **GIVEN)
    np.testing.assert_array_equal(again.x, first.x)
    assert first.pixels == again.pixels == 66 * (69 - 3)
    done = adjoint.refine(START, data, NAMES, roi=(0, 65, 3, 71), mask=mask, **GIVEN)
    assert done.pixels == first.pixels
    assert (np.abs(done.x - first.x) < 0.05 * np.sqrt(np.diag(first.covariance))).all()


def test_an_offset_of_the_data():
    """An offset that is stated does not count as photons."""
    done = adjoint.refine(START, counts(TRUTH) + 100.0, NAMES, offset=100, **GIVEN)
    plain = adjoint.refine(START, counts(TRUTH), NAMES, **GIVEN)
    np.testing.assert_array_equal(done.x, plain.x)
    np.testing.assert_array_equal(done.image, plain.image)


# ---------------------------------------------------------------------------------------------- several images


MISSETS = [(12.0, -25.0, 40.0), (10.0, -20.0, 38.0), (15.0, -27.0, 43.0)]
SCALES, BACKGROUNDS = [1.0, 0.5, 2.0], [2.0, 4.0, 1.0]
SHARED = {"detector.distance_mm": 0.15, "crystal.a_A": 0.03}


def several(seed=4):
    """Three images of one crystal and detector, each with its own orientation, scale and background, and starts."""
    truths = [TRUTH.replace({MISSET: misset}) for misset in MISSETS]
    random, data = np.random.default_rng(seed), []
    for truth, scale, below in zip(truths, SCALES, BACKGROUNDS):
        data.append(random.poisson(scale * simulate(truth) + below).astype(float))
    new = {name: TRUTH.value(name) + off for name, off in SHARED.items()}
    starts = [truth.replace(new | {MISSET: tuple(np.add(misset, 0.06))}) for truth, misset in zip(truths, MISSETS)]
    return starts, data


def test_several_images():
    """Shared numbers exist once, and others for each image; shapes and labels agree with that."""
    starts, data = several()
    names = ["crystal.a_A", MISSET, "detector.distance_mm", "image.scale", "image.background"]
    done = adjoint.refine(starts, data, names, image={"background": 1.5})
    truth = {name: TRUTH.value(name) for name in SHARED}
    truth |= {MISSET: MISSETS, "image.scale": SCALES, "image.background": BACKGROUNDS}
    check(done, truth)
    shapes = {name: value.shape for name, value in done.values.items()}
    assert shapes == {"crystal.a_A": (), MISSET: (3, 3), names[2]: (), "image.scale": (3,), "image.background": (3,)}
    assert {name: value.shape for name, value in done.uncertainties.items()} == shapes
    assert done.names[:5] == ["crystal.a_A", *(f"{MISSET}[{i}] (image 1)" for i in range(3)), f"{MISSET}[0] (image 2)"]
    assert done.names[10:12] == ["detector.distance_mm", "image.scale (image 1)"] and len(done.names) == len(done.x) == 17
    assert done.units == ["A", *["degree"] * 9, "mm", *[""] * 3, *["photons/pixel"] * 3]
    assert len(done.experiment) == len(done.image) == len(done.residuals) == len(done.frames) == 3
    for number, experiment in enumerate(done.experiment):
        assert experiment.value(MISSET) == tuple(done.values[MISSET][number])
        assert experiment.value("crystal.a_A") == done.values["crystal.a_A"]
        mean = done.values["image.scale"][number] * simulate(experiment) + done.values["image.background"][number]
        np.testing.assert_allclose(done.image[number], mean, rtol=1e-9)
    assert done.pixels == 3 * 72 * 72


def test_the_loss_of_several_images_is_the_sum():
    """The value, gradient and matrix of two frames are those of each frame, at the indices of its numbers."""
    from adjoint.refinement.search import loss_of
    from adjoint.refinement.unknowns import unknowns

    starts, data = several()
    found = unknowns(starts[:2], ["crystal.a_A", MISSET, "image.scale"], None)
    made = [
        frames.frame(e, d, image={"background": 2.0}, parameters=found.parameters, image_names=found.image)
        for e, d in zip(starts[:2], data)
    ]
    x = frames.start_of(made, found)
    together = loss_of(made, found, (np.zeros(9), np.zeros(9)))(x)
    alone = [frame_loss.evaluate(at, x[found.indices_of(number)]) for number, at in enumerate(made)]
    assert together.value == pytest.approx(alone[0].value + alone[1].value, rel=1e-12)
    one, two = [0, 1, 2, 3, 7], [0, 4, 5, 6, 8]
    assert [list(found.indices_of(number)) for number in (0, 1)] == [one, two]
    wanted, matrix = np.zeros(9), np.zeros((9, 9))
    for place, each in zip((one, two), alone):
        wanted[place] += each.gradient
        matrix[np.ix_(place, place)] += each.normal
    np.testing.assert_allclose(together.gradient, wanted, rtol=1e-12)
    np.testing.assert_allclose(together.normal, matrix, rtol=1e-12)
    assert (together.normal[1:4, 4:7] == 0.0).all()
    restrained = loss_of(made, found, (x + 2.0, np.arange(9.0)))(x)
    assert restrained.value - together.value == pytest.approx(2.0 * 36, rel=1e-9)
    np.testing.assert_allclose(restrained.gradient - together.gradient, -2.0 * np.arange(9.0), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(np.diag(restrained.normal - together.normal), np.arange(9.0), rtol=1e-6, atol=1e-6)


def test_one_image_in_a_list():
    """The numbers are the same as without the list, and are in lists."""
    data = counts(TRUTH)
    alone, listed = adjoint.refine(START, data, NAMES, **GIVEN), adjoint.refine([START], [data], NAMES, **GIVEN)
    np.testing.assert_array_equal(alone.x, listed.x)
    assert listed.names == alone.names and listed.values[MISSET].shape == (3,)
    assert isinstance(alone.experiment, Experiment) and repr(listed.experiment) == repr([alone.experiment])
    np.testing.assert_array_equal(listed.image[0], alone.image)


def test_what_each_image_has_can_be_said():
    """per_image states a distance for each image and one scale for both."""
    data = [counts(TRUTH, seed=5), counts(moved(TRUTH, distance_mm=0.3), seed=6)]
    starts = [moved(TRUTH, distance_mm=0.1), moved(TRUTH, distance_mm=0.2)]
    names = ["detector.distance_mm", "image.scale"]
    done = adjoint.refine(starts, data, names, per_image=["detector.distance_mm"], image={"background": BACKGROUND})
    check(done, {"detector.distance_mm": [80.0, 80.3], "image.scale": 1.0})
    assert done.names == ["detector.distance_mm (image 1)", "detector.distance_mm (image 2)", "image.scale"]


def test_masks_sigmas_and_losses_of_each_image():
    """They are lists with an item for each image."""
    starts, data = several()
    mask = np.ones((72, 72))
    mask[:20] = 0
    given = {"image": {"background": 2.0}, "phases": "exact"}
    names = [MISSET, "image.scale", "image.background"]
    masks, sigmas = [mask, None, mask[::-1]], [np.sqrt(d + 3.0) for d in data]
    done = adjoint.refine(starts, data, names, loss="gaussian", sigma=sigmas, mask=masks, **given)
    counted = [np.count_nonzero(~np.isnan(each.data)) for each in done.frames]
    assert counted == [52 * 72, 72 * 72, 52 * 72]
    np.testing.assert_array_equal(done.frames[1].sigma, sigmas[1])
    losses = [Cauchy(d, np.sqrt(d + 3.0)) for d in data]
    done = adjoint.refine(starts, data, names, loss=losses, **given)
    assert done.fun == pytest.approx(sum(loss.value(mean) for loss, mean in zip(losses, done.image)), rel=1e-9)


# ---------------------------------------------------------------------------------------------- amplitudes


AMPLITUDES = "structure_factors.F"


def listed(largest, osc=12):
    """The crystal, rotated by some degrees, with a list of reflections up to that index and amplitudes between 50 and 150."""
    axis = np.arange(-largest, largest + 1)
    hkl = np.array(np.meshgrid(axis, axis, axis, indexing="ij")).reshape(3, -1).T
    amplitudes = np.random.default_rng(7).uniform(50.0, 150.0, len(hkl))
    new = {"structure_factors.hkl": hkl, "structure_factors.F": amplitudes, "structure_factors.interpolate": False}
    made = crystal(f"-osc {osc} -phisteps {4 * osc} -phi_sampling mid -gauss_xtal").replace(new)
    return made.replace({"beam.fluence": made.beam.fluence * 5000.0 / simulate(made).max()})


def deviation_of_each(truth):
    """The uncertainty of every amplitude with all others known: spots do not overlap, so that dI/dF = 2 I / F."""
    image, pullback = adjoint.vjp(truth, [AMPLITUDES])
    information = 2.0 * pullback(image / (image + BACKGROUND))[AMPLITUDES] / truth.structure_factors.F
    return np.maximum(information, 1e-300) ** -0.5


def only(truth, chosen):
    """The experiment with these reflections."""
    hkl, amplitudes = truth.structure_factors.hkl[chosen], truth.structure_factors.F[chosen]
    return truth.replace({"structure_factors.hkl": hkl, "structure_factors.F": amplitudes})


def started(truth):
    """The experiment with amplitudes that are wrong by a tenth."""
    wrong = truth.structure_factors.F * np.random.default_rng(8).uniform(0.9, 1.1, len(truth.structure_factors.F))
    return truth.replace({"structure_factors.F": wrong})


@pytest.fixture(scope="module")
def amplitudes():
    """A crystal all of whose reflections are visible, and its counts."""
    truth = listed(16)
    truth = only(truth, deviation_of_each(truth) < 20.0)
    return truth, counts(truth)


def test_amplitudes_by_two_methods(amplitudes):
    """Some hundred amplitudes end at the same numbers with a matrix and with gradients alone, and their uncertainties are
    honest."""
    truth, data = amplitudes
    n = len(truth.structure_factors.F)
    assert 150 < n < 400
    given = {"image": {"background": BACKGROUND}}
    one, other = (adjoint.refine(started(truth), data, [AMPLITUDES], method=method, **given)
                  for method in ("least_squares", "L-BFGS-B"))  # fmt: skip
    assert one.success and other.success and one.values[AMPLITUDES].shape == (n,)
    assert one.names[5] == f"{AMPLITUDES}[5]" and one.units == ["electrons"] * n
    sure = one.uncertainties[AMPLITUDES]
    well = sure < 0.05 * truth.structure_factors.F
    assert well.sum() > 100
    assert (np.abs(one.values[AMPLITUDES] - other.values[AMPLITUDES])[well] < 0.1 * sure[well]).all()
    assert one.fun == pytest.approx(other.fun, abs=1e-2)
    off = (pull(one, AMPLITUDES, truth.structure_factors.F))[well]
    assert 0.85 < off.std() < 1.15 and abs(off.mean()) < 4 / np.sqrt(len(off)) and np.abs(off).max() < 5.0


def invisible(experiment):
    """Which amplitudes no pixel of the image depends on."""
    return adjoint.vjp(experiment, [AMPLITUDES])[1](np.ones((72, 72)))[AMPLITUDES] == 0.0


def test_thousands_of_amplitudes():
    """L-BFGS-B is the default.

    There is no matrix, each number has an uncertainty, and invisible reflections stay and are no failure.
    """
    truth = listed(7, osc=8)
    hidden = invisible(truth)
    assert len(hidden) > 3000 and 100 < hidden.sum() < len(hidden) - 90
    start = started(truth)
    done = adjoint.refine(start, counts(truth), [AMPLITUDES, "image.background"], image={"background": 1.0})
    assert done.success and done.covariance is None and done.correlation is None
    values, sure, at_end = done.values[AMPLITUDES], done.uncertainties[AMPLITUDES], invisible(done.experiment)
    assert np.isinf(sure[at_end]).all() and np.isfinite(sure[~at_end]).all()
    assert np.count_nonzero(hidden != at_end) < 5  # what is too faint to count depends on the largest amplitude (F10a)
    never = hidden & at_end
    np.testing.assert_array_equal(values[never], start.structure_factors.F[never])
    well = sure < 0.05 * truth.structure_factors.F
    off = pull(done, AMPLITUDES, truth.structure_factors.F)[well]
    assert well.sum() > 50
    assert 0.85 < off.std() < 1.15
    assert done.chi_squared == pytest.approx(1.0, abs=0.1)
    assert any("too many for a covariance" in sentence for sentence in done.diagnosis)


# ---------------------------------------------------------------------------------------------- modes and promises


def test_a_crystal_in_parity_mode():
    """An image with C's carryover, of two of C's threads, gives back its orientation only in that mode."""
    truth = crystal("-phi 0 -osc 0.6 -phisteps 2 -phi_sampling left")
    mode = {"c_parity": ("phi_carryover",), "c_threads": 2}
    data = counts(truth, **mode)
    start = moved(truth, misset_x_deg=0.1, misset_z_deg=-0.1)
    names = [MISSET, "image.scale"]
    done = adjoint.refine(start, data, names, image={"background": BACKGROUND}, **mode)
    check(done, {MISSET: truth.crystal.misset_deg, "image.scale": 1.0})
    np.testing.assert_allclose(done.image, simulate(done.experiment) * done.values["image.scale"] + BACKGROUND, rtol=1e-9)
    other = adjoint.refine(start, data, names, image={"background": BACKGROUND})
    assert other.chi_squared > 1.2 > 1.1 > done.chi_squared


@pytest.mark.parametrize("where, bias", [("left", 0.15), ("mid", 0.0), (None, 0.0)])
def test_left_edges_turn_the_crystal_by_half_a_step(where, bias):
    """Of counts of a rotation that is rendered in 24 steps, with a model of 2: about the spindle, and nowhere else."""
    fine = crystal("-osc 0.6 -phisteps 24 -phi_sampling mid -mosaic 0.3 -mosaic_domains 40 -mosaic_sampling sobol")
    coarse = fine.replace({"goniometer.phisteps": 2, "goniometer.phi_sampling": where})
    done = adjoint.refine(coarse, counts(fine), ["goniometer.phi_deg"], image={"background": BACKGROUND}, phases="exact")
    assert done.experiment.goniometer.phi_sampling == (where or "mid")
    assert done.values["goniometer.phi_deg"] == pytest.approx(bias, abs=0.01)
    assert 5 * done.uncertainties["goniometer.phi_deg"] < 0.05


def test_the_result_has_the_same_bits():
    """The bits are the same on one thread, on two, and when repeated; the arguments are not changed."""
    data, mask = counts(TRUTH).astype(float), np.ones((72, 72))
    mask[7] = 0
    given = {"mask": mask, "image": {"background": 1.0}, "bounds": {"image.scale": [0.1, 9.0]}}
    given["restraints"] = {MISSET: [3 * [12], 99]}
    names = list(NAMES)
    before, threads, found = (data.copy(), mask.copy(), repr(given), repr(START)), numba.get_num_threads(), []
    try:
        for number in (1, 2, 2):
            numba.set_num_threads(number)
            found.append(adjoint.refine(START, data, names, **given))
    finally:
        numba.set_num_threads(threads)
    for other in found[1:]:
        for field in ("x", "covariance", "correlation", "image", "residuals"):
            np.testing.assert_array_equal(other[field], found[0][field])
        assert (other.fun, other.phases, other.nfev) == (found[0].fun, found[0].phases, found[0].nfev)
    np.testing.assert_array_equal(data, before[0])
    np.testing.assert_array_equal(mask, before[1])
    assert (repr(given), repr(START)) == before[2:] and names == NAMES


def test_progress_is_told_of_steps():
    """The steps have phase, number of evaluations, loss and all numbers, in order.

    They are the history, and end at the result.
    """
    told = []
    done = adjoint.refine(START, counts(TRUTH), NAMES, progress=told.append, **GIVEN)
    assert [step[:3] for step in told] == [step[:3] for step in done.history] and len(told) == done.nit
    assert all(isinstance(step, adjoint.Step) and step.x.shape == (5,) for step in told)
    counted = [step.evaluation for step in told]
    assert counted == sorted(counted) and counted[0] == 1 and counted[-1] <= done.nfev
    phases = list(dict.fromkeys(step.phase for step in told))
    assert [line.split(": loss")[0] for line in done.phases] == phases
    last = [step.loss for step in told if step.phase == phases[-1]]
    assert last == sorted(last, reverse=True) and last[-1] == pytest.approx(done.fun, rel=1e-9)
    np.testing.assert_allclose(told[-1].x, done.x, rtol=1e-12)
    np.testing.assert_array_equal(told[0].x[:3], START.crystal.misset_deg)


@pytest.mark.parametrize("stop", [KeyboardInterrupt, ZeroDivisionError])
@pytest.mark.parametrize("method", ["least_squares", "L-BFGS-B", "trust-constr"])
def test_an_exception_leaves_at_once(method, stop):
    """An exception of progress is raised, and progress is not called again."""
    told = []

    def progress(step):
        told.append(step)
        if len(told) == 2:
            raise stop

    with pytest.raises(stop):
        adjoint.refine(START, counts(TRUTH), NAMES, method=method, phases="exact", progress=progress, **GIVEN)
    assert len(told) == 2


@pytest.mark.parametrize("method", ["least_squares", "L-BFGS-B", "trust-constr"])
def test_every_method_ends_at_the_same_numbers(method):
    """From the same start they agree to a twentieth of the uncertainties."""
    data = counts(TRUTH)
    wanted = adjoint.refine(START, data, NAMES, **GIVEN)
    done = adjoint.refine(START, data, NAMES, method=method, **GIVEN)
    assert done.success
    assert (np.abs(done.x - wanted.x) < 0.05 * np.sqrt(np.diag(wanted.covariance))).all()
    np.testing.assert_allclose(done.correlation, wanted.correlation, rtol=0, atol=0.01)


def test_phases_can_be_stated():
    """The phases run in order, and the last one refines all parameters."""
    plan = [adjoint.Phase("broad", broader=3.0), adjoint.Phase("sharp"), adjoint.Phase("all", exact=True)]
    done = adjoint.refine(START, counts(TRUTH), NAMES, phases=plan, **GIVEN)
    check(done, {MISSET: TRUTH.crystal.misset_deg, "image.scale": 1.0, "image.background": BACKGROUND})
    assert [line.split(":")[0] for line in done.phases] == ["broad", "sharp", "all"]
    cut = adjoint.refine(START, counts(TRUTH), NAMES, phases=[adjoint.Phase("cut", exact=True, evaluations=2)], **GIVEN)
    assert not cut.success and "did not converge" in cut.message


def test_tied_numbers_move_together():
    """Two edges of the same length stay equal, and have the name of the first."""
    truth = crystal("-cell 48 48 64 90 97 90")
    start = truth.replace({"crystal.a_A": 48.05, "crystal.b_A": 48.05})
    names = [("crystal.a_A", "crystal.b_A"), "crystal.c_A", "image.scale"]
    done = adjoint.refine(start, counts(truth), names, image={"background": BACKGROUND})
    check(done, {"crystal.a_A": 48.0, "crystal.c_A": 64.0, "image.scale": 1.0})
    assert done.experiment.crystal.a_A == done.experiment.crystal.b_A == done.values["crystal.a_A"]


def test_the_result_is_that_of_scipy():
    """It is an OptimizeResult with items, attributes and a repr, and with all promised fields."""
    done = adjoint.refine(START, counts(TRUTH), NAMES, **GIVEN)
    fields = "x fun success status message nfev nit experiment values uncertainties start names units covariance correlation"
    fields += " history phases frames image residuals chi_squared pixels explained diagnosis"
    assert set(fields.split()) <= set(done) and "converged" in repr(done)
    assert isinstance(done, adjoint.Refinement) and done["x"] is done.x and isinstance(done.frames[0], adjoint.Fit)
    np.testing.assert_array_equal(done.start[MISSET], START.crystal.misset_deg)
    assert done.start["image.background"] == 1.0 and done.start["image.scale"] == 1.0
    fit = done.frames[0]
    np.testing.assert_allclose(fit.before, simulate(START) + 1.0, rtol=1e-9)
    np.testing.assert_array_equal(fit.after, done.image)
    np.testing.assert_allclose(done.residuals, (fit.data - fit.after) / np.sqrt(fit.after), rtol=1e-12)
    np.testing.assert_allclose(done.uncertainties[MISSET], np.sqrt(np.diag(done.covariance))[:3], rtol=1e-12)
    assert set(IMAGE) >= {name for name in done.values if name.startswith("image.")}


@pytest.mark.parametrize("gain, noise", [(1.0, 3.0), (2.5, 6.0)])
def test_counts_that_were_read_out_with_noise(gain, noise):
    """Numbers below 0 are data.

    With the noise stated, chi squared is 1 and estimates are unbiased, since weights are those of the expectation.
    """
    random = np.random.default_rng(11)
    data = counts(TRUTH, below=0.5, gain=gain, seed=4) + random.normal(0.0, noise, (72, 72))
    assert (data < 0.0).mean() > 0.1
    given = {"loss": "gaussian", "image": {"gain": gain, "background": 1.0}}
    done = adjoint.refine(START, data, NAMES, readout_noise=noise, **given)
    check(done, {MISSET: TRUTH.crystal.misset_deg, "image.scale": 1.0, "image.background": 0.5})
    assert done.chi_squared == pytest.approx(1.0, abs=0.1) and done.diagnosis == []
    assert adjoint.refine(TRUTH, data, NAMES, phases="exact", **given).chi_squared > 1.5


@pytest.mark.parametrize("phases", ["auto", "exact"])
@pytest.mark.parametrize("scale, below", [(7.0, 0.05), (0.1, 2.0)])
def test_a_background_is_found_from_nothing(scale, below, phases):
    """The default start of a background is 0, where nothing is expected between Gaussian spots; scale and background are
    found all the same."""
    truth = crystal("-gauss_xtal ")
    data = np.random.default_rng(1).poisson(scale * simulate(truth) + below)
    for names in (["image.scale", "image.background"], ["crystal.misset_deg", "image.scale", "image.background"]):
        done = adjoint.refine(truth, data, names, phases=phases)
        assert done.success, done.message
        for name, wanted in (("image.scale", scale), ("image.background", below)):
            assert abs(done.values[name] - wanted) < 4.0 * done.uncertainties[name]


def test_the_end_of_least_loss_counts(monkeypatch):
    """It wins over an end that expects almost nothing, so that no pixel counts for chi squared."""
    nothing, right = [0.0, 0.0, 0.0, 1e-9, 0.01], [*np.array(TRUTH.crystal.misset_deg), 1.0, 0.03]
    ends = chain([nothing], repeat(right))
    monkeypatch.setattr(search.Search, "after_coarse_phase", lambda self, phase, x: x)
    monkeypatch.setattr(search.Search, "after_exact_phase", lambda self, phase, x: np.array(next(ends)))
    done = adjoint.refine(START, counts(TRUTH, below=0.03), NAMES)
    assert list(done.x) == right and any("the best of 2" in line for line in done.phases)
