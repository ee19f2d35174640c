"""The files of the images of a series: by a template of their names, or as a list of experiments names them. None is opened."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from nbnumba.errors import InputError
from nbnumba.formats import endings

MOST_DIGITS = 12
"""Characters # of a template at most."""


class ImageFile(NamedTuple):
    """An image of a series: its file as images.read() takes it, and its number in the scan, None for a still.

    name: FILE#K stands for image K, from 0, of a file of several images.
    """

    name: str
    number: int | None


def template_files(template: str, numbers: Iterable[int], what: str) -> list[ImageFile]:
    """Return the images of these numbers; `what` is the option that named the template, for messages.

    The last # in the name of the file, and those right before it, stand for the digits of a number, with zeros in front. An
    HDF5 file, which its ending announces, is a template without #: image n of the series is FILE#(n - 1). Raises InputError for
    a template without # of other files, for no number, and for an image whose file is not there.
    """
    wanted, name = list(numbers), f"{what}: {template!r}"
    if not has_digits(template) and endings.format_of(template) != "HDF5":
        raise InputError(f"{name} has no # in its name; allowed: a # for each digit of an image's number, or an HDF5 file")
    if not wanted:
        raise InputError(f"{name}: no image is chosen; allowed: numbers of images")
    listed = files_found([template], wanted, name, in_one=True)
    check_complete(listed, wanted, name)
    return listed


def files_found(templates: Sequence[str], numbers: Sequence[int], name: str, in_one: bool) -> list[ImageFile]:
    """Return those of the images of these numbers whose files are there, by the first template that leads to any.

    in_one: whether a file of a template without # holds images by their numbers, from 1; otherwise it is an image. name: how
    messages call the templates. Raises InputError for a number that a template cannot have.
    """
    for template in templates:
        files = ((_expanded(template, number, name, in_one), number) for number in numbers)
        listed = [ImageFile(image, number) for (file, image), number in files if os.path.isfile(file)]
        if listed:
            return listed
    return []


def check_complete(listed: Sequence[ImageFile], numbers: Sequence[int], name: str) -> None:
    """Raise InputError, with how messages call the template, unless the images of all numbers are listed."""
    found = {file.number for file in listed}
    missing = [number for number in numbers if number not in found]
    if missing:
        allowed = f"images that are there, which are {_said(sorted(found))}" if found else "images that are there"
        raise InputError(f"{name} has no file of {_said(missing)}; allowed: {allowed}")


def has_digits(template: str) -> bool:
    """Whether a template has a # in the name of the file."""
    return "#" in os.path.basename(template)


def places_of(path: str, beside: str) -> list[str]:
    """Where a file may be whose path the file `beside` states, the likeliest place first.

    A relative path counts from the folder of that file, and then from the working directory. An absolute one that is not there
    may be one of another machine: a file of that name is looked for in the two folders.
    """
    folder, name = os.path.dirname(beside), os.path.basename(path)
    if os.path.isabs(path):
        return [path, os.path.join(folder, name), name]
    return [os.path.join(folder, path), path]


def _expanded(template: str, number: int, name: str, in_one: bool) -> tuple[str, str]:
    """The file of the image of a number, and the image's name."""
    if not has_digits(template):
        if in_one and number < 1:
            raise InputError(f"{name} has no image {number}; allowed: numbers from 1, the first image of the file")
        return template, f"{template}#{number - 1}" if in_one else template
    before, _, after = template.rpartition("#")
    stem = before.rstrip("#")
    digits = 1 + len(before) - len(stem)
    if digits > MOST_DIGITS:
        raise InputError(f"{name} has {digits} # in a row; allowed: at most {MOST_DIGITS}")
    if number < 0:
        raise InputError(f"{name} has no image {number}; allowed: numbers from 0")
    file = f"{stem}{number:0{digits}d}{after}"
    return file, file


def _said(numbers: Sequence[int | None]) -> str:
    """Numbers of images in words: a range, or the first few."""
    first, last = numbers[0], numbers[-1]
    if len(numbers) == 1:
        return f"image {first}"
    if first is not None and list(numbers) == list(range(first, first + len(numbers))):
        return f"images {first} to {last}"
    few = ", ".join(map(str, numbers[:5]))
    return f"images {few}" if len(numbers) <= 5 else f"images {few} and {len(numbers) - 5} others"
