"""The files of a run appear together or not at all, and a failing standard stream never costs a result."""

import contextlib
import io
import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import nbnumba
from nbnumba.cli import bundle, output, streams
from nbnumba.cli.main import main
from nbnumba.errors import InputError
from nbnumba.formats import endings, files

ROOT = str(Path(nbnumba.__file__).parent.parent)
BASE = "-cell 50 -default_F 10 -lambda 2 -N 3 -detpixels 16 -distance 50 -oversample 1 -seed 1 -noprogress".split()
FILES = {"floatimage.bin", "intimage.img", "image.pgm", "noiseimage.img"}
PROGRAM = [sys.executable, "-m", "nbnumba"]


@pytest.fixture(autouse=True, scope="module")
def compiled():
    """The kernels are on disk before the processes of the tests start, because compiling them would print a line on stderr."""
    experiment = nbnumba.Experiment.from_args([word for word in BASE if word != "-noprogress"])
    nbnumba.noise_image(experiment, nbnumba.simulate(experiment), seed=1)


def names(folder):
    return set(os.listdir(folder))


def program(args, folder, **options):
    """Run the program in a process of its own."""
    environment = os.environ | {"PYTHONPATH": ROOT} | options.pop("env", {})
    return subprocess.run([*PROGRAM, *args], cwd=folder, env=environment, timeout=120, **options)


def shell(line, folder, **environment):
    """Run a line of bash in which "$@" is the program. Returns the exit status and stderr."""
    env = os.environ | {"PYTHONPATH": ROOT} | environment
    command = ["bash", "-c", line, "bash", *PROGRAM]
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, timeout=120)
    return done.returncode, done.stderr.decode(), done.stdout.decode()


# --------------------------------------------------------------------------------------------------- all or nothing


def test_files_appear_together_when_the_block_ends(tmp_path):
    first, second = tmp_path / "a", tmp_path / "b"
    first.write_bytes(b"old")
    with files.together():
        for path in (first, second):
            with files.replacing(path) as stream:
                stream.write(b"new")
        assert first.read_bytes() == b"old" and not second.exists()
        assert files.read_bytes(first, "-mat") == files.read_bytes(second, "-mat") == b"new"
    assert (first.read_bytes(), second.read_bytes(), names(tmp_path)) == (b"new", b"new", {"a", "b"})


def test_a_failure_between_files_leaves_none_and_no_folder(tmp_path):
    (tmp_path / "a").write_bytes(b"old")
    with pytest.raises(RuntimeError), files.together():
        folder = files.make_folder(tmp_path / "new" / "deep", "--out")
        for path in (tmp_path / "a", Path(folder) / "b"):
            with files.replacing(path) as stream:
                stream.write(b"new")
        raise RuntimeError
    assert names(tmp_path) == {"a"} and (tmp_path / "a").read_bytes() == b"old"


@pytest.mark.parametrize("links", [True, False])
def test_a_file_that_cannot_be_renamed_takes_those_before_it_back(tmp_path, monkeypatch, links):
    (tmp_path / "a").write_bytes(b"old")
    rename = os.replace

    def fail(source, target):
        if str(target).endswith("c"):
            raise PermissionError(1, "Operation not permitted", source, None, target)
        rename(source, target)

    def no_links(*_):
        raise OSError(95, "no links here")

    monkeypatch.setattr(os, "replace", fail)
    if not links:
        monkeypatch.setattr(os, "link", no_links)
    with pytest.raises(InputError, match="-x: cannot write .*c': Operation not permitted"), files.together():
        for name in "abc":
            with files.replacing(tmp_path / name, "-x") as stream:
                stream.write(b"new")
    assert names(tmp_path) == {"a"} and (tmp_path / "a").read_bytes() == b"old"


