"""A crystal that is elsewhere than on the spindle (F7e): against a detector that is moved, stills, and what must not move."""

import dataclasses
import json
import warnings

import numpy as np
import pytest

import nbnumba
from adjoint.prepare import prepare
from nbnumba import Experiment, Group, InputError, Panel, crystal_images, simulate
from nbnumba.cost import LATTICE_BYTES, SOURCE_BYTES, cost
from nbnumba.flags.from_experiment import refined_flags
from nbnumba.geometry.rotations import about_axis
from nbnumba.reflection_files import dials_columns
from nbnumba.setup.crystals import BACKGROUND, contributions
from nbnumba.setup.scene import panel_scenes
from nbnumba.trace import traces

FLAGS = "-cell 30 40 50 80 95 100 -misset 10 20 30 -lambda 1.5 -N 5 -default_F 100 -distance 50 -detpixels 24 -pixel 1 "
FLAGS += "-fluence 1e26 -oversample 1 "
AXES = "-fdet_vector 0 0.1 1 -sdet_vector 0 -1 0.1 -beam_vector 1 0.05 0 -spindle_axis 0.1 0 1 -polar 0.7 "
CORNER = np.array([50.0, 11.0, -13.0])
ROTATION = "-phi 20 -osc 60 -phisteps 3 "
PLACE = (4.0, -3.0, 2.0)
FIELDS = ("crystal.position_x_mm", "crystal.position_y_mm", "crystal.position_z_mm")

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def at(place):
    """The words that put the crystal there, in mm."""
    return "-xtal_position " + " ".join(repr(float(x)) for x in place) + " "


def cornered(corner, more=""):
    """An experiment whose detector has its corner there, in mm."""
    return Experiment.from_args(FLAGS + AXES + "-pix0_vector_mm " + " ".join(repr(float(x)) for x in corner) + " " + more)


@pytest.mark.parametrize(
    "more",
    [
        *("", "-oversample 2 -oversample_omega -oversample_polar", "-detector_thick 900 -detector_abs 500", "-point_pixel"),
        *("-gauss_xtal -dmin 3", "-detector_rotx 10 -twotheta 20 -pivot sample"),
    ],
)
def test_a_still_is_that_of_a_detector_that_is_moved_the_other_way(more):
    if "-twotheta" in more:  # whose corner moves with the turns
        turned, still = cornered(CORNER, more), cornered(CORNER, more + " " + at(PLACE))
        corner = nbnumba.pixel_positions(turned, [0, 0.0, 0.0]) - np.array(PLACE)
        axes = np.diff(nbnumba.pixel_positions(turned, [[0, 0.0, 0.0], [0, 1.0, 0.0], [0, 0.0, 1.0]])[[0, 1, 0, 2]], axis=0)
        vectors = {"detector.fast_axis": axes[0], "detector.slow_axis": axes[2], "detector.pix0_mm": corner}
        flat = dict.fromkeys(("detector.rotx_deg", "detector.twotheta_deg"), 0.0)
        moved = turned.replace(flat | {name: tuple(vector.tolist()) for name, vector in vectors.items()})
    else:
        moved, still = cornered(CORNER - PLACE, more), cornered(CORNER, more + " " + at(PLACE))
    expected, image = simulate(moved), simulate(still)
    np.testing.assert_allclose(image, expected, rtol=1e-8, atol=1e-11 * expected.max())
    nominal = simulate(cornered(CORNER, more))
    assert np.abs(image - nominal).max() > 0.1 * nominal.max()


def test_the_spindle_turns_the_position():
    """At each phi step the image is that of a still with the crystal turned, and their mean is the image."""
    experiment, stills = cornered(CORNER, ROTATION + at(PLACE)), []
    spindle = np.array([0.1, 0.0, 1.0]) / np.hypot(0.1, 1.0)
    for phi in (20.0, 40.0, 60.0):
        still = cornered(CORNER, f"-phi {phi}")
        stills.append(still.replace(dict(zip(FIELDS, about_axis(spindle, np.radians(phi)) @ PLACE))))
    turned_back = [still.replace(dict(zip(FIELDS, PLACE))) for still in stills]
    image, mean = simulate(experiment), np.mean([simulate(still) for still in turned_back], axis=0)
    np.testing.assert_allclose(image, mean, rtol=1e-9, atol=1e-12 * mean.max())
    corner = CORNER - about_axis(spindle, np.radians(40.0)) @ PLACE
    np.testing.assert_allclose(simulate(turned_back[1]), simulate(cornered(corner, "-phi 40")), rtol=1e-8, atol=1e-8)


