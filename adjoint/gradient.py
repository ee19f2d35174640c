"""The derivative of an image: vjp, jacobian, value_and_grad, normal_equations (specs/adjoint.md)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np

from adjoint import obstacles
from adjoint.backends.pixels import Parameters, Results, Target
from adjoint.backends.rows import CHANNELS, ORIGIN, WIDTH
from adjoint.backends.tile import Paths
from adjoint.losses import Loss, Pixelwise, checked
from adjoint.parameters import AMPLITUDES, Column, Name, by_name, columns, listed, size, values
from adjoint.setup import scene as setup
from adjoint.stages.loss import GIVEN
from adjoint.stages.records import Cotangent, Motions
from nbnumba.backends.tile import TILE
from nbnumba.errors import InputError
from nbnumba.experiment import Experiment
from nbnumba.setup import sampling, scene
from nbnumba.setup.crystal import orient
from nbnumba.setup.detector import pivot_of, place, sensor
from nbnumba.setup.structure import interpolates
from nbnumba.simulate import STEPS_PER_CALL, Progress, check_target, render, restated
from nbnumba.stages.records import SQUARE, Scene

Gradient = dict[str, np.ndarray]
MEMORY_OF_BANDS = 2**26
"""Bytes of what bands sum by themselves: so many bands are made, and never fewer than one."""
MOST_DENSE = 5000
"""Parameters for which a dense matrix of normal equations is made."""

LATTICE = {"crystal.a_A", "crystal.b_A", "crystal.c_A", "crystal.alpha_deg", "crystal.beta_deg", "crystal.gamma_deg"}
LATTICE |= {"crystal.misset_x_deg", "crystal.misset_y_deg", "crystal.misset_z_deg"}
TURNS = set(setup.TURN)
ALONE = {"crystal.n_a", "crystal.n_b", "crystal.n_c", "beam.fluence", "background.water_um", AMPLITUDES}
"""Parameters whose derivative needs neither the geometry of a pixel nor the turns of a lattice."""


class Problem(NamedTuple):
    """An experiment whose parameters are stated and whose choices are made, and all that its derivative needs."""

    experiment: Experiment
    asked: list[Column]
    window: sampling.Window
    scene: Scene
    motions: Motions
    parameters: Parameters
    paths: Paths

    @property
    def pixels(self) -> tuple[int, int]:
        """Shape of the image (slow, fast)."""
        return self.experiment.detector.pixels[1], self.experiment.detector.pixels[0]

    @property
    def count(self) -> int:
        """The number of numbers asked for."""
        return sum(map(size, self.asked))


def vjp(
    experiment: Experiment,
    parameters: Iterable[Name],
    *,
    backend: str = "cpu",
    precision: str = "double",
    progress: Progress | None = None,
    **keywords,
) -> tuple[np.ndarray, Callable[[np.ndarray], Gradient]]:
    """The image (slow, fast), and the function that pulls a cotangent of it (slow, fast) back to the parameters.

    parameters: names of adjoint.parameters.PARAMETERS or VECTORS, or tuples of names that are tied. The gradient is a dict of
    arrays of the shape of each parameter, per unit of the parameter: that of simulate(experiment.replace(values)) with its
    choices held, such as automatic oversampling (A0, A14). keywords are those of simulate. Raises InputError for what cannot be
    simulated, what is no parameter, and what the image cannot be differentiated by.
    """
    check_target(backend, precision)
    problem = state(experiment, parameters, **keywords)
    image = render(problem.scene, problem.window, problem.pixels[::-1], progress)

    def pullback(cotangent: np.ndarray) -> Gradient:
        results = _run(problem, _given(problem, cotangent), np.zeros(problem.pixels), progress)
        return by_name(problem.asked, _gradient(problem, results))

    return image, pullback


def value_and_grad(
    loss: Loss,
    experiment: Experiment,
    parameters: Iterable[Name],
    *,
    backend: str = "cpu",
    precision: str = "double",
    progress: Progress | None = None,
    **keywords,
) -> tuple[float, Gradient]:
    """The loss of the image of an experiment, and its gradient by the parameters (see vjp).

    A loss of adjoint.losses takes one pass over the pixels; of another object, with value(image) and derivative(image), two.
    Pixels that are not rendered do not count in the former.
    """
    check_target(backend, precision)
    problem = state(experiment, parameters, **keywords)
    target, value = _judged(problem, loss, progress, with_curvature=False)
    results = _run(problem, target, np.zeros(problem.pixels), progress)
    return _value(results, value), by_name(problem.asked, _gradient(problem, results))


def jacobian(
    experiment: Experiment,
    parameters: Iterable[Name],
    *,
    backend: str = "cpu",
    precision: str = "double",
    progress: Progress | None = None,
    **keywords,
) -> tuple[np.ndarray, np.ndarray]:
    """The image (slow, fast), and its derivative by every number of the parameters, in their order (slow, fast, n). See vjp."""
    check_target(backend, precision)
    problem = state(experiment, parameters, **keywords)
    image, found = np.zeros(problem.pixels), np.zeros((*problem.pixels, problem.count))
    everywhere = np.ones(problem.pixels)
    _run(problem, Target(problem.window.mask, GIVEN, everywhere, everywhere), image, progress, jacobian=found)
    return image, found


def normal_equations(
    loss: Loss,
    experiment: Experiment,
    parameters: Iterable[Name],
    *,
    backend: str = "cpu",
    precision: str = "double",
    progress: Progress | None = None,
    **keywords,
) -> tuple[float, Gradient, np.ndarray]:
    """The loss, its gradient J^T r, and J^T W J (n, n), W the curvature of the loss: Gauss and Newton's, or Fisher's (A13).

    J is never stored. n is the number of numbers of the parameters, in their order; see vjp. A loss that is not of
    adjoint.losses needs curvature(image) beside value and derivative.
    """
    check_target(backend, precision)
    problem = state(experiment, parameters, **keywords)
    if problem.count > MOST_DENSE:
        allowed = f"at most {MOST_DENSE}; value_and_grad takes any number"
        raise InputError(f"parameters: {problem.count} numbers make too large a matrix; allowed: {allowed}")
    target, value = _judged(problem, loss, progress, with_curvature=True)
    results = _run(problem, target, np.zeros(problem.pixels), progress, normal=True)
    gradient, normal = results.gradient.sum(axis=0), results.normal.sum(axis=0)
    return _value(results, value), by_name(problem.asked, gradient), normal + np.triu(normal, 1).T


def state(experiment: Experiment, parameters: Iterable[Name], **keywords) -> Problem:
    """The problem of differentiating an experiment by some parameters. Raises InputError for what is not possible."""
    parameters = listed(parameters)
    experiment = restated(experiment, **_known(keywords))
    asked = columns(experiment, parameters)
    _refuse(obstacles.found(experiment), asked)
    experiment = held(experiment, parameters)
    window = sampling.window(experiment.detector.pixels, experiment.sampling.roi, experiment.sampling.mask)
    built = scene.build(experiment, window)
    motions = setup.motions(experiment)
    projection = _projection(experiment, built, asked)
    _refuse_motionless(asked, projection, motions)
    parameters = Parameters(projection, _places(asked), _column_of(built, experiment, asked))
    return Problem(experiment, asked, window, built, motions, parameters, _paths(asked, projection, built))


def held(experiment: Experiment, parameters: Iterable[Name] = ()) -> Experiment:
    """The same experiment, its parameters stated and its choices made, so that they stay while parameters move (A14)."""
    switches = experiment.sampling.c_parity
    if experiment.detector.convention == "custom" and experiment.detector.implied_pivot is None:
        experiment = experiment.replace({"detector.implied_pivot": pivot_of(experiment.detector, switches)})
    experiment = experiment.replace(values(experiment, parameters)) if parameters else experiment
    crystal, choices = experiment.crystal, {}
    if experiment.sampling.oversample is None:
        placement, vectors = place(experiment.detector, experiment.beam, switches), orient(crystal, switches)
        layers = sensor(experiment.detector, switches)[0]
        choices["sampling.oversample"] = sampling.samples(experiment, placement, vectors, layers).oversample
    if experiment.structure_factors.hkl is not None and experiment.structure_factors.interpolate is None:
        smallest = min(crystal.n_a, crystal.n_b, crystal.n_c)
        choices["structure_factors.interpolate"] = interpolates(experiment.structure_factors, smallest)
    return experiment.replace(choices) if choices else experiment


def _known(keywords):
    unknown = set(keywords) - {"roi", "mask", "c_parity", "c_threads"}
    if unknown:
        raise InputError(f"{sorted(unknown)[0]!r} is no keyword; allowed: those of simulate")
    return keywords


def _refuse(reasons: dict[str, str], asked: list[Column]) -> None:
    for column in asked:
        for name in [n for single in column.singles for n in single] or [column.key]:
            if name in reasons:
                raise InputError(f"parameters: the image cannot be differentiated by {name}: {reasons[name]}")


def _refuse_motionless(asked, projection, motions):
    """Refuse a parameter that moves nothing of the scene."""
    moves = np.ones(WIDTH, dtype=bool)
    moves[_channel("source")] = (motions.source != 0.0).any(axis=(0, 2))
    moves[_channel("turn")] = (motions.spin.reshape(-1, 3, 3) != 0.0).any(axis=(0, 2))
    row = 0
    for column in asked:
        for _ in column.singles:
            if not (projection[row] != 0.0)[moves].any():
                raise InputError(f"parameters: the image cannot be differentiated by {column.key}: it moves nothing there")
            row += 1


def _channel(name) -> slice:
    first = sum(count for field, count in CHANNELS.items() if list(CHANNELS).index(field) < list(CHANNELS).index(name))
    return slice(first, first + CHANNELS[name])


def _projection(experiment, built, asked) -> np.ndarray:
    """The derivative of every number asked for, but the amplitudes, by the channels (n, channels): setup's, pulled back."""
    unit = {name: np.eye(WIDTH)[:, _channel(name)] for name in CHANNELS}
    cotangent = Cotangent(**{name: part[:, 0] if part.shape[1] == 1 else part for name, part in unit.items()})
    by_channel = setup.pull(experiment, built, cotangent)
    singles = [single for column in asked for single in column.singles]
    found = np.zeros((len(singles), WIDTH))
    for row, names in enumerate(singles):
        found[row] = sum(by_channel[name] for name in names)
    return found


