"""The number of steps that a range takes, for numbers of any size."""

import math

MOST = 2**62
"""A number of steps that nobody can compute: it stands for every larger count, and for one that overflows."""


def steps_to_cover(full: float, step: float) -> int:
    """Return the least whole number of steps that covers a range, both of one unit and not below 0; 0 for no range."""
    if full == 0.0:
        return 0
    return math.ceil(full / step) if step > 0.0 and full / step < MOST else MOST
