"""Places the panels of a detector: from their poses and the motions of their groups to planes in the laboratory frame (F1d)."""

import dataclasses
import math
from typing import NamedTuple

import numpy as np

from nbnumba.errors import InputError
from nbnumba.geometry.rotations import about_axis, cross, radians, unit
from nbnumba.parity import Defects
from nbnumba.setup.detector import EDGE_ON, Placement, Plane, position_detector
from nbnumba.statements import SMALLEST, UNIT_AXES, Beam, Crystal, Detector, Group, Panel

NOT_MOVED = (0.0, 0.0, 0.0)


class Pose(NamedTuple):
    """Where a panel is in the frame of the detector: the corner of its first pixel, in mm, and its unit axes."""

    origin: np.ndarray
    fast: np.ndarray
    slow: np.ndarray
    normal: np.ndarray


class Motion(NamedTuple):
    """How a group is moved in the frame of the detector: x -> c + R (x - c) + A t (F1d).

    axes (3, 3): A, whose columns are its fast, slow and normal axes. centre: c, in mm. rotation (3, 3): R. shift: t, in mm.
    """

    axes: np.ndarray
    centre: np.ndarray
    rotation: np.ndarray
    shift: np.ndarray

    def moved(self, pose: Pose) -> Pose:
        """Return the pose of a panel of the group after the motion."""
        origin = self.centre + self.rotation @ (pose.origin - self.centre) + self.axes @ self.shift
        return Pose(origin, *(self.rotation @ axis for axis in pose[1:]))


def planes(detector: Detector, beam: Beam, defects: Defects) -> tuple[Plane, ...]:
    """Return the plane of each panel, in the order of the panels; without any, that of the whole detector (F1a, F1d).

    defects: those of C that are reproduced. Raises InputError for a detector that cannot be placed (position_detector), for a
    frame whose axes are not at right angles, and for a panel whose plane contains the crystal.
    """
    return planes_of(detector, position_detector(detector, beam, defects))


def planes_of(detector: Detector, placement: Placement) -> tuple[Plane, ...]:
    """Return what `planes` does, of a detector whose placement, or that of the frame of its panels, is known."""
    if not detector.panels:
        return (placement,)
    columns, moving = frame(placement), motions(detector)
    return tuple(
        _plane(panel, number, placement, columns, poses(panel, moving)[-1]) for number, panel in enumerate(detector.panels)
    )


def planes_from(planes: tuple[Plane, ...], position: np.ndarray) -> tuple[Plane, ...]:
    """Return the planes as a crystal at a position (3,), in m, sees them: from there to where they are (F7e).

    The axes, and the distance by which sub-pixels are chosen, stay. Raises InputError for a crystal that is in or behind the
    plane of a panel.
    """
    return tuple(_plane_from(plane, position) for plane in planes) if position.any() else planes


def _plane_from(plane: Plane, position: np.ndarray) -> Plane:
    """Return one plane of planes_from."""
    origin = plane.origin - position
    close_distance = float(origin @ plane.normal)
    if close_distance < max(EDGE_ON * math.hypot(*origin), SMALLEST / 2000):
        numbers = " ".join(f"{1000.0 * x:.6g}" for x in position)
        why = f"{plane.name}a crystal at {numbers} mm, where phi takes it, is in or behind the plane of the detector"
        raise InputError(f"crystal.{', '.join(Crystal.POSITION)}: {why}; allowed: a position in front of it")
    return dataclasses.replace(plane, origin=origin, close_distance=close_distance)


def frame(placement: Placement) -> np.ndarray:
    """Return the axes of the frame of the detector as columns (3, 3). Raises InputError unless they are at right angles."""
    columns = np.stack((placement.fast, placement.slow, placement.normal), axis=1)
    if np.abs(columns.T @ columns - np.eye(3)).max() > 2 * UNIT_AXES:
        why = "the axes of the frame of the panels are not at right angles"
        raise InputError(f"detector.fast_axis, slow_axis, normal_axis: {why}; allowed: axes at right angles, to {UNIT_AXES:g}")
    return columns


