"""Fixtures of all tests: the reference cases and the files that they name, and a process that compiles kernels early."""

import logging
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
from golden_cases import GOLDEN, Golden, write_reflections

os.environ.setdefault("NUMBA_NUM_THREADS", "2")
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # as a shell starts what it runs in the background
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def golden(tmp_path_factory) -> Golden:
    """The reference cases, with the list of reflections that their command lines name."""
    path = tmp_path_factory.mktemp("golden") / "HKL"
    write_reflections(path)
    return Golden(path)


@pytest.fixture(scope="module")
def one_thread():
    """One thread renders windows of some hundred pixels faster than several."""
    import numba  # after NUMBA_NUM_THREADS is set, which it reads then

    before = numba.get_num_threads()
    numba.set_num_threads(1)
    yield
    numba.set_num_threads(before)


@pytest.fixture
def dirty_memory(monkeypatch):
    """New memory of a simulated card is filled with NaN, so that numbers that a kernel does not write show."""
    from nbnumba.backends import card  # after NUMBA_NUM_THREADS is set

    clean = card.allocate

    def dirty(name, shape, kind):
        array = clean(name, shape, kind)
        array.copy_to_device(np.full(shape, np.nan if np.dtype(kind).kind == "f" else 77, kind))
        return array

    monkeypatch.setattr(card, "allocate", dirty)


OTHER_PRECISIONS = """
import adjoint
from nbnumba import Experiment, simulate

experiment = Experiment.from_args("-cell 20 20 20 90 90 90 -N 3 -default_F 1 -detpixels 4 -oversample 1".split())
loss = adjoint.losses.Gaussian(simulate(experiment))
for precision in ("mixed", "paired", "single"):
    simulate(experiment, precision=precision)
    adjoint.value_and_grad(loss, experiment, ["beam.fluence"], precision=precision)
"""


def pytest_configure(config):
    """Turn off the message about compilation on stderr, since it depends on the tests that ran before."""
    logging.getLogger("nbnumba.compiling").disabled = True


def pytest_collection_finish(session):
    """Start a second process that compiles the kernels of the last tests while the first ones run, and keeps them on disk."""
    if len(session.items) > 3000:
        session.compiling = subprocess.Popen([sys.executable, "-W", "ignore", "-c", OTHER_PRECISIONS], cwd=GOLDEN)


def pytest_sessionfinish(session):
    """End that process, since nothing needs its kernels any more."""
    if hasattr(session, "compiling"):
        session.compiling.kill()
        session.compiling.wait()
