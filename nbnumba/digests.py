"""Digests of values by what they hold, so that work that is kept is known to be of the same input."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np


def digest(value: Any) -> str:
    """The SHA-256 of a value by what it holds: the same for equal values, in any process."""
    whole = hashlib.sha256()
    _add(value, whole)
    return whole.hexdigest()


def _add(value: Any, whole: Any) -> None:
    """Add a value to a digest, with its type and its size, so that no two values run into each other."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        _add({field.name: getattr(value, field.name) for field in dataclasses.fields(value)}, whole)
    elif isinstance(value, np.ndarray):
        whole.update(f"array {value.dtype.str} {value.shape}".encode())
        whole.update(np.ascontiguousarray(value).tobytes())
    elif isinstance(value, Mapping):
        whole.update(f"table {len(value)}".encode())
        for name in sorted(value, key=str):
            _add(str(name), whole)
            _add(value[name], whole)
    elif isinstance(value, (set, frozenset)):
        _add(sorted(value), whole)
    elif isinstance(value, (list, tuple)):
        whole.update(f"list {len(value)}".encode())
        for item in value:
            _add(item, whole)
    elif isinstance(value, np.generic):
        _add(value.item(), whole)
    else:
        text = json.dumps(value) if value is None or isinstance(value, (bool, int, float, str)) else repr(value)
        whole.update(f"{type(value).__name__} {len(text)} {text}".encode())
