"""Machine code that is kept on disk: used again while the sources are the same, never after any of them changed."""

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import nbnumba
from nbnumba.backends.kept import SOURCES

SCRIPT = """
import numpy as np
from nbnumba import Experiment, simulate
args = "-cell 70 80 90 -misset 1 2 3 -lambda 1.2 -N 5 -default_F 50 -distance 60 -detpixels 5 -oversample 1".split()
simulate(Experiment.from_args(args)).tofile("image")
"""
FORMULA = "return amplitude * amplitude * lattice * lattice"


class Copy:
    """A copy of the package with a cache of its own."""

    def __init__(self, folder: Path):
        self.folder, self.cache = folder, folder / "cache"
        package = Path(nbnumba.__file__).parent
        shutil.copytree(package, folder / "nbnumba", ignore=shutil.ignore_patterns("__pycache__", "data", "*.nb?"))

    def image(self):
        """The bytes of an image, rendered in a process of its own."""
        kept_apart = {"NUMBA_CACHE_DIR": str(self.cache), "PYTHONPATH": str(self.folder), "NUMBA_NUM_THREADS": "2"}
        subprocess.run([sys.executable, "-c", SCRIPT], cwd=self.folder, env=os.environ | kept_apart, check=True)
        return memoryview((self.folder / "image").read_bytes()).cast("d").tolist()

    def compiled(self):
        """The files of machine code, and when each was written."""
        return {path.name: path.stat().st_mtime_ns for path in self.cache.rglob("*.nbc")}

    def edit(self, file, old, new):
        path = self.folder / "nbnumba" / file
        text = path.read_text()
        assert text.count(old) == 1
        path.write_text(text.replace(old, new))


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    return Copy(tmp_path_factory.mktemp("copy"))


def test_changed_stages_are_compiled_anew_and_unchanged_ones_are_not(copy):
    """The stage is in another file than the driver that it is compiled into, and than any file that Numba looks at."""
    before = copy.image()
    first = copy.compiled()
    assert len(before) == 25 and min(before) > 0 and first
    copy.edit("stages/pixel.py", FORMULA, FORMULA + " * real(2)")
    assert copy.image() == [2 * value for value in before]
    second = copy.compiled()
    assert set(second) > set(first)
    assert copy.image() == [2 * value for value in before]
    assert copy.compiled() == second
    copy.edit("stages/pixel.py", FORMULA + " * real(2)", FORMULA)
    assert copy.image() == before
    assert copy.compiled() == second


def test_the_digest_is_of_all_that_compiled_functions_import():
    """Sources import each other, libraries, and the module of the error that they raise, from which nothing is compiled."""
    root = Path(nbnumba.__file__).parent.parent
    sources = {path.relative_to(root) for pattern in SOURCES for path in root.glob(pattern)}
    assert len(sources) > 30
    for source in sources:
        for node in ast.walk(ast.parse((root / source).read_text())):
            if isinstance(node, ast.ImportFrom) and node.module.split(".")[0] in ("nbnumba", "adjoint"):
                for module in (node.module, *(f"{node.module}.{alias.name}" for alias in node.names)):
                    path = Path(*module.split("."))
                    files = {path.with_suffix(".py"), path / "__init__.py"} - {Path("nbnumba/errors.py")}
                    assert not [file for file in files if (root / file).exists() and file not in sources], (source, module)


def test_every_compiled_function_is_in_the_digest():
    """Whatever is decorated to be compiled stands in a file that the digest is of."""
    root = Path(nbnumba.__file__).parent.parent
    sources = {path for pattern in SOURCES for path in root.glob(pattern)}
    marks = ("njit", "backends.kept", "cuda.jit", "backends.compiler")
    compiled = {path for room in ("nbnumba", "adjoint") for path in (root / room).rglob("*.py")}
    assert not {path for path in compiled if any(mark in path.read_text() for mark in marks)} - sources
