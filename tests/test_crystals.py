"""Several crystals in one beam: their images add up, on the command line and in Python (F7d)."""

import dataclasses
import json
import math

import numpy as np
import oracle
import pytest

import adjoint
import nbnumba
from nbnumba import Background, Crystal, Experiment, InputError, StructureFactors, convergence, dark, simulate
from nbnumba.cli.main import main
from nbnumba.cost import LATTICE_BYTES, SOURCE_BYTES, cost, samples_of_panels
from nbnumba.flags.from_experiment import NewFiles, refined_flags
from nbnumba.setup import sampling
from nbnumba.setup.crystal import orient
from nbnumba.setup.scene import panel_scenes

FLAGS = "-cell 30 40 50 80 95 100 -misset 10 20 30 -lambda 1.5 -N 5 -default_F 100 -distance 50 -detpixels 24 -pixel 1 "
FLAGS += "-fluence 1e24 -oversample 1 "
OTHER = {"misset_deg": (-40.0, 75.0, 12.0), "scale": 0.4}

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def several(flags=FLAGS, **fields):
    """Two crystals, of which the second has another orientation and scale."""
    one = Experiment.from_args(flags)
    return dataclasses.replace(one, crystal=[one.crystal, dataclasses.replace(one.crystal, **OTHER | fields)])


def test_the_image_is_the_sum_of_those_of_the_crystals_and_has_one_background():
    """By the oracle, which computes each crystal by itself."""
    wet = FLAGS + "-water 30 "
    second = FLAGS.replace("-misset 10 20 30", "-misset -40 75 12")
    expected = oracle.render(wet.split()) + 0.4 * oracle.render(second.split())
    np.testing.assert_allclose(simulate(several(wet)), expected, rtol=1e-9)
    scaled = Experiment.from_args(wet + "-xtal_scale 2.5")
    water = oracle.render(wet.split()) - oracle.render(FLAGS.split())
    np.testing.assert_allclose(simulate(scaled), 2.5 * oracle.render(FLAGS.split()) + water, rtol=1e-9)


def test_labels_add_up_to_the_image():
    experiment = several(FLAGS + "-water 30 ", n_a=7.0, shape="gauss")
    images = nbnumba.crystal_images(experiment)
    assert len(images.crystals) == 2 and all(image.max() > 0.0 for image in (*images.crystals, images.background))
    np.testing.assert_allclose(sum(images.crystals) + images.background, simulate(experiment), rtol=1e-12)
    np.testing.assert_array_equal(images.crystals[1], simulate(experiment.alone(1)))


FLAT = [{"air_mm": 500.0}, {"image": np.full((24, 24), 5.0)}, {"radial": ((0.0, 9.0), (1.0, 9.0))}]


@pytest.mark.parametrize("background", FLAT)
def test_labels_of_crystals_are_without_air_and_without_photons_that_are_added(background):
    bare = several()
    images = nbnumba.crystal_images(dataclasses.replace(bare, background=Background(**background)))
    np.testing.assert_array_equal(images.crystals[0], simulate(bare.alone(0)))
    assert images.background.min() > 0.0


def test_a_crystal_may_have_structure_factors_of_its_own():
    own = StructureFactors(default_F=200.0)
    twice, once = several(structure_factors=own), several()
    np.testing.assert_allclose(simulate(twice.alone(1)), 4.0 * simulate(once.alone(1)), rtol=1e-12)
    np.testing.assert_array_equal(simulate(twice.alone(0)), simulate(once.alone(0)))


def test_every_crystal_is_sampled_as_the_largest_needs():
    flags = FLAGS.replace("-oversample 1", "")
    flags = flags.replace("-pixel 1", "-pixel 0.1")
    large = several(flags, n_a=12.0)
    numbers = [large.alone(n).sampling.oversample for n in range(2)]
    assert numbers[0] == numbers[1] == 2  # 3 12 30 A (0.1 mm) / (1.5 A 50 mm), rounded up
    np.testing.assert_array_equal(simulate(large), simulate(large.replace({"sampling.oversample": 2})))


