"""Files of geometry on the command line: what they state, which flags count before them, and what is refused."""

import json
import re
import shlex

import geometry_files
import numpy as np
import pytest
from geometry_files import CELL, DISTANCE, FAST, SLOW, WAVELENGTH
from real_data import REAL, needs, to_lab

from nbnumba import Experiment, InputError
from nbnumba.cli.main import main
from nbnumba.setup.crystal import orient

REST = "-default_F 10 -N 2"


@pytest.fixture(autouse=True)
def files(tmp_path, monkeypatch):
    """A file of each format in the working directory, and one of two panels."""
    monkeypatch.chdir(tmp_path)
    for make, name in geometry_files.FILES.values():
        (tmp_path / name).write_bytes(make())
    (tmp_path / "two.expt").write_bytes(geometry_files.expt_bytes(2))
    (tmp_path / "full.cbf").write_bytes(geometry_files.full_cbf_bytes())
    (tmp_path / "m.mat").write_text("0.02 0 0\n0 0.021 0\n0 0 0.022\n")


def stated(words):
    """The experiment of the words."""
    return Experiment.from_args(f"{words} {REST}".split())


no_other_warning = pytest.mark.filterwarnings("error")
"""Let a test fail with any other warning."""


def messages_of(recwarn):
    """The warnings of a test."""
    return [str(warning.message) for warning in recwarn]


@no_other_warning
def test_masked_pixels_and_valid_counts_of_a_file_are_stated():
    one, two = stated("-expt m.expt -image 3").detector, stated("-expt two.expt -image 4").detector
    assert (one.masked, one.trusted_min, one.trusted_max) == (((1, 0, 2, 5),), -1.0, 60000.0)
    assert [panel.masked for panel in two.panels] == [((1, 0, 2, 5),)] * 2


def test_masked_pixels_are_not_kept_where_flags_state_others(recwarn):
    assert not stated("-expt m.expt -image 3 -detpixels 7").detector.masked
    assert any("pixels that the file masks are not left out" in message for message in messages_of(recwarn))


@no_other_warning
def test_an_image_of_a_scan():
    experiment = stated("-expt m.expt -image 3")
    detector, beam, goniometer = experiment.detector, experiment.beam, experiment.goniometer
    assert (detector.convention, detector.pixels, detector.pixel_mm) == ("custom", (FAST, SLOW), 0.1)
    assert (detector.distance_mm, detector.xbeam_mm, detector.ybeam_mm) == (DISTANCE, 1.0, 1.0)
    assert (detector.thickness_um, detector.attenuation_um) == (320.0, 500.0)
    assert beam.wavelength_A == WAVELENGTH and beam.polarization == pytest.approx(0.8, rel=1e-12)
    assert (goniometer.phi_deg, goniometer.osc_deg, goniometer.spindle_axis) == (10.0, 0.5, (0.0, 0.0, 1.0))
    scale = 2 / (1 + 1 / 1.1)
    np.testing.assert_allclose(orient(experiment.crystal), to_lab(CELL * scale), rtol=0, atol=1e-9)


@no_other_warning
@pytest.mark.parametrize("words", ["-expt two.expt -image 4", "-geom m.geom -cell 30 40 50", "-img full.cbf -cell 30 40 50"])
def test_many_panels(words):
    detector = stated(words).detector
    assert [panel.shape for panel in detector.panels] == [(SLOW, FAST)] * 2


