"""Structure factors against scattering angle as text, nanoBragg's -stol, -4stol and -Q files: two columns."""

from __future__ import annotations

import numpy as np

from nbnumba.errors import InputError
from nbnumba.formats import files
from nbnumba.formats.text import read_table

COLUMNS = ("x", "F")
EXPECTED = "on each line a scattering angle, in the form that the flag says, and a structure factor in electrons"
LARGEST, SMALLEST_STEP = 1e10, 1e-9
"""The largest allowed number, and the smallest step of x, as a fraction of the largest x, in which interpolation works."""


def read(path: files.PathName, what: str = "-stol") -> np.ndarray:
    """Return float64 (n, 2) in the order of the file: x (sin(theta)/lambda, or the form that the flag states) and F.

    F is NaN if a line omits it. For separators, comments and errors see text.read_table(). Also raises InputError for a line
    without x, for numbers beyond 1e10, and for steps of x below a billionth of the largest x. The caller deals with two
    lines of the same x.
    """
    table, locations = read_table(path, what, COLUMNS, EXPECTED, least=1)
    missing = np.flatnonzero(np.isnan(table[:, 0]))
    if len(missing):
        raise InputError(f"{locations[missing[0]]}: x must be a finite number, not nan")
    for column, values in zip(COLUMNS, table.T):
        beyond = np.flatnonzero(np.abs(values) > LARGEST)
        if len(beyond):
            raise InputError(f"{locations[beyond[0]]}: {column} must be at most {LARGEST:g}, but is {values[beyond[0]]:g}")
    order = np.argsort(table[:, 0], kind="stable")
    steps = np.diff(table[order, 0])
    vanishing = np.flatnonzero((steps > 0.0) & (steps < SMALLEST_STEP * np.abs(table[:, 0]).max()))
    if len(vanishing):
        line_name, step = locations[order[vanishing[0] + 1]], steps[vanishing[0]]
        raise InputError(f"{line_name}: x differs by {step:g} from another; allowed: a billionth of the largest x, or more")
    return table
