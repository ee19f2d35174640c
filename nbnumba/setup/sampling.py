"""How finely a pixel is sampled (F1b), which pixels are computed (F0), and where emulated threads of nanoBragg begin (P1)."""

import dataclasses
import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from nbnumba.errors import InputError
from nbnumba.setup.crystal import orient
from nbnumba.setup.detector import Plane
from nbnumba.setup.panels import planes
from nbnumba.setup.sheet import sheet_of
from nbnumba.setup.sources import main_wavelength
from nbnumba.stages.beam import scattering_vector, within_resolution
from nbnumba.stages.detector import curved_position, flat_position, sample_offset
from nbnumba.stages.records import Intensity, Panel, Sampling, Sources
from nbnumba.stages.vec3 import unit
from nbnumba.statements import Crystal, Detector, Statements
from nbnumba.statements import Sampling as StatedSampling

LARGEST_CHOICE = 1000
"""The largest number of sub-pixels that is chosen by default: where more are needed, some unit is probably mistaken."""


class Window(NamedTuple):
    """The pixels that are computed (F0).

    rows, columns: first row or column, and one past the last. mask (slow, fast): 0 for pixels that are left out; of shape (0,
    0) if there is no mask.
    """

    rows: tuple[int, int]
    columns: tuple[int, int]
    mask: np.ndarray


def window(pixels: tuple[int, int], roi: tuple[int, int, int, int] | None, mask: np.ndarray | None) -> Window:
    """Return the window of a region of interest and a mask, in which 0 stands for a pixel that is left out (F0).

    pixels: numbers of pixels along fast and slow. roi: first and last fast pixel, first and last slow pixel. Raises InputError
    for a region without pixels and for a mask whose shape is not that of the detector.
    """
    rows, columns = region(roi, pixels)
    if mask is None:
        return Window(rows, columns, np.zeros((0, 0), dtype=np.uint8))
    mask = np.asarray(mask)
    if mask.shape != (pixels[1], pixels[0]):
        raise InputError(f"sampling.mask of shape {mask.shape} does not fit; allowed: (slow, fast) = {(pixels[1], pixels[0])}")
    return Window(rows, columns, np.array(mask, dtype=bool, order="C").view(np.uint8))


def windows(detector: Detector, stated: StatedSampling) -> tuple[Window, ...]:
    """Return the window of each panel of a detector (F0).

    A region of several panels is one of their sheet; a panel outside it has a mask of zeros. Raises InputError for a region or
    a mask that does not fit (window).
    """
    sheet = sheet_of(detector)
    if len(sheet.shapes) == 1:
        (slow, fast), mask = sheet.shapes[0], stated.mask
        return (window((fast, slow), stated.roi, mask),)
    whole = None if stated.mask is None else sheet.sheet("sampling.mask", stated.mask, 0)
    rows, columns = region(stated.roi, sheet.shape[::-1])
    every = []
    for (slow, fast), place in zip(sheet.shapes, sheet.places()):
        first, last = max(rows[0] - place[0].start, 0), min(rows[1] - place[0].start, slow) - 1
        left, right = columns[0], min(columns[1], fast) - 1
        mask = None if whole is None else whole[place]
        if first > last or left > right:
            every.append(window((fast, slow), None, np.zeros((slow, fast), dtype=np.uint8)))
        else:
            every.append(window((fast, slow), (left, right, first, last), mask))
    return tuple(every)


def sheet_window(detector: Detector, stated: StatedSampling) -> Window:
    """Return the window of the sheet of a detector, whose mask leaves out empty columns; of one panel, its window (F0)."""
    sheet = sheet_of(detector)
    if len(sheet.shapes) == 1:
        return windows(detector, stated)[0]
    rows, columns = region(stated.roi, sheet.shape[::-1])
    mask = rendered(detector, stated).astype(np.uint8)
    is_whole = mask[slice(*rows), slice(*columns)].all()
    return Window(rows, columns, np.zeros((0, 0), dtype=np.uint8) if is_whole else mask)


def rendered(detector: Detector, stated: StatedSampling) -> np.ndarray:
    """Return which pixels of the sheet of a detector are computed (slow, fast): those of its regions and masks (F0)."""
    sheet = sheet_of(detector)
    is_rendered = np.zeros(sheet.shape, dtype=bool)
    for place, of_panel in zip(sheet.places(), windows(detector, stated)):
        region = slice(*of_panel.rows), slice(*of_panel.columns)
        is_rendered[place][region] = True if of_panel.mask.size == 0 else of_panel.mask[region] != 0
    return is_rendered


def samples(experiment: Statements, plane: Plane, vectors: np.ndarray, layers: int) -> Sampling:
    """Return the Sampling record of a panel: how the samples of a pixel are laid out and weighted (F1b, F10).

    vectors: a, b, c as rows, in A. layers: of the sensor. Raises InputError for a sampling that nobody stated and that is so
    fine that nobody can have meant it.
    """
    stated = experiment.sampling
    recommended = recommended_oversample(experiment, plane, vectors)
    chosen = stated_oversample(stated, plane)
    oversample = usual(recommended, plane) if chosen is None else chosen
    every = (stated.oversample_thick, stated.oversample_polarization, stated.oversample_omega)
    running = any(every) and stated.defects.oversample_running_sum
    return Sampling(layers, oversample, *every, running, stated.defects.capture_last_layer)


