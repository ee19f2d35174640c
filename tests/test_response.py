"""A detector's response: without it the noise image is C's; each part agrees with its formula; and its flags."""

import itertools
import math
import subprocess
import sys
from pathlib import Path

import numba
import numpy as np
import pytest
from scipy import integrate, stats

from nbnumba import noise, response, rng
from nbnumba.cli.compare import reference_flags
from nbnumba.cli.main import main
from nbnumba.errors import InputError
from nbnumba.flags.command_line import CommandLine
from nbnumba.flags.run import run_of
from nbnumba.formats import smv
from nbnumba.response import Response

SHAPE = (300, 400)
ROI = (3, 40, 5, 20)
# the first deviates of read-out noise for -seed 1
FIRST_DEVIATES = [-1.955838647287977, 2.654216244433578, 0.307749879480866]
FLAGS = "-cell 70 80 90 75 85 95 -default_F 100 -N 5 -distance 60 -detpixels 48 -pixel 0.2 -seed 7 -noprogress".split()
WRITTEN = {"gain": 3.0, "readout_noise": 4.0, "saturation": 120.0, "psf_mm": 0.5, "psf_type": "fiber", "calibration": 0.1}
WRITTEN |= {"flicker": 0.2, "calibration_seed": 77}
ON = {
    "gain": Response(gain=2.5),
    "readout_noise": Response(readout_noise=3.0),
    "saturation": Response(saturation=60.0),
    "psf_mm": Response(psf_mm=0.3),
    "fibers": Response(psf_mm=0.3, psf_type="fiber"),
    "calibration": Response(calibration=0.03),
}


def flat(mean, shape=SHAPE):
    return np.full(shape, float(mean))


def above_offset(made):
    return made.pixels.astype(np.float64) - noise.DEFAULT_ADC_OFFSET


def assert_moments(values, mean, variance, independent=None):
    """Check that mean and variance are within five of their standard deviations, for nearly normal values."""
    n = independent or values.size
    assert abs(values.mean() - mean) < 5 * math.sqrt(variance / n)
    assert abs(values.var() - variance) < 5 * variance * math.sqrt(3 / n)


def assert_same(made, expected):
    np.testing.assert_array_equal(made.pixels, expected.pixels)
    assert made.pixels.dtype == np.uint16
    assert made[1:] == expected[1:]


@pytest.mark.parametrize("offset", [40.0, 0.75, -3.0, 70000.0])
@pytest.mark.parametrize("roi", [None, ROI])
def test_off_is_the_noise_image_of_nanobragg(offset, roi):
    image = np.geomspace(0.1, 1e7, 3000).reshape(50, 60)
    assert_same(response.measure(image, 9, adc_offset=offset, roi=roi), noise.poisson(image, 9, offset, roi))


@pytest.mark.parametrize("name", ["noise", "noise_low", "noise_high"])
def test_off_is_the_golden_noise_image(name, golden):
    words = golden.args(name)
    run = run_of(CommandLine([*words, "-gain", "1", "-readout_noise", "0", "-saturation", "65535", "-psf", "0"]))
    made = response.measure(golden.parity[name], run.seed, run.response, adc_offset=run.adc)
    np.testing.assert_array_equal(made.pixels, golden.parity[name + "__noise"])


def test_a_response_that_does_next_to_nothing_changes_nothing():
    image = np.geomspace(0.1, 5e4, 3000).reshape(50, 60)
    almost = Response(gain=1 - 1e-9, readout_noise=1e-9, psf_mm=1e-9)
    np.testing.assert_array_equal(response.measure(image, 9, almost, 0.1).pixels, noise.poisson(image, 9).pixels)


@pytest.mark.parametrize("name", ON)
def test_each_part_changes_the_image_but_not_the_photons(name):
    made, off = response.measure(flat(50), 4, ON[name], 0.1), noise.poisson(flat(50), 4)
    assert (made.pixels != off.pixels).mean() > 0.04
    assert made.photons == off.photons


def test_gain_multiplies_the_mean_and_its_square_the_variance():
    made = response.measure(flat(50), 4, Response(gain=7.0))
    np.testing.assert_array_equal(above_offset(made), 7 * noise.poisson_counts(flat(50), 4))
    assert_moments(above_offset(made), 7 * 50, 7**2 * 50)


