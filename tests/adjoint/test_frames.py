"""A frame: what is expected of it, its loss, and how that changes with every number of the experiment and of the image (R1)."""

import functools
import sys

import numba
import numpy as np
import pytest
from differences import central, extrapolated, slope
from refining import Cauchy, counts, crystal, plane

import adjoint
from adjoint import gradient
from adjoint.parameters import AMPLITUDES, ARRAYS, IMAGE
from adjoint.refinement import expected_image, frame_loss, frames, image_numbers
from adjoint.refinement.unknowns import unknowns
from adjoint.variables import pack
from nbnumba import Experiment, InputError, simulate
from nbnumba.backends import CPU, Machine
from nbnumba.setup import sampling
from nbnumba.simulate import render

RICH = "-cell 70 70 90 75 85 95 -N 5 -misset 10 20 30 -lambda 1.2 -distance 100 -detpixels_x 20 -detpixels_y 18 -pixel 0.8 "
RICH += "-oversample 2 -default_F 100 -detector_thick 300 -detector_abs 200 -detector_thicksteps 2 -twotheta 10 -polar 0.5 "
RICH += "-dispersion 1 -dispsteps 2 -hdivrange 1 -hdivsteps 2 -vdivrange 1 -vdivsteps 2 -osc 1 -phisteps 2 -phi 3 "
RICH += "-mosaic 0.3 -mosaic_domains 2 -water 0.03 -air 1e-10 -fluence 1e28 "
RICH += "-gauss_xtal -N_def 1 0.5 0.3 -mosaic_abc 0.2 0.3 0.1 -bfactor 20 -bfactor_aniso 3 2 -1 1 0.5 -1 "
RICH += "-cell_spread 0.01 0.02 0.015 -xtal_position 0.3 -0.2 0.4 -mosaic_seed 4"
NUMBERS = {"scale": 0.7, "background": 3.0, "background_x": -0.8, "background_y": 0.5, "background_radial": 1.5, "gain": 2.5}
"""Of the image; the background stays above 0."""
ICE = ("background.ice_um", "background.ice_size_A")
"""Left out: differences of the geometry cross the entries of the table of ice. tests/adjoint/test_gradients.py has it."""
PHYSICAL = [name for name in adjoint.PARAMETERS if name not in (*ARRAYS, *ICE)]
STEPS = {"A": 0.05, "degree": 0.02, "mrad": 0.05, "mm": 0.05, "um": 20.0, "cells": 0.02, "": 0.4, "percent": 0.05, "A^2": 3.0}
"""The largest step of a parameter by its unit; of others a hundredth of the value."""
AGREEMENT, KNOWN = 1e-6, 5e-7
"""Of a derivative: how far it may be off, and how well differences have to know it."""

pytestmark = [pytest.mark.filterwarnings("ignore::UserWarning"), pytest.mark.usefixtures("one_thread")]


def rich() -> Experiment:
    """An experiment of every parameter but the amplitudes, which are all the same, so that no pixel jumps (A14)."""
    return Experiment.from_args(RICH.split())


def listed() -> Experiment:
    """The same with a list of reflections."""
    hkl = np.array(np.meshgrid(*3 * [np.arange(-4, 5)], indexing="ij")).reshape(3, -1).T
    values = {"structure_factors.hkl": hkl, "structure_factors.F": np.random.default_rng(5).uniform(20, 200, len(hkl))}
    return rich().replace(values | {"structure_factors.interpolate": False})


def data_of(experiment):
    """Data with a third of their contrast wrong, with holes, that do not reach the edges of the panel."""
    random = np.random.default_rng(6)
    image = simulate(experiment)
    mean = 2.5 * (0.7 * image + plane(image.shape, 3.0, -0.8, 0.5, 1.5))
    data = 2.5 * random.poisson(mean / 2.5 * random.uniform(0.7, 1.3, mean.shape)).astype(float)
    data[random.random(data.shape) < 0.1] = np.nan
    data[:2] = data[:, 17:] = np.nan
    return data


def frame_of(kind, experiment, data, parameters, image=tuple(IMAGE), **numbers):
    """A frame of some parameters, by name of its loss."""
    sigma = np.linspace(2.0, 5.0, data.size).reshape(data.shape) if kind == "gaussian" else None
    loss = Cauchy(data, 4.0) if kind == "own" else kind
    refined = {"image": NUMBERS | numbers, "parameters": parameters, "image_names": image}
    return frames.frame(experiment, data, loss=loss, sigma=sigma, **refined)


