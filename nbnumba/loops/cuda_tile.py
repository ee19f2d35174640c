"""What stands in for loops over the pixels of a tile where a tile is one pixel."""


def fast_of(tile, start, i):
    """The fast pixel of the only lane."""
    return start + i


def lane_of(tile, start, fast):
    """The lane that a fast pixel is in; there is none but 0, which compilers see where it is compared with TILE."""
    return fast - start
