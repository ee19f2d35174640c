"""Normal equations of an image, from which the background of every shoebox is eliminated (S4, S5)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from adjoint.series.shoeboxes import Shoeboxes

CLIPPED, BRIGHTER = 6, 3.0
"""How often bright pixels are left out of the start of a background, and by how many standard deviations they exceed it."""

SPOT_AREA = 12.0
"""Pixels over which the photons of a spot are taken to be spread, where weights are by data."""

BEYOND = 1.0
"""Photons: a deviation is an outlier only if it exceeds this, too, so that single photons on no background never are."""


class Rules(NamedTuple):
    """How pixels count (S4).

    readout: standard deviation of the read-out, in photons. misfit: the standard deviation of the model of a spot, as a
    fraction of its photons. influence: standard deviations beyond which a deviation counts as much as one at them, and no
    more (Huber). plane: whether the background of a box is a plane, and not a constant. by_data: whether all pixels of a box
    weigh the same, by what the box holds: far from the end, weights that follow the model would lead a search away.
    """

    readout: float = 0.0
    misfit: float = 0.0
    influence: float = 4.0
    plane: bool = False
    by_data: bool = False


class Sums(NamedTuple):
    """The sums of an image over its pixels, without the backgrounds of its boxes (S5).

    gradient (p,), normal (p, p): by the numbers of the image. The factor of the intensity of each box: own_gradient (boxes,),
    own_normal (boxes,), across (boxes, p). scores (boxes, p): the part of each box in the gradient.
    """

    gradient: np.ndarray
    normal: np.ndarray
    own_gradient: np.ndarray
    own_normal: np.ndarray
    across: np.ndarray
    scores: np.ndarray


class Fitted(NamedTuple):
    """What is expected in the pixels of an image: the crystal's photons and the background (pixels,).

    spot (pixels,): the photons that the whole reflection shows in all of its images, squared, and spread over the pixels like
    the crystal's photons. The variance of a misfit is a part of it: that of the sum of all pixels of a reflection is a fraction
    of its photons, and they count relative to each other as they do by counting, so that the sum of the photons is met.
    least (pixels,): the least background that is taken to cause noise.
    """

    bragg: np.ndarray
    background: np.ndarray
    spot: np.ndarray
    least: np.ndarray

    @property
    def mean(self) -> np.ndarray:
        """The expected photons (pixels,)."""
        return self.bragg + self.background


def least_background(boxes: Shoeboxes) -> np.ndarray:
    """The background (pixels,) of one photon in the whole box: if the box shows none, that many may still be expected."""
    return (1.0 / boxes.sums(np.ones(len(boxes.data))))[boxes.box]


def variance(fitted: Fitted, rules: Rules) -> np.ndarray:
    """The variance of each pixel (pixels,): of counted photons, of the read-out, and of the model.

    A reflection whose intensity comes out below zero, as weak ones do by chance, has the noise of its background.
    """
    counted = np.maximum(fitted.background, fitted.least) + np.maximum(fitted.bragg, 0.0)
    return counted + rules.readout**2 + rules.misfit**2 * fitted.spot


def weights(boxes: Shoeboxes, fitted: Fitted, rules: Rules) -> np.ndarray:
    """The weight of each pixel (pixels,): the inverse of its variance, less for outliers (S4).

    A spot that is a part of a pixel off puts photons of its brightest pixel into others: whether a pixel is an outlier is
    decided with the misfit of the brightest one.
    """
    spread = variance(fitted, rules)
    brightest = fitted._replace(spot=np.maximum.reduceat(fitted.spot, boxes.starts)[boxes.box])
    return influence(boxes.data - fitted.mean, variance(brightest, rules), rules) / spread


def weights_by_data(
    boxes: Shoeboxes, level: np.ndarray, photons: np.ndarray, boxes_of_each: np.ndarray, rules: Rules
) -> np.ndarray:
    """Weights (pixels,), the same in all pixels of a box, from the photons in it and the area of a typical spot (S4).

    level (pixels,): the start of the background. photons, boxes_of_each (reflections,): what each reflection shows in all of
    its boxes, and how many these are.
    """
    own = np.maximum(boxes.sums(boxes.data - level), 0.0)
    misfit = (rules.misfit * photons[boxes.reflection]) ** 2 / np.maximum(boxes_of_each[boxes.reflection], 1.0)
    return 1.0 / (level + rules.readout**2 + ((own + misfit) / SPOT_AREA)[boxes.box])


def scale_of(boxes: Shoeboxes, fitted: Fitted, weight: np.ndarray) -> tuple[float, float]:
    """The factor of the photons of an image's crystal that fits best, and its standard deviation; NaN and inf without any."""
    information = float(weight @ fitted.bragg**2)
    if not information > 0.0:
        return float("nan"), float("inf")
    scale = 1.0 + float(weight @ (fitted.bragg * (boxes.data - fitted.mean))) / information
    return scale, float(1.0 / np.sqrt(information))


def influence(residual: np.ndarray, spread: np.ndarray, rules: Rules) -> np.ndarray:
    """By how much an outlier counts less, 0 to 1 (pixels,): Huber's function of the deviation in standard deviations."""
    limit = rules.influence * np.sqrt(spread + BEYOND**2)
    return np.minimum(1.0, limit / np.maximum(np.abs(residual), 1e-300))


