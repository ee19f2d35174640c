"""Loops over the pixels of a tile for one sample, backwards: from the cotangents of the sample to the channels.

They are called from several places, and so they are compiled as functions of their own.
"""

import numpy as np  # noqa: I001

from adjoint.loops.rows import (
    ABSORPTION, BEAM, CAPTURE_BAR, CLOSE_DISTANCE, DISTANCE, D_BAR, FAST, I_BAR, KAHN, LAYER, NORMAL, OMEGA_BAR, ORIGIN,
    POLARIZATION_BAR, Q_BAR, SLOW, SOURCE, WAVELENGTH_BAR, LANES, W_BAR, X_BAR, Y_BAR, Z_BAR, add3, set3, three,
)  # fmt: skip
from adjoint.stages.beam import polarization_factor_adj, scattering_vector_adj
from adjoint.stages.detector import capture_fraction_adj, curved_position_adj, flat_position_adj, solid_angle_adj
from adjoint.stages.vec3 import unit_adj
from nbnumba.loops.indices import fast_of, slow_of
from nbnumba.loops.rows import AIRPATH, D_X, TILE
from nbnumba.stages import real
from nbnumba.stages.detector import flat_position, sample_offset


def scatter_adj(tile, source, sources, motions):
    """Add to D_BAR from Q_BAR, the cotangent of the scattering vector, and add to SOURCE (A5).

    It reads the directions of the rays, D_X, D_Y, D_Z, and writes I_BAR and WAVELENGTH_BAR.
    """
    incident = (sources.direction[source, 0], sources.direction[source, 1], sources.direction[source, 2])
    wavelength = sources.wavelength[source]
    for i in range(TILE):
        d_bar, i_bar, wavelength_bar = scattering_vector_adj(three(tile, D_X, i), incident, wavelength, three(tile, Q_BAR, i))
        add3(tile, D_BAR, i, d_bar)
        set3(tile, I_BAR, i, i_bar)
        tile[WAVELENGTH_BAR + i] = wavelength_bar
    source_adj(tile, motions.source[source], True)


def polarization_adj(tile, source, beam, sources, motions):
    """Add to D_BAR, KAHN and SOURCE from POLARIZATION_BAR, the cotangent of the polarization factor (A6).

    It reads the directions of the rays, D_X, D_Y, D_Z, and writes I_BAR.
    """
    incident = (sources.direction[source, 0], sources.direction[source, 1], sources.direction[source, 2])
    for i in range(TILE):
        kahn_bar, d_bar, i_bar = polarization_factor_adj(beam, three(tile, D_X, i), incident, tile[POLARIZATION_BAR + i])
        tile[KAHN + i] += kahn_bar
        add3(tile, D_BAR, i, d_bar)
        set3(tile, I_BAR, i, i_bar)
    source_adj(tile, motions.source[source], False)


def source_adj(tile, motion, by_wavelength):
    """Add to SOURCE the derivative along the motions of a source, from I_BAR and WAVELENGTH_BAR (A5a).

    motion (motions, 4): the rates of direction and wavelength, of which those of 0 are left out. by_wavelength: whether
    WAVELENGTH_BAR counts.
    """
    for n in range(motion.shape[0]):
        x, y, z, wavelength = motion[n, 0], motion[n, 1], motion[n, 2], motion[n, 3]
        if x != 0.0 or y != 0.0 or z != 0.0:
            add_rotation(tile, np.uint64(SOURCE + n * TILE), x, y, z)
        if by_wavelength and wavelength != 0.0:
            add_change(tile, np.uint64(SOURCE + n * TILE), wavelength)


def add_rotation(tile, first, x, y, z):
    """Add to the row that begins at `first` the derivative along a motion of the direction, at the rate x, y, z."""
    for i in range(LANES):
        tile[first + i] += tile[X_BAR + i] * x + tile[Y_BAR + i] * y + tile[Z_BAR + i] * z


def add_change(tile, first, rate):
    """Add to the row that begins at `first` the derivative along a change of the wavelength, at that rate."""
    for i in range(LANES):
        tile[first + i] += tile[W_BAR + i] * rate


