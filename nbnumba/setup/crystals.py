"""Several crystals in one beam: each as an experiment of its own, whose images add up to that of all (F7d)."""

import dataclasses

from nbnumba.setup import sampling
from nbnumba.statements import Background, Stated


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
