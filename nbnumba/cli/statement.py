"""From the flags of a command line, in their order, to an experiment and what is to be done with it."""

import dataclasses
import math
import re
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nbnumba import parity, rng
from nbnumba.cli import headers
from nbnumba.cli.arguments import Given, number, read
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
from nbnumba.formats import fdump, hkl, matrix, smv, sources, stol

CONVENTION_FLAGS = {"-mosflm": "beam", "-adxv": "beam", "-denzo": "beam", "-xds": "sample", "-dials": "beam"}
"""The flags that choose a convention, and the pivot that each implies if a later flag makes the convention custom."""

SHAPE_FLAGS = {"-square_xtal": "square", "-round_xtal": "round", "-gauss_xtal": "gauss", "-tophat_spots": "tophat"}
"""The flags that choose the shape of the crystal."""

SIZE_FLAGS = {"-samplesize": "abc", "-sample_thick": "a", "-sample_width": "b", "-sample_height": "c"}
"""The flags that give edges of the crystal in mm, and along what."""

DIVERGENCE_FLAGS = (
    "-divergence",
    "-hdivrange",
    "-vdivrange",
    "-hdivstep",
    "-vdivstep",
    "-divsteps",
    "-hdivsteps",
    "-vdivsteps",
    "-dispersion",
)
"""The flags that a table of sources overrules."""

STOL_FLAGS = {"-stol": 1.0, "-4stol": 4.0, "-Q": 4.0 * math.pi}
"""The flags that name a table of structure factors, and its abscissa in units of sin(theta) / lambda."""

