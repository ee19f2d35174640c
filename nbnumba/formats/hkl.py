"""Structure factors as text: nanoBragg's `h k l F`, one reflection on a line."""

from __future__ import annotations

import io
import math
import re
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from nbnumba.errors import InputError
from nbnumba.formats import files, recognise
from nbnumba.formats.text import excerpt, location, number, uncommented_lines

_COMMENT = re.compile(r"[#!][^\n]*")
_LARGEST_INDEX = 2**31 - 1

MISSING = (-99.0, -999.0, -9999.0, -99999.0, -999999.0)
"""Values that programs write in place of a missing amplitude."""


class Reflections(NamedTuple):
    """Miller indices, int32 (n, 3), each once; amplitudes F, float64 (n,), in electrons; remarks for the user."""

    hkl: np.ndarray
    amplitudes: np.ndarray
    notes: tuple[str, ...]


def read(path: files.PathName, what: str = "-hkl") -> Reflections:
    """Read `h k l F` lines, separated by blanks, also from a gzip file.

    Blank lines, and text after # or !, are skipped; columns after F are skipped with a note. Indices may be written as 1 or
    1.0. If a reflection is listed more than once, the last F is used, with a note. Raises InputError that quotes the line
    for fewer than four numbers, a token that is not a finite number, and an index that is not a 32-bit integer; also for a
    file without reflections, a file of another program (recognise.py), SHELX's fixed columns, and values that mark a missing
    amplitude, such as -999. Other negative amplitudes are accepted, with a note.
    """
    name = f"{what}: {files.name_of(path, what)!r}"
    text = files.read_text(path, what, recognise.HKL)
    if recognise.is_shelx(text.split("\n", recognise.MOST_LINES)):
        raise InputError(recognise.SHELX.refusal(name, recognise.HKL))
    rows = _rows_at_once(text)
    if rows is None:
        rows = _rows_one_by_one(text, path, what)
    if not len(rows):
        raise InputError(f"{name} has no reflections; allowed: lines of h k l F")
    hkl, amplitudes = rows[:, :3].astype(np.int32), rows[:, 3].copy()
    notes = _notes_on_columns(text, len(rows)) + _notes_on_signs(hkl, amplitudes, name)
    last, repeated = _last_of_each(hkl)
    if repeated:
        listed = _counted(repeated, "reflection is", "reflections are")
        notes += (f"{listed} listed more than once; the last of each is used",)
        hkl, amplitudes = hkl[last], amplitudes[last]
    return Reflections(hkl, amplitudes, notes)


def write(path: files.PathName, hkl: ArrayLike, amplitudes: ArrayLike, what: str = "hkl file") -> None:
    """Write integer Miller indices (n, 3) and amplitudes (n,), with enough digits to read back the same float64.

    Raises InputError for an amplitude that is not finite, which no reader would accept, and ValueError for shapes that do
    not match.
    """
    indices, values = np.asarray(hkl), np.asarray(amplitudes, dtype=np.float64)
    if indices.ndim != 2 or indices.shape != (len(values), 3) or values.ndim != 1:
        raise ValueError(f"hkl must be (n, 3) and amplitudes (n,), not {indices.shape} and {values.shape}")
    if indices.dtype.kind not in "iu":
        raise ValueError(f"hkl must be integers, not {indices.dtype}")
    bad = np.flatnonzero(~np.isfinite(values))
    if len(bad):
        reflection = " ".join(map(str, indices[bad[0]]))
        raise InputError(f"{what}: the amplitude of reflection {reflection} is {values[bad[0]]}; it must be finite")
    lines = [f"{h} {k} {l} {value!r}\n" for (h, k, l), value in zip(indices.tolist(), values.tolist())]
    with files.replacing(path, what) as stream:
        stream.write("".join(lines).encode("ascii"))


