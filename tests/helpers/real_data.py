"""Real files beside the project, which are not part of it: where they are, and the frame of their vectors."""

from pathlib import Path

import numpy as np
import pytest

REAL = Path(__file__).parents[3] / "shared" / "data" / "real"
CSPAD = REAL / "geometry"


def needs(path):
    """A mark that skips a test, with the reason, where a real file is absent."""
    return pytest.mark.skipif(not path.exists(), reason=f"{path} is absent")


def to_lab(vectors):
    """Vectors (..., 3) of imgCIF's frame in nanoBragg's."""
    x, y, z = np.moveaxis(np.asarray(vectors, dtype=float), -1, 0)
    return np.stack([-z, y, x], axis=-1)
