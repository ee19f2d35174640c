"""The loop over lattices in plain scenes, where a tile is one pixel: the sum stays in registers.

A scene is plain whose crystal is a parallelepiped, with amplitudes that are looked up, on a flat detector, and without a
background that varies with the angle.
"""

from nbnumba.loops.indices import nearest_all, nine, scattering
from nbnumba.stages import wide
from nbnumba.stages.crystal import added, long, plain
from nbnumba.stages.lattice import lattice_factor_square
from nbnumba.stages.pixel import term
from nbnumba.stages.records import Scene
from nbnumba.stages.shapes import SQUARE
from nbnumba.stages.structure import slot


def is_plain(scene: Scene) -> bool:
    """Whether a scene is plain."""
    looked_up = not (scene.structure.interpolate or scene.sampling.running_product)
    return scene.crystal.shape == SQUARE and looked_up and not scene.panel.curved and scene.amorphous.per_stol == 0.0


def add_lattices(into, tile, where, crystal, structure, lattices, wet, sampling):
    """Add every lattice to the row `into` (F8 to F10)."""
    q, total = scattering(tile, 0), long(wide(0))
    for m in range(lattices.shape[0]):
        (dh, h), (dk, k), (dl, l) = nearest_all(nine(lattices, m), q)
        amplitude = structure.amplitude[slot(structure, h, k, l)]
        total = added(total, term(amplitude, lattice_factor_square(crystal, dh, dk, dl)))
    tile[into] += plain(total)
