"""A progress bar on stderr, when that is a terminal."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

WIDTH = 40


@contextmanager
def bar(title: str, wanted: bool = True) -> Iterator:
    """Yields progress(done, total), which redraws the bar; None when none is wanted or stderr is no terminal."""
    if not wanted or sys.stderr is None or not sys.stderr.isatty():
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
