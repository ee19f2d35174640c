"""The marks of a picture: where the beam falls, and rings of the true resolution of pixels, on a turned detector too."""

import numpy as np

from nbnumba import resolved
from nbnumba.experiment import Experiment
from nbnumba.formats.png import Marks, Ring, edge
from nbnumba.setup.detector import Placement
from nbnumba.setup.sampling import Window

SHARES = (0.25, 0.5, 0.75, 0.95)
"""Rings are drawn near these shares of the finest resolution (1/A) in a picture."""

TOWARDS = (-1.0, 1.0)
"""The name of a ring stands up and to the right of the beam, if there is room: slow, fast."""

MARGIN = 0.05
"""The names keep this part of a picture's size from its edges."""


def marks(experiment: Experiment, placement: Placement, wanted: Window) -> Marks:
    """The marks of a picture of the window, in pixels of the picture."""
    top, left = wanted.rows[0], wanted.columns[0]
    slow, fast = np.mgrid[slice(*wanted.rows), slice(*wanted.columns)]
    found = resolved.resolutions(experiment, fast.ravel(), slow.ravel()).reshape(slow.shape)
    row, column = beam_pixel(placement)
    spot = row - top, column - left
    rings = [Ring(found > d, f"{d:g} A", _place(found > d, spot)) for d in round_resolutions(found)]
    inside = all(-0.5 <= x <= size - 0.5 for x, size in zip(spot, found.shape))
    return Marks(rings, spot if inside else None)


def beam_pixel(placement: Placement) -> tuple[float, float]:
    """The pixel, slow and fast, where the line of the beam meets the plane of the detector, as it stands after all turns.

    Far off where they are parallel. 0 is the centre of the first pixel.
    """
    towards = float(placement.beam @ placement.normal)
    spot = placement.origin @ placement.normal / (towards or 1e-9) * placement.beam - placement.origin
    return float(spot @ placement.slow) / placement.pixel - 0.5, float(spot @ placement.fast) / placement.pixel - 0.5


def round_resolutions(resolution: np.ndarray) -> list[float]:
    """Resolutions of two digits for rings that cross a picture, the coarsest first."""
    finest, coarsest = float(resolution.min()), float(resolution.max())
    rounded = [float(f"{finest / share:.2g}") for share in SHARES]
    return [d for d in dict.fromkeys(rounded) if finest < d < coarsest]


def _place(inside: np.ndarray, spot: tuple[float, float]) -> tuple[float, float]:
    """Where the name of a ring stands: on it, as nearly as possible TOWARDS from the beam, and off the edges of the picture."""
    place = np.argwhere(edge(inside))
    away = place - np.array(spot)
    length = np.hypot(*away.T)
    direction = away @ np.array(TOWARDS) / np.where(length > 0.0, length, 1.0)
    room = np.min([np.minimum(place[:, i], size - 1 - place[:, i]) / size for i, size in enumerate(inside.shape)], axis=0)
    row, column = place[int(np.argmax(direction - 10.0 * (room < MARGIN)))]
    return float(row), float(column)
