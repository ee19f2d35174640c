"""What a geometry file states, whatever its format: panels, beam, rotation, crystal, in nanoBragg's laboratory frame.

The frame is that of the custom convention (specs/units.md), in which the beam runs along +x: where this one has (x, y, z), that
of imgCIF and dxtbx has (z, y, -x), and that of NeXus and CrystFEL (-z, y, x). None means that the file does not say.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from nbnumba.errors import InputError
from nbnumba.geometry.rotations import unit

LARGEST_NUMBER = 1e12
"""No number of a geometry is larger in size."""

ORTHOGONAL = 1e-4
"""The largest cosine of the angle between the two axes of a panel; files state them with few digits."""

NO_DISTANCE_MM = 100.0
"""The distance of a detector that a file leaves to a flag: a stand-in until the flag states it."""

MATERIALS = {"silicon": "Si", "cdte": "CdTe", "gaas": "GaAs"}
"""The materials of sensors by the names, in small letters, that detectors call them."""

NO_SENSOR_UM = 1e-3
"""A sensor of at most this thickness stands for none, in formats whose readers refuse 0."""

SHORTEST_VECTOR, FLATTEST_CELL = 1e-9, 1e-9
"""The shortest vector of a cell, in A or 1/A, and the smallest volume of a cell of unit vectors."""

MOST_PIXELS = 65535
"""Pixels along an edge of a panel at most; statements allow no more."""

MOST_PANELS = 4096

MOST_ROWS = 2**20
"""The largest row and column at which a panel may begin in the array of a file."""

LONGEST_NAME = 40
"""Characters of a name within a path."""

EDGE_ON = 1e-9
"""The sine of the angle between a plane and a ray from the crystal, or the beam, up to which the ray runs along the plane."""

UNIT_LENGTH = 1e-3
"""By how much a vector that is a unit vector in its format may be longer or shorter."""

_NOT_IN_PATH = re.compile(r"[^\w.:;+\-()#*]+")


@dataclass(frozen=True, eq=False)
class PanelGeometry:
    """A panel: its path in the tree of groups, its pixels, where they are, and its sensor.

    shape: numbers of pixels (slow, fast). origin_mm: the outer corner of the first pixel. fast_axis, slow_axis: unit vectors.
    attenuation_um: depth at which 1/e of the photons are left. parallax: whether the file's positions of spots take the depth
    of the sensor into account. trusted_min, trusted_max: the least and the largest valid value of a pixel. gain: counts per
    photon. masked: rectangles of bad pixels: first fast, first slow, and those after the last ones, from 0. data_origin: row
    and column of the first pixel in files that hold all panels as one array. gain_per_eV: counts per eV of a photon, where the
    file states these and no photon energy.
    """

    path: str
    shape: tuple[int, int]
    pixel_fast_mm: float
    pixel_slow_mm: float
    origin_mm: np.ndarray
    fast_axis: np.ndarray
    slow_axis: np.ndarray
    thickness_um: float | None = None
    attenuation_um: float | None = None
    material: str | None = None
    parallax: bool | None = None
    gain: float | None = None
    trusted_min: float | None = None
    trusted_max: float | None = None
    masked: tuple[tuple[int, int, int, int], ...] = ()
    data_origin: tuple[int, int] | None = None
    gain_per_eV: float | None = None

    @property
    def normal(self) -> np.ndarray:
        """The unit vector fast x slow."""
        return np.cross(self.fast_axis, self.slow_axis)

    def positions_mm(self, fast: Any, slow: Any) -> np.ndarray:
        """The positions (..., 3), in mm, of points in pixels from the outer edge of the first pixel."""
        fast_mm, slow_mm = np.asarray(fast) * self.pixel_fast_mm, np.asarray(slow) * self.pixel_slow_mm
        return self.origin_mm + np.multiply.outer(fast_mm, self.fast_axis) + np.multiply.outer(slow_mm, self.slow_axis)


@dataclass(frozen=True, eq=False)
class GroupGeometry:
    """A rigid group of panels: a path that their paths begin with, and its axes."""

    path: str
    fast_axis: np.ndarray
    slow_axis: np.ndarray


@dataclass(frozen=True, eq=False)
class FrameGeometry:
    """The frame of the whole detector, to which its panels belong: its origin in mm and its axes."""

    origin_mm: np.ndarray
    fast_axis: np.ndarray
    slow_axis: np.ndarray


@dataclass(frozen=True, eq=False)
class Scan:
    """Consecutive images of one rotation: the number of the first, how many there are, and the start and width of the first.

    images None: the file does not say how many there are.
    """

    first_image: int
    images: int | None
    phi_deg: float
    width_deg: float

    @property
    def image_numbers(self) -> str:
        """The numbers of the images, in words."""
        last = "on" if self.images is None else f"to {self.first_image + self.images - 1}"
        return f"{self.first_image} {last}" if self.images is not None else f"from {self.first_image} {last}"

    def has(self, image: int) -> bool:
        """Whether the scan has an image of this number."""
        return image >= self.first_image and (self.images is None or image < self.first_image + self.images)

    def phi_of(self, image: int) -> float:
        """The angle at which an image starts, in degrees."""
        return self.phi_deg + (image - self.first_image) * self.width_deg


@dataclass(frozen=True, eq=False)
class CrystalGeometry:
    """A crystal: real-space vectors a, b, c as rows (3, 3), in A, at phi = 0 in the laboratory.

    at_points (images + 1, 3, 3): the same at the start of every image and at the end of the last, where the crystal varies
    within the scan. space_group: the symbol of Hall in the file, without blanks at its ends (formats/symmetry.py:of_hall).
    """

    vectors: np.ndarray
    at_points: np.ndarray | None = None
    space_group: str | None = None


class ProfileGeometry(NamedTuple):
    """How wide DIALS found spots to be, as standard deviations in degrees.

    sigma_b_deg: of the angle between a diffracted ray and its predicted direction. sigma_m_deg: of the angle of rotation.
    """

    sigma_b_deg: float
    sigma_m_deg: float


@dataclass(frozen=True, eq=False)
class Geometry:
    """What a geometry file states.

    source: the name of the file. kind: its format. panels: in the order of the file. groups: the rigid groups. frame: that of
    the whole detector. beam_direction: the unit vector from the source to the crystal. polarization_axis: the unit vector of
    the larger component of the electric field, polarization_fraction: its share of the intensity. spindle_axis: the unit
    vector about which the crystal turns by phi, right-handed. beam_at_points, spindle_at_points (images + 1, 3): the same at
    the start of every image and at the end of the last. mask: True for bad pixels (slow, fast), an array for each panel.
    other_crystals: those in the same beam beside the first, of an experiment whose geometry is to be written. profile: how wide
    spots are. identifier: the name of the experiment, by which DIALS' tables of reflections call it. notes: sentences about
    what the file states and the image will not have.
    """

    source: str
    kind: str
    panels: tuple[PanelGeometry, ...] = ()
    groups: tuple[GroupGeometry, ...] = ()
    frame: FrameGeometry | None = None
    beam_direction: np.ndarray | None = None
    wavelength_A: float | None = None
    polarization_axis: np.ndarray | None = None
    polarization_fraction: float | None = None
    spindle_axis: np.ndarray | None = None
    scan: Scan | None = None
    crystal: CrystalGeometry | None = None
    other_crystals: tuple[CrystalGeometry, ...] = ()
    beam_at_points: np.ndarray | None = None
    spindle_at_points: np.ndarray | None = None
    mask: tuple[np.ndarray, ...] | None = None
    profile: ProfileGeometry | None = None
    identifier: str | None = None
    notes: tuple[str, ...] = ()

    def at_image(self, image: int | None) -> Geometry:
        """The geometry of one image of the scan: a scan of this image alone, and beam and crystal as in its middle.

        image: its number in the file; None for a still, or the only image of a scan. Raises InputError for an image that the
        file does not have, and if there are several and none is chosen.
        """
        scan = self.scan
        if scan is None:
            if image is not None:
                raise InputError(f"-image: {image} is not allowed: {self.source!r} states no scan; allowed: no -image")
            return self
        if image is None and scan.images == 1:
            image = scan.first_image
        if image is None or not scan.has(image):
            stated = "no image is chosen" if image is None else f"{image} is not allowed"
            allowed = f"the number of an image of {self.source!r}, {scan.image_numbers}"
            raise InputError(f"-image: {stated}; allowed: {allowed}")
        point = image - scan.first_image
        if any(_turns_round(points, point) for points in (self.beam_at_points, self.spindle_at_points)) or (
            self.crystal is not None and _turns_round(self.crystal.at_points, point)
        ):
            why = f"beam, spindle or crystal of {self.source!r} turn round within image {image}"
            raise InputError(f"-image: {why}; allowed: ones that change little")
        crystal, beam, spindle = self.crystal, self.beam_direction, self.spindle_axis
        if crystal is not None and crystal.at_points is not None:
            crystal = CrystalGeometry(mean_lattice(crystal.at_points[point : point + 2]), None, crystal.space_group)
        if self.beam_at_points is not None:
            beam = unit(self.beam_at_points[point : point + 2].sum(axis=0))
        if self.spindle_at_points is not None:
            spindle = unit(self.spindle_at_points[point : point + 2].sum(axis=0))
        return dataclasses.replace(
            self,
            scan=Scan(image, 1, scan.phi_of(image), scan.width_deg),
            crystal=crystal, beam_direction=beam, spindle_axis=spindle, beam_at_points=None, spindle_at_points=None,
        )  # fmt: skip


def _turns_round(points: np.ndarray | None, point: int) -> bool:
    """Whether vectors (.., 3) at the start and at the end of an image are at more than a right angle."""
    if points is None:
        return False
    start, end = points[point], points[point + 1]
    return bool(((start * end).sum(axis=-1) <= 0.0).any())


def mean_lattice(vectors: np.ndarray) -> np.ndarray:
    """The lattice (3, 3) whose reciprocal vectors are the means of those of some lattices (n, 3, 3)."""
    return np.linalg.inv(np.linalg.inv(vectors).mean(axis=0))


def with_data_origins(panels: list[PanelGeometry], origins: list[tuple[int, int] | None]) -> tuple[PanelGeometry, ...]:
    """The panels with their places in one array, rows and columns; without, where one is not known or two of them overlap."""
    boxes = [(*origin, *panel.shape) for panel, origin in zip(panels, origins) if origin is not None]
    if len(boxes) < len(panels) or len(panels) < 2 or max(max(box[:2]) for box in boxes) > MOST_ROWS:
        return tuple(panels)
    rows, columns, slow, fast = np.array(boxes).T
    for number in range(len(boxes)):
        row_overlap = (rows < rows[number] + slow[number]) & (rows[number] < rows + slow)
        if (row_overlap & (columns < columns[number] + fast[number]) & (columns[number] < columns + fast)).sum() > 1:
            return tuple(panels)
    return tuple(dataclasses.replace(panel, data_origin=origin) for panel, origin in zip(panels, origins))


def lab(vectors: Any) -> np.ndarray:
    """Vectors (..., 3) of the frame of imgCIF and dxtbx in that of nanoBragg."""
    x, y, z = np.moveaxis(np.asarray(vectors, dtype=np.float64), -1, 0)
    return np.stack([-z, y, x], axis=-1)


def lab_of_nexus(vectors: Any) -> np.ndarray:
    """Vectors (..., 3) of the frame of NeXus and CrystFEL in that of nanoBragg: their z runs along the beam, as x does here.

    It is the turn by which imgcif() takes vectors of nanoBragg to the frame of imgCIF.
    """
    return imgcif(vectors)


def imgcif(vectors: Any) -> np.ndarray:
    """Vectors (..., 3) of the frame of nanoBragg in that of imgCIF and dxtbx: the reverse of lab()."""
    x, y, z = np.moveaxis(np.asarray(vectors, dtype=np.float64), -1, 0)
    return np.stack([z, y, -x], axis=-1)


def turning(spindle: np.ndarray, scan: Scan) -> dict[str, Any]:
    """The fields of Geometry for a rotation; one of negative width is one about the opposite axis."""
    if scan.width_deg < 0.0:
        spindle, scan = -spindle, Scan(scan.first_image, scan.images, -scan.phi_deg, -scan.width_deg)
    return {"spindle_axis": spindle, "scan": scan}


def along_the_beam(geometry: Geometry) -> np.ndarray:
    """The rotation (3, 3) from the frame of nanoBragg to one of imgCIF in which the beam runs along -z, as its readers assume.

    It is imgcif() where the beam runs so there. Elsewhere the spindle, as far as it is across the beam, becomes x.
    """
    direction = imgcif(np.array([1.0, 0.0, 0.0]) if geometry.beam_direction is None else geometry.beam_direction)
    if np.abs(direction - (0.0, 0.0, -1.0)).max() < 1e-12:
        return imgcif(np.eye(3)).T
    spindle = imgcif(np.array([0.0, 0.0, 1.0]) if geometry.spindle_axis is None else geometry.spindle_axis)
    across = spindle - (spindle @ direction) * direction
    if np.abs(across).max() < 1e-6:
        across = np.cross(direction, np.eye(3)[np.argmin(np.abs(direction))])
    x_axis = unit(across)
    return np.array([x_axis, np.cross(x_axis, direction), -direction]) @ imgcif(np.eye(3)).T


def checked(geometry: Geometry, name: str, stated: Collection[str] = ()) -> Geometry:
    """The same geometry. Raises InputError, with the name of its file, for one that no image can have.

    These are panels whose gain is not above 0, whose sensor is thinner than nothing, whose least valid value is above the
    largest, or in whose plane the crystal lies, and a beam along all panels. stated: has "distance" where flags say how far the
    detector is from the crystal.
    """
    for panel in geometry.panels:
        called = "its detector" if len(geometry.panels) == 1 else f"panel {panel.path}"
        _check_panel(panel, f"{name}: {called}", "distance" in stated)
    direction = geometry.beam_direction
    if direction is not None and geometry.panels and all(abs(direction @ panel.normal) < EDGE_ON for panel in geometry.panels):
        raise InputError(f"{name} has a beam that runs along the detector; allowed: a detector that the beam meets")
    return geometry


def _check_panel(panel: PanelGeometry, called: str, is_moved: bool) -> None:
    """Raise InputError, with how messages call it, for a panel that cannot be. is_moved: whether flags put it elsewhere."""
    for gain, unit_of_gain in ((panel.gain, "photon"), (panel.gain_per_eV, "eV")):
        if gain is not None and not gain > 0.0:
            raise InputError(f"{called} has a gain of {gain:g} counts per {unit_of_gain}; allowed: a positive number")
    if panel.thickness_um is not None and not panel.thickness_um >= 0.0:
        raise InputError(f"{called} has a sensor of {panel.thickness_um:g} um; allowed: a thickness not below 0")
    if panel.attenuation_um is not None and not panel.attenuation_um > 0.0:
        raise InputError(f"{called} has an attenuation depth of {panel.attenuation_um:g} um; allowed: a positive number")
    least, most = panel.trusted_min, panel.trusted_max
    if least is not None and most is not None and least > most:
        stated = f"has valid values from {least:g} to {most:g}"
        raise InputError(f"{called} {stated}; allowed: the least of them not above the largest")
    height, distance = float(panel.origin_mm @ panel.normal), float(np.linalg.norm(panel.origin_mm))
    if not is_moved and not abs(height) > EDGE_ON * distance:
        raise InputError(f"{called} is in a plane with the crystal; allowed: one at a distance from it")


def check_unit(vector: np.ndarray, name: str) -> None:
    """Raise InputError, with a name, for a vector that has a direction and not the length 1, to UNIT_LENGTH."""
    length = float(np.linalg.norm(vector))
    if length > 0.0 and abs(length - 1.0) > UNIT_LENGTH:
        stated = f"has the axis {' '.join(f'{x:.6g}' for x in vector)} of length {length:.6g}"
        raise InputError(f"{name} {stated}; allowed: unit vectors")


def panel_axes(fast: np.ndarray, slow: np.ndarray, name: str) -> tuple[np.ndarray, np.ndarray]:
    """The unit axes of a panel. Raises InputError, with its name, unless they are orthogonal within ORTHOGONAL."""
    if not np.abs(fast).max() > 0.0 or not np.abs(slow).max() > 0.0:
        raise InputError(f"{name} has an axis 0 0 0; allowed: fast and slow axes that have a direction")
    fast, slow = unit(fast), unit(slow)
    if abs(fast @ slow) > ORTHOGONAL:
        axes = " and ".join(" ".join(f"{x:.6g}" for x in axis) for axis in (fast, slow))
        raise InputError(f"{name} has the axes {axes}, which are not orthogonal; allowed: orthogonal axes")
    half = (fast @ slow) / 2.0
    return unit(fast - half * slow), unit(slow - half * fast)


def check_lattice(vectors: np.ndarray, name: str) -> None:
    """Raise InputError, with a name, for three vectors (rows), in A or 1/A, that span no cell."""
    lengths = np.linalg.norm(vectors, axis=1)
    if not lengths.min() > SHORTEST_VECTOR or not abs(np.linalg.det(vectors / lengths[:, None])) > FLATTEST_CELL:
        raise InputError(f"{name} has vectors that lie in a plane; allowed: three that span a cell")


def path_of(*names: str) -> str:
    """The path of a group or a panel below others; characters that no path may have become "_", and names are cut."""
    return "/".join(_NOT_IN_PATH.sub("_", name.strip())[:LONGEST_NAME] for name in names if name.strip())


def unique_path(wanted: str, taken: set[str], otherwise: str) -> str:
    """A path for a panel or a group that no other has; `otherwise` stands for a name that is empty."""
    base = wanted or otherwise
    path, number = base, 1
    while path in taken:
        number += 1
        path = f"{base}_{number}"
    taken.add(path)
    return path


def group_tree(paths: Iterable[str], fast: np.ndarray, slow: np.ndarray) -> tuple[GroupGeometry, ...]:
    """Groups with the axes of the whole detector, the outer ones first; paths: their paths."""
    return tuple(GroupGeometry(path, fast, slow) for path in sorted(paths, key=lambda path: path.count("/")))
