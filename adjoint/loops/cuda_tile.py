"""The functions that replace those of tile.py on a card, where a tile is one pixel."""

from adjoint.loops.amplitude_table import Lanes
from adjoint.loops.lattices import differentiate_lattices
from nbnumba.loops.tile import some_fresh


def add_pass(tile, table, pass_index, has_fresh, crystal, structure, orientations, motions, paths):
    """Do what tile.py:add_pass does without a copy of the tile: the only pixel has fresh lattices or has not (P1)."""
    fresh = some_fresh(tile, pass_index)
    lattices = orientations.fresh_lattice if fresh else orientations.lattice
    rotations = motions.fresh_rotations if fresh else motions.rotations
    rotation_rates = motions.fresh_rotation_rates if fresh else motions.rotation_rates
    differentiate_lattices(tile, table, Lanes(pass_index, fresh), crystal, structure, lattices, rotations,
                           rotation_rates, paths)  # fmt: skip
