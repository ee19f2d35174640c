"""Fuzzing of whole runs on a few pixels: a right image and all its files, or one sentence and no new file."""

import os
import warnings
from pathlib import Path

import fuzzing
import material
import numpy as np
import oracle
import pytest
import random_experiments
from fuzzing import Case, Fault, check_ran, contents, run

from nbnumba import Experiment, InputError, simulate
from nbnumba.cli import output
from nbnumba.flags.command_line import CommandLine
from nbnumba.flags.run import run_of
from nbnumba.flags.to_experiment import experiment_of
from nbnumba.formats import smv

pytestmark = pytest.mark.long

MOST = 500_000
"""Samples of an image that are still rendered here."""
SMALLEST = 2e-38
"""Numbers below it have fewer digits in 4-byte floats, or none."""
OUTPUTS = (
    "-floatfile", "-intfile", "-noisefile", "-pgmfile", "-pngfile", "-exptfile", "-nxsfile", "-cbffile", "-predictions",
    "-hklmap", "-dump",
)  # fmt: skip
OWN = "a.bin", "b.img", "b_1.img", "c.pgm", "d.png", "e.expt", "f.nxs", "g_1.cbf", "i.refl", "j.npz", "h"
OWN_NAMES = dict(zip(OUTPUTS, OWN))
NAMES = ("a.bin", "b.img", "c.pgm", "d.png", "x.cbf", "x.h5", "no/such/folder/x", ".", "", "/dev/null", "/dev/stdout", "-",
"a\nb",
         "caf\udce9.img", "\u00fc.img", "x" * 300, "files/P1.hkl", "link", "old.img")  # fmt: skip


def prepare() -> None:
    """Compile the kernels."""
    simulate(Experiment.from_args("-cell 20 20 20 -N 2 -default_F 1 -detpixels 2 -oversample 1".split()))


def case(case: Case) -> str:
    """Run a random command line."""
    os.chdir(case.folder)
    files = material.write_files(case.folder / "files")
    Path("old.img").write_bytes(b"old")
    Path("link").symlink_to("old.img")
    if case.chance(0.3):
        return against_oracle(case)
    args = material.flags(
        case, files, wild=case.pick((0.0, 0.02, 0.1)), most=case.pick((2, 5, 9)), without=("-pixel", "-precision", *OUTPUTS)
    )
    for flag in OUTPUTS:
        if case.chance(0.15):
            args += [flag, OWN_NAMES[flag] if case.chance(0.6) else case.pick(NAMES)]
    case.note(args)
    steps = samples(args)
    if steps > MOST:
        return "not run: too many samples"
    return check(args, case.folder)


def samples(args: list[str]) -> float:
    """The number of samples of an image; None if it is refused."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return material.samples(experiment_of(CommandLine(args)))
        except InputError:
            return 0


def check(args: list[str], folder: Path) -> str:
    """Run a command line, and check its text and its files."""
    before = contents(folder)
    ran = run(args)
    after = contents(folder)
    check_ran(ran, (0,), quiet=not {"-", "/dev/stdout"} & set(args))
    if ran.status == 2:
        if after != before:
            changed = sorted(name for name in {*before, *after} if before.get(name) != after.get(name))
            raise Fault("a refused run wrote files", f"{changed} {ran.err}")
        return "refused"
    command_line = CommandLine(args)
    names = {} if "--dry-run" in command_line.last else output.names(run_of(command_line))
    new = {name for name in after if before.get(name) != after[name]}
    expected = {os.path.relpath(os.path.realpath(name)) for name in names.values()}
    if not new <= expected:
        raise Fault("files that nobody asked for", f"{new - expected}")
    missing = [name for name in names.values() if not os.path.exists(name) and not name.startswith("/dev/")]
    if missing:
        raise Fault("a run that succeeded without its files", missing)
    if names:
        check_files(command_line, names)
    return "run" if names else "dry run"


def check_files(command_line: CommandLine, names: dict[str, str]) -> None:
    """Check that the float image is that of the Python function, and that the other files can be read."""
    if is_simple(names["floatfile"]):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            experiment = experiment_of(command_line)
            machine = run_of(command_line).machine
            expected = simulate(experiment, **machine._asdict()).astype(np.float32)
        image = np.frombuffer(Path(names["floatfile"]).read_bytes(), "<f4").reshape(expected.shape)
        if not np.isfinite(image).all():
            raise Fault("an image that is not finite", image)
        drawn = "random" in command_line.last.get("-misset", ()) and experiment.crystal.misset_seed is not None
        if not np.array_equal(image, expected) and not drawn:
            raise Fault("the command line and Python differ", f"{image} {expected}")
    for kind in ("intfile", "noisefile"):
        if kind in names and is_simple(names[kind]):
            smv.read(names[kind])


def is_simple(name: str) -> bool:
    """Whether a file of that name holds exactly what was written to it."""
    return os.path.isfile(name) and not name.startswith("/dev/")


def against_oracle(case: Case) -> str:
    """Compare a command line that the oracle knows, too, with the oracle."""
    made = random_experiments.Maker(case.seed, case.folder, full=case.chance(0.6))
    args = random_experiments.few_enough(made.args, made.switches)
    parity = ["-c_parity", *made.switches] if made.switches else []
    model, upper = (kind(args, made.switches, made.threads) for kind in (oracle.Model, random_experiments.Shaken))
    args = [*args, *parity, "-c_threads", str(made.threads)]
    case.note(args)
    outcome, possible = check(args, case.folder), model.sources and not random_experiments.is_impossible(model)
    why = run(args).err if outcome == "refused" and possible else ""
    if outcome == "refused" and not possible:
        return "refused, as by the oracle"
    if why and "4-byte floats" not in why:
        raise Fault("refused, and the oracle has an image", why)
    if not possible:
        raise Fault("an image of what the oracle finds impossible")
    if why:
        image = too_bright(args)
    else:
        image = np.fromfile("floatimage.bin", "<f4").reshape(made.slow, made.fast).astype(float)
    random_experiments.assert_equals(image, model, upper, made.random, made.threads, args, 2e-7, SMALLEST)
    return "refused, as too bright for 4-byte floats" if why else "run, as the oracle says"


def too_bright(args: list[str]) -> np.ndarray:
    """The image that the command line refuses to write, from the Python function."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        image = simulate(experiment_of(CommandLine(args)))
    if not image.max() > np.finfo(np.float32).max:
        raise Fault("refused as too bright, and is not", image.max())
    return image


def test_runs(tmp_path, capsys):
    with capsys.disabled():
        fuzzing.hunt("test_fuzz_runs", "case", tmp_path)
