"""Experiments of dxtbx and DIALS as JSON (.expt, and .json of old versions): beam, detector, goniometer, scan and crystal."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from nbnumba.errors import InputError
from nbnumba.formats import files
from nbnumba.formats.geometry import (
    LARGEST_NUMBER,
    MOST_PANELS,
    MOST_PIXELS,
    MOST_ROWS,
    CrystalGeometry,
    FrameGeometry,
    Geometry,
    GroupGeometry,
    PanelGeometry,
    ProfileGeometry,
    Scan,
    check_lattice,
    check_unit,
    checked,
    lab,
    panel_axes,
    path_of,
    unique_path,
    with_data_origins,
)
from nbnumba.formats.image_files import ImageFile, check_complete, files_found, has_digits, places_of
from nbnumba.formats.json_values import MOST_DEPTH, Value
from nbnumba.formats.json_values import read as read_json
from nbnumba.formats.text import printable
from nbnumba.geometry.rotations import about_axis, unit

EXPECTED = "an ExperimentList of dxtbx as JSON (.expt)"
LISTS = {"ExperimentList": "experiment", "DataBlock": "imageset"}
"""What dxtbx calls its lists, and what they are lists of."""

LOOKUPS = {"mask": "--mask", "pedestal": "--offset"}
"""Files of pixels that an imageset may name, and the options of refine that state the same."""

NOT_RENDERED = (
    ("divergence", 0.0, "-divergence"),
    ("sigma_divergence", 0.0, "-divergence"),
    ("flux", 0.0, "-flux, -exposure and -beamsize"),
    ("transmission", 1.0, "-fluence, or -flux"),
)
"""What a beam states and no image has unless flags give it: the key, the value of no consequence, and the flags."""

PARALLAX, SIMPLE = "ParallaxCorrectedPxMmStrategy", "SimplePxMmStrategy"
MOST_IMAGES = 10**7


def read(
    path: files.PathName, what: str = "-expt", experiment: int | None = None, stated: frozenset[str] = frozenset()
) -> Geometry:
    """Return the geometry of one experiment of a list, counted from 0; `what` is the flag that named the file.

    Reads the lists that dxtbx has written since 2014, and the data blocks before them: with flat and hierarchical detectors,
    goniometers of one and of several axes, scans with `oscillation` or with `properties`, models that vary within the scan, and
    stills. experiment None: the first, with a note if there are others. stated: "wavelength" if flags state it. Raises
    InputError for what is no such list, an experiment that it lacks, a model that is damaged, and a model that no image here
    has: a band of wavelengths unless flags state one, electrons, and offsets of pixels that a refined detector may have.
    """
    return geometry_of(read_json(path, what, EXPECTED), files.name_of(path, what), experiment, stated)


def geometry_of(content: Value, source: str, experiment: int | None = None, stated: frozenset[str] = frozenset()) -> Geometry:
    """Return the same of the content of a file; source: its name."""
    content, listed = listed_of(content)
    chosen = listed.at(experiment or 0)
    models = {kind: model_of(content, chosen, kind) for kind in ("beam", "detector", "goniometer", "scan", "crystal")}
    fields: dict[str, Any] = {"source": source, "kind": "dxtbx"}
    notes = _notes(content, chosen, models)
    if experiment is None and len(listed.value) > 1:
        notes.append(f"has {len(listed.value)} experiments, of which the first counts: -experiment chooses another, from 0")
    scan = _scan(models["scan"]) if models["scan"] else None
    fields["scan"] = scan
    if models["beam"]:
        of_beam, more = _beam(models["beam"], scan, "wavelength" in stated)
        fields |= of_beam
        notes += more
    fields |= _detector(models["detector"]) if models["detector"] else {}
    turn, turning = goniometer_of(models["goniometer"], scan)
    fields |= turning
    if models["crystal"]:
        fields["crystal"], of_crystal = _crystal(models["crystal"], turn, scan)
        notes += of_crystal
    fields["identifier"] = chosen.get("identifier").text() or None
    fields["profile"] = _profile(model_of(content, chosen, "profile"))
    return checked(Geometry(**fields, notes=tuple(notes)), content.name, stated)


def images_of(
    path: files.PathName, what: str = "-expt", experiment: int | None = None, numbers: Sequence[int] | None = None
) -> list[ImageFile]:
    """Return the images of one experiment of a list, counted from 0; `what` is the flag that named the file.

    numbers: those of the images of a scan that are wanted, all of which have to be there; None: every image of the experiment
    whose file is there. A relative path counts from the folder of the list, and then from the working directory; an absolute
    one that is not there stands for a file of its name in either. No image is opened. Raises InputError for what is no such
    list, an experiment that it lacks, one without images or without a scan for its template, images that are not there, and a
    number outside the scan.
    """
    content, listed = _listed(path, what)
    chosen = listed.at(experiment or 0)
    imageset = _imageset(content, chosen)
    if not imageset:
        raise InputError(f"{chosen.name}: {chosen.path} names no images; allowed: an experiment with an imageset")
    beside = files.name_of(path, what)
    if imageset.get("template"):
        return _of_template(imageset, model_of(content, chosen, "scan"), beside, numbers)
    if imageset.get("images"):
        return _of_names(imageset, beside, numbers)
    raise InputError(f"{imageset.name}: {imageset.path} names no images; allowed: an imageset with images or a template")


def number_of_experiments(path: files.PathName, what: str = "-expt") -> int:
    """Return the number of experiments of a list. Raises InputError for what is no such list."""
    experiments = read_json(path, what, EXPECTED).get("experiment").value
    return len(experiments) if isinstance(experiments, list) else 0


def _listed(path: files.PathName, what: str) -> tuple[Value, Value]:
    """The content of a file, and its list of experiments."""
    return listed_of(read_json(path, what, EXPECTED))


def listed_of(content: Value) -> tuple[Value, Value]:
    """The list of experiments that a file is or begins with, and its experiments. Raises InputError for another file."""
    content = content.at(0) if isinstance(content.value, list) and content.value else content
    kind = content.get("__id__").value if isinstance(content.value, dict) else None
    if not isinstance(kind, str) or kind not in LISTS:
        raise InputError(f"{content.name} is JSON, but no ExperimentList; allowed: {EXPECTED}")
    return content, content.get(LISTS[kind])


def model_of(content: Value, chosen: Value, kind: str) -> Value:
    """The model of an experiment: an entry of the list of its kind; None if it has none."""
    index = chosen.get(kind)
    if not index:
        return index
    models = content.get(kind)
    length = len(models.value) if isinstance(models.value, list) else 0
    return models.at(index.whole(0, max(length - 1, 0)))


def _imageset(content: Value, chosen: Value) -> Value:
    """The imageset of an experiment, which in a data block is the entry itself; None if it has none."""
    return model_of(content, chosen, "imageset") if content.get("__id__").value == "ExperimentList" else chosen


# ------------------------------------------------------------------------------------------------ images


def _of_template(imageset: Value, scan: Value, beside: str, numbers: Sequence[int] | None) -> list[ImageFile]:
    """The images of a scan by the template of their names, or in one file, where image n is at n - 1, as in dxtbx."""
    stated, name = imageset.get("template"), f"{imageset.name}: {imageset.path}.template"
    template = stated.text()
    if not scan:
        raise InputError(f"{name}, {printable(template)!r}, is without a scan; allowed: a scan, which numbers its images")
    first, last = _image_range(scan)
    for number in numbers or ():
        if not first <= number <= last:
            raise InputError(f"{name}, {printable(template)!r}, has no image {number}; allowed: {first} to {last}")
    wanted = range(first, last + 1) if numbers is None else numbers
    indices = imageset.get("single_file_indices")
    in_one = not has_digits(template) and (bool(indices) or last > first)
    listed = files_found(places_of(template, beside), wanted, name, in_one)
    if not listed or numbers is not None:
        check_complete(listed, wanted, f"{name}, {printable(template)!r},")
    if in_one and indices and _indices(indices, last - first + 1) != list(range(first - 1, last)):
        raise indices.refusal(f"{first - 1} to {last - 1}, where dxtbx has images {first} to {last} of a scan")
    return listed


def _of_names(imageset: Value, beside: str, numbers: Sequence[int] | None) -> list[ImageFile]:
    """The images of stills by their names."""
    if numbers is not None:
        stated = f"{imageset.name}: {imageset.path} has stills, which have no numbers"
        raise InputError(f"{stated}: {' '.join(map(str, numbers[:5]))} is not allowed; allowed: no choice of images")
    names = [entry.text() for entry in imageset.get("images").items()]
    places: list[int | None] = [None] * len(names)
    if imageset.get("single_file_indices"):
        places = list(_indices(imageset.get("single_file_indices"), len(names)))
    listed = []
    for name, place in zip(names, places):
        file = next((path for path in places_of(name, beside) if os.path.isfile(path)), None)
        listed += [] if file is None else [ImageFile(file if place is None else f"{file}#{place}", None)]
    if not listed:
        first = f" of {len(names)}, such as {printable(names[0])!r}," if names else ""
        raise InputError(f"{imageset.name}: {imageset.path} has no file{first} that is there; allowed: images that are there")
    return listed


def _indices(indices: Value, count: int) -> list[int]:
    """The places, from 0, of so many images in their file."""
    if not isinstance(indices.value, list) or len(indices.value) != count:
        raise indices.refusal(f"a list of {count} numbers, one for each image")
    return [entry.whole(0, MOST_IMAGES) for entry in indices.items()]


# ------------------------------------------------------------------------------------------------ beam and scan


def _notes(content: Value, chosen: Value, models: dict[str, Value]) -> list[str]:
    """Sentences about what an experiment states besides its models, and about what the panels and the beam do."""
    notes = []
    imageset = _imageset(content, chosen)
    for lookup in ("mask", "gain", "pedestal", "dx", "dy"):
        named = imageset.get(lookup).value if isinstance(imageset.value, dict) else None
        if isinstance(named, str) and named:
            instead = f": refine takes {LOOKUPS[lookup]}" if lookup in LOOKUPS else ""
            notes.append(f"names a file of {lookup} for each pixel, {printable(named)}, which is not read{instead}")
    panels = models["detector"].get("panels").items() if models["detector"] else ()
    pedestals = {pedestal.number() for panel in panels if (pedestal := panel.get("pedestal"))}
    if pedestals - {0.0}:
        shown = ", ".join(f"{value:g}" for value in sorted(pedestals)[:5])
        notes.append(f"states a pedestal of {shown} counts: -adc adds one to images, and --offset of refine subtracts one")
    if not models["beam"]:
        return [*notes, "states no beam, which is taken to run along -z of imgCIF"]
    for key, usual, instead in NOT_RENDERED:
        value = models["beam"].get(key)
        if value and value.number() != usual:
            notes.append(f"states a {key} of the beam of {value.number():g}, which is not rendered: give {instead}")
    return notes


def _beam(beam: Value, scan: Scan | None, has_wavelength: bool) -> tuple[dict[str, Any], list[str]]:
    """The fields of the beam, whose direction dxtbx states from the crystal to the source, and sentences about the rest."""
    if beam.get("probe").text() not in ("", "x-ray"):
        raise beam.get("probe").refusal("x-ray")
    wavelength, notes = _wavelength(beam, has_wavelength)
    if beam.get("s0_at_scan_points"):
        towards_source = -_points(beam.get("s0_at_scan_points"), scan, 3)
    else:
        towards_source = None
    fields: dict[str, Any] = {"wavelength_A": wavelength, "beam_direction": -unit(lab(beam.get("direction").direction()))}
    if towards_source is not None:
        fields["beam_at_points"] = -np.array([unit(lab(vector)) for vector in towards_source])
    if beam.get("polarization_fraction"):
        fields["polarization_fraction"] = beam.get("polarization_fraction").number("0 to 1", lambda x: 0.0 <= x <= 1.0)
    if beam.get("polarization_normal"):
        normal = lab(beam.get("polarization_normal").direction())
        electric = np.cross(normal, fields["beam_direction"])
        if not np.abs(electric).max() > 1e-6 * np.abs(normal).max():
            raise beam.get("polarization_normal").refusal("a vector that is not along the beam")
        fields["polarization_axis"] = unit(electric)
    return fields, notes


def _wavelength(beam: Value, has_wavelength: bool) -> tuple[float, list[str]]:
    """The wavelength, and a sentence about a band of wavelengths, which is refused unless flags state a wavelength."""
    kind = beam.get("__id__").text()
    if not beam.get("wavelength_range") or beam.get("wavelength"):
        if kind not in ("", "monochromatic", "Beam") or not beam.get("wavelength"):
            stated = kind or "without a wavelength"
            raise InputError(f"{beam.name}: {beam.path} is a beam {stated}; allowed: a monochromatic one")
        return beam.get("wavelength").positive(), []
    least, most = (entry.positive() for entry in _pair(beam.get("wavelength_range")))
    mean, percent = (least + most) / 2.0, 200.0 * abs(most - least) / (least + most)
    if not has_wavelength:
        allowed = f"-lambda {mean:.6g} beside it, and -dispersion {percent:.4g} with -dispsteps for the band"
        raise InputError(f"{beam.name}: {beam.path} has wavelengths from {least:g} to {most:g}; allowed: {allowed}")
    return mean, [f"has wavelengths from {least:g} to {most:g}, which are rendered with -dispersion {percent:.4g} alone"]


def _scan(scan: Value) -> Scan | None:
    """The scan: None where it has no rotation, as that of a series of stills."""
    first, last = _image_range(scan)
    oscillation = scan.get("oscillation")
    if not oscillation and scan.get("properties"):
        properties = scan.get("properties")
        starts = properties.get("oscillation")
        if not starts:
            return None
        start = starts.at(0).number()
        if properties.get("oscillation_width"):
            width = properties.get("oscillation_width").at(0).number()
        else:
            width = starts.at(1).number() - start
        _check_even(starts, start, width, last - first + 1)
    elif oscillation:
        start, width = (entry.number() for entry in _pair(oscillation))
    else:
        return None
    if width < 0.0:
        raise oscillation.refusal("images of a width not below 0")
    return Scan(first, last - first + 1, start, width) if width > 0.0 else None


def _image_range(scan: Value) -> tuple[int, int]:
    """The numbers of the first and of the last image."""
    first, last = (entry.whole(-MOST_IMAGES, MOST_IMAGES) for entry in _pair(scan.get("image_range")))
    if not 0 <= last - first < MOST_IMAGES:
        raise scan.get("image_range").refusal("the numbers of the first and the last image")
    return first, last


def _pair(value: Value) -> list[Value]:
    if not isinstance(value.value, list) or len(value.value) != 2:
        raise value.refusal("two numbers")
    return list(value.items())


def _check_even(starts: Value, start: float, width: float, images: int) -> None:
    """Raise InputError unless the images of a scan start one width after another."""
    angles = starts.numbers(images)
    if np.abs(angles - start - width * np.arange(images)).max() > 1e-6 * max(1.0, abs(width)):
        raise InputError(f"{starts.name}: {starts.path} has images of different widths; allowed: images of one width")


def _points(values: Value, scan: Scan | None, count: int) -> np.ndarray:
    """So many numbers at every scan point: (images + 1, count)."""
    points = np.array([entry.numbers(count) for entry in values.items()])
    if scan is None or len(points) != scan.images + 1:
        images = "no rotation" if scan is None else f"{scan.images} images"
        raise InputError(f"{values.name}: {values.path} has {len(points)} points for {images}; allowed: one more than images")
    return points


# ------------------------------------------------------------------------------------------------ detector


def _detector(detector: Value) -> dict[str, Any]:
    """Panels, groups and the frame of the whole detector."""
    panels = list(detector.get("panels").items())
    if not 1 <= len(panels) <= MOST_PANELS:
        raise InputError(f"{detector.name}: {detector.path} has {len(panels)} panels; allowed: 1 to {MOST_PANELS}")
    at_origin = np.zeros(3), np.eye(3)
    hierarchy = detector.get("hierarchy")
    if not hierarchy or len(panels) == 1 and not hierarchy.get("children"):
        taken: set[str] = set()
        made = [_panel(panel, "", *at_origin, taken, index) for index, panel in enumerate(panels)]
        return {"panels": with_data_origins(made, _data_origins(panels))}
    tree = _Tree(panels)
    origin, axes = placed(hierarchy, *at_origin)
    tree.follow(hierarchy, "", origin, axes, 0)
    missing = [index for index, panel in enumerate(tree.panels) if panel is None]
    if missing:
        raise InputError(f"{hierarchy.name}: {hierarchy.path} lacks panel {missing[0]}; allowed: every panel once")
    return {
        "panels": with_data_origins(tree.panels, _data_origins(panels)),
        "groups": tuple(tree.groups),
        "frame": FrameGeometry(lab(origin), lab(axes[0]), lab(axes[1])),
    }


def _data_origins(panels: list[Value]) -> list[tuple[int, int] | None]:
    """The row and column of the first pixel of each panel in an image of all, as far as they are stated."""
    stated = [panel.get("raw_image_offset") for panel in panels]
    columns_and_rows = [tuple(entry.whole(0, MOST_ROWS) for entry in _pair(offset)) if offset else None for offset in stated]
    return [None if pair is None else (pair[1], pair[0]) for pair in columns_and_rows]


class _Tree:
    """The panels and groups that are met on the way through a hierarchy."""

    def __init__(self, panels: list[Value]):
        self.values = panels
        self.panels: list[Any] = [None] * len(panels)
        self.groups: list[GroupGeometry] = []
        self.taken: set[str] = set()

    def follow(self, group: Value, path: str, origin: np.ndarray, axes: np.ndarray, depth: int) -> None:
        """Place everything below a group, whose axes are the rows of `axes`, in the frame of dxtbx."""
        if depth > MOST_DEPTH:
            raise InputError(f"{group.name}: its hierarchy is deeper than {MOST_DEPTH}; allowed: less")
        for number, child in enumerate(group.get("children").items()):
            index = child.get("panel")
            if index:
                self._add_panel(index, path, origin, axes)
                continue
            child_path = unique_path(_joined(path, child.get("name").text()), self.taken, _joined(path, f"group{number}"))
            corner, of_child = placed(child, origin, axes)
            self.groups.append(GroupGeometry(child_path, lab(of_child[0]), lab(of_child[1])))
            self.follow(child, child_path, corner, of_child, depth + 1)

    def _add_panel(self, index: Value, path: str, origin: np.ndarray, axes: np.ndarray) -> None:
        number = index.whole(0, len(self.panels) - 1)
        if self.panels[number] is not None:
            raise index.refusal("every panel once")
        self.panels[number] = _panel(self.values[number], path, origin, axes, self.taken, number)


def _joined(path: str, name: str) -> str:
    """The path of a part below a group; "" for a part without a name."""
    own = path_of(name)
    return own and "/".join(filter(None, (path, own)))


def placed(part: Value, origin: np.ndarray, axes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The origin, and the axes as rows, of a part whose own are relative to those of the part above."""
    fast, slow = part.get("fast_axis").numbers(3), part.get("slow_axis").numbers(3)
    for axis in (fast, slow):
        check_unit(axis, f"{part.name}: {part.path}")
    fast, slow = panel_axes(fast, slow, f"{part.name}: {part.path}")
    own = np.array([fast, slow, np.cross(fast, slow)])
    return origin + part.get("origin").numbers(3) @ axes, own @ axes


