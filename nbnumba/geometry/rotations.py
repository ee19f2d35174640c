"""Rotation matrices in the laboratory frame, right-handed, and angles in nanoBragg's radians."""

import math

import numpy as np

DEGREES_PER_RADIAN = 180.0 * 0.31830988618379067
"""nanoBragg divides by this; phi = 0 is met exactly where nanoBragg meets it only if the quotient is the same."""


SHORTEST, LONGEST = 1e-140, 1e140
"""Between these the square of a number has all its digits."""


def radians(degrees: float) -> float:
    """Degrees to radians, rounded as nanoBragg rounds."""
    return degrees / DEGREES_PER_RADIAN


def about_axis(axis: np.ndarray, angle: float) -> np.ndarray:
    """Rotation matrix (3, 3) about a unit axis by an angle in radians (Rodrigues' formula).

    The sum axis axis^T (1 - cos) + 1 cos + [axis]x sin, number by number: arrays of nine take many times as long.
    """
    x, y, z = map(float, axis)
    cosine, sine = math.cos(angle), math.sin(angle)
    versine, beside = 1.0 - cosine, 0.0 * cosine
    xy, xz, yz = x * y * versine + beside, x * z * versine + beside, y * z * versine + beside
    return np.array(
        [
            [x * x * versine + cosine, xy - z * sine, xz + y * sine],
            [xy + z * sine, y * y * versine + cosine, yz - x * sine],
            [xz - y * sine, yz + x * sine, z * z * versine + cosine],
        ]
    )


def about_vector(turn: np.ndarray) -> np.ndarray:
    """Rotation matrix (3, 3) about a vector, by its length in radians."""
    angle = math.sqrt(turn @ turn)
    return about_axis(turn / angle, angle) if angle > 0.0 else np.eye(3)


def vector_of(rotation: np.ndarray) -> np.ndarray:
    """The vector about which a rotation matrix (3, 3) of less than half a turn rotates, by its length in radians."""
    twice = np.array([rotation[2, 1] - rotation[1, 2], rotation[0, 2] - rotation[2, 0], rotation[1, 0] - rotation[0, 1]])
    sine, cosine = math.sqrt(twice @ twice) / 2.0, (np.trace(rotation) - 1.0) / 2.0
    return twice * (math.atan2(sine, cosine) / (2.0 * sine) if sine > 0.0 else 0.5)


def about_xyz(degrees: tuple[float, float, float]) -> np.ndarray:
    """Rotation matrix (3, 3) about x, then y, then z of the laboratory, angles in degrees."""
    turns = [about_axis(axis, radians(angle)) for axis, angle in zip(np.eye(3), degrees)]
    return turns[2] @ turns[1] @ turns[0]


def cross(a, b) -> np.ndarray:
    """The cross product of two vectors (3,), in a tenth of the time of np.cross, which takes arrays of any shape."""
    (ax, ay, az), (bx, by, bz) = map(float, a), map(float, b)
    return np.array([ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx])


def unit(vector) -> np.ndarray:
    """The unit vector along a vector that is not 0, of whatever length."""
    vector = np.asarray(vector, dtype=np.float64)
    largest = np.abs(vector).max()
    if not SHORTEST < largest < LONGEST:
        vector = vector / largest
    return vector / math.sqrt(vector @ vector)
