"""Elementary functions of numbers without a unit, made of arithmetic alone: loops of them vectorise, in any precision."""

from nbnumba.stages import ceil, real
from nbnumba.stages.crystal import nearest

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
"""Minimax polynomial of sin(pi x) / x in x^2 on |x| <= 1/2, by relative error: 2.1e-16, which tests/stages computes again."""

PER_PI = 0.3183098861837907
"""1 / pi."""


def sinc_pi(u):
    """Return sin(pi x) / x, by its polynomial in u = x^2, |x| <= 1/2 (F8)."""
    c = SIN_PI
    return c[0] + u * (c[1] + u * (c[2] + u * (c[3] + u * (c[4] + u * (c[5] + u * (c[6] + u * c[7]))))))


def sin_pi(x):
    """Return sin(pi x) for |x| <= 1/2 (F8)."""
    return x * sinc_pi(x * x)


def sin(x):
    """Return the sine of x radians as sin(pi y) up to sign, where y is x / pi less the nearest whole number (F8).

    It serves machines whose own sine has another precision (G1).
    """
    y, whole = nearest(x * PER_PI)
    return sin_pi(y) if even(whole) else -sin_pi(y)


def cos(x):
    """Return the cosine of x radians as cos(pi y) = sin(pi (1/2 - |y|)) up to sign, with y and for the machines of `sin`."""
    y, whole = nearest(x * PER_PI)
    shifted = real(0.5) - abs(y)
    return sin_pi(shifted) if even(whole) else -sin_pi(shifted)


def even(whole):
    """Return whether a whole number, held as a real one, is even."""
    half = whole * real(0.5)
    return ceil(half) == half
