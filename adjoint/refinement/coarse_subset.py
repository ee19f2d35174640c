"""The subset of a refinement that a coarse phase sees: the parameters that move spots, and scale and background (R7)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from adjoint.refinement.coarse_frame import CoarseFrame, coarse_frame
from adjoint.refinement.frames import Frame, start_of
from adjoint.refinement.phases import Phase
from adjoint.refinement.spot_widths import spot_widths
from adjoint.refinement.unknowns import Unknowns, bounds_of, unknowns
from adjoint.variables import parameter_row

LEASH, REACH = 5.0, 20.0
"""Widths of a spot: the sigma of the restraint that holds a parameter near the start of a phase, and how far from the start
its bounds are (R7)."""

MORE_WATER = (1e-2, 1e6)
"""The smallest and the largest factor by which the light of the water changes in a phase: at 0 it would not move any more."""


class CoarseSubset(NamedTuple):
    """What a coarse phase refines: its frames, unknowns, bounds, restraints and start, and their indices in the refinement.

    bounds: the least and the largest value of each number of the subset (n,). restraints: the value that each number is drawn
    to, and the weight. shared: indices, in the subset, of the numbers that the refinement has too; shared_in_refinement: the
    indices of the same numbers in the refinement. flat: photons per pixel of the water that are counted as background.
    """

    coarse_frames: list[CoarseFrame]
    unknowns: Unknowns
    bounds: tuple[np.ndarray, np.ndarray]
    restraints: tuple[np.ndarray, np.ndarray]
    start: np.ndarray
    shared: np.ndarray
    shared_in_refinement: np.ndarray
    flat: float

    @property
    def frames(self) -> list[Frame]:
        """The frames that its loss is summed over."""
        return [coarse.frame_without_water(self.flat) for coarse in self.coarse_frames]

    def merged(self, refined: Unknowns, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """The numbers x of the refinement (n,), updated with the numbers y that the phase has found.

        A fluence follows the scale. An amount of water follows the light of the water, and that of a background that is not
        refined.
        """
        full, y = x.copy(), self.unknowns.with_added(y, "image.background", -self.flat)
        full[self.shared_in_refinement] = y[self.shared]
        blocks = {block.variable.key: block for block in refined.blocks}
        values, frames = self.unknowns.by_name(y), len(self.coarse_frames)
        scale, background = (np.broadcast_to(values[name], frames) for name in ("image.scale", "image.background"))
        photons = scale if "image.scale" in blocks else np.array([coarse.scale for coarse in self.coarse_frames])
        if "beam.fluence" in blocks:
            factor = scale / photons
            photons = scale
            full[refined.span(blocks["beam.fluence"])] *= factor if blocks["beam.fluence"].own else np.mean(factor)
        if "background.water_um" in blocks:
            excess = np.zeros(frames)
            if "image.background" not in blocks:
                excess = background - [coarse.background for coarse in self.coarse_frames]
            lights = [coarse.water_factor_with(light) for coarse, light in zip(self.coarse_frames, excess)]
            factor = np.array(lights) / photons
            full[refined.span(blocks["background.water_um"])] *= np.cbrt(np.clip(np.mean(factor), *MORE_WATER))
        return full


def coarse_subset(
    frames: list[Frame],
    refined: Unknowns,
    *,
    bounds: tuple[np.ndarray, np.ndarray],
    restraints: tuple[np.ndarray, np.ndarray],
    x: np.ndarray,
    phase: Phase,
) -> CoarseSubset:
    """The subset of a refinement that a phase refines, from the numbers x of the refinement (n,) where the phase begins (R7).

    bounds and restraints are those of the refinement. Raises InputError where an image is too bright.
    """
    moving = [name for name in refined.parameters if parameter_row(name).moves_spots]
    image = ["image.scale", "image.background"] + [name for name in refined.image if name.startswith("image.background_")]
    one_for_all = {block.variable.key for block in refined.blocks if not block.own}
    own = [name for name in [*(n if isinstance(n, str) else n[0] for n in moving), *image] if name not in one_for_all]
    vectors = [x[refined.indices_of(number)] for number in range(len(frames))]
    experiments = [frame.split(vector)[0] for frame, vector in zip(frames, vectors)]
    subset = unknowns(experiments, [*moving, *image], own)
    coarse_frames = [coarse_frame(frame, vector, phase, moving, image) for frame, vector in zip(frames, vectors)]
    flat = min(coarse.least_water for coarse in coarse_frames)
    start = start_of([coarse.frame_without_water(flat) for coarse in coarse_frames], subset)
    shared, shared_in_refinement = _shared(subset, refined)
    low, high = bounds_of(subset, None)
    restrained, weight = start.copy(), np.zeros(subset.count)
    low[shared], high[shared] = (bound[shared_in_refinement] for bound in bounds)
    restrained[shared], weight[shared] = (values[shared_in_refinement] for values in restraints)
    low, high, restrained = (subset.with_added(values, "image.background", flat) for values in (low, high, restrained))
    restrained = np.where(weight > 0.0, restrained, start)
    for number, (frame, experiment) in enumerate(zip(frames, experiments)):
        widths = spot_widths(experiment, moving, frame.machine)
        indices = subset.indices_of(number)[: len(widths)]
        low[indices] = np.maximum(low[indices], start[indices] - REACH * widths)
        high[indices] = np.minimum(high[indices], start[indices] + REACH * widths)
        weight[indices] = np.where(weight[indices] > 0.0, weight[indices], (LEASH * widths) ** -2.0)
    return CoarseSubset(
        coarse_frames=coarse_frames,
        unknowns=subset,
        bounds=(low, high),
        restraints=(restrained, weight),
        start=start,
        shared=shared,
        shared_in_refinement=shared_in_refinement,
        flat=flat,
    )


def _shared(subset: Unknowns, refined: Unknowns) -> tuple[np.ndarray, np.ndarray]:
    """The indices, in the subset and in the refinement, of the numbers that both have."""
    by_key = {block.variable.key: block for block in refined.blocks}
    both = [(block, by_key[block.variable.key]) for block in subset.blocks if block.variable.key in by_key]
    pairs = [(subset.span(block), refined.span(refined_block)) for block, refined_block in both]
    return tuple(np.concatenate([np.arange(span.start, span.stop) for span in spans]) for spans in zip(*pairs))
