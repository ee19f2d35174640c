"""Which reflection gives most photons to a pixel: the walk over samples, sources and lattices, summed by reflection (F15)."""

import numpy as np

from nbnumba.loops.blocks import BLOCK_SLOW, gather, places
from nbnumba.loops.indices import cell_vectors, extended_q, fast_of, nearest_hkl, slow_of
from nbnumba.loops.lattices import lattice_factors, write_amplitudes
from nbnumba.loops.rows import (
    AMPLITUDE,
    BACKGROUND,
    BACKGROUND_TOTAL,
    CAPTURE,
    EVER_RESOLVED,
    FACTOR,
    LATTICE_FACTOR,
    POLARIZATION,
    RESOLVED,
    TILE,
    TOTAL,
    WEIGHT,
)
from nbnumba.loops.samples import add_background, illuminate, trace_ray
from nbnumba.stages import real
from nbnumba.stages.pixel import term
from nbnumba.stages.structure import of_source, slot


def count(
    best, largest, total, failed, keys, sums, used, rows, columns, mask, work, known,
    panel, beam, material, sources, crystal, structure, orientations, sampling,
):  # fmt: skip
    """Fill best, largest and total [rows[0]:rows[1], columns[0]:columns[1]] where the mask is not zero (F15).

    best (slow, fast) float64: the slot of the reflection that gives most photons, among those of `known`, a Structure record
    that is read for its bounds alone; -1 where none gives any. largest, total (slow, fast) float64: its photons, and those of
    all reflections and of the background, up to the factors of the pixel, in electrons^2. failed (1,): becomes 1 where a pixel
    has more reflections than there is room for, and the rest is not filled. keys, sums (TILE, room) and used (TILE,) float64,
    and work, a tile: for this call to write to. The rest are the records of a Scene.
    """
    for strip in range(-(-(rows[1] - rows[0]) // BLOCK_SLOW)):
        start, first = 0, rows[0] + strip * BLOCK_SLOW
        while start < places(columns) and failed[0] == 0.0:
            number, start = gather(work, mask, (first, min(first + BLOCK_SLOW, rows[1])), columns, start)
            if number > 0:
                count_tile(
                    work, failed, keys, sums, used, known, panel, beam, material, sources, crystal, structure, orientations,
                    sampling,
                )  # fmt: skip
                for i in range(number):
                    slow, fast = np.uintp(slow_of(work, i)), np.uintp(fast_of(work, i))
                    best[slow, fast], largest[slow, fast], total[slow, fast] = largest_sum(work, i, keys, sums, used)


def count_tile(
    tile, failed, keys, sums, used, known, panel, beam, material, sources, crystal, structure, orientations, sampling
):
    """Write what each reflection gives to each pixel of a tile, up to the factors of the pixel, and BACKGROUND_TOTAL (F10).

    The order of samples is that of render_tile. Neither a running product (P2) nor fresh lattices (P1) are known here.
    """
    for i in range(TILE):
        tile[TOTAL + i], tile[BACKGROUND_TOTAL + i], tile[EVER_RESOLVED + i] = 0.0, 0.0, 0.0
        tile[CAPTURE + i], tile[POLARIZATION + i], used[i] = 1.0, 1.0, 0.0
    pass_index = 0
    for layer in range(sampling.layers):
        for sub_slow in range(sampling.oversample):
            for sub_fast in range(sampling.oversample):
                trace_ray(tile, layer, sub_slow, sub_fast, sub_slow == 0 and sub_fast == 0, panel, sampling)
                for source in range(sources.weight.size):
                    illuminate(tile, pass_index == 0, source, beam, sources, sampling)
                    add_background(tile, beam, material)
                    for i in range(TILE):
                        tile[BACKGROUND_TOTAL + i] += tile[BACKGROUND + i] * tile[WEIGHT + i] * tile[FACTOR + i]
                    own = of_source(structure, source)
                    count_lattices(tile, failed, keys, sums, used, known, pass_index, crystal, own, orientations.lattice)
                    pass_index += 1


def count_lattices(tile, failed, keys, sums, used, known, pass_index, crystal, structure, lattices):
    """Add the terms of all lattices, for one sample under one source, to the sums of their reflections. Reads Q_X, Q_Y, Q_Z."""
    for m in range(lattices.shape[0]):
        vectors = cell_vectors(lattices, m)
        lattice_factors(tile, crystal, structure, vectors)
        write_amplitudes(tile, (pass_index, m), structure, vectors)
        for i in range(TILE):
            each = term(tile[AMPLITUDE + i], real(tile[LATTICE_FACTOR + i])) * tile[RESOLVED + i]
            each = each * tile[WEIGHT + i] * tile[FACTOR + i]
            if each > 0.0:
                (_, h), (_, k), (_, l) = nearest_hkl(vectors, extended_q(tile, i))
                add_to_key(failed, keys, sums, used, i, slot(known, h, k, l), each)


def add_to_key(failed, keys, sums, used, i, key, each):
    """Add a number to the sum of a key of lane i; a new key takes the next place, or there is no room."""
    place, last = 0, int(used[i])
    while place < last and keys[i, place] != key:
        place += 1
    if place < keys.shape[1]:
        if place == last:
            keys[i, place], sums[i, place], used[i] = key, 0.0, last + 1
        sums[i, place] += each
    else:
        failed[0] = 1.0


def largest_sum(tile, i, keys, sums, used):
    """The key of lane i whose sum is largest, of equal ones the least, or -1; its sum; and all sums with BACKGROUND_TOTAL."""
    key, largest, total = -1.0, 0.0, tile[BACKGROUND_TOTAL + i]
    for place in range(int(used[i])):
        total += sums[i, place]
        if sums[i, place] > largest or (sums[i, place] == largest and keys[i, place] < key):
            key, largest = keys[i, place], sums[i, place]
    return key, largest, total
