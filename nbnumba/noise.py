"""Photon noise and 16-bit images, as nanoBragg writes them with -noisefile and -intfile (specs/forward.md, N2 to N4).

The noise equals C's bit for bit. C's variables are float32 and its mathematical functions float64, so each step below
states its type. A region (roi) is (xmin, xmax, ymin, ymax), ends included, and x is the fast axis; None is the whole
image. Outside the region nothing is drawn and every result is 0, without the ADC offset.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from nbnumba.backends.compiling import exact, inlined
from nbnumba.errors import InputError
from nbnumba.rng import Ran1, generator, next_deviate

DEFAULT_ADC_OFFSET = 40.0
"""The offset, in ADU, that is added to every pixel of an integer image when -adc is not given."""

LARGEST_PIXEL = 65535.0
"""The largest value that a 16-bit pixel holds."""

AUTOSCALE_MAXIMUM = 55000.0
"""The value that autoscaling gives to the brightest pixel, before the ADC offset is added."""

_NORMAL_ABOVE = 1.0e6
_PRODUCT_BELOW = 12.0
_LORENTZIAN_SHRINK = 0.9
_GAMMA_LEADING = 1.000000000190015
_GAMMA_SQRT_2PI = 2.5066282746310005
_GAMMA_SERIES = (
    76.18009172947146,
    -86.50532032941677,
    24.01409824083091,
    -1.231739572450155,
    0.1208650973866179e-2,
    -0.5395239384953e-5,
)


class NoiseImage(NamedTuple):
    """An image with photon noise.

    pixels: (slow, fast) uint16, as in C's noise file. photons: the sum of all photons, before offset and clipping.
    overloads: the number of pixels that were above 65535, or above the saturation of a response, and were clipped.
    """

    pixels: np.ndarray
    photons: float
    overloads: int


class ScaledImage(NamedTuple):
    """A scaled image. pixels: (slow, fast) uint16, as in C's -intfile. scale: the factor that the image was multiplied by."""

    pixels: np.ndarray
    scale: float


@inlined
def log_gamma(argument):
    """ln Gamma of a float32 above 0 by Lanczos' series; computed in float64, returned as float32."""
    x = np.float64(argument)
    series = _GAMMA_LEADING
    for term in range(len(_GAMMA_SERIES)):
        series += _GAMMA_SERIES[term] / (x + (term + 1.0))
    shifted = x + 5.5
    return np.float32(math.log(_GAMMA_SQRT_2PI * series / x) - (shifted - (x + 0.5) * math.log(shifted)))


@inlined
def symmetric_deviate(state):
    """One float32 deviate, uniform on -1 .. 1; advances the generator's `state`."""
    return np.float32(2.0 * np.float64(next_deviate(state)) - 1.0)


@inlined
def normal_deviate(state, spare):
    """One float32 normal deviate of mean 0 and variance 1, by Marsaglia's polar method.

    The method makes two deviates at a time. `spare`, (2,) float32, stores the second: spare[0] is 1 if spare[1] holds an
    unused deviate, else 0.
    """
    if spare[0] != 0.0:
        spare[0] = 0.0
        return spare[1]
    radius_squared = np.float32(0.0)
    while radius_squared >= 1.0 or radius_squared == 0.0:
        first = symmetric_deviate(state)
        second = symmetric_deviate(state)
        radius_squared = np.float32(first * first + second * second)
    wide = np.float64(radius_squared)
    factor = np.float32(math.sqrt(-2.0 * math.log(wide) / wide))
    spare[0] = 1.0
    spare[1] = first * factor
    return second * factor


@inlined
def poisson_by_product(mean, state):
    """A Poisson deviate for a small float32 mean: the number of uniform deviates whose product stays above exp(-mean)."""
    threshold = np.float32(math.exp(-np.float64(mean)))
    count = np.float32(0.0)
    product = next_deviate(state)
    while product > threshold:
        count += np.float32(1.0)
        product *= next_deviate(state)
    return count


