"""Parameters by name: the effect on the geometry of replacing one by itself or by another value, in every convention."""

import itertools

import numpy as np
import pytest
from geometries import CELL, FORMS, PIXEL_MM, TURNS, experiment_of

from nbnumba import Crystal, Experiment, InputError, simulate
from nbnumba.geometry.cell import cell_of
from nbnumba.parity import Defects
from nbnumba.setup.conventions import CONVENTIONS
from nbnumba.setup.crystal import orient
from nbnumba.setup.detector import position_detector
from nbnumba.setup.values import VECTORS

SHIFTS = {  # the axis that x and y move along, and which way, when they grow
    "mosflm": (("slow", 1), ("fast", 1)), "denzo": (("slow", 1), ("fast", 1)), "adxv": (("fast", 1), ("slow", -1)),
    "xds": (("fast", 1), ("slow", 1)), "dials": (("fast", 1), ("slow", 1)), "custom": (("fast", 1), ("slow", 1)),
}  # fmt: skip
GEOMETRIES = [
    (convention, form, turn, pivot)
    for convention, form, turn, pivot in itertools.product(
        [*CONVENTIONS, "pix0"], FORMS, TURNS, ("", "-pivot beam", "-pivot sample")
    )
    if convention != "pix0" or form == "default"
]

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def placed(experiment):
    return position_detector(experiment.detector, experiment.beam, experiment.sampling.defects)


def assert_same_place(one, other, tolerance=1e-13):
    for name in ("origin", "fast", "slow", "normal"):
        np.testing.assert_allclose(getattr(placed(one), name), getattr(placed(other), name), rtol=0, atol=tolerance)
    assert placed(one).close_distance == pytest.approx(placed(other).close_distance, rel=1e-12)


@pytest.mark.parametrize("convention, form, turn, pivot", GEOMETRIES)
def test_beam_centre_replaced_by_itself(convention, form, turn, pivot):
    before = experiment_of(convention, form, turn, pivot)
    for names in (("xbeam_mm",), ("ybeam_mm",), ("xbeam_mm", "ybeam_mm")):
        values = {f"detector.{name}": before.value(f"detector.{name}") for name in names}
        after = before.replace(values)
        assert_same_place(after, before)
        for name, value in values.items():
            assert after.value(name) == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize("convention, form, turn, pivot", GEOMETRIES)
def test_beam_centre_moved_by_a_pixel(convention, form, turn, pivot):
    before = experiment_of(convention, form, turn, pivot)
    start = placed(before)
    for name, (axis, sign) in zip(("xbeam_mm", "ybeam_mm"), SHIFTS.get(convention, SHIFTS["custom"])):
        after = before.replace({f"detector.{name}": before.value(f"detector.{name}") + PIXEL_MM})
        expected = start.origin - sign * PIXEL_MM / 1000 * getattr(start, axis)
        np.testing.assert_allclose(placed(after).origin, expected, rtol=0, atol=1e-13)
        np.testing.assert_array_equal(placed(after).normal, start.normal)


@pytest.mark.parametrize("convention, form, turn, pivot", GEOMETRIES)
@pytest.mark.parametrize("name", ["distance_mm", "close_distance_mm"])
def test_stated_distance_replaced_by_itself(convention, form, turn, pivot, name):
    stated = "-distance 80 " if name == "distance_mm" else "-close_distance 80 "
    before = experiment_of(convention, form, turn, pivot, stated)
    assert convention == "pix0" or before.value(f"detector.{name}") == pytest.approx(80.0, rel=1e-12)
    after = before.replace({f"detector.{name}": before.value(f"detector.{name}")})
    assert_same_place(after, before)


@pytest.mark.parametrize("convention", CONVENTIONS)
@pytest.mark.parametrize("turn", TURNS)
@pytest.mark.parametrize("stated", ["", "-distance 80 ", "-close_distance 80 "])
@pytest.mark.parametrize("name", ["distance_mm", "close_distance_mm"])
@pytest.mark.parametrize("pivot", ["-pivot beam", "-pivot sample"])
def test_any_distance_replaced_by_itself(convention, turn, stated, name, pivot):
    before = experiment_of(convention, "beam", turn, pivot, stated)
    after = before.replace({f"detector.{name}": before.value(f"detector.{name}")})
    assert_same_place(after, before)


@pytest.mark.parametrize("convention", [*CONVENTIONS, "pix0"])
@pytest.mark.parametrize("pivot", ["-pivot beam", "-pivot sample"])
def test_distance_moves_the_detector_along_the_beam(convention, pivot):
    before = experiment_of(convention, pivot=pivot)
    start = placed(before)
    after = before.replace({"detector.distance_mm": before.value("detector.distance_mm") + 5.0})
    moved = placed(after)
    along = start.normal if pivot.endswith("sample") else start.beam
    by = 5e-3 * (start.beam @ start.normal if pivot.endswith("sample") else 1.0)
    np.testing.assert_allclose(moved.origin, start.origin + by * along, rtol=0, atol=1e-13)


