"""What a card computes against the CPU: pytest -m gpu. Without a card these are not run, and the reason is said."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from cards import no_card

import adjoint
from nbnumba import Experiment, simulate
from nbnumba.backends import PRECISIONS

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(bool(no_card()), reason=no_card())]

SIMPLE = (
    "-cell 70 80 90 75 85 95 -N 20 -default_F 100 -misset 10 20 30 -osc 0.5 -phisteps 5 -mosaic 0.3 -mosaic_domains 4 "
    "-distance 150 -detpixels_x 301 -detpixels_y 203 -pixel 0.1 -Xbeam 10 -Ybeam 15 -oversample 1 -fluence 1e27 -water 0.1"
)
ANY = SIMPLE + " -round_xtal -curved_det -detector_thick 400 -detector_abs 200 -thicksteps 3 -oversample_thick -dispersion 1"
NAMES = ["detector.distance_mm", "crystal.misset_deg", "crystal.a_A", "crystal.n_a", "beam.wavelength_A", "goniometer.phi_deg"]
BOUND = {"double": (1e-9, 1e-12), "mixed": (1e-5, 1e-7), "paired": (1e-5, 1e-7)}


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("flags", [SIMPLE, ANY], ids=["simple", "any"])
def test_images(flags, precision):
    experiment = Experiment.from_args(flags.split())
    expected = simulate(experiment)
    found = simulate(experiment, backend="cuda", precision=precision)
    np.testing.assert_array_equal(found, simulate(experiment, backend="cuda", precision=precision))
    if precision == "single":
        assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.999
    else:
        relative, of_largest = BOUND[precision]
        np.testing.assert_array_less(np.abs(found - expected), relative * expected + of_largest * expected.max())


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("names", [NAMES, [*NAMES, "structure_factors.F"]], ids=["simple", "amplitudes"])
def test_derivatives(names, precision):
    """The derivative of a loss, J and J^T W J: two runs give the same bits, and the CPU's numbers."""
    experiment = Experiment.from_args(SIMPLE.split())
    if len(names) > len(NAMES):
        hkl = np.array(np.meshgrid(*3 * [np.arange(-4, 5)], indexing="ij")).reshape(3, -1).T
        factors = {"structure_factors.hkl": hkl, "structure_factors.F": 50.0 + np.arange(float(len(hkl))) % 97}
        experiment = experiment.replace(factors)
    experiment = experiment.replace({"sampling.roi": (100, 227, 60, 91)})
    loss = adjoint.losses.Poisson(simulate(experiment.replace({"crystal.misset_deg": (10.01, 20, 30)})), background=0.1)
    value, gradient, normal = adjoint.normal_equations(loss, experiment, names)
    image, jacobian = adjoint.jacobian(experiment, names)
    sizes = np.tensordot(np.abs(loss.derivative(image)), np.abs(jacobian), 2)
    squares, largest = np.sqrt(np.diag(normal)), np.abs(jacobian).max(axis=(0, 1))
    assert (largest > 0.0).sum() > 10
    bound = {"single": 0.1, "double": 1e-11}.get(precision, 1e-5)
    given = {"backend": "cuda", "precision": precision}
    for door in (adjoint.value_and_grad, adjoint.normal_equations):
        results = door(loss, experiment, names, **given)
        assert results[0] == pytest.approx(value, rel=bound)
        flat, expected = (np.concatenate([np.ravel(g[name]) for name in names]) for g in (results[1], gradient))
        assert (np.abs(flat - expected) <= bound * sizes).all() and expected.any()
    assert (np.abs(results[2] - normal) <= 2 * bound * np.outer(squares, squares)).all()
    again = adjoint.normal_equations(loss, experiment, names, **given)
    np.testing.assert_array_equal(again[2], results[2])
    assert (np.abs(adjoint.jacobian(experiment, names, **given)[1] - jacobian) <= bound * largest).all()


def test_what_the_simulator_compares():
    """The comparisons of the simulator, on the card."""
    here = Path(__file__).parent
    files = sorted(str(path) for path in here.glob("simulated_*.py"))
    assert files
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-W", "ignore::RuntimeWarning", *files]
    done = subprocess.run(command, capture_output=True, text=True, cwd=here.parent.parent)
    assert done.returncode == 0, done.stdout[-5000:]
