"""Scenes beside each other: what a shape, an interpolation, a tolerance, what is left out, and a second thread cost or save.

Everything is checked, and then timed in turn. Ratios are of the minima of one run."""

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numba
import numpy as np

from bench import cases, checks, clock
from bench.table import Bar, row
from nbnumba import simulate
from nbnumba.setup.scene import build

BAR_SHAPES = {"gauss": 1.2, "tophat": 1.2, "spheres": 1.6}
"""The most that a term may cost, in units of a term of a parallelepiped."""
BAR_TOLERANCE, BAR_XFEL, GOAL_XFEL, BAR_SPEEDUP = 4.0, 12.0, 20.0, 1.85
"""The least that a tolerance has to save on the frame of "supervisor", that what is left out has to save on the whole frame of
"xfel", and that a second thread has to save on "mosaic": ratios of times."""
BAR_INTERPOLATION = 4.0
"""The most that an interpolated amplitude may cost, in units of a step with the nearest one: a third of the 12 times
that it took when every step gathered 64 amplitudes one by one."""

GRID, EDGE = 2, 256
"""The sample of a frame whose every term is summed: so many windows along each direction, of so many pixels along each edge.

Each is rendered into a whole frame, which takes about 10 ms. So few and large ones have 1 % of that in their time."""
CHECKED = 64
"""The pixels along each edge of the window on which that sum is checked."""


class Entry(NamedTuple):
    """What is timed: its name, the function, the pixels times steps that it computes, its threads, and by which clock.

    Processor time counts on one thread, because others take none of it, and wall time where more threads are compared.
    """

    name: str
    function: Callable[[], object]
    terms: int
    threads: int = 1
    by_wall: bool = False


class Comparison(NamedTuple):
    """Checked functions that are timed in turn, the bars that follow from their times by name, and further remarks."""

    entries: list[Entry]
    bars: Callable[[dict[str, float]], list[Bar]]
    remarks: list[str] = []


def of_every_term(scene: cases.Scene) -> Entry:
    """The image of a scene, in which every term counts, checked. Its setup is not timed."""
    render = checks.renderer(scene.experiment)
    numba.set_num_threads(1)
    checks.check(scene, render())
    return Entry(scene.name, render, scene.pixels * scene.steps)


def as_usual(scene: cases.Scene) -> Entry:
    """The image of a scene as `simulate` returns it, checked."""
    experiment = scene.experiment
    checks.checked(scene, [1])
    return Entry(scene.name, lambda: simulate(experiment), scene.pixels * scene.steps)


def shapes(folder: Path, side: int | None) -> Comparison:
    """Every shape with all of its terms, in units of parallelepipeds."""
    entries = [of_every_term(cases.SCENES[name](folder, side)) for name in ("torch", *BAR_SHAPES)]

    def bars(ns):
        return [
            Bar(f"{name} with every term, in units of SQUARE", ns[name] / ns["torch"], most)
            for name, most in BAR_SHAPES.items()
        ]

    return Comparison(entries, bars)


def interpolation(folder: Path, side: int | None) -> Comparison:
    """Interpolated amplitudes, in units of the nearest ones."""
    entries = [of_every_term(make(folder, side)) for make in (cases.nearest, cases.interpolated)]

    def bars(ns):
        return [Bar("interpolation, in units of SQUARE", ns["interpolated"] / ns["nearest"], BAR_INTERPOLATION)]

    return Comparison(entries, bars)


def tolerance(folder: Path, side: int | None) -> Comparison:
    """The frame of `supervisor` without and with a tolerance."""
    entries = [as_usual(cases.supervisor(folder, side)), as_usual(cases.tolerant(folder, side))]

    def bars(ns):
        saved = ns["supervisor"] / ns["tolerant"]
        return [Bar("supervisor without a tolerance, in units of 0.001 photons", saved, BAR_TOLERANCE, at_least=True)]

    return Comparison(entries, bars)


def xfel(folder: Path, side: int | None) -> Comparison:
    """The whole frame of `xfel` with all of its setup, and the sum of all terms for parallelepipeds on a sample of it."""
    entries = [as_usual(cases.xfel(folder, side)), square_sample(folder, side)]
    experiment = cases.xfel(folder, side).experiment
    seconds = setup_seconds(experiment)

    def bars(ns):
        saved = ns["xfel_square"] / ns["xfel"]
        return [Bar("every term of SQUARE, in units of xfel", saved, BAR_XFEL, at_least=True, goal=GOAL_XFEL)]

    return Comparison(entries, bars, [f"xfel: of each image {seconds:.3f} s are setup: sources, lattices, amplitudes"])


def setup_seconds(experiment) -> float:
    """The least processor time (s) of three setups of an experiment."""
    window, seconds = cases.window_of(experiment), []
    for _ in range(3):
        start = time.process_time()
        build(experiment, window)
        seconds.append(time.process_time() - start)
    return min(seconds)


