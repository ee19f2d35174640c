"""The space group of a file: its operations as arrays, by gemmi."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from nbnumba.errors import InputError, shown

NAMES = (
    *("_symmetry.space_group_name_H-M", "_space_group.name_H-M_alt", "_space_group_name_H-M_alt"),
    *("_symmetry_space_group_name_H-M", "_space_group.name_Hall", "_space_group_name_Hall"),
    *("_symmetry.space_group_name_Hall", "_symmetry_space_group_name_Hall"),
)
"""Tags of CIF that name a space group."""

OPERATIONS = (
    *("_space_group_symop_operation_xyz", "_space_group_symop.operation_xyz"),
    *("_symmetry_equiv_pos_as_xyz", "_symmetry_equiv.pos_as_xyz"),
)
"""Tags of CIF that list its operations."""


class Symmetry(NamedTuple):
    """A space group: its name; rotations (m, 3, 3), whole numbers, and translations (m, 3), parts of the edges of the cell.

    An operation takes the point x of the cell to R x + t, and the reflection h to h R.
    """

    name: str
    rotations: np.ndarray
    translations: np.ndarray


def of_operations(name: str, operations: Iterable[Any]) -> Symmetry:
    """Return the symmetry of operations of gemmi."""
    every = list(operations)
    rotations = np.array([operation.rot for operation in every], dtype=np.int64)
    translations = np.array([operation.tran for operation in every], dtype=np.float64)
    return Symmetry(name, rotations // every[0].DEN, translations / every[0].DEN)


def of_space_group(group: Any) -> Symmetry | None:
    """Return the symmetry of a space group of gemmi; None for None."""
    return None if group is None else of_operations(group.xhm(), group.operations())


def of_hall(symbol: str, name: str) -> Symmetry:
    """Return the symmetry of a symbol of Hall, such as "P 2ac 2ab" or "P 61 2 (x,y,z+5/12)".

    name: what has the symbol, for the InputError if it is none.
    """
    import gemmi

    try:
        operations = gemmi.symops_from_hall(symbol)
    except (RuntimeError, ValueError):
        raise InputError(f"{name} is {shown(symbol)}; allowed: a symbol of Hall, such as P 2ac 2ab") from None
    group = gemmi.find_spacegroup_by_ops(operations)
    return of_operations(f"Hall: {symbol.strip()}" if group is None else group.xhm(), operations)


def hall_of_number(number: float) -> str | None:
    """Return the symbol of Hall of a space group by its number; None for what is no number of a group."""
    import gemmi

    group = gemmi.find_spacegroup_by_number(int(number)) if number == round(number) and 1 <= number <= 230 else None
    return None if group is None else group.hall


def group_named(name: str) -> Any:
    """Return the space group of gemmi of a name by Hermann and Mauguin, such as P 21 21 21; None for an unknown one."""
    import gemmi

    return gemmi.find_spacegroup_by_name(name) if name.strip() else None


def group_of_hall(symbol: str) -> Any:
    """Return the space group of gemmi of a Hall symbol, such as P 2ac 2ab; None for one of no setting that gemmi knows."""
    import gemmi

    try:
        return gemmi.find_spacegroup_by_ops(gemmi.symops_from_hall(symbol)) if symbol.strip() else None
    except (RuntimeError, ValueError):
        return None


def of_triplets(triplets: Sequence[str], name: str = "") -> Symmetry | None:
    """Return the symmetry of operations such as x,1/2+y,-z; None without any. Raises ValueError for what is no operation."""
    import gemmi

    operations = [gemmi.Op(text) for text in triplets]
    return of_operations(name or f"{len(operations)} operations", operations) if operations else None


def of_block(block: Any) -> Symmetry | None:
    """Return the symmetry that a block of CIF states: by its operations, or else by the name of the group; None without."""
    import gemmi

    names = [gemmi.cif.as_string(value) for tag in NAMES if (value := block.find_value(tag))]
    for tag in OPERATIONS:
        listed = [gemmi.cif.as_string(value) for value in block.find_values(tag)]
        if listed:
            return of_triplets(listed, next((name for name in names if name), ""))
    groups = (gemmi.find_spacegroup_by_name(name) for name in names if name)
    return next((of_space_group(group) for group in groups if group is not None), None)
