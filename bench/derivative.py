"""The derivative in the bench: checked first, then timed in turn with the image that it is the derivative of."""

import json
import statistics
from typing import NamedTuple

import numba
import numpy as np

from adjoint import PARAMETERS, jacobian, normal_equations, not_differentiable, pack, unpack, value_and_grad
from adjoint.losses import Poisson
from adjoint.parameters import names_of
from adjoint.prepare import freeze_choices
from bench import cases, clock
from bench.table import noise, row, verdict
from nbnumba import Experiment, simulate

REFINED = [*names_of("cell"), "crystal.n_a", *names_of("orientation")]
REFINED += ["beam.wavelength_A", "beam.fluence", "detector.distance_mm", "detector.xbeam_mm", "detector.ybeam_mm"]
"""The 15 parameters of Jacobians and normal equations: cell, orientation and size of the crystal, beam, detector."""

WINDOW = 48
"""The window on which the derivative is checked has so many pixels along each edge."""

BRIGHTEST, BACKGROUND = 1e4, 1.0
"""Photons in the brightest pixel, and in every pixel besides, so that counts drawn from the image say something."""

STEP, OF_TERMS = 1e-3, 3e-6
"""Step of the differences, in units in which each parameter by itself moves the image by one standard deviation, and what
the derivative may differ by, of the sum of the terms of all parameters: a pixel that goes over from one reflection to the
next within a step makes a jump in the differences that the derivative rightly lacks."""

ROUNDING = 1e-11
"""What two sums of the same terms may differ by, of the sum of their sizes."""

BAR_GRADIENT, BAR_JACOBIAN, BAR_MEMORY = 2.5, 4.0, 200.0
"""At most: value_and_grad and the Jacobian, in units of `simulate`; MB of value_and_grad beyond those of `simulate`."""

TORCH = {"forward": 34.0, "gradient": 357.0}
"""ns per pixel and step of nanobrag_torch, compiled, forward, and forward and backward, on two threads: figures that were
given, and are not measured here."""

JOBS = ("forward", "gradient", "jacobian", "normal")


class WrongDerivative(Exception):
    """A derivative that is not to be timed."""


class Task(NamedTuple):
    """What is differentiated: an experiment, a loss whose data were drawn from its image, every parameter there is."""

    name: str
    experiment: Experiment
    loss: Poisson
    every: list[str]


def task(scene: cases.Scene) -> Task:
    """The task of a scene: photon counts of the pixels that it wants, of a beam that is bright enough."""
    experiment = scene.experiment
    image = simulate(experiment)
    brighter = BRIGHTEST / image.max()
    experiment = experiment.replace({"beam.fluence": experiment.value("beam.fluence") * brighter})
    left, right, low, high = scene.region
    part, counts = (slice(low, high + 1), slice(left, right + 1)), np.full(image.shape, np.nan)
    counts[part] = np.random.default_rng(1).poisson(image[part] * brighter + BACKGROUND)
    refused = not_differentiable.reasons(experiment)
    return Task(scene.name, experiment, Poisson(counts, BACKGROUND), [name for name in PARAMETERS if name not in refused])


def job(name: str, task: Task):
    """What is timed: a function without arguments."""
    loss, experiment = task.loss, task.experiment
    return {
        "forward": lambda: simulate(experiment),
        "gradient": lambda: value_and_grad(loss, experiment, task.every),
        "jacobian": lambda: jacobian(experiment, REFINED),
        "normal": lambda: normal_equations(loss, experiment, REFINED),
    }[name]


# ---- the check


def check(task: Task, threads: list[int]) -> float:
    """The largest error of the derivatives, in units of what is allowed. Raises WrongDerivative above 1."""
    check_threads(task, threads, JOBS)
    errors = {"the gradient": gradient_error(task)} | sum_errors(task)
    for what, error in errors.items():
        if not error <= 1.0:
            raise WrongDerivative(f"{task.name}: {what} is wrong: {error:.3g} of what is allowed")
    return max(errors.values())


def check_threads(task: Task, threads: list[int], names) -> None:
    """All thread counts give the same bits. Raises WrongDerivative."""
    for name in names:
        found = []
        for n in threads:
            numba.set_num_threads(n)
            found.append(bits(job(name, task)()))
        for n, other in zip(threads, found):
            if other != found[0]:
                raise WrongDerivative(f"{task.name}: {name}: {n} threads give other bits than {threads[0]}")


def bits(found) -> bytes:
    """Numbers, arrays, and what holds them, as they are in memory."""
    if isinstance(found, dict):
        return b"".join(map(bits, found.values()))
    return b"".join(map(bits, found)) if isinstance(found, tuple) else np.asarray(found).tobytes()


def gradient_error(task: Task) -> float:
    """The error of the gradient along a random direction, of what is allowed: central differences, extrapolated."""
    experiment = freeze_choices(task.experiment, task.every)
    gradient = value_and_grad(task.loss, task.experiment, task.every)[1]
    slopes, way = flat(gradient, task.every), direction(task, gradient)
    start = pack(experiment, task.every)

    def slope(step):
        ends = [task.loss.value(simulate(unpack(experiment, task.every, start + s * way))) for s in (step, -step)]
        return (ends[0] - ends[1]) / (2.0 * step)

    expected = (4.0 * slope(STEP / 2.0) - slope(STEP)) / 3.0
    return abs(expected - slopes @ way) / (OF_TERMS * np.abs(slopes * way).sum())


