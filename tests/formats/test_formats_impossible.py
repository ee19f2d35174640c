"""Values in files of geometry that no detector, beam or rotation can have: each is refused by name, or named."""

import json
import re

import geometry_files
import h5py
import numpy as np
import pytest
from geometry_files import PIXEL

from nbnumba import Experiment, InputError, pixel_positions, read_geometry
from nbnumba.cli.main import main

REST = "-default_F 10 -N 2 --dry-run -quiet"
DETECTOR = "/entry/instrument/detector"
MOVES = f"{DETECTOR}/transformations"
NAN = float("nan")


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def said(words, capsys):
    """The exit status of a dry run, and what it says."""
    capsys.readouterr()
    status = main(f"{words} {REST}".split())
    return status, capsys.readouterr().err


def check(words, sentence, capsys, status=2):
    """A run says a sentence, and names no flag of the place of the detector that it was not given."""
    found, text = said(words, capsys)
    assert found == status and re.search(sentence, text), text
    assert "Traceback" not in text
    for flag in ("-distance:", "-close_distance", "-fdet_vector", "-beam_vector has", "-saturation:"):
        assert flag not in text


def changed_expt(part, **fields):
    """An .expt with some fields of a panel or of a model changed."""
    content = geometry_files.experiments()
    model = content["detector"][0]["panels"][0] if part == "panel" else content[part][0]
    if part == "crystal":
        del model["A_at_scan_points"]
    model.update(fields)
    return content


@pytest.mark.parametrize(
    "part, fields, sentence",
    [
        ("panel", {"gain": 0}, r"detector\[0\].panels\[0\].gain is 0; allowed: a positive number"),
        ("panel", {"gain": -1.0}, "gain is -1.0; allowed: a positive number"),
        ("panel", {"trusted_range": [100, -1]}, "its detector has valid values from 100 to -1; allowed: the least of them not"),
        ("panel", {"trusted_range": [-1, 5]}, "detector.trusted_max: 5 is not allowed in a noise image; allowed: above 40"),
        ("panel", {"thickness": -0.3}, "thickness is -0.3; allowed: a number not below 0"),
        ("panel", {"mu": -3.0}, "mu is -3.0; allowed: a number not below 0"),
        ("panel", {"fast_axis": [2, 0, 0]}, "has the axis 2 0 0 of length 2; allowed: unit vectors"),
        ("panel", {"fast_axis": [0.5, 0, 0]}, "of length 0.5; allowed: unit vectors"),
        ("panel", {"origin": [-1, 1, 0]}, "its detector is in a plane with the crystal; allowed: one at a distance from it"),
        ("panel", {"mask": [[3, 3, 1, 1]]}, r"mask\[0\] is \[3, 3, 1, 1\]; allowed: whole numbers: the first pixel"),
        ("panel", {"mask": [[0.5, 0, 2, 2]]}, r"mask\[0\] is \[0.5, 0, 2, 2\]; allowed: whole numbers"),
        ("beam", {"direction": [1, 0, 0]}, "has a beam that runs along the detector; allowed: a detector that the beam meets"),
        ("crystal", {"mosaicity": -1}, "mosaicity is -1; allowed: a number not below 0"),
        ("scan", {"oscillation": [2e6, 0.1]}, "states what no image has: its goniometer's phi_deg: 2000000 is not allowed"),
    ],
)
def test_impossible_values_of_dxtbx(part, fields, sentence, capsys):
    content = changed_expt(part, **fields)
    if part == "scan":
        del content["crystal"][0]["A_at_scan_points"]
    write(content)
    check("-expt made.expt -image 3", f"(-expt: 'made.expt'.*)?{sentence}", capsys)


def write(content):
    with open("made.expt", "w", encoding="ascii") as stream:
        json.dump(content, stream)


@pytest.mark.parametrize(
    "part, fields, sentence",
    [
        ("beam", {"divergence": -1}, "states a divergence of the beam of -1, which is not rendered: give -divergence"),
        ("beam", {"sigma_divergence": 0.02}, "states a sigma_divergence of the beam of 0.02, which is not rendered: give"),
        ("beam", {"transmission": 0.1}, "states a transmission of the beam of 0.1, which is not rendered: give -fluence"),
        ("crystal", {"real_space_a": [0.003, 0, 0]}, "states the cell 0.003 40 50 90 90 90, whose edges are taken to be in A"),
    ],
)
def test_values_of_dxtbx_that_are_named(part, fields, sentence, capsys):
    write(changed_expt(part, **fields))
    check("-expt made.expt -image 3", f"warning: -expt 'made.expt' {sentence}", capsys, 0)


