"""The subcommand simulate: nanoBragg's flags in, nanoBragg's files out."""

import sys
import time
import warnings
from collections.abc import Sequence
from contextlib import redirect_stdout

from nbnumba.backends import driver
from nbnumba.backends.threads import count, most, use
from nbnumba.cli import output
from nbnumba.cli.progress import bar
from nbnumba.cli.run import Run
from nbnumba.cli.statement import Statement
from nbnumba.cost import check
from nbnumba.errors import InputError
from nbnumba.experiment import Experiment
from nbnumba.formats import files
from nbnumba.response import PHOTON_COUNTER
from nbnumba.setup import sampling, scene
from nbnumba.setup.detector import place
from nbnumba.simulate import render

WORTH_SAYING_S, WORTH_SAYING_BYTES = 60.0, 1e9
"""Time and memory from which on the estimate is printed before an image is rendered."""


def main(args: Sequence[str]) -> int:
    """Run it; returns the exit status."""
    statement = Statement(args)
    run = statement.run()
    report(statement.experiment(), run)
    return 0


def report(experiment: Experiment, run: Run) -> None:
    """Render an experiment, write its files, and print nanoBragg's statistics: on stderr where a file goes to stdout."""
    names = output.names(run)
    with redirect_stdout(sys.stderr if any(map(files.is_stdout, names.values())) else sys.stdout):
        _report(experiment, run)


def _report(experiment: Experiment, run: Run) -> None:
    if run.threads is not None:
        use_threads(run.threads)
    wanted = sampling.window(experiment.detector.pixels, experiment.sampling.roi, experiment.sampling.mask)
    placement = place(experiment.detector, experiment.beam, experiment.sampling.c_parity)
    check_response(experiment, run)
    machine = run.machine
    needed = check(experiment, machine, count(), run.max_hours, command=True)
    if needed.seconds > WORTH_SAYING_S or needed.bytes > WORTH_SAYING_BYTES:
        print(f"about {needed.seconds / 60.0:.2g} min and {needed.bytes / 1e9:.2g} GB of memory, by the estimate")
    built = scene.build(experiment, wanted)
    started = time.perf_counter()
    driver(machine.backend).prepare(built, machine.precision)
    if time.perf_counter() - started > 1.0:
        print(f"compiled in {time.perf_counter() - started:.1f} s")
    started = time.perf_counter()
    with bar("rendering", run.progress) as progress:
        image = output.as_float32(render(built, wanted, experiment.detector.pixels, progress, machine))
    lattices, samples = len(built.orientations.lattice), built.sampling.oversample**2 * built.sampling.layers
    seconds = time.perf_counter() - started
    print(f"{lattices} lattices, {samples} samples per pixel, {len(built.sources.weight)} sources: {seconds:.2f} s")
    stats = output.statistics(image, wanted, placement.pixel, built.sampling.oversample)
    print(*stats.lines(), sep="\n")
    print(*output.write(image, experiment, placement, wanted, stats, run), sep="\n")


def check_response(experiment: Experiment, run: Run) -> None:
    """Raise InputError for a response that is impossible with this detector; warn of one that no image will show."""
    if run.noise:
        run.response.check(experiment.detector.pixels, experiment.detector.pixel_mm, run.adc)
        return
    for name, value in vars(run.response).items():
        if value != getattr(PHOTON_COUNTER, name):
            warnings.warn(f"response.{name} has no effect: -nonoise", stacklevel=2)


def use_threads(threads: int) -> None:
    """Set the number of threads; more than there are is an InputError."""
    if threads > most():
        raise InputError(f"-threads: {threads} is not allowed; allowed: at most {most()}, the cores here")
    use(threads)
