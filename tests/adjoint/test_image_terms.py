"""The gradient and the matrix by parameters, by a scale of the photons and by background terms, in one pass (A13a)."""

import numba
import numpy as np
import pytest
from refining import Cauchy

import adjoint
from adjoint.gradient import with_image_terms
from adjoint.losses import Gaussian, Poisson
from adjoint.prepare import freeze_choices
from nbnumba import Experiment

WIDE = "-cell 40 50 60 80 95 105 -misset 10 20 30 -N 5 -default_F 100 -distance 100 -pixel 0.6 -oversample 1 -fluence 1e26 "
WIDE += "-detpixels_x 150 -detpixels_y 14 -osc 1 -phisteps 2 -water 1 -nointerpolate"
NAMES = ["crystal.a_A", "structure_factors.F", "crystal.misset_deg", "detector.distance_mm", ("crystal.n_a", "crystal.n_b")]
"""Amplitudes, a vector and tied numbers in between others."""

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


@pytest.fixture(scope="module")
def listed():
    """An experiment of two tiles a row with a list of reflections, its photons, and the Jacobian by NAMES."""
    axis = np.arange(-5, 6)
    hkl = np.array(np.meshgrid(axis, axis, axis, indexing="ij")).reshape(3, -1).T
    amplitudes = np.random.default_rng(3).uniform(20.0, 200.0, len(hkl))
    made = Experiment.from_args(WIDE.split())
    made = freeze_choices(made.replace({"structure_factors.hkl": hkl, "structure_factors.F": amplitudes}), NAMES)
    image, dense = adjoint.jacobian(made, NAMES)
    assert image.shape == (14, 150) and (np.abs(dense).max(axis=(0, 1)) > 0.0).sum() > 50
    return made, image, dense


FIELDS = np.random.default_rng(4).uniform(0.0, 3.0, (3, 14, 150))


def masked(image):
    """Data in which a tenth of the pixels is NaN."""
    random = np.random.default_rng(5)
    return np.where(random.random(image.shape) < 0.1, np.nan, random.poisson(image + 1.0).astype(float))


def poisson(image):
    """A Poisson loss of counts with a background, with its value, derivative and curvature in every pixel."""
    data, below = masked(image), np.linspace(0.5, 2.0, image.size).reshape(image.shape)
    mean = image + below
    with np.errstate(divide="ignore", invalid="ignore"):
        value = mean - data + np.where(data > 0.0, data * np.log(data / mean), 0.0)
    return Poisson(data, below), value, 1.0 - data / mean, np.where(np.isnan(data), np.nan, 1.0 / mean)


def gaussian(image):
    """The same for a Gaussian loss with another sigma in every pixel."""
    data, sigma = masked(image), np.linspace(0.5, 2.0, image.size).reshape(image.shape)
    off = (image - data) / sigma
    return Gaussian(data, sigma), off**2 / 2.0, off / sigma, np.where(np.isnan(data), np.nan, sigma**-2.0)


def own(image):
    """The same for a loss that the kernels do not know."""
    data = masked(image)
    loss, counts = Cauchy(data, 2.0), ~np.isnan(data)
    each = np.log1p(((image - data) / 2.0) ** 2 / 2.0)
    return loss, each, *(np.where(counts, x, np.nan) for x in (loss.derivative(image), loss.curvature(image)))


KINDS = {"poisson": poisson, "gaussian": gaussian, "own": own}
ROI = {"all": None, "region": (3, 140, 2, 11)}


