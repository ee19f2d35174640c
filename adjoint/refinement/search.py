"""The search for the numbers of a refinement: phase by phase, and by several plans of which the best counts (R4, R7)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from adjoint.parameters import IMAGE
from adjoint.refinement import agreement, uncertainties
from adjoint.refinement.agreement import Agreement
from adjoint.refinement.algebra import NOTHING
from adjoint.refinement.coarse_frame import coarse_frame
from adjoint.refinement.coarse_subset import coarse_subset
from adjoint.refinement.expected_image import crystal_part, deviations, expected, photons, weighed, weight_follows
from adjoint.refinement.frame_loss import Evaluation, evaluate, information_of_each, photon_value
from adjoint.refinement.frames import Frame
from adjoint.refinement.phases import BROAD, Phase
from adjoint.refinement.result import Step
from adjoint.refinement.solve import LEEWAY, MOST_BY_MATRIX, OF_GRADIENTS, Solution, minimize
from adjoint.refinement.spot_widths import spot_widths
from adjoint.refinement.spots import spots
from adjoint.refinement.unknowns import Unknowns
from adjoint.variables import parameter_row

EXACT_TOLERANCE = 1e-5
"""The exact phase ends when a step lowers the loss by less than this; a change by a standard deviation is 1/2."""

COARSE = 1e-4
"""The other phases end when a step lowers the loss by less than this fraction of it."""

AT_BOUND = 1e-2
"""Standard deviations: a number that is closer than this to a bound counts as being at the bound."""

UNSEEN = 1e-60
"""The image does not depend on a number whose change by its own size changes the loss by less than this."""

ACCOUNTED = 0.9
"""The explained fraction that ends a refinement, even if the model does not fit to within noise."""

LEAST_LEVEL = 1e-3
"""The least refined background where an exact phase begins, as a fraction of the mean of the data in photons."""


def loss_of(frames: list[Frame], unknowns: Unknowns, restraints) -> Callable[..., Evaluation]:
    """The loss of all frames by all numbers, with restraints, as a function of x and with_normal (R2).

    restraints: the value that each number is drawn to (n,), and the weight 1 / sigma^2 (n,).
    """
    indices = [unknowns.indices_of(number) for number in range(len(frames))]
    restrained, weight = restraints

    def loss(x, with_normal=True):
        value, gradient = float(weight @ (x - restrained) ** 2) / 2.0, weight * (x - restrained)
        normal = np.diag(weight) if with_normal else None
        for frame, own in zip(frames, indices):
            of_frame = evaluate(frame, x[own], with_normal)
            value += of_frame.value
            gradient[own] += of_frame.gradient
            if with_normal:
                normal[np.ix_(own, own)] += of_frame.normal
        return Evaluation(value, gradient, normal)

    return loss


def information_of(frames: list[Frame], unknowns: Unknowns, x: np.ndarray) -> np.ndarray:
    """The diagonal of the information of all frames (n,), without the matrix if there are too many numbers for one (R5)."""
    diagonal = np.zeros(unknowns.count)
    for number, frame in enumerate(frames):
        own = unknowns.indices_of(number)
        few = unknowns.count <= MOST_BY_MATRIX
        diagonal[own] += np.diag(evaluate(frame, x[own]).normal) if few else information_of_each(frame, x[own])
    return diagonal


def by_free_numbers(loss, start: np.ndarray, free: np.ndarray):
    """The loss by those of its numbers that are free, and the function that completes their vector.

    free: indices of these numbers. The other numbers stay at the start (n,).
    """

    def completed(x):
        full = start.copy()
        full[free] = x
        return full

    def by_free(x, with_normal=True):
        value, gradient, normal = loss(completed(x), with_normal)
        return Evaluation(value, gradient[free], None if normal is None else normal[np.ix_(free, free)])

    return by_free, completed


class Task(NamedTuple):
    """What one search minimizes: the loss as a function of x and with_normal, and the diagonal of the information (n,).

    start (n,): the numbers where it begins, of which the information is; bounds: the least and the largest of each.
    """

    loss: Callable[..., Evaluation]
    information: np.ndarray
    start: np.ndarray
    bounds: tuple[np.ndarray, np.ndarray]


class Search:
    """A refinement under way: what is refined, and what its phases have done so far.

    given: the frames as the user states them. frames: the same frames with the weights of the last exact phase, at the end of
    those of the plan that was chosen; converged: whether that phase has. history: every step. lines: what was done, in lines of
    text: one for each search of a phase (two where an exact phase is done twice), one where another plan begins, and one for
    the choice between plans. evaluations: how often a loss was evaluated so far.
    """

    def __init__(
        self,
        given: list[Frame],
        unknowns: Unknowns,
        *,
        bounds: tuple[np.ndarray, np.ndarray],
        restraints: tuple[np.ndarray, np.ndarray],
        method: str,
        progress: Callable[[Step], Any] | None,
    ):
        self.given, self.frames, self.unknowns = given, given, unknowns
        self.bounds, self.restraints, self.method, self.progress = bounds, restraints, method, progress
        self.history, self.lines, self.evaluations, self.converged = [], [], 0, False

    def best_of_plans(self, plans: list[list[Phase]], start: np.ndarray) -> np.ndarray:
        """Run plans until one of them accounts for the images, and return the numbers (n,) at the end of least rank (R7).

        A plan that explains the images, but whose chi squared is not good, has to explain more of them.
        """
        ends = []
        for plan in plans:
            x = start
            for phase in plan:
                x = self.after_exact_phase(phase, x) if phase.exact else self.after_coarse_phase(phase, x)
            chi_squared, agreements = self.fitness(x)
            ends.append((self.rank(x, chi_squared), chi_squared, self.converged, self.frames, x))
            enough = agreement.LEAST_EXPLAINED if chi_squared <= agreement.GOOD else ACCOUNTED
            if not any(image.explained < enough or (image.shown and not image.accounted) for image in agreements):
                break
            if plan is not plans[-1]:
                self.lines.append(f"reduced chi squared {chi_squared:.3g}: once more, in another way")
        _, chi_squared, self.converged, self.frames, x = min(ends, key=lambda end: end[0])
        if len(ends) > 1:
            self.lines.append(f"the best of {len(ends)} has reduced chi squared {chi_squared:.3g}")
        return x

    def rank(self, x: np.ndarray, chi_squared: float) -> float:
        """The figure by which ends are compared: the loss, or reduced chi squared if each end has its own weights.

        Chi squared leaves out pixels in which almost nothing is expected, so that of an end without spots would be small.
        """
        if any(weight_follows(frame) for frame in self.given):
            return chi_squared
        value = loss_of(self.frames, self.unknowns, self.restraints)(x, False).value
        return value if np.isfinite(value) else np.inf

    def after_exact_phase(self, phase: Phase, x: np.ndarray) -> np.ndarray:
        """The numbers (n,) after an exact phase, which is searched twice if weights depend on refined numbers (R3)."""
        x = self.with_least_background(x)
        for _ in range(2 if any(weight_follows(frame) for frame in self.given) else 1):
            self.frames = [weighed(frame, x[self.unknowns.indices_of(number)]) for number, frame in enumerate(self.given)]
            loss = loss_of(self.frames, self.unknowns, self.restraints)
            information = information_of(self.frames, self.unknowns, x) + self.restraints[1]
            task = Task(loss, information, x, self.bounds)
            solution = self.minimize(phase, task, method=self.method, tolerance=EXACT_TOLERANCE, merged=lambda y: y)
            x, self.converged = solution.x, solution.converged
        return x

    def with_least_background(self, x: np.ndarray) -> np.ndarray:
        """The numbers (n,) with every refined background at least at LEAST_LEVEL (R4).

        Where almost nothing is expected, a count has so much weight that a search would not move.
        """
        numbers = x.copy()
        for number, frame in enumerate(self.given):
            if "image.background" in frame.image:
                index = self.unknowns.indices_of(number)[-len(frame.image) :][frame.image.index("image.background")]
                level = LEAST_LEVEL * float(np.nanmean(frame.data)) / frame.split(x[self.unknowns.indices_of(number)])[1].gain
                numbers[index] = max(numbers[index], min(level, self.bounds[1][index]))
        return numbers

    def after_coarse_phase(self, phase: Phase, x: np.ndarray) -> np.ndarray:
        """The numbers (n,) after a phase that is not exact (R7)."""
        subset = coarse_subset(self.given, self.unknowns, bounds=self.bounds, restraints=self.restraints, x=x, phase=phase)
        loss = loss_of(subset.frames, subset.unknowns, subset.restraints)
        information = information_of(subset.frames, subset.unknowns, subset.start) + subset.restraints[1]
        tolerance = COARSE * loss(subset.start, False).value

        def merged(y):
            return subset.merged(self.unknowns, x, y)

        task = Task(loss, information, subset.start, subset.bounds)
        return merged(self.minimize(phase, task, method="least_squares", tolerance=tolerance, merged=merged).x)

    def minimize(self, phase: Phase, task: Task, *, method: str, tolerance: float, merged: Callable) -> Solution:
        """Search over the numbers that the images depend on at the start (R4); history and lines record it.

        tolerance: the least gain of a step, in units of the loss. merged(x): all numbers of the refinement, for the history.
        """
        loss, information, start, bounds = task
        unit = np.minimum(1.0 / np.sqrt(np.maximum(information, NOTHING)), np.maximum(np.abs(start), 1.0))
        free = np.flatnonzero((information * unit**2 > UNSEEN) & (bounds[1] - bounds[0] > LEEWAY * unit))
        if not len(free):
            return Solution(start, True, 0, "nothing to be found")
        by_free, completed = by_free_numbers(loss, start, free)

        def record_step(count, value, x):
            step = Step(phase.name, self.evaluations + count, value, merged(completed(x)))
            self.history.append(step)
            if self.progress is not None:
                self.progress(step)

        solution = minimize(
            by_free,
            start[free],
            bounds=tuple(bound[free] for bound in bounds),
            unit=unit[free],
            method=method,
            tolerance=tolerance,
            most=phase.evaluations * (OF_GRADIENTS if method == "L-BFGS-B" else 1),
            accepted=record_step,
        )
        self.evaluations += solution.evaluations
        x = completed(solution.x)
        first, last = loss(start, False).value, loss(x, False).value
        self.lines.append(f"{phase.name}: loss {first:.6g} to {last:.6g}, {solution.reason}")
        return solution._replace(x=x)

    def fitness(self, x: np.ndarray) -> tuple[float, list[Agreement]]:
        """Reduced chi squared of all images at the numbers x (n,), and the agreement of each image (R6)."""
        chi_squared, pixels, agreements = 0.0, 0, []
        for number, frame in enumerate(self.frames):
            vector = x[self.unknowns.indices_of(number)]
            mean = expected(frame, vector)
            sigma = deviations(frame, mean)
            photon, places = photon_value(frame), frame.places
            chi_squared_of_frame, pixels_of_frame = agreement.chi_squared(frame.data, mean, sigma, photon)
            chi_squared, pixels = chi_squared + chi_squared_of_frame, pixels + pixels_of_frame
            explained = agreement.explained(frame.data, mean, sigma, photon, places)
            crystal = crystal_part(frame, vector, mean)
            agreements.append(Agreement(explained, spots(frame.data, mean, crystal, sigma, photon or 0.0, places)))
        chi_squared /= max(pixels - self.determined_count(x), 1)
        return chi_squared if np.isfinite(chi_squared) else float("inf"), agreements

    def likeness(self, number: int, start: np.ndarray) -> float:
        """The likeness of the image of a frame to the broadened spots of the start (n,): the largest of all phases (R6)."""
        frame, vector = self.given[number], start[self.unknowns.indices_of(number)]
        likenesses = []
        for phase in BROAD:
            dry = coarse_frame(frame, vector, phase, (), ("image.scale", "image.background")).frame_without_water(0.0)
            image = photons(dry.experiment, dry.machine)
            likenesses.append(agreement.likeness(dry.data[dry.box], image[dry.box], dry.sigma[dry.box] ** 2, dry.places))
        return max(likenesses)

    def widths(self, x: np.ndarray) -> np.ndarray:
        """The width of a spot by every number (n,), the least of all frames; infinite where numbers move no spots (R7)."""
        widths, moving = np.full(self.unknowns.count, np.inf), np.zeros(self.unknowns.count, dtype=bool)
        for block in self.unknowns.blocks:
            moving[self.unknowns.span(block)] = parameter_row(block.variable.key).moves_spots
        names = [name for name in self.unknowns.parameters if parameter_row(name).moves_spots]
        for number, frame in enumerate(self.given) if names else ():
            own = self.unknowns.indices_of(number)
            moving_own = own[moving[own]]
            widths_of_frame = spot_widths(frame.split(x[own])[0], names, frame.machine)
            widths[moving_own] = np.minimum(widths[moving_own], widths_of_frame)
        return widths

    def of_blank_images(self, agreements: list[Agreement]) -> np.ndarray:
        """Which parameters depend on a single image only, and on one that shows nothing beyond noise (n,)."""
        alone, in_blank_images = np.zeros(self.unknowns.count, dtype=bool), np.zeros(self.unknowns.count, dtype=bool)
        for block in self.unknowns.blocks:
            alone[self.unknowns.span(block)] = block.variable.key not in IMAGE and (block.own or len(agreements) == 1)
        for number, image in enumerate(agreements):
            if not image.shown:
                in_blank_images[self.unknowns.indices_of(number)] = True
        return in_blank_images & alone

    def determined_count(self, x: np.ndarray) -> int:
        """The number of numbers that the images determine; an amplitude is one if it is known to better than its size (R6)."""
        if not self.unknowns.amplitudes().any():
            return self.unknowns.count
        information = information_of(self.frames, self.unknowns, x)
        return int(np.count_nonzero(information * np.maximum(np.abs(x), 1.0) ** 2 > 1.0))

    def uncertainty_and_loss(self, x: np.ndarray) -> tuple[uncertainties.Uncertainty, float]:
        """The uncertainties at the numbers x (n,) where the refinement ended, and the loss there (R5)."""
        labels, spare = self.unknowns.labels(), self.unknowns.amplitudes()
        loss = loss_of(self.frames, self.unknowns, self.restraints)
        if self.unknowns.count > MOST_BY_MATRIX:
            diagonal = information_of(self.frames, self.unknowns, x) + self.restraints[1]
            return uncertainties.uncertainty_each(diagonal, labels, self.at_bound(x, diagonal), spare), loss(x, False).value
        evaluation = loss(x)
        at_bound = self.at_bound(x, np.diag(evaluation.normal))
        return uncertainties.uncertainty(evaluation.normal, labels, at_bound, spare), evaluation.value

    def at_bound(self, x: np.ndarray, information: np.ndarray) -> np.ndarray:
        """Which numbers are at a bound (n,): closer to it than AT_BOUND of their uncertainty, since scipy stops before a bound.

        information (n,): its diagonal.
        """
        near = AT_BOUND / np.sqrt(np.maximum(information, np.finfo(float).tiny))
        near = np.where(information > 0.0, near, 0.0)
        return (x - self.bounds[0] <= near) | (self.bounds[1] - x <= near)
