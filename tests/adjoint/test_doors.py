"""The public functions of adjoint accept users' own losses and data of every kind, and refuse others in one sentence."""

import numpy as np
import pytest

import adjoint
from adjoint.backends import cpu
from nbnumba import Experiment, InputError, simulate

FLAGS = "-cell 40 50 60 80 95 105 -misset 10 20 30 -default_F 50 -N 8 -distance 90 -pixel 0.3 -detpixels 24 -oversample 1"
NAMES = ["detector.distance_mm", "crystal.misset_deg"]


@pytest.fixture(scope="module")
def experiment():
    return Experiment.from_args(FLAGS.split())


@pytest.fixture(scope="module")
def image(experiment):
    return simulate(experiment)


def listed(more=""):
    """An experiment with a large box of amplitudes, so that there are few bands."""
    axis = np.arange(-60, 61)
    hkl = np.array(np.meshgrid(axis, axis, axis, indexing="ij")).reshape(3, -1).T
    made = Experiment.from_args(f"{FLAGS} {more}".split())
    return made.replace({"structure_factors.hkl": hkl, "structure_factors.F": 10.0 + (hkl @ [1, 2, 3]) % 7})


class Doubled(adjoint.losses.Gaussian):
    """A loss of the package with another value and another derivative."""

    def value(self, image):
        return 2.0 * super().value(image)

    def derivative(self, image):
        return 2.0 * super().derivative(image)


def test_methods_that_are_overridden_count(experiment, image):
    value, gradient = adjoint.value_and_grad(adjoint.losses.Gaussian(1.1 * image), experiment, NAMES)
    twice, steeper = adjoint.value_and_grad(Doubled(1.1 * image), experiment, NAMES)
    assert twice == pytest.approx(2.0 * value, rel=1e-12)
    np.testing.assert_allclose(steeper["crystal.misset_deg"], 2.0 * gradient["crystal.misset_deg"], rtol=1e-9)


def test_arrays_are_copied(image):
    background = np.ones_like(image)
    data = image.copy()
    loss = adjoint.losses.Poisson(data, background=background)
    before = loss.value(image)
    background += 100.0
    data += 5.0
    assert loss.value(image) == before


def test_masked_pixels_are_left_out(image):
    masked = np.ma.array(image, mask=image > np.median(image))
    plain = adjoint.losses.Gaussian(image, mask=image <= np.median(image))
    assert adjoint.losses.Gaussian(masked).counted() == plain.counted() < image.size


def test_what_is_not_known_of_pixels_left_out_does_not_matter(image):
    data = image.copy()
    data[3, 4] = np.nan
    sigma, background = np.sqrt(data), data * 0.0 + 1.0
    assert adjoint.losses.Gaussian(data, sigma).counted() == image.size - 1
    assert adjoint.losses.Poisson(data, background).counted() == image.size - 1


def test_no_array_makes_another_kernel(experiment, image):
    adjoint.value_and_grad(adjoint.losses.Gaussian(image), experiment, NAMES)
    before = len(cpu.kernel("double", False).signatures)
    sideways = np.asfortranarray(image)
    readonly = image.copy()
    readonly.setflags(write=False)
    adjoint.value_and_grad(adjoint.losses.Poisson(sideways, background=readonly), experiment, NAMES)
    adjoint.vjp(experiment, NAMES)[1](sideways)
    adjoint.normal_equations(adjoint.losses.Gaussian(image[::-1], sigma=readonly + 1.0), experiment, NAMES)
    adjoint.jacobian(experiment, NAMES)
    assert len(cpu.kernel("double", False).signatures) == before


def test_progress_is_told_between_bands(monkeypatch):
    monkeypatch.setattr(cpu, "STEPS_PER_CALL", 1)
    monkeypatch.setattr(adjoint.gradient, "MEMORY_OF_BANDS", 2**24)
    made = listed("-detpixels_y 300")
    done = []
    loss = adjoint.losses.Gaussian(np.ones((300, 24)))
    name = "structure_factors.F"
    gradient = adjoint.value_and_grad(loss, made, [name], progress=lambda n, of: done.append((n, of)))[1][name]
    assert len(done) > 1
    assert done == sorted(done)
    assert done[-1] == (300, 300)
    monkeypatch.undo()
    again = adjoint.value_and_grad(loss, made, [name])[1][name]
    np.testing.assert_allclose(again, gradient, rtol=1e-9, atol=1e-12 * np.abs(gradient).max())


