"""The derivative through an interpolated amplitude on a card, where a tile is one pixel: amplitudes are read row by row."""

from adjoint.loops.amplitude_table import amplitude_adj
from adjoint.loops.rows import HKL_BAR, add3
from adjoint.stages.structure import add_row_adj, cubic_slopes
from nbnumba.loops.interpolation import UNSURROUNDED
from nbnumba.loops.rows import LEFT, PART_H, PART_K, PART_L
from nbnumba.stages import wide
from nbnumba.stages.structure import cubic_weights, row, strides


def add_slopes_of_cell(tile, first, corner, structure):
    """Add to HKL_BAR of the pixel, whose cell is then not LEFT (A9b): lattices.py:add_slopes_of_cell."""
    along_h, along_k = strides(structure)
    h, k, l = tile[PART_H + first], tile[PART_K + first], tile[PART_L + first]
    of_h, of_k, of_l = cubic_weights(h), cubic_weights(k), cubic_weights(l)
    by_h, by_k, by_l = cubic_slopes(h), cubic_slopes(k), cubic_slopes(l)
    sums, value_bar = (wide(0), wide(0), wide(0)), amplitude_adj(tile, first)
    for i in range(4):
        for j in range(4):
            four = row(structure, int(corner) + i * along_h + j * along_k)
            sums = add_row_adj(sums, of_h[i], by_h[i], of_k[j], by_k[j], of_l, by_l, four)
    add3(tile, HKL_BAR, first, (value_bar * sums[0], value_bar * sums[1], value_bar * sums[2]))
    tile[LEFT + first] = wide(UNSURROUNDED)
