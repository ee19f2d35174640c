"""Rectangles of pixels: which pixels lie in some, and those that cover exactly some pixels."""

from collections.abc import Iterable

import numpy as np


def rectangles(bad: np.ndarray) -> tuple[tuple[int, int, int, int], ...]:
    """Rectangles that cover exactly the pixels (slow, fast) which are True, without overlap.

    Each is its first fast and slow pixel, and those after the last ones, from 0. Runs of pixels that are the same in
    consecutive rows are one rectangle.
    """
    if not bad.any():
        return ()
    finished: list[tuple[int, int, int, int]] = []
    growing: dict[tuple[int, int], int] = {}
    for row in range(bad.shape[0] + 1):
        edges = np.flatnonzero(np.diff(bad[row].astype(np.int8), prepend=0, append=0)) if row < bad.shape[0] else np.zeros(0)
        runs = {(int(first), int(end)) for first, end in edges.reshape(-1, 2)}
        ended = [run for run in growing if run not in runs]
        finished += [(first, growing.pop((first, end)), end, row) for first, end in ended]
        growing |= {run: row for run in runs if run not in growing}
    return tuple(sorted(finished, key=lambda rectangle: (rectangle[1], rectangle[0])))


def pixels_within(masked: Iterable[tuple[int, int, int, int]], shape: tuple[int, int]) -> np.ndarray:
    """True for the pixels (slow, fast) of a panel that lie in one of some rectangles: the reverse of rectangles()."""
    within = np.zeros(shape, dtype=bool)
    for first_fast, first_slow, end_fast, end_slow in masked:
        within[first_slow:end_slow, first_fast:end_fast] = True
    return within
