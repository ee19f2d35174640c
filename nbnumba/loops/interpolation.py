"""Amplitudes between reflections, patch by patch: pixels in one cell of the grid of reflections share 64 amplitudes (F9b)."""

from nbnumba.loops.blocks import PATCH
from nbnumba.loops.indices import extended_q, fast_of, fractional_hkl, slow_of
from nbnumba.loops.rows import AMPLITUDE, CORNER, LEFT, PART_H, PART_K, PART_L, SLOT
from nbnumba.stages import wide
from nbnumba.stages.structure import corner_slot, cubic_weights, floor, surrounded, surrounding, weighted_sum

UNSURROUNDED, LATCHED = -1.0, -2.0
"""CORNER of a lane whose amplitude is not interpolated: its point is not surrounded by reflections, or the latch has come."""
ENDLESS = 2**62
"""A row that no latch is in, but that of a run which interpolates to its end (P8)."""


def interpolate(tile, first, evaluation, structure, vectors):
    """Write AMPLITUDE of the patch that begins at lane `first`: between reflections (F9b), from the latch on that of SLOT (P8).

    It reads Q_X, Q_Y, Q_Z and SLOT, and writes CORNER. evaluation: pass and lattice. vectors: a, b, c of the lattice.
    """
    find_corners(tile, first, structure, vectors)
    if has_latch(structure):
        stop_at_latch(tile, first, evaluation, structure)
    begin_cells(tile, first)
    for n in range(PATCH):
        corner = tile[LEFT + first + n]
        if corner >= wide(0):
            sum_cell(tile, first, corner, structure)


def find_corners(tile, first, structure, vectors):
    """Write CORNER, and where in its cell the point is to PART_H, PART_K, PART_L (F9b). Reads Q_X, Q_Y, Q_Z.

    Where the point is not surrounded by reflections AMPLITUDE is that outside the box.
    """
    outside = structure.amplitude[-1]
    for n in range(PATCH):
        i = first + n
        h, k, l = fractional_hkl(vectors, extended_q(tile, i))
        h_0, k_0, l_0 = floor(h), floor(k), floor(l)
        tile[PART_H + i], tile[PART_K + i], tile[PART_L + i] = h - h_0, k - k_0, l - l_0
        corner = wide(corner_slot(structure, h_0, k_0, l_0))
        tile[CORNER + i] = corner if surrounded(structure, h, k, l) else wide(UNSURROUNDED)
        tile[AMPLITUDE + i] = outside


def has_latch(structure):
    """Whether interpolation may end before the image does (P8)."""
    return structure.latch[0] < ENDLESS


def stop_at_latch(tile, first, evaluation, structure):
    """In lanes whose evaluation does not come before the latch, write AMPLITUDE of the reflection in SLOT, and CORNER (P8)."""
    latch = (structure.latch[0], structure.latch[1], structure.latch[2], structure.latch[3])
    for n in range(PATCH):
        i = first + n
        if (int(slow_of(tile, i)), int(fast_of(tile, i)), evaluation[0], evaluation[1]) >= latch:
            tile[AMPLITUDE + i], tile[CORNER + i] = structure.amplitude[int(tile[SLOT + i])], wide(LATCHED)


def begin_cells(tile, first):
    """Write LEFT, the CORNER of those lanes of a patch whose cell has not been summed."""
    for n in range(PATCH):
        tile[LEFT + first + n] = tile[CORNER + first + n]


def sum_cell(tile, first, corner, structure):
    """Write AMPLITUDE in those lanes of a patch whose cell has this CORNER, which are not LEFT then (F9b).

    The sums are made in all lanes of the patch, so that they vectorise. Reads PART_H, PART_K, PART_L.
    """
    planes = surrounding(structure, int(corner))
    for n in range(PATCH):
        i = first + n
        of_h, of_k, of_l = cubic_weights(tile[PART_H + i]), cubic_weights(tile[PART_K + i]), cubic_weights(tile[PART_L + i])
        amplitude, is_here = weighted_sum(planes, of_h, of_k, of_l), tile[LEFT + i] == corner
        tile[AMPLITUDE + i] = amplitude if is_here else tile[AMPLITUDE + i]
        tile[LEFT + i] = wide(UNSURROUNDED) if is_here else tile[LEFT + i]
