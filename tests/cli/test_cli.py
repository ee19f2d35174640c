"""The command line: its files and its text are compared with nanoBragg's, and impossible input is refused."""

import dataclasses
import json
import math
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from nbnumba import Experiment, InputError, simulate
from nbnumba.cli.main import main
from nbnumba.flags import table as flags
from nbnumba.flags.run import Run
from nbnumba.response import Response

BASE = "-cell 50 -default_F 10 -lambda 2 -N 3 -detpixels 8 -distance 50 -oversample 1"
QUIET = BASE + " -nonoise -nopgm"
NOISE_CASES = ["noise", "noise_low", "noise_high"]
OTHER_SOURCE = "misset_random"
"""The case whose image and statistics were made by two versions of nanoBragg, which read its seed differently."""


def written(folder):
    return {path.name for path in Path(folder).iterdir()}


def floats(path, shape):
    return np.fromfile(path, "<f4").reshape(shape)


def smv(path, shape):
    """The header lines between the braces, and the pixels, of an SMV image."""
    content = Path(path).read_bytes()
    lines = content[:2048].partition(b"{\n")[2].partition(b"}")[0].decode().splitlines()
    size = int(lines[0].removeprefix("HEADER_BYTES=").rstrip(";"))
    return lines, np.frombuffer(content[size:], "<u2").reshape(shape)


def without(args, flag):
    return args[: args.index(flag)] + args[args.index(flag) + 2 :] if flag in args else args


# ------------------------------------------------------------------------------------------------ against nanoBragg


@pytest.mark.parametrize("name", NOISE_CASES)
def test_noise_case_equals_nanobraggs_files(golden, run, tmp_path, name):
    status, _, errors = run(golden.args(name))
    assert (status, errors) == (0, [])
    assert written(tmp_path) == {"floatimage.bin", "intimage.img", "image.pgm", "noise.img"}
    shape, header = golden.cases[name]["shape"], golden.cases[name]["smv_header"]
    np.testing.assert_allclose(floats("floatimage.bin", shape), golden.parity[name], rtol=2e-7)
    for file, stored in (("intimage.img", "__int"), ("noise.img", "__noise")):
        lines, pixels = smv(file, shape)
        np.testing.assert_array_equal(pixels, golden.parity[name + stored])
        assert lines[:-1] == header
        assert lines[-1].startswith("ADC_OFFSET=")


def cases():
    """Every reference case except the large frames, of which one suffices."""
    names = json.loads((Path(__file__).parent.parent / "golden" / "cases.json").read_text())
    return [name for name in names if not name.startswith("supervisor") or name == "supervisor_hkl_roi"]


@pytest.mark.parametrize("name", cases())
def test_statistics_and_header_equal_nanobraggs(golden, run, name):
    """Statistics are printed with 6 digits, and the header is that of the experiment."""
    case = golden.cases[name]
    args = without(golden.args(name), "-noisefile") + [
        "-nonoise",
        "-nopgm",
        "-c_parity",
        "-c_threads",
        str(case["c_threads"]),
    ]
    status, lines, _ = run(args)
    assert status == 0
    assert len(case["stats"]) >= 2
    for line in case["stats"] if name != OTHER_SOURCE else []:
        assert line in lines
    size = np.fromfile("floatimage.bin", "<f4").size
    header, _ = smv("intimage.img", -1)
    *expected, last = case["smv_header"]  # which is cut off where 512 bytes end
    assert header[: len(expected)] == expected
    assert header[len(expected)].startswith(last)
    assert size == math.prod(case["shape"]) or case["roi"]


# ------------------------------------------------------------------------------------------------------------ files


def test_files_have_nanobraggs_names_and_lie_where_it_runs(run, tmp_path):
    status, lines, errors = run(BASE + " -seed 1")
    assert (status, errors) == (0, [])
    assert written(tmp_path) == {"floatimage.bin", "intimage.img", "image.pgm", "noiseimage.img"}
    for file in written(tmp_path):
        assert any(file in line for line in lines)
    image = simulate(Experiment.from_args(BASE.split()))
    np.testing.assert_array_equal(floats("floatimage.bin", (8, 8)), image.astype(np.float32))


