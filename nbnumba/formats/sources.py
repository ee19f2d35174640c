"""X-ray sources as text, nanoBragg's -sourcefile: position, weight and wavelength of each."""

from __future__ import annotations

import numpy as np

from nbnumba.errors import InputError
from nbnumba.formats import files
from nbnumba.formats.text import read_table

COLUMNS = ("X", "Y", "Z", "weight", "wavelength")


def read(path: files.PathName, what: str = "-sourcefile") -> np.ndarray:
    """Return float64 (n, 5): X, Y, Z of each source (metres from the sample), weight, wavelength (metres).

    NaN stands for what a line leaves out, at its end or with the word nan, and takes the caller's default.
    Separators, comments and errors: text.read_table(). InputError too for a negative weight, a wavelength that is
    not positive, and a source at 0 0 0.
    """
    table, places = read_table(path, what, COLUMNS)
    for row, where in zip(table, places):
        if row[3] < 0.0:
            raise InputError(f"{where}: weight must not be negative, but is {row[3]:g}")
        if row[4] <= 0.0:
            raise InputError(f"{where}: wavelength must be positive (in metres), but is {row[4]:g}")
        if not row[:3].any():
            raise InputError(f"{where}: X Y Z must not all be 0, which is where the sample is")
    return table
