"""The response of a detector to the photons it counts (N7): point spread, gain, read-out noise, saturation; C has none.

The steps follow the physics and nanoBragg::add_noise in cctbx's simtbx. For expected photons mu:

    m = mu (1 + flicker N(0, 1)), at least 0         the source flickers while a spot is lit, and each pixel on its own
    n ~ Poisson(m)                                   X-ray photons are absorbed: noise.poisson_counts, C's bit for bit
    c = n (1 + calibration N(0, 1)), at least 0      each pixel counts too much or too little, the same in every image
    s = P c                                          their light or charge spreads over the neighbours: point_spread
    v = gain * s + readout_noise * N(0, 1) + offset  read out, in ADU (what a pixel of the file counts in)
    pixel = floor(v + 1/2), within 0 .. saturation   digitized; an overload is a pixel with v > saturation

The photons spread after they are counted. A photon that is absorbed makes thousands of light quanta or electrons, which
spread with almost no noise of their own. Neighbours therefore share the noise of the same photon, which makes it weaker
and correlated: cov(s_i, s_j) = sum_k P_ik P_jk mu_k. (If the expected photons were spread instead, each photon would fall
wholly into one pixel, and the noise of different pixels would be independent. That is a photon counter, whose gain is 1
and which has no read-out noise; apply `spread` to the image before `measure` to simulate it.)

If a response makes no fractions (gain 1, no read-out noise, point spread or error of calibration), v is truncated as in C;
the two differ only for a fractional offset. Masked pixels have no photons of their own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from nbnumba import noise
from nbnumba.errors import InputError, real, shown
from nbnumba.noise import DEFAULT_ADC_OFFSET, LARGEST_PIXEL, NoiseImage
from nbnumba.rng import Ran1, generator
from nbnumba.setup import sampling
from nbnumba.setup.sheet import sheet_of
from nbnumba.statements import Detector, Panel, Statements

FWHM_PER_SIGMA = math.sqrt(8.0 * math.log(2.0))
"""Full width at half maximum of a Gaussian over its standard deviation."""

PSF_TYPES = ("gauss", "fiber")
"""The shapes of the point spread: a Gaussian, and the one of a taper of optical fibers, with long wings (N7)."""

WIDTH_OF_FIBER = 2.0 * math.sqrt(2.0 ** (2.0 / 3.0) - 1.0)
"""Full width at half maximum of the point spread of fibers over its parameter g."""

FARTHEST = 500
"""The number of pixels at which the point spread of fibers is cut off; about g / FARTHEST of the light lies beyond, with g in
pixels."""

WITHIN = np.array([-0.43056815579702629, -0.16999052179242813, 0.16999052179242813, 0.43056815579702629])
WEIGHTS = np.array([0.17392742256872692, 0.32607257743127307, 0.32607257743127307, 0.17392742256872692])
"""Points within a pixel of edge 1, and their weights: Gauss' rule of four points."""

REACH = 6.0
"""The number of standard deviations at which the point spread is cut off; 2e-9 of the light lies beyond."""

_READ_OUT, _FLICKER = 0x5EAD0A7, 0xF11C4E2
_WORD = 2**32

ALLOWED = {
    "gain": ("a positive number of ADU per photon, from 1e-12 to 1e12", lambda x: 1e-12 <= x <= 1e12),
    "readout_noise": ("a number of ADU not below 0, at most 1e12", lambda x: 0.0 <= x <= 1e12),
    "saturation": (f"a number of ADU above 0, at most {LARGEST_PIXEL:g}", lambda x: 0.0 < x <= LARGEST_PIXEL),
    "flicker": ("a fraction from 0 to 10", lambda x: 0.0 <= x <= 10.0),
    "calibration": ("a fraction from 0 to 10", lambda x: 0.0 <= x <= 10.0),
    "calibration_seed": ("a whole number from 0 to 2147483647", lambda x: 0 <= x < 2**31 and x == int(x)),
    "psf_mm": ("0, or a number of mm from 1e-100 to 1e12", lambda x: x == 0.0 or 1e-100 <= x <= 1e12),
}
"""The allowed values of each field of Response, in words and as a test."""


