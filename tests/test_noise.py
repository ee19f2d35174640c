"""Photon noise and 16-bit images: bit for bit against nanoBragg's files, and against the Poisson distribution."""

import json
import zlib

import numpy as np
import pytest
from golden_cases import GOLDEN

from nbnumba import noise, rng
from nbnumba.errors import InputError

CASES = ["noise", "noise_low", "noise_high"]
# the totals that nanoBragg printed: photons on the noise image, overloads
PRINTED = {"noise": (13370114, 0), "noise_low": (17707, 0), "noise_high": (1782981865, 3423)}
# crc32 of the float32 deviates of nanoBragg's poidev, -seed 31, for the means k^2 / 65536, k = 0 .. 524287
RAMP_CRC = 1800020204
SAMPLES = (500, 400)


@pytest.fixture(scope="module")
def images():
    with np.load(GOLDEN / "images_c_parity.npz") as stored:
        names = [name + suffix for name in CASES for suffix in ("", "__noise", "__int")]
        return {name: stored[name] for name in names}


@pytest.fixture(scope="module")
def arguments():
    cases = json.loads((GOLDEN / "cases.json").read_text())
    return {name: cases[name]["args"].split() for name in CASES}


def flag(words, name, default, kind=float):
    return kind(words[words.index(name) + 1]) if name in words else default


@pytest.mark.parametrize("name", CASES)
def test_noise_image_is_that_of_nanobragg(name, images, arguments):
    words = arguments[name]
    made = noise.poisson(images[name], flag(words, "-seed", None, int), flag(words, "-adc", 40.0))
    assert made.pixels.dtype == np.uint16
    np.testing.assert_array_equal(made.pixels, images[name + "__noise"])
    assert (round(made.photons), made.overloads) == PRINTED[name]


def test_counts_from_zero_to_four_million_are_those_of_nanobragg():
    means = (np.arange(2**19, dtype=np.int64) ** 2 / 2**16).reshape(512, 1024)
    assert zlib.crc32(noise.poisson_counts(means, 31).astype("<f4").tobytes()) == RAMP_CRC


@pytest.mark.parametrize("name", CASES)
def test_scaled_image_is_that_of_nanobragg(name, images, arguments):
    words = arguments[name]
    made = noise.scaled_integers(images[name], flag(words, "-scale", None), flag(words, "-adc", 40.0))
    assert made.pixels.dtype == np.uint16
    np.testing.assert_array_equal(made.pixels, images[name + "__int"])


@pytest.mark.parametrize("mean", [0.3, 5.0, 50.0, 1e4, 2e6])
def test_counts_have_the_mean_and_variance_of_poisson(mean):
    counts = noise.poisson_counts(np.full(SAMPLES, mean), 17).astype(np.float64)
    spread_of_mean = np.sqrt(mean / counts.size)
    spread_of_variance = np.sqrt((mean + 2 * mean**2) / counts.size)
    assert abs(counts.mean() - mean) < 5 * spread_of_mean
    assert abs(counts.var() - mean) < 5 * spread_of_variance


@pytest.mark.parametrize("mean", [0.3, 5.0, 50.0, 1e4])
def test_counts_are_whole_numbers(mean):
    counts = noise.poisson_counts(np.full(SAMPLES, mean), 17)
    np.testing.assert_array_equal(counts, np.floor(counts))


def test_mean_zero_counts_nothing():
    assert not noise.poisson_counts(np.zeros(SAMPLES), 17).any()


