"""The subcommand trace: it writes all factors of the intensity of pixels, with nanoBragg's names and in its order."""

import os
import shlex
from collections.abc import Iterator, Sequence
from typing import Any

from nbnumba.cli import bundle
from nbnumba.errors import InputError, shown
from nbnumba.experiment import Experiment
from nbnumba.flags.run import run_of
from nbnumba.flags.subcommand import command_line_of, input_files, with_seed
from nbnumba.flags.to_experiment import experiment_of
from nbnumba.formats import endings, files
from nbnumba.setup import sampling
from nbnumba.setup.crystals import BACKGROUND
from nbnumba.setup.sheet import sheet_of
from nbnumba.trace import Chain, PhiStep, rendered, traces

ABOUT = """\
Writes the factors of the intensity of pixels as they are in the run that FLAGS describe, including lattices that are
carried over from the pixel before (-c_parity, -c_threads): a line "TRACE_NB: name value..." per factor, with nanoBragg's
names and in its order, and a line "TRACE_NB_PHI name=value..." per phi step, with 17 significant digits. Every sample of a
pixel (sensor layer, sub-pixel, source) has a block of its own; its geometry is written once per sub-pixel. The unit of
scattering_vec_A_inv is 1/m, as in nanoBragg's traces.
"""
BUNDLE = """\
FILE.bundle/ holds commands.txt, environment.json and SHA256SUMS, of FILE, FILE.json and the files that FLAGS name. With
/dev/stdout as FILE there is no bundle.
"""
GEOMETRY = ("pix0_vector_meters", "fdet_vec", "sdet_vec", "pixel_pos_meters", "R_distance_meters", "omega_pixel_sr",
            "close_distance_meters", "obliquity_factor", "diffracted_vec")  # fmt: skip
"""The factors that do not depend on the source. nanoBragg prints them before its loop over the sources."""


def main(args: Sequence[str]) -> int:
    """Trace the pixels and write the bundle. Returns the exit status."""
    own_words, flags = bundle.split(args, "trace")
    options = _parser().parse_args(own_words)
    options.out = "/dev/stdout" if options.out == "-" else options.out
    unused = dict.fromkeys(("-threads", "-max_hours", "-progress"), "pixels are traced one after the other")
    unused["-tolerance"] = "a trace has every term"
    command_line = command_line_of(flags, unused)
    run = run_of(command_line)
    names = _output_names(options.out, options.json)
    experiment = experiment_of(command_line)
    pixels = _pixels(experiment, options)
    chains = traces(experiment, pixels, backend=options.backend or run.backend, precision=options.precision or run.precision)
    flags = with_seed(flags, command_line, experiment)
    with files.together():
        bundle.write_text(options.out, "".join(f"{line}\n" for line in text(chains, experiment, flags)))
        if options.json:
            bundle.write_json(f"{options.out}.json", document(chains, experiment, flags))
        if not _is_device(options.out):
            directory = files.make_folder(f"{options.out}.bundle", "--out")
            from_bundle = [os.path.join(os.pardir, os.path.basename(name)) for name in names]
            command = shlex.join(["nbnumba", "trace", *own_words, "--", *flags])
            bundle.seal(directory, from_bundle, [command], input_files(command_line))
    return 0


def _parser() -> bundle.Parser:
    parser = bundle.Parser("trace", usage="nbnumba trace --pixel SLOW FAST [--panel PANEL] --out FILE [options] -- FLAGS",
                           description=ABOUT, epilog=BUNDLE)  # fmt: skip
    parser.add_argument("--pixel", nargs=2, action="append", metavar=("SLOW", "FAST"), help="a pixel to trace; may be repeated")
    parser.add_argument(
        "--panel", metavar="PANEL", help="the panel of these pixels, its number from 0 or its path; of one it may be left out"
    )
    parser.add_argument(
        "--roi", nargs=4, metavar=("XMIN", "XMAX", "YMIN", "YMAX"),
        help="trace the rendered pixels of a region, both ends included, x fast and y slow, in the order of the run",
    )  # fmt: skip
    parser.add_argument("--out", required=True, metavar="FILE", help="the file to write")
    parser.add_argument("--json", action="store_true", help="write FILE.json too, with the same numbers")
    parser.add_argument("--backend", help="the backend whose arithmetic is traced: cpu")
    parser.add_argument("--precision", help="the precision of the arithmetic: double")
    return parser


