"""The subcommand refine: it refines parameters of the experiment that flags describe against measured images."""

from __future__ import annotations

import os
import re
import shlex
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from nbnumba import resolved
from nbnumba.cli import bundle, measured, refined_table, report
from nbnumba.cli.option_lists import assignments, comma_list, numbers, tied_names, with_joined_gaps
from nbnumba.cli.refine_series import main as series
from nbnumba.cli.simulate import use_threads
from nbnumba.cost import granted
from nbnumba.errors import InputError
from nbnumba.experiment import Experiment
from nbnumba.flags.arguments import number
from nbnumba.flags.command_line import CommandLine
from nbnumba.flags.from_experiment import CELL, NewFiles, refined_flags, without
from nbnumba.flags.run import run_of
from nbnumba.flags.subcommand import command_line_of, input_files, with_seed
from nbnumba.flags.to_experiment import experiment_of
from nbnumba.formats import endings, files, images

ABOUT = """\
Refines parameters of the experiment that FLAGS describe against measured images, and prints each with its standard
uncertainty, and the flags of the refined experiment. NAMES are those of adjoint.PARAMETERS and VECTORS (specs/inputs.md,
A15), such as detector.distance_mm or crystal.misset_deg, tied ones joined by +, and image.scale, image.background,
image.background_x, image.background_y, image.background_radial, image.gain (specs/refine.md, R1).
"""
NOTES = """\
All images share one block of FLAGS, or each image has its own: -- FLAGS -- FLAGS. IMAGE is a file that fabio reads (CBF,
SMV, TIFF, EDF, HDF5; FILE#K is image K, from 0, of a file with several), or nanoBragg's float image, *.bin. Left out are
pixels that hold no measurement or are saturated, as the file or an option says, and pixels that FLAGS do not render.
Numbers below 0 are data unless the file or --gap says otherwise. The exit status is 1 if the refinement does not succeed.
"""
AMPLITUDES, WEIGHTS = "structure_factors.F", "beam.source_weights"
READOUT = "-readout_noise"
OPTIONS = {"measured": "--data", "per_image": "--per-image", "image": "--start", "parameters": "--parameters"}
OPTIONS |= {name: f"--{name}" for name in ("bounds", "restraints", "loss", "sigma", "phases", "method", "offset", "mask")}
OPTIONS |= {"readout_noise": "--readout-noise"}
"""The option that states each argument of adjoint.refine, for its messages."""


class Block(NamedTuple):
    """A block of flags as words, the command line that they make, and the experiment that they describe."""

    words: list[str]
    command_line: CommandLine
    experiment: Experiment


def main(args: Sequence[str]) -> int:
    """Refine, print and write the result. Returns the exit status: 1 if the refinement does not succeed."""
    if series.is_series(args):
        return series.main(args)
    own_words, flags = bundle.split(args, "refine")
    if "--help" in own_words:
        print(_parser().format_help(), series.parser().format_help(), sep="\n", end="")
        return 0
    options = _parser().parse_args(with_joined_gaps(own_words))
    parameters = _parameters(options)
    keywords = _keywords(options)
    paths = comma_list("--data", options.data)
    blocks = _blocks(flags, len(paths))
    keywords["image"] = _with_gain(keywords["image"], blocks)
    keywords |= _machine(blocks) | _readout(options, blocks)
    new_files = _check_outputs(options, paths, parameters, blocks)
    measured_images = _read(options, paths, blocks)
    for image in measured_images:
        print(image.line())
    result = _refine(blocks, measured_images, parameters, keywords)
    _print_result(result)
    with files.together():
        words, notes = _refined_words(blocks, result, parameters, keywords["image"], new_files)
        bundle.warn(notes)
        titled = _titled(words, paths, "refined flags" if result.success else "flags of the last values, without success")
        for title, line in titled:
            print("", f"{title}:", line, sep="\n")
        lines = _write(options, result, words, notes, titled, _command(own_words, blocks))
    print(*lines, sep="\n", end="\n" if lines else "")
    return 0 if result.success else bundle.UNSUCCESSFUL