def _places(asked) -> np.ndarray:
    """The places among all numbers asked for of those that are not amplitudes."""
    return np.flatnonzero(np.concatenate([np.full(size(column), column.key != AMPLITUDES) for column in asked]))


def _column_of(built, experiment, asked) -> np.ndarray:
    """The place among all numbers asked for of every amplitude of the box, or -1; of one listed twice the last one counts."""
    found, at = np.full(built.structure.amplitude.size, -1, dtype=np.int64), 0
    for column in asked:
        if column.key == AMPLITUDES:
            structure, hkl = built.structure, experiment.structure_factors.hkl
            rows, depth = structure.k_max - structure.k_min + 1, structure.l_max - structure.l_min + 1
            h, k, l = (hkl - np.array([structure.h_min, structure.k_min, structure.l_min])).T
            found[((h * rows + k) * depth + l).astype(np.int64)] = at + np.arange(len(hkl))
        at += size(column)
    return found


def _paths(asked, projection, built) -> Paths:
    names = {name for column in asked for single in column.singles for name in single}
    geometry = bool(names - LATTICE - TURNS - ALONE)
    wanted = np.flatnonzero((projection != 0.0).any(axis=0) & _reached(built))
    amplitudes = any(column.key == AMPLITUDES for column in asked)
    return Paths(geometry, bool(names & LATTICE), bool(names & TURNS), amplitudes, (ORIGIN + TILE * wanted).astype(np.uint64))


