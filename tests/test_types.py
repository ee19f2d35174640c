"""The types of the public interface are complete, agree with the code, and are known to a program that uses them."""

import inspect
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import adjoint
import nbnumba

ROOT = Path(__file__).parent.parent

PROGRAM = """
    import adjoint
    import nbnumba

    experiment = nbnumba.Experiment.from_args("-cell 50 60 70 -default_F 100")
    reveal_type(nbnumba.simulate(experiment))
    reveal_type(experiment.replace({"crystal.a_A": 51.0}))
    reveal_type(experiment.crystal.a_A)
    reveal_type(nbnumba.noise_image(experiment, nbnumba.simulate(experiment), seed=1).photons)
    value, gradient = adjoint.value_and_grad(adjoint.losses.Poisson([[1.0]]), experiment, ["crystal.a_A"])
    reveal_type(gradient["crystal.a_A"])
    reveal_type(adjoint.refine(experiment, [[1.0]], ["crystal.a_A"]))
"""
REVEALED = ("ndarray", "Experiment", "float | None", "float", "ndarray", "Refinement")


@pytest.fixture
def mypy(tmp_path):
    """A function that runs mypy with some words and without a cache. It returns the text and the exit status."""

    pytest.importorskip("mypy")

    def run(*words):
        command = [sys.executable, "-m", "mypy", "--config-file", "setup.cfg", "--cache-dir", str(tmp_path / "cache"), *words]
        environment = os.environ | {"MYPYPATH": str(ROOT)}
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
        return done.stdout + done.stderr, done.returncode

    return run


def test_public_modules_and_a_program_that_uses_them(mypy, tmp_path):
    printed, status = mypy()
    assert status == 0, printed
    (tmp_path / "program.py").write_text(textwrap.dedent(PROGRAM))
    printed, status = mypy("--strict", str(tmp_path / "program.py"))
    assert status == 0, printed
    types = [line.split('Revealed type is "')[1] for line in printed.splitlines() if "Revealed type" in line]
    assert len(types) == len(REVEALED) and not any("Any" == shown.rstrip('"') for shown in types)
    for shown, expected in zip(types, REVEALED):
        assert expected in shown


def public_functions():
    """Every function, class and public method of the packages, with its name."""
    for package in (nbnumba, adjoint, adjoint.losses):
        for name in getattr(package, "__all__", ("Gaussian", "Loss", "Poisson")):
            offered = getattr(package, name)
            if inspect.isfunction(offered):
                yield f"{package.__name__}.{name}", offered
            elif inspect.isclass(offered):
                for method, function in vars(offered).items():
                    function = getattr(function, "__func__", function)
                    own = inspect.isfunction(function) and function.__module__.split(".")[0] in ("nbnumba", "adjoint")
                    if own and (method == "__init__" or not method.startswith("_")):
                        yield f"{package.__name__}.{name}.{method}", function
    for name, function in vars(nbnumba.trace).items():
        if inspect.isfunction(function) and function.__module__ == "nbnumba.trace" and name in ("trace", "traces"):
            yield f"nbnumba.trace.{name}", function


@pytest.mark.parametrize("name, function", list(public_functions()))
def test_public_functions_have_types(name, function):
    signature = inspect.signature(function)
    arguments = [parameter for parameter in signature.parameters.values() if parameter.name not in ("self", "cls")]
    assert not [parameter.name for parameter in arguments if parameter.annotation is inspect.Parameter.empty]
    assert signature.return_annotation is not inspect.Signature.empty or function.__name__ == "__init__"


def test_files_have_types_marker():
    for package in (nbnumba, adjoint):
        assert (Path(package.__file__).parent / "py.typed").is_file()
