"""A radial background as text: photons per pixel by the scattering angle, in one of the forms that its heading names."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable

import numpy as np

from nbnumba.errors import InputError
from nbnumba.formats import files
from nbnumba.formats.text import read_table

FORMS: dict[str, Callable[[np.ndarray, float], np.ndarray]] = {
    "stol": lambda x, wavelength_A: x,
    "4stol": lambda x, wavelength_A: x / 4.0,
    "q": lambda x, wavelength_A: x / (4.0 * math.pi),
    "d_A": lambda x, wavelength_A: 0.5 / x,
    "two_theta_deg": lambda x, wavelength_A: np.sin(np.radians(x) / 2.0) / wavelength_A,
}
"""The names of the first column, and how sin(theta) / lambda in 1/A follows from it."""

PHOTONS = "photons"
_HEADING = re.compile(rf"\s*#?\s*({'|'.join(FORMS)})[\s,;]+{PHOTONS}\s*", re.IGNORECASE)
EXPECTED = f"a first line of two words, one of {', '.join(FORMS)} and then {PHOTONS}, and two numbers on each line after it"


def is_text(path: files.PathName, what: str) -> bool:
    """Return whether a file is text whose first line that is not blank is a number, a word or a comment, as no image's is."""
    beginning = files.read_bytes(path, what)[:4096]
    if b"\0" in beginning or beginning.lstrip().startswith((b"{", b"P2", b"P5", b"###CBF")):
        return False
    try:
        text = beginning.decode("ascii")
    except UnicodeDecodeError:
        return False
    return bool(re.match(r"\s*[#\w.+-]", text))


def read(path: files.PathName, wavelength_A: float, what: str = "-background") -> np.ndarray:
    """Return float64 (n, 2): sin(theta) / lambda in 1/A, ascending, and photons per pixel, of a radial background.

    The first line names the first column (FORMS) and the photons. wavelength_A: for an angle. Raises InputError for another
    heading, for photons below 0, and for what text.read_table() refuses.
    """
    lines = files.read_text(path, what, EXPECTED).split("\n")
    heading = next((line for line in lines if line.strip()), "")
    found = _HEADING.fullmatch(heading)
    if found is None:
        raise InputError(f"{what}: {os.fspath(path)!r} begins with {heading.strip()[:60]!r}; allowed: {EXPECTED}")
    form = next(name for name in FORMS if name.lower() == found[1].lower())
    rest = "\n".join(line if line is not heading else "" for line in lines)
    table, locations = read_table(path, what, (form, PHOTONS), EXPECTED, least=2, text=rest)
    for row, line in zip(table, locations):
        if not (row[0] >= 0.0 and row[1] >= 0.0 and (row[0] > 0.0 or form != "d_A")):
            raise InputError(f"{line}: {form} and photons must be numbers, and not below 0")
    stol = FORMS[form](table[:, 0], wavelength_A)
    order = np.argsort(stol, kind="stable")
    return np.column_stack([stol, table[:, 1]])[order]
