"""The mirror of nbnumba's crystal: from cell vectors and metric to cell, missetting and size (specs/adjoint.md, A7a, A8b)."""

import numpy as np

from adjoint.geometry.cell import skewed_setting_adj, standard_setting_adj
from adjoint.geometry.rotations import about_xyz_adj
from adjoint.parameters import CELL, names_of
from nbnumba.geometry.cell import standard_setting
from nbnumba.geometry.rotations import about_xyz
from nbnumba.setup.crystal import missetting_deg, orient, reciprocal
from nbnumba.stages.shapes import SHAPES
from nbnumba.statements import Crystal

MISSET, NUMBERS = names_of("orientation"), names_of("size")
METRIC = np.array([[0, 3, 4], [3, 1, 5], [4, 5, 2]])
"""Where each entry of the symmetric metric stands in its record: hh kk ll hk hl kl."""


def orient_adj(crystal: Crystal, switches: frozenset[str], vectors_bar: np.ndarray) -> dict[str, np.ndarray]:
    """Of a, b, c at phi = 0 as rows (..., 3, 3), in A: of cell and missetting angles (...,), per A and degree (A7a).

        vectors = V O^T R^T
        R_bar = vectors_bar^T V O^T,    V_bar = vectors_bar R O

    V is the setting, O the orientation if there is one, R = Rz Ry Rx the missetting.
    """
    degrees = missetting_deg(crystal, switches)
    rotation = about_xyz(degrees)
    unturned_bar = vectors_bar @ rotation
    if crystal.orientation is not None:
        setting_bar = standard_setting_adj(*crystal.cell, unturned_bar @ np.array(crystal.orientation))
    elif "triclinic_angles" in switches:
        setting_bar = skewed_setting_adj(*crystal.cell, unturned_bar)
    else:
        setting_bar = standard_setting_adj(*crystal.cell, unturned_bar)
    misset_bar = about_xyz_adj(degrees, np.swapaxes(vectors_bar, -1, -2) @ orient(crystal, switches) @ rotation)
    return _named(CELL, setting_bar) | _named(MISSET, misset_bar)


def record_adj(
    crystal: Crystal, vectors: np.ndarray, switches: frozenset[str], cells_bar: np.ndarray, metric_bar: np.ndarray
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Of n_a n_b n_c (..., 3) and the metric (..., 6) of the record: of numbers and cell (...,), and vectors (..., 3, 3) (A8b).

        metric = diag(Na^2, Nb^2, Nc^2);    with gauss_metric, for GAUSS and TOPHAT, G P^2, G = S S^T, P = Na Nb Nc

    S are the reciprocal vectors as rows. hk, hl, kl stand once in the record. The cell is that of the volume in S.
    """
    cells = np.array([crystal.n_a, crystal.n_b, crystal.n_c])
    if "gauss_metric" not in switches or not SHAPES[crystal.shape].metric_of_c:
        shape = cells_bar.shape[:-1]
        numbers_bar = cells_bar + 2.0 * cells * metric_bar[..., :3]
        return _named(NUMBERS, numbers_bar) | _named(CELL, np.zeros((*shape, 6))), np.zeros((*shape, 3, 3))
    star, square = reciprocal(crystal, vectors), np.prod(cells) ** 2
    # 2 on the diagonal: d(s . s) = 2 s . ds, but d(s . t) = s . dt + t . ds.
    both = metric_bar[..., METRIC] * (1.0 + np.eye(3))
    star_bar = square * (both @ star)
    product_bar = np.einsum("...jk,ji,ki->...", both, star, star) * square
    cell_bar, vectors_bar = reciprocal_adj(crystal, vectors, star_bar)
    return _named(NUMBERS, cells_bar + product_bar[..., None] / cells) | _named(CELL, cell_bar), vectors_bar


def reciprocal_adj(crystal: Crystal, vectors: np.ndarray, star_bar: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of a*, b*, c* as rows (..., 3, 3): of the cell, by the volume alone (..., 6), and of a, b, c (..., 3, 3) (A8b).

    With A the vectors as rows, S = A^-T, and E the standard setting of the cell, whose volume counts:

        star = det A / +-det E * S,    d(det A) = det A <S, dA>,    dS = -S dA^T S
        A_bar = <star_bar, star> S - star star_bar^T S,    E_bar = -<star_bar, star> E^-T

    The sign of the volume is that of det A.
    """
    star, inverse = reciprocal(crystal, vectors), np.linalg.inv(vectors).T
    along = np.einsum("...ij,ij->...", star_bar, star)[..., None, None]
    vectors_bar = along * inverse - star @ np.swapaxes(star_bar, -1, -2) @ inverse
    return standard_setting_adj(*crystal.cell, -along * np.linalg.inv(standard_setting(*crystal.cell)).T), vectors_bar


def _named(names: tuple[str, ...], values: np.ndarray) -> dict[str, np.ndarray]:
    """The last axis, by name."""
    return {name: values[..., k] for k, name in enumerate(names)}
