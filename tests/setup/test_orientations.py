"""Phi steps by nanoBragg's rules, the table of lattices, and phi carryover against a replay of nanoBragg's loop."""

import math

import numpy as np
import pytest

from nbnumba import Crystal, Experiment, Goniometer, InputError, rng, simulate
from nbnumba.geometry.rotations import DEGREES_PER_RADIAN
from nbnumba.parity import NO_DEFECTS, Defects
from nbnumba.setup import orientations, sampling
from nbnumba.setup.crystal import orient

RULES = [  # osc, phistep, phisteps; the angles after phi in degrees
    ((None, None, None), [0]),
    ((None, None, 4), [0, 0.25, 0.5, 0.75]),
    ((None, None, 1), [0]),
    ((None, 0.3, None), [0, 0.3]),
    ((None, 0.3, 4), [0, 0.3]),
    ((None, 0.0, None), [0]),
    ((None, 0.0, 2), [0, 0.5]),
    ((1.0, None, None), [0, 0.5]),
    ((1.0, None, 4), [0, 0.25, 0.5, 0.75]),
    ((1.0, None, 1), [0]),
    ((1.0, 0.3, None), [0, 0.3, 0.6, 0.9]),
    ((1.0, 2.0, None), [0]),
    ((1.0, 0.0, None), [0, 0.5]),
    ((1.0, 0.3, 2), [0, 0.3]),
    ((1.0, 0.3, 5), [0, 0.3, 0.6, 0.9, 1.2]),
    ((1.0, 0.0, 3), [0, 0, 0]),
    ((0.0, None, None), [0, 0]),
    ((0.0, None, 3), [0, 0, 0]),
    ((0.0, 0.5, None), [0]),
    ((0.0, 0.5, 3), [0, 0.5, 1.0]),
]


def spindle_of(phi, **fields):
    return orientations.phi_angles(Goniometer(phi_deg=phi, **fields))


@pytest.mark.parametrize("given, expected", RULES)
@pytest.mark.parametrize("phi", [0.0, -0.5, 77.7])
def test_rules_for_phi_steps(given, expected, phi):
    osc, step, steps = given
    angles = spindle_of(phi, osc_deg=osc, phistep_deg=step, phisteps=steps)
    np.testing.assert_allclose(np.degrees(angles), phi + np.array(expected), rtol=0, atol=1e-12)


@pytest.mark.parametrize("given, expected", RULES)
def test_values_of_the_rotation_are_those_that_are_used(given, expected):
    osc, step, steps = given
    stated = Goniometer(osc_deg=osc, phistep_deg=step, phisteps=steps)
    number, step_deg, full = orientations.phi_steps(stated)
    assert number == len(expected)
    if len(expected) > 1:
        assert step_deg == pytest.approx(expected[1])
    if osc is not None:
        assert full == osc


@pytest.mark.parametrize(
    "phi, osc, steps, zero", [(-0.5, 1.0, 4, 2), (-3.0, 6.0, 2, 1), (0.0, 5.0, 7, 0), (-0.1, 0.1, 1, None)]
)
def test_a_step_at_zero_is_exactly_zero(phi, osc, steps, zero):
    angles = spindle_of(phi, osc_deg=osc, phisteps=steps)
    assert [k for k, angle in enumerate(angles) if angle == 0.0] == ([] if zero is None else [zero])


@pytest.mark.parametrize("fields", [{"osc_deg": 1.0, "phisteps": 5}, {"phistep_deg": 0.3}, {"phisteps": 3}, {}])
def test_middles_of_steps_are_half_a_step_further(fields):
    left, mid = (orientations.phi_angles(Goniometer(7.0, phi_sampling=where, **fields)) for where in ("left", "mid"))
    step = math.radians(orientations.phi_steps(Goniometer(**fields))[1])
    np.testing.assert_allclose(mid - left, step / 2, rtol=0, atol=1e-15)
    np.testing.assert_array_equal(left, orientations.phi_angles(Goniometer(7.0, **fields)))


