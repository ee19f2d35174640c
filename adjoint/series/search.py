"""The search for the numbers of a series: Gauss-Newton steps with damping, in which intensities and backgrounds follow (S6)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from adjoint.refinement.algebra import NOTHING
from adjoint.series.images import Model
from adjoint.series.reduction import (
    Fitted,
    Rules,
    background,
    factor_sums,
    first_background,
    fit_background,
    least_background,
    sums_of,
    terms_of,
    weights,
    weights_by_data,
)
from adjoint.series.strengths import Strengths, strengths
from adjoint.series.unknowns import Unknowns
from nbnumba.errors import InputError

ENOUGH = 3e-3
"""A search has converged when a step promises to lower the loss by less than this: 0.08 standard deviations at most, which
raise it by 1/2 times their square."""

FACTOR = 2.0
"""The largest factor by which a step changes a number that is not below 0 and moves no spots."""

SHORTEST = 0.125
"""The least part of a step that is made."""

SPREAD = "crystal.mosaic_"
"""What the names of mosaic spreads begin with: the squares of widths add, so that steps are those of the square."""

LEAST_KNOWN = 1e-12
"""Of the largest information about a factor, the part below which there is none about another."""

AT_BOUND = 0.1
"""A number is at a bound if it is so few of its own standard deviations off: one whose square counts gets there by halves."""

LEAST_DAMPING, FIRST_DAMPING, MOST_DAMPING = 1e-7, 1e-2, 1e6


class Restraints(NamedTuple):
    """Prior knowledge: the values that numbers are drawn to (n,), and the weights 1 / sigma^2 (n,), 0 without."""

    values: np.ndarray
    weights: np.ndarray


class Point(NamedTuple):
    """What is known at some numbers: x (n,), factors (reflections,), what is expected, and the normal equations (S5).

    images: the crystal's photons with all factors 1 in the pixels of each image (pixels,). fitted, weight: of these pixels.
    loss: half the weighted squares of all deviations, and of the restraints. gradient (n,): minus its derivative; normal (n,
    n). own_gradient, own_normal (reflections,), across (reflections, n): by the factor of the intensity of each reflection, and
    between these and the numbers. strengths: what those of reflections tell, parts of loss, gradient and normal; None where
    nothing is known of intensities.
    """

    x: np.ndarray
    factors: np.ndarray
    images: tuple[np.ndarray, ...]
    fitted: tuple[Fitted, ...]
    weight: tuple[np.ndarray, ...]
    loss: float
    gradient: np.ndarray
    normal: np.ndarray
    own_gradient: np.ndarray
    own_normal: np.ndarray
    across: np.ndarray
    strengths: Strengths | None = None


class End(NamedTuple):
    """Where a search ended: the point, whether it converged, how many evaluations it took, and why it ended, in words."""

    point: Point
    converged: bool
    evaluations: int
    reason: str


class Problem:
    """A series to refine: its models, unknowns, and rules of how pixels count.

    reflections: their number. free_factors: whether each reflection has an intensity of its own, and not that of the list of
    amplitudes. spread: the standard deviation of intensities about those of the list, over these; None where it is not known.
    """

    def __init__(
        self,
        models: Sequence[Model],
        unknowns: Unknowns,
        reflections: int,
        rules: Rules,
        restraints: Restraints,
        free_factors: bool,
        spread: float | None = None,
    ):
        self.models, self.unknowns, self.reflections = tuple(models), unknowns, reflections
        self.rules, self.restraints, self.free_factors, self.spread = rules, restraints, free_factors, spread
        self.matrices = [unknowns.matrix(number) for number in range(len(self.models))]
        self.levels = [first_background(model.boxes) for model in self.models]
        self.shown, boxes_of_each = np.zeros(reflections), np.zeros(reflections)
        for model, level in zip(self.models, self.levels):
            model.boxes.add_to(self.shown, model.boxes.data - level)
            np.add.at(boxes_of_each, model.boxes.reflection, 1.0)
        self.shown = np.maximum(self.shown, 0.0)
        self.fixed_weights = None
        if rules.by_data:
            self.fixed_weights = [
                weights_by_data(model.boxes, level, self.shown, boxes_of_each, rules)
                for model, level in zip(self.models, self.levels)
            ]

    def point(self, x: np.ndarray, factors: np.ndarray | None, before: Point | None = None) -> tuple[float, Point]:
        """The loss with the weights of the point before (or its own), and the point with weights of its own.

        factors None: those that fit best at x, with the weights of the point before. Raises InputError where the numbers give
        no image.
        """
        n, own = self.unknowns.count, self.reflections
        photons = [model.photons(matrix @ x) for model, matrix in zip(self.models, self.matrices)]
        images = tuple(image for image, _ in photons)
        if factors is None:
            factors = self.best_factors(images) if before is None else self.following_factors(images, before)
        gradient, normal = self.restraints.weights * (self.restraints.values - x), np.diag(self.restraints.weights)
        own_gradient, own_normal, across = np.zeros(own), np.zeros(own), np.zeros((own, n))
        total = np.zeros(own)
        for model, image in zip(self.models, images):
            model.boxes.add_to(total, np.abs(image))
        spread_over = self.shown**2 / np.maximum(total, NOTHING)
        restrained = float(self.restraints.weights @ (self.restraints.values - x) ** 2) / 2.0
        compared, loss, all_fitted, all_weights = restrained, restrained, [], []
        for number, (model, matrix) in enumerate(zip(self.models, self.matrices)):
            boxes, (image, derivative) = model.boxes, photons[number]
            if not len(boxes.data):
                all_fitted.append(Fitted(*np.zeros((4, 0))))
                all_weights.append(np.zeros(0))
                continue
            of_pixel = factors[boxes.reflection][boxes.box]
            bragg = image * of_pixel
            start = self.levels[number] if before is None else before.fitted[number].background
            spot = spread_over[boxes.reflection][boxes.box] * np.abs(image)
            fitted = Fitted(bragg, start, spot, least_background(boxes))
            if self.fixed_weights is not None:
                weight = self.fixed_weights[number]
                fitted = fitted._replace(background=background(boxes, terms_of(boxes, self.rules), bragg, weight))
            else:
                fitted = fit_background(boxes, fitted, self.rules)
                weight = weights(boxes, fitted, self.rules)
            if before is not None:
                old = before.weight[number]
                level = background(boxes, terms_of(boxes, self.rules), bragg, old)
                compared += float(old @ (boxes.data - bragg - level) ** 2) / 2.0
            loss += float(weight @ (boxes.data - fitted.mean) ** 2) / 2.0
            sums = sums_of(boxes, fitted, derivative * of_pixel[:, np.newaxis], image, weight, self.rules)
            gradient += matrix.T @ sums.gradient
            normal += matrix.T @ sums.normal @ matrix
            np.add.at(own_gradient, boxes.reflection, sums.own_gradient)
            np.add.at(own_normal, boxes.reflection, sums.own_normal)
            np.add.at(across, boxes.reflection, sums.across @ matrix)
            all_fitted.append(fitted)
            all_weights.append(weight)
        if not self.free_factors:
            own_gradient, own_normal, across = np.zeros(own), np.zeros(own), np.zeros((own, n))
        of_reflections = None
        if self.spread is not None:
            of_reflections = strengths(self.models, images, all_fitted, factors, self.rules, self.spread)
            changes = np.zeros((own, n))
            for model, (_, derivative), matrix in zip(self.models, photons, self.matrices):
                model.boxes.add_to(changes, derivative @ matrix)
            gradient += changes.T @ of_reflections.score
            normal += (changes * of_reflections.information[:, np.newaxis]).T @ changes
            loss += of_reflections.loss(of_reflections.calculated)
            if before is not None and before.strengths is not None:
                compared += before.strengths.loss(of_reflections.calculated)
        of_pixels = images, tuple(all_fitted), tuple(all_weights)
        ended = Point(x, factors, *of_pixels, loss, gradient, normal, own_gradient, own_normal, across, of_reflections)
        if not (np.isfinite(loss) and np.isfinite(gradient).all() and np.isfinite(normal).all()):
            raise InputError("loss: it, or a derivative of it, is not finite; allowed: smaller data or amplitudes")
        return (loss if before is None else compared), ended

    def best_factors(self, images: Sequence[np.ndarray]) -> np.ndarray:
        """The factors (reflections,) that fit images of the crystal (pixels,) best, not below 0, by weights from the data."""
        if not self.free_factors:
            return np.ones(self.reflections)
        square, product = np.zeros(self.reflections), np.zeros(self.reflections)
        for number, (model, image, level) in enumerate(zip(self.models, images, self.levels)):
            boxes = model.boxes
            if self.fixed_weights is None:
                weight = 1.0 / (np.maximum(boxes.data, level) + self.rules.readout**2)
            else:
                weight = self.fixed_weights[number]
            boxes.add_to(square, weight * image * image)
            boxes.add_to(product, weight * image * (boxes.data - level))
        return np.maximum(product, 0.0) / np.maximum(square, NOTHING)

    def following_factors(self, images: Sequence[np.ndarray], before: Point) -> np.ndarray:
        """The factors (reflections,) that fit images of the crystal (pixels,) best, with the weights of the point before.

        Where the images tell nothing of a reflection, its factor stays.
        """
        if not self.free_factors:
            return before.factors
        right, own = np.zeros(self.reflections), np.zeros(self.reflections)
        for model, image, weight in zip(self.models, images, before.weight):
            if len(image):
                of_boxes = factor_sums(model.boxes, image, weight, self.rules)
                for total, part in zip((right, own), of_boxes):
                    np.add.at(total, model.boxes.reflection, part)
        known = own > LEAST_KNOWN * own.max(initial=NOTHING)
        return np.where(known, right / np.where(known, own, 1.0), before.factors)

    def search(
        self,
        start: Point,
        free: np.ndarray,
        most: int,
        enough: float = ENOUGH,
        accepted: Callable[[int, Point], None] = lambda count, point: None,
    ) -> End:
        """Search from a point over some of the numbers, `free` (n,), for at most `most` evaluations (S6).

        enough: the gain of a step below which it has converged. A step back is made half as long, the next ones, too: where few
        photons are expected, weights follow each step, and two points could follow each other for ever.
        """
        point, damping, evaluations, length, last = start, FIRST_DAMPING, 0, 1.0, np.zeros(len(start.x))
        while True:
            step = length * (self._step(point, free, damping) - point.x)
            promised = self._promised(point, free)
            if promised < enough:
                return End(point, True, evaluations, f"converged after {evaluations} evaluations")
            if evaluations >= most:
                return End(point, False, evaluations, f"did not converge within {evaluations} evaluations")
            if damping > MOST_DAMPING:
                return End(point, False, evaluations, f"found no way down after {evaluations} evaluations")
            evaluations += 1
            try:
                compared, candidate = self.point(point.x + step, None, point)
            except InputError:
                compared, candidate = np.inf, point
            if compared < point.loss:
                gained = point.loss - compared
                back = float(step @ self.reduced(point)[1] @ last) < 0.0
                length, last = max(length / 2.0, SHORTEST) if back else min(2.0 * length, 1.0), step
                point = candidate
                damping = max(damping / (10.0 if gained > promised / 4.0 else 2.0), LEAST_DAMPING)
                accepted(evaluations, point)
            else:
                damping *= 6.0

    def reduced(self, point: Point, damping: float = 0.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Gradient (n,) and matrix (n, n) by the numbers, after the factors have followed; and the inverse own normals."""
        known = point.own_normal > LEAST_KNOWN * point.own_normal.max(initial=NOTHING)
        inverse = np.where(known, 1.0 / np.where(known, point.own_normal * (1.0 + damping), 1.0), 0.0)
        gradient = point.gradient - point.across.T @ (inverse * point.own_gradient)
        normal = point.normal - (point.across * inverse[:, np.newaxis]).T @ point.across
        return gradient, normal, inverse

    def _can_move(self, point: Point, free: np.ndarray, gradient: np.ndarray) -> np.ndarray:
        """Which numbers a step may change (n,): those that are free, known, and not pushed over their bounds."""
        at_low, at_high = at_bounds(self.unknowns, point)
        outwards = (at_low & (gradient < 0.0)) | (at_high & (gradient > 0.0))
        return free & ~outwards & (np.diag(point.normal) > NOTHING)

    def _promised(self, point: Point, free: np.ndarray) -> float:
        """By how much the loss falls in a step without damping, if it were a parabola."""
        gradient, normal, inverse = self.reduced(point)
        move = np.flatnonzero(self._can_move(point, free, gradient))
        by_factors = float(inverse @ point.own_gradient**2) / 2.0
        if not len(move):
            return by_factors
        return by_factors + float(gradient[move] @ _solved(normal[np.ix_(move, move)], gradient[move], 0.0)) / 2.0

    def _step(self, point: Point, free: np.ndarray, damping: float) -> np.ndarray:
        """The numbers (n,) after a step with some damping, within the bounds."""
        gradient, normal, _ = self.reduced(point, damping)
        move = np.flatnonzero(self._can_move(point, free, gradient))
        change = np.zeros(len(point.x))
        if len(move):
            change[move] = _solved(normal[np.ix_(move, move)], gradient[move], damping)
        return moved(self.unknowns, point.x, change)


