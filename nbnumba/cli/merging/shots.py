"""The shots of a merging: stills, or images of rotations, of lists of experiments, each with its experiment and its file."""

from __future__ import annotations

import copy
import os
import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from nbnumba.cli.refine_series import stills
from nbnumba.cli.refine_series.input import (
    Chosen,
    Readout,
    Setup,
    choose,
    counts_of,
    is_still,
    read_image,
    set_up,
    with_raised_spreads,
)
from nbnumba.errors import InputError
from nbnumba.experiment import Experiment
from nbnumba.formats import dxtbx

OF_ROTATIONS = ("images", "knots", "own", "shared")
"""Options of refine --expt that merge does not have."""

SAME_A = 0.01
"""Vectors of a cell that differ by less, in A, are those of the same crystal."""


class ShotFile(NamedTuple):
    """A shot as it is read: its file, the experiment that says which pixels it has, and what options say of them.

    Calling it gives what was measured, NaN where a pixel holds no measurement: (slow, fast), or one array for each panel.
    """

    name: str
    experiment: Experiment
    readout: Readout
    option: str

    def __call__(self) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # the first shot was read where warnings are shown
            return self.read()

    def read(self) -> Any:
        """The image, with warnings. Raises InputError for a file that does not fit."""
        return counts_of(read_image(*self))


class Source(NamedTuple):
    """Where a shot is from: its list and what this is called, the experiment there, the number of the image, and its file."""

    chosen: Chosen
    list_name: str
    number: int
    file: str

    @property
    def name(self) -> str:
        """What the shot is called, which no other one is: the list, the number of the experiment in it, and the image."""
        return f"{self.list_name}, experiment {self.chosen.number}, {os.path.basename(self.file)}"


class Shots(NamedTuple):
    """All shots: where they are from, their experiments at the start, and the first one's setup. left_out: lines of text."""

    sources: list[Source]
    experiments: list[Experiment]
    first: Setup
    left_out: list[str]


class Form(NamedTuple):
    """What to merge: space group, of gemmi; crystal system, and why; cell; finest resolution; what each shot has of its own."""

    group: Any
    system: tuple[str, str]
    cell: tuple[float, float, float, float, float, float]
    resolution_A: float
    parameters: list[Any]


def read_shots(options: Any, flags: Sequence[str]) -> Shots:
    """The shots of the lists of --shots. Raises InputError for lists and images that are not there, or not of one hand."""
    sources: list[Source] = []
    experiments: list[Experiment] = []
    first: Setup | None = None
    left_out: list[str] = []
    names = _names(options.shots)
    if options.data is not None and len(options.shots) > 1:
        what = f"{len(options.shots)} lists name images of their own"
        raise InputError(f"--data: it is not allowed, because {what}; allowed: one list beside it")
    for path in options.shots:
        of_list = copy.copy(options)
        of_list.expt, of_list.experiment, of_list.experiments = path, None, None
        for name in OF_ROTATIONS:
            setattr(of_list, name, None)
        try:
            chosen, lost = _chosen(of_list)
        except InputError as error:
            raise InputError(str(error).replace("--expt:", "--shots:", 1)) from None
        left_out += [line.replace("--expt:", "--shots:", 1) for line in lost]
        for one in chosen:
            _check_cell(one)
            of_list.experiment = None if one.is_still else one.number
            with warnings.catch_warnings():
                if first is not None:
                    warnings.simplefilter("ignore", UserWarning)  # those of the first shot, once more
                setup = set_up(one, of_list, flags)
            first = first or setup
            for image, experiment in zip(one.images, setup.experiments):
                sources.append(Source(one, names[path], int(image.number or 0), image.name))
                experiments.append(experiment)
    assert first is not None
    _check_once(sources)
    return Shots(sources, experiments, first, left_out)


def _check_cell(chosen: Chosen) -> None:
    """Raise InputError for a left-handed cell, by which reflections of a shot would be taken for their Friedel mates."""
    crystal = chosen.geometry.crystal
    if crystal is not None and np.linalg.det(crystal.vectors) < 0.0:
        what = f"experiment {chosen.number} of {chosen.path!r} has the vectors of a left-handed cell"
        raise InputError(f"--shots: {what}; allowed: right-handed ones, as with -a, -b, -c and -h, -k, -l in their place")


def _names(paths: Sequence[str]) -> dict[str, str]:
    """What lists are called: the names of their files, with folders where two have the same name."""
    files = [os.path.basename(path) for path in paths]
    return {path: path if files.count(file) > 1 else file for path, file in zip(paths, files)}


def _chosen(options: Any) -> tuple[list[Chosen], list[str]]:
    """The experiments of a list that are merged, and lines about those that are left out: its stills, or all its rotations.

    Raises InputError for a list that has both, and for --data beside several rotations.
    """
    count = dxtbx.number_of_experiments(options.expt, "--expt")
    if is_still(dxtbx.read(options.expt, "--expt", 0)):
        found = stills.choose(options)
        assert found is not None, "the first experiment is a still"
        return found[0], [stills.left_out_line(one) for one in found[1]]
    if count > 1 and options.data is not None:
        what = f"{options.expt!r} has {count} rotations, whose images are those that it names"
        raise InputError(f"--data: {what}; allowed: a list of stills, or of one rotation")
    chosen = []
    for number in range(max(count, 1)):
        if is_still(dxtbx.read(options.expt, "--expt", number)):
            what = f"experiment {number} of {options.expt!r} is a still, and others are rotations"
            raise InputError(f"--expt: {what}; allowed: either in a list")
        of_one = copy.copy(options)
        of_one.experiment = number
        chosen.append(choose(of_one))
    return chosen, []


def _check_once(sources: Sequence[Source]) -> None:
    """Raise InputError for a shot that is there twice, which would count as two: the same crystal on the same image."""
    of_image: dict[str, list[Source]] = {}
    for source in sources:
        folder, name = os.path.split(source.file)
        others = of_image.setdefault(os.path.join(os.path.realpath(folder), name), [])
        for other in others:
            own, known = (one.chosen.geometry_of_middle.crystal for one in (source, other))
            if own is not None and known is not None and np.abs(own.vectors - known.vectors).max() < SAME_A:
                what = f"{source.name} is {other.name} once more, the same crystal on the same image"
                raise InputError(f"--shots: {what}; allowed: each once")
        others.append(source)


def with_raised(shots: Shots, parameters: Sequence[Any]) -> Shots:
    """The shots in which refined spreads that are 0 begin above it, as those of a series do."""
    raised = with_raised_spreads(shots.first._replace(experiments=shots.experiments), parameters)
    return shots._replace(experiments=raised.experiments, first=shots.first._replace(raised=raised.raised))


def median_cell(experiments: Sequence[Experiment]) -> tuple[float, float, float, float, float, float]:
    """The median of each number of the cells of shots, in A and degrees; numbers that all have alike stay what they are."""
    a, b, c, alpha, beta, gamma = np.median([experiment.crystal.cell for experiment in experiments], axis=0).tolist()
    return a, b, c, alpha, beta, gamma
