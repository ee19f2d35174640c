"""Maps of reflections by the CUDA kernel in Numba's simulator, against the CPU's; test_simulator.py runs this."""

import dataclasses

import numpy as np
import panelled
import pytest
from cards import share_memory_once
from simulated_forward import BASE, INTERPOLATED, LISTED, NEAR, PHI, SENSOR, SMALL, SOURCES, by_energy, reflections

from nbnumba import Experiment, hkl_map
from nbnumba.backends import card, cuda_shares

if card.SIMULATED:
    share_memory_once()

pytestmark = [pytest.mark.filterwarnings("ignore::UserWarning"), pytest.mark.usefixtures("dirty_memory")]

CASES = {
    "still": ("", {}),
    "steps and domains": (PHI + "-mosaic 20 -mosaic_domains 5", {}),
    "sources and water": ("-water 0.001 -dmin 4.5", SOURCES),
    "samples": (SENSOR + "-oversample 2 -oversample_omega -oversample_polar -oversample_thick", {}),
    "gauss, ice": ("-gauss_xtal -ice 0.001 -ice_size 50 -mosaic 20 -mosaic_domains 3", {}),
    "round, curved": ("-round_xtal -curved_det -mosaic 20 -mosaic_domains 3", {}),
    "B factor": (PHI + "-bfactor 200", {}),
    "list by energy": (LISTED, by_energy(SMALL)),
    "interpolated": (NEAR + "-mosaic 20 -mosaic_domains 3", INTERPOLATED),
    "default beside a list": (LISTED, reflections(SMALL)),
}


ONE_TERM = {"still", "default beside a list"}
"""Cases in which each pixel has one reflection and no background."""


def made(name) -> Experiment:
    words, fields = CASES[name]
    return Experiment.from_args((BASE + words).split()).replace(fields)


def same(found, expected):
    """The same reflections and crystals, and shares to rounding."""
    for field in ("hkl", "crystal"):
        np.testing.assert_array_equal(getattr(found, field), getattr(expected, field))
    np.testing.assert_allclose(found.share, expected.share, rtol=1e-12)
    np.testing.assert_allclose(found.photons, expected.photons, rtol=1e-12, atol=1e-12 * expected.photons.max())


def on_card(experiment, **keywords):
    card.check()
    return hkl_map(experiment, backend="cuda", **keywords)


@pytest.mark.parametrize("name", CASES)
def test_maps(name):
    experiment = made(name)
    expected = hkl_map(experiment, least_part=0.0)
    same(on_card(experiment, least_part=0.0), expected)
    assert (expected.share > 0.0).any() and len(np.unique(expected.hkl[expected.share > 0.0], axis=0)) > 1
    assert (expected.share < 1.0).any() == (name not in ONE_TERM)


def test_several_crystals():
    experiment = made("steps and domains")
    other = dataclasses.replace(experiment.crystal, misset_deg=(30.0, -50.0, 70.0), scale=0.5, shape="gauss")
    both = dataclasses.replace(experiment, crystal=[experiment.crystal, other])
    found = on_card(both, least_part=0.0)
    same(found, hkl_map(both, least_part=0.0))
    assert set(np.unique(found.crystal)) == {0, 1}


def test_panels():
    experiment = panelled.experiment(2, ((3, 4), (4, 2)), PHI)
    found, expected = on_card(experiment), hkl_map(experiment)
    for number in range(2):
        same(type(found)(*(part[number] for part in found)), type(found)(*(part[number] for part in expected)))


def test_faint_pixels_and_masked_ones_are_not_counted():
    experiment = made("still").replace({"sampling.mask": np.random.default_rng(2).random((5, 9)) < 0.6})
    found, expected = on_card(experiment, least_part=0.1), hkl_map(experiment, least_part=0.1)
    same(found, expected)
    assert (found.crystal == -1).any() and (found.crystal == 0).any()


@pytest.mark.parametrize("room, most", [(1, 2**22), (4, 8), (64, 1)])
def test_rooms_and_launches_change_nothing(monkeypatch, room, most):
    """Pixels are counted once more where they have more reflections than there is room for, in launches of any size."""
    experiment = made("steps and domains")
    expected = on_card(experiment, least_part=0.0)
    monkeypatch.setattr(cuda_shares, "ROOM", room)
    monkeypatch.setattr(cuda_shares, "MOST_PLACES", most)
    for one, other in zip(on_card(experiment, least_part=0.0), expected):
        np.testing.assert_array_equal(one, other)


def test_slots_beyond_32_bits():
    """Of a large cell there are more reflections than a number of 32 bits can tell apart."""
    words = BASE + "-cell 900 950 990 80 95 100 -lambda 0.5 -detpixels_x 3 -detpixels_y 2"
    experiment = Experiment.from_args(words.split())
    found = on_card(experiment, least_part=0.0)
    same(found, hkl_map(experiment, least_part=0.0))
    assert np.abs(found.hkl).max() > 200 and 8.0 * np.prod([2 * n / 0.5 for n in (900, 950, 990)]) > 2**32
