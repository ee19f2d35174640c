"""The flags of a refined experiment: the user's own, with new values for what was refined."""

from __future__ import annotations

import dataclasses
import itertools
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from nbnumba.experiment import Experiment
from nbnumba.flags.arguments import words_by_flag
from nbnumba.flags.command_line import OVERRULED, CommandLine
from nbnumba.flags.geometry_files import FLAGS as FILES_OF_GEOMETRY
from nbnumba.flags.lattices import ORIENTED
from nbnumba.flags.run import FACTORS
from nbnumba.flags.structure_factors import OF_ATOMS
from nbnumba.flags.table import BY_NAME, FLAGS
from nbnumba.flags.to_experiment import SIZE_FLAGS, experiment_of
from nbnumba.formats import expt_writer, files, hkl, spectrum
from nbnumba.formats.geometry import Geometry
from nbnumba.geometry.cell import standard_setting
from nbnumba.setup.conventions import CONVENTIONS
from nbnumba.setup.crystal import orient
from nbnumba.setup.detector import pivot_of, position_detector, spindle_axis
from nbnumba.setup.panels import planes
from nbnumba.setup.values import BEAM_CENTRE, DISTANCE, NEAR_POINT, VECTORS
from nbnumba.statements import Crystal
from nbnumba.to_geometry import Readout, geometry_of

SAME = 1e-9
"""Relative difference up to which flags state a value; a matrix is known to some 1e-15, and is amplified by an oblique cell."""

SAME_POSITION = 1e-13
"""The same for the position of the detector, which is stated in another form only if its own form gives another position."""

CELL = tuple(f"crystal.{field}" for field in Crystal.CELL)
CELLS = VECTORS["crystal.n_cells"]
ABOUT_AXES = tuple(f"crystal.{field}" for field in Crystal.ABOUT_AXES)
CELL_SPREADS = tuple(f"crystal.{field}" for field in Crystal.CELL_SPREADS)
CRYSTAL_POSITION = VECTORS["crystal.position_mm"]
ANISOTROPIC = tuple(f"crystal.{field}" for field in Crystal.ANISOTROPIC)
OFF_DIAGONAL = VECTORS["crystal.n_def"]
TURNS = ("rotx_deg", "roty_deg", "rotz_deg", "twotheta_deg")
TILTS = ("beam.direction_x_mrad", "beam.direction_y_mrad")
POSITION = tuple(f"detector.{field}" for field in (*DISTANCE, *BEAM_CENTRE))
"""The parameters that position the detector, in whatever form the position was stated."""

FORMS = (*BEAM_CENTRE, *NEAR_POINT["fast"], *NEAR_POINT["slow"], "pix0_mm")
"""The forms of the beam centre."""


class NewFiles:
    """Names of the files that refined flags read: STEM.mat, .hkl, .weights, .expt, and where taken STEM_2.mat and so on."""

    def __init__(self, stem: str = "refined", taken: Iterable[str] = ()):
        self.stem, self.taken = stem, {os.path.realpath(name) for name in taken}
        self.written: list[tuple[str, str, tuple[np.ndarray, ...]]] = []

    def matrix(self, matrix: np.ndarray) -> str:
        """Write a matrix (3, 3) with all digits; returns the name of the file, of the same matrix the same."""
        name, new = self._named(".mat", matrix)
        if new:
            rows = "".join(" ".join(repr(float(x)) for x in row) + "\n" for row in matrix)
            with files.replacing(name, "-mat") as stream:
                stream.write(rows.encode("ascii"))
        return name

    def reflections(self, indices: np.ndarray, amplitudes: np.ndarray) -> str:
        """Write reflections with all digits; returns the name of the file, of the same reflections the same."""
        name, new = self._named(".hkl", indices, amplitudes)
        if new:
            hkl.write(name, indices, amplitudes, "-hkl")
        return name

    def weights(self, weights: np.ndarray) -> str:
        """Write weights (n,) with all digits; returns the name of the file, of the same weights the same."""
        name, new = self._named(".weights", weights)
        if new:
            spectrum.write_weights(name, weights, "-source_weights")
        return name

    def geometry(self, geometry: Geometry) -> str:
        """Write a geometry of panels for dxtbx; returns the name of the file, of the same geometry the same."""
        beam = [geometry.beam_direction, geometry.polarization_axis, geometry.spindle_axis, geometry.polarization_fraction]
        scan = geometry.scan and (geometry.scan.phi_deg, geometry.scan.width_deg)
        places = [(panel.origin_mm, panel.fast_axis, panel.slow_axis) for panel in geometry.panels]
        key = [np.ravel(np.array(part, dtype=np.float64)) for part in (*beam, scan, geometry.wavelength_A, places)]
        name, new = self._named(".expt", *key)
        if new:
            expt_writer.write(name, geometry, what="-expt")
        return name

    def _named(self, ending: str, *arrays: np.ndarray) -> tuple[str, bool]:
        """The name of the file that holds these arrays, and whether it is new and has to be written."""
        for known, of, contents in self.written:
            if of == ending and all(map(np.array_equal, contents, arrays)):
                return known, False
        name, number = f"{self.stem}{ending}", 1
        while os.path.realpath(name) in self.taken:
            number += 1
            name = f"{self.stem}_{number}{ending}"
        self.taken.add(os.path.realpath(name))
        self.written.append((name, ending, arrays))
        return name, True


