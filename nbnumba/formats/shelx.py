"""SHELX's lists of intensities (HKLF 4): columns 3I4, 2F8.2, I4 of h, k, l, F squared, its uncertainty and a batch."""

from __future__ import annotations

import numpy as np

from nbnumba.errors import InputError
from nbnumba.formats import recognise
from nbnumba.formats.reflection_data import ReflectionData
from nbnumba.formats.text import excerpt, number


def is_list(text: str) -> bool:
    """Return whether a text has SHELX's columns."""
    return recognise.is_shelx(text.split("\n", recognise.MOST_LINES))


def parsed(text: str, name: str) -> ReflectionData:
    """Return the intensities of a text, up to the reflection 0 0 0; the list states no cell and no space group.

    Raises InputError, naming the line, for one that has other columns, and for a list without reflections.
    """
    rows = []
    for count, line in enumerate(text.split("\n"), 1):
        if not line.strip() or line.lstrip()[0] in "#!":
            continue
        values = [number(part.strip()) for part in (line[0:4], line[4:8], line[8:12], line[12:20], line[20:28])]
        if values[:3] == [0.0, 0.0, 0.0]:
            break
        if any(value is None for value in values) or any(value != round(value) for value in values[:3] if value is not None):
            raise InputError(f"{name} line {count} ({excerpt(line)}) has not SHELX's columns; allowed: 3I4, 2F8.2, I4")
        rows.append(values)
    if not rows:
        raise InputError(f"{name} has no reflections; allowed: SHELX's columns 3I4, 2F8.2, I4")
    table = np.array(rows, dtype=np.float64)
    notes = ("SHELX's columns of F squared are read as intensities (HKLF 4)",)
    return ReflectionData(table[:, :3].astype(np.int64), table[:, 3], table[:, 4], True, False, None, None, notes)
