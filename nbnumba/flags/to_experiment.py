"""From a command line to an experiment: a function for each of its parts."""

import dataclasses
import math
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from nbnumba import resolved
from nbnumba.constants import HC_EV_A
from nbnumba.errors import InputError
from nbnumba.experiment import Experiment
from nbnumba.flags import headers, structure_factors
from nbnumba.flags.arguments import number, words_of
from nbnumba.flags.command_line import CONVENTION_FLAGS, CommandLine
from nbnumba.flags.lattices import lattices, with_orientation
from nbnumba.flags.messages import in_flags
from nbnumba.flags.run import run_of, time_seed
from nbnumba.flags.table import DOCUMENTED, NO_EFFECT
from nbnumba.formats import images, matrix, radial, smv, sources, spectrum, stol
from nbnumba.formats.text import excerpt
from nbnumba.geometry.cell import LONGEST_CELL_A, SAME_CELL, SHORTEST_CELL_A
from nbnumba.setup.sheet import sheet_of
from nbnumba.setup.sources import mean_wavelength, of_at_most
from nbnumba.stages.shapes import SHAPES
from nbnumba.statements import (
    MOST_CELLS,
    MOST_PIXELS,
    Background,
    Beam,
    Crystal,
    Detector,
    Goniometer,
    Sampling,
)

SHAPE_FLAGS = {shape.flags.split()[0]: shape.name for shape in SHAPES.values()}
"""The flags that choose the shape of the crystal."""

SPREAD_FLAGS = ("-mosaic", "-mosaic_abc", "-cell_spread")
"""The flags that make mosaic domains."""

SIZE_FLAGS = {"-samplesize": "abc", "-sample_thick": "a", "-sample_width": "b", "-sample_height": "c"}
"""The flags that give edges of the crystal in mm, and along what."""


CELL_FLAGS = {"-N": "abc", "-Na": "a", "-Nb": "b", "-Nc": "c", "-N_abc": "abc"}
"""The flags that give numbers of unit cells, and along what."""

PIXEL_FLAGS = ("-pixel", "-detpixels", "-detpixels_x", "-detpixels_y", "-detsize", "-detsize_f", "-detsize_s")
"""The flags that state the pixels of a detector of one panel."""

DIVERGENCE_CORNERS = ("-round_div", "-square_div")

STOL_FLAGS = {"-stol": 1.0, "-4stol": 4.0, "-Q": 4.0 * math.pi}
"""The flags that name a table of structure factors, and its abscissa in units of sin(theta) / lambda."""

TABLE_FLAGS = ("-water_table", *STOL_FLAGS)
"""The flags that choose the structure factors of the material."""

NEAR_POINT_FLAGS = ("-Xclose", "-Yclose", "-ORGX", "-ORGY")
"""The flags that say where the detector is nearest to the crystal."""


def experiment_of(command_line: CommandLine) -> Experiment:
    """The experiment of a command line. Raises InputError for what is missing, contradictory or impossible."""
    incident, file_of_factors = beam(command_line), structure_factors.flag_of(command_line)
    known: list[Crystal] = []
    if _states_cell(command_line) or file_of_factors in (None, "-hkl"):
        known = crystals(command_line, incident.wavelength_A)
    placed, cell_from = detector(command_line), known[0] if known else None
    factors = structure_factors.structure_factors(command_line, incident, placed, cell_from, _cells(command_line))
    first, *others = known or crystals(command_line, incident.wavelength_A, factors.cell)
    experiment = Experiment(
        crystal=first,
        other_crystals=tuple(others),
        structure_factors=factors,
        beam=incident,
        detector=placed,
        goniometer=goniometer(command_line),
        background=background(command_line),
        sampling=sampling(command_line, placed),
    )
    _warn_of_what_has_no_effect(command_line)
    return _with_added_photons(command_line, experiment) if "-background" in command_line.last else experiment


def experiment_from_args(args: Sequence[str | float] | str) -> Experiment:
    """The experiment of a command line that names nothing to be written."""
    args = words_of(args)
    try:
        command_line = CommandLine(args)
        writes = [given.spelling for given in command_line.given if given.flag.kind == "file" and given.flag.group == "output"]
        writes += ["-dump"] if run_of(command_line).dump else []
        if writes:
            raise InputError(f"{writes[0]} names a file to be written; allowed in an experiment: flags that describe it")
        return experiment_of(command_line)
    except InputError as error:
        raise InputError(in_flags(str(error), args)) from None


