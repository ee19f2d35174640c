"""Detector images that fabio reads, in a process of its own with bounds on time and memory: a damaged file may ask for any.

The lower half is the program of that process, which needs nothing else of nbnumba.
"""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

CPU_SECONDS, SECONDS, BYTES_PER_SECOND = 8, 60, 4e6
"""Time that reading may take: so much of a processor, so much in all, and more for a large file."""

BYTES, BYTES_PER_PIXEL, BYTES_PER_BYTE = 2**30, 200, 40
"""Memory that it may take: so much, and more for the pixels that are wanted and for a large file, which may be packed."""

_START = (
    "import json, runpy, sys; request = json.loads(sys.stdin.readline()); sys.path[:] = request['sys.path']; "
    "runpy.run_path(request['program'], {'REQUEST': request}, '__main__')"
)


class Found(NamedTuple):
    """An image: pixels (slow, fast) in this machine's byte order, and the header as text.

    Without pixels, because there are others or none, `stored` says what there is, `problem` why they cannot be read, and
    `images` how many images the file holds, where it holds several of which none is chosen.
    """

    pixels: np.ndarray | None
    header: dict[str, str]
    stored: str = ""
    problem: str = ""
    images: int = 1


def read(name: str, number: int | None, shape: tuple[int, int]) -> Found:
    """Read image `number` (None: the only one) of a file; its pixels are returned if there are `shape` (slow, fast) of them."""
    size = os.path.getsize(name.partition("::")[0])
    more = math.ceil(size / BYTES_PER_SECOND)
    request = {
        "sys.path": sys.path,
        "program": __file__,
        "name": name,
        "number": number,
        "shape": shape,
        "seconds": CPU_SECONDS + more,
        "memory": int(BYTES + BYTES_PER_PIXEL * shape[0] * shape[1] + BYTES_PER_BYTE * size),
    }
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    command, line = [sys.executable, "-I", "-c", _START], json.dumps(request).encode() + b"\n"
    try:
        done = subprocess.run(command, input=line, capture_output=True, timeout=SECONDS + more, env=environment)
    except subprocess.TimeoutExpired:
        return Found(None, {}, problem=f"fabio did not come to an end in {SECONDS + more} s")
    head, _, body = done.stdout.partition(b"\n")
    if done.returncode == -getattr(signal, "SIGXCPU", math.inf):
        return Found(None, {}, problem=f"fabio did not come to an end in {CPU_SECONDS + more} s of a processor")
    if done.returncode != 0 or not head:
        return Found(None, {}, problem=f"fabio ended with status {done.returncode}")
    answer: dict[str, Any] = json.loads(head)
    kind = answer.pop("dtype", None)
    pixels = None if kind is None else np.frombuffer(bytearray(body), dtype=kind).reshape(shape)
    return Found(pixels, **answer)


# ------------------------------------------------------------------------------------- the program of the process


def main(request: dict[str, Any]) -> None:
    """Write an image to stdout: a line of JSON, and the pixels."""
    import logging
    import warnings

    _bound("RLIMIT_AS", request["memory"])
    _bound("RLIMIT_CPU", request["seconds"])
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    output = os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    try:
        answer, body = _answer(request)
    except MemoryError:
        answer, body = {"header": {}, "problem": "its header asks for more memory than such a file has"}, b""
    except Exception as error:
        answer, body = {"header": {}, "problem": " ".join(str(error).split())[:200] or type(error).__name__}, b""
    with output:
        output.write(json.dumps(answer).encode() + b"\n" + body)


def _bound(name: str, most: int) -> None:
    """Bound what this process may take, where the system can do that."""
    try:
        import resource

        kind = getattr(resource, name)
        hard = resource.getrlimit(kind)[1]
        resource.setrlimit(kind, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))
    except (ImportError, AttributeError, OSError, ValueError):
        pass


def _answer(request: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    """What is said of an image, and its pixels, if they are as many as are wanted."""
    import fabio

    name, number = request["name"], request["number"]
    _check_sections(name)
    opened = fabio.open(name)
    count = int(opened.nframes)
    if number is None and count == 1:
        number = 0
    if number is None or number >= count:
        return {"header": {}, "images": count}, b""
    frame = opened.get_frame(number) if count > 1 else opened
    pixels = np.array(frame.data)
    pixels = pixels.astype(pixels.dtype.newbyteorder("="), copy=False)
    answer: dict[str, Any] = {"header": dict(_entries({**opened.header, **frame.header}))}
    if pixels.ndim != 2 or pixels.dtype.kind not in "biuf":
        return answer | {"stored": f"{pixels.dtype} of shape {pixels.shape}"}, b""
    if list(pixels.shape) != list(request["shape"]):
        return answer | {"stored": f"{pixels.shape[1]} x {pixels.shape[0]} pixels"}, b""
    return answer | {"dtype": pixels.dtype.str}, pixels.tobytes()


def _check_sections(name: str) -> None:
    """Raise ValueError for a CBF without the four bytes at which its pixels begin: fabio looks for them for ever."""
    try:
        with open(name, "rb") as stream:
            if stream.read(6) == b"###CBF" and b"\x0c\x1a\x04\xd5" not in stream.read():
                raise ValueError("the CBF is cut off before its binary section")
    except OSError:
        pass


def _entries(header: dict) -> Iterator[tuple[str, str]]:
    """What a header says, as text; of the tables of a CIF the columns, too."""
    for key, value in header.items():
        yield str(key), str(value)
        if key == "loop_":
            for names, rows in value:
                for name in names:
                    yield _decoded(name), " ".join(_decoded(row[name]) for row in rows if name in row)


def _decoded(text: bytes | str) -> str:
    return text.decode("latin-1") if isinstance(text, bytes) else str(text)


if __name__ == "__main__":
    main(REQUEST)  # noqa: F821 - it comes with the start