def test_a_divergence_of_imgcif_is_named(capsys):
    more = "_diffrn_radiation.div_x_source 0.08\r\n_diffrn_radiation.div_y_source 0.01\r\n"
    changed(geometry_files.full_cbf_bytes(), "_diffrn_radiation.polarizn", f"{more}_diffrn_radiation.polarizn", "f.cbf")
    check("-img f.cbf -cell 30 40 50", "states a divergence of the beam of 0.08 and 0.01 degrees, which is not re", capsys, 0)


def test_rectangles_of_dxtbx_outside_of_the_panel_mask_nothing():
    write(changed_expt("panel", mask=[[100, 100, 200, 200], [-5, 0, 2, 2]]))
    assert read_geometry("made.expt").panels[0].masked == ((0, 0, 2, 2),)


def test_a_file_of_dxtbx_without_a_beam_or_a_detector(capsys):
    """What it states of the rest keeps its axes, in the custom convention."""
    content = geometry_files.experiments()
    content["experiment"][0]["beam"] = None
    write(content)
    check("-expt made.expt -image 3", "states no beam, which is taken to run along -z of imgCIF", capsys, 0)
    content = geometry_files.experiments()
    content["experiment"][0]["detector"] = None
    write(content)
    assert said("-expt made.expt -image 3", capsys) == (0, "")


XDS = [
    ("   100.000000", "   0.000000", 2, "-xparm: 'X': its detector is in a plane with the crystal"),
    ("0.000000       0.000000       0.833333", "0.0 0.833333 0.0", 2, "has a beam that runs along the detector"),
    ("   0.000000       1.000000       0.000000\n", "  0 2 0\n", 2, "its detector has the axis 0 2 0 of length 2; allowed"),
    ("         6         5    0.1", "         0         5    0.1", 2, "number of pixels is 0; allowed: a whole number from 1"),
    (
        "1.200000",
        "2.000000",
        0,
        "warning: -xparm 'X' states a beam of length 0.833333, which is that of 1.2 A, and .* 2 A",
    ),
    ("30.0000     40.0000     50.0000", "31.0 40 50", 0, "states the cell 31 40 50 90 90 90, and vectors of the cell 30 40 50"),
]


@pytest.mark.parametrize("old, new, status, sentence", XDS)
def test_impossible_values_of_xds(old, new, status, sentence, capsys):
    changed(geometry_files.xparm_bytes(), old, new, "X")
    check("-xparm X -image 2", sentence, capsys, status)


def test_a_flag_may_state_the_distance_that_a_file_lacks(capsys):
    changed(geometry_files.xparm_bytes(), "   100.000000", "   0.000000", "X")
    assert said("-xparm X -image 2 -distance 90", capsys)[0] == 0
    changed(geometry_files.mini_cbf_bytes(), "Detector_distance 0.1 m", "Detector_distance 0 m", "m.cbf")
    assert said("-img m.cbf -cell 30 -distance 90", capsys)[0] == 0


def changed(whole, old, new, name):
    """Write a file in which one text is another one."""
    assert old.encode() in whole
    with open(name, "wb") as stream:
        stream.write(whole.replace(old.encode(), new.encode(), 1))


CRYSTFEL = [
    ("adu_per_photon = 2", "adu_per_photon = 0", "p0/adu_per_photon is 0; allowed: a positive number"),
    ("adu_per_photon = 2", "adu_per_eV = -2", "p0/adu_per_eV is -2; allowed: a positive number"),
    ("max_adu = 60000", "max_adu = -2", "the largest value of panel p0 is -2; allowed: a positive number"),
    ("max_adu = 60000", "max_adu = 60\nflag_lessthan = 100", "panel q0/p0 has valid values from 100 to 60; allowed"),
    ("clen = 100 mm", "clen = 0", "panel q0/p0 is in a plane with the crystal; allowed: one at a distance"),
    ("badstripe/max_fs = 1", "badstripe/max_fs = 0", "the bad region badstripe has min_fs 1 above max_fs 0; allowed"),
    ("p1/corner_x = -6", "p1/corner_x = -6\np1/no_index = maybe", "no_index of p1 is 'maybe'; allowed: 0 or 1, true, yes"),
]


@pytest.mark.parametrize("old, new, sentence", CRYSTFEL)
def test_impossible_values_of_crystfel(old, new, sentence, capsys):
    changed(geometry_files.geom_bytes(), old, new, "m.geom")
    check("-geom m.geom -cell 30 40 50", f"-geom: 'm.geom': {sentence}", capsys)


