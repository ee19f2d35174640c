"""Which patches of pixels may have photons, and how those of many blocks are put together in tiles, none of them dark (F10a).

Spots are small, so that few patches of a block are lit. What a tile costs beside its terms is then paid for lit patches only.
"""

from nbnumba.loops.blocks import BLOCK_FAST, PATCH, PATCHES, bound_row, is_unwanted, places
from nbnumba.loops.indices import fast_of, set_pixel, slow_of
from nbnumba.loops.patches import beam_of, bound_pixels, bounds_pixels, near_patches
from nbnumba.loops.rows import (
    HALF_FAST,
    HALF_SLOW,
    IS_LIT,
    LIMIT,
    LIT_PATCH,
    MIDDLE_FAST,
    MIDDLE_SLOW,
    PIXEL_FAST,
    PIXEL_SLOW,
    REMOTENESS,
    TILE,
)
from nbnumba.stages import wide


def list_lit(block, count, panel, beam, sources, crystal, orientations, sampling):
    """List the patches of the first `count` lanes of a block that may have photons, and return their number.

    Writes LIT_PATCH, and what mark_lit writes.
    """
    lit = 0
    if mark_lit(block, panel, beam, sources, crystal, orientations, sampling) > 0:
        for p in range(-(-count // PATCH)):
            block[LIT_PATCH + lit] = p * PATCH
            lit += block[IS_LIT + p] > 0.0
    return lit


def next_lit(blocks, marked, start, mask, rows, columns, panel, beam, sources, crystal, orientations, sampling):
    """The place of the walk over a strip of rows, from `start` on, where the next wanted block begins that may have photons.

    blocks: a tile in which PATCHES blocks, one beside another, are bounded as if they were patches. marked: the number of the
    blocks that are in it, from -1 at the beginning of a strip. Returns that number, and the place. A place within a block is
    returned as it is.
    """
    while start % TILE == 0 and start < places(columns):
        if not is_unwanted(mask, rows, columns, start):
            marked, is_lit = is_lit_block(blocks, marked, start, rows, columns, panel, beam, sources, crystal, orientations,
                                          sampling)  # fmt: skip
            if is_lit:
                break
        start += TILE
    return marked, start


def is_lit_block(blocks, marked, start, rows, columns, panel, beam, sources, crystal, orientations, sampling):
    """Whether the block that holds place `start` of the walk over a strip may have photons.

    The arguments are those of next_lit, but for the mask. Returns `marked` as it is then, and whether.
    """
    number = start // TILE
    if number // PATCHES != marked:
        marked = number // PATCHES
        mark_blocks(blocks, marked, rows, columns, panel, beam, sources, crystal, orientations, sampling)
    return marked, blocks[IS_LIT + number % PATCHES] > 0.0


def mark_blocks(blocks, number, rows, columns, panel, beam, sources, crystal, orientations, sampling):
    """Write IS_LIT, whether each of the PATCHES blocks of that number in a strip may have photons."""
    for p in range(PATCHES):
        left = columns[0] + (number * PATCHES + p) * BLOCK_FAST
        blocks[MIDDLE_SLOW + p], blocks[HALF_SLOW + p] = (rows[0] + rows[1] - 1) / 2, (rows[1] - rows[0] - 1) / 2
        blocks[MIDDLE_FAST + p], blocks[HALF_FAST + p] = left + (BLOCK_FAST - 1) / 2, (BLOCK_FAST - 1) / 2
    mark_lit(blocks, panel, beam, sources, crystal, orientations, sampling)


def list_all(block, count):
    """List all patches of the first `count` lanes in LIT_PATCH, and return their number."""
    for p in range(PATCHES):
        block[LIT_PATCH + p] = p * PATCH
    return -(-count // PATCH)


def mark_lit(block, panel, beam, sources, crystal, orientations, sampling):
    """Write IS_LIT, whether each patch may have photons, and return how many may.

    A patch has none where no term counts under any source and there is no background. It is found from where the pixels are,
    before rays are traced: on a curved detector every patch counts as lit. Reads MIDDLE_SLOW to HALF_FAST.
    """
    every = not bounds_pixels(panel) or beam.background_once + beam.background_each > 0.0
    for p in range(PATCHES):
        block[IS_LIT + p] = 1.0 if every else 0.0
    if every:
        return PATCHES
    bound_pixels(block, panel, crystal, sampling)
    lit = 0
    for source in range(sources.weight.size):
        ray = beam_of(source, sources)
        for group in range(orientations.group.shape[0]):
            if lit < PATCHES and near_patches(group, block, ray, crystal, orientations) > 0:
                lit = 0
                for p in range(PATCHES):
                    block[IS_LIT + p] = 1.0 if block[REMOTENESS + p] <= block[LIMIT + p] else block[IS_LIT + p]
                    lit += block[IS_LIT + p] > 0.0
    return lit


def lit_lane(block, n):
    """The first lane of the n-th lit patch. Reads LIT_PATCH."""
    return int(block[LIT_PATCH + n]) & (TILE - 1)  # so that the compiler sees that no lane is negative


def take_patch(tile, n, block, first):
    """Make the pixels of a block from lane `first` on those of the n-th patch of a tile."""
    for i in range(PATCH):
        set_pixel(tile, n * PATCH + i, slow_of(block, first + i), fast_of(block, first + i))


def complete(tile, held, panel, crystal, sampling):
    """Make of the first `held` patches a tile that can be rendered: others are the last one again, in which no term counts.

    Writes MIDDLE_SLOW to HALF_FAST, and what bound_pixels writes.
    """
    for n in range(held, PATCHES):
        take_patch(tile, n, tile, (held - 1) * PATCH)
    bound_row(tile, PIXEL_SLOW, MIDDLE_SLOW, HALF_SLOW)
    bound_row(tile, PIXEL_FAST, MIDDLE_FAST, HALF_FAST)
    if bounds_pixels(panel):
        bound_pixels(tile, panel, crystal, sampling)
        for p in range(held, PATCHES):
            tile[LIMIT + p] = wide(-1)
