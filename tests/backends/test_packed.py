"""Pixels of a row that a mask leaves are packed into tiles: they cost only their own number, and their values stay."""

import time

import numba
import numpy as np
import pytest

import adjoint
from nbnumba import Experiment, simulate

ARGS = (
    "-cell 70 80 90 75 85 95 -misset 10 20 30 -lambda 1.2 -Na 5 -Nb 60 -Nc 7 -default_F 50 -distance 60 -oversample 1 "
    "-detpixels_x 300 -detpixels_y 40 -mosaic 0.5 -mosaic_domains 3 -polar 0.3 -phi 0 -osc 1 -phisteps 2"
).split()
SHAPES = {
    "boxes": lambda y, x: (x % 64 < 6) & (y % 32 < 6),
    "every other": lambda y, x: (x + y) % 2 == 0,
    "one of 3": lambda y, x: (x * 7 + y * 5) % 3 == 0,
    "128 and 129": lambda y, x: (x >= 20) & (x < 148 + y % 2),
    "the last": lambda y, x: x == 299,
    "whole": lambda y, x: x >= 0,
}
NAMES = ["crystal.a_A", "crystal.misset_deg", "detector.distance_mm", "beam.fluence"]


@pytest.fixture(scope="module")
def experiment():
    return Experiment.from_args(ARGS)


def mask_of(shape):
    return SHAPES[shape](*np.mgrid[:40, :300])


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("more", [{}, {"detector.curved": True, "crystal.shape": "gauss"}])
def test_a_pixel_is_the_same_with_and_without_a_mask(experiment, shape, more):
    made, mask = experiment.replace(more), mask_of(shape)
    assert (simulate(made, mask=mask) == np.where(mask, simulate(made), 0.0)).all()


@pytest.mark.parametrize("shape", SHAPES)
def test_its_derivatives_are_the_same(experiment, shape):
    mask = mask_of(shape)
    (image, whole), (masked, of_masked) = (adjoint.jacobian(experiment, NAMES, mask=chosen) for chosen in (None, mask))
    assert (masked == np.where(mask, image, 0.0)).all()
    np.testing.assert_allclose(of_masked, np.where(mask[..., np.newaxis], whole, 0.0), rtol=1e-12, atol=0.0)


@pytest.mark.parametrize("shape", SHAPES)
def test_sums_over_them_are_those_of_pixels_that_count(experiment, shape):
    """A mask, and data that are NaN there, leave the same pixels."""
    mask, data = mask_of(shape), 1.1 * simulate(experiment) + 1.0
    known = adjoint.losses.Gaussian(np.where(mask, data, np.nan), sigma=2.0)
    value, gradient, normal = adjoint.normal_equations(adjoint.losses.Gaussian(data, sigma=2.0), experiment, NAMES, mask=mask)
    expected = adjoint.normal_equations(known, experiment, NAMES)
    assert value == pytest.approx(expected[0], rel=1e-12)
    np.testing.assert_allclose(normal, expected[2], rtol=1e-9, atol=1e-12 * np.abs(normal).max())
    for name in NAMES:
        size = np.abs(expected[1][name]).max()
        np.testing.assert_allclose(gradient[name], expected[1][name], rtol=1e-9, atol=1e-10 * size)


def test_shoeboxes_cost_what_their_pixels_cost():
    """One pixel of 64 is rendered, in boxes; one in eight of all tiles holds some of them."""
    flags = (
        "-cell 70 80 90 -N 5 -default_F 50 -distance 60 -detpixels_x 1280 -detpixels_y 192 -oversample 1 -mosaic 0.5 "
        "-mosaic_domains 200"
    )
    made, threads = Experiment.from_args(flags.split()), numba.get_num_threads()
    slow, fast = np.mgrid[:192, :1280]
    mask = (slow % 64 < 8) & (fast % 64 < 8)
    assert mask.sum() * 64 == mask.size

    def seconds(mask):
        times = []
        for _ in range(3):
            begun = time.process_time()
            simulate(made, mask=mask)
            times.append(time.process_time() - begun)
        return min(times)

    numba.set_num_threads(1)
    try:
        simulate(made, mask=mask)
        assert seconds(mask) < 0.1 * seconds(None)
    finally:
        numba.set_num_threads(threads)
