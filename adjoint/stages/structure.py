"""Mirrors of the structure-factor stages (A9): looking an amplitude up is a choice; interpolating between them is smooth."""

from nbnumba.stages import ceil, real
from nbnumba.stages.structure import cubic_weights, slot


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
    h0, k0, l0 = -ceil(-h), -ceil(-k), -ceil(-l)
    of_h, of_k, of_l = cubic_weights(h - h0), cubic_weights(k - k0), cubic_weights(l - l0)
    by_h, by_k, by_l = cubic_slopes(h - h0), cubic_slopes(k - k0), cubic_slopes(l - l0)
    h_bar, k_bar, l_bar = real(0), real(0), real(0)
    for i in range(4):
        for j in range(4):
            first = int(slot(structure, h0 + real(i - 1), k0 + real(j - 1), l0 - real(1)))
            line, slope = real(0), real(0)
            for m in range(4):
                line += of_l[m] * structure.amplitude[first + m]
                slope += by_l[m] * structure.amplitude[first + m]
            h_bar += by_h[i] * of_k[j] * line
            k_bar += of_h[i] * by_k[j] * line
            l_bar += of_h[i] * of_k[j] * slope
    return value_bar * h_bar, value_bar * k_bar, value_bar * l_bar
