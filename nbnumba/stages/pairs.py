"""The crystal stages in float pairs: a number is the sum of two float32 numbers that do not overlap (G2).

Pairs have twice the digits of float32 and serve machines that are slow in float64. The functions take the place of those of
the same name in crystal.py and lattice.py.
"""

from numpy import float64

from nbnumba.stages import ceil, real, tiny


def exact_sum(a, b):
    """Return a + b rounded to `real`, and what rounding took off, in the unit of a and b (G2; Knuth).

    A machine that is slow in float64 brings its own function.
    """
    exact = float64(a) + float64(b)
    total = real(exact)
    return total, real(exact - float64(total))


def exact_product(a, b):
    """Return a b rounded to `real`, and what rounding took off, in the product of the units of a and b (G2).

    A machine that is slow in float64 brings its own function.
    """
    exact = float64(a) * float64(b)
    product = real(exact)
    return product, real(exact - float64(product))


def entry(lattices, m, n):
    """Return number n of lattice m, in A, as a float pair (F7b, G2).

    lattices: the table of lattices (steps * domains, 18), in A: nine larger parts, then nine smaller ones.
    """
    return lattices[m, n], lattices[m, n + 9]


def to_extended(x):
    """Return a float64 number as a pair, in the same unit (G2)."""
    larger = real(x)
    return larger, real(x - larger)


def to_wide(x):
    """Return a pair as a float64 number, in the same unit (G2)."""
    return float64(x[0]) + float64(x[1])


def to_real(x):
    """Return a pair in `real`, which is its larger part, in the same unit (G2)."""
    return x[0]


def is_negative(x):
    """Return whether a pair is below 0 (G2)."""
    return x[0] < real(0)


def accumulate(total, x):
    """Return the sum of a pair and a number of the precision `real`, as a pair in their unit (G2).

    What rounding takes off the larger part is added to the smaller one.
    """
    larger, rest = exact_sum(total[0], x)
    return larger, total[1] + rest


def index(x, y, z, q):
    """Return one fractional Miller index as a sum of two numbers that may overlap, without a unit (G2).

    x, y, z: components of a cell vector in A. q: scattering vector in 1/A. All are float pairs.
    """
    first, first_rest = exact_product(x[0], q[0][0])
    second, second_rest = exact_product(y[0], q[1][0])
    third, third_rest = exact_product(z[0], q[2][0])
    partial, partial_rest = exact_sum(first, second)
    total, total_rest = exact_sum(partial, third)
    rest = x[0] * q[0][1] + y[0] * q[1][1] + z[0] * q[2][1] + (x[1] * q[0][0] + y[1] * q[1][0] + z[1] * q[2][0])
    return total, rest + (first_rest + second_rest + third_rest) + (partial_rest + total_rest)


def nearest(h):
    """Return the distance h - h0 as a pair, and the whole Miller index h0 nearest to h, the lower one half way (G2).

    h: fractional Miller index, a float pair without a unit.
    """
    whole = ceil(h[0] - real(0.5))
    above, below = exact_sum(h[0] - whole, h[1])
    half = real(0.5)
    beyond = (above > half) | ((above == half) & (below > real(0)))
    short = (above < -half) | ((above == -half) & (below <= real(0)))
    step = real(1) if beyond else (-real(1) if short else real(0))
    return (above - step, below), whole + step


def grating_phase(n, d):
    """Return x, j and |d| with n |d| = j + x, j the nearest whole number; without a unit (G2).

    n: number of unit cells in the records' precision. d: distance to the nearest reflection, a float pair.
    """
    sign = real(1) if d[0] >= real(0) else -real(1)
    larger, smaller = sign * d[0], sign * d[1]
    larger = larger if larger > tiny else tiny
    of_n = to_extended(n)
    product, rest = exact_product(of_n[0], larger)
    whole = ceil(product - real(0.5))
    x = (product - whole) + (rest + (of_n[0] * smaller + of_n[1] * larger))
    return x, whole, larger + smaller
