"""The parts of an experiment as the user states them: frozen, validated, in mm, A and degrees. None means not given."""

from __future__ import annotations

import dataclasses
import math
import os
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, cast

import numpy as np

from nbnumba.constants import HC_EV_A, ICE_SIZES_A, WATER_G_PER_CM3, WATER_G_PER_MOL
from nbnumba.errors import InputError, real, shown
from nbnumba.geometry.cell import cell_of, spans_a_lattice, standard_setting
from nbnumba.parity import Defects
from nbnumba.shipped_tables import water_table
from nbnumba.stages.shapes import SHAPES

if TYPE_CHECKING:
    from nbnumba.amplitudes.listed import Amplitudes

Vector = tuple[float, float, float]
Rectangle = tuple[int, int, int, int]

MOSAIC_SAMPLINGS, PHI_SAMPLINGS = ("random", "sobol"), ("left", "mid")
"""How mosaic domains are drawn, and where in its step a phi step is rendered."""

CONVENTIONS = ("mosflm", "adxv", "denzo", "xds", "dials", "custom")
PIVOTS = ("beam", "sample")

SMALLEST, LARGEST = 1e-12, 1e12
"""Between these lies every number above 0 of an experiment, and no number is larger: so that their products stay numbers."""

FAINTEST = 1e-100
"""A number that may be 0 is 0 or at least this."""

MOST_FLUENCE = 1e100
"""The largest number of photons/m^2."""

MOST_FLUX = 1e50
"""The largest number of photons/s; no exposure makes more of it than MOST_FLUENCE."""

MOST_CELLS = 1e9
"""Unit cells along an edge at most: a crystal of a metre."""

MOST_CELL_SPREAD = 0.5
"""The largest fraction by which a length of the cell differs between mosaic domains: no length comes near to 0."""

LEAST_WIDTH = 1e-6
"""The least eigenvalue of a matrix of numbers of cells, as a part of the largest of these numbers."""

ROUNDING_OF_B = 1e-9
"""By how much, as a part of the largest B factor, a combination of B factors may be below 0."""

MOST_PIXELS = 65535
"""Pixels along an axis at most."""

MOST_CRYSTALS = 1000
"""Crystals in a beam at most."""

MOST_PANELS = 4096
"""Panels of a detector at most."""

MOST_ROWS = 2**20
"""The row or column of a file's array in which a panel begins, at most."""

UNIT_AXES = 1e-6
"""The most by which the axes of a panel or a group may miss the length 1 and a right angle."""

MOST_AMPLITUDE = 1e30
"""The largest structure factor, electrons, in size."""

MOST_STOL, CLOSEST_STOL = 1e6, 1e-9
"""The largest sin(theta) / lambda of a table, and the smallest step, 1/A."""

MOST_TURNS_DEG = 1e6
"""The largest angle: of a larger one too few digits are left behind the whole turns."""

MOST_COUNT = 2**31 - 1
"""The largest number of anything that is counted."""

PATH = re.compile(r"(?:[^\s/,=\[\]]+/)*[^\s/,=\[\]]+")
"""The path of a panel or a group: names with a slash between them."""


def _number(part: str, name: str, value: Any, allowed: str, test) -> float:
    """The value as a float, if it is a finite number that passes the test."""
    try:
        number = float(real(value))
    except (TypeError, ValueError, OverflowError):
        raise InputError(f"{part}.{name}: {shown(value)} is not a number; allowed: {allowed}") from None
    if not math.isfinite(number) or not test(number):
        stated = f"{number:.15g}" if isinstance(value, (int, float, np.number)) else shown(value)
        raise InputError(f"{part}.{name}: {stated} is not allowed; allowed: {allowed}")
    return number


def _is_infinite(value: Any) -> bool:
    return isinstance(value, (int, float, np.number)) and value == math.inf


def _positive(part: str, name: str, value: Any, most: float = LARGEST) -> float:
    allowed = f"a positive number from {SMALLEST:g} to {most:g}"
    return _number(part, name, value, allowed, lambda x: SMALLEST <= x <= most)


def _not_negative(part: str, name: str, value: Any, most: float = LARGEST) -> float:
    allowed = f"0, or a number from {FAINTEST:g} to {most:g}"
    return _number(part, name, value, allowed, lambda x: x == 0 or FAINTEST <= x <= most)


def _finite(part: str, name: str, value: Any, most: float = LARGEST) -> float:
    return _number(part, name, value, f"a number of at most {most:g} in size", lambda x: abs(x) <= most)


def _table(name: str, rows: Any, ndmin: int | None = 2) -> np.ndarray:
    """The numbers of a table in float64."""
    try:
        return np.array(real(rows), dtype=np.float64, ndmin=ndmin or 0)
    except (TypeError, ValueError, OverflowError):
        raise InputError(f"{name}: {shown(rows)} is not allowed; allowed: a table of numbers") from None


def _count(part: str, name: str, value: Any) -> int:
    allowed = f"a whole number of at least 1 and at most {MOST_COUNT}"
    return int(_number(part, name, value, allowed, lambda n: 1 <= n <= MOST_COUNT and n == round(n)))


def _index(part: str, name: str, value: Any) -> int:
    """A number that is counted from 0."""
    allowed = f"a whole number from 0 to {MOST_COUNT}"
    return int(_number(part, name, value, allowed, lambda n: 0 <= n <= MOST_COUNT and n == round(n)))


def _depth(part: str, name: str, value: Any) -> float | None:
    """The attenuation depth: None, inf or a positive number."""
    if value is None or _is_infinite(value):
        return value
    allowed = f"inf, or a positive number from {SMALLEST:g} to {LARGEST:g}"
    return _number(part, name, value, allowed, lambda x: SMALLEST <= x <= LARGEST)


def _check_weights(name: str, weights: np.ndarray) -> None:
    """Raise InputError unless the weights of sources are numbers not below 0, and one is above."""
    usual = (weights == 0.0) | ((FAINTEST <= weights) & (weights <= LARGEST))
    if not usual.all() or not weights.any():
        wrong = "" if usual.all() else f": {weights[~usual][0]:g} is among them"
        raise InputError(f"{name} are not allowed{wrong}; allowed: none below 0, one above, and at most {LARGEST:g}")


def _check_axes(part: str, fast_axis: Vector, slow_axis: Vector) -> None:
    """Raise InputError for axes that are no unit vectors, or not orthogonal."""
    fast, slow = np.array(fast_axis), np.array(slow_axis)
    small = max(np.abs(fast).max(), np.abs(slow).max()) < 2.0  # so that products are numbers
    if not small or max(abs(fast @ fast - 1.0) / 2, abs(slow @ slow - 1.0) / 2, abs(fast @ slow)) > UNIT_AXES:
        stated = " and ".join(" ".join(f"{x:.9g}" for x in axis) for axis in (fast, slow))
        allowed = f"unit vectors at a right angle, to {UNIT_AXES:g}"
        raise InputError(f"{part}.fast_axis, slow_axis: {stated} are not allowed; allowed: {allowed}")


def _check_trusted(part: str, least: float | None, most: float | None) -> None:
    """Raise InputError for a largest valid count below the smallest."""
    if least is not None and most is not None and least > most:
        raise InputError(f"{part}.trusted_min, trusted_max: {least:g} and {most:g} are not allowed; allowed: min below max")


def _rectangles(part: str, stated: Any, shape: tuple[int, int]) -> tuple[Rectangle, ...]:
    """Rectangles of pixels of a panel of `shape` (slow, fast). Raises InputError for others."""
    try:
        array = np.array(real(list(stated)), dtype=np.float64) if len(stated) else np.zeros((0, 4))
    except (TypeError, ValueError, OverflowError):
        array = np.full((1, 4), np.nan)
    if array.shape[1:] != (4,):
        array = np.full((1, 4), np.nan)
    low, high = array[:, :2], array[:, 2:]
    if not ((array == np.round(array)) & (array >= 0.0)).all() or not ((low < high) & (high <= shape[::-1])).all():
        allowed = f"rectangles of first fast, first slow, end fast and end slow pixel, from 0 to {shape[1]} and {shape[0]}"
        raise InputError(f"{part}.masked: {shown(stated)} is not allowed; allowed: {allowed}")
    return tuple((int(f0), int(s0), int(f1), int(s1)) for f0, s0, f1, s1 in array)


