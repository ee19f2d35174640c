"""What becomes of the derivatives of a tile: a loss is applied, they are projected on parameters, and added to the results."""

from typing import NamedTuple

import numpy as np

from adjoint.loops.amplitude_table import add_by_amplitude, entry_of
from adjoint.loops.rows import CURVATURE, DATA, DERIVATIVE, LANES, LOSS, LOSS_WEIGHT, ORIGIN, TOTAL_BAR, WIDTH
from adjoint.loops.tile_sums import lane_dot, lane_dot_weighed, lane_sum
from adjoint.stages.loss import loss_curvature, loss_derivative, loss_value
from nbnumba.loops.indices import fast_of
from nbnumba.loops.rows import TILE, TOTAL
from nbnumba.stages import real


class Target(NamedTuple):
    """What a loss knows of the pixels (A13): its kind, data and weight (slow, fast). Pixels whose data are NaN are left out.

    mask (slow, fast) uint8, or (0, 0) for none: the pixels that are rendered. fields (fields, slow, fast): derivatives of the
    image by numbers that are not the experiment's, such as a background.
    """

    mask: np.ndarray
    kind: int
    data: np.ndarray
    weight: np.ndarray
    fields: np.ndarray


class Results(NamedTuple):
    """What is summed or stored, band by band; an empty array is not wanted. A band is a range of rows that is summed by itself.

    image (slow, fast): photons. value (bands,): the loss; channels (bands, channels) and by_amplitude (bands, amplitudes): its
    derivative.
    jacobian (slow, fast, parameters). beside (bands, 1 + fields): the derivative by a scale of the photons and by the fields.
    gradient (bands, parameters), J^T r, and the upper triangle of normal (bands, parameters, parameters), J^T W J; if these are
    more than the parameters, the scale and the fields come last.
    """

    image: np.ndarray
    value: np.ndarray
    channels: np.ndarray
    by_amplitude: np.ndarray
    jacobian: np.ndarray
    beside: np.ndarray
    gradient: np.ndarray
    normal: np.ndarray


class Parameters(NamedTuple):
    """How derivatives by parameters follow from those of a tile.

    projection (others, channels): of those that are not amplitudes; place_of (others,): their places among all parameters.
    column_of (amplitudes,): the place among all parameters of the derivative by each amplitude, or -1.
    """

    projection: np.ndarray
    place_of: np.ndarray
    column_of: np.ndarray


def apply_loss(tile, row, start, stop, target, paths):
    """Apply the loss to the pixels of a tile; returns the sum of their losses (A13).

    From the photons in TOTAL and the data it writes LOSS and DERIVATIVE, the derivative of the loss by the pixel's sum. Pixels
    that do not count, or beyond the first stop - start, have 0 there, in TOTAL_BAR and in the wanted channels.
    """
    take_data(tile, row, start, np.uint64(stop - start), target)
    left_out = 0
    for i in range(TILE):
        photons, data, weight = tile[TOTAL + i], tile[DATA + i], tile[LOSS_WEIGHT + i]
        counts = data == data
        by_total = tile[TOTAL_BAR + i] if counts else real(0)
        value = loss_value(target.kind, photons, data, weight)
        derivative = loss_derivative(target.kind, photons, data, weight) * by_total
        tile[TOTAL_BAR + i] = by_total
        tile[LOSS + i] = value if counts else real(0)
        tile[DERIVATIVE + i] = derivative if counts else real(0)
        left_out += not counts
    if left_out:
        clear_left_out(tile, paths)
    return lane_sum(tile, np.uint64(LOSS))


def clear_left_out(tile, paths):
    """Set the wanted channels to 0 where a pixel does not count (DATA is NaN), also if they are not finite."""
    for i in range(LANES):
        if tile[np.uint64(DATA) + i] != tile[np.uint64(DATA) + i]:
            for first in paths.channels:
                tile[first + i] = 0.0


def apply_loss_to_photons(tile, target):
    """Write DERIVATIVE and CURVATURE of the loss by the photons, from TOTAL, DATA and LOSS_WEIGHT, after apply_loss."""
    for i in range(TILE):
        photons, data, weight = tile[TOTAL + i], tile[DATA + i], tile[LOSS_WEIGHT + i]
        derivative = loss_derivative(target.kind, photons, data, weight)
        curvature = loss_curvature(target.kind, photons, data, weight)
        tile[DERIVATIVE + i] = derivative if data == data else real(0)
        tile[CURVATURE + i] = curvature if data == data else real(0)


