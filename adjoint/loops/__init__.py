"""The loops that call the stages and their mirrors, for the pixels of a tile. They import no compiler.

A backend that compiles them brings its own `no_refcount`.
"""


def no_refcount(value):
    """The same arrays. A compiled version may return them without their reference counts, to save time."""
    return value
