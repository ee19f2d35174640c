"""What tells one series from another: digests of everything that its bytes depend on, whoever makes it (specs/shots.md, V5)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nbnumba.digests import digest
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
