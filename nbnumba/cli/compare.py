"""The subcommand compare: it runs a reference program and nbnumba on the same flags, and compares their images."""

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

from nbnumba.backends import machine
from nbnumba.backends.threads import thread_count
from nbnumba.cli import bundle, output
from nbnumba.cli.simulate import use_threads
from nbnumba.cli.trace import region
from nbnumba.cost import check
from nbnumba.errors import InputError
from nbnumba.experiment import Experiment
from nbnumba.flags.arguments import with_absolute_paths, words_by_flag
from nbnumba.flags.command_line import CommandLine
from nbnumba.flags.run import run_of
from nbnumba.flags.subcommand import command_line_of, input_files, with_seed
from nbnumba.flags.table import FLAGS
from nbnumba.flags.to_experiment import experiment_of
from nbnumba.formats import files, png, raw
from nbnumba.setup import sampling
from nbnumba.setup.sheet import sheet_of
from nbnumba.simulate import simulate

ABOUT = """\
Runs a reference program, nanoBragg or one that takes its flags, and nbnumba on the same FLAGS, and compares their
float images. The reference program runs in an empty directory of its own, with absolute names of files, a -floatfile of
its own, and OMP_NUM_THREADS as -c_threads says; our own flags (-c_parity, -tolerance, -threads and the like) are not
passed to it. Exit status 3 if the correlation is below the threshold, 4 if the images have different shapes.
"""
BUNDLE = """\
DIR will hold summary.json, reference.bin and ours.bin (4-byte floats), reference.png and ours.png, both.png (reference
left, ours right, the same shades), reference.log (what the reference program printed), with --save-diff difference.bin
(ours - reference) and difference.png (its magnitude), and commands.txt, environment.json and SHA256SUMS, of the
reference program and the files that FLAGS name too. A float image has no header: a reference image of another size has
the shape of ours times or divided by a whole number, if that fits, and no known shape otherwise. Of a detector of several
panels the images are sheets, in which the panels lie one below another, as in our -floatfile; nanoBragg knows none.
"""
BELOW_THRESHOLD, DIFFERENT_SHAPES = 3, 4
LONGEST = 1024
"""The longer side of a preview."""
FLOATFILE, SUMMARY, LOG = "reference.bin", "summary.json", "reference.log"
OURS = ("run", "response")
"""The groups of flags that nanoBragg does not know."""
OURS_ALONE = ("-tolerance",)
"""The flags of other groups that nanoBragg does not know."""
PASSED_ON = ("-progress", "-noprogress")
"""The flags of those groups that nanoBragg has too."""


class Reference(NamedTuple):
    """A run of the reference program: its command line, the bytes of its float image, its printed text, and seconds."""

    command: list[str]
    image: bytes
    log: str
    seconds: float


class Images(NamedTuple):
    """The images of the reference and of nbnumba, (slow, fast) float32, and how they were resampled to one shape, if so.

    The reference is None if its shape is unknown.
    """

    reference: np.ndarray | None
    ours: np.ndarray
    resampled: str | None

    @property
    def alike(self) -> bool:
        return self.reference is not None and self.reference.shape == self.ours.shape


def main(args: Sequence[str]) -> int:
    """Run the subcommand; returns the exit status: 3 for a correlation below the threshold, 4 for different shapes."""
    own, flags = bundle.split(args, "compare")
    options = _parser().parse_args(own)
    threshold = bundle.real_number("--threshold", options.threshold, "a number from -1 to 1", lambda x: -1.0 <= x <= 1.0)
    command_line = command_line_of(flags, {"-progress": "no progress is shown here"})
    program = _program(options.reference_bin)
    experiment = experiment_of(command_line)
    shown = _bounds(options.roi, experiment)
    files.check_folder(options.outdir, "--outdir")
    flags = with_seed(flags, command_line, experiment)
    ours = prepare_ours(experiment, command_line, options)
    reference = run_reference(program, flags, experiment.sampling.c_threads)
    image, seconds = run_ours(experiment, options)
    images = _in_one_shape(reference.image, image, options.resample, sheet_of(experiment.detector).shapes)
    region = _scaled(shown, image.shape, images.ours.shape)
    summary = {"threshold": threshold, "reference_seconds": reference.seconds, "ours_seconds": seconds, **ours}
    summary |= _summary(images, region, len(reference.image), threshold)
    with files.together():
        directory = files.make_folder(options.outdir, "--outdir")
        contents = _write(directory, reference, image, images, region, summary, options.save_diff)
        commands = _commands([*own, "--", *flags], flags, reference, experiment.sampling.c_threads)
        bundle.seal(directory, contents, commands, [program, *input_files(command_line)])
    print(_sentence(summary))
    if summary["exit_status"] == BELOW_THRESHOLD:
        print(_advice(flags, experiment.sampling.c_parity))
    return summary["exit_status"]


