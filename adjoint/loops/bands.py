"""The loop over the tiles of a band: each is differentiated, judged, and added to the sums of the band."""

import numpy as np

from adjoint.loops import no_refcount
from adjoint.loops.amplitude_table import new_listing
from adjoint.loops.pixels import (
    add_beside,
    add_channels,
    add_normal,
    clear_channels,
    judge,
    project,
    store_jacobian,
)
from adjoint.loops.rows import ALL_END
from adjoint.loops.tile import differentiate_tile
from nbnumba.loops.rows import TILE
from nbnumba.loops.tile import gather, store
from nbnumba.stages import wide

LISTED, UNLISTED = 2**12, 2
"""Places of a tile's listing to begin with, which double where they are not enough."""


def differentiate_band(band, first, last, columns, results, target, parameters, panel, beam, material, sources, crystal,
                       structure, orientations, sampling, motions, paths):  # fmt: skip
    """Add the rows from `first` to before `last` to the results of a band."""
    own_tile, own_listing = np.zeros(ALL_END, wide), new_listing(LISTED if paths.reflections else UNLISTED)
    count = results.normal.shape[1] if results.normal.size else parameters.projection.shape[0]
    by_parameter, used = np.empty(max(count, 1) * TILE, wide), np.empty(count, np.int64)
    used[: parameters.place_of.size] = parameters.place_of
    for row in range(first, last):
        start, following = columns[0], columns[0]
        while following < columns[1]:
            start = following
            pixels, following = gather(own_tile, target.mask, row, start, columns[1])
            if pixels > 0:
                tile, listing = no_refcount(own_tile), no_refcount(own_listing)  # which the next tile needs, and so they stay
                lost = 1
                while lost:
                    differentiate_tile(tile, listing, row, start, panel, beam, material, sources, crystal, structure,
                                       orientations, sampling, motions, paths)  # fmt: skip
                    lost = listing.count[1]
                    if lost:
                        clear_channels(tile, paths)
                        own_listing = new_listing(2 * listing.key.size)
                        listing = no_refcount(own_listing)
                if results.image.size:
                    store(results.image, target.mask, row, start, pixels, tile)
                results.value[band] += judge(tile, row, start, start + pixels, target, paths)
                if results.channels.size:
                    add_channels(results, band, tile, listing, paths)
                    if results.beside.size:
                        add_beside(results, band, row, start, pixels, by_parameter, tile, target)
                else:
                    project(by_parameter, parameters.projection, tile)
                    if results.jacobian.size:
                        store_jacobian(results, row, start, pixels, by_parameter, parameters, listing, tile)
                    if results.normal.size:
                        add_normal(results, band, row, start, pixels, by_parameter, used, parameters, listing, tile, target)
                    clear_channels(tile, paths)