def moved(unknowns: Unknowns, x: np.ndarray, change: np.ndarray) -> np.ndarray:
    """The numbers (n,) after a change (n,), within their bounds; sizes at most doubled or halved, spreads by their squares."""
    low, high = unknowns.bounds()
    sizes = ~unknowns.moving() & (low >= 0.0)
    spreads = np.concatenate([np.full(block.count, block.variable.key.startswith(SPREAD)) for block in unknowns.blocks])
    after = np.clip(np.where(spreads, np.sqrt(np.maximum(x**2 + 2.0 * x * change, 0.0)), x + change), low, high)
    after[sizes] = np.clip(after[sizes], x[sizes] / FACTOR, np.maximum(x[sizes] * FACTOR, 1e-6))
    return after


def at_bounds(unknowns: Unknowns, point: Point) -> tuple[np.ndarray, np.ndarray]:
    """Which numbers are at their lower and which at their upper bound (n,)."""
    low, high = unknowns.bounds()
    near = AT_BOUND / np.sqrt(np.maximum(np.diag(point.normal), NOTHING))
    return (point.x <= low) | (point.x - low < near), (point.x >= high) | (high - point.x < near)


def _solved(normal: np.ndarray, right: np.ndarray, damping: float) -> np.ndarray:
    """The solution x of normal x = right, the diagonal raised by a fraction `damping`; without directions of no information."""
    scales, values, vectors = directions(normal)
    known = values > 1e-10
    along = vectors.T @ (right / scales)
    return (vectors[:, known] @ (along[known] / (values[known] + damping))) / scales


def directions(normal: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scales (n,) by which a matrix (n, n) gets the diagonal 1, and its eigenvalues (n,) and vectors (n, n) then."""
    scales = np.sqrt(np.maximum(np.diag(normal), NOTHING))
    return scales, *np.linalg.eigh(normal / scales / scales[:, np.newaxis])
