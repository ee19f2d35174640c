"""Derivatives by amplitudes: which reflections the pixels of a tile see, and how much each of them adds.

The derivative by an amplitude can be weighed only when its pixel is complete. Until then the steps of a tile are kept as they
come, as many as there is room for. Those that are one too many go, with all that was kept, into a table with one entry for each
pixel and reflection, found again by open addressing; so do interpolated ones.
"""

from typing import NamedTuple

import numpy as np

from adjoint.backends.reduction import run_sum
from adjoint.backends.rows import AMPLITUDE_BAR, DERIVATIVE
from nbnumba.backends.tile import PLACE, TILE
from nbnumba.stages import ceil
from nbnumba.stages.structure import cubic_weights, slot

SCATTER = 0x9E3779B97F4A7C15


class Listing(NamedTuple):
    """Steps: place of the amplitude, and derivative by it, of every pixel of the tile, in rows of TILE (room * TILE,).

    The table: pixel and reflection (lane + TILE * place) in the key, -1 where it is empty, and the derivative in the value, at
    places that the key says (a power of 2,). filled: where its entries are, in the order in which they came. count: how many
    steps, how many entries, and how many were lost because half of the table was filled. ends: room for the ends of runs
    of pixels of a step that see the same reflection.
    """

    step_place: np.ndarray
    step_value: np.ndarray
    key: np.ndarray
    value: np.ndarray
    filled: np.ndarray
    count: np.ndarray
    ends: np.ndarray


def new_listing(room, size):
    """An empty listing with room for so many steps, and a table of so many places, a power of 2."""
    steps = np.empty(room * TILE)
    filled, count, ends = np.empty(size, np.int64), np.zeros(3, np.int64), np.zeros(TILE + 1, np.int64)
    return Listing(steps, steps.copy(), np.full(size, -1), np.empty(size), filled, count, ends)


def begin_reflections(listing):
    """Forget everything."""
    for n in range(listing.count[1]):
        listing.key[listing.filled[n]] = -1
    listing.count[:] = 0


def entry(listing, n):
    """Lane, place of the amplitude, and derivative of the n-th entry of the table."""
    at = listing.filled[n]
    return listing.key[at] % TILE, listing.key[at] // TILE, listing.value[at]


def list_terms(tile, listing, lanes):
    """Keep the terms of one lattice for the lanes from lanes[0] to lanes[1] but lanes[2]."""
    if lanes[1] - lanes[0] < TILE:
        for i in range(lanes[0], lanes[1]):
            add_entry(listing, i, int(tile[PLACE + i]), tile[AMPLITUDE_BAR + i])
        return
    if (listing.count[0] + 1) * TILE > listing.step_place.size:
        settle(listing)
    first = listing.count[0] * TILE
    places, values = listing.step_place[first : first + TILE], listing.step_value[first : first + TILE]
    for i in range(TILE):
        places[i], values[i] = tile[PLACE + i], tile[AMPLITUDE_BAR + i]
    if lanes[2] >= 0:
        values[lanes[2]] = 0.0
    listing.count[0] += 1


def settle(listing):
    """Move all steps into the table, one entry for a run of steps of a pixel that see the same reflection."""
    for i in range(TILE):
        place, total = -1.0, 0.0
        for at in range(i, listing.count[0] * TILE, TILE):
            if listing.step_place[at] != place:
                if total != 0.0:
                    add_entry(listing, i, int(place), total)
                place, total = listing.step_place[at], 0.0
            total += listing.step_value[at]
        if total != 0.0:
            add_entry(listing, i, int(place), total)
    listing.count[0] = 0


def add_by_amplitude(by_amplitude, tile, listing):
    """Add everything, weighed by the derivative of the loss, to the derivatives by every amplitude (amplitudes,)."""
    for step in range(listing.count[0]):
        first = step * TILE
        places, values = listing.step_place[first : first + TILE], listing.step_value[first : first + TILE]
        for i in range(TILE):
            values[i] *= tile[DERIVATIVE + i]
        count = 0
        for i in range(TILE - 1):
            listing.ends[count] = i + 1
            count += places[i] != places[i + 1]
        listing.ends[count] = TILE
        begin = 0
        for n in range(count + 1):
            by_amplitude[int(places[begin])] += run_sum(values, begin, listing.ends[n])
            begin = listing.ends[n]
    for n in range(listing.count[1]):
        lane, at, value = entry(listing, n)
        by_amplitude[at] += value * tile[DERIVATIVE + lane]


def list_weights(listing, lane, amplitude_bar, structure, h, k, l):
    """Add an interpolated term: its 64 amplitudes with their weights (A9b)."""
    h0, k0, l0 = -ceil(-h), -ceil(-k), -ceil(-l)
    of_h, of_k, of_l = cubic_weights(h - h0), cubic_weights(k - k0), cubic_weights(l - l0)
    for i in range(4):
        for j in range(4):
            first = int(slot(structure, h0 + i - 1.0, k0 + j - 1.0, l0 - 1.0))
            for m in range(4):
                add_entry(listing, lane, first + m, amplitude_bar * of_h[i] * of_k[j] * of_l[m])


def add_entry(listing, lane, place, value):
    """Add to the entry of that lane and place of the table; a new one beyond half of the places is lost, and counted."""
    key = np.int64(place) * TILE + lane
    last = listing.key.size - 1
    at = np.int64(np.uint64(key) * np.uint64(SCATTER) >> np.uint64(20)) & last
    while listing.key[at] >= 0 and listing.key[at] != key:
        at = (at + 1) & last
    if listing.key[at] == key:
        listing.value[at] += value
    elif 2 * listing.count[1] >= last:
        listing.count[2] += 1
    else:
        listing.key[at], listing.value[at] = key, value
        listing.filled[listing.count[1]] = at
        listing.count[1] += 1
