"""Each stage as plain Python against its formula written out directly, and compiled against plain Python."""

import itertools
import math

import numpy as np
import pytest

from nbnumba.backends.binding import bind, stage_jit, stages
from nbnumba.backends.cpu import machine_words
from nbnumba.backends.precision import words
from nbnumba.stages import beam, crystal, culling, detector, elementary, lattice, pixel, records, shapes, structure, vec3

EPS = 2.0**-52
PI = np.longdouble("3.14159265358979323846264338327950288")


def rng():
    return np.random.default_rng(3)


def direction(random):
    vector = random.normal(size=3)
    return tuple(vector / np.linalg.norm(vector))


def rotation(axis, angle):
    """The rotation matrix as the exponential of the matrix of the cross product, by its series."""
    x, y, z = axis
    generator = angle * np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    total, term = np.eye(3), np.eye(3)
    for n in range(1, 40):
        term = term @ generator / n
        total = total + term
    return total


def panel(random=None, **fields):
    """A detector at 0.1 m along x, or a random one; `fields` replaces some."""
    stated = dict(origin=(0.1, 0.02, -0.03), fast=(0.0, 0.0, 1.0), slow=(0.0, -1.0, 0.0), normal=(1.0, 0.0, 0.0))
    stated["beam"] = (1.0, 0.0, 0.0)
    if random is not None:
        frame, _ = np.linalg.qr(random.normal(size=(3, 3)))
        stated = dict(zip(("fast", "slow", "normal"), map(tuple, frame)), origin=tuple(random.normal(size=3)))
        stated["beam"] = direction(random)
    values = {"pixel_fast": 1e-4, "pixel_slow": 1e-4}
    values |= {"distance": 0.1, "close_distance": 0.1, "layer": 0.0, "absorption": 0.0, "sensor": False}
    values |= {"curved": False, "point_pixel": False}
    values |= {f"{name}_{axis}": float(x) for name, v in stated.items() for axis, x in zip("xyz", v)}
    return records.Panel(**(values | fields))


def beam_record(kahn=0.0, axis=(0.0, 0.0, 1.0), **fields):
    values = dict.fromkeys(records.Intensity._fields, 0.0) | {"polarized": True, "kahn": kahn, "photons": 1.0}
    values |= {f"axis_{name}": x for name, x in zip("xyz", axis)}
    return records.Intensity(**(values | fields))


def crystal_record(cells=(5.0, 6.0, 7.0), shape=shapes.SQUARE, fudge=1.0, metric=None, most_remote=0.0):
    upper = (cells[0] ** 2, cells[1] ** 2, cells[2] ** 2, 0.0, 0.0, 0.0) if metric is None else metric
    return records.Crystal(*cells, shape, fudge, *upper, *upper[:3], *[0.0] * 6, False, most_remote, 0.0)


def box(low=(-2, -3, -1), high=(3, 4, 5), values=None):
    """The amplitudes of a box with l varying fastest. The last one is for all reflections outside."""
    shape = [h - l + 1 for l, h in zip(low, high)]
    listed = np.arange(1.0, math.prod(shape) + 1) if values is None else values
    names = [f"{axis}_{end}" for axis in "hkl" for end in ("min", "max")]
    bounds = dict(zip(names, (float(b) for pair in zip(low, high) for b in pair)))
    latch = np.full(4, 2**40, dtype=np.int64)
    rest = {"outside": float(len(listed)), "amplitude": np.append(listed, -1.0), "interpolate": False, "latch": latch}
    return records.Structure(**bounds, **{name: rest[name] for name in records.Structure._fields if name in rest})


def sampling(**fields):
    values = dict.fromkeys(records.Sampling._fields, False) | {"layers": 1, "oversample": 1}
    return records.Sampling(**(values | fields))


# ---------------------------------------------------------------------------------------------------------- vectors


def test_products_of_vectors():
    a, b = (tuple(v) for v in rng().normal(size=(2, 3)))
    assert vec3.dot(a, b) == pytest.approx(np.dot(a, b), rel=1e-15)
    np.testing.assert_allclose(vec3.cross(a, b), np.cross(a, b), rtol=1e-14)
    np.testing.assert_allclose(vec3.scale(a, -2.5), -2.5 * np.array(a), rtol=1e-15)
    along, length = vec3.unit(a)
    assert length == pytest.approx(np.linalg.norm(a), rel=1e-15)
    np.testing.assert_allclose(along, np.array(a) / np.linalg.norm(a), rtol=1e-15)


