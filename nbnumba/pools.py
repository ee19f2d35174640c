"""Who does work that comes in many parts: this process, processes of this machine, or a cluster of dask (specs/shots.md, V6).

Processes are those of concurrent.futures, which are spawned; a cluster is that of a scheduler of dask.distributed. Both give
out parts to workers, and nothing here does. Files that workers read and write have to be seen by all.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from importlib import import_module
from itertools import islice
from typing import Any

from nbnumba import interrupts
from nbnumba.backends.numba_loading import leave_out_linear_algebra
from nbnumba.backends.threads import at_most
from nbnumba.errors import InputError

CONNECTION_SECONDS = 30
"""For how long a scheduler is waited for."""

AHEAD = 2
"""Parts that are given out for each process before a result of them is taken."""

Run = Callable[[Callable[..., Any], Sequence[tuple[Any, ...]]], Iterator[Any]]
"""It calls a function with each of many arguments, and yields the results in their order."""


@contextmanager
def pool(workers: int, scheduler: str | None = None) -> Iterator[Run]:
    """What calls functions, on one thread each: this process for one worker, else so many, or the workers of a scheduler.

    Raises InputError for a scheduler that does not answer, and where a process ends by itself.
    """
    if scheduler is not None:
        with cluster(scheduler, "") as client:
            yield lambda function, tasks: _of_cluster(client, function, tasks)
    elif workers == 1:
        yield lambda function, tasks: (_call(function, *task) for task in tasks)
    else:
        with processes(workers, "") as executor:
            yield lambda function, tasks: _of_processes(executor, AHEAD * workers, function, tasks)


def _call(function: Callable[..., Any], *task: Any) -> Any:
    """Call a function on one thread, without its warnings, which the process that gives out work has shown."""
    with at_most(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return function(*task)


def _of_processes(
    executor: ProcessPoolExecutor, ahead: int, function: Callable[..., Any], tasks: Sequence[tuple[Any, ...]]
) -> Iterator[Any]:
    rest = iter(tasks)
    with not_interrupted():
        waiting = deque(executor.submit(_call, function, *task) for task in islice(rest, ahead))
    while waiting:
        result = waiting.popleft().result()
        waiting.extend(executor.submit(_call, function, *task) for task in islice(rest, 1))
        yield result


def _of_cluster(client: Any, function: Callable[..., Any], tasks: Sequence[tuple[Any, ...]]) -> Iterator[Any]:
    waiting = deque(client.submit(_call, function, *task, pure=False) for task in tasks)
    try:
        while waiting:
            yield waiting.popleft().result()
    finally:
        client.cancel(list(waiting))


# ------------------------------------------------------------------------------------- processes of this machine


def _start(alive: Any, begin: Callable[..., None] | None, *words: Any) -> None:
    """Begin as a process of a pool, which ends when the one that started it does, or closes its end of the pipe `alive`."""
    interrupts.end_with(alive)
    leave_out_linear_algebra()
    warnings.simplefilter("ignore", UserWarning)
    if begin is not None:
        begin(*words)


@contextmanager
def processes(
    workers: int, after: str, begin: Callable[..., None] | None = None, *words: Any
) -> Iterator[ProcessPoolExecutor]:
    """So many processes, each of which first calls begin(*words).

    If the caller ends early, and if it is killed, the processes end at once, in the middle of their work. after: what is to be
    known then, for the InputError where a process ends by itself.
    """
    context = multiprocessing.get_context("spawn")
    reader, writer = context.Pipe(duplex=False)
    executor = ProcessPoolExecutor(workers, mp_context=context, initializer=_start, initargs=(reader, begin, *words))
    try:
        yield executor
        executor.shutdown()
    except BrokenProcessPool as error:
        why = "workers: a worker ended in the middle of its work, as one does that needs more memory than there is"
        raise InputError(f"{why}; {after}allowed: fewer workers") from error
    finally:
        writer.close()
        executor.shutdown(wait=False, cancel_futures=True)
        reader.close()


def completed(
    executor: ProcessPoolExecutor, ahead: int, function: Callable[[Any], Any], words: Sequence[Any]
) -> Iterator[Any]:
    """Yield what a function returns for each of some words, as it does: another word is given out for each that is done."""
    with not_interrupted():
        waiting: set[Future] = {executor.submit(function, word) for word in words[:ahead]}
    rest = iter(words[ahead:])
    while waiting:
        future = next(as_completed(waiting))
        waiting.remove(future)
        waiting |= {executor.submit(function, word) for word in islice(rest, 1)}
        yield future.result()


@contextmanager
def not_interrupted() -> Iterator[None]:
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


@contextmanager
def cluster(address: str, after: str) -> Iterator[Any]:
    """A client of a scheduler of dask.distributed.

    address: of the scheduler, or the name of its file. after: what is to be known when work was not done, for the InputError.
    Raises InputError for a scheduler that does not answer, and for workers that cannot do the work.
    """
    check_dask()
    client = _client(address)
    try:
        with client:
            yield client
    except InputError:
        raise
    except Exception as error:  # whatever a scheduler, or a worker without nbnumba, has to say
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        allowed = "workers with nbnumba of this version, that share the folder"
        raise InputError(f"--scheduler: {address!r}: work was not done: {reason}; {after}allowed: {allowed}") from error


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
