"""Series of images: unknowns, shoeboxes, normal equations without backgrounds and factors, figures, verdict (S1 to S9)."""

import numpy as np
import panelled
import pytest
import series_problems as problems

from adjoint.refine_series import refine_series
from adjoint.series import errors, figures, reduction, stages
from adjoint.series.reduction import Fitted, Rules
from adjoint.series.reflections import Reflections
from adjoint.series.search import Restraints
from adjoint.series.shoeboxes import shoeboxes
from adjoint.series.stages import Setting, problem_of
from adjoint.series.unknowns import unknowns
from nbnumba import InputError, simulate
from nbnumba.backends import machine
from nbnumba.setup.sheet import sheet_of

pytestmark = pytest.mark.filterwarnings("ignore:sampling.oversample")


# ------------------------------------------------------------------------------------------------ unknowns


@pytest.mark.parametrize("images", [1, 2, 3, 9, 30])
def test_shares_of_splines(images):
    """They sum to 1, and a drift that is linear in phi is met exactly by coefficients that lie on the line."""
    phi = 0.1 + 0.5 * np.arange(images)
    made = problems.experiments(np.random.default_rng(0), images=1)[0]
    refined = unknowns(made, phi, ["crystal.misset_deg", "crystal.a_A", "crystal.scale"], knots_deg=2.0)
    assert [block.variable.key for block in refined.blocks] == ["crystal.misset_deg", "crystal.a_A", "crystal.scale"]
    turn, cell, scale = refined.blocks
    assert cell.shares.shape == (images, 1) and turn.shares.shape == scale.shares.shape
    np.testing.assert_allclose(turn.shares.sum(axis=1), 1.0, rtol=1e-12)
    assert len(refined.labels()) == len(refined.units()) == refined.count == 4 * len(turn.at) + 1
    assert len(set(refined.labels())) == refined.count
    if len(turn.at) > 1:
        places = np.array([float(where.split()[1].rstrip(")")) for where in turn.at])
        np.testing.assert_allclose(turn.shares @ places, phi, atol=0.01)  # labels are rounded to 0.01 degrees
    vector = np.arange(refined.count, dtype=np.float64)
    for image in (0, images - 1):
        expected = [turn.shares[image] @ vector[axis : 3 * len(turn.at) : 3] for axis in range(3)]
        np.testing.assert_allclose(refined.of_image(vector, image)[:3], expected, rtol=1e-12)


def test_own_and_shared_numbers():
    made = problems.experiments(np.random.default_rng(0), images=1)[0]
    names = ["crystal.misset_deg", "crystal.scale", "crystal.n_a"]
    refined = unknowns(made, [0.0, 4.0, 8.0], names, 2.0, own=["crystal.misset_deg"], shared=["crystal.scale"])
    assert refined.labels()[:4] == [f"crystal.misset_deg[{a}] (image {n})" for n, a in ((1, 0), (1, 1), (1, 2), (2, 0))]
    assert refined.labels()[-2:] == ["crystal.scale", "crystal.n_a"]
    np.testing.assert_array_equal(refined.of_image(np.arange(11.0), 1), [3.0, 4.0, 5.0, 9.0, 10.0])
    assert refined.indices("crystal.misset_deg").tolist() == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]
    with pytest.raises(InputError, match="own: .*crystal.a_A"):
        unknowns(made, [0.0], names, 2.0, own=["crystal.a_A"])


# ------------------------------------------------------------------------------------------------ shoeboxes


def reflections(fast, slow, panel=None):
    """Reflections at some places."""
    count, zeros = len(fast), np.zeros(len(fast))
    panel = np.zeros(count, dtype=int) if panel is None else np.array(panel)
    hkl = np.stack([np.arange(count) + 1] * 3, axis=1)
    ones = np.ones(count)
    of_image = np.full(count, -1), zeros
    return Reflections(hkl, panel, np.array(fast), np.array(slow), zeros, ones, ones, np.ones((count, 3)), ones, *of_image)