def _warn_of_what_has_no_effect(command_line: CommandLine) -> None:
    """A warning for every flag that another one, or the lack of one, deprives of its effect."""
    has = command_line.last.__contains__
    spreads = _flags_of_spreads(command_line)
    square = command_line.choice(DIVERGENCE_CORNERS) == "-square_div"
    clips_nothing = has("-beamsize") and not _beam_size_counts(command_line)
    rows = (
        (has("-mosaic_seed") and not spreads, "-mosaic_seed", f"no {' or '.join(SPREAD_FLAGS)} spread is given"),
        (has("-misset_seed") and command_line.last.get("-misset") != "random", "-misset_seed", "-misset is not random"),
        *structure_factors.unused(command_line),
        (square and not _diverges_both_ways(command_line), "-square_div", "there is no divergence in both directions"),
        (clips_nothing, "-beamsize", "there is no -flux, no -air, and no crystal that it clips"),
        *((has(flag), flag, why) for flag, why in NO_EFFECT.items()),
        (has("-c_threads") and not command_line.defects.phi_carryover, "-c_threads", "phi_carryover is not on"),
    )
    for unused, flag, why in rows:
        if unused:
            warnings.warn(f"{command_line.spelling[flag]} has no effect: {why}", stacklevel=2)
    _warn_of_cells(command_line)
    for spelling in command_line.passed_over:
        warnings.warn(f"{spelling} has no effect: C's defect documented_flags_ignored is on", stacklevel=2)
    for given in command_line.given:
        if given.spelling in DOCUMENTED and given.value:
            note = f"{given.spelling} is {given.flag.names[0]}, as nanoBragg's README has it; nanoBragg.c passes it over"
            warnings.warn(note, stacklevel=2)
    _warn_of_large_steps(command_line)


def _diverges_both_ways(command_line: CommandLine) -> bool:
    """Whether a divergence in both directions is stated, so that there are corners."""
    flags = [(f"-{axis}divrange", f"-{axis}divstep", f"-{axis}divsteps", "-divergence", "-divsteps") for axis in "hv"]
    return all(any(command_line.last.get(flag) for flag in of_axis) for of_axis in flags)


def _beam_size_counts(command_line: CommandLine) -> bool:
    """Whether the size of the beam makes a fluence of a flux, clips a crystal of edges in mm, or says how much air is in it."""
    edges = ("-samplesize", "-sample_width", "-sample_height", "-air")
    return bool(command_line.last.get("-flux")) or any(command_line.last.get(flag) for flag in edges)


def _warn_of_cells(command_line: CommandLine) -> None:
    """A warning for every number of cells along an axis whose edge is given in mm."""
    edges = {}
    for given in command_line.given:
        if given.value:
            edges |= dict.fromkeys(SIZE_FLAGS.get(given.flag.names[0], ""), given.spelling)
    for given in command_line.given:
        if given.flag.names[0] in CELL_FLAGS:
            axes = [axis for axis in CELL_FLAGS[given.flag.names[0]] if axis in edges]
            where = "" if len(axes) == len(CELL_FLAGS[given.flag.names[0]]) else f" along {' and '.join(axes)}"
            if axes:
                why = f"{edges[axes[0]]} says how many cells there are"
                warnings.warn(f"{given.spelling} has no effect{where}: {why}", stacklevel=2)


def _warn_of_large_steps(command_line: CommandLine) -> None:
    """A warning where a step of the divergence is no less than its range: nanoBragg's README calls it a number of points."""
    for axis in "hv":
        full = command_line.last.get(f"-{axis}divrange", command_line.last.get("-divergence", 0.0))
        step = command_line.last.get(f"-{axis}divstep", 0.0)
        if 0.0 < full < step:
            note = f"-{axis}divstep {step:g} mrad is more than the range, {full:g} mrad: one step; -{axis}divsteps is a number"
            warnings.warn(note, stacklevel=2)


def _states_cell(command_line: CommandLine) -> bool:
    """Whether flags, or a file of geometry, state a unit cell."""
    return bool({"-mat", "-cell", "-lattice"} & set(command_line.last)) or "orientation" in command_line.fields("crystal")