def test_a_device_that_fails_leaves_no_files(tmp_path):
    with pytest.raises(InputError, match="/dev/full"), files.together():
        for path in (tmp_path / "a", "/dev/full"):
            with files.replacing(path) as stream:
                stream.write(b"new")
    assert names(tmp_path) == set()


@pytest.mark.parametrize("kind", ["intfile", "pgmfile", "noisefile", "pngfile"])
def test_a_run_that_fails_at_any_of_its_files_has_written_none(tmp_path, monkeypatch, capsys, kind):
    def fail(*_, **__):
        raise InputError(f"-{kind}: made up")

    where = {"intfile": (output.smv, "write"), "noisefile": (output.response, "measure")}
    owner, name = where.get(kind) or (getattr(output, kind[:3]), "write")
    monkeypatch.setattr(owner, name, fail)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "floatimage.bin").write_bytes(b"old")
    assert main([*BASE, "-pngfile", "a.png"]) == 2
    assert names(tmp_path) == {"floatimage.bin"} and (tmp_path / "floatimage.bin").read_bytes() == b"old"
    assert capsys.readouterr().err == f"nbnumba: -{kind}: made up\n"


def test_a_disk_that_is_full_after_the_first_file_leaves_none(tmp_path):
    """The float image of 64 x 64 pixels has 16 kB and the SMV images are smaller, so that only these are below the limit."""
    args = [*BASE, "-detpixels", "64", "-dump", "f.bin", "-hkl", "one.hkl"]
    (tmp_path / "one.hkl").write_text("0 0 1 5\n")

    def limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (12000, resource.RLIM_INFINITY))

    done = program(args, tmp_path, preexec_fn=limit, capture_output=True, env={"NUMBA_DISABLE_JIT": "0"})
    assert done.returncode == 2, done.stderr
    assert done.stderr.decode().count("\n") == 1 and b"-floatfile" in done.stderr and b"File too large" in done.stderr
    assert names(tmp_path) == {"one.hkl"}


@pytest.mark.parametrize("after", [0, 1, 2])
def test_an_interruption_among_the_files_waits_until_all_are_there(tmp_path, monkeypatch, capsys, after):
    """It may also come before any file is written; either way the message is true."""
    rename, count = os.replace, []

    def interrupted(source, target):
        if len(count) == after:
            signal.raise_signal(signal.SIGINT)
        count.append(target)
        rename(source, target)

    monkeypatch.setattr(os, "replace", interrupted)
    monkeypatch.chdir(tmp_path)
    assert main(BASE) == 130
    assert names(tmp_path) == FILES
    assert capsys.readouterr().err == (
        "nbnumba: interrupted after floatimage.bin, intimage.img, image.pgm, noiseimage.img had been written\n"
    )


def test_an_interruption_before_the_last_file_leaves_none(tmp_path, monkeypatch, capsys):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(output.response, "measure", interrupt)
    monkeypatch.chdir(tmp_path)
    assert main(BASE) == 130
    assert names(tmp_path) == set()
    assert capsys.readouterr().err == "nbnumba: interrupted; nothing written\n"


@pytest.mark.parametrize("command", ["trace --pixel 3 4 --out t.txt --json --", "compare-traces a.json a.json --out dir"])
def test_bundles_appear_whole_or_not_at_all(tmp_path, monkeypatch, capsys, command):
    monkeypatch.chdir(tmp_path)
    own = command.split()
    if own[0] == "compare-traces":
        assert main(["trace", "--pixel", "3", "4", "--out", "a", "--json", "--", *BASE]) == 0
    before = names(tmp_path)

    def fail(*_):
        raise InputError("made up")

    monkeypatch.setattr(bundle, "environment", fail)
    assert main([*own, *(BASE if own[-1] == "--" else [])]) == 2
    assert names(tmp_path) == before


# ------------------------------------------------------------------------------------------------ left-over files


