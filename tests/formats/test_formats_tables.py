"""sources and stol: nanoBragg's column files, with its delimiters and its missing columns."""

from pathlib import Path

import numpy as np
import pytest

from nbnumba.errors import InputError
from nbnumba.formats import sources, stol

GOLDEN = Path(__file__).parents[1] / "golden"
NAN = float("nan")


def read_with(reader, tmp_path, text):
    path = tmp_path / "in.txt"
    path.write_text(text)
    return reader.read(path)


def test_golden_sources():
    found = sources.read(GOLDEN / "SRC")
    expected = [[-10, 0, 0, 1, 1.2e-10], [-10, 0.02, 0, 2, 1.3e-10], [-10, 0, -0.03, 1, 1.2e-10]]
    np.testing.assert_array_equal(found, expected)
    assert found.dtype == np.float64


@pytest.mark.parametrize(
    "text, expected",
    [
        ("-10:0;0!1\n", [[-10, 0, 0, 1, NAN]]),
        ("-10, 0,\t0\n\n ,;\n-9 1", [[-10, 0, 0, NAN, NAN], [-9, 1, NAN, NAN, NAN]]),
        ("nan NaN nan 2 1.1e-10\n", [[NAN, NAN, NAN, 2, 1.1e-10]]),
        ("-10 0 0 1 1e-10 text 7\n", [[-10, 0, 0, 1, 1e-10]]),
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
    ],
)
def test_refused_sources(tmp_path, text, message):
    with pytest.raises(InputError, match=f"^-sourcefile: .*in.txt.*{message}"):
        read_with(sources, tmp_path, text)


def test_stol(tmp_path):
    found = read_with(stol, tmp_path, "# stol F\n0.1 5 extra\n0.0,6\n\n0.2\n")
    np.testing.assert_array_equal(found, [[0.1, 5], [0.0, 6], [0.2, NAN]])


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "has no numbers; each line should be x F"),
        ("0 1\nx 2", r"line 2 \('x 2'\): x must be a finite number, not 'x'"),
        ("0 1\n0.1 y", "line 2 .*: F must be a finite number, not 'y'"),
        ("0 1\nnan 2", "line 2 .*: x must be a finite number, not nan"),
    ],
)
def test_refused_stol(tmp_path, text, message):
    with pytest.raises(InputError, match=f"^-stol: .*in.txt.*{message}"):
        read_with(stol, tmp_path, text)


@pytest.mark.parametrize("reader, what", [(sources, "-sourcefile"), (stol, "-Q")])
def test_missing_file(reader, what):
    with pytest.raises(InputError, match=f"^{what}: no such file 'none.txt'$"):
        reader.read("none.txt", what)