def crystals(command_line: CommandLine, wavelength_A: float, cell_of_factors: Sequence[float] | None = None) -> list[Crystal]:
    """The crystal of the flags, and those of -lattice, which are as large; without a cell of its own the first of these.

    cell_of_factors: as in `crystal`.
    """
    found = lattices(command_line, wavelength_A) if "-lattice" in command_line.last else []
    is_stated = {"-mat", "-cell"} & set(command_line.last) or "crystal.orientation" in command_line.header
    if found and not is_stated:
        command_line.header |= {f"crystal.{name}": value for name, value in found.pop(0).items()}
    first = crystal(command_line, wavelength_A, cell_of_factors)
    return [first, *(with_orientation(first, fields) for fields in found)]


def crystal(command_line: CommandLine, wavelength_A: float, cell_of_factors: Sequence[float] | None = None) -> Crystal:
    """Cell, orientation, size, shape and mosaicity; a matrix is undone with the wavelength.

    cell_of_factors: the cell that a file of structure factors states, where nothing else does.
    """
    fields = command_line.fields("crystal") | _cells(command_line) | _domains(command_line)
    fields |= zip(Crystal.ABOUT_AXES, command_line.last.get("-mosaic_abc", ()))
    fields |= zip(Crystal.CELL_SPREADS, command_line.last.get("-cell_spread", ()))
    fields |= zip(Crystal.POSITION, command_line.last.get("-xtal_position", ()))
    fields |= zip(Crystal.ANISOTROPIC, command_line.last.get("-bfactor_aniso", ()))
    fields |= zip(Crystal.OFF_DIAGONAL, command_line.last.get("-N_def", ()))
    shape = command_line.choice(SHAPE_FLAGS)
    if shape is not None:
        fields["shape"] = SHAPE_FLAGS[shape]
    if command_line.last.get("-misset") == "random":
        fields["misset_seed"] = _misset_seed(command_line)
    elif "-misset" in command_line.last:
        fields["misset_deg"] = command_line.last["-misset"]
    named = zip(Crystal.CELL, command_line.last.get("-cell", ()))
    cell = {name: number for name, number in named if number != 0.0 or name == "a_A"}
    cell = cell or dict(zip(Crystal.CELL, cell_of_factors or ()))
    if "orientation" in fields:
        return _cut_to_size(command_line, Crystal(**fields | _cell_beside_a_file(cell)))
    return _cut_to_size(command_line, _of_cell(command_line, cell, wavelength_A, fields))


def _of_cell(command_line: CommandLine, cell, wavelength_A, fields) -> Crystal:
    if "-mat" not in command_line.last:
        if not cell:
            raise InputError("no unit cell is given; allowed: -mat FILE, or -cell A B C AL BE GA, or -pdb, -mtz or -cif")
        return Crystal(**cell, **fields)
    elements, stated = matrix.read_with_cell(command_line.last["-mat"], "-mat")
    try:
        from_matrix = Crystal.from_matrix(elements, wavelength_A, **fields)
    except InputError as error:
        named = f"-mat: the matrix in {command_line.last['-mat']!r}"
        raise InputError(str(error).replace("crystal: the matrix", named, 1)) from None
    _compare_cells(command_line.last["-mat"], stated, from_matrix, wavelength_A)
    if not cell:
        return from_matrix
    warnings.warn("-cell beside -mat gives the lengths of a, b and c; their directions are the matrix's", stacklevel=2)
    lengths = {name: cell.get(name, cell["a_A"]) for name in Crystal.CELL[:3]}
    return dataclasses.replace(from_matrix, **lengths)


def _cell_beside_a_file(cell: dict[str, float]) -> dict[str, float]:
    """The whole cell that -cell states beside a file of geometry, whose orientation stays; nothing without -cell."""
    if not cell:
        return {}
    warnings.warn("-cell counts before the cell of the crystal in the file of geometry, whose orientation stays", stacklevel=2)
    return {**dict.fromkeys(Crystal.CELL[:3], cell["a_A"]), **dict.fromkeys(Crystal.CELL[3:], 90.0), **cell}


