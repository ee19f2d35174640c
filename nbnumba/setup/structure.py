"""The box of structure-factor amplitudes that the kernels look up (F9)."""

import math
from collections.abc import Sequence

import numpy as np

from nbnumba.errors import InputError
from nbnumba.stages.records import Structure
from nbnumba.statements import StructureFactors

LARGEST_BOX = 2**31 - 2
"""The largest number of reflections in a box, so that an index of 4 bytes reaches the amplitude outside it, too."""

LARGE_BOX = 10**7
"""The number of amplitudes, of 8 bytes each, from which on a box that is nearly empty is warned of."""


NEVER = np.full(4, np.iinfo(np.int64).max)
"""The latch of a run that interpolates to its end (P8)."""


def box(factors: StructureFactors, smallest: float) -> Structure:
    """Return the Structure record: all amplitudes between the smallest and largest h, k and l listed, in electrons (F9).

    smallest: the least number of unit cells along an edge of the crystal; up to two the amplitudes are interpolated by default
    (F9b). A reflection that is not listed has default_F, inside the box and outside. Of a reflection that is listed more than
    once the last amplitude counts. Raises InputError for a box of 2^31 - 1 reflections or more.
    """
    if factors.hkl is None:
        return Structure(0.0, -1.0, 0.0, -1.0, 0.0, -1.0, 0.0, np.array([factors.default_F]), False, NEVER)
    indices = np.ascontiguousarray(factors.hkl.T)
    low, high = factors.span
    size = number_in_box(factors)
    if size > LARGEST_BOX:
        raise InputError(f"structure_factors.hkl: the indices span {size} reflections; allowed: at most {LARGEST_BOX}")
    amplitude = np.full(size + 1, factors.default_F, dtype=np.float64)
    amplitude[places(indices, low, high)] = factors.F
    bounds = [float(b) for pair in zip(low, high) for b in pair]
    return Structure(*bounds, float(size), amplitude, interpolates(factors, smallest), NEVER)


def number_in_box(factors: StructureFactors) -> int:
    """Return the number of amplitudes in the box of a list of reflections; 0 without a list (F9)."""
    return 0 if factors.hkl is None else math.prod(last - first + 1 for first, last in zip(*factors.span))


def spanned(factors: StructureFactors) -> str:
    """Return a clause on the size of the box of a list of reflections."""
    low, high = factors.span
    sides = ", ".join(f"{name} {first} to {last}" for name, first, last in zip("hkl", low, high))
    box = f"a box of {number_in_box(factors)} amplitudes, {8e-9 * number_in_box(factors):.3g} GB"
    return f"structure_factors.hkl: {len(factors.hkl)} reflections span {sides}, {box}"


def nearly_empty(factors: StructureFactors) -> list[str]:
    """Return a sentence for a large box of which next to nothing is listed, because an index may be a mistake."""
    if factors.hkl is None or number_in_box(factors) < max(LARGE_BOX, 1000 * len(factors.hkl)):
        return []
    return [f"{spanned(factors)}, of which most is default_F"]


def places(indices: np.ndarray, low: Sequence[int], high: Sequence[int]) -> np.ndarray:
    """Return the indices (n,) of the amplitudes of reflections in the list of a box, as stages/structure.py:slot does (F9a).

    indices (3, n): h, k and l. low, high: smallest and largest h, k and l of the box.
    """
    h, k, l = (x - first for x, first in zip(indices, low))
    return (h * (high[1] - low[1] + 1) + k) * (high[2] - low[2] + 1) + l


def interpolates(factors: StructureFactors, smallest: float) -> bool:
    """Return whether amplitudes are interpolated: as stated, or where the crystal is at most two unit cells wide (F9b).

    smallest: the least number of unit cells along an edge of the crystal.
    """
    return smallest <= 2 if factors.interpolate is None else factors.interpolate


def amplitudes(box: Structure, hkl: np.ndarray) -> np.ndarray:
    """Return the amplitudes (n,) of reflections hkl (n, 3), in electrons (F9a); interpolated ones as at a reflection (F9b)."""
    low = [int(bound) for bound in (box.h_min, box.k_min, box.l_min)]
    high = [int(bound) for bound in (box.h_max, box.k_max, box.l_max)]
    edge = 2 if box.interpolate else 0
    inside = ((hkl >= np.array(low) + edge) & (hkl <= np.array(high) - edge)).all(axis=1)
    found = np.full(len(hkl), box.amplitude[-1])
    found[inside] = box.amplitude[places(hkl[inside].T, low, high)]
    return found


def indices(box: Structure, slots: np.ndarray) -> np.ndarray:
    """Return the Miller indices (..., 3), int32, of slots (...), as `places` has them; 0 0 0 for a slot below 0 (F9a)."""
    number = np.maximum(slots, 0.0).astype(np.int64)
    along_l, along_k = int(box.l_max - box.l_min + 1), int(box.k_max - box.k_min + 1)
    h, k, l = number // along_l // along_k + int(box.h_min), number // along_l % along_k + int(box.k_min), number % along_l
    found = np.stack([h, k, l + int(box.l_min)], axis=-1)
    return np.where(slots[..., np.newaxis] < 0.0, 0, found).astype(np.int32)
