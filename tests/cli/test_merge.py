"""The subcommand merge: shots that `nbnumba series` made, with a spoiled start, by processes and by dask; what it refuses."""

import csv
import fcntl
import io
import json
import os
import shutil
import subprocess
import sys
import time
from contextlib import redirect_stdout
from pathlib import Path

import gemmi
import numpy as np
import pytest
import shots_problem as problem

from adjoint import merge
from nbnumba import Experiment, StructureFactors, read_geometry, write_expt
from nbnumba.cli.main import main
from nbnumba.cli.merge import main as merge_main
from nbnumba.cli.merge import parser
from nbnumba.cli.merging.shots import read_shots
from nbnumba.errors import InputError

SPOTS = "-N_abc 28 22 19 -gauss_xtal -oversample 1 -dispersion 0.2 -dispsteps 8 -mosaic_domains 20 -mosaic_sampling sobol "
SPOTS += "-nointerpolate -fluence 1e26 "
FRAMES = 10
JITTER = """
[orientation]
distribution = "uniform"
[crystal.scale]
distribution = "uniform"
low = 0.3
high = 3.0
[crystal.a_A]
distribution = "normal"
sigma = 0.016
"""

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def shots(tmp_path_factory):
    """A folder with a series of stills, and start.expt, in which they are 0.1 degrees and 0.3 % off; the true amplitudes."""
    folder = tmp_path_factory.mktemp("shots")
    model = problem.write_coordinates(folder / "model.pdb", 3)
    (folder / "jitter.toml").write_text(JITTER)
    amplitudes = StructureFactors.from_coordinates(model, 1.9, energy_eV=12398.42 / problem.WAVELENGTH_A, solvent=False)
    amplitudes.to_mtz(folder / "true.mtz")
    flags = f"-mtz {folder / 'true.mtz'} -lambda {problem.WAVELENGTH_A} -distance 50 -detpixels 300 -pixel 0.25 -mosaic 0.15 "
    flags += f"{SPOTS} -water 0.0001 -quiet"
    options = ["--out", str(folder / "made"), "--frames", str(FRAMES), "--jitter", str(folder / "jitter.toml")]
    assert main(["series", *options, "--workers", "1", "--", *flags.split()]) == 0
    listed = json.loads((folder / "made" / "truth.expt").read_text())
    problem.spoil(listed, np.random.default_rng(4))
    (folder / "made" / "start.expt").write_text(json.dumps(listed))
    return folder, amplitudes


def words(folder, *options, flags=""):
    start = ["merge", "--shots", str(folder / "made" / "start.expt"), "--resolution", "2.3"]
    return [*start, *options, "--", *SPOTS.split(), "-mosaic", "0.12", *flags.split()]


@pytest.fixture(scope="module")
def merged(shots, tmp_path_factory):
    """The files that it leaves, made in this process, and what it prints."""
    place = tmp_path_factory.mktemp("merged")
    options = ["--out", str(place / "merged.mtz"), "--report", str(place / "report"), "--workers", "1", "--anomalous"]
    with redirect_stdout(io.StringIO()) as printed:
        assert main(words(shots[0], *options)) == 0
    return place, printed.getvalue()


def test_amplitudes_are_the_true_ones(shots, merged):
    mtz = gemmi.read_mtz_file(str(merged[0] / "merged.mtz"))
    assert mtz.spacegroup.xhm() == problem.GROUP
    labels = [column.label for column in mtz.columns]
    values = [f"{kind}{mate}" for kind in "FI" for mate in ("", "(+)", "(-)")]
    assert set(labels) == {"H", "K", "L", "SHOTS", *values, *(f"SIG{value}" for value in values)}
    listed = shots[1]
    known = dict(zip(map(tuple, listed.hkl.tolist()), np.abs(listed.F).tolist()))
    hkl = mtz.make_miller_array()
    several = np.array(mtz.column_with_label("SHOTS").array) >= 2
    for label, sign in (("F(+)", 1), ("F(-)", -1)):
        F = np.array(mtz.column_with_label(label).array)
        use = np.isfinite(F) & several
        truth = np.array([known[tuple(one)] for one in (sign * hkl[use]).tolist()])
        correlation, r, _ = problem.compared(F[use].astype(float), truth)
        assert use.sum() > 50 and correlation > 0.99 and r < 0.05


