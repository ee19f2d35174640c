"""The bench of the derivative: it is checked, and then timed in turn with the image that it differentiates."""

import json
import statistics
from typing import NamedTuple

import numba
import numpy as np

from adjoint import PARAMETERS, jacobian, normal_equations, not_differentiable, pack, unpack, value_and_grad
from adjoint.losses import Poisson
from adjoint.parameters import WEIGHTS, names_of
from adjoint.prepare import freeze_choices
from bench import cases, clock
from bench.table import Bar, noise, row
from nbnumba import Experiment, simulate

NOT_STATED = names_of("position", "cell_spread")
"""Parameters that no scene states, and by which the image is differentiated in another way: by phi steps, or stretches."""
REFINED = [*names_of("cell"), "crystal.n_a", *names_of("orientation")]
REFINED += ["beam.wavelength_A", "beam.fluence", "detector.distance_mm", "detector.xbeam_mm", "detector.ybeam_mm"]
"""The 15 parameters of Jacobians and normal equations: cell, orientation and size of the crystal, beam, detector."""

WINDOW = 48
"""The number of pixels along each edge of the window on which the derivative is checked."""

BRIGHTEST, BACKGROUND = 1e4, 1.0
"""Photons in the brightest pixel, and of the background in every pixel, so that counts drawn from the image are meaningful."""

STEP, OF_TERMS = 3e-4, 3e-6
"""The step of the differences, in units in which each parameter by itself moves the image by one standard deviation, and the
largest error of the derivative, as a fraction of the sum of the terms of all parameters. Differences jump where the nearest
reflection of a pixel changes within a step, and the derivative is right not to."""

FARTHEST = 4.0
"""The largest size of a random number that is drawn from a normal distribution, for the bounds of parameters."""

ROUNDING = 1e-11
"""The largest difference of two sums of the same terms, as a fraction of the sum of their sizes."""

BAR_GRADIENT, BAR_JACOBIAN, BAR_NORMAL, BAR_MEMORY = 2.2, 4.0, 4.0, 200.0
"""The bars: the times of value_and_grad, of the Jacobian and of the normal equations, in units of `simulate`, and the memory
(MB) of value_and_grad beyond that of `simulate`."""

FULL = ("mosaic", "supervisor", "torch")
"""The scenes of which nothing is left out, and the Jacobian has a bar. Where little scatters, its many zeros take the time."""

SIDES = {"xfel": 512}
"""The parts of frames of which whole derivatives would take minutes: pixels along each edge."""

TORCH = {"forward": 34.0, "gradient": 357.0}
"""ns per pixel and step of compiled nanobrag_torch on two threads, forward, and forward and backward. The figures are quoted
from elsewhere, and are not measured here."""

JOBS = ("forward", "gradient", "jacobian", "normal")


class WrongDerivative(Exception):
    """A derivative that is wrong, so that it is not timed."""


class Task(NamedTuple):
    """What is differentiated: an experiment, a loss whose data were drawn from its image, and all parameters that apply."""

    name: str
    experiment: Experiment
    loss: Poisson
    parameters: list[str]


def task(scene: cases.Scene) -> Task:
    """The task of a scene, less weights of sources and NOT_STATED, with counts of its region in a bright enough beam."""
    experiment = scene.experiment
    image = simulate(experiment)
    brighter = BRIGHTEST / image.max()
    experiment = experiment.replace({"beam.fluence": experiment.value("beam.fluence") * brighter})
    left, right, low, high = scene.region
    part, counts = (slice(low, high + 1), slice(left, right + 1)), np.full(image.shape, np.nan)
    counts[part] = np.random.default_rng(1).poisson(image[part] * brighter + BACKGROUND)
    refused = not_differentiable.reasons(experiment)
    names = [name for name in PARAMETERS if name not in refused and name not in (WEIGHTS, *NOT_STATED)]
    return Task(scene.name, experiment, Poisson(counts, BACKGROUND), names)


def job(name: str, task: Task):
    """The function without arguments that is timed under a name of JOBS."""
    loss, experiment = task.loss, task.experiment
    return {
        "forward": lambda: simulate(experiment),
        "gradient": lambda: value_and_grad(loss, experiment, task.parameters),
        "jacobian": lambda: jacobian(experiment, REFINED),
        "normal": lambda: normal_equations(loss, experiment, REFINED),
    }[name]


# ---- the check


def check(task: Task, threads: list[int]) -> float:
    """The largest error of the derivatives, in units of the allowed error. Raises WrongDerivative above 1."""
    check_threads(task, threads, JOBS)
    errors = {"the gradient": gradient_error(task)} | sum_errors(task)
    for quantity, error in errors.items():
        if not error <= 1.0:
            raise WrongDerivative(f"{task.name}: {quantity} is wrong: {error:.3g} times the allowed error")
    return max(errors.values())


