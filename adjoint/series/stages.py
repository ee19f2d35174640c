"""The stages of the refinement of a series, from broad spots in large boxes to sharp ones in boxes of their size (S6)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from adjoint.refinement.algebra import NOTHING
from adjoint.series.images import Model, SeriesImage, model_of
from adjoint.series.reduction import Rules, scale_of, variance
from adjoint.series.reflections import (
    Absent,
    Counts,
    Reflections,
    is_still,
    middle_of,
    reflections_of,
    reflections_of_stills,
)
from adjoint.series.search import ENOUGH, End, Point, Problem, Restraints
from adjoint.series.shoeboxes import FEWEST_PIXELS, shoeboxes
from adjoint.series.strengths import mean_factor
from adjoint.series.unknowns import SCALE, Unknowns
from adjoint.series.verdict import SEEN, evidence
from adjoint.variables import unpack
from nbnumba.backends import Machine
from nbnumba.errors import InputError
from nbnumba.experiment import Experiment
from nbnumba.setup.orientations import phi_steps

LEAST_COMMON = 1e-12
"""The least common factor that the scale of sharp spots starts from: lists of amplitudes may be on any scale."""

COARSE = {"sampling.oversample": 1, "goniometer.phisteps": 1}
"""How images are rendered while spots are broad."""

COARSE_DOMAINS = 32
"""The largest number of mosaic domains while spots are broad."""

ROUGHLY = 0.02
"""The coarse stages end when a step promises less than this for each reflection."""

FIRST_HALF = 7.0
"""Half the edge of the first boxes, in pixels: the width of a spot, and how far it may be off."""

CHECKED_HALF = 4.0
"""Pixels by which boxes are larger where it is checked whether spots are where they are calculated."""

LEAST_HALF, MOST_HALF = 3.0, 12.0
"""Half the edge of a box, in pixels."""

WIDTHS, AROUND = 3.0, 1.5
"""A box reaches so many standard deviations of its spot from the middle, and so many pixels more."""

REACHES = 3.0
"""Images within so many standard deviations of its rocking curve have a box of a reflection."""

BRIGHT, FEWEST_BRIGHT = 10.0, 5
"""Standard deviations of counting from which on the photons of a box tell how well the model fits, and how many boxes do."""

LEAST_EXCESS, SURELY = 0.1, 3.0
"""Bright boxes scatter more than counting explains if their chi squared does by this, and by so many standard deviations."""

MOST_MISFIT = 1.0
"""The largest misfit: beyond it the crystal's photons would hardly count."""

SAME = 0.02
"""The misfit has settled when it changes by less than this."""

WILSON = 1.0
"""The standard deviation of an intensity over its mean, by Wilson's statistics of an acentric reflection."""

SCALINGS = 3
"""How often the scale of a still and the noise of its reflections follow each other before a search."""

ROUNDS = 4
"""How often the misfit is estimated at most."""

ABSENT, SURE = 0.3, 5.0
"""An image whose factor of the crystal's photons is below ABSENT, by SURE standard deviations, is not one of this crystal."""


class Stage(NamedTuple):
    """What a stage leaves: its name, the problem, the reflections, the point where its search began, and where it ended."""

    name: str
    problem: Problem
    reflections: Reflections
    begin: Point
    end: End


class Setting(NamedTuple):
    """What does not change between stages: the images, unknowns, rules, restraints, and the machine.

    free_factors: whether each reflection has an intensity of its own. half: the stated half edges of boxes (fast, slow), in
    pixels, or None; reach_deg: the stated standard deviation of rocking curves, or that of the start, or that of the
    orientations of stills. spread: the standard deviation of intensities about the listed ones, over these, or None if nothing
    is known of them. absent: which reflections of stills symmetry forbids.
    """

    images: Sequence[SeriesImage]
    unknowns: Unknowns
    rules: Rules
    restraints: Restraints
    free_factors: bool
    reach_deg: float
    half: tuple[float, float] | None
    machine: Machine
    spread: float | None = None
    absent: Absent | None = None

    @property
    def stills(self) -> bool:
        """Whether the images are stills."""
        return is_still(self.images[0].experiment)

    def reflections(self, experiments: Sequence[Experiment], unsure_deg: float) -> tuple[Reflections, Counts]:
        """The reflections of images whose rocking curves, or orientations of stills, have this standard deviation.

        Also how many predictions there were, and how many of them were left out.
        """
        if self.stills:
            return reflections_of_stills(experiments, unsure_deg, self.absent)
        return reflections_of(experiments, REACHES * unsure_deg)


