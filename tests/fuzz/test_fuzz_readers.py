"""Fuzzing of the readers with retyped and damaged files: a finite value, or one sentence that names flag and file."""

import functools
import gzip
import io
import json
import os
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

import fuzzing
import material
import numpy as np
import pytest
from fuzzing import Case, Fault, check_finite, tried

from nbnumba import Experiment, InputError
from nbnumba.cli import compare_traces, measured
from nbnumba.cli.main import main
from nbnumba.formats import by_fabio, fdump, hkl, images, matrix, smv, sources, stol
from nbnumba.setup import sampling, scene
from nbnumba.setup.detector import position_detector

pytestmark = pytest.mark.long

FAST, SLOW = 8, 6
SMALL = f"-cell 30 40 50 -pixel 1 -detpixels_x {FAST} -detpixels_y {SLOW} -distance 50 -oversample 1 -N 2".split()


class Format(NamedTuple):
    """A kind of file: its bytes, the ending of its name, the flag that names it, and its readers, here and in a run."""

    make: Callable[[], bytes]
    suffix: str
    flag: str
    read: Callable[[str], Any]
    used: Callable[[str], Any] | None = None
    is_text: bool = False


def built(*flags: str):
    """The scene of a small experiment with these flags."""
    experiment = Experiment.from_args([*SMALL, *([] if "-hkl" in flags or "-dump" in flags else ["-default_F", "10"]), *flags])
    pixels = experiment.detector.pixels
    wanted = sampling.window(pixels, experiment.sampling.roi, experiment.sampling.mask)
    position_detector(experiment.detector, experiment.beam, experiment.sampling.defects)
    built = scene.build(experiment, wanted)
    lengths = np.linalg.norm(built.sources.direction, axis=1)
    if np.abs(lengths - 1.0).max(initial=0.0) > 1e-9:
        raise Fault("a direction is no unit vector", lengths)
    return built


def of_fabio(kind: str, dtype: str) -> Callable[[], bytes]:
    """The bytes of an image that fabio writes."""

    def make() -> bytes:
        import fabio

        pixels = np.random.default_rng(3).integers(0, 900, (SLOW, FAST)).astype(dtype)
        name = Path(f"made.{kind}")
        getattr(fabio, f"{kind}image").__dict__[f"{kind.capitalize()}Image"](data=pixels).write(str(name))
        return name.read_bytes()

    return make


def hdf5_bytes() -> bytes:
    import h5py

    with h5py.File("made.h5", "w") as file:
        file["entry/data/data"] = np.random.default_rng(3).integers(0, 900, (1, SLOW, FAST)).astype("u4")
    return Path("made.h5").read_bytes()


def dump_bytes() -> bytes:
    h, k, l = np.indices((3, 3, 2)).reshape(3, -1) - 1
    fdump.write("made.dump", np.stack([h, k, l], 1), 10.0 + np.arange(18))
    return Path("made.dump").read_bytes()


def image_of(path: str):
    image = images.read(path, (SLOW, FAST), "--data")
    if image.pixels.shape != (SLOW, FAST):
        raise Fault("an image of another shape", image.pixels.shape)
    return image.pixels


def measured_of(path: str):
    experiment = Experiment.from_args([*SMALL, "-default_F", "10"])
    data = measured.read(path, experiment, None, None, None).data
    if np.isinf(data).any() or data.shape != (SLOW, FAST):
        raise Fault("measured data that are infinite or of another shape", data)


@functools.cache
def trace_text(as_json: bool) -> bytes:
    flags = [*SMALL, "-default_F", "10", "-phisteps", "2", "-osc", "1"]
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        assert main(["trace", "--pixel", "2", "3", "--out", "made.trace", "--json", "--", *flags]) == 0
    return Path("made.trace.json" if as_json else "made.trace").read_bytes()


def traces_of(path: str):
    return compare_traces.read(path, "OURS")


FORMATS = {
    "hkl": Format(lambda: material.hkl_text().encode(), ".hkl", "-hkl", lambda p: hkl.read(p), lambda p: built("-hkl", p),
    True),
    "dump": Format(dump_bytes, ".dump", "-dump", lambda p: fdump.read(p), lambda p: built("-dump", p)),
    "matrix": Format(
        lambda: material.matrix_text().encode(), ".mat", "-mat",
        lambda p: matrix.read(p), lambda p: built("-mat", p), True,
    ),
    "sources": Format(
        lambda: material.sources_text().encode(), "", "-sourcefile",
        lambda p: np.nan_to_num(sources.read(p)), lambda p: built("-sourcefile", p), True,
    ),
    "stol": Format(
        lambda: material.stol_text().encode(), ".stol", "-stol",
        lambda p: np.nan_to_num(stol.read(p)), lambda p: built("-water", "10", "-stol", p), True,
    ),
    "header": Format(material.smv_bytes, ".img", "-img", lambda p: smv.read_header(p) and None, lambda p: built("-img", p)),
    "mask": Format(material.smv_bytes, ".img", "-mask", lambda p: smv.read(p, "-mask")[1], lambda p: built("-mask", p)),
    "smv": Format(material.smv_bytes, ".img", "--data", image_of, measured_of),
    "float": Format(lambda: np.arange(48, dtype="<f4").tobytes(), ".bin", "--data", image_of, measured_of),
    "cbf": Format(of_fabio("cbf", "int32"), ".cbf", "--data", image_of, measured_of),
    "edf": Format(of_fabio("edf", "float32"), ".edf", "--data", image_of, measured_of),
    "tiff": Format(of_fabio("tif", "uint16"), ".tif", "--data", image_of, measured_of),
    "hdf5": Format(hdf5_bytes, ".h5", "--data", image_of, measured_of),
    "trace": Format(lambda: trace_text(False), ".txt", "OURS", traces_of, None, True),
    "json": Format(lambda: trace_text(True), ".json", "OURS", traces_of),
}  # fmt: skip


