"""Sums over the pixels of a tile. Each goes in an order that the compiler chose once: the same for all calls and threads."""

from nbnumba.backends.tile import TILE


def lane_dot(one, other):
    """The sum over a tile of the products of two rows."""
    total = 0.0
    for i in range(TILE):
        total += one[i] * other[i]
    return total


def lane_dot_weighed(one, other, weights):
    """The sum over a tile of the products of three rows."""
    total = 0.0
    for i in range(TILE):
        total += one[i] * other[i] * weights[i]
    return total
