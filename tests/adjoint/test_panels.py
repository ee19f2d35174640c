"""Derivatives by the motions of groups, and by what moves all panels (A1d): against differences, and against one panel each."""

import numpy as np
import panelled
import pytest
from differences import slope

import adjoint
from adjoint import bands, gradient
from adjoint.setup.panels import PanelMirror
from nbnumba import InputError, simulate
from nbnumba.group_names import MOTIONS
from nbnumba.parity import NO_DEFECTS
from nbnumba.setup.detector import position_detector
from nbnumba.setup.panels import planes, planes_of
from nbnumba.setup.values import group_parameter

pytestmark = pytest.mark.filterwarnings("ignore:sampling.oversample")

MIXED = ((7, 11), (9, 5), (3, 20))
PLACED = ("distance_mm", "xbeam_mm", "ybeam_mm", "rotx_deg", "roty_deg", "rotz_deg", "twotheta_deg")
DETECTOR = [f"detector.{name}" for name in PLACED]
GROUPS = [group_parameter(path, motion) for path in ("q0", "q1", "q0/p1", "q1/p2") for motion in MOTIONS]
NAMES = [*DETECTOR, *GROUPS, "crystal.a_A", "crystal.misset_deg", "beam.wavelength_A", "beam.fluence"]


def problem(seed, shapes=((7, 11),) * 4, more=""):
    """An experiment with panels, and a loss of noisy data of it."""
    made, random = panelled.experiment(seed, shapes, more), np.random.default_rng(seed)
    image = simulate(made)
    data = [part * random.uniform(0.8, 1.2, part.shape) for part in image]
    brightest = max(float(part.max()) for part in image)
    return made, adjoint.losses.Gaussian(data if len(set(shapes)) > 1 else np.array(data), sigma=brightest)


@pytest.mark.parametrize("seed", range(8))
def test_planes_by_motions(seed):
    """All numbers of a plane, by the frame's parameters and by motions, along random directions."""
    made, random = panelled.experiment(seed), np.random.default_rng(seed)
    stated = made.replace({name: made.value(name) for name in (*DETECTOR, *GROUPS)})
    detector = stated.detector
    placement = position_detector(detector, stated.beam, NO_DEFECTS)
    mirror = PanelMirror(detector, placement, planes_of(detector, placement))
    names = [name for name in mirror.plane_adj(0, *(np.zeros(3) for _ in range(4)), np.zeros(()))[1]]
    assert set(names) == set(GROUPS) | {group_parameter(detector.groups[1].path, motion) for motion in MOTIONS}
    direction = dict(zip(names, random.normal(size=len(names))))
    for number in range(4):
        bars = {"origin": random.normal(size=3) * 10, **{name: random.normal(size=3) for name in ("fast", "slow", "normal")}}
        close = np.array(random.normal() * 10)

        def weighed(step, number=number, bars=bars, close=close):
            moved = stated.replace({name: stated.value(name) + step * by for name, by in direction.items()})
            plane = planes(moved.detector, moved.beam, NO_DEFECTS)[number]
            return sum(bar @ getattr(plane, name) for name, bar in bars.items()) + close * plane.close_distance

        found = mirror.plane_adj(number, *bars.values(), close)[1]
        along = sum(found[name] * by for name, by in direction.items())
        assert along == pytest.approx(slope(weighed, 0.05), rel=1e-7)
        others = [name for name in names if f"{detector.panels[number].path}/".find(f"{name[15 : name.index(']')]}/") != 0]
        assert all(found[name] == 0.0 for name in others) and len(others) >= 6


@pytest.mark.parametrize("seed", range(6))
def test_gradients_climb_the_ladder(seed):
    """By every parameter, and along random directions; the gradients are not 0."""
    shapes = MIXED if seed == 5 else ((7, 11),) * 4
    made, _ = problem(seed, shapes)
    names = NAMES if seed < 5 else [name for name in NAMES if "p1" not in name]
    lines = adjoint.gradcheck(made, names, directions=3, seed=seed)
    failed = [line for line in lines if line.verdict == "FAILED"]
    assert not failed, failed
    tested = [line.name for line in lines if line.verdict == "passed"]
    assert len(tested) >= 0.9 * len(lines) and {name for name in tested if "group" in name}
    assert all(abs(line.analytic) > 0.0 for line in lines if line.verdict == "passed")


