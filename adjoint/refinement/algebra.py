"""Linear algebra: of matrices that may be singular, and on one thread, for the same bits on any number of cores (R4)."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import threadpoolctl

NOTHING = 1e-200
"""Information less than that is none: its root and its inverse are still numbers."""

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


def eigen(information: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Eigenvalues, ascending, and vectors (columns) of J^T W J with 1 on its diagonal, and by what it was divided (n,).

    A number of which nothing is known has an eigenvalue of 0, and was divided by 1.
    """
    diagonal = np.diag(information)
    root = np.sqrt(np.where(diagonal >= NOTHING, diagonal, 1.0))
    within = np.outer(diagonal >= NOTHING, diagonal >= NOTHING)
    values, vectors = np.linalg.eigh(np.where(within, np.clip(information / root / root[:, None], -1.0, 1.0), 0.0))
    return values, vectors, root


def solved(information: np.ndarray, right: np.ndarray, least: float) -> np.ndarray:
    """The shortest x (n,) with information x = right, but for what is known less than `least` of what is known best."""
    values, vectors, root = eigen(information)
    known = values > max(least * values[-1], 0.0)
    return vectors[:, known] @ (vectors[:, known].T @ (right / root) / values[known]) / root


def _free() -> None:
    """No thread has the limits for itself, which from 3.8 on the one that has set them keeps until it dies."""
    clear = getattr(getattr(threadpoolctl, "OpenBLASController", None), "clear_controlling_thread", None)
    if clear is not None:
        clear()
