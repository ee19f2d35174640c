"""Files with long runs of one character: the time that they take grows with their length and not with its square."""

import re
import time
from contextlib import suppress

import geometry_files
import numpy as np
import pytest

from nbnumba import InputError
from nbnumba.formats import cif, smv, sources
from nbnumba.formats import geometry_files as formats

LENGTH = 300_000
SECONDS = 5.0
"""Each of these took minutes or more while its reader began a search anew at every character, and takes 0.1 s or less since."""

CBF = b"###CBF: VERSION 1.5\r\ndata_a\r\n"
DECTRIS = CBF + b"_array_data.header_contents\n;\n# Detector: PILATUS\n"
SECTION = CBF + b"--CIF-BINARY-FORMAT-SECTION--\nX-Binary-Size: 1"
SMV = b"{\nHEADER_BYTES=%d;\n" % (LENGTH + 60)
CHAIN = b"".join(b"group_a%d = a%d\n" % (n, n + 1) for n in range(3000))


@pytest.mark.parametrize(
    "flag, content",
    [
        ("-geom", geometry_files.geom_bytes() + b"p0/fs = " + LENGTH * b"1"),
        ("-geom", geometry_files.geom_bytes() + CHAIN + b"group_a3000 = p0\n"),
        ("-geom", b"a = 1\n" + LENGTH * b"\r" + b"x\n"),
        ("-img", CBF + LENGTH * b";a\n"),
        ("-img", CBF + LENGTH * b"'a "),
        ("-img", CBF + LENGTH * b'"a '),
        ("-img", DECTRIS + LENGTH * b" " + b"x\n;\n"),
        ("-img", DECTRIS + b"# Pixel_size" + LENGTH * b" " + b"x\n;\n"),
        ("-img", SECTION + LENGTH * b" " + b"x\n\x0c\x1a\x04\xd5a\n--CIF-BINARY-FORMAT-SECTION----\n;\n"),
        ("smv", SMV + LENGTH * b"\n" + 100 * b"x"),
        ("sources", b"1,2 3" + LENGTH * b" " + b"x\n"),
    ],
    ids=["digits", "groups", "cr", "texts", "quotes", "double", "blanks", "pixel", "field", "smv", "sources"],
)
def test_long_runs_take_no_longer_than_others(tmp_path, flag, content):
    (tmp_path / "file").write_bytes(content)
    path = str(tmp_path / "file")
    started = time.process_time()
    with suppress(InputError):
        {"smv": smv.read_header, "sources": sources.read}.get(flag, lambda path: formats.read(path, flag))(path)
    assert time.process_time() - started < SECONDS


def test_values_of_a_cif():
    """Texts of lines, words in quotes and bare words, and quotes that do not end are words."""
    text = "_a 'b c' # d\n_e\n; f\n ;g\n;\n_h \"i'j\" _k 'l\n_m it's _n ;o\n;p\n"
    block = cif.parse(b"###CBF\ndata_x\n" + text.encode(), "test")
    assert {name: values for name, values in block.items.items()} == {
        "_a": ["b c"], "_e": ["f\n ;g"], "_h": ["i'j"], "_k": ["'l"], "_m": ["it's"], "_n": [";o"],
    }  # fmt: skip
    header = b"--CIF-BINARY-FORMAT-SECTION--\r\nContent-Type: application/octet-stream;\r\n"
    header += b'     conversions="x-CBF_BYTE_OFFSET"\r\n'
    section = cif.parse(b"###CBF\ndata_x\n" + header + b"X-Binary-Size: 3\r\n\x0c\x1a\x04\xd5abc", "test").sections[0]
    fields = {"content-type": "application/octet-stream", "x-binary-size": "3", "conversions": "x-CBF_BYTE_OFFSET"}
    fields["options"] = '"'
    assert section.fields == fields and section.data == b"abc"


def test_searches_of_a_piece_at_a_time_find_what_one_pattern_finds():
    """The words of a CIF and the end of a header of SMV are those of the regular expressions that define them."""
    closing = re.compile(rb"[;\r\n]\s*\}")
    tokens = re.compile(
        r"""(?m)\s+|\#.*|^;(?P<text>.*\n(?:.*\n)*?);(?=\s|\Z)|'(?P<single>.*?)'(?=\s|\Z)|"(?P<double>.*?)"(?=\s|\Z)|(?P<word>\S+)"""
    )
    random = np.random.default_rng(5)
    for _ in range(5000):
        some = bytes(random.choice(list(b";\n\r }\x0cA"), random.integers(1, 14)).astype(np.uint8))
        match = closing.search(some)
        assert match is None or smv._closing(some) == match.end() - 1, some
        text = bytes(random.choice(list(b";\n '\"#a"), random.integers(1, 20)).astype(np.uint8)).decode()
        found = ((token, token.lastgroup) for token in tokens.finditer(text))
        wanted = [(token[kind].strip() if kind == "text" else token[kind], kind != "word") for token, kind in found if kind]
        assert list(cif._tokens(text)) == wanted, text
