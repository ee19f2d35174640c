"""The mirrors of the stages are compared with differences of the stages in extended precision, and with other formulas."""

import itertools
from decimal import Decimal, localcontext
from fractions import Fraction
from math import factorial

import numpy as np
import pytest
from differences import assert_second_order, central, ladder
from random_directions import random_direction

from adjoint.backends.cpu import WORDS, loss_of_pixels
from adjoint.backends.precision import MIRRORS, mirror_words
from adjoint.stages.beam import fading_factor_adj, polarization_factor_adj, scattering_vector_adj
from adjoint.stages.crystal import indices_adj, rotate_back
from adjoint.stages.detector import capture_fraction_adj, curved_position_adj, flat_position_adj, solid_angle_adj
from adjoint.stages.lattice import (
    SINC3_SLOPE,
    disorder_exponent_adj,
    distance_squared_adj,
    lattice_factor_radial_adj,
    lattice_factor_square_adj,
    sinc3_slope,
    sinc_pi_slope,
    sincg_slopes,
)
from adjoint.stages.loss import (
    GAUSSIAN,
    GIVEN,
    POISSON,
    deviance,
    expected,
    loss_curvature,
    loss_derivative,
    loss_value,
)
from adjoint.stages.pixel import amorphous_adj, material_adj, photons_adj, sample_factor_adj, sample_weight_adj, term_adj
from adjoint.stages.structure import add_plane_adj, add_row_adj, between_adj, cubic_slopes, weighted_sum_adj
from adjoint.stages.vec3 import add, quadratic_form_adj, rotate_adj, unit_adj
from nbnumba.backends.binding import bind, stage_jit, stages
from nbnumba.stages import records, shapes
from nbnumba.stages.beam import fading_factor, polarization_factor, scattering_vector
from nbnumba.stages.crystal import index, nearest
from nbnumba.stages.detector import capture_fraction, curved_position, flat_position, solid_angle
from nbnumba.stages.elementary import sinc_pi
from nbnumba.stages.lattice import (
    disorder_exponent,
    distance_squared,
    lattice_factor_radial,
    lattice_factor_square,
    sinc3,
    sincg_parts,
)
from nbnumba.stages.pixel import amorphous, photons, sample_factor, sample_weight, term
from nbnumba.stages.structure import add_plane, between, cubic_weights, surrounding, weighted_row, weighted_sum
from nbnumba.stages.vec3 import quadratic_form, rotate, scale, unit

E = 2.0**-53
STEP = 1e-3
DRAWS = 24
RADIAL = [shape.number for shape in shapes.SHAPES.values() if shape.number != shapes.SQUARE and not shape.not_differentiable]
"""The differentiable shapes that are a function of the distance to the nearest reflection."""
METRIC = ("metric_hh", "metric_kk", "metric_ll", "metric_hk", "metric_hl", "metric_kl")
CELLS = ("n_a", "n_b", "n_c")
SHARP = 1e-12
"""How near the differences come to a mirror, of the sum of the sizes of the terms of the derivative."""


def rng(seed=5):
    return np.random.default_rng(seed)


def numbers(result):
    """All numbers of a result, whose parts may be vectors or tuples, in their own precision."""
    if isinstance(result, tuple | list):
        return np.hstack([numbers(part) for part in result])
    return np.atleast_1d(result)


def axes(*names):
    """The fields of a record that hold the components of vectors."""
    return tuple(f"{name}_{axis}" for name in names for axis in "xyz")


def replaced(record, fields, values):
    return record._replace(**dict(zip(fields, values, strict=True)))


def panel(random, **fields):
    """A detector with random vectors at about 0.5 m."""
    values = dict(zip(records.Panel._fields, random.normal(size=15)))
    values |= {"pixel_fast": 0.7, "pixel_slow": 0.9}
    values |= {"distance": random.uniform(0.3, 0.7), "close_distance": random.uniform(0.3, 0.7)}
    values |= {"layer": random.uniform(0.1, 0.4), "absorption": random.uniform(2.0, 4.0), "sensor": True}
    return records.Panel(**(values | {"curved": False, "point_pixel": False} | fields))


def beam_record(kahn=0.0, axis=(0.0, 0.0, 1.0), photons=1.0, background_each=0.0):
    values = dict.fromkeys(records.Intensity._fields, 0.0) | dict(zip(axes("axis"), axis))
    return records.Intensity(**(values | {"kahn": kahn, "photons": photons, "background_each": background_each}))


def crystal_record(cells, shape=shapes.SQUARE, fudge=1.0, metric=(0.0,) * 6, disorder=(0.0,) * 6):
    return records.Crystal(*cells, shape, fudge, *metric, *metric[:3], *disorder, False, 0.0, 0.0)


def sampling(number):
    """A Sampling whose four choices of factors are the bits of a number."""
    names = ("every_capture", "every_polarization", "every_omega", "last_capture")
    choices = {name: bool(number >> bit & 1) for bit, name in enumerate(names)}
    values = dict.fromkeys(records.Sampling._fields, False) | {"layers": 1, "oversample": 1}
    return records.Sampling(**(values | choices))


def box(amplitude, low=(-3, -2, -4), high=(4, 5, 3)):
    """The amplitudes (h, k, l) of a box."""
    bounds = [float(bound) for pair in zip(low, high) for bound in pair]
    return records.Structure(*bounds, float(amplitude.size), np.append(amplitude.ravel(), -1.0), True, np.zeros(4, np.int64))


def climb(forward, pull, point, spans, random, natural=0.0, sharp=SHARP):
    """The ladder at a point, inputs moved by about h times their spans. Returns the size of the derivative by each input.

    natural: what the derivative along such a move may be, where it may happen to be far below that.
    """
    point, spans = np.array(point, float), np.broadcast_to(spans, np.shape(point))
    bar = random.normal(size=numbers(forward(point)).size)
    along = spans * random.normal(size=point.size)
    parts = numbers(pull(point, bar)) * along
    assert parts.shape == along.shape
    rounding = sharp * (np.abs(parts).sum() + natural * np.abs(bar).sum())
    quotients = [central(lambda t: numbers(forward(point + t * along)), step) @ bar for step in ladder(np.longdouble(STEP))]
    assert_second_order(np.abs(np.array(quotients) - parts.sum()), 80, rounding)
    assert abs((100 * quotients[2] - quotients[1]) / 99 - parts.sum()) <= rounding, (quotients, parts, rounding)
    return np.abs(parts / along)


