"""nbnumba: X-ray diffraction of small crystals, on an absolute scale."""

from nbnumba.errors import InputError
from nbnumba.experiment import (
    Background,
    Beam,
    Crystal,
    Detector,
    Experiment,
    Goniometer,
    Sampling,
    StructureFactors,
)
from nbnumba.simulate import simulate

__all__ = [
    "Background",
    "Beam",
    "Crystal",
    "Detector",
    "Experiment",
    "Goniometer",
    "InputError",
    "Sampling",
    "StructureFactors",
    "simulate",
]
