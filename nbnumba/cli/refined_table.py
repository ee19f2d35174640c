"""The table of a refinement: every number with its unit, start, refined value, uncertainty, and shift in uncertainties."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

HEADINGS = ("parameter", "unit", "start", "refined", "uncertainty", "shift")
MOST = 50
"""The largest number of rows of one parameter. A last line says how many numbers are not shown."""

SMALLEST, LARGEST = 1e-4, 1e7
"""Numbers whose sizes lie between these are written without an exponent."""


def table(result: Any) -> list[str]:
    """The lines of the table of a result of adjoint.refine."""
    rows = list(_rows(result))
    widths = [max(len(row[i]) for row in (HEADINGS, *rows) if len(row) > 1) for i in range(len(HEADINGS))]
    return [_line(row, widths) if len(row) > 1 else row[0] for row in (HEADINGS, *rows)]


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    left = [f"{cell:{width}}" for cell, width in zip(row[:2], widths)]
    return "  ".join(left + [f"{cell:>{width}}" for cell, width in zip(row[2:], widths[2:])]).rstrip()


def _rows(result: Any) -> Iterator[tuple[str, ...]]:
    """A row for every number; a row of a single cell says how many numbers of a parameter are not shown."""
    start, sigma = in_order(result.start), in_order(result.uncertainties)
    count: dict[str, int] = {}
    for index, (name, unit) in enumerate(zip(result.names, result.units)):
        parameter = name.partition("[")[0].partition(" ")[0]
        count[parameter] = count.get(parameter, 0) + 1
        if count[parameter] <= MOST:
            yield name, unit, *cells(start[index], result.x[index], sigma[index])
    for parameter, number in count.items():
        if number > MOST:
            yield (f"{parameter}: {number - MOST} more, which --out writes",)


def in_order(by_name: dict[str, np.ndarray]) -> np.ndarray:
    """The numbers of a dict of a result of adjoint.refine, in the order of the result's names (n,)."""
    return np.concatenate([np.ravel(np.asarray(value, dtype=float)) for value in by_name.values()])


def cells(start: float, value: float, sigma: float) -> tuple[str, str, str, str]:
    """Start, value, uncertainty and shift: the uncertainty with two significant digits, start and value to the same decimal."""
    if math.isnan(sigma):
        return _seven_digits(start), _seven_digits(value), "at a bound", ""
    if not (0.0 < sigma < math.inf and math.isfinite(start) and math.isfinite(value)):
        return _seven_digits(start), _seven_digits(value), "not determined", ""
    shift = (value - start) / sigma
    return *_to_the_same_decimal(sigma, start, value), _rounded(shift, 1) if abs(shift) < 1e4 else f"{shift:.2g}"


def _seven_digits(number: float) -> str:
    return f"{number:.7g}" if math.isfinite(number) else "not determined"


def _to_the_same_decimal(sigma: float, start: float, value: float) -> tuple[str, str, str]:
    """Start, value and sigma, rounded to the second significant digit of sigma."""
    last = _exponent(sigma, 1) - 1
    largest = max(abs(start), abs(value), sigma)
    if SMALLEST <= largest < LARGEST:
        return tuple(_rounded(number, -last) for number in (start, value, sigma))
    exponent = max(_exponent(largest, 0), last)
    return tuple(f"{_rounded(number / 10.0**exponent, exponent - last)}e{exponent:+03d}" for number in (start, value, sigma))


def _rounded(number: float, decimals: int) -> str:
    """A number with that many decimals, which may be negative; 0 without a sign."""
    return f"{round(number, decimals) + 0.0:.{max(decimals, 0)}f}"


def _exponent(number: float, decimals: int) -> int:
    """The decimal exponent of a positive number whose mantissa is rounded to that many decimals."""
    return int(f"{number:.{decimals}e}".partition("e")[2])
