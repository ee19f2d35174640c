"""The bench: its scenes render and agree with the oracle, and a wrong image is not timed."""

import json
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
    monkeypatch.setattr(run, "FMA_REPEATS", 100)
    monkeypatch.setattr(run, "SHORTEST_SAMPLE", 0.0)
    return run


@pytest.mark.parametrize("name", ["supervisor", "mosaic", "still", "oversampled"])
def test_a_small_scene_agrees_with_the_oracle_and_is_timed(run, tmp_path, name):
    found = run.run_case(name, tmp_path, SIDE, 1)
    assert found["case"] == name and found["pixels"] == SIDE**2
    assert found["steps"] == {"supervisor": 10, "mosaic": 100, "still": 1, "oversampled": 90}[name]
    assert found["error_of_allowed"] <= 1.0
    assert found["ns_1"] == pytest.approx(found["wall_s_1"] * 1e9 / (found["pixels"] * found["steps"]))
    assert found["ns_normalised"] == pytest.approx(found["ns_1"] * found["fma_lanes_per_ns"] / 25)
    assert found["speedup"] == pytest.approx(found["wall_s_1"] / found["wall_s_2"])


def test_a_scene_is_of_the_size_that_its_name_promises(run, tmp_path):
    sizes = {name: make(tmp_path).experiment.detector.pixels for name, make in run.cases.SCENES.items()}
    assert sizes == {
        "supervisor": (2463, 2527),
        "mosaic": (1024, 1024),
        "still": (1024, 1024),
        "oversampled": (512, 512),
    }
    for name, make in run.cases.SCENES.items():
        assert make(tmp_path).pixels == sizes[name][0] * sizes[name][1]


def test_the_supervisor_scene_is_the_reference_case_of_that_name(run, golden, tmp_path):
    theirs, ours = golden.args("supervisor_roi_t1"), list(run.cases.supervisor(tmp_path).args)
    assert np.array_equal(np.loadtxt(ours[ours.index("-mat") + 1]), np.loadtxt(golden.files["MAT"]))
    a, b = run.oracle.geometry(theirs), run.oracle.geometry(ours)
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
    right = run.simulate
    monkeypatch.setattr(run, "simulate", lambda experiment: spoil(right(experiment)))
    monkeypatch.setattr(run, "timed_once", lambda *_: pytest.fail("a wrong image was timed"))
    with pytest.raises(run.WrongImage, match="still: pixel"):
        run.run_case("still", tmp_path, SIDE, 1)


def test_two_threads_that_give_other_bits_are_refused(run, monkeypatch, tmp_path):
    right, calls = run.simulate, []

    def unsteady(experiment):
        calls.append(1)
        return right(experiment) * (1.0 + 1e-15 * len(calls))

    monkeypatch.setattr(run, "simulate", unsteady)
    with pytest.raises(run.WrongImage, match="other bits"):
        run.run_case("still", tmp_path, SIDE, 1)


def test_a_disturbed_sample_is_taken_again(run, monkeypatch):
    samples = iter([run.Sample(1.0, 1.0, 0.9), run.Sample(1.1, 1.0, 0.0)])
    monkeypatch.setattr(run, "timed_once", lambda *_: next(samples))
    assert run.timed(None).wall == 1.1


def test_noise_is_warned_of(run):
    sample = run.Sample
    loops = {1: [sample(1.0, 1.0, 0.0)] * 3, 2: [sample(0.5, 1.0, 0.0)] * 3}
    scenes = {1: [sample(w, w, 0.0) for w in (1.0, 1.3, 1.4)], 2: [sample(0.6, 1.2, 0.3)] * 3}
    found = run.figures(10**6, 100, scenes, loops) | {"case": "mosaic"}
    said = run.remarks(found)
    assert "1 thread, median 30 % above the minimum" in said[0]
    assert "50 % of a core during samples of 2 threads" in said[1]
    assert found["ns_1"] == pytest.approx(13.0) and found["speedup"] == pytest.approx(1.3 / 0.6)
    assert "met" in said[-1]


def test_the_program_prints_a_table_and_writes_json_lines(run, capsys, tmp_path):
    out = tmp_path / "figures.jsonl"
    assert run.main(["--case", "still", "startup", "--repeat", "1", "--side", str(SIDE), "--json", str(out)]) == 0
    still, startup = (json.loads(line) for line in out.read_text().splitlines())
    assert still["case"] == "still" and still["environment"]["numba"]
    assert startup["import_nbnumba_s"] > 0.0 and startup["second_run_s"] > 0.0
    printed = capsys.readouterr().out.splitlines()
    assert printed[1].split()[0] == "case" and printed[2].split()[0] == "still"


def test_the_program_ends_with_status_1_at_a_wrong_image(run, monkeypatch, capsys):
    right = run.simulate
    monkeypatch.setattr(run, "simulate", lambda experiment: right(experiment) * 1.001)
    assert run.main(["--case", "still", "--repeat", "1", "--side", str(SIDE)]) == 1
    assert "not timed" in capsys.readouterr().err
