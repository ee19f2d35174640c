"""XPARM.XDS and GXPARM.XDS of XDS: detector, beam, rotation and crystal as text, in a laboratory frame of the user's choice."""

from __future__ import annotations

import numpy as np

from nbnumba.errors import InputError
from nbnumba.formats import files
from nbnumba.formats.geometry import (
    LARGEST_NUMBER,
    MOST_PIXELS,
    CrystalGeometry,
    Geometry,
    PanelGeometry,
    Scan,
    check_lattice,
    lab,
    panel_axes,
    unit,
)
from nbnumba.formats.text import excerpt, number

EXPECTED = "an XPARM.XDS or GXPARM.XDS of XDS, of 2010 or later"
TITLE = "XPARM.XDS"
ROWS = (6, 4, 7, 3, 3, 3, 5, 3, 3, 3, 3)
"""The count of numbers on each line after the title, up to the axes of the detector."""

NO_SEGMENT = (0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
"""The second line of a segment that has not moved: an origin, a distance, and two axes."""

MOST_SEGMENTS = 4096


def read(path: files.PathName, what: str = "-xparm") -> Geometry:
    """Return the geometry of an XPARM.XDS; `what` is the flag that named the file.

    The laboratory frame of XDS is turned so that the spindle is the x axis of imgCIF, and the beam runs along -z as far as the
    spindle allows. The file does not state how many images there are. Raises InputError for what is no such file, and for
    segments of the detector that were moved, which no panel here stands for.
    """
    name = f"{what}: {files.name_of(path, what)!r}"
    lines = [line for line in files.read_text(path, what).split("\n") if line.strip()]
    if not lines or TITLE not in lines[0]:
        begins = f"its first line is {excerpt(lines[0].strip())}" if lines else "it is empty"
        raise InputError(f"{name} is no XPARM.XDS: {begins}; allowed: {EXPECTED}")
    rows = [_numbers(lines, row, count, name) for row, count in enumerate(ROWS, start=1)]
    (first, phi, width, *spindle), (wavelength, *beam), cell, a, b, c, counts, origin, *axes = rows
    segments, nx, ny, qx, qy = counts
    _check(f"{name}: its numbers of pixels", (nx, ny), lambda x: 1 <= x <= MOST_PIXELS and x == round(x), "whole numbers")
    _check(f"{name}: its size of a pixel", (qx, qy), lambda x: x > 1.0 / LARGEST_NUMBER, "positive numbers")
    _check(f"{name}: its wavelength", (wavelength,), lambda x: x > 1.0 / LARGEST_NUMBER, "a positive number")
    _check(f"{name}: its range of an image", (width,), lambda x: x >= 0.0, "a number not below 0")
    _check(f"{name}: its number of segments", (segments,), lambda n: 1 <= n <= MOST_SEGMENTS and n == round(n), "1 or more")
    _check(f"{name}: its first image", (first,), lambda n: n == round(n), "a whole number")
    _check_segments(lines[1 + len(ROWS) :], int(segments), name)
    frame = _frame(np.array(spindle), np.array(beam), name)
    fast, slow = panel_axes(axes[0], axes[1], f"{name}: its detector")
    normal, (orgx, orgy, distance) = _normal(axes[2], fast, slow, name), origin
    corner = (0.5 - orgx) * qx * fast + (0.5 - orgy) * qy * slow + distance * normal
    vectors = np.array([a, b, c])
    check_lattice(vectors, f"{name}: its crystal")
    corner, fast, slow, direction, spindle, vectors = (
        lab(np.asarray(v) @ frame.T) for v in (corner, fast, slow, unit(np.array(beam)), unit(np.array(spindle)), vectors)
    )
    panel = PanelGeometry("detector", (int(ny), int(nx)), float(qx), float(qy), corner, fast, slow)
    scan = Scan(int(first), None, float(phi), float(width)) if width > 0.0 else None
    return Geometry(
        files.name_of(path, what), "XDS", (panel,),
        beam_direction=direction, wavelength_A=float(wavelength), spindle_axis=spindle, scan=scan,
        crystal=CrystalGeometry(vectors, space_group=f"number {cell[0]:g}"),
    )  # fmt: skip


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


def _check_segments(lines: list[str], segments: int, name: str) -> None:
    """Raise InputError for a segment of the detector that was moved or turned."""
    for segment in range(segments):
        row = 2 * segment + 1
        if row < len(lines):
            placed = _numbers(lines, row, len(NO_SEGMENT), name)
            if not np.allclose(placed, NO_SEGMENT, rtol=0.0, atol=1e-9):
                stated = f"segment {segment + 1} of its detector is moved ({excerpt(lines[row].strip())})"
                raise InputError(f"{name}: {stated}; allowed: segments that are not, or an .expt made from it by dxtbx")


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
