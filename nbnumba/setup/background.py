"""The background: what an amorphous material in the beam scatters, by molecule and by angle (specs/forward.md, F12)."""

import dataclasses
import functools
from importlib import resources

import numpy as np

from nbnumba.constants import AIR_PER_M3, AVOGADRO, R_E_SQR_M2, WATER_F, WATER_G_PER_CM3, WATER_G_PER_MOL
from nbnumba.stages.records import Amorphous
from nbnumba.statements import Background, Stated, Statements

GRID = 2**14
"""The number of evenly spaced points to which a table of structure factors is interpolated for the kernels (F12)."""


def is_bare(experiment: Statements) -> bool:
    """Whether an experiment has neither material nor air beside the crystal, and no photons are added."""
    stated = experiment.background
    return not stated.water_um and not stated.air_mm and stated.image is None and stated.radial is None


def without_background(experiment: Stated) -> Stated:
    """Return the experiment without material, air and photons that are added: its image is that of the crystals alone."""
    if is_bare(experiment):
        return experiment
    nothing = dataclasses.replace(experiment.background, water_um=0.0, air_mm=0.0, image=None, radial=None)
    return dataclasses.replace(experiment, background=nothing)


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


@functools.lru_cache(maxsize=1)
def air_table() -> tuple[np.ndarray, np.ndarray]:
    """Return sin(theta) / lambda (n,) in 1/A, and the amplitude (n,) of a molecule of air in electrons, of the data (F12b)."""
    text = resources.files("nbnumba.data").joinpath("air.stol").read_text("ascii")
    table = np.array([line.split() for line in text.splitlines() if not line.startswith("#")], dtype=np.float64)
    return table[:, 0], table[:, 1]


def air_molecules(background: Background, size_mm: float) -> float:
    """Return the number of molecules of air in the beam (F12b). size_mm: edge of the beam."""
    return AIR_PER_M3 * (background.air_mm * 1e-3) * (size_mm * 1e-3) ** 2


def air_share(background: Background, size_mm: float, material: Amorphous) -> np.ndarray:
    """Return what air adds to the entries of a table of `material_with_air` (n,), in electrons^2."""
    grid = np.arange(GRID) / material.per_stol
    return air_molecules(background, size_mm) * lagrange(*air_table(), grid) ** 2


def material_with_air(background: Background, size_mm: float, ignored: bool) -> tuple[float, Amorphous]:
    """Return what `material` returns, with the air in a beam of that edge; without air it is that (F12, F12b).

    With air the first number is 1, and the table holds the electrons^2 of both.
    """
    water, alone = material(background, ignored)
    if background.air_mm == 0.0:
        return water, alone
    stol, _ = air_table()
    last = max(stol[-1], (GRID - 1) / alone.per_stol if alone.per_stol else 0.0)
    grid = np.arange(GRID) / ((GRID - 1) / last)
    of_water = np.interp(grid * alone.per_stol, np.arange(len(alone.value)), alone.value) if alone.per_stol else alone.value[0]
    both = Amorphous((GRID - 1) / last, np.zeros(GRID))
    return 1.0, both._replace(value=water * of_water + air_share(background, size_mm, both))


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
