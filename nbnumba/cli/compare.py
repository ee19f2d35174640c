"""The subcommand compare: another program and ours on the same flags, and how much their images differ."""

import math
import os
import shlex
import shutil
import subprocess
import tempfile
import time
import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from nbnumba.cli import bundle, output
from nbnumba.cli.simulate import use_threads
from nbnumba.cli.statement import Statement
from nbnumba.cli.trace import region
from nbnumba.errors import InputError
from nbnumba.experiment import Experiment
from nbnumba.formats import files, png, raw
from nbnumba.setup import sampling
from nbnumba.simulate import simulate

ABOUT = """\
Runs a reference program, nanoBragg or one that takes its flags, and nbnumba on the same FLAGS and compares their float images.
The reference program runs in an empty directory of its own, with absolute names of files, a -floatfile of its own, and
OMP_NUM_THREADS as -c_threads says; our own flags (-c_parity, -c_threads, -threads and the like) are not passed to it.
Exit status 3 if the correlation is below the threshold, 4 if the images have different shapes.
"""
BUNDLE = """\
DIR will hold summary.json, reference.bin and ours.bin (4-byte floats), reference.png and ours.png, both.png (reference left, ours
right, the same shades), reference.log (what the reference program printed), with --save-diff difference.bin (ours - reference) and
difference.png (its magnitude), and commands.txt, environment.json and SHA256SUMS, of the reference program and the files that
FLAGS name too. A float image has no header: a reference image of another size has the shape of ours times or divided by a whole
number, if that fits, and no known shape otherwise.
"""
BELOW_THRESHOLD, DIFFERENT_SHAPES = 3, 4
LONGEST = 1024
"""The longer side of a preview."""
FLOATFILE, SUMMARY, LOG = "reference.bin", "summary.json", "reference.log"
PASSED_ON = ("-progress", "-noprogress")
"""The flags of the group run that nanoBragg has too."""


class Reference(NamedTuple):
    """A run of the reference program: its command line, the bytes of its float image, what it printed, and seconds."""

    command: list[str]
    image: bytes
    log: str
    seconds: float


class Images(NamedTuple):
    """The images in one shape if they have one: reference and ours, (slow, fast) float32, and how they were resampled."""

    reference: np.ndarray
    ours: np.ndarray
    resampled: str | None


def main(args: Sequence[str]) -> int:
    """Run it; returns the exit status: 3 for a correlation below the threshold, 4 for different shapes."""
    own, flags = bundle.split(args, "compare")
    options = _parser().parse_args(own)
    threshold = bundle.real_number("--threshold", options.threshold, "a number from -1 to 1", lambda x: -1.0 <= x <= 1.0)
    statement = bundle.describing(flags)
    program = _program(options.reference_bin)
    experiment = statement.experiment()
    shown = _bounds(options.roi, experiment)
    directory = bundle.make_directory(options.outdir, "--outdir")
    threads = experiment.sampling.c_threads
    reference = run_reference(program, flags, threads)
    image, ours = run_ours(experiment, statement, options)
    images = _in_one_shape(reference.image, image, options.resample)
    summary = {"threshold": threshold, "reference_seconds": reference.seconds, **ours}
    summary |= _judged(images, shown, threshold)
    contents = _write(directory, reference, image, images, shown if summary["same_shape"] else None, summary, options)
    own_line = shlex.join(["nbnumba", "compare", *args])
    environment = f"cd EMPTY_DIRECTORY && OMP_NUM_THREADS={threads}"
    equivalent = shlex.join(["nbnumba", *bundle.absolute(flags), "-floatfile", "ours.bin"])
    commands = [own_line, f"{environment} {shlex.join(reference.command)}", equivalent]
    bundle.seal(directory, contents, commands, [program, *bundle.input_files(statement)])
    print(_sentence(summary))
    return summary["exit_status"]


def _parser() -> bundle.Parser:
    parser = bundle.Parser("compare", usage="nbnumba compare --reference-bin PATH [options] -- FLAGS",
                           description=ABOUT, epilog=BUNDLE)  # fmt: skip
    parser.add_argument("--reference-bin", required=True, metavar="PATH", help="the reference program")
    parser.add_argument("--outdir", default="nbnumba_compare", metavar="DIR", help="directory to write to (default: nbnumba_compare)")
    parser.add_argument(
        "--roi", nargs=4, metavar=("XMIN", "XMAX", "YMIN", "YMAX"),
        help="compare these pixels alone, both ends included (default: the -roi of FLAGS, or all)",
    )  # fmt: skip
    parser.add_argument("--threshold", default="0.999", help="lowest correlation that passes (default: 0.999)")
    parser.add_argument("--resample", action="store_true", help="average blocks of the larger image where shapes are multiples")
    parser.add_argument("--save-diff", action="store_true", help="save the difference too")
    parser.add_argument("--backend", default="cpu", help="of ours: cpu")
    parser.add_argument("--precision", default="double", help="of ours: double")
    return parser


