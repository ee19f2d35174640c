"""The flag -lattice: crystals beside the first one, from matrices and from lists of experiments of DIALS (F7d)."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

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
"""The fields that a lattice of the flag states, besides its scale and position."""

ALLOWED = "FILE [SCALE [X Y Z]], once or several times"


class LatticeFile(NamedTuple):
    """A file that -lattice names, with the scale of its crystals, and their position, in mm."""

    path: str
    scale: float = 1.0
    position_mm: tuple[float, ...] = (0.0, 0.0, 0.0)


def lattice_files(words: Sequence[str]) -> list[LatticeFile]:
    """The files that the words of -lattice name. Raises InputError for numbers that follow no file, or too many or too few."""
    found: list[tuple[str, list[str]]] = []
    for word in words:
        if number(word) is None:
            found.append((word, []))
        elif not found:
            raise InputError(f"-lattice: {excerpt(word)} follows no file; allowed: {ALLOWED}")
        else:
            found[-1][1].append(word)
    if not found:
        raise InputError(f"-lattice: no file is given; allowed: {ALLOWED}")
    return [_lattice_file(path, numbers) for path, numbers in found]


def _lattice_file(path: str, words: list[str]) -> LatticeFile:
    """A file with the numbers after it: none, a scale, or a scale and a position."""
    numbers = [value for value in map(number, words) if value is not None]
    if len(numbers) not in (0, 1, 4):
        raise InputError(f"-lattice: {len(numbers)} numbers follow {excerpt(path)}; allowed: {ALLOWED}")
    if numbers and not 0.0 < numbers[0] < math.inf:
        raise InputError(f"-lattice: the scale {excerpt(words[0])} is not allowed; allowed: a number above 0")
    return LatticeFile(path, numbers[0] if numbers else 1.0, tuple(numbers[1:]) or (0.0, 0.0, 0.0))


def lattices(command_line: CommandLine, wavelength_A: float) -> list[dict[str, Any]]:
    """Cell, orientation, scale and position of each lattice of -lattice, as fields of a Crystal, in the order of the files.

    Of a list of experiments every crystal counts once, but not the one that -expt has already taken from the same file. Raises
    InputError for a file that cannot be read, and one without a crystal.
    """
    found: list[dict[str, Any]] = []
    for path, scale, position_mm in lattice_files(command_line.last["-lattice"]):
        if geometry_files.kind_of(path, "-lattice") == "dxtbx":
            of_file = _of_experiments(command_line, path)
        else:
            crystal = Crystal.from_matrix(matrix.read(path, "-lattice"), wavelength_A)
            of_file = [{name: getattr(crystal, name) for name in ORIENTED}]
        placed = {"scale": scale, **dict(zip(Crystal.POSITION, position_mm))}
        found += [fields | placed for fields in of_file]
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
    """A crystal as large, of the same shape and mosaicity, with the cell, orientation, scale and position of a lattice."""
    return dataclasses.replace(crystal, **fields, misset_deg=(0.0, 0.0, 0.0), misset_seed=None)
