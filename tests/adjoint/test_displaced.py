"""The derivative by the position of a crystal, and with cells that differ between domains (A7b, A7e), and their refinement."""

import dataclasses

import numpy as np
import pytest
from differences import assert_second_order, errors, ladder
from refining import pulls

import adjoint
from adjoint.gradient import with_image_terms
from nbnumba import Experiment, Group, InputError, Panel, simulate

FLAGS = "-cell 30 40 50 80 95 100 -misset 10 20 30 -lambda 1.5 -N 6 -default_F 100 -distance 60 -detpixels 48 -pixel 0.6 "
FLAGS += "-fluence 2e27 -oversample 1 "
ROTATION = "-phi 5 -osc 50 -phisteps 3 "
POSITION = ["crystal.position_x_mm", "crystal.position_y_mm", "crystal.position_z_mm"]
SPREADS = ["crystal.cell_spread_a", "crystal.cell_spread_b", "crystal.cell_spread_c"]
AXES = "-fdet_vector 0 0.1 1 -sdet_vector 0 -1 0.1 -beam_vector 1 0.05 0 -spindle_axis 0.1 0 1 "
DOMAINS = "-cell_spread 0.02 0.03 0.01 -mosaic_domains 4 "
CASES = {
    "still": ("-phi 5 -xtal_position 0.3 0.4 -0.2 -water 0.04 ", ["detector.distance_mm", "background.water_um"]),
    "rotation": (
        ROTATION + "-xtal_position 3 -4 2 -water 0.04 ",
        ["goniometer.phi_deg", "goniometer.osc_deg", "crystal.misset_deg", "detector.distance_mm", "beam.fluence",
         "crystal.scale", "background.water_um", "detector.xbeam_mm"],
    ),
    "at the origin": (ROTATION, ["goniometer.phi_deg", "crystal.a_A"]),
    "along the spindle": (ROTATION + "-xtal_position 0 0 3 ", ["goniometer.phi_deg", "detector.rotx_deg"]),
    "another spindle": (AXES + ROTATION + "-xtal_position 3 -4 2 ", ["goniometer.osc_deg", "detector.twotheta_deg"]),
    "sensor": (
        ROTATION + "-xtal_position 3 -4 2 -detector_thick 900 -detector_abs 300 -oversample_thick -oversample_omega -polar 0.5 "
        "-gauss_xtal ",
        ["detector.thickness_um", "beam.polarization", "crystal.n_cells"],
    ),
    "cells": (DOMAINS, [*SPREADS, "crystal.a_A", "crystal.gamma_deg", "crystal.misset_deg"]),
    "cells and mosaicity": (
        DOMAINS + "-mosaic 0.4 -mosaic_abc 0.3 0.1 0.2 -gauss_xtal -mosaic_sampling sobol -bfactor 10 " + ROTATION,
        [*SPREADS, "crystal.b_A", "crystal.mosaic_spread_deg", "crystal.mosaic_b_deg", "crystal.misset_deg", "crystal.n_cells"],
    ),
    "both": (DOMAINS + ROTATION + "-xtal_position 3 -4 2 -dispersion 1 -dispsteps 2 ", [*SPREADS, "beam.wavelength_A"]),
}  # fmt: skip

pytestmark = [pytest.mark.filterwarnings("ignore::UserWarning"), pytest.mark.usefixtures("one_thread")]


def names_of(case):
    """The parameters of a case, the position among them where the crystal has one."""
    return CASES[case][1] + ([] if case.startswith("cells") else POSITION)


def loss_of(experiment):
    image = simulate(experiment)
    random = np.random.default_rng(5)
    return adjoint.losses.Poisson(random.poisson(image * random.uniform(0.6, 1.4, image.shape) + 1.0), background=1.0)


def flat(gradient):
    return np.concatenate([np.ravel(part) for part in gradient.values()])


def scales_of(start):
    """Steps that change the image noticeably."""
    return np.where(np.abs(start) > 1e10, 1e-2 * np.abs(start), np.where(np.abs(start) < 0.06, 0.005, 0.05))


@pytest.mark.parametrize("case", CASES)
def test_gradient_converges_at_second_order(case):
    """For every parameter by itself, and along random directions through all of them."""
    experiment, names = Experiment.from_args(FLAGS + CASES[case][0]), names_of(case)
    loss, start = loss_of(experiment), adjoint.pack(experiment, names)
    value, gradient = adjoint.value_and_grad(loss, experiment, names)
    assert value == pytest.approx(loss.value(simulate(experiment)), rel=1e-12)
    slopes, scales, random = flat(gradient), scales_of(start), np.random.default_rng(1)
    assert (np.abs(slopes * scales) > 1e-9 * value).all()
    directions = [*np.diag(scales), *(scales * random.choice([-0.7, 1.0], start.size) for _ in range(3))]
    for step in directions:

        def along(t, step=step):
            return loss.value(simulate(adjoint.unpack(experiment, names, start + t * step)))

        assert_second_order(errors(along, 0.05, float(slopes @ step)), 90, 4e-14 * value / np.array(ladder(0.05)))


