"""From the flags of a command line, in their order, to an experiment and what is to be done with it."""

import dataclasses
import math
import re
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from nbnumba import parity, rng
from nbnumba.cli.arguments import Given, read
from nbnumba.cli.flags import FLAGS
from nbnumba.errors import InputError
from nbnumba.experiment import (
    Background,
    Beam,
    Crystal,
    Detector,
    Experiment,
    Goniometer,
    Sampling,
    StructureFactors,
)
from nbnumba.formats import hkl, matrix

CONVENTION_FLAGS = {"-mosflm": "beam", "-adxv": "beam", "-denzo": "beam", "-xds": "sample", "-dials": "beam"}
"""The flags that choose a convention, and the pivot that each implies if a later flag makes the convention custom."""

CUSTOM_FLAGS = (
    "-fdet_vector",
    "-sdet_vector",
    "-odet_vector",
    "-beam_vector",
    "-polar_vector",
    "-spindle_axis",
    "-twotheta_axis",
    "-pix0_vector",
    "-pix0_vector_mm",
)
"""The flags that make the convention custom, unless a convention is chosen after them."""


UNWANTED = (
    ("-nonoise", ("-noisefile",), "noise"),
    ("-nopgm", ("-pgmfile", "-pgmscale"), "pgm"),
    ("-nointfile", ("-intfile",), "integers"),
)
"""The flags that switch an output off, those that switch it on again when they come later, and the field of the run."""


@dataclass(frozen=True)
class Run:
    """What to do with an experiment: the files to write and how, and how to go about it. None: not given."""

    floatfile: str | None = None
    intfile: str | None = None
    noisefile: str | None = None
    pgmfile: str | None = None
    pngfile: str | None = None
    noise: bool = True
    pgm: bool = True
    integers: bool = True
    scale: float = 0.0
    pgmscale: float = 0.0
    adc: float = 40.0
    seed: int | None = None
    misset_seed: int | None = None
    progress: bool = True
    threads: int | None = None


