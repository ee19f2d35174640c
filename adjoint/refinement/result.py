"""The result of a refinement: its steps, its images, and the verdict (R6, R8)."""

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
    """A step of a search: its phase, the number of evaluations so far, the loss, and all refined numbers (n,)."""

    phase: str
    evaluation: int
    loss: float
    x: np.ndarray


class Fit(NamedTuple):
    """A measured image and the expected ones (slow, fast), in units of the data (R8).

    data: NaN where a pixel is left out. before: the expected image at the start, 0 where a pixel is left out; after: that at
    the end. sigma: the standard deviations of the data.
    """

    data: np.ndarray
    before: np.ndarray
    after: np.ndarray
    sigma: np.ndarray

    def __repr__(self) -> str:
        slow, fast = self.data.shape
        count = int(np.count_nonzero(~np.isnan(self.data)))
        return f"Fit({slow} x {fast} pixels, slow x fast, of which {count} count: data, before, after, sigma)"


SHOWN = 20
"""The number of numbers that the repr of a result lists."""


class Refinement(OptimizeResult):
    """The result of `refine`, in the shape of scipy's: specs/refine.md, R8, says what its fields are."""

    @property
    def values(self) -> dict[str, np.ndarray]:
        """The refined values by name. (The method values() of a dict is not available.)"""
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
    """What the verdict has to know of the search: sentences about numbers that moved far, and the likeness of an image.

    likeness(number): the likeness of the image of a frame to the broadened spots of the start, in standard deviations (R6). It
    is computed only for a failure.
    """

    moves: list[str]
    likeness: Callable[[int], float]


def fit(frame: Frame, start: np.ndarray, end: np.ndarray) -> Fit:
    """The measured image of a frame, and the expected ones at two vectors of its numbers (n,). Raises InputError."""
    after = expected(frame, end, whole=True)
    return Fit(frame.data, expected(frame, start), after, deviations(frame, after))


def residuals(fit: Fit) -> np.ndarray:
    """(data - after) / sigma (slow, fast); NaN where a pixel is left out."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return (fit.data - fit.after) / fit.sigma


def verdict(
    agreements: list[Agreement],
    chi_squared: float,
    *,
    converged: bool,
    uncertainty: Uncertainty,
    of_experiment: bool,
    course: Course,
) -> tuple[bool, str, list[str]]:
    """Whether a refinement succeeded, the message, and all sentences of the diagnosis (R6).

    agreements: one for each frame. chi_squared: reduced. converged: whether the search did. of_experiment: whether parameters
    of the experiment are refined, and not only numbers of the image.
    """
    sentences = [*uncertainty.sentences, *course.moves]
    if chi_squared > GOOD:
        misfit = f"the model does not fit to within noise (reduced chi squared {chi_squared:.3g})"
        sentences.append(f"{misfit}: true errors are larger than these")
    if chi_squared == 0.0:
        why = "the data are met exactly, or so few photons are expected that no pixel counts in it"
        sentences.append(f"reduced chi squared is 0: {why}")
    elif chi_squared < SMALL:
        sentences.append(f"the data scatter less than they should (reduced chi squared {chi_squared:.3g}): is sigma right?")
    for number, agreement in enumerate(agreements):
        if agreement.accounted and not agreement.placed:
            image = "of the image" if len(agreements) == 1 else f"of image {number + 1}"
            sentences.append(f"spots {image} are {_shift_in_words(agreement.spots)}: their shape or place is modelled wrongly")
    failures = []
    for number, agreement in enumerate(agreements):
        image = "the image" if len(agreements) == 1 else f"image {number + 1}"
        if of_experiment and not agreement.shown:
            failures.append(f"nothing in {image} stands out from noise: there is nothing to refine against")
        elif not agreement.accounted and (of_experiment or agreement.explained < LEAST_EXPLAINED):
            failures.append(_misplaced(image, agreement, course.likeness(number)))
    if not failures and not converged:
        failures = ["the search did not converge"]
    if failures:
        return False, failures[0], [*failures, *sentences]
    if not uncertainty.determined:
        return False, f"ill-posed: {sentences[0]}", sentences
    return True, "converged", sentences


def _shift_in_words(spots: Spots) -> str:
    """The distance of most spots from their calculated positions, in words."""
    if np.isnan(spots.shift):
        return f"not visible within {FURTHEST} pixels of where they are calculated"
    return f"{spots.shift:.2g} pixels from where they are calculated, half of them further"


def _misplaced(image: str, agreement: Agreement, likeness: float) -> str:
    """The message about an image that is not accounted for: the probable reason, the evidence for it, and what to try (R6)."""
    explained, spots = agreement
    share = "next to none" if np.isnan(explained) else f"{100.0 * max(explained, 0.0):.0f} %"
    evidence = f"the calculated image accounts for {share} of the contrast, and of {spots.calculated} calculated spots "
    shift = "" if np.isnan(spots.shift) else f", {spots.shift:.2g} pixels off"
    evidence += f"{spots.placed} are where they should be ({spots.found} are visible near{shift})"
    if agreement.placed and spots.found >= FEWEST_SPOTS:
        finding = f"spots of this crystal are where they should be, but most of what {image} shows is something else, or noise"
        advice = "check sigma, readout noise and gain, the scale, amplitudes, and whether there are other lattices"
        return f"{finding}; {evidence}; {advice}"
    above_chance = f"({likeness:.1f} standard deviations above chance)"
    if likeness >= LIKE:
        finding = f"{image} may be one of this crystal, but the search ran away: it resembles broad spots of the start"
        advice = "refine fewer parameters first, such as the orientation, bound or restrain those that moved, or start closer"
    else:
        finding = f"{image} is not one of this crystal, or the start is too far off: {image} does not resemble its broad spots"
        advice = "check cell, orientation, wavelength, distance and beam centre, by indexing the image"
    return f"{finding} {above_chance}; {evidence}; {advice}"
