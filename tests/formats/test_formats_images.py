"""raw, pgm and png: bytes on disk, Pillow as the independent reader, and images that are empty or not finite."""

import os
import subprocess
import sys

import numpy as np
import pytest

from nbnumba.errors import InputError
from nbnumba.formats import pgm, png, raw

NAN, INF = float("nan"), float("inf")


def spots(shape=(40, 60)):
    random = np.random.default_rng(5)
    return random.gamma(1.0, 10.0, shape).astype(np.float32)


def test_raw_round_trip(tmp_path):
    raw.write(tmp_path / "out.bin", spots())
    assert (tmp_path / "out.bin").read_bytes() == spots().astype("<f4").tobytes()
    again = raw.read(tmp_path / "out.bin", (40, 60))
    np.testing.assert_array_equal(again, spots())
    assert again.dtype == np.float32 and again.flags.writeable


def test_raw_rounds_float64_and_takes_any_layout(tmp_path):
    values = np.linspace(0.0, 1.0, 12).reshape(3, 4)
    raw.write(tmp_path / "out.bin", values.T)
    np.testing.assert_array_equal(raw.read(tmp_path / "out.bin", (4, 3)), values.T.astype(np.float32))


def test_raw_of_another_size(tmp_path):
    raw.write(tmp_path / "out.bin", spots())
    with pytest.raises(InputError, match="-floatfile: .*out.bin' has 9600 bytes; 60 x 41 float32 pixels take 9840"):
        raw.read(tmp_path / "out.bin", (41, 60))


@pytest.mark.parametrize("image", [np.zeros(4), np.zeros((2, 2), complex), np.zeros((1, 2, 2))])
def test_raw_refuses_other_arrays(tmp_path, image):
    with pytest.raises(ValueError, match="must be real numbers"):
        raw.write(tmp_path / "out.bin", image)


@pytest.mark.parametrize("writer", [raw.write, lambda path, image, what: pgm.write(path, image, 1.0, what)])
def test_unwritable_output_names_the_flag(tmp_path, writer):
    with pytest.raises(InputError, match="^-out: cannot write .*: no such directory"):
        writer(tmp_path / "none" / "out", spots(), what="-out")


def test_pgm_bytes(tmp_path):
    image = [[0.0, 0.39, 0.4, 1.0], [101.99, 102.0, 1e9, -3.0], [NAN, INF, -INF, 2.0]]
    pgm.write(tmp_path / "out.pgm", image, 2.5)
    expected = bytes([0, 0, 1, 2, 254, 255, 255, 0, 0, 255, 0, 5])
    assert (tmp_path / "out.pgm").read_bytes() == b"P5\n4 3\n# pixels scaled by 2.5\n255\n" + expected


def test_pgm_comment_has_six_digits_as_in_c(tmp_path):
    pgm.write(tmp_path / "out.pgm", spots(), 2.0798512345)
    assert b"\n# pixels scaled by 2.07985\n" in (tmp_path / "out.pgm").read_bytes()


def test_pillow_reads_the_pgm(tmp_path):
    image_module = pytest.importorskip("PIL.Image")
    pgm.write(tmp_path / "out.pgm", spots(), 2.5)
    with image_module.open(tmp_path / "out.pgm") as picture:
        np.testing.assert_array_equal(np.asarray(picture), np.minimum(spots() * 2.5, 255).astype(np.uint8))


def test_pgm_refuses_other_shapes(tmp_path):
    with pytest.raises(ValueError, match="must be"):
        pgm.write(tmp_path / "out.pgm", np.zeros(4), 1.0)
    assert os.listdir(tmp_path) == []


def test_png_follows_the_formula(tmp_path):
    image_module = pytest.importorskip("PIL.Image")
    png.write(tmp_path / "out.png", spots())
    with image_module.open(tmp_path / "out.png") as picture:
        assert (picture.format, picture.mode, picture.size) == ("PNG", "L", (60, 40))
        pixels = np.asarray(picture).astype(float)
    image = spots().astype(float)
    white, median, above, bright = np.percentile(image, (10, 50, 84.134, 99.9))
    black = max(bright, median + 10 * (above - median))
    expected = 255 * (1 - np.sqrt(np.clip((image - white) / (black - white), 0, 1)))
    assert np.abs(pixels - expected).max() <= 0.5
    assert pixels.max() == 255


@pytest.mark.parametrize("background", [0.0, 3.0, 1000.0, 1e5])
def test_png_of_a_noisy_background_is_light_and_its_spots_are_dark(background):
    """No square that is black: the background is lighter than grey, a spot of 20 standard deviations black."""
    noisy = np.random.default_rng(1).poisson(background, (100, 100)).astype(float)
    noisy[50, 60] = background + 20 * np.sqrt(background) + 20
    levels = png.levels(noisy)
    assert np.median(levels) > 130 and levels[50, 60] == 0 and np.mean(levels == 0) < 0.01