class Statement:
    """The flags of a command line, the last of each, and where they lead."""

    def __init__(self, args: Sequence[str]):
        self.given: list[Given] = read(args)
        self.last: dict[str, Any] = {g.flag.names[0]: g.value for g in self.given}
        self.spelling: dict[str, str] = {g.flag.names[0]: g.spelling for g in self.given}

    def fields(self, part: str) -> dict[str, Any]:
        """The fields of a part, or of the run, that flags set directly."""
        found = {}
        for given in self.given:
            if given.flag.sets and given.flag.sets.startswith(part + "."):
                found[given.flag.sets.partition(".")[2]] = given.value
        return found

    def order(self, names) -> int:
        """The position of the last of these flags, -1 if none is given."""
        return max((i for i, g in enumerate(self.given) if g.flag.names[0] in names), default=-1)

    def run(self) -> Run:
        """What to do with the experiment."""
        fields = self.fields("run")
        threads = fields.get("threads")
        if threads is not None and threads < 1:
            raise InputError(f"-threads: {threads} is not allowed; allowed: a whole number of at least 1")
        for name in ("scale", "pgmscale"):
            if fields.get(name, 0.0) < 0.0:
                raise InputError(f"-{name}: {fields[name]:g} is not allowed; allowed: a number not below 0")
        for switch, names, field in UNWANTED:
            fields[field] = self.order([switch]) <= self.order(names)
        fields["progress"] = self.order(["-noprogress"]) <= self.order(["-progress"])
        return Run(**fields)

    def experiment(self) -> Experiment:
        """The experiment. Raises InputError for what is missing, contradictory or impossible."""
        beam = self._beam()
        sampling = self._sampling()
        return Experiment(
            crystal=self._crystal(beam.wavelength_A, sampling.c_parity),
            structure_factors=self._structure_factors(),
            beam=beam,
            detector=self._detector(),
            goniometer=self._goniometer(),
            background=Background(**self.fields("background")),
            sampling=sampling,
        )

    def _crystal(self, wavelength_A: float, switches: frozenset[str]) -> Crystal:
        fields = self.fields("crystal") | self._cells() | self._domains()
        if "-misset" in self.last:
            fields["misset_deg"] = self._misset(switches)
        cell = dict(zip(("a_A", "b_A", "c_A", "alpha_deg", "beta_deg", "gamma_deg"), self.last.get("-cell", ())))
        if "-mat" not in self.last:
            if not cell:
                raise InputError("no unit cell is given; allowed: -mat FILE, or -cell A B C AL BE GA")
            return Crystal(**cell, **fields)
        from_matrix = Crystal.from_matrix(matrix.read(self.last["-mat"], "-mat"), wavelength_A, **fields)
        if not cell:
            return from_matrix
        warnings.warn("-cell beside -mat gives the lengths of a, b and c; their directions are the matrix's", stacklevel=2)
        lengths = {name: cell.get(name, cell["a_A"]) for name in ("a_A", "b_A", "c_A")}
        return dataclasses.replace(from_matrix, **lengths)

    def _cells(self) -> dict[str, float]:
        """Numbers of unit cells: of -N and -Na, -Nb, -Nc the later one counts; below 1 is 1, as in nanoBragg."""
        found = {}
        for given in self.given:
            if given.flag.names[0] in ("-N", "-Na", "-Nb", "-Nc"):
                if given.value < 0:
                    raise InputError(f"{given.spelling}: {given.value} is not allowed; allowed: a whole number not below 0")
                along = given.spelling[2:] or "abc"
                found |= {f"n_{axis}": max(given.value, 1) for axis in along}
        return found

    def _domains(self) -> dict[str, int]:
        domains, spread = self.last.get("-mosaic_domains"), self.last.get("-mosaic", 0.0)
        if domains is not None and spread == 0.0 and domains > 1:
            warnings.warn("-mosaic_domains has no effect: no -mosaic spread is given", stacklevel=2)
        elif domains is None and spread > 0.0:
            warnings.warn("-mosaic without -mosaic_domains: 10 domains", stacklevel=2)
        return {} if domains is None else {"mosaic_domains": domains}

    def _misset(self, switches: frozenset[str]):
        if self.last["-misset"] != "random":
            return self.last["-misset"]
        run = self.run()
        seed = run.seed if run.misset_seed is None else run.misset_seed
        if seed is None:
            seed = time_seed()
        angles = rng.random_misset_deg(seed, "misset_random" in switches)
        warnings.warn("-misset random with seed {}: -misset {:.15g} {:.15g} {:.15g}".format(seed, *angles), stacklevel=2)
        return angles

    def _structure_factors(self) -> StructureFactors:
        fields = self.fields("structure_factors")
        if "-hkl" not in self.last:
            if not fields.get("default_F"):
                raise InputError("nothing scatters; allowed: -hkl FILE, or -default_F other than 0")
            return StructureFactors(**fields)
        reflections = hkl.read(self.last["-hkl"], "-hkl")
        for note in reflections.notes:
            warnings.warn(f"-hkl {self.last['-hkl']}: {note}", stacklevel=2)
        return StructureFactors(hkl=reflections.hkl, F=reflections.amplitudes, **fields)

    def _beam(self) -> Beam:
        fields = self.fields("beam")
        if self.order(["-energy"]) > self.order(["-lambda"]):
            fields["wavelength_A"] = Beam.wavelength_from_energy(self.last["-energy"])
        flux, exposure = self.last.get("-flux", 0.0), self.last.get("-exposure", 1.0)
        if flux != 0.0 and exposure > 0.0:
            fields["fluence"] = Beam.fluence_from_flux(flux, exposure, fields.get("size_mm", Beam.size_mm))
            if "-fluence" in self.last:
                warnings.warn("-fluence has no effect: -flux is given", stacklevel=2)
        elif "-exposure" in self.last:
            warnings.warn("-exposure has no effect without -flux", stacklevel=2)
        if self.order(["-nopolar"]) > self.order(["-polar"]):
            fields["polarized"] = False
        if "-polar" in self.last:
            fields["polarization"] = self.last["-polar"]
        return Beam(**fields)

    def _detector(self) -> Detector:
        fields = self.fields("detector")
        chosen = max(CONVENTION_FLAGS, key=lambda flag: self.order([flag]))
        if self.order(CUSTOM_FLAGS) > self.order([chosen]):
            fields["convention"] = "custom"
            fields["implied_pivot"] = self._implied_pivot()
        elif chosen in self.last:
            fields["convention"] = chosen[1:]
        if self.order(["-pix0_vector"]) > self.order(["-pix0_vector_mm"]):
            fields["pix0_mm"] = tuple(1000 * x for x in self.last["-pix0_vector"])
        if "-pivot" in self.last:
            fields["pivot"] = self.last["-pivot"]
        if "-point_pixel" in self.last:
            fields["point_pixel"] = True
        pixel = fields.get("pixel_mm", Detector.pixel_mm)
        fields["pixels"] = tuple(self._pixels(axis, pixel) for axis in "xy")
        return Detector(**fields)

    def _implied_pivot(self) -> str:
        """The pivot that the last flag with one implies, -pivot among them: nanoBragg's in the custom convention."""
        pivot = "beam"
        for given in self.given:
            name = given.flag.names[0]
            pivot = given.value if name == "-pivot" else given.flag.pivot or CONVENTION_FLAGS.get(name, pivot)
        return pivot

    def _pixels(self, axis: str, pixel_mm: float) -> int:
        """Pixels along an axis: a number of pixels counts before a size, and of each form the later flag."""
        counts, sizes = ("-detpixels", f"-detpixels_{axis}"), ("-detsize", f"-detsize_{'f' if axis == 'x' else 's'}")
        for names in (counts, sizes):
            name = max(names, key=lambda flag: self.order([flag]))
            if name in self.last:
                value = self.last[name]
                if value <= 0 or pixel_mm <= 0.0:
                    raise InputError(f"{self.spelling[name]}: {value:g} is not allowed; allowed: a positive number")
                return value if names is counts else math.ceil(value / pixel_mm - 0.5)
        return Detector.pixels[0] if pixel_mm <= 0.0 else math.ceil(102.4 / pixel_mm - 0.5)

    def _goniometer(self) -> Goniometer:
        steps = self.last.get("-phisteps")
        if steps is not None and steps < 0:
            raise InputError(f"-phisteps: {steps} is not allowed; allowed: a whole number not below 0")
        return Goniometer(**self.fields("goniometer"), phisteps=steps if steps is None else max(steps, 1))

    def _sampling(self) -> Sampling:
        fields = self.fields("sampling")
        oversample = self.last.get("-oversample")
        if oversample is not None and oversample > 0:
            fields["oversample"] = oversample
        fields["oversample_polarization"] = "-oversample_polar" in self.last
        fields["oversample_omega"] = "-oversample_omega" in self.last
        if "-c_parity" in self.last:
            fields["c_parity"] = parity.switches(self.last["-c_parity"] or "all")
        return Sampling(**fields)


