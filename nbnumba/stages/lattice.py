"""Lattice stages: the interference of all unit cells of a crystal (F8)."""

from nbnumba.stages import real, sqrt, tiny, wide
from nbnumba.stages.crystal import nearest
from nbnumba.stages.elementary import PER_PI, decay, sin_and_cos_pi, sin_pi
from nbnumba.stages.shapes import GAUSS, ROUND, SQUARE, TOPHAT
from nbnumba.stages.vec3 import quadratic_form

COMPUTED = (SQUARE, ROUND, GAUSS, TOPHAT)
"""The shapes that this module computes; setup refuses any other, because a kernel cannot."""

SPHERE = 0.723601254558268
"""The amplitude of ROUND, without a unit, which gives the volume of the ellipsoid (F8c; nanoBragg)."""

GAUSS_WIDTH_SQUARED = 0.63
"""The squared width of a Gaussian spot, in the unit of r^2 (F8d; nanoBragg)."""

TOPHAT_RADIUS_SQUARED = 0.3969
"""The squared radius of a top-hat spot, in the unit of r^2 (F8e; nanoBragg)."""

PI_SQUARED = 9.869604401089358

SINC3 = (
    1.0,
    -1.0 / 10,
    1.0 / 280,
    -1.0 / 15120,
    1.0 / 1330560,
    -1.0 / 172972800,
    1.0 / 31135104000,
    -1.0 / 7410154752000,
    1.0 / 2252687044608000,
)
"""Power series of sinc3: its k-th coefficient is (-1)^k 6 (k + 1) / (2 k + 3)!."""


def grating_phase(n, d):
    """Return x, j and |d| with n |d| = j + x, j the nearest whole number; without a unit (F8).

    n: number of unit cells along an edge. d: distance to the nearest reflection along it, without a unit. Where d is 0 the
    quotient of F8 is 0/0 and its limit is n; |d| is then `tiny`, which changes nothing else.
    """
    d = abs(d)
    d = d if d > tiny else tiny
    x, whole = nearest(n * d)
    return real(x), real(whole), real(d)


def sincg_parts(n, d):
    """Return numerator and denominator of sincg, sin(pi n d) / sin(pi d), up to sign; without a unit (F8).

    n: number of unit cells along an edge. d: distance h - h0 to the nearest reflection along it, without a unit, |d| <= 1/2.
    Both parts are even in d, and never both 0.
    """
    x, _, d = grating_phase(n, d)
    return sin_pi(x), sin_pi(d)


def lattice_factor_square(crystal, dh, dk, dl):
    """Return |F_latt| up to sign of a parallelepiped, without a unit; it is n_a n_b n_c at a reflection (F8).

    crystal: the Crystal record, of which the numbers of unit cells are read. dh, dk, dl: distances h - h0, k - k0, l - l0 to
    the nearest reflection, without a unit.
    """
    numerator_h, denominator_h = sincg_parts(crystal.n_a, dh)
    numerator_k, denominator_k = sincg_parts(crystal.n_b, dk)
    numerator_l, denominator_l = sincg_parts(crystal.n_c, dl)
    return numerator_h * numerator_k * numerator_l * (real(1) / (denominator_h * denominator_k * denominator_l))


def distance_squared(crystal, dh, dk, dl):
    """Return r^2 / fudge, the squared distance to the nearest reflection before it is scaled, without a unit (F8b).

    crystal: the Crystal record, of which the metric is read. dh, dk, dl: distances h - h0, k - k0, l - l0 to that reflection,
    without a unit.
    """
    metric = (
        crystal.metric_hh, crystal.metric_kk, crystal.metric_ll,
        crystal.metric_hk, crystal.metric_hl, crystal.metric_kl,
    )  # fmt: skip
    return quadratic_form(metric, (dh, dk, dl))


def sinc3(u):
    """Return the transform of a sphere, 3 (sin x / x - cos x) / x^2, without a unit (F8c).

    u: x^2, x in radian. Below 1 the series is summed, because the two terms of the formula cancel there.
    """
    c = SINC3
    series = c[0] + u * (c[1] + u * (c[2] + u * (c[3] + u * (c[4] + u * (c[5] + u * (c[6] + u * (c[7] + u * c[8])))))))
    x_squared = u if u > real(1) else real(1)
    x = sqrt(x_squared)
    sine, cosine = sin_and_cos_pi(x * PER_PI)
    formula = real(3) * (sine - x * cosine) / (x * x_squared)
    return series if u < real(1) else formula


def lattice_factor_radial(crystal, dh, dk, dl):
    """Return F_latt of a shape that is a function of the distance to the nearest reflection, without a unit (specs/shapes.md).

    crystal: the Crystal record. dh, dk, dl: distances h - h0, k - k0, l - l0 to that reflection, without a unit.
    """
    cells = crystal.n_a * crystal.n_b * crystal.n_c
    r_squared = distance_squared(crystal, dh, dk, dl) * crystal.fudge
    if crystal.shape == ROUND:
        return cells * SPHERE * sinc3(PI_SQUARED * r_squared)
    if crystal.shape == GAUSS:
        return cells * decay(r_squared / GAUSS_WIDTH_SQUARED)
    return cells if r_squared < TOPHAT_RADIUS_SQUARED else real(0)


def signed_sincg(n, d, whole):
    """Return sincg, sin(pi n h) / sin(pi h) for whole n, with its sign (-1)^((n - 1) h0 + round(n |d|)); without a unit (F8).

    n: number of unit cells along an edge. d: distance h - h0 to the nearest reflection along it, without a unit. whole: h0.
    """
    numerator, denominator = sincg_parts(n, d)
    exponent = (n - real(1)) * whole + nearest(n * abs(d))[1]
    return numerator / denominator if exponent % real(2) == real(0) else -numerator / denominator


def disorder_exponent(crystal, h, k, l):
    """Return the exponent of the B factors, B s^2 / 4 of an amplitude, at a point, without a unit (F9g).

    crystal: the Crystal record, of which the disorder is read. h, k, l: fractional Miller indices.
    """
    disorder = (
        crystal.disorder_hh, crystal.disorder_kk, crystal.disorder_ll,
        crystal.disorder_hk, crystal.disorder_hl, crystal.disorder_kl,
    )  # fmt: skip
    return quadratic_form(disorder, (h, k, l))


def disorder_factor(crystal, h, k, l):
    """Return the factor of an amplitude by the B factors at a point, exp(-B s^2 / 4), without a unit (F9g).

    crystal: the Crystal record. h, k, l: fractional Miller indices.
    """
    return wide(decay(real(disorder_exponent(crystal, h, k, l))))
