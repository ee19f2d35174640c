"""Losses of a pixel, with their derivatives with respect to its photons (A13).

All branches are computed and one is chosen, so that loops over pixels vectorise.
"""

from adjoint.stages import frexp
from nbnumba.stages import real

INFINITE = float("inf")
GIVEN, GAUSSIAN, POISSON = range(3)
"""Kinds of loss: a cotangent that is given, and two that the kernels know."""

SQRT_HALF, LN_2 = 0.7071067811865476, 0.6931471805599453
LOGARITHM = tuple(2.0 / (2 * k + 3) for k in range(10))
"""ln y = 2 s + s^3 (2/3 + 2/5 s^2 + ...), s = (y - 1) / (y + 1). From sqrt(1/2) to sqrt(2), where s^2 < 0.0295, the next term
is 1e-18 of the whole."""


def loss_value(kind, photons, data, weight):
    """A13: weight (I - data)^2 / 2; mu - data + data ln(data / mu), mu = I + weight; of a given cotangent it is not known: 0.

    Counts where none are expected make it infinite.
    """
    if kind == GIVEN:
        return real(0) * data
    if kind == GAUSSIAN:
        return real(0.5) * weight * (photons - data) * (photons - data)
    return deviance(photons + weight, data)


def deviance(mean, data):
    """A13: mu - n + n ln(n / mu), half of the deviance of counts n where mu are expected, to rounding also where they agree.

    With mu / n = y 2^k and s = (y - 1) / (y + 1), ln y = 2 s + s^3 P(s^2). Where k = 0, mu - n - 2 s n is s (mu - n).
    """
    above, power = frexp(mean)
    below, power_below = frexp(data if data != real(0) else real(1))
    low, high = above < SQRT_HALF * below, below < SQRT_HALF * above
    above, below = above + above if low else above, below + below if high else below
    k = power - power_below + (real(1) if high else real(0)) - (real(1) if low else real(0))
    s = (above - below) / (above + below)
    z, c = s * s, LOGARITHM
    tail = c[6] + z * (c[7] + z * (c[8] + z * c[9]))
    tail = c[0] + z * (c[1] + z * (c[2] + z * (c[3] + z * (c[4] + z * (c[5] + z * tail)))))
    beyond = mean - data
    head = s * beyond if k == real(0) else beyond - data * (k * LN_2 + real(2) * s)
    each = head - data * s * z * tail
    each = each if mean > real(0) else INFINITE
    return mean if data == real(0) else each


def loss_derivative(kind, photons, data, weight):
    """A13: the derivative: the data themselves (given); weight (I - data); 1 - data / (I + weight). Not for left-out pixels."""
    if kind == GIVEN:
        return data
    if kind == GAUSSIAN:
        return weight * (photons - data)
    mean = expected(photons, weight)
    return (mean - data) / mean


def loss_curvature(kind, photons, data, weight):
    """A13: the expected second derivative: the weight (given; Gaussian); 1 / (I + weight), Fisher's information (Poisson)."""
    if kind == POISSON:
        return real(1) / expected(photons, weight)
    return weight


def expected(photons, background):
    """A13: the expected count; 1 where it is 0, so that nothing is divided by 0 where nothing is counted either."""
    mean = photons + background
    return mean + real(mean == real(0))
