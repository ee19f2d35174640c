"""The names of the parameters of the crystals beside the first: crystal[1].a_A (F7d)."""

import re

OF_CRYSTAL = re.compile(r"crystal\[(?P<number>[1-9]\d{0,3})\]\.(?P<field>\w+)")
"""The name of such a parameter."""


def number_and_name(name: str) -> tuple[int, str]:
    """Return the number of the crystal that a parameter belongs to, and the name that it has where that crystal is the first.

    Of a parameter that is of no crystal, the number is 0.
    """
    found = OF_CRYSTAL.fullmatch(name) if name.startswith("crystal[") else None
    return (0, name) if found is None else (int(found["number"]), f"crystal.{found['field']}")


def name_of(number: int, name: str) -> str:
    """Return the name of a parameter of the crystal of a number. name: the one it has where that crystal is the first."""
    if number == 0 or not name.startswith("crystal."):
        return name
    return f"crystal[{number}].{name.removeprefix('crystal.')}"
