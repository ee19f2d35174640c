"""The CPU driver: pieces of an image, strips of their rows in parallel, tile by tile."""

from collections.abc import Callable, Iterator

import numpy as np

from nbnumba.backends import threads
from nbnumba.backends.binding import bind, culling_words, driver, loop_jit, stage_jit, stages
from nbnumba.backends.compiling import thread_safe_cache
from nbnumba.backends.float_bits import power_of_two
from nbnumba.backends.pieces import Piece, Span, pixels_of, spans, steps_per_piece
from nbnumba.backends.precision import cast, words
from nbnumba.backends.sharing import loop, runner
from nbnumba.loops import blocks, indices, lattices, patches, samples, tile
from nbnumba.loops.blocks import BLOCK_SLOW, gather, places, store
from nbnumba.loops.patches import is_culled
from nbnumba.loops.tile import new_tile, render_tile
from nbnumba.stages.records import Scene

FEWEST_STEPS, STEPS_PER_CALL = 2**16, 2**23
"""The least steps (samples times lattices) of a piece, worth a call, and the most, which take less than tenths of a second."""
ALONE = 2**18
"""The number of steps that take no longer than to start Python threads."""
ROWS = BLOCK_SLOW
"""Rows for each of Numba's threads in a piece at least, so that all have something to do."""
WORDS = {
    "ceil": np.ceil, "sqrt": np.sqrt, "sin": np.sin, "cos": np.cos, "exp": np.exp, "power_of_two": power_of_two,
}  # fmt: skip


def render(run, image, rows, columns, mask, panel, beam, material, sources, crystal, structure, orientations, sampling):
    """Fill image[rows[0]:rows[1], columns[0]:columns[1]] where the mask is not zero.

    run: who does it (sharing.py). image (slow, fast) float64; mask (slow, fast) uint8, or (0, 0) for none; the rest are the
    records of a Scene.
    """
    strips = -(-(rows[1] - rows[0]) // BLOCK_SLOW)
    scene = (panel, beam, material, sources, crystal, structure, orientations, sampling)
    if not loop(run, strips, (image, rows, columns, mask, *scene)):
        raise MemoryError


def render_strip(strip, image, rows, columns, mask, panel, beam, material, sources, crystal, structure, orientations, sampling):
    """Fill one strip of rows, tile by tile."""
    work, start, first = new_tile(), 0, rows[0] + strip * BLOCK_SLOW
    while start < places(columns):
        count, start = gather(work, mask, (first, min(first + BLOCK_SLOW, rows[1])), columns, start)
        if count > 0:
            render_tile(work, panel, beam, material, sources, crystal, structure, orientations, sampling)
            store(image, count, work)


@thread_safe_cache
def kernel(precision: str, culled: bool):
    """The compiled driver in a precision, for scenes that are culled or not."""
    bound = bind(stages(precision), stage_jit, WORDS | words(precision) | culling_words(culled))
    bound = bind([indices], stage_jit, bound)
    bound = bind([lattices, samples, blocks], loop_jit, bound)
    bound = bind([tile], loop_jit, bind([patches], stage_jit, bound))
    return driver(render, render_strip, bound, precision)


def renderer(scene: Scene, mask: np.ndarray, precision: str) -> Callable:
    """The function of image, rows and columns that renders part of an image in place, without Python's lock."""
    records, culled, parallel = cast(scene, precision), is_culled(scene), threads.numba_threads_available()

    def part(image: np.ndarray, rows: tuple[int, int], columns: tuple[int, int]) -> None:
        with threads.numba_threads(parallel):
            kernel(precision, culled)(runner() if parallel else 0, image, rows, columns, mask, *records)

    return part


def workers(steps: int) -> int:
    """The number of Python threads to start for so many steps.

    With Numba's threads: 1, which calls the kernel while the caller waits and can be interrupted. Without them: one per core.
    0: the caller computes itself, because the work is short.
    """
    if threads.numba_threads_available():
        return 1 if steps > STEPS_PER_CALL else 0
    return threads.thread_count() if steps > ALONE else 0


def pieces(rows: Span, columns: Span, steps: int) -> Iterator[Piece]:
    """The pieces of an image with `steps` per pixel. All of Numba's threads share a piece, or one Python thread takes it."""
    if threads.numba_threads_available():
        return spans(rows, columns, steps, STEPS_PER_CALL * threads.thread_count(), ROWS * threads.thread_count())
    every = pixels_of((rows, columns)) * steps
    return spans(rows, columns, steps, steps_per_piece(every, workers(every), FEWEST_STEPS, STEPS_PER_CALL), ROWS)


def prepare(scene: Scene, precision: str) -> None:
    """Compile the driver, or load it from disk, without rendering anything."""
    renderer(scene, np.zeros((0, 0), dtype=np.uint8), precision)(np.zeros((1, 1)), (0, 0), (0, 0))
