"""The CPU driver: rows in parallel, tile by tile."""

from functools import cache

import numpy as np
from numba import prange

from nbnumba.backends import tile
from nbnumba.backends.compiler import STAGES, bind, driver, loop_jit, stage_jit
from nbnumba.backends.tile import TILE, new_tile, render_tile, store, wanted
from nbnumba.stages.records import Scene

WORDS = {"real": np.float64, "ceil": np.ceil, "sqrt": np.sqrt, "sin": np.sin, "cos": np.cos, "exp": np.exp}


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
def kernel():
    """The compiled driver in double precision."""
    stages = bind(STAGES, stage_jit, WORDS)
    return driver(render, bind([tile], loop_jit, stages), "double", parallel=True)


def run(image: np.ndarray, rows: tuple[int, int], columns: tuple[int, int], mask: np.ndarray, scene: Scene) -> None:
    """Render part of an image in place, on as many threads as Numba is set to use."""
    kernel()(image, rows, columns, mask, *scene)


def prepare(scene: Scene) -> None:
    """Compile the driver, or load it from disk, without rendering anything."""
    run(np.zeros((1, 1)), (0, 0), (0, 0), np.zeros((0, 0), dtype=np.uint8), scene)
