"""What the places of an image are, by its refined experiment: the reflection and the resolution of a peak, and rings."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from itertools import repeat
from typing import Any, NamedTuple

import numpy as np

from nbnumba import pixels, resolved
from nbnumba.cli.marks import round_resolutions
from nbnumba.cli.report.spots import Peak, View
from nbnumba.experiment import Experiment
from nbnumba.setup import sampling, scene
from nbnumba.stages.records import Scene

FINEST = 400
"""Resolutions are computed at so many places at most along an edge of a picture: rings are smooth."""


class Labels(NamedTuple):
    """The experiment of an image, as it was refined, and its scene."""

    experiment: Experiment
    scene: Scene

    def reflection(self, seen: View, peak: Peak) -> str:
        """The reflection of a peak and its resolution, in words: 2 -1 3, 2.14 A."""
        slow, fast = seen.row + peak.row, seen.column + peak.column
        hkl = pixels.reflection(self.scene, slow, fast)
        if hkl == (0, 0, 0):
            return "0 0 0, the direct beam"
        return f"{hkl[0]} {hkl[1]} {hkl[2]}, {resolved.resolution_at(self.experiment, fast, slow):.3g} A"

    def rings(self, seen: View) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[float]]:
        """Fast and slow places, their 1 / d (slow, fast), and the d, in A, of rings that cross the view."""
        fast, slow = (np.unique(np.linspace(0, size - 1, min(size, FINEST)).round()) for size in seen.data.shape[::-1])
        fast, slow = fast + seen.column, slow + seen.row
        columns, rows = np.meshgrid(fast, slow)
        found = resolved.resolutions(self.experiment, columns.ravel(), rows.ravel()).reshape(rows.shape)
        return fast, slow, 1.0 / found, round_resolutions(found)


def of_result(result: Any) -> Iterator[Labels | None]:
    """The labels of each image of a result of adjoint.refine, one after the other; None for images without experiments."""
    found = getattr(result, "experiment", None)
    if found is None:
        return repeat(None, len(result.frames))
    return map(_labels, [found] if isinstance(found, Experiment) else found)


def _labels(experiment: Experiment) -> Labels:
    window = sampling.window(experiment.detector.pixels, None, None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # which were shown when the experiment was stated
        return Labels(experiment, scene.build(experiment, window))
