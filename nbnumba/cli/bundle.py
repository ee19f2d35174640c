"""Shared code of the subcommands that write a bundle: their own options before --, and the bundle itself.

A bundle is a directory. Besides the results of the subcommand it holds commands.txt (the exact command lines),
environment.json (versions, machine, threads) and SHA256SUMS for `sha256sum -c`, which lists every file of the bundle, and
the input files by their absolute paths. All its files appear together, or none does.
"""

import argparse
import hashlib
import json
import os
import platform
import sys
from collections.abc import Iterable, Sequence
from importlib import metadata
from typing import Any

from nbnumba.backends.numba_loading import load_numba
from nbnumba.backends.threads import thread_count
from nbnumba.errors import InputError
from nbnumba.flags.arguments import number
from nbnumba.formats import files
from nbnumba.formats.text import excerpt
from nbnumba.version import VERSION

COMMANDS, ENVIRONMENT, SUMS = "commands.txt", "environment.json", "SHA256SUMS"

UNSUCCESSFUL = 1
"""The exit status of a refinement that does not succeed."""

MOST_COVARIANCES = 1000
"""The largest number of refined numbers whose covariances are written: those of more would be megabytes."""


class Parser(argparse.ArgumentParser):
    """The parser of a subcommand's own options. Raises InputError for words that it cannot read."""

    def __init__(self, command: str, **keywords):
        super().__init__(prog=f"nbnumba {command}", allow_abbrev=False, **keywords)

    def error(self, message):
        command = self.prog.partition(" ")[2]
        unknown = message.removeprefix("unrecognized arguments: ")
        if unknown != message:
            message = f"{excerpt(unknown.split()[0])} is no option of it"
        raise InputError(f"{command}: {message}; allowed: what nbnumba {command} -h lists")


def warn(sentences: Iterable[str]) -> None:
    """Print warnings as they stand, in which parameters keep their names, on stderr."""
    for sentence in sentences:
        print(f"nbnumba: warning: {sentence}", file=sys.stderr)


def split(words: Sequence[str], command: str) -> tuple[list[str], list[str]]:
    """The subcommand's own words and nanoBragg's flags: the words before and after the first --, which has to be there."""
    if "--" in words or {"-h", "--help"} & set(words):
        return own_and_flags(words)
    raise InputError(f"{command}: no -- is given; allowed: nbnumba {command} [its own options] -- nanoBragg's flags")


def own_and_flags(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """The subcommand's own words and nanoBragg's flags, which are none without a --."""
    words = list(words)
    end = words.index("--") if "--" in words else len(words)
    return words[:end], words[end + 1 :]


def check_not_read(written: Iterable[str], read: Iterable[str], option: str = "--out") -> None:
    """Raise InputError, naming an option, if a file that is to be written is one of those that are read."""
    inputs = {os.path.realpath(name) for name in read}
    for name in written:
        if os.path.realpath(name) in inputs:
            raise InputError(f"{option}: {name!r} is also a file that is read; allowed: the name of another file")


def whole_numbers(option: str, words: Sequence[str], allowed: str, lowest: int | None = None) -> tuple[int, ...]:
    """The words of an option as whole numbers. Raises InputError for other words, and for numbers below `lowest`."""
    values = [number(word) for word in words]
    for word, value in zip(words, values):
        if value is None or value != round(value) or (lowest is not None and value < lowest):
            raise InputError(f"{option}: {excerpt(word)} is not allowed; allowed: {allowed}")
    return tuple(int(word) if word.isascii() and word.isdigit() else int(value) for word, value in zip(words, values))


def real_number(option: str, word: str, allowed: str, test) -> float:
    """The word of an option as a number. Raises InputError for another word, or a number that fails the test."""
    value = number(word)
    if value is None or not test(value):
        raise InputError(f"{option}: {excerpt(word)} is not allowed; allowed: {allowed}")
    return value


def write_text(path: str, text: str, option: str = "--out") -> None:
    """Write a file of text; option: what named it."""
    with files.replacing(path, option) as stream:
        stream.write(text.encode("utf-8", errors="surrogateescape"))


def write_json(path: str, value: Any, option: str = "--out") -> None:
    """Write a file of JSON; option: what named it.

    A number that is not finite, which JSON has none of, becomes its name in quotes; a byte that is no UTF-8, in the name of a
    file, becomes the escape (\\udcXX) that json.load reads as Python has such a name.
    """
    text = json.dumps(_finite(value), indent=1, allow_nan=False, ensure_ascii=False) + "\n"
    with files.replacing(path, option) as stream:
        stream.write(text.encode("utf-8", errors="backslashreplace"))


def _finite(value):
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    if isinstance(value, float) and value - value != 0.0:
        return str(value)
    return value


def environment() -> dict[str, Any]:
    """Versions, machine and threads."""
    return {
        "nbnumba": VERSION,
        "python": platform.python_version(),
        "numba": load_numba().__version__,
        "llvmlite": metadata.version("llvmlite"),
        "numpy": metadata.version("numpy"),
        "platform": platform.platform(),
        "machine": platform.machine(),
        "cpu": _processor(),
        "cores": os.cpu_count(),
        "threads": thread_count(),
        "variables": {name: os.environ.get(name) for name in ("NUMBA_NUM_THREADS", "NUMBA_CPU_NAME", "OMP_NUM_THREADS")},
    }


def _processor() -> str:
    """The name of the processor."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as stream:
            for line in stream:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor()


def seal(directory: str, contents: Iterable[str], commands: Sequence[str], inputs: Iterable[str]) -> None:
    """Complete a bundle with commands.txt, environment.json and SHA256SUMS.

    contents: the files that were written, relative to the directory. inputs: the input files.
    """
    write_text(os.path.join(directory, COMMANDS), "".join(f"{line}\n" for line in commands))
    write_json(os.path.join(directory, ENVIRONMENT), environment())
    names = [*contents, COMMANDS, ENVIRONMENT, *dict.fromkeys(os.path.abspath(path) for path in inputs)]
    write_text(os.path.join(directory, SUMS), "".join(_sum_line(directory, name) for name in names))


def _sum_line(directory: str, name: str) -> str:
    """A line as sha256sum writes it; a backslash in front marks a name with escaped characters."""
    digest = hashlib.sha256(files.read_bytes(os.path.join(directory, name), SUMS)).hexdigest()
    escaped = name.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
    return f"{'' if escaped == name else chr(92)}{digest}  {escaped}\n"
