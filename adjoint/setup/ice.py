"""The mirror of nbnumba's powder of ice: how its rings change with the size of the crystallites (A12b)."""

import functools

import numpy as np

from nbnumba.setup.ice import distances, freeze, of_overlap


@functools.lru_cache(maxsize=4)
def slope_of_molecule(size_A: float, number: int, last: float) -> np.ndarray:
    """Return the derivative (number,) of what a molecule scatters by the diameter D of the crystallites, electrons^2 per A.

        F12c: the overlap is (1 - x)^2 (1 + x / 2),    x = t / D
        A12b: its derivative is 3 x (1 - x^2) / (2 D)

    size_A, number, last: those of nbnumba.setup.ice:of_molecule.
    """
    x = distances(size_A, number, last) / size_A
    return freeze(of_overlap(1.5 * x * (1.0 - x * x) / size_A, number, last))
