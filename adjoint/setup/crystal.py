"""The mirror of nbnumba's crystal: from cotangents of vectors and metric to those of cell, missetting and size (A7a, A8b)."""

import numpy as np

from adjoint.geometry.cell import skewed_setting_adj, standard_setting_adj
from adjoint.geometry.rotations import about_xyz_adj
from adjoint.parameters import CELL, names_of
from nbnumba.geometry.cell import standard_setting
from nbnumba.geometry.rotations import about_xyz
from nbnumba.parity import Defects
from nbnumba.setup.crystal import ELEMENTS, missetting_deg, orient, reciprocal, record
from nbnumba.stages.shapes import GAUSS, SHAPES
from nbnumba.statements import Crystal

MISSET, NUMBERS = names_of("orientation"), names_of("size")
ISOTROPIC, *ANISOTROPIC = names_of("disorder")
METRIC = np.array([[0, 3, 4], [3, 1, 5], [4, 5, 2]])
"""The index of each entry of the symmetric metric among hh, kk, ll, hk, hl and kl of the Crystal record."""


def orient_adj(crystal: Crystal, defects: Defects, vectors_bar: np.ndarray) -> dict[str, np.ndarray]:
    """Return the cotangents of the cell, in A and degree, and of the missetting angles, in degree, by name (A7a).

        F7a: vectors = V O^T R^T,    R = Rz Ry Rx
        A7a: R_bar = vectors_bar^T V O^T,    V_bar = vectors_bar R O

    defects: those of C that are reproduced. vectors_bar (..., 3, 3): cotangent of a, b, c at phi = 0 as rows, in A. V is the
    setting of the cell, O the orientation, if there is one, and R the missetting.
    """
    degrees = missetting_deg(crystal, defects)
    rotation = about_xyz(degrees)
    unrotated_bar = vectors_bar @ rotation
    if crystal.orientation is not None:
        setting_bar = standard_setting_adj(*crystal.cell, unrotated_bar @ np.array(crystal.orientation))
    elif defects.triclinic_angles:
        setting_bar = skewed_setting_adj(*crystal.cell, unrotated_bar)
    else:
        setting_bar = standard_setting_adj(*crystal.cell, unrotated_bar)
    misset_bar = about_xyz_adj(degrees, np.swapaxes(vectors_bar, -1, -2) @ orient(crystal, defects) @ rotation)
    return _named(CELL, setting_bar) | _named(MISSET, misset_bar)


