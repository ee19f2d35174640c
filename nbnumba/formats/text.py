"""Numbers in text files: tokens, lines and small tables, with errors that name the file and the line."""

from __future__ import annotations

import math
import os
import re
import warnings
from collections.abc import Iterator

import numpy as np

from nbnumba.errors import InputError
from nbnumba.formats import files

_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eEdD][+-]?[0-9]+)?")
_LONGEST_EXCERPT = 60
_TABLE_DELIMITERS = re.compile(r"[\s,;:!]+")
_DECIMAL_COMMA = re.compile(r"[0-9],[0-9]")
_OTHER_DELIMITER = re.compile(r"[0-9.]\s*[\s;:!]\s*[-+0-9.]")


def number(token: str) -> float | None:
    """Return the value of a decimal number, Fortran's D exponents included; None if `token` is not one.

    "nan", "inf" and hexadecimal numbers give None; 1e999 is infinite.
    """
    if not _NUMBER.fullmatch(token):
        return None
    return float(token.replace("D", "e").replace("d", "e"))


def uncommented_lines(text: str, marks: str = "#!") -> Iterator[tuple[int, str, str]]:
    """Yield (line number from 1, the line, the line up to a comment) for each line that is neither blank nor only a comment.

    A comment runs from any character of `marks` to the end of its line.
    """
    comment = re.compile(f"[{re.escape(marks)}]")
    for line_number, line in enumerate(text.split("\n"), start=1):
        content = comment.split(line, maxsplit=1)[0]
        if content.strip():
            yield line_number, line, content


def location(path: files.PathName, line_number: int, line: str, what: str) -> str:
    """Return the start of a message about a line: "-hkl: 'x.hkl' line 7 ('1 2 a 4')"."""
    return f"{what}: {os.fspath(path)!r} line {line_number} ({excerpt(line.strip())})"


def excerpt(words: str) -> str:
    """Return `words` in quotes, cut to a length that fits into a message."""
    return repr(words if len(words) <= _LONGEST_EXCERPT else words[:_LONGEST_EXCERPT] + "...")


def printable(words: str) -> str:
    """Return `words` cut to the same length, without quotes; characters that cannot be printed become Python's escapes."""
    shown = "".join(character if character.isprintable() else repr(character)[1:-1] for character in words[:_LONGEST_EXCERPT])
    return shown if len(words) <= _LONGEST_EXCERPT else shown + "..."


def read_table(
    path: files.PathName, what: str, columns: tuple[str, ...], expected: str, least: int, text: str | None = None
) -> tuple[np.ndarray, list[str]]:
    """Read a table as nanoBragg's read_text_file does: up to len(columns) numbers on a line.

    Numbers are separated by any number of blanks, tabs and , ; : ! characters. Lines without numbers, and text after #, are
    skipped; further columns are ignored, with a warning. Returns float64 (n, len(columns)), with NaN where a line has fewer
    numbers or the word nan, and for each row the start of a message about it. Messages name the columns by `columns` and
    describe the table by `expected`. text: the file's, if it has been read. Raises InputError for a token that is not a finite
    number, a comma that may be a decimal point, fewer than `least` numbers on a line, or a file without numbers.
    """
    rows: list[list[float]] = []
    locations: list[str] = []
    longer = 0
    for line_number, line, content in uncommented_lines(files.read_text(path, what, expected) if text is None else text, "#"):
        tokens = [token for token in _TABLE_DELIMITERS.split(content) if token]
        if tokens:
            line_name = location(path, line_number, line, what)
            if _DECIMAL_COMMA.search(content) and _OTHER_DELIMITER.search(content.strip()):
                raise InputError(f"{line_name}: a comma between digits, and other separators; allowed: decimal points")
            longer += len(tokens) > len(columns)
            row = [_table_entry(token, column, line_name) for token, column in zip(tokens, columns)]
            if len(row) < least:
                raise InputError(f"{line_name}: it has {len(row)} of at least {least} numbers; allowed: {expected}")
            rows.append(row + [np.nan] * (len(columns) - len(row)))
            locations.append(line_name)
    if not rows:
        raise InputError(f"{what}: {os.fspath(path)!r} has no numbers; each line should be {' '.join(columns)}")
    if longer:
        lines = "1 line has" if longer == 1 else f"{longer} lines have"
        problem = f"{lines} more columns than {' '.join(columns)}; the others are ignored"
        warnings.warn(f"{what} {os.fspath(path)!r}: {problem}", stacklevel=2)
    return np.array(rows, dtype=np.float64), locations


def _table_entry(token: str, column: str, line_name: str) -> float:
    """Return the value of one table entry; NaN for the word nan."""
    if token.lower() == "nan":
        return np.nan
    value = number(token)
    if value is None or not math.isfinite(value):
        raise InputError(f"{line_name}: {column} must be a finite number, not {excerpt(token)}")
    return value
