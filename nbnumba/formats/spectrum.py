"""The spectrum of a beam as text: .lam files of DIALS and simtbx, wavelength and weight, or photon energy and weight."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Sequence

import numpy as np

from nbnumba.constants import HC_EV_A
from nbnumba.errors import InputError
from nbnumba.formats import files
from nbnumba.formats.text import excerpt, location, number, read_table

EXPECTED = "on each line a wavelength in A, or a photon energy in eV, and a weight"

UNITS = {"wavelength_A": 1.0, "wavelength_nm": 10.0, "wavelength_m": 1e10, "energy_eV": 1.0, "energy_keV": 1000.0}
"""The quantities that a column may hold, and their units in A or in eV."""

WAVELENGTHS_A, ENERGIES_EV = (0.1, 3.0), (1000.0, 1e6)
"""Without a heading, numbers between these are wavelengths in A, or photon energies in eV. Others may be energies in keV."""

_DELIMITERS = re.compile(r"[\s,;]+")
_NAMES = re.compile(r"[a-zåμ]+")
_OF_WAVELENGTH = re.compile(r"^(wave.*|lambdas?|lam|wl)$")
_OF_ENERGY = re.compile(r"^(energ.*|e|photons?energy)$")
_OF_WEIGHT = re.compile(r"^(weights?|intens.*|i|flux|photons|counts?|spectrum|fluence|amplitudes?|w)$")
_UNIT_WORDS = dict.fromkeys(("a", "å", "ang", "angstrom", "angstroms"), "A") | {"nm": "nm", "m": "m", "ev": "eV", "kev": "keV"}


def read(path: files.PathName, what: str = "-spectrum") -> np.ndarray:
    """Return float64 (n, 2): wavelength in A and weight, of each line of a spectrum, in the order of the file.

    Numbers are separated by blanks, tabs, commas or semicolons. What follows # is a comment. A line of words before the first
    number, or a comment there, is a heading, which may name the columns and units, in any order: wavelength or energy, with A,
    nm, m, eV or keV; and weight. Without such a heading the weight is the second column, and the first is a wavelength in A
    where all numbers are in WAVELENGTHS_A, or an energy in eV where all are in ENERGIES_EV. Raises InputError for numbers
    that may be either, for lines without two numbers, for a weight below 0, for a wavelength that is not positive, and where
    no weight is above 0.
    """
    headings, rows, lines = _lines(path, what)
    if not rows:
        raise InputError(f"{what}: {os.fspath(path)!r} has no numbers; allowed: {EXPECTED}")
    quantity, is_second = _of_headings(headings, what, path)
    table = np.array(rows)[:, ::-1 if is_second else 1]
    if quantity is None:
        quantity = _of_values(table[:, 0], what, path)
    for (value, weight), line in zip(table, lines):
        if not value > 0.0:
            raise InputError(f"{line}: {quantity.partition('_')[0]} must be positive, but is {value:g}")
        if weight < 0.0:
            raise InputError(f"{line}: weight must not be negative, but is {weight:g}; a background has to be subtracted to 0")
    if not table[:, 1].any():
        raise InputError(f"{what}: {os.fspath(path)!r} has no weight above 0; allowed: one or more")
    values = table[:, 0] * UNITS[quantity]
    return np.column_stack([HC_EV_A / values if quantity.startswith("energy") else values, table[:, 1]])


def read_weights(path: files.PathName, what: str = "-source_weights") -> np.ndarray:
    """Return float64 (n,): the weights of sources, a number on each line, by text.read_table().

    Raises InputError for what is no finite number.
    """
    table, locations = read_table(path, what, ("weight",), "a weight on each line", least=1)
    missing = np.flatnonzero(np.isnan(table[:, 0]))
    if len(missing):
        raise InputError(f"{locations[missing[0]]}: weight must be a finite number, not nan")
    return table[:, 0]


def write_weights(path: files.PathName, weights: np.ndarray, what: str) -> None:
    """Write the weights (n,) of sources with all digits."""
    with files.replacing(path, what) as stream:
        stream.write("".join(f"{float(weight)!r}\n" for weight in weights).encode("ascii"))


def _lines(path: files.PathName, what: str) -> tuple[list[str], list[list[float]], list[str]]:
    """Return the headings of a file, its rows of two numbers, and the start of a message about each row."""
    headings, rows, lines = [], [], []
    for line_number, line in enumerate(files.read_text(path, what, EXPECTED).split("\n"), start=1):
        content, _, comment = line.partition("#")
        tokens = [token for token in _DELIMITERS.split(content) if token]
        if not tokens:
            headings += [comment] if comment.strip() and not rows else []
            continue
        values = [number(token) for token in tokens]
        if not rows and all(value is None for value in values):
            headings.append(content)
            continue
        line_name = location(path, line_number, line, what)
        for token, value in zip(tokens, values):
            if value is None or not math.isfinite(value):
                raise InputError(f"{line_name}: {excerpt(token)} is no finite number; allowed: {EXPECTED}")
        if len(values) != 2:
            raise InputError(f"{line_name}: it has {len(values)} numbers{_more(len(values))}; allowed: {EXPECTED}")
        rows.append(values)
        lines.append(line_name)
    return headings, rows, lines


def _more(count: int) -> str:
    """Return what a line of so many numbers may be."""
    return ", as a -sourcefile has" if count in (3, 4, 5) else ""


def _of_headings(headings: Sequence[str], what: str, path: files.PathName) -> tuple[str | None, bool]:
    """Return the quantity (UNITS) that headings name, or None, and whether it is the second column.

    Raises InputError for a heading that names a quantity and a unit of another.
    """
    for heading in headings:
        words = _NAMES.findall(heading.lower().replace("_", " "))
        kinds = [kind for word in words if (kind := _kind(word)) is not None]
        if len(kinds) < 2 and not (kinds and kinds[0] != "weight"):
            continue
        of_quantity = [kind for kind in kinds if kind != "weight"]
        if len(of_quantity) > 1 or kinds.count("weight") > 1:
            raise InputError(f"{what}: {os.fspath(path)!r} has the heading {excerpt(heading.strip())}; allowed: {EXPECTED}")
        if not of_quantity:
            continue
        units = {_UNIT_WORDS[word] for word in words if word in _UNIT_WORDS and (word != "a" or _kind(word) is None)}
        fitting = units & ({"A", "nm", "m"} if of_quantity[0] == "wavelength" else {"eV", "keV"})
        if len(units) > 1 or (units and not fitting):
            raise InputError(f"{what}: {os.fspath(path)!r} has the heading {excerpt(heading.strip())}; allowed: {EXPECTED}")
        unit = fitting.pop() if fitting else {"wavelength": "A", "energy": "eV"}[of_quantity[0]]
        return f"{of_quantity[0]}_{unit}", kinds.index(of_quantity[0]) == 1
    return None, False


def _kind(word: str) -> str | None:
    """Return what a word of a heading names: wavelength, energy, weight, or nothing."""
    for kind, pattern in (("wavelength", _OF_WAVELENGTH), ("energy", _OF_ENERGY), ("weight", _OF_WEIGHT)):
        if pattern.match(word):
            return kind
    return None


def _of_values(values: np.ndarray, what: str, path: files.PathName) -> str:
    """Return the quantity that numbers without a heading are. Raises InputError for numbers that may be several."""
    low, high = float(values.min()), float(values.max())
    for quantity, (least, most) in (("wavelength_A", WAVELENGTHS_A), ("energy_eV", ENERGIES_EV)):
        if least <= low and high <= most:
            return quantity
    first = f"{what}: the first column of {os.fspath(path)!r}, {low:g} to {high:g}, has no heading, and"
    unclear = f"{first} is neither wavelengths of {WAVELENGTHS_A[0]:g} to {WAVELENGTHS_A[1]:g} A nor energies of"
    allowed = f"a first line that says it, one of {', '.join(f'{name} weight' for name in UNITS)}"
    raise InputError(f"{unclear} {ENERGIES_EV[0]:g} eV or more; allowed: {allowed}")
