"""Loops over a tile of fast pixels of one row, forwards and back: photons, and their derivative by all that makes a scene.

The derivative of a pixel is a row of numbers, its channels: one for each number of a Cotangent record. All the geometry of a
pixel and all its lattices go through them, so that their number does not depend on that of steps or of parameters. They, and
what else a loop hands on, are rows of the tile (rows.py).
"""

from typing import NamedTuple  # noqa: I001

import numpy as np

from adjoint.loops.lattices import differentiate_lattices
from adjoint.loops.amplitude_table import begin_reflections, end_reflections
from adjoint.loops.rows import (
    ALL_END, BACKGROUND_EACH, CAPTURE_BAR, D_BAR, OMEGA_BAR, PHOTONS, PIXEL_CAPTURE_BAR, PIXEL_OMEGA_BAR,
    PIXEL_POLARIZATION_BAR, POLARIZATION_BAR, Q_BAR, SCALE, TAKEN, TOTAL_BAR, add3, set3, three,
)  # fmt: skip
from adjoint.loops.samples import leave_sample, polarization_adj, scatter_adj
from adjoint.stages.pixel import amorphous_adj, photons_adj, sample_factor_adj, sample_weight_adj
from nbnumba.loops.rows import (
    BACKGROUND, CAPTURE, FACTOR, LIVE, OMEGA, POLARIZATION, Q_X, SEEN, SUM, TILE, TOTAL, WATER, WEIGHT,
)  # fmt: skip
from nbnumba.loops.tile import end_sum, lane_of, look_at, polarize, scatter, shine, weigh
from nbnumba.stages import real
from nbnumba.stages.pixel import photons


class Paths(NamedTuple):
    """Which derivatives are wanted: by detector and beam, by cell and orientation, by turns of the lattices, by amplitudes.

    channels: where the rows of those channels begin that are wanted; what the others hold is not defined.
    """

    geometry: bool
    vectors: bool
    turn: bool
    reflections: bool
    channels: np.ndarray


def differentiate_tile(
    tile, listing, row, start, panel, beam, material, sources, crystal, structure, orientations, sampling, motions, paths
):
    """The photons of the pixels of a tile, the first `start`, into TOTAL, their derivatives into channels and listing (A10).

    Both are relative to the cotangent of the pixel's sum, which is known when the pixel is complete: the row TOTAL_BAR. Where
    that is 0 the pixel is dark, and stays so to first order. The geometry of a pixel's only sample is differentiated last.
    """
    begin_pixels(tile, beam)
    if paths.reflections:
        begin_reflections(tile, listing)
    single = sampling.layers * sampling.oversample * sampling.oversample == 1
    number = 0
    for layer in range(sampling.layers):
        for sub_slow in range(sampling.oversample):
            for sub_fast in range(sampling.oversample):
                sample = (layer, sub_slow, sub_fast)
                look_at(tile, row, start, layer, sub_slow, sub_fast, sub_slow == 0 and sub_fast == 0, panel, sampling)
                for source in range(sources.weight.size):
                    scatter(tile, source, beam, sources)
                    if beam.dmin > 0.0:
                        note_polarization(tile, number)
                    polarize(tile, number == 0, source, beam, sources, sampling)
                    weigh(tile, sources.weight[source], sampling)
                    begin_pass(tile)
                    place = (row, start, number)
                    add_pass(tile, listing, place, crystal, structure, orientations, motions, paths)
                    shine(tile, beam, material)
                    end_pass(tile, source, panel, beam, material, sources, sampling, motions, paths)
                    number += 1
                if paths.geometry and not single:
                    leave_sample(tile, row, start, sample, sampling.every_capture, panel, sampling)
        if paths.geometry and not single and not sampling.every_capture and panel.sensor:
            look_at(tile, row, start, layer, 0, 0, True, panel, sampling)
            leave_sample(tile, row, start, (layer, 0, 0), True, panel, sampling)
    if paths.reflections:
        end_reflections(tile, listing)
    close(tile, beam, sampling)
    if paths.geometry:
        pixel_factors_adj(tile, row, start, single, panel, beam, sources, sampling, motions)


def begin_pixels(tile, beam):
    """Nothing is summed yet, nothing differentiated. Whoever reads the channels that are wanted has made them 0 again."""
    for i in range(TILE):
        tile[TOTAL + i], tile[WATER + i], tile[SEEN + i] = beam.background_once, 0.0, 0.0
        tile[CAPTURE + i], tile[POLARIZATION + i], tile[TAKEN + i] = 1.0, 1.0, 0.0
        set3(tile, D_BAR, i, (0.0, 0.0, 0.0))
        tile[OMEGA_BAR + i], tile[CAPTURE_BAR + i] = 0.0, 0.0


def note_polarization(tile, number):
    """Remember the pass at which a pixel's polarization is taken: the first, or the first that dmin leaves in (F10)."""
    for i in range(TILE):
        if tile[SEEN + i] == 0.0 and tile[LIVE + i] != 0.0:
            tile[TAKEN + i] = number


def begin_pass(tile):
    """A sum over the table of lattices, and its derivative, start from nothing."""
    for i in range(TILE):
        tile[SCALE + i] = tile[WEIGHT + i] * tile[FACTOR + i] * tile[LIVE + i]
    for i in range(TILE):
        set3(tile, Q_BAR, i, (0.0, 0.0, 0.0))
        tile[SUM + i] = 0.0


