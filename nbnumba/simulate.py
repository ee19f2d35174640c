"""The NumPy door: an experiment in, an image out."""

from collections.abc import Callable, Iterable

import numpy as np

from nbnumba.errors import InputError
from nbnumba.experiment import Experiment
from nbnumba.setup import sampling, scene
from nbnumba.stages.records import Scene

STEPS_PER_CALL = 2**24
"""Samples times lattices rendered between two reports of progress, or two chances to be interrupted: tenths of a second."""

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
) -> np.ndarray:
    """The image of an experiment: photons per pixel, float64 (slow, fast); zero outside the region and where the mask is zero.

    roi: first and last fast pixel, first and last slow pixel. mask: (slow, fast). c_parity: names of nanoBragg.c's defects to
    reproduce (parity.SWITCHES, or "all"), c_threads: the number of threads of that run. What is not given is what the
    experiment says. progress(done, total) is called with rows. The same input gives the same bits on any number of threads.

    Raises InputError for what cannot be simulated; warns of what was assumed. Equations: specs/forward.md.
    """
    check_target(backend, precision)
    experiment = restated(experiment, roi=roi, mask=mask, c_parity=c_parity, c_threads=c_threads)
    wanted = sampling.window(experiment.detector.pixels, experiment.sampling.roi, experiment.sampling.mask)
    return render(scene.build(experiment, wanted), wanted, experiment.detector.pixels, progress)


def check_target(backend: str, precision: str) -> None:
    """Raise InputError for a backend or a precision that there is no kernel for."""
    if backend != "cpu" or precision != "double":
        raise InputError(f"backend {backend!r} in {precision!r} precision is not there; allowed: backend cpu, precision double")


def restated(experiment: Experiment, **statements) -> Experiment:
    """The experiment with those statements of its sampling that are not None."""
    given = {f"sampling.{name}": value for name, value in statements.items() if value is not None}
    return experiment.replace(given) if given else experiment


def render(built: Scene, wanted: sampling.Window, pixels: tuple[int, int], progress: Progress | None) -> np.ndarray:
    """The image of a scene, rendered in blocks of rows so that it can report and be interrupted in between."""
    from nbnumba.backends import cpu

    image = np.zeros((pixels[1], pixels[0]))
    (first, last), (left, right) = wanted.rows, wanted.columns
    samples = built.sampling.layers * built.sampling.oversample**2 * built.sources.weight.size
    per_row = (right - left) * samples * len(built.orientations.lattice)
    block = max(64, STEPS_PER_CALL // per_row)
    for row in range(first, last, block):
        stop = min(row + block, last)
        cpu.run(image, (row, stop), (left, right), wanted.mask, built)
        if progress is not None:
            progress(stop - first, last - first)
    return image