def _commands(args: Sequence[str], flags: Sequence[str], reference: Reference, threads: int) -> list[str]:
    """The command lines of this comparison, of the reference program, and of nbnumba for our image alone."""
    return [
        shlex.join(["nbnumba", "compare", *args]),
        f"cd EMPTY_DIRECTORY && OMP_NUM_THREADS={threads} {shlex.join(reference.command)}",
        shlex.join(["nbnumba", *with_absolute_paths(flags), "-floatfile", "ours.bin"]),
    ]


def _parser() -> bundle.Parser:
    parser = bundle.Parser("compare", usage="nbnumba compare --reference-bin PATH [options] -- FLAGS",
                           description=ABOUT, epilog=BUNDLE)  # fmt: skip
    parser.add_argument("--reference-bin", required=True, metavar="PATH", help="the reference program")
    parser.add_argument(
        "--outdir", default="nbnumba_compare", metavar="DIR", help="directory to write to (default: nbnumba_compare)"
    )
    parser.add_argument(
        "--roi", nargs=4, metavar=("XMIN", "XMAX", "YMIN", "YMAX"),
        help="compare these pixels alone, both ends included (default: the -roi of FLAGS, or all)",
    )  # fmt: skip
    parser.add_argument("--threshold", default="0.999", help="lowest correlation that passes (default: 0.999)")
    parser.add_argument("--resample", action="store_true", help="average blocks of the larger image where shapes are multiples")
    parser.add_argument("--save-diff", action="store_true", help="save the difference too")
    parser.add_argument("--backend", help="of ours: cpu or cuda (default: the -backend of FLAGS, or cpu)")
    parser.add_argument("--precision", help="of ours (default: the -precision of FLAGS, or double)")
    return parser


def _program(path: str) -> str:
    """The absolute name of the reference program."""
    program = shutil.which(path)
    if program is None:
        raise InputError(f"--reference-bin: {path!r} is not a program; allowed: a file that can be executed")
    return os.path.abspath(program)


def _bounds(words: Sequence[str] | None, experiment: Experiment):
    """The rows and columns to compare, each as (first, one past last), in pixels of our detector, or of the sheet of panels."""
    pixels = sheet_of(experiment.detector).shape[::-1]
    if words is None:
        return sampling.region(experiment.sampling.roi, pixels)
    return region(bundle.whole_numbers("--roi", words, "four whole numbers, XMIN XMAX YMIN YMAX"), pixels)


def reference_flags(flags: Sequence[str]) -> list[str]:
    """FLAGS for the reference program: without flags that only nbnumba has, and with absolute names of files."""
    ours = {flag.names[0] for flag in FLAGS if flag.group in OURS} - set(PASSED_ON) | set(OURS_ALONE)
    known = [words for flag, words in words_by_flag(flags) if flag.names[0] not in ours]
    return with_absolute_paths([word for words in known for word in words])


def run_reference(program: str, flags: Sequence[str], threads: int) -> Reference:
    """Run the reference program in an empty directory. Raises InputError if it fails or writes no image."""
    command = [program, *reference_flags(flags), "-floatfile", FLOATFILE]
    with tempfile.TemporaryDirectory(prefix="nbnumba-") as scratch:
        started = time.perf_counter()
        try:
            done = subprocess.run(
                command, cwd=scratch, env=os.environ | {"OMP_NUM_THREADS": str(threads)}, stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
            )  # fmt: skip
        except OSError as error:
            raise InputError(
                f"--reference-bin: {program!r} does not run: {error.strerror}; allowed: a program for here"
            ) from error
        seconds = time.perf_counter() - started
        log = done.stdout.decode("utf-8", errors="replace")
        path = os.path.join(scratch, FLOATFILE)
        if done.returncode != 0 or not os.path.isfile(path):
            how = f"ended with status {done.returncode}" if done.returncode else "wrote no -floatfile"
            last = (log.strip().splitlines() or ["nothing"])[-1]
            raise InputError(
                f"--reference-bin: {program!r} {how}, having printed {last!r} last; allowed: one that takes these flags"
            )
        return Reference(command, files.read_bytes(path, "--reference-bin"), log, seconds)


