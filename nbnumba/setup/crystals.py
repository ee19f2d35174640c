"""What adds up to an image: crystals, displaced ones at each phi step by themselves, and the background (F7d, F7e)."""

import dataclasses
from collections.abc import Collection, Iterator
from typing import NamedTuple

import numpy as np

from nbnumba.errors import InputError
from nbnumba.geometry.rotations import about_axis, cross
from nbnumba.setup import orientations, sampling
from nbnumba.setup.background import has_shares, without_background
from nbnumba.setup.detector import spindle_axis
from nbnumba.statements import Background, Crystal, Goniometer, Stated, Statements, StructureFactors

BACKGROUND = -1
"""The number of the crystal of a contribution that is the background alone."""

ON_SPINDLE = 1e-12
"""The distance from the spindle, as a part of that from the origin, up to which it is rounding."""

NOTHING = StructureFactors(hkl=np.zeros((1, 3)), F=np.zeros(1), interpolate=False)
"""Structure factors of a crystal that scatters nothing."""


class Contribution(NamedTuple):
    """What one scene of each panel gives to an image; all contributions add up to the image (F7d, F7e).

    experiment: a crystal alone. crystal: its number, or BACKGROUND for that of the background alone, of an experiment whose
    crystal scatters nothing. phi_step: the number of the only phi step that counts, of those of the experiment; None where all
    count. position: of the crystal there, in m.
    """

    experiment: Statements
    crystal: int = 0
    phi_step: int | None = None
    position: np.ndarray = np.zeros(3)

    @property
    def is_first(self) -> bool:
        """Whether it is the first contribution of its crystal."""
        return self.phi_step in (None, 0)

    @property
    def phi_steps(self) -> list[int]:
        """The numbers of the phi steps that count."""
        count = orientations.phi_steps(self.experiment.goniometer)[0]
        return list(range(count)) if self.phi_step is None else [self.phi_step]


def contributions(experiment: Statements, moved: Collection[int] = ()) -> tuple[Contribution, ...]:
    """Return those of an image: one for each crystal, and for each phi step of a crystal that the spindle moves (F7d, F7e).

    moved: numbers of crystals whose position is to change, also where it is 0. The background is one of its own, the last
    one, where the first crystal is displaced. Raises InputError as each_alone.
    """
    each = each_alone(experiment)
    displaced = [alone.crystal.is_displaced or number in moved for number, alone in enumerate(each)]
    if not any(displaced):
        return tuple(Contribution(alone, number) for number, alone in enumerate(each))
    if experiment.sampling.oversample is None:  # the same for all; each_alone has stated it for several crystals
        each = tuple(_with_oversample(alone, sampling.usual_oversample(experiment)) for alone in each)
    found: list[Contribution] = []
    for number, alone in enumerate(each):
        found += _by_phi_steps(alone, number, number in moved) if displaced[number] else [Contribution(alone, number)]
    if displaced[0] and _has_material(experiment):
        found.append(background_alone(each[0]))
    return tuple(found)


def number_alone(experiment: Statements) -> int:
    """Return the number of contributions to an image of one crystal."""
    if not experiment.crystal.is_displaced:
        return 1
    steps = orientations.phi_steps(experiment.goniometer)[0] if is_moved_by_phi(experiment) else 1
    return steps + _has_material(experiment)


def is_moved_by_phi(experiment: Statements) -> bool:
    """Whether the first crystal is in several places: off the spindle, with several phi steps (F7e)."""
    position = np.array(experiment.crystal.position_mm)
    off_spindle = float(np.linalg.norm(cross(_spindle(experiment), position)))
    return orientations.phi_steps(experiment.goniometer)[0] > 1 and off_spindle > ON_SPINDLE * float(np.linalg.norm(position))


def _has_material(experiment: Statements) -> bool:
    """Whether there is water, air or ice in the beam, whose light kernels compute."""
    return experiment.background.water_um > 0.0 or has_shares(experiment.background)


def _spindle(experiment: Statements) -> np.ndarray:
    """Return the unit vector along the spindle."""
    return spindle_axis(experiment.detector, experiment.goniometer.spindle_axis)


def _with_oversample(experiment: Stated, oversample: int | tuple[int, ...]) -> Stated:
    """Return the experiment with a stated number of sub-pixels."""
    return dataclasses.replace(experiment, sampling=dataclasses.replace(experiment.sampling, oversample=oversample))


def _by_phi_steps(alone: Statements, number: int, is_moved: bool) -> Iterator[Contribution]:
    """Yield the contributions of a displaced crystal: one, where the spindle does not move it, or one for each phi step (F7e).

    is_moved: whether its position is to change.
    """
    dry, start = without_background(alone), np.array(alone.crystal.position_mm) / 1000.0
    spindle, angles = _spindle(alone), orientations.phi_angles(alone.goniometer)
    splits = len(angles) > 1 and (is_moved or is_moved_by_phi(alone))
    for step, angle in enumerate(angles if splits else angles[:1]):
        yield Contribution(dry, number, step if splits else None, about_axis(spindle, angle) @ start)


def phi_rotation(experiment: Statements, step: int) -> np.ndarray:
    """Return the rotation (3, 3) about the spindle at a phi step (F7b)."""
    return about_axis(_spindle(experiment), orientations.phi_angles(experiment.goniometer)[step])


def background_alone(alone: Statements) -> Contribution:
    """Return the background alone: the crystal of its experiment scatters nothing, in one orientation (F7e)."""
    still = Goniometer(spindle_axis=alone.goniometer.spindle_axis)
    alone = dataclasses.replace(alone, crystal=Crystal(alone.crystal.a_A), structure_factors=NOTHING, goniometer=still)
    return Contribution(alone, BACKGROUND)


def each_alone(experiment: Stated) -> tuple[Stated, ...]:
    """Return an experiment for each crystal, in which it is the only one. Their images add up to that of all (F7d).

    The first one has the background. Each may lack its part of the tolerance, and all have as many sub-pixels, those of the
    crystal that needs most where no number is stated. One crystal is the experiment itself. Raises InputError for more
    sub-pixels than are chosen by default.
    """
    if not experiment.other_crystals:
        return (experiment,)
    oversample = experiment.sampling.oversample
    shared = dataclasses.replace(
        experiment.sampling,
        tolerance=experiment.sampling.tolerance / len(experiment.crystals),
        oversample=sampling.usual_oversample(experiment) if oversample is None else oversample,
    )
    return tuple(
        dataclasses.replace(
            experiment,
            crystal=crystal,
            other_crystals=(),
            structure_factors=crystal.structure_factors or experiment.structure_factors,
            background=Background() if number else experiment.background,
            sampling=shared,
        )
        for number, crystal in enumerate(experiment.crystals)
    )


def refuse_displaced(experiment: Statements, what: str) -> None:
    """Raise InputError for what all contributions must have the same pixels for, where an image has several (F7e)."""
    displaced = [crystal for crystal in experiment.crystals if crystal.is_displaced]
    if displaced and (experiment.other_crystals or number_alone(experiment) > 1):
        numbers = " ".join(f"{x:g}" for x in displaced[0].position_mm)
        if experiment.other_crystals:
            why, allowed = f"{what} of several crystals, of which one is displaced, are not known", "0 0 0, or one crystal"
        else:
            why = f"{what} of a crystal that the spindle moves, or that has a background, are not known"
            allowed = "0 0 0, or without background one phi step, or a position along the spindle"
        raise InputError(f"crystal.{', '.join(Crystal.POSITION)}: {numbers}: {why}; allowed: {allowed}")
