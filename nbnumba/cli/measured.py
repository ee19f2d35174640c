"""Measured images for a refinement: they are read, their offset is subtracted, and pixels that do not count are left out."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from nbnumba.errors import InputError
from nbnumba.experiment import Experiment
from nbnumba.flags.arguments import number
from nbnumba.formats import images, nxmx, unmeasured
from nbnumba.formats.smv import OFFSET_KEY
from nbnumba.formats.text import excerpt
from nbnumba.setup import sampling
from nbnumba.setup.sheet import Sheet, masked_pixels, parts_with_pixels, sheet_of
from nbnumba.statements import Detector

READOUT_FLAGS = {
    **dict.fromkeys(("-gain", "-readout_noise", "-saturation")),
    **dict.fromkeys(("-psf", "-psf_type", "-calibration_noise", "-calib_seed"), "the expected image is without it"),
    "-flicker_noise": "the expected image is without it",
    "-adc": "--offset says what is to be taken off the data",
}
"""The flags of a detector's read-out: None for those that describe measured data, else why the flag has no effect here."""


def add_options(add: Callable[..., Any]) -> None:
    """Add the options of which pixels of measured images count, and what is subtracted; add: a parser's add_argument."""
    add("--gap", action="append", metavar="VALUE[,...]", help="stored values of gaps, or LOW:HIGH; none: ignore the file's")
    add("--saturation", metavar="NUMBER", help="pixels from this value on are left out (default: as the file or FLAGS say)")
    add("--offset", metavar="NUMBER", help="subtracted from every pixel (default: ADC_OFFSET of the header, else 0)")


class Gaps(NamedTuple):
    """The stored values of gaps: ranges that include both ends, and whether the gaps of the file are added to them."""

    ranges: tuple[tuple[float, float], ...] = ()
    with_those_of_file: bool = True


AS_THE_FILE_SAYS = Gaps()
"""The gaps if --gap is not given."""


class Measured(NamedTuple):
    """A measured image (slow, fast): float64, the offset subtracted, NaN where a pixel is left out.

    That of several panels is (panel, slow, fast), or a list, in photons: counts over the gain of each panel.

    left_out: the number of pixels that are left out for each reason. saturation: the stored values that are saturated, or None.
    below: the number of pixels that count although they are stored as less than 0, since nothing says that they are gaps.
    noted: whether the header states the offset.
    """

    path: str
    data: Any
    left_out: dict[str, int]
    saturation: unmeasured.Limit | None
    below: int
    offset: float
    noted: bool

    @property
    def counted(self) -> int:
        """The number of pixels that count."""
        return sum(int(np.count_nonzero(~np.isnan(panel))) for panel in self.panels)

    @property
    def panels(self) -> list[np.ndarray]:
        """The image of each panel (slow, fast)."""
        return [self.data] if np.ndim(self.data[0]) == 1 else list(self.data)

    def line(self) -> str:
        """A line of text that describes the image."""
        slow, fast = self.panels[0].shape
        several = f"{len(self.panels)} panels of " if len(self.panels) > 1 else ""
        text = f"{self.path}: {several}{fast} x {slow} pixels, {self.counted} counted"
        text += f" ({self.below} below 0 as data)" if self.below else ""
        reasons = _in_words(self.left_out)
        text += f", left out {reasons}" if reasons else ""
        text += f" {self.saturation}" if self.left_out["saturated"] else ""
        offset = self.offset_in_words()
        return f"{text}; {offset} subtracted" if offset else text

    def offset_in_words(self) -> str:
        """The offset that was subtracted, and where it is from; empty if it is 0."""
        source = f" ({OFFSET_KEY} of its header)" if self.noted else ""
        return f"offset {self.offset:g}{source}" if self.offset else ""


def read(
    path: str,
    experiment: Experiment,
    mask: np.ndarray | None,
    saturation: float | None,
    offset: float | None,
    gaps: Gaps = AS_THE_FILE_SAYS,
) -> Measured:
    """The image of a file without the pixels that are not rendered, masked, in gaps of the detector, or saturated.

    mask (slow, fast): 0 where a pixel is left out. saturation: None for what the file states, else the largest number of 1 or 2
    bytes. offset: None for what the file states, else 0. gaps: the values of gaps that --gap states; warns of gaps that are
    guessed. Raises InputError for what images.read refuses, and for an image without a pixel that counts.
    """
    sheet = sheet_of(experiment.detector)
    image = _image(path, experiment.detector, "--data")
    limit = unmeasured.saturation(image) if saturation is None else unmeasured.Limit(saturation)
    stated = image.stated(OFFSET_KEY) if offset is None else None
    noted, subtracted = stated is not None, (offset or 0.0) if stated is None else stated
    nowhere = np.zeros(sheet.shape, dtype=bool)
    reasons = {
        "not rendered": ~sampling.rendered(experiment.detector, experiment.sampling),
        "masked": nowhere if mask is None else sheet.sheet("--mask", mask, 0) == 0,
        "masked by the file": nowhere if image.masked is None else image.masked,
        "masked by the geometry": masked_pixels(experiment.detector),
        "in gaps": _in_gaps(path, image, gaps),
        "below what is valid": unmeasured.below_limit(image) | _beyond(experiment.detector, image.pixels, least=True),
        "saturated": (nowhere if limit is None else limit.reached(image.pixels)) | _beyond(experiment.detector, image.pixels),
    }
    is_measured, left_out = _is_pixel(sheet), {}
    for reason, affected in reasons.items():
        left_out[reason] = int(np.count_nonzero(affected & is_measured))
        is_measured &= ~affected
    if not is_measured.any():
        raise InputError(f"--data: no pixel of {path!r} counts: {_in_words(left_out)}; allowed: at least one pixel that counts")
    data = np.where(is_measured, image.pixels.astype(np.float64) - subtracted, np.nan)
    for panel, place in zip(experiment.detector.panels, sheet.places()):
        data[place] /= panel.gain
    below = int(np.count_nonzero(image.pixels[is_measured] < 0)) if image.pixels.dtype.kind == "i" else 0
    return Measured(path, sheet.image(data), left_out, limit, below, subtracted, noted)


