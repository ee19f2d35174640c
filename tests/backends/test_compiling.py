"""Machine code on disk is used while its sources are the same, and never after one of them has changed."""

import ast
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from llvmlite.binding import Linkage

import nbnumba
from nbnumba import Experiment, simulate
from nbnumba.backends import cpu
from nbnumba.backends.binding import bind, culling_words, stage_jit, stages
from nbnumba.backends.compiling import SOURCES
from nbnumba.backends.cpu import machine_words
from nbnumba.backends.numba_loading import load_numba
from nbnumba.backends.precision import words
from nbnumba.loops import indices, interpolation

ARGS = (
    "-cell 70 80 90 -misset 1 2 3 -lambda 1.2 -N 5 -default_F 50 -distance 60 -detpixels 5 -oversample 2 "
    "-nonoise -nopgm -nointfile -floatfile image.bin"
).split()
FORMULA = "return amplitude * amplitude * lattice * lattice"


class Copy:
    """A copy of the package with a cache of its own."""

    def __init__(self, folder: Path):
        self.folder, self.cache = folder, folder / "cache"
        package = Path(nbnumba.__file__).parent
        shutil.copytree(package, folder / "nbnumba", ignore=shutil.ignore_patterns("__pycache__", "data", "*.nb?"))

    def image(self):
        """The numbers of an image that a process of its own renders. Its messages are kept in `said`."""
        kept_apart = {"NUMBA_CACHE_DIR": str(self.cache), "PYTHONPATH": str(self.folder), "NUMBA_NUM_THREADS": "2"}
        command = [sys.executable, "-m", "nbnumba", *ARGS]
        done = subprocess.run(command, cwd=self.folder, env=os.environ | kept_apart, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        self.said = done.stderr
        return memoryview((self.folder / "image.bin").read_bytes()).cast("f").tolist()

    def compiled(self):
        """The files of machine code, and the time at which each was written."""
        return {path.name: path.stat().st_mtime_ns for path in self.cache.rglob("*.nb[co]")}

    def edit(self, file, old, new):
        path = self.folder / "nbnumba" / file
        text = path.read_text()
        assert text.count(old) == 1
        path.write_text(text.replace(old, new))


def is_whole(content):
    """Whether a file of machine code begins with the SHA-256 of the rest."""
    return hashlib.sha256(content[32:]).digest() == content[:32]


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    return Copy(tmp_path_factory.mktemp("copy"))


def test_changed_stages_are_compiled_anew_and_unchanged_ones_are_not(copy):
    """The stage is in another file than the driver that it is compiled into, and Numba looks at neither."""
    before = copy.image()
    first = copy.compiled()
    assert copy.said.startswith("nbnumba: compiling") and copy.said.count("\n") == 1
    assert len(before) == 25 and min(before) > 0 and first
    copy.edit("stages/pixel.py", FORMULA, FORMULA + " * real(2)")
    assert copy.image() == [2 * value for value in before]
    second = copy.compiled()
    assert set(second) > set(first)
    assert copy.image() == [2 * value for value in before]
    assert copy.compiled() == second and not copy.said
    copy.edit("stages/pixel.py", FORMULA + " * real(2)", FORMULA)
    assert copy.image() == before
    assert copy.compiled() == second and not copy.said
    damaged = [path for path in copy.cache.rglob("*.nb[co]") if path.name in first]
    for path in damaged:
        path.write_bytes(path.read_bytes()[:-100])
    assert copy.image() == before
    assert copy.said.startswith("nbnumba: compiling")
    assert damaged and all(is_whole(path.read_bytes()) for path in damaged)


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
    """Every function that is decorated to be compiled is in a file that the digest covers."""
    root = Path(nbnumba.__file__).parent.parent
    sources = {path for pattern in SOURCES for path in root.glob(pattern)}
    marks = ("njit", "backends.compiling", "cuda.jit", "backends.binding")
    compiled = {path for room in ("nbnumba", "adjoint") for path in (root / room).rglob("*.py")}
    assert not {path for path in compiled if any(mark in path.read_text() for mark in marks)} - sources


def test_no_kernel_shows_its_functions_to_another():
    """Kernels have functions of the same name and other code: the linker took those of the kernel that came first for both.

    An image of a parallelepiped was then 0 after that of a Gaussian spot.
    """
    load_numba()  # else an image may be computed by code that is kept without Numba
    simulate(Experiment.from_args(ARGS[:-4]))
    kernel = cpu.kernel("double", False).dispatcher()
    (compiled,) = kernel.overloads.values()
    functions = [function for function in compiled.library._get_module_for_linking().functions if not function.is_declaration]
    shown = [function.name for function in functions if function.linkage not in (Linkage.internal, Linkage.private)]
    assert shown and all(kernel.__name__ in name for name in shown)


def test_kernels_share_the_parts_that_are_equal_with_all_that_these_call():
    """Of two precisions: a part that calls one which differs is another one, even if that is defined after it."""

    def bound(precision):
        modules = [*stages(precision), indices, interpolation]
        return bind(modules, stage_jit, machine_words() | words(precision) | culling_words(False))

    first, second = bound("double"), bound("paired")
    assert first["begin_cells"] is second["begin_cells"]
    for name in ("index", "fractional_hkl", "find_corners", "interpolate"):
        assert first[name] is not second[name], name
