"""Where in memory the rows of a tile begin: at lines of the processor's cache, so that no vector of a row lies in two lines."""

CACHE_LINE = 64
"""The bytes of a line of the processor's cache."""


def line_start(room):
    """The first index of an array (n,) at which a line of the cache begins."""
    return -room.ctypes.data % CACHE_LINE // room.itemsize
