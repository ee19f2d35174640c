"""Images of the CUDA kernels in Numba's simulator, in plain Python, against the CPU's; test_simulator.py runs this."""

import dataclasses

import numpy as np
import panelled
import pytest
from cards import share_memory_once

from nbnumba import Experiment, simulate
from nbnumba.backends import PRECISIONS, card, cuda_block
from nbnumba.backends import cuda as driver
from nbnumba.constants import HC_EV_A
from nbnumba.loops.cuda_lattices import is_simple
from nbnumba.setup import sampling, scene
from nbnumba.simulate import with_options

if card.SIMULATED:
    share_memory_once()

pytestmark = [pytest.mark.filterwarnings("ignore::UserWarning"), pytest.mark.usefixtures("dirty_memory")]

BASE = "-cell 30 40 50 80 95 100 -default_F 10 -misset 10 20 30 -lambda 1.1 -N 3 -fluence 1e26 -nointerpolate "
BASE += "-distance 60 -pixel 4 -detpixels_x 9 -detpixels_y 5 -oversample 1 "
LISTED = "-cell 18 20 22 80 95 100 -distance 40 "
NEAR = "-cell 9 10 11 80 95 100 -distance 38 -Xbeam 20 -Ybeam 12 "
PHI = "-osc 1 -phisteps 3 "
SENSOR = "-detector_thick 400 -detector_abs 200 -detector_thicksteps 2 "
WATER = {"background.water_um": 1.0}
TABLE = WATER | {"background.table": ((0.0, 5.0), (0.05, 4.0), (0.1, 6.0), (0.2, 3.0), (0.3, 1.0))}
NAN = float("nan")
SOURCES = {"beam.sources": ((-1.0, 0.002, 0.001, 0.7, 1.09), (-1.0, -0.003, 0.001, 1.3, NAN))}
SMALL = [[h, k, l] for h in range(-2, 2) for k in range(-2, 2) for l in range(-1, 3)]
LARGE = [[h, k, l] for h in range(-6, 7) for k in range(-6, 7) for l in range(-6, 7)]
MASK = np.random.default_rng(2).random((5, 9)) < 0.6


def reflections(hkl, **more):
    """Fields of a list of reflections with amplitudes that are no whole numbers."""
    fields = {"hkl": np.array(hkl), "F": np.random.default_rng(1).uniform(5.0, 50.0, len(hkl)), **more}
    return {f"structure_factors.{name}": value for name, value in fields.items()}


def by_energy(hkl, **more):
    """The same with amplitudes of two photon energies, and sources at one of them and between (F9f)."""
    rows = np.random.default_rng(1).uniform(5.0, 50.0, (2, len(hkl)))
    return reflections(hkl, F=rows, energies_eV=(HC_EV_A / 1.1, HC_EV_A / 1.07), **more) | SOURCES


