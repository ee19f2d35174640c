"""The background: what an amorphous material in the beam scatters, by molecule and by angle (specs/forward.md, F12)."""

import numpy as np

from nbnumba.constants import AVOGADRO, R_E_SQR_M2, WATER_F, WATER_G_PER_CM3, WATER_G_PER_MOL
from nbnumba.stages.records import Amorphous
from nbnumba.statements import Background

GRID = 2**14
"""Points that a table of structure factors is brought to: evenly spaced, for the kernels."""


def photons_per_electron_squared(fluence: float) -> float:
    """F11: photons/sr of one electron^2 in a beam of that fluence."""
    return R_E_SQR_M2 * fluence


def molecules(background: Background, ignored: bool) -> float:
    """F12: molecules in a cube of the material; `ignored`: of water, whatever density and molar mass are stated (P10)."""
    edge_m = background.water_um * 1e-6
    density, molar = background.density_g_per_cm3, background.molar_mass_g
    if ignored:
        density, molar = WATER_G_PER_CM3, WATER_G_PER_MOL
    return edge_m * edge_m * edge_m * (density * 1e6) * AVOGADRO / molar


def material(background: Background, ignored: bool) -> tuple[float, Amorphous]:
    """F12: electrons^2 of the material, and how that varies with sin(theta) / lambda; evenly without a table."""
    count = molecules(background, ignored)
    if background.table is None or ignored:
        return WATER_F * WATER_F * count, Amorphous(0.0, np.ones(2))
    stol, amplitude = np.array(background.table).T
    grid = np.linspace(0.0, stol[-1], GRID)
    values = lagrange(stol, amplitude, grid)
    return count, Amorphous((GRID - 1) / stol[-1], values * values)


def lagrange(x: np.ndarray, y: np.ndarray, at: np.ndarray) -> np.ndarray:
    """F12: y at other places by the cubic through the four nearest points; constant beyond the ends. x ascends."""
    first, last = x[0] - (x[-1] - x[0]), x[-1] + (x[-1] - x[0])
    x = np.concatenate([[first - 1.0, first], x, [last, last + 1.0]])
    y = np.concatenate([[y[0], y[0]], y, [y[-1], y[-1]]])
    start = np.clip(np.searchsorted(x, at) - 2, 0, len(x) - 4)
    total = np.zeros(len(at))
    for i in range(4):
        weight = np.ones(len(at))
        for j in range(4):
            if i != j:
                weight *= (at - x[start + j]) / (x[start + i] - x[start + j])
        total += weight * y[start + i]
    inside = (at >= x[2]) & (at <= x[-3])
    return np.where(inside, total, np.where(at < x[2], y[0], y[-1]))
