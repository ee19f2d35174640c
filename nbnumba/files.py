"""Noise, images of 16 bits, and files that are read and written, for Python: what the command line does with an image.

The functions take and return arrays, and print nothing. They raise InputError for what cannot be read or written.
"""

from __future__ import annotations

import dataclasses
import os
import warnings
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from nbnumba.amplitudes import listed
from nbnumba.errors import InputError, real, shown
from nbnumba.experiment import Experiment
from nbnumba.flags import headers
from nbnumba.formats import (
    endings,
    expt_writer,
    geometry_files,
    hkl,
    matrix,
    minicbf_writer,
    nxmx_writer,
    pgm,
    png,
    raw,
    smv,
    spectrum,
)
from nbnumba.formats import images as image_files
from nbnumba.formats.geometry import Geometry
from nbnumba.geometry.indices import reindexed  # noqa: F401 - public here
from nbnumba.noise import DEFAULT_ADC_OFFSET, LARGEST_PIXEL, NoiseImage, ScaledImage, scaled_integers
from nbnumba.parity import NO_DEFECTS
from nbnumba.response import PHOTON_COUNTER, Response, check_response, measure_sheet, response_of_panel
from nbnumba.setup import sampling
from nbnumba.setup.detector import position_detector
from nbnumba.setup.orientations import noise_generator
from nbnumba.setup.sheet import sheet_of
from nbnumba.setup.sources import of_at_most
from nbnumba.simulate import with_options
from nbnumba.to_geometry import Readout, geometry_of, geometry_of_parts, noise_readout

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
    check_response(response)
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


def write_smv(
    path: Path,
    pixels: ArrayLike,
    experiment: Experiment | None = None,
    adc: float = DEFAULT_ADC_OFFSET,
    response: Response = PHOTON_COUNTER,
) -> None:
    """Write pixels (uint16; slow, fast) as SMV. With an experiment, the header is the one that the command line writes.

    adc: the offset in ADU that was added to all pixels, for example by noise_image or scaled_image, and 0 if none was. The
    header states it, and programs that read the image subtract it. response: that of noise_image; with an experiment the header
    states its gain and its saturation.
    """
    pixels, adc = _image(pixels), _offset(adc)
    check_response(response)
    if pixels.dtype != np.uint16:
        allowed = "whole numbers of 16 bits (numpy.uint16), slow and fast"
        raise InputError(f"write_smv: pixels {pixels.dtype} of shape {pixels.shape} are not allowed; allowed: {allowed}")
    if experiment is None:
        smv.write(path, pixels, [(smv.OFFSET_KEY, adc)], "write_smv")
        return
    _region(with_options(experiment), pixels)
    if experiment.detector.panels:
        why = "the header of SMV describes a detector without panels"
        raise InputError(f"write_smv: {why}; allowed: no experiment, for pixels alone, or a file that holds panels")
    defects = experiment.sampling.defects
    placement = position_detector(experiment.detector, experiment.beam, defects)
    own = response_of_panel(response, experiment.detector, adc)
    keys = headers.entries_of(experiment, placement, adc, defects.header_overflow, own)
    smv.write(path, pixels, keys, "write_smv", defects.header_overflow)


def write_expt(
    path: Path,
    experiment: Experiment | Sequence[Experiment],
    images: Path | Sequence[Path] = (),
    adc: float = DEFAULT_ADC_OFFSET,
    response: Response = PHOTON_COUNTER,
) -> None:
    """Write the geometry of an experiment, or of a rotation series of them, for dxtbx and DIALS (.expt, as -exptfile).

    images: the file of each image, numbered one after another before its ending, or one HDF5 file of all images. adc and
    response: those of noise_image; adc is 0 for the files of write_nxmx and write_cbf. Raises InputError for a curved detector,
    and for experiments or files that are no series. (specs/formats.md, Geometry for dxtbx and DIALS)
    """
    named = [images] if isinstance(images, (str, os.PathLike)) else images
    names = tuple(os.fspath(name) for name in named)
    check_response(response)
    geometry = geometry_of(_series(experiment), noise_readout(response, _offset(adc)), "write_expt")
    in_one = len(names) == 1 and endings.format_of(names[0]) == "HDF5"
    expt_writer.write(path, geometry, expt_writer.Images(names, in_one, _offset(adc)), "write_expt")


def write_nxmx(
    path: Path,
    images: ArrayLike,
    experiment: Experiment | Sequence[Experiment],
    adc: float = DEFAULT_ADC_OFFSET,
    response: Response = PHOTON_COUNTER,
    compression: str = "gzip",
) -> None:
    """Write an image (slow, fast), or a rotation series (image, slow, fast) of as many experiments, as NXmx (as -nxsfile).

    Of a detector of several panels an image is what simulate returns.

    Whole numbers are noise images, from which adc is subtracted; other numbers are expected photons. compression: gzip or
    bitshuffle. Needs h5py, and hdf5plugin for bitshuffle. Raises InputError where one is missing, for a curved detector, for
    images that do not fit the experiments, and for experiments that are no series. (specs/formats.md, NXmx)
    """
    series = _series(experiment)
    pixels = _sheets(images, series)
    whole = pixels.dtype.kind != "f"
    readout = _subtracted_readout(adc, response) if whole else Readout()
    counts = pixels.astype(np.int64) - int(adc) if whole else pixels
    nxmx_writer.write(path, counts, geometry_of(series, readout, "write_nxmx"), compression, "write_nxmx")


