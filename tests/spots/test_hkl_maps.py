"""Maps of reflections: against traces, which have every term of a pixel, and against images of single reflections."""

import dataclasses
from collections import defaultdict

import numpy as np
import pytest

import nbnumba
from nbnumba import Experiment, InputError, Panel, StructureFactors, hkl_map
from nbnumba.backends import cpu_shares, threads
from nbnumba.trace import traces

BASE = "-cell 50 60 70 80 85 95 -misset 10 20 30 -distance 100 -detpixels_x 23 -detpixels_y 17 -pixel 4 -fluence 1e28 -N 5 "
CASES = {
    "plain": "-default_F 100 -oversample 1",
    "samples": "-default_F 100 -oversample 2 -oversample_omega -oversample_polar -oversample_thick -detector_thick 300",
    "lattices": "-default_F 100 -oversample 1 -mosaic 3 -mosaic_domains 7 -osc 5 -phisteps 3",
    "sources": "-default_F 100 -oversample 1 -dispersion 9 -dispsteps 5 -hdivrange 20 -hdivsteps 3 -dmin 1.6 -curved_det",
    "water": "-default_F 100 -oversample 1 -water 5 -gauss_xtal -mosaic 9 -mosaic_domains 20",
    "round": "-default_F 100 -oversample 1 -round_xtal -mosaic 9 -mosaic_domains 20",
    "interpolated": "-hkl r.hkl -interpolate -default_F 3 -oversample 1 -mosaic 3 -mosaic_domains 4",
}


@pytest.fixture
def experiment_of(tmp_path, monkeypatch):
    """A function that makes the experiment of a case."""
    monkeypatch.chdir(tmp_path)
    hkl = np.stack(np.mgrid[-9:10, -9:10, -9:10], axis=-1).reshape(-1, 3)
    nbnumba.write_hkl("r.hkl", hkl, 10.0 + np.random.default_rng(2).uniform(0.0, 90.0, len(hkl)))
    return lambda case: Experiment.from_args(BASE + CASES[case])


