"""The search for the least loss: a loss with gradient and Gauss-Newton matrix in the form that scipy.optimize takes (R4)."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy import optimize

from adjoint.refinement.algebra import eigen, solved
from adjoint.refinement.frame_loss import Evaluation
from nbnumba.errors import InputError

METHODS = ("least_squares", "L-BFGS-B", "trust-constr")
MOST_AMPLITUDES, OF_GRADIENTS = 300, 5
"""The largest number of amplitudes for which "auto" is least_squares; and the factor of a phase's evaluations that L-BFGS-B may
make, since its steps are smaller."""

MOST_BY_MATRIX = 1000
"""The largest number of numbers for which a matrix of all is made, for least_squares and for a covariance."""

FLAT = 1e-14
"""Eigenvalues of the scaled matrix below this, relative to the largest, are rounding: along them nothing is known."""

LARGEST_LOSS = 1e250
"""The largest loss and derivative that a search takes: the squares of larger ones would not be finite."""

FARTHEST = 1e6
"""The longest first step, in standard deviations: next to a longer one, close bounds would round to the same number."""

LEEWAY = 1e-9
"""Standard deviations: a number whose bounds are closer together than this stays where it is."""

SPARE = 2.0
"""The factor by which the constant that makes a loss a sum of squares exceeds the one that is needed."""


class Solution(NamedTuple):
    """Where a search ended: the vector, whether it converged, the number of evaluations, and why it ended, in words."""

    x: np.ndarray
    converged: bool
    evaluations: int
    reason: str


class Objective:
    """The loss as a function of z, the numbers in units of `unit` from `start`, within bounds.

    The last evaluation is remembered: scipy asks for value and derivative at the same z one after the other. evaluations: the
    number of evaluations so far. best: the least loss so far, and its z.
    """

    def __init__(
        self,
        evaluate: Callable[..., Evaluation],
        start: np.ndarray,
        *,
        bounds: tuple[np.ndarray, np.ndarray],
        unit: np.ndarray,
        with_normal: bool,
        accepted: Callable[[int, float, np.ndarray], None],
    ):
        self.evaluate, self.start, self.unit, self.bounds, self.with_normal = evaluate, start, unit, bounds, with_normal
        self.accepted, self.evaluations = accepted, 0
        self.remembered, self.best = {}, (np.inf, np.zeros_like(start))

    @property
    def limits(self) -> tuple[np.ndarray, np.ndarray]:
        """The least and the largest z (n,)."""
        low, high = self.bounds
        return (low - self.start) / self.unit, (high - self.start) / self.unit

    def vector(self, z: np.ndarray) -> np.ndarray:
        """The numbers at z, clipped to their bounds: rounding could turn a bound into another number, such as 0."""
        return np.clip(self.start + self.unit * z, *self.bounds)

    def accept(self, z: np.ndarray, loss: float) -> None:
        """Report a step that the search has made."""
        self.accepted(self.evaluations, loss, self.vector(z))

    def __call__(self, z: np.ndarray) -> Evaluation:
        """Loss, gradient and matrix by z; an infinite loss where either cannot be computed, as at a bound without a derivative.

        Raises InputError if this is so at the start.
        """
        key = z.tobytes()
        if key not in self.remembered:
            self.evaluations += 1
            try:
                evaluation = _finite(self.evaluate(self.vector(z), self.with_normal))
            except InputError:
                if self.evaluations == 1:
                    raise
                evaluation = Evaluation(np.inf, np.zeros_like(z), np.eye(len(z)) if self.with_normal else None)
            normal = None if evaluation.normal is None else evaluation.normal * np.outer(self.unit, self.unit)
            self.remembered = {key: Evaluation(evaluation.value, evaluation.gradient * self.unit, normal)}
            if evaluation.value < self.best[0]:
                self.best = (evaluation.value, z.copy())
        return self.remembered[key]


def _finite(evaluation: Evaluation) -> Evaluation:
    """The evaluation, whose numbers have finite squares. Raises InputError for larger ones."""
    for values in (np.array(evaluation.value), evaluation.gradient, evaluation.normal):
        if values is not None and not np.abs(values).max(initial=0.0) <= LARGEST_LOSS:
            raise InputError("loss: it, or a derivative of it, is too large; allowed: smaller data, weights or amplitudes")
    return evaluation


def minimize(
    evaluate: Callable[..., Evaluation],
    start: np.ndarray,
    *,
    bounds: tuple[np.ndarray, np.ndarray],
    unit: np.ndarray,
    method: str,
    tolerance: float,
    most: int,
    accepted: Callable[[int, float, np.ndarray], None],
) -> Solution:
    """Search for the least loss from a start (n,), within bounds, by a method of scipy.optimize (R4).

    evaluate(x, with_normal) gives loss, gradient and Gauss-Newton matrix. unit (n,): the scale of every number, about its
    standard uncertainty. The search ends when a step lowers the loss by less than `tolerance` (with L-BFGS-B, by a tenth of it,
    since its steps are small), or when the gradient promises less than that (trust-constr), or after `most` evaluations.
    accepted(evaluations, loss, x) is called after every step. Raises InputError if loss or derivative cannot be computed at the
    start.
    """
    start = np.clip(start, *bounds)
    objective = Objective(evaluate, start, bounds=bounds, unit=unit, with_normal=method != "L-BFGS-B", accepted=accepted)
    solver = {"least_squares": _by_squares, "L-BFGS-B": _by_gradient, "trust-constr": _by_curvature}[method]
    z, converged, reason = solver(objective, tolerance, most)
    return Solution(objective.vector(z), converged, objective.evaluations, reason)


class _NoSquare(Exception):
    """The constant that is added to a loss is too small: their sum is no sum of squares."""


def as_squares(evaluation: Evaluation, constant: float) -> tuple[np.ndarray, np.ndarray]:
    """Residuals f (n + 1,) and Jacobian J (n + 1, n) with f.f / 2 = loss + constant, J^T f the gradient, J^T J the matrix.

    A Gauss-Newton step from them is one of the loss itself, whatever the loss is a sum of; n + 1 residuals stand for all
    pixels. With N = R^T R, f is R^-T times the gradient, and one more residual for the rest of the loss (R4). Raises _NoSquare
    if the rest is below 0.
    """
    values, vectors, scales = eigen(evaluation.normal)
    determined = values > max(FLAT * values[-1], 0.0)
    roots = np.sqrt(values[determined])
    jacobian = np.zeros((len(values) + 1, len(values)))
    residuals = np.zeros(len(values) + 1)
    jacobian[:-1][determined] = roots[:, None] * (vectors[:, determined].T * scales)
    residuals[:-1][determined] = (vectors[:, determined].T @ (evaluation.gradient / scales)) / roots
    rest = 2.0 * (evaluation.value + constant) - residuals @ residuals
    if rest < 0.0:
        raise _NoSquare
    residuals[-1] = np.sqrt(rest)
    return residuals, jacobian


def _by_squares(objective: Objective, tolerance: float, most: int) -> tuple[np.ndarray, bool, str]:
    """scipy's least_squares (trust region, reflective) on the n + 1 residuals of `as_squares`."""
    z, constant = np.zeros_like(objective.start), 0.0
    while True:
        evaluation = objective(z)
        try:
            constant = max(constant, _needed_constant(evaluation))
            return _least_squares(objective, z, tolerance=tolerance, most=most, constant=constant)
        except _NoSquare:
            z, constant = objective.best[1], SPARE * constant + abs(evaluation.value)
            if objective.evaluations >= most:
                return z, False, f"{most} evaluations were made"