@pytest.mark.parametrize("case", ["rotation", "both", "at the origin"])
def test_every_function_of_adjoint_agrees(case):
    experiment, names = Experiment.from_args(FLAGS + CASES[case][0]), names_of(case)
    loss = loss_of(experiment)
    image, jacobian = adjoint.jacobian(experiment, names)
    np.testing.assert_allclose(image, simulate(experiment), rtol=1e-11)
    value, gradient, normal = adjoint.normal_equations(loss, experiment, names)
    expected = np.einsum("sf,sfn->n", loss.derivative(image), jacobian)
    size = np.einsum("sf,sfn->n", np.abs(loss.derivative(image)), np.abs(jacobian))
    curved = np.einsum("sfm,sf,sfn->mn", jacobian, loss.curvature(image), jacobian)
    np.testing.assert_allclose(normal, curved, rtol=1e-9, atol=1e-9 * np.abs(curved).max())
    np.testing.assert_array_equal(normal, normal.T)
    again, pullback = adjoint.vjp(experiment, names)
    np.testing.assert_allclose(again, simulate(experiment), rtol=1e-12)
    by_all = gradient, adjoint.value_and_grad(loss, experiment, names)[1], pullback(loss.derivative(image))
    for one in by_all:
        assert (np.abs(flat(one) - expected) <= 1e-12 * size).all()
    assert value == pytest.approx(loss.value(image), rel=1e-12)
    terms = np.stack([np.ones(image.shape)])
    with_terms = with_image_terms(loss, experiment, names, terms, True)
    of_image = [float(np.sum(loss.derivative(image) * term)) for term in (image, terms[0])]
    np.testing.assert_allclose(with_terms[1], [*expected, *of_image], rtol=1e-9, atol=1e-12 * size.max())
    np.testing.assert_allclose(with_terms[2][:-2, :-2], normal, rtol=1e-12)