# ------------------------------------------------------------------------------------------------------------ the ladder
#
# Each function makes from random numbers, and the number of the draw: a stage as a function of a list of inputs, its mirror
# as a function of the inputs and the cotangents of what it returns, the inputs, and the sizes by which these change.


LADDER_CASES = {}
"""The functions below, by the names of the mirrors."""


def ladder_case(mirror):
    """A decorator that registers a function which makes random cases of a mirror."""

    def register(make):
        LADDER_CASES[mirror.__name__] = make
        return make

    return register



@ladder_case(add)
def of_add(random, draw):
    return lambda x: add(x[:3], x[3:]), lambda x, bar: (tuple(bar), tuple(bar)), random.normal(size=6), 1.0


@ladder_case(unit_adj)
def of_unit_adj(random, draw):
    return unit, lambda x, bar: unit_adj(*unit(x), bar[:3], bar[3]), random_direction(random) * random.uniform(0.5, 3), 0.3


@ladder_case(rotate_adj)
def of_rotate_adj(random, draw):
    def inputs(x):
        return x[:3], x[3:6], x[6], x[7]

    angle = 0.0 if draw < 2 else random.uniform(-3, 3)
    point = [*random.normal(size=3), *random_direction(random), np.sin(angle), np.cos(angle)]
    return lambda x: rotate(*inputs(x)), lambda x, bar: rotate_adj(*inputs(x), bar), point, 1.0


@ladder_case(flat_position_adj)
def of_flat_position_adj(random, draw):
    p, (fast, slow) = panel(random), random.normal(size=2)
    fields = axes("fast", "slow", "normal", "origin")

    def inputs(x):
        return replaced(p, fields, x[:12]), fast, slow, x[12]

    return lambda x: flat_position(*inputs(x)), lambda x, bar: flat_position_adj(*inputs(x), bar), random.normal(size=13), 1.0


@ladder_case(curved_position_adj)
def of_curved_position_adj(random, draw):
    p = panel(random)
    fields = ("distance", *axes("beam", "slow", "fast"))

    def inputs(x):
        return replaced(p, fields, x[2:]), (0.3, x[0], x[1])

    def pull(x, bar):
        flat_bar, *others = curved_position_adj(*inputs(x), bar)
        assert flat_bar[0] == 0.0
        return flat_bar[1:], *others

    centre = (0.0, 0.0) if draw < 4 else random.normal(size=2) * 0.3
    point = [*centre, p.distance, *random_direction(random), *random_direction(random), *random_direction(random)]
    return lambda x: curved_position(*inputs(x)), pull, point, [0.1] * 3 + [0.3] * 9


@ladder_case(solid_angle_adj)
def of_solid_angle_adj(random, draw):
    p = panel(random, point_pixel=draw % 4 == 0)

    def inputs(x):
        return p._replace(close_distance=x[1]), x[0]

    def pull(x, bar):
        bars = solid_angle_adj(*inputs(x), bar[0])
        assert (bars[1] == 0.0) == p.point_pixel
        return bars

    return lambda x: solid_angle(*inputs(x)), pull, random.uniform(0.4, 1.5, 2), 0.3


@ladder_case(capture_fraction_adj)
def of_capture_fraction_adj(random, draw):
    p, normal = panel(random), random_direction(random)
    fields = (*axes("normal"), "layer", "absorption")

    def inputs(x):
        return replaced(p, fields, x[3:]), draw % 4, x[:3]

    diffracted = normal + 0.5 * random_direction(random)
    point = [*diffracted / np.linalg.norm(diffracted), *normal, p.layer, p.absorption]
    spans = [0.3] * 6 + [p.layer / 3, p.absorption / 3]
    return lambda x: capture_fraction(*inputs(x)), lambda x, bar: capture_fraction_adj(*inputs(x), bar[0]), point, spans


@ladder_case(scattering_vector_adj)
def of_scattering_vector_adj(random, draw):
    def inputs(x):
        return x[:3], x[3:6], x[6]

    point = [*random_direction(random), *random_direction(random), random.uniform(0.5, 2)]
    return lambda x: scattering_vector(*inputs(x)), lambda x, bar: scattering_vector_adj(*inputs(x), bar), point, 0.3


@ladder_case(polarization_factor_adj)
def of_polarization_factor_adj(random, draw):
    """The cases include rays in the planes along and across the E vector, and along the E vector itself."""
    incident, axis = random_direction(random), random_direction(random)
    kahn = (1.0, -1.0, 0.0)[draw] if draw < 3 else random.uniform(-1, 1)
    across = np.cross(axis, incident)
    special = {3: axis, 4: -axis, 5: across, 6: np.cross(incident, across), 7: incident + axis}
    diffracted = special.get(draw, incident + random_direction(random))

    def inputs(x):
        return beam_record(x[0], axis), x[1:4], x[4:]

    point = [kahn, *diffracted / np.linalg.norm(diffracted), *incident]
    return (
        lambda x: polarization_factor(*inputs(x)),
        lambda x, bar: polarization_factor_adj(*inputs(x), bar[0]),
        point,
        0.1,
    )


@ladder_case(fading_factor_adj)
def of_fading_factor_adj(random, draw):
    """The mirror takes the cotangent times the factor, which the kernels have at hand. The first factor is 1."""
    fading, q = 0.0 if draw == 0 else random.uniform(0.1, 2.0), random.normal(size=3) / 2.0

    def inputs(x):
        return beam_record()._replace(fading=x[0]), x[1:]

    def backward(x, bar):
        return fading_factor_adj(*inputs(x), bar[0] * fading_factor(*inputs(x)))

    return lambda x: fading_factor(*inputs(x)), backward, [fading, *q], 0.1


