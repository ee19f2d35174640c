"""Maps of reflections: for each pixel the reflection and the crystal that give most of its photons, and their part (F15)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from nbnumba import backends
from nbnumba.backends import CPU, Machine, driver, driver_of_shares
from nbnumba.backends.pieces import Piece, pixels_of, progress_reporter
from nbnumba.backends.threads import run_pieces, thread_count
from nbnumba.cost import MOST_HOURS, check, hours_granted
from nbnumba.errors import InputError, real, shown
from nbnumba.experiment import Experiment
from nbnumba.setup import scene, structure
from nbnumba.setup.crystals import refuse_displaced
from nbnumba.setup.scene import PanelScene
from nbnumba.setup.sheet import Sheet, sheet_of
from nbnumba.simulate import Progress, of_one, render, with_options
from nbnumba.stages.records import Scene, Structure

LEAST_PART = 1e-6
"""Pixels with less than this part of the photons of the brightest one have no reflection, by default."""

AS_IMAGES = 10
"""How many images take as long as a map, about."""

UNKNOWN_DEFECTS = ("oversample_running_sum", "phi_carryover")
"""C's defects in which a pixel is no sum of what its reflections give, or an emulated thread has lattices of its own."""


class HklMap(NamedTuple):
    """Which reflection, and which crystal, gives most of the photons of each pixel (F15).

    hkl (slow, fast, 3): its Miller indices, int32; 0 0 0 where share is 0. share (slow, fast): its part of the expected photons
    of the pixel, those of all crystals and of the background, 0 to 1; 0 where no reflection was looked for, or none gives any.
    photons (slow, fast): the image. crystal (slow, fast): the number of its crystal, int32; -1 where share is 0. All are like
    the image: of panels of one shape they have an axis of panels in front, and of panels of different shapes they are lists.
    """

    hkl: np.ndarray
    share: np.ndarray
    photons: np.ndarray
    crystal: np.ndarray


def hkl_map(
    experiment: Experiment,
    *,
    backend: str = "cpu",
    least_part: float = LEAST_PART,
    progress: Progress | None = None,
    max_hours: float = MOST_HOURS,
) -> HklMap:
    """The map of reflections of an experiment, over its region and mask (F15).

    Pixels with less than `least_part` of the photons of the brightest one are not looked at. It may take ten times as long as
    the image; backend, progress and max_hours are those of `simulate`, the precision is double. Raises InputError for what
    simulate refuses, and with C's defects phi_carryover and oversample_running_sum.
    """
    machine = backends.machine(backend, "double")
    experiment, part = with_options(experiment), _part(least_part)
    refuse_defects(experiment)
    refuse_displaced(experiment, "the reflections of pixels")
    check(experiment, machine, thread_count(), hours_granted(max_hours), images=1 + AS_IMAGES)
    panels, sheet = scene.panel_scenes(experiment), sheet_of(experiment.detector)
    return of_sheet(panels, render(panels, sheet.shape, machine=machine), sheet, part, progress, machine)


def refuse_defects(experiment: Experiment) -> None:
    """Raise InputError for defects of C with which there is no map, and for photons that are added (F12a)."""
    for name in ("image", "radial"):
        if getattr(experiment.background, name) is not None:
            raise InputError(f"background.{name}: it is not allowed for a map of reflections; allowed: none")
    for name in UNKNOWN_DEFECTS:
        if getattr(experiment.sampling.defects, name):
            raise InputError(f"sampling.c_parity: {name} is not allowed for a map of reflections; allowed: any other defect")


def _part(least_part: float) -> float:
    try:
        part = float(real(least_part))
    except (TypeError, ValueError, OverflowError):
        part = math.nan
    if not 0.0 <= part <= 1.0:
        raise InputError(f"least_part: {shown(least_part)} is not allowed; allowed: a number from 0 to 1")
    return part


def of_sheet(
    panels: Sequence[PanelScene],
    image: np.ndarray,
    sheet: Sheet,
    least_part: float = LEAST_PART,
    progress: Progress | None = None,
    machine: Machine = CPU,
) -> HklMap:
    """The map of panels whose sheet (slow, fast) of photons is known.

    The sums of one crystal after another are compared. What is once for a pixel is the same for all crystals but the photons of
    an electron^2.
    """
    bright = (image > 0.0) & (image >= least_part * image.max())
    found = brightest(panels, bright, progress, machine)
    return HklMap(*(sheet.image(values) for values in (found.hkl, found.share, image, found.crystal)))


