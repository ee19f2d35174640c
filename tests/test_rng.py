"""Random numbers, mosaic domains and random missetting angles against numbers that nanoBragg computed."""

import numpy as np
import pytest
from differences import central
from scipy import stats
from scipy.spatial.transform import Rotation

from nbnumba import rng
from nbnumba.errors import InputError

# printed by nanoBragg's own functions, in the order and with the flags that each test names
RAN1_SEED_42 = [0.471973002, 0.539009392, 0.737019002, 0.18827413, 0.993509591]
RAN1_SEED_1 = [0.415999353, 0.091964893, 0.75641048, 0.52970022, 0.930436492]
RAN1_SEED_7_THREE_THEN_MINUS_99 = [
    0.467895657, 0.688501418, 0.0538873039, 0.937261701, 0.684514523, 0.683909535, 0.676959455, 0.657416999,
    0.207606971, 0.332251608, 0.908334136, 0.743956506, 0.698045671, 0.804926872, 0.374231458, 0.911995471,
    0.422220826, 0.0586228073, 0.40636307, 0.762120426, 0.707901359, 0.422638953, 0.617381513, 0.922401845,
    0.443789035, 0.0222410262, 0.557370722, 0.729272187, 0.26556927, 0.335386276, 0.96670568, 0.542850256,
    0.737977266, 0.183936328, 0.152573198, 0.297639579, 0.372245818, 0.440319151, 0.165948987, 0.872106552,
]  # fmt: skip
MOSAIC_1_DEG_DEFAULT_SEED = [
    [0.99986368592193575, -0.01594877166007503, 0.0042715637810345434, 0.015952848100370585, 0.99987232016945238,
     -0.00092195251648568416, -0.0042563143783279477, 0.00098997044952826353, 0.99999045182762714],
    [0.9999657443853005, 0.0056663083387967425, 0.0060334903465161967, -0.0057336742754520043, 0.99992075868632402,
     0.011207199804992794, -0.0059695087951054712, -0.011241409963865434, 0.99991899455244349],
]  # fmt: skip
MOSAIC_07_DEG_SEED_MINUS_4321 = [
    [0.99992873643470637, -0.010320032552436083, 0.0060015814755983382, 0.010326820259562591, 0.99994607072842145,
     -0.0011010985957212868, -0.0059898944413297591, 0.0011629973806812192, 0.99998138412756177],
    [0.9999464852853005, 0.0098395630151705289, 0.0031952410308036311, -0.0098245435495151519, 0.99994077342531829,
     -0.0046827327085797966, -0.0032411278311913335, 0.0046510903288165774, 0.99998393109546269],
    [0.99998092737093391, 0.0028093673679387989, 0.0055002135739346727, -0.0027530933979433999, 0.99994406406101455,
     -0.010212209647473686, -0.0055285957628619462, 0.010196872272109463, 0.99993272694954694],
    [0.99996070125188397, -0.00049411174456460451, -0.0088516555188570545, 0.00042474807213607898, 0.99996920470701012,
     -0.0078364039396205485, 0.0088552549887536205, 0.0078323362551391464, 0.99993011704212142],
]  # fmt: skip
MISSET_SEED_5 = (142.14447007212135, 55.074207368916511, 35.266328992518375)
MOSAIC_07_DEG_SEED_MINUS_4321_AFTER_MISSET_SEED_5 = [
    [0.99999113581696408, -0.0018783482095496558, 0.0037683014080203479, 0.0019054671321620863, 0.99997222131819874,
     -0.0072059549648573308, -0.0037546614369682557, 0.0072130714644306438, 0.99996693651217428],
    [0.99998664581183672, 0.0048219325761282416, -0.0018593451061078362, -0.0048384730481222452, 0.9999478254872769,
     -0.0089964149431384383, 0.0018158679894002554, 0.0090052911945035525, 0.99995780278667123],
]  # fmt: skip


def as_float32(values):
    return np.array(values, dtype=np.float64).astype(np.float32)


