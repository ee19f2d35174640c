"""Measured images by fabio: read within bounds of time and memory, whatever a damaged file asks for."""

import bz2
import gzip
import os
import time

import numpy as np
import pytest

from nbnumba.errors import InputError
from nbnumba.formats import by_fabio, images

fabio = pytest.importorskip("fabio")
SHAPE = (30, 20)
PIXELS = np.arange(600, dtype=np.int32).reshape(SHAPE) - 5


def read(path, shape=SHAPE):
    return images.read(str(path), shape, "--data")


@pytest.fixture
def cbf(tmp_path):
    fabio.cbfimage.CbfImage(data=PIXELS).write(str(tmp_path / "in.cbf"))
    return tmp_path / "in.cbf"


def edf(path, sizes, body=b"\0" * 1000):
    entries = "".join(f"Dim_{n} = {size} ;\n" for n, size in enumerate(sizes, start=1))
    text = f"{{\nEDF_DataBlockID = 1.Image.Psd ;\nByteOrder = LowByteFirst ;\nDataType = DoubleValue ;\n{entries}"
    path.write_bytes((text.ljust(510) + "}\n").encode() + body)
    return path


@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress])
def test_a_sound_image_is_read(tmp_path, cbf, pack):
    name = tmp_path / f"packed.cbf{ {gzip.compress: '.gz', bz2.compress: '.bz2'}.get(pack, '') }"
    name.write_bytes(pack(cbf.read_bytes()))
    image = read(name)
    np.testing.assert_array_equal(image.pixels, PIXELS)
    assert image.pixels.dtype.isnative and image.pixels.flags.writeable and image.header


def test_a_name_of_any_bytes(tmp_path, cbf):
    name = os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xe4.cbf")
    os.rename(cbf, name)
    np.testing.assert_array_equal(read(name).pixels, PIXELS)


@pytest.mark.parametrize("part", [0.1, 0.5, 0.9])
def test_a_cbf_that_is_cut_off(cbf, part):
    content = cbf.read_bytes()
    cbf.write_bytes(content[: int(part * len(content))])
    started = time.perf_counter()
    with pytest.raises(InputError, match="^--data: .*in.cbf' cannot be read: .*; allowed: an image that fabio reads") as caught:
        read(cbf)
    assert time.perf_counter() - started < 30.0
    assert part != 0.1 or "cut off before its binary section" in str(caught.value)


def test_reading_without_end_is_ended(tmp_path, cbf, monkeypatch):
    """Packed, the file is not looked through beforehand."""
    monkeypatch.setattr(by_fabio, "CPU_SECONDS", 3)
    (tmp_path / "cut.cbf.gz").write_bytes(gzip.compress(cbf.read_bytes()[:300]))
    with pytest.raises(InputError, match="cut.cbf.gz' cannot be read: fabio did not finish within 4 s of processor time"):
        read(tmp_path / "cut.cbf.gz")


@pytest.mark.parametrize("sizes", [(2**31, 12), (2**20, 2**20), (10**12, 10**12), (20, 30, 10**9)])
def test_an_image_that_claims_more_than_its_file_has(tmp_path, sizes):
    with pytest.raises(InputError, match="^--data: .*in.edf' (cannot be read:|holds|has) .*; allowed: "):
        read(edf(tmp_path / "in.edf", sizes))


def test_a_file_that_unpacks_to_more_than_there_is(tmp_path, monkeypatch):
    monkeypatch.setattr(by_fabio, "BYTES", 2**29)
    with gzip.open(tmp_path / "in.edf.gz", "wb", compresslevel=1) as stream:
        stream.write(edf(tmp_path / "in.edf", (2**13, 2**13)).read_bytes())
        for _ in range(10):
            stream.write(bytes(2**26))
    with pytest.raises(InputError, match="in.edf.gz' (cannot be read:|has) .*; allowed: "):
        read(tmp_path / "in.edf.gz")


def test_other_images(tmp_path, cbf):
    with pytest.raises(InputError, match="in.cbf' has 20 x 30 pixels; allowed: 8 x 9, fast x slow, as the flags say"):
        read(cbf, (9, 8))
    several = fabio.tifimage.TifImage(data=PIXELS)
    several.write(str(tmp_path / "in.tif"))
    np.testing.assert_array_equal(read(f"{tmp_path}/in.tif#0").pixels, PIXELS)
    with pytest.raises(InputError, match="in.tif#3|in.tif' .*allowed"):
        read(f"{tmp_path}/in.tif#3")
    with pytest.raises(InputError, match="^--data: '/dev/zero' is a device or a pipe; allowed: a file"):
        read("/dev/zero")
    (tmp_path / "in.txt").write_text("no image")
    with pytest.raises(InputError, match="in.txt' cannot be read: .*; allowed: an image that fabio reads"):
        read(tmp_path / "in.txt")
