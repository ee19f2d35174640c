"""Numba as it is set up here: loaded when it is first needed; settings that it chokes on are told in a sentence."""

import os
import re
import subprocess
import sys
import warnings
from functools import cache
from types import ModuleType

from nbnumba.errors import InputError

MOST_THREADS = 4096
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


@cache
def load_numba() -> ModuleType:
    """Numba. Raises InputError for settings with which it would not load, or would not compile."""
    check_environment()
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            import numba
    except Exception as error:
        raise InputError(f"Numba cannot be loaded: {sentence(error)}; allowed: a Numba that loads by itself") from error
    for warning in caught:
        refused = REFUSED.match(str(warning.message))
        if refused:
            raise InputError(f"{refused[1]}={refused[2]} in the environment: Numba cannot read it; allowed: not set")
        warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
    if numba.config.DISABLE_JIT:
        why = "images would take hours in plain Python"
        raise InputError(f"NUMBA_DISABLE_JIT={numba.config.DISABLE_JIT} in the environment: {why}; allowed: 0, or not set")
    return numba


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
