"""The subcommand refine with --expt: it refines measured images of one crystal, from the files that DIALS leaves."""

from __future__ import annotations

import os
import shlex
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from nbnumba.amplitudes import expansion
from nbnumba.cli import bundle, measured
from nbnumba.cli.option_lists import comma_list, tied_names, with_joined_gaps
from nbnumba.cli.refine_series import printed, result_files, stills
from nbnumba.cli.refine_series.input import (
    Chosen,
    Reader,
    Setup,
    choose,
    readout_noise,
    readout_of,
    set_up,
    system_of,
    with_raised_spreads,
    with_starts,
)
from nbnumba.cost import granted
from nbnumba.errors import InputError
from nbnumba.flags.from_experiment import NewFiles, refined_flags
from nbnumba.flags.subcommand import input_files
from nbnumba.formats import files, images
from nbnumba.formats.symmetry import group_of_hall, of_space_group

ABOUT = """\
With --expt, refine takes crystal, scan, detector, beam, mask, gain and the names of the images from a list of experiments of
DIALS, and refines the crystal of a rotation in the shoeboxes of its reflections. FLAGS state the rest, such as -hkl or -mtz,
and count before the file.
"""
NOTES = """\
Without --parameters orientation, cell, beam centre, mosaic spread, size and scale are refined (specs/cli.md, refine --expt).
The exit status is 1 if the refinement does not succeed.
"""
EACH = "--amplitudes each, where each reflection has an intensity of its own"
KNOTS_DEG = 2.0
"""The length of an interval of splines where --knots does not state it, as in adjoint.refine_series."""

OPTIONS = {name: f"--{name}" for name in ("own", "shared", "parameters")}
OPTIONS |= {"knots_deg": "--knots", "readout_noise": "--readout-noise", "intensity_sigma": "--intensity-sigma"}
"""The option that states each argument of adjoint.refine_series, for its messages."""


def is_series(words: Sequence[str]) -> bool:
    """Whether the words of refine are those of a series: --expt is among its own options."""
    return any(word == "--expt" or word.startswith("--expt=") for word in bundle.own_and_flags(words)[0])


class Task(NamedTuple):
    """What is refined as one problem: the images of a rotation, or a still; its start, its parameters, and all else."""

    chosen: Chosen
    setup: Setup
    system: tuple[str, str]
    parameters: list[Any]
    keywords: dict[str, Any]
    reader: Reader


def main(args: Sequence[str]) -> int:
    """Refine, print and write the result. Returns the exit status: 1 if the refinement does not succeed."""
    words = list(args)
    own, flags = bundle.own_and_flags(words)
    options = parser().parse_args(with_joined_gaps(own))
    options.experiment = None if options.experiment is None else _experiment(options.experiment)
    outputs = result_files.check(options)
    of_stills, command = stills.choose(options), ["nbnumba", "refine", *words]
    if of_stills is not None:
        every, left_out = of_stills
        if len(every) + len(left_out) > 1:
            return _refine_stills(every, left_out, options, flags, outputs, command)
        chosen = every[0]
    else:
        chosen = choose(options)
    task = _task(chosen, options, flags, outputs)
    task.reader.read(0)
    taken = printed.taken_lines(chosen, task.setup, task.reader, options, task.system, task.parameters)
    print(*taken, sep="\n", flush=True)
    result = _refine(task)
    _print_result(chosen, result)
    with files.together():
        refined, notes = _refined_words(task.setup, result, task.parameters, outputs)
        bundle.warn(notes)
        told = result_files.Told(taken, command, refined)
        lines = [f"flags of {'the still' if chosen.is_still else f'image {chosen.middle}'}:", shlex.join(["nbnumba", *refined])]
        lines += result_files.write(outputs, chosen, task.reader, result, told)
    print("", *lines, sep="\n")
    return 0 if result.success else bundle.UNSUCCESSFUL


