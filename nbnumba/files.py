"""Noise, images of 16 bits, and files that are read and written, for Python: what the command line does with an image.

The functions take and return arrays, and print nothing. They raise InputError for what cannot be read or written.
"""

from __future__ import annotations

import os
import warnings

import numpy as np
from numpy.typing import ArrayLike

from nbnumba.errors import InputError, real, shown
from nbnumba.experiment import Experiment
from nbnumba.flags import headers
from nbnumba.formats import hkl, images, matrix, pgm, png, raw, smv
from nbnumba.noise import DEFAULT_ADC_OFFSET, LARGEST_PIXEL, NoiseImage, ScaledImage, scaled_integers
from nbnumba.response import PHOTON_COUNTER, Response, measure_sheet
from nbnumba.setup import sampling
from nbnumba.setup.detector import position_detector
from nbnumba.setup.orientations import noise_generator
from nbnumba.setup.sheet import sheet_of
from nbnumba.simulate import with_options

Path = str | os.PathLike[str]

MOST_SCALE = 1e100
"""The largest scale of a picture or of an image of integers, which makes even the faintest image white."""


def noise_image(
    experiment: Experiment, image: ArrayLike, seed: int, response: Response = PHOTON_COUNTER, adc: float = DEFAULT_ADC_OFFSET
) -> NoiseImage:
    """The noise image that the detector of an experiment records of expected photons (slow, fast), as -noisefile (N2, N7).

    The result has pixels (uint16; slow, fast), the sum of the photons, and the number of overloads. adc is added to every pixel
    of the region. The pixels of several panels are (panel, slow, fast), or a list, like the image; each panel multiplies the
    gain of the response by its own, and is saturated at its trusted_max, if that is less. One sequence of deviates goes through
    all panels, in their order.
    """
    experiment, adc = with_options(experiment), _offset(adc)
    if not isinstance(response, Response):
        raise InputError(f"response: {shown(response)} is not a Response; allowed: a nbnumba.Response")
    sheet = sheet_of(experiment.detector)
    whole = sheet.sheet("image", image, 0.0) if len(sheet.shapes) > 1 else _fitting(experiment, image)
    generator = noise_generator(experiment.crystal, _whole_number("seed", seed))
    noisy = measure_sheet(experiment, whole, generator, response, adc)
    return noisy._replace(pixels=sheet.image(noisy.pixels))


def scaled_image(experiment: Experiment, image: ArrayLike, scale: float = 0.0, adc: float = DEFAULT_ADC_OFFSET) -> ScaledImage:
    """An image of photons (slow, fast), scaled and rounded to 16 bits, as -intfile (N4): its pixels, uint16, and its scale.

    A scale of 0 makes the brightest pixel 55000. adc is added to every pixel of the region. The pixels of several panels are
    like the image, and have one scale.
    """
    experiment = with_options(experiment)
    if len(experiment.detector.panels) > 1:
        sheet = sheet_of(experiment.detector)
        scaled = scaled_integers(sheet.sheet("image", image, 0.0), _scale(scale), _offset(adc))
        return scaled._replace(pixels=sheet.image(scaled.pixels))
    region = _region(experiment, image)
    return scaled_integers(np.asarray(image), _scale(scale), _offset(adc), region)


def write_float(path: Path, image: ArrayLike) -> None:
    """Write an image (slow, fast) as nanoBragg's float image: 4-byte floats without a header."""
    raw.write(path, _image(image), "write_float")


def read_float(path: Path, shape: tuple[int, int]) -> np.ndarray:
    """Read a float image of the given shape (slow, fast), as float32."""
    return raw.read(path, _shape(shape), "read_float")


def write_smv(path: Path, pixels: ArrayLike, experiment: Experiment | None = None, adc: float = DEFAULT_ADC_OFFSET) -> None:
    """Write pixels (uint16; slow, fast) as SMV. With an experiment, the header is the one that the command line writes.

    adc: the offset in ADU that was added to all pixels, for example by noise_image or scaled_image, and 0 if none was. The
    header states it, and programs that read the image subtract it.
    """
    pixels, adc = _image(pixels), _offset(adc)
    if pixels.dtype != np.uint16:
        allowed = "whole numbers of 16 bits (numpy.uint16), slow and fast"
        raise InputError(f"write_smv: pixels {pixels.dtype} of shape {pixels.shape} are not allowed; allowed: {allowed}")
    if experiment is None:
        smv.write(path, pixels, [("ADC_OFFSET", adc)], "write_smv")
        return
    _region(with_options(experiment), pixels)
    if experiment.detector.panels:
        why = "the header of SMV describes a detector without panels"
        raise InputError(f"write_smv: {why}; allowed: no experiment, for pixels alone, or a file that holds panels")
    defects = experiment.sampling.defects
    placement = position_detector(experiment.detector, experiment.beam, defects)
    keys = headers.entries_of(experiment, placement, adc, defects.header_overflow)
    smv.write(path, pixels, keys, "write_smv", defects.header_overflow)


def read_smv(path: Path) -> tuple[np.ndarray, dict[str, str]]:
    """Read an SMV image: its pixels (slow, fast), and the text of each key of its header."""
    header, pixels = smv.read(path, "read_smv")
    return pixels, header


