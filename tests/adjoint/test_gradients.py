"""Gradients of whole images are compared with central differences, in random experiments and at the mission's pixel."""

import re
from collections import Counter

import numpy as np
import pytest
from differences import central, extrapolated
from peaks import judged, made

import adjoint
from adjoint import not_differentiable
from adjoint.losses import Gaussian
from adjoint.parameters import AMPLITUDES, ARRAYS
from adjoint.prepare import freeze_choices, prepare
from nbnumba import Experiment, InputError, simulate
from nbnumba.stages.shapes import SHAPES
from nbnumba.statements import CONVENTIONS

EXPERIMENTS, FEW = 100, 30
"""How many random experiments there are, and the first of them, which are enough for every run."""
TIMES = 3
"""So often is every parameter seen to do something in those that take long."""

AGREEMENT, KNOWN = 1e-6, 5e-7
"""Of the derivative: how far the gradient may be off, and how well differences have to know it."""
NOTHING, FAINT = 1e-9, 1e-7
"""Of what the parameter does to all pixels, regardless of sign: what is as small as that does nothing to the loss; and what
differences may miss to know by, where it all but cancels. Both count as not tested, and the latter is rare."""
ROUNDING = 1e-15
"""Of a pixel, and of a cell's edges, and so of an index: how exact it is."""
BEHIND_A_KINK = 64
"""By this the first step is smaller the second time."""
MOVED = 0.002
"""Of the image: the change that the largest step is for."""
STAIRS = 1e-3
"""The agreement where the image has steps: mosaic_float32 rounds the angles to 6e-8."""
MOST = {"A": 1.0, "degree": 1.0, "mrad": 2.0, "mm": 0.5, "um": 1.0, "cells": 0.3, "": 0.3, "percent": 1.0}
"""The largest step by unit; of a parameter that cannot be negative at most a PART of its value, too."""
PART = 0.2
PART_OF_B = 1e-3
"""The largest step of a B factor, as a part of the isotropic one."""

seen: Counter = Counter()
"""How often each parameter was tested, over the session."""
pytestmark = pytest.mark.usefixtures("one_thread")

unknown: list = []
"""What differences could not find out."""


def allowed(experiment) -> list[str]:
    """The parameters that not_differentiable allows, less those that change nothing in this experiment."""
    found = not_differentiable.reasons(experiment)
    names = [name for name in adjoint.PARAMETERS if name not in found]
    if experiment.crystal.b_factor_A2 == 0.0:
        names.remove("crystal.b_factor_A2")  # which is at its bound
    names = [name for name in names if not name.startswith("crystal.cell_spread") or experiment.value(name)]  # likewise
    while True:
        try:
            prepare(experiment, names)
            return names
        except InputError as error:
            names.remove(re.fullmatch(r".* by (\S+): it moves nothing there", str(error))[1])


def along(directions):
    """The parameters at a position on a line, from the (value, direction) of each."""
    return lambda x: {name: value + x * direction for name, (value, direction) in directions.items()}


class Line:
    """A line through the parameters, with the experiment and the loss at any position on it."""

    def __init__(self, base: Experiment, loss, image, rounding, at):
        self.base, self.loss, self.at, self.moved = base, loss, at, 0.0
        self.pull = np.abs(loss.derivative(image))
        self.noise = float(np.linalg.norm(self.pull * rounding))

    def quotient(self, step: float) -> float:
        """The central difference quotient of the loss."""
        ahead, behind = (simulate(self.base.replace(self.at(x))) for x in (step, -step))
        self.moved = float(np.sum(self.pull * np.abs(ahead - behind))) / (2 * step)
        return change(self.loss, behind, ahead) / (2 * step)

    def check(self, gradient: float, step: float) -> bool:
        """Check that the gradient is the derivative along a line.

        Returns whether differences can tell that the line changes the loss. Where the image has a kink next to the line's
        beginning, differences may converge to something else; then they begin anew, behind the kink.
        """
        found = extrapolated(self.quotient, step, KNOWN / 2, self.noise)
        if abs(gradient - found.value) > AGREEMENT * abs(found.value) and found.error <= KNOWN * abs(found.value):
            step /= BEHIND_A_KINK
        found = extrapolated(self.quotient, step, KNOWN / 2, self.noise)
        known = found.error <= KNOWN * abs(found.value)
        if not known:
            unknown.append(found)
            nothing = max(FAINT * self.moved, 16 * self.noise / step)
            assert found.error <= nothing, f"differences do not converge: {found} of {self.moved}, gradient {gradient!r}"
        off, allowed = abs(gradient - found.value), AGREEMENT * abs(found.value) + (not known) * 2 * found.error
        assert off <= max(allowed, NOTHING * self.moved), f"gradient {gradient!r}, differences {found} of {self.moved}"
        return known and abs(gradient) > NOTHING * self.moved


