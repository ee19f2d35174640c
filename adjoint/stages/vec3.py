"""Mirrors of the three-vectors (A1c, A2)."""

from nbnumba.stages import real
from nbnumba.stages.vec3 import cross, dot, scale


def add(a, b):
    """Return a + b, in their unit."""
    return (a[0] + b[0], a[1] + b[1], a[2] + b[2])


def unit_adj(direction, length, direction_bar, length_bar):
    """Return the cotangent of a, from the unit vector d along a and the length |a|, in the unit of a (A2).

        F2: |a| = sqrt(a . a),    d = a / |a|
        A2: a_bar = (d_bar - d (d . d_bar)) / |a| + d |a|_bar
    """
    along = dot(direction, direction_bar)
    inverse = real(1) / length
    return (
        (direction_bar[0] - direction[0] * along) * inverse + direction[0] * length_bar,
        (direction_bar[1] - direction[1] * along) * inverse + direction[1] * length_bar,
        (direction_bar[2] - direction[2] * along) * inverse + direction[2] * length_bar,
    )


def quadratic_form_adj(matrix, a, form_bar):
    """Return the cotangents of a = (x, y, z), and of the elements hh, kk, ll, hk, hl, kl of M (A8b).

        F8b: y = a^T M a
        A8b: a_bar = 2 y_bar M a,    hh_bar = y_bar x^2,    hk_bar = 2 y_bar x y,    likewise the others
    """
    hh, kk, ll, hk, hl, kl = matrix
    x, y, z = a
    two = real(2) * form_bar
    a_bar = two * (hh * x + hk * y + hl * z), two * (hk * x + kk * y + kl * z), two * (hl * x + kl * y + ll * z)
    return a_bar, (form_bar * x * x, form_bar * y * y, form_bar * z * z, two * x * y, two * x * z, two * y * z)


def rotate_adj(a, axis, sine, cosine, rotated_bar):
    """Return the cotangents of a, of the unit axis u, and of sine and cosine of the angle of rotation (A1c).

        F1c: y = u (u . a) (1 - cos) + a cos + (u x a) sin
        A1c: a_bar = u (u . y_bar) (1 - cos) + y_bar cos + (y_bar x u) sin
             u_bar = (y_bar (u . a) + a (u . y_bar)) (1 - cos) + (a x y_bar) sin
             sin_bar = (u x a) . y_bar,    cos_bar = a . y_bar - (u . a) (u . y_bar)
    """
    along, across = dot(axis, a), cross(axis, a)
    on_axis = dot(axis, rotated_bar)
    versine = real(1) - cosine
    across_bar = cross(rotated_bar, axis)
    a_bar = add(add(scale(axis, on_axis * versine), scale(rotated_bar, cosine)), scale(across_bar, sine))
    axis_across_bar = cross(a, rotated_bar)
    axis_bar = add(add(scale(rotated_bar, along * versine), scale(a, on_axis * versine)), scale(axis_across_bar, sine))
    return a_bar, axis_bar, dot(across, rotated_bar), dot(a, rotated_bar) - on_axis * along
