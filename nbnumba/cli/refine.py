"""The subcommand refine: parameters, with uncertainties, of the experiment that some flags describe, from measured images."""

from __future__ import annotations

import os
import re
import shlex
import sys
import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from nbnumba.cli import bundle, measured, refined_table, report
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
from nbnumba.formats.text import excerpt

ABOUT = """\
Refines parameters of the experiment that FLAGS describe against measured images, and prints each with its standard
uncertainty, and the flags of the refined experiment. NAMES are those of adjoint.PARAMETERS and VECTORS (specs/adjoint.md,
A15), such as detector.distance_mm or crystal.misset_deg, tied ones joined by +, and image.scale, image.background,
image.background_x, image.background_y, image.background_radial, image.gain (specs/refine.md, R1).
"""
NOTES = """\
One block of FLAGS is for all images, or each image has one: -- FLAGS -- FLAGS. IMAGE is what fabio reads (CBF, SMV, TIFF,
EDF, HDF5; FILE#K is image K, from 0, of several) or nanoBragg's float image, *.bin. Pixels that hold no measurement or are
saturated, as the file or an option says, and those that FLAGS do not render are left out. Numbers below 0 are data unless
the file or --gap says otherwise. Exit status 1 if the refinement does not succeed.
"""
UNSUCCESSFUL = 1
AMPLITUDES = "structure_factors.F"
MOST_COVARIANCES = 1000
"""Covariances of more numbers than these are not written: they would be megabytes."""

READOUT = "-readout_noise"
OF_DATA = {
    **dict.fromkeys(("-gain", READOUT, "-saturation")),
    "-psf": "the expected image is without it",
    "-adc": "--offset says what is to be taken off the data",
}
"""The flags of a detector's read-out that say something of measured data, and why others do not."""
"""Flags of the noise image: one that the expected image knows nothing of, and one that says how far data are off it."""

OPTIONS = {"measured": "--data", "per_image": "--per-image", "image": "--start", "parameters": "--parameters"}
OPTIONS |= {name: f"--{name}" for name in ("bounds", "restraints", "loss", "sigma", "phases", "method", "offset", "mask")}
OPTIONS |= {"readout_noise": "--readout-noise"}
"""The option that states each argument of adjoint.refine, for its messages."""


class Block(NamedTuple):
    """The flags of an image, what they state, and the experiment that they describe."""

    words: list[str]
    command_line: CommandLine
    experiment: Experiment


def main(args: Sequence[str]) -> int:
    """Run it; returns the exit status: 1 if the refinement does not succeed."""
    own, flags = bundle.split(args, "refine")
    options = _parser().parse_args(_joined(own))
    asked = _asked(options)
    keywords = _keywords(options)
    paths = _listed("--data", options.data)
    blocks = _blocks(flags, len(paths))
    keywords["image"] = _with_gain(keywords["image"], blocks)
    keywords |= _machine(blocks) | _readout(options, blocks)
    new_files = _check_outputs(options, paths, asked, blocks)
    found = _read(options, paths, blocks)
    for image in found:
        print(image.line())
    result = _refine(blocks, found, asked, keywords)
    _show(result)
    with files.together():
        words, notes = _flags(blocks, result, asked, keywords["image"], new_files)
        for note in notes:
            _warn(note)
        titled = _titled(words, paths, "refined flags" if result.success else "flags of where it ended, without success")
        for title, line in titled:
            print("", f"{title}:", line, sep="\n")
        lines = _write(options, result, words, notes, titled, _command(own, blocks))
    print(*lines, sep="\n", end="\n" if lines else "")
    return 0 if result.success else UNSUCCESSFUL


