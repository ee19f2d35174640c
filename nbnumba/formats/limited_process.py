"""Files read by other packages, in a process of its own with limits on time and memory, which damaged files exceed.

The lower half is the program of that process. It imports nothing from nbnumba, and so do the programs that it runs.
"""

from __future__ import annotations

import json
import math
import os
import runpy
import signal
import subprocess
import sys
import warnings
from typing import Any

_LAUNCHER = (
    "import json, runpy, sys; request = json.loads(sys.stdin.readline()); sys.path[:] = request['sys.path']; "
    "runpy.run_path(request['limits'], {'REQUEST': request}, '__main__')"
)


class Unanswered(Exception):
    """Why the process has no answer."""


def ask(
    program: str, package: str, request: dict[str, Any], seconds: int, cpu_seconds: int, memory: int
) -> tuple[dict[str, Any], bytes]:
    """What `answer(request)` of a program returns in a process of its own: names with their values, and bytes.

    program: the path of a file that defines the function `answer`. package: what it reads with, for messages. seconds,
    cpu_seconds, memory: the limits, in total, of the processor, and in bytes. Raises Unanswered where they are exceeded, and
    where the process ends otherwise.
    """
    limits = {"sys.path": sys.path, "limits": __file__, "program": program, "seconds": cpu_seconds, "memory": memory}
    line = json.dumps(limits | request).encode() + b"\n"
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "HDF5_USE_FILE_LOCKING": "FALSE"}
    command = [sys.executable, "-I", "-c", _LAUNCHER]
    try:
        process = subprocess.run(command, input=line, capture_output=True, timeout=seconds, env=environment)
    except subprocess.TimeoutExpired:
        raise Unanswered(f"{package} did not finish within {seconds} s") from None
    if process.returncode == -getattr(signal, "SIGXCPU", math.inf):
        raise Unanswered(f"{package} did not finish within {cpu_seconds} s of processor time")
    head, _, body = process.stdout.partition(b"\n")
    if process.returncode != 0 or not head:
        raise Unanswered(f"{package} ended with status {process.returncode}")
    return json.loads(head), body


# ------------------------------------------------------------------------------------- the program of the process


def main(request: dict[str, Any]) -> None:
    """Write the answer of a program to stdout: a line of JSON, then the bytes."""
    answer = runpy.run_path(request["program"])["answer"]
    warnings.simplefilter("ignore")
    _limit_resource("RLIMIT_AS", request["memory"])
    _limit_resource("RLIMIT_CPU", request["seconds"])
    output = os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    head, body = answer(request)
    with output:
        output.write(json.dumps(head).encode() + b"\n" + body)


def _limit_resource(name: str, most: int) -> None:
    """Limit a resource of this process, on systems that can do that."""
    try:
        import resource

        kind = getattr(resource, name)
        hard = resource.getrlimit(kind)[1]
        resource.setrlimit(kind, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))
    except (ImportError, AttributeError, OSError, ValueError):
        pass


if __name__ == "__main__":
    main(REQUEST)  # noqa: F821 - _LAUNCHER defines it
