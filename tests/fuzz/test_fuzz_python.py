"""The Python door: any values in the fields of an experiment and in the arguments of its functions; an image that is finite, or
InputError."""

import copy
import dataclasses
import decimal
import fractions
import pickle
from functools import partial

import fuzzing
import material
import numpy as np
import pytest
from fuzzing import Case, Fault, check_finite, tried

from nbnumba import Background, Beam, Crystal, Detector, Experiment, Goniometer, Sampling, StructureFactors, simulate
from nbnumba.setup import sampling, scene
from nbnumba.setup.values import VECTORS

pytestmark = pytest.mark.long

MOST = 500_000
"""Samples of an image that are still rendered here."""
GOOD = {
    Crystal: dict(a_A=30.0, b_A=40.0, c_A=50.0, alpha_deg=80.0, beta_deg=95.0, gamma_deg=100.0, n_a=3, n_b=2, n_c=3),
    StructureFactors: dict(default_F=10.0),
    Beam: dict(wavelength_A=1.1),
    Detector: dict(pixel_mm=1.0, pixels=(4, 3), distance_mm=50.0),
    Goniometer: {},
    Background: {},
    Sampling: dict(oversample=1),
}
"""Fields with which every part is valid."""
FINE = {
    "misset_deg": (1.0, 2.0, 3.0), "misset_seed": 3, "shape": "round", "mosaic_spread_deg": 0.3, "mosaic_domains": 2,
    "phisteps": 2,
    "osc_deg": 0.5, "hkl": [(1, 2, 3), (0, 0, 0)], "F": [3.0, 4.0], "convention": "custom", "pivot": "sample",
    "thickness_um": 300.0,
    "attenuation_um": 500.0, "layers": 3, "water_um": 100.0, "table": [(0.0, 2.0), (0.5, 1.0)], "roi": (0, 2, 0, 1),
    "polarization": 0.9,
    "mask": np.ones((3, 4)), "c_parity": "all", "sources": [(-1.0, 0.0, 0.0, 1.0, 1.0)], "hdivrange_mrad": 1.0, "dispsteps": 3,
    "dispersion_percent": 1.0, "direction": (1.0, 0.1, 0.0), "fast_axis": (0.0, 0.0, 1.0), "size_mm": (4.0, 3.0),
    "curved": True,
}  # fmt: skip
"""Values of some fields that have an effect."""


class Odd:
    """An object of a kind that no function expects."""

    def __repr__(self):
        return "an\nodd one"


def odd(case: Case):
    """A value that is wrong almost everywhere."""
    numbers = (0, -1, 1, 2, 1e-300, 5e-324, 1e300, -1e308, 1e20, 2**31, 2**63, 10**400, 0.5, np.nan, np.inf, -np.inf, -0.0)
    words = ("", "abc", "12", "nan", "random", "all", "custom", "\udcff", "a\nb", b"x", "\0")
    others = (
        None, True, False, np.True_, np.float32(0.1), np.int8(3), np.float64("nan"), np.array(2.0), np.array([1.0]),
        np.zeros(3),
        np.ones(3), np.zeros((3, 3)), np.eye(3), np.eye(3) * 1e200, np.full((3, 4), np.nan), np.ones((3, 4), complex),
        np.zeros((0, 2)), np.array("x"),
        np.array([None, 1], object), decimal.Decimal("1.5"), decimal.Decimal("NaN"), decimal.Decimal("1e999"),
        fractions.Fraction(1, 3),
        1j, [], (), {}, {1, 2}, range(3), [1], [1, 2, 3], (1, 2), (1e200, 0, 0), (1e-200, 0, 0), (np.nan, 0, 1), [[1, 2],
        [3]], ["a", "b", "c"],
        [None, None, None], {"a": 1}, iter([1, 2, 3]), lambda *_: 1, Odd(), Ellipsis, [[1e300, 1], [2e300, 2]], [(1, 2,
        3)], [10**30] * 4,
        [(0.0, 1e200), (1e-300, 1.0)], [(-1.0, 0.0, 0.0, 1e308, 1.0), (-1.0, 0.0, 0.0, 1e308, 1.0)], [(1e-200, 0.0, 0.0, 1.0,
        1.0)], 10**5000,
    )  # fmt: skip
    return case.pick(case.pick((numbers, words, others, numbers, tuple(FINE.values()))))


def short(value) -> str:
    """A short description of a value, for repeating the case."""
    try:
        text = repr(value)
    except ValueError:
        text = "a whole number of thousands of digits"
    return text if len(text) < 200 else text[:200] + "..."


