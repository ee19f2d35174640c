"""Derivatives by structure-factor amplitudes, and by weights of sources: a table of those that the pixels of a tile see.

The derivative by an amplitude can be weighed by that of the loss only when its pixel is complete. Until then it is in a table
with one entry for each pixel and reflection, a hash table with open addressing. A pixel sees the same one or two reflections
in many terms, for example where mosaic domains turn it back and forth between them: derivatives by two reflections are pending
in rows of the tile (PENDING, EARLIER) until a third one comes. A slot is the index of a reflection in the list of amplitudes.
The slots behind this list are those of the sources, whose entries are the derivatives by their weights (A5b).
"""

from typing import NamedTuple  # noqa: I001

import numpy as np

from adjoint.loops.rows import DERIVATIVE, EARLIER, EARLIER_SLOT, PENDING, PENDING_SLOT, SCALE
from adjoint.stages.pixel import term_adj
from nbnumba.loops.patches import RUN, near_lane
from nbnumba.loops.rows import (
    AMPLITUDE, BACKGROUND, CAPTURE, CORNER, FACTOR, FRESH_PASS, LATTICE_FACTOR, PART_H, PART_K, PART_L, RESOLVED, SLOT, SUM,
    TILE,
)  # fmt: skip
from nbnumba.stages import real, wide
from nbnumba.stages.pixel import sample_weight
from nbnumba.stages.structure import cubic_weights, strides

SCATTER = 0x9E3779B97F4A7C15


SEARCHED = RUN
"""The lanes that are searched together for new reflections: few, because each of them is looked at where one has one."""


class AmplitudeTable(NamedTuple):
    """key (size,): pixel and reflection of each entry, lane + TILE * slot, or -1; value (size,): the derivative.

    The size is a power of 2. filled (size,): where the entries are, in the order in which they came. count (2,): the number of
    entries, and of those that were lost because half of the table was full. changed (TILE,): a working store for the lanes
    whose reflection changes.
    """

    key: np.ndarray
    value: np.ndarray
    filled: np.ndarray
    count: np.ndarray
    changed: np.ndarray


class Lanes(NamedTuple):
    """The lanes whose derivatives enter an amplitude table: those that have fresh lattices in a pass (P1), or all others.

    pass_index: the number of the pass. fresh: which of the two.
    """

    pass_index: int
    fresh: bool


def listed(tile, i, lanes):
    """Whether lane i is one of the lanes. Reads FRESH_PASS."""
    return (tile[FRESH_PASS + i] == wide(lanes.pass_index)) == lanes.fresh


def new_amplitude_table(size):
    """An empty table of a size that is a power of 2."""
    filled, count, changed = np.empty(size, np.int64), np.zeros(2, np.int64), np.zeros(TILE, np.int64)
    return AmplitudeTable(np.full(size, -1), np.empty(size), filled, count, changed)


def clear_table(tile, table):
    """Remove all entries, and set PENDING_SLOT and EARLIER_SLOT to -1, PENDING and EARLIER to 0."""
    for n in range(table.count[0]):
        table.key[table.filled[n]] = -1
    table.count[:] = 0
    for i in range(TILE):
        tile[PENDING_SLOT + i], tile[PENDING + i] = -1.0, 0.0
        tile[EARLIER_SLOT + i], tile[EARLIER + i] = -1.0, 0.0


def entry_of(table, n):
    """Lane, slot of the amplitude, and derivative of the n-th entry of the table."""
    index = table.filled[n]
    return table.key[index] % TILE, table.key[index] // TILE, table.value[index]


def collect_terms(tile, runs, table, lanes):
    """Add the derivatives of one lattice's terms by their amplitudes to PENDING or EARLIER, lane by lane.

    Where the reflection in SLOT is new, that is, neither that of PENDING_SLOT nor that of EARLIER_SLOT, what is pending of the
    earlier one is entered, PENDING becomes EARLIER, and the new one begins. Only the lanes that `lanes` names are entered; what
    is pending in the others is discarded. runs: of lanes that have terms.
    """
    count = 0
    for r in range(runs):
        first = near_lane(tile, r)
        for begin in range(first, first + RUN, SEARCHED):
            if add_to_pending(tile, begin):
                for i in range(begin, begin + SEARCHED):
                    table.changed[count] = i
                    count += is_new(tile, i)
    for n in range(count):
        i = table.changed[n]
        if listed(tile, i, lanes):
            enter_pending(tile, table, i, EARLIER_SLOT, EARLIER)
        tile[EARLIER_SLOT + i], tile[EARLIER + i] = tile[PENDING_SLOT + i], tile[PENDING + i]
        tile[PENDING_SLOT + i], tile[PENDING + i] = tile[SLOT + i], amplitude_adj(tile, i)


