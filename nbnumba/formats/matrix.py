"""Orientation matrices as text: the nine numbers of a MOSFLM matrix."""

from __future__ import annotations

import math
import os

import numpy as np

from nbnumba.errors import InputError
from nbnumba.formats import files
from nbnumba.formats.text import excerpt, number, place, uncommented_lines

WANTED = "a matrix as MOSFLM writes it: nine numbers, columns a* b* c* times the wavelength"
_SMALLEST_VOLUME = 1e-9


def read(path: files.PathName, what: str = "-mat") -> np.ndarray:
    """Return the first nine numbers of the file, row by row, as float64 (3, 3).

    Its columns are a*, b*, c*; in a MOSFLM file they are in 1/A times the wavelength in A, and are not scaled here.
    Whatever follows the nine numbers is ignored; so is what follows # or ! on a line. InputError: fewer than nine
    numbers, something that is no finite number among them, or three vectors that lie in a plane.
    """
    values: list[float] = []
    for line_number, line, content in uncommented_lines(files.read_text(path, what, WANTED)):
        for token in content.split()[: 9 - len(values)]:
            value = number(token)
            if value is None or not math.isfinite(value):
                where = place(path, line_number, line, what)
                raise InputError(f"{where}: a matrix element must be a finite number, not {excerpt(token)}")
            values.append(value)
    if len(values) < 9:
        raise InputError(f"{what}: {os.fspath(path)!r} has {len(values)} numbers; a matrix takes nine")
    matrix = np.array(values).reshape(3, 3)
    if _relative_volume(matrix) < _SMALLEST_VOLUME:
        raise InputError(f"{what}: the matrix in {os.fspath(path)!r} is singular: a*, b*, c* must not lie in a plane")
    return matrix


def _relative_volume(matrix: np.ndarray) -> float:
    """Return the volume of the cell whose edges are the columns, divided by the product of their lengths."""
    largest = np.abs(matrix).max(axis=0)
    if not largest.all():
        return 0.0
    scaled = matrix / largest
    return float(abs(np.linalg.det(scaled / np.linalg.norm(scaled, axis=0))))
