"""Many small images in one process: images per second of jittered stills, beside their kernels and a reference program.

The times are processor times of one thread, of which other processes take none. The images of frames are compared with those of
simulate, bit for bit, before anything is timed.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "helpers")]

import nbnumba  # noqa: E402
from bench import cases, reference  # noqa: E402
from bench.checks import WrongImage  # noqa: E402
from bench.table import Bar, heading, row  # noqa: E402
from nbnumba.backends.threads import at_most  # noqa: E402
from nbnumba.setup.scene import panel_scenes  # noqa: E402
from nbnumba.setup.sheet import sheet_of  # noqa: E402
from nbnumba.simulate import render  # noqa: E402

SIDES = 128, 256, 1024
"""The pixels along each edge of the images."""
BAR_KERNELS = 1.15
"""The most that a jittered frame may cost, in units of its kernels."""
BARRED = 1024
"""The pixels along each edge of the images for which that is wanted."""

WITHOUT_TOLERANCE = (
    "-cell 70 80 90 -lambda 1.0 -N 20 -gauss_xtal -mosaic 0.1 -mosaic_domains 25 -distance 200 -detpixels {side} -pixel {edge} "
    "-oversample 2 -water 0.5 -fluence 1e26 -nointerpolate -hkl {hkl}"
)
FLAGS = f"{WITHOUT_TOLERANCE} -tolerance 0.001"
OF_REFERENCE = 3
"""The images that the reference program computes, of each size."""

JITTER = {
    "crystal.a_A": {"distribution": "normal", "sigma": 0.2},
    "beam.fluence": {"distribution": "lognormal", "sigma": 0.3},
    "orientation": {"distribution": "uniform"},
}

COLUMNS = (("pixels", "pixels", ">12"), ("what", "what", "<34"), ("images/s", "rate", ">9.2f"), ("ms", "ms", ">9.2f"))


def experiment_of(folder: Path, side: int) -> nbnumba.Experiment:
    """The experiment of an image of so many pixels along each edge."""
    return nbnumba.Experiment.from_args(FLAGS.format(side=side, edge=102.4 / side, hkl=amplitudes(folder)))


def amplitudes(folder: Path) -> Path:
    """A list of 132651 amplitudes."""
    path = folder / "P1.hkl"
    if not path.exists():
        hkl = np.stack(np.mgrid[-25:26, -25:26, -25:26], axis=-1).reshape(-1, 3)
        nbnumba.write_hkl(path, hkl, np.sqrt(np.random.default_rng(1).exponential(1.0, len(hkl))) * 100.0)
    return path


def seconds(function: Callable[[], object], count: int) -> float:
    """The processor time of a function that makes so many images, for each of them; the least of three."""
    times = []
    for _ in range(3):
        before = time.process_time()
        function()
        times.append((time.process_time() - before) / count)
    return min(times)


def seconds_of_frames(experiment: nbnumba.Experiment, count: int, **options) -> float:
    """The processor time of a frame after the first, with which what frames have in common is made; the least of three."""
    times = []
    for _ in range(3):
        made = nbnumba.frames(experiment, count + 1, jitter=JITTER, seed=1, **options)
        next(made)
        before = time.process_time()
        for _ in made:
            pass
        times.append((time.process_time() - before) / count)
    return min(times)


def bench(folder: Path, side: int, frames: int, program: str | None) -> tuple[list[dict], list[Bar]]:
    """The rows of images of a size, and the bar for them. Raises WrongImage where an image is not that of simulate."""
    experiment, stills = experiment_of(folder, side), []
    for frame in nbnumba.frames(experiment, range(2, frames + 2), jitter=JITTER, seed=1, noise=False):
        if not np.array_equal(frame.image, nbnumba.simulate(frame.experiment)):
            raise WrongImage(f"frame {frame.number} of {side} x {side} pixels is not the image of its experiment")
        stills.append(frame.experiment)
    shape, scenes = sheet_of(experiment.detector).shape, [panel_scenes(still) for still in stills]
    times = {
        "their kernels": seconds(lambda: [render(scene, shape) for scene in scenes], frames),
        "frames: images": seconds_of_frames(experiment, frames, noise=False),
        "a loop of simulate": seconds(lambda: [nbnumba.simulate(still) for still in stills], frames),
        "frames: with noise": seconds_of_frames(experiment, frames),
        "frames: with noise and labels": seconds_of_frames(experiment, frames, labels=True),
    }
    if program is not None:
        times["a loop of the reference program"] = by_reference(program, folder, side, stills)
    rows = [{"pixels": f"{side} x {side}", "what": what, "rate": 1.0 / t, "ms": 1e3 * t} for what, t in times.items()]
    ratio = times["frames: images"] / times["their kernels"]
    bars = [Bar(f"a jittered frame of {side} x {side} pixels, in units of its kernels", ratio, BAR_KERNELS)]
    return rows, bars if side == BARRED else []


def by_reference(program: str, folder: Path, side: int, stills: list[nbnumba.Experiment]) -> float:
    """The processor time (s) of the reference program for an image, by a process for each of a few, on one thread.

    Raises WrongImage where the first one is not ours with all defects of C.
    """
    times = []
    for still in stills[:OF_REFERENCE]:
        words = [*WITHOUT_TOLERANCE.format(side=side, edge=102.4 / side, hkl=amplitudes(folder)).split()]
        for flag, name in (("-misset", "crystal.misset_deg"), ("-fluence", "beam.fluence"), ("-cell", "crystal.cell")):
            values = still.crystal.cell if name == "crystal.cell" else np.atleast_1d(still.value(name))
            words += [flag, *(f"{value:.12g}" for value in values)]
        scene = cases.Scene("series", tuple(words), (0, side - 1, 0, side - 1))
        image, cpu = reference.run(program, scene)
        if not times:
            reference.compare(scene, image)
        times.append(cpu)
    return min(times)


def main() -> int:
    """Print the table. Returns the exit status: 1 for a wrong image."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, nargs="+", default=SIDES, help="pixels along each edge")
    parser.add_argument("--frames", type=int, default=10, help="images of each size")
    parser.add_argument("--reference-bin", help="a program that takes nanoBragg's flags")
    parser.add_argument("--json", type=Path, help="a file to which the rows are added, a line each")
    options = parser.parse_args()
    print(heading(COLUMNS))
    bars: list[Bar] = []
    with tempfile.TemporaryDirectory() as folder, at_most(1):
        for side in options.side:
            try:
                rows, own = bench(Path(folder), side, options.frames, options.reference_bin)
            except WrongImage as error:
                print(f"wrong: {error}")
                return 1
            print(*(row(COLUMNS, one) for one in rows), sep="\n", flush=True)
            bars += own
            if options.json is not None:
                with options.json.open("a") as stream:
                    stream.writelines(json.dumps(one) + "\n" for one in rows)
    print(*bars, sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
