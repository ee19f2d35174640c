"""Series that are made: the same bytes whoever makes them, killed or not; what is refused; what files hold."""

import csv
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import nbnumba
from nbnumba import pools
from nbnumba.cli.main import main
from nbnumba.formats import dxtbx
from nbnumba.setup.crystal import orient

h5py = pytest.importorskip("h5py")

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

ROOT = Path(__file__).parents[2]
FLAGS = (
    "-hkl {folder}/P1.hkl -cell 40 40 60 -lambda 1.1 -N 12 -gauss_xtal -mosaic 0.2 -mosaic_domains 5 -distance 80 "
    "-detpixels 120 -pixel 0.4 -oversample 1 -tolerance 0.001 -water 0.5 -fluence 1e27"
)
JITTER = """
[crystal.a_A]
distribution = "normal"
sigma = 0.1
tied = ["crystal.b_A"]

[beam.fluence]
distribution = "lognormal"
sigma = 0.3

[orientation]
distribution = "uniform"
"""
COUNT = 10


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with amplitudes, a jitter file, and a series that one process has made."""
    path = tmp_path_factory.mktemp("series")
    hkl = np.stack(np.mgrid[-8:9, -8:9, -8:9], axis=-1).reshape(-1, 3)
    nbnumba.write_hkl(path / "P1.hkl", hkl, 20.0 + np.sqrt(np.random.default_rng(1).exponential(1.0, len(hkl))) * 200.0)
    (path / "jitter.toml").write_text(JITTER)
    assert main(words(path, "undisturbed", "--workers", "1", "--labels")) == 0
    return path


def words(folder, name, *own, flags="", frames=f"1:{COUNT}"):
    """The command line that makes the series in a folder of that name."""
    options = ["--out", str(folder / name), "--frames", frames, "--jitter", str(folder / "jitter.toml"), "--seed", "3", *own]
    return ["series", *options, "--", *FLAGS.format(folder=folder).split(), "-quiet", *flags.split()]


def sums(path):
    """The digests of all files below a folder, by name."""
    return {
        str(each.relative_to(path)): hashlib.sha256(each.read_bytes()).hexdigest()
        for each in sorted(path.rglob("*"))
        if each.is_file()
    }


def started(args):
    """The program, started in a process and a session of its own."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "NUMBA_NUM_THREADS": "2"}
    command = [sys.executable, "-W", "ignore", "-m", "nbnumba", *args]
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def wait_for_frames(path, count):
    """Wait until so many frames are whole."""
    end = time.monotonic() + 120.0
    while len(list((path / "records").glob("*.json"))) < count:
        assert time.monotonic() < end, "no frames were made"
        time.sleep(0.01)


def processes_of(session):
    """The processes that are alive in a session."""
    alive = []
    for name in os.listdir("/proc"):
        try:
            fields = Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split() if name.isdigit() else []
        except OSError:
            continue
        if fields and int(fields[3]) == session and fields[0] != "Z":
            alive.append(int(name))
    return alive


def wait_for_end(session):
    """Wait until no process is alive in a session; they end by themselves."""
    end = time.monotonic() + 30.0
    while left := processes_of(session):
        assert time.monotonic() < end, f"processes {left} were left behind"
        time.sleep(0.05)


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="the processes of a session are not known here")
def test_killed_and_resumed_it_has_the_bytes_of_an_undisturbed_run(folder):
    """By two processes, killed without a word in the middle; no process is left behind, and resumed by one."""
    program = started(words(folder, "killed", "--workers", "2", "--labels"))
    wait_for_frames(folder / "killed", 3)
    os.kill(program.pid, signal.SIGKILL)
    program.communicate()
    wait_for_end(program.pid)
    whole = len(list((folder / "killed" / "records").glob("*.json")))
    assert 3 <= whole < COUNT and not (folder / "killed" / "SHA256SUMS").exists()
    damaged = sorted((folder / "killed" / "images").glob("*.h5"))[0]
    damaged.write_bytes(damaged.read_bytes()[:-7])
    assert main(words(folder, "killed", "--workers", "1", "--labels", "--resume")) == 0
    assert sums(folder / "killed") == sums(folder / "undisturbed")
    assert main(words(folder, "killed", "--workers", "2", "--labels", "--resume")) == 0  # nothing is left to do
    assert sums(folder / "killed") == sums(folder / "undisturbed")


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="the processes of a session are not known here")
def test_an_interruption_ends_the_workers_and_says_what_is_whole(folder):
    program = started(words(folder, "interrupted", "--workers", "2", "--labels", frames="1:500"))
    wait_for_frames(folder / "interrupted", 2)
    os.kill(program.pid, signal.SIGINT)
    out, err = program.communicate(timeout=60)
    assert program.returncode == 130
    assert "interrupted after" in err and "of 500 frames; the same command with --resume makes the rest" in err
    assert "Traceback" not in err and err.count("interrupted") == 1
    wait_for_end(program.pid)


