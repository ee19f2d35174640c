"""Experiment: all the statements that determine an image, with parameters that are read and replaced by name."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nbnumba import from_geometry, resolved
from nbnumba.errors import InputError, shown
from nbnumba.formats import dxtbx
from nbnumba.formats.geometry import Geometry
from nbnumba.setup import crystals
from nbnumba.setup import values as parameters
from nbnumba.statements import Crystal, Statements, StructureFactors


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

    @classmethod
    def from_geometry(
        cls,
        geometry: Geometry,
        image: int | None = None,
        structure_factors: StructureFactors | None = None,
        crystal: Crystal | None = None,
    ) -> Experiment:
        """The experiment that a file of geometry describes (nbnumba.read_geometry): detector, beam, rotation and crystal.

        image: the number of an image of its scan. structure_factors: by default every reflection has an amplitude of 1
        electron, which serves for everything but intensities. crystal: in place of the one in the file. Warns of what the file
        states and the image will not have. Raises InputError for an image that the file lacks, if several are there and none
        is chosen, and for what it does not state.
        """
        chosen = geometry.at_image(image)
        for sentence in from_geometry.remarks(chosen):
            warnings.warn(f"{geometry.source!r} {sentence}", stacklevel=2)
        for field, value in (from_geometry.response_fields(chosen) if chosen.panels else {}).items():
            why = f"which is no part of an experiment: nbnumba.Response({field}={value:g}) has it"
            warnings.warn(f"{geometry.source!r} states a {field} of {value:g}, {why}", stacklevel=2)
        return cls(
            crystal=from_geometry.crystal(chosen) if crystal is None else crystal,
            structure_factors=StructureFactors(default_F=1.0) if structure_factors is None else structure_factors,
            beam=from_geometry.beam(chosen),
            detector=from_geometry.detector(chosen),
            goniometer=from_geometry.goniometer(chosen),
        )

    @classmethod
    def from_dxtbx(
        cls,
        path: str | os.PathLike[str],
        experiment: int = 0,
        image: int | None = None,
        structure_factors: StructureFactors | None = None,
    ) -> Experiment:
        """The experiment of an .expt of dxtbx and DIALS, counted from 0 among those of the file; the rest as from_geometry."""
        return cls.from_geometry(dxtbx.read(path, "from_dxtbx", experiment), image, structure_factors)

    def alone(self, number: int) -> Experiment:
        """The experiment with one of its crystals alone, counted from 0; the background is there beside the first one (F7d).

        Raises InputError for a number that no crystal has.
        """
        if number not in range(len(self.crystals)):
            raise InputError(f"alone: {shown(number)} is no crystal; allowed: 0 to {len(self.crystals) - 1}")
        return crystals.each_alone(self)[number]

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
