"""Pixels that a file of geometry masks: which they are, and that they are no measurements, while images remain complete."""

import json

import geometry_files
import numpy as np
import pytest
from geometry_files import FAST, SLOW

import nbnumba
from adjoint.refinement.frames import frame
from nbnumba import Experiment, InputError
from nbnumba.cli import measured
from nbnumba.formats import crystfel, images, nexus
from nbnumba.geometry.rectangles import pixels_within
from nbnumba.setup.sheet import masked_pixels

STRIPE = np.zeros((SLOW, FAST), bool)
STRIPE[:, 1] = True
"""The pixels that the .geom of geometry_files masks in its first panel, and its .expt and master in both."""


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def read_geom(more="", old="", new=""):
    """The masked pixels of both panels of a .geom with other lines, and its notes."""
    whole = geometry_files.geom_bytes().decode()
    assert old in whole
    with open("m.geom", "w") as stream:
        stream.write(whole.replace(old, new, 1) + more)
    geometry = crystfel.read("m.geom")
    return [pixels_within(panel.masked, panel.shape) for panel in geometry.panels], geometry.notes


def first_masked(condition):
    """The masked pixels of a panel where a condition holds of the numbers (slow, fast) of its pixels."""
    return np.fromfunction(condition, (SLOW, FAST))


@pytest.mark.parametrize(
    "more, first, second",
    [
        ("", STRIPE, 0),
        ("badA/min_fs = 4\nbadA/max_fs = 99\nbadA/min_ss = 4\nbadA/max_ss = 6\n",
         STRIPE | first_masked(lambda s, f: (s == 4) & (f > 3)), first_masked(lambda s, f: (s < 2) & (f > 3))),
        # the first panel has its corner at x = y = 10, and its pixels go down along both axes
        ("bad_lab/min_x = 8\nbad_lab/max_x = 99\nbad_lab/min_y = -99\nbad_lab/max_y = 8\n",
         STRIPE | first_masked(lambda s, f: (s > 1) & (f < 2)), 0),
        ("bad_lab/min_x = -8.4\nbad_lab/max_x = 4.6\nbad_lab/min_y = 5\nbad_lab/max_y = 10\nbad_lab/panel = p1\n",
         STRIPE, first_masked(lambda s, f: f < 2)),
        ("p1/no_index = true\n", STRIPE, 1),
        ("p1/no_index = 0\n", STRIPE, 0),
        ("p1/mask_edge_pixels = 1\n", STRIPE, first_masked(lambda s, f: (s % 4 == 0) | (f % 5 == 0))),
        ("p1/mask_edge_pixels = 70\n", STRIPE, 1),
    ],
)  # fmt: skip
def test_bad_regions_of_crystfel(more, first, second):
    masked, notes = read_geom(more)
    np.testing.assert_array_equal(masked[0], first)
    np.testing.assert_array_equal(masked[1], np.broadcast_to(second, STRIPE.shape))
    assert not notes


@pytest.mark.parametrize("dims", ["", "dim1 = ss\ndim2 = fs\n", "dim1 = 1\ndim2 = ss\ndim3 = fs\n"])
def test_masks_of_crystfel(dims):
    """Bits of an array in an HDF5 file beside the .geom; its indices are those of the data."""
    import h5py

    good = np.full((2 * SLOW, FAST), 3, "u2")
    good[2, 3], good[SLOW + 1, 4], good[0, 0] = 2, 1, 7
    with h5py.File("mask.h5", "w") as file:
        file["bad/pixels"] = np.stack([0 * good, good]) if "dim3" in dims else good
    lines = f"{dims}mask_file = mask.h5\nmask = /bad/pixels\nmask_good = 0x1\nmask_bad = 4\n"
    masked, notes = read_geom(old="rigid_group_q0", new=lines + "rigid_group_q0")
    np.testing.assert_array_equal(masked[0], STRIPE | first_masked(lambda s, f: (s == 2) & (f == 3) | (s + f == 0)))
    assert not masked[1].any() and not notes
    masked, _ = read_geom("p1/mask3_data = bad/pixels\np1/mask3_file = mask.h5\np1/mask3_goodbits = 2\n", "dim0 = %", dims)
    np.testing.assert_array_equal(masked[1], first_masked(lambda s, f: (s == 1) & (f == 4)))


def test_masks_of_crystfel_that_are_not_read():
    mask = "p1/mask = /pixels\np1/mask_good = 1\n"
    for more, sentence in [
        (mask, "names a mask, /pixels, in the files of images, which is not read: refine takes --mask"),
        (mask + "p1/mask_file = none.h5\n", "names the mask none.h5, which is not there, so that it leaves no pixel out"),
        ("p1/mask = /pixels\np1/mask_file = m.geom\n", "names a mask, /pixels, without mask_good and mask_bad"),
        ("p0/flag_equal = 65535\n", "states flag_equal = 65535: refine leaves such pixels out with --gap"),
        ("badA/min_x = 1\nbadA/max_x = 2\nbadA/min_y = 1\nbadA/max_y = 2\nbadA/panel = p7\n", "of p7, a panel that it lack"),
        ("p1/saturation = 3\n", "states p1/saturation, which is not known here"),
    ]:
        masked, notes = read_geom(more)
        assert len(notes) == 1 and sentence in notes[0], (more, notes)
        assert not masked[1].any()


