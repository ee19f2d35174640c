"""One shot of many: its shoeboxes, and its block of the normal equations, kept in a folder between passes (M2, M3)."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from adjoint.merging.unique import ABSENT, Unique
from adjoint.parameters import Name
from adjoint.refinement.agreement import LEAST_EXPLAINED
from adjoint.series.images import Model, SeriesImage, model_of
from adjoint.series.reduction import (
    Fitted,
    Rules,
    background,
    fit_background,
    least_background,
    scale_of,
    terms_of,
    weights,
)
from adjoint.series.reflections import Reflections
from adjoint.series.search import Point, Problem, Restraints, at_bounds, directions, moved
from adjoint.series.shoeboxes import Shoeboxes, shoeboxes
from adjoint.series.stages import CHECKED_HALF, misfit_of
from adjoint.series.unknowns import SCALE, Unknowns, unknowns
from adjoint.series.verdict import evidence
from adjoint.variables import pack, unpack
from nbnumba.backends import CPU, Machine
from nbnumba.errors import InputError
from nbnumba.experiment import Experiment
from nbnumba.formats.symmetry import Symmetry
from nbnumba.predictions import predict
from nbnumba.spots.shape_profiles import FWHM
from nbnumba.statements import StructureFactors

LEAST_EXCITATION = 0.01
"""Reflections that are excited by less have no box: they would tell little of their amplitudes."""

WIDTHS, AROUND = 3.0, 2.5
"""A box reaches so many standard deviations of its spot from the middle, and so many pixels more."""

LEAST_HALF, MOST_HALF = 3.0, 12.0
"""Half the edge of a box, in pixels."""

TRIES, SHORTER = 3, 0.3
"""How often a step of a shot that makes it worse is made shorter, and by which factor."""

FEWEST_BOXES = 5
"""A shot with fewer reflections is left out: it would not know its own numbers."""

SCALINGS, LARGEST = 3, 100.0
"""How often the scale of a shot is fitted before the first pass, and the largest factor of each time."""

SEEN = 12.0
"""Standard deviations by which the spots of a shot together have to stand out: noise alone can do it by nearly as much."""

ELSEWHERE = 1.4
"""By how many standard deviations, times the significance over SEEN, the spots of a shot may fit better elsewhere."""

HEAD = 6
"""The numbers before the arrays of a block in its file."""

NO_AMPLITUDES = StructureFactors(default_F=1.0)
"""What stands for the amplitudes in the experiment of a shot: they are those of the pass."""


class Shot(NamedTuple):
    """A shot to merge: a still or a short rotation, by itself or as one of a folder's.

    image: its name, experiment, reader and gain. number: among all shots.
    """

    image: SeriesImage
    number: int


class Rule(NamedTuple):
    """What all shots have in common: what is refined of each, how pixels count, what restrains them, and the machine.

    restraints: (name, value or None for the start, sigma), each.
    """

    parameters: tuple[Name, ...]
    rules: Rules
    restraints: tuple[tuple[str, float | None, float], ...] = ()
    machine: Machine = CPU


class Block(NamedTuple):
    """The equations of a shot at some numbers (M3).

    x (p,): its numbers; loss, pixels; moved: whether the last step was made; misfit: what its bright boxes ask for (S4). number
    (boxes,): of the unique reflection of each box. gradient (p,), normal (p, p): by its numbers, restraints included;
    own_gradient, own_normal (boxes,), across (boxes, p): by the factor of the intensity of each box, 1 here, and between these
    and the numbers. photons (boxes,): of the crystal in each box.
    """

    x: np.ndarray
    loss: float
    pixels: int
    moved: float
    misfit: float
    number: np.ndarray
    gradient: np.ndarray
    normal: np.ndarray
    own_gradient: np.ndarray
    own_normal: np.ndarray
    across: np.ndarray
    photons: np.ndarray

    def save(self, path: Path) -> None:
        """Write the block as one array, whole or not at all."""
        head = [len(self.x), len(self.number), self.loss, self.pixels, self.moved, self.misfit]
        by_numbers = self.gradient, self.normal, self.own_gradient, self.own_normal, self.across
        parts = [head, self.x, self.number, *by_numbers, self.photons]
        with written(path) as stream:
            stream.write(np.concatenate([np.ravel(np.asarray(part, dtype=np.float64)) for part in parts]).tobytes())

    @staticmethod
    def load(path: Path) -> Block:
        """The block of a file."""
        values = np.fromfile(path)
        p, boxes = int(values[0]), int(values[1])
        loss, pixels, moved, misfit = (float(value) for value in values[2:HEAD])
        ends = np.cumsum([p, boxes, p, p * p, boxes, boxes, boxes * p])
        x, number, gradient, normal, own_gradient, own_normal, across, photons = np.split(values[HEAD:], ends)
        own = number.astype(np.int64), gradient, normal.reshape(p, p), own_gradient, own_normal, across.reshape(boxes, p)
        return Block(x, loss, int(pixels), moved, misfit, *own, photons)

    def inverse(self, damping: float) -> np.ndarray:
        """The inverse (p, p) of the matrix of the numbers, its diagonal raised by a fraction; of directions that are known."""
        known = np.diag(self.normal) > 0.0
        scales, values, vectors = directions(self.normal)
        kept = values > 1e-9
        made = (vectors[:, kept] / (values[kept] + damping)) @ vectors[:, kept].T
        return np.where(known[:, np.newaxis] & known, made / scales / scales[:, np.newaxis], 0.0)


def folder_of(folder: Path, pass_number: int) -> Path:
    """The folder of a pass, with a block and the photons of each shot."""
    return folder / f"pass_{pass_number:03d}"


def block_path(folder: Path, pass_number: int, shot: int) -> Path:
    """Where the block of a shot is after a pass."""
    return folder_of(folder, pass_number) / f"{shot:06d}.block"


def photons_path(folder: Path, pass_number: int, shot: int) -> Path:
    """Where the crystal's photons and the background in the boxes of a shot are after a pass."""
    return folder_of(folder, pass_number) / f"{shot:06d}.photons"


