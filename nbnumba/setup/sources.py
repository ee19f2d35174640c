"""The sources of the incident beam: direction, wavelength and weight of each (F5a)."""

from collections.abc import Callable

import numpy as np

from nbnumba.errors import InputError
from nbnumba.geometry.rotations import about_axis, cross, unit
from nbnumba.parity import Defects
from nbnumba.setup.steps import steps_to_cover
from nbnumba.stages.records import Sources
from nbnumba.statements import Beam

SAME_WAVELENGTH = 1e-12
"""Relative rms width up to which a spectrum is one wavelength."""

ALONG_THE_BEAM = 1e-12
"""Sine of the angle below which an E vector runs along the beam."""

COUNTED_ONE_BY_ONE = 10**5
"""Up to so many steps of a divergence those inside its ellipse are counted; of more, all are taken to be inside."""


def beam_sources(beam: Beam, direction: np.ndarray, polarization: np.ndarray, defects: Defects) -> Sources:
    """Return all sources: those of a table, or every divergence with every wavelength (F5a).

    direction, polarization: unit vectors along the beam and E. defects: those of C that are reproduced. The horizontal
    divergence is outside, the wavelength inside. The tilts of the beam rotate all sources, and the scale and the offset of the
    wavelengths change those of all. Raises InputError where a round divergence leaves no source, for another number of weights
    than of sources, and for wavelengths that an offset makes 0 or less.
    """
    if beam.sources is not None:
        untilted = _of_table(beam, direction)
    else:
        untilted = _of_sweeps(beam, direction, polarization, defects.one_step_means_two)
    count = len(untilted.wavelength)
    wavelengths = _moved(beam, untilted.wavelength)
    weights = own_weights(beam, count, defects) if beam.source_weights is None else np.array(beam.source_weights)
    if len(weights) != count:
        raise InputError(f"beam.source_weights: {len(weights)} numbers for {count} sources; allowed: one for each")
    return Sources(tilted(beam, untilted.direction, direction, polarization), wavelengths, weights / weights.mean())