DECTRIS = [
    ("Wavelength 1.2 A", "Wavelength 0 A", "has Wavelength '0 A' in its header; allowed: a positive number in A, or -lambda"),
    ("Wavelength 1.2 A", "Wavelength nan A", "has Wavelength 'nan A' in its header"),
    ("Wavelength 1.2 A", "Wavelength 0.12 nm", "has Wavelength '0.12 nm' in its header"),
    (
        "Detector_distance 0.1 m",
        "Detector_distance -0.1 m",
        "has Detector_distance '-0.1 m' in its header; allowed: a posit",
    ),
    ("Detector_distance 0.1 m", "Detector_distance 100 mm", "has Detector_distance '100 mm' in its header"),
    ("x 0.0001 m", "x 0.0001 mm", "has Pixel_size '0.0001 m x 0.0001 mm' in its header; allowed: two edges"),
    ("x 0.0001 m", "x -1e-4 m", "has Pixel_size '0.0001 m x -1e-4 m' in its header; allowed: two edges"),
    ("Start_angle 10.0000", "Start_angle nan", "has Start_angle 'nan deg.' in its header; allowed: a number"),
    ("# Start_angle 10.0000 deg.\r\n", "", "has Angle_increment 0.5 and no Start_angle in its header; allowed: both"),
    ("Polarization 0.900", "Polarization 1.5", "has Polarization '1.5' in its header; allowed: a fraction from 0 to 1"),
    ("Count_cutoff 60000", "Count_cutoff -5", "has Count_cutoff '-5 counts' in its header; allowed: a number not below 0"),
    ("thickness 0.000320", "thickness -0.00032", "thickness '-0.00032 m' in its header; allowed: a thickness from 0 to 1"),
]


@pytest.mark.parametrize("old, new, sentence", DECTRIS)
def test_impossible_values_of_dectris(old, new, sentence, capsys):
    changed(geometry_files.mini_cbf_bytes(), old, new, "m.cbf")
    check("-img m.cbf -cell 30 40 50", f"-img: 'm.cbf' {sentence.replace('thickness', '.*thickness', 1)}", capsys)


def test_flags_count_before_impossible_values_of_dectris(capsys):
    changed(geometry_files.mini_cbf_bytes(), "Wavelength 1.2 A", "Wavelength 0 A", "m.cbf")
    assert said("-img m.cbf -cell 30 -lambda 1", capsys)[0] == said("-img m.cbf -cell 30 -energy 9000", capsys)[0] == 0
    changed(geometry_files.mini_cbf_bytes(), "Polarization 0.900", "Polarization 1.5", "m.cbf")
    assert said("-img m.cbf -cell 30 -polar 0.5", capsys)[0] == 0


def test_a_negative_rotation_is_one_about_the_opposite_axis():
    changed(geometry_files.mini_cbf_bytes(), "Angle_increment 0.5000", "Angle_increment -0.5", "m.cbf")
    geometry = read_geometry("m.cbf")
    assert (geometry.scan.phi_deg, geometry.scan.width_deg) == (-10.0, 0.5)
    np.testing.assert_array_equal(geometry.spindle_axis, [0.0, 0.0, -1.0])


IMGCIF = [
    ("A 2.0 60000 -1", "A 0 60000 -1", "panel P0 has a gain of 0 counts per photon; allowed: a positive number"),
    ("A 2.0 60000 -1", "A nan 60000 -1", "_array_intensities.gain is 'nan'; allowed: a number"),
    ("A 2.0 60000 -1", "A 2.0 -5 -1", "panel P0 has valid values from -1 to -5; allowed: the least"),
    (
        "source_ratio 0.8",
        "source_ratio 2",
        "_diffrn_radiation.polarizn_source_ratio is 2; allowed: a number from -1 to 1, or -polar",
    ),
    ("GON_OMEGA 10 0.5 0.5 0", "GON_OMEGA 10 nan nan 0", "the angle by which axis GON_OMEGA turns is 'nan'; allowed: a number"),
    ("A P1 2 6 10", "A P1 2 8 10", "section P1 goes from '8' to '10'; allowed: 5 elements, as its axes have"),
    ("'SOURCE' general source . 0 0 1", "'SOURCE' general source . 1 0 0", "has a beam that runs along the detector; allowed"),
    ("DET_Z . -100", "DET_Z . 0", "panel P0 is in a plane with the crystal; allowed"),
]


@pytest.mark.parametrize("old, new, sentence", IMGCIF)
def test_impossible_values_of_imgcif(old, new, sentence, capsys):
    changed(geometry_files.full_cbf_bytes(), old, new, "f.cbf")
    check("-img f.cbf -cell 30 40 50", f"-img: 'f.cbf':? {sentence}", capsys)


def with_value(path, value):
    """A change of an HDF5 file: another value of a dataset, which keeps its attributes."""

    def change(file):
        attributes = dict(file[path].attrs) if path in file else {}
        if path in file:
            del file[path]
        file[path] = value
        file[path].attrs.update(attributes)

    return change