def _panel(panel: Value, path: str, origin: np.ndarray, axes: np.ndarray, taken: set[str], index: int) -> PanelGeometry:
    """A panel, relative to its group's origin and axes."""
    corner, (fast, slow, _) = placed(panel, origin, axes)
    size, pixel = _pair(panel.get("image_size")), [edge.positive() for edge in _pair(panel.get("pixel_size"))]
    fast_pixels, slow_pixels = (count.whole(1, MOST_PIXELS) for count in size)
    own_path = unique_path(_joined(path, panel.get("name").text()), taken, _joined(path, f"panel{index}"))
    thickness, mu, parallax = _sensor(panel)
    least, most = _trusted(panel.get("trusted_range"))
    gain = panel.get("gain").positive() if panel.get("gain") else None
    return PanelGeometry(
        own_path, (slow_pixels, fast_pixels), pixel[0], pixel[1], lab(corner), lab(fast), lab(slow),
        thickness_um=None if thickness is None else 1000.0 * thickness,
        attenuation_um=None if mu is None else 1000.0 / mu,
        material=panel.get("material").text() or None, parallax=parallax, gain=gain,
        trusted_min=least, trusted_max=most, masked=_rectangles(panel.get("mask"), (slow_pixels, fast_pixels)),
    )  # fmt: skip


