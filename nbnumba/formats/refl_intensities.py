"""Intensities of DIALS: those of a reflection table that dials.integrate or dials.scale wrote, corrected and selected."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from nbnumba.errors import InputError
from nbnumba.formats import files
from nbnumba.formats.geometry import Geometry
from nbnumba.formats.refl import ReflectionTable, read_refl
from nbnumba.formats.reflection_data import Cell, ReflectionData
from nbnumba.formats.symmetry import Symmetry, of_hall
from nbnumba.formats.text import printable
from nbnumba.geometry.cell import cell_of

LEAST_PARTIALITY = 0.99
"""The least part of a reflection that a scan has to record of it, as in dials.export; what is missing is not known well."""

LARGEST = 1e30
"""No intensity and no uncertainty is larger in size, nor is an uncertainty smaller than its inverse."""

EXPECTED = "an integrated.refl or scaled.refl of DIALS"


class Kind(NamedTuple):
    """Intensities of a kind: how they are called, the columns of values and variances, and the flags of rows that have them."""

    words: str
    column: str
    flags: int


SCALED = Kind("scaled", "intensity.scale", 1 << 26)
SUMMED = Kind("summed", "intensity.sum", 1 << 8)
FITTED = Kind("profile-fitted", "intensity.prf", SUMMED.flags | 1 << 9)

SCALE = "inverse_scale_factor"


def read(
    path: files.PathName, what: str, geometry: Geometry | None, cell: Cell | None = None, experiment: int | None = None
) -> ReflectionData:
    """Return the intensities of a table, proportional to |F|^2, each observation by itself.

    Scaled intensities are taken if there are some, over their inverse scale factor; else those of fitted profiles, or else sums
    over their partiality, both times lp and over the quantum efficiency qe (dqe in old tables). geometry: that of the .expt of
    the table, whose crystal has the space group and the cell; without it they are P1 and `cell`. experiment: the number, from
    0, of the one whose rows count; all count if they are scaled. Raises InputError for a file that is no table, a table without
    such columns or rows, or of other experiments.
    """
    name = f"{what}: {files.name_of(path, what)!r}"
    table = read_refl(path, what)
    kind = _kind(table, name)
    notes = [f"{kind.words} intensities of DIALS are read"]
    hkl = _whole(table, "miller_index", name, 3)
    of_experiment, said = _of_experiment(table, kind, geometry, experiment, name)
    taken = of_experiment & _has(table, kind, name) & hkl.any(axis=1)
    notes += said
    values, sigmas, usable = _intensities(table, kind, name)
    listed, left = int(np.count_nonzero(taken)), int(np.count_nonzero(taken & usable))
    if not left:
        raise InputError(f"{name} has {listed} {kind.words} intensities, of which none can be used; allowed: {EXPECTED}")
    if left < listed:
        notes.append(f"{listed - left} of {listed} are left out, because they are partial or lack a variance or an efficiency")
    taken &= usable
    symmetry = None if geometry is None else _symmetry(geometry)
    if symmetry is None:
        notes.append("no .expt states the space group: P1 is assumed")
    if geometry is not None and geometry.crystal is not None:
        cell = cell_of(geometry.crystal.vectors)
    return ReflectionData(hkl[taken], values[taken], sigmas[taken], True, False, symmetry, cell, tuple(notes))


def _symmetry(geometry: Geometry) -> Symmetry | None:
    """The symmetry of the crystal of an .expt; None where it states none."""
    stated = None if geometry.crystal is None else geometry.crystal.space_group
    return None if stated is None else of_hall(stated, f"the space group of {geometry.source!r}")


def _kind(table: ReflectionTable, name: str) -> Kind:
    """The kind of intensities to be taken."""
    if f"{SCALED.column}.value" in table.columns and SCALE in table.columns:
        return SCALED
    for kind in (FITTED, SUMMED):
        if f"{kind.column}.value" in table.columns and _has(table, kind, name).any():
            return kind
    raise InputError(f"{name} has no integrated intensities; allowed: {EXPECTED}")


def _intensities(table: ReflectionTable, kind: Kind, name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Intensities and uncertainties (n,) in proportion to |F|^2, and which of them can be used."""
    values, variances = (_column(table, f"{kind.column}.{part}", name) for part in ("value", "variance"))
    factor = np.ones(table.rows)
    usable = np.ones(table.rows, dtype=bool)
    with np.errstate(all="ignore"):
        if kind is SCALED:
            factor /= _column(table, SCALE, name)
        else:
            partiality = _column(table, "partiality", name) if "partiality" in table.columns else np.ones(table.rows)
            usable = partiality >= LEAST_PARTIALITY
            efficiency = next((column for column in ("qe", "dqe") if column in table.columns), None)
            factor *= _column(table, "lp", name) if "lp" in table.columns else 1.0
            factor /= _column(table, efficiency, name) if efficiency else 1.0
            factor /= partiality if kind is SUMMED else 1.0
        values, sigmas = values * factor, np.sqrt(variances) * factor
        usable &= (np.abs(values) < LARGEST) & (sigmas > 1.0 / LARGEST) & (sigmas < LARGEST) & (factor > 0.0)
    return values, sigmas, usable


def _of_experiment(
    table: ReflectionTable, kind: Kind, geometry: Geometry | None, experiment: int | None, name: str
) -> tuple[np.ndarray, list[str]]:
    """Which rows are of the experiment, and sentences about the others."""
    if "id" not in table.columns:
        return np.ones(table.rows, dtype=bool), []
    ids = _whole(table, "id", name)
    there = np.unique(ids[ids >= 0]).tolist()
    if kind is SCALED:
        return ids >= 0, [f"{len(there)} experiments, which are on one scale, all count"] if len(there) > 1 else []
    number = experiment or 0
    identifier = None if geometry is None else geometry.identifier
    if identifier and table.identifiers:
        named = [key for key, own in table.identifiers.items() if own == identifier]
        if not named:
            which = f"an experiment {printable(identifier)!r}, as the .expt calls it"
            raise InputError(f"{name} has no reflections of {which}; allowed: the .expt that belongs to the table")
        number = named[0]
    if number not in there:
        few = ", ".join(map(str, there[:5])) + (", ..." if len(there) > 5 else "") if there else "none"
        raise InputError(f"{name} has no reflections of experiment {number}; allowed: one of those that it has, {few}")
    chosen = [] if experiment is not None or len(there) == 1 else [f"of {len(there)} experiments number {number} counts"]
    return ids == number, chosen


def _has(table: ReflectionTable, kind: Kind, name: str) -> np.ndarray:
    """Which rows (n,) have intensities of a kind, by their flags."""
    return _whole(table, "flags", name) & kind.flags == kind.flags


def _whole(table: ReflectionTable, column: str, name: str, elements: int = 1) -> np.ndarray:
    """A column of whole numbers, (n,) or (n, elements)."""
    numbers = _column(table, column, name, elements)
    if numbers.dtype.kind not in "iu":
        raise InputError(f"{name} has a column {column} of {numbers.dtype.name}; allowed: whole numbers")
    return numbers.astype(np.int64)


def _column(table: ReflectionTable, column: str, name: str, elements: int = 1) -> np.ndarray:
    """A column of numbers, (n,) or (n, elements). Raises InputError if the table lacks it, or has another of that name."""
    numbers = table.columns.get(column)
    if numbers is None:
        raise InputError(f"{name} has no column {column}; allowed: {EXPECTED}")
    if numbers.shape != ((table.rows,) if elements == 1 else (table.rows, elements)):
        raise InputError(f"{name} has a column {column} of the wrong type; allowed: {EXPECTED}")
    return numbers
