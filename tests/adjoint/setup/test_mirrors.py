"""The mirrors of setup are compared with central differences, for random conventions, cells, sensors and cotangents."""

import dataclasses
import itertools
import zlib

import numpy as np
import pytest
from differences import assert_second_order, errors, ladder, slope
from geometries import AXES, FORMS, TURNS, experiment_of
from geometries import CELL as FRAME

from adjoint.geometry.cell import skewed_setting_adj, standard_setting_adj
from adjoint.geometry.rotations import about_axis_adj, about_xyz_adj, torque
from adjoint.parameters import CELL, LATTICE_MOTIONS, MATERIAL_MOTIONS, SOURCE_MOTIONS, names_of
from adjoint.setup.background import scale_adj
from adjoint.setup.crystal import (
    ANISOTROPIC,
    MISSET,
    NUMBERS,
    orient_adj,
    reciprocal_adj,
    record_adj,
)
from adjoint.setup.detector import position_detector_adj, sensor_adj
from adjoint.setup.scene import motions, pull
from adjoint.stages.records import Cotangent
from nbnumba import Beam, Crystal, Detector, Experiment, Group, Panel
from nbnumba.geometry.cell import skewed_setting, standard_setting
from nbnumba.geometry.rotations import about_axis, about_xyz
from nbnumba.parity import NO_DEFECTS, Defects
from nbnumba.setup import sampling, scene
from nbnumba.setup.conventions import CONVENTIONS
from nbnumba.setup.crystal import orient, reciprocal, record
from nbnumba.setup.crystals import Contribution, contributions
from nbnumba.setup.detector import pivot_of, position_detector, sensor
from nbnumba.setup.panels import planes, planes_from, planes_of
from nbnumba.stages.shapes import SHAPES

CENTRE = ("xbeam_mm", "ybeam_mm")
TURNED = ("rotx_deg", "roty_deg", "rotz_deg", "twotheta_deg")
PLACED = ("distance_mm", *CENTRE, *TURNED)
PIVOTS = ("", "-pivot beam ", "-pivot sample ")
GEOMETRIES = [
    (convention, form, turn, pivot)
    for convention, form, turn, pivot in itertools.product([*CONVENTIONS, "pix0"], FORMS, TURNS, PIVOTS)
    if convention != "pix0" or form == "default"
]
CELLS = [
    (50, 50, 50, 90, 90, 90),
    (30, 40, 50, 90, 90, 90),
    (50, 50, 70, 90, 90, 120),
    (30, 40, 50, 90, 105, 90),
    (30, 40, 50, 60, 60, 60),
    (70, 80, 90, 75, 85, 95),
    (30, 40, 50, 110, 110, 110),
    (5, 200, 9, 60, 130, 100),
]
TRICLINIC = Defects(triclinic_angles=True)
METRIC = Defects(gauss_metric=True)
METRIC_AND_TRICLINIC = Defects(gauss_metric=True, triclinic_angles=True)

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def random_of(*words):
    return np.random.default_rng(zlib.crc32(repr(words).encode()))


def assert_gradient(gradient, function, step, random):
    """Check that a function of a displacement (n,) has this gradient (n,) at 0, along every axis and along a random
    direction."""
    for direction in (*np.eye(len(gradient)), random.uniform(-1, 1, len(gradient))):
        expected = slope(lambda t, along=direction: function(t * along), step)
        np.testing.assert_allclose(gradient @ direction, expected, rtol=1e-10, atol=1e-12)


def assert_converges(gradient, function, step, random):
    """Check that the error of central differences falls a hundredfold when the step falls tenfold, until rounding dominates."""
    direction = random.choice([-1.0, 1.0], len(gradient))
    falling = errors(lambda t: function(t * direction), step, gradient @ direction)
    rounding = 1e-14 * max(1.0, abs(function(0 * direction))) / np.array(ladder(step))
    assert falling[0] > 30 * rounding[0], "too close to linear to tell"
    assert_second_order(falling, 95, rounding)


def check(gradient, function, step, random, converges):
    (assert_converges if converges else assert_gradient)(np.asarray(gradient), function, step, random)


# Rotations


def turn_of(random):
    axis = random.normal(size=3)
    return axis / np.linalg.norm(axis), random.uniform(-3, 3)