def test_amplitudes_panels_and_several_crystals():
    """Each crystal in its own place, with amplitudes that they share, before panels in a group."""
    random, one = np.random.default_rng(2), Experiment.from_args(FLAGS + ROTATION + "-xtal_position 3 -4 2 ")
    hkl = np.stack(np.meshgrid(*[np.arange(-9, 10)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    one = one.replace({"structure_factors.hkl": hkl, "structure_factors.F": random.uniform(50.0, 150.0, len(hkl))})
    panels = [Panel("q/a", (19, 22), 0.6, 0.7, (-14.0, -9.0, 0.0)), Panel("q/b", (17, 22), 0.8, 0.7, (1.0, 2.0, 3.0))]
    one = one.replace({"detector.panels": panels, "detector.groups": [Group("q", turn_deg=(3.0, -8.0, 20.0))]})
    other = dataclasses.replace(one.crystal, misset_deg=(-40.0, 75.0, 12.0), scale=0.4, shape="gauss", position_x_mm=0.0)
    third = dataclasses.replace(other, position_y_mm=0.0, position_z_mm=0.0, misset_deg=(1.0, 2.0, 3.0))
    experiment = dataclasses.replace(one, crystal=[one.crystal, other, third])
    names = [*POSITION, "crystal[1].position_mm", "crystal[1].scale", "crystal[2].position_y_mm", "crystal[2].misset_deg"]
    names += ["detector.group[q].shift_fast_mm", "detector.group[q].turn_normal_deg", "goniometer.phi_deg"]
    names += ["structure_factors.F"]
    image, pullback = adjoint.vjp(experiment, names)
    assert [part.shape for part in image] == [(19, 22), (17, 22)]
    cotangent = [random.normal(size=part.shape) for part in image]
    slopes = flat(pullback(cotangent))
    start = adjoint.pack(experiment, names)
    scales = np.concatenate([scales_of(start[: -len(hkl)]), random.normal(size=len(hkl))])
    assert (np.abs(slopes[: -len(hkl)]) > 0.0).all()
    step = scales * random.choice([-1.0, 1.0], start.size)

    def along(t):
        moved = simulate(adjoint.unpack(experiment, names, start + t * step))
        return sum(float(np.sum(part * bar)) for part, bar in zip(moved, cotangent))

    found = errors(along, 0.05, float(slopes @ step))
    assert_second_order(found, 90, 1e-8 * np.abs(slopes * step).sum())
    assert found[0] < 0.05 * abs(float(slopes @ step))


def test_the_derivative_by_a_spread_of_0_where_another_makes_domains():
    """From above, since no spread is below 0; without domains it is refused."""
    experiment = Experiment.from_args(FLAGS + "-mosaic 0.5 -mosaic_domains 4 ")
    loss = loss_of(experiment)
    _, gradient = adjoint.value_and_grad(loss, experiment, SPREADS)
    for name in SPREADS:
        values = [loss.value(simulate(experiment.replace({name: h}))) for h in (0.0, 1e-5, 2e-5)]
        assert gradient[name] == pytest.approx((-3 * values[0] + 4 * values[1] - values[2]) / 2e-5, rel=1e-5)
    with pytest.raises(InputError, match="cell_spread_b: it is 0, and there are no domains to turn or to stretch"):
        adjoint.value_and_grad(loss, experiment.replace({"crystal.mosaic_spread_deg": 0.0}), SPREADS[1:])
    with pytest.raises(InputError, match="cell_spread_a: it moves nothing there"):
        adjoint.vjp(experiment.replace({"crystal.mosaic_domains": 1, SPREADS[0]: 0.1}), SPREADS[:1])


@pytest.mark.parametrize("stated", [1.0, 0.0])
def test_an_isotropic_b_factor_beside_a_spread_of_the_cell(stated):
    """The image does not jump where anisotropic B factors are 0, and derivatives are those of the images beside."""
    experiment = Experiment.from_args(FLAGS + DOMAINS + "-mosaic 0.5 -bfactor 40")
    experiment = experiment.replace({name: stated * experiment.value(name) for name in SPREADS})
    names = [*SPREADS, "crystal.b_factor_A2", "crystal.b_11_A2", "crystal.b_13_A2", "crystal.a_A"]
    image, columns = adjoint.jacobian(experiment, names)
    np.testing.assert_allclose(image, simulate(experiment), rtol=1e-12, atol=1e-12 * image.max())
    for number, name in enumerate(names):
        value, step = experiment.value(name), 1e-5 if name in SPREADS else 1e-3
        one, two = (simulate(experiment.replace({name: value + n * step})) for n in (1, 2))
        differences = (4.0 * one - two - 3.0 * image) / (2.0 * step)  # to the side above
        np.testing.assert_allclose(differences, columns[..., number], atol=1e-5 * np.abs(columns[..., number]).max())


def test_what_has_no_derivative_by_position_says_so():
    experiment = Experiment.from_args(FLAGS)
    changes = ({"detector.curved": True}, "is curved"), ({"sampling.c_parity": "all"}, "C knows no such position")
    for change, reason in changes:
        with pytest.raises(InputError, match=f"position_y_mm: .*{reason}"):
            adjoint.vjp(experiment.replace(change), ["crystal.position_y_mm"])


TRUTH = "-cell 30 40 50 80 95 100 -misset 10 20 30 -lambda 1.5 -N 12 -default_F 100 -distance 80 -detpixels 160 -pixel 0.4 "
TRUTH += "-fluence 3e26 -oversample 1 -osc 2 -phisteps 6 -phi_sampling mid "
REFINED = {
    "position": (
        "-xtal_position 0.3 -0.2 0.4 -osc 60 -phisteps 12 ",
        [*POSITION, "crystal.misset_deg", "crystal.scale", "image.background"],
        dict(zip([*POSITION, "crystal.misset_x_deg", "crystal.scale"], (0.2, -0.2, -0.2, 0.1, 0.1))),
    ),
    "cells": (
        "-cell_spread 0.01 0.03 0.02 -mosaic_domains 20 -gauss_xtal ",
        [*SPREADS, "crystal.misset_deg", "crystal.scale", "image.background"],
        dict(zip([*SPREADS, "crystal.misset_y_deg", "crystal.scale"], (0.005, -0.008, 0.006, 0.1, -0.1))),
    ),
}


def recovered(kind, seed):
    """(estimate - truth) / uncertainty of every number of a refinement of counts with noise."""
    more, names, moves = REFINED[kind]
    return pulls(Experiment.from_args(TRUTH + more), names, moves, seed)


@pytest.mark.parametrize("kind", REFINED)
def test_it_is_recovered_from_counts(kind):
    found = recovered(kind, 1)
    assert np.abs(found).max() < 4.0 and 0.3 < np.sqrt((found**2).mean()) < 2.0


@pytest.mark.long
@pytest.mark.parametrize("kind", REFINED)
def test_pulls_are_of_width_1(kind):
    found = np.array([recovered(kind, seed) for seed in range(100, 130)])
    assert 0.9 < np.sqrt((found**2).mean()) < 1.1
