"""The tables of rows: every row of a tile has one line, and the functions that it names use the row."""

import ast
import re
from pathlib import Path

import pytest

import adjoint
import nbnumba
from adjoint.loops import rows as backward
from nbnumba.loops import rows as forward

PACKAGES = {"nbnumba": (nbnumba, forward), "adjoint": (adjoint, backward)}
DERIVED = {"ROWS_END", "CHANNELS_END", "ALL_END", "TILE", "WIDTH", "LANES", "CHANNELS", "X_BAR", "Y_BAR", "Z_BAR", "W_BAR"}


def table(package):
    """The lines of the table of a package: names of rows, and the functions that write and read them."""
    module = PACKAGES[package][1]
    for line in Path(module.__file__).read_text().splitlines():
        cells = [cell.strip() for cell in line.split(" | ")]
        if len(cells) > 2 and cells[0] != "row":
            names = [name.strip() for name in cells[0].split(",")]
            yield names, [word for cell in cells[2:] for word in re.findall(r"\b[a-z]\w+", cell)]


@pytest.mark.parametrize("package", PACKAGES)
def test_every_row_has_one_line(package):
    """No row is missing in the table, and none is listed twice."""
    listed = [name for names, _ in table(package) for name in names]
    module = PACKAGES[package][1]
    text = Path(module.__file__).read_text()
    own = re.findall(r"\b[A-Z][A-Z_]+\b", "\n".join(re.findall(r"^\($.*?^\) =", text, re.M | re.S)))
    assert sorted(listed) == sorted(set(own) - DERIVED)


@pytest.mark.parametrize("package", PACKAGES)
def test_the_functions_that_a_line_names_are_there(package):
    """Writers and readers are functions of the loops of either package."""
    files = [path for room, _ in PACKAGES.values() for path in (Path(room.__file__).parent / "loops").glob("*.py")]
    trees = [ast.walk(ast.parse(path.read_text())) for path in files]
    functions = {node.name for tree in trees for node in tree if isinstance(node, ast.FunctionDef)}
    units = {"electrons", "photon", "sr", "unit", "of", "the", "parameter", "deg"}
    for names, words in table(package):
        missing = {word for word in words if len(word) > 2} - functions - units
        assert not missing, (names, missing)
