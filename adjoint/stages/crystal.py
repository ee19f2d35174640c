"""Mirrors of the crystal stages (A7). The nearest reflection is a choice: h - h0 moves as h does."""


def indices_adj(lattice, hkl_bar):
    """A7: h, k, l = a . q, b . q, c . q; the lattice is a, b, c, nine numbers. Returns the cotangent of q.

    Those of a, b and c are h_bar q, k_bar q and l_bar q; the drivers take them back to phi = 0, and by the turns (A7b).
    """
    h_bar, k_bar, l_bar = hkl_bar
    return (
        lattice[0] * h_bar + lattice[3] * k_bar + lattice[6] * l_bar,
        lattice[1] * h_bar + lattice[4] * k_bar + lattice[7] * l_bar,
        lattice[2] * h_bar + lattice[5] * k_bar + lattice[8] * l_bar,
    )


def turned_back(turn, q):
    """A7b: R^T q, for the rotation R (nine numbers, row by row): R a . q = a . R^T q."""
    return (
        turn[0] * q[0] + turn[3] * q[1] + turn[6] * q[2],
        turn[1] * q[0] + turn[4] * q[1] + turn[7] * q[2],
        turn[2] * q[0] + turn[5] * q[1] + turn[8] * q[2],
    )
