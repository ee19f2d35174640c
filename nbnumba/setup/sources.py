"""The sources of the incident beam: direction, wavelength and weight of each (specs/forward.md, F5a)."""

import math

import numpy as np

from nbnumba.errors import InputError
from nbnumba.experiment import Beam
from nbnumba.setup.rotations import about_axis, unit
from nbnumba.stages.records import Sources


def spread(beam: Beam, direction: np.ndarray, polarization: np.ndarray, switches: frozenset[str]) -> Sources:
    """All sources: those of a table, or every divergence with every wavelength, horizontal outside, wavelength inside.

    direction and polarization are unit vectors. `switches` are the defects of C that are on. Raises InputError where a round
    divergence leaves no source.
    """
    if beam.sources is not None:
        return _of_table(beam, direction, "source_weights" not in switches)
    two = "one_step_means_two" in switches
    angles = _divergences(beam, two)
    ratios = 1.0 + np.array(deviations(beam.dispsteps, _part(beam.dispersion_percent, 100) or 0.0, None, two))
    if not angles:
        allowed = "more steps, or the whole square of them"
        raise InputError(f"beam.hdivrange_mrad, vdivrange_mrad: no step is inside the ellipse; allowed: {allowed}")
    upright = np.cross(direction, polarization)
    if upright @ upright > 0.0:
        upright = unit(upright)
    elif len(angles) > 1:
        raise InputError("beam.polarization_axis: it runs along the beam; allowed with a divergence: any other direction")
    directions = [about_axis(upright, h) @ about_axis(polarization, v) @ direction for h, v in angles]
    return Sources(
        np.repeat(np.array(directions), len(ratios), axis=0),
        np.tile(beam.wavelength_A * ratios, len(directions)),
        np.ones(len(directions) * len(ratios)),
    )


def deviations(steps: int | None, full: float | None, step: float | None, one_means_two: bool) -> list[float]:
    """Deviations from the middle of a sweep, by nanoBragg's rules for what is not given of its steps, range and step.

    Nothing given: no sweep. A step alone, or with a number: two steps over a range of one step. A range alone: its two ends.
    Range and step: as many steps as the range needs. A number alone: a range of 1 from its lower end on, in steps of 1 over the
    number. A range and a number: from end to end; 1 is the middle, or with one_means_two the ends.
    """
    step = None if step is None or step <= 0.0 else step
    if full is None:
        if step is not None:
            steps, full = 2, step
        elif steps is None:
            return [0.0]
        else:
            full, step = 1.0, 1.0 / steps
    elif steps is None:
        steps, step = (2, full) if step is None else (math.ceil(full / step), step)
    elif step is None:
        if steps == 1 and not one_means_two:
            return [0.0]
        steps = max(steps, 2)
        step = full / (steps - 1)
    if full <= 0.0 or steps < 1:
        return [0.0]
    return [step * tick - full / 2 for tick in range(steps)]


def _divergences(beam: Beam, two: bool) -> list[tuple[float, float]]:
    """Horizontal and vertical deviations in radians; a round beam leaves out the corners."""
    ranges = _part(beam.hdivrange_mrad, 1000), _part(beam.vdivrange_mrad, 1000)
    steps = _part(beam.hdivstep_mrad, 1000), _part(beam.vdivstep_mrad, 1000)
    horizontal = deviations(beam.hdivsteps, ranges[0], steps[0], two)
    vertical = deviations(beam.vdivsteps, ranges[1], steps[1], two)
    pairs = [(h, v) for h in horizontal for v in vertical]
    wide, high = -2 * horizontal[0], -2 * vertical[0]
    if not beam.round_divergence or wide == 0.0 or high == 0.0:
        return pairs
    parts = [_part_of_ellipse(h, horizontal, wide) + _part_of_ellipse(v, vertical, high) for h, v in pairs]
    return [pair for pair, part in zip(pairs, parts) if 4 * part <= 1.1]


def _part_of_ellipse(deviation, sweep, full) -> float:
    """The square of a deviation over its range; of an even number of steps the middle two count as the middle."""
    half_step = (sweep[1] - sweep[0]) / 2 if len(sweep) % 2 == 0 else 0.0
    return (deviation * deviation - half_step * half_step) / full / full


def _of_table(beam: Beam, direction: np.ndarray, weighted: bool) -> Sources:
    """The sources of a table: from where they stand, and 10 m upstream where that is missing."""
    table = np.array(beam.sources)
    stands = np.where(np.isnan(table[:, :3]), -10.0 * direction, table[:, :3])
    weights = np.where(np.isnan(table[:, 3]), 1.0, table[:, 3])
    wavelengths = np.where(np.isnan(table[:, 4]), beam.wavelength_A, table[:, 4])
    if not weighted:
        weights = np.ones(len(table))
    return Sources(np.array([-unit(stand) for stand in stands]), wavelengths, weights / weights.mean())


def _part(value: float | None, of: float) -> float | None:
    return None if value is None else value / of
