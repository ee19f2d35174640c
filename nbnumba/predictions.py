"""Predictions: a table of the reflections of an image, from exact geometry, with how bright and wide each spot is (F14)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from nbnumba.cost import MOST_HOURS, check, hours_granted
from nbnumba.errors import InputError, real, shown
from nbnumba.experiment import Experiment
from nbnumba.geometry.rotations import about_axis, radians
from nbnumba.setup import background, crystal, orientations, structure
from nbnumba.setup.crystals import each_alone
from nbnumba.setup.detector import polarization_axis, spindle_axis
from nbnumba.setup.panels import planes, planes_from
from nbnumba.setup.sheet import masked_pixels_of, parts_with_pixels
from nbnumba.setup.sources import along
from nbnumba.setup.view import View, positions, view_of
from nbnumba.simulate import with_options
from nbnumba.spots import candidates, ewald
from nbnumba.spots.rays import Footprint, footprint, places
from nbnumba.spots.shape_profiles import FWHM, reach
from nbnumba.spots.sums import Starts, Sums, add_up
from nbnumba.stages import records
from nbnumba.stages.beam import polarization_factor
from nbnumba.stages.detector import capture_fraction
from nbnumba.stages.vec3 import unit
from nbnumba.statements import Crystal

LEAST_EXCITATION = 0.01
"""The excitation from which on a reflection counts as one that can be seen, by default."""

AT_ONCE = 2**16
"""The number of reflections that are computed at once."""

PAIRS_PER_SECOND = 1e7
"""The sums over pairs of a source and a lattice that are computed in a second, for one spot after another."""

MOST_RANGE_DEG = 360.0
"""The largest range of phi: of a larger one a reflection has more meetings with the sphere than two."""

PLACES = 73
"""The number of places at which a displaced crystal is looked at in its rotation."""

WHOLE_TURN = 1e-7
"""By how much the range may be larger, for rounding, in degree."""


@dataclass(frozen=True, eq=False)
class Predictions:
    """A table of reflections, one row each time that a reflection meets the Ewald sphere (F14).

    hkl (n, 3): Miller indices. panel (n,): number of the panel. fast, slow (n,): where the exact geometry puts the spot, in
    pixels, 0 at the outer edge of the first. phi_deg: of the crystal there. delta_psi_deg: by how much the reflection is then
    rotated to the sphere; 0 where phi takes it there. wavelength_A: at which it is there. d_A: resolution. lorentz: Lorentz
    factor of the rotation; NaN for a still. excitation: of the plane through the spot that the sphere cuts, 0 to 1, where that
    is largest. photons: expected in the whole spot. centre_fast, centre_slow: mean place of these photons, in pixels.
    width_fast, width_slow: full widths of the spot at half maximum, as that of a Gaussian as wide, in pixels. NaN stands for
    the centre and the width of a spot without photons. s1 (n, 3): the diffracted ray, of length 1 / wavelength, in 1/A, in the
    frame of the laboratory. F: amplitude, in electrons. masked: whether the pixel of the place (fast, slow) is one that the
    detector masks (F1e). crystal (n,): number of the crystal. The arrays are read-only.
    """

    hkl: np.ndarray
    panel: np.ndarray
    fast: np.ndarray
    slow: np.ndarray
    phi_deg: np.ndarray
    delta_psi_deg: np.ndarray
    wavelength_A: np.ndarray
    d_A: np.ndarray
    lorentz: np.ndarray
    excitation: np.ndarray
    photons: np.ndarray
    centre_fast: np.ndarray
    centre_slow: np.ndarray
    width_fast: np.ndarray
    width_slow: np.ndarray
    s1: np.ndarray
    F: np.ndarray
    masked: np.ndarray
    crystal: np.ndarray

    def __post_init__(self) -> None:
        for column in self.columns().values():
            column.setflags(write=False)

    def __len__(self) -> int:
        return len(self.hkl)

    def __getitem__(self, rows: Any) -> Predictions:
        """Some of the rows: by a mask, a slice, or an array of their numbers."""
        try:
            chosen = {name: column[rows] for name, column in self.columns().items()}
        except (IndexError, TypeError, ValueError):
            chosen = {}
        if not chosen or chosen["panel"].ndim != 1:
            raise InputError(f"predictions: rows {shown(rows)} are not allowed; allowed: a mask, a slice, or numbers of rows")
        return Predictions(**chosen)

    def columns(self) -> dict[str, np.ndarray]:
        """The columns by their names."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


