"""Files of geometry of other programs and instruments, against dxtbx or the numbers that stand in the files themselves."""

import dials
import geometry_files
import numpy as np
import pytest
from real_data import REAL, needs, to_lab

import nbnumba
from nbnumba import from_geometry
from nbnumba.geometry.rotations import about_axis
from nbnumba.parity import NO_DEFECTS
from nbnumba.setup.detector import position_detector

IMAGES, TEXT, CYSTEINE = REAL / "images", REAL / "text", REAL / "l_cysteine"
CBF = [
    IMAGES / "DLS_I03_smargon_0001.cbf.gz",
    IMAGES / "dlsnxs2cbf_therm_0001.cbf.gz",
    IMAGES / "idx-20130301060858401.cbf",
    IMAGES / "idx-20130301060858601.cbf",
    CYSTEINE / "l-cyst_01_00008.cbf",
]


def corners(geometry):
    """Three corners of every panel in mm: (panels, 3, 3)."""
    ends = [((0, 0), (panel.shape[1], 0), (0, panel.shape[0])) for panel in geometry.panels]
    return np.array([[panel.positions_mm(*end) for end in of_panel] for panel, of_panel in zip(geometry.panels, ends)])


def placed(detector, beam):
    """The same of the statements of a detector, which may have panels."""
    frame = position_detector(detector, beam, NO_DEFECTS)
    axes, origin = np.array([frame.fast, frame.slow, frame.normal]), 1000.0 * frame.origin
    if not detector.panels:
        edges = [n * detector.pixel_mm for n in detector.pixels]
        return np.array([[origin, origin + edges[0] * frame.fast, origin + edges[1] * frame.slow]])
    found = []
    for panel in detector.panels:
        corner = np.array(panel.origin_mm)
        fast = panel.shape[1] * panel.pixel_fast_mm * np.array(panel.fast_axis)
        slow = panel.shape[0] * panel.pixel_slow_mm * np.array(panel.slow_axis)
        found.append([origin + point @ axes for point in (corner, corner + fast, corner + slow)])
    return np.array(found)


@needs(REAL / "geometry")
def test_every_pixel_of_a_cspad_is_where_dials_has_it():
    """To 1e-9 of the distance, as read and as stated in panels."""
    geometry = nbnumba.read_geometry(REAL / "geometry" / "cspad_stills.expt")
    points = np.load(REAL / "geometry" / "cspad_stills_pixels.npz")
    wanted = to_lab(points["lab_mm"])
    found = [geometry.panels[p].positions_mm(f, s) for p, f, s in zip(points["panel"], points["fast"], points["slow"])]
    assert np.abs(np.array(found) - wanted).max() <= 1e-9 * 105.0
    detector, beam = from_geometry.detector(geometry), from_geometry.beam(geometry)
    assert np.abs(placed(detector, beam) - corners(geometry)).max() <= 1e-9 * 105.0
    assert len(detector.panels) == 64 and len(detector.groups) == 36 and geometry.panels[63].path.count("/") == 2


@pytest.mark.parametrize("path", CBF, ids=lambda path: path.name)
def test_a_cbf_is_read_as_dxtbx_reads_it(path):
    if not path.exists():
        pytest.skip(f"{path} is absent")
    geometry, (wanted,) = nbnumba.read_geometry(path), dials.read(path)
    assert [list(panel.shape[::-1]) for panel in geometry.panels] == [panel[0] for panel in wanted["panels"]]
    places = to_lab([panel[1] for panel in wanted["panels"]])
    assert np.abs(corners(geometry) - places).max() <= 1e-9 * 130.0
    assert np.abs(placed(from_geometry.detector(geometry), from_geometry.beam(geometry)) - places).max() <= 1e-9 * 130.0
    assert geometry.wavelength_A == wanted["wavelength"]
    np.testing.assert_allclose(geometry.beam_direction, -to_lab(wanted["towards"]), rtol=0, atol=1e-12)
    if wanted["axis"] is None:
        assert geometry.spindle_axis is None and geometry.scan is None
    else:
        np.testing.assert_allclose(geometry.spindle_axis, to_lab(wanted["axis"]), rtol=0, atol=1e-12)
        assert (geometry.scan.phi_deg, geometry.scan.width_deg) == tuple(wanted["oscillation"])
    for panel, (_, _, mu, thickness) in zip(geometry.panels, wanted["panels"]):
        if mu:
            depth = from_geometry.detector_fields(geometry)["attenuation_um"]
            assert depth == pytest.approx(1000.0 / mu, rel=1e-4) and panel.thickness_um == pytest.approx(
                1000.0 * thickness, rel=1e-9
            )


