"""From the statements of a command line to the parts of an experiment, a function each."""

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
from nbnumba.flags import headers
from nbnumba.flags.arguments import number, words_of
from nbnumba.flags.command_line import CONVENTION_FLAGS, Statement
from nbnumba.flags.messages import in_flags
from nbnumba.flags.run import time_seed
from nbnumba.flags.table import DOCUMENTED, NO_EFFECT
from nbnumba.formats import fdump, hkl, matrix, sources, stol
from nbnumba.formats.text import excerpt
from nbnumba.statements import (
    MOST_CELLS,
    MOST_PIXELS,
    Background,
    Beam,
    Crystal,
    Detector,
    Goniometer,
    Sampling,
    StructureFactors,
)

SHAPE_FLAGS = {"-square_xtal": "square", "-round_xtal": "round", "-gauss_xtal": "gauss", "-tophat_spots": "tophat"}
"""The flags that choose the shape of the crystal."""

SIZE_FLAGS = {"-samplesize": "abc", "-sample_thick": "a", "-sample_width": "b", "-sample_height": "c"}
"""The flags that give edges of the crystal in mm, and along what."""

CELL_FIELDS = ("a_A", "b_A", "c_A", "alpha_deg", "beta_deg", "gamma_deg")

SHORTEST_CELL_A, LONGEST_CELL_A = 1.0, 1e5
"""Lengths between which the edges of a unit cell are."""

SAME_CELL = 0.003
"""Relative difference up to which cells are the same: a matrix of eight decimals, and a cell that was refined beside it."""

CELL_FLAGS = {"-N": "abc", "-Na": "a", "-Nb": "b", "-Nc": "c"}
"""The flags that give numbers of unit cells, and along what."""

DIVERGENCE_CORNERS = ("-round_div", "-square_div")
NO_CORNERS = "there is no divergence in both directions"

STOL_FLAGS = {"-stol": 1.0, "-4stol": 4.0, "-Q": 4.0 * math.pi}
"""The flags that name a table of structure factors, and its abscissa in units of sin(theta) / lambda."""

NEAR_POINT_FLAGS = ("-Xclose", "-Yclose", "-ORGX", "-ORGY")
"""The flags that say where the detector is nearest to the sample."""


def experiment(said: Statement) -> Experiment:
    """The experiment. Raises InputError for what is missing, contradictory or impossible."""
    photons = beam(said)
    found = Experiment(
        crystal=crystal(said, photons.wavelength_A),
        structure_factors=structure_factors(said),
        beam=photons,
        detector=detector(said),
        goniometer=goniometer(said),
        background=background(said),
        sampling=sampling(said),
    )
    _warn_of_what_has_no_effect(said)
    return found


def experiment_from_args(args: Sequence[str | float] | str) -> Experiment:
    """The experiment of a command line that names nothing to be written."""
    args = words_of(args)
    try:
        statement = Statement(args)
        writes = [given.spelling for given in statement.given if given.flag.kind == "file" and given.flag.group == "output"]
        writes += ["-dump"] if statement.run().dump else []
        if writes:
            raise InputError(f"{writes[0]} names a file to be written; allowed in an experiment: flags that describe it")
        return statement.experiment()
    except InputError as error:
        raise InputError(in_flags(str(error), args)) from None


def _warn_of_what_has_no_effect(said: Statement) -> None:
    """A warning for every flag that another one, or the lack of one, deprives of its effect."""
    has = said.last.__contains__
    rows = (
        (has("-mosaic_seed") and not said.last.get("-mosaic"), "-mosaic_seed", "no -mosaic spread is given"),
        (has("-misset_seed") and said.last.get("-misset") != "random", "-misset_seed", "-misset is not random"),
        (said.choice(DIVERGENCE_CORNERS) == "-square_div" and not _diverges_both_ways(said), "-square_div", NO_CORNERS),
        (has("-beamsize") and not _beam_size_counts(said), "-beamsize", "there is no -flux, and no crystal that it clips"),
        *((has(flag), flag, why) for flag, why in NO_EFFECT.items()),
        (has("-c_threads") and "phi_carryover" not in said.switches, "-c_threads", "phi_carryover is not on"),
    )
    for unused, flag, why in rows:
        if unused:
            warnings.warn(f"{said.spelling[flag]} has no effect: {why}", stacklevel=2)
    _warn_of_cells(said)
    for spelling in said.passed_over:
        warnings.warn(f"{spelling} has no effect: C's defect documented_flags_ignored is on", stacklevel=2)
    for given in said.given:
        if given.spelling in DOCUMENTED and given.value:
            note = f"{given.spelling} is {given.flag.names[0]}, as nanoBragg's README has it; nanoBragg.c passes it over"
            warnings.warn(note, stacklevel=2)
    _warn_of_large_steps(said)


