"""Losses of the photons of a frame: one that the kernels know, and one of a user's own (R3)."""

from __future__ import annotations

import numpy as np

from adjoint.losses import Pixelwise


class Of(Pixelwise):
    """A loss that the kernels know, of data that have been checked."""

    def __init__(self, kind: int, data: np.ndarray, weight: np.ndarray):
        super().__init__(data, weight)
        self.kind = kind


class OfMean:
    """A user's own loss, of a mean that is `gained` times the photons plus `below`."""

    def __init__(self, loss, gained: float, below: np.ndarray):
        self.loss, self.gained, self.below = loss, gained, below

    def value(self, image):
        """The loss of photons (slow, fast)."""
        return self.loss.value(self.gained * image + self.below)

    def derivative(self, image):
        """Its derivative with respect to them (slow, fast)."""
        return self.gained * np.asarray(self.loss.derivative(self.gained * image + self.below))

    def curvature(self, image):
        """Its expected second derivative with respect to them (slow, fast)."""
        return self.gained**2 * np.asarray(self.loss.curvature(self.gained * image + self.below))
