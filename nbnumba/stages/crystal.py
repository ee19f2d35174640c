"""Crystal stages: fractional Miller indices of a scattering vector, and the reflection that is nearest (F7).

What indices are made of are long numbers: of the records' precision, or the float pairs of pairs.py.
"""

from nbnumba.stages import ceil, real


def entry(lattices, m, n):
    """The long number n of the nine of lattice m of a table."""
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
    """F7: one fractional Miller index, the real-space cell vector (x, y, z) times q."""
    return x * q[0] + y * q[1] + z * q[2]


def nearest(h):
    """F7: the whole Miller index h0 nearest to h (the lower one half way), and the distance h - h0."""
    whole = ceil(h - real(0.5))
    return h - whole, whole