def test_a_tolerance_is_that_of_the_sum():
    experiment = several()
    image = simulate(experiment)
    tolerance = 0.01 * float(image.max())
    lacking = image - simulate(experiment, tolerance=tolerance)
    assert 0.0 < lacking.max() <= tolerance


def test_crystals_and_their_parameters_are_read_and_replaced_by_name():
    experiment = several()
    assert experiment.value("crystal[1].misset_deg") == OTHER["misset_deg"] and experiment.value("crystal[1].scale") == 0.4
    moved = experiment.replace({"crystal[1].misset_y_deg": 3.0, "crystal[1].n_cells": (6, 7, 8), "crystal.a_A": 31.0})
    assert moved.other_crystals[0].misset_deg == (-40.0, 3.0, 12.0) and moved.value("crystal[1].n_c") == 8.0
    assert moved.crystal.a_A == 31.0 and moved.crystals[1].a_A == 30.0
    for name in ("crystal[2].a_A", "crystal[0].a_A", "crystal[x].a_A"):
        with pytest.raises(InputError, match="is no parameter"):
            experiment.value(name)
    with pytest.raises(InputError, match=r"crystal\[1\].scale: -1 is not allowed"):
        experiment.replace({"crystal[1].scale": -1.0})


@pytest.mark.parametrize(
    "change, sentence",
    [
        ({"other_crystals": (1,)}, "other_crystals: .* is not allowed"),
        ({"sampling": nbnumba.Sampling(c_parity=frozenset({"pivot_ignored"}))}, "C knows one crystal, and there are 2"),
        ({"crystal": Crystal(50.0, structure_factors=StructureFactors(default_F=1.0))}, "the first crystal has the"),
    ],
)
def test_what_is_impossible_is_refused(change, sentence):
    with pytest.raises(InputError, match=sentence):
        dataclasses.replace(several(), **change)


def test_one_of_several_crystals():
    experiment = several()
    assert experiment.alone(1).crystals == experiment.crystals[1:2]
    with pytest.raises(InputError, match="alone: 2 is no crystal; allowed: 0 to 1"):
        experiment.alone(2)


def test_predictions_of_several_crystals_are_those_of_each():
    """One after another, with the number of the crystal; a list of reflections is one for each."""
    experiment = several()
    for hkl in (None, [[1, 2, 3], [2, 0, 1], [0, 3, 1]]):
        table = nbnumba.predict(experiment, hkl)
        parts = [nbnumba.predict(experiment.alone(number), hkl) for number in range(2)]
        assert table.crystal.tolist() == [0] * len(parts[0]) + [1] * len(parts[1]) and set(table.crystal) == {0, 1}
        for number, part in enumerate(parts):
            own = table[table.crystal == number]
            for name, column in part.columns().items():
                np.testing.assert_array_equal(getattr(own, name), number if name == "crystal" else column)


def test_the_time_of_predictions_is_that_of_all_crystals(monkeypatch):
    """Both together take twice as long as the first: what remains is too little for the second."""
    experiment = several()
    alone = nbnumba.predict(experiment.alone(0), [[1, 2, 3]])
    monkeypatch.setattr("nbnumba.predictions.PAIRS_PER_SECOND", 1.0)
    assert len(nbnumba.predict(experiment.alone(0), [[1, 2, 3]], max_hours=1.5 / 3600)) == len(alone)
    with pytest.raises(InputError, match="^predictions: 1 reflections"):
        nbnumba.predict(experiment, [[1, 2, 3]], max_hours=1.5 / 3600)


def test_a_trace_has_a_chain_for_each_crystal():
    experiment = several(FLAGS + "-water 30 ")
    chains = nbnumba.trace.traces(experiment, [(3, 4), (20, 11)])
    assert [chain.crystal for chain in chains] == [0, 1, 0, 1]
    image = simulate(experiment)
    for first, second in (chains[:2], chains[2:]):
        assert first["I_pixel_final"] + second["I_pixel_final"] == pytest.approx(image[first.slow, first.fast], rel=1e-9)
    assert chains[1]["crystal_scale"] == 0.4


