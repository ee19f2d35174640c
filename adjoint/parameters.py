"""The table of the parameters that an image can be differentiated by, a row each; ties, vectors, packing and unpacking."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from nbnumba.errors import InputError, shown
from nbnumba.experiment import Experiment
from nbnumba.setup.values import VECTORS

INFINITE = float("inf")
AMPLITUDES = "structure_factors.F"

SMALLEST = 1e-60
"""The least scale and gain: what is multiplied by them, and its squares, are to be numbers."""

SAME = 1e-5
"""Tied values may differ by so much, relatively, as those of a matrix with few digits do; the first one counts."""

Name = str | tuple[str, ...]
"""A parameter, or several that are tied: they have one value, under the first name."""


class Parameter(NamedTuple):
    """A row of the table: what is known of a parameter besides its name.

    unit: that of the value. step: a change that an image shows, to scale optimizers by. bounds: the least and the largest
    value. group: what it is a parameter of (GROUPS). moves_spots: whether it moves spots, and not only changes them.
    per_image: whether each of several images has its own value in a refinement, unless the user says otherwise.

    The name is a part of the experiment and a field of it. Experiment.value reads it and Experiment.replace states it; what
    either does beyond that stands in nbnumba/setup/values.py. A row of nbnumba/flags/table.py names the flag that sets it.
    """

    unit: str
    step: float
    bounds: tuple[float, float]
    group: str
    moves_spots: bool = False
    per_image: bool = False


ANY, NOT_NEGATIVE = (-INFINITE, INFINITE), (0.0, INFINITE)

_LENGTH = Parameter("A", 0.01, NOT_NEGATIVE, "cell", moves_spots=True)
_ANGLE = Parameter("degree", 0.01, (0.0, 180.0), "cell", moves_spots=True)
_MISSETTING = Parameter("degree", 0.01, ANY, "orientation", moves_spots=True, per_image=True)
_CELLS = Parameter("cells", 1.0, (1.0, INFINITE), "size", per_image=True)
_DIVERGENCE = Parameter("mrad", 0.1, NOT_NEGATIVE, "source")
_TILT = Parameter("mrad", 0.1, ANY, "source", moves_spots=True, per_image=True)
_BEAM_CENTRE = Parameter("mm", 0.01, ANY, "detector", moves_spots=True)
_DETECTOR_ANGLE = Parameter("degree", 0.01, ANY, "detector", moves_spots=True)
_SENSOR = Parameter("um", 1.0, NOT_NEGATIVE, "sensor")

PARAMETERS: dict[str, Parameter] = {
    "crystal.a_A": _LENGTH,
    "crystal.b_A": _LENGTH,
    "crystal.c_A": _LENGTH,
    "crystal.alpha_deg": _ANGLE,
    "crystal.beta_deg": _ANGLE,
    "crystal.gamma_deg": _ANGLE,
    "crystal.misset_x_deg": _MISSETTING,
    "crystal.misset_y_deg": _MISSETTING,
    "crystal.misset_z_deg": _MISSETTING,
    "crystal.mosaic_spread_deg": Parameter("degree", 0.01, (0.0, 180.0), "mosaic", per_image=True),
    "crystal.n_a": _CELLS,
    "crystal.n_b": _CELLS,
    "crystal.n_c": _CELLS,
    "beam.wavelength_A": Parameter("A", 1e-4, NOT_NEGATIVE, "source", moves_spots=True),
    "beam.fluence": Parameter("photons/m^2", 1e22, NOT_NEGATIVE, "scale", per_image=True),
    "beam.polarization": Parameter("", 0.1, (-1.0, 1.0), "polarization"),
    "beam.dispersion_percent": Parameter("percent", 0.1, (0.0, 200.0), "source"),
    "beam.hdivrange_mrad": _DIVERGENCE,
    "beam.vdivrange_mrad": _DIVERGENCE,
    "beam.direction_x_mrad": _TILT,
    "beam.direction_y_mrad": _TILT,
    "detector.distance_mm": Parameter("mm", 0.1, ANY, "detector", moves_spots=True),
    "detector.xbeam_mm": _BEAM_CENTRE,
    "detector.ybeam_mm": _BEAM_CENTRE,
    "detector.rotx_deg": _DETECTOR_ANGLE,
    "detector.roty_deg": _DETECTOR_ANGLE,
    "detector.rotz_deg": _DETECTOR_ANGLE,
    "detector.twotheta_deg": _DETECTOR_ANGLE,
    "detector.thickness_um": _SENSOR,
    "detector.attenuation_um": _SENSOR,
    "goniometer.phi_deg": Parameter("degree", 0.01, ANY, "spindle", moves_spots=True, per_image=True),
    "goniometer.osc_deg": Parameter("degree", 0.01, NOT_NEGATIVE, "spindle", per_image=True),
    AMPLITUDES: Parameter("electrons", 1.0, ANY, "amplitudes"),
    "background.water_um": Parameter("um", 1.0, NOT_NEGATIVE, "scale"),
}
"""Every parameter by itself, a row each; VECTORS names three of them at once."""

GROUPS = {
    "cell": "vectors",
    "orientation": "vectors",
    "size": None,
    "spindle": "lattice_angles",
    "mosaic": "lattice_angles",
    "source": "geometry",
    "polarization": "geometry",
    "detector": "geometry",
    "sensor": "geometry",
    "scale": None,
    "amplitudes": "reflections",
}
"""The groups of parameters, and the path (loops/tile.py, Paths) that the derivative by each of them takes.

