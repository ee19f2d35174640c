"""Losses: objects with a value and a derivative with respect to the image; Gaussian and Poisson (specs/adjoint.md, A13)."""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike

from adjoint.backends import driver
from adjoint.stages.loss import GAUSSIAN, POISSON, loss_curvature, loss_derivative
from nbnumba.errors import InputError, real, shown
from nbnumba.setup.sheet import Sheet, shapes_of

ROWS_AT_ONCE = 64
"""The number of rows over which a value is summed at once, so that it needs little memory."""


class Loss(Protocol):
    """What a loss has to have. For normal equations it also needs curvature(image) (slow, fast), which may not be below 0."""

    def value(self, image: np.ndarray) -> float:
        """The loss of an image (slow, fast) in photons."""

    def derivative(self, image: np.ndarray) -> np.ndarray:
        """The derivative of the loss with respect to every pixel (slow, fast), per photon."""


class Pixelwise:
    """A loss that is a sum over pixels, of a kind that the kernels know (A13).

    kind: GAUSSIAN or POISSON. data, weight (slow, fast) float64: the data and, for the kind, 1 / sigma^2 or the background, as
    sheets (nbnumba/setup/sheet.py), which are the images where there is one panel. A pixel whose datum is NaN is left out.
    sheet: the shapes of the panels.
    """

    kind: int

    def __init__(self, data: np.ndarray, weight: np.ndarray, sheet: Sheet | None = None):
        self.data, self.weight, self.sheet = data, weight, sheet or Sheet((data.shape,))

    def value(self, image: np.ndarray) -> float:
        """The loss of an image (slow, fast) in photons, A13.

        Raises InputError for an image that does not fit the data, and where the loss is not finite, such as for a count where
        none is expected.
        """
        image, total, pixel_values = self._fitting(image), 0.0, driver("cpu").loss_of_pixels()
        for row in range(0, len(image), ROWS_AT_ONCE):
            rows = slice(row, row + ROWS_AT_ONCE)
            counts = ~np.isnan(self.data[rows])
            values = pixel_values(self.kind, image[rows][counts], self.data[rows][counts], self.weight[rows][counts])
            total += float(np.sum(values))
        return checked(total)

    def derivative(self, image: np.ndarray) -> np.ndarray:
        """The derivative of the loss with respect to every pixel (slow, fast), 0 where a pixel is left out (A13)."""
        counts = ~np.isnan(self.data)
        image, slopes = self._fitting(image), np.zeros(self.data.shape)
        slopes[counts] = loss_derivative(self.kind, image[counts], self.data[counts], self.weight[counts])
        return self.sheet.image(slopes)

    def curvature(self, image: np.ndarray) -> np.ndarray:
        """The expected second derivative with respect to every pixel (slow, fast), 0 where a pixel is left out (A13)."""
        counts = ~np.isnan(self.data)
        image, curvatures = self._fitting(image), np.zeros(self.data.shape)
        curvatures[counts] = loss_curvature(self.kind, image[counts], self.data[counts], self.weight[counts])
        return self.sheet.image(curvatures)

    def counted(self) -> int:
        """The number of pixels that are not left out."""
        return int(np.count_nonzero(~np.isnan(self.data)))

    def _fitting(self, image) -> np.ndarray:
        """The image as a sheet in float64. Raises InputError unless it has the shape of the data."""
        try:
            by_panel = isinstance(image, (list, tuple)) and self.sheet.image_shape is None
            parts = [np.asarray(real(part), dtype=np.float64) for part in (image if by_panel else [image])]
        except (TypeError, ValueError, OverflowError):
            raise InputError(f"loss: {shown(image)} is no image of real numbers; allowed: numbers (slow, fast)") from None
        try:
            return self.sheet.sheet("loss: an image", parts if by_panel else parts[0], 0.0)
        except InputError:
            other = shapes_of(image if by_panel else parts[0])
            raise InputError(f"loss: data of {self.sheet} do not fit an image of {other}; allowed: the same") from None


