"""What a refinement gives: its steps, its images, and the result with its verdict (R6, R8)."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.optimize import OptimizeResult

from adjoint.refinement.agreement import FEWEST_SPOTS, GOOD, LEAST_EXPLAINED, LIKE, SMALL, Agreement
from adjoint.refinement.expected_image import deviations, expected
from adjoint.refinement.frames import Frame
from adjoint.refinement.spots import FURTHEST, Spots
from adjoint.refinement.uncertainties import Uncertainty


class Step(NamedTuple):
    """A step of a refinement: its phase, the number of evaluations so far, the loss, and all numbers (n,)."""

    phase: str
    evaluation: int
    loss: float
    x: np.ndarray


class Fit(NamedTuple):
    """An image and what is expected of it (slow, fast), in units of the data: NaN where left out; before and after; sigma.

    before is 0 where a pixel is left out.
    """

    data: np.ndarray
    before: np.ndarray
    after: np.ndarray
    sigma: np.ndarray

    def __repr__(self) -> str:
        slow, fast = self.data.shape
        counted = int(np.count_nonzero(~np.isnan(self.data)))
        return f"Fit({slow} x {fast} pixels, slow x fast, of which {counted} count: data, before, after, sigma)"


SHOWN = 20
"""Numbers that the repr of a result lists."""


class Refinement(OptimizeResult):
    """The result of `refine`, in the shape of scipy's: specs/refine.md, R8, says what its fields are."""

    @property
    def values(self) -> dict[str, np.ndarray]:
        """The refined values by name; what a dict calls values() is not to be had of this one."""
        return self["values"]

    def __repr__(self) -> str:
        """The verdict, how well the data are met, and the first numbers with start and uncertainty, a line each."""
        if not {"success", "message", "x", "names", "units", "start", "uncertainties"} <= set(self):
            return f"Refinement({', '.join(sorted(self))})"
        numbers = [np.concatenate([np.ravel(value) for value in named.values()]) for named in (self.start, self.uncertainties)]
        width = max(map(len, self.names), default=0)
        rows = [
            f"  {name:{width}}  {end:.8g} +- {sigma:.2g}{f' {unit}' if unit else ''}, from {start:.8g}"
            for name, unit, end, start, sigma in zip(self.names[:SHOWN], self.units, self.x, *numbers)
        ]
        more = [f"  and {len(self.names) - SHOWN} more"] if len(self.names) > SHOWN else []
        fit = f"loss {self.fun:.8g}, reduced chi squared {self.chi_squared:.4g}, {self.pixels} pixels, {self.nfev} evaluations"
        verdict_line = f"Refinement: {'success' if self.success else 'no success'}: {self.message}"
        return "\n".join([verdict_line, f"  {fit}", *rows, *more, f"fields: {', '.join(sorted(self))}"])


class Course(NamedTuple):
    """How a refinement went: sentences about numbers that moved far; and how many standard deviations above chance the image of
    a frame is like the broad spots of the start, which only a failure asks."""

    moves: list[str]
    likeness: Callable[[int], float]


def fit(frame: Frame, start: np.ndarray, end: np.ndarray) -> Fit:
    """The image of a frame, and what is expected by two vectors of its numbers."""
    after = expected(frame, end, whole=True)
    return Fit(frame.data, expected(frame, start), after, deviations(frame, after))


def residuals(of: Fit) -> np.ndarray:
    """By how many standard deviations data are off (slow, fast); NaN where left out."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return (of.data - of.after) / of.sigma


def verdict(
    converged: bool, known: Uncertainty, agreements: list[Agreement], chi_squared: float, of_experiment: bool, course: Course
) -> tuple[bool, str, list[str]]:
    """Success, one statement, and all sentences about what is wrong (R6).

    agreements: of each frame. of_experiment: parameters of the experiment are refined, not those of the image alone.
    """
    sentences = [*known.sentences, *course.moves]
    if chi_squared > GOOD:
        misfit = f"the model does not fit to within noise (reduced chi squared {chi_squared:.3g})"
        sentences.append(f"{misfit}: true errors are larger than these")
    if chi_squared == 0.0:
        why = "the data are met exactly, or so few photons are expected that no pixel counts in it"
        sentences.append(f"reduced chi squared is 0: {why}")
    elif chi_squared < SMALL:
        sentences.append(f"the data scatter less than they should (reduced chi squared {chi_squared:.3g}): is sigma right?")
    for number, each in enumerate(agreements):
        if each.accounted and not each.placed:
            image = "of the image" if len(agreements) == 1 else f"of image {number + 1}"
            sentences.append(f"spots {image} are {_off(each.spots)}: their shape or place is modelled wrongly")
    failures = []
    for number, each in enumerate(agreements):
        image = "the image" if len(agreements) == 1 else f"image {number + 1}"
        if of_experiment and not each.shown:
            failures.append(f"nothing in {image} stands out from noise: there is nothing to refine against")
        elif not each.accounted and (of_experiment or each.explained < LEAST_EXPLAINED):
            failures.append(_misplaced(image, each, course.likeness(number)))
    if not failures and not converged:
        failures = ["the search did not converge"]
    if failures:
        return False, failures[0], [*failures, *sentences]
    if not known.determined:
        return False, f"ill-posed: {sentences[0]}", sentences
    return True, "converged", sentences


def _off(spots: Spots) -> str:
    """How far from where they are calculated most spots are found, in words."""
    if np.isnan(spots.shift):
        return f"not visible within {FURTHEST} pixels of where they are calculated"
    return f"{spots.shift:.2g} pixels from where they are calculated, half of them further"


def _misplaced(image: str, agreement: Agreement, likeness: float) -> str:
    """The statement about an image whose spots are not where they are calculated: which of the two it is, and what to try."""
    explained, spots = agreement
    share = "next to none" if np.isnan(explained) else f"{100.0 * max(explained, 0.0):.0f} %"
    seen = f"what is calculated accounts for {share} of its contrast, and of {spots.calculated} calculated spots "
    off = "" if np.isnan(spots.shift) else f", {spots.shift:.2g} pixels off"
    seen += f"{spots.placed} are where they should be ({spots.found} are visible near{off})"
    if agreement.placed and spots.found >= FEWEST_SPOTS:
        what = f"spots of this crystal are where they should be, but most of what {image} shows is something else, or noise"
        tried = "check sigma, readout noise and gain, the scale, amplitudes, and whether there are other lattices"
        return f"{what}; {seen}; {tried}"
    above = f"({likeness:.1f} standard deviations above chance)"
    if likeness >= LIKE:
        what = f"{image} may be one of this crystal, but the search ran away: broad spots of the start are like it {above}"
        tried = "refine fewer parameters first, such as the orientation, bound or restrain those that moved, or start closer"
    else:
        what = f"{image} is not one of this crystal, or the start is too far off: its broad spots are not like it {above}"
        tried = "check cell, orientation, wavelength, distance and beam centre, by indexing the image"
    return f"{what}; {seen}; {tried}"
