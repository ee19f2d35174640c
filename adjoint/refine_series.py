"""Refinement of a series of measured images of one crystal, in the shoeboxes of its reflections (specs/series.md)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from adjoint.parameters import Name, cell_parameters
from adjoint.refinement.algebra import one_thread
from adjoint.series.errors import Errors, errors
from adjoint.series.figures import Figures, Shifts, figures, shifts
from adjoint.series.images import SeriesImage
from adjoint.series.reduction import Rules
from adjoint.series.reflections import Reflections, middle_of
from adjoint.series.search import Point, Restraints
from adjoint.series.stages import Setting, Stage, check_problem, experiments_at, run
from adjoint.series.unknowns import Unknowns, unknowns
from adjoint.series.verdict import Evidence, evidence, verdict
from adjoint.variables import pack
from nbnumba.backends import machine
from nbnumba.experiment import Experiment

SCALE, SCALE_SIGMA = "crystal.scale", 0.2
"""The scale of images, and how far it may be from 1 where each reflection has an intensity of its own."""


class SeriesRefinement(NamedTuple):
    """The result of refine_series: specs/series.md, S8, says what its fields are."""

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
    point: Point
    figures: Figures
    shifts_before: Shifts
    left_out: list[str]
    seen: Evidence
    stages: list[Stage]
    lines: list[str]


def default_parameters(system: str, experiment: Experiment) -> list[Name]:
    """What is refined unless a user says otherwise: orientation, cell, beam centre, mosaic spread, size and scale (S2)."""
    spread = [f"crystal.mosaic_{axis}_deg" for axis in "abc"]
    sizes = [f"crystal.n_{axis}" for axis in "abc"]
    return ["crystal.misset_deg", *cell_parameters(system), "detector.xbeam_mm", "detector.ybeam_mm", *spread, *sizes, SCALE]


def refine_series(
    images: Sequence[SeriesImage],
    parameters: Iterable[Name],
    *,
    amplitudes: str = "each",
    background: str = "constant",
    readout_noise: float = 0.0,
    influence: float = 4.0,
    knots_deg: float = 2.0,
    reach_deg: float = 0.2,
    shoebox: tuple[float, float] | None = None,
    own: Iterable[str] = (),
    shared: Iterable[str] = (),
    progress: Callable[[str, int, Point], Any] = lambda stage, count, point: None,
    told: Callable[[str], Any] = lambda line: None,
    backend: str = "cpu",
    precision: str = "double",
) -> SeriesRefinement:
    """Refine parameters of a series of images (S1 to S8)."""
    images = list(images)
    phi = [middle_of(image.experiment) for image in images]
    middle = images[len(images) // 2].experiment
    refined = unknowns(middle, phi, parameters, knots_deg, own, shared)
    free_factors = amplitudes == "each"
    start = np.concatenate(
        [
            np.tile(
                pack(
                    middle,
                    [block.variable.key if len(block.variable.names) == 1 or block.variable.shape else block.variable.names],
                ),
                len(block.at),
            )
            for block in refined.blocks
        ]
    )
    restraints = Restraints(start.copy(), np.zeros(refined.count))
    if free_factors:
        restraints.weights[refined.indices(SCALE).ravel()] = SCALE_SIGMA**-2
    setting = Setting(
        images,
        refined,
        Rules(readout_noise, 0.0, influence, background == "plane"),
        restraints,
        free_factors,
        reach_deg,
        shoebox,
        machine(backend, precision),
    )
    lines: list[str] = []

    def tell(line: str) -> None:
        lines.append(line)
        told(line)

    with one_thread(), np.errstate(all="ignore"):
        stages, used = run(setting, start, tell, progress)
        last = stages[-1]
        uncertainty = errors(last.problem, last.end.point)
        agreement = figures(last.problem, last.end.point, last.reflections)
        before = shifts(stages[0].problem, stages[0].problem.point(start, None)[1])
        check = check_problem(setting, last, used)
        seen = evidence(check, check.point(last.end.point.x, last.end.point.factors)[1])
    left_out = [image.name for image, is_used in zip(images, used) if not is_used]
    success, message, diagnosis = verdict(last.end.converged, last.end.reason, seen, uncertainty, agreement, left_out)
    return SeriesRefinement(
        success,
        message,
        diagnosis,
        last.end.point.x,
        start,
        refined,
        uncertainty,
        experiments_at(setting, last.end.point.x),
        last.reflections,
        last.end.point.factors,
        last.end.point,
        agreement,
        before,
        left_out,
        seen,
        stages,
        lines,
    )