def _is_device(path: str) -> bool:
    return os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path)


def _output_names(out: str, as_json: bool) -> list[str]:
    """The names of the files to write. Raises InputError, before anything is computed, for one that cannot be written."""
    if as_json and _is_device(out):
        raise InputError(f"--json: {out!r} is a device, and no FILE.json can be beside it; allowed: an --out that is a file")
    names = [out, *([f"{out}.json"] if as_json else [])]
    endings.check(out, "--out", "text")
    for name in names:
        files.check_writable(name, "--out")
    if not _is_device(out):
        files.check_folder(f"{out}.bundle", "--out")
    return names


def _pixels(experiment: Experiment, options) -> list[tuple[int, int, int]]:
    """The pixels to trace, (panel, slow, fast). Raises InputError where there is none, and for one that is not rendered."""
    panel = _panel(experiment, options.panel)
    window = sampling.windows(experiment.detector, experiment.sampling)[panel]
    pixels = []
    for words in options.pixel or ():
        slow, fast = bundle.whole_numbers("--pixel", words, "two whole numbers, SLOW FAST", 0)
        if not rendered(window, slow, fast):
            raise InputError(
                f"--pixel: {slow} {fast} is not rendered; allowed: SLOW FAST in the region and the mask of the run"
            )
        pixels.append((panel, slow, fast))
    if options.roi is not None:
        shape = sheet_of(experiment.detector).shapes[panel]
        pixels += [(panel, *pixel) for pixel in _region_pixels(options.roi, window, shape)]
    if not pixels:
        raise InputError("trace: no pixel is given; allowed: --pixel SLOW FAST, or --roi XMIN XMAX YMIN YMAX")
    return list(dict.fromkeys(pixels))


def _panel(experiment: Experiment, stated: str | None) -> int:
    """The number of the panel that --panel states, by its number or its path; of one panel it may be left out."""
    paths = [panel.path for panel in experiment.detector.panels] or ["0"]
    allowed = f"0 to {len(paths) - 1}, or a path such as {paths[0]}" if len(paths) > 1 else "0, because there is one panel"
    if stated is None and len(paths) > 1:
        raise InputError(f"--panel: a pixel of {len(paths)} panels is named by its panel, too; allowed: {allowed}")
    if stated is None or stated in paths:
        return 0 if stated is None else paths.index(stated)
    if not stated.isdecimal() or len(stated) > 9 or int(stated) >= len(paths):
        raise InputError(f"--panel: {shown(stated)} is no panel; allowed: {allowed}")
    return int(stated)


def _region_pixels(words, window, shape: tuple[int, int]) -> list[tuple[int, int]]:
    """The rendered pixels of the region that the words of --roi state, of a panel of that shape (slow, fast)."""
    bounds = bundle.whole_numbers("--roi", words, "four whole numbers, XMIN XMAX YMIN YMAX")
    rows, columns = region(bounds, shape[::-1])
    pixels = [(slow, fast) for slow in range(*rows) for fast in range(*columns) if rendered(window, slow, fast)]
    if not pixels:
        raise InputError(
            f"--roi: {' '.join(words)} holds no pixel that is rendered; "
            "allowed: a region with pixels in the region and the mask of the run"
        )
    return pixels


def region(bounds: tuple[int, ...], pixels: tuple[int, int]) -> tuple[tuple[int, int], tuple[int, int]]:
    """The first row and the row after the last one of the region of an option --roi, and the same of its columns."""
    try:
        return sampling.region(bounds, pixels)
    except InputError as error:
        raise InputError(str(error).replace("sampling.roi:", "--roi:", 1)) from None


def records(chain: Chain) -> Iterator[tuple[str, Any]]:
    """The records of a chain in order: names with their values, and ("phi", PhiStep) for the phi steps."""
    for sample in chain.samples:
        for name, values in sample.factors:
            if name in GEOMETRY and sample.indices[3] > 0:
                continue
            if name == "F_cell":
                yield "phi", sample.phi_steps[0]
            yield name, values
        yield from (("phi", step) for step in sample.phi_steps[1:])
    yield from chain.factors


