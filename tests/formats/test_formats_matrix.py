"""matrix: nine numbers row by row, and files that are no matrix."""

import gzip
import re
import warnings

import numpy as np
import pytest
from golden_cases import GOLDEN

import nbnumba
from nbnumba.errors import InputError
from nbnumba.formats import matrix


def read(tmp_path, text):
    path = tmp_path / "in.mat"
    path.write_text(text)
    return matrix.read(path)


def test_golden_matrix():
    matrix_read = matrix.read(GOLDEN / "MAT")
    expected = [
        [-0.02837711, -0.00305386, 0.02535816],
        [-0.02871390, 0.01019549, -0.01400049],
        [0.01050048, -0.03209440, -0.01036054],
    ]
    np.testing.assert_array_equal(matrix_read, expected)
    assert matrix_read.dtype == np.float64


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


MOSFLM = "0.01 0 0\n0 0.02 0\n0 0 0.03\n 0.0 0.0 0.0\n1 0 0\n0 1 0\n0 0 1\n  120.0 60.0 40.0 90.0 90.0 90.0\n 0 0 0\n"


@pytest.mark.parametrize(
    "text, cell",
    [
        (MOSFLM, (120.0, 60.0, 40.0, 90.0, 90.0, 90.0)),
        (MOSFLM + "SYMM P43212\n", (120.0, 60.0, 40.0, 90.0, 90.0, 90.0)),
        (MOSFLM.replace("\n", " "), (120.0, 60.0, 40.0, 90.0, 90.0, 90.0)),
        ("".join(MOSFLM.splitlines(keepends=True)[:3]), None),
        ("".join(MOSFLM.splitlines(keepends=True)[:7]), None),
        (MOSFLM.replace("120.0", "-120.0"), None),
        (MOSFLM.replace("90.0 90.0 90.0", "90.0 90.0 190.0"), None),
        (MOSFLM.replace("\n1 0 0", "\nU"), None),
        (MOSFLM.replace("120.0", "1e999"), None),
    ],
)
def test_the_cell_that_a_file_states(tmp_path, text, cell):
    (tmp_path / "in.mat").write_text(text)
    matrix_and_cell = matrix.read_with_cell(tmp_path / "in.mat")
    np.testing.assert_array_equal(matrix_and_cell[0], np.diag([0.01, 0.02, 0.03]))
    assert matrix_and_cell[1] == cell


@pytest.mark.parametrize(
    "flags, message",
    [
        ("-lambda 1.2", ""),
        ("-lambda 1.202", ""),
        ("-energy 10332", ""),
        (
            "-lambda 1",
            "states the cell 120 60 40 90 90 90, and its matrix at 1 A is of 100 50 33.3333.*agree at 1.2 A, -lambda 1.2",
        ),
        ("-energy 2000", "agree at 1.2 A"),
    ],
)
def test_a_matrix_of_another_wavelength_is_said(tmp_path, flags, message):
    (tmp_path / "in.mat").write_text(MOSFLM)
    words = ["-mat", str(tmp_path / "in.mat"), "-default_F", "1", *flags.split()]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        nbnumba.Experiment.from_args(words)
    messages = [str(warning.message) for warning in caught]
    assert len(messages) == bool(message)
    assert not message or re.search(message, messages[0])


def test_a_matrix_of_another_cell_is_said(tmp_path):
    (tmp_path / "in.mat").write_text(MOSFLM.replace("60.0", "70.0"))
    with pytest.warns(UserWarning, match="of 120 60 40 90 90 90, which counts; they agree at no wavelength"):
        nbnumba.Experiment.from_args(["-mat", str(tmp_path / "in.mat"), "-default_F", "1", "-lambda", "1.2"])


@pytest.mark.parametrize("text", ["70 0 0 0 80 0 0 0 90", "1e-7 0 0 0 1e-7 0 0 0 1e-7"])
def test_a_matrix_of_another_unit_is_said(tmp_path, text):
    (tmp_path / "in.mat").write_text(text)
    with pytest.warns(UserWarning, match="at 1 A the cell is .* 90 90 90; a matrix holds a. b. c. in 1/A"):
        nbnumba.Experiment.from_args(["-mat", str(tmp_path / "in.mat"), "-default_F", "1"])


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "elements",
    [
        np.zeros((3, 3)),
        np.ones((3, 3)),
        np.eye(3) * 1e-300,
        np.eye(3) * 1e300,
        np.eye(3) * 1e-20,
        np.eye(3) * 1e90,
        np.diag([1.0, 1.0, np.nan]),
        np.diag([1.0, 1.0, np.inf]),
        np.array([[1, 0, 0], [0, 1, 1], [0, 0, 1e-12]]),
        np.eye(2),
        "matrix",
        None,
        [["a"] * 3] * 3,
    ],
)
def test_a_matrix_of_no_cell_is_refused_in_one_line(elements):
    with pytest.raises(InputError, match="^crystal: the matrix") as caught:
        nbnumba.Crystal.from_matrix(elements, 1.0)
    assert "\n" not in str(caught.value)


def test_a_matrix_of_an_impossible_cell_names_its_file(tmp_path):
    (tmp_path / "in.mat").write_text("1e20 0 0 0 1e20 0 0 0 1e20")
    with pytest.raises(InputError, match="^-mat: the matrix in '.*in.mat', at 1 A, is of a cell 1e-20 1e-20 1e-20 90 90 90: "):
        nbnumba.Experiment.from_args(["-mat", str(tmp_path / "in.mat"), "-default_F", "1"])


def test_a_table_is_not_a_matrix(tmp_path):
    """A MOSFLM file has about 30 numbers; a list of reflections or a spectrum has more."""
    (tmp_path / "list").write_text("".join(f"{h} {h * h} {h**3 % 7} 1{h}.5\n" for h in range(1, 20)))
    with pytest.raises(InputError, match="^-mat: .*list' holds more than 60 numbers; allowed: a matrix as MOSFLM writes it"):
        matrix.read(tmp_path / "list")
