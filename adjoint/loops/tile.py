"""The loop over layers, sub-pixels and sources of the pixels of a tile: photons, and their derivatives by the scene (A10).

The derivatives of a pixel are its channels: one for each number of a Cotangent record (rows.py). The number of channels does
not depend on the number of samples, of lattices or of parameters.
"""

from typing import NamedTuple  # noqa: I001

import numpy as np

from adjoint.loops.lattices import differentiate_lattices
from adjoint.loops.amplitude_table import Lanes, clear_table, enter_all_pending, enter_weights
from adjoint.loops.rows import (
    ALL_END, BACKGROUND_EACH, CAPTURE_BAR, D_BAR, FADING, MATERIAL, OMEGA_BAR, PHOTONS, PIXEL_CAPTURE_BAR,
    PIXEL_OMEGA_BAR, PIXEL_POLARIZATION_BAR, POLARIZATION_BAR, Q_BAR, SCALE, POLARIZATION_PASS, TOTAL_BAR, add3, set3, three,
)  # fmt: skip
from adjoint.loops.samples import polarization_adj, scatter_adj, trace_ray_adj
from adjoint.stages.beam import fading_factor_adj
from adjoint.stages.pixel import amorphous_adj, material_adj, photons_adj, sample_factor_adj, sample_weight_adj
from nbnumba.loops.rows import (
    BACKGROUND, BACKGROUND_TOTAL, CAPTURE, EVER_RESOLVED, FACTOR, FRESH_PASS, OMEGA, POLARIZATION, Q_X, RESOLVED, SUM, TILE,
    TOTAL, WEIGHT,
)  # fmt: skip
from nbnumba.loops import culled
from nbnumba.loops.patches import NO_VIEW, beam_of, bound_rays, first_near
from nbnumba.loops.samples import add_background, end_sum, polarize, scatter, trace_ray, weigh
from nbnumba.loops.tile import find_fresh, some_fresh
from nbnumba.stages import real, wide
from nbnumba.stages.pixel import photons
from nbnumba.stages.structure import of_source


class Paths(NamedTuple):
    """Which derivatives are wanted.

    geometry: by detector and beam. vectors: by the cell vectors. sweep: by the range of the rotation, where each phi step turns
    as a whole. lattice_angles: by the other angles that turn lattices.
    cell_spreads: by the spreads of the cell. reflections: by structure-factor amplitudes. weights: by weights of sources.
    channels: where the rows of the wanted channels begin; what the other channels hold is not defined.
    """

    geometry: bool
    vectors: bool
    sweep: bool
    lattice_angles: bool
    cell_spreads: bool
    reflections: bool
    weights: bool
    channels: np.ndarray


def differentiate_tile(
    tile, table, panel, beam, material, sources, crystal, structure, orientations, sampling, motions, paths
):
    """Write to TOTAL the photons of the pixels of a tile, and add to their derivatives (A10).

    The walk over samples is that of nbnumba/loops/tile.py:render_tile, and so are the rows of the forward model, and the passes
    that are left out because no term of the tile counts (F10a). In each other pass, that is, for one sample under one source,
    add_pass sums over the lattices and adds to the channels of the crystal, and end_pass adds to those of background and
    source, and to the cotangents of the sample (D_BAR, OMEGA_BAR, CAPTURE_BAR). When all sources have been gone through,
    trace_ray_adj pulls these back to the channels of the panel. At the end finish_pixels makes TOTAL photons, and
    pixel_factors_adj differentiates the factors that belong to the whole pixel.

    Derivatives by amplitudes and by weights are in the amplitude table. Channels have to be 0 at the start. They, the table and
    the cotangents hold derivatives of the pixel's sum, TOTAL, until the end; those of its photons are TOTAL_BAR times as large,
    the derivative of the photons by the sum, which is known when the pixel is complete (A0). Where that is 0, so are all
    derivatives. The sensor's capture of a layer is taken at its first sub-pixel, where the ray is traced again to differentiate
    it. If a pixel has one sample, its geometry is differentiated once, in pixel_factors_adj.
    """
    if paths.reflections or paths.weights:
        clear_table(tile, table)
    begin_pixels(tile, beam)
    find_fresh(tile, orientations)
    has_background = beam.background_once + beam.background_each > 0.0
    single = sampling.layers * sampling.oversample * sampling.oversample == 1
    pass_index = 0
    for layer in range(sampling.layers):
        for sub_slow in range(sampling.oversample):
            for sub_fast in range(sampling.oversample):
                sample = (layer, sub_slow, sub_fast)
                trace_ray(tile, layer, sub_slow, sub_fast, sub_slow == 0 and sub_fast == 0, panel, sampling)
                view = bound_rays(tile, panel, crystal, sampling) if culled else NO_VIEW
                for source in range(sources.weight.size):
                    ray = beam_of(source, sources)
                    near = first_near(tile, view, ray, crystal, orientations)[1] > 0 if culled else True
                    if near or has_background or beam.dmin > 0.0 or pass_index == 0:
                        scatter(tile, source, beam, sources)
                        if beam.dmin > 0.0:
                            note_polarization(tile, pass_index)
                        polarize(tile, pass_index == 0, source, beam, sources, sampling)
                        weigh(tile, sources.weight[source], sampling)
                        begin_pass(tile)
                        own = of_source(structure, source)
                        add_pass(tile, table, pass_index, ray, crystal, own, orientations, motions, paths)
                        add_background(tile, beam, material)
                        if paths.weights:
                            enter_weights(tile, table, structure.amplitude.size + source, sampling)
                        end_pass(tile, source, panel, beam, material, sources, sampling, motions, paths)
                    pass_index += 1
                if paths.geometry and not single:
                    trace_ray_adj(tile, sample, sampling.every_capture, panel, sampling)
        if paths.geometry and not single and not sampling.every_capture and panel.sensor:
            trace_ray(tile, layer, 0, 0, True, panel, sampling)
            trace_ray_adj(tile, (layer, 0, 0), True, panel, sampling)
    if paths.reflections:
        enter_all_pending(tile, table)
    finish_pixels(tile, beam, sampling)
    if paths.geometry:
        pixel_factors_adj(tile, single, panel, beam, sources, sampling, motions)