def _plane(panel: Panel, number: int, placement: Placement, columns: np.ndarray, pose: Pose) -> Plane:
    """Return the plane of a panel, of that number, from its pose. columns (3, 3): the axes of the frame."""
    origin = placement.origin + columns @ (pose.origin / 1000)
    fast, slow, normal = (columns @ axis for axis in pose[1:])
    close_distance = float(origin @ normal)
    if abs(close_distance) < max(EDGE_ON * math.hypot(*origin), SMALLEST / 2000):
        reason = "the crystal lies in its plane; allowed: a panel that faces the crystal"
        raise InputError(f"detector.panels: {panel.path}: {reason}")
    if close_distance < 0.0:
        normal, close_distance = -normal, -close_distance
    edges = panel.pixel_fast_mm / 1000, panel.pixel_slow_mm / 1000
    across = panel.shape[1] * edges[0] / 2 * fast + panel.shape[0] * edges[1] / 2 * slow
    return Plane(
        origin, fast, slow, normal, placement.beam, *edges, (panel.shape[1], panel.shape[0]),
        distance=float(np.linalg.norm(origin + across)), close_distance=close_distance, panel=panel,
        number=number,
    )  # fmt: skip


def poses(panel: Panel, motions: dict[str, Motion]) -> list[Pose]:
    """Return the stated pose of a panel, and its pose after each motion of motions_of, in their order (F1d)."""
    passed = [stated_pose(panel)]
    for _, moving in motions_of(panel, motions):
        passed.append(moving.moved(passed[-1]))
    return passed


def stated_pose(panel: Panel) -> Pose:
    """Return the pose that is stated of a panel."""
    fast, slow = np.array(panel.fast_axis), np.array(panel.slow_axis)
    return Pose(np.array(panel.origin_mm), fast, slow, unit(cross(fast, slow)))


def motions_of(panel: Panel, motions: dict[str, Motion]) -> list[tuple[str, Motion]]:
    """Return the motions of a panel, by the paths that move: its own, if any, and then those of groups from the inside out."""
    return [(path, motions[path]) for path in paths_above(panel.path) if path in motions]


def paths_above(path: str) -> list[str]:
    """Return the path of a panel, and those of the groups that it belongs to, from the inside out."""
    names = path.split("/")
    return ["/".join(names[:count]) for count in range(len(names), 0, -1)]


def members(detector: Detector, path: str) -> list[Panel]:
    """Return the panels of a group: those whose path begins with that one, or is it."""
    return [panel for panel in detector.panels if panel.path == path or panel.path.startswith(f"{path}/")]


def motions(detector: Detector, of_all: bool = False) -> dict[str, Motion]:
    """Return the motions of the groups that are shifted or turned, by their paths; of_all: of the others, too."""
    moved = (group for group in detector.groups if of_all or (group.shift_mm, group.turn_deg) != (NOT_MOVED, NOT_MOVED))
    return {group.path: _motion(detector, group) for group in moved}


def _motion(detector: Detector, group: Group) -> Motion:
    """Return how a group is moved. Its axes and its centre are those before anything is moved."""
    panels = members(detector, group.path)
    fast_axis, slow_axis = group.fast_axis, group.slow_axis
    if fast_axis is None or slow_axis is None:
        own = panels[0] if panels[0].path == group.path else None
        fast_axis, slow_axis = (own.fast_axis, own.slow_axis) if own else ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0))
    centre = np.mean([_centre(panel) for panel in panels], axis=0) if group.centre_mm is None else np.array(group.centre_mm)
    axes = np.stack((unit(fast_axis), unit(slow_axis), unit(cross(fast_axis, slow_axis))), axis=1)
    rotation = np.eye(3)
    for axis, degrees in zip(axes.T, group.turn_deg):
        rotation = about_axis(axis, radians(degrees)) @ rotation
    return Motion(axes, centre, rotation, np.array(group.shift_mm))


def _centre(panel: Panel) -> np.ndarray:
    """Return the centre of a panel in the frame of the detector, before anything is moved, in mm."""
    pose, (slow, fast) = stated_pose(panel), panel.shape
    return pose.origin + fast * panel.pixel_fast_mm / 2 * pose.fast + slow * panel.pixel_slow_mm / 2 * pose.slow
