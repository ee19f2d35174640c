"""The loss of a frame as one of its photons: of a kind that kernels know, or of a user's own (R3)."""

from __future__ import annotations

import numpy as np

from adjoint.losses import Pixelwise


class KernelLoss(Pixelwise):
    """A loss of photons (slow, fast) of a kind that kernels know (A13); data and weight are taken as they are."""

    def __init__(self, kind: int, data: np.ndarray, weight: np.ndarray):
        super().__init__(data, weight)
        self.kind = kind


class UserLoss:
    """A user's own loss of the mean, as a loss of photons: mean = factor * photons + background (slow, fast).

    factor and background are in units of the data.
    """

    def __init__(self, loss, factor: float, background: np.ndarray):
        self.loss, self.factor, self.background = loss, factor, background

    def value(self, image):
        """The loss of photons (slow, fast)."""
        return self.loss.value(self.factor * image + self.background)

    def derivative(self, image):
        """The derivative of the loss with respect to the photons (slow, fast)."""
        return self.factor * np.asarray(self.loss.derivative(self.factor * image + self.background))

    def curvature(self, image):
        """The expected second derivative of the loss with respect to the photons (slow, fast)."""
        return self.factor**2 * np.asarray(self.loss.curvature(self.factor * image + self.background))
