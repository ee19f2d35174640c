"""The processor's cache: the rows of a tile begin at its lines, so that no vector of a row lies in two of them."""

CACHE_LINE = 64
"""The bytes of a line of the processor's cache."""


def line_start(room):
    """The first index of an array (n,) at which a line of the cache begins."""
    return -room.ctypes.data % CACHE_LINE // room.itemsize


def prefetch(array, slow, fast):
    """Ask for the line of array[slow, fast], so that it is in the cache when it is needed; the compiled loops do so."""