def test_a_cluster_of_dask_makes_the_same_bytes_also_when_its_client_was_killed(folder):
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(2, threads_per_worker=1, dashboard_address=None) as cluster:
        by_cluster = "--scheduler", cluster.scheduler_address, "--labels"
        program = started(words(folder, "cluster", *by_cluster))
        wait_for_frames(folder / "cluster", 2)
        os.kill(program.pid, signal.SIGKILL)
        program.communicate()
        assert not (folder / "cluster" / "SHA256SUMS").exists()
        assert main(words(folder, "cluster", *by_cluster, "--resume")) == 0
    assert sums(folder / "cluster") == sums(folder / "undisturbed")


def test_any_frame_can_be_made_by_itself(folder):
    assert main(words(folder, "alone", "--labels", frames="7:7")) == 0
    for kind in ("images", "labels"):
        name = f"{kind}/frame_000007.h5"
        assert (folder / "alone" / name).read_bytes() == (folder / "undisturbed" / name).read_bytes()


def test_files_hold_the_frames(folder):
    """Images, labels, the master, the table and the digests are those of nbnumba.frames."""
    path = folder / "undisturbed"
    experiment = nbnumba.Experiment.from_args(FLAGS.format(folder=folder))
    with h5py.File(path / "series.nxs") as file, open(path / "shots.csv", newline="") as stream:
        stack, rows = file["entry/data/data"], list(csv.DictReader(stream))
        assert stack.shape == (COUNT, 120, 120) and len(rows) == COUNT
        wanted = [2, 9]
        for frame in nbnumba.frames(experiment, wanted, jitter=folder / "jitter.toml", seed=3, labels=True):
            np.testing.assert_array_equal(stack[frame.number - 1], frame.pixels.astype(int) - 40)
            row = rows[frame.number - 1]
            assert int(row["frame"]) == frame.number and int(row["noise_seed"]) == frame.noise_seed
            assert {name: float(row[name]) for name in frame.values} == dict(frame.values)
            assert float(row["photons"]) == frame.image.sum()
            with h5py.File(path / row["labels"]) as labels:
                assert sorted(labels) == sorted(frame.labels._fields)
                for name in frame.labels._fields:
                    np.testing.assert_array_equal(labels[name], getattr(frame.labels, name))
                    assert labels[name].attrs["description"]
    stated = dict(line.split("  ")[::-1] for line in (path / "SHA256SUMS").read_text().splitlines())
    assert stated == {name: digest for name, digest in sums(path).items() if not name.startswith(("records", "SHA256SUMS"))}
    factors = nbnumba.StructureFactors.from_mtz(path / "truth.mtz")
    listed = dict(zip(map(tuple, factors.hkl.tolist()), factors.F.tolist()))
    for hkl, amplitude in list(zip(experiment.structure_factors.hkl.tolist(), experiment.structure_factors.F))[::500]:
        assert listed[tuple(hkl)] == np.float32(amplitude)


def test_true_models_are_those_of_each_image(folder):
    path = folder / "undisturbed"
    content = json.loads((path / "truth.expt").read_text())
    assert len(content["experiment"]) == len(content["crystal"]) == len(content["imageset"]) == COUNT
    assert len(content["beam"]) == len(content["detector"]) == 1 and not content["scan"]
    experiment = nbnumba.Experiment.from_args(FLAGS.format(folder=folder))
    for frame in nbnumba.frames(experiment, [1, COUNT], jitter=folder / "jitter.toml", seed=3, noise=False):
        read = nbnumba.Experiment.from_geometry(dxtbx.read(path / "truth.expt", "test", frame.number - 1))
        moved = frame.experiment.crystal, read.crystal
        np.testing.assert_allclose(*(orient(crystal) for crystal in moved), atol=1e-9)
        assert content["imageset"][frame.number - 1]["single_file_indices"] == [frame.number - 1]


