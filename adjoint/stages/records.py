"""The records of the derivative: the cotangent of a scene, and how the parts of a scene that are tables move."""

from typing import NamedTuple

import numpy as np


class Cotangent(NamedTuple):
    """The derivative of one number, such as a loss, with respect to what a scene is made of (A0).

    A field has the unit of that number per unit given here. Leading axes (...), if any, are those of several numbers.

    origin (..., 3): by the corner of the first pixel, in m.
    fast, slow, normal (..., 3): by the unit axes of the detector.
    beam (..., 3): by the unit vector along the beam, of a curved detector.
    distance (...): by the distance along the beam, in m, of a curved detector.
    close_distance (...): by the distance from the crystal to the nearest point of the plane, in m.
    layer (...): by the depth of a layer of the sensor, in m.
    absorption (...): by the absorption of the sensor, in 1/m.
    kahn (...): by K of Kahn's factor, without a unit.
    photons (...): by r_e^2 fluence / steps, in photons per electron^2 and sr.
    background_each (...): by the scale of the background at every sample, in electrons^2.
    material (..., MATERIAL_MOTIONS): by MATERIAL_MOTIONS, the parameters of the table of the background, in their units.
    fading (...): by B / 2 of the isotropic B factor, in A^2.
    source (..., SOURCE_MOTIONS): by SOURCE_MOTIONS, the parameters of the beam that move its sources, in their units.
    cells (..., 3): by n_a, n_b and n_c where they do not stand in the metric, in unit cells.
    metric (..., 6): by hh, kk, ll, hk, hl and kl of the metric, without a unit.
    disorder (..., 6): by hh, kk, ll, hk, hl and kl of the matrix of the B factors that weaken each term, without a unit.
    vectors (..., 9): by the components of a, b and c at phi = 0 one after another, in A.
    lattice_angles (..., LATTICE_MOTIONS): by LATTICE_MOTIONS, the parameters that rotate the lattices, in degree.
    cell_spreads (..., 3): by the spreads of the lengths a, b and c of the cell, without a unit.
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
    material: np.ndarray
    fading: np.ndarray
    source: np.ndarray
    cells: np.ndarray
    metric: np.ndarray
    disorder: np.ndarray
    vectors: np.ndarray
    lattice_angles: np.ndarray
    cell_spreads: np.ndarray


class Motions(NamedTuple):
    """How sources and lattices, the tables of a scene, move with a parameter, per unit in which the user states it (A5a, A7b).

    source (sources, SOURCE_MOTIONS, 4): change of the unit direction (3) and of the wavelength, in A, of each source.
    rotations (steps * domains, 9): the matrix, row by row, that rotates a, b, c at phi = 0 to a lattice of the table.
    rotation_rates (steps * domains, LATTICE_MOTIONS, 3): axis times rate of the rotation of that lattice, in radian per degree.
    fresh_rotations, fresh_rotation_rates: the same for the fresh lattices (P1). material (MATERIAL_MOTIONS, n): change of each
    entry of the table of a background of several materials, in electrons^2; (MATERIAL_MOTIONS, 1) of 0 without air and ice.
    stretches (steps * domains, 3): the factors of a, b and c of each lattice; (1, 3) where these are 1. stretch_rates (steps *
    domains, 3): the changes of their logarithms with the spreads of the cell; (1, 3) where there are no domains. osc_rates
    (steps, 2): the changes of the angles of the phi steps with the range of the rotation, without a unit, and those of the
    fresh lattices; (0, 2) where domains are turned about axes of the crystal. spindle (4, 3): its axis as the first domain
    turns it, times radian per degree, and the changes of a, b and c at phi = 0 with its angle, in A per degree.

    SOURCE_MOTIONS, LATTICE_MOTIONS and MATERIAL_MOTIONS are names of adjoint/parameters.py.
    """

    source: np.ndarray
    rotations: np.ndarray
    rotation_rates: np.ndarray
    fresh_rotations: np.ndarray
    fresh_rotation_rates: np.ndarray
    material: np.ndarray
    stretches: np.ndarray
    stretch_rates: np.ndarray
    osc_rates: np.ndarray
    spindle: np.ndarray