@ladder_case(indices_adj)
def of_indices_adj(random, draw):
    lattice = random.normal(size=9) * 30

    def forward(q):
        return tuple(index(*lattice[row : row + 3], q) for row in (0, 3, 6))

    return forward, lambda q, bar: indices_adj(lattice, bar), random.normal(size=3), 1.0


@ladder_case(rotate_back)
def of_rotate_back(random, draw):
    """The index of a turned cell vector, differentiated by that vector. The first rotation is the one of phi = 0."""
    matrix, q = np.eye(3) if draw == 0 else np.linalg.qr(random.normal(size=(3, 3)))[0], random.normal(size=3)

    def forward(a):
        return index(*(matrix @ a), q)

    return forward, lambda a, bar: scale(rotate_back(matrix.ravel(), q), bar[0]), random.normal(size=3), 1.0


@ladder_case(sinc_pi_slope)
def of_sinc_pi_slope(random, draw):
    u = (0.0, 0.25)[draw] if draw < 2 else random.uniform(0, 0.25)
    return lambda x: 2 * sinc_pi(x[0]), lambda x, bar: bar[0] * sinc_pi_slope(x[0]), [u], 1.0


def parity(crystal, *d):
    """The sign of the lattice factor that F8 leaves out, with which the factor is smooth."""
    cells = (crystal.n_a, crystal.n_b, crystal.n_c)
    odd = sum(nearest(n * abs(each))[1] for n, each in zip(cells, d)) % 2
    return -1.0 if odd else 1.0


