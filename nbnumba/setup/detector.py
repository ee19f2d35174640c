"""Places the detector: from beam centre, distance, rotations and pivot to its origin and axes (F1a), and its sensor (F4a)."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from nbnumba.errors import InputError
from nbnumba.geometry.rotations import about_axis, about_xyz, cross, radians, unit
from nbnumba.parity import Defects
from nbnumba.setup.conventions import CONVENTIONS, from_detector, to_detector
from nbnumba.statements import SMALLEST, Beam, Detector, Panel

EDGE_ON = 1e-12
"""Sine of the angle below which the crystal lies in the plane of the detector."""


SAME_AXIS = 1e-6
"""Two unit vectors whose components differ by less count as the same, because they are stated with few digits."""


class Centres(NamedTuple):
    """Where the beam meets the detector, in the terms of other programs (F1a).

    mosflm, adxv, denzo: X and Y, in mm. xds: ORGX and ORGY, the point nearest to the crystal, in pixels. dials: the origin,
    which is the corner of the first pixel in the frame of DIALS, in mm.
    """

    mosflm: tuple[float, float]
    adxv: tuple[float, float]
    denzo: tuple[float, float]
    xds: tuple[float, float]
    dials: tuple[float, float, float]


@dataclass(frozen=True, eq=False)
class Plane:
    """A rectangle of pixels in the laboratory frame: the whole detector, or one of its panels (F1a, F1d).

    origin: corner of the first pixel, in m. fast, slow, normal: unit axes. beam: unit vector along the beam. pixel_fast,
    pixel_slow: edges of a pixel, in m. pixels: numbers of pixels along fast and slow. distance: that of F1b, in m: of the whole
    detector close_distance over the obliquity, and without a swing by two-theta the distance from the crystal along the beam;
    of a panel that of its centre. close_distance: from the crystal to the nearest point of the plane, in m. panel, number: what
    is stated of the panel, None if it is the whole detector, and its number, from 0.
    """

    origin: np.ndarray
    fast: np.ndarray
    slow: np.ndarray
    normal: np.ndarray
    beam: np.ndarray
    pixel_fast: float
    pixel_slow: float
    pixels: tuple[int, int]
    distance: float
    close_distance: float
    panel: Panel | None = None
    number: int = 0

    @property
    def name(self) -> str:
        """The beginning of a message about the panel; nothing if it is the whole detector."""
        return f"panel {self.panel.path}: " if self.panel else ""

    def crossing(self) -> tuple[float, tuple[float, float]] | None:
        """Return where the direct beam meets the plane after all rotations; None if it does not.

        The distance from the crystal, in m, and the fast and slow coordinates, in m.
        """
        return self.line_crossing() if float(self.beam @ self.normal) >= 1e-9 else None

    def line_crossing(self) -> tuple[float, tuple[float, float]]:
        """Return the same of the line of the beam, which also runs backwards; very far away if it is parallel to the plane."""
        crossing_distance = float(self.origin @ self.normal) / (float(self.beam @ self.normal) or 1e-9)
        spot = crossing_distance * self.beam - self.origin
        return crossing_distance, (float(spot @ self.fast), float(spot @ self.slow))

    def crossing_pixels(self) -> tuple[float, float] | None:
        """Return the fast and slow coordinates, in pixels, where the direct beam meets the plane; None if it does not."""
        crossing = self.crossing()
        return None if crossing is None else (crossing[1][0] / self.pixel_fast, crossing[1][1] / self.pixel_slow)

    def beam_within(self, rows: tuple[float, float], columns: tuple[float, float]) -> bool:
        """Return whether the direct beam meets a region of pixels: first and last row, first and last column."""
        spot = self.crossing_pixels()
        return spot is not None and columns[0] <= spot[0] <= columns[1] and rows[0] <= spot[1] <= rows[1]


@dataclass(frozen=True, eq=False)
class Placement(Plane):
    """The detector in the laboratory frame, or, if it has panels, their frame (F1a, F1d).

    xbeam, ybeam: beam centre in the terms of the convention, in m. stated_distance, stated_close_distance: the two distances,
    in m, that would put the detector in this place if a user stated them.
    """

    xbeam: float = math.nan
    ybeam: float = math.nan
    stated_distance: float = math.nan
    stated_close_distance: float = math.nan

    @property
    def pixel(self) -> float:
        """The edge of a pixel, in m."""
        return self.pixel_fast

    def near_point(self) -> tuple[float, float]:
        """Return the fast and slow coordinates of the point of the plane that is nearest to the crystal, in m."""
        return -float(self.origin @ self.fast), -float(self.origin @ self.slow)

    def centres(self, spot: tuple[float, float] | None = None) -> "Centres":
        """Return the beam centre, or the near point, in the terms of other programs; spot: in place of beam_spot()."""
        (fast, slow), (near_fast, near_slow) = spot or self.beam_spot(), self.near_point()
        pixel, slow_size = self.pixel, self.pixels[1] * self.pixel
        half = pixel / 2
        x, y, z = (1000.0 * float(v) for v in self.origin)
        return Centres(
            mosflm=((slow - half) * 1000, (fast - half) * 1000),
            adxv=(fast * 1000, (slow_size - slow) * 1000),
            denzo=(slow * 1000, fast * 1000),
            xds=(near_fast / pixel + 0.5, near_slow / pixel + 0.5),
            dials=(z, y, -x),
        )

    def beam_spot(self) -> tuple[float, float]:
        """Return the fast and slow coordinates of C's beam centre, in m: without a swing by two-theta it is crossing()."""
        spot = self.distance * self.beam - self.origin
        return float(spot @ self.fast), float(spot @ self.slow)