def terms_of(boxes: Shoeboxes, rules: Rules) -> np.ndarray:
    """The terms of the background of a box in each pixel (pixels, 1 or 3): a constant, or a plane."""
    constant = np.ones(len(boxes.data))
    return np.stack([constant, boxes.fast, boxes.slow], axis=1) if rules.plane else constant[:, np.newaxis]


def background(boxes: Shoeboxes, terms: np.ndarray, bragg: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """The background (pixels,) that fits each box best, beside the crystal's photons; weight (pixels,)."""
    weighted, inverse = _weighted_terms(boxes, terms, weight)
    factors = np.einsum("bij,bj->bi", inverse, boxes.sums(weighted * (boxes.data - bragg)[:, np.newaxis]))
    return np.einsum("pi,pi->p", terms, factors[boxes.box])


def fit_background(boxes: Shoeboxes, first: Fitted, rules: Rules, times: int = 4) -> Fitted:
    """What is expected with the background that fits, whose weights follow from it; first: that with another background."""
    terms, fitted = terms_of(boxes, rules), first
    for _ in range(times):
        fitted = fitted._replace(background=background(boxes, terms, first.bragg, weights(boxes, fitted, rules)))
    return fitted


def first_background(boxes: Shoeboxes) -> np.ndarray:
    """A start of the background (pixels,): the mean of each box, without pixels that are brighter than noise explains."""
    if not len(boxes.data):
        return np.zeros(0)
    kept, least = np.ones(len(boxes.data)), least_background(boxes)
    for _ in range(CLIPPED):
        level = (boxes.sums(boxes.data * kept) / np.maximum(boxes.sums(kept), 1.0))[boxes.box]
        kept = (boxes.data <= level + BRIGHTER * np.sqrt(np.maximum(level, 0.0) + BEYOND**2)).astype(np.float64)
    return np.maximum(level, least)


def sums_of(
    boxes: Shoeboxes, fitted: Fitted, derivative: np.ndarray, profile: np.ndarray, weight: np.ndarray, rules: Rules
) -> Sums:
    """The sums of an image (S5).

    derivative (pixels, p): of the crystal's photons by the numbers of the image; profile (pixels,): by the factor of the
    intensity of the box; weight (pixels,).
    """
    terms, residual, p = terms_of(boxes, rules), boxes.data - fitted.mean, derivative.shape[1]
    columns = np.concatenate([derivative, profile[:, np.newaxis]], axis=1)
    weighted, (weighted_terms, inverse) = columns * weight[:, np.newaxis], _weighted_terms(boxes, terms, weight)
    by_term = boxes.sums(weighted_terms[:, :, np.newaxis] * columns[:, np.newaxis, :])
    of_terms = boxes.sums(weighted_terms * residual[:, np.newaxis])
    explained = np.einsum("bij,bjc->bic", inverse, by_term)
    scores = boxes.sums(weighted * residual[:, np.newaxis]) - np.einsum("bic,bi->bc", explained, of_terms)
    own = boxes.sums(weighted * profile[:, np.newaxis]) - np.einsum("bic,bi->bc", explained, by_term[:, :, p])
    normal = weighted[:, :p].T @ derivative - np.einsum("bic,bid->cd", explained[:, :, :p], by_term[:, :, :p])
    return Sums(scores[:, :p].sum(axis=0), (normal + normal.T) / 2.0, scores[:, p], own[:, p], own[:, :p], scores[:, :p])


def factor_sums(boxes: Shoeboxes, profile: np.ndarray, weight: np.ndarray, rules: Rules) -> tuple[np.ndarray, np.ndarray]:
    """Right side and matrix (boxes,) of the equation of the factor of each box, without the background (S5).

    profile (pixels,): the crystal's photons with the factor 1; weight (pixels,).
    """
    terms, columns = terms_of(boxes, rules), np.stack([boxes.data, profile], axis=1)
    weighted, inverse = _weighted_terms(boxes, terms, weight)
    of_terms = boxes.sums(weighted[:, :, np.newaxis] * columns[:, np.newaxis, :])
    explained = np.einsum("bi,bij,bjc->bc", of_terms[:, :, 1], inverse, of_terms)
    by_data, by_profile = (boxes.sums((weight * profile)[:, np.newaxis] * columns) - explained).T
    return by_data, by_profile


def _weighted_terms(boxes: Shoeboxes, terms: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The terms of the background times the weight (pixels, q), and the inverse of their matrix in each box (boxes, q, q)."""
    weighted = terms * weight[:, np.newaxis]
    return weighted, _inverse(boxes.sums(weighted[:, :, np.newaxis] * terms[:, np.newaxis, :]))


def _inverse(matrices: np.ndarray) -> np.ndarray:
    """The inverses of symmetric matrices (boxes, n, n), of which one may be singular: without what it does not know."""
    if matrices.shape[-1] == 1:
        return 1.0 / np.maximum(matrices, 1e-300)
    return np.linalg.pinv(matrices, rcond=1e-10, hermitian=True)