def matrix_file(path, crystal, wavelength=1.5):
    np.savetxt(path, np.linalg.inv(orient(crystal)) * wavelength, fmt="%.17g")
    return str(path)


def test_lattices_of_the_command_line(tmp_path):
    """Matrices with and without a scale, beside a crystal and without one; they have the size and shape of the flags."""
    experiment, words = several(), FLAGS.split()
    names = [matrix_file(tmp_path / f"{n}.mat", crystal) for n, crystal in enumerate(experiment.crystals)]
    stated = Experiment.from_args([*words, "-lattice", names[1], "0.4"])
    np.testing.assert_allclose(simulate(stated), simulate(experiment), rtol=1e-9)
    bare = words[words.index("-lambda") :]
    alone = Experiment.from_args([*bare, "-lattice", names[0], names[1], "0.4"])
    np.testing.assert_allclose(simulate(alone), simulate(experiment), rtol=1e-9)
    assert alone.crystals[1].n_a == 5.0
    refused = [((), "no file is given"), (("0.4",), "follows no file"), ((names[0], "1", "2"), "2 numbers follow")]
    refused += [((names[0], "1", "2", "3", "4", "5"), "5 numbers follow")]
    refused += [((names[0], scale), f"-lattice: the scale '{scale}' is not allowed") for scale in ("-1", "0")]
    for wrong, sentence in refused:
        with pytest.raises(InputError, match=sentence):
            Experiment.from_args([*words, "-lattice", *wrong])


def test_all_crystals_of_a_list_of_experiments(tmp_path):
    """-expt takes one, and -lattice the others of the same file; a crystal that two experiments share counts once."""
    experiment = several()
    path = str(tmp_path / "one.expt")
    nbnumba.write_expt(path, experiment.alone(0))
    listed = json.loads((tmp_path / "one.expt").read_text())
    nbnumba.write_expt(str(tmp_path / "two.expt"), experiment.alone(1))
    listed["crystal"] += json.loads((tmp_path / "two.expt").read_text())["crystal"]
    listed["experiment"] += [listed["experiment"][0] | {"crystal": 1}] * 2
    (tmp_path / "both.expt").write_text(json.dumps(listed))
    both, rest = str(tmp_path / "both.expt"), "-N 5 -default_F 100 -fluence 1e24 -oversample 1".split()
    found = Experiment.from_args(["-expt", both, "-lattice", both, "0.4", *rest])
    assert len(found.crystals) == 2 and found.crystals[1].scale == 0.4
    np.testing.assert_allclose(simulate(found), simulate(experiment), rtol=1e-6, atol=1e-9)
    other = Experiment.from_args(["-expt", both, "-experiment", "1", "-lattice", both, *rest])
    np.testing.assert_allclose(orient(other.crystals[1]), orient(experiment.crystal), atol=1e-6)


