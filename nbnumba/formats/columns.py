"""Columns of numbers as text with commas (CSV)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from nbnumba.formats import files


def write_csv(path: files.PathName, columns: Mapping[str, np.ndarray], what: str) -> None:
    """Write columns (n,) by their names: a line of names, then a line for each row. NaN is an empty field."""
    texts = [[_text(value) for value in column.tolist()] for column in columns.values()]
    lines = [",".join(columns), *(",".join(row) for row in zip(*texts))]
    with files.replacing(path, what) as stream:
        stream.write(("\n".join(lines) + "\n").encode("ascii"))


def _text(value: float) -> str:
    """A number with ten digits, an int in full."""
    if isinstance(value, int):
        return str(value)
    return "" if value != value else f"{value:.10g}"
