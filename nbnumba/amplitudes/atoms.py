"""Structure factors of atoms in a crystal (F9c): form factors, B factors, bulk solvent, and anomalous scattering by element."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from nbnumba.amplitudes import expansion
from nbnumba.amplitudes.listed import Amplitudes, in_sphere, volume
from nbnumba.errors import InputError
from nbnumba.formats import coordinates as coordinate_files
from nbnumba.formats import files
from nbnumba.formats.coordinates import Atom, Coordinates
from nbnumba.formats.symmetry import Symmetry

RATE = 2.0
"""Points of the grid of electron density for each d / 2: twice as fine as reflections need, so that tails do not overlap."""

CUTOFF = 1e-7
"""The density of an atom, in electrons/A^3, below which it is cut off."""

MASK_SPACING_A = 0.6
"""The usual spacing of the points of the mask of the solvent."""

EXTRA_BLUR_A2 = 10.0
"""Added to the B by which gemmi makes density smooth on the grid, so that anomalous scattering, which is a point, is smooth."""

MOST_POINTS, MOST_REFLECTIONS = 4 * 10**8, 3 * 10**7
"""The largest grid, of 4 bytes a point and 8 in the transform, and the largest list."""

HEAVIEST = 92
"""The largest atomic number that Cromer and Liberman's values reach to; hydrogen and helium have none that counts."""

MOST_AMPLITUDES = 10**8
"""The largest number of amplitudes of all photon energies, of 8 bytes each."""

IN_PART = 2 * 10**6
"""Atoms times reflections of a small molecule that are summed at once."""


K_SOL, B_SOL_A2 = 0.35, 46.0
"""The usual bulk solvent of a protein crystal: electrons/A^3, and B."""


class Solvent(NamedTuple):
    """Bulk solvent: electrons/A^3, and B in A^2."""

    density: float = K_SOL
    b_A2: float = B_SOL_A2


class Scattering(NamedTuple):
    """Complex structure factors of half of the reflections, in electrons; those of the other half follow from both parts.

    hkl (n, 3): one of each Friedel pair. normal (n,): without anomalous scattering. elements: symbols. by_element
    (elements, n): the structure factors of points of one electron in the places of the atoms of an element, with their B and
    occupancies.
    """

    hkl: np.ndarray
    normal: np.ndarray
    elements: tuple[str, ...]
    by_element: np.ndarray


class Model(NamedTuple):
    """What is made of the atoms of a file besides the resolution.

    energies_eV: photon energies of anomalous scattering, one for each row of amplitudes; empty for one row without any.
    solvent: None for none. add_b_A2: added to the B of every atom. table: rows of energy, f' and f'' by element, which count
    before the values of Cromer and Liberman.
    """

    energies_eV: tuple[float, ...] = ()
    solvent: Solvent | None = Solvent()
    add_b_A2: float = 0.0
    table: Mapping[str, np.ndarray] = {}


def from_coordinates(coordinates: Coordinates, name: str, resolution_A: float, model: Model) -> Amplitudes:
    """Return amplitudes of all reflections of P1 of at least a resolution, of the atoms of a file (F9c).

    F is (n,) for at most one energy, else (energies, n). name: of the file, with the flag, for messages. Raises InputError as
    `scattering` does.
    """
    try:
        found = scattering(coordinates, resolution_A, model.solvent, model.add_b_A2, max(len(model.energies_eV), 1))
    except InputError as error:
        raise InputError(f"{name}: {error}") from None
    rows = []
    for energy in model.energies_eV or (None,):
        factors = [anomalous(element, energy, model.table) for element in found.elements]
        rows.append(amplitudes(found, [f[0] for f in factors], [f[1] for f in factors]))
    every = np.concatenate([found.hkl, -found.hkl])
    order = np.argsort(expansion.key(every))
    F, notes = np.array(rows)[:, order], list(coordinates.notes)
    unknown = [element for element in found.elements if model.energies_eV and _is_unknown(element, model)]
    if unknown:
        notes.append(f"no f' and f'' are known of {' and '.join(unknown)}, for which 0 is taken")
    return Amplitudes(every[order].astype(np.int32), F if len(rows) > 1 else F[0], coordinates.cell, tuple(notes))


def _is_unknown(element: str, model: Model) -> bool:
    """Whether neither Cromer and Liberman nor the user's table has an element that scatters anomalously."""
    import gemmi

    return gemmi.Element(element).atomic_number > HEAVIEST and element not in model.table


