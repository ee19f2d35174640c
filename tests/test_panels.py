"""Images of many panels: each panel's is that of a detector with this panel alone, bit for bit (F0, F1d)."""

import re
from dataclasses import replace

import numpy as np
import panelled
import pytest

import adjoint
import nbnumba
from nbnumba import Experiment, InputError, Panel, simulate
from nbnumba.backends import threads
from nbnumba.cli.simulate import report
from nbnumba.cost import cost
from nbnumba.flags.command_line import CommandLine
from nbnumba.flags.run import run_of
from nbnumba.formats import smv
from nbnumba.noise import poisson_counts
from nbnumba.response import measure
from nbnumba.rng import Ran1
from nbnumba.setup.sheet import sheet_of
from nbnumba.trace import trace, traces

pytestmark = pytest.mark.filterwarnings("ignore:sampling.oversample")

MIXED = ((7, 11), (9, 5), (3, 20))


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("precision", ["double", "mixed"])
def test_panels_are_those_of_one_panel_each(seed, precision):
    """In several frames, with shapes, sensors and groups, and spots of which terms are left out."""
    more = ("", "-gauss_xtal -N 12 -mosaic 1 -mosaic_domains 20", "-water 1 -oversample_thick", "-osc 1 -phisteps 3")[seed // 2]
    made = panelled.experiment(seed, MIXED if seed % 2 else ((7, 11),) * 4, more)
    image = simulate(made, precision=precision)
    if seed % 2:
        assert isinstance(image, list) and [part.shape for part in image] == list(MIXED)
    else:
        assert image.shape == (4, 7, 11)
    assert sum(part.sum() for part in image) > 0.0
    for number, part in enumerate(image):
        np.testing.assert_array_equal(part, simulate(panelled.alone(made, number), precision=precision))


def test_64_panels():
    """With automatic sampling, and on any number of threads."""
    words = "-cell 60 70 80 -default_F 100 -N 8 -lambda 1 -distance 50 -fluence 1e27 -round_xtal -detpixels 256 -pixel 0.2"
    made = panelled.grid(words, 8, 8, (31, 32), 0.2)
    image = simulate(made)
    assert image.shape == (64, 31, 32)
    for number in range(64):
        np.testing.assert_array_equal(image[number], simulate(panelled.alone(made, number)))
    try:
        threads.set_thread_count(1)
        np.testing.assert_array_equal(image, simulate(made))
    finally:
        threads.set_thread_count(None)


def test_panels_without_gaps_are_the_detector_that_they_are_cut_from():
    """But for the rounding of positions. There is no mask, and the mask of a panel is that of its pixels."""
    words = "-cell 40 50 60 75 85 95 -default_F 100 -N 5 -lambda 1.1 -distance 60 -fluence 1e27 -oversample 2 -detpixels 24"
    whole, cut = Experiment.from_args(words.split()), panelled.grid(words, 3, 2, (12, 8), 0.1)
    image = simulate(cut).reshape(2, 3, 12, 8).transpose(0, 2, 1, 3).reshape(24, 24)
    np.testing.assert_allclose(image, simulate(whole), rtol=1e-9)
    mask = np.random.default_rng(1).random((6, 12, 8)) < 0.5
    np.testing.assert_array_equal(simulate(cut, mask=mask), np.where(mask, simulate(cut), 0.0))


def test_a_pixel_that_is_no_square_has_the_photons_of_its_halves():
    words = "-cell 40 50 60 75 85 95 -default_F 100 -N 1 -lambda 1.1 -distance 60 -fluence 1e27 -oversample 8"
    made = Experiment.from_args(words.split())
    by_count = {n: Panel("p", (6, n), 0.6 / n, 0.1, (51.0, 48.0, 0.0)) for n in (3, 6)}
    wide, square = (simulate(made.replace({"detector.panels": [panel]})).reshape(6, 3, -1) for panel in by_count.values())
    np.testing.assert_allclose(wide[..., 0], square.sum(axis=-1), rtol=1e-3)


def test_traces_of_panels():
    made = panelled.experiment(2)
    image = simulate(made)
    chains = traces(made, [(1, 3, 4), ("q1/p3", 6, 10)])
    assert chains[0]["I_pixel_final"] == pytest.approx(image[1, 3, 4], rel=1e-12)
    assert chains[1]["I_pixel_final"] == pytest.approx(image[3, 6, 10], rel=1e-12) and chains[1].panel == 3
    assert trace(made, 3, 4, panel="q0/p1")["omega_pixel"] == chains[0]["omega_pixel"]
    for pixel in ((3, 4), (4, 3, 4), (-1, 3, 4), ("q1", 3, 4), (1, 2, 3, 4), (1.5, 3, 4), (1, 3.5, 4)):
        with pytest.raises(InputError, match="pixel: .* after the number of a panel, 0 to 3, or its path"):
            traces(made, [pixel])
    with pytest.raises(InputError, match="pixel: panel 1, slow 7, fast 0 is not rendered"):
        trace(made, 7, 0, panel=1)
    assert trace(panelled.alone(made, 1), 3, 4)["I_pixel_final"] == chains[0]["I_pixel_final"]


def test_progress_counts_the_rows_of_all_panels():
    told = []
    simulate(panelled.experiment(1, MIXED), progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (19, 19) and [done for done, _ in told] == sorted(done for done, _ in told)


def test_the_cost_is_that_of_all_panels():
    made = panelled.experiment(1, MIXED)
    mask = [np.zeros((7, 11)), np.ones((9, 5)), np.eye(3, 20)]
    assert cost(made).pixels == 77 + 45 + 60 and cost(made.replace({"sampling.mask": mask})).pixels == 48
    chosen = made.replace({"sampling.oversample": (1, 2, 3)})
    assert cost(chosen).samples == -(-(77 * 1 + 45 * 4 + 60 * 9) * 2 // 182)
    assert all(part.any() for part in simulate(chosen))
    np.testing.assert_array_equal(simulate(chosen)[1], simulate(panelled.alone(made.replace({"sampling.oversample": 2}), 1)))
    for wrong in ((1, 2), (1, 2, 3, 4)):
        with pytest.raises(InputError, match="sampling.oversample: "):
            simulate(made.replace({"sampling.oversample": wrong}))


def test_defects_that_are_those_of_one_panel_are_refused():
    made = panelled.experiment(0)
    for name in ("phi_carryover", "interpolation_latch", "all"):
        with pytest.raises(InputError, match=r"sampling.c_parity: \w+ with 4 panels: .* of one panel \(P[18]\); allowed: "):
            simulate(made, c_parity=name)
    assert simulate(made, c_parity="water_scale").any()
    assert simulate(panelled.alone(made, 1), c_parity="all").any()


def test_a_dark_image_of_panels_is_explained():
    made = panelled.experiment(1).replace({"beam.dmin_A": 900.0, "sampling.oversample": 1})
    with pytest.warns(UserWarning, match="the image is 0 everywhere: the region sees .* finer than beam.dmin_A"):
        simulate(made)
    with pytest.warns(UserWarning, match="the mask leaves no pixel of the region"):
        simulate(panelled.experiment(1, MIXED), mask=[np.zeros(shape) for shape in MIXED])


def test_the_table_lists_panels_briefly():
    made = panelled.experiment(0, MIXED)
    text = str(made)
    assert re.search(r"panels +3 q0/p0, q0/p1, q1/p2\n +11 x 7 of 0.31 x 0.25 mm fast x slow, 1 panel\n", text)
    assert re.search(r"q0 moved +\S+ \S+ \S+ mm, and turned by \S+ \S+ \S+ degrees", text)
    many = str(panelled.grid("-cell 60 -default_F 1 -detpixels 64", 8, 8, (8, 8), 0.1))
    assert "64 q0/r0c0, q0/r0c1, ..., q3/r7c7" in many
    assert re.search(r"direct beam +\S+ \S+ pixels, fast slow, of q\d/r\dc\d", many)
    assert "<64 of Panel>" in repr(panelled.grid("-cell 60 -default_F 1", 8, 8, (8, 8), 0.1).detector)


@pytest.mark.parametrize("region", [(2, 8, 5, 16), (0, 20, 8, 8), (6, 12, 0, 18)])
def test_a_region_of_panels_is_one_of_their_sheet(region):
    """Pixels of the region have the bits of the whole image, and others are 0, and have no derivative."""
    made = panelled.experiment(1, MIXED)
    sheet, whole = sheet_of(made.detector), simulate(made)
    inside = np.zeros(sheet.shape, bool)
    inside[region[2] : region[3] + 1, region[0] : region[1] + 1] = True
    part = made.replace({"sampling.roi": region})
    cut = [np.where(inside[place], values, 0.0) for values, place in zip(whole, sheet.places())]
    for found, expected in zip(simulate(part), cut):
        np.testing.assert_array_equal(found, expected)
    names = ["detector.distance_mm"]
    data = [values + 1.0 for values in whole]
    loss = adjoint.losses.Gaussian(data, 1.0, [inside[place] for place in sheet.places()])
    of_mask = adjoint.value_and_grad(loss, made, names)[1][names[0]]
    assert of_mask != 0.0 and adjoint.value_and_grad(loss, part, names)[1][names[0]] == pytest.approx(of_mask, rel=1e-12)


def test_what_does_not_fit_panels():
    made = panelled.experiment(1)
    with pytest.raises(InputError, match="sampling.roi: 0 3 28 30 holds no pixel of 11 x 28"):
        simulate(made, roi=(0, 3, 28, 30))
    with pytest.raises(InputError, match=r"sampling.mask of shape \(7, 11\) does not fit; allowed: \(panel, slow, fast\)"):
        simulate(made, mask=np.ones((7, 11)))
    with pytest.warns(UserWarning, match="detector.layers has no effect: no panel has a sensor that absorbs"):
        bare = [Panel("p", (4, 4), 0.1, 0.1, (0, 0, 0))]
        simulate(made.replace({"detector.panels": bare, "detector.groups": (), "detector.layers": 3}))
    assert nbnumba.Panel is Panel


@pytest.mark.parametrize("shapes", [((31, 42),) * 4, MIXED])
def test_noise_of_panels(shapes):
    """Each panel has its gain and its limit, and one sequence of deviates goes through all."""
    made = panelled.experiment(1, shapes)
    limits = (None, 400.0, 1e6, 65535.0)
    panels = [replace(panel, gain=1.0 + n, trusted_max=limits[n]) for n, panel in enumerate(made.detector.panels)]
    made = made.replace({"detector.panels": panels})
    image = [np.full(shape, 100.0) for shape in shapes]
    given = image if len(set(shapes)) > 1 else np.array(image)
    noisy = nbnumba.noise_image(made, given, 5, adc=10.0)
    assert [part.shape for part in noisy.pixels] == list(shapes) and noisy.pixels[0].dtype == np.uint16
    generator, photons = Ran1(5), 0.0
    for n, (part, of_panel) in enumerate(zip(noisy.pixels, image)):
        counts = poisson_counts(of_panel, generator)
        photons += counts.sum()
        limit = 400 if n == 1 else 65535
        np.testing.assert_array_equal(part, np.minimum(counts * (1.0 + n) + 10.0, limit))
    assert noisy.photons == photons and (noisy.pixels[1] <= 400).all()
    spread = nbnumba.noise_image(made, given, 5, nbnumba.Response(psf_mm=0.5, readout_noise=1.0))
    assert spread.photons == photons and any((a != b).any() for a, b in zip(spread.pixels, noisy.pixels))
    scaled = nbnumba.scaled_image(made, given)
    assert scaled.scale == 550.0 and all((part == 55040).all() for part in scaled.pixels)
    with pytest.raises(InputError, match="panel q0/p0: response.psf_mm: 999"):
        nbnumba.noise_image(made, given, 5, nbnumba.Response(psf_mm=999.0))
    with pytest.raises(InputError, match="image of .* does not fit"):
        nbnumba.noise_image(made, image[0], 5)


def test_a_point_spread_follows_the_edges_of_a_pixel():
    """The widths of a line of light, along slow and fast, are as the edges are."""
    image = np.zeros((41, 41))
    image[20, 20] = 1e6
    made = measure(image, 3, nbnumba.Response(psf_mm=0.6), (0.1, 0.2), 0.0).pixels.astype(float)
    widths = [np.sqrt((made.sum(axis=1 - axis) * (np.arange(41) - 20) ** 2).sum() / made.sum()) for axis in range(2)]
    assert (np.square(widths) - 1 / 6) @ (1, -4) == pytest.approx(0.0, abs=0.2)


def test_a_mask_of_panels_is_one_of_their_sheet_in_flags(tmp_path):
    """As the files of integers are that a run writes, whose pixels of 0 are then left out."""
    made = panelled.experiment(1, MIXED)
    nbnumba.write_expt(str(tmp_path / "made.expt"), made)
    mask = np.ones(sheet_of(made.detector).shape, np.uint16)
    mask[2:9, 3:6] = 0
    smv.write(tmp_path / "mask.img", mask, [("PIXEL_SIZE", 0.1)])
    found = Experiment.from_args(f"-expt {tmp_path}/made.expt -mask {tmp_path}/mask.img -default_F 100 -N 5 -oversample 1")
    for part, place in zip(found.sampling.mask, sheet_of(made.detector).places(), strict=True):
        np.testing.assert_array_equal(part != 0, mask[place] != 0)


def test_files_of_panels_are_sheets(tmp_path, monkeypatch, capsys):
    """Of the command line: floats, pictures and integers, whose headers say no geometry, and what is printed."""
    monkeypatch.chdir(tmp_path)
    words = "-cell 50 -default_F 1 -seed 3 -pngfile x.png -pngmarks"
    made, run = panelled.experiment(1, MIXED), run_of(CommandLine(words.split()))
    with pytest.warns(UserWarning) as caught:
        report(made, run)
    said = " ".join(str(warning.message) for warning in caught)
    assert "hold no geometry: the header of SMV describes" in said and "-pngmarks" not in said
    image = simulate(made)
    sheet = np.zeros((19, 20), np.float32)
    for part, place in zip(image, sheet_of(made.detector).places()):
        sheet[place] = part
    np.testing.assert_array_equal(nbnumba.read_float("floatimage.bin", (19, 20)), sheet)
    pixels, header = nbnumba.read_smv("noiseimage.img")
    assert pixels.shape == (19, 20) and (pixels[:7, 11:] == 0).all() and "DISTANCE" not in header
    number = int(np.argmax([part.max() for part in image]))
    slow, fast = np.unravel_index(image[number].argmax(), MIXED[number])
    path = made.detector.panels[number].path
    assert f"brightest pixel: fast {fast}, slow {slow} of panel {path}, " in capsys.readouterr().out
    with pytest.raises(InputError, match="write_smv: the header of SMV describes a detector without panels"):
        nbnumba.write_smv("y.img", np.zeros((7, 11), np.uint16), panelled.alone(made, 0))
