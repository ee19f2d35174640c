"""Derivatives by central differences, extrapolated until they are known to a stated precision."""

from typing import NamedTuple

import numpy as np

ORDERS = 4
"""Columns of the tableau: errors of h^2, h^4 and h^6 are taken out."""


class Estimate(NamedTuple):
    """A derivative, and how far it may be off."""

    value: float
    error: float


def extrapolated(quotient, step: float, precision: float, noise: float = 0.0, most: int = 8) -> Estimate:
    """The limit of central difference quotients at steps h, h/4, h/16, ...: Romberg's tableau.

    An entry is as good as it agrees with the two that it comes from, and as these converged until there; `noise` is the error
    of a difference. The best is taken as soon as that is `precision` of it, and after `most` steps anyway: the caller has to
    look at the error. What is expected plays no part.
    """
    rows, best = [], Estimate(np.nan, np.inf)
    for level in range(most):
        row = [quotient(step / 4**level)]
        for order in range(1, min(level + 1, ORDERS)):
            row.append(row[-1] + (row[-1] - rows[-1][order - 1]) / (16**order - 1))
        rows.append(row)
        for order in range(2, len(row)):
            found, third, second = row[order], row[order - 1], rows[level - 1][order - 1]
            error = max(abs(found - third), abs(found - second), noise * 4**level / step)
            if level > order:
                error = max(error, abs(second - rows[level - 2][order - 1]) / 16**order)
            best = min(best, Estimate(found, error), key=lambda estimate: estimate.error)
        if best.error <= precision * abs(best.value):
            break
    return best