INTERPOLATED = reflections(LARGE, interpolate=True)
SIMPLE = {
    "still": ("", {}, {}),
    "steps and domains": (PHI + "-mosaic 0.5 -mosaic_domains 2", {}, {}),
    "domains about axes of the crystal": (PHI + "-mosaic_abc 1 4 2 -mosaic_domains 3", {}, {}),
    "cells that differ": (PHI + "-cell_spread 0.05 0.1 0.02 -mosaic_domains 3", {}, {}),
    "displaced": (PHI + "-xtal_position 3 -2 4", WATER, {}),
    "scale": ("-water 1 -xtal_scale 3", {}, {}),
    "phi 0 keeps the lattice, 1 thread": (PHI + "-phi 0", {}, {"c_parity": "phi_carryover"}),
    "phi 0 keeps the lattice, 2 threads": (PHI + "-phi 0", {}, {"c_parity": "phi_carryover", "c_threads": 2}),
    "phi 0 keeps the lattice, 5 threads": (PHI + "-phi 0 -oversample 2", {}, {"c_parity": "phi_carryover", "c_threads": 5}),
    "turned detector": ("-twotheta 20 -detector_rotx 5 -detector_roty -7 -detector_rotz 4", {}, {}),
    "point pixels": ("-point_pixel", {}, {}),
    "sub-pixels": ("-oversample 2", {}, {}),
    "layers": (SENSOR, {}, {}),
    "layers, capture of each": (SENSOR + "-oversample_thick", {}, {}),
    "layers, capture of the last": (SENSOR, {}, {"c_parity": ["capture_last_layer"]}),
    "polarization of each": ("-oversample 2 -oversample_polar -polar 0.5", {}, {}),
    "solid angle of each": ("-oversample 2 -oversample_omega", {}, {}),
    "no polarization": ("-nopolar", {}, {}),
    "water": ("", WATER, {}),
    "resolution": ("-dmin 4.5", {}, {}),
    "sources": ("-hdivrange 10 -hdivsteps 2 -dispersion 2 -dispsteps 2", {}, {}),
    "sources of a file": ("", SOURCES, {}),
    "list": (LISTED, reflections(SMALL), {}),
    "list by energy": (LISTED, by_energy(SMALL), {}),
    "list, nothing outside": (LISTED, reflections(SMALL, default_F=0.0), {}),
    "cells that are no whole number": ("", {"crystal.n_a": 2.5, "crystal.n_b": 1.0, "crystal.n_c": 4.25}, {}),
    "region": ("", {}, {"roi": (2, 7, 1, 3)}),
    "mask": ("", {}, {"mask": MASK}),
    "region and mask": ("-oversample 2", {}, {"roi": (3, 7, 2, 4), "mask": MASK}),
}
OTHERS = {
    "round": ("-round_xtal", {}, {}),
    "gauss": ("-gauss_xtal", {}, {}),
    "oblique": ("-gauss_xtal -N_abc 3.5 3 4 -N_def 1 -0.5 0.7", {}, {}),
    "B factors": (PHI + "-bfactor 200 -bfactor_aniso 30 -20 10 5 -7 9", {}, {}),
    "B factors, gauss": ("-gauss_xtal -bfactor 200", {}, {}),
    "B factors, interpolated": (NEAR + "-bfactor 50", INTERPOLATED, {}),
    "gauss by C's metric": ("-gauss_xtal", {}, {"c_parity": ["gauss_metric"]}),
    "top hat": ("-tophat_spots -N 1", {}, {}),
    "curved": ("-curved_det", {}, {}),
    "curved layers": ("-curved_det -oversample_thick " + SENSOR, {}, {}),
    "table": ("", TABLE, {}),
    "ice": ("-ice 1 -ice_size 50 -water 1 -water_table", {}, {}),
    "interpolated": (NEAR, INTERPOLATED, {}),
    "interpolated, by energy": (NEAR, by_energy(LARGE, interpolate=True), {}),
    "latched": (NEAR, INTERPOLATED, {"c_parity": "interpolation_latch"}),
    "latched, in a region": (NEAR + PHI, INTERPOLATED, {"c_parity": "interpolation_latch", "roi": (2, 7, 1, 4)}),
    "running product": (SENSOR + "-oversample_thick", {}, {"c_parity": "oversample_running_sum"}),
    "running products": ("-oversample 2 -oversample_omega -oversample_polar", WATER, {"c_parity": "oversample_running_sum"}),
    "C": (PHI + "-phi 0 -water 1 -oversample_thick -mosaic 0.5 -mosaic_domains 2 " + SENSOR, {}, {"c_parity": "all"}),
}
CASES = SIMPLE | OTHERS
DARK = {"resolution", "list, nothing outside", "region", "latched, in a region", "mask", "region and mask", "top hat"}
"""Cases with pixels that are 0."""


def made(name, more="") -> tuple[Experiment, dict]:
    """The experiment of a case, and keywords of simulate."""
    words, fields, keywords = CASES[name]
    return Experiment.from_args((BASE + words + more).split()).replace(fields), keywords


def scene_of(experiment, keywords):
    experiment = with_options(experiment, **keywords)
    wanted = sampling.window(experiment.detector.pixels, experiment.sampling.roi, experiment.sampling.mask)
    return scene.build(experiment, wanted)


def on_card(experiment, precision="double", **keywords):
    card.check()
    return simulate(experiment, backend="cuda", precision=precision, **keywords)


@pytest.mark.parametrize("shapes", [((3, 4),) * 4, ((3, 4), (4, 2), (2, 5))])
@pytest.mark.parametrize("more", ["", "-gauss_xtal -N 4", PHI + "-oversample_thick"])
def test_panels(shapes, more):
    """They have the bits of a detector with this panel alone, on the card too."""
    made = panelled.experiment(3, shapes, more)
    image = on_card(made)
    for number, (part, expected) in enumerate(zip(image, simulate(made), strict=True)):
        same(part, expected)
        np.testing.assert_array_equal(part, on_card(panelled.alone(made, number)))


