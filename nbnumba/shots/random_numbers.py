"""Random numbers that follow from (seed, frame) alone, whatever computes a frame, and in whatever order (V1)."""

from __future__ import annotations

import hashlib
import math

import numpy as np

LARGEST_SEED = 2**63 - 1
"""The largest seed of a series, and the largest number of a frame."""

NOISE_BITS = 31
"""The bits of a seed of nanoBragg's generator."""

_MASK = 2**NOISE_BITS - 1
_ROUNDS = ((0x7FEB352D, 15), (0x2C1B3C6D, 13), (0x297A2D39, 17))
"""Odd factors and shifts that permute numbers of NOISE_BITS bits, and leave no pattern."""


def generator(seed: int, frame: int, *names: str) -> np.random.RandomState:
    """The generator of what is drawn for a frame under those names: other names draw from another sequence.

    It is a RandomState because NumPy promises never to change the deviates of that class; of its generators this one begins in
    the least time.
    """
    digest = hashlib.sha256("\n".join(names).encode()).digest()
    words = [int.from_bytes(digest[start : start + 4], "big") for start in range(0, 16, 4)]
    return np.random.RandomState(np.random.PCG64(np.random.SeedSequence([seed, frame, *words])))


def noise_seed(seed: int, frame: int) -> int:
    """The seed of the photon noise of a frame, from 1 to 2^31 - 1: no two frames of a series have the same (V1).

    It permutes the numbers of frames, by a permutation that follows from the seed of the series: 2^31 - 1 frames differ.
    """
    keys = [int(key) for key in np.random.SeedSequence([seed, 0x5E71E5]).generate_state(len(_ROUNDS) + 1)]
    number = frame % _MASK + 1
    while True:
        for (factor, shift), key in zip(_ROUNDS, keys):
            number ^= key & _MASK
            number = number * (factor | 1) & _MASK
            number ^= number >> shift
        number ^= keys[-1] & _MASK
        if number != 0:
            return number


def normal_share(deviate: float) -> float:
    """The share of a standard normal distribution that lies below a deviate."""
    return 0.5 * math.erfc(-deviate / math.sqrt(2.0))


def rotation(deviates: np.random.RandomState) -> np.ndarray:
    """A rotation matrix (3, 3) that is uniform over all rotations: by a quaternion of four normal deviates (V3)."""
    w, x, y, z = (float(number) for number in deviates.standard_normal(4))
    length = math.sqrt(w * w + x * x + y * y + z * z)
    w, x, y, z = w / length, x / length, y / length, z / length
    return np.array(
        [
            [1.0 - 2.0 * (y * y + z * z), 2.0 * (x * y - w * z), 2.0 * (x * z + w * y)],
            [2.0 * (x * y + w * z), 1.0 - 2.0 * (x * x + z * z), 2.0 * (y * z - w * x)],
            [2.0 * (x * z - w * y), 2.0 * (y * z + w * x), 1.0 - 2.0 * (x * x + y * y)],
        ]
    )
