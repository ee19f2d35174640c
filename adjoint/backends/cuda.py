"""The CUDA driver: a thread differentiates a pixel, a tile of one; then blocks sum over pixels in a fixed order (G4)."""

import math
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np
from numba import cuda

from adjoint.backends import cuda_amplitudes, cuda_reductions
from adjoint.backends.band_pieces import Part, parts_of
from adjoint.backends.precision import MIRRORS, mirror_words
from adjoint.loops import amplitude_table, cuda_lattices, cuda_tile, lattices, pixels, samples, tile_sums
from adjoint.loops import rows as row_names
from adjoint.loops import tile as tiles
from adjoint.loops.amplitude_table import AmplitudeTable
from adjoint.loops.pixels import Parameters, Results, Target, apply_loss, apply_loss_to_photons
from adjoint.loops.rows import ALL_END, CURVATURE, DATA, DERIVATIVE, ORIGIN, TOTAL_BAR, WIDTH
from adjoint.loops.tile import Paths, differentiate_tile
from adjoint.stages.records import Motions
from nbnumba.backends import card
from nbnumba.backends.binding import bind, stages, with_globals
from nbnumba.backends.compiling import once
from nbnumba.backends.cuda import THREADS, device_jit, kernel_jit, machine_words, of_one_pixel, pieces
from nbnumba.backends.cuda import workers as workers
from nbnumba.backends.pieces import Span
from nbnumba.backends.precision import PRECISIONS, in_type
from nbnumba.loops import cuda_stages, indices
from nbnumba.loops import cuda_tile as forward_cuda_tile
from nbnumba.loops import lattices as forward_lattices
from nbnumba.loops import rows as forward_rows
from nbnumba.loops import samples as forward_samples
from nbnumba.loops import tile as forward_tiles
from nbnumba.loops.cuda_lattices import is_simple
from nbnumba.loops.rows import TILE, TOTAL
from nbnumba.loops.tile import wanted
from nbnumba.stages import wide
from nbnumba.stages.records import Scene

MOST_BANDS = 1
"""All rows are summed together."""
CHUNK, CHUNK_LISTED = 2**18, 2**14
"""Pixels that are differentiated together, and where reflections are listed: whole rows, at least one."""
LISTED = 64
"""Reflections of a pixel that there is room for to begin with, twice; more where they are not enough."""
(
    BY_SUM, IMAGE, COUNTED, LOSS_OF, BY_PIXEL_SUM, BY_PHOTONS, CURVED, CHANNEL,
) = range(8)  # fmt: skip
"""The rows of a chunk (rows, pixels): what a pixel's derivatives are relative to, photons, photons of pixels that count, loss,
its derivative by the sum and by the photons, its curvature, and the first of those channels that are wanted."""


class Lists(NamedTuple):
    """The tables of the pixels of a chunk (amplitude_table.py): a row for each; of none (1, ...)."""

    key: np.ndarray
    value: np.ndarray
    filled: np.ndarray
    count: np.ndarray
    changed: np.ndarray


def differentiate(rows, lists, span, columns, target, panel, beam, material, sources, crystal, structure, orientations,
                  sampling, motions, paths):  # fmt: skip
    """Fill the rows of a chunk (rows, pixels): the pixels of image rows span[0] to before span[1], one by each thread."""
    at, across = cuda.grid(1), columns[1] - columns[0]
    row, fast = span[0] + at // across, columns[0] + at % across
    if row < span[1]:
        tile = cuda.local.array(ALL_END, wide)
        for n in range(ALL_END):
            tile[n] = wide(0)
        rows[LOSS_OF, at], rows[BY_PIXEL_SUM, at] = wide(0), wide(0)
        if wanted(target.mask, row, fast):
            own = at if paths.reflections else 0
            listed = AmplitudeTable(lists.key[own], lists.value[own], lists.filled[own], lists.count[own], lists.changed[own])
            differentiate_tile(tile, listed, row, fast, panel, beam, material, sources, crystal, structure, orientations,
                               sampling, motions, paths)  # fmt: skip
            rows[LOSS_OF, at] = apply_loss(tile, row, fast, fast + 1, target, paths)
            rows[BY_PIXEL_SUM, at] = tile[DERIVATIVE]
            apply_loss_to_photons(tile, target)
        rows[BY_SUM, at], rows[IMAGE, at] = tile[TOTAL_BAR], tile[TOTAL]
        rows[COUNTED, at] = tile[TOTAL] if tile[DATA] == tile[DATA] else wide(0)
        rows[BY_PHOTONS, at], rows[CURVED, at] = tile[DERIVATIVE], tile[CURVATURE]
        for n in range(paths.channels.size):
            rows[CHANNEL + n, at] = tile[paths.channels[n]]


def frexp(x):
    """Fraction and power of a number above 0, as numbers."""
    fraction, power = math.frexp(x)
    return wide(fraction), wide(power)


