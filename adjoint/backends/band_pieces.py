"""Parts of an image that are differentiated by one call: some bands, and the rows and columns of each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from nbnumba.backends.pieces import Piece, Span


class Part(NamedTuple):
    """The rows of some bands, from the first to before the last (bands,), and the columns of all."""

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