def _compare_cells(path: str, stated: Sequence[float] | None, crystal: Crystal, wavelength_A: float) -> None:
    """Warn where a matrix is not of the cell that its file states, and of the wavelength at which it is, if there is one."""
    of_matrix = [getattr(crystal, name) for name in Crystal.CELL]
    if not SHORTEST_CELL_A <= min(of_matrix[:3]) <= max(of_matrix[:3]) <= LONGEST_CELL_A:
        cell = f"-mat {path!r}: at {wavelength_A:g} A the cell is {' '.join(f'{x:.6g}' for x in of_matrix)}"
        warnings.warn(f"{cell}; a matrix holds a* b* c* in 1/A, times the wavelength", stacklevel=2)
    if stated is None or np.allclose(stated, of_matrix, rtol=SAME_CELL, atol=0.0):
        return
    shown = [" ".join(f"{x:.6g}" for x in cell) for cell in (stated, of_matrix)]
    ratios = np.divide(stated[:3], of_matrix[:3])
    same_angles = np.allclose(stated[3:], of_matrix[3:], rtol=SAME_CELL, atol=0.0)
    agree = np.allclose(ratios, ratios.mean(), rtol=SAME_CELL) and same_angles
    same_cell_A = f"{wavelength_A * ratios.mean():.5g}"
    agreement = f"they agree at {same_cell_A} A, -lambda {same_cell_A}" if agree else "they agree at no wavelength"
    used = f"its matrix at {wavelength_A:g} A is of {shown[1]}, which counts"
    warnings.warn(f"-mat {path!r} states the cell {shown[0]}, and {used}; {agreement}", stacklevel=2)


def _cells(command_line: CommandLine) -> dict[str, float]:
    """Numbers of unit cells: of -N, -Na, -Nb, -Nc, -N_abc the later one counts; a whole one below 1 is 1, as in nanoBragg."""
    cells: dict[str, float] = {}
    for given in command_line.given:
        if given.flag.kind == "vector" and given.flag.names[0] in CELL_FLAGS:
            cells |= zip(("n_a", "n_b", "n_c"), given.value)
        elif given.flag.names[0] in CELL_FLAGS:
            if given.value < 0:
                raise InputError(f"{given.spelling}: {given.value} is not allowed; allowed: a whole number not below 0")
            along = CELL_FLAGS[given.flag.names[0]]
            cells |= {f"n_{axis}": max(given.value, 1) for axis in along}
    return cells


def _cut_to_size(command_line: CommandLine, crystal: Crystal) -> Crystal:
    """The crystal with numbers of cells from its edges in mm, width and height clipped by the beam, as in nanoBragg."""
    edges = {}
    for given in command_line.given:
        name = given.flag.names[0]
        for axis in SIZE_FLAGS.get(name, ()):
            edges[axis] = given.value
    beam = command_line.last.get("-beamsize", Beam.size_mm)
    for axis in "bc":
        if edges.get(axis, 0.0) > beam:
            note = f"the crystal's edge along {axis}, {edges[axis]:g} mm, is clipped to the -beamsize {beam:g} mm"
            warnings.warn(note, stacklevel=2)
            edges[axis] = beam
    cells = {f"n_{axis}": cells_along(edge, getattr(crystal, f"{axis}_A"), axis) for axis, edge in edges.items() if edge > 0.0}
    return dataclasses.replace(crystal, **cells)


def _flags_of_spreads(command_line: CommandLine) -> list[str]:
    """The flags that state a spread above 0 of mosaic domains."""
    return [flag for flag in SPREAD_FLAGS if np.any(np.array(command_line.last.get(flag, 0.0)) > 0.0)]


def _domains(command_line: CommandLine) -> dict[str, int]:
    spreads = _flags_of_spreads(command_line)
    if command_line.last.get("-mosaic_domains", 0) <= 0 and spreads:
        warnings.warn(f"{' '.join(spreads)} without -mosaic_domains: 10 domains", stacklevel=2)
    return command_line.steps("-mosaic_domains", "mosaic_domains")


def _misset_seed(command_line: CommandLine) -> int:
    """The seed of a random orientation: its own, that of the noise, or the time."""
    run = run_of(command_line)
    seed = run.seed if run.misset_seed is None else run.misset_seed
    if seed is None:
        seed = time_seed()
        warnings.warn(f"-misset random without a seed: -misset_seed {seed}", stacklevel=2)
    return seed