def _reached(built: Scene) -> np.ndarray:
    """Which channels are not 0 in every pixel (channels,)."""
    panel, reached = built.panel, np.ones(WIDTH, dtype=bool)
    absent = {"metric": built.crystal.shape == SQUARE, "beam": not panel.curved, "distance": not panel.curved}
    absent["background_each"] = built.beam.background_each == 0.0
    absent |= dict.fromkeys(("normal", "layer", "absorption"), not panel.sensor and built.sampling.layers == 1)
    for name, missing in absent.items():
        reached[_channel(name)] = not missing
    return reached


def _judged(problem, loss, progress, with_curvature) -> tuple[Target, float | None]:
    """What the kernels know of the loss; its value where they do not know it."""
    if isinstance(loss, Pixelwise):
        _check_shape("loss: data", loss.data, problem)
        return Target(problem.window.mask, loss.kind, loss.data, loss.weight), None
    image = render(problem.scene, problem.window, problem.pixels[::-1], progress)
    target = _given(problem, loss.derivative(image))
    if with_curvature:
        if not hasattr(loss, "curvature"):
            raise InputError(f"loss: {type(loss).__name__} has no curvature; allowed in normal equations: a loss that has one")
        weight = np.ascontiguousarray(loss.curvature(image), dtype=np.float64)
        _check_shape("loss: curvature", weight, problem)
        target = target._replace(weight=weight)
    return target, float(loss.value(image))


