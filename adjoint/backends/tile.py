"""Loops over a tile of neighbouring fast pixels, forwards and back: photons, and their derivative by all that makes a scene.

The derivative of a pixel is a row of numbers, its channels: one for each number of a Cotangent record. All the geometry of a
pixel and all its lattices go through them, so that their number does not depend on that of steps or of parameters. They, and
what else a loop hands on, are rows of TILE numbers of one flat array `g` (rows.py): with one array and constant offsets the
compiler sees by itself that rows do not overlap, and vectorises.
"""

from typing import NamedTuple

import numpy as np

from adjoint.backends.listing import begin_reflections, list_terms, list_weights, settle
from adjoint.backends.rows import (
    ABSORPTION, AMPLITUDE, AMPLITUDE_BAR, BACKGROUND, BEAM, CAPTURE_BAR, CELLS, CHANNEL_END, CLOSE_DISTANCE, D_BAR, DISTANCE,
    FAST, H_BAR, I_BAR, K_BAR, KAHN, L_BAR, LAYER, METRIC, NORMAL, OMEGA_BAR, ORIGIN, PHOTONS, PIXEL_CAPTURE_BAR,
    PIXEL_OMEGA_BAR, PIXEL_POLARIZATION_BAR, POLARIZATION_BAR, Q, Q_BAR, SCALE, SIZE, SLOW, SOURCE, SUM, TAKEN, TOTAL_BAR,
    TURN, VECTORS, WAVELENGTH_BAR, add3, add_products, set3, three,
)  # fmt: skip
from adjoint.stages.beam import polarization_factor_adj, scattering_vector_adj
from adjoint.stages.crystal import indices_adj, turned_back
from adjoint.stages.detector import capture_fraction_adj, curved_position_adj, flat_position_adj, solid_angle_adj
from adjoint.stages.lattice import peak_lattice_adj, square_lattice_adj
from adjoint.stages.pixel import amorphous_adj, photons_adj, sample_factor_adj, sample_weight_adj, term_adj
from adjoint.stages.structure import between_adj
from adjoint.stages.vec3 import unit_adj
from nbnumba.backends.tile import TILE, end_sum, index_all, latch_of, look_at, polarize, scatter, shine, weigh
from nbnumba.stages.crystal import index, nearest
from nbnumba.stages.detector import curved_position, flat_position, sample_offset
from nbnumba.stages.lattice import peak_lattice, square_lattice
from nbnumba.stages.pixel import photons, term
from nbnumba.stages.records import SQUARE
from nbnumba.stages.structure import between, slot, surrounded
from nbnumba.stages.vec3 import cross, dot, unit


class Paths(NamedTuple):
    """Which derivatives are wanted: by detector and beam, by cell and orientation, by turns of the lattices, by amplitudes."""

    geometry: bool
    vectors: bool
    turn: bool
    reflections: bool


def differentiate_tile(
    tile, g, listing, row, start, panel, beam, material, sources, crystal, structure, orientations, sampling, motions, paths
):
    """The photons of TILE pixels of a row from `start` on, into tile.total, and their derivatives: channels of g, listing (A10).

    Every sample adds to the channels as if the cotangent of the pixel's sum were 1; `close` multiplies by the true one, which
    is known when the pixel is complete. The geometry of a pixel's only sample is differentiated after that.
    """
    begin_pixels(tile, g, listing, beam)
    single = sampling.layers * sampling.oversample * sampling.oversample == 1
    number = 0
    for layer in range(sampling.layers):
        for sub_slow in range(sampling.oversample):
            for sub_fast in range(sampling.oversample):
                sample = (layer, sub_slow, sub_fast)
                look_at(tile, row, start, layer, sub_slow, sub_fast, sub_slow == 0 and sub_fast == 0, panel, sampling)
                for source in range(sources.weight.size):
                    scatter(tile, source, beam, sources)
                    note_polarization(tile, g, number)
                    polarize(tile, number == 0, source, beam, sources, sampling)
                    weigh(tile, sources.weight[source], sampling)
                    begin_pass(tile, g)
                    place = (row, start, number)
                    add_pass(tile, g, listing, place, crystal, structure, orientations, motions, paths)
                    shine(tile, beam, material)
                    end_pass(tile, g, source, beam, material, sources, sampling, motions, paths)
                    number += 1
                if paths.geometry and not single:
                    leave_sample(tile, g, row, start, sample, sampling.every_capture, panel, sampling)
        if paths.geometry and not single and not sampling.every_capture and panel.sensor:
            look_at(tile, row, start, layer, 0, 0, True, panel, sampling)
            leave_sample(tile, g, row, start, (layer, 0, 0), True, panel, sampling)
    close(tile, g, beam, sampling)
    settle(listing, g)
    if paths.geometry:
        pixel_factors_adj(tile, g, row, start, single, panel, beam, sources, sampling, motions)


