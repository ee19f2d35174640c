"""Sums and products of float32 numbers and what rounding takes off, of CUDA's operations that no compiler contracts (G2)."""

from numba.cuda.libdevice import fadd_rn, fmaf_rn, fmul_rn, fsub_rn


def exact_sum(a, b):
    """Return a + b rounded to float32, and what rounding took off, in the unit of a and b (G2; Knuth)."""
    total = fadd_rn(a, b)
    of_b = fsub_rn(total, a)
    return total, fadd_rn(fsub_rn(a, fsub_rn(total, of_b)), fsub_rn(b, of_b))


def exact_product(a, b):
    """Return a b rounded to float32, and what rounding took off, in the product of the units of a and b (G2)."""
    product = fmul_rn(a, b)
    return product, fmaf_rn(a, b, -product)
