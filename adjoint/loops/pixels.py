"""The loss of the pixels of a tile, the projection of their derivatives on parameters, and the sums of a band."""

from typing import NamedTuple

import numpy as np

from adjoint.loops.amplitude_table import add_by_amplitude, entry_of
from adjoint.loops.rows import CURVATURE, DATA, DERIVATIVE, LANES, LOSS, LOSS_WEIGHT, ORIGIN, TOTAL_BAR, WIDTH
from adjoint.loops.tile_sums import lane_dot, lane_dot_weighed, lane_sum
from adjoint.stages.loss import loss_curvature, loss_derivative, loss_value
from nbnumba.loops.blocks import BLOCK_FAST, BLOCK_SLOW, PATCH, place
from nbnumba.loops.indices import fast_of, slow_of
from nbnumba.loops.lit import lit_lane
from nbnumba.loops.rows import TILE, TOTAL
from nbnumba.stages import real


class PixelLoss(NamedTuple):
    """The kind of a loss, and its data and weight for every pixel (slow, fast) (A13). A pixel whose data are NaN is left out.

    mask (slow, fast) uint8, or (0, 0) for none: the pixels that are rendered. background_terms (terms, slow, fast): terms that
    are added to the image, each times a factor that is not a parameter of the experiment (A13a).
    """

    mask: np.ndarray
    kind: int
    data: np.ndarray
    weight: np.ndarray
    background_terms: np.ndarray


class Results(NamedTuple):
    """The image, and the sums of each band of rows. An array that is empty is not computed.

    image (slow, fast): photons. value (bands,): the loss; channels (bands, channels) and by_amplitude (bands, amplitudes): its
    derivative. image_terms (bands, 1 + terms): the derivative of the loss by a factor of the photons and by the factors of the
    background terms. jacobian (slow, fast, parameters): the derivative of the photons. gradient (bands, parameters): J^T r.
    normal (bands, parameters, parameters): the upper triangle of J^T W J. In gradient and normal the image terms, if there are
    any, follow the parameters.
    """

    image: np.ndarray
    value: np.ndarray
    channels: np.ndarray
    by_amplitude: np.ndarray
    jacobian: np.ndarray
    image_terms: np.ndarray
    gradient: np.ndarray
    normal: np.ndarray


class Projection(NamedTuple):
    """How the derivatives by parameters follow from those by channels and by amplitudes (A0).

    matrix (rows, channels): the derivative of the quantity of the scene that a channel belongs to, by a parameter that is not
    an amplitude; each parameter has a row. column_of_row (rows,): the column of each of these parameters in the Jacobian.
    column_of_amplitude (amplitudes,): the column of each amplitude in the Jacobian, or -1.
    """

    matrix: np.ndarray
    column_of_row: np.ndarray
    column_of_amplitude: np.ndarray


def apply_loss(tile, count, pixel_loss, paths):
    """Apply the loss to the pixels of a tile; returns the sum of their losses (A13).

    It reads TOTAL and the data. It writes LOSS, and DERIVATIVE, the derivative of the loss by the pixel's sum. For pixels that
    do not count, and for those beyond the first `count`, it sets these two, TOTAL_BAR and the wanted channels to 0.
    """
    take_data(tile, np.uint64(count), pixel_loss)
    left_out = 0
    for i in range(TILE):
        photons, data, weight = tile[TOTAL + i], tile[DATA + i], tile[LOSS_WEIGHT + i]
        counts = data == data
        by_total = tile[TOTAL_BAR + i] if counts else real(0)
        value = loss_value(pixel_loss.kind, photons, data, weight)
        derivative = loss_derivative(pixel_loss.kind, photons, data, weight) * by_total
        tile[TOTAL_BAR + i] = by_total
        tile[LOSS + i] = value if counts else real(0)
        tile[DERIVATIVE + i] = derivative if counts else real(0)
        left_out += not counts
    if left_out:
        clear_left_out(tile, paths)
    return lane_sum(tile, np.uint64(LOSS))