def position_detector(detector: Detector, beam: Beam, defects: Defects) -> Placement:
    """Return the placement of the detector (F1a).

    defects: those of C that are reproduced (parity.py). Raises InputError when the beam runs along the detector, when its axes
    are parallel, and when it turns its back to the crystal.
    """
    convention = CONVENTIONS[detector.convention]
    fast, slow, normal = _axes(detector, convention, defects)
    direction = beam_direction(detector, beam)
    turn = about_xyz((detector.rotx_deg, detector.roty_deg, detector.rotz_deg))
    swing = about_axis(twotheta_axis(detector), radians(detector.twotheta_deg))
    obliquity = _obliquity(direction, turn @ normal, detector, beam)
    distance_mm, close_distance_mm = detector.distance_mm, detector.close_distance_mm
    distance_mm = 100.0 if distance_mm is None else distance_mm
    stated_close_distance = abs(obliquity * distance_mm / 1000) if close_distance_mm is None else close_distance_mm / 1000
    stated_distance = stated_close_distance / obliquity
    pivot = pivot_of(detector, defects)
    pixel, slow_size = detector.pixel_mm / 1000, sizes(detector)[1]
    beam_centre = _reference(detector, convention, defects, pixel)
    near_point = _near_reference(detector, beam_centre, defects, pixel)
    corner = stated_close_distance * normal - near_point[0] * fast - near_point[1] * slow
    if honours_pix0(detector, defects):
        corner = np.array(detector.pix0_mm) / 1000
        unturned_close_distance = float(corner @ normal)
        unturned_obliquity = obliquity if pivot == "sample" else _obliquity(direction, normal, detector, beam)
        stated_distance = unturned_close_distance / unturned_obliquity
        stated_close_distance = unturned_close_distance if pivot == "sample" else stated_distance * obliquity
        fixed_point = np.zeros(3) if pivot == "sample" else stated_distance * direction
        beam_centre = (float((fixed_point - corner) @ fast), float((fixed_point - corner) @ slow))
    corner, fast, slow, normal = (swing @ (turn @ v) for v in (corner, fast, slow, normal))
    origin = corner if pivot == "sample" else stated_distance * direction - beam_centre[0] * fast - beam_centre[1] * slow
    close_distance = float(origin @ normal)
    if abs(close_distance) < max(EDGE_ON * math.hypot(*origin), SMALLEST / 2000):
        reason = "the crystal lies in the plane of the detector; allowed: what leaves the detector facing it"
        raise InputError(f"{_placed_by(detector, beam)}: {reason}")
    if close_distance < 0.0:
        reason = "the detector turns its back to the crystal; allowed: what leaves it facing the crystal"
        raise InputError(f"{_placed_by(detector, beam)}: {reason}")
    x, y = from_detector(convention, *beam_centre, pixel, slow_size)
    return Placement(
        origin, fast, slow, normal, direction, pixel, pixel, detector.pixels,
        distance=close_distance / obliquity, close_distance=close_distance, xbeam=x, ybeam=y,
        stated_distance=stated_distance, stated_close_distance=stated_close_distance,
    )  # fmt: skip


