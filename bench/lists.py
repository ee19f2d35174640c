"""An ESTIMATE of what it saves on a card that the threads of a block list lattices together. Nothing here runs on a card."""

import argparse
import json
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numba import njit, typeof

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:
    sys.path[:0] = [str(ROOT)]

from bench import cases, ptx, roofline  # noqa: E402
from bench.table import heading, row  # noqa: E402
from nbnumba import Experiment  # noqa: E402
from nbnumba.backends import cuda as forward  # noqa: E402
from nbnumba.backends.binding import bind, stage_jit, stages, with_globals  # noqa: E402
from nbnumba.backends.cpu import machine_words  # noqa: E402
from nbnumba.backends.cuda_block import BLOCK, THREADS  # noqa: E402
from nbnumba.backends.precision import PRECISIONS, cast, words  # noqa: E402
from nbnumba.loops import blocks, indices, interpolation, lattices, patches, rows  # noqa: E402
from nbnumba.loops.indices import set_pixel  # noqa: E402
from nbnumba.loops.patches import GROUP, is_culled  # noqa: E402
from nbnumba.loops.rows import D_X, D_Y, D_Z, ROWS_END, TILE  # noqa: E402
from nbnumba.loops.samples import trace_ray  # noqa: E402
from nbnumba.setup import sampling  # noqa: E402
from nbnumba.setup import scene as scenes  # noqa: E402
from nbnumba.simulate import with_options  # noqa: E402

BLOCKS = 48
"""The number of blocks of a scene that are counted."""


# ---- instructions


def ask(out, table, crystal, span):
    """A kernel: how remote lattices are from some scattering vectors."""
    for m in range(table.shape[0]):
        vectors = nine_to_wide(cell_vectors(table, m))  # noqa: F821
        out[m] = span_remoteness(crystal, vectors, NOTHING, span)  # noqa: F821


def test(out, table, crystal, q):
    """A kernel: how remote a point is from a reflection of lattices."""
    for m in range(table.shape[0]):
        (dh, _), (dk, _), (dl, _) = nearest_hkl(cell_vectors(table, m), q)  # noqa: F821
        out[m] = remoteness(crystal, dh, dk, dl)  # noqa: F821


def costs(precision: str, capability: tuple[int, int]) -> dict[str, Counter]:
    """The machine instructions, by PIPES, of what a thread does with a lattice. Raises ToolMissing.

    ask: whether it is near a box. append: put it into the list. test: whether its term counts. term: add the term.
    """
    listing, over = (ptx.cost(loop) for loop in ptx.listing_loops(ptx.ptx("render", precision, capability)))
    names = forward.machine_words(precision) | forward.one_pixel_rows(vars(rows)) | forward.one_patch(True, by_energy=False)
    bound = bind([*stages(precision), indices, interpolation, lattices, blocks, patches], forward.device_jit, names)
    real, wide, pairs = PRECISIONS[precision]
    vector = 3 * (wide(0.1),)
    q = 3 * ((real(0.1), real(0.1)),) if pairs else vector
    record = cast(record_of(Experiment.from_args(ptx.SCENE.split())), precision)
    each = {}
    for kernel, last in ((ask, (vector, (vector, vector, vector), wide(0.1))), (test, q)):
        types = tuple(map(typeof, (np.zeros(1, wide), record.orientations.lattice, record.crystal, last)))
        function = with_globals(kernel, {**kernel.__globals__, **bound}, kernel.__name__)
        (loop,) = ptx.loops(ptx.instructions(ptx.compiled(function, types, capability)))
        each[kernel.__name__] = ptx.cost(loop)
    return each | {"append": listing - each["ask"], "term": over - each["test"]}


# ---- a scene


class Turns(NamedTuple):
    """How often a thread does each of these, for each pixel and step. All threads of a warp do what one of them does.

    Alone, each thread asks for its own pixel: alone_ask: groups and lattices that it asks; alone_term: lattices that are near.
    Together: ask: groups and lattices; test: lattices of the list; term: those that are near a pixel.
    """

    alone_ask: float
    alone_term: float
    ask: float
    test: float
    term: float


def near(boxes, table, table_reach, ray, crystal):
    """Whether each lattice, or group, of a table is near each box of directions (boxes, 2, 3): (boxes, lattices)."""
    found = np.empty((len(boxes), len(table)), np.bool_)
    for b in range(len(boxes)):
        box = (boxes[b, 0, 0], boxes[b, 0, 1], boxes[b, 0, 2]), (boxes[b, 1, 0], boxes[b, 1, 1], boxes[b, 1, 2])
        span = scattered(directions_in_box(*box), ray)  # noqa: F821
        for m in range(len(table)):
            least = span_remoteness(crystal, nine_numbers(table, m), nine_numbers(table_reach, m), span)  # noqa: F821
            found[b, m] = least <= crystal.most_remote
    return found


def turns(record, region) -> Turns:
    """The turns of a sample of blocks of a scene that is culled. region: its first and last pixels, as of cases.Scene."""
    bound = bind([*stages("double"), indices, interpolation, blocks, patches], stage_jit, machine_words() | words("double"))
    compiled = njit(with_globals(near, {**near.__globals__, **bound}, "near"))
    table, reach = record.orientations.lattice, np.zeros_like(record.orientations.lattice)
    middle, group_reach = record.orientations.group, record.orientations.group_reach
    random, total, passes = np.random.default_rng(1), np.zeros(len(Turns._fields)), 0
    for _ in range(BLOCKS):
        first = [int(random.integers(low, high - n + 2)) for low, high, n in zip(region[2::-2], region[3::-2], BLOCK)]
        boxes = boxes_of_block(record, first)
        for source in range(record.sources.weight.size):
            ray = patches.beam_of(source, record.sources)
            groups = compiled(boxes, middle, group_reach, ray, record.crystal)
            total += of_pass(groups, compiled(boxes, table, reach, ray, record.crystal))
            passes += 1
    return Turns(*(total / passes / len(table)).tolist())


