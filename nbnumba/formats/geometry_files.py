"""Files of geometry of any format: recognises the format by the content, and reads it."""

from __future__ import annotations

from nbnumba.errors import InputError
from nbnumba.formats import dxtbx, files
from nbnumba.formats.geometry import Geometry

FORMATS = "an .expt of dxtbx"


def read(path: files.PathName, what: str, experiment: int | None = None) -> Geometry:
    """Return the geometry that a file states; its format is recognised by its content.

    what: the flag that named it: -expt is for a file of dxtbx alone, and so on. experiment: which one of the list in a file of
    dxtbx, from 0. Raises InputError for a file of another format, and what the reader of its format refuses.
    """
    return dxtbx.read(path, what, experiment or 0)
