"""What is refined: the numbers of all parameters in one vector, shared by all frames or each frame's own (R2)."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from adjoint.parameters import AMPLITUDES, IMAGE, VECTORS, Column, Name, columns, listed, parameter_row, size
from nbnumba.errors import InputError, real, shown
from nbnumba.experiment import Experiment

LEAST, MOST = 1e-100, 1e100
"""Sigmas of restraints and what these draw to are between: their squares are numbers."""


class Block(NamedTuple):
    """A parameter in the vector: its first place, its column (A15), and whether every frame has its own."""

    at: int
    column: Column
    own: bool
    unit: str


class Unknowns(NamedTuple):
    """All that is refined: blocks in the order of the parameters; which of them an experiment has, and which an image."""

    blocks: tuple[Block, ...]
    parameters: tuple[Name, ...]
    image: tuple[str, ...]
    frames: int

    def span(self, block: Block) -> slice:
        """Where the numbers of a block are, of all frames."""
        return slice(block.at, block.at + size(block.column) * (self.frames if block.own else 1))

    @property
    def count(self) -> int:
        """The number of numbers."""
        return self.span(self.blocks[-1]).stop

    def places(self, frame: int) -> np.ndarray:
        """Where the numbers of one frame are: first those of its experiment, then those of its image."""
        indices = []
        for wanted in (False, True):
            for block in self.blocks:
                if (block.column.key in IMAGE) == wanted:
                    n = size(block.column)
                    indices.append(block.at + (frame * n if block.own else 0) + np.arange(n))
        return np.concatenate(indices) if indices else np.zeros(0, dtype=int)

    def labels(self) -> list[str]:
        """A name for every number."""
        names = []
        for block in self.blocks:
            n, several = size(block.column), block.own and self.frames > 1
            for frame in range(self.frames if block.own else 1):
                for i in range(n):
                    part = f"[{i}]" if block.column.shape else ""
                    names.append(block.column.key + part + (f" (image {frame + 1})" if several else ""))
        return names

    def units(self) -> list[str]:
        """The unit of every number."""
        return [block.unit for block in self.blocks for _ in range(self.span(block).stop - block.at)]

    def amplitudes(self) -> np.ndarray:
        """Which numbers are amplitudes (n,)."""
        is_amplitude = np.zeros(self.count, dtype=bool)
        for block in self.blocks:
            if block.column.key == AMPLITUDES:
                is_amplitude[self.span(block)] = True
        return is_amplitude

    def by_name(self, vector: np.ndarray) -> dict[str, np.ndarray]:
        """The vector as a dict: an array of the shape of each parameter, with an axis of frames where each has its own."""
        arrays = {}
        for block in self.blocks:
            each = (self.frames,) if block.own else ()
            arrays[block.column.key] = vector[self.span(block)].reshape(each + block.column.shape).copy()
        return arrays

    def added(self, vector: np.ndarray, name: str, value: float) -> np.ndarray:
        """The vector with a value added to all numbers of a parameter, if it is among these."""
        sums = vector.copy()
        for block in self.blocks:
            if block.column.key == name:
                sums[self.span(block)] += value
        return sums

    def named(self) -> dict[str, np.ndarray]:
        """Where the numbers of every name are, of parameters and of parts of vectors: (frames, ...) where each has its own."""
        indices = {}
        for block in self.blocks:
            span, each = self.span(block), (self.frames,) if block.own else ()
            indices[block.column.key] = np.arange(span.start, span.stop).reshape(each + block.column.shape)
        for name in indices.keys() & VECTORS.keys():
            indices |= {part: indices[name][..., axis] for axis, part in enumerate(VECTORS[name])}
        return indices

    def stated(self, what: str, name: str, given: Any, one_for_all: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """Places of the numbers of a name, and the value of each: one stands for all frames and all amplitudes.

        Three are wanted of a vector, unless one_for_all: what is meant for one axis is not meant for the others. InputError.
        """
        named = self.named()
        if name not in named:
            raise InputError(f"{what}: {shown(name)} is not refined; allowed: {', '.join(named)}")
        try:
            values = np.asarray(real(given), dtype=np.float64)
            found = np.broadcast_to(values, named[name].shape).ravel()
        except (TypeError, ValueError, OverflowError):
            said = f"{what}: {name} {shown(given).strip('()[]')} is not allowed"
            raise InputError(f"{said}; allowed: a number, or as many as it has") from None
        if name in VECTORS and values.ndim == 0 and np.isfinite(values) and not one_for_all:
            allowed = f"three, one for each of {', '.join(VECTORS[name])}, or these names by themselves"
            raise InputError(f"{what}: {name} has three numbers, and {values:g} is one; allowed: {allowed}")
        return named[name].ravel(), found


def unknowns(experiments: list[Experiment], parameters: Iterable[Name], per_image: Iterable[str] | None) -> Unknowns:
    """The unknowns of some frames. Raises InputError for names that are none, and for shared ones whose values differ."""
    asked = [name if isinstance(name, str) else tuple(name) for name in listed(parameters)]
    image = _of_image(asked)
    physical = [name for name in asked if name not in IMAGE]
    of_each = [columns(experiment, physical) if physical else [] for experiment in experiments]
    if not asked:
        raise InputError("parameters: none is named; allowed: at least one")
    if "image.scale" in image and any("beam.fluence" in single for c in of_each[0] for single in c.singles):
        raise InputError("parameters: image.scale and beam.fluence are the same beside each other; allowed: one of them")
    own = _own(asked, per_image)
    blocks, at = [], 0
    by_name = dict(zip(physical, range(len(physical))))
    for name in asked:
        column = Column(name, ((name,),), ()) if name in IMAGE else of_each[0][by_name[name]]
        block = Block(at, column, len(experiments) > 1 and own(column.key), parameter_row(column.key).unit)
        if not block.own and name not in IMAGE:
            _check_shared(experiments, column)
        at += size(column) * (len(experiments) if block.own else 1)
        blocks.append(block)
    return Unknowns(tuple(blocks), tuple(physical), tuple(image), len(experiments))


def _of_image(asked: list[Name]) -> list[str]:
    """The numbers of the image that are asked for. Raises InputError for others, and for those that are tied or there twice."""
    for name in [single for each in asked for single in ((each,) if isinstance(each, str) else each)]:
        if name.startswith("image.") and name not in IMAGE:
            raise InputError(f"parameters: {shown(name)} is no number of an image; allowed: {', '.join(IMAGE)}")
        if name in IMAGE and asked.count(name) != 1:
            why = "is there twice; allowed: every parameter once" if name in asked else "cannot be tied; allowed: by itself"
            raise InputError(f"parameters: {name} {why}")
    return [name for name in asked if name in IMAGE]


def _own(asked, per_image):
    if per_image is None:
        return lambda key: parameter_row(key).per_image
    try:
        names = set(listed(per_image))
    except InputError:
        raise InputError(f"per_image: {shown(per_image)} is not allowed; allowed: names of parameters") from None
    keys = {name if isinstance(name, str) else name[0] for name in asked}
    unknown = names - keys
    if unknown:
        raise InputError(f"per_image: {sorted(unknown)[0]!r} is not refined; allowed: {', '.join(sorted(keys))}")
    return lambda key: key in names


def _check_shared(experiments, column):
    first = experiments[0].value(column.key)
    for number, other in enumerate(experiments[1:], start=2):
        value = other.value(column.key)
        if first is None or value is None:  # there is none, which a frame refuses
            continue
        same = np.shape(first) == np.shape(value) and np.allclose(first, value, rtol=1e-5, atol=0.0)
        if column.key == AMPLITUDES and same:
            same = np.array_equal(experiments[0].structure_factors.hkl, other.structure_factors.hkl)
        if not same:
            allowed = "one value for all images, or its name in per_image"
            raise InputError(f"parameters: {column.key} of image {number} is not that of the first; allowed: {allowed}")


def _named(what: str, given: Mapping[str, Any] | None):
    """Names and what is stated of them. Raises InputError."""
    if given is not None and not isinstance(given, Mapping):
        raise InputError(f"{what}: {shown(given)} is not allowed; allowed: a dict by name of what is refined")
    return (given or {}).items()


def _no_nan(value) -> bool:
    """Whether something is made of numbers."""
    try:
        return not np.isnan(np.asarray(real(value), dtype=float)).any()
    except (TypeError, ValueError, OverflowError):
        return False


def bounds_of(refined: Unknowns, given: Mapping[str, Any] | None) -> tuple[np.ndarray, np.ndarray]:
    """The least and the largest value of every number: those of A15 and R1, or closer ones. Raises InputError."""
    low, high = np.empty(refined.count), np.empty(refined.count)
    for block in refined.blocks:
        low[refined.span(block)], high[refined.span(block)] = parameter_row(block.column.key).bounds
    taken = np.zeros(refined.count, dtype=bool)
    for name, pair in _named("bounds", given):
        try:
            least, most = pair
        except (TypeError, ValueError, OverflowError):
            raise InputError(f"bounds: {name} {shown(pair)} is not allowed; allowed: a least and a largest value") from None
        if not all(bound is None or _no_nan(bound) for bound in (least, most)):
            raise InputError(f"bounds: {name} {shown(pair)} is not allowed; allowed: numbers, or None")
        at, least = refined.stated("bounds", name, -np.inf if least is None else least)
        at, most = refined.stated("bounds", name, np.inf if most is None else most)
        _take(taken, at, "bounds", name)
        said = f"bounds: {name} from {_shown(least)} to {_shown(most)} is not allowed"
        if not (least < most).all():
            raise InputError(f"{said}; allowed: a least value below the largest")
        known = f"{low[at][0]:g} to {high[at][0]:g}"
        low[at], high[at] = np.maximum(least, low[at]), np.minimum(most, high[at])
        if not (low[at] < high[at]).all():
            raise InputError(f"{said}; allowed: a part of {known}")
    return low, high


def restraints_of(refined: Unknowns, given: Mapping[str, Any] | None) -> tuple[np.ndarray, np.ndarray]:
    """What numbers are drawn to, and the weights 1 / sigma^2 with which: 0 where nothing draws. Raises InputError."""
    target, weight, taken = np.zeros(refined.count), np.zeros(refined.count), np.zeros(refined.count, dtype=bool)
    for name, pair in _named("restraints", given):
        try:
            value, sigma = pair
        except (TypeError, ValueError, OverflowError):
            raise InputError(f"restraints: {name} {shown(pair)} is not allowed; allowed: a value and its sigma") from None
        at, value = refined.stated("restraints", name, value)
        at, sigma = refined.stated(f"restraints: sigma of {name}", name, sigma, one_for_all=True)
        _take(taken, at, "restraints", name)
        if not ((sigma >= LEAST) & (sigma <= MOST)).all():
            allowed = f"a sigma above 0, from {LEAST:g} to {MOST:g}"
            raise InputError(f"restraints: {name} with sigma {_shown(sigma)} is not allowed; allowed: {allowed}")
        if not (np.abs(value) <= MOST).all():
            raise InputError(f"restraints: {name} {_shown(value)} is not allowed; allowed: finite numbers up to {MOST:g}")
        target[at], weight[at] = value, sigma**-2.0
    return target, weight


def _take(taken: np.ndarray, at: np.ndarray, what: str, name: str) -> None:
    """Mark numbers of which something is stated. Raises InputError if it was stated of one before."""
    if taken[at].any():
        raise InputError(f"{what}: {name} is there twice, by itself and in its vector; allowed: every number once")
    taken[at] = True


def _shown(values: np.ndarray) -> str:
    """Values as text: one, where all are the same."""
    return " ".join(f"{x:g}" for x in (values[:1] if (values == values[0]).all() else values))[:60]
