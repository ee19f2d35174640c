"""The loop over lattices of simple scenes on a card, where a tile is one pixel: the sum stays in registers.

A scene is simple if its crystal is a parallelepiped without B factors, every term counts, its amplitudes are looked up, its
detector is flat, and its background does not vary with the angle.
"""

from nbnumba.loops.indices import cell_vectors, extended_q, nearest_hkl
from nbnumba.loops.patches import is_culled
from nbnumba.stages import wide
from nbnumba.stages.crystal import accumulate, to_extended, to_wide
from nbnumba.stages.lattice import lattice_factor_square
from nbnumba.stages.pixel import term
from nbnumba.stages.records import Scene
from nbnumba.stages.shapes import SQUARE
from nbnumba.stages.structure import slot


def is_simple(scene: Scene) -> bool:
    """Whether a scene is simple."""
    looked_up = not (scene.structure.interpolate or scene.sampling.running_product)
    uniform = scene.amorphous.per_stol == 0.0
    ordered = scene.crystal.shape == SQUARE and not (scene.crystal.disordered or scene.beam.fades)
    return ordered and not is_culled(scene) and looked_up and not scene.panel.curved and uniform


def add_lattices(into, tile, pass_index, crystal, structure, lattices, has_background, sampling):
    """Add the terms of all lattices of a table to the row `into` (F8 to F10): lattices.py:add_lattices for simple scenes.

    It reads the scattering vector Q_X, Q_Y, Q_Z and writes no other row.
    """
    q, total = extended_q(tile, 0), to_extended(wide(0))
    for m in range(lattices.shape[0]):
        (dh, h), (dk, k), (dl, l) = nearest_hkl(cell_vectors(lattices, m), q)
        amplitude = structure.amplitude[slot(structure, h, k, l)]
        total = accumulate(total, term(amplitude, lattice_factor_square(crystal, dh, dk, dl)))
    tile[into] += to_wide(total)
