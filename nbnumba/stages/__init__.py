"""The physics, once: small scalar functions, one per equation of specs/forward.md, plain Python until a backend compiles them.

The words below depend on the machine, and a backend that compiles the stages brings its own: `real`, the working precision
(stages write a real constant as `real(0.5)`), `ceil`, which rounds up to a whole real number, and the elementary functions.
As plain Python, with NumPy's words, most stages work elementwise on arrays too.
"""

from numpy import ceil as ceil
from numpy import cos as cos
from numpy import exp as exp
from numpy import sin as sin
from numpy import sqrt as sqrt

real = float
