"""The loss of a frame as one of its photons: of a kind that kernels know, or of a user's own (R3)."""

from __future__ import annotations

import numpy as np

from adjoint.losses import Pixelwise, field
from nbnumba.setup.sheet import Sheet


class KernelLoss(Pixelwise):
    """A loss of photons (slow, fast) of a kind that kernels know (A13); data and weight are taken as they are."""

    def __init__(self, kind: int, data: np.ndarray, weight: np.ndarray, sheet: Sheet | None = None):
        super().__init__(data, weight, sheet)
        self.kind = kind


class UserLoss:
    """A user's own loss of the mean, as a loss of photons: mean = factor * photons + background, a sheet (slow, fast).

    factor and background are in units of the data. sheet: the shapes of the panels. Images are what users have of a sheet.
    """

    def __init__(self, loss, factor: float, background: np.ndarray, sheet: Sheet):
        self.loss, self.factor, self.background, self.sheet = loss, factor, background, sheet

    def _mean(self, image):
        """The mean of an image of photons."""
        return self.sheet.image(self.factor * self.sheet.sheet("loss: an image", image, 0.0) + self.background)

    def value(self, image):
        """The loss of photons."""
        return self.loss.value(self._mean(image))

    def derivative(self, image):
        """The derivative of the loss with respect to the photons."""
        slopes = field("loss: derivative", self.loss.derivative(self._mean(image)), self.sheet)
        return self.sheet.image(self.factor * slopes)

    def curvature(self, image):
        """The expected second derivative of the loss with respect to the photons."""
        curvatures = field("loss: curvature", self.loss.curvature(self._mean(image)), self.sheet)
        return self.sheet.image(self.factor**2 * curvatures)
