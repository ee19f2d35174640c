"""What the strengths of reflections tell of a crystal, if their intensities are known about: a quasi-likelihood (S12).

The intensity of a reflection is the expected one times a factor whose mean is 1 and whose standard deviation is stated. A
reflection that is stronger or weaker than calculated moves the numbers of the crystal by as much as this deviation leaves.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from adjoint.refinement.algebra import NOTHING
from adjoint.series.images import Model
from adjoint.series.reduction import Fitted, Rules, factor_sums, variance

LEAST_KNOWN = 1e-12
"""Of the largest information about the photons of a reflection, the part below which there is none about another."""

ROUNDS = 30
"""How often the weights of a mean follow it."""


class Strengths(NamedTuple):
    """The photons of reflections, those of one that is not known being 0 with the weight 0 (S12).

    observed, calculated (reflections,): as the pixels tell at the calculated place, and with the expected intensity. noise
    (reflections,): the variance of the observed by counting. weight (reflections,): Huber's, 0 to 1. spread: the standard
    deviation of an intensity, over the expected one.
    """

    observed: np.ndarray
    calculated: np.ndarray
    noise: np.ndarray
    weight: np.ndarray
    spread: float

    @property
    def variance(self) -> np.ndarray:
        """The variance (reflections,) of observed less calculated photons: of counting, and of the intensity."""
        return self.noise + (self.spread * self.calculated) ** 2

    @property
    def information(self) -> np.ndarray:
        """The weight (reflections,) of the square of a deviation."""
        return self.weight / np.where(self.weight > 0.0, self.variance, 1.0)

    @property
    def score(self) -> np.ndarray:
        """Minus the derivative (reflections,) of loss() by the calculated photons."""
        return self.information * (self.observed - self.calculated)

    @property
    def factors(self) -> np.ndarray:
        """The most probable factors (reflections,) of expected intensities, by these and by the observed photons."""
        used = self.weight > 0.0
        told = self.spread**2 * self.calculated * (self.observed - self.calculated) / self.variance
        return np.maximum(1.0 + np.where(used, told, 0.0), 0.0)

    @property
    def chi_squared(self) -> float:
        """The mean of the squares of deviations over their variances: 1 where the crystal is right; NaN without reflections."""
        used = self.weight > 0.0
        squares = (self.observed - self.calculated)[used] ** 2 / self.variance[used]
        return float(squares.mean()) if used.any() else float("nan")

    def loss(self, calculated: np.ndarray) -> float:
        """Minus the quasi-likelihood of calculated photons (reflections,), up to a constant, with this noise and weight.

        It is the integral of (t - observed) / (noise + spread^2 t^2), whose derivative is minus the score.
        """
        used = self.weight > 0.0
        observed, noise, root = self.observed[used], self.noise[used], np.sqrt(self.noise[used])
        ratio = self.spread * calculated[used] / root
        whole = np.log1p(ratio**2) / (2.0 * self.spread**2) - observed / (self.spread * root) * np.arctan(ratio)
        constant = np.log(noise) / (2.0 * self.spread**2)
        return float(self.weight[used] @ (whole + constant))


def strengths(
    models: Sequence[Model],
    images: Sequence[np.ndarray],
    fitted: Sequence[Fitted],
    factors: np.ndarray,
    rules: Rules,
    spread: float,
) -> Strengths:
    """The strengths of reflections at a point: images (pixels,) of the crystal, and what is expected in these pixels.

    Counting is that of the expected intensity: the variance of a reflection that comes out weak is not less by that.
    """
    calculated, known = np.zeros((2, len(factors)))
    counting = rules._replace(misfit=0.0)
    for model, image, of_pixels in zip(models, images, fitted):
        if not len(image):
            continue
        boxes = model.boxes
        boxes.add_to(calculated, image)
        weight = 1.0 / variance(of_pixels._replace(bragg=image), counting)
        np.add.at(known, boxes.reflection, factor_sums(boxes, image, weight, rules)[1])
    used = (known > LEAST_KNOWN * known.max(initial=NOTHING)) & (calculated > 0.0)
    noise = np.where(used, calculated**2 / np.where(used, known, 1.0), 1.0)
    observed = np.where(used, factors * calculated, 0.0)
    deviation = np.abs(observed - calculated) / np.sqrt(noise + (spread * calculated) ** 2)
    weight = np.where(used, np.minimum(1.0, rules.influence / np.maximum(deviation, 1e-300)), 0.0)
    return Strengths(observed, calculated, noise, weight, spread)


def mean_factor(of: Strengths, chosen: np.ndarray) -> float:
    """The mean factor of the intensities of chosen reflections (reflections,): what the scale is to be multiplied by.

    It solves the equation of the quasi-likelihood for a common factor of the calculated photons.
    """
    used = chosen & (of.weight > 0.0)
    observed, calculated, noise = of.observed[used], of.calculated[used], of.noise[used]
    if not calculated.size or not observed.sum() > 0.0:
        return 1.0
    mean = float(observed.sum() / calculated.sum())
    for _ in range(ROUNDS):
        weight = calculated / (noise + (of.spread * mean * calculated) ** 2)
        mean = float(max(weight @ observed, 0.0) / max(weight @ calculated, NOTHING))
    return mean if mean > 0.0 else 1.0
