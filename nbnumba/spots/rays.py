"""Where rays from the crystal meet a panel, and how places on the panel change with the direction of a ray (F14a)."""

from typing import NamedTuple

import numpy as np

from nbnumba.setup.view import positions
from nbnumba.stages.detector import solid_angle
from nbnumba.stages.records import Panel

STEPS = 12
"""Steps of Newton's method, which doubles the number of right digits in each, on a curved panel."""

ROOM = 0.01
"""How near to the edge of the panel, in panels, a place is found on a curved one, whose arcs may go round it."""

STEP = 0.25
"""The step, in pixels, of differences on a curved panel, whose error is the cube of a pixel over the distance."""


MET = 1e-9
"""The largest difference of two unit vectors that counts as none."""

FLATTEST = 1e-6
"""The least part of its usual solid angle at which a pixel of a curved panel is not degenerate."""


class Footprint(NamedTuple):
    """How a panel lies across some rays (F14a).

    pixels_per_radian (n, 2, 3): by how many pixels along fast and slow the place moves, for each component of the change of a
    unit vector along the ray. solid_angle (n,): that of a pixel, in sr. counted (n,): the solid angle of F3 over it. airpath
    (n,): the length of the ray, in m.
    """

    pixels_per_radian: np.ndarray
    solid_angle: np.ndarray
    counted: np.ndarray
    airpath: np.ndarray


ORIGIN = np.zeros(3)
"""Where rays begin: the crystal, unless it is displaced (F7e)."""


def places(
    panel: Panel,
    directions: np.ndarray,
    shape: tuple[int, int],
    depth: np.ndarray | float = 0.0,
    start: np.ndarray = ORIGIN,
) -> np.ndarray:
    """Return the places (n, 2) along fast and slow, in pixels, where rays meet a panel; NaN where they do not (F14a).

    directions (n, 3): unit vectors. shape: numbers of pixels of the panel, (slow, fast), beyond which a place on a curved panel
    is not sought. depth: how deep in the sensor, in m. start (3,) or (n, 3): where rays begin, in m, at a flat panel.
    """
    if panel.curved:
        return _curved_places(panel, directions, shape, depth)
    origin, fast, slow, normal = _axes(panel)
    corner = origin - start + np.asarray(depth)[..., np.newaxis] * normal
    across = np.cross(fast, slow)
    along = directions @ across
    with np.errstate(divide="ignore", invalid="ignore"):
        length = (corner @ across) / along
        on_panel = np.where(length > 0.0, length, np.nan)[:, np.newaxis] * directions - corner
    square = across @ across
    metres = np.stack([np.cross(on_panel, slow) @ across, np.cross(fast, on_panel) @ across], axis=-1) / square
    return metres / pixel_edges(panel)


def pixel_edges(panel: Panel) -> np.ndarray:
    """Return the edges of a pixel along fast and slow, in m (F1)."""
    return np.array([panel.pixel_fast, panel.pixel_slow])


def footprint(panel: Panel, found: np.ndarray, start: np.ndarray = ORIGIN) -> Footprint:
    """Return how a panel lies across the rays to places (n, 2) in pixels on it (F14a).

    start (3,) or (n, 3): where rays begin, in m, at a flat panel.
    """
    position, (per_fast, per_slow) = positions(panel, *found.T) - start, _derivatives(panel, found)
    airpath = np.linalg.norm(position, axis=-1)
    panel = panel._replace(close_distance=panel.close_distance - start @ _axes(panel)[3])
    direction = position / airpath[:, np.newaxis]
    changes = [(d - (d * direction).sum(-1, keepdims=True) * direction) / airpath[:, np.newaxis] for d in (per_fast, per_slow)]
    omega = np.abs((direction * np.cross(*changes)).sum(axis=-1))
    stated = np.asarray(solid_angle(panel, airpath))
    counted = np.divide(stated, omega, out=np.zeros_like(omega), where=omega > 0.0)
    return Footprint(_inverse(np.stack(changes, axis=1)), omega, counted, airpath)


def _inverse(changes: np.ndarray) -> np.ndarray:
    """Return the inverse (n, 2, 3) of two vectors each (n, 2, 3): their reciprocal vectors in the plane that they span."""
    products = changes @ np.swapaxes(changes, 1, 2)
    determinant = products[:, 0, 0] * products[:, 1, 1] - products[:, 0, 1] ** 2
    adjugate = np.stack([products[:, 1, 1], -products[:, 0, 1], -products[:, 1, 0], products[:, 0, 0]], axis=1)
    scale = np.divide(1.0, determinant, out=np.zeros_like(determinant), where=determinant > 0.0)
    return scale[:, np.newaxis, np.newaxis] * adjugate.reshape(-1, 2, 2) @ changes


def _axes(panel: Panel) -> tuple[np.ndarray, ...]:
    """Return origin, in m, and fast, slow and normal axis of a panel."""
    return tuple(np.array(panel[first : first + 3]) for first in (0, 3, 6, 9))


def _derivatives(panel: Panel, found: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return by how much a position changes per pixel along fast and along slow (n, 3), in m, at places (n, 2) in pixels."""
    if not panel.curved:
        _, *axes, _ = _axes(panel)
        fast, slow = (np.broadcast_to(axis * edge, (len(found), 3)) for axis, edge in zip(axes, pixel_edges(panel)))
        return fast, slow
    fast, slow = found.T
    of_fast = positions(panel, fast + STEP, slow) - positions(panel, fast - STEP, slow)
    of_slow = positions(panel, fast, slow + STEP) - positions(panel, fast, slow - STEP)
    return of_fast / (2.0 * STEP), of_slow / (2.0 * STEP)


def _curved_places(panel: Panel, directions: np.ndarray, shape: tuple[int, int], depth: np.ndarray | float) -> np.ndarray:
    """Return the places where rays meet a curved panel, in pixels; NaN where that is outside (F1c).

    Newton's method begins at the middle of the panel. Its steps are those that turn the ray to the place into the direction.
    In some conventions all pixels of a row lie at one point, and no ray has a place.
    """
    size = np.array([shape[1], shape[0]], dtype=np.float64)
    found = np.tile(size / 2.0, (len(directions), 1))
    for _ in range(STEPS):
        seen = footprint(panel, found)
        step = (seen.pixels_per_radian @ _missing(panel, directions, found, depth)[..., np.newaxis])[..., 0]
        found = np.clip(found + step, -ROOM * size, (1.0 + ROOM) * size)
    met = np.linalg.norm(_missing(panel, directions, found, depth), axis=-1) < MET
    met &= footprint(panel, found).solid_angle > FLATTEST * np.prod(pixel_edges(panel)) / panel.distance**2
    return np.where(met[:, np.newaxis], found, np.nan)


def _missing(panel: Panel, directions: np.ndarray, found: np.ndarray, depth: np.ndarray | float) -> np.ndarray:
    """Return by how much directions (n, 3) differ from those of places (n, 2) in pixels, without a unit."""
    position = positions(panel, *found.T, depth)
    return directions - position / np.linalg.norm(position, axis=-1, keepdims=True)