NEAR_POINT_FLAGS = ("-Xclose", "-Yclose", "-ORGX", "-ORGY")
"""The flags that say where the detector is nearest to the sample."""

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
    dump: str | None = None
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
        self.switches = parity.switches((self.last["-c_parity"] or "all") if "-c_parity" in self.last else ())
        self.mask: np.ndarray | None = None
        self.header: dict[str, Any] = self._headers()

    def fields(self, part: str) -> dict[str, Any]:
        """The fields of a part, or of the run, that a header states or flags set directly; flags overrule a header."""
        found = {name.partition(".")[2]: value for name, value in self.header.items() if name.startswith(part + ".")}
        for given in self.given:
            if given.flag.sets and given.flag.sets.startswith(part + "."):
                found[given.flag.sets.partition(".")[2]] = given.value
        return found

    def _headers(self) -> dict[str, Any]:
        """What the headers of -mask and -img say, the latter counting more."""
        found: dict[str, Any] = {}
        if "-mask" in self.last:
            header, pixels = smv.read(self.last["-mask"], "-mask")
            found |= headers.statements(header, self.convention(), True, self.switches)
            self.mask = pixels
        if "-img" in self.last:
            header = smv.read_header(self.last["-img"], "-img")
            found |= headers.statements(header, self.convention(), False, self.switches)
        return found

    def convention(self) -> str:
        """The detector convention: the last one chosen, or custom after a flag that makes it so."""
        chosen = self._choice(CONVENTION_FLAGS)
        if self.order(CUSTOM_FLAGS) > self.order([chosen]):
            return "custom"
        return "mosflm" if chosen is None else chosen[1:]

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
        if "-hkl" in self.last:
            fields["dump"] = self.last.get("-dump")
        fields["progress"] = self.order(["-noprogress"]) <= self.order(["-progress"])
        return Run(**fields)

    def experiment(self) -> Experiment:
        """The experiment. Raises InputError for what is missing, contradictory or impossible."""
        beam = self._beam()
        sampling = self._sampling()
        return Experiment(
            crystal=self._crystal(beam.wavelength_A),
            structure_factors=self._structure_factors(),
            beam=beam,
            detector=self._detector(),
            goniometer=self._goniometer(),
            background=self._background(),
            sampling=sampling,
        )

    def _crystal(self, wavelength_A: float) -> Crystal:
        fields = self.fields("crystal") | self._cells() | self._domains()
        shape = self._choice(SHAPE_FLAGS)
        if shape is not None:
            fields["shape"] = SHAPE_FLAGS[shape]
        if self.last.get("-misset") == "random":
            fields["misset_seed"] = self._misset_seed()
        elif "-misset" in self.last:
            fields["misset_deg"] = self.last["-misset"]
        cell = dict(zip(("a_A", "b_A", "c_A", "alpha_deg", "beta_deg", "gamma_deg"), self.last.get("-cell", ())))
        return self._cut_to_size(self._of_cell(cell, wavelength_A, fields))

    def _of_cell(self, cell, wavelength_A, fields) -> Crystal:
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

    def _cut_to_size(self, crystal: Crystal) -> Crystal:
        """The crystal with numbers of cells from its edges in mm, width and height clipped by the beam, as in nanoBragg."""
        edges = {}
        for given in self.given:
            name = given.flag.names[0]
            for axis in SIZE_FLAGS.get(name, ()):
                edges[axis] = given.value
        beam = self.last.get("-beamsize", Beam.size_mm)
        for axis in "bc":
            if edges.get(axis, 0.0) > beam:
                note = f"the crystal's edge along {axis}, {edges[axis]:g} mm, is clipped to the -beamsize {beam:g} mm"
                warnings.warn(note, stacklevel=2)
                edges[axis] = beam
        cells = {f"n_{axis}": cells_along(edge, getattr(crystal, f"{axis}_A")) for axis, edge in edges.items() if edge > 0.0}
        return dataclasses.replace(crystal, **cells)

    def _choice(self, flags) -> str | None:
        """Which of these flags is given last, if any is."""
        chosen = max(flags, key=lambda flag: self.order([flag]))
        return chosen if chosen in self.last else None

    def _domains(self) -> dict[str, int]:
        domains, spread = self.last.get("-mosaic_domains"), self.last.get("-mosaic", 0.0)
        if domains is not None and spread == 0.0 and domains > 1:
            warnings.warn("-mosaic_domains has no effect: no -mosaic spread is given", stacklevel=2)
        elif domains is None and spread > 0.0:
            warnings.warn("-mosaic without -mosaic_domains: 10 domains", stacklevel=2)
        return {} if domains is None else {"mosaic_domains": domains}

    def _misset_seed(self) -> int:
        """The seed of a random orientation: its own, that of the noise, or the time."""
        run = self.run()
        seed = run.seed if run.misset_seed is None else run.misset_seed
        if seed is None:
            seed = time_seed()
            warnings.warn(f"-misset random without a seed: -misset_seed {seed}", stacklevel=2)
        return seed

    def _structure_factors(self) -> StructureFactors:
        fields = self.fields("structure_factors")
        chosen = self._choice(("-interpolate", "-nointerpolate"))
        if chosen is not None:
            fields["interpolate"] = chosen == "-interpolate"
        if "-hkl" not in self.last and "-dump" in self.last:
            warnings.warn(f"structure factors are read from -dump {self.last['-dump']}", stacklevel=2)
            found = fdump.read(self.last["-dump"], "-dump")
            return StructureFactors(hkl=found.hkl, F=found.amplitudes, **fields)
        if "-hkl" not in self.last:
            if not fields.get("default_F"):
                raise InputError("nothing scatters; allowed: -hkl FILE, -dump FILE, or -default_F other than 0")
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
        for both, each in (("-divergence", "range_mrad"), ("-divsteps", "steps")):
            fields |= self._both_ways(both, each)
        if fields.get("dispersion_percent", 0.0) == 0.0 and self.last.get("-dispsteps", 1) > 1:
            warnings.warn("-dispsteps has no effect: no -dispersion is given", stacklevel=2)
        fields |= self._steps("-dispsteps", "dispsteps")
        fields["round_divergence"] = self._choice(("-round_div", "-square_div")) != "-square_div"
        if "-sourcefile" in self.last:
            fields["sources"] = self._sources(fields)
        return Beam(**fields)

    def _both_ways(self, both: str, ending: str) -> dict[str, Any]:
        """A flag for both directions of the divergence, and those for each: the later one counts."""
        found = {}
        for axis in "hv":
            name = self._choice((both, f"-{axis}div{ending.removesuffix('_mrad')}"))
            field = f"{axis}div{ending}"
            if name is not None:
                found |= self._steps(name, field) if ending == "steps" else {field: self.last[name]}
        return found

    def _steps(self, name: str, field: str) -> dict[str, int]:
        """A number of steps; 0 and below mean not given, as in nanoBragg."""
        return {field: self.last[name]} if self.last.get(name, 0) > 0 else {}

    def _sources(self, fields):
        table = sources.read(self.last["-sourcefile"], "-sourcefile")
        table[:, 4] *= 1e10
        unused = [name for name in DIVERGENCE_FLAGS if name in self.last]
        if unused:
            warnings.warn(f"{unused[0]} has no effect: -sourcefile is given", stacklevel=2)
        return table

    def _background(self) -> Background:
        fields = self.fields("background")
        name = self._choice(STOL_FLAGS)
        if name is not None:
            table = stol.read(self.last[name], name)
            table = table[np.argsort(table[:, 0], kind="stable")]
            table[:, 0] /= STOL_FLAGS[name]
            fields["table"] = np.nan_to_num(table, nan=0.0)
        unused = [flag for flag in (*STOL_FLAGS, "-density", "-molecwt") if flag in self.last]
        if unused and fields.get("water_um", 0.0) == 0.0:
            warnings.warn(f"{unused[0]} has no effect: -water says how much of the material there is", stacklevel=2)
        return Background(**fields)

    def _detector(self) -> Detector:
        fields = self.fields("detector")
        self._overrule_header(fields)
        fields["convention"] = self.convention()
        if fields["convention"] == "custom":
            fields["implied_pivot"] = self._implied_pivot()
        if self.order(["-pix0_vector"]) > self.order(["-pix0_vector_mm"]):
            fields["pix0_mm"] = tuple(1000 * x for x in self.last["-pix0_vector"])
        if "-pivot" in self.last:
            fields["pivot"] = self.last["-pivot"]
        fields["point_pixel"], fields["curved"] = "-point_pixel" in self.last, "-curved_det" in self.last
        fields |= self._steps("-detector_thicksteps", "layers") | self._sensor(fields)
        pixel = fields.get("pixel_mm", Detector.pixel_mm)
        fields["pixels"] = tuple(self._pixels(axis, pixel) for axis in "xy")
        return Detector(**fields)

    def _overrule_header(self, fields) -> None:
        """A distance or a beam centre that flags give replaces every form of it in a header."""
        if self.order(NEAR_POINT_FLAGS) >= 0 and "near_point_ignored" not in self.switches:
            self._drop_from_header(fields, ("detector.xbeam_mm", "detector.ybeam_mm"))
        if self.order(("-Xbeam", "-Ybeam")) >= 0:
            self._drop_from_header(fields, ("detector.orgx_pixels", "detector.orgy_pixels"))
        if "-distance" in self.last and "-close_distance" not in self.last:
            if "header_close_distance" not in self.switches:
                fields.pop("close_distance_mm", None)
        elif "close_distance_mm" in fields and "-close_distance" not in self.last:
            fields.pop("distance_mm", None)

    def _drop_from_header(self, fields, names) -> None:
        for name in names:
            field = name.partition(".")[2]
            if fields.get(field) == self.header.get(name):
                fields.pop(field, None)

    def _sensor(self, fields) -> dict[str, float]:
        """Thickness and attenuation depth of the sensor; a depth of inf or 0 is no sensor, as in nanoBragg."""
        thick, depth = fields.get("thickness_um", 0.0), self.last.get("-detector_abs")
        if depth is None:
            if thick > 0.0:
                warnings.warn(f"-detector_thick without -detector_abs: attenuation depth {thick:g} um", stacklevel=2)
            return {}
        if "inf" in depth or number(depth) == 0.0:
            if thick > 0.0:
                warnings.warn("-detector_thick has no effect: the attenuation depth is infinite", stacklevel=2)
            return {"thickness_um": 0.0}
        if number(depth) is None:
            raise InputError(f"-detector_abs: {depth!r} is not allowed; allowed: a positive number (um), or inf")
        if thick == 0.0:
            warnings.warn("-detector_abs has no effect without -detector_thick", stacklevel=2)
        return {"attenuation_um": number(depth)}

    def _implied_pivot(self) -> str:
        """The pivot that the last flag with one implies, -pivot among them: nanoBragg's in the custom convention."""
        pivot = "beam"
        for given in self.given:
            name = given.flag.names[0]
            pivot = given.value if name == "-pivot" else given.flag.pivot or CONVENTION_FLAGS.get(name, pivot)
        return pivot

    def _pixels(self, axis: str, pixel_mm: float) -> int:
        """Pixels along an axis: a number of pixels counts before a size, and of each form the later flag."""
        fallback = self.header.get("detector.pixels", (None, None))["xy".index(axis)]
        counts, sizes = ("-detpixels", f"-detpixels_{axis}"), ("-detsize", f"-detsize_{'f' if axis == 'x' else 's'}")
        for names in (counts, sizes):
            name = self._choice(names)
            if name is not None and not (names is sizes and fallback is not None):
                value = self.last[name]
                if value <= 0 or pixel_mm <= 0.0:
                    raise InputError(f"{self.spelling[name]}: {value:g} is not allowed; allowed: a positive number")
                return value if names is counts else math.ceil(value / pixel_mm - 0.5)
        if fallback is not None or pixel_mm <= 0.0:
            return fallback or Detector.pixels[0]
        return math.ceil(102.4 / pixel_mm - 0.5)

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
        fields["oversample_thick"] = "-oversample_thick" in self.last
        fields["oversample_polarization"] = "-oversample_polar" in self.last
        fields["oversample_omega"] = "-oversample_omega" in self.last
        return Sampling(**fields, mask=self.mask, c_parity=self.switches)


def cells_along(edge_mm: float, cell_A: float) -> int:
    """Unit cells along an edge, rounded up as nanoBragg rounds: in metres."""
    return math.ceil(edge_mm / 1000 / (cell_A * 1e-10))


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
    "background.table": "-stol",
    "beam.sources": "-sourcefile",
    "beam.hdivsteps": "-hdivsteps",
    "beam.vdivsteps": "-vdivsteps",
    "beam.dispsteps": "-dispsteps",
    "detector.attenuation_um": "-detector_abs",
    "detector.layers": "-detector_thicksteps",
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
    writes += ["-dump"] if statement.run().dump else []
    if writes:
        raise InputError(f"{writes[0]} names a file to be written; allowed in an experiment: flags that describe it")
    try:
        return statement.experiment()
    except InputError as error:
        raise InputError(in_flags(str(error))) from None
