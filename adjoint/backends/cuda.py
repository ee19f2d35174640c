"""The CUDA driver: each thread differentiates one pixel, then blocks of threads sum over pixels in a fixed order (G4)."""

import math
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np
from numba import cuda

from adjoint.backends import cuda_amplitudes, cuda_reductions
from adjoint.backends.band_pieces import Inputs, Part, parts_of
from adjoint.backends.precision import MIRRORS, mirror_words
from adjoint.loops import (
    amplitude_table,
    cuda_interpolation,
    cuda_lattices,
    cuda_stages,
    cuda_tile,
    lattices,
    pixels,
    samples,
    tile_sums,
)
from adjoint.loops import rows as row_names
from adjoint.loops import tile as tiles
from adjoint.loops.amplitude_table import AmplitudeTable
from adjoint.loops.pixels import PixelLoss, Projection, Results, apply_loss, apply_loss_to_photons
from adjoint.loops.rows import ALL_END, CURVATURE, DATA, DERIVATIVE, LATTICE_ANGLE_COUNT, ORIGIN, TOTAL_BAR, WIDTH
from adjoint.loops.tile import Paths, differentiate_tile
from adjoint.stages.records import Motions
from nbnumba.backends import card
from nbnumba.backends.binding import bind, stages, with_globals
from nbnumba.backends.compiling import thread_safe_cache
from nbnumba.backends.cuda import device_jit, kernel_jit, kind_of_scene, machine_words, one_patch, one_pixel_rows, pieces
from nbnumba.backends.pieces import Span
from nbnumba.backends.precision import PRECISIONS, in_type
from nbnumba.loops import blocks as pixel_blocks
from nbnumba.loops import cuda_interpolation as forward_cuda_interpolation
from nbnumba.loops import cuda_stages as forward_cuda_stages
from nbnumba.loops import indices, interpolation
from nbnumba.loops import lattices as forward_lattices
from nbnumba.loops import patches as forward_patches
from nbnumba.loops import rows as forward_rows
from nbnumba.loops import samples as forward_samples
from nbnumba.loops import tile as forward_tiles
from nbnumba.loops.blocks import wanted
from nbnumba.loops.cuda_lattices import is_simple
from nbnumba.loops.indices import set_pixel
from nbnumba.loops.patches import is_culled
from nbnumba.loops.rows import TILE, TOTAL
from nbnumba.stages import wide
from nbnumba.stages.records import Scene

THREADS = 128
"""The number of threads of a block. Their pixels are neighbours along the fast axis."""
MOST_BANDS = 1
"""The number of bands: all rows are summed together."""
CHUNK, CHUNK_WITH_AMPLITUDES = 2**18, 2**14
"""The largest number of pixels of a chunk, without derivatives by amplitudes and with them. A chunk has at least one row."""
REFLECTIONS = 64
"""The first size of a pixel's amplitude table is twice this number. It is doubled until no entry is lost."""
(
    BY_SUM, IMAGE, COUNTED, LOSS_OF, BY_PIXEL_SUM, BY_PHOTONS, CURVED, CHANNEL,
) = range(8)  # fmt: skip
"""The rows of a chunk (rows, pixels): the derivative of the photons by the pixel's sum; photons; photons of the pixels that
count; loss; its derivative by the pixel's sum; its derivative by the photons; its curvature; the first wanted channel."""


class AmplitudeTables(NamedTuple):
    """The amplitude tables (amplitude_table.py) of the pixels of a chunk, a row for each, or one row if they are not used."""

    key: np.ndarray
    value: np.ndarray
    filled: np.ndarray
    count: np.ndarray
    changed: np.ndarray


