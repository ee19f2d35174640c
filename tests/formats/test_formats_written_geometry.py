"""Geometry written for other programs, and images with it: .expt, NXmx and miniCBF are read back as the same experiment."""

import json
import random
import sys
import warnings

import dials
import numpy as np
import pytest

import nbnumba
from nbnumba import Experiment, InputError, from_geometry
from nbnumba.cli.main import main
from nbnumba.formats import endings, images, minicbf_writer, nxmx_writer, unmeasured
from nbnumba.formats.geometry import Geometry, PanelGeometry, imgcif, lab
from nbnumba.geometry.rectangles import pixels_within, rectangles
from nbnumba.geometry.rotations import about_axis
from nbnumba.parity import NO_DEFECTS
from nbnumba.setup.crystal import orient
from nbnumba.setup.panels import planes
from nbnumba.to_geometry import noise_readout

CONVENTIONS = ("mosflm", "adxv", "denzo", "xds", "dials")
CRYSTAL = "-cell 30 40 50 75 85 95 -misset 10 20 30 -default_F 10 -lambda 1.2345678901 "
PILATUS = "-detpixels_x 487 -detpixels_y 195 -pixel 0.172 "
TURNED = "-twotheta 10 -detector_rotx 2 -detector_roty -3 -detector_rotz 1 "
NOTHING = np.zeros((195, 487), np.uint16) + 40


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pytest.importorskip("h5py")


def made(words):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return Experiment.from_args((CRYSTAL + words).split())


def corners(experiment):
    """Three corners of every panel (panels, 3, 3), in mm, relative to the crystal, in the laboratory."""
    found = []
    for plane in planes(experiment.detector, experiment.beam, NO_DEFECTS):
        fast, slow = plane.pixels[0] * plane.pixel_fast * plane.fast, plane.pixels[1] * plane.pixel_slow * plane.slow
        found.append([plane.origin, plane.origin + fast, plane.origin + slow])
    return 1000 * np.array(found)


def corners_of(geometry):
    """The same of a geometry that was read."""
    ends = [((0, 0), (panel.shape[1], 0), (0, panel.shape[0])) for panel in geometry.panels]
    return np.array([[panel.positions_mm(*end) for end in of_panel] for panel, of_panel in zip(geometry.panels, ends)])


def frame_of(points, beam, spindle):
    """Points (..., 3) along beam and spindle: two files may state the same detector in different frames."""
    across = spindle - (spindle @ beam) * beam
    across /= np.linalg.norm(across)
    return points @ np.array([beam, across, np.cross(beam, across)]).T


def flags(rng, convention):
    """Random flags of a detector that faces the crystal."""
    words = f"-{convention} " + PILATUS + f"-distance {rng.uniform(60, 200)} -phi {rng.uniform(-90, 90)} -osc 0.5 "
    for flag in ("-twotheta", "-detector_rotx", "-detector_roty", "-detector_rotz"):
        words += f"{flag} {rng.uniform(-15, 15)} " if rng.random() < 0.7 else ""
    words += rng.choice(["", "-Xbeam 30 -Ybeam 10 ", "-detector_thick 320 -detector_abs 235 ", "-polar 0.9 "])
    return words


@pytest.mark.parametrize("convention", CONVENTIONS)
@pytest.mark.parametrize("ending", ["expt", "nxs"])
def test_what_is_written_is_read_back(convention, ending):
    """To a billionth of a mm: places, axes, wavelength, polarization, rotation, and of .expt the crystal."""
    rng = random.Random(3)
    for _ in range(5):
        experiment = made(flags(rng, convention))
        if ending == "expt":
            nbnumba.write_expt("a.expt", experiment)
        else:
            nbnumba.write_nxmx("a.nxs", NOTHING, experiment)
        read = nbnumba.read_geometry(f"a.{ending}").at_image(1)
        (plane,) = planes(experiment.detector, experiment.beam, NO_DEFECTS)
        spindle = np.array(from_geometry.goniometer_fields(read)["spindle_axis"])
        axis = np.array({"adxv": (1, 0, 0), "xds": (1, 0, 0), "dials": (0, 1, 0)}.get(convention, (0, 0, 1)), float)
        wanted = frame_of(corners(experiment), plane.beam, axis)
        assert np.abs(frame_of(corners_of(read), read.beam_direction, spindle) - wanted).max() < 1e-9
        assert read.wavelength_A == experiment.beam.wavelength_A
        assert (read.scan.phi_deg, read.scan.width_deg) == pytest.approx((experiment.goniometer.phi_deg, 0.5), abs=1e-12)
        assert 2 * read.polarization_fraction - 1 == pytest.approx(experiment.beam.polarization, abs=1e-12)
        electric = np.array({"adxv": (1, 0, 0), "xds": (1, 0, 0), "dials": (0, 1, 0)}.get(convention, (0, 0, 1)), float)
        if experiment.beam.polarization or ending == "expt":
            ours, theirs = frame_of(electric, plane.beam, axis), frame_of(read.polarization_axis, read.beam_direction, spindle)
            assert abs(abs(ours @ theirs) - 1) < 1e-12
        assert (read.panels[0].thickness_um or 0) == pytest.approx(experiment.detector.thickness_um, abs=0.01)
        if ending == "expt":
            np.testing.assert_allclose(read.crystal.vectors, orient(experiment.crystal), atol=1e-12)


