"""The rows of a tile beside those of the forward model: channels, one for each number of a Cotangent, and what loops share."""

import numpy as np

from nbnumba.loops.rows import ROWS_END, TILE

CHANNELS = {
    "origin": 3, "fast": 3, "slow": 3, "normal": 3, "beam": 3, "distance": 1, "close_distance": 1, "layer": 1,
    "absorption": 1, "kahn": 1, "photons": 1, "background_each": 1, "source": 6, "cells": 3, "metric": 6, "vectors": 9,
    "turn": 3,
}  # fmt: skip
"""The fields of a Cotangent, and how many channels each has."""

(
    ORIGIN, FAST, SLOW, NORMAL, BEAM, DISTANCE, CLOSE_DISTANCE, LAYER, ABSORPTION, KAHN, PHOTONS, BACKGROUND_EACH, SOURCE,
    CELLS, METRIC, VECTORS, TURN, CHANNELS_END,
) = (ROWS_END + int(TILE * n) for n in np.cumsum([0, *CHANNELS.values()]))  # fmt: skip
WIDTH = (CHANNELS_END - ROWS_END) // TILE
"""The number of channels."""

(
    D_BAR, OMEGA_BAR, CAPTURE_BAR, POLARIZATION_BAR, TOTAL_BAR, PIXEL_OMEGA_BAR, PIXEL_CAPTURE_BAR, PIXEL_POLARIZATION_BAR,
    TAKEN, I_BAR, WAVELENGTH_BAR, Q_BAR, OFF, HKL_BAR, AMPLITUDE, SCALE, KEPT_PLACE, KEPT, DATA, LOSS_WEIGHT, LOSS,
    DERIVATIVE, CURVATURE, ALL_END,
) = (
    CHANNELS_END + int(TILE * n)
    for n in np.cumsum([0, 3, 1, 1, 1, 1, 1, 1, 1, 1, 3, 1, 3, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1])
)  # fmt: skip

X_BAR, Y_BAR, Z_BAR, W_BAR = np.uint64(I_BAR), np.uint64(I_BAR + TILE), np.uint64(I_BAR + 2 * TILE), np.uint64(WAVELENGTH_BAR)
LANES = np.uint64(TILE)
"""For loops over rows whose place is known at run time alone: an index that cannot be negative need not be checked."""


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


def add_products(tile, row, i, factor, vector):
    """Add a multiple of a vector to that of lane i."""
    tile[row + i] += factor * vector[0]
    tile[row + TILE + i] += factor * vector[1]
    tile[row + 2 * TILE + i] += factor * vector[2]


def add_product(tile, row, i, one, other):
    """Add the product of two vectors to the number of lane i."""
    tile[row + i] = tile[row + i] + one[0] * other[0] + one[1] * other[1] + one[2] * other[2]