@pytest.mark.parametrize(
    "words, sentences",
    [
        ("-expt m.expt -image 3 -distance 90", ["-distance counts before what -expt 'm.expt' states"]),
        ("-expt m.expt -image 3 -lambda 1.1 -Xbeam 0.5", ["-lambda, -Xbeam count before what -expt 'm.expt' states"]),
        ("-energy 9000 -expt m.expt -image 3", ["-energy counts before what -expt 'm.expt' states"]),
        ("-expt m.expt -image 3 -osc 1 -phi 2", ["-osc, -phi count before what -expt 'm.expt' states"]),
        ("-expt m.expt -image 3 -mat m.mat", ["-mat counts before the crystal that -expt 'm.expt' states"]),
        ("-expt m.expt -image 3 -cell 60", ["-cell counts before the cell of the crystal in the file of geometry"]),
        ("-expt two.expt -image 3 -pixel 0.2", ["-pixel has no effect: the panels of the file have their own pixels"]),
        ("-img m.cbf -cell 60", ["-img 'm.cbf' names no axis of rotation in the laboratory"]),
        ("-image 3 -cell 60", ["-image has no effect: no file of geometry is named"]),
    ],
)
def test_one_sentence_says_which_flags_count(words, sentences, recwarn):
    stated(words)
    found = messages_of(recwarn)
    assert len(found) == len(sentences)
    for sentence, message in zip(sentences, found):
        assert message.startswith(sentence)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "words, field, value",
    [
        ("-distance 90", "detector.distance_mm", 90.0),
        ("-Xbeam 2", "detector.xbeam_mm", 2.0),
        ("-lambda 1.1", "beam.wavelength_A", 1.1),
        ("-energy 12398.42", "beam.wavelength_A", 1.0),
        ("-osc 1", "goniometer.osc_deg", 1.0),
        ("-phi 7", "goniometer.phi_deg", 7.0),
        ("-detector_abs 99", "detector.attenuation_um", 99.0),
        ("-cell 60 61 62 90 91 90", "crystal.b_A", 61.0),
        ("-cell 60 61 62 90 91 90", "crystal.beta_deg", 91.0),
        ("-misset 1 2 3", "crystal.misset_deg", (1.0, 2.0, 3.0)),
        ("-polar 0.3", "beam.polarization", 0.3),
    ],
)
def test_flags_count_before_a_file(words, field, value):
    got = stated(f"-expt m.expt -image 3 {words}").value(field)
    assert got == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize(
    "words, sentence",
    [
        ("-expt m.expt", "-expt: 'm.expt' has the images 3 to 4, and none is chosen; allowed: -image N, or -phi and -osc"),
        ("-expt m.expt -image 5", "-image: 5 is not allowed; allowed: the number of an image of 'm.expt', 3 to 4"),
        ("-expt m.expt -image 3 -experiment 1", "-expt: 'm.expt': experiment has no entry 1; allowed: 0 to 0"),
        ("-expt m.expt -geom m.geom", "-expt and -geom all state the geometry; allowed: one of them"),
        ("-expt m.expt -img m.cbf", "-expt and -img all state the geometry; allowed: one of them"),
        ("-expt m.expt -image 3 -mosflm", "-mosflm is not allowed beside -expt, which states the axes of the detector"),
        ("-expt XPARM.XDS", "-expt: 'XPARM.XDS' is a file of XDS; allowed: -xparm for such a file"),
        ("-geom m.nxs", "-geom: 'm.nxs' is a file of NXmx; allowed: -nexus for such a file"),
        ("-xparm m.expt", "-xparm: 'm.expt' is a file of dxtbx; allowed: -expt for such a file"),
        ("-expt none.expt", "-expt: no such file 'none.expt'"),
        ("-geom m.geom", "no unit cell is given; allowed"),
        ("-expt m.expt -image 3 -experiment -1", "experiment has no entry -1"),
        ("-xparm XPARM.XDS -image 1 -experiment 0", "-experiment: 0 is not allowed: -xparm: 'XPARM.XDS' is no list"),
        ("-expt two.expt -image 3 -detector_thick 100", "-detector_thick: 100.0 is not allowed beside"),
    ],
)
def test_what_is_refused(words, sentence, capsys):
    assert main(shlex.split(f"{words} {REST}")) == 2
    assert sentence in capsys.readouterr().err.splitlines()[-1]