@pytest.mark.parametrize("form", ["nxmx", "smv", "cbf"])
def test_a_rotation_is_one_scan(folder, form, tmp_path):
    """Without jitter, of every format: one crystal, a scan of all images; the images are those of each phi, in mid-steps."""
    flags = "-osc 0.5 -phisteps 2 -phi 3 -detpixels_x 487 -detpixels_y 195 -pixel 0.172 -nopgm"
    args = ["series", "--out", str(tmp_path / "rotation"), "--frames", "4:6", "--format", form, "--seed", "3", "--"]
    assert main([*args, *FLAGS.format(folder=folder).split(), *flags.split(), "-quiet"]) == 0
    content = json.loads((tmp_path / "rotation" / "truth.expt").read_text())
    assert len(content["experiment"]) == 1
    [scan] = content["scan"]
    assert scan["oscillation"] == [4.5, 0.5] and scan["image_range"] == ([1, 3] if form == "nxmx" else [4, 6])
    experiment = nbnumba.Experiment.from_args(f"{FLAGS.format(folder=folder)} {flags} -phi_sampling mid")
    [frame] = nbnumba.frames(experiment, [5], seed=3)
    expected = frame.pixels.astype(int)
    if form == "smv":
        read = nbnumba.read_smv(tmp_path / "rotation" / "images" / "frame_000005.img")[0].astype(int)
    elif form == "cbf":
        pytest.importorskip("fabio")
        read = nbnumba.read_image(tmp_path / "rotation" / "images" / "frame_000005.cbf", (195, 487)).astype(int) + 40
    else:
        with h5py.File(tmp_path / "rotation" / "series.nxs") as file:
            read = file["entry/data/data"][1] + 40
            assert file["entry/sample/transformations/phi"][()].tolist() == [4.5, 5.0, 5.5]
    np.testing.assert_array_equal(read, expected)


def test_a_rotation_whose_models_are_equal_is_one_scan_also_with_jitter(folder, tmp_path):
    """Of what no model states: the fluence, and the mosaic spread."""
    table = 'distribution = "lognormal"\nsigma = 0.1\n'
    (tmp_path / "jitter.toml").write_text(f"[beam.fluence]\n{table}[crystal.mosaic_spread_deg]\n{table}")
    args = ["series", "--out", str(tmp_path / "out"), "--frames", "3", "--jitter", str(tmp_path / "jitter.toml"), "--"]
    assert main([*args, *FLAGS.format(folder=folder).split(), "-osc", "1", "-phisteps", "2", "-quiet"]) == 0
    content = json.loads((tmp_path / "out" / "truth.expt").read_text())
    assert len(content["experiment"]) == 1 and content["scan"][0]["image_range"] == [1, 3]


def test_a_rotation_with_jitter_has_an_experiment_for_each_image(folder, tmp_path):
    (tmp_path / "jitter.toml").write_text(
        '[crystal.misset_x_deg]\ndistribution = "normal"\nsigma = 0.1\n'
        '[beam.wavelength_A]\ndistribution = "normal"\nsigma = 0.01\n'
        '[detector.distance_mm]\ndistribution = "normal"\nsigma = 0.1\n'
    )
    args = ["series", "--out", str(tmp_path / "out"), "--frames", "3", "--jitter", str(tmp_path / "jitter.toml"), "--"]
    assert main([*args, *FLAGS.format(folder=folder).split(), "-osc", "1", "-phisteps", "2", "-nonoise", "-quiet"]) == 0
    content = json.loads((tmp_path / "out" / "truth.expt").read_text())
    assert [len(content[name]) for name in ("experiment", "beam", "detector", "crystal", "scan", "goniometer")] == [3] * 5 + [1]
    assert [scan["image_range"] for scan in content["scan"]] == [[1, 1], [2, 2], [3, 3]]
    with h5py.File(tmp_path / "out" / "series.nxs") as file:
        wavelengths = [beam["wavelength"] for beam in content["beam"]]
        assert file["entry/instrument/beam/incident_wavelength"][()].tolist() == wavelengths
        assert file["entry/data/data"].dtype == np.float32


