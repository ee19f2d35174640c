"""A powder of hexagonal ice: what a molecule scatters by angle, its rings as wide as the crystallites make them (F12c)."""

import functools
import math

import numpy as np

from nbnumba.constants import ICE_CELL_A3, ICE_PER_CELL
from nbnumba.setup.tables import lagrange
from nbnumba.shipped_tables import shipped_table

FINE, FEWEST = 32, 2**18
"""The least number of entries of a table with ice in which |q| grows by 1 / size, and of all its entries (F12c)."""


def entries(size_A: float, last: float) -> int:
    """Return the number of entries of a table from 0 to `last`, in sin(theta)/lambda, that resolves the rings of ice (F12c).

    It is a power of two.
    """
    return max(FEWEST, 2 ** math.ceil(math.log2(FINE * size_A * 2.0 * last)))


def molecules(ice_um: float) -> float:
    """Return the number of molecules in a cube of ice of that edge (F12c)."""
    return ice_um**3 * (1e12 * ICE_PER_CELL / ICE_CELL_A3)


def of_molecule(size_A: float, number: int, last: float) -> np.ndarray:
    """Return electrons^2 (number,) of a molecule of ice, at even steps of sin(theta)/lambda from 0 to `last`, in 1/A (F12c).

    size_A: the diameter of the crystallites.
    """
    return diffuse(number, last) + rings(size_A, number, last)


@functools.lru_cache(maxsize=4)
def diffuse(number: int, last: float) -> np.ndarray:
    """Return the electrons^2 (number,) that a molecule scatters between rings: disorder, motion, Compton's effect (F12c)."""
    return freeze(lagrange(*shipped_table("ice.stol"), np.linspace(0.0, last, number)) ** 2)


@functools.lru_cache(maxsize=4)
def rings(size_A: float, number: int, last: float) -> np.ndarray:
    """Return the electrons^2 (number,) of the rings, per molecule (F12c)."""
    x = distances(size_A, number, last) / size_A
    return freeze(of_overlap((1.0 - x) ** 2 * (1.0 + 0.5 * x), number, last))


def distances(size_A: float, number: int, last: float) -> np.ndarray:
    """Return the distances (n,) below the size, in A, where the transform of a table of so many entries has points (F12c)."""
    apart = _distance(number, last)
    return apart * np.arange(math.ceil(size_A / apart))


def of_overlap(overlap: np.ndarray, number: int, last: float) -> np.ndarray:
    """Return the electrons^2 (number,) of the rings of crystallites, per molecule (F12c).

    overlap (n,): the part of a crystallite that overlaps with itself when moved by each of the first `distances`; beyond, it
    is 0. The sum over rings of P(q - g) - P(q + g) is a transform by sines of the overlap times a sum over rings.
    """
    apart, step = _distance(number, last), 2.0 * last / (number - 1)
    weight = overlap * _over_rings(len(overlap), apart)
    q = step * np.arange(number)
    total = np.empty(number)
    total[1:] = -np.fft.rfft(weight, 2 * number).imag[1:number] / q[1:]
    total[0] = 2.0 * math.pi * apart * (weight @ np.arange(len(weight)))
    return total * (apart / (math.pi * ICE_CELL_A3 * ICE_PER_CELL))


def _distance(number: int, last: float) -> float:
    """Return the distance, in A, between the points of the transform of a table of so many entries."""
    return 0.25 * (number - 1) / (number * last)


@functools.lru_cache(maxsize=4)
def _over_rings(count: int, apart: float) -> np.ndarray:
    """Return the sum over rings of |F|^2 / g sin(2 pi g t), in electrons^2 A, at the first multiples t of a distance, in A."""
    stol, squares = shipped_table("ice_rings.stol")
    total, t = np.zeros(count), 2.0 * math.pi * apart * np.arange(count)
    for g, weight in zip(2.0 * stol, squares / (2.0 * stol)):
        total += weight * np.sin(g * t)
    return freeze(total)


def freeze(values: np.ndarray) -> np.ndarray:
    """Return an array that is kept for later calls, which no caller may change."""
    values.setflags(write=False)
    return values
