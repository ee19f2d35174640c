"""What is left out of a sum over lattices on a card: the threads of a block find together which lattices are near it (F10a).

A thread computes one pixel, and the pixels of a block are near each other. The functions bound_rays, first_near and
add_near_lattices replace those of patches.py. The threads wait for each other in them, so all threads of a block have to call
them, including those whose pixel is not wanted. The list of lattices is in the order of the table, whatever thread is first.
"""

from typing import NamedTuple

import numpy as np

from nbnumba.loops.indices import cell_vectors, extended_q, nearest_hkl, nine_numbers, nine_to_wide, slow_of
from nbnumba.loops.patches import GROUP, NOTHING, add_near_terms, near_factors, scattered, span_remoteness
from nbnumba.loops.rows import D_X, D_Y, D_Z, NEAR_LIMIT, NEAR_SUM, OMEGA, SUM
from nbnumba.stages import wide
from nbnumba.stages.culling import directions_in_box, remoteness, remoteness_limit

THREADS = 1
"""The number of threads of a block, a power of two. In plain Python a block has one thread; a backend has words for more."""
MOST = THREADS * GROUP
"""The largest number of lattices that are asked together."""
NO_PIXEL = -1
"""The row of the pixel of a thread whose pixel is not wanted."""
OUTSIDE = 2.0
"""More than any component of a unit vector."""
LENGTH, NEXT = 0, 1
"""Places in Block.found: the length of the list, and the first group of lattices that has not been asked."""


class Block(NamedTuple):
    """What the threads of a block share, and what each has for itself: its number, and `found`.

    low, high (3, THREADS): the smallest and the largest x, y, z of directions. groups (THREADS,): the list of groups that are
    near. lattices (MOST,): the list of lattices that are near. found (2,): see LENGTH and NEXT.
    """

    thread: int
    found: np.ndarray
    low: np.ndarray
    high: np.ndarray
    groups: np.ndarray
    lattices: np.ndarray


def this_block():
    """The block of this thread."""
    low, high, found = np.empty((3, THREADS), wide), np.empty((3, THREADS), wide), np.empty(2, np.int32)
    return Block(0, found, low, high, np.empty(THREADS, np.int32), np.empty(MOST, np.int32))


def wait_for_block():
    """Wait until all threads of the block are here, which a single thread always is."""


def place_in_block(block, flag):
    """For how many threads before this one the flag is true, and for how many of the block."""
    before, total = 0, 0
    block.low[0, block.thread] = wide(1) if flag else wide(0)
    wait_for_block()
    for thread in range(THREADS):
        before += block.low[0, thread] > wide(0) and thread < block.thread
        total += block.low[0, thread] > wide(0)
    wait_for_block()
    return before, total


def bound_rays(tile, panel, crystal, sampling):
    """The box of directions of the wanted pixels of the block (spread_of_directions), and what the threads share (F10a).

    It reads D_X, D_Y, D_Z and the row of the pixel.
    """
    block = this_block()
    thread, half = block.thread, THREADS // 2
    begin_extent(tile, D_X, block.low[0], block.high[0], thread)
    begin_extent(tile, D_Y, block.low[1], block.high[1], thread)
    begin_extent(tile, D_Z, block.low[2], block.high[2], thread)
    wait_for_block()
    while half > 0:
        if thread < half:
            for axis in range(3):
                low, high = block.low[axis, thread + half], block.high[axis, thread + half]
                block.low[axis, thread] = low if low < block.low[axis, thread] else block.low[axis, thread]
                block.high[axis, thread] = high if high > block.high[axis, thread] else block.high[axis, thread]
        wait_for_block()
        half //= 2
    x, y, z = extent(block, 0), extent(block, 1), extent(block, 2)
    wait_for_block()
    return directions_in_box((x[0], y[0], z[0]), (x[1], y[1], z[1])), block


def begin_extent(tile, row, low, high, thread):
    """Write a component of the direction of a wanted pixel, or an empty range for others, to the place of a thread."""
    wanted = slow_of(tile, 0) > wide(NO_PIXEL)
    low[thread] = tile[row] if wanted else wide(OUTSIDE)
    high[thread] = tile[row] if wanted else -wide(OUTSIDE)


