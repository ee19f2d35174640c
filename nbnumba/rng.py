"""nanoBragg's random numbers (N1): the ran1 generator, mosaic domains and random missetting angles, as C makes them.

Seeds. A seed is the number that a user gives to -seed, -mosaic_seed or -misset_seed: 42 for `-seed 42`.
C's ran1 has a running number per seed and one shuffle table that all its users share for the life of the process:
  seed > 0    the table is filled anew from the seed, and the sequence depends on nothing else;
  seed == 0   the same as seed 1;
  seed < 0    if no table exists yet (the first use in a run), the same as seed 1, whatever its value. If a table exists
              (for example because misset random was drawn before the mosaic domains), it stays as it is and only the
              running number becomes |seed|: Ran1(seed, after=previous) names the generator that was used before.
C uses ran1 for misset random, then for the mosaic domains (always, at least one), then for photon noise.
"""

from __future__ import annotations

import math
import operator
from typing import NamedTuple

import numpy as np

from nbnumba.backends.compiling import exact, inlined
from nbnumba.errors import InputError

DEFAULT_MOSAIC_SEED = 12345678
"""The seed of the mosaic domains when -mosaic_seed is not given."""

LARGEST_SEED = 2**31 - 1
"""Seeds lie in -LARGEST_SEED .. LARGEST_SEED, because C reads them as 32-bit integers and changes their sign."""

_MODULUS = 2**31 - 1
_MULTIPLIER = 16807
_SLOTS = 32
_SLOT_SHIFT = 26
_WARM_UP = 8
_SCALE = 1.0 / _MODULUS
_LARGEST_DEVIATE = np.float32(1.0 - 1.2e-7)

# The state of a generator is an int64 vector: the running number, the last output, the shuffle table.
_RUNNING, _LAST, _TABLE = 0, 1, 2

_BESIDE = 10**9
"""How far apart a seed and another_seed are."""

_DEGREES_PER_RADIAN = 180.0 * 0.31830988618379067154
_FULL_SPHERE = 90.0


class Domains(NamedTuple):
    """Mosaic domains without their spread: domain i is a rotation by quantiles[i] * spread about axes[i].

    axes: (domains, 3) float64, unit vectors in the lab frame. quantiles: (domains,) float64 in 0 .. 1, the angle of each domain
    as a fraction of the spread (F7b); the first is 0.
    """

    axes: np.ndarray
    quantiles: np.ndarray


class MosaicRotations(NamedTuple):
    """Mosaic domains as rotations: axes (domains, 3), angles_rad (domains,), matrices (domains, 3, 3), all float64."""

    axes: np.ndarray
    angles_rad: np.ndarray
    matrices: np.ndarray


@inlined
def park_miller(number):
    """The number after `number` in the minimal standard sequence: 16807 * number modulo 2**31 - 1.

    0 <= number <= 2**31 - 1. Because 2**31 equals 1 in this arithmetic, the product's high bits are added to its low bits.
    """
    product = _MULTIPLIER * number
    folded = (product & _MODULUS) + (product >> 31)
    return folded - _MODULUS if folded >= _MODULUS else folded


@inlined
def fill_table(state):
    """Refill the shuffle table from minus the running number; a running number that is 0 or positive counts as -1."""
    number = max(-state[_RUNNING], 1)
    for _ in range(_WARM_UP):
        number = park_miller(number)
    for slot in range(_SLOTS - 1, -1, -1):
        number = park_miller(number)
        state[_TABLE + slot] = number
    state[_RUNNING] = number
    state[_LAST] = state[_TABLE]


@inlined
def next_deviate(state):
    """One float32 deviate, uniform on 0 <= u < 1; advances `state`, (34,) int64."""
    if state[_RUNNING] <= 0 or state[_LAST] == 0:
        fill_table(state)
    state[_RUNNING] = park_miller(state[_RUNNING])
    slot = _TABLE + (state[_LAST] >> _SLOT_SHIFT)
    state[_LAST] = state[slot]
    state[slot] = state[_RUNNING]
    return min(np.float32(_SCALE * state[_LAST]), _LARGEST_DEVIATE)


@exact
def fill_deviates(state, deviates):
    """Fill the float32 vector `deviates` with successive deviates; advances `state`, (34,) int64."""
    for i in range(deviates.shape[0]):
        deviates[i] = next_deviate(state)


@exact
def float32_cube_roots(values, roots):
    """The cube roots of a float32 vector by the C library's float32 power, which gives nanoBragg's domains to the last bit."""
    third = np.float32(1.0 / 3.0)
    for i in range(values.shape[0]):
        roots[i] = math.pow(values[i], third)


