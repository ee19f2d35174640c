"""The CPU driver: bands of rows in parallel, tile by tile, and the sums over them.

A band is a fixed range of rows, summed by itself in one order, so that no result depends on the number of threads.
"""

from functools import cache

import numpy as np
from numba import njit, prange

from adjoint.backends import listing as listings
from adjoint.backends import pixels, reduction, rows
from adjoint.backends import tile as tiles
from adjoint.backends.listing import new_listing
from adjoint.backends.pixels import Parameters, Results, Target, add_channels, add_normal, judge, project, store_jacobian
from adjoint.backends.rows import SIZE
from adjoint.backends.tile import Paths, differentiate_tile
from adjoint.stages.records import Motions
from adjoint.stages import beam, crystal, detector, lattice, loss, pixel, structure, vec3
from nbnumba.backends import tile as forward
from nbnumba.backends.compiler import STAGES, bind, driver, loop_jit, stage_jit
from nbnumba.backends.cpu import WORDS
from nbnumba.backends.kept import FASTMATH
from nbnumba.backends.tile import TILE, new_tile, store, wanted
from nbnumba.stages.records import Scene


MIRRORS = (vec3, detector, beam, crystal, lattice, structure, pixel, loss)
FIRST_SIZE = 2**14
"""Places of a tile's listing to begin with; they double where they are not enough."""


def differentiate(results, edges, columns, target, parameters, panel, beam, material, sources, crystal, structure,
                  orientations, sampling, motions, paths):  # fmt: skip
    """Fill the results for the rows from edges[band] to before edges[band + 1] of every band."""
    for band in prange(edges.size - 1):
        tile, g, listing = new_tile(), np.empty(SIZE), new_listing(FIRST_SIZE if paths.reflections else 1)
        count = results.normal.shape[1] if results.normal.size else parameters.projection.shape[0]
        by_parameter, used = np.empty(count * TILE), np.empty(count, np.int64)
        used[: parameters.place_of.size] = parameters.place_of
        for row in range(edges[band], edges[band + 1]):
            for start in range(columns[0], columns[1], TILE):
                stop = min(start + TILE, columns[1])
                if wanted(target.mask, row, start, stop):
                    lost = 1
                    while lost:
                        differentiate_tile(tile, g, listing, row, start, panel, beam, material, sources, crystal, structure,
                                           orientations, sampling, motions, paths)  # fmt: skip
                        lost = listing.count[1]
                        listing = new_listing(2 * listing.key.size) if lost else listing
                    store(results.image, target.mask, row, start, stop, tile.total)
                    judge(tile, g, row, start, stop, target)
                    if results.channels.size:
                        add_channels(results, band, g, listing)
                    if results.jacobian.size or results.normal.size:
                        project(by_parameter, parameters.projection, g)
                    if results.jacobian.size:
                        store_jacobian(results, row, start, stop, by_parameter, parameters, listing, g)
                    if results.normal.size:
                        add_normal(results, band, by_parameter, used, parameters, listing, g)


def sum_jit(function):
    """Compile a sum whose order the compiler may choose."""
    return njit(function, error_model="numpy", fastmath=FASTMATH | {"reassoc"})


@cache
def kernel():
    """The compiled driver in double precision."""
    bound = bind((*STAGES, *MIRRORS, rows), stage_jit, WORDS)
    bound = bind((reduction,), sum_jit, bound)
    return driver(differentiate, bind((forward, listings, tiles, pixels), loop_jit, bound), "double", parallel=True)


def run(
    results: Results,
    edges: np.ndarray,
    columns: tuple[int, int],
    target: Target,
    parameters: Parameters,
    scene: Scene,
    motions: Motions,
    paths: Paths,
) -> None:
    """Differentiate bands of an image, on as many threads as Numba is set to use."""
    kernel()(results, edges, columns, target, parameters, *scene, motions, paths)