def test_pixels_belong_to_the_nearest_reflection():
    made = problems.experiments(np.random.default_rng(0), images=1, pixels=60)[0]
    data = np.arange(3600, dtype=np.float64).reshape(60, 60)
    data[20, 18] = np.nan
    spots = reflections([20.3, 26.1, 0.5, 200.0], [20.2, 20.2, 30.0, 30.0])
    boxes = shoeboxes(sheet_of(made.detector), data, spots, np.arange(4), np.full((4, 2), 4.0))
    assert boxes.reflection.tolist() == [0, 1, 2]
    pixels = boxes.rows * 60 + boxes.columns
    assert len(set(pixels.tolist())) == len(pixels)
    np.testing.assert_array_equal(boxes.data, data[boxes.rows, boxes.columns])
    assert 20 * 60 + 18 not in pixels
    mine = boxes.reflection[boxes.box]
    away = np.hypot(boxes.columns + 0.5 - spots.fast[mine], boxes.rows + 0.5 - spots.slow[mine])
    both = (mine < 2) & (np.abs(boxes.rows + 0.5 - 20.2) <= 4.0)
    other = np.hypot(boxes.columns + 0.5 - spots.fast[1 - mine * both], boxes.rows + 0.5 - spots.slow[1 - mine * both])
    assert (away[both] <= other[both]).all() and both.any()
    assert (boxes.columns[mine == 2] >= 0).all() and boxes.columns[mine == 2].min() == 0
    np.testing.assert_allclose(boxes.fast, boxes.columns + 0.5 - spots.fast[mine], atol=1e-12)
    assert boxes.sums(np.ones(len(pixels))).sum() == len(pixels)


def test_small_and_empty_boxes_are_left_out():
    made = problems.experiments(np.random.default_rng(0), images=1, pixels=60)[0]
    data = np.full((60, 60), np.nan)
    data[18:20, 18:22] = 1.0
    spots = reflections([20.0], [20.0])
    empty = shoeboxes(sheet_of(made.detector), data, spots, np.arange(1), np.full((1, 2), 5.0))
    assert len(empty.data) == len(empty.starts) == 0
    data[20, 20] = 1.0
    assert len(shoeboxes(sheet_of(made.detector), data, spots, np.arange(1), np.full((1, 2), 5.0)).data) == 9


def test_boxes_stay_on_their_panel():
    detector = panelled.experiment(1, ((20, 30), (25, 10))).detector
    sheet = sheet_of(detector)
    spots = reflections([28.0, 5.0], [18.5, 1.0], [0, 1])
    boxes = shoeboxes(sheet, np.ones(sheet.shape), spots, np.arange(2), np.full((2, 2), 4.0))
    places = list(sheet.places())
    for number in range(2):
        rows, columns = boxes.rows[boxes.reflection[boxes.box] == number], boxes.columns[boxes.reflection[boxes.box] == number]
        slow, fast = sheet.shapes[number]
        first = (places[number][0].start or 0, places[number][1].start or 0)
        assert rows.min() >= first[0] and rows.max() < first[0] + slow
        assert columns.min() >= first[1] and columns.max() < first[1] + fast


# ------------------------------------------------------------------------------------------------ normal equations


def small_problem(plane=False, free_factors=True, readout=0.0, seed=3, background=2.0, photons=60.0, start=0.3, changed=None):
    """A problem with its point, and what it is made of, 30 % of a usual start off."""
    made, data, random = problems.series(seed, background, photons, images=3, pixels=220, changed=changed)
    begun = problems.spoiled(made, random, start) if start else made
    names = [
        "crystal.misset_deg",
        "crystal.a_A",
        "crystal.c_A",
        "detector.xbeam_mm",
        "crystal.n_b",
        "crystal.mosaic_a_deg",
        "crystal.scale",
    ]
    refined = unknowns(begun[1], [stages.middle_of(e) for e in begun], names, 0.5)
    weights = np.zeros(refined.count)
    weights[refined.indices("crystal.scale").ravel()] = 25.0
    x = np.concatenate([np.tile(problems.pack(begun[1], [b.variable.key]), len(b.at)) for b in refined.blocks])
    rules, restraints = Rules(readout, 0.0, 4.0, plane), Restraints(x + 0.01, weights)
    setting = Setting(
        problems.images_of(begun, data), refined, rules, restraints, free_factors, 0.1, None, machine("cpu", "double")
    )
    found, _ = stages.reflections_of(begun, 0.3)
    half = np.full((len(found.hkl), 2), 5.0)
    problem = problem_of(setting, begun, found, half, 0.1, rules, np.ones(3, dtype=bool))
    return problem, x, setting, made


