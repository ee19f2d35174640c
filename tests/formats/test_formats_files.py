"""files: what a failed write leaves behind, devices, permissions, and the messages for files that cannot be used."""

import errno
import gzip
import os
import stat
import subprocess
import sys

import numpy as np
import pytest

from nbnumba.errors import InputError
from nbnumba.formats import fdump, files, hkl, images, matrix, pgm, raw, smv, sources, stol


def test_replacing_creates_and_replaces_leaving_nothing_else(tmp_path):
    path = tmp_path / "out.bin"
    for content in (b"first", b"second, longer", b""):
        with files.replacing(path) as stream:
            stream.write(content)
        assert path.read_bytes() == content
    assert os.listdir(tmp_path) == ["out.bin"]


@pytest.mark.parametrize("failure", [RuntimeError("stop"), KeyboardInterrupt()])
def test_exception_midway_keeps_the_old_file_and_no_temporary(tmp_path, failure):
    path = tmp_path / "out.bin"
    path.write_bytes(b"old")
    with pytest.raises(type(failure)), files.replacing(path) as stream:
        stream.write(b"new" * 100000)
        stream.flush()
        assert len(os.listdir(tmp_path)) == 2
        assert path.read_bytes() == b"old"
        raise failure
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["out.bin"]


def test_exception_midway_creates_no_file(tmp_path):
    with pytest.raises(RuntimeError), files.replacing(tmp_path / "out.bin") as stream:
        stream.write(b"new")
        raise RuntimeError("stop")
    assert os.listdir(tmp_path) == []


def test_stream_name_is_a_path_that_a_library_can_write_to(tmp_path):
    with files.replacing(tmp_path / "out.bin") as stream, open(stream.name, "wb") as other:
        assert os.path.dirname(stream.name) == str(tmp_path)
        other.write(b"by path")
    assert (tmp_path / "out.bin").read_bytes() == b"by path"