def begin_pixels(tile, g, listing, beam):
    """Nothing is summed yet, nothing differentiated."""
    for i in range(TILE):
        tile.total[i], tile.water[i], tile.seen[i] = beam.background_once, 0.0, 0.0
        tile.capture[i], tile.polarization[i] = 1.0, 1.0
    for i in range(SIZE):
        g[i] = 0.0
    begin_reflections(listing)


def note_polarization(tile, g, number):
    """Remember the pass at which a pixel's polarization is taken: the first, or the first that dmin leaves in (F10)."""
    for i in range(TILE):
        if tile.seen[i] == 0.0 and tile.live[i] != 0.0:
            g[TAKEN + i] = number


def begin_pass(tile, g):
    """A sum over the table of lattices, and its derivative, start from nothing."""
    for i in range(TILE):
        set3(g, Q, i, (tile.q_x[i], tile.q_y[i], tile.q_z[i]))
    for i in range(TILE):
        g[SCALE + i] = tile.weight[i] * tile.factor[i] * tile.live[i]
    for i in range(TILE):
        set3(g, Q_BAR, i, (0.0, 0.0, 0.0))
        g[SUM + i] = 0.0


def add_pass(tile, g, listing, where, crystal, structure, orientations, motions, paths):
    """The sum over the table of lattices; where a thread of nanoBragg makes its first pass (P1), over the fresh ones.

    The one pixel whose lattices are fresh is summed with its neighbours in a copy, and taken over from there.
    """
    lane = orientations.fresh_pass[where[0], 0] - where[1]
    fresh = where[2] == orientations.fresh_pass[where[0], 1] and 0 <= lane < TILE
    into, lanes, lattices, turn, spin = g, (0, TILE, -1), orientations.lattice, motions.turn, motions.spin
    copy = g
    if fresh:
        copy, lanes = g.copy(), (0, TILE, lane)
    for _ in range(1 + fresh):
        add_lattices(tile, into, listing, lanes, where, crystal, structure, lattices, turn, spin, paths)
        into, lanes = copy, (lane, lane + 1, -1)
        lattices, turn, spin = orientations.fresh_lattice, motions.fresh_turn, motions.fresh_spin
    if fresh:
        for i in range(lane, SIZE, TILE):
            g[i] = copy[i]


def add_lattices(tile, g, listing, lanes, where, crystal, structure, lattices, turn, spin, paths):
    """Add every lattice to the sum and to its derivative: loops of arithmetic, and in between the look-up.

    lanes: reflections are listed for those from the first to before the second, but for the third.
    """
    for m in range(lattices.shape[0]):
        look_up(tile, g, structure, lattices[m])
        evaluation = where + (m,)
        if structure.interpolate:
            interpolate(g, evaluation, structure, lattices[m])
        if crystal.shape == SQUARE:
            square_terms(g, crystal, lattices[m])
        else:
            peak_terms(g, crystal, lattices[m])
        if structure.interpolate:
            interpolate_adj(tile, g, listing, lanes, evaluation, structure, lattices[m], paths)
        elif paths.reflections:
            list_terms(g, listing, lanes, tile.place)
        if paths.geometry:
            scattering_adj(g, lattices[m])
        if paths.turn:
            spin_adj(g, lattices[m], spin[m])
        if paths.vectors:
            vectors_adj(g, turn[m])


