"""The pixels of a measured image that count: gaps, masks and saturation as files state them, and as values suggest."""

import h5py
import numpy as np
import pytest
from fabio.edfimage import EdfImage
from fabio.tifimage import TifImage

from nbnumba import Experiment, InputError
from nbnumba.cli import measured, refine
from nbnumba.formats import images, smv, unmeasured

SHAPE = (6, 8)
DECTRIS = {"_array_data.header_contents": "# Detector: PILATUS 2M\r\n# Count_cutoff 1048500 counts\r\n"}


def flags(shape=SHAPE):
    """An experiment whose detector has that number of pixels (slow, fast)."""
    line = "-cell 50 60 70 -default_F 10 -lambda 2 -N 3 -distance 50 -oversample 1 -detpixels_x {} -detpixels_y {}"
    return Experiment.from_args(line.format(shape[1], shape[0]).split())


def stored(values, kind):
    """Pixels of a type, which begin with these values."""
    pixels = np.full(SHAPE, 7, dtype=kind)
    pixels.ravel()[: len(values)] = values
    return pixels


def read(path, shape=SHAPE, **more):
    """An image as refine reads it."""
    given = {"mask": None, "saturation": None, "offset": None} | more
    return measured.read(str(path), flags(shape), **given)


LEAST = np.iinfo(np.int32).min


@pytest.mark.parametrize(
    ("pixels", "header", "in_gaps", "saturated"),
    [
        (stored([-1, -2, 0], np.int32), {}, 0, 0),
        (stored([-1, -2, 0], np.int32), DECTRIS, 2, 0),
        (stored([-1, -2, 0], np.int32), {"_array_data.header_convention": "PILATUS_1.2"}, 2, 0),
        (stored([-1, -2, 0], np.int32), {"Count_cutoff": "1048574 counts"}, 2, 0),
        (stored([-1, -2, -3], np.int32), {"_array_intensities.undefined_value": "-1"}, 1, 0),
        (stored([-10, -11, -3], np.float32), {"Dummy": "-10", "DDummy": "0.1"}, 1, 0),
        (stored([-1, 0, 32767], np.int16), {}, 0, 1),
        (stored([-32768, -32767], np.int16), {}, 1, 0),
        (stored([LEAST, LEAST + 1], np.int32), {}, 1, 0),
        (stored([65535, 65534, 0], np.uint16), {}, 0, 1),
        (stored([65535, 65534, 0], np.uint16), {"SATURATED_VALUE": "1048512"}, 0, 1),
        (stored([2**32 - 1, 2**32 - 2, 0], np.uint32), {}, 2, 0),
        (stored([255, 254, 0], np.uint8), {}, 0, 1),
        (stored([np.nan, np.inf, -5.0], np.float32), {}, 2, 0),
        (stored([0, 1], np.bool_), {}, 0, 0),
        (stored([1000, 999, 1001], np.int32), {"SATURATED_VALUE": "1000"}, 0, 2),
        (stored([65000, 64999, 0], np.uint16), {"CCD_IMAGE_SATURATION": "65000"}, 0, 1),
        (stored([64000, 63999, 0], np.uint16), {"saturated_value": "64000"}, 0, 1),
        (stored([1048500, -1, 9], np.int32), DECTRIS, 1, 1),
        (stored([1048574, 9], np.int32), {"Count_cutoff": "1048574 counts"}, 0, 1),
        (stored([388705, 9], np.int32), {"_array_intensities.overload": "388705"}, 0, 1),
        (stored([163810, 9], np.int32), {"CCDPARM": "16.7 10.46 41.0 0.0 163810.0"}, 0, 1),
    ],
)
def test_gaps_and_saturated_pixels(monkeypatch, pixels, header, in_gaps, saturated):
    """The format and the header state them. Other numbers below 0 are data, from which a dark image was subtracted."""
    monkeypatch.setattr(images, "read", lambda *_: images.Image(pixels, header))
    image = read("x")
    assert (image.left_out["in gaps"], image.left_out["saturated"]) == (in_gaps, saturated)
    assert image.counted == 48 - in_gaps - saturated
    assert image.below == (np.count_nonzero(pixels < 0) - in_gaps if pixels.dtype.kind == "i" else 0)
    np.testing.assert_array_equal(image.data[~np.isnan(image.data)], pixels[~np.isnan(image.data)])


