"""Fuzzing of adjoint with any parameters, losses and extreme experiments: the results are finite numbers, or InputError."""

import io
from contextlib import redirect_stdout
from functools import partial

import fuzzing
import material
import numpy as np
import pytest
from fuzzing import Case, Fault, check_finite, tried

import adjoint
from adjoint.losses import Gaussian, Poisson
from nbnumba import Experiment, simulate

pytestmark = pytest.mark.long

MOST = 50_000
"""Samples of an image that are still differentiated here."""
ROUNDING = 1e-12
"""What adding up by phi steps, as where the place of a crystal is a parameter, may change an image by, relative."""
NAMES = [*adjoint.PARAMETERS, *adjoint.VECTORS]
DOORS = ("vjp", "jacobian", "value_and_grad", "normal_equations", "pack", "gradcheck")


def prepare() -> None:
    """Compile the kernels."""
    experiment = Experiment.from_args("-cell 20 20 20 -N 2 -default_F 1 -detpixels 2 -oversample 1 -water 1".split())
    loss = Gaussian(np.zeros((2, 2)))
    for asked in (["beam.fluence"], ["structure_factors.F"], ["beam.fluence", "structure_factors.F"]):
        tried(partial(adjoint.jacobian, experiment, asked))
        tried(partial(adjoint.value_and_grad, loss, experiment, asked))
        tried(partial(adjoint.normal_equations, loss, experiment, asked))


def case(case: Case) -> str:
    """An experiment, parameters and a door."""
    args = material.flags(
        case,
        [str(case.folder / "none")],
        wild=case.pick((0.0, 0.05, 0.2)),
        most=6,
        without=("-pixel", "-precision", "-backend"),
    )
    asked = parameters(case)
    case.note(args)
    case.note(asked)
    made = tried(lambda: counted(args))
    if made.refusal:
        return "refused as an image"
    experiment, samples = made.value
    if samples > MOST:
        return "not tried: too many samples"
    image = tried(lambda: simulate(experiment))
    if image.refusal:
        return "refused as an image"
    door = case.pick(DOORS)
    outcome = tried(lambda: through(case, door, experiment, asked, image.value))
    if outcome.refusal:
        return "refused"
    check_finite(outcome.value, door)
    return door


def parameters(case: Case):
    """Names of parameters, mostly right; some are tied or occur twice."""
    asked = [case.pick(NAMES) for _ in range(int(case.random.integers(1, 7)))]
    if case.chance(0.15):
        asked.append(tuple(case.pick(NAMES) for _ in range(case.pick((0, 1, 2, 2, 3)))))
    if case.chance(0.05):
        asked.append(case.pick(("", "nonsense", None, 3, ("crystal.a_A", None), [], "image.scale", "\udcff")))
    return asked if case.chance(0.98) else case.pick((None, 3, "crystal.a_A", [], {"crystal.a_A": 1}))


def counted(args: list[str]):
    """The experiment of flags, and the number of samples of its image."""
    experiment = Experiment.from_args(args)
    return experiment, material.samples(experiment)


def through(case: Case, door: str, experiment: Experiment, asked, image: np.ndarray):
    """The result of a public function of adjoint."""
    if door == "vjp":
        again, pullback = adjoint.vjp(experiment, asked)
        if not np.allclose(again, image, rtol=ROUNDING if "crystal.position" in str(asked) else 0.0, atol=0.0):
            raise Fault("vjp has another image than simulate", f"{again} {image}")
        return again, pullback(cotangent(case, image))
    if door == "jacobian":
        return adjoint.jacobian(experiment, asked)
    if door == "pack":
        vector = adjoint.pack(experiment, asked)
        again = adjoint.pack(adjoint.unpack(experiment, asked, vector), asked)
        if not np.allclose(again, vector, rtol=1e-9, atol=1e-9):
            raise Fault("pack of unpack is something else", f"{vector} {again}")
        return vector
    if door == "gradcheck":
        with redirect_stdout(io.StringIO()):
            return [
                line.analytic
                for line in adjoint.gradcheck(experiment, asked[:2] if isinstance(asked, list) else asked)
                if line.verdict != "untested"
            ]
    return getattr(adjoint, door)(loss(case, image), experiment, asked)


def cotangent(case: Case, image: np.ndarray):
    """A cotangent, mostly with one number for every pixel."""
    good = case.random.normal(size=image.shape)
    return case.pick(
        (
            good,
            good,
            good * 1e300,
            good[:1],
            None,
            "x",
            np.full(image.shape, np.nan),
            good.astype(np.float32),
            good * 1j,
            1.0,
            good.tolist(),
        )
    )


def loss(case: Case, image: np.ndarray):
    """A loss of data that are near the image, or far from it."""
    data = case.pick(
        (image, image * 1.1, image + 1.0, np.zeros(image.shape), np.full(image.shape, case.pick((1e30, -1.0, 1e300, np.nan))))
    )
    return case.pick((Gaussian, Poisson))(
        data, **case.pick(({}, {}, {"mask": case.random.random(image.shape) > 0.5}, {"saturation": 1.0}))
    )


def test_derivatives(tmp_path, capsys):
    with capsys.disabled():
        fuzzing.hunt("test_fuzz_derivatives", "case", tmp_path)
