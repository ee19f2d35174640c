"""Pieces of an image that take tenths of a second at most, and how progress is told of them (specs/forward.md, F0)."""

from collections.abc import Callable, Iterator, Sequence

from nbnumba.errors import InputError, shown
from nbnumba.loops.blocks import BLOCK_FAST, BLOCK_SLOW

Span = tuple[int, int]
Piece = tuple[Span, Span]
"""Rows and columns, each from the first to before the last."""
PER_PIXEL = 8
"""What a pixel costs beside its steps, in steps."""


def spans(
    rows: Span, columns: Span, steps: int, most: int, fewest_rows: int = BLOCK_SLOW, edge: int = BLOCK_FAST
) -> Iterator[Piece]:
    """Cut a rectangle into pieces of at most `most` steps, but of at least `fewest_rows` rows and `edge` columns.

    The pieces come in the order of the pixels. steps: those of a pixel, its samples times sources times lattices. It is cut
    between blocks: rows at multiples of BLOCK_SLOW, and, only if `fewest_rows` whole rows exceed `most`, columns at multiples
    of `edge`; 0 means never.
    """
    per_pixel, across = steps + PER_PIXEL, max(1, columns[1] - columns[0])
    together = max(fewest_rows, most // (per_pixel * across) // BLOCK_SLOW * BLOCK_SLOW)
    if per_pixel * across * fewest_rows > most and edge:
        across = max(1, most // (per_pixel * edge * fewest_rows)) * edge
    for row in range(rows[0], rows[1], together):
        for first in range(columns[0], columns[1], across):
            yield (row, min(row + together, rows[1])), (first, min(first + across, columns[1]))


def steps_per_piece(steps: int, threads: int, fewest: int, most: int) -> int:
    """Steps of a piece of work of so many: every thread gets several, of at least `fewest` and at most `most` steps."""
    return min(most, max(fewest, steps // (4 * max(1, threads))))


def pixels_of(piece: Piece) -> int:
    """How many pixels a piece has."""
    (first, last), (left, right) = piece
    return (last - first) * (right - left)


def progress_reporter(
    progress: Callable[[int, int], None] | None, sizes: Sequence[tuple[int, int]]
) -> Callable[[int, int], None]:
    """The function that is told how many pixels of a panel are done, and tells progress(done, total) of rows.

    sizes: the numbers of rows and columns of each panel. The function takes the number of the panel, and of the pixels.
    """
    if progress is not None and not callable(progress):
        raise InputError(f"progress: {shown(progress)} cannot be called; allowed: a function of rows done and of all rows")
    done, told, rows = [0] * len(sizes), [0], sum(size[0] for size in sizes)

    def tell(panel: int, pixels: int) -> None:
        before, across = done[panel], sizes[panel][1]
        done[panel] += pixels
        more = done[panel] // across - before // across
        if progress is not None and more:
            told[0] += more
            progress(told[0], rows)

    return tell