def expected_share(chain, experiment):
    """The reflection that gives most photons of a traced pixel, and its share, from the terms of the chain."""
    sums, weights = defaultdict(float), experiment.beam
    layout = experiment.sampling
    factors = dict(chain.factors)
    for sample in chain.samples:
        for step in sample.phi_steps:
            key = tuple(int(index) for index in step.hkl_nearest)
            sums[key] += (step.amplitude * step.lattice) ** 2
    assert weights.sources is None and not layout.oversample_omega
    total = factors["I_before_scaling"][0]
    best = max(sorted(sums), key=lambda key: sums[key])
    return best, sums[best] / total


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("case", [case for case in CASES if case != "samples"])
def test_shares_are_those_of_traced_pixels(case, experiment_of):
    """Where all samples weigh the same, the terms of a trace add up to the share."""
    experiment = experiment_of(case)
    found = hkl_map(experiment, least_part=0.0)
    np.testing.assert_array_equal(found.photons, nbnumba.simulate(experiment))
    pixels = [tuple(map(int, pixel)) for pixel in np.random.default_rng(1).permutation(np.argwhere(found.share > 0.0))[:40]]
    assert len(pixels) > 20
    for pixel, chain in zip(pixels, traces(experiment, pixels)):
        hkl, share = expected_share(chain, experiment)
        assert found.share[pixel] == pytest.approx(share, rel=1e-9)
        assert tuple(found.hkl[pixel].tolist()) == hkl


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("case", ["samples", "lattices", "sources", "water"])
def test_a_share_is_the_part_of_an_image_with_one_reflection(case, experiment_of):
    experiment = experiment_of(case)
    found = hkl_map(experiment, least_part=0.0)
    common = np.unique(found.hkl[found.share > 0.3], axis=0)
    for hkl in common[:: max(1, len(common) // 4)]:
        factors = StructureFactors(hkl=[hkl], F=[100.0], interpolate=False)
        alone = dataclasses.replace(experiment, structure_factors=factors).replace({"background.water_um": 0.0})
        image = nbnumba.simulate(alone, tolerance=0.0)
        here = (found.hkl == hkl).all(axis=-1) & (found.share > 0.0)
        assert here.any()
        np.testing.assert_allclose(found.share[here], (image / found.photons)[here], rtol=1e-9, atol=1e-12)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("case", ["lattices", "water"])
def test_of_several_crystals_the_brightest_reflection_counts(case, experiment_of):
    """It is the brighter one of those that each crystal has alone; its share is one of all crystals and of the background."""
    one = experiment_of(case)
    another = dataclasses.replace(one.crystal, misset_deg=(40.0, -5.0, 60.0), scale=2.0, mosaic_spread_deg=20.0, n_a=6.0)
    both = dataclasses.replace(one, crystal=[one.crystal, another, dataclasses.replace(another, misset_deg=(1.0, 2.0, 3.0))])
    found, whole = hkl_map(both, least_part=0.0), nbnumba.simulate(both)
    np.testing.assert_array_equal(found.photons, whole)
    maps = [hkl_map(both.alone(number).replace({"background.water_um": 0.0}), least_part=0.0) for number in range(3)]
    photons = np.array([alone.share * alone.photons for alone in maps])
    brightest = photons.argmax(axis=0)
    np.testing.assert_array_equal(found.crystal, brightest)
    assert (np.bincount(found.crystal.ravel(), minlength=3) > 10).all()
    hkl = np.array([alone.hkl for alone in maps])
    np.testing.assert_array_equal(found.hkl, np.take_along_axis(hkl, brightest[np.newaxis, :, :, np.newaxis], axis=0)[0])
    np.testing.assert_allclose(found.share, photons.max(axis=0) / whole, rtol=1e-9)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_pixel_with_more_reflections_than_there_is_room_for_is_counted_again(experiment_of, monkeypatch):
    experiment = experiment_of("sources")
    whole = hkl_map(experiment)
    monkeypatch.setattr(cpu_shares, "ROOM", 1)
    for one, other in zip(whole, hkl_map(experiment)):
        np.testing.assert_array_equal(one, other)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_threads_regions_and_masks_change_no_share(experiment_of):
    experiment = experiment_of("lattices")
    whole = hkl_map(experiment, least_part=0.0)
    mask = np.random.default_rng(3).integers(0, 2, (17, 23))
    part = hkl_map(experiment.replace({"sampling.roi": (3, 20, 2, 15), "sampling.mask": mask}), least_part=0.0)
    inside = part.photons > 0.0
    assert inside.sum() > 50
    for name, one, other in zip(whole._fields, whole, part):
        np.testing.assert_array_equal(one[inside], other[inside])
        assert (other[~inside] == (-1 if name == "crystal" else 0)).all()
    threads.set_thread_count(1)
    try:
        np.testing.assert_array_equal(hkl_map(experiment, least_part=0.0).share, whole.share)
    finally:
        threads.set_thread_count(None)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_faint_pixels_and_dark_images_have_no_reflection(experiment_of):
    experiment = experiment_of("plain")
    found = hkl_map(experiment, least_part=0.1)
    bright = found.photons >= 0.1 * found.photons.max()
    assert (found.share[bright] > 0.0).all() and not found.share[~bright].any() and not found.hkl[~bright].any()
    np.testing.assert_array_equal(found.crystal, np.where(bright, 0, -1))
    dark = hkl_map(experiment.replace({"beam.fluence": 0.0}))
    assert not dark.share.any() and not dark.hkl.any() and (dark.crystal == -1).all()


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("shapes", [((8, 9), (8, 9)), ((8, 9), (5, 6))])
def test_panels_have_maps_like_the_image(shapes, experiment_of, tmp_path):
    corners = ((-40.0, -30.0, 0.0), (5.0, 3.0, 10.0))
    panels = [Panel(f"p{number}", shape, 4.0, 3.0, corner) for number, (shape, corner) in enumerate(zip(shapes, corners))]
    experiment = experiment_of("lattices").replace({"detector.panels": panels})
    whole, image = hkl_map(experiment, least_part=0.0), nbnumba.simulate(experiment)
    for number, panel in enumerate(panels):
        np.testing.assert_array_equal(whole.photons[number], image[number])
        assert whole.hkl[number].shape == (*panel.shape, 3) and (whole.share[number] > 0.0).sum() > 20
        pixel = np.unravel_index(whole.photons[number].argmax(), panel.shape)
        chain = traces(experiment, [(number, *map(int, pixel))])[0]
        hkl, share = expected_share(chain, experiment)
        assert (tuple(whole.hkl[number][pixel]), whole.share[number][pixel]) == (hkl, pytest.approx(share, rel=1e-9))
    nbnumba.write_hkl_map(tmp_path / "m.npz", whole)
    names = {"hkl", "share", "photons", "crystal"}
    expected = names if shapes[0] == shapes[1] else {f"{name}_{number}" for name in names for number in range(2)}
    assert set(np.load(tmp_path / "m.npz").files) == expected


def test_refusals(experiment_of):
    experiment = experiment_of("plain")
    for name in ("phi_carryover", "oversample_running_sum"):
        with pytest.raises(InputError, match=f"^sampling.c_parity: {name} is not allowed for a map"):
            hkl_map(experiment.replace({"sampling.c_parity": [name]}))
    with pytest.raises(InputError, match="^least_part: 2 is not allowed"):
        hkl_map(experiment, least_part=2)