def _diverges_both_ways(said: Statement) -> bool:
    """Whether a divergence in both directions is stated, so that there are corners."""
    flags = [(f"-{axis}divrange", f"-{axis}divstep", f"-{axis}divsteps", "-divergence", "-divsteps") for axis in "hv"]
    return all(any(said.last.get(flag) for flag in of_axis) for of_axis in flags)


def _beam_size_counts(said: Statement) -> bool:
    """Whether the size of the beam makes a fluence of a flux, or clips a crystal whose edges are given in mm."""
    edges = ("-samplesize", "-sample_width", "-sample_height")
    return bool(said.last.get("-flux")) or any(said.last.get(flag) for flag in edges)


def _warn_of_cells(said: Statement) -> None:
    """A warning for every number of cells along an axis whose edge is given in mm."""
    edges = {}
    for given in said.given:
        if given.value:
            edges |= dict.fromkeys(SIZE_FLAGS.get(given.flag.names[0], ""), given.spelling)
    for given in said.given:
        if given.flag.names[0] in CELL_FLAGS:
            axes = [axis for axis in CELL_FLAGS[given.flag.names[0]] if axis in edges]
            where = "" if len(axes) == len(CELL_FLAGS[given.flag.names[0]]) else f" along {' and '.join(axes)}"
            if axes:
                why = f"{edges[axes[0]]} says how many cells there are"
                warnings.warn(f"{given.spelling} has no effect{where}: {why}", stacklevel=2)


def _warn_of_large_steps(said: Statement) -> None:
    """A warning where a step of the divergence is no less than its range: nanoBragg's README calls it a number of points."""
    for axis in "hv":
        full = said.last.get(f"-{axis}divrange", said.last.get("-divergence", 0.0))
        step = said.last.get(f"-{axis}divstep", 0.0)
        if 0.0 < full < step:
            note = f"-{axis}divstep {step:g} mrad is more than the range, {full:g} mrad: one step; -{axis}divsteps is a number"
            warnings.warn(note, stacklevel=2)


def crystal(said: Statement, wavelength_A: float) -> Crystal:
    """Cell, orientation, size, shape and mosaicity; a matrix is undone with the wavelength."""
    fields = said.fields("crystal") | _cells(said) | _domains(said)
    shape = said.choice(SHAPE_FLAGS)
    if shape is not None:
        fields["shape"] = SHAPE_FLAGS[shape]
    if said.last.get("-misset") == "random":
        fields["misset_seed"] = _misset_seed(said)
    elif "-misset" in said.last:
        fields["misset_deg"] = said.last["-misset"]
    named = zip(CELL_FIELDS, said.last.get("-cell", ()))
    cell = {name: number for name, number in named if number != 0.0 or name == "a_A"}
    return _cut_to_size(said, _of_cell(said, cell, wavelength_A, fields))


def _of_cell(said: Statement, cell, wavelength_A, fields) -> Crystal:
    if "-mat" not in said.last:
        if not cell:
            raise InputError("no unit cell is given; allowed: -mat FILE, or -cell A B C AL BE GA")
        return Crystal(**cell, **fields)
    elements, stated = matrix.read_with_cell(said.last["-mat"], "-mat")
    try:
        from_matrix = Crystal.from_matrix(elements, wavelength_A, **fields)
    except InputError as error:
        raise InputError(str(error).replace("crystal: the matrix", f"-mat: the matrix in {said.last['-mat']!r}", 1)) from None
    _compare_cells(said.last["-mat"], stated, from_matrix, wavelength_A)
    if not cell:
        return from_matrix
    warnings.warn("-cell beside -mat gives the lengths of a, b and c; their directions are the matrix's", stacklevel=2)
    lengths = {name: cell.get(name, cell["a_A"]) for name in CELL_FIELDS[:3]}
    return dataclasses.replace(from_matrix, **lengths)