def test_all_is_checked_where_nothing_is_named():
    """The motions of stated groups, too."""
    made, _ = problem(1)
    lines = {line.name: line for line in adjoint.gradcheck(made, directions=0)}
    stated = {group_parameter(group.path, motion) for group in made.detector.groups for motion in MOTIONS}
    assert stated <= set(lines) and not [line for line in lines.values() if line.verdict == "FAILED"]
    assert lines["detector.thickness_um"].reason == "each panel has a sensor of its own"


@pytest.mark.parametrize("shapes", [((7, 11),) * 4, MIXED])
def test_functions_agree(shapes):
    """The image is simulate's; the sums of the Jacobian are the other results."""
    made, loss = problem(3, shapes)
    names = [name for name in NAMES if "p1" not in name or len(shapes) == 4]
    image, (same, jacobian) = simulate(made), adjoint.jacobian(made, names)
    drawn, pull = adjoint.vjp(made, names)
    for one, other, third in zip(image, same, drawn, strict=True):
        np.testing.assert_array_equal(one, other)
        np.testing.assert_array_equal(one, third)
    value, of_loss = adjoint.value_and_grad(loss, made, names)
    assert value == pytest.approx(loss.value(image), rel=1e-12)
    slopes, curvatures = loss.derivative(image), loss.curvature(image)
    expected = sum(np.tensordot(slope_, part, 2) for slope_, part in zip(slopes, jacobian, strict=True))
    size = sum(np.tensordot(abs(slope_), abs(part), 2) for slope_, part in zip(slopes, jacobian, strict=True))
    for gradient_ in (of_loss, pull(slopes), adjoint.normal_equations(loss, made, names)[1]):
        flat = np.concatenate([np.ravel(part) for part in gradient_.values()])
        assert (np.abs(flat - expected) <= 1e-12 * size).all()
    normal = sum(np.einsum("sfa,sf,sfb->ab", part, weight, part) for part, weight in zip(jacobian, curvatures, strict=True))
    scale = np.sqrt(np.outer(np.diag(normal), np.diag(normal)))
    assert np.abs(adjoint.normal_equations(loss, made, names)[2] - normal).max() <= 1e-12 * scale.max()


def test_a_loss_of_another_kind_and_masks():
    """An object with value and derivative, a Poisson loss, and pixels that do not count."""
    made, loss = problem(1)
    mask = np.random.default_rng(1).random((4, 7, 11)) < 0.7

    class Own:
        value, derivative, curvature = loss.value, loss.derivative, loss.curvature

    names = GROUPS[:6]
    own, known = (adjoint.value_and_grad(one, made, names, mask=mask)[1] for one in (Own(), loss))
    masked = adjoint.losses.Gaussian(loss.sheet.image(loss.data), sigma=loss.weight.max() ** -0.5, mask=mask)
    by_loss = adjoint.value_and_grad(masked, made, names)[1]
    for name in names:
        assert own[name] == pytest.approx(float(known[name]), rel=1e-9)
        assert by_loss[name] == pytest.approx(float(known[name]), rel=1e-9)
    counts = np.random.default_rng(2).poisson(simulate(made) * 1e3)
    poisson = adjoint.losses.Poisson(counts, background=0.5)
    brighter = made.replace({"beam.fluence": 1e3 * made.beam.fluence})
    assert poisson.value(simulate(brighter)) == pytest.approx(adjoint.value_and_grad(poisson, brighter, names)[0], rel=1e-12)


def test_bands_that_share_their_sums_give_the_same(monkeypatch):
    """The derivatives by many amplitudes, with little memory, on any number of threads; each amplitude once."""
    made, loss = problem(2)
    hkl = np.array([(h, k, l) for h in range(-9, 10) for k in range(-9, 10) for l in range(-9, 10)])
    amplitudes = np.random.default_rng(1).uniform(50, 150, len(hkl))
    made = made.replace({"structure_factors.hkl": hkl, "structure_factors.F": amplitudes})
    names = ["structure_factors.F", *GROUPS[:6]]
    many = adjoint.value_and_grad(loss, made, names)[1]
    assert bands.bands_of([(0, 7)] * 4, 256).stores == 4 and bands.bands_of([(0, 7)] * 4, 3).stores == 3
    monkeypatch.setattr(gradient, "MEMORY_OF_BANDS", 8 * 2 * (hkl.shape[0] + 100))
    few = adjoint.value_and_grad(loss, made, names)[1]
    for name in names:
        np.testing.assert_allclose(few[name], many[name], rtol=1e-9, atol=1e-12 * np.abs(many[name]).max())
    assert np.count_nonzero(many["structure_factors.F"]) > 20