def with_attribute(path, key, value):
    """Another value of an attribute; None removes it."""

    def change(file):
        if value is None:
            del file[path].attrs[key]
        else:
            file[path].attrs[key] = value

    return change


NEXUS = [
    (with_value(f"{DETECTOR}/sensor_thickness", -3.2e-4), 2, "panel module0 has a sensor of -320 um; allowed: a thickness"),
    (with_value(f"{DETECTOR}/sensor_thickness", NAN), 2, "sensor_thickness is not finite; allowed: finite numbers"),
    (with_value(f"{DETECTOR}/saturation_value", "x"), 2, "saturation_value is 'x'; allowed: finite numbers"),
    (with_value(f"{DETECTOR}/saturation_value", -5), 2, "panel module0 has valid values from 0 to -5; allowed"),
    (with_attribute(f"{MOVES}/q0", "depends_on", 5), 2, "q0@depends_on is '5'; allowed: a path in the file, or ."),
    (with_value("/entry/sample/depends_on", 3), 2, r"/entry/sample/depends_on is '\[3\]'; allowed: a path in the file"),
    (with_attribute(f"{MOVES}/q0", "depends_on", None), 2, "plane with the crystal.*does not say what .*/q0 depends on"),
    (
        with_attribute(f"{MOVES}/distance", "depends_on", None),
        0,
        "does not say what .*/distance depends on: it is taken",
    ),
    (with_attribute(f"{MOVES}/distance", "depends_on", ""), 0, "does not say what .*/distance depends on: it is taken"),
    (with_attribute(f"{MOVES}/distance", "units", None), 0, "does not state the units of .*/distance: m is taken"),
    (with_value(f"{MOVES}/distance", NAN), 2, "transformations/distance is not finite; allowed: finite numbers"),
    (with_value("/entry/instrument/beam/incident_wavelength", 0.0), 2, "incident_wavelength is 0; allowed: a positive number"),
    (with_value("/entry/instrument/beam/incident_polarization_stokes", [1.0, 2.0, 0.0, 0.0]), 2, "stokes is 1 2 0 0; allowed"),
    (with_value("/entry/data/data_scale_factor", -0.5), 2, "data_scale_factor is -0.5; allowed: a positive number"),
    (lambda file: geometry_files._group(file, "entry2", "NXentry"), 0, "has 2 NXentry, of which the first counts"),
]


@pytest.mark.parametrize("change, status, sentence", NEXUS)
def test_impossible_values_of_nxmx(change, status, sentence, capsys):
    geometry_files.write_nexus("m.nxs")
    with h5py.File("m.nxs", "r+") as file:
        change(file)
    words = "-nexus m.nxs -cell 30 40 50" + ("" if "sample/depends_on" in sentence else " -image 2")
    check(words, f"-nexus:? 'm.nxs'.*{sentence}", capsys, status)


def test_the_gain_of_nxmx():
    """The data are multiplied by data_scale_factor to be photons."""
    geometry_files.write_nexus("m.nxs")
    with h5py.File("m.nxs", "r+") as file:
        file["/entry/data/data_scale_factor"] = 0.4
    assert [panel.gain for panel in read_geometry("m.nxs").panels] == [2.5, 2.5]


@pytest.mark.parametrize("flag", ["-expt", "-xparm", "-geom", "-nexus"])
def test_img_names_the_flag_of_another_file(flag, capsys):
    make, name = geometry_files.FILES[flag]
    with open(name, "wb") as stream:
        stream.write(make())
    check(f"-img {name} -cell 30 40 50", f"-img: '{name}' is a file of .*; allowed: {flag} for such a file", capsys)


def test_the_beam_along_the_first_panel_of_several():
    """Another panel stands for the frame of the detector; the beam along all of them is refused."""
    content = geometry_files.experiments(2)
    detector = content["detector"][0]
    del detector["hierarchy"]
    first, second = detector["panels"]
    first |= {"origin": [20.0, -1.0, -50.0], "fast_axis": [0.0, 0.0, 1.0], "slow_axis": [0.0, 1.0, 0.0]}
    second |= {"origin": [-1.0, 1.0, -100.0]}
    write(content)
    made = Experiment.from_args("-expt made.expt -image 3 -default_F 1".split())
    corners = pixel_positions(made, [[0, 0, 0], [0, 6, 5], [1, 0, 0]], frame="dxtbx")
    expected = [first["origin"], np.add(first["origin"], (0.0, 5 * PIXEL, 6 * PIXEL)), second["origin"]]
    np.testing.assert_allclose(corners, expected, rtol=0, atol=1e-12)
    second |= {key: first[key] for key in ("origin", "fast_axis", "slow_axis")}
    write(content)
    with pytest.raises(InputError, match="has a beam that runs along the detector"):
        read_geometry("made.expt")
