"""When and where reflections meet the Ewald sphere: by the rotation of the crystal, or by a small one of their own (F14c)."""

import math
from typing import NamedTuple

import numpy as np


class Meetings(NamedTuple):
    """How n reflections meet the Ewald sphere (F14c).

    row (n,): numbers of the reflections. phi (n,): of the crystal there, in radian. delta_psi (n,): by how much the reflection
    is then rotated to the sphere, in radian. wavelength (n,): in A. direction (n, 3): unit vector along the diffracted ray.
    sense (n,): -1 where the rotation of the crystal takes the reflection into the sphere, 1 where out of it, 0 where neither.
    """

    row: np.ndarray
    phi: np.ndarray
    delta_psi: np.ndarray
    wavelength: np.ndarray
    direction: np.ndarray
    sense: np.ndarray

    def of(self, rows: np.ndarray) -> "Meetings":
        """Return some of the meetings, by a mask or by their numbers."""
        return Meetings(*(column[rows] for column in self))


class Beam(NamedTuple):
    """The mean beam (F13): direction: unit vector. wavelength: mean, shortest, longest: in A."""

    direction: np.ndarray
    wavelength: float
    shortest: float
    longest: float


def still(q: np.ndarray, phi: float, beam: Beam) -> Meetings:
    """Return how reflections of a crystal at rest meet the sphere, for those that can (F14c).

    q (n, 3): reciprocal vectors, in 1/A. phi: of the crystal, in radian. The wavelength is the one within the beam's range that
    is nearest to that of Bragg's condition.
    """
    along, square = q @ beam.direction, (q * q).sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        bragg = np.where(along < 0.0, -2.0 * along / square, np.inf)
    wavelength = np.clip(bragg, beam.shortest, beam.longest)
    row = np.flatnonzero(square * wavelength * wavelength < 4.0)
    return rotated(row, q[row], np.full(len(row), phi), wavelength[row], beam.direction)


def rotated(row: np.ndarray, q: np.ndarray, phi: np.ndarray, wavelength: np.ndarray, incident: np.ndarray) -> Meetings:
    """Return how reflections meet the sphere by the rotation delta-psi, about the axis across the beam and q (F14c).

    row (n,): their numbers. q (n, 3): shorter than 2 / wavelength, in 1/A. phi (n,): of the crystal, in radian. wavelength
    (n,): in A. incident: unit vector along the beam. Reflections along the beam have no such axis, and are left out.
    """
    square = (q * q).sum(axis=1)
    axis = np.cross(q, incident)
    length = np.linalg.norm(axis, axis=1)
    some = length > 1e-12 * np.sqrt(square)
    row, q, phi, wavelength, square = row[some], q[some], phi[some], wavelength[some], square[some]
    axis = axis[some] / length[some, np.newaxis]
    along = square * wavelength / 2.0
    off_beam = np.sqrt(np.maximum(square - along * along, 0.0))
    on_sphere = off_beam[:, np.newaxis] * np.cross(incident, axis) - along[:, np.newaxis] * incident
    sine = (on_sphere * np.cross(q, axis)).sum(axis=1)
    delta_psi = -np.arctan2(sine, (on_sphere * q).sum(axis=1))
    direction = incident + wavelength[:, np.newaxis] * on_sphere
    return Meetings(row, phi, delta_psi, wavelength, direction, np.zeros(len(row), dtype=np.int8))


def rotation(q: np.ndarray, spindle: np.ndarray, phi: tuple[float, float], beam: Beam) -> Meetings:
    """Return how reflections of a crystal that rotates meet the sphere, each up to twice (F14c).

    q (n, 3): reciprocal vectors at phi = 0, in 1/A. spindle: unit vector. phi: the range, in radian, at most one turn. phi of a
    meeting is in the range or, of all angles that differ by whole turns, next to its middle. A reflection that the rotation
    takes past the sphere is rotated to it from the angle of the range at which it is nearest.
    """
    start, end = phi
    middle, target = (start + end) / 2.0, -(q * q).sum(axis=1) * beam.wavelength / 2.0
    constant, size, top = swing(q, spindle, beam.direction)
    with np.errstate(divide="ignore", invalid="ignore"):
        cosine = (target - constant) / size
    crosses = np.abs(cosine) < 1.0
    parts = []
    for sense in (-1, 1):
        row = np.flatnonzero(crosses)
        angle = _within(top[row] - sense * np.arccos(cosine[row]), start, middle)
        direction = beam.direction + beam.wavelength * turned(q[row], spindle, angle)
        nothing, same = np.zeros(len(row)), np.full(len(row), beam.wavelength)
        parts.append(Meetings(row, angle, nothing, same, direction, np.full(len(row), sense, dtype=np.int8)))
    passes = np.flatnonzero(~crosses & ((q * q).sum(axis=1) * beam.wavelength**2 < 4.0))
    parts.append(_passed(passes, q, spindle, phi, beam, (constant, size, top, target)))
    return Meetings(*(np.concatenate(columns) for columns in zip(*parts)))


def _passed(passes, q, spindle, phi, beam, terms) -> Meetings:
    """Return how those reflections meet the sphere, by delta-psi, that the rotation takes past it (F14c).

    passes: their numbers. terms: constant, size and top of `swing`, and the i . q on the sphere.
    """
    start, end = phi
    constant, size, top, target = (term[passes] for term in terms)
    angles = np.stack([np.full(len(passes), start), np.full(len(passes), end)])
    for extreme in (top, top + math.pi):
        angle = _within(extreme, start, (start + end) / 2.0)
        angles = np.concatenate([angles, np.clip(angle, start, end)[np.newaxis]])
    off = np.abs(constant + size * np.cos(angles - top) - target)
    angle = np.take_along_axis(angles, off.argmin(axis=0)[np.newaxis], axis=0)[0]
    return rotated(passes, turned(q[passes], spindle, angle), angle, np.full(len(passes), beam.wavelength), beam.direction)


def _within(angle: np.ndarray, start: float, middle: float) -> np.ndarray:
    """Return angles, in radian, in the turn about the middle of a range; its end is its start, one turn before."""
    turn = 2.0 * math.pi
    near = angle - turn * np.round((angle - middle) / turn)
    return np.where(near >= start + turn, near - turn, near)


def swing(q: np.ndarray, spindle: np.ndarray, incident: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return c, r and p of i . (R(phi) q) = c + r cos(phi - p), for reciprocal vectors q (n, 3) at phi = 0 (F14c)."""
    along = q @ spindle
    across = q - along[:, np.newaxis] * spindle
    cosine, sine = across @ incident, np.cross(spindle, q) @ incident
    return along * (spindle @ incident), np.hypot(cosine, sine), np.arctan2(sine, cosine)


def turned(q: np.ndarray, spindle: np.ndarray, angle: np.ndarray) -> np.ndarray:
    """Return vectors (n, 3), each turned about the spindle by its angle (n,), in radian (Rodrigues' formula)."""
    along = (q @ spindle)[:, np.newaxis] * spindle
    cosine, sine = np.cos(angle)[:, np.newaxis], np.sin(angle)[:, np.newaxis]
    return along + (q - along) * cosine + np.cross(spindle, q) * sine


def lorentz(direction: np.ndarray, spindle: np.ndarray, incident: np.ndarray) -> np.ndarray:
    """Return the Lorentz factors 1 / |e . (i x d)| of rays (n, 3), without a unit; infinite along the spindle (F14c)."""
    speed = np.abs(direction @ np.cross(spindle, incident))
    return np.divide(1.0, speed, out=np.full(len(speed), np.inf), where=speed > 0.0)
