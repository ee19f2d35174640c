"""Structure factors against scattering angle as text, nanoBragg's -stol, -4stol and -Q files: two columns."""

from __future__ import annotations

import numpy as np

from nbnumba.errors import InputError
from nbnumba.formats import files
from nbnumba.formats.text import read_table

COLUMNS = ("x", "F")


def read(path: files.PathName, what: str = "-stol") -> np.ndarray:
    """Return float64 (n, 2) in the order of the file: x (sin(theta)/lambda, or whatever the flag says) and F.

    F is NaN where a line leaves it out. Separators, comments and errors: text.read_table(). InputError too for a
    line without x.
    """
    table, places = read_table(path, what, COLUMNS)
    missing = np.flatnonzero(np.isnan(table[:, 0]))
    if len(missing):
        raise InputError(f"{places[missing[0]]}: x must be a finite number, not nan")
    return table
