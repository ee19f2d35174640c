"""The files of a run for other programs: -exptfile, -nxsfile and -cbffile beside nanoBragg's images."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import nbnumba
from nbnumba.formats import images

pytest.importorskip("h5py")

BASE = "-cell 50 60 70 -default_F 1000 -N 2 -detpixels_x 487 -detpixels_y 195 -pixel 0.172 -roi 200 260 60 120 -oversample 2 "
QUIET = "-quiet -nopgm -nointfile "


def test_all_files_hold_the_noise_image(run):
    words = BASE + QUIET + "-seed 5 -osc 1 -noisefile n_1.img -cbffile n_1.cbf -nxsfile n.nxs -exptfile n.expt"
    status, out, err = run(words)
    assert (status, out, err) == (0, [], [])
    counts = nbnumba.read_smv("n_1.img")[0].astype(int) - 40
    inside = np.zeros((195, 487), bool)
    inside[60:121, 200:261] = True
    for name in ("n_1.cbf", "n.nxs"):
        read = images.read(name, (195, 487), "test")
        np.testing.assert_array_equal(read.pixels, np.where(inside, counts, -1))
    model = json.loads(Path("n.expt").read_text())
    assert model["imageset"][0]["template"] == "n_#.cbf" and model["detector"][0]["panels"][0]["pedestal"] == 0
    experiment = nbnumba.Experiment.from_args(BASE + "-osc 1")
    noisy = nbnumba.noise_image(experiment, nbnumba.simulate(experiment), 5).pixels
    nbnumba.write_cbf("same.cbf", noisy, experiment)
    nbnumba.write_nxmx("same.nxs", noisy, experiment)
    nbnumba.write_expt("same.expt", experiment, "n_1.cbf", adc=0)
    assert Path("same.cbf").read_bytes() == Path("n_1.cbf").read_bytes()
    assert Path("same.nxs").read_bytes() == Path("n.nxs").read_bytes()
    ours, theirs = (json.loads(Path(name).read_text()) for name in ("same.expt", "n.expt"))
    ours["detector"][0]["panels"][0].pop("trusted_range"), theirs["detector"][0]["panels"][0].pop("trusted_range")
    assert ours == theirs


@pytest.mark.parametrize("words, template, pedestal", [
    ("-noisefile a_007.img", "a_###.img", 40),
    ("-noisefile a_007.img -adc 10", "a_###.img", 10),
    ("-noisefile a_007.img -nxsfile a.h5 -nxscompression bitshuffle", "a.h5", 0),
])  # fmt: skip
def test_an_expt_describes_one_image(run, words, template, pedestal):
    assert run(f"{BASE}{QUIET}-osc 1 {words} -exptfile m.json")[0] == 0
    model = json.loads(Path("m.json").read_text())
    assert model["imageset"][0]["template"] == template and model["detector"][0]["panels"][0]["pedestal"] == pedestal


def test_without_noise_there_are_photons(run):
    assert run(f"{BASE}{QUIET}-osc 1 -nonoise -nxsfile p.nxs -exptfile p.expt")[0] == 0
    read = images.read("p.nxs", (195, 487), "test").pixels
    floats = nbnumba.read_float("floatimage.bin", (195, 487))
    assert read.dtype == np.float32 and floats.max() > 0.0
    np.testing.assert_array_equal(read[60:121, 200:261], floats[60:121, 200:261])
    assert json.loads(Path("p.expt").read_text())["imageset"][0]["single_file_indices"] == [0]


def test_the_geometry_alone_can_go_to_the_standard_output(tmp_path):
    command = [sys.executable, "-m", "nbnumba", *f"{BASE}{QUIET}-osc 1 -nonoise -exptfile -".split()]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    said = [line for line in done.stderr.splitlines() if "compiling" not in line]  # which a first run may say
    assert json.loads(done.stdout)["imageset"] == [] and said == []


@pytest.mark.parametrize("words, sentence", [
    ("-cbffile a.cbf -nonoise", "-cbffile holds counts, and -nonoise is given"),
    ("-cbffile a.cbf -readout_noise 2", "-readout_noise: 2 makes counts below 0"),
    ("-nxsfile a.nxs -adc 40.5", "-adc: 40.5 is not allowed with -nxsfile"),
    ("-nxsfile a.nxs -nxscompression zip", "-nxscompression: 'zip' is not allowed; allowed: gzip, bitshuffle"),
    ("-cbffile a.cbf -detpixels 100", "-cbffile: no PILATUS or EIGER has 487 x 195 pixels"),
    ("-exptfile a.expt -curved_det", "-exptfile: -curved_det: a curved detector is no panel"),
    ("-exptfile a.h5", "-exptfile: 'a.h5' announces HDF5, but it would hold models of DIALS"),
    ("-nxsfile a.img", "-nxsfile: 'a.img' announces SMV, but it would hold HDF5"),
    ("-cbffile a.nxs", "-cbffile: 'a.nxs' announces HDF5, but it would hold CBF"),
    ("-floatfile a.nxs", "-floatfile: 'a.nxs' announces HDF5, but it would hold 4-byte floats"),
    ("-noisefile a.cbf", "-noisefile: 'a.cbf' announces CBF, but it would hold SMV"),
    ("-nxsfile a.nxs -exptfile a.nxs", "-exptfile: 'a.nxs' announces HDF5"),
    ("-nxsfile a -cbffile a", "-cbffile: 'a' is also the -nxsfile"),
])  # fmt: skip
def test_refusals_write_nothing(run, words, sentence):
    words = words.replace("-detpixels 100", "-detpixels_y 194 -roi 0 9 0 9")
    sentence = sentence.replace("487 x 195", "487 x 194")
    status, _, err = run(f"{BASE}{QUIET}{words}")
    assert status == 2 and len(err) == 1 and err[0].startswith(f"nbnumba: {sentence}"), err
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize("words, sentence", [
    ("-cbffile a_1.cbf -twotheta 5", "-cbffile: its readers do not learn from it how the detector is turned"),
    ("-nxsfile a.nxs -detector_thick 9 -detector_abs 9", "-nxsfile: its readers do not learn from it the attenuation depth"),
    ("-exptfile a.expt", "-exptfile: the name 'noiseimage.img' has no number before its ending"),
    ("-exptfile a.expt -noisefile n_1.img -nopolar", "-exptfile: -nopolar: a geometry cannot state"),
    ("-nxscompression gzip", "-nxscompression has no effect: no -nxsfile is named"),
])  # fmt: skip
def test_what_is_lost_is_said(run, words, sentence):
    status, _, err = run(f"{BASE}{QUIET}-osc 1 {words}")
    assert status == 0 and len(err) == 1 and err[0].startswith(f"nbnumba: warning: {sentence}"), err


def test_panels_are_written_with_their_gains(run):
    """Counts of each panel are in its rows; of integers only NXmx holds panels, and states no gains that differ."""
    shape, corners = (20, 30), [(-3.0, -4.0, 0.0), (-3.0, 1.0, 0.0)]
    panels = tuple(
        nbnumba.Panel(f"g{k}/p", shape, 0.2, 0.2, corner, gain=k + 1.0, trusted_max=1000.0 + k)
        for k, corner in enumerate(corners)
    )
    experiment = nbnumba.Experiment.from_args("-cell 50 60 70 -default_F 1 -distance 40 -osc 1")
    nbnumba.write_expt("d.expt", experiment.replace({"detector.panels": panels}))
    words = "-expt d.expt -default_F 1000 -N 2 -water 1 -fluence 1e31 -oversample 1 -nopgm -nointfile -quiet -seed 3"
    status, _, err = run(f"{words} -noisefile n_1.img -nxsfile n.nxs -exptfile n.expt")
    assert status == 0 and any("the gains of the panels, which differ" in line for line in err)
    assert any("files of integers hold no geometry" in line for line in err)
    model = json.loads(Path("n.expt").read_text())
    gains = [(panel["gain"], panel["trusted_range"][1]) for panel in model["detector"][0]["panels"]]
    assert gains == [(1.0, 1000 - 1 - 1 - 40 + 0.5), (2.0, 1001 - 1 - 1 - 40 + 0.5)]  # the largest may stand for more, twice
    assert model["imageset"][0]["template"] == "n.nxs"
    counts = nbnumba.read_smv("n_1.img")[0].astype(int) - 40
    np.testing.assert_array_equal(images.read("n.nxs", (40, 30), "test").pixels, counts)
