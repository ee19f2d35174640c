"""PTX of every kernel, made and assembled without a card: types, registers, spills, and the estimate that is made of it.

What is missing here is a failure, not a skip: NVVM and ptxas are there where the tests run.
"""

import itertools
import json
import os
import re
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from numba import config, cuda, typeof

from nbnumba.backends import PRECISIONS, cuda_shares
from nbnumba.backends import cuda as forward
from nbnumba.stages import pixel

pytestmark = pytest.mark.skipif(bool(config.ENABLE_CUDASIM), reason="simulated threads run Python, which has no PTX")

ROOT = Path(__file__).resolve().parent.parent.parent
CAPABILITIES = ("8.0", "9.0")

# Registers, bytes of stack, of spill stores and of spill loads: what was measured, and a margin of 16 registers where there are
# as many, and of a quarter of the bytes. 255 registers are all that a thread has.
BOUNDS = {
    ("render simple", "double"): (162, 0, 0, 0),
    ("render simple", "mixed"): (146, 0, 0, 0),
    ("render simple", "paired"): (166, 0, 0, 0),
    ("render simple", "single"): (123, 0, 0, 0),
    ("render", "double"): (255, 50, 0, 0),
    ("render", "mixed"): (255, 50, 0, 0),
    ("render", "paired"): (255, 50, 0, 0),
    ("render", "single"): (183, 0, 0, 0),
    ("differentiate simple", "double"): (255, 1760, 260, 485),
    ("differentiate simple", "mixed"): (255, 1580, 150, 345),
    ("differentiate simple", "paired"): (255, 1560, 0, 0),
    ("differentiate simple", "single"): (229, 750, 0, 0),
    ("differentiate", "double"): (255, 1720, 280, 590),
    ("differentiate", "mixed"): (255, 1560, 265, 625),
    ("differentiate", "paired"): (255, 1750, 215, 535),
    ("differentiate", "single"): (251, 750, 0, 0),
} | {(kernel, precision): (50, 0, 0, 0) for kernel in ("sum_products", "project") for precision in PRECISIONS}

LISTING = ("render",)
"""The kernels in which the threads of a block list lattices."""

# A loop in which one of two branches is taken, within another: an addition, three multiply-adds, a quotient, a product that is
# merged with the one sum that reads it, and one that is not, which two read.
NESTED = """
.visible .entry known(.param .u64 known_param_0)
{
	.reg .pred 	%p<5>;
	ld.param.u64 	%rd1, [known_param_0];
$L__BB0_1:
	add.s64 	%rd2, %rd2, 1;
$L__BB0_2:
	setp.lt.s64 	%p1, %rd3, 4;
	@%p1 bra 	$L__BB0_4;
	bra.uni 	$L__BB0_3;
$L__BB0_3:
	fma.rn.f64 	%fd1, %fd1, %fd2, %fd3;
	fma.rn.f64 	%fd1, %fd1, %fd2, %fd3;
	fma.rn.f64 	%fd1, %fd1, %fd2, %fd3;
	bra.uni 	$L__BB0_5;
$L__BB0_4:
	div.rn.f32 	%f1, %f2, %f3;
	mul.f32 	%f4, %f1, %f1;
	add.f32 	%f5, %f4, %f2;
	mul.f32 	%f6, %f1, %f1;
	sub.f32 	%f7, %f6, %f6;
	mul.rn.f32 	%f8, %f1, %f1;
	add.f32 	%f9, %f8, %f2;
$L__BB0_5:
	cvt.rzi.s32.f32 	%r1, %f5;
	mul.wide.s32 	%rd4, %r1, 4;
	ld.global.f32 	%f2, [%rd4];
	@%p1 bra 	$L__BB0_2;
	setp.lt.s64 	%p2, %rd2, 4;
	@%p2 bra 	$L__BB0_1;
	ret;
}
"""

