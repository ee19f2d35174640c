"""The records of the derivative: the cotangent of a scene, and how the parts of a scene that are tables move."""

from typing import NamedTuple

import numpy as np


class Cotangent(NamedTuple):
    """The derivative of a number with respect to what a scene is made of; leading axes, if any, are those of many numbers.

    origin to beam (..., 3), distance to absorption: of the Panel record. kahn, photons, background_each: of Intensity.
    source (..., 6): along the motions of the sources (Motions). cells (..., 3), metric (..., 6): of the Crystal record.
    vectors (..., 9): of a, b, c at phi = 0 in A, as rows. angles (..., 3): of phi_deg, osc_deg and
    mosaic_spread_deg, which turn the lattices (Motions).
    """

    origin: np.ndarray
    fast: np.ndarray
    slow: np.ndarray
    normal: np.ndarray
    beam: np.ndarray
    distance: np.ndarray
    close_distance: np.ndarray
    layer: np.ndarray
    absorption: np.ndarray
    kahn: np.ndarray
    photons: np.ndarray
    background_each: np.ndarray
    source: np.ndarray
    cells: np.ndarray
    metric: np.ndarray
    vectors: np.ndarray
    angles: np.ndarray


class Motions(NamedTuple):
    """How the tables of a scene move with a parameter of theirs, per unit that the user states it in.

    source (sources, 6, 4): direction (3) and wavelength in A of each source, by wavelength_A, dispersion_percent,
    hdivrange_mrad, vdivrange_mrad, direction_x_mrad, direction_y_mrad of the beam.
    rotations (steps * domains, 9): the rotation that takes a, b, c at phi = 0 to a lattice of the table, row by row.
    rotation_rates (steps * domains, 9): the axis times the rate, in radians, at which that lattice turns with phi_deg,
    osc_deg and mosaic_spread_deg, three components each. fresh_rotations, fresh_rotation_rates: those of the fresh lattices
    (P1).
    """

    source: np.ndarray
    rotations: np.ndarray
    rotation_rates: np.ndarray
    fresh_rotations: np.ndarray
    fresh_rotation_rates: np.ndarray