@inlined
def poisson_by_rejection(mean, state):
    """A Poisson deviate for a float32 mean of 12 or more, by rejection from a Lorentzian."""
    one = np.float32(1.0)
    width = np.float32(math.sqrt(2.0 * np.float64(mean)))
    log_mean = np.float32(math.log(np.float64(mean)))
    at_mean = mean * log_mean - log_gamma(mean + one)
    while True:
        lorentzian = np.float32(math.tan(math.pi * np.float64(next_deviate(state))))
        trial = width * lorentzian + mean
        if trial < 0.0:
            continue
        count = np.float32(math.floor(np.float64(trial)))
        exponent = np.float64(count * log_mean - log_gamma(count + one) - at_mean)
        square = np.float64(lorentzian * lorentzian)
        accepted = np.float32(_LORENTZIAN_SHRINK * (1.0 + square) * math.exp(exponent))
        if not next_deviate(state) > accepted:
            return count


@inlined
def poisson_deviate(mean, state, spare):
    """One Poisson deviate, float32, for a float32 mean >= 0. Above a mean of 1e6 it is a normal deviate, not a whole number.

    state: the state of the generator, see rng.next_deviate. spare: see normal_deviate. Both are advanced.
    """
    if mean > _NORMAL_ABOVE:
        wide = np.float64(mean)
        return np.float32(wide + math.sqrt(wide) * np.float64(normal_deviate(state, spare)))
    if mean < _PRODUCT_BELOW:
        return poisson_by_product(mean, state)
    return poisson_by_rejection(mean, state)


@exact
def draw_counts(image, state, spare, counts):
    """Fill `counts` with a Poisson deviate for each mean in `image`, both (slow, fast) float32; the fast index varies first."""
    for slow in range(image.shape[0]):
        for fast in range(image.shape[1]):
            counts[slow, fast] = poisson_deviate(image[slow, fast], state, spare)


def poisson(
    image: np.ndarray,
    seed: int | Ran1,
    adc_offset: float = DEFAULT_ADC_OFFSET,
    roi: tuple[int, int, int, int] | None = None,
) -> NoiseImage:
    """The image that C writes with -noisefile for an image of expected photons, (slow, fast).

    Arguments and errors are those of poisson_counts and integer_image.
    """
    return integer_image(poisson_counts(image, seed, roi), adc_offset, roi)


def poisson_counts(
    image: np.ndarray, seed: int | Ran1, roi: tuple[int, int, int, int] | None = None
) -> np.ndarray:
    """Photons counted in each pixel, (slow, fast) float32, for the expected photons `image`, (slow, fast).

    The image is converted to float32. seed: the number after -seed, or a generator that has been used before (see rng),
    which is advanced. Pixels are drawn in scan order from one sequence, so the deviates of a pixel depend on the region.
    Raises InputError for values that are negative or not finite (in float32), a bad seed or a bad roi.
    """
    means = _checked_image(image, "image")
    inside = region_slices(roi, means.shape)
    means_inside = np.ascontiguousarray(means[inside])
    drawn = np.empty_like(means_inside)
    draw_counts(means_inside, generator(seed).state, np.zeros(2, dtype=np.float32), drawn)
    counts = np.zeros(means.shape, dtype=np.float32)
    counts[inside] = drawn
    return counts


def integer_image(
    counts: np.ndarray, adc_offset: float = DEFAULT_ADC_OFFSET, roi: tuple[int, int, int, int] | None = None
) -> NoiseImage:
    """Counts, (slow, fast), plus an ADC offset, truncated to 16 bits: the pixels of C's noise file.

    Sums below 0 occur only with a negative offset; C leaves them undefined, and here they become 0. Raises InputError
    for counts that are negative or not finite, an offset that is not finite or a bad roi.
    """
    counts = _checked_image(counts, "counts")
    inside = region_slices(roi, counts.shape)
    values = counts[inside].astype(np.float64)
    shifted = values + _finite(adc_offset, "adc_offset")
    pixels = np.zeros(counts.shape, dtype=np.uint16)
    pixels[inside] = np.clip(shifted, 0.0, LARGEST_PIXEL).astype(np.uint16)
    return NoiseImage(pixels, _sum_in_order(values), int(np.count_nonzero(shifted > LARGEST_PIXEL)))


