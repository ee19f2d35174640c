"""Files of geometry: what readers take from small files of known numbers, what they refuse, and how formats are recognised."""

import dataclasses
import gzip
import json
import math
import re

import geometry_files
import numpy as np
import pytest
from geometry_files import CELL, DISTANCE, FAST, PIXEL, SLOW, WAVELENGTH
from real_data import to_lab

import nbnumba
from nbnumba import InputError
from nbnumba.constants import HC_EV_A
from nbnumba.formats import cif, crystfel, dxtbx, imgcif, nexus, xparm
from nbnumba.formats.geometry import lab_of_nexus

CORNERS = [(-1.0, 1.0, -DISTANCE), (0.6, 1.0, -DISTANCE + 0.2)]
"""The corners of the two panels, in the frame of imgCIF."""


def written(tmp_path, content, name="file"):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return path


def check_refused(tmp_path, flag, read, whole, changed, sentence):
    """A file that is like a whole one but for what is `changed` is refused in that sentence."""
    assert changed != whole
    with pytest.raises(InputError, match=f"{flag}: .*{sentence}"):
        read(written(tmp_path, changed))


def check_panels(geometry, corners):
    """Panels of FAST x SLOW pixels along x and -y at these corners, in the frame of imgCIF."""
    assert len(geometry.panels) == len(corners)
    for panel, corner in zip(geometry.panels, corners):
        assert panel.shape == (SLOW, FAST)
        far = np.add(corner, (FAST * PIXEL, -SLOW * PIXEL, 0.0))
        np.testing.assert_allclose(panel.positions_mm(0, 0), to_lab(corner), rtol=0, atol=1e-9)
        np.testing.assert_allclose(panel.positions_mm(FAST, SLOW), to_lab(far), rtol=0, atol=1e-9)
    np.testing.assert_allclose(geometry.beam_direction, [1.0, 0.0, 0.0], rtol=0, atol=1e-12)
    assert geometry.wavelength_A == pytest.approx(WAVELENGTH, rel=1e-9)


def check_rotation(geometry, first_image, images):
    np.testing.assert_allclose(geometry.spindle_axis, to_lab([1.0, 0.0, 0.0]), rtol=0, atol=1e-12)
    scan = geometry.scan
    assert (scan.first_image, scan.images, scan.phi_deg, scan.width_deg) == (first_image, images, 10.0, 0.5)


def test_dxtbx_of_one_panel(tmp_path):
    geometry = dxtbx.read(written(tmp_path, geometry_files.expt_bytes()))
    check_panels(geometry, CORNERS[:1])
    check_rotation(geometry, 3, 2)
    panel = geometry.panels[0]
    assert (panel.path, panel.material, panel.gain, panel.trusted_min, panel.trusted_max) == ("p0", "Si", 2.0, -1.0, 60000.0)
    assert (panel.thickness_um, panel.attenuation_um, panel.parallax, panel.masked) == (320.0, 500.0, True, ((1, 0, 2, 5),))
    assert geometry.polarization_fraction == 0.9 and abs(geometry.polarization_axis @ to_lab([1, 0, 0])) == 1.0
    np.testing.assert_array_equal(geometry.crystal.vectors, to_lab(CELL))
    assert geometry.crystal.space_group == "P 1"


def test_dxtbx_of_a_tree_of_panels(tmp_path):
    """Paths are those of the tree, and a name keeps no character that a path may not have."""
    geometry = dxtbx.read(written(tmp_path, geometry_files.expt_bytes(2)))
    check_panels(geometry, CORNERS)
    assert [panel.path for panel in geometry.panels] == ["q0/p0", "q1/p_1"]
    assert [group.path for group in geometry.groups] == ["q0", "q1"]
    np.testing.assert_array_equal(geometry.frame.origin_mm, to_lab([0, 0, -DISTANCE]))


@pytest.mark.parametrize("image, scale", [(3, 2 / (1 + 1 / 1.1)), (4, 2 / (1 / 1.1 + 1 / 1.2))])
def test_the_crystal_of_an_image_has_the_mean_of_its_reciprocal_vectors(tmp_path, image, scale):
    geometry = dxtbx.read(written(tmp_path, geometry_files.expt_bytes())).at_image(image)
    np.testing.assert_allclose(geometry.crystal.vectors, to_lab(CELL * scale), rtol=0, atol=1e-12)
    assert geometry.scan.phi_deg == 10.0 + 0.5 * (image - 3) and geometry.scan.images == 1