def test_the_distance_of_crystfel_may_be_a_flag(tmp_path):
    """A camera length that stands in an HDF5 file is refused, unless a flag gives it."""
    text = (
        geometry_files.geom_bytes().decode().replace("100 mm", "/LCLS/encoder").replace("photon_energy", "photon_energy = /x ;")
    )
    (tmp_path / "h5.geom").write_text(text)
    with pytest.raises(InputError, match="-lambda or -energy"):
        stated("-geom h5.geom -cell 30 -distance 90")
    with pytest.raises(InputError, match="clen is '/LCLS/encoder', a place in an HDF5 file; allowed: a number, or -distance"):
        stated("-geom h5.geom -cell 30 -lambda 1.5")
    experiment = stated("-geom h5.geom -cell 30 -lambda 1.5 -distance 90")
    assert experiment.detector.distance_mm == 90.0 and experiment.detector.panels[1].origin_mm[2] == pytest.approx(
        -0.2, rel=1e-9
    )


def test_the_gain_of_crystfel_follows_the_wavelength_of_a_flag(tmp_path):
    """adu_per_eV is counts per photon only at a photon energy, which the file may leave to the data."""
    text = geometry_files.geom_bytes().decode().replace("adu_per_photon = 2", "adu_per_eV = 0.001")
    for energy in ("/LCLS/energy", "9000 eV"):
        (tmp_path / "gain.geom").write_text(re.sub("photon_energy = .*", f"photon_energy = {energy}", text))
        with pytest.warns(UserWarning, match="-energy counts before what -geom"):
            panels = stated("-geom gain.geom -energy 8000 -cell 50").detector.panels
        assert [panel.gain for panel in panels] == pytest.approx([8.0, 8.0], rel=1e-12)


def test_the_swing_of_a_header_of_dectris_may_be_a_flag(tmp_path):
    text = geometry_files.mini_cbf_bytes().replace(b"# Polar", b"# Detector_2theta 5.0 deg.\r\n# Polar")
    (tmp_path / "swung.cbf").write_bytes(text)
    experiment = stated("-img swung.cbf -cell 30 -twotheta 5 -twotheta_axis 0 1 0")
    assert experiment.detector.twotheta_deg == 5.0


def test_a_sensor_that_is_not_rendered_is_named(tmp_path, recwarn):
    content = geometry_files.experiments()
    panel = content["detector"][0]["panels"][0]
    panel["px_mm_strategy"]["type"] = "SimplePxMmStrategy"
    (tmp_path / "simple.expt").write_text(json.dumps(content))
    assert stated("-expt simple.expt -image 3").detector.thickness_um == 0.0
    panel["px_mm_strategy"]["type"] = "ParallaxCorrectedPxMmStrategy"
    panel["mu"], panel["material"] = 0.0, "Unobtainium"
    (tmp_path / "unknown.expt").write_text(json.dumps(content))
    assert stated("-expt unknown.expt -image 3").detector.thickness_um == 0.0
    messages = messages_of(recwarn)
    assert len(messages) == 2 and "places spots as if there were none" in messages[0]
    assert "a sensor of Unobtainium of 320 um, whose absorption is not known" in messages[1]


def test_amplitudes_in_another_basis(tmp_path):
    """-reindex states the crystal's h, k and l by those of the list."""
    (tmp_path / "r.hkl").write_text("1 2 3 10\n-1 0 4 20\n")
    factors = Experiment.from_args("-expt m.expt -image 3 -hkl r.hkl -reindex k,h,-l".split()).structure_factors
    assert factors.hkl.tolist() == [[2, 1, -3], [0, -1, -4]] and factors.F.tolist() == [10.0, 20.0]
    with pytest.raises(InputError, match="-reindex: h/2,k,l makes 0.5 2 3 of 1 2 3; allowed: whole indices"):
        Experiment.from_args("-expt m.expt -image 3 -hkl r.hkl -reindex h/2,k,l".split())


@needs(REAL / "text" / "A.mat")
def test_a_matrix_that_was_made_at_another_wavelength(recwarn):
    """The cell in its file fits at 6.2 A."""
    Experiment.from_args(f"-mat {REAL / 'text' / 'A.mat'} -default_F 1 -lambda 1".split())
    assert "they agree at 6.2" in " ".join(str(warning.message) for warning in recwarn)