def test_unfinished_files_of_processes_that_are_gone_are_removed(tmp_path):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    host, token = files._HOST, "0123456789abcdef"
    mine, dead = f".nbnumba-{host}-{os.getpid()}-{token}.tmp", f".nbnumba-{host}-{gone.pid}-{token}.tmp"
    elsewhere, old = f".nbnumba-00000000-{gone.pid}-{token}.tmp", f".nbnumba-{token}.tmp"
    for name in (mine, dead, elsewhere, old, "notes.tmp"):
        (tmp_path / name).write_bytes(b"x")
    os.utime(tmp_path / old, (1e9, 1e9))
    files.check_writable(tmp_path / "out.bin", "-floatfile")
    assert names(tmp_path) == {mine, elsewhere, "notes.tmp"}


def test_a_killed_run_is_cleaned_up_by_the_next(tmp_path):
    code = (
        "import os, signal, sys\nfrom nbnumba.formats import files\n"
        "with files.replacing(sys.argv[1]) as stream:\n    stream.write(b'x')\n    os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "a.bin"], env=os.environ | {"PYTHONPATH": ROOT})
    assert done.returncode == -signal.SIGKILL
    assert len(names(tmp_path)) == 1
    files.check_writable(tmp_path / "a.bin", "-floatfile")
    assert names(tmp_path) == set()


# ------------------------------------------------------------------------------------------------ standard streams


@pytest.mark.parametrize(
    "redirection, status, message",
    [
        ("2>&-", 0, None),
        (">&-", 0, ""),
        ("<&- >&- 2>&-", 0, None),
        ("2>/dev/full", 0, None),
        (">/dev/full", 141, "nbnumba: stdout cannot be written: No space left on device; files are not affected\n"),
        ("| true; exit ${PIPESTATUS[0]}", 141, ""),
        ("| head -1; exit ${PIPESTATUS[0]}", None, ""),
    ],
)
def test_streams_that_take_nothing_cost_no_file(tmp_path, redirection, status, message):
    exit_status, errors, _ = shell(f'"$@" {" ".join(BASE)} {redirection}', tmp_path)
    assert exit_status in ((0, 141) if status is None else (status,))
    assert names(tmp_path) == FILES
    assert message is None or errors == message
    image = nbnumba.simulate(nbnumba.Experiment.from_args([word for word in BASE if word != "-noprogress"]))
    np.testing.assert_array_equal(np.fromfile(tmp_path / "floatimage.bin", "<f4"), image.ravel().astype("f4"))


@pytest.mark.parametrize("words", ["--help", "--version", "refine -h"])
def test_a_help_that_nobody_takes_is_no_traceback(tmp_path, words):
    for redirection in (">/dev/full", "| true; exit ${PIPESTATUS[0]}"):
        status, errors, _ = shell(f'"$@" {words} {redirection}', tmp_path)
        assert status in (0, 141) and "Traceback" not in errors and errors.count("\n") <= 1


def test_a_working_directory_that_is_gone_is_one_sentence(tmp_path):
    status, errors, _ = shell(f'mkdir d; cd d; rmdir ../d; "$@" {" ".join(BASE)}', tmp_path)
    assert status == 2 and errors.startswith("nbnumba: the working directory is gone") and errors.count("\n") == 1


def test_names_that_are_no_utf8_or_that_the_terminal_has_no_characters_for(tmp_path):
    more = "-nopgm -nointfile"
    coding = {"PYTHONIOENCODING": "utf-8:strict"}
    status, errors, printed = shell(f""""$@" {" ".join(BASE)} {more} -floatfile $'a\\377.bin'""", tmp_path, **coding)
    assert (status, errors) == (0, "") and r"wrote a\udcff.bin" in printed
    status, errors, _ = shell(f""""$@" {" ".join(BASE)} {more} -hkl $'a\\377.hkl'""", tmp_path, **coding)
    assert status == 2 and errors.count("\n") == 1 and r"a\udcff.hkl" in errors
    ascii_only = {"PYTHONIOENCODING": "ascii:strict"}
    status, errors, printed = shell(f'"$@" {" ".join(BASE)} {more} -floatfile ü.bin', tmp_path, **ascii_only)
    assert (status, errors) == (0, "") and r"wrote \xfc.bin" in printed
    assert {os.fsencode(name) for name in names(tmp_path)} == {b"a\xff.bin", "ü.bin".encode(), b"noiseimage.img"}


def test_a_name_that_is_no_utf8_in_json_can_be_read_back(tmp_path):
    bundle.write_json(tmp_path / "a.json", {"name": os.fsdecode(b"a\xff")})
    assert json.loads((tmp_path / "a.json").read_text("utf-8")) == {"name": "a\udcff"}


def test_what_only_prints_stops_when_nobody_reads():
    class Gone(io.StringIO):
        def write(self, text):
            raise BrokenPipeError

    with contextlib.redirect_stdout(Gone()):
        with pytest.raises(BrokenPipeError), streams.replaced(stop_early=True):
            print("text")
        with streams.replaced(stop_early=False) as (out, _):
            print("text")
        assert isinstance(out.failure, BrokenPipeError)


# ---------------------------------------------------------------------------------------------------------- names


@pytest.mark.parametrize(
    "flag, name, says",
    [
        ("-floatfile", "x.cbf", "CBF"), ("-floatfile", "x.h5", "HDF5"), ("-floatfile", "x.NXS", "HDF5"),
        ("-floatfile", "x.tiff", "TIFF"), ("-floatfile", "x.img", "SMV"), ("-floatfile", "x.bin.gz", "compressed"),
        ("-noisefile", "a.cbf", "CBF"), ("-noisefile", "a.bin", "4-byte floats"), ("-intfile", "a.edf", "EDF"),
        ("-pgmfile", "a.png", "PNG"), ("-pngfile", "a.pgm", "PGM"), ("-pngfile", "a.jpg", "JPEG"), ("-dump", "a.hkl", "refl"),
    ],
)  # fmt: skip
def test_a_name_that_says_another_format_is_refused(tmp_path, monkeypatch, capsys, flag, name, says):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "one.hkl").write_text("0 0 1 5\n")
    assert main([*BASE, "-hkl", "one.hkl", flag, name]) == 2
    errors = capsys.readouterr().err
    assert errors.startswith(f"nbnumba: {flag}: {name!r} announces ") and says in errors and "allowed" in errors
    assert names(tmp_path) == {"one.hkl"}