def test_newer_scans_have_properties(tmp_path):
    scan = {"image_range": [3, 4], "properties": {"oscillation": [10.0, 10.5], "epochs": [0, 0]}, "valid_image_ranges": {}}
    check_rotation(dxtbx.read(written(tmp_path, geometry_files.experiments(scan=[scan]))), 3, 2)
    one = {"image_range": [7, 7], "properties": {"oscillation": [10.0], "oscillation_width": [0.5]}}
    crystal = {key: value for key, value in geometry_files.experiments()["crystal"][0].items() if key != "A_at_scan_points"}
    check_rotation(dxtbx.read(written(tmp_path, geometry_files.experiments(scan=[one], crystal=[crystal]))), 7, 1)


def test_a_goniometer_of_several_axes(tmp_path):
    """The axis next to the crystal comes first: those before the one that turns make F, those after it make S."""
    axes = {"axes": [[0, 1, 0], [1, 0, 0], [0, 0, 1]], "angles": [90.0, 77.0, 90.0], "names": ["a", "b", "c"], "scan_axis": 1}
    geometry = dxtbx.read(written(tmp_path, geometry_files.experiments(goniometer=[axes])))
    fixed = np.array([[0.0, 0, 1], [0, 1, 0], [-1, 0, 0]])
    setting = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    np.testing.assert_allclose(geometry.spindle_axis, to_lab([0, 1, 0]), rtol=0, atol=1e-12)
    np.testing.assert_allclose(geometry.crystal.vectors, to_lab(CELL @ (setting @ fixed).T), rtol=0, atol=1e-12)
    same = {"rotation_axis": [1, 0, 0], "fixed_rotation": fixed.ravel().tolist(), "setting_rotation": setting.ravel().tolist()}
    stated = dxtbx.read(written(tmp_path, geometry_files.experiments(goniometer=[same])))
    np.testing.assert_allclose(stated.crystal.vectors, geometry.crystal.vectors, rtol=0, atol=1e-12)


def test_turning_by_phi_is_that_of_dxtbx(tmp_path):
    """S R(phi) F A of dxtbx is the crystal here after phi about the spindle."""
    from nbnumba.geometry.rotations import about_axis

    fixed, setting = about_axis(np.array([0.6, 0.8, 0.0]), 0.7), about_axis(np.array([0.0, 0.6, -0.8]), -0.4)
    goniometer = {
        "rotation_axis": [0.8, 0, 0.6],
        "fixed_rotation": fixed.ravel().tolist(),
        "setting_rotation": setting.ravel().tolist(),
    }
    geometry = dxtbx.read(written(tmp_path, geometry_files.experiments(goniometer=[goniometer])))
    turned = setting @ about_axis(np.array([0.8, 0.0, 0.6]), 0.3) @ fixed @ CELL.T
    here = about_axis(geometry.spindle_axis, 0.3) @ geometry.crystal.vectors.T
    np.testing.assert_allclose(here.T, to_lab(turned.T), rtol=0, atol=1e-12)


def test_a_still_has_no_rotation(tmp_path):
    content = geometry_files.experiments(scan=[], goniometer=[])
    content["crystal"][0].pop("A_at_scan_points")
    geometry = dxtbx.read(written(tmp_path, content))
    assert geometry.scan is None and geometry.spindle_axis is None and geometry.at_image(None) is geometry
    with pytest.raises(InputError, match="-image: 1 is not allowed: .* states no scan"):
        geometry.at_image(1)


def test_beam_and_setting_at_scan_points(tmp_path):
    beam = geometry_files.BEAM | {"s0_at_scan_points": [[0.01 * n, 0.0, -1.0] for n in (0, 1, 2)]}
    turns = [[1, 0, 0, 0, math.cos(t), -math.sin(t), 0, math.sin(t), math.cos(t)] for t in (0.0, 0.01, 0.02)]
    goniometer = {"rotation_axis": [0, 1, 0], "setting_rotation_at_scan_points": turns}
    geometry = dxtbx.read(written(tmp_path, geometry_files.experiments(beam=[beam], goniometer=[goniometer]))).at_image(4)
    np.testing.assert_allclose(geometry.beam_direction, to_lab([0.015, 0, -1]) / math.hypot(0.015, 1), rtol=0, atol=1e-6)
    np.testing.assert_allclose(geometry.spindle_axis, to_lab([0, math.cos(0.015), math.sin(0.015)]), rtol=0, atol=1e-12)


def changed(part, **fields):
    """Experiments with some fields of a model changed; None removes a field."""
    content = geometry_files.experiments()
    model = content["detector"][0]["panels"][0] if part == "panel" else content[part][0]
    model.update(fields)
    for key in [key for key, value in fields.items() if value is None]:
        del model[key]
    return content