class ByValue:
    """Frozen dataclasses that are equal where all their fields are, arrays and NaN included, also after pickle and deepcopy."""

    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[Any]]]

    def __eq__(self, other: object) -> bool:
        return self._key() == other._key() if type(self) is type(other) else NotImplemented

    def __hash__(self) -> int:
        return hash((type(self).__name__, self._key()))

    def __setstate__(self, state):
        for value in state.values():
            for array in value if isinstance(value, tuple) else (value,):
                if isinstance(array, np.ndarray):
                    array.setflags(write=False)
        self.__dict__.update(state)

    def _key(self) -> tuple:
        return tuple(_comparable(getattr(self, field.name)) for field in dataclasses.fields(self))


def _comparable(value: Any) -> Any:
    """A value that equals another one's, and has its hash, where the two are the same numbers; of an array, its bytes."""
    if isinstance(value, np.ndarray):
        return value.shape, (value.astype(np.float64) + 0.0).tobytes()
    if isinstance(value, tuple):
        return tuple(map(_comparable, value))
    return "nan" if isinstance(value, float) and math.isnan(value) else value


def _equal(value: Any, other: Any) -> bool:
    """Whether two values of a field are the same numbers."""
    return _comparable(value) == _comparable(other)


def _shown(value: Any) -> str:
    """A value in a line: arrays and long tables by their size."""
    if isinstance(value, np.ndarray):
        return f"<{' x '.join(map(str, value.shape))} {value.dtype}>"
    if isinstance(value, tuple) and value and isinstance(value[0], (tuple, ByValue)) and len(value) > 3:
        return f"<{len(value)} rows>" if isinstance(value[0], tuple) else f"<{len(value)} of {type(value[0]).__name__}>"
    return repr(sorted(value)) if isinstance(value, frozenset) else repr(value)


class _Statement(ByValue):
    """Validation shared by the parts of an experiment; each part lists its fields by kind.

    MOST: the largest number of a field, in size, where that is not LARGEST.
    """

    POSITIVE: tuple[str, ...] = ()
    NOT_NEGATIVE: tuple[str, ...] = ()
    FINITE: tuple[str, ...] = ()
    COUNTS: tuple[str, ...] = ()
    VECTORS: tuple[str, ...] = ()
    DIRECTIONS: tuple[str, ...] = ()
    MOST: Mapping[str, float] = MappingProxyType({})

    def __post_init__(self) -> None:
        for stated in dataclasses.fields(self):
            if getattr(self, stated.name) is None and stated.default is not None:
                default = "" if stated.default is dataclasses.MISSING else f" (default {stated.default})"
                raise InputError(f"{self._part()}.{stated.name}: None is not allowed; allowed: a value{default}")
            if isinstance(stated.default, bool):
                self._set(stated.name, self._truth(stated.name))
        for kind, names in ((_positive, self.POSITIVE), (_not_negative, self.NOT_NEGATIVE), (_finite, self.FINITE)):
            for name in names:
                if getattr(self, name) is not None:
                    self._set(name, kind(self._part(), name, getattr(self, name), self._most(name)))
        for name in self.COUNTS:
            if getattr(self, name) is not None:
                self._set(name, _count(self._part(), name, getattr(self, name)))
        for name in (*self.VECTORS, *self.DIRECTIONS):
            value = getattr(self, name)
            if value is not None:
                self._set(name, self._vector(name, value))
        for name in self.DIRECTIONS:
            if getattr(self, name) == (0.0, 0.0, 0.0):
                raise InputError(f"{self._part()}.{name}: the vector 0 0 0 has no direction; allowed: any other")

    def __repr__(self) -> str:
        stated = [field.name for field in dataclasses.fields(self) if not _equal(getattr(self, field.name), field.default)]
        return f"{type(self).__name__}({', '.join(f'{name}={_shown(getattr(self, name))}' for name in stated)})"

    def _part(self) -> str:
        """The name of what is stated, in errors."""
        return PART_NAMES[type(self)]

    def _set(self, name, value):
        object.__setattr__(self, name, value)

    def _number(self, name, value, allowed, test) -> float:
        return _number(self._part(), name, value, allowed, test)

    def _most(self, name) -> float:
        return self.MOST.get(name, LARGEST)

    def _vector(self, name, value) -> Vector:
        """Three numbers; those of a direction may have any length."""
        try:
            x, y, z = value
        except (TypeError, ValueError):
            raise InputError(f"{self._part()}.{name}: {shown(value)} is not allowed; allowed: three numbers") from None
        most = math.inf if name in self.DIRECTIONS else self._most(name)
        allowed = "three finite numbers" if most == math.inf else f"three numbers of at most {most:g} in size"
        x, y, z = (self._number(name, v, allowed, lambda x: abs(x) <= most) for v in (x, y, z))
        return x, y, z

    def _pixel_counts(self, name, axes, least=1, most=MOST_PIXELS) -> tuple[int, int]:
        """Two numbers of pixels; axes: those they are along, in words."""
        allowed = f"two whole numbers of pixels, {axes}, each at least {least} and at most {most}"
        value = getattr(self, name)
        try:
            first, second = value
        except (TypeError, ValueError):
            raise InputError(f"{self._part()}.{name}: {shown(value)} is not allowed; allowed: {allowed}") from None
        whole = [self._number(name, n, allowed, lambda n: least <= n <= most and n == round(n)) for n in (first, second)]
        return int(whole[0]), int(whole[1])

    def _truth(self, name) -> bool:
        value = getattr(self, name)
        if not isinstance(value, (bool, np.bool_)):
            raise InputError(f"{self._part()}.{name}: {shown(value)} is not allowed; allowed: True or False")
        return bool(value)

    def _choice(self, name, allowed):
        value = getattr(self, name)
        if value is not None and not (isinstance(value, str) and value in allowed):
            raise InputError(f"{self._part()}.{name}: {shown(value)} is not allowed; allowed: {', '.join(allowed)}")


