"""What a lane of a tile and a lattice of the table are: pixel, vectors, scattering vector, Miller indices (F7).

A lane is the place of one pixel in a tile. Extended numbers are those that Miller indices are made of (stages/crystal.py).
"""

from nbnumba.loops.rows import PIXEL_FAST, PIXEL_SLOW, Q_X, Q_Y, Q_Z
from nbnumba.stages.crystal import entry, index, nearest, to_extended, to_wide


def fast_of(tile, i):
    """The number along the fast axis of the pixel in lane i. Reads PIXEL_FAST."""
    return tile[PIXEL_FAST + i]


def slow_of(tile, i):
    """The number along the slow axis, of rows, of the pixel in lane i. Reads PIXEL_SLOW."""
    return tile[PIXEL_SLOW + i]


def set_pixel(tile, i, slow, fast):
    """Say which pixel is in lane i. Writes PIXEL_SLOW and PIXEL_FAST."""
    tile[PIXEL_SLOW + i], tile[PIXEL_FAST + i] = slow, fast


def cell_vectors(lattices, m):
    """The vectors a, b, c of lattice m of the table, in A: nine extended numbers."""
    return (
        entry(lattices, m, 0), entry(lattices, m, 1), entry(lattices, m, 2),
        entry(lattices, m, 3), entry(lattices, m, 4), entry(lattices, m, 5),
        entry(lattices, m, 6), entry(lattices, m, 7), entry(lattices, m, 8),
    )  # fmt: skip


def nine_to_wide(numbers):
    """Nine extended numbers in the precision of the records."""
    a, b, c, d, e, f, g, h, i = numbers
    return to_wide(a), to_wide(b), to_wide(c), to_wide(d), to_wide(e), to_wide(f), to_wide(g), to_wide(h), to_wide(i)


def extended_q(tile, i):
    """The scattering vector of lane i, in 1/A: three extended numbers. Reads Q_X, Q_Y, Q_Z."""
    return to_extended(tile[Q_X + i]), to_extended(tile[Q_Y + i]), to_extended(tile[Q_Z + i])


def nearest_hkl(vectors, q):
    """For each of h, k and l the distance to the nearest whole number, and that number (F7)."""
    a_x, a_y, a_z, b_x, b_y, b_z, c_x, c_y, c_z = vectors
    return nearest(index(a_x, a_y, a_z, q)), nearest(index(b_x, b_y, b_z, q)), nearest(index(c_x, c_y, c_z, q))


def fractional_hkl(vectors, q):
    """The fractional Miller indices h, k and l of a scattering vector under one lattice (F7)."""
    a_x, a_y, a_z, b_x, b_y, b_z, c_x, c_y, c_z = vectors
    return to_wide(index(a_x, a_y, a_z, q)), to_wide(index(b_x, b_y, b_z, q)), to_wide(index(c_x, c_y, c_z, q))


def nine_numbers(table, m):
    """The nine numbers of row m of a table."""
    return (
        table[m, 0], table[m, 1], table[m, 2], table[m, 3], table[m, 4], table[m, 5], table[m, 6], table[m, 7], table[m, 8],
    )  # fmt: skip
