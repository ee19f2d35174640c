"""A refinement returns the same bits, whatever number of threads its linear algebra and its kernels use."""

import os
import subprocess
import sys
import threading

import pytest
import refined_bytes
from refined_bytes import refined, refined_amplitudes
from threadpoolctl import threadpool_info, threadpool_limits

from adjoint.refinement.algebra import one_thread


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("made", [refined, lambda: refined_amplitudes("least_squares")])
def test_bits_do_not_depend_on_the_threads_of_algebra(made):
    """Sums over pixels and decompositions of matrices of hundreds of numbers are the same as on one thread."""
    found = []
    for threads in (1, 2):
        with threadpool_limits(limits=threads, user_api="blas"):
            found.append(made())
    assert found[0] == found[1]


@pytest.mark.long
def test_bits_do_not_depend_on_the_environment():
    """The refinements run in processes of their own, as on a user's other machines."""
    program = f"""import sys; sys.path.insert(0, {os.path.dirname(refined_bytes.__file__)!r})
from refined_bytes import refined, refined_amplitudes
methods = ("least_squares", "L-BFGS-B", "trust-constr")
sys.stdout.write((refined() + b"".join(refined_amplitudes(method) for method in methods)).hex())"""
    found = set()
    for algebra, kernels in ((1, 1), (2, 1), (2, 2)):
        environment = os.environ | {"OPENBLAS_NUM_THREADS": str(algebra), "NUMBA_NUM_THREADS": str(kernels)}
        ran = subprocess.run([sys.executable, "-W", "ignore", "-c", program], env=environment, capture_output=True, text=True)
        assert ran.returncode == 0, ran.stderr
        found.add(ran.stdout)
    assert len(found) == 1 and len(found.pop()) > 2 * 256 * 256


def threads_of_algebra():
    """The number of threads that each library of linear algebra may use now."""
    return [library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"]


def test_threads_are_given_back():
    """The number of threads is restored after the last of several simultaneous refinements, and after one that fails."""
    with threadpool_limits(limits=2, user_api="blas"):
        before, inside, leave = threads_of_algebra(), threading.Event(), threading.Event()

        def other():
            with one_thread():
                inside.set()
                leave.wait(10.0)

        thread = threading.Thread(target=other)
        with pytest.raises(KeyError), one_thread():
            thread.start()
            assert inside.wait(10.0)
            raise KeyError
        assert set(threads_of_algebra()) == {1}
        leave.set()
        thread.join()
        assert threads_of_algebra() == before