def test_a_dark_subtracted_image_is_the_same_in_every_type(tmp_path):
    """Integers of read-out noise about a weak background count in any file as the same numbers in float32 do."""
    pixels = np.rint(np.random.default_rng(3).normal(2.0, 3.0, (40, 50)))
    TifImage(data=pixels.astype(np.int32)).write(str(tmp_path / "i.tif"))
    EdfImage(data=pixels.astype(np.float32)).write(str(tmp_path / "f.edf"))
    header = "{\nHEADER_BYTES=512;\nTYPE=signed_short;\nSIZE1=50;\nSIZE2=40;\n}\f"
    (tmp_path / "s.img").write_bytes(header.encode().ljust(512) + pixels.astype("<i2").tobytes())
    for name in ("i.tif", "f.edf", "s.img"):
        np.testing.assert_array_equal(read(tmp_path / name, pixels.shape).data, pixels)
    below = np.count_nonzero(pixels < 0)
    assert read(tmp_path / "i.tif", pixels.shape).line().endswith(f"2000 counted ({below} below 0 as data)")


def test_what_looks_like_gaps_is_announced(monkeypatch):
    """Whole lines of -1 look like gaps between modules. A warning has their number, and an option can deny the guess."""
    pixels = np.random.default_rng(3).poisson(2.0, (40, 50)).astype(np.int32)
    pixels[10:13], pixels[3, 4] = -1, -2
    monkeypatch.setattr(images, "read", lambda *_: images.Image(pixels, {}))
    with pytest.warns(UserWarning, match="x: 151 pixels of -1 and -2.*--gap none"):
        assert read("x", pixels.shape).left_out["in gaps"] == 151
    assert read("x", pixels.shape, gaps=measured.read_gaps(["none"])).below == 151
    assert read("x", pixels.shape, gaps=measured.read_gaps(["-1", "-2"])).left_out["in gaps"] == 151
    pixels[5, 6] = -3
    assert read("x", pixels.shape).below == 152
    assert read("x", pixels.shape, gaps=measured.read_gaps([":-1"])).left_out["in gaps"] == 152


def test_values_of_gaps_that_are_stated(monkeypatch):
    """Single values and ranges add to those of the file, or replace them."""
    pixels = stored([-2, -1, 0, 5, 6, 9], np.int32)
    monkeypatch.setattr(images, "read", lambda *_: images.Image(pixels, DECTRIS))
    for words, count in (([], 2), (["9"], 3), (["5:6", "9:"], 5), (["none"], 0), (["none", "-1", ":-2", "0"], 3)):
        assert read("x", gaps=measured.read_gaps(words)).left_out["in gaps"] == count


def nexus(path, pixels, mask=None, specific=False, **numbers):
    """A file of NXmx, optionally with the group of Dectris."""
    with h5py.File(path, "w") as file:
        file["entry/data/data_000001"] = pixels[np.newaxis]
        detector = file.create_group("entry/instrument/detector")
        place = detector.create_group("detectorSpecific") if specific else detector
        if mask is not None:
            place["pixel_mask"] = mask
        for key, value in numbers.items():
            place[key] = value


@pytest.mark.parametrize("specific", [False, True])
def test_the_mask_that_a_file_brings_is_used(tmp_path, specific):
    """Pixels with any bit set are left out, whatever name the image is read by, and sentinels of an unsigned type are gaps."""
    pixels = stored([1000, 65535, 65534, 3], np.uint16)
    mask = np.zeros(SHAPE, np.uint32)
    mask[0, 0], mask[1, 2], mask[2, 3], mask[0, 1] = 1, 1 << 8, 1 << 31, 1
    nexus(tmp_path / "x_master.h5", pixels, mask, specific)
    for name in ("x_master.h5", "x_master.h5#0", "x_master.h5::/entry/data/data_000001#0"):
        image = read(tmp_path / name)
        assert (image.left_out["masked by the file"], image.left_out["in gaps"], image.counted) == (4, 1, 43)
        assert np.isnan(image.data[0, :3]).all() and image.data[0, 3] == 3.0
    assert "left out 4 masked by the file, 1 in gaps" in image.line()


