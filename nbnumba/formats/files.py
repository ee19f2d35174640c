"""Whole files: reading them with clear errors, and writing them so that a failure leaves the old file as it was."""

from __future__ import annotations

import errno
import gzip
import os
import re
import secrets
import stat
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO

from nbnumba.errors import InputError

PathName = str | os.PathLike[str]

_GZIP_MAGIC = b"\x1f\x8b"
_STANDARD_STREAM = re.compile(r"/dev/(stdout|stderr)")
_DESCRIPTOR = re.compile(r"/(?:dev|proc/self)/fd/([0-9]+)")
_STORAGE_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}


def read_bytes(path: PathName, what: str) -> bytes:
    """Return the content of the file `path`.

    `what` is the flag or field that named the file, for the message. A file that is missing, is a directory or
    cannot be read is an InputError.
    """
    name = os.fspath(path)
    try:
        with open(name, "rb") as stream:
            return stream.read()
    except FileNotFoundError as error:
        raise InputError(f"{what}: no such file {name!r}") from error
    except IsADirectoryError as error:
        raise InputError(f"{what}: {name!r} is a directory, not a file") from error
    except (OSError, ValueError) as error:
        raise InputError(f"{what}: cannot read {name!r}: {_reason(error)}") from error


def read_text(path: PathName, what: str) -> str:
    """Return the text of the file `path`, with "\\n" as its only line end, uncompressing a gzip file.

    gzip is recognised by its first two bytes, whatever the file is called. Bytes that are no UTF-8 become U+FFFD.
    InputError as for read_bytes, and for a damaged gzip file.
    """
    content = read_bytes(path, what)
    if content.startswith(_GZIP_MAGIC):
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError, zlib.error) as error:
            raise InputError(f"{what}: {os.fspath(path)!r} is a damaged gzip file: {error}") from error
    text = content.decode("utf-8-sig", errors="replace")
    return text.replace("\r\n", "\n").replace("\r", "\n")


@contextmanager
def replacing(path: PathName, what: str = "output file") -> Iterator[BinaryIO]:
    """Yield a binary stream whose content becomes the file `path` when the block ends without an exception.

    The stream is a new file in the directory of `path`, and `stream.name` is its path, for libraries that write
    to a path. After an exception it is removed, and a file that was there before is untouched. The file gets the
    mode of the one that it replaces, else what open() would give it. A symbolic link stays, its target is replaced.
    What exists and is no regular file (/dev/null, a pipe) and the standard streams (/dev/stdout) are written
    directly. InputError, naming `what`: no such directory, not writable, `path` is a directory, the disk is full.
    """
    name = os.fspath(path)
    try:
        stream = _open_directly(name)
        if stream is not None:
            with stream:
                yield stream
            return
    except OSError as error:
        _raise_unless_foreign(error, name, what)
    target, temporary = _names(name, what)
    try:
        with _create(temporary, target, name, what) as stream:
            yield stream
        _rename(temporary, target, name, what)
    except BaseException as error:
        with suppress(OSError):
            os.unlink(temporary)
        if isinstance(error, OSError):
            _raise_unless_foreign(error, name, what)
        raise


def check_writable(path: PathName, what: str) -> None:
    """Raise InputError, naming `what`, if `path` could not be written: before a long computation, not after it."""
    name = os.fspath(path)
    if _STANDARD_STREAM.fullmatch(name) or _DESCRIPTOR.fullmatch(name):
        return
    target, temporary = _names(name, what)
    try:
        os.lstat(target)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise InputError(f"{what}: cannot write {name!r}: {_reason(error)}") from error
    if not os.path.exists(target) or os.path.isfile(target):
        _create(temporary, target, name, what).close()
        os.unlink(temporary)


def _open_directly(name: str) -> BinaryIO | None:
    """Return a stream that writes to the device, pipe or open descriptor `name`; None if `name` is none of these."""
    descriptor = _DESCRIPTOR.fullmatch(name)
    standard = _STANDARD_STREAM.fullmatch(name)
    if standard:
        text_stream = getattr(sys, standard[1])
        if text_stream is not None:
            text_stream.flush()
        return os.fdopen(os.dup(1 if standard[1] == "stdout" else 2), "wb")
    if descriptor:
        return os.fdopen(os.dup(int(descriptor[1])), "wb")
    try:
        mode = os.stat(name).st_mode
    except (OSError, ValueError):
        return None
    if stat.S_ISREG(mode) or stat.S_ISDIR(mode):
        return None
    return open(name, "wb")


def _names(name: str, what: str) -> tuple[str, str]:
    """Return the path to replace, links resolved, and a new path beside it; InputError if it cannot be replaced."""
    if not name or "\0" in name:
        raise InputError(f"{what}: {name!r} is no file name")
    target = os.path.realpath(name)
    directory = os.path.dirname(target)
    if os.path.isdir(target) or name.endswith(os.sep):
        raise InputError(f"{what}: {name!r} is a directory, not a file")
    if not os.path.isdir(directory):
        raise InputError(f"{what}: cannot write {name!r}: no such directory {directory!r}")
    if os.path.exists(target) and not os.access(target, os.W_OK):
        raise InputError(f"{what}: cannot write {name!r}: the file is write-protected")
    return target, os.path.join(directory, f".nbnumba-{secrets.token_hex(8)}.tmp")


def _create(temporary: str, target: str, name: str, what: str) -> BinaryIO:
    """Open the new file `temporary`, with the mode of `target` where that exists."""
    try:
        stream = open(temporary, "xb")
    except OSError as error:
        raise InputError(f"{what}: cannot write {name!r}: {_reason(error)}") from error
    with suppress(OSError):
        os.chmod(temporary, stat.S_IMODE(os.stat(target).st_mode))
    return stream


def _rename(temporary: str, target: str, name: str, what: str) -> None:
    try:
        os.replace(temporary, target)
    except OSError as error:
        raise InputError(f"{what}: cannot write {name!r}: {_reason(error)}") from error


def _raise_unless_foreign(error: OSError, name: str, what: str) -> None:
    """Raise InputError for a failure to open or fill `name`; re-raise an error that is about something else."""
    if error.filename == name or error.errno in _STORAGE_ERRORS or error.errno == errno.EBADF:
        raise InputError(f"{what}: cannot write {name!r}: {_reason(error)}") from error
    raise error


def _reason(error: Exception) -> str:
    """Return the operating system's words for `error`."""
    return getattr(error, "strerror", None) or str(error)