def test_what_is_refused_of_panels():
    made, loss = problem(1)
    for names, words in (
        (["detector.group[q7].shift_fast_mm"], "no panel has a path that begins with q7"),
        (["detector.group[q0].shift"], "is no parameter"),
        (["detector.thickness_um"], "each panel has a sensor of its own"),
        ([GROUPS[0], GROUPS[0]], "is there twice"),
    ):
        with pytest.raises(InputError, match=words):
            adjoint.vjp(made, names)
    with pytest.raises(InputError, match=r"group\[q0\].shift_fast_mm: the fluence is 0"):
        adjoint.vjp(made.replace({"beam.fluence": 0.0}), GROUPS[:1])
    with pytest.raises(InputError, match=r"loss: data of .* = \(28, 11\) do not fit; allowed: \(panel, slow, fast\)"):
        adjoint.value_and_grad(adjoint.losses.Gaussian(np.ones((28, 11))), made, GROUPS[:1])
    with pytest.raises(InputError, match=r"cotangent of shape \(7, 11\) does not fit; allowed: \(panel, slow, fast\)"):
        adjoint.vjp(made, GROUPS[:1])[1](np.ones((7, 11)))
    with pytest.raises(InputError, match="loss: data of .* do not fit an image of shape"):
        loss.value(np.ones((7, 11)))


WORDS = "-cell 70 80 90 75 85 95 -default_F 100 -misset 10 20 30 -fluence 1.2e26 -lambda 1 -distance 100 -detpixels 200 -N 20"
SHIFTS = [group_parameter("q1", motion) for motion in ("shift_fast_mm", "shift_slow_mm", "turn_normal_deg")]
OFF = dict(zip(SHIFTS, (0.03, -0.02, 0.05)))


def measured(seed, cut=None):
    """An experiment with 16 panels, and counts where q1 is moved; cut: the width of the last panel."""
    made = panelled.grid(f"{WORDS} -oversample 1 -osc 0.5 -phisteps 5 -phi_sampling mid", 4, 4, (50, 50), 0.1)
    if cut is not None:
        *others, last = made.detector.panels
        made = made.replace({"detector.panels": [*others, panelled.dataclasses.replace(last, shape=(50, cut))]})
    random = np.random.default_rng(seed)
    counts = [random.poisson(part * 1.0 + 1.0).astype(float) for part in simulate(made.replace(OFF))]
    return made, counts if cut is not None else np.array(counts)


@pytest.mark.parametrize("cut, loss", [(None, "poisson"), (None, "gaussian"), (43, "poisson")])
def test_a_quadrant_that_is_off_is_refined(cut, loss):
    """From the stated place, through coarse phases, with the scale and the background; panels of two shapes are a list."""
    made, counts = measured(1, cut)
    names = [*SHIFTS, "image.scale", "image.background"]
    more = {"readout_noise": 1.0} if loss == "gaussian" else {}
    found = adjoint.refine(made, counts, names, image={"background": 1.0}, loss=loss, **more)
    assert found.success, found.message
    for name, true in OFF.items():
        assert abs(found.values[name] - true) < 4 * found.uncertainties[name], name
        assert found.experiment.value(name) == found.values[name]
    assert [np.shape(part) for part in found.image] == [part.shape for part in counts]
    assert [np.shape(part) for part in found.residuals] == [part.shape for part in counts]
    assert found.spots[0].found > 15 and found.shift_pixels < 0.2


def test_restraints_to_the_start_and_backgrounds_of_panels():
    """A restraint to None holds the start; X and Y run over the whole detector."""
    made, counts = measured(2)
    names = [*SHIFTS, "image.background", "image.background_x", "image.background_y"]
    free = adjoint.refine(made, counts, names, phases="exact", image={"background": 1.0})
    held = adjoint.refine(made, counts, names, phases="exact", image={"background": 1.0}, restraints={SHIFTS[0]: (None, 1e-6)})
    assert abs(held.values[SHIFTS[0]]) < 1e-3 * abs(free.values[SHIFTS[0]])
    for name in ("image.background_x", "image.background_y"):
        assert abs(free.values[name]) < 4 * free.uncertainties[name]
    x = np.linspace(-1, 1, 200)
    sloping = counts + np.random.default_rng(3).poisson(4.0 * (1 + x)[None, :].repeat(200, 0)).reshape(4, 50, 4, 50).transpose(
        0, 2, 1, 3
    ).reshape(16, 50, 50)
    found = adjoint.refine(made, sloping, names, phases="exact", image={"background": 5.0})
    assert abs(found.values["image.background_x"] - 4.0) < 4 * found.uncertainties["image.background_x"]
    assert abs(found.values["image.background_y"]) < 4 * found.uncertainties["image.background_y"]