def _number(field: str, value: float) -> float:
    """The value as a float. Raises InputError unless this field of Response allows it."""
    allowed, test = ALLOWED[field]
    try:
        number = float(real(value))
    except (TypeError, ValueError, OverflowError):
        raise InputError(f"response.{field}: {shown(value)} is not a number; allowed: {allowed}") from None
    if not (math.isfinite(number) and test(number)):
        raise InputError(f"response.{field}: {number:g} is not allowed; allowed: {allowed}")
    return number


@dataclass(frozen=True)
class Response:
    """A detector's response; the defaults are those of C, whose detector only counts photons.

    gain: ADU per photon. readout_noise: rms of the Gaussian noise of the read-out, ADU, not multiplied by the gain.
    saturation: the largest value of a pixel, ADU, the offset included. psf_mm: full width at half maximum of the
    point spread at the detector, mm. psf_type: its shape, a word of PSF_TYPES. flicker: rms of the relative fluctuation of the
    expected photons of each pixel. calibration: rms of the relative error of each pixel, which calibration_seed determines and
    no other seed changes. Raises InputError for values that are not allowed.
    """

    gain: float = 1.0
    readout_noise: float = 0.0
    saturation: float = LARGEST_PIXEL
    psf_mm: float = 0.0
    psf_type: str = "gauss"
    flicker: float = 0.0
    calibration: float = 0.0
    calibration_seed: int = 123456789

    def __post_init__(self):
        for name in ALLOWED:
            object.__setattr__(self, name, _number(name, getattr(self, name)))
        object.__setattr__(self, "calibration_seed", int(self.calibration_seed))
        if not isinstance(self.psf_type, str) or self.psf_type not in PSF_TYPES:
            allowed = ", ".join(PSF_TYPES)
            raise InputError(f"response.psf_type: {shown(self.psf_type)} is not allowed; allowed: {allowed}")

    @property
    def makes_fractions(self) -> bool:
        """Whether a whole number of photons can give a fractional number of ADU."""
        return (self.gain, self.readout_noise, self.psf_mm, self.calibration) != (1.0, 0.0, 0.0, 0.0)

    def check(
        self, pixels: tuple[int, int], pixel_mm: float | tuple[float | None, float | None] | None, adc_offset: float
    ) -> None:
        """Raise InputError unless a detector of `pixels` of pixel_mm can respond so to photons, above the offset (ADU).

        pixels, pixel_mm: along two axes; one edge stands for both. A saturation of 65535 is only the limit of 16 bits,
        and is accepted with any offset, as in C.
        """
        if self.saturation < LARGEST_PIXEL and self.saturation <= adc_offset:
            raise InputError(
                f"response.saturation: {self.saturation:g} is not allowed; "
                f"allowed: above the ADC offset of {adc_offset:g}, at most {LARGEST_PIXEL:g}"
            )
        if self.psf_mm == 0.0:
            return
        longest = 0.0
        for count, edge in zip(pixels, pixel_mm if isinstance(pixel_mm, tuple) else (pixel_mm, pixel_mm)):
            if edge is None or not 0.0 < edge < math.inf:
                raise InputError(f"pixel_mm is {edge!r}: with a point spread it must be a positive number")
            longest = max(longest, count * edge)
        if self.psf_mm > longest:
            raise InputError(
                f"response.psf_mm: {self.psf_mm:g} is not allowed; "
                f"allowed: at most the detector's longer edge, {longest:g} mm"
            )


PHOTON_COUNTER = Response()
"""C's detector."""


def check_response(response: Response) -> Response:
    """The response, as it is. Raises InputError for anything but a Response."""
    if not isinstance(response, Response):
        raise InputError(f"response: {shown(response)} is not a Response; allowed: a nbnumba.Response")
    return response


