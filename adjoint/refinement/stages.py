"""Coarse to fine: stages that make the spots broader, so that a start several spot widths off finds home (R7)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import ndimage

from adjoint.gradient import normal_equations
from adjoint.losses import Gaussian
from adjoint.refinement.frames import Frame, Numbers, background, placed
from nbnumba.backends import CPU, Machine
from nbnumba.experiment import Experiment
from nbnumba.setup.crystal import orient
from nbnumba.setup.detector import place
from nbnumba.simulate import simulate

POSITIONS = ("crystal.a_A", "crystal.b_A", "crystal.c_A", "crystal.alpha", "crystal.beta", "crystal.gamma", "crystal.misset")
POSITIONS += ("beam.wavelength", "beam.direction", "detector.", "goniometer.phi_deg")
SENSOR = ("detector.thickness_um", "detector.attenuation_um")
"""How names of parameters begin that say where spots are; but for the sensor's."""

SPREAD = 0.397
"""Standard deviation of a Gaussian spot (F8d) in units of one over the number of cells: sqrt(0.63 / 4)."""

FEWEST_CELLS = 4.0
"""A crystal is not made smaller than this along an edge, or spots would run into each other."""


class Stage(NamedTuple):
    """A step of a refinement: `broader`: spots so many times as broad; `exact`: by the loss itself, of all parameters.

    Otherwise it is by a Gaussian loss whose weights level bright and weak spots, the more the smaller `level` is, with a scale
    and a flat background of each image, of the parameters that say where spots are.
    """

    name: str
    broader: float = 1.0
    exact: bool = False
    evaluations: int = 40
    level: float = 0.02


EXACT = Stage("all parameters", exact=True, evaluations=200)
SHARP = Stage("positions of sharp spots")
BROAD = (Stage("spots 8 times as broad", 8.0), Stage("spots 4 times as broad", 4.0), Stage("spots 2 times as broad", 2.0))


def leveled(stages, level: float) -> tuple[Stage, ...]:
    """The same stages, with bright and weak spots weighed otherwise."""
    return tuple(stage._replace(level=level) for stage in stages)


AUTO = (
    (*BROAD, SHARP, EXACT),
    (*leveled((*BROAD, SHARP), 0.1), EXACT),
    (*leveled((*BROAD, SHARP), 0.005), EXACT),
    (SHARP, EXACT),
)
"""What an automatic refinement tries in turn, until the crystal accounts for the images."""


def is_position(name: str) -> bool:
    """Whether a parameter says where spots are."""
    return name.startswith(POSITIONS) and name not in SENSOR


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
    placement = place(detector, experiment.beam, experiment.sampling.c_parity)
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


def prepared(at: Frame, vector: np.ndarray, stage: Stage, names, image) -> Frame:
    """The frame of a stage that is not exact, from a vector of numbers, with the parameters and those of the image named."""
    experiment, numbers = at.split(vector)
    coarse = broadened(experiment, stage.broader) if stage.broader > 1.0 else experiment
    data = blurred(at.data[at.box], blur_pixels(experiment, stage.broader) if stage.broader > 1.0 else 0.0)
    smooth = blurred(data, 1.0)
    counts = ~np.isnan(data)
    variance = np.maximum(smooth, 0.0) + max(stage.level * np.nanmax(smooth), at.dispersion, 1e-300)
    variance += (at.readout if at.sigma is None else at.sigma[at.box]) ** 2
    sigma = placed(at, np.sqrt(np.where(counts, variance, 1.0)))
    made = at._replace(experiment=coarse, data=placed(at, data), loss="gaussian", sigma=sigma)
    made = made._replace(parameters=tuple(names), image=tuple(image))
    return made._replace(numbers=levelled(made, simulate(coarse, **at.machine._asdict()), numbers))


def spot_widths(experiment: Experiment, names, machine: Machine = CPU) -> np.ndarray:
    """By how much every parameter of an experiment moves a typical spot by about its width (n,): |I| / |dI/dp|.

    Infinite where the image does not depend on a parameter.
    """
    dark = np.zeros(experiment.detector.pixels[::-1])
    value, _, normal = normal_equations(Gaussian(dark), experiment, names, **machine._asdict())
    with np.errstate(divide="ignore"):
        return np.sqrt(2.0 * value / np.diag(normal))


def levelled(at: Frame, image: np.ndarray, numbers: Numbers) -> Numbers:
    """The numbers with that scale and flat background that fit best where they are (R7)."""
    counts = ~np.isnan(at.data[at.box])
    image, sigma = image[at.box][counts], at.sigma[at.box][counts]
    weight = sigma**-2.0
    wanted = at.data[at.box][counts] / numbers.gain - background(at, numbers._replace(background=0.0))[counts]
    columns = np.stack([image, np.ones_like(image)])
    normal, right = (columns * weight) @ columns.T, (columns * weight) @ wanted
    scale, flat = np.linalg.lstsq(normal, right, rcond=1e-12)[0]
    if flat < 0.0 or scale <= 0.0:
        flat = max(float(np.median(wanted)), 0.0)
        scale = max(float((columns[0] * weight) @ np.maximum(wanted - flat, 0.0)) / max(normal[0, 0], 1e-300), 1e-12)
    return numbers._replace(scale=float(scale), background=float(flat))