def test_a_faint_crystal_over_water_does_not_fail(experiment):
    """Rounding errors in differences of the water's light are not evidence against a gradient."""
    wet = experiment.replace({"background.water_um": 50.0})
    names = ["crystal.a_A", "crystal.misset_x_deg", "crystal.n_b", "background.water_um"]
    lines = adjoint.gradcheck(wet, names, directions=1)
    assert not [line for line in lines if line.verdict == "FAILED"]
    assert lines[3].verdict == "passed"


class Wrong:
    """A loss whose methods return values that the test chooses."""

    def __init__(self, value=1.0, derivative=None, curvature=None):
        self.told = value, derivative, curvature

    def value(self, image):
        return self.told[0]

    def derivative(self, image):
        return np.ones_like(image) if self.told[1] is None else self.told[1]

    def curvature(self, image):
        return np.ones_like(image) if self.told[2] is None else self.told[2]


@pytest.mark.parametrize(
    ("loss", "named"),
    [
        (None, "NoneType"),
        (adjoint.losses.Gaussian, "type"),
        (np.ones((24, 24)), "ndarray"),
        (Wrong(value=None), "value"),
        (Wrong(value="7"), "value"),
        (Wrong(value=np.nan), "nan"),
        (Wrong(derivative=np.ones(3)), "derivative"),
        (Wrong(derivative=np.full((24, 24), 1j)), "derivative"),
        (Wrong(derivative=np.full((24, 24), np.inf)), "derivative"),
        (Wrong(curvature="a"), "curvature"),
        (Wrong(curvature=np.full((24, 24), -1.0)), "curvature"),
        (Wrong(curvature=np.full((24, 24), np.nan)), "curvature"),
    ],
)
def test_losses_that_are_none(experiment, loss, named):
    with pytest.raises(InputError, match=named):
        adjoint.normal_equations(loss, experiment, NAMES)


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda im: adjoint.losses.Gaussian(im * 1j), "data"),
        (lambda im: adjoint.losses.Gaussian([[1.0], [1.0, 2.0]]), "data"),
        (lambda im: adjoint.losses.Gaussian(im * np.nan), "no pixel"),
        (lambda im: adjoint.losses.Poisson(im, mask=im * 0), "no pixel"),
        (lambda im: adjoint.losses.Poisson(im, mask=im * np.nan), "mask: .* are NaN"),
        (lambda im: adjoint.losses.Gaussian(im, sigma=None), "sigma"),
        (lambda im: adjoint.losses.Gaussian(im, sigma=1e-200), "sigma"),
        (lambda im: adjoint.losses.Gaussian(im, saturation="a"), "saturation"),
        (lambda im: adjoint.losses.Gaussian(im, mask=[[1], [1, 2]]), "mask"),
        (lambda im: adjoint.losses.Poisson(im, background=-1.0), "background"),
        (lambda im: adjoint.losses.Poisson(im - 2 * im.max()), "count"),
        (lambda im: adjoint.cell_parameters([]), "crystal system"),
        (lambda im: adjoint.pack(None, NAMES), "experiment"),
        (lambda im: adjoint.vjp(im, NAMES), "experiment"),
    ],
)
def test_bad_input_is_one_sentence(image, make, named):
    with pytest.raises(InputError, match=named) as caught:
        make(image)
    assert "allowed: " in str(caught.value)


def test_vectors_that_do_not_fit(experiment):
    for vector in (["a"] * 4, [1.0], np.ones(4) * 1j):
        with pytest.raises(InputError, match="vector"):
            adjoint.unpack(experiment, NAMES, vector)


def test_derivatives_that_overflow(experiment, image):
    with pytest.raises(InputError, match="too large"):
        adjoint.vjp(experiment, NAMES)[1](np.full(image.shape, 1e308))
