"""What a refinement gives: its steps, its images, and the result with its verdict (R6, R8)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.optimize import OptimizeResult

from adjoint.refinement.frames import Frame, deviations, expected
from adjoint.refinement.judgement import GOOD, LEAST_EXPLAINED, SMALL, Uncertainty


class Step(NamedTuple):
    """A step of a refinement: its stage, the number of evaluations so far, the loss, and all numbers (n,)."""

    stage: str
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

    def __repr__(self):
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

    def __repr__(self):
        """The verdict, how well the data are met, and the first numbers with start and uncertainty, a line each."""
        if not {"success", "message", "x", "names", "units", "start", "uncertainties"} <= set(self):
            return f"Refinement({', '.join(sorted(self))})"
        numbers = [np.concatenate([np.ravel(value) for value in named.values()]) for named in (self.start, self.uncertainties)]
        width = max(map(len, self.names), default=0)
        rows = [
            f"  {name:{width}}  {end:.8g} +- {sigma:.2g} {unit}, from {start:.8g}".rstrip()
            for name, unit, end, start, sigma in zip(self.names[:SHOWN], self.units, self.x, *numbers)
        ]
        more = [f"  and {len(self.names) - SHOWN} more"] if len(self.names) > SHOWN else []
        fit = f"loss {self.fun:.8g}, reduced chi squared {self.chi_squared:.4g}, {self.pixels} pixels, {self.nfev} evaluations"
        verdict_line = f"Refinement: {'success' if self.success else 'no success'}: {self.message}"
        return "\n".join([verdict_line, f"  {fit}", *rows, *more, f"fields: {', '.join(sorted(self))}"])


def fit(at: Frame, start: np.ndarray, end: np.ndarray) -> Fit:
    """The image of a frame, and what is expected by two vectors of its numbers."""
    after = expected(at, end, whole=True)
    return Fit(at.data, expected(at, start), after, deviations(at, after))


def residuals(of: Fit) -> np.ndarray:
    """By how many standard deviations data are off (slow, fast); NaN where left out."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return (of.data - of.after) / of.sigma


def verdict(
    converged: bool, known: Uncertainty, explained: list[float], chi_squared: float, of_experiment: bool
) -> tuple[bool, str, list[str]]:
    """Success, one statement, and all sentences about what is wrong (R6).

    explained: of each frame. of_experiment: parameters of the experiment are refined, not those of the image alone.
    """
    sentences = list(known.sentences)
    if chi_squared > GOOD:
        misfit = f"the model does not fit to within noise (reduced chi squared {chi_squared:.3g})"
        sentences.append(f"{misfit}: true errors are larger than these")
    if chi_squared < SMALL:
        sentences.append(f"the data scatter less than they should (reduced chi squared {chi_squared:.3g}): is sigma right?")
    failure = _failure(converged, explained, of_experiment)
    if failure is not None:
        return False, failure, [failure, *sentences]
    if not known.determined:
        return False, f"ill-posed: {sentences[0]}", sentences
    return True, "converged", sentences


def _failure(converged, explained, of_experiment) -> str | None:
    """The statement of a failure."""
    foreign = [number for number, share in enumerate(explained, start=1) if share < LEAST_EXPLAINED]
    if foreign:
        which = "the image" if len(explained) == 1 else f"image {foreign[0]}"
        percent = 100.0 * max(explained[foreign[0] - 1], 0.0)
        return f"{which} is not one of this crystal: what is calculated accounts for {percent:.0f} % of its contrast"
    if of_experiment and np.isnan(explained).all():
        return "nothing in the image stands out from noise: there is nothing to refine against"
    if not converged:
        return "the search did not converge"
    return None
