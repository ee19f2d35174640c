"""Tables of amplitudes by angle that ship with nbnumba: those of water, air and ice (specs/forward.md, F12 to F12c)."""

import functools
from importlib import resources

import numpy as np


@functools.lru_cache(maxsize=8)
def shipped_table(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the two columns (n,) of a file of nbnumba/data: sin(theta)/lambda in 1/A, and what its first lines say."""
    text = resources.files("nbnumba.data").joinpath(name).read_text("ascii")
    table = np.array([line.split() for line in text.splitlines() if not line.startswith("#")], dtype=np.float64)
    table.setflags(write=False)
    return table[:, 0], table[:, 1]


def water_table() -> tuple[tuple[float, float], ...]:
    """Return the structure factor of a molecule of liquid water, in electrons, by sin(theta)/lambda in 1/A, in pairs (F12)."""
    return tuple((float(stol), float(amplitude)) for stol, amplitude in zip(*shipped_table("water.stol")))
