"""Structure factors of many simulated shots: right, with uncertainties that hold, and the same after an interruption."""

import shutil

import numpy as np
import pytest
import shots_problem as problem

import adjoint
from adjoint import merge
from adjoint.merge import State, _verdict
from adjoint.merging import shots, solution
from adjoint.merging.statistics import Columns, Shell, shells_of
from adjoint.merging.unique import ABSENT, unique_of
from nbnumba import InputError, StructureFactors
from nbnumba.formats.symmetry import group_named, of_space_group

SYMMETRY = of_space_group(group_named(problem.GROUP))
NAMES = adjoint.default_shot_parameters("orthorhombic")

pytestmark = pytest.mark.filterwarnings("ignore:sampling.oversample")


def merged(experiments, data, **keywords):
    keywords = {"resolution_A": 2.0, "parameters": NAMES, "friedel_apart": True} | keywords
    return adjoint.merge_shots(problem.shots_of(experiments, data), problem.CELL, SYMMETRY, **keywords)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Stills, their images, a spoiled start, and what follows from these, with the folder of the work."""
    truth, data, random = problem.stills(tmp_path_factory.mktemp("shots"), 3, 30)
    start = problem.spoiled(truth, random)
    folder = tmp_path_factory.mktemp("work")
    return truth, data, start, merged(start, data, folder=folder), folder


def averaged(truth, data, unique, shot_boxes):
    """What summing the photons of spots and averaging over shots gives, with the true scales (u,)."""
    total, count = np.zeros((2, len(unique.hkl)))
    for experiment, (boxes, number) in zip(truth, shot_boxes):
        level = np.median(boxes.data)
        np.add.at(total, number, boxes.sums(boxes.data - level) / experiment.crystal.scale)
        np.add.at(count, number, 1.0)
    return np.sqrt(np.maximum(total / np.maximum(count, 1.0), 0.0))


def test_amplitudes_are_true_and_better_than_averages(made):
    truth, data, _, result, folder = made
    known = np.isfinite(result.F) & (result.multiplicity >= 2)
    true = problem.true_amplitudes(truth, result.unique.hkl)
    correlation, r, scale = problem.compared(result.F[known], true[known])
    pulls = (scale * result.F - true)[known] / (scale * result.sigma_F[known])
    assert result.success and known.sum() > 250
    assert correlation > 0.999 and r < 0.02
    assert 0.85 < np.sqrt(np.mean(pulls**2)) < 1.2
    assert 0.9 < result.chi_squared < 1.1
    mean = averaged(truth, data, result.unique, [shots.load_boxes(folder, number, 1) for number in range(len(data))])
    assert r < 0.1 * problem.compared(mean[known], true[known])[1]


def test_shots_are_where_they_were(made):
    truth, _, start, result, _ = made
    for true, began, ended in zip(truth, start, result.experiments):
        for name in ("crystal.misset_x_deg", "crystal.misset_y_deg", "crystal.a_A", "crystal.c_A"):
            off = abs(ended.value(name) - true.value(name))
            assert off < 0.3 * abs(began.value(name) - true.value(name)) + (0.01 if name.endswith("deg") else 0.005)
    scales = np.array([[one.crystal.scale for one in some] for some in (truth, result.experiments)])
    assert np.corrcoef(np.log(scales))[0, 1] > 0.99
    assert np.mean(np.log(scales[1])) == pytest.approx(0.0, abs=1e-9)


def test_halves_and_anomalous_differences(made):
    truth, _, _, result, _ = made
    whole = result.shells[-1]
    assert whole.cc_half > 0.99 and 0.8 < whole.ratio < 1.3
    assert whole.possible == len(result.unique.hkl) and 0.3 < whole.completeness < 1.0
    plus, minus = result.unique.mates()
    both = np.isfinite(result.F[plus]) & np.isfinite(result.F[minus])
    both &= (result.multiplicity[plus] >= 2) & (result.multiplicity[minus] >= 2)
    true = problem.true_amplitudes(truth, result.unique.hkl)
    differences = [(values[plus] - values[minus])[both] for values in (result.F, true)]
    assert both.sum() > 30 and np.corrcoef(differences)[0, 1] > 0.9


@pytest.mark.long
def test_mates_that_differ_are_not_one(made):
    """Where Friedel mates are merged that differ, halves of the shots do, too, and the result says so."""
    truth, data, start, _, _ = made
    result = merged(start[:20], data[:20], friedel_apart=False)
    assert result.chi_squared > 1.02 and result.shells[-1].ratio > 2.0
    assert any("halves of the shots differ" in line for line in result.diagnosis)
    assert (result.half_sigma[np.isfinite(result.sigma)] > result.sigma[np.isfinite(result.sigma)]).mean() > 0.5


def test_a_background_that_is_stated_changes_nothing(made):
    """What backgrounds are is determined in each box: the water of the experiment is no part of the crystal's photons."""
    _, data, start, _, _ = made
    wet = [experiment.replace({"background.water_um": 0.1}) for experiment in start[:2]]
    without, with_water = (merged(some, data[:2], resolution_A=3.0).intensity for some in (start[:2], wet))
    np.testing.assert_array_equal(without, with_water)