def _sensor(panel: Value) -> tuple[float | None, float | None, bool | None]:
    """Thickness in mm, absorption in 1/mm, and whether positions are corrected for parallax; None for what is not stated."""
    strategy = panel.get("px_mm_strategy")
    kind = strategy.get("type").text() if strategy else ""
    if kind not in ("", PARALLAX, SIMPLE):
        raise strategy.get("type").refusal(f"{SIMPLE} or {PARALLAX}; pixels that are not on a regular grid cannot be rendered")
    of_strategy = (strategy.get("t0"), strategy.get("mu")) if strategy else ()
    stated = (panel.get("thickness"), *of_strategy[:1]), (panel.get("mu"), *of_strategy[1:])
    thickness, mu = (next((number for entry in of if entry and (number := _not_negative(entry))), None) for of in stated)
    return thickness, mu, kind == PARALLAX if kind else None


def _not_negative(entry: Value) -> float:
    return entry.number("a number not below 0", lambda x: x >= 0.0)


def _trusted(limits: Value) -> tuple[float | None, float | None]:
    """The limits of valid values; those of no consequence, beyond any number of a geometry, are None."""
    if not limits:
        return None, None
    least, most = (_limit(entry) for entry in _pair(limits))
    return least, most


def _limit(entry: Value) -> float | None:
    number = entry.value
    unlimited = isinstance(number, (int, float)) and abs(number) > LARGEST_NUMBER
    return None if unlimited else entry.number()


