"""The physics, once: small scalar functions, one per equation of specs/forward.md, plain Python until a backend compiles them.

The words below depend on the machine and the precision, and a backend that compiles the stages brings its own: `real`, the
precision that interference is computed in (stages write a real constant as `real(0.5)`), `index_type`, the type of an index
into the list of amplitudes, `tiny`, a number whose cube `real` still holds, `far`, an x for which `wide` still holds exp(-x),
`slack`, more than rounding moves a direction or a Miller index by, `by_energy`, whether there may be amplitudes of several
photon energies (F9f), `ceil`, which rounds up to a whole number of the precision it is given, `power_of_two`, and the
elementary functions. All else is of the records' precision, `wide` (G1). As plain Python, with NumPy's words, most stages work
elementwise on arrays too.
"""

from numpy import ceil as ceil
from numpy import cos as cos
from numpy import exp as exp
from numpy import exp2, floating, ndarray
from numpy import sin as sin
from numpy import sqrt as sqrt

index_type = wide = float
tiny = 1e-60
far = 708.0
slack = 1e-12
by_energy = True


def power_of_two(power):
    """Two to the power of a whole number, which is held as a real one."""
    return exp2(power)


def real(x):
    """As plain Python, NumPy's numbers and arrays keep the precision that they have."""
    return x if isinstance(x, (floating, ndarray)) else float(x)