def test_files_by_other_names(run, tmp_path):
    (tmp_path / "below").mkdir()
    names = {
        "-floatfile": "f.bin",
        "-intfile": "i.img",
        "-noisefile": "below/n.img",
        "-pgmfile": "p.pgm",
        "-pngfile": "p.png",
        "-predictions": "p.csv",
        "-hklmap": "m.npz",
    }
    assert run(BASE.split() + ["-seed", "1"] + [word for pair in names.items() for word in pair])[0] == 0
    assert written(tmp_path) == {"below", "f.bin", "i.img", "p.pgm", "p.png", "p.csv", "m.npz"}
    assert written(tmp_path / "below") == {"n.img"}
    assert (tmp_path / "p.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert (tmp_path / "p.pgm").read_bytes()[:2] == b"P5"


@pytest.mark.parametrize(
    "more, expected",
    [
        ("-nonoise", {"floatimage.bin", "intimage.img", "image.pgm"}),
        ("-nopgm -seed 1", {"floatimage.bin", "intimage.img", "noiseimage.img"}),
        ("-nopgm -nonoise", {"floatimage.bin", "intimage.img"}),
        ("-nonoise -noisefile n.img -nopgm -seed 1", {"floatimage.bin", "intimage.img", "n.img"}),
        ("-noisefile n.img -nonoise -nopgm", {"floatimage.bin", "intimage.img"}),
        ("-pgmfile p.pgm -nopgm -nonoise", {"floatimage.bin", "intimage.img"}),
    ],
)
def test_files_that_are_not_wanted(run, tmp_path, more, expected):
    assert run(BASE + " " + more)[0] == 0
    assert written(tmp_path) == expected


def test_a_seed_gives_one_noise_image_and_another_another(run):
    images = []
    for seed in (1, 1, 2):
        run(f"{BASE} -fluence 1e31 -nopgm -seed {seed}")
        images.append(smv("noiseimage.img", (8, 8))[1])
    np.testing.assert_array_equal(images[0], images[1])
    assert (images[0] != images[2]).any()


def test_scale_and_adc(run):
    run(QUIET + " -fluence 1e30 -scale 0.5 -adc 7")
    image, (lines, pixels) = floats("floatimage.bin", (8, 8)), smv("intimage.img", (8, 8))
    np.testing.assert_array_equal(pixels, np.floor(np.clip(image.astype(float) * 0.5 + 7, 0, 65535) + 0.5))
    assert lines[-1] == "ADC_OFFSET=7;"


def test_python_m_in_a_process_of_its_own(tmp_path):
    environment = os.environ | {"PYTHONPATH": str(Path(sys.modules["nbnumba"].__file__).parent.parent)}
    command = [sys.executable, "-m", "nbnumba"]
    done = subprocess.run([*command, *QUIET.split()], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "max_I = " in done.stdout
    assert written(tmp_path) == {"floatimage.bin", "intimage.img"}
    done = subprocess.run([*command, "-nothing"], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("nbnumba: -nothing") and done.stderr.count("\n") == 1


# ----------------------------------------------------------------------------------------------------- what is read


def test_the_subcommand_simulate_is_the_default(run):
    run(QUIET)
    first = floats("floatimage.bin", (8, 8)).tobytes()
    assert run("simulate " + QUIET.replace("10", "11"))[0] == 0
    assert floats("floatimage.bin", (8, 8)).tobytes() != first
    run("simulate " + QUIET)
    assert floats("floatimage.bin", (8, 8)).tobytes() == first


@pytest.mark.parametrize(
    "args, name, expected",
    [
        ("-misset -1e-3 0 0", "crystal.misset_deg", (-1e-3, 0.0, 0.0)),
        ("-misset -.5 -5. +2", "crystal.misset_deg", (-0.5, -5.0, 2.0)),
        ("-phi -1E-2", "goniometer.phi_deg", -0.01),
        ("-roi -1 5 -1 3", "sampling.roi", (-1, 5, -1, 3)),
        ("-N 3 -Nb 5", "crystal.n_cells", (3.0, 5.0, 3.0)),
        ("-Nb 5 -N 3", "crystal.n_cells", (3.0, 3.0, 3.0)),
        ("-N 0", "crystal.n_cells", (1.0, 1.0, 1.0)),
        ("-cell 50 60", "crystal.c_A", 50.0),
        ("-cell 50 60 70 80", "crystal.alpha_deg", 80.0),
        ("-energy 12398.42", "beam.wavelength_A", 1.0),
        ("-energy 1 -lambda 3", "beam.wavelength_A", 3.0),
        ("-lambda 3 -energy 12398.42", "beam.wavelength_A", 1.0),
        ("-detpixels 9 -detpixels_x 7", "detector.pixels", (7, 9)),
        ("-detpixels_x 7 -detpixels 9", "detector.pixels", (9, 9)),
        ("-distance 30 -distance 40", "detector.distance_mm", 40.0),
        ("-pix0_vector 0.1 0.2 0.3", "detector.pix0_mm", pytest.approx((100.0, 200.0, 300.0))),
        ("-fdet_vector 1 0 0", "detector.convention", "custom"),
        ("-fdet_vector 1 0 0 -xds", "detector.convention", "xds"),
        ("-xds -fdet_vector 1 0 0", "detector.convention", "custom"),
        ("-twotheta_axis 1 0 0 -twotheta 5", "detector.twotheta_deg", 5.0),
        ("-misset_seed 5", "crystal.misset_deg", (0.0, 0.0, 0.0)),
        ("-phisteps 0", "goniometer.phisteps", 1),
        ("-c_parity phi_carryover water_scale -N 3", "sampling.c_parity", {"phi_carryover", "water_scale"}),
        ("-flux 1e12 -exposure 0.1 -beamsize 0.05", "beam.fluence", pytest.approx(1e11 / 5e-5**2)),
        ("-nopolar -polar 0.5", "beam.polarized", True),
        ("-polar 0.5 -nopolar", "beam.polarized", False),
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_how_flags_are_read(args, name, expected):
    experiment = Experiment.from_args(["-cell", "50", "-default_F", "1", *args.split()])
    assert experiment.value(name) == expected


def test_flags_of_files_to_be_written_describe_no_experiment():
    for more in ("-floatfile x", "-noisefile x", "-pngfile x", "-predictions x", "-hklmap x"):
        with pytest.raises(InputError, match=more.split()[0]):
            Experiment.from_args((BASE + " " + more).split())


# --------------------------------------------------------------------------------------------------------- refusals

REFUSED = [  # what is added to a good command line; what the sentence has to name
    ("-cel 50", ["-cel:", "-cell"]),
    ("-misset_see 5", ["-misset_see", "-misset_seed"]),
    ("-xyzzy", ["-xyzzy", "no such flag"]),
    ("-diffuse_gamma 50", ["-diffuse_gamma", "no such flag", "diffuse scattering is not modelled"]),
    ("-use_diffuse", ["-use_diffuse", "no such flag", "diffuse scattering is not modelled"]),
    ("--lambda 1", ["--lambda"]),
    ("-Lambda 1", ["-Lambda"]),
    ("stray", ["'stray'", "-nopgm"]),
    ("-lambda", ["-lambda", "0 of 1"]),
    ("-misset 1 2", ["-misset", "2 of 3"]),
    ("-roi 1 2 3", ["-roi", "3 of 4"]),
    ("-cell", ["-cell"]),
    ("-lambda ten", ["-lambda", "'ten'"]),
    ("-lambda nan", ["-lambda", "'nan'"]),
    ("-lambda inf", ["-lambda", "'inf'"]),
    ("-lambda 1_0", ["-lambda", "'1_0'"]),
    ("-lambda -nopolar", ["-lambda", "'-nopolar'"]),
    ("-lambda 0", ["-lambda", "0"]),
    ("-lambda -1", ["-lambda", "-1"]),
    ("-energy 0", ["-energy", "0"]),
    ("-N 2.5", ["-N", "'2.5'", "whole"]),
    ("-N -3", ["-N", "-3"]),
    ("-cell 50 60 70 90 90 180", ["-cell", "180"]),
    ("-cell 50 -60", ["-cell", "-60"]),
    ("-pixel 0", ["-pixel", "0"]),
    ("-pixel -1", ["-pixel", "-1"]),
    ("-distance 0", ["-distance", "0"]),
    ("-close_distance -5", ["-close_distance", "-5"]),
    ("-detpixels -1", ["-detpixels", "-1"]),
    ("-detpixels 0 -detsize 0", ["-detsize", "0"]),
    ("-detpixels 99999", ["-detpixels", "99999"]),
    ("-roi 5 4 0 1", ["-roi", "5 4 0 1"]),
    ("-roi 8 9 0 1", ["-roi", "8 9 0 1"]),
    ("-polar 1.5", ["-polar", "1.5"]),
    ("-fluence -1", ["-fluence", "-1"]),
    ("-osc -1", ["-osc", "-1"]),
    ("-phisteps -1", ["-phisteps", "-1"]),
    ("-mosaic -1", ["-mosaic", "-1"]),
    ("-water -1", ["-water", "-1"]),
    ("-scale -1", ["-scale", "-1"]),
    ("-threads 0", ["-threads", "0"]),
    ("-threads 99999", ["-threads", "99999"]),
    ("-c_threads 0", ["-c_threads", "0"]),
    ("-c_parity nothing", ["-c_parity", "'nothing'"]),
    ("-pivot spindle", ["-pivot", "'spindle'"]),
    ("-fdet_vector 0 0 0", ["-fdet_vector", "0 0 0"]),
    ("-detector_roty 90", ["detector"]),
    ("-hkl nowhere.hkl", ["-hkl", "nowhere.hkl"]),
    ("-mat nowhere.mat", ["-mat", "nowhere.mat"]),
    ("-mat .", ["-mat", "."]),
    ("-floatfile nowhere/f.bin", ["-floatfile", "nowhere/f.bin"]),
    ("-intfile .", ["-intfile", "."]),
    ("-pgmfile floatimage.bin", ["-pgmfile", "-floatfile", "floatimage.bin"]),
    ("-fluence 1e300", ["-fluence"]),
]


@pytest.mark.parametrize("more, named", REFUSED, ids=lambda value: value if isinstance(value, str) else "")
def test_what_is_impossible_is_refused_in_one_sentence(run, tmp_path, more, named):
    base = QUIET.replace(" -nopgm", "") if "-pgmfile" in more else QUIET
    status, lines, errors = run(base.split() + more.split())
    assert status == 2
    assert len(errors) == 1 and errors[0].startswith("nbnumba: ")
    for word in named:
        assert word in errors[0]
    assert written(tmp_path) == set()
    assert not any("wrote" in line for line in lines)


@pytest.mark.parametrize("less", ["-cell 50 ", "-default_F 10 "])
def test_what_is_missing_is_named(run, tmp_path, less):
    status, _, errors = run(QUIET.replace(less, ""))
    assert status == 2 and len(errors) == 1 and "nbnumba: " in errors[0]
    assert written(tmp_path) == set()


def test_bad_files_are_refused_by_flag_name_and_line(run, tmp_path):
    (tmp_path / "bad.hkl").write_text("1 2 3 4\n1 2 x 4\n")
    (tmp_path / "bad.mat").write_text("1 2 3\n4 5\n")
    for more, named in (("-hkl bad.hkl", ("-hkl", "bad.hkl", "2")), ("-mat bad.mat", ("-mat", "bad.mat"))):
        status, _, errors = run(QUIET.split() + more.split())
        assert status == 2 and len(errors) == 1
        assert all(word in errors[0] for word in named)
    assert written(tmp_path) == {"bad.hkl", "bad.mat"}


def test_a_folder_that_cannot_be_written_to(run, tmp_path):
    if os.geteuid() == 0:
        pytest.skip("everything can be written to")
    (tmp_path / "locked").mkdir(mode=0o500)
    status, _, errors = run(QUIET + " -floatfile locked/f.bin")
    assert status == 2 and len(errors) == 1 and "-floatfile" in errors[0] and "locked" in errors[0]


@pytest.mark.parametrize(
    "more, named",
    [
        ("-mosaic 1", "10 domains"), ("-mosaic_domains 5", "-mosaic_domains"), ("-exposure 3", "-exposure"),
        ("-fluence 1 -flux 1e9", "-fluence"), ("-misset random -misset_seed 3 -mosaic 0.1", "10 domains"),
        ("-xds -fdet_vector 0 0 1 -dials", "-fdet_vector"), ("-distance 50 -close_distance 60", "-distance"),
    ],
)  # fmt: skip
def test_assumptions_are_warned_of_on_stderr(run, more, named):
    status, lines, errors = run(QUIET.split() + more.split())
    assert status == 0
    assert errors and all(line.startswith("nbnumba: warning: ") for line in errors)
    assert any(named in line for line in errors)
    assert not any("warning" in line for line in lines)
    assert len(set(errors)) == len(errors)


def test_no_warnings_without_a_reason(run):
    assert run(QUIET)[2] == []
    assert run(QUIET + " -mosaic 1 -mosaic_domains 3 -osc 1 -xds -ORGX 3 -ORGY 4 -misset 1 2 3")[2] == []


def test_an_interrupted_run_says_so_and_writes_nothing(run, tmp_path, monkeypatch):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("nbnumba.cli.simulate.render", stop)
    status, _, errors = run(QUIET)
    assert status == 130 and len(errors) == 1 and "interrupted" in errors[0]
    assert written(tmp_path) == set()


# -------------------------------------------------------------------------------------------------- table of flags


def test_spellings_are_unique_and_exact():
    spellings = [name for flag in flags.FLAGS for name in flag.names]
    assert [name for name, count in Counter(spellings).items() if count > 1] == []
    assert set(flags.BY_NAME) == set(spellings)
    assert {name for name in spellings if name.startswith("--")} == {"--dry-run", "--quiet"}
    assert all(name.startswith("-") for name in spellings)
    assert set(flags.DOCUMENTED) | set(flags.NO_EFFECT) <= set(spellings)


def test_every_flag_sets_a_field_that_exists():
    parts = {field.name: field.type for field in dataclasses.fields(Experiment)}
    experiment = Experiment.from_args(BASE.split())
    for flag in flags.FLAGS:
        assert flag.kind in flags.VALUES
        if flag.sets:
            part, _, field = flag.sets.partition(".")
            owner = {"run": Run, "response": Response}.get(part) or type(getattr(experiment, part))
            assert part in (*parts, "run", "response")
            assert field in {entry.name for entry in dataclasses.fields(owner)}, flag.sets


def test_help_names_every_flag(run):
    status, lines, _ = run("--help")
    words = set("\n".join(lines).replace(",", " ").split())
    assert status == 0
    assert {name for flag in flags.FLAGS for name in flag.names} <= words
    for name in flags.SUBCOMMANDS:
        assert any(name in line for line in lines)


def test_help_without_flags_and_version(run, tmp_path):
    from nbnumba.version import VERSION

    status, lines, _ = run("")
    assert status == 2 and lines[0].startswith("usage: nbnumba")
    assert run("--version") == (0, [f"nbnumba {VERSION}"], [])
    assert written(tmp_path) == set()


def test_an_output_never_takes_the_place_of_another_file(run, tmp_path):
    base = "-cell 50 -default_F 10 -N 3 -distance 50 -detpixels 4 -oversample 1 -nonoise -nopgm".split()
    (tmp_path / "my.hkl").write_text("0 0 0 10\n1 0 0 5\n")
    over_input = ("-hkl my.hkl -floatfile my.hkl", "-hkl my.hkl -dump my.hkl")
    for more in ("-floatfile x -intfile ./x", *over_input, f"-floatfile {'x' * 300}"):
        status, _, errors = run([*base, *more.split()])
        assert status == 2 and len(errors) == 1
    assert (tmp_path / "my.hkl").read_text() == "0 0 0 10\n1 0 0 5\n"
    assert [path.name for path in tmp_path.iterdir()] == ["my.hkl"]


@pytest.mark.parametrize("words", [["9" * 5000], ["-lambda", "9" * 5000], ["-" + "x" * 5000], ["-precision", "x" * 5000]])
def test_a_word_without_end_is_cut_in_the_sentence_about_it(words, capsys):
    assert main([*"-cell 50 -default_F 1".split(), *words]) == 2
    assert len(capsys.readouterr().err) < 400


@pytest.mark.parametrize("flag", ["-seed", "-misset_seed"])
def test_a_seed_that_is_too_large_is_refused_by_its_flag(flag, capsys):
    assert main([*"-cell 50 -default_F 1".split(), flag, "1e30"]) == 2
    assert re.match(rf"nbnumba: {flag}: 10+\d+ is not allowed; allowed: a whole number from", capsys.readouterr().err)


def test_names_of_inputs_in_warnings_are_of_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main([*"-cell 50 -dump".split(), "a\nb"]) == 2
    assert all(line.startswith("nbnumba: ") for line in capsys.readouterr().err.splitlines())


def test_a_sensor_that_absorbs_nothing_has_a_table(tmp_path, monkeypatch, capsys):
    """The flags after -detector_abs inf come from the cases of C's defect endless_depth_dark."""
    monkeypatch.chdir(tmp_path)
    words = "-cell 50 -default_F 1 -detpixels 4 -detector_abs inf -detector_thick 100 -c_parity endless_depth_dark --dry-run"
    assert main(words.split()) == 0
    assert "attenuation depth infinite" in capsys.readouterr().out


@pytest.mark.parametrize("flag, rows, is_warned_of", [
    ("-stol", "0 2.57\n0.5 2\n", False),
    ("-stol", "1.02 0.03\n1.16 0.06\n", True),
    ("-Q", "0 2.57\n0.5 2\n", True),
    ("-Q", "0 2.57\n6.3 2\n", False),
])  # fmt: skip
def test_a_table_that_does_not_reach_the_image_is_said(flag, rows, is_warned_of, tmp_path, monkeypatch, capsys):
    """The image covers 0 to 0.35 1/A; a spectrum, or a table in another unit, lies elsewhere."""
    monkeypatch.chdir(tmp_path)
    Path("table").write_text(rows)
    words = "-cell 30 -default_F 1 -detpixels 16 -pixel 6 -distance 50 -water 10 --dry-run".split()
    assert main([*words, flag, "table"]) == 0
    assert (f"{flag} reaches from" in capsys.readouterr().err) == is_warned_of


@pytest.mark.parametrize("flags, rows", [
    ("-default_F 1 -mat", "0.02 0 0\n0 0.02 0\n0 0 0.02\n0 0 0\n1 0 0\n0 1 0\n0 0 1\n60 60 60 90 90 90\n"),
    ("-cell 50 -default_F 1 -water 1 -stol", "0 2 9\n3 2\n"),
    ("-cell 50 -default_F 1 -sourcefile", "-1 0 0 1 1e-10 7\n"),
    ("-cell 50 -hkl", "1 2 3 4 5\n"),
])  # fmt: skip
def test_a_name_of_two_lines_makes_no_warning_of_two(flags, rows, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("a\nb").write_text(rows)
    assert main([*flags.split(), "a\nb", "-detpixels", "8", "-oversample", "1", "--dry-run"]) == 0
    errors = capsys.readouterr().err.splitlines()
    assert errors and all(line.startswith("nbnumba: warning: ") for line in errors)


def test_a_run_of_the_program_does_not_load_linear_algebra_and_leaves_it_to_others(tmp_path):
    """Numba looks for it when it is loaded, which takes as long as a small image; afterwards it can be imported as ever."""
    script = "; ".join([
        "import sys",
        "from nbnumba.cli.main import main",
        "status = main()",
        "print(status, 'scipy.linalg' in sys.modules)",
        "import scipy.linalg",
        "print(scipy.linalg.det([[2.0]]))",
    ])  # fmt: skip
    words = "-cell 50 -default_F 1 -N 3 -lambda 1 -distance 100 -detpixels 8 -nonoise -nopgm -nointfile".split()
    done = subprocess.run([sys.executable, "-c", script, *words], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-2:] == ["0 False", "2.0"]