class Ran1:
    """Numerical Recipes' shuffled Park-Miller generator with float32 results, as nanoBragg uses it.

    seed: the user's number, see the module. after: the generator that was used before in the same run; a negative seed
    starts with a copy of its shuffle table. state: (34,) int64, which the compiled functions advance. Raises InputError
    for a seed that C cannot hold.
    """

    def __init__(self, seed: int, after: Ran1 | None = None) -> None:
        self.state = np.zeros(_TABLE + _SLOTS, dtype=np.int64)
        if after is not None:
            self.state[:] = after.state
        self.state[_RUNNING] = -_checked_seed(seed)

    def uniform(self, count: int) -> np.ndarray:
        """The next `count` deviates, (count,) float32, 0 <= u < 1."""
        deviates = np.empty(count, dtype=np.float32)
        fill_deviates(self.state, deviates)
        return deviates


def generator(seed: int | Ran1) -> Ran1:
    """The generator for a seed; a Ran1 is returned as it is. Raises InputError for a seed that C cannot hold."""
    return seed if isinstance(seed, Ran1) else Ran1(seed)


def mosaic_domains(count: int, seed: int | Ran1 = DEFAULT_MOSAIC_SEED) -> Domains:
    """`count` isotropic mosaic domains, three deviates each; the first is the identity, though it too draws three deviates.

    The quantiles are computed in float32, as in C. Raises InputError for a count below 1 or a bad seed.
    """
    axes, quantiles = _axes_and_quantiles(generator(seed), _checked_count(count))
    quantiles[0] = 0.0
    return Domains(axes, quantiles)


def sobol_domains(count: int, seed: int | Ran1 = DEFAULT_MOSAIC_SEED, first: int = 0) -> Domains:
    """`count` isotropic mosaic domains, distributed as those of mosaic_domains, from Sobol's points (F7b).

    The points, in three dimensions and in their own order, are shifted by three deviates of the generator, modulo 1, so that
    every seed gives others. first: the first of the three dimensions. None of several domains is the identity; a single one is.
    Raises InputError like mosaic_domains.
    """
    from scipy.stats import qmc

    count, shift = _checked_count(count), generator(seed).uniform(3).astype(np.float64)
    points = qmc.Sobol(first + 3, scramble=False).random_base2(max(1, math.ceil(math.log2(count))))[:count, first:]
    azimuth, height, u = (2.0 * ((points + shift) % 1.0) - 1.0).T
    quantiles = np.cbrt(1.0 - u * u) if count > 1 else np.zeros(1)
    return Domains(_axes(azimuth, height), quantiles)


def another_seed(seed: int) -> int:
    """A positive seed for what is drawn beside a sequence: that of any seed and of its negative is the same (F7b)."""
    return 1 + (abs(_checked_seed(seed)) + _BESIDE) % (_MODULUS - 1)


def rotation_angles(domains: Domains, spread_rad: float, rounded: bool = True) -> np.ndarray:
    """The angle of each domain in radians, (domains,) float64, for a mosaic spread in radians.

    Like C, this function multiplies quantile and spread in float32, which makes the angle a step function of the spread.
    rounded=False multiplies in float64: the derivative with respect to the spread is then exactly the quantile.
    Raises InputError for a spread outside 0 .. pi.
    """
    _check_spread("mosaic spread", spread_rad, math.pi, "rad")
    return _angles(domains.quantiles, spread_rad, rounded)


def rotations(domains: Domains, spread_rad: float, rounded: bool = True) -> np.ndarray:
    """The rotation matrix of each domain, (domains, 3, 3) float64 acting on column vectors.

    spread_rad, rounded and the errors raised are those of rotation_angles.
    """
    return _rotation_matrices(domains.axes, rotation_angles(domains, spread_rad, rounded))


def mosaic_rotations(spread_deg: float, domains: int, seed: int | Ran1 = DEFAULT_MOSAIC_SEED) -> MosaicRotations:
    """Axes, angles (rad) and matrices of `domains` mosaic domains as C makes them for a spread in degrees.

    Raises InputError for a spread outside 0 .. 180 degrees, a count below 1 or a bad seed.
    """
    _check_spread("mosaic spread", spread_deg, 180.0, "deg")
    drawn = mosaic_domains(domains, seed)
    angles = _angles(drawn.quantiles, spread_deg / _DEGREES_PER_RADIAN, rounded=True)
    return MosaicRotations(drawn.axes, angles, _rotation_matrices(drawn.axes, angles))


def random_misset_deg(seed: int | Ran1, c_parity: bool = False) -> tuple[float, float, float]:
    """A random orientation as rotations about lab x, then y, then z, in degrees: R = Rz Ry Rx. Three deviates are drawn.

    The orientation is uniform over all rotations. With c_parity it is C's orientation, which is not uniform: C passes the
    90 degrees of "a full sphere" as radians. Raises InputError for a bad seed.
    """
    source = generator(seed)
    if not c_parity:
        return _euler_xyz_deg(_uniform_rotation(*source.uniform(3).astype(np.float64)))
    axes, quantiles = _axes_and_quantiles(source, 1)
    return _euler_xyz_deg(_rotation_matrices(axes, _angles(quantiles, _FULL_SPHERE, rounded=True))[0])