@pytest.mark.parametrize(
    "content, sentence",
    [
        ({"a": 1}, "is JSON, but no ExperimentList; allowed: an ExperimentList of dxtbx"),
        ([1, 2], "is JSON, but no ExperimentList"),
        ({"__id__": [1]}, "is JSON, but no ExperimentList"),
        (b"{", "is not JSON: .*; allowed: an ExperimentList"),
        (b"[" * 100000, "is nested too deeply to be read|is not JSON"),
        (changed("beam", wavelength=0), r"beam\[0\].wavelength is 0; allowed: a positive number"),
        (changed("beam", wavelength="1"), r"beam\[0\].wavelength is '1'; allowed"),
        (changed("beam", wavelength=10**400), r"beam\[0\].wavelength is 1000.*; allowed"),
        (changed("beam", wavelength=None), r"beam\[0\] is a beam without a wavelength; allowed: a monochromatic one"),
        (changed("beam", __id__="polychromatic"), r"beam\[0\] is a beam polychromatic; allowed: a monochromatic"),
        (changed("beam", probe="electron"), r"beam\[0\].probe is 'electron'; allowed: x-ray"),
        (changed("beam", direction=[0, 0, 0]), r"beam\[0\].direction is \[0, 0, 0\]; allowed: a vector that has a direction"),
        (changed("panel", pixel_size=[0.1, -0.1]), r"panels\[0\].pixel_size\[1\] is -0.1; allowed: a positive number"),
        (changed("panel", image_size=[5, 0]), r"image_size\[1\] is 0; allowed: a whole number from 1 to 65535"),
        (changed("panel", fast_axis=[0, 1, 0]), "has the axes .* not orthogonal; allowed: orthogonal axes"),
        (changed("panel", px_mm_strategy={"type": "OffsetPxMmStrategy"}), "OffsetPxMmStrategy.*; allowed: SimplePxMmStrategy"),
        (changed("panel", px_mm_strategy={"type": "OffsetParallaxCorrectedPxMmStrategy"}), "not on a regular grid"),
        (changed("scan", image_range=[4, 3]), r"image_range is \[4, 3\]; allowed: the numbers of the first and the last"),
        (changed("scan", oscillation=[1.0, -0.1]), "allowed: images of a width not below 0"),
        (changed("crystal", A_at_scan_points=[[1, 0, 0, 0, 1, 0, 0, 0, 1]]), "has 1 points for 2 images; allowed"),
        (changed("crystal", real_space_b=[30, 0, 0]), "vectors that lie in a plane; allowed: three that span a cell"),
        (changed("goniometer", fixed_rotation=[1, 0, 0, 0, 1, 0, 0, 0, 2]), "fixed_rotation is .* allowed: a rotation matrix"),
        (geometry_files.experiments(2) | {"experiment": []}, "experiment has no entry 0; allowed: a list that is not"),
        (geometry_files.experiments(2) | {"experiment": [{}, {}]}, "experiment has no entry 2; allowed: 0 to 1"),
        (changed("beam", wavelength=None, wavelength_range=[0.9, 1.1]), "from 0.9 to 1.1; allowed: -lambda 1 .*-dispersion 2"),
    ],
)
def test_what_dxtbx_states_and_no_image_has_is_refused(tmp_path, content, sentence):
    with pytest.raises(InputError, match=sentence) as refused:
        dxtbx.read(written(tmp_path, content), experiment=2 if "entry 2" in sentence else None)
    assert str(refused.value).startswith("-expt: ")


@pytest.mark.parametrize(
    "content, sentence",
    [
        (changed("beam", divergence=0.1), "states a divergence of the beam of 0.1, which is not rendered: give -divergence"),
        (changed("beam", flux=1e12), r"states a flux of the beam of 1e\+12, which is not rendered: give -flux, -exposure"),
        (changed("panel", pedestal=10.0), "states a pedestal of 10 counts: -adc adds one to images, and --offset of refine"),
        (geometry_files.experiments() | {"experiment": [{"beam": 0}] * 3}, "has 3 experiments, of which the first counts: -ex"),
        (
            geometry_files.experiments(imageset=[{"mask": "m.pickle", "dx": None}]),
            "names a file of mask for each pixel, m.pickle, which is not read: refine takes --mask",
        ),
        (changed("beam", wavelength=None, wavelength_range=[1.3, 1.1]), "has wavelengths from 1.3 to 1.1, .*dispersion 16.67"),
    ],
)
def test_what_dxtbx_states_besides_is_named(tmp_path, content, sentence):
    notes = dxtbx.read(written(tmp_path, content), stated=frozenset(["wavelength"])).notes
    assert len(notes) == 1 and re.match(sentence, notes[0]), notes


def test_data_blocks_of_old_versions_of_dxtbx(tmp_path):
    content = geometry_files.experiments()
    imageset = {"__id__": "ImageSweep", "template": "a_####.cbf", "beam": 0, "detector": 0, "goniometer": 0, "scan": 0}
    models = {key: content[key] for key in ("beam", "detector", "goniometer", "scan")}
    block = {"__id__": "DataBlock", "imageset": [imageset], **models}
    geometry = dxtbx.read(written(tmp_path, [block]))
    check_panels(geometry, CORNERS[:1])
    check_rotation(geometry, 3, 2)
    assert geometry.crystal is None and nbnumba.read_geometry(written(tmp_path, [block])).kind == "dxtbx"