def test_the_same_after_an_interruption(made, tmp_path):
    """Bit for bit, wherever it was killed, and whatever runs it; and not with other shots."""
    truth, data, start, _, _ = made
    whole = merged(start[:4], data[:4])

    class Killed(Exception):
        pass

    def killed_after(count):
        left = [count]

        def run(function, tasks):
            for task in tasks:
                if not left[0]:
                    raise Killed
                left[0] -= 1
                yield function(*task)

        return run

    for count in (3, 11):
        with pytest.raises(Killed):
            merged(start[:4], data[:4], folder=tmp_path / "work", run=killed_after(count))
    again = merged(start[:4], data[:4], folder=tmp_path / "work", run=lambda function, tasks: list(map(function, *zip(*tasks))))
    np.testing.assert_array_equal(again.intensity, whole.intensity)
    np.testing.assert_array_equal(again.half_sigmas, whole.half_sigmas)
    assert again.experiments == whole.experiments
    with pytest.raises(InputError, match=r"^folder: .* is not allowed: it holds the work on other shots"):
        merged(start[:3], data[:3], folder=tmp_path / "work")
    listed = StructureFactors(hkl=[[1, 2, 3], [2, 2, 2]], F=[3.0, 4.0])
    other = StructureFactors(hkl=[[1, 2, 3], [2, 2, 2]], F=[3.0, 5.0])
    with pytest.raises(Killed):
        merged(start[:4], data[:4], folder=tmp_path / "listed", run=killed_after(2), amplitudes=listed)
    with pytest.raises(InputError, match=r"^folder: .* with other arguments"):
        merged(start[:4], data[:4], folder=tmp_path / "listed", amplitudes=other)


def test_a_folder_that_was_emptied_is_read_anew(tmp_path):
    """What a process remembers of a folder is what its files hold, also if they are others of the same names."""
    for resolution_A, value in ((3.0, 2.0), (2.5, 5.0)):
        unique = unique_of(problem.CELL, SYMMETRY, resolution_A, False)
        shutil.rmtree(tmp_path / "work", ignore_errors=True)
        shots.folder_of(tmp_path / "work", 0).mkdir(parents=True)
        shots.keep_unique(tmp_path / "work", unique)
        amplitudes = np.full(len(unique.hkl), value)
        np.savez(shots.folder_of(tmp_path / "work", 0) / "amplitudes.npz", amplitudes=amplitudes, changes=0.0 * amplitudes)
        found, listed, changes = shots.list_of(tmp_path / "work", 0)
        assert len(found.hkl) == len(unique.hkl) == len(changes) and (listed.F == value).all()


@pytest.mark.long
def test_blank_and_foreign_shots_are_named_and_left_out(made):
    truth, data, start, _, _ = made
    random = np.random.default_rng(5)
    images = list(data[:16])
    images[3] = random.poisson(np.full(images[3].shape, 1.0)).astype(np.float64)
    images[7] = data[20]
    images[9] = np.full(images[9].shape, np.nan)
    result = merged(start[:16], images)
    assert set(result.left_out) == {"3", "7", "9"}
    assert result.experiments[3] is None and result.experiments[4] is not None
    assert any("3 of 16 shots are left out" in line for line in result.diagnosis)
    true = problem.true_amplitudes(truth, result.unique.hkl)
    known = np.isfinite(result.F) & (result.multiplicity >= 2)
    assert problem.compared(result.F[known], true[known])[0] > 0.995