def beam(command_line: CommandLine) -> Beam:
    """Wavelength, intensity, polarization, divergence, spectrum, sources."""
    fields = command_line.fields("beam")
    if command_line.order(["-energy"]) > command_line.order(["-lambda"]):
        fields["wavelength_A"] = Beam.wavelength_from_energy(command_line.last["-energy"])
    flux, exposure = command_line.last.get("-flux", 0.0), command_line.last.get("-exposure", 1.0)
    if flux != 0.0 and exposure > 0.0:
        fields["fluence"] = Beam.fluence_from_flux(flux, exposure, fields.get("size_mm", Beam.size_mm))
        if "-fluence" in command_line.last:
            warnings.warn("-fluence has no effect: -flux is given", stacklevel=2)
    elif "-exposure" in command_line.last:
        warnings.warn("-exposure has no effect: there is no -flux", stacklevel=2)
    if command_line.order(["-nopolar"]) > command_line.order(["-polar"]):
        fields["polarized"] = False
    if "-polar" in command_line.last:
        fields["polarization"] = command_line.last["-polar"]
    for both, ending in (("-divergence", "range_mrad"), ("-divsteps", "steps")):
        fields |= _both_ways(command_line, both, ending)
    fields |= command_line.steps("-dispsteps", "dispsteps")
    fields["round_divergence"] = command_line.choice(("-round_div", "-square_div")) != "-square_div"
    if "-sourcefile" in command_line.last:
        fields["sources"] = _sources(command_line)
    if "-spectrum" in command_line.last:
        fields["spectrum"] = _spectrum(command_line)
        fields.pop("dispersion_percent", None)
        fields.setdefault("wavelength_A", mean_wavelength(fields["spectrum"]))
    elif "-spectrum_steps" in command_line.last:
        warnings.warn("-spectrum_steps has no effect: there is no -spectrum", stacklevel=2)
    if "-source_weights" in command_line.last:
        fields["source_weights"] = spectrum.read_weights(command_line.last["-source_weights"], "-source_weights")
    made = Beam(**fields)
    if not resolved.USUAL_A[0] <= made.wavelength_A <= resolved.USUAL_A[1]:
        energy = f"{HC_EV_A / made.wavelength_A:.5g} eV"
        note = f"the wavelength is {made.wavelength_A:.5g} A, {energy}; -lambda and WAVELENGTH are in A, -energy is in eV"
        warnings.warn(note, stacklevel=2)
    return made


def _both_ways(command_line: CommandLine, both: str, ending: str) -> dict[str, Any]:
    """A flag for both directions of the divergence, and those for each: the later one counts."""
    fields = {}
    for axis in "hv":
        name = command_line.choice((both, f"-{axis}div{ending.removesuffix('_mrad')}"))
        field = f"{axis}div{ending}"
        if name is not None:
            fields |= command_line.steps(name, field) if ending == "steps" else {field: command_line.last[name]}
    return fields


def _sources(command_line: CommandLine) -> np.ndarray:
    table = sources.read(command_line.last["-sourcefile"], "-sourcefile")
    table[:, 4] *= 1e10
    named = [name for name in ("-lambda", "-energy") if name in command_line.last]
    if named and "-mat" not in command_line.last and not np.isnan(table[:, 4]).any():
        why = "every source of -sourcefile has a wavelength of its own"
        warnings.warn(f"{command_line.spelling[named[-1]]} has no effect on the sources: {why}", stacklevel=2)
    return table


def _spectrum(command_line: CommandLine) -> np.ndarray:
    """The spectrum of -spectrum, or the -spectrum_steps wavelengths that stand for it (F5b)."""
    for flag in ("-sourcefile", "-dispersion", "-dispsteps"):
        if command_line.last.get(flag):
            given = command_line.spelling[flag]
            raise InputError(f"-spectrum and {given}: both say what the wavelengths are; allowed: one of them")
    table = spectrum.read(command_line.last["-spectrum"], "-spectrum")
    named = [name for name in ("-lambda", "-energy") if name in command_line.last]
    if named and "-mat" not in command_line.last:
        why = "-spectrum says what the wavelengths are; -wavelength_scale and -wavelength_offset change them"
        warnings.warn(f"{command_line.spelling[named[-1]]} has no effect on the sources: {why}", stacklevel=2)
    steps = command_line.last.get("-spectrum_steps")
    if steps is None:
        return table
    if steps < 1:
        raise InputError(f"-spectrum_steps: {steps} is not allowed; allowed: a whole number of at least 1")
    few = of_at_most(table, steps)
    if few is table:
        warnings.warn(f"-spectrum_steps has no effect: -spectrum has {len(table)} wavelengths", stacklevel=2)
    return few