def test_fractions_are_rounded_halves_up():
    counts = noise.poisson_counts(flat(50), 4).astype(np.float64)
    made = response.measure(flat(50), 4, Response(gain=0.5))
    np.testing.assert_array_equal(above_offset(made), np.floor(0.5 * counts + 0.5))
    assert response.digitize(np.array([1.49, 1.5, 2.5, -0.6]))[0].tolist() == [1, 2, 3, 0]
    assert response.digitize(np.array([1.49, 1.5, 2.5, -0.6]), rounded=False)[0].tolist() == [1, 1, 2, 0]


def test_read_out_noise_adds_its_variance_whatever_the_gain():
    rounding = 1 / 12
    made = response.measure(flat(50), 4, Response(readout_noise=6.0))
    assert_moments(above_offset(made), 50, 50 + 36 + rounding)
    made = response.measure(flat(50), 4, Response(readout_noise=6.0, gain=3.0))
    assert_moments(above_offset(made), 150, 9 * 50 + 36 + rounding)


def test_read_out_noise_is_normal_and_independent_of_the_photons():
    counts = noise.poisson_counts(flat(50), 4)
    made = response.measure(flat(50), 4, Response(readout_noise=100.0), adc_offset=1000.0)
    added = made.pixels - 1000.0 - counts
    unrounded = added.ravel() + np.random.default_rng(1).uniform(-0.5, 0.5, added.size)
    assert stats.kstest(unrounded, "norm", (0, 100)).pvalue > 1e-3
    assert abs(np.corrcoef(added.ravel(), counts.ravel())[0, 1]) < 5 / math.sqrt(added.size)
    assert abs(np.corrcoef(added[:, 1:].ravel(), added[:, :-1].ravel())[0, 1]) < 5 / math.sqrt(added.size)


def test_read_out_noise_below_zero_is_zero():
    made = response.measure(flat(0), 4, Response(readout_noise=100.0), adc_offset=0.0)
    assert abs((made.pixels == 0).mean() - 0.5) < 0.02
    assert made.photons == made.overloads == 0


def test_read_out_noise_is_that_of_the_seed():
    on = Response(readout_noise=5.0)
    first, again, other = (response.measure(flat(50), seed, on) for seed in (3, 3, 4))
    assert_same(first, again)
    residual = [above_offset(made) - noise.poisson_counts(flat(50), seed) for made, seed in ((first, 3), (other, 4))]
    assert abs(np.corrcoef(residual[0].ravel(), residual[1].ravel())[0, 1]) < 5 / math.sqrt(residual[0].size)


def test_read_out_noise_stays_the_same_from_version_to_version():
    deviates = response.normal_generator(1, response._READ_OUT).standard_normal(3)
    np.testing.assert_allclose(deviates, FIRST_DEVIATES, rtol=1e-12)


def test_image_does_not_depend_on_the_number_of_threads():
    threads, on = numba.get_num_threads(), Response(2.0, 3.0, 150.0, 0.2)
    made = response.measure(flat(50), 3, on, 0.1)
    numba.set_num_threads(1)
    try:
        assert_same(response.measure(flat(50), 3, on, 0.1), made)
    finally:
        numba.set_num_threads(threads)


def test_generator_in_mid_course_gives_each_image_noise_of_its_own():
    source, on = rng.Ran1(5), Response(readout_noise=50.0)
    first, second = (response.measure(flat(50), source, on, adc_offset=1000.0) for _ in range(2))
    counts = noise.poisson_counts(flat(50, (600, 400)), 5)
    assert first.photons + second.photons == counts.astype(np.float64).sum()
    left = [made.pixels - part - 1000.0 for made, part in ((first, counts[:300]), (second, counts[300:]))]
    assert abs(np.corrcoef(left[0].ravel(), left[1].ravel())[0, 1]) < 5 / math.sqrt(left[0].size)


def test_saturation_clips_and_counts():
    off = noise.poisson(flat(50), 4)
    made = response.measure(flat(50), 4, Response(saturation=100.0))
    np.testing.assert_array_equal(made.pixels, np.minimum(off.pixels, 100))
    assert made.overloads == (off.pixels > 100).sum() > 100
    assert response.measure(flat(50), 4, Response(gain=3000.0)).overloads == (off.pixels > 61.0).sum()


