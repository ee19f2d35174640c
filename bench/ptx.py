"""The PTX of every kernel, made without a card; what ptxas reports of it; and the instructions of a step of its loops."""

import argparse
import gc
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
from numba import cuda, typeof
from numba.cuda import dispatcher

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:
    sys.path[:0] = [str(ROOT)]

from adjoint.backends import cuda as backward  # noqa: E402
from adjoint.loops.pixels import PixelLoss  # noqa: E402
from adjoint.prepare import prepare  # noqa: E402
from bench.table import heading, row  # noqa: E402
from nbnumba import Experiment  # noqa: E402
from nbnumba.backends import cuda as forward  # noqa: E402
from nbnumba.backends.precision import PRECISIONS, cast, in_type  # noqa: E402
from nbnumba.hkl_maps import known_reflections  # noqa: E402

CAPABILITIES = ((8, 0), (9, 0))
"""The compute capabilities that kernels are checked for."""

SCENE = "-cell 70 80 90 75 85 95 -N 10 -default_F 100 -misset 10 20 30 -distance 100 -detpixels 16 -pixel 0.3 -oversample 1"
"""The experiment that the kernels are compiled for, of which only the types of the records matter."""

INSTALL = "install a CUDA toolkit, 12.9 or 13.0, or: pip install '.[cuda12]', which brings NVVM and ptxas"

NO_NVVM = ("NvvmSupportError", "DynamicLibNotFoundError", "CudaSupportError")
"""The errors of Numba and numba-cuda if NVVM is missing. A missing libdevice, which comes with it, is a RuntimeError."""


class ToolMissing(Exception):
    """The machine lacks a tool that makes or assembles PTX. The message says what to install."""


# ---- PTX


def render_types(precision: str) -> tuple:
    """The types of the arguments of the kernel that renders."""
    problem, kind = _problem(), PRECISIONS[precision].wide
    panel = problem.panels[0]
    arguments = (np.zeros((2, 2), kind), (0, 1), (0, 1), panel.window.mask, *cast(panel.scene, precision))
    return tuple(map(typeof, arguments))


def differentiate_types(precision: str, simple: bool) -> tuple:
    """The types of the arguments of the kernel that differentiates."""
    problem, kind = _problem(), PRECISIONS[precision].wide
    pixel_loss = PixelLoss(problem.panels[0].window.mask, 1, np.zeros((2, 2)), np.zeros((2, 2)), np.zeros((0, 0, 0)))
    whole, real = np.zeros((1, 2), np.int64), np.zeros((1, 2), kind)
    tables = backward.AmplitudeTables(whole, real, whole, whole, whole)
    motions = backward.motions_for(problem.motions[0], precision, simple)
    records = (*cast(problem.panels[0].scene, precision), motions, problem.paths[0])
    arguments = (np.zeros((2, 2), kind), tables, (0, 1), (0, 1), in_type(pixel_loss, kind), *records)
    return tuple(map(typeof, arguments))


def sum_types(precision: str) -> tuple:
    """The types of the arguments of the kernel that sums."""
    rows = np.zeros((2, 2), PRECISIONS[precision].wide)
    return tuple(map(typeof, (rows, rows, np.zeros((2, 3), np.int64))))


def count_types() -> tuple:
    """The types of the arguments of the kernel that counts by reflection, which is of precision double."""
    built, table = _problem().panels[0].scene, np.zeros((2, 4))
    return tuple(map(typeof, (table, table, table, np.zeros((2, 2), np.int32), known_reflections(built), *built)))


def project_types(precision: str) -> tuple:
    """The types of the arguments of the kernel that projects."""
    rows = np.zeros((2, 2), PRECISIONS[precision].wide)
    return tuple(map(typeof, (rows, 0, rows, 0, 0)))


