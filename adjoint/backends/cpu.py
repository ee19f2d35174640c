"""The CPU driver: it differentiates bands of rows in parallel.

A band is a fixed range of rows with sums of its own, in a fixed order. So no result depends on the number of threads.
"""

from collections.abc import Iterable, Iterator

import numpy as np
from numba import vectorize

from adjoint.backends.band_pieces import Inputs, Part, parts_of
from adjoint.backends.frexp import frexp
from adjoint.backends.precision import MIRRORS, mirror_words
from adjoint.backends.prefetch import prefetch
from adjoint.backends.sharing import loop_over, runner
from adjoint.loops import amplitude_table, bands, lattices, pixels, rows, samples, tile_sums
from adjoint.loops import tile as tiles
from adjoint.loops.bands import SEGMENT_COLUMNS, differentiate_band
from adjoint.loops.pixels import Results
from adjoint.stages import loss
from nbnumba.backends import threads
from nbnumba.backends.binding import bind, culling_words, driver, loop_jit, part, stage_jit, stages
from nbnumba.backends.compiling import FASTMATH, thread_safe_cache, with_globals
from nbnumba.backends.cpu import FEWEST_STEPS, STEPS_PER_CALL, machine_words
from nbnumba.backends.cpu import workers as own_threads
from nbnumba.backends.pieces import PER_PIXEL, Span, spans, steps_per_piece
from nbnumba.backends.precision import PRECISIONS, in_type, words
from nbnumba.loops import blocks as forward_blocks
from nbnumba.loops import indices, interpolation, lit, memory
from nbnumba.loops import lattices as forward_lattices
from nbnumba.loops import patches as forward_patches
from nbnumba.loops import samples as forward_samples
from nbnumba.loops import tile as forward_tiles
from nbnumba.loops.patches import is_culled
from nbnumba.loops.rows import TILE

MOST_BANDS = 256
"""The largest number of bands of an image."""
DEARER = 2
"""A step of a derivative takes about as long as this number of steps of an image."""
WORDS = machine_words() | {"frexp": frexp, "prefetch": prefetch}
MAKERS = {"new_amplitude_table", "new_rows", "differentiate_band"}
"""The functions of the loops that make arrays, or replace one by another."""


def differentiate(run, results, starts, stops, columns, pixel_loss, projection, panel, beam, material, sources, crystal,
                  structure, orientations, sampling, motions, paths):  # fmt: skip
    """Add to the results of each band the rows of the image from starts[band] to before stops[band].

    run: who does it (sharing.py).
    """
    scene = (panel, beam, material, sources, crystal, structure, orientations, sampling)
    if not loop(run, starts.size, (starts, stops, columns, results, pixel_loss, projection, *scene, motions, paths)):
        raise MemoryError


def one_band(band, starts, stops, columns, results, pixel_loss, projection, panel, beam, material, sources, crystal, structure,
             orientations, sampling, motions, paths):  # fmt: skip
    """Add the rows of one band to its results."""
    differentiate_band(band, starts[band], stops[band], columns, results, pixel_loss, projection, panel, beam, material,
                       sources, crystal, structure, orientations, sampling, motions, paths)  # fmt: skip


def loop(run, count, arguments):
    """Do each of the bands; returns whether all have come to their end. Compiled it is what loop_over makes."""
    for band in range(count):
        one_band(band, *arguments)
    return True


def sum_jit(function):
    """Compile a sum. The compiler may choose its order."""
    return part(function, FASTMATH | {"reassoc"})


def own_jit(function):
    """Compile a function of the derivative's loops over lattices, to be inlined; those of MAKERS with what arrays need."""
    return _own(function, forceinline=True)


def called_jit(function):
    """Compile a function that is called for a pass, a tile or a band. Inlined into each other they compile twice as long."""
    return _own(function, forceinline=False)


def _own(function, forceinline: bool):
    makes = function.__name__ in MAKERS
    return part(function, forceinline=forceinline and not makes, memory=makes)


@thread_safe_cache
def loss_of_pixels():
    """The loss of a pixel, compiled as a function of arrays."""
    return vectorize(bind((loss,), stage_jit, WORDS | words("double"))["loss_value"].py_func)


