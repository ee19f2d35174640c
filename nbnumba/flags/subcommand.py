"""Flags that describe an experiment to a subcommand which writes files of its own, and none that flags name."""

import os
import warnings
from collections.abc import Mapping, Sequence

from nbnumba.errors import InputError
from nbnumba.experiment import Experiment
from nbnumba.flags.command_line import CommandLine
from nbnumba.flags.lattices import lattice_files
from nbnumba.flags.table import Flag

OF_FILES = ("-scale", "-pgmscale", "-adc", "-seed", "-pngmarks", "-gain", "-readout_noise", "-saturation", "-psf")
OF_FILES += ("-psf_type", "-flicker_noise", "-calibration_noise", "-calib_seed")
"""The flags that change what is written of an image, and not the image."""


def command_line_of(
    flags: Sequence[str], others: Mapping[str, str | None] | None = None, quiet: bool = False
) -> CommandLine:
    """The command line of flags that describe a run. Warns of those that have no effect here.

    others: more flags without effect, each with the reason; None instead of a reason: it has an effect all the same. quiet:
    whether -quiet has one. Raises
    InputError for a flag that names a file to be written.
    """
    command_line = CommandLine(flags)
    drawn = command_line.last.get("-misset") == "random" and "-misset_seed" not in command_line.last
    reasons = dict.fromkeys(OF_FILES, "no such file is written here") | ({"-seed": None} if drawn else {}) | dict(others or {})
    for flag, why in reasons.items():
        if why is not None and flag in command_line.last:
            warnings.warn(f"{command_line.spelling[flag]} has no effect: {why}", stacklevel=2)
    if "--dry-run" in command_line.last:
        raise InputError("--dry-run: nothing but simulate and example can run dry; allowed: flags that describe the run")
    if "-quiet" in command_line.last and not quiet:
        warnings.warn("-quiet has no effect: what is printed here is the result", stacklevel=2)
    for given in command_line.given:
        if given.flag.kind == "file" and not _is_read(given.flag, command_line):
            raise InputError(
                f"{given.spelling}: {given.value!r} names a file to be written; allowed: flags that describe the run"
            )
    return command_line


def with_seed(flags: Sequence[str], command_line: CommandLine, experiment: Experiment) -> list[str]:
    """The flags with the seed of a random orientation that the clock gave, so that they make the same experiment again."""
    seed = experiment.crystal.misset_seed
    stated = {"-seed", "-misset_seed"} & set(command_line.last)
    return [*flags, *([] if seed is None or stated else ["-misset_seed", str(seed)])]


def input_files(command_line: CommandLine) -> list[str]:
    """The files that a command line reads, as absolute paths."""
    named = [given.value for given in command_line.given if given.flag.kind == "file" and _is_read(given.flag, command_line)]
    named += [file.path for file in lattice_files(command_line.last["-lattice"])] if "-lattice" in command_line.last else []
    return [os.path.abspath(path) for path in named]


def _is_read(flag: Flag, command_line: CommandLine) -> bool:
    """Whether a flag of the kind file names a file to be read; -dump does so without -hkl."""
    return flag.group != "output" and not (flag.names[0] == "-dump" and "-hkl" in command_line.last)
