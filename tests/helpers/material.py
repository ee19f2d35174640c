"""The input of fuzzers: unusual numbers and names, damaged bytes, command lines of any flags, and valid files."""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
from fuzzing import Case, Fault

from nbnumba import Experiment, simulate
from nbnumba.cost import cost
from nbnumba.flags.table import FLAGS, Flag
from nbnumba.parity import SWITCHES

EXTREME = (
    "0 -0 1e-5 -1e-5 1e5 1e-30 -1e-30 1e30 1e100 1e-200 1e200 1e300 -1e300 1e308 1e-308 5e-324 2147483647 2147483648".split()
)
EXTREME += "-2147483649 4294967295 4294967296 9223372036854775807 9223372036854775808 99999999999999999999".split()
UNUSUAL = (
    "nan inf -inf NaN +inf 1e999 -1e999 1e-999 0x10 1_000 1,5 1e 1d3 1D-3 +5 -0.0 007 . - -- 1.2.3 random true None".split()
)
UNUSUAL += [
    "",
    " ",
    "\t",
    "1 2",
    "\u0661\u0662",
    "\u00bd",
    "\uff11",
    "\udcff",
    "1\n2",
    "a" * 300,
    "9" * 5000,
    "1" + "0" * 400,
    "*",
    "\0",
]
SPACES = ["\t", "\f", "\v", "\r", "\u00a0", "\u2028", "\x85", ",", ", ", "  ", " \r", ";", "\x1c"]
"""What may stand in a text where a blank is meant."""


def word(case: Case) -> str:
    """An unusual number, or a word that is almost a number."""
    return case.pick(EXTREME if case.chance(0.8) else UNUSUAL)


def damaged(case: Case, content: bytes) -> bytes:
    """A file with one to four kinds of damage that happen to files."""
    for _ in range(int(case.random.integers(1, 5))):
        content = case.pick(DAMAGES)(case, content)
    return content


def _place(case, content) -> int:
    return int(case.random.integers(0, len(content) + 1))


def _flipped(case, content):
    if not content:
        return content
    flipped = bytearray(content)
    for _ in range(case.pick((1, 1, 2, 8))):
        flipped[case.random.integers(len(flipped))] ^= 1 << int(case.random.integers(8))
    return bytes(flipped)


def _in_front_flipped(case, content):
    """Bytes with flipped bits near the beginning, where headers are."""
    head = content[: case.pick((64, 512, 2048))]
    return _flipped(case, head) + content[len(head) :]


def _cut(case, content):
    return content[: _place(case, content)]


def _beheaded(case, content):
    return content[_place(case, content) :]


def _spliced(case, content):
    start, end = sorted((_place(case, content), _place(case, content)))
    position = _place(case, content)
    return content[:position] + content[start : min(end, start + 4096)] + content[position:]


def _without(case, content):
    start = _place(case, content)
    return content[:start] + content[start + int(case.random.integers(1, 40)) :]


def _inserted(case, content):
    some = case.pick(
        [
            b"\0",
            b"\r",
            b"\r\n",
            b"\n",
            b"\xff\xfe",
            b"\xef\xbb\xbf",
            b"}",
            b"=",
            b";",
            b"{",
            b"\f",
            b"\x1a",
            b'"',
            b"\xed\xa0\x80",
        ]
    )
    position = case.pick((0, _place(case, content), len(content)))
    return content[:position] + some * case.pick((1, 1, 3, 1000)) + content[position:]


def _other_word(case, content):
    """A text in which one number, or one value of a header, is replaced by an unusual one."""
    places = [match.span() for match in re.finditer(rb"[-+]?[0-9][0-9.eE+-]*", content[:20000])]
    if not places:
        return content
    start, end = case.pick(places)
    return content[:start] + word(case).encode("utf-8", "surrogateescape") + content[end:]


def _junk(case, content):
    return content + case.random.bytes(int(case.random.integers(1, 200)))


def _recoded(case, content):
    text = content.decode("utf-8", "replace")
    return text.encode(case.pick(("utf-16", "utf-16-le", "utf-32", "utf-8-sig")), "surrogatepass")


def _zipped(case, content):
    zipped = gzip.compress(content)
    return zipped if case.chance(0.5) else _flipped(case, zipped)


DAMAGES: tuple[Callable[[Case, bytes], bytes], ...] = (
    _flipped, _in_front_flipped, _in_front_flipped, _cut, _beheaded, _spliced, _without, _inserted, _inserted,
    _other_word, _other_word, _other_word, _junk, _recoded, _zipped,
)  # fmt: skip


def retyped(case: Case, text: str) -> tuple[bytes, str]:
    """The same text as another program may have saved it, with other line ends, blanks or a mark, and a description of the
    change."""
    lines, spaces = case.pick(("\n", "\r\n", "\r")), case.pick(["\n", *SPACES])
    if lines == "\r" and "\r" in spaces:
        lines = "\n"  # nobody could tell one from the other
    done = [f"lines {lines!r}"]
    if spaces != "\n":
        places = [match.start() for match in re.finditer("(?<=[0-9]) (?=[-0-9])", text)]
        chosen = places if case.chance(0.5) else [case.pick(places)] if places else []
        for position in reversed(chosen):
            text = text[:position] + spaces + text[position + 1 :]
        done.append(f"{spaces!r} for a blank, {len(chosen)} times")
    content = text.replace("\n", lines).encode("utf-8", "surrogateescape")
    if case.chance(0.2):
        content, done = b"\xef\xbb\xbf" + content, [*done, "a byte order mark"]
    if case.chance(0.1):
        content, done = gzip.compress(content), [*done, "gzip"]
    return content, ", ".join(done)


