"""The bench: it compiles the kernels, checks every image and derivative, and only then times them."""

import argparse
import json
import os
import platform
import shutil
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

from bench import cases, checks, clock, derivative, ratios, reference  # noqa: E402
from bench.checks import WrongImage  # noqa: E402
from bench.table import Bar, heading, noise, row, summary  # noqa: E402
from nbnumba import simulate  # noqa: E402
from nbnumba.errors import InputError  # noqa: E402

BAR_NS, BAR_LANES = 7.0, 25.0
"""The bar for "mosaic": the most ns per step in float64 on a core with that many 1e9 FMA lanes per second."""

CASES = {
    "forward": (*cases.SCENES, "startup"),
    "ratios": tuple(ratios.COMPARISONS),
    "derivative": ("mosaic", "supervisor", "torch", "gauss", "spheres", "tolerant", "xfel", "memory"),
}
"""The parts of the bench, and the cases of each."""

HEADINGS = {"ratios": ratios.COLUMNS, "derivative": derivative.COLUMNS}


# ---- the times


def samples_of(scene: cases.Scene, threads: list[int], repeat: int) -> tuple[dict, dict]:
    """The times of a scene and of the plain loop, a list for each number of threads. All samples are taken in turn."""
    experiment = scene.experiment
    plan = clock.plan(lambda: simulate(experiment), repeat)
    scenes, loops = {n: [] for n in threads}, {n: [] for n in threads}
    for n in threads:
        clock.fma_time(n)
    for _ in range(plan.samples):
        for n in threads:
            loops[n].append(clock.fma_time(n))
            numba.set_num_threads(n)
            scenes[n].append(clock.timed(lambda: simulate(experiment), plan.calls))
    return scenes, loops


# ---- the figures


def thread_counts() -> list[int]:
    """The numbers of threads that are timed: 1, and 2 if Numba has two threads."""
    return [n for n in (1, 2) if n <= numba.config.NUMBA_NUM_THREADS]


def bench(name: str, folder: Path, side: int | None, repeat: int, program: str | None = None) -> dict:
    """Check a scene, then time it, beside a reference program if there is one: the figures of its row. Raises WrongImage."""
    make, threads = cases.SCENES[name], thread_counts()
    scene = make(folder, side)
    error = checks.checked(scene, threads)
    scenes, loops = samples_of(scene, threads, repeat)
    result = figures(scene.pixels, scene.steps, scenes, loops)
    result |= {"case": name, "error_of_allowed": error, "repeat": repeat}
    return result if program is None else result | reference.bench(make, folder, side, program)


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
            f"cpu_min_ns_{n}": min(s.cpu for s in scenes[n]) * per_step,
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
    checks.check_single(scene, image.astype(np.float64))
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


def bars(result: dict) -> list[Bar]:
    """The bars of a case."""
    if result["part"] == "derivative":
        return derivative.bars(result)
    if result["part"] == "ratios":
        return result["bars"]
    if result["case"] != "mosaic":
        return []
    return [Bar(f"mosaic: ns per step at {BAR_LANES:g} G lanes/s", result["ns_min_normalised"], BAR_NS)]


def remarks(result: dict) -> list[str]:
    """The remarks on the figures of a scene: noise, the reference program, and for "mosaic" whether the bar is met."""
    texts = noise(result)
    if "reference_s" in result:
        texts.append(reference.remark(result, result["cpu_min_ns_1"]))
    return texts + [str(bar) for bar in bars(result)]


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
    elif result["part"] == "ratios":
        lines, texts = ratios.rows(result), ratios.remarks(result)
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
    """Run the bench. Returns the exit status: 1 for a wrong image or a wrong derivative, 2 for a wrong reference program."""
    options = arguments(args)
    clock.fma_time(1)
    print(", ".join(f"{key} {value}" for key, value in environment().items()))
    judged = []
    with tempfile.TemporaryDirectory() as name:
        for part in options.part:
            chosen_cases = [case for case in CASES[part] if case in options.case]
            if chosen_cases:
                print(heading(HEADINGS.get(part, COLUMNS)))
            for case in chosen_cases:
                try:
                    result = run_case(case, Path(name), options.side, options.repeat, part, options.reference_bin)
                except WrongImage as wrong:
                    return failed(f"wrong image, not timed: {wrong}", 1)
                except derivative.WrongDerivative as wrong:
                    return failed(f"wrong derivative, not timed: {wrong}", 1)
                except InputError as wrong:
                    return failed(str(wrong), 2)
                report(result, options.json)
                judged += bars(result)
    if judged:
        print("\n".join(["", *summary(judged, options.side)]))
    return 0


def failed(sentence: str, status: int) -> int:
    """Print why the bench ends, and return its exit status."""
    print(sentence, file=sys.stderr)
    return status


def arguments(args) -> argparse.Namespace:
    """The command line."""
    names = list(dict.fromkeys(name for part in CASES.values() for name in part))
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", nargs="+", choices=CASES, default=list(CASES), metavar="PART", help=", ".join(CASES))
    parser.add_argument("--case", nargs="+", choices=names, default=names, metavar="NAME", help=", ".join(names))
    parser.add_argument("--repeat", type=int, default=9, help="number of samples (default 9); what takes long has fewer")
    parser.add_argument("--side", type=int, help="render only that many pixels along each edge, for a quick look")
    parser.add_argument("--json", metavar="FILE", help="append the figures to a file, a line of JSON for each case")
    parser.add_argument("--reference-bin", metavar="PATH", help="nanoBragg, to be timed beside each scene of the forward part")
    options = parser.parse_args(args)
    if options.reference_bin is not None and shutil.which(options.reference_bin) is None:
        parser.error(f"--reference-bin: {options.reference_bin!r} is not a program; allowed: a file that can be executed")
    return options


def run_case(case: str, folder: Path, side: int | None, repeat: int, part: str = "forward", program: str | None = None) -> dict:
    """The figures of a case of a part; program: the reference program. Raises WrongImage or WrongDerivative."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        if case == "startup":
            result = startup(folder, repeat)
        elif case == "memory":
            result = derivative.memory(side)
        elif part == "derivative":
            result = bench_derivative(case, folder, side, repeat)
        elif part == "ratios":
            result = ratios.bench(case, folder, side, repeat)
        else:
            result = bench(case, folder, side, repeat, program)
    return result | {"part": part}


def bench_derivative(case: str, folder: Path, side: int | None, repeat: int) -> dict:
    """Check the image of a scene and its derivative, then time them: the figures. Raises WrongImage or WrongDerivative."""
    make, threads = cases.SCENES[case], thread_counts()
    part = make(folder, derivative.SIDES.get(case) if side is None else side)
    checks.checked(part, threads)
    small = make(folder, derivative.WINDOW if side is None else min(side, derivative.WINDOW))
    return derivative.bench(part, small, part.steps, threads, repeat)


if __name__ == "__main__":
    sys.exit(main())