@needs(TEXT / "XPARM.XDS")
def test_xparm():
    """Against the file's own numbers, by XDS' formula for a pixel; angles between vectors do not depend on the frame."""
    geometry = nbnumba.read_geometry(TEXT / "XPARM.XDS")
    lines = [[float(word) for word in line.split()] for line in (TEXT / "XPARM.XDS").read_text().splitlines()[1:12]]
    beam, vectors = np.array(lines[1][1:]), np.array(lines[3:6])
    orgx, orgy, distance = lines[7]
    pixel = np.array(
        [[(x + 0.5 - orgx) * 0.172, (y + 0.5 - orgy) * 0.172, distance] for x, y in ((0, 0), (2463, 0), (0, 2527))]
    )
    known = np.vstack([pixel, beam / np.linalg.norm(beam), vectors, [1.0, 0.0, 0.0]])
    here = np.vstack([corners(geometry)[0], geometry.beam_direction, geometry.crystal.vectors, geometry.spindle_axis])
    np.testing.assert_allclose(here @ here.T, known @ known.T, rtol=1e-12, atol=1e-9)
    assert geometry.wavelength_A == 0.976250 and geometry.scan.phi_of(3) == pytest.approx(0.3, rel=1e-12)
    np.testing.assert_allclose(geometry.spindle_axis, to_lab([1.0, 0.0, 0.0]), rtol=0, atol=1e-12)


@needs(TEXT / "jf16.geom")
def test_jungfrau():
    """Against the file's own numbers: the last entries of a key count, corners are in pixels of 1 / res."""
    geometry = nbnumba.read_geometry(TEXT / "jf16.geom")
    stated = {}
    for line in (TEXT / "jf16.geom").read_text().splitlines():
        key, equals, value = line.partition(";")[0].partition("=")
        if equals:
            stated[key.strip()] = value.strip()
    assert len(geometry.panels) == 32 and [group.path for group in geometry.groups] == ["quad0", "quad1", "quad2", "quad3"]
    for panel in geometry.panels:
        name, pixel = panel.path.partition("/")[2], 1000.0 / 13333.3
        z = 98.6 + 1000.0 * float(stated.get(f"{name}/coffset", 0.0))
        x, y = (float(stated[f"{name}/corner_{axis}"]) * pixel for axis in "xy")
        np.testing.assert_allclose(panel.origin_mm, to_lab([-x, y, -z]), rtol=1e-12, atol=1e-9)
        assert panel.shape == (514, 1030)
    detector = from_geometry.detector(geometry)
    assert np.abs(placed(detector, from_geometry.beam(geometry)) - corners(geometry)).max() <= 1e-9 * 98.6


@needs(IMAGES / "dectris_eiger_master.h5")
def test_eiger_master():
    """Against the numbers in the file, which are of 32 bits: dxtbx refuses it without its data."""
    geometry = nbnumba.read_geometry(IMAGES / "dectris_eiger_master.h5")
    (panel,) = geometry.panels
    assert panel.shape == (3269, 3110) and panel.trusted_max == 12440.0 and panel.material == "Si"
    wanted = to_lab([-1607.415 * 0.075, 1586.4314 * 0.075, -134.255])
    np.testing.assert_allclose(panel.origin_mm, wanted, rtol=1e-6)
    assert geometry.wavelength_A == pytest.approx(0.9801122, rel=1e-7)
    assert (geometry.scan.phi_deg, geometry.scan.width_deg) == (0.0, 0.5)


@needs(IMAGES / "TIMEPIX_SU_512-stdgoni_0001.img")
def test_smv():
    """The beam centre of this file is in pixels, so that only the rest has a meaning."""
    geometry = nbnumba.read_geometry(IMAGES / "TIMEPIX_SU_512-stdgoni_0001.img")
    (panel,) = geometry.panels
    assert panel.shape == (512, 512) and panel.origin_mm[0] == pytest.approx(531.85, rel=1e-12)
    assert geometry.wavelength_A == 0.0251 and (geometry.scan.phi_deg, geometry.scan.width_deg) == (65.4, 0.23)


