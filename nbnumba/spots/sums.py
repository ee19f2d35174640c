"""What all lattices under all sources add to a spot: its brightness, its centre and its width (F14d, F14e)."""

from typing import NamedTuple

import numpy as np

from nbnumba.spots.ewald import Meetings
from nbnumba.spots.shape_profiles import Profiles, covariance, faint_distance, profiles
from nbnumba.stages import records

PAIRS = 2**19
"""The number of pairs of a reflection and a lattice that are computed at once."""


class Sums(NamedTuple):
    """What the pairs of a lattice and a source add up to for n reflections (F14d, F14e).

    total (n,): sum of weight times wavelength^2 times the sum of F_latt^2 over a plane, without a unit. excitation (n,): the
    largest of these sums over a plane, as a part of that through the reflection. shift (n, 2): mean place on the panel, from
    that of the meeting, in pixels. variance (n, 2): along fast and slow, in pixels^2.
    """

    total: np.ndarray
    excitation: np.ndarray
    shift: np.ndarray
    variance: np.ndarray


class Starts(NamedTuple):
    """Where the rays of a displaced crystal begin (F14e), over the lengths of rays.

    lattices (m, 3): the crystal at the phi step of each lattice, in m. meetings (n, 3): at the phi of each meeting, in m.
    airpath (n,): the lengths of their rays, in m.
    """

    lattices: np.ndarray
    meetings: np.ndarray
    airpath: np.ndarray

    def of(self, rows: slice) -> "Starts":
        """Return those of some meetings."""
        return Starts(self.lattices, self.meetings[rows], self.airpath[rows])


def add_up(
    hkl: np.ndarray,
    meetings: Meetings,
    stars: np.ndarray,
    pixels_per_radian: np.ndarray,
    crystal: records.Crystal,
    sources: records.Sources,
    lattices: np.ndarray,
    incident: np.ndarray,
    spindle: np.ndarray,
    starts: Starts | None = None,
) -> Sums:
    """Return the sums of n reflections (F14d, F14e).

    hkl (n, 3): Miller indices. meetings: with the sphere. stars (n, 3, 3): a*, b*, c* then, as rows, in 1/A. pixels_per_radian
    (n, 2, 3): of a Footprint. lattices (m, 9): the table, in A. incident, spindle: unit vectors along mean beam and spindle.
    starts: of a displaced crystal.
    """
    reciprocal = np.swapaxes(np.linalg.inv(lattices.reshape(-1, 3, 3)), 1, 2)
    at_once = max(1, PAIRS // len(reciprocal))
    parts = []
    for first in range(0, len(hkl), at_once):
        part = slice(first, first + at_once)
        of_part = None if starts is None else starts.of(part)
        spots = _Spots(hkl[part], meetings.of(part), stars[part], pixels_per_radian[part], crystal, of_part)
        parts.append(spots.sums(reciprocal, sources, incident, spindle))
    return Sums(*(np.concatenate(columns) for columns in zip(*parts))) if parts else _empty()


def _empty() -> Sums:
    return Sums(np.zeros(0), np.zeros(0), np.zeros((0, 2)), np.zeros((0, 2)))


class _Spots:
    """Some reflections, with what does not depend on lattice and source: profile, and the shape of the spot on the sphere."""

    def __init__(self, hkl, meetings: Meetings, stars, pixels_per_radian, crystal: records.Crystal, starts: Starts | None):
        self.hkl, self.meetings, self.pixels_per_radian, self.starts = hkl, meetings, pixels_per_radian, starts
        self.profile: Profiles = profiles(crystal, stars, meetings.direction)
        rows = np.arange(len(hkl))
        self.largest = self.profile.sums(rows, np.zeros(len(hkl)))
        self.reach = self.profile.width * faint_distance(crystal.shape, crystal.fudge)
        spread = np.einsum("nji,jk,nkl->nil", stars, covariance(crystal), stars)
        normal = meetings.direction
        towards = np.einsum("nij,nj->ni", spread, normal)
        depth = np.einsum("ni,ni->n", towards, normal)
        self.slant = towards / depth[:, np.newaxis] - normal
        on_sphere = spread - towards[:, :, np.newaxis] * towards[:, np.newaxis, :] / depth[:, np.newaxis, np.newaxis]
        per_pixel = pixels_per_radian * meetings.wavelength[:, np.newaxis, np.newaxis]
        self.variance = np.einsum("nai,nij,naj->na", per_pixel, on_sphere, per_pixel)

    def sums(self, reciprocal: np.ndarray, sources: records.Sources, incident: np.ndarray, spindle: np.ndarray) -> Sums:
        """Return the sums over lattices, given by a*, b*, c* as rows (m, 3, 3), and sources."""
        count = len(self.hkl)
        total, excitation, moments = np.zeros(count), np.zeros(count), np.zeros((4, count))
        q = np.einsum("nj,mjk->nmk", self.hkl.astype(np.float64), reciprocal)
        square = np.einsum("nmk,nmk->nm", q, q)
        speed = q @ np.cross(incident, spindle)
        turns = (self.meetings.sense[:, np.newaxis] == 0) | (np.sign(speed) == self.meetings.sense[:, np.newaxis])
        for direction, wavelength, weight in zip(*sources):
            along = 2.0 / wavelength * (q @ direction) + square
            distance = along / (np.sqrt(np.maximum(1.0 / wavelength**2 + along, 0.0)) + 1.0 / wavelength)
            row, lattice = np.nonzero((np.abs(distance) <= self.reach[:, np.newaxis]) & turns)
            off = distance[row, lattice]
            plane = self.profile.sums(row, off)
            weights = weight * wavelength**2 * plane
            places = self._places((row, lattice), q[row, lattice], direction, wavelength, off)
            total += np.bincount(row, weights, count)
            np.maximum.at(excitation, row, plane / self.largest[row])
            for moment, values in zip(moments, (*places.T, *(places.T**2))):
                moment += np.bincount(row, weights * values, count)
        mean = np.divide(moments, total, out=np.zeros_like(moments), where=total > 0.0)
        variance = np.maximum(mean[2:] - mean[:2] ** 2, 0.0).T + self.variance
        return Sums(total, excitation, mean[:2].T, variance)

    def _places(self, numbers, q, direction, wavelength, distance) -> np.ndarray:
        """Return the places (m, 2) of spots of single lattices, in pixels from those of the meetings.

        numbers: of reflections (m,) and of lattices (m,). q (m, 3): of the lattices, in 1/A. distance (m,): from the sphere, in
        1/A. A spot is where its shape is cut by the sphere, which is not radially opposite to the reflection where the shape is
        slanted.
        """
        row, lattice = numbers
        outwards = direction + wavelength * q
        outwards /= np.linalg.norm(outwards, axis=1, keepdims=True)
        ray = outwards - (wavelength * distance)[:, np.newaxis] * self.slant[row]
        change = ray - self.meetings.direction[row]
        if self.starts is not None:  # a ray that begins elsewhere ends where one ends that is turned by as much
            moved = self.starts.lattices[lattice] - self.starts.meetings[row]
            change += moved / self.starts.airpath[row, np.newaxis]
        return np.einsum("nai,ni->na", self.pixels_per_radian[row], change)
