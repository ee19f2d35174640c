"""Pixels of the binary sections of a CBF: byte offsets, the packed format of CBFlib, and numbers as they are."""

from __future__ import annotations

import re

import numpy as np

from nbnumba.formats.cif import Section

MOST_ELEMENTS, MOST_PACKED = 2**28, 2**24
"""The largest number of pixels of a section, and of a packed one, which takes a microsecond for each."""

_TYPES = {"signed": "i", "unsigned": "u"}
_TYPE = re.compile(r"(signed|unsigned) (8|16|32)-bit integer")
_AROUND_OPTIONS = '"; '
_PACKED_BITS = 32
_PACKED_HEADER = 32
"""The bytes in front of packed data: the number of elements, the least and the largest one, and 8 that are not used."""

_WIDTHS = {
    "cbf_packed": (0, 4, 5, 6, 7, 8, 16),
    "cbf_packed_v2": (0, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16),
}
"""The bits of an element of a packed chunk, by the code in its head, of both versions; of the last code those of the type."""


def decoded(section: Section) -> np.ndarray:
    """Return the pixels of a section: (slow, fast), or (third, slow, fast) if it has three dimensions.

    Raises ValueError, with what is wrong, for data that are cut off, a compression or a type that is not known, and sizes that
    contradict each other.
    """
    shape = _shape(section)
    elements = int(np.prod(shape, dtype=np.int64))
    if not 0 < elements <= MOST_ELEMENTS or section.whole("x-binary-number-of-elements", elements) != elements:
        raise ValueError(f"its binary section has {elements} elements in its dimensions")
    if "x-binary-size" in section.fields and len(section.data) < section.whole("x-binary-size"):
        raise ValueError("its binary section is cut off")
    compression = section.fields["conversions"].lower().removeprefix("x-")
    if compression == "cbf_byte_offset":
        pixels = _from_byte_offsets(section.data, elements)
    elif compression in _WIDTHS:
        pixels = _from_packed(section, shape, _WIDTHS[compression])
    elif compression in ("", "cbf_none"):
        return np.frombuffer(section.data, _type(section), elements).reshape(shape)
    else:
        raise ValueError(f"its binary section is compressed by {section.fields['conversions'][:40]!r}")
    return pixels.astype(_type(section).newbyteorder("=")).reshape(shape)


def _shape(section: Section) -> tuple[int, ...]:
    fast, slow = (section.whole(f"x-binary-size-{axis}-dimension") for axis in ("fastest", "second"))
    third = section.whole("x-binary-size-third-dimension", 1)
    return (slow, fast) if third == 1 else (third, slow, fast)


def _type(section: Section) -> np.dtype:
    """Return the type of the elements."""
    stated = section.fields.get("x-binary-element-type", "signed 32-bit integer")
    order = ">" if section.fields.get("x-binary-element-byte-order", "").upper() == "BIG_ENDIAN" else "<"
    match = _TYPE.fullmatch(stated)
    if match:
        return np.dtype(f"{order}{_TYPES[match[1]]}{int(match[2]) // 8}")
    if stated == "signed 32-bit real IEEE":
        return np.dtype(f"{order}f4")
    raise ValueError(f"its binary section has elements of the type {stated[:40]!r}")


def _from_byte_offsets(data: bytes, elements: int) -> np.ndarray:
    """Return numbers whose differences are bytes; -128 stands before one of 2 bytes, and -32768 there before one of 4."""
    bytes_ = np.frombuffer(data, np.int8)
    marks = np.flatnonzero(bytes_ == -128)
    parts: list[np.ndarray] = []
    start = count = 0
    for mark in marks:
        if mark < start or count >= elements:
            continue
        parts.append(bytes_[start:mark].astype(np.int64))
        step, start = int.from_bytes(data[mark + 1 : mark + 3], "little", signed=True), int(mark) + 3
        if step == -32768:
            step, start = int.from_bytes(data[start : start + 4], "little", signed=True), start + 4
        parts.append(np.array([step]))
        count += len(parts[-2]) + 1
    parts.append(bytes_[start : start + max(elements - count, 0)].astype(np.int64))
    steps = np.concatenate(parts)[:elements]
    if len(steps) < elements:
        raise ValueError("its binary section is cut off")
    return np.cumsum(steps)