def _rectangles(mask: Value, shape: tuple[int, int]) -> tuple[tuple[int, int, int, int], ...]:
    """The rectangles of bad pixels: first fast and slow pixel, and those after the last ones, from 0."""
    if not mask:
        return ()
    most = (shape[1], shape[0], shape[1], shape[0])
    clipped = []
    for entry in mask.items():
        row = entry.numbers(4)
        if (row != np.round(row)).any() or (row[:2] > row[2:]).any():
            raise entry.refusal("whole numbers: the first pixel along fast and slow, and after them the ends")
        f0, s0, f1, s1 = (int(min(max(number, 0), limit)) for number, limit in zip(row, most))
        clipped += [(f0, s0, f1, s1)] if f0 < f1 and s0 < s1 else []
    return tuple(clipped)


# ------------------------------------------------------------------------------------------------ goniometer and crystal


def goniometer_of(goniometer: Value, scan: Scan | None) -> tuple[np.ndarray, dict[str, Any]]:
    """The rotation S F of the crystal at phi = 0 (n or 1, 3, 3), in the frame of dxtbx, and the fields of the spindle."""
    if not goniometer:
        return np.eye(3)[None], {}
    fixed, axis, setting = rotations_of(goniometer)
    fields = {"spindle_axis": lab(setting @ axis)}
    if goniometer.get("setting_rotation_at_scan_points"):
        settings = _points(goniometer.get("setting_rotation_at_scan_points"), scan, 9).reshape(-1, 3, 3)
        fields["spindle_at_points"] = lab(settings @ axis)
        return settings @ fixed, fields
    return (setting @ fixed)[None], fields


