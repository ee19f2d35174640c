"""nanoBragg's dump of structure factors (Fdump.bin): a line of six bounds, then the box of amplitudes as 8-byte floats."""

import math
import re

import numpy as np

from nbnumba.errors import InputError
from nbnumba.formats import files
from nbnumba.formats.hkl import Reflections

_BOUNDS = re.compile(rb"\s*(?:[+-]?[0-9]{1,20}\s+){5}[+-]?[0-9]{1,20}\s*")
_LONGEST_HEAD = 200
_LARGEST_INDEX = 2**31 - 1


def write(path: files.PathName, hkl: np.ndarray, amplitudes: np.ndarray, default_F: float = 0.0, what: str = "-dump") -> None:
    """Write reflections hkl (n, 3) and amplitudes (n,) as nanoBragg does; unlisted reflections get default_F.

    nanoBragg's box has one row, column and layer more than the bounds span; they are 0.
    """
    low, high = hkl.min(axis=0).tolist(), hkl.max(axis=0).tolist()
    shape = [last - first + 1 for first, last in zip(low, high)]
    box = np.zeros([count + 1 for count in shape], dtype="<f8")
    box[: shape[0], : shape[1], : shape[2]] = default_F
    box[tuple((hkl - np.array(low, dtype=np.int64)).T)] = amplitudes
    bounds = " ".join(str(b) for pair in zip(low, high) for b in pair)
    with files.replacing(path, what) as stream:
        stream.write(f"{bounds}\n\f".encode("ascii"))
        stream.write(box.tobytes())


def read(path: files.PathName, what: str = "-dump") -> Reflections:
    """Read a dump: every reflection within its bounds. Raises InputError for a file that is not a dump."""
    content = files.read_bytes(path, what)
    head, separator, _ = content[:_LONGEST_HEAD].partition(b"\n\f")
    bounds = [int(word) for word in head.split()] if re.fullmatch(_BOUNDS, head) else [0, -1] * 3
    low, high = bounds[::2], bounds[1::2]
    shape = [last - first + 1 for first, last in zip(low, high)]
    body = content[len(head) + len(separator) :]
    if not separator or min(shape) < 1 or len(body) != 8 * math.prod(count + 1 for count in shape):
        raise InputError(f"{what}: {str(path)!r} is not a dump of structure factors; allowed: a file written by -dump")
    if max(map(abs, bounds)) > _LARGEST_INDEX:
        raise InputError(f"{what}: {str(path)!r} has indices from {min(low)} to {max(high)}; allowed: integers of 32 bits")
    box = np.frombuffer(body, dtype="<f8").reshape([count + 1 for count in shape])[: shape[0], : shape[1], : shape[2]]
    if not np.isfinite(box).all():
        raise InputError(f"{what}: {str(path)!r} holds amplitudes that are not finite; allowed: finite numbers")
    indices = np.indices(shape).reshape(3, -1).T + np.array(low, dtype=np.int64)
    return Reflections(indices.astype(np.int32), box.ravel().astype(np.float64), ())
