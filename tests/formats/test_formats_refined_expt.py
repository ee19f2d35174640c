"""Refined models written back into the .expt that they were refined from: read again here and by dxtbx, and what is kept."""

import dataclasses
import json
import re
import warnings

import dials
import geometry_files
import numpy as np
import pytest
from real_data import REAL, needs, to_lab

import nbnumba
from nbnumba import Experiment, InputError
from nbnumba.formats import dxtbx
from nbnumba.formats.expt_refined import Refined, Source, write_refined
from nbnumba.formats.geometry import CrystalGeometry
from nbnumba.geometry.rotations import about_axis, about_vector, unit, vector_of
from nbnumba.to_geometry import Readout, geometry_of

SWEEP = REAL / "l_cysteine" / "sweep01.expt"
CSPAD = REAL / "geometry" / "cspad_stills.expt"

_AT_POINTS = """
import json, sys
from dxtbx.model.experiment_list import ExperimentListFactory
answers = []
for experiment in ExperimentListFactory.from_json_file(sys.argv[1], check_format=False):
    crystal = experiment.crystal
    answers.append({
        "corners": [[panel.get_lab_coord(xy) for xy in ((0, 0), (1, 0), (0, 1))] for panel in experiment.detector],
        "A": crystal.get_A(), "points": [crystal.get_A_at_scan_point(k) for k in range(crystal.num_scan_points)],
        "s0": experiment.beam.get_s0(), "covariance": len(crystal.get_B_covariance()),
        "range": experiment.scan and experiment.scan.get_image_range(),
    })
print(json.dumps(answers))
"""


