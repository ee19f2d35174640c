"""Damaged machine code on disk is compiled anew and replaced, and a cache that cannot be written costs nothing."""

import os
import subprocess
import sys
import threading

import numpy as np
import pytest
from numba.core import config

from nbnumba import rng
from nbnumba.backends import cached_files
from nbnumba.backends.compiling import Compiled

DEVIATES = "from nbnumba.rng import generator; print(generator(7).uniform(5).tobytes().hex())"


def drawn():
    """The numbers that a function draws which is loaded or compiled anew, as in a process of its own."""
    kept = rng.fill_deviates
    deviates = np.empty(5, np.float32)
    Compiled(kept.function, kept.on_disk, kept.large, kept.options)(rng.generator(7).state, deviates)
    return deviates.tobytes()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The folder where code is kept."""
    monkeypatch.setattr(config, "CACHE_DIR", str(tmp_path))
    return tmp_path / "nbnumba"


@pytest.fixture
def compiled(monkeypatch):
    """The names of the functions that were compiled."""
    names = []
    monkeypatch.setattr(Compiled, "_tell", lambda self: names.append(self.function.__name__))
    return names


def only(folder):
    """The one file of Numba's machine code in a folder. Beside it may be the same as code that runs without Numba."""
    (path,) = folder.glob("*.nbc")
    assert {other.suffix for other in folder.iterdir()} <= {".nbc", ".nbo"}
    return path


def test_what_is_whole_is_read_and_what_is_not_is_not(folder, monkeypatch):
    expected, asked = drawn(), []
    content = only(folder).read_bytes()
    read = cached_files.read
    monkeypatch.setattr(cached_files, "read", lambda path, key: asked.append(key) or read(path, key))
    assert drawn() == expected
    key, path = asked[-1], only(folder)
    assert read(path, key) is not None
    assert read(path, ("another", *key)) is None
    random = np.random.default_rng(3)
    for bit in random.integers(0, 8 * len(content), 400):
        damaged = bytearray(content)
        damaged[bit // 8] ^= 1 << (bit % 8)
        path.write_bytes(damaged)
        assert read(path, key) is None, bit
    for size in (0, 1, 31, 32, 33, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:size])
        assert read(path, key) is None, size
    path.write_bytes(content + b"\0")
    assert read(path, key) is None


@pytest.mark.parametrize("damage", [lambda whole: whole[: len(whole) // 2], lambda whole: b"", lambda whole: whole[:-1] + b"?"])
def test_what_is_damaged_is_compiled_anew_and_replaced(folder, compiled, damage):
    expected = drawn()
    path = only(folder)
    path.write_bytes(damage(path.read_bytes()))
    compiled.clear()
    assert drawn() == expected and compiled == ["fill_deviates"]
    assert drawn() == expected and compiled == ["fill_deviates"]
    assert only(folder) == path


def test_code_under_the_name_of_another_is_not_loaded(folder, compiled):
    """The files of two functions are exchanged."""
    values = np.array([8.0], np.float32), np.empty(1, np.float32)
    roots = rng.float32_cube_roots
    expected = drawn()
    first = only(folder)
    Compiled(roots.function, True, False, roots.options)(*values)
    (second,) = set(folder.glob("*.nbc")) - {first}
    first.write_bytes(second.read_bytes())
    compiled.clear()
    assert drawn() == expected and compiled == ["fill_deviates"]


def test_a_folder_in_the_place_of_the_file_does_no_harm(folder, compiled):
    expected = drawn()
    path = only(folder)
    path.unlink()
    path.mkdir()
    compiled.clear()
    assert drawn() == expected and compiled == ["fill_deviates"]


def test_several_write_at_once(folder):
    """Of several writers one file remains, complete, and nothing else."""
    folder.mkdir()
    contents = [bytes([n]) * 100_000 for n in range(8)]
    threads = [threading.Thread(target=cached_files.write, args=(folder / "one.nbc", content)) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert only(folder).read_bytes() in contents


def test_what_nobody_has_used_for_long_is_removed(folder):
    drawn()
    used = only(folder)
    names = ("draw_0123456789ab-19.py311.nbi", "draw_0123456789ab-0123456789abcdef.nbc", ".draw_0123456789ab-0123-4567.tmp",
             "draw_0123456789ab-0123456789abcde0.nbo")  # fmt: skip
    others = [folder / name for name in (*names, "render.nbc", "notes.txt")]
    for path in (used, *others):
        path.touch()
        os.utime(path, (0, 0))
    drawn()
    assert used.stat().st_mtime > 0  # used again, and so it stays
    cached_files.remove_unused(folder)
    assert not (folder / names[-1]).exists()
    assert {path.name for path in folder.iterdir() if path.suffix != ".nbo"} == {used.name, "render.nbc", "notes.txt"}


@pytest.mark.parametrize(
    "environment",
    [
        {"NUMBA_CACHE_DIR": "/dev/null"},
        {"NUMBA_CACHE_DIR": "/proc/nothing"},
        {"NUMBA_CACHE_DIR": "\udcff\udcfe/relative", "HOME": "/nowhere"},
        {"NUMBA_CACHE_DIR": "", "HOME": ""},
        {"NUMBA_CACHE_DIR": "x" * 5000},
    ],
)
def test_folders_that_are_none(environment, tmp_path):
    assert process(environment, tmp_path) == rng.generator(7).uniform(5).tobytes().hex()


def test_a_full_disk(tmp_path):
    """If no file can be larger than some bytes, nothing is kept or left, and the numbers are right, then and later."""
    here = {"NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    small = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (512, 512)); "
    expected = rng.generator(7).uniform(5).tobytes().hex()
    assert process(here, tmp_path, small) == expected
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    assert process(here, tmp_path) == expected
    assert only(tmp_path / "cache" / "nbnumba").suffix == ".nbc"


def process(environment, folder, first="") -> str:
    """The text of a process that draws deviates."""
    path = os.pathsep.join(name for name in sys.path if name)
    command = [sys.executable, "-B", "-c", first + DEVIATES]
    environment = os.environ | {"PYTHONPATH": path} | environment
    done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0 and not done.stderr, done.stderr
    return done.stdout.strip()
