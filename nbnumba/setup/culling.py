"""How remote from a reflection a term may be and still count (F10a), from the photons that a pixel may lack."""

import math

import numpy as np

from nbnumba.loops.patches import GROUP
from nbnumba.stages.lattice import GAUSS_WIDTH_SQUARED, PI_SQUARED, SPHERE, TOPHAT_RADIUS_SQUARED
from nbnumba.stages.records import Crystal, Panel, Scene
from nbnumba.stages.shapes import GAUSS, ROUND, SQUARE, TOPHAT

UNSEEN, UNSEEN_PART = 1e-12, 1e-16
"""Photons that no test can tell, and the same as a part of the brightest pixel possible. Shapes but SQUARE may lack them."""

OVERSHOOT = 1.25**3
"""The largest sum of the magnitudes of the weights of tricubic interpolation (F9b): half way along each axis."""

LEAST = 1e-30
"""The least limit, which float32 holds, too: no point is nearer to a reflection but by chance, so that no term counts."""

ENLARGED = 1.0 + 1e-6
"""By how much the reach of a group is enlarged, for its rounding in float32."""

SQUARE_ROOM = (math.pi / 2 * (1 - math.pi**2 / 24)) ** 6
"""The largest remoteness of a point for SQUARE: half way between reflections along each axis."""


def most_remote(crystal: Crystal, brightest: float, tolerance: float) -> float:
    """Return the largest remoteness at which a term counts, or 0 where every term counts (F10a).

    crystal: the Crystal record. brightest: an upper bound of the photons of a pixel. tolerance: the most photons that a pixel
    may lack.
    """
    unseen = 0.0 if crystal.shape == SQUARE else min(UNSEEN, UNSEEN_PART * brightest)
    allowed, cells = max(tolerance, unseen), crystal.n_a * crystal.n_b * crystal.n_c
    if not (0.0 < allowed < math.inf and 0.0 < brightest < math.inf and crystal.fudge > 0.0):
        return 0.0
    parts = brightest / allowed
    sides = crystal.metric_hh + crystal.metric_kk + crystal.metric_ll
    room = crystal.fudge * (sides + 2.0 * (abs(crystal.metric_hk) + abs(crystal.metric_hl) + abs(crystal.metric_kl))) / 4.0
    if crystal.shape == SQUARE:
        limit, room = parts / (cells * cells), SQUARE_ROOM
    elif crystal.shape == GAUSS:
        limit = GAUSS_WIDTH_SQUARED / 2.0 * math.log(max(parts, 1.0))
    elif crystal.shape == ROUND:
        limit = sphere_radius_squared(parts)
    elif crystal.shape == TOPHAT:
        limit = TOPHAT_RADIUS_SQUARED
    return max(limit, LEAST) if limit < room else 0.0


def sphere_radius_squared(parts: float) -> float:
    """Return an r^2 beyond which the squared lattice factor of ROUND is below its square at a reflection over `parts` (F10a).

    With u = pi^2 r^2, |sinc3| is at most 3 sqrt(1 + u) / u^1.5, which falls with u.
    """
    scale = 9.0 * SPHERE * SPHERE * parts
    roots = np.roots([1.0, 0.0, -scale, -scale])
    return float(max(roots.real)) / PI_SQUARED


def largest_solid_angle(panel: Panel, layers: int) -> float:
    """Return an upper bound of the solid angle of a pixel, in sr; of point pixels in 1/m^2; infinite if there is none (F3)."""
    nearest = (panel.distance if panel.curved else abs(panel.close_distance)) - layers * abs(panel.layer)
    if nearest <= 0.0:
        return math.inf
    if panel.point_pixel:
        return 1.0 / nearest**2
    return panel.pixel_fast * panel.pixel_slow * abs(panel.close_distance) / nearest**3


def largest_amplitude(amplitude: np.ndarray, interpolate: bool) -> float:
    """Return an upper bound of the magnitude of an amplitude, in electrons (F9)."""
    return with_overshoot(float(np.abs(amplitude).max()), interpolate)


def with_overshoot(largest: float, interpolate: bool) -> float:
    """Return an upper bound of what is interpolated between amplitudes of at most `largest`, if they are interpolated (F9b)."""
    return largest * (OVERSHOOT if interpolate else 1.0)


def every_term(scene: Scene) -> Scene:
    """Return the same scene, in which every term counts."""
    return scene._replace(crystal=scene.crystal._replace(most_remote=0.0))


def groups(lattices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the middle of each GROUP lattices, one after another, and how far they lie from it: (groups, 9), in A (F10a)."""
    filled = np.concatenate([lattices, np.repeat(lattices[-1:], -len(lattices) % GROUP, axis=0)])
    parts = filled.reshape(-1, GROUP, lattices.shape[1])
    middle = (parts.max(axis=1) + parts.min(axis=1)) / 2.0
    return middle, np.abs(parts - middle[:, np.newaxis]).max(axis=1) * ENLARGED