def _task(chosen: Chosen, options: Any, flags: Sequence[str], outputs: result_files.Outputs) -> Task:
    """What is refined of a rotation or of a still. Raises InputError for options and flags that do not fit."""
    setup = set_up(chosen, options, flags)
    if chosen.is_still:
        stills.warn_of_another_wavelength(chosen)
    read = [options.expt, *([options.mask] if options.mask else []), *(images.file_of(image.name) for image in chosen.images)]
    result_files.check_not_read(outputs, [*read, *input_files(setup.command_line)])
    system = (options.cell, "--cell") if options.cell is not None else system_of(chosen.geometry, setup.middle)
    parameters = _parameters(options, system[0], chosen, setup)
    setup = with_raised_spreads(with_starts(setup, options, parameters), parameters)
    keywords = _keywords(options, setup, chosen)
    _check_parameters(setup, options, system[0], parameters, keywords.get("knots_deg", KNOTS_DEG))
    reader = Reader(chosen, setup, readout_of(options, setup), "--data" if options.data else "--expt")
    return Task(chosen, setup, system, parameters, keywords, reader)


def _refine_stills(
    every: Sequence[Chosen],
    left_out: list[stills.LeftOut],
    options: Any,
    flags: Sequence[str],
    outputs: result_files.Outputs,
    command: list[str],
) -> int:
    """Refine stills one after another; those that fail are named and left out. Returns the exit status: 1 if none succeeds."""
    stills.make_folders(outputs)
    taken: list[str] = []
    done: list[stills.RefinedStill] = []
    first = _task(every[0], options, flags, outputs)
    for chosen in every:
        name = chosen.images[0].name
        try:
            task = first if chosen is every[0] else _task(chosen, options, flags, outputs)
            task.reader.read(0)
            if not taken:
                taken = printed.taken_lines(chosen, task.setup, task.reader, options, task.system, task.parameters)
                print(f"{len(every) + len(left_out)} stills, of which the first is:", *taken, "", sep="\n", flush=True)
            result = _refine(task, quiet=True)
        except InputError as error:
            left_out.append(stills.LeftOut(chosen.number, name, str(error)))
            continue
        if result.success:
            done.append(stills.RefinedStill(chosen, task.reader, result))
        else:
            left_out.append(stills.LeftOut(chosen.number, name, result.message))
        state = "converged" if result.success else f"not successful: {result.message}"
        print(f"still {chosen.number}, {os.path.basename(name)}: {state}", flush=True)
    left_out.sort()
    lines = [*stills.table(done)] if done else ["no still was refined with success"]
    print("", *lines, sep="\n")
    bundle.warn(stills.left_out_line(one) for one in left_out)
    bundle.warn(f"still {one.chosen.number}: {sentence}" for one in done for sentence in one.result.diagnosis)
    with files.together():
        lines = stills.write(outputs, done, left_out, result_files.Told(taken, command, []))
    print("", f"{len(done)} of {len(done) + len(left_out)} stills are refined", *lines, sep="\n")
    return 0 if done else bundle.UNSUCCESSFUL


def parser() -> bundle.Parser:
    """The options of refine with --expt."""
    usage = "nbnumba refine --expt FILE [options] [-- FLAGS]"
    made = bundle.Parser("refine", usage=usage, description=ABOUT, epilog=NOTES)
    add = made.add_argument
    add("--expt", required=True, metavar="FILE", help="the list of experiments of DIALS")
    add("--experiment", metavar="K", help="which experiment of the list, from 0 (default: 0)")
    add("--experiments", metavar="A:B|all", help="which stills of the list, from 0 (default: all, unless --experiment)")
    add("--images", metavar="A:B", help="the images of the scan, by their numbers (default: all whose files are there)")
    add("--data", action="append", metavar="TEMPLATE|FILE,...", help="the image files (default: as the list says)")
    add("--start", action="append", metavar="NAME=VALUE[,...]", help="values to start from; X/Y/Z for vectors")
    add("--parameters", action="append", metavar="NAME[,...]", help="what is refined in place of the default; A+B: tied")
    add("--cell", metavar="SYSTEM", help="the system of the cell (default: that of the space group)")
    add("--own", action="append", metavar="NAME[,...]", help="parameters of which each image has its own")
    add("--shared", action="append", metavar="NAME[,...]", help="parameters that do not vary with phi")
    add("--knots", metavar="DEG", help="distance of the knots of what varies with phi (default: 2)")
    add("--shoebox", metavar="FAST,SLOW", help="pixels along the edges of shoeboxes (default: as the spots need)")
    add("--background", default="constant", choices=("constant", "plane"), help="that of a shoebox (default: constant)")
    add("--amplitudes", choices=("each", "given"), help="each: each reflection has its own (default); given: those of FLAGS")
    add(
        "--intensity-sigma",
        metavar="NUMBER",
        help="by which part intensities differ from those listed (default: not known; stills: 1)",
    )
    add(
        "--readout-noise",
        metavar="NUMBER",
        help="rms noise of the read-out, in counts (default: as FLAGS say, or 0)",
    )
    add("--mask", metavar="FILE", help="an image, 0 where a pixel is left out")
    measured.add_options(add)
    add("--out", metavar="FILE.expt", help="write the refined list, and beside it .refl, .mtz and .json of the same name")
    add("--report", metavar="DIR", help="write a report with pictures")
    return made


