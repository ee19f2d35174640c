"""Reflection tables of DIALS, read without it: what DIALS writes, what we write, and what is no table or a damaged one."""

import struct
import tracemalloc

import dials
import numpy as np
import pytest

from nbnumba import InputError
from nbnumba.formats.messagepack import Damaged, Reader, packed
from nbnumba.formats.refl import REFLECTION_TABLE, read_refl, write_refl

COLUMNS = {
    "miller_index": ("cctbx::miller::index<>", np.array([[1, -2, 3], [0, 0, 0]])),
    "id": ("int", np.array([0, -1])),
    "flags": ("std::size_t", np.array([768, 2**40])),
    "entering": ("bool", np.array([True, False])),
    "d": ("double", np.array([1.5, np.nan])),
    "xyzcal.px": ("vec3<double>", np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])),
    "centre.px": ("vec2<double>", np.array([[1.0, 2.0], [3.0, 4.0]])),
    "bbox": ("int6", np.arange(12).reshape(2, 6)),
    "matrix": ("mat3<double>", np.arange(18.0).reshape(2, 9)),
}
TYPES = {"miller_index": "i4", "id": "i4", "flags": "u8", "entering": "?", "bbox": "i4"}


def table(data, rows=2, version=1, **more):
    """The bytes of a table of these columns, each [type, [rows, bytes]]."""
    return packed([REFLECTION_TABLE, version, {"identifiers": {}, "nrows": rows, "data": data, **more}])


def column(kind="int", rows=2, size=8):
    return [kind, [rows, bytes(size)]]


def read(tmp_path, content):
    (tmp_path / "t.refl").write_bytes(content)
    return read_refl(tmp_path / "t.refl", "-refl")


def test_what_is_written_is_read(tmp_path):
    write_refl(tmp_path / "t.refl", COLUMNS, "-predictions")
    found = read_refl(tmp_path / "t.refl", "-refl")
    assert found.rows == 2 and found.identifiers == {} and list(found.columns) == list(COLUMNS)
    for name, (_, array) in COLUMNS.items():
        np.testing.assert_array_equal(found.columns[name], array)
        assert found.columns[name].dtype == np.dtype(TYPES.get(name, "f8")) and found.columns[name].flags.writeable


def test_other_columns_are_gone_past(tmp_path):
    """Shoeboxes, texts and keys of no meaning here, whatever they hold."""
    data = {"a": ["std::string", [2, ["x", "y" * 40]]], "b": ["Shoebox<>", [2, b"\xff" * 70000]], "c": column()}
    found = read(tmp_path, table(data, later={"x": [1, {"y": [b"z"]}]}))
    assert list(found.columns) == ["c"] and found.columns["c"].tolist() == [0, 0]


def test_both_versions(tmp_path):
    assert read(tmp_path, table({"c": column()}, version=2)).rows == 2
    assert read(tmp_path, table({}, rows=0)).columns == {}


@pytest.mark.parametrize(
    "content, sentence",
    [
        (b"", "it begins as another file"),
        (b"h k l\n", "it begins as another file"),
        (packed(["dials::af::other", 1, {}]), "it begins as another file"),
        (b"\x80\x04\x95abc", "is a pickle, as old versions of DIALS wrote, .*; allowed: a reflection table of DIALS"),
        (b"\x89HDF\r\n\x1a\n", "is an HDF5 file; allowed: a reflection table of DIALS"),
        (table({}, version=3), "it is of version 3, and 1 and 2 are known"),
        (table({"c": column(size=7)}), "its column c has 7 bytes for 2 rows"),
        (table({"c": column(rows=2**60)}), "its column c has 8 bytes for 1152921504606846976 rows"),
        (table({"c": column()}, rows=3), "its column c has 2 rows, and the table 3"),
        (table({"c": ["int", [2]]}), "a list of 1 stands where a list of 2 should"),
        (table({"c": ["int", ["x", b""]]}), "text stands where a whole number should"),
        (table({"c": ["int", [2, "x" * 8]]}), "text stands where bytes should"),
        (table({"c": [7, [2, b""]]}), "a number stands where a text should"),
        (table([]), "a list stands where a map should"),
        (table({"c": column()})[:-3], "it ends 3 bytes too early"),
        (table({"c": column()}) + b"\0\0", "2 bytes follow the table"),
        (table({"c": column("Shoebox<>", 2, 8)})[:-10] + b"\xc6\xff\xff\xff\xff", "it ends 4294967295 bytes too early"),
        (table({"c": column("Shoebox<>", 2, 0)})[:-2] + b"\xdd\xff\xff\xff\xff\x01", "it ends 1 bytes too early"),
        (table({"ab": column()}).replace(b"\xa2ab", b"\xa2a\xff"), "a text is not UTF-8"),
    ],
)  # fmt: skip
def test_what_is_no_table_is_refused_in_a_sentence(tmp_path, content, sentence):
    with pytest.raises(InputError, match=rf"^-refl: '.*t.refl' .*{sentence}") as refusal:
        read(tmp_path, content)
    assert "; allowed: a reflection table of DIALS (.refl, MessagePack)" in str(refusal.value)


def test_a_missing_file(tmp_path):
    with pytest.raises(InputError, match="-refl: no such file"):
        read_refl(tmp_path / "none.refl", "-refl")


