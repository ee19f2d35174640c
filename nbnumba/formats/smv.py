"""SMV (ADSC) images: a text header of HEADER_BYTES bytes, then the pixels."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral, Real

import numpy as np

from nbnumba.errors import InputError
from nbnumba.formats import files, recognise
from nbnumba.formats.text import excerpt

Value = str | int | float | Sequence[float]
Header = Mapping[str, Value] | Iterable[tuple[str, Value]]

OWN_KEYS = ("HEADER_BYTES", "DIM", "BYTE_ORDER", "TYPE", "SIZE1", "SIZE2")
"""The keys that write() derives from the pixels and puts first."""

OFFSET_KEY, GAIN_KEY, SATURATION_KEY = "ADC_OFFSET", "GAIN", "CCD_IMAGE_SATURATION"
"""The keys of the offset that was added to every pixel, the counts of a photon, and the value from which on it is saturated."""
NOT_IN_C = (OFFSET_KEY,)
"""Keys that nanoBragg does not write."""

_BLOCK = 512
_UNTERMINATED = ("DIALS_ORIGIN",)
_KEY = re.compile(r"[A-Za-z0-9_.:+-]+")
_COUNT = re.compile(r"[0-9]{1,9}")
_TEXT = re.compile(r"[ -~]*")
_END = b"}\f"
_FILLING = b" \t\r\n\f\v\0"
_OPENING = re.compile(rb"\{\s*HEADER_BYTES\s*=\s*([0-9]{1,9})\s*[;\n]")
_TYPES = {
    "unsigned_short": "u2",
    "unsigned short int": "u2",
    "signed_short": "i2",
    "short int": "i2",
    "unsigned_long": "u4",
    "unsigned long int": "u4",
    "signed_long": "i4",
    "long int": "i4",
    "float": "f4",
    "float IEEE": "f4",
}


def write(path: files.PathName, pixels: np.ndarray, header: Header, what: str = "SMV file", as_c: bool = False) -> None:
    """Write `pixels`, uint16 (slow, fast), as little-endian SMV with nanoBragg's header layout.

    `header` holds the entries after the OWN_KEYS, in order: text is written as it is, integers by %d, other numbers by C's
    %g, and a sequence of numbers with commas. As in nanoBragg, DIALS_ORIGIN has no semicolon. A header that needs more than
    512 bytes gets the next multiple of 512; with as_c it states 512 all the same, as nanoBragg's does, and omits NOT_IN_C.
    Raises InputError for an entry that SMV cannot hold, and ValueError for pixels of another type.
    """
    if (pixels.dtype.kind, pixels.dtype.itemsize) != ("u", 2) or pixels.ndim != 2:
        raise ValueError(f"SMV pixels must be uint16 (slow, fast), not {pixels.dtype} {pixels.shape}")
    block = header_block(pixels.shape, header, what, as_c)
    with files.replacing(path, what) as stream:
        stream.write(block)
        stream.write(pixels.astype("<u2", copy=False).tobytes())


def header_block(shape: tuple[int, int], header: Header, what: str = "SMV file", as_c: bool = False) -> bytes:
    """Return the header of an image of `shape` (slow, fast): see write()."""
    items = list(header.items() if isinstance(header, Mapping) else header)
    block = _framed(shape, items, _BLOCK, what)
    if len(block) > _BLOCK and as_c:
        block = _framed(shape, [(key, value) for key, value in items if key not in NOT_IN_C], _BLOCK, what)
        return block.ljust(_BLOCK)
    size = -(-len(block) // _BLOCK) * _BLOCK
    return _framed(shape, items, size, what).ljust(size)


def _framed(shape: tuple[int, int], items: list, size: int, what: str) -> bytes:
    """Return a header that states `size` as its length in bytes; its real length may differ."""
    own = (size, 2, "little_endian", "unsigned_short", shape[1], shape[0])
    head = "".join(f"{key}={value};\n" for key, value in zip(OWN_KEYS, own))
    lines = "".join(_line(key, value, what) for key, value in items)
    return b"{\n" + (head + lines).encode("ascii") + _END


def read_header(path: files.PathName, what: str = "-img") -> dict[str, str]:
    """Return the header's keys and values as text, without blanks around them; a repeated key has its last value.

    Raises InputError for a file that is not SMV.
    """
    return _parse(files.read_bytes(path, what), files.name_of(path, what), what)[0]


def read(path: files.PathName, what: str = "-img") -> tuple[dict[str, str], np.ndarray]:
    """Return the header, as read_header() does, and the pixels (slow, fast) in the byte order of this machine.

    The pixels are uint16, or of the type that TYPE or Data_type states. Without SIZE1 the image is a square of
    DETECTOR_DIMENSIONS. nanoBragg writes a header longer than its HEADER_BYTES when its numbers are long; the pixels are then
    read from their real start. Raises InputError for a file that is not SMV, an unknown pixel type or byte order, or too
    few pixels.
    """
    name = files.name_of(path, what)
    content = files.read_bytes(path, what)
    header, start = _parse(content, name, what)
    slow, fast = _shape(header, name, what)
    kind = _pixel_type(header, name, what)
    needed = _bytes(header, name, what)
    if len(content) - start < needed:
        raise InputError(
            f"{what}: {name!r} is cut short: {fast} x {slow} pixels take {needed} bytes after the header, "
            f"not {len(content) - start}"
        )
    pixels = np.frombuffer(content, kind, slow * fast, start).reshape(slow, fast)
    return header, pixels.astype(kind.newbyteorder("="))


def _line(key: str, value: Value, what: str) -> str:
    """Return one line of the header."""
    if not _KEY.fullmatch(key) or key in OWN_KEYS:
        raise InputError(f"{what}: {key!r} cannot be a header key; allowed: letters, digits and _.:+-, except for {OWN_KEYS}")
    text = _text(value)
    if not _TEXT.fullmatch(text) or set(text) & set(";={}"):
        raise InputError(f"{what}: the value of {key} is {text!r}; it must be printable ASCII without ; = {{ }}")
    return f"{key}={text}\n" if key in _UNTERMINATED else f"{key}={text};\n"


def _text(value: Value) -> str:
    """Return a value as C's printf writes it."""
    if isinstance(value, str):
        return value
    if isinstance(value, Integral):
        return str(int(value))
    if isinstance(value, Real):
        return "-nan" if math.isnan(value) and math.copysign(1.0, value) < 0 else f"{float(value):g}"
    return ",".join(_text(element) for element in value)


