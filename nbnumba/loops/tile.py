"""The loop over layers, sub-pixels and sources of the pixels of a tile (F10).

Every tile is computed whole, so that no loop has a remainder and the arithmetic of a pixel does not depend on its lane.
"""

from nbnumba.loops import culled
from nbnumba.loops.indices import fast_of, slow_of
from nbnumba.loops.lattices import add_lattices
from nbnumba.loops.patches import NO_VIEW, add_near_lattices, beam_of, bound_rays, first_near
from nbnumba.loops.rows import (
    BACKGROUND_TOTAL,
    CAPTURE,
    EVER_RESOLVED,
    FRESH_PASS,
    FRESH_SUM,
    OMEGA,
    POLARIZATION,
    SUM,
    TILE,
    TOTAL,
)
from nbnumba.loops.samples import add_background, begin_sum, end_sum, illuminate, trace_ray
from nbnumba.stages import real, wide
from nbnumba.stages.pixel import photons
from nbnumba.stages.structure import of_source


def find_fresh(tile, orientations):
    """Write to FRESH_PASS the pass in which each pixel has fresh lattices, or -1 (P1)."""
    for i in range(TILE):
        tile[FRESH_PASS + i] = wide(-1)
    if orientations.fresh_pass.size:
        for i in range(TILE):
            slow = int(slow_of(tile, i))
            if orientations.fresh_pass[slow, 0] == int(fast_of(tile, i)):
                tile[FRESH_PASS + i] = orientations.fresh_pass[slow, 1]


def some_fresh(tile, pass_index):
    """Whether a pixel of the tile has fresh lattices in a pass (FRESH_PASS)."""
    found = False
    for i in range(TILE):
        found |= tile[FRESH_PASS + i] == wide(pass_index)
    return found


def take_fresh(tile, pass_index):
    """Take FRESH_SUM for SUM where a pixel has fresh lattices in this pass (FRESH_PASS)."""
    for i in range(TILE):
        tile[SUM + i] = tile[FRESH_SUM + i] if tile[FRESH_PASS + i] == wide(pass_index) else tile[SUM + i]


def add_every_lattice(tile, pass_index, crystal, structure, orientations, has_background, sampling):
    """Add the terms of all lattices to SUM: of the fresh ones where a pixel has these in this pass (P1)."""
    add_lattices(SUM, tile, pass_index, crystal, structure, orientations.lattice, has_background, sampling)
    if orientations.fresh_pass.size and some_fresh(tile, pass_index):
        add_lattices(FRESH_SUM, tile, pass_index, crystal, structure, orientations.fresh_lattice, has_background, sampling)
        take_fresh(tile, pass_index)


def render_tile(tile, panel, beam, material, sources, crystal, structure, orientations, sampling):
    """Write to TOTAL the photons of the pixels of a tile: the loop over samples (F10, F11).

    For each sample, trace_ray writes the ray to it; for each source, illuminate writes scattering vector, polarization and
    weights, add_lattices sums over the table of lattices into SUM, and end_sum adds that to TOTAL. A pass is one sample under
    one source. In the pass in which an emulated thread of nanoBragg begins (P1), the sum of the pixel concerned is taken over
    the table of fresh lattices, in FRESH_SUM. In a scene that is culled, add_near_lattices takes the place of add_lattices, and
    a pass in which no term of the tile may count is left out (F10a), but not the first of several, which has the factors of the
    pixel. At the end the factors that belong to the pixel, OMEGA, POLARIZATION and CAPTURE, turn TOTAL and BACKGROUND_TOTAL
    into photons.

    The same walk stands in adjoint/loops/tile.py (differentiate_tile, pixel_factors_adj), in trace.py, and in
    setup/sampling.py (sample_order). A test compares their orders.
    """
    has_background = beam.background_once + beam.background_each > 0.0
    for i in range(TILE):
        tile[TOTAL + i], tile[BACKGROUND_TOTAL + i], tile[EVER_RESOLVED + i] = beam.background_once, 0.0, 0.0
        tile[CAPTURE + i], tile[POLARIZATION + i] = 1.0, 1.0
    find_fresh(tile, orientations)
    single = sampling.layers * sampling.oversample**2 * sources.weight.size == 1
    pass_index = 0
    for layer in range(sampling.layers):
        for sub_slow in range(sampling.oversample):
            for sub_fast in range(sampling.oversample):
                trace_ray(tile, layer, sub_slow, sub_fast, sub_slow == 0 and sub_fast == 0, panel, sampling)
                view = bound_rays(tile, panel, crystal, sampling) if culled else NO_VIEW
                for source in range(sources.weight.size):
                    ray = beam_of(source, sources)
                    first = first_near(tile, view, ray, crystal, orientations) if culled else (0, 1)
                    if first[1] > 0 or has_background or beam.dmin > 0.0 or (pass_index == 0 and not single):
                        illuminate(tile, pass_index == 0, source, beam, sources, sampling)
                        begin_sum(tile, sampling)
                        add_background(tile, beam, material)
                        own = of_source(structure, source)
                        if culled:
                            if first[1] > 0:
                                add_near_lattices(tile, view, ray, first, source, sources, crystal, own, orientations)
                        else:
                            add_every_lattice(tile, pass_index, crystal, own, orientations, has_background, sampling)
                        end_sum(tile, sampling)
                    pass_index += 1
    for i in range(TILE):
        dark = tile[EVER_RESOLVED + i] == 0.0 and beam.polarized and beam.unlit_dark
        polarization, total = real(0) if dark else tile[POLARIZATION + i], tile[TOTAL + i] + tile[BACKGROUND_TOTAL + i]
        tile[TOTAL + i] = photons(beam, sampling, total, tile[CAPTURE + i], polarization, tile[OMEGA + i])
