"""Refinements whose results are compared bit by bit; processes of other settings import this module."""

import numpy as np

import adjoint
from nbnumba import Experiment, simulate

FLAGS = "-cell 70 80 90 75 85 95 -N 20 -default_F 100 -fluence 1e27 -oversample 1 -distance 150 -detpixels 256 "
FLAGS += "-Xbeam 20 -Ybeam 5"
"""README's crystal: as many pixels as algebra on two threads adds up in another order."""
MANY = "-cell 30 34 38 75 85 95 -N 10 -default_F 1 -fluence 1e28 -oversample 1 -distance 60 -detpixels 96 -pixel 0.6 "
MANY += "-lambda 1.5 -osc 2 -phisteps 10 -phi_sampling mid -misset 10 20 30"


def refined():
    """All numbers of README's refinement against counts, as bytes."""
    truth = Experiment.from_args([*FLAGS.split(), "-misset", "10", "20", "30"])
    data = np.random.default_rng(1).poisson(simulate(truth) + 1.0)
    near = truth.replace({"crystal.misset_deg": (10.1, 20.1, 29.9)})
    names = ["crystal.misset_deg", "image.scale", "image.background"]
    return all_of(adjoint.refine(near, data, names, image={"background": 1.0}))


def refined_amplitudes(method):
    """The numbers after some steps of a refinement of 343 amplitudes, as bytes."""
    hkl, random = np.array(np.meshgrid(*3 * [np.arange(-3, 4)], indexing="ij")).reshape(3, -1).T, np.random.default_rng(1)
    values = {"structure_factors.hkl": hkl, "structure_factors.F": random.uniform(50.0, 150.0, len(hkl))}
    truth = Experiment.from_args(MANY.split()).replace(values | {"structure_factors.interpolate": False})
    data = random.poisson(simulate(truth) + 1.0)
    near = truth.replace({"structure_factors.F": truth.structure_factors.F * random.uniform(0.8, 1.2, len(hkl))})
    few = [adjoint.Phase("few", exact=True, evaluations=4)]
    return all_of(adjoint.refine(near, data, ["structure_factors.F"], image={"background": 1.0}, method=method, phases=few))


def all_of(done):
    """The numbers of a result as bytes."""
    numbers = (done.x, done.fun, done.covariance, done.chi_squared, done.explained, done.image)
    return b"".join(np.asarray(each).tobytes() for each in numbers)
