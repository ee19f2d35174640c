"""smv: nanoBragg's header byte for byte, fabio as the independent reader, and files that are no SMV."""

import gzip
import json
import os

import numpy as np
import pytest
from golden_cases import GOLDEN

from nbnumba.errors import InputError
from nbnumba.formats import smv

CASES = json.loads((GOLDEN / "cases.json").read_text())
TEXT_KEYS = ("DETECTOR_SN", "BEAMLINE")


def image(shape=(5, 7)):
    return np.random.default_rng(1).integers(0, 65536, shape, dtype=np.uint16)


def header_of(case):
    """The entries that a caller passes for a golden case: numbers as numbers, what write() adds left out."""
    entries = []
    for line in CASES[case]["smv_header"]:
        key, value = line.rstrip(";").split("=")
        if key in TEXT_KEYS:
            entries.append((key, {"BEAMLINE": "fake", "DETECTOR_SN": "000"}[key]))
        elif key == "DIALS_ORIGIN":
            entries.append((key, [float(number) for number in value.split(",")]))
        elif key not in smv.OWN_KEYS:
            entries.append((key, float(value)))
    return entries


def size_in(case):
    values = dict(line.rstrip(";").split("=") for line in CASES[case]["smv_header"])
    return int(values["SIZE2"]), int(values["SIZE1"])


def overflows(case):
    """Whether C's header was too long for the 512 bytes that it announces; the stored lines are then cut."""
    return CASES[case]["smv_header"][-1] != "BEAMLINE=fake;"


@pytest.mark.parametrize("case", [case for case in CASES if not overflows(case)])
def test_header_is_what_c_writes(case):
    expected = ("{\n" + "\n".join(CASES[case]["smv_header"]) + "\n}\f").encode().ljust(512)
    assert len(expected) == 512
    assert smv.header_block(size_in(case), header_of(case)) == expected


@pytest.mark.parametrize("case", [case for case in CASES if overflows(case)])
def test_header_too_long_for_c_takes_two_blocks(case):
    block = smv.header_block(size_in(case), header_of(case))
    lines = CASES[case]["smv_header"]
    assert len(block) == 1024
    text = block.decode()
    assert text.startswith("{\nHEADER_BYTES=1024;\n" + "\n".join(lines[1:]))
    assert text.rstrip(" ").endswith("BEAMLINE=fake;\n}\f")


def test_golden_covers_both_lengths():
    assert {overflows(case) for case in CASES} == {False, True}


@pytest.mark.parametrize("case", ["cubic", "tilted", "supervisor_roi_t1"])
@pytest.mark.parametrize("offset", [[], [("ADC_OFFSET", 40.0)]])
def test_fabio_reads_pixels_and_header(tmp_path, case, offset):
    fabio = pytest.importorskip("fabio")
    pixels = image()
    smv.write(tmp_path / "out.img", pixels, header_of(case) + offset)
    fabio_image = fabio.open(str(tmp_path / "out.img"))
    np.testing.assert_array_equal(fabio_image.data, pixels)
    assert fabio_image.data.dtype == np.uint16
    header, again = smv.read(tmp_path / "out.img")
    assert dict(fabio_image.header) == header
    assert header == smv.read_header(tmp_path / "out.img")
    np.testing.assert_array_equal(again, pixels)
    assert (tmp_path / "out.img").stat().st_size == int(header["HEADER_BYTES"]) + pixels.nbytes
    assert header.get("ADC_OFFSET") == ("40" if offset else None)
    assert (header["SIZE1"], header["SIZE2"]) == ("7", "5")
    assert header["BEAMLINE"] == "fake"


def test_header_bytes_is_right_at_every_length():
    lengths = []
    for filler in range(290, 440):
        block = smv.header_block((3, 4), [("NOTE", "x" * filler)])
        announced = int(block.split(b"HEADER_BYTES=")[1].split(b";")[0])
        used = len(block.rstrip(b" "))
        assert announced == len(block) == (512 if used <= 512 else 1024)
        assert block.rstrip(b" ").endswith(b"x;\n}\f")
        lengths.append(used)
    assert {511, 512, 514} <= set(lengths)  # one more byte takes 1024, which has one digit more than 512


