"""Checks the gradient of an experiment against finite differences, for every parameter and for random directions."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np

from adjoint import not_differentiable
from adjoint.gradient import value_and_grad
from adjoint.losses import Gaussian, Loss
from adjoint.parameters import AMPLITUDES, ARRAYS, PARAMETERS, Name, row_of
from adjoint.prepare import experiment_and_machine, prepare
from adjoint.variables import listed, pack, parameter_row, size, unpack, variables
from nbnumba.backends.threads import thread_count
from nbnumba.cost import check, granted
from nbnumba.errors import InputError
from nbnumba.experiment import Experiment
from nbnumba.group_names import MOTIONS
from nbnumba.setup.sheet import sheet_of
from nbnumba.setup.values import group_parameter
from nbnumba.simulate import Progress, sheet_image

TOLERANCE = {"double": 1e-6, "mixed": 1e-4, "paired": 1e-4}
"""The largest allowed relative difference between a gradient in a precision and the limit of its ladder in double precision."""
SETTLED = 1e-5
"""A ladder whose limit has a larger relative uncertainty than this tests nothing."""
ZERO, ROUNDING = 1e-9, 1e-12
"""A derivative counts as 0, and tests nothing, if it is smaller than the fraction ZERO of the sum of the absolute contributions
of the pixels, or than the derivative that a relative change of every pixel by ROUNDING would simulate."""
RUNGS = 7
MOVED, TRIES, LARGEST = 0.02, 8, 1e4
"""The first step of a ladder changes the brightest pixel by about the fraction MOVED. It is found in at most TRIES trials, and
is at most LARGEST typical steps of the parameter."""
AGAIN = (1.0, 1e2, 1e4)
"""A gradient fails only if it does with first steps that are smaller by each of these factors: they span fewer jumps (A14)."""
ROUNDED = 1e-15
"""The relative uncertainty of the photons of a pixel that is due to rounding."""
WINDOW = 48
"""Edge (pixels) of the window around the brightest pixel that is checked unless a region is stated."""

PASSED, FAILED, UNTESTED = "passed", "FAILED", "untested"


class Line(NamedTuple):
    """The result of the check for one parameter or direction.

    analytic: the derivative of the loss, per unit; numeric: the limit of its ladder. error: their relative difference. order:
    the order at which the ladder converges. verdict: PASSED, FAILED or UNTESTED; reason: why it did not pass.
    """

    name: str
    unit: str
    analytic: float
    numeric: float
    error: float
    order: float
    verdict: str
    reason: str


IMAGES_OF_LINE = 10
"""About as many images are rendered for a line, whose time is estimated before the first."""


class Ladder(NamedTuple):
    """The limit of finite differences, its uncertainty, the order at which they converge, and the least limit that is not 0."""

    limit: float
    uncertainty: float
    order: float
    visible: float


def check_precision(precision: str) -> None:
    """Raise InputError for a precision whose gradients are too inaccurate to be checked."""
    if precision not in TOLERANCE:
        allowed = ", ".join(TOLERANCE)
        raise InputError(f"precision {precision!r}: its gradients are too rough to be checked; allowed: {allowed}")


def gradcheck(
    experiment: Experiment,
    parameters: Iterable[Name] | None = None,
    *,
    directions: int = 3,
    seed: int = 1,
    report: Callable[[Line], None] | None = None,
    progress: Progress | None = None,
    **keywords: Any,
) -> list[Line]:
    """The result of the check for every parameter, and for random directions in all of them together.

    parameters: as in adjoint.vjp; None: all by which the image can be differentiated, motions of stated groups of panels
    included, and the others as untested, with the reason. directions: the number of random directions; seed: that of their
    random numbers and of the data. report is called with every line as soon as it is known. The loss is a Gaussian one, whose
    data are the image with 10 % of noise. A ladder consists of central differences, or of one-sided ones where a value is at
    its bound; each step is half of the one before, and the limit is extrapolated. A gradient passes if it is within TOLERANCE
    of the limit. keywords are those of simulate; the differences are computed in double precision on the CPU. Every term
    counts, whatever the tolerance, because the image jumps where a term is left out (A14). Raises InputError for what
    adjoint.vjp refuses.
    """
    with granted(keywords.pop("max_hours", None)):
        return _check_lines(
            experiment, parameters, keywords, directions=directions, seed=seed, report=report, progress=progress
        )


def _check_lines(experiment, parameters, keywords, *, directions, seed, report, progress) -> list[Line]:
    experiment, machine = experiment_and_machine(experiment, **keywords)
    experiment = experiment.replace({"sampling.tolerance": 0.0})
    check_precision(machine.precision)
    check(experiment, threads=thread_count())
    random = np.random.default_rng(seed)
    checked, left_out = _checked_and_left_out(experiment, parameters)
    base = prepare(experiment, checked).experiment
    image, sheet = sheet_image(base), sheet_of(base.detector)
    data, sigma = _noisy(image, random), max(float(np.sqrt((image * image).mean())), np.finfo(float).tiny)
    loss = Gaussian(data, sigma)
    gradient = value_and_grad(Gaussian(sheet.image(data), sigma), base, checked, **machine._asdict())[1]
    lines, total = [], _number_of_lines(base, checked, left_out, directions)
    check(experiment, threads=thread_count(), images=IMAGES_OF_LINE * total)

    def add(line):
        lines.append(line)
        if report is not None:
            report(line)
        if progress is not None:
            progress(len(lines), total)

    subject = Subject(base, checked, loss, gradient, TOLERANCE[machine.precision])
    steps = np.zeros(sum(size(variable) for variable in variables(base, checked)))
    for name, unit, vector in _single_directions(base, checked, random):
        step = _first_step(base, checked, vector)
        steps = np.where(vector != 0.0, np.abs(vector) * step, steps)
        add(_line(subject, name, unit, vector, step))
    for number in range(directions):
        vector = _within_bounds(base, checked, random.normal(size=steps.size) * steps)
        add(_line(subject, f"direction {number + 1}", "", vector, _first_step(base, checked, vector)))
    for name, reason in left_out.items():
        add(Line(name, row_of(name).unit, math.nan, math.nan, math.nan, math.nan, UNTESTED, reason))
    return lines


def _number_of_lines(base, checked, left_out, directions) -> int:
    """The number of lines: one for every number, direction, and parameter that is left out."""
    singles = (1 if variable.key in ARRAYS else len(variable.singles) for variable in variables(base, checked))
    return sum(singles) + directions + len(left_out)


def brightest_window(
    experiment: Experiment, edge: int = WINDOW, progress: Progress | None = None
) -> tuple[int, int, int, int] | None:
    """The region (fast, fast, slow, slow; pixels, ends included) of `edge` pixels around the brightest pixel.

    None if the experiment states a region, has several panels, or if the whole image is not larger. progress: that of simulate.
    """
    shapes = sheet_of(experiment.detector).shapes
    slow, fast = shapes[0]
    if experiment.sampling.roi is not None or max(fast, slow) <= edge or len(shapes) > 1:
        return None
    row, column = np.unravel_index(np.argmax(sheet_image(experiment, progress=progress)), (slow, fast))
    left, low = (int(np.clip(centre - edge // 2, 0, max(0, size - edge))) for centre, size in ((column, fast), (row, slow)))
    return left, min(left + edge, fast) - 1, low, min(low + edge, slow) - 1


def _checked_and_left_out(experiment, parameters) -> tuple[list[Name], dict[str, str]]:
    """The parameters that are checked, and the reasons why others are not. Raises InputError if there is none to check."""
    if parameters is not None:
        return listed(parameters), {}
    groups = experiment.detector.groups
    names = [*PARAMETERS, *(group_parameter(group.path, motion) for group in groups for motion in MOTIONS)]
    reasons = not_differentiable.reasons(experiment, names)
    checked: list[Name] = []
    left_out = {name: reasons[name] for name in names if name in reasons}
    for name in names:
        if name not in reasons:
            try:
                prepare(experiment, [name])
                checked.append(name)
            except InputError as error:
                left_out[name] = str(error).rpartition(": ")[2]
    if not checked:
        raise InputError(f"gradcheck: the image cannot be differentiated by anything: {next(iter(left_out.values()))}")
    return checked, left_out


def _noisy(image, random) -> np.ndarray:
    """An image with 10 % of noise."""
    return image * (1.0 + 0.1 * random.normal(size=image.shape))


def _single_directions(base, checked, random):
    """Name, unit and direction (n,) of every number that is checked; of an array one random direction.

    Weights that are 0 stay so, because none can be below.
    """
    first, total = 0, sum(size(variable) for variable in variables(base, checked))
    for variable in variables(base, checked):
        if variable.key in ARRAYS:
            vector = np.zeros(total)
            along = random.normal(size=size(variable))
            along *= 1.0 if variable.key == AMPLITUDES else np.array(base.value(variable.key))
            vector[first : first + size(variable)] = along
            yield f"{variable.key} (a direction)", PARAMETERS[variable.key].unit, vector
        for number, names in enumerate(variable.singles):
            vector = np.zeros(total)
            vector[first + number] = 1.0
            yield ", ".join(names), row_of(names[0]).unit, vector
        first += size(variable)


def _within_bounds(base, checked, vector: np.ndarray) -> np.ndarray:
    """A direction (n,) along which those numbers grow that are at their least value, so that there is a side to step to."""
    least = [np.full(size(variable), parameter_row(variable.key).bounds[0]) for variable in variables(base, checked)]
    return np.where(pack(base, checked) <= np.concatenate(least), np.abs(vector), vector)


def _first_step(base, checked, vector) -> float:
    """A step along a direction (n,) that changes the brightest pixel by about MOVED of it."""
    image, start = sheet_image(base), pack(base, checked)
    moving = np.flatnonzero(vector)
    step = typical = min(_typical(base, checked)[moving] / np.abs(vector[moving]))
    for _ in range(TRIES):
        moved = _image(base, checked, start, vector, step)
        if moved is None:
            step /= 4
            continue
        change = np.abs(moved - image).max() / max(np.abs(image).max(), np.finfo(float).tiny)
        if MOVED / 2 <= change <= MOVED * 2:
            break
        step = min(step * float(np.clip(MOVED / change, 0.01, 100.0)) if change > 0.0 else 100.0 * step, LARGEST * typical)
    return step


def _typical(base, checked) -> np.ndarray:
    """A typical step (n,) of every number that is checked, in its unit."""
    steps = []
    for variable in variables(base, checked):
        steps += [parameter_row(variable.key).step] * size(variable)
    return np.array(steps)


def _image(base, checked, start, vector, step):
    """The image, a sheet (slow, fast), at a step along a direction (n,) from a start (n,); None where no image is allowed."""
    try:
        return sheet_image(unpack(base, checked, start + step * vector))
    except InputError:
        return None


class Subject(NamedTuple):
    """What is checked: the experiment, its parameters, the loss, its gradient by name, and the allowed relative difference."""

    base: Experiment
    checked: list[Name]
    loss: Loss
    gradient: dict[str, np.ndarray]
    tolerance: float


def _line(subject: Subject, name: str, unit: str, vector: np.ndarray, step: float) -> Line:
    """The result of the check along one direction (n,), with a ladder that begins at a step."""
    base, checked, loss, gradient, tolerance = subject
    flat = np.concatenate([np.ravel(gradient[variable.key]) for variable in variables(base, checked)])
    analytic = float(np.sum(flat * vector))
    for first_step in (step / smaller for smaller in AGAIN):
        ladder = climb(lambda x: _image(base, checked, pack(base, checked), vector, x), loss, first_step)
        verdict, reason = _verdict(analytic, ladder, tolerance)
        if verdict != FAILED:
            break
    zero = max(abs(analytic), abs(ladder.limit)) <= ladder.visible
    error = math.nan if zero else abs(analytic - ladder.limit) / max(abs(ladder.limit), np.finfo(float).tiny)
    return Line(name, unit, analytic, ladder.limit, error, ladder.order, verdict, reason)


def _verdict(analytic: float, ladder: Ladder, tolerance: float) -> tuple[str, str]:
    """The verdict on a derivative, and its reason."""
    largest = max(abs(analytic), abs(ladder.limit))
    if not math.isfinite(ladder.limit):
        return UNTESTED, "no step to either side is allowed"
    if largest <= ladder.visible:
        return UNTESTED, "it is 0"
    if abs(analytic - ladder.limit) <= tolerance * largest and ladder.uncertainty <= SETTLED * largest:
        return PASSED, ""
    if ladder.uncertainty > SETTLED * largest and abs(analytic - ladder.limit) <= 10 * ladder.uncertainty:
        known = ladder.uncertainty / largest
        return UNTESTED, f"differences settle to no better than {known:.0e}: the image jumps, or hardly moves"
    return FAILED, f"the limit is known to {ladder.uncertainty / largest:.0e}, also from smaller steps"


def climb(image_at: Callable[[float], Any], loss: Loss, step: float) -> Ladder:
    """The ladder of finite differences of a loss along a line, with a first step.

    image_at(x) is the image (slow, fast) at a position on the line, or None where no image is allowed.
    """
    centre, ahead, behind = image_at(0.0), image_at(step), image_at(-step)
    while ahead is None and behind is None and step > 1e-12:
        step /= 2
        ahead, behind = image_at(step), image_at(-step)
    if ahead is None and behind is None:
        return Ladder(math.nan, math.inf, math.nan, 0.0)
    sides = (1.0, -1.0) if ahead is not None and behind is not None else (1.0,) if behind is None else (-1.0,)
    value = loss.value(centre)
    steps = [step / 2**rung for rung in range(RUNGS)]
    if len(sides) == 2:
        rungs = [(loss.value(image_at(h)) - loss.value(image_at(-h))) / (2 * h) for h in steps]
        powers = range(2, 2 * RUNGS, 2)
    else:
        values = [(sides[0] * h, loss.value(image_at(sides[0] * h / 2)), loss.value(image_at(sides[0] * h))) for h in steps]
        rungs = [(4 * half - whole - 3 * value) / h for h, half, whole in values]
        powers = range(2, RUNGS + 1)
    slope, moved = np.abs(loss.derivative(centre)), np.abs(image_at(sides[0] * steps[3]) - centre)
    visible = max(ZERO * float((slope * moved).sum()), ROUNDING * float((slope * np.abs(centre)).sum())) / steps[3]
    limit, uncertainty = extrapolated(np.array(rungs), powers)
    rounding = (ROUNDED * float((slope * np.abs(centre)).sum()) + np.finfo(float).eps * abs(value)) / steps[-1]
    return Ladder(limit, uncertainty + rounding, order_of(np.array(rungs)), visible)


def extrapolated(rungs: np.ndarray, powers: Iterable[int]) -> tuple[float, float]:
    """The limit of a ladder, and its uncertainty, by Richardson's extrapolation; the best estimate is chosen as Ridders does.

    rungs: the differences, each at half of the step before; powers: those of the step in the error of a difference.
    """
    best, error, column = float(rungs[0]), math.inf, rungs
    for power in powers:
        if len(column) < 2:
            break
        finer = (2.0**power * column[1:] - column[:-1]) / (2.0**power - 1.0)
        estimates = np.maximum(np.abs(finer - column[1:]), np.abs(finer - column[:-1]))
        least = int(np.argmin(estimates))
        if estimates[least] < error:
            best, error = float(finer[least]), float(estimates[least])
        column = finer
    return best, error


def order_of(rungs: np.ndarray) -> float:
    """The order at which a ladder converges: the binary logarithm of the ratio of its first two changes; NaN if it is unknown.

    Changes that are not well above rounding are not used.
    """
    changes = np.abs(np.diff(rungs))
    for first, second in zip(changes, changes[1:]):
        if second > 1e-9 * np.abs(rungs).max():
            return math.log2(first / second) if first > 0.0 else math.nan
    return math.nan