def _needed_constant(evaluation: Evaluation) -> float:
    """A constant that makes this loss a sum of squares: SPARE times the smallest one, or 0 where none is needed."""
    try:
        as_squares(evaluation, 0.0)
        return 0.0
    except _NoSquare:
        newton = solved(evaluation.normal, evaluation.gradient, 1e-12)
        return SPARE * abs(float(evaluation.gradient @ newton))


def _least_squares(objective: Objective, start: np.ndarray, *, tolerance: float, most: int, constant: float):
    """Where scipy's least_squares ends from a start z, whether it converged, and why it ended, in words.

    scipy takes the length of its start for the radius of its first trust region. So it searches for y = z - start + shift,
    whose start, shift, has the length of the first Gauss-Newton step. Raises _NoSquare where the constant is too small.
    """

    def residuals(y):
        evaluation = objective(start + y - shift)
        if not np.isfinite(evaluation.value):
            return np.full(len(y) + 1, np.inf)
        return as_squares(evaluation, constant)[0]

    def jacobian(y):
        z = start + y - shift
        evaluation = objective(z)
        objective.accept(z, evaluation.value)
        return as_squares(evaluation, constant)[1]

    first = objective(start)
    shift = _first_reach(first, len(start))
    solution = optimize.least_squares(
        residuals,
        shift,
        jacobian,
        bounds=tuple(limit - start + shift for limit in objective.limits),
        ftol=max(tolerance / max(first.value + constant, 1.0), 4e-16),
        xtol=1e-12,
        gtol=None,
        max_nfev=max(most - objective.evaluations, 2),
    )
    converged = solution.status > 0
    return start + solution.x - shift, converged, _reason(converged, objective.evaluations)


