"""A reference program beside nbnumba: nanoBragg, or one that takes its flags. Its image is compared, then its time."""

import math
import resource
from collections.abc import Callable
from pathlib import Path

import numba
import numpy as np

from bench import cases, checks
from nbnumba import simulate
from nbnumba.cli.compare import run_reference

STEPS = 2e7
"""The pixels times steps of the window that the reference program computes: a second or a few."""
REPEAT = 3
RELATIVE, OF_MAXIMUM = 1e-6, 1e-9
"""The largest difference of a pixel, as fractions of itself and of the brightest one: the reference writes float32 numbers."""
SHORTEST = 0.05
"""The processor time (s) below which nothing can be said about a program that has to start."""


def bench(make: Callable[..., cases.Scene], folder: Path, side: int | None, program: str) -> dict:
    """The figures of a reference program on a window of a scene, on one thread. Raises WrongImage if its image differs."""
    scene = window(make, folder, side)
    runs = [run(program, scene) for _ in range(REPEAT)]
    error = compare(scene, runs[0][0])
    starts = [run(program, make(folder, 1))[1] for _ in range(REPEAT)]
    seconds, start = min(cpu for _, cpu in runs), min(starts)
    figures = {"reference_pixels": scene.pixels, "reference_s": seconds, "reference_start_s": start}
    figures |= {"reference_error_of_allowed": error, "reference_brightest": float(runs[0][0].max())}
    if seconds - start < SHORTEST:
        return figures
    return figures | {"reference_ns": 1e9 * (seconds - start) / (scene.pixels * scene.steps)}


def window(make: Callable[..., cases.Scene], folder: Path, side: int | None) -> cases.Scene:
    """The scene, or a part of it that is so small that the reference program takes seconds."""
    scene = make(folder, side)
    edge = math.isqrt(int(STEPS / scene.steps))
    return scene if edge * edge >= scene.pixels else make(folder, edge)


def run(program: str, scene: cases.Scene) -> tuple[np.ndarray, float]:
    """The image of a scene by the reference program on one thread, and the processor time (s) that its process took."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    content = run_reference(program, [*scene.args, "-nopgm"], threads=1).image
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    fast, slow = scene.experiment.detector.pixels
    if len(content) != 4 * fast * slow:
        raise checks.WrongImage(f"{scene.name}: the reference program wrote {len(content)} bytes, not {fast} x {slow} floats")
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return np.frombuffer(content, "<f4").reshape(slow, fast).astype(np.float64), seconds


def compare(scene: cases.Scene, expected: np.ndarray) -> float:
    """The largest difference of the reference program's image from ours with all defects of C, in units of the allowed one.

    Raises WrongImage above 1.
    """
    numba.set_num_threads(1)
    image = simulate(scene.experiment, c_parity="all", c_threads=1, tolerance=0.0)
    allowed = RELATIVE * np.abs(expected) + OF_MAXIMUM * np.abs(expected).max()
    parts = np.abs(image - expected) / np.where(allowed > 0.0, allowed, 1e-300)
    worst = np.unravel_index(np.argmax(np.where(np.isnan(parts), np.inf, parts)), parts.shape)
    if not parts[worst] <= 1.0:
        raise checks.WrongImage(
            f"{scene.name}: pixel {tuple(map(int, worst))} (slow, fast) with all defects of C is {image[worst]!r}, "
            f"the reference program has {expected[worst]!r}"
        )
    return float(parts[worst])


def remark(result: dict, ns: float) -> str:
    """The reference program beside nbnumba in a line. ns: that of nbnumba for a pixel and step."""
    agreed = f"the reference program: its image agrees ({result['reference_error_of_allowed']:.2g} of what may differ)"
    if not result["reference_brightest"] > 0.0:
        agreed = "the reference program: its image is dark, and so is ours with all defects of C"
    if "reference_ns" not in result:
        return (
            f"{agreed}; {result['reference_s']:.2f} s with its start of {result['reference_start_s']:.2f}: too short to compare"
        )
    theirs = result["reference_ns"]
    return f"{agreed}; {theirs:.1f} ns for each pixel and step on one thread, {theirs / ns:.1f} times ours"