def usual(recommended: int, plane: Plane) -> int:
    """Return a number of sub-pixels that is chosen by default. Raises InputError where it is above LARGEST_CHOICE."""
    if recommended > LARGEST_CHOICE:
        why = f"crystal, wavelength, distance and pixel ask for {recommended:.6g} sub-pixels along each edge"
        raise InputError(f"sampling.oversample: {plane.name}{why}; allowed without stating it: at most {LARGEST_CHOICE}")
    return recommended


def stated_oversample(stated: StatedSampling, plane: Plane) -> int | None:
    """Return the number of sub-pixels along an edge that is stated for a panel, or None."""
    if not isinstance(stated.oversample, tuple):
        return stated.oversample
    if plane.number >= len(stated.oversample):
        allowed = "one number, or as many as there are panels"
        raise InputError(f"sampling.oversample: {len(stated.oversample)} numbers are too few; allowed: {allowed}")
    return stated.oversample[plane.number]


def too_coarse(experiment: Statements) -> str | None:
    """Return a sentence where fewer sub-pixels are stated than the crystal needs, or None (F1b).

    nanoBragg warns in the same cases.
    """
    if experiment.sampling.oversample is None:
        return None
    experiment = with_longest(experiment)
    vectors = orient(experiment.crystal, experiment.sampling.defects)
    every = planes(experiment.detector, experiment.beam, experiment.sampling.defects)
    plane = min(every, key=lambda plane: (stated_oversample(experiment.sampling, plane) or 0) * pixel_reach(experiment, plane))
    needed, chosen = recommended_oversample(experiment, plane, vectors), stated_oversample(experiment.sampling, plane)
    if chosen is None or chosen >= needed:
        return None
    edge, ice = longest_edge(experiment, vectors) * 1e10, edge_of_ice(experiment) * 1e10
    fringe, what = pixel_reach(experiment, plane) * 1e10, "the crystal is" if edge >= ice else "crystallites of ice are"
    return (
        f"sampling.oversample {chosen}: {plane.name}intensity may vary across a pixel, "
        f"for {what} {max(edge, ice):g} A long, and a pixel spans 1/{fringe:g} 1/A; sampling.oversample {needed} is recommended"
    )


def with_longest(experiment: Statements) -> Statements:
    """Return the experiment in which the crystal with the longest edge is the only one: it needs most sub-pixels (F1b)."""
    if not experiment.other_crystals:
        return experiment
    alone = (dataclasses.replace(experiment, crystal=crystal, other_crystals=()) for crystal in experiment.crystals)
    return max(alone, key=lambda one: longest_edge(one, orient(one.crystal, one.sampling.defects)))


def usual_oversample(experiment: Statements) -> int | tuple[int, ...]:
    """Return the number of sub-pixels along an edge that is chosen by default (F1b); of panels that differ, that of each.

    Of several crystals it is that of the largest. Raises InputError for more than are chosen by default.
    """
    defects, longest = experiment.sampling.defects, with_longest(experiment)
    vectors = orient(longest.crystal, defects)
    every = planes(experiment.detector, experiment.beam, defects)
    numbers = tuple(usual(recommended_oversample(longest, plane, vectors), plane) for plane in every)
    return numbers[0] if len(set(numbers)) == 1 else numbers


def longest_edge(experiment: Statements, vectors: np.ndarray) -> float:
    """Return the longest edge of the crystal, in m (F1b): of its longest mosaic domain, where the cell has a spread.

    vectors: a, b, c as rows, in A.
    """
    crystal = experiment.crystal
    stretched = [1.0 + getattr(crystal, name) for name in Crystal.CELL_SPREADS]
    cells = (crystal.n_a, crystal.n_b, crystal.n_c)
    return max(math.sqrt(v @ v) * n * most for v, n, most in zip(vectors * 1e-10, cells, stretched))


def pixel_reach(experiment: Statements, plane: Plane) -> float:
    """Return the edge, in m, of a crystal of which a pixel spans one fringe: lambda D / p (F1b)."""
    return main_wavelength(experiment.beam) * 1e-10 * plane.distance / max(plane.pixel_fast, plane.pixel_slow)


def recommended_oversample(experiment: Statements, plane: Plane, vectors: np.ndarray) -> int:
    """Return the number of sub-pixels along an edge by the rule of nanoBragg: three in a fringe of the longest edge (F1b).

    Crystallites of ice have edges, too. vectors: a, b, c as rows, in A. Lengths are in m, for the same rounding.
    """
    longest = max(longest_edge(experiment, vectors), edge_of_ice(experiment))
    return max(1, math.ceil(3.0 * longest / pixel_reach(experiment, plane)))


def edge_of_ice(experiment: Statements) -> float:
    """Return the diameter of the crystallites of ice, in m, which makes the width of their rings (F12c); 0 without ice."""
    return experiment.background.ice_size_A * 1e-10 if experiment.background.ice_um > 0.0 else 0.0