@once
def kernel(precision: str, simple: bool) -> Callable:
    """The compiled kernel in a precision, for simple scenes without derivatives by amplitudes, or for all."""
    before, instead = ((cuda_stages,), (cuda_lattices,)) if simple else ((), ())
    names = mirror_words(precision) | machine_words(precision) | one_pixel()
    names["frexp"] = device_jit(with_globals(frexp, {"math": math, "wide": PRECISIONS[precision].wide}, "frexp"))
    mirrors = (*MIRRORS, row_names, tile_sums, indices)
    forward = (forward_lattices, forward_samples, forward_tiles)
    loops = (samples, amplitude_table, *instead, lattices, cuda_tile, tiles, pixels)
    bound = bind([forward_cuda_tile, *before, *stages(precision), *mirrors, *forward, *loops], device_jit, names)
    return kernel_jit(differentiate, bound, f"differentiate_{precision}")


def one_pixel() -> dict:
    """The rows of a tile of one pixel, those among them that are counted without a sign, and the number of channels."""
    signed = of_one_pixel(vars(forward_rows)) | of_one_pixel(vars(row_names))
    unsigned = {name: np.uint64(at // TILE) for name, at in vars(row_names).items() if isinstance(at, np.uint64)}
    return signed | unsigned | {"WIDTH": WIDTH}


@once
def summing(precision: str) -> Callable:
    """The compiled sums in a precision."""
    return kernel_jit(cuda_reductions.sum_products, {"wide": PRECISIONS[precision].wide}, f"sum_products_{precision}")


@once
def projecting(precision: str) -> Callable:
    """The compiled projection in a precision."""
    return kernel_jit(cuda_reductions.project, {"wide": PRECISIONS[precision].wide}, f"project_{precision}")


class Call(NamedTuple):
    """What a call of `run` was given."""

    results: Results
    columns: tuple[int, int]
    target: Target
    parameters: Parameters
    scene: Scene
    motions: Motions
    paths: Paths
    precision: str
    given: tuple = ()

    @property
    def simple(self) -> bool:
        """Whether the kernel for simple scenes will do."""
        return is_simple(self.scene) and not self.paths.reflections

    @property
    def wanted(self) -> np.ndarray:
        """The channels that are wanted."""
        return (self.paths.channels.astype(np.int64) - ORIGIN) // TILE

    @property
    def across(self) -> int:
        """Pixels of a row."""
        return self.columns[1] - self.columns[0]

    @property
    def kind(self) -> type:
        """The type of the sums."""
        return PRECISIONS[self.precision].wide


def chains(edges: np.ndarray, columns: Span, steps: int, masked: bool) -> Iterator[Iterable[Part]]:
    """The only band, in parts of which each is some launches."""
    yield parts_of(0, pieces((int(edges[0]), int(edges[-1])), columns, steps))


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
    precision: str,
) -> None:
    """Differentiate rows of an image, a range for each band, on the card: cpu.py:run."""
    call = Call(results, columns, target, parameters, scene, motions, paths, precision)
    each = max(1, (CHUNK_LISTED if paths.reflections else CHUNK) // call.across)
    with card.at_work():
        call, places = call._replace(given=_on_card(call)), 2 * LISTED
        for band, (start, stop) in enumerate(zip(starts.tolist(), stops.tolist())):
            for first in range(start, stop, each):
                places = _chunk(call, band, (first, min(first + each, stop)), places)


def _chunk(call: Call, band: int, span: tuple[int, int], places: int) -> int:
    """Differentiate a chunk, whole rows of an image, and add it to the results of a band.

    places: of each table to begin with. Returns how many there had to be.
    """
    rows, lists = _differentiated(call, span, places)
    places = lists.key.shape[1]
    results, parameter_rows = call.results, CHANNEL + len(call.wanted)
    entries = cuda_amplitudes.entries(lists) if call.paths.reflections else None
    if results.image.size:
        results.image[slice(*span), slice(*call.columns)] = rows[IMAGE].copy_to_host().reshape(-1, call.across)
    results.value[band] += _summed(call, rows, [(LOSS_OF, cuda_reductions.NONE, cuda_reductions.NONE)])[0]
    if results.channels.size:
        _add_channels(call, band, rows, entries)
        return places
    if call.parameters.projection.size:
        projection = np.ascontiguousarray(call.parameters.projection[:, call.wanted], dtype=call.kind)
        grid = (card.blocks(rows.shape[1], THREADS), len(projection))
        there = card.upload("projection", projection)
        projecting(call.precision)[grid, THREADS](rows, parameter_rows, there, CHANNEL, BY_SUM)
    if results.jacobian.size:
        _store_jacobian(call, span, rows, entries)
    if results.normal.size:
        _add_normal(call, band, rows, entries)
    return places


def _differentiated(call: Call, span: tuple[int, int], places: int):
    """The rows of a chunk on the card, and its tables; those are made anew, larger, until no entry is lost."""
    pixel_count, fields = (span[1] - span[0]) * call.across, call.target.fields
    beside = len(call.wanted) + len(call.parameters.projection)
    rows = card.allocate("rows", (CHANNEL + beside + len(fields), pixel_count), call.kind)
    for n, field in enumerate(fields):
        part = np.ascontiguousarray(field[slice(*span), slice(*call.columns)], dtype=call.kind).ravel()
        rows[CHANNEL + beside + n].copy_to_device(part)
    compiled = kernel(call.precision, call.simple)
    lost, lists = True, None
    while lost:
        lists = None  # so that its memory is free
        lists = _lists(pixel_count if call.paths.reflections else 1, places, call.kind)
        compiled[card.blocks(pixel_count, THREADS), THREADS](rows, lists, span, call.columns, *call.given)
        lost = call.paths.reflections and lists.count.copy_to_host()[:, 1].any()
        places *= 2
    return rows, lists


def _on_card(call: Call) -> tuple:
    """The records that the kernel reads, their tables on the card: sent once for all chunks."""
    channels = (call.wanted + ORIGIN // TILE).astype(np.uint64)
    target = in_type(call.target._replace(fields=np.zeros((0, 0, 0))), call.kind)
    return (
        card.upload_record("target", target),
        *card.upload_records("scene", call.scene),
        card.upload_record("motions", motions_for(call.motions, call.precision, call.simple)),
        card.upload_record("paths", call.paths._replace(channels=channels)),
    )


def motions_for(motions: Motions, precision: str, simple: bool) -> Motions:
    """The motions in the types that a kernel reads: for simple scenes turns and spins in `real`, which they are used in."""
    real, wide_type, _ = PRECISIONS[precision]
    found = in_type(motions, wide_type)
    return in_type(found, real)._replace(source=found.source) if simple else found


def _lists(count: int, size: int, kind: type) -> Lists:
    """Empty tables of so many places each for so many pixels."""
    return Lists(
        card.upload_fresh("key", np.full((count, size), -1)),
        card.allocate("value", (count, size), kind),
        card.allocate("filled", (count, size), np.int64),
        card.upload_fresh("count", np.zeros((count, 2), dtype=np.int64)),
        card.allocate("changed", (count, 1), np.int64),
    )


def _summed(call, rows, factors) -> np.ndarray:
    return cuda_reductions.sum_rows(summing(call.precision), rows, factors, call.kind)


def _beside_rows(call) -> list[int]:
    """The rows of the photons and of the fields, which are what the scale and the fields move the image by."""
    if not call.results.beside.shape[1]:
        return []
    first = CHANNEL + len(call.wanted) + len(call.parameters.projection)
    return [COUNTED, *range(first, first + call.results.beside.shape[1] - 1)]


def _add_channels(call, band, rows, entries):
    """Add the channels, weighed by the derivative of the loss, to those of a band, and the same by amplitudes and beside."""
    weighed = [(CHANNEL + n, BY_PIXEL_SUM, cuda_reductions.NONE) for n in range(len(call.wanted))]
    beside = [(row, BY_PHOTONS, cuda_reductions.NONE) for row in _beside_rows(call)]
    found = _summed(call, rows, weighed + beside)
    call.results.channels[band, call.wanted] += found[: len(weighed)]
    call.results.beside[band] += found[len(weighed) :]
    if entries is not None:
        cuda_amplitudes.add_by_amplitude(call.results.by_amplitude[band], entries, rows[BY_PIXEL_SUM].copy_to_host())


def _store_jacobian(call, span, rows, entries):
    """Write the derivatives of every pixel of a chunk by every parameter."""
    first = CHANNEL + len(call.wanted)
    part = call.results.jacobian[slice(*span), slice(*call.columns)]
    for n, place in enumerate(call.parameters.place_of):
        part[:, :, place] = rows[first + n].copy_to_host().reshape(part.shape[:2])
    if entries is not None:
        cuda_amplitudes.store_jacobian(part, entries, call.parameters.column_of, rows[BY_SUM].copy_to_host())


def _add_normal(call, band, rows, entries):
    """Add J^T r and J^T W J of a chunk to those of a band."""
    results, first = call.results, CHANNEL + len(call.wanted)
    beside = _beside_rows(call)
    whole = results.normal.shape[1]
    taken = [*range(first, first + len(call.parameters.projection)), *beside]
    places = np.array([*call.parameters.place_of, *range(whole - len(beside), whole)], dtype=np.int64)
    results.gradient[band, places] += _summed(call, rows, [(row, BY_PHOTONS, cuda_reductions.NONE) for row in taken])
    pairs = [(a, b) for a in range(len(taken)) for b in range(a, len(taken))]
    found = _summed(call, rows, [(taken[a], taken[b], CURVED) for a, b in pairs])
    for (a, b), product in zip(pairs, found):
        results.normal[band, min(places[a], places[b]), max(places[a], places[b])] += product
    if entries is not None:
        columns = [np.stack([rows[row].copy_to_host() for row in taken]) if taken else np.zeros((0, rows.shape[1]))]
        weights = [rows[row].copy_to_host() for row in (BY_SUM, BY_PHOTONS, CURVED)]
        given = (entries, call.parameters.column_of, *columns, places, *weights)
        cuda_amplitudes.add_normal(results.gradient[band], results.normal[band], *given)
