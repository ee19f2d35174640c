"""The sum over the reflections around a point on a card, where a tile is one pixel: row by row, so that few are held."""

from nbnumba.loops.interpolation import UNSURROUNDED
from nbnumba.loops.rows import AMPLITUDE, LEFT, PART_H, PART_K, PART_L
from nbnumba.stages import wide
from nbnumba.stages.structure import cubic_weights, row, strides, weighted_row


def sum_cell(tile, first, corner, structure):
    """Write AMPLITUDE of the pixel, whose cell is then not LEFT (F9b): interpolation.py:sum_cell."""
    along_h, along_k = strides(structure)
    h, k, l = tile[PART_H + first], tile[PART_K + first], tile[PART_L + first]
    of_h, of_k, of_l = cubic_weights(h), cubic_weights(k), cubic_weights(l)
    total = wide(0)
    for i in range(4):
        for j in range(4):
            total += of_h[i] * of_k[j] * weighted_row(of_l, row(structure, int(corner) + i * along_h + j * along_k))
    tile[AMPLITUDE + first], tile[LEFT + first] = total, wide(UNSURROUNDED)