def extent(block, axis):
    """The middle and the half width of a component of the directions of the block."""
    low, high = block.low[axis, 0], block.high[axis, 0]
    return (low + high) * wide(0.5), (high - low) * wide(0.5)


def first_near(tile, view, ray, crystal, orientations):
    """The number of the first lattices under which a term of the block may count, after a 0. It leaves them in the list.

    view: what bound_rays returns. ray: what beam_of says of the source.
    """
    return 0, list_lattices(view, ray, crystal, orientations, 0)


def add_near_lattices(tile, view, ray, first, source, sources, crystal, structure, orientations):
    """Add the terms that count, of all lattices, to SUM: patches.py:add_near_lattices for the pixel of a thread.

    It begins with the list that first_near leaves. The arguments are those of patches.py.
    """
    block, wanted = view[1], slow_of(tile, 0) > wide(NO_PIXEL)
    tile[NEAR_SUM], tile[NEAR_LIMIT] = tile[SUM], remoteness_limit(crystal, tile[OMEGA])
    count = int(block.found[LENGTH])
    while count > 0:
        for n in range(count if wanted else 0):
            add_if_near(tile, int(block.lattices[n]), crystal, structure, orientations)
        following = int(block.found[NEXT])
        wait_for_block()
        count = list_lattices(view, ray, crystal, orientations, following)
    tile[SUM] = tile[NEAR_SUM]


def add_if_near(tile, m, crystal, structure, orientations):
    """Add the term under lattice m to NEAR_SUM, if it counts. Reads NEAR_LIMIT."""
    vectors = cell_vectors(orientations.lattice, m)
    (dh, _), (dk, _), (dl, _) = nearest_hkl(vectors, extended_q(tile, 0))
    if remoteness(crystal, dh, dk, dl) <= tile[NEAR_LIMIT]:
        near_factors(tile, 0, crystal, structure, vectors)
        add_near_terms(tile, 0, m, structure, vectors)


def list_lattices(view, ray, crystal, orientations, first):
    """Make the list of lattices that are near the block, from group `first` on; returns its length, 0 if there are no more.

    THREADS groups are asked together, and if none of their lattices is near, the next ones.
    """
    directions, block = view
    q, count, last = scattered(directions, ray), 0, orientations.group.shape[0]
    while count == 0 and first < last:
        some = THREADS if last - first > THREADS else last - first
        groups = list_groups(block, q, crystal, orientations, first, some)
        for start in range(0, groups * GROUP, THREADS):
            count = list_some_lattices(block, q, crystal, orientations, start, groups, count)
        first += some
    block.found[LENGTH], block.found[NEXT] = count, first
    return count


def list_groups(block, q, crystal, orientations, first, some):
    """Write to `groups` those of some groups, at most THREADS, that are near some scattering vectors; returns how many.

    If the block has a thread for each of their lattices, all are taken.
    """
    group = first + block.thread
    is_one, count = block.thread < some, some
    if some * GROUP > THREADS:
        if is_one:
            centre, reach = nine_numbers(orientations.group, group), nine_numbers(orientations.group_reach, group)
            is_one = span_remoteness(crystal, centre, reach, q) <= crystal.most_remote
        count = append(block, block.groups, 0, group, is_one)
    else:
        if is_one:
            block.groups[block.thread] = group
        wait_for_block()
    return count


def list_some_lattices(block, q, crystal, orientations, start, groups, count):
    """Append those of THREADS lattices that are near some scattering vectors to `lattices`; returns its new length.

    start: the first of them, in the order of the lattices of the listed groups. groups, count: the lengths of both lists.
    """
    n, m, is_near = start + block.thread, 0, False
    if n < groups * GROUP:
        m = block.groups[n // GROUP] * GROUP + n % GROUP
        if m < orientations.lattice.shape[0]:
            vectors = nine_to_wide(cell_vectors(orientations.lattice, m))
            is_near = span_remoteness(crystal, vectors, NOTHING, q) <= crystal.most_remote
    return append(block, block.lattices, count, m, is_near)


def append(block, items, count, item, flag):
    """Append the items of the threads whose flag is true, in the order of the threads, to a list; returns its new length."""
    before, total = place_in_block(block, flag)
    if flag:
        items[count + before] = item
    wait_for_block()
    return count + total