@pytest.mark.parametrize("convention", CONVENTIONS)
@pytest.mark.parametrize("form", FORMS)
def test_pivot_does_not_move_an_unturned_detector_that_faces_the_beam(convention, form):
    frames = (
        [CELL + f"-{convention} "] if convention != "custom" else [CELL + "-fdet_vector 0 0 1 -sdet_vector 0 -1 0 "]
    )
    one, other = (Experiment.from_args((frames[0] + FORMS[form] + f"-pivot {p}").split()) for p in ("beam", "sample"))
    assert_same_place(one, other, 1e-16)


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_forms_of_the_beam_centre_in_the_order_of_precedence(convention):
    """Along each axis of the detector the beam centre counts first, then the nearest point, then -ORGX, and the default
    last."""
    (x_axis, x_sign), _ = SHIFTS[convention]
    frame = f"-{convention} " if convention != "custom" else "-fdet_vector 0 0 1 -sdet_vector 0 -1 0 "

    def spot(text):
        return np.array(placed(Experiment.from_args((CELL + frame + text).split())).beam_spot()) * 1000

    org, close = spot("-ORGX 8.5 -ORGY 9.5"), spot("-Xclose 1 -Yclose 2 -ORGX 8.5 -ORGY 9.5")
    np.testing.assert_allclose(org, (8 * PIXEL_MM, 9 * PIXEL_MM), rtol=1e-12)
    np.testing.assert_allclose(close, (1, 2), rtol=1e-12)
    given = spot("-Xbeam 3 -Xclose 1 -Yclose 2")
    fast = 0 if x_axis == "fast" else 1
    assert given[1 - fast] == pytest.approx((1, 2)[1 - fast], rel=1e-12)
    half = PIXEL_MM / 2 if convention == "mosflm" else 0.0
    assert given[fast] == pytest.approx(3 + half if x_sign > 0 else 20 * PIXEL_MM - 3, rel=1e-12)


def test_stating_the_corner_anew_replaces_beam_centre_and_distance():
    before = experiment_of("custom", "mixed")
    after = before.replace({"detector.pix0_mm": (60.0, 70.0, -2.0)})
    np.testing.assert_allclose(placed(after).origin * 1000, (60, 70, -2), rtol=1e-12)
    assert after.detector.xbeam_mm is None and after.detector.orgy_pixels is None and after.detector.distance_mm is None


def test_images_of_replaced_experiments():
    before = experiment_of("mosflm", "org", "turned")
    image = simulate(before)
    same = before.replace(
        {name: before.value(name) for name in ("detector.xbeam_mm", "detector.ybeam_mm", "detector.distance_mm")}
    )
    np.testing.assert_allclose(simulate(same), image, rtol=1e-12)
    moved = before.replace({"detector.ybeam_mm": before.value("detector.ybeam_mm") + PIXEL_MM})
    np.testing.assert_allclose(simulate(moved)[:, 1:], image[:, :-1], rtol=1e-9)


def test_single_components_of_the_missetting():
    before = experiment_of("mosflm", more=" -misset 1 2 3")
    after = before.replace({"crystal.misset_y_deg": 7.0, "crystal.misset_z_deg": 8.0})
    assert after.crystal.misset_deg == (1.0, 7.0, 8.0)
    assert [after.value(f"crystal.misset_{axis}_deg") for axis in "xyz"] == [1.0, 7.0, 8.0]
    assert before.crystal.misset_deg == (1.0, 2.0, 3.0)


def test_random_missetting_replaced_by_its_angles():
    before = experiment_of("mosflm", more=" -misset random -misset_seed 5")
    after = before.replace({"crystal.misset_deg": before.value("crystal.misset_deg")})
    np.testing.assert_allclose(orient(after.crystal), orient(before.crystal), rtol=0, atol=1e-11)
    nudged = before.replace({"crystal.misset_x_deg": before.value("crystal.misset_x_deg") + 1})
    assert np.abs(orient(nudged.crystal) - orient(before.crystal)).max() > 0.1


def test_numbers_of_cells_together():
    after = experiment_of("mosflm").replace({"crystal.n_cells": (4, 5.5, 6)})
    assert (
        after.value("crystal.n_cells") == (4.0, 5.5, 6.0) == tuple(after.value(f"crystal.n_{axis}") for axis in "abc")
    )