def rotations_of(goniometer: Value) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The fixed rotation F, the axis and the setting rotation S of a goniometer: S R F turns the crystal, R about the axis."""
    if goniometer.get("axes"):
        return _of_axes(goniometer)
    fixed, setting = (_rotation(goniometer.get(f"{kind}_rotation")) for kind in ("fixed", "setting"))
    return fixed, unit(goniometer.get("rotation_axis").direction()), setting


def _rotation(rotation: Value) -> np.ndarray:
    """A rotation matrix; the identity where none is stated."""
    if not rotation:
        return np.eye(3)
    matrix = rotation.matrix()
    if not np.allclose(matrix @ matrix.T, np.eye(3), atol=1e-4) or np.linalg.det(matrix) < 0.0:
        raise rotation.refusal("a rotation matrix")
    return matrix


def _of_axes(goniometer: Value) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Fixed rotation, axis and setting rotation of a goniometer of several axes, of which the first bears the crystal."""
    axes = [unit(axis.direction()) for axis in goniometer.get("axes").items()]
    angles = goniometer.get("angles").numbers(len(axes))
    chosen = goniometer.get("scan_axis").whole(0, max(len(axes) - 1, 0))
    turns = [about_axis(axis, math.radians(angle)) for axis, angle in zip(axes, angles)]
    fixed, setting = np.eye(3), np.eye(3)
    for turn in turns[:chosen]:
        fixed = turn @ fixed
    for turn in turns[chosen + 1 :]:
        setting = turn @ setting
    return fixed, axes[chosen], setting