REFUSED = [
    (["--frames", "0:3"], "", "--frames: '0' is not allowed; allowed: A:B, or a number of frames, from 1 to 999999"),
    (["--frames", "5:3"], "", "--frames: '5:3' is not allowed"),
    (["--frames", "5:"], "", "--frames: '5:' is not allowed; allowed: A:B"),
    (["--workers", "0"], "", "--workers: '0' is not allowed; allowed: a whole number of at least 1"),
    (["--workers", "2", "--scheduler", "x"], "", "--workers and --scheduler are both given"),
    (["--seed", "9223372036854775809"], "", "--seed: 9223372036854775809 is not allowed"),
    (["--seed", "-1"], "", "--seed: '-1' is not allowed; allowed: a whole number from 0"),
    (["--jitter", "no.toml"], "", "--jitter: no such file 'no.toml'"),
    (["--format", "tif"], "", "invalid choice: 'tif'"),
    (["--format", "smv"], "-nonoise", "--format: smv holds counts, and there is no noise"),
    (["--format", "cbf"], "", "no PILATUS or EIGER has 120 x 120 pixels"),
    ([], "-floatfile x.bin", "-floatfile: 'x.bin' names a file to be written"),
    ([], "-misset random", "-misset: random is not the same when a series is resumed"),
    ([], "-adc 0.5", "adc: 0.5 is not allowed with format nxmx"),
    (["--labels"], "-c_parity water_scale", "-c_parity: water_scale is not allowed with labels"),
    ([], "-max_hours 1e-9", "the image has|--frames: "),
    ([], "-curved_det", "curved"),
]


@pytest.mark.parametrize(("own", "flags", "says"), REFUSED, ids=[says[:40] for _, _, says in REFUSED])
def test_what_cannot_be_made_is_refused_before_anything_is_written(folder, tmp_path, monkeypatch, capsys, own, flags, says):
    monkeypatch.chdir(tmp_path)
    args = ["series", "--out", "new", *own, "--", *FLAGS.format(folder=folder).split(), *flags.split()]
    assert main(args) == 2
    said = [line for line in capsys.readouterr().err.splitlines() if "warning" not in line]
    assert len(said) == 1
    assert re.search(says, said[0]), said[0]
    assert not (tmp_path / "new").exists() or not any((tmp_path / "new").rglob("*.h5"))


@pytest.mark.parametrize(
    ("own", "flags", "says"),
    [
        ([], "", "is not empty; allowed: a new or an empty folder, or --resume"),
        (["--resume", "--seed", "4"], "", "has seed 3, and this one 4"),
        (["--resume", "--frames", "1:11"], "", r"has frames \[1, 10\], and this one \[1, 11\]"),
        (["--resume"], "-water 3", "has another experiment"),
        (["--resume"], "-adc 30", "has another readout"),
        (["--resume", "--format", "smv"], "", "has format 'nxmx', and this one 'smv'"),
    ],
)
def test_a_folder_with_another_series_is_refused(folder, capsys, own, flags, says):
    before = sums(folder / "undisturbed")
    assert main(words(folder, "undisturbed", "--labels", *own, flags=flags)) == 2
    assert re.search(says, capsys.readouterr().err)
    assert sums(folder / "undisturbed") == before


def test_another_jitter_or_no_labels_are_another_series(folder, tmp_path, capsys):
    args = words(folder, "undisturbed", "--resume")
    assert main(args) == 2 and "has labels True, and this one False" in capsys.readouterr().err
    (tmp_path / "other.toml").write_text(JITTER.replace("0.3", "0.4"))
    args = words(folder, "undisturbed", "--labels", "--resume", "--jitter", str(tmp_path / "other.toml"))
    assert main(args) == 2 and "has another jitter" in capsys.readouterr().err
    (tmp_path / "same.toml").write_text("# the same by its content\n" + JITTER)
    assert main(words(folder, "undisturbed", "--labels", "--resume", "--jitter", str(tmp_path / "same.toml"))) == 0


def test_a_folder_without_a_series_is_not_resumed(tmp_path, folder, capsys):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    assert main(words(tmp_path, "mine", "--resume")) == 2
    args = ["series", "--out", str(tmp_path / "mine"), "--resume", "--", *FLAGS.format(folder=folder).split()]
    assert main(args) == 2
    assert "no such file" in capsys.readouterr().err and os.listdir(tmp_path / "mine") == ["notes.txt"]


