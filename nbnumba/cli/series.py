"""The subcommand series: it makes many images of an experiment that flags describe, with jitter and labels (specs/shots.md)."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any

from nbnumba import interrupts
from nbnumba.backends.threads import most_threads
from nbnumba.cli import bundle
from nbnumba.cli.progress import Bar, bar
from nbnumba.errors import InputError
from nbnumba.experiment import Experiment
from nbnumba.flags.run import Run, run_of
from nbnumba.flags.subcommand import command_line_of
from nbnumba.flags.to_experiment import experiment_of
from nbnumba.formats.nxmx_writer import COMPRESSIONS
from nbnumba.resolved import duration, plural
from nbnumba.setup.orientations import phi_steps
from nbnumba.shots import make
from nbnumba.shots.frame import Readout
from nbnumba.shots.frame_files import FORMATS, Job
from nbnumba.shots.jitter import NO_JITTER, read_jitter
from nbnumba.shots.make import MOST_FRAMES, Choices, Estimate
from nbnumba.shots.numbers import Series
from nbnumba.shots.random_numbers import LARGEST_SEED

ABOUT = """\
Makes images of the experiment that FLAGS describe, those of nbnumba simulate: a rotation series, in which phi advances by -osc
from frame to frame, or stills. Numbers of each frame, and its orientation, may be drawn from distributions (--jitter). Writes
images, true models as series.nxs, truth.expt and truth.mtz, shots.csv with the numbers of each frame, and SHA256SUMS.
"""
NOTES = """\
A frame follows from --seed and its number alone: --frames 17:17 makes the same frame 17 as --frames 1:1000. Who makes the
frames changes no byte. A series that was interrupted or killed is completed by the same command with --resume.
"""
OPTIONS = ("out", "frames", "workers", "scheduler", "jitter", "labels", "seed", "resume", "format", "compression")
"""The options, whose names are those of the arguments of nbnumba.make_series."""

OF_READOUT = ("-adc", "-gain", "-readout_noise", "-saturation", "-psf", "-psf_type", "-flicker_noise")
OF_READOUT += ("-calibration_noise", "-calib_seed")
"""The flags that change how frames are measured."""

SEEDED = "the noise of a frame follows from --seed and its number"


def main(args: Sequence[str]) -> int:
    """Make a series. Returns the exit status."""
    own, flags = bundle.split(args, "series")
    options = _parser().parse_args(own)
    command_line = command_line_of(flags, _without_effect(flags), quiet=True)
    run = run_of(command_line)
    if command_line.last.get("-misset") == "random" and not {"-seed", "-misset_seed"} & set(command_line.last):
        raise InputError("-misset: random is not the same when a series is resumed; allowed: random with a -misset_seed")
    experiment = experiment_of(command_line)
    if phi_steps(experiment.goniometer)[2] > 0.0 and not {"-phi_sampling", "-c_parity"} & set(command_line.last):
        experiment = experiment.replace({"goniometer.phi_sampling": "mid"})
        if not run.quiet:
            print("phi steps are rendered in their middles, as detectors record them; -phi_sampling left: at their beginnings")
    counted = Counted()
    try:
        job, ends, choices = _job(options, run, experiment)
        with bar("frames", run.progress) as drawn:
            make.make(job, ends, choices, counted.with_bar(drawn), None if run.quiet else _tell(job, drawn))
    except InputError as error:
        raise InputError(_in_options(str(error))) from error
    except KeyboardInterrupt:
        print(counted.sentence(), file=sys.stderr)
        return interrupts.STATUS
    if not run.quiet:
        print(f"wrote {options.out}: {plural(ends[1] - ends[0] + 1, 'frame')}", flush=True)
    return 0


class Counted:
    """How many frames are whole, for an interruption."""

    def __init__(self) -> None:
        self.done, self.total = 0, 0

    def with_bar(self, drawn: Bar | None):
        """The function that is told of frames, and draws them on a bar, if there is one."""

        def tell(done: int, total: int) -> None:
            self.done, self.total = done, total
            if drawn is not None:
                drawn(done, total)

        return tell

    def sentence(self) -> str:
        """What an interruption leaves."""
        if not self.total:
            return "nbnumba: interrupted before a frame was whole; the same command with --resume makes them"
        return f"nbnumba: interrupted after {self.done} of {self.total} frames; the same command with --resume makes the rest"


def _parser() -> bundle.Parser:
    usage = "nbnumba series --out DIR [options] -- FLAGS"
    parser = bundle.Parser("series", usage=usage, description=ABOUT, epilog=NOTES)
    add = parser.add_argument
    add("--out", required=True, metavar="DIR", help="a new or an empty folder, into which everything is written")
    add("--frames", default="1", metavar="A:B", help="the first and the last frame, from 1; N: 1 to N (default: 1)")
    add("--workers", metavar="N", help="processes that make frames, each on -threads threads, or one (default: one a core)")
    add("--scheduler", metavar="ADDRESS", help="of dask.distributed, or its file: its workers make frames, in a shared DIR")
    add("--jitter", metavar="FILE.toml", help="a table for each parameter that differs between frames: its distribution")
    add("--labels", action="store_true", help="write the lattice, hkl, shares and background of each pixel")
    add("--seed", default="0", metavar="S", help="what is drawn follows from it and the number of the frame (default: 0)")
    add("--format", default="nxmx", choices=tuple(FORMATS), help="of the images (default: nxmx, a master and a file each)")
    add("--compression", default="gzip", choices=COMPRESSIONS, help="of the format nxmx (default: gzip)")
    add("--resume", action="store_true", help="complete a series that was begun in DIR by the same command")
    return parser


def _job(options: Any, run: Run, experiment: Experiment) -> tuple[Job, tuple[int, int], Choices]:
    """What to make, which frames, and how."""
    seed = bundle.whole_numbers("--seed", [options.seed], f"a whole number from 0 to {LARGEST_SEED}", 0)[0]
    if seed > LARGEST_SEED:
        raise InputError(f"--seed: {seed} is not allowed; allowed: a whole number from 0 to {LARGEST_SEED}")
    jitter = NO_JITTER if options.jitter is None else read_jitter(options.jitter, "--jitter")
    workers = options.workers
    if workers is not None:
        workers = bundle.whole_numbers("--workers", [workers], "a whole number of at least 1", 1)[0]
        if options.scheduler is not None:
            raise InputError("--workers and --scheduler are both given; allowed: one of them")
    if run.threads is not None and run.threads > most_threads():
        cores = f"at most {most_threads()}, the cores of this machine"
        raise InputError(f"-threads: {run.threads} is not allowed; allowed: {cores}")
    job = Job(
        series=Series(experiment, jitter, seed),
        folder=os.path.abspath(options.out),
        readout=Readout(run.noise, run.response, run.adc),
        labels=options.labels,
        form=options.format,
        compression=options.compression,
        machine=run.machine,
        threads=run.threads or 1,
    )
    choices = Choices(workers, options.scheduler, options.resume, run.max_hours)
    return job, _frames(options.frames), choices


def _frames(text: str) -> tuple[int, int]:
    """The first and the last frame of --frames."""
    allowed = f"A:B, or a number of frames, from 1 to {MOST_FRAMES}"
    words = text.split(":")
    if "" in words:
        raise InputError(f"--frames: {text!r} is not allowed; allowed: {allowed}")
    numbers = bundle.whole_numbers("--frames", words, allowed, 1)
    if len(numbers) > 2 or max(numbers) > MOST_FRAMES or sorted(numbers) != list(numbers):
        raise InputError(f"--frames: {text!r} is not allowed; allowed: {allowed}")
    return (1, numbers[0]) if len(numbers) == 1 else (numbers[0], numbers[1])


def _without_effect(flags: Sequence[str]) -> dict[str, str | None]:
    """The flags of files and read-out, each with the reason why it has no effect here; None where it has one."""
    reasons: dict[str, str | None] = dict.fromkeys(OF_READOUT, "-nonoise is given" if "-nonoise" in flags else None)
    draws_orientation = "-misset" in flags and "-misset_seed" not in flags
    return reasons | {"-seed": None if draws_orientation else SEEDED}


def _tell(job: Job, drawn: Bar | None):
    """The function that prints what the series costs, before it begins."""

    def tell(estimate: Estimate) -> None:
        if drawn is not None:
            drawn.clear()
        whole = f"{plural(estimate.whole, 'frame')} of {job.folder} whole, " if estimate.whole else ""
        by = "the workers of a scheduler" if not estimate.workers else plural(estimate.workers, "worker")
        one = "" if estimate.workers else " of one worker"
        seconds = f"about {duration(estimate.seconds)}{one}"
        print(f"{whole}{plural(estimate.frames, 'frame')} to make by {by}, {seconds}", flush=True)

    return tell


def _in_options(message: str) -> str:
    """A message about arguments of nbnumba.make_series in which their options replace them."""
    name, colon, rest = message.partition(":")
    return f"--{name}:{rest}" if colon and name in OPTIONS else message
