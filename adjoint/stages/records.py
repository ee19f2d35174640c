"""The records of the derivative: the cotangent of a scene, and how the parts of a scene that are tables move."""

from typing import NamedTuple

import numpy as np


class Cotangent(NamedTuple):
    """The derivative of a number with respect to what a scene is made of; leading axes, if any, are those of many numbers.

    origin to beam (..., 3), distance to absorption: of the Panel record. kahn, photons, background_each: of Intensity.
    source (..., 6): along the motions of the sources (Motions). cells (..., 3), metric (..., 6): of the Crystal record.
    vectors (..., 9): of a, b, c at phi = 0 in A, as rows. turn (..., 3): along the turns of the lattices (Motions).
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
    turn: np.ndarray


class Motions(NamedTuple):
    """How the tables of a scene move with a parameter of theirs, per unit that the user states it in.

    source (sources, 6, 4): direction (3) and wavelength in A of each source, by wavelength_A, dispersion_percent,
    hdivrange_mrad, vdivrange_mrad, direction_x_mrad, direction_y_mrad of the beam.
    turn (steps * domains, 9): the rotation that takes a, b, c at phi = 0 to a lattice of the table, row by row.
    spin (steps * domains, 9): the axis times the rate, in radians, at which that lattice turns with phi_deg, osc_deg and
    mosaic_spread_deg, three components each. fresh_turn, fresh_spin: those of the fresh lattices (P1).
    """

    source: np.ndarray
    turn: np.ndarray
    spin: np.ndarray
    fresh_turn: np.ndarray
    fresh_spin: np.ndarray
