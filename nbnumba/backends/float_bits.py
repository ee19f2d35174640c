"""Powers of two by integer arithmetic on the bits of a number, which vectorises."""

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

FRACTION_BITS, BIAS, WHOLE = np.uint64(52), np.uint64(1023), 3 * 2.0**51
"""The bits of a fraction; what is added to an exponent; and a number, 3 2^51, whose sum with a whole one ends in its bits."""


@intrinsic
def bits_of(typingctx, x):
    """The bits of a float64 as uint64."""
    return types.uint64(types.float64), lambda context, builder, _, args: builder.bitcast(args[0], ir.IntType(64))


@intrinsic
def of_bits(typingctx, bits):
    """The float64 of those bits."""
    return types.float64(types.uint64), lambda context, builder, _, args: builder.bitcast(args[0], ir.DoubleType())


@njit(error_model="numpy", forceinline=True)
def power_of_two(power):
    """Two to the power of a whole number from -1022 to 1023, which is held as a real one: a float64."""
    return of_bits((bits_of(np.float64(power) + WHOLE) + BIAS) << FRACTION_BITS)
