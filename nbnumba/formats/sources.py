"""X-ray sources as text, nanoBragg's -sourcefile: position, weight and wavelength of each."""

from __future__ import annotations

import math
import warnings

import numpy as np

from nbnumba.constants import HC_EV_A
from nbnumba.errors import InputError
from nbnumba.formats import files
from nbnumba.formats.text import read_table

COLUMNS = ("X", "Y", "Z", "weight", "wavelength")
EXPECTED = (
    "a source on each line: x y z, weight, wavelength in metres, nan for what is not known; "
    "a spectrum, wavelength in A and weight, is read by -spectrum"
)
LONGEST, SHORTEST = 1e-6, 1e-15
"""The range of allowed wavelengths, in metres, which includes X-rays and electrons."""

MANY = 20
"""So many sources without a wavelength, all at whole numbers, may be a list of reflections."""

FARTHEST, NEAREST = 1e30, 1e-30
"""The range of allowed distances of sources, in any unit because only the direction is used, and of positive weights."""


def read(path: files.PathName, what: str = "-sourcefile") -> np.ndarray:
    """Return float64 (n, 5): X, Y, Z of each source (metres from the crystal), weight, wavelength (metres).

    NaN stands for a number that a line omits, at its end or by the word nan; the caller replaces it by a default. X, Y and Z
    can be omitted only by the word nan. For separators, comments and errors see text.read_table(). Also raises InputError for
    a negative weight, a wavelength that is not positive or not in metres, a source at 0 0 0, and numbers that are too large or
    too small to compute with.
    """
    table, locations = read_table(path, what, COLUMNS, EXPECTED, least=3)
    for row, line_name in zip(table, locations):
        if row[3] < 0.0:
            raise InputError(f"{line_name}: weight must not be negative, but is {row[3]:g}")
        if row[3] > FARTHEST or 0.0 < row[3] < NEAREST:
            raise InputError(f"{line_name}: weight must be 0, or {NEAREST:g} to {FARTHEST:g}, but is {row[3]:g}")
        if row[4] <= 0.0:
            raise InputError(f"{line_name}: wavelength must be positive (in metres), but is {row[4]:g}")
        if row[4] > LONGEST or row[4] < SHORTEST:
            raise InputError(f"{line_name}: wavelength {row[4]:g} is not a wavelength in metres{_likely_meaning(row[4])}")
        _check_position(row[:3], line_name)
    if len(table) >= MANY and np.isnan(table[:, 4]).all() and (table[:, :3] == np.round(table[:, :3])).all():
        warnings.warn(f"{what}: {len(table)} sources stand at whole numbers, as indices of reflections do", stacklevel=2)
    return table


def _check_position(position: np.ndarray, line_name: str) -> None:
    if not position.any():
        raise InputError(f"{line_name}: X Y Z must not all be 0, where the crystal is")
    distance = math.hypot(*position[~np.isnan(position)])
    if distance != 0.0 and not NEAREST <= distance <= FARTHEST:
        raise InputError(f"{line_name}: X Y Z is {distance:g} from the crystal; allowed: {NEAREST:g} to {FARTHEST:g}")


def _likely_meaning(value: float) -> str:
    """The end of a message that suggests which unit was meant, or states what is allowed."""
    if 0.01 <= value <= 100.0:
        return f"; in A it would be {value:g}e-10; a spectrum, wavelength in A and weight, is read by -spectrum"
    if 100.0 < value < 1e7:
        return f"; as an energy in eV it would be {HC_EV_A / value:.6g}e-10; a spectrum of energies is read by -spectrum"
    return f"; allowed: {SHORTEST:g} to {LONGEST:g}"
