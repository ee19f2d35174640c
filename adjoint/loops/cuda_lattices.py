"""The loop over lattices in plain scenes (its twin in nbnumba says which), for a tile of one pixel: sums stay in registers."""

from adjoint.loops.rows import CELLS, Q_BAR, SCALE, TURN, VECTORS, add3, three
from adjoint.stages.crystal import indices_adj, turned_back
from adjoint.stages.lattice import lattice_factor_square_adj
from adjoint.stages.pixel import term_adj
from adjoint.stages.vec3 import add
from nbnumba.loops.indices import nearest_all, nine, row_of, scattering
from nbnumba.loops.rows import Q_X, SUM
from nbnumba.stages import real, wide
from nbnumba.stages.crystal import added, long, plain, rough
from nbnumba.stages.lattice import lattice_factor_square
from nbnumba.stages.pixel import term
from nbnumba.stages.structure import slot
from nbnumba.stages.vec3 import cross, dot, scale

LATTICES_TOGETHER = 256
"""Lattices whose derivatives are summed in `real`: that many roundings, to those of each, and more of `wide`."""


def differentiate_lattices(tile, listing, lanes, where, crystal, structure, lattices, turn, spin, paths):
    """Add every lattice to the sum and to its derivative (F8 to F10, A7 to A10)."""
    first = 0
    while first < lattices.shape[0]:
        end = first + LATTICES_TOGETHER if first + LATTICES_TOGETHER < lattices.shape[0] else lattices.shape[0]
        differentiate_some(tile, first, end, crystal, structure, lattices, turn, spin, paths)
        first = end


def differentiate_some(tile, first, end, crystal, structure, lattices, turn, spin, paths):
    """Add the lattices from the first to before the end."""
    q_x, q_y, q_z = three(tile, Q_X, 0)
    q, near = scattering(tile, 0), (real(q_x), real(q_y), real(q_z))
    weight, total, nothing = real(tile[SCALE]), long(wide(0)), (real(0), real(0), real(0))
    cells, q_bar, by_a, by_b, by_c = nothing, nothing, nothing, nothing, nothing
    by_phi, by_osc, by_spread = real(0), real(0), real(0)
    for m in range(first, end):
        vectors = nine(lattices, m)
        (dh, h), (dk, k), (dl, l) = nearest_all(vectors, q)
        amplitude, factor = structure.amplitude[slot(structure, h, k, l)], lattice_factor_square(crystal, dh, dk, dl)
        total = added(total, term(amplitude, factor))
        lattice_bar = term_adj(amplitude, factor, weight)[1]
        h_bar, k_bar, l_bar, n_a_bar, n_b_bar, n_c_bar = lattice_factor_square_adj(crystal, dh, dk, dl, lattice_bar)
        cells = add(cells, (n_a_bar, n_b_bar, n_c_bar))
        if paths.geometry or paths.turn:
            each = indices_adj(in_rough(vectors), (h_bar, k_bar, l_bar))
            q_bar = add(q_bar, each)
            if paths.turn:
                torque = cross(each, near)
                p_x, p_y, p_z, o_x, o_y, o_z, m_x, m_y, m_z = in_real(row_of(spin, m))
                by_phi += dot((p_x, p_y, p_z), torque)
                by_osc += dot((o_x, o_y, o_z), torque)
                by_spread += dot((m_x, m_y, m_z), torque)
        if paths.vectors:
            back = turned_back(in_real(row_of(turn, m)), near)
            by_a, by_b, by_c = add(by_a, scale(back, h_bar)), add(by_b, scale(back, k_bar)), add(by_c, scale(back, l_bar))
    tile[SUM] += plain(total)
    add3(tile, CELLS, 0, cells)
    add3(tile, Q_BAR, 0, q_bar)
    add3(tile, TURN, 0, (by_phi, by_osc, by_spread))
    add3(tile, VECTORS, 0, by_a)
    add3(tile, VECTORS + 3, 0, by_b)
    add3(tile, VECTORS + 6, 0, by_c)


def in_rough(numbers):
    """Nine long numbers in `real`."""
    a, b, c, d, e, f, g, h, i = numbers
    return rough(a), rough(b), rough(c), rough(d), rough(e), rough(f), rough(g), rough(h), rough(i)


def in_real(numbers):
    """Nine numbers in `real`."""
    a, b, c, d, e, f, g, h, i = numbers
    return real(a), real(b), real(c), real(d), real(e), real(f), real(g), real(h), real(i)
