"""The report of a refinement: a folder with a page, and pictures of what was measured and calculated."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

from nbnumba.cli.report.page import IMAGES, index
from nbnumba.cli.report.pictures import draw
from nbnumba.errors import InputError
from nbnumba.formats import files

FLAG = "--report"
PAGE = "index.html"


def check(folder: str) -> None:
    """Raise InputError if a report could not be written to `folder`: before a long computation, not after it."""
    with _folder(folder) as made:
        files.check_writable(os.path.join(folder, PAGE), FLAG)
    _remove(made)


def write(result: Any, folder: str, *, title: str = "") -> None:
    """Write the report of what adjoint.refine returned: index.html in `folder`, and its pictures beside it.

    The folder is created where it is missing. All files are written, or none: InputError, naming --report, where that cannot
    be done. Files of other names that are in the folder stay.
    """
    check(folder)
    content = contents(result, title or "Refinement")
    with _folder(folder), ExitStack() as stack:
        streams = {name: stack.enter_context(files.replacing(os.path.join(folder, name), FLAG)) for name in content}
        for name, stream in streams.items():
            stream.write(content[name])
            stream.flush()


def contents(result: Any, title: str) -> dict[str, bytes]:
    """The files of a report by name, the page first: so it is renamed last, when its pictures are in place."""
    images, whole = draw(result, IMAGES)
    pictures = [picture for found in images for picture in found] + whole
    page = index(result, title, images, whole)
    return {PAGE: page.encode("utf-8", errors="replace")} | {picture.name: picture.content for picture in pictures}


@contextmanager
def _folder(folder: str) -> Iterator[list[str]]:
    """Make `folder` and yield what had to be made, the outermost first; it is removed if the block raises."""
    if not folder or "\0" in folder:
        raise InputError(f"{FLAG}: {folder!r} is no name of a folder")
    made: list[str] = []
    try:
        for path in _missing(folder):
            _make(path, folder)
            made.append(path)
        yield made
    except BaseException:
        _remove(made)
        raise


def _make(path: str, folder: str) -> None:
    try:
        os.mkdir(path)
    except OSError as error:
        raise InputError(f"{FLAG}: cannot make folder {folder!r}: {error.strerror}") from error


def _missing(folder: str) -> list[str]:
    """The folders that have to be made, the outermost first. Raises InputError for a file."""
    found, path = [], os.path.abspath(folder)
    if os.path.lexists(path) and not os.path.isdir(path):
        raise InputError(f"{FLAG}: {folder!r} is a file, not a folder")
    while not os.path.lexists(path):
        found.append(path)
        path = os.path.dirname(path)
    return found[::-1]


def _remove(made: list[str]) -> None:
    for path in reversed(made):
        with suppress(OSError):
            os.rmdir(path)