def differentiate(rows, tables, span, columns, pixel_loss, panel, beam, material, sources, crystal, structure, orientations,
                  sampling, motions, paths):  # fmt: skip
    """Fill the rows of a chunk (rows, pixels): of the image rows from span[0] to before span[1]. A thread fills one pixel."""
    pixel, width = cuda.grid(1), columns[1] - columns[0]
    row, fast = span[0] + pixel // width, columns[0] + pixel % width
    if row < span[1]:
        tile = cuda.local.array(ALL_END, wide)
        for n in range(ALL_END):
            tile[n] = wide(0)
        rows[LOSS_OF, pixel], rows[BY_PIXEL_SUM, pixel] = wide(0), wide(0)
        if wanted(pixel_loss.mask, row, fast):
            n = pixel if paths.reflections or paths.weights else 0
            table = AmplitudeTable(tables.key[n], tables.value[n], tables.filled[n], tables.count[n], tables.changed[n])
            set_pixel(tile, 0, row, fast)
            differentiate_tile(tile, table, panel, beam, material, sources, crystal, structure, orientations, sampling,
                               motions, paths)  # fmt: skip
            rows[LOSS_OF, pixel] = apply_loss(tile, 1, pixel_loss, paths)
            rows[BY_PIXEL_SUM, pixel] = tile[DERIVATIVE]
            apply_loss_to_photons(tile, pixel_loss)
        rows[BY_SUM, pixel], rows[IMAGE, pixel] = tile[TOTAL_BAR], tile[TOTAL]
        rows[COUNTED, pixel] = tile[TOTAL] if tile[DATA] == tile[DATA] else wide(0)
        rows[BY_PHOTONS, pixel], rows[CURVED, pixel] = tile[DERIVATIVE], tile[CURVATURE]
        for n in range(paths.channels.size):
            rows[CHANNEL + n, pixel] = tile[paths.channels[n]]


def frexp(x):
    """Fraction and exponent of a number above 0, both as real numbers."""
    fraction, exponent = math.frexp(x)
    return wide(fraction), wide(exponent)


@thread_safe_cache
def kernel(precision: str, simple: bool, culled: bool = False, by_energy: bool = False) -> Callable:
    """The compiled kernel in a precision: for simple scenes without derivatives by amplitudes, for all others, or for those
    that are culled. by_energy: whether amplitudes are of several photon energies."""
    before, instead = ((forward_cuda_stages, cuda_stages), (cuda_lattices,)) if simple else ((), ())
    names = mirror_words(precision) | machine_words(precision) | one_pixel_names() | one_patch(culled, by_energy)
    names["frexp"] = device_jit(with_globals(frexp, {"math": math, "wide": PRECISIONS[precision].wide}, "frexp"))
    names |= {} if card.SIMULATED else {"device": cuda}
    mirrors = (*MIRRORS, row_names, tile_sums, indices, forward_cuda_interpolation, interpolation)
    forward = (forward_lattices, pixel_blocks, forward_patches, forward_samples, forward_tiles)
    loops = (samples, amplitude_table, cuda_interpolation, *instead, lattices, cuda_tile, tiles, pixels)
    bound = bind([*before, *stages(precision), *mirrors, *forward, *loops], device_jit, names)
    names = bound | {"wanted": device_jit(wanted)}
    return kernel_jit(differentiate, names, f"differentiate_{precision}{kind_of_scene(culled, by_energy)}")