def test_header_of_several_blocks(tmp_path):
    entries = {f"KEY{n}": n for n in range(1000)}
    smv.write(tmp_path / "out.img", image(), entries)
    header, pixels = smv.read(tmp_path / "out.img")
    assert int(header["HEADER_BYTES"]) % 512 == 0 and int(header["HEADER_BYTES"]) > 9999
    assert {key: header[key] for key in entries} == {key: str(n) for key, n in entries.items()}
    np.testing.assert_array_equal(pixels, image())


@pytest.mark.parametrize(
    "value, text",
    [
        (0.1, "0.1"),
        (99.08716, "99.0872"),
        (100.0, "100"),
        (-0.0, "-0"),
        (1e-5, "1e-05"),
        (123456789.0, "1.23457e+08"),
        (123456789, "123456789"),
        (np.float32(0.5), "0.5"),
        (np.int64(7), "7"),
        (float("nan"), "nan"),
        (-float("nan"), "-nan"),
        (float("-inf"), "-inf"),
        ("000", "000"),
        ("", ""),
        ((-6.5, 6.5, -100.0), "-6.5,6.5,-100"),
        (np.array([1.0, 2.5]), "1,2.5"),
    ],
)
def test_values_are_written_as_c_prints_them(value, text):
    assert f"\nBEAMLINE={text};\n".encode() in smv.header_block((1, 1), {"BEAMLINE": value})


def test_dials_origin_has_no_semicolon():
    assert b"\nDIALS_ORIGIN=1,2,3\n}" in smv.header_block((1, 1), {"DIALS_ORIGIN": "1,2,3"})


@pytest.mark.parametrize(
    "key, value",
    [("SIZE1", 5), ("", 1), ("A B", 1), ("A=B", 1), ("A", "x;y"), ("A", "x\ny"), ("A", "x}"), ("A", "é"), ("A", "b=c")],
)
def test_entries_that_smv_cannot_hold(tmp_path, key, value):
    with pytest.raises(InputError, match="^-intfile: "):
        smv.write(tmp_path / "out.img", image(), {key: value}, "-intfile")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("pixels", [np.zeros((2, 2)), np.zeros((2, 2), np.int32), np.zeros(4, np.uint16)])
def test_write_refuses_other_pixels(tmp_path, pixels):
    with pytest.raises(ValueError, match="must be uint16"):
        smv.write(tmp_path / "out.img", pixels, {})


def test_write_takes_any_memory_layout(tmp_path):
    pixels = image()
    smv.write(tmp_path / "out.img", pixels.T.astype(">u2"), {})
    np.testing.assert_array_equal(smv.read(tmp_path / "out.img")[1], pixels.T)


def test_golden_mask():
    header, pixels = smv.read(GOLDEN / "MASK", "-mask")
    assert (header["BEAM_CENTER_X"], header["BEAM_CENTER_Y"], header["HEADER_BYTES"]) == ("4.85", "4.75", "512")
    assert pixels.shape == (96, 96) and pixels.dtype == np.uint16
    stored = np.frombuffer((GOLDEN / "MASK").read_bytes()[512:], "<u2").reshape(96, 96)
    np.testing.assert_array_equal(pixels, stored)
    assert 0 < np.count_nonzero(pixels) < pixels.size


GOOD = "{\nHEADER_BYTES=512;\nBYTE_ORDER=little_endian;\nTYPE=unsigned_short;\nSIZE1=7;\nSIZE2=5;\n}\f"


def smv_bytes(text, pixels, size=512):
    return text.encode().ljust(size) + pixels.tobytes()


@pytest.mark.parametrize("order, mark", [("big_endian", ">"), ("little_endian", "<")])
@pytest.mark.parametrize("kind, code", [("TYPE=unsigned_short", "u2"), ("Data_type=long int", "i4"), ("TYPE=float", "f4")])
@pytest.mark.parametrize("size", [512, 700, 1024])
def test_read_either_byte_order_and_any_header_size(tmp_path, order, mark, kind, code, size):
    stored = image().astype(mark + code)
    text = f"{{\nHEADER_BYTES= {size:4d};\nDIM=2;\nBYTE_ORDER={order};\n{kind};\nSIZE1=7;\nSIZE2=5;\n}}\f"
    (tmp_path / "in.img").write_bytes(smv_bytes(text, stored, size))
    pixels = smv.read(tmp_path / "in.img")[1]
    np.testing.assert_array_equal(pixels, stored)
    assert pixels.dtype == np.dtype(code) and pixels.dtype.isnative