def test_a_seed_gives_one_image_and_another_seed_another():
    image = np.geomspace(0.1, 1e7, 2000).reshape(40, 50)
    first, again, other = (noise.poisson_counts(image, seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert (first != other).mean() > 0.5


def test_a_generator_goes_on_where_it_was():
    image = np.full((4, 6), 8.0)
    source = rng.Ran1(5)
    parts = [noise.poisson_counts(half, source) for half in (image[:2], image[2:])]
    np.testing.assert_array_equal(np.vstack(parts), noise.poisson_counts(image, 5))


def test_negative_seed_goes_on_with_the_table_of_the_mosaic_domains():
    image = np.full((4, 6), 8.0)
    mosaic = rng.Ran1(rng.DEFAULT_MOSAIC_SEED)
    rng.mosaic_domains(1, mosaic)
    np.testing.assert_array_equal(noise.poisson_counts(image, -9), noise.poisson_counts(image, 1))
    assert (noise.poisson_counts(image, rng.Ran1(-9, after=mosaic)) != noise.poisson_counts(image, 1)).any()


def test_region_is_drawn_by_itself_and_outside_is_zero():
    image = np.full((7, 9), 100.0)
    roi = (2, 5, 1, 3)
    made = noise.poisson(image, 8, 10.0, roi)
    alone = noise.poisson(np.full((3, 4), 100.0), 8, 10.0)
    np.testing.assert_array_equal(made.pixels[1:4, 2:6], alone.pixels)
    assert made.photons == alone.photons
    assert np.count_nonzero(made.pixels) == np.count_nonzero(alone.pixels) == 12


def test_layout_and_type_of_the_input_do_not_matter():
    image = np.geomspace(0.1, 1e4, 48).astype(np.float32).reshape(6, 8)
    expected = noise.poisson_counts(image, 8)
    np.testing.assert_array_equal(noise.poisson_counts(np.asfortranarray(image.astype(np.float64)), 8), expected)


def test_integer_image_truncates_and_counts_what_it_clips():
    counts = np.array([[0.0, 7.0, 65000.0, 65535.0, 1e7]])
    made = noise.integer_image(counts, 0.75)
    np.testing.assert_array_equal(made.pixels, [[0, 7, 65000, 65535, 65535]])
    assert made.overloads == 2
    assert made.photons == counts.sum()
    assert noise.integer_image(counts, 0.0).overloads == 1


def test_integer_image_does_not_wrap_below_zero():
    np.testing.assert_array_equal(noise.integer_image(np.array([[0.0, 7.0]]), -3.0).pixels, [[0, 4]])


def test_scaled_integers_round_half_up_and_clip():
    image = np.array([[0.0, 0.25, 0.75, 1.0, 40000.0]])
    made = noise.scaled_integers(image, 2.0, 0.0)
    np.testing.assert_array_equal(made.pixels, [[0, 1, 2, 2, 65535]])
    np.testing.assert_array_equal(noise.scaled_integers(image, 2.0, -1.0).pixels[0, :4], [0, 0, 1, 1])


def test_scaled_integers_round_in_float32():
    just_below_half = 40.4999999999
    assert noise.scaled_integers(np.ones((1, 1)), just_below_half, 0.0).pixels[0, 0] == 41


def test_autoscale_takes_the_brightest_pixel_of_the_region():
    image = np.array([[1.0, 2.0, 8.0], [3.0, 4.0, 9.0]])
    made = noise.scaled_integers(image, None, 40.0, roi=(0, 1, 0, 1))
    assert made.scale == 55000.0 / 4.0
    np.testing.assert_array_equal(made.pixels, [[13790, 27540, 0], [41290, 55040, 0]])
    assert noise.scaled_integers(np.zeros((2, 2))).scale == 1.0
    assert noise.scaled_integers(image, 0.0).scale == 55000.0 / 9.0


@pytest.mark.parametrize("bad", [-1.0, np.nan, np.inf, 1e39])
def test_bad_pixel_value(bad):
    image = np.ones((3, 4))
    image[1, 2] = bad
    for refuses in (lambda: noise.poisson(image, 1), lambda: noise.scaled_integers(image)):
        with pytest.raises(InputError, match=r"image is .* at \(slow, fast\) \(1, 2\): .*0 or more and finite"):
            refuses()


@pytest.mark.parametrize("shape", [(4,), (2, 2, 2), (0, 3)])
def test_bad_shape(shape):
    with pytest.raises(InputError, match="image has shape"):
        noise.poisson_counts(np.zeros(shape), 1)


@pytest.mark.parametrize(
    "roi", [(-1, 2, 0, 1), (0, 4, 0, 1), (2, 1, 0, 1), (0, 1, 0, 3), (0, 1, 2, 1), (0, 1, 0), (0, 1.5, 0, 1)]
)
def test_bad_roi(roi):
    with pytest.raises(InputError, match="roi is .*xmax <= 3 .*ymax <= 2"):
        noise.poisson(np.zeros((3, 4)), 1, roi=roi)


def test_bad_offset_scale_and_seed():
    image = np.zeros((2, 2))
    with pytest.raises(InputError, match="adc_offset is nan"):
        noise.poisson(image, 1, adc_offset=np.nan)
    with pytest.raises(InputError, match="scale is inf"):
        noise.scaled_integers(image, np.inf)
    with pytest.raises(InputError, match="seed is 1.5"):
        noise.poisson(image, 1.5)