def start_of(at):
    """The vector that a frame starts from."""
    own = pack(at.experiment, at.parameters) if at.parameters else np.zeros(0)
    return np.concatenate([own, [getattr(at.numbers, name.removeprefix("image.")) for name in at.image]])


MISSET = "crystal.misset_deg"
KINDS = ["poisson", "gaussian", "own"]


@pytest.fixture(scope="module", params=KINDS)
def case(request):
    """A frame by all numbers that there are but the amplitudes, and its start."""
    experiment = rich()
    at = frame_of(request.param, experiment, data_of(experiment), PHYSICAL)
    return at, start_of(at)


def value_of(at, vector):
    """The loss of a frame by what is expected: Poisson's deviance per gain, chi squared or a loss of one's own."""
    mean, counts = expected_image.expected(at, vector), ~np.isnan(at.data)
    if not isinstance(at.loss, str):
        return at.loss.value(mean)
    mean, data = mean[counts], at.data[counts]
    if at.loss == "gaussian":
        return np.sum(((mean - data) / at.sigma[counts]) ** 2) / 2
    return np.sum(mean - data + np.where(data > 0, data * np.log(np.maximum(data, 1e-9) / mean), 0.0)) / at.dispersion


def step_of(name, value):
    """The largest step of a number: by its unit, and of one that cannot be below 0 a part of it."""
    parameter = (adjoint.PARAMETERS | IMAGE)[name]
    most = 0.1 * abs(value) if parameter.bounds[0] >= 0.0 or parameter.unit not in STEPS else np.inf
    return min(STEPS.get(parameter.unit, np.inf), most)


def difference(function, vector, place, step, most=8):
    """The derivative of a function of a vector by one of its numbers."""

    def moved_by(h):
        moved = vector.copy()
        moved[place] += h
        return function(moved)

    return extrapolated(functools.partial(central, moved_by), step, KNOWN / 2, noise=1e-14 * abs(function(vector)), most=most)


def test_gradient_by_every_number(case):
    """Every single number of experiment and image, its gain and scale, against differences of the loss."""
    at, start = case
    gradient, off = frame_loss.evaluate(at, start, False).gradient, []
    for place, name in enumerate([*PHYSICAL, *IMAGE]):
        found = difference(lambda x: value_of(at, x), start, place, step_of(name, start[place]))
        assert found.error <= KNOWN * abs(found.value), (name, found)
        if abs(gradient[place] - found.value) > AGREEMENT * abs(found.value):
            off.append((name, gradient[place], found))
    assert not off
    assert len(start) == len(PHYSICAL) + len(IMAGE)


@pytest.mark.parametrize("kind", KINDS)
def test_gradient_by_amplitudes(kind):
    """The brightest of some hundred amplitudes beside numbers of the image, against differences of the loss."""
    experiment = listed()
    at = frame_of(kind, experiment, data_of(experiment), [AMPLITUDES])
    start = start_of(at)
    gradient = frame_loss.evaluate(at, start, False).gradient
    assert len(gradient) == 9**3 + len(IMAGE)
    for place in [*np.argsort(-np.abs(gradient[: 9**3]))[:3], 9**3]:
        found = difference(lambda x: value_of(at, x), start, place, 0.05 * abs(start[place]))
        assert gradient[place] == pytest.approx(found.value, rel=1e-6)


def curvature_of(at, mean):
    """The curvature W of the loss by the expected data (slow, fast); 0 where a pixel is left out."""
    counts = ~np.isnan(at.data)
    with np.errstate(divide="ignore"):
        if at.loss == "poisson":
            return np.where(counts, 1.0 / (at.dispersion * mean), 0.0)
        return np.where(counts, at.sigma**-2.0, 0.0) if at.loss == "gaussian" else at.loss.curvature(mean)


