"""CIF as text with binary sections (CBF): the items and tables of the first data block, and where its binary sections lie."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from nbnumba.errors import InputError
from nbnumba.formats import files
from nbnumba.formats.files import unpacked

OPENING = b"###CBF"
START_OF_DATA = b"\x0c\x1a\x04\xd5"
"""The four bytes in front of the data of a binary section."""

LARGEST_TEXT = 2**24
"""The largest size, in bytes, of what is not binary."""

_BOUNDARY = b"--CIF-BINARY-FORMAT-SECTION--"
_BETWEEN, _WORD = re.compile(r"(?:\s+|#.*)*"), re.compile(r"\S+")
_CLOSING = {";": re.compile(r"\n;(?=\s|\Z)"), "'": re.compile(r"'(?=\s|\Z)"), '"': re.compile(r'"(?=\s|\Z)')}
"""What ends a value that begins with a character: a text of several lines, or a word in quotes, on one line."""

_BINARY_NAME = "binary section "
_FIELD_NAME = re.compile(r"[A-Za-z0-9-]+")
_CONVERSION = re.compile(r'conversions\s*=\s*"?([^"\s;]+)([^\r\n]*)', re.IGNORECASE)


class Section(NamedTuple):
    """A binary section: the fields of its header, by lower-case names, and its data as they are stored."""

    fields: dict[str, str]
    data: bytes

    def whole(self, field: str, default: int | None = None) -> int:
        """A whole number of the header. Raises ValueError where it is missing or none."""
        text = self.fields.get(field, "")
        if not text and default is not None:
            return default
        if not re.fullmatch(r"[0-9]{1,12}", text):
            raise ValueError(f"its binary section has {field} {text[:40]!r}")
        return int(text)


class Block(NamedTuple):
    """The items of a data block, each a list of values: of one outside a loop, else one for every row; lower-case names."""

    items: dict[str, list[str]]
    sections: list[Section]

    def column(self, name: str) -> list[str]:
        """The values of an item; none where it is missing."""
        return self.items.get(name.lower(), [])

    def table(self, *names: str) -> list[tuple[str, ...]]:
        """The rows of some items of a category; "." where an item is missing or shorter than the first."""
        columns = [self.column(name) for name in names]
        return [tuple(column[row] if row < len(column) else "." for column in columns) for row in range(len(columns[0]))]

    def section(self, value: str) -> Section | None:
        """The binary section that a value stands for."""
        number = value.removeprefix(_BINARY_NAME)
        return self.sections[int(number)] if value.startswith(_BINARY_NAME) and number.isdigit() else None


def is_cbf(content: bytes) -> bool:
    """Whether a file is a CBF."""
    return content.startswith(OPENING)


def read(path: files.PathName, what: str) -> Block:
    """The first data block of a CBF, packed by gzip or not; `what` is the flag that named it. InputError: no such file."""
    name = files.name_of(path, what)
    content = unpacked(files.read_bytes(name, what), f"{what}: {name!r}")
    if not is_cbf(content):
        raise InputError(f"{what}: {name!r} is no CBF: it does not begin with ###CBF; allowed: a CBF")
    return parse(content, f"{what}: {name!r}")


def parse(content: bytes, name: str) -> Block:
    """The first data block of the content of a CBF; name: how messages call the file."""
    text, sections = _without_binary(content, name)
    if len(text) > LARGEST_TEXT:
        raise InputError(f"{name} has more than {LARGEST_TEXT // 2**20} MiB of text; allowed: less")
    return Block(_items(_tokens(text.decode("latin-1").replace("\r\n", "\n").replace("\r", "\n"))), sections)


def _without_binary(content: bytes, name: str) -> tuple[bytes, list[Section]]:
    """The text with a name in place of the data of every binary section, and the sections."""
    parts, sections, position = [], [], 0
    while (start := content.find(_BOUNDARY, position)) >= 0:
        data = content.find(START_OF_DATA, start)
        if data < 0:
            raise InputError(f"{name} is cut off in the header of a binary section; allowed: a whole file")
        header = content[start:data].decode("latin-1")
        fields = _fields(header)
        conversion = _CONVERSION.search(header)
        fields["conversions"] = conversion[1] if conversion else ""
        fields["options"] = conversion[2].lower() if conversion else ""
        data += len(START_OF_DATA)
        size = fields.get("x-binary-size", "")
        stop = data + int(size) if re.fullmatch(r"[0-9]{1,12}", size) else len(content)
        sections.append(Section(fields, content[data:stop]))
        parts += [content[position:start], f"{_BINARY_NAME}{len(sections) - 1}".encode("ascii")]
        end = content.find(_BOUNDARY, stop)
        line = content.find(b"\n", end) if end >= 0 else -1
        position = line if line >= 0 else len(content)
    return b"".join((*parts, content[position:])), sections


def _fields(header: str) -> dict[str, str]:
    """The fields of the header of a binary section, a line each, by their lower-case names."""
    fields = {}
    for line in header.replace("\r", "\n").split("\n"):
        name, colon, value = line.partition(":")
        if colon and _FIELD_NAME.fullmatch(name.strip()):
            fields[name.strip().lower()] = value.strip().removesuffix(";").strip().strip('"')
    return fields


def _tokens(text: str) -> Iterator[tuple[str, bool]]:
    """The words of a CIF, and whether each is a value in quotes or in lines of its own, or a bare word.

    No part of the text is searched twice for the end of a value, so that the time grows with the length alone.
    """
    position, line_end, searched = 0, -1, dict.fromkeys(_CLOSING, -1)
    while (position := _end(_BETWEEN, text, position)) < len(text):
        if position > line_end:
            line_end = text.find("\n", position)
            line_end = len(text) if line_end < 0 else line_end
        opening = text[position]
        ends_line = opening == ";" and text[position - 1 : position] in ("", "\n")
        limit = len(text) if ends_line else line_end
        if opening in ("'", '"') or ends_line:
            closing = _CLOSING[opening].search(text, position + 1, limit) if searched[opening] < limit else None
            if closing is not None:
                value = text[position + 1 : closing.start()]
                yield (value.strip() if ends_line else value), True
                position = closing.end()
                continue
            searched[opening] = limit
        end = _end(_WORD, text, position)
        yield text[position:end], False
        position = end


def _end(pattern: re.Pattern, text: str, position: int) -> int:
    """The position after what a pattern matches at a position; the position itself where it does not match."""
    match = pattern.match(text, position)
    return position if match is None else match.end()


def _items(tokens: Iterator[tuple[str, bool]]) -> dict[str, list[str]]:
    """The items of the first data block."""
    items: dict[str, list[str]] = {}
    names: list[str] = []
    in_loop, blocks, row = False, 0, 0
    for word, quoted in tokens:
        lower = word.lower()
        if not quoted and lower.startswith("data_"):
            blocks += 1
            if blocks > 1:
                break
        elif not quoted and lower == "loop_":
            names, in_loop, row = [], True, 0
        elif not quoted and word.startswith("_"):
            if not in_loop or row:
                names, in_loop, row = [], False, 0
            names.append(lower)
            items.setdefault(lower, []).clear()
        elif names:
            items[names[row % len(names)]].append(word)
            row += 1
            if not in_loop:
                names = []
    return items
