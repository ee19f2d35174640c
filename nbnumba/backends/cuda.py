"""The CUDA driver: each thread renders one pixel, which is a tile of one pixel."""

import math
from collections.abc import Callable, Iterator

import numpy as np
from numba import cuda

from nbnumba.backends import card, cuda_block, cuda_pairs
from nbnumba.backends.binding import bind, stages, with_globals
from nbnumba.backends.compiling import LOG, thread_safe_cache
from nbnumba.backends.cuda_block import BLOCK, block_words, blocks, pixel_of_thread
from nbnumba.backends.pieces import Piece, Span
from nbnumba.backends.precision import PRECISIONS, cast, words
from nbnumba.loops import blocks as pixel_blocks
from nbnumba.loops import (
    cuda_interpolation,
    cuda_lattices,
    cuda_patches,
    cuda_stages,
    indices,
    interpolation,
    lattices,
    patches,
    samples,
)
from nbnumba.loops import culled as culled
from nbnumba.loops import rows as row_names
from nbnumba.loops import tile as tiles
from nbnumba.loops.blocks import wanted
from nbnumba.loops.cuda_patches import NO_PIXEL
from nbnumba.loops.indices import set_pixel
from nbnumba.loops.patches import is_culled
from nbnumba.loops.rows import ROWS_END, TILE, TOTAL
from nbnumba.loops.tile import render_tile
from nbnumba.stages import wide
from nbnumba.stages.records import Scene

STEPS_PER_CALL = 2**31
"""The largest number of samples times lattices of a launch; progress is reported, and stopping possible, between launches."""
FEWEST_ROWS = BLOCK[0]
"""The smallest number of rows of a launch, whole blocks."""
LISTED = ("bound_rays", "first_near", "add_near_lattices")
"""The functions of patches.py that are replaced where the threads of a block list the lattices together."""


def render(image, rows, columns, mask, panel, beam, material, sources, crystal, structure, orientations, sampling):
    """Fill an image of the rows from rows[0] to before rows[1], and of columns likewise, with 0 where the mask is 0.

    Each thread fills one pixel. In a scene that is culled, threads whose pixel is not wanted help those of their block, unless
    it has none that is wanted. The other arguments are those of cpu.py:render.
    """
    row, fast = pixel_of_thread(rows, columns)
    inside = row < rows[1] and fast < columns[1]
    here = inside and wanted(mask, row, fast)
    tile = cuda.local.array(ROWS_END, wide)
    tile[TOTAL] = wide(0)
    if culled:
        if cuda.syncthreads_or(np.int32(here)):
            set_pixel(tile, 0, row if here else NO_PIXEL, fast)
            render_tile(tile, panel, beam, material, sources, crystal, structure, orientations, sampling)
    else:
        if here:
            set_pixel(tile, 0, row, fast)
            render_tile(tile, panel, beam, material, sources, crystal, structure, orientations, sampling)
    if inside:
        image[row - rows[0], fast - columns[0]] = tile[TOTAL] if here else wide(0)