def look_up(tile, g, structure, lattice):
    """The amplitude of the nearest reflection (F7, F9a)."""
    a_x, a_y, a_z, b_x, b_y, b_z, c_x, c_y, c_z = nine(lattice)
    for i in range(TILE):
        q = three(g, Q, i)
        h = nearest(index(a_x, a_y, a_z, q))[1]
        k = nearest(index(b_x, b_y, b_z, q))[1]
        l = nearest(index(c_x, c_y, c_z, q))[1]
        tile.place[i] = np.int32(slot(structure, h, k, l))
    for i in range(TILE):
        g[AMPLITUDE + i] = structure.amplitude[np.uintp(tile.place[i])]


def nine(row):
    """The nine numbers of a row of a table."""
    return row[0], row[1], row[2], row[3], row[4], row[5], row[6], row[7], row[8]


def square_terms(g, crystal, lattice):
    """Terms of a parallelepiped; their derivatives by h, k, l, by the numbers of cells and by the amplitude (A8, A10)."""
    a_x, a_y, a_z, b_x, b_y, b_z, c_x, c_y, c_z = nine(lattice)
    for i in range(TILE):
        q = three(g, Q, i)
        dh = nearest(index(a_x, a_y, a_z, q))[0]
        dk = nearest(index(b_x, b_y, b_z, q))[0]
        dl = nearest(index(c_x, c_y, c_z, q))[0]
        amplitude, factor = g[AMPLITUDE + i], square_lattice(crystal, dh, dk, dl)
        g[SUM + i] += term(amplitude, factor)
        amplitude_bar, lattice_bar = term_adj(amplitude, factor, g[SCALE + i])
        h_bar, k_bar, l_bar, by_a, by_b, by_c = square_lattice_adj(crystal, dh, dk, dl, lattice_bar)
        g[AMPLITUDE_BAR + i] = amplitude_bar
        g[H_BAR + i], g[K_BAR + i], g[L_BAR + i] = h_bar, k_bar, l_bar
        add3(g, CELLS, i, (by_a, by_b, by_c))


def peak_terms(g, crystal, lattice):
    """The same for a shape that is a function of the distance to the nearest reflection (A8c, A8d)."""
    for i in range(TILE):
        h, k, l = index_all(lattice, three(g, Q, i))
        dh, dk, dl = nearest(h)[0], nearest(k)[0], nearest(l)[0]
        amplitude, factor = g[AMPLITUDE + i], peak_lattice(crystal, dh, dk, dl)
        g[SUM + i] += term(amplitude, factor)
        amplitude_bar, lattice_bar = term_adj(amplitude, factor, g[SCALE + i])
        d_bar, cells_bar, metric_bar = peak_lattice_adj(crystal, dh, dk, dl, lattice_bar)
        g[AMPLITUDE_BAR + i] = amplitude_bar
        g[H_BAR + i], g[K_BAR + i], g[L_BAR + i] = d_bar
        add3(g, CELLS, i, cells_bar)
        add3(g, METRIC, i, (metric_bar[0], metric_bar[1], metric_bar[2]))
        add3(g, METRIC + 3 * TILE, i, (metric_bar[3], metric_bar[4], metric_bar[5]))


def interpolate(g, evaluation, structure, lattice):
    """Amplitudes between reflections in the place of those looked up (F9b, P8)."""
    row, start, number, m = evaluation
    for i in range(TILE):
        if (row, start + i, number, m) < latch_of(structure):
            h, k, l = index_all(lattice, three(g, Q, i))
            g[AMPLITUDE + i] = between(structure, h, k, l) if surrounded(structure, h, k, l) else structure.amplitude[-1]


