"""matrix: nine numbers row by row, and files that are no matrix."""

import gzip
from pathlib import Path

import numpy as np
import pytest

from nbnumba.errors import InputError
from nbnumba.formats import matrix

GOLDEN = Path(__file__).parents[1] / "golden"


def read(tmp_path, text):
    path = tmp_path / "in.mat"
    path.write_text(text)
    return matrix.read(path)


def test_golden_matrix():
    found = matrix.read(GOLDEN / "MAT")
    expected = [
        [-0.02837711, -0.00305386, 0.02535816],
        [-0.02871390, 0.01019549, -0.01400049],
        [0.01050048, -0.03209440, -0.01036054],
    ]
    np.testing.assert_array_equal(found, expected)
    assert found.dtype == np.float64


@pytest.mark.parametrize(
    "text",
    [
        "1 2 3\n4 5 6\n7 8 10\n",
        "1 2 3 4 5 6 7 8 10",
        "1\n2\n3\n4\n5\n6\n7\n8\n10\n",
        "# a matrix\n 1. 2e0 3D0\r\n4 5 6 ! row two\r\n\r\n7 8 10",
        "1 2 3\n4 5 6\n7 8 10\n 0.000 0.000 0.000\n1 0 0\n0 1 0\n0 0 1\n78 78 37 90 90 90\n",
        "1 2 3\n4 5 6\n7 8 10\nSYMM P43212\n",
        "1 2 3\n4 5 6\n7 8 10 and more",
    ],
)
def test_first_nine_numbers_row_by_row(tmp_path, text):
    np.testing.assert_array_equal(read(tmp_path, text), [[1, 2, 3], [4, 5, 6], [7, 8, 10]])


def test_gzip(tmp_path):
    (tmp_path / "in.mat").write_bytes(gzip.compress(b"1 0 0 0 1 0 0 0 1"))
    np.testing.assert_array_equal(matrix.read(tmp_path / "in.mat"), np.eye(3))


@pytest.mark.parametrize("scale", [1e-300, 1e-3, 1e300])
def test_size_alone_makes_no_matrix_singular(tmp_path, scale):
    np.testing.assert_array_equal(read(tmp_path, f"{scale} 0 0 0 {scale} 0 0 0 {scale}"), np.eye(3) * scale)


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "has 0 numbers; a matrix takes nine"),
        ("1 2 3\n4 5 6\n7 8\n", "has 8 numbers; a matrix takes nine"),
        ("1 2 3\n4 x 6\n7 8 10", r"line 2 \('4 x 6'\): a matrix element must be a finite number, not 'x'"),
        ("1 2 3\n4 5 nan\n7 8 10", r"line 2 \('4 5 nan'\): .* not 'nan'"),
        ("1 2 3\n4 5 6\n7 8 1e999", r"line 3 \('7 8 1e999'\): .* not '1e999'"),
        ("1 2 3\n4 5 6\n7 8 9\n", "is singular"),
        ("1 0 3\n4 0 6\n7 0 9\n", "is singular"),
        ("0 0 0 0 0 0 0 0 0", "is singular"),
    ],
)
def test_refused(tmp_path, text, message):
    with pytest.raises(InputError, match=f"^-mat: .*in.mat.*{message}"):
        read(tmp_path, text)


def test_missing_file():
    with pytest.raises(InputError, match="-mat: no such file 'none.mat'"):
        matrix.read("none.mat")