def test_panels_that_are_missing_in_the_tree_or_twice(tmp_path):
    content = geometry_files.experiments(2)
    content["detector"][0]["hierarchy"]["children"].pop()
    with pytest.raises(InputError, match="hierarchy lacks panel 1; allowed: every panel once"):
        dxtbx.read(written(tmp_path, content))
    content["detector"][0]["hierarchy"]["children"] *= 2
    with pytest.raises(InputError, match="panel is 0; allowed: every panel once"):
        dxtbx.read(written(tmp_path, content))


def test_xds(tmp_path):
    geometry = xparm.read(written(tmp_path, geometry_files.xparm_bytes()))
    check_panels(geometry, CORNERS[:1])
    check_rotation(geometry, 1, None)
    np.testing.assert_allclose(geometry.crystal.vectors, to_lab(CELL), rtol=0, atol=1e-12)
    assert geometry.at_image(21).scan.phi_deg == 20.0
    with pytest.raises(InputError, match="no image is chosen; allowed: the number of an image of .*, from 1 on"):
        geometry.at_image(None)


@pytest.mark.parametrize(
    "old, new, sentence",
    [
        (b"XPARM.XDS", b"INTEGRATE", "is no XPARM.XDS: its first line is"),
        (b"1.000000  0.000000  0.000000\n", b"1.000000  0.000000\n", "line 2 is .*; allowed: 6 numbers, as in an XPARM.XDS"),
        (
            b"0.00    0.00    0.00  1.0",
            b"0.00    0.50    0.00  0.0",
            "segment of its detector has an axis 0 0 0; allowed",
        ),
        (
            b"         1         1         6         1",
            b"         1         0         6         1",
            "a segment of its detector is .*; allowed: whole numbers within 1 6 1 5",
        ),
        (
            b"       1.200000       0.000000       0.000000",
            b"  -1.2  0  0",
            "its wavelength is -1.2; allowed: a positive number",
        ),
        (b"  1.000000  0.000000  0.000000\n", b" 0 0 1\n", "its beam runs along the spindle; allowed"),
        (b"       0.000000     -40.000000", b"      30.0     0", "its crystal has vectors that lie in a plane; allowed"),
        (
            b"       0.000000       0.000000       1.000000\n  ",
            b"  0.000000  1.000000  0.0\n  ",
            "normal is not at right angles",
        ),
    ],
)
def test_what_xds_states_and_is_refused(tmp_path, old, new, sentence):
    whole = geometry_files.xparm_bytes()
    assert old in whole
    check_refused(tmp_path, "-xparm", xparm.read, whole, whole.replace(old, new, 1), sentence)


@pytest.mark.parametrize(
    "changes",
    [
        {"crystal": {"A_at_scan_points": [list(sign * np.eye(3).ravel() / 30.0) for sign in (1.0, -1.0, 1.0)]}},
        {"beam": {"s0_at_scan_points": [[0, 0, -1], [0, 0, 1], [0, 0, -1]]}},
        {"goniometer": {"setting_rotation_at_scan_points": [np.diag([s, s, 1.0]).ravel().tolist() for s in (1, -1, 1)]}},
    ],
)
def test_models_that_turn_round_within_an_image_are_refused(tmp_path, changes):
    content = geometry_files.experiments()
    for part, fields in changes.items():
        content[part][0].update(fields)
    with pytest.raises(InputError, match="turn round within image 3; allowed: ones that change little"):
        dxtbx.read(written(tmp_path, content)).at_image(3)


def test_a_cell_that_is_flat_but_for_rounding_is_refused(tmp_path):
    whole = geometry_files.xparm_bytes().replace(b"       0.000000     -40.000000", b"       4294967296     -40.000000")
    with pytest.raises(InputError, match="cell 30 4294967296 50 90 90 .*, whose vectors lie in a plane but for rounding"):
        nbnumba.from_geometry.crystal_fields(xparm.read(written(tmp_path, whole)))


