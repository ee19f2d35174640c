"""The values of options that list something: names, and NAME=VALUE, separated by commas, also of repeated options."""

from __future__ import annotations

from collections.abc import Iterable

from nbnumba.errors import InputError
from nbnumba.flags.arguments import number
from nbnumba.formats.text import excerpt

MAY_BE_NEGATIVE = ("--gap", "--images", "--experiments")
"""Options whose values may begin with a minus sign, as words such as -1,-2 that argparse would take for options."""


def with_joined_gaps(words: list[str]) -> list[str]:
    """The words with --gap, and what else may have a negative value, joined to one word with its value.

    What begins with a minus sign and a letter, or two minus signs, is an option of its own.
    """
    joined = list(words)
    for option in MAY_BE_NEGATIVE:
        while option in joined[:-1]:
            index = joined.index(option)
            value = joined[index + 1]
            if option != "--gap" and not (value[:1] == "-" and value[1:2].isdigit()):
                break
            joined[index : index + 2] = [f"{option}={value}"]
    return joined


def comma_list(option: str, occurrences: Iterable[str] | None) -> list[str]:
    """The items, separated by commas, of all occurrences of an option."""
    items = [item.strip() for text in occurrences or () for item in text.split(",")]
    if "" in items:
        text = ",".join(occurrences)
        raise InputError(f"{option}: {text!r} has an empty name between commas; allowed: names separated by commas")
    return items


def tied_names(option: str, occurrences: Iterable[str] | None) -> list[str | tuple[str, ...]]:
    """The names of an option, and a tuple for each NAME+NAME, whose names are tied."""
    listed: list[str | tuple[str, ...]] = []
    for item in comma_list(option, occurrences):
        names = tuple(name.strip() for name in item.split("+"))
        if "" in names:
            raise InputError(f"{option}: {item!r} has an empty name beside +; allowed: NAME+NAME")
        listed.append(names if len(names) > 1 else names[0])
    return listed


def assignments(option: str, occurrences: Iterable[str] | None, form: str) -> list[tuple[str, str]]:
    """The pairs (NAME, TEXT) of an option that lists NAME=TEXT."""
    text_of: dict[str, str] = {}
    for item in comma_list(option, occurrences):
        name, equals, text = item.partition("=")
        if not (name and equals and text):
            raise InputError(f"{option}: {excerpt(item)} is not allowed; allowed: NAME={form}, several separated by commas")
        if name in text_of:
            raise InputError(f"{option}: {name} is given twice; allowed: every name once")
        text_of[name] = text
    return list(text_of.items())


def numbers(text: str) -> float | tuple[float, ...] | None:
    """The number of a text, or the numbers of a vector X/Y/Z; None if the text is neither."""
    values = [number(part) for part in text.split("/")]
    if None in values:
        return None
    return values[0] if len(values) == 1 else tuple(values)
