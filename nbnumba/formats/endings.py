"""The endings of file names that announce a format, and a check that a file is written under a fitting name."""

from __future__ import annotations

import os

from nbnumba.errors import InputError

REFLECTIONS_OF_DIALS = "reflections of DIALS"

FORMATS = {
    "CBF": (".cbf",),
    "HDF5": (".h5", ".hdf5", ".hdf", ".nxs", ".nx5"),
    "TIFF": (".tif", ".tiff"),
    "MarCCD": (".mccd",),
    "EDF": (".edf",),
    "a Bruker frame": (".sfrm",),
    "MTZ": (".mtz",),
    "SMV": (".img", ".smv"),
    "4-byte floats": (".bin",),
    "PNG": (".png",),
    "PGM": (".pgm",),
    "JPEG": (".jpg", ".jpeg"),
    "GIF": (".gif",),
    "BMP": (".bmp",),
    "PDF": (".pdf",),
    "NumPy": (".npy",),
    "arrays of NumPy": (".npz",),
    "CSV": (".csv",),
    REFLECTIONS_OF_DIALS: (".refl",),
    "reflections": (".hkl", ".sca", ".cif"),
    "PDB": (".pdb",),
    "a map": (".ccp4", ".mrc", ".map"),
    "a matrix": (".mat",),
    "models of DIALS": (".expt",),
    "JSON": (".json",),
    "HTML": (".html", ".htm"),
    "a compressed file": (".gz", ".bz2", ".xz", ".zst", ".zip", ".tgz"),
}
"""The endings that announce a format. Any other ending announces none."""

WRITERS = {"HDF5": "-nxsfile", "CBF": "-cbffile", "models of DIALS": "-exptfile", "PNG": "-pngfile"}
"""The flags that write the image, or its geometry, in formats that users expect of a name."""


IMAGES = ("-floatfile", "-intfile", "-noisefile")
"""The flags that write the image as nanoBragg does."""


def format_of(name: str) -> str | None:
    """The format that the ending of a name announces; None if it announces none."""
    ending = os.path.splitext(name)[1].lower()
    return next((known for known, endings in FORMATS.items() if ending in endings), None)


def check(name: str, what: str, written: str, tolerated: tuple[str, ...] = ()) -> None:
    """Raise InputError, naming `what`, for a name that announces neither the format `written` nor one of `tolerated`."""
    announced = format_of(name)
    if announced not in (None, written, *tolerated):
        own_endings = ", ".join(FORMATS.get(written, ()))
        allowed = f"a name that ends in {own_endings}, or in no known ending" if own_endings else "a name with no known ending"
        flag = WRITERS.get(announced)
        other = f", or {flag}" if flag and flag != what and what in IMAGES else ""
        raise InputError(f"{what}: {name!r} announces {announced}, but it would hold {written}; allowed: {allowed}{other}")
