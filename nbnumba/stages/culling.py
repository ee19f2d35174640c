"""Culling stages: how far from a reflection a term may still count, and how near a patch of pixels comes to one (F10a)."""

from nbnumba.stages import ceil, slack, wide
from nbnumba.stages.crystal import to_wide
from nbnumba.stages.detector import flat_position
from nbnumba.stages.lattice import distance_squared, sincg_parts
from nbnumba.stages.shapes import SQUARE
from nbnumba.stages.vec3 import dot, scale, unit

PI = 3.141592653589793
PI_SQUARED_SIXTH = 1.6449340668482264
"""pi^2 / 6."""
SECOND_ORDER = 2.25
"""A direction that turns by e is off its tangent by at most this times e^2, for e up to 1/4 (F10a)."""


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
    return (crystal.least_hh * dh * dh + crystal.least_kk * dk * dk + crystal.least_ll * dl * dl) * crystal.fudge


def least_sine(d):
    """Return a lower bound of sin(pi d) for 0 <= d <= 1/2, without a unit: x - x^3 / 6 with x = pi d (F10a)."""
    return wide(PI) * d * (wide(1) - wide(PI_SQUARED_SIXTH) * d * d)


def least_distance(h, reach):
    """Return the smallest distance to a whole number of the numbers within `reach` of h, without a unit (F10a)."""
    distance = abs(h - ceil(h - wide(0.5))) - reach
    return distance if distance > wide(0) else wide(0)


def index_reach(vector, vector_reach, q, edges, beyond):
    """Return how far a Miller index may lie from that of a centre, without a unit (F10a).

    vector: a, b or c in A. vector_reach: how far each of its components may lie from that, in A. q: scattering vector of the
    centre, in 1/A. edges: three vectors in 1/A; a scattering vector is off the centre by the sum of parts, from -1 to 1, of
    these, and each of its components by at most `beyond` more.
    """
    parts = abs(dot(vector, edges[0])) + abs(dot(vector, edges[1])) + abs(dot(vector, edges[2]))
    length = abs(vector[0]) + abs(vector[1]) + abs(vector[2])
    return (
        parts + (length + vector_reach[0] + vector_reach[1] + vector_reach[2]) * beyond
        + vector_reach[0] * (abs(q[0]) + abs(edges[0][0]) + abs(edges[1][0]) + abs(edges[2][0]))
        + vector_reach[1] * (abs(q[1]) + abs(edges[0][1]) + abs(edges[1][1]) + abs(edges[2][1]))
        + vector_reach[2] * (abs(q[2]) + abs(edges[0][2]) + abs(edges[1][2]) + abs(edges[2][2]))
    )  # fmt: skip


def remoteness_limit(crystal, omega):
    """Return the largest remoteness at which a term counts in a pixel, which has a smaller one where it receives less (F10a).

    crystal: the Crystal record. omega: solid angle of the pixel, in sr; of point pixels in 1/m^2.
    """
    return crystal.remote_per_omega * omega if crystal.shape == SQUARE else crystal.most_remote


def spread_of_directions(panel, middle, half):
    """Return the directions from the crystal to some points of a flat detector, and the distance of the nearest, in m (F10a).

    panel: the Panel record. middle, half: the middle of the points, and how far they lie from it, along the panel's fast, slow
    and normal axes, in m. The directions are a unit vector u, three edges, and what they are off beyond these (index_reach). An
    edge is to first order what a step along an axis changes. Points that are too far apart may have any direction.
    """
    u, length = unit(flat_position(panel, middle[0], middle[1], middle[2]))
    part = (half[0] + half[1] + half[2]) / length
    summed = abs(middle[0]) + abs(middle[1]) + abs(middle[2]) + abs(panel.origin_x) + abs(panel.origin_y) + abs(panel.origin_z)
    rounding = slack * summed / length
    beyond = (wide(SECOND_ORDER) * part * part if part <= wide(0.25) else wide(2)) + rounding
    edges = (
        scale(across((panel.fast_x, panel.fast_y, panel.fast_z), u), half[0] / length),
        scale(across((panel.slow_x, panel.slow_y, panel.slow_z), u), half[1] / length),
        scale(across((panel.normal_x, panel.normal_y, panel.normal_z), u), half[2] / length),
    )
    return (u, edges, beyond), length * (wide(1) - part - rounding)


def directions_in_box(middle, reach):
    """Return the directions in a box along x, y and z, in the form of spread_of_directions (F10a).

    middle, reach: the middle of the box, and how far it reaches from there along each axis, without a unit.
    """
    nothing = wide(0)
    edges = (reach[0], nothing, nothing), (nothing, reach[1], nothing), (nothing, nothing, reach[2])
    return middle, edges, nothing


def across(axis, u):
    """Return the part of an axis that is normal to a unit vector, without a unit."""
    along = dot(axis, u)
    return axis[0] - along * u[0], axis[1] - along * u[1], axis[2] - along * u[2]
