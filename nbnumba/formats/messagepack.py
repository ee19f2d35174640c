"""MessagePack, the binary form of JSON in which DIALS writes its tables: values packed, and read one after another."""

from __future__ import annotations

import struct


def packed(value: object) -> bytes:
    """A value as MessagePack: a text, bytes, a whole number from 0 on, or a list or a dict of these."""
    if isinstance(value, str):
        text = value.encode("utf-8")
        return _head(len(text), (0xA0, 32), (0xD9, 0xDA, 0xDB)) + text
    if isinstance(value, bytes):
        return _head(len(value), None, (0xC4, 0xC5, 0xC6)) + value
    if isinstance(value, int):
        return struct.pack(">B", value) if value < 128 else struct.pack(">BQ", 0xCF, value)
    if isinstance(value, list):
        return _head(len(value), (0x90, 16), (None, 0xDC, 0xDD)) + b"".join(map(packed, value))
    assert isinstance(value, dict), value
    pairs = (packed(part) for pair in value.items() for part in pair)
    return _head(len(value), (0x80, 16), (None, 0xDE, 0xDF)) + b"".join(pairs)


def _head(size: int, short: tuple[int, int] | None, marks: tuple[int | None, int, int]) -> bytes:
    """The head of a value of some size: a short form below a limit, or a mark and the size in 1, 2 or 4 bytes."""
    if short is not None and size < short[1]:
        return struct.pack(">B", short[0] | size)
    for mark, form, limit in zip(marks, ("B", "H", "I"), (2**8, 2**16, 2**32)):
        if mark is not None and size < limit:
            return struct.pack(f">B{form}", mark, size)
    raise OverflowError(f"{size} is too large for MessagePack")


class Damaged(ValueError):
    """What keeps bytes from being the values that are asked for: a clause."""


class Reader:
    """Values of MessagePack in the order in which they stand. What is not asked for is skipped, and nothing is copied.

    Every function raises Damaged for a value of another type than is asked for, and where the content ends too early.
    """

    def __init__(self, content: bytes):
        self._content = memoryview(content)
        self._place = 0

    def remaining(self) -> int:
        """The number of bytes after the values that were read."""
        return len(self._content) - self._place

    def text(self) -> str:
        """The next value, a text."""
        size = self._number_of("text", "a text")
        try:
            return str(self._bytes(size), "utf-8")
        except UnicodeDecodeError:
            raise Damaged("a text is not UTF-8") from None

    def whole(self) -> int:
        """The next value, a whole number."""
        return self._number_of("a number", "a whole number")

    def binary(self) -> memoryview:
        """The next value, bytes."""
        return self._bytes(self._number_of("bytes", "bytes"))

    def list_of(self, length: int) -> None:
        """Enter the next value, a list of this length."""
        kind, found = self._head()
        if kind != "a list" or found != length:
            found_kind = f"a list of {found}" if kind == "a list" else kind
            raise Damaged(f"{found_kind} stands where a list of {length} should")

    def pairs(self) -> int:
        """Enter the next value, a map of keys and values, of which it returns the number."""
        return self._number_of("a map", "a map")

    def skip(self) -> None:
        """Go past the next value, whatever it is and holds."""
        values = 1
        while values:
            kind, size = self._head()
            values += {"a list": size, "a map": 2 * size}.get(kind, 0) - 1
            if kind in ("text", "bytes", "something else"):
                self._bytes(size)

    def _number_of(self, wanted: str, words: str) -> int:
        """The number, or the length, of the next value, which is of the kind that is wanted."""
        kind, number = self._head()
        if kind != wanted:
            raise Damaged(f"{kind} stands where {words} should")
        return number

    def _bytes(self, size: int) -> memoryview:
        end = self._place + size
        if end > len(self._content):
            raise Damaged(f"it ends {end - len(self._content)} bytes too early")
        taken = self._content[self._place : end]
        self._place = end
        return taken

    def _head(self) -> tuple[str, int]:
        """What the next value is, and its number, its length, or how many bytes of it follow."""
        mark = self._bytes(1)[0]
        if mark < 0x80:
            return "a number", mark
        if mark < 0xC0:
            return ("a map", mark & 15) if mark < 0x90 else ("a list", mark & 15) if mark < 0xA0 else ("text", mark & 31)
        if mark >= 0xE0:
            return "a number", mark - 256
        kind, form = _HEADS[mark - 0xC0]
        if form.isdigit():
            return kind, int(form)
        number = struct.unpack(f">{form}", self._bytes(struct.calcsize(f">{form}")))[0]
        return (kind, number + 1) if 0xC7 <= mark <= 0xC9 else (kind, number)


_OTHER = "something else"
_HEADS = (
    *((_OTHER, "0"),) * 4,  # nil, a mark of no meaning, false, true
    *(("bytes", form) for form in "BHI"),
    *((_OTHER, form) for form in "BHI"),  # extensions, whose type takes a byte more than their length says
    *((_OTHER, size) for size in "48"),  # numbers with a point
    *(("a number", form) for form in "BHIQbhiq"),
    *((_OTHER, size) for size in ("2", "3", "5", "9", "17")),  # extensions of a stated length
    *(("text", form) for form in "BHI"),
    *(("a list", form) for form in "HI"),
    *(("a map", form) for form in "HI"),
)
"""What the marks from 0xc0 to 0xdf are, and the form of the number that follows, or how many bytes follow."""
