"""Tables of amplitudes by angle: their interpolation (specs/forward.md, F12)."""

import numpy as np


def lagrange(x: np.ndarray, y: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Return y at some points, by the cubic through the four nearest points; beyond the ends it is constant (F12).

    x: ascending, in any unit. y: the values there. points: in the unit of x.
    """
    first, last = x[0] - (x[-1] - x[0]), x[-1] + (x[-1] - x[0])
    x = np.concatenate([[first - 1.0, first], x, [last, last + 1.0]])
    y = np.concatenate([[y[0], y[0]], y, [y[-1], y[-1]]])
    start = np.clip(np.searchsorted(x, points) - 2, 0, len(x) - 4)
    total = np.zeros(len(points))
    for i in range(4):
        weight = np.ones(len(points))
        for j in range(4):
            if i != j:
                weight *= (points - x[start + j]) / (x[start + i] - x[start + j])
        total += weight * y[start + i]
    inside = (points >= x[2]) & (points <= x[-3])
    return np.where(inside, total, np.where(points < x[2], y[0], y[-1]))