def dense(problem, point):
    """The whole Jacobian (pixels, numbers + factors + background terms), residuals and weights, of all images in one."""
    rows, residuals, weights, first = [], [], [], 0
    n, m = problem.unknowns.count, problem.reflections
    terms_of_box = 3 if problem.rules.plane else 1
    total = sum(len(model.boxes.starts) for model in problem.models) * terms_of_box
    for number, model in enumerate(problem.models):
        boxes = model.boxes
        image, derivative = model.photons(problem.matrices[number] @ point.x)
        part = np.zeros((len(boxes.data), n + m + total))
        factor = point.factors[boxes.reflection][boxes.box]
        part[:, :n] = (derivative * factor[:, np.newaxis]) @ problem.matrices[number]
        part[np.arange(len(image)), n + boxes.reflection[boxes.box]] = image
        terms = np.stack([np.ones(len(image)), boxes.fast, boxes.slow], axis=1)[:, :terms_of_box]
        for column in range(terms_of_box):
            part[np.arange(len(image)), n + m + first + boxes.box * terms_of_box + column] = terms[:, column]
        first += len(boxes.starts) * terms_of_box
        rows.append(part)
        residuals.append(boxes.data - point.fitted[number].mean)
        weights.append(point.weight[number])
    return np.concatenate(rows), np.concatenate(residuals), np.concatenate(weights)


@pytest.mark.parametrize("plane", [False, True])
@pytest.mark.parametrize("free_factors", [True, False])
def test_elimination_is_the_joint_solution(plane, free_factors):
    """The step is that of the least squares with all backgrounds and factors among the unknowns, and so is the information."""
    problem, x, _, _ = small_problem(plane, free_factors)
    point = problem.point(x, None)[1]
    jacobian, residual, weight = dense(problem, point)
    n, m = problem.unknowns.count, problem.reflections
    if not free_factors:
        jacobian = np.delete(jacobian, np.s_[n : n + m], axis=1)
    keep = np.ones(jacobian.shape[1], dtype=bool)
    if free_factors:
        keep[n : n + m] = point.own_normal > 1e-12 * point.own_normal.max()
    jacobian = jacobian[:, keep]
    jacobian[:, n:] /= np.sqrt(weight @ jacobian[:, n:] ** 2)
    normal = jacobian.T @ (weight[:, np.newaxis] * jacobian)
    right = jacobian.T @ (weight * residual)
    restraints = problem.restraints
    normal[:n, :n] += np.diag(restraints.weights)
    right[:n] += restraints.weights * (restraints.values - x)
    inverse = np.linalg.pinv(normal[n:, n:], rcond=1e-14, hermitian=True)
    schur = normal[:n, :n] - normal[:n, n:] @ inverse @ normal[n:, :n]
    gradient = right[:n] - normal[:n, n:] @ inverse @ right[n:]
    own_gradient, own_normal, _ = problem.reduced(point)
    scale = np.sqrt(np.diag(schur))
    np.testing.assert_allclose(own_normal / np.outer(scale, scale), schur / np.outer(scale, scale), atol=1e-8)
    np.testing.assert_allclose(own_gradient / scale, gradient / scale, atol=1e-8 * np.abs(gradient / scale).max())


