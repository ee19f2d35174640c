"""The mirror of nbnumba's scale and background: from their cotangents to fluence and amounts of materials (A11, A12, A12b)."""

import numpy as np

from adjoint.parameters import MATERIAL_MOTIONS
from adjoint.setup.ice import slope_of_molecule
from nbnumba.constants import WATER_F
from nbnumba.setup.background import has_shares, molecules, photons_per_electron_squared, shares
from nbnumba.setup.ice import molecules as ice_molecules
from nbnumba.setup.orientations import number_of_lattices
from nbnumba.stages.records import Scene
from nbnumba.statements import Background, Statements

NO_MOTION = np.zeros((len(MATERIAL_MOTIONS), 1))
"""The motions of a table that does not move."""


def material_motions(experiment: Statements) -> np.ndarray:
    """Return the change of each entry of the table of the background by MATERIAL_MOTIONS, in electrons^2 per unit (A12b).

        F12b: f = f_water + f_air + f_ice, proportional to w^3, the path p, and the cube of the edge v of the ice
        A12b: df/dw = 3 f_water / w,    df/dp = f_air / p,    df/dv = 3 f_ice / v,    df/dD = f_ice'

    (MATERIAL_MOTIONS, n); (MATERIAL_MOTIONS, 1) of 0 without air and ice: background_each is then what the water changes.
    """
    stated = experiment.background
    if not has_shares(stated):
        return NO_MOTION
    of_each = shares(stated, experiment.beam.size_mm, experiment.sampling.defects.amorphous_ignored)
    rates = dict.fromkeys(MATERIAL_MOTIONS, np.zeros(len(of_each.water)))
    if stated.water_um:
        rates["background.water_um"] = 3.0 / stated.water_um * of_each.water
    if stated.air_mm:
        rates["background.air_mm"] = of_each.air / stated.air_mm
    if stated.ice_um:
        slope = slope_of_molecule(stated.ice_size_A, len(of_each.ice), of_each.last)
        rates["background.ice_um"] = 3.0 / stated.ice_um * of_each.ice
        rates["background.ice_size_A"] = ice_molecules(stated.ice_um) * slope
    return np.array([rates[name] for name in MATERIAL_MOTIONS])


def scale_adj(
    experiment: Statements, scene: Scene, photons_bar: np.ndarray, background_each_bar: np.ndarray, material_bar: np.ndarray
) -> dict[str, np.ndarray]:
    """Return the cotangents of what scales an image, by name (A11).

        F11: photons = r_e^2 fluence / steps
        A11: fluence_bar = photons_bar r_e^2 / steps
        F12: background_each = k w^3 lattices
        A12: w_bar = 3 k w^2 lattices background_each_bar
        F7d: photons and 1 / background_each have the scale of the crystal as a factor
        A7d: scale_bar = (photons_bar photons - background_each_bar background_each) / scale
        F12b: background_each = lattices, and the table has what materials scatter
        A12b: cotangents of MATERIAL_MOTIONS are those of the table

    They are those of the fluence, in photons/m^2, of the edge w of the water, in um, of the other MATERIAL_MOTIONS and of the
    scale of the crystal. scene: of the experiment, or of a contribution to its image. photons_bar, background_each_bar (...):
    cotangents of the fields of the Intensity record. material_bar (..., MATERIAL_MOTIONS): those of the table. With air or ice
    F12b counts in place of F12. k is the electrons^2, or the molecules, of a cube of 1 um. With water_scale background_each has
    the further factor r_e^2 fluence / steps / layers, and gives the fluence a share; the layers count only with
    capture_last_layer (P13, P19).
    """
    lattices = number_of_lattices(experiment.crystal, experiment.goniometer)
    steps = len(scene.sources.weight) * scene.sampling.oversample**2 * lattices
    per_fluence, scale = photons_per_electron_squared(1.0) / steps, experiment.crystal.scale
    water_um = experiment.background.water_um
    per_cube = lattices * _cube_of_1_um(experiment)
    if has_shares(experiment.background):
        by_fluence, by_water = 0.0, 0.0
    elif not experiment.sampling.defects.water_scale:
        by_fluence, by_water = 0.0, 3.0 * water_um**2 * per_cube
    elif scene.sampling.running_product and scene.amorphous.value[0] != 0.0:
        by_fluence, by_water = 0.0, 0.0  # C's sum starts with the background: background_each is 0.
    else:
        shared = per_cube * per_fluence / (scene.sampling.layers if scene.sampling.last_capture else 1)
        by_fluence, by_water = shared * water_um**3, 3.0 * water_um**2 * shared * experiment.beam.fluence
    of_table = {name: material_bar[..., k] for k, name in enumerate(MATERIAL_MOTIONS)}
    return of_table | {
        "beam.fluence": photons_bar * (per_fluence * scale) + background_each_bar * (by_fluence / scale),
        "background.water_um": of_table["background.water_um"] + background_each_bar * (by_water / scale),
        "crystal.scale": (photons_bar * scene.beam.photons - background_each_bar * scene.beam.background_each) / scale,
    }


def _cube_of_1_um(experiment: Statements) -> float:
    """Return the electrons^2 of a cube of 1 um, or its molecules where a table gives their electrons^2 (F12)."""
    stated = experiment.background
    ignored = experiment.sampling.defects.amorphous_ignored
    count = molecules(Background(1.0, stated.density_g_per_cm3, stated.molar_mass_g), ignored)
    return count if stated.table is not None and not ignored else WATER_F * WATER_F * count
