"""What the mean beam and a point of the detector are to each other (F13): panels, and the mean direction and wavelength."""

from typing import NamedTuple

import numpy as np

from nbnumba.errors import InputError
from nbnumba.setup.detector import polarization_axis, sensor
from nbnumba.setup.panels import planes
from nbnumba.setup.scene import panel_record
from nbnumba.setup.sources import beam_sources
from nbnumba.stages import records
from nbnumba.stages.detector import curved_position, flat_position, sample_offset
from nbnumba.statements import Statements

WHOLE_PIXEL = records.Sampling(1, 1, False, False, False, False, False)
"""The sampling of a pixel by its middle alone."""

ONE_WAY = 1e-6
"""The length below which a mean of unit vectors has no direction."""


class View(NamedTuple):
    """The panels of an experiment and its mean beam (F13).

    panels: the Panel record of each. shapes: their numbers of pixels, (slow, fast). layers: of the sensor of each. sources: all
    sources of the beam. direction: unit vector along the mean beam. wavelength: the mean one, in A.
    """

    panels: tuple[records.Panel, ...]
    shapes: tuple[tuple[int, int], ...]
    layers: tuple[int, ...]
    sources: records.Sources
    direction: np.ndarray
    wavelength: float


def view_of(experiment: Statements) -> View:
    """Return the view of an experiment (F13). Raises InputError for a detector that is impossible, and as mean_beam does."""
    defects = experiment.sampling.defects
    every_plane = planes(experiment.detector, experiment.beam, defects)
    electric = polarization_axis(experiment.detector, experiment.beam)
    sources = beam_sources(experiment.beam, every_plane[0].beam, electric, defects)
    sensors = [sensor(experiment.detector, defects, plane.panel) for plane in every_plane]
    panels = tuple(panel_record(experiment, plane, *depths[1:], WHOLE_PIXEL) for plane, depths in zip(every_plane, sensors))
    shapes = tuple((plane.pixels[1], plane.pixels[0]) for plane in every_plane)
    return View(panels, shapes, tuple(layers for layers, _, _ in sensors), sources, *mean_beam(sources))


def mean_beam(sources: records.Sources) -> tuple[np.ndarray, float]:
    """Return the mean direction, of unit length, and the mean wavelength, in A, of sources by their weights (F13).

    Raises InputError for sources whose directions cancel each other.
    """
    direction = np.average(sources.direction, axis=0, weights=_weights(sources))
    length = float(np.linalg.norm(direction))
    if length < ONE_WAY:
        raise InputError("beam.sources: their directions cancel each other; allowed: sources that have a mean direction")
    return direction / length, mean_wavelength(sources)


def mean_wavelength(sources: records.Sources) -> float:
    """Return the mean wavelength of sources by their weights, in A (F13)."""
    return float(np.average(sources.wavelength, weights=_weights(sources)))


def _weights(sources: records.Sources) -> np.ndarray | None:
    """Return the weights of a mean over sources; None where all are 0, so that all count alike."""
    return sources.weight if np.any(sources.weight) else None


def pixel_numbers(shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Return the numbers along fast (fast,) and along slow (slow, 1), in pixels, of the centres of all pixels (F13).

    0 is the outer edge of the first pixel.
    """
    slow, fast = shape
    return np.arange(fast) + 0.5, np.arange(slow)[:, np.newaxis] + 0.5


def positions(panel: records.Panel, fast: np.ndarray, slow: np.ndarray, depth: np.ndarray | float = 0.0) -> np.ndarray:
    """Return the laboratory positions (..., 3), in m, of points of a panel (F1, F1c).

    fast, slow: numbers of pixels from the outer edges of the first ones; their shapes are those of one array. depth: in the
    sensor, in m.
    """
    along = (sample_offset(edge, 1, pixel - 0.5, 0) for edge, pixel in ((panel.pixel_fast, fast), (panel.pixel_slow, slow)))
    flat = flat_position(panel, *along, depth)
    return np.stack(np.broadcast_arrays(*(curved_position(panel, flat) if panel.curved else flat)), axis=-1)
