"""The bench: its scenes render and agree with the oracle, and neither a wrong image nor a wrong derivative is timed.

Nothing here depends on how fast anything is."""

import json
import math
import mmap
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent
SIDE = 48


@pytest.fixture
def run(monkeypatch):
    """The module bench/run.py, with a plain loop that takes no time."""
    monkeypatch.syspath_prepend(str(ROOT))
    before = list(sys.path)
    from bench import run

    sys.path[:] = before
    monkeypatch.setattr(run.clock, "FMA_REPEATS", 100)
    monkeypatch.setattr(run.clock, "SHORTEST_SAMPLE", 0.0)
    return run


@pytest.fixture
def small(run, monkeypatch, tmp_path):
    """The derivative of a scene of the size of its window, which must not be timed."""
    monkeypatch.setattr(run.clock, "timed_once", lambda *_: pytest.fail("a wrong derivative was timed"))
    return lambda name: run.run_case(name, tmp_path, SIDE, 1, "derivative")


STEPS = {"supervisor": 10, "mosaic": 100, "still": 1, "oversampled": 90, "torch": 100, "tolerant": 10, "gauss": 100,
         "spheres": 100, "tophat": 100, "interpolated": 10, "layers": 40, "sources": 285, "curved": 1, "tiny": 10,
         "xfel": 2500, "sase": 1000, "pink": 200}  # fmt: skip
"""The steps of a pixel of each scene, with every layer."""


@pytest.mark.parametrize("name", STEPS)
def test_a_small_scene_agrees_with_the_oracle_and_is_timed(run, tmp_path, name):
    figures = run.run_case(name, tmp_path, SIDE, 1)
    assert figures["case"] == name and figures["pixels"] == (16**2 if name == "tiny" else SIDE**2)
    assert figures["steps"] == STEPS[name]
    assert figures["error_of_allowed"] <= 1.0
    assert figures["ns_1"] == pytest.approx(figures["wall_s_1"] * 1e9 / (figures["pixels"] * figures["steps"]))
    assert figures["ns_normalised"] == pytest.approx(figures["ns_1"] * figures["fma_lanes_per_ns"] / 25)
    assert figures["speedup"] == pytest.approx(figures["wall_s_1"] / figures["wall_s_2"])


def test_frames_of_a_series_are_those_of_simulate_and_are_timed(run, tmp_path, monkeypatch):
    from bench import shots

    rows, bars = shots.bench(tmp_path, 32, 2, None)
    assert [row["what"] for row in rows][:3] == ["their kernels", "frames: images", "a loop of simulate"] and not bars
    assert all(row["rate"] > 0.0 and row["ms"] == pytest.approx(1e3 / row["rate"]) for row in rows)
    monkeypatch.setattr(shots.nbnumba, "simulate", lambda experiment: np.zeros((32, 32)))
    for name in ("seconds", "seconds_of_frames"):
        monkeypatch.setattr(shots, name, lambda *_, **__: pytest.fail("a wrong image was timed"))
    with pytest.raises(shots.WrongImage, match="frame 2 of 32 x 32 pixels"):
        shots.bench(tmp_path, 32, 2, None)


def test_a_scene_is_of_the_size_that_its_name_promises(run, tmp_path):
    sizes = {name: make(tmp_path).experiment.detector.pixels for name, make in run.cases.SCENES.items()}
    assert sizes == {
        "supervisor": (2463, 2527),
        "mosaic": (1024, 1024),
        "still": (1024, 1024),
        "oversampled": (512, 512),
        "torch": (256, 256),
        "tolerant": (2463, 2527),
        "gauss": (256, 256),
        "spheres": (256, 256),
        "tophat": (256, 256),
        "interpolated": (256, 256),
        "layers": (512, 512),
        "sources": (256, 256),
        "curved": (1024, 1024),
        "tiny": (16, 16),
        "xfel": (4096, 4096),
        "sase": (512, 512),
        "pink": (512, 512),
    }
    for name, make in run.cases.SCENES.items():
        assert make(tmp_path).pixels == sizes[name][0] * sizes[name][1]


def test_the_supervisor_scene_is_the_reference_case_of_that_name(run, golden, tmp_path):
    theirs, ours = golden.args("supervisor_roi_t1"), list(run.cases.supervisor(tmp_path).args)
    assert np.array_equal(np.loadtxt(ours[ours.index("-mat") + 1]), np.loadtxt(golden.files["MAT"]))
    a, b = run.checks.oracle.geometry(theirs), run.checks.oracle.geometry(ours)
    assert a == b


