"""Orientation matrices as text: the nine numbers of a MOSFLM matrix, and the unit cell in the same file."""

from __future__ import annotations

import math
import os

import numpy as np

from nbnumba.errors import InputError
from nbnumba.formats import files
from nbnumba.formats.text import excerpt, location, number, uncommented_lines

EXPECTED = "a matrix as MOSFLM writes it: nine numbers, columns a* b* c* times the wavelength"
_SMALLEST_VOLUME = 1e-9

MOST_NUMBERS = 60
"""More numbers than the matrices of MOSFLM and of other programs have, which stand at about 30: a table of something else."""


CELL = slice(21, 27)
"""The position of the cell among the numbers of a MOSFLM file: after the matrix, three angles, and the nine numbers of U."""


def read(path: files.PathName, what: str = "-mat") -> np.ndarray:
    """Return the first nine numbers of the file, row by row, as float64 (3, 3).

    Its columns are a*, b*, c*. In a MOSFLM file they are in 1/A times the wavelength in A; this function does not scale
    them. Text after the nine numbers, and after # or ! on a line, is ignored. Raises InputError for fewer than nine numbers,
    a token among them that is not a finite number, or three vectors that lie in a plane.
    """
    return read_with_cell(path, what)[0]


def read_with_cell(path: files.PathName, what: str = "-mat") -> tuple[np.ndarray, tuple[float, ...] | None]:
    """Return the matrix, as read() does, and the unit cell that a MOSFLM file also states, in A and degrees, or None."""
    values: list[float] = []
    tail: list[str] = []
    count = 0
    for line_number, line, content in uncommented_lines(files.read_text(path, what, EXPECTED)):
        tokens = content.split()
        for token in tokens[: 9 - len(values)]:
            value = number(token)
            if value is None or not math.isfinite(value):
                line_name = location(path, line_number, line, what)
                raise InputError(f"{line_name}: a matrix element must be a finite number, not {excerpt(token)}")
            tokens = tokens[1:]
            values.append(value)
        tail += tokens if len(tail) < CELL.stop else []
        count += sum(number(token) is not None for token in content.split())
    if len(values) < 9:
        raise InputError(f"{what}: {os.fspath(path)!r} has {len(values)} numbers; a matrix takes nine")
    if count > MOST_NUMBERS:
        raise InputError(f"{what}: {os.fspath(path)!r} holds more than {MOST_NUMBERS} numbers; allowed: {EXPECTED}")
    matrix = np.array(values).reshape(3, 3)
    if _relative_volume(matrix) < _SMALLEST_VOLUME:
        raise InputError(f"{what}: the matrix in {os.fspath(path)!r} is singular: a*, b*, c* must not lie in a plane")
    return matrix, _cell([number(token) for token in tail[: CELL.stop - 9]])


def _cell(numbers: list[float | None]) -> tuple[float, ...] | None:
    """Return the unit cell among the numbers after the matrix; None if there is none."""
    cell = numbers[CELL.start - 9 :]
    if None in numbers or len(cell) < 6 or not min(cell) > 0.0 or not max(cell[3:]) < 180.0 or not math.isfinite(sum(cell)):
        return None
    return tuple(cell)


def _relative_volume(matrix: np.ndarray) -> float:
    """Return the volume of the cell whose edges are the columns, divided by the product of their lengths."""
    largest = np.abs(matrix).max(axis=0)
    if not largest.all():
        return 0.0
    scaled = matrix / largest
    return float(abs(np.linalg.det(scaled / np.linalg.norm(scaled, axis=0))))
