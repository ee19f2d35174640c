"""nanoBragg's dump of structure factors (Fdump.bin): a line of six bounds, then the box of amplitudes as 8-byte floats."""

import numpy as np

from nbnumba.errors import InputError
from nbnumba.formats import files
from nbnumba.formats.hkl import Reflections


def write(path: files.PathName, hkl: np.ndarray, amplitudes: np.ndarray, default_F: float = 0.0, what: str = "-dump") -> None:
    """Write reflections hkl (n, 3) and amplitudes (n,) as nanoBragg does; default_F where none is listed.

    nanoBragg's box has one more row, column and layer than the bounds span; they are 0.
    """
    low, high = hkl.min(axis=0), hkl.max(axis=0)
    shape = high - low + 1
    box = np.zeros(shape + 1, dtype="<f8")
    box[: shape[0], : shape[1], : shape[2]] = default_F
    box[tuple((hkl - low).T)] = amplitudes
    bounds = " ".join(str(b) for pair in zip(low, high) for b in pair)
    with files.replacing(path, what) as stream:
        stream.write(f"{bounds}\n\f".encode("ascii"))
        stream.write(box.tobytes())


def read(path: files.PathName, what: str = "-dump") -> Reflections:
    """Read a dump: every reflection within its bounds. Raises InputError for a file that is none."""
    content = files.read_bytes(path, what)
    head, mark, body = content.partition(b"\n\f")
    try:
        bounds = np.array([int(word) for word in head.split()], dtype=np.int64).reshape(3, 2)
    except ValueError:
        bounds = np.array([[0, -1]] * 3)
    shape = bounds[:, 1] - bounds[:, 0] + 1
    if not mark or (shape < 1).any() or len(body) != 8 * int(np.prod(shape + 1)):
        raise InputError(f"{what}: {str(path)!r} is no dump of structure factors; allowed: what -dump wrote beside -hkl")
    box = np.frombuffer(body, dtype="<f8").reshape(shape + 1)[: shape[0], : shape[1], : shape[2]]
    if not np.isfinite(box).all():
        raise InputError(f"{what}: {str(path)!r} holds amplitudes that are not finite; allowed: finite numbers")
    hkl = np.indices(shape).reshape(3, -1).T + bounds[:, 0]
    return Reflections(hkl.astype(np.int32), box.ravel().astype(np.float64), ())
