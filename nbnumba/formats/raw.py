"""Bare float images, nanoBragg's -floatfile: little-endian float32 in row order, no header."""

from __future__ import annotations

import os

import numpy as np
from numpy.typing import ArrayLike

from nbnumba.errors import InputError
from nbnumba.formats import files


def write(path: files.PathName, image: ArrayLike, what: str = "-floatfile") -> None:
    """Write `image` (slow, fast), photons per pixel, rounded to float32."""
    values = np.asarray(image)
    if values.ndim != 2 or values.dtype.kind not in "iuf":
        raise ValueError(f"a float image must be real numbers (slow, fast), not {values.dtype} {values.shape}")
    with files.replacing(path, what) as stream:
        stream.write(values.astype("<f4", copy=False).tobytes())


def read(path: files.PathName, shape: tuple[int, int], what: str = "-floatfile") -> np.ndarray:
    """Return a float32 image of `shape` (slow, fast). Raises InputError unless the file has exactly that size."""
    content = files.read_bytes(path, what)
    slow, fast = shape
    if len(content) != 4 * slow * fast:
        needed = f"{fast} x {slow} float32 pixels take {4 * slow * fast}"
        raise InputError(f"{what}: {os.fspath(path)!r} has {len(content)} bytes; {needed}")
    return np.frombuffer(content, "<f4").reshape(slow, fast).astype(np.float32)
