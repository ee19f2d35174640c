"""Handling of Ctrl-C in the program nbnumba: it prints one sentence and exits with status 130, from the first import on.

During imports an exception may be swallowed or turned into another one. Nothing can be lost then, so Ctrl-C ends the process
at once. Afterwards Ctrl-C raises KeyboardInterrupt; if that happens where nobody can catch it (in a callback of a C library),
it is raised again a moment later. A process that only imports nbnumba keeps its own handler.
"""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

STATUS = 130
SENTENCE = "nbnumba: interrupted; nothing written"
AGAIN = 0.02
"""The delay in seconds after which a lost interruption is raised again."""


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
    """From now on, end the process at an interruption, if it is the program and has no other handler."""
    if _is_the_program() and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end)


def running() -> None:
    """From now on, raise KeyboardInterrupt at an interruption of the program."""
    if signal.getsignal(signal.SIGINT) is _end:
        signal.signal(signal.SIGINT, _raise)


def ending(status: int) -> None:
    """From now on, end the program with this status at an interruption, because its work is done."""
    if _is_ours():
        signal.signal(signal.SIGINT, _end_quietly(status))


@contextmanager
def not_lost() -> Iterator[None]:
    """In this block, raise an interruption again if it was raised where nobody could catch it."""
    import threading

    before = sys.unraisablehook
    timers: list[threading.Timer] = []

    def hook(lost) -> None:
        if not issubclass(lost.exc_type, KeyboardInterrupt):
            before(lost)
            return
        timer = threading.Timer(AGAIN, os.kill, (os.getpid(), signal.SIGINT))
        timer.daemon = True
        timers.append(timer)
        timer.start()

    sys.unraisablehook = hook
    try:
        yield
    finally:
        sys.unraisablehook = before
        for timer in timers:
            timer.cancel()


def end_with(alive) -> None:
    """From now on, end this process when the end of a pipe `alive` closes elsewhere, or when its parent process ends.

    It is for a worker process, in which nothing is lost that a file does not have.
    """
    import multiprocessing
    import threading
    from multiprocessing import connection

    parent = multiprocessing.parent_process()
    sentinels = [alive, *([] if parent is None else [parent.sentinel])]

    def wait() -> None:
        connection.wait(sentinels)
        os._exit(STATUS)

    threading.Thread(target=wait, daemon=True).start()
