"""Searches for the numbers of a refinement, phase by phase, and for the best of several plans (R4, R7)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from adjoint.parameters import IMAGE, parameter_row
from adjoint.refinement import agreement, uncertainties
from adjoint.refinement.agreement import Agreement
from adjoint.refinement.algebra import NOTHING
from adjoint.refinement.coarse_frame import coarse_frame
from adjoint.refinement.coarse_subset import coarse_subset
from adjoint.refinement.expected_image import deviations, expected, of_crystal, photons, weighed, weight_follows
from adjoint.refinement.frame_loss import Evaluation, counted, evaluate, information_of_each
from adjoint.refinement.frames import Frame
from adjoint.refinement.phases import BROAD, Phase
from adjoint.refinement.result import Step
from adjoint.refinement.solve import LEEWAY, MOST_BY_MATRIX, OF_GRADIENTS, Solution, minimized
from adjoint.refinement.spot_widths import spot_widths
from adjoint.refinement.spots import spots
from adjoint.refinement.unknowns import Unknowns

TOLERANCE = 1e-5
"""The exact phase ends when a step gains less than this of the loss, of which one half is a change by a standard deviation."""

COARSE = 1e-4
"""The others end when a step gains less than this share of the loss."""

AT_BOUND = 1e-2
"""Standard deviations: a number that is so close to a bound is at it."""

UNSEEN = 1e-60
"""The image does not depend on a number that, moved by its own size, changes the loss by so little."""

ACCOUNTED = 0.9
"""The share of an image's contrast that ends a refinement, even if it does not fit to within noise."""

LEAST_LEVEL = 1e-3
"""The share of the mean of the data, in photons, that a refined background is at least where an exact phase begins."""


def loss_of(frames: list[Frame], unknowns: Unknowns, restraints) -> Callable[..., Evaluation]:
    """The loss of all frames by all numbers: evaluation(x, with_normal); restraints (target, weight) included."""
    places = [unknowns.places(number) for number in range(len(frames))]
    target, weight = restraints

    def evaluation(x, with_normal=True):
        value, gradient = float(weight @ (x - target) ** 2) / 2.0, weight * (x - target)
        normal = np.diag(weight) if with_normal else None
        for frame, place in zip(frames, places):
            each = evaluate(frame, x[place], with_normal)
            value += each.value
            gradient[place] += each.gradient
            if with_normal:
                normal[np.ix_(place, place)] += each.normal
        return Evaluation(value, gradient, normal)

    return evaluation


def information_of(frames: list[Frame], unknowns: Unknowns, x: np.ndarray) -> np.ndarray:
    """The diagonal of the information of all frames (n,): without a matrix where there are too many numbers for one."""
    diagonal = np.zeros(unknowns.count)
    for number, frame in enumerate(frames):
        place = unknowns.places(number)
        few = unknowns.count <= MOST_BY_MATRIX
        diagonal[place] += np.diag(evaluate(frame, x[place]).normal) if few else information_of_each(frame, x[place])
    return diagonal


def within(evaluation, start: np.ndarray, free: np.ndarray):
    """The same loss by some of its numbers, the others as they start; and the function that completes a vector."""

    def whole(x):
        full = start.copy()
        full[free] = x
        return full

    def part(x, with_normal=True):
        value, gradient, normal = evaluation(whole(x), with_normal)
        return Evaluation(value, gradient[free], None if normal is None else normal[np.ix_(free, free)])

    return part, whole


