"""Recognition of files by their content, so that a file of another program is refused by name and not misread."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

HKL = "h k l F as text, of all of P1; -pdb, -mtz and -cif read other files"
"""The description of a file of structure factors, for messages."""

_ROOT = "h k l F as text, F the square root of a merged intensity, of all of P1; -mtz and -cif read intensities"
_UNPACKED = "the file itself, unpacked, or packed by gzip"


class Kind(NamedTuple):
    """A kind of file: its description for messages, and what to supply instead if the caller's description is not enough."""

    words: str
    instead: str = ""

    def refusal(self, name: str, expected: str) -> str:
        """The message that refuses a file of this kind."""
        return f"{name} is {self.words}; allowed: {self.instead or expected}"


BINARY: tuple[tuple[bytes, Kind], ...] = (
    (b"MTZ ", Kind("an MTZ file (CCP4, binary)")),
    (b"\x89HDF\r\n\x1a\n", Kind("an HDF5 file")),
    (b"BZh", Kind("compressed by bzip2", _UNPACKED)),
    (b"\xfd7zXZ\0", Kind("compressed by xz", _UNPACKED)),
    (b"\x28\xb5\x2f\xfd", Kind("compressed by zstd", _UNPACKED)),
    (b"PK\x03\x04", Kind("a zip archive", "an unpacked file from it")),
    (b"\x89PNG", Kind("a PNG picture")),
    (b"II*\0", Kind("a TIFF image")),
    (b"MM\0*", Kind("a TIFF image")),
    (b"\x93NUMPY", Kind("an array of NumPy")),
    (b"\x93\xbbdials::af::reflection_table", Kind("a reflection table of DIALS", "-refl for it")),
    (b"%PDF", Kind("a PDF document")),
    (b"\x7fELF", Kind("a program")),
)
"""The first bytes of binary files."""

SMV = Kind("an SMV image")

TEXT: tuple[tuple[re.Pattern, Kind], ...] = tuple(
    (re.compile(pattern, re.MULTILINE | re.IGNORECASE), kind)
    for pattern, kind in (
        (r"^!OUTPUT_FILE=INTEGRATE", Kind("an INTEGRATE.HKL of XDS, which holds unmerged intensities", _ROOT)),
        (
            r"^!(?:FORMAT=XDS_ASCII|OUTPUT_FILE=|ITEM_IOBS=|END_OF_HEADER)",
            Kind("a file of XDS, which holds intensities", _ROOT),
        ),
        (r"\A\s*G?XPARM\.XDS", Kind("an XPARM.XDS of XDS: real-space vectors and a geometry")),
        (r"\ACrystFEL reflection list", Kind("a reflection list of CrystFEL, which holds intensities", _ROOT)),
        (r"\ACrystFEL stream", Kind("a stream of CrystFEL")),
        (r"^[ \t]*_refln[._]|\A(?:[ \t]*(?:#.*)?\n)*data_\S*[ \t]*$", Kind("a CIF file")),
        (r"\AHEADER    |^(?:CRYST1 |ATOM   |HETATM)", Kind("a PDB file, which holds atoms and not structure factors")),
        (r"^[ \t]*(?:NREF\w*[ \t]*=|INDE\w*[ \t]+-?\d+[ \t]+-?\d)", Kind("a reflection file of CNS or X-PLOR")),
        (r"\A[ \t]*1[ \t]*\n[ \t]*-98[57][ \t]*\n", Kind("a file of scalepack (HKL-2000), which holds intensities", _ROOT)),
        (r"\A\s*\{\s*HEADER_BYTES\s*=", SMV),
        (r"\A###CBF", Kind("a CBF image")),
        (r"\A\s*[\[{]\s*[\"{\[]", Kind("a JSON file")),
        (r"\A\s*<(?:\?xml|!DOCTYPE|html|svg)", Kind("an XML or HTML page")),
        (r"\A%!PS", Kind("a PostScript document")),
    )
)
"""Patterns near the beginning of texts of other programs."""

NEAR = 20000
"""The number of characters of a text that are searched."""

MOST_LINES = 2000
"""The number of lines of a list that are checked."""

_SHELX_INDEX, _SHELX_VALUE = re.compile(r" *[+-]?\d+"), re.compile(r" *[+-]?(?:\d+\.?\d*|\.\d+)")
SHELX = Kind("a file of SHELX (HKLF 4, fixed columns), which holds F squared", _ROOT)


def binary(content: bytes) -> Kind | None:
    """The kind of a binary file; None for a file that may be text."""
    known = _by_opening(content)
    return Kind("not text: it holds bytes of value 0") if known is None and b"\0" in content else known


def image(content: bytes) -> Kind | None:
    """The kind of a file that should be an SMV image; None if it is unknown, or SMV."""
    if content.startswith(b"\x1f\x8b"):
        return Kind("packed by gzip")
    known = _by_opening(content) or text(content[:NEAR].decode("latin-1"))
    return None if known is SMV else known


def _by_opening(content: bytes) -> Kind | None:
    return next((kind for opening, kind in BINARY if content.startswith(opening)), None)


def text(content: str) -> Kind | None:
    """The kind of a text of another program; None if it is unknown."""
    beginning = content[:NEAR]
    return next((kind for pattern, kind in TEXT if pattern.search(beginning)), None)


def is_shelx(lines: Sequence[str]) -> bool:
    """Whether all lines up to the reflection 0 0 0 have the fixed columns of SHELX, 3I4,2F8.2,I4.

    Lists of h k l and one number never have them.
    """
    checked = 0
    for line in lines[:MOST_LINES]:
        line = line.rstrip()
        if not line or line.lstrip()[0] in "#!":
            continue
        parts = [line[0:4], line[4:8], line[8:12], line[12:20], line[20:28]]
        if len(line) < 28 or len(line) > 32 or not all(_SHELX_INDEX.fullmatch(part) for part in parts[:3]):
            return False
        if not all(_SHELX_VALUE.fullmatch(part) for part in parts[3:]):
            return False
        if not any(int(part) for part in parts[:3]):
            return True
        checked += 1
    return checked > 0
