"""The jitter of a series: by which distributions numbers of its frames differ, as a file of TOML states it (V2, V3)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nbnumba.errors import InputError, shown
from nbnumba.experiment import Experiment
from nbnumba.formats import files
from nbnumba.setup.values import VECTORS
from nbnumba.shots.random_numbers import generator, normal_share

KEYS = {
    "normal": ({"sigma"}, {"mean", "low", "high", "tied"}),
    "lognormal": ({"sigma"}, {"median", "low", "high", "tied"}),
    "uniform": (set(), {"low", "high", "half_width", "tied"}),
}
"""The distributions of a parameter: the keys that each needs beside `distribution`, and those that it may have."""

ORIENTATION_KEYS: dict[str, tuple[set[str], set[str]]] = {"uniform": (set(), set()), "normal": ({"sigma_deg"}, set())}
"""The same of the orientation."""

ORIENTATION, CORRELATIONS = "orientation", "correlations"

MOST_DRAWS = 100000
"""The number of draws after which a truncated distribution is given up, because it leaves next to nothing."""

ROUNDING = 1e-12
"""By how much elements of a correlation matrix may differ from their mirror images and from 1."""


@dataclass(frozen=True)
class Distribution:
    """The distribution of a parameter (V2).

    kind: a word of KEYS. centre: the mean of a normal one, the median of a lognormal one, the middle of a uniform one; None:
    the value that the experiment states. width: sigma, of the logarithm for a lognormal one; half the width of a uniform one.
    low, high: no value lies beyond. tied: names of other parameters that have the same value.
    """

    kind: str
    centre: float | None
    width: float
    low: float = -math.inf
    high: float = math.inf
    tied: tuple[str, ...] = ()

    def value(self, deviate: float, stated: float) -> float:
        """The value for a standard normal deviate. stated: the value of the experiment."""
        centre = stated if self.centre is None else self.centre
        if self.kind == "normal":
            return centre + self.width * deviate
        if self.kind == "lognormal":
            exponent = self.width * deviate
            return centre * math.exp(exponent) if exponent < 700.0 else math.inf
        return centre + self.width * (2.0 * normal_share(deviate) - 1.0)

    def allows(self, value: float) -> bool:
        """Whether a value lies between low and high."""
        return self.low <= value <= self.high


@dataclass(frozen=True)
class Group:
    """Parameters that are drawn together. factor (n, n): the lower triangle whose square is their correlation matrix (V2)."""

    names: tuple[str, ...]
    factor: tuple[tuple[float, ...], ...] = ((1.0,),)


@dataclass(frozen=True)
class Jitter:
    """What a jitter file states (V2, V3).

    distributions: by the name of the parameter. groups: every parameter is in one of them. orientation: None, "uniform" or
    "normal"; orientation_deg: the sigma of a normal one. content: the file as it was read, for comparison with another.
    """

    distributions: Mapping[str, Distribution]
    groups: tuple[Group, ...] = ()
    orientation: str | None = None
    orientation_deg: float = 0.0
    content: Mapping[str, Any] | None = None

    @property
    def names(self) -> list[str]:
        """The names of all parameters that vary, tied ones included."""
        return [name for own, drawn in self.distributions.items() for name in (own, *drawn.tied)]

    def draw(self, experiment: Experiment, seed: int, frame: int) -> dict[str, float]:
        """The values of the parameters of a frame, by name; experiment: the one that is jittered (V2).

        Raises InputError where next to none of the values of a distribution lie between its low and high.
        """
        values: dict[str, float] = {}
        for group in self.groups:
            stated = {name: _stated(experiment, name, self.distributions[name]) for name in group.names}
            drawn = self._draw_group(group, stated, seed, frame)
            for name, value in drawn.items():
                values |= dict.fromkeys((name, *self.distributions[name].tied), value)
        return values

    def _draw_group(self, group: Group, stated: Mapping[str, float], seed: int, frame: int) -> dict[str, float]:
        """The values of parameters that are drawn together, anew until each lies between its low and high."""
        deviates = generator(seed, frame, *group.names)
        for _ in range(MOST_DRAWS):
            independent = [float(x) for x in deviates.standard_normal(len(group.names))]
            correlated = [sum(f * x for f, x in zip(row, independent)) for row in group.factor]
            drawn = {
                name: self.distributions[name].value(deviate, stated[name]) for name, deviate in zip(group.names, correlated)
            }
            if all(self.distributions[name].allows(value) for name, value in drawn.items()):
                return drawn
        names, draws = ", ".join(group.names), f"{MOST_DRAWS} draws"
        raise InputError(f"jitter, frame {frame}: {names}: none of {draws} lies between low and high; allowed: wider limits")


NO_JITTER = Jitter({})
"""Every frame has the numbers of the experiment."""


def _stated(experiment: Experiment, name: str, distribution: Distribution) -> float:
    """The value of a parameter in an experiment. Raises InputError for what is no single number that can vary."""
    try:
        value = experiment.value(name)
    except InputError as error:
        raise InputError(f"jitter: {error}") from None
    if name in VECTORS:
        raise InputError(f"jitter: {name} is three numbers; allowed: {', '.join(VECTORS[name])}, each by itself")
    if value is None and distribution.centre is not None:
        return distribution.centre
    if isinstance(value, float) and math.isfinite(value):
        return value
    allowed = "a parameter that is a real number, or its mean, median, or low and high where it is not stated"
    raise InputError(f"jitter: {name} is {shown(value)}, which does not vary; allowed: {allowed}")


def read_jitter(path: files.PathName, what: str = "read_jitter") -> Jitter:
    """Read the jitter of a series from a file of TOML (V2, V3). Raises InputError for what is none.

    what: the option or the function that names the file, for messages.
    """
    try:
        import tomllib
    except ImportError:  # Python 3.10
        import tomli as tomllib  # type: ignore[no-redef]
    name = f"{what}: {files.name_of(path, what)!r}"
    try:
        content = tomllib.loads(files.read_text(path, what, "a jitter file as TOML"))
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{name} is no TOML: {error}; allowed: tables of TOML, such as [crystal.a_A]") from None
    return jitter_of(content, name)


def jitter_of(content: Mapping[str, Any], what: str = "jitter") -> Jitter:
    """The jitter that tables state (V2, V3). Raises InputError, beginning with `what`, for what they cannot state."""
    rest = dict(content)
    kind, sigma_deg = _orientation(rest.pop(ORIENTATION, None), what)
    correlations = rest.pop(CORRELATIONS, [])
    distributions = {name: _distribution(name, table, what) for name, table in _tables(rest, what)}
    _check_ties(distributions, what)
    groups = _groups(correlations, distributions, what)
    jitter = Jitter(distributions, groups, kind, sigma_deg, content)
    turned = [name for name in jitter.names if ".misset_" in name]
    if kind is not None and turned:
        raise InputError(f"{what}: {turned[0]} and [{ORIENTATION}] state the same; allowed: one of them")
    return jitter


def _tables(content: Mapping[str, Any], what: str, above: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The tables of parameters by their names; [crystal.a_A] and ["crystal.a_A"] are the same."""
    for key, table in content.items():
        name = f"{above}.{key}" if above else key
        if not isinstance(table, Mapping):
            stated = f"{name} = {shown(table)}"
            raise InputError(f"{what}: {stated} is no table; allowed: a table for each parameter, such as [crystal.a_A]")
        if "distribution" in table or not any(isinstance(value, Mapping) for value in table.values()):
            yield name, table
        else:
            yield from _tables(table, what, name)