def test_saturation_truncates_a_fractional_offset_as_c_does():
    made = response.measure(flat(50), 4, Response(saturation=65534.0), adc_offset=40.75)
    np.testing.assert_array_equal(made.pixels, noise.poisson(flat(50), 4, 40.75).pixels)


def test_no_pixel_is_above_a_fractional_saturation():
    digits, overloads = response.digitize(np.array([99.2, 99.6, 99.7, 200.0]), 99.6)
    assert digits.tolist() == [99, 99, 99, 99]
    assert overloads == 2


@pytest.mark.parametrize("fwhm", [0.01, 0.5, 1.0, 2.7, 40.0])
def test_point_spread_is_the_gaussian_of_a_pixel_over_pixels(fwhm):
    weights, sigma = response.point_spread(fwhm), fwhm / math.sqrt(8 * math.log(2))
    middle = len(weights) // 2
    for k in range(min(4, middle + 1)):
        expected, _ = integrate.quad(
            lambda t, k=k: stats.norm.cdf((k + 0.5 - t) / sigma) - stats.norm.cdf((k - 0.5 - t) / sigma),
            -0.5, 0.5, epsabs=1e-11, limit=400,
        )  # fmt: skip
        assert weights[middle + k] == pytest.approx(expected, abs=1e-8)
    np.testing.assert_array_equal(weights, weights[::-1])
    assert weights.min() >= 0.0
    assert weights.sum() == pytest.approx(1.0, abs=1e-15)


@pytest.mark.parametrize("fwhm", [2.0, 4.0, 9.0])
def test_spread_keeps_the_sum_and_has_the_second_moment_of_gaussian_and_pixel(fwhm):
    image = np.zeros((161, 141))
    image[80, 70] = 1e6
    made = response.spread(image, fwhm)
    assert made.sum() == pytest.approx(1e6, rel=1e-13)
    slow, fast = np.indices(image.shape)
    for offset in (slow - 80, fast - 70):
        assert (offset * made).sum() / 1e6 == pytest.approx(0.0, abs=1e-9)
        assert (offset**2 * made).sum() / 1e6 == pytest.approx(fwhm**2 / (8 * math.log(2)) + 1 / 6, rel=1e-6)


def test_spread_over_a_straight_edge_is_that_of_a_finely_sampled_gaussian():
    fine, fwhm = 20, 1.2
    step = np.repeat([0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 3.0, 3.0, 0.0, 0.0, 0.0], fine)
    x = np.arange(-20 * fine, 20 * fine + 1) / fine
    gaussian = stats.norm.pdf(x, scale=fwhm / response.FWHM_PER_SIGMA)
    blurred = np.convolve(step, gaussian / gaussian.sum(), mode="full")[20 * fine : -20 * fine]
    expected = blurred.reshape(-1, fine).mean(axis=1)
    np.testing.assert_allclose(response.spread(step[None, ::fine], fwhm)[0], expected * pixel_share(fwhm), atol=2e-3)


