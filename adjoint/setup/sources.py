"""How the sources of the incident beam move with its wavelength, its ranges and its tilts (A5a)."""

import numpy as np

from adjoint.parameters import SOURCE_MOTIONS
from nbnumba.geometry.rotations import about_axis, cross
from nbnumba.parity import Defects
from nbnumba.setup import sources
from nbnumba.statements import Beam

COLUMN = {name.partition(".")[2]: column for column, name in enumerate(SOURCE_MOTIONS)}
"""The index, among the motions of a source, of the motion by a field of the beam."""


def motions(beam: Beam, direction: np.ndarray, polarization: np.ndarray, defects: Defects) -> np.ndarray:
    """Return the derivative (sources, motions, 4) of unit direction and wavelength, in A, of the sources, by SOURCE_MOTIONS.

        F5a: i = T s,    s = R(u, h) R(E, v) i0,    T = R(e2, y) R(e1, x),    w = c w0 + o
             w0 = lambda (1 + deviation)
        A5a: di/dh = T (u x s),    di/dv = T R(u, h) (E x R(E, v) i0),    di/dx = (R(e2, y) e1) x i,    di/dy = e2 x i
             dw/dlambda = c (1 + deviation),    dw/ddispersion = c lambda d(deviation)/d(dispersion)
             dw/dc = w0,    dw/do = 1

    direction: i0, unit vector along the beam. polarization: the unit vector E. defects: those of C that are reproduced. The
    derivative is per unit in which the user states a parameter. The order of the sources is that of nbnumba's `beam_sources`;
    which sources there are, their number and their weights are constant. Wavelengths of a spectrum and of a table have no
    derivative but those by scale c and offset o.
    """
    if beam.sources is not None:
        untilted, moves, wavelengths = _of_table(beam, direction)
    else:
        untilted, moves, wavelengths = _of_sweeps(beam, direction, polarization, defects.one_step_means_two)
    moves[:, :, 3] *= beam.wavelength_scale
    moves[:, COLUMN["wavelength_scale"], 3] = wavelengths
    moves[:, COLUMN["wavelength_offset_A"], 3] = 1.0
    return _tilted(beam, untilted, moves, direction, polarization)


def rates(sweep: list[float], full: float | None, step: float | None) -> list[float]:
    """Return the derivative of each deviation of a sweep with respect to its full range, both in one unit (A5a).

        F5a: deviation_t = -range / 2 + t step,    step = range / (steps - 1) where it is not stated
        A5a: t / (steps - 1) - 1/2,    or -1/2 where the step is stated

    sweep: the deviations. full: the range, if it is stated. step: if it is stated. Of one step in the middle, and of a range
    that is 0 or not stated, the derivative is 0.
    """
    if full is None or full <= 0.0:
        return [0.0] * len(sweep)
    if step is not None and step > 0.0:
        return [-0.5] * len(sweep)
    return [tick / (len(sweep) - 1) - 0.5 for tick in range(len(sweep))] if len(sweep) > 1 else [0.0]


def by_own_weights(weights: np.ndarray) -> np.ndarray:
    """Return the derivative (sources, sources) of the weights that the image has by those that are stated (A5b).

        F5a: w_i = v_i / mean(v)
        A5b: dw_i / dv_j = (delta_ij - w_i / n) / mean(v)

    weights (sources,): v. An index i is a row.
    """
    mean, count = weights.mean(), len(weights)
    return (np.eye(count) - (weights / mean / count)[:, np.newaxis]) / mean


