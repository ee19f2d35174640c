"""Frames: their images and noise are those of simulate and noise_image, and labels say what crystals and background give."""

import dataclasses
import warnings

import numpy as np
import pytest

import nbnumba
from nbnumba import Experiment, InputError, Panel, Response, StructureFactors
from nbnumba.shots.frame import LEAST_PHOTONS
from nbnumba.simulate import render

BASE = (
    "-cell 50 60 70 80 85 95 -misset 10 20 30 -distance 100 -detpixels_x 47 -detpixels_y 35 -pixel 2 -fluence 1e26 -N 7 "
    "-gauss_xtal -mosaic 1 -mosaic_domains 6 -default_F 100 -oversample 1"
)
CASES = {
    "bare": "",
    "water": "-water 1 -dispersion 2 -dispsteps 3",
    "tolerance": "-water 1 -tolerance 1e-4",
    "rotation": "-osc 1 -phisteps 3 -air 3e-6 -beamsize 0.1",
}
JITTER = {
    "crystal": {"a_A": {"distribution": "normal", "sigma": 0.5}, "n_a": {"distribution": "lognormal", "sigma": 0.2}},
    "detector": {"distance_mm": {"distribution": "uniform", "half_width": 1.0}},
    "orientation": {"distribution": "uniform"},
}

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def experiment_of(case):
    return Experiment.from_args(f"{BASE} {CASES[case]}")


@pytest.mark.parametrize("case", CASES)
def test_a_frame_is_the_image_of_its_experiment(case):
    """Bit for bit, whatever frames were made before it; and the noise image that of its seed."""
    response = Response(gain=3.0, readout_noise=2.0)
    made = list(nbnumba.frames(experiment_of(case), [3, 1, 2], jitter=JITTER, seed=4, labels=True, response=response, adc=10.0))
    assert [frame.number for frame in made] == [3, 1, 2]
    for frame in made:
        np.testing.assert_array_equal(frame.image, nbnumba.simulate(frame.experiment))
        noisy = nbnumba.noise_image(frame.experiment, frame.image, frame.noise_seed, response, 10.0)
        np.testing.assert_array_equal(frame.pixels, noisy.pixels)
        assert frame.experiment.value("crystal.a_A") == frame.values["crystal.a_A"]
        [alone] = nbnumba.frames(experiment_of(case), [frame.number], jitter=JITTER, seed=4, labels=True, noise=False)
        np.testing.assert_array_equal(alone.image, frame.image)
        assert alone.pixels is None
        for one, other in zip(alone.labels, frame.labels):
            np.testing.assert_array_equal(one, other)


def share_of(experiment, hkl):
    """The photons that a reflection gives alone, without background."""
    factors = StructureFactors(hkl=[hkl], F=[100.0], interpolate=False)
    return nbnumba.simulate(dataclasses.replace(experiment, structure_factors=factors, background=nbnumba.Background()))


@pytest.mark.parametrize("case", CASES)
def test_labels_say_what_each_reflection_and_the_background_give(case):
    """By images of single reflections, of crystals without background, and of background without crystals."""
    for frame in nbnumba.frames(experiment_of(case), 2, jitter=JITTER, seed=4, labels=True):
        labels, experiment = frame.labels, frame.experiment
        dry = nbnumba.simulate(dataclasses.replace(experiment, background=nbnumba.Background()))
        dark = dataclasses.replace(experiment, structure_factors=StructureFactors(hkl=[[0, 0, 0]], F=[0.0], interpolate=False))
        background = nbnumba.simulate(dark)
        np.testing.assert_allclose(labels.background, background, rtol=1e-6)
        labelled = labels.lattice >= 0
        slack = 1e-9 + (1e-4 if case == "tolerance" else 0.0)
        twice = 2.0 * slack
        assert (labelled[dry > LEAST_PHOTONS + slack]).all() and not labelled[dry < LEAST_PHOTONS - slack].any()
        assert 0.02 < labelled.mean() < 1.0
        np.testing.assert_allclose(labels.bragg[labelled], dry[labelled], rtol=1e-6, atol=twice)
        share = dry[labelled] / (dry + background)[labelled]
        np.testing.assert_allclose(labels.bragg_share[labelled], share, rtol=1e-5, atol=slack)
        for name in ("hkl", "hkl_share", "bragg", "bragg_share"):
            assert not getattr(labels, name)[~labelled].any()
        photons = {tuple(map(int, hkl)): share_of(experiment, hkl) for hkl in np.unique(labels.hkl[labelled], axis=0)[::6]}
        for hkl, image in photons.items():
            here = labelled & (labels.hkl == hkl).all(axis=-1)
            lacking = 0.01 if case == "tolerance" else 1e-6
            np.testing.assert_allclose(labels.hkl_share[here], image[here] / dry[here], rtol=1e-4, atol=lacking)
            others = labelled & ~here & (image / np.maximum(dry, 1e-9) > 0.51)
            assert not others.any()


