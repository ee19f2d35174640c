"""Fuzzing of command lines that are parsed and set up but not rendered: finite records, or one sentence with a flag."""

import os
import re

import fuzzing
import material
import numpy as np
import pytest
from fuzzing import Case, Fault, check_finite, tried

from nbnumba.flags.command_line import CommandLine
from nbnumba.flags.messages import in_flags
from nbnumba.flags.run import run_of
from nbnumba.flags.table import BY_NAME
from nbnumba.flags.to_experiment import experiment_of
from nbnumba.setup import sampling, scene
from nbnumba.setup.detector import position_detector

pytestmark = pytest.mark.long

FLAG = re.compile(r"(?<![\w.-])--?[A-Za-z0-9_]+")


def case(case: Case) -> str:
    """A command line of random flags."""
    os.chdir(case.folder)
    files = material.write_files(case.folder / "files")
    args = material.flags(case, files, wild=case.pick((0.0, 0.1, 0.3)), most=case.pick((3, 8, 14)))
    case.note(args)
    outcome = tried(lambda: set_up(args))
    if outcome.refusal is not None:
        check_names_a_flag(args, in_flags(outcome.refusal))
        return "refused"
    if outcome.value is None:
        return "not set up: too large for here"
    run, built, placed = outcome.value
    check_finite(built, "scene")
    check_finite(vars(placed), "placement")
    check_records(built)
    return "set up, with warnings" if outcome.warnings else "set up"


def set_up(args: list[str]):
    """The setup of a run before it renders; None for a run that only a larger machine could do."""
    command_line = CommandLine(args)
    run, experiment = run_of(command_line), experiment_of(command_line)
    if material.too_large(experiment):
        return None
    wanted = sampling.window(experiment.detector.pixels, experiment.sampling.roi, experiment.sampling.mask)
    placed = position_detector(experiment.detector, experiment.beam, experiment.sampling.defects)
    return run, scene.build(experiment, wanted), placed


def check_names_a_flag(args: list[str], refusal: str) -> None:
    """Raise Fault unless a refusal names a flag, or quotes a word of the command line."""
    words = [word for word in args if word]
    quoted = any(repr(word[:60])[:-1] in refusal or refusal.startswith(f"{word}: ") for word in words)
    if not quoted and not set(FLAG.findall(refusal)) & {*BY_NAME, *args}:
        raise Fault("a sentence that names no flag", refusal)


def check_records(built) -> None:
    """Raise Fault for directions that are not unit vectors, weights below 0, and lattices without volume."""
    panel, source = built.panel, built.sources
    vectors = {"source": source.direction}
    for name in ("fast", "slow", "normal", "beam"):
        vectors[name] = np.array([[getattr(panel, f"{name}_{axis}") for axis in "xyz"]])
    for name, rows in vectors.items():
        if np.abs(np.linalg.norm(rows, axis=1) - 1.0).max(initial=0.0) > 1e-9:
            raise Fault(f"{name} is no unit vector", rows)
    if not len(source.weight) or source.weight.min() < 0.0 or source.wavelength.min() <= 0.0:
        raise Fault("sources without weight, or of no wavelength", source)
    if min(panel.pixel_fast, panel.pixel_slow) <= 0.0 or panel.close_distance <= 0.0 or built.sampling.oversample < 1:
        raise Fault("a detector that is none", panel)


def test_flags(tmp_path, capsys):
    with capsys.disabled():
        fuzzing.hunt("test_fuzz_flags", "case", tmp_path)
