"""The unknowns of a refinement: all refined numbers in one vector, shared by all frames or each frame's own (R2)."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from adjoint.parameters import AMPLITUDES, IMAGE, Name
from adjoint.variables import Variable, listed, parameter_row, size, variables
from nbnumba.errors import InputError, real, shown
from nbnumba.experiment import Experiment
from nbnumba.setup.values import numbers_of

LEAST, MOST = 1e-100, 1e100
"""The least and the largest sigma of a restraint, and the largest value that it draws to: their squares are finite."""


class Block(NamedTuple):
    """A variable (A15) in the vector, its first index, whether every frame has its own numbers of it, and the unit."""

    first: int
    variable: Variable
    own: bool
    unit: str


class Unknowns(NamedTuple):
    """All refined numbers, as one vector (n,) (R2).

    blocks: one for each parameter, in the order of the vector. parameters: those of the experiment; image: the numbers of the
    image. frames: the number of frames.
    """

    blocks: tuple[Block, ...]
    parameters: tuple[Name, ...]
    image: tuple[str, ...]
    frames: int

    def span(self, block: Block) -> slice:
        """The indices of the numbers of a block, of all frames."""
        return slice(block.first, block.first + size(block.variable) * (self.frames if block.own else 1))

    @property
    def count(self) -> int:
        """The number of numbers."""
        return self.span(self.blocks[-1]).stop

    def indices_of(self, frame: int) -> np.ndarray:
        """The indices of the numbers of one frame: first those of its experiment, then those of its image."""
        indices = []
        for of_image in (False, True):
            for block in self.blocks:
                if (block.variable.key in IMAGE) == of_image:
                    n = size(block.variable)
                    indices.append(block.first + (frame * n if block.own else 0) + np.arange(n))
        return np.concatenate(indices) if indices else np.zeros(0, dtype=int)

    def labels(self) -> list[str]:
        """A name for every number, with its index and image where there are several."""
        names = []
        for block in self.blocks:
            n, several = size(block.variable), block.own and self.frames > 1
            for frame in range(self.frames if block.own else 1):
                for i in range(n):
                    index = f"[{i}]" if block.variable.shape else ""
                    names.append(block.variable.key + index + (f" (image {frame + 1})" if several else ""))
        return names

    def units(self) -> list[str]:
        """The unit of every number."""
        return [block.unit for block in self.blocks for _ in range(self.span(block).stop - block.first)]

    def amplitudes(self) -> np.ndarray:
        """Which numbers are amplitudes (n,)."""
        is_amplitude = np.zeros(self.count, dtype=bool)
        for block in self.blocks:
            if block.variable.key == AMPLITUDES:
                is_amplitude[self.span(block)] = True
        return is_amplitude

    def by_name(self, vector: np.ndarray) -> dict[str, np.ndarray]:
        """The vector as a dict: an array of the shape of each parameter, with an axis of frames where each has its own."""
        arrays = {}
        for block in self.blocks:
            frames = (self.frames,) if block.own else ()
            arrays[block.variable.key] = vector[self.span(block)].reshape(frames + block.variable.shape).copy()
        return arrays

    def with_added(self, vector: np.ndarray, name: str, value: float) -> np.ndarray:
        """The vector (n,) with a value added to all numbers of a parameter, if that is refined."""
        sums = vector.copy()
        for block in self.blocks:
            if block.variable.key == name:
                sums[self.span(block)] += value
        return sums

    def indices_by_name(self) -> dict[str, np.ndarray]:
        """The indices of the numbers of every name: of parameters and of parts of vectors.

        Each array has the shape of the parameter, after an axis of frames if each frame has its own.
        """
        indices = {}
        for block in self.blocks:
            span, frames = self.span(block), (self.frames,) if block.own else ()
            indices[block.variable.key] = np.arange(span.start, span.stop).reshape(frames + block.variable.shape)
        for name in list(indices):
            indices |= {part: indices[name][..., axis] for axis, part in enumerate(numbers_of(name) or ())}
        return indices

    def indices_and_values(self, what: str, name: str, given: Any, one_for_all: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """The indices of the numbers of a name, and the value of each: one stands for all frames and amplitudes.

        what: the argument, for messages. A vector needs three values, unless one_for_all: a value for one axis is not meant for
        the others. Raises InputError for a name that is not refined, and for values that do not fit.
        """
        indices = self.indices_by_name()
        if name not in indices:
            raise InputError(f"{what}: {shown(name)} is not refined; allowed: {', '.join(indices)}")
        try:
            values = np.asarray(real(given), dtype=np.float64)
            value_of_each = np.broadcast_to(values, indices[name].shape).ravel()
        except (TypeError, ValueError, OverflowError):
            text = shown(given).strip("()[]")
            raise InputError(f"{what}: {name} {text} is not allowed; allowed: a number, or as many as it has") from None
        if (numbers_of(name) or ()) and values.ndim == 0 and np.isfinite(values) and not one_for_all:
            allowed = f"three, one for each of {', '.join(numbers_of(name) or ())}, or these names by themselves"
            raise InputError(f"{what}: {name} has three numbers, and {values:g} is one; allowed: {allowed}")
        return indices[name].ravel(), value_of_each


def unknowns(experiments: list[Experiment], parameters: Iterable[Name], per_image: Iterable[str] | None) -> Unknowns:
    """The unknowns of a refinement of some experiments, one for each frame (R2).

    per_image: the keys of parameters of which each frame has its own numbers, or None for the default. Raises InputError for
    names that are no parameters, and for shared parameters whose values differ.
    """
    names = [name if isinstance(name, str) else tuple(name) for name in listed(parameters)]
    image = _image_names(names)
    physical = [name for name in names if name not in IMAGE]
    variables_of_each = [variables(experiment, physical) if physical else [] for experiment in experiments]
    if not names:
        raise InputError("parameters: none is named; allowed: at least one")
    if "image.scale" in image and any("beam.fluence" in single for v in variables_of_each[0] for single in v.singles):
        raise InputError("parameters: image.scale and beam.fluence are the same beside each other; allowed: one of them")
    is_per_image = _per_image_rule(names, per_image)
    blocks, first = [], 0
    by_name = dict(zip(physical, variables_of_each[0]))
    for name in names:
        variable = Variable(name, ((name,),), ()) if name in IMAGE else by_name[name]
        block = Block(first, variable, len(experiments) > 1 and is_per_image(variable.key), parameter_row(variable.key).unit)
        if not block.own and name not in IMAGE:
            _check_shared(experiments, variable)
        first += size(variable) * (len(experiments) if block.own else 1)
        blocks.append(block)
    return Unknowns(tuple(blocks), tuple(physical), tuple(image), len(experiments))


def _image_names(names: list[Name]) -> list[str]:
    """The numbers of the image among the names. Raises InputError for names that are unknown, tied or there twice."""
    for name in [single for tied in names for single in ((tied,) if isinstance(tied, str) else tied)]:
        if name.startswith("image.") and name not in IMAGE:
            raise InputError(f"parameters: {shown(name)} is no number of an image; allowed: {', '.join(IMAGE)}")
        if name in IMAGE and names.count(name) != 1:
            why = "is there twice; allowed: every parameter once" if name in names else "cannot be tied; allowed: by itself"
            raise InputError(f"parameters: {name} {why}")
    return [name for name in names if name in IMAGE]


def _per_image_rule(names, per_image) -> Callable[[str], bool]:
    """The function that says by its key whether every frame has its own numbers of a parameter. Raises InputError."""
    if per_image is None:
        return lambda key: parameter_row(key).per_image
    try:
        own_keys = set(listed(per_image))
    except InputError:
        raise InputError(f"per_image: {shown(per_image)} is not allowed; allowed: names of parameters") from None
    keys = {name if isinstance(name, str) else name[0] for name in names}
    unknown = own_keys - keys
    if unknown:
        raise InputError(f"per_image: {sorted(unknown)[0]!r} is not refined; allowed: {', '.join(sorted(keys))}")
    return lambda key: key in own_keys


def _check_shared(experiments, variable) -> None:
    """Raise InputError if a parameter that all frames share starts from different values."""
    first = experiments[0].value(variable.key)
    for number, other in enumerate(experiments[1:], start=2):
        value = other.value(variable.key)
        if first is None or value is None:  # the frame refuses an experiment that has no value
            continue
        same = np.shape(first) == np.shape(value) and np.allclose(first, value, rtol=1e-5, atol=0.0)
        if variable.key == AMPLITUDES and same:
            same = np.array_equal(experiments[0].structure_factors.hkl, other.structure_factors.hkl)
        if not same:
            allowed = "one value for all images, or its name in per_image"
            raise InputError(f"parameters: {variable.key} of image {number} is not that of the first; allowed: {allowed}")


def _pairs(what: str, given: Mapping[str, Any] | None):
    """The pairs of a name and of what is stated for it. Raises InputError for what is no dict."""
    if given is not None and not isinstance(given, Mapping):
        raise InputError(f"{what}: {shown(given)} is not allowed; allowed: a dict by name of what is refined")
    return (given or {}).items()


def _no_nan(value) -> bool:
    """Whether a value consists of numbers, none of them NaN."""
    try:
        return not np.isnan(np.asarray(real(value), dtype=float)).any()
    except (TypeError, ValueError, OverflowError):
        return False


def bounds_of(refined: Unknowns, given: Mapping[str, Any] | None) -> tuple[np.ndarray, np.ndarray]:
    """The least and the largest value of every number (n,): those of A15 and R1, or closer ones (R2). Raises InputError."""
    low, high = np.empty(refined.count), np.empty(refined.count)
    for block in refined.blocks:
        low[refined.span(block)], high[refined.span(block)] = parameter_row(block.variable.key).bounds
    is_stated = np.zeros(refined.count, dtype=bool)
    for name, pair in _pairs("bounds", given):
        try:
            least, most = pair
        except (TypeError, ValueError, OverflowError):
            raise InputError(f"bounds: {name} {shown(pair)} is not allowed; allowed: a least and a largest value") from None
        if not all(bound is None or _no_nan(bound) for bound in (least, most)):
            raise InputError(f"bounds: {name} {shown(pair)} is not allowed; allowed: numbers, or None")
        indices, least = refined.indices_and_values("bounds", name, -np.inf if least is None else least)
        indices, most = refined.indices_and_values("bounds", name, np.inf if most is None else most)
        _mark_stated(is_stated, indices, "bounds", name)
        refusal = f"bounds: {name} from {_shown(least)} to {_shown(most)} is not allowed"
        if not (least < most).all():
            raise InputError(f"{refusal}; allowed: a least value below the largest")
        widest = f"{low[indices][0]:g} to {high[indices][0]:g}"
        low[indices], high[indices] = np.maximum(least, low[indices]), np.minimum(most, high[indices])
        if not (low[indices] < high[indices]).all():
            raise InputError(f"{refusal}; allowed: a part of {widest}")
    return low, high


def restraints_of(
    refined: Unknowns, given: Mapping[str, Any] | None, start: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The values that numbers are drawn to, and the weights 1 / sigma^2: 0 without a restraint (R2). Raises InputError.

    start (n,): the numbers that the refinement starts from, to which those are drawn whose value is None.
    """
    restrained, weight, is_stated = np.zeros(refined.count), np.zeros(refined.count), np.zeros(refined.count, dtype=bool)
    for name, pair in _pairs("restraints", given):
        try:
            value, sigma = pair
        except (TypeError, ValueError, OverflowError):
            raise InputError(f"restraints: {name} {shown(pair)} is not allowed; allowed: a value and its sigma") from None
        to_start = value is None and start is not None
        indices, value = refined.indices_and_values("restraints", name, 0.0 if to_start else value)
        indices, sigma = refined.indices_and_values(f"restraints: sigma of {name}", name, sigma, one_for_all=True)
        _mark_stated(is_stated, indices, "restraints", name)
        if not ((sigma >= LEAST) & (sigma <= MOST)).all():
            allowed = f"a sigma above 0, from {LEAST:g} to {MOST:g}"
            raise InputError(f"restraints: {name} with sigma {_shown(sigma)} is not allowed; allowed: {allowed}")
        if not (np.abs(value) <= MOST).all():
            raise InputError(f"restraints: {name} {_shown(value)} is not allowed; allowed: finite numbers up to {MOST:g}")
        restrained[indices], weight[indices] = start[indices] if to_start else value, sigma**-2.0
    return restrained, weight


def _mark_stated(is_stated: np.ndarray, indices: np.ndarray, what: str, name: str) -> None:
    """Mark the numbers as stated. Raises InputError if one of them is marked already."""
    if is_stated[indices].any():
        raise InputError(f"{what}: {name} is there twice, by itself and in its vector; allowed: every number once")
    is_stated[indices] = True


def _shown(values: np.ndarray) -> str:
    """The values as text; a single one if all are the same."""
    return " ".join(f"{x:g}" for x in (values[:1] if (values == values[0]).all() else values))[:60]