def test_gradient_is_the_slope_of_the_loss():
    """By differences of the loss with fixed weights, along random directions; backgrounds follow, factors do not."""
    problem, x, _, _ = small_problem()
    loss, point = problem.point(x, None)
    random = np.random.default_rng(1)
    steps = 1.0 / np.sqrt(np.diag(point.normal))
    for _ in range(3):
        along = random.normal(size=len(x)) * steps
        slopes = []
        for size in (0.02, 0.01):
            ahead, behind = (problem.point(x + sign * size * along, point.factors, point)[0] for sign in (1.0, -1.0))
            slopes.append((ahead - behind) / (2.0 * size))
        extrapolated = (4.0 * slopes[1] - slopes[0]) / 3.0
        assert extrapolated == pytest.approx(-(point.gradient @ along), rel=1e-4)
    change = random.normal(size=problem.reflections) * point.factors * 0.01
    ahead, behind = (problem.point(x, point.factors + sign * change, point)[0] for sign in (1.0, -1.0))
    assert (ahead - behind) / 2.0 == pytest.approx(-(point.own_gradient @ change), rel=1e-6)


def test_variance():
    fitted = Fitted(np.array([3.0, -2.0, 0.0, 1.0]), np.array([1.0, 1.0, -0.1, 0.0]), np.full(4, 4.0), np.full(4, 0.02))
    np.testing.assert_allclose(reduction.variance(fitted, Rules()), [4.0, 1.0, 0.02, 1.02])
    np.testing.assert_allclose(reduction.variance(fitted, Rules(readout=2.0, misfit=0.5)), [9.0, 6.0, 5.02, 6.02])


def test_influence():
    rules = Rules(influence=4.0)
    residual, spread = np.array([0.0, 3.9, -20.0, 5.0, 1.0]), np.array([0.0, 0.0, 24.0, 0.0, 1e-6])
    np.testing.assert_allclose(reduction.influence(residual, spread, rules), [1.0, 1.0, 1.0, 0.8, 1.0])


# ------------------------------------------------------------------------------------------------ what is found at the end


def test_misfit_of_a_model_that_is_exact_and_of_one_that_is_not():
    problem, _, setting, made = small_problem(photons=2000.0, start=0.0)
    x = problems.true_numbers(problem.unknowns, made)
    point = problem.point(x, np.ones(problem.reflections))[1]
    assert stages.misfit_of(problem, point) == 0.0
    blurred = x.copy()
    blurred[problem.unknowns.indices("crystal.n_b")[0, 0]] *= 0.5
    wrong = problem.point(blurred, None)[1]
    assert 0.05 < stages.misfit_of(problem, wrong) < 1.0


def test_sandwich_holds_for_deviations_that_hang_together():
    """Of a mean of clusters whose members deviate alike, sigma is that of the clusters, and not of as many independent ones."""
    random = np.random.default_rng(0)
    clusters, members, draws = 60, 25, 300
    covariance = np.array([[1.0 / (clusters * members)]])
    estimates, means = [], []
    for _ in range(draws):
        common = random.normal(size=clusters)
        values = 0.6 * common[:, np.newaxis] + 0.8 * random.normal(size=(clusters, members))
        means.append(values.mean())
        scores = (values - values.mean()).sum(axis=1)[:, np.newaxis]
        estimates.append(errors._sandwich(covariance, scores, 1)[0, 0])
    true = 0.36 / clusters + 0.64 / (clusters * members)
    assert np.var(means) == pytest.approx(true, rel=0.3)
    assert np.mean(estimates) == pytest.approx(true, rel=0.05)
    assert np.isnan(errors._sandwich(covariance, np.ones((2, 1)), 1)).all()