def test_contributions():
    """One for each phi step off the spindle; one on it, for a still, and for a crystal at the origin; and the background."""
    numbers = {
        ROTATION + at(PLACE): [(0, 0), (0, 1), (0, 2)],
        ROTATION + at(PLACE) + "-water 3": [(0, 0), (0, 1), (0, 2), (BACKGROUND, None)],
        ROTATION + at((0, 0, 7)): [(0, None)],
        ROTATION + at((0, 0, 7)) + "-air 3": [(0, None), (BACKGROUND, None)],
        "-phi 20 " + at(PLACE): [(0, None)],
        ROTATION + "-water 3": [(0, None)],
    }
    for words, expected in numbers.items():
        found = contributions(Experiment.from_args(FLAGS + words))
        assert [(one.crystal, one.phi_step) for one in found] == expected
    moved = contributions(Experiment.from_args(FLAGS + ROTATION), {0})
    assert [one.phi_step for one in moved] == [0, 1, 2]


@pytest.mark.parametrize("more", ["-water 30 ", "-air 1e-8 -water 30 -oversample_thick -detector_thick 900 "])
@pytest.mark.parametrize("place", [PLACE, (0, 0, 7)])
def test_the_background_stays(more, place):
    displaced = Experiment.from_args(FLAGS + ROTATION + at(place) + more)
    dry, added = displaced.replace({"background.water_um": 0.0, "background.air_mm": 0.0}), np.full((24, 24), 2.5)
    here = displaced.replace(dict.fromkeys(FIELDS, 0.0))
    background = simulate(here) - simulate(here.replace({"background.water_um": 0.0, "background.air_mm": 0.0}))
    image = simulate(displaced)
    np.testing.assert_allclose(image - simulate(dry), background, rtol=1e-6, atol=1e-9 * image.max())
    np.testing.assert_allclose(simulate(displaced.replace({"background.image": added})), image + 2.5, rtol=1e-12)
    assert background.min() > 0.0
    for function in (nbnumba.pixel_positions, nbnumba.resolution):
        np.testing.assert_array_equal(function(displaced), function(here))


def test_panels_are_seen_from_the_crystal():
    """Of panels in a turned group, for a still: the image is that of the panels without a frame, moved the other way."""
    panels = [Panel("q/a", (9, 12), 1.0, 0.9, (-14.0, -9.0, 0.0)), Panel("q/b", (7, 12), 1.1, 0.9, (1.0, 2.0, 3.0))]
    frame = Experiment.from_args(FLAGS + "-phi 5 ").replace({"detector.panels": panels})
    frame = frame.replace({"detector.groups": [Group("q", turn_deg=(3.0, -8.0, 20.0), shift_mm=(1.0, 2.0, -3.0))]})
    place = about_axis(np.array([0.0, 0.0, 1.0]), np.radians(5.0)) @ PLACE
    frame_axes = np.array([[0.0, 0.0, 1.0], [0.0, -1.0, 0.0], [1.0, 0.0, 0.0]])
    moved = frame.replace({"detector.panels": [
        dataclasses.replace(panel, origin_mm=tuple(panel.origin_mm - frame_axes @ place)) for panel in panels
    ], "detector.groups": [Group("q", shift_mm=(1.0, 2.0, -3.0))]})  # fmt: skip
    still = frame.replace({"detector.groups": [Group("q", shift_mm=(1.0, 2.0, -3.0))]} | dict(zip(FIELDS, PLACE)))
    for image, expected in zip(simulate(still), simulate(moved), strict=True):
        np.testing.assert_allclose(image, expected, rtol=1e-8, atol=1e-9)
    for image, nominal in zip(simulate(frame.replace(dict(zip(FIELDS, PLACE)))), simulate(frame), strict=True):
        assert np.abs(image - nominal).max() > 0.1 * nominal.max()


