"""The six numbers of an image beside those of its experiment: scale, terms of the background, gain (R1)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from adjoint.losses import number_of
from adjoint.parameters import IMAGE
from nbnumba.errors import InputError

LARGEST = 1e100
"""The largest size of data, photons and deviations: the squares of larger ones would not be finite."""


class Numbers(NamedTuple):
    """The six numbers of an image (R1)."""

    scale: float = 1.0
    background: float = 0.0
    background_x: float = 0.0
    background_y: float = 0.0
    background_radial: float = 0.0
    gain: float = 1.0


def numbers_of(image) -> Numbers:
    """The numbers of an image from a dict by name, with or without "image." (R1). Raises InputError for impossible ones."""
    by_field: dict[str, float] = {}
    if image is not None and not isinstance(image, Mapping):
        raise InputError(f"image: {type(image).__name__} is not allowed; allowed: a dict, for all images")
    for name, value in (image or {}).items():
        key = str(name).removeprefix("image.")
        if key not in Numbers._fields:
            raise InputError(f"image: 'image.{key}' is no number of an image; allowed: {', '.join(IMAGE)}")
        by_field[key] = number_of(f"image: image.{key}", value)
        low, high = IMAGE[f"image.{key}"].bounds
        if not max(low, -LARGEST) <= by_field[key] <= min(high, LARGEST):
            kind = "a finite number" if low < 0.0 else "a number above 0" if low > 0.0 else "a number not below 0"
            allowed = f"{kind}, from {max(low, -LARGEST):g} to {LARGEST:g}"
            raise InputError(f"image: image.{key} {by_field[key]:g} is not allowed; allowed: {allowed}")
    return Numbers(**by_field)
