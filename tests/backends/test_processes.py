"""Images and derivatives in forked processes, in several threads at once, and under an interrupt."""

import itertools
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import adjoint
from nbnumba import Experiment, InputError, simulate
from nbnumba.backends import cpu, threads
from nbnumba.backends.pieces import pixels_of, spans
from nbnumba.loops.blocks import BLOCK_SLOW

ARGS = (
    "-cell 70 80 90 -misset 1 2 3 -lambda 1.2 -N 5 -default_F 50 -distance 60 -detpixels 150 -oversample 2 -mosaic 1 "
    "-mosaic_domains 9"
).split()
SCRIPT = f"""
import concurrent.futures as futures
import multiprocessing

import numba
import adjoint
from nbnumba import Experiment, InputError, simulate

experiment = Experiment.from_args({ARGS!r})

def bits(_=0):
    image = simulate(experiment)
    return image.tobytes(), adjoint.value_and_grad(adjoint.losses.Gaussian(1.1 * image), experiment, ["crystal.a_A"])[1]

if __name__ == "__main__":
    first = bits()
    numba.set_num_threads(2)  # which starts Numba's own threads
    context = multiprocessing.get_context("fork")
    with context.Pool(2) as pool:
        found = pool.map(bits, range(3))
    with futures.ProcessPoolExecutor(2, mp_context=context) as pool:
        found += pool.map(bits, range(3))
    with futures.ThreadPoolExecutor(4) as pool:
        found += pool.map(bits, range(8))
    assert len(found) == 14 and all(each == first for each in found)
    print("the same bits")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are not forked here")
@pytest.mark.parametrize("layer", ["default", "workqueue"])
def test_after_an_image_processes_can_be_forked_and_threads_compute_at_once(tmp_path, layer):
    """Under OpenMP the children of a process that had computed were killed; under workqueue four threads ended the process."""
    path = os.pathsep.join(name for name in sys.path if name)
    environment = os.environ | {"PYTHONPATH": path, "NUMBA_NUM_THREADS": "2"} | {"NUMBA_THREADING_LAYER": layer}
    (tmp_path / "script.py").write_text(SCRIPT)
    command = [sys.executable, "-W", "ignore", "script.py"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=1200)
    assert done.stdout == "the same bits\n", done.stderr


def test_bands_are_shared_by_numbas_threads_unless_there_are_none(monkeypatch):
    """If no threading layer can be loaded, our own threads give the same bits."""
    from adjoint.backends import cpu as derivative
    from adjoint.backends.sharing import runner

    experiment = Experiment.from_args([*ARGS, "-mosaic_domains", "40"])
    loss = adjoint.losses.Gaussian(1.3 * simulate(experiment))

    def gradient():
        return adjoint.value_and_grad(loss, experiment, ["crystal.a_A"])

    used = []
    monkeypatch.setattr(derivative, "runner", lambda: used.append("numba") or runner())
    expected = gradient()
    assert threads.numba_threads_available() and used
    used.clear()
    monkeypatch.setattr(threads, "_lost", {"no layer"})
    assert gradient() == expected and not used


@pytest.mark.parametrize("count", [1, 2])
def test_pieces_of_an_image_are_shared_by_threads_and_have_the_same_bits(count, monkeypatch):
    """No thread takes all pieces, and who takes which does not matter."""
    experiment = Experiment.from_args([*ARGS, "-mosaic_domains", "200"])
    expected, found, original = simulate(experiment), set(), cpu.kernel("double", False)
    note = lambda *args: (found.add(threading.get_ident()), original(*args), time.sleep(0.01))  # noqa: E731
    monkeypatch.setattr(cpu, "kernel", lambda *_: note)
    threads.set_thread_count(count)
    try:
        assert (simulate(experiment) == expected).all()
    finally:
        threads.set_thread_count(None)
    assert len(found) == count and threading.get_ident() not in found


def test_an_interrupt_does_not_wait_for_the_pieces_that_are_at_work():
    """A tile of 10^6 steps a pixel takes seconds.

    The interrupt is raised within tenths of one, and the threads end by themselves.
    """
    experiment = Experiment.from_args([*ARGS, "-oversample", "10", "-mosaic_domains", "10000"])
    simulate(experiment, roi=(0, 0, 0, 0))
    sent = []

    def interrupt():
        sent.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)

    timer = threading.Timer(1.0, interrupt)
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        simulate(experiment)
    assert time.monotonic() - sent[0] < 0.5


@pytest.mark.parametrize("fewest, edge", [(8, 16), (16, 16), (64, 128), (8, 0)])
@pytest.mark.parametrize("across", [1, 127, 128, 129, 2500])
@pytest.mark.parametrize("steps", [1, 300, 10**5, 10**7])
def test_pieces_cover_an_image_once_and_are_small(across, steps, fewest, edge):
    counts, rows, columns = np.zeros((31, across + 9), int), (2, 31), (5, across + 5)
    for piece in spans(rows, columns, steps, cpu.STEPS_PER_CALL, fewest_rows=fewest, edge=edge):
        (first, last), (left, right) = piece
        counts[first:last, left:right] += 1
        smallest = last - first <= fewest and right - left <= (edge or across)
        assert pixels_of(piece) * steps <= cpu.STEPS_PER_CALL or smallest
        assert (first - rows[0]) % BLOCK_SLOW == 0 and (left - columns[0]) % (edge or across) == 0
    expected = np.zeros_like(counts)
    expected[2:31, 5 : across + 5] = 1
    assert (counts == expected).all()


@pytest.mark.parametrize("many", [0, 1, 3, 50])
def test_every_piece_is_run_once_and_those_of_a_chain_in_their_order(many):
    chains, run, reported = [[(n, m) for m in range(n % 5)] for n in range(40)], [], []
    threads.run_pieces(run.append, iter(chains), many, reported.append)
    assert sorted(run) == sorted(reported) == sorted(itertools.chain(*chains))
    for chain in chains:
        assert [piece for piece in run if piece in chain] == chain


def test_what_ends_a_piece_is_raised_and_ends_the_others():
    def run(piece):
        if piece == 3:
            raise ZeroDivisionError("three")
        time.sleep(0.01)
        done.append(piece)

    for many in (0, 2):
        done = []
        with pytest.raises(ZeroDivisionError, match="three"):
            threads.run_pieces(run, ([n] for n in range(1000)), many)
        assert len(done) < 10


def test_threads_that_the_machine_does_not_grant_are_done_without(monkeypatch):
    monkeypatch.setattr(threading.Thread, "start", lambda self: (_ for _ in ()).throw(RuntimeError("can't start new thread")))
    image = simulate(Experiment.from_args([*ARGS, "-mosaic_domains", "40"]))
    monkeypatch.undo()
    assert (image == simulate(Experiment.from_args([*ARGS, "-mosaic_domains", "40"]))).all()


@pytest.mark.parametrize("names", [["crystal.a_A", "detector.distance_mm"], ["structure_factors.F"]])
def test_derivatives_have_the_same_bits_however_they_are_cut(names, monkeypatch):
    """Bands are summed together or apart, by rows or by tiles of a row, on any number of threads."""
    from adjoint.backends import cpu as driver

    hkl = {tuple(map(int, index)): 50.0 + index[0] for index in np.ndindex(5, 5, 5)}
    args = [word for word in ARGS if word not in ("-default_F", "50")]
    experiment = Experiment.from_args([*args, "-default_F", "50", "-detpixels", "140"])
    if names == ["structure_factors.F"]:
        table = np.array([(*index, value) for index, value in hkl.items()])
        experiment = experiment.replace({"structure_factors.hkl": table[:, :3].astype(int), "structure_factors.F": table[:, 3]})
    loss = adjoint.losses.Gaussian(1.3 * simulate(experiment))

    def bits():
        value, gradient = adjoint.value_and_grad(loss, experiment, names)
        _, of_normal, normal = adjoint.normal_equations(loss, experiment, names[:1])
        return value, normal.tobytes(), *(by_name[name].tobytes() for by_name in (gradient, of_normal) for name in by_name)

    expected = bits()
    for steps, most in ((2**23, 1), (2**23, 3), (1, 3), (5000, 3), (2**40, 1)):
        monkeypatch.setattr(driver, "STEPS_PER_CALL", steps)
        threads.set_thread_count(most)
        try:
            assert bits() == expected
        finally:
            threads.set_thread_count(None)


FORKED = """
import multiprocessing
import threading
import time

