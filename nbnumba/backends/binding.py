"""Compiles the stages, and a driver that calls them, for one machine and one precision."""

from __future__ import annotations

import types
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from nbnumba.backends.compiling import FASTMATH, Compiled, cached_on_disk, with_globals
from nbnumba.backends.precision import PRECISIONS
from nbnumba.loops.patches import PATCH
from nbnumba.loops.rows import TILE
from nbnumba.stages import beam, crystal, culling, detector, elementary, lattice, pairs, pixel, structure, vec3

if TYPE_CHECKING:
    from nbnumba.backends.parts import KernelPart


def stages(precision: str) -> tuple[types.ModuleType, ...]:
    """The modules of stages, in the order of their dependence."""
    indices = (pairs, crystal) if PRECISIONS[precision].pairs else (crystal,)
    return (vec3, *indices, elementary, detector, beam, lattice, culling, structure, pixel)


_parts: dict[tuple, KernelPart] = {}
"""Every part of a kernel that was made, by its code, options, and all that its names mean: kernels share the equal ones."""


EXACT_QUOTIENTS = {"sample_offset"}
"""Stages whose quotients are rounded as they are written. Else two of them with one divisor may become products with its
inverse, so that a pixel's place would depend on what the compiler sees together."""


def stage_jit(function: Callable) -> Callable:
    """Compile a stage for the CPU, to be inlined into its driver."""
    return part(function, FASTMATH - {"arcp"} if function.__name__ in EXACT_QUOTIENTS else FASTMATH)


def loop_jit(function: Callable) -> Callable:
    """Compile a loop that calls stages for the CPU."""
    return part(function, forceinline=False)


def part(function: Callable, fastmath: frozenset[str] = FASTMATH, forceinline: bool = True, memory: bool = False) -> KernelPart:
    """A function compiled as a part of kernels; the same part for the same code under the same names.

    Numba types and lowers it once for all kernels of a process that have it, whatever their precision, culled or not. memory:
    it makes arrays; any other part takes arrays without counting references to them.
    """
    from nbnumba.backends.parts import KernelPart

    names = function.__globals__
    meanings = tuple((name, identity(names[name])) for name in names_in(function.__code__) if name in names)
    key = function.__code__, meanings, forceinline, fastmath, memory
    if key not in _parts:
        _parts[key] = KernelPart(function, forceinline=forceinline, fastmath=set(fastmath), _nrt=memory)
    return _parts[key]


def names_in(code: types.CodeType) -> Iterator[str]:
    """The names that code looks up, those of functions within it included."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from names_in(constant)


def identity(value) -> tuple:
    """What tells one meaning of a name from another: types and digits of numbers and of tuples, else the object itself."""
    if isinstance(value, tuple):
        return type(value), *(identity(item) for item in value)
    if isinstance(value, (int, float, np.generic)):
        return type(value), repr(value)
    return (id(value),)


def bind(modules: Iterable[types.ModuleType], jit: Callable, words: dict) -> dict:
    """The names that a driver sees: `words`, and every function of the modules, compiled by `jit` with those names.

    Words are the precisions `real` and `wide`, the machine's `ceil`, and functions that are already compiled; real constants
    of the modules become `wide`. Modules come in the order of their dependence. Names given in `words`, or
    found in an earlier module, win over later ones. A function comes after those of its module that it calls, so that all its
    names are known when it is compiled.
    """
    bound = dict(words)
    for module in modules:
        others = {n: _cast(v, words["wide"]) for n, v in vars(module).items() if not _is_stage(module, v)}
        bound = {**others, **bound}
        own = {name: function for name, function in vars(module).items() if _is_stage(module, function)}
        for name in own:
            _bind_function(name, own, jit, bound)
    return bound


def _bind_function(name: str, own: dict[str, types.FunctionType], jit: Callable, bound: dict) -> None:
    """Add a function of a module to `bound`, after those of the module that it calls. own: the functions of the module."""
    if name not in bound:
        for called in names_in(own[name].__code__):
            if called in own and called != name:
                _bind_function(called, own, jit, bound)
        bound[name] = jit(with_globals(own[name], bound, name))


def culling_words(culled: bool) -> dict:
    """Those words of the loops that depend on whether the scene is culled (F10a)."""
    run, searched = (PATCH, PATCH) if culled else (TILE, 2 * PATCH)
    return {"culled": culled, "ahead": True, "RUN": run, "SEARCHED": searched}


def driver(function: Callable, names: Callable[[], dict], precision: str, culled: bool, memory: bool = False) -> Compiled:
    """A driver function compiled with its stages, and kept on disk for as long as the package's sources do not change.

    names: returns what `bind` has bound, parts of a kernel; it is asked only when Numba is needed. memory: as in `part`.
    """
    name = f"{function.__name__}_{precision}{'_culled' if culled else ''}"
    return cached_on_disk(with_globals(function, function.__globals__, name), lambda: function.__globals__ | names(), memory)


def _is_stage(module, value) -> bool:
    return isinstance(value, types.FunctionType) and value.__module__ == module.__name__


def _cast(value, wide):
    if isinstance(value, float):
        return wide(value)
    if isinstance(value, tuple) and value and all(isinstance(v, float) for v in value):
        return tuple(wide(v) for v in value)
    return value
