"""Which pixels a tile holds: the wanted ones of a block, or of neighbouring blocks, patch by patch.

A block has as many pixels as a tile has lanes. Its patches are small enough that a spot which does not touch one can be left
out of all its pixels, and as large as the machine's vectors.
"""

import numpy as np

from nbnumba.loops import culled
from nbnumba.loops.indices import fast_of, set_pixel, slow_of
from nbnumba.loops.rows import HALF_FAST, HALF_SLOW, MIDDLE_FAST, MIDDLE_SLOW, PIXEL_FAST, PIXEL_SLOW, TILE, TOTAL
from nbnumba.stages import wide

BLOCK_SLOW, BLOCK_FAST = 8, 16
"""The pixels of a block along the slow and the fast axis."""
PATCH_SLOW, PATCH_FAST = 2, 4
"""The pixels of a patch along the slow and the fast axis."""
PATCH = PATCH_SLOW * PATCH_FAST
"""The number of lanes of a patch."""
PATCHES = TILE // PATCH
"""The number of patches of a tile."""


def wanted(mask, slow, fast):
    """Whether a pixel is to be computed."""
    return mask.size == 0 or mask[slow, fast] != 0


def place(lane):
    """Where in its block the pixel of a lane lies, along slow and fast, if all pixels of the block are wanted."""
    patch, within = lane // (PATCH_SLOW * PATCH_FAST), lane % (PATCH_SLOW * PATCH_FAST)
    across = BLOCK_FAST // PATCH_FAST
    return patch // across * PATCH_SLOW + within // PATCH_FAST, patch % across * PATCH_FAST + within % PATCH_FAST


def places(columns):
    """The number of places of the walk over the blocks of a strip of rows, from columns[0] to before columns[1]."""
    return -(-(columns[1] - columns[0]) // BLOCK_FAST) * TILE


def left_of(columns, start):
    """The first column of the block of place `start` of the walk over a strip of rows."""
    return columns[0] + start // TILE * BLOCK_FAST


def is_whole(mask, rows, columns, start):
    """Whether the pixels that are gathered from place `start` of the walk on are those of a block, and all are wanted."""
    within = start % TILE == 0 and rows[1] - rows[0] == BLOCK_SLOW and left_of(columns, start) + BLOCK_FAST <= columns[1]
    return mask.size == 0 and within


def is_unwanted(mask, rows, columns, start):
    """Whether a block begins at place `start` of the walk over a strip of rows, and none of its pixels is wanted."""
    if mask.size == 0 or start % TILE > 0:
        return False
    left, found = left_of(columns, start), np.uint8(0)
    for slow in range(rows[0], rows[1]):
        for fast in range(left, min(left + BLOCK_FAST, columns[1])):
            found |= mask[np.uintp(slow), np.uintp(fast)]
    return found == 0


def gather(tile, mask, rows, columns, start):
    """Write to the tile, by set_pixel, the wanted pixels of a strip of rows from place `start` of its walk on.

    rows: of the strip, at most BLOCK_SLOW. Returns how many pixels the tile holds, and the place of the walk that comes next.
    Most blocks of a mask of shoeboxes are unwanted, and passed over as a whole.
    The lanes that are left hold the last pixel once more. For a scene that is culled it writes MIDDLE_SLOW to HALF_FAST, too.
    """
    left = left_of(columns, start)
    if is_whole(mask, rows, columns, start):
        for i in range(TILE):
            slow, fast = place(np.uint64(i))
            set_pixel(tile, i, rows[0] + np.int64(slow), left + np.int64(fast))
        if culled:
            place_patches(tile, rows[0], left)
        return TILE, start + TILE
    count, end = 0, places(columns)
    while start < end and count < TILE:
        if is_unwanted(mask, rows, columns, start):
            start += TILE
            continue
        slow, fast = place(start % TILE)
        slow, fast = rows[0] + slow, columns[0] + start // TILE * BLOCK_FAST + fast
        if slow < rows[1] and fast < columns[1] and wanted(mask, slow, fast):
            set_pixel(tile, count, slow, fast)
            count += 1
        start += 1
    for i in range(count, TILE if count else 0):
        set_pixel(tile, i, slow_of(tile, count - 1), fast_of(tile, count - 1))
    if culled:
        bound_row(tile, PIXEL_SLOW, MIDDLE_SLOW, HALF_SLOW)
        bound_row(tile, PIXEL_FAST, MIDDLE_FAST, HALF_FAST)
    return count, start


def place_patches(tile, slow, left):
    """Write MIDDLE_SLOW to HALF_FAST of the patches of a whole block, whose first pixel is (slow, left)."""
    for p in range(PATCHES):
        across = BLOCK_FAST // PATCH_FAST
        first_slow, first_fast = slow + p // across * PATCH_SLOW, left + p % across * PATCH_FAST
        tile[MIDDLE_SLOW + p], tile[HALF_SLOW + p] = first_slow + (PATCH_SLOW - 1) / 2, (PATCH_SLOW - 1) / 2
        tile[MIDDLE_FAST + p], tile[HALF_FAST + p] = first_fast + (PATCH_FAST - 1) / 2, (PATCH_FAST - 1) / 2


def bound_row(tile, row, middle, half):
    """Write the middle and half of the width of what a row holds in each patch to two other rows."""
    for p in range(PATCHES):
        low, high = tile[row + p * PATCH], tile[row + p * PATCH]
        for i in range(1, PATCH):
            value = tile[row + p * PATCH + i]
            low, high = value if value < low else low, value if value > high else high
        tile[middle + p], tile[half + p] = (low + high) * wide(0.5), (high - low) * wide(0.5)


def store(image, count, tile):
    """Write the photons of the first `count` lanes of a tile, TOTAL, to the image."""
    for i in range(count):
        image[np.uintp(slow_of(tile, i)), np.uintp(fast_of(tile, i))] = tile[TOTAL + i]
