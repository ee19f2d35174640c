"""Reading of whole files with clear errors, and writing of several files together, so that all of them appear or none."""

from __future__ import annotations

import codecs
import errno
import gzip
import hashlib
import io
import os
import platform
import re
import secrets
import shutil
import signal
import stat
import sys
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import BinaryIO, NamedTuple

from nbnumba.errors import InputError
from nbnumba.formats import recognise

PathName = str | os.PathLike[str]

LARGEST_FILE = 2**33
LARGEST_TEXT = 2**30
"""The largest allowed size, in bytes, of a file, and of an uncompressed text."""

_PART = 2**24
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_GZIP_MAGIC = b"\x1f\x8b"
_STANDARD_STREAM = re.compile(r"/dev/(stdout|stderr)")
_DESCRIPTOR = re.compile(r"/(?:dev|proc/self)/fd/([0-9]+)")
_STORAGE_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}
_HOST = hashlib.sha256(platform.node().encode("utf-8", "surrogateescape")).hexdigest()[:8]
_TEMPORARY = re.compile(r"\.nbnumba-(?:([0-9a-f]{8})-([0-9]+)-)?[0-9a-f]{16}\.tmp")
_DAY = 86400.0


def read_bytes(path: PathName, what: str, most: int = LARGEST_FILE) -> bytes:
    """Return the content of the file `path`.

    `what` is the flag or field that named the file, for the message. Within together() the new content of a file that was
    written there is returned. Raises InputError for a file that is missing, is a directory, cannot be read, or has more than
    `most` bytes, as an endless device has.
    """
    name = name_of(path, what)
    try:
        with open(_pending_name(name), "rb") as stream:
            return _at_most(stream, most, f"{what}: {name!r}")
    except InputError:
        raise
    except FileNotFoundError as error:
        raise InputError(f"{what}: no such file {name!r}") from error
    except IsADirectoryError as error:
        raise InputError(f"{what}: {name!r} is a directory, not a file") from error
    except (OSError, ValueError) as error:
        raise InputError(f"{what}: cannot read {name!r}: {_reason(error)}") from error


def check_readable(path: PathName, what: str) -> None:
    """Raise InputError, as read_bytes does, unless a file can be opened; for files that another library reads."""
    name = name_of(path, what)
    if not os.path.isfile(name):
        read_bytes(name, what)


def name_of(path: PathName, what: str) -> str:
    """Return the name of a file as text. Raises InputError for what is not a name, such as None, a number or an open file."""
    try:
        return os.fsdecode(path)
    except TypeError:
        raise InputError(f"{what}: {type(path).__name__} is not the name of a file; allowed: the name of a file") from None


def _at_most(stream: BinaryIO, most: int, name: str) -> bytes:
    """Return the content of a stream. Raises InputError, before memory runs out, if it has more than `most` bytes."""
    parts, size = [], 0
    while part := stream.read(_PART):
        parts.append(part)
        size += len(part)
        if size > most:
            raise InputError(f"{name} holds more than {most / 2**30:g} GiB; allowed: less")
    return b"".join(parts)


def read_text(path: PathName, what: str, expected: str | None = None) -> str:
    """Return the text of the file `path`, with "\\n" as its only line end; a gzip file is uncompressed.

    gzip is recognised by its first two bytes, whatever the name of the file. UTF-16 and UTF-32 are recognised by a byte order
    mark; any other text is read as UTF-8, and bytes that are not UTF-8 become U+FFFD. Line ends are LF or CR LF, or CR in a
    file without LF. `expected` describes the file for messages. Raises InputError as read_bytes does; for a damaged gzip
    file; for a CR in the middle of a line; for a binary file; and, if `expected` is given, for a file of another program.
    """
    name = name_of(path, what)
    content = read_bytes(name, what, LARGEST_TEXT)
    content = unpacked(content, f"{what}: {name!r}", LARGEST_TEXT)
    for mark, encoding in _MARKS:
        if content.startswith(mark):
            text = content.decode(encoding, errors="replace").removeprefix("\ufeff")
            break
    else:
        _refuse(recognise.binary(content), f"{what}: {name!r}", expected or "text in UTF-8")
        text = content.decode("utf-8-sig", errors="replace")
    text = _with_newlines(text, f"{what}: {name!r}")
    if expected is not None:
        _refuse(recognise.text(text), f"{what}: {name!r}", expected)
    return text


def _refuse(kind: recognise.Kind | None, name: str, expected: str) -> None:
    if kind is not None:
        raise InputError(kind.refusal(name, expected))