def sizes(detector: Detector) -> tuple[float, float]:
    """Return the sizes of the detector along fast and slow, in m."""
    if detector.size_mm is not None:
        return detector.size_mm[0] / 1000, detector.size_mm[1] / 1000
    return detector.pixels[0] * detector.pixel_mm / 1000, detector.pixels[1] * detector.pixel_mm / 1000


def sensor(detector: Detector, defects: Defects, panel: Panel | None = None) -> tuple[int, float, float]:
    """Return the number of layers of the sensor, the depth of each in m, and the absorption in 1/m (F4a).

    panel: of the detector, None for one without panels. defects: those of C that are reproduced. Without a sensor the numbers
    are 1, 0 and 0.
    """
    stated = detector if panel is None else panel
    thickness = stated.thickness_um * 1e-6
    endless = stated.attenuation_um == math.inf and not defects.endless_depth_dark
    if thickness == 0.0 or endless:
        return 1, 0.0, 0.0
    absorption = 1 / thickness if stated.attenuation_um is None else 1 / (stated.attenuation_um * 1e-6)
    layers = 2 if detector.layers is None else detector.layers
    if detector.layers is not None and defects.thick_layers:
        layers = max(layers, 2)
        return layers, thickness / (layers - 1), absorption
    return layers, thickness / layers, absorption


def beam_direction(detector: Detector, beam: Beam) -> np.ndarray:
    """Return the unit vector along the beam: that of the convention, or in the custom convention the one stated (F1a)."""
    convention = CONVENTIONS[detector.convention]
    return unit(_own(detector, beam.direction, convention.beam))


def polarization_axis(detector: Detector, beam: Beam) -> np.ndarray:
    """Return the unit vector along the E vector of the beam (F1a)."""
    convention = CONVENTIONS[detector.convention]
    return unit(_own(detector, beam.polarization_axis, convention.polarization))


def spindle_axis(detector: Detector, given) -> np.ndarray:
    """Return the unit vector along the spindle (F1a).

    given: the vector that is stated, or None.
    """
    return unit(_own(detector, given, CONVENTIONS[detector.convention].spindle))


def pivot_of(detector: Detector, defects: Defects) -> str:
    """Return what stays in place when the detector turns: "sample", the crystal, or "beam", the beam's point on it (F1a)."""
    if detector.pivot is not None and not defects.pivot_ignored:
        return detector.pivot
    if detector.convention != "custom":
        return CONVENTIONS[detector.convention].pivot
    if detector.implied_pivot is not None:
        return detector.implied_pivot
    near = (detector.xclose_mm, detector.yclose_mm, detector.orgx_pixels, detector.orgy_pixels, detector.close_distance_mm)
    return "sample" if any(v is not None for v in near) or detector.twotheta_deg != 0.0 else "beam"


def _own(detector, given, default):
    """Return a vector of the custom convention if it is stated; the other conventions have their own."""
    return given if detector.convention == "custom" and given is not None else default


