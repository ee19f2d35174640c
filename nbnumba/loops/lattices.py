"""The loop over the table of lattices, pixels innermost, so that the arithmetic vectorises however many lattices there are."""

import numpy as np

from nbnumba.loops.blocks import PATCH, PATCHES
from nbnumba.loops.indices import cell_vectors, extended_q, fractional_hkl, nearest_hkl
from nbnumba.loops.interpolation import interpolate
from nbnumba.loops.rows import AMPLITUDE, FACTOR, LATTICE_FACTOR, SLOT, TILE, WEIGHT
from nbnumba.stages import real
from nbnumba.stages.crystal import to_wide
from nbnumba.stages.lattice import disorder_factor, lattice_factor_radial, lattice_factor_square
from nbnumba.stages.pixel import term
from nbnumba.stages.records import Scene
from nbnumba.stages.shapes import GAUSS, ROUND, SQUARE, TOPHAT
from nbnumba.stages.structure import slot


def is_by_energy(scene: Scene) -> bool:
    """Whether a scene has amplitudes of several photon energies, for which cards have kernels of their own (F9f)."""
    return scene.structure.first.size > 1


def add_lattices(into, tile, pass_index, crystal, structure, lattices, has_background, sampling):
    """Add the terms of all lattices of a table, for one sample under one source, to the row `into`: SUM or FRESH_SUM.

    For each lattice one loop over the pixels writes LATTICE_FACTOR and SLOT, from the scattering vector in Q_X, Q_Y, Q_Z. A
    second loop looks the amplitudes up, which does not vectorise, and adds the terms.
    """
    for m in range(lattices.shape[0]):
        vectors = cell_vectors(lattices, m)
        lattice_factors(tile, crystal, structure, vectors)
        if structure.interpolate or sampling.running_product:
            write_amplitudes(tile, (pass_index, m), structure, vectors)
            add_each(into, tile, has_background, sampling)
        else:
            for i in range(TILE):
                tile[into + i] += term(structure.amplitude[np.uintp(tile[SLOT + i])], real(tile[LATTICE_FACTOR + i]))


def write_amplitudes(tile, step, structure, vectors):
    """Write AMPLITUDE under one lattice: interpolated (F9b), or that of the nearest reflection, in SLOT (F9a).

    step: the numbers of the pass and of the lattice. Reads Q_X, Q_Y, Q_Z.
    """
    if structure.interpolate:
        for p in range(PATCHES):
            interpolate(tile, p * PATCH, step, structure, vectors)
    else:
        for i in range(TILE):
            tile[AMPLITUDE + i] = structure.amplitude[np.uintp(tile[SLOT + i])]


def lattice_factors(tile, crystal, structure, vectors):
    """Write LATTICE_FACTOR and SLOT under one lattice (F8, F9a). Reads Q_X, Q_Y, Q_Z.

    Each shape that is named has a loop of its own, in which the compiler knows the shape, so that it computes that one alone.
    """
    if crystal.shape == SQUARE:
        for i in range(TILE):
            (dh, h), (dk, k), (dl, l) = nearest_hkl(vectors, extended_q(tile, i))
            tile[LATTICE_FACTOR + i] = lattice_factor_square(crystal, dh, dk, dl)
            tile[SLOT + i] = slot(structure, h, k, l)
    elif crystal.shape == GAUSS:
        radial_factors(tile, crystal, structure, vectors)
    elif crystal.shape == ROUND:
        radial_factors(tile, crystal, structure, vectors)
    elif crystal.shape == TOPHAT:
        radial_factors(tile, crystal, structure, vectors)
    else:
        radial_factors(tile, crystal, structure, vectors)
    if crystal.disordered:
        for i in range(TILE):
            weaken(tile, i, crystal, vectors)


def weaken(tile, i, crystal, vectors):
    """Multiply LATTICE_FACTOR in lane i by the factor of the B factors under one lattice (F9g). Reads Q_X, Q_Y, Q_Z."""
    h, k, l = fractional_hkl(vectors, extended_q(tile, i))
    tile[LATTICE_FACTOR + i] = tile[LATTICE_FACTOR + i] * disorder_factor(crystal, h, k, l)


def radial_factors(tile, crystal, structure, vectors):
    """Do what lattice_factors does for a shape that is a function of r^2 (specs/shapes.md)."""
    for i in range(TILE):
        (dh, h), (dk, k), (dl, l) = nearest_hkl(vectors, extended_q(tile, i))
        tile[LATTICE_FACTOR + i] = lattice_factor_radial(crystal, to_wide(dh), to_wide(dk), to_wide(dl))
        tile[SLOT + i] = slot(structure, h, k, l)


def add_each(into, tile, has_background, sampling):
    """Add the terms of one lattice to the row `into`, where amplitudes are in AMPLITUDE; in a running product one by one (P2).

    It reads LATTICE_FACTOR, and for a running product WEIGHT and FACTOR.
    """
    if sampling.running_product:
        for i in range(TILE):
            if has_background or tile[LATTICE_FACTOR + i] != 0.0:
                each = term(tile[AMPLITUDE + i], real(tile[LATTICE_FACTOR + i]))
                tile[into + i] = (tile[into + i] + each * tile[WEIGHT + i]) * tile[FACTOR + i]
    else:
        for i in range(TILE):
            tile[into + i] += term(tile[AMPLITUDE + i], real(tile[LATTICE_FACTOR + i]))