def test_segments_of_xds_that_are_moved_are_panels(tmp_path):
    """A segment is found from where it is: its origin is the foot of the perpendicular from the detector's own origin."""
    rotate = rotation(np.array([0.6, 0.0, 0.8]), 0.2)
    origin = np.array([-1.0, -0.9, DISTANCE])  # pixel 0 0 of the detector, in the frame of its axes
    lines = geometry_files.xparm_bytes().decode().split("\n")
    lines[7] = f"2 6 5 {PIXEL} {PIXEL}"
    lines[8] = f"{-origin[0] / PIXEL} {-origin[1] / PIXEL} {DISTANCE}"
    lines[9:12] = [" ".join(map(repr, map(float, axis))) for axis in rotate.T]
    expected = []
    del lines[12:]
    for number, (x0, x1, y0, y1) in enumerate([(1, 2, 1, 5), (4, 6, 2, 4)], start=1):
        axes = rotation(np.array([0.0, 0.6, -0.8]), 0.03 * number)
        corner = np.array([0.1 * number, -0.2, DISTANCE + number])
        foot = (corner - origin) - axes.T @ [*(axes @ (corner - origin))[:2], 0.0]
        column, row = (axes @ (foot - (corner - origin)))[:2] / PIXEL + (x0 - 0.5, y0 - 0.5)
        lines.append(f"{number} {x0} {x1} {y0} {y1}")
        lines.append(" ".join(map(repr, map(float, (column, row, axes[2] @ (corner - origin), *axes[0], *axes[1])))))
        expected.append(((y1 - y0 + 1, x1 - x0 + 1), rotate @ corner, rotate @ axes[0], rotate @ axes[1]))
    geometry = xparm.read(written(tmp_path, "\n".join(lines).encode()))
    assert [panel.path for panel in geometry.panels] == ["segment1", "segment2"]
    to_imgcif = np.diag([1.0, -1.0, -1.0])
    for panel, (shape, corner, fast, slow) in zip(geometry.panels, expected):
        assert panel.shape == shape
        for found, wanted in ((panel.origin_mm, corner), (panel.fast_axis, fast), (panel.slow_axis, slow)):
            np.testing.assert_allclose(found, to_lab(to_imgcif @ wanted), rtol=0, atol=1e-9)
    assert len(nbnumba.Experiment.from_geometry(geometry, 1).detector.panels) == 2


def rotation(axis, angle):
    """The rotation matrix about a unit axis."""
    cross = np.cross(np.eye(3), axis)
    return np.eye(3) - math.sin(angle) * cross + (1.0 - math.cos(angle)) * cross @ cross


def test_crystfel(tmp_path):
    """Corners are in pixels of the frame with z along the beam and y up, so that its x is -x of imgCIF."""
    geometry = crystfel.read(written(tmp_path, geometry_files.geom_bytes()))
    check_panels(geometry, CORNERS)
    assert [panel.path for panel in geometry.panels] == ["q0/p0", "q1/p1"]
    assert [group.path for group in geometry.groups] == ["q0", "q1"]
    assert {(panel.gain, panel.trusted_max) for panel in geometry.panels} == {(2.0, 60000.0)}
    assert [panel.masked for panel in geometry.panels] == [((1, 0, 2, 5),), ()] and not geometry.notes


def test_crystfels_vectors_may_have_other_lengths(tmp_path):
    whole = geometry_files.geom_bytes().replace(b"p0/fs = -1.0x", b"p0/fs = -1.02x")
    panel = crystfel.read(written(tmp_path, whole)).panels[0]
    assert (panel.pixel_fast_mm, panel.pixel_slow_mm) == (pytest.approx(1.02 * PIXEL, rel=1e-12), PIXEL)


def test_crystfels_groups_of_groups_and_groups_that_overlap(tmp_path):
    whole = geometry_files.geom_bytes() + b"group_all = q0,q1\nrigid_group_mixed = p0,p1\n"
    third = b"".join(line.replace(b"p1", b"p2") + b"\n" for line in whole.split(b"\n") if line.startswith(b"p1/"))
    whole += third + b"rigid_group_right = p1,p2\n"
    geometry = crystfel.read(written(tmp_path, whole))
    assert [panel.path for panel in geometry.panels] == ["all/q0/p0", "all/q1/p1", "p2"]
    assert geometry.notes == ("has the group right, which overlaps others and is not kept as a group",)


@pytest.mark.parametrize(
    "old, new, sentence",
    [
        (
            b"100 mm",
            b"/LCLS/detector_1/EncoderValue",
            "clen is '/LCLS.*', a place in an HDF5 file; allowed: a number, or -distance",
        ),
        (b"eV", b"GeV", "photon_energy is .*; allowed: a number, in eV, keV, MeV"),
        (
            b"photon_energy = ",
            b"photon_energy = /LCLS/energy ; ",
            "photon_energy is .*; allowed: a number, or -lambda or -energy",
        ),
        (b"photon_energy", b"electron_voltage", "is of electrons: electron_voltage; allowed: photons"),
        (b"-1.0x", b"-1.0w", "p0/fs is '-1.0w'; allowed: terms such as -0.5x"),
        (b"p0/ss = -y", b"p0/ss = -1.0x + y", "are not orthogonal; allowed"),
        (b"p0/max_fs = 5", b"p0/max_fs = -9", "panel p0 has -8 x 5 pixels; allowed: 1 to 65535"),
        (b"p0/corner_x = 10", b"p0/corner_x = left", "p0/corner_x is 'left'; allowed: a number"),
        (b"res = 10000", b"res = 0", "p0/res is 0; allowed: pixels per m"),
        (b"rigid_group_q0 = p0", b"rigid_group_q0 = p7", "group q0 has 'p7'; allowed: panels and groups"),
        (b"dim0 = %", b"dim0", "line 8 is 'dim0'; allowed: key = value"),
    ],
)
def test_what_crystfel_states_and_is_refused(tmp_path, old, new, sentence):
    whole = geometry_files.geom_bytes()
    assert old in whole
    check_refused(tmp_path, "-geom", crystfel.read, whole, whole.replace(old, new, 1), sentence)


