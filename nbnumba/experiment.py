"""Experiment: all the statements that determine an image, with parameters that are read and replaced by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nbnumba import resolved
from nbnumba.setup import values as parameters
from nbnumba.statements import Statements


@dataclass(frozen=True, eq=False, repr=False)
class Experiment(Statements):
    """Everything that determines an image, bit for bit. Experiments are equal where their parts are, number by number."""

    def __repr__(self) -> str:
        return "\n".join(["Experiment", *resolved.lines(resolved.brief(self))])

    def _repr_html_(self) -> str:
        return resolved.as_html(resolved.quantities(self))

    @classmethod
    def from_args(cls, args: Sequence[str | float] | str) -> Experiment:
        """The experiment that nanoBragg's flags describe, by the parser of the command line.

        args: the words of a command line, among which numbers and paths may stand as they are; or the line itself, which is
        cut into words as a shell does. Raises InputError for what the command line would refuse, and for flags that name files
        to be written.
        """
        # The one import upwards: flags make experiments, and users look for this function here. It waits for its first call.
        from nbnumba.flags.to_experiment import experiment_from_args

        return experiment_from_args(args)

    def value(self, name: str) -> Any:
        """The value of a parameter such as "detector.distance_mm", as the image is computed from it.

        Raises InputError for an unknown name.
        """
        return parameters.value(self, name)

    def replace(self, values: Mapping[str, Any]) -> Experiment:
        """A new experiment with some parameters changed, by the names of `value`.

        A quantity that can be stated in several forms is stated in the new one alone: detector.xbeam_mm, for instance,
        replaces whatever said where the beam is along that axis. Raises InputError for an unknown name or a bad value.
        """
        return parameters.with_values(self, values)
