"""Uncertainties of a series: from counting alone, and from how deviations of reflections and of images hang together (S7)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from adjoint.refinement import uncertainties
from adjoint.refinement.algebra import NOTHING
from adjoint.series.reduction import sums_of
from adjoint.series.search import Point, Problem, at_bounds

DIFFERENT = 1.5
"""The ratio from which on the two uncertainties of a number differ, so that both are printed."""


class Errors(NamedTuple):
    """Uncertainties of the numbers (n,) and factors (reflections,) of a series (S7).

    counting: uncertainty from the information in the weights, with its covariance and sentences. covariance (n, n): of the
    sandwich, which holds if the model is not exact. sigma (n,): the larger one of both. factors (reflections,): standard
    deviations of the factors, relative to the common scale of all intensities, which no image knows.
    """

    counting: uncertainties.Uncertainty
    covariance: np.ndarray
    sigma: np.ndarray
    factors: np.ndarray

    @property
    def differ(self) -> np.ndarray:
        """For which numbers (n,) the two differ."""
        return np.isfinite(self.sigma) & (self.sigma > DIFFERENT * self.counting.sigma)


def errors(problem: Problem, point: Point) -> Errors:
    """The uncertainties at a point where a search has ended (S7)."""
    gradient, normal, inverse = problem.reduced(point)
    labels, at_bound = problem.unknowns.labels(), np.logical_or(*at_bounds(problem.unknowns, point))
    counting = uncertainties.uncertainty(normal, labels, at_bound, np.zeros(len(labels), dtype=bool))
    covariance = np.nan_to_num(counting.covariance)
    by_reflection, by_image, photons = scores(problem, point, inverse)
    parts = [_sandwich(covariance, scores, len(labels)) for scores in (by_reflection, by_image)]
    with np.errstate(invalid="ignore"):
        deviations = [np.sqrt(np.maximum(np.diag(part), 0.0)) for part in parts]
        largest = max(range(2), key=lambda i: float(np.sum(deviations[i] > deviations[1 - i])))
        sigma = np.fmax(np.fmax(*deviations), counting.sigma)
    sigma = np.where(np.isfinite(counting.sigma), sigma, counting.sigma)
    return Errors(counting, parts[largest], sigma, factor_deviations(point, covariance, inverse, photons))


def factor_deviations(point: Point, covariance: np.ndarray, inverse: np.ndarray, photons: np.ndarray) -> np.ndarray:
    """The standard deviations (reflections,) of factors relative to their common scale; infinite where nothing is known (S7).

    They are those at known numbers, whose squares are inverse (reflections,), that of one photon, since a count of n tells a
    mean between n - sqrt(n) and n + sqrt(n + 1), and those that follow from the numbers' covariance (n, n), after a change of
    all factors in common, which their weighted mean tells, has been taken out. photons (reflections,): those of the factor 1.
    """
    strength = float(point.own_normal @ point.factors**2)
    followed = point.across * inverse[:, np.newaxis]
    common = (point.own_normal * point.factors) @ followed / max(strength, NOTHING)
    followed = followed - np.outer(point.factors, common)
    one_photon = 1.0 / np.maximum(photons, NOTHING)
    at_known = inverse + one_photon**2
    variance = at_known - point.factors**2 / max(strength, NOTHING) + np.einsum("rn,nm,rm->r", followed, covariance, followed)
    return np.where(inverse > 0.0, np.sqrt(np.maximum(variance, 0.0)), np.inf)


def scores(problem: Problem, point: Point, inverse: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The parts of each reflection (reflections, n) and of each image (images, n) in the gradient, after factors followed.

    The third is the photons of each reflection with the factor 1 (reflections,). inverse (reflections,): that of the own
    normal of each factor.
    """
    photons = np.zeros(problem.reflections)
    count = problem.unknowns.count
    by_reflection, by_image = np.zeros((problem.reflections, count)), np.zeros((len(problem.models), count))
    followed = point.across * inverse[:, np.newaxis]
    for number, (model, matrix) in enumerate(zip(problem.models, problem.matrices)):
        boxes = model.boxes
        if not len(boxes.data):
            continue
        image, derivative = model.photons(matrix @ point.x)
        boxes.add_to(photons, image)
        of_pixel = point.factors[boxes.reflection][boxes.box]
        sums = sums_of(
            boxes, point.fitted[number], derivative * of_pixel[:, np.newaxis], image, point.weight[number], problem.rules
        )
        of_boxes = sums.scores @ matrix - followed[boxes.reflection] * sums.own_gradient[:, np.newaxis]
        if point.strengths is not None:
            score = point.strengths.score[boxes.reflection][:, np.newaxis]
            of_boxes = of_boxes + score * (boxes.sums(derivative) @ matrix)
        np.add.at(by_reflection, boxes.reflection, of_boxes)
        by_image[number] = of_boxes.sum(axis=0)
    return by_reflection, by_image, photons


def _sandwich(covariance: np.ndarray, scores: np.ndarray, count: int) -> np.ndarray:
    """The covariance (n, n) by the scatter of the parts of clusters (clusters, n) in the gradient, of which n are fitted."""
    used = (scores != 0.0).any(axis=1)
    clusters = int(used.sum())
    if clusters <= count + 1:
        return np.full_like(covariance, np.nan)
    return covariance @ (scores[used].T @ scores[used]) @ covariance * clusters / (clusters - count)
