"""Loops over a tile of fast pixels of one row: the table of lattices outside, pixels innermost, so that they vectorise.

The pixels of a tile are neighbours, or under a mask the next that are wanted. Every tile is computed whole, so that no loop has
a remainder and the arithmetic of a pixel does not depend on where its tile begins or ends.
"""

import numpy as np  # noqa: I001

from nbnumba.loops.indices import fast_of, index_all, nearest_all, nine, scattering
from nbnumba.loops.rows import (
    AIRPATH, BACKGROUND, CAPTURE, D_X, D_Y, D_Z, FACTOR, LATTICE, LIVE, OMEGA, PIXEL, PLACE, POLARIZATION, Q_X, Q_Y, Q_Z,
    ROWS_END, SEEN, SPARE, SUM, TILE, TOTAL, WATER, WEIGHT,
)  # fmt: skip
from nbnumba.stages import real, wide
from nbnumba.stages.beam import polarization_factor, resolved, scattering_vector
from nbnumba.stages.crystal import plain
from nbnumba.stages.detector import capture_fraction, curved_position, flat_position, sample_offset, solid_angle
from nbnumba.stages.lattice import lattice_factor_radial, lattice_factor_square
from nbnumba.stages.pixel import amorphous, photons, sample_factor, sample_weight, term
from nbnumba.stages.shapes import SQUARE
from nbnumba.stages.structure import between, slot, surrounded
from nbnumba.stages.vec3 import unit

def new_tile():
    """An empty tile: the working store of a thread."""
    return np.empty(ROWS_END, wide)


def wanted(mask, row, fast):
    """Whether a pixel is to be computed."""
    return mask.size == 0 or mask[row, fast] != 0


def gather(tile, mask, row, start, stop):
    """Put the pixels of a row that are wanted, from `start` to before `stop`, into the lanes of a tile.

    Returns how many there are, and where those begin that have no place there. Lanes that are left are of any pixels.
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
    """Write the photons of the first lanes of a tile."""
    if mask.size == 0:
        for i in range(count):
            image[row, start + i] = tile[TOTAL + i]
    else:
        for i in range(count):
            image[row, int(fast_of(tile, start, i))] = tile[TOTAL + i]


def lane_of(tile, start, fast):
    """The first lane that a fast pixel is in, or -1."""
    if fast < 0:
        return -1
    for i in range(TILE):
        if fast_of(tile, start, i) == fast:
            return i
    return -1


def render_tile(tile, row, start, panel, beam, material, sources, crystal, structure, orientations, sampling):
    """The photons of the pixels of a tile, the first `start`, into TOTAL: the loop over the samples of a pixel (F10)."""
    for i in range(TILE):
        tile[TOTAL + i], tile[WATER + i], tile[SEEN + i] = beam.background_once, 0.0, 0.0
        tile[CAPTURE + i], tile[POLARIZATION + i] = 1.0, 1.0
    fresh = lane_of(tile, start, orientations.fresh_pass[row, 0])
    wet = beam.background_once + beam.background_each > 0.0
    number = 0
    for layer in range(sampling.layers):
        for sub_slow in range(sampling.oversample):
            for sub_fast in range(sampling.oversample):
                first = sub_slow == 0 and sub_fast == 0
                look_at(tile, row, start, layer, sub_slow, sub_fast, first, panel, sampling)
                for source in range(sources.weight.size):
                    illuminate(tile, number == 0, source, beam, sources, sampling)
                    begin_sum(tile, sampling)
                    where = (row, start, number)
                    add_lattices(SUM, tile, where, crystal, structure, orientations.lattice, wet, sampling)
                    if number == orientations.fresh_pass[row, 1] and 0 <= fresh < TILE:
                        add_lattices(SPARE, tile, where, crystal, structure, orientations.fresh_lattice, wet, sampling)
                        tile[SUM + fresh] = tile[SPARE + fresh]
                    shine(tile, beam, material)
                    end_sum(tile, sampling)
                    number += 1
    for i in range(TILE):
        dark = tile[SEEN + i] == 0.0 and beam.polarized and beam.unlit_dark
        polarization, total = real(0) if dark else tile[POLARIZATION + i], tile[TOTAL + i] + tile[WATER + i]
        tile[TOTAL + i] = photons(beam, sampling, total, tile[CAPTURE + i], polarization, tile[OMEGA + i])


def look_at(tile, row, start, layer, sub_slow, sub_fast, first, panel, sampling):
    """Direction, solid angle and capture fraction of one sub-pixel in one layer (F1 to F4)."""
    take_omega = sampling.every_omega or (first and layer == 0)
    slow, depth = sample_offset(panel, sampling.oversample, row, sub_slow), real(layer) * panel.layer
    if panel.curved:
        for i in range(TILE):
            fast = sample_offset(panel, sampling.oversample, fast_of(tile, start, i), sub_fast)
            position = curved_position(panel, flat_position(panel, fast, slow, depth))
            (tile[D_X + i], tile[D_Y + i], tile[D_Z + i]), tile[AIRPATH + i] = unit(position)
    else:
        for i in range(TILE):
            fast = sample_offset(panel, sampling.oversample, fast_of(tile, start, i), sub_fast)
            (tile[D_X + i], tile[D_Y + i], tile[D_Z + i]), tile[AIRPATH + i] = unit(flat_position(panel, fast, slow, depth))
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
    """Scattering vector of the samples under one source, and which of them dmin leaves in (F5)."""
    incident = (sources.direction[source, 0], sources.direction[source, 1], sources.direction[source, 2])
    wavelength = sources.wavelength[source]
    for i in range(TILE):
        q = scattering_vector((tile[D_X + i], tile[D_Y + i], tile[D_Z + i]), incident, wavelength)
        tile[Q_X + i], tile[Q_Y + i], tile[Q_Z + i] = q
        tile[LIVE + i] = 1.0 if resolved(beam, q) else 0.0


def polarize(tile, first, source, beam, sources, sampling):
    """Polarization factor under one source, where it is taken: the pixel's, or anew at every sample (F6, F10)."""
    if beam.polarized:
        incident = (sources.direction[source, 0], sources.direction[source, 1], sources.direction[source, 2])
        for i in range(TILE):
            if first or sampling.every_polarization or (tile[SEEN + i] == 0.0 and tile[LIVE + i] != 0.0):
                diffracted = (tile[D_X + i], tile[D_Y + i], tile[D_Z + i])
                tile[POLARIZATION + i] = polarization_factor(beam, diffracted, incident)