def _program(path: str) -> str:
    """The absolute name of the reference program."""
    found = shutil.which(path)
    if found is None:
        raise InputError(f"--reference-bin: {path!r} is no program; allowed: a file that can be executed")
    return os.path.abspath(found)


def _bounds(words: Sequence[str] | None, experiment: Experiment):
    """First and one-past-last row and column of the pixels to compare, in pixels of our detector."""
    pixels = experiment.detector.pixels
    if words is None:
        return sampling.region(experiment.sampling.roi, pixels)
    return region(bundle.whole_numbers("--roi", words, "four whole numbers, XMIN XMAX YMIN YMAX"), pixels)


def reference_flags(flags: Sequence[str]) -> list[str]:
    """FLAGS for the reference program: without those that are ours alone, files by their absolute names."""
    known = [words for flag, words in bundle.flag_words(flags) if flag.group != "run" or flag.names[0] in PASSED_ON]
    return bundle.absolute([word for words in known for word in words])


def run_reference(program: str, flags: Sequence[str], threads: int) -> Reference:
    """Run the reference program in an empty directory. Raises InputError when it fails, or leaves no image."""
    command = [program, *reference_flags(flags), "-floatfile", FLOATFILE]
    with tempfile.TemporaryDirectory(prefix="nbnumba-") as scratch:
        started = time.perf_counter()
        try:
            done = subprocess.run(
                command, cwd=scratch, env=os.environ | {"OMP_NUM_THREADS": str(threads)}, stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
            )  # fmt: skip
        except OSError as error:
            raise InputError(f"--reference-bin: {program!r} does not run: {error.strerror}; allowed: a program for here") from error
        seconds = time.perf_counter() - started
        log = done.stdout.decode("utf-8", errors="replace")
        path = os.path.join(scratch, FLOATFILE)
        if done.returncode != 0 or not os.path.isfile(path):
            how = f"ended with status {done.returncode}" if done.returncode else "wrote no -floatfile"
            last = (log.strip().splitlines() or ["nothing"])[-1]
            raise InputError(f"--reference-bin: {program!r} {how}, having printed {last!r} last; allowed: one that takes these flags")
        return Reference(command, files.read_bytes(path, "--reference-bin"), log, seconds)


def run_ours(experiment: Experiment, statement: Statement, options) -> tuple[np.ndarray, dict[str, Any]]:
    """Our image in 4-byte floats, and seconds: of compiling (or loading) the kernel on one pixel, and of the image."""
    threads = statement.run().threads
    if threads is not None:
        use_threads(threads)
    arithmetic = {"backend": options.backend, "precision": options.precision}
    rows, columns = sampling.region(experiment.sampling.roi, experiment.detector.pixels)
    started = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        simulate(experiment, roi=(columns[0], columns[0], rows[0], rows[0]), **arithmetic)
    ready = time.perf_counter()
    image = output.as_float32(simulate(experiment, **arithmetic))
    return image, {"ours_seconds": time.perf_counter() - ready, "ours_compile_seconds": ready - started, **arithmetic}


