"""The subcommand simulate: it renders the experiment that flags describe, and writes nanoBragg's files."""

import math
import sys
import time
import warnings
from collections.abc import Sequence
from contextlib import redirect_stdout

import numpy as np

from nbnumba import added_photons, dark, hkl_maps, predictions, resolved
from nbnumba.backends import Machine, driver
from nbnumba.backends.threads import most_threads, set_thread_count, thread_count
from nbnumba.cli import exchange, output
from nbnumba.cli.progress import bar
from nbnumba.cost import check
from nbnumba.errors import InputError
from nbnumba.experiment import Experiment
from nbnumba.flags.command_line import CommandLine
from nbnumba.flags.run import UNWANTED, Run, run_of
from nbnumba.flags.to_experiment import experiment_of
from nbnumba.formats import files
from nbnumba.resolved import Quantity
from nbnumba.response import PHOTON_COUNTER, response_of_panel
from nbnumba.setup import orientations, sampling, scene
from nbnumba.setup.crystals import refuse_displaced
from nbnumba.setup.detector import position_detector
from nbnumba.setup.remarks import remarks
from nbnumba.setup.sheet import sheet_of
from nbnumba.simulate import render


def main(args: Sequence[str]) -> int:
    """Render and write the image of the flags. Returns the exit status."""
    command_line = CommandLine(args)
    run = run_of(command_line)
    _warn_of_unused_flags(command_line, run)
    report(experiment_of(command_line), run)
    return 0


def report(experiment: Experiment, run: Run) -> None:
    """Print the table of resolved values, render the experiment, write its files, and print nanoBragg's statistics.

    If a file goes to stdout, the text goes to stderr. A dry run ends after the table. It refuses, or warns of, everything for
    which the run would be refused before it computes.
    """
    paths = output.names(run)
    with redirect_stdout(sys.stderr if any(map(files.is_stdout, paths.values())) else sys.stdout):
        _report(experiment, run, paths)


def _report(experiment: Experiment, run: Run, paths: dict[str, str]) -> None:
    say = _silent if run.quiet else _print_lines
    use_threads(run.threads)
    window = sampling.sheet_window(experiment.detector, experiment.sampling)
    placement = position_detector(experiment.detector, experiment.beam, experiment.sampling.defects)
    check_response(experiment, run)
    check_reflections(experiment, run)
    described = exchange.described(experiment, run, paths)
    machine, threads = run.machine, thread_count()
    refusal = _refusal(experiment, run, machine, threads)
    table = [*resolved.quantities(experiment), *run_quantities(run, threads, paths)]
    say(*resolved.lines([*table, *resolved.costs(experiment, machine, threads, command=True)]))
    for sentence in filter(None, (sampling.too_coarse(experiment), resolved.beyond_table(experiment))):
        warnings.warn(sentence, stacklevel=2)
    if run.dry:
        for sentence in [*remarks(experiment), *([f"this run would be refused: {refusal}"] if refusal else [])]:
            warnings.warn(sentence, stacklevel=2)
        say("--dry-run: nothing was computed or written")
        return
    predicted = predictions.predict(experiment, max_hours=run.max_hours) if run.predictions is not None else None
    panels = scene.panel_scenes(experiment)
    built_scene = panels[0].scene
    started = time.perf_counter()
    driver(machine.backend).prepare(built_scene, machine.precision)
    if time.perf_counter() - started > 1.0:
        say(f"compiled in {time.perf_counter() - started:.1f} s")
    started = time.perf_counter()
    with bar("rendering", run.progress) as progress:
        image = render(panels, sheet_of(experiment.detector).shape, progress, machine)
    image = output.as_float32(added_photons.with_added(experiment, image))
    lattices = orientations.number_of_lattices(experiment.crystal, experiment.goniometer)
    samples = built_scene.sampling.oversample**2 * built_scene.sampling.layers
    seconds = time.perf_counter() - started
    counts = (lattices, "lattice"), (samples, "sample"), (len(built_scene.sources.weight), "source")
    say("{}, {} per pixel, {}: {:.2f} s".format(*(resolved.plural(*count_and_noun) for count_and_noun in counts), seconds))
    if not image.any():
        warnings.warn(dark.sentence(experiment), stacklevel=2)
    found = output.Reflections(predicted, _hkl_map(panels, image, experiment, run))
    stats = output.statistics(image, window, experiment, built_scene.sampling.oversample)
    say(*stats.lines(), brightest(image, experiment))
    say(*output.write(image, experiment, placement, window, stats, run, described, found))


def _hkl_map(
    panels: tuple[scene.PanelScene, ...], image: np.ndarray, experiment: Experiment, run: Run
) -> hkl_maps.HklMap | None:
    """The map of reflections of a sheet of panels, or None where it is not wanted."""
    if run.hklmap is None:
        return None
    with bar("counting by reflection", run.progress) as progress:
        return hkl_maps.of_sheet(panels, image, sheet_of(experiment.detector), progress=progress, machine=run.machine)


