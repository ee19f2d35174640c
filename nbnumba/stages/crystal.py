"""Crystal stages: fractional Miller indices of a scattering vector, and the reflection that is nearest (F7)."""

from nbnumba.stages import ceil, real


def index(x, y, z, q):
    """F7: one fractional Miller index, the real-space cell vector (x, y, z) times q."""
    return x * q[0] + y * q[1] + z * q[2]


def nearest(h):
    """F7: the whole Miller index h0 nearest to h (the lower one half way), and the distance h - h0."""
    whole = ceil(h - real(0.5))
    return h - whole, whole
