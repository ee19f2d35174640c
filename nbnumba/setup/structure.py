"""The box of structure-factor amplitudes that the kernels look up (specs/forward.md, F9)."""

import math
from collections.abc import Sequence

import numpy as np

from nbnumba.errors import InputError
from nbnumba.stages.records import Structure
from nbnumba.statements import StructureFactors

LARGEST_BOX = 2**31 - 2

LARGE_BOX = 10**7
"""Amplitudes, of 8 bytes, from which on a box that is nearly empty is worth a word."""


NEVER = np.full(4, np.iinfo(np.int64).max)
"""The latch of a run that interpolates to its end (P8)."""


def box(factors: StructureFactors, smallest: float) -> Structure:
    """All amplitudes between the smallest and largest h, k and l listed; default_F where none is listed, inside and outside.

    smallest: the least number of unit cells along an edge of the crystal: up to two it is interpolated by default (F9b). Of a
    reflection that is listed more than once the last amplitude counts. Raises InputError for a box of 2^31 or more.
    """
    if factors.hkl is None:
        return Structure(0.0, -1.0, 0.0, -1.0, 0.0, -1.0, 0.0, np.array([factors.default_F]), False, NEVER)
    indices = np.ascontiguousarray(factors.hkl.T)
    low, high = span(factors)
    size = number_in_box(factors)
    if size > LARGEST_BOX:
        raise InputError(f"structure_factors.hkl: the indices span {size} reflections; allowed: at most {LARGEST_BOX}")
    amplitude = np.full(size + 1, factors.default_F, dtype=np.float64)
    amplitude[places(indices, low, high)] = factors.F
    bounds = [float(b) for pair in zip(low, high) for b in pair]
    return Structure(*bounds, float(size), amplitude, interpolates(factors, smallest), NEVER)


def span(factors: StructureFactors) -> tuple[list[int], list[int]]:
    """The smallest and the largest h, k and l of a list of reflections."""
    return factors.hkl.min(axis=0).tolist(), factors.hkl.max(axis=0).tolist()


def number_in_box(factors: StructureFactors) -> int:
    """The number of amplitudes in the box of a list of reflections; 0 without a list."""
    return 0 if factors.hkl is None else math.prod(last - first + 1 for first, last in zip(*span(factors)))


def spanned(factors: StructureFactors) -> str:
    """How large the box of a list of reflections is, in words."""
    low, high = span(factors)
    sides = ", ".join(f"{name} {first} to {last}" for name, first, last in zip("hkl", low, high))
    box = f"a box of {number_in_box(factors)} amplitudes, {8e-9 * number_in_box(factors):.3g} GB"
    return f"structure_factors.hkl: {len(factors.hkl)} reflections span {sides}, {box}"


def nearly_empty(factors: StructureFactors) -> list[str]:
    """A sentence for a box that is large and of which next to nothing is listed: an index may be a mistake."""
    if factors.hkl is None or number_in_box(factors) < max(LARGE_BOX, 1000 * len(factors.hkl)):
        return []
    return [f"{spanned(factors)}, of which most is default_F"]


def places(indices: np.ndarray, low: Sequence[int], high: Sequence[int]) -> np.ndarray:
    """F9a: where the amplitudes of reflections (3, n) stand in the flat list of a box (n,), as stages/structure.py:slot."""
    h, k, l = (x - first for x, first in zip(indices, low))
    return (h * (high[1] - low[1] + 1) + k) * (high[2] - low[2] + 1) + l


def interpolates(factors: StructureFactors, smallest: float) -> bool:
    """F9b: whether amplitudes are interpolated: as stated, or where the crystal is at most two cells wide."""
    return smallest <= 2 if factors.interpolate is None else factors.interpolate