def test_a_scheduler_that_does_not_answer_is_named(folder, tmp_path, capsys, monkeypatch):
    pytest.importorskip("distributed")
    monkeypatch.setattr(pools, "CONNECTION_SECONDS", 1)
    assert main(words(folder, "nobody", "--scheduler", "tcp://127.0.0.1:9")) == 2
    assert "--scheduler: 'tcp://127.0.0.1:9' does not answer" in capsys.readouterr().err


def test_workers_without_this_program_are_named(folder, tmp_path, capsys):
    """Of a cluster whose processes find another package of that name."""
    distributed = pytest.importorskip("distributed")
    (tmp_path / "nbnumba").mkdir()
    (tmp_path / "nbnumba" / "__init__.py").write_text("raise ImportError('another package')\n")
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    words_of_scheduler = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--port", "0", "--no-dashboard"]
    scheduler = ["--scheduler-file", str(tmp_path / "scheduler.json")]
    worker = [
        sys.executable,
        "-m",
        "distributed.cli.dask_worker",
        *scheduler,
        "--nthreads",
        "1",
        "--no-dashboard",
        "--no-nanny",
    ]
    quiet = {"env": environment, "cwd": tmp_path, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    processes = [subprocess.Popen([*words_of_scheduler, *scheduler], **quiet), subprocess.Popen(worker, **quiet)]
    try:
        end = time.monotonic() + 60.0
        while not (tmp_path / "scheduler.json").exists() and time.monotonic() < end:
            time.sleep(0.05)
        assert distributed.__version__
        assert main(words(folder, "foreign", "--scheduler", str(tmp_path / "scheduler.json"))) == 2
        said = capsys.readouterr().err
        assert re.search(r"--scheduler: '.*scheduler.json': work was not done: .*; allowed: workers with nbnumba", said), (
            said
        )
    finally:
        for process in processes:
            process.kill()
            process.wait()


def test_without_dask_a_scheduler_is_refused(folder, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    assert main(words(folder, "none", "--scheduler", "tcp://127.0.0.1:9")) == 2
    assert "--scheduler needs the package distributed" in capsys.readouterr().err


def test_bytes_do_not_depend_on_when_datasets_are_closed(folder, tmp_path, monkeypatch):
    """HDF5 gives a chunk its place when it is written, at the latest when its dataset is closed, which Python may do late."""
    held = []
    for name in ("create_dataset", "create_group"):
        original = getattr(h5py.Group, name)

        def holding(*args, original=original, **keywords):
            held.append(original(*args, **keywords))
            return held[-1]

        monkeypatch.setattr(h5py.Group, name, holding)
    assert main(words(folder, "held", "--workers", "1", "--labels")) == 0
    assert held and sums(folder / "held") == sums(folder / "undisturbed")


def test_without_h5py_labels_and_masters_are_refused(folder, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    assert main(words(folder, "none", "--format", "smv", "--labels")) == 2
    assert "labels needs the package h5py, which is not installed" in capsys.readouterr().err
    assert main(words(folder, "none")) == 2
    assert "series needs the package h5py" in capsys.readouterr().err


def test_two_processes_cannot_make_one_series(folder, capsys):
    import fcntl

    lock = folder / "undisturbed" / "records" / "lock"
    with open(lock, "wb") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        assert main(words(folder, "undisturbed", "--labels", "--resume")) == 2
    assert "another process is making the series" in capsys.readouterr().err
    lock.unlink()


def test_python_makes_what_the_command_makes(folder, tmp_path):
    experiment = nbnumba.Experiment.from_args(FLAGS.format(folder=folder))
    told, done = [], []
    estimate = nbnumba.make_series(
        tmp_path / "python", experiment, COUNT, jitter=folder / "jitter.toml", seed=3, labels=True, workers=1,
        told=told.append, progress=lambda *frames: done.append(frames),
    )  # fmt: skip
    assert told == [estimate] and estimate.frames == COUNT and estimate.whole == 0 and estimate.seconds > 0.0
    assert done == [(number, COUNT) for number in range(1, COUNT + 1)]
    assert sums(tmp_path / "python") == sums(folder / "undisturbed")