def test_turn_is_a_right_handed_rotation():
    random = rng()
    np.testing.assert_allclose(vec3.rotate((1.0, 0.0, 0.0), (0.0, 0.0, 1.0), 1.0, 0.0), (0, 1, 0), atol=1e-16)
    for _ in range(20):
        axis, angle, a = direction(random), random.uniform(-3, 3), tuple(random.normal(size=3))
        expected = rotation(axis, angle) @ a
        np.testing.assert_allclose(vec3.rotate(a, axis, math.sin(angle), math.cos(angle)), expected, rtol=0, atol=1e-13)


# --------------------------------------------------------------------------------------------------------- detector


def test_sample_offsets_are_the_centres_of_sub_pixels():
    offsets = [detector.sample_offset(0.5, 4, pixel_, sub) for pixel_ in range(3) for sub in range(4)]
    np.testing.assert_allclose(offsets, 0.5 / 4 * (np.arange(12) + 0.5), rtol=1e-15)


def test_flat_position():
    p = panel(rng())
    origin, fast, slow, normal = (np.array(p[3 * i : 3 * i + 3]) for i in range(4))
    expected = origin + 0.7 * fast + 0.2 * slow + 0.05 * normal
    np.testing.assert_allclose(detector.flat_position(p, 0.7, 0.2, 0.05), expected, rtol=1e-14)


def test_curved_detector_is_everywhere_at_its_distance():
    random = rng()
    for _ in range(20):
        p = panel(random, distance=0.37)
        curved = detector.curved_position(p, tuple(random.normal(size=3)))
        assert np.linalg.norm(curved) == pytest.approx(0.37, rel=1e-14)
    middle = detector.curved_position(panel(), (0.1, 0.0, 0.0))
    np.testing.assert_allclose(middle, (0.1, 0, 0), atol=1e-17)


def test_curved_detector_takes_flat_distances_as_arcs():
    y, z = detector.curved_position(panel(), (0.1, 0.02, 0.0)), detector.curved_position(panel(), (0.1, 0.0, 0.02))
    np.testing.assert_allclose(y, 0.1 * rotation((0, -1, 0), 0.2) @ (1, 0, 0), atol=1e-16)
    np.testing.assert_allclose(z, 0.1 * rotation((0, 0, 1), 0.2) @ (1, 0, 0), atol=1e-16)


def test_solid_angles_of_a_cube_add_up_to_the_whole_sphere():
    n = 200
    p = panel(pixel_fast=2.0 / n, pixel_slow=2.0 / n, close_distance=1.0)
    x = (np.arange(n) + 0.5) * 2 / n - 1
    airpath = np.sqrt(1 + x[:, None] ** 2 + x[None, :] ** 2)
    assert 6 * detector.solid_angle(p, airpath).sum() == pytest.approx(4 * math.pi, rel=1e-4)
    assert detector.solid_angle(p, 2.0) == pytest.approx((2 / n) ** 2 / 4 * (1 / 2), rel=1e-15)


def test_solid_angle_of_a_point_pixel_is_the_inverse_square():
    assert detector.solid_angle(panel(point_pixel=True, close_distance=0.3), 4.0) == 1 / 16


@pytest.mark.parametrize("layers", [1, 2, 7])
@pytest.mark.parametrize("angle", [0.0, 0.9])
def test_capture_fractions_add_up_to_what_the_sensor_absorbs(layers, angle):
    p = panel(layer=4e-4 / layers, absorption=1 / 5e-4, sensor=True)
    diffracted = (math.cos(angle), math.sin(angle), 0.0)
    captures = [detector.capture_fraction(p, layer, diffracted) for layer in range(layers)]
    assert sum(captures) == pytest.approx(1 - math.exp(-4e-4 / 5e-4 / math.cos(angle)), rel=1e-14)
    assert all(a > b > 0 for a, b in zip(captures, captures[1:]))


# ------------------------------------------------------------------------------------------------------------- beam


def test_scattering_vector():
    two_theta, wavelength = 0.7, 1.3
    q = beam.scattering_vector((math.cos(two_theta), math.sin(two_theta), 0.0), (1.0, 0.0, 0.0), wavelength)
    assert np.linalg.norm(q) == pytest.approx(2 * math.sin(two_theta / 2) / wavelength, rel=1e-14)
    np.testing.assert_allclose(q, ((math.cos(two_theta) - 1) / 1.3, math.sin(two_theta) / 1.3, 0), rtol=1e-14)