def interpolate_adj(tile, g, listing, lanes, evaluation, structure, lattice, paths):
    """An interpolated amplitude moves with h, k and l; its reflections are listed, or that one that was looked up (A9b)."""
    row, start, number, m = evaluation
    for i in range(TILE):
        h, k, l = index_all(lattice, three(g, Q, i))
        smooth = (row, start + i, number, m) < latch_of(structure)
        listed = paths.reflections and lanes[0] <= i < lanes[1] and i != lanes[2]
        if smooth and surrounded(structure, h, k, l):
            h_bar, k_bar, l_bar = between_adj(structure, h, k, l, g[AMPLITUDE_BAR + i])
            g[H_BAR + i] += h_bar
            g[K_BAR + i] += k_bar
            g[L_BAR + i] += l_bar
            if listed:
                list_weights(listing, i, g[AMPLITUDE_BAR + i], structure, h, k, l)
        elif listed and not smooth:
            list_terms(g, listing, (i, i + 1, -1), tile.place)


def scattering_adj(g, lattice):
    """The cotangent of the scattering vector (A7)."""
    rows = nine(lattice)
    for i in range(TILE):
        add3(g, Q_BAR, i, indices_adj(rows, three(g, Q, i), g[H_BAR + i], g[K_BAR + i], g[L_BAR + i]))


def spin_adj(g, lattice, spin):
    """The derivative along the turns of a lattice: by a turn omega it is omega . (q_bar x q) (A7b)."""
    rows = nine(lattice)
    p_x, p_y, p_z, o_x, o_y, o_z, m_x, m_y, m_z = nine(spin)
    for i in range(TILE):
        q = three(g, Q, i)
        torque = cross(indices_adj(rows, q, g[H_BAR + i], g[K_BAR + i], g[L_BAR + i]), q)
        by_phi, by_osc, by_spread = dot((p_x, p_y, p_z), torque), dot((o_x, o_y, o_z), torque), dot((m_x, m_y, m_z), torque)
        add3(g, TURN, i, (by_phi, by_osc, by_spread))


def vectors_adj(g, turn):
    """The cotangent of a, b, c at phi = 0 (A7b)."""
    rows = nine(turn)
    for i in range(TILE):
        back = turned_back(rows, three(g, Q, i))
        add_products(g, VECTORS, i, g[H_BAR + i], back)
        add_products(g, VECTORS + 3 * TILE, i, g[K_BAR + i], back)
        add_products(g, VECTORS + 6 * TILE, i, g[L_BAR + i], back)


def end_pass(tile, g, source, beam, material, sources, sampling, motions, paths):
    """Add the sum over the table, and the background, to the pixel's; what moves them beside the lattices (A10, A12)."""
    share = sources.weight[source]
    for i in range(TILE):
        tile.sum[i] = g[SUM + i]
    for i in range(TILE):
        each = g[SUM + i] * tile.live[i] + tile.background[i]
        g[CAPTURE_BAR + i] += sample_weight_adj(sampling, share, each * tile.factor[i])
        g[POLARIZATION_BAR + i] = each * tile.weight[i]
    if sampling.every_capture or sampling.every_polarization or sampling.every_omega:
        for i in range(TILE):
            bars = sample_factor_adj(sampling, tile.capture[i], tile.polarization[i], tile.omega[i], g[POLARIZATION_BAR + i])
            g[CAPTURE_BAR + i] += bars[0]
            g[POLARIZATION_BAR + i] = bars[1]
            g[OMEGA_BAR + i] += bars[2]
    end_sum(tile, sampling)
    if material.per_stol > 0.0 and beam.background_each > 0.0:
        background_adj(tile, g, beam, material)
    else:
        for i in range(TILE):
            g[BACKGROUND + i] += tile.weight[i] * tile.factor[i]
    if paths.geometry:
        if sampling.every_polarization and beam.polarized:
            polarization_adj(tile, g, source, beam, sources, motions)
        scatter_adj(tile, g, source, sources, motions)


def background_adj(tile, g, beam, material):
    """The derivative of a background that varies with the scattering vector (A12)."""
    for i in range(TILE):
        each_bar, q_bar = amorphous_adj(material, beam, three(g, Q, i), tile.weight[i] * tile.factor[i])
        g[BACKGROUND + i] += each_bar
        add3(g, Q_BAR, i, q_bar)