def set_dark(tile, table):
    """Do what differentiate_tile does for pixels without photons: TOTAL and TOTAL_BAR are 0; channels and table are empty."""
    clear_table(tile, table)
    for i in range(TILE):
        tile[TOTAL + i], tile[TOTAL_BAR + i] = 0.0, 0.0


def begin_pixels(tile, beam):
    """Set the sums TOTAL, BACKGROUND_TOTAL, EVER_RESOLVED and the cotangents D_BAR, OMEGA_BAR, CAPTURE_BAR to their start.

    CAPTURE and POLARIZATION start from 1. The caller zeroes the requested channels after reading them.
    """
    for i in range(TILE):
        tile[TOTAL + i], tile[BACKGROUND_TOTAL + i], tile[EVER_RESOLVED + i] = beam.background_once, 0.0, 0.0
        tile[CAPTURE + i], tile[POLARIZATION + i], tile[POLARIZATION_PASS + i] = 1.0, 1.0, 0.0
        set3(tile, D_BAR, i, (0.0, 0.0, 0.0))
        tile[OMEGA_BAR + i], tile[CAPTURE_BAR + i] = 0.0, 0.0


def note_polarization(tile, pass_index):
    """Write to POLARIZATION_PASS the pass in which a pixel's polarization is taken: the first that dmin leaves in (F10).

    Where dmin leaves in none it stays 0, the first pass. It reads EVER_RESOLVED and RESOLVED.
    """
    for i in range(TILE):
        if tile[EVER_RESOLVED + i] == 0.0 and tile[RESOLVED + i] != 0.0:
            tile[POLARIZATION_PASS + i] = pass_index


def begin_pass(tile):
    """Write SCALE, by which a term counts in the pixel's sum: WEIGHT times FACTOR times RESOLVED. Set SUM and Q_BAR to 0."""
    for i in range(TILE):
        tile[SCALE + i] = tile[WEIGHT + i] * tile[FACTOR + i] * tile[RESOLVED + i]
    for i in range(TILE):
        set3(tile, Q_BAR, i, (0.0, 0.0, 0.0))
        tile[SUM + i] = 0.0


def add_pass(tile, table, pass_index, ray, crystal, structure, orientations, motions, paths):
    """Sum over the table of lattices into SUM, and add the derivatives to the channels and the amplitude table.

    In the pass in which an emulated thread of nanoBragg begins (P1), a pixel has fresh lattices. All pixels of the tile are
    then summed over the fresh lattices a second time, in a copy of the tile behind it, and that pixel is taken from the copy.
    """
    fresh = orientations.fresh_pass.size > 0 and some_fresh(tile, pass_index)
    if fresh:
        for i in range(ALL_END):
            tile[ALL_END + i] = tile[i]
    into = tile
    for second in range(1 + fresh):
        lanes = Lanes(pass_index, second == 1)
        differentiate_lattices(into, table, lanes, ray, crystal, structure, orientations, motions, paths)
        into = tile[ALL_END:]
    if fresh:
        take_fresh_lanes(tile, pass_index)


