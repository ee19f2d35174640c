"""Crystal stages: fractional Miller indices of a scattering vector, and the reflection that is nearest (F7).

What indices are made of are long numbers: of the records' precision, or the float pairs of pairs.py.
"""

from nbnumba.stages import ceil, real


def entry(lattices, m, n):
    """Return the long number n, of nine, of lattice m of a table of cell vectors, in A (F7b)."""
    return lattices[m, n]


def long(x):
    """x as a long number."""
    return x


def plain(x):
    """A long number in the records' precision."""
    return x


def rough(x):
    """A long number in `real`."""
    return real(x)


def below(x):
    """Whether a long number is below 0."""
    return x < real(0)


def added(total, x):
    """A long number and a real one."""
    return total + x


def index(x, y, z, q):
    """Return one fractional Miller index, the product of a real-space cell vector and q, without a unit (F7).

    x, y, z: components of a, b or c in A. q: scattering vector in 1/A.
    """
    return x * q[0] + y * q[1] + z * q[2]


def nearest(h):
    """Return the distance h - h0 and the whole Miller index h0 nearest to h, the lower one half way (F7).

    h: fractional Miller index, without a unit.
    """
    whole = ceil(h - real(0.5))
    return h - whole, whole
