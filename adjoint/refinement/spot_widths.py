"""The width of a spot in units of every parameter: the change of the parameter that moves a typical spot by its width (R7)."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from adjoint.gradient import normal_equations
from adjoint.losses import Gaussian
from adjoint.parameters import Name
from adjoint.refinement.expected_image import photons
from adjoint.refinement.frames import rendered
from nbnumba.backends import CPU, Machine
from nbnumba.experiment import Experiment
from nbnumba.setup.background import without_background
from nbnumba.setup.sheet import sheet_of


def spot_widths(experiment: Experiment, names: Iterable[Name], machine: Machine = CPU) -> np.ndarray:
    """The change of every parameter that moves a typical spot by about its width (n,): |I - mean of I| / |dI/dp| (R7).

    I is the image of the crystal alone (photons). The width has the unit of the parameter. It is infinite where the image is
    flat or does not depend on the parameter. Raises InputError where the image is too bright or has no such derivative.
    """
    dry = without_background(experiment)
    image = photons(dry, machine)
    flat = np.full(image.shape, image[rendered(dry)].mean())
    loss = Gaussian(sheet_of(dry.detector).image(flat))
    value, _, normal = normal_equations(loss, dry, names, **machine._asdict())
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where((value > 0.0) & (np.diag(normal) > 0.0), np.sqrt(2.0 * value / np.diag(normal)), np.inf)
