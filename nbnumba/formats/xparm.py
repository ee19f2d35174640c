"""XPARM.XDS and GXPARM.XDS of XDS: detector, beam, rotation and crystal as text, in a laboratory frame of the user's choice."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from nbnumba.errors import InputError
from nbnumba.formats import files
from nbnumba.formats.geometry import (
    LARGEST_NUMBER,
    MOST_PIXELS,
    UNIT_LENGTH,
    CrystalGeometry,
    FrameGeometry,
    Geometry,
    PanelGeometry,
    Scan,
    check_lattice,
    check_unit,
    checked,
    lab,
    panel_axes,
    with_data_origins,
)
from nbnumba.formats.symmetry import hall_of_number
from nbnumba.formats.text import excerpt, number
from nbnumba.geometry.cell import SAME_CELL, cell_of
from nbnumba.geometry.rotations import unit

EXPECTED = "an XPARM.XDS or GXPARM.XDS of XDS, of 2010 or later"
TITLE = "XPARM.XDS"
ROWS = (6, 4, 7, 3, 3, 3, 5, 3, 3, 3, 3)
"""The count of numbers on each line after the title, up to the axes of the detector."""

NO_SEGMENT = (0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
"""The second line of a segment that has not moved: where its origin is, in pixels, its distance in mm, and two axes."""

MOST_SEGMENTS = 4096


class Segment(NamedTuple):
    """A part of the image: its first pixel along fast and slow, from 0, its numbers of pixels (slow, fast), and its place.

    origin: the pixel at its origin, along fast and slow, counted as in the image; distance_mm; axes: fast and slow, in the
    frame of the detector.
    """

    first: tuple[int, int]
    shape: tuple[int, int]
    origin: tuple[float, float]
    distance_mm: float
    axes: np.ndarray


def read(path: files.PathName, what: str = "-xparm", stated: frozenset[str] = frozenset()) -> Geometry:
    """Return the geometry of an XPARM.XDS; `what` is the flag that named the file.

    The laboratory frame of XDS is turned so that the spindle is the x axis of imgCIF, and the beam runs along -z as far as the
    spindle allows. The file does not state how many images there are. If a segment of the detector is moved, each segment is a
    panel, in the frame of the detector. stated: has "distance" where flags say how far the detector is. Raises InputError for
    what is no such file, and for a detector that no image can have.
    """
    name = f"{what}: {files.name_of(path, what)!r}"
    lines = [line for line in files.read_text(path, what).split("\n") if line.strip()]
    if not lines or TITLE not in lines[0]:
        begins = f"its first line is {excerpt(lines[0].strip())}" if lines else "it is empty"
        raise InputError(f"{name} is no XPARM.XDS: {begins}; allowed: {EXPECTED}")
    rows = [_numbers(lines, row, count, name) for row, count in enumerate(ROWS, start=1)]
    (first, phi, width, *spindle), (wavelength, *beam), cell, a, b, c, counts, origin, *axes = rows
    segments, nx, ny, qx, qy = counts
    within = f"a whole number from 1 to {MOST_PIXELS}"
    _check(f"{name}: its number of pixels", (nx, ny), lambda x: 1 <= x <= MOST_PIXELS and x == round(x), within)
    _check(f"{name}: its size of a pixel", (qx, qy), lambda x: x > 1.0 / LARGEST_NUMBER, "a positive number")
    _check(f"{name}: its wavelength", (wavelength,), lambda x: x > 1.0 / LARGEST_NUMBER, "a positive number")
    _check(f"{name}: its range of an image", (width,), lambda x: x >= 0.0, "a number not below 0")
    _check(f"{name}: its number of segments", (segments,), lambda n: 1 <= n <= MOST_SEGMENTS and n == round(n), "1 or more")
    _check(f"{name}: its first image", (first,), lambda n: n == round(n), "a whole number")
    moved = _segments(lines, int(segments), (int(nx), int(ny)), name)
    frame = _frame(np.array(spindle), np.array(beam), name)
    for axis in axes[:2]:
        check_unit(axis, f"{name}: its detector")
    fast, slow = panel_axes(axes[0], axes[1], f"{name}: its detector")
    normal, (orgx, orgy, distance) = _normal(axes[2], fast, slow, name), origin
    point = -orgx * qx * fast - orgy * qy * slow + distance * normal
    places = [_place(each, np.array([fast, slow, normal]), (qx, qy), point, name) for each in moved]
    corner = (0.5 - orgx) * qx * fast + (0.5 - orgy) * qy * slow + distance * normal
    vectors = np.array([a, b, c])
    check_lattice(vectors, f"{name}: its crystal")
    corner, fast, slow, direction, spindle, vectors = (
        lab(np.asarray(v) @ frame.T) for v in (corner, fast, slow, unit(np.array(beam)), unit(np.array(spindle)), vectors)
    )
    panels = [PanelGeometry("detector", (int(ny), int(nx)), float(qx), float(qy), corner, fast, slow)]
    if moved:
        panels = [
            PanelGeometry(f"segment{number}", each.shape, float(qx), float(qy), *(lab(vector @ frame.T) for vector in place))
            for number, (each, place) in enumerate(zip(moved, places), start=1)
        ]
    placed = with_data_origins(panels, [each.first[::-1] for each in moved])
    scan = Scan(int(first), None, float(phi), float(width)) if width > 0.0 else None
    geometry = Geometry(
        files.name_of(path, what), "XDS", placed, frame=FrameGeometry(corner, fast, slow) if moved else None,
        beam_direction=direction, wavelength_A=float(wavelength), spindle_axis=spindle, scan=scan,
        crystal=CrystalGeometry(vectors, space_group=hall_of_number(cell[0])),
        notes=_notes(wavelength, beam, cell[1:], vectors),
    )  # fmt: skip
    return checked(geometry, name, stated)


def _notes(wavelength: float, beam: list[float], cell: np.ndarray, vectors: np.ndarray) -> tuple[str, ...]:
    """Sentences where the file states a quantity twice, and not the same: the beam is 1 / wavelength long."""
    notes, length = [], float(np.linalg.norm(beam))
    if abs(length * wavelength - 1.0) > UNIT_LENGTH and abs(length - 1.0) > UNIT_LENGTH:
        beam_says = f"a beam of length {length:.6g}, which is that of {1 / length:.6g} A"
        notes.append(f"states {beam_says}, and a wavelength of {wavelength:g} A, which counts")
    of_vectors = np.array(cell_of(vectors))
    if not np.allclose(cell, of_vectors, rtol=SAME_CELL, atol=0.0):
        stated, counts = (" ".join(f"{x:.6g}" for x in numbers) for numbers in (cell, of_vectors))
        notes.append(f"states the cell {stated}, and vectors of the cell {counts}, which count")
    return tuple(notes)


def _numbers(lines: list[str], row: int, count: int, name: str) -> np.ndarray:
    """The numbers of a line. Raises InputError unless there are so many, and all are finite."""
    words = lines[row].split() if row < len(lines) else []
    values = [number(word) for word in words]
    if len(values) != count or not all(value is not None and abs(value) <= LARGEST_NUMBER for value in values):
        shown = excerpt(lines[row].strip()) if row < len(lines) else "missing"
        raise InputError(f"{name}: line {row + 1} is {shown}; allowed: {count} numbers, as in {EXPECTED}")
    return np.array(values)


def _check(name: str, values, test, allowed: str) -> None:
    for value in values:
        if not test(value):
            raise InputError(f"{name} is {value:g}; allowed: {allowed}")


def _segments(lines: list[str], count: int, counts: tuple[int, int], name: str) -> list[Segment]:
    """The segments of the detector, of which some are moved; none where the whole image is one plane.

    lines: of the file. counts: the numbers of pixels of the image, along fast and slow.
    """
    first = 1 + len(ROWS)
    segments: list[Segment] = []
    placed: list[np.ndarray] = []
    for row in range(first, min(first + 2 * count, len(lines) - 1), 2):
        _, *limits = _numbers(lines, row, 5, name)
        placed.append(_numbers(lines, row + 1, len(NO_SEGMENT), name))
        x0, x1, y0, y1 = (int(limit) if limit == round(limit) else 0 for limit in limits)
        if not (1 <= x0 <= x1 <= counts[0] and 1 <= y0 <= y1 <= counts[1]):
            within = f"whole numbers within 1 {counts[0]} 1 {counts[1]}"
            raise InputError(f"{name}: a segment of its detector is {excerpt(lines[row].strip())}; allowed: {within}")
        orgx, orgy, distance, *axes = (float(value) for value in placed[-1])
        axes = np.array(axes).reshape(2, 3)
        segments.append(Segment((x0 - 1, y0 - 1), (y1 - y0 + 1, x1 - x0 + 1), (orgx, orgy), distance, axes))
    if all(np.allclose(place, NO_SEGMENT, rtol=0.0, atol=1e-9) for place in placed):
        return []
    if len(segments) < count:
        raise InputError(f"{name} has {len(segments)} of {count} segments of its detector; allowed: all of them")
    return segments


def _place(segment: Segment, axes: np.ndarray, edges: tuple[float, float], point: np.ndarray, name: str) -> list[np.ndarray]:
    """The corner of the first pixel of a segment, in mm, and its axes.

    axes: those of the detector as rows. edges: of a pixel. point: the origin of the frame of the detector, its pixel 0 0. The
    centre of the pixel x, y of the image is at (x - origin_x) edge_x fast + (y - origin_y) edge_y slow + distance normal.
    """
    for axis in segment.axes:
        check_unit(axis, f"{name}: a segment of its detector")
    fast, slow = panel_axes(*segment.axes, f"{name}: a segment of its detector")
    own = np.array([fast, slow, np.cross(fast, slow)])
    pixels = [first + 0.5 - origin for first, origin in zip(segment.first, segment.origin)]
    within = np.array([pixels[0] * edges[0], pixels[1] * edges[1], segment.distance_mm]) @ own
    return [point + within @ axes, fast @ axes, slow @ axes]


def _normal(stated: np.ndarray, fast: np.ndarray, slow: np.ndarray, name: str) -> np.ndarray:
    """The normal of the detector: fast x slow, or its opposite, as the file states it to few digits."""
    normal = np.cross(fast, slow)
    length = np.linalg.norm(stated)
    along = float(stated @ normal) / length if length > 0.0 else 0.0
    if abs(along) < 0.999:
        raise InputError(f"{name}: its detector's normal is not at right angles to its axes; allowed: a normal that is")
    return np.copysign(1.0, along) * normal


def _frame(spindle: np.ndarray, beam: np.ndarray, name: str) -> np.ndarray:
    """The rotation (3, 3) from the frame of the file to that of imgCIF. Raises InputError for a beam along the spindle."""
    if not np.abs(spindle).max() > 0.0 or not np.abs(beam).max() > 0.0:
        raise InputError(f"{name}: its spindle or its beam is 0 0 0; allowed: vectors that have a direction")
    x, towards_source = unit(spindle), -unit(beam)
    z = towards_source - (towards_source @ x) * x
    if np.linalg.norm(z) < 1e-3:
        raise InputError(f"{name}: its beam runs along the spindle; allowed: a beam at an angle to it")
    z = unit(z)
    return np.array([x, np.cross(z, x), z])
