"""Derivatives and refinement with several crystals in the beam (A7d), and of their parameters."""

import dataclasses

import numpy as np
import pytest
from differences import assert_second_order, errors, ladder
from refining import pulls

import adjoint
from nbnumba import Experiment, InputError, simulate

FLAGS = "-cell 30 40 50 80 95 100 -misset 10 20 30 -lambda 1.5 -N 6 -default_F 100 -distance 60 -detpixels 64 -pixel 0.5 "
FLAGS += "-fluence 2e27 -oversample 1 -water 0.04 -osc 1 -phisteps 3 "
NAMES = [
    *("crystal.misset_deg", "crystal.scale", "crystal[1].scale", "crystal[1].misset_deg", "crystal[1].n_cells"),
    *("crystal[1].b_A", "detector.distance_mm", "beam.fluence", "background.water_um"),
    ("crystal.a_A", "crystal[1].a_A"),
]

pytestmark = [pytest.mark.filterwarnings("ignore::UserWarning"), pytest.mark.usefixtures("one_thread")]


def several(flags=FLAGS):
    """A parallelepiped, and a weaker crystal with Gaussian spots."""
    one = Experiment.from_args(flags)
    other = dataclasses.replace(one.crystal, misset_deg=(-40.0, 75.0, 12.0), scale=0.4, shape="gauss", n_b=8.0)
    return dataclasses.replace(one, crystal=[one.crystal, other])


def loss_of(experiment):
    image = simulate(experiment)
    random = np.random.default_rng(5)
    return adjoint.losses.Poisson(random.poisson(image * random.uniform(0.6, 1.4, image.shape) + 1.0), background=1.0)


def flat(gradient):
    return np.concatenate([np.ravel(part) for part in gradient.values()])


def test_gradient_of_the_sum_converges_at_second_order():
    """Along random directions through all parameters of both crystals, and of beam, detector and background."""
    experiment, random = several(), np.random.default_rng(1)
    loss, start = loss_of(experiment), adjoint.pack(experiment, NAMES)
    value, gradient = adjoint.value_and_grad(loss, experiment, NAMES)
    assert value == pytest.approx(loss.value(simulate(experiment)), rel=1e-12)
    scales = np.where(np.abs(start) > 1e10, 1e-2 * np.abs(start), np.where(np.abs(start) < 1.0, 0.005, 0.1))
    assert (np.abs(flat(gradient) * scales) > 0.0).all()
    for _ in range(3):
        step = scales * random.choice([-1.0, 1.0], start.size) * random.uniform(0.5, 1.0, start.size)

        def along(t, step=step):
            return loss.value(simulate(adjoint.unpack(experiment, NAMES, start + t * step)))

        slope = float(flat(gradient) @ step)
        assert_second_order(errors(along, 0.1, slope), 95, 1e-14 * value / np.array(ladder(0.1)))


@pytest.mark.parametrize("turned, still", [("mosaic_a_deg", "mosaic_c_deg"), ("mosaic_a_deg", "mosaic_spread_deg")])
def test_the_derivative_by_a_spread_of_0_where_another_turns_the_domains(turned, still):
    """From above, since no spread is below 0."""
    experiment = Experiment.from_args(FLAGS).replace({f"crystal.{turned}": 0.5, "crystal.mosaic_domains": 4})
    name, random = f"crystal.{still}", np.random.default_rng(2)
    image, pullback = adjoint.vjp(experiment, [name])
    cotangent = random.normal(size=image.shape)
    slope = float(pullback(cotangent)[name])

    def along(step):
        return float((simulate(experiment.replace({name: step})) * cotangent).sum())

    wrong = [abs((4.0 * along(h) - along(2.0 * h) - 3.0 * along(0.0)) / (2.0 * h) / slope - 1.0) for h in (1e-2, 1e-3)]
    assert wrong[1] < 1e-5 and wrong[1] < 0.03 * wrong[0]


def test_every_function_of_adjoint_agrees():
    experiment = several()
    loss = loss_of(experiment)
    image, jacobian = adjoint.jacobian(experiment, NAMES)
    np.testing.assert_allclose(image, simulate(experiment), rtol=1e-12)
    value, gradient, normal = adjoint.normal_equations(loss, experiment, NAMES)
    expected = np.einsum("sf,sfn->n", loss.derivative(image), jacobian)
    np.testing.assert_allclose(flat(gradient), expected, rtol=1e-9, atol=1e-9 * np.abs(expected).max())
    size = np.einsum("sf,sfn->n", np.abs(loss.derivative(image)), np.abs(jacobian))
    assert (np.abs(flat(adjoint.value_and_grad(loss, experiment, NAMES)[1]) - expected) <= 1e-12 * size).all()
    curved = np.einsum("sfm,sf,sfn->mn", jacobian, loss.curvature(image), jacobian)
    np.testing.assert_allclose(normal, curved, rtol=1e-9, atol=1e-9 * np.abs(curved).max())
    _, pullback = adjoint.vjp(experiment, NAMES)
    assert (np.abs(flat(pullback(loss.derivative(image))) - expected) <= 1e-12 * size).all()
    assert value == pytest.approx(loss.value(image), rel=1e-12)


