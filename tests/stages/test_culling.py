"""The bounds of F10a: the lattice factor falls with the remoteness as it says, and remoteness and reach bound what they say."""

import math

import numpy as np
import pytest

from nbnumba.loops.patches import GROUP
from nbnumba.setup.crystal import diagonal_below
from nbnumba.setup.culling import groups, most_remote, sphere_radius_squared
from nbnumba.stages import culling, detector, records, vec3
from nbnumba.stages.lattice import lattice_factor_radial, lattice_factor_square
from nbnumba.stages.shapes import GAUSS, ROUND, SHAPES, SQUARE, TOPHAT

POINTS = 20000
ROUNDING, SMALLEST = 1.0 + 1e-9, 1e-280
"""A bound is compared with what it bounds, which is rounded: sincg to some 1e-12 of itself at the largest numbers of cells.
Numbers next to the smallest have fewer digits."""


def crystal(random, shape, fudge=1.0, whole=False):
    """A crystal of 0.3 to 1000 cells along each edge, or of a whole number of them."""
    cells = [math.exp(random.uniform(math.log(0.3), math.log(1000.0))) for _ in range(3)]
    cells = [float(max(1, round(n))) for n in cells] if whole else cells
    metric = (cells[0] ** 2, cells[1] ** 2, cells[2] ** 2, 0.0, 0.0, 0.0)
    return records.Crystal(*cells, shape, fudge, *metric, *metric[:3], *[0.0] * 6, False, 0.0, 0.0)


def distances(random, record):
    """Distances to a reflection: anywhere, and within some fringes along some axes."""
    near = np.array([[10.0 / record.n_a], [10.0 / record.n_b], [10.0 / record.n_c]])
    d = random.uniform(-0.5, 0.5, (3, POINTS))
    return np.where(random.random((3, POINTS)) < 0.5, np.clip(d * near, -0.5, 0.5), d)


def factor_squared(record, d):
    """The squared lattice factor at each of those distances."""
    factor = lattice_factor_square if record.shape == SQUARE else lattice_factor_radial
    return np.array([factor(record, *map(float, point)) ** 2 for point in d.T])


def bound(record, remoteness):
    """The bound of F10a on the squared lattice factor."""
    cells = record.n_a * record.n_b * record.n_c
    if record.shape == SQUARE:
        return 1.0 / remoteness
    if record.shape == GAUSS:
        return cells**2 * np.exp(-2.0 * remoteness / 0.63)
    if record.shape == TOPHAT:
        return np.where(remoteness < 0.3969, cells**2, 0.0)
    u = math.pi**2 * np.maximum(remoteness, 1e-12)
    return cells**2 * 0.723601254558268**2 * np.minimum(1.0, 9.0 * (1.0 + u) / u**3)


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("seed", range(4))
def test_the_lattice_factor_is_below_its_bound(name, seed):
    """For any number of cells, whole or not; and the bound is reached within a factor of 2 somewhere."""
    random = np.random.default_rng(seed)
    record = crystal(random, SHAPES[name].number, whole=seed % 2 == 0)
    d = distances(random, record)
    squared = factor_squared(record, d)
    remoteness = np.array([culling.remoteness(record, *map(float, point)) for point in d.T])
    allowed = bound(record, remoteness)
    assert (squared <= allowed * ROUNDING + SMALLEST).all()
    seen = allowed > SMALLEST
    assert (squared[seen] / allowed[seen]).max() > 0.5


@pytest.mark.parametrize("name", SHAPES)
def test_the_least_remoteness_is_below_that_of_every_point_that_is_farther(name):
    random = np.random.default_rng(7)
    for _ in range(20):
        record = crystal(random, SHAPES[name].number, fudge=float(random.uniform(0.1, 3.0)))
        for _ in range(100):
            least = random.uniform(0.0, 0.5, 3) * random.choice([1.0, 1e-2, 1e-4, 0.0], 3)
            point = least + random.random(3) * (0.5 - least) * random.choice([1.0, 1e-3, 0.0])
            sign = random.choice([-1.0, 1.0], 3)
            assert culling.least_remoteness(record, *least) <= culling.remoteness(record, *(sign * point)) * ROUNDING


def test_the_least_remoteness_of_oblique_spots_is_below_that_of_every_point_that_is_farther():
    """Of metrics from nearly diagonal to nearly flat; the bound is close where they are nearly diagonal."""
    random, closest = np.random.default_rng(3), 0.0
    for _ in range(40):
        cells = random.uniform(1.0, 50.0, 3)
        root = np.diag(cells) + random.normal(size=(3, 3)) * cells.min() * random.choice([0.01, 0.3, 2.0])
        metric = root @ root.T
        numbers = (*np.diag(metric), metric[0, 1], metric[0, 2], metric[1, 2], *diagonal_below(metric))
        record = records.Crystal(*map(float, cells), GAUSS, 0.7, *map(float, numbers), *[0.0] * 6, False, 0.0, 0.0)
        for _ in range(300):
            least = random.uniform(0.0, 0.5, 3) * random.choice([1.0, 1e-2, 0.0], 3)
            point = least + random.random(3) * (0.5 - least) * random.choice([1.0, 1e-3, 0.0])
            sign = random.choice([-1.0, 1.0], 3)
            bounded, remote = culling.least_remoteness(record, *least), culling.remoteness(record, *(sign * point))
            assert bounded <= remote * ROUNDING
            closest = max(closest, bounded / remote if remote > 0.0 else 0.0)
    assert closest > 0.9


