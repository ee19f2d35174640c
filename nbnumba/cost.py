"""The cost of an image in steps, seconds and memory, estimated from an experiment before any of its tables is made."""

import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from operator import attrgetter, mul
from pathlib import Path
from typing import NamedTuple

import numpy as np

from nbnumba.backends import CPU, Machine
from nbnumba.errors import InputError, real, shown
from nbnumba.loops.blocks import BLOCK_SLOW
from nbnumba.loops.patches import GROUP, PATCHES
from nbnumba.loops.rows import TILE
from nbnumba.setup import crystal, crystals, culled_work, orientations, sampling, sources, structure
from nbnumba.setup.detector import sensor
from nbnumba.setup.panels import planes
from nbnumba.setup.sheet import sheet_of
from nbnumba.statements import Statements

STEPS_PER_SECOND, INTERPOLATED_STEPS_PER_SECOND = 1e8, 2.5e7
"""Steps that a thread of a common CPU takes in a second, in double precision; a card's rate is not known here."""

SAMPLES_PER_SECOND = 5e7
"""Samples that the same thread prepares in a second: directions, scattering vectors, polarization."""

PHI_STEPS_PER_SECOND, LATTICES_PER_SECOND, DIRECTIONS_PER_SECOND, SOURCES_PER_SECOND = 6e4, 2e5, 3e4, 1e6
"""Phi steps, lattices of the table, directions of the beam, and sources, that one thread sets up in a second."""

ROWS_PER_SECOND = 6e4
"""Rows of pixels that are looked through in a second, for one lattice or pass, for what C does first (P1, P8)."""

TILE_TEST, PATCH_TEST = 2e-7, 1e-9
"""The seconds in which a tile, and in which a patch, is proved to be far from some lattices (F10a)."""

CERTAIN_SECONDS = 0.5
"""A scene that takes a thread less even if every term counts is not looked at more closely, where the time is shown."""

MOST_HOURS = 24.0
"""The longest time in hours that an image may take by default (max_hours); a longer one suggests a mistaken number."""

_GRANTED: ContextVar[tuple[float, str]] = ContextVar("_GRANTED", default=(MOST_HOURS, "max_hours"))
"""The hours that granted() allows, and the name of the option that its caller uses for them."""

COUNT_FIELDS = {
    "pixels": ("detector.panels", "detector.pixels"),
    "samples": ("sampling.oversample", "detector.layers"),
    "sources": (
        *("beam.hdivrange_mrad", "beam.hdivstep_mrad", "beam.hdivsteps"),
        *("beam.vdivrange_mrad", "beam.vdivstep_mrad", "beam.vdivsteps"),
        *("beam.dispsteps", "beam.spectrum", "beam.sources"),
    ),
    "lattices": ("goniometer.osc_deg", "goniometer.phistep_deg", "goniometer.phisteps", "crystal.mosaic_domains"),
}
"""The fields of an experiment that determine each count of a cost."""

IMAGE_BYTES, COMMAND_BYTES, LATTICE_BYTES, SOURCE_BYTES, AMPLITUDE_BYTES, REFLECTION_BYTES = 8, 50, 540, 200, 16, 100
"""The largest memory in use at once: per pixel of the detector in simulate, and in the command line with statistics and noise;
per lattice, per source, per amplitude of the box, and per listed reflection."""


