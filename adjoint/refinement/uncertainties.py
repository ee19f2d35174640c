"""Uncertainties of refined numbers: covariance, and the sentences about numbers that the data do not determine (R5, R6)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from adjoint.refinement.algebra import NOTHING, eigen

SINGULAR, NEARLY = 1e-9, 1e-3
"""Eigenvalues of the scaled information below which a combination of numbers is not determined, or hardly determined."""

SHARE = 0.3
"""A number of such a combination is named if it contributes this fraction of the largest contribution; at least two are."""

NAMED = 6
"""The largest number of names in a sentence."""

FAR, SURE = 8.0, 5.0
"""Widths of a spot, and standard uncertainties: a number that has moved by more than both has moved far."""


class Uncertainty(NamedTuple):
    """What is known of n refined numbers (R5).

    covariance, correlation (n, n): None if there are too many numbers. sigma (n,): standard uncertainties in the units of the
    numbers; NaN for a number at a bound, infinite for one that is not determined. sentences: what a user has to know about
    them. determined: whether all numbers are. combinations: those of the sentences that name combinations of numbers that are
    hardly or not at all determined.
    """

    covariance: np.ndarray | None
    correlation: np.ndarray | None
    sigma: np.ndarray
    sentences: list[str]
    determined: bool
    combinations: tuple[str, ...] = ()


def uncertainty(information: np.ndarray, labels: list[str], at_bound: np.ndarray, spare: np.ndarray) -> Uncertainty:
    """Uncertainties from the information J^T W J (n, n), restraints included (R5).

    labels: a name for every number. at_bound (n,): which numbers are at a bound. spare (n,): which numbers need not be
    determined, such as amplitudes.
    """
    n, combinations = len(labels), []
    covariance, sentences, diagonal = np.full((n, n), np.nan), [], np.diag(information).copy()
    blind = (diagonal < NOTHING) & ~at_bound
    sentences += without_effect(labels, blind)
    free = np.flatnonzero(~at_bound & ~blind)
    sigma = np.where(at_bound, np.nan, np.inf)
    determined = not (blind & ~spare).any()
    if len(free):
        values, vectors, scales = eigen(information[np.ix_(free, free)])
        undetermined = values < SINGULAR
        determined &= not undetermined.any()
        combinations = [
            _combination(value, vector, [labels[i] for i in free]) for value, vector in zip(values, vectors.T) if value < NEARLY
        ]
        sentences += combinations
        scaled = (vectors[:, ~undetermined] / values[~undetermined]) @ vectors[:, ~undetermined].T
        of_free = scaled / scales / scales[:, None]
        covariance[np.ix_(free, free)] = of_free
        finite = np.sqrt(np.maximum(np.diag(of_free), 0.0))
        involved = (np.abs(vectors[:, undetermined]) > 1e-3).any(axis=1)
        sigma[free] = np.where(involved, np.inf, finite)
    sentences += at_bounds(labels, at_bound)
    with np.errstate(invalid="ignore", divide="ignore"):
        deviations = np.sqrt(np.diag(covariance))
        correlation = covariance / np.outer(deviations, deviations)
    return Uncertainty(covariance, correlation, sigma, sentences, determined, tuple(combinations))


def uncertainty_each(diagonal: np.ndarray, labels: list[str], at_bound: np.ndarray, spare: np.ndarray) -> Uncertainty:
    """Uncertainties from the diagonal of the information (n,) alone: of each number as if all others were known (R5)."""
    blind = (diagonal <= 0.0) & ~at_bound
    with np.errstate(divide="ignore"):
        sigma = np.where(at_bound, np.nan, 1.0 / np.sqrt(np.where(blind, 0.0, diagonal)))
    sentence = f"{len(labels)} numbers are too many for a covariance: uncertainties are of each with all others known"
    sentences = [*without_effect(labels, blind), *at_bounds(labels, at_bound), sentence]
    return Uncertainty(None, None, sigma, sentences, not (blind & ~spare).any())


def with_infinite(original: Uncertainty, numbers: np.ndarray) -> Uncertainty:
    """The same uncertainties, but infinite and without covariance for some numbers (n,). `determined` is unchanged (R6)."""
    sigma = original.sigma.copy()
    sigma[numbers] = np.inf
    matrices = []
    for matrix in (original.covariance, original.correlation):
        matrix = None if matrix is None else matrix.copy()
        if matrix is not None:
            matrix[numbers], matrix[:, numbers] = np.nan, np.nan
        matrices.append(matrix)
    return original._replace(covariance=matrices[0], correlation=matrices[1], sigma=sigma)


def moved_far(labels: list[str], units: list[str], change: np.ndarray, widths: np.ndarray, sigma: np.ndarray) -> list[str]:
    """A sentence if numbers have moved further from the start than a usable start is off (R6).

    change (n,): that of each number; widths (n,): the change that moves a spot by its width; sigma (n,): the uncertainty; all
    in `units`.
    """
    with np.errstate(invalid="ignore"):
        far = (np.abs(change) > FAR * widths) & ~(np.abs(change) <= SURE * sigma)
    order = sorted(np.flatnonzero(far), key=lambda i: -abs(change[i]) / widths[i])
    if not order:
        return []
    in_widths = [f"{abs(change[i]) / widths[i]:.0f} widths of a spot" for i in order]
    named = [f"{labels[i]} moved by {change[i]:.3g} {units[i]} ({width})" for i, width in zip(order, in_widths)]
    return [f"a long way from the start: {_listed(named)}: is that plausible?"]


def without_effect(labels: list[str], blind: np.ndarray) -> list[str]:
    """A sentence that names the numbers on which the image does not depend (`blind`, (n,)), if there are any."""
    names = [labels[i] for i in np.flatnonzero(blind)]
    return [f"the image does not depend on {_listed(names)}"] if names else []


def at_bounds(labels: list[str], at_bound: np.ndarray) -> list[str]:
    """A sentence that names the numbers that ended at a bound (n,), if there are any."""
    names = [labels[i] for i in np.flatnonzero(at_bound)]
    return [f"{_listed(names)} ended at a bound, and {'have' if len(names) > 1 else 'has'} no uncertainty"] if names else []


def _combination(value, vector, labels) -> str:
    """The sentence about a combination that is hardly or not at all determined: an eigenvalue and its vector (n,)."""
    order = np.argsort(-np.abs(vector))
    named = [i for rank, i in enumerate(order) if rank < 2 or abs(vector[i]) >= SHARE * abs(vector[order[0]])][:NAMED]
    names = _listed([labels[i] for i in named])
    if value < SINGULAR:
        return f"the image cannot tell {names} apart: hold one of them, restrain it, or tie them"
    times = 1.0 / np.sqrt(value)
    return f"the image can hardly tell {names} apart: together they are {times:.0f} times as uncertain as each alone"


def _listed(names: list[str]) -> str:
    """Names in a sentence: at most NAMED of them, and how many more there are."""
    shown = names if len(names) <= NAMED else [*names[:NAMED], f"{len(names) - NAMED} more"]
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"
