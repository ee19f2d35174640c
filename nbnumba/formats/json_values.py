"""Values of a JSON file that know where they stand in it, so that a message names the file and the entry."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from nbnumba.errors import InputError, shown
from nbnumba.formats import files
from nbnumba.formats.geometry import LARGEST_NUMBER

MOST_DEPTH = 100
"""The largest depth of nested lists and objects that is followed."""


class Value:
    """A value of a JSON file: its entries are values too. name: how messages call the file; path: where the value stands."""

    def __init__(self, value: Any, name: str, path: str = ""):
        self.value, self.name, self.path = value, name, path

    def __bool__(self) -> bool:
        return self.value is not None

    def refusal(self, allowed: str) -> InputError:
        """The error that says what is allowed in place of this value."""
        return InputError(f"{self.name}: {self.path or 'it'} is {shown(self.value)}; allowed: {allowed}")

    def get(self, key: str) -> Value:
        """The entry of an object; that of a missing key is None."""
        if not isinstance(self.value, dict):
            raise self.refusal("an object of JSON")
        return Value(self.value.get(key), self.name, f"{self.path}.{key}".strip("."))

    def items(self) -> Iterator[Value]:
        """The entries of a list."""
        if not isinstance(self.value, list):
            raise self.refusal("a list of JSON")
        for number, entry in enumerate(self.value):
            yield Value(entry, self.name, f"{self.path}[{number}]")

    def at(self, index: int) -> Value:
        """An entry of a list. Raises InputError where the list is shorter."""
        entries = self.value if isinstance(self.value, list) else []
        if not 0 <= index < len(entries):
            allowed = f"0 to {len(entries) - 1}" if entries else "a list that is not empty"
            raise InputError(f"{self.name}: {self.path} has no entry {index}; allowed: {allowed}")
        return Value(entries[index], self.name, f"{self.path}[{index}]")

    def number(self, allowed: str = "a number", test: Callable[[float], bool] = lambda x: True) -> float:
        """A finite number that passes a test."""
        kind = isinstance(self.value, (int, float)) and not isinstance(self.value, bool)
        try:
            number = float(self.value) if kind else math.nan
        except OverflowError:
            number = math.nan
        if not abs(number) <= LARGEST_NUMBER or not test(number):
            raise self.refusal(allowed)
        return number

    def positive(self) -> float:
        """A positive number."""
        return self.number("a positive number", lambda x: x > 1.0 / LARGEST_NUMBER)

    def whole(self, least: int, most: int) -> int:
        """A whole number within limits, ends included."""
        allowed = f"a whole number from {least} to {most}"
        return int(self.number(allowed, lambda x: least <= x <= most and x == round(x)))

    def numbers(self, count: int) -> np.ndarray:
        """So many finite numbers, as an array."""
        if not isinstance(self.value, list) or len(self.value) != count:
            raise self.refusal(f"a list of {count} numbers")
        return np.array([entry.number() for entry in self.items()])

    def direction(self) -> np.ndarray:
        """Three numbers that are not all 0."""
        vector = self.numbers(3)
        if np.abs(vector).max() < 1.0 / LARGEST_NUMBER:
            raise self.refusal("a vector that has a direction")
        return vector

    def matrix(self) -> np.ndarray:
        """Nine numbers row by row, or three rows of three, as an array (3, 3)."""
        if isinstance(self.value, list) and len(self.value) == 3:
            return np.array([row.numbers(3) for row in self.items()])
        return self.numbers(9).reshape(3, 3)

    def text(self) -> str:
        """A text; "" where there is none."""
        if self.value is None:
            return ""
        if not isinstance(self.value, str):
            raise self.refusal("a text")
        return self.value


def read(path: files.PathName, what: str, expected: str) -> Value:
    """The value of a JSON file. `what` is the flag that named it, and `expected` says what it should be, for messages.

    Raises InputError for a file that cannot be read or is no JSON.
    """
    name = f"{what}: {files.name_of(path, what)!r}"
    text = files.read_text(path, what)
    try:
        return Value(json.loads(text), name)
    except RecursionError:
        raise InputError(f"{name} is nested too deeply to be read; allowed: {expected}") from None
    except ValueError as error:
        raise InputError(f"{name} is not JSON: {' '.join(str(error).split())[:100]}; allowed: {expected}") from None
