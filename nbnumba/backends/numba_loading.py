"""Numba as it is set up here: loaded when it is first needed; settings that it chokes on are told in a sentence."""

import importlib
import os
import re
import subprocess
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from types import ModuleType

from nbnumba.errors import InputError

MOST_THREADS = 4096
NOT_OF_CODE = {"NUMBA_NUM_THREADS", "NUMBA_CACHE_DIR", "NUMBA_ENABLE_CUDASIM"}
"""The settings in the environment on which machine code does not depend."""
REFUSED = re.compile(r"Environment variable '(NUMBA_\w+)' is defined but its associated value '(.*?)'")
"""How Numba warns of settings that it cannot read."""
TRY_CPU = """
import os
import llvmlite.binding as llvm
for begin in ("initialize", "initialize_native_target"):
    try:
        getattr(llvm, begin)()
    except RuntimeError:
        pass
name, features = os.environ.get("NUMBA_CPU_NAME", ""), os.environ.get("NUMBA_CPU_FEATURES", "")
llvm.Target.from_default_triple().create_target_machine(cpu=name, features=features)
"""
"""Makes what Numba makes of NUMBA_CPU_NAME and NUMBA_CPU_FEATURES, on which LLVM complains on stderr, or ends the process."""


_linear_algebra = [True]


def leave_out_linear_algebra() -> None:
    """Let Numba do without linear algebra, of which no kernel has any: it would load all of scipy.linalg, only to look for it.

    This is for a process that runs nothing but this program: in others, somebody's compiled function may want it.
    """
    _linear_algebra[0] = False


@contextmanager
def _looking_for_linear_algebra() -> Iterator[None]:
    """After this block, in which Numba is imported, Numba has looked for it, or has been told that there is none."""
    yield
    if not _linear_algebra[0] and "scipy.linalg" not in sys.modules:
        sys.modules["scipy.linalg"] = None
        try:
            importlib.import_module("numba.np.arraymath")
        finally:
            del sys.modules["scipy.linalg"]


@cache
def load_numba() -> ModuleType:
    """Numba. Raises InputError for settings with which it would not load, or would not compile."""
    check_environment()
    try:
        with warnings.catch_warnings(record=True) as caught, _looking_for_linear_algebra():
            warnings.simplefilter("always")
            import numba
    except Exception as error:
        raise InputError(f"Numba cannot be loaded: {sentence(error)}; allowed: a Numba that loads by itself") from error
    for warning in caught:
        refused = REFUSED.match(str(warning.message))
        if refused:
            where = "the environment" if refused[1] in os.environ else ".numba_config.yaml"
            raise InputError(f"{refused[1]}={refused[2]} in {where}: Numba cannot read it; allowed: not set")
        warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
    if numba.config.DISABLE_JIT:
        why = "images would take hours in plain Python"
        raise InputError(f"NUMBA_DISABLE_JIT={numba.config.DISABLE_JIT} in the environment: {why}; allowed: 0, or not set")
    return numba


def usual_settings() -> bool:
    """Whether nothing is set here that changes what Numba compiles, so that code from disk can run without Numba."""
    stated = {name for name in os.environ if name.startswith("NUMBA_")}
    return stated <= NOT_OF_CODE and not os.path.exists(".numba_config.yaml")


def check_settings() -> None:
    """Raise InputError for settings with which Numba would not load, which is tried where they are not the usual ones."""
    if usual_settings():
        check_environment()
    else:
        load_numba()


def check_environment() -> None:
    """Raise InputError for settings in the environment that Numba or LLVM would end on."""
    threads = os.environ.get("NUMBA_NUM_THREADS", "1").strip()
    if not (threads.isdecimal() and 1 <= int(threads) <= MOST_THREADS):
        allowed = f"a whole number of 1 to {MOST_THREADS}, or not set"
        raise InputError(f"NUMBA_NUM_THREADS={threads} in the environment is not a number of threads; allowed: {allowed}")
    stated = [f"{name}={os.environ[name]}" for name in ("NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES") if os.environ.get(name)]
    if stated and stated != ["NUMBA_CPU_NAME=generic"]:
        done = subprocess.run([sys.executable, "-c", TRY_CPU], capture_output=True, text=True, stdin=subprocess.DEVNULL)
        if done.returncode != 0 or "not a recognized" in done.stderr:
            allowed = "names that LLVM knows, or not set"
            raise InputError(f"{', '.join(stated)} in the environment is no CPU that code can be made for; allowed: {allowed}")


def sentence(error: Exception) -> str:
    """The first line of what an exception says."""
    return next((line.strip(" .") for line in str(error).splitlines() if line.strip()), type(error).__name__)
