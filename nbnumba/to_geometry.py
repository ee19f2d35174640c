"""From an experiment to a geometry, as files of other programs state it: the reverse of from_geometry.py (specs/formats.md)."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from nbnumba.crystal_names import name_of
from nbnumba.errors import InputError
from nbnumba.formats.geometry import (
    CrystalGeometry,
    FrameGeometry,
    Geometry,
    GroupGeometry,
    PanelGeometry,
    Scan,
)
from nbnumba.geometry.rectangles import rectangles
from nbnumba.geometry.rotations import about_axis, radians, unit
from nbnumba.parity import NO_DEFECTS
from nbnumba.response import PHOTON_COUNTER, Response
from nbnumba.setup.absorption import COEFFICIENTS, attenuation_um
from nbnumba.setup.crystal import orient
from nbnumba.setup.detector import Plane, polarization_axis, position_detector, sensor, spindle_axis
from nbnumba.setup.orientations import phi_steps
from nbnumba.setup.panels import frame, paths_above, planes
from nbnumba.setup.sampling import windows
from nbnumba.setup.sheet import masked_pixels_of, sheet_of
from nbnumba.setup.sources import beam_sources
from nbnumba.statements import Beam, Crystal, Detector, Goniometer, Panel, Statements

SAME_DEPTH = 0.02
"""Relative difference up to which an attenuation depth is that of a material."""

SAME_ANGLE = 1e-6
"""Difference in degrees up to which the images of a series follow one another."""


@dataclasses.dataclass(frozen=True)
class Readout:
    """How the pixels of a file relate to photons: pixel = gain * photons + offset, and which pixels are measurements.

    least, most: the smallest and the largest value of a pixel that is a measurement, None without a limit. subtracted: what was
    subtracted from all pixels after they were measured.
    """

    gain: float = 1.0
    offset: float = 0.0
    least: float | None = None
    most: float | None = None
    subtracted: float = 0.0


def noise_readout(response: Response = PHOTON_COUNTER, adc: float = 0.0, subtracted: bool = False) -> Readout:
    """The readout of a noise image (N7) with an offset of `adc`, or after this offset was subtracted from its pixels.

    The largest value of 16 bits, and the saturation, may stand for more. The smallest value is that of no photon, or with noise
    of the read-out 1, because 0 then stands for less, too.
    """
    least, most = float(np.floor(max(adc, 0.0))), float(np.floor(response.saturation)) - 1.0
    if response.readout_noise > 0.0:
        least = min(least, 1.0)
    if not subtracted:
        return Readout(response.gain, adc, least, most)
    whole_offset = float(np.floor(adc))
    return Readout(response.gain, 0.0, least - whole_offset, most - whole_offset, whole_offset)


def geometry_of(experiments: Statements | Sequence[Statements], readout: Readout, what: str) -> Geometry:
    """The geometry of an experiment, or of a series whose images follow one another by a constant width.

    what: the flag or the function that asks, for messages. Warns of what no geometry states. Raises InputError for a curved
    detector, and for experiments that are no series.
    """
    series = [experiments] if isinstance(experiments, Statements) else list(experiments)
    first = series[0]
    if first.detector.curved:
        raise InputError(f"{what}: detector.curved: a curved detector is no panel of a geometry file; allowed: a flat one")
    defects = first.sampling.defects
    placed = planes(first.detector, first.beam, defects)
    electric = polarization_axis(first.detector, first.beam)
    source = beam_sources(first.beam, placed[0].beam, electric, defects)
    direction = _mean_direction(source.direction, source.weight)
    wavelength = float(np.average(source.wavelength, weights=source.weight))
    spindle = spindle_axis(first.detector, first.goniometer.spindle_axis)
    scan = _scan(series, what)
    bad = _bad_pixels(first)
    return Geometry(
        source="experiment",
        kind="experiment",
        panels=tuple(_panel(first, plane, readout, mask, wavelength) for plane, mask in zip(placed, bad)),
        **_tree(first),
        beam_direction=direction,
        wavelength_A=wavelength,
        polarization_axis=_across(electric, direction),
        polarization_fraction=_polarization(first, what),
        spindle_axis=spindle if scan is not None else None,
        scan=scan,
        **_crystals(first, spindle, scan, what),
        mask=bad if any(mask.any() for mask in bad) else None,
    )


def with_crystals_of(geometry: Geometry, experiment: Statements) -> Geometry:
    """A geometry of a still or of a scan with the crystals of another experiment, whose rotation has the same spindle."""
    spindle = spindle_axis(experiment.detector, experiment.goniometer.spindle_axis)
    return dataclasses.replace(geometry, **_crystals(experiment, spindle, geometry.scan, "series"))


def geometry_of_parts(source: str, kind: str, detector: Detector, beam: Beam, goniometer: Goniometer) -> Geometry:
    """The geometry of a detector, a beam and the rotation of one image, without polarization, sensor and crystal.

    source, kind: the name and the format of the file that states them. Raises InputError for a detector that cannot be placed.
    """
    placed = planes(detector, beam, NO_DEFECTS)
    return Geometry(
        source,
        kind,
        tuple(_bare_panel(plane) for plane in placed),
        beam_direction=placed[0].beam,
        wavelength_A=beam.wavelength_A,
        spindle_axis=spindle_axis(detector, goniometer.spindle_axis),
        scan=_scan_of(goniometer, 1),
    )


def _tree(experiment: Statements) -> dict[str, Any]:
    """The frame of a detector of several panels, and the groups that the paths of its panels name."""
    detector, beam = experiment.detector, experiment.beam
    if not detector.panels:
        return {}
    placement = position_detector(detector, beam, experiment.sampling.defects)
    columns = frame(placement)
    stated = {group.path: group for group in detector.groups if group.fast_axis is not None}
    groups = []
    for path in dict.fromkeys(path for panel in detector.panels for path in reversed(paths_above(panel.path)[1:])):
        axes = (stated[path].fast_axis, stated[path].slow_axis) if path in stated else ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0))
        groups.append(GroupGeometry(path, *(columns @ np.array(axis) for axis in axes)))
    return {
        "groups": tuple(groups),
        "frame": FrameGeometry(1000 * placement.origin, placement.fast, placement.slow),
    }


def _mean_direction(directions: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The unit vector along the weighted mean of directions (n, 3); one direction is itself."""
    return directions[0] if len(directions) == 1 else unit(np.average(directions, axis=0, weights=weights))


