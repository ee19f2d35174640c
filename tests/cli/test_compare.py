"""nbnumba compare: our image against that of another program, which is here a few lines of Python."""

import json
import shlex
import subprocess
import sys

import geometry_files
import numpy as np
import pytest
from PIL import Image

from nbnumba import Experiment, simulate
from nbnumba.cli.compare import (
    BELOW_THRESHOLD,
    DIFFERENT_SHAPES,
    averaged,
    correlation,
    inferred_shape,
    reference_flags,
)
from nbnumba.cli.main import main

FLAGS = shlex.split(
    "-cell 70 80 90 75 85 95 -lambda 1.2 -N 5 -distance 60 -detpixels_x 48 -detpixels_y 32 -oversample 1"
)
FLAGS += shlex.split("-nointerpolate -default_F 50")

PROGRAM = """#!{python}
import json, os, sys
import numpy as np
image = np.load({image!r})
print("fake program")
seen = dict(words=sys.argv[1:], threads=os.environ.get("OMP_NUM_THREADS"), cwd=os.getcwd(), found=os.listdir())
with open({seen!r}, "w") as stream:
    json.dump(seen, stream)
open("dropping.bin", "w").close()
{more}
image.astype("<f4").tofile(sys.argv[sys.argv.index("-floatfile") + 1])
"""

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