def _parser() -> bundle.Parser:
    usage = "nbnumba refine --data IMAGE[,IMAGE...] --parameters NAMES [options] -- FLAGS [-- FLAGS ...]"
    parser = bundle.Parser("refine", usage=usage, description=ABOUT, epilog=NOTES)
    add = parser.add_argument
    add("--data", action="append", required=True, metavar="IMAGE[,...]", help="the measured images")
    add("--parameters", action="append", metavar="NAME[,...]", help="parameters to refine; A+B are two that are tied")
    add("--cell", metavar="SYSTEM", help="refine also the free parameters of the cell in a crystal system, such as tetragonal")
    add("--bounds", action="append", metavar="NAME=LOW:HIGH[,...]", help="closer bounds, one may be empty; X/Y/Z for vectors")
    add("--restraints", action="append", metavar="NAME=VALUE:SIGMA[,...]", help="prior knowledge; X/Y/Z:SIGMA for vectors")
    add("--start", action="append", metavar="NAME=VALUE[,...]", help="values of image.* that are refined from, or kept fixed")
    add("--per-image", action="append", metavar="NAME[,...]", help="parameters with a value for each image; or none")
    add("--loss", default="poisson", choices=("poisson", "gaussian"), help="the function to minimize (default: poisson)")
    add("--sigma", metavar="NUMBER", help="standard deviation of a pixel, for --loss gaussian (default: from the counts)")
    add("--readout-noise", metavar="NUMBER", help="for --loss gaussian without --sigma (default: -readout_noise of FLAGS)")
    add("--mask", action="append", metavar="FILE[,...]", help="an image for all data or for each, 0 where a pixel is left out")
    measured.add_options(add)
    add("--phases", default="auto", choices=("auto", "exact"), help="auto: coarse to fine (default); exact: the last one alone")
    methods = ("auto", "least_squares", "L-BFGS-B", "trust-constr")
    add("--method", default="auto", choices=methods, help="a method of scipy.optimize (default: auto)")
    add("--out", metavar="FILE", help="write the result as JSON, and a new matrix and list of reflections beside it")
    add("--report", metavar="DIR", help="write a report with pictures")
    return parser


def _parameters(options) -> list[Any]:
    """The parameters to refine: names, and tuples of names that are tied."""
    from adjoint.parameters import cell_parameters

    parameters: list[Any] = tied_names("--parameters", options.parameters)
    if options.cell is not None:
        try:
            parameters += cell_parameters(options.cell)
        except InputError as error:
            raise InputError(f"--cell: {error}") from None
    if not parameters:
        raise InputError("--parameters: no parameter is named; allowed: names separated by commas, or a --cell SYSTEM")
    return parameters


def _keywords(options) -> dict[str, Any]:
    """The arguments of adjoint.refine that follow from options alone."""
    keywords = {"loss": options.loss, "phases": options.phases, "method": options.method}
    if options.sigma is not None:
        if options.loss != "gaussian":
            raise InputError(f"--sigma: {options.sigma!r} is given without --loss gaussian; allowed: with --loss gaussian")
        keywords["sigma"] = bundle.real_number("--sigma", options.sigma, "a positive number", lambda x: x > 0.0)
    keywords["bounds"] = {name: _range(name, text) for name, text in assignments("--bounds", options.bounds, "LOW:HIGH")}
    pairs = assignments("--restraints", options.restraints, "VALUE:SIGMA")
    keywords["restraints"] = {name: _restraint(name, text) for name, text in pairs}
    keywords["image"] = dict(_start(name, text) for name, text in assignments("--start", options.start, "VALUE"))
    if options.per_image is not None:
        names = comma_list("--per-image", options.per_image)
        keywords["per_image"] = [] if names == ["none"] else names
    return keywords