def _compare_cells(path: str, stated: Sequence[float] | None, crystal: Crystal, wavelength_A: float) -> None:
    """Warn where a matrix is not of the cell that its file states, and of the wavelength at which it is, if there is one."""
    found = [getattr(crystal, name) for name in CELL_FIELDS]
    if not SHORTEST_CELL_A <= min(found[:3]) <= max(found[:3]) <= LONGEST_CELL_A:
        said = f"-mat {path!r}: at {wavelength_A:g} A the cell is {' '.join(f'{x:.6g}' for x in found)}"
        warnings.warn(f"{said}; a matrix holds a* b* c* in 1/A, times the wavelength", stacklevel=2)
    if stated is None or np.allclose(stated, found, rtol=SAME_CELL, atol=0.0):
        return
    shown = [" ".join(f"{x:.6g}" for x in cell) for cell in (stated, found)]
    ratios = np.divide(stated[:3], found[:3])
    agree = np.allclose(ratios, ratios.mean(), rtol=SAME_CELL) and np.allclose(stated[3:], found[3:], rtol=SAME_CELL, atol=0.0)
    at = wavelength_A * ratios.mean()
    why = f"they agree at {at:.5g} A, -lambda {at:.5g}" if agree else "they agree at no wavelength"
    counts = f"its matrix at {wavelength_A:g} A is of {shown[1]}, which counts"
    warnings.warn(f"-mat {path!r} states the cell {shown[0]}, and {counts}; {why}", stacklevel=2)


def _cells(said: Statement) -> dict[str, float]:
    """Numbers of unit cells: of -N and -Na, -Nb, -Nc the later one counts; below 1 is 1, as in nanoBragg."""
    found = {}
    for given in said.given:
        if given.flag.names[0] in CELL_FLAGS:
            if given.value < 0:
                raise InputError(f"{given.spelling}: {given.value} is not allowed; allowed: a whole number not below 0")
            along = CELL_FLAGS[given.flag.names[0]]
            found |= {f"n_{axis}": max(given.value, 1) for axis in along}
    return found


def _cut_to_size(said: Statement, crystal: Crystal) -> Crystal:
    """The crystal with numbers of cells from its edges in mm, width and height clipped by the beam, as in nanoBragg."""
    edges = {}
    for given in said.given:
        name = given.flag.names[0]
        for axis in SIZE_FLAGS.get(name, ()):
            edges[axis] = given.value
    beam = said.last.get("-beamsize", Beam.size_mm)
    for axis in "bc":
        if edges.get(axis, 0.0) > beam:
            note = f"the crystal's edge along {axis}, {edges[axis]:g} mm, is clipped to the -beamsize {beam:g} mm"
            warnings.warn(note, stacklevel=2)
            edges[axis] = beam
    cells = {f"n_{axis}": cells_along(edge, getattr(crystal, f"{axis}_A"), axis) for axis, edge in edges.items() if edge > 0.0}
    return dataclasses.replace(crystal, **cells)


def _domains(said: Statement) -> dict[str, int]:
    domains, spread = said.last.get("-mosaic_domains", 0), said.last.get("-mosaic", 0.0)
    if domains <= 0 and spread > 0.0:
        warnings.warn("-mosaic without -mosaic_domains: 10 domains", stacklevel=2)
    return said.steps("-mosaic_domains", "mosaic_domains")


def _misset_seed(said: Statement) -> int:
    """The seed of a random orientation: its own, that of the noise, or the time."""
    run = said.run()
    seed = run.seed if run.misset_seed is None else run.misset_seed
    if seed is None:
        seed = time_seed()
        warnings.warn(f"-misset random without a seed: -misset_seed {seed}", stacklevel=2)
    return seed


