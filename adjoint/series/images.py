"""The images of a series: what each is made of, and its photons and their derivatives in the pixels of its shoeboxes (S1)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from adjoint.gradient import jacobian_of_pixels
from adjoint.parameters import Name
from adjoint.prepare import freeze_choices
from adjoint.series.shoeboxes import Shoeboxes
from adjoint.variables import unpack
from nbnumba.backends import CPU, Machine
from nbnumba.experiment import Experiment
from nbnumba.setup.sampling import rendered
from nbnumba.setup.sheet import Sheet, masked_pixels, sheet_of
from nbnumba.statements import Background


class SeriesImage(NamedTuple):
    """An image of a series: its name in messages, its experiment, a function that reads it, and counts per photon.

    read() gives an image of the shape of simulate's, in counts, NaN where a pixel holds no measurement. It is called when the
    pixels of its shoeboxes are wanted, and the image is not kept.
    """

    name: str
    experiment: Experiment
    read: Callable[[], Any]
    gain: float = 1.0

    @property
    def sheet(self) -> Sheet:
        """The shapes of the panels of its detector."""
        return sheet_of(self.experiment.detector)

    def photons(self) -> np.ndarray:
        """The sheet in photons, NaN where a pixel is left out: also where the detector masks it, or nothing is rendered."""
        data = np.array(self.sheet.sheet(self.name, self.read(), np.nan), dtype=np.float64) / self.gain
        data[~np.isfinite(data)] = np.nan
        left_out = masked_pixels(self.experiment.detector)
        data[left_out | ~rendered(self.experiment.detector, self.experiment.sampling)] = np.nan
        return data


class Model(NamedTuple):
    """What is calculated of an image: its experiment, rendered in the pixels of its boxes alone, by its own parameters."""

    experiment: Experiment
    parameters: tuple[Name, ...]
    boxes: Shoeboxes
    machine: Machine = CPU

    def photons(self, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The photons of the crystal in the pixels of the boxes (pixels,), and their derivative (pixels, numbers).

        Raises InputError where the numbers give no image.
        """
        if not len(self.boxes.rows):
            return np.zeros(0), np.zeros((0, len(numbers)))
        experiment = unpack(self.experiment, self.parameters, numbers)
        return jacobian_of_pixels(experiment, self.parameters, self.boxes.rows, self.boxes.columns, self.machine)


def model_of(experiment: Experiment, parameters: tuple[Name, ...], boxes: Shoeboxes, machine: Machine = CPU) -> Model:
    """The model of an image in its boxes, with automatic choices made (A14), without a background that is stated.

    Every box has a background of its own, beside the photons of the crystal alone.
    """
    experiment = dataclasses.replace(experiment, background=Background())
    sheet = sheet_of(experiment.detector)
    stated: dict[str, Any] = {"sampling.mask": sheet.image(boxes.mask(sheet.shape)), "sampling.roi": None}
    if len(sheet.shapes) == 1 and len(boxes.rows):
        stated["sampling.roi"] = tuple(
            int(edge) for edge in (boxes.columns.min(), boxes.columns.max(), boxes.rows.min(), boxes.rows.max())
        )
    return Model(freeze_choices(experiment.replace(stated), parameters), tuple(parameters), boxes, machine)
