"""From a loss with gradient and Gauss-Newton matrix to scipy.optimize (R4)."""

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
"""Amplitudes up to which the method is least_squares; and how many times as many evaluations L-BFGS-B may make as a phase says,
as it makes smaller steps."""

MOST_BY_MATRIX = 1000
"""Numbers up to which a matrix of all is made, for least_squares and for a covariance: beyond it costs more than it saves."""

FLAT = 1e-14
"""Eigenvalues of the scaled matrix below this are rounding: along them nothing is known."""

LARGEST_LOSS = 1e250
"""A loss and derivatives up to this are searched by: those beyond are too close to what is no number."""

FARTHEST = 1e6
"""Standard deviations that a first step is at most: beside a longer one close bounds would be the same number."""

LEEWAY = 1e-9
"""Standard deviations: a number whose bounds are closer than that stays where it is."""

SPARE = 2.0
"""How many times the constant is taken that makes a loss a sum of squares."""


class Solution(NamedTuple):
    """Where a search ended: the vector, whether it converged, the number of evaluations, and why it ended, in words."""

    x: np.ndarray
    converged: bool
    evaluations: int
    reason: str


class Objective:
    """The loss by numbers in units of `unit` from `start`, in bounds: each evaluated once, and remembered until the next."""

    def __init__(self, evaluate: Callable[..., Evaluation], start, unit, bounds, with_normal: bool):
        self.evaluate, self.start, self.unit, self.bounds, self.with_normal = evaluate, start, unit, bounds, with_normal
        self.known, self.count, self.best = {}, 0, (np.inf, np.zeros_like(start))

    def vector(self, z: np.ndarray) -> np.ndarray:
        """The numbers themselves; at a bound, of which rounding would make another number, such as 0, the bound."""
        return np.clip(self.start + self.unit * z, *self.bounds)

    def __call__(self, z: np.ndarray) -> Evaluation:
        """Loss, gradient and matrix in these units; an infinite loss where there is no image."""
        key = z.tobytes()
        if key not in self.known:
            self.count += 1
            try:
                found = _finite(self.evaluate(self.vector(z), self.with_normal))
            except InputError:
                if self.count == 1:
                    raise
                found = Evaluation(np.inf, np.zeros_like(z), np.eye(len(z)) if self.with_normal else None)
            normal = None if found.normal is None else found.normal * np.outer(self.unit, self.unit)
            self.known = {key: Evaluation(found.value, found.gradient * self.unit, normal)}
            if found.value < self.best[0]:
                self.best = (found.value, z.copy())
        return self.known[key]


def _finite(found: Evaluation) -> Evaluation:
    """A loss and derivatives that are numbers, with room for their squares. Raises InputError."""
    for values in (np.array(found.value), found.gradient, found.normal):
        if values is not None and not np.abs(values).max(initial=0.0) <= LARGEST_LOSS:
            raise InputError("loss: it, or a derivative of it, is too large; allowed: smaller data, weights or amplitudes")
    return found


def minimized(
    evaluate: Callable[..., Evaluation],
    start: np.ndarray,
    bounds: tuple[np.ndarray, np.ndarray],
    unit: np.ndarray,
    method: str,
    tolerance: float,
    most: int,
    accepted: Callable[[int, float, np.ndarray], None],
) -> Solution:
    """The minimum of a loss from a start, within bounds, by a method of scipy.optimize.

    evaluate(x, with_normal) gives loss, gradient and Gauss-Newton matrix. unit: the scale of every number, about its standard
    uncertainty. It ends when a step gains less than `tolerance` (of the loss, absolute), or after `most` evaluations.
    accepted(evaluations, loss, x) is told of every step.
    """
    low, high = bounds
    start = np.clip(start, low, high)
    objective = Objective(evaluate, start, unit, bounds, method != "L-BFGS-B")
    limits = (low - start) / unit, (high - start) / unit
    solver = {"least_squares": _by_squares, "L-BFGS-B": _by_gradient, "trust-constr": _by_curvature}[method]
    z, converged, reason = solver(objective, limits, tolerance, most, accepted)
    return Solution(objective.vector(z), converged, objective.count, reason)


class _NoSquare(Exception):
    """The constant that is added to a loss was too small for it to be a sum of squares there."""


def as_squares(found: Evaluation, constant: float) -> tuple[np.ndarray, np.ndarray]:
    """Residuals f (n + 1,) and Jacobian J (n + 1, n) with f.f / 2 = loss + constant, J^T f the gradient, J^T J the matrix.

    A step of Gauss and Newton from them is one of the loss itself, whatever it is a sum of; and n + 1 residuals stand for all
    pixels. f is the gradient by a square root of the matrix, and one more for what is left of the loss (R4).
    """
    values, vectors, diagonal = eigen(found.normal)
    known = values > max(FLAT * values[-1], 0.0)
    root = np.sqrt(values[known])
    jacobian = np.zeros((len(values) + 1, len(values)))
    residuals = np.zeros(len(values) + 1)
    jacobian[:-1][known] = root[:, None] * (vectors[:, known].T * diagonal)
    residuals[:-1][known] = (vectors[:, known].T @ (found.gradient / diagonal)) / root
    left = 2.0 * (found.value + constant) - residuals @ residuals
    if left < 0.0:
        raise _NoSquare
    residuals[-1] = np.sqrt(left)
    return residuals, jacobian


