"""The CPU driver of the map of reflections: pieces of an image, each by one thread, with the tables of their pixels (F15)."""

from collections.abc import Callable

import numpy as np

from nbnumba.backends.binding import bind, culling_words, driver, loop_jit, stage_jit, stages
from nbnumba.backends.compiling import Compiled, thread_safe_cache
from nbnumba.backends.cpu import machine_words, new_tile
from nbnumba.backends.pieces import Span
from nbnumba.backends.precision import words
from nbnumba.loops import blocks, indices, interpolation, lattices, samples, shares
from nbnumba.loops.rows import TILE
from nbnumba.loops.shares import count
from nbnumba.stages.records import Scene, Structure

ROOM = 64
"""The number of reflections of a pixel that a first attempt has room for."""

PRECISION = "double"


@thread_safe_cache
def kernel() -> Compiled:
    """The compiled driver."""

    def names() -> dict:
        bound = bind(stages(PRECISION), stage_jit, machine_words() | words(PRECISION) | culling_words(False))
        bound = bind([indices], stage_jit, bound)
        bound = bind([samples, blocks], loop_jit, bind([interpolation, lattices], stage_jit, bound))
        return {name: value for name, value in bind([shares], loop_jit, bound).items() if name != count.__name__}

    return driver(count, names, PRECISION, False)


def counter(scene: Scene, mask: np.ndarray, known: Structure) -> Callable:
    """The function of best, largest, total, rows and columns that fills part of a map in place, without Python's lock."""
    compiled = kernel()

    def part(best: np.ndarray, largest: np.ndarray, total: np.ndarray, rows: Span, columns: Span) -> None:
        room, failed = ROOM, np.ones(1)
        while failed[0]:
            failed = np.zeros(1)
            keys, sums, used = np.zeros((TILE, room)), np.zeros((TILE, room)), np.zeros(TILE)
            compiled(best, largest, total, failed, keys, sums, used, rows, columns, mask, new_tile(PRECISION), known, *scene)
            room *= 4

    return part