def background(command_line: CommandLine) -> Background:
    """The amorphous material in the beam. A density or a molar mass of 0 is not given: nanoBragg passes them over."""
    fields = command_line.fields("background")
    for name, flag in (("density_g_per_cm3", "-density"), ("molar_mass_g", "-molecwt")):
        if fields.get(name) == 0.0:
            del fields[name]
            warnings.warn(f"{command_line.spelling[flag]} 0 is not given: {getattr(Background, name):g} is taken", stacklevel=2)
    name = command_line.choice(TABLE_FLAGS)
    if name == "-water_table":
        fields["table"] = _water_table(command_line)
    elif name is not None:
        table = stol.read(command_line.last[name], name)
        table = table[np.argsort(table[:, 0], kind="stable")]
        table[:, 0] /= STOL_FLAGS[name]
        fields["table"] = np.nan_to_num(table, nan=0.0)
    unused = [flag for flag in (*TABLE_FLAGS, "-density", "-molecwt") if flag in command_line.last]
    if unused and fields.get("water_um", 0.0) == 0.0:
        why = "-water says how much of the material there is"
        warnings.warn(f"{command_line.spelling[unused[0]]} has no effect: {why}", stacklevel=2)
    if "-ice_size" in command_line.last and fields.get("ice_um", 0.0) == 0.0:
        warnings.warn("-ice_size has no effect: -ice says how much ice there is", stacklevel=2)
    return Background(**fields)


def _water_table(command_line: CommandLine) -> str:
    """The table of liquid water. Raises InputError with C's defect that has no tables (P10)."""
    if command_line.defects.amorphous_ignored:
        why = "amorphous_ignored is about the only background that C has"
        raise InputError(f"-water_table is not allowed with that defect of C: {why}; allowed: none of its tables")
    return "water"


def _with_added_photons(command_line: CommandLine, experiment: Experiment) -> Experiment:
    """The experiment with the photons of -background: an image of the shape of the detector, or a radial table (F12a)."""
    path, shapes = command_line.last["-background"], sheet_of(experiment.detector).shapes
    if radial.is_text(path, "-background"):
        return experiment.replace({"background.radial": radial.read(path, experiment.beam.wavelength_A)})
    of_one = len(shapes) == 1
    read = images.read(path, shapes[0], "-background") if of_one else images.read_panels(path, shapes, "-background")
    offset, gain = read.stated(smv.OFFSET_KEY) or 0.0, read.stated(smv.GAIN_KEY) or 1.0
    photons = (np.array(read.pixels, dtype=np.float64) - offset) / gain
    if (offset, gain) != (0.0, 1.0):
        done = f"its {smv.OFFSET_KEY}, {offset:g}, is subtracted, and the rest is divided by its {smv.GAIN_KEY}, {gain:g}"
        warnings.warn(f"-background: {path!r} holds counts: {done}", stacklevel=2)
    if read.masked is not None:
        photons[read.masked] = 0.0
        warnings.warn(f"-background: {int(read.masked.sum())} masked pixels of {path!r} have no photons", stacklevel=2)
    if not (photons >= 0.0).all():
        wrong = tuple(int(i) for i in np.argwhere(~(photons >= 0.0))[0])
        where = f"{photons[wrong]:g} at (slow, fast) {wrong}"
        raise InputError(f"-background: {path!r} has {where}; allowed: photons, 0 or more, in every pixel that is not masked")
    return experiment.replace({"background.image": sheet_of(experiment.detector).image(photons)})


