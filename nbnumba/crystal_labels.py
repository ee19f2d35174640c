"""The photons of each crystal of an experiment, and those of its background, as images that add up to the whole (F7d)."""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import numpy as np

from nbnumba.experiment import Experiment
from nbnumba.setup.background import is_bare, without_background
from nbnumba.setup.sheet import sheet_of
from nbnumba.simulate import simulate, with_options


class CrystalImages(NamedTuple):
    """The image of each crystal alone, without background, in the order of the crystals, and that of the background.

    Each is an image as `simulate` returns it. All of them add up to the image of the experiment.
    """

    crystals: list[np.ndarray]
    background: np.ndarray


def crystal_images(experiment: Experiment, **keywords: Any) -> CrystalImages:
    """The photons of each crystal of an experiment, and those of its background (F7d).

    keywords are those of `simulate`. With them a pixel is labelled by the crystal that it belongs to, or by the share of each.
    Raises InputError like `simulate`.
    """
    experiment, sheet = with_options(experiment), sheet_of(experiment.detector)
    first, count = experiment.alone(0), len(experiment.crystals)
    dry = [simulate(without_background(experiment.alone(number)), **keywords) for number in range(count)]
    wet = dry[0] if is_bare(first) else simulate(first, **keywords)
    as_sheets = (sheet.sheet("image", image, 0.0) for image in (wet, dry[0]))
    return CrystalImages(dry, cast(np.ndarray, sheet.image(next(as_sheets) - next(as_sheets))))
