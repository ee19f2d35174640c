"""How much of a scene is computed where terms are left out (F10a): a sample of its tiles, sources and lattices is bounded.

The bounds are those of stages/culling.py and loops/patches.py, taken for arrays.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from nbnumba.geometry.rotations import about_axis
from nbnumba.loops.blocks import BLOCK_FAST, BLOCK_SLOW, PATCH, PATCH_FAST, PATCH_SLOW, PATCHES, place
from nbnumba.loops.patches import GROUP
from nbnumba.loops.rows import TILE
from nbnumba.setup import crystal, culling, orientations, sampling, scene, sources, structure
from nbnumba.setup.detector import polarization_axis, sensor, spindle_axis
from nbnumba.setup.panels import planes
from nbnumba.stages.culling import index_reach, least_sine, remoteness_limit, spread_of_directions
from nbnumba.stages.detector import solid_angle
from nbnumba.stages.lattice import distance_squared
from nbnumba.stages.shapes import SQUARE
from nbnumba.statements import Beam, Statements

MOST_TILES, MOST_SOURCES, MOST_GROUPS, MOST_PANELS = 32, 8, 6, 8
"""How many tiles, sources and groups of lattices are bounded, and panels looked at."""
MOST_STEPS, MOST_DOMAINS, MOST_MADE = 10**7, 10**4, 500
"""The largest number of phi steps that are looked at, of mosaic domains that are drawn, and of sources that are made."""


GOLDEN = (math.sqrt(5.0) - 1.0) / 2.0
"""Multiples of it, less their whole parts, are spread evenly, and in step with no row of blocks."""


FEW_STEPS = (4, 4, 30)
"""The steps of both divergences, and of the wavelength, over the same ranges, in the place of more."""


class CulledWork(NamedTuple):
    """Shares of what is computed of a culled scene.

    tiles: of the tiles, for each source, those that a term may count in. groups: of the tiles, for each source and group of
    lattices, the same. patches: of the patches, for each source and lattice, those whose terms are computed.
    """

    tiles: float
    groups: float
    patches: float


def is_open_to_culling(experiment: Statements) -> bool:
    """Return whether terms of an experiment may be left out: a quick check, of what is stated (F10a)."""
    stated = experiment.sampling
    return not stated.c_parity and (stated.tolerance > 0.0 or experiment.crystal.shape != "square")


def sample(experiment: Statements, wanted: Sequence[sampling.Window]) -> CulledWork | None:
    """Return the shares of what is computed of an experiment, from a sample; None where every term is (F10a).

    wanted: the pixels of each panel that are computed. The same experiment has the same sample. The cost does not depend on the
    numbers of pixels, sources and lattices; None, too, for more phi steps than can be looked at.
    """
    defects = experiment.sampling.defects
    steps = orientations.phi_steps(experiment.goniometer)[0]
    if experiment.sampling.c_parity or steps > MOST_STEPS:
        return None
    placed, vectors = planes(experiment.detector, experiment.beam, defects), crystal.orient(experiment.crystal, defects)
    electric = polarization_axis(experiment.detector, experiment.beam)
    source = sources.beam_sources(_fewer_sources(experiment.beam, defects), placed[0].beam, electric, defects)
    record = crystal.record(experiment.crystal, vectors, defects)
    (largest, interpolate), some = _largest_amplitude(experiment, min(record[:3])), []
    lit = [number for number, window in enumerate(wanted) if not window.mask.size or window.mask.any()]
    looked_at = [lit[n] for n in _spread_indices(len(lit), MOST_PANELS)]
    for plane, window in ((placed[n], wanted[n]) for n in looked_at):
        layers, depth, absorption = sensor(experiment.detector, defects, plane.panel)
        samples = sampling.samples(experiment, plane, vectors, layers)
        panel = scene.panel_record(experiment, plane, depth, absorption, samples)
        cells = scene.culled(record, experiment, panel, source, largest, interpolate, layers)
        if cells.most_remote == 0.0:
            return None
        some.append(_patches(panel, samples, cells, _some_blocks(window, MOST_TILES // len(looked_at))))
    spindle = spindle_axis(experiment.detector, experiment.goniometer.spindle_axis)
    lattices = _some_lattices(experiment, spindle, vectors)
    patches = _Patches(*(np.concatenate(parts, axis=-2) for parts in zip(*some)))
    few = _spread_indices(len(source.weight), MOST_SOURCES)
    return _shares(cells, patches, (source.direction[few], source.wavelength[few]), lattices)


def _largest_amplitude(experiment: Statements, smallest: float) -> tuple[float, bool]:
    """The largest magnitude of the amplitudes of an experiment, in electrons, and whether they are interpolated (F9)."""
    factors = experiment.structure_factors
    listed = () if factors.hkl is None else np.abs(factors.F)
    largest = max(abs(factors.default_F), float(np.max(listed, initial=0.0)))
    return largest, factors.hkl is not None and structure.interpolates(factors, smallest)


def _fewer_sources(beam: Beam, defects) -> Beam:
    """A beam like this one with at most some hundred sources."""
    if sources.number(beam, defects) <= MOST_MADE:
        return beam
    beam = replace(beam, source_weights=None)
    if beam.sources is not None:
        return replace(beam, sources=[beam.sources[n] for n in _spread_indices(len(beam.sources), MOST_MADE)])
    fewer = {"round_divergence": False}
    if beam.spectrum is not None:
        rows = [(wavelength, 1.0) for wavelength, _ in beam.spectrum]
        fewer["spectrum"] = [rows[n] for n in _spread_indices(len(rows), FEW_STEPS[2])]
    for name, count, most in zip(("hdiv", "vdiv", "disp"), sources.numbers(beam, defects), FEW_STEPS):
        if count > most and not (name == "disp" and beam.spectrum):
            fewer |= {f"{name}steps": most} | ({} if name == "disp" else {f"{name}step_mrad": None})
    return replace(beam, **fewer)


def _spread_indices(count: int, most: int) -> np.ndarray:
    """At most so many indices below a count, evenly spread, and each once."""
    return np.unique((np.arange(min(count, most)) + 0.5) * count // min(count, most)).astype(np.int64)


def _some_lattices(experiment: Statements, spindle: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Some groups of neighbouring lattices (groups, GROUP, 9), in A; the last of few is repeated (F7b)."""
    angles, domains = orientations.phi_angles(experiment.goniometer), orientations.number_of_domains(experiment.crystal)
    drawn, count = min(domains, MOST_DOMAINS), len(angles) * domains
    limited = experiment.crystal if domains == drawn else replace(experiment.crystal, mosaic_domains=drawn)
    rotations = orientations.domain_rotations(limited, rounded=False)
    first = _spread_indices(-(-count // GROUP), MOST_GROUPS) * GROUP
    index = np.minimum(first[:, np.newaxis] + np.arange(GROUP), count - 1).ravel()
    vectors_of = orientations.domain_cells(limited, vectors, experiment.sampling.defects)
    steps = zip(angles[index // domains], index % domains % drawn)
    turned = [vectors_of[n % len(vectors_of)] @ about_axis(spindle, angle).T for angle, n in steps]
    lattices = np.array([v @ rotations[n].T for v, n in zip(turned, index % domains % drawn)])
    return lattices.reshape(-1, GROUP, 9)


def _some_blocks(wanted: sampling.Window, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns (blocks,) at which some blocks with wanted pixels begin, at most so many, spread over the region."""
    (first, last), (left, right) = wanted.rows, wanted.columns
    down, across = -(-(last - first) // BLOCK_SLOW), -(-(right - left) // BLOCK_FAST)
    if wanted.mask.size:
        inside = wanted.mask[first:last, left:right] != 0
        whole = np.zeros((down * BLOCK_SLOW, across * BLOCK_FAST), dtype=bool)
        whole[: inside.shape[0], : inside.shape[1]] = inside
        among = np.flatnonzero(whole.reshape(down, BLOCK_SLOW, across, BLOCK_FAST).any(axis=(1, 3)))
    else:
        among = np.arange(down * across)
    spread = (np.arange(min(len(among), most)) + 0.5) * GOLDEN % 1.0 * len(among)
    slow, fast = np.divmod(among[spread.astype(np.int64)], across)
    return first + slow * BLOCK_SLOW, left + fast * BLOCK_FAST


class _Patches(NamedTuple):
    """The patches of some tiles, as in loops/patches.py: directions (spread_of_directions) and the largest remoteness.

    centre (3, tiles, patches), edges (3, 3, tiles, patches), beyond and limit (tiles, patches).
    """

    centre: np.ndarray
    edges: np.ndarray
    beyond: np.ndarray
    limit: np.ndarray


def _patches(panel, samples, cells, blocks) -> _Patches:
    """The patches of blocks, as far as the first layer of the sensor goes; on a curved detector those of the flat one."""
    lanes = np.array([place(lane) for lane in range(0, TILE, PATCH)]) + np.array([PATCH_SLOW, PATCH_FAST]) / 2.0
    inner = 0.5 - 0.5 / samples.oversample
    half = ((PATCH_FAST - 1) / 2.0 + inner) * panel.pixel_fast, ((PATCH_SLOW - 1) / 2.0 + inner) * panel.pixel_slow, 0.0
    found = []
    middles = (np.stack(blocks, axis=1)[:, np.newaxis] + lanes) * (panel.pixel_slow, panel.pixel_fast)
    for slow, fast in middles.reshape(-1, 2).tolist():
        (centre, edges, beyond), nearest = spread_of_directions(panel, (fast, slow, 0.0), half)
        found.append([*centre, *edges[0], *edges[1], *edges[2], beyond, remoteness_limit(cells, solid_angle(panel, nearest))])
    numbers = np.array(found).T.reshape(-1, len(blocks[0]), PATCHES)
    return _Patches(numbers[:3], numbers[3:12].reshape(3, 3, len(blocks[0]), PATCHES), numbers[12], numbers[13])


def _shares(cells, patches: _Patches, beams, lattices: np.ndarray) -> CulledWork:
    """The shares of tiles, groups and patches that no bound leaves out.

    beams: directions (sources, 3) and wavelengths (sources,) in A. lattices (groups, GROUP, 9), in A.
    """
    middle, reach = culling.groups(lattices.reshape(-1, 9))
    of_group = _near(cells, patches, beams, (middle, reach)).sum(axis=1)  # (tiles, sources, groups)
    computed, every = 0, patches.limit.size * len(beams[1]) * lattices.shape[0] * GROUP
    for tile, source, group in np.argwhere(of_group):
        here = _Patches(*(part[..., tile : tile + 1, :] for part in patches))
        beam = beams[0][source : source + 1], beams[1][source : source + 1]
        of_each = _near(cells, here, beam, (lattices[group], np.zeros((GROUP, 9)))).sum(axis=(0, 1, 2))
        is_wide = 5 * of_each[0] < 4 * of_group[tile, source, group]
        computed += of_each.sum() if is_wide else GROUP * of_group[tile, source, group]
    near = of_group > 0
    return CulledWork(float(near.any(axis=2).mean()), float(near.mean()), computed / every)


def _near(cells, patches: _Patches, beams, lattices) -> np.ndarray:
    """Whether terms may count (tiles, patches, sources, lattices), by loops/patches.py:span_remoteness for arrays (F10a).

    beams: directions and wavelengths. lattices: their vectors (n, 9) in A, and how far these lie apart.
    """
    centre, edges, beyond, limit = (part[..., np.newaxis, np.newaxis] for part in patches)
    wavelength = beams[1][:, np.newaxis]
    q = [(centre[axis] - beams[0][:, np.newaxis, axis]) / wavelength for axis in range(3)]
    distances = []
    for first in (0, 3, 6):
        vector, vector_reach = (tuple(part[:, first + axis] for axis in range(3)) for part in lattices)
        h_reach = index_reach(vector, vector_reach, q, edges / wavelength, beyond / wavelength)
        h = vector[0] * q[0] + vector[1] * q[1] + vector[2] * q[2]
        distances.append(np.maximum(np.abs(h - np.round(h)) - h_reach, 0.0))
    return _least_remoteness(cells, *distances) <= limit


def _least_remoteness(cells, dh, dk, dl) -> np.ndarray:
    """stages/culling.py:least_remoteness for arrays of distances (F10a)."""
    if cells.shape != SQUARE:
        return distance_squared(cells, dh, dk, dl) * cells.fudge
    falls = (np.maximum(least_sine(d) ** 2, 1.0 / max(n, 1.0) ** 2) for d, n in zip((dh, dk, dl), cells[:3]))
    return np.prod(np.broadcast_arrays(*falls), axis=0)