def boxes_path(folder: Path, shot: int, generation: int) -> Path:
    """Where the boxes of a shot are: the first ones (generation 0), or those that were cut anew."""
    return folder / f"boxes_{generation}" / f"{shot:06d}.npz"


def list_of(folder: Path, pass_number: int) -> tuple[Unique, StructureFactors, np.ndarray]:
    """The unique reflections of a folder, their amplitudes in a pass, and by how much their factors moved before it (u,)."""
    pair = folder / "unique.npz", folder_of(folder, pass_number) / "amplitudes.npz"
    return _list_of(*pair, *((stated.st_ino, stated.st_mtime_ns) for stated in map(os.stat, pair)))


@lru_cache(maxsize=2)
def _list_of(unique_path: Path, path: Path, *written_at: tuple[int, int]) -> tuple[Unique, StructureFactors, np.ndarray]:
    """What list_of returns, of files as they were written then: a folder may be emptied, and used once more."""
    with np.load(unique_path) as kept:
        arrays = {name: kept[name] for name in kept.files}
    symmetry = Symmetry(str(arrays.pop("name")), arrays.pop("rotations"), arrays.pop("translations"))
    unique = Unique(symmetry, bool(arrays.pop("friedel_apart")), **arrays)
    with np.load(path) as kept:
        return unique, unique.listed(kept["amplitudes"]), kept["changes"]


def keep_unique(folder: Path, unique: Unique) -> None:
    """Keep the unique reflections in a folder."""
    arrays = unique._asdict()
    name, rotations, translations = arrays.pop("symmetry")
    with written(folder / "unique.npz") as stream:
        np.savez(stream, name=name, rotations=rotations, translations=translations, **arrays)


@contextmanager
def written(path: Path) -> Iterator[BinaryIO]:
    """A file that is there as a whole, or not at all.

    It is put in place at once, also in a block of files.together(), and what a killed process leaves is one name, written anew.
    """
    part = path.with_name(path.name + ".part")
    with open(part, "wb") as stream:
        yield stream
    os.replace(part, path)


def unknowns_of(experiment: Experiment, parameters: tuple[Name, ...]) -> Unknowns:
    """The numbers of a shot: each parameter is one, and none varies within it."""
    return unknowns(experiment, [0.0], parameters, 1.0)


class Spots(NamedTuple):
    """The spots of a shot: reflections, half the edges of their boxes (n, 2), and their unique reflections (n,)."""

    reflections: Reflections
    half: np.ndarray
    number: np.ndarray

    def boxes(self, shot: SeriesImage, data: np.ndarray, wider: float = 0.0) -> tuple[Shoeboxes, np.ndarray]:
        """The shoeboxes in a sheet, each box a reflection, and the unique reflection (boxes,) of each.

        wider: by how many pixels the half of each edge is.
        """
        boxes = shoeboxes(shot.sheet, data, self.reflections, np.arange(len(self.number)), self.half + wider)
        return boxes._replace(reflection=np.arange(len(boxes.starts))), self.number[boxes.reflection]


