"""Elementary functions that are made of arithmetic alone, so that loops of them vectorise and need no other precision."""

from nbnumba.stages import ceil, real
from nbnumba.stages.crystal import nearest

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
PER_PI = 0.3183098861837907


def sinc_pi(u):
    """Return sin(pi x) / x for u = x^2, |x| <= 1/2, by its polynomial (F8)."""
    c = SIN_PI
    return c[0] + u * (c[1] + u * (c[2] + u * (c[3] + u * (c[4] + u * (c[5] + u * (c[6] + u * c[7]))))))


def sin_pi(x):
    """Return sin(pi x) for |x| <= 1/2 (F8)."""
    return x * sinc_pi(x * x)


def sin(x):
    """Return sin x for machines that have it in another precision only: sin(pi y) up to sign, y the rest of x / pi."""
    y, whole = nearest(x * PER_PI)
    return sin_pi(y) if even(whole) else -sin_pi(y)


def cos(x):
    """Return cos x for the same machines: cos(pi y) = sin(pi (1/2 - |y|))."""
    y, whole = nearest(x * PER_PI)
    shifted = real(0.5) - abs(y)
    return sin_pi(shifted) if even(whole) else -sin_pi(shifted)


def even(whole):
    """Return whether a whole number is even."""
    half = whole * real(0.5)
    return ceil(half) == half
