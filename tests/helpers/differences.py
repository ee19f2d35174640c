"""Central differences, the ladder of steps by which tests check a derivative, and their extrapolation to step 0.

adjoint/gradcheck.py has a ladder for users. Tests have this one, because that one is itself under test, and because it follows
the loss of an image: here a function may be any, of numbers or arrays, in extended precision too.
"""

from typing import NamedTuple

import numpy as np

ORDERS = 4
"""Columns of the tableau: errors of h^2, h^4 and h^6 are taken out."""


def central(function, step):
    """The central difference quotient at 0 of a function of a displacement, whose value is a number or an array."""
    return (function(step) - function(-step)) / (2 * step)


def slope(function, step, levels=3):
    """The derivative at 0, extrapolated from quotients at steps h, h/2, h/4, ..., with an error of the order h^(2 levels)."""
    column = [central(function, step / 2**level) for level in range(levels)]
    for order in range(1, levels):
        column = [(4**order * fine - coarse) / (4**order - 1) for coarse, fine in zip(column, column[1:])]
    return column[0]


def ladder(step):
    """A step, its tenth and its hundredth."""
    return step, step / 10, step / 100


def errors(function, step, derivative):
    """The largest difference between difference quotient and derivative, at each step of the ladder."""
    return np.array([np.abs(central(function, h) - derivative).max() for h in ladder(step)])


def assert_second_order(errors, least, rounding=0.0):
    """Errors of the ladder fall by a factor of at least `least` from step to step, until they are rounding (of each step).

    They fall a hundredfold if the derivative is right, except for terms of higher order, and not at all if it is wrong.
    """
    rounding = np.broadcast_to(rounding, np.shape(errors))
    assert (errors[1:] <= errors[:-1] / least + rounding[1:]).all(), (errors, rounding)


class Estimate(NamedTuple):
    """A derivative, and the estimate of its error."""

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
            extrapolated_value, third, second = row[order], row[order - 1], rows[level - 1][order - 1]
            error = max(abs(extrapolated_value - third), abs(extrapolated_value - second), noise * 4**level / step)
            if level > order:
                error = max(error, abs(second - rows[level - 2][order - 1]) / 16**order)
            best = min(best, Estimate(extrapolated_value, error), key=lambda estimate: estimate.error)
        if best.error <= precision * abs(best.value):
            break
    return best