def test_models_and_tables(shots, merged):
    with open(merged[0] / "merged.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == FRAMES and {row["used"] for row in rows} == {"1"}
    true = [read_geometry(shots[0] / "made" / "truth.expt", n) for n in range(FRAMES)]
    found, began = ([read_geometry(path, n) for n in range(FRAMES)] for path in (
        merged[0] / "merged.expt", shots[0] / "made" / "start.expt"
    ))  # fmt: skip
    for before, after, right in zip(began, found, true):
        off = [np.abs(one.crystal.vectors - right.crystal.vectors).max() for one in (before, after)]
        assert off[1] < 0.2 * off[0]
    summary = json.loads((merged[0] / "merged.json").read_text())
    assert summary["success"] and summary["shots"] == FRAMES and summary["friedel_apart"] and not summary["left_out"]
    assert summary["shells"][-1]["cc_half"] > 0.97  # of ten shots, few reflections are in both halves
    # One bright reflection that was left at the least amplitude, at which it seemed unknown, would make this 10.
    assert summary["chi_squared"] < 1.5 and not summary["diagnosis"]
    assert sorted(os.listdir(merged[0] / "report")) == ["agreement.png", "coverage.png", "halves.png", "index.html"]
    assert "CC1/2" in (merged[0] / "report" / "index.html").read_text()


def test_what_is_printed(merged):
    place, out = merged
    assert "space group   P 21 21 21   [the lists]" in out and "mates         apart   [--anomalous]" in out
    assert f"pass 0: {FRAMES} shots" in out and "R_split" in out and f"wrote {place / 'merged.mtz'}" in out


def content(path):
    """What an MTZ file holds, as text that says which numbers differ."""
    return np.array(gemmi.read_mtz_file(str(path)).array)


@pytest.mark.long
def test_processes_and_a_killed_run_give_the_same(shots, merged, tmp_path):
    """Killed in the middle, and gone on with by two processes."""
    work, out = tmp_path / "work", tmp_path / "m.mtz"
    command = [sys.executable, "-m", "nbnumba", *words(shots[0], "--anomalous", "--out", str(out), "--work", str(work))]
    separator = command.index("--")
    command[separator:separator] = ["--workers", "2"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 120.0
    while not list(work.glob("pass_002/*.block")) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.kill()
    process.wait()
    assert list(work.glob("pass_*/*.block")) and not out.exists()
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "pass 0:" not in done.stdout
    np.testing.assert_array_equal(content(out), content(merged[0] / "merged.mtz"))


@pytest.mark.long
def test_dask_gives_the_same(shots, merged, tmp_path):
    distributed = pytest.importorskip("distributed", reason="distributed is not installed")
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=True, dashboard_address=":0", local_directory=str(tmp_path)
    ) as cluster:
        options = ["--anomalous", "--out", str(tmp_path / "m.mtz"), "--work", str(tmp_path / "work")]
        assert main(words(shots[0], *options, "--scheduler", cluster.scheduler_address)) == 0
    np.testing.assert_array_equal(content(tmp_path / "m.mtz"), content(merged[0] / "merged.mtz"))


@pytest.mark.parametrize(
    "options, sentence",
    [
        (["--out", "m.hkl"], "--out: 'm.hkl' is not allowed; allowed: a name that ends in .mtz"),
        (["--out", "none/m.mtz"], "--out: cannot write 'none/m.mtz': no such directory"),
        (["--out", "m.mtz", "--space-group", "P 9"], "--space-group: 'P 9' is not known"),
        (["--out", "m.mtz", "--resolution", "0"], "--resolution: '0' is not allowed; allowed: a number from 0.1"),
        (["--out", "m.mtz", "--parameters", "crystal.a_A"], "--parameters: crystal.scale is not among them"),
        (["--out", "m.mtz", "--parameters", "nonsense"], "--parameters: 'nonsense' is no parameter"),
        (["--out", "m.mtz", "--workers", "0"], "--workers: '0' is not allowed"),
        (["--out", "m.mtz", "--workers", "2", "--scheduler", "x"], "--workers: it is not allowed beside --scheduler"),
        (["--out", "m.mtz", "--scheduler", "x"], "--scheduler: there is no --work; allowed: beside --work DIR"),
        (["--out", "m.mtz", "--cell", "cubical"], "--cell: "),
        (["--out", "m.mtz", "--cell", "cubic"], "--cell: crystal.a_A = 16."),
        (
            ["--out", "m.mtz", "--space-group", "P 21 3", "--cell", "orthorhombic"],
            "--space-group: P 21 3 is not that of a cell of 16.",
        ),
        (["--out", "m.mtz", "--space-group", "P 3"], "--space-group: P 3 is not that of a cell of 16."),
        (["--out", "m.mtz", "--resolution", "0.1"], "--resolution: 0.1 is not allowed; allowed: 0.345 or more"),
        (["--out", "m.mtz", "--resolution", "100"], "--resolution: 100 is not allowed: it has no reflection"),
        (["--out", "m.mtz", "--work", __file__], "--work: work cannot be kept in "),
        (["--out", "m.mtz", "--work", os.path.dirname(__file__)], "--work: "),
        (["--out", "m.mtz", "--data", "one.img"], "--data: 1 files are named for 10 stills"),
        (["--out", "m.mtz", "--readout-noise", "-1"], "--readout-noise: '-1' is not allowed"),
        (["--out", "m.mtz", "--bounds", "1"], "merge: '--bounds' is no option of it"),
    ],
)
def test_what_is_refused(shots, tmp_path, monkeypatch, capsys, options, sentence):
    monkeypatch.chdir(tmp_path)
    assert main(words(shots[0], *options)) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith(f"nbnumba: {sentence}"), error
    assert not os.listdir(tmp_path)


def test_work_that_is_not_its_own(shots, tmp_path, monkeypatch, capsys):
    """A folder of something else, of a damaged work, of images that were written again, and one that is in use."""
    monkeypatch.chdir(tmp_path)
    work = tmp_path / "work"
    options = ["--out", "m.mtz", "--work", str(work), "--workers", "1"]

    def refused(*more):
        assert main(words(shots[0], *options, *more)) == 2
        return capsys.readouterr().err.strip().splitlines()[-1]

    work.mkdir()
    (work / "mine.txt").write_text("")
    assert "it holds 'mine.txt', which is of no work; allowed: an empty one" in refused() and os.listdir(work) == ["mine.txt"]
    (work / "mine.txt").unlink()
    with open(work / "lock", "wb") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        assert "--work: another process works in" in refused()
    (work / "state.json").write_text("{")
    assert "its state.json is damaged; allowed: an empty one" in refused()
    (work / "state.json").unlink()
    monkeypatch.setattr(merge._Work, "make_pass", stop)
    for _ in range(2):
        assert merge_main(words(shots[0], *options)[1:]) == 130
        assert "interrupted; the same command goes on with what is in" in capsys.readouterr().err
    assert "it holds the work on other shots, or with other arguments" in refused("--saturation", "60000")
    image = shots[0] / "made" / "series.nxs"
    before = os.stat(image)
    os.utime(image, ns=(before.st_atime_ns, before.st_mtime_ns + 10**9))
    try:
        assert "it holds the work on other shots" in refused()
    finally:
        os.utime(image, ns=(before.st_atime_ns, before.st_mtime_ns))


def stop(self):
    raise KeyboardInterrupt


def test_lists_that_are_wrong(shots, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    folder, _ = shots
    for given, sentence in (
        (["none.expt"], "--shots: no such file 'none.expt'"),
        ([str(folder / "model.pdb")], "--shots: "),
        ([str(folder / "made" / "start.expt")] * 2, "--shots: a list is named twice"),
    ):
        assert main(["merge", "--shots", *given, "--out", "m.mtz"]) == 2
        assert capsys.readouterr().err.splitlines()[-1].startswith(f"nbnumba: {sentence}")
    copy = tmp_path / "copy"
    shutil.copytree(folder / "made", copy)
    assert main(["merge", "--shots", str(copy / "start.expt"), "--out", str(copy / "start.mtz")]) == 2
    assert "is also a file that is read" in capsys.readouterr().err
    listed = json.loads((copy / "start.expt").read_text())
    listed["crystal"][3]["space_group_hall_symbol"] = " P 1"
    (copy / "other.expt").write_text(json.dumps(listed))
    assert main(["merge", "--shots", str(copy / "other.expt"), "--out", "m.mtz"]) == 2
    assert "crystals have the space groups" in capsys.readouterr().err
    listed = json.loads((copy / "start.expt").read_text())
    for axis in "abc":
        listed["crystal"][3][f"real_space_{axis}"] = [-x for x in listed["crystal"][3][f"real_space_{axis}"]]
    (copy / "hand.expt").write_text(json.dumps(listed))
    assert main(["merge", "--shots", str(copy / "hand.expt"), "--out", "m.mtz"]) == 2
    assert "experiment 3 of" in (said := capsys.readouterr().err) and "of a left-handed cell; allowed: right-handed" in said
    listed = json.loads((copy / "start.expt").read_text())
    listed["experiment"][4] = listed["experiment"][2]
    (copy / "twice.expt").write_text(json.dumps(listed))
    assert main(["merge", "--shots", str(copy / "twice.expt"), "--out", "m.mtz"]) == 2
    assert "experiment 2, series.nxs#2 once more, the same crystal on the same image; allowed" in capsys.readouterr().err
    assert os.listdir(tmp_path) == ["copy"] and Path("copy").is_dir()


def rotation(folder, misset):
    """The list of a rotation of three images, whose files are there, in a folder; and what it contains."""
    folder.mkdir()
    words = f"-cell 16 20 24 90 90 90 -misset {misset} -default_F 1 -N 10 -lambda 1.3 -distance 50 -detpixels 100 -pixel 0.2"
    first = Experiment.from_args([*words.split(), "-osc", "0.5"])
    series = [first.replace({"goniometer.phi_deg": 0.5 * number}) for number in range(3)]
    names = [folder / f"image_{number:03d}.img" for number in (1, 2, 3)]
    for name in names:
        name.touch()
    write_expt(folder / "integrated.expt", series, names)
    return folder / "integrated.expt", json.loads((folder / "integrated.expt").read_text())


def both_rotations(tmp_path):
    """Two lists of a rotation each, and a third with both, such as DIALS writes."""
    (first, one), (second, two) = rotation(tmp_path / "one", "10 20 30"), rotation(tmp_path / "two", "40 50 60")
    together = {kind: [*models, *two[kind]] if isinstance(models, list) else models for kind, models in one.items()}
    for kind, number in together["experiment"][1].items():
        if isinstance(number, int):
            together["experiment"][1][kind] = number + len(one[kind])
    for imageset in together["imageset"]:
        imageset["template"] = os.path.join(tmp_path, imageset["template"])
    for imageset, list_ in zip(together["imageset"], (first, second)):
        imageset["template"] = str(list_.parent / os.path.basename(imageset["template"]))
    (tmp_path / "scaled.expt").write_text(json.dumps(together))
    return first, second, tmp_path / "scaled.expt"


def test_rotations_are_all_taken_from_one_list_and_from_several_of_one_name(tmp_path):
    """Each image is a shot with the crystal and the phi of its own, and a name that no other has."""
    first, second, both = both_rotations(tmp_path)
    for lists in ((first, second), (both,)):
        shots = read_shots(parser().parse_args(["--shots", *map(str, lists), "--out", "m.mtz"]), [])
        assert [experiment.goniometer.phi_deg for experiment in shots.experiments] == [0.0, 0.5, 1.0] * 2
        assert [source.file for source in shots.sources] == [
            str(one.parent / f"image_{number:03d}.img") for one in (first, second) for number in (1, 2, 3)
        ]
        assert len({source.name for source in shots.sources}) == 6
        turned = [np.array(experiment.crystal.orientation) for experiment in shots.experiments]
        assert not np.allclose(turned[0], turned[3]) and np.allclose(turned[0], turned[2])


def test_lists_of_rotations_that_are_wrong(tmp_path):
    first, second, both = both_rotations(tmp_path)
    listed = json.loads(both.read_text())
    listed["experiment"][1].pop("scan")
    (tmp_path / "mixed.expt").write_text(json.dumps(listed))
    for lists, data, sentence in (
        ([both], ["--data", "a_###.img"], r"--data: .* has 2 rotations"),
        ([first, second], ["--data", "a_###.img"], r"--data: it is not allowed, because 2 lists"),
        ([tmp_path / "mixed.expt"], [], r"--shots: experiment 1 of .* is a still, and others are rotations"),
    ):
        options = parser().parse_args(["--shots", *map(str, lists), "--out", "m.mtz", *data])
        with pytest.raises(InputError, match=sentence):
            read_shots(options, [])
