"""Machine code that runs without Numba has the bits of Numba's, and nothing is kept that could not run alone."""

import os
import subprocess
import sys

import numba
import numpy as np
import pytest

from nbnumba import rng
from nbnumba.backends import bare_code, cached_files
from nbnumba.backends.bare_code import Arguments, BareCode

FLAGS = "-cell 50 60 70 80 90 100 -default_F 100 -N 5 -distance 100 -detpixels 20 -oversample 1 -seed 3 -quiet".split()
FILES = ("floatimage.bin", "intimage.img", "image.pgm", "noiseimage.img")
UNUSED = ("numba", "numba.cuda", "scipy", "fabio", "gemmi", "numpy.random", "numpy.ma", "numpy.polynomial", "adjoint")
RUN = (
    "import sys\n"
    "from nbnumba.cli.main import main\n"
    "status = main(sys.argv[1:])\n"
    f"print('loaded', status, *[name for name in {UNUSED!r} if name in sys.modules])"
)
DRAW = "import sys\nfrom nbnumba.rng import generator\nprint(generator(7).uniform(5).tobytes().hex(), 'numba' in sys.modules)"
SCENES = {
    "plain": "",
    "culled, in mixed precision": "-gauss_xtal -precision mixed",
    "mosaic, two threads": "-mosaic 1 -mosaic_domains 200 -oversample 3 -threads 2",
    "a defect": "-c_parity phi_carryover -osc 1 -phisteps 3 -phi -0.5",
}


def process(folder, *words, **environment):
    """The lines that a process of Python prints."""
    path = os.pathsep.join(name for name in sys.path if name)
    environment = os.environ | {"PYTHONPATH": path} | environment
    done = subprocess.run([sys.executable, *words], env=environment, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize("more", SCENES.values(), ids=SCENES)
def test_a_second_run_loads_no_numba_and_has_the_same_bits(tmp_path, more):
    """The first run compiles, or does so where no run has before; a setting that changes nothing makes the third use Numba."""
    words, images = ["-c", RUN, *FLAGS, *more.split()], []
    for environment, loaded in (({}, None), ({}, "loaded 0"), ({"NUMBA_OPT": "3"}, "loaded 0 numba")):
        last = process(tmp_path, *words, **environment)[-1]
        assert loaded is None or last.startswith(loaded) and len(last.split()) - len(loaded.split()) < 9, last
        assert loaded != "loaded 0" or last == loaded
        images.append([(tmp_path / name).read_bytes() for name in FILES])
    assert images[0] == images[1] == images[2] and len(set(images[0])) == 4


WITHOUT_IMAGE = ["--help", "--version", "--dry-run", "-foo", "-oversample 1000000", "refine --help", "-mat none"]


@pytest.mark.parametrize("words", WITHOUT_IMAGE)
def test_what_computes_nothing_loads_no_numba(tmp_path, words):
    first = [] if words.split()[0] in ("--help", "--version", "refine") else FLAGS
    last = process(tmp_path, "-c", RUN, *words.split()[:1], *first, *words.split()[1:])
    assert last[-1] in ("loaded 0", "loaded 2")


def test_a_damaged_file_is_left_to_numba(tmp_path):
    def drawn(**environment):
        hexadecimal, loaded = process(tmp_path, "-c", DRAW, NUMBA_CACHE_DIR=str(tmp_path), **environment)[-1].split()
        assert hexadecimal == rng.generator(7).uniform(5).tobytes().hex()
        return loaded == "True"

    assert drawn() and not drawn()
    (path,) = (tmp_path / "nbnumba").glob("*.nbo")
    assert drawn(NUMBA_BOUNDSCHECK="1") and drawn(NUMBA_CPU_NAME="generic")  # other code than that of the file
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    assert drawn()
    path.write_bytes(cached_files.sealed(content[32:].replace(b"fill_deviates", b"fill_deviatez")))
    assert drawn()
    path.write_bytes(content)
    (tmp_path / ".numba_config.yaml").write_text("opt: '3'\n")
    assert drawn()
    (tmp_path / ".numba_config.yaml").unlink()
    assert not drawn()


def compiled(function, *args):
    """What Numba compiles of a function, and the types in which its arguments are passed."""
    made = numba.njit(function, error_model="numpy")
    made(*args)
    return made.overloads[tuple(map(numba.typeof, args))], Arguments(args).types


def fill(x, y):
    """Fill an array with a number's tangent, or with its double."""
    for i in range(x.size):
        x[i] = np.tan(y[0]) if y[2] else y[0] * y[1]


def test_numbers_of_every_kind_arrive():
    x, y = np.zeros(5), (1.5, 3, True)
    result, types = compiled(fill, x.copy(), y)
    code = BareCode(result.fndesc.llvm_func_name, bare_code._translated(result.library, result.fndesc.llvm_func_name, types))
    for values in (y, (2.5, -4, False), (np.float64(2.0), 7, np.bool_(True))):
        code(Arguments((x, values)))
        assert (x == (np.tan(values[0]) if values[2] else values[0] * values[1])).all()


def allocate(x, y):
    """Needs memory of Numba's."""
    z = np.empty(x.size)
    z[:] = x
    x[1:] = z[:-1] + y[0]


def call_back(x, y):
    """Needs Python."""
    with numba.objmode():
        x[0] = y[0]


@pytest.mark.parametrize("function", [allocate, call_back])
def test_what_needs_numba_is_not_kept(function):
    result, types = compiled(function, np.zeros(5), (1.5, 3, True))
    assert bare_code._translated(result.library, result.fndesc.llvm_func_name, types) is None


CHANGES = [lambda t: t[:-1], lambda t: [*t, "i64"], lambda t: ["i64", *t[1:]], lambda t: [*t[:-1], "i1"]]


@pytest.mark.parametrize("change", CHANGES)
def test_a_function_that_takes_its_arguments_otherwise_is_not_kept(change):
    result, types = compiled(fill, np.zeros(5), (1.5, 3, True))
    assert bare_code._translated(result.library, result.fndesc.llvm_func_name, types) is not None
    assert bare_code._translated(result.library, result.fndesc.llvm_func_name, change(types)) is None


def read_only():
    """An array that cannot be written."""
    array = np.zeros(3)
    array.flags.writeable = False
    return array


@pytest.mark.parametrize("value", [np.zeros((4, 4))[:, 1], read_only(), [1.0], None, "x", 1j, np.zeros(3, ">f8")])
def test_arguments_that_are_left_to_numba(value):
    assert Arguments((1.0, value)).kinds is None
    assert Arguments((1.0, 2, np.zeros(2))).kinds == ("double", "i64", "<f8[1]")