def _parser() -> bundle.Parser:
    usage = "nbnumba refine --data IMAGE[,IMAGE...] --parameters NAMES [options] -- FLAGS [-- FLAGS ...]"
    parser = bundle.Parser("refine", usage=usage, description=ABOUT, epilog=NOTES)
    add = parser.add_argument
    add("--data", action="append", required=True, metavar="IMAGE[,...]", help="the measured images")
    add("--parameters", action="append", metavar="NAME[,...]", help="what is refined; A+B: two that are tied")
    add("--cell", metavar="SYSTEM", help="the free parameters of the cell in a crystal system besides, such as tetragonal")
    add("--bounds", action="append", metavar="NAME=LOW:HIGH[,...]", help="closer bounds; a side may be empty; of vectors X/Y/Z")
    add("--restraints", action="append", metavar="NAME=VALUE:SIGMA[,...]", help="what is known besides; of vectors X/Y/Z:SIGMA")
    add("--start", action="append", metavar="NAME=VALUE[,...]", help="values of image.* to start from, or to hold")
    add("--per-image", action="append", metavar="NAME[,...]", help="what each image has by itself; none: nothing")
    add("--loss", default="poisson", choices=("poisson", "gaussian"), help="what is minimized (default: poisson)")
    add("--sigma", metavar="NUMBER", help="standard deviation of a pixel, with --loss gaussian; without, from the counts")
    add("--readout-noise", metavar="NUMBER", help="with --loss gaussian without --sigma (default: -readout_noise of FLAGS)")
    add("--mask", action="append", metavar="FILE[,...]", help="image that is 0 where a pixel is left out; one, or as many")
    add("--gap", action="append", metavar="VALUE[,...]", help="stored values of gaps, or LOW:HIGH; none: not as the file says")
    add("--saturation", metavar="NUMBER", help="value from which on a pixel is left out (default: as file or FLAGS say)")
    add("--offset", metavar="NUMBER", help="taken off every pixel (default: ADC_OFFSET of the header, else 0)")
    add("--phases", default="auto", choices=("auto", "exact"), help="auto: coarse to fine, the default; exact: at once")
    methods = ("auto", "least_squares", "L-BFGS-B", "trust-constr")
    add("--method", default="auto", choices=methods, help="of scipy.optimize (default: auto)")
    add("--out", metavar="FILE", help="write everything as JSON; a new matrix and reflections stand beside it")
    add("--report", metavar="DIR", help="write a report with pictures")
    return parser


def _joined(words: list[str]) -> list[str]:
    """The words with --gap and its value as one: that of -1,-2 would be taken for an option."""
    found = list(words)
    while "--gap" in found[:-1]:
        place = found.index("--gap")
        found[place : place + 2] = [f"--gap={found[place + 1]}"]
    return found


def _listed(option: str, given: Iterable[str] | None) -> list[str]:
    """What an option lists, in one word or several."""
    found = [word.strip() for words in given or () for word in words.split(",")]
    if "" in found:
        raise InputError(f"{option}: {','.join(given)!r} names nothing between commas; allowed: names with commas between them")
    return found


def _asked(options) -> list[Any]:
    """The parameters: names, and tuples of names that are tied."""
    from adjoint.parameters import cell_parameters

    asked: list[Any] = []
    for word in _listed("--parameters", options.parameters):
        names = tuple(name.strip() for name in word.split("+"))
        if "" in names:
            raise InputError(f"--parameters: {word!r} ties nothing; allowed: NAME+NAME")
        asked.append(names if len(names) > 1 else names[0])
    if options.cell is not None:
        try:
            asked += cell_parameters(options.cell)
        except InputError as error:
            raise InputError(f"--cell: {error}") from None
    if not asked:
        raise InputError("--parameters: none is named; allowed: names with commas between them, or a --cell SYSTEM")
    return asked