def add_pass(tile, listing, where, crystal, structure, orientations, motions, paths):
    """The sum over the table of lattices; where a thread of nanoBragg makes its first pass (P1), over the fresh ones.

    The one pixel whose lattices are fresh is summed with its neighbours in a copy, and taken over from there.
    """
    lane = lane_of(tile, where[1], orientations.fresh_pass[where[0], 0])
    fresh = where[2] == orientations.fresh_pass[where[0], 1] and 0 <= lane < TILE
    into, lanes, lattices, turn, spin = tile, (0, TILE, -1), orientations.lattice, motions.turn, motions.spin
    copy = tile
    if fresh:
        copy, lanes = tile.copy(), (0, TILE, lane)
    for _ in range(1 + fresh):
        differentiate_lattices(into, listing, lanes, where, crystal, structure, lattices, turn, spin, paths)
        into, lanes = copy, (lane, lane + 1, -1)
        lattices, turn, spin = orientations.fresh_lattice, motions.fresh_turn, motions.fresh_spin
    if fresh:
        for i in range(lane, ALL_END, TILE):
            tile[i] = copy[i]


def end_pass(tile, source, panel, beam, material, sources, sampling, motions, paths):
    """Add the sum over the table, and the background, to the pixel's; what moves them beside the lattices (A10, A12)."""
    share = sources.weight[source]
    if panel.sensor:
        for i in range(TILE):
            each = tile[SUM + i] * tile[LIVE + i] + tile[BACKGROUND + i]
            tile[CAPTURE_BAR + i] += sample_weight_adj(sampling, share, each * tile[FACTOR + i])
    if sampling.every_capture or sampling.every_polarization or sampling.every_omega:
        for i in range(TILE):
            factor_bar = (tile[SUM + i] * tile[LIVE + i] + tile[BACKGROUND + i]) * tile[WEIGHT + i]
            factors = tile[CAPTURE + i], tile[POLARIZATION + i], tile[OMEGA + i]
            bars = sample_factor_adj(sampling, factors[0], factors[1], factors[2], factor_bar)
            tile[CAPTURE_BAR + i] += bars[0]
            tile[POLARIZATION_BAR + i] = bars[1]
            tile[OMEGA_BAR + i] += bars[2]
    end_sum(tile, sampling)
    if material.per_stol > 0.0 and beam.background_each > 0.0:
        background_adj(tile, beam, material)
    elif beam.background_each > 0.0:
        for i in range(TILE):
            tile[BACKGROUND_EACH + i] += tile[WEIGHT + i] * tile[FACTOR + i]
    if paths.geometry:
        if sampling.every_polarization and beam.polarized:
            polarization_adj(tile, source, beam, sources, motions)
        scatter_adj(tile, source, sources, motions)


def background_adj(tile, beam, material):
    """The derivative of a background that varies with the scattering vector (A12)."""
    for i in range(TILE):
        each_bar, q_bar = amorphous_adj(material, beam, three(tile, Q_X, i), tile[WEIGHT + i] * tile[FACTOR + i])
        tile[BACKGROUND_EACH + i] += each_bar
        add3(tile, Q_BAR, i, q_bar)


def close(tile, beam, sampling):
    """Photons of complete pixels (F11), cotangents of their sums, and those of their factors relative to these (A11)."""
    for i in range(TILE):
        dark = tile[SEEN + i] == 0.0 and beam.polarized and beam.unlit_dark
        polarization, total = real(0) if dark else tile[POLARIZATION + i], tile[TOTAL + i] + tile[WATER + i]
        bars = photons_adj(beam, sampling, total, tile[CAPTURE + i], polarization, tile[OMEGA + i], real(1))
        tile[TOTAL + i] = photons(beam, sampling, total, tile[CAPTURE + i], polarization, tile[OMEGA + i])
        inverse = real(1) / bars[1] if bars[1] > 0.0 else real(0)
        tile[TOTAL_BAR + i], tile[PHOTONS + i], tile[PIXEL_CAPTURE_BAR + i] = bars[1], bars[0] * inverse, bars[2] * inverse
        tile[PIXEL_POLARIZATION_BAR + i], tile[PIXEL_OMEGA_BAR + i] = bars[3] * inverse, bars[4] * inverse


def pixel_factors_adj(tile, row, start, single, panel, beam, sources, sampling, motions):
    """From the cotangents of those factors that are the pixel's, each at the sample where it was taken (F10)."""
    takes = beam.polarized and not sampling.every_polarization
    last, number = last_taken(tile) if takes and beam.dmin > 0.0 else 0, 0
    for layer in range(sampling.layers):
        for sub_slow in range(sampling.oversample):
            for sub_fast in range(sampling.oversample):
                if number > last:
                    break
                if not single:
                    look_at(tile, row, start, layer, sub_slow, sub_fast, False, panel, sampling)
                if number == 0:
                    for i in range(TILE):
                        tile[OMEGA_BAR + i] += tile[PIXEL_OMEGA_BAR + i]
                for source in range(sources.weight.size):
                    if takes and number <= last:
                        for i in range(TILE):
                            takes_here = tile[TAKEN + i] == real(number)
                            tile[POLARIZATION_BAR + i] = tile[PIXEL_POLARIZATION_BAR + i] if takes_here else real(0)
                        polarization_adj(tile, source, beam, sources, motions)
                    number += 1
                if not single:
                    leave_sample(tile, row, start, (layer, sub_slow, sub_fast), False, panel, sampling)
    if single or sampling.last_capture:
        sample = (sampling.layers - 1, 0, 0)
        if not single:
            look_at(tile, row, start, sample[0], 0, 0, False, panel, sampling)
        for i in range(TILE):
            tile[CAPTURE_BAR + i] += tile[PIXEL_CAPTURE_BAR + i]
        leave_sample(tile, row, start, sample, True, panel, sampling)


def last_taken(tile):
    """The last pass at which a pixel of the tile takes its polarization."""
    last = 0
    for i in range(TILE):
        last = int(tile[TAKEN + i]) if tile[TAKEN + i] > last else last
    return last
