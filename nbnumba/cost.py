"""What an image costs, counted from an experiment before any of its tables is made: steps, seconds and memory."""

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple

import numpy as np

from nbnumba.backends import CPU, Machine
from nbnumba.errors import InputError, real, shown
from nbnumba.loops.rows import TILE
from nbnumba.setup import crystal, orientations, sampling, sources, structure
from nbnumba.setup.detector import position_detector, sensor
from nbnumba.statements import Statements

STEPS_PER_SECOND = {"square": 1e8, "other shapes": 1.5e7, "interpolated": 7e6}
"""Steps that a thread of a common CPU takes in a second, in double precision; a card's rate is not known here."""

SAMPLES_PER_SECOND = 5e7
"""Samples that it prepares for them: directions, scattering vectors, polarization."""

LATTICES_PER_SECOND, SOURCES_PER_SECOND = 2e5, 3e4
"""Lattices of the table, and sources, which one thread makes before."""

MOST_HOURS = 24.0
"""What an image may take unless more is granted (max_hours): beyond it a number was probably mistaken."""

_GRANTED: ContextVar[tuple[float, str]] = ContextVar("_GRANTED", default=(MOST_HOURS, "max_hours"))
"""The hours that granted() has granted, and what its caller calls them."""

MADE_BY = {
    "pixels": ("detector.pixels",),
    "samples": ("sampling.oversample", "detector.layers"),
    "sources": (
        *("beam.hdivrange_mrad", "beam.hdivstep_mrad", "beam.hdivsteps"),
        *("beam.vdivrange_mrad", "beam.vdivstep_mrad", "beam.vdivsteps"),
        *("beam.dispsteps", "beam.sources"),
    ),
    "lattices": ("goniometer.osc_deg", "goniometer.phistep_deg", "goniometer.phisteps", "crystal.mosaic_domains"),
}
"""The fields that make each count of a cost."""

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


def cost(experiment: Statements, machine: Machine = CPU, threads: int = 1, command: bool = False) -> Cost:
    """The cost of an image. command: of the command line's, which has statistics and files besides.

    No count is bounded. Raises InputError for what cannot be placed: the sampling depends on the distance.
    """
    switches = experiment.sampling.c_parity
    wanted = sampling.window(experiment.detector.pixels, experiment.sampling.roi, experiment.sampling.mask)
    layers = sensor(experiment.detector, switches)[0]
    oversample = experiment.sampling.oversample
    if oversample is None:
        placement = position_detector(experiment.detector, experiment.beam, switches)
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


def _seconds(experiment: Statements, wanted: sampling.Window, counts: dict[str, int], threads: int) -> float:
    """A tile is computed whole, whatever part of it is wanted."""
    width = wanted.columns[1] - wanted.columns[0]
    computed = counts["pixels"] * math.ceil(width / TILE) * TILE // width
    samples = computed * counts["samples"] * counts["sources"]
    factors, cells = experiment.structure_factors, experiment.crystal
    interpolated = factors.hkl is not None and structure.interpolates(factors, min(cells.n_a, cells.n_b, cells.n_c))
    kind = "interpolated" if interpolated else "square" if cells.shape == "square" else "other shapes"
    parallel = _ratio(samples, SAMPLES_PER_SECOND) + _ratio(samples * counts["lattices"], STEPS_PER_SECOND[kind])
    tables = _ratio(counts["lattices"], LATTICES_PER_SECOND) + _ratio(counts["sources"] - 1, SOURCES_PER_SECOND)
    return parallel / threads + tables


def _ratio(count: int, rate: float) -> float:
    """A quotient that no count overflows."""
    return count / rate if count < 1e300 else math.inf


def _bytes(experiment: Statements, counts: dict[str, int], command: bool) -> int:
    fast, slow = experiment.detector.pixels
    reflections = 0 if experiment.structure_factors.hkl is None else len(experiment.structure_factors.hkl)
    return (
        fast * slow * (COMMAND_BYTES if command else IMAGE_BYTES)
        + counts["lattices"] * LATTICE_BYTES
        + counts["sources"] * SOURCE_BYTES
        + structure.number_in_box(experiment.structure_factors) * AMPLITUDE_BYTES
        + reflections * REFLECTION_BYTES
    )


