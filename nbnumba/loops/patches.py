"""What is left out of a sum over lattices: patches of the tile that no reflection of a lattice is near to (F10a).

A term counts where its remoteness is at most crystal.most_remote, whatever tile it is computed in. A patch, or the whole tile,
is left out if the least remoteness of all scattering vectors that it may have is larger.
"""

import numpy as np

from nbnumba.loops.blocks import PATCH_FAST, PATCH_SLOW
from nbnumba.loops.indices import cell_vectors, extended_q, fractional_hkl, nearest_hkl, nine_numbers, nine_to_wide
from nbnumba.loops.rows import (
    CENTRE_X,
    CENTRE_Y,
    CENTRE_Z,
    D_X,
    D_Y,
    D_Z,
    LATTICE_FACTOR,
    NEAR_PATCH,
    REACH_X,
    REACH_Y,
    REACH_Z,
    REMOTENESS,
    SLOT,
    TILE,
)
from nbnumba.stages import real, slack, wide
from nbnumba.stages.crystal import to_wide
from nbnumba.stages.culling import index_reach, least_distance, least_remoteness, remoteness
from nbnumba.stages.lattice import lattice_factor_radial, lattice_factor_square
from nbnumba.stages.pixel import term
from nbnumba.stages.records import Scene
from nbnumba.stages.shapes import SQUARE
from nbnumba.stages.structure import interpolated, slot

PATCH = PATCH_SLOW * PATCH_FAST
"""The number of lanes of a patch."""
PATCHES = TILE // PATCH
"""The number of patches of a tile."""
RUN = PATCH
"""The lanes of a run, one after another, that the derivative goes over: a patch, or the whole tile where nothing is culled."""
GROUP = 16
"""The number of lattices, one after another, that are bounded together."""
NOTHING = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
"""How far the vectors of one lattice lie from themselves."""


def is_culled(scene: Scene) -> bool:
    """Whether terms of a scene may be left out."""
    return scene.crystal.most_remote > 0.0


def bound_patches(tile):
    """Write the box of directions of each patch, CENTRE_X to REACH_Z, and return that of the tile: its middle and reach (F10a).

    It reads D_X, D_Y, D_Z.
    """
    x = bound_row(tile, D_X, CENTRE_X, REACH_X)
    y = bound_row(tile, D_Y, CENTRE_Y, REACH_Y)
    z = bound_row(tile, D_Z, CENTRE_Z, REACH_Z)
    return (x[0], y[0], z[0]), (x[1], y[1], z[1])


def bound_row(tile, row, centre, reach):
    """Write middle and half width of a row in each patch to the rows `centre` and `reach`. Returns those in the tile."""
    lowest, highest = tile[row], tile[row]
    for p in range(PATCHES):
        low, high = tile[row + p * PATCH], tile[row + p * PATCH]
        for i in range(1, PATCH):
            value = tile[row + p * PATCH + i]
            low, high = value if value < low else low, value if value > high else high
        tile[centre + p], tile[reach + p] = (low + high) * wide(0.5), (high - low) * wide(0.5)
        lowest, highest = low if low < lowest else lowest, high if high > highest else highest
    return (lowest + highest) * wide(0.5), (highest - lowest) * wide(0.5)


def beam_of(source, sources):
    """The unit vector along a source, and the inverse of its wavelength, in 1/A."""
    direction = (sources.direction[source, 0], sources.direction[source, 1], sources.direction[source, 2])
    return direction, wide(1) / sources.wavelength[source]


def q_box(box, ray):
    """The box of scattering vectors, in 1/A, of a box of directions: its middle, and how far it reaches (F5).

    ray: what beam_of says of a source.
    """
    (x, y, z), (reach_x, reach_y, reach_z) = box
    incident, inverse = ray
    q = (x - incident[0]) * inverse, (y - incident[1]) * inverse, (z - incident[2]) * inverse
    return q, ((reach_x + slack) * inverse, (reach_y + slack) * inverse, (reach_z + slack) * inverse)


def box_remoteness(crystal, vectors, vectors_reach, box):
    """A lower bound of the remoteness of a box of scattering vectors from the reflections of some lattices (F10a).

    vectors, vectors_reach: a, b, c of the middle of the lattices, and how far these lie from it, nine numbers each, in A.
    """
    a_x, a_y, a_z, b_x, b_y, b_z, c_x, c_y, c_z = vectors
    u_x, u_y, u_z, v_x, v_y, v_z, w_x, w_y, w_z = vectors_reach
    q, q_reach = box
    h, k, l = (
        a_x * q[0] + a_y * q[1] + a_z * q[2],
        b_x * q[0] + b_y * q[1] + b_z * q[2],
        c_x * q[0] + c_y * q[1] + c_z * q[2],
    )
    return least_remoteness(
        crystal,
        least_distance(h, index_reach((a_x, a_y, a_z), (u_x, u_y, u_z), q, q_reach) + slack),
        least_distance(k, index_reach((b_x, b_y, b_z), (v_x, v_y, v_z), q, q_reach) + slack),
        least_distance(l, index_reach((c_x, c_y, c_z), (w_x, w_y, w_z), q, q_reach) + slack),
    )