def square_sample(folder: Path, side: int | None) -> Entry:
    """The sum of all terms on windows all over the frame of `xfel_square`, without setup. One window is checked."""
    checks.checked(cases.xfel_square(folder, CHECKED if side is None else min(side, CHECKED)), [1])
    scene = cases.xfel_square(folder, side)
    experiment, rois = scene.experiment, windows(scene.region)
    parts = [checks.renderer(experiment.replace({"sampling.roi": roi})) for roi in rois]
    count = sum((right - left + 1) * (high - low + 1) for left, right, low, high in rois)
    return Entry(scene.name, lambda: [render() for render in parts], count * scene.steps)


def windows(region: tuple[int, int, int, int]) -> list[tuple[int, int, int, int]]:
    """Windows in a grid all over a region, as the first and last fast pixel, first and last slow pixel of each."""
    spans = []
    for first, last in (region[:2], region[2:]):
        size = last - first + 1
        edge = max(1, min(EDGE, size // GRID))
        starts = [first + (2 * i + 1) * size // (2 * GRID) - edge // 2 for i in range(GRID)]
        spans.append([(start, start + edge - 1) for start in starts])
    return [(*fast, *slow) for slow in spans[1] for fast in spans[0]]


def threads(folder: Path, side: int | None) -> Comparison:
    """The scene `mosaic` on one and on two threads, and the plain loop, which shows what the machine allows."""
    scene, counts = cases.mosaic(folder, side), [n for n in (1, 2) if n <= numba.config.NUMBA_NUM_THREADS]
    experiment, out = scene.experiment, np.empty(clock.BLOCKS)
    checks.checked(scene, counts)
    plain, lanes = (lambda: clock.fma_blocks(out, clock.FMA_REPEATS)), int(1e9 * clock.fma_lanes())
    entries = [Entry(f"plain loop, {n}", plain, lanes, n, by_wall=True) for n in counts]
    entries += [
        Entry(f"mosaic, {n}", lambda: simulate(experiment), scene.pixels * scene.steps, n, by_wall=True) for n in counts
    ]

    def bars(ns):
        if len(counts) == 1:
            return []
        allowed = ns["plain loop, 1"] / ns["plain loop, 2"]
        subject = f"mosaic on one thread, in units of two (the plain loop: {allowed:.2f})"
        return [Bar(subject, ns["mosaic, 1"] / ns["mosaic, 2"], BAR_SPEEDUP, at_least=True)]

    return Comparison(entries, bars)


COMPARISONS = {f.__name__: f for f in (shapes, interpolation, tolerance, xfel, threads)}


# ---- the figures


def bench(name: str, folder: Path, side: int | None, repeat: int) -> dict:
    """Check what is compared under a name of COMPARISONS, then time it. Returns its figures. Raises WrongImage."""
    entries, bars, remarks = COMPARISONS[name](folder, side)
    samples = samples_of(entries, repeat)
    rows = [figures(entry, samples[entry.name]) for entry in entries]
    least = {entry.name: one["ns_min"] for entry, one in zip(entries, rows)}
    return {"case": name, "rows": rows, "bars": bars(least), "remarks": remarks, "repeat": repeat}


def samples_of(entries: list[Entry], repeat: int) -> dict[str, list[clock.Sample]]:
    """The times of the entries by name, taken in turn. What takes long has fewer samples."""
    plans, samples = {}, {entry.name: [] for entry in entries}
    for entry in entries:
        numba.set_num_threads(entry.threads)
        plans[entry.name] = clock.plan(entry.function, repeat)
    for turn in range(repeat):
        for entry in entries:
            plan = plans[entry.name]
            if turn < plan.samples:
                numba.set_num_threads(entry.threads)
                samples[entry.name].append(clock.timed(entry.function, plan.calls))
    return samples


def figures(entry: Entry, samples: list[clock.Sample]) -> dict:
    """The figures of an entry from its samples."""
    seconds = [sample.wall if entry.by_wall else sample.cpu for sample in samples]
    middle, least = statistics.median(seconds), min(seconds)
    result = {"entry": entry.name, "terms": entry.terms, "threads": entry.threads, "samples": len(samples)}
    result |= {"s": middle, "s_min": least, "noise": middle / least, "wall_s": statistics.median(s.wall for s in samples)}
    return result | {"ns": 1e9 * middle / entry.terms, "ns_min": 1e9 * least / entry.terms}


# ---- the report

COLUMNS = (
    ("case", "case", "<14"),
    ("what", "entry", "<18"),
    ("pixels x steps", "terms", ">14"),
    ("thr", "threads", ">3"),
    ("samples", "samples", ">7"),
    ("s", "s", ">8.3f"),
    ("min s", "s_min", ">8.3f"),
    ("wall s", "wall_s", ">8.3f"),
    ("ns/step", "ns", ">8.3f"),
    ("min", "ns_min", ">8.3f"),
)


def rows(result: dict) -> list[str]:
    """The rows of a comparison, one for each entry."""
    return [row(COLUMNS, one | {"case": result["case"]}) for one in result["rows"]]


def remarks(result: dict) -> list[str]:
    """The remarks on a comparison: whether its bars are met, and what else there is to say."""
    return [*result["remarks"], *map(str, result["bars"])]