def check_threads(task: Task, threads: list[int], names) -> None:
    """Raise WrongDerivative if a job gives other bits on another number of threads."""
    for name in names:
        bytes_of_threads = []
        for n in threads:
            numba.set_num_threads(n)
            bytes_of_threads.append(bits(job(name, task)()))
        for n, content in zip(threads, bytes_of_threads):
            if content != bytes_of_threads[0]:
                raise WrongDerivative(f"{task.name}: {name}: {n} threads give other bits than {threads[0]}")


def bits(value) -> bytes:
    """The bytes of a number, of an array, or of a tuple or dict of them."""
    if isinstance(value, dict):
        return b"".join(map(bits, value.values()))
    return b"".join(map(bits, value)) if isinstance(value, tuple) else np.asarray(value).tobytes()


def gradient_error(task: Task) -> float:
    """The error of the gradient along a random direction, in units of the allowed one, from extrapolated differences."""
    experiment = freeze_choices(task.experiment, task.parameters)
    gradient = value_and_grad(task.loss, task.experiment, task.parameters)[1]
    slopes, along = flat(gradient, task.parameters), direction(task, gradient)
    start = pack(experiment, task.parameters)

    def slope(step):
        ends = [task.loss.value(simulate(unpack(experiment, task.parameters, start + s * along))) for s in (step, -step)]
        return (ends[0] - ends[1]) / (2.0 * step)

    expected = (4.0 * slope(STEP / 2.0) - slope(STEP)) / 3.0
    return abs(expected - slopes @ along) / (OF_TERMS * np.abs(slopes * along).sum())


def direction(task: Task, gradient: dict) -> np.ndarray:
    """A random direction along which all parameters other than amplitudes move the image by about the same amount.

    A parameter that hardly moves the image is moved by less, so that it stays within its bounds.
    """
    random = np.random.default_rng(2)
    single = [name for name in task.parameters if np.ndim(gradient[name]) == 0]
    information = np.diag(normal_equations(task.loss, task.experiment, single)[2])
    unit = {name: 1.0 / np.sqrt(value) for name, value in zip(single, information) if value > 0.0}
    size = {name: min(unit[name], room(task, name)) if name in unit else PARAMETERS[name].step for name in task.parameters}
    names = task.parameters
    return flat({name: size[name] * random.standard_normal(np.shape(gradient[name])) for name in names}, names)


def room(task: Task, name: str) -> float:
    """The largest unit of a parameter whose steps stay within its bounds."""
    least, most = PARAMETERS[name].bounds
    value = task.experiment.value(name)
    return min(value - least, most - value) / (FARTHEST * STEP)


def flat(values: dict, names: list[str]) -> np.ndarray:
    """The numbers of some parameters in one vector."""
    return np.concatenate([np.ravel(values[name]) for name in names])


def sum_errors(task: Task) -> dict[str, float]:
    """The errors, in units of the allowed ones, of the loss, the Jacobian and the normal equations, by their common sums."""
    image = simulate(task.experiment)
    value, gradient = value_and_grad(task.loss, task.experiment, task.parameters)
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


def apart(sums, expected, terms) -> float:
    """The largest difference of sums, in units of the allowed one for terms of those sizes; NaN if one of them is NaN."""
    return float(np.max(np.abs(sums - expected) / (ROUNDING * terms)))


# ---- the figures


def bench(whole: cases.Scene, window: cases.Scene, steps: int, threads: list[int], repeat: int) -> dict:
    """Check the derivative in a window of a scene, then time it on the whole scene: its figures. Raises WrongDerivative."""
    error = check(task(window), threads)
    timed = task(whole)
    check_threads(timed, threads, ["gradient"])
    numbers = int(sum(np.size(timed.experiment.value(name)) for name in timed.parameters))
    return figures(whole.pixels, steps, *samples_of(timed, threads, repeat)) | {
        "case": whole.name,
        "parameters": len(timed.parameters),
        "numbers": numbers,
        "error_of_allowed": error,
        "repeat": repeat,
    }


def samples_of(task: Task, threads: list[int], repeat: int) -> tuple[dict, dict]:
    """The times of all jobs, by number of threads and name, and of the plain loop, by number of threads, taken in turn."""
    jobs = {name: job(name, task) for name in JOBS}
    plans = {name: clock.plan(function, repeat) for name, function in jobs.items()}
    samples, loops = {n: {name: [] for name in JOBS} for n in threads}, {n: [] for n in threads}
    for _ in range(min(plan.samples for plan in plans.values())):
        for n in threads:
            loops[n].append(clock.fma_time(n))
            for name, function in jobs.items():
                numba.set_num_threads(n)
                samples[n][name].append(clock.timed(function, plans[name].calls))
    return samples, loops


