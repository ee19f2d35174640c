"""The mirrors of nbnumba's stages: file by file, function by function, `f_adj` for `f` (specs/adjoint.md).

The words that depend on the machine and the precision are those of nbnumba.stages, and `frexp`, which splits a number x > 0
into a fraction, 1/2 <= fraction < 1, and a power: x = fraction 2^power. A cotangent `x_bar` is the derivative of one number,
such as a loss, with respect to x; it has the unit of that number per unit of x.
"""

from numpy import frexp as frexp
