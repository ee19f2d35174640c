"""The pixels of a block of threads on a card, and how its threads share memory and wait for each other."""

from collections.abc import Callable

import numpy as np
from numba import cuda

from nbnumba.backends import card
from nbnumba.backends.compiling import with_globals
from nbnumba.loops.cuda_patches import Block
from nbnumba.loops.patches import GROUP
from nbnumba.stages import wide

BLOCK = (4, 8)
"""The pixels of a block along the slow and the fast axis. Each has a thread. They are a warp, so that a ballot counts them."""
SLOW, FAST = BLOCK
THREADS = SLOW * FAST
"""The number of threads of a block."""
ALL = 2**THREADS - 1
"""A flag for each thread of a block."""
MOST = THREADS * GROUP
"""The largest number of lattices that are asked together."""


def blocks(rows: tuple[int, int], columns: tuple[int, int], block: tuple[int, int]) -> int:
    """The number of blocks that cover the rows from rows[0] to before rows[1], and columns likewise."""
    return -(-(rows[1] - rows[0]) // block[0]) * -(-(columns[1] - columns[0]) // block[1])


def pixel_of_thread(rows, columns):
    """The row and the column of the pixel of this thread, which may lie beyond the last ones."""
    across = -(-(columns[1] - columns[0]) // FAST)
    slow, fast = cuda.blockIdx.x // across * SLOW, cuda.blockIdx.x % across * FAST
    return rows[0] + slow + cuda.threadIdx.x // FAST, columns[0] + fast + cuda.threadIdx.x % FAST


def this_block():
    """The block of this thread: cuda_patches.py:Block."""
    found = cuda.local.array(2, np.int32)
    low = cuda.shared.array((3, THREADS), wide)
    high = cuda.shared.array((3, THREADS), wide)
    groups = cuda.shared.array(THREADS, np.int32)
    lattices = cuda.shared.array(MOST, np.int32)
    return Block(cuda.threadIdx.x, found, low, high, groups, lattices)


def wait_for_block():
    """Wait until all threads of the block are here. What they wrote to shared memory is then there for all of them."""
    cuda.syncthreads()


def place_in_block(block, flag):
    """For how many threads before this one the flag is true, and for how many of the block."""
    flags = cuda.ballot_sync(ALL, flag)
    return cuda.popc(flags & ((np.uint32(1) << np.uint32(block.thread)) - np.uint32(1))), cuda.popc(flags)


def block_words(kernel_globals: dict, block: tuple[int, int], jit: Callable) -> dict:
    """The words of a block of that many pixels: its sizes, and the functions above, compiled by `jit`.

    kernel_globals: the globals of the kernel, which are those of the functions, too. They may be completed later. Numba's
    simulator replaces `cuda` in them. It has no ballots: place_in_block is then that of cuda_patches.py.
    """
    kernel_globals |= {"cuda": cuda, "np": np, "Block": Block, "ALL": ALL}
    functions = (pixel_of_thread, this_block, wait_for_block, *(() if card.SIMULATED else (place_in_block,)))
    bound = {function.__name__: jit(with_globals(function, kernel_globals, function.__name__)) for function in functions}
    threads = block[0] * block[1]
    return bound | {"SLOW": block[0], "FAST": block[1], "THREADS": threads, "MOST": threads * GROUP}