def measure(
    image: np.ndarray,
    seed: int | Ran1,
    response: Response = PHOTON_COUNTER,
    pixel_mm: float | tuple[float, float] | None = None,
    adc_offset: float = DEFAULT_ADC_OFFSET,
    roi: tuple[int, int, int, int] | None = None,
    panel: int = 0,
) -> NoiseImage:
    """The image that a detector writes for expected photons, (slow, fast); with PHOTON_COUNTER it equals noise.poisson.

    image, seed, adc_offset (ADU) and roi: see noise. pixel_mm: edge of a pixel, mm, or its edges along slow and fast; only
    a point spread needs it. panel: its number in a detector of several, each of which has errors of calibration of its own.
    The photons that are counted, and their sum in the result, do not depend on the response. No light spreads into the
    region from outside, because no photons are drawn there; light that spreads out of the region is lost. Raises
    InputError for what noise refuses, and for a response that this detector cannot have: see Response.check.
    """
    source = generator(seed)
    deviates = normal_generator(source, _READ_OUT) if response.readout_noise > 0.0 else None
    if response.flicker > 0.0:
        image = flickering(image, response.flicker, normal_generator(source, _FLICKER))
    counts = noise.poisson_counts(image, source, roi)
    counted = noise.integer_image(counts, adc_offset, roi)
    if response == PHOTON_COUNTER:
        return counted
    edges = pixel_mm if isinstance(pixel_mm, tuple) else (pixel_mm, pixel_mm)
    response.check(counts.shape, edges, adc_offset)
    inside = noise.region_slices(roi, counts.shape)
    signal = counts[inside].astype(np.float64)
    if response.calibration > 0.0:
        signal *= calibration_factors(counts.shape, response, panel)[inside]
    if edges[0] is not None and edges[1] is not None and response.psf_mm > 0.0:
        spread_of_type = spread if response.psf_type == "gauss" else spread_by_fibers
        signal = spread_of_type(signal, (response.psf_mm / edges[0], response.psf_mm / edges[1]))
    signal *= response.gain
    if deviates is not None:
        signal += response.readout_noise * deviates.standard_normal(signal.shape)
    digits, overloads = digitize(signal + adc_offset, response.saturation, rounded=response.makes_fractions)
    pixels = np.zeros(counts.shape, dtype=np.uint16)
    pixels[inside] = digits
    return counted._replace(pixels=pixels, overloads=overloads)


def measure_sheet(
    experiment: Statements, sheet: np.ndarray, generator: Ran1, response: Response, adc_offset: float
) -> NoiseImage:
    """The noise image of an experiment, a sheet (setup/sheet.py), from the expected photons (slow, fast), a sheet, too (N7).

    Each panel multiplies the gain of the response by its own. It is saturated at its trusted_max, or at that of a detector
    without panels, if that is less. One sequence of deviates goes through all panels, in their order.
    """
    detector = experiment.detector
    pixels, photons, overloads = np.zeros(sheet.shape, dtype=np.uint16), 0.0, 0
    windows = sampling.windows(detector, experiment.sampling)
    every = zip(detector.panels or (None,), sheet_of(detector).places(), windows)
    for number, (panel, place, (rows, columns, _)) in enumerate(every):
        region = columns[0], columns[1] - 1, rows[0], rows[1] - 1
        if panel is None:
            own = response_of_panel(response, detector, adc_offset)
            return measure(sheet, generator, own, detector.pixel_mm, adc_offset, region)
        edges = panel.pixel_slow_mm, panel.pixel_fast_mm
        try:
            own = response_of_panel(response, panel, adc_offset)
            noisy = measure(sheet[place], generator, own, edges, adc_offset, region, number)
        except InputError as error:
            raise InputError(f"panel {panel.path}: {error}") from None
        pixels[place], photons, overloads = noisy.pixels, photons + noisy.photons, overloads + noisy.overloads
    return NoiseImage(pixels, photons, overloads)


