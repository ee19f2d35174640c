"""Machine code that is kept on disk between runs, and never stale (specs/forward.md, F0)."""

import hashlib
import types
from collections.abc import Callable
from functools import cache
from pathlib import Path

from numba import njit

FASTMATH = {"contract", "nsz", "arcp"}
"""Without "nnan" and "ninf": a comparison with NaN keeps its meaning. Without "reassoc": a sum keeps its order."""

SOURCES = (
    "nbnumba/stages/*.py",
    "nbnumba/backends/*.py",
    "nbnumba/rng.py",
    "nbnumba/noise.py",
    "adjoint/stages/*.py",
    "adjoint/backends/*.py",
)
"""The files that hold compiled functions and all that these import: a change anywhere else compiles nothing anew."""


def kept(function: Callable, **options) -> Callable:
    """A function compiled for the CPU, its machine code kept on disk under a name that holds the digest of the sources.

    Numba by itself would go on serving code that was compiled from an older version of a function that this one calls.
    """
    named = with_globals(function, function.__globals__, f"{function.__name__}_{source_digest()}")
    options = {"error_model": "numpy", "fastmath": FASTMATH} | options
    try:
        return njit(named, cache=True, **options)
    except RuntimeError:  # no folder to keep it in: compile it in every process
        return njit(named, **options)


def exact(function: Callable) -> Callable:
    """`kept`, with every operation rounded as it is written: for arithmetic that has to equal nanoBragg's bit for bit."""
    return kept(function, fastmath=False)


@cache
def source_digest() -> str:
    """Digest of the sources that compiled code depends on, of this package and of its neighbour adjoint."""
    root = Path(__file__).resolve().parent.parent.parent
    digest = hashlib.sha256()
    for path in sorted(path for pattern in SOURCES for path in root.glob(pattern)):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def with_globals(function: Callable, names: dict, name: str) -> Callable:
    """The same code under another name, looking up its globals in `names`."""
    made = types.FunctionType(function.__code__, names, name, function.__defaults__, function.__closure__)
    made.__qualname__, made.__module__, made.__doc__ = name, function.__module__, function.__doc__
    return made