@pytest.mark.parametrize(
    "spoil",
    [
        lambda image: image * 1.001,
        lambda image: image * np.where(np.arange(image.size).reshape(image.shape) % 2, 1.0, np.nan),
        lambda image: np.zeros_like(image),
    ],
    ids=["a part in a thousand", "not a number", "dark"],
)
def test_a_wrong_image_is_refused(run, monkeypatch, tmp_path, spoil):
    right = run.checks.simulate
    monkeypatch.setattr(run.checks, "simulate", lambda experiment: spoil(right(experiment)))
    monkeypatch.setattr(run.clock, "timed_once", lambda *_: pytest.fail("a wrong image was timed"))
    with pytest.raises(run.WrongImage, match="still: pixel"):
        run.run_case("still", tmp_path, SIDE, 1)


@pytest.mark.parametrize("name", ["gauss", "tolerant"])
def test_an_image_that_lacks_too_much_is_refused(run, tmp_path, name):
    """What is lacking where the oracle looks at no pixel is seen beside the sum of all terms."""
    scene = run.cases.SCENES[name](tmp_path, SIDE)
    image = run.checks.render(scene, 1)
    run.checks.check_culled(scene, image)
    with pytest.raises(run.WrongImage, match=f"{name}: a pixel within .* lacks"):
        run.checks.check_culled(scene, image - 2.0 * scene.tolerance - 1e-3 * image.max())


def test_two_threads_that_give_other_bits_are_refused(run, monkeypatch, tmp_path):
    right, calls = run.checks.simulate, []

    def unsteady(experiment):
        calls.append(1)
        return right(experiment) * (1.0 + 1e-15 * len(calls))

    monkeypatch.setattr(run.checks, "simulate", unsteady)
    with pytest.raises(run.WrongImage, match="other bits"):
        run.run_case("still", tmp_path, SIDE, 1)


def test_a_disturbed_sample_is_taken_again(run, monkeypatch):
    samples = iter([run.clock.Sample(1.0, 1.0, 0.9), run.clock.Sample(1.1, 1.0, 0.0)])
    monkeypatch.setattr(run.clock, "timed_once", lambda *_: next(samples))
    assert run.clock.timed(None).wall == 1.1


def test_what_takes_long_is_sampled_less_often_and_not_again(run, monkeypatch):
    monkeypatch.setattr(run.clock, "SHORTEST_SAMPLE", 0.2)
    seconds = {}
    monkeypatch.setattr(run.clock, "timed_once", lambda name, inner: run.clock.Sample(seconds[name], 0.0, seconds[name]))
    seconds |= {"short": 0.05, "medium": 3.0, "long": 60.0}
    plans = {name: run.clock.plan(name, 9) for name in seconds}
    assert plans == {"short": (4, 9), "medium": (1, 6), "long": (1, 2)}
    assert run.clock.plan("long", 1).samples == 1
    tries = []
    monkeypatch.setattr(run.clock, "timed_once", lambda wall, inner: tries.append(wall) or run.clock.Sample(wall, 0.0, wall))
    for wall, most in ((0.05, run.clock.TRIES), (3.0, 2), (60.0, 1)):
        tries.clear()
        run.clock.timed(wall)
        assert len(tries) == most


def test_ratios_are_of_processor_time_on_one_thread_alone(run):
    sample = run.clock.Sample(wall=3.0, cpu=2.0, others=1.0)
    assert (sample.on(1), sample.on(2)) == (2.0, 3.0)
    entry = run.ratios.Entry("one", None, 10**9)
    assert run.ratios.figures(entry, [sample])["ns"] == 2.0
    assert run.ratios.figures(entry._replace(by_wall=True), [sample])["ns"] == 3.0


def test_noise_is_warned_of(run):
    sample = run.clock.Sample
    loops = {1: [sample(1.0, 1.0, 0.0)] * 3, 2: [sample(0.5, 1.0, 0.0)] * 3}
    scenes = {1: [sample(w, w, 0.0) for w in (1.0, 1.3, 1.4)], 2: [sample(0.6, 1.2, 0.3)] * 3}
    figures = run.figures(10**6, 100, scenes, loops) | {"case": "mosaic", "part": "forward"}
    remarks = run.remarks(figures)
    assert "1 thread, median 30 % above the minimum" in remarks[0]
    assert "50 % of a core during samples of 2 threads" in remarks[1]
    assert figures["ns_1"] == pytest.approx(13.0) and figures["speedup"] == pytest.approx(1.3 / 0.6)
    assert "met" in remarks[-1]