def trace_ray_adj(tile, sample, with_capture, panel, sampling):
    """Pull the cotangents of one sample, D_BAR, OMEGA_BAR and CAPTURE_BAR, back to the channels of the panel (A1 to A4).

    They are 0 afterwards, CAPTURE_BAR only if with_capture and with a sensor. trace_ray has to have traced that sample last.
    """
    if with_capture and panel.sensor:
        capture_adj(tile, sample[0], panel)
    position_adj(tile, sample, panel, sampling)


def capture_adj(tile, layer, panel):
    """Add to D_BAR, NORMAL, LAYER and ABSORPTION from CAPTURE_BAR, and set that to 0 (A4). It reads D_X, D_Y, D_Z."""
    for i in range(TILE):
        bars = capture_fraction_adj(panel, layer, three(tile, D_X, i), tile[CAPTURE_BAR + i])
        d_bar, normal_bar, layer_bar, absorption_bar = bars
        add3(tile, D_BAR, i, d_bar)
        add3(tile, NORMAL, i, normal_bar)
        tile[LAYER + i] += layer_bar
        tile[ABSORPTION + i] += absorption_bar
        tile[CAPTURE_BAR + i] = 0.0


def position_adj(tile, sample, panel, sampling):
    """Add to the channels of the panel from D_BAR and OMEGA_BAR, and set these to 0 (A1 to A3).

    First D_BAR becomes the cotangent of the position, by D_X, D_Y, D_Z and AIRPATH; that of the distance to the panel goes to
    CLOSE_DISTANCE. Then it becomes that of the flat position if the detector is curved, and goes to ORIGIN, FAST, SLOW, and
    in layers behind the first to NORMAL and LAYER.
    """
    layer, sub_slow, sub_fast = sample
    depth = real(layer) * panel.layer
    for i in range(TILE):
        airpath_bar, close_bar = solid_angle_adj(panel, tile[AIRPATH + i], tile[OMEGA_BAR + i])
        x_bar = unit_adj(three(tile, D_X, i), tile[AIRPATH + i], three(tile, D_BAR, i), airpath_bar)
        set3(tile, D_BAR, i, x_bar)
        tile[CLOSE_DISTANCE + i] += close_bar
        tile[OMEGA_BAR + i] = 0.0
    if panel.curved:
        curve_adj(tile, depth, sub_slow, sub_fast, panel, sampling)
    for i in range(TILE):
        slow = sample_offset(panel.pixel_slow, sampling.oversample, slow_of(tile, i), sub_slow)
        fast = sample_offset(panel.pixel_fast, sampling.oversample, fast_of(tile, i), sub_fast)
        bars = flat_position_adj(panel, fast, slow, depth, three(tile, D_BAR, i))
        fast_bar, slow_bar, normal_bar, origin_bar, depth_bar = bars
        add3(tile, ORIGIN, i, origin_bar)
        add3(tile, FAST, i, fast_bar)
        add3(tile, SLOW, i, slow_bar)
        if layer > 0:
            add3(tile, NORMAL, i, normal_bar)
            tile[LAYER + i] += real(layer) * depth_bar
        set3(tile, D_BAR, i, (0.0, 0.0, 0.0))


def curve_adj(tile, depth, sub_slow, sub_fast, panel, sampling):
    """Turn D_BAR from the cotangent of a position on the sphere into that of the flat position (A1c).

    It adds to BEAM, SLOW, FAST and DISTANCE.
    """
    for i in range(TILE):
        slow = sample_offset(panel.pixel_slow, sampling.oversample, slow_of(tile, i), sub_slow)
        fast = sample_offset(panel.pixel_fast, sampling.oversample, fast_of(tile, i), sub_fast)
        flat = flat_position(panel, fast, slow, depth)
        flat_bar, distance_bar, beam_bar, slow_bar, fast_bar = curved_position_adj(panel, flat, three(tile, D_BAR, i))
        set3(tile, D_BAR, i, flat_bar)
        add3(tile, BEAM, i, beam_bar)
        add3(tile, SLOW, i, slow_bar)
        add3(tile, FAST, i, fast_bar)
        tile[DISTANCE + i] += distance_bar
