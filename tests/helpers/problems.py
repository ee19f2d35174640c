"""Random problems of refinement with a known truth, over all conventions: several spots in a window, counts with noise, and a
start that is some spot widths off (specs/refine.md, R9)."""

from __future__ import annotations

import math
from typing import NamedTuple

import numba
import numpy as np
from differences import central
from peaks import angles_of
from random_directions import random_rotation
from scipy import ndimage

import adjoint
from adjoint.prepare import freeze_choices
from adjoint.refinement.frame_loss import evaluate
from adjoint.refinement.frames import frame, start_of
from adjoint.refinement.unknowns import unknowns
from adjoint.variables import parameter_row
from nbnumba import Experiment, simulate
from nbnumba.geometry.rotations import unit
from nbnumba.setup import sampling, scene
from nbnumba.stages.beam import scattering_vector

CONVENTIONS = ("mosflm", "adxv", "denzo", "xds", "dials", "custom")
PIXELS, FEWEST_SPOTS = 160, 7
"""Edge of the window; it holds at least so many spots."""

CELL = ("crystal.a_A", "crystal.b_A", "crystal.c_A", "crystal.alpha_deg", "crystal.beta_deg", "crystal.gamma_deg")
MISSET = tuple(f"crystal.misset_{axis}_deg" for axis in "xyz")
TILTS = tuple(f"detector.rot{axis}_deg" for axis in "xyz")
CENTRE = ("detector.xbeam_mm", "detector.ybeam_mm")
KNOWN, SMALLEST = 1e-3, 0.15
"""A problem is posed if no combination of numbers is worse known than this eigenvalue of the correlation form says, and if
the standard uncertainties, each by itself, move no spot by more than this part of its width."""


MOST_EACH = 1.5
"""The shift by every parameter by itself is at most so many times that by all, which then do not cancel."""


class Problem(NamedTuple):
    """The truth, the start, the counts, the refined parameters, values of the image, and the distance of spots (widths)."""

    truth: Experiment
    start: Experiment
    counts: np.ndarray
    parameters: list
    image: dict
    expected: dict
    off: float


