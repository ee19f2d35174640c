"""What stands in for loops over lattices where a tile is one pixel."""

from adjoint.loops.lattices import differentiate_lattices


def add_pass(tile, listing, where, crystal, structure, orientations, motions, paths):
    """The sum over the table of lattices, all of which are fresh or none (P1): tile.py:add_pass without a copy."""
    row, fast, number = where
    fresh = fast == orientations.fresh_pass[row, 0] and number == orientations.fresh_pass[row, 1]
    lattices = orientations.fresh_lattice if fresh else orientations.lattice
    turn = motions.fresh_turn if fresh else motions.turn
    spin = motions.fresh_spin if fresh else motions.spin
    differentiate_lattices(tile, listing, (0, 1, -1), where, crystal, structure, lattices, turn, spin, paths)
