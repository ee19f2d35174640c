"""The mirror of nbnumba's cell: from the cotangents of real-space vectors to those of the cell (specs/adjoint.md, A7a)."""

import math

import numpy as np

from nbnumba.geometry.rotations import DEGREES_PER_RADIAN, radians


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
