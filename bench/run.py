"""The bench: it compiles the kernels, checks every image and derivative, and only then times them."""

import argparse
import json
import math
import os
import platform
import statistics
import sys
import tempfile
import warnings
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "helpers")]

import llvmlite  # noqa: E402
import numba  # noqa: E402
import numpy as np  # noqa: E402
import oracle  # noqa: E402

from bench import cases, clock, derivative  # noqa: E402
from bench.table import heading, noise, row, verdict  # noqa: E402
from nbnumba import simulate  # noqa: E402
from nbnumba.setup import sampling  # noqa: E402
from nbnumba.setup.culling import every_term  # noqa: E402
from nbnumba.setup.scene import build  # noqa: E402
from nbnumba.simulate import render as render_scene  # noqa: E402

RELATIVE, OF_MAXIMUM = 1e-9, 1e-13
"""The largest difference of a pixel from the oracle, as fractions of the pixel and of the brightest compared pixel.

The oracle computes the sine of pi N h as it stands, which rounds an angle of hundreds of turns."""

BRIGHTEST, RANDOM = 16, 20
"""The numbers of pixels that are compared: the brightest ones, and random ones."""

WINDOWS, EDGE = 6, 16
"""The windows of an image that are compared with the sum of all terms, and their edges in pixels."""
UNSEEN, ROUNDING = 1e-12, 1e-11
"""Photons that a culled image may lack beside its tolerance, and the part of a pixel by which sums of other terms differ."""

BAR_NS, BAR_LANES, BAR_SPEEDUP = 7.0, 25.0, 1.9
"""The bars for "mosaic": the most ns per step in float64 on a core with that many 1e9 FMA lanes per second, and the least
speedup of two threads."""

CASES = {"forward": (*cases.SCENES, "startup"), "derivative": ("mosaic", "supervisor", "torch", "memory")}
"""The two parts of the bench, and the cases of each."""


class WrongImage(Exception):
    """An image that is wrong, so that it is not timed."""


# ---- the check


def check(scene: cases.Scene, image: np.ndarray) -> float:
    """The largest error of an image on some pixels, in units of the allowed error. Raises WrongImage above 1."""
    pixels = compared_pixels(image, scene.region)
    expected = oracle.render(scene.args, pixels=pixels)
    largest = max(expected.values())
    if not largest > 0.0:
        raise WrongImage(f"{scene.name}: the oracle finds no light in {len(pixels)} pixels")
    allowed = {p: RELATIVE * value + OF_MAXIMUM * largest + scene.tolerance + UNSEEN for p, value in expected.items()}
    errors = {p: abs(image[p] - value) / allowed[p] for p, value in expected.items()}
    worst = max(errors, key=lambda p: math.inf if math.isnan(errors[p]) else errors[p])
    if not errors[worst] <= 1.0:
        raise WrongImage(
            f"{scene.name}: pixel {worst} (slow, fast) is {image[worst]!r}, the oracle has {expected[worst]!r}"
        )
    return errors[worst]


def compared_pixels(image: np.ndarray, region: tuple[int, int, int, int]) -> list[tuple[int, int]]:
    """The brightest pixels of a region, its corners, and random ones, as (slow, fast)."""
    left, right, low, high = region
    part = image[low : high + 1, left : right + 1]
    brightest = np.argsort(part, axis=None)[-BRIGHTEST:]
    random = np.random.default_rng(1).choice(part.size, RANDOM, replace=False)
    slow, fast = np.unravel_index(np.concatenate([brightest, random]), part.shape)
    corners = [(s, f) for s in (low, high) for f in (left, right)]
    return sorted({*corners, *((int(s) + low, int(f) + left) for s, f in zip(slow, fast))})