def _range(name: str, text: str) -> tuple[Any, Any]:
    """The bounds of a text LOW:HIGH, one of which may be empty."""
    low, colon, high = text.partition(":")
    least, most = numbers(low) if low else -np.inf, numbers(high) if high else np.inf
    if not colon or text == ":" or least is None or most is None:
        allowed = "LOW:HIGH, LOW: or :HIGH, each a number, or X/Y/Z for a vector"
        raise InputError(f"--bounds: {name}={text} is not allowed; allowed: {allowed}")
    return least, most


def _restraint(name: str, text: str) -> tuple[Any, Any]:
    """The expected value of a parameter and its standard deviation, of a text VALUE:SIGMA."""
    value, _, sigma = text.partition(":")
    expected, deviation = numbers(value), numbers(sigma)
    if expected is None or deviation is None or np.min(deviation) <= 0.0:
        allowed = "VALUE:SIGMA, or X/Y/Z:SIGMA for a vector, with a positive SIGMA"
        raise InputError(f"--restraints: {name}={text} is not allowed; allowed: {allowed}")
    return expected, deviation


def _start(name: str, text: str) -> tuple[str, float]:
    """The name of a number of an image, as adjoint.refine spells it, and its value."""
    from adjoint.parameters import IMAGE

    if not name.startswith("image."):
        allowed = f"{', '.join(IMAGE)} (FLAGS state the start of other parameters)"
        raise InputError(f"--start: {name} is not allowed; allowed: {allowed}")
    value = number(text)
    if value is None:
        raise InputError(f"--start: {name}={text} is not allowed; allowed: a number")
    return name.removeprefix("image."), value


def _blocks(flags: Sequence[str], count: int) -> list[Block]:
    """The block of flags of every image."""
    words_of_blocks: list[list[str]] = [[]]
    for word in flags:
        words_of_blocks[-1].append(word) if word != "--" else words_of_blocks.append([])
    if not all(words_of_blocks):
        raise InputError("refine: no flags stand after a --; allowed: one block -- FLAGS, or one block for each image")
    if len(words_of_blocks) not in (1, count):
        raise InputError(
            f"refine: {len(words_of_blocks)} blocks of flags are given for {count} images of --data; "
            "allowed: one block, or one for each image"
        )
    blocks = [_block(words) for words in words_of_blocks]
    return blocks * count if len(blocks) < count else blocks


def _block(words: list[str]) -> Block:
    """The block of some words, with the number of threads that they state set."""
    command_line = command_line_of(words, measured.READOUT_FLAGS)
    use_threads(run_of(command_line).threads)
    experiment = experiment_of(command_line)
    return Block(with_seed(words, command_line, experiment), command_line, experiment)


def _machine(blocks: Sequence[Block]) -> dict[str, str]:
    """The backend and the precision that flags state. Raises InputError if blocks state different ones."""
    machines = {run_of(block.command_line).machine for block in blocks}
    if len(machines) > 1:
        raise InputError("-backend, -precision: the blocks of flags state different ones; allowed: the same in all blocks")
    return machines.pop()._asdict()


def _readout(options, blocks: Sequence[Block]) -> dict[str, Any]:
    """The argument readout_noise of adjoint.refine, from its option or from flags; empty if neither states it.

    Warns of flags that have no effect because the loss does not depend on the read-out noise.
    """
    if options.readout_noise is not None:
        if options.loss != "gaussian" or options.sigma is not None:
            conflict = "together with --sigma" if options.sigma is not None else "without --loss gaussian"
            raise InputError(f"--readout-noise: it is given {conflict}; allowed: with --loss gaussian, without --sigma")
        allowed = "a number not below 0"
        return {"readout_noise": bundle.real_number("--readout-noise", options.readout_noise, allowed, lambda x: x >= 0.0)}
    if not any(READOUT in block.command_line.last for block in blocks):
        return {}
    if options.loss != "gaussian" or options.sigma is not None:
        why = "--sigma is given" if options.sigma is not None else "--loss poisson does not use it; --loss gaussian does"
        warnings.warn(f"{READOUT} has no effect: {why}", stacklevel=2)
        return {}
    noises = [run_of(block.command_line).response.readout_noise for block in blocks]
    return {"readout_noise": noises[0] if len(set(noises)) == 1 else noises}