def _experiment(text: str) -> int:
    return bundle.whole_numbers("--experiment", [text], "a whole number from 0", 0)[0]


def _parameters(options: Any, system: str, chosen: Chosen, setup: Setup) -> list[Any]:
    """The parameters to refine: those of --parameters and --cell, or those by default. Raises InputError for other names."""
    from adjoint.parameters import AMPLITUDES, IMAGE, cell_parameters
    from adjoint.refine_series import default_parameters, default_still_parameters

    try:
        of_cell = cell_parameters(system)
    except InputError as error:
        raise InputError(f"--cell: {error}") from None
    if options.parameters is None:
        names = default_still_parameters(system, setup.states_amplitudes) if chosen.is_still else default_parameters(system)
        return _with_stated_spread(names, setup)
    names = tied_names("--parameters", options.parameters)
    for name, instead in (*((name, "crystal.scale; every shoebox has its background") for name in IMAGE), (AMPLITUDES, EACH)):
        if name in names:
            raise InputError(f"--parameters: {name} is no parameter of a series; allowed: {instead}")
    return names + (of_cell if options.cell is not None else [])


def _with_stated_spread(names: list[Any], setup: Setup) -> list[Any]:
    """The parameters, with the one mosaic spread in place of those about axes where FLAGS state it and not these."""
    stated = setup.command_line.last
    if "-mosaic" not in stated or "-mosaic_abc" in stated:
        return names
    about_axes = [f"crystal.mosaic_{axis}_deg" for axis in "abc"]
    places = [place for place, name in enumerate(names) if name in about_axes or name == tuple(about_axes)]
    return [*names[: places[0]], "crystal.mosaic_spread_deg", *names[places[-1] + 1 :]]


def _check_parameters(setup: Setup, options: Any, system: str, parameters: list[Any], knots_deg: float) -> None:
    """Raise InputError for parameters that do not exist, tied ones that differ at the start, and what cannot vary so."""
    from adjoint.parameters import cell_parameters
    from adjoint.series.reflections import middle_of
    from adjoint.series.unknowns import unknowns
    from adjoint.variables import variables

    if options.cell is not None:
        try:
            variables(setup.middle, cell_parameters(system))
        except InputError as error:
            raise InputError(f"--cell: {str(error).removeprefix('parameters: ')}") from None
    try:
        names = [comma_list(f"--{name}", getattr(options, name)) for name in ("own", "shared")]
        unknowns(setup.middle, [middle_of(one) for one in setup.experiments], parameters, knots_deg, *names)
    except InputError as error:
        raise InputError(_in_options(str(error))) from None


def _keywords(options: Any, setup: Setup, chosen: Chosen) -> dict[str, Any]:
    """The arguments of adjoint.refine_series that options and flags state."""
    from adjoint.series.stages import WILSON

    options.amplitudes = options.amplitudes or "each"
    if options.amplitudes == "given" and not setup.states_amplitudes:
        raise InputError("--amplitudes: given is not allowed without a list; allowed: -hkl, -mtz, -refl, -pdb or -cif in FLAGS")
    keywords: dict[str, Any] = {
        "amplitudes": options.amplitudes,
        "background": options.background,
        "readout_noise": readout_noise(options, setup),
        "reach_deg": setup.reach_deg,
        "own": comma_list("--own", options.own),
        "shared": comma_list("--shared", options.shared),
        **setup.run.machine._asdict(),
    }
    if options.intensity_sigma is not None:
        if options.amplitudes == "given":
            raise InputError("--intensity-sigma: it is not allowed with --amplitudes given; allowed: --amplitudes each")
        if not isinstance(options.intensity_sigma, float):
            options.intensity_sigma = bundle.real_number(
                "--intensity-sigma", options.intensity_sigma, "a number from 0.01 to 100", lambda x: 0.01 <= x <= 100.0
            )
    elif chosen.is_still and options.amplitudes == "each":
        options.intensity_sigma = WILSON
    keywords["intensity_sigma"] = options.intensity_sigma
    if chosen.is_still:
        keywords["absent"] = _absent(chosen)
    if options.knots is not None:
        keywords["knots_deg"] = bundle.real_number("--knots", options.knots, "a positive number", lambda x: x > 0.0)
    if options.shoebox is not None:
        keywords["shoebox"] = _half_edges(options.shoebox)
    return keywords