def response_of_panel(response: Response, panel: Panel | Detector, adc_offset: float) -> Response:
    """The response of a panel, or of the one panel of a detector, of a detector with that response.

    Raises InputError for a largest valid count that every pixel exceeds by the offset in ADU.
    """
    limit = LARGEST_PIXEL if panel.trusted_max is None else panel.trusted_max
    if limit <= max(adc_offset, 0.0):
        least = f"above {max(adc_offset, 0.0):g}, the offset of every pixel"
        raise InputError(f"detector.trusted_max: {limit:g} is not allowed in a noise image; allowed: {least}")
    gain = response.gain * (panel.gain if isinstance(panel, Panel) else 1.0)
    return replace(response, gain=gain, saturation=min(response.saturation, limit))


def spread(image: np.ndarray, fwhm_pixels: float | tuple[float, float]) -> np.ndarray:
    """The image, (slow, fast), convolved with the point spread along both axes, float64; the image is 0 beyond its edges.

    fwhm_pixels: full width at half maximum in pixels, positive; or those along slow and fast. The sum stays the same,
    except for light that leaves over the edges. Raises InputError for a width that is not positive and finite.
    """
    from scipy import ndimage

    widths = fwhm_pixels if isinstance(fwhm_pixels, tuple) else (fwhm_pixels, fwhm_pixels)
    result = np.asarray(image, dtype=np.float64)
    for axis, (size, width) in enumerate(zip(result.shape, widths)):
        weights = _within(point_spread(width), size)
        result = ndimage.convolve1d(result, weights, axis=axis, mode="constant", cval=0.0)
    return result


def point_spread(fwhm_pixels: float) -> np.ndarray:
    """The share of a pixel's photons that each pixel of its row receives, (2 n + 1,) float64; its own share is the middle one.

    Photons are spread evenly over their pixel, a Gaussian g displaces their light by x (in pixels), and each pixel adds up
    the light that falls on it: share(k) = integral over t from -1 to 1 of (1 - |t|) g(k - t). Its variance is
    sigma^2 + 1/6 (unless sigma is well below a pixel), and share(0) is 1 if sigma is 0. In closed form it is the second
    difference of G(x) = x Phi(x / sigma) + sigma phi(x / sigma), the second integral of the Gaussian. The Gaussian in two
    dimensions is the product of two. The shares are cut off at REACH and scaled to the sum 1. Raises InputError for a
    width that is not positive.
    """
    from scipy import special

    if not 0.0 < fwhm_pixels < math.inf:
        raise InputError(f"fwhm_pixels is {fwhm_pixels!r}: it must be a positive number")
    sigma = fwhm_pixels / FWHM_PER_SIGMA
    n = math.ceil(REACH * sigma) + 1
    below = -np.arange(n + 2.0)
    with np.errstate(over="ignore"):
        scaled = below / sigma
        bell = np.exp(-0.5 * scaled * scaled) / math.sqrt(2.0 * math.pi)
    twice_integrated = below * special.ndtr(scaled) + sigma * bell
    tail = np.maximum(twice_integrated[2:] - 2.0 * twice_integrated[1:-1] + twice_integrated[:-2], 0.0)
    # G(1) = G(-1) + 1
    middle = 1.0 + 2.0 * (twice_integrated[1] - twice_integrated[0])
    weights = np.concatenate([tail[::-1], [middle], tail])
    return weights / weights.sum()


def flickering(image: np.ndarray, flicker: float, deviates: np.random.RandomState) -> np.ndarray:
    """The expected photons, (slow, fast), each times 1 + flicker N(0, 1), and at least 0."""
    expected = np.asarray(image, dtype=np.float64)
    return expected * np.maximum(1.0 + flicker * deviates.standard_normal(expected.shape), 0.0)