def _kind(name: str, table: Mapping[str, Any], known: Mapping[str, tuple[set[str], set[str]]], what: str) -> str:
    """The distribution of a table. Raises InputError for an unknown one, and for keys that it has not, or lacks."""
    kind = table.get("distribution")
    if not isinstance(kind, str) or kind not in known:
        stated = "no distribution is stated" if kind is None else f"distribution {shown(kind)} is unknown"
        raise InputError(f"{what}: [{name}]: {stated}; allowed: {', '.join(known)}")
    needed, possible = known[kind]
    keys = ", ".join(sorted({"distribution"} | needed | possible))
    for key in table:
        if key not in {"distribution"} | needed | possible:
            raise InputError(f"{what}: [{name}]: {shown(key)} is no key of distribution {kind!r}; allowed: {keys}")
    for key in sorted(needed - set(table)):
        raise InputError(f"{what}: [{name}]: {key} is missing, which distribution {kind!r} needs; allowed: {keys}")
    return kind


def _distribution(name: str, table: Mapping[str, Any], what: str) -> Distribution:
    kind = _kind(name, table, KEYS, what)
    numbers = {key: _number(name, key, value, what) for key, value in table.items() if key not in ("distribution", "tied")}
    low, high = numbers.get("low", -math.inf), numbers.get("high", math.inf)
    if not low < high:
        raise InputError(f"{what}: [{name}]: low {low:g} is not below high {high:g}; allowed: a low that is below the high")
    tied = _tied(name, table.get("tied", []), what)
    if kind == "uniform":
        stated = {"low", "high", "half_width"} & set(numbers)
        if stated == {"half_width"}:
            return Distribution(kind, None, _positive(name, "half_width", numbers["half_width"], what), tied=tied)
        if stated != {"low", "high"}:
            allowed = "low and high, or a half_width about the stated value"
            raise InputError(f"{what}: [{name}]: {', '.join(sorted(stated)) or 'no limits'}; allowed: {allowed}")
        return Distribution(kind, low + (high - low) / 2.0, (high - low) / 2.0, low, high, tied)
    width = _positive(name, "sigma", numbers["sigma"], what)
    centre = numbers.get("mean" if kind == "normal" else "median")
    if kind == "lognormal" and centre is not None:
        _positive(name, "median", centre, what)
    return Distribution(kind, centre, width, low, high, tied)


