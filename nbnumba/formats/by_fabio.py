"""Detector images read by fabio, in a separate process with limits on time and memory, which a damaged file may exceed.

The lower half is the program of that process. It imports nothing from nbnumba.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

CPU_SECONDS, SECONDS, BYTES_PER_SECOND = 8, 60, 4e6
"""Limits on the time of reading: processor seconds, seconds in total, and bytes of the file that add one second to both."""

BYTES, BYTES_PER_PIXEL, BYTES_PER_BYTE = 2**30, 200, 40
"""Limits on memory: a base, plus so many bytes per requested pixel and per byte of the file, which may be compressed."""


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
    from nbnumba.formats import limited_process  # here, because the program of the process imports nothing from nbnumba

    size = os.path.getsize(name.partition("::")[0])
    extra_seconds = math.ceil(size / BYTES_PER_SECOND)
    memory = int(BYTES + BYTES_PER_PIXEL * shape[0] * shape[1] + BYTES_PER_BYTE * size)
    limits = SECONDS + extra_seconds, CPU_SECONDS + extra_seconds, memory
    request = {"name": name, "number": number, "shape": shape}
    try:
        fields, body = limited_process.ask(__file__, "fabio", request, *limits)
    except limited_process.Unanswered as error:
        return FabioImage(None, {}, problem=str(error))
    kind = fields.pop("dtype", None)
    pixels = None if kind is None else np.frombuffer(bytearray(body), dtype=kind).reshape(shape)
    return FabioImage(pixels, **fields)


# ------------------------------------------------------------------------------------- the program of the process


def answer(request: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    """The other fields of FabioImage, or a problem, and the bytes of the pixels."""
    import logging

    logging.disable(logging.CRITICAL)
    try:
        return _read_frame(request)
    except MemoryError:
        return {"header": {}, "problem": "its header asks for more memory than a file of this size needs"}, b""
    except Exception as error:
        words = "" if isinstance(error, AssertionError) else " ".join(str(error).split())[:200]
        return {"header": {}, "problem": words or "it is damaged, or ends before its pixels do"}, b""


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
    found: dict[str, Any] = {"header": dict(_header_entries({**opened.header, **frame.header}))}
    if pixels.ndim != 2 or pixels.dtype.kind not in "biuf":
        return found | {"stored": f"{pixels.dtype} of shape {pixels.shape}"}, b""
    if list(pixels.shape) != list(request["shape"]):
        return found | {"stored": f"{pixels.shape[1]} x {pixels.shape[0]} pixels"}, b""
    return found | {"dtype": pixels.dtype.str}, pixels.tobytes()


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
