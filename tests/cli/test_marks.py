"""The marks of a picture, and the example: rings pass through pixels of their resolution, and the frame looks real."""

import warnings
from types import SimpleNamespace

import numpy as np
import panelled
import pytest
from PIL import Image

import nbnumba
from nbnumba import Experiment, pixels
from nbnumba.cli import example
from nbnumba.cli.main import main
from nbnumba.cli.marks import marks
from nbnumba.cli.report.labels import labels_of_images
from nbnumba.cli.report.spots import CountedPart, Peak
from nbnumba.formats import png, smv
from nbnumba.parity import NO_DEFECTS
from nbnumba.resolved import resolutions
from nbnumba.setup import sampling, scene
from nbnumba.setup.detector import position_detector
from nbnumba.setup.sheet import sheet_of
from nbnumba.trace import traces

BASE = "-cell 50 -default_F 10 -lambda 1.5 -N 3 -detpixels 80 -pixel 1 -distance 60 -oversample 1"
TILTED = " -twotheta 20 -detector_rotx 10 -Xbeam 30 -Ybeam 20"


def built(flags):
    experiment = Experiment.from_args(flags.split())
    window = sampling.window(experiment.detector.pixels, experiment.sampling.roi, experiment.sampling.mask)
    return experiment, position_detector(experiment.detector, experiment.beam, NO_DEFECTS), window


@pytest.mark.parametrize("more", ["", TILTED, " -curved_det", " -roi 20 70 10 60" + TILTED])
def test_rings_lie_where_pixels_have_that_resolution(more):
    """The resolution is computed independently by d = lambda / (2 sin theta), from the angle between the beam and a pixel."""
    made, placement, window = built(BASE + more)
    drawn = marks(made, placement, window)
    assert 2 <= len(drawn.rings) <= 4
    slow, fast = np.mgrid[slice(*window.rows), slice(*window.columns)]
    along = (slow[..., None] + 0.5) * 1e-3 * placement.slow + (fast[..., None] + 0.5) * 1e-3 * placement.fast
    corner = placement.origin + along
    across = np.linalg.norm(np.cross(corner, placement.beam), axis=-1)
    with np.errstate(divide="ignore"):
        d = 1.5 / (2 * np.sin(np.arctan2(across, corner @ placement.beam) / 2))
    if "curved" not in more:
        resolution_A = resolutions(made, fast.ravel(), slow.ravel()).reshape(d.shape)
        np.testing.assert_allclose(1 / resolution_A, 1 / d, rtol=1e-9, atol=1e-12)
        for ring in drawn.rings:
            np.testing.assert_array_equal(ring.inside, d > float(ring.name.split()[0]))
    for ring in drawn.rings:
        assert ring.name.endswith(" A") and png.edge(ring.inside)[tuple(int(x) for x in ring.label_position)]


def test_the_cross_is_where_the_beam_falls():
    made, placement, window = built(BASE + TILTED)
    row, column = marks(made, placement, window).cross
    d = resolutions(made, np.array([column]), np.array([row]))
    assert d[0] > 1e6
    assert marks(*built(BASE + " -roi 60 79 60 79")).cross is None


def test_the_reflection_of_a_pixel_is_that_of_the_trace(tmp_path, monkeypatch):
    experiment = Experiment.from_args((BASE + TILTED + " -misset 10 20 30 -N 9 -osc 1 -phisteps 3").split())
    made = scene.build(experiment, sampling.window(experiment.detector.pixels, None, None))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the sampling, which is that of the trace
        image = nbnumba.simulate(experiment)
    slow, fast = np.unravel_index(int(image.argmax()), image.shape)
    chain = traces(experiment, [(int(slow), int(fast))])[0]
    best = max(chain.samples[0].phi_steps, key=lambda step: abs(step.lattice))
    assert pixels.reflection(made, slow, fast) == tuple(int(h) for h in best.hkl_nearest)