def scaled_integers(
    image: np.ndarray,
    scale: float | None = None,
    adc_offset: float = DEFAULT_ADC_OFFSET,
    roi: tuple[int, int, int, int] | None = None,
) -> ScaledImage:
    """The image, (slow, fast), times scale plus an ADC offset, clipped to 0 .. 65535 and rounded: C's -intfile.

    The image is converted to float32 and, as in C, rounded in float32. If scale is None, 0 or negative, the scale is 55000
    divided by the largest value in the region, or 1 if that value is 0. Raises InputError for values that are negative or
    not finite (in float32), a scale or an offset that is not finite or a bad roi.
    """
    image = _checked_image(image, "image")
    inside = region_slices(roi, image.shape)
    values = image[inside].astype(np.float64)
    factor = 0.0 if scale is None else _finite(scale, "scale")
    if factor <= 0.0:
        factor = _autoscale(values)
    shifted = np.clip(values * factor + _finite(adc_offset, "adc_offset"), 0.0, LARGEST_PIXEL)
    pixels = np.zeros(image.shape, dtype=np.uint16)
    pixels[inside] = np.floor((shifted + 0.5).astype(np.float32)).astype(np.uint16)
    return ScaledImage(pixels, factor)


def _autoscale(values: np.ndarray) -> float:
    """The factor that brings the largest value to AUTOSCALE_MAXIMUM; 1 if all values are 0."""
    largest = float(values.max())
    return AUTOSCALE_MAXIMUM / largest if largest > 0.0 else 1.0


def _sum_in_order(values: np.ndarray) -> float:
    """The float64 sum, added in scan order one value after the other, as C does."""
    return float(np.cumsum(values)[-1])


def _checked_image(values: np.ndarray, field: str) -> np.ndarray:
    """The values as (slow, fast) float32. Raises InputError unless all are finite there and none is below 0."""
    with np.errstate(over="ignore", invalid="ignore"):
        image = np.asarray(values, dtype=np.float32)
    if image.ndim != 2 or image.size == 0:
        raise InputError(f"{field} has shape {image.shape}: it must be (slow, fast), at least one pixel each")
    if not (image.min() >= 0.0 and image.max() < np.inf):
        first_bad = np.argwhere(~((image >= 0.0) & (image < np.inf)))[0]
        pixel, value = tuple(int(i) for i in first_bad), image[tuple(first_bad)]
        raise InputError(f"{field} is {value} at (slow, fast) {pixel}: it must be 0 or more and finite in float32")
    return image


def _finite(value: float, field: str) -> float:
    """The value as a float. Raises InputError unless it is finite."""
    if not math.isfinite(value):
        raise InputError(f"{field} is {value!r}: it must be a finite number")
    return float(value)


def region_slices(roi: tuple[int, int, int, int] | None, shape: tuple[int, int]) -> tuple[slice, slice]:
    """The slices (slow, fast) of a region. Raises InputError unless it lies within an image of that shape."""
    if roi is None:
        return slice(None), slice(None)
    slow, fast = shape
    whole = len(roi) == 4 and all(isinstance(edge, (int, np.integer)) for edge in roi)
    if not (whole and 0 <= roi[0] <= roi[1] < fast and 0 <= roi[2] <= roi[3] < slow):
        raise InputError(
            f"roi is {tuple(roi)}: it must be four whole numbers with 0 <= xmin <= xmax <= {fast - 1} "
            f"and 0 <= ymin <= ymax <= {slow - 1}"
        )
    xmin, xmax, ymin, ymax = roi
    return slice(ymin, ymax + 1), slice(xmin, xmax + 1)
