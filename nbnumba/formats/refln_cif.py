"""Reflections of CIF files, by gemmi: the PDB's structure factors (mmCIF), and those of small molecules, SHELX's among them."""

from __future__ import annotations

from typing import Any

import numpy as np

from nbnumba.errors import InputError
from nbnumba.formats import files, shelx
from nbnumba.formats.reflection_data import Cell, Columns, ReflectionData, by_gemmi, cell_of, measured, paired
from nbnumba.formats.symmetry import of_block

CHOICES = (
    Columns(("pdbx_F_plus", "pdbx_F_minus"), ("pdbx_F_plus_sigma", "pdbx_F_minus_sigma"), False),
    Columns(("F_meas_au",), ("F_meas_sigma_au",), False),
    Columns(("F_meas",), ("F_meas_sigma",), False),
    Columns(("F_calc_au",), (None,), False),
    Columns(("F_calc",), (None,), False),
    Columns(("F_squared_calc",), (None,), True),
    Columns(("pdbx_I_plus", "pdbx_I_minus"), ("pdbx_I_plus_sigma", "pdbx_I_minus_sigma"), True),
    Columns(("intensity_meas",), ("intensity_sigma",), True),
    Columns(("F_squared_meas",), ("F_squared_sigma",), True),
)
"""The columns that serve, without the name of their category. The order is that of MTZ, but that measured F squared of a small
molecule counts before calculated amplitudes (`_rank`)."""

UNRELIABLE = frozenset("x-")
"""The status of a reflection that its authors left out, or that is absent by symmetry."""

CELL_TAGS = ("length_a", "length_b", "length_c", "angle_alpha", "angle_beta", "angle_gamma")


def read(path: files.PathName, what: str, column: str | None = None) -> ReflectionData:
    """Read amplitudes, or intensities, of the first block with any in a CIF file, which may be packed by gzip.

    column: what to read, by its name without the category, such as F_meas_au; None: as CHOICES has them. A list of SHELX that
    the file holds as text (_shelx_hkl_file) is read if there is no other. Raises InputError for a file that is none or is
    damaged, for one without reflections, and for one that states no space group.
    """
    import gemmi

    name = f"{what}: {files.name_of(path, what)!r}"
    text = files.read_text(path, what)
    with by_gemmi(name, "CIF"):
        document = gemmi.cif.read_string(text)
        for block in document:
            data = _of_block(block, name, column)
            if data is not None:
                return _checked(data, name)
    if any(block.find_loop(tag) for block in document for tag in ("_atom_site.Cartn_x", "_atom_site_fract_x")):
        raise InputError(f"{name} is a CIF file of atoms, without reflections; allowed: -pdb for atoms, or reflections")
    raise InputError(f"{name} is a CIF file without reflections; allowed: _refln.index_h and so on, or _shelx_hkl_file")


def _checked(data: ReflectionData, name: str) -> ReflectionData:
    if data.symmetry is None:
        raise InputError(f"{name} states no space group; allowed: a file with _symmetry.space_group_name_H-M or operations")
    try:
        return measured(data)
    except InputError as error:
        raise InputError(f"{name} {error}; allowed: a file with measured reflections") from None


def _of_block(block: Any, name: str, column: str | None) -> ReflectionData | None:
    """The reflections of a block; None if it has none."""
    import gemmi

    category = next((c for c in ("_refln.", "_refln_") if block.find_loop(f"{c}index_h")), None)
    if category is None:
        listed = block.find_value("_shelx_hkl_file")
        if not listed:
            return None
        data = shelx.parsed(gemmi.cif.as_string(listed), f"{name}, _shelx_hkl_file")
        return data._replace(symmetry=of_block(block), cell=_cell(block), friedel=_is_merged_by_friedel(block))
    tags = {tag[len(category) :] for tag in block.find_loop(f"{category}index_h").get_loop().tags}
    chosen = _chosen(tags, name, column)
    hkl = np.stack([_numbers(block, f"{category}index_{letter}") for letter in "hkl"], axis=-1)
    if not (np.isfinite(hkl).all() and (hkl == np.rint(hkl)).all()):
        raise InputError(f"{name}: an index is no whole number; allowed: whole h, k and l")
    hkl, notes = hkl.astype(np.int64), [f"{'intensities' if chosen.intensities else 'amplitudes'} {chosen} are read"]
    notes[0] += f"; it holds {'' if any('phase' in tag for tag in tags) else 'no '}phases, which are not needed"
    sigmas = [tag for tag in chosen.sigmas if tag in tags]
    sigmas = sigmas if len(sigmas) == len(chosen.values) else []
    columns = [_numbers(block, category + tag) for tag in (*chosen.values, *sigmas)]
    status = next((tag for tag in ("status", "observed_status") if tag in tags), None)
    if status is not None:
        marks = np.array([gemmi.cif.as_string(value) for value in block.find_loop(category + status)])
        left_out = np.isin(marks, list(UNRELIABLE))
        if left_out.any():
            hkl, columns = hkl[~left_out], [values[~left_out] for values in columns]
            notes.append(f"{np.count_nonzero(left_out)} of status x or - are left out")
    friedel = len(chosen.values) == 1
    if not friedel:
        hkl, columns = paired(hkl, columns)
    sigma = columns[1] if len(columns) == 2 else None
    return ReflectionData(hkl, columns[0], sigma, chosen.intensities, friedel, of_block(block), _cell(block), tuple(notes))


def _is_merged_by_friedel(block: Any) -> bool:
    """Whether a list of SHELX is of a centrosymmetric crystal, in which Friedel mates are equivalent."""
    symmetry = of_block(block)
    return symmetry is not None and bool((symmetry.rotations == -np.eye(3, dtype=np.int64)).all(axis=(1, 2)).any())


def _chosen(tags: set[str], name: str, column: str | None) -> Columns:
    """The columns to be read of those that there are."""
    there = [of for of in CHOICES if set(of.values) <= tags]
    usable = ", ".join(value for of in there for value in of.values) or "none here"
    if column is not None:
        named = [of for of in there if column in of.values]
        if not named:
            raise InputError(f"-column: {column!r} is no amplitude or intensity of {name}; allowed: {usable}")
        return named[0]
    if not there:
        held = ", ".join(sorted(tags))[:200]
        raise InputError(f"{name} has no amplitudes or intensities among its columns {held}; allowed: F_meas_au and so on")
    return min(there, key=_rank)


def _rank(of: Columns) -> int:
    """The place in the order of choice: measured F squared, for small molecules rarely list F, before calculated F."""
    order = CHOICES.index(of)
    return 2 if of.values == ("F_squared_meas",) else order


def _numbers(block: Any, tag: str) -> np.ndarray:
    """A column as numbers, NaN where it has none."""
    import gemmi

    return np.array([gemmi.cif.as_number(value) for value in block.find_loop(tag)], dtype=np.float64)


def _cell(block: Any) -> Cell | None:
    import gemmi

    for category in ("_cell.", "_cell_"):
        values = [block.find_value(category + tag) for tag in CELL_TAGS]
        if all(values):
            numbers = [gemmi.cif.as_number(value) for value in values]
            return cell_of(numbers) if np.isfinite(numbers).all() else None
    return None
