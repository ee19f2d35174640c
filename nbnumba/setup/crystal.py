"""Orients the crystal: from cell and missetting angles to real-space cell vectors at phi = 0 (F7a), and makes its record."""

import math

import numpy as np

from nbnumba import rng
from nbnumba.errors import InputError
from nbnumba.geometry.cell import skewed_setting, standard_setting
from nbnumba.geometry.rotations import about_xyz
from nbnumba.parity import NO_DEFECTS, Defects
from nbnumba.stages import records
from nbnumba.stages.lattice import COMPUTED
from nbnumba.stages.shapes import SHAPES
from nbnumba.statements import Crystal

ELEMENTS = ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))
"""The elements of a symmetric matrix in the order of the Crystal record."""

NAMES_OF_ELEMENTS = ("hh", "kk", "ll", "hk", "hl", "kl")
"""Their names in that record."""

ROUNDING_OF_EIGENVALUE = 1e-6
"""More than an eigenvalue of a matrix with a diagonal of 1 is off by rounding, of float32, too."""


def orient(crystal: Crystal, defects: Defects = NO_DEFECTS) -> np.ndarray:
    """Return the real-space cell vectors a, b, c at phi = 0 as rows (3, 3), in A (F7a).

    defects: those of C that are reproduced. Raises InputError when the vectors span no volume.
    """
    vectors = standard_setting(*crystal.cell)
    if not np.isfinite(vectors).all() or abs(np.linalg.det(vectors)) < 1e-9 * math.prod(crystal.cell[:3]):
        names, numbers = "crystal.a_A, b_A, c_A, alpha_deg, beta_deg, gamma_deg", " ".join(f"{x:g}" for x in crystal.cell)
        raise InputError(f"{names}: the cell {numbers} has no volume; allowed: a cell with a volume")
    if crystal.orientation is None and defects.triclinic_angles:
        vectors = skewed_setting(*crystal.cell)
    elif crystal.orientation is not None:
        vectors = vectors @ np.array(crystal.orientation).T
    return vectors @ about_xyz(missetting_deg(crystal, defects)).T


def frame(crystal: Crystal, defects: Defects) -> np.ndarray:
    """Return the rotation (3, 3) from the standard setting to the laboratory at phi = 0: orientation, then missetting (F7a).

    Its columns are the axes a*, c x a* and c of the crystal, as unit vectors.
    """
    rotation = about_xyz(missetting_deg(crystal, defects))
    return rotation if crystal.orientation is None else rotation @ np.array(crystal.orientation)


def missetting_deg(crystal: Crystal, defects: Defects) -> tuple[float, float, float]:
    """Return the missetting angles about x, y and z, in degree: those stated, or those of a random orientation (F7a, P12)."""
    if crystal.misset_seed is None:
        return crystal.misset_deg
    return rng.random_misset_deg(crystal.misset_seed, defects.misset_random)


def reciprocal(crystal: Crystal, vectors: np.ndarray) -> np.ndarray:
    """Return the reciprocal vectors a*, b*, c* as rows (3, 3), in 1/A: cross products over the volume (P9).

    vectors: a, b, c as rows, in A. The volume is that of the cell, also where the vectors have another one (P7).
    """
    a, b, c = vectors
    volume = math.copysign(np.linalg.det(standard_setting(*crystal.cell)), np.linalg.det(vectors))
    return np.array([np.cross(b, c), np.cross(c, a), np.cross(a, b)]) / volume


def record(crystal: Crystal, vectors: np.ndarray, defects: Defects) -> records.Crystal:
    """Return the Crystal record: numbers of unit cells, shape, and metric of the distance to a reflection (F8b, or P9).

    vectors: a, b, c at phi = 0 as rows, in A. defects: those of C that are reproduced. Of a crystal whose matrix of numbers of
    cells is not diagonal, n_a is such that the product of n_a, n_b and n_c is the determinant (F8f). Raises InputError for a
    shape that no stage computes.
    """
    shape = SHAPES[crystal.shape]
    if shape.number not in COMPUTED:
        computed = ", ".join(name for name, row in SHAPES.items() if row.number in COMPUTED)
        raise InputError(f"crystal.shape: {shape.name} is not computed; allowed: {computed}")
    cells = np.array([crystal.n_a, crystal.n_b, crystal.n_c])
    metric = crystal.cells @ crystal.cells
    if defects.gauss_metric and shape.metric_of_c:
        if crystal.is_oblique:
            why = "with C's defect gauss_metric, whose metric is another one (P9)"
            raise InputError(f"crystal.n_d, n_e, n_f: they are not 0 {why}; allowed: 0, or without that defect")
        star = reciprocal(crystal, vectors)
        metric = star @ star.T * np.prod(cells) ** 2
    elif crystal.is_oblique:
        cells[0] = np.linalg.det(crystal.cells) / (cells[1] * cells[2])
    upper = [metric[row, column] for row, column in ELEMENTS]
    numbers = map(float, (*upper, *diagonal_below(metric), *[0.0] * len(ELEMENTS)))
    ordered = records.Crystal(*map(float, cells), shape.number, crystal.fudge, *numbers, False, 0.0, 0.0)
    return with_disorder(ordered, crystal.disorder) if weakens_each_term(crystal, defects) else ordered


def with_disorder(made: records.Crystal, disorder: np.ndarray) -> records.Crystal:
    """Return a Crystal record with B factors that are factors of each term; disorder (3, 3): their matrix (F9g)."""
    elements = {f"disorder_{name}": float(disorder[index]) for name, index in zip(NAMES_OF_ELEMENTS, ELEMENTS)}
    return made._replace(**elements, disordered=bool(disorder.any()))


def weakens_each_term(crystal: Crystal, defects: Defects) -> bool:
    """Whether B factors are factors of each term, the isotropic one among them (F9g): where there are anisotropic ones.

    By itself the isotropic one depends on q alone, and is a factor of the sum over the lattices, as long as that is a sum (P2)
    and the lattices have the cell of the crystal. With other cells it is a factor of each term with and without anisotropic
    ones, so that the image does not jump where these are 0.
    """
    other_cells = defects.triclinic_angles or any(getattr(crystal, name) != 0.0 for name in Crystal.CELL_SPREADS)
    return bool(crystal.b_factors.any() or other_cells or defects.oversample_running_sum)


def fading(crystal: Crystal, defects: Defects) -> float:
    """Return what q^2 is multiplied by in the exponent by which the sum over the lattices falls, B / 2, in A^2 (F9g)."""
    return 0.0 if weakens_each_term(crystal, defects) else crystal.b_factor_A2 / 2.0


def diagonal_below(metric: np.ndarray) -> np.ndarray:
    """Return the diagonal (3,) of the largest multiple of a metric's own that the metric is not below (F10a).

    The multiple is the least eigenvalue of the metric scaled to a diagonal of 1. It is 1 where the metric is diagonal.
    """
    diagonal = np.diag(metric)
    scaled = metric / np.sqrt(np.outer(diagonal, diagonal))
    if np.array_equal(scaled, np.eye(3)):
        return diagonal
    return diagonal * max(np.linalg.eigvalsh(scaled)[0] - ROUNDING_OF_EIGENVALUE, 0.0)