def test_polarization_factor_of_an_unpolarized_beam():
    for two_theta in (0.0, 0.4, math.pi / 2, 2.5):
        diffracted = (math.cos(two_theta), math.sin(two_theta) * 0.6, math.sin(two_theta) * 0.8)
        value = beam.polarization_factor(beam_record(0.0), diffracted, (1.0, 0.0, 0.0))
        assert value == pytest.approx((1 + math.cos(two_theta) ** 2) / 2, rel=1e-14)


@pytest.mark.parametrize("kahn", [1.0, -1.0, 0.3])
def test_polarization_factor_at_right_angles_and_forward(kahn):
    record = beam_record(kahn)
    along_e, across = (0.0, 0.0, 1.0), (0.0, 1.0, 0.0)
    assert beam.polarization_factor(record, along_e, (1.0, 0.0, 0.0)) == pytest.approx((1 - kahn) / 2, abs=1e-15)
    assert beam.polarization_factor(record, across, (1.0, 0.0, 0.0)) == pytest.approx((1 + kahn) / 2, abs=1e-15)
    assert beam.polarization_factor(record, (1.0, 0.0, 0.0), (1.0, 0.0, 0.0)) == 1.0


def test_polarization_factor_is_the_dipole_formula():
    """Of the part polarized along e, 1 - (d . e)^2 is scattered to d, and of the rest 1 - (d . b)^2."""
    random = rng()
    for _ in range(30):
        incident, d, axis, kahn = direction(random), direction(random), direction(random), random.uniform(-1, 1)
        e = np.array(axis) - np.dot(axis, incident) * np.array(incident)
        e /= np.linalg.norm(e)
        b = np.cross(incident, e)
        expected = (1 + kahn) / 2 * (1 - np.dot(d, e) ** 2) + (1 - kahn) / 2 * (1 - np.dot(d, b) ** 2)
        assert beam.polarization_factor(beam_record(kahn, axis), d, incident) == pytest.approx(expected, rel=1e-12)


def test_polarization_factor_of_a_beam_along_its_own_axis_is_finite(compiled):
    """The E vector has no plane there, and scattering is taken to lie in it."""
    record, d = beam_record(0.7, (1.0, 0.0, 0.0)), (0.6, 0.8, 0.0)
    expected = 0.5 * (1 + 0.36 - 0.7 * 0.64)
    with np.errstate(all="ignore"):
        assert beam.polarization_factor(record, d, (1.0, 0.0, 0.0)) == pytest.approx(expected, rel=1e-14)
    assert compiled["polarization_factor"](record, d, (1.0, 0.0, 0.0)) == pytest.approx(expected, rel=1e-14)


def test_resolved():
    q = (0.3, 0.0, 0.4)
    assert [bool(beam.within_resolution(beam_record(dmin=dmin), q)) for dmin in (0.0, 1.99, 2.01)] == [True, True, False]
    assert beam.within_resolution(beam_record(dmin=5.0), (0.0, 0.0, 0.0))


# ---------------------------------------------------------------------------------------------------------- crystal


def test_index_is_a_dot_product():
    assert crystal.index(1.0, 2.0, 3.0, (0.1, 0.2, 0.3)) == pytest.approx(1.4, rel=1e-15)


@pytest.mark.parametrize(
    "h, whole", [(2.5, 2), (-2.5, -3), (0.5, 0), (-0.5, -1), (2.4, 2), (2.6, 3), (-2.6, -3), (7.0, 7), (0.0, 0)]
)
def test_nearest_reflection_half_way_is_the_lower(h, whole):
    distance, nearest_whole = crystal.nearest(h)
    assert nearest_whole == whole
    assert distance == h - whole


# ---------------------------------------------------------------------------------------------------------- lattice


def test_polynomial_of_the_sine():
    """In exact arithmetic its error is that of its coefficients, 2.1e-16, to which rounding adds a few times as much."""
    x = np.concatenate([np.linspace(1e-9, 0.5, 20001), np.geomspace(1e-300, 0.5, 500)])
    exact = np.sin(PI * x.astype(np.longdouble))
    u, total = x.astype(np.longdouble) ** 2, np.longdouble(0)
    for coefficient in reversed(elementary.SIN_PI):
        total = total * u + np.longdouble(coefficient)
    assert np.abs(total * x.astype(np.longdouble) / exact - 1).max() < 2.5e-16
    assert np.abs(elementary.sin_pi(x).astype(np.longdouble) / exact - 1).max() < 3 * EPS
    np.testing.assert_array_equal(elementary.sin_pi(-x), -elementary.sin_pi(x))