def geometry_at(path, image=None, experiment=0, changes=()):
    """The geometry of an experiment of one image of an .expt, with some of its fields changed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = Experiment.from_dxtbx(path, image=image, experiment=experiment)
    return geometry_of(made.replace(dict(changes)), Readout(), "test")


def degrees_between(one, other):
    """The angle in degrees of the rotation between two lattices of one cell, rows."""
    return np.degrees(np.linalg.norm(vector_of((np.linalg.inv(one) @ other).T)))


def bent(geometry, images, bend, scale=1.003):
    """Lattices of images: those of a scan, of a cell that is larger by a factor, turned by bend(image) in degrees."""
    return np.array([
        scale * geometry.at_image(int(image)).crystal.vectors @ about_vector(np.radians(bend(image))).T for image in images
    ])  # fmt: skip


def curve(image):
    """A smooth rotation in degrees: 0.1 about x, and up to 0.05 about y and z that bend within ten images."""
    return np.array([0.1, 0.05 * np.sin(image / 5.0), 0.05 * np.cos(image / 5.0)])


def corners(geometry):
    """Origin and ends of axes of 1 mm of every panel (panels, 3, 3)."""
    return np.array([[of.origin_mm, of.origin_mm + of.fast_axis, of.origin_mm + of.slow_axis] for of in geometry.panels])


@needs(SWEEP)
def test_a_refined_sweep_is_read_back_here_and_by_dxtbx(tmp_path):
    """15 of 1700 images, from the folder of the test: orientations at middles, detector and beam, and the images outside."""
    before, images = dxtbx.read(SWEEP), np.arange(1, 16)
    moved = {"detector.distance_mm": 183.0, "detector.xbeam_mm": 60.0, "beam.wavelength_A": 0.6890, "detector.rotx_deg": 0.2}
    geometry, vectors = geometry_at(SWEEP, 8, changes=moved.items()), bent(before, images, curve)
    path = tmp_path / "refined.expt"
    write_refined(path, Source(SWEEP), Refined(geometry, images[::-1], vectors[::-1]))
    after = dxtbx.read(path)
    for image, lattice in zip(images, vectors):
        assert degrees_between(lattice, after.at_image(int(image)).crystal.vectors) < 1e-9
        np.testing.assert_allclose(after.at_image(int(image)).crystal.vectors, lattice, rtol=0, atol=1e-9)
    with pytest.warns(UserWarning):
        seen = Experiment.from_dxtbx(path, image=4)
    np.testing.assert_allclose(np.linalg.norm(vectors[3], axis=1), [getattr(seen.crystal, f"{e}_A") for e in "abc"], rtol=1e-9)
    assert np.abs(corners(after) - corners(geometry)).max() < 1e-9 and np.abs(corners(after) - corners(before)).max() > 0.1
    assert after.wavelength_A == 0.6890 and after.polarization_fraction == 0.999
    turn = about_vector(np.radians(curve(15.5)))
    for image in (16, 17, 900, 1700):
        lattice = before.at_image(image).crystal.vectors @ turn.T
        assert degrees_between(1.003 * lattice, after.at_image(image).crystal.vectors) < 0.001
        np.testing.assert_allclose(after.at_image(image).crystal.vectors, 1.003 * lattice, rtol=0, atol=2e-4)
    (seen,) = dials.answer(_AT_POINTS, path)
    assert seen["range"] == [1, 1700] and len(seen["points"]) == 1701 and seen["covariance"] == 0
    assert np.abs(to_lab(seen["corners"]) - corners(geometry)).max() < 1e-9
    points = np.reshape(seen["points"], (-1, 3, 3))
    for number, lattice in enumerate(vectors):
        assert degrees_between(lattice, to_lab(np.linalg.inv(points[number : number + 2].mean(axis=0)))) < 1e-9
        assert np.degrees(np.abs(points[number] @ np.linalg.inv(points[number + 1]) - np.eye(3)).max()) < 0.05
    static = to_lab(np.linalg.inv(np.reshape(seen["A"], (3, 3))))
    np.testing.assert_allclose(static, geometry.crystal.vectors, rtol=0, atol=1e-9)
    np.testing.assert_allclose(to_lab(seen["s0"]) * 0.6890, geometry.beam_direction, rtol=0, atol=1e-12)


@needs(SWEEP)
def test_what_is_not_refined_is_kept(tmp_path):
    """Scan, profile, goniometer and the rest of the models; names of files lead to the same files from another folder."""
    path, old = tmp_path / "refined.expt", json.loads(SWEEP.read_text())
    write_refined(path, Source(SWEEP), Refined(geometry_at(SWEEP, 1)))
    new = json.loads(path.read_text())
    for kind in ("experiment", "scan", "profile", "goniometer"):
        assert new[kind] == old[kind]
    assert new["imageset"][0] == old["imageset"][0] | {
        "template": str(SWEEP.parent / "l-cyst_01_#####.cbf"), "mask": str(SWEEP.parent / "hot_mask_0.pickle")
    }  # fmt: skip
    lost = {"A_at_scan_points", "B_covariance"}
    assert set(old["crystal"][0]) - set(new["crystal"][0]) == lost
    assert {key: new["beam"][0][key] for key in ("wavelength", "polarization_fraction", "polarization_normal")} == {
        "wavelength": 0.6889, "polarization_fraction": 0.999, "polarization_normal": [0.0, 1.0, 0.0]
    }  # fmt: skip
    panels = [of["detector"][0]["panels"][0] for of in (old, new)]
    places = {"origin", "fast_axis", "slow_axis"}
    assert {k: v for k, v in panels[0].items() if k not in places} == {k: v for k, v in panels[1].items() if k not in places}


def test_names_of_files_stay_in_their_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {"template": "data/frame_##.cbf", "mask": "/all/mask.h5", "gain": "$HOME/gain", "pedestal": "~/dark", "dx": None}
    (tmp_path / "m.expt").write_bytes(geometry_files.expt_bytes(imageset=[names, {"images": ["a.h5", "b.h5"]}]))
    geometry = geometry_at("m.expt", 3)
    write_refined("n.expt", Source("m.expt"), Refined(geometry))
    assert json.loads((tmp_path / "n.expt").read_text())["imageset"] == [names, {"images": ["a.h5", "b.h5"]}]
    (tmp_path / "below").mkdir()
    write_refined("below/n.expt", Source("m.expt"), Refined(geometry))
    moved = json.loads((tmp_path / "below" / "n.expt").read_text())["imageset"]
    assert moved[0] == names | {"template": str(tmp_path / "data" / "frame_##.cbf")}
    assert moved[1]["images"] == [str(tmp_path / "a.h5"), str(tmp_path / "b.h5")]


@pytest.mark.parametrize("panels", [1, 2])
@pytest.mark.parametrize("axes", [False, True], ids=["one axis", "three axes"])
def test_every_model_of_an_experiment_is_read_back(tmp_path, panels, axes):
    """Through the rotations of a goniometer, which stay: the beam, its polarization, the spindle, pixels, sensor, crystals."""
    fixed, setting = about_axis(np.array([0.6, 0.8, 0.0]), 0.7), about_axis(np.array([0.0, 0.6, -0.8]), -0.4)
    turns = {"fixed_rotation": fixed.ravel().tolist(), "setting_rotation": setting.ravel().tolist()}
    goniometer = {"rotation_axis": [0.8, 0.0, 0.6], **turns}
    if axes:
        goniometer = {"axes": [[1, 0, 0], [0.8, 0, 0.6], [0, 1, 0]], "angles": [20.0, 0.0, -30.0], "scan_axis": 1}
        goniometer |= {"names": ["phi", "omega", "kappa"]}
    source, path = tmp_path / "m.expt", tmp_path / "n.expt"
    content = geometry_files.experiments(panels, goniometer=[goniometer], imageset=[])
    content["detector"][0]["panels"][0]["px_mm_strategy"] |= {"t0": 0.32, "mu": 2.0}
    source.write_text(json.dumps(content))
    old = geometry_at(source, 3)
    sensors = [
        dataclasses.replace(
            panel, thickness_um=450.0 + n, attenuation_um=300.0 + n, pixel_fast_mm=0.11, origin_mm=panel.origin_mm + n
        )
        for n, panel in enumerate(old.panels)
    ]  # fmt: skip
    tilt = about_vector(np.array([0.001, -0.002, 0.003]))
    direction = tilt @ old.beam_direction
    new = dataclasses.replace(
        old, panels=tuple(sensors), beam_direction=direction, wavelength_A=1.3, polarization_fraction=0.8,
        polarization_axis=unit(np.cross(direction, [0.1, 1.0, 0.2])), spindle_axis=tilt @ tilt @ old.spindle_axis,
        crystal=CrystalGeometry(1.01 * old.crystal.vectors @ tilt.T),
    )  # fmt: skip
    vectors = np.array([new.crystal.vectors @ about_vector(np.array([0.0, bend, 0.0])) for bend in (0.01, 0.02)])
    write_refined(path, Source(source), Refined(new, [3, 4], vectors))
    read = dxtbx.read(path)
    for image, lattice in zip((3, 4), vectors):
        np.testing.assert_allclose(read.at_image(image).crystal.vectors, lattice, rtol=0, atol=1e-9)
    np.testing.assert_allclose(read.crystal.vectors, new.crystal.vectors, rtol=0, atol=1e-9)
    for name in ("beam_direction", "wavelength_A", "polarization_fraction", "spindle_axis"):
        np.testing.assert_allclose(getattr(read, name), getattr(new, name), rtol=0, atol=1e-12)
    assert abs(read.polarization_axis @ new.polarization_axis) == pytest.approx(1.0, rel=1e-12)
    assert np.abs(corners(read) - corners(new)).max() < 1e-9
    for own, wanted in zip(read.panels, new.panels):
        stated = [getattr(of, f) for of in (own, wanted) for f in ("thickness_um", "attenuation_um", "pixel_fast_mm")]
        np.testing.assert_allclose(stated[:3], stated[3:], rtol=1e-12)
    strategy = json.loads(path.read_text())["detector"][0]["panels"][0]["px_mm_strategy"]
    assert strategy["t0"] == 0.45 and strategy["mu"] == pytest.approx(1 / 0.3, rel=1e-12)
    write_refined(path, Source(path), Refined(new))
    np.testing.assert_allclose(dxtbx.read(path).crystal.vectors, new.crystal.vectors, rtol=0, atol=1e-9)
    assert dxtbx.read(path).crystal.at_points is None


@needs(CSPAD)
def test_groups_of_a_detector_move_with_their_panels(tmp_path):
    """Of the fourth of ten stills that share a detector: a quadrant moves, and a panel of another; others keep theirs."""
    path, before = tmp_path / "refined.expt", dxtbx.read(CSPAD, experiment=3)
    turn, shift = about_vector(np.array([0.01, 0.002, -0.003])), np.array([0.5, 0.2, -0.1])

    def moved(panel):
        if not panel.path.startswith(before.groups[0].path) and panel is not before.panels[40]:
            return panel
        origin, fast, slow = turn @ panel.origin_mm + shift, turn @ panel.fast_axis, turn @ panel.slow_axis
        return dataclasses.replace(panel, origin_mm=origin, fast_axis=fast, slow_axis=slow)

    vectors = before.crystal.vectors @ about_vector(np.array([0.001, 0.002, 0.0])).T
    geometry = dataclasses.replace(before, panels=tuple(map(moved, before.panels)), crystal=CrystalGeometry(vectors))
    write_refined(path, Source(CSPAD, 3), Refined(geometry))
    old, new = json.loads(CSPAD.read_text()), json.loads(path.read_text())
    assert new["detector"][0] == old["detector"][0] and new["beam"][0] == old["beam"][0] and len(new["crystal"]) == 10
    stated = [{**of, "detector": 0} for of in new["experiment"]]
    assert stated == old["experiment"] and new["experiment"][3] == {**old["experiment"][3], "detector": 1}
    assert [a == b for a, b in zip(old["crystal"], new["crystal"])] == [number != 3 for number in range(10)]
    read = dxtbx.read(path, experiment=3)
    assert np.abs(corners(read) - corners(geometry)).max() < 1e-9 and [p.path for p in read.panels] == [
        p.path for p in before.panels
    ]
    groups = [turn @ of.fast_axis if of.path.startswith(before.groups[0].path) else of.fast_axis for of in before.groups]
    apart = np.array([np.linalg.norm(of.fast_axis - fast) for of, fast in zip(read.groups, groups)])
    above = np.array([before.panels[40].path.startswith(of.path + "/") for of in before.groups])
    assert apart[~above].max() < 1e-9 and above.sum() == 2 and 1e-5 < apart[above].min() < apart[above].max() < 0.05
    origins = [of["panels"][0]["origin"] for of in new["detector"]]
    np.testing.assert_allclose(origins[1], origins[0], rtol=0, atol=1e-9)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        np.testing.assert_allclose(geometry_at(path, experiment=3).crystal.vectors, vectors, rtol=0, atol=1e-9)
    seen = dials.answer(_AT_POINTS, path)
    assert np.abs(to_lab(seen[3]["corners"]) - corners(geometry)).max() < 1e-9
    assert np.abs(to_lab(seen[2]["corners"]) - corners(before)).max() < 1e-9
    assert degrees_between(to_lab(np.linalg.inv(np.reshape(seen[3]["A"], (3, 3)))), vectors) < 1e-9


def long_scan(folder, images=12):
    """A source of a scan of a static crystal, and the geometry of an experiment of its third or last image."""
    crystal = {f"real_space_{axis}": list(row) for axis, row in zip("abc", geometry_files.CELL)}
    models = {
        "scan": [{"image_range": [1, images], "oscillation": [10.0, 0.5]}],
        "crystal": [{"__id__": "crystal", **crystal, "space_group_hall_symbol": " P 1", "B_covariance_at_scan_points": []}],
    }
    path = folder / "long.expt"
    path.write_bytes(geometry_files.expt_bytes(imageset=[], **models))
    return path, geometry_at(path, min(images, 3))


def test_images_that_were_left_out_lie_between_their_neighbours(tmp_path):
    """Images 3 to 5 and 8 to 9 of 12: a steady rotation goes on through the gap, and stands still outside."""
    path, geometry = long_scan(tmp_path)
    images = np.array([3, 4, 5, 8, 9])
    vectors = bent(dxtbx.read(path), images, lambda image: np.array([0.0, 0.02 * image, 0.0]), 1.0)
    write_refined(path, Source(path), Refined(geometry, images, vectors))
    after = dxtbx.read(path)
    places = np.clip(np.arange(1, 14) - 0.5, 2.5, 9.5)
    angles = [degrees_between(geometry.crystal.vectors, lattice) for lattice in after.crystal.at_points]
    np.testing.assert_allclose(angles, 0.02 * places, rtol=0, atol=1e-9)
    assert "B_covariance_at_scan_points" not in path.read_text()


def test_crystals_that_vary_at_random_are_smoothed_with_a_warning(tmp_path):
    """The points of 12 images would swing by several times what orientations vary; the warning says what they hold."""
    path, geometry = long_scan(tmp_path)
    images, rng = np.arange(1, 13), np.random.default_rng(1)
    noise = rng.normal(0.0, 0.01, (13, 3))
    vectors = bent(dxtbx.read(path), images, lambda image: noise[image], 1.0)
    with pytest.warns(UserWarning, match="points of a scan hold the orientations of images to") as warned:
        write_refined(path, Source(path), Refined(geometry, images, vectors))
    after = dxtbx.read(path)
    off = [degrees_between(lattice, after.at_image(int(n)).crystal.vectors) for n, lattice in zip(images, vectors)]
    stated = float(re.search(r"to ([\d.e-]+) degrees", str(warned[0].message))[1])
    assert 0.002 < stated and 0.9 * stated < max(off) < 2.0 * stated and max(off) < 0.03
    smooth = [noise[[n, n + 1]].mean(axis=0) for n in range(1, 12)]
    points = after.crystal.at_points[1:12]
    wanted = [geometry.crystal.vectors @ about_vector(np.radians(bend)).T for bend in smooth]
    assert max(degrees_between(*pair) for pair in zip(points, wanted)) < 1e-6


def test_an_experiment_without_models_receives_them(tmp_path):
    """A list that states a scan and a detector alone, as one of dials.import of a file without a beam."""
    path, geometry = long_scan(tmp_path)
    content = json.loads(path.read_text())
    content["experiment"][0] |= {"beam": None, "crystal": None, "goniometer": None}
    path.write_text(json.dumps({**content, "crystal": [], "beam": None, "goniometer": []}))
    write_refined(path, Source(path), Refined(geometry))
    read = dxtbx.read(path)
    np.testing.assert_allclose(read.crystal.vectors, geometry.crystal.vectors, rtol=0, atol=1e-12)
    np.testing.assert_allclose(read.spindle_axis, geometry.spindle_axis, rtol=0, atol=1e-12)
    assert read.wavelength_A == geometry.wavelength_A


def test_a_band_of_wavelengths_moves_as_one(tmp_path):
    path, geometry = long_scan(tmp_path)
    content = json.loads(path.read_text())
    content["beam"][0] |= {"__id__": "polychromatic", "wavelength_range": [1.0, 1.4]}
    del content["beam"][0]["wavelength"]
    path.write_text(json.dumps(content))
    write_refined(path, Source(path), Refined(dataclasses.replace(geometry, wavelength_A=1.212)))
    stated = json.loads(path.read_text())["beam"][0]
    np.testing.assert_allclose(stated["wavelength_range"], [1.01, 1.414], rtol=1e-12)
    assert "wavelength" not in stated


def test_a_beam_that_varied_no_longer_does(tmp_path):
    path, _ = long_scan(tmp_path, 2)
    content = json.loads(path.read_text())
    content["beam"][0]["s0_at_scan_points"] = [[0.01 * number, 0.0, -1.0 / 1.2] for number in range(3)]
    path.write_text(json.dumps(content))
    geometry = geometry_at(path, 2)
    write_refined(path, Source(path), Refined(geometry))
    read = dxtbx.read(path)
    assert read.beam_at_points is None and abs(geometry.beam_direction[2]) > 0.01
    np.testing.assert_allclose(read.beam_direction, geometry.beam_direction, rtol=0, atol=1e-12)


LATTICE = geometry_files.CELL


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"images": [3, 13], "vectors": [LATTICE] * 2}, "image 13 is not allowed; allowed: each of 1 to 12 once"),
        ({"images": [3, 3], "vectors": [LATTICE] * 2}, "image 3 is not allowed; allowed: each of 1 to 12 once"),
        ({"images": [2.5], "vectors": [LATTICE]}, "image 2.5 is not allowed"),
        ({"images": [3], "vectors": [LATTICE] * 2}, r"images of shape \(1,\) and vectors of shape \(2, 3, 3\) are not allowed"),
        ({"images": [], "vectors": []}, "allowed: one lattice"),
        ({"images": [3], "vectors": [LATTICE * np.nan]}, "the crystal of image 3 is not finite"),
        ({"images": [3], "vectors": [np.ones((3, 3))]}, "the crystal of image 3 has vectors that lie in a plane"),
        ({"images": [3], "vectors": [LATTICE * [1, 1, -1]]}, "is the mirror image of that of the source"),
        ({"scan": None}, "states a rotation, and refined is a still; allowed"),
        ({"panels": ()}, "its 1 panels are not the 0 refined ones"),
        ({"phi_deg": 10.2}, "has no image with a start at 10.2 and a width of 0.5 degrees; allowed: goniometer.phi_deg"),
        ({"phi_deg": 99.0}, "has no image with a start at 99"),
        ({"width_deg": 0.51}, "a width of 0.51 degrees"),
        ({"source": 1}, "experiment has no entry 1; allowed: 0 to 0"),
        ({"kind": "DataBlock"}, "is no ExperimentList, and holds no refined models"),
    ],
)  # fmt: skip
def test_what_does_not_fit_the_source_is_refused(tmp_path, changes, sentence):
    """By one sentence that names the source, and nothing is written."""
    path, geometry = long_scan(tmp_path)
    scan = {name: changes[name] for name in ("phi_deg", "width_deg") if name in changes}
    fields = {name: changes[name] for name in ("scan", "panels") if name in changes}
    geometry = dataclasses.replace(geometry, **fields or {"scan": dataclasses.replace(geometry.scan, **scan)})
    if "kind" in changes:
        path.write_text(path.read_text().replace("ExperimentList", changes["kind"]))
    refined = Refined(geometry, changes.get("images"), changes.get("vectors"))
    with pytest.raises(InputError, match=sentence) as refused:
        write_refined(tmp_path / "new.expt", Source(path, changes.get("source", 0)), refined, "--out")
    assert str(refused.value).startswith(f"--out: {str(path)!r}") and not (tmp_path / "new.expt").exists()


def test_a_spindle_that_varies_cannot_be_refined(tmp_path):
    path, geometry = long_scan(tmp_path, 2)
    content = json.loads(path.read_text())
    settings = [about_axis(np.array([0.0, 1.0, 0.0]), angle).ravel().tolist() for angle in (0.0, 0.01, 0.02)]
    content["goniometer"][0]["setting_rotation_at_scan_points"] = settings
    path.write_text(json.dumps(content))
    own = geometry_at(path, 2)
    write_refined(path, Source(path), Refined(own, [1, 2], [LATTICE, LATTICE]))
    assert json.loads(path.read_text())["goniometer"] == content["goniometer"]
    np.testing.assert_allclose(nbnumba.read_geometry(path).at_image(2).crystal.vectors, LATTICE, rtol=0, atol=1e-9)
    with pytest.raises(InputError, match="goniometer.spindle_axis was refined; allowed: the spindle of the source"):
        write_refined(path, Source(path), Refined(geometry))


def test_a_still_has_no_images(tmp_path):
    path = tmp_path / "still.expt"
    path.write_bytes(geometry_files.expt_bytes(imageset=[], scan=[], crystal=[
        {key: value for key, value in geometry_files.experiments()["crystal"][0].items() if key != "A_at_scan_points"}
    ]))  # fmt: skip
    with pytest.raises(InputError, match="is a still, and has no images of a scan; allowed: the static crystal"):
        write_refined(path, Source(path), Refined(geometry_at(path), [1], [LATTICE]))
