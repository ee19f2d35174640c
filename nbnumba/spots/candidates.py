"""The reflections that may be excited in an image: those that a bound of all spreads does not keep off the sphere (F14b)."""

import math
from collections.abc import Iterator

import numpy as np

from nbnumba.errors import InputError
from nbnumba.setup.view import View, positions
from nbnumba.spots.ewald import Beam, swing
from nbnumba.spots.rays import places
from nbnumba.statements import StructureFactors

MOST_INDICES = 2 * 10**9
"""The largest number of Miller indices that are looked through; more take minutes."""

ROUNDING = 1e-9
"""By how much a bound is enlarged, for rounding."""


def finest_resolution(view: View) -> float:
    """Return the finest resolution that reaches a panel, in A: on its border, or in the middle of back-scattering (F14b)."""
    largest = 0.0
    for panel, (slow, fast) in zip(view.panels, view.shapes):
        rows, columns = np.arange(slow + 1.0), np.arange(fast + 1.0)
        sides = [(columns, np.full(fast + 1, y)) for y in (0.0, slow)] + [(np.full(slow + 1, x), rows) for x in (0.0, fast)]
        border = np.concatenate([positions(panel, *side) for side in sides])
        changes = border / np.linalg.norm(border, axis=1, keepdims=True) - view.direction
        largest = max(largest, float(np.linalg.norm(changes, axis=1).max()))
        behind = places(panel, -view.direction[np.newaxis], (slow, fast))[0]
        if (behind >= 0.0).all() and behind[0] <= fast and behind[1] <= slow:
            largest = 2.0
    return float(view.sources.wavelength.min()) / (largest * (1.0 + ROUNDING))


def listed(factors: StructureFactors, vectors: np.ndarray, finest: float) -> Iterator[np.ndarray]:
    """Yield all reflections (n, 3) that scatter and are no finer than a resolution, some at a time (F14b).

    vectors: a, b, c as rows, in A. finest: in A. Raises InputError for more than MOST_INDICES.
    """
    if factors.hkl is not None and factors.default_F == 0.0:
        yield np.unique(factors.hkl[factors.F != 0.0], axis=0).astype(np.int64)
        return
    most = np.floor(np.linalg.norm(vectors, axis=1) / finest).astype(np.int64)
    number = float(np.prod(2.0 * most + 1.0))
    if number > MOST_INDICES:
        why = f"{number:.3g} reflections to {finest:.4g} A have an amplitude"
        raise InputError(f"structure_factors.default_F: {why}; allowed: a list of reflections, or at most {MOST_INDICES:.3g}")
    k, l = (index.ravel() for index in np.mgrid[-most[1] : most[1] + 1, -most[2] : most[2] + 1])
    for h in range(-int(most[0]), int(most[0]) + 1):
        yield np.stack([np.full(len(k), h), k, l], axis=1)


def near_sphere(
    q: np.ndarray, spindle: np.ndarray, phi: tuple[float, float], beam: Beam, tilt: float, reach: float, finest: float
) -> np.ndarray:
    """Return whether reflections may be excited (n,): 000 never is, nor is one that is finer than a resolution (F14b).

    q (n, 3): reciprocal vectors at phi = 0, in 1/A. phi: the range, in radian. tilt: the largest angle by which a mosaic domain
    and a source together may be turned, in radian. reach: the distance at which a reflection is excited, in 1/A. finest: in A.
    """
    square = (q * q).sum(axis=1)
    inner, outer = _range_along_beam(q, spindle, phi, beam.direction)
    nearest, furthest = (
        np.sqrt(np.maximum(k * k + square + 2.0 * k * along, 0.0)) - k
        for k, along in ((1.0 / beam.shortest, inner), (1.0 / beam.longest, outer))
    )
    room = np.sqrt(square) * tilt + reach + ROUNDING / beam.shortest
    return (square > 0.0) & (square * finest * finest <= 1.0 + ROUNDING) & (nearest <= room) & (furthest >= -room)


def _range_along_beam(q, spindle, phi, incident) -> tuple[np.ndarray, np.ndarray]:
    """Return the smallest and the largest i . q of reflections (n, 3) within a range of phi, in 1/A (F14b)."""
    start, end = phi
    constant, size, top = swing(q, spindle, incident)
    ends = np.stack([size * np.cos(start - top), size * np.cos(end - top)])
    turn = 2.0 * math.pi
    has_top, has_bottom = ((start + np.mod(angle - start, turn)) <= end for angle in (top, top + math.pi))
    smallest, largest = np.where(has_bottom, -size, ends.min(axis=0)), np.where(has_top, size, ends.max(axis=0))
    return constant + smallest, constant + largest
