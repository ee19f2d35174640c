"""Random command lines are compared with the oracle: the same model written again in plain Python."""

import math

import numpy as np
import oracle
import pytest
from random_experiments import KNOWN, Maker, Shaken, assert_equals, few_enough, is_impossible

from nbnumba import Experiment, InputError, simulate
from nbnumba.flags.table import BY_NAME
from nbnumba.parity import SWITCHES

PLAIN, FULL = 200, 150
"""Experiments with one source and a bare parallelepiped, and experiments with everything."""


@pytest.mark.parametrize("seed, full", [(s, False) for s in range(PLAIN)] + [(1000 + s, True) for s in range(FULL)])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_image_equals_the_oracle(seed, full, tmp_path):
    made = Maker(seed, tmp_path, full)
    args = few_enough(made.args, made.switches)
    parity = ["-c_parity", *made.switches] if made.switches else []
    experiment = Experiment.from_args([*args, *parity, "-c_threads", str(made.threads)])
    model, upper = (kind(args, made.switches, made.threads) for kind in (oracle.Model, Shaken))
    if not model.sources:
        return
    try:
        image = simulate(experiment)
    except InputError as error:
        assert is_impossible(model), (error, args)
        return
    assert not is_impossible(model)
    assert_equals(image, model, upper, made.random, made.threads, (args, made.switches))


SMALL = "-cell 30 40 50 80 95 100 -misset 10 20 30 -lambda 1.5 -N 4 -default_F 100 -distance 50 -detpixels 6 -pixel 4 "
SMALL += "-oversample 2 "
WET = SMALL + "-water 300 "


CORNERS = [
    (SMALL + "-mosaic 1 -mosaic_domains 3 -misset random -misset_seed 5 -mosaic_seed -7", ("misset_random",)),
    (SMALL + "-osc 0 -phistep 0.5 -phi 3", ()),
    (SMALL + "-phi 0 -osc 0 -phisteps 3", ("phi_carryover",)),
    (SMALL + "-phi -1 -osc 2 -phisteps 4 -dmin 3 -dispersion 5 -dispsteps 2", ("phi_carryover",)),
    (SMALL + "-nopolar -oversample_polar", ("oversample_running_sum",)),
    (WET + "-oversample_polar -oversample_omega", ()),
    (SMALL + "-phi_sampling mid -osc 2 -phisteps 3", ("thick_layers",)),
    (WET + "-dmin 9", ()),
    (WET + "-dmin 9", ("water_scale",)),
    (WET + "-dmin 90", ("water_scale",)),
    (WET + "-dmin 90 -nopolar", ("water_scale",)),
    (WET + "-dmin 90 -oversample_polar", ("water_scale", "oversample_running_sum")),
    (WET + "-density 1.4 -molecwt 60", ()),
    (WET + "-density 1.4 -molecwt 60", ("amorphous_ignored",)),
    (WET + "-detector_thick 300 -detector_abs 500", ()),
    (WET + "-detector_thick 300 -detector_abs 500", ("water_scale", "capture_last_layer")),
    (WET + "-detector_thick 300 -detector_abs 500", ("water_scale",)),
    (WET + "-detector_thick 300 -detector_abs 500 -oversample_thick", ("capture_last_layer",)),
    (WET + "-detector_thick 300 -detector_abs 500 -oversample_polar", ("water_scale", "oversample_running_sum")),
    (
        WET + "-detector_thick 300 -detector_abs 500 -oversample_polar",
        ("water_scale", "oversample_running_sum", "capture_last_layer"),
    ),
    (WET + "-detector_thick 300 -detector_thicksteps 1 -oversample_omega", ("water_scale", "oversample_running_sum")),
    (WET + "-oversample_omega", ("oversample_running_sum",)),
    (SMALL + "-cell_spread 0.05 0 0.1", ()),
    (SMALL + "-cell_spread 0.05 0.1 0.02 -mosaic_domains 4 -mosaic 2 -mosaic_abc 1 2 3 -mosaic_seed -5 -phi 3", ()),
    (SMALL + "-cell_spread 0 0.2 0 -mosaic_domains 3 -bfactor 20 -gauss_xtal", ()),
    (SMALL + "-xtal_position 9 -7 3 -osc 50 -phisteps 3 -phi -20", ()),
    (SMALL + "-xtal_position 0 0 8 -osc 50 -phisteps 3", ()),
    (WET + "-xtal_position -9 7 3 -osc 50 -phisteps 2 -detector_thick 300 -detector_abs 500 -oversample_thick -dmin 9", ()),
    (WET + "-xtal_position 2 7 3 -oversample_polar -oversample_omega -cell_spread 0.05 0 0.1 -mosaic_domains 2", ()),
    (SMALL + "-xtal_position 2 7 3 -point_pixel -oversample_omega -detector_rotx 30 -twotheta 20 -polar 0.8", ()),
]
"""Combinations in which the switches, or two rules about what is not given, meet."""


