"""What is left out of an image, and of its derivative: no pixel lacks more than the tolerance (F10a, A10a)."""

import math
import warnings

import numpy as np
import pytest

import adjoint
from nbnumba import Experiment, simulate
from nbnumba.setup import sampling, scene
from nbnumba.setup.culling import every_term
from nbnumba.simulate import render

SHAPES = {"square": "-square_xtal", "round": "-round_xtal", "gauss": "-gauss_xtal", "tophat": "-tophat_spots"}
PLACES = ("-mosflm", "-xds", "-adxv", "-dials", "-twotheta 12 -detector_rotx 5 -detector_rotz 30", "-curved_det",
          "-point_pixel", "-pivot beam -detector_roty -20")  # fmt: skip
SAMPLES = ("-oversample 1", "-oversample 2", "-oversample 1 -detector_thick 450 -detector_abs 200 -thicksteps 3",
           "-oversample 2 -oversample_omega -oversample_polar", "-oversample 1 -nopolar")  # fmt: skip
BEAMS = ("", "-dispersion 2 -dispsteps 5", "-divergence 2 -hdivsteps 2 -vdivsteps 2", "-dmin 2.5", "-water 20")
CRYSTALS = ("", "-mosaic 0.4 -mosaic_domains 7", "-osc 1.5 -phisteps 21", "-mosaic 1 -mosaic_domains 4 -osc 2 -phisteps 5",
            "-fudge 0.6", "-interpolate", "-misset 10 20 30")  # fmt: skip
ROUNDING = 1e-12
"""Sums of other terms round otherwise: as a part of the pixel."""
FEWEST = 0.01
"""The bound is not empty: of what a pixel may lack, some pixel of some experiment lacks at least this part."""


def drawn(seed, shape):
    """A random experiment of 33 x 27 pixels, of a shape, and the part of its brightest pixel that every pixel may lack."""
    random = np.random.default_rng([seed, sorted(SHAPES).index(shape)])
    cells = [max(1, round(math.exp(random.uniform(0.0, math.log(1000.0))))) for _ in range(3)]
    if random.random() < 0.7:
        cells = [min(n, 60) for n in cells]
    words = f"-cell 31 43 57 85 95 100 -default_F 90 -lambda 1.1 -distance {random.uniform(60, 300)} -pixel 0.25"
    words += f" -detpixels_x 33 -detpixels_y 27 -fluence 1e26 -Na {cells[0]} -Nb {cells[1]} -Nc {cells[2]} {SHAPES[shape]}"
    chosen = [choices[random.integers(len(choices))] for choices in (PLACES, SAMPLES, BEAMS, CRYSTALS)]
    return Experiment.from_args([*words.split(), *" ".join(chosen).split()]), 10.0 ** random.uniform(-7.0, -0.5)


def parts(experiment):
    """The scene of an experiment, and its window."""
    window = sampling.window(experiment.detector.pixels, experiment.sampling.roi, experiment.sampling.mask)
    return scene.build(experiment, window), window


def whole_image(experiment):
    """The image of an experiment with every term."""
    panels = [panel._replace(scene=every_term(panel.scene)) for panel in scene.panel_scenes(experiment)]
    return render(panels, experiment.detector.pixels[::-1])


def lacking(seed, shape):
    """The largest lack of a pixel as a part of what it may lack, in one random experiment; 0 if every term counts."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        experiment, part = drawn(seed, shape)
        whole = whole_image(experiment)
        tolerance = float(whole.max() * part)
        if not 1e-100 < tolerance < 1e12:
            return 0.0
        image = simulate(experiment, tolerance=tolerance)
        lack = whole - image
    assert (lack >= -ROUNDING * whole).all(), (seed, shape)
    assert (lack <= tolerance + ROUNDING * whole).all(), (seed, shape, lack.max() / tolerance)
    return lack.max() / tolerance


@pytest.mark.parametrize("shape", SHAPES)
def test_no_pixel_lacks_more_than_the_tolerance(shape):
    largest = max(lacking(seed, shape) for seed in range(8))
    assert largest > FEWEST or shape == "tophat"


@pytest.mark.long
@pytest.mark.parametrize("shape", SHAPES)
def test_no_pixel_of_200_experiments_lacks_more_than_the_tolerance(shape):
    """50 of each shape."""
    largest = max(lacking(seed, shape) for seed in range(100, 150))
    assert largest > FEWEST or shape == "tophat"


@pytest.mark.parametrize("shape", ["gauss", "tophat", "round"])
def test_without_a_tolerance_nothing_lacks_that_a_test_can_tell(shape):
    """1e-12 photons, or 1e-16 of the brightest pixel."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for seed in range(6):
            experiment, _ = drawn(seed, shape)
            whole, image = whole_image(experiment), simulate(experiment)
            assert (np.abs(whole - image) <= 1e-12 + ROUNDING * whole).all()


