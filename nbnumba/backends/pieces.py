"""Pieces of an image that take tenths of a second at most, and how progress is told of them (specs/forward.md, F0)."""

from collections.abc import Callable, Iterator

from nbnumba.errors import InputError, shown
from nbnumba.loops.rows import TILE

Span = tuple[int, int]
Piece = tuple[Span, Span]
"""Rows and columns, each from the first to before the last."""
PER_PIXEL = 8
"""What a pixel costs beside its steps, in steps."""


def spans(
    rows: Span, columns: Span, steps: int, most: int, whole_rows: bool = False, fewest_rows: int = 1
) -> Iterator[Piece]:
    """Cut a rectangle into pieces of at most `most` steps, but of at least `fewest_rows` rows and one tile.

    The pieces come in the order of the pixels. steps: those of a pixel, its samples times sources times lattices. Rows are
    cut, at multiples of a tile, only if `fewest_rows` whole rows exceed `most` and `whole_rows` is False.
    """
    per_pixel, across = steps + PER_PIXEL, max(1, columns[1] - columns[0])
    together = max(fewest_rows, most // (per_pixel * across))
    if per_pixel * across * fewest_rows > most and not whole_rows:
        across = max(1, most // (per_pixel * TILE * fewest_rows)) * TILE
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


def progress_reporter(progress: Callable[[int, int], None] | None, rows: int, across: int) -> Callable[[int], None]:
    """The function that is told how many pixels are done, and tells progress(done, total) of rows whenever one more is."""
    if progress is not None and not callable(progress):
        raise InputError(f"progress: {shown(progress)} cannot be called; allowed: a function of rows done and of all rows")
    done = [0, 0]

    def tell(pixels: int) -> None:
        done[0] += pixels
        if progress is not None and done[0] // across > done[1]:
            done[1] = done[0] // across
            progress(done[1], rows)

    return tell
