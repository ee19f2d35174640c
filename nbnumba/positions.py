"""Where the pixels of an experiment are, and what scatters there: positions, scattering vectors, resolution, angles (F13)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from nbnumba.cost import check_memory
from nbnumba.errors import InputError, real, shown
from nbnumba.experiment import Experiment
from nbnumba.formats.geometry import imgcif
from nbnumba.resolved import ROUNDING
from nbnumba.setup.view import View, pixel_numbers, positions, view_of
from nbnumba.simulate import with_options
from nbnumba.stages.beam import scattering_vector
from nbnumba.stages.records import Panel
from nbnumba.statements import LARGEST

FRAMES = ("lab", "dxtbx")
"""The frames of positions: that of the experiment, and imgCIF's, which dxtbx has."""

POINT_BYTES = 200
"""The largest memory in use at once for each point, in bytes."""

Arrays = np.ndarray | list[np.ndarray]
"""An array like the image: for panels of different shapes a list of arrays."""


def pixel_positions(experiment: Experiment, points: ArrayLike | None = None, frame: str = "lab") -> Arrays:
    """The positions (..., 3), in mm from the sample, of the centres of all pixels, or of points of the detector (F13).

    points: (..., 3), each the number of a panel from 0, and a place along fast and along slow in pixels, 0 at the outer edge of
    the first; it may lie between pixels or outside. The result has the shape of the points, or that of the image with 3 numbers
    for each pixel. A point is at the front of the sensor. frame: "lab", in which the axes of the experiment are (F1a), or
    "dxtbx", imgCIF's, whose x, y and z are z, y and -x of the other. Raises InputError for an impossible detector, or points
    that are none.
    """
    _check_frame(frame)
    return _on_panels(experiment, points, lambda position, _: in_frame(1000.0 * position, frame))


def scattering_vectors(experiment: Experiment, points: ArrayLike | None = None, frame: str = "lab") -> Arrays:
    """The scattering vectors (..., 3), in 1/A, q = (d - i) / lambda of F5, at the centres of pixels or at points (F13).

    Direction and wavelength of the beam are the means over the sources by their weights. The other arguments, the shape and the
    errors are those of pixel_positions.
    """
    _check_frame(frame)
    return _on_panels(experiment, points, lambda position, view: in_frame(_vectors(position, view), frame))


def resolution(experiment: Experiment, points: ArrayLike | None = None) -> Arrays:
    """The resolution d = 1 / |q|, in A, at the centres of pixels or at points; infinite in the direct beam (F13).

    The result has the shape of the image or of the points. Beam and points are those of scattering_vectors.
    """

    def of_positions(position: np.ndarray, view: View) -> np.ndarray:
        length = np.linalg.norm(_vectors(position, view), axis=-1)
        return np.divide(1.0, length, out=np.full(length.shape, np.inf), where=length * view.wavelength > ROUNDING)

    return _on_panels(experiment, points, of_positions)


def two_theta(experiment: Experiment, points: ArrayLike | None = None) -> Arrays:
    """The scattering angle, in degrees, from 0 to 180, at the centres of pixels or at points (F13).

    The result has the shape of the image or of the points. Beam and points are those of scattering_vectors.
    """

    def of_positions(position: np.ndarray, view: View) -> np.ndarray:
        across = np.linalg.norm(np.cross(view.direction, position), axis=-1)
        return np.degrees(np.arctan2(across, position @ view.direction))

    return _on_panels(experiment, points, of_positions)


def in_frame(vectors: np.ndarray, frame: str) -> np.ndarray:
    """Vectors (..., 3) of the laboratory in a frame of FRAMES (F13)."""
    return vectors if frame == "lab" else imgcif(vectors)


def _check_frame(frame: str) -> None:
    if not isinstance(frame, str) or frame not in FRAMES:
        raise InputError(f"frame: {shown(frame)} is not allowed; allowed: {', '.join(FRAMES)}")


def _vectors(position: np.ndarray, view: View) -> np.ndarray:
    """The scattering vectors (..., 3), in 1/A, of positions (..., 3)."""
    directions = position / np.linalg.norm(position, axis=-1, keepdims=True)
    return np.stack(scattering_vector(np.moveaxis(directions, -1, 0), view.direction, view.wavelength), axis=-1)


def _on_panels(experiment: Experiment, points: ArrayLike | None, function: Callable[[np.ndarray, View], np.ndarray]) -> Arrays:
    """The values of a function of positions (..., 3), in m, and the view, at the centres of pixels or at points."""
    view = view_of(with_options(experiment))
    if points is not None:
        return _at_points(view, _points(points, len(view.panels)), function)
    check_memory("the positions of all pixels", POINT_BYTES * sum(slow * fast for slow, fast in view.shapes))
    arrays = [function(positions(panel, *pixel_numbers(shape)), view) for panel, shape in zip(view.panels, view.shapes)]
    if len(arrays) == 1:
        return arrays[0]
    return np.stack(arrays) if len(set(view.shapes)) == 1 else arrays


def _at_points(view: View, points: np.ndarray, function: Callable[[np.ndarray, View], np.ndarray]) -> np.ndarray:
    """The values of a function of positions and the view at points (..., 3)."""
    check_memory("points", POINT_BYTES * points.size // 3)
    position = np.empty(points.shape)
    for number, panel in enumerate(view.panels):
        chosen = points[..., 0] == number
        position[chosen] = _at(panel, points[chosen])
    return function(position, view)


def _at(panel: Panel, points: np.ndarray) -> np.ndarray:
    """The positions (n, 3), in m, of points (n, 3) of one panel."""
    return positions(panel, points[:, 1], points[:, 2])


def _points(points: ArrayLike, panels: int) -> np.ndarray:
    """Points as an array (..., 3). Raises InputError unless each is a panel's number and two numbers up to 1e12."""
    allowed = f"(..., 3): the number of a panel, 0 to {panels - 1}, and two numbers of pixels, fast and slow"
    try:
        array = np.array(real(points), dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        raise InputError(f"points: {shown(points)} is not allowed; allowed: {allowed}") from None
    if array.ndim == 0 or array.shape[-1] != 3:
        raise InputError(f"points of shape {array.shape} are not allowed; allowed: {allowed}")
    right = (np.abs(array) <= LARGEST).all(axis=-1) & np.isin(array[..., 0], np.arange(panels))
    if not right.all():
        wrong = " ".join(f"{x:g}" for x in array[~right][0])
        raise InputError(f"points: {wrong} is not allowed; allowed: {allowed}")
    return array
