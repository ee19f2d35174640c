"""The mirror of nbnumba's panels: from cotangents of a panel to those of the detector's frame and of its groups (A1d)."""

from typing import NamedTuple

import numpy as np

from adjoint.geometry.rotations import torque
from nbnumba.geometry.rotations import DEGREES_PER_RADIAN, about_axis, radians
from nbnumba.group_names import MOTIONS
from nbnumba.setup.detector import Placement, Plane
from nbnumba.setup.panels import Motion, Pose, frame, motions, motions_of, poses
from nbnumba.setup.values import group_parameter
from nbnumba.statements import Detector, Group


def plane_from_adj(
    plane: Plane, origin_bar: np.ndarray, normal_bar: np.ndarray, close_distance_bar: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the cotangents (..., 3) of the origin and the normal of a plane, and of the position that it is seen from (A7e).

        F7e: o' = o - x,    close_distance = o' . n
        A7e: o_bar = o'_bar + c_bar n,    n_bar += c_bar o',    x_bar = -o_bar

    plane: as it is seen. origin_bar, normal_bar (..., 3), close_distance_bar (...): its cotangents, in m. That of the close
    distance is in the result, and counts no more.
    """
    close_bar = close_distance_bar[..., None]
    origin_bar = origin_bar + close_bar * plane.normal
    return origin_bar, normal_bar + close_bar * plane.origin, -origin_bar


class Frame(NamedTuple):
    """The cotangents of the frame of a detector: of its origin (..., 3), in m, and of its unit axes (..., 3)."""

    origin: np.ndarray
    fast: np.ndarray
    slow: np.ndarray
    normal: np.ndarray


class PanelMirror:
    """The mirror of the panels of a detector, with what all of them share."""

    def __init__(self, detector: Detector, placement: Placement, every_plane: tuple[Plane, ...]):
        self.detector, self.planes, self.motions = detector, every_plane, motions(detector, of_all=True)
        self.columns = frame(placement)
        self.groups = {group.path: group for group in detector.groups}

    def plane_adj(
        self,
        number: int,
        origin_bar: np.ndarray,
        fast_bar: np.ndarray,
        slow_bar: np.ndarray,
        normal_bar: np.ndarray,
        close_distance_bar: np.ndarray,
    ) -> tuple[Frame, dict[str, np.ndarray]]:
        """Return the cotangents of the frame, and of shifts in mm and turns in degree of the stated groups, by name (A1d).

            F1d: o = o_0 + B x,    f = B u,    s = B v,    n = +-B w,    close_distance = o . n
                 x <- c + R (x - c) + A t,    u <- R u,  and so v and w,    for each motion in turn
            A1d: o_bar += c_bar n,    n_bar += c_bar o,    x_bar = B^T o_bar,    u_bar = B^T f_bar, ...
                 B_bar = o_bar x^T + f_bar u^T + s_bar v^T +- n_bar w^T
                 t_bar = A^T x_bar,    R_bar = x_bar (x - c)^T + u_bar u^T + ...,    x_bar <- R^T x_bar, ...

        number: of the panel, from 0. The cotangents (..., 3), and close_distance_bar (...), are those of its plane, in m. Poses
        are in mm. Groups of other panels have 0.
        """
        plane, panel = self.planes[number], self.detector.panels[number]
        passed, moving = poses(panel, self.motions), motions_of(panel, self.motions)
        last = passed[-1]
        sign = 1.0 if float((self.columns @ last.normal) @ plane.normal) > 0.0 else -1.0
        origin_bar = origin_bar + close_distance_bar[..., None] * plane.normal
        normal_bar = sign * (normal_bar + close_distance_bar[..., None] * plane.origin)
        bars = [origin_bar / 1000, fast_bar, slow_bar, normal_bar]
        columns_bar = _sum_of_products(bars, last)
        pulled = [bar @ self.columns for bar in bars]
        found = {group_parameter(path, name): np.zeros(origin_bar.shape[:-1]) for path in self.motions for name in MOTIONS}
        for (path, motion), before in zip(reversed(moving), reversed(passed[:-1])):
            found |= _motion_adj(self.groups[path], motion, before, pulled)
            pulled = [bar @ motion.rotation for bar in pulled]
        return Frame(origin_bar, *(columns_bar[..., axis] for axis in range(3))), found


def _motion_adj(group: Group, motion: Motion, before: Pose, bars: list[np.ndarray]) -> dict[str, np.ndarray]:
    """Return the cotangents of the shifts and turns of a motion, by name, from those of the pose that it makes (A1d).

        F1d: R = R_n R_s R_f
        A1d: turn_bar = w . torque(R, R_bar),    w: the axis of the turn, as the later turns carry it

    before: the pose that is moved. bars: cotangents (..., 3) of origin, in mm, fast, slow and normal.
    """
    turning = torque(motion.rotation, _sum_of_products(bars, before._replace(origin=before.origin - motion.centre)))
    carried, later = [], np.eye(3)
    for axis, degrees in zip(motion.axes.T[::-1], group.turn_deg[::-1]):
        carried.insert(0, later @ axis)
        later = later @ about_axis(axis, radians(degrees))
    shifts = [bars[0] @ axis for axis in motion.axes.T]
    turns = [turning @ axis / DEGREES_PER_RADIAN for axis in carried]
    return {group_parameter(group.path, name): bar for name, bar in zip(MOTIONS, [*shifts, *turns])}


def _sum_of_products(bars: list[np.ndarray], pose: Pose) -> np.ndarray:
    """Return the sum of v_bar v^T (..., 3, 3) over the vectors v of a pose."""
    return np.stack(bars, axis=-1) @ np.array(pose)
