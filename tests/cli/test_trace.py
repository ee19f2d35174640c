"""nbnumba trace: the factors of pixels in the run that flags describe, in nanoBragg's words, and the bundle."""

import json
import shlex
import subprocess

import numpy as np
import pytest
from golden_cases import GOLDEN

from nbnumba import Experiment, InputError, Panel, simulate, write_expt
from nbnumba.cli import trace
from nbnumba.cli.compare_traces import METRICS
from nbnumba.cli.main import main
from nbnumba.parity import SWITCHES

TRACES = sorted(path.stem for path in (GOLDEN / "traces").glob("*.log"))
PLAIN = shlex.split(
    "-cell 70 80 90 75 85 95 -lambda 1.2 -Na 5 -Nb 6 -Nc 7 -distance 60 -detpixels 96 -misset 10.5 20.25 -33"
    " -nointerpolate -oversample 1 -default_F 50"
)
ROCKED = [*PLAIN, *shlex.split("-phi 0 -osc 2 -phisteps 4")]
ALL = ["-c_parity"]

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def flags_of(golden, name):
    """The pixel (slow, fast) and the command line of a reference trace."""
    lines = (GOLDEN / "traces" / f"{name}.log").read_text().splitlines()
    args = shlex.split(next(line.removeprefix("# args: ") for line in lines if line.startswith("# args: ")))
    place = args.index("-trace_pixel")
    return args[place + 1 : place + 3], [str(golden.files.get(word, word)) for word in args[:place]]


def traced(tmp_path, flags, *pixels, options=()):
    """The path of a new trace of some pixels."""
    out = tmp_path / "ours.log"
    wanted = [word for slow, fast in pixels for word in ("--pixel", str(slow), str(fast))]
    assert main(["trace", *wanted, "--out", str(out), *options, "--", *flags]) == 0
    return out


def against(tmp_path, name, ours):
    """The exit status and the metrics of a comparison with a reference trace."""
    directory = tmp_path / "compared"
    status = main(["compare-traces", str(GOLDEN / "traces" / f"{name}.log"), str(ours), "--out", str(directory)])
    return status, json.loads((directory / METRICS).read_text())


@pytest.mark.parametrize("name", TRACES)
@pytest.mark.parametrize("suffix", ["", ".json"])
def test_every_factor_of_the_reference(golden, tmp_path, name, suffix):
    pixel, flags = flags_of(golden, name)
    ours = traced(tmp_path, [*flags, *ALL], pixel, options=["--json"])
    status, metrics = against(tmp_path, name, f"{ours}{suffix}")
    assert (status, metrics["first_divergence"], metrics["num_divergent"]) == (0, None, 0)
    assert max(factor["rel_delta"] for factor in metrics["factors"]) < 1e-11


@pytest.mark.parametrize("name", TRACES)
def test_the_same_lines_in_the_same_order(golden, tmp_path, name):
    pixel, flags = flags_of(golden, name)

    def skeleton(path):
        lines = [line for line in path.read_text().splitlines() if line.startswith("TRACE")]
        return [" ".join(line.replace("TRACE_NB", "TRACE_C").split()[:2]) for line in lines]

    ours = traced(tmp_path, [*flags, *ALL], pixel)
    assert skeleton(ours) == skeleton(GOLDEN / "traces" / f"{name}.log")


@pytest.mark.parametrize(
    "name, defect, first",
    [
        ("supervisor_685_1039", "phi_carryover", "rot_a_angstroms"),
        ("phi0_50_31", "phi_carryover", "rot_a_angstroms"),
        ("triclinic_40_60", "triclinic_angles", "rot_a_angstroms"),
        ("absorption_70_20", "thick_layers", "pixel_pos_meters[1]"),
        ("absorption_70_20", "capture_last_layer", "I_before_scaling"),
    ],
)
def test_without_a_defect_the_first_divergence_is_what_it_touches(golden, tmp_path, name, defect, first):
    pixel, flags = flags_of(golden, name)
    ours = traced(tmp_path, [*flags, "-c_parity", *sorted(set(SWITCHES) - {defect})], pixel)
    status, metrics = against(tmp_path, name, ours)
    assert (status, metrics["first_divergence"]) == (1, first)