def test_sobol_domains_are_distributed_as_random_ones():
    """Axes are uniform on the sphere, and a power of 2 of quantiles is as even as can be; each seed shifts the points."""
    even, other = rng.sobol_domains(1024, 5), rng.sobol_domains(1024, 6)
    assert np.abs(even.axes.mean(axis=0)).max() < 2e-3
    np.testing.assert_allclose(even.axes.T @ even.axes / 1024, np.eye(3) / 3, rtol=0, atol=2e-3)
    levels = 1 - ((1023.5 - np.arange(1024)) / 1024) ** 2
    np.testing.assert_allclose(np.sort(even.quantiles**3), levels, rtol=0, atol=3e-3)
    assert abs(np.mean(even.quantiles**3) - 2 / 3) < 1e-3
    assert not np.isclose(even.quantiles, other.quantiles).any()
    np.testing.assert_array_equal(rng.sobol_domains(700, 5).quantiles, even.quantiles[:700])


def test_sobol_points_are_those_of_sobol():
    """The first four, before they are shifted: 0, 1/2, 3/4 and 1/4 in the first dimension."""
    shift = rng.Ran1(9).uniform(3).astype(float)
    points = (np.array([[0, 0, 0], [0.5, 0.5, 0.5], [0.75, 0.25, 0.25], [0.25, 0.75, 0.75]]) + shift) % 1.0
    azimuth, height, u = (2 * points - 1).T
    drawn = rng.sobol_domains(4, 9)
    np.testing.assert_allclose(drawn.axes[:, 2], height, rtol=0, atol=1e-15)
    np.testing.assert_allclose(np.arctan2(drawn.axes[:, 0], drawn.axes[:, 1]), np.pi * azimuth, rtol=0, atol=1e-14)
    np.testing.assert_allclose(drawn.quantiles**3, 1 - u * u, rtol=0, atol=1e-15)


def test_one_sobol_domain_is_not_turned():
    assert rng.sobol_domains(1, 3).quantiles.tolist() == [0.0]


def test_what_is_refused_with_defects_of_c():
    base = Experiment.from_args("-cell 50 -default_F 1 -mosaic 1 -mosaic_domains 3 -osc 1 -phisteps 2 -detpixels 4")
    refused = [({"goniometer.phi_sampling": "mid"}, "phi_carryover"), ({"crystal.mosaic_sampling": "sobol"}, "mosaic_float32")]
    for values, defect in refused:
        simulate(base.replace(values), c_parity=["water_scale"])
        with pytest.raises(InputError, match=f"{next(iter(values))}: .* {defect}"):
            simulate(base.replace(values), c_parity=[defect])


def test_whether_a_step_is_at_zero_is_rounded_as_nanobragg_rounds():
    """nanoBragg divides degrees by 180 times the rounded 1/pi, and the range by the number of steps."""
    random = np.random.default_rng(2)
    for _ in range(500):
        steps, osc = int(random.integers(2, 30)), float(random.choice([0.1, 0.3, 0.7, 1.0, 2.5]))
        phi = -osc * int(random.integers(0, steps)) / steps
        step = (osc / DEGREES_PER_RADIAN) / steps
        expected = [phi / DEGREES_PER_RADIAN + step * tic for tic in range(steps)]
        assert spindle_of(phi, osc_deg=osc, phisteps=steps).tolist() == expected


def acted_out(angles, passes):
    """The step whose rotation each step of each pass sees, by nanoBragg's loop. None stands for the lattice as it was read."""
    lattice, seen = None, []
    for _ in range(passes):
        seen.append([])
        for step, angle in enumerate(angles):
            if angle != 0.0:
                lattice = step
            seen[-1].append(lattice)
    return seen


def random_angles():
    random = np.random.default_rng(1)
    for _ in range(300):
        angles = random.choice([0.0, -0.0, 0.1, -2.0, 1e-300], size=random.integers(1, 8))
        yield angles.tolist()


def test_carryover_in_closed_form_equals_the_loop():
    for angles in random_angles():
        first, second, third = acted_out(angles, 3)
        own = list(range(len(angles)))
        assert second == third
        fresh = [step if source is None else source for step, source in zip(own, first)]
        carried = [step if source is None else source for step, source in zip(own, second)]
        assert orientations.carried_from(angles, fresh=True) == fresh
        assert orientations.carried_from(angles) == carried


def table(goniometer, defects=NO_DEFECTS, **fields):
    crystal = Crystal(30.0, 40.0, 50.0, 80.0, 95.0, 100.0, misset_deg=(10.0, 20.0, 30.0), **fields)
    vectors = orient(crystal)
    spindle = np.array([0.0, 0.6, 0.8])
    return vectors, *orientations.table(crystal, goniometer, spindle, vectors, defects)