def test_labels_of_several_crystals_name_the_brightest():
    one = experiment_of("water")
    both = dataclasses.replace(one, crystal=[one.crystal, dataclasses.replace(one.crystal, scale=0.5)])
    [frame] = nbnumba.frames(both, 1, jitter={"orientation": {"distribution": "uniform"}}, seed=2, labels=True)
    dry = dataclasses.replace(frame.experiment, background=nbnumba.Background())
    alone = np.array([nbnumba.simulate(dry.alone(number)) for number in (0, 1)])
    labelled = frame.labels.lattice >= 0
    assert {0, 1} <= set(frame.labels.lattice[labelled].tolist())
    clear = labelled & (np.abs(alone[0] - alone[1]) > 0.5 * alone.sum(axis=0)) & (frame.labels.hkl_share > 0.7)
    assert clear.sum() > 20
    np.testing.assert_array_equal(frame.labels.lattice[clear], alone.argmax(axis=0)[clear])
    np.testing.assert_allclose(frame.labels.bragg[labelled], alone.sum(axis=0)[labelled], rtol=1e-5)


def test_labels_of_panels_are_like_their_image():
    panels = [Panel(f"p{n}", (12, 20 + 5 * n), 2.0, 2.0, (-40.0, -40.0 + 30.0 * n, 0.0)) for n in range(2)]
    experiment = experiment_of("water").replace({"detector.panels": panels})
    [frame] = nbnumba.frames(experiment, 1, labels=True)
    assert [part.shape for part in frame.image] == [part.shape for part in frame.pixels] == [(12, 20), (12, 25)]
    assert [part.shape for part in frame.labels.hkl] == [(12, 20, 3), (12, 25, 3)]


def test_photons_that_are_added_are_background():
    """An image of photons, and no label where the crystals give nothing (F12a)."""
    added = np.full((35, 47), 5.0)
    with_image = experiment_of("bare").replace({"background.image": added})
    [frame] = nbnumba.frames(with_image, 1, labels=True)
    [bare] = nbnumba.frames(experiment_of("bare"), 1, labels=True)
    np.testing.assert_array_equal(frame.labels.hkl, bare.labels.hkl)
    np.testing.assert_array_equal(frame.labels.background, added.astype(np.float32))
    np.testing.assert_allclose(frame.labels.bragg, bare.labels.bragg)


def test_what_frames_have_in_common_is_made_once(monkeypatch):
    """Amplitudes are packed once for all frames; a background is rendered anew only if something that it is made from moves."""
    from nbnumba.setup import structure
    from nbnumba.shots import frame as module

    counts = {"box": 0, "render": 0}

    def counted(name, function):
        def call(*args, **keywords):
            counts[name] += 1
            return function(*args, **keywords)

        return call

    factors = StructureFactors(hkl=np.argwhere(np.ones((5, 5, 5))), F=np.full(125, 50.0))
    experiment = dataclasses.replace(experiment_of("water"), structure_factors=factors)
    monkeypatch.setattr(structure, "box", counted("box", structure.box))
    monkeypatch.setattr(module, "render", counted("render", render))
    jitter = {name: JITTER[name] for name in ("crystal", "orientation")}
    list(nbnumba.frames(experiment, 6, jitter=jitter, labels=True))
    assert counts == {"box": 2, "render": 7}  # one box of nothing for the background; 6 images and a background
    counts.update(box=0, render=0)
    list(nbnumba.frames(experiment, 6, jitter=JITTER, labels=True))
    assert counts["render"] == 12


def test_frames_warn_once_of_what_is_assumed():
    stated = experiment_of("bare").replace({"goniometer.spindle_axis": (0, 1, 0)})
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        list(nbnumba.frames(stated, 4))
    said = [str(warning.message) for warning in caught]
    assert said and len(said) == len(set(said))


@pytest.mark.parametrize(
    ("keywords", "says"),
    [
        ({"numbers": 0}, "numbers: 0 is not allowed; allowed: a whole number from 1 to 999999"),
        ({"numbers": [1, 2.5]}, "numbers: 2.5 is not allowed"),
        ({"seed": -1}, "seed: -1 is not allowed; allowed: a whole number from 0"),
        ({"jitter": 3}, "jitter: 3 is not allowed"),
        ({"jitter": "none.toml"}, "jitter: no such file 'none.toml'"),
        ({"adc": "x"}, "adc: 'x' is not allowed"),
        ({"response": 1}, "response: 1 is not a Response"),
        ({"backend": "tpu"}, "backend 'tpu'; allowed: cpu, cuda"),
        ({"experiment": 1}, "experiment: 1 is not an Experiment"),
    ],
)
def test_frames_that_cannot_be_made_are_refused(keywords, says):
    stated = {"experiment": experiment_of("bare"), "numbers": 1} | keywords
    with pytest.raises(InputError, match=says):
        nbnumba.frames(**stated)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"sampling.c_parity": ("water_scale",)}, "sampling.c_parity: water_scale is not allowed with labels"),
        ({"crystal.position_x_mm": 1.0, "background.water_um": 2.0}, "position.*the labels of pixels"),
    ],
)
def test_labels_that_are_not_known_are_refused(change, says):
    with pytest.raises(InputError, match=says):
        list(nbnumba.frames(experiment_of("bare").replace(change), 1, labels=True))
