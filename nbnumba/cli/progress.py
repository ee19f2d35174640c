"""A progress bar on stderr if that is a terminal, and a line that announces the compilation of kernels."""

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

WIDTH = 40
COMPILING = "nbnumba: compiling for this machine, half a minute or so; kept on disk where that is possible"


class _Once(logging.Handler):
    """Prints a line at the first record."""

    def emit(self, record: logging.LogRecord) -> None:
        self.setLevel(logging.CRITICAL)
        print(COMPILING, file=sys.stderr, flush=True)


@contextmanager
def compilation_announced() -> Iterator[None]:
    """In this block, print one line on stderr before the first kernel is compiled."""
    log, handler = logging.getLogger("nbnumba.compiling"), _Once(logging.INFO)
    level = log.level
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        yield
    finally:
        log.setLevel(level)
        log.removeHandler(handler)


@contextmanager
def bar(title: str, shown: bool = True) -> Iterator:
    """Yield progress(done, total), which redraws the bar; None unless it is to be shown and stderr is a terminal."""
    if not shown or sys.stderr is None or not sys.stderr.isatty():
        yield None
        return
    started = time.monotonic()

    def progress(done: int, total: int) -> None:
        filled = WIDTH * done // total
        left = (time.monotonic() - started) * (total - done) / done
        text = f"{title} [{'#' * filled}{'.' * (WIDTH - filled)}] {100 * done // total:3d} %, {left:.0f} s left"
        print(f"\r{text:<79}", end="", file=sys.stderr, flush=True)

    try:
        yield progress
    finally:
        print(f"\r{'':<79}\r", end="", file=sys.stderr, flush=True)