def check_culled(scene: cases.Scene, image: np.ndarray) -> None:
    """Check some windows of an image that may lack terms against the sum of all terms. Raises WrongImage."""
    random = np.random.default_rng(2)
    left, right, low, high = scene.region
    for _ in range(WINDOWS):
        fast, slow = (int(random.integers(a, max(a, b - EDGE) + 1)) for a, b in ((left, right), (low, high)))
        roi = (fast, min(fast + EDGE, right), slow, min(slow + EDGE, high))
        part = scene.experiment.replace({"sampling.roi": roi})
        window = sampling.window(part.detector.pixels, roi, None)
        whole = every_term(build(part, window))
        inside = (slice(roi[2], roi[3] + 1), slice(roi[0], roi[1] + 1))
        lack = (render_scene(whole, window, part.detector.pixels, None) - image)[inside]
        allowed = scene.tolerance + UNSEEN + ROUNDING * image[inside]
        if not (np.abs(lack) <= allowed).all():
            raise WrongImage(f"{scene.name}: a pixel within {roi} lacks {lack.max():g} photons")


def same_bits(first: np.ndarray, second: np.ndarray) -> bool:
    """Whether two images have the same bits."""
    return first.tobytes() == second.tobytes()


def render(scene: cases.Scene, threads: int) -> np.ndarray:
    """The image of a scene, rendered by that number of threads."""
    numba.set_num_threads(threads)
    return simulate(scene.experiment)


def checked(scene: cases.Scene, threads: list[int]) -> float:
    """Compile, and check the images of all numbers of threads. Returns the error as `check` does. Raises WrongImage."""
    images = [render(scene, n) for n in threads]
    error = check(scene, images[0])
    check_culled(scene, images[0])
    for n, image in zip(threads, images):
        if not same_bits(image, images[0]):
            raise WrongImage(f"{scene.name}: {n} threads give other bits than {threads[0]}")
    return error


def samples_of(scene: cases.Scene, threads: list[int], repeat: int) -> tuple[dict, dict]:
    """The times of a scene and of the plain loop, a list for each number of threads. All samples are taken in turn."""
    experiment = scene.experiment
    inner = clock.calls(lambda: simulate(experiment))
    scenes, loops = {n: [] for n in threads}, {n: [] for n in threads}
    for n in threads:
        clock.fma_time(n)
    for _ in range(repeat):
        for n in threads:
            loops[n].append(clock.fma_time(n))
            numba.set_num_threads(n)
            scenes[n].append(clock.timed(lambda: simulate(experiment), inner))
    return scenes, loops


# ---- the figures


def thread_counts() -> list[int]:
    """The numbers of threads that are timed: 1, and 2 if Numba has two threads."""
    return [n for n in (1, 2) if n <= numba.config.NUMBA_NUM_THREADS]


def bench(scene: cases.Scene, repeat: int) -> dict:
    """Check a scene, then time it. Returns the figures of its row. Raises WrongImage."""
    threads = thread_counts()
    error = checked(scene, threads)
    scenes, loops = samples_of(scene, threads, repeat)
    steps = oracle.geometry(scene.args)["steps"]
    return figures(scene.pixels, steps, scenes, loops) | {
        "case": scene.name,
        "error_of_allowed": error,
        "repeat": repeat,
    }


def figures(pixels: int, steps: int, scenes: dict, loops: dict) -> dict:
    """The figures that follow from the times of a scene and of the plain loop."""
    wall = {n: [s.wall for s in scenes[n]] for n in scenes}
    loop = {n: [s.wall for s in loops[n]] for n in loops}
    per_step = 1e9 / (pixels * steps)
    lanes = clock.fma_lanes()
    ns = statistics.median(wall[1]) * per_step
    fma = lanes / statistics.median(loop[1])
    result = {"pixels": pixels, "steps": steps}
    for n in wall:
        result |= {
            f"wall_s_{n}": statistics.median(wall[n]),
            f"wall_min_s_{n}": min(wall[n]),
            f"cpu_s_{n}": statistics.median(s.cpu for s in scenes[n]),
            f"ns_{n}": statistics.median(wall[n]) * per_step,
            f"ns_min_{n}": min(wall[n]) * per_step,
            f"noise_{n}": statistics.median(wall[n]) / min(wall[n]),
            f"disturbance_{n}": max(s.disturbance for s in scenes[n]),
        }
    result |= {"fma_lanes_per_ns": fma, "fma_noise": statistics.median(loop[1]) / min(loop[1])}
    result |= {"lanes_per_step": ns * fma, "ns_normalised": ns * fma / BAR_LANES}
    result |= {"ns_min_normalised": result["ns_min_1"] * lanes / min(loop[1]) / BAR_LANES}
    if 2 in wall:
        result |= {"speedup": statistics.median(wall[1]) / statistics.median(wall[2])}
        result |= {"speedup_min": min(wall[1]) / min(wall[2])}
        result |= {"fma_speedup": statistics.median(loop[1]) / statistics.median(loop[2])}
    return result


