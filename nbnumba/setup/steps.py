"""How many steps a range takes, whatever the numbers are."""

import math

MOST = 2**62
"""Steps that nobody can compute: a count that is larger, or that overflows, is this."""


def steps_to_cover(full: float, step: float) -> int:
    """The least whole number of steps that reaches over a range; both not below 0, and 0 steps over no range."""
    if full == 0.0:
        return 0
    return math.ceil(full / step) if step > 0.0 and full / step < MOST else MOST
