"""How well structure factors of many shots are known: halves of the shots against each other, in shells (M6)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

SHELLS = 10
"""Shells of resolution, of as many reflections each; fewer where there are few reflections."""

IN_SHELL = 20
"""Reflections of a shell, at least."""


class Shell(NamedTuple):
    """Figures of a shell of resolution, or of all reflections.

    low_A, high_A: its ends. possible, observed: unique reflections; multiplicity: shots that tell of one that is observed, in
    the mean. i_over_sigma: mean. cc_half, r_split: of the intensities of both halves of the shots. ratio: root mean square
    difference of the halves over its uncertainty. cc_anomalous: correlation of the anomalous differences of both halves; NaN
    where mates are one.
    """

    low_A: float
    high_A: float
    possible: int
    observed: int
    multiplicity: float
    i_over_sigma: float
    cc_half: float
    r_split: float
    ratio: float
    cc_anomalous: float

    @property
    def completeness(self) -> float:
        """The observed part of what is possible."""
        return self.observed / self.possible if self.possible else float("nan")


class Columns(NamedTuple):
    """What is known of unique reflections, in the order of all arrays.

    d_A, multiplicity, intensity, sigma (u,); sigma is not finite where nothing is known. halves, half_sigmas (2, u): of each
    half of the shots. mates (pairs,), (pairs,): numbers of Friedel mates.
    """

    d_A: np.ndarray
    multiplicity: np.ndarray
    intensity: np.ndarray
    sigma: np.ndarray
    halves: np.ndarray
    half_sigmas: np.ndarray
    mates: tuple[np.ndarray, np.ndarray]


def shells_of(of: Columns, expected: np.ndarray) -> list[Shell]:
    """The shells, from low to high resolution, and last all of them together.

    expected (u,): the mean intensity at the resolution of a reflection: one whose uncertainty exceeds it counts as not
    observed.
    """
    sigma = np.where(of.sigma < expected, of.sigma, np.inf)
    of = of._replace(sigma=sigma, half_sigmas=np.where((of.half_sigmas < expected).all(axis=0), of.half_sigmas, np.inf))
    order = np.argsort(-of.d_A, kind="stable")
    parts = np.array_split(order, max(min(len(order) // IN_SHELL, SHELLS), 1))
    return [_shell(part, of) for part in [*parts, order]] if len(order) else []


def _shell(part: np.ndarray, of: Columns) -> Shell:
    seen = part[np.isfinite(of.sigma[part])]
    both = part[np.isfinite(of.half_sigmas[:, part]).all(axis=0)]
    one, two = of.halves[:, both]
    within = np.isin(of.mates[0], both) & np.isin(of.mates[1], both)
    differences = of.halves[:, of.mates[0][within]] - of.halves[:, of.mates[1][within]]
    deviations = (one - two) / np.sqrt((of.half_sigmas[:, both] ** 2).sum(axis=0))
    total = float(np.sum(one + two)) / 2.0
    return Shell(
        low_A=float(of.d_A[part].max()),
        high_A=float(of.d_A[part].min()),
        possible=len(part),
        observed=len(seen),
        multiplicity=_mean(of.multiplicity[seen]),
        i_over_sigma=_mean(of.intensity[seen] / of.sigma[seen]),
        cc_half=correlation(one, two),
        r_split=float(np.abs(one - two).sum() / total / np.sqrt(2.0)) if total > 0.0 else float("nan"),
        ratio=float(np.sqrt(np.mean(deviations**2))) if len(both) else float("nan"),
        cc_anomalous=correlation(*differences),
    )


def correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Pearson's correlation of two arrays (n,); NaN of fewer than three, or of those that do not vary."""
    if len(one) < 3 or not (np.ptp(one) > 0.0 and np.ptp(other) > 0.0):
        return float("nan")
    return float(np.corrcoef(one, other)[0, 1])


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else float("nan")
