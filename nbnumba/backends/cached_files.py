"""Files of machine code on disk: where they are, and how they are read and written whole or not at all (specs/forward.md, F0).

A file holds the SHA-256 of what follows it: the key of the code, and the code. The key is all that code depends on beside the
sources, whose digest is in its name. Numba need not be loaded for this.
"""

import contextlib
import hashlib
import os
import pickle
import re
import secrets
import sys
import time
from collections.abc import Iterator
from pathlib import Path

OURS = re.compile(r"\.?\w+_[0-9a-f]{12}-.*\.(nb[cio]|tmp)")
"""Names of files that were written here: machine code of any sources, and what a process that was killed has left."""
DAY, UNUSED = 86400.0, 30 * 86400.0
"""Seconds after which a use is noted again, and after which what nobody has used is removed."""


def folders() -> Iterator[Path]:
    """The folders that are searched: NUMBA_CACHE_DIR; if it is not usable, the sources' __pycache__ and the user's cache."""
    numba = sys.modules.get("numba")
    named = os.environ.get("NUMBA_CACHE_DIR", "") if numba is None else numba.config.CACHE_DIR
    if named:
        stated = Path(named) / "nbnumba"
        yield stated
        if usable(stated):
            return
    yield Path(__file__).resolve().parent / "__pycache__"
    users = users_cache()
    if users.is_absolute():  # a "~" that no home directory replaces would be a relative path
        yield users / "numba" / "nbnumba"


def users_cache() -> Path:
    """The folder in which programs keep what they can make anew, as the system has it."""
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or "~").expanduser()
    if sys.platform == "darwin":
        return Path(os.path.expanduser("~/Library/Caches"))
    return Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"))


def usable(folder: Path) -> bool:
    """Whether files can be made in a folder, which is made if need be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return os.access(folder, os.W_OK | os.X_OK)
    except (OSError, ValueError):
        return False


def name_of(function: str, key: tuple, ending: str) -> str:
    """The name of the file that holds the code of a function with that key."""
    return f"{function}-{hashlib.sha256(repr(key).encode()).hexdigest()[:16]}.{ending}"


def sealed(content: bytes) -> bytes:
    """The bytes of a file with that content, the pickled pair of a key and its code."""
    return hashlib.sha256(content).digest() + content


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


def keep(name: str, content: bytes) -> None:
    """Write a file to the first folder that takes it."""
    for folder in folders():
        if write(folder / name, sealed(content)):
            remove_unused(folder)
            return


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