class Drawer:
    """A generator of random problems."""

    def __init__(self, seed: int):
        self.random = np.random.default_rng(seed)
        self.seed = seed

    def uniform(self, low, high):
        return float(self.random.uniform(low, high))

    def pick(self, *choices):
        return choices[int(self.random.integers(len(choices)))]

    def chance(self, p):
        return self.random.random() < p

    def problem(self) -> Problem | None:
        """A problem; None if the drawn one is ill-posed."""
        truth = self.experiment()
        dry = simulate(truth)
        if spots(dry) < FEWEST_SPOTS or not lit(truth, dry):
            return None
        truth = truth.replace({"beam.fluence": truth.value("beam.fluence") * self.uniform(1000, 10000) / dry.max()})
        below = self.uniform(0.3, 5.0)
        counts = self.random.poisson(simulate(truth) + below).astype(float)
        parameters = self.parameters(truth)
        expected = {"image.background": below} | {
            name: truth.value(name) for name in map(first, parameters) if not name.startswith("image.")
        }
        start = self.start(truth, [p for p in parameters if not first(p).startswith("image.")], dry)
        if start is None or not posed(truth, counts, parameters, below, dry):
            return None
        start, off = start
        image = {"background": below * (self.uniform(0.5, 2.0) if "image.background" in parameters else 1.0)}
        return Problem(truth, start, counts, parameters, image, expected, off)

    def experiment(self) -> Experiment:
        """An experiment with spots some pixels wide."""
        wavelength, distance = self.uniform(0.7, 1.8), self.uniform(60.0, 300.0)
        lengths = [self.uniform(35.0, 90.0) for _ in range(3)]
        cells = [int(self.random.integers(14, 23)) for _ in range(3)]
        width = wavelength / np.mean([n * a for n, a in zip(cells, lengths)])
        pixel = distance * width / self.uniform(1.3, 2.1)
        words = ["-cell", *lengths, *(self.uniform(80.0, 100.0) for _ in range(3)), "-default_F", 100, "-lambda", wavelength]
        words += [w for axis, n in zip("abc", cells) for w in (f"-N{axis}", n)]
        words += ["-distance", distance, "-pixel", pixel, "-detpixels", PIXELS, "-oversample", 1, *self.convention(pixel)]
        words += ["-misset", *angles_of(random_rotation(self.random))]
        if self.chance(0.7):
            osc = math.degrees(width) * self.uniform(0.5, 1.5) * np.mean(cells)
            words += ["-osc", osc, "-phisteps", self.pick(5, 8, 12), "-phi_sampling", "mid"]
            words += ["-phi", self.pick(0.0, self.uniform(-90.0, 90.0))]
        if self.chance(0.3):
            words += ["-mosaic", math.degrees(width) * self.uniform(0.1, 0.4), "-mosaic_domains", 8]
        shape = self.pick("-square_xtal", "-square_xtal", "-gauss_xtal", "-round_xtal")
        experiment = Experiment.from_args([str(w) for w in (*words, shape)])
        if self.chance(0.3):
            matrix = tuple(map(tuple, random_rotation(self.random)))
            experiment = experiment.replace({"crystal.orientation": matrix})
        return experiment

    def convention(self, pixel):
        kind = self.pick(*CONVENTIONS)
        middle = [pixel * PIXELS * self.pick(self.uniform(-1.5, -0.5), self.uniform(1.5, 2.5)) for _ in range(2)]
        words = [] if kind in ("mosflm", "custom") else [f"-{kind}"]
        if kind == "custom":
            axes = random_rotation(self.random)
            words += ["-fdet_vector", *axes[0], "-sdet_vector", *axes[1], "-beam_vector", *unit(axes[2] + 0.05 * axes[0])]
            words += ["-polar_vector", *axes[1], "-spindle_axis", *axes[0]]
        if kind == "xds":
            words += ["-ORGX", middle[0] / pixel, "-ORGY", middle[1] / pixel]
        else:
            words += ["-Xbeam", middle[0], "-Ybeam", middle[1]]
        for flag in ("-detector_rotx", "-detector_roty", "-detector_rotz", "-twotheta"):
            if self.chance(0.5):
                words += [flag, self.uniform(-10.0, 10.0)]
        return words + self.pick([], ["-pivot", "beam"], ["-pivot", "sample"])

    def parameters(self, truth) -> list:
        """3 to 12 parameters that can be refined together."""
        names = list(self.pick(MISSET, MISSET[:2], MISSET, ()))
        if self.chance(0.5):
            names += self.pick(CELL[:3], CELL, CELL[:2])
        elif self.chance(0.5):
            names += ["beam.wavelength_A"]
        if self.chance(0.5) and not set(CELL) & set(names):
            names += ["detector.distance_mm"]
        if self.chance(0.4) or len(names) < 2:
            names += CENTRE
        if self.chance(0.3) and not set(names) & set(MISSET):
            names += self.pick(TILTS, TILTS[:2], TILTS[2:])
        names += [name for name in ("crystal.n_a", "crystal.n_b", "crystal.n_c") if self.chance(0.15)]
        if truth.crystal.mosaic_spread_deg and self.chance(0.7):
            names += ["crystal.mosaic_spread_deg"]
        names += self.pick(["beam.fluence"], ["image.scale"], [])
        if self.chance(0.6) or len(names) < 3:
            names += ["image.background"]
        return names if 3 <= len(names) <= 12 else self.parameters(truth)

    def start(self, truth, parameters, dry):
        """An experiment whose spots are some widths away, and how many. The other parameters are wrong, too."""
        moving = [name for name in parameters if parameter_row(name).moves_spots]
        others = {"beam.fluence": (0.5, 2.0), "crystal.mosaic_spread_deg": (0.6, 1.6)}
        new = {name: truth.value(name) * self.uniform(*others.get(name, (0.9, 1.1))) for name in set(parameters) - set(moving)}
        off = self.uniform(1.0, 5.0)
        if moving:
            spot_shifts = shifts(truth, moving, dry)
            if min(np.sqrt((shift**2).sum(axis=1).mean()) for shift in spot_shifts) < 1e-6:
                return None
            size = np.array([np.sqrt((shift**2).sum(axis=1).mean()) for shift in spot_shifts])
            for _ in range(50):
                share = self.random.normal(size=len(moving))
                together = np.tensordot(share / size, spot_shifts, axes=1)
                share *= off / np.sqrt((together**2).sum(axis=1).mean())
                if np.abs(share).max() <= MOST_EACH * off:
                    break
            else:
                return None
            share = share / size
            if any(abs(part) > most(name, truth) for name, part in zip(moving, share)):
                return None
            new |= {name: truth.value(name) + float(s) for name, s in zip(moving, share)}
        return truth.replace(new), off


