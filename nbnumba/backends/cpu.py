"""The CPU driver: pieces of an image, each by one thread, strip by strip of their rows, tile by tile."""

from collections.abc import Callable, Iterator

import numpy as np

from nbnumba.backends import threads
from nbnumba.backends.binding import bind, culling_words, driver, loop_jit, stage_jit, stages
from nbnumba.backends.compiling import Compiled, thread_safe_cache
from nbnumba.backends.pieces import Piece, Span, pixels_of, spans, steps_per_piece
from nbnumba.backends.precision import PRECISIONS, cast, words
from nbnumba.loops import blocks, culled, indices, interpolation, lattices, lit, patches, samples, tile
from nbnumba.loops.blocks import BLOCK_SLOW, PATCH, PATCHES, gather, places, store
from nbnumba.loops.lit import complete, list_lit, lit_lane, next_lit, take_patch
from nbnumba.loops.memory import CACHE_LINE, line_start
from nbnumba.loops.patches import is_culled
from nbnumba.loops.rows import ROWS_END, TILE
from nbnumba.loops.tile import render_tile
from nbnumba.stages.records import Scene

FEWEST_STEPS, STEPS_PER_CALL = 2**16, 2**23
"""The least steps (samples times lattices) of a piece, worth a call, and the most, which take less than tenths of a second."""
ALONE = 2**18
"""The number of steps that take no longer than to start threads."""


def render(image, rows, columns, mask, tile, block, blocks, panel, beam, material, sources, crystal, structure, orientations,
           sampling):  # fmt: skip
    """Fill image[rows[0]:rows[1], columns[0]:columns[1]], which is zero, where the mask is not zero and photons arrive.

    image (slow, fast) float64; mask (slow, fast) uint8, or (0, 0) for none; tile, block and blocks: tiles, for this call to
    write to; the rest are the records of a Scene. Nothing is allocated, so that the machine code needs no memory of Numba's. Of
    a scene that is culled the lit patches of blocks are collected in the tile, until it is full.
    """
    held = 0
    for strip in range(-(-(rows[1] - rows[0]) // BLOCK_SLOW)):
        start, marked, first = 0, -1, rows[0] + strip * BLOCK_SLOW
        while start < places(columns):
            within = first, min(first + BLOCK_SLOW, rows[1])
            if culled:
                marked, start = next_lit(blocks, marked, start, mask, within, columns, panel, beam, sources, crystal,
                                         orientations, sampling)  # fmt: skip
                count, start = gather(block, mask, within, columns, start)
                for n in range(list_lit(block, count, panel, beam, sources, crystal, orientations, sampling)):
                    take_patch(tile, held, block, lit_lane(block, n))
                    held += 1
                    if held == PATCHES:
                        complete(tile, held, panel, crystal, sampling)
                        render_tile(tile, panel, beam, material, sources, crystal, structure, orientations, sampling)
                        store(image, TILE, tile)
                        held = 0
            else:
                count, start = gather(tile, mask, within, columns, start)
                if count > 0:
                    render_tile(tile, panel, beam, material, sources, crystal, structure, orientations, sampling)
                    store(image, count, tile)
    if held > 0:
        complete(tile, held, panel, crystal, sampling)
        render_tile(tile, panel, beam, material, sources, crystal, structure, orientations, sampling)
        store(image, held * PATCH, tile)


def machine_words() -> dict:
    """The words of the stages for functions that the machine computes."""
    from nbnumba.backends.float_bits import power_of_two

    return {"ceil": np.ceil, "sqrt": np.sqrt, "sin": np.sin, "cos": np.cos, "exp": np.exp, "power_of_two": power_of_two}


@thread_safe_cache
def kernel(precision: str, culled: bool) -> Compiled:
    """The compiled driver in a precision, for scenes that are culled or not."""

    def names() -> dict:
        bound = bind(stages(precision), stage_jit, machine_words() | words(precision) | culling_words(culled))
        bound = bind([indices], stage_jit, bound)
        bound = bind([samples, blocks], loop_jit, bind([interpolation, lattices], stage_jit, bound))
        return bind([tile], loop_jit, bind([patches, lit], stage_jit, bound))

    return driver(render, names, precision, culled)


def renderer(records: Scene, mask: np.ndarray, precision: str) -> Callable:
    """The function of image, rows and columns that renders part of an image in place, without Python's lock.

    records: a scene in the types of the precision (precision.py:cast_all).
    """
    compiled = kernel(precision, is_culled(records))

    def part(image: np.ndarray, rows: tuple[int, int], columns: tuple[int, int]) -> None:
        compiled(image, rows, columns, mask, new_tile(precision), new_tile(precision), new_tile(precision), *records)

    return part


def new_tile(precision: str) -> np.ndarray:
    """An empty tile, which begins where a line of the processor's cache does, so that no vector of a row lies in two lines."""
    kind = np.dtype(PRECISIONS[precision].wide)
    room = np.empty(ROWS_END + CACHE_LINE // kind.itemsize, kind)
    first = line_start(room)
    return room[first : first + ROWS_END]


def workers(steps: int) -> int:
    """The number of threads to start for so many steps; 0: the caller computes itself, because the work is short."""
    return threads.thread_count() if steps > ALONE else 0


def pieces(rows: Span, columns: Span, steps: int, every: int) -> Iterator[Piece]:
    """The pieces of a panel with `steps` per pixel, each for one thread: smaller ones at the end, so that all end together.

    every: the steps of the whole image.
    """
    first, per_row, threads = rows[0], max(1, pixels_of(((0, 1), columns)) * steps), workers(every)
    while first < rows[1]:
        most = steps_per_piece(every - (first - rows[0]) * per_row, threads, FEWEST_STEPS, STEPS_PER_CALL)
        last = min(first + max(1, most // per_row // BLOCK_SLOW) * BLOCK_SLOW, rows[1])
        yield from spans((first, last), columns, steps, most)
        first = last


def prepare(scene: Scene, precision: str) -> None:
    """Compile the driver, or load it from disk, without rendering anything."""
    renderer(cast(scene, precision), np.zeros((0, 0), dtype=np.uint8), precision)(np.zeros((1, 1)), (0, 0), (0, 0))