def number(case: Case) -> str:
    """A plausible number for a flag."""
    return repr(
        case.pick(
            (
                0.0,
                1.0,
                2.0,
                0.1,
                10.0,
                100.0,
                1.5,
                -1.0,
                case.spread(1e-3, 1e3),
                -case.spread(1e-2, 10.0),
                case.spread(1e-9, 1e9),
            )
        )
    )


def value(case: Case, wild: float, whole: bool = False) -> str:
    """A number for a flag, which is sometimes extreme or wrong."""
    if case.chance(wild):
        return word(case)
    return str(int(case.random.integers(-1, 9))) if whole else number(case)


def words_of(case: Case, flag: Flag, files: list[str], wild: float) -> list[str]:
    """A flag of the table with values of its kind, which are sometimes wrong."""
    count = {"vector": 3, "region": 4, "cell": int(case.random.integers(1, 7)), "misset": 3, "number": 1, "whole": 1}.get(
        flag.kind, 0
    )
    if flag.kind == "cell":
        values = [repr(case.spread(3.0, 300.0)) if i < 3 else repr(float(case.random.uniform(60, 120))) for i in range(count)]
        values = [word(case) if case.chance(wild) else text for text in values]
    elif flag.kind == "misset" and case.chance(0.2):
        values = ["random"]
    elif flag.kind == "file":
        values = [case.pick(files)]
    elif flag.kind == "word":
        values = [case.pick(("beam", "sample", "cpu", "double", "mixed", "inf", "100", "500.5", "0", "-1", word(case)))]
    elif flag.kind == "names":
        values = [name for name in SWITCHES if case.chance(0.15)] or case.pick(([], ["all"], ["nonsense"]))
    else:
        values = [value(case, wild, flag.kind in ("whole", "region")) for _ in range(count)]
    if case.chance(wild / 4):
        values = values[:-1]
    return [case.pick(flag.names), *values]


def flags(case: Case, files: list[str], wild: float = 0.15, most: int = 10, without: tuple[str, ...] = ()) -> list[str]:
    """A command line of a small experiment, with random flags of the table before or after it."""
    base = f"-cell 30 40 50 80 95 100 -default_F 10 -detpixels {case.random.integers(1, 9)} -pixel 1 -distance 50 -N 3".split()
    usable = [flag for flag in FLAGS if not set(flag.names) & set(without)]
    chosen = [case.pick(usable) for _ in range(int(case.random.integers(0, most)))]
    blocks = [words_of(case, flag, files, wild) for flag in chosen if flag.kind != "file" or case.chance(0.4)]
    blocks.insert(case.pick((0, 0, len(blocks))), base)
    if case.chance(0.03):
        blocks.append([word(case)])
    return [word_of_block for block in blocks for word_of_block in block]


def too_large(experiment: Experiment) -> bool:
    """Whether an image takes more memory than these tests try. One that no machine could hold has to be refused."""
    price = cost(experiment)
    if price.bytes > 2**50:
        simulate(experiment)
        raise Fault("an image that takes more memory than there is", price)
    return price.bytes > 2**29 or price.lattices + price.sources > 10**5


def samples(experiment: Experiment) -> int:
    """The number of steps of an image, or a number that is too large for these tests if its tables are."""
    return 10**18 if too_large(experiment) else cost(experiment).steps


def write_files(folder: Path) -> list[str]:
    """Write files that flags can name: valid ones of each format, and some invalid ones."""
    folder.mkdir(exist_ok=True)
    made = {
        "P1.hkl": hkl_text(), "A.mat": matrix_text(), "sources": sources_text(), "table.stol": stol_text(),
        "empty": "", "words": "nothing but words\n",
    }  # fmt: skip
    for name, text in made.items():
        (folder / name).write_text(text)
    (folder / "image.img").write_bytes(smv_bytes())
    (folder / "noise").write_bytes(np.random.default_rng(1).bytes(999))
    names = [*made, "image.img", "noise", "missing", ".", "/dev/null", "", "caf\udce9.bin", "no/such/folder", "a\nb"]
    return [str(folder / name) if name and not name.startswith("/") else name for name in names]


def hkl_text() -> str:
    h, k, l = np.indices((3, 3, 3)).reshape(3, -1) - 1
    return "".join(f"{a} {b} {c} {10 + (3 * a + 5 * b + 7 * c) % 11}.5\n" for a, b, c in zip(h, k, l))


def matrix_text() -> str:
    return "  0.02 0.001 -0.003\n -0.001 0.018 0.004\n  0.002 -0.003 0.015\n 0.000 0.000 0.000\n"


def sources_text() -> str:
    return "".join(f"{-10 - i} {0.1 * i} {-0.05 * i} {1 + i} {1e-10 * (1 + 0.01 * i)}\n" for i in range(5))


def stol_text() -> str:
    return "".join(f"{0.02 * i:.2f} {2.57 + np.sin(i):.4f}\n" for i in range(12))


def smv_bytes(fast: int = 8, slow: int = 6) -> bytes:
    """The bytes of an SMV image as other programs write it."""
    header = "{\nHEADER_BYTES=  512;\nDIM=2;\nBYTE_ORDER=little_endian;\nTYPE=unsigned_short;\n"
    header += f"SIZE1={fast};\nSIZE2={slow};\nPIXEL_SIZE=0.1024;\nDISTANCE=150.5;\nWAVELENGTH=0.9793;\nBEAM_CENTER_X=0.35;\n"
    header += (
        "BEAM_CENTER_Y=0.31;\nPHI=12.0;\nOSC_RANGE=0.5;\nTWOTHETA=0;\nDETECTOR_SN=445;\nDATE=Mon Nov 23 10:00:00 2020;\n}\f"
    )
    pixels = np.random.default_rng(5).integers(0, 3000, (slow, fast)).astype("<u2")
    return header.encode().ljust(512) + pixels.tobytes()