def test_valid_numbers_of_nxmx(tmp_path):
    """Pixels above saturation_value and below underload_value are invalid; pixels at these values are valid."""
    nexus(tmp_path / "x.h5", stored([101, 100, 99, -5, -6], np.int32), saturation_value=100, underload_value=-5)
    image = read(tmp_path / "x.h5")
    assert image.left_out["saturated"] == 1 and image.left_out["below what is valid"] == 1
    assert list(image.data[0, 1:4]) == [100.0, 99.0, -5.0]
    assert image.line().endswith("left out 1 below what is valid, 1 saturated above 100")
    nexus(tmp_path / "y.h5", stored([101, 100, 99], np.int32), specific=True, countrate_correction_count_cutoff=100)
    assert read(tmp_path / "y.h5").line().endswith("2 saturated from 100 on")
    assert read(tmp_path / "y.h5", saturation=101.0).line().endswith("1 saturated from 101 on")


def test_a_mask_that_does_not_fit_is_said_to_be_ignored(tmp_path):
    """A warning says so for a mask of another shape than the image. Each of several images has its own mask."""
    nexus(tmp_path / "x.h5", stored([], np.uint16), np.ones((5, 8), np.uint32))
    with pytest.warns(UserWarning, match="pixel_mask of 5 x 8 does not fit an image of 6 x 8"):
        assert read(tmp_path / "x.h5").counted == 48
    masks = np.zeros((2, *SHAPE), np.uint32)
    masks[1, 0] = 1
    with h5py.File(tmp_path / "y.h5", "w") as file:
        file["entry/data/data"], file["entry/instrument/detector/pixel_mask"] = np.ones((2, *SHAPE), np.uint16), masks
    assert [read(tmp_path / f"y.h5#{number}").counted for number in (0, 1)] == [48, 40]


def test_links_of_a_master_that_lead_nowhere(tmp_path):
    """A broken link beside the image, or in place of the mask, does not make reading fail."""
    nexus(tmp_path / "x.h5", stored([], np.uint16), saturation_value=50)
    with h5py.File(tmp_path / "x.h5", "a") as file:
        file["entry/instrument/detector/pixel_mask"] = h5py.ExternalLink("none.h5", "/mask")
        file["other"] = h5py.SoftLink("/nowhere")
    assert read(tmp_path / "x.h5").saturation == unmeasured.Limit(50.0, inclusive=False)


def test_numbers_of_an_raxis_are_counts(tmp_path):
    """Large numbers are stored as a fraction, and the saturation of the header is one of counts."""
    pixels = stored([40000, 32767, 65535, 32769], np.uint16)
    smv.write(tmp_path / "x.img", pixels, {"RAXIS_COMPRESSION_RATIO": 32, "SATURATED_VALUE": 1048500})
    image = read(tmp_path / "x.img")
    assert list(image.data[0, [0, 1, 3]]) == [(40000 - 32768) * 32, 32767, 32]
    assert np.isnan(image.data[0, 2]) and image.line().endswith("1 saturated from 1048500 on")


def test_a_limit_is_in_words():
    """The words are those in the line about an image."""
    assert (str(unmeasured.Limit(5.0)), str(unmeasured.Limit(5.0, False))) == ("from 5 on", "above 5")
    with pytest.raises(InputError, match="--gap: '7:x'"):
        measured.read_gaps(["7:x"])


def test_a_refusal_of_numbers_below_0_says_what_was_taken_off(tmp_path):
    """The header states an offset that was never added to the counts."""
    smv.write(tmp_path / "i.img", stored([3], np.uint16), [("ADC_OFFSET", 40.0)], "test")
    with pytest.raises(InputError, match=r"down to -37, with offset 40 \(ADC_OFFSET of its header\) subtracted, which c"):
        refine._check_counts(read(tmp_path / "i.img"))
    with pytest.raises(InputError, match="down to -1, with offset 4 subtracted, which c"):
        refine._check_counts(read(tmp_path / "i.img", offset=4.0))
    with pytest.raises(InputError, match="down to -37, which c"):
        smv.write(tmp_path / "j.img", stored([3], np.uint16), [], "test")
        image = read(tmp_path / "j.img")
        refine._check_counts(image._replace(data=image.data - 40.0))