def test_polynomial_of_the_exponential():
    """In exact arithmetic its error is 1.7e-17; rounding adds two units in the last place."""
    r = np.linspace(-np.log(2) / 2, np.log(2) / 2, 20001).astype(np.longdouble)
    series = np.polynomial.polynomial.polyval(r, np.array([1, 1, *elementary.EXP], dtype=np.longdouble))
    assert np.abs(series / np.exp(r) - 1).max() < 3e-17
    x = np.concatenate([np.linspace(0, 40, 20001), np.geomspace(1e-300, 707.9, 2000)])
    exact = np.exp(-x.astype(np.longdouble))
    values = np.array([elementary.decay(each) for each in x])
    assert np.abs(values / exact - 1).max() < 2 * EPS
    assert elementary.decay(0.0) == 1.0
    assert {elementary.decay(each) for each in (708.0, 1e4, 1e300, math.inf)} == {0.0}


def test_sine_and_cosine_of_any_number_of_turns():
    """The product pi x is exact to a unit in the last place of x, which is what sine and cosine lose next to their zeros."""
    x = np.concatenate([rng().uniform(-0.5, 0.5, 2000), rng().uniform(-3e3, 3e3, 2000), [0.0, 0.5, -0.5, 1.0, 7.0, -1.5]])
    wide = PI * (x.astype(np.longdouble) - 2 * np.round(x / 2))
    sine, cosine = np.array([elementary.sin_and_cos_pi(each) for each in x]).T
    assert np.abs(sine - np.sin(wide)).max() < 2 * EPS and np.abs(cosine - np.cos(wide)).max() < 2 * EPS


@pytest.mark.parametrize("n", [1, 2, 3, 36, 1000])
def test_grating(n):
    d = np.concatenate([rng().uniform(-0.5, 0.5, 500), [0.5, -0.5, 1e-9, 1 / (2 * n)]])
    exact = np.sin(PI * n * d.astype(np.longdouble)) / np.sin(PI * d.astype(np.longdouble))
    for each, expected in zip(d, exact):
        above, below = lattice.sincg_parts(float(n), each)
        assert abs(above / below) == pytest.approx(abs(float(expected)), rel=1e-11, abs=1e-13 * n)


@pytest.mark.parametrize("at_peak", list(itertools.product([True, False], repeat=3)))
def test_lattice_factor_at_a_reflection_is_the_number_of_cells(at_peak):
    cells, off = (5.0, 36.0, 1000.0), (0.11, 0.023, 0.0004)
    d = [0.0 if zero else away for zero, away in zip(at_peak, off)]
    expected = [
        n if zero else math.sin(math.pi * n * x) / math.sin(math.pi * x) for n, zero, x in zip(cells, at_peak, off)
    ]
    value = lattice.lattice_factor_square(crystal_record(cells), *d)
    assert np.isfinite(value)
    assert abs(value) == pytest.approx(abs(math.prod(expected)), rel=1e-11)


def test_signed_grating():
    random = rng()
    for n in (1, 2, 5, 36, 47):
        for h in [*random.uniform(-20, 20, 200), 0.0, 3.0, -4.0]:
            x = math.pi * h
            expected = n * (-1) ** ((n - 1) * round(h)) if h == round(h) else math.sin(n * x) / math.sin(x)
            assert lattice.signed_sincg(float(n), *crystal.nearest(h)) == pytest.approx(expected, rel=1e-9, abs=1e-10)


def test_distance_to_a_reflection():
    cells, d = (5.0, 6.0, 7.0), (0.1, -0.2, 0.3)
    value = lattice.distance_squared(crystal_record(cells), *d)
    assert value == pytest.approx(sum((n * x) ** 2 for n, x in zip(cells, d)), rel=1e-15)
    root = rng().normal(size=(3, 3))
    metric = root @ root.T
    upper = (*np.diag(metric), metric[0, 1], metric[0, 2], metric[1, 2])
    skew = lattice.distance_squared(crystal_record(metric=tuple(map(float, upper))), *d)
    assert skew == pytest.approx(np.array(d) @ metric @ d, rel=1e-13)