def several(more=""):
    """Two crystals, of which the second is displaced, or both are."""
    one = Experiment.from_args(FLAGS + ROTATION + more)
    other = dataclasses.replace(one.crystal, misset_deg=(-40.0, 75.0, 12.0), scale=0.4, shape="gauss")
    placed = dataclasses.replace(other, position_x_mm=5.0, position_y_mm=2.0, position_z_mm=0.0)
    return dataclasses.replace(one, crystal=[one.crystal, placed])


@pytest.mark.parametrize("more", ["-water 30 ", "-water 30 " + at(PLACE)])
def test_each_crystal_is_in_its_own_place(more):
    experiment = several(more)
    image, labels = simulate(experiment), crystal_images(experiment)
    total = sum(labels.crystals) + labels.background
    np.testing.assert_allclose(total, image, rtol=1e-9, atol=1e-9 * image.max())
    for number in range(2):
        alone = nbnumba.setup.background.without_background(experiment.alone(number))
        np.testing.assert_array_equal(labels.crystals[number], simulate(alone))
    assert experiment.value("crystal[1].position_mm") == (5.0, 2.0, 0.0)
    moved = experiment.replace({"crystal[1].position_z_mm": 3.0, "crystal.position_mm": (1.0, 2.0, 3.0)})
    assert moved.other_crystals[0].position_mm == (5.0, 2.0, 3.0) and moved.crystal.position_mm == (1.0, 2.0, 3.0)


def test_a_tolerance_is_that_of_the_sum():
    experiment = Experiment.from_args(FLAGS + ROTATION + at(PLACE))
    image = simulate(experiment)
    tolerance = 0.01 * float(image.max())
    lacking = image - simulate(experiment, tolerance=tolerance)
    assert 0.0 < lacking.max() <= tolerance


def test_sub_pixels_are_chosen_as_at_the_origin():
    words = FLAGS.replace("-oversample 1", "") + ROTATION + "-water 3 -N 40 -pixel 0.3 "
    scenes = [panel_scenes(Experiment.from_args(words + more)) for more in ("", at((40, -3, 2)))]
    numbers = {panel.scene.sampling.oversample for panels in scenes for panel in panels}
    assert len(numbers) == 1 and numbers.pop() > 1


def memory_of(array):
    """The bytes that an array keeps in memory: those of the array that it is a part of."""
    return array.nbytes if array.base is None else memory_of(array.base)


def test_each_place_has_its_own_lattices_alone():
    """So that time and memory grow with the number of phi steps, and not with its square."""
    experiment = Experiment.from_args(FLAGS + "-phi 20 -osc 60 -phisteps 40 -mosaic 1 -mosaic_domains 3 " + at(PLACE))
    here = panel_scenes(experiment.replace(dict.fromkeys(FIELDS, 0.0)))[0].scene.orientations
    for field in ("lattice", "fresh_lattice"):
        tables = [getattr(panel.scene.orientations, field) for panel in panel_scenes(experiment)]
        np.testing.assert_array_equal(np.concatenate(tables), getattr(here, field))
        assert sum(map(memory_of, tables)) == getattr(here, field).nbytes
    problem = prepare(experiment, ["crystal.mosaic_spread_deg", "crystal.cell_spread_a"])
    alone = prepare(experiment.replace(dict.fromkeys(FIELDS, 0.0)), ["crystal.mosaic_spread_deg", "crystal.cell_spread_a"])
    for field in ("rotations", "rotation_rates", "stretch_rates"):
        rows = [getattr(motions, field) for motions in problem.motions]
        np.testing.assert_array_equal(np.concatenate(rows), getattr(alone.motions[0], field))
        assert sum(map(memory_of, rows)) == getattr(alone.motions[0], field).nbytes