def take_fresh_lanes(tile, pass_index):
    """Take from the copy behind the tile all rows of the lanes that have fresh lattices in a pass (FRESH_PASS)."""
    for lane in range(TILE):
        if tile[FRESH_PASS + lane] == wide(pass_index):
            for i in range(lane, ALL_END, TILE):
                tile[i] = tile[ALL_END + i]


def end_pass(tile, source, panel, beam, material, sources, sampling, motions, paths):
    """Add SUM and BACKGROUND to the sums of the pixel (end_sum), and differentiate all but the lattices (A10, A12).

    It adds to CAPTURE_BAR and OMEGA_BAR and writes POLARIZATION_BAR, as far as these factors are taken anew at every sample;
    it adds to BACKGROUND_EACH, MATERIAL and FADING, and by scatter_adj and polarization_adj to D_BAR, KAHN and SOURCE. It reads
    SUM, RESOLVED, BACKGROUND, WEIGHT, FACTOR, CAPTURE, POLARIZATION, OMEGA and Q_BAR.
    """
    share = sources.weight[source]
    if panel.sensor:
        for i in range(TILE):
            pass_sum = tile[SUM + i] * tile[RESOLVED + i] + tile[BACKGROUND + i]
            tile[CAPTURE_BAR + i] += sample_weight_adj(sampling, share, pass_sum * tile[FACTOR + i])
    if sampling.every_capture or sampling.every_polarization or sampling.every_omega:
        for i in range(TILE):
            factor_bar = (tile[SUM + i] * tile[RESOLVED + i] + tile[BACKGROUND + i]) * tile[WEIGHT + i]
            factors = tile[CAPTURE + i], tile[POLARIZATION + i], tile[OMEGA + i]
            bars = sample_factor_adj(sampling, factors[0], factors[1], factors[2], factor_bar)
            tile[CAPTURE_BAR + i] += bars[0]
            tile[POLARIZATION_BAR + i] = bars[1]
            tile[OMEGA_BAR + i] += bars[2]
    end_sum(tile, sampling)
    if beam.fades:
        fading_adj(tile, beam)
    if material.per_stol > 0.0 and beam.background_each > 0.0:
        background_adj(tile, beam, material)
        if motions.material.shape[1] > 1:
            materials_adj(tile, beam, material, motions.material)
    elif beam.background_each > 0.0:
        for i in range(TILE):
            tile[BACKGROUND_EACH + i] += tile[WEIGHT + i] * tile[FACTOR + i]
    if paths.geometry:
        if sampling.every_polarization and beam.polarized:
            polarization_adj(tile, source, beam, sources, motions)
        scatter_adj(tile, source, sources, motions)


def fading_adj(tile, beam):
    """Add to FADING, and to Q_BAR where it is not 0, for an isotropic B factor (A9d).

    It reads SUM, RESOLVED, WEIGHT, FACTOR and Q_X, Q_Y, Q_Z.
    """
    for i in range(TILE):
        sum_bar = tile[SUM + i] * tile[RESOLVED + i] * tile[WEIGHT + i] * tile[FACTOR + i]
        tile[FADING + i] += fading_factor_adj(beam, three(tile, Q_X, i), sum_bar)[0]
    if beam.fading != 0.0:
        for i in range(TILE):
            sum_bar = tile[SUM + i] * tile[RESOLVED + i] * tile[WEIGHT + i] * tile[FACTOR + i]
            add3(tile, Q_BAR, i, fading_factor_adj(beam, three(tile, Q_X, i), sum_bar)[1])


def background_adj(tile, beam, material):
    """Add to BACKGROUND_EACH and Q_BAR for a background that varies with the scattering vector Q_X, Q_Y, Q_Z (A12)."""
    for i in range(TILE):
        background_bar, q_bar = amorphous_adj(material, beam, three(tile, Q_X, i), tile[WEIGHT + i] * tile[FACTOR + i])
        tile[BACKGROUND_EACH + i] += background_bar
        add3(tile, Q_BAR, i, q_bar)


