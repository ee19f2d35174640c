"""PTX of every kernel, made without a card; what ptxas says of it; how many instructions a step of its loops takes."""

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
from adjoint.loops.pixels import Target  # noqa: E402
from adjoint.prepare import prepare  # noqa: E402
from bench.table import heading, row  # noqa: E402
from nbnumba import Experiment  # noqa: E402
from nbnumba.backends import cuda as forward  # noqa: E402
from nbnumba.backends.precision import PRECISIONS, cast, in_type  # noqa: E402

CAPABILITIES = ((8, 0), (9, 0))
"""The compute capabilities that kernels are checked for."""

SCENE = "-cell 70 80 90 75 85 95 -N 10 -default_F 100 -misset 10 20 30 -distance 100 -detpixels 16 -pixel 0.3 -oversample 1"
"""What the kernels are compiled for: only its types count."""

INSTALL = "install a CUDA toolkit, 12.9 or 13.0, or: pip install '.[cuda12]', which brings NVVM and ptxas"

NO_NVVM = ("NvvmSupportError", "DynamicLibNotFoundError", "CudaSupportError")
"""What Numba and numba-cuda raise where NVVM is missing. A missing libdevice, which comes with it, is a RuntimeError."""


class ToolMissing(Exception):
    """What a machine lacks to make PTX, or to assemble it, and what to install."""


# ---- PTX


def render_types(precision: str) -> tuple:
    """The types of the arguments of the kernel that renders."""
    problem, kind = _problem(), PRECISIONS[precision].wide
    given = (np.zeros((2, 2), kind), (0, 1), (0, 1), problem.window.mask, *cast(problem.scene, precision))
    return tuple(map(typeof, given))


def differentiate_types(precision: str, simple: bool) -> tuple:
    """The types of the arguments of the kernel that differentiates."""
    problem, kind = _problem(), PRECISIONS[precision].wide
    target = Target(problem.window.mask, 1, np.zeros((2, 2)), np.zeros((2, 2)), np.zeros((0, 0, 0)))
    whole, real = np.zeros((1, 2), np.int64), np.zeros((1, 2), kind)
    lists = backward.Lists(whole, real, whole, whole, whole)
    motions = backward.motions_for(problem.motions, precision, simple)
    records = (*cast(problem.scene, precision), motions, problem.paths)
    given = (np.zeros((2, 2), kind), lists, (0, 1), (0, 1), in_type(target, kind), *records)
    return tuple(map(typeof, given))


def sum_types(precision: str) -> tuple:
    """The types of the arguments of the kernel that sums."""
    rows = np.zeros((2, 2), PRECISIONS[precision].wide)
    return tuple(map(typeof, (rows, rows, np.zeros((2, 3), np.int64))))


def project_types(precision: str) -> tuple:
    """The types of the arguments of the kernel that projects."""
    rows = np.zeros((2, 2), PRECISIONS[precision].wide)
    return tuple(map(typeof, (rows, 0, rows, 0, 0)))


KERNELS = {
    "render plain": (lambda precision: forward.kernel(precision, True), render_types),
    "render": (lambda precision: forward.kernel(precision, False), render_types),
    "differentiate plain": (lambda precision: backward.kernel(precision, True), partial(differentiate_types, simple=True)),
    "differentiate": (lambda precision: backward.kernel(precision, False), partial(differentiate_types, simple=False)),
    "sum_products": (backward.summing, sum_types),
    "project": (backward.projecting, project_types),
}
"""Every kernel: what makes it in a precision, and the types of its arguments. "plain": for simple scenes (cuda_lattices.py)."""


def ptx(name: str, precision: str, capability: tuple[int, int]) -> str:
    """The PTX of a kernel. Raises ToolMissing."""
    made, types = KERNELS[name]
    return compiled(made(precision).py_func, types(precision), capability)


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
    """Device functions are compiled for that capability, where Numba would ask the card for its own."""
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
    """What ptxas says of a kernel: registers of a thread, and bytes of its stack, of spill stores and of spill loads."""

    registers: int
    stack: int
    spill_stores: int
    spill_loads: int


def ptxas() -> str:
    """Where ptxas is: on PATH, else in CUDA_HOME/bin, else in NVIDIA's wheels. Raises ToolMissing."""
    found = shutil.which("ptxas")
    home = os.environ.get("CUDA_HOME")
    places = [Path(home, "bin", "ptxas")] if home else []
    wheels = importlib.util.find_spec("nvidia")
    for folder in (wheels.submodule_search_locations or []) if wheels else []:
        places += sorted(Path(folder).glob("*/bin/ptxas"))
    there = [str(place) for place in places if os.access(place, os.X_OK)]
    if found is None and not there:
        raise ToolMissing(f"ptxas is neither on PATH nor in CUDA_HOME/bin nor in NVIDIA's wheels: {INSTALL}")
    return found or there[0]


