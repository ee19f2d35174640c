"""Compiles the stages, and a driver that calls them, for one machine and one precision."""

import types
from collections.abc import Callable, Iterable

from numba import njit

from nbnumba.backends.compiling import FASTMATH, cached_on_disk, with_globals
from nbnumba.backends.precision import PRECISIONS
from nbnumba.loops.patches import PATCH
from nbnumba.loops.rows import TILE
from nbnumba.stages import beam, crystal, culling, detector, elementary, lattice, pairs, pixel, structure, vec3


def stages(precision: str) -> tuple[types.ModuleType, ...]:
    """The modules of stages, in the order of their dependence."""
    indices = (pairs, crystal) if PRECISIONS[precision].pairs else (crystal,)
    return (vec3, *indices, elementary, detector, beam, lattice, culling, structure, pixel)


def stage_jit(function: Callable) -> Callable:
    """Compile a stage for the CPU, to be inlined into its driver."""
    return njit(function, error_model="numpy", forceinline=True, fastmath=FASTMATH)


def loop_jit(function: Callable) -> Callable:
    """Compile a loop that calls stages for the CPU."""
    return njit(function, error_model="numpy", fastmath=FASTMATH)


def bind(modules: Iterable[types.ModuleType], jit: Callable, words: dict) -> dict:
    """The names that a driver sees: `words`, and every function of the modules, compiled by `jit` with those names.

    Words are the precisions `real` and `wide`, the machine's `ceil`, and functions that are already compiled; real constants
    of the modules become `wide`. Modules come in the order of their dependence. Names given in `words`, or
    found in an earlier module, win over later ones.
    """
    bound = dict(words)
    for module in modules:
        others = {n: _cast(v, words["wide"]) for n, v in vars(module).items() if not _is_stage(module, v)}
        bound = {**others, **bound}
        for name, function in vars(module).items():
            if _is_stage(module, function) and name not in bound:
                bound[name] = jit(with_globals(function, bound, name))
    return bound


def culling_words(culled: bool) -> dict:
    """Those words of the loops that depend on whether the scene is culled (F10a)."""
    return {"culled": culled, "ahead": True, "RUN": PATCH if culled else TILE}


def driver(function: Callable, bound: dict, precision: str, parallel: bool) -> Callable:
    """A driver function compiled with its stages, and kept on disk for as long as the package's sources do not change.

    parallel: whether Numba's threads share its loops over prange; otherwise one thread runs them.
    """
    name = f"{function.__name__}_{precision}{'_culled' if bound['culled'] else ''}{'' if parallel else '_alone'}"
    return cached_on_disk(with_globals(function, {**function.__globals__, **bound}, name), parallel=parallel).dispatcher()


def _is_stage(module, value) -> bool:
    return isinstance(value, types.FunctionType) and value.__module__ == module.__name__


def _cast(value, wide):
    if isinstance(value, float):
        return wide(value)
    if isinstance(value, tuple) and value and all(isinstance(v, float) for v in value):
        return tuple(wide(v) for v in value)
    return value
