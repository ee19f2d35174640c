"""Amplitudes of all of P1 from the reflections of a file: MTZ, CIF, XDS, DIALS, SHELX or text (F9d)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from nbnumba.amplitudes import expansion, french_wilson
from nbnumba.amplitudes.expansion import IDENTITY, MOST_INDEX
from nbnumba.errors import InputError
from nbnumba.formats import files, hkl, mtz, recognise, refl_intensities, refln_cif, shelx, xds_reflections
from nbnumba.formats.geometry import Geometry
from nbnumba.formats.reflection_data import Cell, ReflectionData, measured
from nbnumba.formats.symmetry import Symmetry


class Amplitudes(NamedTuple):
    """Reflections of P1: hkl (n, 3), F (n,) in electrons or on a file's scale; the cell it states; remarks, each a clause."""

    hkl: np.ndarray
    F: np.ndarray
    cell: Cell | None
    notes: tuple[str, ...]


def from_mtz(path: files.PathName, what: str, column: str | None = None) -> Amplitudes:
    """Return the amplitudes of an MTZ file (formats/mtz.py:read), expanded to P1. Raises InputError as that does."""
    return of_data(mtz.read(path, what, column), f"{what}: {files.name_of(path, what)!r}")


def from_cif(path: files.PathName, what: str, column: str | None = None) -> Amplitudes:
    """Return the amplitudes of a CIF file (formats/refln_cif.py:read), expanded to P1. Raises InputError as that does."""
    return of_data(refln_cif.read(path, what, column), f"{what}: {files.name_of(path, what)!r}")


def from_hkl(path: files.PathName, what: str, cell: Cell | None = None) -> Amplitudes:
    """Return the amplitudes of a text: h k l F of all of P1 as they are, or the intensities of XDS or SHELX, by their content.

    cell: the unit cell of a list that states none, for the resolution of SHELX's reflections. Raises InputError for a file of
    another program, a damaged one, and intensities of which no amplitudes can be made.
    """
    name = f"{what}: {files.name_of(path, what)!r}"
    text = files.read_text(path, what)
    if xds_reflections.is_list(text):
        data = xds_reflections.parsed(text, name)
    elif recognise.text(text) is None and shelx.is_list(text):
        data = shelx.parsed(text, name)._replace(cell=cell)
        data = data._replace(notes=(*data.notes, "the list states no space group: P1 and Friedel's law are assumed"))
    else:
        reflections = hkl.read(path, what)
        return Amplitudes(reflections.hkl, reflections.amplitudes, None, reflections.notes)
    try:
        return of_data(measured(data), name)
    except InputError as error:
        raise InputError(str(error) if str(error).startswith(what) else f"{name} {error}; allowed: measured ones") from None


def from_refl(
    path: files.PathName, what: str, geometry: Geometry | None, cell: Cell | None = None, experiment: int | None = None
) -> Amplitudes:
    """Return the amplitudes of DIALS' intensities (formats/refl_intensities.py:read), expanded to P1. InputError: as that."""
    data = refl_intensities.read(path, what, geometry, cell, experiment)
    return of_data(data, f"{what}: {files.name_of(path, what)!r}")


def of_data(data: ReflectionData, name: str) -> Amplitudes:
    """Return the amplitudes of all of P1 (F9d). name: of the file, with the flag, for messages.

    Equivalents are merged, those absent by symmetry left out, intensities made amplitudes (F9e), and symmetry and Friedel's law
    applied. Raises InputError for an index that is too large, an amplitude below 0, and intensities that cannot be used.
    """
    symmetry = data.symmetry or IDENTITY
    if np.abs(data.hkl).max() > MOST_INDEX:
        raise InputError(f"{name} has an index of {np.abs(data.hkl).max()}; allowed: at most {MOST_INDEX} in size")
    rows = expansion.merged(data.hkl, data.values, data.sigmas if data.intensities else None, symmetry, data.friedel)
    notes = list(data.notes)
    lost = expansion.absent(rows.hkl, symmetry) | ~rows.hkl.any(axis=1)
    if lost.any():
        notes.append(f"{np.count_nonzero(lost)} that are absent by symmetry, or 0 0 0, are left out")
        rows = expansion.Merged(*(None if part is None else part[~lost] for part in rows))
    values = rows.values
    if data.intensities:
        values, said = _of_intensities(rows, symmetry, data.cell, name)
        notes.append(said)
    elif (values < 0.0).any():
        first = " ".join(map(str, rows.hkl[np.argmax(values < 0.0)]))
        raise InputError(f"{name} has F {values.min():g}, for {first} say; allowed: amplitudes of at least 0, or none")
    kept = np.isfinite(values)
    if not kept.any():
        raise InputError(f"{name} has no reflection that is left; allowed: a file with some")
    indices, amplitudes, filled = expansion.expanded(rows.hkl[kept], values[kept], symmetry)
    notes.append(_said(data, int(np.count_nonzero(kept)), len(indices), filled))
    if data.cell is not None:
        notes += _missing(indices, data.cell, symmetry)
    return Amplitudes(indices.astype(np.int32), amplitudes, data.cell, ("; ".join(notes),))


