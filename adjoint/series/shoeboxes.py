"""Shoeboxes: the pixels of an image around reflections, each in the box of the nearest one, with what was measured (S3)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from adjoint.series.reflections import Reflections
from nbnumba.setup.sheet import Sheet

FEWEST_PIXELS = 9
"""A box with fewer pixels than this is left out: it would not know its background."""


class Shoeboxes(NamedTuple):
    """The boxes of an image, whose pixels stand one box after another.

    rows, columns (pixels,): in the sheet. data (pixels,): photons. starts (boxes,): the first pixel of each box. reflection
    (boxes,): its number. fast, slow (pixels,): from the predicted place, in pixels.
    """

    rows: np.ndarray
    columns: np.ndarray
    data: np.ndarray
    starts: np.ndarray
    reflection: np.ndarray
    fast: np.ndarray
    slow: np.ndarray

    @property
    def box(self) -> np.ndarray:
        """The number of the box of each pixel (pixels,)."""
        return np.repeat(np.arange(len(self.starts)), np.diff(np.append(self.starts, len(self.data))))

    def sums(self, values: np.ndarray) -> np.ndarray:
        """The sums of values (pixels, ...) over each box (boxes, ...)."""
        return np.add.reduceat(values, self.starts, axis=0) if len(self.starts) else np.zeros((0, *values.shape[1:]))

    def add_to(self, totals: np.ndarray, values: np.ndarray) -> None:
        """Add the sums of values (pixels, ...) over each box to the totals of its reflection (reflections, ...)."""
        np.add.at(totals, self.reflection, self.sums(values))

    def mask(self, shape: tuple[int, int]) -> np.ndarray:
        """1 in the pixels of boxes, 0 elsewhere, as a sheet."""
        mask = np.zeros(shape, dtype=np.uint8)
        mask[self.rows, self.columns] = 1
        return mask


def shoeboxes(sheet: Sheet, data: np.ndarray, reflections: Reflections, which: np.ndarray, half: np.ndarray) -> Shoeboxes:
    """The boxes of some reflections (their numbers `which`) in an image (S3).

    data: the sheet in photons, NaN where a pixel is left out. half (reflections, 2): half the edges of each box along fast and
    slow, in pixels. A pixel in several boxes belongs to the one whose reflection is nearest.
    """
    parts = [_box(sheet, reflections, number, half[number]) for number in which]
    parts = [part for part in parts if len(part[0])]
    if not parts:
        empty, whole = np.zeros(0), np.zeros(0, dtype=np.int64)
        return Shoeboxes(whole, whole, empty, whole, whole, empty, empty)
    rows, columns, number, fast, slow = (np.concatenate(column) for column in zip(*parts))
    measured = ~np.isnan(data[rows, columns])
    rows, columns, number, fast, slow = (column[measured] for column in (rows, columns, number, fast, slow))
    pixel = rows * sheet.shape[1] + columns
    order = np.lexsort((number, fast * fast + slow * slow, pixel))
    nearest = order[np.append(True, pixel[order][1:] != pixel[order][:-1])] if len(order) else order
    nearest = nearest[np.lexsort((pixel[nearest], number[nearest]))]
    counts = np.bincount(number[nearest], minlength=len(half))
    nearest = nearest[counts[number[nearest]] >= FEWEST_PIXELS]
    rows, columns, number, fast, slow = (column[nearest] for column in (rows, columns, number, fast, slow))
    starts = np.flatnonzero(np.append(True, number[1:] != number[:-1])) if len(number) else np.zeros(0, dtype=np.int64)
    return Shoeboxes(rows, columns, data[rows, columns].astype(np.float64), starts, number[starts], fast, slow)


def _box(sheet: Sheet, reflections: Reflections, number: int, half: np.ndarray) -> tuple[np.ndarray, ...]:
    """Rows and columns of the pixels of a box, the number of its reflection, and their distances from its place."""
    place_rows, place_columns = list(sheet.places())[reflections.panel[number]]
    slow_pixels, fast_pixels = sheet.shapes[reflections.panel[number]]
    fast, slow = reflections.fast[number], reflections.slow[number]
    columns = np.arange(max(int(np.floor(fast - half[0])), 0), min(int(np.floor(fast + half[0])) + 1, fast_pixels))
    rows = np.arange(max(int(np.floor(slow - half[1])), 0), min(int(np.floor(slow + half[1])) + 1, slow_pixels))
    row, column = (grid.ravel() for grid in np.meshgrid(rows, columns, indexing="ij"))
    away = column + 0.5 - fast, row + 0.5 - slow
    return row + (place_rows.start or 0), column + (place_columns.start or 0), np.full(len(row), number), *away
