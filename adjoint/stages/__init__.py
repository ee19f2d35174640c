"""The mirrors of nbnumba's stages: file by file, function by function, `f_adj` for `f` (specs/adjoint.md).

Their words are those of nbnumba.stages, and `frexp`: fraction and power of a number above 0, x = fraction 2^power, the fraction
from 1/2 to below 1.
"""

from numpy import frexp as frexp
