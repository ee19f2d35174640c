"""Warnings of statements that have no effect, or that are hardly meant."""

import warnings

import numpy as np
import pytest

import adjoint
from nbnumba import Experiment, InputError, simulate
from nbnumba.setup import sampling, scene

BASE = "-cell 50 60 70 -default_F 10 -N 3 -detpixels 4 -oversample 1 "


def warnings_and_scene(words):
    """The warnings about an experiment, and its scene."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        experiment = Experiment.from_args((BASE + words).split())
        built = scene.build(experiment, sampling.window(experiment.detector.pixels, None, None))
    return [str(warning.message) for warning in caught], built


def test_a_normal_that_is_replaced_is_said():
    sentences, _ = warnings_and_scene("-odet_vector 0.5 0.5 0.1")
    assert [sentence for sentence in sentences if sentence.startswith("detector.normal_axis has no effect")]
    for same in ("2 0 0", "1 0 0", "0 0 0"):
        assert not [sentence for sentence in warnings_and_scene(f"-odet_vector {same}")[0] if "normal_axis" in sentence]


LENGTHWISE = "-beam_vector 1 2 3 -polar_vector 2 4 6 -sdet_vector 0 -1 0.3 "


def test_a_beam_along_its_e_vector_has_no_plane_of_polarization():
    sentences, built = warnings_and_scene(LENGTHWISE + "-polar 0.9")
    assert [sentence for sentence in sentences if "beam.polarization" in sentence and "mean nothing" in sentence]
    assert (built.beam.axis_x, built.beam.axis_y, built.beam.axis_z) == (0.0, 0.0, 0.0)
    for words in (LENGTHWISE, LENGTHWISE + "-polar 0.9 -nopolar", "-polar 0.9"):
        assert not [sentence for sentence in warnings_and_scene(words)[0] if "mean nothing" in sentence]


def test_an_image_of_a_beam_along_its_e_vector_depends_on_no_rounding():
    images = [
        simulate(Experiment.from_args((BASE + LENGTHWISE.replace("2 4 6", axis) + "-polar 0.9").split()))
        for axis in ("2 4 6", "1.1 2.2 3.3", "-0.3 -0.6 -0.9")
    ]
    assert np.array_equal(images[0], images[1]) and np.array_equal(images[0], images[2])


@pytest.mark.parametrize("name", ["beam.direction_x_mrad", "beam.direction_y_mrad"])
def test_a_tilt_of_a_beam_along_its_e_vector_is_not_differentiated(name):
    """The image jumps there, so that there is no derivative."""
    experiment = Experiment.from_args((BASE + LENGTHWISE + "-polar 0.9 -distance 0.2").split())
    image = simulate(experiment)
    tilted = simulate(experiment.replace({name: 1e-6}))
    assert np.abs(tilted - image).max() > 1e-3 * image.max()
    with pytest.raises(InputError, match=f"{name}: a source runs along the E vector"):
        adjoint.vjp(experiment, [name])
    adjoint.vjp(experiment.replace({name: 1.0}), [name])
    adjoint.vjp(experiment.replace({"beam.polarization": 0.0}), [name])
