"""Linear algebra on one thread, so that the same input gives the same bits on any number of cores (R4)."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import threadpoolctl

_LOCK, _HELD = threading.Lock(), []
"""What is held: limits for every refinement that is under way, of which the first knows what there was before."""


@contextmanager
def one_thread() -> Iterator[None]:
    """The algebra of NumPy and SciPy runs on one thread meanwhile: how threads share a sum decides about its last digits.

    Until the last of several refinements ends that run at once, in threads of their own.
    """
    with _LOCK:
        _free()
        _HELD.append(threadpoolctl.threadpool_limits(limits=1, user_api="blas"))
        _free()
    try:
        yield
    finally:
        with _LOCK:
            limits = _HELD.pop()
            if not _HELD:
                limits.restore_original_limits()
                _free()


def _free() -> None:
    """No thread has the limits for itself, which from 3.8 on the one that has set them keeps until it dies."""
    clear = getattr(getattr(threadpoolctl, "OpenBLASController", None), "clear_controlling_thread", None)
    if clear is not None:
        clear()
