"""Lattice stages: the interference of all unit cells of a crystal (F8)."""

from nbnumba.stages import cos, exp, real, sin, sqrt
from nbnumba.stages.crystal import nearest
from nbnumba.stages.records import GAUSS, ROUND

# Relative-error minimax polynomial of sin(pi x) / x in x^2 on |x| <= 1/2, error 2.1e-16; tests/stages recomputes its error.
SIN_PI = (
    3.1415926535897927,
    -5.167712780049753,
    2.5501640398597765,
    -0.5992645287757095,
    0.08214587825655009,
    -0.007370361071668179,
    0.00046597761697805216,
    -2.1122952927771243e-05,
)
# Stands for d = 0, where the quotient of F8 is 0/0: its limit is n. Small enough that nothing else sees it, large enough
# for the product of three of them.
TINY = 1e-60
# nanoBragg's shapes other than the parallelepiped: amplitude and widths that give the same volume and width of a spot.
SPHERE = 0.723601254558268
GAUSS_REACH = 0.63
TOPHAT_REACH = 0.3969
PI_SQUARED = 9.869604401089358


def sinc_pi(u):
    """sin(pi x) / x for u = x^2, |x| <= 1/2."""
    c = SIN_PI
    return c[0] + u * (c[1] + u * (c[2] + u * (c[3] + u * (c[4] + u * (c[5] + u * (c[6] + u * c[7]))))))


def sin_pi(x):
    """sin(pi x) for |x| <= 1/2."""
    return x * sinc_pi(x * x)


def grating(n, d):
    """F8: numerator and denominator of sin(pi n d) / sin(pi d) up to sign, |d| <= 1/2; both are even in d and never 0/0."""
    d = abs(d)
    d = d if d > TINY else TINY
    return sin_pi(nearest(n * d)[0]), sin_pi(d)


def square_lattice(crystal, dh, dk, dl):
    """F8: |F_latt| up to sign of a parallelepiped of n_a x n_b x n_c cells at (dh, dk, dl) from the nearest reflection."""
    above_h, below_h = grating(crystal.n_a, dh)
    above_k, below_k = grating(crystal.n_b, dk)
    above_l, below_l = grating(crystal.n_c, dl)
    return above_h * above_k * above_l * (real(1) / (below_h * below_k * below_l))


def reach_squared(crystal, dh, dk, dl):
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


def peak_lattice(crystal, dh, dk, dl):
    """F8c to F8e: F_latt of the shapes that are a function of the distance to the nearest reflection alone."""
    cells = crystal.n_a * crystal.n_b * crystal.n_c
    reach = reach_squared(crystal, dh, dk, dl) * crystal.fudge
    if crystal.shape == ROUND:
        return cells * SPHERE * sinc3(PI_SQUARED * reach)
    if crystal.shape == GAUSS:
        return cells * exp(-reach / GAUSS_REACH)
    return cells if reach < TOPHAT_REACH else real(0)


def signed_grating(n, d, whole):
    """F8: sin(pi n h) / sin(pi h) for whole n, with its sign (-1)^((n - 1) h0 + round(n |d|))."""
    above, below = grating(n, d)
    odd = (n - real(1)) * whole + nearest(n * abs(d))[1]
    return above / below if odd % real(2) == real(0) else -above / below
