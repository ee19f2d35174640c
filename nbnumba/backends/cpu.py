"""The CPU driver: rows in parallel, tile by tile."""

from collections.abc import Callable
from functools import cache

import numpy as np
from numba import prange

from nbnumba.backends import indices, tile
from nbnumba.backends.compiler import bind, driver, loop_jit, stage_jit, stages
from nbnumba.backends.precision import cast, words
from nbnumba.backends.rows import TILE
from nbnumba.backends.tile import new_tile, render_tile, store, wanted
from nbnumba.stages.records import Scene

STEPS_PER_CALL = 2**24
"""Samples times lattices rendered between two reports of progress, or two chances to be interrupted: tenths of a second."""
FEWEST_ROWS = 64
"""Rows of a call at least: enough for the threads."""
WORDS = {"ceil": np.ceil, "sqrt": np.sqrt, "sin": np.sin, "cos": np.cos, "exp": np.exp}


def render(image, rows, columns, mask, panel, beam, material, sources, crystal, structure, orientations, sampling):
    """Fill image[rows[0]:rows[1], columns[0]:columns[1]] where the mask is not zero.

    image (slow, fast) float64; mask (slow, fast) uint8, or (0, 0) for none; the rest are the records of a Scene.
    """
    for row in prange(rows[0], rows[1]):
        work = new_tile()
        for start in range(columns[0], columns[1], TILE):
            stop = min(start + TILE, columns[1])
            if wanted(mask, row, start, stop):
                render_tile(work, row, start, panel, beam, material, sources, crystal, structure, orientations, sampling)
                store(image, mask, row, start, stop, work)


@cache
def kernel(precision: str):
    """The compiled driver in a precision."""
    bound = bind(stages(precision), stage_jit, WORDS | words(precision))
    return driver(render, bind([tile], loop_jit, bind([indices], stage_jit, bound)), precision, parallel=True)


def renderer(scene: Scene, mask: np.ndarray, precision: str) -> Callable:
    """The function of image, rows and columns that renders part of an image in place, on as many threads as Numba is set to."""
    records = cast(scene, precision)

    def part(image: np.ndarray, rows: tuple[int, int], columns: tuple[int, int]) -> None:
        kernel(precision)(image, rows, columns, mask, *records)

    return part


def prepare(scene: Scene, precision: str) -> None:
    """Compile the driver, or load it from disk, without rendering anything."""
    renderer(scene, np.zeros((0, 0), dtype=np.uint8), precision)(np.zeros((1, 1)), (0, 0), (0, 0))
