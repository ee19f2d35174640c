"""Loops over a tile for every lattice of the table: the sum over lattices (F8 to F10) and its derivative (A7 to A10).

A loop for the arithmetic, one for the look-up, which does not vectorise, and one for each way back that is wanted.
"""

import numpy as np  # noqa: I001

from adjoint.loops.amplitude_table import add_entry, amplitude_adj, list_terms, list_weights
from adjoint.loops.rows import (
    AMPLITUDE, CELLS, HKL_BAR, METRIC, OFF, Q_BAR, SCALE, TURN, VECTORS, add3, add_product, add_products, set3, three,
)  # fmt: skip
from adjoint.stages.crystal import indices_adj, turned_back
from adjoint.stages.lattice import lattice_factor_radial_adj, lattice_factor_square_adj
from adjoint.stages.pixel import term_adj
from adjoint.stages.structure import between_adj
from nbnumba.loops.indices import fast_of, index_all, nearest_all, nine, row_of, scattering
from nbnumba.loops.rows import LATTICE, PLACE, Q_X, SUM, TILE
from nbnumba.loops.tile import latch_of
from nbnumba.stages import real
from nbnumba.stages.crystal import long, plain
from nbnumba.stages.lattice import lattice_factor_radial, lattice_factor_square
from nbnumba.stages.pixel import term
from nbnumba.stages.shapes import SQUARE
from nbnumba.stages.structure import between, slot, surrounded
from nbnumba.stages.vec3 import cross


def differentiate_lattices(tile, listing, lanes, where, crystal, structure, lattices, turn, spin, paths):
    """Add every lattice to the sum and to its derivative: loops of arithmetic, and in between the look-up.

    lanes: reflections are listed for those from the first to before the second, but for the third.
    """
    for m in range(lattices.shape[0]):
        vectors = nine(lattices, m)
        look_up(tile, structure, vectors)
        evaluation = where + (m,)
        if structure.interpolate:
            interpolate(tile, evaluation, structure, vectors)
        if crystal.shape == SQUARE:
            square_terms(tile, crystal)
        else:
            peak_terms(tile, crystal)
        if structure.interpolate:
            interpolate_adj(tile, listing, lanes, evaluation, structure, vectors, paths)
        elif paths.reflections:
            list_terms(tile, listing, lanes)
        if paths.turn:
            spin_adj(tile, vectors, spin, m)
        elif paths.geometry:
            scattering_adj(tile, vectors)
        if paths.vectors:
            vectors_adj(tile, turn, m)


def look_up(tile, structure, vectors):
    """The nearest reflection: the distance to it, and its amplitude (F7, F9a)."""
    for i in range(TILE):
        (dh, h), (dk, k), (dl, l) = nearest_all(vectors, scattering(tile, i))
        set3(tile, OFF, i, (plain(dh), plain(dk), plain(dl)))
        tile[PLACE + i] = slot(structure, h, k, l)
    for i in range(TILE):
        tile[AMPLITUDE + i] = structure.amplitude[np.uintp(tile[PLACE + i])]


def in_plain(vectors):
    """The vectors of a lattice in the records' precision."""
    a_x, a_y, a_z, b_x, b_y, b_z, c_x, c_y, c_z = vectors
    return plain(a_x), plain(a_y), plain(a_z), plain(b_x), plain(b_y), plain(b_z), plain(c_x), plain(c_y), plain(c_z)


def square_terms(tile, crystal):
    """Terms of a parallelepiped, and their derivatives by h, k, l and by the numbers of cells (A8, A10)."""
    for i in range(TILE):
        dh, dk, dl = long(tile[OFF + i]), long(tile[OFF + TILE + i]), long(tile[OFF + 2 * TILE + i])
        amplitude, factor = real(tile[AMPLITUDE + i]), lattice_factor_square(crystal, dh, dk, dl)
        tile[LATTICE + i] = factor
        tile[SUM + i] += term(amplitude, factor)
        lattice_bar = term_adj(amplitude, factor, real(tile[SCALE + i]))[1]
        h_bar, k_bar, l_bar, by_a, by_b, by_c = lattice_factor_square_adj(crystal, dh, dk, dl, lattice_bar)
        set3(tile, HKL_BAR, i, (h_bar, k_bar, l_bar))
        add3(tile, CELLS, i, (by_a, by_b, by_c))


