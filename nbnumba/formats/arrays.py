"""Several arrays in one file: NumPy's .npz, compressed, with the same bytes for the same arrays."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping

import numpy as np

from nbnumba.formats import files

LONG_AGO = (1980, 1, 1, 0, 0, 0)
"""The date of the members of a file, so that its bytes do not depend on the time."""


def write(path: files.PathName, arrays: Mapping[str, np.ndarray], what: str) -> None:
    """Write arrays by their names."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in arrays.items():
            member = io.BytesIO()
            np.lib.format.write_array(member, np.ascontiguousarray(array), allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy", LONG_AGO), member.getvalue(), zipfile.ZIP_DEFLATED)
    with files.replacing(path, what) as stream:
        stream.write(content.getvalue())
