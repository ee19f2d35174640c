"""The report of a refinement: a folder with an HTML page and pictures of the measured and the calculated images."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from nbnumba.cli.report.page import MOST_IMAGES, index_html
from nbnumba.cli.report.pictures import pictures_of_result
from nbnumba.formats import files

FLAG = "--report"
PAGE = "index.html"


def check(folder: str) -> None:
    """Raise InputError if a report could not be written to `folder`. The caller asks before a long computation."""
    files.check_folder(folder, FLAG)


def write(result: Any, folder: str, *, title: str = "", flags: Sequence[tuple[str, str]] = ()) -> None:
    """Write the report of a result of adjoint.refine: index.html and its pictures, in `folder`.

    flags: titles and the command lines of the refined experiment that stand below them.
    The folder is created if it is missing. Either all files are written or none; if that fails, InputError names --report.
    Other files that are in the folder stay.
    """
    check(folder)
    write_files(folder, file_contents(result, title or "Refinement", flags))


def write_files(folder: str, contents: dict[str, bytes]) -> None:
    """Write the files of a report, by their names, in `folder`: all or none."""
    with files.together():
        files.make_folder(folder, FLAG)
        for name, content in contents.items():
            with files.replacing(os.path.join(folder, name), FLAG) as stream:
                stream.write(content)


def file_contents(result: Any, title: str, flags: Sequence[tuple[str, str]] = ()) -> dict[str, bytes]:
    """The bytes of each file of a report, by the file's name."""
    by_image, overall = pictures_of_result(result, MOST_IMAGES)
    pictures = [picture for pictures_of_image in by_image for picture in pictures_of_image] + overall
    page = index_html(result, title, by_image, overall, flags)
    return {PAGE: page.encode("utf-8", errors="backslashreplace")} | {picture.name: picture.content for picture in pictures}
