"""What the refinement of a series prints: what it took from where, the table of numbers, and the figures of agreement."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from nbnumba import from_geometry
from nbnumba.cli.refine_series.input import Chosen, Reader, Setup
from nbnumba.cli.refined_table import cells
from nbnumba.flags.run import FACTORS
from nbnumba.formats.symmetry import group_of_hall
from nbnumba.setup.detector import spindle_axis
from nbnumba.setup.view import view_of

HEADINGS = ("parameter", "unit", "start", "refined", "uncertainty", "by counting", "shift")

BOX_HEADINGS = ("worst boxes: image", "hkl", "d (A)", "panel", "fast", "slow", "observed", "calculated", "chi squared")

OUTLIERS, SHOWN_IMAGES = 10, 10
"""How many of the outliers, and of the images left out, are listed."""


# ------------------------------------------------------------------------------------------------ what was taken


def taken_lines(
    chosen: Chosen, setup: Setup, reader: Reader, options: Any, system: tuple[str, str], names: Sequence[Any]
) -> list[str]:
    """A line for each part of the start: what it is, and the file and the field that it was taken from."""
    rows = [
        ("images", *_images(chosen, options)),
        *_geometry_rows(chosen, setup),
        *_pixel_rows(chosen, setup, reader),
        *_crystal_rows(chosen, setup, system),
        ("amplitudes", *_amplitudes(setup, options)),
        ("refined", ", ".join(_short(name) for name in names), "--parameters" if options.parameters else "by default"),
    ]
    return [f"{what:13} {text}   [{source}]" for what, text, source in rows]


def _short(name: Any) -> str:
    return name if isinstance(name, str) else "+".join(name)


def _images(chosen: Chosen, options: Any) -> tuple[str, str]:
    first, last = chosen.images[0], chosen.images[-1]
    if chosen.is_still:
        return (
            f"{first.name}, the still of experiment {chosen.number}",
            "--data" if options.data else f"{chosen.name}: imageset",
        )
    count = len(chosen.images)
    text = f"{first.name} to {os.path.basename(last.name)}, {count} images" if count > 1 else first.name
    numbers = f"{first.number} to {last.number} of the scan" if count > 1 else f"number {first.number} of the scan"
    return f"{text}, {numbers}", "--data" if options.data else f"{chosen.name}: imageset"


def _geometry_rows(chosen: Chosen, setup: Setup) -> Iterator[tuple[str, str, str]]:
    """The rows of scan, beam and detector."""
    middle, path = setup.middle, chosen.name
    goniometer, beam, detector = middle.goniometer, middle.beam, middle.detector
    start, width = setup.experiments[0].goniometer.phi_deg, goniometer.osc_deg
    where = "middle" if goniometer.phi_sampling == "mid" else "left edge"
    steps = f"in {goniometer.phisteps} steps, each at its {where}"
    if not chosen.is_still:
        source = f"{path}: scan, goniometer"
        if chosen.geometry.spindle_axis is None:
            axis = " ".join(f"{component:g}" for component in spindle_axis(detector, goniometer.spindle_axis))
            source = f"{path}: scan; no goniometer is stated, and the spindle is {axis} by default"
        yield "scan", f"phi from {start:g} degrees, {width:g} an image, {steps}", source
    varies = ", tilted from image to image" if chosen.geometry.beam_at_points is not None else ""
    polarized = f"Kahn factor {beam.polarization:g}" if beam.polarized else "no polarization factor"
    yield (
        "beam",
        f"{_wavelengths(chosen, setup)}, {polarized}{varies}",
        _source(setup, chosen, "beam", from_geometry.beam_fields),
    )
    panels = len(detector.panels)
    if panels:
        text = f"{panels} panels, distance {middle.value('detector.distance_mm'):.6g} mm"
    else:
        fast, slow = detector.pixels
        text = f"{fast} x {slow} pixels of {detector.pixel_mm:g} mm, distance {middle.value('detector.distance_mm'):.6g} mm"
        text += f", sensor {detector.thickness_um:g} um" if detector.thickness_um else ""
    yield "detector", text, _source(setup, chosen, "detector", from_geometry.detector_fields)


def _wavelengths(chosen: Chosen, setup: Setup) -> str:
    """The wavelength, or the band of wavelengths, and that of the file where flags replace it."""
    view = view_of(setup.middle)
    sources = view.sources.wavelength
    mean, stated = view.wavelength, chosen.geometry.wavelength_A
    text = f"{mean:.6g} A"
    if len(set(sources.tolist())) > 1:
        band = f"{len(set(sources.tolist()))} wavelengths from {sources.min():.6g} to {sources.max():.6g} A"
        text = f"{band}, {mean:.6g} A in the mean"
    replaced = stated is not None and abs(mean - stated) > 1e-9 * stated
    return text + (f", in place of {stated:.6g} A of the file" if replaced else "")


def _source(setup: Setup, chosen: Chosen, part: str, fields_of: Any) -> str:
    """Where a part is from: the file, and flags if they overrule some of its fields."""
    stated = getattr(setup.middle, part)
    overruled = any(getattr(stated, field) != value for field, value in fields_of(chosen.geometry_of_middle).items())
    return f"{chosen.name}: {part}" + (", and flags" if overruled else "")


def _pixel_rows(chosen: Chosen, setup: Setup, reader: Reader) -> Iterator[tuple[str, str, str]]:
    """The rows of what the pixels of the first image are, and of gain and noise of the read-out."""
    first = reader.first
    if first is not None:
        text = first.line().partition(": ")[2]
        yield "pixels", text, f"{os.path.basename(first.path)}, as the first of {len(chosen.images)}"
    gains = {panel.gain * setup.run.response.gain for panel in setup.middle.detector.panels} or {setup.run.response.gain}
    text = ", ".join(f"{gain:g}" for gain in sorted(gains)[:5])
    flag = "-gain" in {given.flag.names[0] for given in setup.command_line.given}
    yield "gain", f"{text} counts per photon", "-gain" if flag else f"{chosen.name}: detector"


def _crystal_rows(chosen: Chosen, setup: Setup, system: tuple[str, str]) -> Iterator[tuple[str, str, str]]:
    """The rows of the crystal: cell and orientation, the system of its cell, and spread and size."""
    crystal, path = setup.middle.crystal, chosen.name
    of_file = chosen.geometry.crystal
    assert of_file is not None
    cell = " ".join(f"{number:.6g}" for number in crystal.cell)
    field = "A_at_scan_points" if of_file.at_points is not None else "real_space_a, b, c"
    of_images = "" if chosen.is_still else f" of image {chosen.middle}, orientation of each image"
    yield "crystal", f"cell {cell}{of_images}", f"{path}: crystal.{field}"
    group = group_of_hall(of_file.space_group or "")
    named = "no space group that is known" if group is None else f"space group {group.xhm()}"
    yield "cell", f"{system[0]}, {named}", system[1]
    profile = chosen.geometry.profile
    source = (
        "by default"
        if profile is None
        else f"{path}: profile sigma_m {profile.sigma_m_deg:.4g}, sigma_b {profile.sigma_b_deg:.4g}"
    )
    if profile is not None:
        ignored = [name for name in ("sigma_m", "sigma_b") if not getattr(profile, f"{name}_deg") > 0.0]
        source += f", of which {' and '.join(ignored)} 0 is taken as absent" if ignored else ""
    spread = " ".join(f"{getattr(crystal, f'mosaic_{axis}_deg'):.4g}" for axis in "abc")
    size = " ".join(f"{setup.middle.value(f'crystal.n_{axis}'):.4g}" for axis in "abc")
    text = f"spread {spread} degrees about a, b, c, {crystal.mosaic_domains} domains; {size} cells, shape {crystal.shape}"
    yield "spots", text, f"{source}; flags and --start count before"
    if setup.raised:
        values = ", ".join(f"{name} {setup.middle.value(name):g}" for name in setup.raised)
        yield "spreads", f"begin with {values}", "in place of 0, at which no image depends on them"


def _amplitudes(setup: Setup, options: Any) -> tuple[str, str]:
    """Which amplitudes, and where they are from."""
    last = setup.command_line.last
    named = next((flag for flag in (*FACTORS, "-dump") if flag in last), None)
    factors = setup.middle.structure_factors
    listed = f"F = {factors.default_F:g} for all"
    if factors.F is not None and named is not None:
        listed = f"{factors.F.size} of {os.path.basename(last[named])}"
    each, spread = options.amplitudes == "each", options.intensity_sigma
    text = f"{listed}, times an intensity of each reflection that is refined" if each else f"{listed}, on one scale"
    if each and spread is not None:
        text += f", expected within {spread:g} of the listed one (standard deviation)"
    return text, named or "by default"


# ------------------------------------------------------------------------------------------------ table


def table_rows(result: Any) -> list[tuple[str, ...]]:
    """The rows of the table, of which the first is its head; uncertainties by counting have a column where some differ."""
    rows = [HEADINGS, *_rows(result)]
    return rows if any(row[5] for row in rows[1:]) else [(*row[:5], *row[6:]) for row in rows]


def table(result: Any) -> list[str]:
    """The lines of the table: of every number unit, start, value, uncertainty, that by counting if it differs, and shift."""
    rows = table_rows(result)
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [_line(row, widths) for row in rows]


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    left = [f"{cell:{width}}" for cell, width in zip(row[:2], widths)]
    return "  ".join(left + [f"{cell:>{width}}" for cell, width in zip(row[2:], widths[2:])]).rstrip()


def _rows(result: Any) -> Iterator[tuple[str, ...]]:
    refined, errors = result.unknowns, result.errors
    columns = result.start, result.x, errors.sigma, errors.counting.sigma, errors.differ
    for label, unit, start, value, sigma, counting, differs in zip(refined.labels(), refined.units(), *columns):
        first, refined_value, shown, shift = cells(start, value, sigma)
        yield label, unit, first, refined_value, shown, f"{counting:.2g}" if differs else "", shift


# ------------------------------------------------------------------------------------------------ figures


def figure_lines(chosen: Chosen, result: Any) -> list[str]:
    """The agreement of model and images, in a crystallographer's terms."""
    rows = box_rows(chosen, result)
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))] if rows else []
    boxes = ["  ".join(f"{cell:>{width}}" for cell, width in zip(row, widths)) for row in rows]
    return [*summary_lines(result), *boxes, *outlier_lines(chosen, result)]