@dataclass(frozen=True, eq=False, repr=False)
class Crystal(_Statement):
    """Unit cell, orientation, size and mosaicity.

    A length not given is that of a; an angle not given is 90. `orientation` is the rotation (three rows) that takes the
    crystal from its standard setting (a* along x, b* in the x-y plane; F7a) to the setting that misset_deg starts from. With
    misset_seed the missetting angles are those of a random orientation, in place of misset_deg. shape, fudge: F8.
    n_d, n_e, n_f are the elements ab, bc and ac of the symmetric matrix of numbers of cells of the shape gauss (F8f).
    mosaic_spread_deg is the largest angle by which a mosaic domain is turned, not a full width at half maximum (F7b).
    mosaic_sampling: "random" domains, as nanoBragg's, or "sobol", which are spread more evenly. cell_spread_a, cell_spread_b
    and cell_spread_c are the largest fractions by which lengths of the cell of a domain differ from a, b and c (F7b). scale is
    a factor of the photons of the crystal. position_x_mm, position_y_mm and position_z_mm are where the crystal is at phi = 0,
    in the laboratory frame, whose origin is on the spindle (F7e). b_factor_A2 is its B factor, to which b_11_A2 .. b_23_A2 add
    an anisotropic one, on the reciprocal axes (F9g). structure_factors: those of a crystal beside the first; None: the same
    ones (F7d).
    """

    a_A: float | None = None
    b_A: float | None = None
    c_A: float | None = None
    alpha_deg: float = 90.0
    beta_deg: float = 90.0
    gamma_deg: float = 90.0
    orientation: tuple[Vector, Vector, Vector] | None = None
    misset_deg: Vector = (0.0, 0.0, 0.0)
    misset_seed: int | None = None
    n_a: float = 1.0
    n_b: float = 1.0
    n_c: float = 1.0
    n_d: float = 0.0
    n_e: float = 0.0
    n_f: float = 0.0
    shape: str = "square"
    fudge: float = 1.0
    mosaic_spread_deg: float = 0.0
    mosaic_a_deg: float = 0.0
    mosaic_b_deg: float = 0.0
    mosaic_c_deg: float = 0.0
    cell_spread_a: float = 0.0
    cell_spread_b: float = 0.0
    cell_spread_c: float = 0.0
    mosaic_domains: int | None = None
    mosaic_seed: int = 12345678
    mosaic_sampling: str = "random"
    scale: float = 1.0
    position_x_mm: float = 0.0
    position_y_mm: float = 0.0
    position_z_mm: float = 0.0
    b_factor_A2: float = 0.0
    b_11_A2: float = 0.0
    b_22_A2: float = 0.0
    b_33_A2: float = 0.0
    b_12_A2: float = 0.0
    b_13_A2: float = 0.0
    b_23_A2: float = 0.0
    structure_factors: StructureFactors | None = None

    CELL = ("a_A", "b_A", "c_A", "alpha_deg", "beta_deg", "gamma_deg")
    POSITIVE = (*CELL, "scale")
    ABOUT_AXES: ClassVar[tuple[str, ...]] = ("mosaic_a_deg", "mosaic_b_deg", "mosaic_c_deg")
    """The fields that turn mosaic domains about axes of the crystal."""
    SPREADS: ClassVar[tuple[str, ...]] = ("mosaic_spread_deg", *ABOUT_AXES)
    """The fields that turn mosaic domains."""
    CELL_SPREADS: ClassVar[tuple[str, ...]] = ("cell_spread_a", "cell_spread_b", "cell_spread_c")
    """The fields by which lengths of the cell differ between mosaic domains."""
    DOMAIN_SPREADS: ClassVar[tuple[str, ...]] = (*SPREADS, *CELL_SPREADS)
    """The fields that make mosaic domains."""
    NOT_NEGATIVE = (*DOMAIN_SPREADS, "fudge", "b_factor_A2")
    POSITION: ClassVar[tuple[str, ...]] = ("position_x_mm", "position_y_mm", "position_z_mm")
    """The fields that state where the crystal is at phi = 0."""
    ANISOTROPIC: ClassVar[tuple[str, ...]] = ("b_11_A2", "b_22_A2", "b_33_A2", "b_12_A2", "b_13_A2", "b_23_A2")
    """The elements of the anisotropic B factor (F9g)."""
    COUNTS = ("mosaic_domains",)
    OFF_DIAGONAL: ClassVar[tuple[str, ...]] = ("n_d", "n_e", "n_f")
    """The elements of the matrix of numbers of cells off its diagonal."""
    FINITE = (*OFF_DIAGONAL, *ANISOTROPIC, *POSITION)
    VECTORS = ("misset_deg",)
    MOST = MappingProxyType({"misset_deg": MOST_TURNS_DEG} | dict.fromkeys(OFF_DIAGONAL, MOST_CELLS))

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.a_A is None:
            raise InputError("crystal.a_A is not given; allowed: a cell, or a matrix")
        for name in ("b_A", "c_A"):
            if getattr(self, name) is None:
                self._set(name, self.a_A)
        for name in ("n_a", "n_b", "n_c"):
            allowed = f"a number of unit cells of at least 1 and at most {MOST_CELLS:g}"
            self._set(name, self._number(name, getattr(self, name), allowed, lambda n: 1 <= n <= MOST_CELLS))
        for name in ("mosaic_seed", "misset_seed"):
            if getattr(self, name) is not None:
                self._set(name, int(self._number(name, getattr(self, name), "a whole number below 2^31", _whole_31_bits)))
        self._choice("shape", SHAPES)
        self._choice("mosaic_sampling", MOSAIC_SAMPLINGS)
        for name in self.SPREADS:
            if getattr(self, name) > 180:
                raise InputError(f"crystal.{name}: {getattr(self, name):g} is not allowed; allowed: 0 to 180")
        for name in self.CELL_SPREADS:
            if getattr(self, name) > MOST_CELL_SPREAD:
                why = "a length of the cell would come near to 0 in some mosaic domain"
                allowed = f"a fraction from 0 to {MOST_CELL_SPREAD:g}"
                raise InputError(f"crystal.{name}: {getattr(self, name):g} is not allowed: {why}; allowed: {allowed}")
        if not isinstance(self.structure_factors, StructureFactors | None):
            allowed = "a nbnumba.StructureFactors, or None"
            raise InputError(f"crystal.structure_factors: {shown(self.structure_factors)} is not allowed; allowed: {allowed}")
        self._check_angles()
        self._check_numbers_of_cells()
        self._check_b_factors()
        if self.orientation is not None:
            self._set("orientation", self._rotation(self.orientation))

    @property
    def cells(self) -> np.ndarray:
        """The symmetric matrix (3, 3) of numbers of cells: n_a, n_b, n_c on its diagonal; n_d, n_e, n_f at ab, bc, ac (F8f)."""
        a, b, c, d, e, f = self.n_a, self.n_b, self.n_c, self.n_d, self.n_e, self.n_f
        return np.array([[a, d, f], [d, b, e], [f, e, c]])

    @property
    def position_mm(self) -> Vector:
        """Where the crystal is at phi = 0, in mm, in the laboratory frame (F7e)."""
        return self.position_x_mm, self.position_y_mm, self.position_z_mm

    @property
    def is_displaced(self) -> bool:
        """Whether the crystal is elsewhere than where the spindle and the detector are placed about (F7e)."""
        return any(self.position_mm)

    @property
    def is_oblique(self) -> bool:
        """Whether the matrix of numbers of cells is not diagonal."""
        return any(getattr(self, name) != 0.0 for name in self.OFF_DIAGONAL)

    @property
    def b_factors(self) -> np.ndarray:
        """The symmetric matrix (3, 3) of the anisotropic B factor, on the reciprocal axes, in A^2 (F9g)."""
        b11, b22, b33, b12, b13, b23 = (getattr(self, name) for name in self.ANISOTROPIC)
        return np.array([[b11, b12, b13], [b12, b22, b23], [b13, b23, b33]])

    @property
    def disorder(self) -> np.ndarray:
        """The symmetric matrix W (3, 3), without a unit, by which h^T W h is the exponent of the B factors at h (F9g)."""
        inverse = np.linalg.inv(standard_setting(*self.cell))
        reciprocal = inverse.T @ inverse
        lengths = np.sqrt(np.diag(reciprocal))
        return (self.b_factor_A2 * reciprocal + self.b_factors * np.outer(lengths, lengths)) / 4.0

    def _check_b_factors(self):
        if not self.b_factors.any() or not spans_a_lattice(standard_setting(*self.cell)):
            return
        inverse = np.linalg.inv(standard_setting(*self.cell))
        lengths = np.linalg.norm(inverse, axis=0)
        least = 4.0 * float(np.linalg.eigvalsh(self.disorder / np.outer(lengths, lengths))[0])
        if least < -ROUNDING_OF_B * max(self.b_factor_A2, float(np.abs(self.b_factors).max())):
            stated = " ".join(f"{getattr(self, name):g}" for name in self.ANISOTROPIC)
            numbers = f"{stated} beside an isotropic one of {self.b_factor_A2:g}"
            allowed = "B factors by which no reflection grows, such as a larger isotropic one"
            raise InputError(f"crystal.{', '.join(self.ANISOTROPIC)}: {numbers} are not allowed; allowed: {allowed}")

    def _check_numbers_of_cells(self):
        if not self.is_oblique:
            return
        stated = " ".join(f"{getattr(self, name):g}" for name in self.OFF_DIAGONAL)
        if self.shape != "gauss":
            raise InputError(f"crystal.n_d, n_e, n_f: {stated} with the shape {self.shape}; allowed: the shape gauss, or 0 0 0")
        if np.linalg.eigvalsh(self.cells)[0] < LEAST_WIDTH * max(self.n_a, self.n_b, self.n_c):
            numbers = f"{stated} with n_a, n_b, n_c of {self.n_a:g} {self.n_b:g} {self.n_c:g}"
            allowed = "numbers whose matrix is positive definite, such as smaller ones"
            raise InputError(f"crystal.n_d, n_e, n_f: {numbers} make no crystal; allowed: {allowed}")

    @property
    def cell(self) -> tuple[float, float, float, float, float, float]:
        """The unit cell: a, b, c in A, and alpha, beta, gamma in degrees."""
        a, b, c = (cast(float, getattr(self, name)) for name in ("a_A", "b_A", "c_A"))  # stated: a crystal without is refused
        return (a, b, c, self.alpha_deg, self.beta_deg, self.gamma_deg)

    def _check_angles(self):
        angles = self.cell[3:]
        al, be, ga = angles
        if not (al + be + ga < 360 and al < be + ga and be < al + ga and ga < al + be):
            stated = " ".join(f"{x:g}" for x in angles)
            raise InputError(
                f"crystal.alpha_deg, beta_deg, gamma_deg: {stated} enclose no volume; "
                "allowed: angles whose sum is below 360, each smaller than the sum of the other two"
            )

    def _rotation(self, rows):
        try:
            matrix = np.array(real(rows), dtype=float)
        except (TypeError, ValueError, OverflowError):
            matrix = np.zeros((0, 0))
        small = matrix.shape == (3, 3) and (np.abs(matrix) < 2.0).all()  # so that products are numbers
        if not small or not np.allclose(matrix @ matrix.T, np.eye(3), atol=1e-6):
            raise InputError(f"crystal.orientation: {shown(rows)} is no rotation; allowed: three orthogonal unit rows")
        return tuple(tuple(float(v) for v in row) for row in matrix)

    @classmethod
    def from_matrix(cls, matrix: np.ndarray, wavelength_A: float, **fields: Any) -> Crystal:
        """A crystal from a MOSFLM-style matrix (3, 3): columns a*, b*, c* times the wavelength. Other fields as given.

        The cell is the matrix's, and changing a cell parameter afterwards keeps the orientation.
        """
        wavelength_A = _positive("beam", "wavelength_A", wavelength_A)
        try:
            columns = np.array(real(matrix), dtype=float)
        except (TypeError, ValueError, OverflowError):
            columns = np.zeros((0, 0))
        if columns.shape != (3, 3) or not spans_a_lattice(columns.T):
            allowed = "three independent columns a* b* c*"
            raise InputError(f"crystal: the matrix {shown(matrix)} spans no lattice; allowed: {allowed}")
        real_space = np.linalg.inv(columns / wavelength_A)
        cell: dict[str, Any] = dict(zip(cls.CELL, cell_of(real_space)))
        try:
            cls(**cell)
        except InputError as error:
            edges = " ".join(f"{value:g}" for value in cell.values())
            raise InputError(f"crystal: the matrix, at {wavelength_A:g} A, is of a cell {edges}: {error}") from None
        orientation = (np.linalg.inv(standard_setting(*cell.values())) @ real_space).T
        return cls(**{**cell, "orientation": orientation, **fields})


