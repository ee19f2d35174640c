"""What a dispatcher of Numba's loads its machine code from, and saves it to (specs/forward.md, F0)."""

import contextlib
import sys
from collections.abc import Callable

import llvmlite
import numba
from numba.core import config
from numba.core.caching import NullCache
from numba.core.compiler import CompileResult
from numba.core.serialize import dumps

from nbnumba.backends import cached_files

SETTINGS = ("OPT", "LOOP_VECTORIZE", "SLP_VECTORIZE", "BOUNDSCHECK", "DEBUGINFO_DEFAULT", "USING_SVML")
"""The settings of Numba that change the machine code."""


class DiskCache(NullCache):
    """The machine code of one function on disk. `absent` is called before code is compiled."""

    def __init__(self, py_func: Callable, absent: Callable[[], None]) -> None:
        self.py_func, self.absent = py_func, absent

    @property
    def cache_path(self) -> str:
        """The folder that is searched first."""
        return str(next(cached_files.folders(), ""))

    def load_overload(self, sig, target_context):
        """The compiled function of a signature; None where no file holds it whole."""
        target_context.refresh()
        key = self._key(sig, target_context.codegen())
        for folder in cached_files.folders():
            payload = cached_files.read(folder / self._name(key), key)
            if payload is not None:
                with contextlib.suppress(Exception):  # Numba may fail to rebuild what it has written
                    return CompileResult._rebuild(target_context, *payload)
        self.absent()
        return None

    def save_overload(self, sig, data) -> None:
        """Keep a compiled function in the first folder that takes it."""
        if data.library.has_dynamic_globals or any(not lifted_loop.can_cache for lifted_loop in data.lifted):
            return
        key = self._key(sig, data.codegen)
        cached_files.keep(self._name(key), dumps((key, data._reduce())))

    def _key(self, sig, codegen) -> tuple:
        settings = tuple(str(getattr(config, name, None)) for name in SETTINGS)
        versions = numba.__version__, llvmlite.__version__, sys.implementation.cache_tag, getattr(sys, "abiflags", "")
        return self.py_func.__module__, self.py_func.__qualname__, sig, codegen.magic_tuple(), settings, versions

    def _name(self, key) -> str:
        return cached_files.name_of(self.py_func.__name__, key, "nbc")
