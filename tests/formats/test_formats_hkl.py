"""hkl: what the text reader accepts, refuses and remarks on, and that write() brings back the same numbers."""

import gzip
import os

import numpy as np
import pytest

from nbnumba.errors import InputError
from nbnumba.formats import files, hkl


def read(tmp_path, content):
    path = tmp_path / "in.hkl"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return hkl.read(path)


COLUMNS = " than h k l F: the fourth is read as the amplitude F, not an intensity; the others are ignored"


def signs(counted):
    return f"{counted} below 0: the sign of an amplitude matters only in interpolation; an intensity is not an amplitude"


def test_round_trip_is_exact(tmp_path):
    random = np.random.default_rng(7)
    indices = np.stack(np.meshgrid(*[np.arange(-4, 5)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    amplitudes = random.normal(size=len(indices)) * 10.0 ** random.integers(-300, 300, len(indices))
    hkl.write(tmp_path / "out.hkl", indices, amplitudes)
    reflections = hkl.read(tmp_path / "out.hkl")
    np.testing.assert_array_equal(reflections.hkl, indices)
    np.testing.assert_array_equal(reflections.amplitudes, amplitudes)
    note = (signs(f"{np.count_nonzero(amplitudes < 0)} amplitudes are"),)
    assert (reflections.hkl.dtype, reflections.amplitudes.dtype, reflections.notes) == (np.int32, np.float64, note)


@pytest.mark.parametrize(
    "text, expected",
    [
        ("1 2 3 4.5\n-1 -2 -3 6\n", [(1, 2, 3, 4.5), (-1, -2, -3, 6)]),
        ("  1\t2   3 4.5", [(1, 2, 3, 4.5)]),
        ("1 2 3 4.5\r\n-1 -2 -3 6\r\n", [(1, 2, 3, 4.5), (-1, -2, -3, 6)]),
        ("1 2 3 4.5\r-1 -2 -3 6\r", [(1, 2, 3, 4.5), (-1, -2, -3, 6)]),
        ("# a title\n\n! remark\n1 2 3 4 # here\n   \n5 6 7 8! there", [(1, 2, 3, 4), (5, 6, 7, 8)]),
        ("1.0 +2 3. 1.5D+2\n-0 0 0 1d-1\n", [(1, 2, 3, 150), (0, 0, 0, 0.1)]),
        ("0 0 0 .5\n0 0 1 5.\n0 0 2 +1e3", [(0, 0, 0, 0.5), (0, 0, 1, 5), (0, 0, 2, 1000)]),
        ("\ufeff1 2\u00a03 4\f\n 1\v1 1 1", [(1, 2, 3, 4), (1, 1, 1, 1)]),
        ("2147483647 -2147483647 0 1", [(2147483647, -2147483647, 0, 1)]),
    ],
)
def test_accepted(tmp_path, text, expected):
    reflections = read(tmp_path, text)
    np.testing.assert_array_equal(reflections.hkl, np.array(expected)[:, :3])
    np.testing.assert_array_equal(reflections.amplitudes, np.array(expected, dtype=float)[:, 3])
    assert reflections.notes == ()


@pytest.mark.parametrize(
    "text, line, problem",
    [
        ("1 2 3 4\n1 2 3\n", "line 2 ('1 2 3')", "four numbers, not 3"),
        ("1 2 3 4\n\n# x\n7\n1 2 3 4 5", "line 4 ('7')", "four numbers, not 1"),
        ("1 2 3 # 4", "line 1 ('1 2 3 # 4')", "four numbers, not 3"),
        ("1 2 x 4", "line 1 ('1 2 x 4')", "l must be a finite number, not 'x'"),
        ("1 2 3 4\n1 2 3 nan", "line 2 ('1 2 3 nan')", "F must be a finite number, not 'nan'"),
        ("1 2 3 inf", "line 1 ('1 2 3 inf')", "F must be a finite number, not 'inf'"),
        ("1 2 3 1e999", "line 1 ('1 2 3 1e999')", "F must be a finite number, not '1e999'"),
        ("nan 2 3 4", "line 1 ('nan 2 3 4')", "h must be a finite number, not 'nan'"),
        ("1 2 3 0x10", "line 1 ('1 2 3 0x10')", "F must be a finite number, not '0x10'"),
        ("1 2 3 1_0", "line 1 ('1 2 3 1_0')", "F must be a finite number, not '1_0'"),
        ("1,2,3,4", "line 1 ('1,2,3,4')", "h must be a finite number, not '1,2,3,4'"),
        ("1 1.5 3 4", "line 1 ('1 1.5 3 4')", "k must be an integer of at most 32 bits, not '1.5'"),
        ("1 2 3000000000 4", "line 1 ('1 2 3000000000 4')", "l must be an integer of at most 32 bits"),
    ],
)
def test_refused_with_the_line(tmp_path, text, line, problem):
    with pytest.raises(InputError) as caught:
        read(tmp_path, text)
    message = str(caught.value)
    assert message.startswith("-hkl: ") and "in.hkl" in message
    assert line in message
    assert problem in message


SHELX = "   1   2   3  123.45    1.23   1\n  -1 -10   0-9999.99   12.00   1\n   0   0   0    0.00    0.00   0\n"

FOREIGN = {
    "an MTZ file": b"MTZ \x15\0\0\0" + bytes(100),
    "an INTEGRATE.HKL of XDS, which holds unmerged": b"!OUTPUT_FILE=INTEGRATE.HKL   DATE=1\n!END_OF_HEADER\n1 2 3 4 5 6 7\n",
    "a file of XDS, which holds intensities": b"!FORMAT=XDS_ASCII    MERGE=FALSE\n!ITEM_IOBS=4\n 1 2 3 4.0 0.5 6 7\n",
    "a file of SHELX": SHELX.encode(),
    "a file of SHELX (HKLF 4": SHELX[:66].encode(),
    "a CIF file": b"# made\n\ndata_r1abcsf\n#\nloop_\n_refln.index_h\n1 2 3 4\n",
    "a PDB file": b"HEADER    X\nCRYST1   10 10 10\nATOM      1  N\n",
    "a reflection file of CNS": b" NREFlection= 10\n ANOMalous=FALSE\n INDE 1 2 3 FOBS= 10.0 SIGMA= 1.0\n",
    "a file of scalepack": b"    1\n -987\n   78.0 78.0 37.0 90 90 90 p43212\n   1   2   3  10.0 1.0\n",
    "a reflection list of CrystFEL": b"CrystFEL reflection list version 2.0\nSymmetry: 4/mmm\n",
    "an SMV image": b"{\nHEADER_BYTES=512;\n}",
    "a JSON file": b'{"crystal": 1}',
    "an XML or HTML page": b"<!DOCTYPE html><html>",
    "an HDF5 file": b"\x89HDF\r\n\x1a\n" + bytes(20),
    "compressed by bzip2": b"BZh91AY&SY",
    "not text: it holds bytes of value 0": b"1 2 3 4\n\0\0",
}


@pytest.mark.parametrize("words", FOREIGN)
@pytest.mark.parametrize("packed", [False, True])
def test_files_of_other_programs_are_called_by_their_name(tmp_path, words, packed):
    with pytest.raises(InputError) as caught:
        read(tmp_path, gzip.compress(FOREIGN[words]) if packed else FOREIGN[words])
    message = str(caught.value)
    assert message.startswith("-hkl: ") and f" is {words}" in message and "; allowed: " in message
    assert "\n" not in message and "\\x" not in message and len(message) < 400 + len(str(tmp_path))


@pytest.mark.parametrize("text", ["   1   2   3  123.45\n", "   1   2   3   123.45    12.30\n", "1 2 3 4 5\n"])
def test_a_list_in_columns_is_not_taken_for_shelx(tmp_path, text):
    assert read(tmp_path, text).hkl.tolist()[-1] == [1, 2, 3]


def test_amplitudes_below_0(tmp_path):
    assert read(tmp_path, "1 0 0 -5\n2 0 0 3\n").notes == (signs("1 amplitude is"),)
    assert read(tmp_path, "1 0 0 -5\n2 0 0 -3\n").amplitudes.tolist() == [-5, -3]
    with pytest.raises(
        InputError, match="has F -999 for 2 reflections, such as 2 0 0, which marks a missing F; allowed: .*default_F"
    ):
        read(tmp_path, "1 0 0 -5\n2 0 0 -999.0\n3 0 0 -999")


def test_what_a_gzip_file_unpacks_to_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "LARGEST_TEXT", 10**6)
    with pytest.raises(InputError, match="unpacked, holds more than .* GiB"):
        read(tmp_path, gzip.compress(bytes(10**8)))
    with pytest.raises(InputError, match="in.hkl' holds more than"):
        read(tmp_path, b"1 2 3 4\n" * 200000)


def test_a_device_without_end_is_refused(monkeypatch):
    monkeypatch.setattr(files, "LARGEST_TEXT", 2**26)
    with pytest.raises(InputError, match="^-hkl: '/dev/zero' holds more than 0.0625 GiB"):
        hkl.read("/dev/zero")


@pytest.mark.parametrize("path", [None, 3.5, ["a"], object()])
def test_what_is_no_file_name(path):
    with pytest.raises(InputError, match="^-hkl: .* is not the name of a file; allowed: the name of a file"):
        hkl.read(path)


def test_long_lines_are_cut_in_the_message(tmp_path):
    with pytest.raises(InputError) as caught:
        read(tmp_path, "x" * 100000)
    assert len(str(caught.value)) < 400 + len(str(tmp_path))


@pytest.mark.parametrize("text", ["", "\n\n", "# only\n! remarks\n"])
def test_file_without_reflections(tmp_path, text):
    with pytest.raises(InputError, match="-hkl: .*in.hkl' has no reflections"):
        read(tmp_path, text)


def test_missing_file():
    with pytest.raises(InputError, match="hkl_file: no such file 'none.hkl'"):
        hkl.read("none.hkl", "hkl_file")


def test_last_of_a_repeated_reflection_is_used(tmp_path):
    reflections = read(tmp_path, "1 0 0 1\n2 0 0 2\n1 0 0 3\n0 5 0 4\n1 0 0 5\n2 0 0 6\n")
    assert reflections.hkl.tolist() == [[0, 5, 0], [1, 0, 0], [2, 0, 0]]
    assert reflections.amplitudes.tolist() == [4, 5, 6]
    assert reflections.notes == ("2 reflections are listed more than once; the last of each is used",)


def test_far_indices_are_not_confused(tmp_path):
    far = 10**9
    reflections = read(tmp_path, "".join(f"{h} {k} {far * h} 1\n" for h in (-1, 0, 1, 2) for k in (-far, far)))
    assert len(reflections.hkl) == 8 and reflections.notes == ()


@pytest.mark.parametrize("remark", ["", "# title\n"])
def test_extra_columns_are_ignored_and_counted(tmp_path, remark):
    reflections = read(tmp_path, remark + "1 2 3 4 0.5\n1 2 4 5\n1 2 5 6 0.5 text # remark\n")
    assert reflections.amplitudes.tolist() == [4, 5, 6]
    assert reflections.notes == ("2 lines have more columns" + COLUMNS,)


def test_both_notes_in_the_singular(tmp_path):
    reflections = read(tmp_path, "1 2 3 4 0.5\n1 2 3 5\n")
    assert reflections.amplitudes.tolist() == [5]
    assert reflections.notes == (
        "1 line has more columns" + COLUMNS,
        "1 reflection is listed more than once; the last of each is used",
    )


def test_gzip_by_its_content(tmp_path):
    reflections = read(tmp_path, gzip.compress(b"1 2 3 4\n"))
    assert (reflections.hkl.tolist(), reflections.amplitudes.tolist()) == ([[1, 2, 3]], [4.0])


def test_the_fast_and_the_careful_way_agree():
    """Whatever the fast way accepts, the careful one reads as the same numbers."""
    random = np.random.default_rng(3)
    tokens = ["1", "-2", "3.0", "4.5", "1e2", "1D2", "x", "nan", "#", "!", "\n", "\n", "\n\n", "\t", "+7", ".5", "1e"]
    accepted = 0
    for _ in range(2000):
        line = " ".join(random.choice(tokens[:5], 4))
        text = line + "\n" + " ".join(random.choice(tokens, random.integers(1, 14)))
        at_once = hkl._rows_at_once(text)
        if at_once is not None:
            accepted += 1
            np.testing.assert_array_equal(at_once, hkl._rows_one_by_one(text, "f", "-hkl"))
    assert accepted > 50


def test_write_refuses_amplitudes_that_no_reader_takes(tmp_path):
    with pytest.raises(InputError, match="reflection 4 5 6 is nan; it must be finite"):
        hkl.write(tmp_path / "out.hkl", [[1, 2, 3], [4, 5, 6]], [1.0, np.nan])
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("indices, values", [([[1, 2]], [1.0]), ([[1, 2, 3]], [1.0, 2.0]), ([[1.0, 2, 3]], [1.0])])
def test_write_refuses_arrays_that_do_not_match(tmp_path, indices, values):
    with pytest.raises(ValueError, match="hkl must be"):
        hkl.write(tmp_path / "out.hkl", indices, values)