def test_the_command_line_lists_and_maps_the_reflections_of_all_crystals(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    experiment = several()
    words = [*FLAGS.split(), "-lattice", matrix_file(tmp_path / "second.mat", experiment.crystals[1]), "0.4"]
    outputs = ["-predictions", "p.csv", "-hklmap", "m.npz", "-exptfile", "e.expt", "-seed", "1", "-quiet"]
    assert main([*words, *outputs]) == 0
    found, expected = np.load("m.npz"), nbnumba.hkl_map(Experiment.from_args(words))
    assert set(np.unique(found["crystal"])) >= {0, 1}
    assert (found["crystal"] == expected.crystal).mean() > 0.99 and (found["hkl"] == expected.hkl).mean() > 0.99
    rows = (tmp_path / "p.csv").read_text().splitlines()
    assert rows[0].endswith(",crystal") and {row.rpartition(",")[2] for row in rows[1:]} == {"0", "1"}
    assert len(json.loads((tmp_path / "e.expt").read_text())["experiment"]) == 2


def test_flags_of_a_refined_experiment_state_every_lattice(tmp_path):
    experiment = several()
    words = [*FLAGS.split(), "-lattice", matrix_file(tmp_path / "second.mat", experiment.crystals[1]), "0.4"]
    before = Experiment.from_args(words)
    refined = before.replace({"crystal[1].misset_x_deg": 0.3, "crystal[1].scale": 0.7, "crystal[1].b_A": 40.5})
    names = ["crystal[1].misset_x_deg", "crystal[1].scale", "crystal[1].b_A"]
    restated = Experiment.from_args(refined_flags(words, refined, names, NewFiles(str(tmp_path / "refined"))))
    np.testing.assert_allclose(orient(restated.crystals[1]), orient(refined.crystals[1]), rtol=1e-9, atol=1e-12)
    assert restated.crystals[1].scale == 0.7
    with pytest.warns(UserWarning, match=r"the refined crystal\[1\].n_a is 6.5, and no flag states it"):
        refined_flags(words, refined.replace({"crystal[1].n_a": 6.5}), names, NewFiles(str(tmp_path / "more")))


def test_off_diagonal_numbers_of_cells_make_oblique_spots():
    """A Gaussian spot is what the determinant and the matrix of F8f say, also where terms are left out (F10a)."""
    flags = FLAGS.replace("-N 5", "-N_abc 5.5 6 7 -N_def 1.5 -2 0.5 -gauss_xtal")
    image = simulate(Experiment.from_args(flags))
    np.testing.assert_allclose(image, oracle.render(flags.split()), rtol=1e-9, atol=1e-12 * image.max())
    assert math.isclose(float(np.linalg.det(Experiment.from_args(flags).crystal.cells)), 188.75, rel_tol=1e-9)


@pytest.mark.parametrize("more", ["", "-bfactor_aniso 9 -4 3 2 -6 5 -gauss_xtal ", "-water 9 "])
def test_b_factors_weaken_amplitudes_by_their_resolution(more):
    words = (FLAGS + "-bfactor 30 " + more).split()
    image, ordered = simulate(Experiment.from_args(words)), simulate(Experiment.from_args(FLAGS.split()))
    np.testing.assert_allclose(image, oracle.render(words), rtol=1e-9, atol=1e-12 * image.max())
    if not more:
        q = nbnumba.scattering_vectors(Experiment.from_args(words))
        np.testing.assert_allclose(image, ordered * np.exp(-30.0 * (q**2).sum(axis=-1) / 2.0), rtol=1e-9)


@pytest.mark.parametrize("precision", ["double", "mixed", "single"])
@pytest.mark.parametrize("more", ["-oversample 2", "-oversample 1 -c_parity water_scale"])
def test_water_stays_where_a_b_factor_leaves_nothing_of_a_crystal(more, precision):
    """The samples of a factor that is 0 as a number are none that dmin leaves out, whose polarization is another one (F10)."""
    words = "-cell 30 40 50 90 90 90 -lambda 1 -N 5 -distance 50 -detpixels 40 -pixel 3 -fluence 1e26 -water 10 -polar 0.9 "
    water = simulate(Experiment.from_args(words + more + " -default_F 1e-30"), precision=precision)
    image = simulate(Experiment.from_args(words + more + " -default_F 1e-3 -bfactor 20000"), precision=precision)
    np.testing.assert_allclose(image, water, rtol=1e-5)


def test_an_isotropic_b_factor_is_an_anisotropic_one_by_the_cosines_of_the_reciprocal_angles():
    flags = FLAGS + "-bfactor 30 "
    isotropic = Experiment.from_args(flags)
    star = np.linalg.inv(orient(isotropic.crystal)).T
    cosines = 20.0 * star @ star.T / np.outer(*[np.linalg.norm(star, axis=1)] * 2)
    elements = [cosines[i, j] for i, j in ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))]
    anisotropic = Experiment.from_args([*(FLAGS + "-bfactor 10 -bfactor_aniso").split(), *map(repr, map(float, elements))])
    np.testing.assert_allclose(simulate(anisotropic), simulate(isotropic), rtol=1e-9)