def test_png_marks_and_pixels_without_a_measurement_have_colours_of_their_own(tmp_path):
    image_module = pytest.importorskip("PIL.Image")
    image, unmeasured = np.full((40, 60), 100.0), np.zeros((40, 60), bool)
    image[:, 30], image[:20, :10], unmeasured[:20, :10] = 200.0, 1e6, True
    inside = np.hypot(*np.mgrid[-20:20, -30:30]) < 15
    marks = png.Marks([png.Ring(inside, "3 A", (39.0, 59.0))], (20.0, 30.0))
    scale = png.write(tmp_path / "out.png", image, unmeasured=unmeasured, marks=marks)
    assert scale == (100.0, 200.0)
    with image_module.open(tmp_path / "out.png") as picture:
        pixels = np.asarray(picture)
    assert (pixels[:20, :10] == png.UNMEASURED).all()
    assert (pixels[20, 30] == png.MARK).all() and (pixels[png.edge(inside)] == png.MARK).all(axis=-1).sum() > 50
    assert (pixels[5, 50] == 255).all() and (pixels[2, 30] == 0).all()
    assert (pixels[30:, 40:, 0] != pixels[30:, 40:, 2]).any()  # the name, moved into the picture


@pytest.mark.parametrize(
    "image, expected",
    [
        (np.zeros((3, 4)), np.full((3, 4), 255)),
        (np.full((3, 4), NAN), np.full((3, 4), 255)),
        (np.full((3, 4), -5.0), np.full((3, 4), 255)),
        (np.full((3, 4), INF), np.full((3, 4), 0)),
        (np.full((3, 4), 7, np.uint16), np.full((3, 4), 255)),
        ([[NAN, 4.0], [-INF, INF]], [[255, 255], [255, 0]]),
        ([[1e308] + 20 * [-1e308]], [[0] + 20 * [255]]),
        ([[1e-320] + 20 * [0.0]], [[0] + 20 * [255]]),
        ([[1e308] + 20 * [0.0]], [[0] + 20 * [255]]),
    ],
)
def test_png_levels_of_unusual_images(image, expected):
    with np.errstate(all="raise", under="ignore"):
        np.testing.assert_array_equal(png.levels(image), expected)


def test_png_of_a_sparse_image_scales_to_the_maximum():
    image = np.zeros((100, 100))
    image[3, 4], image[50, 60] = 400.0, 100.0
    levels = png.levels(image)
    assert (levels[3, 4], levels[50, 60], levels[0, 0]) == (0, 128, 255)
    assert np.count_nonzero(levels < 255) == 2


@pytest.mark.parametrize(
    "shape, longest, expected",
    [
        ((40, 60), 60, (40, 60)),
        ((40, 60), 59, (20, 30)),
        ((40, 60), 7, (5, 7)),
        ((41, 7), 10, (9, 2)),
        ((3, 5), 1, (1, 1)),
    ],
)
def test_shrunk_size(shape, longest, expected):
    assert png.shrunk(spots(shape), longest).shape == expected


def test_shrunk_keeps_every_spot():
    image = np.zeros((41, 7))
    image[40, 6], image[0, 0], image[12, 3] = 5.0, 6.0, NAN
    small = png.shrunk(image, 10)
    assert (small[8, 1], small[0, 0]) == (5.0, 6.0)
    assert np.count_nonzero(small) == 2


def test_png_shrinks_what_it_writes(tmp_path):
    image_module = pytest.importorskip("PIL.Image")
    png.write(tmp_path / "out.png", spots(), longest=20)
    with image_module.open(tmp_path / "out.png") as picture:
        np.testing.assert_array_equal(np.asarray(picture), png.levels(png.shrunk(spots(), 20)))
        assert picture.size == (20, 14)


@pytest.mark.parametrize("longest", [0, -3])
def test_png_refuses_no_pixels(tmp_path, longest):
    with pytest.raises(InputError, match=f"at least 1 pixel, not {longest}"):
        png.write(tmp_path / "out.png", spots(), longest=longest)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("image", [np.zeros(4), np.zeros((0, 4))])
def test_png_refuses_other_shapes(tmp_path, image):
    with pytest.raises(ValueError, match="must be"):
        png.write(tmp_path / "out.png", image)


def test_png_to_dev_null_leaves_the_device():
    png.write("/dev/null", spots())
    assert os.path.exists("/dev/null") and not os.path.isfile("/dev/null")


def test_importing_the_formats_loads_no_image_library():
    script = (
        "import sys; from nbnumba.formats import files, hkl, matrix, pgm, png, raw, smv, sources, stol, text;"
        "print(sorted({'fabio', 'PIL', 'gemmi'} & set(sys.modules)))"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", script]
    result = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True, env=environment)
    assert result.stdout == "[]\n"
