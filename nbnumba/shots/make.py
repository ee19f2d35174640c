"""Series of images, made and written: begun, resumed, given to workers, completed (specs/shots.md)."""

from __future__ import annotations

import json
import math
import operator
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from nbnumba import backends
from nbnumba.backends.threads import most_threads
from nbnumba.cost import MOST_HOURS, check, check_memory, cost, hours_granted
from nbnumba.digests import digest
from nbnumba.errors import InputError, shown
from nbnumba.experiment import Experiment
from nbnumba.formats import files
from nbnumba.noise import DEFAULT_ADC_OFFSET
from nbnumba.response import PHOTON_COUNTER, Response, check_response, response_of_panel
from nbnumba.setup import sampling
from nbnumba.setup.sheet import sheet_of
from nbnumba.shots import frame_files, identity, truth, workers
from nbnumba.shots.frame import Frame, Readout, Renderer, check_labels
from nbnumba.shots.frame_files import FORMATS, Job
from nbnumba.shots.jitter import NO_JITTER, Jitter, jitter_of, read_jitter
from nbnumba.shots.numbers import Series
from nbnumba.shots.random_numbers import LARGEST_SEED

Progress = Callable[[int, int], None]
Stated = Jitter | Mapping[str, Any] | str | os.PathLike[str] | None
"""What states a jitter: a Jitter, the tables of one, or the name of its file."""

MOST_FRAMES = 999999
"""The largest number of a frame, of six digits."""

OF_NOISE, OF_FILES, OF_LABELS = 1e-7, 5e-8, 1.5e-7
"""Seconds for each pixel of a frame besides the image: to draw its noise, to write it, to label it."""

LOOKED_AT = 30.0
"""The seconds of a series from which on its estimate is worth a closer look."""

LOCK = "lock"


class Estimate(NamedTuple):
    """What a series costs, before it is made: frames to make and whole ones, seconds in all, and workers; 0: a cluster."""

    frames: int
    whole: int
    seconds: float
    workers: int


class Choices(NamedTuple):
    """How frames are made: by so many processes (None: one for each core), or by the scheduler of a cluster."""

    workers: int | None = None
    scheduler: str | None = None
    resume: bool = False
    max_hours: float = MOST_HOURS


def frames(
    experiment: Experiment,
    numbers: Iterable[int] | int,
    *,
    jitter: Stated = None,
    seed: int = 0,
    labels: bool = False,
    noise: bool = True,
    response: Response = PHOTON_COUNTER,
    adc: float = DEFAULT_ADC_OFFSET,
    backend: str = "cpu",
    precision: str = "double",
) -> Iterator[Frame]:
    """Yield the frames of a series, one after another, computed in this process (V1 to V4).

    numbers: those of the frames, from 1, in any order; a whole number n: 1 to n. Of a rotation phi advances by the range of a
    frame from one number to the next. jitter: what differs between frames: of read_jitter, or its tables, or its file. seed:
    what is drawn follows from it and the number of the frame alone. labels: whether pixels are labelled. noise: whether there
    is a noise image; response, adc: those of noise_image. backend, precision: those of simulate. What frames have in common is
    made once.

    Raises InputError for an experiment that cannot be simulated or labelled, and for numbers that a jitter makes impossible.
    """
    series, readout = _series(experiment, jitter, seed), Readout(bool(noise), check_response(response), _offset(adc))
    machine = backends.machine(backend, precision)
    if labels:
        check_labels(experiment)
    wanted = range(1, _whole("numbers", numbers, 1, MOST_FRAMES) + 1) if isinstance(numbers, int) else numbers
    return _frames(Renderer(machine), series, [_whole("numbers", number, 1, MOST_FRAMES) for number in wanted], readout, labels)


def _frames(renderer: Renderer, series: Series, numbers: Sequence[int], readout: Readout, labels: bool) -> Iterator[Frame]:
    for place, number in enumerate(numbers):
        if place == 0:
            yield renderer.frame(series.numbers(number), readout, labels)
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # the first frame has said what is assumed
            frame = renderer.frame(series.numbers(number), readout, labels)
        yield frame