def take_data(tile, row, start, count, target):
    """Write DATA and LOSS_WEIGHT of the pixels of a tile. DATA is NaN for pixels that do not count."""
    data, weight = target.data[row], target.weight[row]
    if target.mask.size == 0:
        for i in range(count):
            tile[DATA + i], tile[LOSS_WEIGHT + i] = data[np.uint64(start) + i], weight[np.uint64(start) + i]
    else:
        mask = target.mask[row]
        for i in range(count):
            fast = int(fast_of(tile, start, i))
            tile[DATA + i], tile[LOSS_WEIGHT + i] = data[fast], weight[fast]
            if mask[fast] == 0:
                tile[DATA + i] = np.nan
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


def store_jacobian(results, row, start, count, by_parameter, parameters, table, tile):
    """Write the derivatives of the photons of every pixel by every parameter: relative ones times TOTAL_BAR."""
    for i in range(count):
        fast = int(fast_of(tile, start, i))
        for n in range(parameters.projection.shape[0]):
            derivative = by_parameter[n * TILE + i] * tile[TOTAL_BAR + i]
            results.jacobian[row, fast, parameters.place_of[n]] = derivative
    for n in range(table.count[0]):
        lane, slot_index, value = entry_of(table, n)
        column = parameters.column_of[slot_index]
        if column >= 0 and lane < count:
            results.jacobian[row, int(fast_of(tile, start, lane)), column] += value * tile[TOTAL_BAR + lane]


def add_beside(results, band, row, start, count, by_parameter, tile, target):
    """Add the derivative of the loss by a scale of the photons, and by the fields, to those of its band."""
    apply_loss_to_photons(tile, target)
    for n in range(results.beside.shape[1]):
        take_beside(by_parameter, 0, n, row, start, count, tile, target)
        results.beside[band, n] += lane_dot(by_parameter, np.uint64(0), tile, np.uint64(DERIVATIVE))


def take_beside(rows, at, n, row, start, count, tile, target):
    """A row of the photons (n = 0) or of a field, for the pixels of a tile."""
    for i in range(TILE):
        rows[at * TILE + i] = tile[TOTAL + i] if n == 0 and tile[DATA + i] == tile[DATA + i] else 0.0
    if n > 0:
        for i in range(count):
            rows[at * TILE + i] = target.fields[n - 1, row, int(fast_of(tile, start, i))]


def add_normal(results, band, row, start, pixels, by_parameter, used, parameters, table, tile, target):
    """Add J^T r and J^T W J of a tile to those of its band; used (parameters,) is room for the places of its rows."""
    apply_loss_to_photons(tile, target)
    count = gather_amplitudes(by_parameter, used, parameters, table, tile)
    for n in range(count):
        for i in range(TILE):
            by_parameter[n * TILE + i] *= tile[TOTAL_BAR + i]
    for n in range(results.beside.shape[1]):
        take_beside(by_parameter, count, n, row, start, pixels, tile, target)
        used[count] = results.normal.shape[1] - results.beside.shape[1] + n
        count += 1
    for a in range(count):
        one = np.uint64(a * TILE)
        results.gradient[band, used[a]] += lane_dot(by_parameter, one, tile, np.uint64(DERIVATIVE))
        for b in range(a, count):
            product = lane_dot_weighed(by_parameter, one, by_parameter, np.uint64(b * TILE), tile, np.uint64(CURVATURE))
            results.normal[band, min(used[a], used[b]), max(used[a], used[b])] += product


def project(by_parameter, projection, tile):
    """Derivatives by parameters (parameters * TILE,), relative to that of the pixel's sum, from the channels of a tile."""
    for n in range(projection.shape[0]):
        into = np.uint64(n * TILE)
        for i in range(LANES):
            by_parameter[into + i] = 0.0
        for channel in range(WIDTH):
            if projection[n, channel] != 0.0:
                add_multiple(by_parameter, into, projection[n, channel], tile, np.uint64(ORIGIN + channel * TILE))


def add_multiple(into, first, factor, rows, second):
    """Add a multiple of a row to another."""
    for i in range(LANES):
        into[first + i] += factor * rows[second + i]


def gather_amplitudes(by_parameter, used, parameters, table, tile):
    """Append rows for those amplitudes that the tile sees to the rows of the other parameters; how many rows there are.

    used[n] is the place among all parameters of the n-th row of by_parameter.
    """
    fixed = parameters.projection.shape[0]
    count = fixed
    for n in range(table.count[0]):
        lane, slot_index, value = entry_of(table, n)
        column = parameters.column_of[slot_index]
        if column >= 0 and (tile[CURVATURE + lane] != 0.0 or tile[DERIVATIVE + lane] != 0.0):
            at = fixed
            while at < count and used[at] != column:
                at += 1
            if at == count:
                used[at] = column
                count += 1
                for i in range(TILE):
                    by_parameter[at * TILE + i] = 0.0
            by_parameter[at * TILE + lane] += value
    return count
