"""Culling stages: how far from a reflection a term may still count, and how near a patch of pixels comes to one (F10a)."""

from nbnumba.stages import ceil, wide
from nbnumba.stages.crystal import to_wide
from nbnumba.stages.lattice import distance_squared, sincg_parts
from nbnumba.stages.shapes import SQUARE

PI = 3.141592653589793
PI_SQUARED_SIXTH = 1.6449340668482264
"""pi^2 / 6."""


def falloff(n, sine):
    """Return a lower bound of 1 / sincg^2, without a unit, from sin(pi d) or less, d the distance to a reflection (F10a).

    n: number of unit cells along the edge. |sincg| is at most 1 / sin(pi d), and at most n, or 1 where n is smaller.
    """
    most = n if n > wide(1) else wide(1)
    least = wide(1) / (most * most)
    squared = sine * sine
    return squared if squared > least else least


def remoteness(crystal, dh, dk, dl):
    """Return how remote a point is from the nearest reflection: the lattice factor has a bound that falls with it (F10a).

    crystal: the Crystal record. dh, dk, dl: distances h - h0, k - k0, l - l0 to that reflection, without a unit. It is r^2
    where the lattice factor is a function of r^2; for a parallelepiped a lower bound of 1 / F_latt^2. It grows with |dh|, |dk|,
    |dl|.
    """
    if crystal.shape == SQUARE:
        _, sine_h = sincg_parts(crystal.n_a, dh)
        _, sine_k = sincg_parts(crystal.n_b, dk)
        _, sine_l = sincg_parts(crystal.n_c, dl)
        return falloff(crystal.n_a, sine_h) * falloff(crystal.n_b, sine_k) * falloff(crystal.n_c, sine_l)
    return distance_squared(crystal, to_wide(dh), to_wide(dk), to_wide(dl)) * crystal.fudge


def least_remoteness(crystal, dh, dk, dl):
    """Return a lower bound of the remoteness of all points that are at least so far from a reflection, without a unit (F10a).

    crystal: the Crystal record. dh, dk, dl: the least distances along h, k and l, 0 to 1/2, without a unit.
    """
    if crystal.shape == SQUARE:
        sine_h, sine_k, sine_l = least_sine(dh), least_sine(dk), least_sine(dl)
        return falloff(crystal.n_a, sine_h) * falloff(crystal.n_b, sine_k) * falloff(crystal.n_c, sine_l)
    return distance_squared(crystal, dh, dk, dl) * crystal.fudge


def least_sine(d):
    """Return a lower bound of sin(pi d) for 0 <= d <= 1/2, without a unit: x - x^3 / 6 with x = pi d (F10a)."""
    return wide(PI) * d * (wide(1) - wide(PI_SQUARED_SIXTH) * d * d)


def least_distance(h, reach):
    """Return the smallest distance to a whole number of the numbers within `reach` of h, without a unit (F10a)."""
    distance = abs(h - ceil(h - wide(0.5))) - reach
    return distance if distance > wide(0) else wide(0)


def index_reach(vector, vector_reach, q, q_reach):
    """Return how far a Miller index may lie from that of a centre, without a unit (F10a).

    vector: a, b or c in A. q: scattering vector in 1/A. vector_reach, q_reach: how far each component of these may lie from the
    centre's, in the same units.
    """
    return (
        (abs(vector[0]) + vector_reach[0]) * q_reach[0] + vector_reach[0] * abs(q[0])
        + (abs(vector[1]) + vector_reach[1]) * q_reach[1] + vector_reach[1] * abs(q[1])
        + (abs(vector[2]) + vector_reach[2]) * q_reach[2] + vector_reach[2] * abs(q[2])
    )  # fmt: skip
