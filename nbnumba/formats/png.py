"""PNG previews: dark spots on white, on a square-root scale that shows weak ones; marks and unmeasured pixels in colour."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from nbnumba.errors import InputError
from nbnumba.formats import files

_WHITE_PERCENTILE, _BLACK_PERCENTILE = 10.0, 99.9
_MEDIAN, _ONE_SIGMA = 50.0, 84.134
_SIGMAS = 10.0
UNMEASURED, MARK = (168, 198, 228), (0, 114, 178)
"""The colours of pixels that hold no measurement, and of marks."""


class Scale(NamedTuple):
    """The scale of grey: values up to `white` are white, and values from `black` on are black."""

    white: float
    black: float


class Ring(NamedTuple):
    """A closed line: the pixels inside it (bool, slow x fast), its label, and the row and column of the label.

    parts: the rows and columns of the parts of a picture that show different places, between which there is no line; without
    any, the picture is one.
    """

    inside: np.ndarray
    name: str
    label_position: tuple[float, float]
    parts: tuple[tuple[slice, slice], ...] = ()

    def line(self) -> np.ndarray:
        """The pixels (bool, slow x fast) along the line."""
        if not self.parts:
            return edge(self.inside)
        line = np.zeros(self.inside.shape, bool)
        for part in self.parts:
            line[part] = edge(self.inside[part])
        return line


class Marks(NamedTuple):
    """The marks over a picture: rings, and a cross at a row and a column, or None for no cross."""

    rings: list[Ring]
    cross: tuple[float, float] | None


def scale(image: ArrayLike, unmeasured: ArrayLike | None = None) -> Scale:
    """The scale of grey for an image; pixels that are `unmeasured` (bool, of its shape) do not count.

    White is the 10th percentile, which is the background. Black is the larger of the 99.9th percentile and the median plus
    ten times the distance from the median to the percentile 84.1, which is one standard deviation of noise. If neither is
    above white, black is the brightest value.
    """
    values = np.asarray(image, dtype=np.float64)
    values = values[np.isfinite(values) if unmeasured is None else np.isfinite(values) & ~np.asarray(unmeasured, bool)]
    if not values.size:
        return Scale(0.0, 1.0)
    percentiles = (_WHITE_PERCENTILE, _MEDIAN, _ONE_SIGMA, _BLACK_PERCENTILE)
    halves = np.percentile(0.5 * values, percentiles)  # differences of halves cannot overflow
    white, median, above, bright = (2.0 * float(x) for x in halves)
    black = max(bright, median + _SIGMAS * (above - median))
    return Scale(white, min(black if black > white else float(values.max()), float(np.finfo(np.float64).max)))


def levels(image: ArrayLike, of: Scale | None = None) -> np.ndarray:
    """Return 255 * (1 - sqrt((f - white) / (black - white))), clipped to 0..255 and rounded, uint8.

    If black is not above white, values above black are black and all others white. `of` is scale(image) by default. NaN
    counts as white, infinity as black.
    """
    values = np.asarray(image, dtype=np.float64)
    white, black = scale(values) if of is None else of
    values = np.nan_to_num(values, nan=white, posinf=np.inf, neginf=white).clip(min=white)
    half = np.float64(0.5)  # the difference of halves cannot overflow
    span = half * black - half * white
    share = (half * values - half * white) / span if span > 0.0 else (values > black).astype(np.float64)
    return np.rint(255.0 * (1.0 - np.sqrt(share.clip(max=1.0)))).astype(np.uint8)


def shrunk(image: ArrayLike, longest: int) -> np.ndarray:
    """Return `image` with its longer side at most `longest` pixels; each pixel is the maximum of a square block.

    The maximum keeps a spot of one pixel visible. NaN and negative values count as 0. Raises InputError for a `longest`
    below 1.
    """
    if longest < 1:
        raise InputError(f"the longer side of a preview must be at least 1 pixel, not {longest}")
    values = np.nan_to_num(np.asarray(image), nan=0.0, posinf=np.inf, neginf=0.0).clip(min=0)
    step = -(-max(values.shape) // longest)
    rows, columns = (-(-size // step) for size in values.shape)
    padding = [(0, rows * step - values.shape[0]), (0, columns * step - values.shape[1])]
    return np.pad(values, padding).reshape(rows, step, columns, step).max(axis=(1, 3))


def write(
    path: files.PathName,
    image: ArrayLike,
    longest: int | None = None,
    what: str = "preview file",
    unmeasured: ArrayLike | None = None,
    marks: Marks | None = None,
) -> Scale:
    """Write the levels() of `image` (slow, fast), first shrunk() to `longest` pixels if that is given; return their scale.

    unmeasured: pixels (bool, of its shape) that do not count for the scale and have a colour of their own. marks: drawn over
    the picture. Neither can be combined with `longest`. Without either the picture is grey.
    """
    from PIL import Image

    values = np.asarray(image)
    if values.ndim != 2 or not values.size:
        raise ValueError(f"a preview must be (slow, fast) with at least one pixel, not {values.shape}")
    values = values if longest is None else shrunk(values, longest)
    of = scale(values, unmeasured)
    picture = Image.fromarray(levels(values, of))
    if unmeasured is not None or marks is not None:
        picture = picture.convert("RGB")
    if unmeasured is not None:
        picture.paste(UNMEASURED, mask=Image.fromarray(np.asarray(unmeasured, bool).astype(np.uint8) * 255))
    if marks is not None:
        _draw(picture, marks)
    with files.replacing(path, what) as stream:
        picture.save(stream, format="PNG")
    return of


def _draw(picture, marks: Marks) -> None:
    """Draw marks over a picture, thick and large enough to be visible when the whole picture is shown."""
    from PIL import Image, ImageDraw

    extent = min(max(picture.size), 4 * min(picture.size))  # a sheet of panels may be very long
    width = max(1, round(extent / 1200))
    for ring in marks.rings:
        line = Image.fromarray(_thick(ring.line(), width).astype(np.uint8) * 255)
        picture.paste(MARK, mask=line)
    draw = ImageDraw.Draw(picture)
    font = _font(max(10, round(extent / 60)))
    for ring in marks.rings:
        row, column = _in_picture(picture, ring.label_position, draw.textbbox((0, 0), ring.name, font=font, anchor="mm"))
        left, top, right, bottom = draw.textbbox((column, row), ring.name, font=font, anchor="mm")
        draw.rectangle((left - 2, top - 2, right + 2, bottom + 2), fill="white")
        draw.text((column, row), ring.name, fill=MARK, font=font, anchor="mm")
    if marks.cross is not None:
        row, column = marks.cross
        reach = max(4, round(extent / 60))
        draw.line((column - reach, row, column + reach, row), fill=MARK, width=width)
        draw.line((column, row - reach, column, row + reach), fill=MARK, width=width)


def _in_picture(picture, position: tuple[float, float], box: tuple[float, ...]) -> tuple[float, float]:
    """The row and column nearest to `position` at which a box (left, top, right, bottom) lies wholly in the picture."""
    row, column = position
    left, top, right, bottom = box
    row = min(max(row, 3 - top), picture.height - 4 - bottom)
    return row, min(max(column, 3 - left), picture.width - 4 - right)


def edge(inside: np.ndarray) -> np.ndarray:
    """The pixels along the edge of the region `inside`, both bool (slow, fast)."""
    line = np.zeros(inside.shape, bool)
    line[:, 1:] |= inside[:, 1:] != inside[:, :-1]
    line[1:, :] |= inside[1:, :] != inside[:-1, :]
    return line


def _thick(line: np.ndarray, width: int) -> np.ndarray:
    """The line, widened to `width` pixels."""
    thick = line.copy()
    for step in range(1, width):
        thick[:, step:] |= line[:, :-step]
        thick[step:, :] |= line[:-step, :]
    return thick


def _font(size: int):
    """A font of about `size` pixels; before Pillow 10.1, and without FreeType, there is only one font of one size."""
    from PIL import ImageFont

    try:
        return ImageFont.load_default(size)
    except TypeError:
        return ImageFont.load_default()