def assert_matrices(actual, printed):
    """Check that the first matrix is the identity and that the others are the printed ones."""
    np.testing.assert_array_equal(actual[0], np.eye(3))
    np.testing.assert_allclose(actual[1:], np.reshape(printed, (-1, 3, 3)), rtol=1e-12, atol=1e-17)


@pytest.mark.parametrize(
    ("seed", "expected"), [(42, RAN1_SEED_42), (1, RAN1_SEED_1), (0, RAN1_SEED_1), (-4321, RAN1_SEED_1)]
)
def test_ran1_sequence(seed, expected):
    np.testing.assert_array_equal(rng.Ran1(seed).uniform(5), as_float32(expected))


def test_ran1_largest_seed_gives_zero_and_then_the_sequence_of_seed_1():
    np.testing.assert_array_equal(rng.Ran1(2**31 - 1).uniform(6), as_float32([0.0, *RAN1_SEED_1]))


def test_ran1_negative_seed_takes_over_the_table_that_was_used_before():
    first = rng.Ran1(7)
    first.uniform(3)
    second = rng.Ran1(-99, after=first)
    np.testing.assert_array_equal(second.uniform(40), as_float32(RAN1_SEED_7_THREE_THEN_MINUS_99))


def test_ran1_positive_seed_ignores_what_was_used_before():
    first = rng.Ran1(7)
    first.uniform(3)
    np.testing.assert_array_equal(rng.Ran1(42, after=first).uniform(5), as_float32(RAN1_SEED_42))


def test_ran1_calls_continue_one_sequence():
    source = rng.Ran1(42)
    pieces = np.concatenate([source.uniform(2), source.uniform(3)])
    np.testing.assert_array_equal(pieces, as_float32(RAN1_SEED_42))


def test_ran1_is_uniform_and_below_one():
    deviates = rng.Ran1(3).uniform(200_000)
    assert deviates.dtype == np.float32
    assert deviates.min() >= 0.0 and deviates.max() < 1.0
    assert stats.kstest(deviates, "uniform").pvalue > 1e-4


@pytest.mark.parametrize("seed", [2**31, -(2**31), 1.5, "1", True, None])
def test_bad_seed(seed):
    with pytest.raises(InputError, match="seed is .*whole number"):
        rng.Ran1(seed)


@pytest.mark.parametrize(
    ("spread_deg", "seed", "printed"),
    [(1.0, rng.DEFAULT_MOSAIC_SEED, MOSAIC_1_DEG_DEFAULT_SEED), (0.7, -4321, MOSAIC_07_DEG_SEED_MINUS_4321)],
)
def test_mosaic_matrices_are_those_of_nanobragg(spread_deg, seed, printed):
    made = rng.mosaic_rotations(spread_deg, len(printed) + 1, seed)
    assert_matrices(made.matrices, printed)
    again = rng.rotations(rng.mosaic_domains(len(printed) + 1, seed), np.radians(spread_deg))
    assert_matrices(again, printed)


def test_misset_then_mosaic_share_one_table_as_in_nanobragg():
    first = rng.Ran1(5)
    np.testing.assert_allclose(rng.random_misset_deg(first, c_parity=True), MISSET_SEED_5, rtol=1e-12)
    made = rng.mosaic_rotations(0.7, 3, rng.Ran1(-4321, after=first))
    assert_matrices(made.matrices, MOSAIC_07_DEG_SEED_MINUS_4321_AFTER_MISSET_SEED_5)


@pytest.mark.parametrize("rounded", [True, False])
def test_domains_turn_about_their_axis_by_quantile_times_spread(rounded):
    domains = rng.mosaic_domains(50, 11)
    spread = 0.02
    angles = rng.rotation_angles(domains, spread, rounded)
    np.testing.assert_allclose(angles, domains.quantiles * spread, rtol=1.2e-7 if rounded else 0)
    expected = Rotation.from_rotvec(domains.axes * angles[:, None]).as_matrix()
    np.testing.assert_allclose(rng.rotations(domains, spread, rounded), expected, atol=1e-14)


