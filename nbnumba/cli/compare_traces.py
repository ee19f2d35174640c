"""The subcommand compare-traces: it compares two scaling chains factor by factor, and finds where they first diverge.

A component diverges if it differs by more than the tolerance, relative to the larger of the two values, and by more than
the floor of its factor (FLOORS). A value near 0 is the difference of larger terms and has their rounding error, however
small it is itself. With e = 2^-53 and a few operations (8 e = 1e-15, also the 15 digits of nanoBragg's traces) floors are:

- unit vectors and cosines, terms of at most 1: 1e-15 each, 1e-14 with a few rotations on the way;
- positions, m: 1e-14 on a detector up to 10 m away;
- the scattering vector, 1/m: 1e-15 / lambda = 1e-4 down to 0.1 A;
- cell vectors of up to 1000 A: 1e-11; reciprocal ones, up to 1/A: 1e-14;
- a Miller index, the sum of three products of up to |a| |q| = 1000: 1e-12;
- F_latt: its slope at a zero is at most N^2, so 1e-13 (an index of up to 100) times 100^2: 1e-9; the product likewise;
- sums of squares F_cell^2 F_latt^2, with F_cell = 1e4: (1e4 * 1e-9)^2 = 1e-10; in photons, times at most
  r_e^2 * 1e30 photons/m^2 * 1e-6 sr: 1e-15;
- capture and polarization, differences of terms of at most 1: 1e-15; phi, degrees: 1e-12.

All other factors are products, and have no floor. 0 and -0 are equal, and so are two NaN.
"""

import difflib
import json
import math
import os
import re
import shlex
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from nbnumba.cli import bundle
from nbnumba.errors import InputError
from nbnumba.formats import files
from nbnumba.formats.text import excerpt

ABOUT = """\
Compares two traces of the same pixels, each of nanoBragg (TRACE_C) or of nbnumba trace (text or JSON). A factor that
only one of them has diverges too, except that nanoBragg traces the first mosaic domain alone. A factor that comes more
than once, because a pixel has several samples, is numbered from the second on: hkl_frac, hkl_frac[1]; a phi step's are
phi[3].F_latt. Values near 0 have an absolute floor. Exit status 1 if anything diverges.
"""
BUNDLE = "DIR will hold metrics.json, trace_diff.md, commands.txt, environment.json and SHA256SUMS, of the two traces too."
METRICS, DIFFERENCES = "metrics.json", "trace_diff.md"
DIVERGES = 1
PHI_WORDS = ("phi_deg", "k_frac", "F_latt_b", "F_latt")
"""The words of nanoBragg's line for a phi step."""

FLOORS = {
    **dict.fromkeys(("fdet_vec", "sdet_vec", "diffracted_vec", "incident_vec", "cos_2theta", "obliquity_factor"), 1e-14),
    **dict.fromkeys(("pix0_vector_meters", "pixel_pos_meters"), 1e-14),
    "scattering_vec_A_inv": 1e-4,
    **{f"rot_{axis}_angstroms": 1e-11 for axis in "abc"},
    **{f"rot_{axis}_star_A_inv": 1e-14 for axis in "abc"},
    **dict.fromkeys(("hkl_frac", "k_frac"), 1e-12),
    **dict.fromkeys(("F_latt_a", "F_latt_b", "F_latt_c", "F_latt"), 1e-9),
    "I_before_scaling": 1e-10,
    **dict.fromkeys(("I_pixel_final", "floatimage_accumulated"), 1e-15),
    **dict.fromkeys(("capture_fraction", "polar"), 1e-15),
    "phi_deg": 1e-12,
}
"""The floor of each factor; the docstring of the module derives them."""

Values = tuple[float, ...]
_PIXEL = re.compile(r"TRACE_CONFIG:.*spixel=(-?\d+).*fpixel=(-?\d+)")
_FACTOR = re.compile(r"TRACE_(?:C|NB): (\S+)\s*(.*)")
_PHI = re.compile(r"TRACE_(?:C|NB)_PHI (.*)")


class Traced(NamedTuple):
    """The chain of a pixel as read: the pixel (slow, fast), None if it is not stated, and names with values in order."""

    pixel: tuple[int, int] | None
    factors: list[tuple[str, Values]]


class Comparison(NamedTuple):
    """A factor of both traces. A trace without this factor has None, and so have the differences then."""

    name: str
    reference: Values | None
    ours: Values | None
    abs_delta: float | None
    rel_delta: float | None
    status: str


def main(args: Sequence[str]) -> int:
    """Run the subcommand; returns the exit status: 1 if anything diverges."""
    options = _parser().parse_args(list(args))
    tolerance = bundle.real_number("--tolerance", options.tolerance, "a number not below 0", lambda x: x >= 0.0)
    pair = [select(read(path, name), options.pixel, name) for path, name in zip(_paths(options), ("REFERENCE", "OURS"))]
    files.check_folder(options.out, "--out")
    factors = compare(*pair, tolerance)
    with files.together():
        directory = files.make_folder(options.out, "--out")
        bundle.write_json(os.path.join(directory, METRICS), metrics(factors, tolerance))
        bundle.write_text(os.path.join(directory, DIFFERENCES), report(factors, tolerance, *_paths(options)))
        command = shlex.join(["nbnumba", "compare-traces", *args])
        bundle.seal(directory, [METRICS, DIFFERENCES], [command], _paths(options))
    print(verdict(factors, tolerance))
    return DIVERGES if divergent(factors) else 0