def _said(data: ReflectionData, unique: int, all_of_p1: int, filled: int) -> str:
    """A clause that says how the reflections became those of P1."""
    name = "P1" if data.symmetry is None else data.symmetry.name
    apart = f"Friedel mates as listed, of which {filled} were missing and are as their mates"
    mates = "Friedel's law" if data.friedel else apart
    return f"{unique} unique reflections of {name} are {all_of_p1} of P1, with {mates}"


def _of_intensities(rows: expansion.Merged, symmetry: Symmetry, cell: Cell | None, name: str) -> tuple[np.ndarray, str]:
    """Amplitudes of intensities, NaN for one that is left out, and a clause that says how they were made (F9e)."""
    below = int(np.count_nonzero(rows.values < 0.0))
    if rows.sigmas is None or cell is None:
        lacks = "an uncertainty" if rows.sigmas is None else "a unit cell, which -cell states"
        if below:
            allowed = "intensities with their uncertainties and a cell, or amplitudes"
            raise InputError(f"{name} has {below} intensities below 0, and not {lacks}, to estimate F; allowed: {allowed}")
        return np.sqrt(rows.values), f"F is the square root of the intensity, which has not {lacks}"
    squared = inverse_squares(rows.hkl, cell)
    multiplicity = expansion.multiplicity(rows.hkl, symmetry)
    try:
        expected = french_wilson.mean_intensity(rows.values, multiplicity, squared)
    except ValueError as error:
        raise InputError(f"{name}: {error}; allowed: intensities of which most are above 0") from None
    found = french_wilson.amplitudes(rows.values, rows.sigmas, expected, expansion.centric(rows.hkl, symmetry))
    left_out = int(np.count_nonzero(np.isnan(found)))
    weak = f", {left_out} below -4 sigma are left out" if left_out else ""
    return found, f"F is estimated by French and Wilson's method; {below} intensities are below 0{weak}"


def inverse_squares(hkl_: np.ndarray, cell: Cell) -> np.ndarray:
    """1 / d^2 (n,) of reflections, in 1/A^2."""
    import gemmi

    return gemmi.UnitCell(*cell).calculate_1_d2_array(np.ascontiguousarray(hkl_, dtype=np.int32))


def _missing(indices: np.ndarray, cell: Cell, symmetry: Symmetry) -> list[str]:
    """A clause that counts the reflections of P1 that are missing between the largest and the smallest d of those listed."""
    squared = inverse_squares(indices, cell)
    volume_star = 1.0 / volume(cell)
    most = squared.max()
    if 4.2 * most**1.5 / volume_star > 1e7:
        return []
    every = in_sphere(cell, 1.0 / np.sqrt(most) * (1.0 - 1e-9))
    inside = inverse_squares(every, cell) >= squared.min() * (1.0 - 1e-9)
    every = every[inside & ~expansion.absent(every, symmetry)]
    lacking = len(every) - len(indices)
    span = f"between {1.0 / np.sqrt(squared.min()):.4g} and {1.0 / np.sqrt(most):.4g} A"
    return [f"{lacking} of {len(every)} {span} are missing and have default_F"] if lacking > 0 else []


def volume(cell: Cell) -> float:
    """The volume of a unit cell, in A^3."""
    import gemmi

    return float(gemmi.UnitCell(*cell).volume)


def in_sphere(cell: Cell, resolution_A: float) -> np.ndarray:
    """All reflections (n, 3) of P1 other than 0 0 0 of at least this resolution, in the order of h, k and l."""
    import gemmi

    unit = gemmi.UnitCell(*cell)
    most = [int(edge / resolution_A) + 1 for edge in (unit.a, unit.b, unit.c)]
    k, l = np.meshgrid(np.arange(-most[1], most[1] + 1), np.arange(-most[2], most[2] + 1), indexing="ij")
    layers, limit = [], 1.0 / resolution_A**2
    for h in range(-most[0], most[0] + 1):
        layer = np.stack([np.full(k.size, h), k.ravel(), l.ravel()], axis=-1).astype(np.int32)
        squared = unit.calculate_1_d2_array(layer)
        layers.append(layer[(squared <= limit) & (squared > 0.0)])
    return np.concatenate(layers)
