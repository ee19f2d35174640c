"""Losses: objects with value and derivative with respect to the image; Gaussian and Poisson (specs/adjoint.md, A13)."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from adjoint.stages.loss import GAUSSIAN, POISSON, loss_curvature, loss_derivative, loss_value
from nbnumba.errors import InputError

ROWS_AT_ONCE = 64
"""Rows of an image that a value is summed over at once, so that it needs little memory."""


class Loss(Protocol):
    """What a loss has to have. For normal equations it also needs curvature(image) (slow, fast), not below 0."""

    def value(self, image: np.ndarray) -> float:
        """The loss of an image (slow, fast)."""

    def derivative(self, image: np.ndarray) -> np.ndarray:
        """Its derivative with respect to every pixel (slow, fast)."""


class Pixelwise:
    """A loss that is a sum over pixels, of a kind that the kernels know.

    data, weight (slow, fast) float64: what A13 says for the kind. Data that are NaN leave a pixel out.
    """

    kind: int

    def __init__(self, data: np.ndarray, weight: np.ndarray):
        self.data, self.weight = data, weight

    def value(self, image: np.ndarray) -> float:
        """The loss of an image (slow, fast). Raises InputError for counts where none are expected."""
        image, total = self._fitting(image), 0.0
        for row in range(0, len(image), ROWS_AT_ONCE):
            rows = slice(row, row + ROWS_AT_ONCE)
            counts = ~np.isnan(self.data[rows])
            with np.errstate(divide="ignore"):
                each = loss_value(self.kind, image[rows][counts], self.data[rows][counts], self.weight[rows][counts])
            total += float(np.sum(each))
        return checked(total)

    def derivative(self, image: np.ndarray) -> np.ndarray:
        """Its derivative with respect to every pixel (slow, fast); 0 where a pixel is left out."""
        counts = ~np.isnan(self.data)
        image, found = self._fitting(image), np.zeros(self.data.shape)
        found[counts] = loss_derivative(self.kind, image[counts], self.data[counts], self.weight[counts])
        return found

    def curvature(self, image: np.ndarray) -> np.ndarray:
        """The expected second derivative with respect to every pixel (slow, fast); 0 where a pixel is left out."""
        counts = ~np.isnan(self.data)
        image, found = self._fitting(image), np.zeros(self.data.shape)
        found[counts] = loss_curvature(self.kind, image[counts], self.data[counts], self.weight[counts])
        return found

    def counted(self) -> int:
        """How many pixels count."""
        return int(np.count_nonzero(~np.isnan(self.data)))

    def _fitting(self, image):
        image = np.asarray(image, dtype=np.float64)
        if image.shape != self.data.shape:
            raise InputError(f"loss: data of shape {self.data.shape} do not fit an image of {image.shape}; allowed: the same")
        return image


def checked(value: float) -> float:
    """A loss that is a number. Raises InputError."""
    if not np.isfinite(value):
        why = "there are counts where none are expected, or a number is too large"
        raise InputError(f"loss: it is {value}: {why}; allowed: a background above 0 where there are counts")
    return value


class Gaussian(Pixelwise):
    """sum of (I - data)^2 / (2 sigma^2).

    data (slow, fast), photons; sigma: a number or (slow, fast), above 0, infinite where a pixel is left out. Left out are also
    pixels where the mask is 0, where the data are NaN, and from `saturation` on. Raises InputError for what does not fit.
    """

    kind = GAUSSIAN

    def __init__(self, data, sigma=1.0, mask=None, saturation: float | None = None):
        counted = _counted(data, mask, saturation)
        deviation = _field("sigma", sigma, counted.shape)
        if not (deviation > 0.0).all():
            raise InputError("loss: a sigma is not above 0; allowed: positive numbers, infinite to leave a pixel out")
        super().__init__(np.where(np.isinf(deviation), np.nan, counted), 1.0 / (deviation * deviation))


class Poisson(Pixelwise):
    """sum of mu - data + data ln(data / mu), mu = I + background: half of the deviance, minus the logarithm of the likelihood.

    data (slow, fast), counts not below 0; background: a number or (slow, fast), not below 0, photons. Left out are pixels
    where the mask is 0, where the data are NaN, and from `saturation` on. Raises InputError for what does not fit.
    """

    kind = POISSON

    def __init__(self, data, background=0.0, mask=None, saturation: float | None = None):
        counted = _counted(data, mask, saturation)
        if np.nanmin(counted, initial=0.0) < 0.0:
            raise InputError(f"loss: a count of {np.nanmin(counted):g} is not allowed; allowed: counts not below 0, or a mask")
        below = _field("background", background, counted.shape)
        if not ((below >= 0.0) & np.isfinite(below)).all():
            raise InputError("loss: a background is below 0 or not finite; allowed: numbers not below 0")
        super().__init__(counted, below)


def _counted(data, mask, saturation) -> np.ndarray:
    """The data as float64 (slow, fast), NaN where a pixel is left out."""
    try:
        counted = np.array(data, dtype=np.float64)
    except (TypeError, ValueError):
        raise InputError("loss: the data are not numbers; allowed: an image (slow, fast)") from None
    if counted.ndim != 2 or np.isinf(counted).any():
        raise InputError(f"loss: data of shape {counted.shape} are not allowed; allowed: finite numbers or NaN (slow, fast)")
    if saturation is not None:
        counted[counted >= saturation] = np.nan
    if mask is not None:
        if np.shape(mask) != counted.shape:
            raise InputError(f"loss: a mask of shape {np.shape(mask)} does not fit; allowed: {counted.shape}")
        counted[np.asarray(mask) == 0] = np.nan
    return counted


def _field(name, values, shape) -> np.ndarray:
    try:
        return np.ascontiguousarray(np.broadcast_to(np.asarray(values, dtype=np.float64), shape))
    except (TypeError, ValueError):
        raise InputError(f"loss: {name} does not fit; allowed: a number, or numbers of shape {shape}") from None
