"""Refinement of measured images in the shoeboxes of reflections: a series of one crystal, or stills (specs/series.md)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from adjoint.losses import bounded
from adjoint.parameters import IMAGE, SMALLEST, Name, cell_parameters
from adjoint.refinement.algebra import one_thread
from adjoint.series.errors import Errors, errors
from adjoint.series.figures import Figures, Shifts, figures, shifts
from adjoint.series.images import SeriesImage
from adjoint.series.reduction import Rules
from adjoint.series.reflections import Absent, Reflections, is_still, middle_of
from adjoint.series.search import Point, Restraints
from adjoint.series.stages import WILSON, Setting, Stage, check_problem, experiments_at, half_edges, run
from adjoint.series.unknowns import SCALE, Block, Unknowns, unknowns
from adjoint.series.verdict import Evidence, evidence, verdict
from adjoint.variables import pack, parameter_row, variables
from nbnumba.backends import machine
from nbnumba.cost import granted
from nbnumba.errors import InputError, shown
from nbnumba.experiment import Experiment
from nbnumba.setup.values import numbers_of

SCALE_SIGMA = 0.2
"""The part of its start by which the scale may be off this where each reflection has an intensity of its own."""

EACH, GIVEN = "each", "given"
CONSTANT, PLANE = "constant", "plane"

SAME = 1e-5
"""Relative differences below this are rounding: a parameter starts from one value in all images."""

LEAST_SPREAD, MOST_SPREAD = 0.01, 100.0
"""The bounds of the standard deviation of an intensity, over the expected one."""

OF_CRYSTAL = ("cell",)
"""Groups of parameters that are a crystal's, so that each still has its own, besides those that are an image's."""

LEAST_HALF, LARGEST_HALF = 2.5, 100.0
"""Pixels: the least and the largest half edge of a shoebox, which has to hold background, too."""


class SeriesRefinement(NamedTuple):
    """The result of refine_series (S8).

    success, message, diagnosis: the verdict, in words (S9). x, start (n,): the refined numbers, and where they started;
    unknowns: what each of them is. errors: their uncertainties (S7). experiments: the refined experiment of each image.
    reflections: those in the shoeboxes; factors (reflections,): what the intensity of each is multiplied by. figures: how well
    the images are met; before: shifts of spots at the start. left_out: names of images that are not used. seen: what large
    boxes show. stages: the stages; lines: a line of text for each.
    """

    success: bool
    message: str
    diagnosis: list[str]
    x: np.ndarray
    start: np.ndarray
    unknowns: Unknowns
    errors: Errors
    experiments: list[Experiment]
    reflections: Reflections
    factors: np.ndarray
    figures: Figures
    before: Shifts
    left_out: list[str]
    seen: Evidence
    stages: list[Stage]
    lines: list[str]
    begun: Experiment

    @property
    def point(self) -> Point:
        """What is known at the end: what is expected in every pixel of the boxes, and the normal equations."""
        return self.stages[-1].end.point

    def values(self) -> dict[str, np.ndarray]:
        """The refined numbers by the name of their parameter: (coefficients, numbers of a value)."""
        return {block.variable.key: self.x[self.unknowns.indices(block.variable.key)] for block in self.unknowns.blocks}


def default_parameters(system: str) -> list[Name]:
    """What is refined unless a user says otherwise (S2), for a crystal system such as orthorhombic.

    Orientation, cell, beam centre, mosaic spread and number of cells along each axis, and scale. Raises InputError.
    """
    spreads, sizes = [f"crystal.mosaic_{axis}_deg" for axis in "abc"], [f"crystal.n_{axis}" for axis in "abc"]
    centre = ["detector.xbeam_mm", "detector.ybeam_mm"]
    return ["crystal.misset_deg", *cell_parameters(system), *centre, *spreads, *sizes, SCALE]


def default_still_parameters(system: str, listed: bool = True) -> list[Name]:
    """What is refined of stills unless a user says otherwise (S11), for a crystal system such as orthorhombic.

    Orientation, cell, one mosaic spread, one number of cells, and scale; without a list of amplitudes (listed False) also a B
    factor, by which intensities fall with resolution. Raises InputError.
    """
    spread, size = tuple(f"crystal.mosaic_{axis}_deg" for axis in "abc"), tuple(f"crystal.n_{axis}" for axis in "abc")
    names = ["crystal.misset_deg", *cell_parameters(system), spread, size, SCALE]
    return names if listed else [*names, "crystal.b_factor_A2"]


def refine_series(
    images: Sequence[SeriesImage],
    parameters: Iterable[Name],
    *,
    amplitudes: str = EACH,
    intensity_sigma: float | None = None,
    background: str = CONSTANT,
    readout_noise: float = 0.0,
    influence: float = 4.0,
    knots_deg: float = 2.0,
    reach_deg: float = 0.2,
    shoebox: tuple[float, float] | None = None,
    own: Iterable[str] = (),
    shared: Iterable[str] = (),
    restraints: Mapping[str, tuple[Any, float]] | None = None,
    absent: Absent | None = None,
    max_hours: float | None = None,
    progress: Callable[[str, int, Point], Any] = lambda stage, evaluations, point: None,
    told: Callable[[str], Any] = lambda line: None,
    backend: str = "cpu",
    precision: str = "double",
) -> SeriesRefinement:
    """Refine parameters of consecutive images of a rotation of one crystal, or of stills, as one problem (S1 to S12).

    images: in the order of phi. parameters: names of adjoint.PARAMETERS or VECTORS, or tuples of names that are tied; see
    default_parameters. All images start from the values of the middle one, except that the missetting is relative to the
    orientation of each. amplitudes: "each": the intensity of each reflection is determined, too, and the list of amplitudes
    only says where to begin; "given": intensities are those of the list, times crystal.scale. intensity_sigma: with "each", by
    which part of them intensities differ from those of the list (standard deviation); None: nothing is known of a rotation, and
    1 of a still. background: of each shoebox,
    "constant" or "plane". readout_noise: in photons. influence: standard deviations from which on a pixel is an outlier.
    knots_deg: the length of an interval of splines in phi. reach_deg: the standard deviation of rocking curves at the start.
    shoebox: half of the edges along fast and slow in pixels, by default as the spots need. own, shared: parameters of which
    each image has its own number, and those that are no spline, or of stills those that all have in common: each still has its
    own but of beam and detector. restraints: {name: (value, sigma)}, where None is the start. absent: a function of Miller
    indices (n, 3) that says which reflections of stills symmetry forbids.
    progress: called with every step. told: called with a line for every stage.

    Raises InputError for arguments that do not fit. The result says whether it can be trusted.
    """
    images = _checked_images(images)
    middle = images[len(images) // 2].experiment
    if amplitudes not in (EACH, GIVEN):
        raise InputError(f"amplitudes: {shown(amplitudes)} is not allowed; allowed: {EACH}, {GIVEN}")
    if background not in (CONSTANT, PLANE):
        raise InputError(f"background: {shown(background)} is not allowed; allowed: {CONSTANT}, {PLANE}")
    phi = [middle_of(image.experiment) for image in images]
    knots_deg, reach_deg = bounded("knots_deg", knots_deg), bounded("reach_deg", reach_deg, 10.0)
    physical, stills = _physical(parameters), is_still(middle)
    if stills:
        own = [*own, *_own_of_stills(images, physical, {*own, *shared})]
    refined = unknowns(middle, phi, physical, knots_deg, own, shared)
    start = np.concatenate([_start_of(images, block) for block in refined.blocks])
    _check_start(images, refined)
    rules = Rules(
        bounded("readout_noise", readout_noise, least=0.0), 0.0, bounded("influence", influence), background == PLANE
    )
    spread = _spread(intensity_sigma, amplitudes, stills)
    prior = _restraints(refined, start, restraints, amplitudes == EACH and spread is None)
    of_boxes = _half(shoebox), machine(backend, precision)
    setting = Setting(images, refined, rules, prior, amplitudes == EACH, reach_deg, *of_boxes, spread, absent)
    lines: list[str] = []

    def tell(line: str) -> None:
        lines.append(line)
        told(line)

    with granted(max_hours), one_thread(), np.errstate(all="ignore"):  # a loss that is not finite is no step
        stages, used = run(setting, start, tell, progress)
        last, first = stages[-1], stages[0]
        uncertainty = errors(last.problem, last.end.point)
        agreement = figures(last.problem, last.end.point, last.reflections)
        before = shifts(first.problem, first.begin)
        check = check_problem(setting, last, used)
        told_by = last.end.point.strengths
        factors = last.end.point.factors if told_by is None else told_by.factors
        seen = evidence(check, check.point(last.end.point.x, factors)[1])
    left_out = [image.name for image, is_used in zip(images, used) if not is_used]
    words = verdict(last.end.converged, last.end.reason, seen, uncertainty, agreement, left_out)
    words[2].extend(_too_small(setting, last))
    end = last.end.point
    return SeriesRefinement(
        *words, x=end.x, start=start, unknowns=refined, errors=uncertainty, experiments=experiments_at(setting, end.x),
        reflections=last.reflections, factors=end.factors, figures=agreement, before=before, left_out=left_out, seen=seen,
        stages=stages, lines=lines, begun=images[len(images) // 2].experiment,
    )  # fmt: skip


def _checked_images(images: Any) -> list[SeriesImage]:
    """The images as a list. Raises InputError for what are neither consecutive images of one rotation nor stills."""
    listed = list(images) if isinstance(images, Sequence) else []
    if not listed or not all(isinstance(image, SeriesImage) for image in listed):
        raise InputError(f"images: {shown(images)[:80]} are not allowed; allowed: adjoint.SeriesImages, at least one")
    first, before = listed[0], None
    for image in listed:
        goniometer = image.experiment.goniometer
        if is_still(image.experiment) != is_still(first.experiment):
            kinds = "a still" if is_still(image.experiment) else "of a rotation"
            raise InputError(f"images: {image.name} is {kinds}, and {first.name} is not; allowed: all are, or none")
        if before is not None and not is_still(first.experiment) and not goniometer.phi_deg > before:
            raise InputError(f"images: phi of {image.name} is not after that of the one before; allowed: in order of phi")
        if image.sheet != first.sheet:
            raise InputError(f"images: {image.name} has {image.sheet}; allowed: that of {first.name}, {first.sheet}")
        if image.experiment.other_crystals:
            raise InputError(f"images: {image.name} has several crystals; allowed: one (adjoint.refine takes several)")
        before = goniometer.phi_deg
    return listed


def _physical(parameters: Iterable[Name]) -> list[Name]:
    """The parameters. Raises InputError for numbers of an image, which shoeboxes have in another form, and for amplitudes."""
    names = [parameters] if isinstance(parameters, str) else list(parameters)
    for name in names:
        if name in IMAGE:
            instead = f"{SCALE}; the background of every shoebox is determined besides"
            raise InputError(f"parameters: {name} is no parameter of a series; allowed: {instead}")
        if name == "structure_factors.F":
            raise InputError(f"parameters: {name} is no parameter of a series; allowed: amplitudes={EACH!r}")
    return names


def _own_of_stills(images: Sequence[SeriesImage], parameters: list[Name], named: set[str]) -> list[str]:
    """The keys of parameters of which each of several stills has its own: those of the crystal that are not named otherwise."""
    if len(images) == 1:
        return []
    keys = {variable.key for variable in variables(images[0].experiment, parameters)} - named
    return sorted(key for key in keys if parameter_row(key).per_image or parameter_row(key).group in OF_CRYSTAL)


def _spread(intensity_sigma: Any, amplitudes: str, stills: bool) -> float | None:
    """The standard deviation of intensities about those of the list, or None. Raises InputError for an impossible one."""
    if amplitudes == GIVEN:
        if intensity_sigma is not None:
            raise InputError(
                f"intensity_sigma: {shown(intensity_sigma)} is not allowed beside amplitudes={GIVEN!r}; allowed: None"
            )
        return None
    if intensity_sigma is None:
        return WILSON if stills else None
    return bounded("intensity_sigma", intensity_sigma, MOST_SPREAD, LEAST_SPREAD)


def _start_of(images: Sequence[SeriesImage], block: Block) -> np.ndarray:
    """Where the numbers of a block start: of each image if it has its own, else as the middle one has it."""
    if len(block.at) == len(images) and np.array_equal(block.shares, np.eye(len(images))):
        return np.concatenate([pack(image.experiment, [block.variable.tied]) for image in images])
    return np.tile(pack(images[len(images) // 2].experiment, [block.variable.tied]), len(block.at))


def _check_start(images: Sequence[SeriesImage], refined: Unknowns) -> None:
    """Raise InputError for a parameter that varies within the series, but starts from different values."""
    for block in refined.blocks:
        own = np.array_equal(block.shares, np.eye(len(images)))
        if block.shares.shape[1] == 1 or own or block.variable.key == SCALE:
            continue
        values = np.array([np.ravel(image.experiment.value(block.variable.key)) for image in images])
        if not np.allclose(values, values[0], rtol=SAME, atol=1e-9):
            raise InputError(f"parameters: {block.variable.key} differs between images; allowed: one start for all of them")


def _too_small(setting: Setting, last: Stage) -> list[str]:
    """A sentence if the stated shoeboxes are smaller than spots and their background need."""
    if setting.half is None:
        return []
    needed = np.median(half_edges(setting._replace(half=None), last.problem, last.end.point, last.reflections), axis=0)
    if not (needed > np.array(setting.half) + 0.5).any():
        return []
    edges = [f"{2.0 * fast:.3g} x {2.0 * slow:.3g} pixels" for fast, slow in (setting.half, needed)]
    return [f"shoeboxes of {edges[0]} hold little background beside their spots, which need {edges[1]}"]


def _half(shoebox: Any) -> tuple[float, float] | None:
    """Half the edges of boxes. Raises InputError for impossible ones."""
    if shoebox is None:
        return None
    if not isinstance(shoebox, (tuple, list)) or len(shoebox) != 2:
        raise InputError(f"shoebox: {shown(shoebox)} is not allowed; allowed: half the edges along fast and slow, in pixels")
    fast, slow = (bounded("shoebox", edge, LARGEST_HALF, LEAST_HALF) for edge in shoebox)
    return fast, slow


def _restraints(refined: Unknowns, start: np.ndarray, given: Mapping[str, Any] | None, each: bool) -> Restraints:
    """The restraints of all numbers. Raises InputError for names that are not refined and impossible ones."""
    values, weights = start.copy(), np.zeros(refined.count)
    if each:
        scale = refined.indices(SCALE).ravel()
        weights[scale] = (SCALE_SIGMA * np.maximum(start[scale], SMALLEST)) ** -2
    for name, pair in (given or {}).items():
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            raise InputError(f"restraints: {name} {shown(pair)} is not allowed; allowed: a value, or None, and its sigma")
        value, sigma = pair
        indices = _indices(refined, name)
        weights[indices] = bounded(f"restraints: sigma of {name}", sigma, 1e100) ** -2
        if value is not None:
            wanted = np.ravel(np.asarray(value, dtype=np.float64))
            if len(wanted) not in (1, indices.shape[1]) or not np.isfinite(wanted).all():
                raise InputError(f"restraints: {name} {shown(value)} is not allowed; allowed: {indices.shape[1]} numbers")
            values[indices] = wanted
    return Restraints(values, weights)


def _indices(refined: Unknowns, name: str) -> np.ndarray:
    """The indices of the numbers of a name: a parameter, or one number of a vector. Raises InputError."""
    allowed = []
    for block in refined.blocks:
        parts = numbers_of(block.variable.key) or ()
        allowed += [block.variable.key, *parts]
        if name == block.variable.key:
            return refined.indices(name)
        if name in parts:
            return refined.indices(block.variable.key)[:, [parts.index(name)]]
    raise InputError(f"restraints: {shown(name)} is not refined; allowed: {', '.join(allowed)}")