def _absent(chosen: Chosen) -> Callable[[Any], Any] | None:
    """Which reflections the space group of the file forbids; None without one."""
    crystal = chosen.geometry.crystal
    symmetry = of_space_group(group_of_hall((crystal.space_group if crystal is not None else None) or ""))
    return None if symmetry is None else lambda hkl: expansion.absent(hkl, symmetry)


def _half_edges(text: str) -> tuple[float, float]:
    """Half the edges of --shoebox FAST,SLOW."""
    words, allowed = text.split(","), "FAST,SLOW, two numbers from 5 to 200: a box has to hold background, too"
    if len(words) != 2:
        raise InputError(f"--shoebox: {text!r} is not allowed; allowed: {allowed}")
    fast, slow = (bundle.real_number("--shoebox", word, allowed, lambda x: 5.0 <= x <= 200.0) for word in words)
    return fast / 2.0, slow / 2.0


def _refine(task: Task, quiet: bool = False) -> Any:
    """The result of adjoint.refine_series, with a line for each stage unless quiet. Its InputErrors name options."""
    from adjoint.refine_series import refine_series
    from adjoint.series.images import SeriesImage

    chosen, setup, reader = task.chosen, task.setup, task.reader
    frames = [
        SeriesImage(os.path.basename(file.name), experiment, reader.reading(index), reader.gain)
        for index, (file, experiment) in enumerate(zip(chosen.images, setup.experiments))
    ]
    told = _told(setup.run.progress) if not quiet else lambda line: None
    try:
        with granted(setup.run.max_hours, "-max_hours"), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "the image can", UserWarning)
            return refine_series(frames, task.parameters, told=told, progress=_progress(setup.run.progress), **task.keywords)
    except InputError as error:
        text = str(error).replace("data:", f"{reader.option}:", 1) if str(error).startswith("data:") else str(error)
        raise InputError(_in_options(text)) from error


def _refined_words(
    setup: Setup, result: Any, parameters: list[Any], outputs: result_files.Outputs
) -> tuple[list[str], list[str]]:
    """The flags of the refined middle image, and sentences on what they do not state."""
    new_files = NewFiles(result_files.flags_name(outputs.names), [] if outputs.names is None else outputs.names.values())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        middle = result.experiments[len(result.experiments) // 2]
        words = refined_flags(setup.words, middle, parameters, new_files)
    return words, list(dict.fromkeys(str(warning.message) for warning in caught))


def _in_options(message: str) -> str:
    """A message of adjoint.refine_series in which options replace the arguments that they state."""
    name, colon, rest = message.partition(":")
    return f"{OPTIONS[name]}:{rest}" if colon and name in OPTIONS else message


def _told(with_steps: bool) -> Callable[[str], None]:
    """A function that prints a line about a stage that has ended."""

    def told(line: str) -> None:
        if _on_terminal(with_steps):
            print(f"\r{'':<79}\r", end="", file=sys.stderr, flush=True)
        print(line, flush=True)

    return told


def _progress(with_steps: bool) -> Callable[[str, int, Any], None]:
    """A function that shows each step in one line of the terminal."""

    def stepped(stage: str, count: int, point: Any) -> None:
        if _on_terminal(with_steps):
            text = f"  {stage}: step {count}, loss {point.loss:.9g}"
            print(f"\r{text:<79}", end="", file=sys.stderr, flush=True)

    return stepped


def _on_terminal(with_steps: bool) -> bool:
    return with_steps and sys.stderr is not None and sys.stderr.isatty()


def _print_result(chosen: Chosen, result: Any) -> None:
    """Print the table, the figures, the verdict and the diagnosis."""
    print("", *printed.table(result), "", *printed.figure_lines(chosen, result), "", sep="\n")
    print(result.message if result.success else f"not successful: {result.message}", flush=True)
    bundle.warn(result.diagnosis)
