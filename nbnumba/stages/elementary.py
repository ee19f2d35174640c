"""Elementary functions of numbers without a unit, made of arithmetic alone: loops of them vectorise, in any precision."""

from nbnumba.stages import ceil, far, power_of_two, real

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

EXP = (
    0.5000000000000001,
    0.16666666666666669,
    0.04166666666662412,
    0.008333333333329987,
    0.0013888888917214337,
    0.00019841269863277327,
    2.480152129590351e-05,
    2.755726821166091e-06,
    2.762008812483373e-07,
    2.5100478204956268e-08,
)
"""Polynomial in r of (exp(r) - 1 - r) / r^2 on |r| <= ln(2)/2, by relative error of exp(r): 1.7e-17 (tests/stages)."""

PER_LN_2 = 1.4426950408889634
LN_2_PARTS = (0.693359375, -2.1219444005469057e-04)
"""1 / ln(2); and ln(2) in two parts, of which the first has ten binary digits, so that its product with a power is exact."""


def sinc_pi(u):
    """Return sin(pi x) / x, by its polynomial in u = x^2, |x| <= 1/2 (F8)."""
    c = SIN_PI
    return c[0] + u * (c[1] + u * (c[2] + u * (c[3] + u * (c[4] + u * (c[5] + u * (c[6] + u * c[7]))))))


def sin_pi(x):
    """Return sin(pi x) for |x| <= 1/2 (F8)."""
    return x * sinc_pi(x * x)


def sin_and_cos_pi(x):
    """Return sin(pi x) and cos(pi x) for any x (F8c).

    With y the distance to the nearest whole number, they are sin(pi y) and sin(pi (1/2 - |y|)), up to one sign for both.
    """
    whole = ceil(x - real(0.5))
    y = x - whole
    sine, cosine = sin_pi(y), sin_pi(real(0.5) - abs(y))
    return (sine, cosine) if even(whole) else (-sine, -cosine)


def decay(x):
    """Return exp(-x) for x >= 0; 0 for an x above `far`, where it is next to the smallest number (F8d).

    exp(-x) = 2^-n exp(-r), with n the whole number nearest to x / ln(2), and r = x - n ln(2).
    """
    near = x if x < far else far
    whole = ceil(near * PER_LN_2 - real(0.5))
    r = whole * LN_2_PARTS[0] - near + whole * LN_2_PARTS[1]
    c = EXP
    series = c[4] + r * (c[5] + r * (c[6] + r * (c[7] + r * (c[8] + r * c[9]))))
    value = real(1) + r * (real(1) + r * (c[0] + r * (c[1] + r * (c[2] + r * (c[3] + r * series)))))
    return value * power_of_two(-whole) if x < far else real(0)


def sin(x):
    """Return the sine of x radians (F8c), for machines whose own sine has another precision (G1)."""
    return sin_and_cos_pi(x * PER_PI)[0]


def cos(x):
    """Return the cosine of x radians (F8c), for the machines of `sin`."""
    return sin_and_cos_pi(x * PER_PI)[1]


def even(whole):
    """Return whether a whole number, held as a real one, is even."""
    half = whole * real(0.5)
    return ceil(half) == half
