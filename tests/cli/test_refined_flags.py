"""The flags of a refined experiment give the same values and the same image when they are parsed again."""

import itertools
import warnings
from pathlib import Path

import geometry_files
import numpy as np
import pytest
from geometries import AXES, FORMS, TURNS

from adjoint import PARAMETERS, VECTORS
from nbnumba import Experiment, pixel_positions, simulate
from nbnumba.flags import headers
from nbnumba.flags.from_experiment import QUANTITIES, TILTS, NewFiles, refined_flags, without
from nbnumba.formats import hkl, matrix, smv
from nbnumba.parity import NO_DEFECTS
from nbnumba.setup.detector import position_detector

SMALL = "-default_F 10 -lambda 1.1 -N 3 -oversample 1 -pixel 0.5 -detpixels_x 16 -detpixels_y 12"
CRYSTALS = {"cell": "-cell 30 40 50 80 95 100", "mat": "-mat A.mat"}
FRAMES = {
    **{name: f"-{name}" for name in ("mosflm", "adxv", "denzo", "xds", "dials")},
    "custom": AXES,
    "pix0": "-pix0_vector_mm 60 -5 -2",
    "pix0_m": AXES + "-pix0_vector 0.06 -0.055 -0.002",
}
PIVOTS = {"implied": "", "beam": "-pivot beam", "sample": "-pivot sample"}
MOVES = {
    "detector.distance_mm": 0.375,
    "detector.xbeam_mm": 0.1,
    "detector.ybeam_mm": -0.2,
    "crystal.a_A": 0.03,
    "crystal.gamma_deg": -0.1,
    "beam.wavelength_A": 0.001,
    "detector.rotz_deg": 0.3,
}
MISSET = (0.1, -0.2, 0.3)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A folder with a matrix of an oblique cell."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "A.mat").write_text("0.02 -0.005 0.004\n0.003 0.03 0.001\n-0.002 0.006 0.025\n")
    return tmp_path


def experiment_of(words):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return Experiment.from_args(words)


def moved(experiment, names=tuple(MOVES)):
    new = {name: experiment.value(name) + MOVES[name] for name in names}
    turned = tuple(np.add(experiment.value("crystal.misset_deg"), MISSET))
    return experiment.replace(new | {"crystal.misset_deg": turned})


