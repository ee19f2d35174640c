"""The reflections of a series: where the exact geometry puts them, at which phi, and how fast they rock (S3, S11)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from nbnumba.experiment import Experiment
from nbnumba.predictions import Predictions, predict
from nbnumba.setup import crystal
from nbnumba.setup.detector import spindle_axis
from nbnumba.setup.orientations import phi_steps
from nbnumba.setup.view import view_of
from nbnumba.spots import candidates, ewald
from nbnumba.spots.shape_profiles import reach

LEAST_ZETA = 0.15
"""The least cosine between the spindle and the axis about which a reflection passes the sphere fastest; others rock long."""

CHUNK_DEG = 2.0
"""The range of phi, in degrees, that is predicted at once, with the crystal of its middle."""

SHARP = {
    "crystal.mosaic_spread_deg": 0.0, "crystal.mosaic_domains": 1, "crystal.n_a": 1000.0, "crystal.n_b": 1000.0,
    "crystal.n_c": 1000.0, "crystal.n_d": 0.0, "crystal.n_e": 0.0, "crystal.n_f": 0.0, "goniometer.phisteps": 1,
    "structure_factors.interpolate": False, "sampling.roi": None, "sampling.mask": None,
}  # fmt: skip
"""A crystal whose reflections meet the sphere in a point: predictions list those that do so within a range of phi."""

DEVIATIONS = 3.0
"""A still shows reflections within so many standard deviations of the sphere."""

Absent = Callable[[np.ndarray], np.ndarray]
"""A function of Miller indices (n, 3) that says which reflections symmetry forbids (n,)."""


class Counts(NamedTuple):
    """How many predictions there were, and how many of them were left out for which reason (S3, S11).

    predicted: that meet the sphere on a panel within the range; slow: with zeta below LEAST_ZETA; masked: on pixels that the
    detector masks; absent: by symmetry, far: too far from the sphere, or without an amplitude, of stills.
    """

    predicted: int = 0
    slow: int = 0
    masked: int = 0
    absent: int = 0
    far: int = 0

    def __add__(self, other: object) -> Counts:
        """The sum of two."""
        return Counts(*(a + b for a, b in zip(self, other))) if isinstance(other, Counts) else NotImplemented

    def __str__(self) -> str:
        """The numbers in words."""
        reasons = (
            (self.slow, f"pass the sphere slowly (zeta below {LEAST_ZETA:g})"),
            (self.masked, "lie on masked pixels"),
            (self.absent, "are absent by symmetry"),
            (self.far, f"are more than {DEVIATIONS:g} standard deviations off the sphere, or have no amplitude"),
        )
        left_out = [f"{count} {why}" for count, why in reasons if count]
        text = f"{self.predicted} reflections are predicted on the detector"
        return f"{text}, of which are left out: {', '.join(left_out)}" if left_out else f"{text}, and none is left out"


class Reflections(NamedTuple):
    """Reflections of a series, one for each time that one passes the sphere (S3).

    hkl (n, 3); panel (n,); fast, slow (n,): pixels from the outer edge of the first; phi_deg (n,): where it passes; zeta (n,):
    the factor by which phi rocks it, 0 to 1; d_A (n,); s1 (n, 3): the diffracted ray, 1/A; F (n,): the amplitude. image (n,):
    the number of the still that shows it, -1 in a rotation; delta_psi_deg (n,): the rotation that takes it to the sphere.
    """

    hkl: np.ndarray
    panel: np.ndarray
    fast: np.ndarray
    slow: np.ndarray
    phi_deg: np.ndarray
    zeta: np.ndarray
    d_A: np.ndarray
    s1: np.ndarray
    F: np.ndarray
    image: np.ndarray
    delta_psi_deg: np.ndarray


def middle_of(experiment: Experiment) -> float:
    """The phi in the middle of an image, in degrees."""
    goniometer = experiment.goniometer
    return goniometer.phi_deg + phi_steps(goniometer)[2] / 2.0


def reflections_of(experiments: Sequence[Experiment], reach_deg: float) -> tuple[Reflections, Counts]:
    """The reflections that pass the sphere within the images of a rotation or up to reach_deg / zeta beside them (S3).

    experiments: one for each image, in the order of phi. Those on masked pixels, and with zeta below LEAST_ZETA, are left out.
    Raises InputError like nbnumba.predict.
    """
    parts, begun, tally = [], 0, Counts()
    margin = reach_deg / LEAST_ZETA
    while begun < len(experiments):
        first = experiments[begun].goniometer.phi_deg
        end = begun + 1
        while end < len(experiments) and experiments[end].goniometer.phi_deg - first < CHUNK_DEG:
            end += 1
        low = first - (margin if begun == 0 else 0.0)
        last = experiments[end - 1].goniometer
        high = last.phi_deg + phi_steps(last)[2] + (margin if end == len(experiments) else 0.0)
        part, counts = _predicted(experiments[(begun + end) // 2], low, high)
        parts.append(part)
        tally, begun = tally + counts, end
    return Reflections(*(np.concatenate(columns) for columns in zip(*parts))), tally


def _predicted(experiment: Experiment, low: float, high: float) -> tuple[Reflections, Counts]:
    """The reflections that pass the sphere between two angles, and how many were left out."""
    table = predict(experiment.replace(SHARP | {"goniometer.phi_deg": low, "goniometer.osc_deg": high - low}))
    zeta = zeta_of(experiment, table.s1)
    within = (table.phi_deg >= low) & (table.phi_deg < high)
    slow, masked = within & (zeta < LEAST_ZETA), within & (zeta >= LEAST_ZETA) & table.masked
    tally = Counts(int(within.sum()), int(slow.sum()), int(masked.sum()))
    passes = within & ~slow & ~masked
    return _reflections(table[passes], zeta[passes], -1), tally


def _reflections(table: Predictions, zeta: np.ndarray, image: int) -> Reflections:
    """The reflections of a table of predictions."""
    of_table = table.hkl, table.panel, table.fast, table.slow, table.phi_deg, zeta, table.d_A, table.s1, table.F
    return Reflections(*of_table, np.full(len(table), image), table.delta_psi_deg)


def is_still(experiment: Experiment) -> bool:
    """Whether an image is a still: its crystal is at rest."""
    return phi_steps(experiment.goniometer)[2] <= 0.0


def reflections_of_stills(
    experiments: Sequence[Experiment], unsure_deg: float = 0.0, absent: Absent | None = None
) -> tuple[Reflections, Counts]:
    """The reflections that stills show, each still its own: those near enough to the sphere (S11), and how many are left out.

    unsure_deg: the standard deviation of the orientations. absent: which reflections symmetry forbids. Those on masked pixels
    are left out. Raises InputError like nbnumba.predict.
    """
    parts = [_near_sphere(experiment, number, unsure_deg, absent) for number, experiment in enumerate(experiments)]
    joined = Reflections(*(np.concatenate(columns) for columns in zip(*(part for part, _ in parts))))
    return joined, sum((counts for _, counts in parts), Counts())


def _near_sphere(experiment: Experiment, number: int, unsure_deg: float, absent: Absent | None) -> tuple[Reflections, Counts]:
    """The reflections within DEVIATIONS of the sphere in a still."""
    view, defects = view_of(experiment), experiment.sampling.defects
    vectors = crystal.orient(experiment.crystal, defects)
    star = np.linalg.inv(vectors).T
    lit = view.sources.wavelength[view.sources.weight > 0.0] if np.any(view.sources.weight) else view.sources.wavelength
    beam = ewald.Beam(view.direction, view.wavelength, float(lit.min()), float(lit.max()))
    turn, size = rocking_of_still(experiment, unsure_deg)
    phi = math.radians(experiment.goniometer.phi_deg)
    spindle = spindle_axis(experiment.detector, experiment.goniometer.spindle_axis)
    finest = max(experiment.beam.dmin_A, candidates.finest_resolution(view))
    bounds = spindle, (phi, phi), beam, DEVIATIONS * turn, DEVIATIONS * size, finest
    near = candidates.listed(experiment.structure_factors)
    if near is None:
        near = candidates.all_near(star, vectors, finest, lambda q, around: candidates.near_sphere(q, *bounds, around))
    else:
        near = near[candidates.near_sphere(near @ star, *bounds)]
    table = predict(experiment.replace(SHARP), near)
    forbidden = np.zeros(len(table), dtype=bool) if absent is None or not len(table) else absent(table.hkl)
    width = np.hypot(turn, size * table.d_A)
    far = ~forbidden & ((np.abs(np.radians(table.delta_psi_deg)) > DEVIATIONS * width) | (table.F == 0.0))
    masked = ~forbidden & ~far & table.masked
    tally = Counts(len(table), 0, int(masked.sum()), int(forbidden.sum()), int(far.sum()))
    table = table[~(forbidden | far | masked)]
    return _reflections(table, np.ones(len(table)), number), tally


def rocking_of_still(experiment: Experiment, unsure_deg: float = 0.0) -> tuple[float, float]:
    """By how much the reflections of a still may be off the sphere: a standard deviation in radian, and one in 1/A (S11).

    The angle is that of the mosaic spread, the divergence of the beam, the spread of the cell and unsure_deg; the distance that
    of the size of the crystal, a third of what nearly no photons are beyond.
    """
    view, stated = view_of(experiment), experiment.crystal
    weight = view.sources.weight if np.any(view.sources.weight) else None
    off = 2.0 * (1.0 - np.clip(view.sources.direction @ view.direction, -1.0, 1.0))
    divergence = float(np.average(off, weights=weight))
    mosaic = math.radians(math.hypot(max(getattr(stated, name) for name in stated.SPREADS), unsure_deg))
    of_cell = max(getattr(stated, name) for name in stated.CELL_SPREADS)
    vectors = crystal.orient(stated, experiment.sampling.defects)
    record = crystal.record(stated, vectors, experiment.sampling.defects)
    size = reach(record, np.linalg.inv(vectors).T, math.exp(-(DEVIATIONS**2) / 2.0)) / DEVIATIONS
    return math.sqrt(mosaic**2 + divergence + of_cell**2), size


def zeta_of(experiment: Experiment, s1: np.ndarray) -> np.ndarray:
    """The cosine between the spindle and s1 x s0, for rays s1 (n, 3): the rate at which phi takes a reflection through (n,)."""
    spindle = spindle_axis(experiment.detector, experiment.goniometer.spindle_axis)
    across = np.cross(s1, view_of(experiment).direction)
    return np.abs(across @ spindle) / np.maximum(np.linalg.norm(across, axis=1), 1e-300)