class Quantity(NamedTuple):
    """Fields that flags state together, the flags (by their first names) that state them, and the words that do so anew."""

    fields: tuple[str, ...]
    flags: tuple[str, ...]
    words: Callable[[Experiment, NewFiles], list[str]]


def refined_flags(
    words: Sequence[str], refined: Experiment, names: Iterable[Any] = (), new_files: NewFiles | None = None
) -> list[str]:
    """The flags of the experiment `refined`, which differs in some quantities from that of the flags `words`.

    Flags that state what differs are dropped, and others with all digits appended; a matrix and reflections become new files,
    as new_files names them. names: the parameters that were refined, tied ones as tuples. The flags are parsed again: a
    warning names what they do not state, such as a tilt of the beam. InputError: a file cannot be written.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        new_words = _with_refined_quantities(list(words), refined, NewFiles() if new_files is None else new_files)
        stated = experiment_of(CommandLine(new_words))
    for sentence in _sentences(stated, refined, names):
        warnings.warn(sentence, stacklevel=2)
    return new_words


def _with_refined_quantities(words: list[str], refined: Experiment, new_files: NewFiles) -> list[str]:
    """The words with new flags for each quantity that differs.

    This is repeated until none differs, because a new flag can change another quantity: a matrix depends on the wavelength.
    """
    pending = list(QUANTITIES)
    while True:
        command_line = CommandLine(words)
        stated = experiment_of(command_line)
        differing = [q for q in pending if _differs(q, command_line, stated, refined)]
        if not differing:
            return _with_position(words, stated, refined)
        for quantity in differing:
            words = without(words, quantity.flags) + quantity.words(refined, new_files)
        pending = [quantity for quantity in pending if quantity not in differing]


def without(words: Sequence[str], flags: Iterable[str]) -> list[str]:
    """A command line without some flags, by their first names."""
    flags = set(flags)
    return [word for flag, own in words_by_flag(words) if flag.names[0] not in flags for word in own]


def _differs(quantity: Quantity, command_line: CommandLine, stated: Experiment, refined: Experiment) -> bool:
    by_the_clock = command_line.last.get("-misset") == "random" and not {"-seed", "-misset_seed"} & set(command_line.last)
    if "-misset" in quantity.flags and by_the_clock:
        return True
    if quantity.words is _reflections and refined.structure_factors.energies_eV is not None:
        return False  # no list states amplitudes of several photon energies
    return not all(_equal(_field(stated, name), _field(refined, name)) for name in quantity.fields)


def _field(experiment: Experiment, name: str) -> Any:
    """The stated value of a field, or None; a name without a part is a field of the experiment itself."""
    if "." not in name:
        return getattr(experiment, name)
    part, _, field = name.partition(".")
    return getattr(getattr(experiment, part), field)


def _equal(one, other) -> bool:
    if one is None or other is None:
        return one is other
    return one is other or (one == other if isinstance(one, tuple) else np.array_equal(one, other))


def _with_position(words: list[str], stated: Experiment, refined: Experiment) -> list[str]:
    """The words with flags that give the detector the convention, the position and the pivot of the refined experiment."""
    pivot = (_same_pivot, _pivot)  # checked twice, because flags of the position can imply another pivot
    for is_same, with_flags in ((_same_convention, _convention), pivot, (_same_position, _position), pivot):
        if not is_same(stated, refined):
            words = with_flags(words, refined)
            stated = experiment_of(CommandLine(words))
    return words


def _same_convention(stated, refined) -> bool:
    return stated.detector.convention == refined.detector.convention


def _convention(words, refined) -> list[str]:
    """The words with the default fast axis, which makes the convention custom; the flag that had done so was dropped."""
    fast = refined.detector.fast_axis or CONVENTIONS["custom"].fast
    return [*words, "-fdet_vector", *_numbers(fast)]


def _same_position(stated, refined) -> bool:
    """Whether beam centre and distance have the same values: a header may overrule or drop what a flag states."""
    same = all(_close(stated.value(name), refined.value(name), SAME_POSITION) for name in POSITION)
    return same and _close(_origin(stated), _origin(refined), SAME_POSITION)


def _origin(experiment: Experiment) -> np.ndarray:
    """The corner of the first pixel, m."""
    return position_detector(experiment.detector, experiment.beam, experiment.sampling.defects).origin


def _corners(experiment: Experiment) -> list[np.ndarray]:
    """Corners of the first pixel, in m, and axes of the panels, or of the detector."""
    placed = planes(experiment.detector, experiment.beam, experiment.sampling.defects)
    return [part for plane in placed for part in (plane.origin, plane.fast, plane.slow)]


def _position(words, refined) -> list[str]:
    """Beam centre and distance in the forms that no header overrules."""
    flags = [flag.names[0] for flag in FLAGS if flag.sets in (*POSITION, *(f"detector.{form}" for form in FORMS))]
    names = ("-close_distance", "-Xbeam", "-Ybeam")
    more = [word for name in names for word in (name, *_numbers([refined.value(BY_NAME[name].sets)]))]
    return without(words, [*flags, "-pix0_vector"]) + more


def _same_pivot(stated, refined) -> bool:
    return pivot_of(stated.detector, stated.sampling.defects) == pivot_of(refined.detector, refined.sampling.defects)


def _pivot(words, refined) -> list[str]:
    return without(words, ["-pivot"]) + ["-pivot", pivot_of(refined.detector, refined.sampling.defects)]


def _numbers(values) -> list[str]:
    """Numbers as words that are read as the same numbers."""
    return [repr(float(value)) for value in values]


def _of_fields(fields: Iterable[str]) -> Callable[[Experiment, NewFiles], list[str]]:
    """The words of fields that a flag each sets, as far as they are stated."""
    flags = {flag.sets: flag.names[0] for flag in FLAGS if flag.sets in fields}

    def words(refined, _):
        values = {flag: _field(refined, name) for name, flag in flags.items()}
        return [w for flag, value in values.items() if value is not None for w in (flag, *_numbers(np.atleast_1d(value)))]

    return words


def _number_quantities(stated_otherwise: Sequence[str]) -> Iterator[Quantity]:
    """A quantity for each number of an experiment that a flag states as it is, except for those that are stated otherwise."""
    parts = {part.name for part in dataclasses.fields(Experiment)}
    for flag in FLAGS:
        if flag.kind == "number" and flag.sets and flag.sets.partition(".")[0] in parts and flag.sets not in stated_otherwise:
            others = [name for names, fields in OVERRULED if flag.sets in fields for name in names]
            yield Quantity((flag.sets,), (flag.names[0], *others), _of_fields((flag.sets,)))


def _position_quantity(fields: Iterable[str], more: tuple[str, ...] = ()) -> Quantity:
    fields = tuple(f"detector.{field}" for field in fields)
    flags = tuple(flag.names[0] for flag in FLAGS if flag.sets in fields)
    return Quantity(fields, (*flags, *more), _of_fields(fields))


def _cell(refined: Experiment, new_files: NewFiles) -> list[str]:
    """The cell, or the matrix where the crystal has one: columns a*, b*, c* times the wavelength."""
    crystal = refined.crystal
    cell = [_field(refined, name) for name in CELL]
    if crystal.orientation is None:
        return ["-cell", *_numbers(cell)]
    real_space = standard_setting(*cell) @ np.array(crystal.orientation).T
    return ["-mat", new_files.matrix(np.linalg.inv(real_space) * refined.beam.wavelength_A)]


def _misset(refined: Experiment, _) -> list[str]:
    crystal = refined.crystal
    if crystal.misset_seed is not None:
        return ["-misset", "random", "-misset_seed", str(crystal.misset_seed)]
    return ["-misset", *_numbers(crystal.misset_deg)]


def _cells(refined: Experiment, _) -> list[str]:
    """Numbers of unit cells, whole or not."""
    numbers = [_field(refined, name) for name in CELLS]
    if any(number != round(number) for number in numbers):
        return ["-N_abc", *_numbers(numbers)]
    return [word for name, number in zip(CELLS, numbers) for word in (f"-N{name[-1]}", str(round(number)))]


def _together(flag: str, fields: tuple[str, ...]) -> Quantity:
    """The quantity of fields whose numbers follow one flag."""
    return Quantity(fields, (flag,), lambda refined, _: [flag, *_numbers(_field(refined, name) for name in fields)])


def _lattices(refined: Experiment, new_files: NewFiles) -> list[str]:
    """The crystals beside the first: for each a matrix, in which its missetting is, its scale, and its position, if any."""
    words = []
    for crystal in refined.other_crystals:
        matrix = np.linalg.inv(orient(crystal, refined.sampling.defects)) * refined.beam.wavelength_A
        position = _numbers(crystal.position_mm) if crystal.is_displaced else []
        words += [new_files.matrix(matrix), repr(crystal.scale), *position]
    return ["-lattice", *words] if words else []


def _polarization(refined: Experiment, _) -> list[str]:
    return ["-polar", *_numbers([refined.beam.polarization])]


def _depth(refined: Experiment, _) -> list[str]:
    depth = refined.detector.attenuation_um
    return [] if depth is None else ["-detector_abs", *_numbers([depth])]


def _reflections(refined: Experiment, new_files: NewFiles) -> list[str]:
    """A new list, and the cell where the file that it replaces stated that."""
    factors = refined.structure_factors
    of_file = factors.cell is not None and refined.crystal.orientation is None
    return ["-hkl", new_files.reflections(factors.hkl, factors.F), *(_cell(refined, new_files) if of_file else [])]


def _weights(refined: Experiment, new_files: NewFiles) -> list[str]:
    weights = refined.beam.source_weights
    return [] if weights is None else ["-source_weights", new_files.weights(np.array(weights))]


def _groups(refined: Experiment, new_files: NewFiles) -> list[str]:
    """A new file of geometry, in which groups are where they are now, and what it does not state.

    It has no crystal: one of a file gets a matrix. Nor has it the spindle of a still, which may be turned by its own phi, and
    the turns of the whole detector, which are those of flags.
    """
    unturned = dataclasses.replace(refined, detector=dataclasses.replace(refined.detector, **dict.fromkeys(TURNS, 0.0)))
    moved = geometry_of(unturned, Readout(), "-expt")
    panels = [
        dataclasses.replace(
            of_file, masked=of.masked, trusted_min=of.trusted_min, trusted_max=of.trusted_max, data_origin=of.data_origin
        )
        for of_file, of in zip(moved.panels, refined.detector.panels)
    ]
    name = new_files.geometry(dataclasses.replace(moved, panels=tuple(panels), crystal=None))
    words = ["-expt", name, *(_cell(refined, new_files) if refined.crystal.orientation is not None else [])]
    if moved.scan is None:
        words += ["-spindle_axis", *_numbers(spindle_axis(refined.detector, refined.goniometer.spindle_axis))]
    return words


def _phi_sampling(refined: Experiment, _) -> list[str]:
    chosen = refined.goniometer.phi_sampling
    return [] if chosen is None else ["-phi_sampling", chosen]


def _oversample(refined: Experiment, _) -> list[str]:
    """The flag of one number of sub-pixels; there is none for a number of each panel, which is chosen anew."""
    oversample = refined.sampling.oversample
    return ["-oversample", str(oversample)] if isinstance(oversample, int) else []


def _interpolate(refined: Experiment, _) -> list[str]:
    chosen = refined.structure_factors.interpolate
    return [] if chosen is None else ["-interpolate" if chosen else "-nointerpolate"]


POSITION_QUANTITIES = (
    _position_quantity(DISTANCE),
    _position_quantity(FORMS, ("-pix0_vector",)),
)
"""The quantities that position the detector."""

REFLECTION_FLAGS = (*FACTORS, "-dump", "-column", "-reindex", *OF_ATOMS)
"""The flags that state reflections, which a list in the basis of the crystal replaces."""

GEOMETRY_FLAGS = (*FILES_OF_GEOMETRY, "-img", "-image", "-experiment", "-mat")
"""The flags that a new file of geometry, and the matrix beside it, replace."""

QUANTITIES: tuple[Quantity, ...] = (
    Quantity(("detector.groups",), GEOMETRY_FLAGS, _groups),
    *_number_quantities([field for quantity in POSITION_QUANTITIES for field in quantity.fields]),
    Quantity(("beam.polarization",), ("-polar",), _polarization),
    Quantity(("other_crystals",), ("-lattice",), _lattices),
    Quantity(("detector.attenuation_um",), ("-detector_abs",), _depth),
    Quantity(("crystal.misset_deg", "crystal.misset_seed"), ("-misset", "-misset_seed"), _misset),
    Quantity((*CELL, "crystal.orientation"), ("-cell", "-mat"), _cell),
    Quantity(CELLS, ("-N", "-Na", "-Nb", "-Nc", "-N_abc", *SIZE_FLAGS), _cells),
    _together("-N_def", OFF_DIAGONAL),
    _together("-bfactor_aniso", ANISOTROPIC),
    _together("-mosaic_abc", ABOUT_AXES),
    _together("-cell_spread", CELL_SPREADS),
    _together("-xtal_position", CRYSTAL_POSITION),
    *POSITION_QUANTITIES,
    Quantity(("structure_factors.hkl", "structure_factors.F"), REFLECTION_FLAGS, _reflections),
    Quantity(("beam.source_weights",), ("-source_weights",), _weights),
    Quantity(("structure_factors.interpolate",), ("-interpolate", "-nointerpolate"), _interpolate),
    Quantity(("goniometer.phi_sampling",), ("-phi_sampling",), _phi_sampling),
    Quantity(("sampling.oversample",), ("-oversample",), _oversample),
)
"""All quantities that a refinement changes or freezes, and that flags can state."""

NOT_COMPARED = ("crystal.misset_seed", "other_crystals", "detector.groups")
STATED = tuple(field for quantity in QUANTITIES for field in quantity.fields if field not in NOT_COMPARED)
"""The fields that are compared in the end; those of the position of the detector by their values."""


def _sentences(stated: Experiment, refined: Experiment, names: Iterable[Any]) -> list[str]:
    """A sentence for each parameter of the refined experiment that the flags do not state."""
    sentences = []
    for name in TILTS:
        if _field(stated, name) != _field(refined, name):
            shown = f"{_field(refined, name):.6g}"
            why = "no flag states it: -beam_vector would take the detector along"
            sentences.append(f"the refined {name} is {shown}, and {why}")
    sentences += _of_other_crystals(stated, refined)
    for name in _compared(names):
        of_flags, wanted = stated.value(name), refined.value(name)
        if not _close(of_flags, wanted, SAME):
            sentences.append(f"the refined {name} is {_shown(wanted)}, and the refined flags state {_shown(of_flags)}")
    if not sentences and not all(map(_close, _corners(stated), _corners(refined), itertools.repeat(SAME))):
        why = "the header of an image places it too"
        sentences.append(f"the refined flags do not place the detector where it was refined: {why}")
    return sentences


def _of_other_crystals(stated: Experiment, refined: Experiment) -> Iterator[str]:
    """A sentence for each field of a crystal beside the first that -lattice does not state: it has cell, orientation, scale."""
    for number, (of_flags, wanted) in enumerate(zip(stated.other_crystals, refined.other_crystals), start=1):
        for field in dataclasses.fields(Crystal):
            values = getattr(of_flags, field.name), getattr(wanted, field.name)
            if field.name not in (*ORIENTED, "misset_deg", "misset_seed") and values[0] != values[1]:
                yield f"the refined crystal[{number}].{field.name} is {_shown(values[1])}, and no flag states it"


def _compared(names: Iterable[Any]) -> list[str]:
    """The names whose values flags have to state: those that were refined, and those that new flags can state."""
    refined = [name for tied in names for name in ((tied,) if isinstance(tied, str) else tied)]
    refined = [name for name in refined if not name.startswith(("image.", "crystal[", "detector.group["))]
    forms = {f"detector.{form}" for form in FORMS}
    every = [*refined, *(name for name in STATED if name not in forms), *POSITION]
    return [name for name in dict.fromkeys(every) if name not in TILTS]


def _shown(value: Any) -> str:
    """A number, or the first of many."""
    numbers = np.ravel(np.array(value, dtype=object))
    shown = " ".join(f"{x:.10g}" if isinstance(x, float) else str(x) for x in numbers[:3])
    return shown + (" ..." if numbers.size > 3 else "")


def _close(one, other, tolerance: float) -> bool:
    """Whether two values are the same but for rounding."""
    if one is None or other is None or isinstance(one, (bool, str)):
        return one == other
    if np.shape(one) != np.shape(other):
        return False
    return bool(np.allclose(one, other, rtol=tolerance, atol=tolerance))