def _keywords(options) -> dict[str, Any]:
    """The arguments of adjoint.refine that options state by themselves."""
    found = {"loss": options.loss, "phases": options.phases, "method": options.method}
    if options.sigma is not None:
        if options.loss != "gaussian":
            raise InputError(f"--sigma: {options.sigma!r} is given without --loss gaussian; allowed: with it")
        found["sigma"] = bundle.real_number("--sigma", options.sigma, "a positive number", lambda x: x > 0.0)
    found["bounds"] = {name: _range(name, text) for name, text in _named("--bounds", options.bounds, "LOW:HIGH")}
    pairs = _named("--restraints", options.restraints, "VALUE:SIGMA")
    found["restraints"] = {name: _restraint(name, text) for name, text in pairs}
    found["image"] = dict(_start(name, text) for name, text in _named("--start", options.start, "VALUE"))
    if options.per_image is not None:
        names = _listed("--per-image", options.per_image)
        found["per_image"] = [] if names == ["none"] else names
    return found


def _named(option: str, given: Iterable[str] | None, form: str) -> list[tuple[str, str]]:
    """Names and what is stated of each, NAME=TEXT."""
    found: dict[str, str] = {}
    for word in _listed(option, given):
        name, equals, text = word.partition("=")
        if not (name and equals and text):
            raise InputError(f"{option}: {excerpt(word)} is not allowed; allowed: NAME={form}, with commas between several")
        if name in found:
            raise InputError(f"{option}: {name} is there twice; allowed: every name once")
        found[name] = text
    return list(found.items())


def _numbers(text: str) -> float | tuple[float, ...] | None:
    """The number that a text spells, or the numbers of a vector, X/Y/Z; None if it spells none."""
    found = [number(part) for part in text.split("/")]
    if None in found:
        return None
    return found[0] if len(found) == 1 else tuple(found)


def _range(name: str, text: str) -> tuple[Any, Any]:
    """The bounds LOW:HIGH, either of which may be empty."""
    low, colon, high = text.partition(":")
    least, most = _numbers(low) if low else -np.inf, _numbers(high) if high else np.inf
    if not colon or text == ":" or least is None or most is None:
        allowed = "LOW:HIGH, either one or both, X/Y/Z each of a vector"
        raise InputError(f"--bounds: {name}={text} is not allowed; allowed: {allowed}")
    return least, most


def _restraint(name: str, text: str) -> tuple[Any, Any]:
    """What a parameter is drawn to, VALUE:SIGMA."""
    value, _, sigma = text.partition(":")
    target, width = _numbers(value), _numbers(sigma)
    if target is None or width is None or np.min(width) <= 0.0:
        allowed = "VALUE:SIGMA, X/Y/Z:SIGMA of a vector, SIGMA a positive number"
        raise InputError(f"--restraints: {name}={text} is not allowed; allowed: {allowed}")
    return target, width


def _start(name: str, text: str) -> tuple[str, float]:
    """The number of an image by the name that adjoint.refine has for it, and its value."""
    if not name.startswith("image."):
        raise InputError(f"--start: {name} is not allowed; allowed: image.* (FLAGS state the others)")
    value = number(text)
    if value is None:
        raise InputError(f"--start: {name}={text} is not allowed; allowed: a number")
    return name.removeprefix("image."), value


def _blocks(flags: Sequence[str], count: int) -> list[Block]:
    """The flags of every image."""
    cut: list[list[str]] = [[]]
    for word in flags:
        cut[-1].append(word) if word != "--" else cut.append([])
    if not all(cut):
        raise InputError("refine: no flags stand after a --; allowed: -- and the flags of all images, or of one each")
    if len(cut) not in (1, count):
        raise InputError(f"refine: {len(cut)} blocks of flags for {count} of --data; allowed: one, or one for each image")
    made = [_block(words) for words in cut]
    return made * count if len(made) < count else made


def _block(words: list[str]) -> Block:
    command_line = command_line_of(words, OF_DATA)
    use_threads(run_of(command_line).threads)
    experiment = experiment_of(command_line)
    return Block(with_seed(words, command_line, experiment), command_line, experiment)


def _machine(blocks: Sequence[Block]) -> dict[str, str]:
    """The backend and the precision that flags state. Raises InputError where blocks state different ones."""
    stated = {run_of(block.command_line).machine for block in blocks}
    if len(stated) > 1:
        raise InputError("-backend, -precision: they are not the same in all blocks of flags; allowed: one machine")
    return stated.pop()._asdict()


