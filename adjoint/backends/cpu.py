"""The CPU driver: bands of rows in parallel, tile by tile, and the sums over them.

A band is a fixed range of rows, summed by itself in one order, so that no result depends on the number of threads.
"""

from functools import cache

import numpy as np
from numba import njit, prange

from adjoint.backends import lattices, pixels, reduction, rows, samples
from adjoint.backends import listing as listings
from adjoint.backends import tile as tiles
from adjoint.backends.listing import new_listing, settle
from adjoint.backends.pixels import (
    Parameters,
    Results,
    Target,
    add_channels,
    add_normal,
    add_value,
    clear_channels,
    judge,
    project,
    store_jacobian,
)
from adjoint.backends.rows import ALL_END
from adjoint.backends.tile import Paths, differentiate_tile
from adjoint.stages import beam, crystal, detector, lattice, loss, pixel, structure, vec3
from adjoint.stages.records import Motions
from nbnumba.backends import tile as forward
from nbnumba.backends.compiler import STAGES, bind, driver, loop_jit, stage_jit
from nbnumba.backends.cpu import WORDS
from nbnumba.backends.kept import FASTMATH
from nbnumba.backends.tile import TILE, store, wanted
from nbnumba.stages.records import Scene

MIRRORS = (vec3, detector, beam, crystal, lattice, structure, pixel, loss)
LISTED, UNLISTED = (512, 2**14), (1, 2)
"""Steps that a tile's listing has room for, and places of its table to begin with, which double where they are not enough."""


def differentiate(results, starts, stops, columns, target, parameters, panel, beam, material, sources, crystal, structure,
                  orientations, sampling, motions, paths):  # fmt: skip
    """Add to the results, band by band, the rows from starts[band] to before stops[band]."""
    for band in prange(starts.size):
        tile, listing = np.zeros(ALL_END), new_listing(*(LISTED if paths.reflections else UNLISTED))
        count = results.normal.shape[1] if results.normal.size else parameters.projection.shape[0]
        by_parameter, used = np.empty(count * TILE), np.empty(count, np.int64)
        used[: parameters.place_of.size] = parameters.place_of
        for row in range(starts[band], stops[band]):
            for start in range(columns[0], columns[1], TILE):
                stop = min(start + TILE, columns[1])
                if wanted(target.mask, row, start, stop):
                    lost = 1
                    while lost:
                        differentiate_tile(tile, listing, row, start, panel, beam, material, sources, crystal, structure,
                                           orientations, sampling, motions, paths)  # fmt: skip
                        if results.channels.size == 0:
                            settle(listing)
                        lost = listing.count[2]
                        if lost:
                            clear_channels(tile, paths)
                            listing = new_listing(LISTED[0], 2 * listing.key.size)
                    if results.image.size:
                        store(results.image, target.mask, row, start, stop, tile)
                    add_value(results, band, judge(tile, row, start, stop, target))
                    if results.channels.size:
                        add_channels(results, band, tile, listing, paths)
                    else:
                        project(by_parameter, parameters.projection, tile)
                        if results.jacobian.size:
                            store_jacobian(results, row, start, stop, by_parameter, parameters, listing, tile)
                        if results.normal.size:
                            add_normal(results, band, by_parameter, used, parameters, listing, tile)
                        clear_channels(tile, paths)


def sum_jit(function):
    """Compile a sum whose order the compiler may choose."""
    return njit(function, error_model="numpy", forceinline=True, fastmath=FASTMATH | {"reassoc"})


@cache
def kernel():
    """The compiled driver in double precision."""
    bound = bind((*STAGES, *MIRRORS, rows), stage_jit, WORDS)
    bound = bind((reduction,), sum_jit, bound)
    bound = bind((forward,), loop_jit, bound)
    bound = bind((listings, lattices), stage_jit, bind((samples,), loop_jit, bound))
    return driver(differentiate, bind((tiles, pixels), stage_jit, bound), "double", parallel=True)


def run(
    results: Results,
    starts: np.ndarray,
    stops: np.ndarray,
    columns: tuple[int, int],
    target: Target,
    parameters: Parameters,
    scene: Scene,
    motions: Motions,
    paths: Paths,
) -> None:
    """Differentiate rows of an image, a range for each band, on as many threads as Numba is set to use."""
    kernel()(results, starts, stops, columns, target, parameters, *scene, motions, paths)
