"""The repr of a result of a refinement: the verdict, how well the data are met, and the numbers."""

import numpy as np
import pytest

import adjoint
from adjoint.refinement.result import SHOWN, Course, Refinement, verdict
from adjoint.refinement.uncertainties import Uncertainty
from nbnumba import Experiment, simulate


def test_repr_of_a_result_is_readable():
    experiment = Experiment.from_args("-cell 50 60 70 -default_F 100 -N 3 -detpixels 16 -pixel 1 -oversample 1 -fluence 1e30")
    counts = np.random.default_rng(1).poisson(1e4 * simulate(experiment) / simulate(experiment).max())
    result = adjoint.refine(experiment, counts.astype(float), ["crystal.a_A"], image={"scale": 1e4}, phases="exact")
    for text in (repr(result), str(result)):
        lines = text.splitlines()
        assert lines[0] == f"Refinement: {'success' if result.success else 'no success'}: {result.message}"
        assert "reduced chi squared" in lines[1] and "256 pixels" in lines[1]
        assert lines[2].split()[0] == "crystal.a_A" and f"{result.values['crystal.a_A']:.8g}" in lines[2]
        assert lines[-1].startswith("fields: ") and "covariance" in lines[-1] and len(text) < 2000
    assert repr(result.frames[0]).startswith("Fit(16 x 16 pixels") and len(repr(result.frames[0])) < 100


def test_repr_of_many_numbers_and_of_none():
    number = 3 * SHOWN
    named = {"structure_factors.F": np.ones(number)}
    names = [f"structure_factors.F {k} 0 0" for k in range(number)]
    result = Refinement(
        x=np.ones(number), names=names, units=["electrons"] * number, start=named, uncertainties=named, success=True, fun=1.0,
        message="converged", chi_squared=1.0, pixels=10, nfev=3,
    )  # fmt: skip
    assert len(repr(result).splitlines()) == SHOWN + 4 and f"and {number - SHOWN} more" in repr(result)
    assert repr(Refinement(x=1)) == "Refinement(x)"


@pytest.mark.parametrize("squares, words", [(0.0, "no pixel counts in it"), (0.5, "scatter less than they should")])
def test_a_chi_squared_of_no_pixels_is_not_blamed_on_sigma(squares, words):
    known = Uncertainty(None, None, np.array([1.0]), [], True)
    *_, sentences = verdict(
        [], squares, converged=True, uncertainty=known, of_experiment=False, course=Course([], lambda number: 0.0)
    )
    assert len(sentences) == 1 and words in sentences[0]