def make_series(
    out: str | os.PathLike[str],
    experiment: Experiment,
    frames: int | tuple[int, int],
    *,
    jitter: Stated = None,
    seed: int = 0,
    labels: bool = False,
    format: str = "nxmx",
    compression: str = "gzip",
    noise: bool = True,
    response: Response = PHOTON_COUNTER,
    adc: float = DEFAULT_ADC_OFFSET,
    backend: str = "cpu",
    precision: str = "double",
    workers: int | None = None,
    scheduler: str | None = None,
    threads: int = 1,
    resume: bool = False,
    max_hours: float = MOST_HOURS,
    progress: Progress | None = None,
    told: Callable[[Estimate], None] | None = None,
) -> Estimate:
    """Make a series of images, and write them with their true models to the folder `out` (specs/shots.md).

    frames: the number of the first and of the last frame, from 1; a whole number n: 1 to n. format: "nxmx", "smv" or "cbf".
    compression: of nxmx, "gzip" or "bitshuffle". workers: processes that make frames, each on so many threads; None: as many
    as there are cores; 1: this process. scheduler: the address of a scheduler of dask.distributed, whose workers make the
    frames; they have to share the folder. resume: go on with a series that was begun in the folder. progress(done, total) is
    called with numbers of frames, told with the estimate before it begins. The other arguments are those of `frames`.

    The bytes of all files follow from the arguments that say what is made; who makes them, in what order, and how often it
    was interrupted, changes none. Processes are spawned: a script that calls this has to do so below
    `if __name__ == "__main__":`. Returns the estimate. Raises InputError for what cannot be made.
    """
    first, last = _range(frames)
    if format not in FORMATS:
        raise InputError(f"format: {shown(format)} is not allowed; allowed: {', '.join(FORMATS)}")
    if workers is not None and scheduler is not None:
        raise InputError("workers and scheduler are both given; allowed: one of them")
    job = Job(
        series=_series(experiment, jitter, seed),
        folder=os.path.abspath(files.name_of(out, "out")),
        readout=Readout(bool(noise), check_response(response), _offset(adc)),
        labels=bool(labels),
        form=format,
        compression=compression,
        machine=backends.machine(backend, precision),
        threads=_whole("threads", threads, 1, most_threads()),
    )
    return make(job, (first, last), Choices(workers, scheduler, bool(resume), max_hours), progress, told)


def make(
    job: Job,
    ends: tuple[int, int],
    choices: Choices,
    progress: Progress | None = None,
    told: Callable[[Estimate], None] | None = None,
) -> Estimate:
    """Make the frames of a job from the first to the last number, both included, as make_series says."""
    numbers = range(ends[0], ends[1] + 1)
    _check(job, numbers)
    stated = identity.parts(job, ends)
    job = job.with_digest(digest(stated))
    _check_folder(job, choices.resume, stated)
    with _locked(job):
        missing = [number for number in numbers if not (choices.resume and frame_files.is_whole(job, number))]
        estimate = _estimate(job, len(missing), len(numbers) - len(missing), choices)
        if told is not None:
            told(estimate)
        done = estimate.whole
        if missing:
            Renderer(job.machine).prepare(job.series.numbers(missing[0]).experiment, job.readout, job.labels)
        for _ in _made(job, missing, choices, estimate.workers):
            done += 1
            if progress is not None:
                progress(done, len(numbers))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            truth.write(job, numbers)
        for folder in _folders(job):
            files.remove_temporaries(folder)  # of workers that were killed, also where the system still lists them
    return estimate


def _made(job: Job, missing: Sequence[int], choices: Choices, count: int) -> Iterator[int]:
    """Have frames made, and yield the number of each."""
    if not missing:
        return iter(())
    if choices.scheduler is not None:
        return workers.by_dask(job, missing, choices.scheduler)
    return workers.by_this_process(job, missing) if count == 1 else workers.by_processes(job, missing, count)


def _check(job: Job, numbers: Sequence[int]) -> None:
    """Raise InputError for a series that cannot be made, and warn of what is assumed, before anything is written."""
    if job.labels:
        check_labels(job.series.experiment)
    for lost in frame_files.check_format(job, job.series.nominal(numbers[0])):
        warnings.warn(f"series: the images cannot state {lost}", stacklevel=3)
    if not truth.has_amplitudes(job.series.experiment.structure_factors):
        warnings.warn("series: no truth.mtz is written, as there is no list of amplitudes of one photon energy", stacklevel=3)
    _check_readout(job)
    for number in numbers if job.series.jitter.names or job.series.jitter.orientation else numbers[:1]:
        job.series.numbers(number)
    coarse = sampling.too_coarse(job.series.numbers(numbers[0]).experiment)
    if coarse is not None:
        warnings.warn(coarse, stacklevel=3)


def _check_readout(job: Job) -> None:
    """Raise InputError for a response that the detector cannot have."""
    detector, readout = job.series.experiment.detector, job.readout
    for panel in detector.panels if readout.noise else ():
        own = response_of_panel(readout.response, panel, readout.adc)
        own.check(panel.shape, (panel.pixel_slow_mm, panel.pixel_fast_mm), readout.adc)
    if readout.noise and not detector.panels:
        own = response_of_panel(readout.response, detector, readout.adc)
        own.check(detector.pixels, detector.pixel_mm, readout.adc)


