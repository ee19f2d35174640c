"""Anomalous scattering factors as text: element, photon energy, f', f'' on a line, such as CHOOCH writes near an edge."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from nbnumba.errors import InputError
from nbnumba.formats import files
from nbnumba.formats.text import excerpt, location, number, uncommented_lines


def read(path: files.PathName, what: str) -> Mapping[str, np.ndarray]:
    """Return rows (n, 3) by element: photon energy in eV, ascending, f' and f'' in electrons.

    Raises InputError, naming the line, for other than an element and three numbers, an energy that is not above 0 or is listed
    twice, and f'' below 0; and for an empty file.
    """
    import gemmi

    rows: dict[str, list[tuple[float, float, float]]] = {}
    for count, line, content in uncommented_lines(files.read_text(path, what)):
        words = content.replace(",", " ").split()
        values = [number(word) for word in words[1:]]
        element = gemmi.Element(words[0].capitalize())
        where = location(path, count, line, what)
        if element.atomic_number == 0:
            raise InputError(f"{where}: {excerpt(words[0])} is not an element; allowed: a symbol such as Se")
        if len(values) != 3 or None in values:
            raise InputError(f"{where}: allowed: an element, the photon energy (eV), f' and f'' (electrons)")
        energy, f_prime, f_double = (float(value) for value in values if value is not None)
        if not energy > 0.0 or not f_double >= 0.0 or not np.isfinite([energy, f_prime, f_double]).all():
            raise InputError(f"{where}: allowed: an energy above 0, and f'' that is not below 0")
        rows.setdefault(element.name, []).append((energy, f_prime, f_double))
    if not rows:
        raise InputError(f"{what}: {files.name_of(path, what)!r} is empty; allowed: lines of element, energy (eV), f' and f''")
    tables = {element: np.array(sorted(table)) for element, table in rows.items()}
    for element, table in tables.items():
        if (np.diff(table[:, 0]) == 0.0).any():
            raise InputError(f"{what}: {files.name_of(path, what)!r} lists an energy of {element} twice; allowed: once")
    return tables