def test_what_crystfel_states_and_is_not_kept_is_named(tmp_path):
    more = b"bandwidth = 0.01\nphoton_energy_bandwidth = 0.01\nfoo = 3\np0/bar = 3\nsaturation_map = /map\n"
    notes = " ".join(crystfel.read(written(tmp_path, geometry_files.geom_bytes() + more)).notes)
    for words in ("states bandwidth", "states photon_energy_bandwidth", "states foo, p0/bar", "give -dispersion", "a map of"):
        assert words in notes


def test_the_header_of_dectris(tmp_path):
    geometry = imgcif.read(written(tmp_path, geometry_files.mini_cbf_bytes()))
    check_panels(geometry, CORNERS[:1])
    check_rotation(geometry, 1, 1)
    panel = geometry.panels[0]
    assert (panel.material, panel.trusted_max, geometry.polarization_fraction) == ("Si", 60000.0, 0.9)
    assert panel.thickness_um == pytest.approx(320.0, rel=1e-12)
    assert geometry.notes == (
        "names no axis of rotation in the laboratory: +x of imgCIF is taken; -spindle_axis states another",
    )


def test_the_axes_of_imgcif(tmp_path):
    geometry = imgcif.read(written(tmp_path, gzip.compress(geometry_files.full_cbf_bytes())))
    check_panels(geometry, CORNERS)
    check_rotation(geometry, 1, 1)
    assert [panel.path for panel in geometry.panels] == ["P0", "P1"]
    assert {(panel.gain, panel.trusted_min, panel.trusted_max) for panel in geometry.panels} == {(2.0, -1.0, 60000.0)}
    assert geometry.polarization_fraction == pytest.approx(0.9, rel=1e-12)
    np.testing.assert_array_equal(geometry.frame.origin_mm, to_lab([0, 0, -DISTANCE]))


def test_axes_on_which_several_panels_stand_are_groups(tmp_path):
    """Two rows on one axis and two on another are two groups; the axis of all is none."""
    whole = geometry_files.full_cbf_bytes().replace(b"Q1 rotation detector DET_R", b"Q1 rotation detector Q0")
    assert not imgcif.read(written(tmp_path, whole)).groups
    text = whole.decode("latin-1").replace("\r\n", "\n")
    extra = "P2_S translation detector DET_R 0 -1 0 3 1 0\nP2_F translation detector P2_S 1 0 0 0 0 0\nGON_OMEGA rotation"
    text = text.replace("GON_OMEGA rotation", extra, 1).replace(
        "A P0 1 6 1", "A P2 1 6 1 increasing P2_F\nA P2 2 5 2 increasing P2_S\nA P0 1 6 1", 1
    )
    text = text.replace("P0_F P0_F 0.0", "P2_F P2_F 0.0 0.1\nP2_S P2_S 0.0 0.1\nP0_F P0_F 0.0", 1)
    geometry = imgcif.read(written(tmp_path, text.encode("latin-1")))
    assert [panel.path for panel in geometry.panels] == ["P2", "Q0/P0", "Q0/P1"] and [
        group.path for group in geometry.groups
    ] == ["Q0"]


@pytest.mark.parametrize(
    "old, new, sentence",
    [
        (b"P0_F translation detector P0_S", b"P0_F translation detector P9_S", "axis P9_S is named and not there"),
        (b"DET_Z translation detector .", b"DET_Z translation detector DET_R", "depend on each other; allowed: a chain"),
        (b"P0_F translation", b"P0_F rotation", "axis P0_F of an array is no translation; allowed"),
        (b"P0_F P0_F 0.0 0.1", b"P0_F P0_F 0.0 0", "the increment '0'; allowed: numbers in mm"),
        (b"A P0 2 5 2 increasing", b"A P0 2 5 2 decreasing", "runs in the direction 'decreasing'; allowed: increasing"),
        (b"SCAN1 GON_PHI 0 0 0 0", b"SCAN1 GON_PHI 0 1 1 0", "GON_OMEGA GON_PHI turn together; allowed: one of them"),
        (b"W1 1.2 1", b"W1 zero 1", "wavelength is 'zero'; allowed: a positive number"),
        (b"\x0c\x1a\x04\xd5", b"    ", "is cut off in the header of a binary section"),
    ],
)
def test_what_imgcif_states_and_is_refused(tmp_path, old, new, sentence):
    whole = geometry_files.full_cbf_bytes()
    assert old in whole
    check_refused(tmp_path, "-img", imgcif.read, whole, whole.replace(old, new, 1), sentence)


