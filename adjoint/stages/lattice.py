"""Mirrors of the lattice stages: the interference of all unit cells of a crystal (A8)."""

from nbnumba.stages import real, sin, sqrt
from nbnumba.stages.crystal import below
from nbnumba.stages.elementary import SIN_PI, sinc_pi
from nbnumba.stages.lattice import (
    GAUSS_REACH,
    PI_SQUARED,
    SPHERE,
    distance_squared,
    grating_phase,
    lattice_factor_radial,
    sinc3,
    sincg_parts,
)
from nbnumba.stages.shapes import GAUSS, ROUND, SQUARE

MIRRORED = (SQUARE, ROUND, GAUSS)
"""The shapes that this module differentiates; any other is refused before a kernel runs (A14)."""

NOT_MIRRORED = "no derivative of this shape is computed (A8)"
"""The reason for a shape whose row in the table gives none of its own."""

SIN_PI_SLOPE = tuple(2 * power * c for power, c in enumerate(SIN_PI))[1:]
"""Twice the derivative of sinc_pi's polynomial."""

SINC3_SLOPE = (
    -1.0 / 10,
    1.0 / 140,
    -1.0 / 5040,
    1.0 / 332640,
    -1.0 / 34594560,
    1.0 / 5189184000,
    -1.0 / 1058593536000,
    1.0 / 281585880576000,
)
"""Power series of the derivative of sinc3: its k-th coefficient is (-1)^(k+1) 6 (k + 1) (k + 2) / (2 k + 5)!."""


def sinc_pi_slope(u):
    """Twice the derivative of sinc_pi with respect to u; for u = x^2 that of sinc_pi(x^2) with respect to x, over x."""
    c = SIN_PI_SLOPE
    return c[0] + u * (c[1] + u * (c[2] + u * (c[3] + u * (c[4] + u * (c[5] + u * c[6])))))


def sincg_slopes(n, d, inverse):
    """A8: derivatives of G = sin(pi n d) / sin(pi d) by d and n, up to G's sign, times sin(pi |d|), whose inverse is given.

    With t = |d|, n t = j + x, j whole, S(u) = sin(pi sqrt(u)) / sqrt(u) and T(u) = 2 S'(u),

        dG/dt sin(pi t) = n x^2 T(x^2) + S(x^2) (j S(t^2) - x t^2 T(t^2)) / sin(pi t)
        dG/dn sin(pi t) = t (S(x^2) + x^2 T(x^2))

    in which nothing cancels where d is next to 0: j is 0 there. Differentiating numerator and denominator by themselves would.
    """
    x, whole, t = grating_phase(n, d)
    v, w = x * x, t * t
    above = sinc_pi(v)
    bent = v * sinc_pi_slope(v)
    along = real(n) * bent + above * (whole * sinc_pi(w) - x * w * sinc_pi_slope(w)) * inverse
    return -along if below(d) else along, t * (above + bent)


def lattice_factor_square_adj(crystal, dh, dk, dl, lattice_bar):
    """Return the cotangents of dh, dk, dl and of n_a, n_b, n_c (A8).

        F8: F_latt = G(n_a, dh) G(n_b, dk) G(n_c, dl),    G(n, d) = sin(pi n d) / sin(pi d)
        A8: dh_bar = F_latt_bar G_b G_c dG_a/dd,    n_a_bar = F_latt_bar G_b G_c dG_a/dn,    likewise k and l

    Small numerators are multiplied before the large inverse, so that no product at a reflection is too large for float32.
    """
    above_h, below_h = sincg_parts(crystal.n_a, dh)
    above_k, below_k = sincg_parts(crystal.n_b, dk)
    above_l, below_l = sincg_parts(crystal.n_c, dl)
    inverse = real(1) / (below_h * below_k * below_l)
    slope_h, by_a = sincg_slopes(crystal.n_a, dh, inverse * (below_k * below_l))
    slope_k, by_b = sincg_slopes(crystal.n_b, dk, inverse * (below_h * below_l))
    slope_l, by_c = sincg_slopes(crystal.n_c, dl, inverse * (below_h * below_k))
    bar_h, bar_k, rest_k, rest_l = lattice_bar * above_h, lattice_bar * above_k, above_k * inverse, above_l * inverse
    bar_h, bar_k, bar_l = bar_k * rest_l, bar_h * rest_l, bar_h * rest_k
    return bar_h * slope_h, bar_k * slope_k, bar_l * slope_l, bar_h * by_a, bar_k * by_b, bar_l * by_c


def distance_squared_adj(crystal, dh, dk, dl, reach_bar):
    """Return the cotangents of dh, dk, dl, and of hh, kk, ll, hk, hl, kl of the metric (A8b).

        F8b: r^2 = d^T M d,    d = (dh, dk, dl)
        A8b: d_bar = 2 r2_bar M d,    hh_bar = r2_bar dh^2,    hk_bar = 2 r2_bar dh dk,    likewise the others

    The cotangent r2_bar is without fudge.
    """
    two = real(2) * reach_bar
    dh_bar = two * (crystal.metric_hh * dh + crystal.metric_hk * dk + crystal.metric_hl * dl)
    dk_bar = two * (crystal.metric_hk * dh + crystal.metric_kk * dk + crystal.metric_kl * dl)
    dl_bar = two * (crystal.metric_hl * dh + crystal.metric_kl * dk + crystal.metric_ll * dl)
    squares = (reach_bar * dh * dh, reach_bar * dk * dk, reach_bar * dl * dl)
    return (dh_bar, dk_bar, dl_bar), (*squares, two * dh * dk, two * dh * dl, two * dk * dl)


def sinc3_slope(u):
    """Return the derivative of sinc3 with respect to u = x^2 (A8c).

        F8c: sinc3 = 3 (sin x / x - cos x) / x^2
        A8c: d sinc3 / du = -3 (sinc3 - sin x / x) / (2 u)
    """
    c = SINC3_SLOPE
    if u < real(1):
        return c[0] + u * (c[1] + u * (c[2] + u * (c[3] + u * (c[4] + u * (c[5] + u * (c[6] + u * c[7]))))))
    x = sqrt(u)
    return -real(1.5) * (sinc3(u) - sin(x) / x) / u


def lattice_factor_radial_adj(crystal, dh, dk, dl, lattice_bar):
    """Return the cotangents of dh, dk, dl; of n_a, n_b, n_c; and of the six entries of the metric (A8c, A8d).

        F8c, F8d: F_latt = n_a n_b n_c f(u),    u = fudge r^2
        A8c, A8d: r2_bar = F_latt_bar n_a n_b n_c fudge df/du,    n_a_bar = F_latt_bar F_latt / n_a,    likewise b and c

    The cotangents of n_a, n_b, n_c leave out what goes through the metric. TOPHAT is a step, whose derivative is refused (A14).
    """
    cells = crystal.n_a * crystal.n_b * crystal.n_c
    reach = distance_squared(crystal, dh, dk, dl) * crystal.fudge
    slope = real(0)
    if crystal.shape == ROUND:
        slope = cells * SPHERE * PI_SQUARED * sinc3_slope(PI_SQUARED * reach)
    elif crystal.shape == GAUSS:
        slope = -lattice_factor_radial(crystal, dh, dk, dl) / GAUSS_REACH
    d_bar, metric_bar = distance_squared_adj(crystal, dh, dk, dl, lattice_bar * slope * crystal.fudge)
    each = lattice_bar * lattice_factor_radial(crystal, dh, dk, dl)
    return d_bar, (each / crystal.n_a, each / crystal.n_b, each / crystal.n_c), metric_bar