def most(name, truth) -> float:
    """The largest distance of a start in a parameter: a fraction of a length, or some degrees."""
    length = name.startswith(("crystal.a_", "crystal.b_", "crystal.c_", "beam.wavelength", "detector.distance"))
    return 0.05 * abs(truth.value(name)) if length else 5.0


def first(parameter):
    return parameter if isinstance(parameter, str) else parameter[0]


def spots(dry) -> int:
    """The number of separate spots of at least a twentieth of the brightest one."""
    return int(ndimage.label(dry > 0.05 * dry.max())[1])


def lit(experiment, dry) -> bool:
    """Whether a reflection is excited: at some step the brightest pixel is within a width of it."""
    slow, fast = np.unravel_index([np.argmax(dry)], dry.shape)
    indices = indices_at(experiment, slow, fast)
    cells = [getattr(experiment.crystal, f"n_{axis}") for axis in "abc"]
    return bool((np.abs(indices - np.round(indices)) * cells < 0.7).all(axis=-1).any())


def indices_at(experiment, slow, fast):
    """The Miller indices at pixels, for every lattice (pixels, lattices, 3)."""
    built = scene.build(experiment, sampling.window(experiment.detector.pixels, None, None))
    towards = [sampling.directions(built.panel, built.sampling, s, [f], 0, 0, 0) for s, f in zip(slow, fast)]
    d = np.array([[float(x[0]) for x in t] for t in towards])
    q = np.array(scattering_vector(tuple(d.T), built.sources.direction[0], built.sources.wavelength[0])).T
    return np.einsum("mij,pj->pmi", built.orientations.lattice.reshape(-1, 3, 3), q)


def shifts(experiment, names, dry):
    """The shifts of spots, in widths, per unit of each parameter (names, pixels, 3): the change of Miller indices times
    cells."""
    experiment = freeze_choices(experiment, names)
    bright = np.argsort(dry.ravel())[-60:]
    slow, fast = np.unravel_index(bright, dry.shape)
    cells = [getattr(experiment.crystal, f"n_{axis}") for axis in "abc"]
    spot_shifts = []
    for name in names:
        step, value = 1e-4 * adjoint.PARAMETERS[name].step, experiment.value(name)

        def indices(h, name=name, value=value):
            return indices_at(experiment.replace({name: value + h}), slow, fast)[:, 0]

        spot_shifts.append(central(indices, step) * cells)
    return np.array(spot_shifts)


def posed(truth, counts, parameters, below, dry) -> bool:
    """Whether the counts determine the parameters, from the information at the truth."""
    unknown = unknowns([truth], parameters, None)
    at_truth = frame(truth, counts, image={"background": below}, parameters=unknown.parameters, image_names=unknown.image)
    information = evaluate(at_truth, start_of([at_truth], unknown)).normal
    diagonal = np.diag(information)
    if not (diagonal > 0.0).all():
        return False
    root = np.sqrt(diagonal)
    if np.linalg.eigvalsh(information / np.outer(root, root))[0] < KNOWN:
        return False
    sigma = np.sqrt(np.diag(np.linalg.inv(information)))
    labels = unknown.labels()
    moving = [name for name in labels if parameter_row(name).moves_spots]
    if moving:
        spot_shifts = shifts(truth, moving, dry)
        for name, shift in zip(moving, spot_shifts):
            if sigma[labels.index(name)] * np.sqrt((shift**2).sum(axis=1).mean()) > SMALLEST:
                return False
    others = ("beam.fluence", "crystal.n_a", "crystal.n_b", "crystal.n_c", "crystal.mosaic_spread_deg")
    return all(sigma[labels.index(name)] < 0.1 * abs(truth.value(name)) for name in labels if name in others)


def made(number: int) -> Problem:
    """The problem of a seed. Ill-posed ones are drawn again."""
    for attempt in range(300):
        problem = Drawer(1000 * number + attempt).problem()
        if problem is not None:
            return problem
    raise AssertionError(f"problem {number} is not posed 300 times")


def refined(number: int):
    """The refinement of a problem on one thread: the convention, the distance of the start (widths), whether it reports
    success, (estimate - truth) / uncertainty of every number, and its message."""
    before, problem = numba.get_num_threads(), made(number)
    numba.set_num_threads(1)
    try:
        done = adjoint.refine(problem.start, problem.counts, problem.parameters, image=problem.image)
    finally:
        numba.set_num_threads(before)
    truth = {"image.scale": 1.0} | problem.expected
    off = [np.ravel((value - truth[name]) / done.uncertainties[name]) for name, value in done.values.items()]
    return problem.truth.detector.convention, problem.off, done.success, np.concatenate(off), done.message