def case(case: Case) -> str:
    """Make an experiment with some odd fields, and use it."""
    parts = {}
    for kind, good in GOOD.items():
        fields = dict(good)
        for field in dataclasses.fields(kind):
            if case.chance(0.015):
                fields[field.name] = FINE.get(field.name, odd(case)) if case.chance(0.4) else odd(case)
        case.note(f"{kind.__name__}({', '.join(f'{name}={short(value)}' for name, value in fields.items())})")
        made = tried(partial(kind, **fields))
        if made.refusal:
            return "a part refused"
        parts[kind] = made.value
    if case.chance(0.02):
        parts[case.pick(GOOD)] = odd(case)
    names = ("crystal", "structure_factors", "beam", "detector", "goniometer", "background", "sampling")
    made = tried(lambda: Experiment(**dict(zip(names, parts.values()))))
    if made.refusal:
        return "an experiment refused"
    experiment = made.value
    if case.chance(0.3):
        experiment = restated(case, experiment)
    return "refused" if experiment is None else rendered(case, experiment)


def restated(case: Case, experiment: Experiment) -> Experiment | None:
    """The experiment after replace, with checks of its values and copies."""
    fields = [
        f"{part.name}.{field.name}"
        for part in dataclasses.fields(experiment)
        if dataclasses.is_dataclass(getattr(experiment, part.name))  # other crystals are a tuple
        for field in dataclasses.fields(getattr(experiment, part.name))
    ]
    names = [*fields, *VECTORS["crystal.misset_deg"], "crystal.n_cells"]
    name = case.pick(names) if case.chance(0.95) else odd(case)
    case.note(f"value({short(name)})")
    tried(lambda: experiment.value(name))
    asked = {
        case.pick(names): FINE.get(case.pick(names).split(".")[1], odd(case)) if case.chance(0.3) else odd(case)
        for _ in range(case.pick((1, 1, 2)))
    }
    asked = odd(case) if case.chance(0.05) else asked
    case.note(f"replace({short(asked)})")
    new = tried(lambda: experiment.replace(asked)).value
    copied = case.pick((copy.deepcopy, lambda e: pickle.loads(pickle.dumps(e))))(experiment)
    if type(copied) is not Experiment:
        raise Fault("a copy that is none", copied)
    return new


def rendered(case: Case, experiment: Experiment) -> str:
    """The image, for any arguments of simulate."""
    keywords = {}
    for name, fine in {"backend": "cpu", "precision": "mixed", "roi": (0, 1, 0, 1), "mask": np.ones((3, 4)),
    "c_parity": "phi_carryover",
                       "c_threads": 2, "progress": lambda done, total: None}.items():  # fmt: skip
        if case.chance(0.05):
            keywords[name] = fine if case.chance(0.4) and name != "precision" else odd(case)
    case.note(f"simulate({short(keywords)})")

    def samples():
        count = material.samples(experiment)
        if count < MOST:
            wanted = sampling.window(experiment.detector.pixels, experiment.sampling.roi, experiment.sampling.mask)
            check_finite(scene.build(experiment, wanted), "scene")
        return count

    counted = tried(samples)
    if counted.value is not None and counted.value > MOST:
        return "not rendered: too many samples"
    outcome = tried(lambda: simulate(experiment, **keywords))
    if outcome.refusal:
        return "refused"
    image = outcome.value
    if counted.refusal and not keywords:
        raise Fault("an image of what the scene refuses", counted.refusal)
    if image.shape != experiment.detector.pixels[::-1] or not np.isfinite(image).all() or image.min() < 0.0:
        raise Fault("an image that is none, or not finite", image)
    return "rendered"


def words(case: Case) -> str:
    """Call from_args and simulate with anything."""
    what = (
        odd(case)
        if case.chance(0.5)
        else [odd(case) if case.chance(0.2) else word for word in "-cell 20 20 20 -default_F 1 -N 2".split()]
    )
    case.note(f"from_args({short(what)})")
    made = tried(lambda: Experiment.from_args(what))
    what = odd(case)
    case.note(f"simulate({short(what)})")
    if tried(lambda: simulate(what)).refusal is None:
        raise Fault("an image of anything", short(what))
    return "refused" if made.refusal else "made"


def prepare() -> None:
    """Compile the kernels."""
    experiment = Experiment(*(kind(**fields) for kind, fields in GOOD.items()))
    simulate(experiment)


@pytest.mark.parametrize("function", ["case", "words"])
def test_python(function, tmp_path, capsys):
    with capsys.disabled():
        fuzzing.hunt("test_fuzz_python", function, tmp_path, share=0.5)
