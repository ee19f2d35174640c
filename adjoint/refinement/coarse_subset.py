"""The part of a refinement that a coarse phase sees: what says where spots are, on a leash, and scale and background (R7)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from adjoint.parameters import parameter_row
from adjoint.refinement.frames import Frame, start_of
from adjoint.refinement.phases import Coarse, Phase, prepared, spot_widths
from adjoint.refinement.unknowns import Unknowns, bounds_of, unknowns

LEASH, REACH = 5.0, 20.0
"""Widths of a spot: how far a parameter strays from where a phase begins until that weighs as much as one standard deviation,
and how far it goes at most (R7)."""

MORE_WATER = (1e-2, 1e6)
"""How many times the light of the water is taken at least and at most that a phase has found: without any it would not move."""


class Part(NamedTuple):
    """Coarse frames, unknowns, bounds, restraints and start of a phase; places of its numbers, and those of the refinement.

    flat: photons of the water that are among the background of its frames.
    """

    coarse: list[Coarse]
    unknowns: Unknowns
    bounds: tuple[np.ndarray, np.ndarray]
    restraints: tuple[np.ndarray, np.ndarray]
    start: np.ndarray
    here: np.ndarray
    there: np.ndarray
    flat: float

    @property
    def frames(self) -> list[Frame]:
        """What its loss is of."""
        return [each.above(self.flat) for each in self.coarse]

    def merged(self, whole: Unknowns, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """The numbers x of a refinement with those that the part has found, y.

        A fluence follows the scale, and an amount of water the light that the water has, with that of a background that is
        not refined.
        """
        full, y = x.copy(), self.unknowns.added(y, "image.background", -self.flat)
        full[self.there] = y[self.here]
        blocks = {block.column.key: block for block in whole.blocks}
        values, frames = self.unknowns.by_name(y), len(self.coarse)
        scale, below = (np.broadcast_to(values[name], frames) for name in ("image.scale", "image.background"))
        photons = scale if "image.scale" in blocks else np.array([each.scale for each in self.coarse])
        if "beam.fluence" in blocks:
            more = scale / photons
            photons = scale
            full[whole.span(blocks["beam.fluence"])] *= more if blocks["beam.fluence"].own else np.mean(more)
        if "background.water_um" in blocks:
            excess = np.zeros(frames) if "image.background" in blocks else below - [each.below for each in self.coarse]
            more = np.array([each.times(light) for each, light in zip(self.coarse, excess)]) / photons
            full[whole.span(blocks["background.water_um"])] *= np.cbrt(np.clip(np.mean(more), *MORE_WATER))
        return full


def part_of(frames: list[Frame], whole: Unknowns, bounds, restraints, x: np.ndarray, phase: Phase) -> Part:
    """The part of a refinement for a phase, from the numbers x that it stands at."""
    moving = [name for name in whole.parameters if parameter_row(name).moves_spots]
    image = ["image.scale", "image.background"] + [name for name in whole.image if name.startswith("image.background_")]
    shared = {block.column.key for block in whole.blocks if not block.own}
    own = [name for name in [*(n if isinstance(n, str) else n[0] for n in moving), *image] if name not in shared]
    vectors = [x[whole.places(number)] for number in range(len(frames))]
    experiments = [frame.split(vector)[0] for frame, vector in zip(frames, vectors)]
    refined = unknowns(experiments, [*moving, *image], own)
    coarse = [prepared(frame, vector, phase, moving, image) for frame, vector in zip(frames, vectors)]
    flat = min(each.least for each in coarse)
    start = start_of([each.above(flat) for each in coarse], refined)
    here, there = _common(refined, whole)
    low, high = bounds_of(refined, None)
    target, weight = start.copy(), np.zeros(refined.count)
    low[here], high[here], target[here], weight[here] = (a[there] for a in (*bounds, *restraints))
    low, high, target = (refined.added(values, "image.background", flat) for values in (low, high, target))
    target = np.where(weight > 0.0, target, start)
    for number, (frame, experiment) in enumerate(zip(frames, experiments)):
        widths = spot_widths(experiment, moving, frame.machine)
        place = refined.places(number)[: len(widths)]
        low[place] = np.maximum(low[place], start[place] - REACH * widths)
        high[place] = np.minimum(high[place], start[place] + REACH * widths)
        weight[place] = np.where(weight[place] > 0.0, weight[place], (LEASH * widths) ** -2.0)
    return Part(coarse, refined, (low, high), (target, weight), start, here, there, flat)


def _common(part: Unknowns, whole: Unknowns) -> tuple[np.ndarray, np.ndarray]:
    """The places of the numbers that both have, in each."""
    by_key = {block.column.key: block for block in whole.blocks}
    pairs = [(part.span(block), whole.span(by_key[block.column.key])) for block in part.blocks if block.column.key in by_key]
    return tuple(np.concatenate([np.arange(span.start, span.stop) for span in spans]) for spans in zip(*pairs))