def predict(
    experiment: Experiment,
    hkl: ArrayLike | None = None,
    *,
    least_excitation: float = LEAST_EXCITATION,
    d_min_A: float = 0.0,
    max_hours: float = MOST_HOURS,
) -> Predictions:
    """The reflections whose spots lie on the detector of an experiment (F14).

    hkl (n, 3): the reflections to look for; all that meet the sphere are listed, dark ones, too. Without hkl the table has
    those that scatter and are excited by least_excitation or more under some source and lattice of the experiment, and for a
    rotation those that meet the sphere within its range. d_min_A: the finest resolution that is listed; 0: what reaches the
    detector. The region and the mask of the experiment have no effect. A table that takes longer than max_hours, by estimate,
    is refused. Rows are sorted by crystal, panel, then h, k, l, then phi.

    Raises InputError for an experiment that cannot be simulated, a rotation of more than 360 degrees, and hkl that are none.
    """
    experiment = with_options(experiment)
    least, finest = _between(least_excitation, "least_excitation", 1e-6, 1.0), _between(d_min_A, "d_min_A", 0.0, 1e12)
    check(experiment, max_hours=math.inf)
    hours, listed = hours_granted(max_hours), None if hkl is None else _indices(hkl)
    tables = []
    for number, alone in enumerate(each_alone(experiment)):
        prediction = _Prediction(alone, least, finest, hours, number)
        tables.append(prediction.table(listed))
        hours -= prediction.hours_spent
    return _joined(tables)


def check_range(experiment: Experiment) -> float:
    """The range of phi, in degree. Raises InputError where it is too large for predictions."""
    range_deg = orientations.phi_steps(experiment.goniometer)[2]
    if range_deg > MOST_RANGE_DEG + WHOLE_TURN:
        allowed = f"at most {MOST_RANGE_DEG:g} degrees for predictions"
        raise InputError(f"goniometer.osc_deg: {range_deg:g} is not allowed; allowed: {allowed}")
    return range_deg


def _between(value: float, name: str, low: float, high: float) -> float:
    try:
        number = float(real(value))
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not low <= number <= high:
        raise InputError(f"{name}: {shown(value)} is not allowed; allowed: a number from {low:g} to {high:g}")
    return number


