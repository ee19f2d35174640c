"""The members of an HDF5 file, read by h5py in a process of its own with limits on time and memory, which damaged files exceed.

The lower half is the program of that process. It imports nothing from nbnumba.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import numpy as np

SECONDS, CPU_SECONDS, BYTES = 60, 20, 2**32
"""Limits of the process: seconds in total and of the processor, and bytes of memory."""

LARGEST_DATASET, MOST_MEMBERS, MOST_DEPTH = 200000, 20000, 12
"""Larger datasets are not read, and no more members and levels of groups are looked at."""


def read(name: str) -> dict[str, Any]:
    """The members of a file: path, attributes, shape and values of each; or the `problem` that keeps it from being read.

    missing: the names of other files in which the file has members, and that cannot be opened.
    """
    return _asked({"name": name})[0]


def array(name: str, dataset: str, number: int, dimensions: int) -> tuple[str, np.ndarray | None]:
    """An array of so many dimensions: a dataset of a file, or its part `number` if it has one dimension more.

    If it cannot be read, the reason and None.
    """
    found, body = _asked({"name": name, "dataset": dataset, "number": number, "dimensions": dimensions})
    if "problem" in found:
        return found["problem"], None
    return "", np.frombuffer(bytearray(body), np.dtype(found["dtype"])).reshape(found["shape"])


def _asked(request: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    """What the process answers to a request, or the `problem` that keeps it from answering."""
    from nbnumba.formats import limited_process  # here, because the program of the process imports nothing from nbnumba

    try:
        return limited_process.ask(__file__, "h5py", request, SECONDS, CPU_SECONDS, BYTES)
    except limited_process.Unanswered as error:
        return {"problem": f"cannot be read: {error}"}, b""


# ------------------------------------------------------------------------------------- the program of the process


def answer(request: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    """The members of a file, or the head of an array and its bytes; or a problem."""
    try:
        import h5py
    except ImportError:
        return {"problem": "needs h5py, which is missing here: pip install 'nbnumba[nexus]'"}, b""
    try:
        with h5py.File(request["name"], "r") as file:
            if "dataset" in request:
                return _part(file[request["dataset"]], request["number"], request["dimensions"])
            missing: list[str] = []
            return {"members": list(_members(file, h5py, missing)), "missing": missing}, b""
    except Exception as error:
        return {"problem": f"cannot be read: {' '.join(str(error).split())[:200] or type(error).__name__}"}, b""


def _part(dataset: Any, number: int, dimensions: int) -> tuple[dict[str, Any], bytes]:
    """The head and the bytes of an array of numbers, in this machine's byte order."""
    with suppress(ImportError):
        import hdf5plugin  # noqa: F401 - it registers the compressions of detectors

    images = dataset.shape[0] if dataset.ndim == dimensions + 1 else 1
    if not 0 <= number < images:
        return {"problem": f"has {images} images, and none of the number {number}"}, b""
    missing = _missing_source(dataset, number, dimensions)
    if missing:
        return {"problem": f"has the pixels of image #{number} in {missing}, which is not there"}, b""
    pixels = np.asarray(dataset[number] if dataset.ndim == dimensions + 1 else dataset[()])
    if pixels.dtype.kind not in "iufb" or pixels.ndim != dimensions:
        return {"problem": f"is {pixels.dtype} of shape {pixels.shape}"}, b""
    pixels = pixels.astype(pixels.dtype.newbyteorder("="), copy=False)
    return {"dtype": pixels.dtype.str, "shape": list(pixels.shape)}, pixels.tobytes()


def _missing_source(dataset: Any, number: int, dimensions: int) -> str:
    """The name of a file that is not there, in which a virtual dataset has pixels of an image; "" for none.

    HDF5 by itself gives such pixels a value that looks like a gap. It looks for the file beside that of the dataset, and then
    from where the program runs.
    """
    folder = os.path.dirname(os.path.abspath(dataset.file.filename))
    for source in dataset.virtual_sources() if dataset.is_virtual else ():
        low, high = source.vspace.get_select_bounds()
        concerns = dataset.ndim == dimensions or low[0] <= number <= high[0]
        places = (os.path.join(folder, source.file_name), source.file_name)
        if concerns and source.file_name != "." and "%" not in source.file_name and not any(map(os.path.exists, places)):
            return str(source.file_name)
    return ""


def _members(
    file: Any, h5py: Any, missing: list[str]
) -> Iterator[tuple[str, dict[str, Any], list[int] | None, list[Any] | None]]:
    """Path, attributes, shape and values of all groups and small datasets, by name; each group once on each way to it.

    missing: to which the files are added that the file names, and that cannot be opened.
    """
    waiting: list[tuple[str, Any, int]] = [("", file, 0)]
    count = 0
    while waiting:
        path, group, depth = waiting.pop()
        for key in sorted(group):
            count += 1
            if count > MOST_MEMBERS:
                return
            try:
                member = group[key]
            except (KeyError, OSError, RuntimeError):
                link = group.get(key, getlink=True)
                if isinstance(link, h5py.ExternalLink):
                    missing.append(str(link.filename))
                continue
            here = f"{path}/{key}"
            if isinstance(member, h5py.Group):
                yield here, _attributes(member), None, None
                if depth < MOST_DEPTH:
                    waiting.append((here, member, depth + 1))
            elif isinstance(member, h5py.Dataset):
                small = member.shape is not None and member.size <= LARGEST_DATASET
                yield here, _attributes(member), list(member.shape or ()), _plain(member[()]) if small else None


def _attributes(member: Any) -> dict[str, Any]:
    """The attributes of a group or a dataset that are numbers or texts."""
    found = {}
    for key in member.attrs:
        try:
            value = member.attrs[key]
        except Exception:
            continue
        values = _plain(value)
        found[key] = values[0] if values is not None and np.ndim(value) == 0 and values else values
    return found


def _plain(value: Any) -> list[Any] | None:
    """A value as a list of numbers or texts; None for anything else."""
    array = np.asarray(value)
    if array.size > LARGEST_DATASET:
        return None
    if array.dtype.kind in "iuf":
        return [x if isinstance(x, int) or math.isfinite(x) else None for x in array.ravel().tolist()]
    if array.dtype.kind == "b":
        return [int(x) for x in array.ravel().tolist()]
    if array.dtype.kind in "SUO":
        texts = array.ravel().tolist()
        return [x.decode("utf-8", "replace") if isinstance(x, bytes) else x for x in texts if isinstance(x, (bytes, str))]
    return None
