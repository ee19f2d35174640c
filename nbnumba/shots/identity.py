"""What tells one series from another: digests of everything that its bytes depend on, whoever makes it (specs/shots.md, V5)."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from nbnumba.errors import InputError
from nbnumba.shots.frame_files import Job
from nbnumba.version import VERSION


def parts(job: Job, frames: tuple[int, int]) -> dict[str, Any]:
    """What a series is made from, by name: numbers as they are, everything else by its digest."""
    return {
        "nbnumba": VERSION,
        "seed": job.series.seed,
        "frames": list(frames),
        "format": job.form,
        "compression": job.compression,
        "labels": job.labels,
        "backend": job.machine.backend,
        "precision": job.machine.precision,
        "jitter": digest(job.series.jitter.content or {}),
        "experiment": digest(job.series.experiment),
        "readout": digest(job.readout),
    }


def check_same(stated: Mapping[str, Any], own: Mapping[str, Any], folder: str) -> None:
    """Raise InputError where a folder holds another series than this one, with what differs."""
    for name, value in own.items():
        if stated.get(name) != value:
            is_digest = name in ("jitter", "experiment", "readout")
            what = f"another {name}" if is_digest else f"{name} {stated.get(name)!r}, and this one {value!r}"
            raise InputError(f"--resume: the series in {folder!r} has {what}; allowed: what that series was begun with")


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
