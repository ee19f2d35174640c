"""Checks a gradient on an experiment of one's own: a ladder of differences for every parameter and for random directions."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np

from adjoint import not_differentiable
from adjoint.gradient import value_and_grad
from adjoint.losses import Gaussian, Loss
from adjoint.parameters import AMPLITUDES, PARAMETERS, Name, columns, listed, pack, size, unpack
from adjoint.prepare import experiment_and_machine, prepare
from nbnumba.backends.threads import thread_count
from nbnumba.cost import check, granted
from nbnumba.errors import InputError
from nbnumba.experiment import Experiment
from nbnumba.simulate import Progress, image_of

TOLERANCE = {"double": 1e-6, "mixed": 1e-4, "paired": 1e-4}
"""Largest relative difference between a gradient in a precision and the limit of its ladder, which is of double precision."""
SETTLED = 1e-5
"""A ladder whose limit is known no better than this, relatively, tests nothing."""
ZERO, ROUNDING = 1e-9, 1e-12
"""A derivative that is smaller than the former part of what pixels give to it, or than what this relative change of every pixel
would give to its differences, is a 0, and tests nothing."""
RUNGS = 7
MOVED, TRIES, LARGEST = 0.02, 8, 1e4
"""The first rung moves the brightest pixel by about this part of it; so often is a step tried to get there, and so many typical
steps it may have."""
AGAIN = (1.0, 1e2, 1e4)
"""Before a gradient is said to fail, ladders are climbed from steps so many times smaller: they span fewer jumps (A14)."""
ROUNDED = 1e-15
"""What is known of a pixel's photons, relatively, where rounding alone is at work."""
WINDOW = 48
"""Edge of the window about the brightest pixel that is checked unless a region is stated."""

PASSED, FAILED, UNTESTED = "passed", "FAILED", "untested"


class Line(NamedTuple):
    """What came of a parameter or direction: derivatives, their relative difference, order of convergence, verdict, reason."""

    name: str
    unit: str
    analytic: float
    numeric: float
    error: float
    order: float
    verdict: str
    reason: str


class Ladder(NamedTuple):
    """The limit of differences, how well it is known, the order at which they converge, and what is not a 0."""

    limit: float
    uncertainty: float
    order: float
    visible: float


def check_precision(precision: str) -> None:
    """Raise InputError for a precision whose gradients are too rough to be checked."""
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
    """A line for every parameter, and for random directions in all of them together; `report` gets each when it is there.

    parameters: as in adjoint.vjp; None: all that the image can be differentiated by, the others as untested with the reason.
    The loss is that of Gaussian against data that are the image with 10 % of noise. A ladder: central differences, or where a
    value is at its bound differences to one side, at steps each half of the one before, extrapolated; the gradient passes
    where it is within TOLERANCE of the limit. keywords are those of simulate; differences are of double precision on the CPU.
    """
    with granted(keywords.pop("max_hours", None)):
        return _checked(experiment, parameters, directions, seed, report, progress, keywords)


def _checked(experiment, parameters, directions, seed, report, progress, keywords) -> list[Line]:
    experiment, machine = experiment_and_machine(experiment, **keywords)
    check_precision(machine.precision)
    check(experiment, threads=thread_count())
    random = np.random.default_rng(seed)
    asked, left_out = _asked(experiment, parameters)
    base = prepare(experiment, asked).experiment
    loss = _noisy(image_of(base), random)
    gradient = value_and_grad(loss, base, asked, **machine._asdict())[1]
    lines = []

    def add(line):
        lines.append(line)
        if report is not None:
            report(line)
        if progress is not None:
            progress(len(lines), len(left_out) + len(asked) + directions)

    given = (base, asked, loss, gradient, TOLERANCE[machine.precision])
    steps = np.zeros(sum(size(column) for column in columns(base, asked)))
    for name, unit, vector in _single_directions(base, asked, random):
        step = _first_step(base, asked, vector)
        steps = np.where(vector != 0.0, np.abs(vector) * step, steps)
        add(_line(name, unit, *given, vector, step))
    for number in range(directions):
        vector = random.normal(size=steps.size) * steps
        add(_line(f"direction {number + 1}", "", *given, vector, _first_step(base, asked, vector)))
    for name, reason in left_out.items():
        add(Line(name, PARAMETERS[name].unit, math.nan, math.nan, math.nan, math.nan, UNTESTED, reason))
    return lines