def direction(task: Task, gradient: dict) -> np.ndarray:
    """A random direction along which every parameter but the amplitudes moves the image by about as much."""
    random = np.random.default_rng(2)
    single = [name for name in task.every if np.ndim(gradient[name]) == 0]
    information = np.diag(normal_equations(task.loss, task.experiment, single)[2])
    unit = {name: 1.0 / np.sqrt(known) for name, known in zip(single, information) if known > 0.0}
    size = {name: unit.get(name, PARAMETERS[name].step) for name in task.every}
    return flat({name: size[name] * random.standard_normal(np.shape(gradient[name])) for name in task.every}, task.every)


def flat(values: dict, names: list[str]) -> np.ndarray:
    """The numbers of some parameters in one vector."""
    return np.concatenate([np.ravel(values[name]) for name in names])


def sum_errors(task: Task) -> dict[str, float]:
    """Errors of what sums tie together, of what is allowed: the loss, the Jacobian, and the normal equations."""
    image = simulate(task.experiment)
    value, gradient = value_and_grad(task.loss, task.experiment, task.every)
    rendered, by_pixel = jacobian(task.experiment, REFINED)
    value_again, gradient_again, matrix = normal_equations(task.loss, task.experiment, REFINED)
    columns, gradient = by_pixel.reshape(-1, len(REFINED)), flat(gradient, REFINED)
    weight, by_photons = task.loss.curvature(image).ravel(), task.loss.derivative(image).ravel()
    loss = np.array(task.loss.value(image))
    pulled, of_terms = columns.T @ by_photons, np.abs(columns).T @ np.abs(by_photons)
    squares = (columns.T * weight) @ columns, (np.abs(columns).T * weight) @ np.abs(columns)
    return {
        "the loss": apart(value, loss, loss),
        "the loss of the normal equations": apart(value_again, loss, loss),
        "the image of the Jacobian": apart(rendered, image, np.maximum(image, np.finfo(float).tiny)),
        "the Jacobian": apart(pulled, gradient, of_terms),
        "the gradient of the normal equations": apart(flat(gradient_again, REFINED), pulled, of_terms),
        "the matrix of the normal equations": apart(matrix, *squares),
    }


def apart(found, expected, terms) -> float:
    """How far sums are apart, of what is allowed for terms of those sizes; NaN if one of them is."""
    return float(np.max(np.abs(found - expected) / (ROUNDING * terms)))


# ---- the figures


def bench(whole: cases.Scene, window: cases.Scene, steps: int, threads: list[int], repeat: int) -> dict:
    """Check the derivative in a window of a scene, then time it on all of it: its figures. Raises WrongDerivative."""
    error = check(task(window), threads)
    timed = task(whole)
    check_threads(timed, threads, ["gradient"])
    numbers = int(sum(np.size(timed.experiment.value(name)) for name in timed.every))
    return figures(whole.pixels, steps, *samples_of(timed, threads, repeat)) | {
        "case": whole.name,
        "parameters": len(timed.every),
        "numbers": numbers,
        "error_of_allowed": error,
        "repeat": repeat,
    }


def samples_of(task: Task, threads: list[int], repeat: int) -> tuple[dict, dict]:
    """Times of all jobs and of the plain loop, by thread count; of the jobs then by name. All are taken in turn."""
    jobs = {name: job(name, task) for name in JOBS}
    inner = {name: clock.calls(function) for name, function in jobs.items()}
    samples, loops = {n: {name: [] for name in JOBS} for n in threads}, {n: [] for n in threads}
    for _ in range(repeat):
        for n in threads:
            loops[n].append(clock.fma_time(n))
            for name, function in jobs.items():
                numba.set_num_threads(n)
                samples[n][name].append(clock.timed(function, inner[name]))
    return samples, loops


def figures(pixels: int, steps: int, samples: dict, loops: dict) -> dict:
    """What the times of the jobs and of the plain loop come to."""
    found = {"pixels": pixels, "steps": steps}
    for n, jobs in samples.items():
        wall = {name: statistics.median(s.wall for s in jobs[name]) for name in jobs}
        least = {name: min(s.wall for s in jobs[name]) for name in jobs}
        for name in jobs:
            found |= {f"wall_s_{name}_{n}": wall[name], f"wall_min_s_{name}_{n}": least[name]}
            found |= {f"cpu_s_{name}_{n}": statistics.median(s.cpu for s in jobs[name])}
            found |= {f"ns_{name}_{n}": 1e9 * wall[name] / (pixels * steps)}
            found |= {f"ratio_{name}_{n}": wall[name] / wall["forward"]}
            found |= {f"ratio_min_{name}_{n}": least[name] / least["forward"]}
        found |= {
            f"noise_{n}": max(wall[name] / least[name] for name in jobs),
            f"disturbance_{n}": max(s.disturbance for name in jobs for s in jobs[name]),
            f"fma_lanes_per_ns_{n}": clock.fma_lanes() / statistics.median(s.wall for s in loops[n]),
        }
    found |= {"fma_noise": statistics.median(s.wall for s in loops[1]) / min(s.wall for s in loops[1])}
    if 2 in samples:
        found |= {f"speedup_{name}": found[f"wall_s_{name}_1"] / found[f"wall_s_{name}_2"] for name in JOBS}
    return found