def detector(command_line: CommandLine) -> Detector:
    """Pixels, place, convention and sensor."""
    fields = command_line.fields("detector")
    _overrule_header(command_line, fields)
    fields["convention"] = command_line.convention()
    if fields["convention"] == "custom":
        fields["implied_pivot"] = _implied_pivot(command_line)
    if command_line.order(["-pix0_vector"]) > command_line.order(["-pix0_vector_mm"]):
        fields["pix0_mm"] = tuple(1000 * x for x in command_line.last["-pix0_vector"])
    if "-pivot" in command_line.last:
        fields["pivot"] = command_line.last["-pivot"]
    for flag, name in (("-point_pixel", "point_pixel"), ("-curved_det", "curved")):
        if flag in command_line.last:
            fields[name] = True
    fields |= command_line.steps("-detector_thicksteps", "layers") | _sensor(command_line, fields)
    if fields.get("panels"):
        _warn_of_pixels(command_line)
        return Detector(**fields)
    pixel = fields.get("pixel_mm", Detector.pixel_mm)
    counted = [_pixels(command_line, axis, pixel) for axis in "xy"]
    fields["pixels"] = tuple(count for count, _ in counted)
    fields["size_mm"] = tuple(count * pixel if size is None else size for count, size in counted)
    if all(size is None for _, size in counted):
        del fields["size_mm"]
    if fields.get("masked") and fields["pixels"] != command_line.header.get("detector.pixels"):
        del fields["masked"]
        warnings.warn("the pixels that the file masks are not left out: flags state other numbers of pixels", stacklevel=2)
    made = Detector(**fields)
    for sentence in headers.distant_centres(made, command_line.header):
        warnings.warn(sentence, stacklevel=2)
    return made


def _warn_of_pixels(command_line: CommandLine) -> None:
    """A warning for every flag that states pixels of the detector beside a file whose panels have their own."""
    for given in command_line.given:
        if given.flag.names[0] in PIXEL_FLAGS:
            warnings.warn(f"{given.spelling} has no effect: the panels of the file have their own pixels", stacklevel=2)


def _overrule_header(command_line: CommandLine, fields) -> None:
    """A distance or a beam centre that flags give replaces every form of it in a header."""
    if command_line.order(NEAR_POINT_FLAGS) >= 0 and not command_line.defects.near_point_ignored:
        _drop_from_header(command_line, fields, ("detector.xbeam_mm", "detector.ybeam_mm"))
    if command_line.order(("-Xbeam", "-Ybeam")) >= 0 and not command_line.defects.near_point_ignored:
        _drop_from_header(command_line, fields, ("detector.orgx_pixels", "detector.orgy_pixels"))
    if command_line.order(("-pix0_vector", "-pix0_vector_mm")) >= 0 and not command_line.defects.pix0_ignored:
        _drop_from_header(command_line, fields, [name for name in command_line.header if name in headers.POSITION])
    if "-close_distance" in command_line.last and "-distance" not in command_line.last:
        _drop_from_header(command_line, fields, ("detector.distance_mm",))
    if "-distance" in command_line.last and "-close_distance" not in command_line.last:
        if not command_line.defects.header_close_distance:
            fields.pop("close_distance_mm", None)
    elif fields.get("close_distance_mm") is not None:
        if "-close_distance" not in command_line.last or fields.get("distance_mm") == 0.0:
            fields.pop("distance_mm", None)


def _drop_from_header(command_line: CommandLine, fields, names) -> None:
    for name in names:
        field = name.partition(".")[2]
        if fields.get(field) == command_line.header.get(name):
            fields.pop(field, None)


def _sensor(command_line: CommandLine, fields) -> dict[str, float]:
    """Thickness and attenuation depth of the sensor; a depth of inf or 0 is no sensor, as in nanoBragg."""
    thick, depth = fields.get("thickness_um", 0.0), command_line.last.get("-detector_abs")
    if depth is None:
        if thick > 0.0 and fields.get("attenuation_um") is None:
            warnings.warn(f"-detector_thick without -detector_abs: attenuation depth {thick:g} um", stacklevel=2)
        return {}
    if "inf" in depth or number(depth) == 0.0:
        if thick > 0.0:
            warnings.warn("-detector_thick has no effect: the attenuation depth is infinite", stacklevel=2)
        later = command_line.order(["-detector_thick"]) > command_line.order(["-detector_abs"])
        return {"attenuation_um": math.inf, "thickness_um": thick if later else 0.0}
    if number(depth) is None:
        raise InputError(f"-detector_abs: {excerpt(depth)} is not allowed; allowed: a positive number (um), or inf")
    if thick == 0.0:
        warnings.warn("-detector_abs has no effect without -detector_thick", stacklevel=2)
    return {"attenuation_um": number(depth)}


