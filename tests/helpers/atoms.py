"""Atoms of small made-up crystals, and their structure factors by direct summation, slowly and independently."""

import gemmi
import numpy as np

PDB = """CRYST1   21.000   24.000   28.000  90.00  90.00  90.00 P 21 21 21
ATOM      1  N   ALA A   1       1.000   2.000   3.000  1.00 10.00           N
ATOM      2  CA AALA A   1       2.200   2.700   3.400  0.60 14.00           C
ATOM      3  CA BALA A   1       2.300   2.600   3.700  0.40 16.00           C
ATOM      4  O   ALA A   1       5.100   8.400  11.700  1.00  9.00           O
ANISOU    4  O   ALA A   1     1500    800   1200    200   -100    300       O
HETATM    5 SE   MSE A   2       4.000   9.000   7.000  1.00 12.00          SE
HETATM    6 ZN    ZN A   3       9.000  15.000   2.000  0.50  8.00          ZN
ATOM      7  C   ALA A   1       6.100   7.400  12.300  1.00 20.00           C
"""

SMALL = """data_small
_cell_length_a 6.1
_cell_length_b 7.2
_cell_length_c 8.3
_cell_angle_alpha 90
_cell_angle_beta 101.5
_cell_angle_gamma 90
loop_
_space_group_symop_operation_xyz
x,y,z
-x,y+1/2,-z+1/2
-x,-y,-z
x,-y+1/2,z+1/2
loop_
_atom_type_symbol
_atom_type_description
Fe ?
Cl ?
C ?
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_U_iso_or_equiv
_atom_site_occupancy
_atom_site_adp_type
Fe1 Fe 0.0 0.0 0.0 0.02 1 Uiso
Cl1 Cl 0.21 0.33 0.17 0.03 1 Uani
C1 C 0.41 0.73 0.62 0.025 0.5 Uiso
loop_
_atom_site_aniso_label
_atom_site_aniso_U_11
_atom_site_aniso_U_22
_atom_site_aniso_U_33
_atom_site_aniso_U_12
_atom_site_aniso_U_13
_atom_site_aniso_U_23
Cl1 0.030 0.020 0.050 0.004 0.006 -0.003
"""


CELL = (30.0, 40.0, 50.0, 90.0, 90.0, 90.0)
"""The cell of the lists of reflections."""

REFLECTIONS = """data_r1abcsf
_cell.length_a 30.0
_cell.length_b 40.0
_cell.length_c 50.0
_cell.angle_alpha 90
_cell.angle_beta 90
_cell.angle_gamma 90
_symmetry.space_group_name_H-M 'P 21 21 21'
loop_
_refln.index_h
_refln.index_k
_refln.index_l
_refln.status
_refln.F_meas_au
_refln.F_meas_sigma_au
_refln.F_calc_au
1 2 3 o 10.5 0.1 11
2 2 2 x 11.5 0.1 12
3 3 3 o ? ? 13
"""


def mtz(columns, rows, group="P 21 21 21", cell=CELL):
    """The content of an MTZ file. columns: labels and types after H, K and L. rows: h, k, l and values."""
    made = gemmi.Mtz(with_base=True)
    made.spacegroup = gemmi.SpaceGroup(group)
    made.add_dataset("made")
    made.set_cell_for_all(gemmi.UnitCell(*cell))
    for label, kind in columns:
        made.add_column(label, kind)
    made.set_data(np.array(rows, dtype=np.float32))
    return made.write_to_bytes()


def integrated(hkl, intensities):
    """The columns of a table of DIALS with these profile-fitted intensities, whose uncertainties are a hundredth."""
    values = np.array(intensities)
    return {
        "miller_index": ("cctbx::miller::index<>", np.array(hkl)),
        "id": ("int", np.zeros(len(hkl))),
        "flags": ("std::size_t", np.full(len(hkl), 768)),
        "intensity.prf.value": ("double", values),
        "intensity.prf.variance": ("double", (0.01 * values) ** 2),
    }


def summed(structure, hkl, energy_eV=None):
    """Complex structure factors (n,) of gemmi's structure of a macromolecule at reflections hkl (n, 3), an atom at a time."""
    inverse = np.array(structure.cell.frac.mat.tolist())
    operations = list(structure.find_spacegroup().operations())
    total = np.zeros(len(hkl), dtype=complex)
    for atom in (place.atom for place in structure[0].all()):
        fraction = inverse @ np.array(atom.pos.tolist())
        u = np.array(atom.aniso.as_mat33().tolist()) if atom.aniso.nonzero() else np.eye(3) * atom.b_iso / (8 * np.pi**2)
        for operation in operations:
            turned = hkl @ (np.array(operation.rot) / operation.DEN)
            s = turned @ inverse
            squared = (s**2).sum(axis=1) / 4
            f = atom.element.it92.c + sum(a * np.exp(-b * squared) for a, b in zip(atom.element.it92.a, atom.element.it92.b))
            if energy_eV is not None:
                f = f + complex(*gemmi.cromer_liberman(atom.element.atomic_number, energy_eV))
            phase = turned @ fraction + hkl @ (np.array(operation.tran) / operation.DEN)
            displaced = np.exp(-2 * np.pi**2 * np.einsum("ni,ij,nj->n", s, u, s))
            total += atom.occ * f * displaced * np.exp(2j * np.pi * phase)
    return total