def _estimate(job: Job, missing: int, whole: int, choices: Choices) -> Estimate:
    """The estimate of a series. Raises InputError for one that takes longer than is granted, or more memory than there is."""
    hours = hours_granted(choices.max_hours)
    count = 0 if choices.scheduler is not None else _workers(job, choices.workers, missing)
    nominal = job.series.nominal(1)
    one = check(nominal, job.machine, job.threads, hours)
    pixels = sheet_of(job.series.experiment.detector).pixels
    besides = pixels * (OF_FILES + (OF_NOISE if job.readout.noise else 0.0) + (OF_LABELS if job.labels else 0.0))
    turns = math.ceil(missing / max(count, 1))
    seconds = turns * (one.seconds + besides)
    if seconds > LOOKED_AT and job.machine.backend == "cpu":
        seconds = turns * (cost(nominal, job.machine, job.threads, certain=0.0).seconds + besides)
    if count and seconds > 3600.0 * hours:
        needed = f"{missing} frames take about {seconds / 3600.0:.3g} hours by {count} workers"
        raise InputError(f"frames: {needed}; allowed: at most {hours:g} hours, or as many as max_hours grants")
    if count > 1:
        check_memory(f"workers: {count} frames at once", count * one.bytes)
    return Estimate(missing, whole, seconds, count)


def _workers(job: Job, stated: int | None, missing: int) -> int:
    """The number of processes: as stated, or as many as there are cores for their threads; no more than frames."""
    if stated is None:
        wanted = 1 if job.machine.backend == "cuda" else max(1, most_threads() // job.threads)
    else:
        wanted = _whole("workers", stated, 1, 4096)
    return max(1, min(wanted, missing))


def _check_folder(job: Job, resume: bool, stated: dict[str, Any]) -> None:
    """Begin a series in its folder, or go on with it. Raises InputError for a folder that is not empty, or another series."""
    files.check_folder(job.folder, "out")
    held = [name for name in os.listdir(job.folder) if not name.startswith(".nbnumba-")] if os.path.isdir(job.folder) else []
    path = job.path(truth.STATED)
    if held and not resume:
        raise InputError(f"out: {job.folder!r} is not empty; allowed: a new or an empty folder, or --resume for a series in it")
    if resume and held:
        try:
            begun = json.loads(files.read_bytes(path, "resume"))
        except ValueError as error:
            raise InputError(f"resume: {path!r} is damaged: {error}; allowed: a folder in which a series was begun") from None
        identity.check_same(begun if isinstance(begun, dict) else {}, stated, job.folder)
    for folder in _folders(job):
        files.make_folder(folder, "out")
        if folder == job.folder and not (resume and held):
            with files.replacing(path, "out") as stream:
                stream.write((json.dumps(stated, indent=1) + "\n").encode("ascii"))


def _folders(job: Job) -> list[str]:
    """The folders of a series, that of the whole series first."""
    names = [frame_files.IMAGES, frame_files.RECORDS, *([frame_files.LABELS] if job.labels else [])]
    return [job.folder, *(job.path(name) for name in names)]


@contextmanager
def _locked(job: Job) -> Iterator[None]:
    """In this block no other process makes the series. Raises InputError if one does."""
    path = job.path(f"{frame_files.RECORDS}/{LOCK}")
    refusal = InputError(f"out: another process is making the series in {job.folder!r}; allowed: one at a time")
    with files.locked(path, refusal):
        try:
            yield
        finally:
            if os.path.exists(job.path(truth.SUMS)):
                os.unlink(path)


def _series(experiment: Experiment, jitter: Stated, seed: int) -> Series:
    if not isinstance(experiment, Experiment):
        raise InputError(f"experiment: {shown(experiment)} is not an Experiment; allowed: a nbnumba.Experiment")
    return Series(experiment, _jitter(jitter), _whole("seed", seed, 0, LARGEST_SEED))


def _jitter(stated: Stated) -> Jitter:
    """A jitter, by itself, by its tables, or by its file."""
    if stated is None or isinstance(stated, Jitter):
        return NO_JITTER if stated is None else stated
    if isinstance(stated, Mapping):
        return jitter_of(stated)
    if isinstance(stated, (str, os.PathLike)):
        return read_jitter(stated, "jitter")
    raise InputError(f"jitter: {shown(stated)} is not allowed; allowed: what read_jitter returns, tables, or a file of them")


def _offset(adc: float) -> float:
    if isinstance(adc, (int, float)) and abs(adc) <= 65535.0:
        return float(adc)
    raise InputError(f"adc: {shown(adc)} is not allowed; allowed: a number of at most 65535 in size")


def _range(frames: int | tuple[int, int]) -> tuple[int, int]:
    """The first and the last number of frames."""
    ends = (1, frames) if isinstance(frames, int) else frames
    if not isinstance(ends, (tuple, list)) or len(ends) != 2:
        raise InputError(f"frames: {shown(frames)} is not allowed; allowed: a number of frames, or the first and the last")
    first, last = (_whole("frames", number, 1, MOST_FRAMES) for number in ends)
    if last < first:
        raise InputError(f"frames: {first} to {last} are none; allowed: a last frame that is not before the first")
    return first, last


def _whole(name: str, value: Any, least: int, most: int) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        number = least - 1
    if isinstance(value, bool) or not least <= number <= most:
        raise InputError(f"{name}: {shown(value)} is not allowed; allowed: a whole number from {least} to {most}")
    return number