def unpacked(content: bytes, name: str, most: int = LARGEST_FILE) -> bytes:
    """Return the content of a gzip file, which may be a thousand times larger than the file; any other content as it is.

    Raises InputError for a damaged file, and for one that unpacks to more than `most` bytes.
    """
    if not content.startswith(_GZIP_MAGIC):
        return content
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(content)) as stream:
            return _at_most(stream, most, f"{name}, unpacked,")
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{name} is a damaged gzip file: {error}") from error


def _with_newlines(text: str, name: str) -> str:
    """Return the text with "\\n" as its only line end."""
    if "\r" not in text:
        return text
    if "\n" not in text:
        return text.replace("\r", "\n")
    while "\r\r" in text:
        text = text.replace("\r\r", "\r")
    text = text.replace("\r\n", "\n")
    text = text[:-1] + "\n" if text.endswith("\r") else text
    if "\r" in text:
        line_number = text.count("\n", 0, text.index("\r")) + 1
        raise InputError(f"{name} line {line_number} has a carriage return in its middle; allowed: line ends LF, CR LF or CR")
    return text


class _File(NamedTuple):
    """A file that is written but not in place yet: its temporary path, its final path, and its names for messages."""

    temporary: str
    target: str
    name: str
    what: str


class _Direct(NamedTuple):
    """The content for a device, a pipe or an open descriptor, and its names for messages."""

    content: io.BytesIO
    name: str
    what: str


class _Batch:
    """The output of a block of together(): files, contents for devices, and folders that were made for them."""

    def __init__(self) -> None:
        self.files: list[_File] = []
        self.direct: list[_Direct] = []
        self.folders: list[str] = []
        self.temporaries: list[str] = []

    def temporary(self, directory: str) -> str:
        """A new file name in a directory; clear() removes the file unless it was renamed."""
        name = f".nbnumba-{_HOST}-{os.getpid()}-{secrets.token_hex(8)}.tmp"
        self.temporaries.append(os.path.join(directory, name))
        return self.temporaries[-1]

    def commit(self) -> None:
        """Put everything in place, or nothing: devices first, because they are the most likely to fail."""
        for device in self.direct:
            _send(device)
        with _uninterrupted():
            self._rename()
            _record([output.name for output in (*self.direct, *self.files)])

    def _rename(self) -> None:
        """Rename the files. If one cannot be renamed, restore those that were replaced before it."""
        replaced: list[tuple[str, str | None]] = []
        try:
            for file in self.files:
                with _named_errors(file.name, file.what, always=True):
                    old = self._set_aside(file.target) if len(self.files) > 1 else None
                    os.replace(file.temporary, file.target)
                replaced.append((file.target, old))
        except BaseException:
            for target, old in reversed(replaced):
                with suppress(OSError):
                    os.unlink(target) if old is None else os.replace(old, target)
            raise

    def _set_aside(self, target: str) -> str | None:
        """Keep a file that is about to be replaced; return the name of a link to it or of a copy, None if there is no file."""
        if not os.path.lexists(target):
            return None
        old = self.temporary(os.path.dirname(target))
        try:
            os.link(target, old)
        except OSError:
            shutil.copy2(target, old)
        return old

    def clear(self, committed: bool) -> None:
        """Remove the temporary files, and the new folders too unless everything was put in place."""
        for path in self.temporaries:
            with suppress(OSError):
                os.unlink(path)
        for path in [] if committed else reversed(self.folders):
            with suppress(OSError):
                os.rmdir(path)


_BATCH: ContextVar[_Batch | None] = ContextVar("_BATCH", default=None)
_RECORDER: ContextVar[list[str] | None] = ContextVar("_RECORDER", default=None)


@contextmanager
def together() -> Iterator[None]:
    """Put the files that replacing() writes in this block in place when it ends without an exception: all of them, or none.

    An interruption (Ctrl-C) during that step is raised after it. After an exception, folders made by make_folder() are
    removed. An inner block belongs to the outer one. Raises InputError as replacing() does.
    """
    if _BATCH.get() is not None:
        yield
        return
    batch, committed = _Batch(), False
    token = _BATCH.set(batch)
    try:
        yield
        batch.commit()
        committed = True
    finally:
        _BATCH.reset(token)
        batch.clear(committed)


def discard() -> None:
    """Discard everything that was written in this block of together() so far."""
    batch = _BATCH.get()
    if batch is not None:
        batch.files.clear()
        batch.direct.clear()


@contextmanager
def recorded() -> Iterator[list[str]]:
    """Yield a list that receives the names of all files that are put in place in this block."""
    names: list[str] = []
    token = _RECORDER.set(names)
    try:
        yield names
    finally:
        _RECORDER.reset(token)


def _record(names: list[str]) -> None:
    recorder = _RECORDER.get()
    if recorder is not None:
        recorder += names


