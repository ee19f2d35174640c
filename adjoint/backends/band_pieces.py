"""What one call of a driver differentiates: a part of an image, and the inputs that all parts have in common."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from adjoint.loops.pixels import PixelLoss, Projection
from adjoint.loops.tile import Paths
from adjoint.stages.records import Motions
from nbnumba.backends.pieces import Piece, Span
from nbnumba.stages.records import Scene


class Inputs(NamedTuple):
    """What a driver reads besides the part of the image: loss, projection, scene, motions, wanted paths, and the precision.

    scene: in the types of the precision (nbnumba's precision.py:cast). alone: whether the image has one panel, whose bands may
    be computed together; else the panels are.
    """

    pixel_loss: PixelLoss
    projection: Projection
    scene: Scene
    motions: Motions
    paths: Paths
    precision: str
    alone: bool


class Part(NamedTuple):
    """A part of an image, which one call differentiates: some bands, the rows of each, and the columns of all.

    starts, stops (bands,): the first row of each band, and the row after its last.
    """

    bands: slice
    starts: np.ndarray
    stops: np.ndarray
    columns: Span

    @property
    def pixels(self) -> int:
        """How many pixels it has."""
        return int((self.stops - self.starts).sum()) * (self.columns[1] - self.columns[0])


def parts_of(band: int, pieces: Iterable[Piece]) -> Iterator[Part]:
    """Parts of one band, of those rows and columns each."""
    for (first, last), columns in pieces:
        yield Part(slice(band, band + 1), np.array([first], np.int64), np.array([last], np.int64), columns)
