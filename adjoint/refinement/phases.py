"""Phases of a refinement, from broadened to sharp spots: they widen the basin of convergence to several spot widths (R7)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import ndimage, optimize

from adjoint.gradient import normal_equations
from adjoint.losses import Gaussian
from adjoint.refinement.expected_image import background, photons, placed
from adjoint.refinement.frames import Frame, rendered
from adjoint.refinement.image_numbers import Numbers
from nbnumba.backends import CPU, Machine
from nbnumba.experiment import Experiment
from nbnumba.setup.crystal import orient
from nbnumba.setup.detector import position_detector

"""How names of parameters begin that say where spots are; but for the sensor's."""

SPREAD = 0.397
"""Standard deviation of a Gaussian spot (F8d) in units of one over the number of cells: sqrt(0.63 / 4)."""

FEWEST_CELLS = 4.0
"""A crystal is not made smaller than this along an edge, or spots would run into each other."""


class Phase(NamedTuple):
    """A step of a refinement: `broader`: spots so many times as broad; `exact`: by the loss itself, of all parameters.

    Otherwise it is by a Gaussian loss whose weights level bright and weak spots, the more the smaller `level` is, with a scale
    and a flat background of each image, of the parameters that say where spots are.
    """

    name: str
    broader: float = 1.0
    exact: bool = False
    evaluations: int = 40
    level: float = 0.02


EXACT = Phase("all parameters", exact=True, evaluations=200)
SHARP = Phase("positions of sharp spots")
BROAD = (Phase("spots 8 times as broad", 8.0), Phase("spots 4 times as broad", 4.0), Phase("spots 2 times as broad", 2.0))


def leveled(phases, level: float) -> tuple[Phase, ...]:
    """The same phases, with bright and weak spots weighed otherwise."""
    return tuple(phase._replace(level=level) for phase in phases)


AUTO = (
    (*BROAD, SHARP, EXACT),
    (*leveled((*BROAD, SHARP), 0.1), EXACT),
    (*leveled((*BROAD, SHARP), 0.005), EXACT),
    (SHARP, EXACT),
)
"""What an automatic refinement tries in turn, until the crystal accounts for the images."""


def broadened(experiment: Experiment, times: float) -> Experiment:
    """The experiment of a crystal so many times smaller, of Gaussian spots."""
    crystal = experiment.crystal
    cells = {f"crystal.n_{axis}": fewer(getattr(crystal, f"n_{axis}"), times) for axis in "abc"}
    return experiment.replace(cells | {"crystal.shape": "gauss"})


def fewer(cells: float, times: float) -> float:
    """So many times fewer cells, but not too few."""
    return max(cells / times, min(cells, FEWEST_CELLS))


def blur_pixels(experiment: Experiment, times: float) -> float:
    """Standard deviation (pixels) by which spots grow that become so many times as broad: the mean of the three edges."""
    crystal, detector = experiment.crystal, experiment.detector
    vectors = orient(crystal, experiment.sampling.c_parity)
    edges = np.linalg.norm(vectors, axis=1)
    placement = position_detector(detector, experiment.beam, experiment.sampling.c_parity)
    per_index = experiment.beam.wavelength_A * placement.distance * 1000.0 / detector.pixel_mm
    cells = [getattr(crystal, f"n_{axis}") for axis in "abc"]
    grown = [1.0 / fewer(n, times) ** 2 - 1.0 / n**2 for n in cells]
    return float(np.mean([SPREAD * per_index / edge * np.sqrt(more) for edge, more in zip(edges, grown)]))


def blurred(data: np.ndarray, sigma: float) -> np.ndarray:
    """Data (slow, fast) smeared by a Gaussian; NaN where left out, neighbours of which are weighed accordingly."""
    if sigma < 0.1:
        return data
    counts = ~np.isnan(data)
    weight = ndimage.gaussian_filter(counts.astype(float), sigma, mode="constant")
    smeared = ndimage.gaussian_filter(np.where(counts, data, 0.0), sigma, mode="constant")
    return np.where(counts, smeared / np.maximum(weight, 1e-12), np.nan)


class Coarse(NamedTuple):
    """The frame of a phase that is not exact: of spots alone, beside the light of the water of its experiment (R7).

    water (slow, fast): photons in the box; factor: how many times that the data have. scale, below: of the image, and flat
    background, as they were before.
    """

    frame: Frame
    water: np.ndarray
    factor: float
    scale: float
    below: float

    @property
    def least(self) -> float:
        """The photons that the water of the data scatters at least in a pixel that counts."""
        return self.factor * float(self.water[self._counts()].min())

    def times(self, excess: float) -> float:
        """How many times the light of the water the data have, if so many photons of a pixel beside it are of it, too."""
        return self.factor + excess / max(float(self.water[self._counts()].mean()), 1e-300)

    def _counts(self):
        return ~np.isnan(self.frame.data[self.frame.box])

    def above(self, flat: float) -> Frame:
        """The frame whose data are without the light of the water, but for a flat part, which its background has instead."""
        frame = self.frame
        off = placed(frame, frame.numbers.gain * (self.factor * self.water - flat))
        return frame._replace(data=frame.data - off, numbers=frame.numbers._replace(background=frame.numbers.background + flat))