def loss_of_dark_pixels(tile, slow, fast, pixel_loss, lit, block):
    """The sum of the losses of the pixels of a whole block that are dark (A13). Writes LOSS of the tile.

    slow, fast: the first pixel of the block. lit: the number of its patches that are not dark, in LIT_PATCH of the block. The
    pixels are read in rows, because most of an image may be dark.
    """
    for row in range(BLOCK_SLOW):
        for i in range(BLOCK_FAST):
            at = np.uint64(slow + row), np.uint64(fast + i)
            data = real(pixel_loss.data[at])
            value = loss_value(pixel_loss.kind, real(0), data, real(pixel_loss.weight[at]))
            tile[LOSS + row * BLOCK_FAST + i] = value if data == data else real(0)
    for n in range(lit):
        for i in range(PATCH):
            within_slow, within_fast = place(lit_lane(block, n) + i)
            tile[LOSS + within_slow * BLOCK_FAST + within_fast] = 0.0
    return lane_sum(tile, np.uint64(LOSS))


def clear_left_out(tile, paths):
    """Set the wanted channels to 0 where a pixel does not count (DATA is NaN), also if they are not finite."""
    for i in range(LANES):
        if tile[np.uint64(DATA) + i] != tile[np.uint64(DATA) + i]:
            for first in paths.channels:
                tile[first + i] = 0.0


def apply_loss_to_photons(tile, pixel_loss):
    """Write DERIVATIVE and CURVATURE of the loss by the photons, from TOTAL, DATA and LOSS_WEIGHT, after apply_loss."""
    for i in range(TILE):
        photons, data, weight = tile[TOTAL + i], tile[DATA + i], tile[LOSS_WEIGHT + i]
        derivative = loss_derivative(pixel_loss.kind, photons, data, weight)
        curvature = loss_curvature(pixel_loss.kind, photons, data, weight)
        tile[DERIVATIVE + i] = derivative if data == data else real(0)
        tile[CURVATURE + i] = curvature if data == data else real(0)


def take_data(tile, count, pixel_loss):
    """Write DATA and LOSS_WEIGHT of the pixels of a tile. DATA is NaN for pixels that do not count."""
    for i in range(count):
        at = np.uintp(slow_of(tile, i)), np.uintp(fast_of(tile, i))
        tile[DATA + i], tile[LOSS_WEIGHT + i] = pixel_loss.data[at], pixel_loss.weight[at]
    for i in range(count, LANES):
        tile[DATA + i], tile[LOSS_WEIGHT + i] = np.nan, 0.0


def clear_channels(tile, paths):
    """Set the wanted channels to 0."""
    for first in paths.channels:
        for i in range(LANES):
            tile[first + i] = 0.0


