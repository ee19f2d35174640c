"""Jitter: distributions and correlations of drawn numbers, orientations, and what a jitter file cannot state."""

import math

import numpy as np
import pytest

import nbnumba
from nbnumba import Experiment, InputError
from nbnumba.geometry.rotations import about_xyz
from nbnumba.shots.jitter import jitter_of
from nbnumba.shots.numbers import Series, angles_about_xyz
from nbnumba.shots.random_numbers import noise_seed

STILL = "-cell 70 70 90 -default_F 10 -N 5 -lambda 1.1 -distance 100 -detpixels 24 -fluence 1e24"


def series(content, words=STILL, seed=1):
    return Series(Experiment.from_args(words), jitter_of(content), seed)


def values(content, name, count=2000, words=STILL):
    drawn = series(content, words)
    return np.array([drawn.jitter.draw(drawn.experiment, 1, frame)[name] for frame in range(1, count + 1)])


def of_uniform(shares, bound=1.95):
    """Whether numbers are uniform from 0 to 1, by Kolmogorov's statistic; that of chance exceeds 1.95 once in a thousand."""
    ordered, count = np.sort(shares), len(shares)
    steps = np.arange(count) / count
    return max((ordered - steps).max(), (steps + 1.0 / count - ordered).max()) * math.sqrt(count) < bound


def phi(x):
    return 0.5 * (1.0 + math.erf(x / math.sqrt(2.0)))


@pytest.mark.parametrize(
    ("table", "share"),
    [
        ({"distribution": "normal", "sigma": 0.5}, lambda x: phi((x - 70.0) / 0.5)),
        ({"distribution": "normal", "mean": 60.0, "sigma": 0.5}, lambda x: phi((x - 60.0) / 0.5)),
        ({"distribution": "lognormal", "sigma": 0.1}, lambda x: phi(math.log(x / 70.0) / 0.1)),
        ({"distribution": "lognormal", "median": 50.0, "sigma": 0.1}, lambda x: phi(math.log(x / 50.0) / 0.1)),
        ({"distribution": "uniform", "low": 60.0, "high": 64.0}, lambda x: (x - 60.0) / 4.0),
        ({"distribution": "uniform", "half_width": 2.0}, lambda x: (x - 68.0) / 4.0),
        (
            {"distribution": "normal", "sigma": 1.0, "low": 69.5, "high": 72.0},
            lambda x: (phi(x - 70.0) - phi(-0.5)) / (phi(2.0) - phi(-0.5)),
        ),
    ],
)
def test_numbers_are_distributed_as_stated(table, share):
    drawn = values({"crystal": {"a_A": table}}, "crystal.a_A")
    assert of_uniform(np.array([share(x) for x in drawn]))
    assert not of_uniform(np.array([share(x) for x in drawn]) * 0.9)  # The test can fail.


def test_tied_parameters_have_one_value_and_keep_the_symmetry():
    drawn = series({"crystal": {"a_A": {"distribution": "normal", "sigma": 0.5, "tied": ["crystal.b_A"]}}}).numbers(3)
    crystal = drawn.experiment.crystal
    assert crystal.a_A == crystal.b_A == drawn.values["crystal.a_A"] == drawn.values["crystal.b_A"] != 70.0
    assert crystal.c_A == 90.0


def test_correlated_numbers_keep_their_distributions():
    matrix = [[1.0, 0.8, -0.3], [0.8, 1.0, 0.0], [-0.3, 0.0, 1.0]]
    content = {
        "crystal.a_A": {"distribution": "normal", "sigma": 0.5},
        "crystal.c_A": {"distribution": "uniform", "low": 80.0, "high": 90.0},
        "beam.fluence": {"distribution": "lognormal", "sigma": 0.2},
        "correlations": {"parameters": ["crystal.a_A", "crystal.c_A", "beam.fluence"], "matrix": matrix},
    }
    drawn = series(content)
    table = [drawn.jitter.draw(drawn.experiment, 1, frame) for frame in range(1, 4001)]
    a, c, fluence = (np.array([row[name] for row in table]) for name in content["correlations"]["parameters"])
    assert of_uniform((c - 80.0) / 10.0)
    deviates = np.array([(a - 70.0) / 0.5, c, np.log(fluence)])
    found = np.corrcoef(deviates)
    uniform = 6.0 / math.pi * math.asin(0.8 / 2.0) * math.sqrt(math.pi / 3.0)  # of a normal number with a uniform one, nearly
    assert abs(found[0, 1] - uniform) < 0.05 and abs(found[0, 2] + 0.3) < 0.06 and abs(found[1, 2]) < 0.06