def change(loss, before, after) -> float:
    """The difference of two losses, summed over pixels, so that it is as exact as the images."""
    counts = ~np.isnan(loss.data)
    data, weight, before, after = (x[counts] for x in (loss.data, loss.weight, before, after))
    if isinstance(loss, Gaussian):
        return float(np.sum(weight * (after - before) * ((after + before) / 2 - data)))
    return float(np.sum(after - before - data * np.log1p((after - before) / (before + weight))))


def largest_step(name, value, column, image, b_factor) -> float:
    """A step that changes the image noticeably and leaves all parameters within their bounds."""
    parameter = adjoint.PARAMETERS[name]
    most = PART_OF_B * b_factor if parameter.unit == "A^2" else MOST.get(parameter.unit, np.inf)
    if parameter.bounds[0] == 0.0:
        most = min(most, PART * value)
    if name == "beam.polarization":
        most = min(most, 0.5 - abs(value) / 2)
    moves = np.linalg.norm(column)
    return min(most, MOVED * np.linalg.norm(image - image.mean()) / moves) if moves > 0.0 else most


def check_stairs(base, loss, image, name, gradient, step) -> None:
    """Check a parameter in which the image has fine steps, by differences over many of them."""
    value = base.value(name)
    line = Line(base, loss, image, 0.0 * image, along({name: (value, 1.0)}))
    found = extrapolated(line.quotient, min(step, PART * value / 10), STAIRS, most=3)
    assert abs(gradient - found.value) <= STAIRS * line.moved, f"gradient {gradient!r}, differences {found}"


def check_all(experiment, loss, random) -> list[str]:
    """Check every parameter and a direction through all of them. Returns the parameters that change the image."""
    names = allowed(experiment)
    base = freeze_choices(experiment, names)
    image, columns = adjoint.jacobian(experiment, names)
    value, gradient = adjoint.value_and_grad(loss, experiment, names)
    edges = ("crystal.a_A", "crystal.b_A", "crystal.c_A")
    moved = sum(np.abs(columns[..., names.index(name)]) * base.value(name) for name in edges)
    rounding = ROUNDING * (image + moved)
    place, wrong, right, all_of = 0, [], [], {}
    for name in names:
        stated, size = base.value(name), int(np.size(gradient[name]))
        if name in ARRAYS:
            stated = np.array(stated)
            direction, step = random.normal(size=size) * stated, 0.1
            slope = float(gradient[name] @ direction)
        else:
            direction, slope = 1.0, float(gradient[name])
            step = largest_step(name, stated, columns[..., place], image, base.crystal.b_factor_A2)
        place += size
        if name == "crystal.mosaic_spread_deg" and experiment.sampling.defects.mosaic_float32:
            check_stairs(base, loss, image, name, slope, step)
            continue
        all_of[name] = (stated, direction * random.uniform(0.3, 1.0) * step * np.copysign(1.0, slope))
        line = Line(base, loss, image, rounding, along({name: (stated, direction)}))
        try:
            if line.check(slope, step):
                right.append(name)
        except AssertionError as error:
            wrong.append(f"{name}: {error}")
    slope = sum(float(np.sum(gradient[name] * direction)) for name, (_, direction) in all_of.items())
    together = Line(base, loss, image, rounding, along(all_of))
    try:
        together.check(slope, 0.5)
    except AssertionError as error:
        wrong.append(f"direction: {error}")
    assert not wrong, "\n".join(wrong)
    assert value == pytest.approx(loss.value(image), rel=1e-12)
    return right


