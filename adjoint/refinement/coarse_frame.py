"""Coarse frames: the crystal with broadened spots, the data blurred as much, the light of the water taken off (R7)."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from scipy import ndimage, optimize

from adjoint.parameters import Name
from adjoint.refinement.expected_image import background, photons, placed
from adjoint.refinement.frames import Frame
from adjoint.refinement.image_numbers import Numbers
from adjoint.refinement.phases import Phase
from nbnumba.backends import Machine
from nbnumba.crystal_names import name_of
from nbnumba.experiment import Experiment
from nbnumba.setup.background import is_bare, without_background
from nbnumba.setup.crystal import orient
from nbnumba.setup.panels import planes
from nbnumba.setup.sheet import sheet_of
from nbnumba.setup.sources import main_wavelength

SPREAD = 0.397
"""Standard deviation of a Gaussian spot (F8d) in units of one over the number of cells: sqrt(0.63 / 4)."""

FEWEST_CELLS = 4.0
"""The number of cells along an edge below which no crystal is made smaller: spots would run into each other."""


class CoarseFrame(NamedTuple):
    """The frame of a phase that is not exact: of the crystal's spots alone, with the light of the water known apart (R7).

    frame: the frame whose experiment has no water and whose data still have the light of it. water_light (slow, fast): the
    photons that the water of the experiment scatters, in the box of the frame. water_factor: the factor of that light that
    fits the data best. scale, background: those of the image where the phase begins (photons per pixel).
    """

    frame: Frame
    water_light: np.ndarray
    water_factor: float
    scale: float
    background: float

    @property
    def least_water(self) -> float:
        """The smallest number of photons that the water of the data scatters into a pixel that counts."""
        return self.water_factor * float(self.water_light[self._counts()].min())

    def water_factor_with(self, excess: float) -> float:
        """The factor of the light of the water if `excess` more photons per pixel came from the water, too."""
        return self.water_factor + excess / max(float(self.water_light[self._counts()].mean()), 1e-300)

    def _counts(self):
        return ~np.isnan(self.frame.data[self.frame.box])

    def frame_without_water(self, flat: float) -> Frame:
        """The frame whose data are without the light of the water, except `flat` photons per pixel, which are background."""
        frame = self.frame
        light = placed(frame, frame.numbers.gain * (self.water_factor * self.water_light - flat))
        numbers = frame.numbers._replace(background=frame.numbers.background + flat)
        return frame._replace(data=frame.data - light, numbers=numbers)


def coarse_frame(
    frame: Frame, vector: np.ndarray, phase: Phase, parameters: Iterable[Name], image_names: Iterable[str]
) -> CoarseFrame:
    """The frame of a phase that is not exact, at the numbers of the frame (n,), for the named parameters and image numbers.

    Its experiment has no water, so that neither scale nor position of the spots is learnt from it (R7). Raises InputError
    where an image is too bright.
    """
    experiment, numbers = frame.split(vector)
    dry = without_background(experiment)
    crystal = broadened(dry, phase.broader) if phase.broader > 1.0 else dry
    widths = blur_pixels(experiment, phase.broader) if phase.broader > 1.0 else [0.0] * len(frame.places)
    data = blurred(frame.data[frame.box], frame.places, widths)
    smooth = blurred(data, frame.places, [1.0] * len(frame.places))
    counts = ~np.isnan(data)
    variance = np.maximum(smooth, 0.0) + max(phase.level * np.nanmax(smooth), frame.dispersion, 1e-300)
    variance += (frame.readout if frame.sigma is None else frame.sigma[frame.box]) ** 2
    sigma = placed(frame, np.sqrt(np.where(counts, variance, 1.0)))
    coarse = frame._replace(experiment=crystal, data=placed(frame, data), loss="gaussian", sigma=sigma)
    coarse = coarse._replace(parameters=tuple(parameters), image=tuple(image_names))
    water_light = light_of_water(experiment, frame.machine)[frame.box]
    fitted, water_factor = fit_scale_and_background(coarse, photons(crystal, frame.machine), water_light, numbers)
    return CoarseFrame(coarse._replace(numbers=fitted), water_light, water_factor, numbers.scale, numbers.background)


def broadened(experiment: Experiment, times: float) -> Experiment:
    """The experiment with a crystal that is `times` times smaller along each edge, with Gaussian spots (R7, F8d)."""
    smaller: dict[str, Any] = {}
    for number, crystal in enumerate(experiment.crystals):
        before = np.array([crystal.n_a, crystal.n_b, crystal.n_c])
        after = np.array([fewer(float(n), times) for n in before])
        of_one: dict[str, Any] = {"crystal.n_cells": tuple(after.tolist()), "crystal.shape": "gauss"}
        if crystal.is_oblique:  # scaled from both sides, so that the matrix stays positive definite
            matrix = crystal.cells * np.sqrt(np.outer(after / before, after / before))
            of_one["crystal.n_def"] = (float(matrix[0, 1]), float(matrix[1, 2]), float(matrix[0, 2]))
        smaller |= {name_of(number, name): value for name, value in of_one.items()}
    return experiment.replace(smaller)


def fewer(cells: float, times: float) -> float:
    """`times` times fewer cells, but FEWEST_CELLS at least where there were as many."""
    return max(cells / times, min(cells, FEWEST_CELLS))


def blur_pixels(experiment: Experiment, times: float) -> list[float]:
    """The standard deviation (pixels) of the blur that makes spots `times` times as broad: the mean of the three edges.

    It is one for each panel.
    """
    crystal, detector = experiment.crystal, experiment.detector
    vectors = orient(crystal, experiment.sampling.defects)
    edges = np.linalg.norm(vectors, axis=1)
    cells = [getattr(crystal, f"n_{axis}") for axis in "abc"]
    added = [1.0 / fewer(n, times) ** 2 - 1.0 / n**2 for n in cells]
    widths = []
    for plane in planes(detector, experiment.beam, experiment.sampling.defects):
        edge_mm = detector.pixel_mm if plane.panel is None else math.sqrt(plane.panel.pixel_fast_mm * plane.panel.pixel_slow_mm)
        per_index = main_wavelength(experiment.beam) * plane.distance * 1000.0 / edge_mm
        each = [SPREAD * per_index / edge * np.sqrt(square) for edge, square in zip(edges, added)]
        widths.append(float(np.mean(each)))
    return widths


def blurred(data: np.ndarray, places: list[tuple[slice, slice]], widths: list[float]) -> np.ndarray:
    """Data (slow, fast) blurred by a Gaussian, panel by panel; NaN where a pixel is left out.

    places: the rows and columns of each panel. widths: the standard deviation of the Gaussian in each, in pixels. A pixel that
    is left out has no weight in the mean of its neighbours.
    """
    if len(places) == 1:
        return _blurred(data, widths[0])
    result = np.full(data.shape, np.nan)
    for place, width in zip(places, widths):
        result[place] = _blurred(data[place], width)
    return result


def _blurred(data: np.ndarray, sigma: float) -> np.ndarray:
    """Data (slow, fast) of a panel, blurred by a Gaussian of `sigma` pixels."""
    if sigma < 0.1:
        return data
    counts = ~np.isnan(data)
    weight = ndimage.gaussian_filter(counts.astype(float), sigma, mode="constant")
    blurry = ndimage.gaussian_filter(np.where(counts, data, 0.0), sigma, mode="constant")
    return np.where(counts, blurry / np.maximum(weight, 1e-12), np.nan)


def light_of_water(experiment: Experiment, machine: Machine) -> np.ndarray:
    """The photons (slow, fast) that the water of an experiment scatters, and those that are added."""
    if is_bare(experiment):
        return np.zeros(sheet_of(experiment.detector).shape)
    wet, dry = photons(experiment, machine), photons(without_background(experiment), machine)
    return np.asarray(wet, dtype=np.float64) - dry


def fit_scale_and_background(
    frame: Frame, image: np.ndarray, water_light: np.ndarray, numbers: Numbers
) -> tuple[Numbers, float]:
    """The numbers of the image with the scale and the flat background that fit best, and the factor of the water's light (R7).

    image (slow, fast): the photons of the crystal. water_light: the photons that the water scatters, in the box. It is a
    linear least-squares fit in which none of the three is below 0.
    """
    counts = ~np.isnan(frame.data[frame.box])
    root_weight = 1.0 / frame.sigma[frame.box][counts]
    photons = frame.data[frame.box][counts] / numbers.gain - background(frame, numbers._replace(background=0.0))[counts]
    columns = [image[frame.box][counts], np.ones_like(root_weight)]
    if water_light[counts].any():
        columns.append(water_light[counts])
    norms = [float(np.sqrt(np.sum(np.square(column * root_weight)))) or 1.0 for column in columns]
    columns = [column * root_weight / norm for column, norm in zip(columns, norms)]
    normal = np.array([[np.sum(one * other) for other in columns] for one in columns])
    right = np.array([np.sum(column * photons * root_weight) for column in columns])
    lower = np.linalg.cholesky(normal + 1e-12 * np.eye(len(columns)))
    scale, flat, *factors = optimize.nnls(lower.T, np.linalg.solve(lower, right))[0] / norms
    if scale <= 0.0:
        median = np.median(photons)
        above = np.maximum(photons - median, 0.0)
        scale = max(float(np.sum(columns[0] * root_weight * above)) / norms[0], 1e-12)
    return numbers._replace(scale=float(scale), background=float(flat)), float(factors[0]) if factors else 0.0