def read_image(path: Path, shape: tuple[int, int]) -> np.ndarray:
    """Read the pixels of an image of the given shape (slow, fast), as stored: SMV, *.bin, or a format that fabio reads."""
    return images.read(os.fspath(path), _shape(shape), "read_image").pixels


def read_mask(path: Path) -> np.ndarray:
    """Read a mask (slow, fast) from an SMV image, as -mask: False where the image is 0."""
    return smv.read(path, "read_mask")[1] != 0


def write_pgm(path: Path, image: ArrayLike, scale: float) -> None:
    """Write an image (slow, fast) times a scale as a picture, PGM, with values from 0 to 255."""
    pgm.write(path, _image(image), _scale(scale), "write_pgm")


def write_png(path: Path, image: ArrayLike, mask: ArrayLike | None = None) -> tuple[float, float]:
    """Write an image (slow, fast) as a picture, PNG, with a white background. Returns the values that are white and black.

    mask (slow, fast): 0 where a pixel is unmeasured.
    """
    unmeasured = None if mask is None else _array("mask", mask) == 0
    if unmeasured is not None and unmeasured.shape != _image(image).shape:
        raise InputError(f"write_png: a mask of shape {unmeasured.shape} does not fit; allowed: {_image(image).shape}")
    white, black = png.write(path, _image(image), None, "write_png", unmeasured)
    return white, black


def read_hkl(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read reflections, as -hkl, from a text file of h k l F: indices (n, 3) and amplitudes (n,). Warns of lines it skips."""
    reflections = hkl.read(path, "read_hkl")
    for note in reflections.notes:
        warnings.warn(f"read_hkl {os.fspath(path)}: {note}", stacklevel=2)
    return reflections.hkl, reflections.amplitudes


def write_hkl(path: Path, indices: ArrayLike, amplitudes: ArrayLike) -> None:
    """Write indices (n, 3) and amplitudes (n,) as text, with so many digits that read_hkl returns the same numbers."""
    hkls, values = _array("indices", indices), _array("amplitudes", amplitudes)
    if hkls.dtype.kind not in "iu" or values.dtype.kind not in "iuf" or values.ndim != 1 or hkls.shape != (len(values), 3):
        arrays = f"indices {hkls.dtype} of shape {hkls.shape} and amplitudes {values.dtype} of shape {values.shape}"
        raise InputError(f"write_hkl: {arrays} are not allowed; allowed: whole numbers (n, 3), and numbers (n,)")
    hkl.write(path, hkls, values, "write_hkl")


def read_matrix(path: Path) -> np.ndarray:
    """Read a matrix (3, 3) of MOSFLM, as -mat: its columns are a*, b* and c* times the wavelength, for Crystal.from_matrix."""
    return matrix.read(path, "read_matrix")


def _array(name: str, values) -> np.ndarray:
    try:
        return np.asarray(values)
    except (TypeError, ValueError):
        raise InputError(f"{name}: {shown(values)} is not allowed; allowed: an array of numbers") from None


def _image(image) -> np.ndarray:
    pixels = _array("image", image)
    if pixels.ndim != 2 or not pixels.size or pixels.dtype.kind not in "biuf":
        raise InputError(f"image: {pixels.dtype} of shape {pixels.shape} is not allowed; allowed: numbers (slow, fast)")
    return pixels


def _region(experiment: Experiment, image) -> tuple[int, int, int, int]:
    """The region of an experiment, with both ends included. Raises InputError for an image that does not fit its detector."""
    slow, fast = _fitting(experiment, image).shape
    rows, columns = sampling.region(experiment.sampling.roi, (fast, slow))
    return columns[0], columns[1] - 1, rows[0], rows[1] - 1


def _fitting(experiment: Experiment, image) -> np.ndarray:
    """An image of one panel. Raises InputError unless it fits its detector."""
    slow, fast = sheet_of(experiment.detector).shape
    if _image(image).shape != (slow, fast):
        raise InputError(f"image: shape {np.shape(image)} does not fit; allowed: (slow, fast) = {(slow, fast)}")
    return np.asarray(image)


def _shape(shape) -> tuple[int, int]:
    try:
        slow, fast = (int(size) for size in shape)
        if min(slow, fast) < 1:
            raise ValueError
    except (TypeError, ValueError, OverflowError):
        raise InputError(f"shape: {shown(shape)} is not allowed; allowed: two numbers of pixels, slow and fast") from None
    return slow, fast


def _offset(adc) -> float:
    return _number("adc", adc, -LARGEST_PIXEL, LARGEST_PIXEL)


def _scale(scale) -> float:
    return _number("scale", scale, 0.0, MOST_SCALE)


def _number(name: str, value, least: float, most: float) -> float:
    try:
        if least <= float(real(value)) <= most:
            return float(value)
    except (TypeError, ValueError, OverflowError):
        pass
    raise InputError(f"{name}: {shown(value)} is not allowed; allowed: a number from {least:g} to {most:g}")


def _whole_number(name: str, value) -> int:
    try:
        if value == int(real(value)):
            return int(value)
    except (TypeError, ValueError, OverflowError):
        pass
    raise InputError(f"{name}: {shown(value)} is not allowed; allowed: a whole number")
