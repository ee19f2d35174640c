"""Reads a command line by the table of flags: exact spellings, the right number of values, each of its kind."""

import math
import os
import shlex
from collections.abc import Mapping, Sequence
from contextlib import suppress
from numbers import Integral, Real
from typing import Any, NamedTuple

import numpy as np

from nbnumba.errors import InputError, shown
from nbnumba.flags.hints import absent, meant
from nbnumba.flags.table import BY_NAME, VALUES, Flag
from nbnumba.formats.text import excerpt

VARYING = ("misset", "cell", "names", "lattices")
"""The kinds of flags that take a varying number of values."""


class Given(NamedTuple):
    """A flag of the command line as it was spelled, its row of the table, and its value."""

    spelling: str
    flag: Flag
    value: Any


def read(args: Sequence[str]) -> list[Given]:
    """The flags of a command line in their order. Raises InputError for anything that is not in the table."""
    given, position = [], 0
    while position < len(args):
        spelling = args[position]
        if spelling not in BY_NAME:
            raise InputError(_unknown(spelling, given))
        flag = BY_NAME[spelling]
        values = _values(flag, args[position + 1 :])
        given.append(Given(spelling, flag, _convert(spelling, flag, values)))
        position += 1 + len(values)
    return given


def words_by_flag(flags: Sequence[str]) -> list[tuple[Flag, list[str]]]:
    """A command line that can be read, cut into its flags, each with all its words."""
    cut, start = [], 0
    while start < len(flags):
        flag = BY_NAME[flags[start]]
        stop = start + 1 + len(VALUES[flag.kind])
        if flag.kind in VARYING:
            stop = start + 1
            while stop < len(flags) and flags[stop] not in BY_NAME:
                stop += 1
        cut.append((flag, list(flags[start:stop])))
        start = stop
    return cut


def with_absolute_paths(flags: Sequence[str]) -> list[str]:
    """The same command line, for another working directory: with absolute names of files."""
    words = []
    for flag, (spelling, *values) in words_by_flag(flags):
        names = flag.kind in ("file", "lattices")
        words += [spelling, *(os.path.abspath(word) if names and number(word) is None else word for word in values)]
    return words


def words_of(args: Any) -> list[str]:
    """The words of a command line from Python: of a text, cut as a shell does; of a list of texts, numbers and paths."""
    if isinstance(args, str):
        try:
            return shlex.split(args)
        except ValueError as error:
            raise InputError(f"from_args: {shown(args)} cannot be cut into words: {error}; allowed: closed quotes") from None
    try:
        words = None if isinstance(args, (bytes, Mapping)) else list(args)
    except TypeError:
        words = None
    if words is None:
        raise InputError(f"from_args: {shown(args)} is not allowed; allowed: a list of words, or a line of them")
    return [_word(word) for word in words]


def _word(word: Any) -> str:
    if isinstance(word, os.PathLike):
        word = os.fspath(word)
    if isinstance(word, str):
        return word
    if isinstance(word, Real) and not isinstance(word, (bool, np.bool_)):
        with suppress(OverflowError, ValueError):  # too many digits
            return str(int(word)) if isinstance(word, Integral) else repr(float(word))
    allowed = "a text, a number or a path for every word"
    raise InputError(f"from_args: {shown(word)} ({type(word).__name__}) is not allowed; allowed: {allowed}")


def _unknown(spelling: str, given: list[Given]) -> str:
    if not spelling.startswith("-"):
        after = f" after {given[-1].spelling}" if given else ""
        return f"{excerpt(spelling)}{after} is not expected; allowed: a flag (nbnumba --help lists them)"
    close, why = meant(spelling), absent(spelling)
    shown = spelling if excerpt(spelling) == repr(spelling) else excerpt(spelling)
    if why is not None:
        return f"{shown}: no such flag; {why}"
    return f"{shown}: no such flag; " + (f"did you mean {close}?" if close else "nbnumba --help lists them")


def _values(flag: Flag, rest: Sequence[str]) -> list[str]:
    """The words that belong to a flag: as many as its kind takes; up to the next flag where the number varies."""
    if flag.kind == "misset":
        return list(rest[:1] if rest and "rand" in rest[0] else rest[:3])
    most = {"cell": 6, "names": len(rest), "lattices": len(rest)}.get(flag.kind)
    if most is None:
        return list(rest[: len(VALUES[flag.kind])])
    taken = []
    for word in rest[:most]:
        if word in BY_NAME or (flag.kind == "cell" and number(word) is None):
            break
        taken.append(word)
    return taken


def _convert(spelling: str, flag: Flag, values: list[str]) -> Any:
    unit = f" ({flag.unit})" if flag.unit else ""
    if flag.kind == "switch":
        return True
    if flag.kind in ("names", "lattices"):
        return values
    if flag.kind == "misset" and values and "rand" in values[0]:
        return "random"
    expected = {"cell": 1, "misset": 3}.get(flag.kind, len(VALUES[flag.kind]))
    if len(values) < expected:
        raise InputError(f"{spelling}: {len(values)} of {expected} values given; allowed: {' '.join(VALUES[flag.kind])}{unit}")
    if flag.kind in ("file", "word"):
        return values[0]
    whole = flag.kind in ("whole", "region", "pixel")
    numbers = [number(word) for word in values]
    for word, value in zip(values, numbers):
        if value is None or (whole and value != round(value)):
            raise InputError(f"{spelling}: {excerpt(word)} is not allowed; allowed: a {'whole ' if whole else ''}number{unit}")
    numbers = [int(value) for value in numbers] if whole else numbers
    return numbers[0] if flag.kind in ("number", "whole") else tuple(numbers)


def number(word: str) -> float | None:
    """The finite number that a word spells, if it does."""
    try:
        value = float(word)
    except ValueError:
        return None
    return value if math.isfinite(value) and "_" not in word else None
