"""Crystal stages: fractional Miller indices of a scattering vector, and the reflection that is nearest (F7).

Cell vectors, scattering vectors and Miller indices are extended numbers: numbers of the precision of the records, `wide`, or
the float pairs of pairs.py, whose functions of the same names then take the place of those here.
"""

from nbnumba.stages import ceil, real


def entry(lattices, m, n):
    """Return number n of lattice m, in A, as an extended number (F7b).

    lattices: the table of lattices (steps * domains, 9), in A: the components of a, b and c one after another.
    """
    return lattices[m, n]


def to_extended(x):
    """Return a number of the precision of the records as an extended number, in the same unit (G2)."""
    return x


def to_wide(x):
    """Return an extended number in the precision of the records, in the same unit (G2)."""
    return x


def to_real(x):
    """Return an extended number in `real`, in the same unit (G2)."""
    return real(x)


def is_negative(x):
    """Return whether an extended number is below 0 (G2)."""
    return x < real(0)


def accumulate(total, x):
    """Return the sum of an extended number and a number of the precision `real`, in their unit (G2)."""
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