def test_table_of_lattices():
    """Phi varies slowest and domains fastest. Domains rotate what phi has rotated, and nothing is deformed."""
    goniometer = Goniometer(phi_deg=-1.0, osc_deg=2.0, phisteps=4)
    vectors, carried, fresh = table(goniometer, mosaic_spread_deg=0.5, mosaic_domains=3)
    assert carried.shape == (12, 9)
    np.testing.assert_array_equal(carried, fresh)
    _, alone, _ = table(goniometer)
    np.testing.assert_array_equal(carried[::3], alone)
    np.testing.assert_array_equal(alone[2].reshape(3, 3), vectors)
    turns = [np.linalg.solve(vectors, lattice.reshape(3, 3)).T for lattice in carried]
    for turn in turns:
        np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-13)
        assert np.linalg.det(turn) == pytest.approx(1.0)
    angle = math.acos((np.trace(turns[9]) - 1) / 2)
    assert math.degrees(angle) == pytest.approx(0.5, rel=1e-9)
    np.testing.assert_allclose(turns[9] @ (0, 0.6, 0.8), (0, 0.6, 0.8), atol=1e-14)
    domain = turns[1] @ turns[0].T
    np.testing.assert_allclose(turns[10] @ turns[9].T, domain, atol=1e-13)


def test_table_with_carryover():
    goniometer = Goniometer(phi_deg=0.0, osc_deg=2.0, phisteps=4)
    vectors, right, _ = table(goniometer)
    _, carried, fresh = table(goniometer, Defects(phi_carryover=True))
    np.testing.assert_array_equal(fresh, right)
    np.testing.assert_array_equal(carried[1:], right[1:])
    np.testing.assert_array_equal(carried[0], right[3])


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_rounding_the_domains_changes_them_by_float32(recwarn):
    still = Goniometer()
    _, exact, _ = table(still, mosaic_spread_deg=1.3, mosaic_domains=20)
    _, rounded, _ = table(still, Defects(mosaic_float32=True), mosaic_spread_deg=1.3, mosaic_domains=20)
    difference = np.abs(exact - rounded).max() / 50.0
    assert 1e-11 < difference < 1e-8


def test_domains_are_one_without_a_spread_and_ten_by_default():
    still = Goniometer()
    assert len(table(still, mosaic_domains=5)[1]) == 1
    assert len(table(still, mosaic_spread_deg=1.0)[1]) == 10
    assert len(table(still, mosaic_spread_deg=1.0, mosaic_domains=1)[1]) == 1


def test_values_of_an_experiment_that_says_nothing_about_rotation():
    experiment = Experiment.from_args("-cell 50 -default_F 1 -osc 3".split())
    names = ("goniometer.phisteps", "goniometer.phistep_deg", "goniometer.osc_deg")
    assert [experiment.value(name) for name in names] == [2, 1.5, 3.0]


CELL_SPREAD = {"cell_spread_a": 0.1, "cell_spread_b": 0.02, "cell_spread_c": 0.3}


def lengths_of(domains=40, **fields):
    """The lengths (domains, 3) of a, b and c of the domains of a crystal, over its own."""
    crystal = Crystal(30, 40, 50, 80, 95, 100, misset_deg=(10, 20, 30), mosaic_domains=domains, **fields)
    vectors = orient(crystal)
    table = orientations.table(crystal, Goniometer(), np.array([0.0, 0.0, 1.0]), vectors, NO_DEFECTS)[0]
    cells = table.reshape(-1, 3, 3)
    unit = cells / np.linalg.norm(cells, axis=2, keepdims=True)
    own = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    np.testing.assert_allclose(np.einsum("mij,mkj->mik", unit, unit), np.broadcast_to(own @ own.T, unit.shape), atol=1e-12)
    return np.linalg.norm(cells, axis=2) / np.linalg.norm(vectors, axis=1)