KERNELS = {
    "render simple": (lambda precision: forward.kernel(precision, True), render_types),
    "render": (lambda precision: forward.kernel(precision, False, True), render_types),
    "differentiate simple": (lambda precision: backward.kernel(precision, True), partial(differentiate_types, simple=True)),
    "differentiate": (lambda precision: backward.kernel(precision, False, True), partial(differentiate_types, simple=False)),
    "sum_products": (backward.sum_products_kernel, sum_types),
    "project": (backward.project_kernel, project_types),
}
"""The function that makes each kernel in a precision, and the function that returns the types of its arguments.

"simple" kernels are for simple scenes (cuda_lattices.py); the others are those for scenes that are culled, which have all that
the kernels for the remaining scenes have."""


def ptx(name: str, precision: str, capability: tuple[int, int]) -> str:
    """The PTX of a kernel. Raises ToolMissing."""
    make, types = KERNELS[name]
    return compiled(make(precision).py_func, types(precision), capability)


def compiled(function: Callable, types: tuple, capability: tuple[int, int]) -> str:
    """The PTX of a function as a kernel for arguments of those types. Raises ToolMissing."""
    with _no_card(capability):
        try:
            return cuda.compile_ptx(function, types, cc=capability)[0]
        except Exception as error:
            text = " ".join(str(error).split())
            if type(error).__name__ in NO_NVVM or "Missing libdevice" in text:
                raise ToolMissing(f"NVVM, which makes PTX, cannot be used ({text[:200]}): {INSTALL}") from error
            raise


@contextmanager
def _no_card(capability) -> Iterator[None]:
    """In this block, device functions are compiled for that capability, and Numba does not ask a card for its own."""
    before = dispatcher.get_current_device
    dispatcher.get_current_device = lambda: SimpleNamespace(compute_capability=capability, id=0)
    try:
        yield
    finally:
        dispatcher.get_current_device = before


@cache
def _problem():
    return prepare(Experiment.from_args(SCENE.split()), ["crystal.a_A"])


# ---- ptxas


class Assembled(NamedTuple):
    """The report of ptxas on a kernel: registers of a thread, and bytes of its stack, of spill stores and of spill loads."""

    registers: int
    stack: int
    spill_stores: int
    spill_loads: int


def ptxas() -> str:
    """The path of ptxas: that on PATH, else in CUDA_HOME/bin, else in NVIDIA's wheels. Raises ToolMissing."""
    on_path = shutil.which("ptxas")
    home = os.environ.get("CUDA_HOME")
    candidates = [Path(home, "bin", "ptxas")] if home else []
    wheels = importlib.util.find_spec("nvidia")
    for folder in (wheels.submodule_search_locations or []) if wheels else []:
        candidates += sorted(Path(folder).glob("*/bin/ptxas"))
    executable = [str(path) for path in candidates if os.access(path, os.X_OK)]
    if on_path is None and not executable:
        raise ToolMissing(f"ptxas is neither on PATH nor in CUDA_HOME/bin nor in NVIDIA's wheels: {INSTALL}")
    return on_path or executable[0]


def assembled(text: str, capability: tuple[int, int]) -> Assembled:
    """The report of ptxas on PTX for a capability. Raises ToolMissing, and ValueError if ptxas refuses the PTX."""
    tool = ptxas()
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "kernel.ptx")
        source.write_text(text)
        command = [tool, "-v", f"-arch=sm_{capability[0]}{capability[1]}", str(source), "-o", str(Path(folder, "cubin"))]
        done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise ValueError(f"ptxas refuses it: {done.stderr.strip()[:500]}")
    return parsed(done.stderr)