def calibration_factors(shape: tuple[int, int], response: Response, panel: int = 0) -> np.ndarray:
    """The factor 1 + calibration N(0, 1) of each pixel of a panel, (slow, fast), at least 0: the same in every image."""
    sequence = np.random.SeedSequence([response.calibration_seed, panel])
    deviates = np.random.RandomState(np.random.MT19937(sequence)).standard_normal(shape)
    return np.maximum(1.0 + response.calibration * deviates, 0.0)


def spread_by_fibers(image: np.ndarray, fwhm_pixels: tuple[float, float]) -> np.ndarray:
    """The image, (slow, fast), convolved with the point spread of fibers, float64; the image is 0 beyond its edges.

    fwhm_pixels: full widths at half maximum in pixels, along slow and fast. Light beyond the edges, and beyond FARTHEST pixels
    along an axis, is lost. Rounding that would leave light below 0 leaves none.
    """
    from scipy import signal

    reach = tuple(min(size - 1, FARTHEST) for size in np.shape(image))
    shares = fiber_spread(fwhm_pixels, reach)
    return np.maximum(signal.oaconvolve(np.asarray(image, dtype=np.float64), shares, mode="same"), 0.0)


def fiber_spread(fwhm_pixels: tuple[float, float], reach: tuple[int, int]) -> np.ndarray:
    """The share of a pixel's photons that each pixel up to `reach` from it receives, (2 reach + 1, ...), along slow and fast.

    The light of a photon falls by g / (2 pi (g^2 + r^2)^(3/2)) per area at a distance r, of which half the maximum is at half
    of g WIDTH_OF_FIBER. Photons are spread evenly over their pixel, by Gauss' rule of four points along each edge; the integral
    over the pixel on which light falls is exact: that of atan(x y / (g sqrt(g^2 + x^2 + y^2))) / (2 pi) between its corners.
    Unequal edges of pixels are measured in units of g.
    """
    edges = [WIDTH_OF_FIBER / width for width in fwhm_pixels]  # of a pixel, in units of g
    total = np.zeros([2 * n + 1 for n in reach])
    for along_slow, weight_slow in zip(WITHIN, WEIGHTS):
        for along_fast, weight_fast in zip(WITHIN, WEIGHTS):
            y, x = (edge * (np.arange(-n - 0.5, n + 1.0) - offset)
                    for edge, n, offset in zip(edges, reach, (along_slow, along_fast)))  # fmt: skip
            corners = np.arctan(y[:, None] * x / np.sqrt(1.0 + y[:, None] ** 2 + x * x)) / (2.0 * math.pi)
            total += weight_slow * weight_fast * np.diff(np.diff(corners, axis=0), axis=1)
    return total


def normal_generator(seed: int | Ran1, kind: int) -> np.random.RandomState:
    """The generator of the normal deviates of an image whose photons are drawn from `seed`, which is not advanced.

    kind: _READ_OUT or _FLICKER. It is a Mersenne twister that is seeded from the state of ran1. So read-out noise changes no
    photon, and successive images of one generator have different noise. It is a RandomState because numpy promises never to
    change the deviates of that class.
    """
    entropy = [kind, *(int(word) % _WORD for word in generator(seed).state)]
    return np.random.RandomState(np.random.MT19937(np.random.SeedSequence(entropy)))


def digitize(signal: np.ndarray, saturation: float = LARGEST_PIXEL, rounded: bool = True) -> tuple[np.ndarray, int]:
    """The signal in ADU, offset included, as uint16 within 0 .. saturation, and how many values were above saturation.

    rounded: round to the nearest whole number, halves upwards; if False, truncate as C does.
    """
    whole = np.floor(signal + 0.5 if rounded else signal)
    digits = np.clip(whole, 0.0, math.floor(saturation)).astype(np.uint16)
    return digits, int(np.count_nonzero(signal > saturation))


def _within(weights: np.ndarray, size: int) -> np.ndarray:
    """The middle part of the weights, without those that reach across an axis of `size` pixels."""
    beyond = max(len(weights) // 2 - (size - 1), 0)
    return weights[beyond : len(weights) - beyond]