REPORT = """ptxas info    : Compiling entry function 'k' for 'sm_80'
ptxas info    : Function properties for k
    1056 bytes stack frame, 220 bytes spill stores, 448 bytes spill loads
ptxas info    : Used 255 registers, used 0 barriers, 1056 bytes cumulative stack size, 2560 bytes cmem[0]
ptxas info    : Function properties for slowpath
    40 bytes stack frame, 4 bytes spill stores, 8 bytes spill loads
"""


@pytest.fixture(scope="module")
def ptx():
    """The module bench/ptx.py."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT))
        from bench import ptx

        yield ptx


@pytest.fixture
def roofline(ptx):
    """The module bench/roofline.py."""
    from bench import roofline

    return roofline


@pytest.fixture(scope="module")
def kernels(tmp_path_factory) -> dict:
    """What bench/ptx.py says of every kernel in every precision: two processes make them."""
    folder = tmp_path_factory.mktemp("ptx")
    with ThreadPoolExecutor(2) as pool:
        done = pool.map(lambda precision: made(folder, precision), ("mixed", "double", "paired", "single"))
    keys = ("kernel", "precision", "capability")
    figures_of = {tuple(figures[key] for key in keys): figures for part in done for figures in part}
    for figures in figures_of.values():
        figures["text"] = Path(figures["path"]).read_text()
    return figures_of


def made(folder: Path, precision: str) -> list[dict]:
    """What bench/ptx.py says of every kernel in a precision. It fails with what bench/ptx.py says."""
    out = folder / f"{precision}.json"
    words = [str(ROOT / "bench" / "ptx.py"), "--precision", precision, "--folder", str(folder), "--json", str(out)]
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    done = subprocess.run([sys.executable, *words], env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True)
    if done.returncode:
        pytest.fail(done.stderr[-2000:])
    return [json.loads(line) for line in out.read_text().splitlines()]


def of_float64(text: str) -> list[str]:
    """The lines of PTX that have float64, in an instruction or a register."""
    return [line.strip() for line in text.splitlines() if ".f64" in line or "%fd" in line]


# ---- the kernels


def test_ptxas_accepts_every_kernel_for_every_capability(ptx, kernels):
    assert kernels.keys() == set(itertools.product(ptx.KERNELS, PRECISIONS, CAPABILITIES))
    for (_, _, capability), figures in kernels.items():
        assert f".target sm_{capability.replace('.', '')}" in figures["text"]
        assert figures["registers"] > 0 and figures["instructions"] > 100


@pytest.mark.parametrize("capability", CAPABILITIES)
@pytest.mark.parametrize("kernel, precision", BOUNDS)
def test_registers_stack_and_spills_are_bounded(kernels, kernel, precision, capability):
    figures = kernels[kernel, precision, capability]
    numbers = tuple(figures[name] for name in ("registers", "stack", "spill_stores", "spill_loads"))
    assert all(value <= most for value, most in zip(numbers, BOUNDS[kernel, precision])), numbers


def test_bounds_are_of_every_kernel(ptx):
    assert BOUNDS.keys() == set(itertools.product(ptx.KERNELS, PRECISIONS))


def test_single_has_no_float64(kernels):
    for (kernel, precision, _), figures in kernels.items():
        lines = of_float64(figures["text"])
        assert bool(lines) == (precision != "single"), f"{kernel} {precision}: {lines[:3]}"


def test_a_float64_literal_in_a_stage_is_found(ptx, monkeypatch):
    def term(amplitude, lattice):
        return amplitude * amplitude * lattice * lattice * 1.5

    term.__module__ = pixel.__name__
    monkeypatch.setattr(pixel, "term", term)
    kernel = forward.kernel.__wrapped__("single", True)
    assert of_float64(ptx.compiled(kernel.py_func, ptx.render_types("single"), (8, 0)))


def test_there_is_one_loop_over_lattices_for_each_table(ptx, kernels):
    for precision, capability in itertools.product(PRECISIONS, CAPABILITIES):
        table, fresh = ptx.lattice_loops(kernels["render simple", precision, capability]["text"])
        assert ptx.cost(table) == ptx.cost(fresh)
        (both,) = ptx.lattice_loops(kernels["differentiate simple", precision, capability]["text"])
        assert sum(ptx.cost(both).values()) > sum(ptx.cost(table).values())


def test_the_image_in_float_pairs_has_no_float64_in_its_loop_over_lattices(ptx, kernels):
    for capability in CAPABILITIES:
        for loop in ptx.lattice_loops(kernels["render simple", "paired", capability]["text"]):
            assert not [instruction for instruction in loop if ".f64" in instruction.name]


def test_the_derivative_in_float_pairs_multiplies_twice_in_float64(ptx, kernels):
    """For the weight of the sample, which is the same for all lattices: the compiler chose to make it in the loop.

    So it does with the pair and the float of the scattering vector, which take registers if they are kept.
    """
    allowed = {"mul.f64": 2, "sub.f64": 3, "cvt.f64.f32": 3, "cvt.rn.f32.f64": 16}
    for capability in CAPABILITIES:
        (loop,) = ptx.lattice_loops(kernels["differentiate simple", "paired", capability]["text"])
        operations = Counter(instruction.name for instruction in loop if ".f64" in instruction.name)
        assert all(count <= allowed.get(name, 0) for name, count in operations.items()), operations


def test_the_image_of_a_simple_scene_has_no_local_memory(kernels):
    for precision, capability in itertools.product(PRECISIONS, CAPABILITIES):
        assert ".local" not in kernels["render simple", precision, capability]["text"]


def test_there_are_no_atomics(kernels):
    for (kernel, precision, _), figures in kernels.items():
        assert not re.findall(r"^\s*(?:@!?%p\d+\s+)?(?:atom|red)\..*", figures["text"], re.M), f"{kernel} {precision}"


def test_threads_of_a_block_wait_for_each_other_where_they_sum_or_list_and_nowhere_else(ptx, kernels):
    for (kernel, precision, _), figures in kernels.items():
        waits = any(name.startswith("bar") for name in ptx.instruction_counts(ptx.instructions(figures["text"])))
        assert waits == (kernel in ("sum_products", *LISTING)), f"{kernel} {precision}"


def test_lists_are_made_by_ballots_in_bounded_memory(ptx, kernels):
    """However many lattices there are: 512 numbers of lattices, 32 of groups, and the box; blocks have up to 48 KB."""
    for (kernel, precision, _), figures in kernels.items():
        votes = any(name.startswith("vote.sync.ballot") for name in ptx.instruction_counts(ptx.instructions(figures["text"])))
        assert votes == (kernel in LISTING), f"{kernel} {precision}"
        shared = sum(int(size) for size in re.findall(r"^\.visible \.shared .*\[(\d+)\];", figures["text"], re.M))
        assert (2048 < shared <= 4096) == (kernel in LISTING), f"{kernel} {precision}: {shared}"


def test_the_loop_over_a_list_computes_terms_and_the_loop_that_makes_it_none(ptx, kernels):
    for precision in PRECISIONS:
        listing, over = ptx.listing_loops(kernels["render", precision, "8.0"]["text"])
        waits = [any(op.name.startswith("bar") for op in loop) for loop in (listing, over)]
        assert waits == [True, False] and sum(ptx.cost(over).values()) > sum(ptx.cost(listing).values())


@pytest.mark.parametrize("capability", [(8, 0), (9, 0)])
def test_ptxas_accepts_the_kernel_of_maps(ptx, capability):
    """Without atomics, in a stack that does not grow with the number of reflections of a pixel."""
    text = ptx.compiled(cuda_shares.kernel().py_func, ptx.count_types(), capability)
    found = ptx.assembled(text, capability)
    assert found.registers <= 255 and found.stack <= 1000 and found.spill_stores <= 100, found
    assert not re.findall(r"^\s*(?:@!?%p\d+\s+)?(?:atom|red)\..*", text, re.M) and "bar.sync" not in text


# ---- the counts


def test_loops_are_found_with_both_of_their_branches(ptx):
    (loop,) = ptx.loops(ptx.instructions(NESTED))
    named = ptx.instruction_counts(loop)
    assert named["fma.rn.f64"] == 3 and named["div.rn.f32"] == 1 and named["bra"] + named["bra.uni"] == 4
    assert named["add.s64"] == 0
    assert ptx.instruction_counts(ptx.instructions(NESTED))["add.s64"] == 1
    assert ptx.lattice_loops(NESTED) == [loop]


def test_a_loop_without_a_gather_is_not_one_over_lattices(ptx):
    assert ptx.lattice_loops(NESTED.replace("cvt.rzi.s32.f32", "cvt.rn.f32.f64")) == []


def test_costs_of_a_known_loop(ptx):
    (loop,) = ptx.loops(ptx.instructions(NESTED))
    quotient = ptx.cost_of("div.rn.f32")
    expected = Counter(f64=3, mem=1, cvt=1, alu=2, control=4)
    expected.update(f32=5 + 1)
    expected.update(quotient)
    assert ptx.cost(loop) == expected


def test_an_instruction_of_unknown_cost_is_refused(ptx):
    (loop,) = ptx.loops(ptx.instructions(NESTED.replace("fma.rn.f64", "tanh.approx.f32")))
    with pytest.raises(ValueError, match="tanh.approx.f32"):
        ptx.cost(loop)


def test_a_compiled_loop_has_what_was_written(ptx):
    def known(out, n):
        x = out[0]
        for _ in range(n):
            for _ in range(3):
                x = x * out[1] + out[2]
            x = x / out[3]
            out[4] = x
        out[0] = x

    text = ptx.compiled(known, (typeof(np.zeros(8)), typeof(1)), (8, 0))
    operations = ptx.instruction_counts(max(ptx.loops(ptx.instructions(text)), key=len))
    assert operations["fma.rn.f64"] == 3 * operations["div.rn.f64"] > 0


# ---- the tools


def test_a_missing_ptxas_is_a_sentence_that_says_what_to_install(ptx, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CUDA_HOME", raising=False)
    monkeypatch.setattr(ptx.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ptx.ToolMissing, match="ptxas is neither on PATH .* install a CUDA toolkit"):
        ptx.ptxas()
    assert ptx.main(["--kernel", "project", "--precision", "single"]) == 1
    assert "ptxas is neither on PATH" in capsys.readouterr().err


def test_ptxas_is_found_in_cuda_home(ptx, monkeypatch, tmp_path):
    tool = tmp_path / "bin" / "ptxas"
    tool.parent.mkdir()
    tool.write_text("#!/bin/sh\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CUDA_HOME", str(tmp_path))
    assert ptx.ptxas() == str(tool)


@pytest.mark.parametrize("kind, text", [("NvvmSupportError", "libNVVM cannot be found"), ("RuntimeError", "Missing libdevice")])
def test_a_missing_nvvm_is_a_sentence_that_says_what_to_install(ptx, monkeypatch, kind, text):
    def refuse(*_, **__):
        raise type(kind, (Exception,), {})(text)

    monkeypatch.setattr(cuda, "compile_ptx", refuse)
    with pytest.raises(ptx.ToolMissing, match=f"{text}.* install a CUDA toolkit"):
        ptx.ptx("project", "single", (8, 0))


def test_another_error_of_the_compiler_stays_what_it_is(ptx, monkeypatch):
    def refuse(*_, **__):
        raise RuntimeError("a defect")

    monkeypatch.setattr(cuda, "compile_ptx", refuse)
    with pytest.raises(RuntimeError, match="a defect"):
        ptx.ptx("project", "single", (8, 0))


def test_what_ptxas_refuses_is_an_error(ptx):
    with pytest.raises(ValueError, match="ptxas refuses it"):
        ptx.assembled("this is not PTX", (8, 0))


def test_the_report_of_ptxas_is_read(ptx):
    assert ptx.parsed(REPORT) == (255, 1096, 224, 456)
    with pytest.raises(ValueError, match="not a report"):
        ptx.parsed("ptxas info : nothing")


# ---- the estimate


def card(roofline, **rates):
    """A card of 10 multiprocessors at 2 GHz."""
    return roofline.Card((8, 0), 10, 2.0, 64, 32, {"f32": 64, "f64": 2} | rates)


def test_the_estimate_is_what_the_slowest_unit_allows(roofline):
    assert roofline.clocks({"f32": 128, "f64": 8, "alu": 120}, card(roofline)) == {"f32": 2.0, "f64": 4.0, "issue": 2.0}
    assert roofline.estimate({"f32": 128, "f64": 8, "alu": 120}, card(roofline)) == (5.0, "f64")
    assert roofline.estimate({"f32": 128, "alu": 512}, card(roofline)) == (4.0, "issue")
    assert roofline.estimate({"f32": 128, "cvt64": 32}, card(roofline, cvt64=4)) == (2.5, "cvt64")


@pytest.mark.parametrize(
    "registers, threads, warps",
    [(255, 128, 8), (128, 128, 16), (129, 128, 12), (32, 128, 64), (16, 128, 64), (129, 32, 15), (16, 32, 32)],
)
def test_occupancy_is_in_whole_blocks(roofline, registers, threads, warps):
    assert roofline.occupancy(registers, card(roofline), threads) == warps


def test_a_card_has_a_rate_for_every_pipe_that_instructions_use(ptx, roofline):
    pipes = set(ptx.PIPES) - {"control"}
    assert {frozenset(card.rates) for card in roofline.CARDS.values()} == {frozenset(pipes)}
    assert {pipe for _, costs in ptx.COSTS for pipe in costs} == set(ptx.PIPES)


def test_float_pairs_are_recommended_where_float64_is_slow(ptx, roofline, kernels):
    cost = {
        precision: ptx.cost(ptx.lattice_loops(kernels["render simple", precision, "8.0"]["text"])[0])
        for precision in PRECISIONS
    }
    best = {
        name: roofline.recommended({precision: roofline.estimate(cost[precision], card)[0] for precision in PRECISIONS})
        for name, card in roofline.CARDS.items()
    }
    assert best == {"A100 SXM 80 GB": "mixed", "H100 SXM": "mixed", "RTX 4090": "paired"}


def test_the_estimates_are_printed_as_such_beside_the_published_figure(ptx, roofline, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(ptx, "ptx", lambda *_: NESTED)
    monkeypatch.setattr(ptx, "assembled", lambda *_: ptx.Assembled(100, 0, 0, 0))
    assert roofline.main(["--json", str(tmp_path / "figures.jsonl")]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("ESTIMATES, NOT MEASUREMENTS") and "published: 154 G pixel-domain samples/s" in printed
    lines = [json.loads(line) for line in (tmp_path / "figures.jsonl").read_text().splitlines()]
    assert [(figures["card"], figures["precision"]) for figures in lines] == list(itertools.product(roofline.CARDS, PRECISIONS))
    assert all(figures["estimate"] is True and figures["warps value and gradient"] == 16 for figures in lines)


def test_the_estimate_without_a_tool_says_what_to_install(ptx, roofline, monkeypatch, capsys):
    def refuse(*_):
        raise ptx.ToolMissing("nothing makes PTX")

    monkeypatch.setattr(ptx, "ptx", refuse)
    assert roofline.main([]) == 1
    assert capsys.readouterr().err == "nothing makes PTX\n"
