"""Who calls a function with each of many arguments: processes of this machine, or the workers of a scheduler of dask.

Results come in the order of the arguments. The function and its arguments are pickled; files that they name are to be seen by
all workers.
"""

from __future__ import annotations

import multiprocessing
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import islice
from typing import Any

from nbnumba import interrupts
from nbnumba.backends.numba_loading import leave_out_linear_algebra
from nbnumba.backends.threads import at_most
from nbnumba.errors import InputError
from nbnumba.shots.workers import _client, _not_interrupted, check_dask

AHEAD = 2
"""Arguments that are given out for each worker before their results are wanted."""

Run = Callable[[Callable[..., Any], Sequence[tuple[Any, ...]]], Iterator[Any]]


@contextmanager
def pool(workers: int, scheduler: str | None = None) -> Iterator[Run]:
    """What calls functions: this process for one worker, else so many processes, or those of a scheduler of dask.

    Raises InputError for a scheduler that does not answer, and where a process ends by itself.
    """
    if scheduler is not None:
        with _cluster(scheduler) as run:
            yield run
    elif workers == 1:
        yield _here
    else:
        with _processes(workers) as run:
            yield run


def _here(function: Callable[..., Any], tasks: Sequence[tuple[Any, ...]]) -> Iterator[Any]:
    return (_call(function, *task) for task in tasks)


def _call(function: Callable[..., Any], *task: Any) -> Any:
    """Call a function on one thread, without its warnings, which the process that gives out work has shown."""
    with at_most(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return function(*task)


def _start(alive: Any) -> None:
    """Begin as a process of a pool, which ends when the one that started it does."""
    interrupts.end_with(alive)
    leave_out_linear_algebra()


@contextmanager
def _processes(workers: int) -> Iterator[Run]:
    context = multiprocessing.get_context("spawn")
    reader, writer = context.Pipe(duplex=False)
    executor = ProcessPoolExecutor(workers, mp_context=context, initializer=_start, initargs=(reader,))

    def run(function: Callable[..., Any], tasks: Sequence[tuple[Any, ...]]) -> Iterator[Any]:
        rest = iter(tasks)
        with _not_interrupted():
            waiting = deque(executor.submit(_call, function, *task) for task in islice(rest, AHEAD * workers))
        while waiting:
            result = waiting.popleft().result()
            waiting.extend(executor.submit(_call, function, *task) for task in islice(rest, 1))
            yield result

    try:
        yield run
        executor.shutdown()
    except BrokenProcessPool as error:
        why = "workers: a worker ended by itself, as one does that needs more memory than there is"
        raise InputError(f"{why}; allowed: fewer workers") from error
    finally:
        writer.close()
        executor.shutdown(wait=False, cancel_futures=True)
        reader.close()


@contextmanager
def _cluster(address: str) -> Iterator[Run]:
    check_dask()
    import distributed

    client = _client(address)

    def run(function: Callable[..., Any], tasks: Sequence[tuple[Any, ...]]) -> Iterator[Any]:
        waiting = deque(client.submit(_call, function, *task, pure=False) for task in tasks)
        try:
            while waiting:
                yield waiting.popleft().result()
        finally:
            client.cancel(list(waiting))

    try:
        with client:
            yield run
    except (distributed.scheduler.KilledWorker, distributed.client.FutureCancelledError, OSError, ImportError) as error:
        reason = " ".join(str(error).split())[:200]
        allowed = "workers with nbnumba of this version, that share the folder"
        raise InputError(f"--scheduler: {address!r}: work was not done: {reason}; allowed: {allowed}") from error