def coarse(experiment: Experiment) -> Experiment:
    """The experiment as it is rendered while spots are broad."""
    domains = min(experiment.crystal.mosaic_domains, COARSE_DOMAINS)
    return experiment.replace(COARSE | {"crystal.mosaic_domains": domains})


def problem_of(
    setting: Setting,
    experiments: Sequence[Experiment],
    reflections: Reflections,
    half: np.ndarray,
    reach_deg: float,
    rules: Rules,
    used: np.ndarray,
) -> Problem:
    """The problem of some images (`used`, (images,)): their boxes hold the reflections that are bright there."""
    models: list[Model] = []
    for number, (image, experiment) in enumerate(zip(setting.images, experiments)):
        if setting.stills:
            near = reflections.image == number
        else:
            width = phi_steps(experiment.goniometer)[2]
            near = np.abs(reflections.phi_deg - middle_of(experiment)) <= width / 2.0 + REACHES * reach_deg / reflections.zeta
        which = np.flatnonzero(near) if used[number] else np.zeros(0, dtype=np.int64)
        data = image.photons() if len(which) else np.zeros(image.sheet.shape)
        boxes = shoeboxes(image.sheet, data, reflections, which, half)
        models.append(model_of(experiment, setting.unknowns.parameters, boxes, setting.machine))
    if not any(len(model.boxes.data) for model in models):
        raise InputError(_without_boxes(setting, experiments, len(reflections.hkl)))
    kinds = setting.free_factors, setting.spread
    return Problem(models, setting.unknowns, len(reflections.hkl), rules, setting.restraints, *kinds)


def _without_boxes(setting: Setting, experiments: Sequence[Experiment], count: int) -> str:
    """A sentence about images in which no reflection has a shoebox: what was looked for, and how far that came."""
    first, tally = setting.images[0], setting.reflections(experiments, setting.reach_deg)[1]
    cell = " ".join(f"{number:.6g}" for number in experiments[0].crystal.cell)
    of_images = f"image {first.name}" + (f" and {len(setting.images) - 1} more" if len(setting.images) > 1 else "")
    rest = f"; of the {count} others none has {FEWEST_PIXELS} pixels that count in its shoebox" if count else ""
    what = f"no reflection of the crystal (cell {cell}) lies on pixels that count of {of_images}: {tally}{rest}"
    return f"data: {what}; allowed: images that show some"


def check_problem(setting: Setting, stage: Stage, used: np.ndarray) -> Problem:
    """The problem of the same model in boxes that are larger than the spots, with weights by data (S9)."""
    experiments = experiments_at(setting, stage.end.point.x)
    found, reach_deg = stage.reflections, rocking_width(stage.problem, stage.end.point, stage.reflections, experiments)
    half = half_edges(setting, stage.problem, stage.end.point, found) + CHECKED_HALF
    rules = setting.rules._replace(misfit=0.0, by_data=True)
    return problem_of(setting, experiments, found, half, reach_deg, rules, used)


def experiments_at(setting: Setting, x: np.ndarray) -> list[Experiment]:
    """The experiments of the images at some numbers (n,), as they were stated else."""
    return [
        unpack(image.experiment, setting.unknowns.parameters, setting.unknowns.of_image(x, number))
        for number, image in enumerate(setting.images)
    ]


