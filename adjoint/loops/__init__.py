"""The loops that call the stages and their mirrors, for the pixels of a tile. They import no compiler.

A backend that compiles them brings its own `no_refcount`.
"""


def no_refcount(value):
    """The same arrays. A compiled one is free to skip the counting of those who hold them."""
    return value
