"""Derivatives by amplitudes from the tables of a chunk of pixels, gathered on the host in the order of the pixels (A9)."""

from typing import NamedTuple

import numpy as np
from scipy import sparse


class Entries(NamedTuple):
    """All entries of tables: pixel of the chunk, place of the amplitude, and derivative, relative to that of the sum (n,)."""

    pixel: np.ndarray
    place: np.ndarray
    value: np.ndarray


def entries(lists) -> Entries:
    """The entries of tables on the card, for tiles of one pixel."""
    key, value = lists.key.copy_to_host(), lists.value.copy_to_host()
    pixel, at = np.nonzero(key >= 0)
    return Entries(pixel, key[pixel, at], value[pixel, at].astype(np.float64))


def add_by_amplitude(by_amplitude: np.ndarray, listed: Entries, weight: np.ndarray) -> None:
    """Add everything, weighed by the derivative of the loss of its pixel (pixels,), to that by every amplitude."""
    weighed = listed.value * weight[listed.pixel]
    by_amplitude += np.bincount(listed.place, weighed, minlength=by_amplitude.size)


def store_jacobian(part: np.ndarray, listed: Entries, column_of: np.ndarray, by_sum: np.ndarray) -> None:
    """Write the derivatives by amplitudes into a part of a Jacobian (slow, fast, parameters)."""
    pixel, column, value = _by_column(listed, column_of, by_sum)
    row, fast = np.divmod(pixel, part.shape[1])
    part[row, fast, column] = value


def add_normal(gradient, normal, listed, column_of, rows, places, by_sum, derivative, curvature) -> None:
    """Add to J^T r (n,) and the upper triangle of J^T W J (n, n) what amplitudes add.

    rows (m, pixels): the derivatives by other parameters, whose places among all are `places`. by_sum, derivative, curvature
    (pixels,): what entries are relative to, and those of the loss.
    """
    pixel, column, value = _by_column(listed, column_of, by_sum)
    if not column.size:
        return
    used, local = np.unique(column, return_inverse=True)
    amplitudes = sparse.csr_array((value, (local, pixel)), shape=(used.size, by_sum.size))
    gradient[used] += amplitudes @ derivative.astype(np.float64)
    weighed = amplitudes.multiply(curvature[np.newaxis].astype(np.float64)).tocsr()
    own = sparse.coo_array(sparse.triu(weighed @ amplitudes.T))
    np.add.at(normal, (used[own.row], used[own.col]), own.data)
    across = weighed @ rows.T.astype(np.float64)
    low, high = np.minimum.outer(used, places), np.maximum.outer(used, places)
    np.add.at(normal, (low, high), across)


def _by_column(listed, column_of, by_sum):
    """Pixel, place among all parameters, and derivative of the entries that are of a parameter."""
    column = column_of[listed.place]
    kept = column >= 0
    return listed.pixel[kept], column[kept], listed.value[kept] * by_sum[listed.pixel[kept]]
