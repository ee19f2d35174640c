"""Labels in the pictures of a refined image: the reflection and the resolution of a peak, and rings of equal resolution."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from itertools import repeat
from typing import Any, NamedTuple

import numpy as np

from nbnumba import pixels, resolved
from nbnumba.cli.marks import round_resolutions
from nbnumba.cli.report.spots import CountedPart, Peak
from nbnumba.experiment import Experiment
from nbnumba.setup import sampling, scene
from nbnumba.stages.records import Scene

MOST_POINTS = 400
"""The largest number of points along an edge at which resolutions are computed. Rings are smooth, so these suffice."""


class Labels(NamedTuple):
    """The refined experiment of an image and its scene, from which the labels follow."""

    experiment: Experiment
    scene: Scene

    def reflection(self, part: CountedPart, peak: Peak) -> str:
        """The text with the reflection of a peak and its resolution, such as "2 -1 3, 2.14 A"."""
        slow, fast = part.row + peak.row, part.column + peak.column
        hkl = pixels.reflection(self.scene, slow, fast)
        if hkl == (0, 0, 0):
            return "0 0 0, the direct beam"
        return f"{hkl[0]} {hkl[1]} {hkl[2]}, {resolved.resolution_at(self.experiment, fast, slow):.3g} A"

    def rings(self, part: CountedPart) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[float]]:
        """The fast and slow coordinates of a grid of pixels, their 1/d (1/A; slow, fast), and the d (A) of the rings."""
        fast, slow = (np.unique(np.linspace(0, size - 1, min(size, MOST_POINTS)).round()) for size in part.data.shape[::-1])
        fast, slow = fast + part.column, slow + part.row
        columns, rows = np.meshgrid(fast, slow)
        resolutions = resolved.resolutions(self.experiment, columns.ravel(), rows.ravel()).reshape(rows.shape)
        return fast, slow, 1.0 / resolutions, round_resolutions(resolutions)


def labels_of_images(result: Any) -> Iterator[Labels | None]:
    """The labels of each image of a result of adjoint.refine, in order; None for each image if the result has no experiment."""
    experiments = getattr(result, "experiment", None)
    if experiments is None:
        return repeat(None, len(result.frames))
    return map(_labels, [experiments] if isinstance(experiments, Experiment) else experiments)


def _labels(experiment: Experiment) -> Labels | None:
    """The labels of an image; None if it has panels, whose sheet no coordinates fit."""
    if experiment.detector.panels:
        return None
    window = sampling.window(experiment.detector.pixels, None, None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # They were shown when the experiment was stated.
        return Labels(experiment, scene.build(experiment, window))