def _first_reach(evaluation: Evaluation, n: int) -> np.ndarray:
    """The vector (n,) that scipy is given as its start: its length is that of the first trust region.

    It is the length of the first Gauss-Newton step, so that the trust region holds this step.
    """
    length = np.linalg.norm(solved(evaluation.normal, evaluation.gradient, 1e-10))
    return np.full(n, (np.clip(length, 1.0, FARTHEST) if np.isfinite(length) else 1.0) / np.sqrt(n))


def _reason(converged: bool, evaluations: int) -> str:
    """Why a search ended, in words."""
    if converged:
        return f"converged after {evaluations} evaluations"
    return f"did not converge within {evaluations} evaluations"


def _by_gradient(objective: Objective, tolerance: float, most: int) -> tuple[np.ndarray, bool, str]:
    """scipy's L-BFGS-B, which needs gradients alone, for thousands of numbers."""

    def step(intermediate_result):
        objective.accept(intermediate_result.x, float(intermediate_result.fun))

    start = np.zeros_like(objective.start)
    first = objective(start)
    objective.accept(start, first.value)
    ftol = tolerance / max(abs(first.value), 1.0) / 10.0
    while True:
        least, z = objective.best
        left = most - objective.evaluations
        solution = optimize.minimize(
            lambda z: _walled(objective, z),
            z,
            jac=True,
            method="L-BFGS-B",
            bounds=optimize.Bounds(*objective.limits),
            callback=step,
            options={"maxcor": 30, "maxfun": left, "maxiter": left, "maxls": 40, "ftol": ftol, "gtol": 0.0},
        )
        stuck = solution.status == 2 and least - objective.best[0] > tolerance
        if not stuck or objective.evaluations >= most:
            converged = solution.status in (0, 2) and not stuck
            return objective.best[1], converged, _reason(converged, objective.evaluations)


def _walled(objective: Objective, z: np.ndarray) -> tuple[float, np.ndarray]:
    """Loss and gradient at z; where there is no image, those of a parabola whose minimum is at the least loss so far.

    A line search interpolates between losses: an infinite loss would end it, as if nothing could be gained.
    """
    evaluation = objective(z)
    if np.isfinite(evaluation.value):
        return evaluation.value, evaluation.gradient
    least, best_z = objective.best
    away = z - best_z
    steepness = (abs(least) + 1.0) / (away @ away)
    return least + steepness * (away @ away), 2.0 * steepness * away


def _by_curvature(objective: Objective, tolerance: float, most: int) -> tuple[np.ndarray, bool, str]:
    """scipy's trust-constr with the Gauss-Newton matrix for the Hessian."""

    def step(z, state):
        objective.accept(z, float(state.fun))
        return objective.evaluations >= most

    start = np.zeros_like(objective.start)
    first = objective(start)
    objective.accept(start, first.value)
    solution = optimize.minimize(
        lambda z: objective(z).value,
        start,
        jac=lambda z: objective(z).gradient,
        hess=lambda z: objective(z).normal,
        method="trust-constr",
        bounds=optimize.Bounds(*objective.limits),
        callback=step,
        options={"gtol": np.sqrt(tolerance) / 10.0, "xtol": 1e-7, "maxiter": most},
    )
    converged = solution.status in (1, 2)
    return solution.x, converged, _reason(converged, objective.evaluations)