@pytest.mark.parametrize(
    "old, new, sentence",
    [
        (b"# Beam_xy", b"# Beam", "has no Beam_xy in its header; allowed: a header of Dectris with one"),
        (
            b"# Polarization",
            b"# Detector_2theta 5.0 deg.\r\n# Polarization",
            "swung by Detector_2theta 5, .*; allowed: -twotheta",
        ),
        (b"X-Binary-Size-Fastest-Dimension: 6", b"X-Binary-Size-Fastest-Dimension: 0", "has 0 x 5 pixels; allowed"),
        (b"_array_data.header_contents", b"_array_data.other", "has neither axes nor a header of Dectris; allowed: a CBF with"),
    ],
)
def test_what_a_header_of_dectris_states_and_is_refused(tmp_path, old, new, sentence):
    whole = geometry_files.mini_cbf_bytes()
    assert old in whole
    check_refused(tmp_path, "-img", imgcif.read, whole, whole.replace(old, new), f"(?:{sentence})")


def test_a_long_name_of_a_material_is_cut_in_messages(tmp_path):
    whole = geometry_files.mini_cbf_bytes().replace(b"Silicon sensor", b"x" * 3000 + b" sensor")
    assert max(map(len, nbnumba.from_geometry.remarks(imgcif.read(written(tmp_path, whole))))) < 500


def test_the_words_of_a_cif():
    text = b"###CBF\ndata_x\n_a.b 'it''s' _a.c \"d e\" # no\n_a.d\n;line 1\nline 2\n;\nloop_ _e.f _e.g 1 2 '3 4' _5\n"
    block = cif.parse(text.replace(b" _5", b" five"), "file")
    assert block.column("_a.b") == ["it''s"] and block.column("_A.C") == ["d e"] and block.column("_a.d") == ["line 1\nline 2"]
    assert block.table("_e.f", "_e.g", "_e.h") == [("1", "2", "."), ("3 4", "five", ".")]


def test_nxmx(tmp_path):
    path = tmp_path / "master.nxs"
    geometry_files.write_nexus(path)
    geometry = nexus.read(path)
    check_panels(geometry, [CORNERS[0], (0.6, 1.0, -DISTANCE + 0.2)])
    check_rotation(geometry, 1, 2)
    assert [panel.path for panel in geometry.panels] == ["module0", "module1"]
    panel = geometry.panels[0]
    assert (panel.material, panel.trusted_min, panel.trusted_max) == ("Si", 0.0, 60000.0)
    assert panel.thickness_um == pytest.approx(320.0, rel=1e-12)
    assert geometry.polarization_fraction == pytest.approx(0.9, rel=1e-12)


def test_what_a_master_states_beside_its_geometry_is_named(tmp_path):
    """Several wavelengths, the crystal, and an axis of EIGER: each has its sentence, and none hides another."""
    h5py = pytest.importorskip("h5py", reason="masters are written by h5py")
    path = tmp_path / "m.nxs"
    geometry_files.write_nexus(path)
    with h5py.File(path, "r+") as file:
        beam, sample = "entry/instrument/beam/incident_wavelength", "entry/sample/ub_matrix"
        del file[beam]
        file[beam] = [1.0, 1.01]
        file[beam].attrs["units"] = "angstrom"
        file[sample] = np.eye(3)
        file["entry/instrument/beam/total_flux"] = 1e12
    several, crystal, flux = nexus.read(path).notes
    assert "2 values of wavelength" in several and "ub_matrix" in crystal and "states total_flux of the beam" in flux


@pytest.mark.parametrize(
    "member, attribute, value, sentence",
    [
        ("distance", "units", "furlong", "is in 'furlong'; allowed: m, mm"),
        ("distance", "depends_on", "q0", "depends on itself; allowed: a chain"),
        ("distance", "depends_on", "nowhere", "depends on 'nowhere', which is not there"),
        ("distance", "vector", [0.0, 0.0, 0.0], "@vector is 0 0 0; allowed: one that has a direction"),
        ("distance", "transformation_type", "shear", "is a transformation 'shear'; allowed: rotation, translation"),
    ],
)
def test_what_nxmx_states_and_is_refused(tmp_path, member, attribute, value, sentence):
    import h5py

    path = tmp_path / "master.nxs"
    geometry_files.write_nexus(path)
    with h5py.File(path, "r+") as file:
        file[f"/entry/instrument/detector/transformations/{member}"].attrs[attribute] = value
    with pytest.raises(InputError, match=f"-nexus: .*{sentence}"):
        nexus.read(path)


