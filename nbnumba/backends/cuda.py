"""The CUDA driver: a thread for every pixel, which is a tile of one."""

import math
from collections.abc import Callable, Iterator

import numpy as np
from numba import cuda

from nbnumba.backends import card, cuda_pairs
from nbnumba.backends.binding import bind, stages, with_globals
from nbnumba.backends.compiling import LOG, once
from nbnumba.backends.pieces import Piece, Span
from nbnumba.backends.precision import PRECISIONS, cast, words
from nbnumba.loops import cuda_lattices, cuda_stages, cuda_tile, indices, lattices, samples
from nbnumba.loops import rows as row_names
from nbnumba.loops import tile as tiles
from nbnumba.loops.rows import ROWS_END, TILE, TOTAL
from nbnumba.loops.tile import render_tile, wanted
from nbnumba.stages import wide
from nbnumba.stages.records import Scene

STEPS_PER_CALL = 2**31
"""Samples times lattices of a launch, between two reports of progress, or two chances to be interrupted."""
FEWEST_ROWS = 1
"""Rows of a launch at least."""
THREADS = 128
"""Threads of a block: pixels that are neighbours along the fast axis."""


def render(image, rows, columns, mask, panel, beam, material, sources, crystal, structure, orientations, sampling):
    """Fill an image of those rows and columns, from the first to before the last; 0 where the mask is.

    A pixel by each thread; the other arguments are those of cpu.py:render.
    """
    at, across = cuda.grid(1), columns[1] - columns[0]
    row, fast = rows[0] + at // across, columns[0] + at % across
    if row < rows[1]:
        tile = cuda.local.array(ROWS_END, wide)
        tile[TOTAL] = wide(0)
        if wanted(mask, row, fast):
            render_tile(tile, row, fast, panel, beam, material, sources, crystal, structure, orientations, sampling)
        image[row - rows[0], fast - columns[0]] = tile[TOTAL]


def of_one_pixel(names: dict) -> dict:
    """The rows of a tile of one pixel, from those of a tile of TILE."""
    return {name: at // TILE for name, at in names.items() if name.isupper() and isinstance(at, int)}


def device_jit(function: Callable) -> Callable:
    """Compile a function for kernels to call: inlined, as numba-cuda is told to and Numba's own does."""
    return function if card.SIMULATED else cuda.jit(device=True, forceinline=True)(function)


def kernel_jit(function: Callable, names: dict, name: str) -> Callable:
    """Compile a kernel, with those names in the place of its own."""
    if not card.SIMULATED:
        LOG.info("compiling %s", name)
    return cuda.jit(with_globals(function, {**function.__globals__, **names}, name))


def machine_words(precision: str) -> dict:
    """The words of the stages on this machine, in a precision.

    sin and cos of float32 are our own: those of the machine go through float64. So are sums and products in pairs, of
    operations that no compiler contracts.
    """
    own = np if card.SIMULATED else math
    names = ("ceil", "sqrt", "exp") if precision == "single" else ("ceil", "sqrt", "exp", "sin", "cos")
    found = words(precision) | {"index_type": np.int32, **{name: getattr(own, name) for name in names}}
    if PRECISIONS[precision].pairs and not card.SIMULATED:
        found |= {name: device_jit(function) for name, function in vars(cuda_pairs).items() if name.startswith("exact_")}
    return found


@once
def kernel(precision: str, simple: bool) -> Callable:
    """The compiled kernel in a precision, for simple scenes (cuda_lattices.py) or for all."""
    before, instead = ((cuda_stages,), (cuda_lattices,)) if simple else ((), ())
    names = machine_words(precision) | of_one_pixel(vars(row_names))
    bound = bind([cuda_tile, *before, *stages(precision), indices, *instead, lattices, samples, tiles], device_jit, names)
    return kernel_jit(render, bound, f"render_{precision}")


def renderer(scene: Scene, mask: np.ndarray, precision: str) -> Callable:
    """The function of image, rows and columns that renders part of an image in place, on the card.

    Raises InputError where the memory of the card is not enough.
    """
    compiled = kernel(precision, cuda_lattices.is_simple(scene))
    kind, records_here = PRECISIONS[precision].wide, cast(scene, precision)

    def part(image: np.ndarray, rows: tuple[int, int], columns: tuple[int, int]) -> None:
        with card.at_work():
            records = card.upload_records("scene", records_here)
            allowed = card.upload("mask", mask)
            there = card.allocate("image", (rows[1] - rows[0], columns[1] - columns[0]), kind)
            compiled[card.blocks(there.size, THREADS), THREADS](there, rows, columns, allowed, *records)
            image[slice(*rows), slice(*columns)] = there.copy_to_host()

    return part


def workers(steps: int) -> int:
    """No thread but the calling one launches kernels, which are parallel by themselves."""
    return 0


def pieces(rows: Span, columns: Span, steps: int) -> Iterator[Piece]:
    """The pieces that an image of so many steps a pixel is rendered in: whole rows, each by a launch."""
    together = max(FEWEST_ROWS, STEPS_PER_CALL // ((columns[1] - columns[0]) * steps))
    for row in range(rows[0], rows[1], together):
        yield (row, min(row + together, rows[1])), columns


def prepare(scene: Scene, precision: str) -> None:
    """Compile the kernel without rendering anything."""
    renderer(scene, np.zeros((1, 1), dtype=np.uint8), precision)(np.zeros((1, 1)), (0, 1), (0, 1))
