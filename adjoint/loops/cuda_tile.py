"""The functions that replace those of tile.py on a card, where a tile is one pixel."""

from adjoint.loops.amplitude_table import Lanes
from adjoint.loops.lattices import differentiate_lattices
from nbnumba.loops.indices import fast_of, slow_of


def is_fresh(tile, pass_index, orientations):
    """Whether the only pixel has fresh lattices in a pass, by the table, so that no loop over lattices asks again."""
    if orientations.fresh_pass.size == 0:
        return False
    slow, fast = int(slow_of(tile, 0)), int(fast_of(tile, 0))
    return orientations.fresh_pass[slow, 0] == fast and orientations.fresh_pass[slow, 1] == pass_index


def add_pass(tile, table, pass_index, ray, crystal, structure, orientations, motions, paths):
    """Do what tile.py:add_pass does without a copy of the tile: the only pixel has fresh lattices or has not (P1)."""
    lanes = Lanes(pass_index, is_fresh(tile, pass_index, orientations))
    differentiate_lattices(tile, table, lanes, ray, crystal, structure, orientations, motions, paths)
