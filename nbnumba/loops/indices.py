"""Numbers from table and tile: which pixel a lane is, the vectors of a lattice, the scattering vector, Miller indices (F7)."""

from nbnumba.loops.rows import PIXEL, Q_X, Q_Y, Q_Z
from nbnumba.stages.crystal import entry, index, long, nearest, plain


def fast_of(tile, start, i):
    """The fast pixel of lane i of a tile whose first pixel is `start`, a number of the tile's type."""
    return tile[PIXEL + i]


def nine(lattices, m):
    """The vectors a, b, c of a lattice of the table, long numbers."""
    return (
        entry(lattices, m, 0), entry(lattices, m, 1), entry(lattices, m, 2),
        entry(lattices, m, 3), entry(lattices, m, 4), entry(lattices, m, 5),
        entry(lattices, m, 6), entry(lattices, m, 7), entry(lattices, m, 8),
    )  # fmt: skip


def scattering(tile, i):
    """The scattering vector of lane i, long numbers."""
    return long(tile[Q_X + i]), long(tile[Q_Y + i]), long(tile[Q_Z + i])


def nearest_all(vectors, q):
    """Distance to the nearest reflection, and that reflection, along h, k and l (F7)."""
    a_x, a_y, a_z, b_x, b_y, b_z, c_x, c_y, c_z = vectors
    return nearest(index(a_x, a_y, a_z, q)), nearest(index(b_x, b_y, b_z, q)), nearest(index(c_x, c_y, c_z, q))


def index_all(vectors, q):
    """Fractional Miller indices under one lattice of the table (F7)."""
    a_x, a_y, a_z, b_x, b_y, b_z, c_x, c_y, c_z = vectors
    return plain(index(a_x, a_y, a_z, q)), plain(index(b_x, b_y, b_z, q)), plain(index(c_x, c_y, c_z, q))


def row_of(table, m):
    """The nine numbers of a row of a table."""
    return (
        table[m, 0], table[m, 1], table[m, 2], table[m, 3], table[m, 4], table[m, 5], table[m, 6], table[m, 7], table[m, 8],
    )  # fmt: skip
