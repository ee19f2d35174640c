"""The background: what water, air and ice in the beam scatter, by molecule and by angle (specs/forward.md, F12 to F12c)."""

import dataclasses
from typing import NamedTuple

import numpy as np

from nbnumba.constants import AIR_PER_M3, AVOGADRO, R_E_SQR_M2, WATER_F, WATER_G_PER_CM3, WATER_G_PER_MOL
from nbnumba.setup import ice
from nbnumba.setup.tables import lagrange
from nbnumba.shipped_tables import shipped_table
from nbnumba.stages.records import Amorphous
from nbnumba.statements import Background, Stated, Statements

GRID = 2**14
"""The number of evenly spaced points to which a table of amplitudes is interpolated for the kernels, without ice (F12)."""


def is_bare(experiment: Statements) -> bool:
    """Whether an experiment has neither material nor air nor ice beside the crystal, and no photons are added."""
    stated = experiment.background
    return not stated.water_um and not has_shares(stated) and stated.image is None and stated.radial is None


def without_background(experiment: Stated) -> Stated:
    """Return the experiment without material, air, ice and photons that are added: its image is that of the crystals alone."""
    if is_bare(experiment):
        return experiment
    nothing = dataclasses.replace(experiment.background, water_um=0.0, air_mm=0.0, ice_um=0.0, image=None, radial=None)
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


def air_molecules(background: Background, size_mm: float) -> float:
    """Return the number of molecules of air in the beam (F12b). size_mm: edge of the beam."""
    return AIR_PER_M3 * (background.air_mm * 1e-3) * (size_mm * 1e-3) ** 2


class Shares(NamedTuple):
    """The table of a background of several materials, at even steps of sin(theta)/lambda from 0: what each adds to its entries.

    last: the end of the table, in 1/A. water, air, ice (n,): in electrons^2; 0 for a material that is not there (F12b, F12c).
    """

    last: float
    water: np.ndarray
    air: np.ndarray
    ice: np.ndarray

    @property
    def record(self) -> Amorphous:
        """The table of the sum."""
        return Amorphous((len(self.water) - 1) / self.last, self.water + self.air + self.ice)


def has_shares(background: Background) -> bool:
    """Whether there is air or ice, so that the table of the background is the sum of several (F12b, F12c)."""
    return background.air_mm > 0.0 or background.ice_um > 0.0


def shares(background: Background, size_mm: float, ignored: bool) -> Shares:
    """Return what water, air and ice add to the table of a background that has air or ice (F12b, F12c).

    size_mm: edge of the beam. ignored: as for `material`.
    """
    water, alone = material(background, ignored)
    air_stol, air_amplitude = shipped_table("air.stol")
    last, number = float(air_stol[-1]), GRID
    if background.ice_um:
        number = ice.entries(background.ice_size_A, last)
    elif alone.per_stol:
        last = max(last, (GRID - 1) / alone.per_stol)
    grid, none = np.arange(number) / ((number - 1) / last), np.zeros(number)
    of_water = np.interp(grid * alone.per_stol, np.arange(len(alone.value)), alone.value)
    of_air, of_ice = none, none
    if background.air_mm:
        of_air = air_molecules(background, size_mm) * lagrange(air_stol, air_amplitude, grid) ** 2
    if background.ice_um:
        of_ice = ice.molecules(background.ice_um) * ice.of_molecule(background.ice_size_A, number, last)
    return Shares(last, water * of_water, of_air, of_ice)


def all_materials(background: Background, size_mm: float, ignored: bool) -> tuple[float, Amorphous]:
    """Return what `material` returns, with the air in a beam of that edge and with ice; without these it is that (F12 to F12c).

    With air or ice the first number is 1, and the table holds the electrons^2 of all.
    """
    if not has_shares(background):
        return material(background, ignored)
    return 1.0, shares(background, size_mm, ignored).record
