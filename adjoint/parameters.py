"""The table of the parameters that an image can be differentiated by, a row each.

The kernels have a channel for each parameter of some groups (loops/rows.py). So this module is one of their sources.
"""

from typing import NamedTuple

from nbnumba.constants import ICE_SIZES_A
from nbnumba.crystal_names import number_and_name
from nbnumba.errors import InputError, shown
from nbnumba.group_names import MOTIONS, OF_GROUP

INFINITE = float("inf")
AMPLITUDES, WEIGHTS = "structure_factors.F", "beam.source_weights"
ARRAYS = (AMPLITUDES, WEIGHTS)
"""The parameters that are arrays: the amplitudes of a list, and the weights of the sources."""

SMALLEST = 1e-60
"""The least scale and gain: what is multiplied by them, and its squares, are to be numbers."""

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
_OFF_DIAGONAL = Parameter("cells", 1.0, ANY, "size", per_image=True)
_SPREAD = Parameter("degree", 0.01, (0.0, 180.0), "mosaic", per_image=True)
_CELL_SPREAD = Parameter("", 0.001, (0.0, 0.5), "cell_spread", per_image=True)
_POSITION = Parameter("mm", 0.01, ANY, "position", moves_spots=True, per_image=True)
_ANISOTROPIC = Parameter("A^2", 1.0, ANY, "disorder", per_image=True)
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
    "crystal.mosaic_spread_deg": _SPREAD,
    "crystal.mosaic_a_deg": _SPREAD,
    "crystal.mosaic_b_deg": _SPREAD,
    "crystal.mosaic_c_deg": _SPREAD,
    "crystal.cell_spread_a": _CELL_SPREAD,
    "crystal.cell_spread_b": _CELL_SPREAD,
    "crystal.cell_spread_c": _CELL_SPREAD,
    "crystal.position_x_mm": _POSITION,
    "crystal.position_y_mm": _POSITION,
    "crystal.position_z_mm": _POSITION,
    "crystal.scale": Parameter("", 0.1, NOT_NEGATIVE, "scale", per_image=True),
    "crystal.b_factor_A2": Parameter("A^2", 1.0, NOT_NEGATIVE, "disorder", per_image=True),
    "crystal.b_11_A2": _ANISOTROPIC,
    "crystal.b_22_A2": _ANISOTROPIC,
    "crystal.b_33_A2": _ANISOTROPIC,
    "crystal.b_12_A2": _ANISOTROPIC,
    "crystal.b_13_A2": _ANISOTROPIC,
    "crystal.b_23_A2": _ANISOTROPIC,
    "crystal.n_a": _CELLS,
    "crystal.n_b": _CELLS,
    "crystal.n_c": _CELLS,
    "crystal.n_d": _OFF_DIAGONAL,
    "crystal.n_e": _OFF_DIAGONAL,
    "crystal.n_f": _OFF_DIAGONAL,
    "beam.wavelength_A": Parameter("A", 1e-4, NOT_NEGATIVE, "source", moves_spots=True),
    "beam.fluence": Parameter("photons/m^2", 1e22, NOT_NEGATIVE, "scale", per_image=True),
    "beam.polarization": Parameter("", 0.1, (-1.0, 1.0), "polarization"),
    "beam.dispersion_percent": Parameter("percent", 0.1, (0.0, 200.0), "source"),
    "beam.hdivrange_mrad": _DIVERGENCE,
    "beam.vdivrange_mrad": _DIVERGENCE,
    "beam.direction_x_mrad": _TILT,
    "beam.direction_y_mrad": _TILT,
    "beam.wavelength_scale": Parameter("", 1e-4, NOT_NEGATIVE, "source", moves_spots=True),
    "beam.wavelength_offset_A": Parameter("A", 1e-4, ANY, "source", moves_spots=True),
    WEIGHTS: Parameter("", 0.1, NOT_NEGATIVE, "weights"),
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
    "background.water_um": Parameter("um", 1.0, NOT_NEGATIVE, "material"),
    "background.air_mm": Parameter("mm", 1.0, NOT_NEGATIVE, "material"),
    "background.ice_um": Parameter("um", 1.0, NOT_NEGATIVE, "material"),
    "background.ice_size_A": Parameter("A", 10.0, ICE_SIZES_A, "material"),
}
"""Every parameter by itself, a row each; ARRAYS are several numbers, and VECTORS names three parameters at once."""

_SHIFT = Parameter("mm", 0.01, ANY, "detector", moves_spots=True)

PANEL_MOTIONS: dict[str, Parameter] = {name: _SHIFT if name.endswith("_mm") else _DETECTOR_ANGLE for name in MOTIONS}
"""The parameters of a group of panels, or of a panel, by the end of their names: detector.group[PATH].shift_fast_mm."""


def row_of(name: str) -> Parameter:
    """The row of a parameter of PARAMETERS, of a group of panels, or of a crystal beside the first, by its name."""
    if name in PARAMETERS:
        return PARAMETERS[name]
    found = OF_GROUP.fullmatch(name)
    return PARAMETERS[number_and_name(name)[1]] if found is None else PANEL_MOTIONS[found["motion"]]


GROUPS = {
    "cell": "vectors",
    "orientation": "vectors",
    "size": None,
    "disorder": None,
    "spindle": "sweep",
    "mosaic": "lattice_angles",
    "cell_spread": "cell_spreads",
    "position": "geometry",
    "source": "geometry",
    "polarization": "geometry",
    "detector": "geometry",
    "sensor": "geometry",
    "scale": None,
    "material": None,
    "amplitudes": "reflections",
    "weights": "weights",
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

MATERIAL_MOTIONS = names_of("material")
"""Parameters that change the table of the background, in the order of their motions (A12b)."""

LATTICE_MOTIONS = names_of("spindle", "mosaic", "orientation")
"""Parameters that turn lattices, in the order of their motions (A7b). Those of the orientation turn the cell vectors; where
domains are turned about axes of the crystal, they turn lattices besides."""
OF_OSC, OF_SPREAD = (LATTICE_MOTIONS.index(name) for name in ("goniometer.osc_deg", "crystal.mosaic_spread_deg"))
"""The numbers of two of them."""

IMAGE: dict[str, Parameter] = {
    "image.scale": Parameter("", 0.1, (SMALLEST, INFINITE), "image", per_image=True),
    "image.background": Parameter("photons/pixel", 0.1, NOT_NEGATIVE, "image", per_image=True),
    "image.background_x": Parameter("photons/pixel", 0.1, ANY, "image", per_image=True),
    "image.background_y": Parameter("photons/pixel", 0.1, ANY, "image", per_image=True),
    "image.background_radial": Parameter("photons/pixel", 0.1, ANY, "image", per_image=True),
    "image.gain": Parameter("per photon", 0.1, (SMALLEST, INFINITE), "image"),
}
"""The numbers of an image that a refinement knows besides those of its experiment (R1)."""


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