def materials_adj(tile, beam, material, rates):
    """Add to MATERIAL the derivatives by the parameters of materials, for the scattering vector Q_X, Q_Y, Q_Z (A12b)."""
    for k in range(rates.shape[0]):
        for i in range(TILE):
            total_bar = tile[WEIGHT + i] * tile[FACTOR + i]
            tile[MATERIAL + k * TILE + i] += material_adj(material, rates[k], beam, three(tile, Q_X, i), total_bar)


def finish_pixels(tile, beam, sampling):
    """Turn TOTAL and BACKGROUND_TOTAL into the photons of the pixel, in TOTAL (F11), and differentiate that (A11).

    It writes TOTAL_BAR, the derivative by the sum, and relative to it PHOTONS and the cotangents of the factors that belong to
    the pixel: PIXEL_CAPTURE_BAR, PIXEL_POLARIZATION_BAR, PIXEL_OMEGA_BAR. It reads EVER_RESOLVED, CAPTURE, POLARIZATION and
    OMEGA.
    """
    for i in range(TILE):
        dark = tile[EVER_RESOLVED + i] == 0.0 and beam.polarized and beam.unlit_dark
        polarization, total = real(0) if dark else tile[POLARIZATION + i], tile[TOTAL + i] + tile[BACKGROUND_TOTAL + i]
        bars = photons_adj(beam, sampling, total, tile[CAPTURE + i], polarization, tile[OMEGA + i], real(1))
        tile[TOTAL + i] = photons(beam, sampling, total, tile[CAPTURE + i], polarization, tile[OMEGA + i])
        inverse = real(1) / bars[1] if bars[1] > 0.0 else real(0)
        tile[TOTAL_BAR + i], tile[PHOTONS + i], tile[PIXEL_CAPTURE_BAR + i] = bars[1], bars[0] * inverse, bars[2] * inverse
        tile[PIXEL_POLARIZATION_BAR + i], tile[PIXEL_OMEGA_BAR + i] = bars[3] * inverse, bars[4] * inverse


def pixel_factors_adj(tile, single, panel, beam, sources, sampling, motions):
    """Pull the cotangents of the factors of the whole pixel back to the channels, each at the sample it was taken at (F10).

    The walk over samples is that of nbnumba/loops/tile.py:render_tile; it ends with the last pass in which a pixel took its
    polarization (POLARIZATION_PASS). It reads PIXEL_OMEGA_BAR in the first pass, PIXEL_POLARIZATION_BAR in that pass, and
    PIXEL_CAPTURE_BAR in the last layer, adds them to OMEGA_BAR, POLARIZATION_BAR and CAPTURE_BAR, and pulls these back by
    polarization_adj and trace_ray_adj. single: each pixel has one sample, whose ray is still in the tile.
    """
    takes = beam.polarized and not sampling.every_polarization
    last, pass_index = last_taken(tile) if takes and beam.dmin > 0.0 else 0, 0
    for layer in range(sampling.layers):
        for sub_slow in range(sampling.oversample):
            for sub_fast in range(sampling.oversample):
                if pass_index > last:
                    break
                if not single:
                    trace_ray(tile, layer, sub_slow, sub_fast, False, panel, sampling)
                if pass_index == 0:
                    for i in range(TILE):
                        tile[OMEGA_BAR + i] += tile[PIXEL_OMEGA_BAR + i]
                for source in range(sources.weight.size):
                    if takes and pass_index <= last:
                        for i in range(TILE):
                            takes_here = tile[POLARIZATION_PASS + i] == real(pass_index)
                            tile[POLARIZATION_BAR + i] = tile[PIXEL_POLARIZATION_BAR + i] if takes_here else real(0)
                        polarization_adj(tile, source, beam, sources, motions)
                    pass_index += 1
                if not single:
                    trace_ray_adj(tile, (layer, sub_slow, sub_fast), False, panel, sampling)
    if single or sampling.last_capture:
        sample = (sampling.layers - 1, 0, 0)
        if not single:
            trace_ray(tile, sample[0], 0, 0, False, panel, sampling)
        for i in range(TILE):
            tile[CAPTURE_BAR + i] += tile[PIXEL_CAPTURE_BAR + i]
        trace_ray_adj(tile, sample, True, panel, sampling)


def last_taken(tile):
    """The last pass in which a pixel of the tile takes its polarization: the largest of POLARIZATION_PASS."""
    last = 0
    for i in range(TILE):
        last = int(tile[POLARIZATION_PASS + i]) if tile[POLARIZATION_PASS + i] > last else last
    return last
