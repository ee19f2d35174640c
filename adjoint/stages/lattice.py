"""Mirrors of the lattice stages: the interference of all unit cells of a crystal (A8)."""

from adjoint.stages.vec3 import quadratic_form_adj
from nbnumba.stages import real, sqrt
from nbnumba.stages.crystal import is_negative
from nbnumba.stages.elementary import PER_PI, sin_and_cos_pi, sinc_pi
from nbnumba.stages.lattice import (
    GAUSS_WIDTH_SQUARED,
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

SIN_PI_SLOPE = (
    -10.335425560059916,
    10.200656148400633,
    -3.5955866706687605,
    0.6571586262293561,
    -0.073639806152469,
    0.00536767025659474,
)
"""Minimax polynomial of twice the derivative of sin(pi sqrt u) / sqrt u for u <= 1/4, by relative error: 3.9e-12, which
tests/adjoint computes again. One coefficient more, for 1e-14, would take 3 % of the time of a derivative (A8)."""

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
    """Return T(u), twice the derivative of S(u) with respect to u, without a unit (A8).

        F8: S(u) = sin(pi sqrt u) / sqrt u
        A8: T(u) = 2 S'(u)

    u is at most 1/4. With u = x^2, T is also the derivative of S(x^2) with respect to x, divided by x. T is computed to 4e-12
    of itself, and so are slopes of the lattice factor.
    """
    c = SIN_PI_SLOPE
    return c[0] + u * (c[1] + u * (c[2] + u * (c[3] + u * (c[4] + u * c[5]))))


def sincg_slopes(n, d, inverse):
    """Return the derivatives of G by d and by n, times sin(pi |d|), without a unit and up to the sign of G (A8).

        F8: G = sin(pi n d) / sin(pi d);    with t = |d|, n t = j + x and j whole, G = sin(pi x) / sin(pi t) up to sign
        A8: dG/dt sin(pi t) = n x^2 T(x^2) + S(x^2) (j S(t^2) - x t^2 T(t^2)) / sin(pi t)
            dG/dn sin(pi t) = t (S(x^2) + x^2 T(x^2)),    S(u) = sin(pi sqrt u) / sqrt u,    T(u) = 2 S'(u)

    n: number of unit cells along an edge. d: distance to the nearest reflection along it. inverse: 1 / sin(pi |d|). Nothing
    cancels where d is next to 0, because j is 0 there; the derivatives of numerator and denominator by themselves would cancel.
    """
    x, whole, t = grating_phase(n, d)
    v, w = x * x, t * t
    sinc_x = sinc_pi(v)
    curved = v * sinc_pi_slope(v)
    by_t = real(n) * curved + sinc_x * (whole * sinc_pi(w) - x * w * sinc_pi_slope(w)) * inverse
    return -by_t if is_negative(d) else by_t, t * (sinc_x + curved)


def lattice_factor_square_adj(crystal, dh, dk, dl, lattice_factor_bar):
    """Return the cotangents of dh, dk, dl and of n_a, n_b, n_c (A8).

        F8: F_latt = G(n_a, dh) G(n_b, dk) G(n_c, dl),    G(n, d) = sin(pi n d) / sin(pi d)
        A8: dh_bar = F_latt_bar G_b G_c dG_a/dd,    n_a_bar = F_latt_bar G_b G_c dG_a/dn,    likewise k and l

    Small numerators are multiplied before the large inverse, so that no product at a reflection is too large for float32.
    """
    numerator_h, denominator_h = sincg_parts(crystal.n_a, dh)
    numerator_k, denominator_k = sincg_parts(crystal.n_b, dk)
    numerator_l, denominator_l = sincg_parts(crystal.n_c, dl)
    inverse = real(1) / (denominator_h * denominator_k * denominator_l)
    slope_h, by_a = sincg_slopes(crystal.n_a, dh, inverse * (denominator_k * denominator_l))
    slope_k, by_b = sincg_slopes(crystal.n_b, dk, inverse * (denominator_h * denominator_l))
    slope_l, by_c = sincg_slopes(crystal.n_c, dl, inverse * (denominator_h * denominator_k))
    bar_h, bar_k, rest_k, rest_l = (
        lattice_factor_bar * numerator_h,
        lattice_factor_bar * numerator_k,
        numerator_k * inverse,
        numerator_l * inverse,
    )
    bar_h, bar_k, bar_l = bar_k * rest_l, bar_h * rest_l, bar_h * rest_k
    return bar_h * slope_h, bar_k * slope_k, bar_l * slope_l, bar_h * by_a, bar_k * by_b, bar_l * by_c


def distance_squared_adj(crystal, dh, dk, dl, r_squared_bar):
    """Return the cotangents of dh, dk, dl, and of hh, kk, ll, hk, hl, kl of the metric (A8b).

        F8b: r^2 = fudge d^T M d,    d = (dh, dk, dl)
        A8b: d_bar = 2 fudge r2_bar M d,    hh_bar = fudge r2_bar dh^2,    hk_bar = 2 fudge r2_bar dh dk,    likewise the others

    r_squared_bar: fudge r2_bar, the cotangent of r^2 / fudge.
    """
    metric = (
        crystal.metric_hh, crystal.metric_kk, crystal.metric_ll,
        crystal.metric_hk, crystal.metric_hl, crystal.metric_kl,
    )  # fmt: skip
    return quadratic_form_adj(metric, (dh, dk, dl), r_squared_bar)


def sinc3_slope(u):
    """Return the derivative of sinc3 with respect to u = x^2 (A8c).

    F8c: sinc3 = 3 (sin x / x - cos x) / x^2
    A8c: d sinc3 / du = -3 (sinc3 - sin x / x) / (2 u)
    """
    c = SINC3_SLOPE
    series = c[0] + u * (c[1] + u * (c[2] + u * (c[3] + u * (c[4] + u * (c[5] + u * (c[6] + u * c[7]))))))
    x_squared = u if u > real(1) else real(1)
    x = sqrt(x_squared)
    sine, _ = sin_and_cos_pi(x * PER_PI)
    formula = -real(1.5) * (sinc3(x_squared) * x - sine) / (x * x_squared)
    return series if u < real(1) else formula


def lattice_factor_radial_adj(crystal, dh, dk, dl, lattice_factor_bar):
    """Return the cotangents of dh, dk, dl; of n_a, n_b, n_c; and of the six entries of the metric (specs/shapes.md).

        F8: F_latt = n_a n_b n_c f(r^2)
        A8: r2_bar = F_latt_bar n_a n_b n_c df/d(r^2),    n_a_bar = F_latt_bar F_latt / n_a,    likewise b and c

    The cotangents of n_a, n_b, n_c leave out what goes through the metric. TOPHAT is a step, whose derivative is refused (A14).
    """
    cells = crystal.n_a * crystal.n_b * crystal.n_c
    r_squared = distance_squared(crystal, dh, dk, dl) * crystal.fudge
    slope = real(0)
    if crystal.shape == ROUND:
        slope = cells * SPHERE * PI_SQUARED * sinc3_slope(PI_SQUARED * r_squared)
    elif crystal.shape == GAUSS:
        slope = -lattice_factor_radial(crystal, dh, dk, dl) / GAUSS_WIDTH_SQUARED
    d_bar, metric_bar = distance_squared_adj(crystal, dh, dk, dl, lattice_factor_bar * slope * crystal.fudge)
    weighted = lattice_factor_bar * lattice_factor_radial(crystal, dh, dk, dl)
    return d_bar, (weighted / crystal.n_a, weighted / crystal.n_b, weighted / crystal.n_c), metric_bar


def disorder_exponent_adj(crystal, h, k, l, exponent_bar):
    """Return the cotangents of h, k, l, and of hh, kk, ll, hk, hl, kl of the disorder (A9d).

    F9g: w = h^T W h,    h = (h, k, l)
    A9d: h_bar = 2 w_bar W h,    hh_bar = w_bar h^2,    hk_bar = 2 w_bar h k,    likewise the others
    """
    disorder = (
        crystal.disorder_hh, crystal.disorder_kk, crystal.disorder_ll,
        crystal.disorder_hk, crystal.disorder_hl, crystal.disorder_kl,
    )  # fmt: skip
    return quadratic_form_adj(disorder, (h, k, l), exponent_bar)
