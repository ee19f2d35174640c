"""gradcheck passes right derivatives and fails wrong ones; derivatives that are 0 or jump are untested."""

import importlib
import itertools
import math

import numpy as np
import pytest

from nbnumba import Experiment, InputError
from nbnumba.cli.main import main

gradcheck = importlib.import_module("adjoint.gradcheck")
FLAGS = "-cell 40 50 60 80 95 105 -misset 10 20 30 -default_F 50 -N 8 -distance 90 -pixel 0.3 -detpixels 24 -oversample 1"
NAMES = ["crystal.a_A", "detector.distance_mm", "beam.wavelength_A"]


def experiment(more=""):
    return Experiment.from_args(f"{FLAGS} {more}".split())


def verdicts(lines):
    return {line.name: line.verdict for line in lines}


def wrong(factor):
    """The gradient with the derivative by the distance multiplied by a factor."""

    def value_and_grad(loss, base, asked, **machine):
        value, gradient = honest(loss, base, asked, **machine)
        return value, gradient | {"detector.distance_mm": gradient["detector.distance_mm"] * factor}

    honest = gradcheck.value_and_grad
    return value_and_grad


def test_a_right_gradient_passes():
    lines = gradcheck.gradcheck(experiment("-osc 1 -phi 5 -phisteps 2"), NAMES, directions=2)
    assert [line.name for line in lines] == [*NAMES, "direction 1", "direction 2"]
    assert {line.verdict for line in lines} == {"passed"}
    for line in lines:
        assert abs(line.order - 2.0) < 0.2
        assert line.error < gradcheck.TOLERANCE["double"]


def test_a_gradient_in_float32_passes_by_its_own_tolerance():
    """The differences are computed in double precision, and precision single is refused."""
    made = experiment("-osc 1 -phi 5 -phisteps 2")
    double, mixed = (gradcheck.gradcheck(made, NAMES[:2], directions=1, precision=p) for p in ("double", "mixed"))
    assert {line.verdict for line in mixed} == {"passed"}
    assert any(line.error > gradcheck.TOLERANCE["double"] / 100 for line in mixed)
    assert [line.numeric for line in mixed] == [line.numeric for line in double]
    with pytest.raises(InputError, match="too rough to be checked; allowed: double, mixed, paired"):
        gradcheck.gradcheck(made, NAMES[:2], precision="single")


@pytest.mark.parametrize("factor", [1.00001, -1.0, 2.0, 0.0])
def test_a_wrong_gradient_fails(monkeypatch, factor):
    monkeypatch.setattr(gradcheck, "value_and_grad", wrong(factor))
    found = verdicts(gradcheck.gradcheck(experiment(), NAMES, directions=1))
    assert {name for name, verdict in found.items() if verdict == "FAILED"} == {"detector.distance_mm", "direction 1"}
    assert {name for name, verdict in found.items() if verdict == "passed"} == {"crystal.a_A", "beam.wavelength_A"}


def test_all_that_applies_is_checked_and_the_rest_named():
    lines = gradcheck.gradcheck(experiment(), directions=0)
    assert {line.name for line in lines if line.verdict == "passed"} >= {"crystal.n_c", "beam.fluence", "detector.rotx_deg"}
    reasons = {line.name: line.reason for line in lines if line.verdict == "untested"}
    assert "still" in reasons["goniometer.osc_deg"]
    assert "no sensor" in reasons["detector.thickness_um"]
    assert not [line for line in lines if line.verdict == "FAILED"]


def test_a_gradient_of_0_is_untested():
    """The image of a single unit cell is the same in every orientation."""
    lines = gradcheck.gradcheck(experiment("-N 1"), ["crystal.misset_x_deg", "beam.fluence"], directions=0)
    assert verdicts(lines) == {"crystal.misset_x_deg": "untested", "beam.fluence": "passed"}
    assert lines[0].reason == "it is 0"


def test_at_a_bound_differences_go_to_one_side():
    (line,) = gradcheck.gradcheck(experiment("-Na 1"), ["crystal.n_a"], directions=0)
    assert line.verdict == "passed"


def test_amplitudes_are_checked_along_a_direction(tmp_path):
    path = tmp_path / "F.hkl"
    reflections = itertools.product(range(-6, 7), repeat=3)
    path.write_text("\n".join(f"{h} {k} {l} {30 + h * h + k + 2 * l}" for h, k, l in reflections))
    lines = gradcheck.gradcheck(experiment(f"-hkl {path}"), ["structure_factors.F", "crystal.b_A"], directions=1)
    assert set(verdicts(lines).values()) == {"passed"}
    assert lines[0].name == "structure_factors.F (a direction)"


def test_extrapolation_finds_the_limit_and_knows_how_well():
    rungs = np.array([3.0 + 0.1 * h**2 - 0.002 * h**4 for h in 0.5 ** np.arange(7)])
    limit, uncertainty = gradcheck.extrapolated(rungs, range(2, 14, 2))
    assert abs(limit - 3.0) < 1e-14
    assert uncertainty < 1e-13
    assert gradcheck.order_of(rungs) == pytest.approx(2.0, rel=1e-1)
    jumps = np.array([1.0 + 1.0 / h for h in 0.5 ** np.arange(7)])
    assert gradcheck.extrapolated(jumps, range(2, 14, 2))[1] > 0.1


def test_nowhere_to_go():
    ladder = gradcheck.climb(lambda x: np.ones((2, 2)) if x == 0.0 else None, None, 1.0)
    assert math.isnan(ladder.limit)


def test_the_window_holds_the_brightest_pixel():
    large = experiment("-detpixels 100")
    left, right, low, high = gradcheck.brightest_window(large)
    assert right - left == high - low == gradcheck.WINDOW - 1
    assert gradcheck.brightest_window(large.replace({"sampling.roi": (0, 9, 0, 9)})) is None
    assert gradcheck.brightest_window(experiment()) is None


def test_unknown_keywords_are_refused():
    with pytest.raises(InputError, match="threads"):
        gradcheck.gradcheck(experiment(), NAMES, threads=2)


def test_subcommand_passes(capsys):
    assert main(["gradcheck", "--parameters", ",".join(NAMES), "--directions", "1", "--", *FLAGS.split()]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:4]] == NAMES
    assert lines[-1] == "4 passed, 0 FAILED, 0 untested"


def test_subcommand_fails_where_one_fails(monkeypatch, capsys):
    monkeypatch.setattr(gradcheck, "value_and_grad", wrong(1.001))
    assert main(["gradcheck", "--parameters", ",".join(NAMES), "--directions", "0", "--", *FLAGS.split()]) == 1
    assert "2 passed, 1 FAILED, 0 untested" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--parameters", "crystal.x", "--", *FLAGS.split()], "crystal.x"),
        (["--parameters", "detector.thickness_um", "--", *FLAGS.split()], "no sensor"),
        (["--parameters"], "--parameters"),
        (["--directions", "-1", "--", *FLAGS.split()], "--directions"),
        (["--speed", "3", "--", *FLAGS.split()], "--speed"),
        (["--seed", "3"], "no flags"),
        (["--", "-cell", "1"], "nothing scatters"),
    ],
)
def test_bad_input_is_one_sentence(capsys, words, named):
    assert main(["gradcheck", *words]) == 2
    captured = capsys.readouterr()
    assert named in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""
