"""Intensities of the reflections of a refined series: what each would show in a whole rotation, and where it was seen."""

from __future__ import annotations

from typing import Any

import numpy as np

from nbnumba.cli.refine_series.input import Chosen
from nbnumba.formats.geometry import Geometry
from nbnumba.integrated_files import Intensities, corrections

LEAST_PARTIALITY = 0.5
"""Of a rocking curve so much has to lie in the images."""

STRONG = 5.0
"""Standard deviations of a factor from which on a reflection tells what a unit of intensity is in counts."""


def intensities(chosen: Chosen, result: Any, geometry: Geometry) -> Intensities:
    """The intensities of a result of adjoint.refine_series, of reflections of which the images show at least a half.

    geometry: that of the middle image. An intensity is factor * F^2 * qe / lp times a number that makes it the photons of the
    whole reflection at scale 1.
    """
    found, point, errors = result.reflections, result.point, result.errors
    lp, qe = corrections(found.s1, found.panel, geometry)
    unit = found.F**2 * qe / lp
    sums = _sums(result)
    share = _share_in_images(chosen, result)
    whole = unit * point.factors * _scales(result)
    strong = (point.factors > STRONG * errors.factors) & (share >= LEAST_PARTIALITY) & (whole > 0.0)
    per_unit = float(np.median(sums["calculated"][strong] / (whole * share)[strong])) if strong.any() else 1.0
    kept = (share >= LEAST_PARTIALITY) & (sums["pixels"] > 0)
    places = np.column_stack([found.fast, found.slow, _frames(chosen, found.phi_deg)])
    observed = np.full_like(places, np.nan)
    shifts = result.figures.shifts
    known = np.isfinite(shifts.phi)
    observed[shifts.reflection] = places[shifts.reflection] + np.column_stack(
        [shifts.fast, shifts.slow, np.where(known, shifts.phi, 0.0)]
    )
    with np.errstate(invalid="ignore"):
        variance = (per_unit * unit * errors.factors) ** 2
    return Intensities(
        hkl=found.hkl[kept],
        intensity=(per_unit * unit * point.factors)[kept],
        variance=variance[kept],
        d_A=found.d_A[kept],
        panel=found.panel[kept],
        calculated=places[kept],
        observed=observed[kept],
        lp=lp[kept],
        qe=qe[kept],
        s1=found.s1[kept],
        partiality=np.clip(share, 0.0, 1.0)[kept],
        background=(sums["background"] / np.maximum(sums["pixels"], 1.0))[kept],
        pixels=sums["pixels"][kept],
    )


def _sums(result: Any) -> dict[str, np.ndarray]:
    """Of each reflection (reflections,): calculated photons, those of the background, and pixels, in all of its boxes."""
    sums = {name: np.zeros(len(result.reflections.hkl)) for name in ("calculated", "background", "pixels")}
    for model, fitted in zip(result.stages[-1].problem.models, result.point.fitted):
        model.boxes.add_to(sums["calculated"], fitted.bragg)
        model.boxes.add_to(sums["background"], fitted.background)
        model.boxes.add_to(sums["pixels"], np.ones(len(fitted.bragg)))
    return sums


def _share_in_images(chosen: Chosen, result: Any) -> np.ndarray:
    """The part of each rocking curve (reflections,) in the images that were used, as that of a normal distribution."""
    from scipy.special import ndtr  # here, because help is to be there at once

    from adjoint.series.stages import rocking_width

    stage, found = result.stages[-1], result.reflections
    width = rocking_width(stage.problem, result.point, found, result.experiments)
    share = np.zeros(len(found.hkl))
    for number, image in enumerate(chosen.numbers):
        if len(stage.problem.models[number].boxes.data):
            start = chosen.scan.phi_of(image)
            ends = ((np.array([start, start + chosen.scan.width_deg])[:, np.newaxis]) - found.phi_deg) * found.zeta / width
            share += ndtr(ends[1]) - ndtr(ends[0])
    return share


def _scales(result: Any) -> np.ndarray:
    """The scale of the image in which each reflection passes the sphere (reflections,)."""
    starts = np.array([experiment.goniometer.phi_deg for experiment in result.experiments])
    scales = np.array([experiment.value("crystal.scale") for experiment in result.experiments])
    index = np.clip(np.searchsorted(starts, result.reflections.phi_deg, side="right") - 1, 0, len(starts) - 1)
    return scales[index]


def _frames(chosen: Chosen, phi_deg: np.ndarray) -> np.ndarray:
    """Angles (n,) as places in the scan, in images, of which image n has n - 1 to n."""
    scan = chosen.scan
    return (phi_deg - scan.phi_deg) / scan.width_deg + scan.first_image - 1.0