def scatter_adj(tile, g, source, sources, motions):
    """From the cotangent of the scattering vector to those of direction and source (A5)."""
    incident = (sources.direction[source, 0], sources.direction[source, 1], sources.direction[source, 2])
    wavelength = sources.wavelength[source]
    for i in range(TILE):
        diffracted = (tile.d_x[i], tile.d_y[i], tile.d_z[i])
        d_bar, i_bar, wavelength_bar = scattering_vector_adj(diffracted, incident, wavelength, three(g, Q_BAR, i))
        add3(g, D_BAR, i, d_bar)
        set3(g, I_BAR, i, i_bar)
        g[WAVELENGTH_BAR + i] = wavelength_bar
    source_adj(g, motions.source[source])


def polarization_adj(tile, g, source, beam, sources, motions):
    """From the cotangent of the polarization factor to those of direction, source and Kahn's factor (A6)."""
    incident = (sources.direction[source, 0], sources.direction[source, 1], sources.direction[source, 2])
    for i in range(TILE):
        diffracted = (tile.d_x[i], tile.d_y[i], tile.d_z[i])
        kahn_bar, d_bar, i_bar = polarization_factor_adj(beam, diffracted, incident, g[POLARIZATION_BAR + i])
        g[KAHN + i] += kahn_bar
        add3(g, D_BAR, i, d_bar)
        set3(g, I_BAR, i, i_bar)
        g[WAVELENGTH_BAR + i] = 0.0
    source_adj(g, motions.source[source])


def source_adj(g, motion):
    """From the cotangents of a source's direction and wavelength to the derivative along its motions (A5a)."""
    for n in range(motion.shape[0]):
        x, y, z, wavelength = motion[n, 0], motion[n, 1], motion[n, 2], motion[n, 3]
        if x != 0.0 or y != 0.0 or z != 0.0 or wavelength != 0.0:
            along = SOURCE + n * TILE
            for i in range(TILE):
                g[along + i] += dot(three(g, I_BAR, i), (x, y, z)) + g[WAVELENGTH_BAR + i] * wavelength


def leave_sample(tile, g, row, start, sample, with_capture, panel, sampling):
    """From the cotangents of direction, solid angle and capture of a sample to the panel's (A1 to A4); they start anew."""
    if with_capture and panel.sensor:
        capture_adj(tile, g, sample[0], panel)
    position_adj(g, row, start, sample, panel, sampling)


def capture_adj(tile, g, layer, panel):
    """From the cotangent of the capture fraction to those of direction and panel (A4)."""
    for i in range(TILE):
        diffracted = (tile.d_x[i], tile.d_y[i], tile.d_z[i])
        d_bar, normal_bar, layer_bar, absorption_bar = capture_fraction_adj(panel, layer, diffracted, g[CAPTURE_BAR + i])
        add3(g, D_BAR, i, d_bar)
        add3(g, NORMAL, i, normal_bar)
        g[LAYER + i] += layer_bar
        g[ABSORPTION + i] += absorption_bar
        g[CAPTURE_BAR + i] = 0.0


def position_adj(g, row, start, sample, panel, sampling):
    """From the cotangents of direction and solid angle to those of the panel (A1 to A3)."""
    layer, sub_slow, sub_fast = sample
    slow, depth = sample_offset(panel, sampling.oversample, row, sub_slow), layer * panel.layer
    for i in range(TILE):
        fast = sample_offset(panel, sampling.oversample, start + i, sub_fast)
        flat = flat_position(panel, fast, slow, depth)
        direction, airpath = unit(curved_position(panel, flat) if panel.curved else flat)
        airpath_bar, close_bar = solid_angle_adj(panel, airpath, g[OMEGA_BAR + i])
        set3(g, D_BAR, i, unit_adj(direction, airpath, three(g, D_BAR, i), airpath_bar))
        g[CLOSE_DISTANCE + i] += close_bar
        g[OMEGA_BAR + i] = 0.0
    if panel.curved:
        curve_adj(g, start, slow, depth, sub_fast, panel, sampling)
    for i in range(TILE):
        fast = sample_offset(panel, sampling.oversample, start + i, sub_fast)
        fast_bar, slow_bar, normal_bar, origin_bar, depth_bar = flat_position_adj(panel, fast, slow, depth, three(g, D_BAR, i))
        add3(g, ORIGIN, i, origin_bar)
        add3(g, FAST, i, fast_bar)
        add3(g, SLOW, i, slow_bar)
        add3(g, NORMAL, i, normal_bar)
        g[LAYER + i] += layer * depth_bar
        set3(g, D_BAR, i, (0.0, 0.0, 0.0))


