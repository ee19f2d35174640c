"""X-ray sources as text, nanoBragg's -sourcefile: position, weight and wavelength of each."""

from __future__ import annotations

import math

import numpy as np

from nbnumba.constants import HC_EV_A
from nbnumba.errors import InputError
from nbnumba.formats import files
from nbnumba.formats.text import read_table

COLUMNS = ("X", "Y", "Z", "weight", "wavelength")
WANTED = (
    "a source on each line: x y z, weight, wavelength in metres, nan for what is not known; "
    "of a spectrum 'nan nan nan WEIGHT WAVELENGTHe-10', the wavelength in A"
)
LONGEST, SHORTEST = 1e-6, 1e-15
"""Wavelengths in metres between which a beam of X-rays, or of electrons, is."""

FARTHEST, NEAREST = 1e30, 1e-30
"""The same of the distances of sources, in any unit, of which the direction is used alone; and of weights."""


def read(path: files.PathName, what: str = "-sourcefile") -> np.ndarray:
    """Return float64 (n, 5): X, Y, Z of each source (metres from the sample), weight, wavelength (metres).

    NaN stands for what a line leaves out, at its end or with the word nan, and takes the caller's default; of X Y Z only the
    word does. Separators, comments and errors: text.read_table(). InputError too for a weight below 0, a wavelength that is not
    positive or not one in metres, a source at 0 0 0, and numbers too large or too small to compute with.
    """
    table, places = read_table(path, what, COLUMNS, WANTED, least=3)
    for row, where in zip(table, places):
        if row[3] < 0.0:
            raise InputError(f"{where}: weight must not be negative, but is {row[3]:g}")
        if row[3] > FARTHEST or 0.0 < row[3] < NEAREST:
            raise InputError(f"{where}: weight must be 0, or {NEAREST:g} to {FARTHEST:g}, but is {row[3]:g}")
        if row[4] <= 0.0:
            raise InputError(f"{where}: wavelength must be positive (in metres), but is {row[4]:g}")
        if row[4] > LONGEST or row[4] < SHORTEST:
            raise InputError(f"{where}: wavelength {row[4]:g} is no wavelength in metres{_meant(row[4])}")
        _check_position(row[:3], where)
    return table


def _check_position(position: np.ndarray, where: str) -> None:
    if not position.any():
        raise InputError(f"{where}: X Y Z must not all be 0, which is where the sample is")
    distance = math.hypot(*position[~np.isnan(position)])
    if distance != 0.0 and not NEAREST <= distance <= FARTHEST:
        raise InputError(f"{where}: X Y Z is {distance:g} from the sample; allowed: {NEAREST:g} to {FARTHEST:g}")


def _meant(value: float) -> str:
    """What a number may be that is no wavelength in metres."""
    if 0.01 <= value <= 100.0:
        return f"; in A it would be {value:g}e-10"
    if 100.0 < value < 1e7:
        return f"; as an energy in eV it would be {HC_EV_A / value:.6g}e-10"
    return f"; allowed: {SHORTEST:g} to {LONGEST:g}"