def _readout(options, blocks: Sequence[Block]) -> dict[str, Any]:
    """The noise of the read-out: as its option says, or flags do; a loss that has no use for it is said to have none."""
    if options.readout_noise is not None:
        if options.loss != "gaussian" or options.sigma is not None:
            given = "beside --sigma" if options.sigma is not None else "without --loss gaussian"
            raise InputError(f"--readout-noise: it is given {given}; allowed: with --loss gaussian, without --sigma")
        allowed = "a number not below 0"
        return {"readout_noise": bundle.real_number("--readout-noise", options.readout_noise, allowed, lambda x: x >= 0.0)}
    if not any(READOUT in block.command_line.last for block in blocks):
        return {}
    if options.loss != "gaussian" or options.sigma is not None:
        why = "--sigma is given" if options.sigma is not None else "--loss poisson has none; --loss gaussian takes it"
        warnings.warn(f"{READOUT} has no effect: {why}", stacklevel=2)
        return {}
    stated = [run_of(block.command_line).response.readout_noise for block in blocks]
    return {"readout_noise": stated[0] if len(set(stated)) == 1 else stated}


def _with_gain(image: dict[str, float], blocks: Sequence[Block]) -> dict[str, float]:
    """The numbers of the images, with the gain that flags state."""
    gains = {run_of(block.command_line).response.gain for block in blocks}
    if "gain" in image or gains == {1.0}:
        return image
    if len(gains) > 1:
        raise InputError("-gain: it is not the same in all blocks of flags; allowed: one gain, or --start image.gain=VALUE")
    return image | {"gain": gains.pop()}


def _check_outputs(options, paths, asked, blocks) -> NewFiles:
    """Raise InputError for what could not be written, before anything is computed; the names of new files."""
    inputs = {os.path.realpath(name): "FLAGS" for block in blocks for name in input_files(block.command_line)}
    for option, names in (("--data", paths), ("--mask", _listed("--mask", options.mask))):
        inputs |= {os.path.realpath(images.file_of(name)): option for name in names}
    stem = "refined" if options.out is None else os.path.splitext(options.out)[0]
    if options.out is not None:
        files.check_writable(options.out, "--out")
        if os.path.realpath(options.out) in inputs:
            named = inputs[os.path.realpath(options.out)]
            raise InputError(f"--out: {options.out!r} is also a file of {named}; allowed: a name of its own")
        endings.check(options.out, "--out", "JSON")
    if options.report is not None:
        report.check(options.report)
    new_files = NewFiles(stem, [*inputs, *([] if options.out is None else [options.out])])
    option = "refine" if options.out is None else "--out"
    names = {name for each in asked for name in ((each,) if isinstance(each, str) else each)}
    if names & {*CELL, "beam.wavelength_A"} and any("-mat" in block.command_line.last for block in blocks):
        files.check_writable(f"{stem}.mat", option)
    if AMPLITUDES in names:
        files.check_writable(f"{stem}.hkl", option)
    return new_files


def _read(options, paths, blocks) -> list[measured.Measured]:
    """The images, each without what is left out of it."""
    masks = _listed("--mask", options.mask)
    if len(masks) not in (0, 1, len(paths)):
        raise InputError(f"--mask: {len(masks)} masks of {len(paths)} images; allowed: one for all, or one for each")
    of_each = (masks if len(masks) == len(paths) else masks * len(paths)) or [None] * len(paths)
    offset = None if options.offset is None else bundle.real_number("--offset", options.offset, "a number", lambda x: True)
    stated = options.saturation
    if stated is not None:
        stated = bundle.real_number("--saturation", stated, "a positive number", lambda x: x > 0.0)
    gaps, found = measured.read_gaps(_listed("--gap", options.gap)), []
    for path, block, name in zip(paths, blocks, of_each):
        mask = None if name is None else measured.read_mask(name, block.experiment)
        of_flags = run_of(block.command_line).response.saturation if "-saturation" in block.command_line.last else None
        image = measured.read(path, block.experiment, mask, of_flags if stated is None else stated, offset, gaps)
        found.append(image)
        if options.loss == "poisson":
            _check_counts(image)
    return found


