"""PGM previews, nanoBragg's -pgmfile: one byte per pixel, black for 0 photons, with the scale in a comment."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from nbnumba.formats import files


def levels(image: ArrayLike, scale: float) -> np.ndarray:
    """Return image * scale, clipped to 0..255 and rounded down, uint8, as nanoBragg does; NaN becomes 0."""
    scaled = np.asarray(image) * np.float64(scale)
    return np.clip(np.nan_to_num(scaled, nan=0.0, posinf=255.0, neginf=0.0), 0.0, 255.0).astype(np.uint8)


def write(path: files.PathName, image: ArrayLike, scale: float, what: str = "-pgmfile") -> None:
    """Write the levels() of `image` (slow, fast), photons per pixel, as binary PGM. `scale` is levels per photon."""
    pixels = levels(image, scale)
    if pixels.ndim != 2:
        raise ValueError(f"a PGM image must be (slow, fast), not {pixels.shape}")
    slow, fast = pixels.shape
    with files.replacing(path, what) as stream:
        stream.write(f"P5\n{fast} {slow}\n# pixels scaled by {scale:g}\n255\n".encode("ascii"))
        stream.write(pixels.tobytes())
