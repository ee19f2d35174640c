"""The names that `import nbnumba` offers: all exist, none imports anything heavy, and they cover the command line."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import nbnumba
from nbnumba.cli.main import main

ROOT = Path(__file__).parent.parent
WORDS = "-cell 50 60 70 -default_F 1000 -N 3 -detpixels_x 12 -detpixels_y 10 -roi 1 9 0 8 -fluence 1e30 -oversample 1"


def python(code):
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)


def test_import_is_cheap_and_names_come_when_asked_for():
    heavy = "('numba', 'scipy', 'fabio', 'matplotlib', 'PIL', 'h5py', 'gemmi')"
    done = python(f"import sys, nbnumba; print([name for name in {heavy} if name in sys.modules], nbnumba.__version__)")
    assert done.stdout.split() == ["[]", nbnumba.__version__]
    for name in ("trace.trace", "Response", "write_smv", "files.noise_image", "parity.SWITCHES"):
        done = python(f"import nbnumba; nbnumba.{name}")
        assert done.returncode == 0, done.stderr
    done = python("import nbnumba; nbnumba.nothing")
    assert "module 'nbnumba' has no attribute 'nothing'" in done.stderr


def test_every_public_name_is_there_and_documented():
    assert len(set(nbnumba.__all__)) == len(nbnumba.__all__) and set(nbnumba.__all__) <= set(dir(nbnumba))
    text = (ROOT / "specs" / "api.md").read_text()
    for name in nbnumba.__all__:
        assert getattr(nbnumba, name) is not None
        assert re.search(rf"\b{name}\b", text), name


@pytest.fixture
def written(tmp_path, monkeypatch):
    """A folder with the files of the command line, and the experiment and the image of the same flags."""
    monkeypatch.chdir(tmp_path)
    assert main(shlex.split(f"{WORDS} -seed 5 -quiet -gain 2 -readout_noise 1 -adc 20 -pngfile picture.png")) == 0
    experiment = nbnumba.Experiment.from_args(WORDS)
    return experiment, nbnumba.simulate(experiment)


def test_files_are_those_of_the_command_line(written, tmp_path):
    experiment, image = written
    nbnumba.write_float("f.bin", image)
    assert Path("f.bin").read_bytes() == Path("floatimage.bin").read_bytes()
    np.testing.assert_array_equal(nbnumba.read_float("f.bin", (10, 12)), image.astype(np.float32))
    response = nbnumba.Response(gain=2, readout_noise=1)
    noisy = nbnumba.noise_image(experiment, image, 5, response, adc=20)
    assert noisy.photons > 0 and noisy.overloads == 0
    nbnumba.write_smv("n.img", noisy.pixels, experiment, adc=20, response=response)
    assert Path("n.img").read_bytes() == Path("noiseimage.img").read_bytes()
    scaled = nbnumba.scaled_image(experiment, image, adc=20)
    nbnumba.write_smv("i.img", scaled.pixels, experiment, adc=20)
    assert Path("i.img").read_bytes() == Path("intimage.img").read_bytes()
    pixels, header = nbnumba.read_smv("i.img")
    np.testing.assert_array_equal(pixels, scaled.pixels)
    assert header["ADC_OFFSET"] == "20" and float(header["PIXEL_SIZE"]) == 0.1
    np.testing.assert_array_equal(nbnumba.read_image("i.img", (10, 12)), pixels)
    np.testing.assert_array_equal(nbnumba.read_image(tmp_path / "f.bin", (10, 12)), image.astype(np.float32))


def test_pictures_masks_reflections_and_matrices(written, tmp_path):
    experiment, image = written
    nbnumba.write_pgm("p.pgm", image, 2.0)
    assert Path("p.pgm").read_bytes()[:2] == b"P5"
    white, black = nbnumba.write_png("p.png", image, mask=np.arange(120).reshape(10, 12))
    assert white < black and Path("p.png").read_bytes()[:4] == b"\x89PNG"
    mask = np.ones((10, 12), np.uint16)
    mask[3, 4] = 0
    nbnumba.write_smv("mask.img", mask)
    mask_read = nbnumba.read_mask("mask.img")
    assert mask_read.dtype == bool and mask_read.sum() == 119 and not mask_read[3, 4]
    nbnumba.write_hkl("r.hkl", [[0, 0, 1], [1, -2, 3]], [10.1, 20.2])
    indices, amplitudes = nbnumba.read_hkl("r.hkl")
    assert indices.tolist() == [[0, 0, 1], [1, -2, 3]] and amplitudes.tolist() == [10.1, 20.2]
    (tmp_path / "A.mat").write_text("0.02 0 0\n0 0.02 0\n0 0 0.02\n")
    assert nbnumba.Crystal.from_matrix(nbnumba.read_matrix("A.mat"), 1.0).a_A == 50.0


@pytest.mark.parametrize(
    "call",
    [
        lambda e, image: nbnumba.noise_image(e, image[1:], 5),
        lambda e, image: nbnumba.noise_image(e, image, "x"),
        lambda e, image: nbnumba.noise_image("x", image, 5),
        lambda e, image: nbnumba.scaled_image(e, "x"),
        lambda e, image: nbnumba.write_smv("x.img", image, e),
        lambda e, image: nbnumba.write_smv("x.img", np.zeros((3, 3), np.uint16), e),
        lambda e, image: nbnumba.write_float("nowhere/x.bin", image),
        lambda e, image: nbnumba.write_float("x.bin", [1, 2]),
        lambda e, image: nbnumba.read_float("floatimage.bin", (10, 13)),
        lambda e, image: nbnumba.read_float("floatimage.bin", "x"),
        lambda e, image: nbnumba.read_hkl("nowhere.hkl"),
        lambda e, image: nbnumba.read_mask("floatimage.bin"),
        lambda e, image: nbnumba.read_image("nowhere", (3, 3)),
        lambda e, image: nbnumba.write_png("x.png", image, mask=np.ones((2, 2))),
        lambda e, image: nbnumba.write_png("x.png", np.zeros((0, 4))),
        lambda e, image: nbnumba.noise_image(e, image, 5, "x"),
        lambda e, image: nbnumba.noise_image(e, image, 5, adc="x"),
        lambda e, image: nbnumba.scaled_image(e, image, scale="x"),
        lambda e, image: nbnumba.scaled_image(e, image, scale=-1.0),
        lambda e, image: nbnumba.scaled_image(e, image, adc=np.nan),
        lambda e, image: nbnumba.write_smv("x.img", np.zeros((3, 3), np.uint16), adc=None),
        lambda e, image: nbnumba.write_pgm("x.pgm", image, None),
        lambda e, image: nbnumba.write_float("x.bin", [[1, 2], [3]]),
        lambda e, image: nbnumba.write_hkl("x.hkl", [[1, 2]], [1.0]),
        lambda e, image: nbnumba.write_hkl("x.hkl", None, None),
    ],
)
def test_refusals(written, call):
    with pytest.raises(nbnumba.InputError) as caught:
        call(*written)
    assert "\n" not in str(caught.value) and not list(Path().glob("x.*"))
