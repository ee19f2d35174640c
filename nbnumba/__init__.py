"""nbnumba: X-ray diffraction of small crystals, on an absolute scale."""

from nbnumba import interrupts

interrupts.starting()  # before what takes long to import

from nbnumba.errors import InputError  # noqa: E402
from nbnumba.experiment import (  # noqa: E402
    Background,
    Beam,
    Crystal,
    Detector,
    Experiment,
    Goniometer,
    Sampling,
    StructureFactors,
)
from nbnumba.simulate import simulate  # noqa: E402

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