def _paths(options) -> tuple[str, str]:
    return options.reference, options.ours


def _parser() -> bundle.Parser:
    parser = bundle.Parser("compare-traces", description=ABOUT, epilog=BUNDLE)
    parser.add_argument("reference", metavar="REFERENCE", help="the trace to compare with")
    parser.add_argument("ours", metavar="OURS", help="the trace to be compared")
    parser.add_argument("--out", required=True, metavar="DIR", help="the directory to write to")
    parser.add_argument("--tolerance", default="1e-6", help="largest relative difference (default: 1e-6)")
    parser.add_argument(
        "--pixel", nargs=2, metavar=("SLOW", "FAST"), help="compare this pixel alone, where a trace has several"
    )
    return parser


def read(path: str, what: str) -> list[Traced]:
    """The chains in a trace: nanoBragg's output or ours, as text or JSON."""
    content = files.read_text(path, what)
    chains = _from_json(content, path, what) if content.lstrip().startswith("{") else _from_text(content, path, what)
    if not any(chain.factors for chain in chains):
        raise InputError(f"{what}: {path!r} holds no factor; allowed: a trace, of lines TRACE_C: or TRACE_NB:, or its JSON")
    return chains


def _from_text(content: str, path: str, what: str) -> list[Traced]:
    chains = [Traced(None, [])]
    for number, line in enumerate(content.split("\n"), 1):
        try:
            pixel = _PIXEL.match(line)
            if pixel and (chains[-1].factors or chains[-1].pixel):
                chains.append(Traced(None, []))
            if pixel:
                chains[-1] = Traced((int(pixel[1]), int(pixel[2])), chains[-1].factors)
            chains[-1].factors.extend(_of_line(line))
        except (ValueError, KeyError) as error:
            raise InputError(
                f"{what}: {path!r}, line {number}: {excerpt(line)} is not a line of a trace; allowed: numbers"
            ) from error
    return chains


def _of_line(line: str) -> list[tuple[str, Values]]:
    """The factors in a line of a trace; an empty list for any other line."""
    factor, phi = _FACTOR.match(line), _PHI.match(line)
    if factor:
        return [(factor[1], tuple(map(float, factor[2].split())))]
    return list(_of_phi(dict(word.split("=", 1) for word in phi[1].split()))) if phi else []


def _of_phi(words: dict[str, Any]) -> Iterator[tuple[str, Values]]:
    """The factors of a phi step; in the first mosaic domain, the only one that nanoBragg traces, they have its names."""
    domain = int(words.get("domain", 0))
    prefix = f"phi[{int(words['phi_tic'])}]." + (f"domain[{domain}]." if domain else "")
    for word in PHI_WORDS:
        if word in words:
            yield prefix + word, (float(words[word]),)


def _from_json(content: str, path: str, what: str) -> list[Traced]:
    try:
        chains = []
        for chain in json.loads(content)["chains"]:
            factors = []
            for entry in chain["trace"]:
                numbers = tuple(map(float, entry.get("values", ())))
                factors += _of_phi(entry["phi"]) if "phi" in entry else [(_name(entry["name"]), numbers)]
            chains.append(Traced((int(chain["spixel"]), int(chain["fpixel"])), factors))
        return chains
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        why = " ".join(str(error).split())[:200]
        raise InputError(f"{what}: {path!r} is no JSON of a trace: {why}; allowed: what nbnumba trace --json writes") from error


def _name(value: Any) -> str:
    """The name of a factor, checked because it goes into tables. Raises ValueError if it is not printable text."""
    if not isinstance(value, str) or not value.isprintable():
        raise ValueError(f"the name of a factor is {excerpt(str(value))}")
    return value


def select(chains: list[Traced], words: Sequence[str] | None, what: str) -> list[Traced]:
    """The chains of one pixel, or all of them."""
    if words is None:
        return chains
    pixel = bundle.whole_numbers("--pixel", words, "two whole numbers, SLOW FAST", 0)
    chosen = [chain for chain in chains if chain.pixel == pixel]
    if not chosen:
        pixels = "; ".join(f"{slow} {fast}" for slow, fast in (chain.pixel for chain in chains if chain.pixel))
        raise InputError(f"--pixel: {' '.join(words)} is not in {what}; allowed: one of its pixels, {pixels or 'unnamed'}")
    return chosen