def test_matrix_is_that_of_the_expected_image(case):
    """J^T W J with J from differences of the expected image, by numbers of the experiment and all of the image."""
    at, start = case
    some = ["crystal.misset_x_deg", "detector.distance_mm", "beam.fluence", "crystal.n_a"]
    at = at._replace(parameters=tuple(some))
    start = start_of(at)
    columns = []
    for place, name in enumerate([*some, *IMAGE]):
        axis, step = np.eye(len(start))[place], 0.2 * step_of(name, start[place])
        columns.append(slope(lambda h, along=axis: expected_image.expected(at, start + h * along), step, 2))
    columns = np.stack(columns, axis=-1)
    found = frame_loss.evaluate(at, start)
    weight = curvature_of(at, expected_image.expected(at, start))[..., None]
    size = np.sqrt(np.diag(found.normal))
    wanted = np.tensordot(columns, weight * columns, ([0, 1], [0, 1]))
    assert (np.abs(found.normal - wanted) <= AGREEMENT * np.outer(size, size)).all()
    alone = frame_loss.evaluate(at, start, False)
    assert alone.normal is None and alone.value == pytest.approx(found.value, rel=1e-12)
    np.testing.assert_allclose(alone.gradient * size**-1, found.gradient / size, rtol=0, atol=1e-9)


