"""The mirror of nbnumba's crystal: from cell vectors and metric to cell, missetting and size (specs/adjoint.md, A7a, A8b)."""

import math

import numpy as np

from adjoint.setup.rotations import about_xyz_adj
from nbnumba.experiment import Crystal
from nbnumba.setup.crystal import missetting_deg, orient, reciprocal, standard_setting
from nbnumba.setup.rotations import DEGREES_PER_RADIAN, about_xyz, radians

CELL = ("crystal.a_A", "crystal.b_A", "crystal.c_A", "crystal.alpha_deg", "crystal.beta_deg", "crystal.gamma_deg")
MISSET = ("crystal.misset_x_deg", "crystal.misset_y_deg", "crystal.misset_z_deg")
NUMBERS = ("crystal.n_a", "crystal.n_b", "crystal.n_c")
METRIC = np.array([[0, 3, 4], [3, 1, 5], [4, 5, 2]])
"""Where each entry of the symmetric metric stands in its record: hh kk ll hk hl kl."""


def standard_setting_adj(
    a: float, b: float, c: float, alpha_deg: float, beta_deg: float, gamma_deg: float, vectors_bar: np.ndarray
) -> np.ndarray:
    """Of a, b, c as rows (..., 3, 3): of the cell (..., 6), per A and degree (A7a).

        u = cos ga* = (cos al cos be - cos ga) / (sin al sin be),    w = sin ga* = sqrt(1 - u^2)
        a = a (w sin be, -u sin be, cos be),    b = b (0, sin al, cos al),    c = c (0, 0, 1)

    No angle stands in a denominator but as a sine: the derivative is exact at 90 degrees too.
    """
    al, be, ga = (radians(angle) for angle in (alpha_deg, beta_deg, gamma_deg))
    u, _, slopes = _star(al, be, ga)
    lengths_bar, al_bar, be_bar, u_bar = _setting_adj(a, b, al, be, u, vectors_bar)
    angles_bar = u_bar[..., None] * slopes
    angles_bar[..., 0] += al_bar
    angles_bar[..., 1] += be_bar
    return np.concatenate([lengths_bar, angles_bar / DEGREES_PER_RADIAN], axis=-1)


def skewed_setting_adj(
    a: float, b: float, c: float, alpha_deg: float, beta_deg: float, gamma_deg: float, vectors_bar: np.ndarray
) -> np.ndarray:
    """Of a, b, c as rows (..., 3, 3), as C builds them: of the cell (..., 6), per A and degree (A7a, P7).

    C's c* is too long along z by k = sin ga / sin ga*. That lengthens the x and y of b* x c* and c* x a* by k, and so makes the
    standard setting of the same ga* and of other angles:

        tan al' = k tan al,    tan be' = k tan be
        dal' = (k dal + sin al cos al dk) / (k^2 sin^2 al + cos^2 al),    and likewise be'
        dk = cos ga / w dga + k u / w^2 du
    """
    al, be, ga = (radians(angle) for angle in (alpha_deg, beta_deg, gamma_deg))
    u, w, slopes = _star(al, be, ga)
    k = math.sin(ga) / w
    skewed, by_angle, by_k = zip(*(_skewed(angle, k) for angle in (al, be)))
    lengths_bar, al_bar, be_bar, u_bar = _setting_adj(a, b, *skewed, u, vectors_bar)
    k_bar = al_bar * by_k[0] + be_bar * by_k[1]
    angles_bar = (u_bar + k_bar * (k * u / (w * w)))[..., None] * slopes
    angles_bar[..., 0] += al_bar * by_angle[0]
    angles_bar[..., 1] += be_bar * by_angle[1]
    angles_bar[..., 2] += k_bar * (math.cos(ga) / w)
    return np.concatenate([lengths_bar, angles_bar / DEGREES_PER_RADIAN], axis=-1)


