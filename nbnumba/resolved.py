"""The resolved values of an experiment, in which every default is applied: a table of quantities, as text and as HTML."""

from __future__ import annotations

import dataclasses
import html
import math
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from nbnumba import cost
from nbnumba.backends import CPU, Machine
from nbnumba.constants import HC_EV_A
from nbnumba.errors import InputError
from nbnumba.geometry.cell import cell_of
from nbnumba.parity import SWITCHES
from nbnumba.setup import crystal, detector, orientations, panels, sampling, scene, sources, structure
from nbnumba.setup.sheet import masked_pixels, parts_with_pixels
from nbnumba.setup.view import WHOLE_PIXEL
from nbnumba.shipped_tables import water_table
from nbnumba.stages.detector import curved_position, flat_position
from nbnumba.stages.shapes import SHAPES
from nbnumba.statements import Panel, Statements

NOT_STATED = "*"
FOOTNOTE = f"{NOT_STATED} not stated, or stated as the default"
NOT_BRIEF = ("a at phi 0", "b at phi 0", "c at phi 0", "photons", "first pixel's corner")
"""The names of the rows that the brief table leaves out."""

ROUNDING = 1e-12
"""The largest |d - i| of unit vectors that counts as 0, since rounding alone may cause it."""

USUAL_A = (1e-3, 200.0)
"""The range of wavelengths of X-rays, electrons and neutrons in diffraction; others suggest that another unit was meant."""


class Quantity(NamedTuple):
    """A row of the table. assumed: the quantity is not stated, or it is stated as its default."""

    group: str
    name: str
    value: str
    unit: str = ""
    assumed: bool = False


def quantities(experiment: Statements) -> list[Quantity]:
    """The table of an experiment. A group that cannot be resolved, such as an impossible detector, has a row that says why."""
    table = []
    for group, rows in GROUPS.items():
        try:
            table += [Quantity(group, *row) for row in rows(experiment)]
        except InputError as error:
            table.append(Quantity(group, "cannot be computed", str(error)))
    return table


def brief(experiment: Statements) -> list[Quantity]:
    """The table without the rows that follow easily from others, so that it fits a screen."""
    return [row for row in quantities(experiment) if row.name not in NOT_BRIEF]


def costs(experiment: Statements, machine: Machine = CPU, threads: int = 1, command: bool = False) -> list[Quantity]:
    """The rows of the table on the cost of an image (cost.py). Raises InputError if what it depends on is impossible."""
    price = cost.cost(experiment, machine, threads, command)
    counts = ("pixel", price.pixels), ("sample", price.samples), ("source", price.sources), ("lattice", price.lattices)
    product = " x ".join(plural(count, noun) for noun, count in counts)
    computer = f"on {plural(threads, 'thread')}" if machine.backend == "cpu" else "on a card: not known"
    return [
        Quantity("cost", "steps", f"{price.steps:.3g}", f"= {product}"),
        Quantity("cost", "time, roughly", "-" if math.isnan(price.seconds) else duration(price.seconds), computer),
        Quantity("cost", "memory", size(price.bytes), "beside the program's own"),
    ]


def plural(count: int, noun: str) -> str:
    """A count with its noun: 1 source, 2 sources."""
    return f"{count} {noun}{'s' * (count != 1)}"


def lines(table: list[Quantity]) -> list[str]:
    """A table as lines of text: group, name, value and unit, with a mark if the value is assumed."""
    widths = [max(len(getattr(row, field)) for row in table) for field in ("group", "name")]
    texts, before = [], None
    for row in table:
        group = row.group if row.group != before else ""
        mark = f" {NOT_STATED}" if row.assumed else ""
        value = f"{row.value} {row.unit}".rstrip()
        texts.append(f"{group:{widths[0]}}  {row.name:{widths[1]}}  {value}{mark}".rstrip())
        before = row.group
    return [*texts, FOOTNOTE] if any(row.assumed for row in table) else texts


def as_html(table: list[Quantity]) -> str:
    """A table as an HTML table, with assumed values in italics."""
    rows, before = [], None
    for row in table:
        group = row.group if row.group != before else ""
        value = html.escape(row.value)
        value = f"<i>{value}</i>" if row.assumed else value
        cells = (f"<th>{html.escape(group)}</th>", *(f"<td>{text}</td>" for text in (html.escape(row.name), value)))
        rows.append(f"<tr>{''.join(cells)}<td>{html.escape(row.unit)}</td></tr>")
        before = row.group
    return f"<table>{''.join(rows)}</table><p><i>Italics</i>: not stated, or stated as the default.</p>"