def without_water(experiment: Experiment) -> Experiment:
    """The experiment whose image is of the crystal alone."""
    return experiment.replace({"background.water_um": 0.0}) if experiment.background.water_um else experiment


def light_of_water(experiment: Experiment, machine: Machine) -> np.ndarray:
    """The photons (slow, fast) that the water of an experiment scatters."""
    if not experiment.background.water_um:
        return np.zeros(experiment.detector.pixels[::-1])
    both, spots = (photons(each, machine) for each in (experiment, without_water(experiment)))
    return np.asarray(both, dtype=np.float64) - spots


def prepared(frame: Frame, vector: np.ndarray, phase: Phase, names, image) -> Coarse:
    """The frame of a phase that is not exact, from a vector of numbers, with the parameters and those of the image named.

    Its experiment has no water, so that neither scale nor position of the spots is learnt from it.
    """
    experiment, numbers = frame.split(vector)
    spots = without_water(experiment)
    coarse = broadened(spots, phase.broader) if phase.broader > 1.0 else spots
    data = blurred(frame.data[frame.box], blur_pixels(experiment, phase.broader) if phase.broader > 1.0 else 0.0)
    smooth = blurred(data, 1.0)
    counts = ~np.isnan(data)
    variance = np.maximum(smooth, 0.0) + max(phase.level * np.nanmax(smooth), frame.dispersion, 1e-300)
    variance += (frame.readout if frame.sigma is None else frame.sigma[frame.box]) ** 2
    sigma = placed(frame, np.sqrt(np.where(counts, variance, 1.0)))
    made = frame._replace(experiment=coarse, data=placed(frame, data), loss="gaussian", sigma=sigma)
    made = made._replace(parameters=tuple(names), image=tuple(image))
    water = light_of_water(experiment, frame.machine)[frame.box]
    fitted, factor = levelled(made, photons(coarse, frame.machine), water, numbers)
    return Coarse(made._replace(numbers=fitted), water, factor, numbers.scale, numbers.background)


def spot_widths(experiment: Experiment, names, machine: Machine = CPU) -> np.ndarray:
    """By how much every parameter of an experiment moves a typical spot by about its width (n,): |I - mean| / |dI/dp|.

    I is of the crystal alone, less its mean: what is even in an image says nothing of a spot. Infinite where the image does not
    depend on a parameter, or is even.
    """
    spots = without_water(experiment)
    image = photons(spots, machine)
    even = np.full(image.shape, image[rendered(spots)].mean())
    value, _, normal = normal_equations(Gaussian(even), spots, names, **machine._asdict())
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where((value > 0.0) & (np.diag(normal) > 0.0), np.sqrt(2.0 * value / np.diag(normal)), np.inf)


def levelled(frame: Frame, image: np.ndarray, water: np.ndarray, numbers: Numbers) -> tuple[Numbers, float]:
    """The numbers with that scale and flat background that fit best where they are, and how many times the water fits (R7).

    image (slow, fast): the crystal's; water: what the water scatters, in the box. None of the three is below 0.
    """
    counts = ~np.isnan(frame.data[frame.box])
    root = 1.0 / frame.sigma[frame.box][counts]
    wanted = frame.data[frame.box][counts] / numbers.gain - background(frame, numbers._replace(background=0.0))[counts]
    columns = [image[frame.box][counts], np.ones_like(root), *([water[counts]] if water[counts].any() else [])]
    unit = [float(np.sqrt(np.sum(np.square(column * root)))) or 1.0 for column in columns]
    columns = [column * root / size for column, size in zip(columns, unit)]
    normal = np.array([[np.sum(one * other) for other in columns] for one in columns])
    right = np.array([np.sum(column * wanted * root) for column in columns])
    lower = np.linalg.cholesky(normal + 1e-12 * np.eye(len(columns)))
    scale, flat, *rest = optimize.nnls(lower.T, np.linalg.solve(lower, right))[0] / unit
    if scale <= 0.0:
        below = np.median(wanted)
        scale = max(float(np.sum(columns[0] * root * np.maximum(wanted - below, 0.0))) / unit[0], 1e-12)
    return numbers._replace(scale=float(scale), background=float(flat)), float(rest[0]) if rest else 0.0
