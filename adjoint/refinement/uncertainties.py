"""Uncertainties of refined numbers: covariance, and the sentences about numbers that the data do not determine (R5, R6)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from adjoint.refinement.algebra import NOTHING, eigen

SINGULAR, NEARLY = 1e-9, 1e-3
"""Eigenvalues of the correlation form of the information, from which on numbers cannot be told apart, or hardly can."""

SHARE = 0.3
"""What a number has to contribute to such a combination to be named, of the largest contribution; two are in any case."""

NAMED = 6
"""So many numbers of a combination are named at most."""

FAR, SURE = 8.0, 5.0
"""Widths of a spot, and standard uncertainties, by which a number that has moved further has moved far."""


class Uncertainty(NamedTuple):
    """Covariance and correlation (n, n), standard uncertainties (n,), sentences, and whether all numbers are determined.

    combinations: those of the sentences that name what can hardly or not at all be told apart.

    NaN: a number that is at a bound; infinite: one that is not determined.
    """

    covariance: np.ndarray | None
    correlation: np.ndarray | None
    sigma: np.ndarray
    sentences: list[str]
    determined: bool
    combinations: tuple[str, ...] = ()


def uncertainty(information: np.ndarray, labels: list[str], at_bound: np.ndarray, spare: np.ndarray) -> Uncertainty:
    """From the information (n, n), which numbers are at a bound (n,), and which need not be seen (n,): R5."""
    n, combinations = len(labels), []
    covariance, sentences, diagonal = np.full((n, n), np.nan), [], np.diag(information).copy()
    blind = (diagonal < NOTHING) & ~at_bound
    sentences += unseen(labels, blind)
    free = np.flatnonzero(~at_bound & ~blind)
    sigma = np.where(at_bound, np.nan, np.inf)
    determined = not (blind & ~spare).any()
    if len(free):
        values, vectors, root = eigen(information[np.ix_(free, free)])
        lost = values < SINGULAR
        determined &= not lost.any()
        combinations = [
            _combination(value, vector, [labels[i] for i in free]) for value, vector in zip(values, vectors.T) if value < NEARLY
        ]
        sentences += combinations
        within = (vectors[:, ~lost] / values[~lost]) @ vectors[:, ~lost].T / root / root[:, None]
        covariance[np.ix_(free, free)] = within
        part = np.sqrt(np.maximum(np.diag(within), 0.0))
        involved = (np.abs(vectors[:, lost]) > 1e-3).any(axis=1)
        sigma[free] = np.where(involved, np.inf, part)
    sentences += at_bounds(labels, at_bound)
    with np.errstate(invalid="ignore", divide="ignore"):
        each = np.sqrt(np.diag(covariance))
        correlation = covariance / np.outer(each, each)
    return Uncertainty(covariance, correlation, sigma, sentences, determined, tuple(combinations))


def uncertainty_each(diagonal: np.ndarray, labels: list[str], at_bound: np.ndarray, spare: np.ndarray) -> Uncertainty:
    """The same of so many numbers that there is no matrix of them: each as if all others were known."""
    blind = (diagonal <= 0.0) & ~at_bound
    with np.errstate(divide="ignore"):
        sigma = np.where(at_bound, np.nan, 1.0 / np.sqrt(np.where(blind, 0.0, diagonal)))
    sentence = f"{len(labels)} numbers are too many for a covariance: uncertainties are of each with all others known"
    sentences = [*unseen(labels, blind), *at_bounds(labels, at_bound), sentence]
    return Uncertainty(None, None, sigma, sentences, not (blind & ~spare).any())


def undetermined(known: Uncertainty, places: np.ndarray) -> Uncertainty:
    """The same with numbers that are known of no image: they have no uncertainty that is finite."""
    sigma = known.sigma.copy()
    sigma[places] = np.inf
    matrices = []
    for matrix in (known.covariance, known.correlation):
        matrix = None if matrix is None else matrix.copy()
        if matrix is not None:
            matrix[places], matrix[:, places] = np.nan, np.nan
        matrices.append(matrix)
    return known._replace(covariance=matrices[0], correlation=matrices[1], sigma=sigma)


def moved_far(labels: list[str], units: list[str], by: np.ndarray, widths: np.ndarray, sigma: np.ndarray) -> list[str]:
    """A sentence if numbers have moved by more than a start is off that the phases are made for."""
    with np.errstate(invalid="ignore"):
        far = (np.abs(by) > FAR * widths) & ~(np.abs(by) <= SURE * sigma)
    order = sorted(np.flatnonzero(far), key=lambda i: -abs(by[i]) / widths[i])
    named = [f"{labels[i]} moved by {by[i]:.3g} {units[i]} ({abs(by[i]) / widths[i]:.0f} widths of a spot)" for i in order]
    if not named:
        return []
    return [f"a long way from the start: {_listed(named)}: is that plausible?"]


def unseen(labels, blind) -> list[str]:
    """A sentence if the image does not depend on some numbers."""
    names = [labels[i] for i in np.flatnonzero(blind)]
    return [f"the image does not depend on {_listed(names)}"] if names else []


def at_bounds(labels, at_bound) -> list[str]:
    """A sentence if some numbers ended at bounds."""
    names = [labels[i] for i in np.flatnonzero(at_bound)]
    return [f"{_listed(names)} ended at a bound, and {'have' if len(names) > 1 else 'has'} no uncertainty"] if names else []


def _combination(value, vector, labels) -> str:
    """The sentence about numbers that hardly or not at all can be told apart."""
    order = np.argsort(-np.abs(vector))
    named = [i for at, i in enumerate(order) if at < 2 or abs(vector[i]) >= SHARE * abs(vector[order[0]])][:NAMED]
    names = _listed([labels[i] for i in named])
    if value < SINGULAR:
        return f"the image cannot tell {names} apart: hold one of them, restrain it, or tie them"
    times = 1.0 / np.sqrt(value)
    return f"the image can hardly tell {names} apart: together they are {times:.0f} times as uncertain as each alone"


def _listed(names: list[str]) -> str:
    shown = names if len(names) <= NAMED else [*names[:NAMED], f"{len(names) - NAMED} more"]
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"
