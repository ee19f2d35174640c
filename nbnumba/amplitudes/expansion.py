"""From the reflections of a file to all of P1: equivalents merged, absences left out, symmetry applied (F9d)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from nbnumba.formats.symmetry import Symmetry

MOST_INDEX = 2**20 - 1
"""The largest Miller index in size that a file may list: three of them fit in one whole number of 64 bits."""

IDENTITY = Symmetry("P 1", np.eye(3, dtype=np.int64)[np.newaxis], np.zeros((1, 3)))

SAME_PHASE = 1e-6
"""The part of a turn up to which a phase is a whole number of turns; translations are multiples of 1/24."""


class Merged(NamedTuple):
    """Reflections of which no two are equivalent: indices hkl (n, 3), values and sigmas (n,); sigmas may be None."""

    hkl: np.ndarray
    values: np.ndarray
    sigmas: np.ndarray | None


def key(hkl: np.ndarray) -> np.ndarray:
    """Return a whole number (n,) for each reflection hkl (n, 3), each another one; the order is that of h, then k, then l."""
    h, k, l = (hkl[:, axis].astype(np.int64) + 2**20 for axis in range(3))
    return (h << 42) | (k << 21) | l


def of_key(keys: np.ndarray) -> np.ndarray:
    """Return the indices (n, 3) of keys (n,)."""
    return np.stack([(keys >> shift & (2**21 - 1)) - 2**20 for shift in (42, 21, 0)], axis=-1)


def equivalents(hkl: np.ndarray, symmetry: Symmetry, friedel: bool) -> Iterator[np.ndarray]:
    """Yield the equivalents (n, 3) of reflections, h R by each different rotation, and their Friedel mates if asked for."""
    for rotation in np.unique(symmetry.rotations, axis=0):
        turned = hkl @ rotation
        yield turned
        if friedel:
            yield -turned


def absent(hkl: np.ndarray, symmetry: Symmetry) -> np.ndarray:
    """Return which reflections (n,) are absent by symmetry: h R = h and h t is no whole number for an operation (F9d)."""
    found = np.zeros(len(hkl), dtype=bool)
    for rotation, translation in zip(symmetry.rotations, symmetry.translations):
        phase = hkl @ translation
        found |= (hkl @ rotation == hkl).all(axis=1) & (np.abs(phase - np.rint(phase)) > SAME_PHASE)
    return found


def multiplicity(hkl: np.ndarray, symmetry: Symmetry) -> np.ndarray:
    """Return how many rotations (n,) leave each reflection as it is: its mean intensity is so many times others' (F9d)."""
    return np.sum([(turned == hkl).all(axis=1) for turned in equivalents(hkl, symmetry, False)], axis=0)


def centric(hkl: np.ndarray, symmetry: Symmetry) -> np.ndarray:
    """Return which reflections (n,) are equivalent to their Friedel mates, so that their phases are one of two (F9d)."""
    return np.any([(turned == -hkl).all(axis=1) for turned in equivalents(hkl, symmetry, False)], axis=0)


def merged(hkl: np.ndarray, values: np.ndarray, sigmas: np.ndarray | None, symmetry: Symmetry, friedel: bool) -> Merged:
    """Return one value for each set of equivalent reflections: the mean, weighed by 1 / sigma^2 where there are sigmas (F9d).

    friedel: whether Friedel mates are equivalent. The uncertainty of the mean is (sum of 1 / sigma^2)^(-1/2).
    """
    best = None
    for turned in equivalents(hkl, symmetry, friedel):
        keys = key(turned)
        best = keys if best is None else np.maximum(best, keys)
    found, place = np.unique(best, return_inverse=True)
    weights = np.ones(len(values)) if sigmas is None else 1.0 / sigmas**2
    total = np.bincount(place, weights)
    mean = np.bincount(place, weights * values) / total
    single = np.bincount(place) == 1
    last = np.zeros(len(found), dtype=np.int64)
    last[place] = np.arange(len(values))
    mean[single] = values[last[single]]  # so that no rounding changes what is listed once
    return Merged(of_key(found), mean, None if sigmas is None else np.sqrt(1.0 / total))


def expanded(hkl: np.ndarray, values: np.ndarray, symmetry: Symmetry) -> tuple[np.ndarray, np.ndarray, int]:
    """Return all reflections of P1 (m, 3), in the order of h, k and l, values (m,), and the number of mates filled in (F9d).

    hkl (n, 3), values (n,): reflections of which no two are equivalent. Every reflection has the value of its equivalent; one
    that has none has that of the equivalent of its Friedel mate.
    """
    turned = list(equivalents(hkl, symmetry, False))
    keys, first = np.unique(np.concatenate([key(one) for one in turned]), return_index=True)
    amplitudes = np.concatenate([values] * len(turned))[first]
    indices = of_key(keys)
    mates = key(-indices)
    lacking = ~np.isin(mates, keys)
    every = np.concatenate([keys, mates[lacking]])
    order = np.argsort(every)
    return of_key(every[order]), np.concatenate([amplitudes, amplitudes[lacking]])[order], int(np.count_nonzero(lacking))
