"""From an experiment to a geometry, as files of other programs state it: the reverse of from_geometry.py (specs/formats.md)."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Sequence

import numpy as np

from nbnumba.errors import InputError
from nbnumba.formats.geometry import CrystalGeometry, Geometry, PanelGeometry, Scan
from nbnumba.geometry.rotations import about_axis, radians, unit
from nbnumba.response import PHOTON_COUNTER, Response
from nbnumba.setup import sampling
from nbnumba.setup.crystal import orient
from nbnumba.setup.detector import Placement, polarization_axis, position_detector, sensor, spindle_axis
from nbnumba.setup.orientations import phi_steps
from nbnumba.setup.sources import beam_sources
from nbnumba.statements import Statements

SAME_ANGLE = 1e-6
"""Difference in degrees up to which the images of a series follow one another."""


@dataclasses.dataclass(frozen=True)
class Readout:
    """How the pixels of a file relate to photons: pixel = gain * photons + offset, and which pixels are measurements.

    least, most: the smallest and the largest value of a pixel that is a measurement, None without a limit. whole: whether
    pixels are whole numbers.
    """

    gain: float = 1.0
    offset: float = 0.0
    least: float | None = None
    most: float | None = None
    whole: bool = True


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
    return Readout(response.gain, 0.0, least - whole_offset, most - whole_offset)


def geometry_of(experiments: Statements | Sequence[Statements], readout: Readout, what: str) -> Geometry:
    """The geometry of an experiment, or of a series whose images follow one another by a constant width.

    what: the flag or the function that asks, for messages. Warns of what no geometry states. Raises InputError for a curved
    detector, and for experiments that are no series.
    """
    series = [experiments] if isinstance(experiments, Statements) else list(experiments)
    if not series:
        raise InputError(f"{what}: there is no experiment; allowed: one, or a series of them")
    first = series[0]
    if first.detector.curved:
        raise InputError(f"{what}: detector.curved: a curved detector is no panel of a geometry file; allowed: a flat one")
    if first.detector.panels:
        raise InputError(f"{what}: detector.panels are not written yet; allowed: a detector of one panel")
    placement = position_detector(first.detector, first.beam, first.sampling.defects)
    electric = polarization_axis(first.detector, first.beam)
    source = beam_sources(first.beam, placement.beam, electric, first.sampling.defects)
    direction = _mean_direction(source.direction, source.weight)
    spindle = spindle_axis(first.detector, first.goniometer.spindle_axis)
    scan = _scan(series, what)
    bad = _bad_pixels(first, placement)
    return Geometry(
        source="experiment",
        kind="experiment",
        panels=(_panel(first, placement, readout, bad),),
        beam_direction=direction,
        wavelength_A=float(np.average(source.wavelength, weights=source.weight)),
        polarization_axis=_across(electric, direction),
        polarization_fraction=_polarization(first, what),
        spindle_axis=spindle if scan is not None else None,
        scan=scan,
        crystal=_crystal(first, spindle, scan),
        mask=None if bad is None else (bad,),
    )


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
            getattr(experiment, part) == getattr(series[0], part) for part in ("crystal", "beam", "detector", "sampling")
        )
        follows = abs(starts[number] - starts[0] - number * width) <= SAME_ANGLE * max(1.0, abs(starts[number]))
        if not (alike and experiment.goniometer == moved and follows):
            allowed = "experiments that differ in goniometer.phi_deg alone, each by the width of one image more"
            raise InputError(f"{what}: experiment {number} does not continue the series; allowed: {allowed}")
    if width == 0.0:
        if len(series) > 1:
            raise InputError(f"{what}: {len(series)} stills are no series; allowed: one still, or a rotation")
        return None
    return Scan(1, len(series), starts[0], width)


def _crystal(experiment: Statements, spindle: np.ndarray, scan: Scan | None) -> CrystalGeometry:
    """The crystal at phi = 0; without a scan that of the still, at its own phi."""
    vectors = orient(experiment.crystal, experiment.sampling.defects)
    if scan is None:
        vectors = vectors @ about_axis(spindle, radians(experiment.goniometer.phi_deg)).T
    return CrystalGeometry(vectors, None, "P 1")


def _panel(experiment: Statements, placement: Placement, readout: Readout, bad: np.ndarray | None) -> PanelGeometry:
    """The one panel of a detector without panels."""
    layers, depth, absorption = sensor(experiment.detector, experiment.sampling.defects)
    has_sensor = depth > 0.0 and absorption > 0.0
    fast, slow = placement.pixels
    return PanelGeometry(
        path="panel",
        shape=(slow, fast),
        pixel_fast_mm=placement.pixel * 1000,
        pixel_slow_mm=placement.pixel * 1000,
        origin_mm=placement.origin * 1000,
        fast_axis=placement.fast,
        slow_axis=placement.slow,
        thickness_um=layers * depth * 1e6 if has_sensor else None,
        attenuation_um=1e6 / absorption if has_sensor else None,
        parallax=has_sensor,
        gain=readout.gain,
        trusted_min=readout.least,
        trusted_max=readout.most,
        masked=() if bad is None else rectangles(bad),
    )


def _bad_pixels(experiment: Statements, placement: Placement) -> np.ndarray | None:
    """True for the pixels (slow, fast) that are not rendered; None if all are."""
    stated = experiment.sampling
    if stated.roi is None and stated.mask is None:
        return None
    window = sampling.window(placement.pixels, stated.roi, stated.mask)
    bad = np.ones(placement.pixels[::-1], dtype=bool)
    region = slice(*window.rows), slice(*window.columns)
    bad[region] = window.mask[region] == 0 if window.mask.size else False
    return bad if bad.any() else None


def rectangles(bad: np.ndarray) -> tuple[tuple[int, int, int, int], ...]:
    """Rectangles that cover exactly the pixels (slow, fast) which are True, without overlap.

    Each is its first fast and slow pixel, and those after the last ones, from 0. Runs of pixels that are the same in
    consecutive rows are one rectangle.
    """
    finished: list[tuple[int, int, int, int]] = []
    growing: dict[tuple[int, int], int] = {}
    for row in range(bad.shape[0] + 1):
        edges = np.flatnonzero(np.diff(bad[row].astype(np.int8), prepend=0, append=0)) if row < bad.shape[0] else np.zeros(0)
        runs = {(int(first), int(end)) for first, end in edges.reshape(-1, 2)}
        ended = [run for run in growing if run not in runs]
        finished += [(first, growing.pop((first, end)), end, row) for first, end in ended]
        growing |= {run: row for run in runs if run not in growing}
    return tuple(sorted(finished, key=lambda rectangle: (rectangle[1], rectangle[0])))