def test_the_mission_diverges_in_spec_mode_at_the_stale_lattice_and_nowhere_before(golden, tmp_path):
    pixel, flags = flags_of(golden, "supervisor_685_1039")
    status, metrics = against(tmp_path, "supervisor_685_1039", traced(tmp_path, flags, pixel))
    assert (status, metrics["first_divergence"]) == (1, "rot_a_angstroms")
    by_name = {factor["name"]: factor for factor in metrics["factors"]}
    assert by_name["I_before_scaling"]["ours"] == pytest.approx(807189.768677586, rel=1e-9)
    assert by_name["phi[1].F_latt"]["status"] == "ok"


VARIETY = {
    "layers": "-detector_thick 450 -detector_abs 500 -detector_thicksteps 3",
    "mosaic": "-mosaic 0.7 -mosaic_dom 3 -phi 0 -osc 1 -phisteps 3",
    "sources": "-dispersion 2 -dispsteps 3 -oversample 2 -phi 0 -osc 1 -phisteps 3",
    "oversampled": "-oversample 2 -oversample_omega -oversample_polar",
    "cut": "-dmin 1.5 -hdivrange 60 -hdivsteps 5",
    "round": "-round_xtal",
    "curved": "-curved_det -point_pixel",
}


@pytest.mark.parametrize("switches", [[], ALL], ids=["spec", "parity"])
@pytest.mark.parametrize("name", sorted(VARIETY))
def test_the_chain_ends_at_the_pixel_of_the_image(tmp_path, name, switches):
    flags = [*PLAIN, *shlex.split(VARIETY[name]), *switches]
    image = simulate(Experiment.from_args([*flags, "-roi", "30", "33", "20", "22"]))
    out = traced(
        tmp_path, [*flags, "-roi", "30", "33", "20", "22"], options=["--roi", "30", "33", "20", "22", "--json"]
    )
    chains = json.loads((tmp_path / f"{out.name}.json").read_text())["chains"]
    assert [(chain["spixel"], chain["fpixel"]) for chain in chains] == [
        (s, f) for s in (20, 21, 22) for f in (30, 31, 32, 33)
    ]
    zero = 1e-15 * image.max()
    for chain in chains:
        final = {entry["name"]: entry["values"] for entry in chain["trace"] if "name" in entry}["I_pixel_final"]
        assert final == [pytest.approx(image[chain["spixel"], chain["fpixel"]], rel=1e-12, abs=zero)]


def zero(path):
    """The lattices at phi = 0 of each chain: (sample, step, source)."""
    return [
        [tuple(lattice.values()) for lattice in chain["lattice_at_phi_0"]] for chain in json.loads(path.read_text())["chains"]
    ]


def test_each_chain_says_which_lattice_its_phi_0_has(tmp_path):
    """It is carried over from the last step, except for the first pixel of each thread. In spec mode it is fresh everywhere."""
    pixels = [(0, 0), (0, 1), (47, 95), (48, 0), (48, 1)]
    out = traced(tmp_path, [*ROCKED, *ALL, "-c_threads", "2"], *pixels, options=["--json"])
    assert zero(tmp_path / "ours.log.json") == [[(0, 0, source)] for source in (None, 3, 3, None, 3)]
    text = out.read_text()
    assert text.count("# lattice at phi = 0: step 0 is fresh\n") == 2
    assert text.count("# lattice at phi = 0: step 0 has that of step 3, carried over\n") == 3
    assert text.count("TRACE_NB_PHI phi_tic=0 ") == text.count(" lattice=carried_over from_step=3") + 2 == 5
    traced(tmp_path, ROCKED, *pixels, options=["--json"])
    assert zero(tmp_path / "ours.log.json") == [[(0, 0, None)]] * 5


def test_a_zero_in_the_middle_takes_the_step_before_it(tmp_path):
    flags = [*PLAIN, *shlex.split("-phi -0.5 -osc 1 -phisteps 4"), *ALL]
    traced(tmp_path, flags, (5, 6), options=["--json"])
    assert zero(tmp_path / "ours.log.json") == [[(0, 2, 1)]]


def test_samples_of_one_pixel_can_differ(tmp_path):
    """The first sub-pixel of the first pixel is fresh, the others are not."""
    out = traced(tmp_path, [*ROCKED, "-oversample", "2", *ALL], (0, 0), options=["--json"])
    assert zero(tmp_path / "ours.log.json") == [[(0, 0, None), (1, 0, 3), (2, 0, 3), (3, 0, 3)]]
    assert "# lattice at phi = 0: step 0 has that of step 3, carried over in sample 1, 2, 3\n" in out.read_text()


