"""Refinements: well posed problems come back within six sigmas or are called unsuccessful; of data that are no image of the
crystal a verdict comes, or one sentence."""

import functools
import os

import fuzzing
import material
import numpy as np
import problems
import pytest
import refining
from fuzzing import Case, Fault, check_ran, contents, run, tried

import adjoint
from nbnumba import Experiment, simulate
from nbnumba.formats import smv

pytestmark = pytest.mark.long

SIGMAS = 6.0
EDGE = 28
FLAGS = (
    refining.CELL + "-distance 80 -pixel 0.5 -Xbeam -8 -Ybeam 7 -oversample 1 -fluence 1e27 " + f"-detpixels {EDGE}"
).split()
NAMES = [*adjoint.PARAMETERS, *adjoint.VECTORS, "image.scale", "image.background", "image.background_x", "image.gain"]


@functools.cache
def crystal() -> Experiment:
    return Experiment.from_args(FLAGS)


@functools.cache
def image() -> np.ndarray:
    return simulate(crystal())


def prepare() -> None:
    """Compile the kernels."""
    tried(lambda: adjoint.refine(crystal(), image() + 1.0, ["beam.fluence", "image.background"], image={"background": 1.0}))


def posed(case: Case) -> str:
    """Refine a problem with a known truth."""
    problem = problems.Drawer(case.seed).problem()
    if problem is None:
        return "not posed"
    case.note(f"problems.Drawer({case.seed}).problem(): {problem.parameters}")
    outcome = tried(lambda: adjoint.refine(problem.start, problem.counts, problem.parameters, image=problem.image))
    if outcome.refusal:
        raise Fault("a problem that is posed is refused", outcome.refusal)
    done = outcome.value
    if not done.success:
        if not done.diagnosis and not done.message:
            raise Fault("no success, and no reason")
        return "no success, and said"
    pulls = {name: float(np.max(np.abs((np.asarray(done.values[name]) - problem.expected[name]) / done.uncertainties[name])))
             for name in done.values if name in problem.expected}  # fmt: skip
    if max(pulls.values()) > SIGMAS:
        raise Fault("converged, and wrong", f"{pulls} {done.message} {done.diagnosis} explained {done.explained}")
    return "found"


def data(case: Case) -> tuple[str, np.ndarray]:
    """Data that a file may contain in place of an image of the crystal, and their description."""
    random, shape = case.random, (EDGE, EDGE)
    made = {
        "counts": lambda: random.poisson(image() + 2.0),
        "zeros": lambda: np.zeros(shape),
        "noise": lambda: random.poisson(case.spread(0.01, 1e4), shape),
        "constant": lambda: np.full(shape, case.pick((1.0, 1e-30, 1e30, 1e38, 65535.0))),
        "negative": lambda: random.normal(size=shape) * case.spread(1e-3, 1e5),
        "hot": lambda: np.where(random.random(shape) < 0.03, case.pick((1e5, 1e9, 1e38)), random.poisson(image() + 2.0)),
        "lone": lambda: np.where(np.arange(EDGE * EDGE).reshape(shape) == case.pick((0, 300)), 7.0, 0.0),
        "gaps": lambda: np.where(random.random(shape) < 0.9, np.nan, random.poisson(image() + 2.0)),
        "bright": lambda: image() * case.spread(1e10, 1e34),
        "infinite": lambda: np.full(shape, np.inf),
        "one": lambda: np.where(np.arange(EDGE * EDGE).reshape(shape) == 5, 3.0, np.nan),
    }  # fmt: skip
    name = case.pick(made)
    with np.errstate(all="ignore"):
        return name, np.asarray(made[name](), dtype=np.float64)


def names(case: Case) -> list:
    return [
        case.pick(("crystal.misset_deg", "image.background", "image.scale", case.pick(NAMES)))
        for _ in range(case.pick((1, 2, 2, 3)))
    ]


def garbage(case: Case) -> str:
    """Call the command or the function with anything."""
    os.chdir(case.folder)
    kind, measured = data(case)
    asked = list(dict.fromkeys(names(case)))
    return by_command(case, kind, measured, asked) if case.chance(0.5) else by_function(case, kind, measured, asked)


