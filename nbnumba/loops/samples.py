"""Loops over the pixels of a tile for one sample: its ray, its illumination by one source, and what its pass adds."""

from nbnumba.loops.indices import fast_of, slow_of
from nbnumba.loops.rows import (
    AIRPATH,
    BACKGROUND,
    BACKGROUND_TOTAL,
    CAPTURE,
    D_X,
    D_Y,
    D_Z,
    EVER_RESOLVED,
    FACTOR,
    FRESH_SUM,
    OMEGA,
    POLARIZATION,
    Q_X,
    Q_Y,
    Q_Z,
    RESOLVED,
    SUM,
    TILE,
    TOTAL,
    WEIGHT,
)
from nbnumba.stages import real
from nbnumba.stages.beam import fading_factor, polarization_factor, scattering_vector, within_resolution
from nbnumba.stages.detector import along_slow, capture_fraction, curved_position, position_in_row, sample_offset, solid_angle
from nbnumba.stages.pixel import amorphous, sample_factor, sample_weight
from nbnumba.stages.vec3 import unit


def trace_ray(tile, layer, sub_slow, sub_fast, first, panel, sampling):
    """Trace the rays from the crystal to one sub-pixel of one sensor layer of each pixel (F1 to F4).

    It writes the rays' directions D_X, D_Y, D_Z and lengths AIRPATH. It writes OMEGA for the first sample of a pixel, and
    CAPTURE for the first sub-pixel of a layer, or both for every sample where `sampling` says so. first: whether this is the
    first sub-pixel.
    """
    take_omega = sampling.every_omega or (first and layer == 0)
    depth = real(layer) * panel.layer
    for i in range(TILE):
        slow = sample_offset(panel.pixel_slow, sampling.oversample, slow_of(tile, i), sub_slow)
        tile[D_X + i], tile[D_Y + i], tile[D_Z + i] = along_slow(panel, slow)
    if panel.curved:
        for i in range(TILE):
            fast = sample_offset(panel.pixel_fast, sampling.oversample, fast_of(tile, i), sub_fast)
            position = position_in_row(panel, fast, (tile[D_X + i], tile[D_Y + i], tile[D_Z + i]), depth)
            (tile[D_X + i], tile[D_Y + i], tile[D_Z + i]), tile[AIRPATH + i] = unit(curved_position(panel, position))
    else:
        for i in range(TILE):
            fast = sample_offset(panel.pixel_fast, sampling.oversample, fast_of(tile, i), sub_fast)
            position = position_in_row(panel, fast, (tile[D_X + i], tile[D_Y + i], tile[D_Z + i]), depth)
            (tile[D_X + i], tile[D_Y + i], tile[D_Z + i]), tile[AIRPATH + i] = unit(position)
    if take_omega:
        for i in range(TILE):
            tile[OMEGA + i] = solid_angle(panel, tile[AIRPATH + i])
    if panel.sensor and (sampling.every_capture or first):
        for i in range(TILE):
            tile[CAPTURE + i] = capture_fraction(panel, layer, (tile[D_X + i], tile[D_Y + i], tile[D_Z + i]))


def illuminate(tile, first, source, beam, sources, sampling):
    """Scattering vector, polarization and weights of the samples under one source (F5, F6, F10)."""
    scatter(tile, source, beam, sources)
    polarize(tile, first, source, beam, sources, sampling)
    weigh(tile, sources.weight[source], sampling)


def scatter(tile, source, beam, sources):
    """Write the scattering vector Q_X, Q_Y, Q_Z under one source, and to RESOLVED whether dmin leaves the sample in (F5).

    An isotropic B factor weakens there what the crystal scatters (F9g): one of 0, by which the derivative is wanted, weakens
    nothing. It reads the directions of the rays, D_X, D_Y, D_Z.
    """
    incident = (sources.direction[source, 0], sources.direction[source, 1], sources.direction[source, 2])
    wavelength = sources.wavelength[source]
    for i in range(TILE):
        q = scattering_vector((tile[D_X + i], tile[D_Y + i], tile[D_Z + i]), incident, wavelength)
        tile[Q_X + i], tile[Q_Y + i], tile[Q_Z + i] = q
        tile[RESOLVED + i] = 1.0 if within_resolution(beam, q) else 0.0
    if beam.fades and beam.fading != 0.0:
        for i in range(TILE):
            tile[RESOLVED + i] = tile[RESOLVED + i] * fading_factor(beam, (tile[Q_X + i], tile[Q_Y + i], tile[Q_Z + i]))


def polarize(tile, first, source, beam, sources, sampling):
    """Write POLARIZATION under one source (F6, F10), from the directions of the rays in D_X, D_Y, D_Z.

    The factor is taken in the first pass, in the first pass that dmin leaves in (EVER_RESOLVED, RESOLVED), and in every pass
    where `sampling` says so. first: whether this is the first pass of the pixel.
    """
    if beam.polarized:
        incident = (sources.direction[source, 0], sources.direction[source, 1], sources.direction[source, 2])
        for i in range(TILE):
            if first or sampling.every_polarization or (tile[EVER_RESOLVED + i] == 0.0 and tile[RESOLVED + i] != 0.0):
                diffracted = (tile[D_X + i], tile[D_Y + i], tile[D_Z + i])
                tile[POLARIZATION + i] = polarization_factor(beam, diffracted, incident)


def weigh(tile, share, sampling):
    """Write WEIGHT and FACTOR of the samples under one source of that share (F10), and EVER_RESOLVED.

    It reads CAPTURE, POLARIZATION, OMEGA and RESOLVED.
    """
    for i in range(TILE):
        tile[EVER_RESOLVED + i] = tile[RESOLVED + i] if tile[EVER_RESOLVED + i] == 0.0 else tile[EVER_RESOLVED + i]
        tile[WEIGHT + i] = sample_weight(sampling, share, tile[CAPTURE + i])
        tile[FACTOR + i] = sample_factor(sampling, tile[CAPTURE + i], tile[POLARIZATION + i], tile[OMEGA + i])


def begin_sum(tile, sampling):
    """Set SUM and FRESH_SUM to what a sum over the table of lattices starts from: 0, or TOTAL in a running product (P2)."""
    for i in range(TILE):
        tile[SUM + i] = tile[TOTAL + i] if sampling.running_product else 0.0
        tile[FRESH_SUM + i] = tile[SUM + i]


def add_background(tile, beam, material):
    """Write BACKGROUND, the background of the samples under one source (F12), from Q_X, Q_Y, Q_Z where it varies with them."""
    for i in range(TILE):
        tile[BACKGROUND + i] = beam.background_each
    if material.per_stol > 0.0 and beam.background_each > 0.0:
        for i in range(TILE):
            tile[BACKGROUND + i] = amorphous(material, beam, (tile[Q_X + i], tile[Q_Y + i], tile[Q_Z + i]))


def end_sum(tile, sampling):
    """Add SUM to TOTAL, and BACKGROUND to BACKGROUND_TOTAL, each times WEIGHT and FACTOR (F10).

    SUM counts times RESOLVED. In a running product SUM replaces TOTAL there (P2).
    """
    for i in range(TILE):
        weight = tile[WEIGHT + i] * tile[FACTOR + i]
        tile[BACKGROUND_TOTAL + i] += tile[BACKGROUND + i] * weight
        if sampling.running_product:
            tile[TOTAL + i] = tile[SUM + i] if tile[RESOLVED + i] != 0.0 else tile[TOTAL + i]
        else:
            tile[TOTAL + i] += tile[SUM + i] * tile[RESOLVED + i] * weight