def weigh(tile, share, sampling):
    """Weight and factor of the samples under one source of that share (F10)."""
    for i in range(TILE):
        tile[SEEN + i] = tile[LIVE + i] if tile[SEEN + i] == 0.0 else tile[SEEN + i]
        tile[WEIGHT + i] = sample_weight(sampling, share, tile[CAPTURE + i])
        tile[FACTOR + i] = sample_factor(sampling, tile[CAPTURE + i], tile[POLARIZATION + i], tile[OMEGA + i])


def begin_sum(tile, sampling):
    """The sum over the table of lattices starts from nothing; a running product (P2) goes on from the pixel's total."""
    for i in range(TILE):
        tile[SUM + i] = tile[TOTAL + i] if sampling.running_product else 0.0
        tile[SPARE + i] = tile[SUM + i]


def shine(tile, beam, material):
    """The background of the samples under one source (F12)."""
    for i in range(TILE):
        tile[BACKGROUND + i] = beam.background_each
    if material.per_stol > 0.0 and beam.background_each > 0.0:
        for i in range(TILE):
            tile[BACKGROUND + i] = amorphous(material, beam, (tile[Q_X + i], tile[Q_Y + i], tile[Q_Z + i]))


def end_sum(tile, sampling):
    """Add the sum over the table of lattices, and the background, to the pixel's total (F10)."""
    for i in range(TILE):
        weight = tile[WEIGHT + i] * tile[FACTOR + i]
        tile[WATER + i] += tile[BACKGROUND + i] * weight
        if sampling.running_product:
            tile[TOTAL + i] = tile[SUM + i] if tile[LIVE + i] != 0.0 else tile[TOTAL + i]
        else:
            tile[TOTAL + i] += tile[SUM + i] * tile[LIVE + i] * weight


def add_lattices(into, tile, where, crystal, structure, lattices, wet, sampling):
    """Add every lattice to the row `into`: a loop for the arithmetic, and one for the look-up, which does not vectorise."""
    for m in range(lattices.shape[0]):
        vectors = nine(lattices, m)
        for i in range(TILE):
            (dh, h), (dk, k), (dl, l) = nearest_all(vectors, scattering(tile, i))
            tile[LATTICE + i] = lattice_factor_square(crystal, dh, dk, dl)
            tile[PLACE + i] = slot(structure, h, k, l)
        if crystal.shape != SQUARE:
            reshape(tile, crystal, vectors)
        if structure.interpolate or sampling.running_product:
            add_each(into, tile, where + (m,), structure, vectors, wet, sampling)
        else:
            for i in range(TILE):
                tile[into + i] += term(structure.amplitude[np.uintp(tile[PLACE + i])], real(tile[LATTICE + i]))


def reshape(tile, crystal, vectors):
    """Put the factor of another shape than the parallelepiped in its place (F8c to F8e)."""
    for i in range(TILE):
        (dh, _), (dk, _), (dl, _) = nearest_all(vectors, scattering(tile, i))
        tile[LATTICE + i] = lattice_factor_radial(crystal, plain(dh), plain(dk), plain(dl))


def add_each(into, tile, where, structure, vectors, wet, sampling):
    """Add one lattice to the row `into` where a look-up is not enough: between reflections (F9b), or as a product (P2)."""
    row, start, number, m = where
    for i in range(TILE):
        amplitude = structure.amplitude[np.uintp(tile[PLACE + i])]
        if structure.interpolate and (row, int(fast_of(tile, start, i)), number, m) < latch_of(structure):
            h, k, l = index_all(vectors, scattering(tile, i))
            amplitude = between(structure, h, k, l) if surrounded(structure, h, k, l) else structure.amplitude[-1]
        each = term(amplitude, real(tile[LATTICE + i]))
        if not sampling.running_product:
            tile[into + i] += each
        elif wet or tile[LATTICE + i] != 0.0:
            tile[into + i] = (tile[into + i] + each * tile[WEIGHT + i]) * tile[FACTOR + i]


def latch_of(structure):
    """The evaluation from which on nothing is interpolated: row, fast pixel, pass, lattice (P8)."""
    return (structure.latch[0], structure.latch[1], structure.latch[2], structure.latch[3])