def test_the_beam_of_nxmx(tmp_path):
    """Stokes' U turns the plane of polarization by half of its angle to Q; an energy stands for a wavelength."""
    import h5py

    path = tmp_path / "master.nxs"
    for stokes, fraction, axis in (
        ([1.0, 0.8, 0.0, 0.0], 0.9, (1.0, 0.0)),
        ([2.0, -1.6, 0.0, 0.3], 0.9, (0.0, 1.0)),
        ([1.0, 0.0, 0.6, 0.0], 0.8, (math.sqrt(0.5), math.sqrt(0.5))),
    ):
        geometry_files.write_nexus(path)
        with h5py.File(path, "r+") as file:
            beam = file["/entry/instrument/beam"]
            del beam["incident_polarization_stokes"], beam["incident_wavelength"]
            beam["incident_polarization_stokes"], beam["incident_energy"] = stokes, HC_EV_A / 1000 / WAVELENGTH
            beam["incident_energy"].attrs["units"] = "keV"
            file["/entry/instrument/detector/transformations/distance"].attrs["units"] = "millimetres"
        geometry = nexus.read(path)
        check_panels(geometry, CORNERS)
        assert geometry.wavelength_A == pytest.approx(WAVELENGTH, rel=1e-6)
        assert geometry.polarization_fraction == pytest.approx(fraction, rel=1e-12)
        assert abs(geometry.polarization_axis @ lab_of_nexus([*axis, 0.0])) == pytest.approx(1.0, rel=1e-12)


@pytest.mark.parametrize("flag", geometry_files.FILES)
def test_formats_are_recognised_by_their_content(tmp_path, monkeypatch, flag):
    monkeypatch.chdir(tmp_path)
    make, _ = geometry_files.FILES[flag]
    path = written(tmp_path, make(), "some.file")
    geometry = nbnumba.read_geometry(path)
    np.testing.assert_allclose(geometry.panels[0].positions_mm(0, 0), to_lab(CORNERS[0]), rtol=0, atol=1e-9)
    detector = nbnumba.from_geometry.detector(geometry)
    if len(geometry.panels) == 1:
        assert detector.distance_mm == pytest.approx(DISTANCE, rel=1e-12) and detector.pixels == (FAST, SLOW)
    else:
        assert [panel.path for panel in detector.panels] == [panel.path for panel in geometry.panels]


def test_what_is_no_file_of_geometry(tmp_path):
    for content in (b"", b"1 2 3\n", b"\x89PNG\r\n", b"hello = world\nhello\n"):
        with pytest.raises(
            InputError, match="read_geometry: .* is of no format that is known here; allowed: an .expt of dxtbx"
        ):
            nbnumba.read_geometry(written(tmp_path, content))
    with pytest.raises(InputError, match="read_geometry: no such file"):
        nbnumba.read_geometry(tmp_path / "nothing")
    with pytest.raises(InputError, match="-experiment: 1 is not allowed: .* is no list of experiments"):
        nbnumba.read_geometry(written(tmp_path, geometry_files.xparm_bytes()), experiment=1)


def test_an_experiment_in_python(tmp_path):
    path = written(tmp_path, geometry_files.expt_bytes())
    with pytest.warns(UserWarning, match=r"a gain of 2, which is no part of an experiment: nbnumba.Response\(gain=2\) has it"):
        experiment = nbnumba.Experiment.from_dxtbx(path, image=4)
    assert experiment.structure_factors.default_F == 1.0 and experiment.goniometer.phi_deg == 10.5
    assert (experiment.detector.thickness_um, experiment.detector.attenuation_um) == (320.0, 500.0)
    geometry = nbnumba.read_geometry(path)
    factors = nbnumba.StructureFactors(default_F=3.0)
    other = nbnumba.Experiment.from_geometry(geometry, 4, factors, nbnumba.Crystal(a_A=50.0))
    assert other.crystal.a_A == 50.0 and other.structure_factors == factors and other.detector == experiment.detector
    with pytest.raises(InputError, match="states no crystal; allowed: a file with one, or a crystal beside it"):
        nbnumba.Experiment.from_geometry(dataclasses.replace(geometry, crystal=None), 4)
    with pytest.raises(InputError, match="states no wavelength"), pytest.warns(UserWarning, match="states no wavelength"):
        nbnumba.Experiment.from_geometry(dataclasses.replace(geometry, wavelength_A=None), 4)
