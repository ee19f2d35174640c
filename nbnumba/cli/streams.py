"""The standard streams of the program: a stream that is closed, full or without a reader never costs a result."""

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TextIO


class Text:
    """A text stream that survives failures to write.

    Characters that it cannot encode are written as escapes. After the first failure, which `failure` holds, nothing more is
    written. With `stop_early` that failure raises BrokenPipeError, for commands that only print.
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
        """Write the buffered text."""
        if self.stream is not None and self.failure is None:
            try:
                self.stream.flush()
            except (OSError, ValueError) as error:
                self._fail(error)

    def isatty(self) -> bool:
        """Whether the stream goes to a terminal."""
        with suppress(OSError, ValueError):
            return self.stream is not None and self.failure is None and self.stream.isatty()
        return False

    def _fail(self, error: OSError | ValueError) -> None:
        """Give up the stream and redirect it to the null device, so that its buffer cannot fail again at the end."""
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
    """Replace sys.stdout and sys.stderr by Text streams in this block, and yield them. stop_early: see Text, for stdout."""
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
    """Open descriptors 0, 1 and 2 for reading only if they are closed, so that no other file gets one of these numbers.

    Writing to them fails, as it would if they were closed.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            with suppress(OSError):
                os.open(os.devnull, os.O_RDONLY)
