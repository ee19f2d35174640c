"""The mirror of nbnumba's scale and background: from their cotangents to those of fluence and water (A11, A12)."""

import numpy as np

from nbnumba.constants import WATER_F
from nbnumba.setup.background import molecules, photons_per_electron_squared
from nbnumba.setup.orientations import number_of_domains, phi_steps
from nbnumba.stages.records import Scene
from nbnumba.statements import Background, Statements


def scale_adj(
    experiment: Statements, scene: Scene, photons_bar: np.ndarray, background_each_bar: np.ndarray, air_bar: np.ndarray
) -> dict[str, np.ndarray]:
    """Return the cotangents of what scales an image, by name (A11).

        F11: photons = r_e^2 fluence / steps
        A11: fluence_bar = photons_bar r_e^2 / steps
        F12: background_each = k w^3 lattices
        A12: w_bar = 3 k w^2 lattices background_each_bar
        F7d: photons and 1 / background_each have the scale of the crystal as a factor
        A7d: scale_bar = (photons_bar photons - background_each_bar background_each) / scale
        F12b: background_each = lattices, and the table has k w^3 f_water and f_air
        A12b: w_bar = 3 (lattices background_each_bar - air_bar) / w,    p_bar = air_bar / p

    They are those of the fluence, in photons/m^2, of the edge w of the water, in um, of the path p in air, in mm, and of the
    scale of the crystal. scene: of the experiment, or of a contribution to its image. photons_bar, background_each_bar (...):
    cotangents of the fields of the Intensity record. air_bar (...): that of the logarithm of p. With air F12b counts in place
    of F12. k is the electrons^2, or the molecules, of a cube of 1 um. With water_scale background_each has the further factor
    r_e^2 fluence / steps / layers, and gives the fluence a share; the layers count only with capture_last_layer (P13, P19).
    """
    lattices = phi_steps(experiment.goniometer)[0] * number_of_domains(experiment.crystal)
    steps = len(scene.sources.weight) * scene.sampling.oversample**2 * lattices
    per_fluence, scale = photons_per_electron_squared(1.0) / steps, experiment.crystal.scale
    water_um = experiment.background.water_um
    per_cube = lattices * _cube_of_1_um(experiment)
    air_mm, by_air = experiment.background.air_mm, 0.0
    if air_mm:
        by_fluence, by_water = 0.0, 3.0 * lattices / water_um if water_um else 0.0
        by_air = -3.0 / water_um if water_um else 0.0
    elif not experiment.sampling.defects.water_scale:
        by_fluence, by_water = 0.0, 3.0 * water_um**2 * per_cube
    elif scene.sampling.running_product and scene.amorphous.value[0] != 0.0:
        by_fluence, by_water = 0.0, 0.0  # C's sum starts with the background: background_each is 0.
    else:
        shared = per_cube * per_fluence / (scene.sampling.layers if scene.sampling.last_capture else 1)
        by_fluence, by_water = shared * water_um**3, 3.0 * water_um**2 * shared * experiment.beam.fluence
    return {
        "beam.fluence": photons_bar * (per_fluence * scale) + background_each_bar * (by_fluence / scale),
        "background.water_um": background_each_bar * (by_water / scale) + air_bar * by_air,
        "background.air_mm": air_bar / air_mm if air_mm else 0.0 * air_bar,
        "crystal.scale": (photons_bar * scene.beam.photons - background_each_bar * scene.beam.background_each) / scale,
    }


def _cube_of_1_um(experiment: Statements) -> float:
    """Return the electrons^2 of a cube of 1 um, or its molecules where a table gives their electrons^2 (F12)."""
    stated = experiment.background
    ignored = experiment.sampling.defects.amorphous_ignored
    count = molecules(Background(1.0, stated.density_g_per_cm3, stated.molar_mass_g), ignored)
    return count if stated.table is not None and not ignored else WATER_F * WATER_F * count
