"""The mirror of nbnumba's rotations: what a turn gives its angles (specs/adjoint.md, A1a)."""

import math

import numpy as np

from nbnumba.geometry.rotations import DEGREES_PER_RADIAN, about_axis, about_xyz, radians


def torque(rotation: np.ndarray, rotation_bar: np.ndarray) -> np.ndarray:
    """How a number grows with a further turn, about x, y and z of the laboratory, per radian (..., 3) (A1a).

    A further turn at the rate w is dR = [w]x R, so that the number grows by <R_bar, [w]x R> = w . t, with

        M = R_bar R^T,    t = (M_zy - M_yz, M_xz - M_zx, M_yx - M_xy)

    t is a torque: where R_bar = sum of v_bar v0^T over vectors v = R v0, it is the sum of v x v_bar.
    """
    m = rotation_bar @ rotation.T
    return np.stack([m[..., 2, 1] - m[..., 1, 2], m[..., 0, 2] - m[..., 2, 0], m[..., 1, 0] - m[..., 0, 1]], axis=-1)


def about_axis_adj(axis: np.ndarray, angle: float, rotation_bar: np.ndarray) -> np.ndarray:
    """Of a rotation (..., 3, 3) about a unit axis: of its angle (...,), per radian (A1a).

        dR/dangle = [axis]x R

    The axis does not move.
    """
    return torque(about_axis(axis, angle), rotation_bar) @ axis


def about_xyz_adj(degrees: tuple[float, float, float], rotation_bar: np.ndarray) -> np.ndarray:
    """Of a rotation (..., 3, 3) about x, then y, then z: of the three angles (..., 3), per degree (A1a).

        R = Rz Ry Rx;    dR/dx = [Rz Ry x]x R,    dR/dy = [Rz y]x R,    dR/dz = [z]x R

    and Rz Ry x = R x, the first column of R.
    """
    return torque(about_xyz(degrees), rotation_bar) @ about_xyz_rates(degrees).T / DEGREES_PER_RADIAN


def about_xyz_rates(degrees: tuple[float, float, float]) -> np.ndarray:
    """The axes times rates (3, 3), per radian, at which a rotation about x, then y, then z turns with each angle (A1a)."""
    rotation, z = about_xyz(degrees), radians(degrees[2])
    return np.array([rotation[:, 0], (-math.sin(z), math.cos(z), 0.0), (0.0, 0.0, 1.0)])


def rotation_slope(turn: np.ndarray) -> np.ndarray:
    """J (3, 3) by which a rotation about a vector v, by its length, turns further: dR = [J dv]x R (A7b).

        J = 1 + (1 - cos a) / a^2 [v]x + (a - sin a) / a^3 [v]x^2,    a = |v|

    Below a = 1e-3 the two factors are their power series, 1/2 - a^2 / 24 and 1/6 - a^2 / 120.
    """
    angle = math.sqrt(turn @ turn)
    x, y, z = turn
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    if angle < 1e-3:
        first, second = 0.5 - angle * angle / 24.0, 1.0 / 6.0 - angle * angle / 120.0
    else:
        first, second = (1.0 - math.cos(angle)) / angle**2, (angle - math.sin(angle)) / angle**3
    return np.eye(3) + first * cross + second * (cross @ cross)
