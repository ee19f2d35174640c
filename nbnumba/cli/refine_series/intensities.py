"""Intensities of the reflections of a refined series: what each would show in a whole rotation, and where it was seen."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from nbnumba.cli.refine_series.input import Chosen
from nbnumba.formats.geometry import Geometry
from nbnumba.integrated_files import Intensities, corrections

LEAST_PARTIALITY, LEAST_OF_STILL = 0.5, 0.1
"""Of a rocking curve so much has to lie in the images, and so near to its peak it has to be in a still."""

STRONG = 5.0
"""Standard deviations of a factor from which on a reflection tells what a unit of intensity is in counts."""


class Measures(NamedTuple):
    """What the intensities of a result follow from (reflections,).

    share: the part of each that the images show; whole: F^2 qe / lp times factor and scale; unit: F^2 qe / lp. per_unit: the
    photons of a unit of intensity at scale 1. sums: of the boxes of each.
    """

    share: np.ndarray
    whole: np.ndarray
    unit: np.ndarray
    lp: np.ndarray
    qe: np.ndarray
    per_unit: float
    sums: dict[str, np.ndarray]


def measures(chosen: Chosen, result: Any, geometry: Geometry) -> Measures:
    """The measures of a result of adjoint.refine_series; geometry: that of the refined middle image, or of the still."""
    found, point = result.reflections, result.point
    lp, qe = corrections(found.s1, found.panel, geometry)
    unit = found.F**2 * qe / lp
    sums = _sums(result)
    share = _excitation(result) if chosen.is_still else _share_in_images(chosen, result)
    whole = unit * point.factors * _scales(result)
    strong = (point.factors > STRONG * result.errors.factors) & (share >= _least(chosen)) & (whole > 0.0)
    per_unit = float(np.median(sums["calculated"][strong] / (whole * share)[strong])) if strong.any() else 1.0
    return Measures(share, whole, unit, lp, qe, per_unit, sums)


def _least(chosen: Chosen) -> float:
    return LEAST_OF_STILL if chosen.is_still else LEAST_PARTIALITY


def intensities(chosen: Chosen, result: Any, geometry: Geometry, per_unit: float | None = None) -> Intensities:
    """The intensities of a result of adjoint.refine_series, of reflections of which the images show enough.

    geometry: that of the middle image. An intensity is factor * F^2 * qe / lp times a number that makes it the photons of the
    whole reflection at scale 1, or times per_unit, which stills that are merged have in common.
    """
    found, point, errors = result.reflections, result.point, result.errors
    of = measures(chosen, result, geometry)
    per_unit = of.per_unit if per_unit is None else per_unit
    share, sums = of.share, of.sums
    kept = (share >= _least(chosen)) & (sums["pixels"] > 0)
    frames = np.zeros(len(found.hkl)) if chosen.is_still else _frames(chosen, found.phi_deg)
    places = np.column_stack([found.fast, found.slow, frames])
    observed = np.full_like(places, np.nan)
    shifts = result.figures.shifts
    known = np.isfinite(shifts.phi)
    observed[shifts.reflection] = places[shifts.reflection] + np.column_stack(
        [shifts.fast, shifts.slow, np.where(known, shifts.phi, 0.0)]
    )
    with np.errstate(invalid="ignore"):
        variance = (per_unit * of.unit * errors.factors) ** 2
    return Intensities(
        hkl=found.hkl[kept],
        intensity=(per_unit * of.unit * point.factors)[kept],
        variance=variance[kept],
        d_A=found.d_A[kept],
        panel=found.panel[kept],
        calculated=places[kept],
        observed=observed[kept],
        lp=of.lp[kept],
        qe=of.qe[kept],
        s1=found.s1[kept],
        partiality=np.clip(share, 0.0, 1.0)[kept],
        background=(sums["background"] / np.maximum(sums["pixels"], 1.0))[kept],
        pixels=sums["pixels"][kept],
    )


def _excitation(result: Any) -> np.ndarray:
    """How near to the peak of its rocking curve a still meets each reflection (reflections,), 1 there, as of a Gaussian."""
    from adjoint.series.reflections import rocking_of_still

    found = result.reflections
    turn, size = rocking_of_still(result.experiments[0])
    return np.exp(-((np.radians(found.delta_psi_deg) / np.hypot(turn, size * found.d_A)) ** 2) / 2.0)


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
    if len(starts) == 1:
        return np.full(len(result.reflections.hkl), scales[0])
    index = np.clip(np.searchsorted(starts, result.reflections.phi_deg, side="right") - 1, 0, len(starts) - 1)
    return scales[index]


def _frames(chosen: Chosen, phi_deg: np.ndarray) -> np.ndarray:
    """Angles (n,) as places in the scan, in images, of which image n has n - 1 to n."""
    scan = chosen.scan
    return (phi_deg - scan.phi_deg) / scan.width_deg + scan.first_image - 1.0