SPOTS = "-cell 40 50 60 85 95 100 -default_F 90 -lambda 1 -distance 90 -pixel 0.2 -detpixels_x 75 -detpixels_y 61 -fluence 1e26"
SPOTS += " -N 25 -mosaic 0.2 -mosaic_domains 20 -dispersion 1 -dispsteps 3 -oversample 1"
ALLOWED = 1.0
"""Photons that a pixel of SPOTS may lack; the brightest one has some 8000."""


@pytest.mark.parametrize("shape", SHAPES)
def test_a_pixel_has_the_same_bits_in_every_region_and_under_every_mask(shape):
    experiment = Experiment.from_args(f"{SPOTS} {SHAPES[shape]}".split())
    image = simulate(experiment, tolerance=ALLOWED)
    assert parts(experiment.replace({"sampling.tolerance": ALLOWED}))[0].crystal.most_remote > 0.0
    for roi in ((3, 60, 5, 44), (17, 17, 0, 60), (0, 74, 33, 33)):
        inside = (slice(roi[2], roi[3] + 1), slice(roi[0], roi[1] + 1))
        part = simulate(experiment, tolerance=ALLOWED, roi=roi)
        assert part[inside].tobytes() == image[inside].tobytes()
    for share in (0.05, 0.6):
        mask = np.random.default_rng(5).random(image.shape) < share
        assert np.array_equal(simulate(experiment, tolerance=ALLOWED, mask=mask), np.where(mask, image, 0.0))


@pytest.mark.long
@pytest.mark.parametrize("precision", ["mixed", "paired", "single"])
@pytest.mark.parametrize("shape", ["square", "gauss"])
def test_other_precisions_leave_out_no_more(shape, precision):
    """Their images without what is left out are those of double precision within their own errors (G1)."""
    experiment, tolerance = Experiment.from_args(f"{SPOTS} {SHAPES[shape]}".split()), ALLOWED
    whole = simulate(experiment, precision=precision)
    image = simulate(experiment, precision=precision, tolerance=tolerance)
    room = 1e-5 * whole + 1e-7 * whole.max()
    assert (whole - image <= tolerance + room).all() and (whole - image >= -room).all()
    assert ((whole - image) > room).any()


LARGEST_Q = math.hypot(7.5, 6.1) / 90.0
"""An upper bound of |q| in the corner of SPOTS, in 1/A."""
MULTIPLES = {"square": 4.0 * math.pi, "round": 9.0, "gauss": None}
"""What a derivative may lack for each natural step, as a multiple of the tolerance (A10a)."""


@pytest.mark.parametrize("shape", MULTIPLES)
def test_no_derivative_lacks_more_than_a_multiple_of_the_tolerance(shape):
    """By the edges of the cell, where h moves by h / a, and by at most |q|, for each A; and by the fluence. Of one lattice."""
    flags = f"{SPOTS} {SHAPES[shape]} -mosaic 0 -dispersion 0 -misset 10 20 30".replace("85 95 100", "90 90 90")
    experiment, names = Experiment.from_args(flags.split()), ["crystal.a_A", "crystal.b_A", "crystal.c_A", "beam.fluence"]
    whole, image = (adjoint.jacobian(experiment, names, tolerance=tolerance)[1] for tolerance in (0.0, ALLOWED))
    limit = parts(experiment.replace({"sampling.tolerance": ALLOWED}))[0].crystal.most_remote
    multiple = 4.0 * math.sqrt(limit) / 0.63 if shape == "gauss" else MULTIPLES[shape]
    lack = np.abs(whole - image).max(axis=(0, 1))
    of_edge, of_fluence = lack[:3].max() / (multiple * 25.0 * LARGEST_Q * ALLOWED), lack[3] / (ALLOWED / 1e26)
    assert FEWEST < of_edge <= 1.0 and FEWEST < of_fluence <= 1.0