def add_channels(results, band, tile, table, paths):
    """Add the wanted channels of a tile, times DERIVATIVE, to those of its band, and set them to 0."""
    for first in paths.channels:
        results.channels[band, (np.int64(first) - ORIGIN) // TILE] += lane_dot(tile, first, tile, np.uint64(DERIVATIVE))
        for i in range(LANES):
            tile[first + i] = 0.0
    add_by_amplitude(results.by_amplitude[band], tile, table)


def store_jacobian(results, count, by_parameter, projection, table, tile):
    """Write the derivatives of the photons by every parameter: those in by_parameter and in the table, times TOTAL_BAR."""
    for i in range(count):
        slow, fast = int(slow_of(tile, i)), int(fast_of(tile, i))
        for n in range(projection.matrix.shape[0]):
            derivative = by_parameter[n * TILE + i] * tile[TOTAL_BAR + i]
            results.jacobian[slow, fast, projection.column_of_row[n]] = derivative
    for n in range(table.count[0]):
        lane, slot_index, value = entry_of(table, n)
        column = projection.column_of_amplitude[slot_index]
        if column >= 0 and lane < count:
            slow, fast = int(slow_of(tile, lane)), int(fast_of(tile, lane))
            results.jacobian[slow, fast, column] += value * tile[TOTAL_BAR + lane]


def add_image_terms(results, band, count, by_parameter, tile, pixel_loss):
    """Add the derivative of the loss by a factor of the photons, and by those of the background terms, to those of its band.

    It uses the first row of by_parameter.
    """
    apply_loss_to_photons(tile, pixel_loss)
    for n in range(results.image_terms.shape[1]):
        write_image_term(by_parameter, 0, n, count, tile, pixel_loss)
        results.image_terms[band, n] += lane_dot(by_parameter, np.uint64(0), tile, np.uint64(DERIVATIVE))


def write_image_term(rows, index, n, count, tile, pixel_loss):
    """Write the photons (n = 0), or a background term (n > 0), of the pixels of a tile to the row of that index."""
    for i in range(TILE):
        rows[index * TILE + i] = tile[TOTAL + i] if n == 0 and tile[DATA + i] == tile[DATA + i] else 0.0
    if n > 0:
        for i in range(count):
            rows[index * TILE + i] = pixel_loss.background_terms[n - 1, int(slow_of(tile, i)), int(fast_of(tile, i))]


def add_normal(results, band, pixels, by_parameter, row_columns, projection, table, tile, pixel_loss):
    """Add J^T r and J^T W J of a tile to those of its band (A13).

    row_columns (columns,): a working store for the column in the Jacobian of each row of by_parameter. It begins with those of
    the parameters that are not amplitudes.
    """
    apply_loss_to_photons(tile, pixel_loss)
    count = gather_amplitudes(by_parameter, row_columns, projection, table, tile)
    for n in range(count):
        for i in range(TILE):
            by_parameter[n * TILE + i] *= tile[TOTAL_BAR + i]
    for n in range(results.image_terms.shape[1]):
        write_image_term(by_parameter, count, n, pixels, tile, pixel_loss)
        row_columns[count] = results.normal.shape[1] - results.image_terms.shape[1] + n
        count += 1
    for a in range(count):
        one = np.uint64(a * TILE)
        results.gradient[band, row_columns[a]] += lane_dot(by_parameter, one, tile, np.uint64(DERIVATIVE))
        for b in range(a, count):
            product = lane_dot_weighed(by_parameter, one, by_parameter, np.uint64(b * TILE), tile, np.uint64(CURVATURE))
            results.normal[band, min(row_columns[a], row_columns[b]), max(row_columns[a], row_columns[b])] += product


def project(by_parameter, matrix, tile):
    """Write the derivatives by parameters (rows * TILE,), relative to that by the pixel's sum, from the channels of a tile.

    matrix (rows, channels): that of a Projection.
    """
    for n in range(matrix.shape[0]):
        into = np.uint64(n * TILE)
        for i in range(LANES):
            by_parameter[into + i] = 0.0
        for channel in range(WIDTH):
            if matrix[n, channel] != 0.0:
                add_multiple(by_parameter, into, matrix[n, channel], tile, np.uint64(ORIGIN + channel * TILE))


def add_multiple(into, first, factor, rows, second):
    """Add a multiple of a row to another."""
    for i in range(LANES):
        into[first + i] += factor * rows[second + i]


def gather_amplitudes(by_parameter, row_columns, projection, table, tile):
    """Append to by_parameter a row for each amplitude that the pixels of the tile depend on; returns the number of all rows.

    row_columns[n] is the column in the Jacobian of row n. Before them are the rows of the parameters that are not amplitudes.
    """
    others = projection.matrix.shape[0]
    count = others
    for n in range(table.count[0]):
        lane, slot_index, value = entry_of(table, n)
        column = projection.column_of_amplitude[slot_index]
        if column >= 0 and (tile[CURVATURE + lane] != 0.0 or tile[DERIVATIVE + lane] != 0.0):
            index = others
            while index < count and row_columns[index] != column:
                index += 1
            if index == count:
                row_columns[index] = column
                count += 1
                for i in range(TILE):
                    by_parameter[index * TILE + i] = 0.0
            by_parameter[index * TILE + lane] += value
    return count