def structure_factors(said: Statement) -> StructureFactors:
    """Reflections from a file or a dump, what the others have, and whether to interpolate."""
    fields = said.fields("structure_factors")
    chosen = said.choice(("-interpolate", "-nointerpolate"))
    if chosen is not None:
        fields["interpolate"] = chosen == "-interpolate"
    elif "interpolation_by_flag" in said.switches and ("-hkl" in said.last or "-dump" in said.last):
        cells = _cells(said)
        fields["interpolate"] = min(cells.get(f"n_{axis}", 1) for axis in "abc") <= 2
    if "-hkl" not in said.last and "-dump" in said.last:
        warnings.warn(f"structure factors are read from -dump {said.last['-dump']!r}", stacklevel=2)
        found = fdump.read(said.last["-dump"], "-dump")
        return StructureFactors(hkl=found.hkl, F=found.amplitudes, **fields)
    if "-hkl" not in said.last:
        if not fields.get("default_F"):
            raise InputError("nothing scatters; allowed: -hkl FILE, -dump FILE, or -default_F other than 0")
        return StructureFactors(**fields)
    reflections = hkl.read(said.last["-hkl"], "-hkl")
    for note in reflections.notes:
        warnings.warn(f"-hkl {said.last['-hkl']!r}: {note}", stacklevel=2)
    return StructureFactors(hkl=reflections.hkl, F=reflections.amplitudes, **fields)


def beam(said: Statement) -> Beam:
    """Wavelength, intensity, polarization, divergence, spectrum, sources."""
    fields = said.fields("beam")
    if said.order(["-energy"]) > said.order(["-lambda"]):
        fields["wavelength_A"] = Beam.wavelength_from_energy(said.last["-energy"])
    flux, exposure = said.last.get("-flux", 0.0), said.last.get("-exposure", 1.0)
    if flux != 0.0 and exposure > 0.0:
        fields["fluence"] = Beam.fluence_from_flux(flux, exposure, fields.get("size_mm", Beam.size_mm))
        if "-fluence" in said.last:
            warnings.warn("-fluence has no effect: -flux is given", stacklevel=2)
    elif "-exposure" in said.last:
        warnings.warn("-exposure has no effect: there is no -flux", stacklevel=2)
    if said.order(["-nopolar"]) > said.order(["-polar"]):
        fields["polarized"] = False
    if "-polar" in said.last:
        fields["polarization"] = said.last["-polar"]
    for both, each in (("-divergence", "range_mrad"), ("-divsteps", "steps")):
        fields |= _both_ways(said, both, each)
    fields |= said.steps("-dispsteps", "dispsteps")
    fields["round_divergence"] = said.choice(("-round_div", "-square_div")) != "-square_div"
    if "-sourcefile" in said.last:
        fields["sources"] = _sources(said)
    found = Beam(**fields)
    if not resolved.USUAL_A[0] <= found.wavelength_A <= resolved.USUAL_A[1]:
        said_eV = f"{HC_EV_A / found.wavelength_A:.5g} eV"
        note = f"the wavelength is {found.wavelength_A:.5g} A, {said_eV}; -lambda and WAVELENGTH are in A, -energy is in eV"
        warnings.warn(note, stacklevel=2)
    return found


def _both_ways(said: Statement, both: str, ending: str) -> dict[str, Any]:
    """A flag for both directions of the divergence, and those for each: the later one counts."""
    found = {}
    for axis in "hv":
        name = said.choice((both, f"-{axis}div{ending.removesuffix('_mrad')}"))
        field = f"{axis}div{ending}"
        if name is not None:
            found |= said.steps(name, field) if ending == "steps" else {field: said.last[name]}
    return found


def _sources(said: Statement) -> np.ndarray:
    table = sources.read(said.last["-sourcefile"], "-sourcefile")
    table[:, 4] *= 1e10
    named = [name for name in ("-lambda", "-energy") if name in said.last]
    if named and "-mat" not in said.last and not np.isnan(table[:, 4]).any():
        why = "every source of -sourcefile has a wavelength of its own"
        warnings.warn(f"{said.spelling[named[-1]]} has no effect on the sources: {why}", stacklevel=2)
    return table


