"""Which pixels a tile holds: every wanted pixel is in one tile, and those of a patch are neighbours."""

import numpy as np
import pytest

from nbnumba.loops.blocks import BLOCK_FAST, BLOCK_SLOW, PATCH_FAST, PATCH_SLOW, gather, is_unwanted, places
from nbnumba.loops.rows import PIXEL_FAST, PIXEL_SLOW, ROWS_END, TILE

NO_MASK = np.zeros((0, 0), dtype=np.uint8)


def tiles(mask, rows, columns):
    """The pixels (slow, fast) of every tile of a strip of rows, and of all its lanes."""
    tile, start = np.full(ROWS_END, -1.0), 0
    while start < places(columns):
        count, start = gather(tile, mask, rows, columns, start)
        lanes = list(zip(tile[PIXEL_SLOW : PIXEL_SLOW + TILE].astype(int), tile[PIXEL_FAST : PIXEL_FAST + TILE].astype(int)))
        if count:
            yield lanes[:count], lanes


def test_a_block_has_as_many_pixels_as_a_tile():
    """And its patches as many as a patch."""
    assert BLOCK_SLOW * BLOCK_FAST == TILE
    assert BLOCK_SLOW % PATCH_SLOW == 0 and BLOCK_FAST % PATCH_FAST == 0


@pytest.mark.parametrize("rows", [(0, 8), (3, 11), (5, 6), (2, 9)])
@pytest.mark.parametrize("columns", [(0, 16), (0, 1), (7, 300), (5, 133)])
@pytest.mark.parametrize("share", [None, 1.0, 0.3, 0.0])
def test_every_wanted_pixel_is_in_one_tile(rows, columns, share):
    """With a mask and without, for strips of any height and width; all tiles but the last are full."""
    mask = NO_MASK if share is None else (np.random.default_rng(1).random((20, 320)) < share).astype(np.uint8)
    inside = [(s, f) for s in range(*rows) for f in range(*columns) if share is None or mask[s, f]]
    found = list(tiles(mask, rows, columns))
    assert sorted(pixel for pixels, _ in found for pixel in pixels) == inside
    assert all(len(pixels) == TILE for pixels, _ in found[:-1])


def test_lanes_that_are_left_hold_the_last_pixel():
    """So that what bounds the lanes of a patch is no wider than its pixels."""
    for pixels, lanes in tiles(NO_MASK, (0, 3), (0, 50)):
        assert set(lanes[len(pixels) :]) <= {pixels[-1]}


def test_the_pixels_of_a_patch_are_neighbours():
    """In a block without a mask, eight lanes are a patch."""
    ((pixels, _),) = tiles(NO_MASK, (0, BLOCK_SLOW), (0, BLOCK_FAST))
    lanes = PATCH_SLOW * PATCH_FAST
    for first in range(0, TILE, lanes):
        slow, fast = np.array(pixels[first : first + lanes]).T
        assert np.ptp(slow) == PATCH_SLOW - 1 and np.ptp(fast) == PATCH_FAST - 1


@pytest.mark.parametrize("columns", [(0, 64), (5, 61)])
def test_unwanted_blocks(columns):
    """A block is unwanted where none of its pixels is wanted; without a mask none is, and within a block the walk goes on."""
    rows, mask = (3, 11), np.zeros((20, 64), dtype=np.uint8)
    mask[[3, 10, 2, 11], [columns[0] + 15, columns[0] + 32, 40, 40]] = 1
    starts = range(0, places(columns), TILE)
    assert [bool(is_unwanted(mask, rows, columns, start)) for start in starts] == [False, True, False, True]
    assert not any(is_unwanted(NO_MASK, rows, columns, start) for start in starts)
    assert not is_unwanted(mask, rows, columns, TILE + 1)