def _rows_at_once(text: str) -> np.ndarray | None:
    """Return h k l F, float64 (n, 4), if NumPy can parse the whole text; None if it has to be read line by line."""
    numbers = _COMMENT.sub("", text) if "#" in text or "!" in text else text
    if not numbers.strip():
        return None
    try:
        lines = io.StringIO(numbers.replace("D", "e").replace("d", "e"))
        rows = np.loadtxt(lines, usecols=(0, 1, 2, 3), comments=None, ndmin=2)
    except ValueError:
        return None
    if not np.isfinite(rows).all() or np.abs(rows[:, :3]).max() > _LARGEST_INDEX:
        return None
    return rows if (rows[:, :3] == np.rint(rows[:, :3])).all() else None


def _rows_one_by_one(text: str, path: files.PathName, what: str) -> np.ndarray:
    """Return h k l F, float64 (n, 4); InputError for the first line that is wrong."""
    rows = [_row(content, path, n, line, what) for n, line, content in uncommented_lines(text)]
    return np.array(rows, dtype=np.float64).reshape(-1, 4)


def _row(content: str, path: files.PathName, line_number: int, line: str, what: str) -> list[float]:
    """Return the four numbers of one line."""
    tokens = content.split()[:4]
    values = [number(token) for token in tokens]
    for name, token, value in zip("hklF", tokens, values):
        if value is None or not math.isfinite(value):
            problem = f"{name} must be a finite number, not {excerpt(token)}"
        elif name != "F" and (value != round(value) or abs(value) > _LARGEST_INDEX):
            problem = f"{name} must be an integer of at most 32 bits, not {excerpt(token)}"
        else:
            continue
        raise InputError(f"{location(path, line_number, line, what)}: {problem}")
    if len(tokens) < 4:
        raise InputError(f"{location(path, line_number, line, what)}: h k l F takes four numbers, not {len(tokens)}")
    return values


def _notes_on_columns(text: str, rows: int) -> tuple[str, ...]:
    """Return a note if lines have more than the four columns."""
    numbers = _COMMENT.sub("", text)
    if len(numbers.split()) == 4 * rows:
        return ()
    longer = _counted(sum(len(line.split(None, 4)) > 4 for line in numbers.split("\n")), "line has", "lines have")
    return (
        f"{longer} more columns than h k l F: the fourth is read as the amplitude F, not an intensity; the others are ignored",
    )


def _notes_on_signs(hkl: np.ndarray, amplitudes: np.ndarray, name: str) -> tuple[str, ...]:
    """Return a note if amplitudes are negative. Raises InputError for values that mark a missing amplitude."""
    below = np.flatnonzero(amplitudes < 0.0)
    missing = below[np.isin(amplitudes[below], MISSING)]
    if len(missing):
        first = " ".join(map(str, hkl[missing[0]]))
        marked = _counted(len(missing), "reflection", "reflections")
        raise InputError(f"{name} has F {amplitudes[missing[0]]:g} for {marked}, such as {first}, which marks a missing F; "
                         "allowed: amplitudes; leave the reflection out to give it -default_F")  # fmt: skip
    if not len(below):
        return ()
    counted = _counted(len(below), "amplitude is", "amplitudes are")
    return (f"{counted} below 0: the sign of an amplitude matters only in interpolation; an intensity is not an amplitude",)


def _last_of_each(hkl: np.ndarray) -> tuple[np.ndarray, int]:
    """Return the last row of each reflection, in the order of the file, and how many reflections are listed repeatedly."""
    order = np.lexsort(hkl.T)
    ordered = hkl[order]
    starts_new = np.ones(len(hkl), dtype=bool)
    starts_new[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
    starts = np.flatnonzero(starts_new)
    ends = np.append(starts[1:], len(hkl)) - 1
    return np.sort(order[ends]), int(np.count_nonzero(ends > starts))


def _counted(count: int, singular: str, plural: str) -> str:
    return f"{count} {singular if count == 1 else plural}"