def _axes(detector, convention, defects):
    """Return the unit axes fast, slow and normal before the detector turns (F1a, P6)."""
    fast = unit(_own(detector, detector.fast_axis, convention.fast))
    slow = unit(_own(detector, detector.slow_axis, convention.slow))
    across = cross(fast, slow)
    if across @ across < 1e-12:
        raise InputError(f"detector.fast_axis, slow_axis: {fast} and {slow} are parallel; allowed: axes that span a plane")
    default = convention.normal
    if detector.convention == "custom" and not defects.normal_not_derived:
        default = across
    normal = np.array(_own(detector, detector.normal_axis, default))
    return fast, slow, normal if _is_unit(normal) else unit(across)


def _is_unit(vector) -> bool:
    """Return whether a vector has the length 1 to the last digit; nanoBragg replaces a normal that has another length."""
    return max(map(abs, vector)) < 2.0 and math.sqrt(vector @ vector) == 1.0


def twotheta_axis(detector: Detector) -> np.ndarray:
    """Return the unit vector along the axis about which the detector swings (F1a)."""
    return unit(_own(detector, detector.twotheta_axis, CONVENTIONS[detector.convention].twotheta))


def _obliquity(direction, normal, detector: Detector, beam: Beam) -> float:
    """Return the cosine of the angle between beam and normal. Raises InputError where it is 0 (F1a)."""
    ratio = float(direction @ normal)
    if abs(ratio) < 1e-12:
        reason = "the incident beam runs along the detector; allowed: any plane that the beam meets"
        raise InputError(f"{_placed_by(detector, beam)}: {reason}")
    return ratio


PLACING = ("distance_mm", "close_distance_mm", "pix0_mm", "rotx_deg", "roty_deg", "rotz_deg", "twotheta_deg")
PLACING += ("fast_axis", "slow_axis", "normal_axis", "twotheta_axis", "pivot")


def _placed_by(detector: Detector, beam: Beam) -> str:
    """Return the names of those fields which place the detector in front of the crystal and are not as by default."""
    defaults = Detector()
    stated = [f"detector.{name}" for name in PLACING if getattr(detector, name) not in (None, getattr(defaults, name))]
    stated += ["beam.direction"] if beam.direction is not None else []
    return ", ".join(stated) or "detector.distance_mm"


def _reference(detector, convention, defects, pixel) -> tuple[float, float]:
    """Return the fast and slow coordinates of the beam centre, in m: as stated in any form, or by default (F1a).

    pixel: edge of a pixel, in m.
    """
    across = sizes(detector)
    near = [_near(detector, axis, pixel) for axis in (0, 1)]
    if convention.default_pixels is None:
        default = [size / 2 if n is None else n for size, n in zip(across, near)]
        x, y = default
    else:
        along = (across[1], across[0]) if convention.swapped else across
        x, y = ((size + half * pixel) / 2 for size, half in zip(along, convention.default_pixels))
    x = x if detector.xbeam_mm is None else detector.xbeam_mm / 1000
    y = y if detector.ybeam_mm is None else detector.ybeam_mm / 1000
    spot = list(to_detector(convention, x, y, pixel, across[1]))
    if convention.default_pixels is not None and not defects.near_point_ignored:
        given = (detector.ybeam_mm, detector.xbeam_mm) if convention.swapped else (detector.xbeam_mm, detector.ybeam_mm)
        spot = [s if g is not None or n is None else n for s, g, n in zip(spot, given, near)]
    return spot[0], spot[1]


def _near(detector, axis, pixel) -> float | None:
    """Return the coordinate of the near point along an axis, in m, or None if it is not stated (F1a).

    axis: 0 for fast, 1 for slow. pixel: edge of a pixel, in m.
    """
    close = (detector.xclose_mm, detector.yclose_mm)[axis]
    origin = (detector.orgx_pixels, detector.orgy_pixels)[axis]
    if close is not None:
        return close / 1000
    return None if origin is None else (origin - 0.5) * pixel


