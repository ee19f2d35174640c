"""Sums over the pixels of a chunk on the card, in fixed blocks and a fixed order: no atomics, the same bits in every run."""

import numpy as np
from numba import cuda

from nbnumba.backends import card
from nbnumba.stages import wide

THREADS = 8 if card.SIMULATED else 128
"""Threads of a block that sums. Simulated ones are slow where they wait for each other, so there are few."""
SEGMENT = 64 * THREADS
"""Pixels that a block sums."""
TOGETHER = 4096
"""Sums of one launch."""
NONE = -1
"""Stands for a row of 1 in a product."""


def sum_products(found, rows, factors):
    """found[n, block] = sum over the pixels of a block's segment of the products of up to three rows (rows, pixels).

    factors (n, 3): the rows of each product, NONE for none. The grid is (segments, n).
    """
    segment, n, lane = cuda.blockIdx.x, cuda.blockIdx.y, cuda.threadIdx.x
    one, other, third = factors[n, 0], factors[n, 1], factors[n, 2]
    partial = cuda.shared.array(THREADS, wide)
    total = wide(0)
    for step in range(SEGMENT // THREADS):
        at = segment * SEGMENT + step * THREADS + lane
        if at < rows.shape[1]:
            product = rows[one, at]
            if other != NONE:
                product *= rows[other, at]
            if third != NONE:
                product *= rows[third, at]
            total += product
    partial[lane] = total
    cuda.syncthreads()
    half = THREADS // 2
    while half > 0:
        if lane < half:
            partial[lane] += partial[lane + half]
        cuda.syncthreads()
        half //= 2
    if lane == 0:
        found[n, segment] = partial[0]


def project(rows, first, projection, channels, weight):
    """rows[first + n] = the derivative by a parameter: row n of the projection (n, channels) times those rows, times a weight.

    The grid is (blocks of pixels, n).
    """
    at, n = cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x, cuda.blockIdx.y
    if at < rows.shape[1]:
        total = wide(0)
        for channel in range(projection.shape[1]):
            total += projection[n, channel] * rows[channels + channel, at]
        rows[first + n, at] = total * rows[weight, at]


def sum_rows(compiled, rows, factors: list[tuple[int, int, int]], kind: type) -> np.ndarray:
    """The sums over all pixels (n,) of the products of rows, float64."""
    if not factors:
        return np.zeros(0)
    segments, parts = card.blocks(rows.shape[1], SEGMENT), []
    for first in range(0, len(factors), TOGETHER):
        part = np.array(factors[first : first + TOGETHER], dtype=np.int64)
        found = card.allocate(f"sums of {len(part)}", (len(part), segments), kind)
        compiled[(segments, len(part)), THREADS](found, rows, card.upload(f"factors of {len(part)}", part))
        parts.append(found.copy_to_host().astype(np.float64).sum(axis=1))
    return np.concatenate(parts)