class Cost(NamedTuple):
    """The cost of an image.

    pixels: the number of pixels to render. samples: sub-pixels times sensor layers per pixel; where panels differ, their mean,
    rounded up. sources: the number of sources.
    lattices: phi steps times mosaic domains. seconds: an estimate without compilation; NaN on a GPU. bytes: memory in addition
    to the 200 MB of the program.
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
        """The number of terms to sum: pixels times samples times sources times lattices."""
        return self.pixels * self.steps_per_pixel


def cost(
    experiment: Statements,
    machine: Machine = CPU,
    threads: int = 1,
    command: bool = False,
    certain: float = CERTAIN_SECONDS,
) -> Cost:
    """The cost of an image. command: count the statistics and files of the command line too.

    certain: a scene that takes a thread fewer seconds even if every term counts is not looked at more closely. Counts may
    be arbitrarily large. Raises InputError for a detector that cannot be placed, because automatic sampling depends on the
    distance.
    """
    if experiment.other_crystals:
        return _cost_of_several(crystals.each_alone(experiment), machine, threads, command, certain)
    defects = experiment.sampling.defects
    windows = sampling.windows(experiment.detector, experiment.sampling)
    pixels = [_pixels(window) for window in windows]
    samples = [oversample**2 * layers for oversample, layers in samples_of_panels(experiment)]
    counts = {
        "pixels": sum(pixels),
        "samples": -(-sum(map(mul, pixels, samples)) // sum(pixels)) if any(pixels) else max(samples),
        "sources": sources.number(experiment.beam, defects),
        "lattices": orientations.number_of_lattices(experiment.crystal, experiment.goniometer),
    }
    seconds = _seconds(experiment, windows, counts, threads, certain) if machine.backend == "cpu" else math.nan
    return Cost(**counts, seconds=seconds, bytes=_bytes(experiment, counts, command))


def _cost_of_several(each: Sequence[Statements], machine: Machine, threads: int, command: bool, certain: float) -> Cost:
    """The cost of an image of several crystals, whose images are computed one after another; lattices are those of all.

    each: the crystals alone. Their scenes are in memory together, with one box of amplitudes for all that have the same
    structure factors, and of the images that of one crystal beside the sum.
    """
    costs = [cost(one, machine, threads, command, certain) for one in each]
    lattices, seconds = sum(one.lattices for one in costs), sum(one.seconds for one in costs)
    distinct = {id(one.structure_factors): _bytes_of_amplitudes(one) for one in each}
    tables = sum(_bytes_of_tables(one, of_one.lattices, of_one.sources) for of_one, one in zip(costs, each))
    images = _bytes_of_image(each[0], command) + _bytes_of_image(each[0], False)
    return costs[0]._replace(lattices=lattices, seconds=seconds, bytes=images + tables + sum(distinct.values()))


def samples_of_panels(experiment: Statements) -> list[tuple[int, int]]:
    """The numbers of sub-pixels along an edge, and of sensor layers, of each panel; those of the crystal that needs most."""
    detector, defects, oversample = experiment.detector, experiment.sampling.defects, experiment.sampling.oversample
    layers = [sensor(detector, defects, panel)[0] for panel in detector.panels or (None,)]
    if isinstance(oversample, int):
        return [(oversample, count) for count in layers]
    longest = sampling.with_longest(experiment)
    vectors, placed = crystal.orient(longest.crystal, defects), planes(detector, experiment.beam, defects)
    chosen = (
        sampling.stated_oversample(experiment.sampling, plane) or sampling.recommended_oversample(longest, plane, vectors)
        for plane in placed
    )
    return list(zip(chosen, layers))


def _pixels(window: sampling.Window) -> int:
    rows, columns = slice(*window.rows), slice(*window.columns)
    if window.mask.size:
        return int(np.count_nonzero(window.mask.view(bool)[rows, columns]))
    return (rows.stop - rows.start) * (columns.stop - columns.start)


def _computed_pixels(window: sampling.Window) -> int:
    """The pixels of the tiles of a window."""
    (first, last), (left, right) = window[:2]
    strips, of_strip = math.ceil((last - first) / BLOCK_SLOW), min(BLOCK_SLOW, last - first) * (right - left)
    return _pixels(window) * strips * math.ceil(of_strip / TILE) * TILE // ((last - first) * (right - left))


def _seconds(
    experiment: Statements, windows: Sequence[sampling.Window], counts: dict[str, int], threads: int, certain: float
) -> float:
    """The estimated time; each tile counts as a whole, because it is computed as a whole. certain: as in `cost`.

    Each contribution to the image walks over all samples.
    """
    computed, walks = sum(map(_computed_pixels, windows)), crystals.number_alone(experiment)
    samples = computed * counts["samples"] * counts["sources"]
    factors, cells = experiment.structure_factors, experiment.crystal
    interpolated = factors.hkl is not None and structure.interpolates(factors, min(cells.n_a, cells.n_b, cells.n_c))
    rate = INTERPOLATED_STEPS_PER_SECOND if interpolated else STEPS_PER_SECOND
    parallel = _ratio(samples * walks, SAMPLES_PER_SECOND) + _ratio(samples * counts["lattices"], rate)
    if parallel > certain * threads and culled_work.is_open_to_culling(experiment):
        shares = culled_work.sample(experiment, windows)
        parallel = parallel if shares is None else min(parallel, _culled_seconds(shares, computed, counts, rate, walks))
    return parallel / threads + _seconds_of_tables(experiment, counts) + _seconds_of_rows(experiment, windows, counts)


def _culled_seconds(shares: culled_work.CulledWork, pixels: int, counts: dict[str, int], rate: float, walks: int) -> float:
    """The seconds of one thread where terms are left out (F10a). rate: of the steps of a scene that is not culled.

    walks: how often the samples of a pixel are walked over.
    """
    samples = pixels * counts["samples"]
    tests = _ratio(samples * counts["sources"] * -(-counts["lattices"] // GROUP) // TILE, 1.0)
    return (
        _ratio(samples * walks, SAMPLES_PER_SECOND)
        + _ratio(samples * counts["sources"], SAMPLES_PER_SECOND) * shares.tiles
        + tests * (TILE_TEST + PATCH_TEST * shares.groups * PATCHES * (GROUP + 1))
        + _ratio(samples * counts["sources"] * counts["lattices"], 1.0) * shares.patches * (1.0 / STEPS_PER_SECOND + 1.0 / rate)
    )


def _seconds_of_tables(experiment: Statements, counts: dict[str, int]) -> float:
    """The seconds in which the tables of lattices and of sources are made."""
    spectrum = 1 if experiment.beam.sources is not None else sources.numbers(experiment.beam, experiment.sampling.defects)[2]
    return (
        _ratio(orientations.phi_steps(experiment.goniometer)[0] - 1, PHI_STEPS_PER_SECOND)
        + _ratio(counts["lattices"], LATTICES_PER_SECOND)
        + _ratio(counts["sources"] // spectrum - 1, DIRECTIONS_PER_SECOND)
        + _ratio(counts["sources"], SOURCES_PER_SECOND)
    )


def _seconds_of_rows(experiment: Statements, windows: Sequence[sampling.Window], counts: dict[str, int]) -> float:
    """The seconds, at most, in which rows are looked through for the first passes (P1), and for the latch (P8), of C."""
    defects, factors = experiment.sampling.defects, experiment.structure_factors
    rows = sum(window.rows[1] - window.rows[0] for window in windows)
    passes, cells = rows * counts["samples"] * counts["sources"], experiment.crystal
    looked_through = passes if defects.phi_carryover and experiment.beam.dmin_A > 0.0 else 0
    if defects.interpolation_latch and factors.hkl is not None:
        interpolates = structure.interpolates(factors, min(cells.n_a, cells.n_b, cells.n_c))
        looked_through += passes * counts["lattices"] if interpolates else 0
    return _ratio(looked_through, ROWS_PER_SECOND)


def _ratio(count: int, rate: float) -> float:
    """The quotient, or infinity if the count would overflow it."""
    return count / rate if count < 1e300 else math.inf


def _bytes(experiment: Statements, counts: dict[str, int], command: bool) -> int:
    contribution = _bytes_of_image(experiment, False) if crystals.number_alone(experiment) > 1 else 0  # beside the sum
    tables = _bytes_of_tables(experiment, counts["lattices"], counts["sources"])
    return _bytes_of_image(experiment, command) + contribution + tables + _bytes_of_amplitudes(experiment)


def _bytes_of_tables(experiment: Statements, lattices: int, count: int) -> int:
    """The memory of the tables of lattices and of so many sources, which each contribution to an image has (F7e)."""
    return lattices * LATTICE_BYTES + count * SOURCE_BYTES * crystals.number_alone(experiment)


def _bytes_of_image(experiment: Statements, command: bool) -> int:
    return math.prod(sheet_of(experiment.detector).shape) * (COMMAND_BYTES if command else IMAGE_BYTES)


def _bytes_of_amplitudes(experiment: Statements) -> int:
    """The memory of the box and of the list that it is made of."""
    reflections = 0 if experiment.structure_factors.hkl is None else len(experiment.structure_factors.hkl)
    return _amplitudes(experiment) * AMPLITUDE_BYTES + reflections * REFLECTION_BYTES


def _amplitudes(experiment: Statements) -> int:
    """The number of amplitudes in all boxes: one for each wavelength where F depends on the photon energy (F9f)."""
    factors = experiment.structure_factors
    wavelengths = sources.number_of_wavelengths(experiment.beam, experiment.sampling.defects)
    return structure.number_in_box(factors) * structure.number_of_boxes(factors, wavelengths)


def check(
    experiment: Statements,
    machine: Machine = CPU,
    threads: int = 1,
    max_hours: float | None = None,
    command: bool = False,
    images: int = 1,
) -> Cost:
    """The cost of an image, checked before anything is made. Its seconds are an upper limit where that allows the image.

    images: how many of them the caller is about to make, one after the other. Raises InputError, with the figures, if the image
    needs more memory than is available, or if the images by the estimate for this many threads take more than max_hours (None:
    the hours that granted() allows).
    """
    hours, option = _GRANTED.get()
    if max_hours is not None:
        option = "-max_hours" if command else "max_hours"
        hours = hours_granted(max_hours, option)
    estimate = cost(experiment, machine, threads, command, certain=3600.0 * hours / images)
    held = _amplitudes(experiment)
    if held:
        boxes = held // structure.number_in_box(experiment.structure_factors)
        spanned = structure.spanned(experiment.structure_factors)
        said = f"{spanned}, for each of {boxes} wavelengths" if boxes > 1 else spanned
        check_memory(said, held * AMPLITUDE_BYTES)
    counts = {name: getattr(estimate, name) for name in COUNT_FIELDS}
    figures = ", ".join(f"{_rounded(n)} {name} ({_stated_fields(experiment, name)})" for name, n in counts.items() if n > 1)
    check_memory(f"the image has {figures}", estimate.bytes)
    if images * estimate.seconds > 3600.0 * hours:
        needed = f"about {_rounded(images * estimate.seconds / 3600.0)} hours with {threads} threads"
        time = f"{_rounded(estimate.steps)} steps, {needed}{f' for up to {images} such images' if images > 1 else ''}"
        allowed = f"at most {hours:g} hours, or as many as {option} grants"
        raise InputError(f"the image has {figures}: {time}; allowed: {allowed}")
    return estimate


@contextmanager
def granted(max_hours: float | None, option: str = "max_hours") -> Iterator[None]:
    """Allow every image in this block max_hours, which messages call `option`; None leaves the limit as it is."""
    if max_hours is None:
        yield
        return
    token = _GRANTED.set((hours_granted(max_hours, option), option))
    try:
        yield
    finally:
        _GRANTED.reset(token)


def _stated_fields(experiment: Statements, name: str) -> str:
    """The stated fields that determine a count, or the first possible field if none is stated."""
    stated = [field for field in COUNT_FIELDS[name] if attrgetter(field)(experiment) not in (None, ())]
    if "detector.panels" in stated:
        return "detector.panels"
    return ", ".join(stated or COUNT_FIELDS[name][:1])


def hours_granted(max_hours: float, option: str = "max_hours") -> float:
    """max_hours as a float, which may be infinite. Raises InputError, naming it `option`, unless it is above 0."""
    try:
        hours = float(real(max_hours))
    except (TypeError, ValueError, OverflowError):
        hours = math.nan
    if not hours > 0.0:
        raise InputError(f"{option}: {shown(max_hours)} is not allowed; allowed: a positive number of hours")
    return hours


def check_memory(what: str, needed: int) -> None:
    """Raise InputError, beginning with `what`, if `needed` bytes are more than the available memory of this machine."""
    available = available_bytes()
    if needed > available:
        excess = f"about {_rounded(needed / 1e9)} GB of memory, and {_rounded(available / 1e9)} GB are available here"
        raise InputError(f"{what}: {excess}; allowed: what fits")


def available_bytes() -> float:
    """The memory available to this process in bytes; infinity if the system does not tell."""
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
    """The memory that the limit of a container leaves; cached files count as free."""
    group = Path("/sys/fs/cgroup")
    try:
        limit, used = ((group / name).read_text().strip() for name in ("memory.max", "memory.current"))
        cached = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        return math.inf if limit == "max" else float(int(limit) - int(used) + int(cached["inactive_file"]))
    except (OSError, ValueError, KeyError):
        return math.inf


def _rounded(number: float) -> str:
    """A number with three digits, in exponent form if it is large or small."""
    return f"{number:.3g}" if number < 1e300 else "1e300 and more"
