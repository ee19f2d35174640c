"""A measured image as a refinement takes it: what is left out of it, and the offset that comes off."""

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
"""The key of an SMV header that says what was added to every pixel."""


class Gaps(NamedTuple):
    """What --gap says: ranges of stored values, ends included; besides those of the file, or instead of them."""

    ranges: tuple[tuple[float, float], ...] = ()
    besides: bool = True


AS_THE_FILE_SAYS = Gaps()
"""What --gap says where it is not given."""


class Measured(NamedTuple):
    """An image (slow, fast) as float64, the offset taken off, NaN where a pixel is left out; and why how many are.

    saturation: the stored values that are saturated, None if none are. below: how many pixels that count are stored as less
    than 0, which nothing says are gaps. noted: the header states the offset.
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
        """What was read, in words."""
        slow, fast = self.data.shape
        found = f"{self.path}: {fast} x {slow} pixels, {self.counted} counted"
        found += f" ({self.below} below 0 as data)" if self.below else ""
        listed = _listed(self.left_out)
        found += f", left out {listed}" if listed else ""
        found += f" {self.saturation}" if self.left_out["saturated"] else ""
        taken = self.offset_in_words()
        return f"{found}; {taken}{',' * self.noted} taken off" if taken else found

    def offset_in_words(self) -> str:
        """The offset that was taken off, and where it is from; empty where there is none."""
        whose = f", its header's {OFFSET_KEY}" if self.noted else ""
        return f"offset {self.offset:g}{whose}" if self.offset else ""


def read(
    path: str,
    experiment: Experiment,
    mask: np.ndarray | None,
    saturation: float | None,
    offset: float | None,
    gaps: Gaps = AS_THE_FILE_SAYS,
) -> Measured:
    """The image of a file, without pixels that are not rendered, masked, in gaps of the detector, or saturated.

    mask (slow, fast): 0 where a pixel is left out. saturation, offset: None: what the file states, else the largest number of
    1 or 2 bytes, and 0. gaps: what is one besides what the file says, or instead; a guess is warned of. InputError: what
    images.read refuses, and an image of which no pixel is left.
    """
    fast, slow = experiment.detector.pixels
    image = images.read(path, (slow, fast), "--data")
    limit = unmeasured.saturation(image) if saturation is None else unmeasured.Limit(saturation)
    noted = offset is None and number(image.header.get(OFFSET_KEY, "")) is not None
    taken = number(image.header[OFFSET_KEY]) if noted else (offset or 0.0)
    nowhere = np.zeros((slow, fast), dtype=bool)
    reasons = {
        "not rendered": ~rendered(experiment),
        "masked": nowhere if mask is None else mask == 0,
        "masked by the file": nowhere if image.masked is None else image.masked,
        "in gaps": _in_gaps(path, image, gaps),
        "below what is valid": unmeasured.below_limit(image),
        "saturated": nowhere if limit is None else limit.reached(image.pixels),
    }
    left, left_out = np.ones((slow, fast), dtype=bool), {}
    for reason, where in reasons.items():
        left_out[reason] = int(np.count_nonzero(where & left))
        left &= ~where
    if not left.any():
        raise InputError(f"--data: no pixel of {path!r} counts: {_listed(left_out)}; allowed: one at least that does")
    data = np.where(left, image.pixels.astype(np.float64) - taken, np.nan)
    below = int(np.count_nonzero(image.pixels[left] < 0)) if image.pixels.dtype.kind == "i" else 0
    return Measured(path, data, left_out, limit, below, taken, noted)


def _in_gaps(path: str, image: images.Image, gaps: Gaps) -> np.ndarray:
    """Which pixels are in gaps (slow, fast): as the file says, or as it looks, which is warned of; and as --gap says."""
    stated = unmeasured.within(image.pixels, gaps.ranges)
    if not gaps.besides:
        return stated | ~np.isfinite(image.pixels)
    stated |= unmeasured.in_gaps(image)
    guessed = unmeasured.guessed_gaps(image) & ~stated
    if guessed.any():
        count, ways = np.count_nonzero(guessed), "--gap -1,-2 says that they are, --gap none that they are data"
        warnings.warn(f"{path}: {count} pixels of -1 and -2, whole lines of them, are taken for gaps: {ways}", stacklevel=2)
    return stated | guessed


def _listed(left_out: Mapping[str, int]) -> str:
    """How many pixels are left out for each reason, in words; nothing where none is."""
    return ", ".join(f"{count} {reason}" for reason, count in left_out.items() if count)


def rendered(experiment: Experiment) -> np.ndarray:
    """Which pixels are rendered (slow, fast): those of the region that the mask of the flags leaves."""
    window = sampling.window(experiment.detector.pixels, experiment.sampling.roi, experiment.sampling.mask)
    part = slice(*window.rows), slice(*window.columns)
    found = np.zeros(experiment.detector.pixels[::-1], dtype=bool)
    found[part] = window.mask[part] != 0 if window.mask.size else True
    return found


def read_gaps(words: Sequence[str]) -> Gaps:
    """What --gap says: values, and ranges LOW:HIGH of which one end may be missing; "none": instead of what the file says."""
    ranges = []
    for word in words:
        if word == "none":
            continue
        low, colon, high = word.partition(":")
        ends = (number(low) if low else -np.inf, number(high) if high else np.inf) if colon else 2 * (number(low),)
        if word == ":" or None in ends or not ends[0] <= ends[1]:
            allowed = "numbers as they are stored, LOW:HIGH, :HIGH, LOW:, or none, with commas between several"
            raise InputError(f"--gap: {excerpt(word)} is not allowed; allowed: {allowed}")
        ranges.append(ends)
    return Gaps(tuple(ranges), "none" not in words)


def read_mask(path: str, experiment: Experiment) -> np.ndarray:
    """The mask of a file (slow, fast), 0 where a pixel is left out. InputError also for one that says the opposite, or NaN."""
    fast, slow = experiment.detector.pixels
    if path.partition("#")[0].endswith(f"/{nxmx.MASK}"):
        why = "0 stands for a good pixel in it, and an image of that file is read with it anyway"
        raise InputError(f"--mask: {path!r} is the mask of a file: {why}; allowed: images that are 0 where a pixel is left out")
    found = images.read(path, (slow, fast), "--mask").pixels
    lost = np.count_nonzero(np.isnan(found)) if found.dtype.kind == "f" else 0
    if lost:
        raise InputError(f"--mask: {lost} numbers of {path!r} are NaN; allowed: 0 where a pixel is left out, other numbers")
    return found
