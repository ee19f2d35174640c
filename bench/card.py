"""The bench of an NVIDIA card beside the CPU: checks each image and each gradient against the CPU's, then times it."""

import argparse
import json
import statistics
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "helpers")]

import numpy as np  # noqa: E402

import adjoint  # noqa: E402
from bench import cases, derivative  # noqa: E402
from bench.table import heading, row  # noqa: E402
from nbnumba import InputError, simulate  # noqa: E402
from nbnumba.backends import PRECISIONS, card  # noqa: E402

BARS = {"double": (1e-9, 1e-13, 1e-9), "mixed": (1e-5, 1e-7, 1e-5), "paired": (1e-5, 1e-7, 1e-5), "single": (1.0, 1e-2, 0.1)}
"""What may differ from the CPU in double precision: a pixel, of itself and of the brightest; a loss, of itself, and its
derivatives, of the sum of the sizes of their terms."""

NAMES = list(derivative.REFINED)

COLUMNS = (
    ("precision", "precision", "<10"),
    ("Gsteps/s", "gsteps", ">9.3f"),
    ("/cpu", "image_ratio", ">8.1f"),
    ("gradient", "gradient_gsteps", ">9.3f"),
    ("/cpu", "gradient_ratio", ">8.1f"),
    ("/image", "per_image", ">7.2f"),
)


def median_seconds(call, repeat: int) -> float:
    """The median wall time of a call, which has been made before."""
    call()
    found = []
    for _ in range(repeat):
        started = time.perf_counter()
        call()
        found.append(time.perf_counter() - started)
    return statistics.median(found)


class Expected(NamedTuple):
    """What the CPU computes: the image, the loss, its derivatives by NAMES, and the sums of the sizes of their terms."""

    image: np.ndarray
    loss: float
    gradient: np.ndarray
    sizes: np.ndarray


def on_cpu(task) -> Expected:
    """What is expected of a card."""
    image, by_pixel = adjoint.jacobian(task.experiment, NAMES)
    loss, gradient = adjoint.value_and_grad(task.loss, task.experiment, NAMES)
    columns = np.abs(by_pixel.reshape(-1, len(NAMES)))
    sizes = columns.T @ np.abs(task.loss.derivative(image)).ravel()
    return Expected(image, loss, derivative.flat(gradient, NAMES), sizes)


def bench(task, steps: float, repeat: int, given: dict, expected: Expected) -> dict:
    """The figures of a precision on the card. Raises ValueError for an image, or a gradient, that is wrong."""
    relative, of_largest, of_terms = BARS[given["precision"]]
    reference, experiment = expected.image, task.experiment
    found = simulate(experiment, **given)
    worst = float((np.abs(found - reference) / (relative * reference + of_largest * reference.max())).max())
    if not worst <= 1.0:
        raise ValueError(f"wrong image in {given['precision']}, not timed: {worst:.3g} times what is allowed")
    loss, gradient = adjoint.value_and_grad(task.loss, experiment, NAMES, **given)
    worst = float((np.abs(derivative.flat(gradient, NAMES) - expected.gradient) / (of_terms * expected.sizes)).max())
    worst = max(worst, abs(loss - expected.loss) / (of_terms * abs(expected.loss)))
    if not worst <= 1.0:
        raise ValueError(f"wrong gradient in {given['precision']}, not timed: {worst:.3g} times what is allowed")
    image, cpu_image = (median_seconds(lambda g=g: simulate(experiment, **g), repeat) for g in (given, {}))
    gradient, cpu_gradient = (
        median_seconds(lambda g=g: adjoint.value_and_grad(task.loss, experiment, NAMES, **g), repeat) for g in (given, {})
    )
    return {
        "precision": given["precision"],
        "gsteps": steps / image / 1e9,
        "image_ratio": cpu_image / image,
        "gradient_gsteps": steps / gradient / 1e9,
        "gradient_ratio": cpu_gradient / gradient,
        "per_image": gradient / image,
    }


def main(args=None) -> int:
    """Run it; returns the exit status: 1 for a wrong image. Without a card it says so."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--case", choices=cases.SCENES, default="mosaic", help="the scene (default mosaic)")
    parser.add_argument("--repeat", type=int, default=9, help="number of samples (default 9)")
    parser.add_argument("--side", type=int, help="render only so many pixels along each edge")
    parser.add_argument("--json", metavar="FILE", help="append the figures to a file, a line of JSON for each precision")
    wanted = parser.parse_args(args)
    try:
        card.check()
    except InputError as error:
        print(f"not run: {error}")
        return 0
    with tempfile.TemporaryDirectory() as name, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        scene = cases.SCENES[wanted.case](Path(name), wanted.side)
        task = derivative.task(scene)
        expected = on_cpu(task)
        steps = scene.pixels * steps_of(task.experiment)
        print(f"{wanted.case}: the card beside all cores of this machine in double precision")
        print(heading(COLUMNS))
        for precision in PRECISIONS:
            try:
                found = bench(task, steps, wanted.repeat, {"backend": "cuda", "precision": precision}, expected)
            except ValueError as wrong:
                print(wrong, file=sys.stderr)
                return 1
            print(row(COLUMNS, found))
            if wanted.json:
                with open(wanted.json, "a") as lines:
                    lines.write(json.dumps(found | {"part": "card", "case": wanted.case}) + "\n")
    return 0


def steps_of(experiment) -> int:
    """Steps of a pixel of an experiment."""
    from nbnumba.setup import sampling, scene
    from nbnumba.simulate import steps_per_pixel

    window = sampling.window(experiment.detector.pixels, experiment.sampling.roi, experiment.sampling.mask)
    return steps_per_pixel(scene.build(experiment, window))


if __name__ == "__main__":
    sys.exit(main())
