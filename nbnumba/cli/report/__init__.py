"""The report of a refinement: a folder with a page, and pictures of what was measured and calculated."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from nbnumba.cli.report.page import IMAGES, index
from nbnumba.cli.report.pictures import draw
from nbnumba.formats import files

FLAG = "--report"
PAGE = "index.html"


def check(folder: str) -> None:
    """Raise InputError if a report could not be written to `folder`: before a long computation, not after it."""
    files.check_folder(folder, FLAG)


def write(result: Any, folder: str, *, title: str = "", flags: Sequence[tuple[str, str]] = ()) -> None:
    """Write the report of what adjoint.refine returned: index.html in `folder`, and its pictures beside it.

    flags: command lines of the refined experiment, each under a title.
    The folder is created where it is missing. All files are written, or none: InputError, naming --report, where that cannot
    be done. Files of other names that are in the folder stay.
    """
    check(folder)
    content = contents(result, title or "Refinement", flags)
    with files.together():
        files.make_folder(folder, FLAG)
        for name in content:
            with files.replacing(os.path.join(folder, name), FLAG) as stream:
                stream.write(content[name])


def contents(result: Any, title: str, flags: Sequence[tuple[str, str]] = ()) -> dict[str, bytes]:
    """The files of a report by name."""
    images, whole = draw(result, IMAGES)
    pictures = [picture for found in images for picture in found] + whole
    page = index(result, title, images, whole, flags)
    return {PAGE: page.encode("utf-8", errors="backslashreplace")} | {picture.name: picture.content for picture in pictures}