def parsed(report: str) -> Assembled:
    """The numbers of a report of `ptxas -v` on one kernel, including the functions that it calls."""
    registers = re.findall(r"Used (\d+) registers", report)
    of_functions = re.findall(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", report)
    if not registers or not of_functions:
        raise ValueError(f"not a report of ptxas -v: {report[:500]!r}")
    sums = [sum(int(number) for number in column) for column in zip(*of_functions)]
    return Assembled(max(map(int, registers)), *sums)


# ---- instructions


class Instruction(NamedTuple):
    """One instruction of PTX: its name, the registers that it writes and reads, and the label that it may jump to."""

    name: str
    into: tuple[str, ...]
    reads: tuple[str, ...]
    label: str

    @property
    def of_f64(self) -> bool:
        """Whether it computes in float64, or converts to it or from it."""
        return ".f64" in self.name and not self.name.startswith(("ld.", "st.", "mov.", "selp."))


LINE = re.compile(r"\s*(?:@!?(%p\d+)\s+)?([a-z][\w.:]*)\s*(.*?)\s*;")
REGISTER = re.compile(r"%[a-z]+\d+")
UNWRITING = ("st.", "bra", "bar.", "ret", "red.", "call", "membar")
INTO_INDEX = re.compile(r"cvt\.r\w+\.[su]\d+\.f\d+")


def instructions(text: str) -> list[str | Instruction]:
    """The instructions and the labels of PTX in their order."""
    body = []
    for line in text.splitlines():
        label = re.match(r"(\$\w+):", line)
        if label:
            body.append(label[1])
        elif not line.lstrip().startswith((".", "//", "{", "}", ")")):
            body += [_instruction(*part) for part in LINE.findall(line)]
    return body


def _instruction(guard, name, operands) -> Instruction:
    into, _, reads = operands.partition("}" if operands.startswith("{") else ",")
    if name.startswith(UNWRITING):
        into, reads = "", operands
    label = re.search(r"\$\w+", operands) if name.startswith("bra") else None
    reads = REGISTER.findall(reads) + REGISTER.findall(guard)
    return Instruction(name, tuple(REGISTER.findall(into)), tuple(reads), label[0] if label else "")


def instruction_counts(body: list[str | Instruction]) -> Counter:
    """The number of instructions of each name."""
    return Counter(item.name for item in body if isinstance(item, Instruction))


# ---- loops


def loops(body: list[str | Instruction], innermost: bool = True) -> list[list[Instruction]]:
    """The loops of a program, each with the instructions of all branches of a turn, without those of loops in it.

    innermost: only those without another loop in them.
    """
    straight, following = blocks(body)
    loop_blocks = list(_bodies(following).values())
    inside = [set().union(*(other for other in loop_blocks if other < nodes)) for nodes in loop_blocks]
    own = [nodes - within for nodes, within in zip(loop_blocks, inside) if not (innermost and within)]
    return [[instruction for n in sorted(nodes) for instruction in straight[n]] for nodes in own]


def blocks(body: list[str | Instruction]) -> tuple[list[list[Instruction]], list[list[int]]]:
    """The basic blocks of a program, and for each of them the indices of the blocks that may follow it."""
    straight, block_of_label = [[]], {}
    for item in body:
        if isinstance(item, str):
            straight += [[]] if straight[-1] else []
            block_of_label[item] = len(straight) - 1
        else:
            straight[-1].append(item)
            straight += [[]] if item.name.startswith(("bra", "ret")) else []
    return straight, [_followers(n, straight, block_of_label) for n in range(len(straight))]


def _followers(n, straight, block_of_label) -> list[int]:
    """The blocks that may follow a block: the next one, and the one that it jumps to."""
    last = straight[n][-1] if straight[n] else Instruction("", (), (), "")
    leaves = last.name.startswith(("bra", "ret")) and not last.reads
    after = [n + 1] if n + 1 < len(straight) and not leaves else []
    return after + ([block_of_label[last.label]] if last.label else [])


def _bodies(following: list[list[int]]) -> dict[int, set[int]]:
    """The blocks of every loop, by the block that it begins with."""
    before = [[m for m, after in enumerate(following) if n in after] for n in range(len(following))]
    bodies = {}
    for latch, head in _back_edges(following):
        inside, todo = bodies.setdefault(head, {head}), [latch]
        while todo:
            n = todo.pop()
            if n not in inside:
                inside.add(n)
                todo += before[n]
    return bodies


def _back_edges(following: list[list[int]]) -> list[tuple[int, int]]:
    """The jumps from a block back to one on the path to it, as pairs of blocks."""
    edges, seen = [], set()
    for start in range(len(following)):
        path = [] if start in seen else [(start, iter(following[start]))]
        on_path = {start} if path else set()
        seen.add(start)
        while path:
            n, after = path[-1]
            m = next(after, None)
            if m is None:
                on_path.discard(n)
                path.pop()
            elif m in on_path:
                edges.append((n, m))
            elif m not in seen:
                seen.add(m)
                on_path.add(m)
                path.append((m, iter(following[m])))
    return edges


def gathers(loop: list[Instruction]) -> bool:
    """Whether a loop loads a number from an address that is computed from real numbers, as it loads an amplitude."""
    addresses, before = set(), -1
    while before != len(addresses):
        before = len(addresses)
        for op in loop:
            if INTO_INDEX.match(op.name) or (not op.name.startswith("ld.") and addresses & set(op.reads)):
                addresses.update(register for register in op.into if not register.startswith("%p"))
    return any(op.name.startswith("ld.global") and addresses & set(op.reads) for op in loop)


def listing_loops(text: str) -> tuple[list[Instruction], list[Instruction]]:
    """The loops over lattices of the kernel for scenes that are culled: that which makes the list, and that over the list."""
    every = loops(instructions(text), innermost=False)
    listing = [loop for loop in every if any(op.name.startswith("vote") for op in loop)]
    over = [loop for loop in every if loop not in listing and _loads(loop, "shared") == 1 and _loads(loop, "global") >= 9]
    return min(listing, key=len), max(over, key=len)


def _loads(loop, memory) -> int:
    return sum(op.name.startswith(f"ld.{memory}") for op in loop)


def lattice_loops(text: str) -> list[list[Instruction]]:
    """The loops over lattices of a kernel for simple scenes: the innermost that look an amplitude up, the longest first."""
    return sorted((loop for loop in loops(instructions(text)) if gathers(loop)), key=len, reverse=True)


# ---- what instructions cost

PIPES = ("f32", "f64", "alu", "sfu", "cvt", "cvt64", "mem", "control")
"""The units that execute instructions: products and sums of float32 and products of integers; products and sums of float64;
other arithmetic of integers, comparisons and choices; special functions; conversions and roundings of 32 bits; those of 64
bits; memory; jumps."""

WIDE = r"(?:\.\w+)*\.[bsu]64"
COSTS = (
    (r"mov\.|cvta\.|neg\.f|abs\.f|ld\.param|ld\.const|\w+\.pred|cvt\.[su](64\.u32|32\.[su]64)", {}),
    (r"rcp\.rn\.f64", {"sfu": 1, "f64": 5, "alu": 4, "control": 1}),
    (r"div\.rn\.f64", {"sfu": 1, "f64": 8, "f32": 1, "alu": 4, "control": 1}),
    (r"sqrt\.rn\.f64", {"sfu": 1, "f64": 8, "alu": 4, "control": 1}),
    (r"rcp\.rn\.f32", {"sfu": 1, "f32": 3, "alu": 3, "control": 2}),
    (r"div\.rn\.f32", {"sfu": 2, "f32": 5, "alu": 1, "control": 1}),
    (r"sqrt\.rn\.f32", {"sfu": 1, "f32": 4, "alu": 2, "control": 2}),
    (r"(fma|add|sub|mul)(\.\w+)*\.f64|setp(\.\w+)*\.f64", {"f64": 1}),
    (r"(min|max)\.f64", {"f64": 1, "alu": 2}),
    (r"(fma|add|sub|mul)(\.\w+)*\.f32", {"f32": 1}),
    (r"cvt\..*f64|cvt\..*f32\.[su]64|cvt\..*[su]64\.f32", {"cvt64": 1}),
    (r"cvt\..*f32", {"cvt": 1}),
    (r"(rsqrt|rcp|sqrt|sin|cos|ex2|lg2)\.approx", {"sfu": 1}),
    (r"selp\.f64", {"alu": 2}),
    (r"(mul|mad)\.lo" + WIDE, {"f32": 4}),
    (r"(mul|mad)\.(lo|wide)\.[su](32|16)", {"f32": 1}),
    (rf"(add|sub|shl|shr|and|or|xor|not|neg|min|max|abs|setp|selp){WIDE}", {"alu": 2}),
    (r"(add|sub|shl|shr|and|or|xor|not|neg|min|max|abs|setp|selp|cvt)\.|vote\.", {"alu": 1}),
    (r"popc\.", {"cvt": 1}),
    (r"(ld|st)\.", {"mem": 1}),
    (r"bra|bar", {"control": 1}),
)  # fmt: skip
"""The cost of an instruction of PTX in machine instructions by PIPES: the first row whose pattern matches its name.

For reciprocals, quotients and roots they are those of the path without exceptions of ptxas 13.0 for sm_80, disassembled."""


def cost(loop: list[Instruction]) -> Counter:
    """The machine instructions of a turn of a loop, by PIPES. Raises ValueError for an instruction that COSTS lacks."""
    merged, total = merged_products(loop), Counter()
    for n, instruction in enumerate(loop):
        if n not in merged:
            total.update(cost_of(instruction.name))
    return total


@cache
def cost_of(name: str) -> dict[str, int]:
    """The machine instructions of an instruction of PTX, by PIPES."""
    for pattern, pipes in COSTS:
        if re.match(pattern, name):
            return pipes
    raise ValueError(f"the cost of {name} is not known: bench/ptx.py:COSTS")


def merged_products(loop: list[Instruction]) -> set[int]:
    """The indices of products that ptxas merges with the only sum that reads them, since neither states its rounding."""
    readers = Counter(register for op in loop for register in op.reads)
    products = {op.into[0]: n for n, op in enumerate(loop) if op.name in ("mul.f32", "mul.f64")}
    merged = set()
    for op in loop:
        if op.name in ("add.f32", "sub.f32", "add.f64", "sub.f64"):
            single = [register for register in op.reads if register in products and readers[register] == 1]
            merged.update(products[register] for register in single[:1])
    return merged


# ---- the table

COLUMNS = (
    ("kernel", "kernel", "<20"),
    ("precision", "precision", "<9"),
    ("cc", "capability", ">3"),
    ("registers", "registers", ">9"),
    ("stack", "stack", ">5"),
    ("spill stores", "spill_stores", ">12"),
    ("loads", "spill_loads", ">5"),
    ("instructions", "instructions", ">12"),
    ("of f64", "of_f64", ">6"),
)


def figures(name: str, precision: str, capability: tuple[int, int], folder: Path | None) -> dict:
    """The figures of a kernel. Its PTX is written to a folder, if there is one. Raises ToolMissing."""
    text = ptx(name, precision, capability)
    result = {"kernel": name, "precision": precision, "capability": "{}.{}".format(*capability)}
    if folder is not None:
        result["path"] = str(folder / f"{name} {precision} {result['capability']}.ptx")
        Path(result["path"]).write_text(text)
    body = [item for item in instructions(text) if isinstance(item, Instruction)]
    result |= {"instructions": len(body), "of_f64": sum(instruction.of_f64 for instruction in body)}
    return result | assembled(text, capability)._asdict()


def main(args=None) -> int:
    """Print the figures of each kernel. Returns the exit status: 1 if a tool is missing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--precision", nargs="+", choices=PRECISIONS, default=list(PRECISIONS), metavar="PRECISION")
    names = ", ".join(KERNELS)
    parser.add_argument("--kernel", nargs="+", choices=KERNELS, default=list(KERNELS), metavar="KERNEL", help=names)
    parser.add_argument("--folder", type=Path, help="write the PTX of each kernel to this folder")
    parser.add_argument("--json", metavar="FILE", help="append the figures to a file, a line of JSON for each kernel")
    options = parser.parse_args(args)
    print(heading(COLUMNS))
    try:
        for name in options.kernel:
            for precision in options.precision:
                for capability in CAPABILITIES:
                    _report(figures(name, precision, capability, options.folder), options.json)
    except ToolMissing as missing:
        print(missing, file=sys.stderr)
        return 1
    return 0


def _report(result: dict, out: str | None) -> None:
    print(row(COLUMNS, result), flush=True)
    if out is not None:
        with open(out, "a") as lines:
            lines.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    gc.set_threshold(200_000)  # This takes a sixth less time, since the compiler leaves few cycles.
    sys.exit(main())