def summary_lines(result: Any) -> list[str]:
    """R of intensities, shifts of spots, reduced chi squared, and what became of the crystal."""
    figures, misfit = result.figures, result.stages[-1].problem.rules.misfit
    still = bool(len(result.experiments) == 1 and result.experiments[0].goniometer.osc_deg == 0.0)
    fitted = f"; {figures.with_misfit:.3g} with a misfit of {100.0 * misfit:.2g} % of each spot" if misfit else ""
    return [
        f"R of intensities of boxes {number(figures.r_factor)}, of {len(figures.boxes)} boxes",
        _shift_line("before", result.before, still),
        _shift_line("after", figures.shifts, still),
        *(
            [f"strengths of reflections: mean square deviation {figures.strengths:.3g}"]
            if np.isfinite(figures.strengths)
            else []
        ),
        f"reduced chi squared {figures.chi_squared:.4g} of {figures.pixels} pixels{fitted}",
        *_shell_lines("by resolution (A)", figures.by_d),
        *_shell_lines("by expected photons", figures.by_photons),
        *_crystal_lines(result),
        *_left_out_lines(result),
    ]


def number(value: float) -> str:
    return f"{value:.3g}" if np.isfinite(value) else "not determined"


def _shift_line(when: str, shifts: Any, still: bool) -> str:
    fast, slow, phi = shifts.rms
    along = f"{number(fast)} pixels along fast, {number(slow)} along slow"
    along += f", {number(phi)} images in phi" if np.isfinite(phi) or not still else ""
    return f"rms shift of {len(shifts.fast)} strong spots {when}: {along}"


