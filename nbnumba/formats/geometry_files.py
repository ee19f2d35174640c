"""Files of geometry of any format: recognises the format by the content, and reads it."""

from __future__ import annotations

import zlib
from contextlib import suppress

from nbnumba.errors import InputError
from nbnumba.formats import cif, crystfel, dxtbx, files, imgcif, nexus, recognise, xparm
from nbnumba.formats.geometry import Geometry

BEGINNING = 4096
"""The number of bytes at the beginning of a file by which its format is recognised."""

FLAGS = {"dxtbx": "-expt", "XDS": "-xparm", "CrystFEL": "-geom", "NXmx": "-nexus", "CBF": "-img", "SMV": "-img"}
"""The flag that names a file of each format."""

FORMATS = "an .expt of dxtbx, an XPARM.XDS, a .geom of CrystFEL, an NXmx master, a CBF or an SMV image"


def kind_of(path: files.PathName, what: str) -> str:
    """Return the format of a file, a key of FLAGS; "" if it is none of them. InputError: a file that cannot be read."""
    name = files.name_of(path, what)
    files.check_readable(name, what)
    beginning = _beginning(name, what)
    text = beginning.decode("utf-8", "replace").lstrip("\ufeff \t\r\n")
    if beginning.startswith(b"\x89HDF\r\n\x1a\n"):
        return "NXmx"
    if cif.is_cbf(beginning):
        return "CBF"
    if recognise.text(text) is recognise.SMV:
        return "SMV"
    if text.startswith(("{", "[")):
        return "dxtbx"
    if text.split("\n", 1)[0].find(xparm.TITLE) >= 0:
        return "XDS"
    lines = [line.partition(";")[0].strip() for line in text.split("\n")[:-1]]
    stated = [line for line in lines if line and not line.startswith(crystfel.COMMENTS)]
    return "CrystFEL" if stated and all("=" in line for line in stated) else ""


def _beginning(name: str, what: str) -> bytes:
    """The first bytes of a file, unpacked if gzip packed it."""
    try:
        with open(name, "rb") as stream:
            content = stream.read(BEGINNING)
    except OSError:
        content = files.read_bytes(name, what)[:BEGINNING]
    if content.startswith(b"\x1f\x8b"):
        with suppress(zlib.error):
            return zlib.decompressobj(wbits=31).decompress(content, BEGINNING)
    return content


def read(
    path: files.PathName, what: str, experiment: int | None = None, stated: frozenset[str] = frozenset(), any_kind: bool = False
) -> Geometry:
    """Return the geometry that a file states; its format is recognised by its content. SMV images are not read here.

    what: the flag that names files of one format, or with any_kind the name of a function that reads all. experiment: which one
    of the list in a file of dxtbx, from 0. stated: "distance", "wavelength" and "twotheta", where flags state them. Raises
    InputError for a file of another format, and what the reader of its format refuses.
    """
    kind = kind_of(path, what)
    flag = FLAGS.get(kind)
    name = f"{what}: {files.name_of(path, what)!r}"
    if flag is None and any_kind:
        raise InputError(f"{name} is of no format that is known here; allowed: {FORMATS}")
    if flag is not None and not any_kind and flag != what:
        raise InputError(f"{name} is a file of {kind}; allowed: {flag} for such a file")
    if experiment is not None and kind != "dxtbx":
        raise InputError(f"-experiment: {experiment} is not allowed: {name} is no list of experiments; allowed: no -experiment")
    kind = kind or next(key for key, of_kind in FLAGS.items() if of_kind == what)
    if kind == "dxtbx":
        return dxtbx.read(path, what, experiment, stated)
    if kind == "XDS":
        return xparm.read(path, what, stated)
    if kind == "CrystFEL":
        return crystfel.read(path, what, stated)
    if kind == "NXmx":
        return nexus.read(path, what, stated)
    return imgcif.read(path, what, stated)
