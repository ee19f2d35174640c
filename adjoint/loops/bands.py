"""The loop over the tiles of a band: each is differentiated, the loss is applied, and the sums of the band are added to."""

import numpy as np

from adjoint.loops.amplitude_table import new_amplitude_table
from adjoint.loops.pixels import (
    add_channels,
    add_image_terms,
    add_normal,
    apply_loss,
    clear_channels,
    loss_of_dark_pixels,
    project,
    store_jacobian,
)
from adjoint.loops.rows import ALL_END
from adjoint.loops.tile import differentiate_tile, set_dark
from nbnumba.loops import culled
from nbnumba.loops.blocks import BLOCK_FAST, BLOCK_SLOW, PATCH, PATCH_FAST, gather, is_whole, left_of, places, store
from nbnumba.loops.indices import fast_of, slow_of
from nbnumba.loops.lit import complete, is_lit_block, list_all, list_lit, lit_lane, take_patch
from nbnumba.loops.memory import CACHE_LINE, line_start, prefetch
from nbnumba.loops.rows import IS_LIT, ROWS_END, TILE
from nbnumba.stages import wide

ENTRIES, FEWEST_ENTRIES = 2**12, 2
"""The first size of a tile's amplitude table, with derivatives by amplitudes and without."""
SEGMENT_BLOCKS = 128
"""The blocks of a segment, one beside the other, whose patches may share tiles."""
SEGMENT = SEGMENT_BLOCKS * TILE
"""The places of a segment in the walk over a strip of rows."""
SEGMENT_COLUMNS = SEGMENT_BLOCKS * BLOCK_FAST
"""The columns of a segment."""