def own_weights(beam: Beam, count: int, defects: Defects) -> np.ndarray:
    """Return the weights (sources,) that the sources have by themselves, not divided by their mean (F5a).

    count: the number of sources. defects: those of C that are reproduced, of which one leaves the weights of a table out (P15).
    """
    if beam.sources is not None:
        weights = np.array(beam.sources)[:, 3]
        return np.ones(count) if defects.source_weights else np.where(np.isnan(weights), 1.0, weights)
    if beam.spectrum is not None:
        return np.tile(np.array(beam.spectrum)[:, 1], count // len(beam.spectrum))
    return np.ones(count)


def weights_of(beam: Beam, defects: Defects) -> tuple[float, ...]:
    """Return the weights of all sources, as they are stated, not divided by their mean (F5a)."""
    return beam.source_weights or tuple(own_weights(beam, number(beam, defects), defects).tolist())


def mean_wavelength(spectrum: np.ndarray) -> float:
    """Return the mean wavelength of a spectrum (n, 2) of wavelengths and weights, in the unit of the wavelengths (F5b)."""
    return float(np.average(spectrum[:, 0], weights=spectrum[:, 1]))


def main_wavelength(beam: Beam) -> float:
    """Return the wavelength of the beam as a whole, in A, after scale and offset (F5b).

    It is beam.wavelength_A, in whose middle a dispersion is; beside a spectrum, where that has no effect, it is the mean by the
    weights of the sources.
    """
    middle = beam.wavelength_A
    if beam.spectrum is not None:
        spectrum = np.array(beam.spectrum)
        weights = spectrum[:, 1] if beam.source_weights is None else np.array(beam.source_weights)
        each = np.resize(spectrum[:, 0], len(weights))  # the spectrum of every divergence
        middle = mean_wavelength(np.column_stack([each, weights if weights.any() else np.ones(len(weights))]))
    return float(_moved(beam, np.array([middle]))[0])


def resampled(spectrum: np.ndarray, steps: int) -> np.ndarray:
    """Return a spectrum (steps, 2) of equal weights that has the mean and the rms width of one of (n, 2), in its unit (F5b).

    The weight, in ascending order of wavelength, is cut into equal parts, each of which is represented by its mean wavelength.
    The means are then stretched about the mean of all, which makes up for the width that the parts had in themselves.
    """
    order = np.argsort(spectrum[:, 0], kind="stable")
    wavelengths, weights = spectrum[order].T
    mean = mean_wavelength(spectrum)
    edges = np.concatenate([[0.0], np.cumsum(weights)])
    moments = np.concatenate([[0.0], np.cumsum(weights * (wavelengths - mean))])
    cuts = np.linspace(0.0, edges[-1], steps + 1)
    rising = np.concatenate([[True], np.diff(edges) > 0.0])
    means = np.diff(np.interp(cuts, edges[rising], moments[rising])) * steps / edges[-1]
    width, narrower = (float(np.average(x * x, weights=w)) for x, w in ((wavelengths - mean, weights), (means, None)))
    stretch = np.sqrt(width / narrower) if narrower > (SAME_WAVELENGTH * mean) ** 2 else 0.0
    return np.column_stack([mean + stretch * means, np.full(steps, edges[-1] / steps)])


def of_at_most(spectrum: np.ndarray, steps: int) -> np.ndarray:
    """Return a spectrum (n, 2) as it is, the same array, if it has no more wavelengths than so many; else resampled (F5b)."""
    return spectrum if steps >= len(spectrum) else resampled(spectrum, steps)


def downstream(sources: Sources, direction: np.ndarray) -> list[str]:
    """Return a sentence if sources stand downstream of the crystal.

    direction: unit vector along the beam.
    """
    behind = int(np.count_nonzero(sources.direction @ direction <= 0.0))
    along = " ".join(f"{x:g}" for x in direction)
    words = f"the beam runs along {along}, and theirs against it: what scatters forward misses the detector"
    return [f"beam.sources: {behind} of {len(sources.weight)} stand downstream of the crystal: {words}"] if behind else []


def tilted(beam: Beam, directions: np.ndarray, direction: np.ndarray, polarization: np.ndarray) -> np.ndarray:
    """Return the directions (n, 3) of sources, rotated by both tilts of the beam; without tilts the same array (F5a).

    directions (n, 3): unit vectors. direction, polarization: unit vectors along the beam, before it is tilted, and E.
    """
    if beam.direction_x_mrad == 0.0 and beam.direction_y_mrad == 0.0:
        return directions
    first, second = tilt_axes(direction, polarization)
    turn = about_axis(second, beam.direction_y_mrad / 1000) @ about_axis(first, beam.direction_x_mrad / 1000)
    return np.array([turn @ one for one in directions])


def tilt_axes(direction: np.ndarray, polarization: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the axes e1 of direction_x_mrad and e2 of direction_y_mrad, unit vectors across the beam (F5a).

    direction, polarization: unit vectors along the beam and E. e1 is the axis across the beam that is nearest to E. Where E
    runs along the beam, the laboratory axis along which the beam has its smallest component takes its place; of several the
    first.
    """
    across = cross(direction, polarization)
    if _runs_along(across):
        across = cross(direction, np.eye(3)[np.argmin(np.abs(direction))])
    second = unit(across)
    return unit(cross(second, direction)), second


def sweep(steps: int | None, full: float | None, step: float | None, one_means_two: bool) -> tuple[int, float, float]:
    """Return the number of steps, the range and the step of a sweep; 1, 0, 0 for no sweep (F5a).

    steps, full, step: number, range and step that are stated, or None, in one unit. one_means_two: whether one step stands for
    two (P16). What is not stated follows the rules of nanoBragg. Nothing stated: no sweep. A step alone, or with a number: two
    steps over a range of one step. A range alone: its two ends. Range and step: as many steps as the range needs. A number
    alone: a range of 1 from its lower end on, in steps of 1 over the number. A range and a number: from end to end; one step is
    in the middle, or with one_means_two at the ends.
    """
    step = None if step is None or step <= 0.0 else step
    if full is None:
        if step is not None:
            steps, full = 2, step
        elif steps is None:
            return 1, 0.0, 0.0
        else:
            full, step = 1.0, 1.0 / steps
    elif steps is None:
        steps, step = (2, full) if step is None else (steps_to_cover(full, step), step)
    elif step is None:
        if steps == 1 and not one_means_two:
            return 1, 0.0, 0.0
        steps = max(steps, 2)
        step = full / (steps - 1)
    if full <= 0.0 or steps < 1:
        return 1, 0.0, 0.0
    return steps, full, step


def deviations(steps: int | None, full: float | None, step: float | None, one_means_two: bool) -> list[float]:
    """Return the deviations of a sweep from its middle, in the unit of the range; without a sweep one deviation of 0 (F5a).

    Arguments are those of `sweep`.
    """
    steps, full, step = sweep(steps, full, step, one_means_two)
    return [step * tick - full / 2 for tick in range(steps)]


def number(beam: Beam, defects: Defects) -> int:
    """Return the number of sources of a beam, before they are made (F5a).

    Of a round divergence of very many steps those outside the ellipse are counted, too. defects: those of C that are
    reproduced.
    """
    if beam.sources is not None:
        return len(beam.sources)
    horizontal, vertical, spectrum = numbers(beam, defects)
    if beam.round_divergence and min(horizontal, vertical) > 1 and horizontal * vertical <= COUNTED_ONE_BY_ONE:
        angles = [deviations(*stated, defects.one_step_means_two) for stated, _ in zip(_stated_sweeps(beam), "hv")]
        return len(inside(beam, *angles)) * spectrum
    return horizontal * vertical * spectrum


def numbers(beam: Beam, defects: Defects) -> tuple[int, int, int]:
    """Return the numbers of steps of the horizontal and the vertical divergence, and of wavelengths (F5a)."""
    horizontal, vertical, spectrum = (sweep(*stated, defects.one_step_means_two)[0] for stated in _stated_sweeps(beam))
    return horizontal, vertical, spectrum if beam.spectrum is None else len(beam.spectrum)


def wavelengths(beam: Beam, defects: Defects) -> np.ndarray:
    """Return the different wavelengths (n,) of the sources, in A, ascending, after scale and offset (F5a).

    Raises InputError where the offset makes one 0 or less.
    """
    return np.unique(_moved(beam, _listed_wavelengths(beam, lambda: sweeps(beam, defects.one_step_means_two)[2])))


def wavelength_range(beam: Beam, defects: Defects) -> tuple[float, float]:
    """Return the shortest and the longest wavelength of the sources, in A, after scale and offset (F5a).

    Of a dispersion only the ends are made, whatever the number of its steps. Raises InputError where the offset makes one 0 or
    less.
    """

    def ends() -> list[float]:
        *_, stated = _stated_sweeps(beam)
        steps, full, step = sweep(*stated, defects.one_step_means_two)
        return [-full / 2, step * (steps - 1) - full / 2]

    rows = _moved(beam, _listed_wavelengths(beam, ends))
    return float(rows.min()), float(rows.max())


def _listed_wavelengths(beam: Beam, dispersion: Callable[[], list[float]]) -> np.ndarray:
    """Return the wavelengths of a table, a spectrum or a dispersion, before scale and offset, in A.

    dispersion: it returns the deviations that the dispersion gives, as fractions of the wavelength (F5a).
    """
    if beam.sources is not None:
        return stated_wavelengths(beam)
    return wavelengths_of_each(beam, [] if beam.spectrum is not None else dispersion())


def _moved(beam: Beam, wavelengths: np.ndarray) -> np.ndarray:
    """Return wavelengths in A after scale and offset (F5a). Raises InputError for those that an offset makes 0 or less."""
    moved = beam.wavelength_scale * wavelengths + beam.wavelength_offset_A
    if moved.min() <= 0.0:
        shortest = f"the shortest wavelength would be {moved.min():g} A"
        raise InputError(f"beam.wavelength_offset_A: {beam.wavelength_offset_A:g}: {shortest}; allowed: what leaves it above 0")
    return moved


def number_of_wavelengths(beam: Beam, defects: Defects) -> int:
    """Return the number of different wavelengths of the sources, before they are made (F5a)."""
    return len(wavelengths(beam, defects)) if beam.sources is not None else numbers(beam, defects)[2]


def sweeps(beam: Beam, one_means_two: bool) -> tuple[list[float], list[float], list[float]]:
    """Return the deviations of both divergences, in radian, and of the wavelength, as fractions of it (F5a).

    Those of the wavelength do not count beside a spectrum.
    """
    return tuple(deviations(*stated, one_means_two) for stated in _stated_sweeps(beam))


def wavelengths_of_each(beam: Beam, spectrum: list[float]) -> np.ndarray:
    """Return the wavelengths of every divergence, before scale and offset, in A: those of the spectrum, or of the dispersion.

    spectrum: the deviations that the dispersion gives (F5a).
    """
    if beam.spectrum is not None:
        return np.array(beam.spectrum)[:, 0]
    return beam.wavelength_A * (1.0 + np.array(spectrum))


def _stated_sweeps(beam: Beam):
    """Yield number, range and step as stated: of both divergences in radian, of the wavelength as fractions of it (F5a)."""
    yield beam.hdivsteps, _part(beam.hdivrange_mrad, 1000), _part(beam.hdivstep_mrad, 1000)
    yield beam.vdivsteps, _part(beam.vdivrange_mrad, 1000), _part(beam.vdivstep_mrad, 1000)
    yield beam.dispsteps, _part(beam.dispersion_percent, 100) or 0.0, None


def inside(beam: Beam, horizontal: list[float], vertical: list[float]) -> list[tuple[int, int]]:
    """Return the numbers of the horizontal and the vertical step of every divergence; a round one leaves out the corners (F5a).

    horizontal, vertical: deviations, in one unit. Raises InputError where none is left.
    """
    pairs = [(h, v) for h in range(len(horizontal)) for v in range(len(vertical))]
    wide, high = -2 * horizontal[0], -2 * vertical[0]
    if not beam.round_divergence or wide == 0.0 or high == 0.0:
        return pairs
    across = [_part_of_ellipse(h, horizontal, wide) for h in horizontal]
    up = [_part_of_ellipse(v, vertical, high) for v in vertical]
    pairs = [(h, v) for h, v in pairs if 4 * (across[h] + up[v]) <= 1.1]
    if not pairs:
        allowed = "more steps, or the whole square of them"
        raise InputError(f"beam.hdivrange_mrad, vdivrange_mrad: no step is inside the ellipse; allowed: {allowed}")
    return pairs


def upright(direction: np.ndarray, polarization: np.ndarray) -> np.ndarray:
    """Return the axis about which the horizontal divergence rotates, i x E of unit length; 0 where E runs along the beam (F5a).

    direction, polarization: the unit vectors i and E.
    """
    across = cross(direction, polarization)
    return np.zeros(3) if _runs_along(across) else unit(across)


def along(directions: np.ndarray, polarization: np.ndarray) -> np.ndarray:
    """Return whether E runs along each of some beams (..., 3); all are unit vectors (F6)."""
    return _runs_along(np.cross(directions, polarization))


def _runs_along(across: np.ndarray) -> np.ndarray:
    """Return whether cross products of unit vectors (..., 3) are so short that both run along each other."""
    return (across**2).sum(axis=-1) < ALONG_THE_BEAM**2


def _of_sweeps(beam: Beam, direction: np.ndarray, polarization: np.ndarray, two: bool) -> Sources:
    """Return the sources of divergence and spectrum, with weights of 1, before they are tilted (F5a).

    direction, polarization: unit vectors along the beam and E. two: whether one step stands for two (P16).
    """
    horizontal, vertical, spectrum = sweeps(beam, two)
    angles = [(horizontal[h], vertical[v]) for h, v in inside(beam, horizontal, vertical)]
    wavelengths = wavelengths_of_each(beam, spectrum)
    axis = upright(direction, polarization)
    if not axis.any():
        if len(angles) > 1:
            raise InputError("beam.polarization_axis: it runs along the beam; allowed with a divergence: any other direction")
        angles = [(0.0, 0.0)]
    directions = [about_axis(axis, h) @ about_axis(polarization, v) @ direction for h, v in angles]
    return Sources(
        np.repeat(np.array(directions), len(wavelengths), axis=0),
        np.tile(wavelengths, len(directions)),
        np.ones(len(directions) * len(wavelengths)),
    )


def _part_of_ellipse(deviation, sweep, full) -> float:
    """Return the square of a deviation over the full range of its sweep, without a unit (F5a).

    Of an even number of steps the middle two count as the middle.
    """
    half_step = (sweep[1] - sweep[0]) / 2 if len(sweep) % 2 == 0 else 0.0
    return (deviation * deviation - half_step * half_step) / full / full


def stated_directions(beam: Beam, direction: np.ndarray) -> np.ndarray:
    """Return the unit directions (n, 3) of the sources of a table, from their positions (F5a).

    direction: unit vector along the beam. A component of a position that is missing is that of the point 10 m upstream.
    """
    table = np.array(beam.sources)
    positions = np.where(np.isnan(table[:, :3]), -10.0 * direction, table[:, :3])
    return np.array([-unit(position) for position in positions])


def stated_wavelengths(beam: Beam) -> np.ndarray:
    """Return the wavelengths (n,) of a table of sources, before scale and offset, in A; a missing one is the beam's (F5a)."""
    wavelengths = np.array(beam.sources)[:, 4]
    return np.where(np.isnan(wavelengths), beam.wavelength_A, wavelengths)


def _of_table(beam: Beam, direction: np.ndarray) -> Sources:
    """Return the sources of a table, with weights of 1, before they are tilted (F5a)."""
    wavelengths = stated_wavelengths(beam)
    return Sources(stated_directions(beam, direction), wavelengths, np.ones(len(wavelengths)))


def _part(value: float | None, of: float) -> float | None:
    """Return a value divided by `of`, or None for None."""
    return None if value is None else value / of