def pixel_share(fwhm):
    """The fraction of the light that stays in a row of one pixel's height."""
    weights = response.point_spread(fwhm)
    return weights[len(weights) // 2]


def test_light_that_leaves_by_the_edge_is_lost_and_a_wide_spread_fits_a_small_image():
    image = np.zeros((5, 7))
    image[0, 0] = 1.0
    weights = response.point_spread(6.9)
    half = weights[len(weights) // 2 :]
    np.testing.assert_allclose(response.spread(image, 6.9), np.outer(half[:5], half[:7]), rtol=1e-14)


def test_photons_spread_after_they_are_counted():
    mean, fwhm = 400.0, 1.6
    counts = noise.poisson_counts(flat(mean), 4)
    made = response.measure(flat(mean), 4, Response(psf_mm=fwhm * 0.1), 0.1)
    np.testing.assert_array_equal(above_offset(made), np.floor(response.spread(counts, fwhm) + 0.5))
    assert made.photons == counts.sum()


def test_noise_of_neighbours_is_correlated_as_documented():
    mean, fwhm, edge = 1000.0, 1.6, 6
    made = above_offset(response.measure(flat(mean), 4, Response(psf_mm=fwhm * 0.1), 0.1))[edge:-edge, edge:-edge]
    weights = response.point_spread(fwhm)
    lagged = [(weights[lag:] * weights[: len(weights) - lag]).sum() for lag in range(3)]
    assert_moments(made, mean, mean * lagged[0] ** 2 + 1 / 12, independent=made.size * lagged[0] ** 2)
    for lag, axis in itertools.product((1, 2), (0, 1)):
        one, other = np.split(np.moveaxis(made, axis, 0), [-lag])[0], np.moveaxis(made, axis, 0)[lag:]
        covariance = ((one - made.mean()) * (other - made.mean())).mean()
        assert covariance == pytest.approx(mean * lagged[lag] * lagged[0], abs=5 * mean / math.sqrt(made.size))


def test_spreading_the_expected_photons_instead_leaves_noise_uncorrelated():
    image = response.spread(flat(1000.0), 1.6)[6:-6, 6:-6]
    made = above_offset(response.measure(image, 4))
    assert_moments(made, 1000.0, 1000.0)


def test_parts_act_in_the_order_of_the_physics():
    on, image = Response(gain=3.0, readout_noise=4.0, saturation=300.0, psf_mm=0.15), flat(60)
    image[100:110, 100:110] = 500.0
    signal = 3.0 * response.spread(noise.poisson_counts(image, 4), 1.5)
    signal += 4.0 * response.normal_generator(4, response._READ_OUT).standard_normal(SHAPE) + 20.0
    made = response.measure(image, 4, on, 0.1, 20.0)
    np.testing.assert_array_equal(made.pixels, np.clip(np.floor(signal + 0.5), 0, 300))
    assert made.overloads == (signal > 300.0).sum() > 0
    assert made.photons == noise.poisson(image, 4).photons


def test_region_is_measured_by_itself_and_outside_is_zero():
    on, image = Response(2.0, 3.0, 1000.0, 0.3), np.geomspace(1, 300, 3000).reshape(50, 60)
    inside = (slice(ROI[2], ROI[3] + 1), slice(ROI[0], ROI[1] + 1))
    made, alone = response.measure(image, 8, on, 0.1, roi=ROI), response.measure(image[inside], 8, on, 0.1)
    np.testing.assert_array_equal(made.pixels[inside], alone.pixels)
    assert made[1:] == alone[1:]
    outside = made.pixels.copy()
    outside[inside] = 0
    assert not outside.any()


def test_input_is_not_changed():
    image = flat(50.0).astype(np.float32)
    response.measure(image, 4, Response(2.0, 3.0, 90.0, 0.3), 0.1)
    assert (image == 50.0).all()


@pytest.mark.parametrize("name", response.ALLOWED)
@pytest.mark.parametrize("value", [-0.5, math.nan, math.inf, "much", None])
def test_impossible_values(name, value):
    shown = repr(value) if value in ("much", None) else f"{value:g}"
    with pytest.raises(InputError, match=f"response.{name}: {shown} is not .*allowed.*: {response.ALLOWED[name][0]}"):
        Response(**{name: value})


@pytest.mark.parametrize("name, value", [("gain", 0.0), ("saturation", 0.0), ("saturation", 65535.5)])
def test_values_just_outside_the_limits(name, value):
    with pytest.raises(InputError, match=f"response.{name}: {value:g} is not allowed"):
        Response(**{name: value})


@pytest.mark.parametrize("offset", [60.0, 61.0])
def test_saturation_must_be_above_the_offset(offset):
    with pytest.raises(InputError, match=f"response.saturation: 60 .*above the ADC offset of {offset:g}"):
        response.measure(flat(1), 1, Response(saturation=60.0), adc_offset=offset)


def test_point_spread_must_fit_on_the_detector_and_needs_a_pixel():
    with pytest.raises(InputError, match="response.psf_mm: 40.1 .*at most the detector's longer edge, 40 mm"):
        response.measure(flat(1), 1, Response(psf_mm=40.1), 0.1)
    for pixel in (None, 0.0, math.nan):
        with pytest.raises(InputError, match="pixel_mm is"):
            response.measure(flat(1), 1, Response(psf_mm=1.0), pixel)
    for width in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(InputError, match="fwhm_pixels is"):
            response.spread(flat(1), width)


def test_flicker_adds_its_variance_to_the_photons():
    """Its variance is mean + (flicker mean)^2, and the photons change with it; another seed flickers otherwise."""
    one, other = (response.measure(flat(400), seed, Response(flicker=0.1)) for seed in (4, 5))
    assert_moments(above_offset(one), 400.0, 400.0 + 40.0**2)
    assert (one.pixels != other.pixels).mean() > 0.9
    assert_same(response.measure(flat(400), 4, Response(flicker=0.1)), one)


def test_errors_of_calibration_are_those_of_the_pixels():
    """The same in every image of any region, others on each panel and for another seed, and after the photons."""
    wrong = Response(calibration=0.05)
    factors = response.calibration_factors(SHAPE, wrong)
    assert_moments(factors, 1.0, 0.05**2)
    photons = above_offset(response.measure(flat(900), 4))
    np.testing.assert_array_equal(above_offset(response.measure(flat(900), 4, wrong)), np.floor(photons * factors + 0.5))
    for others in (response.calibration_factors(SHAPE, wrong, 1), response.calibration_factors(
        SHAPE, Response(calibration=0.05, calibration_seed=3)
    )):  # fmt: skip
        assert abs(np.corrcoef(factors.ravel(), others.ravel())[0, 1]) < 5 / math.sqrt(factors.size)
    inside = noise.region_slices(ROI, SHAPE)
    counted = above_offset(response.measure(flat(900), 4, roi=ROI))[inside]
    part = above_offset(response.measure(flat(900), 4, wrong, roi=ROI))[inside]
    np.testing.assert_array_equal(part, np.floor(counted * factors[inside] + 0.5))


@pytest.mark.parametrize("fwhm", [(0.5, 0.5), (2.0, 2.0), (3.0, 1.5)])
def test_fibers_spread_as_their_formula_says(fwhm):
    """Against the integral over both pixels by the midpoint rule, and the light within a large square, which is known."""
    shares, n = response.fiber_spread(fwhm, (60, 60)), 24
    inner = (np.arange(n) + 0.5) / n - 0.5
    g = [width / response.WIDTH_OF_FIBER for width in fwhm]
    for slow, fast in ((0, 0), (1, 0), (2, 3), (-5, 1)):
        y = (slow + inner[:, None] - inner[None, :]).ravel() / g[0]
        x = (fast + inner[:, None] - inner[None, :]).ravel() / g[1]
        each = 1.0 / (2 * math.pi * g[0] * g[1] * (1.0 + y[:, None] ** 2 + x * x) ** 1.5)
        assert shares[60 + slow, 60 + fast] == pytest.approx(each.mean(), rel=2e-2)
    beyond = 1.0 - shares.sum()
    assert 0.0 < beyond < 2 * max(g) / 60
    half = 1.0 / (1.0 + (response.WIDTH_OF_FIBER / 2) ** 2) ** 1.5
    assert half == pytest.approx(0.5, rel=1e-12)


def test_fibers_spread_a_point_into_their_shares_whatever_the_shape():
    image = np.zeros((9, 30))
    image[2, 20] = 7.0
    shares = response.fiber_spread((1.5, 1.5), (8, 29))
    found = response.spread_by_fibers(image, (1.5, 1.5))
    np.testing.assert_allclose(found, 7.0 * shares[6:15, 9:39], rtol=0, atol=1e-14)


@pytest.mark.parametrize("words, sentence", [
    ("-psf_type fiber", "-psf_type has no effect: there is no -psf"),
    ("-calib_seed 4", "-calib_seed has no effect: there is no -calibration_noise"),
])  # fmt: skip
def test_what_needs_another_flag(words, sentence):
    with pytest.warns(UserWarning, match=sentence):
        run_of(CommandLine([*FLAGS, *words.split()]))


def test_an_unknown_shape_of_the_point_spread():
    with pytest.raises(InputError, match="response.psf_type: 'moffat' is not allowed; allowed: gauss, fiber"):
        Response(psf_type="moffat")


def flags_of(values):
    names = {"gain": "-gain", "readout_noise": "-readout_noise", "saturation": "-saturation", "psf_mm": "-psf"}
    names |= {"psf_type": "-psf_type", "flicker": "-flicker_noise", "calibration": "-calibration_noise"}
    names |= {"calibration_seed": "-calib_seed"}
    return [word for name, value in values.items() for word in (names[name], str(value))]


def run(words, directory, monkeypatch):
    directory.mkdir()
    monkeypatch.chdir(directory)
    return main([*FLAGS, *words])


def test_flags_change_the_noise_image_and_nothing_else(tmp_path, monkeypatch, capsys):
    assert run([], tmp_path / "off", monkeypatch) == 0
    off_lines = capsys.readouterr().out.splitlines()
    assert run(["-pngfile", "seen.png", *flags_of(WRITTEN)], tmp_path / "on", monkeypatch) == 0
    on_lines = capsys.readouterr().out.splitlines()
    image = np.fromfile("floatimage.bin", "<f4").reshape(48, 48)
    expected = response.measure(image, 7, Response(**WRITTEN), 0.2)
    np.testing.assert_array_equal(smv.read("noiseimage.img", "-img")[1], expected.pixels)
    off = noise.poisson(image, 7)
    np.testing.assert_array_equal(smv.read("../off/noiseimage.img", "-img")[1], off.pixels)
    for name in ("floatimage.bin", "intimage.img", "image.pgm"):
        assert Path(name).read_bytes() == Path(f"../off/{name}").read_bytes()
    assert expected.overloads > off.overloads == 0
    for lines, made in ((off_lines, off), (on_lines, expected)):
        assert f"{made.photons:.0f} photons on noise image ({made.overloads} overloads), seed 7" in lines


def test_flags_respect_the_region(tmp_path, monkeypatch):
    assert run(["-roi", "10", "30", "5", "20", *flags_of(WRITTEN)], tmp_path / "on", monkeypatch) == 0
    image = np.fromfile("floatimage.bin", "<f4").reshape(48, 48)
    expected = response.measure(image, 7, Response(**WRITTEN), 0.2, roi=(10, 30, 5, 20))
    pixels = smv.read("noiseimage.img", "-img")[1]
    np.testing.assert_array_equal(pixels, expected.pixels)
    assert not pixels[:5].any() and not pixels[:, 31:].any()


@pytest.mark.parametrize(
    "words, sentence",
    [
        ("-gain 0", "-gain: 0 is not allowed; allowed: a positive number of ADU per photon, from 1e-12 to 1e12"),
        ("-gain nan", "-gain: 'nan' is not allowed; allowed: a number (ADU/photon)"),
        ("-readout_noise -1", "-readout_noise: -1 is not allowed; allowed: a number of ADU not below 0, at most 1e12"),
        ("-saturation 70000", "-saturation: 70000 is not allowed; allowed: a number of ADU above 0, at most 65535"),
        ("-saturation 40", "-saturation: 40 is not allowed; allowed: above the ADC offset of 40, at most 65535"),
        ("-psf -1", "-psf: -1 is not allowed; allowed: 0, or a number of mm from 1e-100 to 1e12"),
        ("-psf 9.7", "-psf: 9.7 is not allowed; allowed: at most the detector's longer edge, 9.6 mm"),
        ("-psf gauss", "-psf: 'gauss' is not allowed; allowed: a number (mm)"),
    ],
)
def test_bad_flags(words, sentence, tmp_path, monkeypatch, capsys):
    assert run(words.split(), tmp_path / "bad", monkeypatch) == 2
    assert capsys.readouterr().err == f"nbnumba: {sentence}\n"
    assert not list(Path().iterdir())


def test_without_a_noise_image_a_response_has_no_effect(tmp_path, monkeypatch, capsys):
    assert run(["-nonoise", "-gain", "2", "-psf", "99"], tmp_path / "none", monkeypatch) == 0
    warned = capsys.readouterr().err.splitlines()
    assert warned[-2:] == [f"nbnumba: warning: {flag} has no effect: -nonoise is given" for flag in ("-gain", "-psf")]
    assert all(line.startswith("nbnumba: warning: -seed has no effect: -nonoise is given") for line in warned[:-2])
    assert not Path("noiseimage.img").exists()


def test_compare_does_not_pass_the_flags_on_to_nanobragg():
    assert reference_flags([*FLAGS[:-1], *flags_of(WRITTEN)]) == FLAGS[:-1]


def test_what_a_point_spread_needs_is_imported_only_for_one():
    script = "import sys, nbnumba.cli.output; sys.exit(bool({'scipy.ndimage', 'scipy.special'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", script], cwd=Path(__file__).parents[1]).returncode == 0