def _from_packed(section: Section, shape: tuple[int, ...], widths: tuple[int, ...]) -> np.ndarray:
    """Return numbers of 32 bits that are packed as differences from the mean of their neighbours that come before.

    widths: the bits of an element by the code in the head of a chunk; of the last code they are 32. All sums are those of
    signed numbers of 32 bits, which overflow.
    """
    data, options, elements = section.data, section.fields.get("options", ""), int(np.prod(shape, dtype=np.int64))
    planes = len(shape) > 2
    if _type(section).itemsize != _PACKED_BITS // 8 or planes and shape[-1] < 2:
        raise ValueError("its binary section packs elements of other than 32 bits, or planes of one column")
    if "flat" in options or "uncorrelated" in options and planes:
        raise ValueError(f"its binary section is packed as {options.strip(_AROUND_OPTIONS)[:40]!r}")
    if elements > MOST_PACKED:
        raise ValueError(f"its binary section packs more than {MOST_PACKED} elements")
    if int.from_bytes(data[:8], "little") != elements:
        raise ValueError("its binary section states another number of elements in its packed data")
    steps = _packed_steps(data[_PACKED_HEADER:] + bytes(16), elements, (*widths, _PACKED_BITS))
    width, plane = shape[-1], shape[-1] * shape[-2]
    values: list[int] = []
    add = values.append
    for index, step in enumerate(steps):
        add(_signed(step + _mean_before(values, index, index % plane, index % width, width, plane)))
    return np.array(values, dtype=np.int64)


def _signed(value: int) -> int:
    """Return the number of 32 bits with a sign that a sum is after it overflowed."""
    return (value + (1 << _PACKED_BITS - 1) & (1 << _PACKED_BITS) - 1) - (1 << _PACKED_BITS - 1)


def _mean_before(values: list[int], index: int, inside: int, column: int, width: int, plane: int) -> int:
    """Return the rounded mean of the neighbours before an element: in its row, the row above, and the same of the plane before.

    At the left edge the element to the left is missing, at the right edge those of the diagonals. In the first row only the
    element to the left counts, and of the first element of a plane the one in the plane before.
    """
    below = index - plane
    if inside < width:
        return values[index - 1] if inside else values[below] if below >= 0 else 0
    above = index - width
    if column == 0:
        total = values[above] + values[above + 1] if width > 1 else 2 * values[above]
        if below < 0:
            return _signed(total + 1) >> 1
        return _signed(total + values[below - width] + values[below - width + min(1, width - 1)] + 2) >> 2
    if column == width - 1:
        total = values[index - 1] + values[above]
        return _signed(total + 1) >> 1 if below < 0 else _signed(total + values[below] + values[below - width] + 2) >> 2
    total = values[index - 1] + values[above - 1] + values[above] + values[above + 1]
    if below < 0:
        return _signed(total + 2) >> 2
    under = below - width
    return _signed(total + values[below] + values[under - 1] + values[under] + values[under + 1] + 4) >> 3


def _packed_steps(data: bytes, elements: int, widths: tuple[int, ...]) -> list[int]:
    """Return the differences of packed data: chunks of 1 to 128 numbers of one width in bits.

    The head of a chunk has the exponent of its count in 3 bits, and the code of the width in 3, or 4 where there are 16 widths.
    """
    bits_of_code = len(widths).bit_length() - 1
    steps: list[int] = []
    position, end = 0, 8 * (len(data) - 16)
    while len(steps) < elements:
        if position >= end:
            raise ValueError("its binary section is cut off")
        head = int.from_bytes(data[position >> 3 : (position >> 3) + 2], "little") >> (position & 7)
        count, width = 1 << (head & 7), widths[(head >> 3) & (len(widths) - 1)]
        position += 3 + bits_of_code
        if width == 0:
            steps += [0] * count
            continue
        first, size = position >> 3, (count * width + 7 >> 3) + 1
        word = int.from_bytes(data[first : first + size], "little") >> (position & 7)
        limit, sign = (1 << width) - 1, 1 << (width - 1)
        for _ in range(count):
            value = word & limit
            steps.append(value - 2 * sign if value & sign else value)
            word >>= width
        position += count * width
    return steps[:elements]
