"""Tables of reflections: columns of numbers as text with commas (CSV), and as a reflection table of DIALS in MessagePack."""

from __future__ import annotations

import struct
from collections.abc import Mapping

import numpy as np

from nbnumba.formats import files

DIALS_TYPES = {
    "int": ("<i4", 1),
    "std::size_t": ("<u8", 1),
    "bool": ("?", 1),
    "double": ("<f8", 1),
    "vec2<double>": ("<f8", 2),
    "vec3<double>": ("<f8", 3),
    "cctbx::miller::index<>": ("<i4", 3),
}
"""The types of columns in DIALS' files: the type of a number, and how many of them an element has."""

REFLECTION_TABLE, VERSION = "dials::af::reflection_table", 1
"""What a file of DIALS' reflections begins with."""


def write_csv(path: files.PathName, columns: Mapping[str, np.ndarray], what: str) -> None:
    """Write columns (n,) by their names: a line of names, then a line for each row. NaN is an empty field."""
    texts = [[_text(value) for value in column.tolist()] for column in columns.values()]
    lines = [",".join(columns), *(",".join(row) for row in zip(*texts))]
    with files.replacing(path, what) as stream:
        stream.write(("\n".join(lines) + "\n").encode("ascii"))


def _text(value: float) -> str:
    """A number with ten digits, an int in full."""
    if isinstance(value, int):
        return str(value)
    return "" if value != value else f"{value:.10g}"


def write_refl(
    path: files.PathName, columns: Mapping[str, tuple[str, np.ndarray]], what: str, identifiers: Mapping[int, str] | None = None
) -> None:
    """Write columns, each with the name of its type in DIALS and an array (n,) or (n, elements), as a table of DIALS.

    identifiers: those of the experiments, by the numbers that the column id has for them; None without any.
    """
    rows = {len(array) for _, array in columns.values()}
    assert len(rows) == 1, rows
    data = {}
    for name, (kind, array) in columns.items():
        number, size = DIALS_TYPES[kind]
        assert array.size == size * len(array), (name, array.shape)
        data[name] = [kind, [len(array), np.ascontiguousarray(array).astype(number).tobytes()]]
    table = {"identifiers": dict(identifiers or {}), "nrows": rows.pop(), "data": data}
    with files.replacing(path, what) as stream:
        stream.write(packed([REFLECTION_TABLE, VERSION, table]))


def packed(value: object) -> bytes:
    """A value as MessagePack: a text, bytes, a whole number from 0 on, or a list or a dict of these."""
    if isinstance(value, str):
        text = value.encode("utf-8")
        return _head(len(text), (0xA0, 32), (0xD9, 0xDA, 0xDB)) + text
    if isinstance(value, bytes):
        return _head(len(value), None, (0xC4, 0xC5, 0xC6)) + value
    if isinstance(value, int):
        return struct.pack(">B", value) if value < 128 else struct.pack(">BQ", 0xCF, value)
    if isinstance(value, list):
        return _head(len(value), (0x90, 16), (None, 0xDC, 0xDD)) + b"".join(map(packed, value))
    assert isinstance(value, dict), value
    pairs = (packed(part) for pair in value.items() for part in pair)
    return _head(len(value), (0x80, 16), (None, 0xDE, 0xDF)) + b"".join(pairs)


def _head(size: int, short: tuple[int, int] | None, marks: tuple[int | None, int, int]) -> bytes:
    """The head of a value of some size: a short form below a limit, or a mark and the size in 1, 2 or 4 bytes."""
    if short is not None and size < short[1]:
        return struct.pack(">B", short[0] | size)
    for mark, form, limit in zip(marks, ("B", "H", "I"), (2**8, 2**16, 2**32)):
        if mark is not None and size < limit:
            return struct.pack(f">B{form}", mark, size)
    raise OverflowError(f"{size} is too large for MessagePack")