@pytest.mark.parametrize("number", [*range(FEW), *(pytest.param(n, marks=pytest.mark.long) for n in range(FEW, EXPERIMENTS))])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_gradient_of_a_random_experiment(number, tmp_path):
    experiment = made(number, tmp_path)
    seen["experiments"] += 1
    seen[experiment.detector.convention] += 1
    seen[experiment.crystal.shape] += 1
    seen.update(check_all(experiment, judged(number, experiment, simulate(experiment)), np.random.default_rng(number)))


@pytest.mark.long
def test_every_parameter_was_seen_to_do_something():
    if seen["experiments"] < EXPERIMENTS - FEW:
        pytest.skip("not all experiments ran")
    shapes = [name for name, shape in SHAPES.items() if not shape.not_differentiable]
    wanted = [*adjoint.PARAMETERS, *CONVENTIONS, *shapes]
    assert {name: seen[name] for name in wanted if seen[name] < TIMES} == {}
    assert len(unknown) <= seen.total() / 100


STEPS = {"A": 1e-3, "degree": 1e-4, "mrad": 1e-2, "mm": 1e-3, "um": 1e-2, "cells": 1e-2, "": 1e-2}
"""Largest steps at the mission's pixel, by unit."""
MORE = "-detector_thick 320 -detector_abs 515 -mosaic 0.02 -mosaic_domains 3 -polar 0.9 -water 0.01"


@pytest.mark.parametrize("case", ["supervisor_roi_t1", "supervisor_hkl_roi"])
@pytest.mark.parametrize("switches", ["", pytest.param("-c_parity phi_carryover", marks=pytest.mark.long)])
@pytest.mark.parametrize("more", ["", pytest.param(MORE, marks=pytest.mark.long)])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_gradient_at_the_pixel_of_the_mission(golden, case, switches, more):
    """On the pixels about slow 685, fast 1039, all of phi steps 0 to 9; with the carryover through the lattice left behind.

    The region begins a row above, so that the pixel is not the first of its thread.
    """
    args = golden.args(case)
    words = [*args[: args.index("-roi")], *switches.split(), *more.split()]
    window = Experiment.from_args([*words, "-roi", "1039", "1040", "684", "685"])
    whole = simulate(window)
    rows, columns = slice(684, 686), slice(1039, 1041)
    image = whole[rows, columns]
    assert image.all() and np.count_nonzero(whole) == 4
    names = allowed(window)
    assert ("goniometer.phi_deg" in names) == (not switches)
    assert len(names) >= 22 + 4 * bool(more)
    cotangent = np.zeros(whole.shape)
    cotangent[rows, columns] = np.random.default_rng(1).uniform(0.5, 1.5, (2, 2)) / image
    _, pullback = adjoint.vjp(window, names)
    gradient, base = pullback(cotangent), freeze_choices(window, names)
    for name in names:
        value, direction, slope = base.value(name), 1.0, gradient[name]
        step = 0.05 * value if name in ("beam.fluence", "background.water_um") else STEPS.get(adjoint.PARAMETERS[name].unit)
        step = 1e-3 if name == "beam.wavelength_scale" else step
        if name == AMPLITUDES:
            step, direction = 0.1, np.random.default_rng(2).normal(size=value.shape) * value
            slope = slope @ direction
        quotient = pulled(base, along({name: (value, direction)}), cotangent, (rows, columns))
        found = extrapolated(quotient, step, KNOWN / 2, ROUNDING)
        assert found.error <= KNOWN * abs(found.value), (name, found, slope)
        assert float(slope) == pytest.approx(found.value, rel=AGREEMENT), name


def pulled(base, at, cotangent, window):
    """The difference quotients of the image times a cotangent, in a window."""

    def quotient(step):
        return float(np.sum(cotangent[window] * central(lambda x: simulate(base.replace(at(x)))[window], step)))

    return quotient
