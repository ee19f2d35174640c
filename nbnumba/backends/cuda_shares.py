"""The CUDA driver of the map of reflections: each thread counts the reflections of one pixel, in memory of the card (F15)."""

from collections.abc import Callable

import numpy as np
from numba import cuda

from nbnumba.backends import card
from nbnumba.backends.binding import bind, stages
from nbnumba.backends.compiling import thread_safe_cache
from nbnumba.backends.cuda import device_jit, kernel_jit, machine_words, one_patch, one_pixel_rows
from nbnumba.backends.pieces import Span
from nbnumba.loops import cuda_interpolation, indices, interpolation, lattices, samples, shares
from nbnumba.loops import rows as row_names
from nbnumba.loops.indices import set_pixel
from nbnumba.loops.lattices import is_by_energy
from nbnumba.loops.rows import ROWS_END
from nbnumba.loops.shares import count_tile, largest_sum
from nbnumba.stages import wide
from nbnumba.stages.records import Scene, Structure

ROOM = 64
"""The number of reflections of a pixel that a first attempt has room for."""

MOST_PLACES = 2**22
"""The largest number of reflections that there is room for in one launch, those of all of its pixels together."""

THREADS = 64
"""The number of threads of a block, which do nothing together."""

PRECISION = "double"


def count_pixels(
    results, keys, sums, pixels, known, panel, beam, material, sources, crystal, structure, orientations, sampling
):
    """Write best, largest and total of each of some pixels to results (pixels, 4), and in the end 1 where room was lacking.

    pixels (n, 2): slow and fast. keys, sums (pixels, room) float64: for this call to write to. The others are those of
    loops/shares.py:count.
    """
    number = cuda.grid(1)
    if number < pixels.shape[0]:
        tile = cuda.local.array(ROWS_END, wide)
        failed, used = cuda.local.array(1, wide), cuda.local.array(1, wide)
        failed[0] = wide(0)
        own_keys, own_sums = keys[number : number + 1], sums[number : number + 1]
        set_pixel(tile, 0, pixels[number, 0], pixels[number, 1])
        count_tile(
            tile, failed, own_keys, own_sums, used, known, panel, beam, material, sources, crystal, structure, orientations,
            sampling,
        )  # fmt: skip
        best, largest, total = largest_sum(tile, 0, own_keys, own_sums, used)
        results[number, 0], results[number, 1], results[number, 2] = best, largest, total
        results[number, 3] = failed[0]


@thread_safe_cache
def kernel(by_energy: bool = False) -> Callable:
    """The compiled kernel. Slots of reflections are of 64 bits: those of all reflections that a crystal has are many."""
    names = machine_words(PRECISION) | {"index_type": np.int64} | one_pixel_rows(vars(row_names)) | one_patch(False, by_energy)
    bound = bind([*stages(PRECISION), indices, cuda_interpolation, interpolation, lattices], device_jit, names)
    own = bind([samples, shares], device_jit, bound)
    return kernel_jit(count_pixels, own, f"count_{PRECISION}{'_by_energy' if by_energy else ''}")


def counter(scene: Scene, mask: np.ndarray, known: Structure) -> Callable:
    """The function of best, largest, total, rows and columns that fills part of a map in place.

    Pixels that have more reflections than there is room for are counted once more, with four times as much.
    """
    compiled = kernel(is_by_energy(scene))

    def part(best: np.ndarray, largest: np.ndarray, total: np.ndarray, rows: Span, columns: Span) -> None:
        pixels = np.argwhere(mask[slice(*rows), slice(*columns)]) + (rows[0], columns[0])
        room = ROOM
        while len(pixels):
            at_once = max(1, MOST_PLACES // room)
            found = [_counted(compiled, pixels[first : first + at_once], room) for first in range(0, len(pixels), at_once)]
            results = np.concatenate(found)
            counted = results[:, 3] == 0.0
            slow, fast = pixels[counted].T
            best[slow, fast], largest[slow, fast], total[slow, fast] = results[counted, :3].T
            pixels, room = pixels[~counted], 4 * room

    def _counted(compiled: Callable, pixels: np.ndarray, room: int) -> np.ndarray:
        with card.at_work():
            records = card.upload_records("scene", scene)
            record_of_known = card.upload_record("known", known)
            places = len(pixels), room
            keys, sums = (card.allocate(name, places, np.float64) for name in ("keys", "sums"))
            results = card.allocate("results", (len(pixels), 4), np.float64)
            launch = compiled[card.blocks(len(pixels), THREADS), THREADS]
            launch(results, keys, sums, card.upload("pixels", pixels.astype(np.int32)), record_of_known, *records)
            return results.copy_to_host()

    return part
