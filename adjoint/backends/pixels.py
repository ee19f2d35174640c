"""What is made of the derivatives of a tile: they are judged by a loss, projected on parameters, and gathered by amplitude."""

from typing import NamedTuple

import numpy as np

from adjoint.backends.listing import add_by_amplitude, entry
from adjoint.backends.reduction import lane_dot, lane_dot_weighed
from adjoint.backends.rows import CHANNELS_END, CURVATURE, DERIVATIVE, LANES, ORIGIN, TOTAL_BAR, WIDTH
from adjoint.stages.loss import loss_curvature, loss_derivative, loss_value
from nbnumba.backends.tile import TILE, TOTAL


class Target(NamedTuple):
    """What a loss knows of the pixels (A13): its kind, data and weight (slow, fast). Pixels whose data are NaN are left out.

    mask (slow, fast) uint8, or (0, 0) for none: the pixels that are rendered.
    """

    mask: np.ndarray
    kind: int
    data: np.ndarray
    weight: np.ndarray


class Results(NamedTuple):
    """What is summed or stored, band by band; an empty array is not wanted. A band is a range of rows that is summed by itself.

    image (slow, fast): photons. value (bands,): the loss; channels (bands, channels) and by_amplitude (bands, amplitudes): its
    derivative.
    jacobian (slow, fast, parameters). gradient (bands, parameters), J^T r, and the upper triangle of normal (bands, parameters,
    parameters), J^T W J.
    """

    image: np.ndarray
    value: np.ndarray
    channels: np.ndarray
    by_amplitude: np.ndarray
    jacobian: np.ndarray
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


def judge(tile, row, start, stop, target):
    """Derivative and curvature of the loss by the sum of each pixel of a tile; pixels that do not count get 0, everywhere.

    Returns the loss of the tile.
    """
    value = 0.0
    for i in range(TILE):
        fast = start + i
        counts = fast < stop and (target.mask.size == 0 or target.mask[row, fast] != 0)
        if counts and not np.isnan(target.data[row, fast]):
            photons, data, weight = tile[TOTAL + i], target.data[row, fast], target.weight[row, fast]
            by_total = tile[TOTAL_BAR + i]
            value += loss_value(target.kind, photons, data, weight)
            tile[DERIVATIVE + i] = loss_derivative(target.kind, photons, data, weight) * by_total
            tile[CURVATURE + i] = loss_curvature(target.kind, photons, data, weight) * by_total * by_total
        else:
            tile[DERIVATIVE + i], tile[CURVATURE + i], tile[TOTAL_BAR + i] = 0.0, 0.0, 0.0
            for place in range(ORIGIN + i, CHANNELS_END, TILE):
                tile[place] = 0.0
    return value


def add_value(results, band, value):
    """Add the loss of a tile to that of its band; in the body of a parallel loop Numba would lose it."""
    results.value[band] += value


def clear_channels(tile, paths):
    """The channels that are wanted are 0 again."""
    for first in paths.channels:
        for i in range(LANES):
            tile[first + i] = 0.0


def add_channels(results, band, tile, listing, paths):
    """Add the channels of a tile that are wanted, weighed by the derivative of the loss, to those of its band; clear them."""
    for first in paths.channels:
        results.channels[band, (np.int64(first) - ORIGIN) // TILE] += lane_dot(tile, first, tile, np.uint64(DERIVATIVE))
        for i in range(LANES):
            tile[first + i] = 0.0
    add_by_amplitude(results.by_amplitude[band], tile, listing)


def store_jacobian(results, row, start, stop, by_parameter, parameters, listing, tile):
    """Write the derivatives of every pixel of a tile by every parameter."""
    for i in range(stop - start):
        for n in range(parameters.projection.shape[0]):
            derivative = by_parameter[n * TILE + i] * tile[TOTAL_BAR + i]
            results.jacobian[row, start + i, parameters.place_of[n]] = derivative
    for n in range(listing.count[1]):
        lane, place, value = entry(listing, n)
        column = parameters.column_of[place]
        if column >= 0 and lane < stop - start:
            results.jacobian[row, start + lane, column] += value * tile[TOTAL_BAR + lane]


def add_normal(results, band, by_parameter, used, parameters, listing, tile):
    """Add J^T r and J^T W J of a tile to those of its band; used (parameters,) is room for the places of its rows."""
    count = gather_amplitudes(by_parameter, used, parameters, listing, tile)
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


def gather_amplitudes(by_parameter, used, parameters, listing, tile):
    """Append rows for those amplitudes that the tile sees to the rows of the other parameters; how many rows there are.

    used[n] is the place among all parameters of the n-th row of by_parameter.
    """
    fixed = parameters.projection.shape[0]
    count = fixed
    for n in range(listing.count[1]):
        lane, place, value = entry(listing, n)
        column = parameters.column_of[place]
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