def _image(path: str, detector: Detector, what: str) -> images.Image:
    """The image of a file: (slow, fast), or the sheet of several panels."""
    shapes = sheet_of(detector).shapes
    if len(shapes) == 1:
        return images.read(path, shapes[0], what)
    origins = [panel.data_origin for panel in detector.panels if panel.data_origin is not None]
    return images.read_panels(path, shapes, what, origins if len(origins) == len(shapes) else None)


def _is_pixel(sheet: Sheet) -> np.ndarray:
    """Whether each element of a sheet is a pixel: a narrow panel leaves its last columns empty."""
    is_pixel = np.zeros(sheet.shape, dtype=bool)
    for place in sheet.places():
        is_pixel[place] = True
    return is_pixel


def _beyond(detector: Detector, pixels: np.ndarray, least: bool = False) -> np.ndarray:
    """Whether each pixel of a sheet is above the largest count that its panel measures, or below the least."""
    beyond = np.zeros(pixels.shape, dtype=bool)
    for panel, place in zip(parts_with_pixels(detector), sheet_of(detector).places()):
        limit = panel.trusted_min if least else panel.trusted_max
        if limit is not None:
            beyond[place] = pixels[place] < limit if least else pixels[place] > limit
    return beyond


def _in_gaps(path: str, image: images.Image, gaps: Gaps) -> np.ndarray:
    """Whether each pixel is in a gap (slow, fast): --gap or the file says so, or, with a warning, its values suggest it."""
    stated = unmeasured.within(image.pixels, gaps.ranges)
    if not gaps.with_those_of_file:
        return stated | ~np.isfinite(image.pixels)
    stated |= unmeasured.in_gaps(image)
    guessed = unmeasured.guessed_gaps(image) & ~stated
    if guessed.any():
        finding = f"{np.count_nonzero(guessed)} pixels of -1 and -2, which fill whole lines, are taken for gaps"
        ways = "--gap -1,-2 says that they are gaps, --gap none that they are data"
        warnings.warn(f"{path}: {finding}: {ways}", stacklevel=2)
    return stated | guessed


def _in_words(left_out: Mapping[str, int]) -> str:
    """The number of pixels that are left out for each reason, in words; empty if none is left out."""
    return ", ".join(f"{count} {reason}" for reason, count in left_out.items() if count)


def read_gaps(words: Sequence[str]) -> Gaps:
    """The gaps of --gap: values, and ranges LOW:HIGH of which one end may be missing; "none" ignores what the file says."""
    ranges = []
    for word in words:
        if word == "none":
            continue
        low, colon, high = word.partition(":")
        ends = (number(low) if low else -np.inf, number(high) if high else np.inf) if colon else 2 * (number(low),)
        if word == ":" or None in ends or not ends[0] <= ends[1]:
            allowed = "numbers as they are stored, LOW:HIGH, :HIGH, LOW:, or none, several separated by commas"
            raise InputError(f"--gap: {excerpt(word)} is not allowed; allowed: {allowed}")
        ranges.append(ends)
    return Gaps(tuple(ranges), "none" not in words)


def read_mask(path: str, experiment: Experiment) -> np.ndarray:
    """The mask of a file, of the shape of an image, 0 where a pixel is left out.

    Raises InputError for what images.read refuses, for a mask with NaN, and for a pixel_mask of HDF5, which is 0 where a pixel
    is good.
    """
    if path.partition("#")[0].endswith(f"/{nxmx.MASK}"):
        why = "in it 0 stands for a good pixel, and it is applied anyway when an image of that file is read"
        raise InputError(f"--mask: {path!r} is the mask of a file: {why}; allowed: images that are 0 where a pixel is left out")
    mask = _image(path, experiment.detector, "--mask").pixels
    invalid = np.count_nonzero(np.isnan(mask)) if mask.dtype.kind == "f" else 0
    if invalid:
        raise InputError(f"--mask: {invalid} numbers of {path!r} are NaN; allowed: 0 where a pixel is left out, other numbers")
    return sheet_of(experiment.detector).image(mask)
