"""The box of structure-factor amplitudes that the kernels look up (F9)."""

import math
from collections.abc import Sequence

import numpy as np

from nbnumba.constants import HC_EV_A
from nbnumba.errors import InputError
from nbnumba.stages.records import Structure
from nbnumba.statements import StructureFactors

LARGEST_BOX = 2**31 - 2
"""The largest number of reflections in a box, so that an index of 4 bytes reaches the amplitude outside it, too."""

LARGE_BOX = 10**7
"""The number of amplitudes, of 8 bytes each, from which on a box that is nearly empty is warned of."""


SAME_ENERGY = 1e-9
"""Relative difference up to which the energy of a source is that of a row of amplitudes."""

NEVER = np.full(4, np.iinfo(np.int64).max)
"""The latch of a run that interpolates to its end (P8)."""


def box(factors: StructureFactors, smallest: float, wavelengths: np.ndarray | None = None) -> Structure:
    """Return the Structure record: all amplitudes between the smallest and largest h, k and l listed, in electrons (F9).

    smallest: the least number of unit cells along an edge of the crystal; up to two the amplitudes are interpolated by default
    (F9b). wavelengths (sources,): those of the sources in A, of which each has a box where amplitudes depend on the photon
    energy (F9f); None: those of the lowest energy. A reflection that is not listed has default_F, inside the box and outside.
    Of a reflection that is listed more than once the last amplitude counts. Raises InputError for 2^31 - 1 reflections or more.
    """
    if factors.hkl is None:
        return Structure(0.0, -1.0, 0.0, -1.0, 0.0, -1.0, 0.0, np.array([factors.default_F]), False, NEVER)
    indices = np.ascontiguousarray(factors.hkl.T)
    low, high = factors.span
    weights, box_of_source = np.ones((1, 1)), None
    if factors.energies_eV is not None:
        weights, box_of_source = energy_weights(factors.energies_eV, wavelengths)
    size = number_in_box(factors)
    if size * len(weights) > LARGEST_BOX:
        boxes = f", in each of {len(weights)} boxes, one for each wavelength" if len(weights) > 1 else ""
        raise InputError(f"structure_factors.hkl: the indices span {size} reflections{boxes}; allowed: at most {LARGEST_BOX}")
    amplitude = np.full(size * len(weights) + 1, factors.default_F, dtype=np.float64)
    by_box = amplitude[:-1].reshape(len(weights), size)
    rows, of_list = np.atleast_2d(factors.F), places(indices, low, high)
    for into, weight in zip(by_box, weights):
        into[of_list] = interpolated(rows, weight)
    bounds = [float(b) for pair in zip(low, high) for b in pair]
    built = Structure(*bounds, float(len(amplitude) - 1), amplitude, interpolates(factors, smallest), NEVER)
    return built if box_of_source is None or len(weights) == 1 else built._replace(first=size * box_of_source.astype(float))


def interpolated(rows: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Return the sum (n,) of the rows (energies, n) of amplitudes, each times its weight, at most two of which count (F9f)."""
    counted = np.flatnonzero(weight)
    if len(counted) == 1:
        return rows[counted[0]]
    return sum(weight[n] * rows[n] for n in counted)


def energy_weights(energies_eV: Sequence[float], wavelengths: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Return how boxes are made of the rows of F (boxes, energies), and which box each source has (sources,) (F9f).

    wavelengths (sources,): in A; None: of one source at the lowest energy. A box is that of a wavelength: linear between the
    energies on both sides, and beyond the ends that of the nearest. An energy within SAME_ENERGY of a row is that row's.
    """
    energies = np.asarray(energies_eV)
    if wavelengths is None:
        return np.eye(1, len(energies)), np.zeros(1, dtype=np.int64)
    distinct, box_of_source = np.unique(wavelengths, return_inverse=True)
    weights = np.zeros((len(distinct), len(energies)))
    for row, energy in zip(weights, HC_EV_A / distinct):
        nearest = int(np.argmin(np.abs(energies - energy)))
        if abs(energies[nearest] - energy) <= SAME_ENERGY * energy or not energies[0] < energy < energies[-1]:
            row[nearest] = 1.0
        else:
            above = int(np.searchsorted(energies, energy))
            part = (energy - energies[above - 1]) / (energies[above] - energies[above - 1])
            row[above - 1], row[above] = 1.0 - part, part
    return weights, box_of_source.ravel()


def number_of_boxes(factors: StructureFactors, wavelengths: int) -> int:
    """Return the number of boxes, for so many different wavelengths of sources (F9f)."""
    return 1 if factors.energies_eV is None else max(wavelengths, 1)


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


def amplitudes(box: Structure, hkl: np.ndarray, first: float | np.ndarray = 0.0) -> np.ndarray:
    """Return the amplitudes (n,) of reflections hkl (n, 3), in electrons (F9a); interpolated ones as at a reflection (F9b).

    first: where the box begins that counts, or that of each reflection (n,) (F9f).
    """
    low = [int(bound) for bound in (box.h_min, box.k_min, box.l_min)]
    high = [int(bound) for bound in (box.h_max, box.k_max, box.l_max)]
    edge = 2 if box.interpolate else 0
    inside = ((hkl >= np.array(low) + edge) & (hkl <= np.array(high) - edge)).all(axis=1)
    found = np.full(len(hkl), box.amplitude[-1])
    begins = np.broadcast_to(np.asarray(first, dtype=np.int64), len(hkl))[inside]
    found[inside] = box.amplitude[places(hkl[inside].T, low, high) + begins]
    return found


def first_at(box: Structure, wavelength_of_source: np.ndarray, wavelengths: np.ndarray) -> np.ndarray:
    """Return where the boxes begin (n,) of the sources whose wavelengths are nearest to some wavelengths (n,), in A (F9f)."""
    if box.first.size == 1:
        return np.zeros(len(wavelengths))
    order = np.argsort(wavelength_of_source, kind="stable")
    ordered = wavelength_of_source[order]
    above = np.clip(np.searchsorted(ordered, wavelengths), 1, len(ordered) - 1)
    nearer = above - (wavelengths - ordered[above - 1] < ordered[above] - wavelengths)
    return box.first[order[nearer]]


def indices(box: Structure, slots: np.ndarray) -> np.ndarray:
    """Return the Miller indices (..., 3), int32, of slots (...), as `places` has them; 0 0 0 for a slot below 0 (F9a)."""
    number = np.maximum(slots, 0.0).astype(np.int64)
    along_l, along_k = int(box.l_max - box.l_min + 1), int(box.k_max - box.k_min + 1)
    h, k, l = number // along_l // along_k + int(box.h_min), number // along_l % along_k + int(box.k_min), number % along_l
    found = np.stack([h, k, l + int(box.l_min)], axis=-1)
    return np.where(slots[..., np.newaxis] < 0.0, 0, found).astype(np.int32)
