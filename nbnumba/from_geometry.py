"""From a file of geometry to statements: the fields of detector, beam, goniometer and crystal that it states (F1e)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from nbnumba.constants import HC_EV_A
from nbnumba.errors import InputError
from nbnumba.formats.geometry import EDGE_ON, NO_SENSOR_UM, Geometry, PanelGeometry
from nbnumba.formats.text import printable
from nbnumba.geometry.cell import LONGEST_CELL_A, SHORTEST_CELL_A, cell_of, standard_setting
from nbnumba.setup.absorption import attenuation_um
from nbnumba.statements import Beam, Crystal, Detector, Goniometer, Group, Panel

STEEP = 0.05
"""The cosine of the angle between beam and normal from which on distance and beam centre state where a panel is."""

SAME_EDGE = 1e-9
"""Relative difference up to which the two edges of a pixel are the same."""


def detector(geometry: Geometry) -> Detector:
    """Return the detector of a geometry: of one panel, or of many. Raises InputError for one that states no panel."""
    return Detector(**detector_fields(geometry))


def beam(geometry: Geometry, **fields: Any) -> Beam:
    """Return the beam of a geometry, with other fields as given. Raises InputError where neither states a wavelength."""
    fields = beam_fields(geometry) | fields
    if "wavelength_A" not in fields:
        raise InputError(f"{geometry.source!r} states no wavelength; allowed: a geometry that has wavelength_A")
    return Beam(**fields)


def goniometer(geometry: Geometry) -> Goniometer:
    """Return the rotation of a geometry of one image, or of a still."""
    return Goniometer(**goniometer_fields(geometry))


def crystal(geometry: Geometry, **fields: Any) -> Crystal:
    """Return the crystal of a geometry, with other fields as given. Raises InputError for a geometry without a crystal."""
    return Crystal(**crystal_fields(geometry) | fields)


def states(geometry: Geometry, part: str) -> bool:
    """Whether a geometry states a part of an experiment, so that it can be made of it alone."""
    stated = {"detector": geometry.panels, "beam": geometry.wavelength_A, "crystal": geometry.crystal, "goniometer": True}
    return bool(stated[part])


PARTS: dict[str, Callable[[Geometry], Any]] = {
    "detector": detector, "beam": beam, "goniometer": goniometer, "crystal": crystal,
}  # fmt: skip
"""What makes each part of an experiment that a geometry states."""


def detector_fields(geometry: Geometry) -> dict[str, Any]:
    """Return the fields of Detector that a geometry states, in the custom convention (F1e).

    One panel of square pixels is the detector itself. Others are panels in the frame of the detector.
    """
    if not geometry.panels:
        raise InputError(f"{geometry.source!r} states no detector; allowed: a file with one")
    panel = geometry.panels[0]
    if len(geometry.panels) > 1 or abs(panel.pixel_fast_mm - panel.pixel_slow_mm) > SAME_EDGE * panel.pixel_fast_mm:
        return _fields_of_panels(geometry)
    slow, fast = panel.shape
    return {
        "convention": "custom",
        "pixels": (fast, slow),
        "pixel_mm": panel.pixel_fast_mm,
        **_counted_fields(panel),
        **_pose_fields(panel.origin_mm, panel.fast_axis, panel.slow_axis, _direction(geometry)),
        **_sensor_fields(geometry, panel),
    }


def _fields_of_panels(geometry: Geometry) -> dict[str, Any]:
    """Return the fields of a detector of panels: its frame, and panels and groups in it."""
    origin, fast, slow = _frame(geometry)
    axes = np.array([fast, slow, np.cross(fast, slow)])
    panels = [
        Panel(
            panel.path, panel.shape, panel.pixel_fast_mm, panel.pixel_slow_mm,
            _numbers(axes @ (panel.origin_mm - origin)), _numbers(axes @ panel.fast_axis), _numbers(axes @ panel.slow_axis),
            material=panel.material, gain=_gain(geometry, panel),
            data_origin=panel.data_origin, **_counted_fields(panel), **_sensor_fields(geometry, panel),
        )
        for panel in geometry.panels
    ]  # fmt: skip
    groups = [Group(of.path, _numbers(axes @ of.fast_axis), _numbers(axes @ of.slow_axis)) for of in geometry.groups]
    pose = _pose_fields(origin, fast, slow, _direction(geometry))
    return {"convention": "custom", **pose, "panels": tuple(panels), "groups": tuple(groups)}


def _counted_fields(panel: PanelGeometry) -> dict[str, Any]:
    """Return the fields that say which pixels are measurements: those between two counts and outside some rectangles."""
    fields = {"trusted_min": panel.trusted_min, "trusted_max": panel.trusted_max, "masked": panel.masked or None}
    return {name: value for name, value in fields.items() if value is not None}


def _frame(geometry: Geometry) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return origin and axes of the frame of the detector: the file's, or that of the first panel which may stand for it.

    That of the file may not where the crystal is in its plane, or the beam runs along it. The slow axis is reversed where
    fast x slow would point to the crystal.
    """
    first = geometry.panels[0]
    for frame in (geometry.frame, *geometry.panels):
        if frame is not None:
            normal = np.cross(frame.fast_axis, frame.slow_axis)
            height, obliquity = float(frame.origin_mm @ normal), float(_direction(geometry) @ normal)
            if abs(height) > STEEP * math.sqrt(first.origin_mm @ first.origin_mm) and abs(obliquity) > EDGE_ON:
                return frame.origin_mm, frame.fast_axis, frame.slow_axis if height > 0.0 else -frame.slow_axis
    raise InputError(f"{geometry.source!r} states panels whose planes all contain the crystal; allowed: one that faces it")


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
        near = {"xclose_mm": -float(origin @ fast), "yclose_mm": -float(origin @ slow)}
        return axes | near | {"close_distance_mm": float(origin @ normal), "pivot": "sample"}
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