def background(said: Statement) -> Background:
    """The amorphous material in the beam. A density or a molar mass of 0 is not given: nanoBragg passes them over."""
    fields = said.fields("background")
    for name, flag in (("density_g_per_cm3", "-density"), ("molar_mass_g", "-molecwt")):
        if fields.get(name) == 0.0:
            del fields[name]
            warnings.warn(f"{said.spelling[flag]} 0 is not given: {getattr(Background, name):g} is taken", stacklevel=2)
    name = said.choice(STOL_FLAGS)
    if name is not None:
        table = stol.read(said.last[name], name)
        table = table[np.argsort(table[:, 0], kind="stable")]
        table[:, 0] /= STOL_FLAGS[name]
        fields["table"] = np.nan_to_num(table, nan=0.0)
    unused = [flag for flag in (*STOL_FLAGS, "-density", "-molecwt") if flag in said.last]
    if unused and fields.get("water_um", 0.0) == 0.0:
        warnings.warn(f"{said.spelling[unused[0]]} has no effect: -water says how much of the material there is", stacklevel=2)
    return Background(**fields)


def detector(said: Statement) -> Detector:
    """Pixels, place, convention and sensor."""
    fields = said.fields("detector")
    _overrule_header(said, fields)
    fields["convention"] = said.convention()
    if fields["convention"] == "custom":
        fields["implied_pivot"] = _implied_pivot(said)
    if said.order(["-pix0_vector"]) > said.order(["-pix0_vector_mm"]):
        fields["pix0_mm"] = tuple(1000 * x for x in said.last["-pix0_vector"])
    if "-pivot" in said.last:
        fields["pivot"] = said.last["-pivot"]
    fields |= {name: True for flag, name in (("-point_pixel", "point_pixel"), ("-curved_det", "curved")) if flag in said.last}
    fields |= said.steps("-detector_thicksteps", "layers") | _sensor(said, fields)
    pixel = fields.get("pixel_mm", Detector.pixel_mm)
    counted = [_pixels(said, axis, pixel) for axis in "xy"]
    fields["pixels"] = tuple(count for count, _ in counted)
    fields["size_mm"] = tuple(count * pixel if size is None else size for count, size in counted)
    if all(size is None for _, size in counted):
        del fields["size_mm"]
    found = Detector(**fields)
    for sentence in headers.far_off(found, said.header):
        warnings.warn(sentence, stacklevel=2)
    return found


def _overrule_header(said: Statement, fields) -> None:
    """A distance or a beam centre that flags give replaces every form of it in a header."""
    if said.order(NEAR_POINT_FLAGS) >= 0 and "near_point_ignored" not in said.switches:
        _drop_from_header(said, fields, ("detector.xbeam_mm", "detector.ybeam_mm"))
    if said.order(("-Xbeam", "-Ybeam")) >= 0 and "near_point_ignored" not in said.switches:
        _drop_from_header(said, fields, ("detector.orgx_pixels", "detector.orgy_pixels"))
    if said.order(("-pix0_vector", "-pix0_vector_mm")) >= 0 and "pix0_ignored" not in said.switches:
        _drop_from_header(said, fields, [name for name in said.header if name in headers.PLACE])
    if "-close_distance" in said.last and "-distance" not in said.last:
        _drop_from_header(said, fields, ("detector.distance_mm",))
    if "-distance" in said.last and "-close_distance" not in said.last:
        if "header_close_distance" not in said.switches:
            fields.pop("close_distance_mm", None)
    elif fields.get("close_distance_mm") is not None:
        if "-close_distance" not in said.last or fields.get("distance_mm") == 0.0:
            fields.pop("distance_mm", None)


def _drop_from_header(said: Statement, fields, names) -> None:
    for name in names:
        field = name.partition(".")[2]
        if fields.get(field) == said.header.get(name):
            fields.pop(field, None)