from numba.core.compiler_lock import global_compiler_lock
from nbnumba.backends import compiling

@compiling.thread_safe_cache
def kernel(seconds):
    with global_compiler_lock:
        time.sleep(seconds)
    return seconds

def child():
    assert kernel(0.0) == 0.0

if __name__ == "__main__":
    at_work = threading.Thread(target=kernel, args=(1.0,))
    at_work.start()
    time.sleep(0.2)  # the thread makes a kernel, and holds the locks of that
    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    process.join(20.0)
    print(process.exitcode)
    process.kill()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are not forked here")
def test_a_process_that_is_forked_while_a_thread_compiles_can_compile(tmp_path):
    """The child found the locks held, by a thread that it does not have, and waited for ever."""
    (tmp_path / "script.py").write_text(FORKED)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(name for name in sys.path if name)}
    command = [sys.executable, "-W", "ignore", "script.py"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)
    assert done.stdout == "0\n", done.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are not forked here")
def test_a_forked_process_is_refused_the_card_that_its_parent_has_used(monkeypatch):
    from nbnumba.backends import card

    monkeypatch.setattr(card, "SIMULATED", False)
    monkeypatch.setattr(card, "_process", [os.getpid() + 1])
    with pytest.raises(InputError, match="forked from one that had used the card.*; allowed: backend cpu, or .* spawned"):
        card.check()
