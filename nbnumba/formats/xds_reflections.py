"""Reflections of XDS, by gemmi: the intensities of XDS_ASCII.HKL and INTEGRATE.HKL."""

from __future__ import annotations

import re

import numpy as np

from nbnumba.errors import InputError
from nbnumba.formats.reflection_data import ReflectionData, as_file, by_gemmi, cell_of
from nbnumba.formats.symmetry import of_space_group

_OPENING = re.compile(r"\A!(?:FORMAT=XDS_ASCII|OUTPUT_FILE=)")


def is_list(text: str) -> bool:
    """Return whether a text begins as the lists of intensities of XDS do."""
    return _OPENING.match(text) is not None


def parsed(text: str, name: str) -> ReflectionData:
    """Return the intensities of a text of XDS, unmerged where it lists them so.

    Observations whose uncertainty is below 0, which XDS rejected, are left out and counted. Friedel mates are kept apart unless
    the file says FRIEDEL'S_LAW=TRUE. Raises InputError for a damaged file, and one without reflections or space group.
    """
    import gemmi

    with by_gemmi(name, "a list of XDS"), as_file(text.encode()) as copy:
        data = gemmi.read_xds_ascii(copy)
    rejected = data.sigma_array <= 0.0
    if rejected.all():
        raise InputError(f"{name} has no reflections that XDS accepted; allowed: a list with some")
    group = gemmi.find_spacegroup_by_number(data.spacegroup_number)
    if group is None:
        raise InputError(f"{name} states no space group; allowed: a list with SPACE_GROUP_NUMBER")
    integrated = "INTEGRATE" in text[:200]
    notes = ["the intensities of INTEGRATE.HKL are neither scaled nor corrected for absorption"] if integrated else []
    notes.insert(0, "intensities of XDS are read")
    if rejected.any():
        notes.append(f"{np.count_nonzero(rejected)} that XDS rejected are left out")
    friedel = data.friedels_law == "T"
    kept = [array[~rejected] for array in (data.miller_array.astype(np.int64), data.iobs_array, data.sigma_array)]
    return ReflectionData(
        kept[0], kept[1].astype(np.float64), kept[2].astype(np.float64), True, friedel,
        of_space_group(group), cell_of(data.cell_constants), tuple(notes),
    )  # fmt: skip
