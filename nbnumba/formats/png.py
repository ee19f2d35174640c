"""PNG previews: spots dark on white, with the square root as contrast so that weak ones show."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from nbnumba.errors import InputError
from nbnumba.formats import files

_BLACK_PERCENTILE = 99.9


def levels(image: ArrayLike) -> np.ndarray:
    """Return 255 * (1 - sqrt(f / top)), cut to 0..255 and rounded, uint8: 255 (white) where `image` is 0 or less.

    `top` is the 99.9th percentile, or the maximum where that is 0. NaN counts as 0, infinity as black.
    """
    values = np.nan_to_num(np.asarray(image, dtype=np.float64), nan=0.0, posinf=np.inf, neginf=0.0).clip(min=0.0)
    finite = values[np.isfinite(values)]
    top = np.percentile(finite, _BLACK_PERCENTILE) if finite.size else 0.0
    top = top or finite.max(initial=0.0) or 1.0
    return np.rint(255.0 * (1.0 - np.sqrt((values / top).clip(max=1.0)))).astype(np.uint8)


def shrunk(image: ArrayLike, longest: int) -> np.ndarray:
    """Return `image` with its longer side at most `longest` pixels, each the maximum of a square block.

    The maximum keeps a spot of one pixel visible. NaN counts as 0, and so do negative values. InputError for a
    `longest` below 1.
    """
    if longest < 1:
        raise InputError(f"the longer side of a preview must be at least 1 pixel, not {longest}")
    values = np.nan_to_num(np.asarray(image), nan=0.0, posinf=np.inf, neginf=0.0).clip(min=0)
    step = -(-max(values.shape) // longest)
    rows, columns = (-(-size // step) for size in values.shape)
    padding = [(0, rows * step - values.shape[0]), (0, columns * step - values.shape[1])]
    return np.pad(values, padding).reshape(rows, step, columns, step).max(axis=(1, 3))


def write(path: files.PathName, image: ArrayLike, longest: int | None = None, what: str = "preview file") -> None:
    """Write the levels() of `image` (slow, fast), first shrunk() to `longest` pixels if that is given."""
    from PIL import Image

    values = np.asarray(image)
    if values.ndim != 2 or not values.size:
        raise ValueError(f"a preview must be (slow, fast) with at least one pixel, not {values.shape}")
    picture = Image.fromarray(levels(values if longest is None else shrunk(values, longest)))
    with files.replacing(path, what) as stream:
        picture.save(stream, format="PNG")