def is_pixelwise(loss) -> bool:
    """Whether the kernels know a loss: a Pixelwise one whose methods no subclass or instance has replaced."""
    own = all(getattr(type(loss), name, None) is getattr(Pixelwise, name) for name in ("value", "derivative", "curvature"))
    return isinstance(loss, Pixelwise) and own and not {"value", "derivative", "curvature"} & set(vars(loss))


def checked(value: float) -> float:
    """The value of a loss. Raises InputError if it is not finite."""
    if not np.isfinite(value):
        why = "counts where none are expected, or a number that is too large"
        above = "where there are counts a background above 0 (background.water_um, or a start of image.background)"
        raise InputError(f"loss: it is {value}: {why}; allowed: finite numbers, and {above}")
    return value


def number_of(what: str, value) -> float:
    """A value as a float; `what` names it in messages. Raises InputError for what is not a single number."""
    if isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            return math.inf if value > 0 else -math.inf
    if isinstance(value, np.ndarray) and value.shape == () and value.dtype.kind in "iuf":
        return float(value)
    raise InputError(f"{what}: {shown(value)} is not a number; allowed: a number")


def bounded(what: str, value, most: float = 1e6, least: float | None = None) -> float:
    """A number above 0, or not below `least`. Raises InputError."""
    number = number_of(what, value)
    if not (number > 0.0 if least is None else number >= least) or number > most:
        allowed = "a number above 0" if least is None else f"a number not below {least:g}"
        raise InputError(f"{what}: {number:g} is not allowed; allowed: {allowed}, at most {most:g}")
    return number


def field(
    what: str, values, sheet: Sheet | None = None, one_for_all: bool = True, fill: float = np.nan
) -> np.ndarray:
    """Values as a new sheet (slow, fast) of float64, NaN where they are masked.

    what: the name of the values, for messages. sheet: that of the image, or None for any (sheet_like). one_for_all: whether
    one value may stand for all pixels. fill: what the empty columns have. Raises InputError for values that are not real
    numbers, or do not fit.
    """
    sheet = sheet or sheet_like(what, values)
    try:
        by_panel = isinstance(values, (list, tuple)) and sheet.image_shape is None
        values = [_numbers(part) for part in values] if by_panel else _numbers(values)
    except (TypeError, ValueError, OverflowError):
        raise InputError(f"{what}: it is no image of real numbers; allowed: numbers (slow, fast)") from None
    if one_for_all and isinstance(values, np.ndarray) and values.ndim == 0:
        return np.full(sheet.shape, values)
    return np.array(sheet.sheet(what, values, fill), order="C")


def _numbers(values) -> np.ndarray:
    """Values as float64, NaN where they are masked. Raises TypeError, ValueError or OverflowError."""
    return np.ma.filled(np.ma.asarray(values).astype(np.float64, casting="safe"), np.nan)


def sheet_like(what: str, values) -> Sheet:
    """The shapes of the panels of an image: (slow, fast), (panel, slow, fast), or a list of arrays. Raises InputError."""
    try:
        shape = np.shape(values)
    except (TypeError, ValueError):
        try:
            shapes = [np.shape(part) for part in values]
        except (TypeError, ValueError):
            shapes = []
        if shapes and all(len(shape) == 2 and 0 not in shape for shape in shapes):
            return Sheet(tuple(shapes))
        raise InputError(f"{what}: it is no image of real numbers; allowed: numbers (slow, fast)") from None
    if len(shape) not in (2, 3) or (len(shape) == 3 and 0 in shape):
        raise InputError(f"{what} of shape {shape} does not fit; allowed: (slow, fast), or (panel, slow, fast)")
    return Sheet((shape,) if len(shape) == 2 else (shape[1:],) * shape[0])


