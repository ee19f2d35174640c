"""Sums over the pixels of a chunk on the card. Blocks and order are fixed and nothing is atomic, so the bits are fixed, too."""

import numpy as np
from numba import cuda

from nbnumba.backends import card
from nbnumba.stages import wide

THREADS = 8 if card.SIMULATED else 128
"""The number of threads of a block. It is small in the simulator, whose threads are slow to wait for each other."""
SEGMENT = 64 * THREADS
"""The number of pixels that a block sums over."""
TOGETHER = 4096
"""The largest number of sums of one launch."""
NONE = -1
"""The index of a row of ones, for products of fewer than three rows."""


def sum_products(sums, rows, factors):
    """Write to sums[n, segment] the sum of a product of three rows (rows, pixels) over the pixels of a segment.

    factors (n, 3): the rows of each product; NONE is a row of ones. The grid is (segments, n).
    """
    segment, n, lane = cuda.blockIdx.x, cuda.blockIdx.y, cuda.threadIdx.x
    one, other, third = factors[n, 0], factors[n, 1], factors[n, 2]
    partial = cuda.shared.array(THREADS, wide)
    total = wide(0)
    for step in range(SEGMENT // THREADS):
        pixel = segment * SEGMENT + step * THREADS + lane
        if pixel < rows.shape[1]:
            product = rows[one, pixel]
            if other != NONE:
                product *= rows[other, pixel]
            if third != NONE:
                product *= rows[third, pixel]
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
        sums[n, segment] = partial[0]


def project(rows, first, matrix, first_channel, weight):
    """Write to rows[first + n] the derivative of the photons by a parameter.

    It is row n of the projection's matrix (n, channels) times the rows of the channels, times rows[weight]. The grid is
    (blocks of pixels, n).
    """
    pixel, n = cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x, cuda.blockIdx.y
    if pixel < rows.shape[1]:
        total = wide(0)
        for channel in range(matrix.shape[1]):
            total += matrix[n, channel] * rows[first_channel + channel, pixel]
        rows[first + n, pixel] = total * rows[weight, pixel]


def sum_rows(compiled, rows, factors: list[tuple[int, int, int]], kind: type) -> np.ndarray:
    """The sums of the products of rows over all pixels (n,), float64. compiled: the kernel sum_products."""
    if not factors:
        return np.zeros(0)
    segments, totals = card.blocks(rows.shape[1], SEGMENT), []
    for first in range(0, len(factors), TOGETHER):
        some = np.array(factors[first : first + TOGETHER], dtype=np.int64)
        sums = card.allocate(f"sums of {len(some)}", (len(some), segments), kind)
        compiled[(segments, len(some)), THREADS](sums, rows, card.upload(f"factors of {len(some)}", some))
        totals.append(sums.copy_to_host().astype(np.float64).sum(axis=1))
    return np.concatenate(totals)
