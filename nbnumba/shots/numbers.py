"""The numbers of a frame of a series: its experiment, and the seed of its noise, from (seed, frame) alone (V1 to V3)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from nbnumba.crystal_names import name_of
from nbnumba.errors import InputError
from nbnumba.experiment import Experiment
from nbnumba.geometry.rotations import DEGREES_PER_RADIAN, about_vector, about_xyz, radians
from nbnumba.setup import orientations
from nbnumba.shots.jitter import NO_JITTER, Jitter
from nbnumba.shots.random_numbers import generator, noise_seed, rotation

MISSET = "crystal.misset_deg"


class FrameNumbers(NamedTuple):
    """What a frame is computed from: its number, its experiment, the values that were drawn by name, the seed of its noise."""

    frame: int
    experiment: Experiment
    values: Mapping[str, float]
    noise_seed: int


@dataclass(frozen=True)
class Series:
    """A series of images: an experiment, how its frames differ from it, and the seed of what is drawn."""

    experiment: Experiment
    jitter: Jitter = NO_JITTER
    seed: int = 0

    @property
    def width_deg(self) -> float:
        """The width of a frame in phi; 0 for stills."""
        return orientations.phi_steps(self.experiment.goniometer)[2]

    def nominal(self, frame: int) -> Experiment:
        """The experiment of a frame without jitter: phi advances by the width of a frame, from frame 1 on (V1)."""
        start, width = self.experiment.goniometer.phi_deg, self.width_deg
        if width == 0.0 or frame == 1:
            return self.experiment
        return self.experiment.replace({"goniometer.phi_deg": start + (frame - 1) * width})

    def numbers(self, frame: int) -> FrameNumbers:
        """The numbers of a frame. Raises InputError, with the frame, the parameter and its value, for what is impossible."""
        nominal = self.nominal(frame)
        drawn = self.jitter.draw(nominal, self.seed, frame)
        turned = self._missetting(nominal, frame)
        try:
            experiment = nominal.replace(drawn | turned) if drawn or turned else nominal
        except InputError as error:
            raise InputError(_refusal(nominal, drawn, frame, error)) from None
        values = dict(drawn)
        for name, angles in turned.items():
            values |= {f"{name.removesuffix('_deg')}_{axis}_deg": angle for axis, angle in zip("xyz", angles)}
        return FrameNumbers(frame, experiment, values, noise_seed(self.seed, frame))

    def _missetting(self, experiment: Experiment, frame: int) -> dict[str, tuple[float, float, float]]:
        """The missetting angles of each crystal in a frame, by name; none where the orientation has no distribution (V3)."""
        if self.jitter.orientation is None:
            return {}
        angles = {}
        for number in range(len(experiment.crystals)):
            name = name_of(number, MISSET)
            deviates = generator(self.seed, frame, "orientation", name)
            if self.jitter.orientation == "uniform":
                turned = rotation(deviates)
            else:
                turn = radians(self.jitter.orientation_deg) * deviates.standard_normal(3)
                turned = about_vector(turn) @ about_xyz(experiment.value(name))
            angles[name] = angles_about_xyz(turned)
        return angles


def angles_about_xyz(turned: np.ndarray) -> tuple[float, float, float]:
    """The angles in degree about x, then y, then z, whose rotation is a matrix (3, 3): the inverse of about_xyz."""
    about_y = math.atan2(-turned[2, 0], math.hypot(turned[0, 0], turned[1, 0]))
    about_x, about_z = math.atan2(turned[2, 1], turned[2, 2]), math.atan2(turned[1, 0], turned[0, 0])
    x, y, z = (angle * DEGREES_PER_RADIAN for angle in (about_x, about_y, about_z))
    return x, y, z


def _refusal(nominal: Experiment, drawn: Mapping[str, float], frame: int, error: InputError) -> str:
    """A sentence on what an experiment does not allow: the frame, and the first parameter that it refuses, with its value."""
    for name, value in drawn.items():
        try:
            nominal.replace({name: value})
        except InputError as own:
            return f"jitter, frame {frame}: {name} = {value:.9g}: {own}"
    return f"jitter, frame {frame}: {', '.join(f'{name} = {value:.9g}' for name, value in drawn.items())}: {error}"