def _sensor_fields(geometry: Geometry, panel: PanelGeometry) -> dict[str, float]:
    """Return the sensor: none where the file's positions of spots do not know its depth, or its absorption is not known.

    A sensor that is next to nothing stands for none, as this program writes it.
    """
    depth_um = _depth_um(geometry, panel)
    thin = panel.thickness_um is None or panel.thickness_um < 1.001 * NO_SENSOR_UM
    if thin or not depth_um or panel.parallax is False:
        return {}
    return {"thickness_um": panel.thickness_um, "attenuation_um": depth_um}


def _depth_um(geometry: Geometry, panel: PanelGeometry) -> float | None:
    """Return the attenuation depth of a panel: the file's, or that of its material at the file's wavelength (F4b)."""
    if panel.attenuation_um is not None or panel.material is None or geometry.wavelength_A is None:
        return panel.attenuation_um
    return attenuation_um(panel.material, geometry.wavelength_A)


def response_fields(geometry: Geometry) -> dict[str, float]:
    """Return the fields of Response that a geometry of one panel states; several panels have gains of their own."""
    gain = _gain(geometry, geometry.panels[0]) if "panels" not in detector_fields(geometry) else 1.0
    return {} if gain == 1.0 else {"gain": gain}


def _gain(geometry: Geometry, panel: PanelGeometry) -> float:
    """Return the counts per photon of a panel; 1 where the file does not say."""
    if panel.gain is None and panel.gain_per_eV is not None and geometry.wavelength_A is not None:
        return panel.gain_per_eV * HC_EV_A / geometry.wavelength_A
    return 1.0 if panel.gain is None else panel.gain


def remarks(geometry: Geometry) -> list[str]:
    """Return sentences about what a geometry states and the image will not have; the name of the file comes before each."""
    sentences = list(geometry.notes)
    panel = next((panel for panel in geometry.panels if panel.thickness_um), None)
    if panel is not None and panel.parallax is False:
        why = "and places spots as if there were none, so that none is rendered: -detector_thick and -detector_abs state one"
        sentences.append(f"states a sensor of {panel.thickness_um:.4g} um, {why}")
    elif panel is not None and not _depth_um(geometry, panel):
        material = f" of {printable(panel.material)}" if panel.material else ""
        unknown = "whose absorption is not known, so that none is rendered: give -detector_abs and -detector_thick"
        sentences.append(f"states a sensor{material} of {panel.thickness_um:.4g} um, {unknown}")
    sentences += _remarks_on_cell(geometry)
    if geometry.wavelength_A is None:
        sentences.append(f"states no wavelength: {Beam.wavelength_A:g} A is taken unless -lambda or -energy gives one")
    return sentences


def _remarks_on_cell(geometry: Geometry) -> list[str]:
    """Return a sentence about a cell that is probably in another unit than A."""
    if geometry.crystal is None:
        return []
    cell = cell_of(geometry.crystal.vectors)
    if SHORTEST_CELL_A <= min(cell[:3]) <= max(cell[:3]) <= LONGEST_CELL_A:
        return []
    return [f"states the cell {' '.join(f'{x:.6g}' for x in cell)}, whose edges are taken to be in A"]


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
    try:
        orientation = (np.linalg.inv(standard_setting(*cell)) @ vectors).T
    except np.linalg.LinAlgError:
        stated = " ".join(f"{number:.10g}" for number in cell)
        flat = f"{geometry.source!r} states a crystal of the cell {stated}, whose vectors lie in a plane but for rounding"
        raise InputError(f"{flat}; allowed: three that span a cell") from None
    return {**dict(zip(Crystal.CELL, cell)), "orientation": tuple(_numbers(row) for row in orientation)}
