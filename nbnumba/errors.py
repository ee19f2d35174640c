"""The one exception that means "what was asked for cannot be done": a sentence for the user, never a traceback."""

from typing import Any

import numpy as np

LONGEST_SHOWN = 60


class InputError(ValueError):
    """Bad input. The message is one sentence that names the flag, field or file, the value, and what is allowed."""


def shown(value: object) -> str:
    """A value for such a sentence: as Python writes it, if it can, on one line and cut to a length that suits it."""
    try:
        text = " ".join(repr(value).split())
    except Exception:  # an int of thousands of digits, or an object whose repr is wrong
        text = f"an object of type {type(value).__name__} that cannot be written"
    return text if len(text) <= LONGEST_SHOWN else text[:LONGEST_SHOWN] + "..."


def real(values: Any) -> Any:
    """The values as they are. Raises TypeError for complex numbers, of which NumPy would drop the imaginary parts."""
    if not isinstance(values, (float, int)) and np.iscomplexobj(values):
        raise TypeError("complex numbers")
    return values
