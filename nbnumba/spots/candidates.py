"""The reflections that may be excited in an image: those that a bound of all spreads does not keep off the sphere (F14b)."""

import math
from collections.abc import Callable

import numpy as np

from nbnumba.errors import InputError
from nbnumba.setup.view import View, positions
from nbnumba.spots.ewald import Beam, swing
from nbnumba.spots.rays import places
from nbnumba.statements import StructureFactors

MOST_CANDIDATES = 10**7
"""The largest number of reflections, or of cubes of them, that are looked at one by one."""

CUBES = (64, 8, 1)
"""The edges of the cubes of indices that are tested together."""

AT_ONCE = 1000
"""The number of cubes that are cut at once."""

ROUNDING = 1e-9
"""By how much a bound is enlarged, for rounding."""


def finest_resolution(view: View, displaced: float = 0.0) -> float:
    """Return the finest resolution that reaches a panel, in A: on its border, or in the middle of back-scattering (F14b).

    displaced: the distance of the crystal from the origin, in m, or more (F7e). A ray turns by no more than 2 |p| / |x|, as a
    unit vector, where its start moves by p from the origin and it still ends at x.
    """
    largest = 0.0
    for panel, (slow, fast) in zip(view.panels, view.shapes):
        rows, columns = np.arange(slow + 1.0), np.arange(fast + 1.0)
        sides = [(columns, np.full(fast + 1, y)) for y in (0.0, slow)] + [(np.full(slow + 1, x), rows) for x in (0.0, fast)]
        border = np.concatenate([positions(panel, *side) for side in sides])
        changes = border / np.linalg.norm(border, axis=1, keepdims=True) - view.direction
        turned = 2.0 * displaced / max(abs(panel.close_distance), ROUNDING * displaced) if displaced else 0.0
        largest = max(largest, min(float(np.linalg.norm(changes, axis=1).max()) + turned, 2.0))
        behind = places(panel, -view.direction[np.newaxis], (slow, fast))[0]
        if (behind >= 0.0).all() and behind[0] <= fast and behind[1] <= slow:
            largest = 2.0
    return float(view.sources.wavelength.min()) / (largest * (1.0 + ROUNDING))


def listed(factors: StructureFactors) -> np.ndarray | None:
    """Return the listed reflections (n, 3) that scatter, each once; None where others scatter, too (F9)."""
    if factors.hkl is None or factors.default_F != 0.0:
        return None
    return np.unique(factors.hkl[(np.atleast_2d(factors.F) != 0.0).any(axis=0)], axis=0).astype(np.int64)


def all_near(star: np.ndarray, vectors: np.ndarray, finest: float, is_near: Callable) -> np.ndarray:
    """Return all reflections (n, 3) that a test does not keep off (F14b).

    star: a*, b*, c* as rows, in 1/A. vectors: a, b, c as rows, in A. finest: the finest resolution, in A. is_near: a function
    of reciprocal vectors (n, 3) and a distance, in 1/A, that says whether any vector within that distance may be near. Cubes of
    indices are tested first, then the smaller cubes in those that may be near. Raises InputError for more than MOST_CANDIDATES.
    """
    most = np.floor(np.linalg.norm(vectors, axis=1) / finest).astype(np.int64)
    corners = [np.arange(-n, n + 1, CUBES[0]) for n in most.tolist()]
    _check(float(np.prod([float(len(corner)) for corner in corners])), finest)
    kept = np.stack(np.meshgrid(*corners, indexing="ij"), axis=-1).reshape(-1, 3)
    for edge, smaller in zip(CUBES, CUBES[1:]):
        within = np.stack(np.mgrid[0:edge:smaller, 0:edge:smaller, 0:edge:smaller], axis=-1).reshape(-1, 3)
        middle, found, number = (smaller - 1) / 2.0, [np.zeros((0, 3), np.int64)], 0
        signs = np.array([[1, 1, 1], [1, 1, -1], [1, -1, 1], [-1, 1, 1]])
        reach = middle * float(np.linalg.norm(signs @ star, axis=1).max())
        for first in range(0, len(kept), AT_ONCE):
            cubes = (kept[first : first + AT_ONCE, np.newaxis] + within).reshape(-1, 3)
            cubes = cubes[(cubes <= most).all(axis=1)]
            found.append(cubes[is_near((cubes + middle) @ star, reach)])
            number += len(found[-1])
            _check(number, finest)
        kept = np.concatenate(found)
    return kept


def _check(number: float, finest: float) -> None:
    """Raise InputError for too many candidates."""
    if number > MOST_CANDIDATES:
        why = f"more than {MOST_CANDIDATES:.3g} reflections, to {finest:.4g} A, have an amplitude and may be excited"
        raise InputError(f"structure_factors.default_F: {why}; allowed: a list of reflections, or a coarser beam.dmin_A")


def near_sphere(
    q: np.ndarray,
    spindle: np.ndarray,
    phi: tuple[float, float],
    beam: Beam,
    tilt: float,
    reach: float,
    finest: float,
    around: float = 0.0,
) -> np.ndarray:
    """Return whether reflections may be excited (n,): 000 never is, nor is one that is finer than a resolution (F14b).

    q (n, 3): reciprocal vectors at phi = 0, in 1/A. phi: the range, in radian. tilt: the largest angle by which a mosaic domain
    and a source together may be turned, in radian. reach: the distance at which a reflection is excited, in 1/A. finest: in A.
    around: whether any vector within this distance may be excited, in 1/A.
    """
    square = (q * q).sum(axis=1)
    length = np.sqrt(square)
    inner, outer = _range_along_beam(q, spindle, phi, beam.direction)
    nearest, furthest = (
        np.sqrt(np.maximum(k * k + square + 2.0 * k * along, 0.0)) - k
        for k, along in ((1.0 / beam.shortest, inner), (1.0 / beam.longest, outer))
    )
    room = (length + around) * tilt + reach + around + ROUNDING / beam.shortest
    coarse = (length - around) * finest <= 1.0 + ROUNDING
    return ((length > 0.0) | (around > 0.0)) & coarse & (nearest <= room) & (furthest >= -room)


def _range_along_beam(q, spindle, phi, incident) -> tuple[np.ndarray, np.ndarray]:
    """Return the smallest and the largest i . q of reflections (n, 3) within a range of phi, in 1/A (F14b)."""
    start, end = phi
    constant, size, top = swing(q, spindle, incident)
    ends = np.stack([size * np.cos(start - top), size * np.cos(end - top)])
    turn = 2.0 * math.pi
    has_top, has_bottom = ((start + np.mod(angle - start, turn)) <= end for angle in (top, top + math.pi))
    smallest, largest = np.where(has_bottom, -size, ends.min(axis=0)), np.where(has_top, size, ends.max(axis=0))
    return constant + smallest, constant + largest