def _sensor(said: Statement, fields) -> dict[str, float]:
    """Thickness and attenuation depth of the sensor; a depth of inf or 0 is no sensor, as in nanoBragg."""
    thick, depth = fields.get("thickness_um", 0.0), said.last.get("-detector_abs")
    if depth is None:
        if thick > 0.0:
            warnings.warn(f"-detector_thick without -detector_abs: attenuation depth {thick:g} um", stacklevel=2)
        return {}
    if "inf" in depth or number(depth) == 0.0:
        if thick > 0.0:
            warnings.warn("-detector_thick has no effect: the attenuation depth is infinite", stacklevel=2)
        later = said.order(["-detector_thick"]) > said.order(["-detector_abs"])
        return {"attenuation_um": math.inf, "thickness_um": thick if later else 0.0}
    if number(depth) is None:
        raise InputError(f"-detector_abs: {excerpt(depth)} is not allowed; allowed: a positive number (um), or inf")
    if thick == 0.0:
        warnings.warn("-detector_abs has no effect without -detector_thick", stacklevel=2)
    return {"attenuation_um": number(depth)}


def _implied_pivot(said: Statement) -> str:
    """The pivot that the last flag with one implies, -pivot among them: nanoBragg's in the custom convention."""
    pivot = "beam"
    for given in said.given:
        name = given.flag.names[0]
        pivot = given.value if name == "-pivot" else given.flag.pivot or CONVENTION_FLAGS.get(name, pivot)
    return pivot


def _pixels(said: Statement, axis: str, pixel_mm: float) -> tuple[int, float | None]:
    """Pixels along an axis, and its size in mm unless the pixels say it: pixels count before a size, of each the later flag."""
    header = said.header.get("detector.pixels", (None, None))["xy".index(axis)]
    count = _later(said, ("-detpixels", f"-detpixels_{axis}")) or header
    name = said.choice(("-detsize", f"-detsize_{'f' if axis == 'x' else 's'}"))
    size = _later(said, (name,)) if name else None
    if count is not None and size is not None:
        warnings.warn(f"{said.spelling[name]} has no effect: the number of pixels is given", stacklevel=2)
    if count is None and size == 0.0:
        raise InputError(f"{said.spelling[name]}: 0 is not allowed without -detpixels; allowed: a positive number")
    Detector(pixel_mm=pixel_mm)
    if count is not None:
        return count, None
    size = 102.4 if size is None else size
    if not size / pixel_mm <= MOST_PIXELS:
        said = f"{size:g} mm are {size / pixel_mm:g} pixels of {pixel_mm:g} mm"
        raise InputError(f"detector.size_mm: {said}; allowed: at most {MOST_PIXELS} pixels")
    return max(math.ceil(size / pixel_mm - 0.5), 1), size


def _later(said: Statement, names):
    """The value of the later of some flags, None without one. Raises InputError for one below 0."""
    name = said.choice(names)
    if name is not None and said.last[name] < 0:
        raise InputError(f"{said.spelling[name]}: {said.last[name]:g} is not allowed; allowed: a number not below 0")
    return None if name is None else said.last[name]


def goniometer(said: Statement) -> Goniometer:
    """The rotation; no steps count as one."""
    steps = said.last.get("-phisteps")
    if steps is not None and steps < 0:
        raise InputError(f"-phisteps: {steps} is not allowed; allowed: a whole number not below 0")
    return Goniometer(**said.fields("goniometer"), phisteps=steps if steps is None else max(steps, 1))


def sampling(said: Statement) -> Sampling:
    """Sub-pixels, region, mask, and the defects of C to reproduce."""
    fields = said.fields("sampling")
    oversample = said.last.get("-oversample")
    if oversample is not None and oversample > 0:
        fields["oversample"] = oversample
    fields["oversample_thick"] = "-oversample_thick" in said.last
    fields["oversample_polarization"] = "-oversample_polar" in said.last
    fields["oversample_omega"] = "-oversample_omega" in said.last
    return Sampling(**fields, mask=said.mask, c_parity=said.switches)


def cells_along(edge_mm: float, cell_A: float, axis: str) -> int:
    """Unit cells along an edge, rounded up as nanoBragg rounds: in metres. Raises InputError for too many."""
    cells = edge_mm / 1000 / (cell_A * 1e-10)
    if cells > MOST_CELLS:
        said = f"{edge_mm:g} mm are {cells:.3g} cells of {cell_A:g} A"
        raise InputError(f"crystal.n_{axis}: {said}; allowed: at most {MOST_CELLS:g} cells")
    return math.ceil(cells)