def time_seed() -> int:
    """A seed from the clock, as nanoBragg takes it."""
    return int(time.time()) % rng.LARGEST_SEED


FIELD_FLAGS = {flag.sets: flag.names[0] for flag in FLAGS if flag.sets} | {
    "crystal.n_a": "-Na",
    "crystal.n_b": "-Nb",
    "crystal.n_c": "-Nc",
    "crystal.misset_deg": "-misset",
    "crystal.a_A": "-cell (a)",
    "crystal.b_A": "-cell (b)",
    "crystal.c_A": "-cell (c)",
    "crystal.alpha_deg": "-cell (alpha)",
    "crystal.beta_deg": "-cell (beta)",
    "crystal.gamma_deg": "-cell (gamma)",
    "crystal.mosaic_domains": "-mosaic_domains",
    "structure_factors.hkl": "-hkl",
    "beam.polarization": "-polar",
    "beam.energy_eV": "-energy",
    "beam.flux": "-flux",
    "beam.exposure_s": "-exposure",
    "detector.pixels": "-detpixels",
    "detector.pivot": "-pivot",
    "goniometer.phisteps": "-phisteps",
    "sampling.oversample": "-oversample",
}
"""The flag that states each field, for messages."""


def in_flags(message: str) -> str:
    """A message in which fields of an experiment are called by their flags."""
    names = sorted(FIELD_FLAGS, key=len, reverse=True)
    return re.sub("|".join(map(re.escape, names)), lambda found: FIELD_FLAGS[found[0]], message)


def experiment_from_args(args: Sequence[str]) -> Experiment:
    """The experiment of a command line that names nothing to be written."""
    statement = Statement(args)
    writes = [given.spelling for given in statement.given if given.flag.kind == "file" and given.flag.group == "output"]
    if writes:
        raise InputError(f"{writes[0]} names a file to be written; allowed in an experiment: flags that describe it")
    try:
        return statement.experiment()
    except InputError as error:
        raise InputError(in_flags(str(error))) from None