def test_angles_that_are_not_rounded_have_the_quantile_as_derivative_where_float32_ones_are_stairs():
    domains = rng.mosaic_domains(50, 11)
    step = 1e-10
    slope = central(lambda h: rng.rotation_angles(domains, 0.02 + h, rounded=False), step)
    np.testing.assert_allclose(slope, domains.quantiles, atol=1e-6)
    stairs = rng.rotation_angles(domains, 0.02 + step) - rng.rotation_angles(domains, 0.02 - step)
    assert not stairs.any()


def test_domains_are_isotropic_and_the_first_is_the_identity():
    domains = rng.mosaic_domains(20_000, 11)
    assert domains.quantiles[0] == 0.0
    np.testing.assert_allclose(np.linalg.norm(domains.axes, axis=1), 1.0, atol=1e-12)
    assert np.abs(domains.axes.mean(axis=0)).max() < 5 / np.sqrt(3 * 20_000)
    assert stats.kstest(domains.quantiles[1:], lambda q: 1 - np.sqrt(1 - np.minimum(q, 1) ** 3)).pvalue > 1e-4


def test_more_domains_begin_with_the_same_ones():
    few, many = rng.mosaic_domains(3, 9), rng.mosaic_domains(10, 9)
    np.testing.assert_array_equal(few.axes, many.axes[:3])
    np.testing.assert_array_equal(few.quantiles, many.quantiles[:3])


@pytest.mark.parametrize("spread", [0.0, 180.0])
def test_spread_limits_are_allowed(spread):
    assert np.isfinite(rng.mosaic_rotations(spread, 4).matrices).all()


@pytest.mark.parametrize("spread", [-1e-9, 180.1, np.nan, np.inf])
def test_spread_out_of_range(spread):
    with pytest.raises(InputError, match="mosaic spread is .* deg: .*0 to 180"):
        rng.mosaic_rotations(spread, 4)
    with pytest.raises(InputError, match="mosaic spread is .* rad"):
        rng.rotations(rng.mosaic_domains(4), spread)


@pytest.mark.parametrize("count", [0, -1, 2.0])
def test_bad_number_of_domains(count):
    with pytest.raises(InputError, match="mosaic domains is"):
        rng.mosaic_domains(count)


@pytest.mark.parametrize(
    ("seed", "printed"),
    [
        (12345, (105.72075473063306, -34.951318363186608, -97.823571440655073)),
        (5, MISSET_SEED_5),
    ],
)
def test_c_parity_misset_is_that_of_nanobragg(seed, printed):
    np.testing.assert_allclose(rng.random_misset_deg(seed, c_parity=True), printed, rtol=1e-12)


def random_orientations(count, c_parity):
    source = rng.Ran1(2024)
    angles = [rng.random_misset_deg(source, c_parity) for _ in range(count)]
    return Rotation.from_euler("xyz", angles, degrees=True)


def angle_cdf(angle):
    """The distribution of the angle of a uniform random rotation, whose density is (1 - cos) / pi."""
    return (angle - np.sin(angle)) / np.pi


def test_random_misset_is_uniform():
    count = 20_000
    turns = random_orientations(count, c_parity=False)
    assert stats.kstest(turns.magnitude(), angle_cdf).pvalue > 1e-4
    assert np.abs(turns.as_matrix().mean(axis=0)).max() < 5 / np.sqrt(3 * count)
    fixed_turn = Rotation.from_euler("xyz", [10, 20, 30], degrees=True)
    assert stats.kstest((fixed_turn * turns).magnitude(), angle_cdf).pvalue > 1e-4


def test_the_uniformity_test_rejects_the_orientations_of_nanobragg():
    assert stats.kstest(random_orientations(20_000, c_parity=True).magnitude(), angle_cdf).pvalue < 1e-6


def test_random_misset_is_deterministic_and_draws_three_deviates():
    assert rng.random_misset_deg(3) == rng.random_misset_deg(3) != rng.random_misset_deg(4)
    for c_parity in (False, True):
        source, counted = rng.Ran1(42), rng.Ran1(42)
        rng.random_misset_deg(source, c_parity)
        counted.uniform(3)
        np.testing.assert_array_equal(source.state, counted.state)
