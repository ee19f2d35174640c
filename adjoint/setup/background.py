"""The mirror of nbnumba's scale and background: what photons and water give the fluence and the water (specs/adjoint.md)."""

import numpy as np

from nbnumba.constants import WATER_F
from nbnumba.setup.background import molecules, photons_per_electron_squared
from nbnumba.stages.records import Scene
from nbnumba.statements import Background, Statements


def scale_adj(
    experiment: Statements, scene: Scene, photons_bar: np.ndarray, background_each_bar: np.ndarray
) -> dict[str, np.ndarray]:
    """Pull the cotangents of Intensity's photons and background_each (...,) back to fluence and water, per photon/m^2 and um.

        photons = r_e^2 fluence / steps;    background_each = k w^3 lattices,    k electrons^2 in a cube of 1 um

    With water_scale background_each is times r_e^2 fluence / steps / layers, the layers only with capture_last_layer (P13).
    """
    lattices = len(scene.orientations.lattice)
    steps = len(scene.sources.weight) * scene.sampling.oversample**2 * lattices
    per_fluence = photons_per_electron_squared(1.0) / steps
    water_um = experiment.background.water_um
    per_cube = lattices * _cube_of_1_um(experiment)
    if "water_scale" not in experiment.sampling.c_parity:
        by_fluence, by_water = 0.0, 3.0 * water_um**2 * per_cube
    elif scene.sampling.running_product and scene.amorphous.value[0] != 0.0:
        by_fluence, by_water = 0.0, 0.0  # C's sum starts with the background: background_each is 0.
    else:
        shared = per_cube * per_fluence / (scene.sampling.layers if scene.sampling.last_capture else 1)
        by_fluence, by_water = shared * water_um**3, 3.0 * water_um**2 * shared * experiment.beam.fluence
    return {
        "beam.fluence": photons_bar * per_fluence + background_each_bar * by_fluence,
        "background.water_um": background_each_bar * by_water,
    }


def _cube_of_1_um(experiment: Statements) -> float:
    """F12: electrons^2 of a cube of 1 um, or molecules where a table has the electrons."""
    stated = experiment.background
    ignored = "amorphous_ignored" in experiment.sampling.c_parity
    count = molecules(Background(1.0, stated.density_g_per_cm3, stated.molar_mass_g), ignored)
    return count if stated.table is not None and not ignored else WATER_F * WATER_F * count