@pytest.mark.parametrize("mask, mode", [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_new_file_gets_the_mode_that_open_gives(tmp_path, mask, mode):
    before = os.umask(mask)
    try:
        with files.replacing(tmp_path / "out.bin") as stream:
            stream.write(b"x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "out.bin").stat().st_mode) == mode


def test_replaced_file_keeps_its_mode(tmp_path):
    path = tmp_path / "out.bin"
    path.write_bytes(b"old")
    path.chmod(0o640)
    with files.replacing(path) as stream:
        stream.write(b"new")
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_symbolic_link_stays_and_its_target_is_replaced(tmp_path):
    (tmp_path / "real").mkdir()
    target, link = tmp_path / "real" / "data", tmp_path / "link"
    target.write_bytes(b"old")
    link.symlink_to(target)
    with files.replacing(link) as stream:
        stream.write(b"new")
    assert link.is_symlink()
    assert target.read_bytes() == b"new"
    assert os.listdir(tmp_path / "real") == ["data"]


def test_relative_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with files.replacing("out.bin") as stream:
        stream.write(b"x")
    assert (tmp_path / "out.bin").read_bytes() == b"x"


def test_dev_null_stays_a_device():
    with files.replacing("/dev/null") as stream:
        stream.write(b"x" * 1000)
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


def test_pipe_is_written_directly(tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    try:
        with files.replacing(fifo) as stream:
            stream.write(b"through")
        assert os.read(reader, 100) == b"through"
    finally:
        os.close(reader)
    assert stat.S_ISFIFO(os.stat(fifo).st_mode)


ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONUNBUFFERED": ""}
SCRIPT = """
import sys
from nbnumba.formats import files
sys.stdout.write("before ")
with files.replacing(sys.argv[1]) as stream:
    stream.write(b"bytes ")
sys.stdout.write("after")
"""


@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"])
def test_standard_output_into_a_pipe(name):
    command = [sys.executable, "-u", "-c", SCRIPT, name]
    result = subprocess.run(command, stdout=subprocess.PIPE, check=True, env=ENVIRONMENT)
    assert result.stdout == b"before bytes after"


@pytest.mark.parametrize("name, options", [("/dev/stdout", []), ("/dev/fd/1", ["-u"])])
def test_standard_output_appended_to_a_file(tmp_path, name, options):
    log = tmp_path / "log"
    log.write_bytes(b"old ")
    with open(log, "ab") as stream:
        command = [sys.executable, *options, "-c", SCRIPT, name]
        subprocess.run(command, stdout=stream, check=True, env=ENVIRONMENT)
    assert log.read_bytes() == b"old before bytes after"
    assert os.listdir(tmp_path) == ["log"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full, a device that is always full")
def test_full_device_is_an_input_error():
    with pytest.raises(InputError, match="-floatfile: cannot write '/dev/full'"):
        with files.replacing("/dev/full", "-floatfile") as stream:
            stream.write(b"x" * 100000)


def test_full_disk_is_an_input_error_and_keeps_the_old_file(tmp_path):
    path = tmp_path / "out.bin"
    path.write_bytes(b"old")
    with pytest.raises(InputError, match="-intfile: cannot write .*out.bin.*: No space left"):
        with files.replacing(path, "-intfile"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["out.bin"]


def test_another_files_error_is_passed_on(tmp_path):
    with pytest.raises(FileNotFoundError):
        with files.replacing(tmp_path / "out.bin"):
            open(tmp_path / "missing", "rb")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    "name, message",
    [
        ("none/out.bin", "cannot write .*: no such directory .*none"),
        ("plain/out.bin", "cannot write .*: no such directory .*plain"),
        ("folder", "is a directory"),
        ("new/", "is a directory"),
        ("a\0b", "is not a file name"),
        ("x" * 300, "cannot write .*: File name too long"),
    ],
)
def test_paths_that_cannot_be_written(tmp_path, name, message):
    (tmp_path / "folder").mkdir()
    (tmp_path / "plain").write_bytes(b"")
    with pytest.raises(InputError, match=f"^-intfile: .*{message}"):
        with files.replacing(f"{tmp_path}/{name}", "-intfile") as stream:
            stream.write(b"x")
    assert sorted(os.listdir(tmp_path)) == ["folder", "plain"]


def test_empty_name():
    with pytest.raises(InputError, match="-intfile: '' is not a file name"), files.replacing("", "-intfile"):
        pass


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_write_protected(tmp_path):
    locked = tmp_path / "locked"
    locked.mkdir()
    (tmp_path / "file").write_bytes(b"old")
    (tmp_path / "file").chmod(0o444)
    locked.chmod(0o555)
    for name, message in (("locked/new", "Permission denied"), ("file", "write-protected")):
        with pytest.raises(InputError, match=f"cannot write .*{message}"), files.replacing(tmp_path / name):
            pass
    assert (tmp_path / "file").read_bytes() == b"old"


def test_read_bytes_and_text(tmp_path):
    path = tmp_path / "in.txt"
    path.write_bytes(b"\xef\xbb\xbfa\r\nb\r\r\nc\n\xff\r")
    assert files.read_bytes(path, "-mat") == path.read_bytes()
    assert files.read_text(path, "-mat") == "a\nb\nc\n\ufffd\n"
    path.write_bytes(b"a\nb\rc\n")
    with pytest.raises(InputError, match="line 2 has a carriage return in its middle; allowed: line ends LF, CR LF or CR$"):
        files.read_text(path, "-mat")


def test_read_text_uncompresses(tmp_path):
    path = tmp_path / "in.txt"
    path.write_bytes(gzip.compress(b"1 2 3\r\n"))
    assert files.read_text(path, "-mat") == "1 2 3\n"


@pytest.mark.parametrize(
    "damage",
    [lambda b: b[:-9], lambda b: b[:20] + b"\0\0\0\0" + b[24:], lambda b: b[:2], lambda b: b[:10] + b"\xff" * 30],
)
def test_damaged_gzip(tmp_path, damage):
    path = tmp_path / "in.gz"
    path.write_bytes(damage(gzip.compress(bytes(range(256)) * 4)))
    with pytest.raises(InputError, match="-hkl: .*in.gz.* damaged gzip"):
        files.read_text(path, "-hkl")


@pytest.mark.parametrize(
    "name, message",
    [("missing", "no such file"), ("", "is a directory"), ("a\0b", "cannot read"), ("in/below", "cannot read")],
)
def test_files_that_cannot_be_read(tmp_path, name, message):
    (tmp_path / "in").write_bytes(b"")
    with pytest.raises(InputError, match=f"^-hkl: .*{message}"):
        files.read_bytes(f"{tmp_path}/{name}", "-hkl")


def test_missing_file_is_named_as_the_user_wrote_it():
    with pytest.raises(InputError, match=r"^-hkl: no such file 'no-such-file\.hkl'$"):
        files.read_bytes("no-such-file.hkl", "-hkl")


@pytest.mark.parametrize("path", [None, 5.0, ["a"], object()])
def test_what_is_no_name_of_a_file_is_refused_by_every_door(path):
    """Readers and writers alike; a number would be an open descriptor."""
    pixels = np.zeros((2, 2), np.uint16)
    doors = [
        lambda: files.read_bytes(path, "what"),
        lambda: files.read_text(path, "what"),
        lambda: files.check_writable(path, "what"),
        lambda: raw.read(path, (2, 2), "what"),
        lambda: raw.write(path, pixels, "what"),
        lambda: pgm.write(path, pixels, 1.0, "what"),
        lambda: smv.read(path, "what"),
        lambda: smv.read_header(path, "what"),
        lambda: smv.write(path, pixels, {}, "what"),
        lambda: images.read(path, (2, 2), "what"),
        lambda: hkl.read(path, "what"),
        lambda: hkl.write(path, [[1, 2, 3]], [1.0], "what"),
        lambda: fdump.read(path, "what"),
        lambda: matrix.read(path, "what"),
        lambda: sources.read(path, "what"),
        lambda: stol.read(path, "what"),
    ]
    for door in doors:
        with pytest.raises(InputError, match="^what: .* is not the name of a file; allowed: the name of a file$"):
            door()