def figures(pixels: int, steps: int, samples: dict, loops: dict) -> dict:
    """The figures that follow from the times of the jobs and of the plain loop."""
    result = {"pixels": pixels, "steps": steps}
    for n, jobs in samples.items():
        wall = {name: statistics.median(s.wall for s in jobs[name]) for name in jobs}
        least = {name: min(s.wall for s in jobs[name]) for name in jobs}
        times = {name: [s.on(n) for s in jobs[name]] for name in jobs}
        for name in jobs:
            result |= {f"wall_s_{name}_{n}": wall[name], f"wall_min_s_{name}_{n}": least[name]}
            result |= {f"cpu_s_{name}_{n}": statistics.median(s.cpu for s in jobs[name])}
            result |= {f"ns_{name}_{n}": 1e9 * wall[name] / (pixels * steps)}
            result |= {f"ratio_{name}_{n}": statistics.median(times[name]) / statistics.median(times["forward"])}
            result |= {f"ratio_min_{name}_{n}": min(times[name]) / min(times["forward"])}
        result |= {
            f"noise_{n}": max(wall[name] / least[name] for name in jobs),
            f"disturbance_{n}": max(s.disturbance for name in jobs for s in jobs[name]),
            f"fma_lanes_per_ns_{n}": clock.fma_lanes() / statistics.median(s.wall for s in loops[n]),
        }
    result |= {"fma_noise": statistics.median(s.wall for s in loops[1]) / min(s.wall for s in loops[1])}
    if 2 in samples:
        result |= {f"speedup_{name}": result[f"wall_s_{name}_1"] / result[f"wall_s_{name}_2"] for name in JOBS}
    return result


def memory(side: int | None) -> dict:
    """The peak memory of value_and_grad and of `simulate` on the frame of `supervisor`, each in a process of its own."""
    words = ("-m", "bench.peak") if side is None else ("-m", "bench.peak", "--side", str(side))
    clock.python(["-m", "bench.peak", "--side", str(WINDOW), "gradient"])  # Kernels are cached now: no compiler is in the peak.
    peaks = {name: json.loads(clock.python([*words, name])[1]) for name in ("forward", "gradient")}
    result = {f"{key}_{name}": value for name, peak in peaks.items() for key, value in peak.items()}
    more = result["peak_MB_gradient"] - result["peak_MB_forward"]
    return {"case": "memory", "memory_MB": more, "memory_without_loss_MB": more - result["loss_MB_gradient"]} | result


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


def rows(result: dict) -> list[str]:
    """The rows of a case, one for each number of threads; for `memory` a line."""
    if result["case"] == "memory":
        return [memory_line(result)]
    lines = []
    for n in threads_of(result):
        of_threads = {key.removesuffix(f"_{n}"): value for key, value in result.items() if key.endswith(f"_{n}")}
        lines.append(row(COLUMNS, result | of_threads | {"threads": n}))
    return lines


def threads_of(result: dict) -> list[int]:
    """The numbers of threads of some figures."""
    return [n for n in (1, 2) if f"wall_s_forward_{n}" in result]


def memory_line(result: dict) -> str:
    """The figures of `memory` in a line."""
    caveat = "" if result["reset_gradient"] else " (since their processes began: the peak cannot be reset here)"
    return (
        f"memory: value_and_grad {result['peak_MB_gradient']:.0f} MB, simulate {result['peak_MB_forward']:.0f} MB at the peak"
        f"{caveat}; {result['memory_MB']:.0f} MB more, of which the loss given to it holds {result['loss_MB_gradient']:.0f} MB"
    )


def bars(result: dict) -> list[Bar]:
    """The bars of a case: those of times are for one thread."""
    case = result["case"]
    if case == "memory":
        return [Bar("memory: MB of value_and_grad more than simulate", result["memory_MB"], BAR_MEMORY)]
    by_refined = f"by {len(REFINED)} parameters, in images"
    of_jobs = {"gradient": (f"value_and_grad by {result['parameters']} parameters, in images", BAR_GRADIENT)}
    if case in FULL:
        of_jobs |= {"jacobian": (f"the Jacobian {by_refined}", BAR_JACOBIAN)}
    of_jobs |= {"normal": (f"normal equations {by_refined}", BAR_NORMAL)}
    return [Bar(f"{case}: {subject}", result[f"ratio_min_{name}_1"], most) for name, (subject, most) in of_jobs.items()]


def remarks(result: dict) -> list[str]:
    """The remarks on the figures of a case: noise, whether the bars are met, and for "torch" a comparison."""
    texts = noise(result) + [str(bar) for bar in bars(result)]
    if result["case"] == "torch":
        texts += [compared_with_torch(result, n) for n in threads_of(result)[-1:]]
    return texts


def threads(n: int) -> str:
    """The number of threads in words."""
    return "1 thread" if n == 1 else f"{n} threads"


def compared_with_torch(result: dict, n: int) -> str:
    """A comparison of ns per pixel and step with the figures of nanobrag_torch."""
    ours = [result[f"ns_{name}_{n}"] for name in TORCH]
    times = [figure / ns for figure, ns in zip(TORCH.values(), ours)]
    return (
        f"{threads(n)}: {ours[0]:.2f} ns forward, {ours[1]:.2f} forward and backward per pixel and step; nanobrag_torch, "
        f"compiled, 2 threads: {TORCH['forward']:g} and {TORCH['gradient']:g}, figures quoted and not measured here: "
        f"{times[0]:.1f} and {times[1]:.1f} times as long"
    )
