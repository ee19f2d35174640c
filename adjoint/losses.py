"""Losses: objects with value and derivative with respect to the image; Gaussian and Poisson (specs/adjoint.md, A13)."""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike

from adjoint.backends import driver
from adjoint.stages.loss import GAUSSIAN, POISSON, loss_curvature, loss_derivative
from nbnumba.errors import InputError, real, shown

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

        image, total, value_of_each = self._fitting(image), 0.0, driver("cpu").value_of_each()
        for row in range(0, len(image), ROWS_AT_ONCE):
            rows = slice(row, row + ROWS_AT_ONCE)
            counts = ~np.isnan(self.data[rows])
            each = value_of_each(self.kind, image[rows][counts], self.data[rows][counts], self.weight[rows][counts])
            total += float(np.sum(each))
        return checked(total)

    def derivative(self, image: np.ndarray) -> np.ndarray:
        """Its derivative with respect to every pixel (slow, fast); 0 where a pixel is left out."""
        counts = ~np.isnan(self.data)
        image, slopes = self._fitting(image), np.zeros(self.data.shape)
        slopes[counts] = loss_derivative(self.kind, image[counts], self.data[counts], self.weight[counts])
        return slopes

    def curvature(self, image: np.ndarray) -> np.ndarray:
        """The expected second derivative with respect to every pixel (slow, fast); 0 where a pixel is left out."""
        counts = ~np.isnan(self.data)
        image, curvatures = self._fitting(image), np.zeros(self.data.shape)
        curvatures[counts] = loss_curvature(self.kind, image[counts], self.data[counts], self.weight[counts])
        return curvatures

    def counted(self) -> int:
        """How many pixels count."""
        return int(np.count_nonzero(~np.isnan(self.data)))

    def _fitting(self, image):
        try:
            image = np.asarray(real(image), dtype=np.float64)
        except (TypeError, ValueError, OverflowError):
            raise InputError(f"loss: {shown(image)} is no image of real numbers; allowed: numbers (slow, fast)") from None
        if image.shape != self.data.shape:
            raise InputError(f"loss: data of shape {self.data.shape} do not fit an image of {image.shape}; allowed: the same")
        return image


def is_pixelwise(loss) -> bool:
    """Whether the kernels know a loss: one of these whose methods nobody has replaced."""
    own = all(getattr(type(loss), name, None) is getattr(Pixelwise, name) for name in ("value", "derivative", "curvature"))
    return isinstance(loss, Pixelwise) and own and not {"value", "derivative", "curvature"} & set(vars(loss))


def checked(value: float) -> float:
    """A loss that is a number. Raises InputError."""
    if not np.isfinite(value):
        why = "counts where none are expected, or a number that is too large"
        above = "where there are counts a background above 0 (background.water_um, or a start of image.background)"
        raise InputError(f"loss: it is {value}: {why}; allowed: finite numbers, and {above}")
    return value


def number_of(what: str, value) -> float:
    """A value as a number. Raises InputError."""
    if isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            return math.inf if value > 0 else -math.inf
    if isinstance(value, np.ndarray) and value.shape == () and value.dtype.kind in "iuf":
        return float(value)
    raise InputError(f"{what}: {shown(value)} is not a number; allowed: a number")


def field(what: str, values, shape: tuple[int, int] | None = None) -> np.ndarray:
    """Numbers (slow, fast), one for all or an image of them, as an array of their own, NaN where masked. Raises InputError."""
    try:
        numbers = np.ma.filled(np.ma.asarray(values).astype(np.float64, casting="safe"), np.nan)
        numbers = np.array(numbers if shape is None or numbers.ndim else np.broadcast_to(numbers, shape), order="C")
    except (TypeError, ValueError, OverflowError):
        raise InputError(f"{what}: it is no image of real numbers; allowed: numbers (slow, fast)") from None
    if numbers.ndim != 2 or (shape is not None and numbers.shape != shape):
        allowed = "(slow, fast)" if shape is None else f"(slow, fast) = {shape}"
        raise InputError(f"{what} of shape {numbers.shape} does not fit; allowed: {allowed}")
    return numbers


def masked(what: str, mask, shape: tuple[int, int]) -> np.ndarray:
    """Where a mask (slow, fast) is 0 and leaves a pixel out. Raises InputError for one that does not fit, or has NaN."""
    numbers = field(what, mask, shape)
    lost = np.count_nonzero(np.isnan(numbers))
    if lost:
        raise InputError(f"{what}: {lost} of its numbers are NaN; allowed: 0 where a pixel is left out, else other numbers")
    return numbers == 0


class Gaussian(Pixelwise):
    """sum of (I - data)^2 / (2 sigma^2).

    data (slow, fast), photons; sigma: a number or (slow, fast), above 0, infinite where a pixel is left out. Left out are also
    pixels where the mask is 0, where the data are NaN or masked, and from `saturation` on. Raises InputError for what does not
    fit, and where no pixel is left.
    """

    kind = GAUSSIAN

    def __init__(
        self, data: ArrayLike, sigma: ArrayLike = 1.0, mask: ArrayLike | None = None, saturation: float | None = None
    ):
        counted = _counted(data, mask, saturation)
        deviation = field("loss: sigma", sigma, counted.shape)
        counted[np.isposinf(deviation)] = np.nan
        counts = _some(counted)
        with np.errstate(all="ignore"):
            weight = np.where(counts, 1.0 / (deviation * deviation), 0.0)
        if not ((deviation > 0.0) & np.isfinite(weight) & (weight > 0.0))[counts].all():
            raise InputError("loss: a sigma is not allowed; allowed: positive numbers, not tiny nor huge; infinite: left out")
        super().__init__(counted, weight)


class Poisson(Pixelwise):
    """sum of mu - data + data ln(data / mu), mu = I + background: half of the deviance, minus the logarithm of the likelihood.

    data (slow, fast), counts not below 0; background: a number or (slow, fast), not below 0, photons. Left out are pixels
    where the mask is 0, where the data are NaN or masked, and from `saturation` on. Raises InputError for what does not fit,
    and where no pixel is left.
    """

    kind = POISSON

    def __init__(
        self, data: ArrayLike, background: ArrayLike = 0.0, mask: ArrayLike | None = None, saturation: float | None = None
    ):
        counted = _counted(data, mask, saturation)
        counts = _some(counted)
        if counted[counts].min() < 0.0:
            least = counted[counts].min()
            allowed = "counts not below 0, a mask, or a Gaussian loss, which takes any number"
            raise InputError(f"loss: a count of {least:g} is not allowed; allowed: {allowed}")
        below = np.where(counts, field("loss: background", background, counted.shape), 0.0)
        if not ((below >= 0.0) & np.isfinite(below)).all():
            raise InputError("loss: a background is below 0 or not finite; allowed: numbers not below 0")
        super().__init__(counted, below)


def _some(counted) -> np.ndarray:
    """Which pixels count (slow, fast). Raises InputError if none does."""
    counts = ~np.isnan(counted)
    if not counts.any():
        raise InputError("loss: no pixel counts: all are masked, saturated or without data; allowed: data of at least one")
    return counts


def _counted(data, mask, saturation) -> np.ndarray:
    """The data as float64 (slow, fast), NaN where a pixel is left out."""
    counted = field("loss: data", data)
    if np.isinf(counted).any():
        raise InputError("loss: a number of the data is infinite; allowed: finite numbers, or NaN to leave a pixel out")
    if saturation is not None:
        counted[counted >= number_of("loss: saturation", saturation)] = np.nan
    if mask is not None:
        counted[masked("loss: mask", mask, counted.shape)] = np.nan
    return counted
