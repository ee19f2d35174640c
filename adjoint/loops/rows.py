"""The rows of a tile of the derivative that the forward model does not have, and how loops read and write vectors in them.

A cotangent (`_BAR`) is the derivative of the pixel by that quantity, relative to the derivative by the pixel's sum; that one,
TOTAL_BAR, is known when the pixel is complete. Channels are the rows that make the result: one for each number of a Cotangent
record (adjoint/stages/records.py). They accumulate over the samples of a pixel.
"""

import numpy as np

from adjoint.parameters import LATTICE_MOTIONS, MATERIAL_MOTIONS, SOURCE_MOTIONS
from nbnumba.loops.rows import ROWS_END, TILE

LATTICE_ANGLE_COUNT = len(LATTICE_MOTIONS)
"""The number of lattice angles, by which lattices turn: those of LATTICE_MOTIONS."""

CHANNELS = {
    "origin": 3, "fast": 3, "slow": 3, "normal": 3, "beam": 3, "distance": 1, "close_distance": 1, "layer": 1,
    "absorption": 1, "kahn": 1, "photons": 1, "background_each": 1, "material": len(MATERIAL_MOTIONS), "fading": 1,
    "source": len(SOURCE_MOTIONS), "cells": 3, "metric": 6, "disorder": 6, "vectors": 9, "lattice_angles": LATTICE_ANGLE_COUNT,
    "cell_spreads": 3,
}  # fmt: skip
"""The fields of a Cotangent, and how many channels each has."""

(
    ORIGIN, FAST, SLOW, NORMAL, BEAM, DISTANCE, CLOSE_DISTANCE, LAYER, ABSORPTION, KAHN, PHOTONS, BACKGROUND_EACH,
    MATERIAL, FADING, SOURCE, CELLS, METRIC, DISORDER, VECTORS, LATTICE_ANGLES, CELL_SPREADS, CHANNELS_END,
) = (ROWS_END + int(TILE * n) for n in np.cumsum([0, *CHANNELS.values()]))  # fmt: skip
"""Where the channels begin. The unit of a channel is electrons^2, that of the pixel's sum, times the unit in the table.

row | derivative by | unit | written by
ORIGIN | origin of the panel | 1/m | position_adj
FAST, SLOW | fast and slow axes of the panel | 1 | position_adj, curve_adj
NORMAL | normal of the panel | 1 | position_adj, capture_adj
BEAM, DISTANCE | beam direction, and distance along it, of a curved detector | 1, 1/m | curve_adj
CLOSE_DISTANCE | distance from the crystal to the plane of the panel | 1/m | position_adj
LAYER | thickness of a sensor layer | 1/m | position_adj, capture_adj
ABSORPTION | absorption coefficient of the sensor | m | capture_adj
KAHN | Kahn's polarization factor | 1 | polarization_adj
PHOTONS | photons per electron^2 and sr | electrons^2 sr/photon | finish_pixels
BACKGROUND_EACH | background of each sample | 1/electrons^2 | end_pass, background_adj
MATERIAL | amounts of materials by MATERIAL_MOTIONS | 1/unit of the parameter | materials_adj
FADING | B / 2 of the isotropic B factor (F9g) | 1/A^2 | fading_adj
SOURCE | motions of the sources by SOURCE_MOTIONS | 1/unit of the parameter | add_rotation, add_change
CELLS | numbers of unit cells along a, b, c | 1 | square_terms, radial_terms
METRIC | metric of the distance to a reflection (F8b) | 1 | radial_terms
DISORDER | matrix of the B factors that weaken each term (F9g) | 1 | weaken_adj
VECTORS | cell vectors a, b, c at phi = 0 | 1/A | add_motion
LATTICE_ANGLES | angles by which lattices turn, LATTICE_MOTIONS | 1/deg | add_angle, add_motions_and_spread
CELL_SPREADS | spreads of the lengths of the cell | 1 | add_cell_spreads

The functions of cuda_lattices.py write CELLS, VECTORS and LATTICE_ANGLES in the place of those named. Channels are read, and
set to 0 again, by the functions of pixels.py and by the kernel on a card.
"""
WIDTH = (CHANNELS_END - ROWS_END) // TILE
"""The number of channels."""

