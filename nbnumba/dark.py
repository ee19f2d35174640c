"""The warning about an image that is 0 everywhere, and the checks that find its likeliest cause."""

import math

import numpy as np

from nbnumba import resolved
from nbnumba.setup import crystal, crystals, detector, sampling, sources
from nbnumba.setup.panels import planes
from nbnumba.statements import Statements


def sentence(experiment: Statements) -> str:
    """The warning about an image that is 0 in every pixel, with the likeliest cause.

    Of several crystals each has to have one, and those that differ are told.
    """
    each = crystals.each_alone(experiment)
    causes = [next(filter(None, (find_cause(one) for find_cause in CAUSES)), "") for one in each]
    if all(causes):
        return f"the image is 0 everywhere: {'; '.join(dict.fromkeys(causes))}"
    narrow = [one for one in each if one.crystal.shape != "square"]
    return f"the image is 0 everywhere: {_between_spots((narrow or each)[0])}"


def _no_photons(experiment: Statements) -> str | None:
    return "beam.fluence is 0" if experiment.beam.fluence == 0.0 else None


def _no_pixels(experiment: Statements) -> str | None:
    wanted = sampling.windows(experiment.detector, experiment.sampling)
    lit = (not window.mask.size or window.mask[slice(*window.rows), slice(*window.columns)].any() for window in wanted)
    return None if any(lit) else "the mask leaves no pixel of the region"


def _no_amplitudes(experiment: Statements) -> str | None:
    factors = experiment.structure_factors
    if factors.default_F != 0.0 or factors.F.any():
        return None
    return "every amplitude of structure_factors.hkl is 0, and so is structure_factors.default_F"


def _transparent(experiment: Statements) -> str | None:
    stated, defects = experiment.detector, experiment.sampling.defects
    sensors = [detector.sensor(stated, defects, panel) for panel in stated.panels or (None,)]
    if all(depth > 0.0 and absorption * depth < 1e-15 for _, depth, absorption in sensors):
        return f"the sensor of {sensors[0][0] * sensors[0][1] * 1e6:g} um absorbs nothing (detector.attenuation_um)"
    return None


def _odd_sources(experiment: Statements) -> str | None:
    low, high = resolved.wavelengths(experiment)
    if not resolved.USUAL_A[0] <= low <= high <= resolved.USUAL_A[1]:
        return f"wavelengths are {low:g} to {high:g} A: is their unit right?"
    if experiment.beam.sources is None:
        return None
    ahead = detector.beam_direction(experiment.detector, experiment.beam)
    backwards = int((sources.stated_directions(experiment.beam, ahead) @ ahead <= 0.0).sum())
    count = len(experiment.beam.sources)
    return f"{backwards} of {count} rows of beam.sources stand downstream of the crystal" if 2 * backwards > count else None


def _too_fine_or_coarse(experiment: Statements) -> str | None:
    """Whether the resolution of the region lies beyond dmin, or beyond the listed reflections and half a cell around each."""
    seen = resolved.resolution(experiment)
    sees = _resolution_words(seen)
    if seen.coarsest < experiment.beam.dmin_A:
        return f"{sees}, all of it finer than beam.dmin_A {experiment.beam.dmin_A:g}"
    factors = experiment.structure_factors
    if factors.hkl is None or factors.default_F != 0.0:
        return None
    finest, coarsest = resolved.reflections_range(experiment)
    star = crystal.reciprocal(experiment.crystal, crystal.orient(experiment.crystal, experiment.sampling.defects))
    of_000 = factors.F[..., ~factors.hkl.any(axis=1)]
    if 1.0 / seen.finest < 0.5 * float(np.linalg.norm(star, axis=1).min()) and not of_000.any():
        return f"all that the region sees belongs to reflection 0 0 0, which has no amplitude: {sees}"
    half = 0.5 * float(np.linalg.norm(star, axis=1).sum())
    if math.isnan(finest):
        finest = coarsest = math.inf
    direct_beam = _direct_beam_words(experiment)
    if 1.0 / finest + half < 1.0 / seen.coarsest:
        return f"reflections with an amplitude end at {finest:.4g} A, and {sees}{direct_beam}"
    if 1.0 / coarsest - half > 1.0 / seen.finest:
        return f"reflections with an amplitude begin at {coarsest:.4g} A, and {sees}{direct_beam}"
    return None


def _resolution_words(seen: resolved.Resolution) -> str:
    limit = "and coarser" if math.isinf(seen.coarsest) else f"to {seen.coarsest:.4g} A"
    return f"the region sees {seen.finest:.4g} A {limit}"


def _direct_beam_words(experiment: Statements) -> str:
    """The position of a direct beam that misses the region, in words; "" if it hits the region."""
    every = planes(experiment.detector, experiment.beam, experiment.sampling.defects)
    wanted = sampling.windows(experiment.detector, experiment.sampling)
    if any(plane.beam_within(*window[:2]) for plane, window in zip(every, wanted)):
        return ""
    if len(every) > 1:
        return f"; the direct beam meets none of the {len(every)} panels"
    spot = every[0].crossing_pixels()
    if spot is None:
        return "; the direct beam does not meet the plane of the detector"
    return f"; the direct beam is off it, at fast {spot[0]:.6g}, slow {spot[1]:.6g} pixels"


def _between_spots(experiment: Statements) -> str:
    """The cause that remains if nothing else is wrong: all samples fall between spots."""
    listed = "" if experiment.structure_factors.default_F else " with an amplitude"
    sees = _resolution_words(resolved.resolution(experiment)) + _direct_beam_words(experiment)
    if experiment.crystal.shape == "square":
        return f"no sample is near a reflection{listed}; {sees}"
    remedy = "a larger sampling.oversample, or a crystal.mosaic_spread_deg, finds them"
    return f"no sample hits a spot{listed}, because spots are narrow; {sees}; {remedy}"


CAUSES = (_no_photons, _no_pixels, _no_amplitudes, _transparent, _odd_sources, _too_fine_or_coarse)
"""The checks for causes of a dark image, the most certain first; each returns the cause in words, or None."""
