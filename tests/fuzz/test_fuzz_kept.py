"""Fuzzing of machine code on disk: with damaged files the image is the same, or the code is compiled anew."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import fuzzing
import pytest
from fuzzing import TESTS, Case, Fault

pytestmark = pytest.mark.long

IMAGE = "-cell 70 80 90 -misset 1 2 3 -lambda 1.2 -N 5 -default_F 50 -distance 60 -detpixels 5 -oversample 1 ".split()
IMAGE += "-nonoise -nopgm -nointfile".split()
HERE = Path("whole")
"""The folder of what was compiled and rendered first, where the fuzzer runs."""


def image(cache: Path, folder: Path) -> tuple[int, bytes, str]:
    """The exit status, the image and the stderr of a run that keeps its machine code in a folder."""
    variables = os.environ | {"NUMBA_CACHE_DIR": str(cache), "NUMBA_NUM_THREADS": "2", "PYTHONPATH": str(TESTS.parent)}
    ran = subprocess.run([sys.executable, "-m", "nbnumba", *IMAGE], cwd=folder, env=variables, capture_output=True, text=True)
    written = folder / "floatimage.bin"
    return ran.returncode, written.read_bytes() if written.exists() else b"", ran.stderr


def prepare() -> None:
    """Compile the kernels, and keep them on disk."""
    HERE.mkdir()
    status, rendered, errors = image(HERE.resolve() / "cache", HERE)
    assert status == 0 and rendered, errors
    assert list(HERE.rglob("*.nbc"))


def damaged(case: Case, path: Path) -> None:
    """A file with flipped bits or missing bytes, or one that cannot be read."""
    content = bytearray(path.read_bytes())
    how = case.pick(("bit", "bit", "bit", "bits", "cut", "empty", "gone", "junk", "folder", "other"))
    case.note(f"{how} {path.name}")
    if how in ("bit", "bits"):
        for _ in range(1 if how == "bit" else 20):
            position = int(case.random.integers(len(content)))
            case.note(f"bit of byte {position} of {len(content)}")
            content[position] ^= 1 << int(case.random.integers(8))
    elif how == "cut":
        content = content[: case.random.integers(len(content))]
    elif how == "empty":
        content = b""
    elif how == "junk":
        content = case.random.bytes(len(content))
    elif how == "other":
        content = case.pick(sorted(path.parent.glob(f"*{path.suffix}"))).read_bytes()
    path.unlink()
    if how == "folder":
        path.mkdir()
    elif how != "gone":
        path.write_bytes(bytes(content))


def case(case: Case) -> str:
    """Damage one file or all of them, run, and run again."""
    whole = case.log.parent / HERE
    cache = case.folder / "cache"
    shutil.copytree(whole / "cache", cache)
    kept = sorted(path for path in cache.rglob("*") if path.is_file())
    for path in kept if case.chance(0.1) else [case.pick(kept)]:
        damaged(case, path)
    for run in ("first", "second") if case.chance(0.3) else ("first",):
        status, rendered, errors = image(cache, case.folder)
        if status != 0:
            raise Fault(f"a damaged file ends a run with status {status}", errors[-1500:])
        if rendered != (whole / "floatimage.bin").read_bytes():
            raise Fault("a damaged file gives another image", run)
        if errors and not all(line.startswith(("nbnumba: warning: ", "nbnumba: compiling ")) for line in errors.splitlines()):
            raise Fault("a damaged file is seen on stderr", errors[-1500:])
        (case.folder / "floatimage.bin").unlink()
    return "the same image"


def test_kept(tmp_path, capsys):
    with capsys.disabled():
        fuzzing.hunt("test_fuzz_kept", "case", tmp_path, memory=2**36, longest=180.0)
