"""Phases of a refinement, from broadened to sharp spots: they widen the basin of convergence to several spot widths (R7)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple


class Phase(NamedTuple):
    """One phase of a refinement (R7): its name, and what its search refines and minimizes.

    broader: the factor by which spots are broadened. exact: whether the phase refines all parameters by the loss itself.
    A phase that is not exact refines the parameters that move spots, with a scale and a flat background for each image, by a
    Gaussian loss. level: the smaller it is, the more weight that loss gives to weak spots (no unit; R7). evaluations: the
    largest number of evaluations of the loss.
    """

    name: str
    broader: float = 1.0
    exact: bool = False
    evaluations: int = 40
    level: float = 0.02


EXACT = Phase("all parameters", exact=True, evaluations=200)
SHARP = Phase("positions of sharp spots")
BROAD = (Phase("spots 8 times as broad", 8.0), Phase("spots 4 times as broad", 4.0), Phase("spots 2 times as broad", 2.0))


def with_level(phases: Iterable[Phase], level: float) -> tuple[Phase, ...]:
    """The same phases with another level, which weights bright and weak spots differently."""
    return tuple(phase._replace(level=level) for phase in phases)


AUTO = (
    (*BROAD, SHARP, EXACT),
    (*with_level((*BROAD, SHARP), 0.1), EXACT),
    (*with_level((*BROAD, SHARP), 0.005), EXACT),
    (SHARP, EXACT),
)
"""The plans that an automatic refinement tries in turn, until the crystal accounts for the images."""
