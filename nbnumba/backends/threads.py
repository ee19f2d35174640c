"""Work for the threads of this process, on kernels that let go of Python's lock (specs/forward.md, F0).

Threads are started for one piece of work and end with it. So nothing is missing in a process that is forked, several threads of
Python may compute at once, and none of Numba's threading layers is needed.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from nbnumba.backends.numba_here import numba

Piece = TypeVar("Piece")
_stated: list[int] = []
"""The number of threads that `use` was told, if any."""


def use(threads: int | None) -> None:
    """Let no work of this process have more threads than that; None: let it have as many as there are."""
    _stated[:] = [] if threads is None else [threads]


def most() -> int:
    """The threads that there are at most: NUMBA_NUM_THREADS, or the cores."""
    return numba().config.NUMBA_NUM_THREADS


def count() -> int:
    """The threads that share a piece of work: what `use` and numba.set_num_threads have said, or as many as there are."""
    of_numba = most()
    from numba.np.ufunc import parallel

    if getattr(parallel, "_is_initialized", False):  # which asking for the number would do, and load a threading layer
        of_numba = parallel.get_num_threads()
    return min([of_numba, *_stated])


def share(
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
            for _ in work.pieces():
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
            threading.Thread(target=work.help, daemon=True).start()
        except RuntimeError:  # there can be no more
            work.leave()
            return number
    return wanted


class _Work:
    """Chains of pieces, which threads take one by one. busy: how many threads are at work; news: whether there are any."""

    def __init__(self, run, chains):
        self.run, self.chains, self.lock, self.news = run, chains, threading.Lock(), threading.Event()
        self.finished, self.failures, self.ended, self.busy = deque(), [], False, 0

    def take(self) -> Iterable | None:
        """The next chain."""
        with self.lock:
            return next(self.chains, None)

    def pieces(self) -> Iterator[None]:
        """Runs pieces until none are left, and yields after each."""
        while not self.ended and (pieces := self.take()) is not None:
            for piece in pieces:
                if self.ended:
                    return
                self.run(piece)
                self.finished.append(piece)
                yield

    def help(self) -> None:
        """What a thread does."""
        try:
            for _ in self.pieces():
                self.news.set()
        except BaseException as error:
            self.failures.append(error)
            self.ended = True
        finally:
            self.leave()

    def leave(self) -> None:
        """A thread is at work no longer."""
        with self.lock:
            self.busy -= 1
        self.news.set()

    def report(self, done) -> None:
        """Tell of the pieces that have been run since it was told last."""
        while self.finished:
            piece = self.finished.popleft()
            if done is not None:
                done(piece)
