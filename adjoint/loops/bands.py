"""The loop over the tiles of a band: each is differentiated, the loss is applied, and the sums of the band are added to."""

import numpy as np

from adjoint.loops import no_refcount
from adjoint.loops.amplitude_table import new_amplitude_table
from adjoint.loops.pixels import (
    add_beside,
    add_channels,
    add_normal,
    apply_loss,
    clear_channels,
    project,
    store_jacobian,
)
from adjoint.loops.rows import ALL_END
from adjoint.loops.tile import differentiate_tile
from nbnumba.loops.rows import TILE
from nbnumba.loops.tile import gather, store
from nbnumba.stages import wide

LISTED, UNLISTED = 2**12, 2
"""Sizes of a tile's amplitude table to begin with: if derivatives by amplitudes are wanted, and if not."""


def differentiate_band(band, first, last, columns, results, target, parameters, panel, beam, material, sources, crystal,
                       structure, orientations, sampling, motions, paths):  # fmt: skip
    """Add the rows of the image from `first` to before `last` to the results of a band.

    Each tile is differentiated anew, with a table of twice the size, if its amplitude table was too small.
    """
    own_tile, own_table = np.zeros(ALL_END, wide), new_amplitude_table(LISTED if paths.reflections else UNLISTED)
    count = results.normal.shape[1] if results.normal.size else parameters.projection.shape[0]
    by_parameter, used = np.empty(max(count, 1) * TILE, wide), np.empty(count, np.int64)
    used[: parameters.place_of.size] = parameters.place_of
    for row in range(first, last):
        start, following = columns[0], columns[0]
        while following < columns[1]:
            start = following
            pixels, following = gather(own_tile, target.mask, row, start, columns[1])
            if pixels > 0:
                tile, table = no_refcount(own_tile), no_refcount(own_table)  # which the next tile needs, and so they stay
                lost = 1
                while lost:
                    differentiate_tile(tile, table, row, start, panel, beam, material, sources, crystal, structure,
                                       orientations, sampling, motions, paths)  # fmt: skip
                    lost = table.count[1]
                    if lost:
                        clear_channels(tile, paths)
                        own_table = new_amplitude_table(2 * table.key.size)
                        table = no_refcount(own_table)
                if results.image.size:
                    store(results.image, target.mask, row, start, pixels, tile)
                results.value[band] += apply_loss(tile, row, start, start + pixels, target, paths)
                if results.channels.size:
                    add_channels(results, band, tile, table, paths)
                    if results.beside.size:
                        add_beside(results, band, row, start, pixels, by_parameter, tile, target)
                else:
                    project(by_parameter, parameters.projection, tile)
                    if results.jacobian.size:
                        store_jacobian(results, row, start, pixels, by_parameter, parameters, table, tile)
                    if results.normal.size:
                        add_normal(results, band, row, start, pixels, by_parameter, used, parameters, table, tile, target)
                    clear_channels(tile, paths)
