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
from nbnumba.setup import scene
from nbnumba.setup.background import without_background
from nbnumba.setup.sampling import Window
from nbnumba.setup.scene import PanelScene
from nbnumba.setup.sheet import sheet_of
from nbnumba.simulate import render

MOST_POINTS = 400
"""The largest number of points along an edge at which resolutions are computed. Rings are smooth, so these suffice."""


class Labels(NamedTuple):
    """The refined experiment of an image and the scenes of its panels for each contribution, from which the labels follow.

    An image of several panels is their sheet, in which the rows of one follow those of another.
    """

    experiment: Experiment
    scenes: tuple[PanelScene, ...]

    def reflection(self, part: CountedPart, peak: Peak) -> str:
        """The text with the reflection of a peak and its resolution, such as "2 -1 3, 2.14 A".

        Of several crystals it is that with the most photons there, whose number is told: "2 -1 3 of crystal 1, 2.14 A".
        """
        row, fast = part.row + peak.row, part.column + peak.column
        panel, slow = sheet_of(self.experiment.detector).panel_of(row)
        brightest = self._brightest(panel, slow, fast)
        hkl = pixels.reflection(brightest.scene, slow, fast)
        if hkl == (0, 0, 0):
            return "0 0 0, the direct beam"
        of_which = f" of crystal {brightest.crystal}" if self.experiment.other_crystals else ""
        return f"{hkl[0]} {hkl[1]} {hkl[2]}{of_which}, {resolved.resolution_at(self.experiment, fast, slow, panel):.3g} A"

    def _brightest(self, panel: int, slow: int, fast: int) -> PanelScene:
        """The scene of a panel for the contribution that has the most photons in the 3 x 3 pixels about a pixel."""
        sheet = sheet_of(self.experiment.detector)
        every = self.scenes[panel :: len(sheet.shapes)]
        if len(every) == 1:
            return every[0]
        rows, columns = ((max(at - 1, 0), min(at + 2, size)) for at, size in zip((slow, fast), sheet.shapes[panel]))
        near = Window(rows, columns, np.zeros((0, 0), dtype=np.uint8))
        here = slice(0, sheet.shapes[panel][0]), every[0].place[1]
        totals = [render([one._replace(window=near, place=here, contribution=0)], sheet.shapes[panel]).sum() for one in every]
        return every[int(np.argmax(totals))]

    def rings(self, part: CountedPart) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[float]]:
        """The fast and slow coordinates of a grid of pixels, their 1/d (1/A; slow, fast), and the d (A) of the rings.

        Of several panels 1/d is NaN in empty columns, and in the last row of each panel, so that no ring runs from one panel to
        another.
        """
        fast, slow = (np.unique(np.linspace(0, size - 1, min(size, MOST_POINTS)).round()) for size in part.data.shape[::-1])
        fast, slow = fast + part.column, slow + part.row
        sheet, inverse = sheet_of(self.experiment.detector), np.full((len(slow), len(fast)), np.nan)
        for number, (rows, columns) in enumerate(sheet.places()):
            of_panel = (slow >= rows.start) & (slow < rows.stop), fast < columns.stop
            grid = np.meshgrid(fast[of_panel[1]], slow[of_panel[0]] - rows.start)
            resolutions = resolved.resolutions(self.experiment, grid[0].ravel(), grid[1].ravel(), number)
            inverse[np.ix_(*of_panel)] = 1.0 / resolutions.reshape(grid[0].shape)
        known = inverse[~np.isnan(inverse)]
        rows_of_ends = np.searchsorted(slow, [rows.stop for rows, _ in list(sheet.places())[:-1]]) - 1
        inverse[rows_of_ends[rows_of_ends >= 0]] = np.nan
        with np.errstate(divide="ignore"):
            return fast, slow, inverse, round_resolutions(1.0 / known)


def labels_of_images(result: Any) -> Iterator[Labels | None]:
    """The labels of each image of a result of adjoint.refine, in order; None for each image if the result has no experiment."""
    experiments = getattr(result, "experiment", None)
    if experiments is None:
        return repeat(None, len(result.frames))
    return map(_labels, [experiments] if isinstance(experiments, Experiment) else experiments)


def _labels(experiment: Experiment) -> Labels:
    """The labels of an image, of all of its pixels."""
    experiment = without_background(experiment.replace({"sampling.roi": None, "sampling.mask": None}))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # They were shown when the experiment was stated.
        return Labels(experiment, scene.panel_scenes(experiment))
