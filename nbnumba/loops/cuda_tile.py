"""What takes the place of searches in a tile on a card, where a tile is one pixel."""


def fast_of(tile, start, i):
    """The number along the fast axis of the pixel in the only lane: indices.py:fast_of without a row of pixels."""
    return start + i


def lane_of(tile, start, fast):
    """The lane of a fast pixel: 0 for the only one; the compiler sees by the comparison with TILE that no other is meant."""
    return fast - start
