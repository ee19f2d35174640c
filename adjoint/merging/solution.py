"""The solution of the equations of all shots, from which the numbers of each shot are eliminated (M4)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from adjoint.merging.shots import Block, block_path

TOLERANCE = 1e-4
"""The residual, as a part of the right side, at which the conjugate gradients end."""

MOST_ITERATIONS = 200

LEAST_KNOWN = 1e-6
"""The information about an intensity, in units of the mean one at its resolution, below which there is none: its standard
deviation would be 1000 of these. Information about the factor of a weak one is less by the square of its intensity."""

KEPT_BYTES = 2**26
"""Blocks are kept in memory up to so many bytes; the others are read whenever they are wanted."""


class Blocks(NamedTuple):
    """The blocks of some shots in a folder, read one by one: memory does not grow with their number.

    pass_number: after which pass. shots: their numbers. count: of unique reflections. damping: by which fraction the diagonal
    of a shot's own matrix is raised.
    """

    folder: Path
    pass_number: int
    shots: Sequence[int]
    count: int
    damping: float = 0.0

    def each(self) -> Iterable[Block]:
        """Every block."""
        for shot in self.shots:
            yield Block.load(block_path(self.folder, self.pass_number, shot))


class Followed(NamedTuple):
    """By how much the numbers of a shot follow factors: number (boxes,), across (boxes, p), and its inverse matrix (p, p)."""

    number: np.ndarray
    across: np.ndarray
    inverse: np.ndarray


class Elimination:
    """What eliminating the numbers of shots takes from the matrix of the factors, for one product after another."""

    def __init__(self, blocks: Blocks):
        self.blocks, self.kept, self.bytes = blocks, [], 0

    def add(self, block: Block, inverse: np.ndarray) -> None:
        """Keep the part of the next shot, if there is room for it and for those before."""
        self.bytes += block.across.nbytes + block.number.nbytes + inverse.nbytes
        if self.bytes <= KEPT_BYTES:
            self.kept.append(Followed(block.number, block.across, inverse))

    def each(self) -> Iterable[Followed]:
        """Every shot's part: those that are kept, then the others."""
        yield from self.kept
        for block in self.blocks._replace(shots=self.blocks.shots[len(self.kept) :]).each():
            yield Followed(block.number, block.across, block.inverse(self.blocks.damping))

    def product(self, vector: np.ndarray) -> np.ndarray:
        """It times a vector (u,)."""
        result = np.zeros(len(vector))
        for number, across, inverse in self.each():
            np.add.at(result, number, across @ (inverse @ (across.T @ vector[number])))
        return result


class Equations(NamedTuple):
    """The equations of the factors of all unique reflections, after the numbers of shots have followed (M4).

    right (u,); own (u,): the information at known numbers of shots; known (u,): whether there is some. diagonal (u,): of the
    matrix; eliminated: what is taken from own in it. observed (u,): how many shots tell of each; photons (u,): of the crystals,
    in all boxes of each. loss, pixels: of all shots; numbers, boxes: how many all shots have. promised: twice what the loss
    falls by where the numbers of shots move and no factor does, were it a parabola.
    """

    right: np.ndarray
    own: np.ndarray
    known: np.ndarray
    diagonal: np.ndarray
    eliminated: Elimination
    observed: np.ndarray
    photons: np.ndarray
    loss: float
    pixels: int
    numbers: int
    boxes: int
    promised: float


def equations(blocks: Blocks, part: np.ndarray) -> Equations:
    """The sums over shots (M4). part (u,): the intensity that each factor multiplies, over the mean one at its resolution."""
    right, own, diagonal, observed, photons = (np.zeros(blocks.count) for _ in range(5))
    loss, promised, pixels, numbers, boxes = 0.0, 0.0, 0, 0, 0
    eliminated = Elimination(blocks)
    for block in blocks.each():
        inverse = block.inverse(blocks.damping)
        followed = block.across @ inverse
        np.add.at(right, block.number, block.own_gradient - followed @ block.gradient)
        np.add.at(own, block.number, block.own_normal)
        np.add.at(diagonal, block.number, block.own_normal - np.einsum("bp,bp->b", followed, block.across))
        np.add.at(observed, block.number[block.own_normal > 0.0], 1.0)
        np.add.at(photons, block.number, block.photons)
        loss, pixels, promised = loss + block.loss, pixels + block.pixels, promised + block.gradient @ inverse @ block.gradient
        numbers, boxes = numbers + len(block.x), boxes + len(block.number)
        eliminated.add(block, inverse)
    sums = right, own, own > LEAST_KNOWN * part**2, diagonal, eliminated, observed, photons
    return Equations(*sums, loss, pixels, numbers, boxes, float(promised))


def product(eliminated: Elimination, own: np.ndarray, common: np.ndarray, vector: np.ndarray) -> np.ndarray:
    """The matrix of the factors times a vector (u,).

    common (c, u): by how much a change of the scales, or of the B factors, of all shots changes each factor as well. The
    equations tell nothing of it, so that the mean change along it, weighted by own (u,), is held at 0.
    """
    weighted = common * own
    result = own * vector - eliminated.product(vector)
    return result + np.linalg.lstsq(weighted @ common.T, weighted @ vector, rcond=1e-12)[0] @ weighted


def solved(sums: Equations, common: np.ndarray, free: np.ndarray, raised: float = 0.0) -> np.ndarray:
    """By how much the factors (u,) change in a step, by conjugate gradients (M4).

    common: see product. free (u,): which factors may change. raised: the fraction by which own is raised.
    """
    known = free & sums.known
    own, common = np.where(known, sums.own * (1.0 + raised), 0.0), np.where(known, common, 0.0)
    scale = np.where(known, 1.0 / np.maximum(np.where(known, sums.diagonal, 1.0), np.where(known, 1e-3 * own, 1.0)), 0.0)
    x, residual = np.zeros(len(own)), np.where(known, sums.right, 0.0)
    direction = scale * residual
    size = first = float(residual @ direction)
    for _ in range(MOST_ITERATIONS):
        if not size > TOLERANCE**2 * first:
            break
        image = np.where(known, product(sums.eliminated, own, common, direction), 0.0)
        curved = float(direction @ image)
        if not curved > 0.0:  # along what no shot tells
            break
        x, residual = x + size / curved * direction, residual - size / curved * image
        following = scale * residual
        size, before = float(residual @ following), size
        direction = following + size / before * direction
    return x


def variances(blocks: Blocks, sums: Equations) -> np.ndarray:
    """The variances (u,) of the factors, relative to their common scale; infinite where nothing is known (M5).

    Of each shot by itself: its numbers are known as well as all of its reflections together tell them, at factors that the
    other shots know, too. One photon more: a count of none may be of a mean of one (S7).
    """
    known = sums.known
    at_known = np.where(known, 1.0 / np.where(known, sums.own, 1.0), 0.0)
    total = at_known + 1.0 / np.maximum(sums.photons, 1e-150) ** 2
    for block in blocks.each():
        weighted = at_known[block.number][:, np.newaxis] * block.across
        own = block._replace(normal=block.normal - block.across.T @ weighted).inverse(0.0)
        np.add.at(total, block.number, np.einsum("bp,pq,bq->b", weighted, own, weighted))
    return np.where(known, total, np.inf)
