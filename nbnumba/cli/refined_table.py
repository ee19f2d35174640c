"""The table of a refinement: every number with its unit, start, refined value, uncertainty, and shift in uncertainties."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

HEADINGS = ("parameter", "unit", "start", "refined", "uncertainty", "shift")
MOST = 50
"""So many numbers of one parameter are shown: of more the first ones, and how many there are."""

SMALLEST, LARGEST = 1e-4, 1e7
"""Between these sizes numbers are written without an exponent."""


def table(result: Any) -> list[str]:
    """The lines of the table of a result of adjoint.refine."""
    rows = list(_rows(result))
    widths = [max(len(row[i]) for row in (HEADINGS, *rows) if len(row) > 1) for i in range(len(HEADINGS))]
    return [_line(row, widths) if len(row) > 1 else row[0] for row in (HEADINGS, *rows)]


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    left = [f"{cell:{width}}" for cell, width in zip(row[:2], widths)]
    return "  ".join(left + [f"{cell:>{width}}" for cell, width in zip(row[2:], widths[2:])]).rstrip()


def _rows(result: Any) -> Iterator[tuple[str, ...]]:
    """A row for every number; a row of one cell says how many are not shown."""
    start, sigma = in_order(result.start), in_order(result.uncertainties)
    count: dict[str, int] = {}
    for place, (name, unit) in enumerate(zip(result.names, result.units)):
        key = name.partition("[")[0].partition(" ")[0]
        count[key] = count.get(key, 0) + 1
        if count[key] <= MOST:
            yield name, unit, *cells(start[place], result.x[place], sigma[place])
    for key, number in count.items():
        if number > MOST:
            yield (f"{key}: {number - MOST} more, which --out writes",)


def in_order(named: dict[str, np.ndarray]) -> np.ndarray:
    """The numbers of a dict of a result in the order of its names (n,)."""
    return np.concatenate([np.ravel(value) for value in named.values()])


def cells(start: float, value: float, sigma: float) -> tuple[str, str, str, str]:
    """Start, value, uncertainty and shift: the uncertainty with two digits that count, the others to its decimal."""
    if math.isnan(sigma):
        return _stated(start), _stated(value), "at a bound", ""
    if not (0.0 < sigma < math.inf and math.isfinite(start) and math.isfinite(value)):
        return _stated(start), _stated(value), "not determined", ""
    shift = (value - start) / sigma
    return *_to_the_same_digit(sigma, start, value), _digits(shift, 1) if abs(shift) < 1e4 else f"{shift:.2g}"


def _stated(number: float) -> str:
    return f"{number:.7g}" if math.isfinite(number) else "not determined"


def _to_the_same_digit(sigma: float, start: float, value: float) -> tuple[str, str, str]:
    """Three numbers, start, value and sigma, to the second digit of sigma that counts."""
    last = _exponent(sigma, 1) - 1
    largest = max(abs(start), abs(value), sigma)
    if SMALLEST <= largest < LARGEST:
        return tuple(_digits(number, -last) for number in (start, value, sigma))
    exponent = max(_exponent(largest, 0), last)
    return tuple(f"{_digits(number / 10.0**exponent, exponent - last)}e{exponent:+03d}" for number in (start, value, sigma))


def _digits(number: float, digits: int) -> str:
    """A number to so many digits after the point, fewer than none included; 0 without a sign."""
    return f"{round(number, digits) + 0.0:.{max(digits, 0)}f}"


def _exponent(number: float, digits: int) -> int:
    """The power of ten of the first digit of a positive number that is rounded to so many digits after it."""
    return int(f"{number:.{digits}e}".partition("e")[2])