def _star(al: float, be: float, ga: float) -> tuple[float, float, np.ndarray]:
    """cos ga*, sin ga*, and the derivative of cos ga* by al, be, ga (3,), all in radians.

        u = (cos al cos be - cos ga) / (sin al sin be)
        du/dal = -cot be - u cot al,    du/dbe = -cot al - u cot be,    du/dga = sin ga / (sin al sin be)

    The first term of each is that of the numerator, the second that of the sine below.
    """
    sines = math.sin(al) * math.sin(be)
    u = (math.cos(al) * math.cos(be) - math.cos(ga)) / sines
    cot_al, cot_be = math.cos(al) / math.sin(al), math.cos(be) / math.sin(be)
    slopes = np.array([-cot_be - u * cot_al, -cot_al - u * cot_be, math.sin(ga) / sines])
    return u, math.sqrt(1.0 - u * u), slopes


def _skewed(angle: float, k: float) -> tuple[float, float, float]:
    """The angle whose tangent is k times that of `angle`, and its derivatives by both."""
    sine, cosine = math.sin(angle), math.cos(angle)
    square = k * k * sine * sine + cosine * cosine
    return math.atan2(k * sine, cosine), k / square, sine * cosine / square


def _setting_adj(a: float, b: float, al: float, be: float, u: float, vectors_bar: np.ndarray):
    """Of a, b, c as rows: of the lengths (..., 3), of al and be that stand in a and b, and of u = cos ga* (...,), in radians.

    With w = sqrt(1 - u^2): dw/du = -u / w.
    """
    w = math.sqrt(1.0 - u * u)
    sa, ca, sb, cb = math.sin(al), math.cos(al), math.sin(be), math.cos(be)
    x, y, z = (vectors_bar[..., 0, k] for k in range(3))
    _, b_y, b_z = (vectors_bar[..., 1, k] for k in range(3))
    across = w * x - u * y
    lengths_bar = np.stack([sb * across + cb * z, sa * b_y + ca * b_z, vectors_bar[..., 2, 2]], axis=-1)
    al_bar = b * (ca * b_y - sa * b_z)
    be_bar = a * (cb * across - sb * z)
    u_bar = -a * sb * (y + u / w * x)
    return lengths_bar, al_bar, be_bar, u_bar


def orient_adj(crystal: Crystal, switches: frozenset[str], vectors_bar: np.ndarray) -> dict[str, np.ndarray]:
    """Of a, b, c at phi = 0 as rows (..., 3, 3), in A: of cell and missetting angles (...,), per A and degree (A7a).

        vectors = V O^T R^T
        R_bar = vectors_bar^T V O^T,    V_bar = vectors_bar R O

    V is the setting, O the orientation if there is one, R = Rz Ry Rx the missetting.
    """
    cell = _cell(crystal)
    degrees = missetting_deg(crystal, switches)
    rotation = about_xyz(degrees)
    unturned_bar = vectors_bar @ rotation
    if crystal.orientation is not None:
        setting_bar = standard_setting_adj(*cell, unturned_bar @ np.array(crystal.orientation))
    elif "triclinic_angles" in switches:
        setting_bar = skewed_setting_adj(*cell, unturned_bar)
    else:
        setting_bar = standard_setting_adj(*cell, unturned_bar)
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
    if "gauss_metric" not in switches or crystal.shape not in ("gauss", "tophat"):
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
    cell = _cell(crystal)
    return standard_setting_adj(*cell, -along * np.linalg.inv(standard_setting(*cell)).T), vectors_bar


def _cell(crystal: Crystal) -> tuple[float, float, float, float, float, float]:
    return (crystal.a_A, crystal.b_A, crystal.c_A, crystal.alpha_deg, crystal.beta_deg, crystal.gamma_deg)


def _named(names: tuple[str, ...], values: np.ndarray) -> dict[str, np.ndarray]:
    """The last axis, by name."""
    return {name: values[..., k] for k, name in enumerate(names)}
