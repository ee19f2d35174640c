"""Memory of a card as a test finds it."""

import numpy as np
import pytest

from nbnumba.backends import card


@pytest.fixture(autouse=True)
def dirty_memory(monkeypatch):
    """New memory of a card holds anything: what a kernel does not write is not a number."""
    clean = card.room

    def dirty(name, shape, kind):
        there = clean(name, shape, kind)
        there.copy_to_device(np.full(shape, np.nan if np.dtype(kind).kind == "f" else 77, kind))
        return there

    monkeypatch.setattr(card, "room", dirty)