def test_a_still_has_its_crystal_at_its_own_phi():
    still = made(PILATUS + "-phi 25")
    nbnumba.write_expt("a.expt", still)
    read = nbnumba.read_geometry("a.expt")
    assert read.scan is None and read.spindle_axis is None
    expected = orient(still.crystal) @ about_axis(np.array([0.0, 0.0, 1.0]), np.radians(25)).T
    np.testing.assert_allclose(read.crystal.vectors, expected, atol=1e-12)
    nbnumba.write_nxmx("a.nxs", NOTHING, still)
    assert nbnumba.read_geometry("a.nxs").scan is None


def several():
    """An experiment of four panels in two groups, one of which is moved."""
    panels = [
        nbnumba.Panel(f"h{k // 2}/p{k % 2}", (30 + k, 40), 0.1, 0.2, (5.0 * k - 10, 3.0 * (k // 2), 0.1 * k)) for k in range(4)
    ]
    groups = (nbnumba.Group("h1", shift_mm=(0.1, 0.2, 0.3), turn_deg=(1, 2, 3)),)
    one = made("-twotheta 10 -detector_rotx 2 -distance 50 -osc 1")
    return one.replace({"detector.panels": tuple(panels), "detector.groups": groups})


def test_panels_and_groups_are_read_back():
    experiment = several()
    nbnumba.write_expt("a.expt", experiment)
    read = nbnumba.read_geometry("a.expt")
    assert [panel.path for panel in read.panels] == [panel.path for panel in experiment.detector.panels]
    assert [group.path for group in read.groups] == ["h0", "h1"]
    assert np.abs(corners_of(read) - corners(experiment)).max() < 1e-12
    parts = [np.full(panel.shape, 40 + number, np.uint16) for number, panel in enumerate(experiment.detector.panels)]
    nbnumba.write_nxmx("a.nxs", parts, experiment)
    read = nbnumba.read_geometry("a.nxs")
    assert np.abs(corners_of(read) - corners(experiment)).max() < 1e-9
    assert [panel.shape for panel in read.panels] == [panel.shape for panel in experiment.detector.panels]
    import h5py

    with h5py.File("a.nxs") as file:
        data, first = file["entry/data/data"][0], [0, 30, 61, 93]
        assert [int(data[row, 5]) for row in first] == [0, 1, 2, 3] and data.shape == (126, 40)
    with pytest.raises(InputError, match="^write_cbf: a detector of 4 panels is not allowed; allowed: one panel$"):
        nbnumba.write_cbf("a.cbf", np.zeros((195, 487), np.uint16), experiment)


def test_dxtbx_reads_the_same_geometry():
    """Debian's, from each file that is written: three corners of every panel, beam, spindle, scan and crystal."""
    wanted, names = [], []
    for number, words in enumerate([f"-{convention} {TURNED}" for convention in CONVENTIONS] + ["-osc 1", "-phi 7"]):
        experiment = made(PILATUS + words + (" -osc 0.5 -phi 3" if words.startswith("-") and "phi" not in words else ""))
        nbnumba.write_expt(f"{number}.expt", experiment)
        nbnumba.write_nxmx(f"{number}.nxs", NOTHING, experiment)
        wanted += [experiment, experiment]
        names += [f"{number}.expt", f"{number}.nxs"]
    nbnumba.write_expt("several.expt", several())
    nbnumba.write_nxmx("several.nxs", [np.zeros(panel.shape, np.uint16) for panel in several().detector.panels], several())
    straight = made(PILATUS + "-distance 80 -osc 0.5 -phi 3 -detector_thick 450 -detector_abs 300")
    nbnumba.write_cbf("straight_1.cbf", NOTHING, straight)
    for name, experiment in [("several.expt", several()), ("several.nxs", several()), ("straight_1.cbf", straight)]:
        wanted.append(experiment)
        names.append(name)
    for name, experiment, answer in zip(names, wanted, dials.read(*names)):
        (plane, *_) = planes(experiment.detector, experiment.beam, NO_DEFECTS)
        beam, spindle = -lab(answer["towards"]), None if answer["axis"] is None else lab(answer["axis"])
        found = lab([panel[1] for panel in answer["panels"]])
        assert answer["wavelength"] == pytest.approx(experiment.beam.wavelength_A, rel=1e-9)
        if spindle is None:
            assert not experiment.goniometer.osc_deg, name
            assert np.abs(found - corners(experiment)).max() < 1e-9
            continue
        axis = {"adxv": (1, 0, 0), "xds": (1, 0, 0), "dials": (0, 1, 0)}.get(experiment.detector.convention, (0, 0, 1))
        ours = frame_of(corners(experiment), plane.beam, np.array(axis, float))
        assert np.abs(frame_of(found, beam, spindle) - ours).max() < 1e-7, name
        assert answer["oscillation"] == pytest.approx([experiment.goniometer.phi_deg, experiment.goniometer.osc_deg])
        if name.endswith(".expt"):
            star = lab(np.array(answer["A"]).reshape(3, 3).T)
            np.testing.assert_allclose(star, np.linalg.inv(orient(experiment.crystal)).T, atol=1e-9)


def test_the_package_nxmx_reads_the_modules():
    """It is what new versions of dxtbx read NXmx with."""
    nxmx, h5py = pytest.importorskip("nxmx"), pytest.importorskip("h5py")
    experiment = several()
    nbnumba.write_nxmx("a.nxs", [np.zeros(panel.shape, np.uint16) for panel in experiment.detector.panels], experiment)
    with h5py.File("a.nxs") as file:
        (entry,) = nxmx.NXmx(file).entries
        detector = entry.instruments[0].detectors[0]
        origins = []
        for module in detector.modules:
            chain = nxmx.get_dependency_chain(module.fast_pixel_direction.depends_on)
            origins.append(np.diag([-1, 1, -1]) @ nxmx.get_cumulative_transformation(chain)[0, :3, 3])
        assert np.abs(lab(np.array(origins)) - corners(experiment)[:, 0]).max() < 1e-9
        assert [tuple(module.data_size) for module in detector.modules] == [panel.shape for panel in experiment.detector.panels]
        assert detector.saturation_value == 65534 - 40 and entry.definition == "NXmx"
        assert nxmx.get_dependency_chain(entry.samples[0].depends_on)[0].end[()].magnitude == 1.0


@pytest.mark.parametrize("compression", ["gzip", "bitshuffle"])
def test_pixels_and_mask_of_nxmx(compression):
    """The counts of a series are less their offset; pixels outside the region are -1 and masked."""
    if compression == "bitshuffle":
        pytest.importorskip("hdf5plugin")
    series = [made(PILATUS + f"-phi {0.5 * k} -osc 0.5 -roi 5 480 3 190") for k in range(3)]
    counts = np.random.default_rng(1).poisson(3, (3, 195, 487)).astype(np.uint16)
    nbnumba.write_nxmx("a.nxs", counts + 40, series, compression=compression)
    inside = np.zeros((195, 487), bool)
    inside[3:191, 5:481] = True
    for k in range(3):
        read = images.read(f"a.nxs#{k}", (195, 487), "test")
        np.testing.assert_array_equal(read.pixels, np.where(inside, counts[k].astype(int), -1))
        np.testing.assert_array_equal(read.masked, ~inside)
        assert unmeasured.saturation(read).value == 65494
    one, two = (open("a.nxs", "rb").read() for _ in range(2))
    nbnumba.write_nxmx("b.nxs", counts + 40, series, compression=compression)
    assert open("b.nxs", "rb").read() == one == two
    nbnumba.write_nxmx("f.nxs", counts[0] / 8, series[0], compression=compression)
    read = images.read("f.nxs", (195, 487), "test").pixels
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, np.where(inside, counts[0] / 8, -1.0))


def test_a_series_in_one_expt():
    series = [made(PILATUS + f"-phi {0.5 * k} -osc 0.5") for k in range(4)]
    nbnumba.write_expt("a.expt", series, [f"run_{k + 7:03d}.img" for k in range(4)])
    content = json.load(open("a.expt"))
    assert content["scan"][0]["image_range"] == [7, 10] and content["scan"][0]["oscillation"] == [0, 0.5]
    assert content["imageset"][0]["template"] == "run_###.img" and content["detector"][0]["panels"][0]["pedestal"] == 40
    nbnumba.write_expt("a.expt", series, "all.nxs", adc=0)
    content = json.load(open("a.expt"))
    assert content["scan"][0]["image_range"] == [1, 4] and content["imageset"][0]["template"] == "all.nxs"
    assert nbnumba.read_geometry("a.expt").at_image(3).scan.phi_deg == 1.0


@pytest.mark.parametrize("experiments, files, sentence", [
    ([0, 1, 3], (), "experiment 2 does not continue the series"),
    ([0, 1], ("a_1.img",), "the images 'a_1.img' to 'a_1.img' are no series"),
    ([0, 1], ("a_1.img", "a_3.img"), "the images 'a_1.img' to 'a_3.img' are no series"),
    ([0, 1], ("a_1.img", "b.img"), "the images 'a_1.img' to 'b.img' are no series"),
    ([], (), r"experiment: \[\] is not allowed"),
])  # fmt: skip
def test_no_series(experiments, files, sentence):
    series = [made(PILATUS + f"-phi {0.5 * k} -osc 0.5") for k in experiments]
    with pytest.raises(InputError, match=sentence):
        nbnumba.write_expt("a.expt", series, files)
    assert not (nbnumba.files.os.path.exists("a.expt"))


def test_other_refusals(monkeypatch):
    experiment = made(PILATUS + "-osc 1")
    with pytest.raises(InputError, match="2 stills are no series"):
        nbnumba.write_expt("a.expt", [made(PILATUS)] * 2)
    with pytest.raises(InputError, match="^write_expt: detector.curved: a curved detector"):
        nbnumba.write_expt("a.expt", made(PILATUS + "-curved_det"))
    with pytest.raises(InputError, match="no PILATUS or EIGER has 100 x 100 pixels; allowed .*: 487 x 195, .* 4148 x 4362$"):
        nbnumba.write_cbf("a.cbf", np.zeros((100, 100), np.uint16), made("-detpixels 100"))
    with pytest.raises(InputError, match="^adc: 40.5 is not allowed; allowed: a whole number"):
        nbnumba.write_nxmx("a.nxs", NOTHING, experiment, adc=40.5)
    with pytest.raises(InputError, match="compression 'zip' is not allowed; allowed: gzip, bitshuffle"):
        nbnumba.write_nxmx("a.nxs", NOTHING, experiment, compression="zip")
    with pytest.raises(InputError, match="^images: 1 do not fit 2 experiments"):
        nbnumba.write_nxmx("a.nxs", NOTHING[None], [experiment] * 2)
    with pytest.raises(InputError, match="images of shape"):
        nbnumba.write_nxmx("a.nxs", NOTHING[:9], experiment)
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(InputError, match=r"^write_nxmx needs the package h5py.* pip install nbnumba\[nexus\]$"):
        nbnumba.write_nxmx("a.nxs", NOTHING, experiment)


def test_the_expt_of_a_name_without_a_number_has_no_images():
    with pytest.warns(UserWarning, match="'noise.img' has no number before its ending"):
        nbnumba.write_expt("a.expt", made(PILATUS + "-osc 1"), "noise.img")
    assert json.load(open("a.expt"))["imageset"] == []


def test_a_beam_without_a_polarization_factor_is_said():
    with pytest.warns(UserWarning, match="no polarization factor"):
        nbnumba.write_expt("a.expt", made(PILATUS + "-osc 1 -nopolar"))


def test_valid_values_hold_for_old_and_new_versions_of_dxtbx():
    """Old ones exclude both limits, new ones include them; with noise of the read-out 0 may stand for less."""
    nbnumba.write_expt("a.expt", made(PILATUS + "-osc 1"), adc=40, response=nbnumba.Response(saturation=1000.5))
    assert json.load(open("a.expt"))["detector"][0]["panels"][0]["trusted_range"] == [39.5, 999.5]
    readout = noise_readout(nbnumba.Response(readout_noise=3), 40)
    assert (readout.least, readout.most) == (1, 65534)
    readout = noise_readout(nbnumba.Response(readout_noise=3, gain=2), 40, subtracted=True)
    assert (readout.least, readout.most, readout.gain, readout.offset) == (-39, 65494, 2, 0)


def test_rectangles_cover_bad_pixels():
    generator = np.random.default_rng(2)
    for density in (0.0, 0.02, 0.5, 1.0):
        bad = generator.random((17, 23)) < density
        bad[:, 7:9] = True
        covered = np.zeros(bad.shape, int)
        for first, top, end, bottom in rectangles(bad):
            covered[top:bottom, first:end] += 1
        np.testing.assert_array_equal(covered, bad.astype(int))
        np.testing.assert_array_equal(pixels_within(rectangles(bad), bad.shape), bad)
    gaps = np.zeros((100, 100), bool)
    gaps[:, 10:12] = gaps[50:60] = True
    assert rectangles(gaps) == ((10, 0, 12, 50), (0, 50, 100, 60), (10, 60, 12, 100))


def test_byte_offset_is_read_by_fabio():
    """Counts with every length of difference, masked ones, and the header."""
    fabio = pytest.importorskip("fabio")
    experiment = made(PILATUS + "-osc 0.25 -phi 3 -distance 123.456 -roi 0 486 4 194")
    generator = np.random.default_rng(3)
    counts = (10 ** generator.uniform(0, 9.3, (195, 487))).astype(np.int64) * generator.integers(0, 2, (195, 487))
    nbnumba.write_cbf("a.cbf", counts, experiment, adc=0)
    image = fabio.open("a.cbf")
    np.testing.assert_array_equal(image.data[4:], counts[4:])
    assert (image.data[:4] == -1).all()
    header = image.header["_array_data.header_contents"]
    assert "PILATUS 100K" in header and "Start_angle 3 deg." in header and "Detector_distance 0.123456 m" in header
    read = nbnumba.read_geometry("a.cbf")
    assert np.abs(corners_of(read) - corners(experiment)).max() < 1e-6


def test_a_minicbf_says_what_it_loses():
    for words, lost in [
        (TURNED, ["how the detector is turned"]),
        ("-dials -osc 1", ["fast and slow axes to the spindle"]),
        ("-adxv -osc 1", ["fast and slow axes to the spindle"]),
        ("-osc 1", []),
        ("-xds -osc 1", []),
        ("-detector_thick 450 -detector_abs 4000 -osc 1", ["the attenuation depth of the sensor"]),
    ]:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            nbnumba.write_cbf("a_1.cbf", NOTHING, made(PILATUS + words))
        messages = [str(warning.message) for warning in caught]
        assert len(messages) == len(lost) and all(part in line for part, line in zip(lost, messages)), (words, messages)


def test_sizes_of_detectors():
    sizes = {(2463, 2527): "PILATUS 6M", (4148, 4362): "EIGER2 16M", (4150, 4371): "EIGER 16M", (2463, 2526): None}
    assert {size: minicbf_writer.detector_name(size) for size in sizes} == sizes


def test_materials():
    """NXmx has no attenuation depth: the material that has it is found by it."""
    for name, depth in (("Si", 300), ("CdTe", 25)):
        panel = PanelGeometry("p", (2, 2), 1, 1, np.zeros(3), np.eye(3)[0], np.eye(3)[1], 450.0, depth, name)
        nxmx_writer.check(Geometry("", "", (panel,)))
    panel = PanelGeometry("p", (2, 2), 1, 1, np.zeros(3), np.eye(3)[0], np.eye(3)[1], 450.0, 300.0, "Ge")
    with pytest.raises(InputError, match="the sensor of p is of Ge; allowed in NXmx readers: Si, CdTe, GaAs"):
        nxmx_writer.check(Geometry("", "", (panel,)))
    assert np.array_equal(imgcif(lab([1.0, 2, 3])), [1, 2, 3])


@pytest.mark.parametrize(
    "name, flag", [("x.h5", "-nxsfile"), ("x.nxs", "-nxsfile"), ("x.cbf", "-cbffile"), ("x.expt", "-exptfile")]
)
def test_a_name_of_another_format_is_refused_with_the_flag_that_writes_it(name, flag):
    wanted = f"^-floatfile: '{name}' announces .*, but it would hold 4-byte floats; .*, or {flag}$"
    with pytest.raises(InputError, match=wanted):
        endings.check(name, "-floatfile", "4-byte floats")


def test_an_expt_without_limits_of_values_is_read_back():
    """It describes no image, whose values would have some."""
    words = "-cell 50 -default_F 1 -N 2 -detpixels 8 -exptfile a.expt -nonoise -nointfile -nopgm -quiet"
    assert main(words.split()) == 0
    panel = nbnumba.read_geometry("a.expt").panels[0]
    assert (panel.trusted_min, panel.trusted_max) == (None, None)
