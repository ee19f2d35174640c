"""Losses of a pixel, with their derivatives with respect to its photons (A13)."""

from nbnumba.stages import log, real

INFINITE = float("inf")
GIVEN, GAUSSIAN, POISSON = range(3)
"""Kinds of loss: a cotangent that is given, and two that the kernels know."""


def loss_value(kind, photons, data, weight):
    """A13: weight (I - data)^2 / 2; mu - data + data ln(data / mu), mu = I + weight; of a given cotangent it is not known: 0.

    Counts where none are expected make it infinite.
    """
    if kind == GIVEN:
        return real(0) * data
    if kind == GAUSSIAN:
        return real(0.5) * weight * (photons - data) * (photons - data)
    mean = photons + weight
    if data == real(0):
        return mean
    return mean - data + data * log(data / mean) if mean > real(0) else INFINITE


def loss_derivative(kind, photons, data, weight):
    """A13: the derivative: the data themselves (given); weight (I - data); 1 - data / (I + weight). Not for left-out pixels."""
    if kind == GIVEN:
        return data
    if kind == GAUSSIAN:
        return weight * (photons - data)
    return real(1) - data / expected(photons, weight)


def loss_curvature(kind, photons, data, weight):
    """A13: the expected second derivative: the weight (given; Gaussian); 1 / (I + weight), Fisher's information (Poisson)."""
    if kind == POISSON:
        return real(1) / expected(photons, weight)
    return weight


def expected(photons, background):
    """A13: the expected count; 1 where it is 0, so that nothing is divided by 0 where nothing is counted either."""
    mean = photons + background
    return mean + (mean == real(0))
