"""Sums over the pixels of a tile. The compiler chooses the order of a sum once; it is the same for all calls and threads."""

from adjoint.loops.rows import LANES


def lane_sum(rows, first):
    """The sum over a tile of a row that begins there."""
    total = 0.0
    for i in range(LANES):
        total += rows[first + i]
    return total


def lane_dot(one, first, other, second):
    """The sum over a tile of the products of two rows, that begin there in two arrays."""
    total = 0.0
    for i in range(LANES):
        total += one[first + i] * other[second + i]
    return total


def lane_dot_weighed(one, first, other, second, weights, third):
    """The sum over a tile of the products of three rows."""
    total = 0.0
    for i in range(LANES):
        total += one[first + i] * other[second + i] * weights[third + i]
    return total