def test_value_is_that_of_the_expected_image(case):
    """The loss is one of gain (scale I + B), with I that of simulate; nothing is expected outside of what is rendered."""
    at, start = case
    mean = expected_image.expected(at, start, whole=True)
    counts = ~np.isnan(at.data)
    np.testing.assert_array_equal(expected_image.expected(at, start)[counts], mean[counts])
    image = simulate(at.experiment.replace({"sampling.roi": None, "sampling.mask": None}))
    below = plane(image.shape, 3.0, -0.8, 0.5, 1.5)
    np.testing.assert_allclose(mean[at.box], 2.5 * (0.7 * image + below)[at.box], rtol=1e-12)
    assert np.count_nonzero(mean) == (mean.size if at.loss not in ("poisson", "gaussian") else 16 * 17)
    assert frame_loss.evaluate(at, start).value == pytest.approx(value_of(at, start), rel=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_a_background_below_0_counts_as_0(kind):
    """Where the sum of its terms is below 0 there is none, and there no number of it does anything."""
    truth = crystal("-detpixels 24 -water 1")
    data = counts(truth)
    at = frame_of(kind, truth, data, [], background=0.5, background_x=1.5, background_radial=0.7)
    start = start_of(at)
    below = plane(data.shape, 0.5, 1.5, 0.5, 0.7)
    assert 0.1 < (below < 0.0).mean() < 0.9 and np.abs(below).min() > 1e-3
    np.testing.assert_allclose(expected_image.background(at, at.numbers), np.maximum(below, 0.0), rtol=0, atol=1e-14)
    gradient = frame_loss.evaluate(at, start, False).gradient
    for place, name in enumerate(IMAGE):
        found = difference(lambda x: value_of(at, x), start, place, 1e-3)
        assert gradient[place] == pytest.approx(found.value, rel=1e-6), name


def test_a_frame_without_parameters_of_the_experiment():
    """Numbers of the image alone: the same as beside parameters."""
    experiment = rich()
    data = data_of(experiment)
    both, alone = (frame_of("poisson", experiment, data, names) for names in (["detector.distance_mm"], []))
    wanted, found = frame_loss.evaluate(both, start_of(both)), frame_loss.evaluate(alone, start_of(alone))
    assert found.value == pytest.approx(wanted.value, rel=1e-12)
    np.testing.assert_allclose(found.gradient, wanted.gradient[1:], rtol=1e-9)
    np.testing.assert_allclose(found.normal, wanted.normal[1:, 1:], rtol=1e-9)


@pytest.mark.parametrize("with_normal", [True, False])
def test_pixels_that_are_left_out_change_no_bit(with_normal):
    """Data, mask and sigma say the same; what is measured there does not matter, nor how many threads there are."""
    truth = crystal("-detpixels 40")
    data, random = counts(truth), np.random.default_rng(8)
    out = random.random(data.shape) < 0.2
    out[:3] = True
    names, before = ("crystal.misset_deg", "beam.fluence"), numba.get_num_threads()

    def evaluated(measured, mask=None, saturation=None, sigma=1.0, threads=1):
        numba.set_num_threads(threads)
        left_out = {"sigma": sigma, "mask": mask, "saturation": saturation}
        refined = {"image": NUMBERS, "parameters": names, "image_names": tuple(IMAGE)}
        at = frames.frame(truth, measured, loss="gaussian", **left_out, **refined)
        found = frame_loss.evaluate(at, start_of(at), with_normal)
        return found.value, *found.gradient, *(found.normal.ravel() if with_normal else [])

    first = evaluated(np.where(out, np.nan, data))
    assert evaluated(np.where(out, np.nan, data), threads=2) == first
    numba.set_num_threads(before)
    assert evaluated(np.where(out, 1e5, data), mask=~out) == first
    assert evaluated(np.where(out, -3.0, data), mask=np.where(out, 0, 7)) == first
    assert evaluated(np.where(out, 1e5, data), saturation=1e5) == first
    assert evaluated(np.where(out, np.inf, data)) == first
    assert evaluated(np.where(out, -np.inf, data)) == first
    assert evaluated(np.ma.array(data, mask=out)) == first
    assert evaluated(np.where(out, 77.0, data), sigma=np.where(out, np.inf, 1.0)) == first
    assert evaluated(np.where(out, 0.0, data)) != first


def test_an_offset_is_of_the_data():
    """Data with an offset, which counts for saturation, are the data without it."""
    truth = crystal("-detpixels 40")
    data = counts(truth)
    data[5, 6] = 500.0

    def made(measured, saturation, offset):
        return frames.frame(truth, measured, saturation=saturation, offset=offset, parameters=(), image_names=("image.scale",))

    plain, shifted = made(data, 300.0, 0.0), made(data + 40.0, 340.0, 40)
    np.testing.assert_array_equal(plain.data, shifted.data)
    assert np.isnan(plain.data[5, 6]) and np.isnan(plain.data).sum() < 20


def test_a_frame_renders_what_counts():
    """The region of an experiment and its mask leave pixels out, and the smallest region that holds the rest is rendered."""
    mask = np.ones((72, 72), dtype=np.uint8)
    mask[30:33] = 0
    experiment = crystal().replace({"sampling.roi": (10, 60, 5, 50), "sampling.mask": mask})
    data = counts(crystal()).astype(float)
    data[:, 55:] = np.nan
    at = frames.frame(experiment, data, parameters=(), image_names=("image.scale",))
    assert at.experiment.sampling.roi == (10, 54, 5, 50) and at.box == (slice(5, 51), slice(10, 55))
    assert np.count_nonzero(~np.isnan(at.data)) == 45 * (46 - 3)
    np.testing.assert_array_equal(at.experiment.sampling.mask != 0, ~np.isnan(at.data))


def boxes_of(truth):
    """Data that are left out but for boxes about the brightest spots."""
    data, bright = counts(truth).astype(float), np.zeros((72, 72), dtype=bool)
    for row, column in zip(*np.nonzero(simulate(truth) > 800.0)):
        bright[max(row - 4, 0) : row + 5, max(column - 4, 0) : column + 5] = True
    return np.where(bright, data, np.nan)


@pytest.mark.parametrize("kind", ["poisson", "gaussian"])
def test_what_is_left_out_is_not_computed_and_changes_nothing(monkeypatch, kind):
    """Neither images nor derivatives of pixels that do not count, in any phase; of those that count sums differ by rounding."""
    truth = crystal()
    data, names = boxes_of(truth), ("crystal.misset_deg", "beam.fluence")
    at = frames.frame(truth, data, loss=kind, image={"background": 2.0}, parameters=names, image_names=tuple(IMAGE))
    assert 0.02 < np.mean(~np.isnan(data)) < 0.5
    every = at._replace(experiment=at.experiment.replace({"sampling.mask": None}))
    few, all_ = (expected_image.weighed(each, start_of(each)) for each in (at, every))
    for with_normal in (True, False):
        one, other = (frame_loss.evaluate(each, start_of(each), with_normal) for each in (few, all_))
        assert one.value == pytest.approx(other.value, rel=1e-12)
        for mine, theirs in ((one.gradient, other.gradient), (one.normal, other.normal))[: 1 + with_normal]:
            np.testing.assert_allclose(mine, theirs, rtol=1e-9, atol=1e-9 * np.abs(theirs).max())
    seen = []
    make = sampling.window

    def noted(pixels, roi, mask):
        seen.append(0 if mask is None else np.count_nonzero(mask))
        return make(pixels, roi, mask)

    monkeypatch.setattr(sampling, "window", noted)
    near = truth.replace({"crystal.misset_deg": (12.05, -25.0, 40.0)})
    done = adjoint.refine(near, data, [MISSET, "image.scale"], loss=kind, image={"background": 2.0})
    whole = [number for number in seen if number != np.count_nonzero(~np.isnan(data))]
    assert done.success and len(seen) > 50 and len(whole) <= 6
    assert done.image[at.box].min() > 1.0 and done.experiment.sampling.mask is None and done.experiment.sampling.roi is None


def test_with_defects_of_nanobragg_all_pixels_are_rendered():
    """A lattice that is carried over from one pixel to the next comes from pixels that do not count, too (P1)."""
    mode = {"c_parity": ("phi_carryover",), "c_threads": 2}
    truth = crystal("-detpixels 40 -phi 0 -osc 1 -phisteps 2 -phi_sampling left")
    data = counts(truth, **mode)
    data[:7] = data[33:] = data[:, :5] = np.nan
    at = frames.frame(truth, data, parameters=(), image_names=("image.scale",), options=mode)
    inside = ~np.isnan(data)
    np.testing.assert_array_equal(expected_image.expected(at, np.ones(1))[inside], simulate(truth, **mode)[inside])
    part = simulate(truth.replace({"sampling.roi": (5, 39, 7, 32)}), **mode)
    assert (part[inside] != simulate(truth, **mode)[inside]).any()


def test_a_start_is_that_of_the_first_frame():
    """Shared numbers that differ by rounding are those of the first; own ones are of each."""
    made = [crystal().replace({"detector.distance_mm": mm, "crystal.misset_deg": (mm, 0.0, 0.0)}) for mm in (80.0, 80.0004)]
    found = unknowns(made, ["detector.distance_mm", "crystal.misset_deg"], None)
    data = counts(made[0])
    each = [frames.frame(e, data, parameters=found.parameters, image_names=()) for e in made]
    np.testing.assert_array_equal(frames.start_of(each, found), [80.0, 80.0, 0.0, 0.0, 80.0004, 0.0, 0.0])


def test_information_of_amplitudes_without_a_matrix():
    """The diagonal of the matrix, where one reflection makes a pixel's photons; the numbers beside are exact."""
    hkl = np.array(np.meshgrid(*3 * [np.arange(-12, 13)], indexing="ij")).reshape(3, -1).T
    truth = crystal("-gauss_xtal").replace({"structure_factors.hkl": hkl, "structure_factors.F": np.full(len(hkl), 100.0)})
    truth = truth.replace({"structure_factors.interpolate": False})
    names = ("crystal.misset_deg", AMPLITUDES)
    at = frames.frame(truth, counts(truth), image={"background": 2.0}, parameters=names, image_names=tuple(IMAGE))
    seen = frame_loss.information_of_each(at, start_of(at))
    amplitudes = slice(3, 3 + len(hkl))
    fewer = at._replace(parameters=("crystal.misset_deg",))
    wanted = np.diag(frame_loss.evaluate(fewer, start_of(fewer)).normal)
    np.testing.assert_allclose(np.delete(seen, np.r_[amplitudes]), wanted, rtol=1e-12)
    bright = np.argsort(-seen[amplitudes])[:10]
    photons, jacobian = adjoint.jacobian(at.experiment, [AMPLITUDES])
    each = np.sum(jacobian[..., bright] ** 2 / (photons + 2.0)[..., None], axis=(0, 1))
    np.testing.assert_allclose(seen[amplitudes][bright], each, rtol=1e-2)
    assert (seen >= 0.0).all() and (seen[amplitudes] == 0.0).sum() > 1000


@pytest.mark.parametrize("method", ["L-BFGS-B", "least_squares"])
def test_all_of_a_refinement_runs_on_the_machine_that_is_asked_for(monkeypatch, method):
    """Images and derivatives, those of the information of many amplitudes, too: none falls back on the default."""
    hkl = np.array(np.meshgrid(*3 * [np.arange(-5, 6)], indexing="ij")).reshape(3, -1).T
    values = {"structure_factors.hkl": hkl, "structure_factors.F": np.full(len(hkl), 100.0)}
    truth = crystal("-detpixels 24").replace(values | {"structure_factors.interpolate": False})
    data, few = counts(truth), [adjoint.Phase("few", exact=True, evaluations=1)]
    asked, seen = Machine("cpu", "paired"), []
    run, draw = gradient._run, render

    def noted_run(problem, *more, **keywords):
        seen.append(("derivative", problem.machine))
        return run(problem._replace(machine=CPU), *more, **keywords)

    def noted_render(panels, shape, progress, machine=CPU):
        seen.append(("image", machine))
        return draw(panels, shape, progress)

    monkeypatch.setattr(gradient, "_run", noted_run)
    monkeypatch.setattr(gradient, "render", noted_render)
    monkeypatch.setattr(sys.modules["nbnumba.simulate"], "render", noted_render)
    names = [AMPLITUDES] if method == "L-BFGS-B" else []
    adjoint.refine(truth, data, [*names, "image.scale", "image.background"], image={"background": 2.0}, method=method,
                   phases=few, **asked._asdict())  # fmt: skip
    kinds = {"image", "derivative"} if names else {"derivative"}  # images are rendered by the kernel of the derivative, too
    assert {kind for kind, _ in seen} == kinds and {machine for _, machine in seen} == {asked}


@pytest.mark.parametrize("kind", ["poisson", "gaussian"])
def test_deviations_are_those_of_what_is_measured(kind):
    """Counts times a gain: variance is gain times the expectation; of a Gaussian loss it is sigma, where there is one."""
    truth = crystal("-detpixels 40")
    data, mean = counts(truth, gain=2.5), np.linspace(0.0, 50.0, 1600).reshape(40, 40)
    refined = {"image": {"gain": 2.5}, "parameters": (), "image_names": ("image.scale",)}
    made = lambda sigma: frames.frame(truth, data, loss=kind, sigma=sigma, **refined)  # noqa: E731
    fewest = 2.5 * expected_image.FEWEST if kind == "gaussian" else 0.0
    np.testing.assert_allclose(expected_image.deviations(made(None), mean) ** 2, 2.5 * np.maximum(mean, fewest), rtol=1e-12)
    if kind == "gaussian":
        assert (expected_image.deviations(made(3.0), mean) == 3.0).all()


def test_deviations_of_counts_that_were_read_out():
    """Variance is gain times the expectation and the square of the read-out's noise; at least that of a tenth of a photon."""
    truth, mean = crystal("-detpixels 40"), np.linspace(-5.0, 50.0, 1600).reshape(40, 40)
    given = {"loss": "gaussian", "image": {"gain": 2.5}, "parameters": (), "image_names": ("image.scale",)}
    at = frames.frame(truth, counts(truth, gain=2.5) - 9.0, **given, readout_noise=4.0)
    np.testing.assert_allclose(expected_image.deviations(at, mean) ** 2, 2.5 * np.maximum(mean, 0.0) + 16.0, rtol=1e-12)
    least = expected_image.deviations(at._replace(readout=0.01), mean).min()
    assert least**2 == pytest.approx(2.5**2 * expected_image.FEWEST, rel=1e-12)


@pytest.mark.parametrize(
    ("image", "named"),
    [
        ({"foo": 1}, "'image.foo'.*allowed: image.scale, image.background"),
        ({"image.foo": 1}, "'image.foo'"),
        ({"gain": 0}, "gain 0 .*above 0"),
        ({"gain": np.inf}, "gain inf"),
        ({"scale": -1.0}, "scale -1"),
        ({"background_x": np.nan}, "background_x nan.*finite"),
        ({"background": "3"}, "background.*number"),
        ({"background": None}, "background.*number"),
    ],
)
def test_numbers_of_an_image_that_are_none(image, named):
    """Each is refused, with what is allowed."""
    with pytest.raises(InputError, match=f"image: .*{named}|{named}"):
        image_numbers.numbers_of(image)


def test_numbers_of_an_image():
    """With and without the name of the part."""
    wanted = image_numbers.Numbers(background=2.0, gain=3.0)
    assert image_numbers.numbers_of({"image.background": 2, "gain": np.float32(3.0)}) == wanted
    assert image_numbers.numbers_of(None) == image_numbers.Numbers(1.0, 0.0, 0.0, 0.0, 0.0, 1.0)
