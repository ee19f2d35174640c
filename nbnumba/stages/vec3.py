"""Three-vectors as tuples (x, y, z), whose components have one unit."""

from nbnumba.stages import real, sqrt


def dot(a, b):
    """Return the scalar product a . b, in the product of their units."""
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def cross(a, b):
    """Return the vector product a x b, in the product of their units."""
    return (a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0])


def scale(a, factor):
    """Return a times a scalar factor, in the product of their units."""
    return (a[0] * factor, a[1] * factor, a[2] * factor)


def unit(a):
    """Return the unit vector along a, and the length of a, in the unit of a (F2). The length must not be 0."""
    length = sqrt(dot(a, a))
    return scale(a, real(1) / length), length


def quadratic_form(matrix, a):
    """Return a^T M a, in the product of their units.

    matrix: the elements hh, kk, ll, hk, hl, kl of the symmetric matrix M.
    """
    hh, kk, ll, hk, hl, kl = matrix
    x, y, z = a
    return hh * x * x + kk * y * y + ll * z * z + real(2) * (hk * x * y + hl * x * z + kl * y * z)


def rotate(a, axis, sine, cosine):
    """Return a rotated about an axis, in the unit of a (F1c; Rodrigues' rotation formula).

    axis: unit vector. sine, cosine: those of the angle of rotation.
    """
    along = dot(axis, a) * (real(1) - cosine)
    across = cross(axis, a)
    return (
        axis[0] * along + a[0] * cosine + across[0] * sine,
        axis[1] * along + a[1] * cosine + across[1] * sine,
        axis[2] * along + a[2] * cosine + across[2] * sine,
    )