def test_last_of_a_repeated_key_counts_and_longer_keys_are_others(tmp_path):
    text = "{\r\nHEADER_BYTES=512;\r\nSIZE1=3;\nSIZE2=5;SIZE1= 7 ;\nDISTANCE=60;\nCLOSE_DISTANCE=59;\nremark\nX=a=b\n}\f"
    (tmp_path / "in.img").write_bytes(smv_bytes(text, image()))
    header, pixels = smv.read(tmp_path / "in.img")
    expected = {"HEADER_BYTES": "512", "SIZE1": "7", "SIZE2": "5", "DISTANCE": "60", "CLOSE_DISTANCE": "59", "X": "a=b"}
    assert header == expected
    np.testing.assert_array_equal(pixels, image())


def test_detector_dimensions_stand_in_for_the_sizes(tmp_path):
    pixels = image((6, 6))
    text = "{\nHEADER_BYTES=512;\nDETECTOR_DIMENSIONS=6;\n}\f"
    (tmp_path / "in.img").write_bytes(smv_bytes(text, pixels))
    np.testing.assert_array_equal(smv.read(tmp_path / "in.img")[1], pixels)


@pytest.mark.parametrize("length", range(505, 540))
def test_header_that_overran_its_512_bytes(tmp_path, length):
    """nanoBragg announces 512 bytes however long its header is, and the pixels follow the header."""
    start = "{\nHEADER_BYTES=512;\nSIZE1=7;\nSIZE2=5;\nBEAMLINE="
    text = start + "x" * (length - len(start) - 4) + ";\n}\f"
    assert len(text) == length
    (tmp_path / "in.img").write_bytes(smv_bytes(text, image()))
    header, pixels = smv.read(tmp_path / "in.img")
    np.testing.assert_array_equal(pixels, image())
    assert header["BEAMLINE"] == "x" * (length - len(start) - 4)
    assert smv.read_header(tmp_path / "in.img") == header


def test_pixels_that_look_like_the_end_of_a_header(tmp_path):
    pixels = np.full((5, 7), int.from_bytes(b"}\f", "little"), dtype=np.uint16)
    smv.write(tmp_path / "out.img", pixels, {"BEAMLINE": "fake"})
    header, again = smv.read(tmp_path / "out.img")
    np.testing.assert_array_equal(again, pixels)
    assert header["BEAMLINE"] == "fake"


@pytest.mark.parametrize("tail", [0, 1, 3, 20])
def test_header_without_a_closing_mark(tmp_path, tail):
    pixels = image()
    pixels[0, 0] = int.from_bytes(b"}\f", "little")
    (tmp_path / "in.img").write_bytes(smv_bytes(GOOD[:-2], pixels) + bytes(tail))
    header, again = smv.read(tmp_path / "in.img")
    np.testing.assert_array_equal(again, pixels)
    assert header["SIZE2"] == "5"


@pytest.mark.parametrize("tail", [0, 2])
def test_a_closed_header_is_never_taken_for_an_overrun_one(tmp_path, tail):
    pixels = image()
    pixels[0, 0] = int.from_bytes(b"}\f", "little")
    (tmp_path / "in.img").write_bytes(smv_bytes(GOOD, pixels) + bytes(tail))
    header, again = smv.read(tmp_path / "in.img")
    np.testing.assert_array_equal(again, pixels)
    assert header["SIZE2"] == "5"


