"""The clock of the bench. It repeats disturbed samples, and times a plain loop that shows the present speed of the machine."""

import math
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import numba
import numpy as np

ROOT = Path(__file__).resolve().parent.parent

SHORTEST_SAMPLE = 0.2
DISTURBED, TRIES = 0.15, 5
"""A sample is repeated, up to a number of tries, if others used more processor time than this fraction of its wall time."""

LONGEST = 20.0
"""The time (s) after which a function that takes long is sampled no more, once there are two samples."""

CHAIN, ELEMENTS, BLOCKS = 16, 256, 4
FMA_REPEATS = 60000


class Sample(NamedTuple):
    """Wall time, processor time, and the processor time that other processes and the host took meanwhile, in s."""

    wall: float
    cpu: float
    others: float

    @property
    def disturbance(self) -> float:
        """The processor time of others as a fraction of the wall time."""
        return self.others / self.wall

    def on(self, threads: int) -> float:
        """The time by which ratios are judged: on one thread processor time, of which others take none; else wall time."""
        return self.cpu if threads == 1 else self.wall


@numba.njit(error_model="numpy", fastmath={"contract"})
def fma_chains(x, y, a, b, repeats):
    """Compute two chains of 8 dependent FMAs for every element, of which enough are independent to fill the pipes."""
    for _ in range(repeats):
        for i in range(x.size):
            u, v = x[i], y[i]
            u, v = u * a + b, v * a + b
            u, v = u * a + b, v * a + b
            u, v = u * a + b, v * a + b
            u, v = u * a + b, v * a + b
            u, v = u * a + b, v * a + b
            u, v = u * a + b, v * a + b
            u, v = u * a + b, v * a + b
            u, v = u * a + b, v * a + b
            x[i], y[i] = u, v


@numba.njit(parallel=True, error_model="numpy", fastmath={"contract"})
def fma_blocks(out, repeats):
    """Run the plain loop on arrays that fit into the first cache, once for every number of `out`."""
    for block in numba.prange(out.size):
        x, y = np.full(ELEMENTS, 0.5), np.full(ELEMENTS, 0.25)
        fma_chains(x, y, 0.5, 0.25, repeats)
        out[block] = x[0] + y[0]


def timed(function, inner: int = 1) -> Sample:
    """The mean time of `inner` calls. If tries are disturbed, it is that of the least disturbed one."""
    tries = [timed_once(function, inner)]
    while len(tries) < TRIES and tries[-1].disturbance > DISTURBED and inner * sum(x.wall for x in tries) < LONGEST / 4:
        tries.append(timed_once(function, inner))
    return min(tries, key=lambda sample: sample.disturbance)


def timed_once(function, inner: int) -> Sample:
    """The mean time of `inner` calls, measured once."""
    busy, wall, cpu = busy_s(), time.perf_counter(), time.process_time()
    for _ in range(inner):
        function()
    wall, cpu, busy = time.perf_counter() - wall, time.process_time() - cpu, busy_s() - busy
    return Sample(wall / inner, cpu / inner, max(0.0, busy - cpu) / inner)


def busy_s() -> float:
    """The processor time (s) that the machine has spent so far and that its host has withheld; 0 if it is not known."""
    try:
        with open("/proc/stat") as lines:
            user, nice, system, _, _, irq, softirq, steal = map(int, lines.readline().split()[1:9])
    except (OSError, ValueError):
        return 0.0
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def fma_time(threads: int) -> Sample:
    """The time of the plain loop on that number of threads."""
    numba.set_num_threads(threads)
    out = np.empty(BLOCKS)
    return timed(lambda: fma_blocks(out, FMA_REPEATS))


class Plan(NamedTuple):
    """How often a function is called for a sample, and how many samples are taken."""

    calls: int
    samples: int


def plan(function, repeat: int) -> Plan:
    """The plan for a function from the time of one call: samples that are long enough, and `repeat` of them if time allows."""
    wall = timed_once(function, 1).wall
    calls = max(1, math.ceil(SHORTEST_SAMPLE / wall))
    return Plan(calls, min(repeat, max(2, int(LONGEST / (calls * wall)))))


def fma_lanes() -> float:
    """The number of lanes of multiply-adds of the plain loop, in 1e9."""
    return BLOCKS * ELEMENTS * CHAIN * FMA_REPEATS / 1e9


def python(arguments) -> tuple[float, str]:
    """The wall time (s) of a new Python process, and the text that it printed."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))}
    start = time.perf_counter()
    done = subprocess.run([sys.executable, *arguments], env=environment, capture_output=True, text=True)
    wall = time.perf_counter() - start
    if done.returncode:
        raise RuntimeError(f"{' '.join(arguments[:3])} failed: {done.stderr}")
    return wall, done.stdout
