"""An ESTIMATE of the speed on three cards, from instructions counted in PTX and NVIDIA's rates: nothing here runs on a card."""

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:
    sys.path[:0] = [str(ROOT)]

from bench import ptx  # noqa: E402
from bench.table import heading, row  # noqa: E402
from nbnumba.backends.cuda import THREADS  # noqa: E402
from nbnumba.backends.precision import PRECISIONS  # noqa: E402

PUBLISHED = 154.0
"""G pixel-domain samples/s of a compiled torch port on an RTX 4090: a published figure. Nobody here has measured it."""

KERNELS = {"image": "render plain", "value and gradient": "differentiate plain"}
"""What is estimated, and the kernel whose loop over lattices it is."""

EXACT_INDICES = ("mixed", "paired")
"""The precisions with float32 interference that are recommended: their Miller indices are good to float64, or nearly."""

ISSUED = 128
"""Lanes of instructions that a multiprocessor issues in a clock: 4 warps of 32."""
REGISTERS, WARP, UNIT = 65536, 32, 256
"""Registers of a multiprocessor, threads of a warp, and the number of registers that a warp gets a multiple of."""


class Card(NamedTuple):
    """A card: capability, multiprocessors, clock in GHz, warps that one multiprocessor holds, its results per clock by pipe."""

    capability: tuple[int, int]
    multiprocessors: int
    clock: float
    warps: int
    rates: Mapping[str, float]


CARDS = {
    "A100 SXM 80 GB": Card(
        (8, 0), 108, 1.41, 64, {"f32": 64, "f64": 32, "alu": 64, "sfu": 16, "cvt": 16, "cvt64": 16, "mem": 32}
    ),
    "H100 SXM": Card(
        (9, 0), 132, 1.83, 64, {"f32": 128, "f64": 64, "alu": 64, "sfu": 16, "cvt": 16, "cvt64": 16, "mem": 32}
    ),
    "RTX 4090": Card(
        (8, 9), 128, 2.52, 48, {"f32": 128, "f64": 2, "alu": 64, "sfu": 16, "cvt": 16, "cvt64": 2, "mem": 16}
    ),
}
"""f32 to cvt64: table "Throughput of Native Arithmetic Instructions" of NVIDIA's CUDA C++ Programming Guide, as remembered, the
lower one in doubt. mem: load and store units in the white papers of the architectures. Clocks are boost clocks; the H100's is
the lower of those that NVIDIA names, its data sheet's 67 TFLOPS are at 1.98."""

CAUTION = (
    "ESTIMATES, NOT MEASUREMENTS. None of these kernels has run on a GPU. They are counts of instructions in the loop over\n"
    "lattices over the rate of the unit that binds: no memory is waited for, no latency shows, samples and pixels are free,\n"
    "no warp diverges, and both ways of a branch count. Compare them with each other; do not take one for a speed."
)


# ---- the arithmetic


def clocks(cost: Mapping[str, float], card: Card) -> dict[str, float]:
    """Clocks of a multiprocessor for a step of one pixel, by what could bind: each pipe, and the issue of all instructions."""
    found = {pipe: cost.get(pipe, 0) / rate for pipe, rate in card.rates.items()}
    return found | {"issue": sum(cost.values()) / ISSUED}


def estimate(cost: Mapping[str, float], card: Card) -> tuple[float, str]:
    """G (pixel x step)/s at most, and what binds."""
    each = clocks(cost, card)
    bound = max(each, key=each.get)
    return card.multiprocessors * card.clock / each[bound], bound


def occupancy(registers: int, card: Card, threads: int = THREADS) -> int:
    """Warps that a multiprocessor holds of a kernel with so many registers, in whole blocks of so many threads."""
    of_warp = -(-registers * WARP // UNIT) * UNIT
    block = threads // WARP
    return min(REGISTERS // of_warp, card.warps) // block * block


def recommended(rates: Mapping[str, float]) -> str:
    """The faster one of EXACT_INDICES."""
    return max(EXACT_INDICES, key=lambda precision: rates[precision])


# ---- the figures


def figures(name: str, precision: str) -> dict:
    """What is counted and estimated of a card in a precision. Raises ToolMissing."""
    card, found = CARDS[name], {"card": name, "precision": precision, "estimate": True}
    for what, kernel in KERNELS.items():
        text = ptx.ptx(kernel, precision, card.capability)
        cost, said = ptx.cost(ptx.lattice_loops(text)[0]), ptx.assembled(text, card.capability)
        speed, bound = estimate(cost, card)
        found |= {f"G/s {what}": speed, f"bound {what}": bound, f"warps {what}": occupancy(said.registers, card)}
        found |= {f"registers {what}": said.registers, f"cost {what}": dict(cost), f"all {what}": sum(cost.values())}
    return found


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


def count_rows(found: list[dict]) -> list[str]:
    """The table of machine instructions per pixel and step, from the figures of one card."""
    lines = [heading(COUNTS)]
    for what in KERNELS:
        for each in found:
            cost = dict.fromkeys(ptx.PIPES, 0) | each[f"cost {what}"]
            lines.append(row(COUNTS, cost | {"kernel": what, "precision": each["precision"], "all": each[f"all {what}"]}))
    return lines


def advice(found: list[dict]) -> str:
    """Which precision is recommended for a card, from its figures."""
    rates = {each["precision"]: each["G/s image"] for each in found}
    best = recommended(rates)
    other = next(precision for precision in EXACT_INDICES if precision != best)
    return f"{found[0]['card']}: {best}, {rates[best] / rates[other]:.1f} times the estimate of {other}"


def beside_published(found: list[dict]) -> list[str]:
    """The published figure, beside the estimates of the card that it was taken on."""
    said = ", ".join(f"{each['precision']} {each['G/s image'] / PUBLISHED:.2f}" for each in found)
    return [
        f"published: {PUBLISHED:.0f} G pixel-domain samples/s, compiled torch port, RTX 4090 (quoted, not measured here)",
        f"estimates for the image on an RTX 4090 over that figure, which is of a run: {said}",
    ]


def main(args=None) -> int:
    """Print the estimates; returns the exit status: 1 where a tool is missing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--card", nargs="+", choices=CARDS, default=list(CARDS), metavar="CARD", help=", ".join(CARDS))
    parser.add_argument("--json", metavar="FILE", help="append the figures to a file, a line of JSON for each row")
    wanted = parser.parse_args(args)
    try:
        found = {name: [figures(name, precision) for precision in PRECISIONS] for name in wanted.card}
    except ptx.ToolMissing as missing:
        print(missing, file=sys.stderr)
        return 1
    print("\n".join(report(found)))
    if wanted.json is not None:
        with open(wanted.json, "a") as lines:
            lines.writelines(json.dumps(each) + "\n" for of_card in found.values() for each in of_card)
    return 0


def report(found: dict[str, list[dict]]) -> list[str]:
    """The lines of the estimates, from the figures of each card."""
    first = next(iter(found.values()))
    lines = [CAUTION, "", f"machine instructions per pixel and step, from the PTX for {first[0]['card']}:", *count_rows(first)]
    lines += ["", heading(COLUMNS), *(row(COLUMNS, each) for of_card in found.values() for each in of_card)]
    lines += ["", "recommended:", *(f"    {advice(of_card)}" for of_card in found.values())]
    return lines + (["", *beside_published(found["RTX 4090"])] if "RTX 4090" in found else [])


if __name__ == "__main__":
    sys.exit(main())
