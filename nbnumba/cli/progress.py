"""A progress bar on stderr if that is a terminal, and a line that announces the compilation of each kind of kernel."""

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from nbnumba.resolved import duration

WIDTH = 40
LINE = 79
TYPICAL = {
    "render": ("of an image", "some 10 s"),
    "differentiate": ("of a derivative", "some 20 s"),
    "count": ("of a map of reflections", "some 10 s"),
}
"""What each driver computes, and how long its compilation takes on a common CPU."""
OTHERS = ("of a card", "some 10 s")
"""The same of every other kernel that takes long to compile."""


class _Announced(logging.Handler):
    """Prints a line at the first record about each kind of kernel. A record's argument is the name of a function."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.told: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        what, how_long = TYPICAL.get(str(record.args[0]).partition("_")[0] if record.args else "", OTHERS)
        if what not in self.told:
            self.told.add(what)
            text = f"nbnumba: compiling the kernel {what} for this machine, {how_long}; kept on disk where that is possible"
            print(text, file=sys.stderr, flush=True)


@contextmanager
def compilation_announced() -> Iterator[None]:
    """In this block, print a line on stderr before the first kernel of each kind is compiled."""
    log, handler = logging.getLogger("nbnumba.compiling"), _Announced()
    level = log.level
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        yield
    finally:
        log.setLevel(level)
        log.removeHandler(handler)


class Bar:
    """Progress on a terminal: called with what is done and the total, it draws a bar, and the time that is left."""

    def __init__(self, title: str) -> None:
        self.title, self.started = title, time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        filled = WIDTH * done // total
        left = (time.monotonic() - self.started) * (total - done) / done
        text = f"{self.title} [{'#' * filled}{'.' * (WIDTH - filled)}] {100 * done // total:3d} %, {duration(left)} left"
        print(f"\r{text:<{LINE}}", end="", file=sys.stderr, flush=True)

    def clear(self) -> None:
        """Make room for a line of text."""
        print(f"\r{'':<{LINE}}\r", end="", file=sys.stderr, flush=True)

    def above(self, report: Callable) -> Callable:
        """The function of one argument that prints something where the bar is, which is drawn again when it is next called."""

        def cleared(argument):
            self.clear()
            return report(argument)

        return cleared


@contextmanager
def bar(title: str, shown: bool = True) -> Iterator[Bar | None]:
    """Yield a bar, which is cleared in the end; None unless it is to be shown and stderr is a terminal."""
    if not shown or sys.stderr is None or not sys.stderr.isatty():
        yield None
        return
    drawn = Bar(title)
    try:
        yield drawn
    finally:
        drawn.clear()