def _crystal(crystal: Value, turn: np.ndarray, scan: Scan | None) -> tuple[CrystalGeometry, tuple[str, ...]]:
    """The crystal at phi = 0, turned by the fixed rotation and the setting rotation, and sentences about what is left out."""
    vectors = np.array([crystal.get(f"real_space_{axis}").numbers(3) for axis in "abc"])
    check_lattice(vectors, f"{crystal.name}: {crystal.path}")
    at_points = None
    if crystal.get("A_at_scan_points"):
        matrices = _points(crystal.get("A_at_scan_points"), scan, 9).reshape(-1, 3, 3)
        for matrix in matrices:
            check_lattice(matrix, f"{crystal.name}: {crystal.path}.A_at_scan_points")
        at_points = np.linalg.inv(matrices)
    elif len(turn) > 1:
        at_points = np.broadcast_to(vectors, (len(turn), 3, 3))
    if at_points is not None:
        at_points = lab(at_points @ np.swapaxes(turn, 1, 2))
    symbol = crystal.get("space_group_hall_symbol").text().strip() or None
    made = CrystalGeometry(lab(vectors @ turn[0].T), at_points, symbol)
    notes = []
    for key, meaning in (("mosaicity", "degrees"), ("ML_half_mosaicity_deg", "degrees"), ("ML_domain_size_ang", "A")):
        value = crystal.get(key)
        if value and _not_negative(value) > 0.0:
            notes.append(f"states a {key} of {value.number():g} {meaning}, which is not rendered: give -mosaic, or -N")
    return made, tuple(notes)


def _profile(profile: Value) -> ProfileGeometry | None:
    """The profile model gaussian_rs; None for another or none. Where it varies within the scan, its means."""
    if not profile or profile.get("__id__").value != "gaussian_rs":
        return None
    of_beam, of_mosaic = (_mean(profile.get(name)) for name in ("sigma_b", "sigma_m"))
    return ProfileGeometry(of_beam, of_mosaic)


def _mean(values: Value) -> float:
    """The mean of numbers not below 0, or the number itself."""
    listed = list(values.items()) if isinstance(values.value, list) and values.value else [values]
    return float(np.mean([_not_negative(entry) for entry in listed]))
