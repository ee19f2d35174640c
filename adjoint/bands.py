"""The bands of an image: fixed ranges of rows, each with sums of its own in a fixed order, whatever threads compute them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from typing import NamedTuple, TypeVar

import numpy as np

from adjoint.backends.band_pieces import Part
from adjoint.loops.pixels import Results
from nbnumba.loops.blocks import BLOCK_SLOW

Piece = TypeVar("Piece")

IN_STORES = ("by_amplitude", "gradient", "normal")
"""The results that may be large, so that bands share them where memory is short. Every band has its own of the others."""

OF_BANDS = ("value", "channels", "image_terms")
"""The results of which every band has its own."""


class Bands(NamedTuple):
    """The bands of all panels of an image, one panel after another.

    edges: for each panel, the first row of each of its bands, and the end. stores: the number of the sums that may be shared.
    If there are fewer of these than bands, each panel is one band, and neighbours share a store.
    """

    edges: list[np.ndarray]
    stores: int

    @property
    def count(self) -> int:
        """The number of all bands."""
        return sum(len(edges) - 1 for edges in self.edges)

    def of_panel(self, number: int) -> slice:
        """The bands of a panel."""
        first = sum(len(edges) - 1 for edges in self.edges[:number])
        return slice(first, first + len(self.edges[number]) - 1)

    def store(self, band: int) -> int:
        """The store of a band."""
        return band * self.stores // self.count

    def results_of(self, results: Results, number: int, part: Part, rows: slice) -> Results:
        """The results that a part of a panel adds to. rows: those of the panel in the sheet."""
        first = self.of_panel(number).start
        bands = slice(first + part.bands.start, first + part.bands.stop)
        stores = slice(self.store(bands.start), self.store(bands.stop - 1) + 1)
        own = {name: getattr(results, name)[bands] for name in OF_BANDS}
        own |= {name: getattr(results, name)[stores] for name in IN_STORES}
        for name in ("image", "jacobian"):
            array = getattr(results, name)
            own[name] = array[rows] if array.size else array
        return results._replace(**own)

    def joined(self, chains_of: Callable[[int], Iterable[Iterable[Piece]]]) -> Iterator[Iterable[Piece]]:
        """The chains of all panels; those of panels that share a store are one, so that no two threads add to it.

        chains_of: the chains of the panel of that number.
        """
        if self.stores == self.count:
            for number in range(len(self.edges)):
                yield from chains_of(number)
            return
        for store in range(self.stores):
            sharing = (number for number in range(len(self.edges)) if self.store(number) == store)
            yield chain.from_iterable(of_panel for number in sharing for of_panel in chains_of(number))


def bands_of(rows: Sequence[tuple[int, int]], most: int) -> Bands:
    """The bands of panels with these rows, from the first to before the last: at most `most` stores, for any threads."""
    edges = [_edges(of_panel, max(1, most // len(rows))) for of_panel in rows]
    return Bands(edges, min(most, sum(len(of_panel) - 1 for of_panel in edges)))


def _edges(rows: tuple[int, int], most: int) -> np.ndarray:
    """The first row of every band, and the end (bands + 1,): at most `most` bands of whole strips."""
    first, last = rows
    strips = -(-(last - first) // BLOCK_SLOW)
    count = min(strips, most)
    return np.minimum(first + (np.arange(count + 1, dtype=np.int64) * strips) // count * BLOCK_SLOW, last)
