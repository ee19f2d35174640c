"""The subcommand simulate: nanoBragg's flags in, nanoBragg's files out."""

import math
import sys
import time
import warnings
from collections.abc import Sequence
from contextlib import redirect_stdout

import numpy as np

from nbnumba import dark, resolved
from nbnumba.backends import Machine, driver
from nbnumba.backends.threads import most_threads, set_thread_count, thread_count
from nbnumba.cli import output
from nbnumba.cli.progress import bar
from nbnumba.cost import check
from nbnumba.errors import InputError
from nbnumba.experiment import Experiment
from nbnumba.flags.command_line import CommandLine
from nbnumba.flags.run import UNWANTED, Run, run_of
from nbnumba.flags.to_experiment import experiment_of
from nbnumba.formats import files
from nbnumba.resolved import Quantity
from nbnumba.response import PHOTON_COUNTER
from nbnumba.setup import sampling, scene
from nbnumba.setup.detector import position_detector
from nbnumba.setup.remarks import remarks
from nbnumba.simulate import render


def main(args: Sequence[str]) -> int:
    """Run it; returns the exit status."""
    command_line = CommandLine(args)
    run = run_of(command_line)
    _warn_of_what_writes_nothing(command_line, run)
    report(experiment_of(command_line), run)
    return 0


def report(experiment: Experiment, run: Run) -> None:
    """Print what the flags come to, render the experiment, write its files, and print nanoBragg's statistics.

    All that is on stderr where a file goes to stdout. A dry run ends after the table, and has been refused whatever the run
    would be refused for before it computes.
    """
    paths = output.names(run)
    with redirect_stdout(sys.stderr if any(map(files.is_stdout, paths.values())) else sys.stdout):
        _report(experiment, run, paths)


def _report(experiment: Experiment, run: Run, paths: dict[str, str]) -> None:
    say = _silent if run.quiet else _said
    use_threads(run.threads)
    wanted = sampling.window(experiment.detector.pixels, experiment.sampling.roi, experiment.sampling.mask)
    placement = position_detector(experiment.detector, experiment.beam, experiment.sampling.c_parity)
    check_response(experiment, run)
    machine, threads = run.machine, thread_count()
    refusal = _refusal(experiment, run, machine, threads)
    table = [*resolved.quantities(experiment), *of_run(run, threads, paths)]
    say(*resolved.lines([*table, *resolved.costs(experiment, machine, threads, command=True)]))
    for sentence in filter(None, (sampling.too_coarse(experiment), resolved.beyond_table(experiment))):
        warnings.warn(sentence, stacklevel=2)
    if run.dry:
        for sentence in [*remarks(experiment), *([f"this run would be refused: {refusal}"] if refusal else [])]:
            warnings.warn(sentence, stacklevel=2)
        say("--dry-run: nothing was computed or written")
        return
    built = scene.build(experiment, wanted)
    started = time.perf_counter()
    driver(machine.backend).prepare(built, machine.precision)
    if time.perf_counter() - started > 1.0:
        say(f"compiled in {time.perf_counter() - started:.1f} s")
    started = time.perf_counter()
    with bar("rendering", run.progress) as progress:
        image = output.as_float32(render(built, wanted, experiment.detector.pixels, progress, machine))
    lattices, samples = len(built.orientations.lattice), built.sampling.oversample**2 * built.sampling.layers
    seconds = time.perf_counter() - started
    counts = (lattices, "lattice"), (samples, "sample"), (len(built.sources.weight), "source")
    say("{}, {} per pixel, {}: {:.2f} s".format(*(resolved.plural(*each) for each in counts), seconds))
    if not image.any():
        warnings.warn(dark.sentence(experiment, wanted), stacklevel=2)
    stats = output.statistics(image, wanted, placement.pixel, built.sampling.oversample)
    say(*stats.lines(), brightest(image, experiment))
    say(*output.write(image, experiment, placement, wanted, stats, run))


def _said(*lines: str) -> None:
    print(*lines, sep="\n", flush=True)


def _refusal(experiment: Experiment, run: Run, machine: Machine, threads: int) -> str | None:
    """What a dry run says of a run that costs too much. Raises InputError for it, if the run is none."""
    try:
        check(experiment, machine, threads, run.max_hours, command=True)
    except InputError as error:
        if not run.dry:
            raise
        return str(error)
    return None


def _silent(*lines: str) -> None:
    """Say nothing: -quiet."""


def of_run(run: Run, threads: int, paths: dict[str, str]) -> list[Quantity]:
    """What a run comes to beside its experiment: the rows of the table."""
    computed = "on a card" if run.backend == "cuda" else f"on {resolved.plural(threads, 'thread')}"
    as_usual = (run.backend, run.precision, run.threads) == ("cpu", "double", None)
    rows = [Quantity("run", "computed", f"{computed}, in {run.precision} precision", "", as_usual)]
    if run.noise:
        seed = "from the clock" if run.seed is None else str(run.seed)
        rows.append(Quantity("run", "seed of the noise", seed, "", run.seed is None))
        adc = run.response == PHOTON_COUNTER and run.adc == Run.adc
        counts = f"gain {run.response.gain:g}, read-out noise {run.response.readout_noise:g}, offset {run.adc:g}"
        rows.append(Quantity("run", "noise image", counts, "ADU", adc))
    return [*rows, Quantity("run", "files", " ".join(paths.values()))]


def brightest(image: np.ndarray, experiment: Experiment) -> str:
    """A line on the brightest pixel, the first of several: where it is in pixels from 0, and its resolution."""
    slow, fast = (int(at) for at in np.unravel_index(int(np.argmax(image)), image.shape))
    resolution = resolved.resolution_at(experiment, fast, slow)
    where = "in the direct beam" if math.isinf(resolution) else f"{resolution:.4g} A"
    return f"brightest pixel: fast {fast}, slow {slow}, {where}"


def _warn_of_what_writes_nothing(command_line: CommandLine, run: Run) -> None:
    """A warning for every flag of an output that is switched off, or of a machine that does not compute."""
    has, card = command_line.last.__contains__, run.backend == "cuda"
    off = [(switch, name) for switch, names, field in UNWANTED if not getattr(run, field) for name in names]
    draws = command_line.last.get("-misset") == "random" and not has("-misset_seed")
    rows = (
        *((name, True, f"{switch} is given") for switch, name in off),
        ("-scale", not run.integers, "-nointfile is given"),
        ("-adc", not run.integers and not run.noise, "-nointfile and -nonoise are given"),
        ("-seed", not run.noise and not draws, "-nonoise is given, and no orientation is drawn"),
        ("-threads", card, "a card computes"),
        ("-max_hours", card, "how long a card takes is not estimated"),
    )
    for flag, unused, why in rows:
        if unused and has(flag):
            warnings.warn(f"{command_line.spelling[flag]} has no effect: {why}", stacklevel=2)


def check_response(experiment: Experiment, run: Run) -> None:
    """Raise InputError for a response that is impossible with this detector; warn of one that no image will show."""
    if run.noise:
        run.response.check(experiment.detector.pixels, experiment.detector.pixel_mm, run.adc)
        return
    for name, value in vars(run.response).items():
        if value != getattr(PHOTON_COUNTER, name):
            warnings.warn(f"response.{name} has no effect: -nonoise", stacklevel=2)


def use_threads(threads: int | None) -> None:
    """Set the number of threads, if one is stated; more than there are is an InputError."""
    if threads is None:
        return
    if threads > most_threads():
        raise InputError(f"-threads: {threads} is not allowed; allowed: at most {most_threads()}, the cores here")
    set_thread_count(threads)