def test_every_frame_follows_from_seed_and_number_alone():
    content = {"crystal": {"a_A": {"distribution": "normal", "sigma": 0.5}}, "orientation": {"distribution": "uniform"}}
    more = content | {"beam.fluence": {"distribution": "lognormal", "sigma": 0.2}}
    one, again, other = series(content), series(content), series(content, seed=2)
    backwards = [again.numbers(frame) for frame in range(20, 0, -1)][::-1]
    for frame, numbers in enumerate(backwards, 1):
        own = one.numbers(frame)
        assert own.values == numbers.values and own.noise_seed == numbers.noise_seed and own.experiment == numbers.experiment
        assert own.values.items() <= series(more).numbers(frame).values.items()
        assert own.values != other.numbers(frame).values and own.noise_seed != other.numbers(frame).noise_seed
    assert len({tuple(numbers.values.values()) for numbers in backwards}) == 20


def test_noise_seeds_of_a_series_differ_and_are_seeds():
    seeds = [noise_seed(7, frame) for frame in range(1, 20001)]
    assert len(set(seeds)) == len(seeds) and min(seeds) >= 1 and max(seeds) < 2**31
    assert of_uniform(np.array(seeds) / 2.0**31)
    assert abs(np.corrcoef(seeds[1:], seeds[:-1])[0, 1]) < 0.03


def rotations(content, count, words=STILL):
    drawn = series(content, words)
    return np.array([about_xyz(drawn.numbers(frame).experiment.value("crystal.misset_deg")) for frame in range(1, count + 1)])


def test_orientations_are_uniform_over_all_rotations():
    """The angle of a uniform rotation has the density (1 - cos) / pi; a vector that it turns is uniform on the sphere."""
    turned = rotations({"orientation": {"distribution": "uniform"}}, 2000, STILL + " -misset 10 20 30")
    angles = np.arccos(np.clip((np.trace(turned, axis1=1, axis2=2) - 1.0) / 2.0, -1.0, 1.0))
    assert of_uniform((angles - np.sin(angles)) / math.pi)
    for axis in range(3):
        for column in range(3):
            assert of_uniform((turned[:, axis, column] + 1.0) / 2.0)
    between = np.swapaxes(turned[:-1], 1, 2) @ turned[1:]
    angles = np.arccos(np.clip((np.trace(between, axis1=1, axis2=2) - 1.0) / 2.0, -1.0, 1.0))
    assert of_uniform((angles - np.sin(angles)) / math.pi)


def test_normal_orientations_are_about_the_stated_one():
    turned = rotations({"orientation": {"distribution": "normal", "sigma_deg": 0.5}}, 1500, STILL + " -misset 10 20 30")
    small = turned @ about_xyz((10.0, 20.0, 30.0)).T
    vectors = np.degrees(np.stack([small[:, 2, 1], small[:, 0, 2], small[:, 1, 0]], axis=1))
    for component in vectors.T:
        assert of_uniform(np.array([phi(x / 0.5) for x in component]))
    assert np.abs(np.corrcoef(vectors.T) - np.eye(3)).max() < 0.1


@pytest.mark.parametrize("degrees", [(0.0, 0.0, 0.0), (170.0, -80.0, 20.0), (-3.0, 89.9999, 5.0), (10.0, 100.0, 20.0)])
def test_angles_are_those_of_their_rotation(degrees):
    assert np.abs(about_xyz(angles_about_xyz(about_xyz(degrees))) - about_xyz(degrees)).max() < 1e-14


def test_each_crystal_has_an_orientation_of_its_own(tmp_path):
    single = Experiment.from_args(STILL)
    both = nbnumba.Experiment(crystal=[single.crystal, single.crystal], structure_factors=single.structure_factors)
    drawn = Series(both, jitter_of({"orientation": {"distribution": "uniform"}}), 1).numbers(1)
    assert drawn.values["crystal.misset_x_deg"] != drawn.values["crystal[1].misset_x_deg"]
    assert drawn.experiment.value("crystal[1].misset_deg")[2] == drawn.values["crystal[1].misset_z_deg"]


def test_phi_advances_by_the_width_of_a_frame():
    rotation = series({"goniometer": {"phi_deg": {"distribution": "normal", "sigma": 0.001}}}, STILL + " -phi 5 -osc 0.5")
    assert rotation.nominal(1).goniometer.phi_deg == 5.0 and rotation.nominal(21).goniometer.phi_deg == 15.0
    assert 0.0 < abs(rotation.numbers(21).experiment.goniometer.phi_deg - 15.0) < 0.01
    assert series({}).nominal(7).goniometer.phi_deg == 0.0