def test_a_trace_has_a_chain_for_each_place():
    experiment = several("-water 30 " + at(PLACE))
    chains = traces(experiment, [(3, 4)])
    assert [(chain.crystal, chain.phi_step) for chain in chains] == [*((n, t) for n in (0, 1) for t in range(3)), (-1, None)]
    assert sum(chain["I_pixel_final"] for chain in chains) == pytest.approx(simulate(experiment)[3, 4], rel=1e-12)
    for chain in chains[:3]:
        assert {step.step for step in chain.samples[0].phi_steps} == {chain.phi_step}
        assert chain.samples[0].phi_steps[0].phi_deg == pytest.approx(20.0 + 20.0 * chain.phi_step)
        assert chain["steps"] == 3.0
    corner = nbnumba.pixel_positions(experiment, [0, 0.0, 0.0])
    place = about_axis(np.array([0.0, 0.0, 1.0]), np.radians(40.0)) @ PLACE
    np.testing.assert_allclose(1000.0 * np.array(chains[1]["pix0_vector_meters"]), corner - place, rtol=1e-12)
    np.testing.assert_allclose(1000.0 * np.array(chains[-1]["pix0_vector_meters"]), corner, rtol=1e-12)


def test_a_trace_of_the_command_line_says_which_place_it_is_of(tmp_path):
    from nbnumba.cli import trace

    words = (FLAGS + ROTATION + at(PLACE) + "-water 3").split()
    assert trace.main(["--json", "--pixel", "3", "4", "--out", str(tmp_path / "t.log"), "--", *words]) == 0
    lines = (tmp_path / "t.log").read_text().splitlines()
    assert [line for line in lines if line.startswith("# phi_step")] == [f"# phi_step {n}" for n in range(3)]
    assert lines.count("# crystal -1") == 1
    chains = json.loads((tmp_path / "t.log.json").read_text())["chains"]
    assert [chain.get("phi_step") for chain in chains] == [0, 1, 2, None]


def test_maps_are_of_one_place():
    with pytest.raises(InputError, match="crystal.position_x_mm, position_y_mm, position_z_mm: 4 -3 2: .*are not known"):
        nbnumba.hkl_map(Experiment.from_args(FLAGS + ROTATION + at(PLACE)))
    with pytest.raises(InputError, match="or that has a background"):
        nbnumba.hkl_map(Experiment.from_args(FLAGS + at(PLACE) + "-water 3"))
    still = cornered(CORNER, at(PLACE))
    found, expected = nbnumba.hkl_map(still), nbnumba.hkl_map(cornered(CORNER - PLACE))
    np.testing.assert_array_equal(found.hkl, expected.hkl)
    np.testing.assert_allclose(found.share, expected.share, atol=1e-9)


def test_pixels_of_a_table_of_dials_lie_along_the_rays_of_the_displaced_crystal():
    """In a thick sensor: those of a still whose detector is moved the other way, where phi takes the crystal."""
    sensor = "-detector_thick 2000 -detector_abs 500 -detector_thicksteps 3 -phi 20 -N 30 "
    place = about_axis(np.array([0.1, 0.0, 1.0]) / np.hypot(0.1, 1.0), np.radians(20.0)) @ PLACE
    still, moved = cornered(CORNER, sensor + at(PLACE)), cornered(CORNER - place, sensor)
    columns, expected = (dials_columns(nbnumba.predict(one), one) for one in (still, moved))
    assert len(columns["id"][1]) > 20
    for name in ("miller_index", "xyzcal.mm", "xyzcal.px", "s1"):
        np.testing.assert_allclose(columns[name][1], expected[name][1], atol=1e-8)
    assert np.abs(columns["xyzcal.px"][1] - columns["xyzcal.mm"][1])[:, :2].max() > 0.1  # pixels are of 1 mm


@pytest.mark.parametrize(
    "words, sentence",
    [
        (at(PLACE) + "-curved_det", "-xtal_position: 4 -3 2 is not allowed: a curved detector is a sphere about the spindle"),
        (at(PLACE) + "-c_parity water_scale", "-xtal_position: 4 -3 2 is not allowed: C knows no such position"),
        ("-xtal_position 1 2", "-xtal_position: 2 of 3 values given"),
        ("-xtal_position 1 2 1e13", "-xtal_position: 10000000000000 is not allowed"),
    ],
)
def test_what_is_impossible_is_refused_by_the_flag(words, sentence):
    with pytest.raises(InputError, match=sentence):
        Experiment.from_args(FLAGS + words)


