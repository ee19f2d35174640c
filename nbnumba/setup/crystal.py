"""Orients the crystal: from cell and missetting angles to real-space cell vectors at phi = 0 (specs/forward.md, F7a)."""

import math

import numpy as np

from nbnumba import rng
from nbnumba.errors import InputError
from nbnumba.experiment import SHAPES, Crystal
from nbnumba.setup.rotations import about_xyz, radians, unit
from nbnumba.stages import records


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


def orient(crystal: Crystal, switches: frozenset[str] = frozenset()) -> np.ndarray:
    """Real-space cell vectors a, b, c as rows (3, 3) in A, at phi = 0. `switches` are the defects of C that are on.

    Raises InputError when the vectors span no volume.
    """
    cell = (crystal.a_A, crystal.b_A, crystal.c_A, crystal.alpha_deg, crystal.beta_deg, crystal.gamma_deg)
    vectors = standard_setting(*cell)
    if not np.isfinite(vectors).all() or abs(np.linalg.det(vectors)) < 1e-9 * math.prod(cell[:3]):
        names, numbers = "crystal.a_A, b_A, c_A, alpha_deg, beta_deg, gamma_deg", " ".join(f"{x:g}" for x in cell)
        raise InputError(f"{names}: the cell {numbers} has no volume; allowed: a cell with a volume")
    if crystal.orientation is None and "triclinic_angles" in switches:
        vectors = skewed_setting(*cell)
    elif crystal.orientation is not None:
        vectors = vectors @ np.array(crystal.orientation).T
    return vectors @ about_xyz(missetting_deg(crystal, switches)).T


def missetting_deg(crystal: Crystal, switches: frozenset[str]) -> tuple[float, float, float]:
    """The missetting angles about x, y and z: those stated, or those of a random orientation (F7a)."""
    if crystal.misset_seed is None:
        return crystal.misset_deg
    return rng.random_misset_deg(crystal.misset_seed, "misset_random" in switches)


def reciprocal(crystal: Crystal, vectors: np.ndarray) -> np.ndarray:
    """Reciprocal vectors a*, b*, c* as rows (3, 3) in 1/A: cross products over the volume."""
    a, b, c = vectors
    cell = (crystal.a_A, crystal.b_A, crystal.c_A, crystal.alpha_deg, crystal.beta_deg, crystal.gamma_deg)
    volume = math.copysign(np.linalg.det(standard_setting(*cell)), np.linalg.det(vectors))
    return np.array([np.cross(b, c), np.cross(c, a), np.cross(a, b)]) / volume


def record(crystal: Crystal, vectors: np.ndarray, switches: frozenset[str]) -> records.Crystal:
    """Size, shape, and the metric of the distance to a reflection (F8b): by n_a, n_b, n_c or C's (P9)."""
    cells = np.array([crystal.n_a, crystal.n_b, crystal.n_c])
    metric = np.diag(cells * cells)
    if "gauss_metric" in switches and crystal.shape in ("gauss", "tophat"):
        star = reciprocal(crystal, vectors)
        metric = star @ star.T * np.prod(cells) ** 2
    upper = (metric[0, 0], metric[1, 1], metric[2, 2], metric[0, 1], metric[0, 2], metric[1, 2])
    return records.Crystal(*map(float, cells), SHAPES.index(crystal.shape), crystal.fudge, *map(float, upper))