def prepare_ours(experiment: Experiment, command_line: CommandLine, options) -> dict[str, Any]:
    """Set the threads, check the cost, and load the kernel by rendering one pixel; returns entries of summary.json."""
    run = run_of(command_line)
    use_threads(run.threads)
    options.backend, options.precision = options.backend or run.backend, options.precision or run.precision
    check(experiment, machine(options.backend, options.precision), thread_count(), run.max_hours, command=True)
    rows, columns = sampling.region(experiment.sampling.roi, sheet_of(experiment.detector).shape[::-1])
    started = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        one_pixel = (columns[0], columns[0], rows[0], rows[0])
        simulate(experiment, roi=one_pixel, backend=options.backend, precision=options.precision)
    seconds = time.perf_counter() - started
    return {"ours_compile_seconds": seconds, "backend": options.backend, "precision": options.precision}


def run_ours(experiment: Experiment, options) -> tuple[np.ndarray, float]:
    """Our image as float32, of several panels their sheet, and the seconds that it took."""
    started = time.perf_counter()
    image = simulate(experiment, backend=options.backend, precision=options.precision, max_hours=math.inf)
    whole = output.as_float32(sheet_of(experiment.detector).sheet("image", image, 0.0))
    return whole, time.perf_counter() - started


def _in_one_shape(content: bytes, ours: np.ndarray, resample: bool, panels: Sequence[tuple[int, int]]) -> Images:
    """Both images, block-averaged to the smaller shape if `resample` and if that is possible.

    panels: the shapes, (slow, fast), of what lies in our image one below another.
    """
    shape = inferred_shape(len(content) / 4, ours.shape, panels)
    if shape is None:
        return Images(None, ours, None)
    reference = np.frombuffer(content, "<f4").astype(np.float32).reshape(shape)
    if shape == ours.shape or not resample:
        return Images(reference, ours, None)
    if shape > ours.shape:
        return Images(averaged(reference, ours.shape), ours, f"reference averaged from {shape} to {ours.shape}")
    return Images(reference, averaged(ours, shape), f"ours averaged from {ours.shape} to {shape}")


