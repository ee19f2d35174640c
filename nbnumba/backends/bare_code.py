"""Machine code that runs without Numba, so that a small image need not wait until Numba is loaded (specs/forward.md, F0).

When Numba has compiled a function, the function alone, without what Python calls it by, is translated once more and kept as an
object file beside Numba's own. Later processes load that file by LLVM and call the function by its address, as long as they
have not loaded Numba for another reason. Nothing is kept that calls anything but functions of the C library, or that does not
take its arguments as `Arguments` passes them. In all such cases Numba loads, or compiles, the function as ever.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import pickle
import sys
from functools import cache
from pathlib import Path

import numpy as np

from nbnumba.backends import cached_files
from nbnumba.backends.numba_loading import usual_settings

C_FUNCTIONS = {
    "sin", "cos", "tan", "exp", "log", "pow", "sqrt", "floor", "ceil", "sinf", "cosf", "tanf", "expf", "logf", "powf", "sqrtf",
    "memset", "memcpy", "memmove",
}  # fmt: skip
"""The functions of the C library that machine code may call."""
NEVER_CALLED = "NRT_MemInfo_call_dtor"
"""What code of Numba's calls when the last owner of an array lets go of it. The arrays that are passed here have no owner."""
STUB = f"define void @{NEVER_CALLED}(ptr %0) {{\n  call void @llvm.trap()\n  unreachable\n}}\ndeclare void @llvm.trap()\n"
SUCCESS = (0, -2)
"""What a compiled function returns if no exception ended it: with a value, and with None."""

SCALARS = {bool: ("i8", ctypes.c_uint8), int: ("i64", ctypes.c_int64), float: ("double", ctypes.c_double)}
SCALARS |= {np.bool_: SCALARS[bool], np.float64: SCALARS[float], np.float32: ("float", ctypes.c_float)}
"""The type of LLVM's, and that of C, in which a number is passed."""
OWNERLESS = ("ptr", "ptr", "i64", "i64", "ptr")
"""The types that an array begins with: two owners, its size, the bytes of an element, its address. Shape and strides follow."""


class Arguments:
    """The arguments of a call as compiled functions take them: the numbers of tuples and arrays one after another.

    kinds: the types as text, by which compiled functions are told apart; None where an argument cannot be passed.
    """

    def __init__(self, args: tuple) -> None:
        self.types: list[str] = []
        self.values: list = []
        try:
            self.kinds = tuple(self._add(value) for value in args)
        except TypeError:
            self.kinds = None

    def _add(self, value) -> str:
        """Append a value, and return its kind."""
        if isinstance(value, np.ndarray):
            return self._add_array(value)
        if isinstance(value, tuple):
            return f"{type(value).__name__}({', '.join([self._add(part) for part in value])})"
        if type(value) not in SCALARS:
            raise TypeError(value)
        llvm_type, c_type = SCALARS[type(value)]
        self.types.append(llvm_type)
        self.values.append(c_type(value))
        return llvm_type

    def _add_array(self, array: np.ndarray) -> str:
        flags = array.flags
        if not (flags.c_contiguous and flags.writeable and flags.aligned and array.dtype.isnative):
            raise TypeError(array)
        self.types += [*OWNERLESS, *["i64"] * (2 * array.ndim)]
        numbers = [array.size, array.itemsize, ctypes.c_void_p(array.ctypes.data), *array.shape, *array.strides]
        self.values += [None, None, *(n if isinstance(n, ctypes.c_void_p) else ctypes.c_int64(n) for n in numbers)]
        return f"{array.dtype.str}[{array.ndim}]"


class BareCode:
    """A function that LLVM has loaded from an object file. Called with Arguments, it returns None, and frees Python's lock."""

    def __init__(self, symbol: str, content: bytes) -> None:
        import llvmlite.binding as llvm

        _begin(llvm)
        machine = llvm.Target.from_default_triple().create_target_machine(codemodel="jitdefault", jit=True)
        self.engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)
        self.engine.add_object_file(llvm.ObjectFileRef.from_data(content))
        self.engine.finalize_object()
        self.function = ctypes.CFUNCTYPE(ctypes.c_int32)(self.engine.get_function_address(symbol))

    def __call__(self, arguments: Arguments) -> None:
        result, exception = ctypes.c_void_p(), ctypes.c_void_p()
        status = self.function(ctypes.byref(result), ctypes.byref(exception), *arguments.values)
        if status not in SUCCESS:
            raise RuntimeError(f"a compiled function ended with status {status}")