def differentiate_band(band, first, last, columns, results, pixel_loss, projection, panel, beam, material, sources, crystal,
                       structure, orientations, sampling, motions, paths):  # fmt: skip
    """Add the rows of the image from `first` to before `last` to the results of a band.

    Of a scene that is culled the lit patches of blocks are collected in one tile, and the dark ones in another, until a tile is
    full, has a patch that is not, or a segment ends (nbnumba/loops/lit.py). So it depends on no other part which pixels share a
    tile. If the amplitude table of a tile was too small, the tile is differentiated again with a table of twice the size.
    """
    tile = new_rows(2 * ALL_END if orientations.fresh_pass.size else ALL_END)  # add_pass copies the tile behind itself
    dark_tile, block, blocks = new_rows(ALL_END * culled), new_rows(ROWS_END * culled), new_rows(ROWS_END * culled)
    table = new_amplitude_table(ENTRIES if paths.reflections or paths.weights else FEWEST_ENTRIES)
    count = results.normal.shape[1] if results.normal.size else projection.matrix.shape[0]
    by_parameter, row_columns = new_rows(max(count, 1) * TILE), np.empty(count, np.int64)
    for n in range(projection.column_of_row.size):
        row_columns[n] = projection.column_of_row[n]
    lit, dark, is_lit = 0, 0, True
    losses_alone = not (results.image.size or results.image_terms.size or results.jacobian.size)
    for row in range(first, last, BLOCK_SLOW):
        start, within, marked = 0, (row, min(row + BLOCK_SLOW, last)), -1
        while start < places(columns):
            if culled:
                begun = start
                if pixel_loss.mask.size == 0:
                    marked, is_lit = is_lit_block(blocks, marked, start, within, columns, panel, beam, sources, crystal,
                                                  orientations, sampling)  # fmt: skip
                pixels, start, patches = take_block(block, dark_tile, band, within, columns, start, losses_alone, is_lit,
                                                    results, pixel_loss, panel, beam, sources, crystal, orientations,
                                                    sampling)  # fmt: skip
                ends = start // SEGMENT > begun // SEGMENT or start >= places(columns)
                for n in range(patches + 1):
                    if n < patches:
                        first_lane = lit_lane(block, n)
                        lanes = min(PATCH, pixels - first_lane)
                        if block[IS_LIT + first_lane // PATCH] > 0.0:
                            take_patch(tile, lit // PATCH, block, first_lane)
                            lit += lanes
                        else:
                            take_patch(dark_tile, dark // PATCH, block, first_lane)
                            dark += lanes
                    if is_complete(lit, ends and n == patches):
                        complete(tile, -(-lit // PATCH), panel, crystal, sampling)
                        ask_for_data(tile, pixel_loss)
                        while has_lost(tile, table, panel, beam, material, sources, crystal, structure, orientations, sampling,
                                       motions, paths):  # fmt: skip
                            table = new_amplitude_table(2 * table.key.size)
                        add_pixels(band, lit, True, tile, table, by_parameter, row_columns, results, pixel_loss, projection,
                                   paths)  # fmt: skip
                        lit = 0
                    if is_complete(dark, ends and n == patches):
                        set_dark(dark_tile, table)
                        add_pixels(band, dark, False, dark_tile, table, by_parameter, row_columns, results, pixel_loss,
                                   projection, paths)  # fmt: skip
                        dark = 0
            else:
                pixels, start = gather(tile, pixel_loss.mask, within, columns, start)
                if pixels > 0:
                    ask_for_data(tile, pixel_loss)
                    while has_lost(tile, table, panel, beam, material, sources, crystal, structure, orientations, sampling,
                                   motions, paths):  # fmt: skip
                        table = new_amplitude_table(2 * table.key.size)
                    add_pixels(band, pixels, True, tile, table, by_parameter, row_columns, results, pixel_loss, projection,
                               paths)  # fmt: skip


def new_rows(size):
    """Zeros (size,), which begin at a line of the cache (nbnumba/loops/memory.py)."""
    room = np.zeros(size + CACHE_LINE, wide)
    first = line_start(room)
    return room[first : first + size]


def take_block(block, dark_tile, band, within, columns, start, losses_alone, is_lit, results, pixel_loss, panel, beam, sources,
               crystal, orientations, sampling):  # fmt: skip
    """Write the next wanted pixels of a strip of rows to a block, and list those of its patches that tiles have to take.

    Returns how many pixels it has, the place that comes next, and the number of patches in LIT_PATCH. losses_alone: nothing of
    dark pixels is wanted but their losses, which are added at once for a whole block, whose dark patches are then not listed.
    is_lit: whether the block may have photons; True under a mask, where patches are asked alone.
    """
    apart = losses_alone and is_whole(pixel_loss.mask, within, columns, start)
    pixels, following, lit = TILE, start + TILE, 0
    if is_lit or not apart:
        pixels, following = gather(block, pixel_loss.mask, within, columns, start)
        lit = list_lit(block, pixels, panel, beam, sources, crystal, orientations, sampling)
    if apart:
        first_fast = left_of(columns, start)
        results.value[band] += loss_of_dark_pixels(dark_tile, within[0], first_fast, pixel_loss, lit, block)
        return pixels, following, lit
    return pixels, following, list_all(block, pixels)


def ask_for_data(tile, pixel_loss):
    """Ask for the data and weights of the pixels of a tile, which are wanted when it is differentiated (prefetch).

    They are far apart in memory: each row of a patch is asked for.
    """
    for i in range(0, TILE, PATCH_FAST):
        slow, fast = np.uintp(slow_of(tile, i)), np.uintp(fast_of(tile, i))
        prefetch(pixel_loss.data, slow, fast)
        prefetch(pixel_loss.weight, slow, fast)


def is_complete(held, ends):
    """Whether a tile that holds so many pixels takes no more: it is full, its last patch is not, or a segment ends."""
    return held == TILE or held % PATCH > 0 or (ends and held > 0)


def has_lost(tile, table, panel, beam, material, sources, crystal, structure, orientations, sampling, motions, paths):
    """Differentiate the pixels of a tile; returns whether derivatives were lost, because the amplitude table is too small."""
    differentiate_tile(tile, table, panel, beam, material, sources, crystal, structure, orientations, sampling, motions, paths)
    lost = table.count[1] > 0
    if lost:
        clear_channels(tile, paths)
    return lost


def add_pixels(band, pixels, is_lit, tile, table, by_parameter, row_columns, results, pixel_loss, projection, paths):
    """Add the loss of the first `pixels` lanes of a tile, and its derivatives, to the results of a band.

    is_lit: whether any of them may have photons. by_parameter and row_columns are working stores (pixels.py:add_normal).
    """
    if results.image.size:
        store(results.image, pixels, tile)
    results.value[band] += apply_loss(tile, pixels, pixel_loss, paths)
    if is_lit or results.image_terms.size or results.jacobian.size:  # else all that would be added is 0
        if results.channels.size:
            add_channels(results, band, tile, table, paths)
            if results.image_terms.size:
                add_image_terms(results, band, pixels, by_parameter, tile, pixel_loss)
        else:
            project(by_parameter, projection.matrix, tile)
            if results.jacobian.size:
                store_jacobian(results, pixels, by_parameter, projection, table, tile)
            if results.normal.size:
                add_normal(results, band, pixels, by_parameter, row_columns, projection, table, tile, pixel_loss)
            clear_channels(tile, paths)