@pytest.mark.parametrize("command", ["refine --data m.img --parameters crystal.a_A --out", "trace --pixel 0 0 --out"])
def test_so_it_is_for_the_files_of_subcommands(tmp_path, monkeypatch, capsys, command):
    monkeypatch.chdir(tmp_path)
    assert main([*BASE, "-noisefile", "m.img"]) == 0
    before = names(tmp_path)
    assert main([*command.split(), "x.h5", "--", *BASE[:-3]]) == 2
    assert "--out: 'x.h5' announces HDF5" in capsys.readouterr().err and names(tmp_path) == before


@pytest.mark.parametrize("name", ["image", "image.raw", "image.001", "image.dat", "a.b.BIN", ".bin"])
def test_names_that_say_nothing_else_pass(name):
    endings.check(name, "-floatfile", "4-byte floats")


@pytest.mark.parametrize("name", ["-", "/dev/stdout", "/dev/fd/1"])
def test_an_image_on_stdout_has_its_text_on_stderr(tmp_path, name):
    done = program([*BASE, "-nonoise", "-nopgm", "-nointfile", "-floatfile", name], tmp_path, capture_output=True)
    assert done.returncode == 0 and len(done.stdout) == 4 * 16 * 16 and names(tmp_path) == set()
    image = nbnumba.simulate(nbnumba.Experiment.from_args([word for word in BASE if word != "-noprogress"]))
    np.testing.assert_array_equal(np.frombuffer(done.stdout, "<f4"), image.ravel().astype("f4"))
    assert b"max_I = " in done.stderr


