"""Functions that are compiled for the CPU when they are first called, and kept on disk, never stale (specs/forward.md, F0)."""

from __future__ import annotations

import hashlib
import logging
import os
import sys
import threading
import types
from collections.abc import Callable
from functools import cache, update_wrapper, wraps
from pathlib import Path

from nbnumba.backends import bare_code
from nbnumba.backends.bare_code import Arguments, BareCode
from nbnumba.backends.numba_loading import load_numba

FASTMATH = frozenset({"contract", "nsz", "arcp"})
"""Without "nnan" and "ninf": a comparison with NaN keeps its meaning. Without "reassoc": a sum keeps its order."""

SOURCES = (
    "nbnumba/stages/*.py",
    "nbnumba/loops/*.py",
    "nbnumba/backends/*.py",
    "nbnumba/constants.py",
    "nbnumba/crystal_names.py",
    "nbnumba/group_names.py",
    "nbnumba/rng.py",
    "nbnumba/noise.py",
    "adjoint/parameters.py",
    "adjoint/stages/*.py",
    "adjoint/loops/*.py",
    "adjoint/backends/*.py",
)
"""The files that hold compiled functions and all that these depend on. A change of another file compiles nothing anew."""

LOG = logging.getLogger("nbnumba.compiling")
"""The logger that receives a record before a function is compiled. The command line prints these records."""
_making = threading.RLock()


class Compiled:
    """A function for the CPU, compiled when it is first called, together with those that it calls and are of this class.

    What it calls is looked up among its globals, or, for a kernel, among what `names` returns, which holds its parts. large:
    compiling takes some seconds, so that the user is told. If the function is on disk as code that runs without Numba, and
    Numba is not loaded, that is what runs; such a function returns nothing.
    """

    def __init__(
        self, function: Callable, on_disk: bool, large: bool, options: dict, names: Callable[[], dict] | None = None
    ) -> None:
        self.function, self.on_disk, self.large, self.options, self.names = function, on_disk, large, options, names
        self.made = None
        self.bare: dict[tuple, BareCode] = {}
        update_wrapper(self, function)

    def __call__(self, *args):
        """What the function returns."""
        if self.made is not None:
            return self.made(*args)
        arguments = Arguments(args) if self.on_disk else None
        bare = self._bare(arguments)
        return self._by_numba(arguments, args) if bare is None else bare(arguments)

    def _bare(self, arguments: Arguments | None) -> BareCode | None:
        """The function without Numba, for such arguments; None where there is none."""
        if arguments is None or arguments.kinds is None:
            return None
        with _making:
            if arguments.kinds not in self.bare and "numba" not in sys.modules:
                loaded = bare_code.load(self.name(), arguments.kinds)
                if loaded is not None:
                    self.bare[arguments.kinds] = loaded
            return self.bare.get(arguments.kinds)

    def _by_numba(self, arguments: Arguments | None, args: tuple):
        """What the function returns, by Numba. If that compiles it, the function is kept as code that runs without Numba."""
        made = self.dispatcher()
        result = made(*args)
        signature = tuple(map(made.typeof_pyval, args))
        if arguments is not None and made.stats.cache_misses.get(signature):
            bare_code.keep(self.name(), arguments, made.overloads[signature])
        return result

    def name(self) -> str:
        """The name of the function with the digest of the sources, if it is kept on disk."""
        digest = source_digest() if self.on_disk else ""
        return f"{self.function.__name__}_{digest}" if digest else self.function.__name__

    def dispatcher(self) -> Callable:
        """Numba's dispatcher of the function, made once whichever threads ask for it."""
        with _making:
            if self.made is None:
                self.made = self._make()
        return self.made

    def _make(self):
        numba = load_numba()
        named = dict(self.function.__globals__ if self.names is None else self.names())
        called = [n for n in self.function.__code__.co_names if isinstance(named.get(n), Compiled)]
        named |= {name: named[name].dispatcher() for name in called}
        options = self.options if self.names is None else self.options | {"pipeline_class": _kernel_compiler()}
        made = numba.njit(with_globals(self.function, named, self.name()), **options)
        if self.on_disk and source_digest():
            from nbnumba.backends.disk_cache import DiskCache

            made._cache = DiskCache(made.py_func, self._tell)
        elif self.large:
            self._tell()
        return made

    def _tell(self) -> None:
        LOG.log(logging.INFO if self.large else logging.DEBUG, "compiling %s", self.function.__name__)


def _kernel_compiler() -> type:
    from nbnumba.backends.parts import KernelCompiler

    return KernelCompiler


def cached_on_disk(function: Callable, names: Callable[[], dict], memory: bool = False) -> Compiled:
    """A kernel for the CPU, its machine code kept on disk under a name that holds the digest of the sources.

    names: returns what the function finds among its globals, parts of kernels; it is asked only when Numba is needed. memory:
    it makes arrays, and counts references to them.

    Numba by itself would go on serving code that was compiled from an older version of a function that this one calls.
    """
    options = {"error_model": "numpy", "fastmath": set(FASTMATH), "nogil": True, "_nrt": memory}
    return Compiled(function, True, True, options, names)


def exact(function: Callable) -> Compiled:
    """A small function that is kept on disk. It rounds every operation as written, like nanoBragg.c, bit for bit."""
    return Compiled(function, True, False, {"error_model": "numpy"})


def inlined(function: Callable) -> Compiled:
    """A part of an `exact` function."""
    return Compiled(function, False, False, {"error_model": "numpy", "forceinline": True})


def _hold_over_fork() -> None:
    """Wait until no other thread makes a kernel, so that a child process finds the locks of that free, and kernels whole."""
    _making.acquire()
    of_numba = sys.modules.get("numba.core.compiler_lock")
    if of_numba is not None:
        of_numba.global_compiler_lock.acquire()
        _held.append(of_numba.global_compiler_lock)


def _release_after_fork() -> None:
    while _held:
        _held.pop().release()
    _making.release()


_held: list = []
"""Numba's lock, while a process forks."""

if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_hold_over_fork, after_in_parent=_release_after_fork, after_in_child=_release_after_fork)


def thread_safe_cache(make: Callable) -> Callable:
    """functools.cache for functions that make kernels: each argument is computed once, even if several threads ask at once."""
    cached = cache(make)

    @wraps(make)
    def computed_once(*args):
        with _making:
            return cached(*args)

    return computed_once


@cache
def source_digest() -> str:
    """Digest of the sources that compiled code depends on, of this package and of its neighbour adjoint; empty without them."""
    root = Path(__file__).resolve().parent.parent.parent
    digest = hashlib.sha256()
    try:
        paths = sorted(path for pattern in SOURCES for path in root.glob(pattern))
        for path in paths:
            digest.update(path.read_bytes())
    except OSError:
        return ""
    return digest.hexdigest()[:12] if paths else ""


def with_globals(function: Callable, names: dict, name: str) -> Callable:
    """The same code under another name, looking up its globals in `names`."""
    made = types.FunctionType(function.__code__, names, name, function.__defaults__, function.__closure__)
    made.__qualname__, made.__module__, made.__doc__ = name, function.__module__, function.__doc__
    return made