def spots_of(experiment: Experiment, unique: Unique) -> Spots:
    """The spots that an experiment shows on pixels that count (M2)."""
    table = predict(experiment, least_excitation=LEAST_EXCITATION)
    number = unique.number_of(table.hkl)
    shown = ~table.masked & (number != ABSENT) & np.isfinite(table.centre_fast)
    table = table[shown]
    found = Reflections(
        table.hkl, table.panel, table.centre_fast, table.centre_slow, table.phi_deg, np.ones(len(table)), table.d_A, table.s1,
        table.F, np.zeros(len(table), dtype=np.int64), table.delta_psi_deg,
    )  # fmt: skip
    widths = np.stack([table.width_fast, table.width_slow], axis=1) / FWHM
    return Spots(found, np.clip(WIDTHS * widths + AROUND, LEAST_HALF, MOST_HALF), number[shown])


def cut(folder: Path, shot: Shot, rule: Rule, pass_number: int, generation: int) -> Block:
    """Cut out the boxes of a shot where its numbers put them, and make its block with the amplitudes of a pass (M2).

    Before the first pass its numbers are those of its experiment, but for a scale that is fitted; later they are those of the
    pass before, and boxes wider than the spots show whether they are right. A shot whose block is there is not made anew.
    Raises InputError for a shot that is not one of this crystal, and for one without reflections on its pixels.
    """
    if block_path(folder, pass_number, shot.number).exists():
        return Block.load(block_path(folder, pass_number, shot.number))
    unique, listed, _ = list_of(folder, pass_number)
    start = dataclasses.replace(shot.image.experiment, structure_factors=listed)
    parameters = unknowns_of(start, rule.parameters).parameters
    x = Block.load(block_path(folder, pass_number - 1, shot.number)).x if pass_number else pack(start, parameters)
    spots, data = spots_of(unpack(start, parameters, x), unique), shot.image.photons()
    if pass_number:
        _check(rule, start, x, spots.boxes(shot.image, data, CHECKED_HALF)[0])
    boxes, number = spots.boxes(shot.image, data)
    if len(boxes.starts) < FEWEST_BOXES:
        raise InputError(f"{len(boxes.starts)} reflections are on its pixels; allowed: {FEWEST_BOXES} or more")
    with written(boxes_path(folder, shot.number, generation)) as stream:
        np.savez(stream, number=number, **boxes._asdict())
    problem = _problem(start, boxes, rule)
    ones = np.ones(problem.reflections)
    for _ in range(0 if pass_number else SCALINGS):
        _, point = problem.point(x, ones)
        scale, _ = scale_of(boxes, point.fitted[0], point.weight[0])
        x[problem.unknowns.indices(SCALE).ravel()] *= min(max(scale, 1.0 / LARGEST), LARGEST)
    _, point = problem.point(x, ones)
    return _kept(folder, pass_number, shot.number, number, problem, point, 1.0)


def step(folder: Path, shot: Shot, rule: Rule, pass_number: int, generation: int, damping: float) -> Block:
    """Move the numbers of a shot as its block and the amplitudes of a pass ask for, and make its block anew (M3).

    A step that makes the shot worse is made shorter, and at last not made. A shot whose block is there is not made anew.
    """
    if block_path(folder, pass_number, shot.number).exists():
        return Block.load(block_path(folder, pass_number, shot.number))
    _, listed, changes = list_of(folder, pass_number)
    boxes, number = load_boxes(folder, shot.number, generation)
    before = Block.load(block_path(folder, pass_number - 1, shot.number))
    bragg, level = np.fromfile(photons_path(folder, pass_number - 1, shot.number)).reshape(2, -1)
    problem = _problem(dataclasses.replace(shot.image.experiment, structure_factors=listed), boxes, rule)
    reference = _reference(problem, before, boxes, bragg * (1.0 + changes[number])[boxes.box], level)
    change = before.inverse(damping) @ (before.gradient - before.across.T @ changes[number])
    ones = np.ones(problem.reflections)
    for _ in range(TRIES):
        loss, point = problem.point(moved(problem.unknowns, before.x, change), ones, reference)
        if loss <= reference.loss:
            return _kept(folder, pass_number, shot.number, number, problem, point, 1.0)
        change = SHORTER * change
    _, point = problem.point(before.x, ones, reference)
    return _kept(folder, pass_number, shot.number, number, problem, point, 0.0)