def test_several_crystals():
    experiment = made("water")[0]
    other = dataclasses.replace(experiment.crystal, misset_deg=(30.0, -50.0, 70.0), scale=0.5, shape="gauss")
    both = dataclasses.replace(experiment, crystal=[experiment.crystal, other])
    same(on_card(both), simulate(both))


def single_close(image, expected):
    """In single precision an image is known to 1e-3 of each pixel and 2e-4 of the largest."""
    np.testing.assert_allclose(image, expected, rtol=1e-3, atol=2e-4 * expected.max())


def same(image, expected):
    np.testing.assert_allclose(image, expected, rtol=1e-12, atol=1e-12 * expected.max())


@pytest.mark.parametrize("name", CASES)
def test_double(name):
    """Every feature, by the kernel that it is for; and the feature is in the image."""
    experiment, keywords = made(name)
    assert is_simple(scene_of(experiment, keywords)) == (name in SIMPLE)
    expected = simulate(experiment, **keywords)
    image = on_card(experiment, **keywords)
    assert image.dtype == np.float64 and image.max() > 0.0
    assert (image == 0.0).any() == (name in DARK)
    np.testing.assert_array_equal(image == 0.0, expected == 0.0)
    same(image, expected)
    if name != "still":
        without = simulate(made("still")[0])
        assert np.abs(expected - without).max() > 1e-4 * without.max()


@pytest.mark.parametrize("precision", ["mixed", "paired"])
@pytest.mark.parametrize("name", CASES)
def test_mixed_and_paired(name, precision):
    """Within what these precisions promise of the CPU in double; nearer to the CPU in the same precision."""
    experiment, keywords = made(name)
    image, expected = on_card(experiment, precision, **keywords), simulate(experiment, **keywords)
    np.testing.assert_allclose(image, expected, rtol=1e-5, atol=1e-7 * expected.max())
    alike = simulate(experiment, precision=precision, **keywords)
    np.testing.assert_allclose(image, alike, rtol=4e-6, atol=1e-9 * alike.max())


@pytest.mark.parametrize("name", CASES)
def test_single(name):
    experiment, keywords = made(name)
    image = on_card(experiment, "single", **keywords)
    assert image.dtype == np.float64 and image.max() > 0.0
    single_close(image, simulate(experiment, precision="single", **keywords))


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_the_pass_with_the_fresh_lattice(threads):
    """A pixel of a thread's first row has the lattice of phi 0, in one pass of its samples alone."""
    experiment, keywords = made(f"phi 0 keeps the lattice, {threads} thread{'s'[: threads - 1]}")
    built = scene_of(experiment, keywords).orientations
    fresh = [row for row in range(5) if built.fresh_pass[row, 1] >= 0]
    assert fresh and not np.array_equal(built.fresh_lattice, built.lattice)
    one = on_card(experiment, **keywords)
    without = on_card(experiment)
    changed = np.abs(one - without) > 1e-6 * without
    assert changed.any()
    same(one, simulate(experiment, **keywords))


def test_the_latch_falls_within_the_image():
    """Some pixels are interpolated, and others not."""
    experiment, keywords = made("latched")
    latched, always = on_card(experiment, **keywords), on_card(experiment)
    never = on_card(experiment.replace({"structure_factors.interpolate": False}))
    as_always, as_never = (np.isclose(latched, image, rtol=1e-9, atol=0.0) for image in (always, never))
    assert as_always.any() and as_never.any() and (as_always | as_never).mean() > 0.9
    assert not as_always.all() and not as_never.all()


def test_reflections_outside_of_the_box():
    """Beyond the list stands default_F, or nothing."""
    experiment, _ = made("list")
    dark = on_card(experiment.replace({"structure_factors.default_F": 0.0}))
    lit = on_card(experiment)
    assert (dark == 0.0).any() and (dark > 0.0).any()
    assert (lit[dark == 0.0] > 0.0).all()
    np.testing.assert_array_equal(lit[dark > 0.0], dark[dark > 0.0])


