"""What an image is differentiated by, as a user names it: parameters alone, tied or as vectors; their values in one vector."""

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from adjoint.parameters import AMPLITUDES, ARRAYS, IMAGE, PARAMETERS, WEIGHTS, Name, Parameter, row_of
from nbnumba.crystal_names import number_and_name
from nbnumba.errors import InputError, shown
from nbnumba.experiment import Experiment
from nbnumba.setup.values import VECTORS, numbers_of, path_and_motion

SAME = 1e-5
"""Tied values may differ by so much, relatively, as those of a matrix with few digits do; the first one counts."""


def parameter_row(name_or_tied: Name) -> Parameter:
    """The row of a parameter or of a number of an image; that of the first of several that are tied, or of a vector."""
    name = name_or_tied if isinstance(name_or_tied, str) else name_or_tied[0]
    return IMAGE[name] if name in IMAGE else row_of((numbers_of(name) or (name,))[0])


class Variable(NamedTuple):
    """What an image is differentiated by, as the user names it: one parameter, tied ones, a vector, or an array.

    key: its name in results. singles: for each of its numbers, the rows of the table that move with that number. shape: that of
    its value.
    """

    key: str
    singles: tuple[tuple[str, ...], ...]
    shape: tuple[int, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The rows of the table that it is made of."""
        return tuple(name for single in self.singles for name in single) or (self.key,)

    @property
    def tied(self) -> Name:
        """The name, or the tied names, that the variable was made from."""
        return self.key if self.shape or len(self.names) == 1 else self.names


def variables(experiment: Experiment, parameters: Iterable[Name]) -> list[Variable]:
    """The variables that names stand for, checked: names that exist, none twice, tied ones of one value.

    The variable of an array, of the amplitudes or of the weights, has no singles, and its shape. Raises InputError.
    """
    if not isinstance(experiment, Experiment):
        raise InputError(f"experiment: {type(experiment).__name__} is not allowed; allowed: an nbnumba.Experiment")
    checked, names = [], set()
    for name_or_tied in listed(parameters):
        variable = _variable(experiment, name_or_tied)
        for name in variable.names:
            if name in names:
                raise InputError(f"parameters: {name} is there twice; allowed: every parameter once")
            names.add(name)
        checked.append(variable)
    if not checked:
        raise InputError("parameters: none is named; allowed: at least one")
    return checked


def listed(parameters: Iterable[Name]) -> list[Name]:
    """The parameters as a list; one name by itself is one of them. Raises InputError for what is no names."""
    if isinstance(parameters, str):
        return [parameters]
    try:
        names = list(parameters)
        if all(isinstance(name, str) or all(isinstance(tied, str) for tied in name) for name in names):
            return names
    except TypeError:
        pass
    raise InputError(f"parameters: {shown(parameters)} is not allowed; allowed: names, or tuples of names that are tied")


def _variable(experiment: Experiment, name_or_tied: Name) -> Variable:
    names = (name_or_tied,) if isinstance(name_or_tied, str) else tuple(name_or_tied)
    if not names:
        raise InputError("parameters: () ties nothing; allowed: names of parameters")
    for name in names:
        if not is_parameter(experiment, name):
            raise InputError(f"parameters: {shown(name)} is no parameter; allowed: {', '.join([*PARAMETERS, *VECTORS])}")
    if len(names) > 1:
        _check_tied(experiment, names)
        return Variable(names[0], (names,), ())
    name = names[0]
    if name == AMPLITUDES:
        amplitudes = experiment.structure_factors.F
        if amplitudes is None:
            raise InputError(f"{name}: there is no list of reflections; allowed: an experiment with structure_factors.hkl")
        return Variable(name, (), amplitudes.shape)
    if name == WEIGHTS:
        return Variable(name, (), (len(experiment.value(name)),))
    numbers = numbers_of(name)
    if numbers is not None:
        return Variable(name, tuple((single,) for single in numbers), (3,))
    return Variable(name, ((name,),), ())


def is_parameter(experiment: Experiment, name: str) -> bool:
    """Whether a name is a parameter of an experiment, or three. Raises InputError for crystals or panels that are not there."""
    number, own = number_and_name(name)
    if number > len(experiment.other_crystals):
        experiment.value(name)  # which refuses it
    is_of_crystal = own in PARAMETERS or own in VECTORS
    return is_of_crystal or path_and_motion(experiment.detector, name) is not None


def _check_tied(experiment, names):
    for name in names:
        if name in ARRAYS or numbers_of(name) is not None:
            raise InputError(f"parameters: {name} cannot be tied; allowed: single numbers")
    values = [experiment.value(name) for name in names]
    if any(v is None or abs(v - values[0]) > SAME * abs(values[0]) for v in values):
        shown = ", ".join(f"{name} = {value}" for name, value in zip(names, values))
        raise InputError(f"parameters: {shown} are tied and differ; allowed: one value that all of them start from")


def size(variable: Variable) -> int:
    """How many numbers a variable has."""
    return math.prod(variable.shape)


def values(experiment: Experiment, variables: Iterable[Variable]) -> dict[str, Any]:
    """The value of every variable but the amplitudes, for Experiment.replace: tied ones under all of their names."""
    by_name: dict[str, Any] = {}
    for variable in variables:
        if variable.key == AMPLITUDES:
            continue
        by_name |= dict.fromkeys(_names(variable), experiment.value(variable.key))
    return by_name


def _names(variable: Variable) -> tuple[str, ...]:
    """The names by which Experiment.replace states a variable."""
    return variable.singles[0] if variable.shape == () else (variable.key,)


def pack(experiment: Experiment, parameters: Iterable[Name]) -> np.ndarray:
    """The values of the parameters in one vector (n,), in their order."""
    values = [experiment.value(variable.key) for variable in variables(experiment, parameters)]
    return np.concatenate([np.atleast_1d(np.asarray(value, dtype=np.float64)).ravel() for value in values])


def unpack(experiment: Experiment, parameters: Iterable[Name], vector: np.ndarray) -> Experiment:
    """The experiment in which the parameters have the values of a vector (n,): the inverse of `pack`."""
    stated: dict[str, Any] = {}
    unpacked = variables(experiment, parameters)
    count, first = sum(map(size, unpacked)), 0
    try:
        vector = np.asarray(vector).astype(np.float64, casting="safe")
    except (TypeError, ValueError, OverflowError):
        raise InputError(f"a vector of {shown(vector)} is not allowed; allowed: numbers") from None
    if vector.shape != (count,):
        raise InputError(f"a vector of shape {vector.shape} does not fit; allowed: ({count},)")
    for variable in unpacked:
        numbers = vector[first : first + size(variable)].reshape(variable.shape)
        first += size(variable)
        value = float(numbers) if variable.shape == () else numbers if variable.key == AMPLITUDES else tuple(numbers.tolist())
        stated |= dict.fromkeys(_names(variable), value)
    return experiment.replace(stated)


def by_name(variables: list[Variable], vector: np.ndarray) -> dict[str, np.ndarray]:
    """A vector (..., n) in the order of the variables as a dict: an array of the shape of each."""
    arrays, first = {}, 0
    for variable in variables:
        numbers = vector[..., first : first + size(variable)]
        arrays[variable.key] = numbers.reshape(vector.shape[:-1] + variable.shape)
        first += size(variable)
    return arrays
