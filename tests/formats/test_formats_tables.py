"""sources and stol: nanoBragg's column files, with its delimiters and its missing columns."""

import numpy as np
import pytest
from golden_cases import GOLDEN

from nbnumba.errors import InputError
from nbnumba.formats import sources, stol

NAN = float("nan")


def read_with(reader, tmp_path, text):
    path = tmp_path / "in.txt"
    path.write_text(text)
    return reader.read(path)


def test_golden_sources():
    table = sources.read(GOLDEN / "SRC")
    expected = [[-10, 0, 0, 1, 1.2e-10], [-10, 0.02, 0, 2, 1.3e-10], [-10, 0, -0.03, 1, 1.2e-10]]
    np.testing.assert_array_equal(table, expected)
    assert table.dtype == np.float64


@pytest.mark.parametrize(
    "text, expected",
    [
        ("-10:0;0!1\n", [[-10, 0, 0, 1, NAN]]),
        ("-10, 0,\t0\n\n ,;\n-9 1 nan", [[-10, 0, 0, NAN, NAN], [-9, 1, NAN, NAN, NAN]]),
        ("nan NaN nan 2 1.1e-10\n", [[NAN, NAN, NAN, 2, 1.1e-10]]),
        ("-10,0,0,1,1e-10\n", [[-10, 0, 0, 1, 1e-10]]),
        ("# X Y Z\n-10 0 0 1 1d-10 # first\r\n", [[-10, 0, 0, 1, 1e-10]]),
        ("  -10 0 0 0", [[-10, 0, 0, 0, NAN]]),
    ],
)
def test_accepted_sources(tmp_path, text, expected):
    np.testing.assert_array_equal(read_with(sources, tmp_path, text), expected)


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "has no numbers; each line should be X Y Z weight wavelength"),
        ("# none\n,,\n", "has no numbers"),
        ("-10 0 0\n\n-10 a 0", r"line 3 \('-10 a 0'\): Y must be a finite number, not 'a'"),
        ("-10 0 0 1 inf", "line 1 .*: wavelength must be a finite number, not 'inf'"),
        ("-10 0 0 -1", "line 1 .*: weight must not be negative, but is -1"),
        ("-10 0 0 1 0", "line 1 .*: wavelength must be positive .*, but is 0"),
        ("-10 0 0 1 -1e-10", "line 1 .*: wavelength must be positive .*, but is -1e-10"),
        ("-10 0 0\n0 0 0 1", "line 2 .*: X Y Z must not all be 0"),
        ("1.02 0.0268\n1.03 0.04\n", "line 1 .*: it has 2 of at least 3 numbers; .* is read by -spectrum"),
        ("-10 0 0 1 1.2", "line 1 .*: wavelength 1.2 is not a wavelength in metres; in A it would be 1.2e-10"),
        ("-10 0 0 1 12680", "line 1 .*: wavelength 12680 is not .*; as an energy in eV it would be 0.97779.*e-10"),
        ("-10 0 0 1 1e-5", "line 1 .*: wavelength 1e-05 is not a wavelength in metres; allowed: 1e-15 to 1e-06"),
        ("-10 0 0 1 1e-20", "line 1 .*: wavelength 1e-20 is not a wavelength in metres"),
        ("1e200 0 0", "line 1 .*: X Y Z is 1e.200 from the crystal; allowed: 1e-30 to 1e.30"),
        ("nan 1e-200 0", "line 1 .*: X Y Z is 1e-200 from the crystal"),
        ("-10 0 0 1e300", "line 1 .*: weight must be 0, or 1e-30 to 1e.30, but is 1e.300"),
        ("-10 0 0 1e-310", "line 1 .*: weight must be 0, or"),
        ("-10 0 0 1,5 1e-10", "line 1 .*: a comma between digits, and other separators; allowed: decimal points"),
        ("-10;0;0;1,5", "line 1 .*: a comma between digits"),
        ("-10 0 0\r-9 0 0\n-8 0 0\n", "line 1 has a carriage return in its middle"),
        ("-10 0 0 \0 1", "is not text: it holds bytes of value 0; allowed: a source on each line"),
    ],
)
def test_refused_sources(tmp_path, text, message):
    with pytest.raises(InputError, match=f"^-sourcefile: .*in.txt.*{message}"):
        read_with(sources, tmp_path, text)


def test_more_columns_are_said(tmp_path):
    with pytest.warns(
        UserWarning, match="^-sourcefile .*in.txt': 1 line has more columns than X Y Z weight wavelength; the others"
    ):
        table = read_with(sources, tmp_path, "-10 0 0 1 1e-10 text 7\n-10 0 0")
    assert table.shape == (2, 5)
    with pytest.warns(UserWarning, match="^-stol .*: 2 lines have more columns than x F"):
        read_with(stol, tmp_path, "0 1 2\n1 2 3")


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\r\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_line_ends_and_encodings(tmp_path, end, encoding):
    text = end.join(["# sources", "-10\t0\u00a00 1 1e-10", "-9 0\f0\v2", ""])
    (tmp_path / "in.txt").write_bytes(text.encode(encoding))
    np.testing.assert_array_equal(sources.read(tmp_path / "in.txt"), [[-10, 0, 0, 1, 1e-10], [-9, 0, 0, 2, NAN]])


def test_the_spectrum_of_the_message_is_read(tmp_path):
    """What the refusal of a spectrum advises."""
    table = read_with(sources, tmp_path, "nan nan nan 0.0268 1.02e-10\nnan nan nan 0.0402 1.021e-10\n")
    np.testing.assert_array_equal(table[:, 3:], [[0.0268, 1.02e-10], [0.0402, 1.021e-10]])


def test_stol(tmp_path):
    table = read_with(stol, tmp_path, "# stol F\n0.1 5\n0.0,6\n\n0.2\n")
    np.testing.assert_array_equal(table, [[0.1, 5], [0.0, 6], [0.2, NAN]])


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "has no numbers; each line should be x F"),
        ("0 1\nx 2", r"line 2 \('x 2'\): x must be a finite number, not 'x'"),
        ("0 1\n0.1 y", "line 2 .*: F must be a finite number, not 'y'"),
        ("0 1\nnan 2", "line 2 .*: x must be a finite number, not nan"),
        ("0 1\n1e300 2", "line 2 .*: x must be at most 1e.10, but is 1e.300"),
        ("0 1\n1 -1e200", "line 2 .*: F must be at most 1e.10, but is -1e.200"),
        ("0 1\n1 2\n1e-200 3", "line 3 .*: x differs by 1e-200 from another; allowed: a billionth"),
        ("0,1 2", "line 1 .*: a comma between digits"),
    ],
)
def test_refused_stol(tmp_path, text, message):
    with pytest.raises(InputError, match=f"^-stol: .*in.txt.*{message}"):
        read_with(stol, tmp_path, text)


@pytest.mark.parametrize("reader, what", [(sources, "-sourcefile"), (stol, "-Q")])
def test_missing_file(reader, what):
    with pytest.raises(InputError, match=f"^{what}: no such file 'none.txt'$"):
        reader.read("none.txt", what)


def test_a_list_of_reflections_as_sources_is_warned_of(tmp_path):
    (tmp_path / "list").write_text("".join(f"{h} {k} 1 12.5\n" for h in range(5) for k in range(5)))
    with pytest.warns(UserWarning, match="^-sourcefile: 25 sources stand at whole numbers, as indices of reflections do$"):
        sources.read(tmp_path / "list")