@pytest.mark.long
def test_noise_alone_is_no_success(made):
    _, data, start, _, _ = made
    random = np.random.default_rng(6)
    noise = [random.poisson(np.full(image.shape, 3.0)).astype(np.float64) for image in data[:10]]
    try:
        result = merged(start[:10], noise)
    except InputError as error:
        assert "none is left" in str(error)
    else:
        assert not result.success


# ------------------------------------------------------------------------------------------------ parts


def test_unique_reflections():
    unique = unique_of(problem.CELL, SYMMETRY, 2.5, False)
    apart = unique_of(problem.CELL, SYMMETRY, 2.5, True)
    import gemmi

    miller = gemmi.make_miller_array(gemmi.UnitCell(*problem.CELL), gemmi.SpaceGroup(problem.GROUP), 2.5, unique=True)
    miller = miller[~np.array([gemmi.SpaceGroup(problem.GROUP).operations().is_systematically_absent(list(h)) for h in miller])]
    assert len(unique.hkl) == len(miller)
    numbers = unique.number_of(miller)
    assert sorted(numbers) == list(range(len(miller)))
    assert (unique.number_of(miller * [-1, 1, -1]) == numbers).all() and (unique.number_of(-miller) == numbers).all()
    general = ~unique.centric[numbers]
    assert (apart.number_of(-miller)[general] != apart.number_of(miller)[general]).all()
    assert (apart.number_of(-miller)[~general] == apart.number_of(miller)[~general]).all()
    assert unique.number_of(np.array([[1, 0, 0], [40, 0, 0]])).tolist() == [ABSENT, ABSENT]
    plus, minus = apart.mates()
    assert len(plus) == general.sum() and (apart.number_of(-apart.hkl[plus]) == minus).all()
    listed = apart.listed(np.arange(len(apart.hkl), dtype=float))
    assert isinstance(listed, StructureFactors)
    np.testing.assert_array_equal(listed.F, apart.number_of(listed.hkl))


def random_blocks(folder, count, boxes, factors, p=4):
    """Blocks of random shots, as their files, and the dense matrix and right side of all factors and numbers."""
    random = np.random.default_rng(8)
    shots.folder_of(folder, 0).mkdir(parents=True)
    size = factors + count * p
    matrix, right = np.zeros((size, size)), np.zeros(size)
    for shot in range(count):
        number = random.integers(0, factors, boxes)
        derivative = random.normal(size=(3 * boxes, p + boxes)) * np.concatenate([np.ones(p), np.full(boxes, 3.0)])
        derivative[:, p:] *= np.repeat(np.eye(boxes), 3, axis=0)
        residual = random.normal(size=3 * boxes)
        whole, slope = derivative.T @ derivative, derivative.T @ residual
        shots.Block(
            random.normal(size=p), 1.0, 3 * boxes, 1.0, 0.0, number, slope[:p], whole[:p, :p], slope[p:], np.diag(whole)[p:],
            whole[p:, :p], np.full(boxes, 1e9),
        ).save(shots.block_path(folder, 0, shot))  # fmt: skip
        places = np.concatenate([factors + shot * p + np.arange(p), number])
        np.add.at(matrix, (places[:, None], places), whole)
        np.add.at(right, places, slope)
    return matrix, right


def test_the_solution_is_that_of_the_whole_matrix(tmp_path):
    """Conjugate gradients after elimination give the step of all numbers; variances are nearly those of the inverse."""
    matrix, right = random_blocks(tmp_path, 12, 25, 40)
    blocks = solution.Blocks(tmp_path, 0, range(12), 40)
    sums = solution.equations(blocks, np.ones(40))
    none = np.zeros((0, 40))
    step = solution.solved(sums, none, np.ones(40, dtype=bool))
    expected = np.linalg.solve(matrix, right)
    np.testing.assert_allclose(step, expected[:40], rtol=1e-3, atol=1e-3 * np.abs(expected[:40]).max())
    variances = np.diag(np.linalg.inv(matrix))[:40]
    np.testing.assert_allclose(solution.variances(blocks, sums), variances, rtol=0.1)
    for shot in range(12):
        block = shots.Block.load(shots.block_path(tmp_path, 0, shot))
        followed = block.inverse(0.0) @ (block.gradient - block.across.T @ step[block.number])
        np.testing.assert_allclose(followed, expected[40 + 4 * shot : 44 + 4 * shot], rtol=1e-2, atol=1e-3)


