"""Mirrors of the crystal stages (A7). The nearest reflection is a choice: h - h0 moves as h does."""


def indices_adj(lattice, hkl_bar):
    """Return the cotangent of the scattering vector q, in 1/A (A7).

        F7: h = a . q,    k = b . q,    l = c . q
        A7: q_bar = h_bar a + k_bar b + l_bar c

    lattice: the nine components of a, b and c, in A. hkl_bar: cotangents of h, k and l. The cotangents of a, b and c are
    h_bar q, k_bar q and l_bar q; the loops pull them back to phi = 0 and to the angles of the lattice (A7b).
    """
    h_bar, k_bar, l_bar = hkl_bar
    return (
        lattice[0] * h_bar + lattice[3] * k_bar + lattice[6] * l_bar,
        lattice[1] * h_bar + lattice[4] * k_bar + lattice[7] * l_bar,
        lattice[2] * h_bar + lattice[5] * k_bar + lattice[8] * l_bar,
    )


def rotate_back(rotation, q):
    """Return M^T q, which takes the place of q where a, b and c are those at phi = 0, in 1/A (A7b).

        F7, F7b: h = (M a) . q
        A7b: a_bar = h_bar M^T q

    rotation: the nine numbers of the matrix M, row by row, without a unit. q: scattering vector in 1/A.
    """
    return (
        rotation[0] * q[0] + rotation[3] * q[1] + rotation[6] * q[2],
        rotation[1] * q[0] + rotation[4] * q[1] + rotation[7] * q[2],
        rotation[2] * q[0] + rotation[5] * q[1] + rotation[8] * q[2],
    )