def _shell_lines(title: str, rows: Sequence[tuple[float, float, int, float]]) -> list[str]:
    """A line of the reduced chi squared in shells."""
    shells = [f"{low:.3g} to {high:.3g}: {chi:.3g}" for low, high, _, chi in rows]
    return [f"  {title}: {', '.join(shells)}"] if shells else []


def _crystal_lines(result: Any) -> list[str]:
    """The cell of the middle image, and by how much orientations turned."""
    middle = result.experiments[len(result.experiments) // 2]
    turns = [np.linalg.norm(experiment.value("crystal.misset_deg")) for experiment in result.experiments]
    cell = " ".join(f"{number:.6g}" for number in middle.crystal.cell)
    return [f"cell {cell}; orientations turned by {min(turns):.3g} to {max(turns):.3g} degrees from those of the file"]


def _left_out_lines(result: Any) -> list[str]:
    if not result.left_out:
        return []
    more = len(result.left_out) - SHOWN_IMAGES
    names = ", ".join(result.left_out[:SHOWN_IMAGES]) + (f" and {more} more" if more > 0 else "")
    return [f"images left out: {names}"]


def box_rows(chosen: Chosen, result: Any) -> list[tuple[str, ...]]:
    """The rows of a table of the boxes with the largest chi squared, of which the first is its head; empty without boxes."""
    rows: list[tuple[str, ...]] = [BOX_HEADINGS]
    reflections = result.reflections
    for box in result.figures.worst:
        one = box.reflection
        place = f"{reflections.panel[one]}", f"{reflections.fast[one]:.1f}", f"{reflections.slow[one]:.1f}"
        hkl = " ".join(str(index) for index in reflections.hkl[one])
        photons = f"{box.observed:.0f}", f"{box.calculated:.0f}"
        rows.append(
            (f"{chosen.numbers[box.image]}", hkl, f"{reflections.d_A[one]:.3g}", *place, *photons, f"{box.chi_squared:.3g}")
        )
    return rows if len(rows) > 1 else []


def outlier_lines(chosen: Chosen, result: Any) -> list[str]:
    """How many pixels count less than half because they are outliers, and the first of them."""
    outliers = result.figures.outliers
    if not len(outliers):
        return ["no pixel is an outlier"]
    lines = [f"{len(outliers)} of {result.figures.pixels} pixels are outliers, which count less than half:"]
    for image, row, column, observed, expected in outliers[:OUTLIERS]:
        where = f"image {chosen.numbers[int(image)]}, fast {column:.0f}, slow {row:.0f}"
        lines.append(f"  {where}: {observed:.6g} photons, expected {expected:.3g}")
    return lines