@pytest.mark.parametrize("converges", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_rotation_about_an_axis(seed, converges):
    random = random_of("axis", seed)
    (axis, angle), bar = turn_of(random), random.normal(size=(3, 3))
    found = about_axis_adj(axis, angle, bar)
    assert abs(found) > 1e-3
    check([found], lambda t: np.sum(bar * about_axis(axis, angle + t[0])), 0.05, random, converges)


@pytest.mark.parametrize("converges", [False, True])
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("largest", [0.0, 180.0])
def test_rotation_about_x_y_z(seed, largest, converges):
    random = random_of("xyz", seed)
    degrees, bar = random.uniform(-largest, largest, 3), random.normal(size=(3, 3))
    found = about_xyz_adj(tuple(degrees), bar)
    assert (np.abs(found) > 1e-5).all()
    check(found, lambda t: np.sum(bar * about_xyz(degrees + t)), 0.5, random, converges)


def test_torque_is_the_sum_of_those_of_the_vectors():
    random = random_of("torque")
    rotation, vectors, bars = about_axis(*turn_of(random)), random.normal(size=(4, 3)), random.normal(size=(4, 3))
    expected = np.cross(vectors @ rotation.T, bars).sum(axis=0)
    np.testing.assert_allclose(torque(rotation, bars.T @ vectors), expected, rtol=0, atol=1e-14)


# Detector


def centres_that_count(convention, form, defects, pivot):
    """The fields xbeam and ybeam that position the detector, stated or as the default, by hand from F1a."""
    swapped = convention in ("mosflm", "denzo")
    if defects.near_point_ignored and convention not in ("custom", "pix0") and pivot == "sample":
        return ()
    if defects.near_point_ignored and convention in ("mosflm", "denzo", "adxv"):
        return CENTRE
    ends = {"default": CENTRE, "beam": CENTRE, "close": (), "org": (), "mixed": CENTRE if swapped else ("xbeam_mm",)}
    return ends[form]


def placement_bars(random, shape=()):
    """Cotangents of a Placement that weight all its parts like the axes at a distance of 0.1 m."""
    sizes = {"origin": (3,), "fast": (3,), "slow": (3,), "normal": (3,), "distance": (), "close_distance": ()}
    return {name: random.normal(size=(*shape, *size)) * (1.0 if len(name) in (4, 6) else 10.0) for name, size in sizes.items()}


def check_placement(experiment, counts, random, converges=False):
    """Check position_detector_adj of an experiment.

    Only the parameters in `counts` position the detector; the gradient of all others is 0.
    """
    detector, defects = experiment.detector, experiment.sampling.defects
    bars = placement_bars(random)
    found = position_detector_adj(detector, position_detector(detector, experiment.beam, defects), defects, *bars.values())
    assert list(found) == [f"detector.{name}" for name in PLACED]
    start = [experiment.value(f"detector.{n}") if getattr(detector, n) is None else getattr(detector, n) for n in counts]

    def function(step):
        moved = dataclasses.replace(detector, **dict(zip(counts, start + step)))
        at = position_detector(moved, experiment.beam, defects)
        return sum(np.sum(bar * getattr(at, name)) for name, bar in bars.items())

    gradient = np.array([found[f"detector.{name}"] for name in counts])
    assert (np.abs(gradient) > 1e-8).all()
    assert all(found[f"detector.{name}"] == 0.0 for name in PLACED if name not in counts)
    check(gradient, function, 0.5, random, converges)


@pytest.mark.parametrize("convention, form, turn, pivot", GEOMETRIES)
def test_placement(convention, form, turn, pivot):
    experiment = experiment_of(convention, form, turn, pivot)
    counts = ("distance_mm", *centres_that_count(convention, form, NO_DEFECTS, ""), *TURNED)
    check_placement(experiment, TURNED if convention == "pix0" else counts, random_of(convention, form, turn, pivot))


@pytest.mark.parametrize("convention", [*CONVENTIONS, "pix0"])
@pytest.mark.parametrize("pivot", ["-pivot beam", "-pivot sample"])
def test_placement_converges(convention, pivot):
    experiment = experiment_of(convention, "default", "swung", pivot)
    counts = TURNED if convention == "pix0" else PLACED
    check_placement(experiment, counts, random_of(convention, pivot), converges=True)


@pytest.mark.parametrize("convention", CONVENTIONS)
@pytest.mark.parametrize("form", ["default", "org"])
@pytest.mark.parametrize("turn", TURNS)
@pytest.mark.parametrize("pivot", ["-pivot beam", "-pivot sample"])
def test_placement_by_close_distance(convention, form, turn, pivot):
    experiment = experiment_of(convention, form, turn, pivot, "-close_distance 80 ")
    counts = (*centres_that_count(convention, form, NO_DEFECTS, ""), *TURNED)
    check_placement(experiment, counts, random_of(convention, form, turn, pivot))


@pytest.mark.parametrize("switch", ["near_point_ignored", "pivot_ignored", "pix0_ignored", "all"])
@pytest.mark.parametrize("convention", [*CONVENTIONS, "pix0"])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("pivot", PIVOTS)
def test_placement_with_defects_of_c(switch, convention, form, pivot):
    experiment = experiment_of(convention, form, "swung", pivot, more=f"-c_parity {switch}")
    defects = experiment.sampling.defects
    by_corner = convention == "pix0" and not defects.pix0_ignored and form == "default"
    if convention == "pix0" and not by_corner:
        experiment = Experiment.from_args((FRAME + AXES + FORMS[form] + TURNS["swung"] + "-distance 80 " + pivot).split())
        detector = dataclasses.replace(experiment.detector, pix0_mm=(60.0, -55.0, -2.0))
        experiment = dataclasses.replace(experiment, detector=detector).replace({"sampling.c_parity": defects.names})
    turns_about = pivot_of(experiment.detector, defects)
    counts = ("distance_mm", *centres_that_count(convention, form, defects, turns_about), *TURNED)
    check_placement(experiment, TURNED if by_corner else counts, random_of(switch, convention, form, pivot))


DETECTORS = {
    "no distance": {"convention": "xds"},
    "negative distance": {"convention": "mosflm", "distance_mm": -120.0},
    "upstream": {"fast_axis": (0, 0, 1), "slow_axis": (0.6, 0.8, 0)},
    "upstream by its close distance": {"fast_axis": (0, 0, 1), "slow_axis": (0.6, 0.8, 0), "close_distance_mm": 90.0},
    "oblique axes": {"fast_axis": (0.1, 0.3, 1), "slow_axis": (0.2, -1, 0.1), "twotheta_axis": (1, 2, 3)},
    "a normal of its own": {"fast_axis": (0.1, 0.3, 1), "slow_axis": (0.2, -1, 0.1), "normal_axis": (1, 0, 0)},
    "a size of its own": {"convention": "adxv", "size_mm": (30.03, 20.07), "distance_mm": 90.0},
    "an upstream corner": {"fast_axis": (0, 0, 1), "slow_axis": (0.6, 0.8, 0), "pix0_mm": (-80.0, 60.0, 3.0)},
}


@pytest.mark.parametrize("name", DETECTORS)
@pytest.mark.parametrize("pivot", ["beam", "sample"])
def test_placement_of_unusual_detectors(name, pivot):
    stated = {"convention": "custom", **dict(zip(TURNED, (3.0, -4.0, 5.0, 6.0))), **DETECTORS[name]}
    experiment = experiment_of("mosflm").replace({"detector.distance_mm": 80.0})
    beam = Beam(direction=(0.9, -0.3, 0.1))
    experiment = dataclasses.replace(experiment, detector=Detector(pivot=pivot, **stated), beam=beam)
    counts = {"upstream by its close distance": (*CENTRE, *TURNED), "an upstream corner": TURNED}.get(name, PLACED)
    check_placement(experiment, counts, random_of(name, pivot))


@pytest.mark.parametrize(
    "stated, c_parity, counts",
    [
        ({"thickness_um": 300.0}, (), ("thickness_um",)),
        ({"thickness_um": 300.0, "attenuation_um": 200.0}, (), ("thickness_um", "attenuation_um")),
        ({"thickness_um": 300.0, "attenuation_um": 200.0, "layers": 5}, (), ("thickness_um", "attenuation_um")),
        ({"thickness_um": 300.0, "attenuation_um": 200.0, "layers": 5}, ("thick_layers",), ("thickness_um", "attenuation_um")),
        ({"thickness_um": 300.0, "attenuation_um": 200.0, "layers": 1}, ("thick_layers",), ("thickness_um", "attenuation_um")),
        ({"thickness_um": 300.0, "layers": 3}, ("thick_layers",), ("thickness_um",)),
        ({"thickness_um": 300.0, "attenuation_um": np.inf}, ("endless_depth_dark",), ("thickness_um",)),
        ({"thickness_um": 300.0, "attenuation_um": np.inf}, (), ()),
        ({"thickness_um": 0.0, "attenuation_um": 200.0}, (), ()),
        ({}, (), ()),
    ],
)
@pytest.mark.parametrize("converges", [False, True])
def test_sensor(stated, c_parity, counts, converges):
    random = random_of("sensor", stated, c_parity)
    layer_bar, absorption_bar = 1e4 * random.normal(), 1e-3 * random.normal()
    detector, defects = Detector(**stated), Defects.named(c_parity)
    found = sensor_adj(detector, defects, layer_bar, absorption_bar)
    assert all(found[f"detector.{name}"] == 0.0 for name in ("thickness_um", "attenuation_um") if name not in counts)
    gradient, start = [found[f"detector.{name}"] for name in counts], [getattr(detector, name) for name in counts]
    assert (np.abs(gradient) > 1e-5).all()

    def function(step):
        _, layer, absorption = sensor(dataclasses.replace(detector, **dict(zip(counts, start + step))), defects)
        return layer_bar * layer + absorption_bar * absorption

    linear = not counts or absorption_bar == 0.0 or stated.get("attenuation_um") == np.inf
    if not (converges and linear):
        check(gradient, function, 20.0 if converges else 2.0, random, converges)


# Crystal


def cells(count):
    """The cells of CELLS, and random cells that are not flat."""
    random = random_of("cells")
    while count:
        angles = random.uniform(60, 125, 3)
        if angles.sum() < 340 and 2 * angles.max() < angles.sum() - 10:
            count -= 1
            yield (*random.uniform(20, 100, 3), *angles)


EVERY_CELL = [*CELLS, *cells(8)]


@pytest.mark.parametrize("converges", [False, True])
@pytest.mark.parametrize("setting, adjoint", [(standard_setting, standard_setting_adj), (skewed_setting, skewed_setting_adj)])
@pytest.mark.parametrize("cell", EVERY_CELL)
def test_setting(cell, setting, adjoint, converges):
    random = random_of("setting", cell)
    bar = random.normal(size=(3, 3)) / 50
    found = adjoint(*cell, bar)
    assert (np.abs(found) > 1e-6).all()
    check(found, lambda t: np.sum(bar * setting(*(cell + t))), 0.5 if converges else 0.1, random, converges)


@pytest.mark.parametrize("cell", [cell for cell in CELLS if sum(angle != 90 for angle in cell[3:]) < 2])
def test_settings_of_one_oblique_angle_agree(cell):
    """If two angles are right angles, P7 changes nothing to first order in all angles."""
    np.testing.assert_allclose(skewed_setting(*cell), standard_setting(*cell), rtol=0, atol=1e-12)
    bar = random_of("agree", cell).normal(size=(3, 3))
    np.testing.assert_allclose(standard_setting_adj(*cell, bar), skewed_setting_adj(*cell, bar), rtol=0, atol=1e-13)


def test_settings_of_two_oblique_angles_do_not():
    bar = random_of("two").normal(size=(3, 3))
    gap = standard_setting_adj(*CELLS[5], bar) - skewed_setting_adj(*CELLS[5], bar)
    assert (np.abs(gap) > 1e-6)[[0, 1, 3, 4, 5]].all() and gap[2] == 0.0


def matrix_of(random, hand):
    """The MOSFLM-style matrix of a skewed lattice, right-handed or left-handed."""
    turn, _ = np.linalg.qr(random.normal(size=(3, 3)))
    turn *= hand * np.linalg.det(turn)
    return turn @ (np.diag(random.uniform(0.01, 0.03, 3)) + np.triu(random.uniform(-0.005, 0.005, (3, 3)), 1))


def crystals():
    misset = {"misset_deg": (20.0, -30.0, 140.0)}
    yield from ((Crystal(*cell, **misset), defects) for cell in CELLS for defects in (NO_DEFECTS, TRICLINIC))
    yield Crystal(*CELLS[0]), NO_DEFECTS
    for hand, defects in itertools.product((1, -1), (NO_DEFECTS, TRICLINIC)):
        yield Crystal.from_matrix(matrix_of(random_of("matrix", hand), hand), 1.3, **misset), defects
    yield Crystal(*CELLS[5], misset_seed=7), NO_DEFECTS
    yield Crystal(*CELLS[5], misset_seed=7), Defects(misset_random=True, triclinic_angles=True)


def crystal_at(crystal, names, values):
    """A crystal with these parameters, by name. Missetting angles replace a random missetting."""
    fields = {name.partition(".")[2]: float(value) for name, value in zip(names, values)}
    misset = tuple(fields.pop(name.partition(".")[2], None) for name in MISSET)
    if None not in misset:
        fields |= {"misset_deg": misset, "misset_seed": None}
    return dataclasses.replace(crystal, **fields)


def values_of(crystal, defects, names):
    experiment = dataclasses.replace(experiment_of("mosflm"), crystal=crystal).replace({"sampling.c_parity": defects.names})
    return np.array([experiment.value(name) for name in names])


@pytest.mark.parametrize("converges", [False, True])
@pytest.mark.parametrize("crystal, defects", list(crystals()))
def test_orientation(crystal, defects, converges):
    names = (*CELL, *MISSET)
    random = random_of("orientation", crystal, sorted(defects.names))
    bar = random.normal(size=(3, 3)) / 50
    found, start = orient_adj(crystal, defects, bar), values_of(crystal, defects, names)
    assert set(found) == set(names)
    gradient = np.array([found[name] for name in names])
    assert (np.abs(gradient) > 1e-6).all()

    def function(step):
        return np.sum(bar * orient(crystal_at(crystal, names, start + step), defects))

    check(gradient, function, 0.5 if converges else 0.1, random, converges)


RECORDS = [
    (shape, defects, hand, cell)
    for shape, defects in itertools.product(SHAPES, (NO_DEFECTS, METRIC, METRIC_AND_TRICLINIC))
    for hand, cell in ((1, CELLS[0]), (1, CELLS[5]), (-1, CELLS[7]))
]


@pytest.mark.parametrize("shape, defects, hand, cell", RECORDS)
def test_crystal_record(shape, defects, hand, cell):
    """The vectors are those of the crystal in either hand. Numbers of cells, the cell and the vectors change independently."""
    random = random_of("record", shape, sorted(defects.names), hand)
    crystal = Crystal(*cell, misset_deg=(20.0, -30.0, 140.0), n_a=7.0, n_b=8.5, n_c=6.0, shape=shape)
    vectors, names = hand * orient(crystal, defects), (*NUMBERS[:3], *CELL)
    weights = random.normal(size=9)
    weights[3:] /= np.abs(record(crystal, vectors, defects)[5:11]).max()
    found, vectors_bar = record_adj(crystal, vectors, defects, weights[:3], weights[3:])
    assert set(found) == {*NUMBERS, *CELL} and vectors_bar.shape == (3, 3)
    start = values_of(crystal, defects, names)

    def function(step):
        moved = record(crystal_at(crystal, names, start + step[:9]), vectors + step[9:].reshape(3, 3), defects)
        return weights[:3] @ moved[:3] + weights[3:] @ moved[5:11]

    gradient = np.array([*(found[name] for name in names), *vectors_bar.ravel()])
    by_cell = shape in ("gauss", "tophat") and defects.gauss_metric
    assert (np.abs(gradient[:3]) > 1e-4).all() and (gradient[3:] != 0.0).any() == by_cell
    assert not by_cell or (np.abs(gradient[3:6]) > 1e-5).all()
    assert not by_cell or np.abs(gradient[9:]).max() > 1e-4
    assert_gradient(gradient, function, 0.1, random)


@pytest.mark.parametrize("converges", [False, True])
def test_crystal_record_of_a_matrix_of_cells(converges):
    random = random_of("matrix of cells")
    crystal = Crystal(*CELLS[5], n_a=7.0, n_b=8.5, n_c=6.0, n_d=1.5, n_e=-2.0, n_f=0.7, shape="gauss")
    weights, vectors = random.normal(size=9), orient(crystal)
    start = values_of(crystal, NO_DEFECTS, NUMBERS)

    def function(step):
        moved = record(crystal_at(crystal, NUMBERS, start + step), vectors, NO_DEFECTS)
        return weights[:3] @ moved[:3] + weights[3:] @ moved[5:11]

    found, vectors_bar = record_adj(crystal, vectors, NO_DEFECTS, weights[:3], weights[3:])
    gradient = np.array([found[name] for name in NUMBERS])
    assert (np.abs(gradient) > 1e-2).all() and not vectors_bar.any()
    check(gradient, function, 0.1, random, converges)


@pytest.mark.parametrize("shape", ["gauss", "square"])
def test_crystal_record_converges(shape):
    random = random_of("record converges", shape)
    crystal = Crystal(*CELLS[5], n_a=7.0, n_b=8.5, n_c=6.0, shape=shape)
    metric_bar, vectors = random.normal(size=6), orient(crystal)
    if shape == "square":
        found, _ = record_adj(crystal, vectors, METRIC, np.zeros(3), metric_bar)
        np.testing.assert_array_equal([found[name] for name in NUMBERS[:3]], 2 * np.array([7.0, 8.5, 6.0]) * metric_bar[:3])
        return
    found, vectors_bar = record_adj(crystal, vectors, METRIC, np.zeros(3), metric_bar)
    start = values_of(crystal, METRIC, CELL)

    def function(step):
        moved = crystal_at(crystal, CELL, start + step[:6])
        return metric_bar @ record(moved, vectors + step[6:].reshape(3, 3), METRIC)[5:11]

    assert_converges(np.array([*(found[name] for name in CELL), *vectors_bar.ravel()]), function, 0.5, random)


@pytest.mark.parametrize("hand", [1, -1])
@pytest.mark.parametrize("cell", EVERY_CELL)
def test_reciprocal_vectors(cell, hand):
    random = random_of("reciprocal", cell, hand)
    crystal = Crystal(*cell, misset_deg=(20.0, -30.0, 140.0))
    bar, vectors = 10 * random.normal(size=(3, 3)), hand * orient(crystal, TRICLINIC)
    cell_bar, vectors_bar = reciprocal_adj(crystal, vectors, bar)

    def function(step):
        moved = crystal_at(crystal, CELL, cell + step[:6])
        return np.sum(bar * reciprocal(moved, vectors + step[6:].reshape(3, 3)))

    assert_gradient(np.array([*cell_bar, *vectors_bar.ravel()]), function, 0.1, random)


# Scale and background


def built(experiment):
    return scene.build(experiment, sampling.window(experiment.detector.pixels, None, None))


def pulled(contribution, scenes, bar):
    """The gradients of the panels of a contribution, whose detector is placed here."""
    experiment = contribution.experiment
    placement = position_detector(experiment.detector, experiment.beam, experiment.sampling.defects)
    return pull(contribution, placement, planes_of(experiment.detector, placement), scenes, bar)


BACKGROUNDS = {
    "dry": "",
    "wet": "-water 20 ",
    "dense": "-water 20 -density 1.3 -molecwt 44 ",
    "ignored": "-water 20 -density 1.3 -molecwt 44 -c_parity amorphous_ignored ",
    "steps": "-water 20 -oversample 2 -phisteps 3 -osc 1 -mosaic 0.3 -mosaic_dom 4 -dispersion 1 -dispsteps 3 ",
    "twice scaled": "-water 20 -oversample 2 -c_parity water_scale ",
    "twice scaled, dry": "-c_parity water_scale ",
    "layers": "-water 20 -detector_abs 300 -detector_thick 90 -detector_thicksteps 3 -c_parity capture_last_layer water_scale ",
    "running": "-water 20 -oversample_omega -c_parity water_scale oversample_running_sum ",
}


@pytest.mark.parametrize("name", BACKGROUNDS)
@pytest.mark.parametrize("fluence", [1e24, 0.0])
@pytest.mark.parametrize("table", [None, ((0.0, 5.0), (0.1, 4.0), (0.2, 3.0)), ((0.0, 0.0), (0.1, 4.0), (0.2, 3.0))])
def test_scale(name, fluence, table):
    """Photons and background are linear in the fluence and cubic in the size of the water, so that differences are exact."""
    random = random_of("scale", name)
    experiment = experiment_of("mosflm", more=BACKGROUNDS[name])
    experiment = experiment.replace({"beam.fluence": fluence, "background.table": table})
    start, water_um = built(experiment), experiment.background.water_um
    each_bar, photons_bar = random.normal(size=2)
    nothing = np.zeros(len(MATERIAL_MOTIONS))
    found = scale_adj(experiment, start, photons_bar, each_bar, nothing)

    def beams(values):
        return built(experiment.replace(values)).beam

    more, less = beams({"beam.fluence": fluence + 1e24}), beams({"beam.fluence": fluence})
    by_photons, by_each = (more.photons - less.photons) / 1e24, (more.background_each - less.background_each) / 1e24
    none = 0.0 * each_bar
    np.testing.assert_allclose(found["beam.fluence"], photons_bar * by_photons + each_bar * by_each, rtol=1e-13)
    of_each = scale_adj(experiment, start, none, each_bar, nothing)["beam.fluence"]
    np.testing.assert_allclose(of_each, each_bar * by_each, rtol=1e-13)
    dark = name == "running" and start.amorphous.value[0] != 0.0
    assert by_photons > 0.0 and (by_each != 0.0) == (name in ("twice scaled", "layers", "running") and not dark)
    cube = beams({"background.water_um": 1.0}).background_each * 3 * water_um**2
    np.testing.assert_allclose(found["background.water_um"], each_bar * cube, rtol=1e-13)
    assert (found["background.water_um"] != 0.0) == (start.beam.background_each != 0.0 and not dark)


@pytest.mark.parametrize("more", ["-water 20 -air 70 ", "-water 20 -air 70 -ice 10 ", "-ice 10 -ice_size 150 ", "-air 70 "])
@pytest.mark.parametrize("table", [None, ((0.0, 5.0), (0.1, 4.0), (0.2, 3.0))])
def test_motions_of_materials(more, table):
    """They are the differences of the table of the background, whose other scale does not change."""
    experiment = experiment_of("mosflm", more=more).replace({"background.table": table})
    start, rates = built(experiment), motions(Contribution(experiment)).material
    assert rates.shape == (len(MATERIAL_MOTIONS), start.amorphous.value.size)
    for name, rate in zip(MATERIAL_MOTIONS, rates):
        value = experiment.value(name)
        if value == 0.0 or name == "background.ice_size_A" and "-ice" not in more:
            assert not rate.any()
            continue
        less, more_of_it = (built(experiment.replace({name: value * factor})) for factor in (1 - 1e-6, 1 + 1e-6))
        assert less.beam == more_of_it.beam == start.beam
        difference = (more_of_it.amorphous.value - less.amorphous.value) / (2e-6 * value)
        np.testing.assert_allclose(rate, difference, rtol=1e-6, atol=1e-6 * np.abs(rate).max())
        assert np.abs(rate).max() > 0.0
    found = scale_adj(experiment, start, 0.0, 7.0, np.arange(len(rates)))
    assert [found[name] for name in MATERIAL_MOTIONS] == list(range(len(rates)))


# All of setup


PULLED = (*CELL, *MISSET, *NUMBERS, "beam.fluence", "beam.polarization", *(f"detector.{name}" for name in PLACED))
PULLED += ("crystal.b_factor_A2", *ANISOTROPIC)
PULLED += ("crystal.scale", "detector.thickness_um", "detector.attenuation_um", "background.water_um")
WHOLE = "-misset 10 20 30 -water 30 -fluence 1e24 -polar 0.4 -detector_abs 250 -detector_thick 300 -oversample 1 "
EXPERIMENTS = {
    "mosflm": ("mosflm", "beam", "turned", "", WHOLE),
    "xds": ("xds", "default", "swung", "", WHOLE + "-gauss_xtal -bfactor 300 -bfactor_aniso 5 -4 3 2 -1 6 "),
    "faded": ("xds", "default", "swung", "", WHOLE + "-bfactor 300 "),
    "custom": ("custom", "beam", "swung", "-pivot sample ", WHOLE + "-gauss_xtal -c_parity gauss_metric triclinic_angles "),
    "all defects of C": ("custom", "beam", "swung", "", WHOLE + "-tophat_spots -c_parity all "),
}


def cotangent_of(experiment, random, shape=()):
    """A random cotangent, whose parts are so large that all parts of the scene have the same weight."""
    sizes = {"cells": (3,), "metric": (6,), "disorder": (6,), "vectors": (9,), "cell_spreads": (3,)}
    sizes |= {"source": (len(SOURCE_MOTIONS),), "lattice_angles": (len(LATTICE_MOTIONS),)}
    sizes["material"] = (len(MATERIAL_MOTIONS),)
    sizes |= dict.fromkeys(("origin", "fast", "slow", "normal", "beam"), (3,))
    parts, found = scene_parts(experiment), {}
    for name in Cotangent._fields:
        largest = np.abs(parts[name]).max() if name in parts else 1.0
        found[name] = random.normal(size=(*shape, *sizes.get(name, ()))) / (largest or 1.0)
    return Cotangent(**found)


def scene_parts(experiment):
    """The parts of a scene that have a cotangent, other than tables, as arrays by name."""
    made = built(experiment)
    panel, beam, crystal = made.panel, made.beam, made.crystal
    vectors = np.array(panel[:15]).reshape(5, 3)
    found = dict(zip(("origin", "fast", "slow", "normal", "beam"), vectors))
    found |= {name: getattr(panel, name) for name in ("distance", "close_distance", "layer", "absorption")}
    found |= {name: getattr(beam, name) for name in ("kahn", "photons", "background_each", "fading")}
    found |= {"cells": np.array(crystal[:3]), "metric": np.array(crystal[5:11])}
    found |= {"disorder": np.array(crystal[14:20])}
    return found | {"vectors": orient(experiment.crystal, experiment.sampling.defects).ravel()}


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_whole_setup(name):
    convention, form, turn, pivot, more = EXPERIMENTS[name]
    random, experiment = random_of("whole setup", name), experiment_of(convention, form, turn, pivot, more=more)
    bar = cotangent_of(experiment, random)
    found = pulled(Contribution(experiment), [built(experiment)], bar)[0]
    assert set(found) == {*PULLED, *MATERIAL_MOTIONS, *SOURCE_MOTIONS, *LATTICE_MOTIONS, *CELL_SPREADS, *POSITION}
    np.testing.assert_array_equal([found[name] for name in CELL_SPREADS], bar.cell_spreads)
    others = MATERIAL_MOTIONS[1:]
    np.testing.assert_array_equal([found[name] for name in others], bar.material[1:])
    found["background.water_um"] -= bar.material[0]
    np.testing.assert_array_equal([found[name] for name in SOURCE_MOTIONS], bar.source)
    still = LATTICE_MOTIONS.index(MISSET[0])
    np.testing.assert_array_equal([found[name] for name in LATTICE_MOTIONS[1:still]], bar.lattice_angles[1:still])
    found |= {name: found[name] - bar.lattice_angles[still + k] for k, name in enumerate(MISSET)}  # what is not of the vectors

    scales = {name: 1e24 if name == "beam.fluence" else 1.0 for name in PULLED}
    if experiment.crystal.shape != "gauss" or experiment.sampling.defects.gauss_metric:
        scales = {name: scale for name, scale in scales.items() if name not in NUMBERS[3:]}
    if experiment.crystal.b_factor_A2 == 0.0:
        scales = {name: scale for name, scale in scales.items() if not name.startswith("crystal.b_") or name == "crystal.b_A"}
    for parameter, scale in scales.items():

        def function(step, parameter=parameter, scale=scale):
            value = experiment.value(parameter) + scale * step
            parts = scene_parts(experiment.replace({parameter: value}))
            return sum(np.sum(getattr(bar, part) * parts[part]) for part in parts)

        assert abs(found[parameter]) * scale > 1e-6, parameter
        np.testing.assert_allclose(found[parameter] * scale, slope(function, 0.05), rtol=1e-9, atol=1e-11, err_msg=parameter)


CELL_SPREADS, POSITION = names_of("cell_spread"), names_of("position")
PLACES = {
    "one panel": "",
    "phi step": "-osc 30 -phisteps 3 -phi 11 ",
    "swung": "-twotheta 20 -detector_rotx 5 -osc 30 -phisteps 3 ",
}


@pytest.mark.parametrize("name", PLACES)
@pytest.mark.parametrize("with_panels", [False, True])
def test_contribution_of_a_displaced_crystal(name, with_panels):
    """What is pulled back from the plane of a panel, as the crystal sees it, to its position, phi and the detector."""
    random, experiment = random_of("displaced", name), experiment_of("mosflm", more=WHOLE + PLACES[name])
    experiment = experiment.replace(dict(zip(POSITION, (1.0, -2.0, 0.7))))
    if with_panels:
        stated = [Panel("p", (6, 8), 0.1, 0.12, (3.0, -2.0, 1.0)), Panel("q", (5, 5), 0.1, 0.1, (-9.0, 2.0, 0.5))]
        bare = {"detector.thickness_um": 0.0, "detector.attenuation_um": None}
        of_panels = {"detector.panels": stated, "detector.groups": [Group("q", turn_deg=(1.0, 2.0, 3.0))]}
        experiment = experiment.replace(bare | of_panels)
    names = [*POSITION, "goniometer.phi_deg", "detector.rotx_deg", "detector.distance_mm"]
    names += ["goniometer.osc_deg"] if "osc" in PLACES[name] else []
    names += ["detector.group[q].turn_fast_deg", "detector.group[q].shift_normal_mm"] if with_panels else []
    bar = cotangent_of(experiment.replace({"detector.panels": (), "detector.groups": ()}), random)
    of_plane = "origin", "fast", "slow", "normal", "close_distance"
    bar = bar._replace(**{part: 0.0 * getattr(bar, part) for part in Cotangent._fields if part not in of_plane})
    scenes = scene.panel_scenes(experiment)
    for contribution in contributions(experiment)[:-1]:  # without that of the water
        step = contribution.phi_step or 0
        own = [panel.scene for panel in scenes if panel.contribution == step]
        for number, found in enumerate(pulled(contribution, own, bar)):

            def function(moved, step=step, number=number):
                place = contributions(moved)[step].position
                plane = planes_from(planes(moved.detector, moved.beam, NO_DEFECTS), place)[number]
                return sum(np.sum(getattr(bar, part) * getattr(plane, part)) for part in of_plane)

            for parameter in names:
                start = experiment.value(parameter)
                expected = slope(lambda h, p=parameter, x=start: function(experiment.replace({p: x + h})), 0.05)
                np.testing.assert_allclose(found[parameter], expected, rtol=1e-9, atol=1e-11, err_msg=parameter)


# Many cotangents at once


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_whole_setup_of_many_cotangents(name):
    convention, form, turn, pivot, more = EXPERIMENTS[name]
    experiment = experiment_of(convention, form, turn, pivot, more=more)
    bars, made = cotangent_of(experiment, random_of("many", name), (2, 3)), built(experiment)
    together = pulled(Contribution(experiment), [made], bars)[0]
    for index in np.ndindex(2, 3):
        alone = pulled(Contribution(experiment), [made], Cotangent(*(part[index] for part in bars)))[0]
        for parameter, gradient in alone.items():
            assert together[parameter].shape == (2, 3) and np.shape(gradient) == ()
            np.testing.assert_allclose(together[parameter][index], gradient, rtol=1e-12, err_msg=parameter)


def mirrors():
    """Every mirror as a function of its cotangents alone, and the shapes of its cotangents."""
    crystal, experiment = Crystal(*CELLS[5], misset_deg=(1, 2, 3), shape="gauss"), experiment_of("mosflm", more="-water 20 ")
    vectors, thick = orient(crystal), Detector(thickness_um=300.0, attenuation_um=200.0)
    axis, angle = turn_of(random_of("mirrors"))
    yield "torque", lambda r: torque(about_axis(axis, angle), r), [(3, 3)]
    yield "about_axis", lambda r: about_axis_adj(axis, angle, r), [(3, 3)]
    yield "about_xyz", lambda r: about_xyz_adj((1, 2, 3), r), [(3, 3)]
    for name in ("mosflm", "xds", "pix0"):
        stated = experiment_of(name, turn="swung")
        place_bars = [(3,), (3,), (3,), (3,), (), ()]
        detector, placement = stated.detector, position_detector(stated.detector, stated.beam, NO_DEFECTS)
        yield f"place {name}", lambda *bars, d=detector, p=placement: position_detector_adj(d, p, NO_DEFECTS, *bars), place_bars
    yield "sensor", lambda *bars: sensor_adj(thick, NO_DEFECTS, *bars), [(), ()]
    yield "no sensor", lambda *bars: sensor_adj(Detector(), NO_DEFECTS, *bars), [(), ()]
    yield "standard_setting", lambda v: standard_setting_adj(*CELLS[5], v), [(3, 3)]
    yield "skewed_setting", lambda v: skewed_setting_adj(*CELLS[5], v), [(3, 3)]
    yield "orient", lambda v: orient_adj(crystal, NO_DEFECTS, v), [(3, 3)]
    yield "reciprocal", lambda s: reciprocal_adj(crystal, vectors, s), [(3, 3)]
    for defects in (NO_DEFECTS, METRIC):
        yield "record", lambda n, m, s=defects: record_adj(crystal, vectors, s, n, m), [(3,), (6,)]
    yield "scale", lambda *bars: scale_adj(experiment, built(experiment), *bars), [(), (), (len(MATERIAL_MOTIONS),)]


def leaves(found):
    """The arrays in the result of a mirror, in order."""
    if isinstance(found, dict):
        return list(found.values())
    return [leaf for part in found for leaf in leaves(part)] if isinstance(found, tuple) else [found]


@pytest.mark.parametrize("name, mirror, shapes", list(mirrors()))
def test_mirror_of_many_cotangents(name, mirror, shapes):
    random = random_of("mirror", name)
    bars = [random.normal(size=(2, 3, *shape)) for shape in shapes]
    together = leaves(mirror(*bars))
    for index in np.ndindex(2, 3):
        for many, one in zip(together, leaves(mirror(*(bar[index] for bar in bars)))):
            np.testing.assert_allclose(many[index], one, rtol=1e-12, atol=1e-14)