def test_b_factors_by_which_reflections_would_grow_are_refused():
    with pytest.raises(InputError, match="-bfactor_aniso: 0 0 0 9 0 0 beside an isotropic one of 5 are not allowed"):
        Experiment.from_args(FLAGS + "-bfactor 5 -bfactor_aniso 0 0 0 9 0 0")
    with pytest.raises(InputError, match="-bfactor"):
        Experiment.from_args(FLAGS + "-bfactor -5")


@pytest.mark.parametrize("more", ["-mosaic_abc 2 9 1 ", "-mosaic 1 -mosaic_abc 0 0 5 -phi 10 -osc 30 -phisteps 3 "])
def test_domains_are_turned_about_axes_of_the_crystal(more):
    words = (FLAGS + more + "-mosaic_domains 4").split()
    image = simulate(Experiment.from_args(words))
    np.testing.assert_allclose(image, oracle.render(words), rtol=1e-7, atol=1e-9 * image.max())


def test_domains_turn_with_the_crystal():
    """A turn about the spindle is a turn of the whole crystal, domains included."""
    flags = FLAGS.replace("-misset 10 20 30", "-misset 0 0 0") + "-mosaic_abc 2 9 1 -mosaic_domains 4 "
    by_phi = simulate(Experiment.from_args(flags + "-phi 40"))
    np.testing.assert_allclose(by_phi, simulate(Experiment.from_args(flags.replace("0 0 0 -l", "0 0 40 -l"))), rtol=1e-8)


def test_equal_spreads_turn_domains_as_far_as_an_isotropic_one():
    flags = FLAGS.replace("-misset 10 20 30", "-misset 0 0 0") + "-mosaic_domains 4 "
    own, isotropic = (Experiment.from_args(flags + words) for words in ("-mosaic_abc 3 3 3", "-mosaic 3"))
    np.testing.assert_allclose(simulate(own), simulate(isotropic), rtol=1e-8)


def test_no_crystal_asks_for_any_number_of_sub_pixels():
    large = several(FLAGS.replace("-oversample 1", "-roi 0 0 0 0"), n_a=1e5)
    with pytest.raises(InputError, match="sampling.oversample: .* ask for 12000. sub-pixels .* at most 1000"):
        simulate(large)
    assert "12000" in str(large)  # The table shows what is asked for.


def test_crystals_share_the_memory_of_images_and_of_equal_structure_factors():
    """Of any number of crystals there are two images at once, and one box for all that have the same structure factors."""
    listed = StructureFactors(hkl=[[0, 0, 0], [49, 49, 49]], F=[1.0, 2.0])
    one = dataclasses.replace(Experiment.from_args(FLAGS.replace("-detpixels 24", "-detpixels 4000")), structure_factors=listed)
    few, many = (dataclasses.replace(one, crystal=[one.crystal] * count) for count in (2, 1000))
    image, scene = 8 * 4000**2, LATTICE_BYTES + SOURCE_BYTES
    assert cost(few).bytes == cost(one).bytes + image + scene
    assert cost(many).bytes == cost(few).bytes + 998 * scene
    own = dataclasses.replace(one.crystal, structure_factors=StructureFactors(hkl=[[1, 2, 3]], F=[5.0]))
    narrow = dataclasses.replace(one.crystal, n_a=1.0)
    small = {"detector.pixels": (8, 8)}
    mixed = dataclasses.replace(one.replace(small), crystal=[one.crystal, own, one.crystal, narrow])
    boxes = [panel.scene.structure for panel in panel_scenes(mixed)]
    assert boxes[0].amplitude is boxes[2].amplitude is boxes[3].amplitude
    assert [box.interpolate for box in boxes] == [False, False, False, True]
    assert boxes[1].amplitude.tolist() == [5.0, 0.0]