def _across(electric: np.ndarray, direction: np.ndarray) -> np.ndarray | None:
    """The component of the E vector across the beam, as a unit vector; None where E runs along the beam."""
    across = electric - (electric @ direction) * direction
    return unit(across) if np.abs(across).max() > 1e-9 else None


def _polarization(experiment: Statements, what: str) -> float:
    """The share of the intensity that is polarized along E. Warns where there is no polarization factor to state."""
    if not experiment.beam.polarized:
        why = "a geometry cannot state that there is no polarization factor, and states an unpolarized beam"
        warnings.warn(f"{what}: beam.polarized: {why}", stacklevel=2)
        return 0.5
    return (1.0 + experiment.beam.polarization) / 2


def _scan(series: Sequence[Statements], what: str) -> Scan | None:
    """The scan of a series; None for a still. Raises InputError for experiments that differ in more than the start."""
    starts = [experiment.goniometer.phi_deg for experiment in series]
    width = phi_steps(series[0].goniometer)[2]
    for number, experiment in enumerate(series[1:], 1):
        moved = dataclasses.replace(series[0].goniometer, phi_deg=starts[number])
        alike = all(
            getattr(experiment, part) == getattr(series[0], part)
            for part in ("crystal", "other_crystals", "beam", "detector", "sampling")
        )
        follows = abs(starts[number] - starts[0] - number * width) <= SAME_ANGLE * max(1.0, abs(starts[number]))
        if not (alike and experiment.goniometer == moved and follows):
            allowed = "experiments that differ in goniometer.phi_deg alone, each by the width of one image more"
            raise InputError(f"{what}: experiment {number} does not continue the series; allowed: {allowed}")
    if width == 0.0 and len(series) > 1:
        raise InputError(f"{what}: {len(series)} stills are no series; allowed: one still, or a rotation")
    return _scan_of(series[0].goniometer, len(series))


def _scan_of(goniometer: Goniometer, images: int) -> Scan | None:
    """The scan of so many images, of which the first is that of a rotation; None for a still."""
    width = phi_steps(goniometer)[2]
    return Scan(1, images, goniometer.phi_deg, width) if width > 0.0 else None


