"""Boxes of structure factors that are made once, for all crystals of an image, and for all images of a series (F9)."""

import numpy as np

from nbnumba.setup import culling, structure
from nbnumba.stages.records import Structure
from nbnumba.statements import StructureFactors


class Boxes:
    """The boxes of structure factors that scenes share, and the largest amplitude of each.

    There is one box of each StructureFactors object, which it keeps alive; where amplitudes depend on the photon energy, it is
    that of the last wavelengths (F9f).
    """

    def __init__(self) -> None:
        self._made: dict[int, tuple[StructureFactors, bytes, Structure, float]] = {}

    def box(self, factors: StructureFactors, smallest: float, wavelengths: np.ndarray) -> Structure:
        """Return structure.box(factors, smallest, wavelengths), whose amplitudes were made before if they can be."""
        depends_on = b"" if factors.energies_eV is None else np.asarray(wavelengths).tobytes()
        made = self._made.get(id(factors))
        if made is None or made[1] != depends_on:
            box = structure.box(factors, smallest, wavelengths)
            made = factors, depends_on, box, culling.largest_amplitude(box.amplitude, False)
            self._made[id(factors)] = made
        box = made[2]
        interpolate = factors.hkl is not None and structure.interpolates(factors, smallest)
        return box if box.interpolate == interpolate else box._replace(interpolate=interpolate)

    def largest(self, factors: StructureFactors) -> float:
        """Return the largest amplitude of a box that was made, in electrons; it is not finite if one of them is not."""
        return self._made[id(factors)][3]