def check(words, refined, names):
    """Check that the refined flags give every value and the same image. Returns the flags."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        flags = refined_flags(words, refined, names)
    again = experiment_of(flags)
    for name in names:
        np.testing.assert_allclose(again.value(name), refined.value(name), rtol=1e-12, atol=1e-12, err_msg=name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        image, expected = simulate(again), simulate(refined)
    np.testing.assert_allclose(image, expected, rtol=1e-12, atol=1e-12 * expected.max())
    return flags


@pytest.mark.parametrize("turn", TURNS)
@pytest.mark.parametrize("frame", FRAMES)
def test_every_way_to_place_a_detector(frame, turn):
    ways = itertools.product(FORMS, PIVOTS)
    for (form, pivot), crystal in zip(ways, itertools.cycle(CRYSTALS)):
        words = " ".join([CRYSTALS[crystal], SMALL, FRAMES[frame], FORMS[form], TURNS[turn], PIVOTS[pivot]]).split()
        refined = moved(experiment_of(words))
        flags = check(words, refined, [*MOVES, "crystal.misset_deg"])
        assert experiment_of(flags).detector.convention == experiment_of(words).detector.convention
        assert crystal == "mat" or refined_flags(flags, refined, list(MOVES)) == flags


@pytest.mark.parametrize("name", MOVES)
@pytest.mark.parametrize("frame", FRAMES)
def test_one_quantity_alone(frame, name):
    for crystal, distance in itertools.product(CRYSTALS.values(), ("-distance 70", "-close_distance 60", "-distance -70")):
        words = f"{crystal} {SMALL} {FRAMES[frame]} {distance} -detector_roty 3 -ORGX 5".split()
        refined = moved(experiment_of(words), [name])
        check(words, refined, [name])


@pytest.mark.parametrize("switches", ["pivot_ignored", "near_point_ignored", "header_close_distance", "all"])
@pytest.mark.parametrize("frame", FRAMES)
def test_with_cs_defects(frame, switches):
    for form, header in itertools.product(FORMS, ("", "-img header.img ")):
        smv.write("header.img", np.zeros((12, 16), np.uint16), HEADER)
        words = f"{header}{CRYSTALS['cell']} {SMALL} -twotheta 10 -pivot sample {FRAMES[frame]} {FORMS[form]}".split()
        words += ["-c_parity", switches]
        refined = moved(experiment_of(words))
        if header and frame in ("xds", "dials") and switches in ("near_point_ignored", "all"):
            with pytest.warns(UserWarning, match="do not place the detector"):  # its ORG counts beside any -Xbeam there
                refined_flags(words, refined)
        else:
            check(words, refined, list(MOVES))


HEADER = {
    "PIXEL_SIZE": 0.5, "DISTANCE": 80, "CLOSE_DISTANCE": 75, "WAVELENGTH": 1.2, "BEAM_CENTER_X": 3.5, "BEAM_CENTER_Y": 4,
    "XDS_ORGX": 7, "XDS_ORGY": 8.5, "PHI": 3, "OSC_RANGE": 1, "TWOTHETA": 2,
}  # fmt: skip


@pytest.mark.parametrize("name", MOVES)
@pytest.mark.parametrize("frame", FRAMES)
def test_what_a_header_says_is_overruled(frame, name):
    smv.write("header.img", np.zeros((12, 16), np.uint16), HEADER)
    for flag in ("-img", "-mask"):
        if flag == "-mask":
            smv.write("header.img", np.ones((12, 16), np.uint16), HEADER)
        words = f"{flag} header.img -cell 30 40 50 -default_F 10 -N 3 -oversample 1 {FRAMES[frame]}".split()
        check(words, moved(experiment_of(words), [name]), [name])


@pytest.mark.parametrize("name", [*MOVES, "detector.rotx_deg", "detector.twotheta_deg"])
@pytest.mark.parametrize("frame", FRAMES)
def test_what_a_header_of_ours_says_is_overruled(frame, name):
    """Our own keys in a header state the convention, rotations and the pivot, too."""
    written = experiment_of(f"-cell 50 {SMALL} {FRAMES[frame]} -detector_rotx 3 -twotheta 4 -pivot beam".split())
    keys = headers.entries_of(written, position_detector(written.detector, written.beam, NO_DEFECTS), 40.0, False)
    smv.write("header.img", np.zeros((12, 16), np.uint16), keys)
    words = "-img header.img -cell 30 40 50 -default_F 10 -N 3 -oversample 1".split()
    made = experiment_of(words)
    step = MOVES.get(name, 0.7)
    check(words, made.replace({name: made.value(name) + step}), [name])


OTHERS = {
    "-mosaic 0.3 -mosaic_domains 3": {"crystal.mosaic_spread_deg": 0.4},
    "-flux 1e12 -exposure 0.1 -beamsize 0.05": {"beam.fluence": 3.3e20},
    "-samplesize 1e-5 -beamsize 0.05 -flux 1e12": {"beam.fluence": 3.3e20, "crystal.a_A": 20.0, "beam.wavelength_A": 1.05},
    "-energy 12000": {"beam.wavelength_A": 1.034},
    "-nopolar -polar 0.3": {"beam.polarization": 0.9},
    "-dispersion 0.3 -dispsteps 3": {"beam.dispersion_percent": 0.4},
    "-divergence 1 -divsteps 3": {"beam.hdivrange_mrad": 1.25},
    "-hdivrange 1 -divergence 2 -hdivsteps 3": {"beam.hdivrange_mrad": 1.25, "beam.vdivrange_mrad": 0.5},
    "-water 20": {"background.water_um": 25.5},
    "-ice 20 -ice_size 300 -water 3 -water_table": {"background.ice_um": 25.5, "background.ice_size_A": 210.0},
    "-detector_thick 450": {"detector.thickness_um": 400.25},
    "-detector_thick 450 -detector_absorb 234": {"detector.attenuation_um": 211.5, "detector.thickness_um": 400.25},
    "-phi 3 -osc 1 -phisteps 3": {"goniometer.phi_deg": 3.5, "goniometer.osc_deg": 1.1},
    "-phi 3 -osc 1 -phistep 0.25": {"goniometer.phi_deg": 3.5, "goniometer.osc_deg": 1.1},
    "-phisteps 3": {"goniometer.osc_deg": 1.1},
    "-phistep 0.3": {"goniometer.phi_deg": 1e-5, "goniometer.osc_deg": 0.35},
    "-misset random -misset_seed 7": {"crystal.misset_x_deg": 12.5},
    "-misset random -seed 7 -mosaic 0.3 -mosaic_domains 3 -mosaic_seed -5": {"crystal.misset_y_deg": 12.5},
    "-misset random -misset_seed 8": {"beam.fluence": 1e30},
    "-Na 5 -N 4 -Nb 6": {"crystal.n_cells": (7.0, 6.0, 5.0)},
    "-samplesize 2e-5 -Na 3": {"crystal.n_b": 9.0},
    "-interpolate": {"sampling.oversample": 2, "structure_factors.interpolate": False},
    "-hkl P1.hkl -c_parity interpolation_by_flag -samplesize 3e-5": {"crystal.n_a": 9.0},
    "-cell 31 41 51 -mat A.mat": {"crystal.b_A": 42.0, "beam.wavelength_A": 1.2},
    "-cell 31 -twotheta 4 -pivot beam": {"detector.twotheta_deg": 5.5, "crystal.c_A": 32.0},
}


@pytest.mark.parametrize("more", OTHERS)
def test_every_other_quantity(more):
    hkl.write("P1.hkl", [[0, 0, 0], [1, 0, 0], [0, 1, 1]], [10.0, 20.0, 30.0])
    words = ["-cell", "30", "40", "50", "80", "95", "100", *SMALL.split(), *more.split()]
    refined = experiment_of(words).replace(OTHERS[more])
    check(words, refined, list(OTHERS[more]))


def test_every_parameter_is_stated_by_flags_or_said_to_have_none():
    known = {field for quantity in QUANTITIES for field in quantity.fields} | set(TILTS)
    single = {name: "crystal.misset_deg" for name in VECTORS["crystal.misset_deg"]}
    assert {single.get(name, name) for name in PARAMETERS} <= known


def test_amplitudes_become_a_file_that_is_shared():
    hkl.write("P1.hkl", [[0, 0, 0], [1, 0, 0], [0, 1, 1]], [10.0, 20.0, 30.0])
    words = [*CRYSTALS["cell"].split(), *SMALL.split(), "-hkl", "P1.hkl", "-nointerpolate"]
    refined = experiment_of(words).replace({"structure_factors.F": np.array([10.1, 1 / 3, -30.0])})
    new_files = NewFiles("out", ["P1.hkl"])
    flags = refined_flags(words, refined, ["structure_factors.F"], new_files)
    assert flags[-2:] == ["-hkl", "out.hkl"] and flags.count("-hkl") == 1
    assert refined_flags(words, refined, ["structure_factors.F"], new_files) == flags
    np.testing.assert_array_equal(experiment_of(flags).structure_factors.F, refined.structure_factors.F)
    other = refined.replace({"structure_factors.F": np.array([1.0, 2.0, 3.0])})
    assert refined_flags(words, other, ["structure_factors.F"], new_files)[-1] == "out_2.hkl"


def test_a_matrix_that_was_read_is_not_replaced(folder):
    before = (folder / "A.mat").read_text()
    words = [*CRYSTALS["mat"].split(), *SMALL.split()]
    refined = experiment_of(words).replace({"beam.wavelength_A": 1.3})
    flags = refined_flags(words, refined, ["beam.wavelength_A"], NewFiles("A", ["A.mat"]))
    assert flags[flags.index("-mat") + 1] == "A_2.mat"
    assert (folder / "A.mat").read_text() == before
    np.testing.assert_allclose(matrix.read("A_2.mat"), matrix.read("A.mat") * 1.3 / 1.1, rtol=1e-12)


def test_nothing_is_restated_that_did_not_change(folder):
    words = "-mat A.mat -default_F 10 -flux 1e12 -exposure 2 -energy 12000 -distance 100 -ORGX 5 -misset 1 2 3 -samplesize 1e-5"
    experiment = experiment_of(words.split())
    assert refined_flags(words.split(), experiment) == words.split()
    flags = refined_flags(words.split(), experiment.replace({"crystal.misset_x_deg": 1.5}))
    assert flags == [*without(words.split(), ["-misset"]), "-misset", "1.5", "2.0", "3.0"]
    assert {path.name for path in folder.iterdir()} == {"A.mat"}


def test_a_random_orientation_by_the_clock_gets_its_seed(monkeypatch):
    words = [*CRYSTALS["cell"].split(), *SMALL.split(), "-misset", "random"]
    monkeypatch.setattr("nbnumba.flags.to_experiment.time_seed", lambda: 77)
    experiment = experiment_of(words)
    assert refined_flags(words, experiment)[-4:] == ["-misset", "random", "-misset_seed", "77"]


@pytest.mark.parametrize(
    "new, sentence",
    [
        ({"beam.direction_x_mrad": 0.25}, "beam.direction_x_mrad is 0.25, and no flag states it"),
        ({"beam.dispsteps": 3}, "beam.dispsteps is 3, and the refined flags state None"),
        ({"detector.layers": 3}, "detector.layers is 3, and the refined flags state None"),
    ],
)
def test_what_flags_do_not_state_is_said(new, sentence):
    words = [*CRYSTALS["cell"].split(), *SMALL.split()]
    refined = experiment_of(words).replace(new)
    with pytest.warns(UserWarning, match=sentence):
        refined_flags(words, refined, list(new))


@pytest.mark.parametrize(
    "name, value",
    [("beam.size_mm", 0.5), ("beam.dmin_A", 2.5), ("crystal.fudge", 1.5), ("detector.pixel_mm", 0.12),
     ("structure_factors.default_F", 12.5)],
)  # fmt: skip
def test_numbers_that_no_refinement_changes_are_stated_too(name, value):
    words = [*CRYSTALS["cell"].split(), *SMALL.split()]
    restated = experiment_of(refined_flags(words, experiment_of(words).replace({name: value}), [name]))
    assert restated.value(name) == value != experiment_of(words).value(name)


def test_numbers_of_cells_need_not_be_whole():
    words = [*CRYSTALS["cell"].split(), *SMALL.split(), "-gauss_xtal"]
    refined = experiment_of(words).replace({"crystal.n_a": 7.4, "crystal.n_e": 0.25})
    restated = experiment_of(refined_flags(words, refined, ["crystal.n_a", "crystal.n_def"]))
    assert restated.value("crystal.n_cells") == refined.value("crystal.n_cells")
    assert restated.value("crystal.n_def") == (0.0, 0.25, 0.0)


def test_tied_names_are_compared_each():
    words = ["-cell", "30", *SMALL.split()]
    refined = experiment_of(words).replace({"crystal.a_A": 31.0, "crystal.b_A": 31.0, "crystal.c_A": 31.0})
    check_names = [("crystal.a_A", "crystal.b_A", "crystal.c_A"), "image.scale", "image.background"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        flags = refined_flags(words, refined, check_names)
    assert flags[-7:] == ["-cell", "31.0", "31.0", "31.0", "90.0", "90.0", "90.0"]


GROUPS = {"detector.group[q0].shift_fast_mm": 0.05, "detector.group[q1/p_1].turn_normal_deg": 0.3}
GROUPS |= {"detector.distance_mm": 100.1}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "words",
    [
        "-expt two.expt -image 3",
        "-expt two.expt -image 3 -misset 1 2 3 -distance 101 -detector_rotx 2",
        "-expt two.expt -image 4 -osc 0",
        "-expt two.expt -phi 5 -osc 1 -cell 30 41 50",
        "-geom m.geom -phi 7 -osc 0 -cell 30 41 50 -spindle_axis 0 1 0.2",
        "-img full.cbf -mat A.mat",
    ],
)
def test_groups_that_moved_are_in_a_new_file_of_geometry(words):
    """It replaces the one of the flags, and a matrix stands for the crystal of that."""
    for name, content in (
        ("two.expt", geometry_files.expt_bytes(2)),
        ("m.geom", geometry_files.geom_bytes()),
        ("full.cbf", geometry_files.full_cbf_bytes()),
    ):
        Path(name).write_bytes(content)
    words = [*words.split(), *"-default_F 10 -N 3 -oversample 1 -phisteps 2".split()]
    started = Experiment.from_args(words)
    path = started.detector.panels[1].path
    moved = {name.replace("q0", started.detector.panels[0].path).replace("q1/p_1", path): x for name, x in GROUPS.items()}
    refined = started.replace(moved)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        flags = refined_flags(words, refined, list(moved))
    assert [str(warning.message) for warning in caught] == []
    assert flags.count("-expt") == 1 and not {"-geom", "-img", "-image"} & set(flags)
    stated = Experiment.from_args(flags)
    for one, other in zip(stated.detector.panels, refined.detector.panels):
        assert (one.path, one.shape, one.gain, one.masked) == (other.path, other.shape, other.gain, other.masked)
    for one, other in zip(pixel_positions(refined), pixel_positions(stated)):
        assert np.abs(one - other).max() < 1e-9
    for one, other in zip(simulate(refined), simulate(stated)):
        assert np.abs(one - other).max() < 1e-9 * one.max()
