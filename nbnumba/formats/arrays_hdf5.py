"""Named arrays as HDF5, each with a sentence on what it holds: the same arrays are the same bytes."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from nbnumba.formats import files

_GZIP_LEVEL = 1


class Described(NamedTuple):
    """An array, what it holds, and its unit."""

    values: np.ndarray
    description: str
    unit: str = ""


def write(
    path: files.PathName, arrays: Mapping[str, Described], attributes: Mapping[str, str | int | float], what: str
) -> None:
    """Write arrays by their names as datasets of HDF5, each in one chunk, with attributes of the file."""
    import h5py

    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        for name, value in attributes.items():
            file.attrs[name] = value
        for name, (values, description, unit) in arrays.items():
            dataset = file.create_dataset(
                name, data=values, chunks=values.shape, compression="gzip", compression_opts=_GZIP_LEVEL, shuffle=True
            )
            dataset.attrs["description"] = description
            if unit:
                dataset.attrs["units"] = unit
            file.flush()  # so that its place in the file does not depend on when Python closes it
    with files.replacing(path, what) as stream:
        stream.write(content.getbuffer())