def _value(results: Results, value: float | None) -> float:
    """The loss: that of the bands, unless it is known."""
    return checked(float(results.value.sum())) if value is None else value


def _given(problem, cotangent) -> Target:
    """A target of which the derivative of the loss is known."""
    try:
        cotangent = np.array(cotangent, dtype=np.float64)
    except (TypeError, ValueError):
        raise InputError("cotangent: it is no image; allowed: numbers (slow, fast)") from None
    _check_shape("cotangent", cotangent, problem)
    if not np.isfinite(cotangent).all():
        raise InputError("cotangent: a number of it is not finite; allowed: finite numbers")
    return Target(problem.window.mask, GIVEN, cotangent, cotangent)


def _check_shape(what, values, problem):
    if np.shape(values) != problem.pixels:
        raise InputError(f"{what} of shape {np.shape(values)} does not fit; allowed: (slow, fast) = {problem.pixels}")


def _gradient(problem, results: Results) -> np.ndarray:
    """The gradient (n,) from what bands have summed."""
    gradient, column_of = np.zeros(problem.count), problem.parameters.column_of
    gradient[problem.parameters.place_of] = problem.parameters.projection @ results.channels.sum(axis=0)
    if problem.paths.reflections:
        gradient[column_of[column_of >= 0]] = results.by_amplitude.sum(axis=0)[column_of >= 0]
    return gradient


def _run(problem, target, image, progress, jacobian=None, normal=False) -> Results:
    """Differentiate all bands, in blocks between which it can report and be interrupted."""
    from adjoint.backends import cpu

    none2, none3 = np.zeros((0, 0)), np.zeros((0, 0, 0))
    amplitudes = problem.scene.structure.amplitude.size if problem.paths.reflections and jacobian is None and not normal else 0
    per_band = 8 * max(WIDTH + amplitudes, problem.count**2 if normal else 0)
    edges = _edges(problem.window.rows, max(1, MEMORY_OF_BANDS // per_band))
    bands = len(edges) - 1
    summed = jacobian is None and not normal
    results = Results(
        image,
        np.zeros(bands),
        np.zeros((bands, WIDTH)) if summed else none2,
        np.zeros((bands, amplitudes)) if amplitudes else np.zeros((bands, 1)),
        none3 if jacobian is None else jacobian,
        np.zeros((bands, problem.count)) if normal else none2,
        np.zeros((bands, problem.count, problem.count)) if normal else none3,
    )
    block = _bands_per_call(problem, edges)
    for first in range(0, bands, block):
        part = slice(first, min(first + block, bands))
        of_part = results._replace(
            value=results.value[part], channels=results.channels[part], by_amplitude=results.by_amplitude[part],
            gradient=results.gradient[part], normal=results.normal[part],
        )  # fmt: skip
        cpu.run(of_part, edges[first : part.stop + 1], problem.window.columns, target, problem.parameters, problem.scene,
                problem.motions, problem.paths)  # fmt: skip
        if progress is not None:
            progress(int(edges[part.stop] - edges[0]), int(edges[-1] - edges[0]))
    return results


def _edges(rows: tuple[int, int], most: int) -> np.ndarray:
    """The rows at which bands begin, and the end: at most so many bands of nearly as many rows each, whatever the threads."""
    first, last = rows
    count = min(last - first, most)
    return first + (np.arange(count + 1, dtype=np.int64) * (last - first)) // count


def _bands_per_call(problem, edges) -> int:
    samples = problem.scene.sampling.layers * problem.scene.sampling.oversample**2 * problem.scene.sources.weight.size
    per_row = (problem.window.columns[1] - problem.window.columns[0]) * samples * len(problem.scene.orientations.lattice)
    rows = (edges[-1] - edges[0]) / (len(edges) - 1)
    return max(64, int(STEPS_PER_CALL / (per_row * rows)))