@dataclass(frozen=True, eq=False, repr=False)
class Beam(_Statement):
    """Wavelength, intensity, direction and polarization of the incident beam.

    fluence is in photons/m^2; size_mm clips a crystal that is given in mm, and says how much air is in the beam. direction and
    polarization_axis are unit vectors of the custom convention. The divergences and the dispersion are full ranges, with steps
    by nanoBragg's rules for what is not given (setup/sources.py). spectrum replaces the dispersion: a row of wavelength in A
    and weight for each wavelength. sources replaces all of them: a row x, y, z, weight, wavelength in A for each source, NaN
    where a number is missing. source_weights: the weight of every source, in place of its own. wavelength_scale and
    wavelength_offset_A: what the wavelengths of all sources are multiplied by, and what is added then. direction_x_mrad and
    direction_y_mrad tilt all sources, about the E vector and then about the axis across it, while the detector stays (F5a).
    dmin_A: samples of finer resolution are left out.
    """

    wavelength_A: float = 1.0
    fluence: float = 125932015286227086360700780544.0
    size_mm: float = 0.1
    polarization: float = 0.0
    polarized: bool = True
    direction: Vector | None = None
    polarization_axis: Vector | None = None
    hdivrange_mrad: float | None = None
    hdivstep_mrad: float | None = None
    hdivsteps: int | None = None
    vdivrange_mrad: float | None = None
    vdivstep_mrad: float | None = None
    vdivsteps: int | None = None
    round_divergence: bool = True
    dispersion_percent: float | None = None
    dispsteps: int | None = None
    spectrum: tuple[tuple[float, float], ...] | None = None
    sources: tuple[tuple[float, float, float, float, float], ...] | None = None
    source_weights: tuple[float, ...] | None = None
    wavelength_scale: float = 1.0
    wavelength_offset_A: float = 0.0
    direction_x_mrad: float = 0.0
    direction_y_mrad: float = 0.0
    dmin_A: float = 0.0

    POSITIVE = ("wavelength_A", "wavelength_scale")
    NOT_NEGATIVE = (
        *("fluence", "size_mm", "dmin_A", "dispersion_percent"),
        *("hdivrange_mrad", "hdivstep_mrad", "vdivrange_mrad", "vdivstep_mrad"),
    )
    FINITE = ("wavelength_offset_A", "direction_x_mrad", "direction_y_mrad")
    COUNTS = ("hdivsteps", "vdivsteps", "dispsteps")
    DIRECTIONS = ("direction", "polarization_axis")
    MOST = MappingProxyType({"fluence": MOST_FLUENCE})

    def __post_init__(self) -> None:
        super().__post_init__()
        allowed = "Kahn's factor between -1 and 1"
        self._set("polarization", self._number("polarization", self.polarization, allowed, lambda k: -1 <= k <= 1))
        if self.dispersion_percent is not None and self.dispersion_percent >= 200:
            raise InputError(f"beam.dispersion_percent: {self.dispersion_percent:g} is not allowed; allowed: below 200")
        if self.spectrum is not None:
            self._set("spectrum", self._spectrum_rows(self.spectrum))
        if self.sources is not None:
            self._set("sources", self._source_rows(self.sources))
        if self.source_weights is not None:
            self._set("source_weights", self._weights(self.source_weights))

    def _spectrum_rows(self, rows):
        for name in ("sources", "dispersion_percent", "dispsteps"):
            if getattr(self, name):
                why = "both say what the wavelengths are"
                raise InputError(f"beam.spectrum and beam.{name}: {why}; allowed: one of them")
        table = _table("beam.spectrum", rows)
        if table.shape[1:] != (2,) or not len(table) or not np.isfinite(table).all():
            raise InputError("beam.spectrum: allowed: rows of wavelength in A and weight")
        for wavelength in table[:, 0]:
            _positive("beam", "spectrum: wavelength in A", wavelength)
        _check_weights("beam.spectrum: the weights", table[:, 1])
        return tuple((float(wavelength), float(weight)) for wavelength, weight in table)

    def _weights(self, numbers):
        weights = _table("beam.source_weights", numbers, None)
        if weights.ndim != 1 or not len(weights):
            raise InputError("beam.source_weights: allowed: a number for each source")
        _check_weights("beam.source_weights", weights)
        return tuple(float(weight) for weight in weights)

    def _source_rows(self, rows):
        table = _table("beam.sources", rows)
        numbers = table[~np.isnan(table)]
        if table.shape[1:] != (5,) or not len(table) or not np.isfinite(numbers).all():
            raise InputError("beam.sources: allowed: rows of x, y, z, weight and wavelength in A, NaN where one is missing")
        weights, wavelengths = (column[~np.isnan(column)] for column in (table[:, 3], table[:, 4]))
        if (table[:, :3] == 0.0).all(axis=1).any():
            raise InputError("beam.sources: a source at 0 0 0 has no direction; allowed: any other place")
        for weight in weights:
            _not_negative("beam", "sources: weight", weight)
        if len(weights) == len(table):
            _check_weights("beam.sources: the weights", weights)
        for wavelength in wavelengths:
            _positive("beam", "sources: wavelength in A", wavelength)
        return tuple(tuple(float(x) for x in row) for row in table)

    @staticmethod
    def wavelength_from_energy(energy_eV: float) -> float:
        """Wavelength in A of photons of that energy."""
        least, most = HC_EV_A / LARGEST, HC_EV_A / SMALLEST
        allowed = f"a positive number from {least:g} to {most:g}"
        return HC_EV_A / _number("beam", "energy_eV", energy_eV, allowed, lambda e: least <= e <= most)

    @staticmethod
    def fluence_from_flux(flux: float, exposure_s: float, size_mm: float) -> float:
        """Photons/m^2 from photons/s, the exposure time, and the edge of a square beam."""
        flux = _not_negative("beam", "flux", flux, MOST_FLUX)
        exposure_s = _not_negative("beam", "exposure_s", exposure_s)
        metres = _positive("beam", "size_mm", size_mm) / 1000
        return flux * exposure_s / metres / metres


class _Placed(_Statement):
    """What panels and groups share: a path among the parts of the detector, and two axes in its frame (F1d)."""

    path: str

    def _part(self) -> str:
        return f"detector.{type(self).__name__.lower()}[{self.path if isinstance(self.path, str) else shown(self.path)}]"

    def _check_path(self) -> None:
        kind = f"detector.{type(self).__name__.lower()}s"
        if not isinstance(self.path, str) or not PATH.fullmatch(self.path):
            allowed = 'names with "/" between them, such as q0/s1/p3, without spaces, commas, "=" and brackets'
            raise InputError(f"{kind}: the path {shown(self.path)} is not allowed; allowed: {allowed}")


