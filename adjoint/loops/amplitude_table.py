"""Derivatives by amplitudes: which reflections the pixels of a tile see, and how much each of them adds.

The derivative by an amplitude can be weighed only when its pixel is complete. Until then it is in a table with one entry for
each pixel and reflection, found again by open addressing. A pixel sees the same reflection for many steps: what they add stays
in rows of the tile, and is entered when the reflection changes.
"""

from typing import NamedTuple

import numpy as np

from adjoint.loops.rows import AMPLITUDE, DERIVATIVE, KEPT, KEPT_PLACE, SCALE
from adjoint.stages.pixel import term_adj
from nbnumba.loops.rows import LATTICE, PLACE, TILE
from nbnumba.stages import ceil, real
from nbnumba.stages.structure import cubic_weights, slot

SCATTER = 0x9E3779B97F4A7C15


class Listing(NamedTuple):
    """A table: pixel and reflection (lane + TILE * place) in the key, -1 where it is empty, and the derivative in the value, at
    places that the key says (a power of 2,). filled: where its entries are, in the order in which they came. count: how many
    entries, and how many were lost because half of the table was filled. changed (TILE,): room for the numbers of those pixels
    whose reflection changes.
    """

    key: np.ndarray
    value: np.ndarray
    filled: np.ndarray
    count: np.ndarray
    changed: np.ndarray


def new_listing(size):
    """An empty listing of so many places, a power of 2."""
    filled, count, changed = np.empty(size, np.int64), np.zeros(2, np.int64), np.zeros(TILE, np.int64)
    return Listing(np.full(size, -1), np.empty(size), filled, count, changed)


def begin_reflections(tile, listing):
    """Forget everything."""
    for n in range(listing.count[0]):
        listing.key[listing.filled[n]] = -1
    listing.count[:] = 0
    for i in range(TILE):
        tile[KEPT_PLACE + i], tile[KEPT + i] = -1.0, 0.0


def entry_of(listing, n):
    """Lane, place of the amplitude, and derivative of the n-th entry of the table."""
    at = listing.filled[n]
    return listing.key[at] % TILE, listing.key[at] // TILE, listing.value[at]


def list_terms(tile, listing, lanes):
    """Keep the terms of one lattice, and enter what was kept where the reflection changes.

    It is entered for the lanes from lanes[0] to before lanes[1] but lanes[2]; what is kept of the others is void.
    """
    count = 0
    for i in range(TILE):
        listing.changed[count] = i
        count += tile[PLACE + i] != tile[KEPT_PLACE + i]
    for n in range(count):
        i = listing.changed[n]
        if lanes[0] <= i < lanes[1] and i != lanes[2]:
            enter(tile, listing, i)
        tile[KEPT_PLACE + i], tile[KEPT + i] = tile[PLACE + i], 0.0
    for i in range(TILE):
        tile[KEPT + i] += amplitude_adj(tile, i)


def amplitude_adj(tile, i):
    """The derivative by its amplitude of the term of the last lattice in lane i (A9)."""
    return term_adj(tile[AMPLITUDE + i], tile[LATTICE + i], tile[SCALE + i])[0]


def enter(tile, listing, lane):
    """Enter into the table what is kept of a pixel."""
    if tile[KEPT + lane] != 0.0:
        add_entry(listing, lane, int(tile[KEPT_PLACE + lane]), tile[KEPT + lane])


def end_reflections(tile, listing):
    """Enter all that is kept into the table."""
    for i in range(TILE):
        enter(tile, listing, i)


def add_by_amplitude(by_amplitude, tile, listing):
    """Add everything, weighed by the derivative of the loss, to the derivatives by every amplitude (amplitudes,)."""
    for n in range(listing.count[0]):
        lane, at, value = entry_of(listing, n)
        by_amplitude[at] += value * tile[DERIVATIVE + lane]


def list_weights(listing, lane, amplitude_bar, structure, h, k, l):
    """Add an interpolated term: its 64 amplitudes with their weights (A9b)."""
    h0, k0, l0 = -ceil(-h), -ceil(-k), -ceil(-l)
    of_h, of_k, of_l = cubic_weights(h - h0), cubic_weights(k - k0), cubic_weights(l - l0)
    for i in range(4):
        for j in range(4):
            first = int(slot(structure, h0 + real(i - 1), k0 + real(j - 1), l0 - real(1)))
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
    elif 2 * listing.count[0] >= last:
        listing.count[1] += 1
    else:
        listing.key[at], listing.value[at] = key, value
        listing.filled[listing.count[0]] = at
        listing.count[0] += 1
