"""Mirrors of the crystal stages (A7). The nearest reflection is a choice: h - h0 moves as h does."""

from adjoint.stages.vec3 import add
from nbnumba.stages.vec3 import scale


def index_adj(x, y, z, q, h_bar):
    """A7: h = a . q. Returns the cotangents of a = (x, y, z) and q."""
    return scale(q, h_bar), scale((x, y, z), h_bar)


def indices_adj(lattice, q, h_bar, k_bar, l_bar):
    """A7: h, k, l = a . q, b . q, c . q; the lattice is a, b, c, nine numbers. Returns the cotangent of q."""
    by_h = index_adj(lattice[0], lattice[1], lattice[2], q, h_bar)[1]
    by_k = index_adj(lattice[3], lattice[4], lattice[5], q, k_bar)[1]
    return add(add(by_h, by_k), index_adj(lattice[6], lattice[7], lattice[8], q, l_bar)[1])


def turned_back(turn, q):
    """A7b: R^T q, for the rotation R (nine numbers, row by row): R a . q = a . R^T q."""
    return (
        turn[0] * q[0] + turn[3] * q[1] + turn[6] * q[2],
        turn[1] * q[0] + turn[4] * q[1] + turn[7] * q[2],
        turn[2] * q[0] + turn[5] * q[1] + turn[8] * q[2],
    )