def inferred_shape(count: float, ours: tuple[int, int], panels: Sequence[tuple[int, int]] = ()) -> tuple[int, int] | None:
    """The shape of an image of `count` pixels: our shape times or divided by a whole number; None if neither fits.

    panels: shapes that the number has to divide, too, so that no block of pixels lies in two of them.
    """
    slow, fast = ours
    for factor in range(1, max(slow, fast, math.isqrt(int(count))) + 1):
        if count == slow * fast * factor * factor:
            return slow * factor, fast * factor
        divides = not any(size % factor for size in (slow, fast, *(size for shape in panels for size in shape)))
        if divides and count == (slow // factor) * (fast // factor):
            return slow // factor, fast // factor
    return None


def averaged(image: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """The image reduced to `shape` by averaging blocks."""
    blocks = image.astype(np.float64).reshape(shape[0], image.shape[0] // shape[0], shape[1], image.shape[1] // shape[1])
    return blocks.mean(axis=(1, 3)).astype(np.float32)


def _scaled(shown, full: tuple[int, int], shape: tuple[int, int]):
    """The rows and columns `shown`, each (first, one past last), converted from an image of the full shape to another shape."""
    return tuple((first * n // size, -(-last * n // size)) for (first, last), size, n in zip(shown, full, shape))


def _summary(images: Images, region, size: int, threshold: float) -> dict[str, Any]:
    """The entries of summary.json about the images; size: that of the reference image in bytes."""
    shapes = {
        "same_shape": images.alike,
        "shape_reference": None if images.reference is None else list(images.reference.shape),
        "bytes_reference": size,
        "shape_ours": list(images.ours.shape),
        "resampled": images.resampled,
    }
    if not images.alike:
        return shapes | {"roi": None} | dict.fromkeys(FIGURES) | {"exit_status": DIFFERENT_SHAPES}
    rows, columns = region
    figures = statistics(*(picture[slice(*rows), slice(*columns)] for picture in images[:2]))
    slow, fast = figures["largest_difference_at"]
    figures["largest_difference_at"] = [rows[0] + slow, columns[0] + fast]
    good = figures["correlation"] is not None and figures["correlation"] >= threshold
    roi = [columns[0], columns[1] - 1, rows[0], rows[1] - 1]
    return shapes | {"roi": roi} | figures | {"exit_status": 0 if good else BELOW_THRESHOLD}


FIGURES = (
    "correlation",
    "rmse",
    "largest_difference",
    "largest_difference_at",
    "sum_reference",
    "sum_ours",
    "sum_ratio",
)
"""The figures that compare two images; sum_ratio is ours over the reference's."""


def statistics(reference: np.ndarray, ours: np.ndarray) -> dict[str, Any]:
    """The FIGURES of two images of one shape, in double precision; None for a figure that is undefined."""
    first, second = reference.astype(np.float64), ours.astype(np.float64)
    with np.errstate(all="ignore"):
        delta = second - first
        pixel = np.unravel_index(int(np.argmax(np.nan_to_num(np.abs(delta), nan=np.inf))), delta.shape)
        sums = float(first.sum()), float(second.sum())
        rmse = float(np.sqrt(np.mean(delta * delta)))
        largest = float(np.abs(delta[pixel]))
    ratio = sums[1] / sums[0] if sums[0] else None
    values = (
        correlation(first, second), rmse, largest, [int(i) for i in pixel], *sums, ratio,
    )  # fmt: skip
    return dict(zip(FIGURES, values))


def correlation(first: np.ndarray, second: np.ndarray) -> float | None:
    """Pearson's correlation; for images without contrast it is 1 if they are equal, and None otherwise."""
    if np.array_equal(first, second):
        return 1.0
    with np.errstate(all="ignore"):
        a, b = first - first.mean(), second - second.mean()
        bottom = math.sqrt(float((a * a).sum())) * math.sqrt(float((b * b).sum()))
        value = float((a * b).sum()) / bottom if bottom > 0.0 else math.nan
    return max(-1.0, min(1.0, value)) if math.isfinite(value) else None


def _write(directory, reference: Reference, image, images: Images, region, summary, save_diff: bool) -> list[str]:
    """Write the files of the bundle; returns their names. The float images are written unchanged."""
    path = {name: os.path.join(directory, name) for name in (SUMMARY, LOG, FLOATFILE, "ours.bin")}
    bundle.write_json(path[SUMMARY], summary)
    bundle.write_text(path[LOG], reference.log)
    with files.replacing(path[FLOATFILE], "--outdir") as stream:
        stream.write(reference.image)
    raw.write(path["ours.bin"], image, "--outdir")
    return [*path, *_pictures(directory, images, region, save_diff)]


def _pictures(directory, images: Images, region, save_diff: bool) -> list[str]:
    """Write the previews and the difference, of the region if the images have one shape; returns the names of the files."""
    pictures = {"reference.png": images.reference, "ours.png": images.ours}
    if images.alike:
        rows, columns = region
        pictures = {name: picture[slice(*rows), slice(*columns)] for name, picture in pictures.items()}
        delta = _delta(*pictures.values())
        pictures["both.png"] = side_by_side(*pictures.values())
        if save_diff:
            raw.write(os.path.join(directory, "difference.bin"), delta, "--outdir")
            pictures["difference.png"] = np.abs(delta)
    pictures = {name: picture for name, picture in pictures.items() if picture is not None}
    for name, picture in pictures.items():
        longest = None if name == "both.png" else LONGEST
        png.write(os.path.join(directory, name), picture, longest, "--outdir")
    return [*pictures, *(["difference.bin"] if "difference.png" in pictures else [])]


def _delta(reference: np.ndarray, ours: np.ndarray) -> np.ndarray:
    with np.errstate(all="ignore"):
        return ours - reference


def side_by_side(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Two images as one, both shrunk, with a gap of zeros between them."""
    left, right = (png.shrunk(picture, LONGEST) for picture in (left, right))
    gap = np.zeros((left.shape[0], max(2, left.shape[1] // 50)), left.dtype)
    return np.hstack([left, gap, right])


def _advice(flags: Sequence[str], c_parity: frozenset[str]) -> str:
    """A sentence that suggests what to try if the images differ too much."""
    if c_parity:
        return "some of C's defects are reproduced (-c_parity); compare-traces finds the first factor of a pixel that differs"
    command = shlex.join(["nbnumba", "explain", "--", *flags])
    return f"to see how much each of C's defects changes this image: {command}; -c_parity reproduces them all"


def _sentence(summary: dict[str, Any]) -> str:
    """The outcome in a sentence."""
    if not summary["same_shape"]:
        shape = summary["shape_reference"] or f"{summary['bytes_reference']} bytes"
        return f"different shapes: reference {shape}, ours {summary['shape_ours']}"
    value, ratio = summary["correlation"], summary["sum_ratio"]
    correlation_text = "none" if value is None else f"{value:.9f}"
    return (
        f"correlation {correlation_text} ({'passes' if summary['exit_status'] == 0 else 'below'} {summary['threshold']:g}), "
        f"RMSE {summary['rmse']:g}, largest difference {summary['largest_difference']:g}, "
        f"sum ratio {'none' if ratio is None else format(ratio, '.9f')}"
    )
