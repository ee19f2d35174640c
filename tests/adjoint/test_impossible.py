"""Impossible data and starts end in a sentence or a verdict, never in an error of a library."""

import re
import warnings

import numpy as np
import pytest
from refining import counts, crystal

import adjoint
from adjoint.refinement.algebra import eigen, solved
from nbnumba import InputError

MISSET, DISTANCE = "crystal.misset_deg", "detector.distance_mm"
TRUTH = crystal("-detpixels 32 -Xbeam -4 -Ybeam 3.5")
NEAR = TRUTH.replace({MISSET: (12.05, -25.0, 40.0)})
DATA = counts(TRUTH).astype(float)
DARK = TRUTH.replace({"structure_factors.default_F": 1e-200})
POSITIONS = [MISSET, "image.scale", "image.background"]


def but(value, place=(3, 3)):
    """The data with one pixel replaced."""
    data = DATA.copy()
    data[place] = value
    return data


ONE = np.full(DATA.shape, np.nan)
ONE[7, 9] = 1.0
CASES = {  # experiment, data, parameters, other arguments: what is said, in a refusal or in the message of the result
    "a pixel of 1e38": (NEAR, but(1e38), POSITIONS, {}, "."),
    "a pixel of 1e99": (NEAR, but(1e99), POSITIONS, {"loss": "gaussian"}, "."),
    "a pixel of 1e200": (NEAR, but(1e200), POSITIONS, {}, r"measured: 1e\+200 is not allowed; allowed: .* to 1e\+100"),
    "all of 1.7e308": (NEAR, np.full(DATA.shape, 1.7e308), POSITIONS, {}, "measured: 1.7e"),
    "no amplitude to speak of": (DARK, DATA, POSITIONS, {}, "."),
    "an image of zeros and the gain": (NEAR, 0.0 * DATA, [MISSET, "image.gain"], {}, "nothing in the image"),
    "zeros, gain and background": (NEAR, 0.0 * DATA, [MISSET, "image.gain", "image.background"], {}, "nothing in the image"),
    "zeros and the gain": (NEAR, 0.0 * DATA, [MISSET, "image.gain"], {"loss": "gaussian"}, "nothing in the image"),
    "one pixel": (NEAR, ONE, POSITIONS, {}, "."),
    "numbers close to 0": (NEAR, 0.0 * DATA + 1e-300, POSITIONS, {}, "nothing in the image"),
    "a restraint without width": (NEAR, DATA, POSITIONS, {"restraints": {"image.scale": (1.0, 1e-160)}}, "sigma 1e-160"),
    "a restraint to nowhere": (NEAR, DATA, POSITIONS, {"restraints": {"image.scale": (1e160, 1.0)}}, r"image.scale 1e\+160"),
    "no gain": (NEAR, DATA, POSITIONS, {"image": {"gain": 1e-300}}, "image.gain 1e-300 is not allowed; allowed: a number"),
}


@pytest.mark.parametrize("case", CASES)
def test_a_sentence_or_a_verdict(case):
    """No LinAlgError, division by zero or ValueError of SciPy is raised, and a result consists of numbers."""
    experiment, data, names, more, said = CASES[case]
    more = {"image": {"background": 2.0}} | more
    plan = [adjoint.Phase("spots 4 times as broad", 4.0, evaluations=10), adjoint.Phase("all", exact=True, evaluations=20)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        try:
            done = adjoint.refine(experiment, data, names, phases=plan, **more)
        except InputError as error:
            found = str(error)
        else:
            found = done.message
            assert np.isfinite(done.x).all() and np.isfinite(done.fun)
            assert done.success == (found == "converged")
    assert re.search(said, found), found


@pytest.mark.parametrize("method", ["least_squares", "L-BFGS-B", "trust-constr"])
@pytest.mark.parametrize("above", [np.spacing(80.0), 1e-12, 1e-9])
def test_bounds_that_leave_no_room(method, above):
    """A number between bounds that differ only by rounding stays there, and the others are refined."""
    given = {"bounds": {DISTANCE: (80.0, 80.0 + above)}, "image": {"background": 2.0}, "method": method, "phases": "exact"}
    done = adjoint.refine(TRUTH, DATA, [DISTANCE, "image.scale", "image.background"], **given)
    assert done.success and 80.0 <= done.values[DISTANCE] <= 80.0 + above and np.isnan(done.uncertainties[DISTANCE])
    assert np.isfinite(done.uncertainties["image.scale"])


@pytest.mark.parametrize("size", [1e-80, 1.0, 1e90])
def test_algebra_of_matrices_of_any_size(size):
    """Numbers have any unit. Numbers that the data do not determine are neither divided by 0 nor mixed with the others."""
    columns = np.random.default_rng(1).normal(size=(30, 3)) * [size, 1.0, 0.0]
    values, vectors, scales = eigen(columns.T @ columns)
    assert values[0] == 0.0 and (values[1:] > 0.1).all()
    np.testing.assert_allclose(scales, [*np.sqrt(np.sum(columns[:, :2] ** 2, axis=0)), 1.0], rtol=1e-12)
    np.testing.assert_allclose((vectors * values) @ vectors.T * scales * scales[:, None], columns.T @ columns, rtol=1e-12)
    right = columns.T @ columns[:, :2] @ [2.0 / size, 3.0]
    np.testing.assert_allclose(solved(columns.T @ columns, right, 1e-12), [2.0 / size, 3.0, 0.0], rtol=1e-12)
