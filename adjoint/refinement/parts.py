"""The part of a refinement that a coarse stage sees: what says where spots are, on a leash, and scale and background (R7)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from adjoint.refinement.frames import Frame, start_of
from adjoint.refinement.stages import Stage, is_position, prepared, spot_widths
from adjoint.refinement.unknowns import Unknowns, bounds_of, unknowns

LEASH, REACH = 5.0, 20.0
"""Widths of a spot: how far a parameter strays from where a stage begins until that weighs as much as one standard deviation,
and how far it goes at most (R7)."""


class Part(NamedTuple):
    """Frames, unknowns, bounds, restraints and start of a stage; places of its numbers, and those of the refinement."""

    frames: list[Frame]
    found: Unknowns
    bounds: tuple[np.ndarray, np.ndarray]
    restraints: tuple[np.ndarray, np.ndarray]
    start: np.ndarray
    here: np.ndarray
    there: np.ndarray

    def merged(self, whole: Unknowns, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """The numbers x of a refinement with those that the part has found, y; a fluence follows the scale."""
        full = x.copy()
        full[self.there] = y[self.here]
        scale = self.found.by_name(y)["image.scale"]
        for block in whole.blocks:
            if block.column.key == "beam.fluence":
                full[whole.span(block)] *= scale if block.own else np.mean(scale)
        return full


def part_of(frames: list[Frame], whole: Unknowns, bounds, restraints, x: np.ndarray, stage: Stage) -> Part:
    """The part of a refinement for a stage, from the numbers x that it stands at."""
    moving = [name for name in whole.parameters if is_position(name if isinstance(name, str) else name[0])]
    image = ["image.scale", "image.background"] + [name for name in whole.image if name.startswith("image.background_")]
    shared = {block.column.key for block in whole.blocks if not block.own}
    own = [name for name in [*(n if isinstance(n, str) else n[0] for n in moving), *image] if name not in shared]
    vectors = [x[whole.places(number)] for number in range(len(frames))]
    experiments = [at.split(vector)[0] for at, vector in zip(frames, vectors)]
    found = unknowns(experiments, [*moving, *image], own)
    made = [prepared(at, vector, stage, moving, image) for at, vector in zip(frames, vectors)]
    start = start_of(made, found)
    here, there = _common(found, whole)
    low, high = bounds_of(found, None)
    target, weight = start.copy(), np.zeros(found.count)
    low[here], high[here], target[here], weight[here] = (a[there] for a in (*bounds, *restraints))
    target = np.where(weight > 0.0, target, start)
    for number, (at, experiment) in enumerate(zip(frames, experiments)):
        widths = spot_widths(experiment, moving, at.machine)
        place = found.places(number)[: len(widths)]
        low[place] = np.maximum(low[place], start[place] - REACH * widths)
        high[place] = np.minimum(high[place], start[place] + REACH * widths)
        weight[place] = np.where(weight[place] > 0.0, weight[place], (LEASH * widths) ** -2.0)
    return Part(made, found, (low, high), (target, weight), start, here, there)


def _common(part: Unknowns, whole: Unknowns) -> tuple[np.ndarray, np.ndarray]:
    """The places of the numbers that both have, in each."""
    by_key = {block.column.key: block for block in whole.blocks}
    pairs = [(part.span(block), whole.span(by_key[block.column.key])) for block in part.blocks if block.column.key in by_key]
    return tuple(np.concatenate([np.arange(span.start, span.stop) for span in spans]) for spans in zip(*pairs))
