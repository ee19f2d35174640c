"""The scattering vector at the centre of a pixel, and the reflection that is nearest to it."""

import numpy as np

from nbnumba.setup.view import mean_wavelength
from nbnumba.stages.beam import scattering_vector
from nbnumba.stages.crystal import index, nearest
from nbnumba.stages.detector import curved_position, flat_position, sample_offset
from nbnumba.stages.lattice import distance_squared
from nbnumba.stages.records import Scene
from nbnumba.stages.vec3 import unit


def q(scene: Scene, slow: np.ndarray, fast: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """F5: scattering vectors, 1/A, at the centres of pixels, for the direct beam, the mean wavelength and depth 0."""
    panel = scene.panel
    of_axes = ((panel.pixel_fast, fast), (panel.pixel_slow, slow))
    along = (sample_offset(edge, 1, np.asarray(pixels, float), 0) for edge, pixels in of_axes)
    position = flat_position(panel, *along, 0.0)
    position = curved_position(panel, position) if panel.curved else position
    beam = (panel.beam_x, panel.beam_y, panel.beam_z)
    return scattering_vector(unit(position)[0], beam, mean_wavelength(scene.sources))


def reflection(scene: Scene, slow: float, fast: float) -> tuple[int, int, int]:
    """F7: the reflection nearest to a pixel over all phi steps and mosaic domains; the distance is that of F8b."""
    lattices = scene.orientations.lattice
    vector = q(scene, slow, fast)
    near = [nearest(index(*lattices[:, 3 * axis : 3 * axis + 3].T, vector)) for axis in range(3)]
    closest = int(np.argmin(distance_squared(scene.crystal, *(distance for distance, _ in near))))
    h, k, l = (int(rounded[closest]) for _, rounded in near)  # noqa: E741
    return h, k, l