@contextmanager
def locked(path: PathName, refusal: InputError) -> Iterator[None]:
    """In this block no other process has the file open in this way; it is made if it is not there. Raises the refusal."""
    import fcntl

    with open(path, "wb") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise refusal from None
        except OSError:
            pass  # a file system without locks
        yield


@contextmanager
def replacing(path: PathName, what: str = "output file") -> Iterator[BinaryIO]:
    """Yield a binary stream whose content becomes the file `path` when the block, and that of together(), has ended.

    The stream is a new file in the directory of `path`, and `stream.name` is its path, for libraries that write
    to a path. After an exception it is removed, and an existing file stays untouched. The new file gets the mode of the
    file that it replaces, or else the mode that open() would give it. A symbolic link stays, and its target is replaced.
    Anything that exists and is not a regular file (/dev/null, a pipe), and the standard streams (/dev/stdout), receive the
    content directly. Raises InputError, naming `what`, if the directory does not exist, `path` is not writable or is a
    directory, or the disk is full.
    """
    with together():
        name, batch = name_of(path, what), _BATCH.get()
        if _is_direct(name):
            content = io.BytesIO()
            yield content
            batch.direct.append(_Direct(content, name, what))
            return
        target = _target(name, what)
        temporary = batch.temporary(os.path.dirname(target))
        with _named_errors(name, what), _create(temporary, target, name, what) as stream:
            yield stream
        batch.files = [file for file in batch.files if file.target != target]
        batch.files.append(_File(temporary, target, name, what))


def make_folder(path: PathName, what: str) -> str:
    """Make the folder `path` and its parents unless they exist; return its name. Raises InputError, naming `what`.

    Within together(), the new folders are removed after an exception.
    """
    name, batch = name_of(path, what), _BATCH.get()
    made = _make_folders(name, what)
    if batch is not None:
        batch.folders += made
    return name


def check_folder(path: PathName, what: str) -> None:
    """Raise InputError, naming `what`, if no file could be written to the folder `path`, which need not exist yet."""
    name, batch = name_of(path, what), _Batch()
    batch.folders += _make_folders(name, what)
    try:
        _check_creatable(name, "", name, what)
    finally:
        batch.clear(False)


def _make_folders(name: str, what: str) -> list[str]:
    """Make the folder `name` and its parents, all or none; return the new folders, the outermost first."""
    batch = _Batch()
    try:
        for folder in _missing_folders(name, what):
            try:
                os.mkdir(folder)
            except OSError as error:
                raise InputError(f"{what}: cannot make folder {name!r}: {_reason(error)}") from error
            batch.folders.append(folder)
    except BaseException:
        batch.clear(False)
        raise
    return batch.folders


def _missing_folders(name: str, what: str) -> list[str]:
    """The folders that have to be made for the folder `name`, the outermost first. Raises InputError if it is a file."""
    if not name or "\0" in name:
        raise InputError(f"{what}: {name!r} is not the name of a folder")
    with _named_errors(name, what, always=True):
        missing, path = [], os.path.abspath(name)
    if os.path.lexists(path) and not os.path.isdir(path):
        raise InputError(f"{what}: {name!r} is a file; allowed: a folder, or the name of a new one")
    while not os.path.lexists(path):
        missing.append(path)
        path = os.path.dirname(path)
    return missing[::-1]


def check_writable(path: PathName, what: str) -> None:
    """Raise InputError, naming `what`, if `path` could not be written; for use before a long computation.

    Also removes temporary files in its directory that killed processes have left behind.
    """
    name = name_of(path, what)
    if _is_open(name):
        _check_open(name, what)
        return
    target = _target(name, what)
    try:
        os.lstat(target)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise InputError(f"{what}: cannot write {name!r}: {_reason(error)}") from error
    if not os.path.exists(target) or os.path.isfile(target):
        _check_creatable(os.path.dirname(target), target, name, what)


def _check_creatable(directory: str, target: str, name: str, what: str) -> None:
    """Create a file in a directory and remove it again; also remove what killed processes have left there."""
    _remove_abandoned(directory)
    batch = _Batch()
    try:
        _create(batch.temporary(directory), target, name, what).close()
    finally:
        batch.clear(False)


def _remove_abandoned(directory: str) -> None:
    """Remove the temporary files of processes of this machine that have ended, and any that are older than a day."""
    with suppress(OSError), os.scandir(directory) as entries:
        for entry in entries:
            match = _TEMPORARY.fullmatch(entry.name)
            if match and (_has_ended(match) or time.time() - entry.stat(follow_symlinks=False).st_mtime > _DAY):
                with suppress(OSError):
                    os.unlink(entry.path)


def remove_temporaries(directory: str) -> None:
    """Remove all unfinished files in a directory to which nobody else writes."""
    with suppress(OSError), os.scandir(directory) as entries:
        for entry in entries:
            if _TEMPORARY.fullmatch(entry.name):
                with suppress(OSError):
                    os.unlink(entry.path)