def _axes_and_quantiles(source: Ran1, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Axes uniform on the sphere, (count, 3), and quantiles cbrt(1 - u^2) with u uniform on -1 .. 1, (count,)."""
    azimuth, height, u = (2.0 * source.uniform(3 * count).astype(np.float64) - 1.0).reshape(count, 3).T
    roots = np.empty(count, dtype=np.float32)
    float32_cube_roots((1.0 - u * u).astype(np.float32), roots)
    return _axes(azimuth, height), roots.astype(np.float64)


def _axes(azimuth: np.ndarray, height: np.ndarray) -> np.ndarray:
    """Unit vectors (n, 3) of an azimuth, in units of pi, and of a height; both (n,) from -1 to 1."""
    radius = np.sqrt(1.0 - height * height)
    return np.stack([radius * np.sin(np.pi * azimuth), radius * np.cos(np.pi * azimuth), height], axis=1)


def _angles(quantiles: np.ndarray, spread_rad: float, rounded: bool) -> np.ndarray:
    """quantiles * spread, (n,) float64; rounded: computed in float32."""
    if not rounded:
        return quantiles * float(spread_rad)
    return (quantiles.astype(np.float32) * np.float32(spread_rad)).astype(np.float64)


def _rotation_matrices(axes: np.ndarray, angles_rad: np.ndarray) -> np.ndarray:
    """Right-handed rotations about unit axes (n, 3) by angles (n,): cos 1 + sin [v]x + (1 - cos) v v^T, (n, 3, 3)."""
    cosine, sine = np.cos(angles_rad)[:, None, None], np.sin(angles_rad)[:, None, None]
    x, y, z = axes.T
    zero = np.zeros_like(x)
    cross = np.stack([zero, -z, y, z, zero, -x, -y, x, zero], axis=1).reshape(-1, 3, 3)
    outer = axes[:, :, None] * axes[:, None, :]
    return cosine * np.eye(3) + sine * cross + (1.0 - cosine) * outer


def _uniform_rotation(u1: float, u2: float, u3: float) -> np.ndarray:
    """Shoemake's uniform rotation from three uniform deviates, through a unit quaternion; (3, 3)."""
    first, second = math.sqrt(1.0 - u1), math.sqrt(u1)
    x, y = first * math.sin(2.0 * math.pi * u2), first * math.cos(2.0 * math.pi * u2)
    z, w = second * math.sin(2.0 * math.pi * u3), second * math.cos(2.0 * math.pi * u3)
    return np.array([
        [1.0 - 2.0 * (y * y + z * z), 2.0 * (x * y - z * w), 2.0 * (x * z + y * w)],
        [2.0 * (x * y + z * w), 1.0 - 2.0 * (x * x + z * z), 2.0 * (y * z - x * w)],
        [2.0 * (x * z - y * w), 2.0 * (y * z + x * w), 1.0 - 2.0 * (x * x + y * y)],
    ])


def _euler_xyz_deg(matrix: np.ndarray) -> tuple[float, float, float]:
    """The angles (x, y, z) in degrees with matrix = Rz Ry Rx; z is 0 if y is +-90 degrees, where only x +- z is determined."""
    cos_y = math.hypot(matrix[2, 1], matrix[2, 2])
    y = math.atan2(-matrix[2, 0], cos_y)
    if cos_y > 0.0:
        x, z = math.atan2(matrix[2, 1], matrix[2, 2]), math.atan2(matrix[1, 0], matrix[0, 0])
    else:
        x, z = math.atan2(-matrix[1, 2], matrix[1, 1]), 0.0
    return math.degrees(x), math.degrees(y), math.degrees(z)


def _checked_seed(seed: int) -> int:
    """The seed as an int. Raises InputError unless it is a whole number within LARGEST_SEED."""
    number = _whole(seed)
    if number is None or abs(number) > LARGEST_SEED:
        raise InputError(f"seed is {seed!r}: it must be a whole number from {-LARGEST_SEED} to {LARGEST_SEED}")
    return number


def _checked_count(count: int) -> int:
    """The number of domains as an int. Raises InputError unless it is a whole number of at least 1."""
    number = _whole(count)
    if number is None or number < 1:
        raise InputError(f"mosaic domains is {count!r}: it must be a whole number, 1 or more")
    return number


def _whole(value: object) -> int | None:
    """The value as an int, or None if it is not an integer (a bool is not)."""
    if isinstance(value, (bool, np.bool_)):
        return None
    try:
        return operator.index(value)
    except TypeError:
        return None


def _check_spread(field: str, value: float, largest: float, unit: str) -> None:
    """Raise InputError unless 0 <= value <= largest."""
    if not 0.0 <= value <= largest:
        raise InputError(f"{field} is {value!r} {unit}: it must be a number from 0 to {largest:g} {unit}")