def bound_lattices(tile, crystal, vectors, vectors_reach, ray):
    """Write REMOTENESS of each patch from the reflections of one lattice, or of some (F10a). Reads CENTRE_X to REACH_Z."""
    for p in range(PATCHES):
        centre = (tile[CENTRE_X + p], tile[CENTRE_Y + p], tile[CENTRE_Z + p])
        reach = (tile[REACH_X + p], tile[REACH_Y + p], tile[REACH_Z + p])
        tile[REMOTENESS + p] = box_remoteness(crystal, vectors, vectors_reach, q_box((centre, reach), ray))


def is_near(group, tile, box, ray, crystal, orientations):
    """Whether a term of a patch may count under a lattice of the group: first the whole tile is asked, then its patches.

    box: directions of the tile. ray: what beam_of says of the source. Writes REMOTENESS and NEAR_PATCH.
    """
    centre, reach = nine_numbers(orientations.group, group), nine_numbers(orientations.group_reach, group)
    if box_remoteness(crystal, centre, reach, q_box(box, ray)) > crystal.most_remote:
        return False
    bound_lattices(tile, crystal, centre, reach, ray)
    return list_near(tile, crystal) > 0


def any_near(tile, box, ray, crystal, orientations):
    """Whether a term of the tile may count under any lattice. The arguments are those of is_near."""
    for group in range(orientations.group.shape[0]):
        if is_near(group, tile, box, ray, crystal, orientations):
            return True
    return False


def add_near_lattices(into, tile, box, ray, crystal, structure, orientations):
    """Add the terms that count, of all lattices, to the row `into`: lattices.py:add_lattices for a scene that is culled (F10a).

    box: directions of the tile. ray: what beam_of says of the source.
    """
    lattices = orientations.lattice
    for group in range(orientations.group.shape[0]):
        if is_near(group, tile, box, ray, crystal, orientations):
            end = group * GROUP + GROUP if group * GROUP + GROUP < lattices.shape[0] else lattices.shape[0]
            for m in range(group * GROUP, end):
                vectors = cell_vectors(lattices, m)
                bound_lattices(tile, crystal, nine_to_wide(vectors), NOTHING, ray)
                count = list_near(tile, crystal)
                for n in range(count):
                    near_factors(tile, near_lane(tile, n), crystal, structure, vectors)
                for n in range(count):
                    add_near_terms(into, tile, near_lane(tile, n), structure, vectors)


def list_near(tile, crystal):
    """Write to NEAR_PATCH the first lanes of the patches in which a term may count, by REMOTENESS; returns their number."""
    count = 0
    for p in range(PATCHES):
        tile[NEAR_PATCH + count] = p * PATCH
        count += tile[REMOTENESS + p] <= crystal.most_remote
    return count


def near_lane(tile, n):
    """The first lane of the n-th near patch. Reads NEAR_PATCH."""
    return int(tile[NEAR_PATCH + n]) & (TILE - 1)  # so that the compiler sees that no lane is negative


def near_factors(tile, first, crystal, structure, vectors):
    """Write LATTICE_FACTOR and SLOT of the patch that begins at a lane, under one lattice: 0 where the term does not count."""
    for n in range(PATCH):
        i = first + n
        (dh, h), (dk, k), (dl, l) = nearest_hkl(vectors, extended_q(tile, i))
        if crystal.shape == SQUARE:
            factor = lattice_factor_square(crystal, dh, dk, dl)
        else:
            factor = lattice_factor_radial(crystal, to_wide(dh), to_wide(dk), to_wide(dl))
        tile[LATTICE_FACTOR + i] = factor if remoteness(crystal, dh, dk, dl) <= crystal.most_remote else wide(0)
        tile[SLOT + i] = slot(structure, h, k, l)


def add_near_terms(into, tile, first, structure, vectors):
    """Add the terms under one lattice of the patch that begins at a lane to the row `into`. Reads LATTICE_FACTOR and SLOT."""
    for n in range(PATCH):
        i = first + n
        amplitude = structure.amplitude[np.uintp(tile[SLOT + i])]
        if structure.interpolate and tile[LATTICE_FACTOR + i] != 0.0:
            h, k, l = fractional_hkl(vectors, extended_q(tile, i))
            amplitude = interpolated(structure, h, k, l)
        tile[into + i] += term(amplitude, real(tile[LATTICE_FACTOR + i]))
