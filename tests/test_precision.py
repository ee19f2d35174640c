"""The accuracy of each precision: images, gradients and stages against double and exact arithmetic (specs/cuda.md)."""

import math
import types
import warnings
from fractions import Fraction
from functools import partial

import numpy as np
import pytest
from random_directions import random_rotation

import adjoint
from adjoint.losses import Gaussian
from nbnumba import Experiment, InputError, simulate
from nbnumba.backends import cuda_pairs
from nbnumba.backends.binding import bind, stages, with_globals
from nbnumba.backends.precision import PRECISIONS, in_pairs, words
from nbnumba.geometry.cell import standard_setting
from nbnumba.geometry.rotations import about_axis, unit
from nbnumba.loops import cuda_stages
from nbnumba.setup import sampling, scene
from nbnumba.stages import detector, vec3
from nbnumba.stages.beam import scattering_vector

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

PLAIN = {"ceil": np.ceil, "sqrt": np.sqrt, "exp": np.exp}
FINE = 2.0**-24
"""Half a unit in the last place of float32, relative."""


def in_python(precision, **more):
    """The stages in a precision, not compiled."""
    return types.SimpleNamespace(**bind(stages(precision), lambda function: function, PLAIN | words(precision) | more))


PAIRED = in_python("paired", sin=np.sin, cos=np.cos)

# images ---------------------------------------------------------------------------------------------------------------------

SHAPES = {"square": "-square_xtal", "round": "-round_xtal", "gauss": "-gauss_xtal", "tophat": "-tophat_spots"}
PANEL = "-detpixels_x 13 -detpixels_y 9 -oversample 1 -default_F 100 -fluence 1e30 "


def centre(experiment):
    """The scattering vector of the middle pixel (3,), in 1/A, and the wavelength."""
    built = scene.build(experiment, sampling.window(experiment.detector.pixels, None, None))
    towards = sampling.directions(built.panel, built.sampling, 4, [6], 0, 0, 0)
    towards = tuple(np.ravel(x)[0] for x in towards)
    return np.array([float(x) for x in scattering_vector(towards, built.sources.direction[0], built.sources.wavelength[0])])


def onto(one, other):
    """The rotation that takes one direction to another."""
    one, other = unit(one), unit(other)
    return np.array(about_axis(unit(np.cross(one, other)), math.acos(np.clip(np.dot(one, other), -1.0, 1.0))))