def test_transform_of_a_sphere():
    x = np.concatenate([np.geomspace(1e-6, 0.2, 300), np.linspace(0.09, 0.11, 200), np.linspace(0.2, 40, 500)])
    wide = x.astype(np.longdouble)
    series = sum((-1) ** k * 6 * (k + 1) * wide ** (2 * k) / np.longdouble(math.factorial(2 * k + 3)) for k in range(10))
    exact = np.where(x < 0.5, series, 3 * (np.sin(wide) / wide - np.cos(wide)) / wide**2)
    values = [lattice.sinc3(float(each)) for each in x * x]
    np.testing.assert_allclose(values, exact.astype(float), rtol=0, atol=2e-15)
    assert lattice.sinc3(0.0) == 1.0


def test_peak_shapes():
    """Volume times profile: ROUND, GAUSS and TOPHAT at a distance r whose square has the factor -fudge."""
    cells, d = (5.0, 6.0, 7.0), (0.03, -0.02, 0.04)
    number, fudge = 210.0, 1.3
    r = math.sqrt(fudge * sum((n * x) ** 2 for n, x in zip(cells, d)))
    x = math.pi * r
    expected = {
        shapes.ROUND: number * 0.723601254558268 * 3 * (math.sin(x) / x - math.cos(x)) / x**2,
        shapes.GAUSS: number * math.exp(-r * r / 0.63),
        shapes.TOPHAT: number if r * r < 0.3969 else 0.0,
    }
    assert r * r < 0.3969
    for shape, value in expected.items():
        assert lattice.lattice_factor_radial(crystal_record(cells, shape, fudge), *d) == pytest.approx(value, rel=1e-13)
        centre = number * (0.723601254558268 if shape == shapes.ROUND else 1.0)
        assert lattice.lattice_factor_radial(crystal_record(cells, shape, fudge), 0.0, 0.0, 0.0) == pytest.approx(
            centre, rel=1e-14
        )
    for reach, value in ((0.6299, number), (0.6301, 0.0)):
        assert lattice.lattice_factor_radial(crystal_record(cells, shapes.TOPHAT), reach / 5.0, 0.0, 0.0) == value


# -------------------------------------------------------------------------------------------------------- structure


def test_slots_of_the_box_and_outside():
    s = box()
    slots = [
        structure.slot(s, float(h), float(k), float(l))
        for h in range(-2, 4)
        for k in range(-3, 5)
        for l in range(-1, 6)
    ]
    assert slots == list(range(6 * 8 * 7))
    for outside in ((-3, 0, 0), (4, 0, 0), (0, -4, 0), (0, 5, 0), (0, 0, -2), (0, 0, 6), (1e9, 0, 0)):
        assert structure.slot(s, *map(float, outside)) == len(s.amplitude) - 1


@pytest.mark.parametrize("axis", range(3))
def test_surrounded_is_two_reflections_inside(axis):
    low, high = (-2, -3, -1)[axis], (3, 4, 5)[axis]
    for h, inside in ((low + 2, True), (low + 1.999, False), (high - 2, True), (high - 1.999, False)):
        hkl = [0.5, 0.5, 2.0]
        hkl[axis] = float(h)
        assert structure.surrounded(box(), *hkl) == inside


def test_cubic_weights():
    np.testing.assert_allclose(structure.cubic_weights(0.0), (0, 1, 0, 0), atol=1e-16)
    for t in (0.0, 0.2, 0.5, 0.99):
        weights = structure.cubic_weights(t)
        for power in range(4):
            moment = sum(w * x**power for w, x in zip(weights, (-1, 0, 1, 2)))
            assert moment == pytest.approx(t**power, abs=1e-14)


def test_interpolation_reproduces_cubics():
    def cubic(h, k, l):
        return (h**3 - 2 * h + 1) * (k**3 + k**2) * (2 - l**3) + h * k * l

    grid = np.meshgrid(np.arange(-2, 4), np.arange(-3, 5), np.arange(-1, 6), indexing="ij")
    s = box(values=cubic(*grid).astype(float).ravel())
    for hkl in ((0.3, 0.7, 1.2), (0.0, 1.0, 2.0), (0.99, -0.5, 2.9), (0.5, -0.999, 1.001)):
        assert structure.between(s, *hkl) == pytest.approx(cubic(*hkl), rel=1e-11, abs=1e-11)


