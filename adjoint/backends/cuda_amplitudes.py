"""Derivatives by amplitudes: the amplitude tables of a chunk are read and added on the host, in the order of pixels (A9)."""

from typing import NamedTuple

import numpy as np
from scipy import sparse


class Entries(NamedTuple):
    """All entries of the tables (n,): pixel of the chunk, slot of the amplitude, derivative relative to that by the sum."""

    pixel: np.ndarray
    slot: np.ndarray
    value: np.ndarray


def entries(tables) -> Entries:
    """The entries of amplitude tables that are on the card. For a tile of one pixel the key of an entry is its slot."""
    key, value = tables.key.copy_to_host(), tables.value.copy_to_host()
    pixel, column = np.nonzero(key >= 0)
    return Entries(pixel, key[pixel, column], value[pixel, column].astype(np.float64))


def add_by_amplitude(by_amplitude: np.ndarray, table: Entries, weight: np.ndarray) -> None:
    """Add all entries to by_amplitude, each times the derivative of the loss by the sum of its pixel, weight (pixels,)."""
    weighed = table.value * weight[table.pixel]
    by_amplitude += np.bincount(table.slot, weighed, minlength=by_amplitude.size)


def store_jacobian(jacobian: np.ndarray, table: Entries, column_of_amplitude: np.ndarray, by_sum: np.ndarray) -> None:
    """Write the derivatives by amplitudes to a part of the Jacobian (slow, fast, parameters)."""
    pixel, column, value = _by_column(table, column_of_amplitude, by_sum)
    row, fast = np.divmod(pixel, jacobian.shape[1])
    jacobian[row, fast, column] = value


def add_normal(gradient, normal, table, *, column_of_amplitude, dense, dense_columns, by_sum, derivative, curvature) -> None:
    """Add the derivatives by amplitudes to J^T r (n,) and to the upper triangle of J^T W J (n, n).

    dense (m, pixels): the derivatives by the other numbers, whose columns in the Jacobian are dense_columns (m,). by_sum
    (pixels,): the derivative of the photons by the pixel's sum. derivative, curvature (pixels,): of the loss by the photons.
    """
    pixel, column, value = _by_column(table, column_of_amplitude, by_sum)
    if not column.size:
        return
    columns, row = np.unique(column, return_inverse=True)
    amplitudes = sparse.csr_array((value, (row, pixel)), shape=(columns.size, by_sum.size))
    gradient[columns] += amplitudes @ derivative.astype(np.float64)
    weighed = amplitudes.multiply(curvature[np.newaxis].astype(np.float64)).tocsr()
    among_amplitudes = sparse.coo_array(sparse.triu(weighed @ amplitudes.T))
    np.add.at(normal, (columns[among_amplitudes.row], columns[among_amplitudes.col]), among_amplitudes.data)
    with_dense = weighed @ dense.T.astype(np.float64)
    low, high = np.minimum.outer(columns, dense_columns), np.maximum.outer(columns, dense_columns)
    np.add.at(normal, (low, high), with_dense)


def _by_column(table, column_of_amplitude, by_sum):
    """Pixel, column in the Jacobian, and derivative of the photons, of those entries whose amplitude is a parameter."""
    column = column_of_amplitude[table.slot]
    refined = column >= 0
    return table.pixel[refined], column[refined], table.value[refined] * by_sum[table.pixel[refined]]