def off_peak(random, n):
    """A random distance from a reflection, or 0, next to it, at a zero of the sincg, between two zeros, or half way to the
    next."""
    j = float(random.integers(0, max(int(n) // 2, 1)))
    edges = (0.0, 1e-60, 1e-20, 1e-9, 1e-5, (j + 1) / n, (j + 0.5) / n, np.nextafter(0.5, 0), 0.5)
    chosen = min(random.choice(edges), 0.5) if random.random() < 0.5 else random.uniform(0, 0.5)
    return chosen * random.choice((-1.0, 1.0))


@ladder_case(lattice_factor_square_adj)
def of_lattice_factor_square_adj(random, draw):
    """The numbers of cells are whole and others, and include 1 and 1000."""
    cells = [float(random.choice((1, 2, 3, 36, 1000, random.uniform(1, 90)))) for _ in range(3)]

    def inputs(x):
        return crystal_record(x[3:]), x[0], x[1], x[2]

    def forward(x):
        return lattice_factor_square(*inputs(x)) * parity(*inputs(x))

    def pull(x, bar):
        return lattice_factor_square_adj(*inputs(x), bar[0] * parity(*inputs(x)))

    d = [off_peak(random, n) for n in cells]
    natural = np.prod([min(n, 1 / abs(np.sin(np.pi * each))) if each else n for n, each in zip(cells, d)])
    return forward, pull, [*d, *cells], [*(0.2 / n for n in cells), 0.2, 0.2, 0.2], natural


@ladder_case(quadratic_form_adj)
def of_quadratic_form_adj(random, draw):
    pulled = lambda x, bar: quadratic_form_adj(tuple(x[3:]), tuple(x[:3]), bar[0])  # noqa: E731
    return lambda x: quadratic_form(tuple(x[3:]), tuple(x[:3])), pulled, random.normal(size=9), 1.0


@ladder_case(distance_squared_adj)
def of_distance_squared_adj(random, draw):
    def inputs(x):
        return crystal_record((1.0, 1.0, 1.0), metric=x[3:]), *x[:3]

    pulled = lambda x, bar: distance_squared_adj(*inputs(x), bar[0])  # noqa: E731
    return lambda x: distance_squared(*inputs(x)), pulled, random.normal(size=9), 1.0


@ladder_case(disorder_exponent_adj)
def of_disorder_exponent_adj(random, draw):
    def inputs(x):
        return crystal_record((1.0, 1.0, 1.0), disorder=x[3:]), *x[:3]

    pulled = lambda x, bar: disorder_exponent_adj(*inputs(x), bar[0])  # noqa: E731
    return lambda x: disorder_exponent(*inputs(x)), pulled, random.normal(size=9), 1.0


@ladder_case(sinc3_slope)
def of_sinc3_slope(random, draw):
    u = (0.0, 1e-4, 0.0099, 0.0101, 0.999, 1.0, 1.001)[draw] if draw < 7 else random.uniform(0, 4) ** 4
    return lambda x: sinc3(x[0]), lambda x, bar: bar[0] * sinc3_slope(x[0]), [u], 1.0


@ladder_case(lattice_factor_radial_adj)
def of_lattice_factor_radial_adj(random, draw):
    """The cases cover every differentiable shape, also at the reflection itself and on the axes."""
    shape, fudge, cells = RADIAL[draw % len(RADIAL)], random.uniform(0.5, 1.5), random.uniform(1, 30, 3)
    root = np.eye(3) + 0.2 * random.normal(size=(3, 3))
    pairs = ([0, 1, 2, 0, 0, 1], [0, 1, 2, 1, 2, 2])
    sizes = np.outer(cells, cells)[pairs]
    d = random.normal(size=3) * (0.0 if draw < 2 else 0.5) / cells
    d[0] *= draw >= 4

    def inputs(x):
        return crystal_record(x[3:6], shape, fudge, x[6:]), *x[:3]

    point = [*d, *cells, *(root @ root.T)[pairs] * sizes]
    return (
        lambda x: lattice_factor_radial(*inputs(x)),
        lambda x, bar: lattice_factor_radial_adj(*inputs(x), bar[0]),
        point,
        [*0.3 / cells, *0.3 * cells, *0.3 * sizes],
    )


@ladder_case(cubic_slopes)
def of_cubic_slopes(random, draw):
    t = (0.0, np.nextafter(1, 0))[draw] if draw < 2 else random.uniform(0, 1)
    return lambda x: cubic_weights(x[0]), lambda x, bar: np.dot(bar, cubic_slopes(x[0])), [t], 1.0


@ladder_case(between_adj)
def of_between_adj(random, draw):
    structure = box(random.normal(size=(8, 8, 8)))
    point = random.integers((-1, 0, -2), (2, 3, 1), 3) + random.uniform(0.01, 0.99, 3)
    return lambda x: between(structure, *x), lambda x, bar: between_adj(structure, *x, bar[0]), point, 1.0


@ladder_case(weighted_sum_adj)
def of_weighted_sum_adj(random, draw):
    planes = surrounding(box(random.normal(size=(8, 8, 8))), draw)
    return (
        lambda x: weighted_sum(planes, *map(cubic_weights, x)),
        lambda x, bar: weighted_sum_adj(planes, *x, bar[0]),
        random.uniform(0, 1, 3),
        1.0,
    )


@ladder_case(add_plane_adj)
def of_add_plane_adj(random, draw):
    rows, i, start = random.normal(size=(4, 4)), draw % 4, (0.0, 0.0, 0.0)
    return (
        lambda x: add_plane(0.0, cubic_weights(x[0])[i], cubic_weights(x[1]), cubic_weights(x[2]), rows),
        lambda x, bar: bar[0] * np.array(add_plane_adj(start, *of_part(x[0], i), *of_part(x[1]), *of_part(x[2]), rows)),
        random.uniform(0, 1, 3),
        1.0,
    )


@ladder_case(add_row_adj)
def of_add_row_adj(random, draw):
    four, i, j, start = random.normal(size=4), draw % 4, draw // 4 % 4, (0.0, 0.0, 0.0)
    return (
        lambda x: cubic_weights(x[0])[i] * cubic_weights(x[1])[j] * weighted_row(cubic_weights(x[2]), four),
        lambda x, bar: bar[0] * np.array(add_row_adj(start, *of_part(x[0], i), *of_part(x[1], j), *of_part(x[2]), four)),
        random.uniform(0, 1, 3),
        1.0,
    )


def of_part(t, number=slice(None)):
    """Weights and slopes of a place in a cell: all four, or those of one reflection."""
    return cubic_weights(t)[number], cubic_slopes(t)[number]


@ladder_case(term_adj)
def of_term_adj(random, draw):
    return lambda x: term(*x), lambda x, bar: term_adj(*x, bar[0]), random.normal(size=2), 1.0


@ladder_case(amorphous_adj)
def of_amorphous_adj(random, draw):
    """The cases lie in each interval of a table, including the last one, and beyond the table."""
    material = records.Amorphous(3.0, random.uniform(1, 5, 5))

    def inputs(x):
        return material, beam_record(background_each=x[0]), x[1:]

    length = (draw % 5 + random.uniform(0.1, 0.9)) * 2 / 3
    point = [random.uniform(1, 2), *length * random_direction(random)]
    return lambda x: amorphous(*inputs(x)), lambda x, bar: amorphous_adj(*inputs(x), bar[0]), point, 0.1


@ladder_case(sample_factor_adj)
def of_sample_factor_adj(random, draw):
    s = sampling(draw)
    return lambda x: sample_factor(s, *x), lambda x, bar: sample_factor_adj(s, *x, bar[0]), random.normal(size=3), 1.0


@ladder_case(sample_weight_adj)
def of_sample_weight_adj(random, draw):
    s, share = sampling(draw), random.uniform(0.5, 2)
    return lambda x: sample_weight(s, share, x[0]), lambda x, bar: sample_weight_adj(s, share, bar[0]), [0.7], 1.0


@ladder_case(photons_adj)
def of_photons_adj(random, draw):
    def inputs(x):
        return beam_record(photons=x[0]), sampling(draw), *x[1:]

    return lambda x: photons(*inputs(x)), lambda x, bar: photons_adj(*inputs(x), bar[0]), random.normal(size=5), 1.0


@ladder_case(loss_derivative)
def of_loss_derivative(random, draw):
    kind, data, weight = (GIVEN, GAUSSIAN, POISSON)[draw % 3], random.uniform(0, 9), random.uniform(0.5, 2)
    losses = {
        GIVEN: lambda x: data * x[0],
        GAUSSIAN: lambda x: weight * (x[0] - data) ** 2 / 2,
        POISSON: lambda x: x[0] + weight - data * np.log(x[0] + weight),
    }
    return losses[kind], lambda x, bar: bar[0] * loss_derivative(kind, x[0], data, weight), [random.uniform(1, 9)], 0.3, 1.0


@ladder_case(loss_curvature)
def of_loss_curvature(random, draw):
    """The change of the derivative where the data equal the expectation."""
    kind, value, weight = (GAUSSIAN, POISSON)[draw % 2], random.uniform(1, 9), random.uniform(0.5, 2)

    def forward(x):
        return loss_derivative(kind, x[0], expected(value, weight), weight)

    return forward, lambda x, bar: bar[0] * loss_curvature(kind, x[0], np.nan, weight), [value], value


ROUGH = {"lattice_factor_square_adj": 1e-10, "sinc3_slope": 1e-9, "lattice_factor_radial_adj": 1e-10, "sinc_pi_slope": 1e-11}
"""Where the stage itself is known less well: N d is rounded; sine and cosine are polynomials in float64, however exact x is."""


@pytest.mark.parametrize("name", LADDER_CASES)
def test_ladder(name):
    """The ladder converges to every derivative, and every derivative differs from 0 in some draw."""
    random, sizes = rng(), 0.0
    for draw in range(DRAWS):
        forward, pull, point, spans, *natural = LADDER_CASES[name](random, draw)
        found = climb(forward, pull, point, spans, random, *natural, sharp=ROUGH.get(name, SHARP))
        sizes = np.maximum(sizes, found * spans)
    assert sizes.min() > 1e-2 * sizes.max()


# --------------------------------------------------------------------------------------------- the sincg, to its last digits


def high(function, *args):
    """A function of Decimals, evaluated with 220 digits."""
    with localcontext() as context:
        context.prec = 220
        return function(*(Decimal(float(x)) for x in args))


def pi():
    """Pi by Machin's formula."""

    def arctangent(n):
        total, power, k = Decimal(0), Decimal(1) / n, 1
        while abs(power) > Decimal(10) ** -230:
            total, power, k = total + power / k, -power / (n * n), k + 2
        return total

    return 16 * arctangent(5) - 4 * arctangent(239)


with localcontext() as digits:
    digits.prec = 230
    PI = pi()


def sine_cosine(x):
    """The sine and the cosine by their series."""
    x = x.remainder_near(2 * PI)
    sums, power, k = [Decimal(1), Decimal(0)], Decimal(1), 0
    while k < 3 or abs(power) > Decimal(10) ** -230:
        k += 1
        power *= x / k
        sums[k % 2] += -power if k % 4 > 1 else power
    return sums[1], sums[0]


def grating_and_slopes(n, d):
    """sin(pi n d) / sin(pi d) and its derivatives by d and n, by the quotient rule."""
    if d == 0:
        return n, Decimal(0), Decimal(1)
    (above, above_c), (below, below_c) = sine_cosine(PI * n * d), sine_cosine(PI * d)
    by_d = (PI * n * above_c - above / below * PI * below_c) / below
    return above / below, by_d, PI * d * above_c / below


def sinc3_and_slope(u):
    """3 (sin x / x - cos x) / x^2 and its derivative by u = x^2, by the quotient rule."""
    if u == 0:
        return Decimal(1), Decimal(-1) / 10
    x = u.sqrt()
    sine, cosine = sine_cosine(x)
    return 3 * (sine / x - cosine) / u, 3 * (sine / x - 3 * (sine / x - cosine) / u) / (2 * u)


def distances(n):
    """Distances from a reflection: none, next to none, next to half way, zeros of the sincg, half way between, any."""
    between_zeros = [(j + 0.5) / n for j in range(int(n) // 2)]
    near = [np.nextafter(each, way) for each in between_zeros[:2] + between_zeros[-2:] for way in (0, 1)]
    listed = [0.0, 1e-60, 1e-20, 1e-9, 1e-5, 1e-3 / n, 0.5, np.nextafter(0.5, 0), 0.5 - 1e-9, *near]
    listed += [j / n for j in (1, 2, 3, int(n) // 2)] + between_zeros[:2] + between_zeros[-2:] + [*rng().uniform(0, 0.5, 20)]
    return [d for each in listed if each <= 0.5 for d in (each, -each)]


@pytest.mark.parametrize("n", [1.0, 1.0 + 1e-9, 1.5, 2.0, 3.0, 7.3, 36.0, 89.99, 1000.0])
def test_slopes_of_the_grating(n):
    """A8: N d is known to e N d, and the slope of the polynomial to 4e-12, which counts twice.

    A distance of 0 counts as 1e-60.
    """
    for d in distances(n):
        value, by_d, by_n = (float(x) for x in high(grating_and_slopes, n, d))
        above, below = sincg_parts(n, d)
        sign = -1.0 if nearest(n * abs(d))[1] % 2 else 1.0
        assert sign * above / below == pytest.approx(value, rel=1e-12, abs=20 * E * np.pi * n * n * abs(d) / below)
        slopes = sincg_slopes(n, d, 1 / below)
        found_d, found_n = (each / below for each in slopes)
        known, t = 4e-11 + 20 * E * n * abs(d), max(abs(d), 1e-60)
        steepest = np.pi * n / below * min(1, (n * t) ** 2)
        assert sign * found_d == pytest.approx(by_d, rel=1e-11, abs=(known if d else 4) * steepest), d
        assert sign * found_n == pytest.approx(by_n, rel=1e-11, abs=known * np.pi * t / below), d
        assert sincg_slopes(n, -d, 1 / below) == (-slopes[0] if d else slopes[0], slopes[1])


def test_slope_of_the_polynomial():
    def exact(u):
        x = u.sqrt()
        sine, cosine = sine_cosine(PI * x)
        return (PI * cosine - sine / x) / u

    u = np.linspace(0.0, 0.25, 200)
    expected_ = [high(lambda _: -(PI**3) / 3, 0.0), *(high(exact, each) for each in u[1:])]
    errors = np.array([sinc_pi_slope(each) for each in u]) / np.array(expected_, float) - 1.0
    assert 3.5e-12 < np.abs(errors).max() < 3.9e-12
    assert np.sum(np.diff(np.sign(errors)) != 0) == 6  # by Chebyshev's theorem no polynomial of six coefficients is better


def test_factors_of_a_single_cell_do_not_move():
    """For N = 1 the factor is 1 everywhere."""
    for d in (0.0, 1e-60, 1e-9, 0.1, -0.3, 0.5):
        by_d, by_n = lattice_factor_square_adj(crystal_record((1.0, 7.0, 7.0)), d, 0.01, 0.02, 1.0)[0::3]
        assert by_d == pytest.approx(0.0, abs=1e-13)
        assert (by_n == pytest.approx(0.0, abs=1e-9)) == (abs(d) == 0.5)  # 4e-12 of 49 pi / 2, the slope where d is 0


def test_slope_of_a_lattice_factor_at_a_reflection():
    """The slope along every axis is 0, and the slope by N is the product of the other two factors."""
    bars = lattice_factor_square_adj(crystal_record((5.0, 36.0, 1000.0)), 0.0, 0.0, 0.0, 2.0)
    assert np.abs(bars[:3]).max() < 1e-40
    np.testing.assert_allclose(bars[3:], (72e3, 1e4, 360), rtol=1e-14)


# ----------------------------------------------------------------------------------------------------------- other shapes


def test_series_of_the_slope_of_a_sphere():
    exact = [Fraction((-1) ** (k + 1) * 6 * (k + 1) * (k + 2), factorial(2 * k + 5)) for k in range(len(SINC3_SLOPE))]
    assert tuple(map(float, exact)) == SINC3_SLOPE


def test_slope_of_the_transform_of_a_sphere():
    """Also where the series ends, and where that of the transform itself does; e / x^2 of terms of 3 / (2 x^3)."""
    ends = [way for end in (0.01, 1.0) for way in (np.nextafter(end, 0), end, np.nextafter(end, 2))]
    for u in (0.0, 1e-30, 1e-9, *ends, *np.geomspace(1e-4, 1e4, 200)):
        slope = float(high(sinc3_and_slope, u)[1])
        natural = min(0.1, 1.5 / u**1.5) if u > 1e-6 else 0.1
        assert abs(sinc3_slope(u) - slope) <= 2e-14 * natural, u


@pytest.mark.parametrize("reach", [0.1, 0.6])
def test_a_step_does_not_move_but_with_its_height(reach):
    """The slope of TOPHAT is 0 inside and outside of the step, and its height depends on the numbers of cells."""
    crystal = crystal_record((2.0, 3.0, 4.0), shapes.TOPHAT, metric=(1.0, 1.0, 1.0, 0.0, 0.0, 0.0))
    d_bar, cells_bar, metric_bar = lattice_factor_radial_adj(crystal, np.sqrt(reach), 0.0, 0.0, 3.0)
    assert not np.any(d_bar) and not np.any(metric_bar)
    assert cells_bar == ((36.0, 24.0, 18.0) if reach < 0.3969 else (0.0, 0.0, 0.0))


@pytest.mark.parametrize("shape", RADIAL)
def test_peak_at_a_reflection(shape):
    metric = (4.0, 9.0, 16.0, 1.0, 2.0, 3.0)
    crystal = crystal_record((2.0, 3.0, 4.0), shape, metric=metric)
    d_bar, cells_bar, metric_bar = lattice_factor_radial_adj(crystal, 0.0, 0.0, 0.0, 1.0)
    assert not np.any(d_bar) and not np.any(metric_bar)
    height = lattice_factor_radial(crystal, 0.0, 0.0, 0.0) / 24
    np.testing.assert_allclose(cells_bar, height * np.array([12, 8, 6]), rtol=1e-14)


# ----------------------------------------------------------------------------------------------------------- polarization


def dipole_slope(kahn, axis, d, incident):
    """The part across d of the derivative of (1 + K) / 2 (1 - (d . e)^2) + (1 - K) / 2 (1 - (d . b)^2) by d."""
    e = axis - np.dot(axis, incident) * incident
    e /= np.linalg.norm(e)
    b = np.cross(incident, e)
    by_d = -(1 + kahn) * np.dot(d, e) * e - (1 - kahn) * np.dot(d, b) * b
    return by_d - np.dot(by_d, d) * d


def test_polarization_next_to_the_beam():
    """A6: the derivative by d, of size 2 sin(2theta), vanishes there for any angle about the beam."""
    random = rng()
    for angle in (0.0, *10.0 ** -np.arange(0.0, 18.0), 3e-60, 1e-120):
        for kahn in (1.0, -1.0, 0.3):
            incident, axis = random_direction(random), random_direction(random)
            across = np.cross(random_direction(random), incident)
            diffracted = np.cos(angle) * incident + np.sin(angle) * across / np.linalg.norm(across)
            d_bar = polarization_factor_adj(beam_record(kahn, axis), diffracted, incident, 1.0)[1]
            found = np.array(unit_adj(diffracted, 1.0, d_bar, 0.0))
            np.testing.assert_allclose(found, dipole_slope(kahn, axis, diffracted, incident), rtol=0, atol=1e-14)


@pytest.mark.parametrize("way", [1.0, -1.0])
@pytest.mark.parametrize("kahn", [1.0, -1.0, 0.3])
def test_polarization_along_the_beam(kahn, way):
    """Straight ahead and straight back the slope of P is 0, in whatever plane the ray turns."""
    axis, incident = (0.0, 0.6, 0.8), (1.0, 0.0, 0.0)
    diffracted = (way, 0.0, 0.0)
    kahn_bar, d_bar, i_bar = polarization_factor_adj(beam_record(kahn, axis), diffracted, incident, 1.0)
    assert kahn_bar == 0.0
    assert not np.any(unit_adj(diffracted, 1.0, d_bar, 0.0)) and not np.any(unit_adj(incident, 1.0, i_bar, 0.0))


def test_polarization_of_a_beam_along_its_own_axis():
    """The factor depends only on the angle to the beam, because cos 2psi is 1 by definition (F6)."""
    random, incident = rng(), (1.0, 0.0, 0.0)

    def inputs(x):
        return beam_record(x[0], incident), x[1:], incident

    for _ in range(5):
        point = [random.uniform(-1, 1), *random_direction(random)]
        bars = climb(
            lambda x: polarization_factor(*inputs(x)),
            lambda x, bar: polarization_factor_adj(*inputs(x), bar[0])[:2],
            point,
            [0.1, 0.1, 0.1, 0.1],
            random,
            1.0,
        )
        assert np.array_equal(bars > 0, (True, True, False, False))


# ------------------------------------------------------------------------------------------ detector, structure, background


@pytest.mark.parametrize("way", [(-1.0, 0.0, 0.0), (0.0, 0.6, 0.8)])
def test_a_ray_from_behind_moves_nothing(way):
    layered = panel(rng(), normal_x=1.0, normal_y=0.0, normal_z=0.0)
    assert not np.any(numbers(capture_fraction_adj(layered, 1, way, 1.0)))


def test_a_grazing_ray_is_captured_whole():
    """The first layer captures all of the ray, and nothing overflows."""
    layered = panel(rng(), normal_x=1.0, normal_y=0.0, normal_z=0.0)
    for rho in (1e-3, 1e-9, 1e-200):
        for layer in (0, 1):
            assert not np.any(numbers(capture_fraction_adj(layered, layer, (rho, 0.6, 0.8), 1.0)))


def test_interpolation_at_whole_indices_and_at_the_edges_of_the_box():
    """The slope is that of the interval above, (-2 F(-1) - 3 F(0) + 6 F(1) - F(2)) / 6 along an axis."""
    values = rng().normal(size=(8, 8, 8))
    structure, low = box(values), np.array([-3, -2, -4])
    for hkl in itertools.product((-1, 0, 2), (0, 1, 3), (-2, 0, 1)):
        found = between_adj(structure, *map(float, hkl), 2.0)
        for axis, each in enumerate(found):
            line = [values[tuple(np.array(hkl) - low + step * np.eye(3, dtype=int)[axis])] for step in (-1, 0, 1, 2)]
            assert each == pytest.approx(np.dot((-2, -3, 6, -1), line) / 3, rel=1e-13, abs=1e-13)


def test_slopes_of_interpolated_cubics():
    """The interpolation of a cubic has the slopes of the cubic, on both sides of a whole index."""
    h, k, l = np.meshgrid(np.arange(-3, 5), np.arange(-2, 6), np.arange(-4, 4), indexing="ij")
    structure = box((h**3 - 2 * h + 1) * (k**3 + k**2) * (2 - l**3) + 0.0)
    for h, k, l in ((0.3, 0.7, -1.2), (1.0, 2.0, 0.0), (np.nextafter(1, 0), 1.5, np.nextafter(0, -1)), (-1.0, 0.0, 1.0)):
        exact = (
            (3 * h**2 - 2) * (k**3 + k**2) * (2 - l**3),
            (h**3 - 2 * h + 1) * (3 * k**2 + 2 * k) * (2 - l**3),
            (h**3 - 2 * h + 1) * (k**3 + k**2) * -3 * l**2,
        )
        np.testing.assert_allclose(between_adj(structure, h, k, l, 1.0), exact, rtol=0, atol=1e-11)


def test_background_at_the_entries_of_its_table():
    """At an entry the slope is that of the next interval. At the last entry, beyond it and at q = 0, the slope of f is 0."""
    material, beam = records.Amorphous(2.0, np.array([3.0, 5.0, 4.0, 9.0])), beam_record(background_each=7.0)
    slopes = {0.0: 0.0, 0.5: 2.0, 1.0: -1.0, 1.5: -1.0, 2.0: 5.0, 2.5: 5.0, 3.0: 0.0, 3.5: 0.0, 90.0: 0.0}
    values = {0.0: 3.0, 0.5: 4.0, 1.0: 5.0, 1.5: 4.5, 2.0: 4.0, 2.5: 6.5, 3.0: 9.0, 3.5: 9.0, 90.0: 9.0}
    for length in slopes:
        each_bar, q_bar = amorphous_adj(material, beam, (0.0, length, 0.0), 11.0)
        assert each_bar == pytest.approx(11.0 * values[length], rel=1e-14)
        assert q_bar == (0.0, pytest.approx(11.0 * 7.0 * slopes[length], rel=1e-14), 0.0)


def test_background_without_a_table():
    material = records.Amorphous(0.0, np.array([1.0, 1.0]))
    assert amorphous_adj(material, beam_record(background_each=7.0), (0.3, 0.0, 0.4), 11.0) == (11.0, (0.0, 0.0, 0.0))


# -------------------------------------------------------------------------------------------------------------------- loss


def test_kinds_of_loss():
    assert loss_derivative(GIVEN, 3.0, 5.0, 7.0) == 5.0
    assert loss_derivative(GAUSSIAN, 3.0, 5.0, 7.0) == -14.0
    assert loss_derivative(POISSON, 3.0, 5.0, 7.0) == 0.5
    assert [loss_curvature(kind, 3.0, 5.0, 7.0) for kind in (GIVEN, GAUSSIAN, POISSON)] == [7.0, 7.0, 0.1]


def test_values_of_losses():
    assert loss_value(GIVEN, 3.0, 5.0, 7.0) == 0.0
    assert loss_value(GAUSSIAN, 3.0, 5.0, 7.0) == 14.0
    assert loss_value(POISSON, 3.0, 10.0, 7.0) == 0.0
    assert loss_value(POISSON, 3.0, 0.0, 7.0) == 10.0
    assert loss_value(POISSON, 1.0, 5.0, 1.0) == pytest.approx(2 - 5 + 5 * np.log(2.5), rel=1e-14)
    assert loss_value(POISSON, 0.0, 0.0, 0.0) == 0.0
    assert loss_value(POISSON, 0.0, 5.0, 0.0) == np.inf


def counts_and_means():
    """Counts and expectations of all magnitudes, close to each other, and close to where the logarithm is computed in
    another way."""
    random = rng()
    ratios = [2.0**k * factor for k in range(-4, 5) for factor in (1.0, 0.5**0.5, np.nextafter(0.5**0.5, 0), 1.1)]
    ratios += [1.0 + sign * 2.0**-k for k in range(1, 53) for sign in (-1, 1)] + [*10 ** random.uniform(-300, 290, 100)]
    ratios += [*10 ** random.uniform(-1, 1, 200)]
    counts = [1.0, 7.0, *10 ** random.uniform(-6, 9, len(ratios) - 2)]
    extremes = [(5e-324, 5e-324), (5e-324, 1e-310), (1e-310, 1.0), (3.0, 5e-324), (3.0, 2.0**-1022), (1e308, 1.1e308)]
    return [*extremes, *zip(counts, (count * ratio for count, ratio in zip(counts, ratios)))]


def test_deviance_to_its_last_digits():
    """Where the logarithm has a power of 2, the terms are up to 6 times their sum; elsewhere it is a square and small
    corrections."""
    pairs = counts_and_means()
    compiled = loss_of_pixels()(POISSON, *np.array([(mean, count, 0.0) for count, mean in pairs]).T)
    for (count, mean), fast in zip(pairs, compiled):
        with localcontext() as context:
            context.prec = 60
            n, mu = Decimal(float(count)), Decimal(float(mean))
            exact = float(mu - n + n * (n / mu).ln())
        for found in (deviance(mean, count), fast):
            assert abs(found - exact) <= 25 * E * exact + 5e-324, (count, mean)


def test_nothing_is_divided_by_an_expected_count_of_0():
    assert [expected(photons, 0.0) for photons in (0.0, 0.5)] == [1.0, 0.5]
    assert expected(0.0, 0.25) == 0.25
    assert (loss_derivative(POISSON, 0.0, 0.0, 0.0), loss_curvature(POISSON, 0.0, 0.0, 0.0)) == (1.0, 1.0)


# ---------------------------------------------------------------------------------------------------------------- compiled


@pytest.fixture(scope="module")
def compiled():
    return bind((*stages("double"), *MIRRORS), stage_jit, WORDS | mirror_words("double"))


@ladder_case(material_adj)
def of_material_adj(random, draw):
    """In each interval of a table, and beyond it: air is exp(x) of its share, and the derivative is at x = 0."""
    water, air = random.uniform(1, 5, (2, 5))
    q = tuple((draw % 5 + random.uniform(0.1, 0.9)) * 2 / 3 * random_direction(random))
    beam = beam_record(background_each=1.7)

    def light(x):
        return amorphous(records.Amorphous(3.0, water + np.exp(x[0]) * air), beam, q)

    return light, lambda x, bar: material_adj(records.Amorphous(3.0, water + air), air, beam, q, bar[0]), [0.0], 1.0


def calls():
    """Many pairs (mirror, arguments) for every mirror."""
    random = rng(8)
    for n in range(12):
        a, b, c, d = (tuple(map(float, random_direction(random))) for _ in range(4))
        x, y, z = map(float, random.uniform(0.1, 1.5, 3))
        u, w = (tuple(map(float, random.uniform(-0.5, 0.5, 3))) for _ in range(2))
        cells, s = tuple(map(float, random.uniform(1, 90, 3))), sampling(n)
        square = crystal_record(cells)
        shaped = crystal_record((5.0, 6.0, 7.0), 1 + n % 3, x, tuple(map(float, random.uniform(0, 4, 6))))
        p = panel(random, point_pixel=n % 3 == 0)
        amplitudes, nine = box(random.normal(size=(8, 8, 8))), tuple(map(float, random.normal(size=9)))
        material, beam = records.Amorphous(3.0, random.uniform(1, 5, 4)), beam_record(y, a, photons=z, background_each=x)
        yield add, (a, b)
        yield unit_adj, (a, x, b, y)
        yield quadratic_form_adj, ((*a, *b), c, x)
        yield rotate_adj, (a, b, x, y, c)
        yield flat_position_adj, (p, x, y, z, a)
        yield curved_position_adj, (p, a, b)
        yield solid_angle_adj, (p, x, y)
        yield capture_fraction_adj, (p, n % 4, a, x)
        yield scattering_vector_adj, (a, b, x, c)
        yield polarization_factor_adj, (beam, b, c, x)
        yield fading_factor_adj, (beam._replace(fading=w[0]), b, x)
        yield indices_adj, (nine, a)
        yield rotate_back, (nine, a)
        yield sinc_pi_slope, (x / 6,)
        yield sincg_slopes, (cells[0], u[0], 1 / float(sincg_parts(cells[0], u[0])[1]))
        yield lattice_factor_square_adj, (square, *u, x)
        yield distance_squared_adj, (shaped, *u, x)
        yield disorder_exponent_adj, (crystal_record((5.0, 6.0, 7.0), disorder=tuple(random.random(6))), *u, x)
        yield sinc3_slope, (x * (1e-3, 1.0, 30.0)[n % 3],)
        yield lattice_factor_radial_adj, (shaped, *u, x)
        yield cubic_slopes, (x / 2,)
        yield between_adj, (amplitudes, *w, x)
        planes, weights, slopes = surrounding(amplitudes, n), cubic_weights(abs(u[0])), cubic_slopes(abs(u[1]))
        yield weighted_sum_adj, (planes, *map(abs, u), x)
        yield add_plane_adj, (a, x, y, weights, slopes, slopes, weights, planes[n % 4])
        yield add_row_adj, (a, x, y, z, 0.7, weights, slopes, planes[0][n % 4])
        yield term_adj, (x, y, z)
        yield amorphous_adj, (material, beam, a, x)
        yield material_adj, (material, material.value, beam, a, x)
        yield sample_factor_adj, (s, x, y, z, 0.7)
        yield sample_weight_adj, (s, x, y)
        yield photons_adj, (beam, s, x, y, z, 0.7, 0.3)
        yield loss_value, (n % 3, x, y, z)
        yield deviance, (x, y)
        yield loss_derivative, (n % 3, x, y, z)
        yield loss_curvature, (n % 3, x, y, z)
        yield expected, (x * (n % 2), 0.0)


def test_compiled_mirrors_equal_plain_python(compiled):
    """They agree to 1e-14 of the largest component, except for N d of 45 and its multiples in the sincg: products may be
    contracted."""
    for function, args in calls():
        plain, fast = (numbers(f(*args)).astype(float) for f in (function, compiled[function.__name__]))
        size = max(1.0, np.abs(plain).max()) * (50 if "lattice" in function.__name__ or "sincg" in function.__name__ else 1)
        np.testing.assert_allclose(fast, plain, rtol=0, atol=1e-14 * size, err_msg=function.__name__)


def test_every_mirror_is_tested():
    """Every mirror is compared with differences or with a formula above, and compiled."""
    mirrors = {name for module in MIRRORS for name, f in vars(module).items() if getattr(f, "__module__", 0) == module.__name__}
    assert mirrors == {function.__name__ for function, _ in calls()}
    assert mirrors == set(LADDER_CASES) | {"sincg_slopes", "expected", "loss_value", "deviance"}