def brightest_window(experiment: Experiment, edge: int = WINDOW) -> tuple[int, int, int, int] | None:
    """The region of that many pixels along each edge about the brightest pixel; None where one is stated, or all is smaller."""
    fast, slow = experiment.detector.pixels
    if experiment.sampling.roi is not None or max(fast, slow) <= edge:
        return None
    row, column = np.unravel_index(np.argmax(image_of(experiment)), (slow, fast))
    left, low = (int(np.clip(at - edge // 2, 0, max(0, all_ - edge))) for at, all_ in ((column, fast), (row, slow)))
    return left, min(left + edge, fast) - 1, low, min(low + edge, slow) - 1


def _asked(experiment, parameters) -> tuple[list[Name], dict[str, str]]:
    if parameters is not None:
        return listed(parameters), {}
    reasons = not_differentiable.reasons(experiment)
    asked: list[Name] = []
    left_out = {name: reasons[name] for name in PARAMETERS if name in reasons}
    for name in PARAMETERS:
        if name not in reasons:
            try:
                prepare(experiment, [name])
                asked.append(name)
            except InputError as error:
                left_out[name] = str(error).rpartition(": ")[2]
    if not asked:
        raise InputError(f"gradcheck: the image cannot be differentiated by anything: {next(iter(left_out.values()))}")
    return asked, left_out


def _noisy(image, random) -> Gaussian:
    data = image * (1.0 + 0.1 * random.normal(size=image.shape))
    return Gaussian(data, sigma=max(float(np.sqrt((image * image).mean())), np.finfo(float).tiny))


def _single_directions(base, asked, random):
    """Name, unit and direction (n,) of every number asked for; of the amplitudes one random direction."""
    at, total = 0, sum(size(column) for column in columns(base, asked))
    for column in columns(base, asked):
        if column.key == AMPLITUDES:
            vector = np.zeros(total)
            vector[at : at + size(column)] = random.normal(size=size(column))
            yield f"{column.key} (a direction)", PARAMETERS[AMPLITUDES].unit, vector
        for number, names in enumerate(column.singles):
            vector = np.zeros(total)
            vector[at + number] = 1.0
            yield ", ".join(names), PARAMETERS[names[0]].unit, vector
        at += size(column)


def _first_step(base, asked, vector) -> float:
    """A step along a direction that moves the brightest pixel by about MOVED of it."""
    image, start = image_of(base), pack(base, asked)
    at = np.flatnonzero(vector)
    step = typical = min(_typical(base, asked)[at] / np.abs(vector[at]))
    for _ in range(TRIES):
        moved = _image(base, asked, start, vector, step)
        if moved is None:
            step /= 4
            continue
        part = np.abs(moved - image).max() / max(np.abs(image).max(), np.finfo(float).tiny)
        if MOVED / 2 <= part <= MOVED * 2:
            break
        step = min(step * float(np.clip(MOVED / part, 0.01, 100.0)) if part > 0.0 else 100.0 * step, LARGEST * typical)
    return step


def _typical(base, asked) -> np.ndarray:
    """A typical step of every number asked for."""
    steps = []
    for column in columns(base, asked):
        name = column.key if column.key in PARAMETERS else column.singles[0][0]
        steps += [PARAMETERS[name].step] * size(column)
    return np.array(steps)


def _image(base, asked, start, vector, step):
    """The image at a step along a direction, None where that is not allowed."""
    try:
        return image_of(unpack(base, asked, start + step * vector))
    except InputError:
        return None


def _line(name, unit, base, asked, loss, gradient, tolerance, vector, step) -> Line:
    flat = np.concatenate([np.ravel(gradient[column.key]) for column in columns(base, asked)])
    analytic = float(np.sum(flat * vector))
    for first_step in (step / smaller for smaller in AGAIN):
        ladder = climb(lambda x: _image(base, asked, pack(base, asked), vector, x), loss, first_step)
        verdict, reason = _verdict(analytic, ladder, tolerance)
        if verdict != FAILED:
            break
    zero = max(abs(analytic), abs(ladder.limit)) <= ladder.visible
    error = math.nan if zero else abs(analytic - ladder.limit) / max(abs(ladder.limit), np.finfo(float).tiny)
    return Line(name, unit, analytic, ladder.limit, error, ladder.order, verdict, reason)


def _verdict(analytic, ladder, tolerance) -> tuple[str, str]:
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
    """The ladder of differences of a loss along a line, from a first step on; image_at gives None where it is not allowed."""
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
        each = [(sides[0] * h, loss.value(image_at(sides[0] * h / 2)), loss.value(image_at(sides[0] * h))) for h in steps]
        rungs = [(4 * half - whole - 3 * value) / h for h, half, whole in each]
        powers = range(2, RUNGS + 1)
    slope, moved = np.abs(loss.derivative(centre)), np.abs(image_at(sides[0] * steps[3]) - centre)
    visible = max(ZERO * float((slope * moved).sum()), ROUNDING * float((slope * np.abs(centre)).sum())) / steps[3]
    limit, uncertainty = extrapolated(np.array(rungs), powers)
    rounding = (ROUNDED * float((slope * np.abs(centre)).sum()) + np.finfo(float).eps * abs(value)) / steps[-1]
    return Ladder(limit, uncertainty + rounding, order_of(np.array(rungs)), visible)


def extrapolated(rungs: np.ndarray, powers: Iterable[int]) -> tuple[float, float]:
    """The limit of a ladder whose errors go with those powers of its halving step, and its uncertainty: Ridders' choice."""
    best, error, column = float(rungs[0]), math.inf, rungs
    for power in powers:
        if len(column) < 2:
            break
        finer = (2.0**power * column[1:] - column[:-1]) / (2.0**power - 1.0)
        estimates = np.maximum(np.abs(finer - column[1:]), np.abs(finer - column[:-1]))
        at = int(np.argmin(estimates))
        if estimates[at] < error:
            best, error = float(finer[at]), float(estimates[at])
        column = finer
    return best, error


def order_of(rungs: np.ndarray) -> float:
    """The order at which a ladder converges: how much smaller each rung's change is, where it is well above rounding."""
    changes = np.abs(np.diff(rungs))
    for first, second in zip(changes, changes[1:]):
        if second > 1e-9 * np.abs(rungs).max():
            return math.log2(first / second) if first > 0.0 else math.nan
    return math.nan