def test_the_program_prints_a_table_and_writes_json_lines(run, capsys, tmp_path):
    out = tmp_path / "figures.jsonl"
    assert run.main(["--case", "still", "startup", "--repeat", "1", "--side", str(SIDE), "--json", str(out)]) == 0
    still, startup = (json.loads(line) for line in out.read_text().splitlines())
    assert still["case"] == "still" and still["environment"]["numba"]
    assert startup["import_nbnumba_s"] > 0.0 and startup["second_run_s"] > 0.0
    printed = capsys.readouterr().out.splitlines()
    assert printed[1].split()[0] == "case" and printed[2].split()[0] == "still"


def test_the_program_ends_with_status_1_at_a_wrong_image(run, monkeypatch, capsys):
    right = run.checks.simulate
    monkeypatch.setattr(run.checks, "simulate", lambda experiment: right(experiment) * 1.001)
    assert run.main(["--case", "still", "--repeat", "1", "--side", str(SIDE)]) == 1
    assert "not timed" in capsys.readouterr().err


# ---- scenes beside each other

ENTRIES = {
    "shapes": ["torch", "gauss", "tophat", "spheres"],
    "interpolation": ["nearest", "interpolated"],
    "tolerance": ["supervisor", "tolerant"],
    "xfel": ["xfel", "xfel_square"],
    "threads": ["plain loop, 1", "plain loop, 2", "mosaic, 1", "mosaic, 2"],
}
"""What is timed in each comparison."""
READ = ("interpolation", "xfel", "threads")
"""The comparisons for which the oracle reads long lists of reflections, which takes seconds."""


def some_long(names):
    """The names, of which those of READ are for the long tests."""
    return [pytest.param(name, marks=pytest.mark.long) if name in READ else name for name in names]


@pytest.mark.parametrize("name", some_long(ENTRIES))
def test_scenes_are_checked_and_timed_beside_each_other(run, monkeypatch, tmp_path, name):
    """The numbers of pixels and windows that are checked are few here; every scene is checked by itself above."""
    for number in ("BRIGHTEST", "RANDOM", "WINDOWS"):
        monkeypatch.setattr(run.checks, number, 2)
    figures = run.run_case(name, tmp_path, SIDE, 2, "ratios")
    rows = figures["rows"]
    assert [one["entry"] for one in rows] == ENTRIES[name] == [line.split("  ")[0] for line in what(run, figures)]
    steps = {"shapes": 100, "interpolation": 10, "tolerance": 10, "xfel": 2500, "threads": 100}[name]
    assert all(one["terms"] == SIDE**2 * steps for one in rows if "plain loop" not in one["entry"])
    assert all(one["ns_min"] <= one["ns"] and one["samples"] == 2 for one in rows)
    least = [one["ns_min"] for one in rows]
    bar = figures["bars"][-1]
    expected = {"tolerance": least[0] / least[1], "threads": least[-2] / least[-1]}
    assert bar.figure == pytest.approx(expected.get(name, least[-1] / least[0]))
    assert str(bar) in run.printed(figures)[-1]


def what(run, figures):
    """The rows of a comparison, from what is compared on."""
    start = len(run.heading(run.ratios.COLUMNS[:1])) + 2
    return [line[start:] for line in run.ratios.rows(figures)]


def test_every_comparison_is_here(run):
    assert tuple(ENTRIES) == tuple(run.ratios.COMPARISONS) == run.CASES["ratios"]


@pytest.mark.parametrize("name", some_long(["shapes", "interpolation", "xfel"]))
def test_a_wrong_sum_of_all_terms_is_refused(run, monkeypatch, tmp_path, name):
    right = run.checks.render_scene
    monkeypatch.setattr(run.checks, "render_scene", lambda *args: 1.001 * right(*args))
    monkeypatch.setattr(run.clock, "timed_once", lambda *_: pytest.fail("a wrong image was timed"))
    with pytest.raises(run.WrongImage, match="torch|nearest|xfel"):
        run.run_case(name, tmp_path, SIDE, 1, "ratios")