def write_cbf(
    path: Path,
    pixels: ArrayLike,
    experiment: Experiment,
    adc: float = DEFAULT_ADC_OFFSET,
    response: Response = PHOTON_COUNTER,
) -> None:
    """Write a noise image (uint16; slow, fast), less adc, as a miniCBF of a PILATUS or an EIGER (as -cbffile).

    Raises InputError for a detector of another size, and for pixels that are not whole numbers. Warns of what the header
    cannot state. (specs/formats.md, miniCBF)
    """
    counts, readout = _image(pixels), _subtracted_readout(adc, response)
    geometry = geometry_of(with_options(experiment), readout, "write_cbf")
    minicbf_writer.check(geometry, "write_cbf")
    _region(experiment, counts)
    if counts.dtype.kind not in "ui":
        raise InputError(f"write_cbf: pixels {counts.dtype} are not allowed; allowed: whole numbers")
    for lost in minicbf_writer.losses(geometry):
        warnings.warn(f"write_cbf: the header cannot state {lost}", stacklevel=2)
    minicbf_writer.write(path, counts.astype(np.int64) - int(adc), geometry, "write_cbf")


def _sheets(images: ArrayLike, series: list[Experiment]) -> np.ndarray:
    """The images of a series (image, slow, fast), in which panels lie one below another; one image may stand alone."""
    sheet = sheet_of(series[0].detector)
    alone = len(series) == 1 and (sheet.image_shape is None or np.ndim(images) == len(sheet.image_shape))
    parts = [images] if alone else list(images) if np.iterable(images) else []
    if len(parts) != len(series):
        raise InputError(f"images: {len(parts)} do not fit {len(series)} experiments; allowed: one for each")
    sheets = np.array([sheet.sheet("images", part, 0) for part in parts])
    if sheets.dtype.kind not in "uif":
        raise InputError(f"images: {sheets.dtype} is not allowed; allowed: numbers")
    return sheets


def _series(experiment: Experiment | Sequence[Experiment]) -> list[Experiment]:
    """The experiments of a series; one is a series of one."""
    try:
        series = [experiment] if isinstance(experiment, Experiment) else list(experiment)
    except TypeError:
        series = []
    if not series or not all(isinstance(one, Experiment) for one in series):
        raise InputError(f"experiment: {shown(experiment)} is not allowed; allowed: an Experiment, or several")
    return series


def _subtracted_readout(adc: float, response: Response) -> Readout:
    """The readout of a noise image from which adc is subtracted. Raises InputError for an offset that is not whole."""
    check_response(response)
    if _offset(adc) != int(adc):
        raise InputError(f"adc: {adc:g} is not allowed; allowed: a whole number, which is subtracted from whole numbers")
    return noise_readout(response, adc, subtracted=True)


def read_smv(path: Path) -> tuple[np.ndarray, dict[str, str]]:
    """Read an SMV image: its pixels (slow, fast), and the text of each key of its header."""
    header, pixels = smv.read(path, "read_smv")
    return pixels, header


def read_image(path: Path, shape: tuple[int, int]) -> np.ndarray:
    """Read the pixels of an image of the given shape (slow, fast), as stored: SMV, *.bin, or a format that fabio reads."""
    return image_files.read(os.fspath(path), _shape(shape), "read_image").pixels


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
    """Read reflections, as -hkl, from a text: indices (n, 3) and amplitudes (n,). Warns of what it skips.

    The text is h k l F, or the intensities of XDS or SHELX (F9d).
    """
    reflections = listed.from_hkl(path, "read_hkl")
    for note in reflections.notes:
        warnings.warn(f"read_hkl {os.fspath(path)}: {note}", stacklevel=2)
    return reflections.hkl, reflections.F


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


def read_spectrum(path: Path, steps: int | None = None) -> np.ndarray:
    """Read a spectrum, as -spectrum, for Beam.spectrum: wavelength in A and weight of each line (n, 2).

    steps: so many wavelengths of equal weight that have the same mean and rms width in its place (F5b), as -spectrum_steps;
    where the file has no more, it is read as it is. Raises InputError for what is no spectrum (formats/spectrum.py).
    """
    table = spectrum.read(path, "read_spectrum")
    count = len(table) if steps is None else _whole_number("steps", steps)
    if count < 1:
        raise InputError(f"steps: {count} is not allowed; allowed: a whole number of at least 1")
    return of_at_most(table, count)


def read_geometry(path: Path, experiment: int | None = None) -> Geometry:
    """Read the geometry of a file, recognised by its content: dxtbx, XDS, CrystFEL, NXmx, CBF or SMV (specs/formats.md).

    experiment: which one of the list in a file of dxtbx, from 0. Raises InputError for a file of another format or a damaged
    one, and for what no image here can have.
    """
    if geometry_files.kind_of(path, "read_geometry") == "SMV":
        return _geometry_of_smv(os.fsdecode(path))
    return geometry_files.read(path, "read_geometry", experiment, any_kind=True)


def _geometry_of_smv(path: str) -> Geometry:
    """The geometry of the header of an SMV image, as -img reads it in MOSFLM's convention, with its gain and its saturation.

    Warns of what the header cannot say, and of a beam centre far off the detector.
    """
    header = headers.Header(smv.read_header(path, "read_geometry"), f"read_geometry: {path!r}", (), NO_DEFECTS)
    fields = headers.fields_of(header, None, False)
    detector, beam, goniometer = headers.parts_of(fields)
    for sentence in headers.distant_centres(detector, fields):
        warnings.warn(f"{header.name}: {sentence}", stacklevel=3)
    geometry = geometry_of_parts(path, "SMV", detector, beam, goniometer)
    readout = headers.readout_of(header)
    saturated = readout.get("response.saturation")
    most = None if saturated is None else saturated - 1.0
    panel = dataclasses.replace(geometry.panels[0], gain=readout.get("response.gain"), trusted_max=most)
    wavelength_A = geometry.wavelength_A if "WAVELENGTH" in header.entries else None
    return dataclasses.replace(geometry, panels=(panel,), wavelength_A=wavelength_A)


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
