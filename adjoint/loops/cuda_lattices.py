"""The loop over lattices of simple scenes on a card (nbnumba/loops/cuda_lattices.py): for one pixel, sums in registers."""

from types import SimpleNamespace

import numpy as np

from adjoint.loops.rows import CELLS, LATTICE_ANGLE_COUNT, LATTICE_ANGLES, Q_BAR, SCALE, VECTORS, add3, three
from adjoint.stages.crystal import indices_adj, rotate_back
from adjoint.stages.lattice import lattice_factor_square_adj
from adjoint.stages.pixel import term_adj
from adjoint.stages.vec3 import add
from nbnumba.loops.indices import cell_vectors, extended_q, nearest_hkl, nine_numbers
from nbnumba.loops.rows import Q_X, SUM
from nbnumba.stages import real, wide
from nbnumba.stages.crystal import accumulate, to_extended, to_real, to_wide
from nbnumba.stages.lattice import lattice_factor_square
from nbnumba.stages.pixel import term
from nbnumba.stages.structure import slot
from nbnumba.stages.vec3 import cross, dot, scale

device = SimpleNamespace(local=SimpleNamespace(array=np.empty))
"""What arrays of one thread come from: NumPy in plain Python, numba.cuda in a kernel, where they are registers."""

LATTICES_TOGETHER = 256
"""Number of lattices whose derivatives are summed in `real` before they are added to the rows, which are `wide`."""


def differentiate_lattices(tile, table, lanes, ray, crystal, structure, orientations, motions, paths):
    """Add the terms of all lattices to SUM, and their derivatives to CELLS, Q_BAR, LATTICE_ANGLES and VECTORS.

    It does what lattices.py:differentiate_lattices does (F8 to F10, A7 to A10) for simple scenes, without amplitudes.
    """
    lattices = orientations.fresh_lattice if lanes.fresh else orientations.lattice
    rotations = motions.fresh_rotations if lanes.fresh else motions.rotations
    rotation_rates = motions.fresh_rotation_rates if lanes.fresh else motions.rotation_rates
    first = 0
    while first < lattices.shape[0]:
        end = first + LATTICES_TOGETHER if first + LATTICES_TOGETHER < lattices.shape[0] else lattices.shape[0]
        differentiate_lattice_range(tile, first, end, crystal, structure, lattices, rotations, rotation_rates, paths)
        first = end


def differentiate_lattice_range(tile, first, end, crystal, structure, lattices, rotations, rotation_rates, paths):
    """Add the terms and derivatives of the lattices from `first` to before `end`. It reads Q_X, Q_Y, Q_Z and SCALE."""
    q_x, q_y, q_z = three(tile, Q_X, 0)
    q, near = extended_q(tile, 0), (real(q_x), real(q_y), real(q_z))
    weight, total, nothing = real(tile[SCALE]), to_extended(wide(0)), (real(0), real(0), real(0))
    cells, q_bar, by_a, by_b, by_c = nothing, nothing, nothing, nothing, nothing
    angles = device.local.array(LATTICE_ANGLE_COUNT, real)
    for n in range(LATTICE_ANGLE_COUNT):
        angles[n] = real(0)
    for m in range(first, end):
        vectors = cell_vectors(lattices, m)
        (dh, h), (dk, k), (dl, l) = nearest_hkl(vectors, q)
        amplitude, factor = structure.amplitude[slot(structure, h, k, l)], lattice_factor_square(crystal, dh, dk, dl)
        total = accumulate(total, term(amplitude, factor))
        lattice_factor_bar = term_adj(amplitude, factor, weight)[1]
        h_bar, k_bar, l_bar, n_a_bar, n_b_bar, n_c_bar = lattice_factor_square_adj(crystal, dh, dk, dl, lattice_factor_bar)
        cells = add(cells, (n_a_bar, n_b_bar, n_c_bar))
        if paths.geometry or paths.lattice_angles or paths.sweep:
            q_bar_of_lattice = indices_adj(nine_to_real(vectors), (h_bar, k_bar, l_bar))
            q_bar = add(q_bar, q_bar_of_lattice)
            if paths.lattice_angles or paths.sweep:
                torque = cross(q_bar_of_lattice, near)
                for n in range(LATTICE_ANGLE_COUNT):
                    angles[n] += dot((rotation_rates[m, n, 0], rotation_rates[m, n, 1], rotation_rates[m, n, 2]), torque)
        if paths.vectors:
            q_back = rotate_back(in_real(nine_numbers(rotations, m)), near)
            by_a, by_b = add(by_a, scale(q_back, h_bar)), add(by_b, scale(q_back, k_bar))
            by_c = add(by_c, scale(q_back, l_bar))
    tile[SUM] += to_wide(total)
    add3(tile, CELLS, 0, cells)
    add3(tile, Q_BAR, 0, q_bar)
    for n in range(LATTICE_ANGLE_COUNT):
        tile[LATTICE_ANGLES + n] += angles[n]
    add3(tile, VECTORS, 0, by_a)
    add3(tile, VECTORS + 3, 0, by_b)
    add3(tile, VECTORS + 6, 0, by_c)


def nine_to_real(numbers):
    """Nine extended numbers in `real`."""
    a, b, c, d, e, f, g, h, i = numbers
    return to_real(a), to_real(b), to_real(c), to_real(d), to_real(e), to_real(f), to_real(g), to_real(h), to_real(i)


def in_real(numbers):
    """Nine numbers in `real`."""
    a, b, c, d, e, f, g, h, i = numbers
    return real(a), real(b), real(c), real(d), real(e), real(f), real(g), real(h), real(i)