@pytest.mark.parametrize("names", [NAMES, [], NAMES[1:2]], ids=["parameters", "none", "amplitudes"])
@pytest.mark.parametrize("region", ROI)
@pytest.mark.parametrize("kind", KINDS)
def test_what_stands_beside_is_a_column_of_the_jacobian(listed, kind, region, names):
    """J^T r and J^T W J contain the photons and the background terms as further columns of J, over the pixels that count."""
    made, image, dense = listed
    dense = adjoint.jacobian(made, names)[1] if names else dense[..., :0]
    loss, value, r, w = KINDS[kind](image)
    found = with_image_terms(loss, made.replace({"sampling.roi": ROI[region]}), names, FIELDS, True)
    rendered = np.zeros(image.shape, dtype=bool)
    rendered[(slice(2, 12), slice(3, 141)) if ROI[region] else slice(None)] = True
    counts = rendered & ~np.isnan(r)
    assert 1000 < counts.sum() < rendered.sum()
    columns = np.concatenate([dense, image[..., None], np.moveaxis(FIELDS, 0, -1)], axis=-1)[counts]
    r, w = r[counts], w[counts]
    if kind != "own" or region == "all":
        assert found[0] == pytest.approx(value[counts].sum(), rel=1e-12)
    assert found[1].shape == (dense.shape[2] + 4,) and found[2].shape == 2 * found[1].shape
    assert (np.abs(found[1] - columns.T @ r) <= 1e-12 * (np.abs(columns).T @ np.abs(r))).all()
    size = np.abs(columns).T @ (w[:, None] * np.abs(columns))
    assert (np.abs(found[2] - columns.T @ (w[:, None] * columns)) <= 1e-12 * size).all()
    np.testing.assert_array_equal(found[2], found[2].T)


@pytest.mark.parametrize("kind", KINDS)
def test_the_gradient_without_the_matrix_is_the_same(listed, kind):
    """The channels (A0) and the columns of a tile give the same derivative, also without background terms."""
    made, image, dense = listed
    loss, _, r, _ = KINDS[kind](image)
    counts = ~np.isnan(r)
    for fields in (FIELDS, FIELDS[:0]):
        value, gradient, normal = with_image_terms(loss, made, NAMES, fields, True)
        same, alone, nothing = with_image_terms(loss, made, NAMES, fields, False)
        columns = np.concatenate([dense, image[..., None], np.moveaxis(fields, 0, -1)], axis=-1)[counts]
        assert nothing is None and same == pytest.approx(value, rel=1e-12)
        assert alone.shape == gradient.shape == (dense.shape[2] + 1 + len(fields),)
        assert (np.abs(alone - gradient) <= 1e-12 * (np.abs(columns).T @ np.abs(r[counts]))).all()


def test_it_agrees_with_normal_equations(listed):
    """The numbers of the parameters have the same bits as without image terms."""
    made, image, dense = listed
    loss = KINDS["poisson"](image)[0]
    value, gradient, normal = adjoint.normal_equations(loss, made, NAMES)
    found = with_image_terms(loss, made, NAMES, FIELDS, True)
    n = dense.shape[2]
    assert found[0] == value
    np.testing.assert_array_equal(found[1][:n], np.concatenate([np.ravel(part) for part in gradient.values()]))
    np.testing.assert_array_equal(found[2][:n, :n], normal)


def test_fields_do_not_count_where_pixels_do_not(listed):
    """No bit depends on terms, data or weights of pixels that are left out or not rendered."""
    made, image, _ = listed
    made = made.replace({"sampling.roi": ROI["region"]})
    data = masked(image)
    out = np.isnan(data)
    out[:2] = out[12:] = True
    out[:, :3] = out[:, 141:] = True
    data[out] = np.nan
    ones = np.ones_like(image)
    first = with_image_terms(Gaussian(data, ones), made, NAMES, FIELDS, True)
    fields = np.where(out, 1e6 * FIELDS, FIELDS)
    again = with_image_terms(Gaussian(data, np.where(out, 7.0, ones)), made, NAMES, fields, True)
    for one, other in zip(first, again):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("with_normal", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_bits_do_not_depend_on_threads(listed, kind, with_normal):
    """A sum has one order, on one thread, on two, and when it is repeated."""
    made, image, _ = listed
    before, found = numba.get_num_threads(), []
    try:
        for threads in (1, 2, 2):
            numba.set_num_threads(threads)
            found.append(with_image_terms(KINDS[kind](image)[0], made, NAMES, FIELDS, with_normal))
    finally:
        numba.set_num_threads(before)
    for other in found[1:]:
        assert other[0] == found[0][0]
        np.testing.assert_array_equal(other[1], found[0][1])
        np.testing.assert_array_equal(other[2], found[0][2])
