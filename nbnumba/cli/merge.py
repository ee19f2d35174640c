"""The subcommand merge: structure factors from many shots, whose experiments and images lists of experiments name."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any

from nbnumba import interrupts
from nbnumba.backends.threads import most_threads
from nbnumba.cli import bundle, measured
from nbnumba.cli.merging import printed, result_files
from nbnumba.cli.merging.shots import Form, ShotFile, Shots, median_cell, read_shots, with_raised
from nbnumba.cli.option_lists import tied_names, with_joined_gaps
from nbnumba.cli.progress import bar
from nbnumba.cli.refine_series.input import given_flags, readout_noise, readout_of, system_of
from nbnumba.errors import InputError
from nbnumba.flags.subcommand import input_files
from nbnumba.flags.to_experiment import CELL_FLAGS, SIZE_FLAGS
from nbnumba.formats import files, images
from nbnumba.formats.symmetry import group_named, group_of_hall, of_space_group
from nbnumba.pools import pool
from nbnumba.positions import resolution

ABOUT = """\
Determines the amplitudes of all reflections of a crystal form from many shots: stills, or images of rotations, of lists of
experiments (.expt) that name their images. Every pixel around a spot is modelled, with numbers of each shot of its own.
"""
NOTES = """\
FLAGS state what the lists do not, such as -mosaic, -N_abc, -spectrum, or -mtz for amplitudes to begin with, and count before
them. Without --parameters orientation, cell, scale, B factor and mosaic spread of each shot are refined (specs/merging.md).
Work that is kept (--work) goes on where it was interrupted. The exit status is 1 if the merging does not succeed.
"""


OPTIONS = {"folder": "--work", "resolution_A": "--resolution", "readout_noise": "--readout-noise", "shots": "--shots"}
OPTIONS |= {"parameters": "--parameters", "workers": "--workers", "symmetry": "--space-group"}
"""The option that states each argument of adjoint.merge_shots, for its messages."""


def main(args: Sequence[str]) -> int:
    """Merge, print and write the result. Returns the exit status: 1 if it does not succeed."""
    words = list(args)
    own, flags = bundle.own_and_flags(words)
    options = parser().parse_args(with_joined_gaps(own))
    outputs = result_files.check(options)
    workers = _workers(options)
    shots = read_shots(options, flags)
    read = [*options.shots, *([options.mask] if options.mask else []), *input_files(shots.first.command_line)]
    bundle.check_not_read(outputs.names, [*read, *{images.file_of(source.file) for source in shots.sources}])
    geometry = shots.sources[0].chosen.geometry
    group = _group(options, shots)
    system = (options.cell, "--cell") if options.cell is not None else system_of(geometry, shots.experiments[0], group)
    parameters = _parameters(options, system[0], shots, flags)
    shots = with_raised(shots, parameters)
    form = Form(group, system, median_cell(shots.experiments), _resolution(options, shots), parameters)
    readout = readout_of(options, shots.first)
    option = "--data" if options.data else "--shots"
    readers = [ShotFile(of.file, one, readout, option) for of, one in zip(shots.sources, shots.experiments)]
    readers[0].read()
    print(*printed.taken_lines(shots, form, options), sep="\n", flush=True)
    try:
        result = _merge(options, shots, readers, form, workers)
    except KeyboardInterrupt:
        if options.work is None:
            raise
        print(f"nbnumba: interrupted; the same command goes on with what is in {options.work!r}", file=sys.stderr)
        return interrupts.STATUS
    print("", *printed.table(result), "", *printed.summary(result), sep="\n")
    bundle.warn([*shots.left_out, *(f"{name} is left out: {why}" for name, why in result.left_out.items())])
    bundle.warn(result.diagnosis)
    with files.together():
        form = form._replace(cell=median_cell([one for one in result.experiments if one is not None]))
        lines = result_files.write(outputs, shots, form, result, ["nbnumba", "merge", *words])
    print("", *lines, sep="\n")
    return 0 if result.success else bundle.UNSUCCESSFUL


def parser() -> bundle.Parser:
    """The options of merge."""
    usage = "nbnumba merge --shots FILE.expt [FILE.expt ...] --out FILE.mtz [options] [-- FLAGS]"
    made = bundle.Parser("merge", usage=usage, description=ABOUT, epilog=NOTES)
    add = made.add_argument
    add("--shots", required=True, nargs="+", metavar="FILE.expt", help="lists of experiments, of which each still is a shot")
    add("--data", action="append", metavar="FILE,...", help="the image files, one for each still (default: as the lists say)")
    add("--out", required=True, metavar="FILE.mtz", help="amplitudes; beside it .json, .csv of the shots, and their models")
    add("--report", metavar="DIR", help="write a report with pictures")
    add("--space-group", metavar="NAME", help="by Hermann and Mauguin, such as 'P 21 21 21' (default: that of the lists)")
    add("--anomalous", action="store_true", help="Friedel mates are two reflections")
    add("--resolution", metavar="A", help="the finest that is merged (default: that of the detector's corners)")
    add("--parameters", action="append", metavar="NAME[,...]", help="what each shot has of its own; A+B: tied")
    add("--cell", metavar="SYSTEM", help="the system of the cell (default: that of the space group)")
    add("--readout-noise", metavar="NUMBER", help="rms noise of the read-out, in counts (default: as FLAGS say, or 0)")
    add("--mask", metavar="FILE", help="an image, 0 where a pixel is left out")
    measured.add_options(add)
    add("--workers", metavar="N", help="processes, of one thread each (default: one a core)")
    add("--scheduler", metavar="ADDRESS", help="of dask.distributed, or its file: its workers share the folder of --work")
    add("--work", metavar="DIR", help="keep the work there, and go on with what is there (default: nothing is kept)")
    return made


def _workers(options: Any) -> int:
    """The number of processes. Raises InputError."""
    if options.scheduler is not None and options.workers is not None:
        raise InputError("--workers: it is not allowed beside --scheduler; allowed: one of them")
    if options.scheduler is not None and options.work is None:
        raise InputError("--scheduler: there is no --work; allowed: beside --work DIR, a folder that all workers see")
    if options.workers is None:
        return most_threads()
    return bundle.whole_numbers("--workers", [options.workers], "a whole number of at least 1", 1)[0]


def _parameters(options: Any, system: str, shots: Shots, flags: Sequence[str]) -> list[Any]:
    """What is refined of each shot; the number of cells, too, unless FLAGS state it. InputError: names that are none."""
    from adjoint.merge import default_shot_parameters
    from adjoint.merging.shots import unknowns_of

    crystal = shots.experiments[0].crystal
    try:
        about_axes = any(getattr(crystal, name) for name in crystal.ABOUT_AXES)
        size = {*SIZE_FLAGS, *CELL_FLAGS}.isdisjoint(given_flags(flags)) and crystal.n_a == crystal.n_b == crystal.n_c
        names = default_shot_parameters(system, about_axes, size)
    except InputError as error:
        raise InputError(f"--cell: {error}") from None
    if options.parameters is not None:
        names = tied_names("--parameters", options.parameters)
    try:
        unknowns_of(shots.experiments[0], tuple(names))
    except InputError as error:
        option = "--parameters" if options.parameters is not None else "--cell"
        raise InputError(f"{option}: {str(error).removeprefix('parameters: ')}") from None
    return names


def _group(options: Any, shots: Shots) -> Any:
    """The space group, of gemmi. Raises InputError for an unknown one, and for lists that state different ones."""
    if options.space_group is not None:
        group = group_named(options.space_group)
        if group is None:
            allowed = "a name by Hermann and Mauguin, such as 'P 21 21 21'"
            raise InputError(f"--space-group: {options.space_group!r} is not known; allowed: {allowed}")
        return group
    stated = {of.chosen.geometry.crystal.space_group or "" for of in shots.sources if of.chosen.geometry.crystal is not None}
    if len(stated) > 1:
        named = " and ".join(sorted(repr(symbol) for symbol in stated)[:2])
        raise InputError(f"--shots: crystals have the space groups {named}; allowed: one, or --space-group")
    return group_of_hall(next(iter(stated))) or group_named("P 1")


def _resolution(options: Any, shots: Shots) -> float:
    """The finest resolution in A."""
    if options.resolution is not None:
        return bundle.real_number("--resolution", options.resolution, "a number from 0.1 to 1000", lambda x: 0.1 <= x <= 1000.0)
    of_pixels = resolution(shots.experiments[0])
    return float(min(part.min() for part in (of_pixels if isinstance(of_pixels, list) else [of_pixels])))


def _merge(options: Any, shots: Shots, readers: Sequence[ShotFile], form: Form, workers: int) -> Any:
    """The result of adjoint.merge_shots, with a line for each pass."""
    from adjoint.merge import merge_shots
    from adjoint.series.images import SeriesImage

    first = shots.first
    noise, gain = readout_noise(options, first), first.run.response.gain
    every = [
        SeriesImage(source.name, experiment, reader, gain)
        for source, experiment, reader in zip(shots.sources, shots.experiments, readers)
    ]
    symmetry = of_space_group(form.group)
    assert symmetry is not None
    try:
        with pool(min(workers, len(every)), options.scheduler) as run, bar("shots", first.run.progress) as drawn:
            told, progress = printed.told, lambda number, done, total: None
            if drawn is not None:
                told, progress = drawn.above(printed.told), lambda number, done, total: drawn(done, total)
            return merge_shots(
                every, form.cell, symmetry, resolution_A=form.resolution_A, parameters=form.parameters,
                friedel_apart=options.anomalous,
                amplitudes=first.middle.structure_factors if first.states_amplitudes else None,
                readout_noise=noise, folder=options.work, source=_of_files(readers),
                run=run, told=told, progress=progress, **first.run.machine._asdict(),
            )  # fmt: skip
    except InputError as error:
        raise InputError(_in_options(str(error))) from error


def _of_files(readers: Sequence[ShotFile]) -> list[Any]:
    """What tells the pixels of the shots from others of the same names: files, when they were written, and what options say."""
    found: list[Any] = [readers[0].readout]
    for name in dict.fromkeys(images.file_of(reader.name) for reader in readers):
        stated = os.stat(name)
        found.append((os.path.realpath(name), stated.st_size, stated.st_mtime_ns))
    return found + [reader.name for reader in readers]


def _in_options(message: str) -> str:
    """A message about arguments of adjoint.merge_shots in which their options replace them."""
    name, colon, rest = message.partition(":")
    return f"{OPTIONS[name]}:{rest}" if colon and name in OPTIONS else message