def test_shared_amplitudes_get_the_derivative_of_both_crystals():
    random, experiment = np.random.default_rng(2), several()
    hkl = np.stack(np.meshgrid(*[np.arange(-9, 10)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    listed = {"structure_factors.hkl": hkl, "structure_factors.F": random.uniform(50.0, 150.0, len(hkl))}
    experiment = experiment.replace(listed)
    loss, name = loss_of(experiment), "structure_factors.F"
    _, gradient = adjoint.value_and_grad(loss, experiment, [name, "crystal[1].scale"])
    direction = random.normal(size=len(hkl))

    def along(t):
        return loss.value(simulate(experiment.replace({name: experiment.structure_factors.F + t * direction})))

    assert gradient[name] @ direction == pytest.approx((along(1e-3) - along(-1e-3)) / 2e-3, rel=1e-6)


def test_the_derivative_by_a_b_factor_of_0_is_that_to_the_side_above():
    experiment = several()
    loss, name = loss_of(experiment), "crystal[1].b_factor_A2"
    _, gradient = adjoint.value_and_grad(loss, experiment, [name])
    values = [loss.value(simulate(experiment.replace({name: step}))) for step in (0.0, 1e-3, 2e-3)]
    assert gradient[name] == pytest.approx((-3 * values[0] + 4 * values[1] - values[2]) / 2e-3, rel=1e-6)
    assert gradient[name] != 0.0


def test_parameters_of_crystals_that_are_not_there_are_refused():
    with pytest.raises(InputError, match=r"crystal\[2\].a_A' is no parameter; allowed: crystal\[1\] to crystal\[1\]"):
        adjoint.value_and_grad(loss_of(several()), several(), ["crystal[2].a_A"])
    with pytest.raises(InputError, match=r"crystal\[1\].mosaic_spread_deg: it is 0"):
        adjoint.value_and_grad(loss_of(several()), several(), ["crystal[1].mosaic_spread_deg"])


TRUTH = "-cell 30 40 50 80 95 100 -misset 10 20 30 -lambda 1.5 -N 12 -default_F 100 -distance 80 -detpixels 160 -pixel 0.4 "
TRUTH += "-fluence 3e26 -oversample 1 -osc 2 -phisteps 6 -phi_sampling mid "
REFINED = {
    "lattices": (
        ["crystal.misset_deg", "crystal[1].misset_deg", "crystal[1].scale", "image.background"],
        {"crystal.misset_x_deg": 0.1, "crystal[1].misset_y_deg": -0.1, "crystal[1].scale": 0.1},
    ),
    "off-diagonal": (
        ["crystal.misset_deg", "crystal.n_cells", "crystal.n_def", "image.scale", "image.background"],
        {"crystal.misset_x_deg": 0.1, "crystal.n_d": -1.0, "crystal.n_f": 1.0},
    ),
    "spreads about axes": (
        ["crystal.misset_deg", "crystal.mosaic_a_deg", "crystal.mosaic_b_deg", "crystal.mosaic_c_deg", "image.scale",
         "image.background"],
        {"crystal.misset_x_deg": 0.1, "crystal.mosaic_a_deg": 0.1, "crystal.mosaic_b_deg": -0.2, "crystal.mosaic_c_deg": 0.1},
    ),
    "B factors": (
        ["crystal.misset_deg", "crystal.b_factor_A2", "crystal.b_22_A2", "crystal.b_13_A2", "image.scale", "image.background"],
        {"crystal.misset_x_deg": 0.1, "crystal.b_factor_A2": 10.0, "crystal.b_22_A2": -5.0},
    ),
}  # fmt: skip
MORE = {
    "off-diagonal": "-N_abc 12 14 10 -N_def 2 -3 1 -gauss_xtal ",
    "spreads about axes": "-mosaic_abc 0.3 0.8 0.2 -mosaic_domains 12 ",
    "B factors": "-bfactor 60 -bfactor_aniso 5 10 -5 3 8 -4 ",
}
"""The flags of those crystals that are alone."""


def truth(kind):
    """The experiment that counts are drawn from."""
    if kind == "lattices":
        return several(TRUTH)
    return Experiment.from_args(TRUTH + MORE[kind])


def recovered(kind, seed):
    """(estimate - truth) / uncertainty of every number of a refinement of counts with noise."""
    return pulls(truth(kind), *REFINED[kind], seed)


@pytest.mark.parametrize("kind", ["lattices", "B factors"])  # the others below, because they take longer
def test_crystals_are_recovered_from_counts(kind):
    found = recovered(kind, 1)
    assert np.abs(found).max() < 4.0 and 0.3 < np.sqrt((found**2).mean()) < 2.0


@pytest.mark.long
@pytest.mark.parametrize("kind", REFINED)
def test_pulls_of_crystals_are_of_width_1(kind):
    found = np.array([recovered(kind, seed) for seed in range(100, 150)])
    assert 0.9 < np.sqrt((found**2).mean()) < 1.1
