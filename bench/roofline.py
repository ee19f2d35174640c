"""An ESTIMATE of the speed on three cards, from instructions counted in PTX and NVIDIA's rates. Nothing here runs on a card."""

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:
    sys.path[:0] = [str(ROOT)]

from adjoint.backends import cuda as backward  # noqa: E402
from bench import ptx  # noqa: E402
from bench.table import heading, row  # noqa: E402
from nbnumba.backends.cuda_block import THREADS  # noqa: E402
from nbnumba.backends.precision import PRECISIONS  # noqa: E402

PUBLISHED = 154.0
"""G pixel-domain samples/s of a compiled torch port on an RTX 4090: a published figure. Nobody here has measured it."""

KERNELS = {"image": ("render simple", THREADS), "value and gradient": ("differentiate simple", backward.THREADS)}
"""The quantities that are estimated, with the kernel whose loop over lattices is counted, and the threads of its blocks."""

EXACT_INDICES = ("mixed", "paired")
"""The precisions in float32 that may be recommended, because their Miller indices are as good as float64, or nearly."""

ISSUED = 128
"""Lanes of instructions that a multiprocessor issues in a clock: 4 warps of 32."""

REGISTERS, WARP, UNIT = 65536, 32, 256
"""Registers of a multiprocessor, threads of a warp, and the unit in which a warp is allotted registers."""


class Card(NamedTuple):
    """A card: capability, multiprocessors, clock (GHz), warps and blocks that one holds, and results per clock by pipe."""

    capability: tuple[int, int]
    multiprocessors: int
    clock: float
    warps: int
    blocks: int
    rates: Mapping[str, float]


CARDS = {
    "A100 SXM 80 GB": Card(
        (8, 0), 108, 1.41, 64, 32, {"f32": 64, "f64": 32, "alu": 64, "sfu": 16, "cvt": 16, "cvt64": 16, "mem": 32}
    ),
    "H100 SXM": Card(
        (9, 0), 132, 1.83, 64, 32, {"f32": 128, "f64": 64, "alu": 64, "sfu": 16, "cvt": 16, "cvt64": 16, "mem": 32}
    ),
    "RTX 4090": Card(
        (8, 9), 128, 2.52, 48, 24, {"f32": 128, "f64": 2, "alu": 64, "sfu": 16, "cvt": 16, "cvt64": 2, "mem": 16}
    ),
}
"""The rates f32 to cvt64 are those of the table "Throughput of Native Arithmetic Instructions" of NVIDIA's CUDA C++ Programming
Guide, as remembered, and the lower one in doubt. mem counts the load and store units in the white papers of the architectures.
Clocks are boost clocks. That of the H100 is the lower one of NVIDIA; the 67 TFLOPS of its data sheet are at 1.98."""

CAUTION = (
    "ESTIMATES, NOT MEASUREMENTS. None of these kernels has run on a GPU. They are counts of instructions in the loop over\n"
    "lattices over the rate of the unit that binds: no memory is waited for, no latency shows, samples and pixels are free,\n"
    "no warp diverges, and both ways of a branch count. Compare them with each other; do not take one for a speed."
)


# ---- the arithmetic


def clocks(cost: Mapping[str, float], card: Card) -> dict[str, float]:
    """The clocks of a multiprocessor for a step of one pixel, by limit: each pipe, and the issue of all instructions."""
    by_pipe = {pipe: cost.get(pipe, 0) / rate for pipe, rate in card.rates.items()}
    return by_pipe | {"issue": sum(cost.values()) / ISSUED}


def estimate(cost: Mapping[str, float], card: Card) -> tuple[float, str]:
    """The largest possible G (pixel x step)/s, and the name of the limit."""
    by_limit = clocks(cost, card)
    limit = max(by_limit, key=by_limit.get)
    return card.multiprocessors * card.clock / by_limit[limit], limit