def run(
    setting: Setting, start: np.ndarray, told: Callable[[str], None], stepped: Callable[[str, int, Point], None]
) -> tuple[list[Stage], np.ndarray]:
    """The stages of a refinement from a start (n,), and which images were used (images,).

    Broad spots have factors of their own even where the list of amplitudes holds: a search finds the places of strong spots
    from further away if the amplitudes of spots that it does not meet yet do not count. told: of each stage that has ended, a
    line; stepped: of each step.
    """
    stages: list[Stage] = []
    used = np.ones(len(setting.images), dtype=bool)
    moving = setting.unknowns.moving()

    def search(
        name: str, problem: Problem, found: Reflections, x: np.ndarray, free: np.ndarray, most: int, enough: float
    ) -> End:
        _, point = problem.point(x, None)
        end = problem.search(point, free, most, enough, lambda count, at: stepped(name, count, at))
        told(f"{name}: loss {point.loss:.6g} to {end.point.loss:.6g}, {end.reason}")
        stages.append(Stage(name, problem, found, point, end))
        return end

    experiments = [coarse(experiment) for experiment in experiments_at(setting, start)]
    found, tally = setting.reflections(experiments, setting.reach_deg)
    told(f"reflections: {tally}")
    half = np.full((len(found.hkl), 2), FIRST_HALF) if setting.half is None else np.tile(setting.half, (len(found.hkl), 1))
    broad, whole = setting.rules._replace(misfit=0.3, by_data=True), np.ones(setting.unknowns.count, dtype=bool)
    with_factors, but_scale, scale = setting._replace(free_factors=True), whole.copy(), setting.unknowns.indices(SCALE).ravel()
    but_scale[scale] = setting.free_factors
    if setting.stills:
        with_factors = with_factors._replace(spread=WILSON if setting.spread is None else setting.spread)
        but_scale, moving = whole, moving | setting.unknowns.named(SCALE)
    problem = problem_of(with_factors, experiments, found, half, setting.reach_deg, broad, used)
    start = with_scales(setting, problem, found, start)
    end = search("places of broad spots", problem, found, start, moving, 20, ROUGHLY * len(found.hkl))
    end = search("broad spots", problem, found, end.point.x, but_scale, 20, ROUGHLY * len(found.hkl))
    used &= ~absent(problem, end.point)
    misfit, x = 0.2, end.point.x.copy()
    if not setting.free_factors and not setting.stills:
        x[scale] *= max(common_factor(end.point), LEAST_COMMON)
    for round_ in range(ROUNDS):
        experiments = experiments_at(setting, x)
        reach_deg = setting.reach_deg if round_ == 0 else rocking_width(problem, end.point, found, experiments)
        sizes = half_edges(setting, problem, end.point, found)
        found_now, _ = setting.reflections(experiments, 0.0 if setting.stills else reach_deg)
        half = _carried(sizes, found, found_now)
        found, rules = found_now, setting.rules._replace(misfit=misfit)
        problem = problem_of(setting, experiments, found, half, reach_deg, rules, used)
        end = search("sharp spots", problem, found, x, whole, 40, ENOUGH)
        x, before = end.point.x, misfit
        misfit = misfit_of(problem, end.point)
        lost = setting.stills and round_ > 0 and not end.converged and evidence(problem, end.point).best < SEEN
        if lost or abs(misfit - before) < SAME and round_ > 0:
            break
    return stages, used


def with_scales(setting: Setting, problem: Problem, found: Reflections, x: np.ndarray) -> np.ndarray:
    """The numbers (n,) with a scale of each still at which its intensities are the expected ones in the mean; else the same."""
    scales = [block for block in setting.unknowns.blocks if block.variable.key == SCALE]
    if problem.spread is None or not scales:
        return x
    x, (block,) = x.copy(), scales
    for _ in range(SCALINGS):
        told = problem.point(x, None)[1].strengths
        assert told is not None
        factors = np.array([mean_factor(told, found.image == number) for number in range(len(setting.images))])
        shares = block.shares / block.shares.sum(axis=0)
        x[block.first : block.first + block.count] *= np.maximum(shares.T @ factors, LEAST_COMMON)
    return x


def common_factor(point: Point) -> float:
    """The factor of all intensities that fits best at a point."""
    return float(point.own_normal @ point.factors) / max(float(point.own_normal.sum()), NOTHING)


def absent(problem: Problem, point: Point) -> np.ndarray:
    """Which images are not of this crystal, or blank (images,): their spots are surely weaker than those of the others."""
    absent = np.zeros(len(problem.models), dtype=bool)
    for number, (model, fitted, weight) in enumerate(zip(problem.models, point.fitted, point.weight)):
        scale, sigma = scale_of(model.boxes, fitted, weight)
        absent[number] = scale < ABSENT and 1.0 - scale > SURE * sigma
    return absent


