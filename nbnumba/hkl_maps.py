"""Maps of reflections: for each pixel of an image the reflection that gives most of its photons, and its part of them (F15)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from nbnumba import backends
from nbnumba.backends import cpu
from nbnumba.backends.cpu_shares import counter
from nbnumba.backends.pieces import Piece, pixels_of, progress_reporter
from nbnumba.backends.threads import run_pieces, thread_count
from nbnumba.cost import MOST_HOURS, check, hours_granted
from nbnumba.errors import InputError, real, shown
from nbnumba.experiment import Experiment
from nbnumba.setup import scene, structure
from nbnumba.setup.crystals import refuse_contributions
from nbnumba.setup.scene import PanelScene
from nbnumba.setup.sheet import Sheet, sheet_of
from nbnumba.simulate import Progress, render, with_options
from nbnumba.stages.records import Scene, Structure

LEAST_PART = 1e-6
"""Pixels with less than this part of the photons of the brightest one have no reflection, by default."""

AS_IMAGES = 10
"""How many images take as long as a map, about."""

UNKNOWN_DEFECTS = ("oversample_running_sum", "phi_carryover")
"""C's defects in which a pixel is no sum of what its reflections give, or an emulated thread has lattices of its own."""


class HklMap(NamedTuple):
    """Which reflection gives most of the photons of each pixel (F15).

    hkl (slow, fast, 3): its Miller indices, int32; 0 0 0 where share is 0. share (slow, fast): its part of the expected photons
    of the pixel, background included, 0 to 1; 0 where no reflection was looked for, or none gives any. photons (slow, fast):
    the image. All three are like the image: of panels of one shape they have an axis of panels in front, and of panels of
    different shapes they are lists.
    """

    hkl: np.ndarray
    share: np.ndarray
    photons: np.ndarray


def hkl_map(
    experiment: Experiment,
    *,
    least_part: float = LEAST_PART,
    progress: Progress | None = None,
    max_hours: float = MOST_HOURS,
) -> HklMap:
    """The map of reflections of an experiment, over its region and mask (F15).

    Pixels with less than `least_part` of the photons of the brightest one are not looked at. It may take ten times as long as
    the image; progress and max_hours are those of `simulate`. Raises InputError for what simulate refuses, and with C's defects
    phi_carryover and oversample_running_sum.
    """
    experiment, part = with_options(experiment), _part(least_part)
    refuse_defects(experiment)
    refuse_contributions(experiment, "the reflections of pixels")
    check(experiment, backends.CPU, thread_count(), hours_granted(max_hours), images=1 + AS_IMAGES)
    panels, sheet = scene.panel_scenes(experiment), sheet_of(experiment.detector)
    return of_sheet(panels, render(panels, sheet.shape), sheet, part, progress)


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
) -> HklMap:
    """The map of panels whose sheet (slow, fast) of photons is known."""
    bright = (image > 0.0) & (image >= least_part * image.max())
    best, share, known = np.full(image.shape, -1.0), np.zeros(image.shape), _known(panels[0].scene)
    parts = [_Part(panel, bright[panel.place], known) for panel in panels if bright[panel.place].any()]
    report, every = progress_reporter(progress, [part.size for part in parts]), sum(part.all_steps for part in parts)
    chains = ([(number, piece)] for number, part in enumerate(parts) for piece in cpu.pieces(*part.spans, part.steps, every))

    def run(task: tuple[int, Piece]) -> None:
        part = parts[task[0]]
        part.count(best[part.place[0]], share[part.place[0]], *task[1])

    run_pieces(run, chains, cpu.workers(every), lambda task: report(task[0], pixels_of(task[1])))
    return HklMap(*(sheet.image(values) for values in (structure.indices(known, best), share, image)))


class _Part:
    """The bright pixels of a panel."""

    def __init__(self, panel: PanelScene, bright: np.ndarray, known: Structure):
        self.place, self.steps = panel.place, 4 * panel.steps
        self.spans = _span(np.any(bright, axis=1)), _span(np.any(bright, axis=0))
        self.all_steps = self.steps * pixels_of(self.spans)
        self.size = (self.spans[0][1] - self.spans[0][0], self.spans[1][1] - self.spans[1][0])
        self.count = counter(panel.scene, np.ascontiguousarray(bright).astype(np.uint8), known)


def _span(some: ArrayLike) -> tuple[int, int]:
    """The first number that is true, and the number after the last one."""
    numbers = np.flatnonzero(some)
    return int(numbers[0]), int(numbers[-1]) + 1


def _known(built: Scene) -> Structure:
    """A record whose bounds hold all reflections that a scene can reach; it has no amplitudes."""
    reach = 2.0 / float(built.sources.wavelength.min())
    lengths = np.linalg.norm(built.orientations.lattice.reshape(-1, 3, 3), axis=2).max(axis=0)
    most = np.ceil(lengths * reach) + 1.0
    if np.prod(2.0 * most + 1.0) > 2.0**53:
        why = f"Miller indices of up to {most.max():.3g} are too many to tell apart"
        raise InputError(f"crystal.a_A, b_A, c_A: {why}; allowed: smaller cells")
    h, k, l = (float(n) for n in most)
    return Structure(-h, h, -k, k, -l, l, -1.0, np.zeros(1), False, structure.NEVER)