# ------------------------------------------------------------------------------------------------------------ pixel


def test_term():
    assert pixel.term(3.0, -5.0) == 225.0


@pytest.mark.parametrize("capture, polarization, omega", list(itertools.product([False, True], repeat=3)))
@pytest.mark.parametrize("last", [False, True])
def test_every_factor_is_applied_once(capture, polarization, omega, last):
    """Whichever factors belong to the sample, sample and pixel together have each factor once, and the weight of the source."""
    s = sampling(every_capture=capture, every_polarization=polarization, every_omega=omega, last_capture=last)
    share, c, p, o = 0.5, 3.0, 5.0, 7.0
    sample = pixel.sample_weight(s, share, c) * pixel.sample_factor(s, c, p, o)
    assert pixel.photons(beam_record(photons=11.0), s, 2.0 * sample, c, p, o) == 2.0 * share * c * p * o * 11.0
    own = (c if capture else 1.0) * (p if polarization else 1.0) * (o if omega else 1.0)
    assert pixel.sample_factor(s, c, p, o) == own


# --------------------------------------------------------------------------------------------------------- compiled


@pytest.fixture(scope="module")
def compiled():
    return bind(stages("double"), stage_jit, machine_words() | words("double"))


def cases():
    """Many pairs (function of a module, arguments) for every stage."""
    random = rng()
    for _ in range(25):
        a, b, d, i = (direction(random) for _ in range(4))
        x, n, u = random.uniform(0.1, 2), float(random.integers(1, 90)), random.uniform(-0.5, 0.5, 3)
        p = panel(random, layer=0.01, absorption=3.0, point_pixel=bool(x > 1.5))
        shaped = crystal_record(shape=int(random.integers(1, 4)), fudge=x)
        yield vec3.dot, (a, b)
        yield vec3.cross, (a, b)
        yield vec3.scale, (a, x)
        yield vec3.unit, (a,)
        yield vec3.quadratic_form, ((*a, *b), d)
        yield vec3.rotate, (a, b, math.sin(x), math.cos(x))
        yield detector.sample_offset, (x, 3, 17, 2)
        yield detector.flat_position, (p, *u)
        yield detector.along_slow, (p, x)
        yield detector.position_in_row, (p, x, a, u[0])
        yield detector.curved_position, (p, a)
        yield detector.solid_angle, (p, x)
        yield detector.capture_fraction, (p, 2, d)
        yield beam.scattering_vector, (d, i, x)
        yield beam.polarization_factor, (beam_record(0.4, a), d, i)
        yield beam.within_resolution, (beam_record(dmin=x), a)
        yield beam.fading_factor, (beam_record(fading=x), a)
        yield crystal.index, (*a, b)
        yield crystal.nearest, (10 * u[0],)
        yield elementary.sinc_pi, (u[0] * u[0],)
        yield elementary.sin_pi, (u[0],)
        yield elementary.sin_and_cos_pi, (10 * u[0],)
        yield elementary.decay, (x * random.choice([1e-3, 1.0, 300.0]),)
        yield elementary.sin, (10 * u[0],)
        yield elementary.cos, (10 * u[0],)
        yield elementary.even, (float(random.integers(-9, 9)),)
        yield crystal.entry, (random.normal(size=(3, 9)), 2, 5)
        for conversion in (crystal.to_extended, crystal.to_wide, crystal.to_real, crystal.is_negative):
            yield conversion, (u[0],)
        yield crystal.accumulate, (x, u[0])
        yield culling.falloff, (n, abs(u[0]))
        yield culling.remoteness, (crystal_record(cells=(n, 3.0, 0.5), shape=int(random.integers(0, 4)), fudge=x), *u)
        yield culling.least_remoteness, (shaped, *abs(u))
        yield culling.least_sine, (abs(u[0]),)
        yield culling.least_distance, (10 * u[0], abs(u[1]))
        yield culling.index_reach, (a, (x, 0.5, 0.0), d, (d, a, (0.1, x, 0.2)), x)
        limited = crystal_record(shape=int(random.integers(0, 2)), most_remote=x)._replace(remote_per_omega=n)
        yield culling.remoteness_limit, (limited, x)
        yield culling.spread_of_directions, (panel(), (1e-3 * x, 0.0, 0.0), (1e-3, 2e-3 * x, 1e-4))
        yield culling.directions_in_box, (a, d)
        yield culling.across, (a, d)
        yield lattice.grating_phase, (n, u[0])
        yield lattice.sincg_parts, (n, u[0])
        yield lattice.lattice_factor_square, (crystal_record(), *u)
        yield lattice.signed_sincg, (n, u[0], float(random.integers(-9, 9)))
        yield lattice.distance_squared, (shaped, *u)
        weak = shaped._replace(disorder_hh=0.3, disorder_kk=0.2, disorder_ll=0.4, disorder_hk=0.1, disorder_kl=-0.05)
        yield lattice.disorder_exponent, (weak, *u)
        yield lattice.disorder_factor, (weak, *u)
        yield lattice.sinc3, (x * random.choice([1e-3, 30.0]),)
        yield lattice.lattice_factor_radial, (shaped, *u)
        yield structure.slot, (box(), *map(float, random.integers(-4, 6, 3)))
        yield structure.surrounded, (box(), *random.uniform(-3, 5, 3))
        yield structure.cubic_weights, (x / 2,)
        yield structure.floor, (10 * u[0],)
        yield structure.corner_slot, (box(), *map(float, random.integers((-1, -2, 0), (2, 3, 4))))
        yield structure.strides, (box(),)
        yield structure.row, (box(), int(random.integers(0, 300)))
        yield structure.plane, (box(), int(random.integers(0, 300)), 7)
        yield structure.surrounding, (box(), int(random.integers(0, 100)))
        weights, planes = structure.cubic_weights(abs(u[0])), structure.surrounding(box(), int(random.integers(0, 100)))
        yield structure.weighted_row, (weights, planes[0][0])
        yield structure.add_plane, (x, u[0], weights, weights, planes[1])
        yield structure.weighted_sum, (planes, weights, structure.cubic_weights(x / 2), weights)
        yield structure.between, (box(), *random.uniform((0, -1, 1), (1, 2, 3)))
        yield pixel.term, (x, u[0])
        yield pixel.between_entries, (random.uniform(1.0, 5.0, 4), 3.0 * x)
        s = sampling(every_omega=bool(x > 1), every_capture=bool(u[0] > 0), last_capture=bool(u[1] > 0))
        yield pixel.sample_factor, (s, x, 0.7, 3.0)
        yield pixel.sample_weight, (s, x, 0.7)
        yield pixel.photons, (beam_record(), s, x, 0.7, 3.0, 5.0)


