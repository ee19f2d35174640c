"""Detector images read by fabio, in a separate process with limits on time and memory, which a damaged file may exceed.

The lower half is the program of that process. It imports nothing from nbnumba.
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
"""Limits on the time of reading: processor seconds, seconds in total, and bytes of the file that add one second to both."""

BYTES, BYTES_PER_PIXEL, BYTES_PER_BYTE = 2**30, 200, 40
"""Limits on memory: a base, plus so many bytes per requested pixel and per byte of the file, which may be compressed."""

_LAUNCHER = (
    "import json, runpy, sys; request = json.loads(sys.stdin.readline()); sys.path[:] = request['sys.path']; "
    "runpy.run_path(request['program'], {'REQUEST': request}, '__main__')"
)


class FabioImage(NamedTuple):
    """An image: pixels (slow, fast) in this machine's byte order, and the header as text.

    pixels is None if the image cannot be read or has another shape. Then `stored` describes the array in the file, `problem`
    says why it cannot be read, and `images` is the number of images in the file if none of several was chosen.
    """

    pixels: np.ndarray | None
    header: dict[str, str]
    stored: str = ""
    problem: str = ""
    images: int = 1


def read(name: str, number: int | None, shape: tuple[int, int]) -> FabioImage:
    """Read image `number` (None: the only one) of a file; its pixels are returned if their shape is `shape` (slow, fast)."""
    size = os.path.getsize(name.partition("::")[0])
    extra_seconds = math.ceil(size / BYTES_PER_SECOND)
    request = {
        "sys.path": sys.path,
        "program": __file__,
        "name": name,
        "number": number,
        "shape": shape,
        "seconds": CPU_SECONDS + extra_seconds,
        "memory": int(BYTES + BYTES_PER_PIXEL * shape[0] * shape[1] + BYTES_PER_BYTE * size),
    }
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    command, line = [sys.executable, "-I", "-c", _LAUNCHER], json.dumps(request).encode() + b"\n"
    try:
        process = subprocess.run(command, input=line, capture_output=True, timeout=SECONDS + extra_seconds, env=environment)
    except subprocess.TimeoutExpired:
        return FabioImage(None, {}, problem=f"fabio did not finish within {SECONDS + extra_seconds} s")
    head, _, body = process.stdout.partition(b"\n")
    if process.returncode == -getattr(signal, "SIGXCPU", math.inf):
        return FabioImage(None, {}, problem=f"fabio did not finish within {CPU_SECONDS + extra_seconds} s of processor time")
    if process.returncode != 0 or not head:
        return FabioImage(None, {}, problem=f"fabio ended with status {process.returncode}")
    answer: dict[str, Any] = json.loads(head)
    kind = answer.pop("dtype", None)
    pixels = None if kind is None else np.frombuffer(bytearray(body), dtype=kind).reshape(shape)
    return FabioImage(pixels, **answer)


# ------------------------------------------------------------------------------------- the program of the process


def main(request: dict[str, Any]) -> None:
    """Write an image to stdout: a line of JSON, then the pixels."""
    import logging
    import warnings

    _limit_resource("RLIMIT_AS", request["memory"])
    _limit_resource("RLIMIT_CPU", request["seconds"])
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    output = os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    try:
        answer, body = _read_frame(request)
    except MemoryError:
        answer, body = {"header": {}, "problem": "its header asks for more memory than a file of this size needs"}, b""
    except Exception as error:
        answer, body = {"header": {}, "problem": " ".join(str(error).split())[:200] or type(error).__name__}, b""
    with output:
        output.write(json.dumps(answer).encode() + b"\n" + body)


def _limit_resource(name: str, most: int) -> None:
    """Limit a resource of this process, on systems that can do that."""
    try:
        import resource

        kind = getattr(resource, name)
        hard = resource.getrlimit(kind)[1]
        resource.setrlimit(kind, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))
    except (ImportError, AttributeError, OSError, ValueError):
        pass


def _read_frame(request: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    """The other fields of FabioImage, and the bytes of the pixels if the image has the requested shape."""
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
    answer: dict[str, Any] = {"header": dict(_header_entries({**opened.header, **frame.header}))}
    if pixels.ndim != 2 or pixels.dtype.kind not in "biuf":
        return answer | {"stored": f"{pixels.dtype} of shape {pixels.shape}"}, b""
    if list(pixels.shape) != list(request["shape"]):
        return answer | {"stored": f"{pixels.shape[1]} x {pixels.shape[0]} pixels"}, b""
    return answer | {"dtype": pixels.dtype.str}, pixels.tobytes()


def _check_sections(name: str) -> None:
    """Raise ValueError for a CBF without the four bytes that start its pixels: fabio would search for them forever."""
    try:
        with open(name, "rb") as stream:
            if stream.read(6) == b"###CBF" and b"\x0c\x1a\x04\xd5" not in stream.read():
                raise ValueError("the CBF is cut off before its binary section")
    except OSError:
        pass


def _header_entries(header: dict) -> Iterator[tuple[str, str]]:
    """The keys and values of a header as text; each column of a table in a CIF is an entry too."""
    for key, value in header.items():
        yield str(key), str(value)
        if key == "loop_":
            for names, rows in value:
                for name in names:
                    yield _decoded(name), " ".join(_decoded(row[name]) for row in rows if name in row)


def _decoded(text: bytes | str) -> str:
    return text.decode("latin-1") if isinstance(text, bytes) else str(text)


if __name__ == "__main__":
    main(REQUEST)  # noqa: F821 - _LAUNCHER defines it
