"""Crystal stages: fractional Miller indices of a scattering vector, and the reflection that is nearest (F7).

Indices are made of extended numbers: numbers of the precision of the records, or the float pairs of pairs.py.
"""

from nbnumba.stages import ceil, real


def entry(lattices, m, n):
    """Return the extended number n, of nine, of lattice m of a table of cell vectors, in A (F7b)."""
    return lattices[m, n]


def to_extended(x):
    """x as an extended number."""
    return x


def to_wide(x):
    """An extended number in the precision of the records."""
    return x


def to_real(x):
    """An extended number in `real`."""
    return real(x)


def below(x):
    """Whether an extended number is below 0."""
    return x < real(0)


def accumulate(total, x):
    """The sum of an extended number and a real one."""
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