def test_what_is_said_is_about_every_crystal():
    stated = several(n_a=50.0, mosaic_spread_deg=1.0, mosaic_domains=4)
    doubled = {one.name: one for one in convergence.doublings(stated)}
    assert (doubled["domains"].before, doubled["domains"].after) == (4, 8)
    assert [crystal.mosaic_domains for crystal in doubled["domains"].experiment.crystals] == [None, 8]
    assert sampling.too_coarse(stated) == sampling.too_coarse(stated.alone(1)) != sampling.too_coarse(stated.alone(0))
    chosen = stated.replace({"sampling.oversample": None})
    assert samples_of_panels(chosen)[0][0] == chosen.alone(1).sampling.oversample > 1
    assert doubled["sub-pixels"].before == 1


def test_an_image_is_dark_for_a_reason_of_every_crystal():
    """The amplitudes of the first crystal are 0, and the second lists a reflection that lies beyond the region."""
    none, far = StructureFactors(hkl=[[1, 2, 3]], F=[0.0]), StructureFactors(hkl=[[90, 0, 0]], F=[100.0])
    both = dataclasses.replace(several(structure_factors=far), structure_factors=none)
    causes = [dark.sentence(both.alone(number)).removeprefix("the image is 0 everywhere: ") for number in range(2)]
    assert "every amplitude" in causes[0] and "begin at" in causes[1]
    assert dark.sentence(both) == f"the image is 0 everywhere: {causes[0]}; {causes[1]}"
    lit = dataclasses.replace(both, crystal=[both.crystal, dataclasses.replace(both.crystal, structure_factors=none_but_one())])
    assert "every amplitude" not in dark.sentence(lit)
    assert "list of 1" in str(both) and "1 reflections" in str(both)


def none_but_one():
    """Structure factors of a reflection that the region sees."""
    return StructureFactors(hkl=[[1, 2, 3]], F=[100.0])


@pytest.mark.parametrize("spread", [0.0, 0.03])
def test_an_isotropic_b_factor_does_not_change_where_anisotropic_ones_leave_0(spread):
    flags = "-cell 30 40 50 -N 8 -default_F 100 -distance 50 -detpixels 40 -pixel 1 -fluence 1e26 -oversample 1 -bfactor 20 "
    experiment = Experiment.from_args((flags + f"-cell_spread {spread:g} {spread:g} 0 -mosaic_domains 5 -mosaic 0.1").split())
    image, next_to_it = simulate(experiment), simulate(experiment.replace({"crystal.b_11_A2": 1e-9}))
    np.testing.assert_allclose(next_to_it, image, rtol=1e-9)


def test_derivatives_by_a_spread_of_the_cell_that_is_0_are_those_beside_one():
    """With B factors, too, of which the spread changes what they mean: along all directions at once."""
    flags = "-cell 30 40 50 80 95 100 -N 8 -default_F 100 -distance 50 -detpixels 20 -pixel 1 -fluence 1e26 -oversample 1 "
    flags += "-gauss_xtal -bfactor 20 -mosaic_domains 5 -mosaic 0.1"
    experiment, names = Experiment.from_args(flags.split()), ["crystal.cell_spread_a", "crystal.b_factor_A2"]
    jacobian = adjoint.jacobian(experiment, names)[1]
    step = 1e-6
    for moves in ((1.0, 0.0), (1.0, 100.0)):
        ways = ({n: experiment.value(n) + k * step * m for n, m in zip(names, moves)} for k in (1, 2))
        images = [simulate(experiment.replace(way)) for way in ways]
        slope = (4.0 * images[0] - images[1] - 3.0 * simulate(experiment)) / (2.0 * step)
        assert np.abs(slope - jacobian @ moves).max() <= 3e-6 * np.abs(slope).max()
