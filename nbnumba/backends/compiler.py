"""Compiles the stages, and a driver that calls them, for one machine and one precision."""

import hashlib
import types
from collections.abc import Callable, Iterable
from functools import lru_cache
from pathlib import Path

from numba import njit

from nbnumba.stages import beam, crystal, detector, lattice, pixel, structure, vec3

STAGES = (vec3, detector, beam, crystal, lattice, structure, pixel)
# Without "nnan" and "ninf": a comparison with NaN keeps its meaning. Without "reassoc": a sum keeps its order.
FASTMATH = {"contract", "nsz", "arcp"}


def stage_jit(function: Callable) -> Callable:
    """Compile a stage for the CPU, to be inlined into its driver."""
    return njit(function, error_model="numpy", forceinline=True, fastmath=FASTMATH)


def loop_jit(function: Callable) -> Callable:
    """Compile a loop that calls stages for the CPU."""
    return njit(function, error_model="numpy", fastmath=FASTMATH)


def bind(modules: Iterable[types.ModuleType], jit: Callable, words: dict) -> dict:
    """The names that a driver sees: `words`, and every function of the modules, compiled by `jit` with those names.

    Words are the working precision `real`, the machine's `ceil`, and functions that are already compiled; real constants of
    the modules become `real`. Modules come in the order of their dependence; names are unique over all of them.
    """
    bound = dict(words)
    for module in modules:
        others = {n: _cast(v, words["real"]) for n, v in vars(module).items() if not _is_stage(module, v)}
        bound = {**others, **bound}
        for name, function in vars(module).items():
            if _is_stage(module, function):
                bound[name] = jit(_with_globals(function, bound, name))
    return bound


def driver(function: Callable, bound: dict, precision: str, **options) -> Callable:
    """A driver function compiled with its stages, and kept on disk for as long as the package's sources do not change.

    The name of the file on disk holds a digest of all kernel sources: Numba by itself would go on serving machine code
    that was compiled from an older version of a stage (specs/forward.md, F0).
    """
    name = f"{function.__name__}_{precision}_{source_digest()}"
    made = _with_globals(function, {**function.__globals__, **bound}, name)
    try:
        return njit(made, cache=True, error_model="numpy", fastmath=FASTMATH, **options)
    except RuntimeError:  # no folder to keep it in: compile it in every process
        return njit(made, error_model="numpy", fastmath=FASTMATH, **options)


@lru_cache(maxsize=None)
def source_digest() -> str:
    """Digest of the sources that compiled code depends on."""
    package = Path(__file__).resolve().parent.parent
    digest = hashlib.sha256()
    for path in sorted([*package.glob("stages/*.py"), *package.glob("backends/*.py")]):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def _is_stage(module, value) -> bool:
    return isinstance(value, types.FunctionType) and value.__module__ == module.__name__


def _cast(value, real):
    if isinstance(value, float):
        return real(value)
    if isinstance(value, tuple) and value and all(isinstance(v, float) for v in value):
        return tuple(real(v) for v in value)
    return value


def _with_globals(function, names, name):
    made = types.FunctionType(function.__code__, names, name, function.__defaults__, function.__closure__)
    made.__qualname__, made.__module__, made.__doc__ = name, function.__module__, function.__doc__
    return made