def test_a_crystal_behind_the_detector_is_refused():
    behind = Experiment.from_args(FLAGS + at((50, 0, 0)))
    for function in (simulate, nbnumba.predict):
        with pytest.raises(InputError, match="is in or behind the plane of the detector; allowed: a position in front"):
            function(behind)
    with pytest.raises(InputError, match="a crystal at 60 .* mm, where phi takes it"):
        simulate(Experiment.from_args(FLAGS + at((0, 60, 0)) + "-phi -90"))
    with pytest.raises(InputError, match=r"crystal\[1\].position_x_mm, .*: 5 2 0 is not allowed: a curved detector"):
        several().replace({"detector.curved": True})


def test_files_of_geometry_cannot_state_it(tmp_path):
    with pytest.warns(UserWarning, match="the geometry cannot state that the crystal is at 4 -3 2 mm"):
        nbnumba.write_expt(str(tmp_path / "one.expt"), Experiment.from_args(FLAGS + at(PLACE)))


def test_flags_of_a_refined_experiment(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = (FLAGS + "-xtal_position 1 2 3 -cell_spread .01 0 0").split()
    refined = Experiment.from_args(words).replace(
        dict(zip(FIELDS, (0.1, -1 / 3, 2e-5))) | {"crystal.cell_spread_b": 1 / 70}
    )
    assert Experiment.from_args(refined_flags(words, refined)).crystal == refined.crystal
    matrix = str(tmp_path / "other.mat")
    np.savetxt(matrix, np.linalg.inv(nbnumba.setup.crystal.orient(several().other_crystals[0])) * 1.5, fmt="%.17g")
    words = [*words, "-lattice", matrix, "0.4", "5", "2", "-0.25", matrix]
    stated = Experiment.from_args(words)
    assert [crystal.position_mm for crystal in stated.crystals] == [(1.0, 2.0, 3.0), (5.0, 2.0, -0.25), (0.0, 0.0, 0.0)]
    moved = stated.replace({"crystal[1].position_y_mm": 1 / 3})
    again = Experiment.from_args(refined_flags(words, moved))
    assert [crystal.position_mm for crystal in again.crystals] == [crystal.position_mm for crystal in moved.crystals]


def test_what_it_costs():
    """The samples of a pixel are walked over for each place and the background; there are two images, and a table of each."""
    here = Experiment.from_args(FLAGS + "-phi 20 -osc 60 -phisteps 10 -water 3 -detpixels 4000 -dispersion 1 -dispsteps 9")
    displaced = here.replace(dict(zip(FIELDS, PLACE)))
    tables = 10 * 9 * SOURCE_BYTES
    assert cost(displaced).bytes == cost(here).bytes + 8 * 4000**2 + tables
    assert 2.0 < cost(displaced).seconds / cost(here).seconds < 4.0
    assert cost(displaced).lattices == cost(here).lattices == 10
    both = dataclasses.replace(here, crystal=[displaced.crystal, here.crystal])
    assert cost(both).bytes == cost(displaced).bytes + 10 * LATTICE_BYTES + 9 * SOURCE_BYTES
    many = displaced.replace({"goniometer.phisteps": 10**9})
    with pytest.raises(InputError, match="10* samples|lattices"):
        simulate(many)
    with pytest.raises(InputError, match="are not known"):
        nbnumba.hkl_map(many)


def test_what_is_assumed_is_said_once():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        panel_scenes(Experiment.from_args(FLAGS + ROTATION + at(PLACE) + "-water 3 -fudge 2"))
    messages = [str(warning.message) for warning in caught]
    assert sum("crystal.fudge has no effect" in message for message in messages) == 1


def test_maps_of_several_crystals_of_which_one_is_displaced():
    """The message names that, not the spindle."""
    one = Experiment.from_args(FLAGS)
    two = dataclasses.replace(one, other_crystals=(dataclasses.replace(one.crystal, position_z_mm=1.0),))
    with pytest.raises(InputError, match="0 0 1: the reflections of pixels of several crystals, of which one is displaced"):
        nbnumba.hkl_map(two)
