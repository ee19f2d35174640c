"""The words of the mirrors that depend on the precision (G1): names that are bound to types and constants before compiling."""

from adjoint.stages import beam, crystal, detector, lattice, loss, pixel, structure, vec3
from nbnumba.backends.precision import words

MIRRORS = (vec3, detector, beam, crystal, lattice, structure, pixel, loss)
"""The modules of mirrors, in the order of their dependence."""


def mirror_words(precision: str) -> dict:
    """Those words of the stages and their mirrors that depend on the precision."""
    of_stages = words(precision)
    return of_stages | {"SIN_PI_SLOPE": tuple(of_stages["real"](c) for c in lattice.SIN_PI_SLOPE)}