def _has_ended(temporary: re.Match) -> bool:
    """Whether the process that made a temporary file ran on this machine and has ended; the match is of _TEMPORARY."""
    if temporary[1] != _HOST:
        return False
    try:
        os.kill(int(temporary[2]), 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        pass
    return False


def is_stdout(path: PathName) -> bool:
    """Whether `path` is a name of the standard output."""
    return _is_open(os.fspath(path)) and _descriptor(os.fspath(path)) == 1


def is_stderr(path: PathName) -> bool:
    """Whether `path` is a name of the standard error."""
    return _is_open(os.fspath(path)) and _descriptor(os.fspath(path)) == 2


def _pending_name(name: str) -> str:
    """The path of the content of a file: the temporary one if the file is written but not in place yet."""
    batch = _BATCH.get()
    if batch is None or not batch.files:
        return name
    target = os.path.realpath(name)
    return next((file.temporary for file in batch.files if file.target == target), name)


def _is_open(name: str) -> bool:
    """Whether `name` is one of the names of an open descriptor of this process."""
    return bool(_STANDARD_STREAM.fullmatch(name) or _DESCRIPTOR.fullmatch(name))


def _is_direct(name: str) -> bool:
    """Whether `name` is a device, a pipe or an open descriptor, which cannot be replaced."""
    if _is_open(name):
        return True
    try:
        mode = os.stat(name).st_mode
    except (OSError, ValueError):
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def _descriptor(name: str) -> int:
    """The number of an open descriptor."""
    match = _DESCRIPTOR.fullmatch(name)
    if match:
        return int(match[1])
    return 1 if name == "/dev/stdout" else 2


def _check_open(name: str, what: str) -> None:
    """Raise InputError for a descriptor that is closed or open for reading only."""
    import fcntl

    try:
        mode = fcntl.fcntl(_descriptor(name), fcntl.F_GETFL) & os.O_ACCMODE
    except (OSError, OverflowError) as error:
        raise InputError(f"{what}: cannot write {name!r}: {_reason(error)}") from error
    if mode == os.O_RDONLY:
        raise InputError(f"{what}: cannot write {name!r}: it is closed, or open for reading only")


def _send(direct: _Direct) -> None:
    """Write the content to its device, pipe or open descriptor."""
    with _named_errors(direct.name, direct.what):
        if _is_open(direct.name):
            number = _descriptor(direct.name)
            text_stream = {1: sys.stdout, 2: sys.stderr}.get(number)
            if text_stream is not None:
                text_stream.flush()
            stream = os.fdopen(os.dup(number), "wb")
        else:
            stream = open(direct.name, "wb")
        with stream:
            stream.write(direct.content.getbuffer())


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Delay an interruption (SIGINT) until the block has ended."""
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield
        return
    waiting: list[tuple] = []
    signal.signal(signal.SIGINT, lambda *args: waiting.append(args))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if waiting:
        before(*waiting[-1])


def _target(name: str, what: str) -> str:
    """Return the path to replace, with links resolved. Raises InputError if it cannot be replaced."""
    if not name or "\0" in name:
        raise InputError(f"{what}: {name!r} is not a file name")
    with _named_errors(name, what, always=True):
        target = os.path.realpath(name)
    directory = os.path.dirname(target)
    if os.path.isdir(target) or name.endswith(os.sep):
        raise InputError(f"{what}: {name!r} is a directory, not a file")
    if not os.path.isdir(directory):
        raise InputError(f"{what}: cannot write {name!r}: no such directory {directory!r}")
    if os.path.exists(target) and not os.access(target, os.W_OK):
        raise InputError(f"{what}: cannot write {name!r}: the file is write-protected")
    return target


def _create(temporary: str, target: str, name: str, what: str) -> BinaryIO:
    """Open the new file `temporary`, with the mode of `target` if that exists."""
    with _named_errors(name, what, always=True):
        stream = open(temporary, "xb")
    with suppress(OSError):
        os.chmod(temporary, stat.S_IMODE(os.stat(target).st_mode))
    return stream


@contextmanager
def _named_errors(name: str, what: str, always: bool = False) -> Iterator[None]:
    """Turn a failure to open, fill or rename the file `name` into an InputError; an error about another file is raised as is.

    always: every failure in the block is about this file.
    """
    try:
        yield
    except OSError as error:
        own = error.filename == name or error.filename2 is not None
        if not (always or own or error.errno in _STORAGE_ERRORS or error.errno == errno.EBADF):
            raise
        raise InputError(f"{what}: cannot write {name!r}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    """Return the operating system's message for `error`."""
    return getattr(error, "strerror", None) or str(error)
