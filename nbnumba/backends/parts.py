"""The parts of a kernel: functions that Numba types one by one; only the kernel with all of them becomes machine code.

No part writes to an array that it also has under another name, and so LLVM is told: else it would not keep in registers what a
loop reads from one array and writes to another.

Numba by itself makes of every function that another one calls a library of its own, optimized and ready to be called, with all
functions that it calls in turn: what lies deep in a kernel would be optimized once for every level above it.
"""

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property

from llvmlite.binding import Linkage
from numba import njit
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import Compiler
from numba.core.registry import CPUDispatcher
from numba.core.types import unliteral


class PartLibrary(JITCodeLibrary):
    """The code of a part and of what it calls, as it was written: neither optimized nor made machine code."""

    @property
    def codegen(self):
        """What Numba tells of the environment of a function that can be called, which a part is not: this object."""
        return self

    def set_env(self, name, environment) -> None:
        """Tell machine code, of which there is none, about its environment."""

    def enable_object_caching(self) -> None:
        """Keep the machine code, of which there is none."""

    def get_pointer_to_function(self, name: str) -> int:
        """The address of a function: 0, because it has none."""
        self._ensure_finalized()
        return 0

    def _optimize_final_module(self) -> None:
        pass

    def _finalize_final_module(self) -> None:
        self._finalize_dynamic_globals()
        self._finalized = True


class KernelLibrary(JITCodeLibrary):
    """The code of a kernel with all of its parts, which no other code sees.

    Parts of two kernels may have the same name and not the same code. The linker would take either for both, so that a kernel
    might run the parts of another.
    """

    def _optimize_final_module(self) -> None:
        for function in self._final_module.functions:
            if not function.is_declaration and function.linkage == Linkage.linkonce_odr:
                function.linkage = Linkage.internal
        super()._optimize_final_module()


class PartCompiler(Compiler):
    """Numba's compiler, for parts."""

    library = PartLibrary

    def define_pipelines(self) -> list:
        """Numba's passes, which fill the library that is made here."""
        self.state.flags.noalias = True
        self.state.library = self.library(self.state.targetctx.codegen(), self.state.func_id.func_qualname)
        self.state.library.enable_object_caching()
        return super().define_pipelines()


class KernelCompiler(PartCompiler):
    """Numba's compiler, for kernels."""

    library = KernelLibrary

    def compile_extra(self, func):
        """What Numba calls to compile a function."""
        with rare_collection():
            return super().compile_extra(func)


RARE = 20_000, 50, 1000
"""The thresholds of gc.set_threshold while a kernel is compiled."""
_collection = threading.Lock()
_usual: list[tuple[int, int, int]] = []
"""The usual thresholds, once for each kernel that is being compiled."""


@contextmanager
def rare_collection() -> Iterator[None]:
    """Let Python look for garbage rarely: a compiler makes many objects that live on, and looking at them takes a sixth."""
    with _collection:
        _usual.append(_usual[-1] if _usual else gc.get_threshold())
        gc.set_threshold(*(n if n == 0 else max(n, rare) for n, rare in zip(_usual[-1], RARE)))
    try:
        yield
    finally:
        with _collection:
            usual = _usual.pop()
            if not _usual:
                gc.set_threshold(*usual)


class KernelPart(CPUDispatcher):
    """A part of a kernel. Python may call it too; it is then compiled by itself."""

    def __init__(self, function, **options) -> None:
        self.options = {"error_model": "numpy", **options}
        own = {"nopython": True, "boundscheck": None, "no_cpython_wrapper": True, "no_cfunc_wrapper": True, **self.options}
        super().__init__(function, targetoptions=own, pipeline_class=PartCompiler)

    def get_call_template(self, args, kws):
        """What Numba's typing asks for: a constant is a number like others, so that no part is compiled once for each."""
        return super().get_call_template(tuple(map(unliteral, args)), {name: unliteral(kind) for name, kind in kws.items()})

    @cached_property
    def alone(self):
        """The function as Python can call it."""
        return njit(self.py_func, **self.options)

    def __call__(self, *args):
        """What the function returns."""
        return self.alone(*args)