def _orientation(table: Any, what: str) -> tuple[str | None, float]:
    """The distribution of the orientation, and its sigma in degree."""
    if table is None:
        return None, 0.0
    if not isinstance(table, Mapping):
        raise InputError(f"{what}: {ORIENTATION} = {shown(table)} is no table; allowed: [{ORIENTATION}] with a distribution")
    kind = _kind(ORIENTATION, table, ORIENTATION_KEYS, what)
    if kind == "uniform":
        return kind, 0.0
    return kind, _positive(ORIENTATION, "sigma_deg", _number(ORIENTATION, "sigma_deg", table["sigma_deg"], what), what)


def _number(name: str, key: str, value: Any, what: str) -> float:
    if isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e300:
        return float(value)
    raise InputError(f"{what}: [{name}]: {key} = {shown(value)} is not allowed; allowed: a number")


def _positive(name: str, key: str, value: float, what: str) -> float:
    if value > 0.0:
        return value
    raise InputError(f"{what}: [{name}]: {key} = {value:g} is not allowed; allowed: a number above 0")


def _tied(name: str, value: Any, what: str) -> tuple[str, ...]:
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list) or not all(isinstance(other, str) for other in names):
        raise InputError(f"{what}: [{name}]: tied = {shown(value)} is not allowed; allowed: a list of names of parameters")
    return tuple(names)


def _check_ties(distributions: Mapping[str, Distribution], what: str) -> None:
    """Raise InputError for a parameter that is stated twice."""
    seen: set[str] = set()
    for name, distribution in distributions.items():
        for each in (name, *distribution.tied):
            if each in seen:
                raise InputError(f"{what}: {each} is stated twice; allowed: a table of its own, or one that it is tied to")
            seen.add(each)


def _groups(stated: Any, distributions: Mapping[str, Distribution], what: str) -> tuple[Group, ...]:
    """The groups of the tables of correlations, and one for every other parameter."""
    groups = [_group(table, distributions, what) for table in ([stated] if isinstance(stated, Mapping) else stated)]
    grouped = [name for group in groups for name in group.names]
    for name in grouped:
        if grouped.count(name) > 1:
            raise InputError(f"{what}: [{CORRELATIONS}]: {name} is named twice; allowed: every parameter once")
    return (*groups, *(Group((name,)) for name in distributions if name not in grouped))


def _group(table: Any, distributions: Mapping[str, Distribution], what: str) -> Group:
    name = f"{what}: [{CORRELATIONS}]"
    allowed = "parameters, a list of names, and matrix, their correlations"
    if not isinstance(table, Mapping) or set(table) != {"parameters", "matrix"}:
        keys = ", ".join(table) if isinstance(table, Mapping) else shown(table)
        raise InputError(f"{name}: {keys} is not allowed; allowed: {allowed}")
    names, matrix = table["parameters"], table["matrix"]
    if not isinstance(names, list) or not names or not all(isinstance(each, str) for each in names):
        raise InputError(f"{name}: parameters = {shown(names)} is not allowed; allowed: {allowed}")
    for each in names:
        if each not in distributions:
            raise InputError(f"{name}: {each} has no distribution of its own; allowed: {', '.join(distributions) or 'none'}")
    return Group(tuple(names), _factor(names, matrix, name))


def _factor(names: Sequence[str], matrix: Any, what: str) -> tuple[tuple[float, ...], ...]:
    """The lower triangle of Cholesky's decomposition of a correlation matrix. Raises InputError for what is none."""
    size = len(names)
    try:
        values = np.array(matrix, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        values = np.zeros(0)
    if values.shape != (size, size) or not np.isfinite(values).all():
        raise InputError(f"{what}: matrix = {shown(matrix)} is not allowed; allowed: {size} rows of {size} numbers")
    if np.abs(values - values.T).max() > ROUNDING or np.abs(np.diag(values) - 1.0).max() > ROUNDING:
        raise InputError(f"{what}: matrix = {shown(matrix)} is not allowed; allowed: a symmetric matrix with 1 on its diagonal")
    lower = [[0.0] * size for _ in range(size)]
    for row in range(size):
        for column in range(row + 1):
            rest = float(values[row, column]) - sum(lower[row][n] * lower[column][n] for n in range(column))
            if row > column:
                lower[row][column] = rest / lower[column][column]
            elif rest > ROUNDING:
                lower[row][row] = math.sqrt(rest)
            else:
                stated = f"the matrix of {', '.join(names)} is not positive definite"
                raise InputError(f"{what}: {stated}; allowed: correlations that several numbers can have at once")
    return tuple(map(tuple, lower))