def by_function(case: Case, kind: str, measured: np.ndarray, asked: list) -> str:
    keywords = {}
    start = material.value(case, 0.2)
    for name, values in {
        "loss": ("poisson", "gaussian", "gaussian", None, "x"), "sigma": (1.0, 0.0, 1e-200, np.nan, np.ones((EDGE, EDGE)),
        "x", None),
        "offset": (0.0, 10.0, 1e30, None), "saturation": (5.0, 1e30, 0.0, None, "x"), "phases": ("exact", "auto", [], None),
        "method": ("least_squares", "L-BFGS-B", "trust-constr", "x"), "image": ({"background": 1.0}, {"gain": 0.0},
        {"gain": 3.0}, {"x": 1.0}, {"background": start}),
        "bounds": ({}, {case.pick(asked): (0.0, 1.0)}, {case.pick(asked): (3.0, 3.0)}, {"image.scale": (1.0, 1.0 + 1e-16)},
        {case.pick(asked): None}),
        "restraints": ({}, {case.pick(asked): (1.0, 1.0)}, {case.pick(asked): (1.0, 0.0)}, {case.pick(asked): (1e300, 1e-300)}),
        "mask": (np.zeros((EDGE, EDGE)), np.ones((EDGE, EDGE)), "x", np.full((EDGE, EDGE), np.nan)),
    }.items():  # fmt: skip
        if case.chance(0.15):
            keywords[name] = case.pick(values)
    case.note(f"{kind}: refine({asked}, {fuzzing_repr(keywords)})")
    outcome = tried(lambda: adjoint.refine(crystal(), measured, asked, **keywords))
    return "refused" if outcome.refusal else judged(kind, outcome.value, asked)


def fuzzing_repr(keywords) -> str:
    return ", ".join(f"{name}={str(value)[:60]!r}" for name, value in keywords.items())


def judged(kind: str, done, asked: list) -> str:
    """Raise Fault for a success with data that cannot be an image of the crystal."""
    turned = any("misset" in name for name in asked)
    if done.success and turned and kind in ("zeros", "noise", "constant", "negative", "lone", "one", "infinite"):
        raise Fault(f"converged on {kind}", f"{done.message} {done.diagnosis} explained {done.explained} {done.uncertainties}")
    if not done.success and not str(done.message).strip():
        raise Fault("no success, and no reason")
    for sentence in [str(done.message), *done.diagnosis]:
        fuzzing.check_sentence(sentence)
    if done.success and not all(np.isfinite(value).all() for value in done.values.values()):
        raise Fault("success with values that are not finite", done.values)
    return f"{kind}: {'success' if done.success else 'no success'}"


def by_command(case: Case, kind: str, measured: np.ndarray, asked: list) -> str:
    with np.errstate(all="ignore"):
        measured.astype("<f4").tofile("data.bin")
        smv.write(
            "data.img",
            np.nan_to_num(measured).clip(0, 65535).astype(np.uint16),
            {"PIXEL_SIZE": 0.5, "ADC_OFFSET": case.pick((0.0, 40.0))},
        )
    name = case.pick(("data.bin", "data.img", "data.img", "none"))
    words = ["refine", "--data", name, "--parameters", ",".join(asked)]
    for option, values in {
        "--loss": ("gaussian", "x"), "--sigma": ("1", "0", "1e-200", material.word(case)), "--offset": ("10", "1e30",
        material.word(case)),
        "--saturation": ("5", "1e30", material.word(case)), "--phases": ("exact", "x"), "--method": ("L-BFGS-B", "x"),
        "--start": ("image.background=1", "image.gain=2", f"image.background={material.word(case)}", "image.gain=0", "x"),
        "--bounds": (f"{asked[0]}=0:1", f"{asked[0]}=1:1", f"{asked[0]}={material.word(case)}:", "x"),
        "--restraints": (f"{asked[0]}=0:1", f"{asked[0]}=1:0", f"{asked[0]}={material.word(case)}:1", "x"),
        "--mask": ("data.img", "data.bin", "none"), "--cell": ("cubic", "triclinic", "x"), "--per-image": ("none", asked[0],
        "x"),
        "--out": ("out.json", "no/such/out.json"),
    }.items():  # fmt: skip
        if case.chance(0.12):
            words += [option, case.pick(values)]
    words += ["--", *FLAGS, *(material.flags(case, ["none"], 0.1, 3)[20:] if case.chance(0.1) else [])]
    case.note(f"{kind}: {words}")
    before = contents(case.folder)
    ran = run(words)
    check_ran(ran, (0, 1))
    if ran.status == 2 and contents(case.folder) != before:
        raise Fault("a refused refinement wrote files", sorted(set(contents(case.folder)) - set(before)))
    if ran.status == 0 and "crystal.misset_deg" in asked and kind in ("zeros", "noise", "constant", "lone", "one"):
        raise Fault(f"converged on {kind}", ran.out[-2000:] + ran.err)
    return f"{kind}: status {ran.status}"


@pytest.mark.parametrize("function", ["posed", "garbage"])
def test_refine(function, tmp_path, capsys):
    with capsys.disabled():
        fuzzing.hunt("test_fuzz_refine", function, tmp_path, share=0.5, longest=300.0)