(
    D_BAR, OMEGA_BAR, CAPTURE_BAR, POLARIZATION_BAR, TOTAL_BAR, PIXEL_OMEGA_BAR, PIXEL_CAPTURE_BAR, PIXEL_POLARIZATION_BAR,
    POLARIZATION_PASS, I_BAR, WAVELENGTH_BAR, Q_BAR, D_HKL, HKL_BAR, SWEPT, SCALE, PENDING_SLOT, PENDING, EARLIER_SLOT,
    EARLIER, DATA, LOSS_WEIGHT, LOSS, DERIVATIVE, CURVATURE, ALL_END,
) = (
    CHANNELS_END + int(TILE * n)
    for n in np.cumsum([0, 3, 1, 1, 1, 1, 1, 1, 1, 1, 3, 1, 3, 3, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1])
)  # fmt: skip
"""Where the other rows begin. Vectors have three rows, x, y, z or h, k, l.

row | what it holds | written by | read by
D_BAR | cotangent of the direction of the ray | scatter_adj, polarization_adj, capture_adj | position_adj
OMEGA_BAR | cotangent of the solid angle | end_pass, pixel_factors_adj | position_adj
CAPTURE_BAR | cotangent of the capture fraction | end_pass, pixel_factors_adj | capture_adj
POLARIZATION_BAR | cotangent of the polarization factor | end_pass, pixel_factors_adj | polarization_adj
TOTAL_BAR | derivative of the photons by the pixel's sum | finish_pixels, apply_loss | store_jacobian, add_normal
PIXEL_OMEGA_BAR | cotangent of the solid angle where it is a factor of the pixel | finish_pixels | pixel_factors_adj
PIXEL_CAPTURE_BAR | the same of the capture fraction | finish_pixels | pixel_factors_adj
PIXEL_POLARIZATION_BAR | the same of the polarization factor | finish_pixels | pixel_factors_adj
POLARIZATION_PASS | the pass in which the polarization was taken | note_polarization | pixel_factors_adj, last_taken
I_BAR | cotangent of the incident direction, of one sample | scatter_adj, polarization_adj | add_rotation
WAVELENGTH_BAR | cotangent of the wavelength, of one sample | scatter_adj | add_change
Q_BAR | cotangent of the scattering vector, of one pass | add_motion, background_adj | scatter_adj
D_HKL | distance to the nearest reflection along h, k, l | look_up | square_terms, radial_terms
HKL_BAR | cotangent of hkl | square_terms, radial_terms, add_slopes_of_cell, remove_stretches | add_motion, add_turn
SWEPT | q x e, or in its first row the derivative by the spindle so far | begin_sweep | add_motions_and_sweep, add_sweep_of_step
SCALE | factor of a term in the pixel's sum | begin_pass | square_terms, radial_terms, amplitude_adj
PENDING_SLOT | slot of the amplitude that PENDING belongs to, or -1 | clear_table, collect_terms | is_new, enter_pending
PENDING | derivative by an amplitude that is not yet entered into the table | clear_table, add_to_pending | enter_pending
EARLIER_SLOT | the slot that was in PENDING_SLOT before, or -1 | clear_table, collect_terms | is_new, enter_pending
EARLIER | derivative by that amplitude, not yet entered either | clear_table, add_to_pending | enter_pending
DATA | the measured pixel, NaN where it does not count | take_data | apply_loss, apply_loss_to_photons
LOSS_WEIGHT | the weight of the measured pixel | take_data | apply_loss, apply_loss_to_photons
LOSS | loss of the pixel | apply_loss, loss_of_dark_pixels | apply_loss, loss_of_dark_pixels
DERIVATIVE | derivative of the loss by the pixel's sum or photons | apply_loss, apply_loss_to_photons | add_channels, add_normal
CURVATURE | curvature of the loss by the photons | apply_loss_to_photons | add_normal, gather_amplitudes
"""

X_BAR, Y_BAR, Z_BAR, W_BAR = np.uint64(I_BAR), np.uint64(I_BAR + TILE), np.uint64(I_BAR + 2 * TILE), np.uint64(WAVELENGTH_BAR)
"""The rows of I_BAR and WAVELENGTH_BAR, as numbers without a sign."""
OSC, SPREAD = (LATTICE_ANGLES + TILE * LATTICE_MOTIONS.index(n) for n in ("goniometer.osc_deg", "crystal.mosaic_spread_deg"))
"""The channels of two of the angles, which add_motions_and_spread, add_motions_and_sweep and add_sweep_of_step write, too."""
LANES = np.uint64(TILE)
"""For loops over rows whose offset is known at run time alone: an index that cannot be negative need not be checked."""


def three(tile, row, i):
    """The vector of lane i whose components begin at a row."""
    return tile[row + i], tile[row + TILE + i], tile[row + 2 * TILE + i]


def set3(tile, row, i, vector):
    """Set the vector of lane i."""
    tile[row + i], tile[row + TILE + i], tile[row + 2 * TILE + i] = vector


def add3(tile, row, i, vector):
    """Add to the vector of lane i."""
    tile[row + i] += vector[0]
    tile[row + TILE + i] += vector[1]
    tile[row + 2 * TILE + i] += vector[2]


def add_scaled3(tile, row, i, factor, vector):
    """Add a multiple of a vector to that of lane i."""
    tile[row + i] += factor * vector[0]
    tile[row + TILE + i] += factor * vector[1]
    tile[row + 2 * TILE + i] += factor * vector[2]
