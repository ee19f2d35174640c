"""The standard streams of the program: whatever they cannot take, closed, full or without a reader, costs no result."""

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TextIO


class Text:
    """A text stream that is written as far as it can be.

    Characters that it cannot encode are written as escapes. After the first failure, which `failure` tells, nothing is
    written any more; `stop_early` makes that failure a BrokenPipeError, for programs that have nothing to do but print.
    """

    def __init__(self, stream: TextIO | None, stop_early: bool = False):
        self.stream, self.stop_early = stream, stop_early
        self.failure: OSError | None = None

    def write(self, text: str) -> int:
        """Write a text."""
        if self.stream is not None and self.failure is None:
            try:
                try:
                    self.stream.write(text)
                except UnicodeEncodeError:
                    coding = self.stream.encoding or "ascii"
                    self.stream.write(text.encode(coding, "backslashreplace").decode(coding))
            except (OSError, ValueError) as error:
                self._fail(error)
        return len(text)

    def flush(self) -> None:
        """Write what is waiting to be written."""
        if self.stream is not None and self.failure is None:
            try:
                self.stream.flush()
            except (OSError, ValueError) as error:
                self._fail(error)

    def isatty(self) -> bool:
        """Whether a terminal shows it."""
        with suppress(OSError, ValueError):
            return self.stream is not None and self.failure is None and self.stream.isatty()
        return False

    def _fail(self, error: OSError | ValueError) -> None:
        """Give up the stream: what it still holds goes nowhere, at the end of the process too."""
        self.failure = error if isinstance(error, OSError) else OSError(errno.EBADF, str(error))
        with suppress(OSError, ValueError):
            sink = os.open(os.devnull, os.O_WRONLY)
            os.dup2(sink, self.stream.fileno())
            os.close(sink)
        if self.stop_early:
            raise BrokenPipeError(self.failure.errno, str(self.failure))

    def __getattr__(self, name):
        return getattr(self.stream, name)


@contextmanager
def replaced(stop_early: bool) -> Iterator[tuple[Text, Text]]:
    """Make sys.stdout and sys.stderr such streams, and yield them; stop_early: printing is all that there is to do."""
    _fill_descriptors()
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = own = Text(before[0], stop_early), Text(before[1])
    try:
        yield own
    finally:
        for stream in own:
            stream.stop_early = False
            stream.flush()
        sys.stdout, sys.stderr = before


def _fill_descriptors() -> None:
    """Open descriptors 0, 1 and 2 where they are closed, so that no file gets one of these numbers; for reading only.

    Writing to such a one fails, as it would to a closed one.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            with suppress(OSError):
                os.open(os.devnull, os.O_RDONLY)