@pytest.fixture
def ours():
    """Our image of FLAGS."""
    return simulate(Experiment.from_args(FLAGS)).astype(np.float32)


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A function that compares with a program that writes an image.

    It returns the exit status, the summary, and the program's input.
    """
    monkeypatch.chdir(tmp_path)

    def act(image, *options, flags=FLAGS, more=""):
        np.save(tmp_path / "image.npy", image)
        program = tmp_path / "fake"
        paths = {"image": str(tmp_path / "image.npy"), "seen": str(tmp_path / "seen.json")}
        program.write_text(PROGRAM.format(python=sys.executable, more=more, **paths))
        program.chmod(0o755)
        status = main(["compare", "--reference-bin", str(program), "--outdir", "out", *options, "--", *flags])
        summary = tmp_path / "out" / "summary.json"
        seen = tmp_path / "seen.json"
        return status, *(json.loads(path.read_text()) if path.exists() else None for path in (summary, seen))

    return act


def test_equal_images(run, ours):
    status, summary, _ = run(ours)
    assert status == summary["exit_status"] == 0
    assert summary["correlation"] == 1.0 and summary["rmse"] == summary["largest_difference"] == 0.0
    assert summary["sum_ratio"] == 1.0 and summary["sum_ours"] == pytest.approx(ours.sum(dtype=float))
    assert summary["reference_seconds"] > 0.0 and summary["ours_seconds"] > 0.0
    assert summary["shape_ours"] == summary["shape_reference"] == [32, 48] and summary["roi"] == [0, 47, 0, 31]


def test_figures(run, ours):
    other = ours.astype(float) * 1.25
    other[3, 7] += 2 * ours.max()
    reference = other.astype(np.float32).astype(float)
    status, summary, _ = run(other, "--threshold", "0.1")
    delta = ours - reference
    assert status == 0
    assert summary["correlation"] == pytest.approx(np.corrcoef(ours.ravel(), reference.ravel())[0, 1], rel=1e-12)
    assert summary["rmse"] == pytest.approx(np.sqrt(np.mean(delta**2)), rel=1e-12)
    assert summary["largest_difference"] == pytest.approx(np.abs(delta).max(), rel=1e-12)
    assert summary["largest_difference_at"] == [3, 7]
    assert summary["sum_ratio"] == pytest.approx(ours.sum(dtype=float) / reference.sum(), rel=1e-12)


def test_threshold(run, ours):
    noisy = ours + np.random.default_rng(1).normal(0, ours.std(), ours.shape)
    expected = np.corrcoef(ours.ravel(), noisy.astype(np.float32).ravel())[0, 1]
    assert 0.5 < expected < 0.9
    assert run(noisy)[0] == BELOW_THRESHOLD
    assert run(noisy, "--threshold", str(expected + 1e-6))[0] == BELOW_THRESHOLD
    assert run(noisy, "--threshold", str(expected - 1e-6))[0] == 0


def test_an_image_that_is_not_a_number_passes_no_threshold(run, ours):
    spoilt = ours.copy()
    spoilt[1, 2] = np.nan
    status, summary, _ = run(spoilt, "--threshold", "-1")
    assert (status, summary["correlation"], summary["largest_difference_at"]) == (BELOW_THRESHOLD, None, [1, 2])
    assert run(np.zeros_like(ours), "--threshold", "-1")[0] == BELOW_THRESHOLD


@pytest.mark.parametrize("place", ["option", "flags"])
def test_only_the_region_counts(run, ours, place):
    """Pixels outside the region do not matter, and the position of the largest difference is one of the whole image."""
    other = ours.copy()
    other[:5] = 1e6
    other[20, 30] *= 2
    roi = ["10", "40", "6", "25"]
    status, summary, _ = run(other, "--roi", *roi) if place == "option" else run(other, flags=[*FLAGS, "-roi", *roi])
    inside = np.s_[6:26, 10:41]
    assert summary["roi"] == [10, 40, 6, 25] and summary["largest_difference_at"] == [20, 30]
    assert summary["correlation"] == pytest.approx(
        np.corrcoef(ours[inside].ravel(), other[inside].ravel())[0, 1], rel=1e-9
    )
    assert summary["sum_ours"] == pytest.approx(ours[inside].sum(dtype=float))


def test_the_program_gets_the_flags_and_an_empty_directory(run, ours, tmp_path):
    (tmp_path / "P1.hkl").write_text("0 0 1 50\n1 0 0 60\n")
    extra = [
        "-hkl",
        "P1.hkl",
        "-c_parity",
        "phi_carryover",
        "water_scale",
        "-c_threads",
        "3",
        "-threads",
        "1",
        "-tolerance",
        "1e-3",
        "-noprogress",
    ]
    _, _, seen = run(ours, flags=[*FLAGS, *extra])
    assert seen["words"] == [*FLAGS, "-hkl", str(tmp_path / "P1.hkl"), "-noprogress", "-floatfile", "reference.bin"]
    assert seen["threads"] == "3" and seen["found"] == []
    assert seen["cwd"] != str(tmp_path) and not (tmp_path / "dropping.bin").exists()
    assert run(ours)[2]["threads"] == "1"


def test_flags_stay_as_they_were_spelled():
    flags = shlex.split(
        "-misset random -cell 70 80 -N 5 -c_parity -lambda 1.20 -wave 1e0 -roi 0 1 2 3 -misset 1 2 3 -progress"
    )
    assert reference_flags(flags) == [word for word in flags if word != "-c_parity"]


def test_other_shapes(run, ours, tmp_path):
    for image, shape in (
        (ours[:, :-1], None),
        (np.repeat(np.repeat(ours, 2, 0), 2, 1), [64, 96]),
        (ours[::4, ::4], [8, 12]),
    ):
        status, summary, _ = run(image)
        assert (status, summary["exit_status"]) == (DIFFERENT_SHAPES, DIFFERENT_SHAPES)
        assert summary["shape_reference"] == shape and summary["correlation"] is None
        assert np.fromfile(tmp_path / "out" / "reference.bin", "<f4").size == image.size
    status, summary, _ = run(ours[:, :-1], "--resample")
    assert (status, summary["resampled"]) == (DIFFERENT_SHAPES, None)


def test_resampled_to_the_smaller_shape(run, ours):
    fine = np.repeat(np.repeat(ours, 2, 0), 2, 1)
    fine[::2] *= 0.5
    fine[1::2] *= 1.5
    status, summary, _ = run(fine, "--resample")
    assert (status, summary["resampled"]) == (0, "reference averaged from (64, 96) to (32, 48)")
    assert summary["sum_ratio"] == pytest.approx(1.0, rel=1e-6)
    coarse = ours.reshape(16, 2, 24, 2).mean((1, 3))
    status, summary, _ = run(coarse, "--resample", "--roi", "2", "5", "7", "9")
    assert (status, summary["resampled"]) == (0, "ours averaged from (32, 48) to (16, 24)")
    assert summary["roi"] == [1, 2, 3, 4]
    assert summary["sum_reference"] == pytest.approx(coarse[3:5, 1:3].sum(), rel=1e-6)


def test_shapes_that_fit_a_number_of_pixels():
    assert inferred_shape(48 * 32, (32, 48)) == (32, 48)
    assert inferred_shape(48 * 32 * 9, (32, 48)) == (96, 144)
    assert inferred_shape(48 * 32 / 16, (32, 48)) == (8, 12)
    assert inferred_shape(48 * 32 / 9, (32, 48)) is None
    assert inferred_shape(48 * 32 * 2, (32, 48)) is None
    assert inferred_shape(48 * 32 + 0.25, (32, 48)) is None
    assert inferred_shape(0, (32, 48)) is None
    assert averaged(np.arange(8.0).reshape(2, 4), (1, 2)).tolist() == [[2.5, 4.5]]


def test_correlation_of_images_without_contrast():
    flat = np.ones((3, 4))
    assert correlation(flat, flat) == 1.0
    assert correlation(flat, 2 * flat) is None
    assert correlation(flat, np.arange(12.0).reshape(3, 4)) is None


def test_bundle(run, ours, tmp_path):
    (tmp_path / "P1.hkl").write_text("0 0 1 50\n")
    run(ours + 1, "--save-diff", flags=[*FLAGS, "-hkl", "P1.hkl"])
    directory = tmp_path / "out"
    names = [
        "both.png", "commands.txt", "difference.bin", "difference.png", "environment.json", "ours.bin", "ours.png",
        "reference.bin", "reference.log", "reference.png", "summary.json",
    ]  # fmt: skip
    assert sorted(path.name for path in directory.iterdir()) == ["SHA256SUMS", *names]
    inputs = [str(tmp_path / "fake"), str(tmp_path / "P1.hkl")]
    assert sorted(line.split("  ")[1] for line in (directory / "SHA256SUMS").read_text().splitlines()) == sorted(
        names + inputs
    )
    assert subprocess.run(["sha256sum", "--quiet", "-c", "SHA256SUMS"], cwd=directory, check=False).returncode == 0
    assert (directory / "reference.log").read_text() == "fake program\n"
    reference, mine, delta = (
        np.fromfile(directory / f"{name}.bin", "<f4") for name in ("reference", "ours", "difference")
    )
    assert np.array_equal(reference, (ours + 1).ravel()) and np.array_equal(delta, mine - reference)
    sizes = [Image.open(directory / f"{name}.png").size for name in ("reference", "ours", "both")]
    assert sizes == [(48, 32), (48, 32), (98, 32)]
    commands = (directory / "commands.txt").read_text().splitlines()
    assert commands[0].startswith("nbnumba compare --reference-bin ") and commands[0].endswith("-hkl P1.hkl")
    assert (
        f"OMP_NUM_THREADS=1 {inputs[0]} " in commands[1] and f"-hkl {inputs[1]} -floatfile reference.bin" in commands[1]
    )


def test_without_save_diff_there_is_no_difference(run, ours, tmp_path):
    run(ours)
    assert not list((tmp_path / "out").glob("difference*"))


def test_our_image_is_what_the_third_command_makes(run, ours, tmp_path):
    run(ours)
    *_, line = (tmp_path / "out" / "commands.txt").read_text().splitlines()
    assert main([*shlex.split(line)[1:], "-nonoise", "-nopgm", "-nointfile"]) == 0
    assert (tmp_path / "ours.bin").read_bytes() == (tmp_path / "out" / "ours.bin").read_bytes()


@pytest.mark.parametrize(
    "options, flags, more, sentence",
    [
        ([], [], "sys.exit(7)", "ended with status 7, having printed 'fake program' last"),
        ([], [], "sys.exit(0)", "wrote no -floatfile"),
        ([], ["-floatfile", "x.bin"], "", "-floatfile: 'x.bin' names a file to be written"),
        ([], ["-hkl", "P1.hkl", "-dump", "x.bin"], "", "-dump: 'x.bin' names a file to be written"),
        (["--threshold", "2"], [], "", "--threshold: '2'"),
        (["--roi", "1", "2", "3", "y"], [], "", "--roi: 'y'"),
        (["--roi", "9", "2", "3", "4"], [], "", "--roi: 9 2 3 4 holds no pixel"),
        (["--backend", "abacus"], [], "", "backend 'abacus'; allowed: cpu, cuda"),
        (["--nonsense"], [], "", "--nonsense"),
    ],
)
def test_what_is_refused(run, ours, capsys, tmp_path, options, flags, more, sentence):
    (tmp_path / "P1.hkl").write_text("0 0 1 50\n")
    status, summary, _ = run(ours, *options, flags=[*FLAGS, *flags], more=more)
    message = capsys.readouterr().err
    assert (status, summary) == (2, None)
    assert sentence in message and message.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_panels_are_compared_as_their_sheet(run, tmp_path):
    """The reference program writes a sheet, as our -floatfile; a panel that is narrower leaves columns empty."""
    content = geometry_files.experiments(2)
    content["detector"][0]["panels"][1]["image_size"] = [4, 6]
    (tmp_path / "two.expt").write_text(json.dumps(content))
    flags = shlex.split(f"-expt {tmp_path / 'two.expt'} -image 3 -N 5 -default_F 50 -oversample 1")
    panels = simulate(Experiment.from_args(flags))
    sheet = np.zeros((11, 6), np.float32)
    sheet[:5], sheet[5:, :4] = panels
    status, summary, seen = run(sheet, flags=flags)
    assert (status, summary["shape_ours"], summary["correlation"]) == (0, [11, 6], 1.0) and sheet[5:, :4].any()
    assert seen["words"][:2] == ["-expt", str(tmp_path / "two.expt")]
    other = sheet.copy()
    other[7, 2] *= 3.0
    status, summary, _ = run(other, "--roi", "0", "3", "5", "10", flags=flags)
    assert summary["largest_difference_at"] == [7, 2] and summary["roi"] == [0, 3, 5, 10]
    assert inferred_shape(11 * 6 / 4, (12, 6), [(5, 6), (7, 4)]) is None
    assert inferred_shape(12 * 6 / 4, (12, 6), [(4, 6), (8, 4)]) == (6, 3)


def test_what_is_no_program(capsys, tmp_path):
    (tmp_path / "text").write_text("not a program")
    for path in (tmp_path / "none", tmp_path / "text", tmp_path):
        assert main(["compare", "--reference-bin", str(path), "--outdir", str(tmp_path / "out"), "--", *FLAGS]) == 2
        assert "is not a program" in capsys.readouterr().err
    (tmp_path / "text").chmod(0o755)
    assert (
        main(["compare", "--reference-bin", str(tmp_path / "text"), "--outdir", str(tmp_path / "out"), "--", *FLAGS])
        == 2
    )
    assert "does not run" in capsys.readouterr().err