@pytest.mark.parametrize("args, switches", CORNERS)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_corner_equals_the_oracle(args, switches):
    words = args.split()
    parity = ["-c_parity", *switches] if switches else []
    image = simulate(Experiment.from_args([*words, *parity, "-c_threads", "2"]))
    expected = oracle.render(words, None, switches, 2)
    np.testing.assert_allclose(image, expected, rtol=1e-9, atol=1e-12 * expected.max())


def test_round_divergence_that_leaves_no_source_is_an_error():
    args = [*SMALL.split(), *"-hdivrange 1 -hdivstep 5 -vdivrange 1 -vdivstep 5".split()]
    assert not oracle.Model(args).sources
    with pytest.raises(InputError, match="div"):
        simulate(Experiment.from_args(args))


@pytest.mark.parametrize("flag, unit", [("-stol", 1.0), ("-4stol", 4.0), ("-Q", 4 * math.pi)])
def test_background_table_equals_the_oracle(flag, unit, tmp_path):
    """To 1e-5, as the kernel's table is an even grid of 2^14 points that it interpolates linearly."""
    x = np.array([0.0, 0.01, 0.03, 0.05, 0.08, 0.1, 0.13, 0.2])
    np.savetxt(tmp_path / "stol", np.column_stack([unit * x, 3 + np.sin(40 * x)]))
    args = [*WET.split(), flag, str(tmp_path / "stol")]
    expected = oracle.render(args)
    np.testing.assert_allclose(simulate(Experiment.from_args(args)), expected, rtol=1e-5)
    assert np.abs(oracle.render(WET) / expected - 1).min() > 1e-2


@pytest.mark.parametrize("more", ["-beamsize 0.3", "-water 300 -oversample_polar -dispersion 5 -dispsteps 2",
                                  "-water 300 -detector_thick 300 -detector_abs 500 -dmin 9"])  # fmt: skip
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_air_equals_the_oracle(more):
    """To 1e-5, as for other tables; its molecules are rounded to 1e-8."""
    words = f"{SMALL}-air 5000 {more}".split()
    image, expected = simulate(Experiment.from_args(words)), oracle.render(words)
    np.testing.assert_allclose(image, expected, rtol=1e-5)
    assert (image > 1.001 * simulate(Experiment.from_args(f"{SMALL}{more}"))).all()


@pytest.mark.parametrize("more", ["", "-ice_size 200 -water 30 -oversample_polar -dispersion 5 -dispsteps 2",
                                  "-air 5 -beamsize 0.03 -ice_size 90 -detector_thick 300 -detector_abs 500"])  # fmt: skip
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_ice_equals_the_oracle(more):
    """On and between rings, to what is lost between two entries of the table (F12c)."""
    words = f"{SMALL}{more} -ice 30 -default_F 1e-3 -lambda 1 -distance 60 -pixel 8".split()
    image, expected = simulate(Experiment.from_args(words)), oracle.render(words)
    np.testing.assert_allclose(image, expected, rtol=1e-3, atol=5e-4 * expected.max())
    without = simulate(Experiment.from_args(words).replace({"background.ice_um": 0.0}))
    of_ice = image - without
    assert (of_ice > 1e-3 * without).all() and of_ice.max() > 4 * of_ice.min()


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_the_table_of_water_equals_the_oracle():
    words = f"{SMALL}-water 300 -water_table".split()
    image = simulate(Experiment.from_args(words))
    np.testing.assert_allclose(image, oracle.render(words), rtol=1e-5)
    named = Experiment.from_args(f"{SMALL}-water 300").replace({"background.table": "water"})
    np.testing.assert_array_equal(simulate(named), image)


def test_experiments_cover_what_they_should(tmp_path):
    """Every flag that the maker knows occurs, and every switch, on and off; few experiments are impossible."""
    seen, impossible = {}, 0
    for seed in range(FULL):
        made = Maker(1000 + seed, tmp_path, True)
        for word in {words[0] for words in made.flags} | set(made.switches):
            seen[word] = seen.get(word, 0) + 1
        impossible += is_impossible(oracle.Model([*made.args, "-phi", "1", "-nointerpolate"], made.switches, 1))
    assert impossible < FULL / 5
    assert FULL / 5 < min(seen[name] for name in KNOWN) and max(seen[name] for name in KNOWN) < FULL * 4 / 5
    assert min(seen.values()) >= 2, seen
    given = set(seen) & set(BY_NAME)
    assert len({BY_NAME[name].names[0] for name in given}) >= 65


def test_every_switch_is_known_to_the_oracle():
    assert set(SWITCHES) <= set(oracle.PARITY_SWITCHES)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_beam_along_the_electric_vector_has_a_finite_image():
    words = "-cell 50 60 70 -default_F 100 -N 5 -distance 50 -detpixels 8 -pixel 2 -oversample 1 -polar 0.5 ".split()
    words += "-beam_vector 0 0 1 -fdet_vector 1 0 0 -sdet_vector 0 1 0".split()
    image = simulate(Experiment.from_args(words))
    expected = oracle.render(words)
    np.testing.assert_allclose(image, expected, rtol=1e-9, atol=1e-9 * expected.max())