def one_pixel_rows(names: dict) -> dict:
    """The rows of a tile of one pixel, from those of a tile of TILE pixels."""
    return {name: row // TILE for name, row in names.items() if name.isupper() and isinstance(row, int)}


def one_patch(culled: bool, by_energy: bool) -> dict:
    """The words that depend on the scene, for a tile of one pixel, which is one patch (F9f, F10a)."""
    lanes = dict.fromkeys(("PATCH", "PATCHES", "RUN", "SEARCHED", "CHUNK"), 1)
    return {"culled": culled, "ahead": False, "by_energy": by_energy} | lanes


def kind_of_scene(culled: bool, by_energy: bool) -> str:
    """What the name of a kernel says about the scenes that it is for."""
    return f"{'_culled' if culled else ''}{'_by_energy' if by_energy else ''}"


def device_jit(function: Callable) -> Callable:
    """Compile a function that kernels call. It is inlined: numba-cuda is told to, and the CUDA of Numba always does so."""
    return function if card.SIMULATED else cuda.jit(device=True, forceinline=True)(function)


def kernel_jit(function: Callable, names: dict, name: str) -> Callable:
    """Compile a kernel whose globals are `names`, to which those of its module are added that are not there."""
    if not card.SIMULATED:
        LOG.info("compiling %s", name)
    names |= {**function.__globals__, **names}
    return cuda.jit(with_globals(function, names, name))


def power_of_two(power):
    """Two to the power of a whole number, which is held as a real one."""
    return wide(math.ldexp(wide(1), int(power)))


def machine_words(precision: str) -> dict:
    """The functions and types that the stages use on a card, by name, in a precision.

    In precision single sin and cos are those of elementary.py, because CUDA's go through float64. Sums and products of pairs
    are those of cuda_pairs.py, whose operations no compiler contracts.
    """
    own = np if card.SIMULATED else math
    names = ("ceil", "sqrt", "exp") if precision == "single" else ("ceil", "sqrt", "exp", "sin", "cos")
    by_name = words(precision) | {"index_type": np.int32, **{name: getattr(own, name) for name in names}}
    globals_of_power = {"math": math, "wide": PRECISIONS[precision].wide}
    by_name["power_of_two"] = device_jit(with_globals(power_of_two, globals_of_power, "power_of_two"))
    if PRECISIONS[precision].pairs and not card.SIMULATED:
        by_name |= {name: device_jit(function) for name, function in vars(cuda_pairs).items() if name.startswith("exact_")}
    return by_name


@thread_safe_cache
def kernel(
    precision: str, simple: bool, culled: bool = False, block: tuple[int, int] = BLOCK, by_energy: bool = False
) -> Callable:
    """The compiled kernel in a precision: for simple scenes (cuda_lattices.py), for others, or for those that are culled.

    block: the pixels of a block of threads along the slow and the fast axis. by_energy: whether there are amplitudes of several
    photon energies.
    """
    before, instead, own = (cuda_stages,) if simple else (), (cuda_lattices,) if simple else (), {}
    names = machine_words(precision) | one_pixel_rows(vars(row_names)) | one_patch(culled, by_energy)
    names |= block_words(own, block, device_jit)
    loops = [indices, cuda_interpolation, interpolation, *instead, lattices, pixel_blocks, patches]
    bound = bind([*before, *stages(precision), *loops], device_jit, names)
    bound = list_together(bound) if culled else bound
    own |= bind([samples, tiles], device_jit, bound) | {"wanted": device_jit(wanted)}
    return kernel_jit(render, own, f"render_{precision}{kind_of_scene(culled, by_energy)}")


def list_together(bound: dict) -> dict:
    """The words `bound`, of which the functions LISTED are those of cuda_patches.py."""
    return bind([cuda_patches], device_jit, {name: word for name, word in bound.items() if name not in LISTED})


def renderer(host_records: Scene, mask: np.ndarray, precision: str) -> Callable:
    """The function of image, rows and columns that renders a part of the image on the card.

    host_records: a scene in the types of the precision (precision.py:cast_all). It raises InputError if the card has too little
    memory.
    """
    block = cuda_block.BLOCK
    by_energy = lattices.is_by_energy(host_records)
    compiled = kernel(precision, cuda_lattices.is_simple(host_records), is_culled(host_records), block, by_energy)
    kind = PRECISIONS[precision].wide

    def part(image: np.ndarray, rows: tuple[int, int], columns: tuple[int, int]) -> None:
        with card.at_work():
            records = card.upload_records("scene", host_records)
            mask_on_card = card.upload("mask", mask)
            image_on_card = card.allocate("image", (rows[1] - rows[0], columns[1] - columns[0]), kind)
            launch = compiled[blocks(rows, columns, block), block[0] * block[1]]
            launch(image_on_card, rows, columns, mask_on_card, *records)
            image[slice(*rows), slice(*columns)] = image_on_card.copy_to_host()

    return part


def workers(steps: int) -> int:
    """The number of threads besides the calling one: none, because a kernel is parallel itself."""
    return 0


def pieces(rows: Span, columns: Span, steps: int, every: int = 0) -> Iterator[Piece]:
    """The pieces in which a panel with that number of steps per pixel is rendered: whole rows, each piece by one launch.

    every: the steps of the whole image, which do not matter here.
    """
    rows_per_piece = max(FEWEST_ROWS, STEPS_PER_CALL // ((columns[1] - columns[0]) * steps) // BLOCK[0] * BLOCK[0])
    for row in range(rows[0], rows[1], rows_per_piece):
        yield (row, min(row + rows_per_piece, rows[1])), columns


def prepare(scene: Scene, precision: str) -> None:
    """Compile the kernel, by rendering one pixel that the mask leaves out."""
    renderer(cast(scene, precision), np.zeros((1, 1), dtype=np.uint8), precision)(np.zeros((1, 1)), (0, 1), (0, 1))
