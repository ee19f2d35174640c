"""Run: the files that a command line asks for, and how they are computed and written."""

import time
import warnings
from dataclasses import dataclass

from nbnumba import rng
from nbnumba.backends import BACKENDS, PRECISIONS, Machine, machine
from nbnumba.cost import MOST_HOURS, hours_granted
from nbnumba.errors import InputError
from nbnumba.files import MOST_SCALE
from nbnumba.flags.command_line import CommandLine
from nbnumba.flags.lattices import lattice_files
from nbnumba.formats.nxmx_writer import COMPRESSIONS
from nbnumba.formats.text import excerpt
from nbnumba.noise import LARGEST_PIXEL
from nbnumba.response import PHOTON_COUNTER, Response

UNWANTED = (
    ("-nonoise", ("-noisefile",), "noise"),
    ("-nopgm", ("-pgmfile", "-pgmscale"), "pgm"),
    ("-nointfile", ("-intfile",), "integers"),
)
"""The flags that switch an output off, those that switch it on again when they come later, and the field of the run."""


OUTPUTS = (
    "floatfile", "intfile", "noisefile", "pgmfile", "pngfile", "exptfile", "nxsfile", "cbffile", "predictions", "hklmap",
    "dump",
)  # fmt: skip
"""The fields of the run that name files to be written, and for which - is the standard output."""


FACTORS = ("-hkl", "-pdb", "-mtz", "-cif", "-refl")
"""The flags that name a file of structure factors; beside one of them a -dump is written."""


@dataclass(frozen=True)
class Run:
    """What to do with an experiment: the files to write and how, and how to go about it. None: not given."""

    floatfile: str | None = None
    intfile: str | None = None
    noisefile: str | None = None
    pgmfile: str | None = None
    pngfile: str | None = None
    pngmarks: bool = False
    exptfile: str | None = None
    nxsfile: str | None = None
    nxscompression: str = "gzip"
    cbffile: str | None = None
    predictions: str | None = None
    hklmap: str | None = None
    noise: bool = True
    pgm: bool = True
    integers: bool = True
    scale: float = 0.0
    pgmscale: float = 0.0
    adc: float = 40.0
    response: Response = PHOTON_COUNTER
    dump: str | None = None
    seed: int | None = None
    misset_seed: int | None = None
    inputs: tuple[tuple[str, str], ...] = ()
    progress: bool = True
    dry: bool = False
    quiet: bool = False
    threads: int | None = None
    backend: str = "cpu"
    precision: str = "double"
    max_hours: float = MOST_HOURS

    @property
    def machine(self) -> Machine:
        """What computes. Raises InputError for a card that is not to be had."""
        return machine(self.backend, self.precision)


def run_of(command_line: CommandLine) -> Run:
    """The run that a command line asks for."""
    fields = command_line.fields("run")
    threads = fields.get("threads")
    if threads is not None and threads < 1:
        raise InputError(f"-threads: {threads} is not allowed; allowed: a whole number of at least 1")
    for name, known in (("backend", BACKENDS), ("precision", PRECISIONS), ("nxscompression", COMPRESSIONS)):
        if name in fields and fields[name] not in known:
            raise InputError(f"-{name}: {excerpt(fields[name])} is not allowed; allowed: {', '.join(known)}")
    for name in ("scale", "pgmscale"):
        if not 0.0 <= fields.get(name, 0.0) <= MOST_SCALE:
            raise InputError(f"-{name}: {fields[name]:g} is not allowed; allowed: a number not below 0, at most {MOST_SCALE:g}")
    if abs(fields.get("adc", 0.0)) > LARGEST_PIXEL:
        allowed = f"a number of at most {LARGEST_PIXEL:g} in size"
        raise InputError(f"-adc: {fields['adc']:g} is not allowed; allowed: {allowed}")
    hours_granted(fields.get("max_hours", MOST_HOURS), "-max_hours")
    fields["pngmarks"] = "-pngmarks" in command_line.last
    if fields["pngmarks"] and "pngfile" not in fields:
        warnings.warn("-pngmarks has no effect: no -pngfile is named", stacklevel=2)
    if "nxscompression" in fields and "nxsfile" not in fields:
        warnings.warn("-nxscompression has no effect: no -nxsfile is named", stacklevel=2)
    for name, needed in (("-psf_type", "-psf"), ("-calib_seed", "-calibration_noise")):
        if name in command_line.last and not command_line.last.get(needed):
            warnings.warn(f"{name} has no effect: there is no {needed}", stacklevel=2)
    for switch, names, field in UNWANTED:
        fields[field] = command_line.order([switch]) <= command_line.order(names)
    for name in ("seed", "misset_seed"):
        if abs(fields.get(name, 0)) > rng.LARGEST_SEED:
            allowed = f"a whole number from {-rng.LARGEST_SEED} to {rng.LARGEST_SEED}"
            raise InputError(f"-{name}: {fields[name]} is not allowed; allowed: {allowed}")
    named = [given for given in command_line.given if given.flag.kind == "file" and given.flag.group != "output"]
    of_lattices = lattice_files(command_line.last["-lattice"]) if "-lattice" in command_line.last else []
    fields["inputs"] = (*((given.spelling, given.value) for given in named), *(("-lattice", file.path) for file in of_lattices))
    fields["response"] = Response(**command_line.fields("response"))
    if "-dump" in command_line.last and any(flag in command_line.last for flag in FACTORS):
        fields["dump"] = command_line.last["-dump"]
    for name in OUTPUTS:
        if fields.get(name) == "-":
            fields[name] = "/dev/stdout"
    fields["dry"], fields["quiet"] = "--dry-run" in command_line.last, "-quiet" in command_line.last
    fields["progress"] = command_line.order(["-noprogress"]) <= command_line.order(["-progress"]) and not fields["quiet"]
    return Run(**fields)


def time_seed() -> int:
    """A seed from the clock, as nanoBragg takes it."""
    return int(time.time()) % rng.LARGEST_SEED