def one_pixel_names() -> dict:
    """The rows of a tile of one pixel, some of which are unsigned integers, and the number of channels."""
    signed = one_pixel_rows(vars(forward_rows)) | one_pixel_rows(vars(row_names))
    unsigned = {name: np.uint64(row // TILE) for name, row in vars(row_names).items() if isinstance(row, np.uint64)}
    return signed | unsigned | {"WIDTH": WIDTH, "LATTICE_ANGLE_COUNT": LATTICE_ANGLE_COUNT}


@thread_safe_cache
def sum_products_kernel(precision: str) -> Callable:
    """The compiled kernel sum_products in a precision."""
    return kernel_jit(cuda_reductions.sum_products, {"wide": PRECISIONS[precision].wide}, f"sum_products_{precision}")


@thread_safe_cache
def project_kernel(precision: str) -> Callable:
    """The compiled kernel project in a precision."""
    return kernel_jit(cuda_reductions.project, {"wide": PRECISIONS[precision].wide}, f"project_{precision}")


class Call(NamedTuple):
    """The arguments of a call of `run`; records: those that the kernel reads, with their tables on the card."""

    results: Results
    columns: tuple[int, int]
    pixel_loss: PixelLoss
    projection: Projection
    scene: Scene
    motions: Motions
    paths: Paths
    precision: str
    alone: bool
    records: tuple = ()

    @property
    def simple(self) -> bool:
        """Whether the kernel for simple scenes suffices."""
        stretched = self.paths.cell_spreads or self.motions.stretches.shape[0] > 1
        return is_simple(self.scene) and not self.has_tables and not stretched

    @property
    def has_tables(self) -> bool:
        """Whether derivatives by amplitudes, or by weights of sources, are wanted, which are in amplitude tables."""
        return self.paths.reflections or self.paths.weights

    @property
    def channels(self) -> np.ndarray:
        """The numbers of the wanted channels."""
        return (self.paths.channels.astype(np.int64) - ORIGIN) // TILE

    @property
    def width(self) -> int:
        """The number of pixels of a row."""
        return self.columns[1] - self.columns[0]

    @property
    def kind(self) -> type:
        """The type of the rows of a chunk."""
        return PRECISIONS[self.precision].wide


def workers(steps: int, alone: bool) -> int:
    """The number of threads besides the calling one: none, because a kernel is parallel itself."""
    return 0


def chains(
    edges: np.ndarray, columns: Span, steps: int, masked: bool, culled: bool, alone: bool
) -> Iterator[Iterable[Part]]:
    """The only band, as one chain of parts, each of some rows."""
    yield parts_of(0, pieces((int(edges[0]), int(edges[-1])), columns, steps))


def run(results: Results, part: Part, inputs: Inputs) -> None:
    """Differentiate a part of an image on the card, and add it to the results of its bands, as cpu.py:run."""
    call = Call(results, part.columns, *inputs)
    chunk_rows = max(1, (CHUNK_WITH_AMPLITUDES if call.has_tables else CHUNK) // call.width)
    with card.at_work():
        call, table_size = call._replace(records=_upload(call)), 2 * REFLECTIONS
        for band, (start, stop) in enumerate(zip(part.starts.tolist(), part.stops.tolist())):
            for first in range(start, stop, chunk_rows):
                table_size = _add_chunk(call, band, (first, min(first + chunk_rows, stop)), table_size)


def _add_chunk(call: Call, band: int, span: tuple[int, int], table_size: int) -> int:
    """Differentiate a chunk, whole rows of an image, and add it to the results of a band.

    table_size: the first size of each amplitude table. Returns the size with which no entry was lost.
    """
    rows, tables = _differentiate_chunk(call, span, table_size)
    table_size = tables.key.shape[1]
    results, parameter_rows = call.results, CHANNEL + len(call.channels)
    entries = cuda_amplitudes.entries(tables) if call.has_tables else None
    if results.image.size:
        results.image[slice(*span), slice(*call.columns)] = rows[IMAGE].copy_to_host().reshape(-1, call.width)
    results.value[band] += _sum_products(call, rows, [(LOSS_OF, cuda_reductions.NONE, cuda_reductions.NONE)])[0]
    if results.channels.size:
        _add_channels(call, band, rows, entries)
        return table_size
    if call.projection.matrix.size:
        matrix = np.ascontiguousarray(call.projection.matrix[:, call.channels], dtype=call.kind)
        grid = (card.blocks(rows.shape[1], THREADS), len(matrix))
        matrix_on_card = card.upload("projection", matrix)
        project_kernel(call.precision)[grid, THREADS](rows, parameter_rows, matrix_on_card, CHANNEL, BY_SUM)
    if results.jacobian.size:
        _store_jacobian(call, span, rows, entries)
    if results.normal.size:
        _add_normal(call, band, rows, entries)
    return table_size


def _differentiate_chunk(call: Call, span: tuple[int, int], table_size: int):
    """The rows and the amplitude tables of a chunk, on the card. It is repeated with larger tables until no entry is lost."""
    pixel_count, background_terms = (span[1] - span[0]) * call.width, call.pixel_loss.background_terms
    first = _first_background_row(call)
    rows = card.allocate("rows", (first + len(background_terms), pixel_count), call.kind)
    for n, term in enumerate(background_terms):
        pixels_of_term = np.ascontiguousarray(term[slice(*span), slice(*call.columns)], dtype=call.kind).ravel()
        rows[first + n].copy_to_device(pixels_of_term)
    compiled = kernel(call.precision, call.simple, is_culled(call.scene), forward_lattices.is_by_energy(call.scene))
    lost, tables = True, None
    while lost:
        tables = None  # their memory is free for the new ones
        tables = _empty_tables(pixel_count if call.has_tables else 1, table_size, call.kind)
        compiled[card.blocks(pixel_count, THREADS), THREADS](rows, tables, span, call.columns, *call.records)
        lost = call.has_tables and tables.count.copy_to_host()[:, 1].any()
        table_size *= 2
    return rows, tables


def _first_background_row(call: Call) -> int:
    """The row of the first background term in a chunk: it follows those of the channels and of the parameters."""
    return CHANNEL + len(call.channels) + len(call.projection.matrix)


def _upload(call: Call) -> tuple:
    """The records that the kernel reads, with their tables on the card, for all chunks."""
    channels = (call.channels + ORIGIN // TILE).astype(np.uint64)
    pixel_loss = in_type(call.pixel_loss._replace(background_terms=np.zeros((0, 0, 0))), call.kind)
    return (
        card.upload_record("pixel_loss", pixel_loss),
        *card.upload_records("scene", call.scene),
        card.upload_record("motions", motions_for(call.motions, call.precision, call.simple)),
        card.upload_record("paths", call.paths._replace(channels=channels)),
    )


def motions_for(motions: Motions, precision: str, simple: bool) -> Motions:
    """The motions in the types that a kernel reads: `wide`, but for simple scenes rotations and their rates in `real`."""
    real, wide_type, _ = PRECISIONS[precision]
    motions = in_type(motions, wide_type)
    return in_type(motions, real)._replace(source=motions.source) if simple else motions


def _empty_tables(count: int, size: int, kind: type) -> AmplitudeTables:
    """Empty amplitude tables of that size, for that number of pixels."""
    return AmplitudeTables(
        card.upload_fresh("key", np.full((count, size), -1)),
        card.allocate("value", (count, size), kind),
        card.allocate("filled", (count, size), np.int64),
        card.upload_fresh("count", np.zeros((count, 2), dtype=np.int64)),
        card.allocate("changed", (count, 1), np.int64),
    )


def _sum_products(call, rows, factors) -> np.ndarray:
    """The sums over the pixels of a chunk of the products of rows (n,)."""
    return cuda_reductions.sum_rows(sum_products_kernel(call.precision), rows, factors, call.kind)


def _image_term_rows(call) -> list[int]:
    """The rows of the photons and of the background terms, if derivatives by their factors are wanted."""
    if not call.results.image_terms.shape[1]:
        return []
    first = _first_background_row(call)
    return [COUNTED, *range(first, first + call.results.image_terms.shape[1] - 1)]


def _add_channels(call, band, rows, entries):
    """Add the derivatives of the loss by channels, by image terms and by amplitudes to those of a band."""
    by_channel = [(CHANNEL + n, BY_PIXEL_SUM, cuda_reductions.NONE) for n in range(len(call.channels))]
    by_image_term = [(row, BY_PHOTONS, cuda_reductions.NONE) for row in _image_term_rows(call)]
    sums = _sum_products(call, rows, by_channel + by_image_term)
    call.results.channels[band, call.channels] += sums[: len(by_channel)]
    call.results.image_terms[band] += sums[len(by_channel) :]
    if entries is not None:
        cuda_amplitudes.add_by_amplitude(call.results.by_amplitude[band], entries, rows[BY_PIXEL_SUM].copy_to_host())


def _store_jacobian(call, span, rows, entries):
    """Write the derivatives of the photons of the pixels of a chunk by every parameter."""
    first = CHANNEL + len(call.channels)
    jacobian = call.results.jacobian[slice(*span), slice(*call.columns)]
    for n, column in enumerate(call.projection.column_of_row):
        jacobian[:, :, column] = rows[first + n].copy_to_host().reshape(jacobian.shape[:2])
    if entries is not None:
        cuda_amplitudes.store_jacobian(jacobian, entries, call.projection.column_of_amplitude, rows[BY_SUM].copy_to_host())


def _add_normal(call, band, rows, entries):
    """Add J^T r and J^T W J of a chunk to those of a band."""
    results, first = call.results, CHANNEL + len(call.channels)
    image_term_rows, count = _image_term_rows(call), results.normal.shape[1]
    dense_rows = [*range(first, first + len(call.projection.matrix)), *image_term_rows]
    columns = np.array([*call.projection.column_of_row, *range(count - len(image_term_rows), count)], dtype=np.int64)
    by_photons = [(row, BY_PHOTONS, cuda_reductions.NONE) for row in dense_rows]
    results.gradient[band, columns] += _sum_products(call, rows, by_photons)
    pairs = [(a, b) for a in range(len(dense_rows)) for b in range(a, len(dense_rows))]
    sums = _sum_products(call, rows, [(dense_rows[a], dense_rows[b], CURVED) for a, b in pairs])
    for (a, b), product in zip(pairs, sums):
        results.normal[band, min(columns[a], columns[b]), max(columns[a], columns[b])] += product
    if entries is not None:
        host_rows = [rows[row].copy_to_host() for row in dense_rows]
        dense = np.stack(host_rows) if dense_rows else np.zeros((0, rows.shape[1]))
        by_sum, derivative, curvature = (rows[row].copy_to_host() for row in (BY_SUM, BY_PHOTONS, CURVED))
        cuda_amplitudes.add_normal(
            results.gradient[band],
            results.normal[band],
            entries,
            column_of_amplitude=call.projection.column_of_amplitude,
            dense=dense,
            dense_columns=columns,
            by_sum=by_sum,
            derivative=derivative,
            curvature=curvature,
        )
