"""Settings in the environment that Numba refuses end in one sentence with status 2, or in an InputError."""

import os
import subprocess
import sys

import pytest

FLAGS = "-cell 70 80 90 90 90 90 -N 5 -default_F 50 -distance 60 -detpixels 5 -oversample 1 -nonoise -nopgm -nointfile".split()
SETTINGS = [
    ("NUMBA_NUM_THREADS", "0"),
    ("NUMBA_NUM_THREADS", "-2"),
    ("NUMBA_NUM_THREADS", "abc"),
    ("NUMBA_NUM_THREADS", "2.5"),
    ("NUMBA_NUM_THREADS", "100000"),
    ("NUMBA_CPU_NAME", "nonsense"),
    ("NUMBA_CPU_FEATURES", "nonsense"),
    ("NUMBA_DISABLE_JIT", "1"),
    ("NUMBA_OPT", "abc"),
    ("NUMBA_BOUNDSCHECK", "maybe"),
]


def run(folder, setting, *words):
    """A process with that setting."""
    path = os.pathsep.join(name for name in sys.path if name)
    environment = os.environ | {"PYTHONPATH": path, setting[0]: setting[1]}
    return subprocess.run([sys.executable, *words], env=environment, cwd=folder, capture_output=True, text=True)


@pytest.mark.parametrize("setting", SETTINGS, ids="=".join)
def test_what_cannot_be_is_refused_in_a_sentence(tmp_path, setting):
    done = run(tmp_path, setting, "-m", "nbnumba", *FLAGS, "-floatfile", "x.bin")
    assert done.returncode == 2
    assert done.stderr.startswith(f"nbnumba: {'='.join(setting)} in the environment") and done.stderr.count("\n") == 1
    assert "allowed:" in done.stderr and not list(tmp_path.iterdir())


def test_from_python_it_is_an_input_error(tmp_path):
    script = (
        "from nbnumba import Experiment, InputError, simulate\n"
        f"experiment = Experiment.from_args({FLAGS[:-3]!r})\n"
        "try:\n    simulate(experiment)\nexcept InputError as error:\n    print(error)"
    )
    done = run(tmp_path, ("NUMBA_NUM_THREADS", "0"), "-c", script)
    assert done.returncode == 0 and done.stdout.startswith("NUMBA_NUM_THREADS=0 in the environment"), done.stderr


@pytest.mark.parametrize("setting", [("NUMBA_THREADING_LAYER", "tbb"), ("NUMBA_THREADING_LAYER", "none such")], ids="=".join)
def test_a_threading_layer_is_not_needed_and_that_is_said(tmp_path, setting):
    """Numba's threads share the bands of a derivative."""
    words = "gradcheck --parameters beam.fluence --directions 0 --".split()
    done = run(tmp_path, setting, "-m", "nbnumba", *words, *FLAGS[:-3], "-threads", "1")
    assert done.returncode == 0
    (line,) = [line for line in done.stderr.splitlines() if "THREADING" in line]
    assert line.startswith(f"nbnumba: warning: {'='.join(setting)} in the environment has no effect")


def test_nothing_of_numba_is_loaded_before_it_is_needed(tmp_path):
    """A wrong setting is reported when Numba is first needed."""
    script = "import sys, nbnumba, adjoint, nbnumba.cli.main; print('numba' in sys.modules)"
    assert run(tmp_path, ("NUMBA_NUM_THREADS", "0"), "-c", script).stdout == "False\n"