def assembled(text: str, capability: tuple[int, int]) -> Assembled:
    """What ptxas says of PTX for a capability. Raises ValueError with what it says where it refuses it, and ToolMissing."""
    tool = ptxas()
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "kernel.ptx")
        source.write_text(text)
        command = [tool, "-v", f"-arch=sm_{capability[0]}{capability[1]}", str(source), "-o", str(Path(folder, "cubin"))]
        done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise ValueError(f"ptxas refuses it: {done.stderr.strip()[:500]}")
    return said(done.stderr)


def said(report: str) -> Assembled:
    """What is in a report of `ptxas -v` on one kernel, the functions that it calls included."""
    registers = re.findall(r"Used (\d+) registers", report)
    frames = re.findall(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", report)
    if not registers or not frames:
        raise ValueError(f"not a report of ptxas -v: {report[:500]!r}")
    sums = [sum(int(number) for number in column) for column in zip(*frames)]
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
    """The instructions of PTX in their order, and between them its labels."""
    found = []
    for line in text.splitlines():
        label = re.match(r"(\$\w+):", line)
        if label:
            found.append(label[1])
        elif not line.lstrip().startswith((".", "//", "{", "}", ")")):
            found += [_instruction(*part) for part in LINE.findall(line)]
    return found


def _instruction(guard, name, operands) -> Instruction:
    into, _, reads = operands.partition("}" if operands.startswith("{") else ",")
    if name.startswith(UNWRITING):
        into, reads = "", operands
    label = re.search(r"\$\w+", operands) if name.startswith("bra") else None
    reads = REGISTER.findall(reads) + REGISTER.findall(guard)
    return Instruction(name, tuple(REGISTER.findall(into)), tuple(reads), label[0] if label else "")


def counts(body: list[str | Instruction]) -> Counter:
    """How many instructions there are of each name."""
    return Counter(each.name for each in body if isinstance(each, Instruction))


# ---- loops


def loops(body: list[str | Instruction]) -> list[list[Instruction]]:
    """The innermost loops of a program: every instruction of a turn of each, whichever way it goes."""
    pieces, following = blocks(body)
    found = list(_bodies(following).values())
    innermost = [nodes for nodes in found if not any(other < nodes for other in found)]
    return [[each for n in sorted(nodes) for each in pieces[n]] for nodes in innermost]


def blocks(body: list[str | Instruction]) -> tuple[list[list[Instruction]], list[list[int]]]:
    """The straight pieces of a program, and for each of them those that may follow it."""
    pieces, at = [[]], {}
    for each in body:
        if isinstance(each, str):
            pieces += [[]] if pieces[-1] else []
            at[each] = len(pieces) - 1
        else:
            pieces[-1].append(each)
            pieces += [[]] if each.name.startswith(("bra", "ret")) else []
    return pieces, [_followers(n, pieces, at) for n in range(len(pieces))]


def _followers(n, pieces, at) -> list[int]:
    """The pieces that may follow a piece: where it jumps to, and the next one."""
    last = pieces[n][-1] if pieces[n] else Instruction("", (), (), "")
    leaves = last.name.startswith(("bra", "ret")) and not last.reads
    after = [n + 1] if n + 1 < len(pieces) and not leaves else []
    return after + ([at[last.label]] if last.label else [])


def _bodies(following: list[list[int]]) -> dict[int, set[int]]:
    """The pieces of every loop, by the piece that it begins with."""
    before = [[m for m, after in enumerate(following) if n in after] for n in range(len(following))]
    found = {}
    for latch, head in _back_edges(following):
        inside, todo = found.setdefault(head, {head}), [latch]
        while todo:
            n = todo.pop()
            if n not in inside:
                inside.add(n)
                todo += before[n]
    return found


def _back_edges(following: list[list[int]]) -> list[tuple[int, int]]:
    """The jumps back to a piece that led there."""
    found, seen = [], set()
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
                found.append((n, m))
            elif m not in seen:
                seen.add(m)
                on_path.add(m)
                path.append((m, iter(following[m])))
    return found


def gathers(loop: list[Instruction]) -> bool:
    """Whether a loop looks a number up at a place that it makes from real numbers, as an amplitude is."""
    places, before = set(), -1
    while before != len(places):
        before = len(places)
        for each in loop:
            if INTO_INDEX.match(each.name) or (not each.name.startswith("ld.") and places & set(each.reads)):
                places.update(register for register in each.into if not register.startswith("%p"))
    return any(each.name.startswith("ld.global") and places & set(each.reads) for each in loop)


def lattice_loops(text: str) -> list[list[Instruction]]:
    """The loops over lattices of a kernel for simple scenes: the innermost that look an amplitude up, the longest first."""
    return sorted((loop for loop in loops(instructions(text)) if gathers(loop)), key=len, reverse=True)


# ---- what instructions cost

PIPES = ("f32", "f64", "alu", "sfu", "cvt", "cvt64", "mem", "control")
"""What executes an instruction: multiplies and adds of float32 and of integers times each other, of float64, other arithmetic
of integers with comparisons and choices, special functions, conversions and roundings of 32 bits, of 64 bits, memory, jumps."""

WIDE = r"(?:\.\w+)*\.[bsu]64"
COSTS = (
    (r"mov\.|neg\.f|abs\.f|ld\.param|ld\.const|\w+\.pred|cvt\.[su](64\.u32|32\.[su]64)", {}),
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
    (r"(add|sub|shl|shr|and|or|xor|not|neg|min|max|abs|setp|selp|cvt)\.", {"alu": 1}),
    (r"(ld|st)\.", {"mem": 1}),
    (r"bra|bar", {"control": 1}),
)  # fmt: skip
"""What an instruction of PTX costs: machine instructions by PIPES, of the first line that its name begins with. A reciprocal, a
quotient and a root are the path without exceptions in what ptxas 13.0 makes of them for sm_80, disassembled."""


def cost(loop: list[Instruction]) -> Counter:
    """Machine instructions of a turn of a loop, by PIPES. Raises ValueError for an instruction that COSTS does not know."""
    merged, total = merged_products(loop), Counter()
    for n, each in enumerate(loop):
        if n not in merged:
            total.update(cost_of(each.name))
    return total


@cache
def cost_of(name: str) -> dict[str, int]:
    """Machine instructions of an instruction of PTX, by PIPES."""
    for pattern, pipes in COSTS:
        if re.match(pattern, name):
            return pipes
    raise ValueError(f"the cost of {name} is not known: bench/ptx.py:COSTS")


def merged_products(loop: list[Instruction]) -> set[int]:
    """Which instructions are products that ptxas merges with the one sum that reads them: neither says how it rounds."""
    readers = Counter(register for each in loop for register in each.reads)
    products = {each.into[0]: n for n, each in enumerate(loop) if each.name in ("mul.f32", "mul.f64")}
    found = set()
    for each in loop:
        if each.name in ("add.f32", "sub.f32", "add.f64", "sub.f64"):
            single = [register for register in each.reads if register in products and readers[register] == 1]
            found.update(products[register] for register in single[:1])
    return found


# ---- the table

COLUMNS = (
    ("kernel", "kernel", "<19"),
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
    """What is known of a kernel; its PTX is kept in a folder, if there is one. Raises ToolMissing."""
    text = ptx(name, precision, capability)
    found = {"kernel": name, "precision": precision, "capability": "{}.{}".format(*capability)}
    if folder is not None:
        found["path"] = str(folder / f"{name} {precision} {found['capability']}.ptx")
        Path(found["path"]).write_text(text)
    body = [each for each in instructions(text) if isinstance(each, Instruction)]
    found |= {"instructions": len(body), "of_f64": sum(each.of_f64 for each in body)}
    return found | assembled(text, capability)._asdict()


def main(args=None) -> int:
    """Print what ptxas says of each kernel; returns the exit status: 1 where a tool is missing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--precision", nargs="+", choices=PRECISIONS, default=list(PRECISIONS), metavar="PRECISION")
    names = ", ".join(KERNELS)
    parser.add_argument("--kernel", nargs="+", choices=KERNELS, default=list(KERNELS), metavar="KERNEL", help=names)
    parser.add_argument("--folder", type=Path, help="keep the PTX of each kernel there")
    parser.add_argument("--json", metavar="FILE", help="append the figures to a file, a line of JSON for each kernel")
    wanted = parser.parse_args(args)
    print(heading(COLUMNS))
    try:
        for name in wanted.kernel:
            for precision in wanted.precision:
                for capability in CAPABILITIES:
                    _report(figures(name, precision, capability, wanted.folder), wanted.json)
    except ToolMissing as missing:
        print(missing, file=sys.stderr)
        return 1
    return 0


def _report(found: dict, out: str | None) -> None:
    print(row(COLUMNS, found), flush=True)
    if out is not None:
        with open(out, "a") as lines:
            lines.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    gc.set_threshold(200_000)  # a sixth less time: the compiler leaves few cycles
    sys.exit(main())