class Search:
    """What is refined, and what has happened so far.

    given: the frames as they are; frames: the same with weights of the last exact phase. lines: a line for each phase.
    """

    def __init__(self, given, unknowns, bounds, restraints, method: str, progress: Callable[[Step], Any] | None):
        self.given, self.frames, self.unknowns = given, given, unknowns
        self.bounds, self.restraints, self.method, self.progress = bounds, restraints, method, progress
        self.history, self.lines, self.evaluations, self.converged = [], [], 0, False

    def best(self, plans: list[list[Phase]], start: np.ndarray) -> np.ndarray:
        """The end of a plan; where it does not account for the images, the best of the ends of all plans (R7)."""
        ends = []
        for plan in plans:
            x = start
            for phase in plan:
                x = self.exact(phase, x) if phase.exact else self.coarse(phase, x)
            squares, agreements = self.fitness(x)
            ends.append((self.rank(x, squares), squares, self.converged, self.frames, x))
            enough = agreement.LEAST_EXPLAINED if squares <= agreement.GOOD else ACCOUNTED
            if not any(each.explained < enough or (each.shown and not each.accounted) for each in agreements):
                break
            if plan is not plans[-1]:
                self.lines.append(f"reduced chi squared {squares:.3g}: once more, in another way")
        _, squares, self.converged, self.frames, x = min(ends, key=lambda end: end[0])
        if len(ends) > 1:
            self.lines.append(f"the best of {len(ends)} has reduced chi squared {squares:.3g}")
        return x

    def rank(self, x: np.ndarray, squares: float) -> float:
        """By what an end is worse than another: by the loss, or by chi squared where each end has weights of its own.

        Chi squared leaves out the pixels where next to none is expected, so that of an end without spots would be small.
        """
        if any(weight_follows(frame) for frame in self.given):
            return squares
        value = loss_of(self.frames, self.unknowns, self.restraints)(x, False).value
        return value if np.isfinite(value) else np.inf

    def exact(self, phase: Phase, x: np.ndarray) -> np.ndarray:
        """All parameters, by the loss itself; once more where its weights follow from what was found (R3)."""
        x = self.lifted(x)
        for _ in range(2 if any(weight_follows(frame) for frame in self.given) else 1):
            self.frames = [weighed(frame, x[self.unknowns.places(number)]) for number, frame in enumerate(self.given)]
            evaluation = loss_of(self.frames, self.unknowns, self.restraints)
            information = information_of(self.frames, self.unknowns, x) + self.restraints[1]
            done = self.run(phase, evaluation, information, x, self.bounds, self.method, TOLERANCE, lambda y: y)
            x, self.converged = done.x, done.converged
        return x

    def lifted(self, x: np.ndarray) -> np.ndarray:
        """The numbers with a refined background that is above nothing: where next to none is expected, a count weighs so much
        that a search does not move (R4)."""
        lifted = x.copy()
        for number, frame in enumerate(self.given):
            if "image.background" in frame.image:
                place = self.unknowns.places(number)[-len(frame.image) :][frame.image.index("image.background")]
                level = LEAST_LEVEL * float(np.nanmean(frame.data)) / frame.split(x[self.unknowns.places(number)])[1].gain
                lifted[place] = max(lifted[place], min(level, self.bounds[1][place]))
        return lifted

    def coarse(self, phase: Phase, x: np.ndarray) -> np.ndarray:
        """The parameters that say where spots are, by a loss of broader spots, beside scale and background."""
        subset = coarse_subset(
            self.given, self.unknowns, bounds=self.bounds, restraints=self.restraints, x=x, phase=phase
        )
        evaluation = loss_of(subset.frames, subset.unknowns, subset.restraints)
        information = information_of(subset.frames, subset.unknowns, subset.start) + subset.restraints[1]
        tolerance = COARSE * evaluation(subset.start, False).value

        def merged(y):
            return subset.merged(self.unknowns, x, y)

        done = self.run(phase, evaluation, information, subset.start, subset.bounds, "least_squares", tolerance, merged)
        return merged(done.x)

    def run(self, phase, evaluation, information, start, bounds, method, tolerance, merged) -> Solution:
        """One search over the numbers that the images depend on where it starts, and what there is to say about it.

        merged(x): all numbers of the refinement, for the history.
        """
        unit = np.minimum(1.0 / np.sqrt(np.maximum(information, NOTHING)), np.maximum(np.abs(start), 1.0))
        free = np.flatnonzero((information * unit**2 > UNSEEN) & (bounds[1] - bounds[0] > LEEWAY * unit))
        if not len(free):
            return Solution(start, True, 0, "nothing to be found")
        part, whole = within(evaluation, start, free)

        def accepted(count, loss, x):
            step = Step(phase.name, self.evaluations + count, loss, merged(whole(x)))
            self.history.append(step)
            if self.progress is not None:
                self.progress(step)

        limits = tuple(bound[free] for bound in bounds)
        most = phase.evaluations * (OF_GRADIENTS if method == "L-BFGS-B" else 1)
        done = minimized(part, start[free], limits, unit[free], method, tolerance, most, accepted)
        self.evaluations += done.evaluations
        first, last = evaluation(start, False).value, evaluation(whole(done.x), False).value
        self.lines.append(f"{phase.name}: loss {first:.6g} to {last:.6g}, {done.reason}")
        return done._replace(x=whole(done.x))

    def fitness(self, x: np.ndarray) -> tuple[float, list[Agreement]]:
        """Reduced chi squared of all images, and how each agrees with what the crystal makes (R6)."""
        squares, pixels, agreements = 0.0, 0, []
        for number, frame in enumerate(self.frames):
            vector = x[self.unknowns.places(number)]
            mean = expected(frame, vector)
            sigma = deviations(frame, mean)
            each = agreement.chi_squared(frame.data, mean, sigma, counted(frame))
            squares, pixels = squares + each[0], pixels + each[1]
            share = agreement.explained(frame.data, mean, sigma, counted(frame))
            crystal = of_crystal(frame, vector, mean)
            agreements.append(Agreement(share, spots(frame.data, mean, crystal, sigma, counted(frame) or 0.0)))
        squares /= max(pixels - self.determined(x), 1)
        return squares if np.isfinite(squares) else float("inf"), agreements

    def likeness(self, number: int, start: np.ndarray) -> float:
        """How many standard deviations above chance the image of a frame is like broad spots of the start, at the best."""
        frame, vector = self.given[number], start[self.unknowns.places(number)]
        likenesses = []
        for phase in BROAD:
            dry = coarse_frame(frame, vector, phase, (), ("image.scale", "image.background")).frame_without_water(0.0)
            image = photons(dry.experiment, dry.machine)
            likenesses.append(agreement.likeness(dry.data[dry.box], image[dry.box], dry.sigma[dry.box] ** 2))
        return max(likenesses)

    def widths(self, x: np.ndarray) -> np.ndarray:
        """The width of a spot by every number (n,), the least of all frames: infinite but for what says where spots are."""
        widths, moving = np.full(self.unknowns.count, np.inf), np.zeros(self.unknowns.count, dtype=bool)
        for block in self.unknowns.blocks:
            moving[self.unknowns.span(block)] = parameter_row(block.column.key).moves_spots
        names = [name for name in self.unknowns.parameters if parameter_row(name).moves_spots]
        for number, frame in enumerate(self.given) if names else ():
            place = self.unknowns.places(number)
            of_frame = place[moving[place]]
            each = spot_widths(frame.split(x[place])[0], names, frame.machine)
            widths[of_frame] = np.minimum(widths[of_frame], each)
        return widths

    def unseen(self, agreements: list[Agreement]) -> np.ndarray:
        """Which numbers are of experiments of images in which nothing is seen, and of no other (n,)."""
        alone, in_blank_images = np.zeros(self.unknowns.count, dtype=bool), np.zeros(self.unknowns.count, dtype=bool)
        for block in self.unknowns.blocks:
            alone[self.unknowns.span(block)] = block.column.key not in IMAGE and (block.own or len(agreements) == 1)
        for number, each in enumerate(agreements):
            if not each.shown:
                in_blank_images[self.unknowns.places(number)] = True
        return in_blank_images & alone

    def determined(self, x: np.ndarray) -> int:
        """How many numbers the images determine: of amplitudes those that are known better than to their size."""
        if not self.unknowns.amplitudes().any():
            return self.unknowns.count
        information = information_of(self.frames, self.unknowns, x)
        return int(np.count_nonzero(information * np.maximum(np.abs(x), 1.0) ** 2 > 1.0))

    def known(self, x: np.ndarray) -> tuple[uncertainties.Uncertainty, float]:
        """Uncertainties where the refinement ended, and the loss there (R5)."""
        labels, spare = self.unknowns.labels(), self.unknowns.amplitudes()
        loss = loss_of(self.frames, self.unknowns, self.restraints)
        if self.unknowns.count > MOST_BY_MATRIX:
            diagonal = information_of(self.frames, self.unknowns, x) + self.restraints[1]
            return uncertainties.uncertainty_each(diagonal, labels, self.at_bound(x, diagonal), spare), loss(x, False).value
        at_end = loss(x)
        at_bound = self.at_bound(x, np.diag(at_end.normal))
        return uncertainties.uncertainty(at_end.normal, labels, at_bound, spare), at_end.value

    def at_bound(self, x: np.ndarray, information: np.ndarray) -> np.ndarray:
        """Which numbers are at a bound (n,): so close that it is nothing beside their uncertainty, as scipy stops before it."""
        near = AT_BOUND / np.sqrt(np.maximum(information, np.finfo(float).tiny))
        near = np.where(information > 0.0, near, 0.0)
        return (x - self.bounds[0] <= near) | (self.bounds[1] - x <= near)
