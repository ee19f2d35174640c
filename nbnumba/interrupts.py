"""What Ctrl-C does to the program nbnumba: one sentence and status 130, from its first import to its last line.

While modules are imported an exception may be swallowed, or come out as another one; nothing is at stake then, and the process
ends at once. Afterwards Ctrl-C is a KeyboardInterrupt, and one that was raised where nobody can catch it (in a callback of a C
library) is raised again a moment later. A process that only imports nbnumba keeps its own handler.
"""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

STATUS = 130
SENTENCE = "nbnumba: interrupted; nothing written"
AGAIN = 0.02
"""Seconds after which an interruption that was lost is raised again."""


def _is_the_program() -> bool:
    """Whether this process is `python -m nbnumba`, or the script of that name."""
    words = sys.orig_argv
    as_module = ("-m", "nbnumba") in zip(words, words[1:]) or "-mnbnumba" in words
    return (sys.argv[:1] == ["-m"] and as_module) or os.path.basename((sys.argv or [""])[0]) == "nbnumba"


def _end(*_) -> None:
    try:
        os.write(2, f"{SENTENCE}\n".encode())
    finally:
        os._exit(STATUS)


def _end_quietly(status: int):
    return lambda *_: os._exit(status)


def _raise(*_) -> None:
    raise KeyboardInterrupt


def _is_ours() -> bool:
    return signal.getsignal(signal.SIGINT) in (_end, _raise)


def starting() -> None:
    """End the process at an interruption, if it is the program and nobody else handles interruptions."""
    if _is_the_program() and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end)


def running() -> None:
    """Raise KeyboardInterrupt at an interruption from now on, in the program."""
    if signal.getsignal(signal.SIGINT) is _end:
        signal.signal(signal.SIGINT, _raise)


def ending(status: int) -> None:
    """End the process with its status at an interruption, in the program: all that it does has been done."""
    if _is_ours():
        signal.signal(signal.SIGINT, _end_quietly(status))


@contextmanager
def not_lost() -> Iterator[None]:
    """Raise an interruption again that was raised where nobody can catch it."""
    import threading

    before = sys.unraisablehook
    waiting: list[threading.Timer] = []

    def hook(lost) -> None:
        if not issubclass(lost.exc_type, KeyboardInterrupt):
            before(lost)
            return
        again = threading.Timer(AGAIN, os.kill, (os.getpid(), signal.SIGINT))
        again.daemon = True
        waiting.append(again)
        again.start()

    sys.unraisablehook = hook
    try:
        yield
    finally:
        sys.unraisablehook = before
        for again in waiting:
            again.cancel()
