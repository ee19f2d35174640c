"""How a series agrees with its model: intensities, shifts of spots, chi squared in shells, the worst boxes (S8)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from adjoint.series.reduction import scale_of, variance
from adjoint.series.reflections import Reflections
from adjoint.series.search import Point, Problem

STRONG = 10.0
"""Standard deviations of an intensity from which on the place of a spot is compared."""

SHELLS = 6
"""The number of shells of resolution."""

LEVELS = (0.0, 0.1, 1.0, 10.0, 100.0, np.inf)
"""The edges of the shells of expected photons of a pixel."""

WORST = 12
"""The number of boxes that are named as the worst."""


class Box(NamedTuple):
    """A shoebox and how it agrees: image and reflection (numbers), photons observed and calculated, reduced chi squared."""

    image: int
    reflection: int
    observed: float
    calculated: float
    chi_squared: float


class Shifts(NamedTuple):
    """The distances of observed from calculated centroids of strong spots, along fast and slow, in pixels, and in images.

    reflection (n,); fast, slow, phi (n,): NaN for phi where a reflection is in one image only. rms: of each of the three.
    """

    reflection: np.ndarray
    fast: np.ndarray
    slow: np.ndarray
    phi: np.ndarray

    @property
    def rms(self) -> tuple[float, float, float]:
        """The roots of the mean squares, without the worst twentieth: along fast, slow and phi."""
        return tuple(_trimmed_rms(values) for values in (self.fast, self.slow, self.phi))


class Figures(NamedTuple):
    """The agreement of a series with its model (S8).

    chi_squared: reduced, by counting and read-out alone, and with the misfit of the rules. pixels: the number of them. by_d,
    by_photons: rows (least, largest, pixels, chi squared) of shells of resolution in A and of expected photons. r_factor: sum
    of |observed - calculated| photons of boxes over the sum of the observed. scale, scale_sigma (images,): the factor of the
    crystal's photons of each image that fits it best. boxes: all of them, the worst first. outliers: rows (image, row,
    column, observed, expected) of pixels that count less than half. strengths: the mean square of the deviations of strengths
    where intensities are expected, NaN where they are not (S12).
    """

    chi_squared: float
    with_misfit: float
    pixels: int
    by_d: list[tuple[float, float, int, float]]
    by_photons: list[tuple[float, float, int, float]]
    r_factor: float
    scale: np.ndarray
    scale_sigma: np.ndarray
    shifts: Shifts
    boxes: list[Box]
    outliers: np.ndarray
    strengths: float

    @property
    def worst(self) -> list[Box]:
        """The boxes that are named as the worst."""
        return self.boxes[:WORST]


def figures(problem: Problem, point: Point, reflections: Reflections) -> Figures:
    """The agreement at a point. Of the pixels as many are subtracted as there are numbers, factors and backgrounds."""
    squares, with_misfit, counted, resolutions, means = [], [], [], [], []
    scale, scale_sigma = np.full(len(problem.models), np.nan), np.full(len(problem.models), np.inf)
    boxes, outliers = [], []
    counting = problem.rules._replace(misfit=0.0)
    for number, model in enumerate(problem.models):
        of_image, fitted, weight = model.boxes, point.fitted[number], point.weight[number]
        if not len(of_image.data):
            continue
        residual, spread = of_image.data - fitted.mean, variance(fitted, counting)
        squares.append(residual**2 / spread)
        counted.append(np.maximum(fitted.background, fitted.bragg) >= fitted.least)
        with_misfit.append(residual**2 / variance(fitted, problem.rules))
        resolutions.append(reflections.d_A[of_image.reflection][of_image.box])
        means.append(fitted.mean)
        scale[number], scale_sigma[number] = scale_of(of_image, fitted, weight)
        calculated = of_image.sums(fitted.bragg)
        observed = of_image.sums(of_image.data - fitted.background)
        pixels = of_image.sums(np.ones(len(of_image.data)))
        chi = of_image.sums(squares[-1]) / pixels
        boxes += [
            Box(number, int(reflection), float(o), float(c), float(x))
            for reflection, o, c, x in zip(of_image.reflection, observed, calculated, chi)
        ]
        far = np.flatnonzero(weight * variance(fitted, problem.rules) < 0.5)
        outliers += [(number, of_image.rows[i], of_image.columns[i], of_image.data[i], fitted.mean[i]) for i in far]
    # Where less than a photon is expected in as many pixels as a box has, a background of none is fitted, and nothing deviates.
    square, misfit_square, d, mean = (
        np.concatenate(parts)[np.concatenate(counted)] if parts else np.zeros(0)
        for parts in (squares, with_misfit, resolutions, means)
    )
    factors, backgrounds = int(np.count_nonzero(point.own_normal > 0.0)), len(boxes) * (3 if problem.rules.plane else 1)
    total = max(len(square) - problem.unknowns.count - factors - backgrounds, 1)
    return Figures(
        chi_squared=float(square.sum()) / total,
        with_misfit=float(misfit_square.sum()) / total,
        pixels=len(square),
        by_d=_shells(d, square),
        by_photons=_between(mean, square, LEVELS),
        r_factor=_ratio(sum(abs(b.observed - b.calculated) for b in boxes), sum(max(b.observed, 0.0) for b in boxes)),
        scale=scale,
        scale_sigma=scale_sigma,
        shifts=shifts(problem, point),
        boxes=sorted(boxes, key=lambda box: -box.chi_squared),
        outliers=np.array(outliers, dtype=np.float64).reshape(-1, 5),
        strengths=float("nan") if point.strengths is None else point.strengths.chi_squared,
    )


def shifts(problem: Problem, point: Point) -> Shifts:
    """The shifts of strong spots: of the centroids of photons above the background, observed less calculated.

    Neither depends on how well the model fits: the background is that of each box without its bright pixels, and the calculated
    centroid is that of the crystal's photons, whatever their number.
    """
    moments = np.zeros((problem.reflections, 2, 4))  # observed and calculated: sum, and sums times fast, slow and image
    noise, images = np.zeros(problem.reflections), np.zeros(problem.reflections)
    for number, (model, level) in enumerate(zip(problem.models, problem.levels)):
        boxes, fitted = model.boxes, point.fitted[number]
        places = np.stack([np.ones(len(boxes.data)), boxes.fast, boxes.slow, np.full(len(boxes.data), number)], axis=1)
        for kind, photons in enumerate((boxes.data - level, fitted.spot)):
            boxes.add_to(moments[:, kind], places * photons[:, np.newaxis])
        boxes.add_to(noise, np.maximum(boxes.data, level) + problem.rules.readout**2)
        np.add.at(images, boxes.reflection, 1.0)
    strong = np.flatnonzero((moments[:, 0, 0] > STRONG * np.sqrt(noise)) & (moments[:, 1, 0] > 0.0))
    centroids = moments[strong, :, 1:] / np.maximum(moments[strong, :, :1], 1e-300)
    fast, slow, phi = (centroids[:, 0] - centroids[:, 1]).T if len(strong) else np.zeros((3, 0))
    return Shifts(strong, fast, slow, np.where(images[strong] > 1.0, phi, np.nan))


def _trimmed_rms(values: np.ndarray) -> float:
    values = np.sort(np.abs(values[np.isfinite(values)]))
    values = values[: max(1, int(np.ceil(0.95 * len(values))))]
    return float(np.sqrt(np.mean(values**2))) if len(values) else float("nan")


def _shells(values: np.ndarray, square: np.ndarray) -> list[tuple[float, float, int, float]]:
    """Rows (least, largest, pixels, chi squared) of shells with as many pixels each."""
    order, rows = np.argsort(values, kind="stable"), []
    for part in np.array_split(order, SHELLS) if len(order) >= SHELLS else []:
        rows.append((float(values[part[0]]), float(values[part[-1]]), len(part), float(square[part].mean())))
    return rows


def _between(values: np.ndarray, square: np.ndarray, edges: Sequence[float]) -> list[tuple[float, float, int, float]]:
    """Rows (least, largest, pixels, chi squared) of the pixels between neighbouring edges, where there are any."""
    rows = []
    for low, high in zip(edges, edges[1:]):
        within = (values >= low) & (values < high)
        if within.any():
            rows.append((low, high, int(within.sum()), float(square[within].mean())))
    return rows


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole > 0.0 else float("nan")
