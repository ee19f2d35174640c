"""Whether the refinement of a series succeeded: what its boxes show, and whether it is where it is calculated (S9)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from adjoint.gradient import sparse_zeros
from adjoint.refinement.agreement import GOOD, LEAST_EXPLAINED, SMALL
from adjoint.refinement.algebra import NOTHING
from adjoint.series.errors import Errors
from adjoint.series.figures import Figures
from adjoint.series.reduction import variance
from adjoint.series.search import LEAST_KNOWN, Point, Problem

SEEN = 25.0
"""Standard deviations by which the reflections together have to stand out: a search that is led by noise alone reaches 12."""

STRENGTHS, DOUBTFUL = 10.0, 3.0
"""The mean squares of deviations of strengths beyond which the crystal is wrong, and is said to be hardly right (S12)."""

FURTHEST = 4
"""Pixels, along either axis, by which the calculated spots are moved to see whether they fit better elsewhere."""


class Evidence(NamedTuple):
    """What large boxes around the calculated spots show (S9).

    explained: the part of their contrast beyond noise that the crystal's photons account for; NaN where there is none beyond
    noise. significance: standard deviations by which all reflections together stand out at their places; best: the most by
    which they do anywhere near, and shift: where that is, (fast, slow) in pixels.
    """

    explained: float
    significance: float
    best: float
    shift: tuple[int, int]


def evidence(problem: Problem, point: Point) -> Evidence:
    """What the boxes of a problem, which are larger than the spots, show at a point."""
    contrast = left = noise = scatter = 0.0
    steps = [(fast, slow) for slow in range(-FURTHEST, FURTHEST + 1) for fast in range(-FURTHEST, FURTHEST + 1)]
    products, squares, photons = np.zeros((3, len(steps), problem.reflections))
    for number, (model, fitted) in enumerate(zip(problem.models, point.fitted)):
        boxes, weight = model.boxes, point.weight[number]
        if not len(boxes.data):
            continue
        level = problem.levels[number]
        spread = weight * variance(fitted, problem.rules._replace(misfit=0.0))
        contrast += float(weight @ (boxes.data - level) ** 2)
        left += float(weight @ (boxes.data - fitted.mean) ** 2)
        noise += float(spread.sum())
        scatter += float(2.0 * spread @ spread)
        shape = tuple(int(edge) for edge in (boxes.rows.max() + 1 + 2 * FURTHEST, boxes.columns.max() + 1 + 2 * FURTHEST))
        sheet = sparse_zeros(shape)
        sheet[boxes.rows + FURTHEST, boxes.columns + FURTHEST] = point.images[number]
        for index, (fast, slow) in enumerate(steps):
            moved = sheet[boxes.rows + FURTHEST - slow, boxes.columns + FURTHEST - fast]
            boxes.add_to(products[index], weight * moved * (boxes.data - level))
            boxes.add_to(squares[index], weight * moved * moved)
            boxes.add_to(photons[index], moved)
    known = squares > LEAST_KNOWN * squares.max(initial=LEAST_KNOWN)
    # The variance of a factor is 1 / squares, and that of one photon, so that single photons on no background are no evidence.
    variances = 1.0 / np.where(known, squares, 1.0) + 1.0 / np.maximum(photons, NOTHING) ** 2
    strengths = np.where(known, (np.maximum(products, 0.0) / np.where(known, squares, 1.0)) ** 2 / variances, 0.0)
    seen = np.maximum(known.sum(axis=1), 1)
    # The square of a positive normal deviation is 1/2 in the mean, with the variance 5/4.
    significances = (strengths.sum(axis=1) - seen / 2.0) / np.sqrt(1.25 * seen)
    here, best = steps.index((0, 0)), int(np.argmax(significances))
    excess = contrast - noise
    explained = 1.0 - max(left - noise, 0.0) / excess if excess > 3.0 * np.sqrt(scatter) else float("nan")
    return Evidence(explained, float(significances[here]), float(significances[best]), steps[best])


def verdict(
    converged: bool, reason: str, seen: Evidence, uncertainty: Errors, figures: Figures, left_out: list[str]
) -> tuple[bool, str, list[str]]:
    """Whether a refinement succeeded, the message, and the sentences of the diagnosis (S9)."""
    sentences = [f"left out, because the crystal's spots are not there: {name}" for name in left_out]
    sentences += uncertainty.counting.sentences
    if figures.chi_squared > GOOD:
        misfit = f"the model does not fit to within noise (reduced chi squared {figures.chi_squared:.3g})"
        sentences.append(f"{misfit}: uncertainties follow from how the deviations of reflections scatter")
    elif figures.chi_squared < SMALL:
        sentences.append(
            f"the data scatter less than they should (reduced chi squared {figures.chi_squared:.3g}): is the gain right?"
        )
    if DOUBTFUL < figures.strengths <= STRENGTHS:
        sentences.append(
            f"the strengths of reflections are off by {np.sqrt(figures.strengths):.1f} standard deviations (rms): "
            "the orientation, the spread or intensity_sigma may be wrong"
        )
    failures = []
    if seen.best < SEEN:
        failures.append("nothing in the images stands out from noise where the crystal's reflections may be")
    elif seen.shift != (0, 0) and seen.significance < seen.best - np.sqrt(2.0):
        where = f"{seen.shift[0]:+d} pixels along fast and {seen.shift[1]:+d} along slow"
        failures.append(f"the spots fit better elsewhere ({where}): the refinement ended beside them; start closer")
    elif seen.explained < LEAST_EXPLAINED:
        share = f"{100.0 * max(seen.explained, 0.0):.0f} %"
        failures.append(f"the crystal accounts for {share} of what its shoeboxes show: the refinement ended beside the spots")
    elif figures.strengths > STRENGTHS:
        why = f"by {np.sqrt(figures.strengths):.1f} standard deviations (rms)"
        failures.append(f"the strong reflections are not the calculated ones ({why}): the orientation is not right")
    if not failures and not converged:
        failures.append(f"the search {reason}")
    if failures:
        return False, failures[0], [*failures, *sentences]
    if not uncertainty.counting.determined:
        return False, f"ill-posed: {uncertainty.counting.sentences[0]}", sentences
    return True, "converged", sentences