def _with_gain(image: dict[str, float], blocks: Sequence[Block]) -> dict[str, float]:
    """The numbers of the images that --start states, with the gain that flags state."""
    gains = {run_of(block.command_line).response.gain for block in blocks}
    if "gain" in image or gains == {1.0}:
        return image
    if len(gains) > 1:
        raise InputError("-gain: the blocks of flags state different gains; allowed: one gain, or --start image.gain=VALUE")
    return image | {"gain": gains.pop()}


def _check_outputs(options, paths, parameters, blocks) -> NewFiles:
    """The names of new files. Raises InputError for a file that could not be written, before anything is computed."""
    inputs = {os.path.realpath(name): "FLAGS" for block in blocks for name in input_files(block.command_line)}
    for option, names in (("--data", paths), ("--mask", comma_list("--mask", options.mask))):
        inputs |= {os.path.realpath(images.file_of(name)): option for name in names}
    stem = "refined" if options.out is None else os.path.splitext(options.out)[0]
    if options.out is not None:
        files.check_writable(options.out, "--out")
        if os.path.realpath(options.out) in inputs:
            source = inputs[os.path.realpath(options.out)]
            raise InputError(f"--out: {options.out!r} is also a file of {source}; allowed: the name of another file")
        endings.check(options.out, "--out", "JSON")
    if options.report is not None:
        report.check(options.report)
    new_files = NewFiles(stem, [*inputs, *([] if options.out is None else [options.out])])
    option = "refine" if options.out is None else "--out"
    names = {name for tied in parameters for name in ((tied,) if isinstance(tied, str) else tied)}
    if names & {*CELL, "beam.wavelength_A"} and any("-mat" in block.command_line.last for block in blocks):
        files.check_writable(f"{stem}.mat", option)
    if AMPLITUDES in names:
        files.check_writable(f"{stem}.hkl", option)
    if any(name.startswith("detector.group[") for name in names):
        files.check_writable(f"{stem}.expt", option)
    if WEIGHTS in names:
        files.check_writable(f"{stem}.weights", option)
    return new_files


def _read(options, paths, blocks) -> list[measured.Measured]:
    """The measured images. Raises InputError for a mask or a number that is impossible, and for what the loss refuses."""
    masks = comma_list("--mask", options.mask)
    if len(masks) not in (0, 1, len(paths)):
        raise InputError(
            f"--mask: {len(masks)} masks are given for {len(paths)} images; allowed: one for all images, or one for each"
        )
    mask_paths = (masks if len(masks) == len(paths) else masks * len(paths)) or [None] * len(paths)
    offset = None if options.offset is None else bundle.real_number("--offset", options.offset, "a number", lambda x: True)
    saturation = options.saturation
    if saturation is not None:
        saturation = bundle.real_number("--saturation", saturation, "a positive number", lambda x: x > 0.0)
    gaps, measured_images = measured.read_gaps(comma_list("--gap", options.gap)), []
    for path, block, mask_path in zip(paths, blocks, mask_paths):
        mask = None if mask_path is None else measured.read_mask(mask_path, block.experiment)
        of_flags = run_of(block.command_line).response.saturation if "-saturation" in block.command_line.last else None
        image = measured.read(path, block.experiment, mask, of_flags if saturation is None else saturation, offset, gaps)
        measured_images.append(image)
        if options.loss == "poisson":
            _check_counts(image)
    return measured_images


