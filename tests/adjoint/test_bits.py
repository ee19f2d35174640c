"""The same input gives the same bits of a refinement, whatever number of threads its algebra and its kernels may use."""

import os
import subprocess
import sys
import threading

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

import adjoint
from adjoint.refinement.algebra import one_thread
from nbnumba import Experiment, simulate

FLAGS = "-cell 70 80 90 75 85 95 -N 20 -default_F 100 -fluence 1e27 -oversample 1 -distance 150 -detpixels 256 "
FLAGS += "-Xbeam 20 -Ybeam 5"
"""README's crystal: as many pixels as algebra on two threads adds up in another order."""
MANY = "-cell 30 34 38 75 85 95 -N 10 -default_F 1 -fluence 1e28 -oversample 1 -distance 60 -detpixels 96 -pixel 0.6 "
MANY += "-lambda 1.5 -osc 2 -phisteps 10 -misset 10 20 30"


def refined():
    """README's refinement, against counts: all its numbers, as bytes."""
    truth = Experiment.from_args([*FLAGS.split(), "-misset", "10", "20", "30"])
    data = np.random.default_rng(1).poisson(simulate(truth) + 1.0)
    near = truth.replace({"crystal.misset_deg": (10.1, 20.1, 29.9)})
    names = ["crystal.misset_deg", "image.scale", "image.background"]
    return all_of(adjoint.refine(near, data, names, image={"background": 1.0}))


def refined_amplitudes(method):
    """Some steps towards 343 amplitudes, as bytes."""
    hkl, random = np.array(np.meshgrid(*3 * [np.arange(-3, 4)], indexing="ij")).reshape(3, -1).T, np.random.default_rng(1)
    values = {"structure_factors.hkl": hkl, "structure_factors.F": random.uniform(50.0, 150.0, len(hkl))}
    truth = Experiment.from_args(MANY.split()).replace(values | {"structure_factors.interpolate": False})
    data = random.poisson(simulate(truth) + 1.0)
    near = truth.replace({"structure_factors.F": truth.structure_factors.F * random.uniform(0.8, 1.2, len(hkl))})
    few = [adjoint.Stage("few", exact=True, evaluations=4)]
    return all_of(adjoint.refine(near, data, ["structure_factors.F"], image={"background": 1.0}, method=method, stages=few))


def all_of(done):
    """The numbers of a result as bytes."""
    numbers = (done.x, done.fun, done.covariance, done.chi_squared, done.explained, done.image)
    return b"".join(np.asarray(each).tobytes() for each in numbers)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("made", [refined, lambda: refined_amplitudes("least_squares")])
def test_bits_do_not_depend_on_the_threads_of_algebra(made):
    """Sums over pixels and decompositions of matrices of hundreds of numbers are as on one thread."""
    found = []
    for threads in (1, 2):
        with threadpool_limits(limits=threads, user_api="blas"):
            found.append(made())
    assert found[0] == found[1]


@pytest.mark.long
def test_bits_do_not_depend_on_the_environment():
    """In processes of their own, as a user would start them on other machines."""
    program = f"""import sys; sys.path.insert(0, {os.path.dirname(__file__)!r})
import test_bits as t
methods = ("least_squares", "L-BFGS-B", "trust-constr")
sys.stdout.write((t.refined() + b"".join(t.refined_amplitudes(method) for method in methods)).hex())"""
    found = set()
    for algebra, kernels in ((1, 1), (2, 1), (2, 2)):
        environment = os.environ | {"OPENBLAS_NUM_THREADS": str(algebra), "NUMBA_NUM_THREADS": str(kernels)}
        ran = subprocess.run([sys.executable, "-W", "ignore", "-c", program], env=environment, capture_output=True, text=True)
        assert ran.returncode == 0, ran.stderr
        found.add(ran.stdout)
    assert len(found) == 1 and len(found.pop()) > 2 * 256 * 256


def threads_of_algebra():
    """How many threads each library of algebra may use now."""
    return [library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"]


def test_threads_are_given_back():
    """After the last of several refinements that are under way at once; and also if one fails."""
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
