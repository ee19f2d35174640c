"""The simulation of an image as a NumPy array, and the checks of its numbers."""

import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import cast

import numpy as np

from nbnumba import added_photons, backends, dark
from nbnumba.backends import CPU, Machine, driver
from nbnumba.backends.pieces import Piece, pixels_of, progress_reporter
from nbnumba.backends.precision import cast_all
from nbnumba.backends.threads import run_pieces, thread_count
from nbnumba.cost import MOST_HOURS, check, hours_granted
from nbnumba.errors import InputError, shown
from nbnumba.experiment import Experiment
from nbnumba.loops.patches import is_culled
from nbnumba.setup import sampling, scene
from nbnumba.setup.scene import PanelScene
from nbnumba.setup.sheet import sheet_of
from nbnumba.stages.records import Scene

MOST_FRINGES_IN_PAIRS = 2**26
"""The largest product of unit cells and Miller index at which precision paired keeps its promise (tests/test_precision.py)."""

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
    tolerance: float | None = None,
    progress: Progress | None = None,
    max_hours: float = MOST_HOURS,
) -> np.ndarray:
    """The image of an experiment: photons per pixel, float64 (slow, fast); zero outside the region and where the mask is zero.

    Of a detector of several panels it is (panel, slow, fast), or, if their shapes differ, a list of arrays (slow, fast).
    roi: first and last fast pixel, first and last slow pixel, of the sheet of several panels. mask: like the image.
    c_parity: names of nanoBragg.c's defects to reproduce (parity.SWITCHES, or "all"). c_threads: the number of threads of C
    that is reproduced. tolerance: the most photons that any pixel may lack (F10a). The experiment states those of these
    five that are None. backend: "cpu", or "cuda" for an NVIDIA card. precision: "double"; "mixed", with errors of at most
    1e-5 of each pixel and 1e-7 of the largest; "paired", the same without float64 for each lattice; "single" (G1).
    progress(done, total) is called with numbers of rows. max_hours: an image that takes longer, by estimate, is refused,
    and so is one that needs more memory than is left. The image has the same bits for any number of threads.

    Raises InputError for an experiment that cannot be simulated, and warns of assumptions. Equations: specs/forward.md.
    """
    machine = backends.machine(backend, precision)
    options = {"roi": roi, "mask": mask, "c_parity": c_parity, "c_threads": c_threads, "tolerance": tolerance}
    experiment = with_options(experiment, **options)
    whole = sheet_image(experiment, machine, progress, hours_granted(max_hours))
    coarse = sampling.too_coarse(experiment)
    if coarse is not None:
        warnings.warn(coarse, stacklevel=2)
    if not any(row.any() for row in whole):
        warnings.warn(dark.sentence(experiment), stacklevel=2)
    return cast(np.ndarray, sheet_of(experiment.detector).image(whole))  # which is a list for panels of different shapes


def sheet_image(
    experiment: Experiment, machine: Machine = CPU, progress: Progress | None = None, max_hours: float | None = None
) -> np.ndarray:
    """The image of `simulate`, without its warnings, as a sheet: one array (slow, fast), in which panels lie one below another.

    It is for programs that compute many images. A sheet of one panel is its image (setup/sheet.py).
    """
    check(experiment, machine, thread_count(), max_hours)
    image = render(scene.panel_scenes(experiment), sheet_of(experiment.detector).shape, progress, machine)
    return added_photons.with_added(experiment, image)


def with_options(experiment: Experiment, **options) -> Experiment:
    """The experiment with those options in its sampling that are not None. Raises InputError for what is not an Experiment."""
    if not isinstance(experiment, Experiment):
        raise InputError(f"experiment: {shown(experiment)} is not an Experiment; allowed: a nbnumba.Experiment")
    changes = {f"sampling.{name}": value for name, value in options.items() if value is not None}
    return experiment.replace(changes) if changes else experiment