def test_bytes_after_the_pixels_are_ignored(tmp_path):
    smv.write(tmp_path / "out.img", image(), {})
    with open(tmp_path / "out.img", "ab") as stream:
        stream.write(b"tail")
    np.testing.assert_array_equal(smv.read(tmp_path / "out.img")[1], image())


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "is not an SMV image"),
        (b"\x89PNG\r\n\x1a\n" + bytes(600), "is not an SMV image: it is a PNG picture$"),
        (b"###CBF: VERSION 1.5\r\n" + bytes(600), "is not an SMV image: it is a CBF image$"),
        (b"II*\0" + bytes(600), "is not an SMV image: it is a TIFF image$"),
        (gzip.compress(GOOD.encode()), "is not an SMV image: it is packed by gzip$"),
        (b"{" + bytes(600), "is not an SMV image"),
        (GOOD.replace("=512", "=many").encode().ljust(600), "is not an SMV image: it does not begin with"),
        (GOOD.encode(), "has HEADER_BYTES=512 but is"),
        (GOOD.replace("512", "3").encode().ljust(600), "has HEADER_BYTES=3 but is 600 bytes"),
        (smv_bytes(GOOD, image()[:-1]), "cut short: 7 x 5 pixels take 70 bytes after the header, not 56"),
        (smv_bytes(GOOD.replace("SIZE1=7;\n", ""), image()), "SIZE1 'missing' and SIZE2 '5'; they must be positive"),
        (smv_bytes(GOOD.replace("SIZE1=7", "SIZE1=-7"), image()), "SIZE1 '-7' and SIZE2 '5'"),
        (smv_bytes(GOOD.replace("SIZE1=7", "SIZE1=0"), image()), "SIZE1 '0' and SIZE2 '5'"),
        (smv_bytes(GOOD.replace("unsigned_short", "mad"), image()), "TYPE 'mad'; it must be one of unsigned_short"),
        (smv_bytes(GOOD.replace("little_endian", "middle"), image()), "BYTE_ORDER 'middle'; it must be little_endian"),
    ],
)
def test_files_that_are_no_smv(tmp_path, content, message):
    (tmp_path / "in.img").write_bytes(content)
    with pytest.raises(InputError, match=f"^-img: .*in.img.*{message}"):
        smv.read(tmp_path / "in.img")


def test_missing_file():
    with pytest.raises(InputError, match="^-mask: no such file 'none.img'$"):
        smv.read_header("none.img", "-mask")


def test_dev_null():
    smv.write("/dev/null", image(), {})
    assert os.path.exists("/dev/null") and not os.path.isfile("/dev/null")


@pytest.mark.parametrize("value", ["a}b", "{1,2} of {3}", "}", "x=y=z", "}}{{", "key={a=1}", "tail }"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "", " \t\n"])
@pytest.mark.parametrize("closing", ["}\f", "}", "\n}\n", ""])
def test_braces_and_equals_signs_within_values(tmp_path, value, end, closing):
    text = f"{{\nHEADER_BYTES=512;\nCOMMENT={value};{end}SIZE1=7;{end}SIZE2=5;{end}DISTANCE=80;{end}"
    (tmp_path / "in.img").write_bytes(smv_bytes(text + closing, image()))
    header, pixels = smv.read(tmp_path / "in.img")
    np.testing.assert_array_equal(pixels, image())
    expected = {"HEADER_BYTES": "512", "COMMENT": value, "SIZE1": "7", "SIZE2": "5", "DISTANCE": "80"}
    assert header == (expected if closing or "}" not in value else header | expected)


def test_a_header_that_ends_without_a_semicolon(tmp_path):
    text = "{\nHEADER_BYTES=512;\nSIZE1=7;\nSIZE2=5;\nDISTANCE=80}\f"
    (tmp_path / "in.img").write_bytes(smv_bytes(text, image()))
    assert smv.read_header(tmp_path / "in.img")["DISTANCE"] == "80"


@pytest.mark.parametrize("size", ["9" * 5000, "1e3", "8.7", "\u0661"])
def test_sizes_that_are_none(tmp_path, size):
    text = f"{{\nHEADER_BYTES=8192;\nSIZE1={size};\nSIZE2=5;\n}}\f"
    (tmp_path / "in.img").write_bytes(smv_bytes(text, image(), 8192))
    with pytest.raises(InputError, match="they must be positive integers$"):
        smv.read(tmp_path / "in.img")
