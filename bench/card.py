"""The bench of an NVIDIA card: it checks every image and gradient against those of the CPU, and then times both."""

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
"""The largest differences from the CPU in double precision: of a pixel, as fractions of itself and of the brightest pixel; of
a loss, as a fraction of itself, and of its derivatives, as a fraction of the sum of the sizes of their terms."""

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
    """The median wall time (s) of a call, after a first call that is not timed."""
    call()
    seconds = []
    for _ in range(repeat):
        started = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)


class Expected(NamedTuple):
    """The results of the CPU: the image, the loss, its derivatives by NAMES, and the sums of the sizes of their terms."""

    image: np.ndarray
    loss: float
    gradient: np.ndarray
    sizes: np.ndarray


def on_cpu(task) -> Expected:
    """The results that a card is expected to return."""
    image, by_pixel = adjoint.jacobian(task.experiment, NAMES)
    loss, gradient = adjoint.value_and_grad(task.loss, task.experiment, NAMES)
    columns = np.abs(by_pixel.reshape(-1, len(NAMES)))
    sizes = columns.T @ np.abs(task.loss.derivative(image)).ravel()
    return Expected(image, loss, derivative.flat(gradient, NAMES), sizes)


def bench(task, steps: float, repeat: int, machine: dict, expected: Expected) -> dict:
    """The figures of a precision on the card. Raises ValueError for an image, or a gradient, that is wrong."""
    relative, of_largest, of_terms = BARS[machine["precision"]]
    reference, experiment = expected.image, task.experiment
    image = simulate(experiment, **machine)
    worst = float((np.abs(image - reference) / (relative * reference + of_largest * reference.max())).max())
    if not worst <= 1.0:
        raise ValueError(f"wrong image in {machine['precision']}, not timed: {worst:.3g} times what is allowed")
    loss, gradient = adjoint.value_and_grad(task.loss, experiment, NAMES, **machine)
    worst = float((np.abs(derivative.flat(gradient, NAMES) - expected.gradient) / (of_terms * expected.sizes)).max())
    worst = max(worst, abs(loss - expected.loss) / (of_terms * abs(expected.loss)))
    if not worst <= 1.0:
        raise ValueError(f"wrong gradient in {machine['precision']}, not timed: {worst:.3g} times what is allowed")
    image_s, cpu_image_s = (median_seconds(lambda m=m: simulate(experiment, **m), repeat) for m in (machine, {}))
    gradient_s, cpu_gradient_s = (
        median_seconds(lambda m=m: adjoint.value_and_grad(task.loss, experiment, NAMES, **m), repeat) for m in (machine, {})
    )
    return {
        "precision": machine["precision"],
        "gsteps": steps / image_s / 1e9,
        "image_ratio": cpu_image_s / image_s,
        "gradient_gsteps": steps / gradient_s / 1e9,
        "gradient_ratio": cpu_gradient_s / gradient_s,
        "per_image": gradient_s / image_s,
    }


def main(args=None) -> int:
    """Run the bench, or print that there is no card. Returns the exit status: 1 for a wrong image or gradient."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--case", choices=cases.SCENES, default="mosaic", help="the scene (default mosaic)")
    parser.add_argument("--repeat", type=int, default=9, help="number of samples (default 9)")
    parser.add_argument("--side", type=int, help="render only that many pixels along each edge")
    parser.add_argument("--json", metavar="FILE", help="append the figures to a file, a line of JSON for each precision")
    options = parser.parse_args(args)
    try:
        card.check()
    except InputError as error:
        print(f"not run: {error}")
        return 0
    with tempfile.TemporaryDirectory() as name, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        scene = cases.SCENES[options.case](Path(name), options.side)
        task = derivative.task(scene)
        expected = on_cpu(task)
        steps = scene.pixels * scene.steps
        print(f"{options.case}: the card beside all cores of this machine in double precision")
        print(heading(COLUMNS))
        for precision in PRECISIONS:
            try:
                figures = bench(task, steps, options.repeat, {"backend": "cuda", "precision": precision}, expected)
            except ValueError as wrong:
                print(wrong, file=sys.stderr)
                return 1
            print(row(COLUMNS, figures))
            if options.json:
                with open(options.json, "a") as lines:
                    lines.write(json.dumps(figures | {"part": "card", "case": options.case}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