def _check_counts(image: measured.Measured) -> None:
    """Raise InputError for numbers below 0, which are no counts of photons."""
    below = image.data < 0.0
    if below.any():
        said = f"{np.count_nonzero(below)} pixels of {image.path!r} are below 0, down to {np.nanmin(image.data):g}"
        said += f", with {taken}{',' * image.noted} taken off" if (taken := image.offset_in_words()) else ""
        ways = "--loss gaussian with --readout-noise takes them, --gap and --mask leave pixels out, --offset is taken off"
        raise InputError(f"--data: {said}, and no counts of photons are; allowed: counts not below 0; {ways}")


def in_options(message: str) -> str:
    """A message of adjoint.refine that begins with one of its arguments, beginning with the option that states it."""
    names = "|".join(map(re.escape, OPTIONS))
    message = re.sub(r"\bper_image\b", OPTIONS["per_image"], message)
    return re.sub(rf"^({names})\b(?!\.)", lambda found: OPTIONS[found[0]], message)


def _refine(blocks, found, asked, keywords) -> Any:
    """The result of adjoint.refine, which tells what it refuses in the words of the command line."""
    import adjoint

    experiments, data = [block.experiment for block in blocks], [image.data for image in found]
    if len(found) == 1:
        experiments, data = experiments[0], data[0]
    hours = max(run_of(block.command_line).max_hours for block in blocks)
    try:
        with granted(hours, "-max_hours"), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "the image can", UserWarning)  # which the diagnosis says, after the table
            return adjoint.refine(experiments, data, asked, progress=_told(run_of(blocks[0].command_line).progress), **keywords)
    except InputError as error:
        raise InputError(in_options(str(error))) from error


def _told(wanted: bool) -> Callable[[Any], None]:
    """Prints the name of every phase, and a line for every step on stderr if that is a terminal."""
    phase = None

    def told(step) -> None:
        nonlocal phase
        if step.phase != phase:
            phase = step.phase
            print(f"phase: {phase}", flush=True)
        if wanted and sys.stderr.isatty():
            print(f"  {step.evaluation:5d}  loss {step.loss:.9g}", file=sys.stderr, flush=True)

    return told


def _show(result) -> None:
    """Print what came of it."""
    print(*result.phases, "", *refined_table.table(result), "", sep="\n")
    share = "" if np.isnan(result.explained) else f", {100.0 * max(result.explained, 0.0):.0f} % of the contrast explained"
    print(f"reduced chi squared {result.chi_squared:.4g} of {result.pixels} pixels{share}")
    print(*_of_spots(result.spots), sep="\n")
    print(result.message if result.success else f"not successful: {result.message}", flush=True)
    for sentence in result.diagnosis:
        _warn(sentence)


def _of_spots(spots: Sequence[Any]) -> list[str]:
    """A line for every image: how its spots agree with those that are calculated."""
    lines = []
    for place, of_image in enumerate(spots, start=1):
        figures = [f"{of_image.placed} of {of_image.calculated} calculated spots are where they should be"]
        if np.isfinite(of_image.r_factor):
            figures.append(f"R factor {of_image.r_factor:.3g}")
        if np.isfinite(of_image.shift):
            figures.append(f"spots shifted by {of_image.shift:.2g} pixels")
        lines.append(("" if len(spots) == 1 else f"image {place}: ") + ", ".join(figures))
    return lines


def _warn(sentence: str) -> None:
    """A warning that calls parameters by their own names."""
    print(f"nbnumba: warning: {sentence}", file=sys.stderr)