@thread_safe_cache
def kernel(precision: str, culled: bool):
    """The compiled driver in a precision, for scenes that are culled or not. It needs Numba, whose memory it takes."""

    def names() -> dict:
        own_words = WORDS | mirror_words(precision) | culling_words(culled)
        bound = bind((*stages(precision), *MIRRORS, rows, memory, indices, interpolation), stage_jit, own_words)
        bound = bind((tile_sums,), sum_jit, bound)
        bound = bind((forward_lattices, forward_samples, forward_blocks), loop_jit, bound)
        bound = bind((forward_tiles,), loop_jit, bind((forward_patches, lit), stage_jit, bound))
        bound = bind((samples,), loop_jit, bind((amplitude_table, lattices), own_jit, bound))
        bound = bind((tiles, pixels, bands), called_jit, bound)
        return bound | {"loop": loop_over(own_jit(with_globals(one_band, one_band.__globals__ | bound, one_band.__name__)))}

    return driver(differentiate, names, precision, culled, memory=True).dispatcher()


def by_numba(alone: bool) -> bool:
    """Whether Numba's threads compute the bands of a part together: they do where the image has one panel."""
    return alone and threads.numba_threads_available()


def workers(steps: int, alone: bool) -> int:
    """The number of Python threads to start for so many steps. alone: whether the image has one panel.

    With Numba's threads: 1, which calls the kernel while the caller waits and can be interrupted. Without them: one per core.
    0: the caller computes itself, because the work is short.
    """
    if by_numba(alone):
        return 1 if steps > STEPS_PER_CALL else 0
    return own_threads(steps)


def chains(
    edges: np.ndarray, columns: Span, steps: int, masked: bool, culled: bool, alone: bool
) -> Iterator[Iterable[Part]]:
    """The chains of parts that threads work on: a thread takes a chain, and differentiates its parts in their order.

    edges: the rows at which bands begin, and the end. steps: those of a pixel. alone: whether the image has one panel. A part
    has some bands, and for each of them a range of rows and of columns. For Numba's threads there is one chain of all bands;
    for our own threads there is a chain for each band, or for some bands together. Columns are divided where a tile ends in any
    strip of rows, of a scene that is culled where a segment ends, and not at all under a mask: which pixels share a tile must
    not depend on the parts.
    """
    edge = 0 if masked else SEGMENT_COLUMNS if culled else TILE
    steps, rows, bands = DEARER * steps, int(edges[-1] - edges[0]), len(edges) - 1
    if by_numba(alone):
        yield _parts(edges, columns, steps, edge)
        return
    all_steps = rows * (columns[1] - columns[0]) * steps
    most = steps_per_piece(all_steps, workers(all_steps, alone), FEWEST_STEPS, STEPS_PER_CALL)
    pixels = -(-rows // bands) * (columns[1] - columns[0])
    together = max(1, most // (pixels * (steps + PER_PIXEL)))
    for first in range(0, bands, together):
        last = min(first + together, bands)
        if last > first + 1:
            yield [Part(slice(first, last), edges[first:last], edges[first + 1 : last + 1], columns)]
        else:
            yield parts_of(first, spans((int(edges[first]), int(edges[last])), columns, steps, most, edge=edge))


def _parts(edges: np.ndarray, columns: Span, steps: int, edge: int) -> Iterator[Part]:
    """Parts with some rows of each of several bands, or with tiles of one row of each: enough for all of Numba's threads."""
    most, fewest, bands = STEPS_PER_CALL * threads.thread_count(), threads.thread_count(), len(edges) - 1
    rows, per_row = -(-int(edges[-1] - edges[0]) // bands), (columns[1] - columns[0]) * (steps + PER_PIXEL)
    together = min(bands, max(fewest, most // (rows * per_row)))
    for first in range(0, bands, together):
        some_bands = slice(first, min(first + together, bands))
        starts, ends = edges[some_bands], edges[some_bands.start + 1 : some_bands.stop + 1]
        for (above, below), across in spans((0, int((ends - starts).max())), columns, steps, most // together, edge=edge):
            yield Part(some_bands, np.minimum(starts + above, ends), np.minimum(starts + below, ends), across)


def run(results: Results, part: Part, inputs: Inputs) -> None:
    """Differentiate a part of an image, without Python's lock, and add it to the results of its bands."""
    pixel_loss, projection, scene, motions, paths, precision, alone = inputs
    cast_motions, parallel = in_type(motions, PRECISIONS[precision].wide), by_numba(alone)
    with threads.numba_threads(parallel):
        records = (pixel_loss, projection, *scene, cast_motions, paths)
        run_bands = runner() if parallel else 0
        kernel(precision, is_culled(scene))(run_bands, results, part.starts, part.stops, part.columns, *records)
