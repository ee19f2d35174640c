"""The text of a run before it computes, --dry-run and -quiet, and the warnings of coarse sampling and of a dark image."""

import shlex

import numpy as np
import pytest

from nbnumba import Experiment, simulate
from nbnumba.cli.main import main

BASE = "-cell 50 -default_F 10 -lambda 2 -N 3 -detpixels 8 -distance 50 -oversample 1 -nopgm"


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """A function that runs a command line in a folder of its own.

    It returns the exit status and the lines on stdout and stderr.
    """
    monkeypatch.chdir(tmp_path)

    def runner(words):
        status = main(shlex.split(words))
        printed = capsys.readouterr()
        return status, printed.out.splitlines(), printed.err.splitlines()

    return runner


def row(lines, name):
    return next(line for line in lines if name in line)


def test_a_run_prints_what_its_flags_come_to_first(run):
    status, lines, errors = run(BASE + " -seed 3")
    assert (status, errors) == (0, [])
    assert row(lines, "unit cell").split()[-8:] == "50 50 50 90 90 90 A, degrees".split()
    assert row(lines, "wavelength").split()[-2:] == ["2", "A"] and row(lines, "fluence").endswith("*")
    assert row(lines, "seed of the noise").split()[-1] == "3"
    assert "floatimage.bin intimage.img noiseimage.img" in row(lines, "files")
    assert lines.index(row(lines, "unit cell")) < lines.index(row(lines, "max_I = "))


@pytest.mark.parametrize("flag", ["--dry-run", "-dry_run"])
def test_a_dry_run_shows_the_cost_and_writes_nothing(run, tmp_path, monkeypatch, flag):
    monkeypatch.setattr("nbnumba.cli.simulate.render", None)
    status, lines, errors = run(f"{BASE} {flag} -phisteps 10 -osc 1")
    assert (status, errors) == (0, [])
    assert "64 pixels x 1 sample x 1 source x 10 lattices" in row(lines, "steps  ")
    assert row(lines, "time, roughly") and row(lines, "memory")
    assert lines[-1] == "--dry-run: nothing was computed or written"
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_of_what_nobody_can_compute_takes_no_time(run):
    status, lines, errors = run(f"{BASE} --dry-run -phisteps 2000000000 -mosaic 1 -mosaic_domains 2000000000")
    assert status == 0 and "years" in row(lines, "time, roughly")
    assert len(errors) == 1 and "this run would be refused" in errors[0]


@pytest.mark.parametrize(
    "more", ["-floatfile nowhere/x.bin", "-psf 1000", "-detector_roty 90", "-roi 9 9 0 0", "-threads 9999"]
)
def test_a_dry_run_refuses_what_the_run_would(run, more):
    status, lines, errors = run(f"{BASE} --dry-run {more}")
    assert status == 2 and lines == [] and len(errors) == 1


def test_a_dry_run_warns_of_what_the_run_would(run):
    status, _, errors = run(f"{BASE} --dry-run -beam_vector 1 0 0 -xds -mosaic 1")
    assert status == 0 and any("-beam_vector has no effect" in line for line in errors)
    assert any("10 domains" in line for line in errors)


@pytest.mark.parametrize("flag", ["-quiet", "--quiet"])
def test_quiet_prints_warnings_alone(run, tmp_path, flag):
    assert run(f"{BASE} {flag} -seed 1") == (0, [], [])
    assert {path.name for path in tmp_path.iterdir()} == {"floatimage.bin", "intimage.img", "noiseimage.img"}
    status, lines, errors = run(f"{BASE} {flag} -seed 1 -mosaic 1")
    assert (status, lines) == (0, []) and len(errors) == 1
    assert run(f"{BASE} {flag} --dry-run")[1] == []


OTHERS = "explain --", "gradcheck --", "trace --pixel 1 1 --out t --", "refine --data x.img --parameters beam.fluence --"


@pytest.mark.parametrize("command", OTHERS)
def test_other_subcommands_do_not_pass_it_over(run, tmp_path, command):
    status, lines, errors = run(f"{command} {BASE.replace(' -nopgm', '')} --dry-run")
    assert status == 2 and lines == [] and "--dry-run" in errors[-1] and not list(tmp_path.iterdir())


