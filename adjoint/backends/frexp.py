"""frexp, the split of a number into fraction and power, by integer arithmetic on its bits, which vectorises."""

import numpy as np
from numba import njit

from nbnumba.backends.float_bits import bits_of, of_bits

FRACTION_BITS, BIAS = np.uint64(52), 1022.0
FRACTION, HALF, WHOLE = np.uint64(2**52 - 1), np.uint64(0x3FE << 52), np.uint64(0x433 << 52)
"""The mask of the bits of a fraction, and the bits of 0.5 and of 2^52. The fraction of 2^52 + n, n whole, is n."""
SMALLEST, UP, UP_POWER = 2.0**-1022, 2.0**54, 54.0
"""The smallest normal number; the factor by which smaller ones are multiplied to become normal, and its power."""


@njit(error_model="numpy", forceinline=True)
def frexp(x):
    """Fraction and power, as numbers, x = fraction 2^power, 1/2 <= fraction < 1, of an x above 0 that is finite."""
    small = x < SMALLEST
    bits = bits_of(x * (UP if small else 1.0))
    power = of_bits((bits >> FRACTION_BITS) | WHOLE) - of_bits(WHOLE) - BIAS
    return of_bits((bits & FRACTION) | HALF), power - UP_POWER if small else power