def phi_words(step: PhiStep, domains: int) -> dict[str, Any]:
    """The fields of a phi step, with nanoBragg's names: its mosaic domain if there are several, and the step of its lattice."""
    words: dict[str, Any] = {"phi_tic": step.step}
    if domains > 1:
        words["domain"] = step.domain
    words |= {"phi_deg": step.phi_deg, "k_frac": step.hkl[1], "F_latt_b": step.lattice_abc[1], "F_latt": step.lattice}
    words["lattice"] = "fresh" if step.fresh else "carried_over"
    return words if step.fresh else words | {"from_step": step.lattice_of}


def lattices_at_zero(chain: Chain) -> list[tuple[int, int, int | None]]:
    """The phi steps at phi = 0 of every sample: its number, the step, and the step whose lattice is carried over, or None."""
    numbered = [(number, step) for number, sample in enumerate(chain.samples) for step in sample.phi_steps]
    return [(n, s.step, None if s.fresh else s.lattice_of) for n, s in numbered if s.phi_deg == 0.0 and s.domain == 0]


def _sentences_at_zero(chain: Chain) -> Iterator[str]:
    """Sentences that say which lattice is used where phi is 0."""
    at_zero = lattices_at_zero(chain)
    if not at_zero:
        yield "lattice at phi = 0: there is no such step"
    for step, source in dict.fromkeys((step, source) for _, step, source in at_zero):
        numbers = [str(number) for number, *step_and_source in at_zero if step_and_source == [step, source]]
        in_samples = "" if len(numbers) == len(chain.samples) else f" in sample {', '.join(numbers)}"
        lattice = "is fresh" if source is None else f"has that of step {source}, carried over"
        yield f"lattice at phi = 0: step {step} {lattice}{in_samples}"


def text(chains: Sequence[Chain], experiment: Experiment, flags: Sequence[str]) -> Iterator[str]:
    """The lines of a trace."""
    yield f"# args: {shlex.join(flags)}"
    yield f"# c_parity: {' '.join(sorted(experiment.sampling.c_parity)) or 'none'}"
    yield f"# c_threads: {experiment.sampling.c_threads}"
    panels = experiment.detector.panels
    for chain in chains:
        if panels:
            yield f"# panel {chain.panel}: {panels[chain.panel].path}"
        yield from (f"# {name} {number}" for name, number in _labels(chain, experiment).items())
        yield f"TRACE_CONFIG: tracing pixel (spixel={chain.slow}, fpixel={chain.fast})"
        yield from (f"# {sentence}" for sentence in _sentences_at_zero(chain))
        domains = _domains(chain)
        for name, value in records(chain):
            if name == "phi":
                yield " ".join(["TRACE_NB_PHI", *(f"{key}={_digits(v)}" for key, v in phi_words(value, domains).items())])
            else:
                yield " ".join([f"TRACE_NB: {name}", *map(_digits, value)])


def _labels(chain: Chain, experiment: Experiment) -> dict[str, int]:
    """The number of the crystal of a chain, where there are several or it is the background; and its phi step, if any."""
    several = experiment.other_crystals or chain.crystal == BACKGROUND
    return ({"crystal": chain.crystal} if several else {}) | ({} if chain.phi_step is None else {"phi_step": chain.phi_step})


def _domains(chain: Chain) -> int:
    return max((step.domain + 1 for sample in chain.samples for step in sample.phi_steps), default=1)


def _digits(value) -> str:
    return f"{value:.17g}" if isinstance(value, float) else str(value)


def document(chains: Sequence[Chain], experiment: Experiment, flags: Sequence[str]) -> dict[str, Any]:
    """The contents of the JSON file of a trace."""
    return {
        "args": list(flags),
        "c_parity": sorted(experiment.sampling.c_parity),
        "c_threads": experiment.sampling.c_threads,
        "chains": [
            ({"panel": chain.panel} if experiment.detector.panels else {})
            | _labels(chain, experiment)
            | {
                "spixel": chain.slow,
                "fpixel": chain.fast,
                "lattice_at_phi_0": [
                    {"sample": n, "step": step, "from_step": source} for n, step, source in lattices_at_zero(chain)
                ],
                "trace": [_entry(name, value, _domains(chain)) for name, value in records(chain)],
            }
            for chain in chains
        ],
    }


def _entry(name: str, value, domains: int) -> dict[str, Any]:
    return {"phi": phi_words(value, domains)} if name == "phi" else {"name": name, "values": list(value)}