@dataclass(frozen=True, eq=False, repr=False)
class Panel(_Placed):
    """A flat, rectangular part of a detector with pixels of its own (F1d).

    path: its name, after those of the groups that it belongs to, such as q0/s1/p3. shape: numbers of pixels, (slow, fast).
    origin_mm: the corner of its first pixel, from that of the detector; fast_axis, slow_axis: unit vectors: all three by their
    components along fast, slow and normal of the detector, before any group is moved. Its sensor has a thickness and an
    attenuation depth (None: as deep as thick); material is its name and has no effect. gain: counts per photon. trusted_min and
    trusted_max: the counts between which the panel measures (None: not stated). masked: rectangles of pixels that measure
    nothing: first fast and slow pixel, and those after the last ones, from 0. data_origin: the row and the column of its first
    pixel in files that hold all panels as one array (None: not stated).
    """

    path: str
    shape: tuple[int, int]
    pixel_fast_mm: float
    pixel_slow_mm: float
    origin_mm: Vector
    fast_axis: Vector = (1.0, 0.0, 0.0)
    slow_axis: Vector = (0.0, 1.0, 0.0)
    thickness_um: float = 0.0
    attenuation_um: float | None = None
    material: str | None = None
    gain: float = 1.0
    trusted_min: float | None = None
    trusted_max: float | None = None
    masked: tuple[Rectangle, ...] = ()
    data_origin: tuple[int, int] | None = None

    POSITIVE = ("pixel_fast_mm", "pixel_slow_mm", "gain")
    NOT_NEGATIVE = ("thickness_um",)
    FINITE = ("trusted_min", "trusted_max")
    VECTORS = ("origin_mm",)
    DIRECTIONS = ("fast_axis", "slow_axis")

    def __post_init__(self) -> None:
        self._check_path()
        super().__post_init__()
        slow, fast = self._pixel_counts("shape", "slow and fast")
        self._set("shape", (slow, fast))
        _check_axes(self._part(), self.fast_axis, self.slow_axis)
        self._set("attenuation_um", _depth(self._part(), "attenuation_um", self.attenuation_um))
        if self.material is not None and not (isinstance(self.material, str) and self.material.isprintable()):
            raise InputError(f"{self._part()}.material: {shown(self.material)} is not allowed; allowed: the name of a material")
        _check_trusted(self._part(), self.trusted_min, self.trusted_max)
        self._set("masked", _rectangles(self._part(), self.masked, self.shape))
        if self.data_origin is not None:
            row, column = self._pixel_counts("data_origin", "row and column", 0, MOST_ROWS)
            self._set("data_origin", (row, column))


@dataclass(frozen=True, eq=False, repr=False)
class Group(_Placed):
    """Panels that move together (F1d): those whose path begins with `path`, or the one panel whose path it is.

    fast_axis, slow_axis: its unit axes in the frame of the detector (None: those of the detector, or of the one panel).
    shift_mm: by how much the group is moved along its fast, slow and normal axes. turn_deg: by how much it is turned about them
    before, about fast, then slow, then normal, through its centre. centre_mm: the centre, in the frame of the detector (None:
    the mean of the centres of its panels before any group is moved).
    """

    path: str
    fast_axis: Vector | None = None
    slow_axis: Vector | None = None
    shift_mm: Vector = (0.0, 0.0, 0.0)
    turn_deg: Vector = (0.0, 0.0, 0.0)
    centre_mm: Vector | None = None

    VECTORS = ("shift_mm", "turn_deg", "centre_mm")
    DIRECTIONS = ("fast_axis", "slow_axis")
    MOST = MappingProxyType({"turn_deg": MOST_TURNS_DEG})

    def __post_init__(self) -> None:
        self._check_path()
        super().__post_init__()
        if (self.fast_axis is None) != (self.slow_axis is None):
            raise InputError(f"{self._part()}: fast_axis and slow_axis are given together or not at all")
        if self.fast_axis is not None and self.slow_axis is not None:
            _check_axes(self._part(), self.fast_axis, self.slow_axis)


