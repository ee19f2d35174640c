"""The unknowns of a series: numbers of all images, of each image, or smooth in phi, and those of one image from them (S2)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from scipy.interpolate import BSpline

from adjoint.parameters import Name
from adjoint.variables import Variable, parameter_row, size, variables
from nbnumba.errors import InputError, shown
from nbnumba.experiment import Experiment

DEGREE = 3
"""The degree of a spline, if it has so many intervals; else the number of its intervals."""

SCALE = "crystal.scale"
"""The scale of an image, which a common factor of all intensities is like."""

SMOOTH = ("crystal.misset_deg", "crystal.misset_x_deg", "crystal.misset_y_deg", "crystal.misset_z_deg", SCALE)
"""Parameters that vary within a rotation of several images unless they are shared or each image's own."""


class Block(NamedTuple):
    """A variable in the vector: its first index, and its coefficients' shares in each image.

    shares (images, coefficients): rows sum to 1. at (coefficients,): where in phi a coefficient belongs, in degrees, or the
    number of its image, or nothing for a shared number, as text.
    """

    first: int
    variable: Variable
    shares: np.ndarray
    at: tuple[str, ...]

    @property
    def count(self) -> int:
        """The number of numbers of the block."""
        return size(self.variable) * len(self.at)


class Unknowns(NamedTuple):
    """All refined numbers of a series, as one vector (n,) (S2). parameters: names, in the order of an image's own numbers."""

    parameters: tuple[Name, ...]
    blocks: tuple[Block, ...]

    @property
    def count(self) -> int:
        """The number of numbers."""
        return self.blocks[-1].first + self.blocks[-1].count

    def matrix(self, image: int) -> np.ndarray:
        """The derivative of the numbers of an image by all numbers: (numbers of an image, n)."""
        rows = []
        for block in self.blocks:
            for part in range(size(block.variable)):
                row = np.zeros(self.count)
                row[block.first + part : block.first + block.count : size(block.variable)] = block.shares[image]
                rows.append(row)
        return np.array(rows)

    def of_image(self, vector: np.ndarray, image: int) -> np.ndarray:
        """The numbers of an image, in the order of its parameters, at a vector of all numbers (n,)."""
        return self.matrix(image) @ vector

    def labels(self) -> list[str]:
        """A name for every number: the parameter, its axis, and where it belongs."""
        names = []
        for block in self.blocks:
            axes = [f"[{axis}]" for axis in range(size(block.variable))] if block.variable.shape else [""]
            names += [f"{block.variable.key}{axis}{where}" for where in block.at for axis in axes]
        return names

    def units(self) -> list[str]:
        """The unit of every number."""
        return [parameter_row(block.variable.key).unit for block in self.blocks for _ in range(block.count)]

    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """The least and the largest value of every number (n,): those of A15. Coefficients of a spline bound the spline."""
        low, high = (
            np.concatenate([np.full(block.count, parameter_row(block.variable.key).bounds[end]) for block in self.blocks])
            for end in (0, 1)
        )
        return low, high

    def indices(self, key: str) -> np.ndarray:
        """The indices of the numbers of a parameter: (coefficients, numbers of a value); empty if it is not refined."""
        for block in self.blocks:
            if block.variable.key == key:
                return block.first + np.arange(block.count).reshape(len(block.at), -1)
        return np.zeros((0, 0), dtype=int)

    def named(self, key: str) -> np.ndarray:
        """Which numbers are those of a parameter (n,)."""
        return np.concatenate([np.full(block.count, block.variable.key == key) for block in self.blocks])

    def moving(self) -> np.ndarray:
        """Which numbers move spots, and not only change them (n,)."""
        return np.concatenate([np.full(block.count, parameter_row(block.variable.key).moves_spots) for block in self.blocks])


def unknowns(
    experiment: Experiment,
    phi_deg: Sequence[float],
    parameters: Iterable[Name],
    knots_deg: float,
    own: Iterable[str] = (),
    shared: Iterable[str] = (),
) -> Unknowns:
    """The unknowns of a series whose images have their middles at phi_deg (images,) (S2).

    A parameter of SMOOTH is a spline in phi with a knot every knots_deg, unless `own` or `shared` names it; the others are
    shared unless `own` names them. Raises InputError for names that are no parameters.
    """
    parameters, own, shared = list(parameters), set(own), set(shared)
    checked, blocks, first = variables(experiment, parameters), [], 0
    keys = {variable.key for variable in checked}
    for what, named in (("own", own), ("shared", shared)):
        if named - keys:
            wrong = sorted(named - keys)[0]
            raise InputError(f"{what}: {shown(wrong)} is not refined; allowed: {', '.join(sorted(keys))}")
    if own & shared:
        both = sorted(own & shared)[0]
        raise InputError(f"own: {both} is among shared, too; allowed: one of them")
    for variable in checked:
        if variable.key in own:
            shares, at = np.eye(len(phi_deg)), tuple(f" (image {number + 1})" for number in range(len(phi_deg)))
        elif variable.key in SMOOTH and variable.key not in shared:
            shares, at = _spline(np.asarray(phi_deg, dtype=np.float64), knots_deg)
        else:
            shares, at = np.ones((len(phi_deg), 1)), ("",)
        blocks.append(Block(first, variable, shares, at))
        first += blocks[-1].count
    return Unknowns(tuple(parameters), tuple(blocks))


def _spline(phi_deg: np.ndarray, knots_deg: float) -> tuple[np.ndarray, tuple[str, ...]]:
    """The shares of the coefficients of a spline at angles (angles, coefficients), and where each coefficient belongs.

    Intervals are as long as each other and about knots_deg. Angles that span less than half of one have one coefficient. Raises
    InputError for more intervals than angles.
    """
    low, high = float(phi_deg.min()), float(phi_deg.max())
    if high - low < knots_deg / 2.0:
        return np.ones((len(phi_deg), 1)), ("",)
    intervals = max(1.0, np.ceil((high - low) / knots_deg - 0.5))
    if intervals > len(phi_deg):
        finding = f"{knots_deg:g} degrees make {intervals:.3g} intervals of {len(phi_deg)} images"
        raise InputError(f"knots_deg: {finding}; allowed: at least {(high - low) / len(phi_deg):.3g}, or the parameter in own")
    intervals = int(intervals)
    degree = min(DEGREE, intervals)
    inner = np.linspace(low, high, intervals + 1)
    knots = np.concatenate([np.full(degree, low), inner, np.full(degree, high)])
    shares = BSpline.design_matrix(np.clip(phi_deg, low, high), knots, degree).toarray()
    middles = [knots[first + 1 : first + degree + 1].mean() for first in range(shares.shape[1])]
    return shares, tuple(f" (phi {middle:.2f})" for middle in middles)