def startup(folder: Path, repeat: int) -> dict:
    """The wall times of `import nbnumba`, and of a second small run of the command line. Raises WrongImage."""
    scene = cases.supervisor(folder, side=48)
    out = folder / "startup.bin"
    words = ("-m", "nbnumba", *scene.args, "-floatfile", str(out), "-nopgm", "-nointfile")
    clock.python(words)
    left, right, low, high = scene.region
    image = np.fromfile(out, dtype=np.float32).reshape(2527, 2463)
    check_single(scene, image.astype(np.float64))
    rows = {"empty": ("-c", "pass"), "numba": ("-c", "import numba"), "nbnumba": ("-c", "import nbnumba"), "run": words}
    walls = {name: [] for name in rows}
    for _ in range(repeat):
        for name, arguments in rows.items():
            walls[name].append(clock.python(arguments)[0])
    typical = {name: statistics.median(values) for name, values in walls.items()}
    return {
        "case": "startup",
        "repeat": repeat,
        "python_s": typical["empty"],
        "import_numba_s": typical["numba"] - typical["empty"],
        "import_nbnumba_s": typical["nbnumba"] - typical["empty"],
        "second_run_s": typical["run"],
        "noise": typical["run"] / min(walls["run"]),
    }


def check_single(scene: cases.Scene, image: np.ndarray) -> None:
    """Check an image that was rounded to 4-byte floats. Raises WrongImage."""
    pixels = compared_pixels(image, scene.region)
    for pixel, expected in oracle.render(scene.args, pixels=pixels).items():
        if not abs(image[pixel] - expected) <= 1e-6 * expected:
            raise WrongImage(f"startup: pixel {pixel} (slow, fast) is {image[pixel]!r}, the oracle has {expected!r}")


def environment() -> dict:
    """The versions and the machine with which the figures were measured."""
    return {
        "python": platform.python_version(),
        "numpy": np.__version__,
        "numba": numba.__version__,
        "llvmlite": llvmlite.__version__,
        "processor": processor(),
        "cores": os.cpu_count(),
        "threads": numba.config.NUMBA_NUM_THREADS,
        "threading_layer": numba.threading_layer(),
    }