def test_a_picture_with_marks_and_a_mask(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    mask = np.ones((80, 80), np.uint16)
    mask[:, 40:44] = 0
    smv.write("mask.img", mask, [])
    flags = f"{BASE} -mask mask.img -pngfile a.png -pngmarks -nonoise -nopgm -nointfile"
    assert main(flags.split()) == 0
    assert "picture, white up to " in capsys.readouterr().out
    with Image.open("a.png") as picture:
        pixels = np.asarray(picture)
    assert (pixels[10, 40:44] == png.UNMEASURED).all()
    assert (pixels == png.MARK).all(axis=-1).any()


def test_marks_without_a_picture_are_not_ignored_in_silence(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main((BASE + " -nonoise -pngmarks").split()) == 0
    assert "-pngmarks has no effect" in capsys.readouterr().err


# -------------------------------------------------------------------------------------------------------- the example


def test_the_example_runs_anywhere_and_its_command_again(tmp_path, monkeypatch, capsys):
    """A region of it writes its files and its mask, and the command that it prints makes the same image."""
    monkeypatch.chdir(tmp_path)
    assert main(["example", "-roi", "565", "580", "735", "750"]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    made = {path.name for path in tmp_path.iterdir()}
    assert made == {"example.bin", "example.img", "example.png", "example_mask.img"}
    command = next(line for line in printed.out.splitlines() if line.startswith("  nbnumba ")).split()[1:]
    first = (tmp_path / "example.bin").read_bytes()
    assert main([*command, "-floatfile", "again.bin"]) == 0
    assert (tmp_path / "again.bin").read_bytes() == first
    image = np.frombuffer(first, "<f4").reshape(example.SHAPE)
    assert 7000 < image.max() < 8000


def test_the_brightest_pixel_of_the_example_is_right(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    brightest = []
    for more in ([], ["-oversample", "8"]):
        assert main(["example", "-roi", "570", "574", "740", "744", "-nonoise", *more]) == 0
        brightest.append(np.fromfile("example.bin", "<f4").max())
    assert abs(brightest[0] / brightest[1] - 1.0) < 0.06


def test_what_the_example_says_is_so():
    """The sizes, the dose and the number of blocks in its text follow from its flags."""
    words = example.FLAGS.split()

    def value(flag, count=1):
        place = words.index(flag)
        return np.array([float(word) for word in words[place + 1 : place + 1 + count]])

    block = value("-cell", 3) * np.concatenate([value(flag) for flag in ("-Na", "-Nb", "-Nc")]) * 1e-4
    assert np.allclose(block, 0.07, atol=0.005)
    blocks = value("-fluence")[0] / 1e12 / 1e10
    assert blocks == pytest.approx(70000) and np.cbrt(blocks * block.prod()) == pytest.approx(2.8, abs=0.05)
    assert 1e10 * value("-lambda")[0] ** 2 / 2000 / 1e6 == 5.0
    assert blocks * value("-water")[0] ** 3 == pytest.approx(10, abs=0.5)
    for text in ("0.07 um", "70000 blocks", "2.8 um", "5 MGy", "10 um^3"):
        assert text in example.ABOUT


def test_a_dry_run_of_the_example_writes_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["example", "--dry-run"]) == 0
    assert "1475" in capsys.readouterr().out and not list(tmp_path.iterdir())


@pytest.mark.parametrize("word", ["-h", "-help", "--help"])
def test_the_example_has_a_help(word, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["example", word]) == 0
    assert "PDB 1ORC" in capsys.readouterr().out and not list(tmp_path.iterdir())


@pytest.mark.filterwarnings("ignore")
def test_rings_and_cross_of_panels():
    """On the sheet each panel has its part of the rings, and none runs along the border of two panels."""
    made = panelled.grid(BASE, 2, 2, (40, 40), 1.0)
    window = sampling.sheet_window(made.detector, made.sampling)
    drawn = marks(made, None, window)
    whole = marks(*built(BASE))
    assert [ring.name for ring in drawn.rings] == [ring.name for ring in whole.rings]
    resolution = nbnumba.resolution(made)
    for ring in drawn.rings:
        line = ring.line().reshape(4, 40, 40)
        for number in range(4):
            inside = resolution[number] > float(ring.name.split()[0])
            np.testing.assert_array_equal(ring.inside.reshape(4, 40, 40)[number], inside)
            np.testing.assert_array_equal(line[number], png.edge(inside))
        assert ring.line()[tuple(int(x) for x in ring.label_position)]
    row, column = drawn.cross
    panel, slow = divmod(row + 0.5, 40)
    assert resolutions(made, np.array([column]), np.array([slow - 0.5]), int(panel))[0] > 1e6


@pytest.mark.filterwarnings("ignore")
def test_rings_of_a_region_of_panels():
    """Rings of the region alone, where its panels have that resolution."""
    made = panelled.grid(BASE, 2, 2, (40, 40), 1.0).replace({"sampling.roi": (5, 34, 90, 139)})
    drawn = marks(made, None, sampling.sheet_window(made.detector, made.sampling))
    resolution = np.concatenate(list(nbnumba.resolution(made)))[90:140, 5:35]
    assert drawn.rings and drawn.rings[0].inside.shape == (50, 30)
    for ring in drawn.rings:
        inside = resolution > float(ring.name.split()[0])
        np.testing.assert_array_equal(ring.inside, inside)
        expected = np.concatenate([png.edge(inside[:30]), png.edge(inside[30:])])
        np.testing.assert_array_equal(ring.line(), expected)


@pytest.mark.filterwarnings("ignore")
def test_labels_of_a_report_of_panels():
    """A peak has the reflection and the resolution of its panel, and rings end at the ends of panels."""
    cut = panelled.experiment(2, ((30, 40), (25, 50), (30, 40)))
    (labels,) = labels_of_images(SimpleNamespace(experiment=cut, frames=[None]))
    sheet = sheet_of(cut.detector)
    part = CountedPart(3, 2, *(np.zeros((sheet.shape[0] - 3, sheet.shape[1] - 2)),) * 6)
    for row, column, panel in ((10, 20, 0), (40, 30, 1), (70, 5, 2)):
        start = list(sheet.places())[panel][0].start
        hkl = pixels.reflection(labels.scenes[panel].scene, row + 3 - start, column + 2)
        d = nbnumba.resolution(cut)[panel][row + 3 - start, column + 2]
        assert labels.reflection(part, Peak(row, column, 3)) == f"{hkl[0]} {hkl[1]} {hkl[2]}, {d:.3g} A"
    fast, slow, inverse, names = labels.rings(part)
    assert names and inverse.shape == (sheet.shape[0] - 3, sheet.shape[1] - 2)
    expected = np.full(sheet.shape, np.nan)
    for number, place in enumerate(sheet.places()):
        expected[place] = 1.0 / nbnumba.resolution(cut)[number]
    expected[[29, 54]] = np.nan
    np.testing.assert_allclose(inverse, expected[3:, 2:], rtol=1e-9)