def _check_counts(image: measured.Measured) -> None:
    """Raise InputError for numbers below 0, which cannot be counts of photons."""
    below = np.concatenate([panel[panel < 0.0] for panel in image.panels])
    if len(below):
        finding = f"{len(below)} pixels of {image.path!r} are below 0, down to {below.min():g}"
        offset = image.offset_in_words()
        finding += f", with {offset} subtracted" if offset else ""
        ways = "--loss gaussian with --readout-noise takes them, --gap and --mask leave pixels out, --offset is subtracted"
        raise InputError(f"--data: {finding}, which counts of photons cannot be; allowed: counts not below 0; {ways}")


def in_options(message: str) -> str:
    """A message of adjoint.refine in which the options replace the arguments that they state."""
    names = "|".join(map(re.escape, OPTIONS))
    message = re.sub(r"\bper_image\b", OPTIONS["per_image"], message)
    return re.sub(rf"^({names})\b(?!\.)", lambda match: OPTIONS[match[0]], message)


def _refine(blocks, measured_images, parameters, keywords) -> Any:
    """The result of adjoint.refine. Its InputErrors name options in place of arguments."""
    import adjoint

    experiments, data = [block.experiment for block in blocks], [image.data for image in measured_images]
    if len(measured_images) == 1:
        experiments, data = experiments[0], data[0]
    hours = max(run_of(block.command_line).max_hours for block in blocks)
    progress = _progress(run_of(blocks[0].command_line).progress)
    try:
        with granted(hours, "-max_hours"), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "the image can", UserWarning)  # The diagnosis says it, after the table.
            return adjoint.refine(experiments, data, parameters, progress=progress, **keywords)
    except InputError as error:
        raise InputError(in_options(str(error))) from error


def _progress(with_steps: bool) -> Callable[[Any], None]:
    """A function that prints the name of every phase, and with_steps a line for every step if stderr is a terminal.

    How many steps there will be is not known, so that a line has the time since the last one in place of the time that is left.
    """
    phase, before = None, time.monotonic()

    def print_step(step) -> None:
        nonlocal phase, before
        if step.phase != phase:
            phase = step.phase
            print(f"phase: {phase}", flush=True)
        if with_steps and sys.stderr.isatty():
            took = resolved.duration(time.monotonic() - before)
            print(f"  {step.evaluation:5d}  loss {step.loss:.9g}  {took}", file=sys.stderr, flush=True)
        before = time.monotonic()

    return print_step


def _print_result(result) -> None:
    """Print the phases, the table, how well the data are met, the verdict and the diagnosis."""
    print(*result.phases, "", *refined_table.table(result), "", sep="\n")
    share = "" if np.isnan(result.explained) else f", {100.0 * max(result.explained, 0.0):.0f} % of the contrast explained"
    print(f"reduced chi squared {result.chi_squared:.4g} of {result.pixels} pixels{share}")
    print(*_spot_lines(result.spots), sep="\n")
    print(result.message if result.success else f"not successful: {result.message}", flush=True)
    bundle.warn(result.diagnosis)


def _spot_lines(spots_of_images: Sequence[Any]) -> list[str]:
    """A line for every image that compares its spots with the calculated ones."""
    lines = []
    for image_number, spots in enumerate(spots_of_images, start=1):
        figures = [f"{spots.placed} of {spots.calculated} calculated spots are where they should be"]
        if np.isfinite(spots.r_factor):
            figures.append(f"R factor {spots.r_factor:.3g}")
        if np.isfinite(spots.shift):
            figures.append(f"spots shifted by {spots.shift:.2g} pixels")
        lines.append(("" if len(spots_of_images) == 1 else f"image {image_number}: ") + ", ".join(figures))
    return lines


