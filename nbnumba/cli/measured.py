"""Measured images for a refinement: they are read, their offset is subtracted, and pixels that do not count are left out."""

import warnings
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from nbnumba.errors import InputError
from nbnumba.experiment import Experiment
from nbnumba.flags.arguments import number
from nbnumba.formats import images, nxmx, unmeasured
from nbnumba.formats.text import excerpt
from nbnumba.setup import sampling

OFFSET_KEY = "ADC_OFFSET"
"""The key of an SMV header with the offset that was added to every pixel."""


class Gaps(NamedTuple):
    """The stored values of gaps: ranges that include both ends, and whether the gaps of the file are added to them."""

    ranges: tuple[tuple[float, float], ...] = ()
    with_those_of_file: bool = True


AS_THE_FILE_SAYS = Gaps()
"""The gaps if --gap is not given."""


class Measured(NamedTuple):
    """A measured image (slow, fast): float64, the offset subtracted, NaN where a pixel is left out.

    left_out: the number of pixels that are left out for each reason. saturation: the stored values that are saturated, or None.
    below: the number of pixels that count although they are stored as less than 0, since nothing says that they are gaps.
    noted: whether the header states the offset.
    """

    path: str
    data: np.ndarray
    left_out: dict[str, int]
    saturation: unmeasured.Limit | None
    below: int
    offset: float
    noted: bool

    @property
    def counted(self) -> int:
        """The number of pixels that count."""
        return int(np.count_nonzero(~np.isnan(self.data)))

    def line(self) -> str:
        """A line of text that describes the image."""
        slow, fast = self.data.shape
        text = f"{self.path}: {fast} x {slow} pixels, {self.counted} counted"
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
    fast, slow = experiment.detector.pixels
    image = images.read(path, (slow, fast), "--data")
    limit = unmeasured.saturation(image) if saturation is None else unmeasured.Limit(saturation)
    noted = offset is None and number(image.header.get(OFFSET_KEY, "")) is not None
    subtracted = number(image.header[OFFSET_KEY]) if noted else (offset or 0.0)
    nowhere = np.zeros((slow, fast), dtype=bool)
    reasons = {
        "not rendered": ~rendered(experiment),
        "masked": nowhere if mask is None else mask == 0,
        "masked by the file": nowhere if image.masked is None else image.masked,
        "in gaps": _in_gaps(path, image, gaps),
        "below what is valid": unmeasured.below_limit(image),
        "saturated": nowhere if limit is None else limit.reached(image.pixels),
    }
    is_measured, left_out = np.ones((slow, fast), dtype=bool), {}
    for reason, affected in reasons.items():
        left_out[reason] = int(np.count_nonzero(affected & is_measured))
        is_measured &= ~affected
    if not is_measured.any():
        raise InputError(f"--data: no pixel of {path!r} counts: {_in_words(left_out)}; allowed: at least one pixel that counts")
    data = np.where(is_measured, image.pixels.astype(np.float64) - subtracted, np.nan)
    below = int(np.count_nonzero(image.pixels[is_measured] < 0)) if image.pixels.dtype.kind == "i" else 0
    return Measured(path, data, left_out, limit, below, subtracted, noted)


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


def rendered(experiment: Experiment) -> np.ndarray:
    """Whether each pixel is rendered (slow, fast): it is in the region of the flags, and their mask does not leave it out."""
    window = sampling.window(experiment.detector.pixels, experiment.sampling.roi, experiment.sampling.mask)
    region = slice(*window.rows), slice(*window.columns)
    is_rendered = np.zeros(experiment.detector.pixels[::-1], dtype=bool)
    is_rendered[region] = window.mask[region] != 0 if window.mask.size else True
    return is_rendered


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
    """The mask of a file (slow, fast), 0 where a pixel is left out.

    Raises InputError for what images.read refuses, for a mask with NaN, and for a pixel_mask of HDF5, which is 0 where a pixel
    is good.
    """
    fast, slow = experiment.detector.pixels
    if path.partition("#")[0].endswith(f"/{nxmx.MASK}"):
        why = "in it 0 stands for a good pixel, and it is applied anyway when an image of that file is read"
        raise InputError(f"--mask: {path!r} is the mask of a file: {why}; allowed: images that are 0 where a pixel is left out")
    mask = images.read(path, (slow, fast), "--mask").pixels
    invalid = np.count_nonzero(np.isnan(mask)) if mask.dtype.kind == "f" else 0
    if invalid:
        raise InputError(f"--mask: {invalid} numbers of {path!r} are NaN; allowed: 0 where a pixel is left out, other numbers")
    return mask
