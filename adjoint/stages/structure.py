"""Mirrors of the structure-factor stages (A9): looking an amplitude up is a choice; interpolating between them is smooth."""

from nbnumba.stages import real, wide
from nbnumba.stages.structure import corner_slot, cubic_weights, floor, surrounding, weighted_row


def cubic_slopes(t):
    """Return the derivatives of Lagrange's four weights with respect to t (A9b); the weights are those of F9b."""
    t2 = t * t
    return (
        -(real(3) * t2 - real(6) * t + real(2)) / real(6),
        (real(3) * t2 - real(4) * t - real(1)) / real(2),
        -(real(3) * t2 - real(2) * t - real(2)) / real(2),
        (real(3) * t2 - real(1)) / real(6),
    )


def between_adj(structure, h, k, l, value_bar):
    """Return the cotangents of h, k and l (A9b).

        F9b: F = sum of w_i(h) w_j(k) w_m(l) F_ijm
        A9b: h_bar = F_bar sum of w_i'(h) w_j(k) w_m(l) F_ijm,    likewise k and l

    The cotangent of F_ijm is its weight.
    """
    h_0, k_0, l_0 = floor(h), floor(k), floor(l)
    planes = surrounding(structure, int(corner_slot(structure, h_0, k_0, l_0)))
    return weighted_sum_adj(planes, h - h_0, k - k_0, l - l_0, value_bar)


def weighted_sum_adj(planes, part_h, part_k, part_l, value_bar):
    """Return the cotangents of h, k and l in a cell of the grid of reflections (A9b).

    planes: what `surrounding` returns. part_h, part_k, part_l: where in the cell the point is, 0 to 1, without a unit.
    """
    of_h, by_h = cubic_weights(part_h), cubic_slopes(part_h)
    of_k, by_k = cubic_weights(part_k), cubic_slopes(part_k)
    of_l, by_l = cubic_weights(part_l), cubic_slopes(part_l)
    bars = wide(0), wide(0), wide(0)
    bars = add_plane_adj(bars, of_h[0], by_h[0], of_k, by_k, of_l, by_l, planes[0])
    bars = add_plane_adj(bars, of_h[1], by_h[1], of_k, by_k, of_l, by_l, planes[1])
    bars = add_plane_adj(bars, of_h[2], by_h[2], of_k, by_k, of_l, by_l, planes[2])
    bars = add_plane_adj(bars, of_h[3], by_h[3], of_k, by_k, of_l, by_l, planes[3])
    return value_bar * bars[0], value_bar * bars[1], value_bar * bars[2]


def add_plane_adj(bars, of_h, by_h, of_k, by_k, of_l, by_l, rows):
    """Return the sums over reflections for h_bar, k_bar and l_bar with those of the four rows of a plane added (A9b)."""
    bars = add_row_adj(bars, of_h, by_h, of_k[0], by_k[0], of_l, by_l, rows[0])
    bars = add_row_adj(bars, of_h, by_h, of_k[1], by_k[1], of_l, by_l, rows[1])
    bars = add_row_adj(bars, of_h, by_h, of_k[2], by_k[2], of_l, by_l, rows[2])
    return add_row_adj(bars, of_h, by_h, of_k[3], by_k[3], of_l, by_l, rows[3])


def add_row_adj(bars, of_h, by_h, of_k, by_k, of_l, by_l, four):
    """Return the sums over reflections for h_bar, k_bar and l_bar with those of a row added (A9b)."""
    row, slope = weighted_row(of_l, four), weighted_row(by_l, four)
    return bars[0] + by_h * of_k * row, bars[1] + of_h * by_k * row, bars[2] + of_h * of_k * slope
