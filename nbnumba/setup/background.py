"""The background: what an amorphous material in the beam scatters, by molecule and by angle (specs/forward.md, F12)."""

import numpy as np

from nbnumba.constants import AVOGADRO, R_E_SQR_M2, WATER_F, WATER_G_PER_CM3, WATER_G_PER_MOL
from nbnumba.stages.records import Amorphous
from nbnumba.statements import Background

GRID = 2**14
"""The number of evenly spaced points to which a table of structure factors is interpolated for the kernels (F12)."""


def photons_per_electron_squared(fluence: float) -> float:
    """Return the photons/sr that one electron^2 scatters in a beam of that fluence, in photons/m^2 (F11)."""
    return R_E_SQR_M2 * fluence


def molecules(background: Background, ignored: bool) -> float:
    """Return the number of molecules in the cube of material (F12).

    ignored: whether density and molar mass are those of water, whatever is stated (P10).
    """
    edge_m = background.water_um * 1e-6
    density, molar = background.density_g_per_cm3, background.molar_mass_g
    if ignored:
        density, molar = WATER_G_PER_CM3, WATER_G_PER_MOL
    return edge_m * edge_m * edge_m * (density * 1e6) * AVOGADRO / molar


def material(background: Background, ignored: bool) -> tuple[float, Amorphous]:
    """Return electrons^2 of the material, or its number of molecules where a table is stated, and the Amorphous record (F12).

    ignored: whether the material is water, whatever is stated (P10). Without a table the record is 1 at all angles.
    """
    count = molecules(background, ignored)
    if background.table is None or ignored:
        return WATER_F * WATER_F * count, Amorphous(0.0, np.ones(2))
    stol, amplitude = np.array(background.table).T
    grid = np.linspace(0.0, stol[-1], GRID)
    values = lagrange(stol, amplitude, grid)
    return count, Amorphous((GRID - 1) / stol[-1], values * values)


def lagrange(x: np.ndarray, y: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Return y at some points, by the cubic through the four nearest points; beyond the ends it is constant (F12).

    x: ascending, in any unit. y: the values there. points: in the unit of x.
    """
    first, last = x[0] - (x[-1] - x[0]), x[-1] + (x[-1] - x[0])
    x = np.concatenate([[first - 1.0, first], x, [last, last + 1.0]])
    y = np.concatenate([[y[0], y[0]], y, [y[-1], y[-1]]])
    start = np.clip(np.searchsorted(x, points) - 2, 0, len(x) - 4)
    total = np.zeros(len(points))
    for i in range(4):
        weight = np.ones(len(points))
        for j in range(4):
            if i != j:
                weight *= (points - x[start + j]) / (x[start + i] - x[start + j])
        total += weight * y[start + i]
    inside = (points >= x[2]) & (points <= x[-3])
    return np.where(inside, total, np.where(points < x[2], y[0], y[-1]))
