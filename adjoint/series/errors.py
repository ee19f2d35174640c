"""Uncertainties of a series: from counting alone, and from how deviations of reflections and of images hang together (S7)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from adjoint.refinement import uncertainties
from adjoint.series.reduction import sums_of
from adjoint.series.search import Point, Problem

DIFFERENT = 1.5
"""The ratio from which on the two uncertainties of a number differ, so that both are printed."""


class Errors(NamedTuple):
    """Uncertainties of the numbers (n,) and factors (reflections,) of a series (S7).

    counting: uncertainty from the information in the weights, with its covariance and sentences. covariance (n, n): of the
    sandwich, which holds if the model is not exact. sigma (n,): the larger one of both. factors (reflections,): standard
    deviations of the factors, for known numbers.
    """

    counting: uncertainties.Uncertainty
    covariance: np.ndarray
    sigma: np.ndarray
    factors: np.ndarray

    @property
    def differ(self) -> bool:
        """Whether the two differ for a number."""
        with np.errstate(invalid="ignore"):
            return bool(np.any(self.sigma > DIFFERENT * self.counting.sigma))


def errors(problem: Problem, point: Point) -> Errors:
    """The uncertainties at a point where a search has ended (S7)."""
    gradient, normal, inverse = problem.reduced(point, 0.0)
    labels, (low, high) = problem.unknowns.labels(), problem.unknowns.bounds()
    deviation = 1.0 / np.sqrt(np.maximum(np.diag(normal), 1e-300))
    at_bound = (point.x - low < 0.01 * deviation) | (high - point.x < 0.01 * deviation)
    counting = uncertainties.uncertainty(normal, labels, at_bound, np.zeros(len(labels), dtype=bool))
    covariance = np.nan_to_num(counting.covariance)
    by_reflection, by_image = scores(problem, point, inverse)
    parts = [_sandwich(covariance, scores, len(labels)) for scores in (by_reflection, by_image)]
    with np.errstate(invalid="ignore"):
        deviations = [np.sqrt(np.maximum(np.diag(part), 0.0)) for part in parts]
        largest = max(range(2), key=lambda i: float(np.sum(deviations[i] > deviations[1 - i])))
        sigma = np.fmax(np.fmax(*deviations), counting.sigma)
    sigma = np.where(np.isfinite(counting.sigma), sigma, counting.sigma)
    with np.errstate(divide="ignore"):
        factors = np.where(point.own_normal > 0.0, 1.0 / np.sqrt(np.maximum(point.own_normal, 1e-300)), np.inf)
    return Errors(counting, parts[largest], sigma, factors)


def scores(problem: Problem, point: Point, inverse: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The parts of each reflection (reflections, n) and of each image (images, n) in the gradient, after factors followed.

    inverse (reflections,): that of the own normal of each factor.
    """
    count = problem.unknowns.count
    by_reflection, by_image = np.zeros((problem.reflections, count)), np.zeros((len(problem.models), count))
    followed = point.across * inverse[:, np.newaxis]
    for number, (model, matrix) in enumerate(zip(problem.models, problem.matrices)):
        boxes = model.boxes
        if not len(boxes.data):
            continue
        image, derivative = model.photons(matrix @ point.x)
        of_pixel = point.factors[boxes.reflection][boxes.box]
        sums = sums_of(
            boxes, point.fitted[number], derivative * of_pixel[:, np.newaxis], image, point.weight[number], problem.rules
        )
        of_boxes = sums.scores @ matrix - followed[boxes.reflection] * sums.own_gradient[:, np.newaxis]
        np.add.at(by_reflection, boxes.reflection, of_boxes)
        by_image[number] = of_boxes.sum(axis=0)
    return by_reflection, by_image


def _sandwich(covariance: np.ndarray, scores: np.ndarray, count: int) -> np.ndarray:
    """The covariance (n, n) by the scatter of the parts of clusters (clusters, n) in the gradient, of which n are fitted."""
    used = (scores != 0.0).any(axis=1)
    clusters = int(used.sum())
    if clusters <= count + 1:
        return np.full_like(covariance, np.nan)
    return covariance @ (scores[used].T @ scores[used]) @ covariance * clusters / (clusters - count)