def misfit_of(problem: Problem, point: Point) -> float:
    """The standard deviation of the model of a spot, a fraction of its photons, with which bright boxes scatter as expected."""
    squares, spreads, parts, counting = [], [], [], problem.rules._replace(misfit=0.0)
    for model, fitted in zip(problem.models, point.fitted):
        boxes = model.boxes
        if not len(boxes.data):
            continue
        photons = boxes.sums(boxes.data - fitted.background)
        bright = photons > BRIGHT * np.sqrt(np.maximum(boxes.sums(fitted.mean), 1.0))
        for kind, values in zip(
            (squares, spreads, parts), ((boxes.data - fitted.mean) ** 2, variance(fitted, counting), fitted.spot)
        ):
            kind += [part for part, keep in zip(np.split(values, boxes.starts[1:]), bright) if keep]
    if len(squares) < FEWEST_BRIGHT:
        return 0.0

    def excess(misfit: float) -> float:
        each = [np.mean(square / (spread + misfit**2 * part)) for square, spread, part in zip(squares, spreads, parts)]
        return float(np.median(each)) - 1.0

    # Of a box, the mean of n squares of counting has the variance (2 + 1 / mean) / n. A median scatters by a quarter more.
    scatter = np.mean([np.mean(2.0 + 1.0 / spread) / len(spread) for spread in spreads])
    if excess(0.0) <= max(LEAST_EXCESS, 1.25 * SURELY * np.sqrt(scatter / len(squares))):
        return 0.0
    low, high = 0.0, MOST_MISFIT
    for _ in range(30):
        middle = (low + high) / 2.0
        low, high = (middle, high) if excess(middle) > 0.0 else (low, middle)
    return high


def _moments(problem: Problem, point: Point) -> np.ndarray:
    """Sums of the crystal's photons of each reflection (reflections, 7): themselves, and times the first and second powers.

    The powers are those of the distance along fast and slow, and of the number of the image.
    """
    moments = np.zeros((problem.reflections, 7))
    for number, (model, fitted) in enumerate(zip(problem.models, point.fitted)):
        boxes = model.boxes
        at = np.stack([boxes.fast, boxes.slow, np.full(len(boxes.data), float(number))], axis=1)
        powers = np.concatenate([np.ones((len(at), 1)), at, at * at], axis=1)
        boxes.add_to(moments, powers * np.maximum(fitted.bragg, 0.0)[:, np.newaxis])
    return moments


def _deviations(moments: np.ndarray) -> np.ndarray:
    """The standard deviations (reflections, 3) along fast, slow, and over images; NaN where there are no photons."""
    with np.errstate(invalid="ignore", divide="ignore"):
        means = moments[:, 1:4] / moments[:, :1]
        return np.sqrt(np.maximum(moments[:, 4:7] / moments[:, :1] - means**2, 0.0))


def half_edges(setting: Setting, problem: Problem, point: Point, reflections: Reflections) -> np.ndarray:
    """Half the edges (reflections, 2) of boxes that hold the spots as they are calculated, in pixels."""
    if setting.half is not None:
        return np.tile(setting.half, (len(reflections.hkl), 1))
    widths = _deviations(_moments(problem, point))[:, :2]
    typical = np.nanmedian(widths, axis=0) if np.isfinite(widths).any() else np.full(2, 1.0)
    widths = np.where(np.isfinite(widths), widths, typical)
    return np.clip(WIDTHS * widths + AROUND, LEAST_HALF, MOST_HALF)


def rocking_width(problem: Problem, point: Point, reflections: Reflections, experiments: Sequence[Experiment]) -> float:
    """The standard deviation of rocking curves times zeta, in degrees, of the widest tenth of strong ones; 0 of stills."""
    moments = _moments(problem, point)
    width_deg = phi_steps(experiments[0].goniometer)[2]
    if width_deg <= 0.0:
        return 0.0
    deviations = _deviations(moments)[:, 2] * width_deg * reflections.zeta
    strong = point.own_normal * point.factors**2 > 25.0 if problem.free_factors else moments[:, 0] > 0.0
    deviations = deviations[strong & np.isfinite(deviations)]
    return max(float(np.quantile(deviations, 0.9)), width_deg / 4.0) if len(deviations) else width_deg


def _carried(sizes: np.ndarray, before: Reflections, now: Reflections) -> np.ndarray:
    """The sizes of boxes (reflections, 2) of reflections that are found anew: those of the same one, else the median."""
    before_keys, now_keys = (np.column_stack([of.image, of.hkl]).tolist() for of in (before, now))
    of_key = {tuple(key): size for key, size in zip(before_keys, sizes)}
    typical = np.median(sizes, axis=0)
    return np.array([of_key.get(tuple(key), typical) for key in now_keys]).reshape(-1, 2)
