"""The sheet of a detector: one array of its pixels, in which its panels lie one below another (F0)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Any, NamedTuple

import numpy as np

from nbnumba.errors import InputError
from nbnumba.geometry.rectangles import pixels_within
from nbnumba.statements import Detector, Panel


class Sheet(NamedTuple):
    """The numbers of pixels, (slow, fast), of the panels of a detector, whose rows follow one another in a sheet.

    A sheet is as wide as the widest panel; narrower ones leave its last columns empty. That of one panel is its image.
    """

    shapes: tuple[tuple[int, int], ...]

    @property
    def shape(self) -> tuple[int, int]:
        """The shape of the sheet, (slow, fast)."""
        return sum(slow for slow, _ in self.shapes), max(fast for _, fast in self.shapes)

    @property
    def image_shape(self) -> tuple[int, ...] | None:
        """The shape of the image as one array, (slow, fast) or (panel, slow, fast); None if its panels differ in shape."""
        if len(self.shapes) == 1:
            return self.shapes[0]
        return (len(self.shapes), *self.shapes[0]) if len(set(self.shapes)) == 1 else None

    @property
    def pixels(self) -> int:
        """The number of pixels of all panels."""
        return sum(slow * fast for slow, fast in self.shapes)

    def places(self) -> Iterator[tuple[slice, slice]]:
        """Yield the rows and columns of each panel in the sheet."""
        ends = accumulate((slow for slow, _ in self.shapes), initial=0)
        return ((slice(first, first + slow), slice(0, fast)) for first, (slow, fast) in zip(ends, self.shapes))

    def panel_of(self, row: int) -> tuple[int, int]:
        """Return the number of the panel that has a row of the sheet, and the row of the panel."""
        number = next(number for number, place in enumerate(self.places()) if row < place[0].stop)
        return number, row - sum(slow for slow, _ in self.shapes[:number])

    def image(self, sheet: np.ndarray) -> Any:
        """Return what users have of a sheet (slow, fast, ...): (slow, fast, ...) of one panel, or (panel, slow, fast, ...).

        Of panels of different shapes it is a list, an array for each. Nothing is copied.
        """
        if self.image_shape is None:
            return [sheet[place] for place in self.places()]
        return sheet.reshape(*self.image_shape, *sheet.shape[2:])

    def sheet(self, what: str, image: Any, fill: float) -> np.ndarray:
        """Return the sheet of what users have of an image; the empty columns are filled with a number.

        what: its name in messages. Raises InputError for an image that does not fit.
        """
        if self.image_shape is None:
            if not isinstance(image, Sequence) or [np.shape(part) for part in image] != list(self.shapes):
                raise InputError(f"{what} of {shapes_of(image)} does not fit; allowed: {self}")
            parts = [np.asarray(part) for part in image]
            whole = np.full(self.shape, fill, np.result_type(np.min_scalar_type(fill), *parts))
            for place, part in zip(self.places(), parts):
                whole[place] = part
            return whole
        array = np.asarray(image)
        if array.shape != self.image_shape:
            raise InputError(f"{what} of {shapes_of(image)} does not fit; allowed: {self}")
        return array.reshape(self.shape)

    def __str__(self) -> str:
        if len(self.shapes) == 1:
            return f"(slow, fast) = {self.shapes[0]}"
        if self.image_shape is not None:
            return f"(panel, slow, fast) = {self.image_shape}"
        shown = ", ".join(map(str, self.shapes[:3])) + (", ..." if len(self.shapes) > 3 else "")
        return f"a list of {len(self.shapes)} arrays (slow, fast) = {shown}"


def shapes_of(image: Any) -> str:
    """The shape of what is no fitting image, in words."""
    if isinstance(image, (list, tuple)):
        return f"{len(image)} parts"
    return f"shape {np.shape(image)}"


def parts_with_pixels(detector: Detector) -> tuple[Panel | Detector, ...]:
    """Return the panels of a detector; without any, the detector, which states its valid counts and masked pixels itself."""
    return detector.panels or (detector,)


def masked_pixels(detector: Detector) -> np.ndarray:
    """Return which pixels of the sheet of a detector its rectangles mask (slow, fast), without the empty columns (F1e)."""
    sheet = sheet_of(detector)
    is_masked = np.zeros(sheet.shape, dtype=bool)
    for part, place, shape in zip(parts_with_pixels(detector), sheet.places(), sheet.shapes):
        if part.masked:
            is_masked[place] = masked_pixels_of(part, shape)
    return is_masked


def masked_pixels_of(part: Panel | Detector, shape: tuple[int, int]) -> np.ndarray:
    """Return which pixels (slow, fast) of a panel its rectangles mask."""
    return pixels_within(part.masked, shape)


def sheet_of(detector: Detector) -> Sheet:
    """Return the sheet of a detector."""
    return Sheet(tuple(panel.shape for panel in detector.panels) or ((detector.pixels[1], detector.pixels[0]),))