def _crystals(experiment: Statements, spindle: np.ndarray, scan: Scan | None, what: str) -> dict[str, Any]:
    """The first crystal and the others at phi = 0; without a scan those of the still, at its own phi. Warns of positions."""
    for number, crystal in enumerate(experiment.crystals):
        if crystal.is_displaced:
            stated = ", ".join(name_of(number, f"crystal.{name}") for name in Crystal.POSITION)
            numbers = " ".join(f"{x:g}" for x in crystal.position_mm)
            warnings.warn(f"{what}: {stated}: the geometry cannot state that the crystal is at {numbers} mm", stacklevel=2)
    every = [orient(crystal, experiment.sampling.defects) for crystal in experiment.crystals]
    if scan is None:
        every = [vectors @ about_axis(spindle, radians(experiment.goniometer.phi_deg)).T for vectors in every]
    first, *others = (CrystalGeometry(vectors, None, "P 1") for vectors in every)
    return {"crystal": first, "other_crystals": tuple(others)}


def _panel(experiment: Statements, plane: Plane, readout: Readout, bad: np.ndarray, wavelength_A: float) -> PanelGeometry:
    """One panel, or the whole detector, as a file states it."""
    layers, depth, absorption = sensor(experiment.detector, experiment.sampling.defects, plane.panel)
    has_sensor = depth > 0.0 and absorption > 0.0
    attenuation = 1e6 / absorption if has_sensor else None
    stated = plane.panel
    return dataclasses.replace(
        _bare_panel(plane),
        thickness_um=layers * depth * 1e6 if has_sensor else None,
        attenuation_um=attenuation,
        material=(stated.material if stated else None) or _material(attenuation, wavelength_A),
        parallax=has_sensor,
        gain=readout.gain * (stated.gain if stated else 1.0),
        **_limits(stated or experiment.detector, readout),
        masked=_masked(stated or experiment.detector, bad),
    )


def _bare_panel(plane: Plane) -> PanelGeometry:
    """The pixels of one panel, or of the whole detector, and where they are."""
    fast, slow = plane.pixels
    return PanelGeometry(
        path="panel" if plane.panel is None else plane.panel.path,
        shape=(slow, fast),
        pixel_fast_mm=plane.pixel_fast * 1000,
        pixel_slow_mm=plane.pixel_slow * 1000,
        origin_mm=plane.origin * 1000,
        fast_axis=plane.fast,
        slow_axis=plane.slow,
    )


def _masked(panel: Panel | Detector, bad: np.ndarray) -> tuple[tuple[int, int, int, int], ...]:
    """The rectangles of a panel, and those of pixels (slow, fast) that are bad besides."""
    return rectangles(bad | masked_pixels_of(panel, bad.shape)) if bad.any() else panel.masked


def _material(attenuation: float | None, wavelength_A: float) -> str | None:
    """The material that has this attenuation depth in um, if a known one has (F4b)."""
    depths = {name: attenuation_um(name, wavelength_A) for name in COEFFICIENTS}
    if attenuation is None:
        return None
    alike = (name for name, depth in depths.items() if depth and abs(attenuation - depth) <= SAME_DEPTH * depth)
    return next(alike, None)


def _limits(panel: Panel | Detector, readout: Readout) -> dict[str, float | None]:
    """The limits of valid values of an image, and those of the panel, whose largest value may stand for more (N7)."""
    least, most = readout.least, readout.most
    if least is not None and panel.trusted_min is not None:
        least = max(least, panel.trusted_min - readout.subtracted)
    if most is not None and panel.trusted_max is not None:
        most = min(most, float(np.floor(panel.trusted_max)) - 1.0 - readout.subtracted)
    return {"trusted_min": least, "trusted_max": most}


def _bad_pixels(experiment: Statements) -> tuple[np.ndarray, ...]:
    """True for the pixels (slow, fast) that are not rendered, for each panel."""
    bad = []
    for shape, window in zip(sheet_of(experiment.detector).shapes, windows(experiment.detector, experiment.sampling)):
        region = slice(*window.rows), slice(*window.columns)
        mask = np.ones(shape, dtype=bool)
        mask[region] = window.mask[region] == 0 if window.mask.size else False
        bad.append(mask)
    return tuple(bad)
