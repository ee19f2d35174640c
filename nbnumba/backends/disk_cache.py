"""The cache of machine code on disk. Files are verified when they are read; failures count as missing (specs/forward.md, F0).

A file holds the SHA-256 of what follows it: the key of the code, and the code. The key is all that code depends on beside the
sources, whose digest is in its name.
"""

import contextlib
import hashlib
import os
import pickle
import re
import secrets
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import llvmlite
import numba
from numba.core import config
from numba.core.caching import NullCache
from numba.core.compiler import CompileResult
from numba.core.serialize import dumps
from numba.misc.appdirs import AppDirs

SETTINGS = ("OPT", "LOOP_VECTORIZE", "SLP_VECTORIZE", "BOUNDSCHECK", "DEBUGINFO_DEFAULT", "USING_SVML")
"""The settings of Numba that change the machine code."""
OURS = re.compile(r"\.?\w+_[0-9a-f]{12}-.*\.(nb[ci]|tmp)")
"""Names of files that were written here: machine code of any sources, and what a process that was killed has left."""
DAY, UNUSED = 86400.0, 30 * 86400.0
"""Seconds after which a use is noted again, and after which what nobody has used is removed."""


class DiskCache(NullCache):
    """What a dispatcher of Numba's loads its machine code from, and saves it to. `absent` is called before code is compiled."""

    def __init__(self, py_func: Callable, absent: Callable[[], None]) -> None:
        self.py_func, self.absent = py_func, absent

    @property
    def cache_path(self) -> str:
        """The folder that is searched first."""
        return str(next(folders(), ""))

    def load_overload(self, sig, target_context):
        """The compiled function of a signature; None where no file holds it whole."""
        target_context.refresh()
        key = self._key(sig, target_context.codegen())
        for folder in folders():
            payload = read(folder / self._name(key), key)
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
        content = dumps((key, data._reduce()))
        for folder in folders():
            if write(folder / self._name(key), hashlib.sha256(content).digest() + content):
                remove_unused(folder)
                return

    def _key(self, sig, codegen) -> tuple:
        settings = tuple(str(getattr(config, name, None)) for name in SETTINGS)
        versions = numba.__version__, llvmlite.__version__, sys.implementation.cache_tag, getattr(sys, "abiflags", "")
        return self.py_func.__module__, self.py_func.__qualname__, sig, codegen.magic_tuple(), settings, versions

    def _name(self, key) -> str:
        return f"{self.py_func.__name__}-{hashlib.sha256(repr(key).encode()).hexdigest()[:16]}.nbc"


def folders() -> Iterator[Path]:
    """The folders that are searched: NUMBA_CACHE_DIR; if it is not usable, the sources' __pycache__ and the user's cache."""
    if config.CACHE_DIR:
        stated = Path(config.CACHE_DIR) / "nbnumba"
        yield stated
        if usable(stated):
            return
    yield Path(__file__).resolve().parent / "__pycache__"
    users = Path(AppDirs(appname="numba", appauthor=False).user_cache_dir)
    if users.is_absolute():  # a "~" that no home directory replaces would be a relative path
        yield users / "nbnumba"


def usable(folder: Path) -> bool:
    """Whether files can be made in a folder, which is made if need be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return os.access(folder, os.W_OK | os.X_OK)
    except (OSError, ValueError):
        return False


def read(path: Path, key: tuple):
    """The code in a file, if its key is `key`; None if the file is missing, damaged, or has another key."""
    try:
        if not path.is_file():
            return None
        content = path.read_bytes()
        if hashlib.sha256(content[32:]).digest() != content[:32]:
            return None
        stored_key, payload = pickle.loads(content[32:])
        if stored_key != key:
            return None
    except Exception:  # whatever it is: the code is compiled anew
        return None
    with contextlib.suppress(OSError):
        if time.time() - path.stat().st_mtime > DAY:
            os.utime(path)
    return payload


def write(path: Path, content: bytes) -> bool:
    """Write a file, whole or not at all; whether it was written."""
    if not usable(path.parent):
        return False
    temporary = path.parent / f".{path.stem}-{secrets.token_hex(8)}.tmp"
    try:
        temporary.write_bytes(content)
        os.replace(temporary, path)
        return True
    except OSError:
        return False
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def remove_unused(folder: Path) -> None:
    """Remove what nobody has used for long: code of sources that have changed since, and what killed processes have left."""
    with contextlib.suppress(OSError):
        for path in folder.iterdir():
            with contextlib.suppress(OSError):
                if OURS.fullmatch(path.name) and time.time() - path.stat().st_mtime > UNUSED:
                    path.unlink()
