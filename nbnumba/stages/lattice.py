"""Lattice stages: the interference of all unit cells of a crystal (F8)."""

from nbnumba.stages import cos, exp, real, sin, sqrt, tiny
from nbnumba.stages.crystal import nearest
from nbnumba.stages.elementary import sin_pi
from nbnumba.stages.shapes import GAUSS, ROUND, SQUARE, TOPHAT

COMPUTED = (SQUARE, ROUND, GAUSS, TOPHAT)
"""The shapes that this module computes; setup refuses any other, because a kernel cannot."""

# nanoBragg's shapes other than the parallelepiped: amplitude and widths that give the same volume and width of a spot.
SPHERE = 0.723601254558268
GAUSS_REACH = 0.63
TOPHAT_REACH = 0.3969
PI_SQUARED = 9.869604401089358


def grating_phase(n, d):
    """F8: where n |d| lies between two zeros of sin(pi n d): its distance to the nearest whole number, that number, and |d|.

    For d = 0, where the quotient of F8 is 0/0 and its limit is n, stands a number so small that nothing else sees it.
    """
    d = abs(d)
    d = d if d > tiny else tiny
    x, whole = nearest(n * d)
    return real(x), real(whole), real(d)


def sincg_parts(n, d):
    """F8: numerator and denominator of sin(pi n d) / sin(pi d) up to sign, |d| <= 1/2; both are even in d and never 0/0."""
    x, _, d = grating_phase(n, d)
    return sin_pi(x), sin_pi(d)


def lattice_factor_square(crystal, dh, dk, dl):
    """F8: |F_latt| up to sign of a parallelepiped of n_a x n_b x n_c cells at (dh, dk, dl) from the nearest reflection."""
    above_h, below_h = sincg_parts(crystal.n_a, dh)
    above_k, below_k = sincg_parts(crystal.n_b, dk)
    above_l, below_l = sincg_parts(crystal.n_c, dl)
    return above_h * above_k * above_l * (real(1) / (below_h * below_k * below_l))


def distance_squared(crystal, dh, dk, dl):
    """F8b: squared distance to the nearest reflection, in units of the reciprocal size of the crystal."""
    return (
        crystal.metric_hh * dh * dh
        + crystal.metric_kk * dk * dk
        + crystal.metric_ll * dl * dl
        + real(2) * (crystal.metric_hk * dh * dk + crystal.metric_hl * dh * dl + crystal.metric_kl * dk * dl)
    )


def sinc3(u):
    """F8c: transform of a sphere, 3 (sin x / x - cos x) / x^2, in u = x^2; by its series where the formula cancels."""
    if u < real(0.01):
        return real(1) - u / real(10) * (real(1) - u / real(28) * (real(1) - u / real(54) * (real(1) - u / real(88))))
    x = sqrt(u)
    return real(3) * (sin(x) / x - cos(x)) / u


def lattice_factor_radial(crystal, dh, dk, dl):
    """F8c to F8e: F_latt of the shapes that are a function of the distance to the nearest reflection alone."""
    cells = crystal.n_a * crystal.n_b * crystal.n_c
    reach = distance_squared(crystal, dh, dk, dl) * crystal.fudge
    if crystal.shape == ROUND:
        return cells * SPHERE * sinc3(PI_SQUARED * reach)
    if crystal.shape == GAUSS:
        return cells * exp(-reach / GAUSS_REACH)
    return cells if reach < TOPHAT_REACH else real(0)


def signed_sincg(n, d, whole):
    """F8: sin(pi n h) / sin(pi h) for whole n, with its sign (-1)^((n - 1) h0 + round(n |d|))."""
    above, below = sincg_parts(n, d)
    odd = (n - real(1)) * whole + nearest(n * abs(d))[1]
    return above / below if odd % real(2) == real(0) else -above / below
