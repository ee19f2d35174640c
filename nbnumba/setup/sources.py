"""The sources of the incident beam: direction, wavelength and weight of each (specs/forward.md, F5a)."""

import numpy as np

from nbnumba.experiment import Beam
from nbnumba.stages.records import Sources


def spread(beam: Beam, direction: np.ndarray) -> Sources:
    """One source along the beam, of its wavelength."""
    return Sources(
        np.ascontiguousarray(direction, dtype=np.float64).reshape(1, 3),
        np.array([beam.wavelength_A], dtype=np.float64),
        np.ones(1),
    )
