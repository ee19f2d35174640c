"""Several crystals in one beam: each as an experiment of its own, whose images add up to that of all (F7d)."""

import dataclasses
from typing import TypeVar

from nbnumba.errors import InputError
from nbnumba.setup import sampling
from nbnumba.setup.crystal import orient
from nbnumba.setup.panels import planes
from nbnumba.statements import Background, Crystal, Statements

Stated = TypeVar("Stated", bound=Statements)


def all_of(experiment: Statements) -> tuple[Crystal, ...]:
    """Return all crystals of an experiment, the first one first."""
    return (experiment.crystal, *experiment.other_crystals)


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
        tolerance=experiment.sampling.tolerance / len(all_of(experiment)),
        oversample=_most_sub_pixels(experiment) if oversample is None else oversample,
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
        for number, crystal in enumerate(all_of(experiment))
    )


def _most_sub_pixels(experiment: Statements) -> int | tuple[int, ...]:
    """Return the number of sub-pixels along an edge that the largest crystal needs (F1b), for each panel if there are some.

    Raises InputError for more than are chosen by default.
    """
    defects, longest = experiment.sampling.defects, sampling.with_longest(experiment)
    every, vectors = planes(experiment.detector, experiment.beam, defects), orient(longest.crystal, defects)
    numbers = [sampling.usual(sampling.recommended_oversample(longest, plane, vectors), plane) for plane in every]
    return tuple(numbers) if experiment.detector.panels else numbers[0]


def refuse_several(experiment: Statements, what: str) -> None:
    """Raise InputError for what is made for one crystal at a time, where an experiment has several."""
    if experiment.other_crystals:
        count = len(all_of(experiment))
        allowed = "one crystal at a time, of Experiment.alone(number)"
        raise InputError(f"other_crystals: {what} of {count} crystals are not known; allowed: {allowed}")
