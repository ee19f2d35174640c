"""Mirrors of the three-vectors."""

from nbnumba.stages import real
from nbnumba.stages.vec3 import cross, dot, scale


def add(a, b):
    """Return a + b."""
    return (a[0] + b[0], a[1] + b[1], a[2] + b[2])


def unit_adj(direction, length, direction_bar, length_bar):
    """A2: a_bar = (d_bar - d (d . d_bar)) / |a| + d |a|_bar, from the unit vector d along a and the length |a|."""
    along = dot(direction, direction_bar)
    inverse = real(1) / length
    return (
        (direction_bar[0] - direction[0] * along) * inverse + direction[0] * length_bar,
        (direction_bar[1] - direction[1] * along) * inverse + direction[1] * length_bar,
        (direction_bar[2] - direction[2] * along) * inverse + direction[2] * length_bar,
    )


def turn_adj(a, axis, sine, cosine, turned_bar):
    """A1c: turned = axis (axis . a) (1 - cos) + a cos + (axis x a) sin; returns a_bar, axis_bar, sine_bar, cosine_bar."""
    along, across = dot(axis, a), cross(axis, a)
    on_axis = dot(axis, turned_bar)
    versine = real(1) - cosine
    pulled = cross(turned_bar, axis)
    a_bar = add(add(scale(axis, on_axis * versine), scale(turned_bar, cosine)), scale(pulled, sine))
    swept = cross(a, turned_bar)
    axis_bar = add(add(scale(turned_bar, along * versine), scale(a, on_axis * versine)), scale(swept, sine))
    return a_bar, axis_bar, dot(across, turned_bar), dot(a, turned_bar) - on_axis * along