@pytest.mark.parametrize("panels", [1, 2])
def test_a_small_expt_is_read_as_dxtbx_reads_it(tmp_path, panels):
    """With a fixed and a setting rotation, which dxtbx multiplies itself."""
    fixed, setting = about_axis(np.array([0.6, 0.8, 0.0]), 0.7), about_axis(np.array([0.0, 0.6, -0.8]), -0.4)
    turns = {"fixed_rotation": fixed.ravel().tolist(), "setting_rotation": setting.ravel().tolist()}
    path = tmp_path / "m.expt"
    path.write_bytes(geometry_files.expt_bytes(panels, goniometer=[{"rotation_axis": [0.8, 0.0, 0.6], **turns}], imageset=[]))
    (wanted,) = dials.read(path)
    geometry = nbnumba.read_geometry(path)
    assert np.abs(corners(geometry) - to_lab([panel[1] for panel in wanted["panels"]])).max() <= 1e-9 * 100.0
    np.testing.assert_allclose(geometry.spindle_axis, to_lab(wanted["axis"]), rtol=0, atol=1e-12)
    turn, matrix = (np.reshape(wanted[key], (3, 3)) for key in ("turn", "A"))
    np.testing.assert_allclose(geometry.crystal.vectors, to_lab(np.linalg.inv(matrix) @ turn.T), rtol=0, atol=1e-9)


@needs(CYSTEINE / "sweep01.expt")
def test_spots_of_l_cysteine_are_where_they_were_measured():
    """Of the image 8: calculated spots against DIALS' predictions, whose images were measured there."""
    flags = f"-expt {CYSTEINE / 'sweep01.expt'} -image 8 -hkl {CYSTEINE / 'P1.hkl'} -N 20 -phisteps 10"
    image = nbnumba.simulate(nbnumba.Experiment.from_args(flags.split()))
    measured = nbnumba.files.read_image(CYSTEINE / "l-cyst_01_00008.cbf", (1679, 1475))
    spots = np.load(CYSTEINE / "sweep01_integrated.npz")
    fast, slow, frame = spots["predicted_px"].T
    distances, counts = [], []
    for x, y in zip(fast[abs(frame - 7.5) < 0.4], slow[abs(frame - 7.5) < 0.4]):
        rows, columns = (slice(int(place) - 5, int(place) + 6) for place in (y, x))
        spot = image[rows, columns]
        i, j = np.indices(spot.shape) + 0.5
        centre = (spot * i).sum() / spot.sum() - 5 + int(y), (spot * j).sum() / spot.sum() - 5 + int(x)
        distances.append(np.hypot(centre[0] - y, centre[1] - x))
        counts.append(measured[int(y) - 2 : int(y) + 3, int(x) - 2 : int(x) + 3].sum())
    assert len(distances) >= 3 and np.max(distances) < 0.3 and np.min(counts) > 20


def test_a_small_nxmx_master_is_read_as_dxtbx_reads_it(tmp_path):
    """With a swing of the whole detector, and a module that is turned."""
    import h5py

    path = tmp_path / "m_master.nxs"
    geometry_files.write_nexus(path)
    with h5py.File(path, "r+") as file:
        moves = file["/entry/instrument/detector/transformations"]
        geometry_files.move(moves, "swing", 20.0, "rotation", (0.0, 1.0, 0.0), ".", units="deg")
        moves["distance"].attrs["depends_on"] = "swing"
        moves["q1"][...] = 7.0
        moves["q1"].attrs["vector"] = np.array([0.6, 0.8, 0.0])
    geometry, (wanted,) = nbnumba.read_geometry(path), dials.read(path)
    places = to_lab([panel[1] for panel in wanted["panels"]])
    assert np.abs(corners(geometry) - places).max() <= 1e-9 * 100.0
    assert np.abs(placed(from_geometry.detector(geometry), from_geometry.beam(geometry)) - places).max() <= 1e-9 * 100.0
    np.testing.assert_allclose(geometry.spindle_axis, to_lab(wanted["axis"]), rtol=0, atol=1e-12)
    assert (geometry.scan.phi_deg, geometry.scan.width_deg) == tuple(wanted["oscillation"])
    depth = from_geometry.detector_fields(geometry)["panels"][0].attenuation_um
    assert depth == pytest.approx(1000.0 / wanted["panels"][0][2], rel=1e-4)