def record_adj(
    crystal: Crystal, vectors: np.ndarray, defects: Defects, cells_bar: np.ndarray, metric_bar: np.ndarray
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Return the cotangents of n_a, n_b, n_c and of the cell, by name, and those of the vectors (..., 3, 3), in A (A8b).

        F8b: metric = diag(n_a^2, n_b^2, n_c^2)
        A8b: n_bar = cells_bar + 2 n metric_bar,    n of the same axis
        F8f: metric = N N,    n_a of the record = det N / (n_b n_c)
        A8f: N_bar = n_a_bar n_a N^-1 + N Q + Q N,    n_d_bar = N_bar_ab + N_bar_ba,    likewise n_e (bc) and n_f (ac)
        P9:  metric = P^2 S S^T,    P = n_a n_b n_c
        A8b: S_bar = P^2 Q S,    n_bar = cells_bar + (P^2 / n) <Q, S S^T>

    vectors: a, b, c at phi = 0 as rows, in A. defects: the defects of C to reproduce; P9 is gauss_metric, of GAUSS and TOPHAT.
    cells_bar (..., 3): cotangent of the numbers of unit cells in the record. metric_bar (..., 6): that of hh, kk, ll, hk, hl,
    kl; Q is the symmetric matrix of them with its diagonal doubled. S has the reciprocal vectors as rows; the cell counts by
    the volume in S alone.
    """
    cells = np.array([crystal.n_a, crystal.n_b, crystal.n_c])
    if not defects.gauss_metric or not SHAPES[crystal.shape].metric_of_c:
        shape = cells_bar.shape[:-1]
        if SHAPES[crystal.shape].number != GAUSS:
            numbers_bar = np.concatenate([cells_bar + 2.0 * cells * metric_bar[..., :3], np.zeros((*shape, 3))], axis=-1)
        else:
            numbers_bar = _matrix_of_cells_adj(crystal, vectors, defects, cells_bar, metric_bar)
        return _named(NUMBERS, numbers_bar) | _named(CELL, np.zeros((*shape, 6))), np.zeros((*shape, 3, 3))
    star, square = reciprocal(crystal, vectors), np.prod(cells) ** 2
    # 2 on the diagonal: d(s . s) = 2 s . ds, but d(s . t) = s . dt + t . ds.
    both = metric_bar[..., METRIC] * (1.0 + np.eye(3))
    star_bar = square * (both @ star)
    product_bar = np.einsum("...jk,ji,ki->...", both, star, star) * square
    cell_bar, vectors_bar = reciprocal_adj(crystal, vectors, star_bar)
    numbers_bar = np.concatenate([cells_bar + product_bar[..., None] / cells, np.zeros_like(cells_bar)], axis=-1)
    return _named(NUMBERS, numbers_bar) | _named(CELL, cell_bar), vectors_bar


def _matrix_of_cells_adj(crystal, vectors, defects, cells_bar: np.ndarray, metric_bar: np.ndarray) -> np.ndarray:
    """Return the cotangents (..., 6) of n_a, n_b, n_c, n_d, n_e, n_f (A8f); the arguments are those of record_adj.

    n_b and n_c stand in the record as they are, too, and its n_a falls with them.
    """
    matrix, by_first = crystal.cells, cells_bar[..., 0] * record(crystal, vectors, defects).n_a
    both = metric_bar[..., METRIC] * (1.0 + np.eye(3)) / 2.0
    bar = by_first[..., None, None] * np.linalg.inv(matrix) + matrix @ both + both @ matrix
    by_b, by_c = (bar[..., i, i] + cells_bar[..., i] - by_first / matrix[i, i] for i in (1, 2))
    off_diagonal = (bar[..., i, j] + bar[..., j, i] for i, j in ((0, 1), (1, 2), (0, 2)))
    return np.stack([bar[..., 0, 0], by_b, by_c, *off_diagonal], axis=-1)


def reciprocal_adj(crystal: Crystal, vectors: np.ndarray, star_bar: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the cotangents of the cell (..., 6), in A and degree, by the volume alone, and of a, b, c (..., 3, 3), in A (A8b).

        P9:  S = det X / v X^-T,    v = +-det E
        A8b: X_bar = g X^-T - S S_bar^T X^-T,    E_bar = -g E^-T,    g = <S_bar, S>

    vectors: X, with a, b, c at phi = 0 as rows, in A. star_bar (..., 3, 3): cotangent of S, with a*, b*, c* as rows, in 1/A. E
    is the standard setting of the cell, whose volume counts; v has the sign of det X.
    """
    star, inverse = reciprocal(crystal, vectors), np.linalg.inv(vectors).T
    along = np.einsum("...ij,ij->...", star_bar, star)[..., None, None]
    vectors_bar = along * inverse - star @ np.swapaxes(star_bar, -1, -2) @ inverse
    return standard_setting_adj(*crystal.cell, -along * np.linalg.inv(standard_setting(*crystal.cell)).T), vectors_bar


def _named(names: tuple[str, ...], values: np.ndarray) -> dict[str, np.ndarray]:
    """Return the numbers along the last axis by name."""
    return {name: values[..., k] for k, name in enumerate(names)}


def b_factors_adj(
    crystal: Crystal, in_matrix: bool, fading_bar: np.ndarray, disorder_bar: np.ndarray
) -> dict[str, np.ndarray]:
    """Return the cotangents of the B factors, in A^2, and those of the cell through them, in A and degree, by name (A9d).

        F9g: 4 W = B G + D A D,    G = (V V^T)^-1,    D = sqrt of the diagonal of G
        A9d: B_bar = <M, G> / 4,    A_bar = D M D / 4, and twice that for b_12, b_13, b_23
             G_bar = B M / 4 + diagonal of (M (D A)) / (4 D),    V_bar = -2 G G_bar G V

    in_matrix: whether the isotropic factor is one of each term, and not of the sum over lattices. fading_bar (...): cotangent
    of B / 2, from which B_bar follows where it is one of the sum; G_bar then has no B. disorder_bar (..., 6): cotangent of hh,
    kk, ll, hk, hl, kl; M is the symmetric matrix of them, with half of those off the diagonal. V is the standard setting of the
    cell, and A the matrix of the anisotropic B factors.
    """
    setting = standard_setting(*crystal.cell)
    star = np.linalg.inv(setting @ setting.T)
    lengths, quarter = np.sqrt(np.diag(star)), disorder_bar[..., METRIC] * (1.0 + np.eye(3)) / 8.0
    by_matrix = quarter * np.outer(lengths, lengths) * (2.0 - np.eye(3))
    by_lengths = 2.0 * np.einsum("...ij,ij,j->...i", quarter, crystal.b_factors, lengths)
    star_bar = in_matrix * crystal.b_factor_A2 * quarter + (by_lengths / (2.0 * lengths))[..., np.newaxis] * np.eye(3)
    cell_bar = standard_setting_adj(*crystal.cell, -2.0 * star @ star_bar @ star @ setting)
    elements = np.stack([by_matrix[..., row, column] for row, column in ELEMENTS], axis=-1)
    by_isotropic = np.einsum("...ij,ij->...", quarter, star) if in_matrix else fading_bar / 2.0
    return {ISOTROPIC: by_isotropic} | _named(ANISOTROPIC, elements) | _named(CELL, cell_bar)