def check(
    experiment: Statements,
    machine: Machine = CPU,
    threads: int = 1,
    max_hours: float | None = None,
    command: bool = False,
) -> Cost:
    """The cost of an image, before anything of it is made.

    Raises InputError, with the figures, for one that takes more memory than is left, or longer than max_hours (None: what
    granted() has granted) by the estimate for this many threads.
    """
    hours, option = _GRANTED.get()
    if max_hours is not None:
        option = "-max_hours" if command else "max_hours"
        hours = hours_granted(max_hours, option)
    found = cost(experiment, machine, threads, command)
    box = structure.number_in_box(experiment.structure_factors)
    if box:
        check_memory(structure.spanned(experiment.structure_factors), box * AMPLITUDE_BYTES)
    counts = {name: getattr(found, name) for name in MADE_BY}
    shown = ", ".join(f"{_shown(n)} {name} ({_made_by(experiment, name)})" for name, n in counts.items() if n > 1)
    check_memory(f"the image has {shown}", found.bytes)
    if found.seconds > 3600.0 * hours:
        said = f"{_shown(found.steps)} steps, about {_shown(found.seconds / 3600.0)} hours with {threads} threads"
        allowed = f"at most {hours:g} hours, or as many as {option} grants"
        raise InputError(f"the image has {shown}: {said}; allowed: {allowed}")
    return found


@contextmanager
def granted(max_hours: float | None, option: str = "max_hours") -> Iterator[None]:
    """Let every image of a block take so many hours, which are called `option` in messages; None: as many as before."""
    if max_hours is None:
        yield
        return
    token = _GRANTED.set((hours_granted(max_hours, option), option))
    try:
        yield
    finally:
        _GRANTED.reset(token)


def _made_by(experiment: Statements, name: str) -> str:
    """The fields that are stated and make a count, or, where none is, the first that could be."""
    stated = [field for field in MADE_BY[name] if attrgetter(field)(experiment) is not None]
    return ", ".join(stated or MADE_BY[name][:1])


def hours_granted(max_hours: float, option: str = "max_hours") -> float:
    """max_hours as a number. Raises InputError, in which it is called `option`, unless it is above 0; infinity is allowed."""
    try:
        hours = float(real(max_hours))
    except (TypeError, ValueError, OverflowError):
        hours = math.nan
    if not hours > 0.0:
        raise InputError(f"{option}: {shown(max_hours)} is not allowed; allowed: a positive number of hours")
    return hours


def check_memory(what: str, needed: int) -> None:
    """Raise InputError where so many bytes are more than what is left on this machine; what: a sentence that needs them."""
    left = available_bytes()
    if needed > left:
        said = f"about {_shown(needed / 1e9)} GB of memory, and {_shown(left / 1e9)} GB are left here"
        raise InputError(f"{what}: {said}; allowed: what fits")


def available_bytes() -> float:
    """Bytes of memory that are left for this process, as far as the system tells; else infinity."""
    return min(_left_on_machine(), _left_in_group())


def _left_on_machine() -> float:
    try:
        words = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
        return 1024.0 * int(words["MemAvailable"].split()[0])
    except (OSError, ValueError, KeyError, IndexError):
        pass
    try:
        return float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (OSError, ValueError, AttributeError):
        return math.inf


def _left_in_group() -> float:
    """What the limit of a container leaves; what it has cached can be given back."""
    group = Path("/sys/fs/cgroup")
    try:
        limit, used = ((group / name).read_text().strip() for name in ("memory.max", "memory.current"))
        cached = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        return math.inf if limit == "max" else float(int(limit) - int(used) + int(cached["inactive_file"]))
    except (OSError, ValueError, KeyError):
        return math.inf


def _shown(number: float) -> str:
    """A number with three digits, or as a power where it is large or small."""
    return f"{number:.3g}" if number < 1e300 else "1e300 and more"
