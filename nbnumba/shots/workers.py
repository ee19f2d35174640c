"""Who makes the frames of a series: this process, processes of this machine, or a cluster of dask (specs/shots.md, V6).

Processes are those of concurrent.futures, which are spawned; a cluster is that of a scheduler of dask.distributed. Both give
frames to workers, and nothing here does. A worker makes a frame from its number, and writes its files.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from nbnumba import interrupts
from nbnumba.backends.numba_loading import leave_out_linear_algebra
from nbnumba.backends.threads import at_most
from nbnumba.errors import InputError
from nbnumba.shots.frame import Renderer
from nbnumba.shots.frame_files import Job, geometry, write_frame
from nbnumba.version import VERSION

CONNECTION_SECONDS = 30
"""For how long a scheduler is waited for."""

RESUMED = "what is whole stays, and --resume makes the rest"


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


def _start(job: Job, alive: Any) -> None:
    """Begin as a process of a pool, which ends when the one that started it does, or closes its end of the pipe `alive`."""
    interrupts.end_with(alive)
    leave_out_linear_algebra()
    warnings.simplefilter("ignore", UserWarning)
    _job[:] = [job]


def _make(number: int) -> int:
    return make(_job[0], number)


def by_processes(job: Job, numbers: Sequence[int], workers: int) -> Iterator[int]:
    """Make frames in so many processes of this machine; yield the number of each that is whole.

    If the caller ends early, and if it is killed, the processes end at once, in the middle of their frames. Raises InputError
    where a process ends by itself.
    """
    context = multiprocessing.get_context("spawn")
    reader, writer = context.Pipe(duplex=False)
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_start, initargs=(job, reader))
    try:
        with _not_interrupted():
            futures = [pool.submit(_make, number) for number in numbers[: 2 * workers]]
        rest = iter(numbers[2 * workers :])
        yield from _completed(pool, futures, rest)
        pool.shutdown()
    except BrokenProcessPool as error:
        why = "workers: a worker ended in the middle of a frame, as one does that needs more memory than there is"
        raise InputError(f"{why}; {RESUMED}; allowed: fewer workers") from error
    finally:
        writer.close()
        pool.shutdown(wait=False, cancel_futures=True)
        reader.close()


def _completed(pool: ProcessPoolExecutor, futures: list[Future], rest: Iterator[int]) -> Iterator[int]:
    """Yield the results of futures as they complete, and submit another frame of the rest for each."""
    waiting = set(futures)
    while waiting:
        future = next(as_completed(waiting))
        waiting.remove(future)
        number = next(rest, None)
        if number is not None:
            waiting.add(pool.submit(_make, number))
        yield future.result()


@contextmanager
def _not_interrupted() -> Iterator[None]:
    """In this block Ctrl-C waits, and processes that are started never see it: the one that started them ends them."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


# ------------------------------------------------------------------------------------- a cluster of dask


def check_dask() -> None:
    """Raise InputError where dask.distributed is missing."""
    try:
        import_module("distributed")
    except ImportError:
        need = "--scheduler needs the package distributed, which is not installed"
        raise InputError(f"{need}; allowed with it: pip install nbnumba[cluster]") from None


def by_dask(job: Job, numbers: Sequence[int], address: str) -> Iterator[int]:
    """Make frames by the workers of a scheduler of dask.distributed; yield the number of each that is whole.

    address: of the scheduler, or the name of its file. The folder of the series has to be one that workers and this process
    share. If the caller ends early, frames that have not begun are cancelled. Raises InputError for a scheduler that does not
    answer, and for workers that cannot make the frames.
    """
    check_dask()
    import distributed

    client = _client(address)
    try:
        with client:
            shared = client.scatter(job, broadcast=True, hash=False)
            futures = client.map(_make_shared, list(numbers), job=shared, pure=False)
            try:
                for _, number in distributed.as_completed(futures, loop=client.loop, with_results=True):
                    yield number
            finally:
                client.cancel(futures)
    except InputError:
        raise
    except Exception as error:  # whatever a scheduler, or a worker without nbnumba, has to say
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        allowed = "workers with nbnumba of this version, that share the folder"
        raise InputError(f"--scheduler: {address!r}: frames were not made: {reason}; {RESUMED}; allowed: {allowed}") from error


def _make_shared(number: int, job: Job) -> int:
    """Make a frame in a worker of dask. Raises InputError where it has no such folder, or another version of nbnumba."""
    if job.version != VERSION:
        raise InputError(f"--scheduler: a worker has nbnumba {VERSION}, and not {job.version}; allowed: the same version")
    if not os.path.isdir(job.folder):
        raise InputError(f"--scheduler: a worker has no folder {job.folder!r}; allowed: a folder that all workers share")
    return make(job, number)


def _client(address: str) -> Any:
    """A client of a scheduler. Raises InputError if it does not answer."""
    import distributed

    stated = {"scheduler_file": address} if os.path.isfile(address) else {"address": address}
    try:
        client = distributed.Client(**stated, timeout=CONNECTION_SECONDS, set_as_default=False)
        client.wait_for_workers(1, timeout=CONNECTION_SECONDS)
    except (OSError, ValueError, TypeError) as error:  # a TimeoutError is an OSError
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        allowed = "the address of a scheduler of dask.distributed that has workers, or the name of its file"
        raise InputError(f"--scheduler: {address!r} does not answer: {reason}; allowed: {allowed}") from None
    return client
