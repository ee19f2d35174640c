"""Linear algebra of matrices that may be singular, on one thread, so that any number of cores gives the same bits (R4)."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import threadpoolctl

NOTHING = 1e-200
"""Information below this counts as none: the square root and the inverse of a larger one are finite."""

_LOCK, _HELD = threading.Lock(), []
"""A lock, and the limits of all refinements that are under way; the first of these knows the number of threads before."""


@contextmanager
def one_thread() -> Iterator[None]:
    """In this context the algebra of NumPy and SciPy runs on one thread: how threads share a sum changes its last digits.

    If several refinements run at once, in threads of their own, the limit holds until the last of them ends.
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
    """Eigenvalues (n,), ascending, and eigenvectors (n, n; columns) of the scaled information, and the scales (n,) (R4, R5).

    The information J^T W J (n, n) is divided by the scales of row and column, the roots of its diagonal, so that its diagonal
    is 1. A number of which nothing is known has the scale 1 and an eigenvalue of 0.
    """
    diagonal = np.diag(information)
    scales = np.sqrt(np.where(diagonal >= NOTHING, diagonal, 1.0))
    is_determined = np.outer(diagonal >= NOTHING, diagonal >= NOTHING)
    values, vectors = np.linalg.eigh(np.where(is_determined, np.clip(information / scales / scales[:, None], -1.0, 1.0), 0.0))
    return values, vectors, scales


def solved(information: np.ndarray, right: np.ndarray, least: float) -> np.ndarray:
    """The shortest x (n,), in scaled numbers, with information x = right, without eigenvalues below `least` of the largest."""
    values, vectors, scales = eigen(information)
    determined = values > max(least * values[-1], 0.0)
    return vectors[:, determined] @ (vectors[:, determined].T @ (right / scales) / values[determined]) / scales


def _free() -> None:
    """Let any thread set the limits: from threadpoolctl 3.8 on, the thread that has set them keeps them until it ends."""
    clear = getattr(getattr(threadpoolctl, "OpenBLASController", None), "clear_controlling_thread", None)
    if clear is not None:
        clear()