None: it takes no path of its own, but is there whenever the image is differentiated.
"""


def names_of(*groups: str) -> tuple[str, ...]:
    """The parameters of some groups, group by group, each in the order of the table."""
    return tuple(name for group in groups for name, row in PARAMETERS.items() if row.group == group)


CELL = names_of("cell")
SOURCE_MOTIONS = names_of("source")
"""Parameters that move sources, in the order of their motions (A5a)."""

LATTICE_MOTIONS = names_of("spindle", "mosaic")
"""Parameters that turn lattices, in the order of their motions (A7b)."""

IMAGE: dict[str, Parameter] = {
    "image.scale": Parameter("", 0.1, (SMALLEST, INFINITE), "image", per_image=True),
    "image.background": Parameter("photons/pixel", 0.1, NOT_NEGATIVE, "image", per_image=True),
    "image.background_x": Parameter("photons/pixel", 0.1, ANY, "image", per_image=True),
    "image.background_y": Parameter("photons/pixel", 0.1, ANY, "image", per_image=True),
    "image.background_radial": Parameter("photons/pixel", 0.1, ANY, "image", per_image=True),
    "image.gain": Parameter("per photon", 0.1, (SMALLEST, INFINITE), "image"),
}
"""The numbers of an image that a refinement knows besides those of its experiment (R1)."""


def parameter_row(name_or_tied: Name) -> Parameter:
    """The row of a parameter or of a number of an image; that of the first of several that are tied, or of a vector."""
    name = name_or_tied if isinstance(name_or_tied, str) else name_or_tied[0]
    return (IMAGE | PARAMETERS)[VECTORS[name][0] if name in VECTORS else name]


_A, _B, _C, _AL, _BE, _GA = CELL

CRYSTAL_SYSTEMS: dict[str, list[Name]] = {
    "triclinic": [_A, _B, _C, _AL, _BE, _GA],
    "monoclinic": [_A, _B, _C, _BE],
    "orthorhombic": [_A, _B, _C],
    "tetragonal": [(_A, _B), _C],
    "trigonal": [(_A, _B), _C],
    "hexagonal": [(_A, _B), _C],
    "rhombohedral": [(_A, _B, _C), (_AL, _BE, _GA)],
    "cubic": [(_A, _B, _C)],
}
"""The free parameters of the cell in each crystal system (monoclinic: unique axis b; trigonal: hexagonal axes)."""


def cell_parameters(system: str) -> list[Name]:
    """The free parameters of the cell in a crystal system: tetragonal has one a_A for two axes. Raises InputError."""
    if not isinstance(system, str) or system not in CRYSTAL_SYSTEMS:
        raise InputError(f"crystal system {shown(system)} is not known; allowed: {', '.join(CRYSTAL_SYSTEMS)}")
    return list(CRYSTAL_SYSTEMS[system])


class Variable(NamedTuple):
    """What an image is differentiated by, as the user names it: one parameter, tied ones, a vector, or all amplitudes.

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


def variables(experiment: Experiment, parameters: Iterable[Name]) -> list[Variable]:
    """The variables that names stand for, checked: names that exist, none twice, tied ones of one value.

    The variable of the amplitudes has no singles, and the shape of F. Raises InputError.
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
        if all(isinstance(name, str) for name_or_tied in names for name in name_or_tied):
            return names
    except TypeError:
        pass
    raise InputError(f"parameters: {shown(parameters)} is not allowed; allowed: names, or tuples of names that are tied")


def _variable(experiment: Experiment, name_or_tied: Name) -> Variable:
    names = (name_or_tied,) if isinstance(name_or_tied, str) else tuple(name_or_tied)
    if not names:
        raise InputError("parameters: () ties nothing; allowed: names of parameters")
    for name in names:
        if name not in PARAMETERS and name not in VECTORS:
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
    if name in VECTORS:
        return Variable(name, tuple((single,) for single in VECTORS[name]), (3,))
    return Variable(name, ((name,),), ())


def _check_tied(experiment, names):
    for name in names:
        if name == AMPLITUDES or name in VECTORS:
            raise InputError(f"parameters: {name} cannot be tied; allowed: single numbers")
    values = [experiment.value(name) for name in names]
    if any(v is None or abs(v - values[0]) > SAME * abs(values[0]) for v in values):
        shown = ", ".join(f"{name} = {value}" for name, value in zip(names, values))
        raise InputError(f"parameters: {shown} are tied and differ; allowed: one value that all of them start from")


def size(variable: Variable) -> int:
    """How many numbers a variable has."""
    return int(np.prod(variable.shape, dtype=int))


def values(experiment: Experiment, parameters: Iterable[Name]) -> dict[str, Any]:
    """The value of every parameter but the amplitudes, for Experiment.replace: tied ones under all of their names."""
    by_name: dict[str, Any] = {}
    for variable in variables(experiment, parameters):
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