BY_FABIO = ("cbf", "edf", "tiff", "hdf5")
"""Formats that take a process of their own, and so seconds."""
QUICK = tuple(name for name in FORMATS if name not in BY_FABIO)


def prepare() -> None:
    """Make a file of each format. Files that fabio would read for ever are given up sooner."""
    by_fabio.SECONDS = 10.0
    WHOLE.update({name: each.make() for name, each in FORMATS.items()})


WHOLE: dict[str, bytes] = {}


def case(case: Case) -> str:
    """Read a file of a random format, retyped or damaged."""
    name = case.pick(FORMATS if case.chance(0.3) else QUICK)
    form = FORMATS[name]
    path = case.folder / f"file{form.suffix}"
    if form.is_text and case.chance(0.3):
        return retyped(case, name, form, path)
    if form.flag == "--data":
        form = form._replace(read=case.pick((form.read, form.used)), used=None)
    content = WHOLE[name]
    if case.chance(0.1):
        content = WHOLE[case.pick(QUICK)]
    content = material.damaged(case, content)
    path.write_bytes(content)
    shown = content if len(content) < 3000 else gzip.compress(content)
    case.note(f"{name} {form.flag} file{form.suffix}: {shown[:6000]!r}")
    outcome = tried(lambda: form.read(str(path)), [str(path)])
    if outcome.refusal is not None and form.flag not in outcome.refusal:
        raise Fault("a sentence that does not name its flag", outcome.refusal)
    if outcome.refusal is None and name not in ("smv", "float", "cbf", "edf", "tiff", "hdf5", "trace", "json"):
        check_finite(outcome.value, name)
    if name in ("trace", "json"):
        compare(case, path)
    if form.used is None:
        return "refused" if outcome.refusal else "read"
    used = tried(lambda: form.used(str(path)), [form.flag, str(path), *material_words(form.flag)])
    if used.refusal is None:
        check_finite(used.value, f"scene of {name}")
    return f"{name} {'refused' if used.refusal else 'used'}"


def material_words(flag: str) -> list[str]:
    """The fields whose values such a file states, by which a sentence may name them if it knows no flag."""
    detector = "detector. beam. goniometer. sampling. -distance -pixel -detpixels -lambda -phi -osc -oversample -Xbeam -Ybeam"
    return {"-hkl": ["structure_factors"], "-mat": ["crystal"], "-sourcefile": ["beam."], "-stol": ["background."],
            "-img": detector.split(), "-mask": ["mask", *detector.split()]}.get(flag, [])  # fmt: skip


def retyped(case: Case, name: str, form: Format, path: Path) -> str:
    """Check that a retyped file is read as the same value, or refused."""
    path.write_bytes(WHOLE[name])
    before = form.read(str(path))
    content, done = material.retyped(case, WHOLE[name].decode())
    path.write_bytes(content)
    case.note(f"{name}: {done}: {content[:1500]!r}")
    outcome = tried(lambda: form.read(str(path)), [str(path)])
    if outcome.refusal is None and not same(before, outcome.value):
        raise Fault(f"{name} retyped is read as something else", f"{done}: {outcome.value} for {before}")
    return f"{name} retyped refused" if outcome.refusal else f"{name} retyped read"


def same(one, other) -> bool:
    """Whether two values are the same."""
    if isinstance(one, (tuple, list)):
        return len(one) == len(other) and all(map(same, one, other))
    return np.array_equal(one, other) if isinstance(one, np.ndarray) else one == other or one is other


def compare(case: Case, path: Path) -> None:
    """Run compare-traces against the whole trace: it ends with an exit status and files, or with one sentence."""
    os.chdir(case.folder)
    Path("reference").write_bytes(WHOLE["trace"])
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        status = main(["compare-traces", "reference", str(path), "--out", "bundle"])
    if status == 2:
        fuzzing.check_sentence(err.getvalue().strip("\n"), ["OURS", path.name])
        if Path("bundle").exists():
            raise Fault("a refused trace left a bundle", os.listdir("bundle"))
    elif status in (0, 1):
        json.loads(Path("bundle/metrics.json").read_text())
    else:
        raise Fault("a status that is none", status)


def test_files(tmp_path, capsys):
    with capsys.disabled():
        fuzzing.hunt("test_fuzz_readers", "case", tmp_path, longest=40.0)


def test_files_that_are_whole_are_read(tmp_path, monkeypatch):
    """The files are valid before they are damaged."""
    monkeypatch.chdir(tmp_path)
    prepare()
    for name, form in FORMATS.items():
        (tmp_path / f"whole{form.suffix}").write_bytes(WHOLE[name])
        for reads in filter(None, (form.read, form.used)):
            try:
                reads(str(tmp_path / f"whole{form.suffix}"))
            except InputError as error:
                raise AssertionError(f"{name}: {error}") from error