def _in_one_shape(content: bytes, ours: np.ndarray, resample: bool) -> Images:
    """Both images, block-averaged onto the smaller shape if that is wanted and possible."""
    values = np.frombuffer(content[: len(content) // 4 * 4], "<f4").astype(np.float32)
    shape = inferred_shape(values.size, ours.shape) if len(content) % 4 == 0 else None
    reference = values.reshape((1, -1) if shape is None else shape)
    if shape is None or shape == ours.shape or not resample:
        return Images(reference, ours, None)
    if shape > ours.shape:
        return Images(averaged(reference, ours.shape), ours, f"reference averaged from {shape} to {ours.shape}")
    return Images(reference, averaged(ours, shape), f"ours averaged from {ours.shape} to {shape}")


def inferred_shape(count: int, ours: tuple[int, int]) -> tuple[int, int] | None:
    """The shape of an image of `count` pixels: ours times or divided by a whole number, or None."""
    slow, fast = ours
    size = slow * fast
    factor = math.isqrt(max(count, size) // max(min(count, size), 1))
    if count >= size and factor * factor * size == count:
        return slow * factor, fast * factor
    if count < size and factor * factor * count == size and slow % factor == fast % factor == 0:
        return slow // factor, fast // factor
    return None


def averaged(image: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """The means of the blocks of an image that make one of that shape."""
    blocks = image.astype(np.float64).reshape(shape[0], image.shape[0] // shape[0], shape[1], image.shape[1] // shape[1])
    return blocks.mean(axis=(1, 3)).astype(np.float32)


def _judged(images: Images, shown, threshold: float) -> dict[str, Any]:
    """What the summary says of the images."""
    same = images.reference.shape == images.ours.shape
    found = {
        "same_shape": same,
        "shape_reference": list(images.reference.shape) if images.reference.shape[0] > 1 or same else None,
        "pixels_reference": images.reference.size,
        "shape_ours": list(images.ours.shape),
        "resampled": images.resampled,
    }
    if not same:
        return found | dict.fromkeys(FIGURES) | {"exit_status": DIFFERENT_SHAPES}
    rows, columns = _cropped(images, shown)
    region = (slice(*rows), slice(*columns))
    figures = statistics(images.reference[region], images.ours[region])
    place = figures["largest_difference_at"]
    figures["largest_difference_at"] = [rows[0] + place[0], columns[0] + place[1]]
    good = figures["correlation"] is not None and figures["correlation"] >= threshold
    roi = [columns[0], columns[1] - 1, rows[0], rows[1] - 1]
    return found | {"roi": roi} | figures | {"exit_status": 0 if good else BELOW_THRESHOLD}


def _cropped(images: Images, shown):
    """The region to compare; of resampled images, all."""
    if images.resampled is not None:
        return (0, images.ours.shape[0]), (0, images.ours.shape[1])
    return shown


FIGURES = ("correlation", "rmse", "largest_difference", "largest_difference_at", "sum_reference", "sum_ours", "sum_ratio")
"""The figures that compare two images; sum_ratio is ours over the reference's."""


def statistics(reference: np.ndarray, ours: np.ndarray) -> dict[str, Any]:
    """Those figures of two images of one shape, in double precision. None: there is no such number."""
    first, second = reference.astype(np.float64), ours.astype(np.float64)
    with np.errstate(all="ignore"):
        delta = second - first
        place = np.unravel_index(int(np.argmax(np.nan_to_num(np.abs(delta), nan=np.inf))), delta.shape)
        sums = float(first.sum()), float(second.sum())
        rmse = float(np.sqrt(np.mean(delta * delta)))
        largest = float(np.abs(delta[place]))
    values = (
        correlation(first, second), rmse, largest, [int(i) for i in place], *sums, sums[1] / sums[0] if sums[0] else None,
    )  # fmt: skip
    return dict(zip(FIGURES, values))


def correlation(first: np.ndarray, second: np.ndarray) -> float | None:
    """Pearson's correlation; of images without contrast 1 if they are equal, and else none."""
    if np.array_equal(first, second):
        return 1.0
    with np.errstate(all="ignore"):
        a, b = first - first.mean(), second - second.mean()
        bottom = math.sqrt(float((a * a).sum())) * math.sqrt(float((b * b).sum()))
        value = float((a * b).sum()) / bottom if bottom > 0.0 else math.nan
    return max(-1.0, min(1.0, value)) if math.isfinite(value) else None


def _write(directory, reference: Reference, image, images: Images, shown, summary, options) -> list[str]:
    """Write the files of the bundle; returns their names. The images are as the programs made them, before any averaging."""
    names = [SUMMARY, LOG, FLOATFILE, "ours.bin", "reference.png", "ours.png"]
    bundle.write_json(os.path.join(directory, SUMMARY), summary)
    bundle.write_text(os.path.join(directory, LOG), reference.log)
    with files.replacing(os.path.join(directory, FLOATFILE), "--outdir") as stream:
        stream.write(reference.image)
    raw.write(os.path.join(directory, "ours.bin"), image, "--outdir")
    pictures = [images.reference, images.ours]
    if shown is not None:
        rows, columns = _cropped(images, shown)
        pictures = [picture[slice(*rows), slice(*columns)] for picture in pictures]
        names.append("both.png")
        _side_by_side(os.path.join(directory, "both.png"), *pictures)
    for name, picture in zip(("reference.png", "ours.png"), pictures):
        png.write(os.path.join(directory, name), picture, LONGEST, "--outdir")
    if options.save_diff and shown is not None:
        with np.errstate(all="ignore"):
            delta = pictures[1] - pictures[0]
        raw.write(os.path.join(directory, "difference.bin"), delta, "--outdir")
        png.write(os.path.join(directory, "difference.png"), np.abs(delta), LONGEST, "--outdir")
        names += ["difference.bin", "difference.png"]
    return names


def _side_by_side(path: str, left: np.ndarray, right: np.ndarray) -> None:
    """A picture of two images in the same shades, with white between them."""
    left, right = (png.shrunk(picture, LONGEST) for picture in (left, right))
    gap = np.zeros((left.shape[0], max(2, left.shape[1] // 50)), left.dtype)
    png.write(path, np.hstack([left, gap, right]), what="--outdir")


def _sentence(summary: dict[str, Any]) -> str:
    """The outcome in a sentence."""
    if not summary["same_shape"]:
        shape = summary["shape_reference"] or f"{summary['pixels_reference']} pixels"
        return f"different shapes: reference {shape}, ours {summary['shape_ours']}"
    found, ratio = summary["correlation"], summary["sum_ratio"]
    told = "none" if found is None else f"{found:.9f}"
    return (
        f"correlation {told} ({'passes' if summary['exit_status'] == 0 else 'below'} {summary['threshold']:g}), "
        f"RMSE {summary['rmse']:g}, largest difference {summary['largest_difference']:g}, "
        f"sum ratio {'none' if ratio is None else format(ratio, '.9f')}"
    )