def _of_table(beam: Beam, direction: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return untilted unit directions (sources, 3), motions (sources, motions, 4) and wavelengths, in A, of a table (A5a).

    A wavelength that is missing in the table is that of the beam, and moves with it.
    """
    untilted = sources.stated_directions(beam, direction)
    moves = np.zeros((len(untilted), len(SOURCE_MOTIONS), 4))
    moves[:, COLUMN["wavelength_A"], 3] = np.isnan(np.array(beam.sources)[:, 4])
    return untilted, moves, sources.stated_wavelengths(beam)


def _of_sweeps(
    beam: Beam, direction: np.ndarray, polarization: np.ndarray, two: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return untilted unit directions (sources, 3), motions (sources, motions, 4) and wavelengths, in A, of sweeps (A5a).

    two: whether one step stands for two (P16).
    """
    horizontal, vertical, spectrum = sources.sweeps(beam, two)
    inside = sources.inside(beam, horizontal, vertical)
    by_horizontal = rates(horizontal, beam.hdivrange_mrad, beam.hdivstep_mrad)
    by_vertical = rates(vertical, beam.vdivrange_mrad, beam.vdivstep_mrad)
    by_dispersion = rates(spectrum, beam.dispersion_percent, None)
    wavelengths = sources.wavelengths_of_each(beam, spectrum)
    untilted = np.zeros((len(inside), len(wavelengths), 3))
    moves = np.zeros((len(inside), len(wavelengths), len(SOURCE_MOTIONS), 4))
    for number, (h, v) in enumerate(inside):
        diverging, by_h, by_v = _diverging(horizontal[h], vertical[v], direction, polarization)
        untilted[number] = diverging
        moves[number, :, COLUMN["hdivrange_mrad"], :3] = by_h * by_horizontal[h] / 1000
        moves[number, :, COLUMN["vdivrange_mrad"], :3] = by_v * by_vertical[v] / 1000
    if beam.spectrum is None:
        moves[:, :, COLUMN["wavelength_A"], 3] = 1.0 + np.array(spectrum)
        moves[:, :, COLUMN["dispersion_percent"], 3] = beam.wavelength_A * np.array(by_dispersion) / 100
    moves = moves.reshape(-1, len(SOURCE_MOTIONS), 4)
    return untilted.reshape(-1, 3), moves, np.tile(wavelengths, len(inside))


def _diverging(horizontal: float, vertical: float, direction: np.ndarray, polarization: np.ndarray):
    """Return a unit direction of the divergence and its derivatives by the horizontal and the vertical angle, per radian (A5a).

        F5a: s = R(u, h) R(E, v) i0
        A5a: ds/dh = u x s,    ds/dv = R(u, h) (E x R(E, v) i0)

    horizontal, vertical: the angles h and v, in radian. direction: i0. polarization: E. Both are unit vectors.
    """
    axis = sources.upright(direction, polarization)
    if not axis.any():
        return direction, np.zeros(3), np.zeros(3)
    rotation, raised = about_axis(axis, horizontal), about_axis(polarization, vertical) @ direction
    return rotation @ raised, cross(axis, rotation @ raised), rotation @ cross(polarization, raised)


def _tilted(beam: Beam, untilted: np.ndarray, moves: np.ndarray, direction: np.ndarray, polarization: np.ndarray) -> np.ndarray:
    """Return the motions of the tilted sources: those of the untilted sources, tilted as well, and those by the tilts (A5a).

        F5a: i = T s,    T = R(e2, y) R(e1, x)
        A5a: di = T ds,    di/dx = (R(e2, y) e1) x i,    di/dy = e2 x i

    untilted (sources, 3): the unit directions s. moves (sources, motions, 4): their motions, which are changed in place.
    """
    first, second = sources.tilt_axes(direction, polarization)
    by_x, by_y = about_axis(first, beam.direction_x_mrad / 1000), about_axis(second, beam.direction_y_mrad / 1000)
    tilted = untilted @ (by_y @ by_x).T
    moves[:, :, :3] = moves[:, :, :3] @ (by_y @ by_x).T
    moves[:, COLUMN["direction_x_mrad"], :3] = np.cross(by_y @ first, tilted) / 1000
    moves[:, COLUMN["direction_y_mrad"], :3] = np.cross(second, tilted) / 1000
    return moves