def duration(seconds: float) -> str:
    """A time in the largest unit of which there is at least one."""
    for unit, length in (("years", 3.156e7), ("days", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= length:
            return f"{seconds / length:.2g} {unit}" if seconds < 1e5 * length else f"{seconds / length:.0e} {unit}"
    return f"{seconds:.1g} s" if seconds < 1.0 else f"{seconds:.0f} s"


def size(number: int) -> str:
    """A number of bytes in MB, GB or TB."""
    for unit, length in (("TB", 1e12), ("GB", 1e9)):
        if number >= length:
            return f"{number / length:.3g} {unit}"
    return f"{number / 1e6:.3g} MB"


def _stated(part, *names: str) -> bool:
    """Whether one of the named fields of a statement differs from its default."""
    defaults = {field.name: field.default for field in dataclasses.fields(part)}
    return any(getattr(part, name) != defaults[name] for name in names)


def _three(vector) -> str:
    """Three numbers with 6 digits. Values that rounding left of 0 are shown as 0, and 0 has no sign."""
    largest = max(abs(float(x)) for x in vector)
    return " ".join(f"{0.0 if abs(x) < 1e-12 * largest else float(x):g}" for x in vector)


def _crystal(experiment: Statements) -> Iterator[tuple]:
    part, defects = experiment.crystal, experiment.sampling.defects
    vectors = crystal.orient(part, defects)
    cell = cell_of(vectors)
    yield "unit cell", " ".join(f"{x:g}" for x in cell), "A, degrees"
    yield "volume", f"{abs(np.linalg.det(vectors)):g}", "A^3"
    random = f" (random, seed {part.misset_seed})" if part.misset_seed is not None else ""
    yield "missetting", _three(crystal.missetting_deg(part, defects)) + random, "degrees", not _stated(
        part, "misset_deg", "misset_seed"
    )
    for name, vector in zip("abc", vectors):
        yield f"{name} at phi 0", _three(vector), "A"
    for name, vector in zip("abc", crystal.reciprocal(part, vectors)):
        yield f"{name}* at phi 0", _three(vector), "1/A"
    cells = (part.n_a, part.n_b, part.n_c)
    size_assumed = not _stated(part, "n_a", "n_b", "n_c")
    yield "size", " x ".join(f"{n:g}" for n in cells), "cells", size_assumed
    edges = " x ".join(f"{math.sqrt(v @ v) * n / 1e4:.4g}" for v, n in zip(vectors, cells))
    yield "", edges, "um", size_assumed
    fudge = "" if part.shape == "square" else f"fudge {part.fudge:g}"
    yield "shape", SHAPES[part.shape].noun, fudge, not _stated(part, "shape")
    if part.b_factor_A2 != 0.0 or part.b_factors.any():
        aniso = " ".join(f"{getattr(part, name):g}" for name in part.ANISOTROPIC)
        yield "B factor", f"{part.b_factor_A2:g}" + (f" + {aniso}" if part.b_factors.any() else ""), "A^2"
    if part.scale != 1.0:
        yield "scale", f"{part.scale:g}", ""
    if part.is_displaced:
        yield "position at phi 0", " ".join(f"{x:g}" for x in part.position_mm), "mm"
    domains = orientations.number_of_domains(part)
    seed = f", seed {part.mosaic_seed}" if domains > 1 else ""
    spreads = " ".join(f"{getattr(part, name):g}" for name in part.SPREADS)
    spreads_assumed = not _stated(part, *part.SPREADS, "mosaic_domains")
    yield "mosaic spread", spreads, f"degrees, {plural(domains, 'domain')}{seed}", spreads_assumed
    cell_spreads = [getattr(part, name) for name in part.CELL_SPREADS]
    if any(cell_spreads):
        yield "spread of the cell", " ".join(f"{x:g}" for x in cell_spreads), "of a, b, c at most"
    for number, other in enumerate(experiment.other_crystals, start=1):
        turned = crystal.orient(other, defects)
        yield f"crystal {number}", " ".join(f"{x:g}" for x in cell_of(turned)), "A, degrees"
        for name, vector in zip("abc", turned):
            yield f"{name} of {number}", _three(vector), "A"
        yield f"scale of {number}", f"{other.scale:g}", ""
        if other.is_displaced:
            yield f"position of {number}", " ".join(f"{x:g}" for x in other.position_mm), "mm"


def _structure(experiment: Statements) -> Iterator[tuple]:
    factors, cells = experiment.structure_factors, experiment.crystal
    if factors.hkl is None:
        yield "list", "none", ""
    else:
        finest, coarsest = reflections_range(experiment)
        d = f", d from {coarsest:.4g} to {finest:.4g}" if coarsest > 0.0 else ", none with F but 000"
        yield "list", f"{len(factors.hkl)} reflections{d}", "A" if coarsest > 0.0 else ""
        interpolates = structure.interpolates(factors, min(cells.n_a, cells.n_b, cells.n_c))
        if factors.energies_eV is not None:
            rows, wavelengths = factors.energies_eV, sources.number_of_wavelengths(experiment.beam, experiment.sampling.defects)
            boxes = structure.number_of_boxes(factors, wavelengths)
            held = size(8 * boxes * structure.number_in_box(factors))
            yield "F by energy", f"{rows[0]:g} to {rows[-1]:g}", f"eV, {len(rows)} rows; {boxes} boxes of {held} in all"
        yield "interpolation", "on" if interpolates else "off", "", factors.interpolate is None
    yield "F of others", f"{factors.default_F:g}", "electrons", not _stated(factors, "default_F")
    for number, other in enumerate(experiment.other_crystals, start=1):
        own = other.structure_factors
        if own is not None:
            listed = "none" if own.hkl is None else f"{len(own.hkl)} reflections"
            yield f"list of {number}", f"{listed}, F of others {own.default_F:g}", "electrons"


def reflections_range(experiment: Statements) -> tuple[float, float]:
    """The finest and the coarsest resolution (A) of the listed reflections other than 000 whose F is not 0; NaN without any."""
    factors, defects = experiment.structure_factors, experiment.sampling.defects
    star = crystal.reciprocal(experiment.crystal, crystal.orient(experiment.crystal, defects))
    scatters = (np.atleast_2d(factors.F) != 0.0).any(axis=0)
    lengths = np.linalg.norm(factors.hkl[scatters & factors.hkl.any(axis=1)] @ star, axis=1)
    return (1.0 / float(lengths.max()), 1.0 / float(lengths.min())) if lengths.size else (math.nan, math.nan)


def _beam(experiment: Statements) -> Iterator[tuple]:
    part = experiment.beam
    wavelength_assumed = not _stated(part, "wavelength_A", "sources", "spectrum")
    low, high = wavelengths(experiment)
    interval = f"{low:.6g} to {high:.6g}" if high > low else f"{low:.6g}"
    yield "wavelength", interval, "A", wavelength_assumed
    energies = f"{HC_EV_A / high:.6g} to {HC_EV_A / low:.6g}" if high > low else f"{HC_EV_A / low:.6g}"
    yield "photon energy", energies, "eV", wavelength_assumed
    yield "fluence", f"{part.fluence:g}", "photons/m^2", not _stated(part, "fluence")
    photons = part.fluence * (part.size_mm / 1000) ** 2
    yield "photons", f"{photons:.4g}", f"in a beam of {part.size_mm:g} mm", not _stated(part, "fluence", "size_mm")
    number = sources.number(part, experiment.sampling.defects)
    origin = "of a table" if part.sources is not None else _sweeps(experiment)
    names = ("sources", "spectrum", "dispsteps", "hdivrange_mrad", "hdivstep_mrad", "hdivsteps", "vdivrange_mrad")
    yield "sources", str(number), origin, not _stated(part, *names, "vdivstep_mrad", "vdivsteps", "dispersion_percent")
    yield "direction", _three(detector.beam_direction(experiment.detector, part)), "", part.direction is None
    electric = _three(detector.polarization_axis(experiment.detector, part))
    kahn = f"Kahn {part.polarization:g}" if part.polarized else "no factor"
    yield "polarization", kahn, f"E along {electric}", not _stated(part, "polarization", "polarized", "polarization_axis")
    if part.dmin_A > 0.0:
        yield "finest resolution", f"{part.dmin_A:g}", "A"


def wavelengths(experiment: Statements) -> tuple[float, float]:
    """The shortest and the longest wavelength of the sources, in A, after scale and offset. Raises InputError for 0 or less."""
    return sources.wavelength_range(experiment.beam, experiment.sampling.defects)


def _sweeps(experiment: Statements) -> str:
    """The numbers of directions and of wavelengths of the sources, in parentheses."""
    horizontal, vertical, spectrum = sources.numbers(experiment.beam, experiment.sampling.defects)
    return f"({horizontal} x {vertical} directions, {plural(spectrum, 'wavelength')})"


def _detector(experiment: Statements) -> Iterator[tuple]:
    part, defects = experiment.detector, experiment.sampling.defects
    pivot = detector.pivot_of(part, defects)
    yield "convention", part.convention, f"pivot {pivot}", not _stated(part, "convention", "pivot")
    fast, slow = part.pixels
    if part.panels:
        yield from _panels(experiment)
    else:
        yield "pixels", f"{fast} x {slow}", "fast x slow", not _stated(part, "pixels")
        yield "pixel", f"{part.pixel_mm:g}", "mm", not _stated(part, "pixel_mm")
    placement = detector.position_detector(part, experiment.beam, defects)
    distance_assumed = not _stated(part, "distance_mm", "close_distance_mm", "pix0_mm")
    crossing = placement.crossing()
    if crossing is not None:
        yield "distance", f"{crossing[0] * 1000:.6g}", "mm along the beam", distance_assumed
    yield "", f"{placement.close_distance * 1000:.6g}", "mm to the nearest point", distance_assumed
    of_centre = ("xbeam_mm", "ybeam_mm", "xclose_mm", "yclose_mm", "orgx_pixels", "orgy_pixels", "pix0_mm")
    centre_assumed = not _stated(part, *of_centre)
    centres = placement.centres(crossing and crossing[1])
    if crossing is None:
        yield "direct beam", "the beam does not meet the plane of the detector", "", centre_assumed
    else:
        if not part.panels:
            fast, slow = (metres / placement.pixel for metres in crossing[1])
            yield "direct beam", f"{fast:.6g} {slow:.6g}", "pixels, fast slow", centre_assumed
        for name in ("mosflm", "adxv", "denzo") if not part.panels else ():
            yield f"  as {name} has it", "{:.6g} {:.6g}".format(*getattr(centres, name)), "mm, X Y", centre_assumed
    if not part.panels:
        yield "  as xds has it", "{:.6g} {:.6g}".format(*centres.xds), "pixels, ORGX ORGY", centre_assumed
    yield "  as dials has it", _three(centres.dials), "mm, origin", centre_assumed
    axes_assumed = not _stated(part, "rotx_deg", "roty_deg", "rotz_deg", "twotheta_deg")
    axes_assumed = axes_assumed and not _stated(part, "fast_axis", "slow_axis", "normal_axis")
    for name in ("fast", "slow", "normal"):
        yield f"{name} axis", _three(getattr(placement, name)), "", axes_assumed
    origin_assumed = centre_assumed and distance_assumed and axes_assumed
    yield "first pixel's corner", _three(placement.origin * 1000), "mm", origin_assumed
    of_region = resolution(experiment)
    coarsest = f"{of_region.coarsest:.4g} at the coarsest"
    if math.isinf(of_region.coarsest):
        coarsest = "an edge in the beam" if math.isinf(of_region.edge) else f"{of_region.edge:.4g} at the nearest edge"
    yield "resolution", f"{of_region.finest:.4g} at the finest pixel, {coarsest}", "A"
    if any(panel.masked for panel in parts_with_pixels(part)):
        yield "masked", str(np.count_nonzero(masked_pixels(part))), "pixels, which are no measurements"
    layers, depth, absorption = detector.sensor(part, defects, part.panels[0] if part.panels else None)
    if depth > 0.0 and len({(panel.thickness_um, panel.attenuation_um) for panel in part.panels}) < 2:
        attenuation = f"{1e6 / absorption:g} um" if absorption > 0.0 else "infinite"
        per_layer = f"um in {layers} layers, attenuation depth {attenuation}"
        yield "sensor", f"{layers * depth * 1e6:g}", per_layer


def _panels(experiment: Statements) -> Iterator[tuple]:
    """The rows of a detector with panels: their number and shapes, where the direct beam is, and what groups are moved."""
    part, every = experiment.detector, planes_of(experiment)
    shapes = Counter(f"{panel.shape[1]} x {panel.shape[0]} of {_edges(panel)} mm" for panel in part.panels)
    names = [panel.path for panel in part.panels]
    shown = ", ".join(names if len(names) <= 4 else [*names[:2], "...", names[-1]])
    yield "panels", str(len(names)), shown
    for shape, count in list(shapes.items())[:4]:
        yield "", shape, f"fast x slow, {plural(count, 'panel')}"
    if len(shapes) > 4:
        yield "", f"and {len(shapes) - 4} other shapes", ""
    within = (plane.beam_within((0, plane.pixels[1]), (0, plane.pixels[0])) for plane in every)
    hit = next((plane for plane, is_hit in zip(every, within) if is_hit), None)
    spot = hit and hit.crossing_pixels()
    if hit and spot and hit.panel:
        yield "direct beam", f"{spot[0]:.6g} {spot[1]:.6g}", f"pixels, fast slow, of {hit.panel.path}"
    else:
        yield "direct beam", "between or beside the panels", ""
    moved = [group for group in part.groups if any(group.shift_mm) or any(group.turn_deg)]
    for group in moved[:4]:
        yield f"  {group.path} moved", _three(group.shift_mm), f"mm, and turned by {_three(group.turn_deg)} degrees"
    if len(moved) > 4:
        yield "", f"and {plural(len(moved) - 4, 'other group')} moved", ""


def _edges(panel: Panel) -> str:
    """The edges of a pixel of a panel, in mm: one number if they are equal."""
    edges = panel.pixel_fast_mm, panel.pixel_slow_mm
    return " x ".join(f"{edge:g}" for edge in (edges[:1] if edges[0] == edges[1] else edges))


class Resolution(NamedTuple):
    """The resolution (A) of the pixels of a region: the finest, the coarsest of its border, and the coarsest of all.

    The coarsest of all is infinite if the direct beam meets the region.
    """

    finest: float
    edge: float
    coarsest: float


def resolution(experiment: Statements) -> Resolution:
    """The resolution of the pixels of the region. Raises InputError for an impossible position of the detector."""
    every, shortest_change, longest_change, beam_hits = planes_of(experiment), math.inf, 0.0, False
    regions = list(zip(every, sampling.windows(experiment.detector, experiment.sampling)))
    for plane, window in [(plane, window) for plane, window in regions if not window.mask.size or window.mask.any()] or regions:
        change = _change(experiment, plane, _border(*window[:2]))
        shortest_change, longest_change = min(shortest_change, float(change.min())), max(longest_change, float(change.max()))
        beam_hits = beam_hits or plane.beam_within(*window[:2])
    shortest, longest = wavelengths(experiment)
    edge = longest / shortest_change if shortest_change > ROUNDING else math.inf
    return Resolution(shortest / longest_change, edge, math.inf if beam_hits else edge)


def planes_of(experiment: Statements) -> tuple[detector.Plane, ...]:
    """The planes of the panels of a detector. Raises InputError for an impossible position of it."""
    return panels.planes(experiment.detector, experiment.beam, experiment.sampling.defects)


def beyond_table(experiment: Statements) -> str | None:
    """A sentence if a table of the background does not cover the region: it ends too early, or begins in the upper half."""
    table, defects = experiment.background.table, experiment.sampling.defects
    if table is None or experiment.background.water_um == 0.0 or defects.amorphous_ignored:
        return None
    of_region = resolution(experiment)
    least, most = 0.5 / of_region.coarsest, 0.5 / of_region.finest
    if table[-1][0] > 0.99 * most and table[0][0] < (least + most) / 2:
        return None
    ranges = f"from {table[0][0]:.4g} to {table[-1][0]:.4g} 1/A in sin(theta)/lambda, the image from {least:.4g} to {most:.4g}"
    return f"background.table reaches {ranges}: beyond its ends F is that of the nearest end"


def resolution_at(experiment: Statements, fast: int, slow: int, panel: int = 0) -> float:
    """The resolution (A) at the middle of a pixel, as resolutions() computes it."""
    return float(resolutions(experiment, np.array([fast]), np.array([slow]), panel)[0])


def resolutions(experiment: Statements, fast: np.ndarray, slow: np.ndarray, panel: int = 0) -> np.ndarray:
    """The resolution (A) at the middle of pixels (n,) of a panel, for the beam's main direction and wavelength.

    panel: its number, from 0. It is infinite in the beam, where |d - i| is only a rounding error.
    """
    change = _change(experiment, planes_of(experiment)[panel], np.array([fast, slow]) + 0.5)
    wavelength = sources.main_wavelength(experiment.beam)
    return np.divide(wavelength, change, out=np.full(change.shape, np.inf), where=change > ROUNDING)


def _change(experiment: Statements, plane: detector.Plane, points: np.ndarray) -> np.ndarray:
    """|d - i|, which is wavelength over resolution, at points (2, n) of a panel, with fast and slow in pixels."""
    panel = scene.panel_record(experiment, plane, 0.0, 0.0, WHOLE_PIXEL)
    position = flat_position(panel, plane.pixel_fast * points[0], plane.pixel_slow * points[1], 0.0)
    position = np.array(curved_position(panel, position) if panel.curved else position)
    return np.linalg.norm(position / np.linalg.norm(position, axis=0) - plane.beam[:, np.newaxis], axis=0)


def _border(rows: tuple[int, int], columns: tuple[int, int]) -> np.ndarray:
    """Fast and slow coordinates (2, n), in pixels, of the corners of pixels along the border of a region."""
    along, up = np.arange(columns[0], columns[1] + 1.0), np.arange(rows[0], rows[1] + 1.0)
    fast = [along, along, np.full(len(up), along[0]), np.full(len(up), along[-1])]
    slow = [np.full(len(along), up[0]), np.full(len(along), up[-1]), up, up]
    return np.array([np.concatenate(fast), np.concatenate(slow)])


def _rotation(experiment: Statements) -> Iterator[tuple]:
    part = experiment.goniometer
    steps, step, full = orientations.phi_steps(part)
    division = f"in {steps} steps of {step:g}" if steps > 1 else "a still"
    names = ("phi_deg", "osc_deg", "phistep_deg", "phisteps")
    yield "phi", f"{part.phi_deg:g} to {part.phi_deg + full:g}", f"degrees, {division}", not _stated(part, *names)
    axis = detector.spindle_axis(experiment.detector, part.spindle_axis)
    yield "spindle", _three(axis), "", part.spindle_axis is None


def _sampling(experiment: Statements) -> Iterator[tuple]:
    part, price = experiment.sampling, cost.cost(experiment)
    counts = cost.samples_of_panels(experiment)
    least, most = min(oversample for oversample, _ in counts), max(oversample for oversample, _ in counts)
    per_sample = [factor for factor in ("thick", "polarization", "omega") if getattr(part, f"oversample_{factor}")]
    note = f", each with its own {', '.join(per_sample)}" if per_sample else ""
    finest = "" if least == most else f" to {most} x {most}"
    yield "sub-pixels", f"{least} x {least}{finest}", f"of a pixel{note}", part.oversample is None
    if part.roi is not None or part.mask is not None:
        rows, columns = sampling.sheet_window(experiment.detector, part)[:2]
        bounds = f"fast {columns[0]} to {columns[1] - 1}, slow {rows[0]} to {rows[1] - 1}"
        bounds += " of the panels one below another" if len(experiment.detector.panels) > 1 else ""
        yield "region", bounds, f"{price.pixels} pixels" + (" of the mask" if part.mask is not None else "")
    if part.tolerance > 0.0 and not part.c_parity:
        yield "tolerance", f"{part.tolerance:g}", "photons that a pixel may lack"
    if experiment.background.water_um > 0.0:
        water = experiment.background
        table = "" if water.table is None else f", a table of {len(water.table)} F"
        table = ", F of liquid water by angle" if water.table == water_table() else table
        material = f"um, {water.density_g_per_cm3:g} g/cm^3 of {water.molar_mass_g:g} g/mol{table}"
        yield "background cube", f"{water.water_um:g}", material
    if experiment.background.air_mm > 0.0:
        yield "path in air", f"{experiment.background.air_mm:g}", f"mm of a beam of {experiment.beam.size_mm:g} mm"
    if experiment.background.ice_um > 0.0:
        size = f"um, hexagonal ice in crystallites of {experiment.background.ice_size_A:g} A"
        yield "cube of ice", f"{experiment.background.ice_um:g}", size
    for name, kind in (("image", "an image"), ("radial", "a radial table")):
        if getattr(experiment.background, name) is not None:
            yield "background added", kind, "in photons"
    if part.c_parity:
        names = "all" if len(part.c_parity) == len(SWITCHES) else ", ".join(sorted(part.c_parity))
        yield "C's defects", names, f"of a run on {part.defects.c_threads} threads" if part.defects.phi_carryover else ""


GROUPS = {
    "crystal": _crystal,
    "reflections": _structure,
    "beam": _beam,
    "detector": _detector,
    "rotation": _rotation,
    "sampling": _sampling,
}
"""The groups of the table, each with the function that yields its rows: name, value, unit, assumed."""