@pytest.mark.parametrize(
    "more, message",
    [
        ("-floatfile - -intfile /dev/stdout", "is also the -floatfile"),
        ("-floatfile - -intfile x > x", "is also the -floatfile"),
        ("-floatfile - >&-", "is closed"),
        ("-floatfile /dev/stderr", "where messages go"),
        ("-floatfile - >/dev/full", "No space left"),
    ],
)
def test_what_stdout_cannot_be_is_refused(tmp_path, more, message):
    status, errors, _ = shell(f'"$@" {" ".join(BASE)} {more}', tmp_path)
    assert status == 2 and message in errors and names(tmp_path) <= {"x"}
    assert not (tmp_path / "x").exists() or (tmp_path / "x").read_bytes() == b""


# ------------------------------------------------------------------------------------------- what would be ignored


@pytest.mark.parametrize("command", ["explain", "gradcheck"])
@pytest.mark.parametrize("more, message", [("-floatfile x.bin", "-floatfile"), ("-threads 99999", "-threads")])
def test_outputs_and_threads_are_not_ignored_where_nothing_is_written(tmp_path, monkeypatch, capsys, command, more, message):
    monkeypatch.chdir(tmp_path)
    assert main([command, "--", *BASE, *more.split()]) == 2
    assert message in capsys.readouterr().err and names(tmp_path) == set()


def test_the_seed_of_a_random_orientation_is_in_the_trace(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    seeded = BASE.index("-seed")
    flags = [*BASE[:seeded], *BASE[seeded + 2 :], "-misset", "random"]
    assert main(["trace", "--pixel", "3", "4", "--out", "a.txt", "--", *flags]) == 0
    seed = capsys.readouterr().err.split("-misset_seed ")[1].split()[0]
    first, command = (tmp_path / "a.txt").read_text(), (tmp_path / "a.txt.bundle" / bundle.COMMANDS).read_text()
    assert first.splitlines()[0].endswith(f"-misset_seed {seed}") and command.endswith(f"-misset_seed {seed}\n")
    assert main([*command.split()[1:5], "--out", "b.txt", *command.split()[7:]]) == 0
    assert (tmp_path / "b.txt").read_text() == first


# --------------------------------------------------------------------------------------------------- interruptions


def interrupted(args, folder, seconds, **options):
    """Run the program and interrupt it after some time. Returns its status and stderr."""
    environment = os.environ | {"PYTHONPATH": ROOT}
    process = subprocess.Popen(
        [*PROGRAM, *args], cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, **options
    )
    time.sleep(seconds)
    process.send_signal(signal.SIGINT)
    return process.wait(60), process.communicate()[1].decode()


def check_interruption(status, errors, folder):
    """Check that an interrupted run has ended in one of the promised ways."""
    assert "Traceback" not in errors and "Exception ignored" not in errors, errors
    assert status in (0, 130, -signal.SIGINT), errors  # the last is 130 to a shell
    if "nothing written" in errors:
        assert names(folder) == set()
    elif errors == "" and status == -signal.SIGINT:  # Python handled no signals yet, or none any more
        assert names(folder) in (set(), FILES)
    else:
        assert names(folder) == FILES


@pytest.mark.parametrize("seconds", [0.2, 0.35, 0.5])
def test_an_interruption_while_modules_are_imported_is_a_sentence(tmp_path, seconds):
    check_interruption(*interrupted(BASE, tmp_path, seconds), tmp_path)


@pytest.mark.long
def test_interruptions_at_random_times(tmp_path):
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")
    times = random.Random(seed)
    for number in range(60):
        folder = tmp_path / str(number)
        folder.mkdir()
        check_interruption(*interrupted(BASE, folder, times.uniform(0.1, 3.0)), folder)