class Brightest(NamedTuple):
    """Of each pixel of a sheet the reflection and the crystal that give most photons, and their share (F15), as in HklMap."""

    hkl: np.ndarray
    share: np.ndarray
    crystal: np.ndarray


def brightest(
    panels: Sequence[PanelScene], bright: np.ndarray, progress: Progress | None = None, machine: Machine = CPU
) -> Brightest:
    """The brightest reflections of those pixels of panels for which `bright` (slow, fast), a sheet, is true.

    The share is that of all photons of the panels: of those of the crystals, if the panels have no background.
    """
    hkl, largest = np.zeros((*bright.shape, 3), dtype=np.int32), np.zeros(bright.shape)
    total, crystal = np.zeros(bright.shape), np.full(bright.shape, -1, dtype=np.int32)
    numbers = sorted({panel.crystal for panel in panels}) if bright.any() else []
    for place, number in enumerate(numbers):
        own = [panel for panel in panels if panel.crystal == number]
        tell = progress if progress is None or len(numbers) == 1 else of_one(progress, place, len(numbers))
        known = known_reflections(own[0].scene)
        best, of_best, of_all = _counted(own, bright, known, tell, machine)
        weight = own[0].scene.beam.photons / panels[0].scene.beam.photons
        brighter = weight * of_best > largest
        hkl[brighter], crystal[brighter] = structure.indices(known, best[brighter]), number
        largest[brighter] = (weight * of_best)[brighter]
        total += weight * of_all
    share = np.divide(largest, total, out=np.zeros(bright.shape), where=largest > 0.0)
    return Brightest(hkl, share, crystal)


def _counted(
    panels: Sequence[PanelScene], bright: np.ndarray, known: Structure, progress: Progress | None, machine: Machine
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What loops/shares.py:count says of the bright pixels of panels under one crystal: best, largest and total."""
    best, largest, total = np.full(bright.shape, -1.0), np.zeros(bright.shape), np.zeros(bright.shape)
    counter, backend = driver_of_shares(machine.backend).counter, driver(machine.backend)
    parts = [_Part(panel, bright[panel.place], known, counter) for panel in panels if bright[panel.place].any()]
    report, every = progress_reporter(progress, [part.size for part in parts]), sum(part.all_steps for part in parts)
    chains = (
        [(number, piece)] for number, part in enumerate(parts) for piece in backend.pieces(*part.spans, part.steps, every)
    )

    def run(task: tuple[int, Piece]) -> None:
        part = parts[task[0]]
        part.count(best[part.place[0]], largest[part.place[0]], total[part.place[0]], *task[1])

    run_pieces(run, chains, backend.workers(every), lambda task: report(task[0], pixels_of(task[1])))
    return best, largest, total


class _Part:
    """The bright pixels of a panel."""

    def __init__(self, panel: PanelScene, bright: np.ndarray, known: Structure, counter: Callable):
        self.place, self.steps = panel.place, 4 * panel.steps
        self.spans = _span(np.any(bright, axis=1)), _span(np.any(bright, axis=0))
        self.all_steps = self.steps * pixels_of(self.spans)
        self.size = (self.spans[0][1] - self.spans[0][0], self.spans[1][1] - self.spans[1][0])
        self.count = counter(panel.scene, np.ascontiguousarray(bright).astype(np.uint8), known)


def _span(some: ArrayLike) -> tuple[int, int]:
    """The first number that is true, and the number after the last one."""
    numbers = np.flatnonzero(some)
    return int(numbers[0]), int(numbers[-1]) + 1


def known_reflections(built: Scene) -> Structure:
    """A record whose bounds hold all reflections that a scene can reach; it has no amplitudes."""
    reach = 2.0 / float(built.sources.wavelength.min())
    lengths = np.linalg.norm(built.orientations.lattice.reshape(-1, 3, 3), axis=2).max(axis=0)
    most = np.ceil(lengths * reach) + 1.0
    if np.prod(2.0 * most + 1.0) > 2.0**53:
        why = f"Miller indices of up to {most.max():.3g} are too many to tell apart"
        raise InputError(f"crystal.a_A, b_A, c_A: {why}; allowed: smaller cells")
    h, k, l = (float(n) for n in most)
    return Structure(-h, h, -k, k, -l, l, -1.0, np.zeros(1), False, structure.NEVER)