def _refined_words(blocks, result, parameters, image, new_files) -> tuple[list[list[str]], list[str]]:
    """The refined flags of every image, and sentences on what they do not state."""
    experiments = [result.experiment] if isinstance(result.experiment, Experiment) else list(result.experiment)
    words_of_images, notes = [], []
    for index, (block, refined) in enumerate(zip(blocks, experiments)):
        scale = _image_number(result, image, "scale", index)
        if scale != 1.0:
            refined = refined.replace({"beam.fluence": refined.value("beam.fluence") * scale})
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", UserWarning)
            words = refined_flags(block.words, refined, parameters, new_files)
        notes += [str(warning.message) for warning in caught]
        gain = _image_number(result, image, "gain", index)
        if gain != run_of(block.command_line).response.gain:
            words = [*without(words, ["-gain"]), "-gain", repr(gain)]
        words_of_images.append(words)
    terms = ("background", "background_x", "background_y", "background_radial")
    if any(_image_number(result, image, term, index) for term in terms for index in range(len(blocks))):
        notes.append("no flag states image.background: the refined flags give what the crystal and the water scatter")
    return words_of_images, list(dict.fromkeys(notes))


def _image_number(result, image: dict[str, float], name: str, index: int) -> float:
    """A number of the image of that index: its refined value, or the one that it was fixed at."""
    default = 1.0 if name in ("scale", "gain") else 0.0
    values = np.ravel(result.values.get(f"image.{name}", image.get(name, default)))
    return float(values[index] if len(values) > 1 else values[0])


def _titled(words_of_images: list[list[str]], paths: list[str], title: str) -> list[tuple[str, str]]:
    """Titles and command lines of the refined flags, one for each image, or one for all if their flags are the same."""
    lines = [shlex.join(["nbnumba", *words]) for words in words_of_images]
    if len(set(lines)) == 1:
        return [(title, lines[0])]
    return [(f"{title} of {path}", line) for path, line in zip(paths, lines)]


def _command(own_words: Sequence[str], blocks: Sequence[Block]) -> list[str]:
    """The command line that repeats the refinement, with the seeds that were drawn from the clock."""
    distinct = blocks[:1] if all(block is blocks[0] for block in blocks) else blocks
    return ["nbnumba", "refine", *own_words, *(word for block in distinct for word in ("--", *block.words))]


def _write(options, result, words, notes, titled, command) -> list[str]:
    """Write the files of --out and --report. Returns a line of text about each."""
    lines = []
    if options.out is not None:
        bundle.write_json(options.out, summary(result, words, notes, command))
        lines.append(f"wrote {options.out}")
    if options.report is not None:
        title = f"Refinement against {', '.join(comma_list('--data', options.data))}"
        report.write(result, options.report, title=title, flags=titled)
        lines.append(f"wrote {options.report}")
    return lines


def summary(result, words: list[list[str]], notes: list[str], command: list[str]) -> dict[str, Any]:
    """The contents of the file of --out, with arrays as lists."""
    covariance = result.covariance
    with_covariance = covariance is not None and len(covariance) <= bundle.MOST_COVARIANCES
    return {
        "success": bool(result.success),
        "message": str(result.message),
        "diagnosis": list(result.diagnosis),
        "names": list(result.names),
        "units": list(result.units),
        "values": _lists(result.values),
        "uncertainties": _lists(result.uncertainties),
        "start": _lists(result.start),
        "covariance": np.asarray(covariance).tolist() if with_covariance else None,
        "loss": float(result.fun),
        "chi_squared": float(result.chi_squared),
        "pixels": int(result.pixels),
        "explained": float(result.explained),
        "r_factor": float(result.r_factor),
        "shift_pixels": float(result.shift_pixels),
        "spots": [spots._asdict() for spots in result.spots],
        "evaluations": int(result.nfev),
        "phases": list(result.phases),
        "flags": words,
        "flags_do_not_state": notes,
        "command": command,
        "environment": bundle.environment(),
    }


def _lists(by_name: dict[str, np.ndarray]) -> dict[str, Any]:
    return {name: np.asarray(value).tolist() for name, value in by_name.items()}
