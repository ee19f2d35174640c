"""Objects that tests of refinement share: a crystal with a dozen spots in a small window, its counts, and a user's loss."""

import numpy as np

from adjoint import PARAMETERS, refine
from nbnumba import Experiment, simulate

CELL = "-cell 48 56 64 84 97 103 -misset 12 -25 40 -default_F 100 -lambda 1.1 -N 14 "
PANEL = "-distance 80 -pixel 0.22 -detpixels 72 -Xbeam -8 -Ybeam 7 -oversample 1 "
ROTATED = "-osc 0.3 -phisteps 3 -phi_sampling left -fluence 1e27 "
BACKGROUND = 2.0
"""Photons that counts have beside the crystal's, where nothing else is said."""


def crystal(more="") -> Experiment:
    """A triclinic crystal with a dozen spots about two pixels wide, and up to 3000 photons in a pixel."""
    return Experiment.from_args((CELL + PANEL + ROTATED + more).split())


def counts(truth: Experiment, below=BACKGROUND, seed=1, gain=1.0, **keywords) -> np.ndarray:
    """Counts of photons (slow, fast) times the gain, with that background."""
    return gain * np.random.default_rng(seed).poisson(simulate(truth, **keywords) + below)


def moved(truth: Experiment, **by) -> Experiment:
    """The experiment with some numbers changed by these differences; misset_x=0.1 stands for crystal.misset_x_deg."""
    full = {name.split(".")[1]: name for name in PARAMETERS}
    return truth.replace({full[name]: truth.value(full[name]) + change for name, change in by.items()})


def pulls(true: Experiment, names, moves, seed: int) -> np.ndarray:
    """(estimate - truth) / uncertainty of every number of a refinement of counts with noise, whose start is moved.

    names: what is refined, of the experiment and of the image. moves: by how much single numbers are off where it starts.
    """
    data = counts(true, seed=seed).astype(float)
    start = true.replace({name: true.value(name) + move for name, move in moves.items()})
    done = refine(start, data, names, image={"background": BACKGROUND / 2.0})
    assert done.success, done.message
    expected = {"image.background": BACKGROUND, "image.scale": 1.0}
    off = {name: done.values[name] - np.asarray(expected[name] if name in expected else true.value(name)) for name in names}
    return np.concatenate([np.ravel(off[name] / done.uncertainties[name]) for name in names])


def plane(shape, flat, x, y, radial):
    """The background of R1 (slow, fast)."""
    v, u = np.meshgrid(*(np.linspace(-1.0, 1.0, n) for n in shape), indexing="ij")
    return flat + x * u + y * v + radial * (u * u + v * v) / 2.0


class Cauchy:
    """A user's loss: the sum of ln(1 + ((mean - data) / sigma)^2 / 2) over the pixels whose data are not NaN."""

    def __init__(self, data, sigma):
        self.data, self.sigma = data, sigma

    def _each(self, image):
        counts = ~np.isnan(self.data)
        return counts, np.where(counts, (image - np.where(counts, self.data, 0.0)) / self.sigma, 0.0)

    def value(self, image):
        return float(np.sum(np.log1p(self._each(image)[1] ** 2 / 2.0)))

    def derivative(self, image):
        off = self._each(image)[1]
        return off / (1.0 + off**2 / 2.0) / self.sigma

    def curvature(self, image):
        counts, off = self._each(image)
        return np.where(counts, 1.0 / (1.0 + off**2 / 2.0) / self.sigma**2, 0.0)
