"""Derivatives by amplitudes: which reflections the pixels of a tile see, and how much each of them adds.

The derivative by an amplitude can be weighed only when its pixel is complete. Until then it is listed, one entry for every
pixel and reflection, found again by open addressing; a run of steps that look the same reflection up goes there at once.
"""

from typing import NamedTuple

import numpy as np

from adjoint.backends.rows import AMPLITUDE_BAR, TOTAL_BAR
from nbnumba.backends.tile import TILE
from nbnumba.stages import ceil
from nbnumba.stages.structure import cubic_weights, slot

SCATTER = 0x9E3779B97F4A7C15


class Listing(NamedTuple):
    """Entries: pixel and reflection (lane + TILE * place) in the key, derivative in the value, at places that the key says.

    key (a power of 2,): -1 is an empty place. filled: where the entries are, in the order in which they came. count: how many
    there are, and how many were lost because half of the places were filled. open_place, open_sum (TILE,): the run of each
    lane that is not yet an entry; place -1 is none.
    """

    key: np.ndarray
    value: np.ndarray
    filled: np.ndarray
    count: np.ndarray
    open_place: np.ndarray
    open_sum: np.ndarray


def new_listing(size):
    """An empty listing with so many places, a power of 2."""
    none = np.full(TILE, np.int32(-1))
    return Listing(np.full(size, -1), np.empty(size), np.empty(size, np.int64), np.zeros(2, np.int64), none, np.zeros(TILE))


def begin_reflections(listing):
    """Forget all entries."""
    for n in range(listing.count[0]):
        listing.key[listing.filled[n]] = -1
    listing.count[0], listing.count[1] = 0, 0
    for i in range(TILE):
        listing.open_place[i], listing.open_sum[i] = -1, 0.0


def entry(listing, n):
    """Lane, place of the amplitude, and derivative of the n-th entry."""
    at = listing.filled[n]
    return listing.key[at] % TILE, listing.key[at] // TILE, listing.value[at]


def list_terms(g, listing, lanes, places):
    """Add the terms of one lattice, looked up at those places, for the lanes from lanes[0] to lanes[1] but lanes[2]."""
    for i in range(lanes[0], lanes[1]):
        if i == lanes[2]:
            continue
        if places[i] != listing.open_place[i]:
            end_run(listing, i)
            listing.open_place[i], listing.open_sum[i] = places[i], 0.0
        listing.open_sum[i] += g[AMPLITUDE_BAR + i]


def list_weights(listing, lane, amplitude_bar, structure, h, k, l):
    """Add an interpolated term: its 64 amplitudes with their weights (A9b)."""
    h0, k0, l0 = -ceil(-h), -ceil(-k), -ceil(-l)
    of_h, of_k, of_l = cubic_weights(h - h0), cubic_weights(k - k0), cubic_weights(l - l0)
    for i in range(4):
        for j in range(4):
            first = int(slot(structure, h0 + i - 1.0, k0 + j - 1.0, l0 - 1.0))
            for m in range(4):
                add_entry(listing, lane, first + m, amplitude_bar * of_h[i] * of_k[j] * of_l[m])


def end_run(listing, lane):
    """Make an entry of the run of a lane."""
    if listing.open_place[lane] >= 0 and listing.open_sum[lane] != 0.0:
        add_entry(listing, lane, listing.open_place[lane], listing.open_sum[lane])


def add_entry(listing, lane, place, value):
    """Add to the entry of that lane and place; a new one beyond half of the places is lost, and counted."""
    key = np.int64(place) * TILE + lane
    last = listing.key.size - 1
    at = np.int64(np.uint64(key) * np.uint64(SCATTER) >> np.uint64(20)) & last
    while listing.key[at] >= 0 and listing.key[at] != key:
        at = (at + 1) & last
    if listing.key[at] == key:
        listing.value[at] += value
    elif 2 * listing.count[0] >= last:
        listing.count[1] += 1
    else:
        listing.key[at], listing.value[at] = key, value
        listing.filled[listing.count[0]] = at
        listing.count[0] += 1


def settle(listing, g):
    """Make entries of all runs, and give every entry the cotangent of its pixel's sum."""
    for i in range(TILE):
        end_run(listing, i)
    for n in range(listing.count[0]):
        at = listing.filled[n]
        listing.value[at] *= g[TOTAL_BAR + listing.key[at] % TILE]