def test_scores_sum_to_the_gradient():
    problem, x, _, _ = small_problem()
    point = problem.point(x, None)[1]
    gradient, _, inverse = problem.reduced(point)
    by_reflection, by_image, photons = errors.scores(problem, point, inverse)
    scale = np.abs(by_reflection).sum(axis=0).max()
    restrained = problem.restraints.weights * (problem.restraints.values - x)
    np.testing.assert_allclose(by_reflection.sum(axis=0), gradient - restrained, atol=1e-10 * scale)
    np.testing.assert_allclose(by_image.sum(axis=0), gradient - restrained, atol=1e-10 * scale)
    assert (photons >= 0.0).all() and (photons > 0.0).any()


def test_shifts_are_those_of_the_spots():
    """A beam centre that is off by 0.5 pixels moves all calculated spots by as much."""
    problem, _, _, made = small_problem(photons=3000.0, start=0.0, changed={"sampling.oversample": 4})
    x = problems.true_numbers(problem.unknowns, made)
    shift = x.copy()
    shift[problem.unknowns.indices("detector.xbeam_mm")[0, 0]] += 0.5 * 0.1
    here = figures.shifts(problem, problem.point(x, None)[1])
    moved = figures.shifts(problem, problem.point(shift, None)[1])
    assert len(here.reflection) >= 8
    assert max(here.rms[:2]) < 0.05
    along = np.hypot(np.median(moved.fast) - np.median(here.fast), np.median(moved.slow) - np.median(here.slow))
    assert along == pytest.approx(0.5, abs=0.1)


# ------------------------------------------------------------------------------------------------ whole refinements


@pytest.fixture(scope="module")
def good():
    """A series with a blank image, an image of another crystal, and hot pixels in its boxes, and what was refined of it."""
    made, data, random = problems.series(5, 1.0, 100.0, images=7, pixels=300)
    start = problems.spoiled(made, random)
    return made, data, start


def refined_of(start, data, **keywords):
    return refine_series(problems.images_of(start, data), problems.NAMES, reach_deg=0.15, **keywords)


def is_right(result, made):
    return problems.largest_pull(result, made) < 4.5


def test_a_series_is_refined_to_its_truth(good):
    made, data, start = good
    first = refined_of(start, data)
    assert first.success and first.message == "converged" and first.left_out == []
    assert is_right(first, made)
    assert max(first.figures.shifts.rms[:2]) < 0.15
    assert first.figures.chi_squared == pytest.approx(1.0, abs=0.1)


def test_blank_and_foreign_images_are_left_out(good):
    made, data, start = good
    random = np.random.default_rng(0)
    spoiled = list(data)
    spoiled[2] = random.poisson(np.full(data[2].shape, 1.0)).astype(np.float64)
    spoiled[5] = problems.series(77, 1.0, 100.0, images=1, pixels=300)[1][0]
    result = refined_of(start, spoiled)
    assert result.left_out == ["2", "5"]
    assert [sentence for sentence in result.diagnosis if sentence.endswith(": 2")]
    assert result.success and is_right(result, made)


