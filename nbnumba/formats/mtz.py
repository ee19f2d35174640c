"""MTZ files of CCP4, by gemmi: amplitudes or intensities read, and amplitudes of P1 written."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from nbnumba.errors import InputError
from nbnumba.formats import files
from nbnumba.formats.reflection_data import Cell, Columns, ReflectionData, as_file, by_gemmi, cell_of, measured, paired
from nbnumba.formats.symmetry import of_space_group

KINDS = {"F": "amplitudes", "G": "amplitudes of Friedel pairs", "J": "intensities", "K": "intensities of Friedel pairs"}
"""The types of columns that serve."""

CALCULATED = re.compile(r"F-?(?:C|CALC|MODEL)(?:[-_]|$)|FC_ALL", re.IGNORECASE)
"""Labels of calculated amplitudes."""

MAP = re.compile(r"WT|FOFC|DEL|FILL|MAP", re.IGNORECASE)
"""Labels of coefficients of maps, which are no structure factors and are taken only if they are named."""


def read(path: files.PathName, what: str, column: str | None = None) -> ReflectionData:
    """Read amplitudes, or intensities, of a merged MTZ file, which may be packed by gzip.

    column: the label of those wanted; of a pair either label. None: the first there is of measured pairs F(+) and F(-),
    measured F, calculated F, pairs I(+) and I(-), and I. Raises InputError for a file that is none or is damaged, for unmerged
    data, for a label that is not there or is of another type, and for a file without any of these columns.
    """
    import gemmi

    name = f"{what}: {files.name_of(path, what)!r}"
    content = files.unpacked(files.read_bytes(path, what), name)
    if not content.startswith(b"MTZ "):
        raise InputError(f"{name} is not an MTZ file; allowed: merged reflections as MTZ")
    with by_gemmi(name, "MTZ"), as_file(content) as copy:
        return _measured(gemmi.read_mtz_file(copy), name, column)


def _measured(mtz: Any, name: str, column: str | None) -> ReflectionData:
    """The reflections of gemmi's MTZ file that have a value."""
    if len(mtz.batches) > 0:
        raise InputError(f"{name} holds unmerged observations of {len(mtz.batches)} batches; allowed: merged reflections")
    chosen = _chosen(mtz, name, column)
    hkl, friedel = mtz.make_miller_array().astype(np.int64), len(chosen.values) == 1
    labels = [label for label in (*chosen.values, *chosen.sigmas) if label is not None]
    columns = [np.array(mtz.column_with_label(label), dtype=np.float64) for label in labels]
    if not friedel:
        hkl, columns = paired(hkl, columns)
    phases = "it holds phases, which" if any(c.type == "P" for c in mtz.columns) else "it holds no phases, which"
    notes = (f"{KINDS[_type_of(mtz, chosen.values[0])]} {chosen} are read; {phases} are not needed",)
    sigmas = columns[1] if len(columns) == 2 else None
    symmetry, cell = of_space_group(mtz.spacegroup), _cell(mtz, chosen.values[0])
    data = ReflectionData(hkl, columns[0], sigmas, chosen.intensities, friedel, symmetry, cell, notes)
    try:
        return measured(data)
    except InputError as error:
        raise InputError(f"{name}, column {chosen}, {error}; allowed: a column with values, -column names one") from None


def _type_of(mtz: Any, label: str) -> str:
    return mtz.column_with_label(label).type


def _cell(mtz: Any, label: str) -> Cell | None:
    """The cell of the data set of a column, or else that of the file."""
    own = mtz.dataset(mtz.column_with_label(label).dataset_id).cell
    return cell_of(own.parameters) or cell_of(mtz.cell.parameters)


def _chosen(mtz: Any, name: str, column: str | None) -> Columns:
    """The columns to be read."""
    candidates = list(_candidates(mtz))
    if column is None:
        if not candidates:
            held = ", ".join(f"{c.label} ({c.type})" for c in mtz.columns[3:]) or "none"
            raise InputError(f"{name} has no column of amplitudes or intensities among its columns {held}; allowed: one")
        return min(candidates, key=lambda of: _rank(mtz, of))
    named = [of for of in candidates if column in of.values]
    if named:
        return named[0]
    labels = [c.label for c in mtz.columns]
    usable = ", ".join(dict.fromkeys(label for of in candidates for label in of.values)) or "none here"
    if column not in labels:
        raise InputError(f"-column: {column!r} is not a column of {name}; allowed: {usable}")
    kind = _type_of(mtz, column)
    raise InputError(f"-column: {column!r} of {name} is of type {kind}, no amplitude or intensity; allowed: {usable}")


