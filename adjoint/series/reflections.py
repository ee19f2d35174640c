"""The reflections of a series: where the exact geometry puts them, at which phi, and how fast they rock (S3)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from nbnumba.experiment import Experiment
from nbnumba.predictions import predict
from nbnumba.setup.detector import spindle_axis
from nbnumba.setup.orientations import phi_steps
from nbnumba.setup.view import view_of

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


class Reflections(NamedTuple):
    """Reflections of a series, one for each time that one passes the sphere (S3).

    hkl (n, 3); panel (n,); fast, slow (n,): pixels from the outer edge of the first; phi_deg (n,): where it passes; zeta (n,):
    the factor by which phi rocks it, 0 to 1; d_A (n,); s1 (n, 3): the diffracted ray, 1/A; F (n,): the amplitude.
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


def middle_of(experiment: Experiment) -> float:
    """The phi in the middle of an image, in degrees."""
    goniometer = experiment.goniometer
    return goniometer.phi_deg + phi_steps(goniometer)[2] / 2.0


def reflections_of(experiments: Sequence[Experiment], reach_deg: float) -> Reflections:
    """The reflections that pass the sphere within the images of a rotation or up to reach_deg / zeta beside them (S3).

    experiments: one for each image, in the order of phi. Those on masked pixels, and with zeta below LEAST_ZETA, are left out.
    Raises InputError like nbnumba.predict.
    """
    parts, begun = [], 0
    margin = reach_deg / LEAST_ZETA
    while begun < len(experiments):
        first = experiments[begun].goniometer.phi_deg
        end = begun + 1
        while end < len(experiments) and experiments[end].goniometer.phi_deg - first < CHUNK_DEG:
            end += 1
        low = first - (margin if begun == 0 else 0.0)
        last = experiments[end - 1].goniometer
        high = last.phi_deg + phi_steps(last)[2] + (margin if end == len(experiments) else 0.0)
        parts.append(_predicted(experiments[(begun + end) // 2], low, high))
        begun = end
    return Reflections(*(np.concatenate(columns) for columns in zip(*parts)))


def _predicted(experiment: Experiment, low: float, high: float) -> Reflections:
    """The reflections that pass the sphere between two angles."""
    table = predict(experiment.replace(SHARP | {"goniometer.phi_deg": low, "goniometer.osc_deg": high - low}))
    zeta = zeta_of(experiment, table.s1)
    passes = (table.phi_deg >= low) & (table.phi_deg < high) & ~table.masked & (zeta >= LEAST_ZETA)
    table, zeta = table[passes], zeta[passes]
    return Reflections(table.hkl, table.panel, table.fast, table.slow, table.phi_deg, zeta, table.d_A, table.s1, table.F)


def zeta_of(experiment: Experiment, s1: np.ndarray) -> np.ndarray:
    """The cosine between the spindle and s1 x s0, for rays s1 (n, 3): the rate at which phi takes a reflection through (n,)."""
    spindle = spindle_axis(experiment.detector, experiment.goniometer.spindle_axis)
    across = np.cross(s1, view_of(experiment).direction)
    return np.abs(across @ spindle) / np.maximum(np.linalg.norm(across, axis=1), 1e-300)