def _print_lines(*lines: str) -> None:
    print(*lines, sep="\n", flush=True)


def _refusal(experiment: Experiment, run: Run, machine: Machine, threads: int) -> str | None:
    """The reason why a dry run would be refused for its cost, or None. Raises it as InputError if the run is not dry."""
    try:
        images = 1 if run.hklmap is None else 1 + hkl_maps.AS_IMAGES
        check(experiment, machine, threads, run.max_hours, command=True, images=images)
    except InputError as error:
        if not run.dry:
            raise
        return str(error)
    return None


def _silent(*lines: str) -> None:
    """Print nothing: -quiet."""


def run_quantities(run: Run, threads: int, paths: dict[str, str]) -> list[Quantity]:
    """The rows of the table of resolved values that describe the run rather than its experiment."""
    computer = "on a card" if run.backend == "cuda" else f"on {resolved.plural(threads, 'thread')}"
    by_default = (run.backend, run.precision, run.threads) == ("cpu", "double", None)
    rows = [Quantity("run", "computed", f"{computer}, in {run.precision} precision", "", by_default)]
    if run.noise:
        seed = "from the clock" if run.seed is None else str(run.seed)
        rows.append(Quantity("run", "seed of the noise", seed, "", run.seed is None))
        by_default = run.response == PHOTON_COUNTER and run.adc == Run.adc
        readout = f"gain {run.response.gain:g}, read-out noise {run.response.readout_noise:g}, offset {run.adc:g}"
        rows.append(Quantity("run", "noise image", readout, "ADU", by_default))
    return [*rows, Quantity("run", "files", " ".join(paths.values()))]


def brightest(image: np.ndarray, experiment: Experiment) -> str:
    """A line about the brightest pixel of a sheet, the first of several: its indices from 0, and its resolution."""
    row, fast = (int(index) for index in np.unravel_index(int(np.argmax(image)), image.shape))
    panel, slow = sheet_of(experiment.detector).panel_of(row)
    resolution = resolved.resolution_at(experiment, fast, slow, panel)
    in_words = "in the direct beam" if math.isinf(resolution) else f"{resolution:.4g} A"
    where = f" of panel {experiment.detector.panels[panel].path}" if len(experiment.detector.panels) > 1 else ""
    return f"brightest pixel: fast {fast}, slow {slow}{where}, {in_words}"


def _warn_of_unused_flags(command_line: CommandLine, run: Run) -> None:
    """Warn of every flag of an output that is switched off, and of every flag that only the other backend uses."""
    has, card = command_line.last.__contains__, run.backend == "cuda"
    switched_off = [(switch, name) for switch, names, field in UNWANTED if not getattr(run, field) for name in names]
    draws_orientation = command_line.last.get("-misset") == "random" and not has("-misset_seed")
    rows = (
        *((name, True, f"{switch} is given") for switch, name in switched_off),
        ("-scale", not run.integers, "-nointfile is given"),
        ("-adc", not run.integers and not run.noise, "-nointfile and -nonoise are given"),
        ("-seed", not run.noise and not draws_orientation, "-nonoise is given, and no orientation is drawn"),
        ("-threads", card, "the card computes"),
        ("-max_hours", card, "the time that a card takes is not estimated"),
    )
    for flag, unused, why in rows:
        if unused and has(flag):
            warnings.warn(f"{command_line.spelling[flag]} has no effect: {why}", stacklevel=2)


def check_reflections(experiment: Experiment, run: Run) -> None:
    """Raise InputError for an experiment of which the files about reflections that are wanted cannot be made."""
    if run.predictions is not None:
        predictions.check_range(experiment)
    if run.hklmap is not None:
        refuse_displaced(experiment, "-hklmap, the reflections of pixels")
        hkl_maps.refuse_defects(experiment)


def check_response(experiment: Experiment, run: Run) -> None:
    """Raise InputError for a response that is impossible with this detector. Warn of one that no image will show."""
    if run.noise:
        detector = experiment.detector
        for panel in detector.panels:
            edges = panel.pixel_slow_mm, panel.pixel_fast_mm
            response_of_panel(run.response, panel, run.adc).check(panel.shape, edges, run.adc)
        if not detector.panels:
            response_of_panel(run.response, detector, run.adc).check(detector.pixels, detector.pixel_mm, run.adc)
        return
    for name, value in vars(run.response).items():
        if value != getattr(PHOTON_COUNTER, name):
            warnings.warn(f"response.{name} has no effect: -nonoise is given", stacklevel=2)


def use_threads(threads: int | None) -> None:
    """Set the number of threads, if one is stated. Raises InputError for more threads than this machine has cores."""
    if threads is None:
        return
    if threads > most_threads():
        raise InputError(f"-threads: {threads} is not allowed; allowed: at most {most_threads()}, the cores of this machine")
    set_thread_count(threads)