def described(coordinates: Coordinates, resolution_A: float, model: Model) -> str:
    """Return a clause on what structure factors of atoms were made with."""
    if coordinates.structure is None:
        solvent = "without bulk solvent, as a small molecule"
    elif model.solvent is None:
        solvent = "without bulk solvent"
    else:
        solvent = f"with bulk solvent of {model.solvent.density:g} electrons/A^3 and B {model.solvent.b_A2:g} A^2"
    energies = model.energies_eV
    at = f"{min(energies):.6g}{f' to {max(energies):.6g}' if len(energies) > 1 else ''} eV" if energies else ""
    anomalous_said = f"with f' and f'' at {at}" if at else "without f' and f''"
    return f"structure factors of {coordinates.symmetry.name} to {resolution_A:.4g} A, {solvent}, {anomalous_said}"


def anomalous(element: str, energy_eV: float | None, table: Mapping[str, np.ndarray]) -> tuple[float, float]:
    """Return f' and f'' of an element, in electrons, at a photon energy; 0 and 0 for None (F9c).

    The user's table counts within its energies, between which it is interpolated by energy; else Cromer and Liberman's values.
    """
    import gemmi

    if energy_eV is None:
        return 0.0, 0.0
    rows = table.get(element)
    if rows is not None and rows[0, 0] <= energy_eV <= rows[-1, 0]:
        return tuple(float(np.interp(energy_eV, rows[:, 0], rows[:, column])) for column in (1, 2))  # type: ignore[return-value]
    return gemmi.cromer_liberman(gemmi.Element(element).atomic_number, energy_eV)


def read(path: files.PathName, what: str) -> Coordinates:
    """Return the atoms of a file (formats/coordinates.py:read)."""
    return coordinate_files.read(path, what)


def scattering(
    coordinates: Coordinates, resolution_A: float, solvent: Solvent | None, add_b_A2: float, energies: int = 1
) -> Scattering:
    """Return the structure factors of all reflections of P1 of at least a resolution (F9c).

    solvent: None for none; a small molecule has none. add_b_A2: added to the B of every atom. energies: how many rows of
    amplitudes are to be made. Raises InputError for more reflections, amplitudes or a finer grid than there is room for.
    """
    count = 4.19 * volume(coordinates.cell) / resolution_A**3
    finest = min(resolution_A / (2.0 * RATE), math.inf if solvent is None else _mask_spacing_A(resolution_A))
    points = volume(coordinates.cell) / finest**3
    if count > MOST_REFLECTIONS or (coordinates.structure is not None and points > MOST_POINTS):
        needed = f"{count:.3g} reflections of the cell of {volume(coordinates.cell):.3g} A^3, to {resolution_A:.4g} A"
        raise InputError(f"{needed}, and {points:.3g} points of density, are too many; allowed: a coarser resolution (-dmin)")
    if count * energies > MOST_AMPLITUDES:
        what = f"{count:.3g} reflections to {resolution_A:.4g} A at each of {energies} photon energies are too many"
        raise InputError(f"{what}; allowed: {MOST_AMPLITUDES:.3g} in all: fewer wavelengths, or a coarser resolution (-dmin)")
    every = in_sphere(coordinates.cell, resolution_A)
    half = every[expansion.key(every) > expansion.key(-every)]
    half = half[~expansion.absent(half, coordinates.symmetry)]
    if not len(half):
        raise InputError(f"the cell has no reflection of {resolution_A:.4g} A or coarser; allowed: a finer resolution")
    if coordinates.structure is None:
        return _of_small_molecule(coordinates, half, add_b_A2)
    return _of_macromolecule(coordinates, half, resolution_A, solvent, add_b_A2)


def amplitudes(of: Scattering, f_prime: Sequence[float], f_double: Sequence[float]) -> np.ndarray:
    """Return |F| (2 n,) in electrons: those of hkl, and then those of their Friedel mates (F9c).

    f_prime, f_double: of each element, in electrons.

        F(h) = A(h) + i B(h),   F(-h) = A(h)* + i B(h)*,   A = normal + sum of f' G,   B = sum of f'' G
    """
    real = of.normal + np.asarray(f_prime, dtype=np.float64) @ of.by_element
    imaginary = np.asarray(f_double, dtype=np.float64) @ of.by_element
    return np.concatenate([np.abs(real + 1j * imaginary), np.abs(np.conj(real) + 1j * np.conj(imaginary))])


# ----------------------------------------------------------------------------------------------- macromolecules