def render(
    panels: Sequence[PanelScene],
    shape: tuple[int, int],
    progress: Progress | None = None,
    machine: Machine = CPU,
) -> np.ndarray:
    """The sheet (slow, fast) of the panels of an image. Several threads render it in pieces, between which it can end.

    shape: that of the sheet. The pieces of all panels are one list, so that no thread waits for a panel to be complete. The
    images of several contributions are added up, in their order. Raises InputError for pixels that are too bright for the
    precision.
    """
    count = panels[-1].contribution + 1
    if count > 1:
        total = np.zeros(shape)
        for number in range(count):
            tell = None if progress is None else of_one(progress, number, count)
            total += render([p._replace(contribution=0) for p in panels if p.contribution == number], shape, tell, machine)
        return total
    warn_beyond_pairs(panels[0].scene, machine.precision)
    backend, image = driver(machine.backend), np.zeros(shape)
    records = cast_all([panel.scene for panel in panels], machine.precision)
    runs = [backend.renderer(scene, panel.window.mask, machine.precision) for scene, panel in zip(records, panels)]
    images = [image[panel.place[0]] for panel in panels]
    sizes = [(rows[1] - rows[0], columns[1] - columns[0]) for rows, columns in (panel.window[:2] for panel in panels)]
    report, every = progress_reporter(progress, sizes), sum(panel.steps * pixels_of(panel.window[:2]) for panel in panels)
    chains = (
        [(number, piece)]
        for number, panel in enumerate(panels)
        for piece in backend.pieces(*panel.window[:2], panel.steps, every)
    )
    workers = backend.workers(every)

    def run(part: tuple[int, Piece]) -> None:
        number, (rows, columns) = part
        runs[number](images[number], rows, columns)
        if not is_known_finite(panels[number].scene, machine.precision):
            check_brightness(images[number][slice(*rows), slice(*columns)], machine.precision)

    run_pieces(run, chains, workers, lambda part: report(part[0], pixels_of(part[1])))
    return image


def of_one(progress: Progress, number: int, count: int) -> Progress:
    """The progress of one of several images that are computed one after another."""
    return lambda done, total: progress(number * total + done, count * total)


def warn_beyond_pairs(built_scene: Scene, precision: str) -> None:
    """Warn of a crystal that is so large that pairs of float32 do not keep the promised precision (G1)."""
    if precision == "paired":
        cells, index = scene.fringes(built_scene)
        excess = cells * index / MOST_FRINGES_IN_PAIRS
        if excess > 1.0:
            size = f"at {cells:.3g} cells along an edge and Miller indices of up to {index:.3g}"
            error = f"errors of pixels may be {excess:.2g} times those promised, 1e-5 of a pixel and 1e-7 of the largest"
            warnings.warn(f"precision paired: {size} {error}; precision mixed keeps the promise", stacklevel=3)


def is_known_finite(built: Scene, precision: str) -> bool:
    """Whether no pixel can be too bright for a number: of a scene that is culled, without background (setup/scene.py:culled).

    Most of its pixels are dark, and memory that nothing was written to need not be read.
    """
    return precision == "double" and is_culled(built) and built.beam.background_once + built.beam.background_each == 0.0


def check_brightness(part: np.ndarray, precision: str) -> None:
    """Raise InputError if a pixel of a part of an image is too bright for the precision."""
    with np.errstate(over="ignore"):  # the sum of finite pixels may be too large for a number
        total = part.sum()
    if not np.isfinite(total) and not np.isfinite(of_float32(part, precision)).all():
        raise InputError("beam.fluence or structure_factors.F: a pixel is too bright for a number; allowed: smaller values")


def of_float32(values: np.ndarray, precision: str) -> np.ndarray:
    """The same values of an image or of its derivative. Raises InputError if one of them was too large for float32 (G1)."""
    if precision != "double" and not np.isfinite(values).all():
        reason = "a pixel, or its derivative, is too large for float32"
        raise InputError(f"precision {precision!r}: {reason}; allowed: precision double")
    return values