def occupancy(registers: int, card: Card, threads: int) -> int:
    """The number of warps of a kernel that a multiprocessor holds, from its registers, in whole blocks of `threads` threads."""
    of_warp = -(-registers * WARP // UNIT) * UNIT
    block = threads // WARP
    return min(REGISTERS // of_warp // block, card.warps // block, card.blocks) * block


def recommended(rates: Mapping[str, float]) -> str:
    """The faster of the precisions EXACT_INDICES."""
    return max(EXACT_INDICES, key=lambda precision: rates[precision])


# ---- the figures


def figures(name: str, precision: str) -> dict:
    """The counts and estimates for a card in a precision. Raises ToolMissing."""
    card, result = CARDS[name], {"card": name, "precision": precision, "estimate": True}
    for what, (kernel, threads) in KERNELS.items():
        text = ptx.ptx(kernel, precision, card.capability)
        cost, registers = ptx.cost(ptx.lattice_loops(text)[0]), ptx.assembled(text, card.capability).registers
        speed, limit = estimate(cost, card)
        result |= {f"G/s {what}": speed, f"bound {what}": limit, f"warps {what}": occupancy(registers, card, threads)}
        result |= {f"registers {what}": registers, f"cost {what}": dict(cost), f"all {what}": sum(cost.values())}
    return result


COLUMNS = (
    ("card", "card", "<14"),
    ("precision", "precision", "<9"),
    ("G/s image", "G/s image", ">9.0f"),
    ("bound by", "bound image", ">8"),
    ("regs", "registers image", ">4"),
    ("warps", "warps image", ">5"),
    ("G/s grad", "G/s value and gradient", ">8.0f"),
    ("bound by", "bound value and gradient", ">8"),
    ("regs", "registers value and gradient", ">4"),
    ("warps", "warps value and gradient", ">5"),
)
COUNTS = (("kernel", "kernel", "<18"), ("precision", "precision", "<9")) + tuple(
    (pipe, pipe, ">7") for pipe in (*ptx.PIPES, "all")
)


def count_rows(results: list[dict]) -> list[str]:
    """The table of machine instructions per pixel and step, from the figures of one card."""
    lines = [heading(COUNTS)]
    for what in KERNELS:
        for result in results:
            cost = dict.fromkeys(ptx.PIPES, 0) | result[f"cost {what}"]
            lines.append(row(COUNTS, cost | {"kernel": what, "precision": result["precision"], "all": result[f"all {what}"]}))
    return lines


def advice(results: list[dict]) -> str:
    """A line that recommends a precision for a card, from its figures."""
    rates = {result["precision"]: result["G/s image"] for result in results}
    best = recommended(rates)
    other = next(precision for precision in EXACT_INDICES if precision != best)
    return f"{results[0]['card']}: {best}, {rates[best] / rates[other]:.1f} times the estimate of {other}"


def compared_with_published(results: list[dict]) -> list[str]:
    """Lines that compare the published figure with the estimates for the card on which it was measured."""
    ratios = ", ".join(f"{result['precision']} {result['G/s image'] / PUBLISHED:.2f}" for result in results)
    return [
        f"published: {PUBLISHED:.0f} G pixel-domain samples/s, compiled torch port, RTX 4090 (quoted, not measured here)",
        f"estimates for the image on an RTX 4090 over that figure, which is of a run: {ratios}",
    ]


def main(args=None) -> int:
    """Print the estimates. Returns the exit status: 1 if a tool is missing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--card", nargs="+", choices=CARDS, default=list(CARDS), metavar="CARD", help=", ".join(CARDS))
    parser.add_argument("--json", metavar="FILE", help="append the figures to a file, a line of JSON for each row")
    options = parser.parse_args(args)
    try:
        results = {name: [figures(name, precision) for precision in PRECISIONS] for name in options.card}
    except ptx.ToolMissing as missing:
        print(missing, file=sys.stderr)
        return 1
    print("\n".join(report(results)))
    if options.json is not None:
        with open(options.json, "a") as lines:
            lines.writelines(json.dumps(result) + "\n" for of_card in results.values() for result in of_card)
    return 0


def report(results: dict[str, list[dict]]) -> list[str]:
    """The lines of the estimates, from the figures of each card."""
    first = next(iter(results.values()))
    lines = [CAUTION, "", f"machine instructions per pixel and step, from the PTX for {first[0]['card']}:", *count_rows(first)]
    lines += ["", heading(COLUMNS), *(row(COLUMNS, result) for of_card in results.values() for result in of_card)]
    lines += ["", "recommended:", *(f"    {advice(of_card)}" for of_card in results.values())]
    return lines + (["", *compared_with_published(results["RTX 4090"])] if "RTX 4090" in results else [])


if __name__ == "__main__":
    sys.exit(main())
