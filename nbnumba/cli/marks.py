"""The marks of a picture: the spot of the direct beam, and rings of equal resolution, on any rotated detector."""

import numpy as np

from nbnumba import resolved
from nbnumba.experiment import Experiment
from nbnumba.formats.png import Marks, Ring, edge
from nbnumba.setup.detector import Placement
from nbnumba.setup.sampling import Window
from nbnumba.setup.sheet import sheet_of

SHARES = (0.25, 0.5, 0.75, 0.95)
"""Rings are drawn near these shares of the finest resolution (1/A) in a picture."""

TOWARDS = (-1.0, 1.0)
"""The direction (slow, fast) from the beam to the label of a ring, if there is room: up and to the right."""

MARGIN = 0.05
"""The distance of labels from the edges of a picture, as a fraction of its size."""


def marks(experiment: Experiment, placement: Placement, window: Window) -> Marks:
    """The marks of a picture of the window, in pixels of the picture. That of several panels is a part of their sheet."""
    if experiment.detector.panels:
        return _marks_of_panels(experiment, window)
    top, left = window.rows[0], window.columns[0]
    slow, fast = np.mgrid[slice(*window.rows), slice(*window.columns)]
    resolution = resolved.resolutions(experiment, fast.ravel(), slow.ravel()).reshape(slow.shape)
    row, column = beam_pixel(placement)
    spot = row - top, column - left
    insides = {d: resolution > d for d in round_resolutions(resolution)}
    rings = [Ring(inside, f"{d:g} A", _label_position(edge(inside), spot)) for d, inside in insides.items()]
    inside = all(-0.5 <= x <= size - 0.5 for x, size in zip(spot, resolution.shape))
    return Marks(rings, spot if inside else None)


def _marks_of_panels(experiment: Experiment, window: Window) -> Marks:
    """The marks of a part of the sheet of a detector of panels: on each panel the parts of rings that cross it."""
    sheet = sheet_of(experiment.detector)
    top, left = window.rows[0], window.columns[0]
    resolution, is_pixel, spot = np.zeros(sheet.shape), np.zeros(sheet.shape, dtype=bool), None
    for number, (place, plane) in enumerate(zip(sheet.places(), resolved.planes_of(experiment))):
        slow, fast = np.indices(sheet.shapes[number])
        resolution[place] = resolved.resolutions(experiment, fast.ravel(), slow.ravel(), number).reshape(slow.shape)
        is_pixel[place] = True
        crossing = plane.crossing_pixels() if plane.beam_within((0, plane.pixels[1]), (0, plane.pixels[0])) else None
        if crossing is not None:
            spot = place[0].start + crossing[1] - 0.5 - top, crossing[0] - 0.5 - left
    region = slice(*window.rows), slice(*window.columns)
    resolution, is_pixel = resolution[region], is_pixel[region]
    places = tuple(part for place in sheet.places() if (part := _within(place, window)) is not None)
    middle = (resolution.shape[0] / 2, resolution.shape[1] / 2)
    rings = []
    for d in round_resolutions(resolution[is_pixel]):
        ring = Ring(resolution > d, f"{d:g} A", middle, places)
        line = ring.line()
        if line.any():
            rings.append(ring._replace(label_position=_label_position(line, spot or middle)))
    inside = spot is not None and all(-0.5 <= x <= size - 0.5 for x, size in zip(spot, resolution.shape))
    return Marks(rings, spot if inside else None)


def _within(place: tuple[slice, slice], window: Window) -> tuple[slice, slice] | None:
    """The part of a panel's place in the sheet that is in a window, in pixels of the window; None for none."""
    spans = zip(place, (window.rows, window.columns))
    rows, columns = (slice(max(part.start, low) - low, min(part.stop, high) - low) for part, (low, high) in spans)
    return (rows, columns) if rows.start < rows.stop and columns.start < columns.stop else None


def beam_pixel(placement: Placement) -> tuple[float, float]:
    """The pixel (slow, fast) at which the line of the beam crosses the plane of the detector after all rotations.

    It is very far away if beam and plane are parallel. 0 is the centre of the first pixel.
    """
    _, (fast, slow) = placement.line_crossing()
    return slow / placement.pixel - 0.5, fast / placement.pixel - 0.5


def round_resolutions(resolution: np.ndarray) -> list[float]:
    """Resolutions, rounded to two digits, of rings that cross a picture, the coarsest first."""
    finest, coarsest = float(resolution.min()), float(resolution.max())
    rounded = [float(f"{finest / share:.2g}") for share in SHARES]
    return [d for d in dict.fromkeys(rounded) if finest < d < coarsest]


def _label_position(line: np.ndarray, spot: tuple[float, float]) -> tuple[float, float]:
    """The pixel of a ring for its label, as nearly as possible in the direction TOWARDS from the beam, and off the edges.

    line: the pixels of the ring (bool, slow x fast).
    """
    pixels = np.argwhere(line)
    away = pixels - np.array(spot)
    length = np.hypot(*away.T)
    direction = away @ np.array(TOWARDS) / np.where(length > 0.0, length, 1.0)
    room = np.min([np.minimum(pixels[:, i], size - 1 - pixels[:, i]) / size for i, size in enumerate(line.shape)], axis=0)
    row, column = pixels[int(np.argmax(direction - 10.0 * (room < MARGIN)))]
    return float(row), float(column)