def _indices(hkl: ArrayLike) -> np.ndarray:
    """Miller indices (n, 3), each once. Raises InputError for others."""
    try:
        array = np.array(real(hkl), dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        array = np.zeros(0)
    if array.ndim != 2 or array.shape[1] != 3 or not ((array == np.round(array)) & (np.abs(array) < 2**31)).all():
        raise InputError(f"hkl: {shown(hkl)} is not allowed; allowed: whole Miller indices (n, 3) below 2^31")
    return np.unique(array.astype(np.int64), axis=0)


def _joined(parts: Sequence[Predictions]) -> Predictions:
    """One table of the rows of several."""
    columns = [part.columns() for part in parts]
    return Predictions(**{name: np.concatenate([part[name] for part in columns]) for name in columns[0]})


class _Prediction:
    """What all reflections of an experiment of one crystal share. number: that of the crystal among several."""

    def __init__(self, experiment: Experiment, least: float, finest: float, hours: float = MOST_HOURS, number: int = 0):
        defects = experiment.sampling.defects
        self.experiment, self.least, self.hours, self.number = experiment, least, hours, number
        self.hours_spent = 0.0
        self.view: View = view_of(experiment)
        self.vectors = crystal.orient(experiment.crystal, defects)
        self.star = np.linalg.inv(self.vectors).T
        self.spindle = spindle_axis(experiment.detector, experiment.goniometer.spindle_axis)
        self.range_deg = check_range(experiment)
        start = radians(experiment.goniometer.phi_deg)
        self.phi = (start, start + radians(self.range_deg))
        self.rotates = self.range_deg > 0.0
        self.lattices = orientations.table(experiment.crystal, experiment.goniometer, self.spindle, self.vectors, defects)[0]
        self.crystal = crystal.record(experiment.crystal, self.vectors, defects)
        numbers = (experiment.crystal.n_a, experiment.crystal.n_b, experiment.crystal.n_c)
        self.box = structure.box(experiment.structure_factors, min(numbers), self.view.sources.wavelength)
        lit = self.view.sources.wavelength[self.view.sources.weight > 0.0]
        lit = lit if lit.size else self.view.sources.wavelength
        self.beam = ewald.Beam(self.view.direction, self.view.wavelength, float(lit.min()), float(lit.max()))
        self.position = np.array(experiment.crystal.position_mm) / 1000.0
        displaced = float(np.linalg.norm(self.position))
        if displaced:
            self._refuse_behind()
        self.finest = max(finest, experiment.beam.dmin_A, candidates.finest_resolution(self.view, displaced))

    def table(self, hkl: np.ndarray | None) -> Predictions:
        """The table of some reflections, or without any of those that can be seen."""
        if hkl is not None:
            return self._sorted(self._rows(hkl, every=True))
        bounds = (self.spindle, self.phi, self.beam, self._tilt(), reach(self.crystal, self.star, self.least), self.finest)
        near = candidates.listed(self.experiment.structure_factors)
        if near is None:
            near = candidates.all_near(
                self.star, self.vectors, self.finest, lambda q, around: candidates.near_sphere(q, *bounds, around)
            )
        else:
            near = near[candidates.near_sphere(near @ self.star, *bounds)]
        scatters = [structure.amplitudes(self.box, near, first) != 0.0 for first in np.unique(self.box.first)]
        return self._sorted(self._rows(near[np.any(scatters, axis=0)], every=False))

    def _tilt(self) -> float:
        """The largest angle, in radian, by which a mosaic domain and a source together are turned from the mean.

        By more than that no reciprocal vector is off, as a part of its length. A domain whose cell is not the mean one takes it
        off by at most the sum of abs(a) abs(a*) s / (1 - s), with the spreads s of a, and so for b and c, because the index h
        is at most abs(a) times its length.
        """
        cosines = np.clip(self.view.sources.direction @ self.view.direction, -1.0, 1.0)
        spread = sum(getattr(self.experiment.crystal, name) for name in Crystal.SPREADS)
        stretched = np.array([getattr(self.experiment.crystal, name) for name in Crystal.CELL_SPREADS])
        lengths = np.linalg.norm(self.vectors, axis=1) * np.linalg.norm(self.star, axis=1)
        off = float((lengths * stretched / (1.0 - stretched)).sum())
        return off + (1.0 + off) * (radians(spread) + float(np.arccos(cosines).max()))

    def _refuse_behind(self) -> None:
        """Raise InputError for a displaced crystal that is behind a panel somewhere in its rotation."""
        every_plane = planes(self.experiment.detector, self.experiment.beam, self.experiment.sampling.defects)
        for angle in np.linspace(*self.phi, PLACES):
            planes_from(every_plane, about_axis(self.spindle, angle) @ self.position)

    def _starts(self, meetings: ewald.Meetings) -> np.ndarray:
        """Where the crystal is at the phi of meetings (n, 3), in m (F7e)."""
        return ewald.turned(np.tile(self.position, (len(meetings.phi), 1)), self.spindle, meetings.phi)

    def _starts_of_sums(self, meetings: ewald.Meetings, airpath: np.ndarray) -> Starts | None:
        """Where the rays of all lattices and those of meetings begin; None for a crystal at the origin (F14e)."""
        if not self.position.any():
            return None
        angles = orientations.phi_angles(self.experiment.goniometer)
        of_steps = ewald.turned(np.tile(self.position, (len(angles), 1)), self.spindle, angles)
        of_lattices = np.repeat(of_steps, len(self.lattices) // len(angles), axis=0)
        return Starts(of_lattices, self._starts(meetings), airpath)

    @staticmethod
    def _sorted(rows: Predictions) -> Predictions:
        """The rows in the order of panel, h, k, l and phi."""
        return rows[np.lexsort((rows.phi_deg, *rows.hkl.T[::-1], rows.panel))]

    def _check_time(self, reflections: int) -> None:
        """Raise InputError if the sums of so many reflections may take longer than is allowed."""
        pairs = float(reflections) * len(self.lattices) * len(self.view.sources.weight)
        hours = pairs / PAIRS_PER_SECOND / 3600.0
        if hours > self.hours:
            why = f"{reflections} reflections, {len(self.lattices)} lattices and {len(self.view.sources.weight)} sources"
            raise InputError(
                f"predictions: {why} take up to {hours:.3g} hours; allowed: at most {self.hours:g} hours (max_hours)"
            )
        self.hours_spent += hours

    def _rows(self, hkl: np.ndarray, every: bool) -> Predictions:
        """The rows of reflections, wherever they meet the sphere and the detector. every: also of those that cannot be seen."""
        self._check_time(len(hkl))
        parts = []
        for first in range(0, max(len(hkl), 1), AT_ONCE):
            some = hkl[first : first + AT_ONCE]
            meetings = self._meetings(some)
            parts += [self._on_panel(some, meetings, number, every) for number in range(len(self.view.panels))]
        return _joined(parts)

    def _meetings(self, hkl: np.ndarray) -> ewald.Meetings:
        q = hkl @ self.star
        if self.rotates:
            return ewald.rotation(q, self.spindle, self.phi, self.beam)
        phi = self.phi[0]
        return ewald.still(ewald.turned(q, self.spindle, np.full(len(q), phi)), phi, self.beam)

    def _visible(self, meetings: ewald.Meetings, excitation: np.ndarray) -> np.ndarray:
        """Whether reflections can be seen: they are excited, or a rotation takes them to the sphere within its range."""
        within = (meetings.phi >= self.phi[0]) & (meetings.phi < self.phi[1]) & (meetings.sense != 0)
        return within | (excitation >= self.least)

    def _on_panel(self, hkl: np.ndarray, meetings: ewald.Meetings, number: int, every: bool) -> Predictions:
        """The rows of those meetings whose rays end on a panel. every: also of reflections that cannot be seen."""
        panel, shape = self.view.panels[number], self.view.shapes[number]
        place = places(panel, meetings.direction, shape, start=self._starts(meetings))
        inside = (place >= 0.0).all(axis=1) & (place <= np.array([shape[1], shape[0]])).all(axis=1)
        place, meetings = place[inside], meetings.of(np.flatnonzero(inside))
        hkl = hkl[meetings.row]
        footprints = footprint(panel, place, self._starts(meetings))
        within = np.clip(meetings.phi, *self.phi)
        stars = np.stack([ewald.turned(np.tile(row, (len(hkl), 1)), self.spindle, within) for row in self.star], axis=1)
        per_radian, sources, incident = footprints.pixels_per_radian, self.view.sources, self.view.direction
        starts = self._starts_of_sums(meetings, footprints.airpath)
        sums = add_up(hkl, meetings, stars, per_radian, self.crystal, sources, self.lattices, incident, self.spindle, starts)
        if not every:
            rows = np.flatnonzero(self._visible(meetings, sums.excitation))
            hkl, place, meetings = hkl[rows], place[rows], meetings.of(rows)
            footprints, sums = Footprint(*(column[rows] for column in footprints)), Sums(*(column[rows] for column in sums))
        first = structure.first_at(self.box, self.view.sources.wavelength, meetings.wavelength)
        weaker = np.exp(-np.einsum("ni,ij,nj->n", hkl, self.experiment.crystal.disorder, hkl))
        amplitude = structure.amplitudes(self.box, hkl, first) * weaker
        d = 1.0 / np.maximum(np.linalg.norm(hkl @ self.star, axis=1), 1e-300)
        start = self._starts(meetings)
        rays = [unit(tuple(position))[0] for position in positions(panel, *place.T) - start]
        captured, depth, depth_variance = self._sensor(number, rays)
        seen_part = captured * self._polarization(rays) * footprints.counted
        photons = self._photons_each() * amplitude**2 * seen_part * sums.total
        photons = np.where(d < self.experiment.beam.dmin_A, 0.0, photons)
        lit = (sums.total > 0.0)[:, np.newaxis]
        deeper = np.zeros_like(place)
        if panel.sensor:
            deeper = places(panel, meetings.direction, shape, depth, start) - place
        centre = np.where(lit, place + sums.shift + deeper, np.nan)
        slant = np.divide(deeper, depth[:, np.newaxis], out=np.zeros_like(deeper), where=depth[:, np.newaxis] > 0.0)
        width = np.where(lit, FWHM * np.sqrt(sums.variance + slant**2 * depth_variance[:, np.newaxis]), np.nan)
        lorentz = np.full(len(hkl), np.nan)
        if self.rotates:
            lorentz = ewald.lorentz(meetings.direction, self.spindle, self.view.direction)
        return Predictions(
            hkl=hkl.astype(np.int32), panel=np.full(len(hkl), number, dtype=np.int32), fast=place[:, 0], slow=place[:, 1],
            phi_deg=np.degrees(meetings.phi), delta_psi_deg=np.degrees(meetings.delta_psi), wavelength_A=meetings.wavelength,
            d_A=d, lorentz=lorentz, excitation=sums.excitation, photons=photons, centre_fast=centre[:, 0],
            centre_slow=centre[:, 1], width_fast=width[:, 0], width_slow=width[:, 1],
            s1=meetings.direction / meetings.wavelength[:, np.newaxis], F=amplitude, masked=self._is_masked(number, place),
            crystal=np.full(len(hkl), self.number, dtype=np.int32),
        )  # fmt: skip

    def _is_masked(self, number: int, place: np.ndarray) -> np.ndarray:
        """Whether the detector masks the pixels of a panel at places (n, 2), fast and slow."""
        part, (slow, fast) = parts_with_pixels(self.experiment.detector)[number], self.view.shapes[number]
        if not part.masked or not len(place):
            return np.zeros(len(place), dtype=bool)
        pixel = np.minimum(place.astype(np.int64), (fast - 1, slow - 1))
        return masked_pixels_of(part, (slow, fast))[pixel[:, 1], pixel[:, 0]]

    def _photons_each(self) -> float:
        """Photons per electron^2 and sr that one source and one lattice give (F11)."""
        pairs = len(self.view.sources.weight) * len(self.lattices)
        scale = self.experiment.crystal.scale
        return scale * background.photons_per_electron_squared(self.experiment.beam.fluence) / pairs

    def _sensor(self, number: int, rays: list[tuple[float, float, float]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The part of the photons of rays that a panel captures, their mean depth, m, and its variance, m^2 (F4)."""
        panel, layers = self.view.panels[number], range(self.view.layers[number])
        if not panel.sensor:
            return np.ones(len(rays)), np.zeros(len(rays)), np.zeros(len(rays))
        captured = np.array([[capture_fraction(panel, layer, ray) for layer in layers] for ray in rays])
        captured = captured.reshape(len(rays), len(layers))
        total, depths = captured.sum(axis=1), panel.layer * np.arange(len(layers))
        shares = np.divide(captured, total[:, np.newaxis], out=np.zeros_like(captured), where=total[:, np.newaxis] > 0.0)
        mean = shares @ depths
        return total, mean, np.maximum(shares @ depths**2 - mean**2, 0.0)

    def _polarization(self, rays: list[tuple[float, float, float]]) -> np.ndarray:
        """The polarization factor of rays, for the mean beam (F6)."""
        beam = self.experiment.beam
        if not beam.polarized:
            return np.ones(len(rays))
        electric = polarization_axis(self.experiment.detector, beam)
        electric = np.zeros(3) if along(self.view.sources.direction, electric).all() else electric
        x, y, z = (float(component) for component in electric)
        record = records.Intensity(True, beam.polarization, x, y, z, 0.0, 0.0, 0.0, 0.0, False, 0.0, False)
        incident = tuple(self.view.direction)
        return np.array([float(polarization_factor(record, ray, incident)) for ray in rays])
