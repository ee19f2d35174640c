"""The functions that replace those of tile.py on a card, where a tile is one pixel."""

from adjoint.loops.amplitude_table import Lanes
from adjoint.loops.lattices import differentiate_lattices


def add_pass(tile, table, row, fast, pass_index, crystal, structure, orientations, motions, paths):
    """Do what tile.py:add_pass does without a copy of the tile: the only pixel has fresh lattices or has not (P1)."""
    fresh = fast == orientations.fresh_pass[row, 0] and pass_index == orientations.fresh_pass[row, 1]
    lattices = orientations.fresh_lattice if fresh else orientations.lattice
    rotations = motions.fresh_rotations if fresh else motions.rotations
    rotation_rates = motions.fresh_rotation_rates if fresh else motions.rotation_rates
    differentiate_lattices(tile, table, Lanes(0, 1, -1), row, fast, pass_index, crystal, structure, lattices, rotations,
                           rotation_rates, paths)  # fmt: skip