def curve_adj(g, start, slow, depth, sub_fast, panel, sampling):
    """From the cotangent of a position on the sphere to that of the flat one (A1c)."""
    for i in range(TILE):
        fast = sample_offset(panel, sampling.oversample, start + i, sub_fast)
        flat = flat_position(panel, fast, slow, depth)
        flat_bar, distance_bar, beam_bar, slow_bar, fast_bar = curved_position_adj(panel, flat, three(g, D_BAR, i))
        set3(g, D_BAR, i, flat_bar)
        add3(g, BEAM, i, beam_bar)
        add3(g, SLOW, i, slow_bar)
        add3(g, FAST, i, fast_bar)
        g[DISTANCE + i] += distance_bar


def close(tile, g, beam, sampling):
    """The photons of complete pixels (F11); the cotangents of their sums, with which the channels are multiplied, and factors."""
    for i in range(TILE):
        dark = tile.seen[i] == 0.0 and beam.polarized and beam.unlit_dark
        polarization, total = 0.0 if dark else tile.polarization[i], tile.total[i] + tile.water[i]
        bars = photons_adj(beam, sampling, total, tile.capture[i], polarization, tile.omega[i], 1.0)
        tile.total[i] = photons(beam, sampling, total, tile.capture[i], polarization, tile.omega[i])
        g[PHOTONS + i], g[TOTAL_BAR + i], g[PIXEL_CAPTURE_BAR + i] = bars[0], bars[1], bars[2]
        g[PIXEL_POLARIZATION_BAR + i], g[PIXEL_OMEGA_BAR + i] = 0.0 if dark else bars[3], bars[4]
    for first in range(0, CHANNEL_END, TILE):
        if first != PHOTONS:
            weigh_row(g, first)
    for first in (D_BAR, D_BAR + TILE, D_BAR + 2 * TILE, OMEGA_BAR, CAPTURE_BAR):
        weigh_row(g, first)


def weigh_row(g, first):
    """Multiply a row by the cotangents of the pixels' sums."""
    for i in range(TILE):
        g[first + i] *= g[TOTAL_BAR + i]


def pixel_factors_adj(tile, g, row, start, single, panel, beam, sources, sampling, motions):
    """From the cotangents of those factors that are the pixel's, each at the sample where it was taken (F10)."""
    takes = beam.polarized and not sampling.every_polarization
    last, number = last_taken(g) if takes else 0, 0
    for layer in range(sampling.layers):
        for sub_slow in range(sampling.oversample):
            for sub_fast in range(sampling.oversample):
                if number > last:
                    break
                if not single:
                    look_at(tile, row, start, layer, sub_slow, sub_fast, False, panel, sampling)
                if number == 0:
                    for i in range(TILE):
                        g[OMEGA_BAR + i] += g[PIXEL_OMEGA_BAR + i]
                for source in range(sources.weight.size):
                    if takes and number <= last:
                        for i in range(TILE):
                            g[POLARIZATION_BAR + i] = g[PIXEL_POLARIZATION_BAR + i] if g[TAKEN + i] == number else 0.0
                        polarization_adj(tile, g, source, beam, sources, motions)
                    number += 1
                if not single:
                    leave_sample(tile, g, row, start, (layer, sub_slow, sub_fast), False, panel, sampling)
    if single or sampling.last_capture:
        sample = (sampling.layers - 1, 0, 0)
        if not single:
            look_at(tile, row, start, sample[0], 0, 0, False, panel, sampling)
        for i in range(TILE):
            g[CAPTURE_BAR + i] += g[PIXEL_CAPTURE_BAR + i]
        leave_sample(tile, g, row, start, sample, True, panel, sampling)


def last_taken(g):
    """The last pass at which a pixel of the tile takes its polarization."""
    last = 0
    for i in range(TILE):
        last = max(last, int(g[TAKEN + i]))
    return last
