"""Who computes: Numba's threads, in turns; where these are not to be had, threads of the process's own (specs/forward.md, F0).

Numba's threads run the bands of a derivative. Its OpenMP layer ends a child process that was forked after they had
started, and its workqueue layer ends a process in which two calls use them at once. So calls take turns; and in such a
child, or where no layer can be loaded, the same kernel is run by threads of our own, as the pieces of an image always are.
"""

import os
import sys
import threading
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from nbnumba.backends.numba_loading import check_settings, load_numba, sentence

Piece = TypeVar("Piece")
_stated: list[int] = []
"""The number of threads that `set_thread_count` was told, if any."""
_turn = threading.Lock()
"""Is held by the call that uses Numba's threads."""
_this_thread = threading.local()
"""`most`: for a thread that computes for another, how many threads that one may use."""
_lost: set[str] = set()
"""Why Numba's threads are not to be had in this process, if they are not."""


def numba_threads_available() -> bool:
    """Start Numba's threads, and return whether they compute in this process. Warns once where no layer can be loaded."""
    if not _lost:
        try:
            load_numba().get_num_threads()  # which starts them
        except ValueError as error:
            _lost.add("no layer")
            layer = os.environ.get("NUMBA_THREADING_LAYER")
            what = f"NUMBA_THREADING_LAYER={layer} in the environment has no effect" if layer else "Numba has no threads here"
            warning = f"{what}: {sentence(error)}; derivatives are computed by threads of the program's own"
            warnings.warn(warning, stacklevel=2)
    return not _lost


@contextmanager
def numba_threads(parallel: bool) -> Iterator[None]:
    """For a parallel kernel Numba's threads, as many as `thread_count` says, for the calling thread alone."""
    if not parallel:
        yield
        return
    with _turn:
        before = load_numba().get_num_threads()
        load_numba().set_num_threads(thread_count())
        try:
            yield
        finally:
            load_numba().set_num_threads(before)


def _after_fork() -> None:
    """In a child: threads that its parent had are not there."""
    if _started():
        _lost.add("forked")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def set_thread_count(threads: int | None) -> None:
    """Let no work of this process have more threads than that; None: let it have as many as there are."""
    _stated[:] = [] if threads is None else [threads]


@contextmanager
def at_most(threads: int) -> Iterator[None]:
    """In this block, let no work of the calling thread have more threads than that."""
    before = getattr(_this_thread, "most", None)
    _this_thread.most = threads
    try:
        yield
    finally:
        if before is None:
            del _this_thread.most
        else:
            _this_thread.most = before


def most_threads() -> int:
    """The threads that there are at most: NUMBA_NUM_THREADS, or the cores."""
    check_settings()
    if "numba" in sys.modules:
        return load_numba().config.NUMBA_NUM_THREADS
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return int(os.environ.get("NUMBA_NUM_THREADS", cores))


def thread_count() -> int:
    """The number of threads that share a piece of work: what set_thread_count or numba.set_num_threads was told, or all."""
    if hasattr(_this_thread, "most"):
        return _this_thread.most
    of_numba = load_numba().get_num_threads() if _started() else most_threads()
    return min([of_numba, *_stated])


def _started() -> bool:
    """Whether Numba has started its threads, which asking it for their number would do."""
    parallel = sys.modules.get("numba.np.ufunc.parallel")
    return getattr(parallel, "_is_initialized", False)


def run_pieces(
    run: Callable[[Piece], None],
    chains: Iterable[Iterable[Piece]],
    threads: int,
    done: Callable[[Piece], None] | None = None,
) -> None:
    """Run every piece of every chain, those of one chain in their order, on so many threads; 0: on the calling one.

    done is called by the calling thread with each piece that has been run. That one waits meanwhile, so that it can be
    interrupted at once: whatever ends it, or another, is raised, and the others end after the pieces that they are at.
    """
    work = _Work(run, iter(chains))
    try:
        if _start(work, threads):
            while work.busy:
                work.news.wait(0.1)
                work.news.clear()
                work.report(done)
        else:
            for _ in work.run_chains():
                work.report(done)
        work.report(done)
    finally:
        work.ended = True
    if work.failures:
        raise work.failures[0]


def _start(work, wanted: int) -> int:
    """Start so many threads, or as many as the machine grants; returns their number."""
    for number in range(wanted):
        with work.lock:
            work.busy += 1
        try:
            threading.Thread(target=work.run_in_thread, daemon=True).start()
        except RuntimeError:  # there can be no more
            work.end_thread()
            return number
    return wanted


class _Work:
    """Chains of pieces, which threads run one by one. busy: how many threads are at work; news: set after each piece."""

    def __init__(self, run, chains):
        self.run, self.chains, self.lock, self.news = run, chains, threading.Lock(), threading.Event()
        self.finished, self.failures, self.ended, self.busy = deque(), [], False, 0
        self.most = thread_count()

    def next_chain(self) -> Iterable | None:
        """The next chain of pieces; None if no chain is left."""
        with self.lock:
            return next(self.chains, None)

    def run_chains(self) -> Iterator[None]:
        """Run pieces until none are left, and yield after each."""
        while not self.ended and (chain := self.next_chain()) is not None:
            for piece in chain:
                if self.ended:
                    return
                self.run(piece)
                self.finished.append(piece)
                yield

    def run_in_thread(self) -> None:
        """Run pieces until none are left, in a thread of its own, whose exception ends the work of all."""
        _this_thread.most = self.most
        try:
            for _ in self.run_chains():
                self.news.set()
        except BaseException as error:
            self.failures.append(error)
            self.ended = True
        finally:
            self.end_thread()

    def end_thread(self) -> None:
        """Note that a thread is at work no longer."""
        with self.lock:
            self.busy -= 1
        self.news.set()

    def report(self, done) -> None:
        """Call done with every piece that has been run since the last report."""
        while self.finished:
            piece = self.finished.popleft()
            if done is not None:
                done(piece)