def _check(rule: Rule, start: Experiment, x: np.ndarray, boxes: Shoeboxes) -> None:
    """Raise InputError unless boxes wider than the spots of a shot show that these are where its numbers x put them (M3)."""
    problem = _problem(start, boxes, rule._replace(rules=rule.rules._replace(misfit=0.0, by_data=True)))
    seen = evidence(problem, problem.point(x, np.ones(problem.reflections))[1])
    if not seen.significance > SEEN:
        what = f"its spots stand out by {seen.significance:.2g} standard deviations together, and by {SEEN:g} is wanted"
        raise InputError(f"it shows nothing of the crystal: {what}")
    if seen.explained < LEAST_EXPLAINED:
        share = f"{100 * seen.explained:.2g} % of the contrast around its spots"
        raise InputError(f"it shows something else: the crystal accounts for {share}")
    if seen.best - seen.significance > ELSEWHERE * max(1.0, seen.significance / SEEN):
        raise InputError(f"it fits better elsewhere: moved by {seen.shift[0]} pixels along fast and {seen.shift[1]} along slow")


def _problem(start: Experiment, boxes: Shoeboxes, rule: Rule) -> Problem:
    """The problem of a shot alone, from an experiment, in which each box is a reflection of its own."""
    refined = unknowns_of(start, rule.parameters)
    model: Model = model_of(start, refined.parameters, boxes, rule.machine)
    values, weight = pack(start, refined.parameters), np.zeros(refined.count)
    for name, value, sigma in rule.restraints:
        indices = refined.indices(name).ravel()
        weight[indices] = sigma**-2
        if value is not None:
            values[indices] = value
    return Problem([model], refined, len(boxes.starts), rule.rules, Restraints(values, weight), True)


def _reference(problem: Problem, before: Block, boxes: Shoeboxes, bragg: np.ndarray, level: np.ndarray) -> Point:
    """What is known of a shot at its old numbers, with the new amplitudes: what its next step is compared with."""
    shown = np.maximum(boxes.sums(boxes.data - problem.levels[0]), 0.0)
    spread = shown**2 / np.maximum(boxes.sums(np.abs(bragg)), 1e-300)
    fitted = Fitted(bragg, level, spread[boxes.box] * np.abs(bragg), least_background(boxes))
    fitted = fit_background(boxes, fitted, problem.rules)
    weight = weights(boxes, fitted, problem.rules)
    fitted = fitted._replace(background=background(boxes, terms_of(boxes, problem.rules), bragg, weight))
    restrained = float(problem.restraints.weights @ (problem.restraints.values - before.x) ** 2)
    loss = (float(weight @ (boxes.data - fitted.mean) ** 2) + restrained) / 2.0
    return Point(before.x, np.ones(problem.reflections), (bragg,), (fitted,), (weight,), loss, *[np.zeros(0)] * 5)


def _kept(
    folder: Path, pass_number: int, shot: int, number: np.ndarray, problem: Problem, point: Point, was_moved: float
) -> Block:
    """Keep the photons and the block of a shot at a point. Numbers that would have to go beyond a bound do not move."""
    at_low, at_high = at_bounds(problem.unknowns, point)
    free = ~((at_low & (point.gradient < 0.0)) | (at_high & (point.gradient > 0.0)))
    fitted, boxes = point.fitted[0], problem.models[0].boxes
    # Where neither background nor crystal reaches the least, a background of none was fitted, and nothing deviates (S8).
    counted = int(np.count_nonzero(np.maximum(fitted.background, fitted.bragg) >= least_background(boxes)))
    block = Block(
        point.x, point.loss, counted, was_moved, misfit_of(problem, point), number,
        point.gradient * free, point.normal * np.outer(free, free), point.own_gradient, point.own_normal, point.across * free,
        boxes.sums(point.images[0]),
    )  # fmt: skip
    with written(photons_path(folder, pass_number, shot)) as stream:
        stream.write(np.stack([fitted.bragg, fitted.background]).tobytes())
    block.save(block_path(folder, pass_number, shot))
    return block


def load_boxes(folder: Path, shot: int, generation: int) -> tuple[Shoeboxes, np.ndarray]:
    """The boxes of a shot, and the unique reflection (boxes,) of each."""
    with np.load(boxes_path(folder, shot, generation)) as kept:
        return Shoeboxes(*(kept[name] for name in Shoeboxes._fields)), kept["number"]