def test_factors_that_are_held_do_not_change(tmp_path):
    random_blocks(tmp_path, 6, 20, 30)
    blocks = solution.Blocks(tmp_path, 0, range(6), 30)
    free = np.arange(30) % 3 > 0
    common = np.ones((1, 30))
    sums = solution.equations(blocks, np.ones(30))
    step = solution.solved(sums, common, free)
    assert (step[~free] == 0.0).all() and np.abs(step[free]).min() > 0.0


def test_shells():
    random = np.random.default_rng(0)
    truth = random.exponential(size=400)
    halves = truth + 0.1 * random.normal(size=(2, 400))
    sigmas = np.full((2, 400), 0.1)
    sigmas[0, :7] = np.inf
    ends, mates = np.linspace(8.0, 2.0, 400), (np.zeros(0, int),) * 2
    found = shells_of(Columns(ends, np.full(400, 5.0), truth, np.full(400, 0.07), halves, sigmas, mates), np.ones(400))
    assert len(found) == 11 and [found[0].low_A, found[-1].high_A] == [8.0, 2.0]
    whole = found[-1]
    one, two = halves[:, 7:]
    assert whole.cc_half == pytest.approx(np.corrcoef(one, two)[0, 1])
    assert whole.r_split == pytest.approx(np.sqrt(0.5) * np.abs(one - two).sum() / (0.5 * (one + two).sum()))
    assert whole.ratio == pytest.approx(1.0, abs=0.1) and np.isnan(whole.cc_anomalous)


@pytest.mark.parametrize(
    "keywords, words",
    [
        ({"parameters": ["crystal.a_A"]}, "parameters: crystal.scale is not among them"),
        ({"restraints": {"crystal.gamma_deg": (None, 1.0)}}, "restraints: 'crystal.gamma_deg' is not refined"),
        ({"restraints": {"crystal.a_A": (None, 0.0)}}, "restraints: sigma of crystal.a_A is 0"),
        ({"resolution_A": 0.0}, "resolution_A: 0 is not allowed"),
        ({"readout_noise": -1.0}, "readout_noise: -1 is not allowed"),
        ({"amplitudes": StructureFactors(default_F=1.0)}, "amplitudes: there is no list"),
    ],
)
def test_what_is_refused(made, keywords, words):
    with pytest.raises(InputError) as error:
        merged(made[2][:2], made[1][:2], **keywords)
    assert str(error.value).startswith(words)


def test_shots_that_are_none_are_refused():
    for wrong in ([], None, [3]):
        with pytest.raises(InputError, match=r"^shots: .* allowed: adjoint.SeriesImages"):
            adjoint.merge_shots(wrong, problem.CELL, SYMMETRY, resolution_A=2.0, parameters=NAMES)
    assert merge.BELIEVED


@pytest.mark.parametrize(
    ("chi_squared", "ratio", "cc_half", "says"),
    [
        (1.2, 1.1, 0.9, ""),
        (9.0, 1.1, 0.9, ""),
        (24.7, 2.9, 0.6, "the model does not fit (reduced chi squared 24.7)"),
        (1.2, 4.5, 0.9, "halves differ 4.5 times"),
        (1.2, 1.1, 0.2, "halves of the shots do not agree"),
    ],
)
def test_what_converged_may_still_be_wrong(chi_squared, ratio, cc_half, says):
    whole = Shell(10.0, 2.0, 100, 100, 5.0, 10.0, cc_half, 0.1, ratio, float("nan"))
    success, message, diagnosis = _verdict(State(ended="converged"), [whole], chi_squared, {}, 10)
    assert success == (not says) and says in message
    assert bool(diagnosis) == (chi_squared > 1.5 or ratio > 1.5)


def test_few_shots_are_said():
    """Two shots agree with each other more easily than they are right."""
    whole = Shell(10.0, 2.0, 100, 100, 5.0, 10.0, 0.9, 0.1, 1.1, float("nan"))
    for count, left_out, few in ((2, {}, True), (5, {}, True), (6, {}, False), (7, {"a": "dark", "b": "dark"}, True)):
        success, _, diagnosis = _verdict(State(ended="converged"), [whole], 1.1, left_out, count)
        assert success and any(f"so few shots ({count - len(left_out)})" in line for line in diagnosis) == few
