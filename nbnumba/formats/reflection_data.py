"""Reflections as a file of another program lists them, before symmetry is applied; and how gemmi's complaints are passed on."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np

from nbnumba.errors import InputError
from nbnumba.formats.symmetry import Symmetry

Cell = tuple[float, float, float, float, float, float]


class ReflectionData(NamedTuple):
    """Amplitudes or intensities of some reflections.

    hkl (n, 3): whole indices; the minus of a Friedel pair is listed at -h. values, sigmas (n,): amplitudes, or intensities,
    with their standard uncertainties, which may be None. intensities: which of the two. friedel: F(h) and F(-h) are one number
    here; else each is listed by itself. symmetry: None where the file states none, so that P1 is assumed. cell: in A and
    degrees; None where the file states none. notes: remarks for the user, each a clause.
    """

    hkl: np.ndarray
    values: np.ndarray
    sigmas: np.ndarray | None
    intensities: bool
    friedel: bool
    symmetry: Symmetry | None
    cell: Cell | None
    notes: tuple[str, ...]


class Columns(NamedTuple):
    """Columns that may serve: of values and of their uncertainties, as the file calls them; two of each for Friedel pairs."""

    values: tuple[str, ...]
    sigmas: tuple[str | None, ...]
    intensities: bool

    def __str__(self) -> str:
        return " and ".join(self.values)


def paired(hkl: np.ndarray, columns: list[np.ndarray]) -> tuple[np.ndarray, list[np.ndarray]]:
    """Return indices (2 n, 3) and columns (2 n,) of pairs: those of F(+) at h, those of F(-) at -h.

    columns: those of plus and of minus, one after the other, for values and then for uncertainties.
    """
    both = [np.concatenate(pair) for pair in zip(columns[0::2], columns[1::2])]
    return np.concatenate([hkl, -hkl]), both


def measured(data: ReflectionData) -> ReflectionData:
    """Return the data without reflections that have no value, with a remark that counts them. InputError: none has one."""
    has_value = np.isfinite(data.values)
    if not has_value.any():
        raise InputError("has no reflection with a value")
    sigmas = data.sigmas
    if sigmas is not None:
        has_value &= np.isfinite(sigmas) & (sigmas > 0.0) if data.intensities else True
        sigmas = sigmas[has_value]
    lost = len(has_value) - int(np.count_nonzero(has_value))
    notes = (*data.notes, f"{lost} of {len(has_value)} have no value") if lost else data.notes
    return data._replace(hkl=data.hkl[has_value], values=data.values[has_value], sigmas=sigmas, notes=notes)


def cell_of(numbers: object) -> Cell | None:
    """Return a cell as six floats; None for one that a file leaves out, as 0 0 0 or 1 1 1."""
    a, b, c, alpha, beta, gamma = (float(x) for x in numbers)  # type: ignore[attr-defined]
    return None if max(a, b, c) <= 1.0 else (a, b, c, alpha, beta, gamma)


@contextmanager
def by_gemmi(name: str, kind: str) -> Iterator[None]:
    """Turn what gemmi raises for a damaged file into an InputError: `name` cannot be read as `kind`, and why."""
    try:
        yield
    except InputError:
        raise
    except (RuntimeError, ValueError, IndexError, KeyError, MemoryError, OverflowError, UnicodeError) as error:
        why = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(f"{name} cannot be read as {kind}: {why}; allowed: an undamaged file") from None


@contextmanager
def as_file(content: bytes) -> Iterator[str]:
    """Yield the name of a file with this content, for a library that reads only files."""
    folder = tempfile.mkdtemp(prefix="nbnumba-")
    name = os.path.join(folder, "content")
    try:
        with open(name, "wb") as stream:
            stream.write(content)
        yield name
    finally:
        if os.path.exists(name):
            os.unlink(name)
        os.rmdir(folder)
