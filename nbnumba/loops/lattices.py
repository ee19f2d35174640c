"""The loop over the table of lattices, pixels innermost, so that the arithmetic vectorises however many lattices there are."""

import numpy as np

from nbnumba.loops.indices import cell_vectors, extended_q, fast_of, fractional_hkl, nearest_hkl, slow_of
from nbnumba.loops.rows import FACTOR, LATTICE_FACTOR, SLOT, TILE, WEIGHT
from nbnumba.stages import real
from nbnumba.stages.crystal import to_wide
from nbnumba.stages.lattice import lattice_factor_radial, lattice_factor_square
from nbnumba.stages.pixel import term
from nbnumba.stages.shapes import SQUARE
from nbnumba.stages.structure import interpolated, slot


def add_lattices(into, tile, pass_index, crystal, structure, lattices, has_background, sampling):
    """Add the terms of all lattices of a table, for one sample under one source, to the row `into`: SUM or FRESH_SUM.

    For each lattice one loop over the pixels writes LATTICE_FACTOR and SLOT, from the scattering vector in Q_X, Q_Y, Q_Z. A
    second loop looks the amplitudes up, which does not vectorise, and adds the terms.
    """
    for m in range(lattices.shape[0]):
        vectors = cell_vectors(lattices, m)
        if crystal.shape == SQUARE:
            for i in range(TILE):
                (dh, h), (dk, k), (dl, l) = nearest_hkl(vectors, extended_q(tile, i))
                tile[LATTICE_FACTOR + i] = lattice_factor_square(crystal, dh, dk, dl)
                tile[SLOT + i] = slot(structure, h, k, l)
        else:
            radial_factors(tile, crystal, structure, vectors)
        if structure.interpolate or sampling.running_product:
            add_each(into, tile, (pass_index, m), structure, vectors, has_background, sampling)
        else:
            for i in range(TILE):
                tile[into + i] += term(structure.amplitude[np.uintp(tile[SLOT + i])], real(tile[LATTICE_FACTOR + i]))


def radial_factors(tile, crystal, structure, vectors):
    """Write LATTICE_FACTOR and SLOT for a shape that is a function of r^2 (specs/shapes.md). Reads Q_X, Q_Y, Q_Z."""
    for i in range(TILE):
        (dh, h), (dk, k), (dl, l) = nearest_hkl(vectors, extended_q(tile, i))
        tile[LATTICE_FACTOR + i] = lattice_factor_radial(crystal, to_wide(dh), to_wide(dk), to_wide(dl))
        tile[SLOT + i] = slot(structure, h, k, l)


def add_each(into, tile, evaluation, structure, vectors, has_background, sampling):
    """Add the terms of one lattice to the row `into`, where amplitudes are interpolated (F9b) or the sum is a product (P2).

    It reads SLOT, LATTICE_FACTOR and the scattering vector, and for a running product WEIGHT and FACTOR. evaluation: pass and
    lattice.
    """
    for i in range(TILE):
        amplitude = structure.amplitude[np.uintp(tile[SLOT + i])]
        if structure.interpolate and before_latch(tile, i, evaluation, structure):
            h, k, l = fractional_hkl(vectors, extended_q(tile, i))
            amplitude = interpolated(structure, h, k, l)
        each = term(amplitude, real(tile[LATTICE_FACTOR + i]))
        if not sampling.running_product:
            tile[into + i] += each
        elif has_background or tile[LATTICE_FACTOR + i] != 0.0:
            tile[into + i] = (tile[into + i] + each * tile[WEIGHT + i]) * tile[FACTOR + i]


def before_latch(tile, i, evaluation, structure):
    """Whether an evaluation, pass and lattice, in lane i comes before the one from which on nothing is interpolated (P8)."""
    latch = (structure.latch[0], structure.latch[1], structure.latch[2], structure.latch[3])
    return (int(slow_of(tile, i)), int(fast_of(tile, i)), evaluation[0], evaluation[1]) < latch