@pytest.mark.parametrize("precision", PRECISIONS)
def test_rows_by_chunks(monkeypatch, precision):
    """An image of three calls to the card is that of one, bit for bit, and says how far it is."""
    experiment, _ = made("still", "-detpixels_x 2 -detpixels_y 140")
    whole, seen = on_card(experiment, precision), []
    monkeypatch.setattr(driver, "STEPS_PER_CALL", 1)
    monkeypatch.setattr(driver, "FEWEST_ROWS", 64)
    image = on_card(experiment, precision, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(64, 140), (128, 140), (140, 140)]
    assert image.tobytes() == whole.tobytes() and image.min() > 0.0
    assert on_card(experiment, precision, roi=(1, 1, 3, 137)).tobytes() == np.where(within(), whole, 0.0).tobytes()


def within():
    kept = np.zeros((140, 2), dtype=bool)
    kept[3:138, 1] = True
    return kept


def test_a_block_is_full_and_another_is_not():
    """Pixels beyond one block along the fast and the slow axis, and whole blocks."""
    assert cuda_block.BLOCK == (4, 8)
    for size in ("-detpixels_x 19 -detpixels_y 1", "-detpixels_x 1 -detpixels_y 11", "-detpixels_x 16 -detpixels_y 4"):
        experiment, _ = made("still", "-pixel 1 " + size)
        same(on_card(experiment), simulate(experiment))


@pytest.mark.parametrize(("shape", "sent"), [((0,), (0,)), ((0, 0), (0, 1)), ((0, 0, 0), (0, 1, 1)), ((0, 9), (0, 1))])
def test_empty_tables_are_of_the_type_of_all_others(shape, sent):
    """On a card an array (0, 0) has a stride of 0 and another type; nothing is kept of it."""
    card._kept.clear()
    table = card.upload("mask", np.zeros(shape, dtype=np.uint8))
    assert table.shape == sent and table.dtype == np.uint8 and not card._kept


def test_what_is_kept_between_calls():
    """Memory is kept by name and shape: other numbers, amplitudes, masks and precisions are those of the call."""
    first, _ = made("list")
    second, _ = made("list", "-misset 40 50 60 -lambda 1.3 -distance 45")
    amplitudes = np.random.default_rng(8).uniform(5.0, 50.0, len(SMALL))
    third = first.replace({"structure_factors.F": amplitudes})
    calls = [(first, {}), (second, {}), (first, {}), (third, {}), (first, {"mask": MASK}), (first, {"mask": ~MASK})]
    calls += [(first, {"mask": MASK, "precision": "single"}), (third, {"precision": "mixed"}), (third, {})]
    calls += [(first, {"precision": "paired"}), (first, {"roi": (1, 4, 0, 2)}), (second, {"roi": (2, 5, 1, 3)}), (first, {})]
    images = []
    for experiment, keywords in calls:
        image, expected = on_card(experiment, **keywords), simulate(experiment, **keywords)
        precision = keywords.get("precision", "double")
        if precision == "single":
            single_close(image, expected)
        else:
            relative = 1e-12 if precision == "double" else 4e-6
            assert (np.abs(image - expected) <= relative * expected + 1e-9 * relative * expected.max()).all()
        images.append(image)
    for one in (1, 3, 4, 5):
        assert np.abs(images[0] - images[one]).max() > 1e-3 * images[0].max()
    assert images[0].tobytes() == images[2].tobytes() == images[-1].tobytes()
    assert images[3].tobytes() == images[8].tobytes()


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", ["steps and domains", "interpolated", "C"])
def test_bits_repeat(name, precision):
    experiment, keywords = made(name)
    one = on_card(experiment, precision, **keywords)
    card._kept.clear()
    assert one.tobytes() == on_card(experiment, precision, **keywords).tobytes()


def test_an_upload_that_is_interrupted_is_forgotten():
    """What is on the card is then neither the old nor surely the new."""

    class Interrupted:
        def copy_to_device(self, array):
            raise KeyboardInterrupt

    old = np.arange(4.0)
    with card.at_work():
        card.upload("table", old)
    card._kept["table"] = (old, Interrupted())
    with pytest.raises(KeyboardInterrupt), card.at_work():
        card.upload("table", old + 100.0)
    assert not card._kept
    with card.at_work():
        np.testing.assert_array_equal(card.upload("table", old).copy_to_host(), old)
