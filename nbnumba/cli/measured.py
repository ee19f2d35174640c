"""A measured image as a refinement takes it: what is left out of it, and the offset that comes off."""

import re
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from nbnumba.cli.arguments import number
from nbnumba.errors import InputError
from nbnumba.experiment import Experiment
from nbnumba.formats import images
from nbnumba.setup import sampling

OFFSET_KEY = "ADC_OFFSET"
"""The key of an SMV header that says what was added to every pixel."""

SATURATION_KEYS = ("SATURATED_VALUE", "CCD_IMAGE_SATURATION")
"""Keys of headers that say from which value on a pixel is saturated."""

_CUTOFF = re.compile(r"Count_cutoff\s+([0-9]+)")


class Measured(NamedTuple):
    """An image (slow, fast) as float64, the offset taken off, NaN where a pixel is left out; and why how many are.

    saturation: the stored value from which on a pixel is saturated, None if there is none. noted: the header states the offset.
    """

    path: str
    data: np.ndarray
    left_out: dict[str, int]
    saturation: float | None
    offset: float
    noted: bool

    @property
    def counted(self) -> int:
        """The number of pixels that count."""
        return int(np.count_nonzero(~np.isnan(self.data)))

    def line(self) -> str:
        """What was read, in words."""
        slow, fast = self.data.shape
        from_on = "" if self.saturation is None or not self.left_out["saturated"] else f" from {self.saturation:.10g} on"
        found = f"{self.path}: {fast} x {slow} pixels, {self.counted} counted"
        found += f", left out {_listed(self.left_out)}{from_on}" if any(self.left_out.values()) else ""
        if self.noted:
            return f"{found}; offset {self.offset:g}, its header's {OFFSET_KEY}, taken off"
        return f"{found}; offset {self.offset:g} taken off" if self.offset else found


def read(
    path: str, experiment: Experiment, mask: np.ndarray | None, saturation: float | None, offset: float | None
) -> Measured:
    """The image of a file, without pixels that are not rendered, masked, in gaps of the detector, or saturated.

    mask (slow, fast): 0 where a pixel is left out. saturation, offset: None: what the header states, else 65535 of 16-bit
    pixels, and 0. InputError: what images.read refuses, and an image of which no pixel is left.
    """
    fast, slow = experiment.detector.pixels
    image = images.read(path, (slow, fast), "--data")
    saturation = saturated_from(image) if saturation is None else saturation
    noted = offset is None and number(image.header.get(OFFSET_KEY, "")) is not None
    taken = number(image.header[OFFSET_KEY]) if noted else (offset or 0.0)
    reasons = {
        "not rendered": ~rendered(experiment),
        "masked": np.zeros((slow, fast), dtype=bool) if mask is None else mask == 0,
        "in gaps": gaps(image.pixels),
        "saturated": np.zeros((slow, fast), dtype=bool) if saturation is None else image.pixels >= saturation,
    }
    left, left_out = np.ones((slow, fast), dtype=bool), {}
    for reason, where in reasons.items():
        left_out[reason] = int(np.count_nonzero(where & left))
        left &= ~where
    if not left.any():
        raise InputError(f"--data: no pixel of {path!r} counts: {_listed(left_out)}; allowed: one at least that does")
    data = np.where(left, image.pixels.astype(np.float64) - taken, np.nan)
    return Measured(path, data, left_out, saturation, taken, noted)


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


def gaps(pixels: np.ndarray) -> np.ndarray:
    """Which pixels hold no measurement: no finite number; an integer below 0; the largest unsigned number.

    Of 4 bytes and more the next one to it is none either, which detectors that count write for pixels that are broken; of 2
    bytes the largest, 65535, is a saturated pixel rather than a gap.
    """
    if pixels.dtype.kind == "f":
        return ~np.isfinite(pixels)
    if pixels.dtype.kind != "u" or pixels.dtype.itemsize == 2:
        return pixels < 0
    largest = np.iinfo(pixels.dtype).max
    return pixels >= (largest - 1 if pixels.dtype.itemsize >= 4 else largest)


def saturated_from(image: images.Image) -> float | None:
    """The value from which on a pixel is saturated: as the header states it, else 65535 of 16-bit pixels."""
    for key in SATURATION_KEYS:
        value = number(image.header.get(key, ""))
        if value is not None and value > 0.0:
            return value
    for text in image.header.values():
        found = _CUTOFF.search(text)
        if found and int(found[1]) > 0:
            return float(found[1])
    return 65535.0 if image.pixels.dtype == np.uint16 else None


def read_mask(path: str, experiment: Experiment) -> np.ndarray:
    """The mask of a file (slow, fast), 0 where a pixel is left out."""
    fast, slow = experiment.detector.pixels
    return images.read(path, (slow, fast), "--mask").pixels