@dataclass(frozen=True, eq=False, repr=False)
class Detector(_Statement):
    """A flat detector: its pixels, where it stands, and how it is turned (specs/forward.md, F1; specs/inputs.md).

    pixels is (fast, slow); size_mm, of which the default beam centre is the middle, need not be a whole number of them.
    xbeam/ybeam_mm follow the convention; xclose/yclose_mm and orgx/orgy_pixels are the point nearest to the crystal, along fast
    and slow; pix0_mm is the corner of the first pixel before the detector is turned. The vectors belong to the custom
    convention. implied_pivot is what the order of nanoBragg's flags implies there. curved: all pixels at the distance of the
    middle. The sensor has a thickness and an attenuation depth (None: as deep as thick), in layers (2).

    panels: the parts that have pixels, in the frame of the detector (F1d); without any, the detector is one panel. With panels,
    pixels, pixel_mm and size_mm only say what the beam centre means in the convention, each panel has its own sensor, of
    so many layers, and the detector is not curved. groups: panels that are moved together. trusted_min, trusted_max and
    masked are those of a Panel, for a detector without panels.
    """

    convention: str = "mosflm"
    pixel_mm: float = 0.1
    pixels: tuple[int, int] = (1024, 1024)
    size_mm: tuple[float, float] | None = None
    distance_mm: float | None = None
    close_distance_mm: float | None = None
    xbeam_mm: float | None = None
    ybeam_mm: float | None = None
    xclose_mm: float | None = None
    yclose_mm: float | None = None
    orgx_pixels: float | None = None
    orgy_pixels: float | None = None
    pix0_mm: Vector | None = None
    rotx_deg: float = 0.0
    roty_deg: float = 0.0
    rotz_deg: float = 0.0
    twotheta_deg: float = 0.0
    pivot: str | None = None
    implied_pivot: str | None = None
    fast_axis: Vector | None = None
    slow_axis: Vector | None = None
    normal_axis: Vector | None = None
    twotheta_axis: Vector | None = None
    point_pixel: bool = False
    curved: bool = False
    thickness_um: float = 0.0
    attenuation_um: float | None = None
    layers: int | None = None
    trusted_min: float | None = None
    trusted_max: float | None = None
    masked: tuple[Rectangle, ...] = ()
    panels: tuple[Panel, ...] = ()
    groups: tuple[Group, ...] = ()

    POSITIVE = ("pixel_mm", "close_distance_mm")
    NOT_NEGATIVE = ("thickness_um",)
    COUNTS = ("layers",)
    FINITE = (
        *("distance_mm", "xbeam_mm", "ybeam_mm", "xclose_mm", "yclose_mm", "orgx_pixels", "orgy_pixels"),
        *("rotx_deg", "roty_deg", "rotz_deg", "twotheta_deg", "trusted_min", "trusted_max"),
    )
    VECTORS = ("pix0_mm", "normal_axis")
    DIRECTIONS = ("fast_axis", "slow_axis", "twotheta_axis")
    MOST = MappingProxyType(
        dict.fromkeys(("rotx_deg", "roty_deg", "rotz_deg", "twotheta_deg"), MOST_TURNS_DEG) | {"normal_axis": math.inf}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self._choice("convention", CONVENTIONS)
        self._choice("pivot", PIVOTS)
        self._choice("implied_pivot", PIVOTS)
        if self.distance_mm is not None and abs(self.distance_mm) < SMALLEST:
            allowed = f"a number from {SMALLEST:g} to {LARGEST:g} in size"
            raise InputError(f"detector.distance_mm: {self.distance_mm:g} is not allowed; allowed: {allowed}")
        self._set("pixels", self._pixel_counts("pixels", "fast and slow"))
        if self.size_mm is not None:
            try:
                across, along = self.size_mm
            except (TypeError, ValueError, OverflowError):
                allowed = "two positive numbers, fast and slow"
                raise InputError(f"detector.size_mm: {shown(self.size_mm)} is not allowed; allowed: {allowed}") from None
            self._set("size_mm", tuple(_positive("detector", "size_mm", edge) for edge in (across, along)))
        self._set("attenuation_um", _depth("detector", "attenuation_um", self.attenuation_um))
        _check_trusted("detector", self.trusted_min, self.trusted_max)
        self._set("panels", self._parts("panels", Panel))
        self._set("groups", self._parts("groups", Group))
        self._check_panels()
        self._set("masked", _rectangles("detector", self.masked, self.pixels[::-1]))

    def _parts(self, name, kind) -> tuple:
        """The panels or the groups as a tuple. Raises InputError for anything else, and for a path that occurs twice."""
        try:
            parts = tuple(getattr(self, name))
        except TypeError:
            parts = (None,)
        allowed = f"nbnumba.{kind.__name__}s with different paths, at most {MOST_PANELS}"
        if len(parts) > MOST_PANELS or not all(isinstance(part, kind) for part in parts):
            raise InputError(f"detector.{name}: {shown(getattr(self, name))} is not allowed; allowed: {allowed}")
        paths = [part.path for part in parts]
        if len(set(paths)) < len(paths):
            twice = next(path for i, path in enumerate(paths) if path in paths[:i])
            raise InputError(f"detector.{name}: the path {twice} occurs twice; allowed: {allowed}")
        return parts

    def _check_panels(self) -> None:
        """Raise InputError for panels that are groups of others, groups without a panel, and fields that panels exclude."""
        of_each = ("thickness_um", "attenuation_um", "trusted_min", "trusted_max", "masked")
        paths = {panel.path for panel in self.panels}
        above = {path[:cut] for path in paths for cut in range(len(path)) if path[cut] == "/"}
        for path in sorted(paths & above):
            raise InputError(f"detector.panels: the path {path} is that of a panel, and of a group; allowed: one of both")
        for group in self.groups:
            if group.path not in paths | above:
                known = shown(sorted(above or paths)) if paths else "none, as there are no panels"
                raise InputError(f"detector.groups: no panel has a path that begins with {group.path}; allowed: {known}")
        for name in (*of_each, "curved", "point_pixel") if self.panels else ():
            if getattr(self, name) != getattr(type(self), name):
                why = f"{shown(getattr(self, name))} is not allowed beside detector.panels"
                allowed = f"{name} of each panel" if name in of_each else "flat panels with pixels of a solid angle"
                raise InputError(f"detector.{name}: {why}; allowed: {allowed}")


@dataclass(frozen=True, eq=False, repr=False)
class Goniometer(_Statement):
    """The rotation of the crystal: start, range, and the steps that it is rendered in (F7b). Rules for what is not given
    are nanoBragg's (setup/orientations.py). phi_sampling: whether a step is rendered at its left edge or in its middle; None:
    at its left edge, as nanoBragg does, but in its middle in a refinement (R1)."""

    phi_deg: float = 0.0
    osc_deg: float | None = None
    phistep_deg: float | None = None
    phisteps: int | None = None
    phi_sampling: str | None = None
    spindle_axis: Vector | None = None

    FINITE = ("phi_deg",)
    NOT_NEGATIVE = ("osc_deg", "phistep_deg")
    COUNTS = ("phisteps",)
    DIRECTIONS = ("spindle_axis",)
    MOST = MappingProxyType(dict.fromkeys(("phi_deg", "osc_deg", "phistep_deg"), MOST_TURNS_DEG))

    def __post_init__(self) -> None:
        super().__post_init__()
        self._choice("phi_sampling", PHI_SAMPLINGS)


@dataclass(frozen=True, eq=False, repr=False)
class StructureFactors(_Statement):
    """Amplitudes F (n,) in electrons of the reflections hkl (n, 3); default_F for every other. P1: no symmetry is applied.

    energies_eV (energies,), ascending: F is (energies, n) and depends on the photon energy; a source has what a straight line
    between the nearest two gives at its energy, and beyond the ends the nearest (F9f). None: F is that of all energies.
    interpolate: between reflections; None: where a crystal is at most two cells wide, as nanoBragg. cell: that of the file
    which the amplitudes come from, a, b, c in A and angles in degrees; no image depends on it.
    """

    hkl: np.ndarray | None = None
    F: np.ndarray | None = None
    default_F: float = 0.0
    interpolate: bool | None = None
    energies_eV: tuple[float, ...] | None = None
    cell: tuple[float, float, float, float, float, float] | None = None

    FINITE = ("default_F",)
    MOST = MappingProxyType({"default_F": MOST_AMPLITUDE})

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.cell is not None:
            self._set("cell", self._checked_cell(self.cell))
        if (self.hkl is None) != (self.F is None):
            raise InputError("structure_factors: hkl and F are given together or not at all")
        if self.energies_eV is not None:
            self._set("energies_eV", self._checked_energies(self.energies_eV))
        if self.hkl is None:
            if self.default_F == 0.0:
                raise InputError("nothing scatters; allowed: structure_factors.hkl, or default_F other than 0")
            if self.energies_eV is not None:
                raise InputError("structure_factors.energies_eV: there is no list of reflections; allowed: hkl and F beside it")
            return
        hkl, amplitude = _table("structure_factors.hkl", self.hkl, None), _table("structure_factors.F", self.F, None)
        rows = [] if self.energies_eV is None else [len(self.energies_eV)]
        if hkl.ndim != 2 or hkl.shape[1] != 3 or amplitude.shape != (*rows, *hkl.shape[:1]) or not len(hkl):
            wanted = "(n,)" if self.energies_eV is None else f"({rows[0]}, n), a row for each of energies_eV"
            raise InputError(
                f"structure_factors: hkl of shape {hkl.shape} and F of shape {amplitude.shape} are not allowed; "
                f"allowed: (n, 3) and {wanted}, n at least 1"
            )
        if not (np.array_equal(hkl, np.round(hkl)) and (np.abs(hkl) < 2**31).all()):
            raise InputError("structure_factors.hkl: allowed: whole Miller indices below 2^31")
        if not (np.abs(amplitude) <= MOST_AMPLITUDE).all():
            wrong = amplitude[~(np.abs(amplitude) <= MOST_AMPLITUDE)][0]
            raise InputError(f"structure_factors.F: {wrong:g} is not allowed; allowed: at most {MOST_AMPLITUDE:g} in size")
        for name, array in (("hkl", hkl.astype(np.int32)), ("F", amplitude)):
            array.setflags(write=False)
            self._set(name, array)

    @cached_property
    def span(self) -> tuple[list[int], list[int]]:
        """The smallest and the largest h, k and l of the list of reflections."""
        hkl = np.ascontiguousarray(cast(np.ndarray, self.hkl).T)
        return hkl.min(axis=1).tolist(), hkl.max(axis=1).tolist()

    @staticmethod
    def _checked_energies(energies: Any) -> tuple[float, ...]:
        numbers = _table("structure_factors.energies_eV", energies, 1)
        fits = numbers.ndim == 1 and len(numbers) and (numbers >= SMALLEST).all() and (numbers <= LARGEST).all()
        if not fits or (np.diff(numbers) <= 0.0).any():
            allowed = "positive numbers, each larger than the one before"
            raise InputError(f"structure_factors.energies_eV: {shown(energies)} is not allowed; allowed: {allowed}")
        return tuple(numbers.tolist())

    @staticmethod
    def _checked_cell(cell: Any) -> tuple[float, ...]:
        numbers = _table("structure_factors.cell", cell, None)
        if numbers.shape != (6,):
            raise InputError(f"structure_factors.cell: {shown(cell)} is not allowed; allowed: three lengths and three angles")
        try:
            Crystal(*numbers.tolist())
        except InputError as error:
            raise InputError(f"structure_factors.cell: {error}") from None
        return tuple(numbers.tolist())

    @classmethod
    def from_coordinates(
        cls,
        path: str | os.PathLike[str],
        resolution_A: float,
        energy_eV: float | Sequence[float] | None = None,
        *,
        solvent: bool = True,
        k_sol: float = 0.35,
        b_sol_A2: float = 46.0,
        add_b_A2: float = 0.0,
        anomalous: str | os.PathLike[str] | None = None,
        **fields: Any,
    ) -> StructureFactors:
        """Amplitudes of all reflections of at least a resolution, of the atoms of a PDB, mmCIF or small molecule's CIF (F9c).

        energy_eV: the photon energy of anomalous scattering f', f''; None: without. Several, ascending, make F of shape
        (energies, n), which depends on the energy of each source (F9f). anomalous: a file of element, energy (eV),
        f' and f'', which counts before Cromer and Liberman's values. solvent: whether a macromolecule has bulk solvent, of
        k_sol electrons/A^3 and b_sol_A2. add_b_A2: added to the B of every atom. fields: the other fields. Raises InputError
        for a file that is none, and for numbers that are not allowed.
        """
        from nbnumba.amplitudes import atoms
        from nbnumba.formats import anomalous as anomalous_files

        called = "from_coordinates"
        several = energy_eV is not None and np.ndim(energy_eV) > 0
        if several:
            energies = cls._checked_energies(energy_eV)
        else:
            energies = () if energy_eV is None else (_positive(called, "energy_eV", energy_eV),)
        model = atoms.Model(
            energies,
            atoms.Solvent(_finite(called, "k_sol", k_sol), _not_negative(called, "b_sol_A2", b_sol_A2)) if solvent else None,
            _finite(called, "add_b_A2", add_b_A2),
            {} if anomalous is None else anomalous_files.read(anomalous, f"{called}: anomalous"),
        )
        resolution_A = _positive(called, "resolution_A", resolution_A)
        name = f"{called}: {os.fsdecode(path)!r}"
        found = atoms.from_coordinates(atoms.read(path, called), name, resolution_A, model)
        if several:
            fields = {"energies_eV": energies, **fields}
            found = found._replace(F=np.reshape(found.F, (len(energies), -1)))
        return cls._of_file(found, fields, called, path)

    @classmethod
    def from_mtz(cls, path: str | os.PathLike[str], column: str | None = None, **fields: Any) -> StructureFactors:
        """Amplitudes of an MTZ file, expanded to P1 by its space group (F9d). fields: the other fields.

        column: the label of amplitudes or intensities, or of one of a pair; None: as specs/formats.md chooses. Warns of what
        was taken and what is missing. Raises InputError for a file that is none, and for a label that is no amplitude or
        intensity.
        """
        from nbnumba.amplitudes import listed

        return cls._of_file(listed.from_mtz(path, "from_mtz", column), fields, "from_mtz", path)

    @classmethod
    def from_cif(cls, path: str | os.PathLike[str], column: str | None = None, **fields: Any) -> StructureFactors:
        """Amplitudes of the reflections of a CIF file, expanded to P1 (F9d); the rest as from_mtz."""
        from nbnumba.amplitudes import listed

        return cls._of_file(listed.from_cif(path, "from_cif", column), fields, "from_cif", path)

    @classmethod
    def from_hkl(cls, path: str | os.PathLike[str], **fields: Any) -> StructureFactors:
        """Amplitudes of a text, as -hkl: h k l F of all of P1, or the intensities of XDS or SHELX (F9d). fields: the others.

        Estimating amplitudes of SHELX's intensities takes the field `cell`. Warns of what was taken. Raises InputError for a
        file of another program, and for a damaged one.
        """
        from nbnumba.amplitudes import listed

        cell = None if fields.get("cell") is None else cls._checked_cell(fields["cell"])
        return cls._of_file(listed.from_hkl(path, "from_hkl", cast(Any, cell)), fields, "from_hkl", path)

    @classmethod
    def from_refl(
        cls,
        path: str | os.PathLike[str],
        expt: str | os.PathLike[str] | None = None,
        experiment: int | None = None,
        **fields: Any,
    ) -> StructureFactors:
        """Amplitudes of DIALS' intensities, scaled or integrated, expanded to P1 (F9d). fields: the other fields.

        expt: the list of experiments of the table, whose crystal has the space group and the cell; None: P1, and the field
        `cell`. experiment: the number, from 0, of the experiment in it, and of the rows that count; scaled rows all count.
        Warns of what was taken. Raises InputError for a file that is none, and for a table without intensities.
        """
        from nbnumba.amplitudes import listed
        from nbnumba.formats import dxtbx

        if experiment is not None:
            experiment = _index("from_refl", "experiment", experiment)
        cell = None if fields.get("cell") is None else cls._checked_cell(fields["cell"])
        stated = frozenset(["wavelength", "distance"])  # of the list only the crystal counts
        geometry = None if expt is None else dxtbx.read(expt, "from_refl: expt", experiment, stated)
        found = listed.from_refl(path, "from_refl", geometry, cast(Any, cell), experiment)
        return cls._of_file(found, fields, "from_refl", path)

    @classmethod
    def _of_file(
        cls, found: Amplitudes, fields: Mapping[str, Any], called: str, path: str | os.PathLike[str]
    ) -> StructureFactors:
        """The statement of amplitudes that were read, with a warning of each remark on the file; called: by what."""
        for note in found.notes:
            warnings.warn(f"{called} {os.fsdecode(path)!r}: {note}", stacklevel=3)
        return cls(**{"hkl": found.hkl, "F": found.F, "cell": found.cell, **fields})

    def to_mtz(self, path: str | os.PathLike[str], cell: tuple[float, ...] | None = None) -> None:
        """Write the amplitudes as an MTZ file of space group P1, in float32, half of reciprocal space (specs/formats.md).

        cell: a, b, c, alpha, beta and gamma; None: the field. Raises InputError without either, without a list of reflections,
        and for a file that cannot be written.
        """
        from nbnumba.formats import mtz

        stated = self.cell if cell is None else self._checked_cell(cell)
        if stated is None or self.hkl is None or self.F is None or self.F.ndim > 1:
            lacks = "no unit cell is known" if stated is None else "there is no list of reflections, or one of several energies"
            raise InputError(f"to_mtz: {lacks}; allowed: reflections, and the field cell or an argument cell of six numbers")
        mtz.write(path, self.hkl, self.F, cast(Any, stated), "to_mtz")


@dataclass(frozen=True, eq=False, repr=False)
class Background(_Statement):
    """What scatters beside the crystal: a cube of water, or of another amorphous material of that density and molar mass.

    table: structure factor of a molecule in electrons by sin(theta) / lambda in 1/A, in pairs; "water": that of liquid water
    which ships with nbnumba; None: water's 2.57 everywhere.
    air_mm: the length of the beam's path through air (F12b).
    ice_um: the edge of a cube of ice, a powder of crystallites of the diameter ice_size_A (F12c).
    image: photons that are added to each pixel, of the shape of the image; for panels of different shapes, an array for each.
    radial: photons that are added to a pixel by sin(theta) / lambda in 1/A, in pairs.
    """

    water_um: float = 0.0
    density_g_per_cm3: float = WATER_G_PER_CM3
    molar_mass_g: float = WATER_G_PER_MOL
    table: tuple[tuple[float, float], ...] | None = None
    air_mm: float = 0.0
    ice_um: float = 0.0
    ice_size_A: float = 500.0
    image: np.ndarray | tuple[np.ndarray, ...] | None = None
    radial: tuple[tuple[float, float], ...] | None = None

    NOT_NEGATIVE = ("water_um", "air_mm", "ice_um")
    POSITIVE = ("density_g_per_cm3", "molar_mass_g")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.image is not None:
            self._set("image", self._photons(self.image))
        if self.radial is not None:
            self._set("radial", self._pairs("radial", "photons"))
            if min(photons for _, photons in self.radial) < 0.0:
                raise InputError("background.radial: photons below 0 are not allowed; allowed: 0 or more")
        if isinstance(self.table, str):
            self._set("table", self._shipped(self.table))
        elif self.table is not None:
            self._set("table", self._pairs("table", "structure factor"))
        allowed = f"a number from {ICE_SIZES_A[0]:g} to {ICE_SIZES_A[1]:g}"
        self._set("ice_size_A", self._number("ice_size_A", self.ice_size_A, allowed, _is_size_of_ice))

    @staticmethod
    def _shipped(name: str) -> tuple[tuple[float, float], ...]:
        """The table of a name, which ships with nbnumba. Raises InputError for an unknown name."""
        if name != "water":
            raise InputError(f'background.table: {shown(name)} is not allowed; allowed: pairs of numbers, or "water"')
        return water_table()

    @staticmethod
    def _photons(image: Any) -> np.ndarray | tuple[np.ndarray, ...]:
        """The photons as a float64 array, or as one for each panel where these differ in shape."""
        allowed = f"0 to {MOST_AMPLITUDE:g} photons in every pixel, (slow, fast) or (panel, slow, fast)"
        try:
            parts = [np.array(real(image), dtype=np.float64)]
        except (TypeError, ValueError, OverflowError):
            try:
                parts = [np.array(real(part), dtype=np.float64) for part in image]
            except (TypeError, ValueError, OverflowError):
                parts = [np.zeros(0)]
        axes = (2, 3) if len(parts) == 1 else (2,)
        for part in parts:
            if part.ndim not in axes or not (part.size and (part >= 0.0).all() and (part <= MOST_AMPLITUDE).all()):
                raise InputError(f"background.image: allowed: {allowed}")
            part.setflags(write=False)
        return parts[0] if len(parts) == 1 else tuple(parts)

    def _pairs(self, field: str, what: str) -> tuple[tuple[float, float], ...]:
        """Pairs of sin(theta) / lambda, ascending, and of a number, checked."""
        name = f"background.{field}"
        rows = _table(name, getattr(self, field))
        fits = rows.ndim == 2 and rows.shape[1] == 2 and len(rows) >= 2 and np.isfinite(rows).all()
        if not fits or (np.diff(rows[:, 0]) <= 0).any() or rows[0, 0] < 0:
            raise InputError(f"{name}: allowed: two or more pairs of ascending sin(theta)/lambda and {what}")
        if np.diff(rows[:, 0]).min() < CLOSEST_STOL or rows[-1, 0] > MOST_STOL:
            allowed = f"at most {MOST_STOL:g}, in steps of {CLOSEST_STOL:g} or more"
            raise InputError(f"{name}: sin(theta)/lambda of {rows[0, 0]:g} to {rows[-1, 0]:g}; allowed: {allowed}")
        if np.abs(rows[:, 1]).max() > MOST_AMPLITUDE:
            wrong = rows[np.argmax(np.abs(rows[:, 1])), 1]
            kind = "F" if field == "table" else what
            raise InputError(f"{name}: {kind} of {wrong:g} is not allowed; allowed: at most {MOST_AMPLITUDE:g} in size")
        return tuple((float(x), float(y)) for x, y in rows)


@dataclass(frozen=True, eq=False, repr=False)
class Sampling(_Statement):
    """How finely a pixel is sampled, what part of the image is wanted, and which of nanoBragg.c's defects are reproduced.

    oversample None: nanoBragg's choice; a number, or one for each panel. roi: first and last fast pixel, first and last
    slow pixel; of several panels, of their sheet. mask: 0 where a pixel is not wanted; (slow, fast), (panel, slow, fast)
    or, for panels of different shapes, an array for each. c_threads: the number of threads of the run of nanoBragg.c whose
    phi carryover is reproduced. tolerance: the most photons that any pixel may lack (F10a).
    """

    oversample: int | tuple[int, ...] | None = None
    oversample_thick: bool = False
    oversample_polarization: bool = False
    oversample_omega: bool = False
    roi: tuple[int, int, int, int] | None = None
    mask: np.ndarray | tuple[np.ndarray, ...] | None = None
    c_parity: frozenset[str] = frozenset()
    c_threads: int = 1
    tolerance: float = 0.0

    COUNTS = ("c_threads",)
    NOT_NEGATIVE = ("tolerance",)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._set("c_parity", Defects.named(self.c_parity).names)
        if isinstance(self.oversample, (tuple, list)) and len(self.oversample) > 0:
            self._set("oversample", tuple(_count("sampling", "oversample", number) for number in self.oversample))
        elif self.oversample is not None:
            self._set("oversample", _count("sampling", "oversample", self.oversample))
        if self.roi is not None:
            self._set("roi", self._region(self.roi))
        if self.mask is not None:
            self._set("mask", self._mask(self.mask))

    @staticmethod
    def _mask(mask: Any) -> np.ndarray | tuple[np.ndarray, ...]:
        """The mask as an array, or as one for each panel where these differ in shape."""
        try:
            parts = [np.array(mask)]
        except ValueError:
            try:
                parts = [np.array(part) for part in mask]
            except ValueError:
                parts = [np.zeros(0)]
        axes = (2, 3) if len(parts) == 1 else (2,)
        for part in parts:
            kind = part.dtype.kind
            if part.ndim not in axes or kind not in "biuf" or (kind == "f" and not np.isfinite(part).all()):
                allowed = "numbers (slow, fast), or (panel, slow, fast), 0 where a pixel is not wanted"
                raise InputError(f"sampling.mask: allowed: {allowed}")
            part.setflags(write=False)
        return parts[0] if len(parts) == 1 else tuple(parts)

    @cached_property
    def defects(self) -> Defects:
        """The defects of c_parity, one by one, with c_threads."""
        return Defects.named(self.c_parity, self.c_threads)

    def _region(self, roi):
        allowed = "four whole numbers: first and last fast pixel, first and last slow pixel"
        try:
            numbers = [int(self._number("roi", n, allowed, lambda n: n == round(n) and abs(n) <= MOST_COUNT)) for n in roi]
        except TypeError:
            numbers = []
        if len(numbers) != 4:
            raise InputError(f"sampling.roi: {shown(roi)} is not allowed; allowed: {allowed}")
        return tuple(numbers)


PART_NAMES: dict[type, str] = {
    Crystal: "crystal",
    Beam: "beam",
    Detector: "detector",
    Goniometer: "goniometer",
    StructureFactors: "structure_factors",
    Background: "background",
    Sampling: "sampling",
}


def _is_size_of_ice(size_A: float) -> bool:
    return ICE_SIZES_A[0] <= size_A <= ICE_SIZES_A[1]


def _whole_31_bits(n: float) -> bool:
    return n == round(n) and abs(n) < 2**31


@dataclass(frozen=True, eq=False, repr=False)
class Statements(ByValue):
    """The seven parts of an experiment; nbnumba.Experiment adds its methods. They are equal where their parts are.

    other_crystals: crystals in the same beam beside the first one, each with its orientation, size and scale (F7d). A list of
    crystals in place of the first one states all of them.
    """

    crystal: Crystal
    structure_factors: StructureFactors
    beam: Beam = field(default_factory=Beam)
    detector: Detector = field(default_factory=Detector)
    goniometer: Goniometer = field(default_factory=Goniometer)
    background: Background = field(default_factory=Background)
    sampling: Sampling = field(default_factory=Sampling)
    other_crystals: tuple[Crystal, ...] = ()

    @property
    def crystals(self) -> tuple[Crystal, ...]:
        """All crystals in the beam, the first one first."""
        return (self.crystal, *self.other_crystals)

    def __post_init__(self) -> None:
        if isinstance(self.crystal, (list, tuple)) and len(self.crystal) > 0:
            object.__setattr__(self, "other_crystals", tuple(self.crystal[1:]))
            object.__setattr__(self, "crystal", self.crystal[0])
        self._check_other_crystals()
        for part, name in PART_NAMES.items():
            value, kind = getattr(self, name), part.__name__
            if not isinstance(value, part):
                raise InputError(f"{name}: {shown(value)} is no {kind}; allowed: a nbnumba.{kind}")
        self._check_positions()

    def _check_positions(self) -> None:
        """Raise InputError for a crystal that is displaced before a curved detector, or with a defect of C (F7e)."""
        for number, crystal in enumerate(self.crystals):
            if crystal.is_displaced and (self.detector.curved or self.sampling.c_parity):
                stated = f"crystal{f'[{number}]' if number else ''}.{', '.join(Crystal.POSITION)}"
                numbers = " ".join(f"{x:g}" for x in crystal.position_mm)
                why = "a curved detector is a sphere about the spindle" if self.detector.curved else "C knows no such position"
                allowed = "0 0 0, or a flat detector" if self.detector.curved else "0 0 0, or none of C's defects"
                raise InputError(f"{stated}: {numbers} is not allowed: {why}; allowed: {allowed}")

    def _check_other_crystals(self) -> None:
        """Raise InputError for what are no crystals, too many of them, and for several with a defect of C, which has one."""
        allowed = f"at most {MOST_CRYSTALS - 1} nbnumba.Crystals"
        others = self.other_crystals
        is_list = isinstance(others, (list, tuple)) and all(isinstance(crystal, Crystal) for crystal in others)
        if not is_list or len(others) >= MOST_CRYSTALS:
            raise InputError(f"other_crystals: {shown(others)} is not allowed; allowed: {allowed}")
        object.__setattr__(self, "other_crystals", tuple(others))
        if others and isinstance(self.sampling, Sampling) and self.sampling.c_parity:
            allowed = "none of C's defects, or one crystal"
            raise InputError(f"sampling.c_parity: C knows one crystal, and there are {1 + len(others)}; allowed: {allowed}")
        if others and isinstance(self.crystal, Crystal) and self.crystal.structure_factors is not None:
            why = "the first crystal has the structure factors of the experiment"
            raise InputError(f"crystal.structure_factors: {why}; allowed: None, or a crystal beside the first one")


Stated = TypeVar("Stated", bound=Statements)
"""The kind of an experiment that a function takes and returns."""
