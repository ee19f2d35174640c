"""The loop over the tiles of a band: each is differentiated, the loss is applied, and the sums of the band are added to."""

import numpy as np

from adjoint.loops import no_refcount
from adjoint.loops.amplitude_table import new_amplitude_table
from adjoint.loops.pixels import (
    add_channels,
    add_image_terms,
    add_normal,
    apply_loss,
    clear_channels,
    project,
    store_jacobian,
)
from adjoint.loops.rows import ALL_END
from adjoint.loops.tile import differentiate_tile
from nbnumba.loops.blocks import BLOCK_SLOW, gather, places, store
from nbnumba.loops.rows import TILE
from nbnumba.stages import wide

ENTRIES, FEWEST_ENTRIES = 2**12, 2
"""The first size of a tile's amplitude table, with derivatives by amplitudes and without."""


def differentiate_band(band, first, last, columns, results, pixel_loss, projection, panel, beam, material, sources, crystal,
                       structure, orientations, sampling, motions, paths):  # fmt: skip
    """Add the rows of the image from `first` to before `last` to the results of a band.

    If the amplitude table of a tile was too small, the tile is differentiated again with a table of twice the size.
    """
    own_tile, own_table = np.zeros(ALL_END, wide), new_amplitude_table(ENTRIES if paths.reflections else FEWEST_ENTRIES)
    count = results.normal.shape[1] if results.normal.size else projection.matrix.shape[0]
    by_parameter, row_columns = np.empty(max(count, 1) * TILE, wide), np.empty(count, np.int64)
    for n in range(projection.column_of_row.size):
        row_columns[n] = projection.column_of_row[n]
    for row in range(first, last, BLOCK_SLOW):
        following = 0
        while following < places(columns):
            pixels, following = gather(own_tile, pixel_loss.mask, (row, min(row + BLOCK_SLOW, last)), columns, following)
            if pixels > 0:
                tile, table = no_refcount(own_tile), no_refcount(own_table)  # their owner keeps them for the next tile
                lost, is_lit = 1, True
                while lost:
                    is_lit = differentiate_tile(tile, table, panel, beam, material, sources, crystal, structure, orientations,
                                                sampling, motions, paths)  # fmt: skip
                    lost = table.count[1]
                    if lost:
                        clear_channels(tile, paths)
                        own_table = new_amplitude_table(2 * table.key.size)
                        table = no_refcount(own_table)
                if results.image.size:
                    store(results.image, pixels, tile)
                results.value[band] += apply_loss(tile, pixels, pixel_loss, paths)
                if not (is_lit or results.image_terms.size or results.jacobian.size):
                    continue  # all that would be added is 0
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