NORMAL = 'distribution = "normal"\nsigma = 0.1\n'


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[crystal.a_A\n", "is no TOML.*allowed: tables of TOML"),
        ("[crystal.a_A]\nsigma = 0.1\n", r"\[crystal.a_A\]: no distribution is stated; allowed: normal, lognormal, uniform"),
        ('[crystal.a_A]\ndistribution = "cauchy"\n', r"distribution 'cauchy' is unknown; allowed: normal"),
        ("[crystal.a_A]\n" + NORMAL + "width = 2\n", "'width' is no key of distribution 'normal'; allowed: distribution, high"),
        ('[crystal.a_A]\ndistribution = "normal"\n', "sigma is missing"),
        ('[crystal.a_A]\ndistribution = "normal"\nsigma = -1\n', "sigma = -1 is not allowed; allowed: a number above 0"),
        ('[crystal.a_A]\ndistribution = "normal"\nsigma = "x"\n', "sigma = 'x' is not allowed; allowed: a number"),
        ('[crystal.a_A]\ndistribution = "normal"\nsigma = nan\n', "sigma = nan is not allowed"),
        ("[crystal.a_A]\n" + NORMAL + "low = 3\nhigh = 2\n", "low 3 is not below high 2"),
        ('[crystal.a_A]\ndistribution = "uniform"\nlow = 3\n', "low; allowed: low and high, or a half_width"),
        ('[crystal.a_A]\ndistribution = "lognormal"\nsigma = 1\nmedian = -1\n', "median = -1 is not allowed"),
        ("[crystal]\na_A = 3\n", "a_A = 3 is no table|no distribution is stated"),
        ("[crystal.a_A]\n" + NORMAL + 'tied = [3]\n', "tied = .* is not allowed; allowed: a list of names"),
        ("[crystal.a_A]\n" + NORMAL + 'tied = ["crystal.b_A"]\n[crystal.b_A]\n' + NORMAL, "crystal.b_A is stated twice"),
        ('[orientation]\ndistribution = "lognormal"\n', r"\[orientation\]: distribution 'lognormal' is unknown"),
        ('[orientation]\ndistribution = "normal"\n', "sigma_deg is missing"),
        ('orientation = "uniform"\n', r"orientation = 'uniform' is no table; allowed: \[orientation\]"),
        (
            '[orientation]\ndistribution = "uniform"\n[crystal.misset_x_deg]\n' + NORMAL,
            r"crystal.misset_x_deg and \[orientation\] state the same",
        ),
        ("[crystal.a_A]\n" + NORMAL + "[correlations]\nmatrix = [[1]]\n", "correlations.*matrix is not allowed"),
        (
            "[crystal.a_A]\n" + NORMAL + '[correlations]\nparameters = ["crystal.b_A"]\nmatrix = [[1]]\n',
            "crystal.b_A has no distribution of its own; allowed: crystal.a_A",
        ),
        (
            "[crystal.a_A]\n" + NORMAL + "[crystal.b_A]\n" + NORMAL
            + '[correlations]\nparameters = ["crystal.a_A", "crystal.b_A"]\nmatrix = [[1, 1.5], [1.5, 1]]\n',
            "the matrix of crystal.a_A, crystal.b_A is not positive definite",
        ),
        (
            "[crystal.a_A]\n" + NORMAL + "[crystal.b_A]\n" + NORMAL
            + '[correlations]\nparameters = ["crystal.a_A", "crystal.b_A"]\nmatrix = [[1, 0.5], [0.4, 1]]\n',
            "allowed: a symmetric matrix with 1 on its diagonal",
        ),
        (
            "[crystal.a_A]\n" + NORMAL + '[correlations]\nparameters = ["crystal.a_A"]\nmatrix = [[1, 2]]\n',
            "allowed: 1 rows of 1 numbers",
        ),
    ],
)  # fmt: skip
def test_a_file_that_states_no_jitter_is_refused_by_name(tmp_path, text, says):
    (tmp_path / "jitter.toml").write_text(text)
    with pytest.raises(InputError, match=says) as refused:
        nbnumba.read_jitter(tmp_path / "jitter.toml")
    assert "\n" not in str(refused.value) and "jitter.toml" in str(refused.value)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ({"crystal.d_A": {"distribution": "normal", "sigma": 1}}, "jitter: 'crystal.d_A' is no parameter"),
        ({"crystal.shape": {"distribution": "normal", "sigma": 1}}, "crystal.shape is 'square', which does not vary"),
        ({"crystal.misset_deg": {"distribution": "normal", "sigma": 1}}, "crystal.misset_deg is three numbers"),
        ({"crystal.mosaic_domains": {"distribution": "normal", "sigma": 1}}, "crystal.mosaic_domains is None, which does not"),
        ({"crystal[1].a_A": {"distribution": "normal", "sigma": 1}}, r"'crystal\[1\].a_A' is no parameter"),
        (
            {"crystal": {"a_A": {"distribution": "normal", "sigma": 1000.0}}},
            r"jitter, frame \d+: crystal.a_A = -[\d.]+: crystal.a_A: -[\d.]+.*allowed",
        ),
        (
            {"crystal": {"a_A": {"distribution": "normal", "sigma": 1.0, "low": 900}}},
            "jitter, frame 1: crystal.a_A: none of 100000 draws lies between low and high",
        ),
    ],
)
def test_what_an_experiment_does_not_allow_is_refused(content, says):
    drawn = series(content)
    with pytest.raises(InputError, match=says):
        [drawn.numbers(frame) for frame in range(1, 30)]
