"""From a unit cell to real-space vectors, and back (specs/forward.md, F7a)."""

import math

import numpy as np

from nbnumba.geometry.rotations import radians, unit

SAME_CELL = 0.003
"""Relative difference up to which cells are the same: a matrix of eight decimals, and a cell that was refined beside it."""

SHORTEST_CELL_A, LONGEST_CELL_A = 1.0, 1e5
"""Lengths between which the edges of a unit cell are, in A."""


def standard_setting(a: float, b: float, c: float, alpha_deg: float, beta_deg: float, gamma_deg: float) -> np.ndarray:
    """Real-space vectors a, b, c as rows (3, 3), in A: a* along x, b* in the x-y plane, c along z (F7a)."""
    al, be, ga = (radians(angle) for angle in (alpha_deg, beta_deg, gamma_deg))
    cos_ga_star = (math.cos(al) * math.cos(be) - math.cos(ga)) / (math.sin(al) * math.sin(be))
    sin_ga_star = math.sqrt(max(1.0 - cos_ga_star * cos_ga_star, 0.0))
    return np.array(
        [
            [a * math.sin(be) * sin_ga_star, -a * math.sin(be) * cos_ga_star, a * math.cos(be)],
            [0.0, b * math.sin(al), b * math.cos(al)],
            [0.0, 0.0, c],
        ]
    )


def skewed_setting(a: float, b: float, c: float, alpha_deg: float, beta_deg: float, gamma_deg: float) -> np.ndarray:
    """The standard setting as C builds it: c* takes its z from the volume of the direct cell, not of the reciprocal one (P7).

    Its lengths are right; its angles are wrong where two or more angles are oblique.
    """
    exact = standard_setting(a, b, c, alpha_deg, beta_deg, gamma_deg)
    reciprocal = np.linalg.inv(exact).T
    sin_ga_star = math.sin(math.acos(reciprocal[0] @ reciprocal[1] / np.prod(np.linalg.norm(reciprocal[:2], axis=1))))
    shape = abs(np.linalg.det(exact)) / (a * b * c)
    reciprocal[2, 2] = np.linalg.norm(reciprocal[2]) * shape / sin_ga_star
    directions = (np.cross(reciprocal[1], reciprocal[2]), np.cross(reciprocal[2], reciprocal[0]), exact[2])
    return np.array([length * unit(direction) for length, direction in zip((a, b, c), directions)])


def cell_of(vectors: np.ndarray) -> tuple[float, float, float, float, float, float]:
    """Lengths in A and angles in degrees of the real-space vectors a, b, c (rows)."""
    a, b, c = (math.sqrt(v @ v) for v in vectors)
    (u, v, w) = (vector / length for vector, length in zip(vectors, (a, b, c)))
    angles = (math.degrees(math.atan2(math.hypot(*np.cross(p, q)), p @ q)) for p, q in ((v, w), (w, u), (u, v)))
    return (a, b, c, *angles)


def spans_a_lattice(vectors: np.ndarray) -> bool:
    """Whether three vectors (rows) of lengths from 1e-100 to 1e100 span a volume of 1e-9 of their product or more."""
    largest = np.abs(vectors).max(axis=1)
    if not np.isfinite(vectors).all() or largest.min() < 1e-100 or largest.max() > 1e100:
        return False
    scaled = vectors / largest[:, None]
    return abs(np.linalg.det(scaled)) >= 1e-9 * np.prod(np.linalg.norm(scaled, axis=1))
