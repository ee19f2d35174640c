"""Three-vectors as tuples (x, y, z)."""

from nbnumba.stages import real, sqrt


def dot(a, b):
    """Return the scalar product a . b."""
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def cross(a, b):
    """Return the vector product a x b."""
    return (a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0])


def scale(a, factor):
    """Return a times a scalar."""
    return (a[0] * factor, a[1] * factor, a[2] * factor)


def unit(a):
    """Return the unit vector along a, and the length of a, which must not be 0."""
    length = sqrt(dot(a, a))
    return scale(a, real(1) / length), length


def turn(a, axis, sine, cosine):
    """Return a rotated about a unit axis by the angle of a sine and a cosine (Rodrigues' formula)."""
    along = dot(axis, a) * (real(1) - cosine)
    across = cross(axis, a)
    return (
        axis[0] * along + a[0] * cosine + across[0] * sine,
        axis[1] * along + a[1] * cosine + across[1] * sine,
        axis[2] * along + a[2] * cosine + across[2] * sine,
    )