def test_domains_are_told_apart(tmp_path):
    out = traced(tmp_path, [*PLAIN, *shlex.split(VARIETY["mosaic"])], (5, 6))
    steps = [line for line in out.read_text().splitlines() if line.startswith("TRACE_NB_PHI")]
    assert [line.split()[1:3] for line in steps] == [
        [f"phi_tic={p}", f"domain={d}"] for p in range(3) for d in range(3)
    ]


def test_geometry_comes_once_per_subpixel_and_the_rest_once_per_source(tmp_path):
    out = traced(tmp_path, [*PLAIN, "-dispersion", "2", "-dispsteps", "3", "-oversample", "2"], (5, 6))
    names = [line.split()[1] for line in out.read_text().splitlines() if line.startswith("TRACE_NB: ")]
    assert [names.count(name) for name in ("diffracted_vec", "incident_vec", "F_cell", "I_pixel_final")] == [
        4,
        12,
        12,
        1,
    ]


def test_seventeen_digits_are_the_number(tmp_path):
    """Text and JSON hold the same doubles, to the last bit."""
    out = traced(tmp_path, ROCKED, (40, 50), options=["--json"])
    lines = [line.split()[2:] for line in out.read_text().splitlines() if line.startswith("TRACE_NB: ")]
    entries = json.loads((tmp_path / "ours.log.json").read_text())["chains"][0]["trace"]
    assert [list(map(float, words)) for words in lines] == [entry["values"] for entry in entries if "name" in entry]
    assert any(len(word.strip("-").replace(".", "").lstrip("0")) == 17 for words in lines for word in words)


def test_bundle(golden, tmp_path):
    pixel, flags = flags_of(golden, "phi0_50_31")
    out = traced(tmp_path, flags, pixel, options=["--json"])
    directory = tmp_path / "ours.log.bundle"
    assert sorted(path.name for path in directory.iterdir()) == ["SHA256SUMS", "commands.txt", "environment.json"]
    assert (directory / "commands.txt").read_text() == shlex.join(
        ["nbnumba", "trace", "--pixel", *pixel, "--out", str(out), "--json", "--", *flags]
    ) + "\n"
    assert set(json.loads((directory / "environment.json").read_text())) >= {
        "python",
        "numba",
        "numpy",
        "nbnumba",
        "cpu",
        "threads",
    }
    sums = (directory / "SHA256SUMS").read_text()
    assert [line.split("  ")[1] for line in sums.splitlines()] == [
        "../ours.log", "../ours.log.json", "commands.txt", "environment.json", str(golden.files["HKL"]),
    ]  # fmt: skip
    assert subprocess.run(["sha256sum", "--quiet", "-c", "SHA256SUMS"], cwd=directory, check=False).returncode == 0
    out.write_text(out.read_text() + "\n")
    assert subprocess.run(["sha256sum", "--status", "-c", "SHA256SUMS"], cwd=directory, check=False).returncode == 1


