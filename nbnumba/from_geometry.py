"""From a geometry file to statements: the fields of detector, beam, goniometer and crystal that it states (specs/forward.md, F1d)."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np

from nbnumba.errors import InputError
from nbnumba.formats.geometry import Geometry, PanelGeometry
from nbnumba.geometry.cell import cell_of, standard_setting
from nbnumba.statements import Beam, Crystal, Detector, Goniometer

STEEP = 0.05
"""The cosine of the angle between beam and normal from which on distance and beam centre state where a panel is."""

SAME_EDGE = 1e-9
"""Relative difference up to which the two edges of a pixel are the same."""


def detector(geometry: Geometry) -> Detector:
    """Return the detector of a geometry: of one panel, or of many. Raises InputError for one that states no panel."""
    return Detector(**detector_fields(geometry))


def beam(geometry: Geometry, **fields: Any) -> Beam:
    """Return the beam of a geometry, with other fields as given."""
    return Beam(**beam_fields(geometry) | fields)


def goniometer(geometry: Geometry) -> Goniometer:
    """Return the rotation of a geometry of one image, or of a still."""
    return Goniometer(**goniometer_fields(geometry))


def crystal(geometry: Geometry, **fields: Any) -> Crystal:
    """Return the crystal of a geometry, with other fields as given. Raises InputError for a geometry without a crystal."""
    return Crystal(**crystal_fields(geometry) | fields)


def detector_fields(geometry: Geometry) -> dict[str, Any]:
    """Return the fields of Detector that a geometry states, in the custom convention."""
    if not geometry.panels:
        raise InputError(f"{geometry.source!r} states no detector; allowed: a file with one")
    if len(geometry.panels) > 1:
        raise InputError(f"{geometry.source!r} states a detector of {len(geometry.panels)} panels; allowed: one panel")
    panel = geometry.panels[0]
    if abs(panel.pixel_fast_mm - panel.pixel_slow_mm) > SAME_EDGE * panel.pixel_fast_mm:
        edges = f"{panel.pixel_fast_mm:g} x {panel.pixel_slow_mm:g} mm"
        raise InputError(f"{geometry.source!r} states pixels of {edges}; allowed: square pixels")
    slow, fast = panel.shape
    return {
        "convention": "custom",
        "pixels": (fast, slow),
        "pixel_mm": panel.pixel_fast_mm,
        **_pose_fields(panel.origin_mm, panel.fast_axis, panel.slow_axis, _direction(geometry)),
        **_sensor_fields(panel),
    }


def _direction(geometry: Geometry) -> np.ndarray:
    """Return the unit vector along the beam: by default that of the custom convention."""
    return np.array([1.0, 0.0, 0.0]) if geometry.beam_direction is None else geometry.beam_direction


def _pose_fields(origin: np.ndarray, fast: np.ndarray, slow: np.ndarray, direction: np.ndarray) -> dict[str, Any]:
    """Return the fields that put the corner of a detector in a place, in mm: those of the beam, unless it is nearly parallel.

    The normal is the one of both that the crystal faces.
    """
    normal = np.cross(fast, slow)
    normal = normal if origin @ normal > 0.0 else -normal
    axes = {"fast_axis": _numbers(fast), "slow_axis": _numbers(slow), "normal_axis": _exactly_unit(normal)}
    obliquity = float(direction @ normal)
    if abs(obliquity) < STEEP:
        near = {"close_distance_mm": float(origin @ normal), "xclose_mm": -float(origin @ fast), "yclose_mm": -float(origin @ slow)}
        return axes | near | {"pivot": "sample"}
    distance = float(origin @ normal) / obliquity
    spot = distance * direction - origin
    return axes | {"distance_mm": distance, "xbeam_mm": float(spot @ fast), "ybeam_mm": float(spot @ slow)}


def _numbers(vector: np.ndarray) -> tuple[float, float, float]:
    x, y, z = (float(component) for component in vector)
    return x, y, z


def _exactly_unit(vector: np.ndarray) -> tuple[float, float, float]:
    """Return the vector with last digits for which its length is exactly 1: a normal of another length is replaced (F1a)."""
    for steps in itertools.product((0, 1, -1, 2, -2), repeat=3):
        moved = vector + np.array(steps) * np.spacing(vector)
        if math.sqrt(moved @ moved) == 1.0:
            return _numbers(moved)
    return _numbers(vector)


def _sensor_fields(panel: PanelGeometry) -> dict[str, float]:
    """Return the sensor: none where the file's positions of spots do not know its depth."""
    if not panel.thickness_um or not panel.attenuation_um or panel.parallax is False:
        return {}
    return {"thickness_um": panel.thickness_um, "attenuation_um": panel.attenuation_um}


def beam_fields(geometry: Geometry) -> dict[str, Any]:
    """Return the fields of Beam that a geometry states. Kahn's factor is twice the larger share of the intensity less 1."""
    fields: dict[str, Any] = {}
    if geometry.wavelength_A is not None:
        fields["wavelength_A"] = geometry.wavelength_A
    if geometry.beam_direction is not None:
        fields["direction"] = _numbers(geometry.beam_direction)
    if geometry.polarization_fraction is not None:
        fields["polarization"] = 2.0 * geometry.polarization_fraction - 1.0
    if geometry.polarization_axis is not None:
        fields["polarization_axis"] = _numbers(geometry.polarization_axis)
    return fields


def goniometer_fields(geometry: Geometry) -> dict[str, Any]:
    """Return the fields of Goniometer that a geometry states: those of a scan only if it is one image (Geometry.at_image)."""
    fields: dict[str, Any] = {}
    if geometry.spindle_axis is not None:
        fields["spindle_axis"] = _numbers(geometry.spindle_axis)
    if geometry.scan is not None and geometry.scan.images == 1:
        fields |= {"phi_deg": geometry.scan.phi_deg, "osc_deg": geometry.scan.width_deg}
    return fields


def crystal_fields(geometry: Geometry) -> dict[str, Any]:
    """Return cell and orientation of the crystal of a geometry. Raises InputError for a geometry without a crystal."""
    if geometry.crystal is None:
        raise InputError(f"{geometry.source!r} states no crystal; allowed: a file with one, or a crystal beside it")
    vectors = geometry.crystal.vectors
    cell = cell_of(vectors)
    orientation = (np.linalg.inv(standard_setting(*cell)) @ vectors).T
    return {**dict(zip(Crystal.CELL, cell)), "orientation": tuple(_numbers(row) for row in orientation)}


def reindexed(hkl: np.ndarray, change: np.ndarray) -> np.ndarray:
    """Return the indices (n, 3) of reflections in another basis.

    change (3, 3): its rows make h, k and l in the new basis of those in the old one. Raises InputError for a reflection whose
    new indices are not whole.
    """
    new = np.asarray(hkl) @ np.asarray(change, dtype=np.float64).T
    whole = np.rint(new)
    wrong = np.abs(new - whole).max(axis=1, initial=0.0) > 1e-6
    if wrong.any():
        first = int(np.argmax(wrong))
        old, got = (" ".join(f"{x:g}" for x in row) for row in (hkl[first], new[first]))
        raise InputError(f"reflection {old} would be {got} in the new basis; allowed: a change of basis to whole indices")
    return whole.astype(np.int64)


