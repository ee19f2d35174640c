"""The rows of a tile's flat array: the channels, one for each number of a Cotangent, and what the loops hand on."""

import numpy as np

from nbnumba.backends.tile import TILE

CHANNELS = {
    "origin": 3, "fast": 3, "slow": 3, "normal": 3, "beam": 3, "distance": 1, "close_distance": 1, "layer": 1,
    "absorption": 1, "kahn": 1, "photons": 1, "background_each": 1, "source": 6, "cells": 3, "metric": 6, "vectors": 9,
    "turn": 3,
}  # fmt: skip
"""The fields of a Cotangent, and how many channels each has."""

(
    ORIGIN, FAST, SLOW, NORMAL, BEAM, DISTANCE, CLOSE_DISTANCE, LAYER, ABSORPTION, KAHN, PHOTONS, BACKGROUND, SOURCE,
    CELLS, METRIC, VECTORS, TURN, CHANNEL_END,
) = (int(TILE * n) for n in np.cumsum([0, *CHANNELS.values()]))  # fmt: skip
WIDTH = CHANNEL_END // TILE
"""The number of channels."""

(
    D_BAR, OMEGA_BAR, CAPTURE_BAR, POLARIZATION_BAR, TOTAL_BAR, PIXEL_OMEGA_BAR, PIXEL_CAPTURE_BAR, PIXEL_POLARIZATION_BAR,
    TAKEN, I_BAR, WAVELENGTH_BAR, Q, Q_BAR, H_BAR, K_BAR, L_BAR, AMPLITUDE, SCALE, SUM, AMPLITUDE_BAR, DERIVATIVE, CURVATURE, SIZE,
) = (
    CHANNEL_END + int(TILE * n)
    for n in np.cumsum([0, 3, 1, 1, 1, 1, 1, 1, 1, 1, 3, 1, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1])
)  # fmt: skip


def three(g, row, i):
    """The vector of lane i whose components begin at a row."""
    return g[row + i], g[row + TILE + i], g[row + 2 * TILE + i]


def set3(g, row, i, vector):
    """Set the vector of lane i."""
    g[row + i], g[row + TILE + i], g[row + 2 * TILE + i] = vector


def add3(g, row, i, vector):
    """Add to the vector of lane i."""
    g[row + i] += vector[0]
    g[row + TILE + i] += vector[1]
    g[row + 2 * TILE + i] += vector[2]


def add_products(g, row, i, factor, vector):
    """Add a multiple of a vector to that of lane i."""
    g[row + i] += factor * vector[0]
    g[row + TILE + i] += factor * vector[1]
    g[row + 2 * TILE + i] += factor * vector[2]