@pytest.mark.parametrize(
    "name", ["crystal", "crystal.", "crystal.a", "a_A", "nothing.a_A", "detector.crystal", "", "crystal.__class__"]
)
def test_unknown_names(name):
    experiment = experiment_of("mosflm")
    with pytest.raises(InputError, match="parameter"):
        experiment.value(name)
    with pytest.raises(InputError, match="parameter"):
        experiment.replace({name: 1.0})


@pytest.mark.parametrize(
    "values", [{"crystal.a_A": -1}, {"detector.distance_mm": 0}, {"crystal.n_cells": 3}, {"beam.fluence": "x"}]
)
def test_bad_values(values):
    with pytest.raises(InputError, match=next(iter(values)).replace("n_cells", "n_")):
        experiment_of("mosflm").replace(values)


def random_matrix(seed, hand=1):
    random = np.random.default_rng(seed)
    turn, _ = np.linalg.qr(random.normal(size=(3, 3)))
    turn *= hand * np.linalg.det(turn)
    return turn @ (np.diag(random.uniform(0.01, 0.03, 3)) + np.triu(random.uniform(-0.005, 0.005, (3, 3)), 1))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("hand", [1, -1])
def test_crystal_from_a_matrix(seed, hand):
    """It has the lattice of the matrix, its cell parameters can be replaced by themselves, and misset rotates it in the
    laboratory."""
    matrix, wavelength = random_matrix(seed, hand), 1.3
    crystal = Crystal.from_matrix(matrix, wavelength)
    np.testing.assert_allclose(orient(crystal) @ (matrix / wavelength), np.eye(3), atol=1e-11)
    experiment = experiment_of("mosflm")
    experiment = type(experiment)(crystal, experiment.structure_factors)
    names = [f"crystal.{name}" for name in ("a_A", "b_A", "c_A", "alpha_deg", "beta_deg", "gamma_deg")]
    again = experiment.replace({name: experiment.value(name) for name in names})
    np.testing.assert_array_equal(orient(again.crystal), orient(crystal))
    longer = experiment.replace({"crystal.b_A": crystal.b_A * 1.1})
    np.testing.assert_allclose(orient(longer.crystal), orient(crystal) * [[1], [1.1], [1]], rtol=0, atol=1e-11)
    turned = Crystal.from_matrix(matrix, wavelength, misset_deg=(0, 0, 90))
    np.testing.assert_allclose(orient(turned), orient(crystal) @ [[0, 1, 0], [-1, 0, 0], [0, 0, 1]], rtol=0, atol=1e-11)


@pytest.mark.parametrize("cell", [(30, 40, 50, 90, 90, 90), (30, 40, 50, 75, 85, 95), (5, 200, 9, 60, 130, 100)])
def test_lattice_has_the_cell(cell):
    vectors = orient(Crystal(*cell, misset_deg=(10, 20, 30)))
    np.testing.assert_allclose(cell_of(vectors), cell, rtol=1e-12)
    star = np.linalg.inv(orient(Crystal(*cell))).T
    assert np.abs(star[0, 1:]).max() < 1e-16 and abs(star[1, 2]) < 1e-16 and np.linalg.det(vectors) > 0


def test_defect_of_c_in_the_angles_of_a_cell():
    """Lengths stay right. Angles are wrong only if two of them are oblique."""
    defects = Defects(triclinic_angles=True)
    oblique, monoclinic = Crystal(70, 80, 90, 75, 85, 95), Crystal(70, 80, 90, 90, 105, 90)
    cell = cell_of(orient(oblique, defects))
    np.testing.assert_allclose(cell[:3], (70, 80, 90), rtol=1e-12)
    assert 0.01 < np.abs(np.array(cell[3:]) - (75, 85, 95)).max() < 2
    np.testing.assert_allclose(orient(monoclinic, defects), orient(monoclinic), rtol=0, atol=1e-11)


@pytest.mark.parametrize(
    "text",
    [
        "-twotheta 100 -pivot beam",
        "-twotheta -180 -pivot beam",
        "-detector_roty 90",
        "-fdet_vector 1 0 0 -sdet_vector 2 0 0",
    ],
)
def test_impossible_places(text):
    with pytest.raises(InputError, match="detector"):
        placed(Experiment.from_args((CELL + "-xds " + text).split()))


def test_a_vector_and_one_of_its_numbers_are_not_both_replaced():
    for names in (("crystal.misset_deg", "crystal.misset_x_deg"), ("crystal.n_b", "crystal.n_cells")):
        values = {name: (1.0, 2.0, 3.0) if name in VECTORS else 5.0 for name in names}
        with pytest.raises(InputError, match=r"^replace: crystal\.\w+, crystal\.\w+ state the same numbers; allowed: crystal"):
            Experiment.from_args("-cell 50 -default_F 1".split()).replace(values)
