"""Losses of a pixel, with their derivatives with respect to its photons (A13).

All branches are computed and one is chosen, so that loops over pixels vectorise.
"""

from adjoint.stages import frexp
from nbnumba.stages import real

INFINITE = float("inf")
GIVEN, GAUSSIAN, POISSON = range(3)
"""Kinds of loss: a derivative that is given for each pixel, and two losses that the kernels compute."""

SQRT_HALF, LN_2 = 0.7071067811865476, 0.6931471805599453
LOGARITHM = tuple(2.0 / (2 * k + 3) for k in range(10))
"""Coefficients of P(z) = 2/3 + 2/5 z + 2/7 z^2 + ..., with which ln y = 2 s + s^3 P(s^2), s = (y - 1) / (y + 1) (A13).

For y from sqrt(1/2) to sqrt(2) s^2 is below 0.0295, and the first term that is left out is 1e-18 of the whole."""


def loss_value(kind, photons, data, weight):
    """Return the loss of a pixel, without a unit (A13).

        GAUSSIAN: weight (I - data)^2 / 2
        POISSON:  mu - data + data ln(data / mu),    mu = I + weight;    infinite where mu is 0 and data are not
        GIVEN:    0, because only the derivative is given

    kind: one of the three. photons: I, in photons. data: in photons; of GIVEN the derivative, in 1/photons. weight: of GAUSSIAN
    1 / sigma^2, in 1/photons^2; of POISSON the background, in photons; of GIVEN the curvature, in 1/photons^2.
    """
    if kind == GIVEN:
        return real(0) * data
    if kind == GAUSSIAN:
        return real(0.5) * weight * (photons - data) * (photons - data)
    return deviance(photons + weight, data)


def deviance(mean, data):
    """Return half of the deviance of n counts where mu are expected, mu - n + n ln(n / mu), without a unit (A13).

    mean: mu, in photons. data: n, in photons. With mu / n = y 2^k and s = (y - 1) / (y + 1), ln y = 2 s + s^3 P(s^2). Where
    k = 0, mu - n - 2 s n is s (mu - n), in which nothing cancels: the result is right to rounding also where n is close to mu.
    """
    mean_fraction, mean_power = frexp(mean)
    data_fraction, data_power = frexp(data if data != real(0) else real(1))
    low, high = mean_fraction < SQRT_HALF * data_fraction, data_fraction < SQRT_HALF * mean_fraction
    mean_fraction, data_fraction = (
        mean_fraction + mean_fraction if low else mean_fraction,
        data_fraction + data_fraction if high else data_fraction,
    )
    k = mean_power - data_power + (real(1) if high else real(0)) - (real(1) if low else real(0))
    s = (mean_fraction - data_fraction) / (mean_fraction + data_fraction)
    z, c = s * s, LOGARITHM
    tail = c[6] + z * (c[7] + z * (c[8] + z * c[9]))
    tail = c[0] + z * (c[1] + z * (c[2] + z * (c[3] + z * (c[4] + z * (c[5] + z * tail)))))
    excess = mean - data
    head = s * excess if k == real(0) else excess - data * (k * LN_2 + real(2) * s)
    result = head - data * s * z * tail
    result = result if mean > real(0) else INFINITE
    return mean if data == real(0) else result


def loss_derivative(kind, photons, data, weight):
    """Return the derivative of the loss of a pixel with respect to I, in 1/photons (A13).

        GAUSSIAN: weight (I - data)
        POISSON:  1 - data / mu,    mu = I + weight
        GIVEN:    data

    Arguments are those of loss_value. The pixel must not be one that is left out.
    """
    if kind == GIVEN:
        return data
    if kind == GAUSSIAN:
        return weight * (photons - data)
    mean = expected(photons, weight)
    return (mean - data) / mean


def loss_curvature(kind, photons, data, weight):
    """Return the expected second derivative of the loss of a pixel with respect to I, in 1/photons^2 (A13).

        GAUSSIAN, GIVEN: weight
        POISSON:         1 / mu,    mu = I + weight:    Fisher's information

    Arguments are those of loss_value.
    """
    if kind == POISSON:
        return real(1) / expected(photons, weight)
    return weight


def expected(photons, background):
    """Return the expected count mu = I + background, in photons, and 1 where it is 0, because mu is divided by (A13).

    photons: I, in photons. background: in photons.
    """
    mean = photons + background
    return mean + real(mean == real(0))