def test_a_table_that_is_cut_anywhere_is_refused(tmp_path):
    """And one of any changed byte is read, or refused: in the memory of the file, whatever lengths it claims."""
    write_refl(tmp_path / "t.refl", COLUMNS, "-predictions")
    whole = (tmp_path / "t.refl").read_bytes()
    tracemalloc.start()
    for end in range(len(whole)):
        with pytest.raises(InputError):
            read(tmp_path, whole[:end])
    for place in range(len(whole)):
        for byte in (0x80, 0xC0, 0xC6, 0xDD, 0xDF, 0xCF, 0xFF):
            try:
                read(tmp_path, whole[:place] + bytes([byte]) + whole[place + 1 :])
            except InputError:
                pass
    assert tracemalloc.get_traced_memory()[1] < 2**25  # read() of a file takes half of that
    tracemalloc.stop()


@pytest.mark.parametrize(
    "content, value",
    [
        (b"\xcc\xff", 255), (b"\xcd\x01\x00", 256), (b"\xce\0\0\1\0", 256), (b"\xd0\xff", -1), (b"\xd1\xff\xfe", -2),
        (b"\xd2\xff\xff\xff\xfd", -3), (b"\xd3" + b"\xff" * 8, -1), (b"\xe0", -32), (b"\x7f", 127),
    ],
)  # fmt: skip
def test_whole_numbers_by_their_definition(content, value):
    assert Reader(content).whole() == value


@pytest.mark.parametrize(
    "value",
    [
        b"\xc0", b"\xc2", b"\xc3", b"\xca" + bytes(4), b"\xcb" + bytes(8),
        b"\xd4\1x", b"\xd5\1xx", b"\xd6\1xxxx", b"\xd8\1" + bytes(16),
        b"\xd7\1" + bytes(8), b"\xc7\3\1xxx", b"\xc8\0\3\1xxx", b"\xc9\0\0\0\3\1xxx",
        b"\xda\0\1x", b"\xdb\0\0\0\1x", b"\xd9\1x",
        b"\xdc\0\2\1\2", b"\xdd\0\0\0\1\xc0", b"\xde\0\1\1\2", b"\xdf\0\0\0\1\1\x90", b"\xcf" + struct.pack(">Q", 2**63),
    ],
)  # fmt: skip
def test_every_kind_of_value_is_gone_past(value):
    reader = Reader(value + b"\x2a")
    reader.skip()
    assert reader.whole() == 42 and reader.remaining() == 0
    with pytest.raises(Damaged, match="too early"):
        reader.skip()


WRITE = """
import json, sys
from dials.array_family import flex
table = flex.reflection_table()
table["miller_index"] = flex.miller_index([(1, -2, 3), (40000, 0, -1), (0, 0, 0)])
table["id"] = flex.int([0, 1, -1])
table["flags"] = flex.size_t([768, 2**31, 0])
table["entering"] = flex.bool([True, False, True])
table["intensity.prf.value"] = flex.double([1.5, -2.25, 1e300])
table["xyzobs.px.value"] = flex.vec3_double([(1, 2, 3), (4, 5, 6), (7, 8, 9.5)])
table["mm"] = flex.vec2_double([(1, 2), (4, 5), (7, 8)])
table["matrix"] = flex.mat3_double([list(range(n, n + 9)) for n in range(3)])
table["bbox"] = flex.int6([(0, 2, 0, 3, 0, 1), (1, 3, 0, 3, 0, 1), (0, 2, 0, 3, 5, 6)])
table["words"] = flex.std_string(["a", "b" * 50, ""])
table["panel"] = flex.size_t([0, 0, 0])
table["shoebox"] = flex.shoebox(table["panel"], table["bbox"], allocate=True)
table.experiment_identifiers()[0] = "first"
table.experiment_identifiers()[1] = "second"
table.as_file(sys.argv[1])
table.as_pickle(sys.argv[2])
print(json.dumps(None))
"""


def test_a_table_that_dials_wrote(tmp_path):
    dials.answer(WRITE, tmp_path / "made.refl", tmp_path / "made.pickle")
    found = read_refl(tmp_path / "made.refl", "-refl")
    assert found.rows == 3 and found.identifiers == {0: "first", 1: "second"}
    expected = {
        "miller_index": [[1, -2, 3], [40000, 0, -1], [0, 0, 0]], "id": [0, 1, -1], "flags": [768, 2**31, 0],
        "entering": [True, False, True], "intensity.prf.value": [1.5, -2.25, 1e300],
        "xyzobs.px.value": [[1, 2, 3], [4, 5, 6], [7, 8, 9.5]], "mm": [[1, 2], [4, 5], [7, 8]],
        "matrix": [list(range(n, n + 9)) for n in range(3)], "panel": [0, 0, 0],
        "bbox": [[0, 2, 0, 3, 0, 1], [1, 3, 0, 3, 0, 1], [0, 2, 0, 3, 5, 6]],
    }  # fmt: skip
    assert set(found.columns) == set(expected)
    for name, values in expected.items():
        assert found.columns[name].tolist() == values, name
    with pytest.raises(InputError, match="is a pickle"):
        read_refl(tmp_path / "made.pickle", "-refl")