def flat(result):
    """All numbers of a result, whose parts may be vectors, or have parts themselves."""
    return np.hstack([flat(part) for part in result]) if isinstance(result, tuple) else np.ravel(result).astype(float)


def test_compiled_stages_equal_plain_python(compiled):
    """They agree to 1e-14 of the largest component, since products and sums may be contracted."""
    for function, args in cases():
        plain, fast = (flat(f(*args)) for f in (function, compiled[function.__name__]))
        scale = 1e-14 * max(1.0, np.abs(plain).max())
        np.testing.assert_allclose(fast, plain, rtol=1e-14, atol=scale, err_msg=function.__name__)


def test_every_stage_is_tested(compiled):
    functions = [(module.__name__, name, f) for module in stages("double") for name, f in vars(module).items()]
    names = {name for module, name, f in functions if getattr(f, "__module__", 0) == module}
    by_kernels = {"amorphous", "of_source"}  # what of_source returns holds arrays, which only kernels hold uncounted
    assert names - by_kernels == {function.__name__ for function, _ in cases()}


def test_the_box_of_a_source():
    """One after another in the list of amplitudes; what is outside has the last entry, and one box is that of all sources."""
    one = box()
    assert structure.slot(structure.of_source(one, 3), 1, 2, 3) == structure.slot(one, 1, 2, 3)
    several = structure.of_source(one._replace(first=np.array([0.0, 336.0, 672.0]), outside=1008.0), 2)
    assert structure.slot(several, 1, 2, 3) == 672.0 + structure.slot(one, 1, 2, 3)
    assert structure.slot(several, 9, 2, 3) == 1008.0


def test_a_ray_from_behind_is_not_captured():
    layered = panel(layer=1e-4, absorption=1e3)
    assert detector.capture_fraction(layered, 0, (-1.0, 0.0, 0.0)) == 0.0
    assert detector.capture_fraction(layered, 0, (1.0, 0.0, 0.0)) > 0.09
