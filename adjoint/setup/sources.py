"""How the sources of the incident beam move with its wavelength, its ranges and its tilts (specs/adjoint.md, A5a)."""

import numpy as np

from adjoint.parameters import SOURCE_MOTIONS
from nbnumba.geometry.rotations import about_axis
from nbnumba.setup import sources
from nbnumba.statements import Beam

COLUMN = {name.partition(".")[2]: column for column, name in enumerate(SOURCE_MOTIONS)}
"""Where the motion by a field of the beam stands among the motions of a source."""


def motions(beam: Beam, direction: np.ndarray, polarization: np.ndarray, switches: frozenset[str]) -> np.ndarray:
    """The derivative (sources, 6, 4) of the direction (3) and the wavelength in A of each source, by SOURCE_MOTIONS.

    Per unit that the user states a parameter in. Arguments and the order of the sources are those of nbnumba's `spread`. Which
    sources there are, their number and their weights are constant.
    """
    if beam.sources is not None:
        untilted, moves = _of_table(beam, direction)
    else:
        untilted, moves = _of_sweeps(beam, direction, polarization, "one_step_means_two" in switches)
    return _tilted(beam, untilted, moves, direction, polarization)


def rates(sweep: list[float], full: float | None, step: float | None) -> list[float]:
    """The derivative of each deviation of a sweep with respect to its full range, both in one unit.

    A range alone moves its two ends; a range with a number all of its steps; a range with a step only its lower end, and with
    it every step. A range of 0, or one that is not given, moves nothing.
    """
    if full is None or full <= 0.0:
        return [0.0] * len(sweep)
    if step is not None and step > 0.0:
        return [-0.5] * len(sweep)
    return [tick / (len(sweep) - 1) - 0.5 for tick in range(len(sweep))] if len(sweep) > 1 else [0.0]


def _of_table(beam: Beam, direction: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Directions (sources, 3) before the tilts, and motions (sources, 6, 4): a wavelength that is missing is the beam's."""
    untilted = sources.stated_directions(beam, direction)
    moves = np.zeros((len(untilted), len(SOURCE_MOTIONS), 4))
    moves[:, COLUMN["wavelength_A"], 3] = np.isnan(np.array(beam.sources)[:, 4])
    return untilted, moves


def _of_sweeps(beam: Beam, direction: np.ndarray, polarization: np.ndarray, two: bool) -> tuple[np.ndarray, np.ndarray]:
    """Directions (sources, 3) before the tilts, and motions (sources, 6, 4), of divergence and dispersion."""
    horizontal, vertical, spectrum = sources.sweeps(beam, two)
    kept = sources.inside(beam, horizontal, vertical)
    by_horizontal = rates(horizontal, beam.hdivrange_mrad, beam.hdivstep_mrad)
    by_vertical = rates(vertical, beam.vdivrange_mrad, beam.vdivstep_mrad)
    by_dispersion = rates(spectrum, beam.dispersion_percent, None)
    untilted = np.zeros((len(kept), len(spectrum), 3))
    moves = np.zeros((len(kept), len(spectrum), len(SOURCE_MOTIONS), 4))
    for place, (h, v) in enumerate(kept):
        one, across, up = _diverging(horizontal[h], vertical[v], direction, polarization)
        untilted[place] = one
        moves[place, :, COLUMN["hdivrange_mrad"], :3] = across * by_horizontal[h] / 1000
        moves[place, :, COLUMN["vdivrange_mrad"], :3] = up * by_vertical[v] / 1000
    moves[:, :, COLUMN["wavelength_A"], 3] = 1.0 + np.array(spectrum)
    moves[:, :, COLUMN["dispersion_percent"], 3] = beam.wavelength_A * np.array(by_dispersion) / 100
    return untilted.reshape(-1, 3), moves.reshape(-1, len(SOURCE_MOTIONS), 4)


def _diverging(horizontal: float, vertical: float, direction: np.ndarray, polarization: np.ndarray):
    """A direction of the divergence, and its derivatives by the horizontal and the vertical angle, per radian."""
    axis = sources.upright(direction, polarization)
    if not axis.any():
        return direction, np.zeros(3), np.zeros(3)
    turn, raised = about_axis(axis, horizontal), about_axis(polarization, vertical) @ direction
    return turn @ raised, np.cross(axis, turn @ raised), turn @ np.cross(polarization, raised)


def _tilted(beam: Beam, untilted: np.ndarray, moves: np.ndarray, direction: np.ndarray, polarization: np.ndarray) -> np.ndarray:
    """The motions of the tilted sources: those of the untilted ones turned with them, and the tilts' own."""
    first, second = sources.tilt_axes(direction, polarization)
    by_x, by_y = about_axis(first, beam.direction_x_mrad / 1000), about_axis(second, beam.direction_y_mrad / 1000)
    tilted = untilted @ (by_y @ by_x).T
    moves[:, :, :3] = moves[:, :, :3] @ (by_y @ by_x).T
    moves[:, COLUMN["direction_x_mrad"], :3] = np.cross(by_y @ first, tilted) / 1000
    moves[:, COLUMN["direction_y_mrad"], :3] = np.cross(second, tilted) / 1000
    return moves
