"""Atoms in a crystal, by gemmi: PDB and mmCIF files of macromolecules, CIF files of small molecules."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import numpy as np

from nbnumba.errors import InputError
from nbnumba.formats import files, recognise
from nbnumba.formats.reflection_data import Cell, by_gemmi, cell_of
from nbnumba.formats.symmetry import Symmetry, of_block, of_space_group

_PDB = re.compile(r"^(?:CRYST1|ATOM  |HETATM)", re.MULTILINE)


class Atom(NamedTuple):
    """An atom of a small molecule.

    element: a symbol; charge: in elementary charges. fraction (3,): place in parts of the edges. occupancy: that of one of its
    places in the cell: on a symmetry element it is divided by the number of operations that leave it there. u_A2: mean square
    displacement, isotropic. u_star (3, 3): anisotropic, so that the factor of h is exp(-2 pi^2 h u_star h); None if isotropic.
    """

    element: str
    charge: int
    fraction: np.ndarray
    occupancy: float
    u_A2: float
    u_star: np.ndarray | None


class Coordinates(NamedTuple):
    """Atoms with their cell, in A and degrees, and symmetry; remarks, each a clause.

    structure: gemmi's of a macromolecule, of which the first model counts, or None. atoms: those of a small molecule, or none.
    """

    structure: Any
    atoms: tuple[Atom, ...]
    cell: Cell
    symmetry: Symmetry
    notes: tuple[str, ...]


def read(path: files.PathName, what: str) -> Coordinates:
    """Read the atoms of a file, which may be packed by gzip, as its content says: PDB, mmCIF, or CIF of a small molecule.

    Raises InputError for a file that is none or is damaged, one without atoms, a cell or a space group, and for an atom of an
    unknown element.
    """
    name = f"{what}: {files.name_of(path, what)!r}"
    text = files.read_text(path, what)
    if "_atom_site." in text or "_atom_site_" in text:
        return _of_cif(text, name)
    if _PDB.search(text):
        return _of_pdb(text, name)
    kind = recognise.text(text)
    held = f"is {kind.words}" if kind is not None else "holds no atoms"
    other = "; -cif and -mtz name reflections" if "_refln" in text else ""
    raise InputError(f"{name} {held}; allowed: atoms as PDB, mmCIF, or CIF of a small molecule{other}")


def _of_pdb(text: str, name: str) -> Coordinates:
    import gemmi

    with by_gemmi(name, "PDB"):
        return _of_structure(gemmi.read_pdb_string(text), name)


def _of_cif(text: str, name: str) -> Coordinates:
    import gemmi

    with by_gemmi(name, "CIF"):
        document = gemmi.cif.read_string(text)
        for block in document:
            if block.find_loop("_atom_site.Cartn_x"):
                return _of_structure(gemmi.make_structure_from_block(block), name)
            if block.find_loop("_atom_site_fract_x"):
                return _of_small_molecule(block, name)
    raise InputError(f"{name} is a CIF file without coordinates; allowed: _atom_site.Cartn_x or _atom_site_fract_x, and so on")


def _of_structure(structure: Any, name: str) -> Coordinates:
    """The atoms of a macromolecule."""
    cell = cell_of(structure.cell.parameters)
    if cell is None:
        raise InputError(f"{name} states no unit cell; allowed: atoms in a crystal, with CRYST1 or _cell")
    group = structure.find_spacegroup()
    if group is None:
        given = structure.spacegroup_hm.strip()
        stated = f"the unknown space group {given!r}" if given else "no space group"
        raise InputError(f"{name} states {stated}; allowed: a known one")
    notes = [f"{len(structure)} models, of which the first counts"] if len(structure) > 1 else []
    if any(not copy.given for copy in structure.ncs):
        notes.append("copies by non-crystallographic symmetry that the file does not list are made")
        structure.expand_ncs(gemmi_copies())
    atoms = [place.atom for place in structure[0].all()] if len(structure) else []
    _check_elements(sorted({atom.element.name for atom in atoms}), name)
    _check_numbers(np.array([(*atom.pos.tolist(), atom.occ, atom.b_iso) for atom in atoms]), name)
    return Coordinates(structure, (), cell, of_space_group(group), tuple(notes))


def gemmi_copies() -> Any:
    """How gemmi names the chains of copies."""
    import gemmi

    return gemmi.HowToNameCopiedChain.Short


def _of_small_molecule(block: Any, name: str) -> Coordinates:
    """The atoms of a small molecule."""
    import gemmi

    symmetry = of_block(block)
    small = gemmi.make_small_structure_from_block(block)
    cell = cell_of(small.cell.parameters)
    if cell is None or symmetry is None:
        raise InputError(f"{name} states no {'unit cell' if cell is None else 'space group'}; allowed: atoms in a crystal")
    _check_elements(sorted({site.element.name for site in small.sites}), name)
    stars = np.array(small.cell.reciprocal().parameters[:3])
    atoms = []
    for site in small.sites:
        fraction, anisotropic = np.array(site.fract.tolist()), site.aniso.nonzero()
        u = np.array(site.aniso.as_mat33().tolist()) if anisotropic else None
        u_star = None if u is None else u * np.outer(stars, stars)
        occupancy = site.occ / _on_itself(fraction, symmetry, small.cell)
        atoms.append(Atom(site.element.name, int(site.charge), fraction, occupancy, float(site.u_iso), u_star))
    numbers = np.array([(*atom.fraction, atom.occupancy, atom.u_A2) for atom in atoms])
    _check_numbers(numbers, name)
    return Coordinates(None, tuple(atoms), cell, symmetry, ())


SAME_PLACE_A = 0.1
"""The distance up to which an atom and its equivalent are one."""


def _on_itself(fraction: np.ndarray, symmetry: Symmetry, cell: Any) -> int:
    """The number of operations that leave an atom where it is."""
    moved = symmetry.rotations @ fraction + symmetry.translations - fraction
    moved -= np.rint(moved)
    edges = np.array(cell.orth.mat.tolist())
    return int(np.count_nonzero(np.linalg.norm(moved @ edges.T, axis=1) < SAME_PLACE_A))


def _check_elements(names: list[str], name: str) -> None:
    """Raise InputError without atoms, and for an element that is unknown."""
    if not names:
        raise InputError(f"{name} holds no atoms; allowed: some")
    if "X" in names:
        raise InputError(f"{name} holds an atom of an unknown element; allowed: element symbols of every atom")


def _check_numbers(numbers: np.ndarray, name: str) -> None:
    """Raise InputError for a place, an occupancy or a B that is not finite."""
    if not np.isfinite(numbers).all():
        raise InputError(f"{name} holds an atom whose place, occupancy or B is no number; allowed: finite ones")
