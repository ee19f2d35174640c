"""Who makes the frames of a series: this process, processes of this machine, or a cluster of dask (specs/shots.md, V6).

A worker makes a frame from its number, and writes its files.
"""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Iterator, Sequence

from nbnumba.backends.threads import at_most
from nbnumba.errors import InputError
from nbnumba.pools import AHEAD, cluster, completed, processes
from nbnumba.shots.frame import Renderer
from nbnumba.shots.frame_files import Job, geometry, write_frame
from nbnumba.version import VERSION

RESUMED = "what is whole stays, and --resume makes the rest; "


class Worker:
    """It makes frames of one series, one after another. What they have in common is made once."""

    def __init__(self, job: Job) -> None:
        self.job, self.renderer = job, Renderer(job.machine)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # the process that gives out frames warns, once
            self.described = geometry(job, job.series.experiment)

    def make(self, number: int) -> int:
        """Make a frame, and return its number."""
        with at_most(self.job.threads):
            frame = self.renderer.frame(self.job.series.numbers(number), self.job.readout, self.job.labels)
            write_frame(self.job, frame, self.described)
        return number


_own = threading.local()
"""`worker`: of a thread that makes frames."""


def make(job: Job, number: int) -> int:
    """Make a frame in this thread, by the worker that made the frames of this series before."""
    worker = getattr(_own, "worker", None)
    if worker is None or worker.job.digest != job.digest or worker.job.folder != job.folder:
        worker = _own.worker = Worker(job)
    return worker.make(number)


def by_this_process(job: Job, numbers: Sequence[int]) -> Iterator[int]:
    """Make frames one after another in this thread; yield the number of each."""
    worker = Worker(job)
    for number in numbers:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            made = worker.make(number)
        yield made


# ------------------------------------------------------------------------------------- processes of this machine

_job: list[Job] = []
"""In a process of a pool: what it makes."""


def _begin(job: Job) -> None:
    _job[:] = [job]


def _make(number: int) -> int:
    return make(_job[0], number)


def by_processes(job: Job, numbers: Sequence[int], workers: int) -> Iterator[int]:
    """Make frames in so many processes of this machine; yield the number of each that is whole. InputError: see processes."""
    with processes(workers, RESUMED, _begin, job) as executor:
        yield from completed(executor, AHEAD * workers, _make, numbers)


# ------------------------------------------------------------------------------------- a cluster of dask


def by_dask(job: Job, numbers: Sequence[int], address: str) -> Iterator[int]:
    """Make frames by the workers of a scheduler of dask.distributed; yield the number of each that is whole.

    address: of the scheduler, or the name of its file. The folder of the series has to be one that workers and this process
    share. If the caller ends early, frames that have not begun are cancelled. Raises InputError for a scheduler that does not
    answer, and for workers that cannot make the frames.
    """
    with cluster(address, RESUMED) as client:
        import distributed

        shared = client.scatter(job, broadcast=True, hash=False)
        futures = client.map(_make_shared, list(numbers), job=shared, pure=False)
        try:
            for _, number in distributed.as_completed(futures, loop=client.loop, with_results=True):
                yield number
        finally:
            client.cancel(futures)


def _make_shared(number: int, job: Job) -> int:
    """Make a frame in a worker of dask. Raises InputError where it has no such folder, or another version of nbnumba."""
    if job.version != VERSION:
        raise InputError(f"--scheduler: a worker has nbnumba {VERSION}, and not {job.version}; allowed: the same version")
    if not os.path.isdir(job.folder):
        raise InputError(f"--scheduler: a worker has no folder {job.folder!r}; allowed: a folder that all workers share")
    return make(job, number)