def test_the_brightest_pixel_is_placed_in_pixels_with_its_resolution(run):
    status, lines, _ = run(BASE + " -seed 1 -distance 100 -Xbeam -20 -Ybeam -3 -cell 60 70 80 -N 2")
    image = np.fromfile("floatimage.bin", "<f4").reshape(8, 8)
    slow, fast = np.unravel_index(np.argmax(image), image.shape)
    assert row(lines, "max_I = ").startswith(f"max_I = {image.max():g}  at ")
    line = row(lines, "brightest pixel")
    assert f"fast {fast}, slow {slow}, " in line
    offset = np.array([0.1 * (fast + 0.5) + 3 - 0.05, 0.1 * (slow + 0.5) + 20 - 0.05])
    two_theta = np.arctan(np.hypot(*offset) / 100)
    assert float(line.split()[-2]) == float(f"{2 / (2 * np.sin(two_theta / 2)):.4g}")


def test_a_brightest_pixel_in_the_direct_beam_has_no_resolution(run):
    """In the middle of pixel 50, 200 the value of |d - i| is not 0, but only a rounding error."""
    beam = "-Xbeam 20 -Ybeam 5 -detpixels 256 -pixel 0.1 -distance 150 -roi 48 52 198 202"
    status, lines, _ = run(f"-cell 70 80 90 -N 9 -default_F 9 -nonoise -nopgm -oversample 1 {beam}")
    assert status == 0 and row(lines, "brightest pixel") == "brightest pixel: fast 50, slow 200, in the direct beam"
    assert any("1 lattice, 1 sample per pixel, 1 source: " in line for line in lines)


COARSE = "-cell 100 -default_F 10 -N 10 -detpixels 8 -nonoise -nopgm"


def test_intensity_that_varies_across_a_pixel_is_warned_of(run):
    """nanoBragg's criterion is three samples across the fringes of the longest edge, here 1000 A on pixels that span 1/1000
    1/A."""
    for sub, warned in ((1, True), (2, True), (3, False), (0, False)):
        errors = run(f"{COARSE} -oversample {sub}")[2]
        assert (len(errors) == 1 and "-oversample 3 is recommended" in errors[0]) if warned else errors == []
    with pytest.warns(UserWarning, match="intensity may vary across a pixel"):
        simulate(Experiment.from_args(shlex.split("-cell 100 -default_F 10 -N 10 -detpixels 8 -oversample 2")))


REFLECTIONS = "".join(f"{h} {k} {l} 10\n" for h in range(-3, 4) for k in range(-3, 4) for l in range(-3, 4) if h or k or l)
DARK = {  # flags that make a dark image, and what the sentence has to name
    "-default_F 10 -fluence 0": "-fluence is 0",
    "-default_F 10 -dmin 1000 -Xbeam -300": "finer than -dmin 1000",
    "-hkl zero.hkl": "every amplitude of -hkl is 0",
    "-hkl few.hkl -Xbeam -150 -gauss_xtal -N 20": "reflections with an amplitude end at",
    "-hkl few.hkl -distance 1e5 -gauss_xtal -N 20 -pixel 0.1": "belongs to reflection 0 0 0",
    "-hkl fine.hkl -gauss_xtal -N 20 -pixel 3": "reflections with an amplitude begin at",
    "-default_F 10 -gauss_xtal -N 20000 -misset 10 20 30": "no sample hits a spot",
    "-default_F 10 -mask mask.img": "the mask leaves no pixel",
}


@pytest.mark.parametrize("more", DARK)
def test_a_dark_image_is_explained(run, tmp_path, more):
    from nbnumba.formats import smv

    (tmp_path / "zero.hkl").write_text("0 0 1 0\n1 0 0 0\n")
    (tmp_path / "few.hkl").write_text(REFLECTIONS)
    (tmp_path / "fine.hkl").write_text("9 9 9 10\n")
    smv.write(tmp_path / "mask.img", np.zeros((8, 8), np.uint16), {"PIXEL_SIZE": 0.1})
    words = f"-cell 50 -lambda 1 -detpixels 8 -oversample 1 -nonoise -nopgm -quiet {more}"
    status, lines, errors = run(words)
    assert status == 0 and lines == []
    assert not np.fromfile("floatimage.bin", "<f4").any()
    sentence = [line for line in errors if "the image is 0 everywhere: " in line]
    assert len(sentence) == 1 and DARK[more] in sentence[0], errors


def test_python_explains_a_dark_image_too():
    with pytest.warns(UserWarning, match="the image is 0 everywhere: beam.fluence is 0"):
        simulate(Experiment.from_args("-cell 50 -default_F 1 -detpixels 4 -fluence 0".split()))
