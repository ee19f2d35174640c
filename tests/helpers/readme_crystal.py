"""README's crystal over backgrounds, and the result of its refinement. Spawned processes import this module."""

import numba
import numpy as np

import adjoint
from nbnumba import Experiment, simulate

FLAGS = "-cell {cell} 75 85 95 -N 20 -default_F 100 -misset {misset} -fluence 1e27 -osc 0.5 -phisteps 5 -phi_sampling mid "
FLAGS += "-oversample 1 -distance 150 -detpixels 256 -pixel 0.1 -Xbeam {x} -Ybeam {y} "
TRUE, FORGOTTEN = (
    {"cell": "70 80 90", "misset": "10 20 30", "x": 20, "y": 5},
    {"cell": "70.2 79.8 90.3", "misset": "10.1 19.9 30.1", "x": 19.9, "y": 5.1},
)
"""README's crystal, and what is still known of it: a tenth of a degree, a pixel and 0.3 % of the cell off."""
NAMES = ["crystal.misset_deg", "detector.xbeam_mm", "detector.ybeam_mm"]
NAMES += [f"crystal.{name}" for name in ("a_A", "b_A", "c_A", "alpha_deg", "beta_deg", "gamma_deg")]


def experiment(of, more="") -> Experiment:
    """README's crystal as it is, or as it is assumed to be."""
    return Experiment.from_args((FLAGS.format(**of) + more).split())


def refined_over_background(kind, level, seed):
    """Whether a refinement of README's crystal reports success, and the largest error in uncertainties."""
    before = numba.get_num_threads()
    more, below = (f"-water {level}", 0.0) if kind == "water" else ("", level)
    truth = experiment(TRUE, more)
    data = np.random.default_rng(seed).poisson(simulate(truth) + below)
    names, image = (NAMES, {}) if kind == "water" else ([*NAMES, "image.background"], {"background": 0.8 * below})
    numba.set_num_threads(1)
    try:
        done = adjoint.refine(experiment(FORGOTTEN, more), data, names, image=image)
    finally:
        numba.set_num_threads(before)
    off = [np.ravel((done.values[name] - np.array(truth.value(name))) / done.uncertainties[name]) for name in NAMES]
    return done.success, float(np.abs(np.concatenate(off)).max())
