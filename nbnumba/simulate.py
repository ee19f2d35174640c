"""The NumPy door: an experiment in, an image out."""

import warnings
from collections.abc import Callable, Iterable

import numpy as np

from nbnumba import dark
from nbnumba.backends import CPU, Machine, driver, machine
from nbnumba.backends.pieces import pixels_of, progress_reporter
from nbnumba.backends.threads import run_pieces, thread_count
from nbnumba.cost import MOST_HOURS, check, hours_granted
from nbnumba.errors import InputError, shown
from nbnumba.experiment import Experiment
from nbnumba.setup import sampling, scene
from nbnumba.stages.records import Scene

MOST_FRINGES_IN_PAIRS = 2**26
"""Unit cells times Miller index up to which paired keeps what is promised of it; tests/test_precision.py measures it."""

Progress = Callable[[int, int], None]


def simulate(
    experiment: Experiment,
    *,
    backend: str = "cpu",
    precision: str = "double",
    roi: tuple[int, int, int, int] | None = None,
    mask: np.ndarray | None = None,
    c_parity: Iterable[str] | str | None = None,
    c_threads: int | None = None,
    progress: Progress | None = None,
    max_hours: float = MOST_HOURS,
) -> np.ndarray:
    """The image of an experiment: photons per pixel, float64 (slow, fast); zero outside the region and where the mask is zero.

    roi: first and last fast pixel, first and last slow pixel. mask: (slow, fast). c_parity: names of nanoBragg.c's defects to
    reproduce (parity.SWITCHES, or "all"), c_threads: the number of threads of that run. What is not given is what the
    experiment says. backend: "cpu", or "cuda" for an NVIDIA card. precision: "double"; "mixed", 1e-5 of each pixel and 1e-7 of
    the largest; "paired", the same without float64 for each lattice; "single" (G1). progress(done, total) is called with rows.
    The same input gives the same bits on any number of threads. max_hours: what takes longer, by estimate, is refused, and so
    is what takes more memory than is left.

    Raises InputError for what cannot be simulated; warns of what was assumed. Equations: specs/forward.md.
    """
    target = machine(backend, precision)
    experiment = with_options(experiment, roi=roi, mask=mask, c_parity=c_parity, c_threads=c_threads)
    image = image_of(experiment, target, progress, hours_granted(max_hours))
    coarse = sampling.too_coarse(experiment)
    if coarse is not None:
        warnings.warn(coarse, stacklevel=2)
    if not image.any():
        wanted = sampling.window(experiment.detector.pixels, experiment.sampling.roi, experiment.sampling.mask)
        warnings.warn(dark.sentence(experiment, wanted), stacklevel=2)
    return image


def image_of(
    experiment: Experiment, target: Machine = CPU, progress: Progress | None = None, max_hours: float | None = None
) -> np.ndarray:
    """The image of an experiment as `simulate` has it, without a word on coarse sampling or darkness: one of many."""
    wanted = sampling.window(experiment.detector.pixels, experiment.sampling.roi, experiment.sampling.mask)
    check(experiment, target, thread_count(), max_hours)
    return render(scene.build(experiment, wanted), wanted, experiment.detector.pixels, progress, target)


def with_options(experiment: Experiment, **options) -> Experiment:
    """The experiment whose sampling has those of the options that are not None. Raises InputError for what is no Experiment."""
    if not isinstance(experiment, Experiment):
        raise InputError(f"experiment: {shown(experiment)} is no Experiment; allowed: a nbnumba.Experiment")
    given = {f"sampling.{name}": value for name, value in options.items() if value is not None}
    return experiment.replace(given) if given else experiment


def render(
    built: Scene,
    wanted: sampling.Window,
    pixels: tuple[int, int],
    progress: Progress | None,
    target: Machine = CPU,
) -> np.ndarray:
    """The image of a scene, rendered in pieces by several threads; it reports, and can be interrupted, between them.

    Raises InputError for pixels that are too bright for the numbers of the precision.
    """
    warn_beyond_pairs(built, target.precision)
    backend = driver(target.backend)
    run = backend.renderer(built, wanted.mask, target.precision)
    image, steps, (rows, columns) = np.zeros((pixels[1], pixels[0])), steps_per_pixel(built), wanted[:2]
    tell = progress_reporter(progress, rows[1] - rows[0], columns[1] - columns[0])
    chains = ([piece] for piece in backend.pieces(rows, columns, steps))
    workers = backend.workers(steps * pixels_of((rows, columns)))
    run_pieces(lambda piece: run(image, *piece), chains, workers, lambda piece: tell(pixels_of(piece)))
    return finite(image, target.precision)


def warn_beyond_pairs(built: Scene, precision: str) -> None:
    """Warn of a crystal that is so large that float pairs do not keep what is promised of them (G1)."""
    if precision == "paired":
        cells, reach = scene.fringes(built)
        beyond = cells * reach / MOST_FRINGES_IN_PAIRS
        if beyond > 1.0:
            said = f"at {cells:.3g} cells along an edge and Miller indices of up to {reach:.3g} pixels may be off by"
            more = f"{beyond:.2g} times what is promised, 1e-5 of a pixel and 1e-7 of the largest"
            warnings.warn(f"precision paired: {said} {more}; mixed keeps it", stacklevel=3)


def finite(image: np.ndarray, precision: str) -> np.ndarray:
    """That image. Raises InputError where a pixel of it is too bright for the numbers of the precision."""
    if not np.isfinite(of_float32(image, precision)).all():
        said = "a pixel is too bright for a number"
        raise InputError(f"beam.fluence or structure_factors.F: {said}; allowed: smaller ones")
    return image


def of_float32(values: np.ndarray, precision: str) -> np.ndarray:
    """Those values, of an image or of its derivative. Raises InputError where a factor was too large for float32 (G1)."""
    if precision != "double" and not np.isfinite(values).all():
        said = "a pixel, or its derivative, is too large for float32"
        raise InputError(f"precision {precision!r}: {said}; allowed: precision double")
    return values


def steps_per_pixel(built: Scene) -> int:
    """Samples of a pixel times sources times lattices."""
    samples = built.sampling.layers * built.sampling.oversample**2
    return samples * built.sources.weight.size * len(built.orientations.lattice)