def _implied_pivot(command_line: CommandLine) -> str:
    """The pivot that the last flag with one implies, -pivot among them: nanoBragg's in the custom convention."""
    pivot = "beam"
    for given in command_line.given:
        name = given.flag.names[0]
        pivot = given.value if name == "-pivot" else given.flag.pivot or CONVENTION_FLAGS.get(name, pivot)
    return pivot


def _pixels(command_line: CommandLine, axis: str, pixel_mm: float) -> tuple[int, float | None]:
    """Pixels along an axis, and its size in mm unless the pixels say it: pixels count before a size, of each the later flag."""
    header = command_line.header.get("detector.pixels", (None, None))["xy".index(axis)]
    count = _later(command_line, ("-detpixels", f"-detpixels_{axis}")) or header
    name = command_line.choice(("-detsize", f"-detsize_{'f' if axis == 'x' else 's'}"))
    size = _later(command_line, (name,)) if name else None
    if count is not None and size is not None:
        warnings.warn(f"{command_line.spelling[name]} has no effect: the number of pixels is given", stacklevel=2)
    if count is None and size == 0.0:
        raise InputError(f"{command_line.spelling[name]}: 0 is not allowed without -detpixels; allowed: a positive number")
    Detector(pixel_mm=pixel_mm)
    if count is not None:
        return count, None
    size = 102.4 if size is None else size
    if not size / pixel_mm <= MOST_PIXELS:
        too_many = f"{size:g} mm are {size / pixel_mm:g} pixels of {pixel_mm:g} mm"
        raise InputError(f"detector.size_mm: {too_many}; allowed: at most {MOST_PIXELS} pixels")
    return max(math.ceil(size / pixel_mm - 0.5), 1), size


def _later(command_line: CommandLine, names):
    """The value of the later of some flags, None without one. Raises InputError for one below 0."""
    name = command_line.choice(names)
    if name is not None and command_line.last[name] < 0:
        stated = f"{command_line.spelling[name]}: {command_line.last[name]:g}"
        raise InputError(f"{stated} is not allowed; allowed: a number not below 0")
    return None if name is None else command_line.last[name]


def goniometer(command_line: CommandLine) -> Goniometer:
    """The rotation; no steps count as one."""
    steps = command_line.last.get("-phisteps")
    if steps is not None and steps < 0:
        raise InputError(f"-phisteps: {steps} is not allowed; allowed: a whole number not below 0")
    return Goniometer(**command_line.fields("goniometer"), phisteps=steps if steps is None else max(steps, 1))


def sampling(command_line: CommandLine, placed: Detector) -> Sampling:
    """Sub-pixels, region, mask, and the defects of C to reproduce. placed: the detector; the mask of panels is their sheet."""
    fields = command_line.fields("sampling")
    oversample = command_line.last.get("-oversample")
    if oversample is not None and oversample > 0:
        fields["oversample"] = oversample
    fields["oversample_thick"] = "-oversample_thick" in command_line.last
    fields["oversample_polarization"] = "-oversample_polar" in command_line.last
    fields["oversample_omega"] = "-oversample_omega" in command_line.last
    mask, sheet = command_line.mask, sheet_of(placed)
    if mask is not None and placed.panels and mask.shape == sheet.shape:
        mask = sheet.image(mask)
    return Sampling(**fields, mask=mask, c_parity=command_line.defects.names)


def cells_along(edge_mm: float, cell_A: float, axis: str) -> int:
    """Unit cells along an edge, rounded up as nanoBragg rounds: in metres. Raises InputError for too many."""
    cells = edge_mm / 1000 / (cell_A * 1e-10)
    if cells > MOST_CELLS:
        too_many = f"{edge_mm:g} mm are {cells:.3g} cells of {cell_A:g} A"
        raise InputError(f"crystal.n_{axis}: {too_many}; allowed: at most {MOST_CELLS:g} cells")
    return math.ceil(cells)
