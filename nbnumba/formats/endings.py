"""Names of files that say what they hold: what may be written under a name that ends so, and what may not."""

from __future__ import annotations

import os

from nbnumba.errors import InputError

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
    "NumPy": (".npy", ".npz"),
    "reflections": (".hkl", ".sca", ".cif"),
    "PDB": (".pdb",),
    "a map": (".ccp4", ".mrc", ".map"),
    "a matrix": (".mat",),
    "JSON": (".json",),
    "HTML": (".html", ".htm"),
    "a compressed file": (".gz", ".bz2", ".xz", ".zst", ".zip", ".tgz"),
}
"""The endings that say a format. Any other ending says none."""


def format_of(name: str) -> str | None:
    """The format that a name says; None if it says none."""
    ending = os.path.splitext(name)[1].lower()
    return next((known for known, endings in FORMATS.items() if ending in endings), None)


def check(name: str, what: str, written: str, others: tuple[str, ...] = ()) -> None:
    """Raise InputError, naming `what`, for a name that says another format than the one `written`, or one of `others`."""
    said = format_of(name)
    if said not in (None, written, *others):
        own = ", ".join(FORMATS.get(written, ()))
        allowed = f"a name that ends in {own}, or in what says no format" if own else "a name that says no other format"
        raise InputError(f"{what}: {name!r} says {said}, and {written} is written; allowed: {allowed}")