def compare(reference: list[Traced], ours: list[Traced], tolerance: float) -> list[Comparison]:
    """The factors of two traces, in the order of the chain."""
    if len(reference) == len(ours) == 1:
        (first,), (second,) = reference, ours
        if first.pixel and second.pixel and first.pixel != second.pixel:
            names = [f"{slow} {fast}" for slow, fast in (first.pixel, second.pixel)]
            raise InputError(f"OURS: its pixel is {names[1]}, that of REFERENCE {names[0]}; allowed: traces of the same pixel")
    several = len(reference) > 1 or len(ours) > 1
    left, right = _without_domains(numbered(reference, several), numbered(ours, several))
    return [_compared(key, left.get(key), right.get(key), tolerance) for key in merged(list(left), list(right))]


def numbered(chains: list[Traced], several: bool) -> dict[str, Values]:
    """The values under unique names: a repeated name gets a number, and if there are several pixels, the pixel."""
    by_name, repetitions = {}, Counter()
    for chain in chains:
        prefix = "pixel[{},{}].".format(*chain.pixel) if several and chain.pixel else ""
        for name, values in chain.factors:
            number = repetitions[prefix + name]
            by_name[prefix + name + (f"[{number}]" if number else "")] = values
            repetitions[prefix + name] += 1
    return by_name


def _without_domains(left: dict[str, Values], right: dict[str, Values]):
    """Both traces; if only one of them has several mosaic domains, without the phi steps after its first domain."""
    if any(".domain[" in key for key in left) != any(".domain[" in key for key in right):
        return [{key: values for key, values in side.items() if ".domain[" not in key} for side in (left, right)]
    return left, right


def merged(left: list[str], right: list[str]) -> list[str]:
    """The names of both in the order of the left; names that only the right has keep their neighbours."""
    names = []
    for change, first, last, start, stop in difflib.SequenceMatcher(None, left, right, autojunk=False).get_opcodes():
        names += left[first:last]
        names += right[start:stop] if change in ("insert", "replace") else []
    return list(dict.fromkeys(names))


def floor(name: str) -> float:
    """The floor of a factor; numbers and prefixes of its name are ignored."""
    return FLOORS.get(re.sub(r"\[\d+(,\d+)?\]", "", name).split(".")[-1], 0.0)


def _compared(name: str, reference: Values | None, ours: Values | None, tolerance: float) -> Comparison:
    if reference is None or ours is None:
        return Comparison(name, reference, ours, None, None, "only in ours" if reference is None else "only in reference")
    if len(reference) != len(ours):
        return Comparison(name, reference, ours, None, None, "diverges")
    deltas = [difference(r, o, floor(name)) for r, o in zip(reference, ours)]
    absolute, relative = (max((delta[i] for delta in deltas), default=0.0) for i in (0, 1))
    return Comparison(name, reference, ours, absolute, relative, "diverges" if relative > tolerance else "ok")


def difference(reference: float, ours: float, floor: float) -> tuple[float, float]:
    """The absolute difference, and the one relative to the larger number, which is 0 up to the floor."""
    if reference == ours or (math.isnan(reference) and math.isnan(ours)):
        return 0.0, 0.0
    if not (math.isfinite(reference) and math.isfinite(ours)):
        return math.inf, math.inf
    delta = abs(ours - reference)
    return delta, delta / max(abs(reference), abs(ours)) if delta > floor else 0.0


def divergent(factors: list[Comparison]) -> list[Comparison]:
    """The factors that diverge, and those that only one trace has."""
    return [factor for factor in factors if factor.status != "ok"]


def metrics(factors: list[Comparison], tolerance: float) -> dict[str, Any]:
    """The content of metrics.json; vectors are lists."""
    divergences = divergent(factors)
    return {
        "tolerance_rel": tolerance,
        "first_divergence": divergences[0].name if divergences else None,
        "num_divergent": len(divergences),
        "factors": [
            factor._asdict()
            | {"reference": _single(factor.reference), "ours": _single(factor.ours), "floor": floor(factor.name)}
            for factor in factors
        ],
    }


def _single(values: Values | None):
    return values[0] if values and len(values) == 1 else values


def verdict(factors: list[Comparison], tolerance: float) -> str:
    """The outcome in a sentence."""
    divergences = divergent(factors)
    if not divergences:
        return f"all {len(factors)} factors agree to {tolerance:g}"
    return f"{len(divergences)} of {len(factors)} factors diverge beyond {tolerance:g}, first {divergences[0].name}"


def report(factors: list[Comparison], tolerance: float, reference: str, ours: str) -> str:
    """The text of trace_diff.md."""
    lines = [
        "# Trace comparison",
        "",
        f"- reference: `{reference}`",
        f"- ours: `{ours}`",
        "",
        f"**{verdict(factors, tolerance)}.**",
        "",
    ]
    lines += ["| factor | reference | ours | abs. difference | rel. difference | status |", "|---|---|---|---|---|---|"]
    divergences = divergent(factors)
    for factor in factors:
        name = f"**{factor.name}**" if divergences and factor is divergences[0] else factor.name
        cells = [
            name,
            _cell(factor.reference),
            _cell(factor.ours),
            _number(factor.abs_delta),
            _number(factor.rel_delta),
            factor.status,
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _cell(values: Values | None) -> str:
    return "" if values is None else " ".join(f"{value:.15g}" for value in values)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"