def problem(seed, where, shape, cells, most, mosaic):
    """An experiment of 13 x 9 pixels: on the peak of a reflection with an index of about `most`, beside all peaks, or at the
    beam."""
    random = np.random.default_rng(seed)
    words = PANEL + f"{SHAPES[shape]} -distance {random.uniform(60, 200):.3f} -lambda {random.uniform(0.8, 1.6):.4f} -cell 50 "
    offset = random.uniform(20.0, 90.0, 2) if where != "beam" else random.uniform(-0.01, 0.01, 2)
    experiment = Experiment.from_args(words.split()).replace({"detector.pixel_mm": 1e-4})
    experiment = experiment.replace({"detector.xbeam_mm": float(offset[0]), "detector.ybeam_mm": float(-offset[1])})
    angles = dict(zip(("alpha_deg", "beta_deg", "gamma_deg"), map(float, random.uniform(75.0, 105.0, 3))))
    lengths, q = random.uniform(0.6, 1.4, 3), centre(experiment)
    hkl = np.array([most, *random.integers(-most // 2, most // 2 + 1, 2)])[random.permutation(3)]
    setting = standard_setting(*lengths, *angles.values())
    g = np.linalg.inv(setting) @ hkl
    size = np.linalg.norm(g) / np.linalg.norm(q) if where != "beam" else 50.0
    orientation = about_axis(unit(q), random.uniform(0.0, 6.0)) @ onto(g, q) if where == "peak" else random_rotation(random)
    fringe = experiment.beam.wavelength_A * experiment.value("detector.distance_mm") / (cells * size * lengths.max())
    named = dict(zip(("a_A", "b_A", "c_A"), map(float, size * lengths)))
    fields = {f"crystal.{name}": value for name, value in (named | angles).items()}
    fields |= {f"crystal.n_{axis}": max(1.0, cells * random.uniform(0.7, 1.0)) for axis in "ab"} | {"crystal.n_c": cells}
    fields["crystal.orientation"] = tuple(map(tuple, orientation))
    wide = fringe * random.uniform(0.1, 0.3) if where != "beside" else 10.0 * fringe
    slow, fast = (float(offset[0]) - 4.5e-4 + 4.5 * wide, float(-offset[1]) - 6.5e-4 + 6.5 * wide)
    fields |= {"detector.pixel_mm": wide, "detector.xbeam_mm": slow, "detector.ybeam_mm": fast}
    if mosaic:
        fields |= {"crystal.mosaic_spread_deg": 0.01, "crystal.mosaic_domains": 5}
    return experiment.replace(fields)


def within(image, expected, relative, of_largest):
    return (np.abs(image - expected) <= relative * expected + of_largest * expected.max()).all()


CULLED = ("gauss", "tophat")
"""Shapes whose scenes are culled: they have kernels of their own, which take long to compile in every precision."""
KINDS = [pytest.param(shape, marks=pytest.mark.long) if shape in CULLED else shape for shape in SHAPES]

ONE_CELL = {f"crystal.n_{axis}": 1.0 for axis in "abc"} | {"crystal.shape": "square"}
CELLS = (1.0, 2.5, 12.0, 100.0, 437.25, 1000.0)


@pytest.mark.parametrize("mosaic", [False, True], ids=["still", "mosaic"])
@pytest.mark.parametrize("shape", KINDS)
@pytest.mark.parametrize("where", ["peak", *(pytest.param(where, marks=pytest.mark.long) for where in ("beside", "beam"))])
def test_mixed_and_paired_images(where, shape, mosaic):
    """What is promised: 1e-5 of each pixel and 1e-7 of the largest, for N up to 1000 and h up to 300.

    Of a whole window that is darker than 1e-34 of one cell's float32 knows nothing.
    """
    lit = 0
    for number, (cells, most) in enumerate((c, m) for c in CELLS for m in (2, 40, 299)):
        experiment = problem(number, where, shape, cells, most, mosaic)
        expected = simulate(experiment)
        nothing = 1e-34 * simulate(experiment.replace(ONE_CELL)).max()
        lit += expected.max() > 1e6 * nothing
        if where == "peak" and not mosaic:
            peak = np.prod([experiment.value(f"crystal.n_{axis}") for axis in "abc"]) ** 2
            assert brightness(experiment, expected) > 0.1 * peak
        for precision in ("mixed", "paired"):
            image = simulate(experiment, precision=precision)
            near = np.abs(image - expected) <= 1e-5 * expected + 1e-7 * expected.max() + nothing
            assert near.all(), (precision, cells, most)
    assert lit > (0 if shape in ("tophat", "gauss") and where == "beside" else 10)


def brightness(experiment, image):
    """The largest F_latt^2, from the image of the same crystal with one cell, which is 1."""
    return (image / simulate(experiment.replace(ONE_CELL))).max()


@pytest.mark.parametrize("shape", KINDS)
@pytest.mark.parametrize("where", ["peak", "beside", "beam"])
def test_single_images_of_small_crystals(where, shape):
    """The crystals have up to 5 cells, and indices are up to 10."""
    for number in range(8):
        cells, most = (1.0, 2.0, 3.5, 5.0)[number % 4], (2, 10)[number // 4]
        experiment = problem(100 + number, where, shape, cells, most, mosaic=number % 3 == 2)
        expected, image = simulate(experiment), simulate(experiment, precision="single")
        if shape == "tophat":
            edge = (image > 0.0) != (expected > 0.0)
            assert edge.mean() < 0.05
            image = np.where(edge, expected, image)
        assert within(image, expected, 1e-3, 1e-3), number


def test_every_precision_is_another():
    experiment = problem(1, "beside", "square", 12.0, 40, True)
    images = [simulate(experiment, precision=precision).tobytes() for precision in PRECISIONS]
    assert len(set(images)) == 4


def test_bits_do_not_depend_on_the_region():
    experiment = problem(1, "beside", "square", 12.0, 40, True)
    for precision in PRECISIONS:
        whole, part = simulate(experiment, precision=precision), simulate(experiment, precision=precision, roi=(3, 9, 2, 5))
        assert part[2:6, 3:10].tobytes() == whole[2:6, 3:10].tobytes() and part.sum() < whole.sum()


# gradients ------------------------------------------------------------------------------------------------------------------

GRADIENTS = {
    "still": ("-detpixels 12", []),
    "rotated": ("-detpixels 8 -osc 0.5 -phisteps 3 -mosaic 0.2 -mosaic_domains 4", ["goniometer.phi_deg"]),
    "round": ("-detpixels 8 -round_xtal -oversample 2 -detector_thick 300 -detector_abs 200", ["detector.thickness_um"]),
}


@pytest.mark.parametrize("precision", ["mixed", "paired"])
@pytest.mark.parametrize("kind", GRADIENTS)
def test_gradients(kind, precision):
    """The gradient of a Gaussian loss agrees to 1e-5 of the sizes of its terms.

    Shapes other than the parallelepiped are computed in float64.
    """
    words, more = GRADIENTS[kind]
    words += " -cell 70 80 90 75 85 95 -N 20 -misset 10 20 30 -default_F 100 -distance 100 -pixel 2 -fluence 1e26"
    experiment = Experiment.from_args(words.split() + ([] if "-oversample" in words else ["-oversample", "1"]))
    names = ["crystal.a_A", "crystal.misset_deg", "detector.distance_mm", "beam.wavelength_A", "crystal.n_a", *more]
    image, dense = adjoint.jacobian(experiment, names)
    loss = Gaussian(image * np.random.default_rng(1).uniform(0.5, 1.5, image.shape), 0.1 * image + 0.01 * image.max())
    value, gradient = adjoint.value_and_grad(loss, experiment, names)
    near, found = adjoint.value_and_grad(loss, experiment, names, precision=precision)
    size = np.tensordot(np.abs((image - loss.data) * loss.weight), np.abs(dense), 2)
    assert near == pytest.approx(value, rel=1e-5)
    off = np.concatenate([np.ravel(found[name] - gradient[name]) for name in gradient])
    assert (size > 0.0).all() and (np.abs(off) <= 1e-5 * size).all()
    assert kind == "round" or np.abs(off).max() > 0.0


# stages ---------------------------------------------------------------------------------------------------------------------


def floats(random, count, most=300.0):
    """float32 numbers of either sign and of many sizes."""
    signs, powers = random.choice([-1, 1], count), -random.integers(0, 12, count)
    return (random.uniform(1.0, most, count) * signs * 2.0**powers).astype(np.float32)


def whole(x):
    """The exact value of a pair, as a fraction."""
    return Fraction(float(x[0])) + Fraction(float(x[1]))


def of_a_card(name):
    """An operation of a card, with its instructions in NumPy's float32. The product in a fused sum is exact in float64."""
    instructions = {
        "fadd_rn": lambda a, b: a + b,
        "fsub_rn": lambda a, b: a - b,
        "fmul_rn": lambda a, b: a * b,
        "fmaf_rn": lambda a, b, c: np.float32(np.float64(a) * np.float64(b) + np.float64(c)),
    }
    return with_globals(getattr(cuda_pairs, name), instructions, name)


@pytest.mark.parametrize("operation", [partial(getattr, PAIRED), of_a_card], ids=["stage", "card"])
@pytest.mark.parametrize("name", ["exact_sum", "exact_product"])
def test_exact_operations(name, operation):
    """Nothing is lost, and the first part is the rounded result in float32."""
    random = np.random.default_rng(1)
    for a, b in zip(floats(random, 2000), floats(random, 2000)):
        expected = Fraction(float(a)) + Fraction(float(b)) if name == "exact_sum" else Fraction(float(a)) * Fraction(float(b))
        pair = operation(name)(a, b)
        assert whole(pair) == expected
        assert pair[0] == (a + b if name == "exact_sum" else a * b)
        assert {type(part) for part in pair} == {np.float32}


def test_pairs_of_a_table():
    """A pair is accurate to 2^-48, and consists of two float32 numbers that do not overlap."""
    random = np.random.default_rng(2)
    lattices = random.uniform(-300.0, 300.0, (50, 9))
    table = in_pairs(lattices)
    assert table.shape == (50, 18) and table.dtype == np.float32
    for m in range(50):
        for n in range(9):
            pair = PAIRED.entry(table, m, n)
            assert abs(whole(pair) - Fraction(lattices[m, n])) <= Fraction(2) ** -48 * abs(Fraction(lattices[m, n]))
            assert abs(pair[1]) <= FINE * abs(pair[0])
            same = PAIRED.to_extended(np.float64(lattices[m, n]))
            assert same == pair and PAIRED.to_wide(pair) == np.float64(pair[0]) + np.float64(pair[1])


def test_an_index_of_pairs():
    """It is accurate to 2^-44 of |a| |q|, compared with the result without rounding."""
    random, worst = np.random.default_rng(3), Fraction(0)
    for _ in range(2000):
        vector, q = random.normal(size=3) * random.uniform(5.0, 400.0), random.normal(size=3) * random.uniform(0.01, 1.0)
        found = whole(PAIRED.index(*map(PAIRED.to_extended, vector), tuple(map(PAIRED.to_extended, q))))
        exact = sum(Fraction(x) * Fraction(y) for x, y in zip(vector, q))
        worst = max(worst, abs(found - exact) / Fraction(np.linalg.norm(vector) * np.linalg.norm(q)))
    assert Fraction(2) ** -52 < worst < Fraction(2) ** -44


def test_added_keeps_what_rounding_takes_off():
    """A sum of 10000 numbers is accurate to 1e-9 of itself, while float32 alone is accurate to 1e-6."""
    terms = np.random.default_rng(4).uniform(0.0, 1.0, 10000).astype("f4")
    total, alone = PAIRED.to_extended(np.float64(0.0)), np.float32(0)
    for term in terms:
        total, alone = PAIRED.accumulate(total, term), alone + term
    exact = sum(Fraction(float(term)) for term in terms)
    assert abs(whole(total) - exact) <= Fraction(1e-9) * exact < Fraction(1e-2) * abs(Fraction(float(alone)) - exact)


def halves():
    """Pairs at, just above and just below the middle between two whole numbers, and the same at whole numbers."""
    for middle in (*np.arange(-7.5, 8.0), -300.5, 299.5, *np.arange(-4.0, 5.0)):
        for rest in (0.0, 1e-9, -1e-9, 1e-6, -1e-6):
            yield np.float32(middle), np.float32(rest)


def test_nearest_of_pairs():
    """h0 is ceil(h - 1/2) and the distance is exact (F7), also if the two parts overlap."""
    random = np.random.default_rng(5)
    pairs = [(h, np.float32(h * random.uniform(-1e-5, 1e-5))) for h in floats(random, 3000)]
    for h in (*halves(), *pairs):
        d, h0 = PAIRED.nearest(h)
        assert h0 == math.ceil(whole(h) - Fraction(1, 2)), h
        assert whole(d) == whole(h) - Fraction(float(h0)), h
        assert Fraction(-1, 2) < whole(d) <= Fraction(1, 2)


def test_grating_phase_of_pairs():
    """N |d| less the nearest whole number is accurate to its own rounding and 2^-44 N |d|, and |d| to its rounding."""
    random = np.random.default_rng(6)
    for _ in range(3000):
        n, d = random.choice([1.0, 2.0, 7.5, 333.3, 1000.0]), random.uniform(-0.5, 0.5) * random.choice([1.0, 1e-3])
        d = PAIRED.to_extended(d)
        x, number, size = PAIRED.grating_phase(n, d)
        product = Fraction(n) * abs(whole(d))
        assert abs(Fraction(float(x)) + int(number) - product) <= Fraction(FINE) * abs(Fraction(float(x))) + product * 2**-44
        assert number == int(number) and abs(x) <= 0.5 * (1.0 + 4.0 * FINE)
        assert abs(Fraction(float(size)) - abs(whole(d))) <= Fraction(FINE) * abs(whole(d))
        assert {type(part) for part in (x, number, size)} == {np.float32}


def test_grating_phase_at_a_reflection():
    """A d of 0 is replaced by a number whose cube float32 can hold, so that a sincg is N."""
    for n in (1.0, 7.0, 1000.0):
        x, number, d = PAIRED.grating_phase(n, PAIRED.to_extended(np.float64(0.0)))
        assert number == 0.0 and d > 0.0 and d * d * d > 0.0
        above, below = PAIRED.sincg_parts(n, PAIRED.to_extended(np.float64(0.0)))
        assert above / below == pytest.approx(n, rel=1e-6)


@pytest.mark.parametrize("precision, half", [("single", FINE), ("double", 2.0**-53)])
def test_sine_and_cosine_of_arithmetic(precision, half):
    """They are accurate to a rounding or two of x / pi, and to some roundings of themselves."""
    own, real = in_python(precision), PRECISIONS[precision].real
    x = np.concatenate([np.linspace(-60.0, 60.0, 4001), np.linspace(-1e-3, 1e-3, 11)]).astype(real)
    extended = x.astype(np.longdouble)
    for name in ("sin", "cos"):
        found = np.array([getattr(own, name)(each) for each in x])
        assert found.dtype == real and np.abs(found).max() > 0.999
        off = np.abs(found.astype(np.longdouble) - getattr(np, name)(extended))
        assert (off <= half * (4.0 * np.abs(extended) + 8.0)).all()


# binding --------------------------------------------------------------------------------------------------------------------


def test_a_name_that_is_there_stays():
    """The names are those of words and of modules that come first, and callers use those."""
    bound = bind((cuda_stages, vec3, detector), lambda function: function, words("double") | PLAIN | {"dot": "mine"})
    assert bound["dot"] == "mine"
    assert bound["curved_position"]("panel", "flat") == "flat"
    assert bound["solid_angle"].__globals__["curved_position"] is bound["curved_position"]
    again = bind((vec3, detector, cuda_stages), lambda function: function, words("double") | PLAIN)
    assert again["curved_position"].__code__ is detector.curved_position.__code__
    assert detector.curved_position.__globals__ is vars(detector)


def test_constants_are_of_the_precision():
    bound = bind(stages("single"), lambda function: function, PLAIN | words("single"))
    assert type(bound["SPHERE"]) is np.float32 and {type(c) for c in bound["SIN_PI"]} == {np.float32}
    assert bound["real"] is np.float32 and type(bound["tiny"]) is np.float32


# what float32 cannot count --------------------------------------------------------------------------------------------------


def test_a_list_that_float32_cannot_count_is_refused():
    experiment = Experiment.from_args("-cell 30 -N 2 -default_F 1 -detpixels 2".split())
    far = {"structure_factors.hkl": np.array([[0, 0, 0], [0, 4096, 4096]]), "structure_factors.F": np.ones(2)}
    with pytest.raises(InputError, match="in single precision 16785409 reflections are too many; allowed: at most 16777215"):
        simulate(experiment.replace(far), precision="single")
    near = {"structure_factors.hkl": np.array([[0, 0, 0], [0, 4095, 4094]]), "structure_factors.F": np.ones(2)}
    assert simulate(experiment.replace(near), precision="single").max() > 0.0


def test_what_float32_cannot_hold_is_refused():
    """Bright pixels, numbers of an experiment and too many cells for a pair's N d are refused in a sentence, and no pixel is
    infinite."""
    made = Experiment.from_args("-cell 70 80 90 75 85 95 -default_F 1e17 -N 10 -detpixels 8".split())
    poisson = adjoint.losses.Poisson(simulate(made), background=1.0)
    own = types.SimpleNamespace(value=np.sum, derivative=np.ones_like)
    doors = [partial(adjoint.value_and_grad, loss) for loss in (poisson, own)]
    doors += [partial(adjoint.normal_equations, poisson), adjoint.vjp, adjoint.jacobian]
    too_large = "precision 'mixed': a pixel, or its derivative, is too large for float32; allowed: precision double"
    for door in (simulate, *(partial(door, parameters=["crystal.a_A"]) for door in doors)):
        with pytest.raises(InputError, match=too_large):
            door(experiment=made, precision="mixed")
    bright = made.replace({"structure_factors.default_F": 1.0, "beam.fluence": 1e80})
    with pytest.raises(InputError, match="of the experiment .photons. is too large for float32; allowed: precision double"):
        simulate(bright, precision="single")
    far = made.replace({"structure_factors.default_F": 1.0, "crystal.a_A": 1e8, "sampling.oversample": 1})
    with pytest.raises(InputError, match="indices of up to 2e.08 are too large for float pairs; allowed: at most 4194304, or"):
        simulate(far, precision="paired")
    large = made.replace({"structure_factors.default_F": 1.0, "crystal.n_a": 2.0**21})
    large = large.replace({"sampling.oversample": 1})
    with pytest.raises(InputError, match="too many for float pairs; allowed: at most 1048576, or precision mixed"):
        simulate(large, precision="paired")


def beside_a_reflection(n, h, seed):
    """An experiment with a window on the fringes beside the reflection (h, 0, 0) of n cells, which is excited."""
    drawn = np.random.default_rng(seed)
    theta, a = math.radians(drawn.uniform(15, 40)), 50.0
    wavelength = 2 * a / h * math.sin(theta)
    ahead, fast = np.array([math.cos(2 * theta), 0.0, math.sin(2 * theta)]), np.array([0.0, 1.0, 0.0])
    slow, pixel = np.cross(ahead, fast), wavelength / (n * a) * 1000.0 * drawn.uniform(0.02, 0.06)
    corner = 1000.0 * ahead - (32 + drawn.uniform(-3, 3)) * pixel * (fast + slow)
    turned = Experiment.from_args(f"-cell {a} -default_F 1e-3 -misset 0 {-90 - math.degrees(theta)} 0 -oversample 1".split())
    return turned.replace(
        {"beam.wavelength_A": wavelength, "crystal.n_cells": (n, n, n), "detector.convention": "custom"}
        | {"detector.pixel_mm": pixel}
        | {"detector.pixels": (64, 64), "detector.fast_axis": fast, "detector.slow_axis": slow, "detector.pix0_mm": corner}
        | {"detector.pivot": "sample", "beam.polarization_axis": fast}
    )


@pytest.mark.parametrize("n, h", [(1000, 300), (2e5, 100), (1e6, 20)])
def test_paired_keeps_its_promise_up_to_many_fringes(n, h):
    for seed in range(3):
        experiment = beside_a_reflection(n, h, seed)
        right, paired = simulate(experiment), simulate(experiment, precision="paired")
        assert (np.abs(paired - right) <= 1e-5 * right + 1e-7 * right.max()).all()


def test_what_paired_cannot_keep_is_said():
    with pytest.warns(UserWarning, match="precision paired: at 1e.06 cells .* precision mixed keeps the promise"):
        simulate(beside_a_reflection(1e6, 300, 1), precision="paired")
    with pytest.warns(UserWarning, match="precision paired"):
        adjoint.vjp(beside_a_reflection(1e6, 300, 1), ["beam.fluence"], precision="paired")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        simulate(beside_a_reflection(1e5, 100, 1), precision="paired")
        simulate(beside_a_reflection(1e6, 300, 1), precision="mixed")
