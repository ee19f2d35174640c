"""The reflections whose amplitudes many shots share: one for each set of equivalents (M1)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from nbnumba.amplitudes import expansion
from nbnumba.amplitudes.listed import Cell, in_sphere, inverse_squares
from nbnumba.formats.symmetry import Symmetry
from nbnumba.statements import StructureFactors

ABSENT = -1
"""The number of a reflection that is absent by symmetry, or beyond the resolution."""


class Unique(NamedTuple):
    """Unique reflections of a space group, and all of P1 that are equivalent to them.

    hkl (u, 3): one of each set of equivalents, in the order of their keys; Friedel mates are two sets where friedel_apart.
    inverse_squares (u,): 1 / d^2 in 1/A^2. centric (u,). multiplicity (u,): by which intensities are brighter in the mean.
    every (n, 3): all reflections of P1; number (n,): the unique one of each.
    """

    symmetry: Symmetry
    friedel_apart: bool
    hkl: np.ndarray
    inverse_squares: np.ndarray
    centric: np.ndarray
    multiplicity: np.ndarray
    every: np.ndarray
    number: np.ndarray

    @property
    def d_A(self) -> np.ndarray:
        """Resolution (u,)."""
        return 1.0 / np.sqrt(self.inverse_squares)

    def number_of(self, hkl: np.ndarray) -> np.ndarray:
        """The unique reflection (m,) of reflections hkl (m, 3), or ABSENT."""
        keys = representative(hkl, self.symmetry, self.friedel_apart)
        known = expansion.key(self.hkl)
        place = np.minimum(np.searchsorted(known, keys), len(known) - 1)
        return np.where(known[place] == keys, place, ABSENT)

    def listed(self, amplitudes: np.ndarray) -> StructureFactors:
        """The amplitudes (u,) of the unique reflections as the list of an experiment, without symmetry."""
        return StructureFactors(hkl=self.every, F=amplitudes[self.number], interpolate=False)

    def mates(self) -> tuple[np.ndarray, np.ndarray]:
        """The numbers of Friedel mates (pairs,), (pairs,), of which neither is centric; empty where they are one."""
        if not self.friedel_apart:
            return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
        other = self.number_of(-self.hkl)
        own = np.arange(len(other))
        return own[other > own], other[other > own]


def unique_of(cell: Cell, symmetry: Symmetry, resolution_A: float, friedel_apart: bool) -> Unique:
    """The unique reflections of a cell of at least a resolution, without those that the space group forbids."""
    every = in_sphere(cell, resolution_A)
    every = every[every.any(axis=1) & ~expansion.absent(every, symmetry)]
    keys, number = np.unique(representative(every, symmetry, friedel_apart), return_inverse=True)
    hkl = expansion.of_key(keys)
    return Unique(
        symmetry, friedel_apart, hkl, inverse_squares(hkl, cell), expansion.centric(hkl, symmetry),
        expansion.multiplicity(hkl, symmetry), every, number.ravel(),
    )  # fmt: skip


def representative(hkl: np.ndarray, symmetry: Symmetry, friedel_apart: bool) -> np.ndarray:
    """The largest key (n,) among the equivalents of each reflection."""
    best = None
    for turned in expansion.equivalents(hkl, symmetry, not friedel_apart):
        keys = expansion.key(turned)
        best = keys if best is None else np.maximum(best, keys)
    assert best is not None
    return best