def _of_macromolecule(
    coordinates: Coordinates, hkl: np.ndarray, resolution_A: float, solvent: Solvent | None, add_b_A2: float
) -> Scattering:
    """Structure factors by gemmi's density on a grid and its Fourier transform (F9c)."""
    import gemmi

    structure = coordinates.structure
    atoms = [place.atom for place in structure[0].all()]
    calculator = gemmi.DensityCalculatorX()
    calculator.d_min, calculator.rate, calculator.cutoff = resolution_A, RATE, CUTOFF
    calculator.set_refmac_compatible_blur(structure[0])
    calculator.blur += EXTRA_BLUR_A2
    calculator.set_grid_cell_and_spacegroup(structure)
    calculator.put_model_density_on_grid(structure[0])
    normal = _transformed(calculator.grid, hkl, calculator.blur)
    elements = tuple(dict.fromkeys(atom.element.name for atom in atoms))
    points = np.zeros((len(elements), len(hkl)), dtype=np.complex128)
    for place, element in enumerate(elements):
        calculator.initialize_grid()
        for atom in atoms:
            if atom.element.name == element:
                calculator.add_c_contribution_to_grid(atom, 1.0)
        calculator.grid.symmetrize_sum()
        points[place] = _transformed(calculator.grid, hkl, calculator.blur)
    squared = structure.cell.calculate_1_d2_array(hkl)
    factor = np.exp(-add_b_A2 / 4.0 * squared)
    normal, points = normal * factor, points * factor
    if solvent is not None:
        mask = gemmi.FloatGrid()
        mask.setup_from(structure, spacing=_mask_spacing_A(resolution_A))
        gemmi.SolventMasker(gemmi.AtomicRadiiSet.Cctbx).put_mask_on_float_grid(mask, structure[0])
        normal += solvent.density * np.exp(-solvent.b_A2 / 4.0 * squared) * _transformed(mask, hkl, 0.0)
    return Scattering(hkl, normal, elements, points)


def _mask_spacing_A(resolution_A: float) -> float:
    """The spacing of the points of the mask of the solvent: the same for all but the finest resolutions, so that F is, too."""
    return min(MASK_SPACING_A, resolution_A / 3.0)


def _transformed(grid: Any, hkl: np.ndarray, blur_A2: float) -> np.ndarray:
    """The Fourier transform (n,) of a grid, without the blur, at reflections hkl (n, 3)."""
    import gemmi

    found = gemmi.transform_map_to_f_phi(grid, half_l=True)
    return found.get_value_by_hkl(np.ascontiguousarray(hkl, dtype=np.int32), unblur=blur_A2).astype(np.complex128)


# ----------------------------------------------------------------------------------------------- small molecules


def _of_small_molecule(coordinates: Coordinates, hkl: np.ndarray, add_b_A2: float) -> Scattering:
    """Structure factors by the sum over atoms and operations (F9c)."""
    import gemmi

    quarter = gemmi.UnitCell(*coordinates.cell).calculate_1_d2_array(hkl) / 4.0
    elements = tuple(dict.fromkeys(atom.element for atom in coordinates.atoms))
    normal, points = np.zeros(len(hkl), dtype=np.complex128), np.zeros((len(elements), len(hkl)), dtype=np.complex128)
    for atom in coordinates.atoms:
        of_point = np.exp(-add_b_A2 * quarter) * _of_point(atom, hkl, quarter, coordinates.symmetry)
        points[elements.index(atom.element)] += of_point
        normal += form_factor(atom.element, atom.charge, quarter) * of_point
    return Scattering(hkl, normal, elements, points)


def _of_point(atom: Atom, hkl: np.ndarray, quarter: np.ndarray, symmetry: Symmetry) -> np.ndarray:
    """The structure factors (n,) of an electron in all places of an atom. quarter (n,): (sin(theta) / lambda)^2, 1/A^2."""
    total = np.zeros(len(hkl), dtype=np.complex128)
    size = max(IN_PART // len(symmetry.rotations), 1)
    for first in range(0, len(hkl), size):
        part = slice(first, first + size)
        for rotation, translation in zip(symmetry.rotations, symmetry.translations):
            turned = hkl[part] @ rotation
            wave = np.exp(2j * math.pi * (turned @ atom.fraction + hkl[part] @ translation))
            if atom.u_star is not None:
                wave *= np.exp(-2.0 * math.pi**2 * np.einsum("ni,ij,nj->n", turned, atom.u_star, turned))
            total[part] += wave
    if atom.u_star is None:
        total *= np.exp(-8.0 * math.pi**2 * atom.u_A2 * quarter)
    return atom.occupancy * total


def form_factor(element: str, charge: int, quarter: np.ndarray) -> np.ndarray:
    """Return f0 (n,) in electrons: four Gaussians and a constant, International Tables C (1992), table 6.1.1.4.

    quarter (n,): (sin(theta) / lambda)^2 in 1/A^2. An ion without an entry is taken as the neutral atom.
    """
    import gemmi

    coefficients = gemmi.IT92_get_exact(gemmi.Element(element), charge) or gemmi.Element(element).it92
    return coefficients.c + sum(a * np.exp(-b * quarter) for a, b in zip(coefficients.a, coefficients.b))
