"""What the command line does with an image once it is computed, for Python: noise, 16-bit images, and files to and fro.

Every function takes and returns arrays; nothing is printed. InputError is raised for what cannot be read or written.
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
from nbnumba.response import PHOTON_COUNTER, Response, measure
from nbnumba.setup import sampling
from nbnumba.setup.detector import position_detector
from nbnumba.setup.orientations import noise_generator
from nbnumba.simulate import with_options

Path = str | os.PathLike[str]

MOST_SCALE = 1e100
"""The largest scale of a picture or of integers: the faintest image becomes white."""


def noise_image(
    experiment: Experiment, image: ArrayLike, seed: int, response: Response = PHOTON_COUNTER, adc: float = DEFAULT_ADC_OFFSET
) -> NoiseImage:
    """What the detector of an experiment writes for its image of expected photons (slow, fast), as -noisefile (N2, N7).

    The result has pixels, uint16 (slow, fast), photons, their sum, and overloads. adc is added to every pixel of the region.
    """
    region, adc = _region(with_options(experiment), image), _offset(adc)
    if not isinstance(response, Response):
        raise InputError(f"response: {shown(response)} is no Response; allowed: a nbnumba.Response")
    generator = noise_generator(experiment.crystal, _whole("seed", seed))
    return measure(np.asarray(image), generator, response, experiment.detector.pixel_mm, adc, region)


def scaled_image(experiment: Experiment, image: ArrayLike, scale: float = 0.0, adc: float = DEFAULT_ADC_OFFSET) -> ScaledImage:
    """An image of photons (slow, fast) times a scale in 16 bits, as -intfile (N4): pixels, uint16 (slow, fast), and scale.

    scale 0 lets the brightest pixel be 55000. adc is added to every pixel of the region.
    """
    region = _region(with_options(experiment), image)
    return scaled_integers(np.asarray(image), _scale(scale), _offset(adc), region)


def write_float(path: Path, image: ArrayLike) -> None:
    """Write an image (slow, fast) as nanoBragg's float image: 4-byte floats without a header."""
    raw.write(path, _image(image), "write_float")


def read_float(path: Path, shape: tuple[int, int]) -> np.ndarray:
    """The float image of a file, float32, of that shape (slow, fast)."""
    return raw.read(path, _shape(shape), "read_float")


def write_smv(path: Path, pixels: ArrayLike, experiment: Experiment | None = None, adc: float = DEFAULT_ADC_OFFSET) -> None:
    """Write pixels, uint16 (slow, fast), as SMV; of an experiment with the header that the command line writes.

    adc: what was added to all pixels, as noise_image and scaled_image do, in ADU; the header states it, and who reads the image
    takes it off. Of counts to which nothing was added it is 0.
    """
    pixels, adc = _image(pixels), _offset(adc)
    if pixels.dtype != np.uint16:
        allowed = "whole numbers of 16 bits (numpy.uint16), slow and fast"
        raise InputError(f"write_smv: pixels {pixels.dtype} of shape {pixels.shape} are not allowed; allowed: {allowed}")
    if experiment is None:
        smv.write(path, pixels, [("ADC_OFFSET", adc)], "write_smv")
        return
    _region(with_options(experiment), pixels)
    switches = experiment.sampling.c_parity
    as_c = "header_overflow" in switches
    keys = headers.entries_of(experiment, position_detector(experiment.detector, experiment.beam, switches), adc, as_c)
    smv.write(path, pixels, keys, "write_smv", as_c)


def read_smv(path: Path) -> tuple[np.ndarray, dict[str, str]]:
    """The pixels (slow, fast) of an SMV image, and its header as text by key."""
    header, pixels = smv.read(path, "read_smv")
    return pixels, header


def read_image(path: Path, shape: tuple[int, int]) -> np.ndarray:
    """The pixels of an image of that shape (slow, fast), as stored: SMV, *.bin, or what fabio reads, as `refine --data`."""
    return images.read(os.fspath(path), _shape(shape), "read_image").pixels


def read_mask(path: Path) -> np.ndarray:
    """A mask (slow, fast) from an SMV image, as -mask: False where that is 0."""
    return smv.read(path, "read_mask")[1] != 0


def write_pgm(path: Path, image: ArrayLike, scale: float) -> None:
    """Write an image (slow, fast) as a picture, PGM: image times scale, cut to 0..255."""
    pgm.write(path, _image(image), _scale(scale), "write_pgm")


def write_png(path: Path, image: ArrayLike, mask: ArrayLike | None = None) -> tuple[float, float]:
    """Write an image (slow, fast) as a picture, PNG, background white; returns the values that are white and black.

    mask (slow, fast): 0 where a pixel has not been seen.
    """
    unseen = None if mask is None else _array("mask", mask) == 0
    if unseen is not None and unseen.shape != _image(image).shape:
        raise InputError(f"write_png: a mask of shape {unseen.shape} does not fit; allowed: {_image(image).shape}")
    white, black = png.write(path, _image(image), None, "write_png", unseen)
    return white, black


def read_hkl(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Reflections of a text file of h k l F, as -hkl: indices (n, 3) and amplitudes (n,). Warns of what it passes over."""
    found = hkl.read(path, "read_hkl")
    for note in found.notes:
        warnings.warn(f"read_hkl {os.fspath(path)}: {note}", stacklevel=2)
    return found.hkl, found.amplitudes


def write_hkl(path: Path, indices: ArrayLike, amplitudes: ArrayLike) -> None:
    """Write indices (n, 3) and amplitudes (n,) as text, with the digits that bring back the same numbers."""
    found, values = _array("indices", indices), _array("amplitudes", amplitudes)
    if found.dtype.kind not in "iu" or values.dtype.kind not in "iuf" or values.ndim != 1 or found.shape != (len(values), 3):
        said = f"indices {found.dtype} of shape {found.shape} and amplitudes {values.dtype} of shape {values.shape}"
        raise InputError(f"write_hkl: {said} are not allowed; allowed: whole numbers (n, 3), and numbers (n,)")
    hkl.write(path, found, values, "write_hkl")


def read_matrix(path: Path) -> np.ndarray:
    """A MOSFLM-style matrix (3, 3), as -mat: columns a*, b*, c* times the wavelength, for Crystal.from_matrix."""
    return matrix.read(path, "read_matrix")


def _array(name: str, values) -> np.ndarray:
    try:
        return np.asarray(values)
    except (TypeError, ValueError):
        raise InputError(f"{name}: {shown(values)} is not allowed; allowed: an array of numbers") from None


def _image(image) -> np.ndarray:
    found = _array("image", image)
    if found.ndim != 2 or not found.size or found.dtype.kind not in "biuf":
        raise InputError(f"image: {found.dtype} of shape {found.shape} is not allowed; allowed: numbers (slow, fast)")
    return found


def _region(experiment: Experiment, image) -> tuple[int, int, int, int]:
    """The region of an experiment, both ends included. Raises InputError for an image of another shape than its detector."""
    fast, slow = experiment.detector.pixels
    if _image(image).shape != (slow, fast):
        raise InputError(f"image: shape {np.shape(image)} does not fit; allowed: (slow, fast) = {(slow, fast)}")
    rows, columns = sampling.region(experiment.sampling.roi, (fast, slow))
    return columns[0], columns[1] - 1, rows[0], rows[1] - 1


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


def _whole(name: str, value) -> int:
    try:
        if value == int(real(value)):
            return int(value)
    except (TypeError, ValueError, OverflowError):
        pass
    raise InputError(f"{name}: {shown(value)} is not allowed; allowed: a whole number")