def _near_reference(detector, spot, defects, pixel) -> tuple[float, float]:
    """Return the fast and slow coordinates, in m, of the point that the crystal faces before the detector turns (F1a, P5).

    It is the beam centre; with near_point_ignored, in the conventions xds and dials, that of -ORGX and -ORGY or the middle.
    """
    if detector.convention == "custom" or not defects.near_point_ignored:
        return spot
    origins = (detector.orgx_pixels, detector.orgy_pixels)
    fast, slow = (size / 2 if o is None else (o - 0.5) * pixel for size, o in zip(sizes(detector), origins))
    return fast, slow


NEAR = ("xclose_mm", "yclose_mm", "orgx_pixels", "orgy_pixels")
"""The fields that state the point nearest to the crystal."""


def _stated_centres(detector) -> list[str]:
    """Return the names of those forms of the beam centre that are stated."""
    return [name for name in ("xbeam_mm", "ybeam_mm", *NEAR) if getattr(detector, name) is not None]


def honours_pix0(detector: Detector, defects: Defects) -> bool:
    """Return whether the corner of the first pixel places the detector: it does unless a beam centre is stated (F1a, P3)."""
    return detector.pix0_mm is not None and not defects.pix0_ignored and not _stated_centres(detector)


def without_effect(detector: Detector, defects: Defects) -> list[str]:
    """Return a sentence for everything that is stated of the detector and has no effect."""
    convention, stated = CONVENTIONS[detector.convention], _stated_centres(detector)
    sentences = [*_overruled_centres(convention, stated), *_overruled_distances(detector, defects, stated)]
    if convention.default_pixels is not None and defects.near_point_ignored:
        sentences += [f"detector.{name} has no effect: C's defect near_point_ignored is on" for name in stated if name in NEAR]
    if detector.pivot is not None and defects.pivot_ignored and detector.convention != "custom":
        sentences.append(f"detector.pivot has no effect: C's defect pivot_ignored is on, and {detector.convention} has its own")
    if detector.convention != "custom":
        vectors = ("fast_axis", "slow_axis", "normal_axis", "twotheta_axis")
        why = f"the convention {detector.convention} has its own"
        sentences += [f"detector.{name} has no effect: {why}" for name in vectors if getattr(detector, name) is not None]
    elif detector.normal_axis is not None and any(detector.normal_axis):
        sentences += _replaced_normal(detector, convention, defects)
    return sentences


def _replaced_normal(detector, convention, defects):
    """Yield a sentence where the stated normal is replaced by another one (F1a)."""
    normal, used = np.array(detector.normal_axis), _axes(detector, convention, defects)[2]
    if not _is_unit(normal) and np.abs(unit(normal) - used).max() > SAME_AXIS:
        shown = " ".join(f"{x:.6g}" for x in used)
        why = f"its length is not exactly 1, so that, as in nanoBragg, fast x slow stands in its place: {shown}"
        yield f"detector.normal_axis has no effect: {why}"


def _overruled_distances(detector, defects, stated):
    """Yield a sentence for every distance or corner that another statement overrules (F1a)."""
    has_distance = detector.distance_mm is not None or detector.close_distance_mm is not None
    if detector.pix0_mm is not None and not honours_pix0(detector, defects):
        why = f"detector.{stated[0]} says where the beam is" if stated else "C's defect pix0_ignored is on"
        yield f"detector.pix0_mm has no effect: {why}"
    elif detector.pix0_mm is not None and has_distance:
        yield "detector.distance_mm and close_distance_mm have no effect: detector.pix0_mm says where the detector is"
    if detector.distance_mm is not None and detector.close_distance_mm is not None:
        yield "detector.distance_mm has no effect: detector.close_distance_mm is given"


def _overruled_centres(convention, stated):
    """Yield a sentence for every form of the beam centre that does not count: along each axis the first one counts (F1a)."""
    along = {"fast": ["ybeam_mm" if convention.swapped else "xbeam_mm", "xclose_mm", "orgx_pixels"]}
    along["slow"] = ["xbeam_mm" if convention.swapped else "ybeam_mm", "yclose_mm", "orgy_pixels"]
    for names in along.values():
        forms = [name for name in names if name in stated]
        for form in forms[1:]:
            yield f"detector.{form} has no effect: detector.{forms[0]} says where the beam is"