def processor() -> str:
    """The name of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


# ---- the report

COLUMNS = (
    ("case", "case", "<11"),
    ("pixels", "pixels", ">8"),
    ("steps", "steps", ">5"),
    ("s", "wall_s_1", ">7.3f"),
    ("min s", "wall_min_s_1", ">7.3f"),
    ("cpu s", "cpu_s_1", ">7.3f"),
    ("ns/step", "ns_1", ">7.2f"),
    ("min", "ns_min_1", ">6.2f"),
    ("FMA G/s", "fma_lanes_per_ns", ">7.1f"),
    ("lanes", "lanes_per_step", ">6.0f"),
    ("ns@25G", "ns_normalised", ">6.2f"),
    ("2 thr s", "wall_s_2", ">7.3f"),
    ("speedup", "speedup", ">7.2f"),
    ("(min)", "speedup_min", ">6.2f"),
    ("(FMA)", "fma_speedup", ">6.2f"),
)


def remarks(result: dict) -> list[str]:
    """The remarks on the figures of a case: noise, and for "mosaic" whether the bars are met."""
    texts = noise(result)
    if result["case"] == "mosaic":
        ns, most = result["ns_normalised"], BAR_NS
        texts.append(f"{ns:.2f} ns per step at {BAR_LANES:g} G lanes/s, wanted at most {most:g}: {verdict(ns <= most)}")
        if "speedup" in result:
            times = result["speedup"]
            texts.append(
                f"two threads {times:.2f} times one, wanted at least {BAR_SPEEDUP:g}: {verdict(times >= BAR_SPEEDUP)}"
            )
    return texts


def startup_line(result: dict) -> str:
    """The figures of startup in a line."""
    return (
        f"startup: python {result['python_s']:.2f} s; import nbnumba {result['import_nbnumba_s']:.2f} s more, of which "
        f"import numba {result['import_numba_s']:.2f} s; a second run {result['second_run_s']:.2f} s in all"
    )


def printed(result: dict) -> list[str]:
    """The lines of a case: its row, or rows, and its remarks."""
    if result["part"] == "derivative":
        lines, texts = derivative.rows(result), derivative.remarks(result)
    else:
        lines, texts = [startup_line(result) if result["case"] == "startup" else row(COLUMNS, result)], remarks(result)
    return lines + [f"    {text}" for text in texts]


def report(result: dict, out) -> None:
    """Print the figures of a case, and append them to a file of JSON lines, if `out` names one."""
    print("\n".join(printed(result)))
    sys.stdout.flush()
    if out is not None:
        with open(out, "a") as lines:
            lines.write(json.dumps(result | {"environment": environment()}) + "\n")


def main(args=None) -> int:
    """Run the bench. Returns the exit status: 1 for a wrong image or a wrong derivative."""
    names = list(dict.fromkeys(name for part in CASES.values() for name in part))
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", nargs="+", choices=CASES, default=list(CASES), metavar="PART", help=", ".join(CASES))
    parser.add_argument("--case", nargs="+", choices=names, default=names, metavar="NAME", help=", ".join(names))
    parser.add_argument("--repeat", type=int, default=9, help="number of samples (default 9)")
    parser.add_argument("--side", type=int, help="render only that many pixels along each edge, for a quick look")
    parser.add_argument("--json", metavar="FILE", help="append the figures to a file, a line of JSON for each case")
    options = parser.parse_args(args)
    clock.fma_time(1)
    print(", ".join(f"{key} {value}" for key, value in environment().items()))
    with tempfile.TemporaryDirectory() as name:
        for part in options.part:
            chosen_cases = [case for case in CASES[part] if case in options.case]
            if chosen_cases:
                print(heading(COLUMNS if part == "forward" else derivative.COLUMNS))
            for case in chosen_cases:
                try:
                    report(run_case(case, Path(name), options.side, options.repeat, part), options.json)
                except WrongImage as wrong:
                    print(f"wrong image, not timed: {wrong}", file=sys.stderr)
                    return 1
                except derivative.WrongDerivative as wrong:
                    print(f"wrong derivative, not timed: {wrong}", file=sys.stderr)
                    return 1
    return 0


def run_case(case: str, folder: Path, side: int | None, repeat: int, part: str = "forward") -> dict:
    """The figures of a case of a part. Raises WrongImage or WrongDerivative."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        if case == "startup":
            result = startup(folder, repeat)
        elif case == "memory":
            result = derivative.memory(side)
        elif part == "derivative":
            result = bench_derivative(case, folder, side, repeat)
        else:
            result = bench(cases.SCENES[case](folder, side), repeat)
    return result | {"part": part}


def bench_derivative(case: str, folder: Path, side: int | None, repeat: int) -> dict:
    """Check the image of a scene and its derivative, then time them: the figures. Raises WrongImage or WrongDerivative."""
    window = derivative.WINDOW if side is None else min(side, derivative.WINDOW)
    whole, threads = cases.SCENES[case](folder, side), thread_counts()
    checked(whole, threads)
    steps = oracle.geometry(whole.args)["steps"]
    return derivative.bench(whole, cases.SCENES[case](folder, window), steps, threads, repeat)


if __name__ == "__main__":
    sys.exit(main())
