"""The loop over layers, sub-pixels and sources of the pixels of a tile (F10), and which pixels a tile holds.

The pixels of a tile are neighbours along the fast axis, or under a mask the next ones that are wanted. Every tile is computed
whole, so that no loop has a remainder and the arithmetic of a pixel does not depend on where its tile begins or ends.
"""

import numpy as np

from nbnumba.loops.indices import fast_of
from nbnumba.loops.lattices import add_lattices
from nbnumba.loops.rows import (
    BACKGROUND_TOTAL,
    CAPTURE,
    EVER_RESOLVED,
    FRESH_SUM,
    OMEGA,
    PIXEL,
    POLARIZATION,
    ROWS_END,
    SUM,
    TILE,
    TOTAL,
)
from nbnumba.loops.samples import add_background, begin_sum, end_sum, illuminate, trace_ray
from nbnumba.stages import real, wide
from nbnumba.stages.pixel import photons


def new_tile():
    """An empty tile: the working store of a thread."""
    return np.empty(ROWS_END, wide)


def wanted(mask, row, fast):
    """Whether a pixel is to be computed."""
    return mask.size == 0 or mask[row, fast] != 0


def gather(tile, mask, row, start, stop):
    """Write to PIXEL the wanted pixels of a row of the image, from `start` to before `stop`, as many as fit into the tile.

    Returns how many pixels the tile holds, and the first pixel that did not fit. The lanes that are left hold any pixels.
    """
    count, fast = 0, start
    if mask.size == 0:
        count, fast = min(TILE, stop - start), start + TILE
        for i in range(TILE):
            tile[PIXEL + i] = start + i
    else:
        while fast < stop and count < TILE:
            if mask[row, fast] != 0:
                tile[PIXEL + count] = fast
                count += 1
            fast += 1
        for i in range(count, TILE):
            tile[PIXEL + i] = start
    return count, fast


def store(image, mask, row, start, count, tile):
    """Write the photons of the first `count` lanes of a tile, TOTAL, to the image."""
    if mask.size == 0:
        for i in range(count):
            image[row, start + i] = tile[TOTAL + i]
    else:
        for i in range(count):
            image[row, int(fast_of(tile, start, i))] = tile[TOTAL + i]


def lane_of(tile, start, fast):
    """The first lane that holds a fast pixel, or -1."""
    if fast < 0:
        return -1
    for i in range(TILE):
        if fast_of(tile, start, i) == fast:
            return i
    return -1


def render_tile(tile, row, start, panel, beam, material, sources, crystal, structure, orientations, sampling):
    """Write to TOTAL the photons of the pixels of a tile, the first of which is `start`: the loop over samples (F10, F11).

    For each sample, trace_ray writes the ray to it; for each source, illuminate writes scattering vector, polarization and
    weights, add_lattices sums over the table of lattices into SUM, and end_sum adds that to TOTAL. A pass is one sample under
    one source. In the pass in which an emulated thread of nanoBragg begins (P1), the sum of the one pixel concerned is taken
    over the table of fresh lattices, in FRESH_SUM. At the end the factors that belong to the pixel, OMEGA, POLARIZATION and
    CAPTURE, turn TOTAL and BACKGROUND_TOTAL into photons.

    The same walk stands in adjoint/loops/tile.py (differentiate_tile, pixel_factors_adj), in trace.py, and in
    setup/sampling.py (sample_order). A test compares their orders.
    """
    for i in range(TILE):
        tile[TOTAL + i], tile[BACKGROUND_TOTAL + i], tile[EVER_RESOLVED + i] = beam.background_once, 0.0, 0.0
        tile[CAPTURE + i], tile[POLARIZATION + i] = 1.0, 1.0
    fresh = lane_of(tile, start, orientations.fresh_pass[row, 0])
    has_background = beam.background_once + beam.background_each > 0.0
    pass_index = 0
    for layer in range(sampling.layers):
        for sub_slow in range(sampling.oversample):
            for sub_fast in range(sampling.oversample):
                first = sub_slow == 0 and sub_fast == 0
                trace_ray(tile, row, start, layer, sub_slow, sub_fast, first, panel, sampling)
                for source in range(sources.weight.size):
                    illuminate(tile, pass_index == 0, source, beam, sources, sampling)
                    begin_sum(tile, sampling)
                    add_lattices(SUM, tile, row, start, pass_index, crystal, structure, orientations.lattice, has_background,
                                 sampling)  # fmt: skip
                    if pass_index == orientations.fresh_pass[row, 1] and 0 <= fresh < TILE:
                        add_lattices(FRESH_SUM, tile, row, start, pass_index, crystal, structure, orientations.fresh_lattice,
                                     has_background, sampling)  # fmt: skip
                        tile[SUM + fresh] = tile[FRESH_SUM + fresh]
                    add_background(tile, beam, material)
                    end_sum(tile, sampling)
                    pass_index += 1
    for i in range(TILE):
        dark = tile[EVER_RESOLVED + i] == 0.0 and beam.polarized and beam.unlit_dark
        polarization, total = real(0) if dark else tile[POLARIZATION + i], tile[TOTAL + i] + tile[BACKGROUND_TOTAL + i]
        tile[TOTAL + i] = photons(beam, sampling, total, tile[CAPTURE + i], polarization, tile[OMEGA + i])
