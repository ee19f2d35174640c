"""Reflection tables of DIALS (.refl), in MessagePack: written, and read without DIALS."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from nbnumba.errors import InputError
from nbnumba.formats import files
from nbnumba.formats.messagepack import Damaged, Reader, packed
from nbnumba.formats.text import printable

DIALS_TYPES = {
    "int": ("<i4", 1),
    "std::size_t": ("<u8", 1),
    "bool": ("?", 1),
    "double": ("<f8", 1),
    "vec2<double>": ("<f8", 2),
    "vec3<double>": ("<f8", 3),
    "mat3<double>": ("<f8", 9),
    "int6": ("<i4", 6),
    "cctbx::miller::index<>": ("<i4", 3),
}
"""The types of columns in DIALS' files: the type of a number, and how many of them an element has."""

REFLECTION_TABLE, VERSION, VERSIONS = "dials::af::reflection_table", 1, (1, 2)
"""What a file of DIALS' reflections begins with: a word, and a version, of which one is written and two are read.

They differ in the masks of shoeboxes alone.
"""

EXPECTED = "a reflection table of DIALS (.refl, MessagePack)"

_PICKLE, _HDF5 = b"\x80", b"\x89HDF"


class ReflectionTable(NamedTuple):
    """A reflection table of DIALS of so many rows.

    columns: by name, (rows,) or (rows, elements). identifiers: those of experiments, by the numbers in the column id.
    """

    columns: dict[str, np.ndarray]
    identifiers: dict[int, str]
    rows: int


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


def read_refl(path: files.PathName, what: str) -> ReflectionTable:
    """Return the columns of numbers of a table, and the identifiers of its experiments; `what` is the flag that named the file.

    Columns of texts and of shoeboxes are left out. Numbers are int32, uint64, bool and float64, as DIALS has them: a vector has
    2 or 3 elements, a matrix 9, a box of pixels 6. Raises InputError for a file that is missing or damaged, a pickle, of which
    DIALS' old tables were made, and any other file.
    """
    name = f"{what}: {files.name_of(path, what)!r}"
    content = files.unpacked(files.read_bytes(path, what), name)
    if content.startswith(_PICKLE):
        allowed = f"{EXPECTED}, which new versions of DIALS write of it"
        raise InputError(f"{name} is a pickle, as old versions of DIALS wrote, which can hold programs; allowed: {allowed}")
    if content.startswith(_HDF5):
        raise InputError(f"{name} is an HDF5 file; allowed: {EXPECTED}")
    try:
        return _table(Reader(content))
    except Damaged as error:
        raise InputError(f"{name} cannot be read: {error}; allowed: {EXPECTED}") from None


def _table(reader: Reader) -> ReflectionTable:
    """The table at the beginning of some content. Raises Damaged for what is none."""
    _check_kind(reader)
    columns: dict[str, np.ndarray] = {}
    identifiers: dict[int, str] = {}
    rows = 0
    for _ in range(reader.pairs()):
        key = reader.text()
        if key == "identifiers":
            identifiers |= {reader.whole(): reader.text() for _ in range(reader.pairs())}
        elif key == "nrows":
            rows = reader.whole()
        elif key == "data":
            columns |= _columns(reader)
        else:
            reader.skip()
    for name, column in columns.items():
        if len(column) != rows:
            raise Damaged(f"its column {printable(name)} has {len(column)} rows, and the table {rows}")
    if reader.remaining():
        raise Damaged(f"{reader.remaining()} bytes follow the table")
    return ReflectionTable(columns, identifiers, rows)


def _check_kind(reader: Reader) -> None:
    """Raise Damaged unless a table of a known version begins here."""
    try:
        reader.list_of(3)
        is_table = reader.text() == REFLECTION_TABLE
    except Damaged:
        is_table = False
    if not is_table:
        raise Damaged("it begins as another file")
    version = reader.whole()
    if version not in VERSIONS:
        raise Damaged(f"it is of version {version}, and {' and '.join(map(str, VERSIONS))} are known")


def _columns(reader: Reader) -> dict[str, np.ndarray]:
    """The columns whose types are known."""
    columns = {}
    for _ in range(reader.pairs()):
        name = reader.text()
        reader.list_of(2)
        kind = reader.text()
        if kind in DIALS_TYPES:
            columns[name] = _column(reader, name, *DIALS_TYPES[kind])
        else:
            reader.skip()
    return columns


def _column(reader: Reader, name: str, number: str, size: int) -> np.ndarray:
    """A column of the type `number`, of which an element has `size`."""
    reader.list_of(2)
    rows, content = reader.whole(), reader.binary()
    dtype = np.dtype(number)
    if len(content) != rows * size * dtype.itemsize:
        raise Damaged(f"its column {printable(name)} has {len(content)} bytes for {rows} rows")
    numbers = np.frombuffer(content, "u1").astype(bool) if dtype.kind == "b" else np.frombuffer(content, dtype)
    shape = (rows,) if size == 1 else (rows, size)
    return numbers.astype(dtype.newbyteorder("="), copy=True).reshape(shape)
