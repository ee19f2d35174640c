"""The CPU driver: bands of rows in parallel.

A band is a fixed range of rows, summed by itself in one order, so that no result depends on the number of threads.
"""

from functools import cache

import numpy as np
from numba import njit, prange, vectorize

from adjoint.backends import bands, lattices, pixels, reduction, rows, samples
from adjoint.backends import listing as listings
from adjoint.backends import tile as tiles
from adjoint.backends.bands import differentiate_band
from adjoint.backends.bits import frexp
from adjoint.backends.borrowed import borrowed
from adjoint.backends.pixels import Parameters, Results, Target
from adjoint.backends.tile import Paths
from adjoint.stages import beam, crystal, detector, lattice, loss, pixel, structure, vec3
from adjoint.stages.records import Motions
from nbnumba.backends import tile as forward
from nbnumba.backends.compiler import STAGES, bind, driver, loop_jit, stage_jit
from nbnumba.backends.cpu import WORDS as FORWARD_WORDS
from nbnumba.backends.kept import FASTMATH
from nbnumba.stages.records import Scene

MIRRORS = (vec3, detector, beam, crystal, lattice, structure, pixel, loss)
WORDS = FORWARD_WORDS | {"frexp": frexp}


def differentiate(results, starts, stops, columns, target, parameters, panel, beam, material, sources, crystal, structure,
                  orientations, sampling, motions, paths):  # fmt: skip
    """Add to the results, band by band, the rows from starts[band] to before stops[band]."""
    for band in prange(starts.size):
        lent = borrowed((results, target, parameters, panel, beam, material, sources, crystal, structure, orientations,
                         sampling, motions, paths))  # fmt: skip
        differentiate_band(band, starts[band], stops[band], columns, *lent)


def sum_jit(function):
    """Compile a sum whose order the compiler may choose."""
    return njit(function, error_model="numpy", forceinline=True, fastmath=FASTMATH | {"reassoc"})


@cache
def value_of_each():
    """The loss of a pixel, compiled to go over arrays."""
    return vectorize(bind((loss,), stage_jit, WORDS)["loss_value"].py_func)


@cache
def kernel():
    """The compiled driver in double precision."""
    bound = bind((*STAGES, *MIRRORS, rows), stage_jit, WORDS)
    bound = bind((reduction,), sum_jit, bound)
    bound = bind((forward,), loop_jit, bound)
    bound = bind((listings, lattices), stage_jit, bind((samples,), loop_jit, bound))
    return driver(differentiate, bind((tiles, pixels, bands), stage_jit, bound), "double", parallel=True)


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