def test_cells_of_domains_have_own_lengths_and_the_same_angles():
    """By at most the spreads, with the rms that those of mosaic rotations have; the first is the crystal's, Sobol's is not."""
    spreads = np.array(list(CELL_SPREAD.values()))
    for drawn, turned in (("random", 0.0), ("sobol", 0.0), ("random", 5.0)):
        fields = {"mosaic_sampling": drawn, "mosaic_spread_deg": turned, "mosaic_a_deg": turned}
        off = (lengths_of(1000, **CELL_SPREAD, **fields) - 1.0) / spreads
        assert np.abs(off).max() <= 1.0 and (np.linalg.norm(off, axis=1) <= 1.0 + 1e-12).all()
        assert np.sqrt((off**2).mean(axis=0)) == pytest.approx([0.496] * 3, rel=0.05)
        assert np.abs(off.mean(axis=0)).max() < 0.06
        assert (np.abs(off[0]).max() < 1e-12) == (drawn == "random")
        crystal = Crystal(30, mosaic_domains=1000, mosaic_spread_deg=1.0, mosaic_sampling=drawn)
        turns = orientations.sampled_domains(crystal)
        both = np.column_stack([off, turns.axes * turns.quantiles[:, np.newaxis]])
        assert np.abs(np.corrcoef(both.T) - np.eye(6)).max() < 0.1


@pytest.mark.parametrize("how", ["random", "sobol"])
def test_spreads_of_the_cell_shift_no_other_random_numbers(how):
    """The rotations of the domains are the same with and without them, the first half of twice as many, and the noise, too."""
    fields = {"mosaic_spread_deg": 3.0, "mosaic_domains": 8, "mosaic_sampling": how, "mosaic_seed": -5, "misset_seed": 7}
    plain, spread = Crystal(30, 40, 50, **fields), Crystal(30, 40, 50, **fields, **CELL_SPREAD)
    rotations = [orientations.domain_rotations(crystal, rounded=False) for crystal in (plain, spread)]
    np.testing.assert_array_equal(*rotations)
    noises = [orientations.noise_generator(crystal, -3).uniform(4) for crystal in (plain, spread)]
    np.testing.assert_array_equal(*noises)
    drawn = orientations.sampled_cells(spread)
    twice = Crystal(30, 40, 50, **(fields | {"mosaic_domains": 16}), **CELL_SPREAD)
    np.testing.assert_array_equal(orientations.sampled_cells(twice)[:8], drawn)
    other = Crystal(30, 40, 50, **(fields | {"mosaic_seed": 6}), **CELL_SPREAD)
    assert np.abs(orientations.sampled_cells(other) - drawn)[1:].min() > 1e-6
    negative = Crystal(30, 40, 50, **(fields | {"mosaic_seed": 5}), **CELL_SPREAD)
    np.testing.assert_array_equal(orientations.sampled_cells(negative), drawn)


def test_a_spread_of_the_cell_makes_domains():
    assert orientations.number_of_domains(Crystal(30, cell_spread_b=0.01)) == 10
    assert orientations.number_of_domains(Crystal(30, cell_spread_b=0.01, mosaic_domains=3)) == 3
    assert lengths_of(1, **CELL_SPREAD).tolist() == [[1.0, 1.0, 1.0]]


@pytest.mark.parametrize("spread", [0.51, -0.1, math.nan])
def test_spreads_of_the_cell_that_are_impossible_are_refused(spread):
    with pytest.raises(InputError, match="crystal.cell_spread_c: "):
        Crystal(30, cell_spread_c=spread)
    if spread > 0.5:
        with pytest.raises(InputError, match="-cell_spread: 0.51 is not allowed: a length of the cell would come near to 0"):
            Experiment.from_args("-cell 30 -default_F 1 -cell_spread 0 0 0.51")


def test_c_has_domains_of_one_cell():
    experiment = Experiment.from_args("-cell 30 -default_F 1 -N 3 -detpixels 4 -cell_spread 0 0.1 0 -mosaic_domains 2")
    with pytest.raises(InputError, match="crystal.cell_spread_b is not allowed with that defect of C: mosaic_float32"):
        simulate(experiment, c_parity="all")
    simulate(experiment, c_parity="source_weights")


def test_the_longest_domain_says_how_many_sub_pixels_there_are():
    flags = "-cell 100 -default_F 1 -N 100 -pixel 0.1 -distance 100 -lambda 1 "
    recommended = [Experiment.from_args(flags + more) for more in ("", "-cell_spread 0.4 0 0.1 ")]
    edges = [sampling.longest_edge(experiment, orient(experiment.crystal)) for experiment in recommended]
    assert edges == pytest.approx([1e-6, 1.4e-6])
