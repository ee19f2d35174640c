"""The flag -lattice: crystals beside the first one, from matrices and from lists of experiments of DIALS (F7d)."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from nbnumba import from_geometry
from nbnumba.errors import InputError
from nbnumba.flags import geometry_files as of_flags
from nbnumba.flags.arguments import number
from nbnumba.flags.command_line import CommandLine
from nbnumba.formats import dxtbx, geometry_files, matrix
from nbnumba.formats.text import excerpt
from nbnumba.geometry.cell import standard_setting
from nbnumba.statements import Crystal

ORIENTED = (*Crystal.CELL, "orientation")
"""The fields that a lattice of the flag states, besides its scale."""


def files_and_scales(words: Sequence[str]) -> list[tuple[str, float]]:
    """The files that the words of -lattice name, each with the number that follows it, or 1. InputError: a number alone."""
    found: list[tuple[str, float]] = []
    for position, word in enumerate(words):
        scale = number(word)
        if scale is None:
            found.append((word, 1.0))
        elif position == 0 or number(words[position - 1]) is not None:
            raise InputError(f"-lattice: {excerpt(word)} follows no file; allowed: FILE [SCALE], once or several times")
        elif not 0.0 < scale < math.inf:
            raise InputError(f"-lattice: the scale {excerpt(word)} is not allowed; allowed: a number above 0")
        else:
            found[-1] = (found[-1][0], scale)
    if not found:
        raise InputError("-lattice: no file is given; allowed: FILE [SCALE], once or several times")
    return found


def lattices(command_line: CommandLine, wavelength_A: float) -> list[dict[str, Any]]:
    """Cell, orientation and scale of each lattice of -lattice, as fields of a Crystal, in the order of the files.

    Of a list of experiments every crystal counts once, but not the one that -expt has already taken from the same file. Raises
    InputError for a file that cannot be read, and one without a crystal.
    """
    found: list[dict[str, Any]] = []
    for path, scale in files_and_scales(command_line.last.get("-lattice", ())):
        if geometry_files.kind_of(path, "-lattice") == "dxtbx":
            of_file = _of_experiments(command_line, path)
        else:
            crystal = Crystal.from_matrix(matrix.read(path, "-lattice"), wavelength_A)
            of_file = [{name: getattr(crystal, name) for name in ORIENTED}]
        found += [fields | {"scale": scale} for fields in of_file]
    return found


def _of_experiments(command_line: CommandLine, path: str) -> list[dict[str, Any]]:
    """The crystals of a list of experiments."""
    count = dxtbx.number_of_experiments(path, "-lattice")
    taken = command_line.last.get("-experiment") or 0 if command_line.last.get("-expt") == path else None
    vectors: list[np.ndarray] = []
    found: list[dict[str, Any]] = []
    for index in sorted(range(count), key=lambda index: index != taken):
        geometry = of_flags.of_image(dxtbx.read(path, "-lattice", index), "-lattice", command_line.last)
        fields = from_geometry.crystal_fields(geometry)
        own = standard_setting(*(fields[name] for name in Crystal.CELL)) @ np.array(fields["orientation"]).T
        if not any(np.allclose(own, other, rtol=0.0, atol=1e-9) for other in vectors):
            vectors.append(own)
            found += [] if index == taken else [fields]
    return found


def with_orientation(crystal: Crystal, fields: dict[str, Any]) -> Crystal:
    """A crystal as large, and of the same shape and mosaicity, with the cell, orientation and scale of a lattice."""
    return dataclasses.replace(crystal, **fields, misset_deg=(0.0, 0.0, 0.0), misset_seed=None)
