"""fdump: the round trip, and headers that no box can be of."""

import numpy as np
import pytest

from nbnumba.errors import InputError
from nbnumba.formats import fdump


def dump(tmp_path, bounds, count):
    path = tmp_path / "Fdump.bin"
    path.write_bytes(f"{bounds}\n\f".encode() + bytes(8 * count))
    return path


@pytest.mark.parametrize("shift", [0, 2**31 - 9, -(2**31) + 9])
def test_round_trip(tmp_path, shift):
    hkl = np.array([[0, 1, 2], [3, -1, 0], [-2, 0, 1]]) + [shift, 0, -shift]
    fdump.write(tmp_path / "Fdump.bin", hkl.astype(np.int32), np.array([1.0, 2.0, 3.0]), 7.0)
    reflections = fdump.read(tmp_path / "Fdump.bin")
    listed = {tuple(index): amplitude for index, amplitude in zip(reflections.hkl.tolist(), reflections.amplitudes)}
    assert len(listed) == 6 * 3 * 3
    assert [listed[tuple(index)] for index in hkl.tolist()] == [1.0, 2.0, 3.0]
    assert sorted(set(listed.values())) == [1.0, 2.0, 3.0, 7.0]


@pytest.mark.parametrize(
    "bounds, count, message",
    [
        ("4294967296 4294967296 0 0 0 0", 8, "has indices from 0 to 4294967296; allowed: integers of 32 bits"),
        ("-2147483649 -2147483649 0 0 0 0", 8, "has indices from -2147483649 to 0"),
        ("0 18446744073709551616 0 0 0 0", 8, "is not a dump"),
        ("99999999999999999999 99999999999999999999 0 0 0 0", 8, "has indices from 0 to 99999999999999999999"),
        ("-9999999999999999999999 0 0 0 0 0", 8, "is not a dump"),
        ("0 4294967295 0 4294967295 0 0", 0, "is not a dump"),
        ("0 0 0 0 0", 8, "is not a dump"),
        ("0 0 0 0 0 0 0", 8, "is not a dump"),
        ("1 0 0 0 0 0", 8, "is not a dump"),
        ("0 0 0 0 0 0", 7, "is not a dump"),
        ("0 0 0 0 0 1.5", 8, "is not a dump"),
        ("0 0 0 0 0 \u0661", 8, "is not a dump"),
    ],
)
def test_headers_of_no_box(tmp_path, bounds, count, message):
    with pytest.raises(InputError, match=f"^-dump: .*Fdump.bin' {message}"):
        fdump.read(dump(tmp_path, bounds, count))