def load(name: str, kinds: tuple) -> BareCode | None:
    """The function of a name, which holds the digest of the sources, for such arguments; None if it is not on disk."""
    key = _key(name, kinds)
    if key is None:
        return None
    for folder in cached_files.folders():
        payload = cached_files.read(folder / cached_files.name_of(name, key, "nbo"), key)
        if payload is not None:
            with contextlib.suppress(Exception):  # what LLVM does not load is left to Numba
                return BareCode(*payload)
    return None


def keep(name: str, arguments: Arguments, compiled) -> None:
    """Keep what Numba has compiled (a CompileResult) for such arguments, if it can run without Numba."""
    key = None if arguments.kinds is None else _key(name, arguments.kinds)
    if key is None or str(compiled.signature.return_type) != "none":
        return
    with contextlib.suppress(Exception):  # versions of Numba and LLVM differ in what is asked of them here
        content = _translated(compiled.library, compiled.fndesc.llvm_func_name, arguments.types)
        if content is not None:
            payload = compiled.fndesc.llvm_func_name, content
            cached_files.keep(cached_files.name_of(name, key, "nbo"), pickle.dumps((key, payload)))


def _translated(library, symbol: str, types: list[str]) -> bytes | None:
    """The object file of one function of a library of Numba's; None if it could not run alone, or takes other arguments."""
    import llvmlite.binding as llvm

    triple, cpu, features = library.codegen.magic_tuple()
    machine = llvm.Target.from_triple(triple).create_target_machine(
        cpu=cpu, features=features, opt=3, codemodel="jitdefault", jit=True
    )
    module = llvm.parse_assembly(library.get_llvm_str())
    if not types_agree(module.get_function(symbol), types):
        return None
    if any(function.name == NEVER_CALLED for function in module.functions):
        module.link_in(llvm.parse_assembly(STUB))
    for function in module.functions:
        if not function.is_declaration and function.name != symbol:
            function.linkage = "internal"
    passes = llvm.create_new_module_pass_manager()
    passes.add_global_dead_code_eliminate_pass()
    passes.run(module, llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options(speed_level=0)))
    called = {function.name for function in module.functions if function.is_declaration}
    if {name for name in called if not name.startswith("llvm.")} - C_FUNCTIONS:
        return None
    return machine.emit_object(module)


def types_agree(function, types: list[str]) -> bool:
    """Whether a function of LLVM takes a place for its result, one for an exception, and arguments of those types."""
    taken = ["ptr" if str(argument.type).endswith("*") else str(argument.type) for argument in function.arguments]
    return taken == ["ptr", "ptr", *types]


def _key(name: str, kinds: tuple) -> tuple | None:
    """All that bare code depends on beside the sources; None where it is not to be used."""
    if not usual_settings():
        return None
    import llvmlite
    import llvmlite.binding as llvm

    _begin(llvm)
    features = llvm.get_host_cpu_features().flatten()
    machine = llvm.get_default_triple(), llvm.get_host_cpu_name(), features
    return name, kinds, machine, _numba_version(), llvmlite.__version__, sys.implementation.cache_tag


@cache
def _numba_version() -> str:
    """What the installed Numba says of its version, read without loading it."""
    places = getattr(importlib.util.find_spec("numba"), "submodule_search_locations", None)
    return Path(places[0], "_version.py").read_text() if places else ""


@cache
def _begin(llvm) -> None:
    """Let LLVM know this machine. Later versions of llvmlite do the first step by themselves, and say so by an error."""
    for begin in (llvm.initialize, llvm.initialize_native_target, llvm.initialize_native_asmprinter):
        with contextlib.suppress(RuntimeError):
            begin()