def region(roi: tuple[int, int, int, int] | None, pixels: tuple[int, int]) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return the first and one-past-last row, and the first and one-past-last column, of a region with inclusive bounds (F0).

    roi: first and last fast pixel, first and last slow pixel. pixels: numbers of pixels along fast and slow. A negative bound
    stands for the edge, and a last pixel beyond the edge is the edge, as in nanoBragg. Raises InputError for a region without
    pixels.
    """
    if roi is None:
        return (0, pixels[1]), (0, pixels[0])
    bounds = []
    for first, last, size in ((roi[0], roi[1], pixels[0]), (roi[2], roi[3], pixels[1])):
        first, last = max(first, 0), size - 1 if last < 0 else min(last, size - 1)
        if first > last:
            shown = " ".join(map(str, roi))
            allowed = f"xmin <= xmax, ymin <= ymax, within 0 {pixels[0] - 1} 0 {pixels[1] - 1}"
            raise InputError(f"sampling.roi: {shown} holds no pixel of {pixels[0]} x {pixels[1]}; allowed: {allowed}")
        bounds.append((first, last + 1))
    return bounds[1], bounds[0]


def beyond_the_edge(roi: tuple[int, int, int, int] | None, pixels: tuple[int, int]) -> Iterator[str]:
    """Yield a sentence for a region that is cut at the edge of the detector (F0)."""
    if roi is not None and (roi[1] >= pixels[0] or roi[3] >= pixels[1]):
        rows, columns = region(roi, pixels)
        kept = f"{columns[0]} {columns[1] - 1} {rows[0]} {rows[1] - 1}"
        size = f"the detector has {pixels[0]} x {pixels[1]} pixels, numbered from 0"
        yield f"sampling.roi {' '.join(map(str, roi))} is cut to {kept}: {size}"


def thread_rows(rows: int, threads: int) -> list[tuple[int, int]]:
    """Return the first and one-past-last row of each thread of C (P1).

    The rows of a thread are neighbours; the first `rows % threads` threads have one row more than the others.
    """
    if threads == 0:
        return []
    size, more = divmod(rows, threads)
    ends = np.cumsum([size + (thread < more) for thread in range(threads)])
    return [(int(end) - size - (thread < more), int(end)) for thread, end in enumerate(ends)]


def fresh_passes(rows: int, threads: int, wanted: Window, panel: Panel, beam: Intensity, sources: Sources, sampling: Sampling):
    """Return the fast pixel and the number of the first pass of each thread of C (rows, 2), in its row; -1 in other rows (P1).

    threads: of C; 0 if no pass is fresh, where the table has no row. wanted: the pixels that are computed. Other pixels, and
    samples that dmin leaves out, make no pass.
    """
    fresh = np.full((rows if threads else 0, 2), -1, dtype=np.int64)
    for first, last in thread_rows(rows, min(threads, rows)):
        for row in range(max(first, wanted.rows[0]), min(last, wanted.rows[1])):
            number = _first_numbers(row, wanted, panel, beam, sources, sampling)
            if (number >= 0).any():
                column = int(np.argmax(number >= 0))
                fresh[row] = wanted.columns[0] + column, number[column]
                break
    return fresh


def _first_numbers(row, wanted, panel, beam, sources, sampling) -> np.ndarray:
    """Return the number of the first pass that each pixel of a row makes, -1 where it makes none (P1)."""
    columns = range(*wanted.columns)
    number = np.full(len(columns), -1, dtype=np.int64)
    allowed = wanted.mask[row, slice(*wanted.columns)] != 0 if wanted.mask.size else np.ones(len(columns), dtype=bool)
    for sample, (layer, sub_slow, sub_fast) in enumerate(sample_order(sampling)):
        diffracted = directions(panel, sampling, row, columns, layer, sub_slow, sub_fast)
        for source, direction in enumerate(sources.direction):
            q = scattering_vector(diffracted, direction, sources.wavelength[source])
            makes = allowed & (number < 0) & within_resolution(beam, q)
            number[makes] = sample * len(sources.weight) + source
            if (number[allowed] >= 0).all():
                return number
    return number


def sample_order(sampling: Sampling):
    """Return layer, slow and fast sub-pixel of every sample of a pixel, in the order of nanoBragg (F1b)."""
    sub_pixels = range(sampling.oversample)
    return ((layer, slow, fast) for layer in range(sampling.layers) for slow in sub_pixels for fast in sub_pixels)


def directions(panel: Panel, sampling: Sampling, row: int, columns, layer: int, sub_slow: int, sub_fast: int):
    """Return the unit vectors (x, y, z), each an array, from the crystal to one sample of the pixels of a row (F1, F2).

    row: number of the row. columns: numbers of the fast pixels. layer, sub_slow, sub_fast: of the sample.
    """
    fast = np.array([sample_offset(panel.pixel_fast, sampling.oversample, column, sub_fast) for column in columns])
    slow = sample_offset(panel.pixel_slow, sampling.oversample, row, sub_slow)
    position = flat_position(panel, fast, slow, layer * panel.layer)
    return unit(curved_position(panel, position) if panel.curved else position)[0]