def _rank(mtz: Any, of: Columns) -> tuple[int, int]:
    """The place of columns in the order in which they are chosen, and then in the file."""
    label = of.values[0]
    position = [c.label for c in mtz.columns].index(label)
    if MAP.search(label):
        return 9, position
    if CALCULATED.match(label):
        return 2, position
    return {"G": 0, "F": 1, "K": 3, "J": 4}[_type_of(mtz, label)], position


def _candidates(mtz: Any) -> Iterator[Columns]:
    """Columns that may be read, in the order of the file."""
    labels = [c.label for c in mtz.columns]
    for position, column in enumerate(mtz.columns):
        kind, label = column.type, column.label
        if kind in "FJ":
            yield Columns((label,), (_sigma(mtz, label, position),), kind == "J")
        elif kind in "GK" and "+" in label and (mate := label.replace("+", "-")) in labels:
            sigmas = _sigma(mtz, label, position), _sigma(mtz, mate, labels.index(mate))
            yield Columns((label, mate), sigmas if None not in sigmas else (None, None), kind == "K")


def _sigma(mtz: Any, label: str, position: int) -> str | None:
    """The label of the uncertainties of a column: SIG and its label, or the next column if that is of their type."""
    labels = [c.label for c in mtz.columns]
    if f"SIG{label}" in labels:
        return f"SIG{label}"
    following = mtz.columns[position + 1] if position + 1 < len(labels) else None
    return following.label if following is not None and following.type in "QLM" else None


def write(path: files.PathName, hkl: np.ndarray, amplitudes: np.ndarray, cell: Cell, what: str = "MTZ file") -> None:
    """Write amplitudes (n,) of all reflections hkl (n, 3) of P1 as MTZ, in float32, half of reciprocal space.

    The column is F where no two Friedel mates that are listed differ, and else F(+) and F(-), in which a mate that is not
    listed has no value. cell: in A and degrees.
    """
    import gemmi

    upper = (hkl[:, 2] > 0) | ((hkl[:, 2] == 0) & ((hkl[:, 0] > 0) | ((hkl[:, 0] == 0) & (hkl[:, 1] >= 0))))
    rows, place = np.unique(np.where(upper[:, np.newaxis], hkl, -hkl), axis=0, return_inverse=True)
    pair = np.full((len(rows), 2), np.nan)
    pair[place.ravel(), np.where(upper, 0, 1)] = amplitudes
    plus, minus = pair.T
    same = np.isnan(plus) | np.isnan(minus) | (plus == minus)
    mtz = gemmi.Mtz(with_base=True)
    mtz.spacegroup = gemmi.find_spacegroup_by_name("P 1")
    mtz.set_cell_for_all(gemmi.UnitCell(*cell))
    mtz.title = "structure factors in P1"
    mtz.add_dataset("nbnumba")
    if same.all():
        mtz.add_column("F", "F")
        values = np.where(np.isnan(plus), minus, plus)[:, np.newaxis]
    else:
        mtz.add_column("F(+)", "G")
        mtz.add_column("F(-)", "G")
        values = pair
    mtz.set_data(np.concatenate([rows.astype(np.float32), values.astype(np.float32)], axis=1))
    with files.replacing(path, what) as stream:
        stream.write(mtz.write_to_bytes())


def write_merged(
    path: files.PathName,
    hkl: np.ndarray,
    columns: Mapping[str, tuple[str, np.ndarray]],
    cell: Cell,
    group: Any,
    wavelength_A: float,
    what: str,
) -> None:
    """Write columns (n,) of unique reflections hkl (n, 3), each with its type, as a merged MTZ of a space group of gemmi.

    Reflections are moved to the asymmetric unit of CCP4, and sorted. NaN is no value. Numbers are float32.
    """
    import gemmi

    mtz = gemmi.Mtz(with_base=True)
    mtz.spacegroup = group
    mtz.set_cell_for_all(gemmi.UnitCell(*cell))
    mtz.title = "intensities by refinement"
    mtz.add_dataset("nbnumba").wavelength = wavelength_A
    for label, (kind, _) in columns.items():
        mtz.add_column(label, kind)
    mtz.set_data(np.column_stack([hkl, *(values for _, values in columns.values())]).astype(np.float32))
    mtz.ensure_asu()
    mtz.sort()
    with files.replacing(path, what) as stream:
        stream.write(mtz.write_to_bytes())