def test_hot_pixels_and_gaps(good):
    """Zingers in spots and a hot pixel are listed and change nothing; gaps are left out."""
    made, data, start = good
    clean = refined_of(start, data)
    spoiled = [image.copy() for image in data]
    boxes = clean.stages[-1].problem.models[3].boxes
    for pixel in range(7, len(boxes.data), max(len(boxes.data) // 8, 1)):
        spoiled[3][boxes.rows[pixel], boxes.columns[pixel]] += 300.0
    spoiled[1][60:80, 60:120] = np.nan
    result = refined_of(start, spoiled)
    assert result.success and is_right(result, made)
    listed = {(int(row[0]), int(row[1]), int(row[2])) for row in result.figures.outliers}
    hot = {(3, boxes.rows[p], boxes.columns[p]) for p in range(7, len(boxes.data), max(len(boxes.data) // 8, 1))}
    assert len(hot & listed) >= 6 and len(listed) < 3 * len(hot)


def test_numbers_of_each_image_and_what_drifts():
    """The orientation and the scale drift with phi: as a spline, and as numbers of each image."""
    random = np.random.default_rng(11)
    made = problems.experiments(random, images=6, pixels=300)
    turned = problems.experiments(np.random.default_rng(11), images=6, pixels=300)
    first = np.array(made[0].value("crystal.misset_deg"))
    drift = [first + (number - 2.5) / 2.5 * np.array([0.02, -0.015, 0.01]) for number in range(6)]
    scales = np.linspace(1.2, 0.8, 6)
    turned, _ = problems.exposed(turned, 300.0)
    true = [e.replace({"crystal.misset_deg": tuple(d), "crystal.scale": s}) for e, d, s in zip(turned, drift, scales)]
    data = [random.poisson(simulate(e) + 1.0).astype(np.float64) for e in true]
    start = problems.spoiled(turned, random)
    for own in ((), ("crystal.misset_deg", "crystal.scale")):
        result = refined_of(start, data, own=own, amplitudes="given", knots_deg=1.0)
        assert result.success, (result.message, result.lines)
        for number in (0, 3, 5):
            found = result.unknowns.of_image(result.x, number)
            of_image = result.unknowns.matrix(number)
            sigma = np.sqrt(np.diag(of_image @ result.errors.counting.covariance @ of_image.T))
            assert (np.abs(found[:3] - drift[number]) < 5.0 * sigma[:3]).all()
            assert abs(found[-1] - scales[number]) < 5.0 * sigma[-1]


def test_readout_noise_and_a_sloping_background():
    """Data below zero count; a plane is met by planes, and its constant part by the mean of the box."""
    made, data, random = problems.series(12, 0.0, 200.0, pixels=300)
    slope = np.linspace(0.0, 60.0, 300)[np.newaxis, :] * np.ones((300, 1))
    noisy = [image + random.poisson(slope) + random.normal(0.0, 3.0, image.shape) for image in data]
    result = refined_of(problems.spoiled(made, random), noisy, readout_noise=3.0, background="plane")
    assert min(image.min() for image in noisy) < -5.0
    assert result.success and is_right(result, made)
    assert result.figures.chi_squared == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize("amplitudes", ["each", "given"])
def test_a_hopeless_start_is_no_success(good, amplitudes):
    made, data, _ = good
    far = problems.spoiled(made, np.random.default_rng(3), 10.0)
    assert not refined_of(far, data, amplitudes=amplitudes).success


@pytest.mark.parametrize("background", [0.03, 100.0])
def test_noise_is_no_success(background):
    made, data, random = problems.series(8, background, 30.0, images=3, pixels=280)
    noise = [random.poisson(np.full(image.shape, background)).astype(np.float64) for image in data]
    result = refined_of(problems.spoiled(made, random), noise)
    assert not result.success
    assert "stands out from noise" in result.message


def test_threads_do_not_change_a_bit(good):
    import numba

    made, data, start = good
    threads, results = numba.get_num_threads(), []
    try:
        for count in (1, min(2, numba.config.NUMBA_NUM_THREADS)):
            numba.set_num_threads(count)
            results.append(refined_of(start[:3], data[:3]))
    finally:
        numba.set_num_threads(threads)
    np.testing.assert_array_equal(results[0].x, results[1].x)
    np.testing.assert_array_equal(results[0].factors, results[1].factors)


def test_a_background_that_is_stated_is_no_part_of_the_crystals_photons():
    """Every box has one of its own; one that flags state would be scaled with the intensity of its reflection."""
    from adjoint.series.images import model_of
    from adjoint.series.shoeboxes import Shoeboxes

    (made,) = problems.experiments(np.random.default_rng(0), images=1)
    rows = np.arange(100)
    boxes = Shoeboxes(rows, rows + 50, np.zeros(100), np.array([0]), np.array([0]), 0.0 * rows, 0.0 * rows)
    photons = [
        model_of(experiment, ("crystal.a_A",), boxes).photons(np.array([problems.CELL[0]]))[0]
        for experiment in (made, made.replace({"background.water_um": 5.0, "background.air_mm": 100.0}))
    ]
    np.testing.assert_array_equal(photons[0], photons[1])
    assert photons[0].max() > 0.0