def _by_squares(objective, limits, tolerance, most, accepted):
    """scipy's least_squares (trust region, reflective) on the n + 1 residuals of `as_squares`."""
    z, constant = np.zeros_like(objective.start), 0.0
    while True:
        here = objective(z)
        try:
            constant = max(constant, _needed(here))
            return _squares(objective, limits, tolerance, most, accepted, z, constant)
        except _NoSquare:
            z, constant = objective.best[1], SPARE * constant + abs(here.value)
            if objective.count >= most:
                return z, False, f"{most} evaluations were made"


def _needed(found: Evaluation) -> float:
    """A constant that makes this loss a sum of squares, with some to spare."""
    try:
        as_squares(found, 0.0)
        return 0.0
    except _NoSquare:
        newton = solved(found.normal, found.gradient, 1e-12)
        return SPARE * abs(float(found.gradient @ newton))


def _squares(objective, limits, tolerance, most, accepted, start, constant):
    def residuals(z):
        found = objective(z)
        if not np.isfinite(found.value):
            return np.full(len(z) + 1, np.inf)
        return as_squares(found, constant)[0]

    def jacobian(z):
        found = objective(z)
        accepted(objective.count, found.value, objective.vector(z))
        return as_squares(found, constant)[1]

    first = objective(start)
    shift = _reach(first, len(start))
    moved = lambda function: lambda y: function(start + y - shift)  # noqa: E731
    done = optimize.least_squares(
        moved(residuals),
        shift,
        moved(jacobian),
        bounds=tuple(limit - start + shift for limit in limits),
        ftol=max(tolerance / max(first.value + constant, 1.0), 4e-16),
        xtol=1e-12,
        gtol=None,
        max_nfev=max(most - objective.count, 2),
    )
    return start + done.x - shift, done.status > 0, _ended(done.status > 0, objective.count)


def _reach(found: Evaluation, n: int) -> np.ndarray:
    """Where scipy is told that it starts: its first trust region is as long as that, and is to hold the first step."""
    length = np.linalg.norm(solved(found.normal, found.gradient, 1e-10))
    return np.full(n, (np.clip(length, 1.0, FARTHEST) if np.isfinite(length) else 1.0) / np.sqrt(n))


def _ended(converged, count) -> str:
    return f"converged after {count} evaluations" if converged else f"did not converge within {count} evaluations"


def _by_gradient(objective, limits, tolerance, most, accepted):
    """L-BFGS-B: needs gradients alone, for thousands of numbers."""

    def step(intermediate_result):
        accepted(objective.count, float(intermediate_result.fun), objective.vector(intermediate_result.x))

    start = np.zeros_like(objective.start)
    first = objective(start)
    accepted(objective.count, first.value, objective.vector(start))
    ftol = tolerance / max(abs(first.value), 1.0) / 10.0
    while True:
        before, z = objective.best
        left = most - objective.count
        done = optimize.minimize(
            lambda z: _walled(objective, z),
            z,
            jac=True,
            method="L-BFGS-B",
            bounds=optimize.Bounds(*limits),
            callback=step,
            options={"maxcor": 30, "maxfun": left, "maxiter": left, "maxls": 40, "ftol": ftol, "gtol": 0.0},
        )
        stuck = done.status == 2 and before - objective.best[0] > tolerance
        if not stuck or objective.count >= most:
            converged = done.status in (0, 2) and not stuck
            return objective.best[1], converged, _ended(converged, objective.count)


def _walled(objective, z) -> tuple[float, np.ndarray]:
    """Loss and gradient; where there is no image those of a slope that leads back to the best place so far.

    A line search interpolates between losses: an infinite one would end it, as if nothing could be gained.
    """
    found = objective(z)
    if np.isfinite(found.value):
        return found.value, found.gradient
    best, place = objective.best
    away = z - place
    steep = (abs(best) + 1.0) / (away @ away)
    return best + steep * (away @ away), 2.0 * steep * away


def _by_curvature(objective, limits, tolerance, most, accepted):
    """trust-constr with the Gauss-Newton matrix for the Hessian."""

    def step(z, state):
        accepted(objective.count, float(state.fun), objective.vector(z))
        return objective.count >= most

    start = np.zeros_like(objective.start)
    first = objective(start)
    accepted(objective.count, first.value, objective.vector(start))
    done = optimize.minimize(
        lambda z: objective(z).value,
        start,
        jac=lambda z: objective(z).gradient,
        hess=lambda z: objective(z).normal,
        method="trust-constr",
        bounds=optimize.Bounds(*limits),
        callback=step,
        options={"gtol": np.sqrt(tolerance) / 10.0, "xtol": 1e-7, "maxiter": most},
    )
    converged = done.status in (1, 2)
    return done.x, converged, _ended(converged, objective.count)