@pytest.mark.parametrize("region", [(0, 4095, 0, 4095), (36, 83, 40, 87), (0, 3, 0, 3)])
def test_a_sample_of_a_frame_is_spread_over_it(run, region):
    seen = np.zeros((region[3] + 1, region[1] + 1), dtype=int)
    windows = run.ratios.windows(region)
    for left, right, low, high in windows:
        assert left >= region[0] and low >= region[2]
        seen[low : high + 1, left : right + 1] += 1
    sizes = {(right - left, high - low) for left, right, low, high in windows}
    assert len(windows) == 4 and seen.max() == 1 and sizes == {(min(256, (region[1] - region[0] + 1) // 2) - 1,) * 2}
    halves = [part.sum() for part in (seen[: (region[2] + region[3] + 1) // 2], seen[:, : (region[0] + region[1] + 1) // 2])]
    assert halves == [seen.sum() // 2] * 2


def test_a_bar_is_met_or_missed(run):
    bar = run.Bar("speed", 12.0, 12.0, at_least=True, goal=20.0)
    assert str(bar) == "speed: 12, wanted at least 12 (goal 20): met"
    assert bar._replace(figure=11.9).verdict == bar._replace(figure=math.nan).verdict == "MISSED"
    cost = run.Bar("cost", 1.2, 1.2)
    assert cost.met and not cost._replace(figure=1.3).met and not cost._replace(figure=math.nan).met
    lines = run.summary([bar, cost._replace(figure=1.3)], None)
    assert lines[1].split() == ["speed", "12.00", "at", "least", "12", "(goal", "20)", "met"]
    assert lines[2].split()[-1] == "MISSED" and lines[3] == "1 of 2 are met" and len(lines) == 4
    assert "cut to 48 x 48" in run.summary([bar], 48)[-1]


# ---- a reference program


@pytest.fixture
def program(run, monkeypatch, tmp_path):
    """A program that writes a given image, (slow, fast), in place of computing one."""
    monkeypatch.setattr(run.reference, "REPEAT", 1)

    def make(image):
        image.astype("<f4").tofile(tmp_path / "image.bin")
        script = tmp_path / "program"
        script.write_text(f'#!/bin/sh\nfor name; do :; done\ncp "{tmp_path}/image.bin" "$name"\n')
        script.chmod(0o755)
        return str(script)

    return make


def image_of(run, name, tmp_path):
    """The image of a small scene with all defects of C."""
    return run.simulate(run.cases.SCENES[name](tmp_path, SIDE).experiment, c_parity="all")


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_reference_program_is_compared_and_timed(run, monkeypatch, tmp_path, program):
    monkeypatch.setattr(run.reference, "SHORTEST", -math.inf)
    figures = run.run_case("spheres", tmp_path, SIDE, 1, program=program(image_of(run, "spheres", tmp_path)))
    seconds = figures["reference_s"] - figures["reference_start_s"]
    assert figures["reference_ns"] == pytest.approx(1e9 * seconds / (SIDE**2 * 100))
    assert figures["reference_error_of_allowed"] <= 1.0 and figures["reference_pixels"] == SIDE**2
    assert any("its image agrees" in line and "times ours" in line for line in run.printed(figures))


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_dark_image_and_a_short_run_are_said_to_be_so(run, monkeypatch, tmp_path, program):
    monkeypatch.setattr(run.reference, "SHORTEST", math.inf)
    figures = run.run_case("tophat", tmp_path, SIDE, 1, program=program(image_of(run, "tophat", tmp_path)))
    assert not figures["reference_brightest"] > 0.0
    assert any("its image is dark" in line and "too short to compare" in line for line in run.printed(figures))


@pytest.mark.parametrize("spoil, why", [(lambda image: image * 1.00001, "pixel"), (lambda image: image[1:], "bytes"),
                                        (lambda image: image * np.nan, "pixel")])  # fmt: skip
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_reference_program_with_another_image_ends_the_bench(run, tmp_path, program, capsys, spoil, why):
    path = program(spoil(image_of(run, "torch", tmp_path)))
    words = ["--part", "forward", "--case", "torch", "--repeat", "1", "--side", str(SIDE), "--reference-bin", path]
    assert run.main(words) == 1
    assert f"wrong image, not timed: torch: {why}" in capsys.readouterr().err.replace("the reference program wrote", "bytes")


def test_a_reference_program_that_is_none_is_refused(run, capsys, tmp_path):
    with pytest.raises(SystemExit) as ended:
        run.main(["--reference-bin", str(tmp_path / "missing")])
    assert ended.value.code == 2 and "--reference-bin" in capsys.readouterr().err


def test_a_reference_program_that_fails_ends_the_bench(run, capsys):
    words = ["--part", "forward", "--case", "torch", "--repeat", "1", "--side", str(SIDE), "--reference-bin", "false"]
    assert run.main(words) == 2
    assert "--reference-bin" in capsys.readouterr().err


# ---- the derivative

LONG = ("mosaic", "supervisor", "spheres", "xfel")


@pytest.mark.parametrize("name", [*(pytest.param(name, marks=pytest.mark.long) for name in LONG), "torch", "gauss", "tolerant"])
def test_the_derivative_of_a_small_scene_is_checked_and_timed(run, tmp_path, name):
    figures = run.run_case(name, tmp_path, SIDE, 1, "derivative")
    assert figures["case"] == name and figures["part"] == "derivative" and figures["pixels"] == SIDE**2
    assert figures["error_of_allowed"] <= 1.0
    parameters = {"mosaic": 32, "supervisor": 30, "torch": 31, "gauss": 34, "spheres": 31, "tolerant": 30, "xfel": 35}[name]
    amplitudes = {"mosaic": "bench.hkl", "xfel": "random.hkl"}.get(name)
    assert figures["parameters"] == parameters
    assert figures["numbers"] == parameters + (len((tmp_path / amplitudes).read_text().splitlines()) - 1 if amplitudes else 0)
    for job in ("gradient", "jacobian", "normal"):
        assert figures[f"ratio_{job}_2"] == pytest.approx(figures[f"wall_s_{job}_2"] / figures["wall_s_forward_2"])


def spoil_parameter(name, spoil):
    """A function that spoils one number of the gradient in a pair (loss, gradient)."""
    return lambda result: (result[0], result[1] | {name: spoil(result[1][name])}, *result[2:])


WRONG = {
    "a part in a thousand": ("value_and_grad", spoil_parameter("crystal.b_A", lambda g: g * 1.001)),
    "no polarization": ("value_and_grad", spoil_parameter("beam.polarization", lambda g: g * 0.0)),
    "other sign": ("value_and_grad", spoil_parameter("detector.rotz_deg", lambda g: -g)),
    "not a number": ("value_and_grad", spoil_parameter("goniometer.osc_deg", lambda g: g * np.nan)),
    "no loss": ("value_and_grad", lambda result: (0.0, result[1])),
    "image of the Jacobian": ("jacobian", lambda result: (result[0] * 1.001, result[1])),
    "columns": ("jacobian", lambda result: (result[0], result[1][..., ::-1])),
    "slopes": ("normal_equations", spoil_parameter("beam.wavelength_A", lambda g: g * 1.001)),
    "matrix": ("normal_equations", lambda result: (*result[:2], result[2] * 1.001)),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_derivative_is_refused(run, monkeypatch, small, what):
    function, spoil = WRONG[what]
    right = getattr(run.derivative, function)
    monkeypatch.setattr(run.derivative, function, lambda *args: spoil(right(*args)))
    with pytest.raises(run.derivative.WrongDerivative, match="torch: the .* is wrong"):
        small("torch")


def test_wrong_amplitudes_are_noticed(run, monkeypatch, small):
    right = run.derivative.value_and_grad
    spoil = spoil_parameter("structure_factors.F", lambda g: 0.9 * g)
    monkeypatch.setattr(run.derivative, "value_and_grad", lambda *args: spoil(right(*args)))
    with pytest.raises(run.derivative.WrongDerivative, match="mosaic: the gradient is wrong"):
        small("mosaic")


@pytest.mark.parametrize("function", ["value_and_grad", "jacobian", "normal_equations"])
def test_derivatives_that_depend_on_the_threads_are_refused(run, monkeypatch, small, function):
    right, calls = getattr(run.derivative, function), []

    def unsteady(*args):
        calls.append(1)
        first, *rest = right(*args)
        return (first * (1.0 + 1e-15 * len(calls)), *rest)

    monkeypatch.setattr(run.derivative, function, unsteady)
    with pytest.raises(run.derivative.WrongDerivative, match="other bits"):
        small("torch")


def fake_figures(run, **walls):
    """Figures of 1e5 pixels of 100 steps, from wall times of the jobs on one thread. Two threads take 0.6 of them."""
    jobs = {name: [run.clock.Sample(w, w, 0.0) for w in walls[name]] for name in run.derivative.JOBS}
    halved = {name: [run.clock.Sample(0.6 * s.wall, s.cpu, 0.0) for s in jobs[name]] for name in jobs}
    loops = {n: [run.clock.Sample(1.0 / n, 1.0, 0.0)] * 3 for n in (1, 2)}
    figures = run.derivative.figures(10**5, 100, {1: jobs, 2: halved}, loops)
    return figures | {"case": "torch", "part": "derivative", "parameters": 27, "numbers": 27}


def test_figures_of_the_derivative_are_those_of_its_times(run):
    figures = fake_figures(run, forward=(1.0, 1.1, 1.5), gradient=(2.0, 2.2, 2.3), jacobian=[4.95] * 3, normal=[3.3] * 3)
    assert figures["ns_forward_1"] == pytest.approx(110.0) and figures["ns_gradient_2"] == pytest.approx(132.0)
    assert figures["ratio_gradient_1"] == pytest.approx(2.0) and figures["ratio_jacobian_2"] == pytest.approx(4.5)
    assert figures["ratio_min_normal_1"] == pytest.approx(3.3) and figures["speedup_jacobian"] == pytest.approx(1 / 0.6)
    assert figures["noise_1"] == pytest.approx(1.1)
    lines = run.printed(figures)
    assert [line.split()[3] for line in lines[:2]] == ["1", "2"]
    assert "torch: value_and_grad by 27 parameters, in images: 2, wanted at most 2.2: met" in lines[2]
    assert "the Jacobian by 15 parameters, in images: 4.95, wanted at most 4: MISSED" in lines[-3]
    assert "normal equations by 15 parameters, in images: 3.3, wanted at most 4: met" in lines[-2]
    assert [bar.met for bar in run.bars(figures)] == [True, False, True]
    assert [bar.figure for bar in run.bars(figures | {"case": "gauss"})] == [pytest.approx(2.0), pytest.approx(3.3)]
    assert "66.00 ns forward, 132.00 forward and backward" in lines[-1] and "34 and 357" in lines[-1]
    assert "0.5 and 2.7 times as long" in lines[-1]


@pytest.mark.long
def test_memory_is_the_difference_of_two_processes(run, monkeypatch, tmp_path):
    figures = run.run_case("memory", tmp_path, SIDE, 1, "derivative")
    assert 0.0 < figures["peak_MB_forward"] < figures["peak_MB_gradient"]
    assert figures["memory_MB"] == pytest.approx(figures["peak_MB_gradient"] - figures["peak_MB_forward"])
    assert figures["loss_MB_gradient"] == pytest.approx(2 * 8 * 2463 * 2527 / 1e6) and figures["loss_MB_forward"] == 0.0
    assert run.bars(figures)[0].met and "wanted at most 200: met" in run.printed(figures)[-1]
    figures["memory_MB"] = 201.0
    assert "MISSED" in run.printed(figures)[-1]


def test_a_peak_is_noticed_and_forgotten(run):
    from bench import peak

    if not peak.reset_peak():
        pytest.skip("the peak cannot be reset here")
    before = peak.peak_bytes()
    pages = mmap.mmap(-1, 8 * 10**7)  # an array could get what this process has freed before
    np.frombuffer(pages)[:] = 1.0
    assert 7e7 < peak.peak_bytes() - before < 9e7
    pages.close()
    assert peak.reset_peak() and peak.peak_bytes() - before < 1e7


def test_the_program_prints_rows_of_the_derivative(run, capsys, tmp_path):
    out = tmp_path / "figures.jsonl"
    words = ["--part", "derivative", "--case", "torch", "--repeat", "1", "--side", str(SIDE), "--json", str(out)]
    assert run.main(words) == 0
    figures = json.loads(out.read_text())
    assert figures["case"] == "torch" and figures["part"] == "derivative" and figures["environment"]["numba"]
    printed = capsys.readouterr().out.splitlines()
    assert printed[1].split()[3] == "thr" and printed[2].split()[:4] == ["torch", str(SIDE**2), "100", "1"]


def test_the_program_ends_with_status_1_at_a_wrong_derivative(run, monkeypatch, capsys):
    right = run.derivative.value_and_grad
    monkeypatch.setattr(run.derivative, "value_and_grad", lambda *args: (0.0, right(*args)[1]))
    assert run.main(["--part", "derivative", "--case", "torch", "--repeat", "1", "--side", str(SIDE)]) == 1
    assert "wrong derivative, not timed: torch: the loss" in capsys.readouterr().err