def add_to_pending(tile, first):
    """Add the derivatives in the SEARCHED lanes from `first` on to PENDING or EARLIER; returns whether any reflection is new.

    There is none for most, and this loop vectorises; that which lists the lanes with new ones does not.
    """
    found = False
    for n in range(SEARCHED):
        i = first + n
        bar = amplitude_adj(tile, i)
        tile[PENDING + i] += bar if tile[SLOT + i] == tile[PENDING_SLOT + i] else real(0)
        tile[EARLIER + i] += bar if tile[SLOT + i] == tile[EARLIER_SLOT + i] else real(0)
        found |= is_new(tile, i)
    return found


def is_new(tile, i):
    """Whether nothing is pending of the reflection in SLOT of lane i."""
    return (tile[SLOT + i] != tile[PENDING_SLOT + i]) & (tile[SLOT + i] != tile[EARLIER_SLOT + i])


def amplitude_adj(tile, i):
    """The derivative of the last lattice's term by its amplitude in lane i (A9). Reads AMPLITUDE, LATTICE_FACTOR, SCALE."""
    return term_adj(tile[AMPLITUDE + i], tile[LATTICE_FACTOR + i], tile[SCALE + i])[0]


def enter_pending(tile, table, lane, slot_row, row):
    """Enter what is pending in a lane into the table: in the row PENDING, with PENDING_SLOT, or EARLIER, with EARLIER_SLOT."""
    if tile[row + lane] != 0.0:
        add_entry(table, lane, int(tile[slot_row + lane]), tile[row + lane])


def enter_all_pending(tile, table):
    """Enter what is pending in all lanes into the table."""
    for i in range(TILE):
        enter_pending(tile, table, i, EARLIER_SLOT, EARLIER)
        enter_pending(tile, table, i, PENDING_SLOT, PENDING)


def enter_weights(tile, table, slot_index, sampling):
    """Enter the derivatives of the pixel's sum by the weight of the source of a pass, whose slot is slot_index (A5b).

    It is what end_pass adds to the sum, without the weight. It reads SUM, RESOLVED, BACKGROUND, CAPTURE and FACTOR.
    """
    for lane in range(TILE):
        added = (tile[SUM + lane] * tile[RESOLVED + lane] + tile[BACKGROUND + lane]) * tile[FACTOR + lane]
        if added != 0.0:
            add_entry(table, lane, slot_index, added * sample_weight(sampling, real(1), tile[CAPTURE + lane]))


def add_by_amplitude(by_amplitude, tile, table):
    """Add all entries, each times DERIVATIVE of its lane, to the derivatives of the loss by the amplitudes (amplitudes,)."""
    for n in range(table.count[0]):
        lane, slot_index, value = entry_of(table, n)
        by_amplitude[slot_index] += value * tile[DERIVATIVE + lane]


def enter_interpolated(table, tile, lane, amplitude_bar, structure):
    """Enter the derivatives of an interpolated term by its 64 amplitudes: amplitude_bar times the weight of each (A9b).

    It reads CORNER, PART_H, PART_K and PART_L.
    """
    along_h, along_k = strides(structure)
    of_h, of_k, of_l = (
        cubic_weights(tile[PART_H + lane]),
        cubic_weights(tile[PART_K + lane]),
        cubic_weights(tile[PART_L + lane]),
    )
    for i in range(4):
        for j in range(4):
            first = int(tile[CORNER + lane]) + i * along_h + j * along_k
            for m in range(4):
                add_entry(table, lane, first + m, amplitude_bar * of_h[i] * of_k[j] * of_l[m])


def add_entry(table, lane, slot_index, value):
    """Add to the entry of a lane and slot. If half of the table is full a new entry is lost, and counted.

    The entries of a lane are near each other, because lanes are entered in their order. The table has room for all lanes.
    """
    key = np.int64(slot_index) * TILE + lane
    last, of_lane = table.key.size - 1, table.key.size // TILE
    scattered = np.int64(np.uint64(slot_index) * np.uint64(SCATTER) >> np.uint64(40))
    index = lane * of_lane + (scattered & (of_lane - 1))
    while table.key[index] >= 0 and table.key[index] != key:
        index = (index + 1) & last
    if table.key[index] == key:
        table.value[index] += value
    elif 2 * table.count[0] >= last:
        table.count[1] += 1
    else:
        table.key[index], table.value[index] = key, value
        table.filled[table.count[0]] = index
        table.count[0] += 1