def memory(side: int | None) -> dict:
    """Peak memory of value_and_grad beside that of `simulate`, on the frame of `supervisor`, in a process each."""
    words = ("-m", "bench.peak") if side is None else ("-m", "bench.peak", "--side", str(side))
    clock.python(["-m", "bench.peak", "--side", str(WINDOW), "gradient"])  # keeps the kernels: a compiler would be in the peak
    peaks = {name: json.loads(clock.python([*words, name])[1]) for name in ("forward", "gradient")}
    found = {f"{key}_{name}": value for name, peak in peaks.items() for key, value in peak.items()}
    more = found["peak_MB_gradient"] - found["peak_MB_forward"]
    return {"case": "memory", "memory_MB": more, "memory_without_loss_MB": more - found["loss_MB_gradient"]} | found


# ---- the report

COLUMNS = (
    ("case", "case", "<11"),
    ("pixels", "pixels", ">8"),
    ("steps", "steps", ">5"),
    ("thr", "threads", ">3"),
    ("s", "wall_s_forward", ">7.3f"),
    ("min s", "wall_min_s_forward", ">7.3f"),
    ("ns/step", "ns_forward", ">7.2f"),
    ("grad s", "wall_s_gradient", ">7.3f"),
    ("ns/step", "ns_gradient", ">7.2f"),
    ("/image", "ratio_gradient", ">6.2f"),
    ("(min)", "ratio_min_gradient", ">6.2f"),
    ("Jac", "ratio_jacobian", ">6.2f"),
    ("(min)", "ratio_min_jacobian", ">6.2f"),
    ("normal", "ratio_normal", ">6.2f"),
    ("(min)", "ratio_min_normal", ">6.2f"),
    ("FMA G/s", "fma_lanes_per_ns", ">7.1f"),
)


def rows(found: dict) -> list[str]:
    """The rows of a case: one for each thread count; a line for `memory`."""
    if found["case"] == "memory":
        return [memory_line(found)]
    lines = []
    for n in threads_of(found):
        here = {key.removesuffix(f"_{n}"): value for key, value in found.items() if key.endswith(f"_{n}")}
        lines.append(row(COLUMNS, found | here | {"threads": n}))
    return lines


def threads_of(found: dict) -> list[int]:
    """The thread counts of some figures."""
    return [n for n in (1, 2) if f"wall_s_forward_{n}" in found]


def memory_line(found: dict) -> str:
    """The figures of `memory` in a line."""
    since = "" if found["reset_gradient"] else " (since their processes began: the peak cannot be reset here)"
    return (
        f"memory: value_and_grad {found['peak_MB_gradient']:.0f} MB, simulate {found['peak_MB_forward']:.0f} MB at the peak"
        f"{since}; {found['memory_MB']:.0f} MB more, of which the loss given to it holds {found['loss_MB_gradient']:.0f} MB"
    )


def remarks(found: dict) -> list[str]:
    """What there is to say about a case: noise, the bars, and for "torch" the figures to stand beside."""
    if found["case"] == "memory":
        return [f"{found['memory_MB']:.0f} MB more than simulate, {wanted(found['memory_MB'], BAR_MEMORY)}"]
    said = noise(found)
    for n in threads_of(found):
        many = f"value_and_grad by {found['parameters']} parameters ({found['numbers']} numbers)"
        for name, what, most in (
            ("gradient", many, BAR_GRADIENT),
            ("jacobian", f"the Jacobian by {len(REFINED)} parameters", BAR_JACOBIAN),
        ):
            times = found[f"ratio_{name}_{n}"]
            said.append(f"{what} on {threads(n)}: {times:.2f} times simulate, {wanted(times, most)}")
    if found["case"] == "torch":
        said += [beside_torch(found, n) for n in threads_of(found)[-1:]]
    return said


def wanted(figure: float, most: float) -> str:
    """A bar, and whether it is met."""
    return f"wanted at most {most:g}: {verdict(figure <= most)}"


def threads(n: int) -> str:
    """So many threads in words."""
    return "1 thread" if n == 1 else f"{n} threads"


def beside_torch(found: dict, n: int) -> str:
    """ns per pixel and step beside the figures of nanobrag_torch."""
    ours = [found[f"ns_{name}_{n}"] for name in TORCH]
    times = [figure / ns for figure, ns in zip(TORCH.values(), ours)]
    return (
        f"{threads(n)}: {ours[0]:.2f} ns forward, {ours[1]:.2f} forward and backward per pixel and step; nanobrag_torch, "
        f"compiled, 2 threads: {TORCH['forward']:g} and {TORCH['gradient']:g}, figures given and not measured here: "
        f"{times[0]:.1f} and {times[1]:.1f} times as long"
    )