def test_standard_output_gets_the_trace_and_no_bundle(tmp_path, monkeypatch, capfdbinary):
    monkeypatch.chdir(tmp_path)
    assert main(["trace", "--pixel", "5", "6", "--out", "/dev/stdout", "--", *PLAIN]) == 0
    assert b"TRACE_NB: I_pixel_final " in capfdbinary.readouterr().out
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "options, flags, sentence",
    [
        ("--pixel 5 x", PLAIN, "--pixel: 'x'"),
        ("--pixel -1 5", PLAIN, "--pixel: '-1'"),
        ("--pixel 96 5", PLAIN, "--pixel: 96 5 is not rendered"),
        ("--pixel 5 6", [*PLAIN, "-roi", "7", "9", "0", "5"], "--pixel: 5 6 is not rendered"),
        ("--roi 3 2 0 0", PLAIN, "--roi: 3 2 0 0"),
        ("--roi 0 2 0 0", [*PLAIN, "-roi", "7", "9", "0", "5"], "--roi: 0 2 0 0 holds no pixel that is rendered"),
        ("", PLAIN, "no pixel is given"),
        ("--pixel 5 6 --wrong", PLAIN, "--wrong"),
        ("--pixel 5 6 --backend cuda", PLAIN, "backend 'cuda', precision 'double': a trace is computed on the CPU"),
        ("--pixel 5 6 --precision mixed", PLAIN, "backend 'cpu', precision 'mixed': a trace is computed on the CPU"),
        ("--pixel 5 6", [*PLAIN, "-floatfile", "x.bin"], "-floatfile: 'x.bin' names a file to be written"),
        ("--pixel 5 6", [*PLAIN, "-nosuchflag"], "-nosuchflag"),
    ],
)
def test_what_is_refused(tmp_path, capsys, options, flags, sentence):
    """The refusal is one sentence with exit status 2, and nothing is written."""
    assert main(["trace", *options.split(), "--out", str(tmp_path / "t"), "--", *flags]) == 2
    message = capsys.readouterr().err
    assert sentence in message and message.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_without_flags_or_out(capsys):
    assert main(["trace", "--pixel", "5", "6", "--out", "t", *PLAIN]) == 2
    assert "no -- is given" in capsys.readouterr().err
    assert main(["trace", "--pixel", "5", "6", "--", *PLAIN]) == 2
    assert "--out" in capsys.readouterr().err


@pytest.mark.parametrize("machine", [{"backend": "abacus"}, {"backend": "cuda"}, {"precision": "paired"}])
def test_another_machine_is_refused(machine):
    """The sentence says on which machine a trace is computed."""
    with pytest.raises(InputError, match="a trace is computed on the CPU in double precision; allowed: cpu, double"):
        trace.traces(Experiment.from_args(PLAIN), [(1, 2)], **machine)


def test_masked_pixels_of_a_region_are_left_out(golden, tmp_path):
    mask = ["-mask", str(golden.files["MASK"])]
    image = simulate(Experiment.from_args([*PLAIN, *mask]))
    slow, fast = (int(place[0]) for place in np.nonzero(image == 0))
    assert 0 < np.count_nonzero(image[slow]) < 96
    assert main(["trace", "--pixel", str(slow), str(fast), "--out", str(tmp_path / "t"), "--", *PLAIN, *mask]) == 2
    out = traced(tmp_path, [*PLAIN, *mask], options=["--roi", "0", "95", str(slow), str(slow)])
    assert out.read_text().count("TRACE_CONFIG") == np.count_nonzero(image[slow])


def panelled_flags(tmp_path):
    """Flags of a geometry of two panels, in a file of DIALS."""
    panels = [
        Panel(f"row/{name}", (4, 5), 0.1, 0.1, (0.0, origin, 0.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0))
        for name, origin in (("upper", 0.0), ("lower", 1.0))
    ]
    experiment = Experiment.from_args(PLAIN).replace({"detector.convention": "custom"})
    write_expt(tmp_path / "panels.expt", experiment.replace({"detector.panels": tuple(panels)}))
    return ["-expt", str(tmp_path / "panels.expt"), "-default_F", "50", "-oversample", "1"]


def test_a_pixel_of_a_panel_is_that_of_the_image(tmp_path):
    """By the number of the panel, and by its path."""
    flags = panelled_flags(tmp_path)
    image = simulate(Experiment.from_args(flags))
    for name in ("1", "row/lower"):
        ours = traced(tmp_path, flags, (2, 3), options=["--json", "--panel", name])
        (chain,) = json.loads((tmp_path / f"{ours.name}.json").read_text())["chains"]
        photons = next(entry["values"][0] for entry in chain["trace"] if entry.get("name") == "I_pixel_final")
        assert chain["panel"] == 1 and "# panel 1: row/lower" in ours.read_text().splitlines()
        assert photons == pytest.approx(image[1, 2, 3], rel=1e-12)


@pytest.mark.parametrize("words", [[], ["--panel", "2"], ["--panel", "row"], ["--panel", "-1"]])
def test_a_panel_that_is_not_there_is_refused(tmp_path, capsys, words):
    flags = panelled_flags(tmp_path)
    assert main(["trace", "--pixel", "2", "3", *words, "--out", str(tmp_path / "t.log"), "--", *flags]) == 2
    assert "allowed: 0 to 1, or a path such as row/upper" in capsys.readouterr().err