def peak_terms(tile, crystal):
    """The same for a shape that is a function of the distance to the nearest reflection (A8c, A8d)."""
    for i in range(TILE):
        dh, dk, dl = three(tile, OFF, i)
        amplitude, factor = tile[AMPLITUDE + i], lattice_factor_radial(crystal, dh, dk, dl)
        tile[LATTICE + i] = factor
        tile[SUM + i] += term(amplitude, factor)
        lattice_bar = term_adj(amplitude, factor, tile[SCALE + i])[1]
        d_bar, cells_bar, metric_bar = lattice_factor_radial_adj(crystal, dh, dk, dl, lattice_bar)
        set3(tile, HKL_BAR, i, d_bar)
        add3(tile, CELLS, i, cells_bar)
        add3(tile, METRIC, i, (metric_bar[0], metric_bar[1], metric_bar[2]))
        add3(tile, METRIC + 3 * TILE, i, (metric_bar[3], metric_bar[4], metric_bar[5]))


def interpolate(tile, evaluation, structure, vectors):
    """Amplitudes between reflections in the place of those looked up (F9b, P8)."""
    row, start, number, m = evaluation
    for i in range(TILE):
        if (row, int(fast_of(tile, start, i)), number, m) < latch_of(structure):
            h, k, l = index_all(vectors, scattering(tile, i))
            tile[AMPLITUDE + i] = between(structure, h, k, l) if surrounded(structure, h, k, l) else structure.amplitude[-1]


def interpolate_adj(tile, listing, lanes, evaluation, structure, vectors, paths):
    """An interpolated amplitude moves with h, k and l; its reflections are listed, or that one that was looked up (A9b)."""
    row, start, number, m = evaluation
    for i in range(TILE):
        h, k, l = index_all(vectors, scattering(tile, i))
        smooth = (row, int(fast_of(tile, start, i)), number, m) < latch_of(structure)
        listed = paths.reflections and lanes[0] <= i < lanes[1] and i != lanes[2]
        amplitude_bar = amplitude_adj(tile, i)
        if smooth and surrounded(structure, h, k, l):
            add3(tile, HKL_BAR, i, between_adj(structure, h, k, l, amplitude_bar))
            if listed:
                list_weights(listing, i, amplitude_bar, structure, h, k, l)
        elif listed and not smooth:
            add_entry(listing, i, int(tile[PLACE + i]), amplitude_bar)


def scattering_adj(tile, vectors):
    """The cotangent of the scattering vector (A7)."""
    rows = in_plain(vectors)
    for i in range(TILE):
        add3(tile, Q_BAR, i, indices_adj(rows, three(tile, HKL_BAR, i)))


def spin_adj(tile, vectors, spin, m):
    """The same, and the derivative along the turns of a lattice: by a turn omega it is omega . (q_bar x q) (A7b)."""
    rows = in_plain(vectors)
    p_x, p_y, p_z, o_x, o_y, o_z, m_x, m_y, m_z = row_of(spin, m)
    for i in range(TILE):
        q_bar = indices_adj(rows, three(tile, HKL_BAR, i))
        add3(tile, Q_BAR, i, q_bar)
        torque = cross(q_bar, three(tile, Q_X, i))
        add_product(tile, TURN, i, (p_x, p_y, p_z), torque)
        add_product(tile, TURN + TILE, i, (o_x, o_y, o_z), torque)
        add_product(tile, TURN + 2 * TILE, i, (m_x, m_y, m_z), torque)


def vectors_adj(tile, turn, m):
    """The cotangent of a, b, c at phi = 0 (A7b)."""
    rows = row_of(turn, m)
    for i in range(TILE):
        back = turned_back(rows, three(tile, Q_X, i))
        h_bar, k_bar, l_bar = three(tile, HKL_BAR, i)
        add_products(tile, VECTORS, i, h_bar, back)
        add_products(tile, VECTORS + 3 * TILE, i, k_bar, back)
        add_products(tile, VECTORS + 6 * TILE, i, l_bar, back)