def _flags(blocks, result, asked, image, new_files) -> tuple[list[list[str]], list[str]]:
    """The refined flags of every image, and what they do not state."""
    experiments = [result.experiment] if isinstance(result.experiment, Experiment) else list(result.experiment)
    found, notes = [], []
    for place, (block, refined) in enumerate(zip(blocks, experiments)):
        scale = _of_image(result, image, "scale", place)
        if scale != 1.0:
            refined = refined.replace({"beam.fluence": refined.value("beam.fluence") * scale})
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", UserWarning)
            words = refined_flags(block.words, refined, asked, new_files)
        notes += [str(each.message) for each in caught]
        gain = _of_image(result, image, "gain", place)
        if gain != run_of(block.command_line).response.gain:
            words = [*without(words, ["-gain"]), "-gain", repr(gain)]
        found.append(words)
    terms = ("background", "background_x", "background_y", "background_radial")
    if any(_of_image(result, image, term, place) for term in terms for place in range(len(blocks))):
        notes.append("no flag states image.background: the refined flags give what the crystal and the water scatter")
    return found, list(dict.fromkeys(notes))


def _of_image(result, image: dict[str, float], name: str, place: int) -> float:
    """A number of an image: as it was refined, or as it was held."""
    default = 1.0 if name in ("scale", "gain") else 0.0
    values = np.ravel(result.values.get(f"image.{name}", image.get(name, default)))
    return float(values[place] if len(values) > 1 else values[0])


def _titled(words: list[list[str]], paths: list[str], title: str) -> list[tuple[str, str]]:
    """The refined flags, each under a title: a command line for each image; images of the same flags have one."""
    lines = [shlex.join(["nbnumba", *each]) for each in words]
    if len(set(lines)) == 1:
        return [(title, lines[0])]
    return [(f"{title} of {path}", line) for path, line in zip(paths, lines)]


def _command(own: Sequence[str], blocks: Sequence[Block]) -> list[str]:
    """The command line that does the same again, with the seeds that the clock gave."""
    once = blocks[:1] if all(block is blocks[0] for block in blocks) else blocks
    return ["nbnumba", "refine", *own, *(word for block in once for word in ("--", *block.words))]


def _write(options, result, words, notes, titled, command) -> list[str]:
    """Write --out and --report; returns a line of text on each."""
    lines = []
    if options.out is not None:
        bundle.write_json(options.out, summary(result, words, notes, command))
        lines.append(f"wrote {options.out}")
    if options.report is not None:
        title = f"Refinement against {', '.join(_listed('--data', options.data))}"
        report.write(result, options.report, title=title, flags=titled)
        lines.append(f"wrote {options.report}")
    return lines


def summary(result, words: list[list[str]], notes: list[str], command: list[str]) -> dict[str, Any]:
    """What --out holds: names for everything, and numbers as lists."""
    covariance = result.covariance
    few = covariance is not None and len(covariance) <= MOST_COVARIANCES
    return {
        "success": bool(result.success),
        "message": str(result.message),
        "diagnosis": list(result.diagnosis),
        "names": list(result.names),
        "units": list(result.units),
        "values": _lists(result.values),
        "uncertainties": _lists(result.uncertainties),
        "start": _lists(result.start),
        "covariance": np.asarray(covariance).tolist() if few else None,
        "loss": float(result.fun),
        "chi_squared": float(result.chi_squared),
        "pixels": int(result.pixels),
        "explained": float(result.explained),
        "r_factor": float(result.r_factor),
        "shift_pixels": float(result.shift_pixels),
        "spots": [each._asdict() for each in result.spots],
        "evaluations": int(result.nfev),
        "phases": list(result.phases),
        "flags": words,
        "flags_do_not_state": notes,
        "command": command,
        "environment": bundle.environment(),
    }


def _lists(named: dict[str, np.ndarray]) -> dict[str, Any]:
    return {name: np.asarray(value).tolist() for name, value in named.items()}