def boxes_of_block(record, first) -> np.ndarray:
    """The boxes of directions of the pixels of a block, and at the end that of the block (pixels + 1, 2, 3)."""
    tile = np.empty(ROWS_END)
    for i in range(TILE):
        set_pixel(tile, i, first[0] + i // BLOCK[1] % BLOCK[0], first[1] + i % BLOCK[1])
    trace_ray(tile, 0, 0, 0, True, record.panel, record.sampling)
    d = np.stack([tile[row : row + THREADS] for row in (D_X, D_Y, D_Z)], axis=1)
    low, high = np.append(d, [d.min(axis=0)], axis=0), np.append(d, [d.max(axis=0)], axis=0)
    return np.stack([(low + high) / 2.0, (high - low) / 2.0], axis=1)


def of_pass(groups, lattices) -> np.ndarray:
    """The turns of a thread in a pass, from which groups and lattices are near the pixels of its block, and at the end it."""
    terms = lattices[:-1].any(axis=0).sum()
    return np.array([alone(groups[:-1], lattices[:-1]), terms, *together(groups[-1], lattices[-1]), terms])


def alone(groups, lattices) -> int:
    """How many groups and lattices a thread asks on its own, and with it the threads of its block."""
    until_near = int(np.where(groups.any(axis=1), groups.argmax(axis=1) + 1, groups.shape[1]).max())
    near_groups = groups.any(axis=0)
    if not near_groups.any():
        return until_near
    in_near_groups = near_groups[np.arange(lattices.shape[1]) // GROUP].sum()
    return until_near + 1 + len(near_groups) + near_groups.sum() + in_near_groups


def together(groups, lattices) -> tuple[int, int]:
    """How many groups and lattices a thread asks for its block, and the length of the list."""
    asks, items = 0, len(lattices)
    if len(groups) * GROUP > THREADS:
        asks, items = -(-len(groups) // THREADS), int(groups.sum()) * GROUP
    return asks - (-items // THREADS), lattices.sum()


# ---- the estimate

COLUMNS = (
    ("card", "card", "<14"),
    ("precision", "precision", "<9"),
    ("alone", "all alone", ">7.1f"),
    ("together", "all together", ">8.1f"),
    ("G/s alone", "G/s alone", ">9.0f"),
    ("together", "G/s together", ">8.0f"),
    ("ratio", "ratio", ">5.1f"),
)


def figures(name: str, precision: str, each: dict[str, Counter], times: Turns) -> dict:
    """The estimates for a card in a precision. each: the costs of a turn."""
    ways = {
        "alone": {"ask": times.alone_ask, "test": times.alone_term, "term": times.alone_term},
        "together": {"ask": times.ask, "append": times.ask, "test": times.test, "term": times.term},
    }
    result = {"card": name, "precision": precision, "estimate": True}
    for way, number in ways.items():
        cost = {pipe: sum(n * each[what][pipe] for what, n in number.items()) for pipe in ptx.PIPES}
        result |= {f"all {way}": sum(cost.values()), f"G/s {way}": roofline.estimate(cost, roofline.CARDS[name])[0]}
    return result | {"ratio": result["G/s together"] / result["G/s alone"]}


def main(args=None) -> int:
    """Print the estimates. Returns the exit status: 1 if a tool is missing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--case", choices=cases.SCENES, default="xfel", help="the scene, which has to be culled (default xfel)")
    parser.add_argument("--card", nargs="+", choices=roofline.CARDS, default=list(roofline.CARDS), metavar="CARD")
    parser.add_argument("--json", metavar="FILE", help="append the figures to a file, a line of JSON for each row")
    options = parser.parse_args(args)
    with tempfile.TemporaryDirectory() as folder:
        scene = cases.SCENES[options.case](Path(folder))
        record = record_of(scene.experiment)
    if not is_culled(record):
        parser.error(f"--case {options.case}: every term of it counts; allowed: a scene that is culled, for example xfel")
    times, results, each = turns(record, scene.region), [], {}
    try:
        for name in options.card:
            each = {precision: costs(precision, roofline.CARDS[name].capability) for precision in PRECISIONS}
            results += [figures(name, precision, each[precision], times) for precision in PRECISIONS]
    except ptx.ToolMissing as missing:
        print(missing, file=sys.stderr)
        return 1
    print(roofline.CAUTION)
    print(f"\n{options.case}: how often a thread does it for each step of a pixel, counted in {BLOCKS} blocks:")
    print(", ".join(f"{what} {number:.4f}" for what, number in times._asdict().items()))
    print(f"\nmachine instructions each time, for {options.card[-1]}:")
    for precision, cost in each.items():
        print(f"{precision:<9} " + ", ".join(f"{what} {sum(pipes.values())}" for what, pipes in cost.items()))
    print("\nmachine instructions for each step of a pixel, and G (pixel x step)/s at most:")
    print("\n".join([heading(COLUMNS), *(row(COLUMNS, result) for result in results)]))
    if options.json is not None:
        with open(options.json, "a") as lines:
            lines.writelines(json.dumps(result | {"turns": times._asdict()}) + "\n" for result in results)
    return 0


def record_of(experiment: Experiment):
    """The record Scene of an experiment."""
    experiment = with_options(experiment)
    return scenes.build(experiment, sampling.window(experiment.detector.pixels, experiment.sampling.roi, None))


if __name__ == "__main__":
    sys.exit(main())
