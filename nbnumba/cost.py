"""What an image costs, counted from an experiment before any of its tables is made: steps, seconds and memory."""

import math
from typing import NamedTuple

import numpy as np

from nbnumba.backends import CPU, Machine
from nbnumba.backends.rows import TILE
from nbnumba.experiment import Experiment
from nbnumba.setup import crystal, orientations, sampling, sources, structure
from nbnumba.setup.detector import place, sensor

STEPS_PER_SECOND = {"square": 1e8, "other shapes": 1.5e7, "interpolated": 7e6}
"""Steps that a thread of a common CPU takes in a second, in double precision; a card's rate is not known here."""

SAMPLES_PER_SECOND = 5e7
"""Samples that it prepares for them: directions, scattering vectors, polarization."""

LATTICES_PER_SECOND = 2e5
"""Lattices of the table, which one thread makes before."""

IMAGE_BYTES, COMMAND_BYTES, LATTICE_BYTES, SOURCE_BYTES, AMPLITUDE_BYTES, REFLECTION_BYTES = 8, 50, 540, 200, 16, 100
"""At most in use at once: for every pixel of the detector by simulate and by the command line, with statistics and noise; for
every lattice, source, amplitude of the box and reflection of the list."""


class Cost(NamedTuple):
    """What an image costs.

    pixels: those that are wanted. samples: sub-pixels times sensor layers of each. sources. lattices: phi steps times mosaic
    domains. seconds: roughly, compiling apart; NaN on a card. bytes: of memory, beside the program's own 200 MB.
    """

    pixels: int
    samples: int
    sources: int
    lattices: int
    seconds: float
    bytes: int

    @property
    def steps_per_pixel(self) -> int:
        """Samples times sources times lattices."""
        return self.samples * self.sources * self.lattices

    @property
    def steps(self) -> int:
        """What there is to sum: pixels times samples times sources times lattices."""
        return self.pixels * self.steps_per_pixel


def cost(experiment: Experiment, machine: Machine = CPU, threads: int = 1, command: bool = False) -> Cost:
    """The cost of an image. command: of the command line's, which has statistics and files besides.

    No count is bounded. Raises InputError for what cannot be placed: the sampling depends on the distance.
    """
    switches = experiment.sampling.c_parity
    wanted = sampling.window(experiment.detector.pixels, experiment.sampling.roi, experiment.sampling.mask)
    layers = sensor(experiment.detector, switches)[0]
    oversample = experiment.sampling.oversample
    if oversample is None:
        placement = place(experiment.detector, experiment.beam, switches)
        oversample = sampling.recommended_oversample(experiment, placement, crystal.orient(experiment.crystal, switches))
    counts = {
        "pixels": _pixels(wanted),
        "samples": oversample**2 * layers,
        "sources": sources.number(experiment.beam, switches),
        "lattices": orientations.phi_steps(experiment.goniometer)[0] * orientations.number_of_domains(experiment.crystal),
    }
    seconds = _seconds(experiment, wanted, counts, threads) if machine.backend == "cpu" else math.nan
    return Cost(**counts, seconds=seconds, bytes=_bytes(experiment, counts, command))


def _pixels(wanted: sampling.Window) -> int:
    rows, columns = slice(*wanted.rows), slice(*wanted.columns)
    if wanted.mask.size:
        return int(np.count_nonzero(wanted.mask[rows, columns]))
    return (rows.stop - rows.start) * (columns.stop - columns.start)


def _seconds(experiment: Experiment, wanted: sampling.Window, counts: dict[str, int], threads: int) -> float:
    """A tile is computed whole, whatever part of it is wanted."""
    width = wanted.columns[1] - wanted.columns[0]
    computed = counts["pixels"] * math.ceil(width / TILE) * TILE // width
    samples = computed * counts["samples"] * counts["sources"]
    factors, cells = experiment.structure_factors, experiment.crystal
    interpolated = factors.hkl is not None and structure.interpolates(factors, min(cells.n_a, cells.n_b, cells.n_c))
    kind = "interpolated" if interpolated else "square" if cells.shape == "square" else "other shapes"
    parallel = _ratio(samples, SAMPLES_PER_SECOND) + _ratio(samples * counts["lattices"], STEPS_PER_SECOND[kind])
    return parallel / threads + _ratio(counts["lattices"], LATTICES_PER_SECOND)


def _ratio(count: int, rate: float) -> float:
    """A quotient that no count overflows."""
    return count / rate if count < 1e300 else math.inf


def _bytes(experiment: Experiment, counts: dict[str, int], command: bool) -> int:
    fast, slow = experiment.detector.pixels
    reflections = 0 if experiment.structure_factors.hkl is None else len(experiment.structure_factors.hkl)
    return (
        fast * slow * (COMMAND_BYTES if command else IMAGE_BYTES)
        + counts["lattices"] * LATTICE_BYTES
        + counts["sources"] * SOURCE_BYTES
        + structure.number_in_box(experiment.structure_factors) * AMPLITUDE_BYTES
        + reflections * REFLECTION_BYTES
    )