def test_the_least_distance_is_that_of_an_interval():
    random = np.random.default_rng(1)
    for _ in range(500):
        h, reach = random.uniform(-9, 9), random.uniform(0, 0.7)
        inside = np.linspace(h - reach, h + reach, 4001)
        least = np.abs(inside - np.round(inside)).min()
        assert -1e-12 < least - culling.least_distance(h, reach) < 1e-3


def test_no_index_lies_beyond_its_reach():
    """Of vectors and scattering vectors that lie within their own reach; some come next to it."""
    random = np.random.default_rng(2)
    closest = 0.0
    for n in range(200):
        a, q, alpha, edges, beyond = *random.normal(size=(2, 3)), random.random(3), random.normal(size=(3, 3)), random.random()
        if n % 2:
            alpha, beyond = np.zeros(3), 0.0
        reach = culling.index_reach(a, alpha, q, edges, beyond)
        for signs in random.choice([-1.0, 1.0], (64, 9)):
            other_q = q + signs[:3] @ edges + signs[3:6] * beyond
            off = (a + signs[6:] * alpha) @ other_q - a @ q
            assert abs(off) <= reach * ROUNDING
            closest = max(closest, abs(off) / reach)
    assert closest > 0.99


def flat_panel(random):
    """A panel of any orientation at a distance of 0.1 m."""
    axes = np.linalg.qr(random.normal(size=(3, 3)))[0]
    values = dict.fromkeys(records.Panel._fields, 0.0) | {"pixel_fast": 1e-4, "pixel_slow": 2e-4, "close_distance": 0.1}
    for name, vector in (*zip(("fast", "slow", "normal"), axes), ("origin", 0.1 * axes[2] + 0.05 * random.normal() * axes[0])):
        values |= {f"{name}_{axis}": float(x) for axis, x in zip("xyz", vector)}
    return records.Panel(**values)


@pytest.mark.parametrize("size", [1e-5, 1e-3, 1e-2, 0.05])
def test_no_direction_lies_outside_of_the_spread_of_its_points(size):
    """The part of a direction that the edges do not make, by least squares, is within what is beyond them; none is nearer."""
    random = np.random.default_rng(4)
    for _ in range(20):
        panel = flat_panel(random)
        middle, half = random.uniform(-0.05, 0.05, 3) * [1, 1, 0.1], random.random(3) * size * [1, 1, 0.3]
        (u, edges, beyond), nearest = culling.spread_of_directions(panel, middle, half)
        for signs in random.uniform(-1.0, 1.0, (100, 3)):
            point = middle + signs * half
            direction, length = vec3.unit(detector.flat_position(panel, *map(float, point)))
            assert length >= nearest / ROUNDING
            assert np.abs(np.subtract(direction, u) - signs @ np.array(edges)).max() <= beyond * ROUNDING + 1e-15


def test_a_smaller_solid_angle_has_a_smaller_limit():
    """In proportion for a parallelepiped, so that a pixel lacks what the bound says; for other shapes there is one limit."""
    random = np.random.default_rng(5)
    square = crystal(random, SQUARE)._replace(most_remote=0.5, remote_per_omega=5.0)
    assert culling.remoteness_limit(square, 0.02) == pytest.approx(0.1)
    assert culling.remoteness_limit(crystal(random, GAUSS)._replace(most_remote=0.5, remote_per_omega=5.0), 0.02) == 0.5


def test_the_limit_is_where_the_bound_is_what_may_be_lacking():
    """For a brightest pixel of 1e6 photons, of which 1e-3 may lack."""
    random, parts = np.random.default_rng(3), 1e9
    for shape in (SQUARE, GAUSS, ROUND):
        record = crystal(random, shape, whole=True)._replace(n_a=200.0, n_b=300.0, n_c=400.0)
        record = record._replace(metric_hh=4e4, metric_kk=9e4, metric_ll=16e4)
        limit = most_remote(record, 1e6, 1e-3)
        assert bound(record, limit) == pytest.approx((200.0 * 300.0 * 400.0) ** 2 / parts, rel=1e-6)
    assert sphere_radius_squared(1e6) < sphere_radius_squared(1e9)
    tophat = crystal(random, TOPHAT)._replace(n_a=9.0, n_b=9.0, n_c=9.0)
    assert most_remote(tophat, 1e6, 0.0) == 0.3969


@pytest.mark.parametrize("brightest, tolerance", [(math.inf, 1e-3), (0.0, 1e-3), (1e6, 0.0), (1e-3, 1e-12)])
def test_every_term_of_a_parallelepiped_counts(brightest, tolerance):
    """Where no bound is known, nothing may be lacking, or the bound allows nothing to be left out."""
    record = crystal(np.random.default_rng(4), SQUARE, whole=True)._replace(n_a=2.0, n_b=2.0, n_c=2.0)
    assert most_remote(record, brightest, tolerance) == 0.0


def test_a_fudge_that_is_not_above_0_leaves_nothing_out():
    record = crystal(np.random.default_rng(5), GAUSS)._replace(fudge=-1.0)
    assert most_remote(record, 1e6, 1e-3) == 0.0


@pytest.mark.parametrize("count", [1, 15, 16, 17, 50])
def test_every_lattice_is_within_the_reach_of_its_group(count):
    lattices = np.random.default_rng(6).normal(size=(count, 9))
    middle, reach = groups(lattices)
    assert middle.shape == reach.shape == (-(-count // GROUP), 9)
    for m, lattice in enumerate(lattices):
        assert (np.abs(lattice - middle[m // GROUP]) <= reach[m // GROUP]).all()


def test_where_a_pixel_may_lack_all_photons_no_term_counts():
    record = crystal(np.random.default_rng(8), GAUSS)
    assert 0.0 < np.float32(most_remote(record, 1.0, 1e6)) < 1e-20
