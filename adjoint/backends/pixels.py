"""What is made of the derivatives of a tile: they are judged by a loss, projected on parameters, and gathered by amplitude."""

from typing import NamedTuple

import numpy as np

from adjoint.backends.listing import entry
from adjoint.backends.reduction import lane_dot, lane_dot_weighed
from adjoint.backends.rows import CURVATURE, DERIVATIVE, WIDTH
from adjoint.stages.loss import loss_curvature, loss_derivative
from nbnumba.backends.tile import TILE


class Target(NamedTuple):
    """What a loss knows of the pixels (A13): its kind, and data and weight (slow, fast). Pixels whose data are NaN are left out.

    mask (slow, fast) uint8, or (0, 0) for none: the pixels that are rendered.
    """

    mask: np.ndarray
    kind: int
    data: np.ndarray
    weight: np.ndarray


class Results(NamedTuple):
    """What is summed or stored, band by band; an empty array is not wanted.

    image (slow, fast): photons. channels (bands, channels) and by_amplitude (bands, amplitudes): the derivative of the loss.
    jacobian (slow, fast, parameters). gradient (bands, parameters), J^T r, and the upper triangle of normal (bands, parameters,
    parameters), J^T W J.
    """

    image: np.ndarray
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


def judge(tile, g, row, start, stop, target):
    """Derivative and curvature of the loss of each pixel of a tile; pixels that do not count get 0, in all channels."""
    for i in range(TILE):
        fast = start + i
        counts = fast < stop and (target.mask.size == 0 or target.mask[row, fast] != 0)
        if counts and not np.isnan(target.data[row, fast]):
            photons, data, weight = tile.total[i], target.data[row, fast], target.weight[row, fast]
            g[DERIVATIVE + i] = loss_derivative(target.kind, photons, data, weight)
            g[CURVATURE + i] = loss_curvature(target.kind, photons, data, weight)
        else:
            for place in range(i, WIDTH * TILE, TILE):
                g[place] = 0.0
            g[DERIVATIVE + i], g[CURVATURE + i] = 0.0, 0.0


def add_channels(results, band, g, listing):
    """Add the channels of a tile, weighed by the derivative of the loss, to those of its band."""
    for channel in range(WIDTH):
        results.channels[band, channel] += lane_dot(g, channel * TILE, g, DERIVATIVE)
    for n in range(listing.count[0]):
        lane, place, value = entry(listing, n)
        results.by_amplitude[band, place] += value * g[DERIVATIVE + lane]


def store_jacobian(results, row, start, stop, by_parameter, parameters, listing, g):
    """Write the derivatives of every pixel of a tile by every parameter."""
    for i in range(stop - start):
        for n in range(parameters.projection.shape[0]):
            results.jacobian[row, start + i, parameters.place_of[n]] = by_parameter[n * TILE + i]
    for n in range(listing.count[0]):
        lane, place, value = entry(listing, n)
        column = parameters.column_of[place]
        if column >= 0 and g[DERIVATIVE + lane] != 0.0:
            results.jacobian[row, start + lane, column] += value


def add_normal(results, band, by_parameter, used, parameters, listing, g):
    """Add J^T r and J^T W J of a tile to those of its band; used (parameters,) is room for the places of its rows."""
    count = gather_amplitudes(by_parameter, used, parameters, listing, g)
    for a in range(count):
        results.gradient[band, used[a]] += lane_dot(by_parameter, a * TILE, g, DERIVATIVE)
        for b in range(a, count):
            product = lane_dot_weighed(by_parameter, a * TILE, by_parameter, b * TILE, g, CURVATURE)
            results.normal[band, min(used[a], used[b]), max(used[a], used[b])] += product


def project(by_parameter, projection, g):
    """Derivatives by parameters (parameters * TILE,) from the channels of a tile."""
    for n in range(projection.shape[0]):
        first = n * TILE
        for i in range(TILE):
            by_parameter[first + i] = 0.0
        for channel in range(WIDTH):
            factor, second = projection[n, channel], channel * TILE
            if factor != 0.0:
                for i in range(TILE):
                    by_parameter[first + i] += factor * g[second + i]


def gather_amplitudes(by_parameter, used, parameters, listing, g):
    """Append rows for those amplitudes that the tile sees to the rows of the other parameters; how many rows there are.

    used[n] is the place among all parameters of the n-th row of by_parameter.
    """
    fixed = parameters.projection.shape[0]
    count = fixed
    for n in range(listing.count[0]):
        lane, place, value = entry(listing, n)
        column = parameters.column_of[place]
        if column >= 0 and (g[CURVATURE + lane] != 0.0 or g[DERIVATIVE + lane] != 0.0):
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