def masked(what: str, mask, sheet: Sheet) -> np.ndarray:
    """Which pixels of a sheet a mask leaves out: those where it is 0. Raises InputError if it does not fit or has NaN."""
    numbers = field(what, mask, sheet)
    unknown = sum(np.count_nonzero(np.isnan(numbers[place])) for place in sheet.places())
    if unknown:
        raise InputError(f"{what}: {unknown} of its numbers are NaN; allowed: 0 where a pixel is left out, else other numbers")
    return numbers == 0


class Gaussian(Pixelwise):
    """The sum over pixels of (I - data)^2 / (2 sigma^2), I being the photons of a pixel (A13).

    data (slow, fast), or of the shape of simulate's image: photons. sigma: a number or of that shape, in photons, above 0;
    infinite where a pixel is left out. Pixels are also left out where the mask is 0, where data are NaN or masked, and where
    they are `saturation` or more. Raises InputError for values that do not fit, and if no pixel is left.
    """

    kind = GAUSSIAN

    def __init__(
        self, data: ArrayLike, sigma: ArrayLike = 1.0, mask: ArrayLike | None = None, saturation: float | None = None
    ):
        sheet = sheet_like("loss: data", data)
        data = _data_that_count(data, sheet, mask, saturation)
        deviation = field("loss: sigma", sigma, sheet)
        data[np.isposinf(deviation)] = np.nan
        counts = _counts(data)
        with np.errstate(all="ignore"):
            weight = np.where(counts, 1.0 / (deviation * deviation), 0.0)
        if not ((deviation > 0.0) & np.isfinite(weight) & (weight > 0.0))[counts].all():
            raise InputError("loss: a sigma is not allowed; allowed: positive numbers, not tiny nor huge; infinite: left out")
        super().__init__(data, weight, sheet)


class Poisson(Pixelwise):
    """The sum over pixels of mu - data + data ln(data / mu) with mu = I + background, I being the photons of a pixel (A13).

    It is half of the deviance, or minus the logarithm of the likelihood but for a constant. data (slow, fast), or of the shape
    of simulate's image: counts, not below 0. background: a number or of that shape, in photons, not below 0. Pixels are left
    out where the mask is 0, where data are NaN or masked, and where they are `saturation` or more. Raises InputError for values
    that do not fit, and if no pixel is left.
    """

    kind = POISSON

    def __init__(
        self, data: ArrayLike, background: ArrayLike = 0.0, mask: ArrayLike | None = None, saturation: float | None = None
    ):
        sheet = sheet_like("loss: data", data)
        data = _data_that_count(data, sheet, mask, saturation)
        counts = _counts(data)
        if data[counts].min() < 0.0:
            least = data[counts].min()
            allowed = "counts not below 0, a mask, or a Gaussian loss, which takes any number"
            raise InputError(f"loss: a count of {least:g} is not allowed; allowed: {allowed}")
        background = np.where(counts, field("loss: background", background, sheet), 0.0)
        if not ((background >= 0.0) & np.isfinite(background)).all():
            raise InputError("loss: a background is below 0 or not finite; allowed: numbers not below 0")
        super().__init__(data, background, sheet)


def _counts(data: np.ndarray) -> np.ndarray:
    """Which pixels count (slow, fast): those whose data are not NaN. Raises InputError if none does."""
    counts = ~np.isnan(data)
    if not counts.any():
        raise InputError("loss: no pixel counts: all are masked, saturated or without data; allowed: data of at least one")
    return counts


def _data_that_count(data, sheet, mask, saturation) -> np.ndarray:
    """The data as a sheet of float64, NaN where a pixel is left out. Raises InputError."""
    numbers = field("loss: data", data, sheet, one_for_all=False)
    if np.isinf(numbers).any():
        raise InputError("loss: a number of the data is infinite; allowed: finite numbers, or NaN to leave a pixel out")
    if saturation is not None:
        numbers[numbers >= number_of("loss: saturation", saturation)] = np.nan
    if mask is not None:
        numbers[masked("loss: mask", mask, sheet)] = np.nan
    return numbers