@pytest.mark.parametrize(
    "more, sentence",
    [
        ("badA/min_fs = 1\n", "m.geom': the bad region badA lacks a limit; allowed: min_fs, max_fs, min_ss, max_ss, or min_x"),
        ("badA/min_x = 1\nbadA/max_x = a\nbadA/min_y = 1\nbadA/max_y = 2\n", "the bad region badA lacks a limit"),
        ("p1/mask_edge_pixels = -1\n", "mask_edge_pixels of p1 is '-1'; allowed: a whole number of pixels"),
        ("p1/mask = /x\np1/mask_file = m.geom\np1/mask_bad = 1\n", "the mask m.geom cannot be read"),
        ("p1/mask = /x\np1/mask_file = m.geom\np1/mask_bad = yes\n", "mask0_badbits is 'yes'; allowed: bits, such as 0x1"),
        ("p1/mask = /x\np1/mask_file = m.nxs\np1/mask_bad = 1\n", "the mask m.nxs has no array /x; allowed: an array in"),
        ("p1/mask = /entry/data/data\np1/mask_file = m.nxs\np1/mask_bad = 1\np1/dim1 = ss\np1/dim2 = fs\np1/max_ss = 99\n",
         "the mask /entry/data/data in m.nxs has the shape 2 10 6; allowed: one that has the pixels of panel p1"),
    ],
)  # fmt: skip
def test_bad_regions_of_crystfel_that_are_refused(more, sentence):
    geometry_files.write_nexus("m.nxs")
    with pytest.raises(InputError, match=sentence):
        read_geom(more)


def test_limits_of_crystfel():
    with open("m.geom", "w") as stream:
        stream.write(geometry_files.geom_bytes().decode() + "p1/flag_lessthan = -5\np1/flag_morethan = 900\n")
    panels = crystfel.read("m.geom").panels
    assert [(panel.trusted_min, panel.trusted_max) for panel in panels] == [(None, 60000.0), (-5.0, 900.0)]


def test_the_mask_of_a_master():
    geometry_files.write_nexus("m.nxs")
    for panel in nexus.read("m.nxs").panels:
        np.testing.assert_array_equal(pixels_within(panel.masked, panel.shape), STRIPE)


def expt(panels=1):
    """An experiment of an .expt of image 3, with a masked stripe in each panel."""
    content = geometry_files.experiments(panels)
    for panel in content["detector"][0]["panels"]:
        panel["px_mm_strategy"] = {"type": "SimplePxMmStrategy"}
    with open("m.expt", "w") as stream:
        json.dump(content, stream)
    words = "-expt m.expt -image 3 -default_F 100 -N 5 -oversample 1 -fluence 1e24"
    return Experiment.from_args(words.split())


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("panels", [1, 2])
def test_masked_pixels_are_no_measurements(panels):
    """Images have them; refine, in Python and on the command line, leaves them out; predictions say of each spot."""
    experiment = expt(panels)
    image = nbnumba.simulate(experiment)
    every = np.broadcast_to(STRIPE, image.shape)
    assert (image[every] > 0.0).all()
    np.testing.assert_array_equal(masked_pixels(experiment.detector), np.tile(STRIPE, (panels, 1)))
    data = frame(experiment, image, parameters=["detector.distance_mm"], image_names=[], loss="gaussian", sigma=1.0).data
    np.testing.assert_array_equal(np.isnan(data).reshape(every.shape), every)
    image.astype("<f4").tofile("stack.bin")
    found = measured.read("stack.bin", experiment, None, None, None)
    assert found.left_out["masked by the geometry"] == panels * SLOW
    assert f"{panels * SLOW} masked by the geometry" in found.line()
    table = nbnumba.predict(experiment, np.argwhere(np.ones((3, 3, 3))) - 1)
    for masked, fast, slow in zip(table.masked, table.fast, table.slow):
        assert masked == STRIPE[min(int(slow), SLOW - 1), min(int(fast), FAST - 1)]


def test_a_prediction_knows_its_mask():
    wide = Experiment.from_args("-cell 30 40 50 -default_F 10 -N 5 -osc 1 -pixel 1 -detpixels 100 -distance 100".split())
    half = wide.replace({"detector.masked": [(50, 0, 100, 100)]})
    table = nbnumba.predict(half)
    assert len(table) == len(nbnumba.predict(wide)) > 20 and 0 < table.masked.sum() < len(table)
    np.testing.assert_array_equal(table.masked, table.fast >= 50.0)
    nbnumba.write_predictions("p.csv", table, half)
    names, *rows = [line.split(",") for line in open("p.csv").read().split()]
    assert [row[names.index("masked")] for row in rows] == [str(int(masked)) for masked in table.masked]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("panels", [1, 2])
def test_masked_pixels_are_written(panels):
    """An .expt has the rectangles; an NXmx has their counts, and its mask excludes them."""
    experiment = expt(panels)
    nbnumba.write_expt("out.expt", experiment)
    read = nbnumba.read_geometry("out.expt")
    assert [panel.masked for panel in read.panels] == [((1, 0, 2, 5),)] * panels
    image = np.ones(np.shape(nbnumba.simulate(experiment)), "u2") * 45
    nbnumba.write_nxmx("out.nxs", image, experiment)
    shapes = [(SLOW, FAST)] * panels
    back = images.read_panels("out.nxs", shapes, "test")
    assert (back.pixels == 5).all()
    np.testing.assert_array_equal(back.masked, np.tile(STRIPE, (panels, 1)))


def test_noise_is_saturated_at_the_largest_valid_count():
    experiment = expt().replace({"detector.trusted_max": 60.0, "detector.trusted_min": None})
    noisy = nbnumba.noise_image(experiment, np.full((SLOW, FAST), 1000.0), seed=1)
    assert (noisy.pixels == 60).all() and noisy.overloads == SLOW * FAST
    nbnumba.write_smv("n.img", noisy.pixels, experiment)
    assert nbnumba.read_smv("n.img")[1]["CCD_IMAGE_SATURATION"] == "60"