def _parse(content: bytes, name: str, what: str) -> tuple[dict[str, str], int]:
    """Return the header, and the offset of the pixels in bytes."""
    opened = _OPENING.match(content)
    if not opened:
        kind = recognise.image(content)
        reason = "it does not begin with { and HEADER_BYTES" if kind is None else f"it is {kind.words}"
        raise InputError(f"{what}: {name!r} is not an SMV image: {reason}")
    start = int(opened[1])
    if not opened.end() <= start <= len(content):
        raise InputError(f"{what}: {name!r} has HEADER_BYTES={start} but is {len(content)} bytes long")
    closing = _closing(content[:start])
    header = _entries(content[: closing if closing >= 0 else start])
    overrun = content.find(_END, start - 1, start + _BLOCK)
    if overrun >= 0 and closing in (-1, overrun) and len(content) == overrun + len(_END) + _bytes(header, name, what):
        return _entries(content[:overrun]), overrun + len(_END)
    return header, start


def _closing(text: bytes) -> int:
    """Return the offset of the brace that closes a header, -1 if there is none.

    It is the first brace at the start of an entry, or else the last brace if only blanks follow it. A brace within a value
    belongs to the value.
    """
    offset = 0
    for part in text.split(b"}")[:-1]:
        entries = part.rstrip()
        blanks = part[len(entries) :]
        offset += len(part)
        if entries.endswith(b";") or b"\n" in blanks or b"\r" in blanks:
            return offset
        offset += 1
    last = text.rfind(b"}")
    return last if not text[last + 1 :].strip(_FILLING) else -1


def _entries(text: bytes) -> dict[str, str]:
    """Return the entries of a header, which end with a semicolon or at the end of a line."""
    words = text.decode("latin-1").lstrip().removeprefix("{")
    pairs = (entry.split("=", maxsplit=1) for entry in re.split(r"[;\n\r]", words) if "=" in entry)
    return {key.strip(): value.strip() for key, value in pairs}


def _bytes(header: Mapping[str, str], name: str, what: str) -> int:
    """Return the size of the pixels in bytes."""
    return math.prod(_shape(header, name, what)) * _pixel_type(header, name, what).itemsize


def _pixel_type(header: Mapping[str, str], name: str, what: str) -> np.dtype:
    """Return the type of a pixel as it is stored."""
    kind = header.get("Data_type", header.get("TYPE", "unsigned_short"))
    order = header.get("BYTE_ORDER", "little_endian")
    if kind not in _TYPES:
        raise InputError(f"{what}: {name!r} has pixels of TYPE {excerpt(kind)}; it must be one of {', '.join(_TYPES)}")
    for word, mark in (("little", "<"), ("big", ">")):
        if word in order:
            return np.dtype(mark + _TYPES[kind])
    raise InputError(f"{what}: {name!r} has BYTE_ORDER {excerpt(order)}; it must be little_endian or big_endian")


def _shape(header: Mapping[str, str], name: str, what: str) -> tuple[int, int]:
    """Return the size of the image, (slow, fast)."""
    square = header.get("DETECTOR_DIMENSIONS", "missing")
    sizes = header.get("SIZE2", square), header.get("SIZE1", square)
    if not all(_COUNT.fullmatch(size) and int(size) > 0 for size in sizes):
        stated = f"SIZE1 {excerpt(sizes[1])} and SIZE2 {excerpt(sizes[0])}"
        raise InputError(f"{what}: {name!r} has {stated}; they must be positive integers")
    return int(sizes[0]), int(sizes[1])
